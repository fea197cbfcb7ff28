package contract_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about sessions that are not logged out when their connection is closed:
// others' (AuthTypeTokenAccessor), and those that the program keeps
// (ServerSessionKeepAlive). What was given up in one does not end with it.

// caseGivings are the ways in which a transaction is given up, each with a row in it.
var caseGivings = map[string]func(t *testing.T, srv *snowtest.Server, db *sql.DB){
	"its context ends": func(t *testing.T, _ *snowtest.Server, db *sql.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		caseExec(t, tx, caseRow(1))
		cancel()
		_ = tx.Rollback()
	},
	"a statement's context ends": func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		tx := caseBegin(t, db)
		caseExec(t, tx, caseRow(1))
		caseOnce(srv, caseRow(2), snowtest.Fault{Delay: 10 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := tx.ExecContext(ctx, caseRow(2)); err == nil {
			t.Error("a statement whose context ended succeeded")
		}
		_ = tx.Rollback()
	},
	"a reply is lost": func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		tx := caseBegin(t, db)
		caseExec(t, tx, caseRow(1))
		caseOnce(srv, "ROLLBACK", snowtest.Fault{Drop: true})
		_ = tx.Rollback()
	},
	"begun by a statement": func(t *testing.T, _ *snowtest.Server, db *sql.DB) {
		conn := casePin(t, db)
		caseExec(t, conn, "BEGIN", caseRow(1))
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	},
}

// caseGivenUp checks that the transaction is rolled back, and that the next users' rows are
// in none.
func caseGivenUp(t *testing.T, srv *snowtest.Server, db *sql.DB, give func(*testing.T, *snowtest.Server, *sql.DB)) {
	t.Helper()
	caseExec(t, db, "SELECT 1")
	give(t, srv, db)
	caseNextUser(t, srv, db)
	time.Sleep(time.Minute)
	if n := srv.Accepted("ROLLBACK"); n == 0 {
		t.Error("there was no ROLLBACK")
	}
	if took := caseUpdates(t, db, caseUpdate); took > caseSoon {
		t.Errorf("the next transaction took %v", took)
	}
	caseSum(t, srv, caseUpdate, 1, 1)
	caseSum(t, srv, caseRow(1), 1, 0)
	if srv.Effects(caseRow(2)) != 0 {
		t.Error("a row of the transaction that was given up lasts")
	}
}

// TestTransactionGivenUpInASharedSessionIsRolledBack: before anybody else may use it.
// Before: the next user's INSERT returned nil in the transaction that was left open, and
// was lost with it.
func TestTransactionGivenUpInASharedSessionIsRolledBack(t *testing.T) {
	for name, give := range caseGivings {
		t.Run(name, func(t *testing.T) {
			caseShared(t, 1, func(t *testing.T, srv *snowtest.Server, db *sql.DB) { caseGivenUp(t, srv, db, give) })
		})
	}
}

// TestTransactionGivenUpInAKeptSessionIsRolledBack: a session that the program does not
// have logged out keeps no transaction, and no lock.
// Before: they stayed for as long as the master token lived.
func TestTransactionGivenUpInAKeptSessionIsRolledBack(t *testing.T) {
	for name, give := range caseGivings {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				cfg.ServerSessionKeepAlive = true
				caseGivenUp(t, srv, caseConnect(t, cfg, 1), give)
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestOutageInASharedSessionLosesNoTransaction: it is waited out, also after a rest.
// Before: the transaction was given up, and the next user's row ended in it.
func TestOutageInASharedSessionLosesNoTransaction(t *testing.T) {
	caseShared(t, 1, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		tx := caseBegin(t, db)
		caseExec(t, tx, caseRow(1))
		time.Sleep(4 * time.Minute)
		caseOutage(srv, 30*time.Second)
		caseExec(t, tx, caseRow(2))
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		caseSum(t, srv, caseRow(1), 1, 1)
		caseSum(t, srv, caseRow(2), 1, 1)
		caseNextUser(t, srv, db)
	})
}

// TestDiscardChangedNeedsSessionsOfItsOwn: to discard a session is to log in anew, which a
// pool with somebody else's session cannot.
// Before: the next user's statement ran under the last one's role.
func TestDiscardChangedNeedsSessionsOfItsOwn(t *testing.T) {
	cfg := &gosnowflake.Config{Account: "a", Authenticator: gosnowflake.AuthTypeTokenAccessor, TokenAccessor: &caseStore{}}
	for changed, refused := range map[snowtether.ChangedSession]bool{snowtether.KeepChanged: false, snowtether.ErrorOnLoss: false, snowtether.DiscardChanged: true} {
		c, err := snowtether.NewConnector(cfg, snowtether.WithChangedSession(changed))
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "DiscardChanged") {
			t.Errorf("%v: error is %v", changed, err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}
