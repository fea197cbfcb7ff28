package snowtether_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// sides are what is compared: plain gosnowflake is the yardstick. Each has a server
// of its own in each run, because the server's ledger grows and slows down what
// comes later.
var sides = []string{"gosnowflake", "snowtether"}

func side(b *testing.B, name string, n int) *sql.DB {
	b.Helper()
	srv := snowtest.New(b, snowtest.AllowRepeats())
	if name == "snowtether" {
		return pool(b, srv, n)
	}
	cfg, on := srv.Config(), "true"
	cfg.Params["client_session_keep_alive"] = &on // as ours has it: the server repeats it in each reply
	plain := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
	b.Cleanup(func() { _ = plain.Close() })
	plain.SetMaxOpenConns(n)
	plain.SetMaxIdleConns(n)
	if err := snowtether.Warm(context.Background(), plain, n); err != nil {
		b.Fatal(err)
	}
	return plain
}

// BenchmarkStatement is a statement in the steady state, over loopback.
func BenchmarkStatement(b *testing.B) {
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
		{"Prepared", func(ctx context.Context, db *sql.DB) error {
			stmt, err := db.PrepareContext(ctx, "INSERT INTO t VALUES (?)")
			if err != nil {
				return err
			}
			if _, err := stmt.ExecContext(ctx, 1); err != nil {
				return err
			}
			return stmt.Close()
		}},
	} {
		for _, name := range sides {
			b.Run(use.name+"/serial/"+name, func(b *testing.B) {
				db := side(b, name, 16)
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
				db := side(b, name, 16)
				b.ReportAllocs()
				b.SetParallelism(8) // times GOMAXPROCS
				b.ResetTimer()
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
// no time, and its checkout and return; by itself, and with all that can listen.
func BenchmarkShim(b *testing.B) {
	for _, listening := range []struct {
		name string
		opts []snowtether.Option
	}{
		{"alone", nil},
		{"observed", []snowtether.Option{snowtether.WithEventHook(func(snowtether.Event) {}), snowtether.WithMeterProvider(newMeters())}},
	} {
		c, err := snowtether.WrapConnector(instant{bare{new([]string)}}, append(listening.opts, quiet)...)
		if err != nil {
			b.Fatal(err)
		}
		conn, err := c.Connect(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		b.Run("checkout and return/"+listening.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if conn.(driver.SessionResetter).ResetSession(b.Context()) != nil || !conn.(driver.Validator).IsValid() {
					b.Fatal("not valid")
				}
			}
		})
		for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": b.Context()} {
			b.Run("statement/"+name+"/"+listening.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "INSERT INTO t VALUES (1)", nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestListeningCostsAStatementNothing: events are about sessions, and a statement
// whose session is well makes none.
func TestListeningCostsAStatementNothing(t *testing.T) {
	allocations := func(opts ...snowtether.Option) float64 {
		c, err := snowtether.WrapConnector(instant{bare{new([]string)}}, append(opts, quiet)...)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conn, err := c.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(100, func() {
			if _, err := conn.(driver.ExecerContext).ExecContext(context.Background(), insert, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
	alone, observed := allocations(), allocations(snowtether.WithEventHook(func(snowtether.Event) {}), snowtether.WithMeterProvider(newMeters()))
	if observed != alone {
		t.Errorf("%v allocations a statement, %v without a hook and a meter", observed, alone)
	}
}

// BenchmarkPool is a statement in pools of different sizes, all of whose
// connections are busy.
func BenchmarkPool(b *testing.B) {
	for _, n := range []int{1, 8, 64, 512} {
		for _, name := range sides {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				db := side(b, name, n)
				b.ReportAllocs()
				b.ResetTimer()
				b.SetParallelism((n + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := db.ExecContext(b.Context(), "INSERT INTO t VALUES (?)", 1); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkRecovery is how long it takes until 64 callers whose sessions died at the
// same moment are all served, where a login takes 100 ms. The floor is that of the
// gate's width: eight at a time, so 800 ms.
func BenchmarkRecovery(b *testing.B) {
	const n, login, floor = 64, 100 * time.Millisecond, 800 * time.Millisecond
	srv := snowtest.New(b, snowtest.AllowRepeats())
	db := pool(b, srv, n)
	srv.Control(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestLogin {
			return snowtest.Fault{}, false
		}
		srv.KeepControl()
		return snowtest.Fault{Delay: login}, true
	})
	for b.Loop() {
		srv.ExpireMasterTokens()
		var held, served sync.WaitGroup
		held.Add(n)
		for range n {
			served.Go(func() {
				conn, err := db.Conn(b.Context())
				held.Done()
				if err != nil {
					b.Error(err)
					return
				}
				held.Wait() // each has a connection of his own
				if _, err := conn.ExecContext(b.Context(), "INSERT INTO t VALUES (1)"); err != nil {
					b.Error(err)
				}
				_ = conn.Close()
			})
		}
		served.Wait()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "times-the-floor")
}

// BenchmarkIdleConnection is what a connection costs that lies in the pool: its
// bytes on the heap and its goroutines, after its first ping. net/http has two
// goroutines for each TCP connection, a heartbeat is one more; snowtether adds none
// per connection, and one per connector with an idle ping.
func BenchmarkIdleConnection(b *testing.B) {
	for _, n := range []int{1, 64, 512} {
		for _, way := range []struct {
			name string
			open func(*snowtest.Server) driver.Connector
		}{
			{"gosnowflake", func(srv *snowtest.Server) driver.Connector {
				cfg, on := srv.Config(), "true"
				cfg.Params["client_session_keep_alive"] = &on
				return gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg)
			}},
			{"snowtether", connector()},
			{"snowtether with an idle ping", connector(snowtether.WithIdlePing(4 * time.Minute))},
		} {
			b.Run(fmt.Sprintf("%d/%s", n, way.name), func(b *testing.B) {
				var bytes, goroutines float64
				for b.Loop() {
					srv := snowtest.New(b, snowtest.AllowRepeats(), snowtest.AllowOpenSessions())
					db := sql.OpenDB(way.open(srv))
					db.SetMaxIdleConns(n)
					before, running := footprint()
					if err := snowtether.Warm(b.Context(), db, n); err != nil {
						b.Fatal(err)
					}
					after, still := footprint()
					bytes += float64(after) - float64(before)
					goroutines += float64(still - running)
					if err := db.Close(); err != nil {
						b.Error(err)
					}
				}
				// The server has goroutines of its own in this process: one for each connection.
				b.ReportMetric(bytes/float64(b.N*n), "B/conn")
				b.ReportMetric(goroutines/float64(b.N*n), "goroutines/conn")
			})
		}
	}
}

// connector makes a connector of ours with options.
func connector(opts ...snowtether.Option) func(*snowtest.Server) driver.Connector {
	return func(srv *snowtest.Server) driver.Connector {
		c, err := snowtether.NewConnector(srv.Config(), append(opts, quiet)...)
		if err != nil {
			panic(err)
		}
		return c
	}
}

// footprint is what is on the heap, and how many goroutines there are.
func footprint() (heap uint64, goroutines int) {
	runtime.GC()
	runtime.GC() // what finalizers and pools held on to
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}
