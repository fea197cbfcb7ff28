// Metrics shows what a Prometheus server would read of a pool whose sessions end
// under it: a small load through snowtether, then the lines of its /metrics page.
//
//	go run ./examples/metrics
//
// It needs no account: Snowflake is played by the test server in this process, which
// ends all sessions three times, each time in another way. With SNOWFLAKE_DSN set,
// the load, which only reads, goes to that account, and nothing is ended there.
//
// A program of your own needs only what is in the function provide; the driver finds
// the provider by itself. The names are explained in docs/observability.md.
//
// The exit status is 0, 1 after an error, 2 for wrong flags and 130 after Ctrl-C.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/snowflakedb/gosnowflake/v2"
	"go.opentelemetry.io/otel"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"golang.org/x/sync/errgroup"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the clean-up
	os.Exit(run(ctx, os.Args[1:], os.Getenv("SNOWFLAKE_DSN"), os.Stdout, os.Stderr))
}

// run is main, for the tests as well. It returns the exit status.
func run(ctx context.Context, args []string, dsn string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("metrics", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a wrong flag gets one line, not the usage
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stderr, "Shows the metrics of a pool as a Prometheus server reads them, after a small load.\n"+
			"With SNOWFLAKE_DSN set, the load reads from that account, and no session is ended.\n\n"+
			"usage: go run ./examples/metrics\n")
		return 0
	case err == nil && flags.NArg() > 0:
		err = errors.New("there are no arguments")
	}
	if err != nil {
		fmt.Fprintln(stderr, "metrics:", err)
		return 2
	}
	_ = gosnowflake.GetLogger().SetLogLevel("off") // it logs each error that it returns as well
	slog.SetLogLoggerLevel(slog.LevelWarn)         // and snowtether each session that it has replaced

	if dsn != "" {
		err = measure(ctx, dsn, nil, stdout)
	} else {
		err = embedded(ctx, stdout)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(stderr, "metrics: interrupted")
		return 130
	case err != nil:
		fmt.Fprintln(stderr, "metrics:", err)
		return 1
	}
	return 0
}

// provide makes a global meter provider and returns the page that it fills.
func provide() (page http.Handler, stop func(context.Context) error, err error) {
	registry := prometheus.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo())
	if err != nil {
		return nil, nil, err
	}
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	otel.SetMeterProvider(provider)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), provider.Shutdown, nil
}

// embedded measures with a server in this process, which ends the sessions.
func embedded(ctx context.Context, stdout io.Writer) (err error) {
	srv, err := snowtest.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	return measure(ctx, srv.DSN()+"&tetherPoolName=example", []func(){
		func() { srv.ExpireSessionTokens() },
		func() { srv.ExpireMasterTokens() },
		func() { srv.AbortSessions() },
	}, stdout)
}

// measure puts a load on a pool and prints its metrics. The sessions end in each of
// these ways.
func measure(ctx context.Context, dsn string, ends []func(), stdout io.Writer) (err error) {
	page, stop, err := provide()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(context.WithoutCancel(ctx))) }()
	db, err := sql.Open(snowtether.DriverName, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := work(ctx, db, ends); err != nil {
		return err
	}
	return show(stdout, page)
}

const workers = 4

// work has each of the workers read on a connection of its own, once more after each
// end of the sessions.
func work(ctx context.Context, db *sql.DB, ends []func()) error {
	db.SetMaxIdleConns(workers)
	conns := make([]*sql.Conn, workers)
	for i := range conns {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[i] = conn
	}
	for _, end := range append([]func(){func() {}}, ends...) {
		end()
		var group errgroup.Group
		for _, conn := range conns {
			group.Go(func() error {
				for i := range 25 {
					var n int
					if err := conn.QueryRowContext(ctx, "SELECT ?", i).Scan(&n); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// show prints the page's lines about the pool, but for the histograms' buckets.
func show(w io.Writer, page http.Handler) error {
	server := httptest.NewServer(page)
	defer server.Close()
	reply, err := http.Get(server.URL + "/metrics")
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		line := lines.Text()
		ours := strings.HasPrefix(line, "snowtether_") || strings.HasPrefix(line, "db_client_")
		if name, _, _ := strings.Cut(line, "{"); ours && !strings.HasSuffix(name, "_bucket") {
			fmt.Fprintln(w, line)
		}
	}
	return lines.Err()
}
