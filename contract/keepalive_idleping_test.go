package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Keep-alive (docs/guarantees.md): with WithIdlePing idle sessions stay alive under the shortest
// policy, one that died is replaced before anyone needs it, and no checkout waits for a ping.

// TestIdlePingKeepsSessions: under the shortest policy, without a heartbeat, and
// with at least one ping and at most two in each interval and session.
func TestIdlePingKeepsSessions(t *testing.T) {
	for _, n := range []int{1, 8, 64} {
		if testpool.Quick() && n > 8 {
			continue
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, n, idlePing, noBeat)
				use(t, db, n)
				before := srv.Stats()
				const hours = 3
				time.Sleep(hours * time.Hour)
				after := srv.Stats()
				if took := use(t, db, n); took > 0 {
					t.Errorf("the next statements took %v", took)
				}
				if logins := srv.Stats().Logins - before.Logins; logins != 0 {
					t.Errorf("%d logins", logins)
				}
				renewals := after.Requests[snowtest.RequestRenew] - before.Requests[snowtest.RequestRenew]
				// A ping that finds the session token expired is sent once more.
				pings := after.Requests[snowtest.RequestQuery] - before.Requests[snowtest.RequestQuery] - renewals
				if least := n * int(hours*time.Hour/every); pings < least || pings > 2*least {
					t.Errorf("%d pings, want %d to %d", pings, least, 2*least)
				}
			}, snowtest.WithIdleTimeout(5*time.Minute))
		})
	}
}

// TestPingNeedsNoWarehouse: the server compiles it and accepts nothing.
func TestPingNeedsNoWarehouse(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2, idlePing)
		use(t, db, 2)
		before := srv.Stats().Requests[snowtest.RequestQuery]
		accepted := len(srv.Ledger())
		time.Sleep(time.Hour)
		if n := srv.Stats().Requests[snowtest.RequestQuery] - before; n == 0 {
			t.Error("no pings")
		}
		if n := len(srv.Ledger()) - accepted; n != 0 {
			t.Errorf("%d pings were run", n)
		}
	})
}

// TestPingsAreSpread: 64 sessions that fell idle together are not asked together.
func TestPingsAreSpread(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 64, idlePing)
		use(t, db, 64)
		most := 0
		for range 24 {
			before := srv.Stats().Requests[snowtest.RequestQuery]
			time.Sleep(every / 8)
			most = max(most, srv.Stats().Requests[snowtest.RequestQuery]-before)
		}
		if most > 40 { // 11 to 21 are the rule
			t.Errorf("%d of 64 sessions were asked within an eighth of the interval", most)
		}
	})
}

// TestDeadIdleSessionIsReplacedWhileIdle: the next caller pays neither an error nor
// a login.
func TestDeadIdleSessionIsReplacedWhileIdle(t *testing.T) {
	for _, way := range ways[1:] {
		t.Run(way.Name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				const n = 8
				db := pool(t, srv, n, idlePing)
				use(t, db, n)
				srv.EndSessions(way.End)
				stall(srv, snowtest.RequestLogin, time.Second)
				time.Sleep(every)
				before := srv.Stats()
				if took := use(t, db, n); took > 0 {
					t.Errorf("the callers waited %v", took)
				}
				after := srv.Stats()
				if got := len(srv.Sessions()); got != n || after.Logins != before.Logins {
					t.Errorf("%d sessions, %d logins by callers", got, after.Logins-before.Logins)
				}
				if after.Logins != 2*n {
					t.Errorf("%d logins in all, want %d", after.Logins, 2*n)
				}
			})
		})
	}
}

// TestCheckoutWaitsForNoPing: not for one that the server does not answer, and the
// statement is carried out while the ping is under way.
func TestCheckoutWaitsForNoPing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, idlePing)
		use(t, db, 1)
		asked := make(chan struct{})
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestQuery {
				return snowtest.Fault{}, false
			}
			close(asked)
			return snowtest.Fault{Delay: 10 * time.Second}, true
		})
		<-asked
		begun := time.Now()
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("the caller waited %v", took)
		}
		time.Sleep(time.Minute)
	})
}

// TestSessionTakenDuringItsReplacementServesItsCaller: with a login of its own, and
// the login that came too late is logged out.
func TestSessionTakenDuringItsReplacementServesItsCaller(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, idlePing)
		use(t, db, 1)
		srv.AbortSessions()
		begun := make(chan struct{})
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestLogin {
				return snowtest.Fault{}, false
			}
			close(begun)
			return snowtest.Fault{Delay: 5 * time.Second}, true
		})
		<-begun
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n := len(srv.Sessions()); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

// TestSessionInUseIsNotPinged: nor one in a transaction.
func TestSessionInUseIsNotPinged(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, idlePing, noBeat)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		before := srv.Stats().Requests[snowtest.RequestQuery]
		time.Sleep(time.Hour)
		if n := srv.Stats().Requests[snowtest.RequestQuery] - before; n != 0 {
			t.Errorf("%d requests", n)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	})
}

// TestPingsOutliveAnOutage: they cost one request at a time, and sessions that are
// still there afterwards stay.
func TestPingsOutliveAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n = 8
		db := pool(t, srv, n, idlePing, noBeat)
		use(t, db, n)
		srv.Disconnect()
		time.Sleep(20 * time.Minute)
		srv.Reconnect()
		time.Sleep(20 * time.Minute)
		if took := use(t, db, n); took > 0 {
			t.Errorf("the callers waited %v", took)
		}
		if logins := srv.Stats().Logins; logins != n {
			t.Errorf("%d logins, want %d", logins, n)
		}
	})
}

// TestPingEndsAnEndlessRenewal: as a statement does.
func TestPingEndsAnEndlessRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, idlePing, noBeat)
		use(t, db, 1)
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestQuery {
				return snowtest.Fault{}, false
			}
			return snowtest.Fault{Code: "390112"}, true
		})
		time.Sleep(every)
		if n := srv.Stats().Requests[snowtest.RequestRenew]; n == 0 || n > 50 {
			t.Errorf("%d renewals", n)
		}
	})
}

// TestPingUsesTheSessionsOwnHost: a hook may send each login elsewhere.
func TestPingUsesTheSessionsOwnHost(t *testing.T) {
	inBubble(t, func(t *testing.T, first *snowtest.Server) {
		second := snowtest.New(t, snowtest.InMemory())
		// In memory both have the same address; the port tells them apart.
		at := first.Config()
		db := pool(t, first, 1, idlePing, snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			cfg.Transporter, cfg.Port = at.Transporter, at.Port
			return nil
		}))
		use(t, db, 1)
		time.Sleep(time.Hour)
		at = second.Config()
		at.Port = 81
		first.AbortSessions()
		time.Sleep(time.Hour)
		if n := len(second.Sessions()); n != 1 {
			t.Fatalf("%d sessions on the second server", n)
		}
		if n := second.Stats().Logins; n != 1 {
			t.Errorf("%d logins on the second server: its session was asked for on the first", n)
		}
		if n := second.Stats().Requests[snowtest.RequestQuery]; n < 14 {
			t.Errorf("%d pings on the second server", n)
		}
	})
}

// TestCloseWaitsForNoPing: nor for gosnowflake's cancelling of it.
func TestCloseWaitsForNoPing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		c, err := snowtether.NewConnector(srv.Config(), quiet, idlePing)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		asked := make(chan struct{})
		var once sync.Once
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestQuery && r.Kind != snowtest.RequestAbort {
				return snowtest.Fault{}, false
			}
			once.Do(func() { close(asked) })
			return snowtest.Fault{Delay: time.Minute}, true
		})
		<-asked
		begun := time.Now()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("Close took %v", took)
		}
		time.Sleep(time.Hour)
	})
}

// TestPoolReplacesNoSessionInUse: also where database/sql does not say that the use
// begins. A connection whose first caller left while it was being opened is put into
// the pool with IsValid, and its next user gets it without a ResetSession.
func TestPoolReplacesNoSessionInUse(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		c, err := snowtether.NewConnector(srv.Config(), quiet, idlePing)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := c.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !conn.(driver.Validator).IsValid() {
			t.Fatal("a new connection is not valid")
		}
		tx, err := conn.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		exec := conn.(driver.ExecerContext).ExecContext
		if _, err := exec(t.Context(), row(1), nil); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		time.Sleep(2 * every)
		_, err = exec(t.Context(), row(2), nil)
		isLost(t, err, true)
		isLost(t, tx.Commit(), true)
		if n := srv.Effects(row(1)) + srv.Effects(row(2)); n != 0 {
			t.Errorf("%d rows of the transaction last", n)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
