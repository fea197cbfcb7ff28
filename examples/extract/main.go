// Extract writes the result of a query to a CSV or Parquet file, for tools that
// read files. It lives through the end of its sessions and of its connections:
// the result is fetched again by its query ID, and goes on after the last row
// that was written. The query is not run a second time.
//
//	go run ./examples/extract
//	go run ./examples/extract -rows 5000000 -out orders.parquet
//	SNOWFLAKE_DSN=… go run ./examples/extract -query 'SELECT * FROM orders' -out orders.csv
//
// Without SNOWFLAKE_DSN, Snowflake is played by the test server in this process,
// with a table ORDERS of generated rows. README.md says how types, NULLs and
// partitions come out.
//
// The file appears under its name only when it is complete; until then, what was
// there before stays. The exit status is 0 then, 1 after an error, 2 for wrong
// flags and files and for SQL that is not a query, of which nothing is sent, and
// 130 after Ctrl-C.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
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
	log.SetFlags(log.Ltime)      // slog's default logger, to which snowtether writes, goes through it
	os.Exit(run(ctx, os.Args[1:], os.Getenv("SNOWFLAKE_DSN"), os.Stdout, os.Stderr))
}

// driverName is a variable for the benchmark, which compares snowtether with
// gosnowflake.
var driverName = snowtether.DriverName

// A job is what the flags ask for.
type job struct {
	query      string
	out        string
	format     format
	partitions int
	key        string // what partitions are told by
	rows       int    // of the table in the embedded server
}

// run is main, for the tests as well. It returns the exit status.
func run(ctx context.Context, args []string, dsn string, stdout, stderr io.Writer) int {
	j, err := parse(args, dsn, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	return j.run(ctx, dsn, stdout, stderr)
}

func parse(args []string, dsn string, stderr io.Writer) (*job, error) {
	j := &job{}
	flags := flag.NewFlagSet("extract", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a wrong flag gets one line, not the usage
	var file string
	flags.StringVar(&j.query, "query", "SELECT * FROM orders", "extract the result of this `SQL`; it must be given with SNOWFLAKE_DSN")
	flags.StringVar(&file, "file", "", "read the SQL from this `file`")
	flags.StringVar(&j.out, "out", "extract.csv", "write this `file`; its name ends in .csv or .parquet")
	flags.IntVar(&j.partitions, "partitions", 1, "split the query by a hash and read with `n` connections, from 1 to 64; the order of the rows is lost")
	flags.StringVar(&j.key, "key", "*", "with -partitions: hash these `columns` of the result and not all of them")
	flags.IntVar(&j.rows, "rows", 10_000, "generate `n` rows for the table ORDERS; only without SNOWFLAKE_DSN")
	err := flags.Parse(args)
	set := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { set[f.Name] = true })
	j.format = formats[strings.ToLower(filepath.Ext(j.out))]
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, "Writes the result of a query to a CSV or Parquet file.\n"+
			"Without SNOWFLAKE_DSN it reads a table ORDERS of generated rows from a server of its own.\n\n"+
			"usage: go run ./examples/extract [flags]\n")
		flags.SetOutput(stderr)
		flags.PrintDefaults()
		return nil, err
	case err != nil:
		err = fmt.Errorf("%w; -h lists the flags", err)
	case flags.NArg() > 0:
		err = errors.New("there are no arguments, only flags")
	case set["query"] && set["file"]:
		err = errors.New("give -query or -file, not both")
	case set["file"] && file == "":
		err = errors.New("-file must name a file")
	case dsn != "" && !set["query"] && !set["file"]:
		err = errors.New("SNOWFLAKE_DSN is set: say what to extract, with -query or -file")
	case dsn != "" && set["rows"]:
		err = errors.New("-rows is for the embedded server: unset SNOWFLAKE_DSN, or put a LIMIT into the query")
	case j.rows < 0:
		err = errors.New("-rows must not be negative")
	case j.partitions < 1 || j.partitions > 64:
		err = errors.New("-partitions must be from 1 to 64")
	case set["key"] && j.partitions == 1:
		err = errors.New("-key needs -partitions")
	case strings.TrimSpace(j.key) == "" || strings.Contains(j.key, ";"):
		err = errors.New("-key must name columns")
	case j.format == nil:
		err = errors.New("-out must end in .csv or .parquet")
	default:
		err = j.readQuery(file)
	}
	if err != nil {
		fmt.Fprintln(stderr, "extract:", err)
	}
	return j, err
}

// readQuery takes the query from the file, if there is one, and checks it.
func (j *job) readQuery(file string) (err error) {
	from := "-query"
	if file != "" {
		from = file
		text, err := os.ReadFile(file)
		if err != nil {
			return err // it names the file
		}
		j.query = strings.TrimPrefix(string(text), "\ufeff") // some editors write it
	}
	if j.query, err = onlyQuery(j.query); err != nil {
		err = fmt.Errorf("%s: %w", from, err)
	}
	return err
}

// run does the job and returns the exit status.
func (j *job) run(ctx context.Context, dsn string, stdout, stderr io.Writer) int {
	// The file comes first: a query that took an hour should not end at a directory
	// that does not exist.
	target, err := createTarget(j.out)
	if err != nil {
		fmt.Fprintln(stderr, "extract: -out:", err)
		return 2
	}
	for _, name := range target.remains() {
		fmt.Fprintf(stderr, "extract: an earlier run, which was killed or still writes, has left %s; remove it unless it is in use\n", name)
	}
	_ = gosnowflake.GetLogger().SetLogLevel("off") // it logs each error that it returns as well

	bar := newProgress(stderr)
	log.SetOutput(bar)
	out := &output{open: j.format, file: target, progress: bar}
	if dsn == "" {
		err = j.embedded(ctx, out)
	} else {
		err = j.extract(ctx, dsn, out)
	}
	if err == nil {
		err = out.close()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = target.commit()
	}
	bar.finish()
	log.SetOutput(stderr)
	interrupted := err != nil && ctx.Err() != nil
	switch err = errors.Join(err, target.discard()); {
	case interrupted:
		fmt.Fprintln(stderr, "extract: interrupted;", j.out, "was not written")
		return 130
	case err != nil:
		fmt.Fprintln(stderr, "extract:", err)
		return 1
	}
	query, rows := out.there.Sub(out.begun), time.Since(out.there)
	fmt.Fprintf(stdout, "%s: %d rows in %.1fs, %.0f rows/s, after %.1fs for the query\n", j.out, out.rows, rows.Seconds(), float64(out.rows)/rows.Seconds(), query.Seconds())
	return 0
}

// embedded does the job with a server in this process.
func (j *job) embedded(ctx context.Context, out *output) (err error) {
	engine, err := duckdb.New()
	if err != nil {
		return err
	}
	srv, err := snowtest.Start(snowtest.WithEngine(engine))
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	db, err := sql.Open(snowtether.DriverName, srv.DSN())
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, orders(j.rows))
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return j.extract(ctx, srv.DSN(), out)
}

// orders is the statement that makes the embedded server's table.
func orders(rows int) string {
	return fmt.Sprintf(`CREATE TABLE orders AS
SELECT n::NUMBER(18,0)                                                    AS id,
       'Customer ' || MOD(n * 7919, 5000)                                 AS customer,
       DATEADD(day, MOD(n, 2000), '2020-01-01'::DATE)                     AS ordered_on,
       DATEADD(second, MOD(n * 31, 86400), '2020-01-01'::TIMESTAMP_NTZ)   AS local_time,
       DATEADD(second, n * 13, '2020-01-01 00:00:00+00'::TIMESTAMP_LTZ)   AS paid_at,
       (MOD(n * 104729, 1000000) * 0.01)::NUMBER(12,2)                  AS amount,
       MOD(n, 97) * 0.1::FLOAT                                            AS weight,
       MOD(n, 3) = 0                                                      AS gift,
       CASE MOD(n, 4) WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'note ' || n END AS note
FROM (SELECT SEQ8() AS n FROM TABLE(GENERATOR(ROWCOUNT => %d)))`, rows)
}

// extract reads the query's result into out.
func (j *job) extract(ctx context.Context, dsn string, out *output) (err error) {
	db, err := sql.Open(driverName, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	out.begun = time.Now()
	return readAll(ctx, db, slices.Collect(j.statements), out)
}

// statements yields the query, or a query for each of its partitions: each row
// has one hash, and so is in one of them. A HASH is never NULL. The line breaks
// are for a query that ends in a comment.
func (j *job) statements(yield func(string) bool) {
	if j.partitions == 1 {
		yield(j.query)
		return
	}
	for i := range j.partitions {
		if !yield(fmt.Sprintf("SELECT * FROM (\n%s\n) WHERE MOD(ABS(HASH(%s)), %d) = %d", j.query, j.key, j.partitions, i)) {
			return
		}
	}
}
