package contract_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about sessions that lie idle in the pool: the pings that keep them,
// the replacement of those that died, and clocks that jump.

const every = 4 * time.Minute

var (
	idlePing = snowtether.WithIdlePing(every)
	noBeat   = snowtether.WithKeepAlive(false)
)

// use has each of the n connections of a pool carry out a statement at the same
// time, and returns how long it took.
func use(t *testing.T, db *sql.DB, n int) time.Duration {
	t.Helper()
	begun := time.Now()
	everyone(t, db, n, 1)
	return time.Since(begun)
}

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

// TestConnectorsLeaveNothingBehind: many of them, side by side and one after the
// other, with pings under way when they are closed. The bubble fails if a goroutine
// is left, the server if a session is.
func TestConnectorsLeaveNothingBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		stall(srv, snowtest.RequestQuery, time.Second)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for range 3 {
					c, err := snowtether.NewConnector(srv.Config(), quiet, idlePing)
					if err != nil {
						t.Error(err)
						return
					}
					db := sql.OpenDB(c)
					for range 2 {
						if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != nil {
							t.Error(err)
						}
					}
					time.Sleep(every/2 + time.Duration(i)*every/40)
					if err := db.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := len(srv.Sessions()); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// A wall is a clock that a test can put forward and back. It has no monotonic
// reading, as if the machine had slept.
type wall struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (w *wall) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead).Round(0)
}

func (w *wall) jump(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// TestSessionsOfASuspendedMachineAreReplacedUnasked: after a night's sleep the
// server is not asked about tokens that it cannot know any more.
func TestSessionsOfASuspendedMachineAreReplacedUnasked(t *testing.T) {
	for _, beat := range []snowtether.Option{noBeat, snowtether.WithKeepAlive(true)} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			const n = 8
			var clock wall
			db := pool(t, srv, n, beat, testpool.WithClock(clock.now))
			use(t, db, n)
			srv.Advance(8 * time.Hour)
			clock.jump(8 * time.Hour)
			before := srv.Stats()
			use(t, db, n)
			after := srv.Stats()
			if logins := after.Logins - before.Logins; logins != n {
				t.Errorf("%d logins, want %d", logins, n)
			}
			// One statement each, and no renewals: nothing was asked in vain.
			if requests := after.Requests[snowtest.RequestQuery] - before.Requests[snowtest.RequestQuery]; requests != n || after.Requests[snowtest.RequestRenew] != 0 {
				t.Errorf("%d statements and %d renewals were sent, want %d and 0", requests, after.Requests[snowtest.RequestRenew], n)
			}
		})
	}
}

// TestSessionIdleForLongerThanItsMasterTokenIsReplacedUnasked: without a heartbeat.
func TestSessionIdleForLongerThanItsMasterTokenIsReplacedUnasked(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, noBeat)
		use(t, db, 1)
		time.Sleep(4*time.Hour + time.Minute)
		before := srv.Stats()
		use(t, db, 1)
		after := srv.Stats()
		if n := after.Requests[snowtest.RequestQuery] - before.Requests[snowtest.RequestQuery]; n != 1 || after.Requests[snowtest.RequestRenew] != 0 {
			t.Errorf("%d statements and %d renewals were sent", n, after.Requests[snowtest.RequestRenew])
		}
		if n := after.Logins - before.Logins; n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

// TestClockThatJumpsCostsOneWaveAtTheMost: the server's time goes on as usual.
func TestClockThatJumpsCostsOneWaveAtTheMost(t *testing.T) {
	for _, jump := range []time.Duration{8 * time.Hour, -8 * time.Hour, 300 * 24 * time.Hour, -300 * 24 * time.Hour} {
		for _, ping := range []time.Duration{0, every} {
			t.Run(fmt.Sprint(jump, ping), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					const n = 8
					var clock wall
					db := pool(t, srv, n, snowtether.WithIdlePing(ping), testpool.WithClock(clock.now))
					use(t, db, n)
					clock.jump(jump)
					before := srv.Stats()
					for range 10 {
						use(t, db, n)
						time.Sleep(time.Minute)
					}
					clock.jump(-jump)
					for range 10 {
						use(t, db, n)
						time.Sleep(time.Minute)
					}
					after := srv.Stats()
					if logins := after.Logins - before.Logins; logins > n {
						t.Errorf("%d logins, want at most %d", logins, n)
					}
					if requests := after.Requests[snowtest.RequestQuery] - before.Requests[snowtest.RequestQuery]; requests > 20*n+4*n {
						t.Errorf("%d statements and pings", requests)
					}
				})
			})
		}
	}
}

// TestMistreatedHeartbeatsHarmNothing: dropped, refused, answered late or with
// garbage. Neither the next statement nor Close waits for one.
func TestMistreatedHeartbeatsHarmNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault snowtest.Fault
	}{
		{"dropped", snowtest.Fault{Drop: true}},
		{"late", snowtest.Fault{Delay: 10 * time.Minute}},
		{"later than the client waits", snowtest.Fault{Delay: 30 * time.Minute}},
		{"garbage", snowtest.Fault{Body: "<html>proxy</html>"}},
		{"empty", snowtest.Fault{Body: " "}},
		{"500", snowtest.Fault{Status: 500, Body: "no"}},
		{"401", snowtest.Fault{Status: 401}},
		{"gone", snowtest.Fault{Code: "390111"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 2, snowtether.WithHeartbeat(15*time.Minute))
				use(t, db, 2)
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.Kind != snowtest.RequestHeartbeat {
						return snowtest.Fault{}, false
					}
					return tt.fault, true
				})
				for range 12 {
					time.Sleep(31 * time.Minute)
					if took := use(t, db, 2); took > 0 {
						t.Errorf("the statements took %v", took)
					}
				}
				time.Sleep(14*time.Minute + 30*time.Second) // a heartbeat is under way
				begun := time.Now()
				_ = db.Close() // says so if a log-out is late
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("Close took %v", took)
				}
				time.Sleep(48 * time.Hour) // until gosnowflake's heartbeats have given up
				synctest.Wait()
			}, snowtest.AllowOpenSessions())
		})
	}
}
