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

// Precision and scale of arithmetic are those that Snowflake documents, with the examples of its page
// on arithmetic operators, where the types of the operands are known; 1/100000000 is an account's.
// What has a sign, or is no sum, product or quotient, stays as DuckDB has it, and so does a scale
// that is DuckDB's own.
func TestArithmeticHasThePrecisionThatIsDocumented(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a NUMBER(10,2) NOT NULL, b NUMBER(38,6), i INT, j NUMBER(5,0), f FLOAT, d DATE, s VARCHAR)",
		"INSERT INTO t VALUES (12.34, 1.123456, 7, 3, 1.5, '2024-01-01', '2')")
	for query, want := range map[string]string{
		"SELECT 10.01 * 1.1, 10.001 * .001, 2 / 7, 10.1 / 2.1, 10.1 / .7":      "fixed(6,3) fixed(8,6) fixed(7,6) fixed(10,7) fixed(10,7): 11.011|0.010001|0.285714|4.8095238|14.4285714",
		"SELECT 1/100000000, 1 + 1, 100 - 0.5, 1/2/2, 1/3*3":                   "fixed(7,6) fixed(2,0) fixed(5,1) fixed(13,12) fixed(8,6): 0.000000|2|99.5|0.250000000000|0.999999",
		"SELECT a * a, a / j, j / a, a + j, a - b, a * b, i * j FROM t":        "fixed(20,4) fixed(16,8) fixed(13,6) fixed(11,2) fixed(38,6) fixed(38,8) fixed(38,0): 152.2756|4.11333333|0.243112|15.34|11.216544|13.86344704|21",
		"SELECT (a + 1) * 2, a - 1 * 2, (((a))) + 1, a - 1 - 1 AS x FROM t":    "fixed(12,2) fixed(11,2) fixed(11,2) fixed(12,2): 26.68|10.34|13.34|10.34",
		"SELECT x.a * 2 + y.j / 3, x.a::NUMBER(4,2) * 3, y.a FROM t x, t AS y": "fixed(16,6) fixed(5,2) fixed(10,2)!: 25.680000|37.02|12.34",
		"SELECT a + f, d + 1, a + 1 > 2, a + 1 || 'x', 2 * (1 + f) FROM t":     "real date boolean text(16777216) real: 13.84|19724|1|13.34x|5",
		"SELECT a + -1, -a * 2, a % 5 + 1, ABS(a) + 1 FROM t":                  "fixed(13,2) fixed(38,2) fixed(13,2) fixed(13,2): 11.34|-24.68|3.34|13.34",
		"SELECT a + 1, COUNT(*) FROM t GROUP BY a + 1 ORDER BY a + 1":          "fixed(11,2) fixed(18,0): 13.34|1",
		"SELECT .1 * .0000000000001, 1.1234567890123 / 3":                      "fixed(14,14) fixed(38,12): 0.00000000000001|0.374485596337",
		"SELECT a + 1 FROM t UNION ALL SELECT 1":                               "fixed(13,2): 13.34;1.00",
	} {
		res := c.run(query)
		if got := shapes(res) + ": " + text(res); got != want {
			t.Errorf("%s:\n got %s\nwant %s", query, got, want)
		}
	}
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
