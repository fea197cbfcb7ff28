package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file compares the driver with plain gosnowflake: docs/performance.md.

var most = flag.Int("most", 8, "the largest pool of the benchmarks, and a tenth of the largest crowd that waits; 4096 takes half an hour")

// sizes are those of the benchmarks' pools, up to -most.
func sizes() []int {
	var up []int
	for n := 1; n <= *most; n *= 8 {
		up = append(up, n)
	}
	return up
}

// side opens a pool of n connections, all of them open, on a server of its own: the
// server's ledger grows with each statement and slows down what comes later.
func side(b testing.TB, ours bool, n int) *sql.DB {
	b.Helper()
	srv := snowtest.New(b, snowtest.AllowRepeats())
	if ours {
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

// A sample is what a statement cost in one block of them.
type sample struct{ time, allocs float64 }

// block carries out n statements on each of the workers' connections.
func block(b testing.TB, db *sql.DB, workers, n int, use func(context.Context, *sql.DB) error) sample {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range n {
				if err := use(b.Context(), db); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	runtime.ReadMemStats(&after)
	statements := float64(workers * n)
	return sample{float64(took) / statements, float64(after.Mallocs-before.Mallocs) / statements}
}

// compare runs the same statements through plain gosnowflake, the yardstick, and
// through snowtether, in blocks that take turns. A machine whose speed drifts drifts
// for both, so what counts is the ratio of two blocks that follow each other: its
// median is reported. The rest are medians too.
func compare(b *testing.B, workers int, use func(context.Context, *sql.DB) error) {
	compareBlocks(b, workers, max(128/workers, 2), use)
}

// compareBlocks is compare with blocks of n statements for each worker.
func compareBlocks(b *testing.B, workers, n int, use func(context.Context, *sql.DB) error) {
	plain, ours := side(b, false, workers), side(b, true, workers)
	block(b, plain, workers, n, use)
	block(b, ours, workers, n, use)
	var yardstick, times, ratios, more []float64
	for turn := 0; b.Loop(); turn++ {
		var p, o sample
		if turn%2 == 0 {
			p = block(b, plain, workers, n, use)
			o = block(b, ours, workers, n, use)
		} else {
			o = block(b, ours, workers, n, use)
			p = block(b, plain, workers, n, use)
		}
		yardstick, times = append(yardstick, p.time), append(times, o.time)
		ratios, more = append(ratios, o.time/p.time), append(more, o.allocs-p.allocs)
	}
	b.ReportMetric(0, "ns/op") // of both together, which says nothing
	b.ReportMetric(median(yardstick), "ns/gosnowflake")
	b.ReportMetric(median(times), "ns/snowtether")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(more), "more-allocs")
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func execOnce(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", 1)
	return err
}

// BenchmarkStatement is a statement in the steady state, over loopback.
func BenchmarkStatement(b *testing.B) {
	for _, use := range []struct {
		name string
		run  func(ctx context.Context, db *sql.DB) error
	}{
		{"Exec", execOnce},
		{"Exec, context that cannot end", func(_ context.Context, db *sql.DB) error { // which needs no goroutine of ours
			return execOnce(context.Background(), db)
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
		b.Run(use.name+"/serial", func(b *testing.B) { compare(b, 1, use.run) })
		b.Run(use.name+"/parallel16", func(b *testing.B) { compare(b, 16, use.run) })
	}
}

// BenchmarkPool is a statement in pools of different sizes, all of whose
// connections are busy.
func BenchmarkPool(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprint(n), func(b *testing.B) { compare(b, n, execOnce) })
	}
}

// instant is an inner connection that answers at once: what is left is the shim.
type instant struct{ bare }

func (i instant) Connect(context.Context) (driver.Conn, error) { return i, nil }

func (instant) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, nil
}

// instantly opens a connection whose inner one is instant.
func instantly(b *testing.B, opts ...snowtether.Option) driver.Conn {
	b.Helper()
	c, err := snowtether.WrapConnector(instant{bare{new([]string)}}, opts...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	conn, err := c.Connect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return conn
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
		conn := instantly(b, append(listening.opts, quiet)...)
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

// BenchmarkCheckout is the checkout and return of connections of one connector, all
// of them at the same time: what they share must not make them wait.
func BenchmarkCheckout(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, err := snowtether.WrapConnector(instant{bare{new([]string)}}, quiet)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = c.Close() })
			conns := make(chan driver.Conn, n)
			for range n {
				conn, err := c.Connect(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				conns <- conn
			}
			b.ReportAllocs()
			b.ResetTimer()
			var users sync.WaitGroup
			for user := range n {
				users.Go(func() {
					conn := <-conns
					for i := user; i < b.N; i += n {
						if conn.(driver.SessionResetter).ResetSession(b.Context()) != nil || !conn.(driver.Validator).IsValid() {
							b.Error("not valid")
							return
						}
					}
				})
			}
			users.Wait()
		})
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

// BenchmarkRecovery is how long it takes until all callers are served whose sessions
// died at the same moment, where a login takes 100 ms. The floor is that of the gate: after a
// loss one login goes first, and then eight at a time (with a password it is four): 900 ms
// for 64.
func BenchmarkRecovery(b *testing.B) {
	const login, width = 100 * time.Millisecond, 8
	for _, n := range sizes() {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			srv := snowtest.New(b, snowtest.AllowRepeats(), anyToken)
			db := pool(b, srv, n, withToken)
			srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
				if r.Kind != snowtest.RequestLogin {
					return snowtest.Fault{}, false
				}
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
						held.Wait() // each has a connection of its own
						if _, err := conn.ExecContext(b.Context(), "INSERT INTO t VALUES (1)"); err != nil {
							b.Error(err)
						}
						_ = conn.Close()
					})
				}
				served.Wait()
			}
			floor := login * time.Duration(1+(n-1+width-1)/width)
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "times-the-floor")
		})
	}
}

// BenchmarkIdleConnection is what a connection costs that lies in the pool: its
// bytes on the heap and its goroutines, after its first ping. net/http has two
// goroutines for each TCP connection, a heartbeat is one more; snowtether adds none
// per connection, and one per connector with an idle ping.
func BenchmarkIdleConnection(b *testing.B) {
	for _, n := range sizes() {
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
