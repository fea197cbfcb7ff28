package unchanged

import (
	"database/sql"
	"testing"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/metric"
	"github.com/influxdata/telegraf/plugins/outputs"
	telegrafsql "github.com/influxdata/telegraf/plugins/outputs/sql"

	"github.com/snowtether/snowtether/internal/waves"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is telegraf's output "sql", which is on gosnowflake v1 and opens "snowflake" itself.

// quiet is a log that nobody reads.
type quiet struct{ telegraf.Logger }

func (quiet) Errorf(string, ...any) {}
func (quiet) Debugf(string, ...any) {}

// TestTelegrafOutput writes metrics one by one, and in transactions; a write that fails is made
// again with the whole batch, as telegraf does.
func TestTelegrafOutput(t *testing.T) {
	for name, batches := range map[string]bool{"one by one": false, "batch_transactions": true} {
		t.Run(name, func(t *testing.T) {
			var output telegraf.Output
			open := func(r *waves.Run) *sql.DB {
				plugin := outputs.Outputs["sql"]().(*telegrafsql.SQL)
				plugin.Driver, plugin.DataSourceName = "snowflake", config.NewSecret([]byte(dsn(r.Server)))
				plugin.TimestampColumn, plugin.BatchTx, plugin.Log = "", batches, quiet{}
				r.Must("Init", plugin.Init())
				r.Must("Connect", plugin.Connect())
				r.Cleanup(func() {
					if err := plugin.Close(); err != nil {
						r.Error(err)
					}
				})
				output = plugin
				return looking(r)
			}
			serve := func(t *testing.T) *snowtest.Server { return server(t) }
			waves.Both(t, serve, open, "items", func(r *waves.Run) {
				var batch []telegraf.Metric
				var ids []int
				for range 4 {
					id := r.ID()
					ids = append(ids, id)
					batch = append(batch, metric.New("ITEMS", map[string]string{"NAME": "telegraf"}, map[string]any{"ID": id}, time.Now()))
				}
				write := func() error { return output.Write(batch) }
				if batches {
					r.Tx("Write", write, ids...)
				} else {
					err := write()
					r.Wrote(err, ids...)
					r.Must("Write", err)
				}
			})
		})
	}
}

// TestTelegrafOutputMakesItsTables: it looks for a table, and creates it with the types that a
// metric has.
func TestTelegrafOutputMakesItsTables(t *testing.T) {
	srv := server(t)
	plugin := outputs.Outputs["sql"]().(*telegrafsql.SQL)
	plugin.Driver, plugin.DataSourceName, plugin.Log = "snowflake", config.NewSecret([]byte(dsn(srv))), quiet{}
	for _, do := range []func() error{plugin.Init, plugin.Connect, func() error {
		return plugin.Write([]telegraf.Metric{metric.New("cpu", map[string]string{"host": "a"}, map[string]any{"busy": 0.5, "n": int64(3), "ok": true, "state": "up"}, time.Unix(1700000000, 0))})
	}} {
		srv.AbortSessions()
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if err := plugin.Close(); err != nil {
		t.Error(err)
	}
	db, err := sql.Open("snowflake", dsn(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var at time.Time
	var host, state string
	var busy float64
	var n int
	var ok bool
	row := db.QueryRowContext(t.Context(), `SELECT "timestamp", "host", "busy", "n", "ok", "state" FROM "cpu"`)
	if err := row.Scan(&at, &host, &busy, &n, &ok, &state); err != nil {
		t.Fatal(err)
	}
	if at.Unix() != 1700000000 || host != "a" || busy != 0.5 || n != 3 || !ok || state != "up" {
		t.Errorf("%v %v %v %v %v %v", at, host, busy, n, ok, state)
	}
}
