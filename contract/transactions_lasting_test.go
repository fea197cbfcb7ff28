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

// Transactions (docs/guarantees.md): a lost transaction is in doubt where a rollback does not undo
// all that it did: DDL, procedures, functions that act outside, COMMIT as a statement, chains (->>)
// with one of these.

var ddlChains = []string{
	"SELECT 1 ->> CREATE TABLE x AS SELECT * FROM $1",
	"SHOW TABLES ->> CREATE OR REPLACE TABLE z AS SELECT \"name\" FROM $1",
	"SELECT 1 AS n ->> drop table y",
	"SELECT 1->>SELECT * FROM $1 ->> ALTER TABLE x ADD COLUMN n INT",
	"SELECT '->>' /* ->> */ ->> GRANT SELECT ON t TO ROLE r",
	"(SELECT 1)\n->>\nCREATE TABLE x AS SELECT * FROM $1",
}

// TestChainWithDDLInATransactionIsInDoubt: DDL commits what was done before it.
// Before: the INSERT took effect twice and RunTx returned nil.
func TestChainWithDDLInATransactionIsInDoubt(t *testing.T) {
	for _, chain := range ddlChains {
		for _, use := range forms {
			t.Run(use.name+"/"+chain, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					srv.Handle("->>", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
						return snowtest.Status(snowtest.KindDDL, "done"), nil
					})
					db := pool(t, srv, 1)
					err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
						mustExec(t, tx, row(1))
						if err := use.run(t.Context(), tx, chain); err != nil {
							return err
						}
						srv.AbortSessions()
						return use.run(t.Context(), tx, row(2))
					})
					isInDoubt(t, err, true)
					checkRan(t, srv, row(1), 1, 1)
					checkRan(t, srv, row(2), 0, 0)
					nextUser(t, srv, db)
				})
			})
		}
	}
}

// TestChainThatARollbackUndoesIsRepeatedWithItsTransaction: reads and DML do not end
// a transaction, whatever they are linked to.
func TestChainThatARollbackUndoesIsRepeatedWithItsTransaction(t *testing.T) {
	for chain, kind := range map[string]snowtest.Kind{
		"SELECT 1 AS n ->> SELECT n FROM $1 WHERE n > 0":               snowtest.KindSelect,
		"SHOW TABLES ->> SELECT \"name\" FROM $1 ->> SELECT * FROM $1": snowtest.KindSelect,
		"SELECT 1 AS n ->> INSERT INTO u SELECT * FROM $1":             snowtest.KindInsert,
	} {
		t.Run(chain, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				handleChains(srv, kind)
				db := pool(t, srv, 1)
				tries := 0
				err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
					mustExec(t, tx, row(1))
					if _, err := tx.ExecContext(t.Context(), chain); err != nil {
						return err
					}
					if tries++; tries == 1 {
						srv.AbortSessions()
					}
					_, err := tx.ExecContext(t.Context(), row(2))
					return err
				})
				if err != nil {
					t.Error(err)
				}
				checkRan(t, srv, row(1), 2, 1)
				checkRan(t, srv, chain, 2, 1)
				checkRan(t, srv, row(2), 1, 1)
			}, snowtest.AllowRepeats())
		})
	}
}

// TestChainThatChangesItsSessionIsRememberedAsSuch: what follows must not run elsewhere.
// Before: the INSERT went to a table of the same name in a new session, and was nil.
func TestChainThatChangesItsSessionIsRememberedAsSuch(t *testing.T) {
	for chain, kind := range map[string]snowtest.Kind{
		"SELECT 1 AS n ->> CREATE TEMPORARY TABLE t AS SELECT * FROM $1":     snowtest.KindDDL,
		"SHOW TABLES ->> create or replace temp table t as select * from $1": snowtest.KindDDL,
		"SELECT 1 ->> USE SCHEMA s":                                          snowtest.KindSCL,
		"SELECT 1 ->> SELECT 2 ->> ALTER SESSION SET TIMEZONE = 'UTC'":       snowtest.KindSCL,
		"SELECT 1 ->> SET n = 1":                                             snowtest.KindSCL,
	} {
		for _, use := range forms {
			t.Run(use.name+"/"+chain, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					srv.Handle(regexp.QuoteMeta(chain), func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
						return snowtest.Status(kind, "done"), nil
					})
					conn := pin(t, pool(t, srv, 1))
					mustExec(t, conn, chain)
					srv.AbortSessions()
					isLost(t, use.run(t.Context(), conn, row(1)), false)
					checkRan(t, srv, row(1), 0, 0)
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
					conn := pin(t, pool(t, srv, 1))
					ctx := gosnowflake.WithMultiStatement(t.Context(), n)
					if lost == "with its reply" {
						runAndLose(srv, text)
					}
					_, err := conn.ExecContext(ctx, text)
					if lost == "later" {
						if err != nil {
							t.Fatal(err)
						}
						srv.AbortSessions()
						_, err = conn.ExecContext(t.Context(), row(1))
					}
					var se *snowtether.SessionError
					if !errors.Is(err, snowtether.ErrInDoubt) || !errors.As(err, &se) {
						t.Errorf("error is %v", err)
					}
					checkRan(t, srv, row(1), 0, 0)
					if k := srv.Accepted(text); k != 1 {
						t.Errorf("accepted %d times", k)
					}
				})
			})
		}
	}
}

// TestWhatLastsIsToldOfItsOwnTransactionAlone: one that held DDL is in doubt when its
// session ends, whichever way it was begun; the next on the same connection is not.
func TestWhatLastsIsToldOfItsOwnTransactionAlone(t *testing.T) {
	for _, tt := range []struct {
		name    string
		first   []string
		begin   string // BeginTx if it is empty
		inDoubt bool
	}{
		{"DDL in it", []string{"BEGIN", "CREATE TABLE x (n INT)"}, "", true},
		{"DDL in the one before", []string{"BEGIN", "CREATE TABLE x (n INT)", "COMMIT"}, "begin", false},
		{"DDL in the one before, then BeginTx", []string{"BEGIN", "CREATE TABLE x (n INT)", "COMMIT"}, "BeginTx", false},
		{"DDL before it", []string{"CREATE TABLE x (n INT)"}, "begin", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				exec := conn.ExecContext
				for _, sql := range tt.first {
					if _, err := exec(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				switch tt.begin {
				case "BeginTx":
					tx, err := conn.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					exec = tx.ExecContext
					defer func() { _ = tx.Rollback() }() // else conn.Close waits for it
				case "begin":
					if _, err := exec(t.Context(), tt.begin); err != nil {
						t.Fatal(err)
					}
				}
				srv.AbortSessions()
				_, err = exec(t.Context(), insert)
				if tt.inDoubt {
					ranInDoubt(t, srv, insert, err, 0)
				} else {
					isLost(t, err, true)
				}
			})
		})
	}
}

// TestLastStatementOfALostTransactionMayLast: DDL commits, and its own reply was lost.
func TestLastStatementOfALostTransactionMayLast(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const ddl = "CREATE TABLE x (n INT)"
		db := pool(t, srv, 1)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		once(srv, ddl, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		_, err = tx.ExecContext(t.Context(), ddl)
		ranInDoubt(t, srv, ddl, err, 1)
	})
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
				db := pool(t, srv, 1)
				err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
					mustExec(t, tx, row(1), query)
					srv.AbortSessions()
					return nil
				})
				isInDoubt(t, err, true)
				checkRan(t, srv, row(1), 1, 1)
				nextUser(t, srv, db)
			})
		})
	}
}

// TestTransactionThatHasCommittedInPartIsInDoubt: DDL commits what came before it,
// so "nothing of it lasts" is not true any more, and RunTx must not repeat it.
func TestTransactionThatHasCommittedInPartIsInDoubt(t *testing.T) {
	for _, part := range []string{"CREATE TABLE IF NOT EXISTS x (n INT)", "CALL p()", "COMMIT"} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			runs := 0
			err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
				runs++
				for _, sql := range []string{insert, part} {
					if _, err := tx.ExecContext(t.Context(), sql); err != nil {
						return err
					}
				}
				srv.AbortSessions()
				_, err := tx.ExecContext(t.Context(), row(2))
				return err
			})
			if !errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, snowtether.ErrSessionLost) || runs != 1 {
				t.Errorf("%s: %d runs, error %v", part, runs, err)
			}
		})
	}
}

// TestWhatFollowsARollbackStatementIsInDoubt: it is in no transaction any more, or may
// not be, so it commits by itself and nothing rolls it back.
func TestWhatFollowsARollbackStatementIsInDoubt(t *testing.T) {
	for _, begin := range []string{"BeginTx", "BEGIN"} {
		t.Run(begin, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn, err := pool(t, srv, 1).Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				exec := conn.ExecContext
				if begin == "BeginTx" {
					tx, err := conn.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = tx.Rollback() }() // the session is gone
					exec = tx.ExecContext
				} else {
					if _, err := exec(t.Context(), begin); err != nil {
						t.Fatal(err)
					}
					once(srv, "ROLLBACK", snowtest.Fault{Run: true, Body: "<html>"}) // and the error is ignored, as happens
				}
				_, _ = exec(t.Context(), "ROLLBACK")
				once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
				_, err = exec(t.Context(), insert)
				ranInDoubt(t, srv, insert, err, 1)
			})
		})
	}
}

// TestWhatActsOutsideItsTransactionIsInDoubt: its own reply is lost with the session.
// Before: for most of these "nothing lasts", and RunTx ran them again.
func TestWhatActsOutsideItsTransactionIsInDoubt(t *testing.T) {
	for query, kind := range outsideSQL {
		for _, use := range forms {
			t.Run(use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var calls actions
					calls.handle(srv, regexp.QuoteMeta(query), usualResult(kind))
					db := pool(t, srv, 1)
					runAndLose(srv, query)
					err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
						return use.run(t.Context(), tx, query)
					})
					isInDoubt(t, err, true)
					calls.want(t, 1)
					nextUser(t, srv, db)
				})
			})
		}
	}
}

// TestTransactionThatHasActedOutsideIsInDoubt: the statement was answered, and a later
// one or the COMMIT finds the session gone.
// Before: for most of these "nothing lasts", and RunTx ran them again.
func TestTransactionThatHasActedOutsideIsInDoubt(t *testing.T) {
	for query, kind := range outsideSQL {
		for _, next := range []string{row(1), "SELECT 1", "COMMIT"} {
			t.Run(next+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var calls actions
					calls.handle(srv, regexp.QuoteMeta(query), usualResult(kind))
					db := pool(t, srv, 1)
					err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
						if err := drain(tx.QueryContext(t.Context(), query)); err != nil {
							return err
						}
						srv.AbortSessions()
						if next == "COMMIT" {
							return nil
						}
						return drain(tx.QueryContext(t.Context(), next))
					})
					isInDoubt(t, err, true)
					calls.want(t, 1)
					nextUser(t, srv, db)
				})
			})
		}
	}
}

// TestTransactionOfHarmlessStatementsIsRepeated: everyday DML is undone with its session.
func TestTransactionOfHarmlessStatementsIsRepeated(t *testing.T) {
	for _, query := range append([]string{
		"INSERT INTO db.s.u (a, b) VALUES (1, UPPER('x'))",
		"INSERT INTO u(a) SELECT COUNT(*) FROM t",
		"UPDATE u SET a = a + 1, s = TRIM(s) WHERE a IN (SELECT MAX(a) FROM t)",
		"DELETE FROM db.s.u WHERE a < DATEADD(day, -1, CURRENT_DATE())",
		"MERGE INTO u USING (SELECT 1 AS n) s ON u.n = s.n WHEN NOT MATCHED THEN INSERT (n) VALUES (s.n)",
		"COPY INTO u FROM @s",
	}, harmlessSQL...) {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				runAndLose(srv, query)
				err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
					_, err := tx.ExecContext(t.Context(), query)
					if err != nil && !errors.Is(err, snowtether.ErrSessionLost) {
						t.Errorf("error is %v", err)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
				checkRan(t, srv, query, 2, 1)
			}, snowtest.AllowRepeats())
		})
	}
}

// TestTransactionWithNamedFunctionsIsRepeated: nothing of it lasts.
func TestTransactionWithNamedFunctionsIsRepeated(t *testing.T) {
	const query = "INSERT INTO t SELECT db.s.g(f(1))"
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := harmlessPools["option"](t, srv)
		runAndLose(srv, query)
		err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), query)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		checkRan(t, srv, query, 2, 1)
	}, snowtest.AllowRepeats())
}
