package contract_test

import (
	"context"
	"database/sql"
	"regexp"
	"testing"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about chains (->>): a chain does what each of its links does.

var caseDDLChains = []string{
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
	for _, chain := range caseDDLChains {
		for _, use := range caseUses {
			t.Run(use.name+"/"+chain, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					srv.Handle("->>", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
						return snowtest.Status(snowtest.KindDDL, "done"), nil
					})
					db := casePool(t, srv, 1)
					err := snowtether.RunTx(t.Context(), caseBeginner(db), func(tx *sql.Tx) error {
						caseExec(t, tx, caseRow(1))
						if err := use.run(t.Context(), tx, chain); err != nil {
							return err
						}
						srv.AbortSessions()
						return use.run(t.Context(), tx, caseRow(2))
					})
					caseDoubt(t, err, true)
					caseSum(t, srv, caseRow(1), 1, 1)
					caseSum(t, srv, caseRow(2), 0, 0)
					caseNextUser(t, srv, db)
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
				caseLinks(srv, kind)
				db := casePool(t, srv, 1)
				tries := 0
				err := snowtether.RunTx(t.Context(), caseBeginner(db), func(tx *sql.Tx) error {
					caseExec(t, tx, caseRow(1))
					if _, err := tx.ExecContext(t.Context(), chain); err != nil {
						return err
					}
					if tries++; tries == 1 {
						srv.AbortSessions()
					}
					_, err := tx.ExecContext(t.Context(), caseRow(2))
					return err
				})
				if err != nil {
					t.Error(err)
				}
				caseSum(t, srv, caseRow(1), 2, 1)
				caseSum(t, srv, chain, 2, 1)
				caseSum(t, srv, caseRow(2), 1, 1)
			}, snowtest.AllowRepeats())
		})
	}
}

func caseBeginner(db *sql.DB) func(context.Context) (*sql.Tx, error) {
	return func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }
}

// caseLinks answers chains with what their last link, of this kind, would answer.
func caseLinks(srv *snowtest.Server, kind snowtest.Kind) {
	srv.Handle("->>", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		switch {
		case kind.IsDML():
			return caseCount(kind, "changed", 1), nil
		case kind == snowtest.KindSelect:
			return snowtest.Rows([]string{"N"}, []any{1}), nil
		}
		return snowtest.Status(kind, "done"), nil
	})
}

// TestChainThatWritesBeginsATransactionWithoutAutocommit: and it goes with its session.
// Before: the SELECT and the COMMIT went to a new session, both nil, and the row was gone.
func TestChainThatWritesBeginsATransactionWithoutAutocommit(t *testing.T) {
	for chain, kind := range map[string]snowtest.Kind{
		"SELECT 1 AS n ->> INSERT INTO t SELECT * FROM $1":                                     snowtest.KindInsert,
		"SELECT 1 AS n ->> SELECT * FROM $1 ->> insert into t select 1":                        snowtest.KindInsert,
		"SELECT 1 AS n ->> UPDATE t SET n = 1 WHERE n IN (SELECT n FROM $1)":                   snowtest.KindUpdate,
		"SELECT 1 AS n ->> DELETE FROM t WHERE n IN (SELECT n FROM $1)":                        snowtest.KindDelete,
		"SHOW TABLES ->> MERGE INTO t USING $1 s ON t.n = s.\"name\" WHEN MATCHED THEN DELETE": snowtest.KindMerge,
		"WITH x AS (SELECT 1 AS n) SELECT * FROM x ->> INSERT INTO t SELECT * FROM $1":         snowtest.KindInsert,
	} {
		for _, use := range caseUses {
			t.Run(use.name+"/"+chain, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					caseLinks(srv, kind)
					conn := casePin(t, casePool(t, srv, 1))
					if err := use.run(t.Context(), conn, chain); err != nil {
						t.Fatal(err)
					}
					srv.AbortSessions()
					caseLost(t, use.run(t.Context(), conn, "SELECT 1"), true)
					caseLost(t, use.run(t.Context(), conn, "COMMIT"), true)
					caseSum(t, srv, chain, 1, 0)
				}, snowtest.WithSessionParameter("AUTOCOMMIT", false))
			})
		}
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
		for _, use := range caseUses {
			t.Run(use.name+"/"+chain, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					srv.Handle(regexp.QuoteMeta(chain), func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
						return snowtest.Status(kind, "done"), nil
					})
					conn := casePin(t, casePool(t, srv, 1))
					caseExec(t, conn, chain)
					srv.AbortSessions()
					caseLost(t, use.run(t.Context(), conn, caseRow(1)), false)
					caseSum(t, srv, caseRow(1), 0, 0)
				})
			})
		}
	}
}
