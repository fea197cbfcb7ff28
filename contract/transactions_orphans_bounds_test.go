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

	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): ending what others left is best effort: it holds a BEGIN up
// for 5 s at the most, costs nobody their state, and nothing is asked where nothing was lost.

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
					db := pool(t, srv, 2)
					orphan(t, srv, db, updateOne)
					conn := pin(t, db)
					if !test.moved {
						mustExec(t, conn, "USE SCHEMA elsewhere")
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
						mustExec(t, conn, "BEGIN")
						commit = func() error { _, err := conn.ExecContext(t.Context(), "COMMIT"); return err }
					} else {
						commit = mustBegin(t, conn).Commit
					}
					if took := time.Since(begun); took > 6*time.Second {
						t.Errorf("BEGIN took %s", took)
					}
					mustExec(t, conn, row(1))
					begun = time.Now()
					mustExec(t, conn, updateOne+" WHERE n = 1")
					if took := time.Since(begun); took < soonEnough != test.ended {
						t.Errorf("the change waited for %s", took)
					}
					if err := commit(); err != nil {
						t.Error(err)
					}
					checkRan(t, srv, row(1), 1, 1)
					checkRan(t, srv, updateOne+" WHERE n = 1", 1, 1)
				}, keptAsSeen)
			})
		}
	}
}

// TestOrphansAreNotAskedAboutForEver: a few times, while Snowflake may still keep them, and
// not more than so many at a time.
func TestOrphansAreNotAskedAboutForEver(t *testing.T) {
	hang := func(srv *snowtest.Server) {
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Run: true, Delay: time.Minute}, r.SQL == showTransactions
		})
	}
	t.Run("without an answer", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			orphan(t, srv, db, updateOne)
			hang(srv)
			asked := 0
			for i := range 6 {
				if took := updateInTx(t, db, fmt.Sprintf("UPDATE u%d SET n = 1", i)); took > time.Second {
					asked++
				}
			}
			if asked != 3 {
				t.Errorf("%d transactions were held up", asked)
			}
		}, keptAsSeen)
	})
	t.Run("much later", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			orphan(t, srv, db, updateOne)
			time.Sleep(11 * time.Minute)
			updateInTx(t, db, updateOne+" WHERE n = 1")
			if n := timesAsked(srv); n != 0 {
				t.Errorf("asked %d times", n)
			}
		}, keptAsSeen)
	})
	t.Run("too many", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			const n = 105
			db := pool(t, srv, n)
			var lost []*sql.Tx
			for range n {
				lost = append(lost, mustBegin(t, db))
			}
			srv.AbortSessions()
			for _, tx := range lost {
				_, err := tx.ExecContext(t.Context(), row(0))
				isLost(t, err, true)
				_ = tx.Rollback()
			}
			updateInTx(t, db, updateOne)
			if n := timesAsked(srv); n != 101 {
				t.Errorf("asked %d times", n)
			}
		}, keptAsSeen)
	})
}

// TestNoOrphanNoQuestion: nothing is asked where no transaction was lost, and where it was,
// once.
func TestNoOrphanNoQuestion(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2)
		updateInTx(t, db, "UPDATE a SET n = 1")
		if err := mustBegin(t, db).Rollback(); err != nil {
			t.Error(err)
		}
		srv.AbortSessions()
		mustExec(t, db, row(1)) // which needs a new session
		conn := pin(t, db)
		mustExec(t, conn, "BEGIN", "UPDATE b SET n = 1", "COMMIT")
		srv.ExpireMasterTokens()
		updateInTx(t, db, "UPDATE c SET n = 1")
		if n := timesAsked(srv); n != 0 {
			t.Errorf("asked %d times", n)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		orphan(t, srv, db, updateOne)
		for i := range 3 {
			updateInTx(t, db, fmt.Sprintf("UPDATE t SET n = %d", i))
		}
		if n := timesAsked(srv); n != 2 {
			t.Errorf("asked %d times", n)
		}
	}, keptAsSeen)
}

// TestBeginHonoursItsContextWhileOrphansAreEnded: at once, and who comes meanwhile does not
// wait for them.
func TestBeginHonoursItsContextWhileOrphansAreEnded(t *testing.T) {
	for _, at := range []string{"SHOW", "SELECT SYSTEM"} {
		t.Run(at, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 2)
				orphan(t, srv, db, updateOne)
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return snowtest.Fault{Delay: time.Hour}, strings.HasPrefix(r.SQL, at)
				})
				over := make(chan time.Duration)
				go func() {
					time.Sleep(time.Second)
					over <- updateInTx(t, db, "UPDATE u SET n = 1")
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
				if took := updateInTx(t, db, updateOne+" WHERE n = 1"); took > soonEnough {
					t.Errorf("the next one took %s", took)
				}
			}, keptAsSeen)
		})
	}
}

// TestEndOfAnOrphanIsNothingOfTheCallers: it carries none of what they put into the context
// of a BEGIN statement, and is not what ran last.
func TestEndOfAnOrphanIsNothingOfTheCallers(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2)
		orphan(t, srv, db, updateOne)
		conn := pin(t, db)
		mustExec(t, conn, "SELECT 7")
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
		if !slices.Equal(sent, []string{"BEGIN"}) || timesAsked(srv) != 2 {
			t.Errorf("sent with the caller's request ID: %v; asked %d times", sent, timesAsked(srv))
		}
		// The last statement but one is the SELECT, and the session would say another.
		isLost(t, drain(conn.QueryContext(t.Context(), "SELECT LAST_QUERY_ID(-2)")), false)
	}, keptAsSeen)
}

// unanswered holds back what is answered about transactions, and to cancellings, until the
// function is called.
func unanswered(srv *snowtest.Server) (release func()) {
	held := make(chan struct{})
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind == snowtest.RequestQuery && r.SQL == showTransactions || r.Kind == snowtest.RequestAbort {
			return snowtest.Fault{Hold: held}, true
		}
		return snowtest.Fault{}, false
	})
	return sync.OnceFunc(func() { close(held) })
}

// TestBeginIsHeldUpOnceByWhatOthersLeft: for the 5 s that are meant for it, also where
// neither the question nor its cancelling is answered.
// Before: 45 s and three sessions.
func TestBeginIsHeldUpOnceByWhatOthersLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		orphan(t, srv, db, updateOne)
		logins := srv.Stats().Logins
		release := unanswered(srv)
		defer release()
		begun := time.Now()
		tx := mustBegin(t, db)
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("BEGIN took %v", took)
		}
		release()
		if n := srv.Stats().Logins - logins; n > 2 {
			t.Errorf("it cost %d logins", n)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}, snowtest.WithDetachedTransactions(time.Hour))
}

// TestEndingWhatOthersLeftCostsNobodyTheirState: it is done on a session that has none.
// Before: a pinned connection lost its schema, because SHOW TRANSACTIONS was slow.
func TestEndingWhatOthersLeftCostsNobodyTheirState(t *testing.T) {
	for _, s := range sessionSettings {
		t.Run(s.kind, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 2)
				conn := pin(t, db)
				mustExec(t, conn, s.set)
				orphan(t, srv, db, updateOne)
				release := unanswered(srv)
				defer release()
				time.AfterFunc(18*time.Second, release)
				for i := range 2 {
					tx, err := conn.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					mustExec(t, tx, row(i))
					if err := tx.Commit(); err != nil {
						t.Error(err)
					}
					checkRan(t, srv, row(i), 1, 1)
				}
			})
		})
	}
}
