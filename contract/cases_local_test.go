package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// caseLocals are calls that gosnowflake refuses by itself: nothing is sent.
var caseLocals = map[string]func(ctx context.Context, t *testing.T, conn *sql.Conn) error{
	"isolation level": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		_, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		return err
	},
	"read-only transaction": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		_, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		return err
	},
	"bad bind": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, caseBulk, gosnowflake.DataTypeBinary, time.Now())
		return err
	},
	"bad bind of a query": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		return caseDrain(conn.QueryContext(ctx, "SELECT db.s.f(?)", gosnowflake.DataTypeBinary, time.Now()))
	},
	"bad bind of a prepared statement": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		return caseUses[2].run(ctx, conn, caseBulk, gosnowflake.DataTypeBinary, time.Now())
	},
	"arrays of several lengths": func(ctx context.Context, t *testing.T, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "INSERT INTO t VALUES (?, ?)", caseArray(t, 100), caseArray(t, 99))
		return err
	},
}

// TestWhatGosnowflakeRefusesByItselfIsItsOwnError: no login, no doubt, no second try,
// whether the session lives or not; and the connection works on.
func TestWhatGosnowflakeRefusesByItselfIsItsOwnError(t *testing.T) {
	for name, run := range caseLocals {
		for _, dead := range []bool{false, true} {
			t.Run(map[bool]string{false: "alive/", true: "dead/"}[dead]+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := casePin(t, casePool(t, srv, 1))
					if dead {
						srv.AbortSessions()
					}
					err := run(t.Context(), t, conn)
					var se *snowtether.SessionError
					if err == nil || errors.As(err, &se) || errors.Is(err, driver.ErrBadConn) || snowtether.Classify(err) != snowtether.ClassStatement {
						t.Errorf("error is %v", err)
					}
					if n, m := srv.Stats().Logins, len(srv.Ledger()); n != 1 || m != 0 {
						t.Errorf("%d logins, %d statements", n, m)
					}
					caseExec(t, conn, caseRow(1))
					caseSum(t, srv, caseRow(1), 1, 1)
				}, caseThroughAStage)
			})
		}
	}
}

// TestWhatGosnowflakeRefusesByItselfEndsNoTransaction: what was written lasts.
func TestWhatGosnowflakeRefusesByItselfEndsNoTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tx := caseBegin(t, casePool(t, srv, 1))
		caseExec(t, tx, caseRow(1))
		if _, err := tx.ExecContext(t.Context(), caseBulk, gosnowflake.DataTypeBinary, time.Now()); err == nil || snowtether.Classify(err) != snowtether.ClassStatement {
			t.Errorf("error is %v", err)
		}
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		caseSum(t, srv, caseRow(1), 1, 1)
	})
}
