package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the transactions that vanished sessions leave behind on the server,
// with their locks.

const (
	caseUpdate = "UPDATE t SET n = n + 1"
	caseShow   = "SHOW TRANSACTIONS"
)

// caseStays keeps the transaction of a vanished session open for as long as users saw.
var caseStays = snowtest.WithDetachedTransactions(5 * time.Minute)

// caseSoon is how long a transaction may take that is blocked by nothing.
const caseSoon = 10 * time.Second

// caseEnded counts what the driver has said of transactions that it ended.
func caseEnded(ended *[]snowtether.Event) snowtether.Option {
	var mu sync.Mutex
	return snowtether.WithEventHook(func(e snowtether.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == snowtether.EventTransactionEnded {
			*ended = append(*ended, e)
		}
	})
}

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

// TestRunTxIsNotBlockedByItsPredecessor: wherever its session vanishes.
// Before: it waited for its own locks until the server had rolled them back.
func TestRunTxIsNotBlockedByItsPredecessor(t *testing.T) {
	const insert = "INSERT INTO log VALUES (1)"
	for _, way := range caseWays {
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
				caseOnce(srv, caseUpdate, snowtest.Fault{Run: true, Body: "<html>", After: func() { srv.EndSessions(way.end) }})
			},
			"with the reply to the change": func(srv *snowtest.Server) {
				caseOnce(srv, caseUpdate, snowtest.Fault{Run: true, Drop: true, After: func() { srv.EndSessions(way.end) }})
			},
		} {
			for _, n := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s/%s/%d connections", way.name, name, n), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var ended []snowtether.Event
						db := casePool(t, srv, n, caseEnded(&ended))
						arrange(srv)
						begun := time.Now()
						err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
							if _, err := tx.ExecContext(t.Context(), caseUpdate); err != nil {
								return err
							}
							_, err := tx.ExecContext(t.Context(), insert)
							return err
						})
						if took := time.Since(begun); err != nil || took > caseSoon+5*time.Second {
							t.Errorf("took %s: %v", took, err)
						}
						if n, m := srv.Effects(caseUpdate), srv.Effects(insert); n != 1 || m != 1 {
							t.Errorf("took effect %d and %d times", n, m)
						}
						if len(ended) != 1 || ended[0].OldSessionID == 0 || ended[0].SessionID == ended[0].OldSessionID {
							t.Errorf("ended: %+v", ended)
						}
					}, caseStays, snowtest.AllowRepeats(), snowtest.WithInlineWait(500*time.Millisecond))
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
		"BeginTx": func(t *testing.T, conn *sql.Conn) func() error { return caseBegin(t, conn).Commit },
		"BEGIN": func(t *testing.T, conn *sql.Conn) func() error {
			caseExec(t, conn, "BEGIN")
			return func() error { _, err := conn.ExecContext(t.Context(), "COMMIT"); return err }
		},
		"START TRANSACTION, queried": func(t *testing.T, conn *sql.Conn) func() error {
			if err := caseDrain(conn.QueryContext(t.Context(), "START TRANSACTION")); err != nil {
				t.Error(err)
			}
			return func() error { _, err := conn.ExecContext(t.Context(), "COMMIT"); return err }
		},
		"prepared BEGIN": func(t *testing.T, conn *sql.Conn) func() error {
			if err := caseUses[2].run(t.Context(), conn, "BEGIN"); err != nil {
				t.Error(err)
			}
			return func() error { _, err := conn.ExecContext(t.Context(), "COMMIT"); return err }
		},
	} {
		for _, n := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d connections", name, n), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, n)
					caseOrphan(t, srv, db, caseUpdate)
					conn := casePin(t, db)
					begun := time.Now()
					commit := begin(t, conn)
					caseExec(t, conn, caseUpdate+" WHERE n = 1")
					if err := commit(); err != nil {
						t.Error(err)
					}
					if took := time.Since(begun); took > caseSoon {
						t.Errorf("took %s", took)
					}
					caseSum(t, srv, caseUpdate, 1, 0)
					caseSum(t, srv, caseUpdate+" WHERE n = 1", 1, 1)
				}, caseStays)
			})
		}
	}
}

// TestTransactionOfASessionThatMayLiveIsNotEnded: a statement that is still on its way would
// find the session without it, and commit by itself.
func TestTransactionOfASessionThatMayLiveIsNotEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: 3 * time.Minute}, r.Kind == snowtest.RequestLogout
		})
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: time.Minute, Late: true}, r.SQL == caseRow(1)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, caseUpdate); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, caseRow(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		_ = tx.Rollback()
		for i := range 3 {
			caseUpdates(t, db, fmt.Sprintf("UPDATE u SET n = %d", i))
			time.Sleep(2 * time.Second)
		}
		time.Sleep(10 * time.Minute)
		caseSum(t, srv, caseUpdate, 1, 0)
		caseSum(t, srv, caseRow(1), 1, 0)
		if n := caseAsked(srv); n != 0 {
			t.Errorf("asked %d times", n)
		}
	}, caseStays)
}

// TestTransactionInWhichSeveralStatementsRunOnIsNotEnded: those that come after it would
// commit by themselves.
func TestTransactionInWhichSeveralStatementsRunOnIsNotEnded(t *testing.T) {
	for name, run := range map[string]func(ctx context.Context, tx *sql.Tx) error{
		"several statements": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(gosnowflake.WithMultiStatement(ctx, 2), caseUpdate+"; "+caseRow(1))
			return err
		},
		"a procedure": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "CALL p()")
			return err
		},
		"several statements, asynchronously": func(ctx context.Context, tx *sql.Tx) error {
			res, err := tx.ExecContext(gosnowflake.WithAsyncMode(gosnowflake.WithMultiStatement(ctx, 2)), caseUpdate+"; "+caseRow(1))
			if err == nil {
				_, _ = res.RowsAffected() // gosnowflake waits until somebody asks
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				slowly(srv, "^(UPDATE t|CALL)", 10*time.Second, nil, nil)
				time.AfterFunc(time.Second, func() { srv.AbortSessions() })
				tx := caseBegin(t, db)
				if err := errors.Join(run(t.Context(), tx), tx.Commit()); err == nil {
					t.Error("it succeeded")
				}
				caseUpdates(t, db, "UPDATE u SET n = 1")
				if n := caseAsked(srv); n != 0 {
					t.Errorf("asked %d times", n)
				}
				time.Sleep(time.Minute)
				if n, m := srv.Effects(caseUpdate), srv.Effects(caseRow(1)); n != 0 || m != 0 {
					t.Errorf("took effect %d and %d times", n, m)
				}
			}, caseStays, snowtest.WithInlineWait(500*time.Millisecond))
		})
	}
}

// TestOnlyTheDeadSessionsTransactionIsEnded: those of other connections, of other pools of
// the same user, and those that sessions of other pools have left behind, are not.
func TestOnlyTheDeadSessionsTransactionIsEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var ended []snowtether.Event
		db, other := casePool(t, srv, 3, caseEnded(&ended)), casePool(t, srv, 2)
		live := []*sql.Tx{caseBegin(t, db), caseBegin(t, other)}
		updates := []string{"UPDATE mine SET n = 1", "UPDATE theirs SET n = 1"}
		for i, tx := range live {
			if _, err := tx.ExecContext(t.Context(), updates[i]); err != nil {
				t.Fatal(err)
			}
		}
		theirs := caseBegin(t, other)
		if _, err := theirs.ExecContext(t.Context(), "UPDATE lost SET n = 1"); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions(caseSession(t, theirs))
		dead := caseOrphan(t, srv, db, caseUpdate)
		if took := caseUpdates(t, db, caseUpdate+" WHERE n = 1"); took > caseSoon {
			t.Errorf("took %s", took)
		}
		if len(ended) != 1 || ended[0].OldSessionID != dead || caseAsked(srv) != 2 {
			t.Errorf("asked %d times; ended: %+v", caseAsked(srv), ended)
		}
		for i, tx := range live {
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			caseSum(t, srv, updates[i], 1, 1)
		}
		if took := caseUpdates(t, db, "UPDATE lost SET n = 2"); took < 4*time.Minute {
			t.Errorf("waited only %s for what another pool's session has left", took)
		}
	}, caseStays)
}

// TestEndingAnOrphanIsBestEffort: what goes wrong with it is no error of the BEGIN's, takes
// it 5 s at most, and costs a connection nothing of what its holder has set.
func TestEndingAnOrphanIsBestEffort(t *testing.T) {
	refused := snowtest.Fault{Code: "003001", Message: "Insufficient privileges"}
	hangs := snowtest.Fault{Delay: time.Hour}
	for _, test := range []struct {
		name  string
		at    string // of what is sent
		fault snowtest.Fault
		ended bool // the transaction is ended all the same
		moved bool // the session does not live
	}{
		{name: "the question hangs", at: "SHOW", fault: hangs},
		{name: "the question is refused", at: "SHOW", fault: refused},
		{name: "a gateway stands in between", at: "SHOW", fault: snowtest.Fault{Status: http.StatusServiceUnavailable}},
		{name: "the answer is odd", at: "SHOW", fault: snowtest.Fault{Body: `{"success":true,"data":{"rowtype":[{"name":"id","type":"fixed"},{"name":"SESSION","type":"text"}],"rowset":[["x","1"],[null,null],["1","y"]]}}`}},
		{name: "the answer has no such columns", at: "SHOW", fault: snowtest.Fault{Body: `{"success":true,"data":{"rowtype":[{"name":"status","type":"text"}],"rowset":[["1"]]}}`}},
		{name: "the answer is none", at: "SHOW", fault: snowtest.Fault{Body: "<html>"}},
		{name: "the abort hangs", at: "SELECT SYSTEM", fault: hangs},
		{name: "the abort is refused", at: "SELECT SYSTEM", fault: refused},
		{name: "the session is gone", at: "SHOW", fault: snowtest.Fault{Code: "390111"}, ended: true, moved: true},
		{name: "the session is gone at the abort", at: "SELECT SYSTEM", fault: snowtest.Fault{Code: "390111"}, ended: true, moved: true},
	} {
		for _, begin := range []string{"BeginTx", "BEGIN"} {
			t.Run(test.name+"/"+begin, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 2)
					caseOrphan(t, srv, db, caseUpdate)
					conn := casePin(t, db)
					if !test.moved {
						caseExec(t, conn, "USE SCHEMA elsewhere")
					}
					put := srv.FaultAlways
					if test.moved {
						put = srv.FaultOnce
					}
					put(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return test.fault, strings.HasPrefix(r.SQL, test.at)
					})
					begun := time.Now()
					var commit func() error
					if begin == "BEGIN" {
						caseExec(t, conn, "BEGIN")
						commit = func() error { _, err := conn.ExecContext(t.Context(), "COMMIT"); return err }
					} else {
						commit = caseBegin(t, conn).Commit
					}
					if took := time.Since(begun); took > 6*time.Second {
						t.Errorf("BEGIN took %s", took)
					}
					caseExec(t, conn, caseRow(1))
					begun = time.Now()
					caseExec(t, conn, caseUpdate+" WHERE n = 1")
					if took := time.Since(begun); took < caseSoon != test.ended {
						t.Errorf("the change waited for %s", took)
					}
					if err := commit(); err != nil {
						t.Error(err)
					}
					caseSum(t, srv, caseRow(1), 1, 1)
					caseSum(t, srv, caseUpdate+" WHERE n = 1", 1, 1)
				}, caseStays)
			})
		}
	}
}

// TestOrphansAreNotAskedAboutForEver: a few times, while Snowflake may still keep them, and
// not more than so many at a time.
func TestOrphansAreNotAskedAboutForEver(t *testing.T) {
	hang := func(srv *snowtest.Server) {
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Run: true, Delay: time.Minute}, r.SQL == caseShow
		})
	}
	t.Run("without an answer", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := casePool(t, srv, 1)
			caseOrphan(t, srv, db, caseUpdate)
			hang(srv)
			asked := 0
			for i := range 6 {
				if took := caseUpdates(t, db, fmt.Sprintf("UPDATE u%d SET n = 1", i)); took > time.Second {
					asked++
				}
			}
			if asked != 3 {
				t.Errorf("%d transactions were held up", asked)
			}
		}, caseStays)
	})
	t.Run("much later", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := casePool(t, srv, 1)
			caseOrphan(t, srv, db, caseUpdate)
			time.Sleep(11 * time.Minute)
			caseUpdates(t, db, caseUpdate+" WHERE n = 1")
			if n := caseAsked(srv); n != 0 {
				t.Errorf("asked %d times", n)
			}
		}, caseStays)
	})
	t.Run("too many", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			const n = 105
			db := casePool(t, srv, n)
			var lost []*sql.Tx
			for range n {
				lost = append(lost, caseBegin(t, db))
			}
			srv.AbortSessions()
			for _, tx := range lost {
				_, err := tx.ExecContext(t.Context(), caseRow(0))
				caseLost(t, err, true)
				_ = tx.Rollback()
			}
			caseUpdates(t, db, caseUpdate)
			if n := caseAsked(srv); n != 101 {
				t.Errorf("asked %d times", n)
			}
		}, caseStays)
	})
}

// TestNoOrphanNoQuestion: nothing is asked where no transaction was lost, and where it was,
// once.
func TestNoOrphanNoQuestion(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 2)
		caseUpdates(t, db, "UPDATE a SET n = 1")
		if err := caseBegin(t, db).Rollback(); err != nil {
			t.Error(err)
		}
		srv.AbortSessions()
		caseExec(t, db, caseRow(1)) // which needs a new session
		conn := casePin(t, db)
		caseExec(t, conn, "BEGIN", "UPDATE b SET n = 1", "COMMIT")
		srv.ExpireMasterTokens()
		caseUpdates(t, db, "UPDATE c SET n = 1")
		if n := caseAsked(srv); n != 0 {
			t.Errorf("asked %d times", n)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		caseOrphan(t, srv, db, caseUpdate)
		for i := range 3 {
			caseUpdates(t, db, fmt.Sprintf("UPDATE t SET n = %d", i))
		}
		if n := caseAsked(srv); n != 2 {
			t.Errorf("asked %d times", n)
		}
	}, caseStays)
}

// TestWrappedConnectionIsAskedNothingAboutTransactions: which session it has is not known.
func TestWrappedConnectionIsAskedNothingAboutTransactions(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		c, err := snowtether.WrapConnector(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()), caseLog(srv.Log()))
		if err != nil {
			t.Fatal(err)
		}
		db := testpool.OpenConnector(t, c, 2)
		caseOrphan(t, srv, db, caseUpdate)
		caseUpdates(t, db, "UPDATE u SET n = 1")
		if n := caseAsked(srv); n != 0 {
			t.Errorf("asked %d times", n)
		}
	}, caseStays)
}

// TestBeginHonoursItsContextWhileOrphansAreEnded: at once, and who comes meanwhile does not
// wait for them.
func TestBeginHonoursItsContextWhileOrphansAreEnded(t *testing.T) {
	for _, at := range []string{"SHOW", "SELECT SYSTEM"} {
		t.Run(at, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 2)
				caseOrphan(t, srv, db, caseUpdate)
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return snowtest.Fault{Delay: time.Hour}, strings.HasPrefix(r.SQL, at)
				})
				over := make(chan time.Duration)
				go func() {
					time.Sleep(time.Second)
					over <- caseUpdates(t, db, "UPDATE u SET n = 1")
				}()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				begun := time.Now()
				tx, err := db.BeginTx(ctx, nil)
				if took := time.Since(begun); tx != nil || !errors.Is(err, context.DeadlineExceeded) || took != 2*time.Second {
					t.Errorf("took %s: %v", took, err)
				}
				if took := <-over; took > time.Second {
					t.Errorf("another one waited for %s", took)
				}
				if took := caseUpdates(t, db, caseUpdate+" WHERE n = 1"); took > caseSoon {
					t.Errorf("the next one took %s", took)
				}
			}, caseStays)
		})
	}
}

// TestEndOfAnOrphanIsNothingOfTheCallers: it carries none of what they put into the context
// of a BEGIN statement, and is not what ran last.
func TestEndOfAnOrphanIsNothingOfTheCallers(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 2)
		caseOrphan(t, srv, db, caseUpdate)
		conn := casePin(t, db)
		caseExec(t, conn, "SELECT 7")
		id, ids := gosnowflake.NewUUID(), make(chan string, 1)
		ctx := gosnowflake.WithQueryIDChan(gosnowflake.WithRequestID(gosnowflake.WithQueryTag(t.Context(), "mine"), id), ids)
		if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
			t.Fatal(err)
		}
		begin := <-ids
		var sent []string
		for _, e := range srv.Ledger() {
			if e.RequestID == id.String() {
				sent = append(sent, e.SQL)
			}
			if e.SQL == "BEGIN" && e.RequestID == id.String() && e.QueryID != begin {
				t.Errorf("the ID is %s, want %s", begin, e.QueryID)
			}
		}
		if !slices.Equal(sent, []string{"BEGIN"}) || caseAsked(srv) != 2 {
			t.Errorf("sent with the caller's request ID: %v; asked %d times", sent, caseAsked(srv))
		}
		// The last statement but one is the SELECT, and the session would say another.
		caseLost(t, caseDrain(conn.QueryContext(t.Context(), "SELECT LAST_QUERY_ID(-2)")), false)
	}, caseStays)
}
