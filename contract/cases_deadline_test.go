package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about callers who leave while something of theirs is still on its way: a
// gateway has it and passes it on later.

const caseHeld = 2 * time.Minute

// caseHold lets a gateway keep the next request for this SQL for a while.
func caseHold(srv *snowtest.Server, query string) {
	caseOnce(srv, query, snowtest.Fault{Delay: caseHeld, Late: true})
}

// caseShort is a context that ends while the gateway holds what was sent with it.
func caseShort(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

// caseOthers writes rows as the next users of the pool, before and after the held request
// arrives, and checks that each lasts.
func caseOthers(t *testing.T, srv *snowtest.Server, db *sql.DB) {
	t.Helper()
	for i := range 4 {
		query := fmt.Sprintf("INSERT INTO others VALUES (%d)", i)
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Errorf("the next users: %v", err)
		}
		caseSum(t, srv, query, 1, 1)
		time.Sleep(caseHeld / 2)
	}
}

// TestStatementThatOutlivesItsTransactionFindsNoSession: its caller's deadline has passed,
// the transaction was rolled back, and then it arrives.
// Before: it committed by itself, or in the next user's transaction.
func TestStatementThatOutlivesItsTransactionFindsNoSession(t *testing.T) {
	for _, begin := range []string{"BeginTx", "BEGIN"} {
		for _, before := range [][]string{nil, {caseRow(7)}} {
			for _, use := range caseUses {
				t.Run(fmt.Sprintf("%s/%s/after %d", begin, use.name, len(before)), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						pool := casePool(t, srv, 1)
						conn := casePin(t, pool)
						var db caseDB = conn
						rollback := func() error { return nil }
						if begin == "BeginTx" {
							tx := caseBegin(t, conn)
							db, rollback = tx, tx.Rollback
						} else {
							caseExec(t, conn, begin)
						}
						caseExec(t, db, before...)
						caseHold(srv, caseRow(1))
						err := use.run(caseShort(t), db, caseRow(1))
						caseLost(t, err, true)
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("%v is not context.DeadlineExceeded as well", err)
						}
						if err := rollback(); err != nil {
							t.Errorf("Rollback: %v", err)
						}
						_ = conn.Close() // the connection is given up
						caseOthers(t, srv, pool)
						for _, query := range append(before, caseRow(1)) {
							if n := srv.Effects(query); n != 0 {
								t.Errorf("%s took effect %d times", query, n)
							}
						}
					})
				})
			}
		}
	}
}

// TestStatementThatOutlivesItsTransactionMayHaveActedOutside: or committed.
// Before: the context's error alone.
func TestStatementThatOutlivesItsTransactionMayHaveActedOutside(t *testing.T) {
	for _, query := range []string{"CREATE TABLE x (n INT)", "CALL p()", "SELECT db.s.f(1)", "SELECT 1 ->> DROP TABLE x"} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				tx := caseBegin(t, db)
				caseExec(t, tx, caseRow(1))
				caseHold(srv, query)
				_, err := tx.ExecContext(caseShort(t), query)
				caseDoubt(t, err, true)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is not context.DeadlineExceeded as well", err)
				}
				if err := tx.Rollback(); err != nil {
					t.Errorf("Rollback: %v", err)
				}
				caseOthers(t, srv, db)
				caseSum(t, srv, caseRow(1), 1, 0)
				if n := srv.Effects(query); n != 0 {
					t.Errorf("it took effect %d times", n)
				}
			})
		})
	}
}

// TestCommitThatOutlivesItsCallerIsInDoubt: and it finds no session of another's.
// Before: it committed what the next user had written so far.
func TestCommitThatOutlivesItsCallerIsInDoubt(t *testing.T) {
	for _, end := range []string{"Commit", "COMMIT"} {
		t.Run(end, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				conn := casePin(t, db)
				ctx := caseShort(t)
				commit := func() error { _, err := conn.ExecContext(ctx, "COMMIT"); return err }
				if end == "Commit" {
					tx, err := conn.BeginTx(ctx, nil)
					if err != nil {
						t.Fatal(err)
					}
					commit = tx.Commit
					if _, err := tx.ExecContext(t.Context(), caseRow(1)); err != nil {
						t.Fatal(err)
					}
				} else {
					caseExec(t, conn, "BEGIN", caseRow(1))
				}
				caseHold(srv, "COMMIT")
				err := commit()
				caseDoubt(t, err, true)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is not context.DeadlineExceeded as well", err)
				}
				_ = conn.Close() // the connection is given up
				caseOthers(t, srv, db)
				if n := srv.Effects(caseRow(1)); n > 1 {
					t.Errorf("took effect %d times", n)
				}
			})
		})
	}
}

// TestBeginThatOutlivesItsCallerHoldsNobodysRows: it opens no transaction on a session
// that the next user has.
func TestBeginThatOutlivesItsCallerHoldsNobodysRows(t *testing.T) {
	for _, begin := range []string{"BeginTx", "BEGIN", "start transaction"} {
		t.Run(begin, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				var err error
				if begin == "BeginTx" {
					caseHold(srv, "BEGIN")
					_, err = db.BeginTx(caseShort(t), nil)
				} else {
					caseHold(srv, begin)
					_, err = db.ExecContext(caseShort(t), begin)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error is %v", err)
				}
				caseOthers(t, srv, db)
			})
		})
	}
}

// TestRunTxEndsWithItsCaller: it repeats nothing, and nothing of it arrives later.
// Before: the held INSERT took effect by itself.
func TestRunTxEndsWithItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		caseHold(srv, caseRow(2))
		err := snowtether.RunTx(caseShort(t), caseBeginner(db), func(tx *sql.Tx) error {
			caseExec(t, tx, caseRow(1))
			_, err := tx.ExecContext(caseShort(t), caseRow(2))
			return err
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		caseOthers(t, srv, db)
		caseSum(t, srv, caseRow(1), 1, 0)
		if n := srv.Effects(caseRow(2)); n != 0 {
			t.Errorf("took effect %d times", n)
		}
	})
}
