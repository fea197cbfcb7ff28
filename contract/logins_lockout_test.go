package contract_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Logins (docs/guarantees.md): no connector locks its user out. Snowflake locks a user for 15
// minutes after five refusals in a row.

// TestPasswordChangedDuringAWaveLocksNobodyOut: whenever in the wave, and however many
// logins may be under way. Before: it was sent 9 times.
func TestPasswordChangedDuringAWaveLocksNobodyOut(t *testing.T) {
	for _, logins := range []int{1, 8, 64} {
		for _, good := range []int{0, 1, 10, 63} {
			t.Run(fmt.Sprintf("%d at once, changed after %d", logins, good), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 64, snowtether.WithMaxLogins(logins))
					g := refuseLogins(srv, 100*time.Millisecond, func(_ string, n int) string {
						if n > good {
							return "390100"
						}
						return ""
					})
					srv.AbortSessions()
					inCrowd(t, 64, 3, time.Second, db.PingContext)
					most := 4
					if good == 0 {
						most = 1 // it went first
					}
					g.check(t, srv.User(), most)
				})
			})
		}
	}
}

// TestWrongUserInAPoolOfTwoIsRefusedOnce: the right one's logins say nothing about it.
// Before: 4 times.
func TestWrongUserInAPoolOfTwoIsRefusedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var mu sync.Mutex
		n := 0
		db := pool(t, srv, 16, snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n > 16 && n%2 == 0 {
				cfg.User = "other"
			}
			return nil
		}))
		g := refuseLogins(srv, 100*time.Millisecond, func(user string, _ int) string {
			if user == "other" {
				return "390100"
			}
			return ""
		})
		srv.AbortSessions()
		inCrowd(t, 16, 2, 0, db.PingContext)
		g.check(t, "other", 1)
	})
}

// TestFreshPasscodeMakesNoNewCredential: nor does a token that lives for less than a
// minute. Before: 50 of 50 were sent.
func TestFreshPasscodeMakesNoNewCredential(t *testing.T) {
	for _, authenticator := range []gosnowflake.AuthType{gosnowflake.AuthTypeSnowflake, gosnowflake.AuthTypeUsernamePasswordMFA} {
		for _, inPassword := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in the password %v", authenticator, inPassword), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					n := 0
					c, err := snowtether.NewConnector(srv.Config(), snowtether.WithAuthCooldown(0), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
						cfg.Authenticator = authenticator
						if n++; inPassword {
							cfg.Password, cfg.PasscodeInPassword = fmt.Sprintf("wrong%06d", n), true
						} else {
							cfg.Password, cfg.Passcode = "wrong", fmt.Sprintf("%06d", n)
						}
						return nil
					}))
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					g := refuseLogins(srv, 0, func(string, int) string { return "390100" })
					for range 50 {
						_, _ = c.Connect(t.Context())
						time.Sleep(10 * time.Second)
					}
					g.check(t, srv.User(), 4)
				})
			})
		}
	}
	t.Run("token", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			cfg, n := srv.Config(), 0
			cfg.Authenticator = gosnowflake.AuthTypeOAuth
			c, err := snowtether.NewConnector(cfg, snowtether.WithTokenSource(tokenFunc(func() (*oauth2.Token, error) {
				n++
				return &oauth2.Token{AccessToken: fmt.Sprint("t0ken-", n), Expiry: time.Now().Add(50 * time.Second)}, nil
			})))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			g := refuseLogins(srv, 0, func(string, int) string { return "390303" })
			for range 50 {
				_, _ = c.Connect(t.Context())
				time.Sleep(10 * time.Second)
			}
			g.check(t, srv.User(), 4)
		})
	})
}

// TestLockedOutCredentialIsSentAfterTheLockOut: the error says when, and the right
// password is then taken.
func TestLockedOutCredentialIsSentAfterTheLockOut(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var mu sync.Mutex
		n, right := 0, false
		c, err := snowtether.NewConnector(srv.Config(), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; !right {
				cfg.Password = fmt.Sprint("guess ", n)
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		begun := time.Now()
		g := refuseLogins(srv, 0, func(string, int) string {
			if right {
				return ""
			}
			return "390100"
		})
		for range 10 {
			_, _ = c.Connect(t.Context())
			time.Sleep(time.Second)
		}
		g.check(t, srv.User(), 4)
		mu.Lock()
		right = true
		mu.Unlock()
		if _, err = c.Connect(t.Context()); !errors.Is(err, snowtether.ErrLoginSuspended) {
			t.Errorf("error is %v, want one that Is ErrLoginSuspended", err)
		}
		t.Log(err)
		time.Sleep(15*time.Minute - time.Since(begun))
		conn, err := c.Connect(t.Context())
		if err != nil {
			t.Fatalf("after the lock-out: %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestTokenRefusedInAWaveIsReplaced: tokens lock nobody out, so that many refusals of one
// are one.
func TestTokenRefusedInAWaveIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg, n := srv.Config(), 0
		cfg.Authenticator = gosnowflake.AuthTypeOAuth
		var mu sync.Mutex
		db := poolOf(t, cfg, 32, snowtether.WithTokenSource(tokenFunc(func() (*oauth2.Token, error) {
			mu.Lock()
			defer mu.Unlock()
			n++
			return &oauth2.Token{AccessToken: srv.Token(), TokenType: fmt.Sprint(n)}, nil
		})))
		g := refuseLogins(srv, 50*time.Millisecond, func(_ string, n int) string {
			if n > 4 && n <= 12 { // eight at once
				return "390303"
			}
			return ""
		})
		srv.AbortSessions()
		failed := 0
		inCrowd(t, 32, 1, 0, func(ctx context.Context) error {
			err := db.PingContext(ctx)
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, snowtether.ErrLoginSuspended) {
				failed++
			}
			return err
		})
		time.Sleep(time.Minute)
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("a minute later: %v", err)
		}
		if g.refused[srv.User()] > 9 {
			t.Errorf("%d logins were refused", g.refused[srv.User()])
		}
	})
}

// TestPersonMayConsentAfterARefusal: as with plain gosnowflake, one login that a person
// refuses keeps nobody else's from being sent; but it is never the fifth.
func TestPersonMayConsentAfterARefusal(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypeUsernamePasswordMFA
		c, err := snowtether.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		g := refuseLogins(srv, time.Second, func(_ string, n int) string {
			if n == 1 {
				return "394507"
			}
			return ""
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		failed := 0
		for range 20 {
			wg.Go(func() {
				conn, err := c.Connect(t.Context())
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed++
					return
				}
				_ = conn.Close()
			})
		}
		wg.Wait()
		if failed != 1 {
			t.Errorf("%d of 20 logins failed, want the one that was refused", failed)
		}
		g.check(t, srv.User(), 1)
	})
}

// TestIdlePoolDoesNotLockItsUserOut: with a password that is refused, the keeper
// tries once, and then not before a caller has logged in.
func TestIdlePoolDoesNotLockItsUserOut(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, c := connect(t, srv.Config(), idlePing)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wrong atomic.Bool
		wrong.Store(true)
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestLogin || !wrong.Load() {
				return snowtest.Fault{}, false
			}
			return snowtest.Fault{Code: "390100", Message: "Incorrect username or password was specified."}, true
		})
		srv.AbortSessions()
		time.Sleep(24 * time.Hour)
		if n := c.Stats().LoginFailures; n != 1 {
			t.Errorf("%d refused logins, and nobody asked", n)
		}
		wrong.Store(false)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		time.Sleep(every)
		if n := len(srv.Sessions()); n != 1 {
			t.Errorf("%d sessions: the keeper has not begun again", n)
		}
	})
}

// TestLargeIdlePoolDoesNotLockItsUserOut: one login goes first, although many sessions
// are dead and no cool-down keeps the others back.
func TestLargeIdlePoolDoesNotLockItsUserOut(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n = 32
		db := pool(t, srv, n, idlePing, snowtether.WithAuthCooldown(0))
		use(t, db, n)
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestLogin {
				return snowtest.Fault{}, false
			}
			return snowtest.Fault{Delay: time.Second, Code: "390100", Message: "Incorrect username or password was specified."}, true
		})
		srv.AbortSessions()
		time.Sleep(24 * time.Hour)
		c, err := snowtether.ConnectorOf(db)
		if err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.LoginFailures != 1 || s.Lost != n {
			t.Errorf("%d of %d sessions were found dead; %d refused logins, and nobody asked", s.Lost, n, s.LoginFailures)
		}
	})
}
