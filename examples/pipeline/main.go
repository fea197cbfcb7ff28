// Pipeline loads CSV files of daily weather into Snowflake: it stages their
// lines by PUT and COPY INTO, merges them into a table, sums that up by year and
// checks that everything is there once. It can be killed at any moment and run again.
//
//	go run ./examples/pipeline
//	go run ./examples/pipeline -chaos
//	go run ./examples/pipeline -inserts
//	SNOWFLAKE_DSN=… go run ./examples/pipeline file.csv …
//
// Without SNOWFLAKE_DSN, Snowflake is played by the test server in this process,
// and everything is gone in the end; with -chaos, that server keeps ending
// sessions and losing replies. With -inserts, the lines go by INSERT with array binds
// instead of files. With SNOWFLAKE_DSN, a stage and the tables are created in that
// account's database and schema, and stay there. Their names begin with pipeline_.
//
// The exit status is 0 if the files are in the tables and all counts and sums
// agree, 1 if not or if something else failed, 2 for wrong flags and files, in
// which case nothing was begun, and 130 after Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv("SNOWFLAKE_DSN"), os.Stdout, os.Stderr))
}

// A job is what the command line asks for.
type job struct {
	files          []file
	batch, workers int
	chaos, inserts bool
}

// run is main, for the test as well. It returns the exit status.
func run(ctx context.Context, args []string, dsn string, stdout, stderr io.Writer) int {
	j, err := parse(args, dsn != "", stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	progress := newProgress(stderr)
	// The log package's own form is one line a record, easy on the eye; slog's
	// default logger, to which snowtether writes, goes through it.
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	log.SetOutput(progress)
	// gosnowflake logs each error that it returns as well.
	_ = gosnowflake.GetLogger().SetLogLevel("off")

	if dsn != "" {
		err = j.do(ctx, dsn, progress, stdout)
	} else {
		err = j.embedded(ctx, progress, stdout)
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "pipeline: interrupted")
	default:
		fmt.Fprintln(stderr, "pipeline:", err)
	}
	if dsn != "" && !errors.Is(err, errWrong) {
		fmt.Fprintln(stderr, "pipeline: the next run goes on from here")
	}
	if ctx.Err() != nil {
		return 130
	}
	return 1
}

func parse(args []string, account bool, stderr io.Writer) (j job, err error) {
	flags := flag.NewFlagSet("pipeline", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a wrong flag gets one line, not the usage
	// Few lines, so that the sample takes some files. Use thousands.
	flags.IntVar(&j.batch, "batch", 100, "stage `n` lines at a time, in one file or by one INSERT")
	flags.IntVar(&j.workers, "workers", 4, "stage `n` batches at the same time")
	flags.BoolVar(&j.inserts, "inserts", false, "stage by INSERT with array binds, not by PUT and COPY INTO")
	flags.BoolVar(&j.chaos, "chaos", false, "end sessions and lose replies all the time, but never those of an account")
	err = flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, "Loads CSV files of daily weather into a table, each exactly once, however often it is run or killed.\n"+
			"It uses the database and schema of SNOWFLAKE_DSN or, without that, a server in this process.\n\n"+
			"usage: go run ./examples/pipeline [flags] [file.csv …]\n"+
			"Without files it loads a sample. The first line of a file is\n"+
			"location,date,precipitation,temp_max,temp_min,wind,weather\n\n")
		flags.SetOutput(stderr)
		flags.PrintDefaults()
		return j, err
	case err != nil:
		err = fmt.Errorf("%w; -h lists the flags", err)
	case j.batch < 1 || j.batch > 5000:
		// 9 values a line: from 65,280 values on gosnowflake sends them over a stage, and
		// then an INSERT is in doubt more often.
		err = errors.New("-batch must be from 1 to 5000")
	case j.workers < 1 || j.workers > 64:
		err = errors.New("-workers must be from 1 to 64")
	case j.chaos && account:
		err = errors.New("-chaos is for the server in this process; unset SNOWFLAKE_DSN")
	default:
		j.files, err = readFiles(flags.Args())
	}
	if err != nil {
		fmt.Fprintln(stderr, "pipeline:", err)
	}
	return j, err
}

// embedded runs the job against a server of its own.
func (j job) embedded(ctx context.Context, progress *progress, stdout io.Writer) (err error) {
	engine, err := duckdb.New()
	if err != nil {
		return err
	}
	srv, err := snowtest.Start(snowtest.WithEngine(engine))
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	if !j.chaos {
		return j.do(ctx, srv.DSN(), progress, stdout)
	}
	struck := unleash(srv)
	if err := j.do(ctx, srv.DSN(), progress, stdout); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "There were %d strikes and %d logins.\n", struck.Load(), srv.Stats().Logins)
	return nil
}

// do runs the job.
func (j job) do(ctx context.Context, dsn string, progress *progress, stdout io.Writer) (err error) {
	begun := time.Now()
	db, err := sqlx.Open(snowtether.DriverName, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(j.workers)
	db.SetMaxIdleConns(j.workers) // the default of 2 would log out and in all the time
	p := &pipeline{db: db, batch: j.batch, workers: j.workers, inserts: j.inserts, progress: progress}
	if err := p.prepare(ctx); err != nil {
		return fmt.Errorf("creating the tables: %w", err)
	}
	var outcomes []outcome
	for _, f := range j.files {
		o, err := p.load(ctx, f)
		if err != nil {
			return err
		}
		outcomes = append(outcomes, o)
	}
	checked, err := p.check(ctx)
	if err != nil {
		return err
	}
	years, err := p.years(ctx)
	if err != nil {
		return fmt.Errorf("reading the sums: %w", err)
	}
	j.report(stdout, outcomes, checked, years)
	fmt.Fprintf(stdout, "\nEach line is staged, each key is in the table once, and all sums agree, after %.1fs.\n", time.Since(begun).Seconds())
	return nil
}

// report says what was done.
func (j job) report(stdout io.Writer, outcomes []outcome, checked []totals, years []year) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "file\tlines\tstaged before\tstaged now\tkeys merged\tby\t")
	for i, o := range outcomes {
		by := "this run"
		if o.before {
			by = "an earlier run"
		}
		f := j.files[i]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\t\n", f.name, len(f.rows), o.found, len(f.rows)-o.found, o.merged, by)
	}
	fmt.Fprintln(w, "\nchecked\trows\tprecipitation\ttemp_max\ttemp_min\twind\t")
	for _, t := range checked {
		fmt.Fprintf(w, "%s\t%d\t%v\t%v\t%v\t%v\t\n", t.What, t.Rows, t.Precipitation, t.TempMax, t.TempMin, t.Wind)
	}
	fmt.Fprintln(w, "\nplace\tyear\tdays\train, mm\tmean high, °C\tmean low, °C\tmean wind\t")
	for _, y := range years {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t\n", y.Location, y.Year, y.Days, y.Precipitation, y.TempMax, y.TempMin, y.Wind)
	}
	w.Flush()
}
