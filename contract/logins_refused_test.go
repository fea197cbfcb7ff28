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

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Logins (docs/guarantees.md): a credential that is refused is sent once. A user has one count of
// refusals, however the user is written, and a person is asked once.

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

// TestUnknownCodePoisonsNoPool: neither that of a login, nor that of a renewal. It suspends
// logins; after that the pool works.
func TestUnknownCodePoisonsNoPool(t *testing.T) {
	for _, code := range []string{"390999", "391234", "399999", "394999", "000042", "000403", "123456", "260999", "999999"} {
		for _, kind := range []snowtest.RequestKind{snowtest.RequestLogin, snowtest.RequestRenew} {
			t.Run(fmt.Sprintf("%s at a %v", code, kind), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 2)
					var on atomic.Bool
					on.Store(true)
					srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return snowtest.Fault{Code: code, Message: "A new kind of refusal."}, on.Load() && r.Kind == kind
					})
					if kind == snowtest.RequestLogin {
						srv.AbortSessions()
					} else {
						srv.ExpireSessionTokens()
					}
					begun := time.Now()
					_, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)")
					var se *snowtether.SessionError
					switch {
					case kind == snowtest.RequestLogin && (!errors.As(err, &se) || se.Op != "login" || se.Class != snowtether.ClassPermanent):
						t.Errorf("error is %v", err)
					case kind == snowtest.RequestRenew && err != nil:
						t.Errorf("a new session would have served it: %v", err)
					case time.Since(begun) > time.Minute:
						t.Errorf("it took %v: %v", time.Since(begun), err)
					}
					on.Store(false)
					time.Sleep(time.Minute)
					for i := range 4 {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						if _, err := db.ExecContext(ctx, row(10+i)); err != nil {
							t.Errorf("a minute later: %v", err)
						}
						cancel()
						checkRan(t, srv, row(10+i), 1, 1)
					}
				})
			})
		}
	}
}

// TestWrappedConnectorLocksNobodyOut: nothing is known of its credential, which may be a
// password: wrong from the start, or changed in a wave of logins.
// Before: 5 refusals in 8 minutes for one caller, and 31 at once in a wave.
func TestWrappedConnectorLocksNobodyOut(t *testing.T) {
	for good, crowd := range []struct{ callers, times int }{{1, 800}, {32, 1}} {
		t.Run(fmt.Sprintf("%d callers", crowd.callers), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				c, err := snowtether.WrapConnector(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()), logTo(srv.Log()), snowtether.WithMaxLogins(64))
				if err != nil {
					t.Fatal(err)
				}
				db := testpool.OpenConnector(t, c, 32)
				g := refuseLogins(srv, 50*time.Millisecond, func(_ string, n int) string {
					if n > good {
						return "390100"
					}
					return ""
				})
				srv.AbortSessions()
				inCrowd(t, crowd.callers, crowd.times, time.Second, db.PingContext)
				g.check(t, srv.User(), 4)
			})
		})
	}
}

// TestUserHasOneCountOfRefusals: whatever the authenticator, the case in which the name is
// written, and the host of the account.
// Before: each had a count of its own, and the user was refused 8 times.
func TestUserHasOneCountOfRefusals(t *testing.T) {
	for name, other := range map[string]func(cfg *gosnowflake.Config){
		"authenticator": func(cfg *gosnowflake.Config) {
			cfg.Authenticator, cfg.Passcode = gosnowflake.AuthTypeUsernamePasswordMFA, "123456"
		},
		"case": func(cfg *gosnowflake.Config) { cfg.User = "TESTER" },
		"host": func(cfg *gosnowflake.Config) { cfg.Host = "account.region.snowflakecomputing.com" },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				n := 0
				c, err := snowtether.NewConnector(srv.Config(), logTo(srv.Log()), snowtether.WithAuthCooldown(0), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
					cfg.Password = "wrong"
					if n++; n%2 == 0 {
						other(cfg)
					}
					return nil
				}))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				g := refuseLogins(srv, 0, func(string, int) string { return "390100" })
				for range 20 {
					_, _ = c.Connect(t.Context())
					time.Sleep(10 * time.Second)
				}
				g.mu.Lock()
				defer g.mu.Unlock()
				all := 0
				for _, n := range g.refused {
					all += n
				}
				if all > 4 || all < 2 {
					t.Errorf("the user was refused %d times: %v", all, g.refused)
				}
			})
		})
	}
}

// pushes are the logins that ask a person for consent, each answered with the fault.
func pushes(srv *snowtest.Server, f snowtest.Fault) *atomic.Int64 {
	asked := new(atomic.Int64)
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestLogin {
			return snowtest.Fault{}, false
		}
		asked.Add(1)
		return f, true
	})
	return asked
}

// TestPersonIsAskedOnce: a login whose answer is lost may have asked its person, who did
// not answer in time; whoever called may ask again.
// Before: one Connect asked 6 times where a gateway answered, and twice where nobody did.
func TestPersonIsAskedOnce(t *testing.T) {
	for name, f := range map[string]snowtest.Fault{
		"HTTP 504": {Delay: 20 * time.Second, Status: 504},
		"dropped":  {Delay: 20 * time.Second, Drop: true},
		"silence":  {Delay: 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				cfg.Authenticator = gosnowflake.AuthTypeUsernamePasswordMFA
				c, err := snowtether.NewConnector(cfg, logTo(srv.Log()))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				asked := pushes(srv, f)
				for n := range int64(2) {
					if _, err := c.Connect(t.Context()); err == nil {
						t.Error("a login that was not answered succeeded")
					}
					if asked.Load() != n+1 {
						t.Errorf("asked %d times for %d calls", asked.Load(), n+1)
					}
				}
			})
		})
	}
}

// TestKeeperAsksNobody: an idle session whose login needs a person's consent is replaced
// when somebody needs it.
// Before: sessions that ended at night meant 436 questions until the morning.
func TestKeeperAsksNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Authenticator = gosnowflake.AuthTypeUsernamePasswordMFA
		db := poolOf(t, cfg, 8, snowtether.WithIdlePing(time.Minute))
		asked := pushes(srv, snowtest.Fault{Delay: 5 * time.Second})
		srv.AbortSessions()
		time.Sleep(8 * time.Hour)
		if n := asked.Load(); n != 0 {
			t.Errorf("asked %d times in a night in which nobody used the pool", n)
		}
		mustExec(t, db, row(1))
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times for the first statement of the morning", n)
		}
	})
}

// TestRefusedLoginOfAWrappedConnectorIsCooledDown: it has no credentials to tell
// apart.
func TestRefusedLoginOfAWrappedConnectorIsCooledDown(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Password = "wr0ng-Passw0rd"
		c, err := snowtether.WrapConnector(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg), quiet)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := c.Connect(t.Context()); number(err) != 390100 {
				t.Errorf("error is %v", err)
			}
		}
		if n := srv.Stats().LoginFailures; n != 1 {
			t.Errorf("%d logins were sent", n)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
