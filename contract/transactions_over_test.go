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

// Transactions (docs/guarantees.md): a transaction whose session has gone, however that came to
// light, is over until the program has ended it, and nothing of it runs on another session.

// panicInTx makes gosnowflake panic before it sends anything.
func panicInTx(t *testing.T, db dbtx) {
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
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		mustExec(t, conn, "BEGIN", row(1))
		panicInTx(t, conn)
		_, second := conn.ExecContext(t.Context(), row(2))
		_, commit := conn.ExecContext(t.Context(), "COMMIT")
		if one, two := srv.Effects(row(1)), srv.Effects(row(2)); one != two {
			t.Errorf("half a transaction: row 1 took effect %d times, row 2 %d times; INSERT: %v, COMMIT: %v", one, two, second, commit)
		}
	})
}

func TestPanicEndsTheTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tx := mustBegin(t, pool(t, srv, 1))
		mustExec(t, tx, row(1))
		panicInTx(t, tx)
		_, second := tx.ExecContext(t.Context(), row(2))
		commit := tx.Commit()
		if one, two := srv.Effects(row(1)), srv.Effects(row(2)); one != two {
			t.Errorf("half a transaction: row 1 took effect %d times, row 2 %d times; INSERT: %v, Commit: %v", one, two, second, commit)
		}
	})
}

// The keeper's ping is under way when the connection is taken out; its session is ended
// while a transaction is open, and the ping, which comes late, finds that first.
func whilePinged(t *testing.T, run func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func())) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		held, asked := make(chan struct{}), make(chan struct{})
		var n atomic.Int32
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 1" && n.Add(1) == 1 {
				close(asked)
				return snowtest.Fault{Hold: held}, true
			}
			return snowtest.Fault{}, false
		})
		db := pool(t, srv, 1, snowtether.WithIdlePing(time.Minute))
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
	whilePinged(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func()) {
		conn := pin(t, db)
		mustExec(t, conn, "BEGIN", row(1))
		lose()
		_, second := conn.ExecContext(t.Context(), row(2))
		_, commit := conn.ExecContext(t.Context(), "COMMIT")
		if one, two := srv.Effects(row(1)), srv.Effects(row(2)); one != two || commit == nil {
			t.Errorf("half a transaction: row 1 took effect %d times, row 2 %d times; INSERT: %v, COMMIT: %v", one, two, second, commit)
		}
	})
}

func TestTransactionIsOverWhoeverFindsItsSessionDead(t *testing.T) {
	whilePinged(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func()) {
		tx := mustBegin(t, db)
		mustExec(t, tx, row(1))
		lose()
		_, second := tx.ExecContext(t.Context(), row(2))
		commit := tx.Commit()
		if one, two := srv.Effects(row(1)), srv.Effects(row(2)); one != two {
			t.Errorf("half a transaction: row 1 took effect %d times, row 2 %d times; INSERT: %v, Commit: %v", one, two, second, commit)
		}
	})
}

// TestRunTxRepeatsWhoeverFindsTheSessionDead: and RunTx repeats it.
func TestRunTxRepeatsWhoeverFindsTheSessionDead(t *testing.T) {
	whilePinged(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func()) {
		n := 0
		err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
			if _, err := tx.Exec(row(1)); err != nil {
				return err
			}
			if n++; n == 1 {
				lose()
			}
			_, err := tx.Exec(row(2))
			return err
		})
		if one, two := srv.Effects(row(1)), srv.Effects(row(2)); one != 1 || two != 1 {
			t.Errorf("row 1 took effect %d times, row 2 %d times: %v", one, two, err)
		}
	})
}

// TestNothingRunsBehindARollbackStatementInALostTransaction: a ROLLBACK as text in a
// sql.Tx whose session is gone: what follows runs on another session and lasts, and
// Commit says that nothing does.
func TestNothingRunsBehindARollbackStatementInALostTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tx := mustBegin(t, pool(t, srv, 1))
		mustExec(t, tx, row(1))
		srv.AbortSessions()
		_, rollback := tx.ExecContext(t.Context(), "ROLLBACK")
		_, second := tx.ExecContext(t.Context(), row(2))
		commit := tx.Commit()
		if errors.Is(commit, snowtether.ErrSessionLost) && srv.Effects(row(2)) != 0 {
			t.Errorf("Commit says that nothing lasts, and row 2 does: ROLLBACK: %v, INSERT: %v, Commit: %v", rollback, second, commit)
		}
	})
}

// TestTransactionGivenUpBecauseACancellingHangsIsLost: RunTx repeats it.
// Before: a bare internal error.
func TestTransactionGivenUpBecauseACancellingHangsIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tx := mustBegin(t, pool(t, srv, 1))
		mustExec(t, tx, row(1))
		held := make(chan struct{})
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Hold: held}, r.Kind == snowtest.RequestAbort || r.Kind == snowtest.RequestQuery && r.SQL == row(2)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := tx.ExecContext(ctx, row(2))
		isLost(t, err, true)
		_, err = tx.ExecContext(t.Context(), row(3))
		isLost(t, err, true)
		isLost(t, tx.Commit(), true)
		close(held)
	}, snowtest.AllowOpenSessions())
}

// TestScriptWithItsOwnTransactionIsRunAgain: a script in one request that brings its own
// transaction did not run: the session had ended before. No transaction was open.
func TestScriptWithItsOwnTransactionIsRunAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
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
	for _, use := range forms {
		t.Run(use.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := pin(t, pool(t, srv, 1))
				mustExec(t, conn, "BEGIN", row(1))
				srv.AbortSessions()
				isLost(t, use.run(t.Context(), conn, row(2)), true)
				if err := use.run(t.Context(), conn, "ROLLBACK"); err != nil {
					t.Errorf("ROLLBACK: %v", err)
				}
				if err := use.run(t.Context(), conn, row(3)); err != nil {
					t.Errorf("after the ROLLBACK: %v", err)
				}
			})
		})
	}
}

// TestBeginInATransactionForgetsNothingThatLasts: BeginTx within a text transaction does
// not forget what that one holds.
func TestBeginInATransactionForgetsNothingThatLasts(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		mustExec(t, conn, "BEGIN", "INSERT INTO t SELECT my_udf(1)")
		tx := mustBegin(t, conn)
		srv.AbortSessions()
		_, err := tx.ExecContext(t.Context(), row(2))
		isInDoubt(t, err, true)
	})
}

// TestRollbackWithALostReplyIsDone: the reply to a ROLLBACK is lost: its session is
// ended, and so it is done.
func TestRollbackWithALostReplyIsDone(t *testing.T) {
	for _, begin := range []bool{true, false} {
		t.Run(fmt.Sprint(begin), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := pin(t, pool(t, srv, 1))
				if begin {
					mustExec(t, conn, "BEGIN", row(1))
				}
				once(srv, "ROLLBACK", snowtest.Fault{Run: true, Body: "<html>"})
				if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
					t.Errorf("ROLLBACK: %v", err)
				}
			})
		})
	}
}

// TestBeginTellsOfALostTransaction: rows are in an open transaction (BEGIN as
// text, or AUTOCOMMIT off); its session is found dead by somebody else. The next
// statement is a BEGIN, as text or as a call: in Snowflake it changes nothing in an open
// transaction. Here it begins one on another session, nobody is told that the first is
// lost, and Commit is nil: row 1 is gone without an error. Right: a BEGIN that finds
// c.over that was never told is that error (it may clear it for the one after).
func TestBeginTellsOfALostTransaction(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, conn *sql.Conn) error{
		"text": func(t *testing.T, conn *sql.Conn) error {
			for _, text := range []string{"BEGIN", row(2), "COMMIT"} {
				if _, err := conn.ExecContext(t.Context(), text); err != nil {
					return err
				}
			}
			return nil
		},
		"call": func(t *testing.T, conn *sql.Conn) error {
			tx, err := conn.BeginTx(t.Context(), nil)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(t.Context(), row(2)); err != nil {
				return err
			}
			return tx.Commit()
		},
	} {
		t.Run(name, func(t *testing.T) {
			whilePinged(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func()) {
				conn := pin(t, db)
				mustExec(t, conn, "BEGIN", row(1))
				lose()
				err := begin(t, conn)
				if one, two := srv.Effects(row(1)), srv.Effects(row(2)); err == nil && one != 1 {
					t.Errorf("no statement failed; row 1 took effect %d times, row 2 %d times", one, two)
				}
			})
		})
	}
}
