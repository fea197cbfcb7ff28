package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): what the caller's context means to a transaction. What was cut
// short by its own deadline commits in nobody's, also where a gateway passes it on later; and what
// is in a context for one statement reaches no BEGIN, COMMIT or ROLLBACK.

const heldFor = 2 * time.Minute

// holdSQL lets a gateway keep the next request for this SQL for a while.
func holdSQL(srv *snowtest.Server, query string) {
	once(srv, query, snowtest.Fault{Delay: heldFor, Late: true})
}

// shortContext is a context that ends while the gateway holds what was sent with it.
func shortContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

// otherUsers writes rows as the next users of the pool, before and after the held request
// arrives, and checks that each lasts.
func otherUsers(t *testing.T, srv *snowtest.Server, db *sql.DB) {
	t.Helper()
	for i := range 4 {
		query := fmt.Sprintf("INSERT INTO others VALUES (%d)", i)
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Errorf("the next users: %v", err)
		}
		checkRan(t, srv, query, 1, 1)
		time.Sleep(heldFor / 2)
	}
}

// TestStatementThatOutlivesItsTransactionFindsNoSession: its caller's deadline has passed,
// the transaction was rolled back, and then it arrives.
// Before: it committed by itself, or in the next user's transaction.
func TestStatementThatOutlivesItsTransactionFindsNoSession(t *testing.T) {
	for _, begin := range []string{"BeginTx", "BEGIN"} {
		for _, before := range [][]string{nil, {row(7)}} {
			for _, use := range forms {
				t.Run(fmt.Sprintf("%s/%s/after %d", begin, use.name, len(before)), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := pool(t, srv, 1)
						conn := pin(t, db)
						var on dbtx = conn
						rollback := func() error { return nil }
						if begin == "BeginTx" {
							tx := mustBegin(t, conn)
							on, rollback = tx, tx.Rollback
						} else {
							mustExec(t, conn, begin)
						}
						mustExec(t, on, before...)
						holdSQL(srv, row(1))
						err := use.run(shortContext(t), on, row(1))
						isLost(t, err, true)
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("%v is not context.DeadlineExceeded as well", err)
						}
						if err := rollback(); err != nil {
							t.Errorf("Rollback: %v", err)
						}
						_ = conn.Close() // the connection is given up
						otherUsers(t, srv, db)
						for _, query := range append(before, row(1)) {
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
				db := pool(t, srv, 1)
				tx := mustBegin(t, db)
				mustExec(t, tx, row(1))
				holdSQL(srv, query)
				_, err := tx.ExecContext(shortContext(t), query)
				isInDoubt(t, err, true)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is not context.DeadlineExceeded as well", err)
				}
				if err := tx.Rollback(); err != nil {
					t.Errorf("Rollback: %v", err)
				}
				otherUsers(t, srv, db)
				checkRan(t, srv, row(1), 1, 0)
				if n := srv.Effects(query); n != 0 {
					t.Errorf("it took effect %d times", n)
				}
			})
		})
	}
}

// TestTransactionWhoseCallerLeftIsOver: what is still on its way must find no session,
// and nobody waits for the cancelling.
func TestTransactionWhoseCallerLeftIsOver(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		stall(srv, snowtest.RequestAbort, time.Minute)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, err = tx.ExecContext(within(t, time.Second), insert)
		isLost(t, err, true)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		_, err = tx.ExecContext(t.Context(), row(2))
		isLost(t, err, true)
		if err := tx.Rollback(); err != nil {
			t.Errorf("Rollback: %v", err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("took %v", took)
		}
		if n := srv.Accepted(row(2)); n != 0 {
			t.Errorf("accepted %d times", n)
		}
		if _, err := db.ExecContext(t.Context(), "UPDATE t SET n = 1"); err != nil {
			t.Errorf("the next caller: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if n := srv.Effects(insert); n != 0 {
			t.Errorf("the INSERT took effect %d times", n)
		}
	})
}

// TestCommitThatOutlivesItsCallerIsInDoubt: and it finds no session of another's.
// Before: it committed what the next user had written so far.
func TestCommitThatOutlivesItsCallerIsInDoubt(t *testing.T) {
	for _, end := range []string{"Commit", "COMMIT"} {
		t.Run(end, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				conn := pin(t, db)
				ctx := shortContext(t)
				commit := func() error { _, err := conn.ExecContext(ctx, "COMMIT"); return err }
				if end == "Commit" {
					tx, err := conn.BeginTx(ctx, nil)
					if err != nil {
						t.Fatal(err)
					}
					commit = tx.Commit
					if _, err := tx.ExecContext(t.Context(), row(1)); err != nil {
						t.Fatal(err)
					}
				} else {
					mustExec(t, conn, "BEGIN", row(1))
				}
				holdSQL(srv, "COMMIT")
				err := commit()
				isInDoubt(t, err, true)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is not context.DeadlineExceeded as well", err)
				}
				_ = conn.Close() // the connection is given up
				otherUsers(t, srv, db)
				if n := srv.Effects(row(1)); n > 1 {
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
				db := pool(t, srv, 1)
				var err error
				if begin == "BeginTx" {
					holdSQL(srv, "BEGIN")
					_, err = db.BeginTx(shortContext(t), nil)
				} else {
					holdSQL(srv, begin)
					_, err = db.ExecContext(shortContext(t), begin)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error is %v", err)
				}
				otherUsers(t, srv, db)
			})
		})
	}
}

// TestRunTxEndsWithItsCaller: it repeats nothing, and nothing of it arrives later.
// Before: the held INSERT took effect by itself.
func TestRunTxEndsWithItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		holdSQL(srv, row(2))
		err := snowtether.RunTx(shortContext(t), begin(db), func(tx *sql.Tx) error {
			mustExec(t, tx, row(1))
			_, err := tx.ExecContext(shortContext(t), row(2))
			return err
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		otherUsers(t, srv, db)
		checkRan(t, srv, row(1), 1, 0)
		if n := srv.Effects(row(2)); n != 0 {
			t.Errorf("took effect %d times", n)
		}
	})
}

// TestTransactionIsBegunAndEndedWithoutTheCallersMarks: BEGIN, COMMIT and ROLLBACK are
// the driver's.
// Before: BEGIN was only described, or refused for its statement count, or had the
// request ID of the INSERT after it.
func TestTransactionIsBegunAndEndedWithoutTheCallersMarks(t *testing.T) {
	for _, m := range marks {
		for _, commit := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/commit %v", m.name, commit), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					ctx := m.mark(t.Context())
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						t.Fatal(err)
					}
					insertCtx := t.Context()
					if m.name == "request ID" {
						insertCtx = ctx
					}
					if _, err := tx.ExecContext(insertCtx, row(1)); err != nil {
						t.Error(err)
					}
					checkRan(t, srv, row(1), 1, 0)
					end, effects := tx.Rollback, 0
					if commit {
						end, effects = tx.Commit, 1
					}
					if err := end(); err != nil {
						t.Error(err)
					}
					checkRan(t, srv, row(1), 1, effects)
					if n := srv.Accepted("BEGIN"); n != 1 {
						t.Errorf("BEGIN was accepted %d times", n)
					}
					checkRequestIDs(t, srv)
				})
			})
		}
	}
}

// TestEndIsNotTakenForItsBegin: a request ID that the caller gave BeginTx must not be
// sent with COMMIT or ROLLBACK, which Snowflake would take for a repetition, nor with
// BEGIN: the INSERT with the same ID would be taken for that.
func TestEndIsNotTakenForItsBegin(t *testing.T) {
	for sql, end := range map[string]func(*sql.Tx) error{"COMMIT": (*sql.Tx).Commit, "ROLLBACK": (*sql.Tx).Rollback} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			id := gosnowflake.NewUUID()
			tx, err := db.BeginTx(gosnowflake.WithRequestID(t.Context(), id), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := end(tx); err != nil {
				t.Fatal(err)
			}
			got := make(map[string]bool) // whether the statement was sent with the ID
			for _, e := range srv.Ledger() {
				got[e.SQL] = e.RequestID == id.String()
			}
			if len(got) != 2 || got["BEGIN"] || got[sql] {
				t.Errorf("sent with the caller's ID: %v", got)
			}
		})
	}
}

// TestRunTxPassesNoMarksOn: nor when it repeats the transaction.
// Before: as with BeginTx.
func TestRunTxPassesNoMarksOn(t *testing.T) {
	for _, m := range marks {
		t.Run(m.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				tries := 0
				err := snowtether.RunTx(m.mark(t.Context()), begin(db), func(tx *sql.Tx) error {
					mustExec(t, tx, row(1))
					if tries++; tries == 1 {
						srv.AbortSessions()
					}
					_, err := tx.ExecContext(t.Context(), row(2))
					return err
				})
				if err != nil {
					t.Error(err)
				}
				checkRan(t, srv, row(1), 2, 1)
				checkRan(t, srv, row(2), 1, 1)
				checkRequestIDs(t, srv)
			}, snowtest.AllowRepeats())
		})
	}
}

// TestSessionIsSetUpWithoutTheCallersMarks: the caller's statement may need a login, a
// look whether its session lives, or the outcome of what was carried over.
func TestSessionIsSetUpWithoutTheCallersMarks(t *testing.T) {
	for _, m := range marks[:3] {
		t.Run(m.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 2, snowtether.WithSessionInit("USE ROLE r"))
				srv.AbortSessions()
				query := row(1)
				if m.name == "statement count" {
					query += "; " + row(2) + "; " + row(3)
				}
				if err := drain(db.QueryContext(m.mark(t.Context()), query)); err != nil {
					t.Error(err)
				}
				if _, err := db.ExecContext(t.Context(), row(4)); err != nil {
					t.Error(err)
				}
				if n := srv.Accepted("USE ROLE r"); n < 3 {
					t.Errorf("%d sessions were set up", n)
				}
				want := 1
				if m.name == "describe only" {
					want = 0
				}
				checkRan(t, srv, row(1), want, want)
				checkRequestIDs(t, srv)
			})
		})
	}
}

// TestRequestIDOfAnArrayBindIsTheInsertsAlone: or the array bind is refused.
// Before: all of its statements had the ID, and a server that goes by it could answer one
// with the reply of another.
func TestRequestIDOfAnArrayBindIsTheInsertsAlone(t *testing.T) {
	for name, arrange := range map[string]func(srv *snowtest.Server){
		"undisturbed":       func(*snowtest.Server) {},
		"session lost":      func(srv *snowtest.Server) { srv.AbortSessions() },
		"token expired":     func(srv *snowtest.Server) { srv.ExpireSessionTokens() },
		"the INSERT again":  func(srv *snowtest.Server) { once(srv, bulkInsert, snowtest.Fault{Run: true, Drop: true}) },
		"the INSERT is cut": func(srv *snowtest.Server) { once(srv, bulkInsert, snowtest.Fault{Run: true, Cut: 20}) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				arrange(srv)
				_, err := db.ExecContext(marks[0].mark(t.Context()), bulkInsert, arrayOf(t, 100))
				switch {
				case err == nil:
					checkRan(t, srv, bulkInsert, 1, 1)
				case errors.Is(err, snowtether.ErrInDoubt):
					t.Errorf("neither refused nor done: %v", err)
				default:
					checkRan(t, srv, bulkInsert, 0, 0)
				}
				checkRequestIDs(t, srv)
				nextUser(t, srv, db)
			}, throughAStage)
		})
	}
}
