// Verify asks the test server whether it behaves as snowtether believes that Snowflake does:
// the questions are those of cmd/verify, which asks an account, and the SQL is real.
//
//	go run ./examples/verify                     # what takes no minute
//	go run ./examples/verify -only requests      # one check, in real time
//
// The server plays an account that is as believed, so that each answer is. The exit status is
// 0 then, 1 if not, 2 for wrong flags and 130 after Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// quick are the checks that take seconds.
var quick = []string{"shapes", "results", "history", "transactions", "binds"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main, for the test as well. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	_ = gosnowflake.GetLogger().SetLogLevel("off") // it logs each error that it returns
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", strings.Join(quick, ","), "ask these `checks`, of "+strings.Join(verify.Names(), ", ")+"; those that need an administrator need an account")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	report, err := ask(ctx, strings.Split(*only, ","), stderr)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "verify: interrupted")
		return 130
	case err != nil:
		fmt.Fprintln(stderr, "verify:", err)
		return 2
	}
	if err := report.Text(stdout); err != nil || report.Count(verify.Wrong) > 0 || report.Count(verify.AsBelieved) == 0 {
		return 1
	}
	return 0
}

// ask asks a new server on loopback.
func ask(ctx context.Context, only []string, stderr io.Writer) (report *verify.Report, err error) {
	srv, err := start()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	return verify.Run(ctx, verify.Options{Config: srv.Config(), Only: only, Progress: func(p verify.Progress) {
		if len(p.Running) > 0 {
			fmt.Fprintf(stderr, "verify: %d of %d, now %s, at most %v more\n", p.Done, p.All, strings.Join(p.Running, " "), p.Left.Round(time.Second))
		}
	}})
}

// start starts a server that is as believed of an account.
func start(opts ...snowtest.Option) (*snowtest.Server, error) {
	engine, err := duckdb.New()
	if err != nil {
		return nil, err
	}
	srv, err := snowtest.Start(append(opts,
		snowtest.WithEngine(engine), snowtest.WithLatency(10*time.Millisecond),
		snowtest.WithSessionParameter("AUTOCOMMIT", true), snowtest.WithDetachedTransactions(5*time.Minute))...)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return srv, nil
}
