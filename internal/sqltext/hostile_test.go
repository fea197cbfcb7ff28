package sqltext

import (
	"strings"
	"testing"
)

func TestWhatMayActOutsideIsNeitherRepeatableNorUndone(t *testing.T) {
	checkTable(t, Reader{}, hostile)
}

var hostile = []judged{
	// Calls of what nobody knows, in whatever spelling.
	{"SELECT my_udf(1)", Read, ""},
	{"SELECT my_udf /* x */ -- y\n (1)", Read, ""},
	{"SELECT db.s.f(7)", Read, ""},
	{"SELECT sc . f (1)", Read, ""},
	{"SELECT db..f(1)", Read, ""},
	{"SELECT \"F\"(1)", Read, ""},
	{"SELECT \"UPPER\"(a) FROM t", Read, ""},
	{"SELECT s.upper(a) FROM t", Read, ""},
	{"SELECT 1f(2)", Read, ""},
	{"SELECT 1.f(2)", Read, ""},
	{"SELECT IDENTIFIER('db.s.f')(7)", Read, ""},
	{"SELECT IDENTIFIER($f) (7)", Read, "HV"},
	{"SELECT IDENTIFIER('db').f(7)", Read, ""},
	{"SELECT db.s.m!PREDICT(7)", Read, ""},
	{"SELECT m ! predict (7)", Read, ""},
	{"SELECT * FROM TABLE(m!FORECAST(FORECASTING_PERIODS => 7))", Read, ""},
	{"SELECT * FROM TABLE(my_udtf(1))", Read, ""},
	{"SELECT * FROM TABLE(TO_QUERY('SELECT f(1)'))", Read, ""},
	{"SELECT * FROM TABLE(p())", Read, ""},
	{"SELECT * FROM TABLE my_udtf(1)", Read, ""},
	{"SELECT my_udf(@docs)", Read, ""},
	{"SELECT s.identifier('a')", Read, ""},
	{"SELECT * FROM TABLE(f)(1)", Read, ""},
	{"SELECT * FROM a, LATERAL my_udtf(a.x)", Read, ""},
	{"SELECT * FROM a, LATERAL (f(1))", Read, ""},
	{"SELECT lateral(1)", Read, ""},
	{"SELECT lateral((1))", Read, ""},
	{"SELECT a, lateral((SELECT 1)) FROM t", Read, ""},
	{"SELECT using(1)", Read, ""},
	{"SELECT join(2)", Read, ""},
	{"SELECT $x(1)", Read, "V"},
	{"SELECT $1(1)", Read, ""},
	{"SELECT a[0](1)", Read, ""},
	{"SELECT 'f'(1)", Read, ""},
	{"SELECT * FROM 'f'(1)", Read, ""},
	{"SELECT '@f'(1)", Read, ""},
	{"SELECT f(1) FROM '@my stage/x.csv' (FILE_FORMAT => 'csv')", Read, ""},
	{"SELECT $$f$$(1)", Read, ""},
	{"SELECT f(x)(y)", Read, ""},
	{"SELECT ABS(x)(y)", Read, ""},
	{"SELECT ABS(x).f(y)", Read, ""},
	{"SELECT a.(1)", Read, ""},
	{"SELECT v:f(1)", Read, ""},
	{"SELECT \u212aill(1), \u017fum(2)", Read, ""}, // letters that some fold to K and S
	{"SELECT COMPLETE('m', 'x'), AI_COMPLETE('m', 'y')", Read, ""},
	{"SELECT SNOWFLAKE.CORTEX.COMPLETE('m', 'x')", Read, ""},
	{"SELECT SYSTEM$CANCEL_QUERY('x')", Read, ""},
	{"select system$abort_session(1)", Read, ""},
	{"SELECT SYSTEM$TYPEOF(1)", Read, ""},
	{"SELECT x.INFORMATION_SCHEMA.my_f(1)", Read, ""},
	{"SELECT * FROM TABLE(\"INFORMATION_SCHEMA\".COPY_HISTORY())", Read, ""},
	{"SELECT * FROM TABLE(INFORMATION_SCHEMA.\"COPY_HISTORY\"())", Read, ""},
	{"SELECT * FROM TABLE(INFORMATION_SCHEMA.x.COPY_HISTORY())", Read, ""},
	{"SELECT * FROM TABLE(a.b.INFORMATION_SCHEMA.COPY_HISTORY())", Read, ""},
	{"SELECT * FROM TABLE(COPY_HISTORY())", Read, ""},

	// Words that open a clause in their place, as names of functions elsewhere.
	{"SELECT at(1)", Read, ""},
	{"SELECT a, over(1)", Read, ""},
	{"SELECT 1 + seed(1)", Read, ""},
	{"SELECT x FROM t WHERE PRIOR seed(1) = 1", Read, ""},
	{"SELECT x FROM t LIMIT at(1)", Read, ""},
	{"SELECT pivot(1), unpivot(2), changes(3), before(4)", Read, ""},
	{"SELECT a, cube(3) FROM t", Read, ""},
	{"SELECT a FROM t GROUP BY a HAVING b, cube(3)", Read, ""},
	{"SELECT rollup(3) FROM t", Read, ""},
	{"SELECT 2 * exclude(3)", Read, ""},
	{"SELECT a * rename(3) FROM t", Read, ""},
	{"SELECT bernoulli(3)", Read, ""},
	{"SELECT block(3)", Read, ""},
	{"SELECT directory(4)", Read, ""},
	{"SELECT pattern(6)", Read, ""},
	{"SELECT first(7)", Read, ""},
	{"SELECT classifier()", Read, ""},
	{"SELECT SUM(a) OVER (ORDER BY first(b)) FROM t", Read, ""},
	{"SELECT unset(1)", Read, ""},
	{"SELECT explain(1)", Read, ""},
	{"SELECT -exclude(3) FROM t", Read, ""},
	{"SELECT a FROM t GROUP BY a + cube(3)", Read, ""},
	{"SELECT a FROM t GROUP BY s.cube(a)", Read, ""},
	{"SELECT * FROM t \"AT\" (x)", Read, ""},
	{"SELECT * FROM t \"MAP\" (k, v)", Read, ""},
	{"SELECT v:as f(1) FROM t", Read, ""},
	{"SELECT number(3)", Read, ""},
	{"SELECT * FROM t START WITH f(1) CONNECT BY a = PRIOR b", Read, ""},
	{"SELECT * FROM t START WITH f(1) AS x", Read, ""},
	{"SELECT TOP (5) f(1)", Read, ""},
	{"SELECT DISTINCT ON (a) f(1) FROM t", Read, ""},
	{"SELECT * FROM s MATCH_RECOGNIZE (ORDER BY d PATTERN (a) DEFINE a AS f(p) > 1)", Read, ""},
	{"SELECT * FROM s MATCH_RECOGNIZE (ORDER BY d MEASURES f(p) AS x PATTERN (a) DEFINE a AS p > 1)", Read, ""},
	{"SELECT * FROM s MATCH_RECOGNIZE (ORDER BY d PATTERN (a) DEFINE a AS CAST(f(p) AS NUMBER(3)) > 1)", Read, ""},
	{"SELECT * FROM t PIVOT (f(amount) FOR month IN ('JAN'))", Read, ""},
	{"SELECT * FROM t AT (TIMESTAMP => f(1))", Read, ""},
	{"SELECT SUM(x) OVER (ORDER BY f(y)) FROM t", Read, ""},
	{"SELECT CAST(f(x) AS NUMBER(3))", Read, ""},
	{"SELECT TRANSFORM(a, x -> f(x))", Read, ""},
	{"SELECT CASE WHEN f(1) THEN 1 END", Read, ""},
	{"SELECT DISTINCT f(1)", Read, ""},
	{"SELECT (f(1))", Read, ""},
	{"SELECT a FROM t WHERE x IN (f(1))", Read, ""},
	{"SELECT a FROM t JOIN u ON (a = b) f(1)", Read, ""},
	{"SELECT a /*c*/, f(1) FROM t", Read, ""},
	{"VALUES (f(1))", Read, ""},
	{"EXPLAIN SELECT f(1)", Read, ""},
	{"WITH a AS (SELECT f(1)) SELECT * FROM a", Read, ""},
	{"WITH a (x) AS (SELECT 1) SELECT x, f(1) AS y FROM a", Read, ""},
	{"WITH a AS (SELECT 1) (SELECT 1 UNION SELECT f(2))", Read, ""},
	{"SELECT WITH f(1), 2", Read, ""},
	{"SELECT * FROM (WITH x f(1) AS (SELECT 1) SELECT 1)", Read, ""},
	{"WITH a AS (SELECT f(1)) (SELECT * FROM a)", Read, ""},
	{"SELECT " + strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200), Read, ""},
	{"SELECT (1", Read, ""},
	{"SELECT 1)", Read, ""},
	{"SELECT 'a", Read, ""},
	{"SELECT \"a", Read, ""},
	{"SELECT $$a", Read, ""},

	// Where a text is cut: comments that end at a carriage return, quotes, chains.
	{"SELECT 1 --\rFROM db.s.f(1)", Read, ""},
	{"SELECT 1 //\r, f(1)", Read, ""},
	{"SELECT 'it''s', f('a\\'b')", Read, ""},
	{"SELECT 1 ->> CREATE TABLE x AS SELECT * FROM $1", Read, ""},
	{"SELECT 1 ->> CREATE TEMPORARY TABLE x AS SELECT * FROM $1", Read, ""},
	{"SHOW TABLES ->> DELETE FROM t", Read, "U"},
	{"SELECT 1 ->> CALL p()", Read, ""},
	{"SELECT 1 ->> COMMIT", Read, "E"},
	{"SELECT 1;->>; DELETE FROM t", Read, "UM"},
	{"SELECT 1; ->> SELECT 2", Read, "RUM"},
	{"SELECT 1 ->> ; SELECT 2", Read, "RUM"},
	{"SELECT 1 ->> ->> SELECT 2", Read, "RU"},
	{"(SELECT 1 ->> SELECT 2)", Read, ""},

	// Data changed where a query is expected, and the other way round.
	{"WITH x AS (DELETE FROM t) SELECT 1", Unknown, ""},
	{"WITH x AS (SELECT 1), y AS (UPDATE t SET a = 1) SELECT 1", Unknown, ""},
	{"WITH x AS (WITH z AS (SELECT 1) MERGE INTO t USING z ON 1 = 1) SELECT 1", Unknown, ""},
	{"WITH x AS (SELECT * FROM (INSERT INTO t VALUES (1))) SELECT 1", Unknown, ""},
	{"WITH x AS (SHOW TABLES) SELECT 1", Unknown, ""},
	{"WITH x AS (SELECT INSERT('abc', 1, 1, 'x')) SELECT 1", Read, "RU"},
	{"WITH x AS (SELECT 1) CALL p()", Unknown, ""},
	{"WITH x AS (SELECT 1) (DELETE FROM t)", Unknown, ""},
	{"WITH x AS (SELECT 1)", Unknown, ""},
	{"WITH x AS (SELECT 1", Unknown, ""},
	{"WITH x (a AS (SELECT 1) SELECT 1", Unknown, ""},
	{"WITH x (a; AS (SELECT 1) SELECT 1", Unknown, "M"},
	{"WITH x AS SELECT 1", Unknown, ""},
	{"WITH x AS PROCEDURE SELECT 1) SELECT 1", Unknown, ""},
	{"WITH x IS (SELECT 1) SELECT 1", Unknown, ""},
	{"WITH x y AS (SELECT 1) SELECT 1", Unknown, ""},
	{"WITH x AS (SELECT * FROM (DELETE SELECT)) SELECT 1", Unknown, ""},
	{"WITH 1 AS (SELECT 1) SELECT 1", Unknown, ""},
	{"WITH", Unknown, ""},
	{"SELECT * FROM (DELETE FROM t)", Read, ""},
	{"SELECT * FROM (UPDATE t SET a = 1)", Read, ""},
	{"SELECT * FROM (MERGE INTO t USING u ON 1 = 1)", Read, ""},
	{"SELECT a INTO :x FROM t", Read, ""},
	{"INSERT INTO t SELECT db.s.f(7)", DML, ""},
	{"INSERT INTO t (a) VALUES (f(1))", DML, ""},
	{"INSERT INTO t (f(1)) VALUES (1)", DML, ""},
	{"INSERT INTO t f(1)", DML, ""},
	{"INSERT INTO IDENTIFIER('t') (a) VALUES (f(1))", DML, ""},
	{"UPDATE t SET a = f(1)", DML, ""},
	{"DELETE FROM t WHERE f(a)", DML, ""},
	{"MERGE INTO t USING f(1) ON 1 = 1 WHEN MATCHED THEN DELETE", DML, ""},
	{"MERGE INTO t USING u ON 1 = 1 WHEN NOT MATCHED THEN INSERT (a) VALUES (f(1))", DML, ""},
	{"COPY INTO t FROM (SELECT f($1) FROM @s)", DML, ""},
	{"COPY INTO t FROM @s PURGE = $p", DML, "V"},
	{"COPY t", DML, ""},
	{"COPY INTO $t FROM @s", DML, "V"},
	{"SET x = f(1)", Session, ""},

	// Asking the session in other spellings.
	{"SELECT \"LAST_QUERY_ID\"()", Read, "H"},
	{"SELECT snowflake.local.last_query_id()", Read, "H"},
	{"SELECT * FROM TABLE(RESULT_SCAN(-1))", Read, "UH"},
	{"SELECT * FROM TABLE(RESULT_SCAN())", Read, "UH"},
	{"SELECT * FROM TABLE(RESULT_SCAN('_last'))", Read, "UH"},
	{"SELECT * FROM TABLE(RESULT_SCAN(''))", Read, "UH"},
	{"SELECT * FROM TABLE(RESULT_SCAN('01b2c3d4-0000-0000-0000-000000000000' || x))", Read, "UH"},
	{"SELECT * FROM TABLE(\"RESULT_SCAN\"('01a2b3c4-0000-1111-0000-000000000001'))", Read, ""},
	{"DESC RESULT $q", Read, "UHV"},
	{"INSERT INTO last_query_id (a) VALUES (1)", DML, "U"},

	// What looks as if a second run of it found the object of the first, or replaced it.
	{"CREATE TEMP REPLACE TABLE t (a INT)", Session, ""},
	{"CREATE OR REPLACE TEMP TABLE IF NOT EXISTS t (a INT)", Session, ""},
	{"CREATE TEMP TABLE IF NOT t LIKE u", Session, ""},
	{"CREATE TEMP TABLE IF IT EXISTS (a INT)", Session, ""},
	{"CREATE TEMP TABLE t (if NOT EXISTS)", Session, ""},
	{"CREATE TEMP TABLE t AS SELECT if NOT EXISTS FROM u", Session, ""},
	{"CREATE OR REPLACE TEMP STAGE s AS SELECT view FROM t", Session, ""},
	{"CREATE OR REPLACE TEMP TABLE t (a INT) AS SELECT REFERENCES f(1)", Session, ""},

	// What does not begin as known.
	{"FROM t SELECT 1", Unknown, ""},
	{"{call p()}", Unknown, ""},
	{"'SELECT' 1", Unknown, ""},
	{"\"SELECT\" 1", Unknown, ""},
	{"ÉSELECT 1", Unknown, ""},
	{"IF (1 = 1) THEN COMMIT; END IF", Unknown, "M"},
	{"START WORK", Unknown, ""},
	{"EXPLAIN", Unknown, ""},
	{"EXPLAIN EXPLAIN SELECT 1", Unknown, ""},
	{"EXPLAIN BEGIN", Unknown, ""},
	{"EXPLAIN DROP TABLE t", Unknown, ""},
	{"EXPLAIN WITH x AS (DELETE FROM t) SELECT 1", Unknown, ""},
	{"EXPLAIN (SELECT 1)", Read, "RU"},
	{strings.Repeat("A", 100) + " 1", Unknown, ""},
}

func TestFunctionsThatTheProgramVouchesForAreHarmless(t *testing.T) {
	r, err := NewReader("my_udf", "db.s.F", "sc.g", "identifier", "last_query_id")
	if err != nil {
		t.Fatal(err)
	}
	checkTable(t, r, []judged{
		{"SELECT my_udf(1), MY_UDF (2)", Read, "RU"},
		{"SELECT DB . /* x */ S.f(1)", Read, "RU"},
		{"SELECT * FROM TABLE(sc.g(1))", Read, "RU"},
		{"INSERT INTO t SELECT db.s.f(a) FROM u", DML, "U"},
		{"SELECT f(1)", Read, ""},
		{"SELECT s.f(1)", Read, ""},
		{"SELECT x.db.s.f(1)", Read, ""},
		{"SELECT db.s.f.x(1)", Read, ""},
		{"SELECT db.s(1)", Read, ""},
		{"SELECT db..f(1)", Read, ""},
		{"SELECT g(1), x.my_udf(2)", Read, ""},
		{"SELECT \"MY_UDF\"(1)", Read, ""},
		{"SELECT db.\"S\".f(1)", Read, ""},
		{"SELECT m!my_udf(1)", Read, ""},
		{"SELECT my_udfs(1)", Read, ""},
		{"SELECT IDENTIFIER('x')(1)", Read, ""},
		{"SELECT LAST_QUERY_ID()", Read, "UH"},
	})
}

func TestNamesOfHarmlessFunctionsAreChecked(t *testing.T) {
	for _, name := range []string{"f", "_f", "f$1", "s.f", "db.s.f", "DB.S.F2", "my_system$x"} {
		if _, err := NewReader(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", " ", "f ", "a b", "1f", "9f", "$f", "f()", `"F"`, "a..b", ".f", "f.", "a.b.c.d", "m!f", "é", "\x80", "f\nSELECT", "'f'",
		"SYSTEM$", "SYSTEM$WAIT", "system$x", "a.System$Abort_Session",
	} {
		_, err := NewReader("ok", name)
		if err == nil {
			t.Errorf("%q: accepted", name)
		} else if text := err.Error(); !strings.HasPrefix(text, "name 2 ") || strings.ContainsAny(text, "\r\n") || strings.Contains(text, "snowtether") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
