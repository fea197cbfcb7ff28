package duckdb_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// The encodings are those of gosnowflake's valueToString.
func TestBindsOfEveryType(t *testing.T) {
	c := newClient(t)
	for _, test := range []struct {
		bind       snowtest.Bind
		typ, value string
	}{
		{bind("FIXED", "-42"), "fixed(10,0)", "-42"},
		{bind("FIXED", "9223372036854775807"), "fixed(18,0)", "9223372036854775807"},
		{bind("REAL", "1.5e+20"), "real", "1.5e+20"},
		{bind("REAL", "NaN"), "real", "NaN"},
		{bind("TEXT", "it's \\ \"ß\" 'x'; --"), "text", "it's \\ \"ß\" 'x'; --"},
		{bind("TEXT", "zero\x00byte"), "text", "zero\x00byte"},
		{bind("TEXT", ""), "text", ""},
		{bind("BOOLEAN", "true"), "boolean", "1"},
		{bind("BOOLEAN", "false"), "boolean", "0"},
		{bind("DATE", "1704067200000"), "date", "19723"},
		{bind("DATE", "-86400000"), "date", "-1"},
		{bind("TIME", "43200000001000"), "time", "43200.000001000"},
		{bind("TIMESTAMP_NTZ", "1704067200123456000"), "timestamp_ntz", "1704067200.123456000"},
		{bind("TIMESTAMP_NTZ", "-1500000000"), "timestamp_ntz", "-2.500000000"},
		{bind("TIMESTAMP_NTZ", "253402300799999999000"), "timestamp_ntz", "253402300799.999999000"},
		{bind("TIMESTAMP_LTZ", "1704067200000000000"), "timestamp_ltz", "1704067200.000000000"},
		{bind("TIMESTAMP_TZ", "1704067200000000000 1560"), "timestamp_tz", "1704067200.000000000 1560"},
		{bind("BINARY", "00ffab"), "binary", "00FFAB"},
		{snowtest.Bind{Type: "BINARY", Value: ptr("[]"), Format: "json"}, "binary", ""},
		{snowtest.Bind{Type: "ARRAY", Value: ptr("[1,2]"), Format: "json"}, "variant", "[\n  1,\n  2\n]"},
		{null("TEXT"), "fixed(10,0)", "NULL"},
	} {
		res := c.run("SELECT ?", test.bind)
		if types(res) != test.typ || text(res) != test.value {
			t.Errorf("%s: %s %q, want %s %q", test.bind.Type, types(res), text(res), test.typ, test.value)
		}
	}
}

func TestBindsTakeTheTypeOfTheirPlace(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (d DATE, n NUMBER(10,2), ts TIMESTAMP_NTZ, s VARCHAR, v VARIANT)",
		"INSERT INTO t SELECT '2024-01-01', 1.5, '2024-01-01 10:00:00', 'x', NULL")
	c.want("SELECT s FROM t WHERE d = ? AND n = ? AND ts > ? LIMIT ?", "x",
		bind("TEXT", "2024-01-01"), bind("TEXT", "1.5"), bind("DATE", "1704067200000"), bind("FIXED", "1"))
	c.want("SELECT :2, :1, :2", "b|a|b", bind("TEXT", "a"), bind("TEXT", "b"))
	c.want("UPDATE t SET d = ?, n = ?, ts = ?, s = ?", "1|0", null("TEXT"), null("FIXED"), null("TEXT"), null("TEXT"))
	c.want("SELECT d, n, ts, s FROM t", "NULL|NULL|NULL|NULL")
	c.want("SELECT dateadd(day, ?, ?), datediff(day, ?, ?), extract(month FROM ?)", "1704153600.000000000|4|2", bind("FIXED", "1"), bind("TEXT", "2024-01-01 00:00:00 +05:30"),
		bind("TEXT", "2024-01-01"), bind("TEXT", "2024-01-05"), bind("TEXT", "2024-02-01"))
	c.wantCode("SELECT ?, ?", "002049/42601", bind("TEXT", "a"))
	c.wantCode("SELECT ?", "002063/22023", bind("FIXED", "1; DROP TABLE t"))
}

func TestArrayBindInsertsAllRowsAtOnce(t *testing.T) {
	c := newClient(t)
	c.run("CREATE TABLE t (i INT, f FLOAT, s VARCHAR(5), b BOOLEAN, d DATE, tm TIME, ts TIMESTAMP_NTZ, bin BINARY, up VARCHAR)")
	binds := []snowtest.Bind{
		array("FIXED", "1", "<null>", "12345678901234567890123456789012345678"), array("REAL", "1.5", "-0", "<null>"),
		array("TEXT", "a", "", "<null>"), array("BOOLEAN", "true", "false", "<null>"), array("DATE", "0", "86400000", "<null>"),
		array("TIME", "1000", "0", "<null>"), array("TIMESTAMP_NTZ", "1000000000", "-1", "<null>"), array("BINARY", "ff", "", "<null>"),
	}
	res := c.run("INSERT INTO t SELECT ?,?,?,?,?,?,?,?,upper(?)", append(binds, bind("TEXT", "x"))...)
	if text(res) != "3" || res.Kind != snowtest.KindInsert {
		t.Errorf("INSERT SELECT with arrays: %s", text(res))
	}
	c.run("DELETE FROM t")
	res = c.run("INSERT INTO t VALUES (?,?,?,?,?,?,?,?,upper(?))", append(binds, bind("TEXT", "x"))...)
	if text(res) != "3" || names(res) != "number of rows inserted" || res.Kind != snowtest.KindInsert {
		t.Errorf("INSERT VALUES with arrays: %s %s", names(res), text(res))
	}
	c.want("SELECT * FROM t ORDER BY i", "1|1.5|a|1|0|0.000001000|1.000000000|FF|X;"+
		"12345678901234567890123456789012345678|NULL|NULL|NULL|NULL|NULL|NULL|NULL|X;"+
		"NULL|-0||0|1|0.000000000|-1.999999999||X")

	// One bad row takes all of them with it.
	c.wantCode("INSERT INTO t (s) VALUES (?)", "100078/22000", array("TEXT", "ok", "too long", "ok"))
	c.wantCode("INSERT INTO t (i) VALUES (?)", "100038/22018", array("TEXT", "1", "x"))
	c.want("SELECT count(*) FROM t", "3")

	// Over a stage all values arrive as texts.
	c.run("DELETE FROM t")
	c.run("INSERT INTO t (i, f, b, d, tm, ts, bin) VALUES (?,?,?,?,?,?,?)", array("TEXT", "7"), array("TEXT", "1e3"), array("TEXT", "true"), array("TEXT", "2024-01-01"),
		array("TEXT", "10:00:00.000000001"), array("TEXT", "2024-01-01T10:00:00.123456789Z"), array("TEXT", "4142"))
	c.want("SELECT i, f, b, d, tm, ts, bin FROM t", "7|1000|1|19723|36000.000000001|1704103200.123456789|4142")
	c.runAll("INSERT INTO t (bin) VALUES ('4344')", "INSERT INTO t (i, bin) SELECT 9, '45'")
	c.want("SELECT bin FROM t ORDER BY bin", "4142;4344;45")
	c.wantCode("INSERT INTO t (i, s) VALUES (?, ?)", "002063/22023", array("FIXED", "1", "2"), array("TEXT", "a"))
}

func TestArrayBindRunsOtherStatementsForEachRow(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (i INT, s VARCHAR)", "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
	c.want("UPDATE t SET s = ? WHERE i = ?", "2|0", array("TEXT", "x", "y", "z"), array("FIXED", "1", "2", "9"))
	c.want("DELETE FROM t WHERE i = ?", "2", array("FIXED", "1", "3"))
	c.want("SELECT * FROM t", "2|y")
	c.wantCode("SELECT ?", "000002/0A000", array("FIXED", "1", "2"))
	c.wantCode("UPDATE t SET i = ?", "100038/22018", array("TEXT", "5", "x"))
	c.want("SELECT * FROM t", "2|y")
}

func TestArrayBindOfTenThousandRowsIsFast(t *testing.T) {
	c := newClient(t)
	c.run("CREATE TABLE t (a INT, b INT, c VARCHAR, d VARCHAR, e FLOAT, f BOOLEAN, g DATE, h TIMESTAMP_NTZ)")
	const n = 10_000
	column := func(typ string, value func(i int) string) snowtest.Bind {
		values := make([]string, n)
		for i := range values {
			values[i] = value(i)
		}
		return array(typ, values...)
	}
	binds := []snowtest.Bind{
		column("FIXED", func(i int) string { return fmt.Sprint(i) }), column("FIXED", func(i int) string { return fmt.Sprint(-i) }),
		column("TEXT", func(i int) string { return fmt.Sprint("name ", i) }), column("TEXT", func(int) string { return strings.Repeat("x", 50) }),
		column("REAL", func(i int) string { return fmt.Sprint(float64(i) / 3) }), column("BOOLEAN", func(i int) string { return fmt.Sprint(i%2 == 0) }),
		column("DATE", func(i int) string { return fmt.Sprint(i * 86400000) }), column("TIMESTAMP_NTZ", func(i int) string { return fmt.Sprint(i * 1000) }),
	}
	start := time.Now()
	c.want("INSERT INTO t VALUES (?,?,?,?,?,?,?,?)", "10000", binds...)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	c.want("SELECT count(*), sum(a), count_if(f), max(g), count(DISTINCT c) FROM t", "10000|49995000|5000|9999|10000")
}

func TestDescribeOnlyGivesColumnsAndDoesNothing(t *testing.T) {
	c := newClient(t)
	c.run("CREATE TABLE t (a INT, s VARCHAR)")
	describe := func(sql string) *snowtest.Result {
		t.Helper()
		res, err := c.s.Run(t.Context(), &snowtest.Statement{SQL: sql, DescribeOnly: true})
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if len(res.Rows) != 0 {
			t.Errorf("%s: %d rows", sql, len(res.Rows))
		}
		return res
	}
	if res := describe("SELECT a, s, a / 2 FROM t WHERE a = ? LIMIT ?"); names(res) != "A|S|A / 2" || types(res) != "fixed(38,0) text fixed(38,6)" {
		t.Errorf("SELECT: %s, %s", names(res), types(res))
	}
	if res := describe("INSERT INTO t VALUES (?, ?)"); names(res) != "number of rows inserted" || res.Kind != snowtest.KindInsert {
		t.Errorf("INSERT: %s", names(res))
	}
	for _, sql := range []string{"CREATE TABLE u (a INT)", "DROP TABLE t", "BEGIN", "USE SCHEMA nowhere", "ALTER SESSION SET AUTOCOMMIT = FALSE", "TRUNCATE TABLE t", "SET v = 1"} {
		if res := describe(sql); names(res) != "status" {
			t.Errorf("%s: %s", sql, names(res))
		}
	}
	c.want("SELECT count(*) FROM t", "0")
	c.wantCode("SELECT * FROM u", "002003/42S02")
	if _, err := c.s.Run(t.Context(), &snowtest.Statement{SQL: "SELECT nope FROM t", DescribeOnly: true}); code(err) != "000904/42000" {
		t.Errorf("unknown column: %v", err)
	}
}

func ptr(s string) *string { return &s }

// What DuckDB's times lack, nanoseconds and the offset of a TIMESTAMP_TZ, is kept on its
// way into a table and out of it. This list is also what is cut to microseconds: subqueries, set
// operations, functions.
func TestTimesKeepNanosecondsAndOffsets(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (id INT, tz TIMESTAMP_TZ, ntz TIMESTAMP_NTZ, ltz TIMESTAMP_LTZ(8), tm TIME, cut TIMESTAMP_TZ(3))",
		"INSERT INTO t VALUES (1, '2024-01-01 12:00:00.123456789 +05:30', '9999-12-31 23:59:59.999999999', '0216-01-07 01:04:10.123456789', '10:00:00.000000001', '2024-01-01 12:00:00.123456789 -08:00')",
		"INSERT INTO t (id, tz) SELECT 2, '2024-01-01 12:00:00'::TIMESTAMP_TZ",
		"CREATE TABLE u (tz TIMESTAMP_TZ, id INT)", "INSERT INTO u SELECT tz, id FROM t", "CREATE TABLE v AS SELECT tz AS a, id FROM t ORDER BY id", "CREATE TABLE w CLONE t",
		"UPDATE u SET tz = '2024-01-01 12:00:00.000000007 -01:00' WHERE id = 2", "ALTER TABLE u ADD COLUMN n TIMESTAMP_NTZ",
		"MERGE INTO u USING (SELECT 1 AS id) s ON s.id = u.id WHEN MATCHED THEN UPDATE SET n = '2024-01-01 00:00:00.000000003'", "ALTER TABLE u RENAME COLUMN n TO m",
		"CREATE VIEW x AS SELECT * FROM t")
	const whole = "1704090600.123456789 1770"
	for query, want := range map[string]string{
		"SELECT * FROM t WHERE id = 1":                                                        "1|" + whole + "|253402300799.999999999|-55350428150.12345678|36000.000000001|1704139200.123 960",
		"SELECT x.ntz AS n, tz FROM t x ORDER BY id LIMIT 1":                                  "253402300799.999999999|" + whole,
		"SELECT tz, count(*) FROM t GROUP BY tz ORDER BY 1 LIMIT 1":                           whole + "|1",
		"SELECT tz FROM u ORDER BY id":                                                        whole + ";1704114000.000000007 1380",
		"SELECT a FROM v":                                                                     whole + ";1704110400.000000000 1440",
		"SELECT tz FROM w ORDER BY id":                                                        whole + ";1704110400.000000000 1440",
		"SELECT m FROM u ORDER BY id":                                                         "1704067200.000000003;NULL",
		"SELECT '2024-01-01 12:00:00.123456789 +05:30'::TIMESTAMP_TZ":                         whole,
		"SELECT to_timestamp_ntz('2024-01-01 00:00:00.123456789') AS a":                       "1704067200.123456789",
		"SELECT count(*) FROM t NATURAL JOIN x":                                               "1",
		"SELECT t.id FROM t JOIN (SELECT * FROM t) y USING (id)":                              "1;2",
		"SELECT id, tz FROM x WHERE id = 1":                                                   "1|1704090600.123456000",
		"SELECT tz FROM (SELECT * FROM t) WHERE id = 1":                                       "1704090600.123456000",
		"SELECT ntz FROM t WHERE id = 1 UNION ALL SELECT ntz FROM t WHERE id = 0":             "253402300799.999999000",
		"SELECT count(*) FROM information_schema.columns WHERE table_name = 'T'":              "6",
		"SELECT max(ordinal_position) FROM information_schema.columns WHERE table_name = 'T'": "6",
	} {
		c.want(query, want)
	}
	if res := c.run("DESCRIBE TABLE t"); len(res.Rows) != 6 {
		t.Errorf("DESCRIBE shows %d columns", len(res.Rows))
	}
	c.wantCode("INSERT INTO t VALUES (1, NULL)", "002020/21S01")
	c.wantCode("INSERT INTO t (id, nope) VALUES (1, 2)", "000904/42000")
}

func TestNumbersOfAnArrayBindAreReadWhateverTheirLength(t *testing.T) {
	c := newClient(t)
	c.run("CREATE TABLE t (i INT, a INT)")
	c.run("INSERT INTO t VALUES (?, ?)", array("FIXED", "1", "2", "3", "4", "5", "6", "7", "8"),
		array("FIXED", "-7", "1.5", "-2.5", "+0012", "999999999999999999", "-9223372036854775809", "99999999999999999999999999999999999999", "0"))
	c.want("SELECT a FROM t ORDER BY i", "-7;2;-3;12;999999999999999999;-9223372036854775809;99999999999999999999999999999999999999;0")
}
