package sqltext

import (
	"strings"
	"testing"
)

func TestAStatementIsItsText(t *testing.T) {
	if got := (Reader{}).Read("SELECT 1").Text(); got != "SELECT 1" {
		t.Errorf("%q", got)
	}
}

func TestKindsHaveNames(t *testing.T) {
	for k, want := range map[Kind]string{Unknown: "unknown", Read: "read", FileTransfer: "file transfer", FileTransfer + 1: "unknown", 200: "unknown"} {
		if got := k.String(); got != want {
			t.Errorf("%d: %q, want %q", k, got, want)
		}
	}
}

func TestTransactionStatementsAlone(t *testing.T) {
	for text, want := range map[string]string{
		"BEGIN": "begin", "begin transaction;": "begin", "START TRANSACTION": "begin", "BEGIN WORK": "begin",
		"BEGIN NAME t": "begin", "BEGIN TRANSACTION NAME t": "begin", "/* x */ BEGIN;; -- y": "begin",
		"COMMIT": "commit", "commit work ;": "commit", "ROLLBACK": "rollback", "ROLLBACK WORK": "rollback",
		"": "", "BEGIN; COMMIT": "", "BEGIN; BEGIN": "", "COMMIT; SELECT 1": "", "SELECT 1; COMMIT": "", "BEGIN SELECT 1; END": "",
		"COMMIT x": "", "BEGIN TRANSACTION x": "", "ROLLBACK ->> SELECT 1": "", "START": "", "START WORK": "", "SELECT 1": "",
	} {
		s, got := Reader{}.Read(text), ""
		if s.IsBegin() {
			got += "begin"
		}
		if s.IsCommit() {
			got += "commit"
		}
		if s.IsRollback() {
			got += "rollback"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWhatEndsATransaction(t *testing.T) {
	for text, want := range map[string][2]bool{
		"COMMIT": {true, true}, "ROLLBACK": {true, false}, "INSERT INTO t VALUES (1); COMMIT": {true, true},
		"SELECT 1 ->> ROLLBACK": {true, false}, "SELECT 'COMMIT'": {}, "": {}, "SELECT commit": {}, "BEGIN; SELECT 1": {},
		"SELECT ';COMMIT'": {}, ";SELECT 1; COMMIT": {true, true}, "; COMMIT": {true, true}, "SELECT 1;COMMIT": {true, true},
	} {
		s := Reader{}.Read(text)
		if got := [2]bool{s.EndsTransaction(), s.Commits()}; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestAStatementHasTheKindsOfItsParts(t *testing.T) {
	s := Reader{}.Read("SELECT 1 ->> INSERT INTO t SELECT * FROM $1; COMMIT")
	for k := Unknown; k <= FileTransfer; k++ {
		if got, want := s.Has(k), k == Read || k == DML || k == Transaction; got != want {
			t.Errorf("%v: %v", k, got)
		}
	}
}

func TestAskingTheSession(t *testing.T) {
	for text, want := range map[string]bool{
		"SELECT $x": true, "SELECT LAST_QUERY_ID()": true, "SELECT $1": false, "SELECT 1": false, "": false,
	} {
		if s := (Reader{}).Read(text); (s.AsksHistory() || s.AsksVariables()) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

// askAll asks everything that there is to ask.
func askAll(s Statement) State {
	s.First()
	s.Many()
	s.Has(Unknown)
	s.Repeatable()
	s.UndoneByRollback()
	s.AsksHistory()
	s.AsksVariables()
	s.EndsTransaction()
	s.IsBegin()
	s.IsCommit()
	s.IsRollback()
	return s.After(State{}, true)
}

func TestReadingAllocatesNothing(t *testing.T) {
	r, err := NewReader("my_udf", "db.s.f")
	if err != nil {
		t.Fatal(err)
	}
	long := "/* " + strings.Repeat("x", 1000) + " */ INSERT INTO t SELECT '" + strings.Repeat("y''", 1000) + "'; COMMIT"
	for _, table := range [][]judged{reads, writes, sessions, hostile, {{sql: long}, {sql: "SELECT DB.S.f(my_udf(1))"}}} {
		for _, tt := range table {
			if n := testing.AllocsPerRun(1, func() { askAll(r.Read(tt.sql)) }); n != 0 {
				t.Errorf("%.60q: %v allocations", tt.sql, n)
			}
		}
	}
}

func BenchmarkInsertOfAMegabyte(b *testing.B) {
	row := "(1234567, 'some text that is of an ordinary length', 3.14159, NULL, TO_DATE('2024-01-01')), "
	s := Reader{}.Read("INSERT INTO db.s.t (a, b, c, d, e) VALUES " + strings.Repeat(row, 1<<20/len(row)))
	for name, ask := range map[string]func(){
		"UndoneByRollback": func() { s.UndoneByRollback() },
		"First":            func() { s.First() },
		"After":            func() { s.After(State{}, false) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s.Text())))
			for range b.N {
				ask()
			}
		})
	}
}

// TestReachIsHowFarBackAQuestionGoes: what cannot be counted goes back for ever.
func TestReachIsHowFarBackAQuestionGoes(t *testing.T) {
	for text, want := range map[string]int{
		"SELECT 1": 0, "SELECT last_query_id FROM t": 0, "SELECT * FROM TABLE(RESULT_SCAN('01b2c3d4-0000-0000-0000-000000000000'))": 0,
		"SELECT LAST_QUERY_ID()": 1, "SELECT LAST_QUERY_ID(-1)": 1, "SELECT LAST_QUERY_ID(-2)": 2, "SELECT CURRENT_TRANSACTION()": 1,
		"SELECT * FROM TABLE(RESULT_SCAN(-3))": 3, "SELECT * FROM TABLE(RESULT_SCAN())": 1, "SELECT * FROM TABLE(RESULT_SCAN(LAST_QUERY_ID(-2)))": 2,
		"SELECT LAST_QUERY_ID(), LAST_QUERY_ID(-4)": 4, "SELECT 1; SELECT LAST_QUERY_ID(-2)": 2,
		"DESC RESULT '01b2c3d4-0000-0000-0000-000000000000'": 0, "DESC RESULT LAST_QUERY_ID()": 1, "DESCRIBE RESULT LAST_QUERY_ID(-3)": 3,
		"DESC RESULT $q": beyond, "DESC RESULT ?": beyond, "DESC RESULT '_last'": beyond,
		"SELECT LAST_QUERY_ID(1)": beyond, "SELECT LAST_QUERY_ID(?)": beyond, "SELECT LAST_QUERY_ID(-1 - 1)": beyond, "SELECT LAST_QUERY_ID(-x)": beyond,
		"SELECT LAST_QUERY_ID('-2')": beyond, "SELECT LAST_QUERY_ID(123)": beyond, "SELECT * FROM TABLE(RESULT_SCAN('-1'))": beyond, "DESC RESULT '1'": beyond,
		"SELECT * FROM TABLE(RESULT_SCAN($v))": beyond, "SELECT * FROM TABLE(RESULT_SCAN(?))": beyond,
		"SELECT CURRENT_TRANSACTION('01b2c3d4-0000-0000-0000-000000000000')": 1, "SELECT LAST_TRANSACTION(?)": 1,
		"SELECT * FROM TABLE(VALIDATE(t, JOB_ID => LAST_QUERY_ID()))": beyond, "SELECT * FROM TABLE(VALIDATE(t": beyond,
		"SELECT * FROM TABLE(VALIDATE(f(t), JOB_ID => '01b2c3d4-0000-0000-0000-000000000000'))":                  beyond,
		"SELECT * FROM (SELECT * FROM TABLE(VALIDATE(t)) WHERE job_id = '01b2c3d4-0000-0000-0000-000000000000')": 1,
		`SELECT "LAST_QUERY_ID"()`: 1, "SELECT IDENTIFIER('f')(1)": 0, "SELECT IDENTIFIER('last_query_id')()": beyond,
		`SELECT IDENTIFIER('x."LAST_QUERY_ID"')()`: beyond, "SELECT IDENTIFIER('x.last_query_id')()": beyond, "SELECT IDENTIFIER(?)(1)": beyond, "SELECT IDENTIFIER($f)(1)": beyond,
	} {
		if got := (Reader{}).Read(text).Reach(); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// TestStepsAreStatementsAndLinks: what separates them, but for what stands in quotes.
func TestStepsAreStatementsAndLinks(t *testing.T) {
	for text, want := range map[string]bool{
		"SELECT 1": false, "SELECT 1;": false, "": false, ";": false, "SELECT ';', '->>'": false,
		"SELECT 1; SELECT 2": true, "SELECT 1 ->> SELECT 2": true, "SHOW TABLES ->> SELECT * FROM $1": true,
	} {
		if got := (Reader{}).Read(text).Steps(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestABindMayBeTheIDOfAQuery: then it asks for none of the statements before it.
func TestABindMayBeTheIDOfAQuery(t *testing.T) {
	for text, want := range map[string]int{
		"SELECT * FROM TABLE(RESULT_SCAN(?))": 0, "SELECT * FROM TABLE(RESULT_SCAN(:1))": beyond, "DESC RESULT ?": 0, "DESC RESULT :1": 0, "DESC RESULT $q": beyond,
		"SELECT * FROM TABLE(RESULT_SCAN(?)), TABLE(RESULT_SCAN(-2))": 2, "SELECT * FROM TABLE(RESULT_SCAN(? || 'a'))": beyond, "SELECT * FROM TABLE(RESULT_SCAN($v))": beyond,
	} {
		if got := (Reader{}).Read(text).ReachWithIDs(); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// TestWhatIsNoQueryIDMayCountStatements: only the whole form of an ID names a statement.
func TestWhatIsNoQueryIDMayCountStatements(t *testing.T) {
	for id, want := range map[string]bool{
		"01b2c3d4-0000-0000-0000-000000000000": true, "01BD0000-0001-0032-0001-00000000ABCF": true, "ffffffff-ffff-ffff-ffff-ffffffffffff": true,
		"": false, "-": false, "-2": false, "1": false, "_last": false, "01b2c3d4": false, "01b2c3d4-0000-0000-0000-00000000000": false, "01b2c3d4-0000-0000-0000-0000000000000": false,
		"000000000000000000000000000000000002": false, "-00000000000000000000000000000000002": false, "01b2c3d4-0000-0000-00000000-00000000": false,
		"01b2c3d4-0000-0000-0000-00000000000g": false, "g1b2c3d4-0000-0000-0000-000000000000": false, "01b2c3d4-0000-x000-0000-000000000000": false,
	} {
		if got := IsQueryID(id); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
}

// TestWhichStatementsAreAnsweredWithACount: what a chain ends with decides.
func TestWhichStatementsAreAnsweredWithACount(t *testing.T) {
	for text, want := range map[string]bool{
		"INSERT INTO t VALUES (1)": true, "UPDATE t SET a = 1": true, "DELETE FROM t WHERE a = 1;": true, "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE": true,
		"WITH x AS (SELECT 1 AS id) DELETE FROM t USING x WHERE t.id = x.id": true, "WITH x AS (SELECT 1 AS id) SELECT id FROM x": false,
		"SELECT 1 AS n ->> INSERT INTO t SELECT n FROM $1": true, "INSERT INTO t VALUES (1) ->> SELECT * FROM $1": false,
		"INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)": false, "SELECT 1": false, "COPY INTO t FROM @s": false, "": false,
	} {
		if got := (Reader{}).Read(text).Counts(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
