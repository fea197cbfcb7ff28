package results_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/results"
	"github.com/snowtether/snowtether/snowtest"
)

var benchRows = flag.Int("rows", 100_000, "rows of the result in BenchmarkResults")

// readers are what is measured, each over a pool of its own kind: package results over snowtether
// beside the same by hand over plain gosnowflake.
var readers = map[string]func(context.Context, string) (rows int64, _ error){
	"results.Read": func(ctx context.Context, dsn string) (rows int64, _ error) {
		return pooled(snowtether.DriverName, dsn, func(db *sql.DB) error {
			return results.Read(ctx, db, results.SQL(benchQuery), func(b results.Batch) error { rows += b.NumRows(); return nil })
		}, &rows)
	},
	"gosnowflake's batches": func(ctx context.Context, dsn string) (rows int64, _ error) {
		return pooled("snowflake", dsn, func(db *sql.DB) error { return byHand(ctx, db, &rows) }, &rows)
	},
	"results.Rows": func(ctx context.Context, dsn string) (rows int64, _ error) {
		return pooled(snowtether.DriverName, dsn, func(db *sql.DB) error {
			list, err := results.Rows(ctx, db, results.SQL(benchQuery))
			return scan(list, err, &rows)
		}, &rows)
	},
	"gosnowflake's rows": func(ctx context.Context, dsn string) (rows int64, _ error) {
		return pooled("snowflake", dsn, func(db *sql.DB) error {
			list, err := db.QueryContext(ctx, benchQuery)
			return scan(list, err, &rows)
		}, &rows)
	},
}

const benchQuery = "SELECT * FROM big"

func pooled(driver, dsn string, read func(*sql.DB) error, rows *int64) (int64, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = read(db)
	return *rows, err
}

// byHand reads as gosnowflake's own example does, four parts at a time, as results does by default.
func byHand(ctx context.Context, db *sql.DB, rows *int64) error {
	ctx = gosnowflake.WithHigherPrecision(arrowbatches.WithTimestampOption(arrowbatches.WithArrowBatches(ctx), arrowbatches.UseMicrosecondTimestamp))
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error {
		list, err := c.(driver.QueryerContext).QueryContext(ctx, benchQuery, nil)
		if err != nil {
			return err
		}
		defer list.Close()
		batches, err := arrowbatches.GetArrowBatches(list.(gosnowflake.SnowflakeRows))
		if err != nil {
			return err
		}
		type fetched struct {
			rows int64
			err  error
		}
		parts := make(chan chan fetched, 3)
		go func() {
			defer close(parts)
			for _, b := range batches {
				done := make(chan fetched, 1)
				parts <- done
				go func() {
					records, err := b.Fetch()
					var n int64
					if err == nil {
						for _, r := range *records {
							n += r.NumRows()
							r.Release()
						}
					}
					done <- fetched{n, err}
				}()
			}
		}()
		for done := range parts {
			f := <-done
			if f.err != nil {
				err = f.err
			}
			*rows += f.rows
		}
		return err
	})
}

func scan(list *sql.Rows, err error, rows *int64) error {
	if err != nil {
		return err
	}
	defer list.Close()
	for list.Next() {
		var id int64
		var name string
		var amount float64
		var at time.Time
		if err := list.Scan(&id, &name, &amount, &at); err != nil {
			return err
		}
		*rows++
	}
	return list.Err()
}

// asReader makes the test binary read as one of the readers does, in a process of its own, whose CPU
// time and memory are not the server's.
const asReader = "RESULTS_BENCH_READER"

// cost is what a reading took.
type cost struct {
	Rows    int64
	Seconds float64 // of CPU
	MiB     float64 // the peak of resident memory
}

func TestMain(m *testing.M) {
	reader := os.Getenv(asReader)
	if reader == "" {
		os.Exit(m.Run())
	}
	rows, err := readers[reader](context.Background(), os.Getenv(asReader+"_DSN"))
	var used syscall.Rusage
	var status []byte
	if err == nil {
		err = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	}
	if err == nil {
		status, err = os.ReadFile("/proc/self/status")
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	if err == nil {
		_, err = fmt.Sscan(rest, &kib)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(cost{rows, time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds(), kib / 1024})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// BenchmarkResults reads one result in turns, each time in a process of its own, and prints CPU time
// and peak memory: package results over snowtether, and the same by hand over gosnowflake.
//
//	go test -run '^$' -bench '^BenchmarkResults$' -benchtime 3x -timeout 0 ./results -rows 5000000
func BenchmarkResults(b *testing.B) {
	srv := snowtest.New(b, snowtest.AllowRepeats())
	srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) { return big(*benchRows), nil })
	measured := map[string][]cost{}
	pairs := [][2]string{{"results.Read", "gosnowflake's batches"}, {"results.Rows", "gosnowflake's rows"}}
	for b.Loop() {
		for _, pair := range pairs {
			for _, name := range pair {
				measured[name] = append(measured[name], measure(b, srv.DSN(), name))
			}
		}
	}
	fmt.Printf("\nmedians of %d turns, %d rows\n", b.N, *benchRows)
	median := func(name string, value func(cost) float64) float64 {
		var values []float64
		for _, c := range measured[name] {
			values = append(values, value(c))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	for _, pair := range pairs {
		for _, what := range []struct {
			label string
			value func(cost) float64
		}{{"CPU, s", func(c cost) float64 { return c.Seconds }}, {"peak memory, MiB", func(c cost) float64 { return c.MiB }}} {
			x, y := median(pair[0], what.value), median(pair[1], what.value)
			fmt.Printf("%-18s%-16s%9.2f   %-22s%9.2f   ratio%6.2f\n", what.label, pair[0], x, pair[1], y, x/y)
		}
	}
}

func measure(b *testing.B, dsn, reader string) (c cost) {
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), asReader+"="+reader, asReader+"_DSN="+dsn)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &c)
	}
	if err != nil || c.Rows != int64(*benchRows) {
		b.Fatalf("%s: %d rows: %v", reader, c.Rows, err)
	}
	return c
}

// big is a result of so many rows, which never stands in memory as a whole.
func big(rows int) *snowtest.Result {
	return &snowtest.Result{Kind: snowtest.KindSelect, ReadOnly: true, Columns: []snowtest.Column{
		{Name: "ID", Type: "fixed", Precision: 18}, {Name: "CUSTOMER", Type: "text"}, {Name: "AMOUNT", Type: "fixed", Precision: 12, Scale: 2}, {Name: "AT", Type: "timestamp_ntz", Scale: 6},
	}, More: func(yield func([][]*string, error) bool) {
		block := make([][]*string, 0, 1000)
		for i := range rows {
			id, name, amount, at := strconv.Itoa(i), "Customer "+strconv.Itoa(i%5000), fmt.Sprintf("%d.%02d", i%10000, i%100), strconv.Itoa(1_700_000_000+i)+".000001"
			if block = append(block, []*string{&id, &name, &amount, &at}); len(block) == cap(block) || i == rows-1 {
				if !yield(block, nil) {
					return
				}
				block = block[:0]
			}
		}
	}}
}
