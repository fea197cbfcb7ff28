package sqltext

import "testing"

// What a statement made of its session.
var (
	same    = State{}
	open    = State{InTx: true}
	off     = State{AutocommitOff: true}
	offOpen = State{AutocommitOff: true, InTx: true}
	context = State{Changed: true, Lost: LossContext}
	setting = State{Changed: true, Lost: LossParameters}
	offSet  = State{AutocommitOff: true, Changed: true, Lost: LossParameters}
	onSet   = State{Changed: true, Lost: LossParameters}
	temp    = State{Changed: true, Lost: LossTemporary}
	anyhow  = State{Changed: true, Lost: LossUnknown}
	offAny  = State{AutocommitOff: true, InTx: true, Changed: true, Lost: LossUnknown}
)

type stateCase struct {
	sql          string
	before, want State
	failed       bool
}

func checkStates(t *testing.T, table []stateCase) {
	t.Helper()
	for _, tt := range table {
		s := Reader{}.Read(tt.sql)
		got := s.After(tt.before, tt.failed)
		if got.Sure && !got.InTx {
			t.Errorf("%q: surely open, and not open: %+v", tt.sql, got)
		}
		if got.Sure = false; got != tt.want { // see TestWhatIsSurelyOpen
			t.Errorf("%q, failed %v, before %+v: %+v, want %+v", tt.sql, tt.failed, tt.before, got, tt.want)
		}
	}
}

func TestTransactionsThatStatementsBeginAndEnd(t *testing.T) {
	checkStates(t, []stateCase{
		{sql: "", want: same},
		{sql: "SELECT 1", want: same},
		{sql: "INSERT INTO t VALUES (1)", want: same},
		{sql: "select 'BEGIN; USE x'", want: same},
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
		{sql: "SELECT 1 ->> COMMIT", before: open, want: same},
		{sql: "SELECT 1 ->> BEGIN", want: open},
	})
}

func TestBlocksAndProceduresMayDoAnything(t *testing.T) {
	checkStates(t, []stateCase{
		{sql: "BEGIN INSERT INTO t VALUES (1); COMMIT; END", want: anyhow},
		{sql: "BEGIN\n LET x := 1; RETURN x; END;", want: anyhow},
		{sql: "DECLARE x INT; BEGIN x := 1; COMMIT; END", before: open, want: State{InTx: true, Changed: true, Lost: LossUnknown}},
		{sql: "EXECUTE IMMEDIATE $$ BEGIN COMMIT; END $$", want: anyhow},
		{sql: "CALL p()", want: anyhow},
		{sql: "CALL p()", failed: true, want: anyhow},
		{sql: "SELECT 1 ->> CALL p()", want: anyhow},
		{sql: "WITH p AS PROCEDURE () RETURNS INT LANGUAGE SQL AS $$ USE ROLE r $$ CALL p()", want: anyhow},
		{sql: "CALL p()", before: off, want: offAny},
		{sql: "BEGIN INSERT INTO t VALUES (1); END", before: off, want: offAny},
		{sql: "what is this", before: off, want: offAny},
	})
}

func TestSeveralStatementsInOneText(t *testing.T) {
	checkStates(t, []stateCase{
		{sql: "BEGIN; INSERT INTO t VALUES (1)", want: open},
		{sql: "BEGIN; INSERT INTO t VALUES (1); COMMIT", want: same},
		{sql: "BEGIN; INSERT INTO t VALUES (1); COMMIT", failed: true, want: open},
		{sql: "SELECT 1; USE SCHEMA r", want: context},
		{sql: "SELECT ';'; COMMIT", before: open, want: same},
		{sql: "SELECT 1 -- ; COMMIT\n", before: open, want: open},
		{sql: "SELECT $$;COMMIT$$", before: open, want: open},
		{sql: `SELECT "a;COMMIT""b;COMMIT"`, before: open, want: open},
		{sql: `SELECT 'it''s;COMMIT', 'a\';COMMIT'`, before: open, want: open},
		{sql: `SELECT '\\'; COMMIT`, before: open, want: same},
		{sql: `SELECT "a\"; COMMIT`, before: open, want: same}, // a backslash is nothing in a name
		{sql: "SELECT 1 AS a, commit; SELECT 2", before: open, want: open},
		{sql: ";;(BEGIN", want: open},
		{sql: "SELECT 1 --\r; COMMIT", before: open, want: same},
	})
}

func TestAutocommit(t *testing.T) {
	checkStates(t, []stateCase{
		{sql: "ALTER SESSION SET AUTOCOMMIT = FALSE", want: offSet},
		{sql: "alter session set timezone='UTC' autocommit=false", want: offSet},
		{sql: "ALTER SESSION SET TIMEZONE = 'AUTOCOMMIT = FALSE'", want: setting},
		{sql: "ALTER SESSION SET AUTOCOMMIT = 0", want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = OFF", want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = ON", want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = 'false'", want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = $x", want: offSet}, // nobody knows
		{sql: "ALTER SESSION SET AUTOCOMMIT =", want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT FALSE", want: offSet},
		{sql: `ALTER SESSION SET "AUTOCOMMIT" = FALSE`, want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = TRUE", before: off, want: onSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = 'true'", before: off, want: onSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = '1'", before: off, want: onSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = 1;", before: off, want: onSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT TO TRUE", before: off, want: offSet},
		{sql: "ALTER SESSION UNSET AUTOCOMMIT", before: off, want: offSet},
		{sql: "ALTER SESSION UNSET AUTOCOMMIT = TRUE", before: off, want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT FALSE", before: off, failed: true, want: offSet},
		{sql: "ALTER SESSION UNSET TIMEZONE, AUTOCOMMIT", before: off, want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = FALSE; INSERT INTO t VALUES (1)", want: State{AutocommitOff: true, InTx: true, Changed: true, Lost: LossParameters}},
		{sql: "ALTER SESSION SET AUTOCOMMIT = FALSE", failed: true, want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = TRUE", before: off, failed: true, want: offSet},
		{sql: "ALTER SESSION SET AUTOCOMMIT = TRUE", failed: true, want: onSet},
		{sql: "ALTER SESSION UNSET AUTOCOMMIT", before: off, failed: true, want: offSet},
		{sql: "INSERT INTO t VALUES (1)", before: off, want: offOpen},
		{sql: "insert all into t values (1) select 1", before: off, want: offOpen},
		{sql: "UPDATE t SET a = 1", before: off, want: offOpen},
		{sql: "DELETE FROM t", before: off, failed: true, want: offOpen},
		{sql: "MERGE INTO t USING u ON 1=1", before: off, want: offOpen},
		{sql: "COPY INTO t FROM @s", before: off, want: offOpen},
		{sql: "COPY INTO @s FROM t", before: off, want: offOpen},
		{sql: "COPY INTO @s FROM t", want: same},
		{sql: "TRUNCATE TABLE t", before: off, want: offOpen},
		{sql: "TRUNCATE TABLE t", before: open, want: open},
		{sql: "TRUNCATE TABLE t", want: same},
		{sql: "WITH x AS (SELECT 1) DELETE FROM t", before: off, want: offOpen},
		{sql: "SELECT 1 AS n ->> INSERT INTO t SELECT * FROM $1", before: off, want: offOpen},
		{sql: "SELECT 1", before: off, want: off},
		{sql: "WITH x AS (SELECT 1) SELECT * FROM x", before: off, want: off},
		{sql: "REMOVE @s/x", before: off, want: off},
		{sql: "COMMIT", before: offOpen, want: off},
	})
}

func TestWhatANewSessionWouldLack(t *testing.T) {
	role := State{Changed: true, Lost: LossRole}
	variables := State{Changed: true, Lost: LossVariables}
	checkStates(t, []stateCase{
		{sql: "USE ROLE r", want: role},
		{sql: "USE SECONDARY ROLES NONE", want: role},
		{sql: "USE DATABASE d", failed: true, want: context},
		{sql: "USE d.s", want: context},
		{sql: "USE WAREHOUSE w", want: context},
		{sql: "SET x = 1", want: variables},
		{sql: "UNSET x", want: variables},
		{sql: "ALTER SESSION SET QUERY_TAG = 'x'", want: setting},
		{sql: "ALTER TABLE t SET COMMENT = 'SESSION'", want: same},
		{sql: "CREATE TEMP TABLE t (a INT)", want: temp},
		{sql: "CREATE TEMPORARY STAGE s", want: temp},
		{sql: "CREATE VOLATILE TABLE t (a INT)", want: temp},
		{sql: "CREATE OR REPLACE TEMP TABLE t (a INT)", want: temp},
		{sql: "create local temporary table t (a int)", want: temp},
		{sql: "CREATE OR REPLACE GLOBAL TEMPORARY TABLE t (a INT)", want: temp},
		{sql: "CREATE OR REPLACE SECURE TEMP VIEW v AS SELECT 1", want: temp},
		{sql: "CREATE OR ALTER TEMP TABLE t (a INT)", want: temp},
		{sql: "SELECT 1 ->> CREATE TEMPORARY TABLE x AS SELECT * FROM $1", want: temp},
		{sql: "CREATE TABLE temp (a INT)", want: same},
		{sql: "CREATE OR REPLACE TRANSIENT TABLE t (a INT)", want: same},
		{sql: `CREATE TABLE "TEMP" (a INT)`, want: same},
		{sql: "CREATE TABLE t (setÉ INT)", want: same},
		{sql: "ÉUSE x; USEÉ x", want: anyhow},
		// Each of these makes what it creates the session's current one.
		{sql: "CREATE SCHEMA s", want: context},
		{sql: "CREATE OR REPLACE TRANSIENT SCHEMA s", want: context},
		{sql: "CREATE DATABASE d", want: context},
		{sql: "CREATE WAREHOUSE w", want: context},
		{sql: "CREATE DATABASE ROLE r", want: same},
		{sql: "SET x = 1; USE ROLE r; CREATE TEMP TABLE t (a INT)", want: State{Changed: true, Lost: LossVariables | LossRole | LossTemporary}},
	})
}

func TestALossIsNamedWithoutValues(t *testing.T) {
	for l, want := range map[Loss]string{
		0:                             "",
		LossRole:                      "its current role",
		LossContext:                   "its current database, schema or warehouse",
		LossRole | LossContext:        "its current role, database, schema or warehouse",
		LossVariables | LossTemporary: "its variables and temporary objects",
		LossContext | LossVariables | LossParameters | LossTemporary | LossUnknown: "its current database, schema or warehouse, its variables, its parameters, temporary objects and what procedures and scripts have set",
	} {
		if got := l.String(); got != want {
			t.Errorf("%b: %q, want %q", l, got, want)
		}
	}
}

// TestWhatIsSurelyOpen: only of such a transaction a COMMIT must have found something.
func TestWhatIsSurelyOpen(t *testing.T) {
	sure := State{InTx: true, Sure: true}
	offSure := State{InTx: true, Sure: true, AutocommitOff: true}
	for _, tt := range []struct {
		sql    string
		before State
		failed bool
		want   bool
	}{
		{"BEGIN", same, false, true}, {"BEGIN", same, true, false}, {"BEGIN", open, false, true},
		{"INSERT INTO t VALUES (1)", sure, false, true}, {"INSERT INTO t VALUES (1)", sure, true, true}, {"SELECT 1", sure, false, true},
		{"INSERT INTO t VALUES (1)", same, false, false}, {"INSERT INTO t VALUES (1)", off, false, true}, {"INSERT INTO t VALUES (1)", off, true, false},
		{"INSERT INTO t VALUES (1)", offOpen, false, true}, {"INSERT INTO t VALUES (1)", open, false, false},
		{"COMMIT", sure, false, false}, {"ROLLBACK", sure, false, false}, {"COMMIT", sure, true, true},
		{"CREATE TABLE x (n INT)", sure, false, false}, {"CREATE TEMPORARY TABLE x (n INT)", sure, false, false}, {"DROP TABLE x", sure, true, true},
		{"TRUNCATE TABLE t", sure, false, false}, {"TRUNCATE TABLE t", off, false, false}, {"COPY INTO @s FROM t", sure, false, true},
		{"COPY INTO t FROM @s", off, false, true}, {"COPY INTO @s FROM t", off, false, false}, {"UPDATE t SET a = 1", off, false, true}, {"REMOVE @s/x", sure, false, true}, {"CALL p()", sure, false, true}, {"CALL p()", off, false, false},
		{"ALTER SESSION SET AUTOCOMMIT = TRUE", sure, false, false}, {"ALTER SESSION SET TIMEZONE = 'UTC'", sure, false, true}, {"USE ROLE r", sure, false, true},
		{"CREATE TABLE x (n INT); BEGIN", sure, false, true}, {"BEGIN; COMMIT", same, false, false}, {"COMMIT; INSERT INTO t VALUES (1)", offSure, false, true},
		{"BEGIN; INSERT INTO t VALUES (1)", same, true, false},
	} {
		if got := (Reader{}).Read(tt.sql).After(tt.before, tt.failed); got.Sure != tt.want || got.Sure && !got.InTx {
			t.Errorf("%q, failed %v, before %+v: %+v, want surely open %v", tt.sql, tt.failed, tt.before, got, tt.want)
		}
	}
}

// TestWhoseTransactionACommitEnds: that of before, or its own.
func TestWhoseTransactionACommitEnds(t *testing.T) {
	for sql, want := range map[string]bool{
		"COMMIT": true, "SELECT 1; COMMIT": true, "COMMIT; BEGIN": true, "SELECT 1 ->> COMMIT": true,
		"BEGIN; INSERT INTO t VALUES (1); COMMIT": false, "SELECT 1": false, "ROLLBACK": false, "BEGIN": false, "BEGIN COMMIT; END": false,
		"START TRANSACTION; INSERT INTO t VALUES (1); COMMIT": false, "START WORK; COMMIT": true,
	} {
		if got := (Reader{}).Read(sql).CommitsEarlier(); got != want {
			t.Errorf("%q: %v", sql, got)
		}
	}
}

// TestWhatAnErrorLeavesUntouched: of several parts, or of DML and DDL, some may have been
// carried out.
func TestWhatAnErrorLeavesUntouched(t *testing.T) {
	for sql, want := range map[string]bool{
		"USE ROLE r": true, "SET x = 1": true, "SELECT 1": true, "BEGIN": true, "START TRANSACTION;": true, "COMMIT;": false, "ROLLBACK": false, "ALTER SESSION SET TIMEZONE = 'UTC'": true,
		"": false, "INSERT INTO t VALUES (1)": false, "CREATE TABLE x (n INT)": false, "CREATE TEMPORARY TABLE x AS SELECT 1": false,
		"CALL p()": false, "BEGIN LET x := 1; END": false, "SELEC 1": false, "USE ROLE r; USE SCHEMA s": false, "SELECT 1 ->> SELECT * FROM $1": false,
	} {
		if got := (Reader{}).Read(sql).AllOrNothing(); got != want {
			t.Errorf("%q: %v", sql, got)
		}
	}
}

// TestWhatGoesWithItsSession: and what leaves a transaction as it is, and what may leave one
// open.
func TestWhatGoesWithItsSession(t *testing.T) {
	for _, tt := range []struct {
		sql                     string
		goes, leaves, scripting bool
	}{
		{"SELECT 1", true, true, false},
		{"USE SCHEMA s", true, true, false},
		{"SET x = 1; SELECT $x", true, true, false},
		{"ALTER SESSION SET QUERY_TAG = 'x'", true, true, false},
		{"ALTER SESSION SET AUTOCOMMIT = FALSE", true, false, false},
		{`ALTER SESSION SET "AUTOCOMMIT" = FALSE`, true, false, false},
		{"CREATE TEMPORARY TABLE x (n INT)", true, false, false},
		{"CREATE TEMPORARY TABLE x AS SELECT f(1)", false, false, false},
		{"CREATE TEMPORARY TABLE x AS SELECT 1", true, false, false},
		{"CREATE TEMPORARY TABLE x AS SELECT * FROM may_be_a_stream", false, false, false},
		{"CREATE TEMPORARY TABLE x AS TABLE may_be_a_stream", false, false, false},
		{"CREATE TEMP TABLE IF NOT EXISTS x AS WITH y AS (SELECT * FROM may_be_a_stream) SELECT * FROM y", false, false, false},
		{"CREATE TEMPORARY TABLE view AS SELECT * FROM may_be_a_stream", false, false, false},
		{"CREATE TEMPORARY VIEW x AS SELECT * FROM may_be_a_stream", true, false, false},
		{"SELECT f(1)", false, false, false},
		{"SELECT LAST_QUERY_ID()", false, true, false},
		{"SELECT * FROM TABLE(RESULT_SCAN(?))", false, true, false},
		{"SELECT autocommit FROM settings", true, true, false},
		{"INSERT INTO t VALUES (1)", false, false, false},
		{"CREATE TABLE x (n INT)", false, false, false},
		{"CALL p()", false, false, false},
		{"SELECT 1; CALL p()", false, false, false},
		{"EXECUTE IMMEDIATE 'BEGIN'", false, false, true},
		{"BEGIN LET x := 1; END", false, false, true},
		{"SELECT 1; EXECUTE IMMEDIATE FROM @s/x.sql", false, false, true},
		{"WITH p AS PROCEDURE () RETURNS INT LANGUAGE SQL AS 'x' CALL p()", false, false, true},
		{"", false, false, false},
	} {
		s := Reader{}.Read(tt.sql)
		if goes, leaves, scripting := s.GoesWithSession(), s.LeavesTransaction(), s.Scripts(); goes != tt.goes || leaves != tt.leaves || scripting != tt.scripting {
			t.Errorf("%q: goes %v, leaves %v, scripts %v; want %v, %v, %v", tt.sql, goes, leaves, scripting, tt.goes, tt.leaves, tt.scripting)
		}
	}
}

// TestWhatARollbackUndoesSinceItsBegin: a text that leaves a transaction open, and nothing else.
func TestWhatARollbackUndoesSinceItsBegin(t *testing.T) {
	for sql, want := range map[string]bool{
		"BEGIN": true, "BEGIN; INSERT INTO t VALUES (1)": true, "START TRANSACTION; DELETE FROM t WHERE a = 1; SELECT 1": true, "SELECT 1; BEGIN; UPDATE t SET a = 1": true,
		"INSERT INTO t VALUES (1); BEGIN": false, "BEGIN; INSERT INTO t VALUES (1); COMMIT": false, "BEGIN; ROLLBACK": false, "ROLLBACK; BEGIN": false,
		"BEGIN; CREATE TABLE x (n INT)": false, "BEGIN; USE ROLE r": false, "BEGIN; CALL p()": false, "BEGIN; INSERT INTO t SELECT my_udf(1)": false, "BEGIN; SELECT my_udf(1)": false,
		"INSERT INTO t VALUES (1)": false, "SELECT 1": false, "": false,
	} {
		if got := (Reader{}).Read(sql).UndoneSinceBegin(); got != want {
			t.Errorf("%q: %v", sql, got)
		}
	}
}
