package contract_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Network cuts (docs/guarantees.md): a statement that has not left the machine waits until
// Snowflake can be reached again. What only looks like an outage is none.

// TestStatementsWaitOutANetworkCut: for as long as their callers do, on the
// sessions that they had.
func TestStatementsWaitOutANetworkCut(t *testing.T) {
	for _, use := range uses {
		t.Run(use.Name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				before := srv.Stats().Logins
				cut(srv)
				time.AfterFunc(20*time.Minute, srv.Reconnect)
				if err := use.Use(within(t, 30*time.Minute), db, 1); err != nil {
					t.Error(err)
				}
				if logins := srv.Stats().Logins - before; logins != 0 {
					t.Errorf("%d logins", logins)
				}
				if d := srv.Doubles(); len(d) > 0 {
					t.Errorf("took effect twice: %v", d)
				}
			}, snowtest.AllowRepeats())
		})
	}
}

// TestNetworkCutIsTwoLinesInTheLog: its beginning and its end, however many
// statements met it.
func TestNetworkCutIsTwoLinesInTheLog(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		db := pool(t, srv, 4, snowtether.WithLogger(newLogger(&log)))
		cut(srv)
		time.AfterFunc(20*time.Minute, srv.Reconnect)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if _, err := db.ExecContext(within(t, 30*time.Minute), fmt.Sprintf("INSERT INTO t VALUES (%d)", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, line := range []string{"level=WARN msg=\"snowtether: Snowflake cannot be reached", "level=INFO msg=\"snowtether: Snowflake can be reached again"} {
			if n := strings.Count(log.String(), line); n != 1 {
				t.Errorf("%q stands in the log %d times:\n%s", line, n, log.String())
			}
		}
	})
}

// TestTransactionWaitsOutANetworkCut: also its COMMIT.
func TestTransactionWaitsOutANetworkCut(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []func() error{
			func() error { _, err := tx.ExecContext(within(t, 30*time.Minute), insert); return err },
			func() error { _, err := tx.ExecContext(t.Context(), "INSERT INTO t VALUES (2)"); return err },
			tx.Commit,
		} {
			cut(srv)
			time.AfterFunc(time.Minute, srv.Reconnect)
			if err := step(); err != nil {
				t.Error(err)
			}
		}
		if srv.Effects(insert) != 1 || srv.Effects("INSERT INTO t VALUES (2)") != 1 {
			t.Error("the transaction did not last")
		}
	})
}

// TestStatementWithoutDeadlineGivesUpAfterTheBudget: with an error that says that it
// did not run.
func TestStatementWithoutDeadlineGivesUpAfterTheBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, snowtether.WithConnectBudget(5*time.Minute))
		cut(srv)
		begun := time.Now()
		_, err := db.ExecContext(t.Context(), insert)
		if snowtether.Classify(err) != snowtether.ClassTransient || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("the error is %v", err)
		}
		// The budget begins with gosnowflake's first failure; its last try may end after it.
		if took := time.Since(begun); took < 4*time.Minute || took > 10*time.Minute {
			t.Errorf("it took %v", took)
		}
		srv.Reconnect()
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if n := srv.Effects(insert); n != 1 {
			t.Errorf("took effect %d times", n)
		}
	})
}

// TestCallerLeavesANetworkCutAtOnce: with the context's error.
func TestCallerLeavesANetworkCutAtOnce(t *testing.T) {
	for _, patience := range []time.Duration{time.Second, 3 * time.Minute, 20 * time.Minute} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			cut(srv)
			begun := time.Now()
			_, err := db.ExecContext(within(t, patience), insert)
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, driver.ErrBadConn) {
				t.Errorf("the error is %v", err)
			}
			if took := time.Since(begun); took != patience {
				t.Errorf("it took %v, want %v", took, patience)
			}
			srv.Reconnect()
			time.Sleep(10 * time.Minute) // gosnowflake's cancelling
			if n := srv.Accepted(insert); n != 0 {
				t.Errorf("accepted %d times", n)
			}
		})
	}
}

// TestPinnedConnectionOutlivesACutInWhichItsSessionEnded: waiting for the network is
// not counted as losing one session after the other.
func TestPinnedConnectionOutlivesACutInWhichItsSessionEnded(t *testing.T) {
	for _, d := range []time.Duration{10 * time.Second, 20 * time.Minute} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			cut(srv)
			srv.AbortSessions()
			time.AfterFunc(d, srv.Reconnect)
			if _, err := conn.ExecContext(within(t, 30*time.Minute), insert); err != nil {
				t.Errorf("after %v: %v", d, err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSuspectSessionsOutliveANetworkCut: that they cannot be asked says nothing.
func TestSuspectSessionsOutliveANetworkCut(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const n = 8
		db := pool(t, srv, n)
		use(t, db, n)
		if _, err := db.ExecContext(t.Context(), "INSERT INTO who VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		ledger := srv.Ledger()
		srv.AbortSessions(ledger[len(ledger)-1].SessionID)
		if _, err := db.ExecContext(t.Context(), "INSERT INTO who VALUES (2)"); err != nil {
			t.Fatal(err) // it has found the session dead, and the others are suspect
		}
		before := srv.Stats().Logins
		cut(srv)
		time.AfterFunc(20*time.Minute, srv.Reconnect)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if _, err := db.ExecContext(within(t, 30*time.Minute), fmt.Sprintf("INSERT INTO t VALUES (%d)", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if logins := srv.Stats().Logins - before; logins != 0 {
			t.Errorf("%d logins", logins)
		}
	})
}

// TestAcceptedStatementWaitsOutANetworkCut: the server goes on with it.
func TestAcceptedStatementWaitsOutANetworkCut(t *testing.T) {
	for _, query := range []string{insert, "SELECT a FROM t"} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			slowly(srv, regexp.QuoteMeta(query), 5*time.Minute, nil, nil)
			db := pool(t, srv, 1)
			time.AfterFunc(70*time.Second, srv.Disconnect)
			time.AfterFunc(20*time.Minute, srv.Reconnect)
			rows, err := db.QueryContext(within(t, time.Hour), query)
			if err != nil {
				t.Fatal(err)
			}
			if err := rows.Close(); err != nil {
				t.Error(err)
			}
			if n := srv.Accepted(query); n != 1 {
				t.Errorf("accepted %d times", n)
			}
		})
	}
}

// TestUnseenFailureIsInDoubt: where no traffic is seen at all, somebody hides it, and
// the statement may have been sent.
func TestUnseenFailureIsInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := srv.Config()
		cfg.Transporter = hiding{cfg.Transporter}
		db, _ := connect(t, cfg)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestQuery {
				return snowtest.Fault{}, false
			}
			return snowtest.Fault{Run: true, Drop: true}, true
		})
		_, err := db.ExecContext(t.Context(), insert)
		ranInDoubt(t, srv, insert, err, 1)
	})
}

// TestLoginThatCloseEndsIsNoFailure: nobody is told of an outage or a refusal, be the
// login under way or just done.
func TestLoginThatCloseEndsIsNoFailure(t *testing.T) {
	for _, at := range []string{"under way", "just done"} {
		t.Run(at, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var j journal
				var c *snowtether.Connector
				var closing sync.WaitGroup
				closeSoon := func() {
					closing.Go(func() {
						if err := c.Close(); err != nil {
							t.Error(err)
						}
					})
					time.Sleep(time.Millisecond)
				}
				c, err := snowtether.NewConnector(srv.Config(), quiet, snowtether.WithEventHook(func(e snowtether.Event) {
					j.hook(e)
					if e.Kind == snowtether.EventOpened && at == "just done" {
						closeSoon()
					}
				}))
				if err != nil {
					t.Fatal(err)
				}
				got := make(chan error)
				if at == "under way" {
					stall(srv, snowtest.RequestLogin, time.Second)
				}
				go func() {
					_, err := c.Connect(t.Context())
					got <- err
				}()
				if at == "under way" {
					synctest.Wait()
					closeSoon()
				}
				if err := <-got; err == nil || !strings.Contains(err.Error(), "closed") {
					t.Errorf("Connect: %v", err)
				}
				closing.Wait()
				for _, kind := range []snowtether.EventKind{snowtether.EventLoginFailed, snowtether.EventOutageBegan, snowtether.EventLoginSuspended} {
					if events := j.of(kind); len(events) > 0 {
						t.Errorf("it was made known: %+v", events)
					}
				}
			})
		})
	}
}
