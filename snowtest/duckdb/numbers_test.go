package duckdb_test

import "testing"

// Whole numbers are NUMBER(38,0), however they are written: sums and products do not overflow where
// DuckDB's own integers would, and dates still take days.
func TestWholeNumbersDoNotOverflowAsIntegersOfMachines(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a INT, n NUMBER(10,2), d DATE)", "INSERT INTO t VALUES (2147483647, 12.34, '2020-01-01')")
	for _, test := range [][2]string{
		{"SELECT 2147483647 + 1, 9223372036854775807 + 1, 3000000000 + 1", "2147483648|9223372036854775808|3000000001"},
		{"SELECT -2147483647 - 2, (2147483647) + 1, 1 + 2147483647 + 1", "-2147483649|2147483648|2147483649"},
		{"SELECT 99999999999 * 99999999999, 2147483647 * -2, LENGTH('abc') * 9223372036854775807", "9999999999800000000001|-4294967294|27670116110564327421"},
		{"SELECT a + 1, a * a, n + 1, n * 2 FROM t", "2147483648|4611686014132420609|13.34|24.68"},
		{"SELECT x + 1 FROM (SELECT 2147483647 AS x)", "2147483648"},
		{"SELECT x + 1, y FROM (VALUES (2147483647, 1), (0, 2.5)) AS v(x, y) ORDER BY x", "1|2.5;2147483648|1.0"},
		{"WITH RECURSIVE r AS (SELECT 2147483646 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 2147483649) SELECT MAX(n) FROM r", "2147483649"},
		{"SELECT COUNT(*) FROM t WHERE a < 2147483647 + 1", "1"},
		{"SELECT d + 1, d + 1 + 1, d - 1 - 1 FROM t", "18263|18264|18260"},
	} {
		c.want(test[0], test[1])
	}
	c.want("SELECT ? + 1, 1 + ?", "2147483648|2147483648", bind("FIXED", "2147483647"), bind("FIXED", "2147483647"))
	c.wantCode("SELECT 99999999999999999999999999999999999999 + 1", "100046/22003")
	c.wantCode("SELECT d + n FROM (SELECT d, 1 AS n FROM t)", "001044/42P13")
}

// FLATTEN numbers its rows by the row that they come from. Where there are several of those, this
// engine cannot tell them apart, and says so instead of 1, also to a star.
func TestSeqOfAFlattenForEachRowIsRefused(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (v VARIANT)", `INSERT INTO t SELECT PARSE_JSON('{"a": [1, 2]}')`)
	c.want("SELECT seq, value FROM TABLE(FLATTEN(input => PARSE_JSON('[7, 8]')))", "1|7;1|8")
	for _, list := range []string{"f.*", "*", "f.seq"} {
		for _, input := range []string{"v:a", "v"} {
			c.wantCode("SELECT "+list+" FROM t, LATERAL FLATTEN(input => "+input+") f", "000002/0A000")
		}
	}
	c.want("SELECT f.value, f.index FROM t, LATERAL FLATTEN(input => v:a) f ORDER BY 2", "1|0;2|1")
	c.want("SELECT COUNT(*) FROM t, LATERAL FLATTEN(input => v:a) f", "2")
}
