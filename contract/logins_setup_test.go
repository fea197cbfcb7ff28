package contract_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Logins (docs/guarantees.md): what a program does with a new session before its first use holds no
// other login up. The server has taken the login by then, so nothing of it says how logins go.

// TestSetUpHoldsNoOtherLoginUp: a password is known to be right when its login has been
// accepted, whatever the program then does with the session.
// Before: 64 sessions that take 5 s to set up took a minute and a half, 4 at a time.
func TestSetUpHoldsNoOtherLoginUp(t *testing.T) {
	for _, authenticator := range []gosnowflake.AuthType{gosnowflake.AuthTypeSnowflake, gosnowflake.AuthTypeOAuth} {
		t.Run(authenticator.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				if cfg.Authenticator = authenticator; authenticator == gosnowflake.AuthTypeOAuth {
					cfg.Token = srv.Token()
				}
				begun := time.Now()
				poolOf(t, cfg, 64, snowtether.WithMaxLogins(64), snowtether.WithAfterConnect(func(context.Context, driver.Conn) error {
					time.Sleep(5 * time.Second)
					return nil
				}))
				if took := time.Since(begun); took > 30*time.Second {
					t.Errorf("64 logins took %v", took)
				}
			})
		})
	}
}

// TestSetUpThatHangsDoesNotHoldTheGate: gosnowflake would try to cancel it for a
// quarter of an hour, and no login of the connector would be let through.
func TestSetUpThatHangsDoesNotHoldTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		release := make(chan struct{})
		held := 0
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if held == 2 || r.Kind != snowtest.RequestQuery && r.Kind != snowtest.RequestAbort {
				return snowtest.Fault{}, false
			}
			held++
			return snowtest.Fault{Hold: release}, true
		})
		db, _ := connect(t, srv.Config(), snowtether.WithSessionInit("USE ROLE r"))
		begun := time.Now()
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 65*time.Second {
			t.Errorf("the gate was held for %v", took)
		}
		close(release)
	})
}

// TestSetUpThatHangsHoldsUpNobodyElse: after a loss one login goes first. Once it has been
// taken, the next goes, whatever the hook of the first one does.
// Before: all waited for that, up to the minute that a set-up may take, and behind an outage
// their budget could end.
func TestSetUpThatHangsHoldsUpNobodyElse(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var armed atomic.Bool
		db, _ := connect(t, srv.Config(), snowtether.WithAfterConnect(func(context.Context, driver.Conn) error {
			if armed.CompareAndSwap(true, false) {
				time.Sleep(time.Hour)
			}
			return nil
		}))
		db.SetMaxOpenConns(8)
		db.SetMaxIdleConns(8)
		var ready, done sync.WaitGroup
		begin := make(chan struct{})
		var late atomic.Int64
		for range 8 {
			ready.Add(1)
			done.Go(func() {
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Error(err)
				}
				ready.Done()
				<-begin
				defer conn.Close()
				begun := time.Now()
				if _, err := conn.ExecContext(t.Context(), insert); err != nil || time.Since(begun) > 5*time.Second {
					late.Add(1)
				}
			})
		}
		ready.Wait()
		srv.AbortSessions()
		armed.Store(true)
		close(begin)
		done.Wait()
		if n := late.Load(); n > 1 {
			t.Errorf("%d of 8 were held up by a hook that hung once", n)
		}
		time.Sleep(2 * time.Hour)
	}, snowtest.AllowRepeats())
}

// TestSetUpThatFailsIsOneLine: at Warn, with what to do, however many callers meet it; and once
// more when it fails again after a session that could be set up. What passes by itself is none.
func TestSetUpThatFailsIsOneLine(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		fail := func() error { return errors.New("no such schema") }
		var fails atomic.Pointer[func() error]
		fails.Store(&fail)
		db, _ := connect(t, srv.Config(), snowtether.WithLogger(slog.New(&j)), snowtether.WithAfterConnect(func(context.Context, driver.Conn) error { return (*fails.Load())() }))
		ping := func(want string) {
			t.Helper()
			db.SetMaxIdleConns(0) // each ping needs a session of its own
			for range 3 {
				err := db.PingContext(within(t, time.Minute))
				if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("the error is %v, want %q in it", err, want)
				}
			}
		}
		lines := func(n int) {
			t.Helper()
			got := 0
			for _, r := range j.written() {
				if r.Level >= slog.LevelInfo && attr(r, "event") == string(snowtether.EventSetUpFailed) {
					got++
					if r.Level != slog.LevelWarn || !strings.Contains(attr(r, "remedy"), "WithAfterConnect") {
						t.Errorf("the line is at %v and says %q", r.Level, attr(r, "remedy"))
					}
				}
			}
			if got != n {
				t.Errorf("%d lines, want %d", got, n)
			}
		}
		ping("the login succeeded, but its session could not be set up and was closed; correct what failed: the hook after the login failed: no such schema")
		lines(1)
		well := func() error { return nil }
		fails.Store(&well)
		ping("")
		fails.Store(&fail)
		ping("no such schema")
		lines(2)
		fails.Store(&well)
		ping("")
		passing := func() error { return context.DeadlineExceeded }
		fails.Store(&passing)
		ping("deadline exceeded")
		lines(2)
	})
}

// TestSetUpThatFailsForNowIsNoOutage: each login is taken. It is an event of its own, and logins
// rest as after a failure: there are few, and not one for each caller and moment.
func TestSetUpThatFailsForNowIsNoOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var outages, failed atomic.Int64
		db, _ := connect(t, srv.Config(), snowtether.WithMaxLogins(4),
			snowtether.WithAfterConnect(func(context.Context, driver.Conn) error { return context.DeadlineExceeded }),
			snowtether.WithEventHook(func(e snowtether.Event) {
				switch e.Kind {
				case snowtether.EventOutageBegan:
					outages.Add(1)
				case snowtether.EventSetUpFailed:
					failed.Add(1)
				}
			}))
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				err := db.PingContext(within(t, 100*time.Second))
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		time.Sleep(time.Minute)
		logins := srv.Stats().Logins
		if outages.Load() != 0 || failed.Load() != int64(logins) {
			t.Errorf("%d outages, %d failures of set-ups for %d logins", outages.Load(), failed.Load(), logins)
		}
		if logins < 4 || logins > 80 {
			t.Errorf("%d logins in 100 s", logins)
		}
		t.Logf("%d logins", logins)
	})
}

// TestOutageIsNotOverByALoginBeforeIt: that one was taken, and its session is being set up, when
// Snowflake can be reached no more.
// Before: the outage was over as soon as that session was ready, and the next login did not rest,
// which it did not either where the set-up failed for good.
func TestOutageIsNotOverByALoginBeforeIt(t *testing.T) {
	own := errors.New("the hook's own")
	for _, tt := range []struct {
		name  string
		fault snowtest.Fault
		hook  error
	}{
		{"503", snowtest.Fault{Status: 503}, nil}, {"429", snowtest.Fault{Status: 429}, nil}, {"nobody answers", snowtest.Fault{Drop: true}, nil},
		{"the set-up fails", snowtest.Fault{Status: 503}, own},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var j journal
				settingUp, ready, set := make(chan struct{}, 4), make(chan struct{}), tt.hook
				db, c := connect(t, srv.Config(), snowtether.WithEventHook(j.hook), snowtether.WithBackOff(func() backoff.BackOff { return backoff.NewConstantBackOff(10 * time.Second) }),
					snowtether.WithAfterConnect(func(context.Context, driver.Conn) error {
						settingUp <- struct{}{}
						<-ready
						return set
					}))
				times := loginTimes(srv, snowtest.Fault{}, tt.fault)
				first := make(chan error)
				go func() { first <- db.PingContext(t.Context()) }()
				<-settingUp
				if err := db.PingContext(within(t, time.Second)); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the login behind it: %v", err)
				}
				close(ready)
				if err := <-first; !errors.Is(err, tt.hook) {
					t.Errorf("the login whose session was set up: %v", err)
				}
				set = nil
				time.Sleep(time.Second)
				if state := c.Snapshot().Gate.State; state != snowtether.GateProbing || len(j.of(snowtether.EventOutageEnded)) != 0 {
					t.Errorf("the gate is %v, and the outage was over %d times", state, len(j.of(snowtether.EventOutageEnded)))
				}
				if tt.hook == nil {
					pin(t, db) // the first session
				}
				if err := db.PingContext(t.Context()); err != nil {
					t.Error(err)
				}
				if at := times(); len(at) != 3 || at[2]-at[1] < 10*time.Second {
					t.Errorf("logins at %v", at)
				}
				if n := len(j.of(snowtether.EventOutageEnded)); n != 1 {
					t.Errorf("the outage was over %d times", n)
				}
			})
		})
	}
}

// TestLoginThatIsCutShortSaysWhyTheLastOneFailed: the caller's time ends while a login is under way.
// Whether it does so then or between two logins is chance.
// Before: what the caller read was "a login was still under way".
func TestLoginThatIsCutShortSaysWhyTheLastOneFailed(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var hooks atomic.Int64
		failed := errors.New("the directory is away")
		db, _ := connect(t, srv.Config(), snowtether.WithAfterConnect(func(ctx context.Context, _ driver.Conn) error {
			if hooks.Add(1) == 1 {
				return errors.Join(failed, context.DeadlineExceeded)
			}
			<-ctx.Done()
			return ctx.Err()
		}))
		err := db.PingContext(within(t, 30*time.Second))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, failed) || snowtether.Classify(err) != snowtether.ClassContext {
			t.Errorf("error is %v", err)
		}
		time.Sleep(2 * time.Minute)
	})
}
