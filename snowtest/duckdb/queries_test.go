package duckdb_test

import (
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

// Queries that pipelines send and that were refused before.
func TestQueriesOfPipelines(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a INT, v VARIANT)", "INSERT INTO t SELECT 1, {'k': [1, 2, {'z': 'q'}]}", "CREATE SEQUENCE s",
		"CREATE FUNCTION plus(x INT, y INT) RETURNS INT AS 'x + y'",
		"CREATE OR REPLACE FUNCTION upto(n INT) RETURNS TABLE (i INT, twice INT) LANGUAGE SQL AS $$ SELECT a * n, plus(a, n) FROM t $$")
	for query, want := range map[string]string{
		"SELECT 1 FROM dual WHERE 1 = 0":                              "",
		"SELECT 2 FROM DUAL d":                                        "2",
		"SELECT {'a': 1, 'b': {'c': [1, 'x', TRUE]}}:b.c[1]::VARCHAR": "x",
		"SELECT [1, 2][1]::INT, [], {}":                               "2|[]|{}",
		"SELECT v:k[2]:z::VARCHAR FROM t":                             "q",
		"SELECT as_array(v), as_array(v:k)[0], as_integer(v:k[0]), as_varchar(v:k[2].z), as_varchar(v:k[0]), is_object(v) FROM t": "NULL|1|1|q|NULL|1",
		`SELECT parse_json('{\'s\': \'it\\\'s "x"\'}'):s::VARCHAR`:                                                                `it's "x"`,
		"SELECT DISTINCT 'x' FROM TABLE(GENERATOR(TIMELIMIT => 0.002))":                                                           "x",
		"SELECT count(*) FROM TABLE(GENERATOR(ROWCOUNT => 3, TIMELIMIT => 0.002))":                                                "3",
		"SELECT plus(2, plus(3, 4)), db.public.plus(1, a) FROM t":                                                                 "9|2",
		"SELECT * FROM TABLE(upto(5))":                                                                                            "5|6",
		"SELECT schema_name FROM \"INFORMATION_SCHEMA\".schemata ORDER BY 1":                                                      "INFORMATION_SCHEMA;PUBLIC",
		"SELECT sequence_name, start_value FROM information_schema.sequences":                                                     "S|1",
		"SELECT table_schema FROM information_schema.columns WHERE table_schema = 'INFORMATION_SCHEMA' LIMIT 1":                   "INFORMATION_SCHEMA",
		"SELECT f.index, f.value::VARCHAR FROM t, LATERAL FLATTEN(input => v:k) f WHERE f.index < 2 ORDER BY 1":                   "0|1;1|2",
		"SELECT key, path, value::INT, this FROM TABLE(FLATTEN(input => parse_json('{\"a\":{\"x y\":1,\"b\":2}}'), path => 'a'))": "b|a.b|2|{\n  \"b\": 2,\n  \"x y\": 1\n};x y|a['x y']|1|{\n  \"b\": 2,\n  \"x y\": 1\n}",
		"SELECT path FROM TABLE(FLATTEN(parse_json('[1,[2]]'), recursive => TRUE)) ORDER BY 1":                                    "[0];[1];[1][0]",
		"SELECT t.a, f.value FROM t, LATERAL FLATTEN(input => v:none, outer => TRUE) f":                                           "1|NULL",
		"SELECT count(*) FROM t, LATERAL FLATTEN(input => v:none) f":                                                              "0",
		"SELECT 'abc' LIKE ANY ('x%', 'a%'), 'abc' NOT ILIKE ALL ('A%', 'x%'), 'b' LIKE ALL ('b', '_')":                           "1|1|1",
		"SELECT a FROM t QUALIFY row_number() OVER (ORDER BY a) = 1":                                                              "1",
		"EXECUTE IMMEDIATE 'SELECT a + 1 FROM t'":                                                                                 "2",
		"EXECUTE IMMEDIATE $$INSERT INTO t(a) SELECT 7 WHERE FALSE$$":                                                             "0",
	} {
		c.want(query, want)
	}
	c.want("INSERT OVERWRITE INTO t(a) VALUES (8), (9)", "2")
	c.want("SELECT a FROM t ORDER BY a", "8;9")
	c.wantCode("SELECT plus(1)", "002140/42601")
	c.runAll("DROP FUNCTION plus(INT, INT)")
	c.wantCode("SELECT plus(1, 2)", "002140/42601")
	c.wantCode("CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS 'return 1'", "000002/0A000")
}

// INFORMATION_SCHEMA lists its own views, with the columns that they have.
func TestInformationSchemaListsItself(t *testing.T) {
	c := newClient(t)
	for _, view := range []string{"COLUMNS", "DATABASES", "SCHEMATA", "SEQUENCES", "TABLES", "VIEWS"} {
		columns := strings.Split(names(c.run("SELECT * FROM information_schema."+view)), "|")
		c.want("SELECT column_name FROM information_schema.columns WHERE table_schema = 'INFORMATION_SCHEMA' AND table_name = '"+view+"' ORDER BY ordinal_position",
			strings.Join(columns, ";"))
	}
}

// A bind has a number or a name, wherever a value can stand.
func TestBindsAreNumberedOrNamed(t *testing.T) {
	c := newClient(t)
	named := func(name, value string) snowtest.Bind {
		return snowtest.Bind{Name: name, Type: "FIXED", Value: &value}
	}
	c.run("CREATE TABLE t (a INT, b INT)")
	c.run("INSERT INTO t VALUES (:x, :y)", named("x", "1"), named("y", "2"))
	c.want("SELECT :y, :Y, a FROM t WHERE a = :x AND b IN (:y)", "2|2|1", named("x", "1"), named("y", "2"))
	c.want("SELECT :2, :1", "2|1", bind("FIXED", "1"), bind("FIXED", "2"))
	c.wantCode("SELECT :z", "002049/42601", named("x", "1"))
}

// QUERY_HISTORY_BY_SESSION shows what the session has run, the newest first, with the
// tag of the statement or of the session.
func TestQueryHistoryShowsTheSession(t *testing.T) {
	c := newClient(t)
	c.runAll("ALTER SESSION SET QUERY_TAG = 'nightly'", "CREATE TABLE t (a INT)")
	_, _ = c.try("SELECT nope FROM t")
	c.want("SELECT query_text, query_tag, execution_status, error_code FROM TABLE(information_schema.query_history_by_session()) WHERE query_text NOT LIKE 'ALTER%' AND execution_status <> 'RUNNING'",
		"SELECT nope FROM t|nightly|FAILED_WITH_ERROR|000904;CREATE TABLE t (a INT)|nightly|SUCCESS|NULL")
	st := &snowtest.Statement{SQL: "SELECT query_tag FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY_BY_SESSION()) LIMIT 1", QueryID: "x", QueryTag: "once"}
	res, err := c.s.Run(t.Context(), st)
	if err != nil || text(res) != "once" {
		t.Errorf("%v, %v", res, err)
	}
}

// Texts have a largest length, which a session can lower.
func TestRandomTextsHaveALargestLength(t *testing.T) {
	c := newClient(t)
	c.want("SELECT length(randstr(20000000, random()))", "20000000")
	c.wantCode("SELECT randstr(134217729, random())", "100067/54000")
	c.run("ALTER SESSION SET ENABLE_LARGE_VARCHAR_AND_BINARY_IN_RESULT = FALSE")
	c.wantCode("SELECT randstr(20000000, random())", "100067/54000")
}

// Without a current schema, names that are qualified with one are still found.
func TestNamesResolveAfterTheCurrentSchemaWasDropped(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE SCHEMA other", "CREATE TABLE other.t1 (a INT)", "CREATE SCHEMA here", "DROP SCHEMA here")
	c.want("SELECT count(*) FROM other.t1", "0")
	c.wantCode("CREATE TABLE t2 (a INT)", "090106/22000")
}

// Dates and times become text in the formats that the session has set.
func TestTimesAreWrittenInTheSessionsFormats(t *testing.T) {
	c := newClient(t)
	const query = "SELECT '2024-02-03'::DATE::VARCHAR, '10:11:12.5'::TIME || '', '2024-02-03 13:11:12.5'::TIMESTAMP_NTZ::TEXT, to_varchar('2024-02-03 10:11:12.5 +00:00'::TIMESTAMP_LTZ)"
	const standard = "2024-02-03|10:11:12|2024-02-03 13:11:12.500|2024-02-03 10:11:12.500 Z"
	c.want(query, standard)
	c.runAll("ALTER SESSION SET DATE_OUTPUT_FORMAT = 'DD.MM.YY' TIME_OUTPUT_FORMAT = 'HH24:MI:SS.FF3'",
		`ALTER SESSION SET TIMESTAMP_NTZ_OUTPUT_FORMAT = 'DY MON YYYY"at"HH12:MI AM' TIMESTAMP_OUTPUT_FORMAT = 'YYYY-MM-DDTHH24:MI:SS.FF TZH:TZM'`)
	c.want(query, "03.02.24|10:11:12.500|Sat Feb 2024at01:11 PM|2024-02-03T10:11:12.500000000 Z")
	c.run("ALTER SESSION UNSET DATE_OUTPUT_FORMAT, TIME_OUTPUT_FORMAT, TIMESTAMP_NTZ_OUTPUT_FORMAT, TIMESTAMP_OUTPUT_FORMAT")
	c.want(query, standard)
	c.run("ALTER SESSION SET TIMEZONE = 'America/New_York'")
	c.want("SELECT '2024-02-03 00:00:00'::TIMESTAMP_LTZ::VARCHAR", "2024-02-03 00:00:00.000 -0500")
	c.wantCode("ALTER SESSION SET TIME_OUTPUT_FORMAT = 'HH24 o''clock'", "000002/0A000")
}

// An error names the place of an unknown column; it failed before: all were at position 0.
func TestUnknownNamesHaveAPlace(t *testing.T) {
	c := newClient(t)
	c.run("CREATE TABLE t (a INT)")
	for query, want := range map[string]string{
		"SELECT nope FROM t":                       "error line 1 at position 7\ninvalid identifier 'NOPE'",
		"SELECT a,\n  nope(1), t.nope\nFROM t":     "Unknown function NOPE",
		"SELECT a,\n  x.a\nFROM t x WHERE x.b = 1": "error line 3 at position 15\ninvalid identifier 'B'",
	} {
		if _, err := c.try(query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}

// A session parameter that no account has is refused, and changes nothing.
func TestUnknownSessionParametersAreRefused(t *testing.T) {
	c := newClient(t)
	c.wantCode("ALTER SESSION SET QUERY_TAGG = 'x'", "001420/22023")
	c.wantCode("ALTER SESSION SET QUERY_TAG = 'x', NOPE = 1", "001420/22023")
	c.wantCode("ALTER SESSION UNSET NOPE", "001420/22023")
	c.runAll("ALTER SESSION SET USE_CACHED_RESULT = FALSE", "ALTER SESSION SET GO_QUERY_RESULT_FORMAT = 'JSON'")
	c.want("SELECT count(*) FROM TABLE(information_schema.query_history_by_session()) WHERE query_tag <> ''", "0")
}

// SHOW says when each object was created; it failed before: only tables had a time.
func TestShowSaysWhenObjectsWereCreated(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE SCHEMA s1", "CREATE DATABASE d1", "USE SCHEMA db.public", "CREATE VIEW v AS SELECT 1 AS a", "CREATE SEQUENCE q", "CREATE TABLE t (a INT)")
	for _, what := range []string{"SCHEMAS", "DATABASES", "VIEWS", "SEQUENCES", "TABLES"} {
		for _, row := range c.run("SHOW " + what).Rows {
			if row[0] == nil {
				t.Errorf("SHOW %s: %s has no created_on", what, *row[1])
			}
		}
	}
}

// What the engine will not learn is refused in one way: see the list in doc.go.
func TestRefusedForGood(t *testing.T) {
	c := newClient(t)
	c.run("CREATE TABLE t (a INT, b INT)")
	for _, query := range []string{
		"SELECT {'a': 1}::OBJECT(a INT)", "SELECT NULL::MAP(VARCHAR, INT)", "CREATE TABLE m (a ARRAY(INT))",
		"CREATE PROCEDURE p() RETURNS INT LANGUAGE SQL AS $$ BEGIN RETURN 1; END $$", "CALL p()", "EXECUTE IMMEDIATE $$ BEGIN RETURN 1; END $$", "DECLARE x INT",
		"CREATE FUNCTION f() RETURNS INT LANGUAGE PYTHON AS 'x'", "CREATE HYBRID TABLE h (a INT PRIMARY KEY)", "CREATE STREAM s ON TABLE t", "CREATE TASK k AS SELECT 1",
		"SELECT * FROM t AT(OFFSET => -60)", "SELECT * FROM t BEFORE(STATEMENT => 'x')", "SELECT * FROM t MATCH_RECOGNIZE (PATTERN (a))", "SELECT * FROM t PIVOT (sum(a) FOR b IN (1))",
		"SELECT 1::DECFLOAT", "SELECT NULL::GEOGRAPHY", "SELECT NULL::GEOMETRY", "SELECT NULL::VECTOR", "EXPLAIN SELECT 1", "INSERT ALL INTO t SELECT 1, 2", "INSERT FIRST WHEN a = 1 THEN INTO t SELECT 1, 2",
		"SELECT 1 ->> SELECT 2", "SELECT * FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))", "SELECT a FROM t CONNECT BY PRIOR a = b", "SELECT a FROM t START WITH a = 1 CONNECT BY a = b", "SELECT $3 FROM t", "SELECT $1 FROM t, t x",
		"GRANT SELECT ON t TO ROLE x", "UNDROP TABLE t", "SELECT TOP 1 a FROM t", "SELECT a FROM t SAMPLE (10)", "SELECT random(1)", "SELECT count(*) FILTER (WHERE a = 1) FROM t",
	} {
		c.wantCode(query, "000002/0A000")
	}
}

// A name in quotes means the object of exactly that name. DuckDB would take any case.
func TestQuotedNamesKeepTheirCase(t *testing.T) {
	c := newClient(t)
	c.runAll(`CREATE TABLE "small" ("a" INT, B INT)`, `INSERT INTO "small" ("a") VALUES (1)`, `UPDATE "small" SET "a" = 2`)
	c.want(`SELECT "a", s."a" AS x, b FROM "small" s WHERE s."a" = 2`, "2|2|NULL")
	for _, query := range []string{`SELECT a FROM "small"`, `SELECT s.a FROM "small" s`, `INSERT INTO "small" (a) VALUES (1)`, `UPDATE "small" SET A = 1`, `SELECT "b" FROM "small"`} {
		c.wantCode(query, "000904/42000")
	}
	for _, query := range []string{"SELECT * FROM small", "INSERT INTO small VALUES (1, 2)", "DESCRIBE TABLE small", "DELETE FROM small"} {
		c.wantCode(query, "002003/42S02")
	}
}

// $1 is the first column of a table or of VALUES.
func TestColumnsByPosition(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a INT, b VARCHAR)", "INSERT INTO t SELECT $1, $2 FROM VALUES (1, 'x'), (2, 'y')", "SET v = 7")
	c.want("SELECT $2, $1 + 1 AS n FROM t WHERE $1 = 2", "y|3")
	c.want("SELECT $1 FROM (VALUES (1, 'x'), (2, 'y')) WHERE $2 = 'y'", "2")
	c.want("SELECT a, (SELECT max($1) FROM VALUES (5)), $v FROM t ORDER BY $1", "1|5|7;2|5|7")
}

// DESCRIBE SCHEMA and DESCRIBE DATABASE list what there is.
func TestSchemasAndDatabasesAreDescribed(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a INT)", "CREATE VIEW v AS SELECT 1 AS a")
	schema, database := c.run("DESCRIBE SCHEMA public"), c.run("DESC DATABASE db")
	if got := names(schema) + " " + *schema.Rows[0][1] + *schema.Rows[0][2] + *schema.Rows[1][1] + *schema.Rows[1][2]; got != "created_on|name|kind TTABLEVVIEW" {
		t.Error(got)
	}
	if got := *database.Rows[0][1] + *database.Rows[0][2]; got != "PUBLICSCHEMA" {
		t.Error(got)
	}
	c.wantCode("DESCRIBE SCHEMA nope", "002043/02000")
}

// Warehouses are names, which SHOW lists; SHOW OBJECTS lists tables and views.
func TestWarehousesAndObjectsAreShown(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE b (a INT)", "CREATE VIEW a AS SELECT 1 AS x", "CREATE WAREHOUSE big WITH WAREHOUSE_SIZE = 'X-LARGE'")
	c.want("SELECT current_warehouse()", "BIG")
	if got := text(c.run("SHOW WAREHOUSES LIKE 'b%'")); got != "BIG|STARTED|N|Y" {
		t.Error(got)
	}
	res := c.run("SHOW OBJECTS")
	if got := names(res); got != "created_on|name|database_name|schema_name|kind|comment|owner" || len(res.Rows) != 2 || *res.Rows[0][1] != "A" || *res.Rows[0][4] != "VIEW" || *res.Rows[1][4] != "TABLE" {
		t.Error(got, text(res))
	}
	c.wantCode("CREATE WAREHOUSE big", "002002/42710")
	c.runAll("CREATE OR REPLACE WAREHOUSE big", "ALTER WAREHOUSE big SUSPEND", "DROP WAREHOUSE big", "DROP WAREHOUSE IF EXISTS none")
	c.wantCode("DROP WAREHOUSE none", "002003/02000")
}

// A statement that breaks off anywhere, or has a word too many, is carried out or refused, and
// never takes the server with it.
func TestStatementsThatBreakOffAreErrors(t *testing.T) {
	c := newClient(t)
	c.run("CREATE TABLE t (a INT, b VARCHAR, at TIMESTAMP_TZ)")
	for _, query := range []string{
		"INSERT OVERWRITE INTO db.public.t ( a , b ) VALUES ( 1 , 'x' ) , ( 2 , 'y' )", "INSERT INTO t SELECT $1 , $2 , current_timestamp ( ) FROM VALUES ( 1 , 'a' )",
		"UPDATE t AS x SET x . a = 1 , at = '2024-01-01' FROM t y WHERE x . a = y . a", "DELETE FROM t USING t x WHERE t . a = x . a",
		"MERGE INTO t x USING ( SELECT 1 AS a ) y ON x . a = y . a WHEN MATCHED AND x . a = 1 THEN UPDATE SET b = 'z' WHEN NOT MATCHED THEN INSERT ( a ) VALUES ( 1 )",
		"CREATE OR REPLACE TEMPORARY TABLE IF NOT EXISTS u ( a INT AUTOINCREMENT ( 1 , 2 ) PRIMARY KEY , b NUMBER ( 10 , 2 ) DEFAULT 1 COMMENT 'x' , CONSTRAINT k UNIQUE ( a ) ) COMMENT = 'y'",
		"CREATE TABLE w ( a , b ) AS SELECT a , b FROM t", "CREATE SEQUENCE s START WITH = 1 INCREMENT BY = 2", "CREATE FUNCTION f ( a INT ) RETURNS TABLE ( b INT ) LANGUAGE SQL AS 'SELECT a'",
		"ALTER TABLE t ADD COLUMN IF NOT EXISTS c TIMESTAMP , d INT NOT NULL", "ALTER TABLE t ALTER COLUMN b SET DATA TYPE VARCHAR ( 9 ) , a DROP NOT NULL", "ALTER TABLE t RENAME COLUMN b TO c",
		"ALTER TABLE t SWAP WITH u", "COMMENT IF EXISTS ON COLUMN t . a IS 'x'", "DROP TABLE IF EXISTS u CASCADE", "SHOW TERSE TABLES LIKE 'T%' IN SCHEMA db . public STARTS WITH 'T' LIMIT 1",
		"DESCRIBE SCHEMA db . public", "USE SCHEMA db . public", "SET ( x , y ) = ( 1 , 2 )", "UNSET ( x , y )", "ALTER SESSION SET TIMEZONE = 'UTC' , QUERY_TAG = 'x'", "ALTER SESSION UNSET QUERY_TAG",
		"SELECT { 'a' : [ 1 , 2 ] } : a [ 0 ] :: INT , listagg ( DISTINCT b , ',' ) WITHIN GROUP ( ORDER BY b ) FROM t GROUP BY ALL", "SELECT * FROM TABLE ( GENERATOR ( ROWCOUNT => 2 ) )",
		"SELECT f . value FROM t , LATERAL FLATTEN ( input => parse_json ( b ) , path => 'x' ) f", "SELECT CAST ( a AS NUMBER ( 10 , 2 ) ) , EXTRACT ( year FROM at ) , POSITION ( 'a' IN b ) FROM t x",
		"SELECT a FROM t WHERE b NOT LIKE ANY ( 'a' , 'b' ) AND a IN ( SELECT a FROM t )", "SELECT first_value ( a ) IGNORE NULLS OVER ( PARTITION BY b ORDER BY a ) FROM t",
		"SELECT DISTINCT x . * , '2024-01-01' :: DATE + INTERVAL '1 day' FROM t AS x ( a , b ) LEFT JOIN t USING ( a )", "BEGIN TRANSACTION NAME x", "TRUNCATE TABLE IF EXISTS t",
		"CREATE OR REPLACE WAREHOUSE IF NOT EXISTS w WITH x = 1", "EXECUTE IMMEDIATE 'SELECT 1'", "GRANT x",
	} {
		words := strings.Fields(query)
		for n := range words {
			for _, text := range []string{strings.Join(words[:n], " "), strings.Join(append(words[:n:n], words[max(0, n-1):]...), " "), strings.Join(words[n:], " ")} {
				_, _ = c.try(text) // whatever it says
			}
		}
	}
	c.want("SELECT 1", "1")
}
