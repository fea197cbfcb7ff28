package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"
	"runtime"
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

// Logins (docs/guarantees.md): what is said to a login from outside, by the program's guard and by
// the server that turns it away, is heeded, and a guard that misbehaves holds logins up for no longer
// than its bound.

// countingGuard is a login guard that keeps what it hears. before may be nil.
type countingGuard struct {
	before func(ctx context.Context, n int) (time.Duration, error)

	mu       sync.Mutex
	asked    []snowtether.LoginAttempt
	told     []snowtether.LoginAttempt
	outcomes []snowtether.LoginOutcome
}

func (g *countingGuard) Before(ctx context.Context, login snowtether.LoginAttempt) (time.Duration, error) {
	g.mu.Lock()
	g.asked = append(g.asked, login)
	n, before := len(g.asked), g.before
	g.mu.Unlock()
	if before == nil {
		return 0, nil
	}
	return before(ctx, n)
}

func (g *countingGuard) After(_ context.Context, login snowtether.LoginAttempt, outcome snowtether.LoginOutcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.told = append(g.told, login)
	g.outcomes = append(g.outcomes, outcome)
}

// calls says how often the guard was asked and told.
func (g *countingGuard) calls() (asked, told int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.asked), len(g.told)
}

// heard is what it was told.
func (g *countingGuard) heard() []snowtether.LoginOutcome {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.outcomes)
}

// withGuard opens a pool of n connections with this guard, and no session yet.
func withGuard(t *testing.T, cfg *gosnowflake.Config, n int, guard snowtether.LoginGuard, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	opts = append([]snowtether.Option{logTo(&lines{}), snowtether.WithLoginGuard(guard)}, opts...)
	c, err := snowtether.NewConnector(cfg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	db := testpool.Lazy(t, c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db
}

// TestGuardIsAskedBeforeEachLoginAndToldAfter: with the class and the code.
func TestGuardIsAskedBeforeEachLoginAndToldAfter(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault snowtest.Fault
		class snowtether.Class
		code  int
	}{
		{"it succeeds", snowtest.Fault{}, "", 0},
		{"wrong password", snowtest.Fault{Code: "390100", Message: "Incorrect username or password was specified."}, snowtether.ClassPermanent, 390100},
		{"expired token", snowtest.Fault{Code: "390303"}, snowtether.ClassCredential, 390303},
		{"unknown code", snowtest.Fault{Code: "390999"}, snowtether.ClassPermanent, 390999},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				g := &countingGuard{}
				db := withGuard(t, srv.Config(), 1, g)
				fault := tt.fault
				fault.Delay = 300 * time.Millisecond
				times := loginTimes(srv, fault)
				err := db.PingContext(t.Context())
				if (err == nil) != (tt.class == "") {
					t.Errorf("the caller got %v", err)
				}
				time.Sleep(time.Second)
				asked, told := g.calls()
				if n := len(times()); asked != n || told != n {
					t.Fatalf("asked %d times and told %d times of %d logins", asked, told, n)
				}
				got := g.heard()[0]
				if got.Class != tt.class || got.Code != tt.code || got.Duration < fault.Delay {
					t.Errorf("it was told %+v, want %v and %d", got, tt.class, tt.code)
				}
			})
		})
	}
	t.Run("out of order", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			g := &countingGuard{}
			db := withGuard(t, srv.Config(), 1, g)
			loginTimes(srv, snowtest.Fault{Status: 503}, snowtest.Fault{Drop: true})
			if err := db.PingContext(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
			var classes []snowtether.Class
			for _, o := range g.heard() {
				classes = append(classes, o.Class)
			}
			if want := []snowtether.Class{snowtether.ClassTransient, snowtether.ClassTransient, ""}; !slices.Equal(classes, want) {
				t.Errorf("it was told of %q, want %q", classes, want)
			}
		})
	})
	t.Run("side by side", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			g := &countingGuard{}
			db := withGuard(t, srv.Config(), 16, g)
			if err := snowtether.Warm(t.Context(), db, 16); err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
			inCrowd(t, 16, 1, 0, db.PingContext)
			time.Sleep(time.Second)
			if asked, told := g.calls(); asked != srv.Stats().Logins || told != srv.Stats().Logins {
				t.Errorf("asked %d times and told %d times of %d logins", asked, told, srv.Stats().Logins)
			}
		})
	})
}

// TestGuardIsToldOfLoginsInTheirOrder: the session of one that was taken is still being set up
// when the next is refused.
// Before: it was told of the first last, and took the credential for a good one.
func TestGuardIsToldOfLoginsInTheirOrder(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("the set-up fails %v", fails), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				g, ready, settingUp := &countingGuard{}, make(chan struct{}), make(chan struct{})
				db := withGuard(t, srv.Config(), 2, g, snowtether.WithAfterConnect(func(context.Context, driver.Conn) error {
					close(settingUp)
					<-ready
					if fails {
						return errors.New("the hook's own")
					}
					return nil
				}))
				loginTimes(srv, snowtest.Fault{}, snowtest.Fault{Code: "390100", Message: "no"})
				first := make(chan error)
				go func() { first <- db.PingContext(t.Context()) }()
				<-settingUp
				if err := db.PingContext(t.Context()); number(err) != 390100 {
					t.Errorf("the login while the other session is set up: %v", err)
				}
				close(ready)
				if err := <-first; (err != nil) != fails {
					t.Errorf("the login whose session was set up: %v", err)
				}
				time.Sleep(time.Second)
				var codes []int
				for _, o := range g.heard() {
					codes = append(codes, o.Code)
				}
				if want := []int{0, 390100}; !slices.Equal(codes, want) {
					t.Errorf("it was told of %v, want %v", codes, want)
				}
			})
		})
	}
}

// TestGuardsWaitIsHonoured: no login before it has passed, and then it is asked again.
func TestGuardsWaitIsHonoured(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		g := &countingGuard{before: func(_ context.Context, n int) (time.Duration, error) {
			return []time.Duration{0, 5 * time.Second, 7 * time.Second, 0}[n], nil
		}}
		db := withGuard(t, srv.Config(), 1, g)
		times := loginTimes(srv)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if at := times(); len(at) != 1 || at[0] != 12*time.Second {
			t.Errorf("logins at %v, want one after 12 s", at)
		}
		if asked, _ := g.calls(); asked != 3 {
			t.Errorf("it was asked %d times", asked)
		}
	})
}

// TestCallerLeavesAGuardThatMakesItWait: at its deadline, and Close does not wait either.
func TestCallerLeavesAGuardThatMakesItWait(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := withGuard(t, srv.Config(), 1, &countingGuard{before: func(context.Context, int) (time.Duration, error) { return time.Hour, nil }})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		if err := db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*time.Second {
			t.Errorf("it left after %v with %v", time.Since(begun), err)
		}
		begun = time.Now()
		if err := db.Close(); err != nil || time.Since(begun) > time.Second {
			t.Errorf("Close took %v: %v", time.Since(begun), err)
		}
		if n := srv.Stats().Logins; n != 0 {
			t.Errorf("%d logins", n)
		}
	})
}

// TestGuardMaySuspendACredential: the caller is told so, nothing is sent, and the credential
// rests.
func TestGuardMaySuspendACredential(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		g := &countingGuard{before: func(context.Context, int) (time.Duration, error) {
			return 0, fmt.Errorf("refused elsewhere: %w", snowtether.ErrLoginSuspended)
		}}
		db := withGuard(t, srv.Config(), 1, g)
		times := loginTimes(srv)
		for range 3 {
			err := db.PingContext(t.Context())
			var se *snowtether.SessionError
			if !errors.Is(err, snowtether.ErrLoginSuspended) || !errors.As(err, &se) || se.Class != snowtether.ClassPermanent || !strings.Contains(err.Error(), "refused elsewhere") {
				t.Errorf("error is %v, want one that Is ErrLoginSuspended and says why", err)
			}
			time.Sleep(time.Second)
		}
		if asked, told := g.calls(); asked != 1 || told != 0 || len(times()) != 0 {
			t.Errorf("asked %d times, told %d times, %d logins; want 1, 0 and 0", asked, told, len(times()))
		}
		time.Sleep(time.Minute)
		g.mu.Lock()
		g.before = nil
		g.mu.Unlock()
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("after the cool-down: %v", err)
		}
	})
}

// TestGuardThatMisbehavesHoldsLoginsUpForItsBound: 2 s where it does not answer, 90 s
// where it says so again and again; and there is one line at Warn.
func TestGuardThatMisbehavesHoldsLoginsUpForItsBound(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(context.Context, int) (time.Duration, error)
		bound  time.Duration
	}{
		"fails": {func(context.Context, int) (time.Duration, error) { return 0, errors.New("redis: connection refused") }, 0},
		"fails and waits": {func(context.Context, int) (time.Duration, error) {
			return time.Hour, errors.New("redis: connection refused")
		}, 0},
		"panics":            {func(context.Context, int) (time.Duration, error) { panic("nil map") }, 0},
		"goes away":         {func(context.Context, int) (time.Duration, error) { runtime.Goexit(); return 0, nil }, 0},
		"minds its context": {func(ctx context.Context, _ int) (time.Duration, error) { <-ctx.Done(); return 0, ctx.Err() }, 2 * time.Second},
		"hangs": {func(context.Context, int) (time.Duration, error) {
			time.Sleep(50 * time.Minute) // the bubble has to end
			return 0, nil
		}, 2 * time.Second},
		"is late to a wait": {func(context.Context, int) (time.Duration, error) { time.Sleep(time.Second); return time.Second, nil }, 90 * time.Second},
		"waits for an hour": {func(context.Context, int) (time.Duration, error) { return time.Hour, nil }, 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				log := &lines{}
				db := withGuard(t, srv.Config(), 8, &countingGuard{before: tt.before}, logTo(log))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				begun := time.Now()
				if err := snowtether.Warm(ctx, db, 8); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took < tt.bound || took > tt.bound+100*time.Millisecond {
					t.Errorf("the logins took %v, want %v", took, tt.bound)
				}
				if n := log.Count("level=WARN"); n != 1 || log.Count("guard_failed") != 1 {
					t.Errorf("%d lines at Warn:\n%s", n, log.String())
				}
			})
		})
	}
}

// TestGuardThatMisbehavesAfterALoginHarmsNothing: nobody waits for it.
func TestGuardThatMisbehavesAfterALoginHarmsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := withGuard(t, srv.Config(), 8, deafGuard{})
		begun := time.Now()
		if err := snowtether.Warm(t.Context(), db, 8); err != nil || time.Since(begun) > 100*time.Millisecond {
			t.Errorf("the logins took %v: %v", time.Since(begun), err)
		}
	})
}

// deafGuard is not to be told anything.
type deafGuard struct{}

func (deafGuard) Before(context.Context, snowtether.LoginAttempt) (time.Duration, error) {
	return 0, nil
}
func (deafGuard) After(ctx context.Context, _ snowtether.LoginAttempt, _ snowtether.LoginOutcome) {
	<-ctx.Done()
	panic("too late")
}

// TestGuardThatAlwaysSaysWaitStopsNobody: its bound is less than what a caller without a
// deadline waits for, so that the login is sent for somebody.
// Before: each caller left as its login was sent, and each session was thrown away.
func TestGuardThatAlwaysSaysWaitStopsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := withGuard(t, srv.Config(), 5, &countingGuard{before: func(context.Context, int) (time.Duration, error) { return time.Hour, nil }})
		inCrowd(t, 5, 1, 0, func(context.Context) error {
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

// TestFingerprintStandsForTheCredential: in every process alike, and for nobody to read.
func TestFingerprintStandsForTheCredential(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		key := []byte("0123456789abcdef0123456789abcdef")
		print := func(key []byte, change func(*gosnowflake.Config)) string {
			cfg := srv.Config()
			change(cfg)
			g := &countingGuard{}
			_ = withGuard(t, cfg, 1, g).PingContext(t.Context()) // some are refused
			time.Sleep(time.Second)
			if asked, told := g.calls(); asked != 1 || told != 1 {
				t.Fatalf("asked %d times, told %d times", asked, told)
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			p := g.asked[0].Fingerprint(key)
			if again := g.told[0].Fingerprint(key); again != p {
				t.Errorf("before the login it is %s, after it %s", p, again)
			}
			if len(p) != 64 || strings.Trim(p, "0123456789abcdef") != "" {
				t.Errorf("%q is no hash in hexadecimal", p)
			}
			for _, secret := range []string{cfg.Password, cfg.User, cfg.Account, cfg.Passcode, fmt.Sprintf("%x", cfg.Password)} {
				if secret != "" && strings.Contains(strings.ToLower(p), strings.ToLower(secret)) {
					t.Errorf("%q holds %q", p, secret)
				}
			}
			return p
		}
		same := func(*gosnowflake.Config) {}
		first := print(key, same)
		if second := print(key, same); second != first {
			t.Errorf("the same credential is %s and %s", first, second)
		}
		if passcode := print(key, func(cfg *gosnowflake.Config) { cfg.Passcode = "123456" }); passcode != first {
			t.Error("a passcode makes another fingerprint")
		}
		others := map[string]string{
			"password": print(key, func(cfg *gosnowflake.Config) { cfg.Password = "an0ther-Passw0rd" }),
			"user":     print(key, func(cfg *gosnowflake.Config) { cfg.User = "ANOTHER_USER" }),
			"account":  print(key, func(cfg *gosnowflake.Config) { cfg.Account = "another_account" }),
			"key":      print([]byte("fedcba9876543210fedcba9876543210"), same),
			"token": print(key, func(cfg *gosnowflake.Config) {
				cfg.Authenticator, cfg.Token = gosnowflake.AuthTypeOAuth, "t0ken-of-mine"
			}),
		}
		seen := map[string]string{first: "the first"}
		for what, p := range others {
			if other, ok := seen[p]; ok {
				t.Errorf("another %s has the fingerprint of %s", what, other)
			}
			seen[p] = what
		}
		if p := (snowtether.LoginAttempt{}).Fingerprint(key); p != "" {
			t.Errorf("no attempt at all has the fingerprint %q", p)
		}
	})
}

// TestRetryAfterIsHonoured: the next login comes not before, whether in seconds or as a
// date, and soon after.
func TestRetryAfterIsHonoured(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for _, date := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, as a date %v", status, date), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					word := "20"
					if date {
						word = time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat)
					}
					cfg := srv.Config()
					cfg.Transporter = tripper{cfg.Transporter}
					times := loginTimes(srv, snowtest.Fault{Status: status, Header: http.Header{"Retry-After": {word}}})
					db := withGuard(t, cfg, 8, &countingGuard{})
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if err := snowtether.Warm(ctx, db, 8); err != nil {
						t.Fatal(err)
					}
					at := times()
					if len(at) != 9 || at[1] < 20*time.Second || at[1] > 22*time.Second {
						t.Errorf("logins at %v, want one, and eight from 20 s on", at)
					}
				})
			})
		}
	}
}

// tripper is a program's own transport.
type tripper struct{ http.RoundTripper }
