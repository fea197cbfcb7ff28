package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// The files cases_*_test.go hold one contract a test, each with the real gosnowflake
// against a snowtest server in virtual time. A doc comment says how it failed before.

func init() {
	// gosnowflake logs to stderr what it is about to return anyway.
	if err := gosnowflake.GetLogger().SetLogLevel("off"); err != nil {
		panic(err)
	}
}

// casePool opens a pool of n connections, each with a session to lose.
func casePool(t *testing.T, srv *snowtest.Server, n int, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	return caseConnect(t, srv.Config(), n, append([]snowtether.Option{caseLog(srv.Log())}, opts...)...)
}

func caseLog(w io.Writer) snowtether.Option {
	return snowtether.WithLogger(slog.New(slog.NewTextHandler(w, nil)))
}

func caseConnect(t *testing.T, cfg *gosnowflake.Config, n int, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	c, err := snowtether.NewConnector(cfg, append([]snowtether.Option{caseLog(io.Discard)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return testpool.OpenConnector(t, c, n)
}

// caseBare is a connection of somebody who has no database/sql, and how it executes.
func caseBare(t *testing.T, srv *snowtest.Server) (conn driver.Conn, exec func(query string) error) {
	t.Helper()
	c, err := snowtether.NewConnector(srv.Config(), caseLog(srv.Log()))
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

// casePin takes one connection out of the pool.
func casePin(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // some tests close it themselves
	return conn
}

// caseBegin begins a transaction, which is rolled back in the end if it is still open.
func caseBegin(t *testing.T, db interface {
	BeginTx(context.Context, *sql.TxOptions) (*sql.Tx, error)
}) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// caseDB is what a pool, a pinned connection and a transaction have in common.
type caseDB interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// caseUses are the ways in which a statement is sent.
var caseUses = []struct {
	name string
	run  func(ctx context.Context, db caseDB, query string, args ...any) error
}{
	{"exec", func(ctx context.Context, db caseDB, query string, args ...any) error {
		_, err := db.ExecContext(ctx, query, args...)
		return err
	}},
	{"query", func(ctx context.Context, db caseDB, query string, args ...any) error {
		return caseDrain(db.QueryContext(ctx, query, args...))
	}},
	{"prepared exec", func(ctx context.Context, db caseDB, query string, args ...any) error {
		stmt, err := db.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		_, err = stmt.ExecContext(ctx, args...)
		return errors.Join(err, stmt.Close())
	}},
	{"prepared query", func(ctx context.Context, db caseDB, query string, args ...any) error {
		stmt, err := db.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		return errors.Join(caseDrain(stmt.QueryContext(ctx, args...)), stmt.Close())
	}},
}

func caseDrain(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}

func caseExec(t *testing.T, db caseDB, queries ...string) {
	t.Helper()
	for _, query := range queries {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

// caseWays are the ways in which a session ends.
var caseWays = []struct {
	name string
	end  snowtest.Refusal
}{
	{"390111", snowtest.Refusal{Code: "390111"}},
	{"390114", snowtest.Refusal{Code: "390114"}},
	{"390104", snowtest.Refusal{Code: "390104"}},
	{"390112 then 390114", snowtest.Refusal{Renewal: "390114"}},
	{"HTTP 401", snowtest.Refusal{Status: 401}},
}

// caseOnce answers the next request for this SQL with the fault.
func caseOnce(srv *snowtest.Server, query string, f snowtest.Fault) {
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		return f, r.Kind == snowtest.RequestQuery && r.SQL == query
	})
}

// caseLose carries the statement out, loses its reply, and then the session.
func caseLose(srv *snowtest.Server, query string) {
	caseOnce(srv, query, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
}

// caseEndAt ends all sessions of the moment at these times from now.
func caseEndAt(srv *snowtest.Server, times ...time.Duration) {
	for _, d := range times {
		time.AfterFunc(d, func() { srv.AbortSessions() })
	}
}

func caseCount(kind snowtest.Kind, what string, n int64) *snowtest.Result {
	return snowtest.Count(kind, []string{"number of rows " + what}, []int64{n})
}

func caseRow(i int) string { return fmt.Sprintf("INSERT INTO t VALUES (%d)", i) }

// caseDoubt checks the error of a statement that ran or may have, and returns it.
func caseDoubt(t *testing.T, err error, inTx bool) *snowtether.SessionError {
	t.Helper()
	var se *snowtether.SessionError
	switch {
	case !errors.Is(err, snowtether.ErrInDoubt) || !errors.As(err, &se):
		t.Errorf("error is %v, want one that Is ErrInDoubt", err)
		return nil
	case errors.Is(err, driver.ErrBadConn) || errors.Is(err, snowtether.ErrSessionLost):
		t.Errorf("%v Is driver.ErrBadConn or ErrSessionLost", err)
	case se.InTx != inTx:
		t.Errorf("InTx is %v: %v", se.InTx, err)
	}
	return se
}

// caseLost checks the error of a statement that did not run, or of which nothing lasts.
func caseLost(t *testing.T, err error, inTx bool) {
	t.Helper()
	var se *snowtether.SessionError
	switch {
	case !errors.Is(err, snowtether.ErrSessionLost) || !errors.As(err, &se):
		t.Errorf("error is %v, want one that Is ErrSessionLost", err)
	case errors.Is(err, driver.ErrBadConn) || errors.Is(err, snowtether.ErrInDoubt):
		t.Errorf("%v Is driver.ErrBadConn or ErrInDoubt", err)
	case se.InTx != inTx:
		t.Errorf("InTx is %v: %v", se.InTx, err)
	}
}

// caseHasID checks that the error names the statement by the server's query ID.
func caseHasID(t *testing.T, srv *snowtest.Server, err error, query string) {
	t.Helper()
	var se *snowtether.SessionError
	if !errors.As(err, &se) {
		t.Errorf("error is %v, want a SessionError", err)
		return
	}
	for _, e := range srv.Ledger() {
		if e.QueryID == se.QueryID && e.SQL == query {
			return
		}
	}
	t.Errorf("query ID %q is not that of %q: %v", se.QueryID, query, err)
}

// caseSum checks how often a statement was accepted and took effect.
func caseSum(t *testing.T, srv *snowtest.Server, query string, accepted, effects int) {
	t.Helper()
	if a, e := srv.Accepted(query), srv.Effects(query); a != accepted || e != effects {
		t.Errorf("%s: accepted %d times, took effect %d times; want %d and %d", query, a, e, accepted, effects)
	}
}

// caseNextUser writes a row as the next user of the pool, and checks that it lasts.
func caseNextUser(t *testing.T, srv *snowtest.Server, db *sql.DB) {
	t.Helper()
	const query = "INSERT INTO next_user VALUES (1)"
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Errorf("the next user: %v", err)
	}
	caseSum(t, srv, query, 1, 1)
}

// caseCalls counts how often a statement that acts outside of Snowflake has acted.
type caseCalls struct {
	mu sync.Mutex
	n  int
}

// handle answers the statements that match with a result, and counts them.
func (c *caseCalls) handle(srv *snowtest.Server, pattern string, res *snowtest.Result) {
	srv.Handle(pattern, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n++
		return res, nil
	})
}

func (c *caseCalls) want(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n != n {
		t.Errorf("acted %d times, want %d", c.n, n)
	}
}

// caseBuffer is a log that is safe for concurrent use.
type caseBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *caseBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *caseBuffer) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.buf.String(), text)
}
