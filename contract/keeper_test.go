package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about pings that meet a server in trouble.

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
		lostInTx(t, err)
		lostInTx(t, tx.Commit())
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

// TestStateThatTheKeeperLosesIsInTheLog: as when a statement meets the dead session.
func TestStateThatTheKeeperLosesIsInTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		db := pool(t, srv, 1, snowtether.WithIdlePing(4*time.Minute), snowtether.WithLogger(newLogger(&log)))
		if _, err := db.ExecContext(t.Context(), "USE SCHEMA elsewhere"); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		time.Sleep(10 * time.Minute)
		if n := srv.Stats().Logins; n != 2 {
			t.Errorf("%d logins: the keeper did not replace it", n)
		}
		if n := strings.Count(log.String(), "event=state_lost"); n != 1 {
			t.Errorf("%d lines about lost state in:\n%s", n, log.String())
		}
		if text := log.String(); strings.Contains(text, "nothing needs doing") || !strings.Contains(text, "event=reconnected") {
			t.Errorf("the line about the new session claims too much:\n%s", text)
		}
	})
}

// TestStatementLeftBehindStaysOnItsSession: while it is still being cancelled its dead
// session is replaced in the pool, and the next caller waits for neither.
func TestStatementLeftBehindStaysOnItsSession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, snowtether.WithIdlePing(4*time.Minute))
		slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		stall(srv, snowtest.RequestAbort, 30*time.Minute)
		if _, err := db.ExecContext(within(t, time.Second), insert); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error is %v", err)
		}
		srv.AbortSessions()
		time.Sleep(10 * time.Minute)
		begun := time.Now()
		if _, err := db.ExecContext(t.Context(), "UPDATE t SET n = 1"); err != nil || time.Since(begun) != 0 {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if n := srv.Stats().Logins; n != 2 {
			t.Errorf("%d logins: the keeper did not replace it", n)
		}
		for _, e := range srv.Ledger() {
			if own := int64(1); (e.SQL == insert) != (e.SessionID == own) {
				t.Errorf("%s ran in session %d", e.SQL, e.SessionID)
			}
		}
		time.Sleep(2 * time.Hour)
	})
}
