package duckdb_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

func TestDDLAnswersInSnowflakesWords(t *testing.T) {
	c := newClient(t)
	for _, step := range [][2]string{
		{"CREATE TABLE t (a INT)", "Table T successfully created."},
		{"CREATE TABLE IF NOT EXISTS t (a INT)", "T already exists, statement succeeded."},
		{"CREATE OR REPLACE TRANSIENT TABLE t (a NUMBER(10,2), \"b c\" STRING) COMMENT = 'x' DATA_RETENTION_TIME_IN_DAYS = 1", "Table T successfully created."},
		{"CREATE TABLE db.public.u AS SELECT 1 AS one, 'x' AS two", "Table U successfully created."},
		{"CREATE TABLE like_t LIKE t", "Table LIKE_T successfully created."},
		{"CREATE TEMPORARY TABLE tmp (a INT)", "Table TMP successfully created."},
		{"CREATE VIEW v AS SELECT one / 2 AS half FROM u", "View V successfully created."},
		{"CREATE OR REPLACE VIEW v (h) AS SELECT one / 2 FROM u", "View V successfully created."},
		{"CREATE SEQUENCE s START = 5 INCREMENT = 2", "Sequence S successfully created."},
		{"ALTER TABLE t ADD COLUMN d DATE, e INT DEFAULT 7", "Statement executed successfully."},
		{"ALTER TABLE t RENAME COLUMN d TO dd", "Statement executed successfully."},
		{"ALTER TABLE t DROP COLUMN dd", "Statement executed successfully."},
		{"ALTER TABLE t ALTER COLUMN a SET DATA TYPE NUMBER(20,2)", "Statement executed successfully."},
		{"ALTER TABLE t RENAME TO t2", "Statement executed successfully."},
		{"ALTER TABLE IF EXISTS nope ADD COLUMN a INT", "Statement executed successfully."},
		{"ALTER TABLE t2 SWAP WITH u", "Statement executed successfully."},
		{"TRUNCATE TABLE IF EXISTS u", "Statement executed successfully."},
		{"COMMENT ON TABLE u IS 'the table'", "Statement executed successfully."},
		{"COMMENT ON COLUMN u.a IS 'the column'", "Statement executed successfully."},
		{"DROP VIEW v", "V successfully dropped."},
		{"DROP TABLE IF EXISTS nope", "Drop statement executed successfully (NOPE already dropped)."},
		{"DROP TABLE like_t", "LIKE_T successfully dropped."},
		{"CREATE SCHEMA s2", "Schema S2 successfully created."},
		{"CREATE SCHEMA IF NOT EXISTS s2", "S2 already exists, statement succeeded."},
		{"DROP SCHEMA s2", "S2 successfully dropped."},
		{"CREATE DATABASE d2", "Database D2 successfully created."},
		{"DROP DATABASE d2", "D2 successfully dropped."},
		{"USE DATABASE db", "Statement executed successfully."},
	} {
		if got := text(c.run(step[0])); got != step[1] {
			t.Errorf("%s: %s, want %s", step[0], got, step[1])
		}
	}
	c.want("SELECT * FROM t2", "1|x")
	c.want("SELECT s.nextval, s.nextval", "5|7")
	c.wantCode("SELECT * FROM d2.public.x", "002003/02000")
}

// TestColumnByPosition: golang-migrate looks for its table WHERE table_name = $1, which is the
// first column of the view, and leaves it to CREATE TABLE IF NOT EXISTS.
func TestColumnByPosition(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a INT, b INT)", "INSERT INTO t VALUES (1, 2), (3, 3)")
	c.want("SELECT $2, a FROM db.public.t WHERE $1 = $2 LIMIT 1", "3|3")
	c.want("SELECT COUNT(1) FROM information_schema.tables WHERE table_name = $1 AND table_schema = (SELECT current_schema()) LIMIT 1", "0")
	c.wantCode("SELECT $1 FROM t, t AS u", "000002/0A000")
}

// TestTimestampsHaveTheStandardsNamesToo: sql-migrate's table has one WITH TIME ZONE.
func TestTimestampsHaveTheStandardsNamesToo(t *testing.T) {
	c := newClient(t)
	c.run("CREATE TABLE t (a TIMESTAMP WITH TIME ZONE, b TIMESTAMP WITH LOCAL TIME ZONE, c TIMESTAMP WITHOUT TIME ZONE, d TIMESTAMP, time INT)")
	for column, want := range map[string]string{"A": "TIMESTAMP_TZ(9)", "B": "TIMESTAMP_LTZ(9)", "C": "TIMESTAMP_NTZ(9)", "D": "TIMESTAMP_NTZ(9)", "TIME": "NUMBER(38,0)"} {
		if got := text(c.run("DESCRIBE TABLE t")); !strings.Contains(got, column+"|"+want+"|") {
			t.Errorf("%s is not %s: %s", column, want, got)
		}
	}
	c.wantCode("SELECT NULL::TIMESTAMP WITH TIME", "001003/42000")
}

func TestTableKeepsDefaultsIdentityAndLengths(t *testing.T) {
	c := newClient(t)
	c.run(`CREATE TABLE t (id INT AUTOINCREMENT START 10 INCREMENT 5 PRIMARY KEY, other INT IDENTITY(1, 1), s VARCHAR(3) DEFAULT 'abc' NOT NULL COMMENT 'text',
		at TIMESTAMP_LTZ DEFAULT CURRENT_TIMESTAMP(), n NUMBER(10,2) DEFAULT 1/3, UNIQUE (s), FOREIGN KEY (n) REFERENCES elsewhere (n)) CLUSTER BY (id)`)
	// Keys are not enforced, lengths and NOT NULL are.
	c.runAll("INSERT INTO t (id) VALUES (10)", "INSERT INTO t (other) VALUES (1)", "INSERT INTO t (s) VALUES (DEFAULT)")
	c.want("SELECT id, other, s, n, at IS NOT NULL FROM t ORDER BY id, other", "10|1|abc|0.33|1;10|1|abc|0.33|1;15|2|abc|0.33|1")
	c.run("CREATE OR REPLACE TABLE copy CLONE t")
	c.want("SELECT count(*) FROM copy", "3")
	c.wantCode("INSERT INTO copy (s) VALUES ('long')", "100078/22000")
	c.run("CREATE OR REPLACE TABLE t (id INT AUTOINCREMENT)")
	c.run("INSERT INTO t SELECT seq4() FROM TABLE(GENERATOR(ROWCOUNT => 0))")
	c.want("SELECT count(*) FROM t", "0")
}

func TestDescribeAndShow(t *testing.T) {
	c := newClient(t)
	c.run(`CREATE TABLE t (id INT NOT NULL, n NUMBER(10,2), f FLOAT, s VARCHAR(5) COMMENT 'note', x TEXT, b BOOLEAN, d DATE, tm TIME, ntz DATETIME, ltz TIMESTAMP_LTZ,
		tz TIMESTAMP_TZ, bin BINARY, v VARIANT, o OBJECT, a ARRAY) COMMENT = 'a table'`)
	c.runAll("CREATE TABLE other (a INT)", "INSERT INTO t (id) VALUES (1), (2)", "DELETE FROM t WHERE id = 1", "CREATE VIEW w AS SELECT 1 AS one", "CREATE TEMPORARY TABLE mine (a INT)")
	res := c.run("DESCRIBE TABLE t")
	var types []string
	for _, row := range res.Rows {
		types = append(types, *row[0]+" "+*row[1]+" "+*row[3])
	}
	want := "ID NUMBER(38,0) N,N NUMBER(10,2) Y,F FLOAT Y,S VARCHAR(5) Y,X VARCHAR(16777216) Y,B BOOLEAN Y,D DATE Y,TM TIME(9) Y,NTZ TIMESTAMP_NTZ(9) Y," +
		"LTZ TIMESTAMP_LTZ(9) Y,TZ TIMESTAMP_TZ(9) Y,BIN BINARY(8388608) Y,V VARIANT Y,O OBJECT Y,A ARRAY Y"
	if got := strings.Join(types, ","); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c.run("CREATE TABLE sized (tm TIME(0), ts TIMESTAMP_NTZ(3), tz TIMESTAMP_TZ(6), bin BINARY(16), i NUMBER(5), c CHAR(2))")
	if got := text(c.run("SHOW COLUMNS IN TABLE sized")); !strings.Contains(got, `"scale":3,"type":"TIMESTAMP_NTZ"`) || !strings.Contains(got, `"length":16`) {
		t.Errorf("SHOW COLUMNS: %s", got)
	}
	c.run("CREATE OR REPLACE TABLE sized (d DATE DEFAULT '2024-01-01'::DATE, ts TIMESTAMP_LTZ DEFAULT CURRENT_TIMESTAMP(), n INT DEFAULT 5)")
	var defaults []string
	for _, row := range c.run("DESC TABLE sized").Rows {
		defaults = append(defaults, *row[4])
	}
	if got := strings.Join(defaults, "|"); got != "CAST('2024-01-01' AS DATE)|CURRENT_TIMESTAMP()|5" {
		t.Errorf("defaults: %s", got)
	}
	c.run("DROP TABLE sized")
	if *res.Rows[3][9] != "note" || res.Columns[3].Name != "null?" {
		t.Errorf("DESCRIBE: %s", text(res))
	}
	pick := func(query string, columns ...string) string {
		t.Helper()
		res := c.run(query)
		var rows []string
		for _, row := range res.Rows {
			var values []string
			for _, name := range columns {
				i := 0
				for i < len(res.Columns) && res.Columns[i].Name != name {
					i++
				}
				if i == len(res.Columns) {
					t.Fatalf("%s: no column %s in %s", query, name, names(res))
				}
				v := "NULL"
				if row[i] != nil {
					v = *row[i]
				}
				values = append(values, v)
			}
			rows = append(rows, strings.Join(values, "|"))
		}
		return strings.Join(rows, ";")
	}
	for _, test := range []struct {
		query   string
		columns string
		want    string
	}{
		{"SHOW TABLES LIKE 't'", "name database_name schema_name kind rows comment", "T|DB|PUBLIC|TABLE|1|a table"},
		{"SHOW TABLES", "name kind", "MINE|TEMPORARY;OTHER|TABLE;T|TABLE"},
		{"SHOW TABLES IN DATABASE db STARTS WITH 'O'", "name", "OTHER"},
		{"SHOW TERSE TABLES IN ACCOUNT LIMIT 1", "name", ""},
		{"SHOW VIEWS", "name schema_name", "W|PUBLIC"},
		{"SHOW SCHEMAS", "name is_current database_name", "PUBLIC|Y|DB"},
		{"SHOW DATABASES", "name is_current", "DB|Y"},
		{"SHOW COLUMNS IN TABLE other", "table_name column_name data_type null?", `OTHER|A|{"nullable":true,"precision":38,"scale":0,"type":"FIXED"}|true`},
		{"SHOW PARAMETERS LIKE 'autocommit'", "key value default type", "AUTOCOMMIT|true|true|BOOLEAN"},
	} {
		got := pick(test.query, strings.Fields(test.columns)...)
		if test.want == "" && len(strings.Split(got, ";")) == 1 && got != "" {
			continue
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.query, got, test.want)
		}
	}
	c.want("SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'PUBLIC' ORDER BY 1", "OTHER|BASE TABLE;T|BASE TABLE;W|VIEW")
	c.want("SELECT column_name, data_type FROM db.information_schema.columns WHERE table_name = 'T' AND ordinal_position IN (1, 4, 11) ORDER BY ordinal_position", "ID|NUMBER;S|TEXT;TZ|TIMESTAMP_TZ")
	c.want("SELECT schema_name FROM information_schema.schemata ORDER BY 1", "INFORMATION_SCHEMA;PUBLIC")
	c.wantCode("DESCRIBE TABLE nope", "002003/42S02")
	// An empty list would say that there is such a schema.
	for _, q := range []string{"SHOW TABLES IN nope", "SHOW VIEWS IN SCHEMA db.nope", "SHOW SCHEMAS IN DATABASE nope", "SHOW COLUMNS IN DATABASE nope"} {
		c.wantCode(q, "002043/02000")
	}
	c.wantCode("SELECT * FROM nope.information_schema.tables", "002003/02000")
	c.wantCode("SHOW USERS", "000002/0A000")
}

func TestSessionsShareDataAndKeepTheirOwnState(t *testing.T) {
	e := newEngine(t)
	a, b := open(t, e), open(t, e, "TIMEZONE=America/New_York")
	a.runAll("CREATE SCHEMA mine", "CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)", "SET x = 'it''s'", "ALTER SESSION SET QUERY_TAG = 'a', TIMEZONE = 'Asia/Tokyo'")
	a.want("SELECT current_schema(), $x, $x || '!', current_user(), current_role(), current_warehouse(), current_session() > 0", "MINE|it's|it's!|TESTER|SYSADMIN|WH|1")
	b.want("SELECT current_schema(), current_database()", "PUBLIC|DB")
	b.want("SELECT a FROM mine.t", "1")
	b.wantCode("SELECT $x", "002211/02000")
	b.wantCode("SELECT a FROM t", "002003/42S02")
	a.want("SELECT '2024-01-01 00:00:00'::TIMESTAMP_LTZ", "1704034800.000000000")
	b.want("SELECT '2024-01-01 00:00:00'::TIMESTAMP_LTZ", "1704085200.000000000")
	res := b.run("USE SCHEMA mine")
	if res.Database != "DB" || res.Schema != "MINE" || res.Kind != snowtest.KindSCL {
		t.Errorf("USE SCHEMA: %+v", res)
	}
	b.want("SELECT a FROM t", "1")
	res = b.run("ALTER SESSION SET AUTOCOMMIT = FALSE LOCK_TIMEOUT = 5 QUERY_TAG = 'tag'")
	if len(res.Parameters) != 3 || res.Parameters["AUTOCOMMIT"] != false || res.Parameters["LOCK_TIMEOUT"] != int64(5) || res.Parameters["QUERY_TAG"] != "tag" {
		t.Errorf("ALTER SESSION: %v", res.Parameters)
	}
	res = b.run("ALTER SESSION SET JS_TREAT_INTEGER_AS_BIGINT = TRUE")
	if res.Parameters["JS_TREAT_INTEGER_AS_BIGINT"] != true {
		t.Errorf("ALTER SESSION: %v", res.Parameters)
	}
	res = b.run("ALTER SESSION UNSET AUTOCOMMIT")
	if res.Parameters["AUTOCOMMIT"] != true {
		t.Errorf("UNSET: %v", res.Parameters)
	}
	b.wantCode("ALTER SESSION SET TIMEZONE = 'No/Where'", "001006/22023")
	b.wantCode("ALTER SESSION SET AUTOCOMMIT = 5", "001006/22023")
	b.wantCode("ALTER SESSION SET ROWS_PER_RESULTSET = 10", "000002/0A000")
	b.wantCode("USE ROLE analyst please", "001003/42000")
	a.run("UNSET x")
	a.wantCode("SELECT $x", "002211/02000")
	a.run("SET (y, z) = (1, '2024-01-01'::DATE)")
	a.want("SELECT $y + 1, $z", "2|19723")
	if got := text(a.run("SHOW VARIABLES")); got != fmt.Sprintf("%d|Y|1;%d|Z|2024-01-01", a.id, a.id) {
		t.Errorf("SHOW VARIABLES: %s", got)
	}
	a.runAll("SET (t, f, b) = ('12:13:14'::TIME, 0.5::FLOAT, TRUE)", "SET bin = TO_BINARY('AB00')", "SET tz = '2024-01-01 00:00:00.5 +02:00'::TIMESTAMP_TZ")
	a.want("SELECT $t, $f, NOT $b, $bin, $tz::TIMESTAMP_LTZ = '2023-12-31 22:00:00.5 +00:00'::TIMESTAMP_LTZ", "43994.000000000|0.5|0|AB00|1")
	a.wantCode("SET (x, y) = (1, 2, 3)", "002213/42601")
	if res := a.run("USE ROLE analyst"); res.Role != "ANALYST" {
		t.Errorf("USE ROLE: %+v", res)
	}
	if res := a.run("USE WAREHOUSE big"); res.Warehouse != "BIG" {
		t.Errorf("USE WAREHOUSE: %+v", res)
	}
	a.run("SELECT 'x'")
	a.want("SELECT last_query_id()", "01-S")
}

func TestWithPathKeepsOneDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sales.duckdb")
	for round := range 2 {
		e, err := duckdb.New(duckdb.WithPath(file))
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.OpenSession(context.Background(), snowtest.SessionConfig{ID: 1})
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t, s, 1}
		c.want("SELECT current_database()", "SALES")
		if round == 0 {
			c.runAll("CREATE TABLE t (id INT AUTOINCREMENT, v VARIANT, s VARCHAR(3))", "INSERT INTO t (v) SELECT parse_json('[1]')", "CREATE VIEW w AS SELECT id / 2 AS h FROM t")
		}
		c.want("SELECT id, v[0]::INT FROM t", "1|1")
		c.want("SELECT h FROM w", "0.500000")
		c.wantCode("CREATE DATABASE other", "000002/0A000")
		if _, err := e.OpenSession(context.Background(), snowtest.SessionConfig{ID: 2, Database: "other"}); code(err) != "002003/02000" {
			t.Errorf("another database: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangesAreCountedAsSnowflakeCounts(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (id INT, s VARCHAR)", "CREATE TABLE src (id INT, s VARCHAR)", "INSERT INTO src VALUES (1, 'one'), (1, 'uno'), (3, 'three'), (9, 'nine')")
	for _, test := range []struct {
		sql, names, counts string
		kind               snowtest.Kind
	}{
		{"INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')", "number of rows inserted", "3", snowtest.KindInsert},
		{"INSERT INTO t (id) SELECT id + 100 FROM t", "number of rows inserted", "3", snowtest.KindInsert},
		{"UPDATE t SET s = 'z', id = t.id WHERE id > 100", "number of rows updated|number of multi-joined rows updated", "3|0", snowtest.KindUpdate},
		{"UPDATE t SET t.s = x.s FROM src x WHERE t.id = x.id", "number of rows updated|number of multi-joined rows updated", "2|1", snowtest.KindUpdate},
		{"DELETE FROM t USING src WHERE t.id = src.id AND src.id = 1", "number of rows deleted", "1", snowtest.KindDelete},
		{"DELETE FROM t WHERE id > 100", "number of rows deleted", "3", snowtest.KindDelete},
		{"MERGE INTO t USING (SELECT id, min(s) AS s FROM src GROUP BY id) x ON t.id = x.id WHEN MATCHED AND x.id = 3 THEN UPDATE SET t.s = x.s, id = t.id WHEN NOT MATCHED THEN INSERT (t.id, s) VALUES (x.id, x.s)",
			"number of rows inserted|number of rows updated", "2|1", snowtest.KindMerge},
		{"MERGE INTO t USING src x ON t.id = x.id WHEN MATCHED THEN DELETE", "number of rows deleted", "3", snowtest.KindMerge},
		{"MERGE INTO t a USING (VALUES (2, 'new'), (7, 'seven')) x(id, s) ON a.id = x.id WHEN MATCHED AND a.s = 'b' THEN DELETE WHEN MATCHED THEN UPDATE SET s = x.s WHEN NOT MATCHED AND x.id > 5 THEN INSERT VALUES (x.id, x.s)",
			"number of rows inserted|number of rows updated|number of rows deleted", "1|0|1", snowtest.KindMerge},
	} {
		res := c.run(test.sql)
		if names(res) != test.names || text(res) != test.counts || res.Kind != test.kind {
			t.Errorf("%s:\n got %s: %s (%x)\nwant %s: %s (%x)", test.sql, names(res), text(res), res.Kind, test.names, test.counts, test.kind)
		}
	}
	c.want("SELECT * FROM t ORDER BY id", "7|seven")
	// A target row that two source rows would change is an error, and nothing is done.
	c.run("INSERT INTO t VALUES (1, 'first')")
	c.wantCode("MERGE INTO t USING src x ON t.id = x.id WHEN MATCHED THEN UPDATE SET s = x.s WHEN NOT MATCHED THEN INSERT VALUES (x.id, x.s)", "100090/42P18")
	c.want("SELECT * FROM t ORDER BY id", "1|first;7|seven")
	// Values become text as Snowflake writes it.
	c.runAll("CREATE TABLE x (s VARCHAR, bin BINARY)", "INSERT INTO x VALUES ('2024-01-01'::TIMESTAMP, '41'), (1.0::FLOAT, NULL)",
		"INSERT INTO x (s) SELECT '2024-01-01'::TIMESTAMP_LTZ UNION ALL SELECT '2024-01-02'::TIMESTAMP_LTZ", "INSERT INTO x SELECT 1.50, '42'")
	c.want("SELECT * FROM x", "2024-01-01 00:00:00.000|41;1|NULL;2024-01-01 00:00:00.000 Z|NULL;2024-01-02 00:00:00.000 Z|NULL;1.50|42")
	c.runAll("CREATE OR REPLACE TABLE x (id INT, s VARCHAR, tz TIMESTAMP_TZ, d DATE, bin BINARY)", "INSERT INTO x (id, tz, d) VALUES (2.5::FLOAT, '2024-02-29 12:00:00 +05:30', '29-FEB-2024')",
		"INSERT INTO x (id, tz) SELECT '4.5', '2024-02-29 12:00:00 +05:30'")
	c.want("SELECT id, tz, d FROM x ORDER BY id", "3|1709188200.000000000 1770|19782;5|1709188200.000000000 1770|NULL")
	c.run("UPDATE x SET x.s = '2024-01-01'::TIMESTAMP, tz = '2024-01-01 00:00:00 -01:00', id = 6.5::FLOAT, d = DEFAULT, bin = '41' WHERE id = 3")
	c.run("MERGE INTO x USING (SELECT 5 AS id, '2024-01-01'::TIMESTAMP AS ts, '42' AS bin) y ON x.id = y.id WHEN MATCHED THEN UPDATE SET s = y.ts, x.bin = y.bin")
	c.run("MERGE INTO x USING (SELECT 8.5::FLOAT AS id, '2024-01-01 00:00:00 +01' AS tz) y ON x.id = y.id WHEN NOT MATCHED THEN INSERT (x.tz, id) VALUES (y.tz, y.id)")
	c.want("SELECT * FROM x ORDER BY id", "5|2024-01-01 00:00:00.000|1709188200.000000000 1770|NULL|42;7|2024-01-01 00:00:00.000|1704070800.000000000 1380|NULL|41;9|NULL|1704063600.000000000 1500|NULL|NULL")
	c.wantCode("INSERT INTO x (d) VALUES ('infinity')", "100040/22007")
	c.wantCode("INSERT INTO x (tz) VALUES (60)", "100035/22007")
	c.wantCode("UPDATE x SET (id, s) = (1, 'x')", "001003/42000")
	c.wantCode("INSERT INTO x (id) SELECT 1, 2", "002020/21S01")
	c.wantCode("INSERT ALL INTO t VALUES (1, 'x') SELECT 1", "000002/0A000")
}

// LIKE in SHOW has no regard to case, and a backslash takes the meaning from % and _; the filters hold
// for all that SHOW lists.
func TestFiltersOfShowHoldForEveryList(t *testing.T) {
	c := newClient(t)
	c.runAll("SET a_1 = 1", "SET ab1 = 2", "CREATE WAREHOUSE w_1", "CREATE WAREHOUSE wx1", "CREATE STAGE s_1", "CREATE STAGE sx1", "CREATE TABLE t_1 (c_1 INT, cx1 INT)", "CREATE TABLE tx1 (a INT)")
	for _, list := range []struct{ show, name string }{
		{"VARIABLES", "A_1"}, {"WAREHOUSES", "W_1"}, {"STAGES", "S_1"}, {"TABLES", "T_1"}, {"COLUMNS", "C_1"}, {"PARAMETERS", "WEEK_START"},
	} {
		in := ""
		if list.show == "COLUMNS" {
			in = " IN TABLE t_1"
		}
		for _, filter := range []string{
			" LIKE '" + strings.ToLower(strings.ReplaceAll(list.name, "_", `\\_`)) + "'" + in, in + " STARTS WITH '" + list.name + "'",
		} {
			if got := c.run("SHOW " + list.show + filter); len(got.Rows) != 1 || !strings.Contains(text(got), list.name) {
				t.Errorf("SHOW %s%s: %s", list.show, filter, text(got))
			}
		}
		if all, some := c.run("SHOW "+list.show+in), c.run("SHOW "+list.show+" LIKE '%_'"+in+" LIMIT 1"); len(all.Rows) < 2 || len(some.Rows) != 1 {
			t.Errorf("SHOW %s: %d rows, and %d with LIMIT 1", list.show, len(all.Rows), len(some.Rows))
		}
	}
}

// A query that makes a table has as many columns as the table, each with a name of its own.
func TestTableOfAQueryHasTheColumnsThatAreListed(t *testing.T) {
	c := newClient(t)
	c.wantCode("CREATE TABLE t (a) AS SELECT 1, 2", "002020/21S01")
	c.wantCode("CREATE TABLE t (a, b) AS SELECT 1", "002020/21S01")
	c.wantCode("CREATE TABLE t AS SELECT 1 AS a, 2 AS a", "002025/42S21")
	c.run("CREATE TABLE t (a, tz) AS SELECT 2147483647, '2024-01-01 00:00:00.123456789 +05:00'::TIMESTAMP_TZ")
	c.want("SELECT a + 1, tz FROM t", "2147483648|1704049200.123456789 1740")
}

// A temporary table hides one of its name where the name stands alone, and only there.
func TestTemporaryTableLeavesTheQualifiedOneAsItIs(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a TIMESTAMP_TZ)", "CREATE TEMPORARY TABLE t (b INT, x INT)", "INSERT INTO t VALUES (1, 2)", "INSERT INTO db.public.t VALUES ('2024-01-01 00:00:00 +05:00')")
	c.want("SELECT * FROM t", "1|2")
	c.want("SELECT * FROM db.public.t", "1704049200.000000000 1740")
}

// DuckDB's own databases are none of the client's.
func TestDatabasesOfDuckDBsNamesAreRefused(t *testing.T) {
	c := newClient(t)
	for _, name := range []string{"temp", "system", "memory", `"memory"`} {
		c.wantCode("CREATE DATABASE "+name, "000002/0A000")
		c.wantCode("DROP DATABASE "+name, "002003/02000")
	}
	c.want("SELECT current_database()", "DB")
}
