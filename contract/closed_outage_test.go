package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Sessions are closed (docs/guarantees.md): those that are given up while Snowflake cannot be
// reached are asked until they can be logged out, and only those.

// TestSessionGivenUpIsLoggedOutAfterASecondOutageToo: that another session was answered
// between the two says nothing about now. An idle pool notices no outage by itself.
func TestSessionGivenUpIsLoggedOutAfterASecondOutageToo(t *testing.T) {
	behind := 0
	for up := 60; up < 120; up += 2 { // when the first outage ends, in seconds
		t.Run(fmt.Sprintf("%d s", up), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 2)
				conn := pin(t, db)
				mustExec(t, conn, "BEGIN", row(1))
				srv.Disconnect()
				if err := execWithin(t, 10*time.Second, conn, row(2)); err == nil {
					t.Error("there was an outage, and no error")
				}
				_ = conn.Close()
				time.Sleep(time.Duration(up-10) * time.Second)
				srv.Reconnect()
				if err := db.PingContext(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
				srv.Disconnect()
				time.Sleep(5 * time.Minute)
				srv.Reconnect()
				time.Sleep(5 * time.Minute)
				if n := len(srv.Sessions()); n > 1 {
					behind++
					t.Errorf("%d sessions are open, in a pool with one", n)
				}
			}, snowtest.AllowOpenSessions())
		})
	}
	t.Logf("left behind in %d of 30", behind)
}

// TestSessionThatIsKeptIsNotAskedBeforeItIsClosed: it is not logged out, so that there is
// nothing to reach it for.
func TestSessionThatIsKeptIsNotAskedBeforeItIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.ServerSessionKeepAlive = true
		db := poolOf(t, cfg, 1)
		conn := pin(t, db)
		srv.Disconnect()
		if err := execWithin(t, 10*time.Second, conn, "SELECT 1"); err == nil {
			t.Error("there was an outage, and no error")
		}
		time.Sleep(10 * time.Minute) // until gosnowflake has cancelled it
		_ = conn.Close()
		closeInTime(t, db)
		srv.Reconnect()
	}, snowtest.AllowOpenSessions())
}

// leavingAsync sends an asynchronous statement. over is to be called in the end: else
// gosnowflake waits for somebody who asks for the result.
func leavingAsync(t *testing.T, conn *sql.Conn, query string) (over func()) {
	t.Helper()
	res, err := conn.ExecContext(gosnowflake.WithAsyncMode(t.Context()), query)
	if err != nil {
		t.Fatal(err)
	}
	return func() { _, _ = res.RowsAffected() }
}

// TestSessionThatIsClosedHereAloneIsNotAskedBefore: its token cannot be sent, and its
// asynchronous statement goes on.
func TestSessionThatIsClosedHereAloneIsNotAskedBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db := pool(t, srv, 1, snowtether.WithEventHook(j.hook))
		slowly(srv, "^INSERT INTO t", 2*time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		slowly(srv, "^SELECT 7", time.Hour, nil, nil)
		conn := pin(t, db)
		defer leavingAsync(t, conn, row(1))()
		if err := execWithin(t, time.Second, conn, "SELECT 7"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		db.SetMaxIdleConns(-1)
		_ = conn.Close()
		time.Sleep(time.Minute)
		if n := len(j.of(snowtether.EventLeftOpen)); n != 1 {
			t.Errorf("a minute later the session is not closed: %d events", n)
		}
		closeInTime(t, db)
		time.Sleep(3 * time.Hour)
		checkRan(t, srv, row(1), 1, 1)
	}, snowtest.AllowOpenSessions())
}
