//go:build unix

package projects

import (
	"context"
	"database/sql"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/snowtether/snowtether/compat/projects/peers"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is what a statement costs through what a user would put around gosnowflake.

// A way is one of them, with a server of its own.
type way struct {
	name            string
	db              *sql.DB
	time, cpu, more []float64 // of each turn: beside gosnowflake's
}

// spent is the time, the processor's time and the allocations of some statements: the
// server's too, which are the same for all.
func (w *way) spent(b *testing.B, use func(context.Context, *sql.DB) error) (took, cpu, allocs float64) {
	const statements = 32
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	used, begun := processor(), time.Now()
	for range statements {
		if err := use(b.Context(), w.db); err != nil {
			b.Fatal(w.name, err)
		}
	}
	took, cpu = float64(time.Since(begun)), float64(processor()-used)
	runtime.ReadMemStats(&after)
	return took / statements, cpu / statements, float64(after.Mallocs-before.Mallocs) / statements
}

func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSideBySide is a statement in the steady state over loopback, through each in
// turns. What counts is the ratio to gosnowflake in the same turn; the median of the turns
// is told: of the time, of the processor's time, and how many allocations there are more.
func BenchmarkSideBySide(b *testing.B) {
	for _, statement := range []struct {
		name  string
		delay time.Duration
		run   func(ctx context.Context, db *sql.DB) error
	}{
		{"Exec", 0, func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", 1)
			return err
		}},
		{"Query", 0, func(ctx context.Context, db *sql.DB) error {
			return db.QueryRowContext(ctx, "SELECT 1").Scan(new(int))
		}},
		{"Exec, 20 ms away", 20 * time.Millisecond, func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", 1)
			return err
		}},
	} {
		b.Run(statement.name, func(b *testing.B) { sideBySide(b, statement.delay, statement.run) })
	}
}

func sideBySide(b *testing.B, delay time.Duration, use func(ctx context.Context, db *sql.DB) error) {
	var ways []*way
	for _, peer := range peers.All {
		srv := snowtest.New(b, snowtest.AllowRepeats(), snowtest.AllowOpenSessions())
		c, err := peer.Open(srv.DSN())
		if err != nil {
			b.Fatal(err)
		}
		w := &way{name: peer.Name}
		ways = append(ways, w)
		w.db = sql.OpenDB(c)
		b.Cleanup(func() { _ = w.db.Close() })
		w.db.SetMaxOpenConns(1)
		w.spent(b, use)
		if delay != 0 {
			srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Delay: delay}, r.Kind == snowtest.RequestQuery
			})
		}
	}
	var yardstick []float64
	for turn := 0; b.Loop(); turn++ {
		took, cpu, allocs := make([]float64, len(ways)), make([]float64, len(ways)), make([]float64, len(ways))
		for i := range ways {
			at := (i + turn) % len(ways) // nobody is always behind the same
			took[at], cpu[at], allocs[at] = ways[at].spent(b, use)
		}
		yardstick = append(yardstick, took[0])
		for i, w := range ways {
			w.time, w.cpu, w.more = append(w.time, took[i]/took[0]), append(w.cpu, cpu[i]/cpu[0]), append(w.more, allocs[i]-allocs[0])
		}
	}
	b.ReportMetric(0, "ns/op") // of all together, which says nothing
	b.ReportMetric(middle(yardstick), "ns/gosnowflake")
	for _, w := range ways[1:] {
		b.ReportMetric(middle(w.time), w.name+"-time")
		b.ReportMetric(middle(w.cpu), w.name+"-cpu")
		b.ReportMetric(middle(w.more), w.name+"-more-allocs")
	}
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
