package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has what opens pools and connections for the tests of contract, and the ways in which
// they are used. Other helpers of several files are in helper_statements_test.go (statements and
// what becomes of them), helper_transactions_test.go, helper_faults_test.go (what the server does),
// helper_between_test.go (what stands between pool and server), helper_heard_test.go (events and
// logs) and helper_metrics_test.go. A helper of one file stands there.

func init() {
	// gosnowflake logs to stderr what it is about to return anyway.
	if err := gosnowflake.GetLogger().SetLogLevel("off"); err != nil {
		panic(err)
	}
}

// What the tests of the root package use too, under short names.
var (
	pool      = testpool.Open
	inBubble  = testpool.Bubble
	ways      = testpool.Ways
	uses      = testpool.Uses
	newLogger = testpool.Logger
)

type lines = testpool.Lines

var quiet = snowtether.WithLogger(discard)

var discard = slog.New(slog.DiscardHandler)

// connect opens a pool that has not logged in yet.
func connect(t testing.TB, cfg *gosnowflake.Config, opts ...snowtether.Option) (*sql.DB, *snowtether.Connector) {
	t.Helper()
	c, err := snowtether.NewConnector(cfg, append([]snowtether.Option{quiet}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return testpool.Lazy(t, c), c
}

func poolOf(t *testing.T, cfg *gosnowflake.Config, n int, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	c, err := snowtether.NewConnector(cfg, append([]snowtether.Option{logTo(io.Discard)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return testpool.OpenConnector(t, c, n)
}

func logTo(w io.Writer) snowtether.Option {
	return snowtether.WithLogger(newLogger(w))
}

// bareConn is a connection of somebody who has no database/sql, and how it executes.
func bareConn(t *testing.T, srv *snowtest.Server) (conn driver.Conn, exec func(query string) error) {
	t.Helper()
	c, err := snowtether.NewConnector(srv.Config(), logTo(srv.Log()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if conn, err = c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, func(query string) error {
		_, err := conn.(driver.ExecerContext).ExecContext(t.Context(), query, nil)
		return err
	}
}

// pin takes one connection out of the pool.
func pin(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // some tests close it themselves
	return conn
}

// raw calls use with a connection of the pool as code in sql.Conn.Raw has it.
func raw(t *testing.T, db *sql.DB, use func(dc any) error) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.Raw(use), conn.Close()); err != nil {
		t.Error(err)
	}
}

// use has each of the n connections of a pool carry out a statement at the same
// time, and returns how long it took.
func use(t *testing.T, db *sql.DB, n int) time.Duration {
	t.Helper()
	begun := time.Now()
	everyone(t, db, n, 1)
	return time.Since(begun)
}

// everyone lets n callers hold a connection each at the same time, and use it, a
// number of times.
func everyone(t *testing.T, db *sql.DB, n, times int) {
	t.Helper()
	for range times {
		var held, wg sync.WaitGroup
		held.Add(n)
		for range n {
			wg.Go(func() {
				conn, err := db.Conn(t.Context())
				held.Done()
				if err != nil {
					t.Error(err)
					return
				}
				held.Wait()
				var one int
				if err := conn.QueryRowContext(t.Context(), "SELECT 1").Scan(&one); err != nil {
					t.Error(err)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func mustPing(t *testing.T, db *sql.DB) {
	t.Helper()
	if err := db.PingContext(t.Context()); err != nil {
		t.Error(err)
	}
}

// dbtx is what a pool, a pinned connection and a transaction have in common.
type dbtx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// forms are the ways in which a statement is sent.
var forms = []struct {
	name string
	run  func(ctx context.Context, db dbtx, query string, args ...any) error
}{
	{"exec", func(ctx context.Context, db dbtx, query string, args ...any) error {
		_, err := db.ExecContext(ctx, query, args...)
		return err
	}},
	{"query", func(ctx context.Context, db dbtx, query string, args ...any) error {
		return drain(db.QueryContext(ctx, query, args...))
	}},
	{"prepared exec", func(ctx context.Context, db dbtx, query string, args ...any) error {
		stmt, err := db.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		_, err = stmt.ExecContext(ctx, args...)
		return errors.Join(err, stmt.Close())
	}},
	{"prepared query", func(ctx context.Context, db dbtx, query string, args ...any) error {
		stmt, err := db.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		return errors.Join(drain(stmt.QueryContext(ctx, args...)), stmt.Close())
	}},
}

// endings are the ways in which a session ends.
var endings = []struct {
	name string
	end  snowtest.Refusal
}{
	{"390111", snowtest.Refusal{Code: "390111"}},
	{"390114", snowtest.Refusal{Code: "390114"}},
	{"390104", snowtest.Refusal{Code: "390104"}},
	{"390112 then 390114", snowtest.Refusal{Renewal: "390114"}},
	{"HTTP 401", snowtest.Refusal{Status: 401}},
}

func drain(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

func execWithin(t *testing.T, d time.Duration, conn dbtx, query string) error {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	_, err := conn.ExecContext(ctx, query)
	return err
}

// within is a context with a deadline.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// inCrowd makes n callers use the pool at once, again and again.
func inCrowd(t *testing.T, n, times int, pause time.Duration, use func(ctx context.Context) error) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for range times {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_ = use(ctx)
				cancel()
				time.Sleep(pause)
			}
		})
	}
	wg.Wait()
}
