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

// caseTroubles are what a statement may meet on a connection that has no state; each
// returns the statement's error.
var caseTroubles = map[string]func(t *testing.T, srv *snowtest.Server, conn caseDB) error{
	"an outage longer than its deadline": func(t *testing.T, srv *snowtest.Server, conn caseDB) error {
		srv.Disconnect()
		defer srv.Reconnect()
		return caseWithin(t, time.Minute, conn, caseRow(1))
	},
	"an outage longer than its deadline, in which the session ended": func(t *testing.T, srv *snowtest.Server, conn caseDB) error {
		srv.AbortSessions()
		srv.Disconnect()
		defer srv.Reconnect()
		return caseWithin(t, time.Minute, conn, caseRow(1))
	},
	"logins that fail for longer than its deadline": func(t *testing.T, srv *snowtest.Server, conn caseDB) error {
		srv.AbortSessions()
		on := caseNoLogins(srv)
		defer on.Store(false)
		return caseWithin(t, time.Minute, conn, caseRow(1))
	},
	"logins that fail for longer than the budget": func(t *testing.T, srv *snowtest.Server, conn caseDB) error {
		srv.AbortSessions()
		on := caseNoLogins(srv)
		defer on.Store(false)
		_, err := conn.ExecContext(t.Context(), caseRow(1))
		return err
	},
	"a refused login": func(t *testing.T, srv *snowtest.Server, conn caseDB) error {
		srv.AbortSessions()
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Code: "390422", Message: "Not from this address."}, r.Kind == snowtest.RequestLogin
		})
		_, err := conn.ExecContext(t.Context(), caseRow(1))
		time.Sleep(time.Minute)
		return err
	},
	"a doubt, with its session alive": func(t *testing.T, srv *snowtest.Server, conn caseDB) error {
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Run: r.RetryCount == 0, Drop: true}, r.Kind == snowtest.RequestQuery && r.SQL == caseRow(1)
		})
		return caseWithin(t, time.Minute, conn, caseRow(1))
	},
	"a doubt, with its session gone": func(t *testing.T, srv *snowtest.Server, conn caseDB) error {
		caseLose(srv, caseRow(1))
		_, err := conn.ExecContext(t.Context(), caseRow(1))
		caseDoubt(t, err, false)
		return err
	},
	"a deadline while it ran": func(t *testing.T, srv *snowtest.Server, conn caseDB) error {
		slowly(srv, `^INSERT INTO t VALUES \(1\)`, time.Hour, caseCount(snowtest.KindInsert, "inserted", 1), nil)
		return caseWithin(t, time.Second, conn, caseRow(1))
	},
	"a deadline while a hung server was waited for": func(t *testing.T, srv *snowtest.Server, conn caseDB) error {
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: time.Minute}, r.Kind == snowtest.RequestQuery
		})
		return caseWithin(t, 5*time.Second, conn, caseRow(1))
	},
}

// TestPinnedConnectionLivesOn: where nothing of its holder's was lost, so that the very check
// that an error asks for can be made on it. Before: "driver: bad connection", then
// "connection is already closed".
func TestPinnedConnectionLivesOn(t *testing.T) {
	for name, trouble := range caseTroubles {
		for _, rested := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, rested %v", name, rested), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := casePin(t, casePool(t, srv, 1))
					if rested {
						time.Sleep(10 * time.Minute)
					}
					err := trouble(t, srv, conn)
					if err == nil || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
						t.Errorf("error is %v", err)
					}
					for i := range 3 {
						if err := caseDrain(conn.QueryContext(t.Context(), "SELECT a FROM t")); err != nil {
							t.Errorf("the check: %v", err)
						}
						caseExec(t, conn, caseRow(10+i))
						caseSum(t, srv, caseRow(10+i), 1, 1)
						tx := caseBegin(t, conn)
						caseExec(t, tx, caseRow(20+i))
						if err := tx.Commit(); err != nil {
							t.Error(err)
						}
						caseSum(t, srv, caseRow(20+i), 1, 1)
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
	for _, way := range caseWays {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			conn := casePin(t, casePool(t, srv, 1))
			caseOnce(srv, caseRow(1), snowtest.Fault{Run: true, Drop: true, After: func() { srv.EndSessions(way.end) }})
			_, err := conn.ExecContext(t.Context(), caseRow(1))
			caseDoubt(t, err, false)
			for i := 2; i < 5; i++ {
				caseExec(t, conn, caseRow(i))
				caseSum(t, srv, caseRow(i), 1, 1)
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
				conn := casePin(t, casePool(t, srv, 1))
				caseExec(t, conn, "USE SCHEMA s")
				told := 0
				err := caseTroubles[name](t, srv, conn)
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
		for _, way := range caseWays {
			t.Run(fmt.Sprintf("as text %v, %s", byText, way.name), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn, exec := caseBare(t, srv)
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
						if err := exec(caseRow(10 * i)); err != nil {
							t.Error(err)
						}
						srv.EndSessions(way.end)
						for j := range 2 {
							caseLost(t, exec(caseRow(10*i+1+j)), true)
						}
						if byText {
							err = exec("ROLLBACK")
						} else {
							err = tx.Rollback()
						}
						if err != nil {
							t.Errorf("ROLLBACK: %v", err)
						}
						if err := exec(caseRow(10*i + 5)); err != nil {
							t.Errorf("afterwards: %v", err)
						}
						caseSum(t, srv, caseRow(10*i), 1, 0)
						caseSum(t, srv, caseRow(10*i+5), 1, 1)
					}
				})
			})
		}
	}
}
