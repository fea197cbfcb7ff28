//go:build unix

package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is what grows with the pool, with those who wait and with the text:
// docs/performance.md.

// BenchmarkCrowd is what a caller costs who waits in an outage, with a connection of its own:
// bytes and goroutines, how many logins all of them make in two seconds, and how long after the end of
// their contexts the last one has left.
func BenchmarkCrowd(b *testing.B) {
	for n := 1; n <= 10**most; n *= 10 {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var bytes, goroutines, logins, left, cpu float64
			for b.Loop() {
				srv := snowtest.New(b, snowtest.AllowRepeats(), snowtest.InMemory())
				db := sql.OpenDB(connector()(srv))
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.Kind == snowtest.RequestLogin {
						logins++ // one at a time
					}
					return snowtest.Fault{Status: 503}, true
				})
				before, running := footprint()
				ctx, cancel := context.WithCancel(b.Context())
				var callers sync.WaitGroup
				for range n {
					callers.Go(func() {
						if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES (1)"); err == nil {
							b.Error("nobody can be served")
						}
					})
				}
				begun, used := time.Now(), processorTime()
				time.Sleep(2 * time.Second)
				cpu += float64(processorTime()-used) / float64(time.Since(begun))
				after, still := footprint()
				bytes += float64(after) - float64(before)
				goroutines += float64(still - running)
				begun = time.Now()
				cancel()
				callers.Wait()
				left += float64(time.Since(begun))
				if err := db.Close(); err != nil {
					b.Error(err)
				}
			}
			b.ReportMetric(0, "ns/op") // of the time in which they wait
			b.ReportMetric(bytes/float64(b.N*n), "B/caller")
			b.ReportMetric(goroutines/float64(b.N*n), "goroutines/caller")
			b.ReportMetric(logins/float64(b.N), "logins")
			b.ReportMetric(cpu/float64(b.N), "cores")
			b.ReportMetric(left/float64(b.N), "ns-to-leave")
		})
	}
}

// processorTime is that of the process.
func processorTime() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		panic(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkText is a statement of so many bytes: beside gosnowflake, and for the driver alone,
// which must not read the text while all is well.
func BenchmarkText(b *testing.B) {
	for size := 64; size <= min(*most, 64)<<20; size *= 32 {
		text := "INSERT INTO t VALUES ('" + strings.Repeat("x", size-25) + "')"
		b.Run(fmt.Sprintf("alone/%d", len(text)), func(b *testing.B) {
			conn := instantly(b, quiet).(driver.ExecerContext)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.ExecContext(context.Background(), text, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("beside gosnowflake/%d", len(text)), func(b *testing.B) {
			compareBlocks(b, 1, min(max(16<<20/size, 1), 64), func(ctx context.Context, db *sql.DB) error {
				_, err := db.ExecContext(ctx, text)
				return err
			})
		})
	}
}

// BenchmarkIdlePings is a round of pings of a pool that lies idle: the processor's time of each,
// with the server's.
func BenchmarkIdlePings(b *testing.B) {
	const every = 5 * time.Second
	for _, n := range sizes() {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			srv := snowtest.New(b, snowtest.AllowRepeats())
			db := pool(b, srv, n, snowtether.WithIdlePing(every), snowtether.WithKeepAlive(false))
			runtime.GC()
			var used time.Duration
			var pings int64
			for b.Loop() {
				before, asked := processorTime(), statsOf(b, db).Pings
				time.Sleep(every)
				used += processorTime() - before
				pings += statsOf(b, db).Pings - asked
			}
			if s := statsOf(b, db); s.Lost != 0 {
				b.Errorf("%d sessions were lost", s.Lost)
			}
			b.ReportMetric(0, "ns/op") // of the time between two rounds
			b.ReportMetric(float64(pings)/float64(b.N*n), "pings/conn")
			b.ReportMetric(float64(used)/float64(max(pings, 1)), "cpu-ns/ping")
		})
	}
}
