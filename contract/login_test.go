package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about logins under stress: how many are sent, when, and what those
// who wait for them see.

// connect opens a pool that has not logged in yet.
func connect(t testing.TB, cfg *gosnowflake.Config, opts ...snowtether.Option) (*sql.DB, *snowtether.Connector) {
	t.Helper()
	c, err := snowtether.NewConnector(cfg, append([]snowtether.Option{quiet}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return testpool.Lazy(t, c), c
}

// outage makes every login fail for a while. It returns when each arrived.
func outage(srv *snowtest.Server, d time.Duration, f snowtest.Fault) *[]time.Duration {
	var mu sync.Mutex
	var at []time.Duration
	begun := time.Now()
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestLogin {
			return snowtest.Fault{}, false
		}
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Since(begun))
		if time.Since(begun) >= d {
			return snowtest.Fault{}, false
		}
		return f, true
	})
	return &at
}

var unavailable = snowtest.Fault{Status: 503}

// withToken makes a connector log in with a token in place of its password.
var withToken = snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
	cfg.Authenticator, cfg.Token = gosnowflake.AuthTypeOAuth, "t0ken"
	return nil
})

// anyToken makes a server take it.
var anyToken = snowtest.WithToken(func(string) error { return nil })

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

// TestWaitingForALoginEndsWithTheContext: at once, wherever in the queue.
func TestWaitingForALoginEndsWithTheContext(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config(), snowtether.WithMaxLogins(1))
		stall(srv, snowtest.RequestLogin, 10*time.Second)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				limit := time.Duration(i+1) * 100 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				begun := time.Now()
				err := db.PingContext(ctx)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != limit {
					t.Errorf("left after %v of %v with %v", time.Since(begun), limit, err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
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

// TestDeadlineIsKeptDuringAnOutage: within 50 ms, with the last failure in the
// error.
func TestDeadlineIsKeptDuringAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config())
		outage(srv, time.Hour, unavailable)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			begun := time.Now()
			err := db.PingContext(ctx)
			took := time.Since(begun)
			cancel()
			if took > 350*time.Millisecond {
				t.Errorf("waited %v", took)
			}
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "503") || errors.Is(err, driver.ErrBadConn) || snowtether.Classify(err) != snowtether.ClassContext {
				t.Errorf("error is %v", err)
			}
		}
	})
}

// TestConnectBudgetBoundsACallerWithoutDeadline: database/sql dials once.
func TestConnectBudgetBoundsACallerWithoutDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config(), snowtether.WithConnectBudget(40*time.Second))
		outage(srv, time.Hour, unavailable)
		begun := time.Now()
		err := db.PingContext(t.Context())
		var se *snowtether.SessionError
		if !errors.As(err, &se) || se.Class != snowtether.ClassTransient || se.Op != "login" {
			t.Errorf("error is %v", err)
		}
		// No context of the caller's has ended.
		if errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "for the connect budget of 40s") || !strings.Contains(err.Error(), "503") {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(begun); took > 40*time.Second {
			t.Errorf("waited %v", took)
		}
	})
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

// TestHangingLoginIsBounded: by a minute, not by gosnowflake's 900 s.
func TestHangingLoginIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config())
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: time.Hour}, r.Kind == snowtest.RequestLogin
		})
		begun := time.Now()
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("the login after the one that hung: %v", err)
		}
		if took := time.Since(begun); took < time.Minute || took > 62*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestWrongPasswordIsSentOnce: 50 goroutines ask twice; gosnowflake sends it a
// hundred times, and five lock the user out.
func TestWrongPasswordIsSentOnce(t *testing.T) {
	for _, ours := range []bool{true, false} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			cfg := srv.Config()
			cfg.Password = "wr0ng-Passw0rd"
			db, _ := connect(t, cfg)
			if !ours {
				db = sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
				defer db.Close()
			}
			var suspended atomic.Int64
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					for range 2 {
						err := db.PingContext(t.Context())
						if err == nil || number(err) != 390100 || errors.Is(err, driver.ErrBadConn) {
							t.Errorf("error is %v, want 390100", err)
						}
						if strings.Contains(fmt.Sprint(err), "wr0ng") {
							t.Errorf("the password is in the error: %v", err)
						}
						if errors.Is(err, snowtether.ErrLoginSuspended) {
							suspended.Add(1)
						}
					}
				})
			}
			wg.Wait()
			n := srv.Stats().LoginFailures
			t.Logf("ours %v: %d logins sent", ours, n)
			if want := map[bool]int{true: 1, false: 100}[ours]; n != want {
				t.Errorf("%d logins, want %d", n, want)
			}
			if want := map[bool]int64{true: 99, false: 0}[ours]; suspended.Load() != want {
				t.Errorf("%d callers were told ErrLoginSuspended, want %d", suspended.Load(), want)
			}
		})
	}
}

// TestLoopWithAWrongPasswordIsCooledDown: at 0, 30, 90 and 210 s in five minutes.
func TestLoopWithAWrongPasswordIsCooledDown(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Password = "wrong"
		db, _ := connect(t, cfg)
		for begun := time.Now(); time.Since(begun) < 5*time.Minute; time.Sleep(50 * time.Millisecond) {
			if err := db.PingContext(t.Context()); err == nil {
				t.Fatal("it succeeded")
			}
		}
		if n := srv.Stats().LoginFailures; n != 4 {
			t.Errorf("%d logins in five minutes, want 4", n)
		}
	})
}

// TestUnknownLoginCodeIsPermanent: it must not lock a user out.
func TestUnknownLoginCodeIsPermanent(t *testing.T) {
	for _, code := range []string{"390100", "390144", "390302", "399999", "123456"} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db, _ := connect(t, srv.Config())
			at := outage(srv, time.Hour, snowtest.Fault{Code: code, Message: "No."})
			for range 5 {
				err := db.PingContext(t.Context())
				if snowtether.Classify(err) != snowtether.ClassPermanent {
					t.Errorf("%s: %v", code, err)
				}
			}
			if len(*at) != 1 {
				t.Errorf("%s: %d logins", code, len(*at))
			}
		})
	}
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

// TestChangedPrincipalIsInTheLog: a hook may do it, but never unheard.
func TestChangedPrincipalIsInTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		role := "ANALYST"
		db := pool(t, srv, 1, snowtether.WithLogger(newLogger(&log)), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			cfg.Role = role
			return nil
		}))
		for _, next := range []string{"ANALYST", "LOADER"} {
			role = next
			srv.AbortSessions()
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(log.String(), "new_role=LOADER") != (next == "LOADER") || strings.Contains(log.String(), "new_role=ANALYST") {
				t.Errorf("log:\n%s", log.String())
			}
		}
	}, snowtest.WithRole("ANALYST", "LOADER"))
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
