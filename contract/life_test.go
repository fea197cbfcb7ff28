package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the life of sessions: pings, checkouts, log-outs, and what is
// left behind.

// stall makes every request of a kind wait, from now on.
func stall(srv *snowtest.Server, kind snowtest.RequestKind, d time.Duration) {
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != kind {
			return snowtest.Fault{}, false
		}
		return snowtest.Fault{Delay: d}, true
	})
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

// TestOneDeadSessionOf64CostsOneLogin: the others are suspect, are asked once, and
// stay.
func TestOneDeadSessionOf64CostsOneLogin(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 64)
		before := srv.Stats()
		srv.AbortSessions(srv.Sessions()[17].ID)
		everyone(t, db, 64, 4)
		after := srv.Stats()
		if n := after.Logins - before.Logins; n != 1 {
			t.Errorf("%d logins, want 1", n)
		}
	})
}

// TestSessionsThatDieTogetherAreAskedOnceEach: those that were replaced, while others
// were still being found dead, turned suspect again each time.
func TestSessionsThatDieTogetherAreAskedOnceEach(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n = 16
		db := pool(t, srv, n)
		probes := 0
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 1" {
				probes++
			}
			return snowtest.Fault{}, false
		})
		srv.AbortSessions()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond) // and so needs one connection more
				for j := range 200 {
					if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (?)", 1000*i+j); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if probes > n {
			t.Errorf("%d probes of %d sessions", probes, n)
		}
	}, snowtest.WithLatency(20*time.Millisecond))
}

// everyone lets n callers hold a connection each at the same time, and use it, a
// number of times.
func everyone(t *testing.T, db *sql.DB, n, times int) {
	t.Helper()
	for range times {
		var held, wg sync.WaitGroup
		held.Add(n)
		for range n {
			wg.Go(func() {
				conn, err := db.Conn(t.Context())
				held.Done()
				if err != nil {
					t.Error(err)
					return
				}
				held.Wait()
				var one int
				if err := conn.QueryRowContext(t.Context(), "SELECT 1").Scan(&one); err != nil {
					t.Error(err)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// TestSaturatedPoolSurvivesRollingExpiry: sessions keep dying while every
// connection is in use; database/sql's three tries are not enough for that.
func TestSaturatedPoolSurvivesRollingExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 8)
		stop := make(chan struct{})
		var killer, wg sync.WaitGroup
		killer.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(7 * time.Millisecond):
				}
				if open := srv.Sessions(); len(open) > 0 {
					srv.EndSessions(ways[1+i%5].End, open[i%len(open)].ID)
				}
			}
		})
		for worker := range 32 {
			wg.Go(func() {
				for i := range 70 {
					if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (?, ?)", worker, i); err != nil && !errors.Is(err, snowtether.ErrInDoubt) {
						t.Errorf("worker %d, statement %d: %v", worker, i, err)
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		killer.Wait()
		if d := srv.Doubles(); len(d) > 0 {
			t.Errorf("took effect twice: %v", d)
		}
	}, snowtest.WithLatency(2*time.Millisecond))
}

// TestSlowLogOutDelaysNobody: neither the caller whose session is replaced, nor
// one whose connection the pool does not keep.
func TestSlowLogOutDelaysNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2)
		stall(srv, snowtest.RequestLogout, 9*time.Second)
		srv.AbortSessions()
		begun := time.Now()
		for range 2 {
			if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != nil {
				t.Fatal(err)
			}
		}
		db.SetMaxIdleConns(1)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the callers waited %v", took)
		}
	})
}

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

// TestCloseReturnsWhenTheServerHangs: within 10 s, and says so.
func TestCloseReturnsWhenTheServerHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		c, err := snowtether.NewConnector(srv.Config(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		stall(srv, snowtest.RequestLogout, time.Minute)
		begun := time.Now()
		err = db.Close()
		if err == nil || !strings.Contains(err.Error(), "1 sessions have not been logged out") {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		if n := c.Stats().CloseTimeouts; n != 1 {
			t.Errorf("CloseTimeouts is %d", n)
		}
		time.Sleep(time.Hour) // the log-out ends by itself, and so does its goroutine
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

// TestPanicOfTheInnerDriverIsAnError: a server that ignores asyncExec makes
// gosnowflake hand out a nil pointer, and its prepared statements panic on it.
func TestPanicOfTheInnerDriverIsAnError(t *testing.T) {
	const answer = `{"data":{"rowtype":[],"rowset":[],"total":0,"queryId":"01b","statementTypeId":12544},"success":true,"code":null}`
	for name, use := range map[string]func(ctx context.Context, db *sql.DB) error{
		"exec": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, insert)
			return err
		},
		"query": func(ctx context.Context, db *sql.DB) error {
			rows, err := db.QueryContext(ctx, insert)
			if err == nil {
				err = errors.Join(rows.Err(), rows.Close())
			}
			return err
		},
		"plain read": func(ctx context.Context, db *sql.DB) error { return db.QueryRowContext(ctx, "SELECT 7").Scan(new(int)) },
		"prepared": func(ctx context.Context, db *sql.DB) error {
			stmt, err := db.PrepareContext(ctx, insert)
			if err != nil {
				return err
			}
			defer stmt.Close()
			_, err = stmt.ExecContext(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				onceAt(srv, snowtest.RequestQuery, snowtest.Fault{Body: answer})
				err := use(gosnowflake.WithAsyncMode(t.Context()), db)
				if !errors.Is(err, snowtether.ErrInDoubt) {
					t.Errorf("error is %v", err)
				}
				if _, err := db.ExecContext(t.Context(), insert); err != nil {
					t.Errorf("the next statement: %v", err)
				}
				if n := srv.Stats().Logins; n != 2 {
					t.Errorf("%d logins: the connection was not discarded", n)
				}
			})
		})
	}
}

var quiet = snowtether.WithLogger(discard)

// TestContextIsHonouredAtOnce: gosnowflake first tries to cancel the statement,
// for minutes if it must.
func TestContextIsHonouredAtOnce(t *testing.T) {
	for name, use := range map[string]func(ctx context.Context, db *sql.DB) error{
		"exec":  func(ctx context.Context, db *sql.DB) error { _, err := db.ExecContext(ctx, insert); return err },
		"query": func(ctx context.Context, db *sql.DB) error { return db.QueryRowContext(ctx, "SELECT 1").Scan(new(int)) },
		"ping":  func(ctx context.Context, db *sql.DB) error { return db.PingContext(ctx) },
		"begin": func(ctx context.Context, db *sql.DB) error { _, err := db.BeginTx(ctx, nil); return err },
	} {
		for cancelling, fault := range map[string]snowtest.Fault{
			"works": {Delay: 100 * time.Millisecond}, "is slow": {Delay: time.Minute}, "fails": {Status: 503},
		} {
			t.Run(name+", cancelling "+cancelling, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return snowtest.Fault{Run: true, Delay: time.Minute}, r.Kind == snowtest.RequestQuery
					})
					srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
						if r.Kind != snowtest.RequestAbort {
							return snowtest.Fault{}, false
						}
						return fault, true
					})
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					begun := time.Now()
					err := use(ctx, db)
					if took := time.Since(begun); took != time.Second || !errors.Is(err, context.DeadlineExceeded) || snowtether.Classify(err) != snowtether.ClassContext {
						t.Errorf("waited %v: %v", took, err)
					}
					before := srv.Stats().Logins
					if err := db.PingContext(t.Context()); err != nil {
						t.Errorf("the next statement: %v", err)
					}
					if kept := srv.Stats().Logins == before; kept != (cancelling == "works" && name != "begin") {
						t.Errorf("the connection was kept: %v", kept)
					}
					time.Sleep(time.Hour)
				})
			})
		}
	}
}

// TestChangedSessionIsKeptOrDiscarded: with DiscardChanged one caller's role is
// never the next one's; by default the pool keeps the connection, as database/sql
// users expect.
func TestChangedSessionIsKeptOrDiscarded(t *testing.T) {
	for _, change := range []string{"USE ROLE r", "use secondary roles none", "ALTER SESSION SET TIMEZONE = 'UTC'", "SET x = 1", "UNSET x", "CREATE OR REPLACE TEMP TABLE x (a INT)"} {
		for _, what := range []snowtether.ChangedSession{snowtether.KeepChanged, snowtether.DiscardChanged} {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1, snowtether.WithChangedSession(what))
				if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != nil {
					t.Fatal(err)
				}
				before := srv.Sessions()[0].ID
				if _, err := db.ExecContext(t.Context(), change); err != nil {
					t.Fatal(err)
				}
				if err := db.PingContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				kept := srv.Sessions()[0].ID == before
				if kept != (what == snowtether.KeepChanged) {
					t.Errorf("%s: the session was kept: %v", change, kept)
				}
			})
		}
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
