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
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): what vanished sessions leave open on the server, with its
// locks, is ended before the next transaction begins, and nobody else's is touched.

// TestRunTxIsNotBlockedByItsPredecessor: wherever its session vanishes.
// Before: it waited for its own locks until the server had rolled them back.
func TestRunTxIsNotBlockedByItsPredecessor(t *testing.T) {
	const insert = "INSERT INTO log VALUES (1)"
	for _, way := range endings {
		for name, arrange := range map[string]func(srv *snowtest.Server){
			"between two statements": func(srv *snowtest.Server) {
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.SQL != insert {
						return snowtest.Fault{}, false
					}
					srv.EndSessions(way.end)
					return snowtest.Fault{}, true
				})
			},
			"while the change runs": func(srv *snowtest.Server) {
				slowly(srv, "^UPDATE", 2*time.Second, nil, nil)
				time.AfterFunc(time.Second, func() { srv.EndSessions(way.end) })
			},
			"while the change is polled": func(srv *snowtest.Server) {
				slow := true
				srv.Handle("^UPDATE", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
					if !slow {
						return nil, nil
					}
					slow = false
					select {
					case <-time.After(time.Hour):
					case <-ctx.Done():
					}
					return nil, ctx.Err()
				})
				time.AfterFunc(time.Second, func() { srv.EndSessions(way.end) })
			},
			"with an answer that nobody understands": func(srv *snowtest.Server) {
				once(srv, updateOne, snowtest.Fault{Run: true, Body: "<html>", After: func() { srv.EndSessions(way.end) }})
			},
			"with the reply to the change": func(srv *snowtest.Server) {
				once(srv, updateOne, snowtest.Fault{Run: true, Drop: true, After: func() { srv.EndSessions(way.end) }})
			},
		} {
			for _, n := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s/%s/%d connections", way.name, name, n), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var j journal
						db := pool(t, srv, n, snowtether.WithEventHook(j.hook))
						arrange(srv)
						begun := time.Now()
						err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
							if _, err := tx.ExecContext(t.Context(), updateOne); err != nil {
								return err
							}
							_, err := tx.ExecContext(t.Context(), insert)
							return err
						})
						if took := time.Since(begun); err != nil || took > soonEnough+5*time.Second {
							t.Errorf("took %s: %v", took, err)
						}
						if n, m := srv.Effects(updateOne), srv.Effects(insert); n != 1 || m != 1 {
							t.Errorf("took effect %d and %d times", n, m)
						}
						ended := j.of(snowtether.EventTransactionEnded)
						if len(ended) != 1 || ended[0].OldSessionID == 0 || ended[0].SessionID == ended[0].OldSessionID {
							t.Errorf("ended: %+v", ended)
						}
					}, keptAsSeen, snowtest.AllowRepeats(), snowtest.WithInlineWait(500*time.Millisecond))
				})
			}
		}
	}
}

// TestNextTransactionIsNotBlockedByALostOne: whoever begins it, and however, on whatever
// connection.
// Before: as above.
func TestNextTransactionIsNotBlockedByALostOne(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, conn *sql.Conn) (commit func() error){
		"BeginTx": func(t *testing.T, conn *sql.Conn) func() error { return mustBegin(t, conn).Commit },
		"BEGIN": func(t *testing.T, conn *sql.Conn) func() error {
			mustExec(t, conn, "BEGIN")
			return func() error { _, err := conn.ExecContext(t.Context(), "COMMIT"); return err }
		},
		"START TRANSACTION, queried": func(t *testing.T, conn *sql.Conn) func() error {
			if err := drain(conn.QueryContext(t.Context(), "START TRANSACTION")); err != nil {
				t.Error(err)
			}
			return func() error { _, err := conn.ExecContext(t.Context(), "COMMIT"); return err }
		},
		"prepared BEGIN": func(t *testing.T, conn *sql.Conn) func() error {
			if err := forms[2].run(t.Context(), conn, "BEGIN"); err != nil {
				t.Error(err)
			}
			return func() error { _, err := conn.ExecContext(t.Context(), "COMMIT"); return err }
		},
	} {
		for _, n := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d connections", name, n), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, n)
					orphan(t, srv, db, updateOne)
					conn := pin(t, db)
					begun := time.Now()
					commit := begin(t, conn)
					mustExec(t, conn, updateOne+" WHERE n = 1")
					if err := commit(); err != nil {
						t.Error(err)
					}
					if took := time.Since(begun); took > soonEnough {
						t.Errorf("took %s", took)
					}
					checkRan(t, srv, updateOne, 1, 0)
					checkRan(t, srv, updateOne+" WHERE n = 1", 1, 1)
				}, keptAsSeen)
			})
		}
	}
}

// TestTransactionOfASessionThatMayLiveIsNotEnded: a statement that is still on its way would
// find the session without it, and commit by itself.
func TestTransactionOfASessionThatMayLiveIsNotEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: 3 * time.Minute}, r.Kind == snowtest.RequestLogout
		})
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: time.Minute, Late: true}, r.SQL == row(1)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, updateOne); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, row(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		_ = tx.Rollback()
		for i := range 3 {
			updateInTx(t, db, fmt.Sprintf("UPDATE u SET n = %d", i))
			time.Sleep(2 * time.Second)
		}
		time.Sleep(10 * time.Minute)
		checkRan(t, srv, updateOne, 1, 0)
		checkRan(t, srv, row(1), 1, 0)
		if n := timesAsked(srv); n != 0 {
			t.Errorf("asked %d times", n)
		}
	}, keptAsSeen)
}

// TestTransactionInWhichSeveralStatementsRunOnIsNotEnded: those that come after it would
// commit by themselves.
func TestTransactionInWhichSeveralStatementsRunOnIsNotEnded(t *testing.T) {
	for name, run := range map[string]func(ctx context.Context, tx *sql.Tx) error{
		"several statements": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(gosnowflake.WithMultiStatement(ctx, 2), updateOne+"; "+row(1))
			return err
		},
		"a chain": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, updateOne+" ->> "+row(1))
			return err
		},
		"a procedure": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "CALL p()")
			return err
		},
		"several statements, asynchronously": func(ctx context.Context, tx *sql.Tx) error {
			res, err := tx.ExecContext(gosnowflake.WithAsyncMode(gosnowflake.WithMultiStatement(ctx, 2)), updateOne+"; "+row(1))
			if err == nil {
				_, _ = res.RowsAffected() // gosnowflake waits until somebody asks
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, "^(UPDATE t|CALL)", 10*time.Second, nil, nil)
				time.AfterFunc(time.Second, func() { srv.AbortSessions() })
				tx := mustBegin(t, db)
				if err := errors.Join(run(t.Context(), tx), tx.Commit()); err == nil {
					t.Error("it succeeded")
				}
				updateInTx(t, db, "UPDATE u SET n = 1")
				if n := timesAsked(srv); n != 0 {
					t.Errorf("asked %d times", n)
				}
				time.Sleep(time.Minute)
				if n, m := srv.Effects(updateOne), srv.Effects(row(1)); n != 0 || m != 0 {
					t.Errorf("took effect %d and %d times", n, m)
				}
			}, keptAsSeen, snowtest.WithInlineWait(500*time.Millisecond))
		})
	}
}

// loseUnderReport loses a transaction, in a session in which an asynchronous INSERT INTO report runs
// on and so many more were run after it: the next transaction ends nothing. It returns the INSERT's
// result.
func loseUnderReport(t *testing.T, srv *snowtest.Server, db *sql.DB, more int) sql.Result {
	t.Helper()
	tx := mustBegin(t, db)
	mustExec(t, tx, updateOne)
	async := gosnowflake.WithAsyncMode(t.Context())
	res, err := tx.ExecContext(async, "INSERT INTO report VALUES (1)")
	if err != nil {
		t.Fatal(err)
	}
	for range more {
		if err := drain(tx.QueryContext(async, "SELECT 1")); err != nil {
			t.Fatal(err)
		}
	}
	srv.AbortSessions()
	_, err = tx.ExecContext(t.Context(), row(1))
	isLost(t, err, true)
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	updateInTx(t, db, "UPDATE u SET n = 1")
	if n := timesAsked(srv); n != 0 {
		t.Errorf("asked %d times while it runs", n)
	}
	return res
}

// TestAsynchronousStatementThatIsOverKeepsNoTransactionOpen: one that runs on does, until it is
// over; what of it is to come would commit by itself.
// Before: RunTx waited for its own locks wherever its session had ever run something
// asynchronously.
func TestAsynchronousStatementThatIsOverKeepsNoTransactionOpen(t *testing.T) {
	t.Run("over before", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			if err := drain(db.QueryContext(gosnowflake.WithAsyncMode(t.Context()), "SELECT 1")); err != nil {
				t.Fatal(err)
			}
			orphan(t, srv, db, updateOne)
			if took := updateInTx(t, db, updateOne+" WHERE n > 1"); took > soonEnough {
				t.Errorf("took %s", took)
			}
		}, keptAsSeen)
	})
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("fails %v", fails), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var failed error
				if fails {
					failed = &snowtest.Error{Code: "100035", SQLState: "22007", Message: "Timestamp is not recognized"}
				}
				slowly(srv, "INTO report", time.Minute, counted(snowtest.KindInsert, "inserted", 1), failed)
				db := pool(t, srv, 1)
				res := loseUnderReport(t, srv, db, 0)
				time.Sleep(2 * time.Minute)
				_, _ = res.RowsAffected() // gosnowflake waits until somebody asks
				if took := updateInTx(t, db, updateOne+" WHERE n > 1"); took > soonEnough {
					t.Errorf("took %s", took)
				}
				if n := timesAsked(srv); n != 2 {
					t.Errorf("asked %d times, want once for the transactions and once for the end of one", n)
				}
			}, keptAsSeen, snowtest.WithInlineWait(500*time.Millisecond))
		})
	}
}

// TestTransactionIsNotEndedUnderAnAsynchronousStatementThatIsNotRemembered: a session remembers its
// last hundred. An older one that still runs would commit by itself behind the end of its
// transaction.
func TestTransactionIsNotEndedUnderAnAsynchronousStatementThatIsNotRemembered(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		slowly(srv, "INTO report", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		long := loseUnderReport(t, srv, pool(t, srv, 1), 100)
		time.Sleep(2 * time.Hour)
		_, _ = long.RowsAffected() // gosnowflake waits until somebody asks
	}, keptAsSeen, snowtest.WithInlineWait(500*time.Millisecond))
}

// TestOnlyTheDeadSessionsTransactionIsEnded: those of other connections, of other pools of
// the same user, and those that sessions of other pools have left behind, are not.
func TestOnlyTheDeadSessionsTransactionIsEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db, other := pool(t, srv, 3, snowtether.WithEventHook(j.hook)), pool(t, srv, 2)
		live := []*sql.Tx{mustBegin(t, db), mustBegin(t, other)}
		updates := []string{"UPDATE mine SET n = 1", "UPDATE theirs SET n = 1"}
		for i, tx := range live {
			if _, err := tx.ExecContext(t.Context(), updates[i]); err != nil {
				t.Fatal(err)
			}
		}
		theirs := mustBegin(t, other)
		if _, err := theirs.ExecContext(t.Context(), "UPDATE lost SET n = 1"); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions(sessionOf(t, theirs))
		dead := orphan(t, srv, db, updateOne)
		if took := updateInTx(t, db, updateOne+" WHERE n = 1"); took > soonEnough {
			t.Errorf("took %s", took)
		}
		ended := j.of(snowtether.EventTransactionEnded)
		if len(ended) != 1 || ended[0].OldSessionID != dead || timesAsked(srv) != 2 {
			t.Errorf("asked %d times; ended: %+v", timesAsked(srv), ended)
		}
		for i, tx := range live {
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			checkRan(t, srv, updates[i], 1, 1)
		}
		if took := updateInTx(t, db, "UPDATE lost SET n = 2"); took < 4*time.Minute {
			t.Errorf("waited only %s for what another pool's session has left", took)
		}
	}, keptAsSeen)
}

// TestWrappedConnectionIsAskedNothingAboutTransactions: which session it has is not known.
func TestWrappedConnectionIsAskedNothingAboutTransactions(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		c, err := snowtether.WrapConnector(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()), logTo(srv.Log()))
		if err != nil {
			t.Fatal(err)
		}
		db := testpool.OpenConnector(t, c, 2)
		orphan(t, srv, db, updateOne)
		updateInTx(t, db, "UPDATE u SET n = 1")
		if n := timesAsked(srv); n != 0 {
			t.Errorf("asked %d times", n)
		}
	}, keptAsSeen)
}
