package contract_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is about connections whose session had state: a schema, settings, temporary
// objects. What needs it must not run without.

var caseStates = []string{
	"USE SCHEMA s", "USE ROLE r", "use warehouse w", "ALTER SESSION SET TIMEZONE = 'UTC'", "SET x = 1",
	"CREATE TEMPORARY TABLE t (n INT)", "create or replace temp table t (n int)", "CREATE SCHEMA s", "CALL p()",
	"EXECUTE IMMEDIATE 'USE SCHEMA s'", "SELECT 1 ->> USE SCHEMA s",
}

// caseFirst are the ways in which a caller first hears that the session is gone.
var caseFirst = []struct {
	name string
	run  func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error
}{
	{"BeginTx", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		srv.AbortSessions()
		tx, err := conn.BeginTx(ctx, nil)
		if err == nil {
			_ = tx.Rollback()
		}
		return err
	}},
	{"Ping", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		srv.AbortSessions()
		return conn.PingContext(ctx)
	}},
	{"write", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		srv.AbortSessions()
		_, err := conn.ExecContext(ctx, caseRow(1))
		return err
	}},
	{"read", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		srv.AbortSessions()
		return caseDrain(conn.QueryContext(ctx, "SELECT n FROM t"))
	}},
	{"read whose reply is lost", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		caseLose(srv, "SELECT n FROM t")
		return caseDrain(conn.QueryContext(ctx, "SELECT n FROM t"))
	}},
	{"prepared read whose reply is lost", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		caseLose(srv, "SELECT n FROM t")
		return caseUses[3].run(ctx, conn, "SELECT n FROM t")
	}},
}

// TestLossOfAPinnedSessionsStateIsToldOnce: by whatever comes first; then the connection
// works again, on a session without it.
// Before: BeginTx, Ping and reads were refused or read another schema's t, and the pinned
// connection was closed.
func TestLossOfAPinnedSessionsStateIsToldOnce(t *testing.T) {
	for _, state := range caseStates {
		for _, first := range caseFirst {
			t.Run(first.name+"/"+state, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := casePin(t, casePool(t, srv, 1))
					caseExec(t, conn, state)
					old := srv.Ledger()[0].SessionID
					caseLost(t, first.run(t.Context(), srv, conn), false)
					for _, e := range srv.Ledger() {
						if e.SessionID != old && e.Kind == snowtest.KindSelect && e.SQL != "SELECT 1" {
							t.Errorf("%s was run in another session", e.SQL)
						}
					}
					caseSum(t, srv, caseRow(1), 0, 0)
					caseExec(t, conn, caseRow(2))
					caseSum(t, srv, caseRow(2), 1, 1)
				})
			})
		}
	}
}

// TestLossOfAPinnedSessionsStateIsToldAfterACarryOver: the outcome is handed out first.
// Before: the next statement closed the pinned connection.
func TestLossOfAPinnedSessionsStateIsToldAfterACarryOver(t *testing.T) {
	for _, state := range caseStates {
		for _, first := range caseFirst[:4] {
			t.Run(first.name+"/"+state, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := casePin(t, casePool(t, srv, 1))
					caseExec(t, conn, state)
					slowly(srv, "^INSERT INTO u", 10*time.Minute, caseCount(snowtest.KindInsert, "inserted", 1), nil)
					caseEndAt(srv, time.Minute)
					caseExec(t, conn, "INSERT INTO u VALUES (1)")
					caseLost(t, first.run(t.Context(), srv, conn), false)
					caseSum(t, srv, "INSERT INTO u VALUES (1)", 1, 1)
					caseSum(t, srv, caseRow(1), 0, 0)
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

// TestStateOfAnEarlierUserIsNotTheNextUsers: their statement runs on a fresh session, and
// the log says once that something went.
// Before: nobody was told.
func TestStateOfAnEarlierUserIsNotTheNextUsers(t *testing.T) {
	for _, state := range caseStates {
		for _, use := range caseUses {
			t.Run(use.name+"/"+state, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var log caseBuffer
					db := caseConnect(t, srv.Config(), 1, caseLog(&log))
					caseExec(t, db, state)
					srv.AbortSessions()
					if err := use.run(t.Context(), db, caseRow(1)); err != nil {
						t.Error(err)
					}
					caseSum(t, srv, caseRow(1), 1, 1)
					if n := log.count("level=WARN"); n != 1 {
						t.Errorf("%d warnings in the log", n)
					}
				})
			})
		}
	}
}
