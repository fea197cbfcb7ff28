package snowtether

import (
	"regexp"
	"strings"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
)

// What a statement made of its session.
var (
	same     = sessionState{}
	open     = sessionState{inTx: true}
	changed  = sessionState{changed: true}
	off      = sessionState{autocommitOff: true}
	offOpen  = sessionState{autocommitOff: true, inTx: true}
	offNoted = sessionState{autocommitOff: true, changed: true}
)

func TestStatementsChangeTheStateOfTheirSession(t *testing.T) {
	for _, tt := range []struct {
		sql          string
		before, want sessionState
		failed       bool
	}{
		{sql: "", want: same},
		{sql: "SELECT 1", want: same},
		{sql: "INSERT INTO t VALUES (1)", want: same},
		{sql: "select 'BEGIN; USE x'", want: same},

		// Transactions.
		{sql: "BEGIN", want: open},
		{sql: "begin", want: open},
		{sql: " \t\r\n\f\vBegin ; ", want: open},
		{sql: "BEGIN TRANSACTION", want: open},
		{sql: "BEGIN WORK", want: open},
		{sql: "BEGIN NAME t1", want: open},
		{sql: "BEGIN/**/TRANSACTION", want: open},
		{sql: "BEGIN -- a transaction\n", want: open},
		{sql: "START TRANSACTION", want: open},
		{sql: "-- a note\n// another\n/* and\none */ BEGIN", want: open},
		{sql: "BEGIN", failed: true, want: open},
		{sql: "COMMIT", before: open, want: same},
		{sql: "commit work;", before: open, want: same},
		{sql: "ROLLBACK", before: open, want: same},
		{sql: "COMMIT", before: open, failed: true, want: open},
		{sql: "ROLLBACK", before: open, failed: true, want: open},
		{sql: "INSERT INTO t VALUES (1)", before: open, want: open},
		{sql: "SELECT 1", before: open, failed: true, want: open},

		// Blocks of Snowflake Scripting begin with BEGIN too.
		{sql: "BEGIN INSERT INTO t VALUES (1); COMMIT; END", want: changed},
		{sql: "BEGIN\n LET x := 1; RETURN x; END;", want: changed},
		{sql: "DECLARE x INT; BEGIN x := 1; COMMIT; END", before: open, want: sessionState{inTx: true, changed: true}},
		{sql: "EXECUTE IMMEDIATE $$ BEGIN COMMIT; END $$", want: changed},
		{sql: "CALL p()", want: changed},
		{sql: "WITH p AS PROCEDURE () RETURNS INT LANGUAGE SQL AS $$ USE ROLE r $$ CALL p()", want: changed},
		{sql: "CALL p()", before: off, want: sessionState{autocommitOff: true, inTx: true, changed: true}},
		{sql: "BEGIN INSERT INTO t VALUES (1); END", before: off, want: sessionState{autocommitOff: true, inTx: true, changed: true}},

		// Several statements in one text.
		{sql: "BEGIN; INSERT INTO t VALUES (1)", want: open},
		{sql: "BEGIN; INSERT INTO t VALUES (1); COMMIT", want: same},
		{sql: "BEGIN; INSERT INTO t VALUES (1); COMMIT", failed: true, want: open},
		{sql: "SELECT 1; USE ROLE r", want: changed},
		{sql: "SELECT ';'; COMMIT", before: open, want: same},
		{sql: "SELECT 1 -- ; COMMIT\n", before: open, want: open},
		{sql: "SELECT $$;COMMIT$$", before: open, want: open},
		{sql: `SELECT "a;COMMIT""b;COMMIT"`, before: open, want: open},
		{sql: `SELECT 'it''s;COMMIT', 'a\';COMMIT'`, before: open, want: open},
		{sql: `SELECT '\\'; COMMIT`, before: open, want: same},
		{sql: `SELECT "a\"; COMMIT`, before: open, want: same}, // a backslash is nothing in a name
		{sql: "SELECT 1 AS a, commit; SELECT 2", before: open, want: open},
		{sql: ";;(BEGIN", want: open},

		// AUTOCOMMIT.
		{sql: "ALTER SESSION SET AUTOCOMMIT = FALSE", want: offNoted},
		{sql: "alter session set timezone='UTC' autocommit=false", want: offNoted},
		{sql: "ALTER SESSION SET TIMEZONE = 'AUTOCOMMIT = FALSE'", want: changed},
		{sql: "ALTER SESSION SET AUTOCOMMIT = 0", want: offNoted},
		{sql: "ALTER SESSION SET AUTOCOMMIT = 'false'", want: offNoted},
		{sql: "ALTER SESSION SET AUTOCOMMIT = $x", want: offNoted}, // nobody knows
		{sql: "ALTER SESSION SET AUTOCOMMIT = TRUE", before: off, want: changed},
		{sql: "ALTER SESSION UNSET AUTOCOMMIT", before: off, want: changed},
		{sql: "ALTER SESSION SET AUTOCOMMIT FALSE", before: off, failed: true, want: offNoted},
		{sql: "ALTER SESSION UNSET TIMEZONE, AUTOCOMMIT", before: off, want: changed},
		{sql: "ALTER SESSION SET AUTOCOMMIT = FALSE; INSERT INTO t VALUES (1)", want: sessionState{autocommitOff: true, inTx: true, changed: true}},
		{sql: "ALTER SESSION SET AUTOCOMMIT = FALSE", failed: true, want: offNoted},
		{sql: "ALTER SESSION SET AUTOCOMMIT = TRUE", before: off, failed: true, want: offNoted},
		{sql: "ALTER SESSION UNSET AUTOCOMMIT", before: off, failed: true, want: offNoted},
		{sql: "INSERT INTO t VALUES (1)", before: off, want: offOpen},
		{sql: "insert all into t values (1) select 1", before: off, want: offOpen},
		{sql: "UPDATE t SET a = 1", before: off, want: offOpen},
		{sql: "DELETE FROM t", before: off, failed: true, want: offOpen},
		{sql: "MERGE INTO t USING u ON 1=1", before: off, want: offOpen},
		{sql: "COPY INTO t FROM @s", before: off, want: offOpen},
		{sql: "TRUNCATE TABLE t", before: off, want: offOpen},
		{sql: "SELECT 1", before: off, want: off},
		{sql: "COMMIT", before: offOpen, want: off},

		// Settings and objects that end with the session.
		{sql: "USE ROLE r", want: changed},
		{sql: "USE DATABASE d", failed: true, want: changed},
		{sql: "SET x = 1", want: changed},
		{sql: "UNSET x", want: changed},
		{sql: "ALTER SESSION SET QUERY_TAG = 'x'", want: changed},
		{sql: "ALTER TABLE t SET COMMENT = 'SESSION'", want: same},
		{sql: "CREATE TEMP TABLE t (a INT)", want: changed},
		{sql: "CREATE TEMPORARY STAGE s", want: changed},
		{sql: "CREATE VOLATILE TABLE t (a INT)", want: changed},
		{sql: "CREATE OR REPLACE TEMP TABLE t (a INT)", want: changed},
		{sql: "create local temporary table t (a int)", want: changed},
		{sql: "CREATE OR REPLACE GLOBAL TEMPORARY TABLE t (a INT)", want: changed},
		{sql: "CREATE OR REPLACE SECURE TEMP VIEW v AS SELECT 1", want: changed},
		{sql: "CREATE OR ALTER TEMP TABLE t (a INT)", want: changed},
		{sql: "CREATE TABLE temp (a INT)", want: same},
		{sql: "CREATE OR REPLACE TRANSIENT TABLE t (a INT)", want: same},
		{sql: `CREATE TABLE "TEMP" (a INT)`, want: same},
		{sql: "CREATE TABLE t (setÉ INT); ÉUSE x; USEÉ x", want: same},
		// Each of these makes what it creates the session's current one.
		{sql: "CREATE SCHEMA s", want: changed},
		{sql: "CREATE OR REPLACE TRANSIENT SCHEMA s", want: changed},
		{sql: "CREATE DATABASE d", want: changed},
		{sql: "CREATE WAREHOUSE w", want: changed},
	} {
		st := tt.before
		st.ran(tt.sql, tt.failed)
		if st != tt.want {
			t.Errorf("%q, failed %v, before %+v: %+v, want %+v", tt.sql, tt.failed, tt.before, st, tt.want)
		}
	}
}

func TestWhatEndsWithItsTransaction(t *testing.T) {
	for sql, want := range map[string]bool{
		"INSERT INTO t VALUES (1)": true, "update t set a = 1": true, "DELETE FROM t": true, "MERGE INTO t USING u ON 1=1": true,
		"COPY INTO t FROM @s": true, "SELECT 1": true, "((SELECT 1))": true, "WITH a AS (SELECT 1) SELECT * FROM a": true,
		"/* x */ -- y\n INSERT INTO t VALUES (1)": true, "INSERT INTO t VALUES (1);;": true, "SHOW TABLES": true, "DESC TABLE t": true,
		"BEGIN": true, "START TRANSACTION": true, "ROLLBACK": true,
		"COMMIT": false, "": false, "CREATE TABLE t (a INT)": false, "DROP TABLE t": false, "ALTER TABLE t ADD b INT": false,
		"TRUNCATE TABLE t": false, "CALL p()": false, "EXECUTE IMMEDIATE 'INSERT'": false, "GRANT ROLE r TO USER u": false,
		"INSERT INTO t VALUES (1); COMMIT": false, "BEGIN INSERT INTO t VALUES (1); COMMIT; END": false, "'INSERT'": false,
		// An unload writes files, which no rollback removes. Nor does it remove copies.
		"COPY FILES INTO @s FROM @r": false,
		"COPY INTO @s/x FROM t":      false, "COPY INTO 's3://b/x' FROM (SELECT 1)": false,
		// So may an anonymous procedure.
		"WITH p AS PROCEDURE () RETURNS INT LANGUAGE SQL AS $$ CREATE TABLE x (a INT) $$ CALL p()": false,
	} {
		if got := rolledBackWithSession(sql); got != want {
			t.Errorf("%q: %v, want %v", sql, got, want)
		}
	}
}

func TestWhatMayBeReadTwice(t *testing.T) {
	for sql, want := range map[string]bool{
		"SELECT 1": true, "select a, count(*) from t;": true, "(SELECT 1)": true, "WITH a AS (SELECT 1) SELECT * FROM a": true,
		"SHOW TABLES": true, "DESCRIBE TABLE t": true, "desc table t": true, "EXPLAIN SELECT 1": true, "-- x\nSELECT 'a;b', 'NEXTVAL'": true,
		"SELECT a FROM s.t WHERE f(a) = 1": true,
		"":                                 false, "INSERT INTO t VALUES (1)": false, "CALL p()": false, "SELECT 1; SELECT 2": false, "SELECT 1; DELETE FROM t": false,
		"SELECT s.NEXTVAL": false, "SELECT SYSTEM$CANCEL_QUERY('x')": false, "select system$abort_session(1)": false, "SELECT a INTO :x FROM t": false,
		"SELECT db.sc.f(1)": false, "SELECT sc . f (1)": false, `SELECT sc."f"(1)`: false,
		"WITH p AS PROCEDURE () RETURNS INT LANGUAGE SQL AS $$ BEGIN DELETE FROM t; END $$ CALL p()": false,
		"SELECT * FROM t, TABLE(GETNEXTVAL(s))":                                                      false,
		"SHOW TABLES ->> DELETE FROM t":                                                              false,
	} {
		if got := plainRead(sql); got != want {
			t.Errorf("%q: %v, want %v", sql, got, want)
		}
	}
}

func TestTrackingAllocatesNothing(t *testing.T) {
	long := "/* " + strings.Repeat("x", 1000) + " */ INSERT INTO t SELECT '" + strings.Repeat("y''", 1000) + "'; COMMIT"
	var st sessionState
	for _, sql := range []string{"SELECT 1", "BEGIN TRANSACTION", "ALTER SESSION SET AUTOCOMMIT = FALSE", "create or replace temp table t (a int)", long} {
		if n := testing.AllocsPerRun(100, func() { st.ran(sql, false); rolledBackWithSession(sql); plainRead(sql) }); n != 0 {
			t.Errorf("%.40q: %v allocations", sql, n)
		}
	}
}

// token is one comment, space, quoted text, word or character of SQL.
var token = regexp.MustCompile(`(?s)` + strings.Join([]string{
	`(?P<skip>--[^\n]*(?:\n|\z)|//[^\n]*(?:\n|\z)|/\*.*?(?:\*/|\z)|[ \t\r\n\f\v]+)`,
	`'(?:[^'\\]|\\.|'')*(?:'|\\?\z)`, `"(?:[^"]|"")*(?:"|\z)`, `\$\$.*?(?:\$\$|\z)`, `[\w$]+`, `.`,
}, "|"))

// words takes comments out of SQL and gives its upper-case tokens, quoted text as
// its first character.
func words(sql string) (list []string) {
	for _, m := range token.FindAllStringSubmatch(sql, -1) {
		switch word := m[0]; {
		case m[1] != "":
		case strings.ContainsAny(word[:1], `'"`):
			list = append(list, word[:1])
		case strings.HasPrefix(word, "$$"):
			list = append(list, "$$")
		default:
			list = append(list, strings.ToUpper(word))
		}
	}
	return list
}

// spelled gives each statement as its words with single spaces between them.
func spelled(sql string) (statements []string) {
	var now []string
	for _, word := range append(words(sql), ";") {
		if word != ";" {
			now = append(now, word)
			continue
		}
		statements = append(statements, strings.TrimLeft(strings.Join(append(now, ""), " "), "( "))
		now = nil
	}
	return statements
}

// Each takes the whole text as words with a space before and behind each.
var (
	undone    = regexp.MustCompile(`^ (\( )*((INSERT|UPDATE|DELETE|MERGE|SELECT|SHOW|DESCRIBE|DESC|VALUES|BEGIN|START|ROLLBACK|WITH) |COPY INTO ([^@' ][^ ]* |$))`)
	procedure = regexp.MustCompile(`^ (\( )*WITH ([^;] |[^ ]{2,} )*(PROCEDURE|CALL) `)
	second    = regexp.MustCompile(` ; .*[^; ]`)
	reads     = regexp.MustCompile(`^ (\( )*(SELECT|WITH|SHOW|DESCRIBE|DESC|EXPLAIN) `)
	writes    = regexp.MustCompile(` (NEXTVAL|GETNEXTVAL|INTO|PROCEDURE|CALL|LAST_QUERY_ID|SYSTEM\$[^ ]*|> >|\. [^ ]+ \() `)
	followed  = regexp.MustCompile(` ; .`)
)

// Each takes a statement with a space behind each word.
var (
	beginTx  = regexp.MustCompile(`^BEGIN (TRANSACTION |WORK |NAME |$)|^START `)
	endTx    = regexp.MustCompile(`^(COMMIT|ROLLBACK) `)
	changes  = regexp.MustCompile(`^(USE|SET|UNSET|CALL|EXECUTE|ALTER SESSION|DECLARE|BEGIN) |^CREATE ((OR|REPLACE|ALTER|LOCAL|GLOBAL|SECURE|TRANSIENT) )*(TEMP|TEMPORARY|VOLATILE|SCHEMA|DATABASE|WAREHOUSE) |^WITH (.* )?(PROCEDURE|CALL) `)
	dml      = regexp.MustCompile(`^(INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|CALL|EXECUTE) |^WITH (.* )?(PROCEDURE|CALL) `)
	block    = regexp.MustCompile(`^(BEGIN|DECLARE) `)
	turnsOff = regexp.MustCompile(`^ALTER SESSION SET ([\w$]+ = ([\w$]+|') (, )?)*AUTOCOMMIT = FALSE `)
	disputed = regexp.MustCompile(`^ALTER SESSION .*AUTOCOMMIT `)
)

// FuzzTrack: a statement is taken for what a plain reading with regular expressions
// takes it for.
func FuzzTrack(f *testing.F) {
	for _, sql := range []string{
		"BEGIN", "begin work; insert into t values ('a;b'); commit", "SELECT 'it''s' -- x\n; USE r", "/* a */ START TRANSACTION",
		"$$;BEGIN$$; ROLLBACK", `"a""b;" ; CREATE OR REPLACE TEMP TABLE t (a INT)`, "DECLARE x; BEGIN COMMIT; END", "BEGIN LET x := 1; END",
		`'\'; BEGIN`, "ALTER SESSION SET A = 1, AUTOCOMMIT = FALSE; DELETE FROM t", "((CALL p()))", "x$$y;BEGIN", "/*/BEGIN", "'a''", "SELECT s.NEXTVAL", "COPY INTO @s FROM t", "(WITH a AS (SELECT 1) CALL p())", "SHOW x ->> y", "select a.b(1);", "SELECT 1;;", "COPY", "//\n--\nBEGIN",
	} {
		f.Add(sql, false, false)
		f.Add(sql, true, true)
	}
	f.Fuzz(func(t *testing.T, sql string, startsOff, failed bool) {
		got := sessionState{autocommitOff: startsOff}
		got.ran(sql, failed)
		rolledBack, read := rolledBackWithSession(sql), plainRead(sql)
		if strings.ContainsFunc(sql, func(r rune) bool { return r > 0x7e }) {
			return // which letters are alike is not the question here
		}
		text := " " + strings.Join(words(sql), " ") + " "
		if want := undone.MatchString(text) && !second.MatchString(text) && !procedure.MatchString(text); rolledBack != want {
			t.Errorf("%q is rolled back with its session: %v, want %v", sql, rolledBack, want)
		}
		if want := reads.MatchString(text) && !writes.MatchString(text) && !followed.MatchString(text); read != want {
			t.Errorf("%q is a plain read: %v, want %v", sql, read, want)
		}
		want := sessionState{autocommitOff: startsOff}
		for _, st := range spelled(sql) {
			switch {
			case disputed.MatchString(st) && !turnsOff.MatchString(st):
				return // needs more than a regular expression: the table has it
			case turnsOff.MatchString(st):
				want.autocommitOff = true
			case beginTx.MatchString(st):
				want.inTx = true
			case endTx.MatchString(st):
				want.inTx = failed
			case dml.MatchString(st), block.MatchString(st):
				want.inTx = want.inTx || want.autocommitOff
			}
			want.changed = want.changed || changes.MatchString(st) && !beginTx.MatchString(st)
			if block.MatchString(st) && !beginTx.MatchString(st) {
				break // the rest is inside of it
			}
		}
		if got != want {
			t.Errorf("%q, AUTOCOMMIT off %v, failed %v: %+v, want %+v", sql, startsOff, failed, got, want)
		}
	})
}

// TestAutocommitOffIsKnownWithoutTheServersWord: if it reports no parameters, the
// Config and the statements of the set-up say so.
func TestAutocommitOffIsKnownWithoutTheServersWord(t *testing.T) {
	off, on := "FALSE", "true"
	for _, tt := range []struct {
		value *string
		init  []string
		want  bool
	}{
		{&off, nil, true}, {&on, nil, false}, {nil, nil, false}, {nil, []string{"ALTER SESSION SET AUTOCOMMIT = FALSE"}, true},
		{&off, []string{"ALTER SESSION SET AUTOCOMMIT = TRUE"}, false},
	} {
		cfg := &gosnowflake.Config{Params: map[string]*string{"Autocommit": tt.value}}
		if got := stateAfterSetUp(cfg, tt.init, inner{}).autocommitOff; got != tt.want {
			t.Errorf("%v: off %v, want %v", tt, got, tt.want)
		}
	}
}
