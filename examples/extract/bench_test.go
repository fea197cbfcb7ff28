package main

import (
	"bytes"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

var benchRows = flag.Int("rows", 100_000, "rows of the table in BenchmarkExtract")

// BenchmarkExtract extracts a table through snowtether and, in turns with it,
// through gosnowflake. The program runs in a process of its own, so that its peak
// of memory is not the server's, which runs in this one. Beside the time that
// passed there is the CPU time of the program alone: what passes is mostly the
// server's work.
//
//	go test -run '^$' -bench Extract -benchtime 3x -timeout 0 ./examples/extract -rows 5000000
func BenchmarkExtract(b *testing.B) {
	srv := snowtest.New(b, snowtest.WithEngine(engine(b)))
	db, err := sql.Open(snowtether.DriverName, srv.DSN())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(b.Context(), orders(*benchRows)); err != nil {
		b.Fatal(err)
	}
	variants := [][]string{{"-out", "orders.csv"}, {"-out", "orders.parquet"}, {"-out", "orders.parquet", "-partitions", "4"}}
	drivers := []string{snowtether.DriverName, "snowflake"}
	var m meter
	srv.FaultOnce(m.look)
	measured := map[string][]measurement{}
	dir := b.TempDir()
	for b.Loop() {
		for _, variant := range variants {
			for _, driver := range drivers {
				name := driver + strings.Join(variant, " ")
				measured[name] = append(measured[name], measure(b, &m, srv.DSN(), driver, dir, variant))
			}
		}
	}
	fmt.Printf("\n%-40s%22s%14s%8s\n", fmt.Sprintf("medians of %d turns, %d rows", b.N, *benchRows), drivers[0], "gosnowflake", "ratio")
	for _, variant := range variants {
		ours, theirs := measured[drivers[0]+strings.Join(variant, " ")], measured[drivers[1]+strings.Join(variant, " ")]
		for _, line := range []struct {
			label string
			value func(measurement) float64
			form  string
		}{
			{strings.Join(variant[1:], " ") + ", rows/s", func(r measurement) float64 { return float64(*benchRows) / r.took.Seconds() }, "%-40s%22.0f%14.0f%8.2f\n"},
			{"  CPU of the program, s", func(r measurement) float64 { return r.cpu.Seconds() }, "%-40s%22.1f%14.1f%8.2f\n"},
			{"  peak memory, MiB", func(r measurement) float64 { return r.peak }, "%-40s%22.0f%14.0f%8.2f\n"},
		} {
			x, y := median(ours, line.value), median(theirs, line.value)
			fmt.Printf(line.form, line.label, x, y, x/y)
		}
	}
}

// measurement is what one run took.
type measurement struct {
	took, cpu time.Duration
	peak      float64 // of the resident memory, in MiB
}

func measure(b *testing.B, m *meter, dsn, driver, dir string, args []string) measurement {
	cmd := child(b, driver, dsn, append(args, "-query", "SELECT * FROM orders")...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	m.watch(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), fmt.Sprint(*benchRows, " rows")) {
		b.Fatalf("%v: %s", err, &out)
	}
	return measurement{time.Since(begun), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), m.read(b)}
}

// A meter reads the peak of a program's memory when it logs out, which is the last
// that the server hears of it. The peak in its Rusage would be that of this
// process, from which it was forked.
type meter struct {
	mu   sync.Mutex
	pid  int
	peak float64
	err  error
}

func (m *meter) watch(pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pid, m.peak = pid, 0
}

func (m *meter) look(req *snowtest.Request) (snowtest.Fault, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if req.Kind == snowtest.RequestLogout && m.pid > 0 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid))
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		var kib float64
		_, scanErr := fmt.Sscan(rest, &kib)
		m.peak, m.err = max(m.peak, kib/1024), errors.Join(m.err, err, scanErr)
	}
	return snowtest.Fault{}, false
}

func (m *meter) read(b *testing.B) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pid = 0; m.err != nil || m.peak == 0 {
		b.Fatalf("the peak of memory was not read: %v", m.err)
	}
	return m.peak
}

func median(runs []measurement, value func(measurement) float64) float64 {
	var values []float64
	for _, r := range runs {
		values = append(values, value(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
