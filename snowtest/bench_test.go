package snowtest_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

func BenchmarkQuery(b *testing.B) {
	const rows = 200_000
	large := manyRows(rows)
	for _, format := range []string{jsonFormat, arrowFormat} {
		srv := snowtest.New(b, snowtest.WithSessionParameter("GO_QUERY_RESULT_FORMAT", format))
		srv.Handle("FROM large", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) { return large, nil })
		db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()))
		b.Cleanup(func() { _ = db.Close() })
		run := func(query string) (n int) {
			rows, err := db.QueryContext(b.Context(), query)
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
		b.Run("one row/"+format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				run("SELECT 1")
			}
		})
		b.Run("large/"+format, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n += run("SELECT * FROM large")
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
