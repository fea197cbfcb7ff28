package contract_test

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Pinned connections (docs/guarantees.md): a connection that a program holds on to goes on where
// nothing of its holder's was lost, whatever happened.

// troubles are what a statement may meet on a connection that has no state; each
// returns the statement's error.
var troubles = map[string]func(t *testing.T, srv *snowtest.Server, conn dbtx) error{
	"an outage longer than its deadline": func(t *testing.T, srv *snowtest.Server, conn dbtx) error {
		srv.Disconnect()
		defer srv.Reconnect()
		return execWithin(t, time.Minute, conn, row(1))
	},
	"an outage longer than its deadline, in which the session ended": func(t *testing.T, srv *snowtest.Server, conn dbtx) error {
		srv.AbortSessions()
		srv.Disconnect()
		defer srv.Reconnect()
		return execWithin(t, time.Minute, conn, row(1))
	},
	"logins that fail for longer than its deadline": func(t *testing.T, srv *snowtest.Server, conn dbtx) error {
		srv.AbortSessions()
		on := noLogins(srv)
		defer on.Store(false)
		return execWithin(t, time.Minute, conn, row(1))
	},
	"logins that fail for longer than the budget": func(t *testing.T, srv *snowtest.Server, conn dbtx) error {
		srv.AbortSessions()
		on := noLogins(srv)
		defer on.Store(false)
		_, err := conn.ExecContext(t.Context(), row(1))
		return err
	},
	"a refused login": func(t *testing.T, srv *snowtest.Server, conn dbtx) error {
		srv.AbortSessions()
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Code: "390422", Message: "Not from this address."}, r.Kind == snowtest.RequestLogin
		})
		_, err := conn.ExecContext(t.Context(), row(1))
		time.Sleep(time.Minute)
		return err
	},
	"a doubt, with its session alive": func(t *testing.T, srv *snowtest.Server, conn dbtx) error {
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Run: r.RetryCount == 0, Drop: true}, r.Kind == snowtest.RequestQuery && r.SQL == row(1)
		})
		return execWithin(t, time.Minute, conn, row(1))
	},
	"a doubt, with its session gone": func(t *testing.T, srv *snowtest.Server, conn dbtx) error {
		runAndLose(srv, row(1))
		_, err := conn.ExecContext(t.Context(), row(1))
		isInDoubt(t, err, false)
		return err
	},
	"a deadline while it ran": func(t *testing.T, srv *snowtest.Server, conn dbtx) error {
		slowly(srv, `^INSERT INTO t VALUES \(1\)`, time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		return execWithin(t, time.Second, conn, row(1))
	},
	"a deadline while a hung server was waited for": func(t *testing.T, srv *snowtest.Server, conn dbtx) error {
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: time.Minute}, r.Kind == snowtest.RequestQuery
		})
		return execWithin(t, 5*time.Second, conn, row(1))
	},
}

// TestPinnedConnectionLivesOn: where nothing of its holder's was lost, so that the very check
// that an error asks for can be made on it. Before: "driver: bad connection", then
// "connection is already closed".
func TestPinnedConnectionLivesOn(t *testing.T) {
	for name, trouble := range troubles {
		for _, rested := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, rested %v", name, rested), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					if rested {
						time.Sleep(10 * time.Minute)
					}
					err := trouble(t, srv, conn)
					if err == nil || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
						t.Errorf("error is %v", err)
					}
					for i := range 3 {
						if err := drain(conn.QueryContext(t.Context(), "SELECT a FROM t")); err != nil {
							t.Errorf("the check: %v", err)
						}
						mustExec(t, conn, row(10+i))
						checkRan(t, srv, row(10+i), 1, 1)
						tx := mustBegin(t, conn)
						mustExec(t, tx, row(20+i))
						if err := tx.Commit(); err != nil {
							t.Error(err)
						}
						checkRan(t, srv, row(20+i), 1, 1)
					}
					time.Sleep(2 * time.Hour)
				})
			})
		}
	}
}

// TestPinnedConnectionWithoutStateOutlivesItsSession: also after a doubt.
// Before: after a doubt the next statement closed the pinned connection.
func TestPinnedConnectionWithoutStateOutlivesItsSession(t *testing.T) {
	for _, way := range endings {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			conn := pin(t, pool(t, srv, 1))
			once(srv, row(1), snowtest.Fault{Run: true, Drop: true, After: func() { srv.EndSessions(way.end) }})
			_, err := conn.ExecContext(t.Context(), row(1))
			isInDoubt(t, err, false)
			for i := 2; i < 5; i++ {
				mustExec(t, conn, row(i))
				checkRan(t, srv, row(i), 1, 1)
				srv.EndSessions(way.end)
			}
		})
	}
}

// TestPinnedConnectionThatLostStateSaysSoOnce: whatever the trouble was, and then it lives on.
func TestPinnedConnectionThatLostStateSaysSoOnce(t *testing.T) {
	for _, name := range []string{
		"an outage longer than its deadline, in which the session ended", "logins that fail for longer than its deadline",
		"logins that fail for longer than the budget", "a doubt, with its session gone",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := pin(t, pool(t, srv, 1))
				mustExec(t, conn, "USE SCHEMA s")
				told := 0
				err := troubles[name](t, srv, conn)
				for range 4 {
					if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
						t.Fatal(err)
					}
					if errors.Is(err, snowtether.ErrSessionLost) {
						told++
					}
					_, err = conn.ExecContext(t.Context(), "UPDATE t SET a = 1")
				}
				if told != 1 || err != nil {
					t.Errorf("told %d times; the last statement: %v", told, err)
				}
				time.Sleep(2 * time.Hour)
			}, snowtest.AllowRepeats())
		})
	}
}

// TestBareConnectionGoesOnAfterALostTransaction: its user has no database/sql (ADBC); a
// ROLLBACK, in whatever way, ends the transaction, and the connection goes on.
func TestBareConnectionGoesOnAfterALostTransaction(t *testing.T) {
	for _, byText := range []bool{false, true} {
		for _, way := range endings {
			t.Run(fmt.Sprintf("as text %v, %s", byText, way.name), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn, exec := bareConn(t, srv)
					for i := range 3 {
						var tx driver.Tx
						var err error
						if byText {
							err = exec("BEGIN")
						} else {
							tx, err = conn.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{})
						}
						if err != nil {
							t.Fatal(err)
						}
						if err := exec(row(10 * i)); err != nil {
							t.Error(err)
						}
						srv.EndSessions(way.end)
						for j := range 2 {
							isLost(t, exec(row(10*i+1+j)), true)
						}
						if byText {
							err = exec("ROLLBACK")
						} else {
							err = tx.Rollback()
						}
						if err != nil {
							t.Errorf("ROLLBACK: %v", err)
						}
						if err := exec(row(10*i + 5)); err != nil {
							t.Errorf("afterwards: %v", err)
						}
						checkRan(t, srv, row(10*i), 1, 0)
						checkRan(t, srv, row(10*i+5), 1, 1)
					}
				})
			})
		}
	}
}
