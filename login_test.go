package snowtether_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
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
	db := sql.OpenDB(c)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("db.Close: %v", err)
		}
	})
	return db, c
}

// outage makes every login fail for a while. It returns when each arrived.
func outage(srv *snowtest.Server, d time.Duration, f snowtest.Fault) *[]time.Duration {
	var mu sync.Mutex
	var at []time.Duration
	begun := time.Now()
	srv.Control(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestLogin {
			return snowtest.Fault{}, false
		}
		mu.Lock()
		defer mu.Unlock()
		at = append(at, time.Since(begun))
		if time.Since(begun) >= d {
			return snowtest.Fault{}, false
		}
		srv.KeepControl()
		return f, true
	})
	return &at
}

var unavailable = snowtest.Fault{Status: 503}

// TestLoginsPassOneGate: 64 sessions die at once; never more than eight logins are
// under way, and every caller is served.
func TestLoginsPassOneGate(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 64)
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
		if after.MaxConcurrentLogins > 8 {
			t.Errorf("%d logins at the same time", after.MaxConcurrentLogins)
		}
		// Eight at a time are eight rounds; one more finds out that logins work.
		if took > 1000*time.Millisecond {
			t.Errorf("took %v, the floor is 800ms", took)
		}
	})
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
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "503") || errors.Is(err, driver.ErrBadConn) {
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
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("it succeeded")
		}
		if len(*at) != 3 {
			t.Errorf("%d logins, want 3", len(*at))
		}
	})
}

// TestHangingLoginIsBounded: by a minute, not by gosnowflake's 900 s.
func TestHangingLoginIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config())
		srv.Control(func(r *snowtest.Request) (snowtest.Fault, bool) {
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
	for _, code := range []string{"390100", "390302", "399999", "123456"} {
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

// TestNewCredentialsLiftTheSuspensionAtOnce: from a hook or a token file.
func TestNewCredentialsLiftTheSuspensionAtOnce(t *testing.T) {
	t.Run("hook", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			var password atomic.Value
			password.Store("wrong")
			db, _ := connect(t, srv.Config(), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
				cfg.Password = password.Load().(string)
				return nil
			}))
			for range 3 {
				if err := db.PingContext(t.Context()); number(err) != 390100 {
					t.Errorf("error is %v", err)
				}
			}
			password.Store(srv.Password())
			if err := db.PingContext(t.Context()); err != nil {
				t.Errorf("with the right password: %v", err)
			}
			if s := srv.Stats(); s.LoginFailures != 1 || s.Logins != 1 {
				t.Errorf("%d logins failed, %d succeeded", s.LoginFailures, s.Logins)
			}
		})
	})
	t.Run("token file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "token")
		write := func(token string) {
			if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("stale")
		srv := snowtest.New(t)
		cfg := srv.Config()
		cfg.Authenticator, cfg.TokenFilePath = gosnowflake.AuthTypeOAuth, file
		db, _ := connect(t, cfg)
		for range 3 {
			if err := db.PingContext(t.Context()); err == nil {
				t.Error("a stale token was taken")
			}
		}
		if n := srv.Stats().LoginFailures; n != 1 {
			t.Errorf("%d logins with the stale token, want 1: gosnowflake sends each twice", n)
		}
		write(srv.Token())
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("with the fresh token: %v", err)
		}
	})
}

// tokens is a source that counts how often it is asked.
type tokens struct {
	asked atomic.Int64
	next  func(n int64) (*oauth2.Token, error)
}

func (s *tokens) Token() (*oauth2.Token, error) { return s.next(s.asked.Add(1)) }

// TestTokenSourceIsAskedOnceForAll: 64 redials, one question; again ahead of its
// expiry.
func TestTokenSourceIsAskedOnceForAll(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		source := &tokens{next: func(int64) (*oauth2.Token, error) {
			return &oauth2.Token{AccessToken: srv.Token(), Expiry: time.Now().Add(time.Hour)}, nil
		}}
		cfg := srv.Config()
		cfg.User, cfg.Password = "", ""
		cfg.Authenticator = gosnowflake.AuthTypeOAuth
		db, _ := connect(t, cfg, snowtether.WithTokenSource(source))
		db.SetMaxOpenConns(64)
		db.SetMaxIdleConns(64)
		redial := func(want int64) {
			t.Helper()
			srv.AbortSessions()
			everyone(t, db, 64, 1)
			if n := source.asked.Load(); n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
		}
		redial(1)
		redial(1)
		time.Sleep(58 * time.Minute)
		redial(1)
		time.Sleep(time.Minute) // a minute is left
		redial(2)
	})
}

// TestRefusedTokenIsReplacedOnce: then it is permanent, and nothing is sent twice.
func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	for _, code := range []string{"390303", "390318", "394400"} {
		for _, good := range []int64{2, 3} { // which answer of the source is accepted
			t.Run(fmt.Sprintf("%s/%d", code, good), func(t *testing.T) {
				var sent atomic.Int64
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					source := &tokens{next: func(n int64) (*oauth2.Token, error) {
						return &oauth2.Token{AccessToken: fmt.Sprintf("t0ken-%d", n), Expiry: time.Now().Add(time.Hour)}, nil
					}}
					cfg := srv.Config()
					cfg.Authenticator = gosnowflake.AuthTypeOAuth
					db, _ := connect(t, cfg, snowtether.WithTokenSource(source))
					err := db.PingContext(t.Context())
					if (err == nil) != (good == 2) {
						t.Errorf("error is %v", err)
					}
					if err != nil && snowtether.Classify(err) != snowtether.ClassPermanent {
						t.Errorf("%v is %s", err, snowtether.Classify(err))
					}
					if sent.Load() != 2 || source.asked.Load() != 2 {
						t.Errorf("%d logins and %d tokens, want 2 of each", sent.Load(), source.asked.Load())
					}
				}, snowtest.WithToken(func(token string) error {
					sent.Add(1)
					if token == fmt.Sprintf("t0ken-%d", good) {
						return nil
					}
					return &snowtest.Error{Code: code, SQLState: "08001", Message: "Invalid OAuth access token."}
				}))
			})
		}
	}
}

// TestSourceThatBelievesInItsTokenIsNotSentTwice: the same token again would be a
// second step towards a lock-out.
func TestSourceThatBelievesInItsTokenIsNotSentTwice(t *testing.T) {
	var sent atomic.Int64
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypeOAuth
		db, _ := connect(t, cfg, snowtether.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "revoked-t0ken"})))
		err := db.PingContext(t.Context())
		if err == nil || sent.Load() != 1 {
			t.Errorf("%d logins, error %v", sent.Load(), err)
		}
		if strings.Contains(fmt.Sprint(err), "revoked-t0ken") {
			t.Errorf("the token is in the error: %v", err)
		}
	}, snowtest.WithToken(func(string) error {
		sent.Add(1)
		return &snowtest.Error{Code: "390318", SQLState: "08001", Message: "OAuth access token expired."}
	}))
}

// refresher is a source with a cache of its own that can be passed by.
type refresher struct{ token atomic.Value }

func (r *refresher) Token() (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: r.token.Load().(string)}, nil
}

func (r *refresher) Refresh(context.Context) (*oauth2.Token, error) {
	r.token.Store("fresh")
	return r.Token()
}

// TestSourcesOwnCacheIsPassedBy: through its method Refresh.
func TestSourcesOwnCacheIsPassedBy(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		source := new(refresher)
		source.token.Store("stale")
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypePat
		cfg.Token = "replaced"
		db, _ := connect(t, cfg, snowtether.WithTokenSource(source))
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
	}, snowtest.WithToken(func(token string) error {
		if token != "fresh" {
			return &snowtest.Error{Code: "394400", SQLState: "08001", Message: "Programmatic access token is invalid."}
		}
		return nil
	}))
}

// TestBadTokenSourceGivesAClearError: and never an empty login.
func TestBadTokenSourceGivesAClearError(t *testing.T) {
	for name, tt := range map[string]struct {
		next func(int64) (*oauth2.Token, error)
		want string
	}{
		"fails":   {func(int64) (*oauth2.Token, error) { return nil, errors.New("vault is sealed") }, "vault is sealed"},
		"panics":  {func(int64) (*oauth2.Token, error) { panic("s3cret") }, "panicked"},
		"empty":   {func(int64) (*oauth2.Token, error) { return &oauth2.Token{}, nil }, "empty token"},
		"nil":     {func(int64) (*oauth2.Token, error) { return nil, nil }, "empty token"},
		"expired": {func(int64) (*oauth2.Token, error) { return &oauth2.Token{AccessToken: "x", Expiry: time.Now()}, nil }, "expired at"},
		"hangs":   {func(int64) (*oauth2.Token, error) { time.Sleep(time.Hour); return nil, errors.New("late") }, "context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				cfg.Authenticator = gosnowflake.AuthTypeOAuth
				db, _ := connect(t, cfg, snowtether.WithTokenSource(&tokens{next: tt.next}))
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				begun := time.Now()
				err := db.PingContext(ctx)
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("error is %v, want %q", err, tt.want)
				}
				if time.Since(begun) > 30*time.Second {
					t.Errorf("waited %v", time.Since(begun))
				}
				if n := srv.Stats().LoginFailures + srv.Stats().Logins; n != 0 {
					t.Errorf("%d logins were sent", n)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// TestSessionIsSetUpAfterEveryLogin: also after one in the place of a lost
// session, before its first use.
func TestSessionIsSetUpAfterEveryLogin(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var hooks atomic.Int64
		db, _ := connect(t, srv.Config(),
			snowtether.WithSessionInit("ALTER SESSION SET QUERY_TAG = 'a'", "USE ROLE r"),
			snowtether.WithAfterConnect(func(ctx context.Context, c driver.Conn) error {
				hooks.Add(1)
				_, err := c.(driver.ExecerContext).ExecContext(ctx, "USE WAREHOUSE w", nil)
				return err
			}))
		for i := range 3 {
			if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
				t.Error(err)
			}
			srv.AbortSessions()
		}
		var order []string
		for _, e := range srv.Ledger() {
			order = append(order, e.SQL)
		}
		want := ""
		for i := range 3 {
			want += "ALTER SESSION SET QUERY_TAG = 'a'; USE ROLE r; USE WAREHOUSE w; " + row(i) + "; "
		}
		if got := strings.Join(order, "; ") + "; "; got != want || hooks.Load() != 3 {
			t.Errorf("%d hooks, statements\n%s, want\n%s", hooks.Load(), got, want)
		}
	})
}

// TestFailedSetUpClosesTheSession: and is reported as what it is.
func TestFailedSetUpClosesTheSession(t *testing.T) {
	for name, opt := range map[string]snowtether.Option{
		"statement 2 of WithSessionInit": snowtether.WithSessionInit("SELECT 1", "USE ROLE missing"),
		"hook after the login":           snowtether.WithAfterConnect(func(context.Context, driver.Conn) error { return errors.New("no such role") }),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				srv.Handle("^USE", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
					return nil, &snowtest.Error{Code: "002043", SQLState: "02000", Message: "no such role"}
				})
				db, c := connect(t, srv.Config(), opt)
				err := db.PingContext(t.Context())
				if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "no such role") {
					t.Errorf("error is %v", err)
				}
				synctest.Wait()
				if n := len(srv.Sessions()); n != 0 || c.Stats().Open != 0 {
					t.Errorf("%d sessions left", n)
				}
				if srv.Stats().Logins != 1 {
					t.Errorf("%d logins", srv.Stats().Logins)
				}
			})
		})
	}
}

// TestSessionLostDuringSetUpIsTransient: the login is simply repeated.
func TestSessionLostDuringSetUpIsTransient(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		once(srv, "USE ROLE r", snowtest.Fault{Code: "390111", Message: "Session gone."})
		db, _ := connect(t, srv.Config(), snowtether.WithSessionInit("USE ROLE r"))
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
	}, snowtest.AllowOpenSessions())
}

// TestAbsurdlyShortSessionsArePaced: a server that ends sessions right after their
// login is not asked in a loop, and one warning says so.
func TestAbsurdlyShortSessionsArePaced(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		db := pool(t, srv, 4, snowtether.WithLogger(newLogger(&log)))
		srv.Control(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestQuery {
				return snowtest.Fault{}, false
			}
			srv.KeepControl()
			srv.AbortSessions()
			return snowtest.Fault{}, false
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					if _, err := db.ExecContext(ctx, row(i)); err == nil {
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
		if took := time.Since(begun); took != 2*time.Second || db.Stats().Idle != 9 {
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
