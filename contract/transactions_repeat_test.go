package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cenkalti/backoff/v4"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): what RunTx does where begin or fn do not as they should, and
// transactions inside others.

var whatever = snowtether.WithTxRetryIf(func(error) bool { return true })

// TestRunTxRepeatsOnlyWhatItWasToldOf: a begin that keeps its context to itself has nobody note
// that DDL has committed the rows before it. What a lost session took is repeated all the same.
// Before: 000625 behind the DDL had the rows written twice.
func TestRunTxRepeatsOnlyWhatItWasToldOf(t *testing.T) {
	for _, test := range []struct {
		name, ddl string
		arrange   func(srv *snowtest.Server)
		runs      int
	}{
		{"aborted, behind DDL", "CREATE TABLE x (n INT)", func(srv *snowtest.Server) {
			once(srv, row(2), snowtest.Fault{Code: "000625", Message: "aborted"})
		}, 1},
		{"its session is lost", "SELECT 1", func(srv *snowtest.Server) {
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				if r.SQL == row(2) {
					srv.AbortSessions()
				}
				return snowtest.Fault{}, r.SQL == row(2)
			})
		}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db, runs := pool(t, srv, 1), 0
				test.arrange(srv)
				err := snowtether.RunTx(t.Context(), func(context.Context) (*sql.Tx, error) { return db.Begin() }, func(tx *sql.Tx) error {
					runs++
					for _, query := range []string{row(1), test.ddl, row(2)} {
						if _, err := tx.ExecContext(t.Context(), query); err != nil {
							return err
						}
					}
					return nil
				}, whatever)
				if (err == nil) != (test.runs > 1) || runs != test.runs {
					t.Errorf("fn ran %d times: %v", runs, err)
				}
				rowsLast(t, srv, 1, 1)
			})
		})
	}
}

// TestRunTxDoesNotRepeatBehindACommitOfFnInDoubt: fn must not commit, and RunTx must not make it
// worse where it does.
// Before: the rows were written twice.
func TestRunTxDoesNotRepeatBehindACommitOfFnInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, runs, own := pool(t, srv, 1), 0, errors.New("fn's own")
		once(srv, "COMMIT", snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		err := snowtether.RunInTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			runs++
			if _, err := tx.ExecContext(t.Context(), row(1)); err != nil {
				return err
			}
			if err := tx.Commit(); runs == 1 && !errors.Is(err, snowtether.ErrInDoubt) {
				t.Errorf("the COMMIT's error is %v", err)
			}
			return own
		}, whatever)
		if err != own || runs != 1 { // as it is
			t.Errorf("fn ran %d times: %v", runs, err)
		}
		rowsLast(t, srv, 1, 1)
	})
}

// TestTransactionInsideATransactionIsRefused: on one connection the inner COMMIT would commit
// what the outer one has done so far.
// Before: Snowflake ignored the inner BEGIN, and where the session was lost in between, the
// repetition of the outer one wrote the rows of the inner one twice.
func TestTransactionInsideATransactionIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		conn := pin(t, db)
		outer := 0
		err := snowtether.RunInTx(t.Context(), conn, nil, func(tx *sql.Tx) error {
			outer++
			if _, err := tx.ExecContext(t.Context(), row(1)); err != nil {
				return err
			}
			return snowtether.RunInTx(t.Context(), conn, nil, func(tx *sql.Tx) error {
				t.Error("a transaction was begun inside another one")
				return nil
			})
		})
		if err == nil || !strings.Contains(err.Error(), "a transaction is open on this connection") || outer != 1 {
			t.Errorf("the outer one ran %d times: %v", outer, err)
		}
		rowsLast(t, srv, 0, 1)
		tx := mustBegin(t, conn)
		_, err = tx.ExecContext(t.Context(), row(2))
		_, nested := conn.BeginTx(t.Context(), nil)
		if err := errors.Join(err, tx.Commit()); err != nil || nested == nil {
			t.Errorf("the outer one: %v; the inner one: %v", err, nested)
		}
		rowsLast(t, srv, 1, 2)
	})
}

// TestRunTxDoesNotRepeatInsideATransactionOfStatements: what that held before is lost with it, and
// fn does not bring it back.
// Before: row 1 was gone and no call failed.
func TestRunTxDoesNotRepeatInsideATransactionOfStatements(t *testing.T) {
	ats := []string{"", "BEGIN", row(2), "COMMIT", "it is aborted at " + row(2)}
	begins := map[string][]string{
		"BEGIN":          {"BEGIN", row(1)},
		"AUTOCOMMIT off": {"ALTER SESSION SET AUTOCOMMIT = FALSE", row(1)},
		"that may last":  {"BEGIN", row(1), "CALL p()"},
	}
	for name, before := range begins {
		for i, at := range append(ats, ats...) {
			deaf := i >= len(ats) // begin keeps its context to itself
			t.Run(fmt.Sprintf("%s/%s/%v", name, at, deaf), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					mustExec(t, conn, before...)
					switch at {
					case "":
						srv.AbortSessions()
					case "it is aborted at " + row(2):
						once(srv, row(2), snowtest.Fault{Code: "000625", Message: "aborted"})
					default:
						srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
							if r.SQL == at {
								srv.AbortSessions()
							}
							return snowtest.Fault{}, r.SQL == at
						})
					}
					begin := conn.BeginTx
					if deaf {
						begin = func(_ context.Context, opts *sql.TxOptions) (*sql.Tx, error) { return conn.BeginTx(t.Context(), opts) }
					}
					err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return begin(ctx, nil) }, func(tx *sql.Tx) error {
						_, err := tx.ExecContext(t.Context(), row(2))
						return err
					}, whatever)
					if err == nil || srv.Effects(row(2)) != 0 {
						t.Errorf("row 2 took effect %d times; error %v", srv.Effects(row(2)), err)
					}
				})
			})
		}
	}
}

// TestRunTxDoesNotRepeatAStatementOfBeginInDoubt: it is BEGIN alone that may run twice.
// Before: the statement ran twice.
func TestRunTxDoesNotRepeatAStatementOfBeginInDoubt(t *testing.T) {
	const ddl = "CREATE TABLE x (n INT)"
	for name, begin := range map[string]func(ctx context.Context, db *sql.DB) (*sql.Tx, error){
		"before its BEGIN": func(ctx context.Context, db *sql.DB) (*sql.Tx, error) {
			if _, err := db.ExecContext(ctx, ddl); err != nil {
				return nil, err
			}
			return db.BeginTx(ctx, nil)
		},
		"behind it": func(ctx context.Context, db *sql.DB) (*sql.Tx, error) {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return nil, err
			}
			if _, err = tx.ExecContext(ctx, ddl); err != nil {
				return nil, errors.Join(err, tx.Rollback())
			}
			return tx, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				once(srv, ddl, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
				err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return begin(ctx, db) }, func(*sql.Tx) error {
					t.Error("fn ran")
					return nil
				}, whatever)
				ranInDoubt(t, srv, ddl, err, 1)
			})
		})
	}
}

// TestRunTxWithoutABackOffRunsOnce: nil is the end of attempts, as for logins.
func TestRunTxWithoutABackOffRunsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, own := pool(t, srv, 1), errors.New("fn's own")
		err := snowtether.RunInTx(t.Context(), db, nil, func(*sql.Tx) error { return own }, whatever,
			snowtether.WithTxBackOff(func() backoff.BackOff { return nil }))
		if err != own { // as it is
			t.Error(err)
		}
	})
}
