package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Logins (docs/guarantees.md): all logins of a connector pass one gate, and in an outage one is
// made per step of the back-off.

// TestLoginsPassOneGate: 64 sessions die at once; never more than eight logins are
// under way, four with a password, and every caller is served.
func TestLoginsPassOneGate(t *testing.T) {
	for name, tt := range map[string]struct {
		most int
		opt  snowtether.Option
	}{
		"password": {4, snowtether.WithTokenSource(nil)},
		"token":    {8, withToken},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 64, tt.opt)
				before := srv.Stats().Logins
				stall(srv, snowtest.RequestLogin, 100*time.Millisecond)
				srv.ExpireMasterTokens()
				begun := time.Now()
				everyone(t, db, 64, 1)
				took := time.Since(begun)
				after := srv.Stats()
				t.Logf("%d logins, at most %d at the same time, all served in %v", after.Logins-before, after.MaxConcurrentLogins, took)
				if n := after.Logins - before; n != 64 {
					t.Errorf("%d logins, want 64", n)
				}
				if after.MaxConcurrentLogins > tt.most {
					t.Errorf("%d logins at the same time", after.MaxConcurrentLogins)
				}
				// So many at a time are so many rounds; one more finds out that logins work.
				if floor := 64 / time.Duration(tt.most) * 100 * time.Millisecond; took > floor+200*time.Millisecond {
					t.Errorf("took %v, the floor is %v", took, floor)
				}
			}, anyToken)
		})
	}
}

// TestOneDeadSessionOf64CostsOneLogin: the others are suspect, are asked once, and
// stay.
func TestOneDeadSessionOf64CostsOneLogin(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 64)
		before := srv.Stats()
		srv.AbortSessions(srv.Sessions()[17].ID)
		everyone(t, db, 64, 4)
		after := srv.Stats()
		if n := after.Logins - before.Logins; n != 1 {
			t.Errorf("%d logins, want 1", n)
		}
	})
}

// TestOutageCostsOneLoginPerStepOfTheBackOff: whoever waits; and nobody fails.
func TestOutageCostsOneLoginPerStepOfTheBackOff(t *testing.T) {
	for _, d := range []time.Duration{2 * time.Second, 30 * time.Second} {
		for name, fault := range map[string]snowtest.Fault{"503": unavailable, "dropped": {Drop: true}, "429": {Status: 429}, "garbage": {Body: "<html>"}} {
			t.Run(fmt.Sprint(d, name), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 50)
					time.Sleep(time.Second) // since the last login
					srv.AbortSessions()
					at := outage(srv, d, fault)
					var wg sync.WaitGroup
					begun := time.Now()
					for i := range 50 {
						wg.Go(func() {
							if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
								t.Errorf("writer %d: %v", i, err)
							}
						})
					}
					wg.Wait()
					during := 0
					for _, when := range *at {
						if when < d {
							during++
						}
					}
					t.Logf("%d logins during %v; last statement %v after its end", during, d, time.Since(begun)-d)
					// 0.5, 1, 2, 4, 8, 16 s, each at least half of it.
					if most := map[bool]int{true: 5, false: 9}[d == 2*time.Second]; during > most {
						t.Errorf("%d logins during the outage, want at most %d", during, most)
					}
					if late := time.Since(begun) - d; late > 24*time.Second {
						t.Errorf("the last statement came %v after the outage", late)
					}
				})
			})
		}
	}
}

// TestBackOffMayStop: then Connect fails without waiting for its budget.
func TestBackOffMayStop(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config(), snowtether.WithBackOff(func() backoff.BackOff {
			return backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Second), 2)
		}))
		at := outage(srv, time.Hour, unavailable)
		for n := 1; n <= 2; n++ { // the next caller begins anew
			if err := db.PingContext(t.Context()); err == nil {
				t.Error("it succeeded")
			}
			if len(*at) != 3*n {
				t.Errorf("%d logins, want %d", len(*at), 3*n)
			}
		}
	})
}

// TestOutageAndRefusalAreLoggedOnce: one line when they begin, not one per login.
func TestOutageAndRefusalAreLoggedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		db, _ := connect(t, srv.Config(), snowtether.WithLogger(newLogger(&log)))
		outage(srv, 10*time.Second, unavailable)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		cfg := srv.Config()
		cfg.Password = "wr0ng-Passw0rd"
		wrong, _ := connect(t, cfg, snowtether.WithLogger(newLogger(&log)))
		for range 3 {
			if err := wrong.PingContext(t.Context()); err == nil {
				t.Fatal("it succeeded")
			}
		}
		for _, line := range []string{"cannot be reached", "can be reached again", "a login was refused"} {
			if n := strings.Count(log.String(), line); n != 1 {
				t.Errorf("%q is in the log %d times:\n%s", line, n, log.String())
			}
		}
		if strings.Contains(log.String(), "wr0ng") {
			t.Errorf("the password is in the log:\n%s", log.String())
		}
	})
}

// TestWarm: opens connections side by side, says how many it got, and refuses what
// could never be.
func TestWarm(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config())
		db.SetMaxIdleConns(16)
		stall(srv, snowtest.RequestLogin, time.Second)
		begun := time.Now()
		if err := snowtether.Warm(t.Context(), db, 9); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != 3*time.Second || db.Stats().Idle != 9 {
			t.Errorf("%d connections in %v", db.Stats().Idle, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		err := snowtether.Warm(ctx, db, 12)
		if err == nil || !strings.Contains(err.Error(), "9 of 12") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("out of time: %v", err)
		}
		db.SetMaxOpenConns(4)
		if err := snowtether.Warm(t.Context(), db, 5); err == nil || !strings.Contains(err.Error(), "MaxOpenConns of 4") {
			t.Errorf("too many: %v", err)
		}
		if err := errors.Join(snowtether.Warm(t.Context(), nil, 1)); err == nil {
			t.Error("nil was taken")
		}
		if err := snowtether.Warm(t.Context(), db, 0); err == nil {
			t.Error("0 was taken")
		}
	})
}

// TestFirstLoginsOfALargePoolAreNotPaced: one that was slow to be made known counted
// all that had come after it, and the sessions of those not.
func TestFirstLoginsOfALargePoolAreNotPaced(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		var opened atomic.Int64
		pool(t, srv, 64, snowtether.WithEventHook(func(e snowtether.Event) {
			j.hook(e)
			if e.Kind == snowtether.EventOpened && opened.Add(1) == 2 {
				time.Sleep(time.Second)
			}
		}))
		if paced := j.of(snowtether.EventPacingBegan); len(paced) > 0 {
			t.Errorf("%+v", paced)
		}
	})
}

// TestOutageOfLoginsThatNobodyNeedsIsOver: statements are answered, and the caller whose login
// failed has left. While somebody waits for a login it goes on.
// Before: it was told of for as long as the pool needed no session.
func TestOutageOfLoginsThatNobodyNeedsIsOver(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db := pool(t, srv, 1, snowtether.WithEventHook(j.hook))
		conn := pin(t, db)
		db.SetMaxOpenConns(2)
		down := noLogins(srv)
		answered := func(d time.Duration) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Second) {
				mustExec(t, conn, "SELECT 1")
			}
		}
		told := func(want string) {
			t.Helper()
			got := ""
			for _, e := range j.heard() {
				if e.Kind == snowtether.EventOutageBegan || e.Kind == snowtether.EventOutageEnded {
					got += string(e.Kind) + " "
				}
			}
			if got != want {
				t.Errorf("told of %q, want %q", got, want)
			}
		}
		waiting := make(chan error)
		go func() { waiting <- db.PingContext(within(t, 5*time.Minute)) }()
		answered(4 * time.Minute)
		told("outage_began ")
		if err := <-waiting; err == nil {
			t.Error("a login succeeded")
		}
		answered(2 * time.Minute)
		told("outage_began outage_ended ")
		if _, err := db.Conn(within(t, 2*time.Second)); err == nil {
			t.Error("a login succeeded")
		}
		answered(10 * time.Second) // somebody may be about to ask again
		told("outage_began outage_ended outage_began ")
		down.Store(false)
		mustPing(t, db)
		told("outage_began outage_ended outage_began outage_ended ")
	})
}

// TestFailingStatementsDoNotPaceLogins: the server has answered, so its sessions
// are of use.
func TestFailingStatementsDoNotPaceLogins(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		srv.Handle("^SELECT broken", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "002003", SQLState: "42S02", Message: "Object does not exist"}
		})
		db := pool(t, srv, 1)
		db.SetMaxIdleConns(0)
		begun := time.Now()
		for range 40 {
			if _, err := db.ExecContext(t.Context(), "SELECT broken"); number(err) != 2003 {
				t.Errorf("error is %v", err)
			}
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestAbsurdlyShortSessionsArePaced: a server that ends sessions right after their
// login is not asked in a loop, and one warning says so.
func TestAbsurdlyShortSessionsArePaced(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		db := pool(t, srv, 4, snowtether.WithLogger(newLogger(&log)))
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestQuery {
				return snowtest.Fault{}, false
			}
			srv.AbortSessions()
			return snowtest.Fault{}, false
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					exec := db.ExecContext
					if i%2 == 1 { // that a statement was prepared proves nothing
						exec = func(ctx context.Context, query string, args ...any) (sql.Result, error) {
							stmt, err := db.PrepareContext(ctx, query)
							if err != nil {
								return nil, err
							}
							defer stmt.Close()
							return stmt.ExecContext(ctx, args...)
						}
					}
					if _, err := exec(ctx, row(i)); err == nil {
						t.Error("it succeeded")
					}
				}
			})
		}
		wg.Wait()
		n := srv.Stats().Logins
		t.Logf("%d logins in an hour", n)
		if n > 400 {
			t.Errorf("%d logins in an hour", n)
		}
		if c := strings.Count(log.String(), "sessions end before they can be used"); c != 1 {
			t.Errorf("%d warnings:\n%s", c, log.String())
		}
	})
}
