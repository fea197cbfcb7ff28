package duckdb_test

import (
	"fmt"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

func BenchmarkStatements(b *testing.B) {
	for _, query := range []string{
		"SELECT 1", "SELECT a, b FROM t WHERE a = 5", "INSERT INTO t VALUES (1, 'x')", "SELECT a / 2, avg(a) FROM t WHERE a < 0 GROUP BY a",
		"SELECT a, b FROM big",
	} {
		b.Run(query, func(b *testing.B) {
			c := newClient(b)
			c.runAll("CREATE TABLE t (a INT, b VARCHAR)", "CREATE TABLE big AS SELECT seq4() AS a, 'name' AS b FROM TABLE(GENERATOR(ROWCOUNT => 100000))")
			b.ReportAllocs()
			for b.Loop() {
				c.run(query)
			}
		})
	}
}

func BenchmarkArrayBind(b *testing.B) {
	c := newClient(b)
	c.run("CREATE TABLE t (a INT, b INT, c VARCHAR, d VARCHAR, e FLOAT, f FLOAT, g BOOLEAN, h TIMESTAMP_NTZ)")
	const rows = 10_000
	var binds []snowtest.Bind
	for i, typ := range []string{"FIXED", "FIXED", "TEXT", "TEXT", "REAL", "REAL", "BOOLEAN", "TIMESTAMP_NTZ"} {
		values := make([]string, rows)
		for r := range values {
			values[r] = fmt.Sprint(r * i)
			if typ == "BOOLEAN" {
				values[r] = fmt.Sprint(r%2 == 0)
			}
		}
		binds = append(binds, array(typ, values...))
	}
	for b.Loop() {
		c.run("INSERT INTO t VALUES (?,?,?,?,?,?,?,?)", binds...)
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
