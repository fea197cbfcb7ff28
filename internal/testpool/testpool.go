// Package testpool has what the tests of several packages share: pools on a test server, the
// ways in which a session ends, and the ways in which programs use a pool.
package testpool

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
	"testing/synctest"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/fortest"
	"github.com/snowtether/snowtether/snowtest"
)

// Quick reports whether a test runs a share of what it has: with -short under the race
// detector, which makes the largest ten times as slow and looks at each line all the same.
func Quick() bool { return raced && testing.Short() }

// Open opens a pool of n connections on srv and opens all of them, so that each
// has a session to lose. Its log goes to the server, which looks for secrets in
// it.
func Open(t testing.TB, srv *snowtest.Server, n int, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	opts = append([]snowtether.Option{snowtether.WithLogger(Logger(srv.Log()))}, opts...)
	c, err := snowtether.NewConnector(srv.Config(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return OpenConnector(t, c, n)
}

// OpenConnector opens a pool of n connections of c and opens all of them.
func OpenConnector(t testing.TB, c driver.Connector, n int) *sql.DB {
	t.Helper()
	db := Lazy(t, c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	if err := snowtether.Warm(t.Context(), db, n); err != nil {
		t.Fatal(err)
	}
	return db
}

// Lazy opens a pool of c, and no connection yet.
func Lazy(t testing.TB, c driver.Connector) *sql.DB {
	t.Helper()
	db := sql.OpenDB(c)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("db.Close: %v", err)
		}
	})
	return db
}

// Bubble runs f in virtual time with a server in memory.
func Bubble(t *testing.T, f func(t *testing.T, srv *snowtest.Server), opts ...snowtest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// gosnowflake goes on cancelling a ping that Close has cut short, for minutes.
		t.Cleanup(func() { time.Sleep(time.Hour) })
		f(t, snowtest.New(t, append([]snowtest.Option{snowtest.InMemory()}, opts...)...))
	})
}

// WithClock replaces the clock by which a suspended machine is noticed.
func WithClock(now func() time.Time) snowtether.Option {
	return fortest.WithClock(now).(snowtether.Option)
}

// WithoutLoad makes a connector deaf to what the server shows of its load.
func WithoutLoad() snowtether.Option { return fortest.WithoutLoad().(snowtether.Option) }

// A Way is one in which a session ends.
type Way struct {
	Name   string
	End    snowtest.Refusal
	Logins int // that a session costs
}

// Ways are the ways in which a session ends, as gosnowflake meets them.
var Ways = []Way{
	{"390112, renewed", snowtest.Refusal{}, 0},
	{"390112 then 390114", snowtest.Refusal{Renewal: "390114"}, 1},
	{"390114", snowtest.Refusal{Code: "390114"}, 1},
	{"390111", snowtest.Refusal{Code: "390111"}, 1},
	{"390104", snowtest.Refusal{Code: "390104"}, 1},
	{"HTTP 401", snowtest.Refusal{Status: 401}, 1},
}

// A Use is one way in which a program uses a pool; i tells its calls apart.
type Use struct {
	Name string
	Use  func(ctx context.Context, db *sql.DB, i int) error
}

// Uses are the ways in which programs use a pool.
var Uses = []Use{
	{"Exec", func(ctx context.Context, db *sql.DB, i int) error {
		res, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", i)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); n != 1 || err != nil {
			return fmt.Errorf("RowsAffected: %d, %v", n, err)
		}
		return nil
	}},
	{"Query", func(ctx context.Context, db *sql.DB, i int) error {
		var n int
		if err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT %d", i)).Scan(&n); err != nil {
			return err
		}
		if n != i {
			return fmt.Errorf("got %d, want %d", n, i)
		}
		return nil
	}},
	{"Prepare", func(ctx context.Context, db *sql.DB, i int) error {
		stmt, err := db.PrepareContext(ctx, "INSERT INTO t VALUES (?)")
		if err != nil {
			return err
		}
		defer stmt.Close()
		_, err = stmt.ExecContext(ctx, i)
		return err
	}},
	{"Prepare and Query", func(ctx context.Context, db *sql.DB, i int) error {
		stmt, err := db.PrepareContext(ctx, "SELECT 7")
		if err != nil {
			return err
		}
		defer stmt.Close()
		var n int
		return stmt.QueryRowContext(ctx).Scan(&n)
	}},
	{"Begin", func(ctx context.Context, db *sql.DB, i int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (?)", i); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}},
	{"Ping", func(ctx context.Context, db *sql.DB, _ int) error { return db.PingContext(ctx) }},
	{"Conn", func(ctx context.Context, db *sql.DB, i int) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.ExecContext(ctx, "INSERT INTO t VALUES (?)", i)
		return err
	}},
	{"sqlx Select", func(ctx context.Context, db *sql.DB, _ int) error {
		var rows []int
		return sqlx.NewDb(db, "snowflake").SelectContext(ctx, &rows, "SELECT 1")
	}},
	{"sqlx NamedExec", func(ctx context.Context, db *sql.DB, i int) error {
		sqlx.BindDriver("snowflake", sqlx.QUESTION)
		_, err := sqlx.NewDb(db, "snowflake").NamedExecContext(ctx, "INSERT INTO t VALUES (:n)", map[string]any{"n": i})
		return err
	}},
	{"sqlx Preparex", func(ctx context.Context, db *sql.DB, _ int) error {
		stmt, err := sqlx.NewDb(db, "snowflake").PreparexContext(ctx, "SELECT 1")
		if err != nil {
			return err
		}
		defer stmt.Close()
		var n int
		return stmt.GetContext(ctx, &n)
	}},
}

// Logger writes lines of text.
func Logger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// Lines is a log that is safe for concurrent use.
type Lines struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is all that was written.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Count is how often the text was written.
func (l *Lines) Count(text string) int { return strings.Count(l.String(), text) }
