package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has transactions that tests begin and lose, and what is looked at after them.

func begin(db *sql.DB) func(context.Context) (*sql.Tx, error) {
	return func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }
}

func lostInTx(t *testing.T, err error) {
	t.Helper()
	var se *snowtether.SessionError
	switch {
	case !errors.As(err, &se) || !se.InTx || !errors.Is(err, snowtether.ErrSessionLost):
		t.Errorf("error is %v, want one that Is ErrSessionLost and says InTx", err)
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, snowtether.ErrInDoubt):
		t.Errorf("%v Is driver.ErrBadConn or ErrInDoubt", err)
	}
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

func caseBeginner(db *sql.DB) func(context.Context) (*sql.Tx, error) {
	return func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }
}

// caseLinks answers chains with what their last link, of this kind, would answer.
func caseLinks(srv *snowtest.Server, kind snowtest.Kind) {
	srv.Handle("->>", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		switch {
		case kind.IsDML():
			return caseCount(kind, "changed", 1), nil
		case kind == snowtest.KindSelect:
			return snowtest.Rows([]string{"N"}, []any{1}), nil
		}
		return snowtest.Status(kind, "done"), nil
	})
}

const (
	caseUpdate = "UPDATE t SET n = n + 1"
	caseShow   = "SHOW TRANSACTIONS"
)

// caseUpdates begins a transaction, changes t and commits, and returns how long it took.
func caseUpdates(t *testing.T, db *sql.DB, update string) time.Duration {
	t.Helper()
	begun := time.Now()
	tx := caseBegin(t, db)
	_, err := tx.ExecContext(t.Context(), update)
	if err = errors.Join(err, tx.Commit()); err != nil {
		t.Error(err)
	}
	return time.Since(begun)
}

// caseStays keeps the transaction of a vanished session open for as long as users saw.
var caseStays = snowtest.WithDetachedTransactions(5 * time.Minute)

// caseAsked counts what the driver has sent by itself about transactions.
func caseAsked(srv *snowtest.Server) (n int) {
	for _, e := range srv.Ledger() {
		if e.SQL == caseShow || strings.Contains(e.SQL, "ABORT_TRANSACTION") {
			n++
		}
	}
	return n
}

// caseSession is the session of a transaction.
func caseSession(t *testing.T, tx *sql.Tx) (id int64) {
	t.Helper()
	if err := tx.QueryRowContext(t.Context(), "SELECT CURRENT_SESSION()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// caseOrphan leaves a transaction behind that has changed t.
func caseOrphan(t *testing.T, srv *snowtest.Server, db *sql.DB, update string) (session int64) {
	t.Helper()
	tx := caseBegin(t, db)
	if _, err := tx.ExecContext(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	session = caseSession(t, tx)
	srv.AbortSessions(session)
	_, err := tx.ExecContext(t.Context(), "INSERT INTO t VALUES (0)")
	caseLost(t, err, true)
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	return session
}

// caseSoon is how long a transaction may take that is blocked by nothing.
const caseSoon = 10 * time.Second
