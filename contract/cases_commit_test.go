package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the end of transactions, and about those that do not end where
// they seem to.

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
					conn := casePin(t, casePool(t, srv, 1))
					commit, db := caseTx(t, conn, end)
					caseExec(t, db, caseRow(1))
					srv.AbortTransactions()
					for _, query := range after {
						_, _ = db.ExecContext(t.Context(), query) // one fails
					}
					caseDoubt(t, commit(), true)
					caseSum(t, srv, caseRow(1), 1, 0)
				})
			})
		}
	}
}

// caseTx begins a transaction by a call or by a text, as it is ended.
func caseTx(t *testing.T, conn *sql.Conn, end string) (commit func() error, _ caseDB) {
	t.Helper()
	if end == "Commit" {
		tx := caseBegin(t, conn)
		return tx.Commit, tx
	}
	caseExec(t, conn, "BEGIN")
	return func() error {
		_, err := conn.ExecContext(t.Context(), end)
		return err
	}, conn
}

// TestRunTxDoesNotRepeatACommitThatFoundNoTransaction: nor say that it succeeded.
// Before: nil, and no row.
func TestRunTxDoesNotRepeatACommitThatFoundNoTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		err := snowtether.RunTx(t.Context(), caseBeginner(db), func(tx *sql.Tx) error {
			caseExec(t, tx, caseRow(1))
			srv.AbortTransactions()
			return nil
		})
		caseDoubt(t, err, true)
		caseSum(t, srv, caseRow(1), 1, 0)
		caseNextUser(t, srv, db)
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
				db := casePool(t, srv, 1)
				tx := caseBegin(t, db)
				caseExec(t, tx, caseRow(1), query)
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
				caseSum(t, srv, caseRow(1), 1, 1)
				caseNextUser(t, srv, db)
				if n := srv.Stats().Logins; n != 1 {
					t.Errorf("%d logins", n)
				}
			})
		})
	}
}

// TestRefusedCommitIsNotSentOnANewSession: nothing lasts, and the caller is told.
func TestRefusedCommitIsNotSentOnANewSession(t *testing.T) {
	for _, way := range caseWays {
		for _, end := range []string{"Commit", "COMMIT", "Commit work"} {
			t.Run(way.name+"/"+end, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := casePin(t, casePool(t, srv, 1))
					commit, db := caseTx(t, conn, end)
					caseExec(t, db, caseRow(1))
					srv.EndSessions(way.end)
					caseLost(t, commit(), true)
					caseSum(t, srv, caseRow(1), 1, 0)
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

// TestWhatWasWrittenBeforeABeginInTheSameRequestLasts: only what follows goes with its
// session.
// Before: "nothing lasts", and RunTx's like ran the first INSERT again.
func TestWhatWasWrittenBeforeABeginInTheSameRequestLasts(t *testing.T) {
	for text, n := range map[string]int{
		"INSERT INTO a VALUES (1); BEGIN; INSERT INTO b VALUES (1)":                3,
		"INSERT INTO a VALUES (1); BEGIN":                                          2,
		"SELECT 1; INSERT INTO a VALUES (1); start transaction":                    3,
		"BEGIN; INSERT INTO a VALUES (1); COMMIT; BEGIN; INSERT INTO b VALUES (1)": 5,
		"UPDATE a SET n = db.s.f(n); BEGIN;":                                       2,
		"CALL p(); BEGIN; SELECT 1":                                                3,
	} {
		for _, lost := range []string{"later", "with its reply"} {
			t.Run(lost+"/"+text, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := casePin(t, casePool(t, srv, 1))
					ctx := gosnowflake.WithMultiStatement(t.Context(), n)
					if lost == "with its reply" {
						caseLose(srv, text)
					}
					_, err := conn.ExecContext(ctx, text)
					if lost == "later" {
						if err != nil {
							t.Fatal(err)
						}
						srv.AbortSessions()
						_, err = conn.ExecContext(t.Context(), caseRow(1))
					}
					var se *snowtether.SessionError
					if !errors.Is(err, snowtether.ErrInDoubt) || !errors.As(err, &se) {
						t.Errorf("error is %v", err)
					}
					caseSum(t, srv, caseRow(1), 0, 0)
					if k := srv.Accepted(text); k != 1 {
						t.Errorf("accepted %d times", k)
					}
				})
			})
		}
	}
}

// TestTransactionInOneRequestIsLostWithItsSession: nothing was written before its BEGIN.
func TestTransactionInOneRequestIsLostWithItsSession(t *testing.T) {
	for text, n := range map[string]int{
		"BEGIN; INSERT INTO b VALUES (1)":                     2,
		"SELECT 1; BEGIN; INSERT INTO b VALUES (1); SELECT 2": 4,
	} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			conn := casePin(t, casePool(t, srv, 1))
			if _, err := conn.ExecContext(gosnowflake.WithMultiStatement(t.Context(), n), text); err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
			_, err := conn.ExecContext(t.Context(), caseRow(1))
			caseLost(t, err, true)
			caseSum(t, srv, "INSERT INTO b VALUES (1)", 1, 0)
			caseSum(t, srv, caseRow(1), 0, 0)
		})
	}
}

// TestProcedureInATransactionMayHaveCommitted: whether it was answered or not.
// Before: right for CALL, not for functions and chains that call one.
func TestProcedureInATransactionMayHaveCommitted(t *testing.T) {
	for _, query := range []string{"CALL p()", "SELECT 1 ->> CALL p()", "EXECUTE IMMEDIATE 'COMMIT'", "EXECUTE TASK x", "BEGIN COMMIT; END"} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				srv.Handle(regexp.QuoteMeta(query), func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
					return snowtest.Status(snowtest.KindDDL, "committed"), nil
				})
				db := casePool(t, srv, 1)
				err := snowtether.RunTx(t.Context(), caseBeginner(db), func(tx *sql.Tx) error {
					caseExec(t, tx, caseRow(1), query)
					srv.AbortSessions()
					return nil
				})
				caseDoubt(t, err, true)
				caseSum(t, srv, caseRow(1), 1, 1)
				caseNextUser(t, srv, db)
			})
		})
	}
}
