package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about transactions whose session has gone, however that came to light:
// they are over until the program has ended them, and nothing of them runs on another
// session.

// casePanic makes gosnowflake panic before it sends anything.
func casePanic(t *testing.T, db caseDB) {
	t.Helper()
	arg, err := gosnowflake.Array((*[]int)(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (?)", arg); err == nil {
		t.Fatal("a nil array was bound")
	}
}

// TestPanicEndsTheTransactionOfAConnection: a bad bind makes gosnowflake panic; its
// session is given up in the middle of a transaction, and what follows goes to another
// session, in autocommit.
func TestPanicEndsTheTransactionOfAConnection(t *testing.T) {
	caseBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		caseExec(t, conn, "BEGIN", caseRow(1))
		casePanic(t, conn)
		_, second := conn.ExecContext(t.Context(), caseRow(2))
		_, commit := conn.ExecContext(t.Context(), "COMMIT")
		if one, two := srv.Effects(caseRow(1)), srv.Effects(caseRow(2)); one != two {
			t.Errorf("half a transaction: row 1 took effect %d times, row 2 %d times; INSERT: %v, COMMIT: %v", one, two, second, commit)
		}
	})
}

func TestPanicEndsTheTransaction(t *testing.T) {
	caseBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tx := caseBegin(t, casePool(t, srv, 1))
		caseExec(t, tx, caseRow(1))
		casePanic(t, tx)
		_, second := tx.ExecContext(t.Context(), caseRow(2))
		commit := tx.Commit()
		if one, two := srv.Effects(caseRow(1)), srv.Effects(caseRow(2)); one != two {
			t.Errorf("half a transaction: row 1 took effect %d times, row 2 %d times; INSERT: %v, Commit: %v", one, two, second, commit)
		}
	})
}

// The keeper's ping is under way when the connection is taken out; its session is ended
// while a transaction is open, and the ping, which comes late, finds that first.
func caseKeeper(t *testing.T, run func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func())) {
	caseBubble(t, func(t *testing.T, srv *snowtest.Server) {
		held, asked := make(chan struct{}), make(chan struct{})
		var n atomic.Int32
		srv.Control(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 1" && n.Add(1) == 1 {
				close(asked)
				return snowtest.Fault{Hold: held}, true
			}
			return snowtest.Fault{}, false
		})
		db := casePool(t, srv, 1, snowtether.WithIdlePing(time.Minute))
		<-asked
		run(t, srv, db, func() {
			srv.AbortSessions()
			close(held)
			time.Sleep(time.Second)
			synctest.Wait()
		})
	}, snowtest.AllowRepeats())
}

func TestTransactionOfAConnectionIsOverWhoeverFindsItsSessionDead(t *testing.T) {
	caseKeeper(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func()) {
		conn := casePin(t, db)
		caseExec(t, conn, "BEGIN", caseRow(1))
		lose()
		_, second := conn.ExecContext(t.Context(), caseRow(2))
		_, commit := conn.ExecContext(t.Context(), "COMMIT")
		if one, two := srv.Effects(caseRow(1)), srv.Effects(caseRow(2)); one != two || commit == nil {
			t.Errorf("half a transaction: row 1 took effect %d times, row 2 %d times; INSERT: %v, COMMIT: %v", one, two, second, commit)
		}
	})
}

func TestTransactionIsOverWhoeverFindsItsSessionDead(t *testing.T) {
	caseKeeper(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func()) {
		tx := caseBegin(t, db)
		caseExec(t, tx, caseRow(1))
		lose()
		_, second := tx.ExecContext(t.Context(), caseRow(2))
		commit := tx.Commit()
		if one, two := srv.Effects(caseRow(1)), srv.Effects(caseRow(2)); one != two {
			t.Errorf("half a transaction: row 1 took effect %d times, row 2 %d times; INSERT: %v, Commit: %v", one, two, second, commit)
		}
	})
}

// TestRunTxRepeatsWhoeverFindsTheSessionDead: and RunTx repeats it.
func TestRunTxRepeatsWhoeverFindsTheSessionDead(t *testing.T) {
	caseKeeper(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func()) {
		n := 0
		err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
			if _, err := tx.Exec(caseRow(1)); err != nil {
				return err
			}
			if n++; n == 1 {
				lose()
			}
			_, err := tx.Exec(caseRow(2))
			return err
		})
		if one, two := srv.Effects(caseRow(1)), srv.Effects(caseRow(2)); one != 1 || two != 1 {
			t.Errorf("row 1 took effect %d times, row 2 %d times: %v", one, two, err)
		}
	})
}

// TestNothingRunsBehindARollbackStatementInALostTransaction: a ROLLBACK as text in a
// sql.Tx whose session is gone: what follows runs on another session and lasts, and
// Commit says that nothing does.
func TestNothingRunsBehindARollbackStatementInALostTransaction(t *testing.T) {
	caseBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tx := caseBegin(t, casePool(t, srv, 1))
		caseExec(t, tx, caseRow(1))
		srv.AbortSessions()
		_, rollback := tx.ExecContext(t.Context(), "ROLLBACK")
		_, second := tx.ExecContext(t.Context(), caseRow(2))
		commit := tx.Commit()
		if errors.Is(commit, snowtether.ErrSessionLost) && srv.Effects(caseRow(2)) != 0 {
			t.Errorf("Commit says that nothing lasts, and row 2 does: ROLLBACK: %v, INSERT: %v, Commit: %v", rollback, second, commit)
		}
	})
}

// TestScriptWithItsOwnTransactionIsRunAgain: a script in one request that brings its own
// transaction did not run: the session had ended before. No transaction was open.
func TestScriptWithItsOwnTransactionIsRunAgain(t *testing.T) {
	caseBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		srv.AbortSessions()
		_, err := db.ExecContext(gosnowflake.WithMultiStatement(t.Context(), 3), "BEGIN; INSERT INTO t VALUES (1); COMMIT")
		if err != nil {
			t.Errorf("it did not run and no transaction was open: %v", err)
		}
	})
}

// TestRollbackEndsALostTransactionHoweverItIsSent: a lost transaction is ended by
// ROLLBACK, however it is sent.
func TestRollbackEndsALostTransactionHoweverItIsSent(t *testing.T) {
	for _, use := range caseUses {
		t.Run(use.name, func(t *testing.T) {
			caseBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := casePin(t, casePool(t, srv, 1))
				caseExec(t, conn, "BEGIN", caseRow(1))
				srv.AbortSessions()
				caseLost(t, use.run(t.Context(), conn, caseRow(2)), true)
				if err := use.run(t.Context(), conn, "ROLLBACK"); err != nil {
					t.Errorf("ROLLBACK: %v", err)
				}
				if err := use.run(t.Context(), conn, caseRow(3)); err != nil {
					t.Errorf("after the ROLLBACK: %v", err)
				}
			})
		})
	}
}

// TestBeginInATransactionForgetsNothingThatLasts: BeginTx within a text transaction does
// not forget what that one holds.
func TestBeginInATransactionForgetsNothingThatLasts(t *testing.T) {
	caseBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		caseExec(t, conn, "BEGIN", "INSERT INTO t SELECT my_udf(1)")
		tx := caseBegin(t, conn)
		srv.AbortSessions()
		_, err := tx.ExecContext(t.Context(), caseRow(2))
		caseDoubt(t, err, true)
	})
}

// TestRollbackWithALostReplyIsDone: the reply to a ROLLBACK is lost: its session is
// ended, and so it is done.
func TestRollbackWithALostReplyIsDone(t *testing.T) {
	for _, begin := range []bool{true, false} {
		t.Run(fmt.Sprint(begin), func(t *testing.T) {
			caseBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := casePin(t, casePool(t, srv, 1))
				if begin {
					caseExec(t, conn, "BEGIN", caseRow(1))
				}
				caseOnce(srv, "ROLLBACK", snowtest.Fault{Run: true, Body: "<html>"})
				if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
					t.Errorf("ROLLBACK: %v", err)
				}
			})
		})
	}
}
