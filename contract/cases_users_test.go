package contract_test

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about who logs in: a user, whose refusals are counted however the user is
// written, and a person, who is asked once.

// TestWrappedConnectorLocksNobodyOut: nothing is known of its credential, which may be a
// password: wrong from the start, or changed in a wave of logins.
// Before: 5 refusals in 8 minutes for one caller, and 31 at once in a wave.
func TestWrappedConnectorLocksNobodyOut(t *testing.T) {
	for good, crowd := range []struct{ callers, times int }{{1, 800}, {32, 1}} {
		t.Run(fmt.Sprintf("%d callers", crowd.callers), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				c, err := snowtether.WrapConnector(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()), caseLog(srv.Log()), snowtether.WithMaxLogins(64))
				if err != nil {
					t.Fatal(err)
				}
				db := testpool.OpenConnector(t, c, 32)
				g := caseRefuse(srv, 50*time.Millisecond, func(_ string, n int) string {
					if n > good {
						return "390100"
					}
					return ""
				})
				srv.AbortSessions()
				caseCrowd(t, crowd.callers, crowd.times, time.Second, db.PingContext)
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
				c, err := snowtether.NewConnector(srv.Config(), caseLog(srv.Log()), snowtether.WithAuthCooldown(0), snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
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
				g := caseRefuse(srv, 0, func(string, int) string { return "390100" })
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
				caseConnect(t, cfg, 64, snowtether.WithMaxLogins(64), snowtether.WithAfterConnect(func(context.Context, driver.Conn) error {
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

// casePushes are the logins that ask a person for consent, each answered with the fault.
func casePushes(srv *snowtest.Server, f snowtest.Fault) *atomic.Int64 {
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
				c, err := snowtether.NewConnector(cfg, caseLog(srv.Log()))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				asked := casePushes(srv, f)
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
		db := caseConnect(t, cfg, 8, snowtether.WithIdlePing(time.Minute))
		asked := casePushes(srv, snowtest.Fault{Delay: 5 * time.Second})
		srv.AbortSessions()
		time.Sleep(8 * time.Hour)
		if n := asked.Load(); n != 0 {
			t.Errorf("asked %d times in a night in which nobody used the pool", n)
		}
		caseExec(t, db, caseRow(1))
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times for the first statement of the morning", n)
		}
	})
}
