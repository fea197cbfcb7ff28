package snowtether_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// pools are the two sides of each benchmark: plain gosnowflake is the yardstick.
func pools(b *testing.B, n int) map[string]*sql.DB {
	b.Helper()
	srv := snowtest.New(b, snowtest.AllowRepeats())
	ours := pool(b, srv, n)
	plain := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()))
	b.Cleanup(func() { _ = plain.Close() })
	plain.SetMaxOpenConns(n)
	plain.SetMaxIdleConns(n)
	if err := snowtether.Warm(context.Background(), plain, n); err != nil {
		b.Fatal(err)
	}
	return map[string]*sql.DB{"snowtether": ours, "gosnowflake": plain}
}

// BenchmarkStatement is a statement in the steady state, over loopback.
func BenchmarkStatement(b *testing.B) {
	dbs := pools(b, 16)
	for _, use := range []struct {
		name string
		run  func(ctx context.Context, db *sql.DB) error
	}{
		{"Exec", func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", 1)
			return err
		}},
		{"Query", func(ctx context.Context, db *sql.DB) error {
			return db.QueryRowContext(ctx, "SELECT 1").Scan(new(int))
		}},
	} {
		for _, name := range []string{"gosnowflake", "snowtether"} {
			db := dbs[name]
			b.Run(use.name+"/serial/"+name, func(b *testing.B) {
				b.ReportAllocs()
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				for b.Loop() {
					if err := use.run(ctx, db); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(use.name+"/parallel16/"+name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(8) // times GOMAXPROCS
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := use.run(b.Context(), db); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// instant is an inner connection that answers at once: what is left is the shim.
type instant struct{ bare }

func (i instant) Connect(context.Context) (driver.Conn, error) { return i, nil }

func (instant) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, nil
}

// BenchmarkShim is the shim's own cost: a statement whose inner connection takes
// no time, and its checkout and return.
func BenchmarkShim(b *testing.B) {
	c, err := snowtether.WrapConnector(instant{bare{new([]string)}}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	conn, err := c.Connect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	b.Run("checkout and return", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if conn.(driver.SessionResetter).ResetSession(b.Context()) != nil || !conn.(driver.Validator).IsValid() {
				b.Fatal("not valid")
			}
		}
	})
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": b.Context()} {
		b.Run("statement/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "INSERT INTO t VALUES (1)", nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
