package contract_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what a call may wait for: one budget in all, no login of long ago, and
// no guard that never lets go.

// TestCallWaitsForOneBudgetFromItsLoginOn: what its connection's first login has waited for
// is gone from it.
// Before: a login that took most of a budget, and a statement that had one of its own, made
// 3 minutes 48 seconds.
func TestCallWaitsForOneBudgetFromItsLoginOn(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, db *sql.DB) error{
		"exec": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, caseRow(1))
			return err
		},
		"query": func(ctx context.Context, db *sql.DB) error { return caseDrain(db.QueryContext(ctx, "SELECT 1")) },
		"begin": func(ctx context.Context, db *sql.DB) error {
			_, err := db.BeginTx(ctx, nil)
			return err
		},
		"ping": func(ctx context.Context, db *sql.DB) error { return db.PingContext(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				db.SetMaxIdleConns(0) // the call logs in
				time.Sleep(time.Minute)
				begun := time.Now()
				var in atomic.Bool // one login gets through, late, to a session that has ended
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					switch r.Kind {
					case snowtest.RequestLogin:
						late := time.Since(begun) > 90*time.Second
						return snowtest.Fault{Status: 503}, !late || in.Swap(true)
					case snowtest.RequestQuery:
						return snowtest.Fault{Code: "390111", Message: "Session no longer exists."}, true
					}
					return snowtest.Fault{}, false
				})
				if err := call(context.Background(), db); snowtether.Classify(err) != snowtether.ClassTransient {
					t.Errorf("error is %v", err)
				}
				if took := time.Since(begun); !in.Load() || took > 150*time.Second {
					t.Errorf("it waited for %v", took)
				}
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestSlowLoginOfLongAgoDelaysNobody: it says nothing of the server's load of today.
// Before: a caller's deadline passed without a login, because one had taken 50 s the day
// before.
func TestSlowLoginOfLongAgoDelaysNobody(t *testing.T) {
	for _, ago := range []time.Duration{20 * time.Minute, 24 * time.Hour} {
		for i := range 8 { // the wait was a random one
			t.Run(fmt.Sprint(ago, i), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return snowtest.Fault{Delay: 50 * time.Second}, r.Kind == snowtest.RequestLogin
					})
					db := casePool(t, srv, 1)
					for begun := time.Now(); time.Since(begun) < ago; time.Sleep(20 * time.Minute) {
						if err := db.PingContext(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					srv.AbortSessions()
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					begun := time.Now()
					err := db.PingContext(ctx)
					if took := time.Since(begun); err != nil || took > time.Second {
						t.Errorf("after %v: %v", took, err)
					}
				})
			})
		}
	}
}

// TestGuardThatAlwaysSaysWaitStopsNobody: its bound is less than what a caller without a
// deadline waits for, so that the login is sent for somebody.
// Before: each caller left as its login was sent, and each session was thrown away.
func TestGuardThatAlwaysSaysWaitStopsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := caseWithGuard(t, srv.Config(), 5, &caseGuard{before: func(context.Context, int) (time.Duration, error) { return time.Hour, nil }})
		caseCrowd(t, 5, 1, 0, func(context.Context) error {
			_, err := db.ExecContext(context.Background(), "SELECT 1")
			if err != nil {
				t.Error(err)
			}
			return err
		})
		if n := srv.Stats().Logins; n > 5 {
			t.Errorf("%d logins for 5 callers", n)
		}
	})
}
