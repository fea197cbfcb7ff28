package contract_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Keep-alive (docs/guarantees.md): the idle pings of large pools, and pings that meet a server in
// trouble.

// pinged is for the shortest session policy, shortestPolicy, without a heartbeat.
var (
	pinged         = []snowtether.Option{snowtether.WithIdlePing(4 * time.Minute), snowtether.WithKeepAlive(false)}
	shortestPolicy = snowtest.WithIdleTimeout(5 * time.Minute)
)

// slowRequests makes each request of the kinds take a while.
func slowRequests(srv *snowtest.Server, d time.Duration, kinds ...snowtest.RequestKind) {
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		for _, kind := range kinds {
			if r.Kind == kind {
				return snowtest.Fault{Delay: d}, true
			}
		}
		return snowtest.Fault{}, false
	})
}

func statsOf(t testing.TB, db *sql.DB) snowtether.Stats {
	t.Helper()
	c, err := snowtether.ConnectorOf(db)
	if err != nil {
		t.Fatal(err)
	}
	return c.Stats()
}

// TestIdlePingKeepsALargePool: while the pings were sent one after the other, a round of
// 1,500 took 5 minutes, and the policy ended sessions by the thousand.
func TestIdlePingKeepsALargePool(t *testing.T) {
	n := 1500
	if testpool.Quick() {
		n = 300
	}
	idle := time.Hour
	if testing.Short() {
		idle = 15 * time.Minute
	}
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		db := pool(t, srv, n, append(pinged, logTo(&log))...)
		slowRequests(srv, 200*time.Millisecond, snowtest.RequestQuery, snowtest.RequestRenew)
		time.Sleep(idle / 2)
		srv.ExpireSessionTokens() // so that each ping is three requests
		time.Sleep(idle / 2)
		if alive, s := len(srv.Sessions()), statsOf(t, db); alive != n || s.Lost != 0 || s.Logins != int64(n) {
			t.Errorf("%d of %d sessions are alive, %d were lost, %d logins", alive, n, s.Lost, s.Logins)
		}
		if n := log.Count("event=pings_late"); n != 0 {
			t.Errorf("%d lines say that pings are late", n)
		}
	}, shortestPolicy)
}

// TestDeadSessionsStarveNoPings: a third of the pool dies, and logins take so long that
// their replacement outlasts the policy. It stopped the pings for as long.
func TestDeadSessionsStarveNoPings(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n, dead, logins = 48, 16, 2
		db := pool(t, srv, n, append(pinged, snowtether.WithMaxLogins(logins))...)
		slowRequests(srv, 50*time.Second, snowtest.RequestLogin)
		for _, s := range srv.Sessions()[:dead] {
			srv.AbortSessions(s.ID)
		}
		time.Sleep(15 * time.Minute) // 16 logins of 50 s, two at a time, take 6:40
		if alive, s := len(srv.Sessions()), statsOf(t, db); alive != n || s.Lost != dead || s.Reconnects != dead {
			t.Errorf("%d of %d sessions are alive, %d were lost, %d replaced; want %d", alive, n, s.Lost, s.Reconnects, dead)
		}
	}, shortestPolicy)
}

// TestKeeperReplacesDeadSessionsSideBySide: as many at a time as logins may be under way.
func TestKeeperReplacesDeadSessionsSideBySide(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n, logins = 33, 4
		db := pool(t, srv, n, append(pinged, snowtether.WithMaxLogins(logins))...)
		mustExec(t, db, row(1)) // sessions of which none is ever used are paced
		slowRequests(srv, 30*time.Second, snowtest.RequestLogin)
		srv.AbortSessions()
		// The first is asked within 4 minutes. One login goes first, then four at a time.
		time.Sleep(4*time.Minute + 9*30*time.Second + time.Second)
		if alive, s := len(srv.Sessions()), statsOf(t, db); alive != n || s.Reconnects != n {
			t.Errorf("%d of %d sessions are alive, %d were replaced", alive, n, s.Reconnects)
		}
	})
}

// TestKeeperSaysWhenItCannotKeepUp: once, however many pings are late, and once when
// they are in time again.
func TestKeeperSaysWhenItCannotKeepUp(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n = 400 // of 15 s each, 16 at a time, take 6:15
		var log lines
		db := pool(t, srv, n, append(pinged, logTo(&log))...)
		slowRequests(srv, 15*time.Second, snowtest.RequestQuery)
		time.Sleep(time.Hour)
		if late, over := log.Count("level=WARN"), log.Count("event=pings_in_time"); late != 1 || log.Count("event=pings_late") != 1 || over != 0 {
			t.Errorf("%d warnings and %d ends of them, want one and none", late, over)
		}
		if n := log.Count(fmt.Sprint("sessions=", n)); n != 1 {
			t.Error("the warning does not say how many sessions lie idle")
		}
		db.SetMaxIdleConns(16)
		time.Sleep(30 * time.Minute)
		if late, over := log.Count("event=pings_late"), log.Count("event=pings_in_time"); late != 1 || over != 1 {
			t.Errorf("%d warnings and %d ends of them, want one each", late, over)
		}
	})
}

// TestOutageIsNoLatePing: nor is a server that is slow for a moment.
func TestOutageIsNoLatePing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		pool(t, srv, 200, append(pinged, logTo(&log))...)
		slowRequests(srv, 200*time.Millisecond, snowtest.RequestQuery)
		for _, outage := range []time.Duration{time.Minute, 5 * time.Minute, 40 * time.Minute} {
			time.Sleep(10 * time.Minute)
			srv.Disconnect()
			time.Sleep(outage)
			srv.Reconnect()
			time.Sleep(10 * time.Minute)
		}
		if n := log.Count("event=pings_late"); n != 0 {
			t.Errorf("%d lines say that pings are late", n)
		}
	})
}

// TestSleepIsNoLatePing: after a machine slept all sessions are overdue, also those that
// waited for their turn when it fell asleep.
func TestSleepIsNoLatePing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		var clock wall
		db := pool(t, srv, 64, idlePing, noBeat, snowtether.WithLogger(newLogger(&log)), testpool.WithClock(clock.now))
		use(t, db, 64)
		stall(srv, snowtest.RequestQuery, 5*time.Second)
		for range 20 {
			time.Sleep(every/2 + 7*time.Second)
			clock.jump(time.Hour)
			time.Sleep(8 * time.Second)
			clock.jump(time.Hour) // 16 of the 64 are being asked, others wait
		}
		if n := strings.Count(log.String(), "event=pings_late"); n != 0 {
			t.Errorf("%d lines say that pings are late", n)
		}
	})
}

// TestOneSilentSessionDoesNotStarveTheOthers: gosnowflake tries for minutes to
// cancel a ping that hangs, and meanwhile the other sessions are asked.
func TestOneSilentSessionDoesNotStarveTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n = 8
		db := pool(t, srv, n, idlePing, noBeat)
		use(t, db, n)
		id := srv.Sessions()[0].ID
		var over atomic.Bool
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if over.Load() || r.SessionID != id || r.Kind == snowtest.RequestLogout {
				return snowtest.Fault{}, false
			}
			return snowtest.Fault{Delay: 2 * time.Hour}, true
		})
		time.Sleep(30 * time.Minute)
		if alive := len(srv.Sessions()); alive < n-1 {
			t.Errorf("%d of %d sessions are alive", alive, n)
		}
		c, err := snowtether.ConnectorOf(db)
		if err != nil {
			t.Fatal(err)
		}
		if failed := c.Stats().PingFailures; failed == 0 || failed > 3 {
			t.Errorf("%d pings failed: the silent session is asked again while it is being asked", failed)
		}
		over.Store(true)
		time.Sleep(12 * time.Hour) // until gosnowflake has given up
	}, snowtest.WithIdleTimeout(5*time.Minute))
}

// TestPoolThatNobodyUsesIsNotPaced: its sessions are replaced as often as they end,
// and at once, because they last until then.
func TestPoolThatNobodyUsesIsNotPaced(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n = 32
		db := pool(t, srv, n, idlePing, noBeat)
		use(t, db, n)
		for range 5 {
			srv.AbortSessions()
			time.Sleep(every)
			if alive := len(srv.Sessions()); alive != n {
				t.Fatalf("%d of %d sessions are alive", alive, n)
			}
			time.Sleep(every)
		}
	}, snowtest.WithIdleTimeout(5*time.Minute))
}

// TestDeadIdleSessionIsReplacedAfterAnOutage: although no caller asks for it.
func TestDeadIdleSessionIsReplacedAfterAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, idlePing)
		use(t, db, 1)
		srv.AbortSessions()
		outage(srv, time.Hour, unavailable)
		time.Sleep(time.Hour + 2*every)
		if n := len(srv.Sessions()); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}
