package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): a COMMIT that may or may not have been done is in doubt, is
// never repeated, and has to find the transaction that is surely open.

// TestLostCommitIsInDoubt: it may have been carried out.
func TestLostCommitIsInDoubt(t *testing.T) {
	for _, lost := range []snowtest.Fault{{Run: true, Drop: true}, {Run: true, Status: 503}} {
		for _, way := range ways[1:] {
			t.Run(fmt.Sprintf("%d/%s", lost.Status, way.Name), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					tx, err := db.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := tx.ExecContext(t.Context(), insert); err != nil {
						t.Fatal(err)
					}
					lost.After = func() { srv.EndSessions(way.End) }
					once(srv, "COMMIT", lost)
					ranInDoubt(t, srv, insert, tx.Commit(), 1)
					if n := srv.Effects(insert); n != 1 {
						t.Errorf("took effect %d times", n)
					}
				})
			})
		}
	}
}

// TestCommitOfACancelledCallerIsInDoubt: the server may carry it out all the same.
func TestCommitOfACancelledCallerIsInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, insert); err != nil {
			t.Fatal(err)
		}
		once(srv, "COMMIT", snowtest.Fault{Run: true, Delay: 0, After: func() { cancel(); time.Sleep(time.Second) }})
		err = tx.Commit()
		ranInDoubt(t, srv, insert, err, 1)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v is not context.Canceled as well", err)
		}
	})
}

// begunTx begins a transaction by a call or by a text, as it is ended.
func begunTx(t *testing.T, conn *sql.Conn, end string) (commit func() error, _ dbtx) {
	t.Helper()
	if end == "Commit" {
		tx := mustBegin(t, conn)
		return tx.Commit, tx
	}
	mustExec(t, conn, "BEGIN")
	return func() error {
		_, err := conn.ExecContext(t.Context(), end)
		return err
	}, conn
}

// TestRefusedCommitIsNotSentOnANewSession: nothing lasts, and the caller is told.
func TestRefusedCommitIsNotSentOnANewSession(t *testing.T) {
	for _, way := range endings {
		for _, end := range []string{"Commit", "COMMIT", "Commit work"} {
			t.Run(way.name+"/"+end, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					commit, db := begunTx(t, conn, end)
					mustExec(t, db, row(1))
					srv.EndSessions(way.end)
					isLost(t, commit(), true)
					checkRan(t, srv, row(1), 1, 0)
					for _, e := range srv.Ledger() {
						if e.SQL == end || e.SQL == "COMMIT" {
							t.Errorf("%s was accepted in session %d", e.SQL, e.SessionID)
						}
					}
				})
			})
		}
	}
}

// TestCommitThatWasNotSentIsNotInDoubt: its caller had left before.
func TestCommitThatWasNotSentIsNotInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		raw(t, db, func(dc any) error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tx, err := dc.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{})
			if err != nil {
				return err
			}
			cancel()
			if err := tx.Commit(); !errors.Is(err, context.Canceled) || errors.Is(err, snowtether.ErrInDoubt) {
				t.Errorf("Commit: %v", err)
			}
			return nil
		})
		if n := srv.Accepted("COMMIT"); n != 0 {
			t.Errorf("COMMIT was accepted %d times", n)
		}
		fiveWriters(t, srv, db, true)
	})
}

// TestCommitThatFoundNoTransactionIsInDoubt: the server says success and nothing else;
// it had rolled the transaction back before.
// Before: nil, and no row.
func TestCommitThatFoundNoTransactionIsInDoubt(t *testing.T) {
	for name, after := range map[string][]string{
		"one row":                     nil,
		"a read after it":             {"SELECT 1"},
		"a DDL statement that failed": {"CREATE TABLE broken"},
	} {
		for _, end := range []string{"Commit", "COMMIT", "commit work", "/* the end */ COMMIT;"} {
			t.Run(end+"/"+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					srv.Handle("broken", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
						return nil, &snowtest.Error{Code: "001003", SQLState: "42000", Message: "broken"}
					})
					conn := pin(t, pool(t, srv, 1))
					commit, db := begunTx(t, conn, end)
					mustExec(t, db, row(1))
					srv.AbortTransactions()
					for _, query := range after {
						_, _ = db.ExecContext(t.Context(), query) // one fails
					}
					isInDoubt(t, commit(), true)
					checkRan(t, srv, row(1), 1, 0)
				})
			})
		}
	}
}

// TestRunTxDoesNotRepeatACommitThatFoundNoTransaction: nor say that it succeeded.
// Before: nil, and no row.
func TestRunTxDoesNotRepeatACommitThatFoundNoTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			mustExec(t, tx, row(1))
			srv.AbortTransactions()
			return nil
		})
		isInDoubt(t, err, true)
		checkRan(t, srv, row(1), 1, 0)
		nextUser(t, srv, db)
	})
}

// TestCommitAfterTheTransactionWasCommittedIsNil: by DDL, or by a COMMIT statement in it.
func TestCommitAfterTheTransactionWasCommittedIsNil(t *testing.T) {
	for _, query := range []string{
		"CREATE TABLE x (n INT)", "create or replace view v as select 1", "GRANT SELECT ON t TO ROLE r",
		"COMMIT", "commit work",
	} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				tx := mustBegin(t, db)
				mustExec(t, tx, row(1), query)
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
				checkRan(t, srv, row(1), 1, 1)
				nextUser(t, srv, db)
				if n := srv.Stats().Logins; n != 1 {
					t.Errorf("%d logins", n)
				}
			})
		})
	}
}

// TestCommitAfterATemporaryTableIsNil: in Snowflake each CREATE commits, that of a
// temporary table too.
func TestCommitAfterATemporaryTableIsNil(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		tx := mustBegin(t, db)
		mustExec(t, tx, row(1), "CREATE TEMPORARY TABLE x (n INT)", "INSERT INTO x VALUES (1)")
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
		"AUTOCOMMIT on commits":   {false, []string{"BEGIN", row(1), "ALTER SESSION SET AUTOCOMMIT = TRUE", "COMMIT"}},
		"TRUNCATE":                {false, []string{"BEGIN", row(1), "TRUNCATE TABLE t", "COMMIT"}},
		"CALL without DML":        {true, []string{"CALL p()", "COMMIT"}},
		"unload":                  {true, []string{"COPY INTO @s FROM t", "COMMIT"}},
		"temporary table":         {false, []string{"BEGIN", row(1), "CREATE TEMPORARY TABLE x (n INT)", "COMMIT"}},
		"temporary table, AC off": {true, []string{row(1), "CREATE TEMPORARY TABLE x (n INT)", "COMMIT"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := pin(t, pool(t, srv, 1))
				for _, text := range test.texts {
					if _, err := conn.ExecContext(t.Context(), text); err != nil {
						t.Errorf("%s: %v", text, err)
					}
				}
			}, snowtest.WithSessionParameter("AUTOCOMMIT", !test.off))
		})
	}
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
		"AUTOCOMMIT off": {true, []string{row(1), "CREATE TABLE x (n INT)"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := pin(t, pool(t, srv, 1))
				mustExec(t, conn, append(test.before, row(2))...)
				srv.AbortTransactions()
				_, err := conn.ExecContext(t.Context(), "COMMIT")
				if n := srv.Effects(row(2)); err == nil && n != 1 {
					t.Errorf("COMMIT: nil, and row 2 took effect %d times", n)
				}
			}, snowtest.WithSessionParameter("AUTOCOMMIT", !test.off))
		})
	}
	t.Run("BeginTx", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			tx := mustBegin(t, pool(t, srv, 1))
			mustExec(t, tx, "CREATE TABLE x (n INT)", "BEGIN", row(2))
			srv.AbortTransactions()
			if err, n := tx.Commit(), srv.Effects(row(2)); err == nil && n != 1 {
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
				tx := mustBegin(t, pool(t, srv, 1))
				mustExec(t, tx, row(1), text)
				srv.AbortTransactions()
				if err, n := tx.Commit(), srv.Effects(row(1)); err == nil && n != 1 {
					t.Errorf("Commit: nil, and row 1 took effect %d times", n)
				}
			})
		})
	}
}

// TestAsynchronousCommitHasNotEndedItsTransaction: an asynchronous COMMIT that is not
// over has not ended its transaction.
func TestAsynchronousCommitHasNotEndedItsTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		conn := pin(t, db)
		mustExec(t, conn, "BEGIN", row(1))
		slowly(srv, "^COMMIT", time.Minute, nil, &snowtest.Error{Code: "000603", SQLState: "XX000", Message: "no"})
		res, err := conn.ExecContext(gosnowflake.WithAsyncMode(t.Context()), "COMMIT")
		if err != nil {
			t.Fatal(err)
		}
		_, err = res.RowsAffected()
		t.Logf("COMMIT: %v", err)
		_ = conn.Close()
		nextUser(t, srv, db)
	})
}

// TestAsynchronousScriptMayHaveLeftItsTransactionOpen: an asynchronous script fails in
// its middle: its transaction is still open.
func TestAsynchronousScriptMayHaveLeftItsTransactionOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
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
		nextUser(t, srv, db)
	})
}
