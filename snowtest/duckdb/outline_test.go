package duckdb_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

// shapes writes the columns of a result with all that a client learns of them.
func shapes(res *snowtest.Result) string {
	var out []string
	for _, c := range res.Columns {
		s := c.Type
		switch {
		case c.Type == "fixed":
			s += fmt.Sprintf("(%d,%d)", c.Precision, c.Scale)
		case c.Length > 0:
			s += fmt.Sprintf("(%d)", c.Length)
		case c.Type == "time" || strings.HasPrefix(c.Type, "timestamp"):
			s += fmt.Sprintf("(%d)", c.Scale)
		}
		if !c.Nullable {
			s += "!"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// The columns of a query are what the table's or the cast's are: lengths, digits after
// the second, precision, NULL or not, and which kind of variant. They failed before: all
// of them were those of DuckDB.
func TestResultColumnsAreThoseOfTheTable(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a TIME(5), b VARCHAR(10) NOT NULL, c BINARY(5), d ARRAY, e OBJECT, f VARIANT, g TIMESTAMP_TZ(3), h NUMBER(10,2) NOT NULL, i TIMESTAMP_NTZ)",
		"CREATE TABLE made AS SELECT a, '10:00:00.5'::TIME(3) AS x, d, e, g FROM t", "CREATE TABLE u (b INT, z DATE NOT NULL)")
	const all = "time(5) text(10)! binary(5) array object variant timestamp_tz(3) fixed(10,2)! timestamp_ntz(9)"
	for query, want := range map[string]string{
		"SELECT * FROM t":                                                        all,
		"SELECT x.* FROM t AS x":                                                 all,
		"SELECT * FROM db.public.t x, u":                                         all + " fixed(38,0) date!",
		"SELECT x.b, z, t.h FROM t JOIN u x ON t.b = x.b::VARCHAR":               "fixed(38,0) date! fixed(10,2)!",
		"SELECT t.b, x.z FROM t LEFT JOIN u x ON t.h = x.b":                      "text(10) date",
		"SELECT (h), b AS \"B\" FROM t":                                          "fixed(10,2)! text(10)!",
		"SELECT * FROM made":                                                     "time(5) time(3) array object timestamp_tz(3)",
		"SELECT 'abc', 1.25, 7, 'x'::VARCHAR(4), NULL::TIME(2), 'ab'::BINARY(3)": "text(3)! fixed(3,2)! fixed(1,0)! text(4)! time(2) binary(3)!",
		"SELECT 'abc' UNION ALL SELECT 'defg'":                                   "text(16777216)",
		"WITH w AS (SELECT 'a' AS b) SELECT b FROM w":                            "text(16777216)",
		"SELECT array_construct(1), object_construct('a', 1), parse_json('1'), split('a', 'b'), parse_json('[]')::ARRAY": "array object variant array array",
		"SELECT current_timestamp(), current_timestamp()::TIMESTAMP_TZ":                                                  "timestamp_ltz(9) timestamp_tz(9)",
		"SELECT count(*), max(b), max(a) FROM t":                                                                         "fixed(18,0) text(16777216) time(9)",
	} {
		if got := shapes(c.run(query)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", query, got, want)
		}
	}
}

// A TIME or a timestamp keeps as many digits after the second as its type says; the rest
// is cut off, before 1970 too. It failed before: TIME(3) kept all.
func TestTimesKeepTheDigitsOfTheirType(t *testing.T) {
	c := newClient(t)
	c.want("SELECT '10:00:00.129'::TIME(2), '10:00:00.9'::TIME(0), '1969-12-31 23:59:59.129'::TIMESTAMP_NTZ(2), '2024-01-01 00:00:00.999'::TIMESTAMP_LTZ(0)",
		"36000.12|36000|-1.12|1704067200")
	c.runAll("CREATE TABLE t (a TIME(3), b TIMESTAMP_NTZ(0), c TIMESTAMP_TZ(1))",
		"INSERT INTO t VALUES ('10:00:00.12345', '2024-01-01 00:00:00.99', '2024-01-01 00:00:00.19 +00:00')",
		"INSERT INTO t SELECT a, '2024-01-01 00:00:00.99'::TIMESTAMP, '2024-01-01 00:00:00.19'::TIMESTAMP_TZ FROM t",
		"UPDATE t SET a = '11:00:00.98765'")
	c.want("SELECT * FROM t", "39600.987|1704067200|1704067200.1 1440;39600.987|1704067200|1704067200.1 1440")
	c.want("SELECT count(*) FROM t WHERE a = '11:00:00.987'::TIME", "2")
}
