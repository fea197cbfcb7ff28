package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file has transactions that tests begin and lose, and what is looked at after them.

func begin(db *sql.DB) func(context.Context) (*sql.Tx, error) {
	return func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }
}

// fiveWriters writes five rows as the next users of the pool and checks how many
// of them last once the pool is closed: plain gosnowflake loses all five, without
// an error.
func fiveWriters(t *testing.T, srv *snowtest.Server, db *sql.DB, ours bool) {
	t.Helper()
	for i := range 5 {
		if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
			t.Errorf("writer %d: %v", i, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	lasting := 0
	for i := range 5 {
		lasting += srv.Effects(row(i))
	}
	if want := map[bool]int{true: 5, false: 0}[ours]; lasting != want {
		t.Errorf("%d of 5 rows last, want %d", lasting, want)
	}
}

// mustBegin begins a transaction, which is rolled back in the end if it is still open.
func mustBegin(t *testing.T, db interface {
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

// handleChains answers chains with what their last link, of this kind, would answer.
func handleChains(srv *snowtest.Server, kind snowtest.Kind) {
	srv.Handle("->>", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		switch {
		case kind.IsDML():
			return counted(kind, "changed", 1), nil
		case kind == snowtest.KindSelect:
			return snowtest.Rows([]string{"N"}, []any{1}), nil
		}
		return snowtest.Status(kind, "done"), nil
	})
}

const (
	updateOne        = "UPDATE t SET n = n + 1"
	showTransactions = "SHOW TRANSACTIONS"
)

// updateInTx begins a transaction, changes t and commits, and returns how long it took.
func updateInTx(t *testing.T, db *sql.DB, update string) time.Duration {
	t.Helper()
	begun := time.Now()
	tx := mustBegin(t, db)
	_, err := tx.ExecContext(t.Context(), update)
	if err = errors.Join(err, tx.Commit()); err != nil {
		t.Error(err)
	}
	return time.Since(begun)
}

// keptAsSeen keeps the transaction of a vanished session open for as long as users saw.
var keptAsSeen = snowtest.WithDetachedTransactions(5 * time.Minute)

// timesAsked counts what the driver has sent by itself about transactions.
func timesAsked(srv *snowtest.Server) (n int) {
	for _, e := range srv.Ledger() {
		if e.SQL == showTransactions || strings.Contains(e.SQL, "ABORT_TRANSACTION") {
			n++
		}
	}
	return n
}

// sessionOf is the session of a transaction.
func sessionOf(t *testing.T, tx *sql.Tx) (id int64) {
	t.Helper()
	if err := tx.QueryRowContext(t.Context(), "SELECT CURRENT_SESSION()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// orphan leaves a transaction behind that has changed t.
func orphan(t *testing.T, srv *snowtest.Server, db *sql.DB, update string) (session int64) {
	t.Helper()
	tx := mustBegin(t, db)
	if _, err := tx.ExecContext(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	session = sessionOf(t, tx)
	srv.AbortSessions(session)
	_, err := tx.ExecContext(t.Context(), "INSERT INTO t VALUES (0)")
	isLost(t, err, true)
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	return session
}

// soonEnough is how long a transaction may take that is blocked by nothing.
const soonEnough = 10 * time.Second
