package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Sessions are closed (docs/guarantees.md): Close logs sessions out, and a login that is under way
// or that nobody waits for leaves none behind. What a caller left is closed later.

// TestCloseLogsOut: no session is left on the server.
func TestCloseLogsOut(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 16)
		stall(srv, snowtest.RequestLogout, 3*time.Second)
		begun := time.Now()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("took %v: not side by side", took)
		}
		if n := len(srv.Sessions()); n != 0 {
			t.Errorf("%d sessions left", n)
		}
		if err := db.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// TestCallerWhoLeavesDuringLoginLeavesNoSession: gosnowflake leaks it, with its
// heartbeat.
func TestCallerWhoLeavesDuringLoginLeavesNoSession(t *testing.T) {
	for _, leaves := range []time.Duration{0, time.Millisecond, 999 * time.Millisecond, time.Second} {
		t.Run(leaves.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				c, err := snowtether.NewConnector(srv.Config(), quiet)
				if err != nil {
					t.Fatal(err)
				}
				db := sql.OpenDB(c)
				stall(srv, snowtest.RequestLogin, time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), leaves)
				defer cancel()
				begun := time.Now()
				err = db.PingContext(ctx)
				if took := time.Since(begun); took > leaves {
					t.Errorf("waited %v after %v", took, leaves)
				}
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error is %v", err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := len(srv.Sessions()); n > db.Stats().OpenConnections {
					t.Errorf("%d sessions, %d connections", n, db.Stats().OpenConnections)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestCloseDuringLoginLeavesNoSession: Close waits for the login and undoes it.
func TestCloseDuringLoginLeavesNoSession(t *testing.T) {
	for name, fault := range map[string]snowtest.Fault{
		"before it is opened": {Delay: 2 * time.Second},
		"after it was opened": {After: func() { time.Sleep(2 * time.Second) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				c, err := snowtether.NewConnector(srv.Config(), quiet)
				if err != nil {
					t.Fatal(err)
				}
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return fault, r.Kind == snowtest.RequestLogin })
				got := make(chan error)
				go func() {
					_, err := c.Connect(t.Context())
					got <- err
				}()
				time.Sleep(time.Second)
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				if err := <-got; err == nil || errors.Is(err, driver.ErrBadConn) {
					t.Errorf("Connect: %v", err)
				}
				if _, err := c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
					t.Errorf("Connect after Close: %v", err)
				}
			})
		})
	}
}

// TestCloseWhileALoginSucceedsLeavesNoSession: the tokens have come, the session is
// not handed out yet.
func TestCloseWhileALoginSucceedsLeavesNoSession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		closed := make(chan error, 1)
		var c *snowtether.Connector
		c, err := snowtether.NewConnector(srv.Config(), quiet, snowtether.WithEventHook(func(e snowtether.Event) {
			if e.Kind == snowtether.EventOpened {
				go func() { closed <- c.Close() }()
				time.Sleep(time.Second)
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("Connect: %v", err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		if n := len(srv.Sessions()); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// TestConnectionOpenedByTheDriverLeavesNothing: there is no pool to close.
func TestConnectionOpenedByTheDriverLeavesNothing(t *testing.T) {
	srv := snowtest.New(t)
	before := runtime.NumGoroutine()
	for range 10 {
		conn, err := snowtether.Driver{}.Open(srv.DSN() + "&tetherIdlePing=1s")
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	for dsn, want := range map[string]string{"u:p@a/d?tetherMaxLogins=many": "tetherMaxLogins", strings.Replace(srv.DSN(), srv.User()+":", "nobody:", 1): "390100"} {
		if _, err := (snowtether.Driver{}).Open(dsn); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
	if n := len(srv.Sessions()); n != 0 {
		t.Errorf("%d sessions left", n)
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+8; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestNothingIsLeftOnARealListener: no goroutine; the bubbles above show it in
// memory.
func TestNothingIsLeftOnARealListener(t *testing.T) {
	cycle := func() {
		srv := snowtest.New(t)
		db := pool(t, srv, 4)
		everyone(t, db, 4, 2)
		srv.ExpireMasterTokens()
		everyone(t, db, 4, 2)
		if err := errors.Join(db.Close(), srv.Close()); err != nil {
			t.Fatal(err)
		}
	}
	cycle() // what gosnowflake starts once for the process
	before := runtime.NumGoroutine()
	for range 5 {
		cycle()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for runtime.NumGoroutine() > before {
		select {
		case <-time.After(time.Millisecond): // connections end on their own time
		case <-ctx.Done():
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestSessionGivenUpInAnOutageIsLoggedOutAfterIt: whatever it was given up for, and however
// long that lasts, it does not stay behind, with its transaction and the locks of that.
// snowtest's own check looks at the sessions.
func TestSessionGivenUpInAnOutageIsLoggedOutAfterIt(t *testing.T) {
	ways := map[string]func(t *testing.T, db *sql.DB, conn *sql.Conn) error{
		"after a rest": func(t *testing.T, _ *sql.DB, conn *sql.Conn) error {
			time.Sleep(10 * time.Minute)
			return execWithin(t, time.Minute, conn, row(1))
		},
		"with a transaction": func(t *testing.T, _ *sql.DB, conn *sql.Conn) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := conn.ExecContext(ctx, row(1))
			return err
		},
		"because it is not kept": func(t *testing.T, db *sql.DB, conn *sql.Conn) error {
			err := execWithin(t, time.Minute, conn, row(1))
			_ = conn.Close()
			db.SetMaxIdleConns(-1)
			return err
		},
	}
	for name, way := range ways {
		for _, outage := range []time.Duration{2 * time.Minute, 30 * time.Minute} {
			t.Run(fmt.Sprintf("%s, %v", name, outage), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					conn := pin(t, db)
					if name == "with a transaction" {
						mustExec(t, conn, "BEGIN")
					}
					begun := time.Now()
					time.AfterFunc(10*time.Minute, srv.Disconnect)
					time.AfterFunc(10*time.Minute+outage, srv.Reconnect)
					if name != "after a rest" {
						time.Sleep(10 * time.Minute)
					}
					time.Sleep(time.Millisecond)
					if err := way(t, db, conn); err == nil {
						t.Error("there was an outage, and no error")
					}
					time.Sleep(time.Until(begun.Add(10*time.Minute + outage)))
					_ = conn.Close()
					db.SetMaxIdleConns(-1)
					time.Sleep(time.Minute)
					for _, ses := range srv.Sessions() {
						t.Errorf("session %d is still open", ses.ID)
					}
				})
			})
		}
	}
}

// TestPingOnADeadSessionSucceeds: database/sql does not repeat it.
func TestPingOnADeadSessionSucceeds(t *testing.T) {
	for _, way := range ways {
		t.Run(way.Name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				if way.Logins == 0 {
					srv.ExpireSessionTokens()
				} else {
					srv.EndSessions(way.End)
				}
				if err := db.PingContext(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
