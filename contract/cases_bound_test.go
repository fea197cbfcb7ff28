package contract_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about waiting: without a deadline of the caller's it ends by itself,
// whatever is waited for.

// TestCarryingOverToSessionsThatDoNotLastEnds: each new session is ended at once, and so
// is the waiting, in the end.
func TestCarryingOverToSessionsThatDoNotLastEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		slowly(srv, "^UPDATE", 2*time.Minute, caseCount(snowtest.KindUpdate, "updated", 1), nil)
		var bad atomic.Bool
		var logins atomic.Int32
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			switch r.Kind {
			case snowtest.RequestLogin:
				logins.Add(1)
			case snowtest.RequestQuery, snowtest.RequestResult, snowtest.RequestMonitor:
				return snowtest.Fault{Code: "390111"}, bad.Load()
			}
			return snowtest.Fault{}, false
		})
		time.AfterFunc(time.Minute, func() { bad.Store(true) })
		begun := time.Now()
		_, err := conn.ExecContext(context.Background(), "UPDATE t SET n = 1")
		caseDoubt(t, err, false)
		if d, n := time.Since(begun), logins.Load(); d > 10*time.Minute || n > 50 {
			t.Errorf("it took %v and %d logins: %v", d, n, err)
		}
	})
}

// TestCallerWithoutDeadlineWaitsForTheBudgetOnce: each login takes most of the budget,
// and each session is gone at its first statement.
func TestCallerWithoutDeadlineWaitsForTheBudgetOnce(t *testing.T) {
	const budget = time.Minute
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1, snowtether.WithConnectBudget(budget))
		caseExec(t, db, "SELECT 1")
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			switch {
			case r.Kind == snowtest.RequestLogin:
				return snowtest.Fault{Delay: budget * 9 / 10}, true
			case r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 2":
				return snowtest.Fault{Code: "390111"}, true
			}
			return snowtest.Fault{}, false
		})
		begun := time.Now()
		_, err := db.ExecContext(context.Background(), "SELECT 2")
		if d := time.Since(begun); d > 2*budget {
			t.Errorf("a caller without a deadline waited for %v with a budget of %v: %v", d, budget, err)
		}
	})
}

// TestQuestionWithoutAnAnswerIsNotWaitedFor: sessions are suspect, and the server takes
// the question about one and says nothing.
func TestQuestionWithoutAnAnswerIsNotWaitedFor(t *testing.T) {
	const budget = time.Minute
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 2, snowtether.WithConnectBudget(budget))
		one, two := casePin(t, db), casePin(t, db)
		caseExec(t, one, "SELECT 2")
		caseExec(t, two, "SELECT 2")
		_ = two.Close()
		srv.AbortSessions(srv.Sessions()[0].ID)
		caseExec(t, one, "SELECT 3") // which may or may not be the one
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: 24 * time.Hour}, r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 1"
		})
		begun := time.Now()
		err := caseDrain(db.QueryContext(context.Background(), "SELECT 4"))
		if d := time.Since(begun); d > 2*budget {
			t.Errorf("waited %v for a question that the driver asks by itself: %v", d, err)
		}
	})
}

// TestSilenceDuringACarryOverIsBounded: the server takes the questions about a statement
// and says nothing. Where it has said that the statement runs, it is believed; else the
// statement is in doubt in the end.
func TestSilenceDuringACarryOverIsBounded(t *testing.T) {
	for _, kind := range []snowtest.RequestKind{snowtest.RequestMonitor, snowtest.RequestResult} {
		t.Run(kind.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := casePin(t, casePool(t, srv, 1))
				slowly(srv, "^UPDATE", 10*time.Minute, caseCount(snowtest.KindUpdate, "updated", 1), nil)
				caseEndAt(srv, time.Minute)
				begun := time.Now()
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return snowtest.Fault{Delay: 48 * time.Hour}, r.Kind == kind && time.Since(begun) > 2*time.Minute
				})
				_, err := conn.ExecContext(context.Background(), "UPDATE t SET n = 1")
				if d := time.Since(begun); d > 30*time.Minute {
					t.Errorf("waited %v: %v", d, err)
				}
				caseDoubt(t, err, false)
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestResultThatIsNotAnsweredIsAskedForAgain: a question for the result that is not
// answered is asked again: nothing is cancelled.
func TestResultThatIsNotAnsweredIsAskedForAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		slowly(srv, "^UPDATE", 10*time.Minute, caseCount(snowtest.KindUpdate, "updated", 1), nil)
		caseEndAt(srv, time.Minute)
		begun, left := time.Now(), 2
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestResult || time.Since(begun) < 2*time.Minute || left == 0 {
				return snowtest.Fault{}, false
			}
			left--
			return snowtest.Fault{Delay: 48 * time.Hour}, true
		})
		res, err := conn.ExecContext(t.Context(), "UPDATE t SET n = 1")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := res.RowsAffected(); n != 1 || err != nil {
			t.Errorf("%d rows, %v", n, err)
		}
	}, snowtest.AllowOpenSessions())
}

// TestRunningSpendsNoPatience: a read finds its session dead, gets another one
// within a second, and runs there for 3 minutes; then that session ends. It has waited
// for nothing, but the budget of 2 minutes is taken to be gone (patience.since is the
// first failure's, and nothing renews it when a login or a question has succeeded): it
// fails with "budget over" and not one login is tried. Right: patience counts what was
// waited for, or is renewed when Snowflake was reached.
func TestRunningSpendsNoPatience(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1, snowtether.WithResume(false))
		slowly(srv, "FROM big", 4*time.Minute, snowtest.Rows([]string{"N"}, []any{1}), nil)
		srv.AbortSessions()
		caseEndAt(srv, 3*time.Minute)
		begun := time.Now()
		if err := caseDrain(db.QueryContext(context.Background(), "SELECT n FROM big")); err != nil {
			t.Errorf("after %v and %d logins: %v", time.Since(begun), srv.Stats().Logins, err)
		}
	})
}
