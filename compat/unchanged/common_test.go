package unchanged

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"testing"

	v1 "github.com/snowflakedb/gosnowflake"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/waves"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
	_ "github.com/snowtether/snowtether/takeover/gosnowflakev1"
)

// This file is what the tests share: a server with real SQL, and the pool that looks at what
// the programs wrote.

func init() {
	v1.GetLogger().SetOutput(io.Discard) // it logs to stderr what it is about to return anyway
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
}

const createItems = `CREATE TABLE items (ID INT, NAME VARCHAR)`

// server starts one with the table.
func server(t *testing.T, opts ...snowtest.Option) *snowtest.Server {
	t.Helper()
	e, err := duckdb.New()
	if err != nil {
		t.Fatal(err)
	}
	srv := snowtest.New(t, append(opts, snowtest.WithEngine(e))...)
	db, err := sql.Open("snowtether", srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), createItems); err != nil {
		t.Fatal(err)
	}
	return srv
}

// dsn is what the programs are given.
func dsn(srv *snowtest.Server) string { return srv.DSN() + "&disableTelemetry=true" }

// looking opens the pool of the test's own.
func looking(r *waves.Run) *sql.DB {
	db, err := sql.Open("snowflake", dsn(r.Server))
	r.Must("sql.Open", err)
	if _, err := snowtether.ConnectorOf(db); err != nil {
		r.Fatalf("the name is not taken over: %v", err)
	}
	r.Cleanup(func() {
		if err := db.Close(); err != nil {
			r.Error(err)
		}
	})
	return db
}

// gone reports whether a program may do it again: a session was lost, and nothing lasts.
func gone(err error) bool { return errors.Is(err, snowtether.ErrSessionLost) }

// count asks for one number.
func count(r *waves.Run, db *sql.DB, query string, args ...any) (n int) {
	r.Helper()
	r.Must(query, db.QueryRowContext(context.WithoutCancel(r.Context()), query, args...).Scan(&n))
	return n
}
