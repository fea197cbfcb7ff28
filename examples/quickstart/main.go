// Quickstart loads four years of weather into a table with eight workers, while
// all sessions of the pool are expired or ended several times a second: first
// through snowtether, then through plain gosnowflake, which differs by one word.
// It prints what arrived.
//
//	go run ./examples/quickstart
//
// It needs no account: Snowflake is played by the test server in this process.
// With SNOWFLAKE_DSN set, the load goes to that account instead, through
// snowtether alone, into a schema of its own that is dropped in the end; nothing
// is killed there.
//
// The exit status is 0 if each row arrived exactly once through snowtether, 1 if
// not or if something else failed, 2 for wrong flags and 130 after Ctrl-C.
package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the clean-up
	// The log package's own form is one line a record, easy on the eye; slog's
	// default logger, to which snowtether writes, goes through it.
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	os.Exit(run(ctx, os.Args[1:], os.Getenv("SNOWFLAKE_DSN"), os.Stdout, os.Stderr))
}

// A job is one load and its circumstances.
type job struct {
	days    []day
	workers int
	every   time.Duration // between waves
}

func (j job) String() string {
	return fmt.Sprintf("Loading %d days of Seattle weather: %d INSERTs of %d rows, %d workers",
		len(j.days), (len(j.days)+rowsPerInsert-1)/rowsPerInsert, rowsPerInsert, j.workers)
}

// run is main, for the test as well. It returns the exit status.
func run(ctx context.Context, args []string, dsn string, stdout, stderr io.Writer) int {
	log.SetOutput(stderr)
	j, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	// gosnowflake logs each error that it returns as well.
	_ = gosnowflake.GetLogger().SetLogLevel("off")

	var columns []column
	if dsn != "" {
		columns, err = j.onAccount(ctx, dsn, stdout)
	} else {
		columns, err = j.compare(ctx, stdout)
	}
	switch {
	case ctx.Err() != nil && !errors.Is(err, errNotDropped):
		fmt.Fprintln(stderr, "quickstart: interrupted")
		return 130
	case err != nil:
		fmt.Fprintln(stderr, "quickstart:", err)
		return 1
	}
	return report(stdout, columns)
}

func parse(args []string, stderr io.Writer) (j job, err error) {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a wrong flag gets one line, not the usage
	rows := flags.Int("rows", 0, "load the first `n` rows only; 0 loads all")
	flags.IntVar(&j.workers, "workers", 8, "load with `n` workers, each with a session")
	flags.DurationVar(&j.every, "every", 300*time.Millisecond, "end all sessions every `interval`, but never those of an account")
	err = flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, "Loads weather data while sessions end, through snowtether and through plain gosnowflake.\n"+
			"With SNOWFLAKE_DSN set, it loads into that account instead and kills nothing.\n\n"+
			"usage: go run ./examples/quickstart [flags]\n")
		flags.SetOutput(stderr)
		flags.PrintDefaults()
		return j, err
	case err != nil:
		err = fmt.Errorf("%w; -h lists the flags", err)
	case flags.NArg() > 0:
		err = errors.New("there are no arguments, only flags")
	case *rows < 0:
		err = errors.New("-rows must not be negative")
	case j.workers < 1 || j.workers > 64:
		err = errors.New("-workers must be from 1 to 64")
	case j.every < 50*time.Millisecond:
		err = errors.New("-every must be at least 50ms")
	default:
		j.days, err = readDays(strings.NewReader(weather))
		if *rows > 0 {
			j.days = j.days[:min(*rows, len(j.days))]
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "quickstart:", err)
	}
	return j, err
}

// compare runs the load twice against the server in this process.
func (j job) compare(ctx context.Context, stdout io.Writer) ([]column, error) {
	fmt.Fprintf(stdout, "%v.\nAbout every %v a wave expires or ends all sessions. Reconnects are logged to stderr, of many the first and their number.\n", j, j.every)
	var columns []column
	for _, driver := range []string{"snowtether", "snowflake"} {
		c, err := j.embedded(ctx, driver)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", driver, err)
		}
		columns = append(columns, c)
	}
	columns[1].name = "gosnowflake" // it calls itself snowflake
	return columns, nil
}

// embedded runs the load against a new server.
func (j job) embedded(ctx context.Context, driver string) (c column, err error) {
	engine, err := duckdb.New()
	if err != nil {
		return c, err
	}
	// Snowflake is never as near as loopback.
	srv, err := snowtest.Start(snowtest.WithEngine(engine), snowtest.WithLatency(40*time.Millisecond))
	if err != nil {
		return c, errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	c, err = j.do(ctx, driver, srv.DSN(), srv)
	c.twice = len(srv.Doubles())
	return c, err
}

// onAccount runs the load against a real account.
func (j job) onAccount(ctx context.Context, dsn string, stdout io.Writer) ([]column, error) {
	fmt.Fprintf(stdout, "%v, into the account of SNOWFLAKE_DSN.\n", j)
	c, err := j.do(ctx, snowtether.DriverName, dsn, nil)
	return []column{c}, err
}

// errNotDropped is in the chain of an error that leaves something behind.
var errNotDropped = errors.New("the schema was not dropped")

// do creates a schema and a table, loads, counts, and drops the schema. srv is
// nil for a real account.
func (j job) do(ctx context.Context, driver, dsn string, srv *snowtest.Server) (c column, err error) {
	c.name, c.account = driver, srv == nil
	admin, err := sql.Open(snowtether.DriverName, dsn)
	if err != nil {
		return c, err
	}
	admin.SetMaxIdleConns(-1) // it is idle during the load, and needs no session then
	defer func() { err = errors.Join(err, admin.Close()) }()

	// Names are qualified: USE would hold for one session, and each worker has its
	// own. TRANSIENT costs no fail-safe storage.
	schema := "quickstart_" + strings.ToLower(rand.Text()[:12])
	table := schema + ".weather"
	_, err = admin.ExecContext(ctx, "CREATE TRANSIENT SCHEMA "+schema)
	switch snowtether.Classify(err) {
	case "", snowtether.ClassContext, snowtether.ClassInDoubt:
		// It was created, or may have been. After Ctrl-C ctx has ended.
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			if _, dropErr := admin.ExecContext(ctx, "DROP SCHEMA IF EXISTS "+schema); dropErr != nil {
				err = errors.Join(err, fmt.Errorf("%w: %s: %w", errNotDropped, schema, dropErr))
			}
		}()
	}
	if err != nil {
		return c, err
	}
	if _, err := admin.ExecContext(ctx, "CREATE TABLE "+table+" "+tableColumns); err != nil {
		return c, err
	}

	db, err := sql.Open(driver, dsn) // "snowtether" or "snowflake": the one difference
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(j.workers)
	db.SetMaxIdleConns(j.workers) // the default of 2 would log out and in all the time
	if err := snowtether.Warm(ctx, db, j.workers); err != nil {
		return c, err
	}

	slog.Info("quickstart: loading", "driver", driver)
	begun, stop := time.Now(), func() int { return 0 }
	if srv != nil {
		stop = storm(srv, j.workers, j.every)
	}
	failed := load(ctx, db, table, j.days, j.workers)
	c.waves, c.took, c.failed = stop(), time.Since(begun), len(failed)
	if connector, err := snowtether.ConnectorOf(db); err == nil { // gosnowflake has none, and no reconnects
		c.reconnects = int(connector.Stats().Reconnects)
	}
	if len(failed) > 0 && ctx.Err() == nil {
		slog.Warn("quickstart: statements failed", "driver", driver, "count", len(failed), "first", failed[0])
	}
	c.tally, err = count(ctx, admin, table, j.days)
	return c, err
}

// waves are the ways in which sessions end, one after the other.
var waves = []struct {
	what string
	do   func(*snowtest.Server)
}{
	{"all session tokens expire (390112), a renewal helps", func(s *snowtest.Server) { s.ExpireSessionTokens() }},
	{"all master tokens expire (390114)", func(s *snowtest.Server) { s.ExpireMasterTokens() }},
	{"an administrator aborts all sessions (390111)", func(s *snowtest.Server) { s.AbortSessions() }},
	{"a gateway forgets all sessions (HTTP 401)", func(s *snowtest.Server) { s.EndSessions(snowtest.Refusal{Status: 401}) }},
	{"the server forgets all sessions (390104)", func(s *snowtest.Server) { s.EndSessions(snowtest.Refusal{Code: "390104"}) }},
}

// storm ends sessions until it is stopped, and then says how often. It waits
// until each worker can have run a statement since: no pool can work with
// sessions that end before they are used.
func storm(srv *snowtest.Server, workers int, every time.Duration) (stop func() int) {
	done, n := make(chan struct{}), make(chan int)
	go func() {
		ticks := time.NewTicker(every)
		defer ticks.Stop()
		count, before := 0, srv.Stats().Statements
		for {
			select {
			case <-ticks.C:
				if srv.Stats().Statements < before+workers {
					continue
				}
				wave := waves[count%len(waves)]
				count++
				slog.Info(fmt.Sprintf("quickstart: wave %d: %s", count, wave.what))
				wave.do(srv)
				before = srv.Stats().Statements
			case <-done:
				n <- count
				return
			}
		}
	}()
	return func() int { close(done); return <-n }
}

// A column is the outcome of one load.
type column struct {
	name    string
	account bool // a real one: it is not known what its server saw
	tally
	failed, twice, reconnects, waves int
	took                             time.Duration
}

// report prints the columns side by side and returns the exit status, which
// depends on the first alone.
func report(w io.Writer, columns []column) int {
	line := func(label string, value func(column) any) {
		fmt.Fprintf(w, "%-22s", label)
		for _, c := range columns {
			fmt.Fprintf(w, "%14v", value(c))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	line("", func(c column) any { return c.name })
	line("rows in the file", func(c column) any { return c.file })
	line("rows in the table", func(c column) any { return c.table })
	line("rows missing", func(c column) any { return c.missing })
	line("rows doubled", func(c column) any { return c.doubled })
	line("statements failed", func(c column) any { return c.failed })
	if !columns[0].account {
		line("statements run twice", func(c column) any { return c.twice })
		line("reconnects", func(c column) any { return c.reconnects })
		line("waves", func(c column) any { return c.waves })
	}
	line("time", func(c column) any { return fmt.Sprintf("%.1fs", c.took.Seconds()) })
	fmt.Fprintln(w)
	if !columns[0].exact() {
		fmt.Fprintln(w, "Through snowtether, not each row arrived exactly once.")
		return 1
	}
	fmt.Fprintln(w, "Through snowtether, each row arrived exactly once.")
	return 0
}
