package snowtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// In these tests time is virtual: each takes milliseconds.

func TestBusySessionLivesOnRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		c := conn(t, open(t, srv))
		for range 48 {
			time.Sleep(50 * time.Minute)
			exec(t, c, "SELECT 1")
		}
		if st := srv.Stats(); st.Renewals != 24 || st.Logins != 1 {
			t.Errorf("%d renewals, %d logins in 40 hours", st.Renewals, st.Logins)
		}
	})
}

func TestIdleSessionEndsWithItsMasterToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		c := conn(t, open(t, srv))
		time.Sleep(4*time.Hour - time.Second)
		exec(t, c, "SELECT 1") // slides the master token
		time.Sleep(4*time.Hour - time.Second)
		exec(t, c, "SELECT 1")
		time.Sleep(4 * time.Hour)
		if n := len(srv.Sessions()); n != 0 {
			t.Errorf("%d sessions are open", n)
		}
		_, err := c.ExecContext(t.Context(), "SELECT 1")
		wantCode(t, err, 390114)
	})
}

func TestTokenLifeCanBeSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithTokenLife(time.Minute, 3*time.Minute))
		c := conn(t, open(t, srv))
		time.Sleep(2 * time.Minute)
		exec(t, c, "SELECT 1")
		if n := srv.Stats().Renewals; n != 1 {
			t.Errorf("%d renewals", n)
		}
		time.Sleep(3 * time.Minute)
		_, err := c.ExecContext(t.Context(), "SELECT 1")
		wantCode(t, err, 390114)
	})
}

func TestHeartbeatKeepsAnIdleSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithIdleTimeout(20*time.Minute))
		yes, seconds := "true", "900"
		db := open(t, srv, func(c *gosnowflake.Config) {
			c.Params = map[string]*string{
				"client_session_keep_alive":                     &yes,
				"client_session_keep_alive_heartbeat_frequency": &seconds,
			}
		})
		c := conn(t, db)
		time.Sleep(24*time.Hour + time.Minute)
		exec(t, c, "SELECT 1")
		// Of the 96 heartbeats, each fourth finds an expired token and becomes a renewal.
		if st := srv.Stats(); st.Heartbeats < 70 || st.Renewals < 20 || st.Logins != 1 {
			t.Errorf("%d heartbeats, %d renewals, %d logins", st.Heartbeats, st.Renewals, st.Logins)
		}
		_ = c.Close()
		_ = db.Close() // the heartbeat goroutine belongs to the bubble
	})
}

func TestAdvanceAgesSessionsAndTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		c := conn(t, open(t, srv))
		srv.Advance(time.Hour)
		exec(t, c, "SELECT 1")
		if n := srv.Stats().Renewals; n != 1 {
			t.Errorf("%d renewals", n)
		}
		srv.Advance(4 * time.Hour)
		_, err := c.ExecContext(t.Context(), "SELECT 1")
		wantCode(t, err, 390114)

		srv = snowtest.New(t, snowtest.InMemory(), snowtest.WithIdleTimeout(time.Hour), snowtest.WithMaxSessionLife(3*time.Hour))
		one, two := conn(t, open(t, srv)), conn(t, open(t, srv))
		for range 4 {
			srv.Advance(45 * time.Minute)
			_, err = one.ExecContext(t.Context(), "SELECT 1")
		}
		wantCode(t, err, 390111)
		_, err = two.ExecContext(t.Context(), "SELECT 2")
		wantCode(t, err, 390111)
		if n := srv.Accepted("SELECT 1"); n != 3 {
			t.Errorf("%d statements were accepted in three hours", n)
		}
	})
}

// gosnowflake reads the setting as the exact string true under the lower-case
// key, and says nothing about any other.
func TestKeepAliveInUpperCaseSendsNoHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		yes := "TRUE"
		db := open(t, srv, func(c *gosnowflake.Config) {
			c.Params = map[string]*string{"client_session_keep_alive": &yes}
		})
		c := conn(t, db)
		time.Sleep(5 * time.Hour)
		_, err := c.ExecContext(t.Context(), "SELECT 1")
		wantCode(t, err, 390114)
		if n := srv.Stats().Requests[snowtest.RequestHeartbeat]; n != 0 {
			t.Errorf("%d heartbeats", n)
		}
	})
}

func TestIdleTimeoutEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithIdleTimeout(10*time.Minute), snowtest.WithInlineWait(2*time.Hour))
		b := block(srv, "SLOW")
		c := conn(t, open(t, srv))
		time.Sleep(9 * time.Minute)
		exec(t, c, "SELECT 1")
		time.Sleep(9 * time.Minute)
		go func() {
			<-b.began
			time.Sleep(time.Hour)
			if n := len(srv.Sessions()); n != 1 {
				t.Error("the session of a running statement counts as idle")
			}
			close(b.release)
		}()
		exec(t, c, "UPDATE slow SET x = 1")
		time.Sleep(9 * time.Minute)
		exec(t, c, "SELECT 1")
		time.Sleep(10 * time.Minute)
		_, err := c.ExecContext(t.Context(), "SELECT 1")
		wantCode(t, err, 390111)
	})
}

func TestMaxSessionLifeEndsABusySession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.WithMaxSessionLife(time.Hour))
		c := conn(t, open(t, srv))
		for range 11 {
			time.Sleep(5 * time.Minute)
			exec(t, c, "SELECT 1")
		}
		time.Sleep(5 * time.Minute)
		_, err := c.ExecContext(t.Context(), "SELECT 1")
		wantCode(t, err, 390111)
	})
}

func TestInlineWaitIsSnowflakes45Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		b := block(srv, "SLOW")
		go func() {
			<-b.began
			time.Sleep(100 * time.Second)
			close(b.release)
		}()
		c := conn(t, open(t, srv))
		start := time.Now()
		exec(t, c, "UPDATE slow SET x = 1")
		if took := time.Since(start); took != 100*time.Second {
			t.Errorf("took %v", took)
		}
		// 45 s in the query request, 45 s and the last 10 s in requests for the result.
		if st := srv.Stats(); st.Requests[snowtest.RequestQuery] != 1 || st.Requests[snowtest.RequestResult] != 2 {
			t.Errorf("requests: %v", st.Requests)
		}
	})
}

// A dead idle connection that is closed says so with an expired token, and
// gosnowflake does not renew for a log-out.
func TestLogoutWithAnExpiredTokenIsExcused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		db := open(t, srv)
		column(t, t.Context(), db, "SELECT 1")
		time.Sleep(2 * time.Hour)
		_ = db.Close()
		if n := len(srv.Sessions()); n != 1 {
			t.Errorf("%d sessions are open", n)
		}
		if err := srv.Check(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		if n := len(srv.Sessions()); n != 0 {
			t.Errorf("%d sessions are open after the master token's life", n)
		}
	})
}
