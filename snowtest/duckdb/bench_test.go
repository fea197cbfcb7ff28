package duckdb_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// BenchmarkStart is what each test pays that has an engine of its own.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		engine, err := duckdb.New()
		if err != nil {
			b.Fatal(err)
		}
		if err := engine.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

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
				if more := c.run(query).More; more != nil {
					for _, err := range more {
						if err != nil {
							b.Fatal(err)
						}
					}
				}
			}
		})
	}
}

// BenchmarkLargeResult reads a result of six columns through the server.
func BenchmarkLargeResult(b *testing.B) {
	const query = `SELECT n, n * 1.25 AS amount, 'customer ' || n AS name, DATEADD(second, n, '2020-01-01'::TIMESTAMP_NTZ) AS at,
		DATEADD(day, n % 1000, '2020-01-01'::DATE) AS d, n % 3 = 0 AS flag
		FROM (SELECT seq8() AS n FROM TABLE(GENERATOR(ROWCOUNT => 500000)))`
	db, _ := connect(b)
	rows := func(c *sql.Conn) (n int) {
		rows, err := c.QueryContext(b.Context(), query)
		if err != nil {
			b.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			n++
		}
		if rows.Err() != nil {
			b.Fatal(rows.Err())
		}
		return n
	}
	for _, way := range []struct {
		name string
		conn *sql.Conn
		read func(*sql.Conn) int
	}{
		{"rows in JSON", inJSON(b, db), rows},
		{"rows in Arrow", pinned(b, db), rows},
		{"Arrow batches", pinned(b, db), func(c *sql.Conn) int { return batchRows(b, c, query) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n += way.read(way.conn)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
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

// BenchmarkArrayBindOfNumbers inserts whole numbers alone: reading their texts is the most of it.
func BenchmarkArrayBindOfNumbers(b *testing.B) {
	c := newClient(b)
	c.run("CREATE TABLE t (a INT)")
	values := make([]string, 200_000)
	for i := range values {
		values[i] = fmt.Sprint(1_000_000 + i)
	}
	for b.Loop() {
		c.run("INSERT INTO t VALUES (?)", array("FIXED", values...))
	}
	b.ReportMetric(float64(len(values)*b.N)/b.Elapsed().Seconds(), "rows/s")
}
