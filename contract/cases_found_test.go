package contract_test

import (
	"context"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what a COMMIT has to find: a transaction that is surely open, and
// nothing where something before it may have ended it.

// TestCommitAfterATemporaryTableIsNil: in Snowflake each CREATE commits, that of a
// temporary table too.
func TestCommitAfterATemporaryTableIsNil(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		tx := caseBegin(t, db)
		caseExec(t, tx, caseRow(1), "CREATE TEMPORARY TABLE x (n INT)", "INSERT INTO x VALUES (1)")
		if err := tx.Commit(); err != nil {
			t.Errorf("nothing went wrong, and Commit: %v", err)
		}
	})
}

// TestCommitWhereNoTransactionIsSurelyOpenIsNil: a COMMIT behind what has ended the
// transaction, or never began one, is no doubt.
func TestCommitWhereNoTransactionIsSurelyOpenIsNil(t *testing.T) {
	for name, test := range map[string]struct {
		off   bool
		texts []string
	}{
		"AUTOCOMMIT on commits":   {false, []string{"BEGIN", caseRow(1), "ALTER SESSION SET AUTOCOMMIT = TRUE", "COMMIT"}},
		"TRUNCATE":                {false, []string{"BEGIN", caseRow(1), "TRUNCATE TABLE t", "COMMIT"}},
		"CALL without DML":        {true, []string{"CALL p()", "COMMIT"}},
		"unload":                  {true, []string{"COPY INTO @s FROM t", "COMMIT"}},
		"temporary table":         {false, []string{"BEGIN", caseRow(1), "CREATE TEMPORARY TABLE x (n INT)", "COMMIT"}},
		"temporary table, AC off": {true, []string{caseRow(1), "CREATE TEMPORARY TABLE x (n INT)", "COMMIT"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := casePin(t, casePool(t, srv, 1))
				for _, text := range test.texts {
					if _, err := conn.ExecContext(t.Context(), text); err != nil {
						t.Errorf("%s: %v", text, err)
					}
				}
			}, snowtest.WithSessionParameter("AUTOCOMMIT", !test.off))
		})
	}
}

// TestAsynchronousCommitHasNotEndedItsTransaction: an asynchronous COMMIT that is not
// over has not ended its transaction.
func TestAsynchronousCommitHasNotEndedItsTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		conn := casePin(t, db)
		caseExec(t, conn, "BEGIN", caseRow(1))
		slowly(srv, "^COMMIT", time.Minute, nil, &snowtest.Error{Code: "000603", SQLState: "XX000", Message: "no"})
		res, err := conn.ExecContext(gosnowflake.WithAsyncMode(t.Context()), "COMMIT")
		if err != nil {
			t.Fatal(err)
		}
		_, err = res.RowsAffected()
		t.Logf("COMMIT: %v", err)
		_ = conn.Close()
		caseNextUser(t, srv, db)
	})
}

// TestAsynchronousScriptMayHaveLeftItsTransactionOpen: an asynchronous script fails in
// its middle: its transaction is still open.
func TestAsynchronousScriptMayHaveLeftItsTransactionOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		srv.Handle("broken", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "002003", SQLState: "02000", Message: "no such table"}
		})
		ctx := gosnowflake.WithAsyncMode(gosnowflake.WithMultiStatement(t.Context(), 4))
		res, err := db.ExecContext(ctx, "BEGIN; INSERT INTO t VALUES (1); INSERT INTO broken VALUES (1); COMMIT")
		if err != nil {
			t.Fatal(err)
		}
		_, err = res.RowsAffected()
		t.Logf("script: %v", err)
		caseNextUser(t, srv, db)
	})
}

// TestCommitOfATransactionBegunAfterDDLMustFindIt: a DDL statement has ended the
// transaction, and another one has begun since; that one is aborted by the server. COMMIT
// finds none, and must not say nil: a row is gone.
func TestCommitOfATransactionBegunAfterDDLMustFindIt(t *testing.T) {
	for name, test := range map[string]struct {
		off    bool
		before []string
	}{
		"BEGIN again":    {false, []string{"BEGIN", "CREATE TABLE x (n INT)", "BEGIN"}},
		"AUTOCOMMIT off": {true, []string{caseRow(1), "CREATE TABLE x (n INT)"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := casePin(t, casePool(t, srv, 1))
				caseExec(t, conn, append(test.before, caseRow(2))...)
				srv.AbortTransactions()
				_, err := conn.ExecContext(t.Context(), "COMMIT")
				if n := srv.Effects(caseRow(2)); err == nil && n != 1 {
					t.Errorf("COMMIT: nil, and row 2 took effect %d times", n)
				}
			}, snowtest.WithSessionParameter("AUTOCOMMIT", !test.off))
		})
	}
	t.Run("BeginTx", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			tx := caseBegin(t, casePool(t, srv, 1))
			caseExec(t, tx, "CREATE TABLE x (n INT)", "BEGIN", caseRow(2))
			srv.AbortTransactions()
			if err, n := tx.Commit(), srv.Effects(caseRow(2)); err == nil && n != 1 {
				t.Errorf("Commit: nil, and row 2 took effect %d times", n)
			}
		})
	})
}

// TestCommitAfterWhatEndsNoTransactionMustFindIt: an unload (COPY INTO @stage), a procedure
// or a TRUNCATE in a transaction makes the driver forget that the transaction is surely
// open. The server aborts it (4 idle hours), COMMIT finds none and is nil: row 1 is gone.
// An unload ends no transaction, nor does a procedure (Snowflake scopes its transactions);
// only behind DDL and COMMIT it may find none. Right: ErrInDoubt.
func TestCommitAfterWhatEndsNoTransactionMustFindIt(t *testing.T) {
	for _, text := range []string{"COPY INTO @s FROM t", "CALL p()"} {
		t.Run(text, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				tx := caseBegin(t, casePool(t, srv, 1))
				caseExec(t, tx, caseRow(1), text)
				srv.AbortTransactions()
				if err, n := tx.Commit(), srv.Effects(caseRow(1)); err == nil && n != 1 {
					t.Errorf("Commit: nil, and row 1 took effect %d times", n)
				}
			})
		})
	}
}

// TestAutocommitThatIsUnsetMayBeOff: AUTOCOMMIT is off by the user's default. ALTER SESSION
// UNSET AUTOCOMMIT gives the session that back, and the reply reports it; the driver takes
// UNSET for "on". What follows is in an open transaction that the driver does not know:
// the connection goes back to the pool with it, and the next user's row vanishes in it;
// or the session is lost and the INSERT is carried over as done. Right: behind UNSET, what
// the server reports (conn.parameter("autocommit")), and off where it reports nothing.
func TestAutocommitThatIsUnsetMayBeOff(t *testing.T) {
	off := func(srv *snowtest.Server) {
		srv.Handle("UNSET AUTOCOMMIT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			res := snowtest.Status(snowtest.KindSCL, "Statement executed successfully.")
			res.Parameters = map[string]any{"AUTOCOMMIT": false}
			return res, nil
		})
	}
	texts := []string{"ALTER SESSION SET AUTOCOMMIT = TRUE", caseRow(1), "ALTER SESSION UNSET AUTOCOMMIT"}
	t.Run("next user", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			off(srv)
			db := casePool(t, srv, 1)
			conn := casePin(t, db)
			caseExec(t, conn, texts...)
			caseExec(t, conn, caseRow(2))
			_ = conn.Close()
			// the next user's transaction is the predecessor's
			tx := caseBegin(t, db)
			caseExec(t, tx, caseRow(3))
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			two, three := int64(0), int64(0)
			for _, e := range srv.Ledger() {
				switch e.SQL {
				case caseRow(2):
					two = e.SessionID
				case caseRow(3):
					three = e.SessionID
				}
			}
			if two == three {
				t.Error("a connection with an open transaction has gone to the next user")
			}
		}, snowtest.WithSessionParameter("AUTOCOMMIT", false))
	})
	t.Run("carried over", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			off(srv)
			conn := casePin(t, casePool(t, srv, 1))
			caseExec(t, conn, texts...)
			const update = "UPDATE t SET n = 1"
			slowly(srv, "^UPDATE", 2*time.Minute, caseCount(snowtest.KindUpdate, "updated", 1), nil)
			caseEndAt(srv, time.Minute)
			_, err := conn.ExecContext(t.Context(), update)
			time.Sleep(5 * time.Minute)
			if n := srv.Effects(update); err == nil && n != 1 {
				t.Errorf("nil, and the UPDATE took effect %d times", n)
			}
		}, snowtest.WithSessionParameter("AUTOCOMMIT", false))
	})
}
