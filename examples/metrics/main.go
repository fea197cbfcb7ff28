// Metrics shows what a Prometheus server would read of a pool whose sessions end
// under it: a small load through snowtether, then the lines of its /metrics page.
//
//	go run ./examples/metrics
//
// It needs no account: Snowflake is played by the test server in this process, which
// ends all sessions three times, each time in another way. A program of your own
// needs only what is in the function provide; the driver finds the provider by
// itself. The names are explained in docs/observability.md.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"

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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
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

// run is main, for the test as well.
func run(ctx context.Context, stdout io.Writer) (err error) {
	_ = gosnowflake.GetLogger().SetLogLevel("off") // it logs each error that it returns as well
	slog.SetLogLoggerLevel(slog.LevelWarn)         // and snowtether each session that it has replaced

	page, stop, err := provide()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(context.WithoutCancel(ctx))) }()
	srv, err := snowtest.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	db, err := sql.Open(snowtether.DriverName, srv.DSN()+"&tetherPoolName=example")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := work(ctx, db, srv); err != nil {
		return err
	}
	return show(stdout, page)
}

const workers = 4

// work has each of the workers insert rows on a connection of its own, and ends all
// sessions in between.
func work(ctx context.Context, db *sql.DB, srv *snowtest.Server) error {
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
	for _, end := range []func(){
		func() {},
		func() { srv.ExpireSessionTokens() },
		func() { srv.ExpireMasterTokens() },
		func() { srv.AbortSessions() },
	} {
		end()
		var group errgroup.Group
		for _, conn := range conns {
			group.Go(func() error {
				for i := range 25 {
					if _, err := conn.ExecContext(ctx, "INSERT INTO t VALUES (?)", i); err != nil {
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
