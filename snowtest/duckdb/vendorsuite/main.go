// Command vendorsuite runs gosnowflake's own tests against a snowtest server with the
// DuckDB engine, and says what becomes of them. Nobody here wrote these tests, so they
// are a judge of the engine.
//
//	go run ./snowtest/duckdb/vendorsuite              # all of them, some minutes
//	go run ./snowtest/duckdb/vendorsuite -run 'Date'  # those whose names match
//
// The tests are compiled once, in the version of gosnowflake that the workspace has.
// Each then runs in a process of its own, against a server of its own, with a limit.
// Only tests that log in with the suite's DSN are run: the others test gosnowflake and
// no server.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

type settings struct {
	run     *regexp.Regexp
	limit   time.Duration
	jobs    int
	least   int
	json    bool
	verbose bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := start(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "vendorsuite:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	b, err := compile(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	names, err := liveTests(b.dir)
	if err != nil {
		return err
	}
	var wanted []string
	for _, n := range names {
		if s.run.MatchString(n) {
			wanted = append(wanted, n)
		}
	}
	if len(wanted) == 0 {
		return fmt.Errorf("-run matches none of the %d tests that log in", len(names))
	}
	var encode sync.Mutex
	outcomes := runAll(ctx, b, s, wanted, func(o outcome) {
		encode.Lock()
		defer encode.Unlock()
		if s.json {
			_ = json.NewEncoder(out).Encode(o) // of strings and a number
		}
	})
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return report(out, s, outcomes)
}

func parse(args []string) (settings, error) {
	s := settings{}
	f := flag.NewFlagSet("vendorsuite", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: go run ./snowtest/duckdb/vendorsuite [flags]\n\n"+
			"Runs gosnowflake's own tests against the DuckDB engine, from a folder inside the workspace.")
		f.PrintDefaults()
	}
	run := f.String("run", "", "run only the tests whose name matches this regular `expression`")
	f.DurationVar(&s.limit, "limit", 2*time.Minute, "what a test may take")
	f.IntVar(&s.jobs, "jobs", runtime.NumCPU(), "how many tests run at the same time")
	f.IntVar(&s.least, "least", 0, "fail if fewer tests than this pass")
	f.BoolVar(&s.json, "json", false, "print one JSON object for each test, as it is done, and no table")
	f.BoolVar(&s.verbose, "v", false, "print what the tests that fail say")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	var err error
	switch s.run, err = regexp.Compile(*run); {
	case err != nil:
		return s, fmt.Errorf("-run is not a regular expression: %w", err)
	case f.NArg() > 0:
		return s, fmt.Errorf("unknown argument %q: tests are chosen with -run", f.Arg(0))
	case s.limit <= 0 || s.jobs < 1:
		return s, errors.New("-limit must be more than 0 and -jobs at least 1")
	}
	return s, nil
}

// runAll runs the tests, tells of each that is done, and gives their outcomes in the order
// of the names.
func runAll(ctx context.Context, b *binary, s settings, names []string, done func(outcome)) []outcome {
	outcomes := make([]outcome, len(names))
	next := make(chan int)
	var workers sync.WaitGroup
	for range s.jobs {
		workers.Go(func() {
			for i := range next {
				outcomes[i] = b.runOne(ctx, names[i], s.limit)
				done(outcomes[i])
			}
		})
	}
	for i := range names {
		if ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	workers.Wait()
	return outcomes
}

func report(out io.Writer, s settings, outcomes []outcome) error {
	counts := map[class]int{}
	for _, o := range outcomes {
		counts[o.Class]++
		if !s.json && o.Class != passed && o.Class != skipped {
			fmt.Fprintf(out, "%-12s %-60s %6.1fs  %s\n", o.Class, o.Name, o.Seconds, o.Why)
			if s.verbose {
				fmt.Fprintf(out, "    %s\n", strings.ReplaceAll(strings.TrimSpace(o.Output), "\n", "\n    "))
			}
		}
	}
	if !s.json {
		fmt.Fprintf(out, "\n%4d tests of gosnowflake\n", len(outcomes))
		for _, c := range classes {
			fmt.Fprintf(out, "%4d %s\n", counts[c], meanings[c])
		}
	}
	if counts[passed] < s.least {
		return fmt.Errorf("%d tests passed, and -least asks for %d", counts[passed], s.least)
	}
	return nil
}
