package contract_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about statements whose callers have left: they are cancelled, whatever has
// become of their session.

// TestStatementIsCancelledWhateverBecameOfItsSession: while the server holds its request,
// while it is polled, while it is carried over.
// Before: gosnowflake's cancelling was refused with the session, and it ran on.
func TestStatementIsCancelledWhateverBecameOfItsSession(t *testing.T) {
	const query = "UPDATE t SET n = 1" // would take an hour
	for name, test := range map[string]struct {
		ends, leaves time.Duration
		down         time.Duration // for how long logins fail, from the session's end on
	}{
		"session ended while the request was held":    {10 * time.Second, 20 * time.Second, 0},
		"the same, logins down":                       {10 * time.Second, 20 * time.Second, time.Minute},
		"session ended before the next poll":          {time.Minute, 61 * time.Second, 0},
		"session ended, logins down":                  {time.Minute, 2 * time.Minute, 90 * time.Second},
		"carried over":                                {time.Minute, 10 * time.Minute, 0},
		"session ended at the moment the caller left": {time.Minute, time.Minute, 0},
	} {
		for _, use := range caseUses {
			t.Run(name+"/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 1)
					slowly(srv, "^UPDATE", time.Hour, caseCount(snowtest.KindUpdate, "updated", 1), nil)
					time.AfterFunc(test.ends, func() {
						srv.AbortSessions()
						if test.down > 0 {
							on := caseNoLogins(srv)
							time.AfterFunc(test.down, func() { on.Store(false) })
						}
					})
					ctx, cancel := context.WithTimeout(t.Context(), test.leaves)
					defer cancel()
					begun := time.Now()
					if err := use.run(ctx, db, query); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("error is %v", err)
					}
					if d := time.Since(begun); d != test.leaves {
						t.Errorf("it returned after %v", d)
					}
					time.Sleep(5 * time.Minute)
					for _, e := range srv.Ledger() {
						if e.SQL == query && (e.State == snowtest.Running || e.State == snowtest.Succeeded) {
							t.Errorf("it has state %v", e.State)
						}
					}
					caseSum(t, srv, query, 1, 0)
				})
			})
		}
	}
}

// TestAsynchronousStatementsOfTheSessionAreNotCancelledWithIt: what is cancelled is the
// statement whose caller left.
func TestAsynchronousStatementsOfTheSessionAreNotCancelledWithIt(t *testing.T) {
	const query = "UPDATE t SET n = 1"
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		slowly(srv, "^UPDATE|^DELETE", 30*time.Minute, caseCount(snowtest.KindUpdate, "updated", 1), nil)
		res, err := conn.ExecContext(gosnowflake.WithAsyncMode(t.Context()), "DELETE FROM t")
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*time.Second, func() { srv.AbortSessions() })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := conn.ExecContext(ctx, query); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		time.Sleep(time.Hour)
		caseSum(t, srv, "DELETE FROM t", 1, 1)
		_, _ = res.RowsAffected() // gosnowflake's goroutine waits for somebody to ask
	})
}

// TestLogOutWaitsForAsynchronousStatements: a log-out cancels the session's asynchronous
// statements, so a session that has some is closed without telling the server, and an event
// says so. Before: the pool closed the connection of an INSERT that was accepted
// (SetMaxIdleConns, a maximum life), and the log-out went out while it ran.
func TestLogOutWaitsForAsynchronousStatements(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j caseEvents
		db := casePool(t, srv, 1, snowtether.WithEventHook(j.hook))
		slowly(srv, "^INSERT", 10*time.Minute, caseCount(snowtest.KindInsert, "inserted", 1), nil)
		var running, early atomic.Bool
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestLogout && running.Load() {
				early.Store(true)
			}
			return snowtest.Fault{}, false
		})
		res, err := db.ExecContext(gosnowflake.WithAsyncMode(t.Context()), caseRow(1))
		if err != nil {
			t.Fatal(err)
		}
		running.Store(true)
		db.SetMaxIdleConns(0) // closes it
		time.Sleep(time.Minute)
		running.Store(false)
		if early.Load() {
			t.Error("its session was logged out while the INSERT ran; an account cancels it with that")
		}
		if left := j.of(snowtether.EventLeftOpen); len(left) != 1 || left[0].SessionID == 0 || len(j.of(snowtether.EventClosed)) != 0 {
			t.Errorf("events: %+v", left)
		}
		_, _ = res.RowsAffected()
	}, snowtest.AllowOpenSessions())
}
