// Chaos runs the same workload at the same time through plain gosnowflake, through
// the shim that one writes first, and through snowtether, while sessions end,
// replies are lost, logins fail and the server stalls. It counts what each driver
// said, and compares it with what the servers' ledgers say.
//
//	go run ./examples/chaos
//	go run ./examples/chaos -svg docs/chaos.svg
//
// It needs no account and no settings: each driver has a test server of its own
// in this process, and the same faults strike all of them at the same moments.
// Nobody can do that to a real account, so SNOWFLAKE_DSN is ignored, with a word
// about it. The counters go to stderr, the table to stdout.
//
// The seed decides which fault strikes when. Which statements are under way at
// that moment differs from run to run, and so do the counts.
//
// The exit status is 0 if each statement did what snowtether said of it, 1 if not
// or if something else failed, 2 for wrong flags and 130 after Ctrl-C, which ends
// the run early, with the table so far.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the table
	os.Exit(run(ctx, os.Args[1:], os.Getenv("SNOWFLAKE_DSN"), os.Stdout, os.Stderr))
}

// A plan is one run.
type plan struct {
	length  time.Duration
	workers int
	seed    uint64
	svg     string // the chart's file, or ""
}

// run is main, for the tests as well. It returns the exit status.
func run(ctx context.Context, args []string, dsn string, stdout, stderr io.Writer) int {
	p, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	// gosnowflake logs each error that it returns as well.
	_ = gosnowflake.GetLogger().SetLogLevel("off")
	if dsn != "" {
		fmt.Fprintln(stderr, "chaos: SNOWFLAKE_DSN is ignored: faults strike test servers only, never an account")
	}
	verdicts, err := p.race(ctx, stderr)
	if err == nil {
		table(stdout, verdicts)
		if p.svg != "" {
			err = p.draw(verdicts)
		}
	}
	switch {
	case ctx.Err() != nil && (err == nil || verdicts == nil): // before the first statement, the error says no more
		fmt.Fprintln(stderr, "chaos: interrupted")
		return 130
	case err != nil:
		fmt.Fprintln(stderr, "chaos:", err)
		return 1
	case !verdicts[len(verdicts)-1].exact():
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (p plan, err error) {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a wrong flag gets one line, not the usage
	flags.DurationVar(&p.length, "duration", 30*time.Second, "run statements for this `duration`; the faults are spread over it")
	flags.IntVar(&p.workers, "workers", 8, fmt.Sprintf("`n` workers for each driver, each with a session and %d statements a second", perWorker))
	// With 28, what gosnowflake survives comes first, and what the shim does not
	// survive, the 401, comes late.
	flags.Uint64Var(&p.seed, "seed", 28, "the `number` that decides which fault strikes when")
	flags.StringVar(&p.svg, "svg", "", "draw a chart into this `file`")
	err = flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, "Runs a workload through gosnowflake, a ten-line shim and snowtether while faults strike.\n"+
			"It needs no account, and leaves one alone.\n\n"+
			"usage: go run ./examples/chaos [flags]\n")
		flags.SetOutput(stderr)
		flags.PrintDefaults()
		return p, err
	case err != nil:
		err = fmt.Errorf("%w; -h lists the flags", err)
	case flags.NArg() > 0:
		err = errors.New("there are no arguments, only flags")
	case p.length < time.Second || p.length > 10*time.Minute:
		err = errors.New("-duration must be from 1s to 10m")
	case p.workers < 1 || p.workers > 32:
		err = errors.New("-workers must be from 1 to 32")
	case p.svg != "":
		if err = writable(p.svg); err != nil {
			err = fmt.Errorf("-svg: %w", err)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
	}
	return p, err
}

// writable finds out whether the file can be written: better now than after the run.
// It changes nothing.
func writable(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil // a pipe's reader would take the trial for the whole
	}
	f, openErr := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if openErr != nil {
		return openErr // it names the file
	}
	if err = errors.Join(err, f.Close()); errors.Is(err, fs.ErrNotExist) {
		return os.Remove(path)
	}
	return err
}

// race runs the workload through all drivers. If ctx ends, the verdicts are about
// what was run until then; they are nil if nothing was.
func (p plan) race(ctx context.Context, stderr io.Writer) (verdicts []verdict, err error) {
	var lanes []*lane
	for _, d := range drivers {
		l, err := newLane(ctx, d, p.workers)
		if err != nil {
			err = fmt.Errorf("%s: %w", d.name, err)
			for _, l := range lanes {
				err = errors.Join(err, l.close())
			}
			return nil, err
		}
		lanes = append(lanes, l)
	}
	fmt.Fprintf(stderr, "For %v, %d statements a second through each of 3 drivers; seed %d.\n", p.length, p.workers*perWorker, p.seed)

	begun := time.Now()
	live := newLive(stderr, begun, lanes)
	var wg sync.WaitGroup
	for _, l := range lanes {
		wg.Go(func() { l.load(ctx, begun, p.length, p.workers) })
	}
	wg.Go(func() { storm(ctx, begun, schedule(p.seed, p.length), lanes, live.struck) })
	wg.Wait()
	live.stop()

	verdicts = make([]verdict, len(lanes))
	errs := make([]error, len(lanes))
	for i, l := range lanes {
		wg.Go(func() { verdicts[i], errs[i] = l.judge(begun) })
	}
	wg.Wait()
	return verdicts, errors.Join(errs...)
}

// table prints the verdicts side by side.
func table(w io.Writer, verdicts []verdict) {
	line := func(label string, value func(verdict) any) {
		fmt.Fprintf(w, "%-24s", label)
		for _, v := range verdicts {
			fmt.Fprintf(w, "%13v", value(v))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	line("", func(v verdict) any { return v.name })
	line("statements", func(v verdict) any { return len(v.outcomes) })
	for f := range fates {
		line("  "+f.String(), func(v verdict) any { return v.counts[f] })
	}
	line("failed, although it ran", func(v verdict) any { return v.hidden })
	line("ran twice", func(v verdict) any { return v.doubled })
	line("lost without an error", func(v verdict) any { return len(v.lost) })
	line("logins", func(v verdict) any { return v.logins })
	fmt.Fprintln(w)
	if verdicts[len(verdicts)-1].exact() {
		fmt.Fprintln(w, "Through snowtether, each statement did what the program was told.")
	} else {
		fmt.Fprintln(w, "Through snowtether, not each statement did what the program was told.")
	}
}
