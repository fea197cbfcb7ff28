package contract_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
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
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
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
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
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
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
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
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
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
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
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
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
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

// TestRunTxDoesNotRepeatOverLostState: the holder of a connection has chosen
// a schema. The session is lost, the error that says so ("set again what was lost") is
// taken by RunTx for a reason to repeat, and the second attempt writes into the default
// schema. RunTx returns nil: the row is in another table than was meant. Right: an error
// that names lost state (SessionError.lost != 0) is not repeated by RunTx but returned.
func TestRunTxDoesNotRepeatOverLostState(t *testing.T) {
	for _, when := range []string{"before BEGIN", "at the INSERT", "at COMMIT"} {
		t.Run(when, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := casePin(t, casePool(t, srv, 1))
				caseExec(t, conn, "USE SCHEMA other")
				chosen := srv.Ledger()[0].SessionID
				n := 0
				if when == "before BEGIN" {
					srv.AbortSessions()
				}
				err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return conn.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
					n++
					if when == "at the INSERT" && n == 1 {
						srv.AbortSessions()
					}
					_, err := tx.ExecContext(t.Context(), caseRow(1))
					if when == "at COMMIT" && n == 1 {
						srv.AbortSessions()
					}
					return err
				})
				for _, e := range srv.Ledger() {
					if e.SQL == caseRow(1) && e.Effects == 1 && e.SessionID != chosen && err == nil {
						t.Error("RunTx returned nil, and its row is in the schema that the session began in, not in the one that its holder chose")
					}
				}
			}, snowtest.AllowRepeats())
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
			for _, text := range []string{"BEGIN", caseRow(2), "COMMIT"} {
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
			if _, err := tx.ExecContext(t.Context(), caseRow(2)); err != nil {
				return err
			}
			return tx.Commit()
		},
	} {
		t.Run(name, func(t *testing.T) {
			caseKeeper(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, lose func()) {
				conn := casePin(t, db)
				caseExec(t, conn, "BEGIN", caseRow(1))
				lose()
				err := begin(t, conn)
				if one, two := srv.Effects(caseRow(1)), srv.Effects(caseRow(2)); err == nil && one != 1 {
					t.Errorf("no statement failed; row 1 took effect %d times, row 2 %d times", one, two)
				}
			})
		})
	}
}

// caseWire replaces a text in what is sent: the server then carries out what a script
// would have done in its place.

type caseWire struct {
	http.RoundTripper
	from, to string
}

func (w caseWire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return w.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	_ = r.Body.Close()
	body = bytes.Replace(body, []byte(w.from), []byte(w.to), 1)
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return w.RoundTripper.RoundTrip(r)
}

// TestScriptsTransactionIsNotTheNextUsers: EXECUTE IMMEDIATE 'BEGIN TRANSACTION',
// or EXECUTE IMMEDIATE FROM @stage/migration.sql that begins and does not come to its
// COMMIT, runs in the session itself: its transaction stays open. An unknown
// statement may do anything; here (sqltext/state.go, part(), Unknown) it never begins a
// transaction where AUTOCOMMIT is on. The connection goes back to the pool with it, the
// next user's INSERT is nil, and ends with the session: the row is gone. Right: behind
// what is unknown and not a CALL (a procedure's transaction ends with it), InTx may be:
// the connection has no next user unless a COMMIT or ROLLBACK came.
func TestScriptsTransactionIsNotTheNextUsers(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const script = "EXECUTE IMMEDIATE FROM @migrations/one.sql"
		cfg := srv.Config()
		cfg.Transporter = caseWire{cfg.Transporter, script, "BEGIN"}
		db := caseConnect(t, cfg, 1)
		if _, err := db.ExecContext(t.Context(), script); err != nil {
			t.Fatal(err)
		}
		_, err := db.ExecContext(t.Context(), caseRow(1))
		if n := srv.Effects(caseRow(1)); err == nil && n != 1 {
			t.Errorf("the next user: nil, and the row took effect %d times", n)
		}
	})
}

// TestScriptsTransactionIsNotLeftBehind: what follows the script is in it, and goes with
// its session.
func TestScriptsTransactionIsNotLeftBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const script, update = "EXECUTE IMMEDIATE FROM @migrations/one.sql", "UPDATE t SET n = 1"
		cfg := srv.Config()
		cfg.Transporter = caseWire{cfg.Transporter, script, "BEGIN"}
		conn := casePin(t, caseConnect(t, cfg, 1))
		slowly(srv, "^UPDATE", 2*time.Minute, caseCount(snowtest.KindUpdate, "updated", 1), nil)
		caseExec(t, conn, script)
		caseEndAt(srv, time.Minute)
		_, err := conn.ExecContext(t.Context(), update)
		time.Sleep(time.Hour)
		if n := srv.Effects(update); err == nil && n != 1 {
			t.Errorf("nil, and the UPDATE took effect %d times", n)
		}
	})
}

// TestRunTxRepeatsWhatItSetsItself: what a transaction sets of its session goes with it,
// and is set again.
func TestRunTxRepeatsWhatItSetsItself(t *testing.T) {
	for _, text := range []string{"ALTER SESSION SET QUERY_TAG = 'nightly'", "USE SCHEMA other", "SET day = '2026-01-01'"} {
		t.Run(text, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				n := 0
				err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
					for i, query := range []string{text, caseRow(1), caseRow(2)} {
						if i == 2 && n == 0 {
							n++
							srv.AbortSessions()
						}
						if _, err := tx.Exec(query); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				for i := range 2 {
					if n := srv.Effects(caseRow(i + 1)); n != 1 {
						t.Errorf("row %d took effect %d times", i+1, n)
					}
				}
			}, snowtest.AllowRepeats())
		})
	}
}
