package contract_test

import (
	"database/sql"
	"errors"
	"regexp"
	"testing"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about statements that may act outside of Snowflake, or outside of their
// transaction: to run them twice is not to run them once, and no rollback undoes them.

// caseOutside are such statements, and the kind of each.
var caseOutside = map[string]snowtest.Kind{
	"SELECT db.s.f(7)":                                  snowtest.KindSelect,
	"SELECT my_udf(1)":                                  snowtest.KindSelect,
	"SELECT n, s.f /* of s */ (n) FROM t":               snowtest.KindSelect,
	"SELECT \"F\"(7)":                                   snowtest.KindSelect,
	"SELECT \"UPPER\"(s) FROM t":                        snowtest.KindSelect,
	"SELECT db.s.UPPER(s) FROM t":                       snowtest.KindSelect,
	"SELECT IDENTIFIER('db.s.f')(7)":                    snowtest.KindSelect,
	"SELECT n, IDENTIFIER('f')(7) FROM t":               snowtest.KindSelect,
	"SELECT db.s.m!PREDICT(7)":                          snowtest.KindSelect,
	"SELECT m!predict(INPUT_DATA => n) FROM t":          snowtest.KindSelect,
	"SELECT SYSTEM$SEND_EMAIL('i', 'a@b.c', 's', 't')":  snowtest.KindSelect,
	"WITH x AS (SELECT SYSTEM$WAIT(1)) SELECT * FROM x": snowtest.KindSelect,
	"SELECT * FROM TABLE(db.s.f(7))":                    snowtest.KindSelect,
	"SELECT * FROM TABLE(f(7)) WHERE n > 0":             snowtest.KindSelect,
	"SELECT 1 --\rFROM TABLE(db.s.f(1))":                snowtest.KindSelect,
	"SELECT 1 //\r, f(1)":                               snowtest.KindSelect,
	"SELECT COUNT(*) FROM t WHERE f(n) > 0":             snowtest.KindSelect,
	"INSERT INTO u SELECT db.s.f(7)":                    snowtest.KindInsert,
	"INSERT INTO u (a, b) VALUES (1, f(2))":             snowtest.KindInsert,
	"UPDATE u SET a = db.s.f(a)":                        snowtest.KindUpdate,
	"DELETE FROM u WHERE f(a) > 0":                      snowtest.KindDelete,
	"MERGE INTO u USING (SELECT f(1) AS n) s ON u.n = s.n WHEN MATCHED THEN DELETE": snowtest.KindMerge,
	"COPY INTO u FROM @s PURGE = TRUE":                                              snowtest.KindSelect,
	"COPY INTO @s FROM u":                                                           snowtest.KindSelect,
	"COPY INTO 's3://b/c' FROM (SELECT * FROM u)":                                   snowtest.KindSelect,
	"CALL p(7)":                          snowtest.KindSelect,
	"EXECUTE IMMEDIATE 'SELECT f(7)'":    snowtest.KindSelect,
	"BEGIN LET n := f(7); RETURN n; END": snowtest.KindSelect,
	"WITH p AS PROCEDURE () RETURNS INT LANGUAGE SQL AS 'RETURN 1' CALL p()": snowtest.KindSelect,
}

func caseResult(kind snowtest.Kind) *snowtest.Result {
	if kind.IsDML() {
		return caseCount(kind, "changed", 1)
	}
	return snowtest.Rows([]string{"N"}, []any{1})
}

// TestWhatActsOutsideItsTransactionIsInDoubt: its own reply is lost with the session.
// Before: for most of these "nothing lasts", and RunTx ran them again.
func TestWhatActsOutsideItsTransactionIsInDoubt(t *testing.T) {
	for query, kind := range caseOutside {
		for _, use := range caseUses {
			t.Run(use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var calls caseCalls
					calls.handle(srv, regexp.QuoteMeta(query), caseResult(kind))
					db := casePool(t, srv, 1)
					caseLose(srv, query)
					err := snowtether.RunTx(t.Context(), caseBeginner(db), func(tx *sql.Tx) error {
						return use.run(t.Context(), tx, query)
					})
					caseDoubt(t, err, true)
					calls.want(t, 1)
					caseNextUser(t, srv, db)
				})
			})
		}
	}
}

// TestTransactionThatHasActedOutsideIsInDoubt: the statement was answered, and a later
// one or the COMMIT finds the session gone.
// Before: for most of these "nothing lasts", and RunTx ran them again.
func TestTransactionThatHasActedOutsideIsInDoubt(t *testing.T) {
	for query, kind := range caseOutside {
		for _, next := range []string{caseRow(1), "SELECT 1", "COMMIT"} {
			t.Run(next+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var calls caseCalls
					calls.handle(srv, regexp.QuoteMeta(query), caseResult(kind))
					db := casePool(t, srv, 1)
					err := snowtether.RunTx(t.Context(), caseBeginner(db), func(tx *sql.Tx) error {
						if err := caseDrain(tx.QueryContext(t.Context(), query)); err != nil {
							return err
						}
						srv.AbortSessions()
						if next == "COMMIT" {
							return nil
						}
						return caseDrain(tx.QueryContext(t.Context(), next))
					})
					caseDoubt(t, err, true)
					calls.want(t, 1)
					caseNextUser(t, srv, db)
				})
			})
		}
	}
}

// TestWhatActsOutsideIsInDoubtOutsideATransaction: the same without one.
// Before: IDENTIFIER, methods, functions in lists of columns and WITH … DELETE ran again.
func TestWhatActsOutsideIsInDoubtOutsideATransaction(t *testing.T) {
	more := map[string]snowtest.Kind{
		"WITH x AS (SELECT 1 AS n) DELETE FROM u USING x WHERE u.n = x.n": snowtest.KindDelete,
		"WITH x AS (SELECT 1 AS n) UPDATE u SET n = x.n FROM x":           snowtest.KindUpdate,
		"with x as (select 1) insert into u select * from x":              snowtest.KindInsert,
		"SELECT 1 AS n ->> INSERT INTO u SELECT * FROM $1":                snowtest.KindInsert,
		"EXPLAIN SELECT 1; DELETE FROM u":                                 snowtest.KindDelete,
		"SELECT 1 INTO :n":                                                snowtest.KindSelect,
	}
	for query, kind := range caseOutside {
		more[query] = kind
	}
	for query, kind := range more {
		for _, use := range caseUses {
			t.Run(use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var calls caseCalls
					calls.handle(srv, regexp.QuoteMeta(query), caseResult(kind))
					db := casePool(t, srv, 1)
					caseLose(srv, query)
					caseDoubt(t, use.run(t.Context(), db, query), false)
					if n := srv.Accepted(query); n != 1 {
						t.Errorf("accepted %d times", n)
					}
					caseNextUser(t, srv, db)
				}, snowtest.WithSessionParameter("MULTI_STATEMENT_COUNT", 0))
			})
		}
	}
}

// caseHarmless are everyday statements that only read.
var caseHarmless = []string{
	"SELECT 1",
	"SELECT COUNT(*), SUM(a), MAX(db.s.t.a) FROM db.s.t WHERE a IN (1, 2)",
	"SELECT UPPER(s), COALESCE(a, 0), IFF(a > 0, 'x(1)', 'y') FROM t",
	"SELECT a::NUMBER(10,2), CAST(b AS VARCHAR(20)) FROM t",
	"SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t QUALIFY 1 = 1",
	"WITH x (n) AS (SELECT 1) SELECT n FROM x",
	"SELECT * FROM t AT (OFFSET => -60)",
	"SELECT * FROM t SAMPLE (10)",
	"SELECT f.value FROM t, LATERAL FLATTEN(INPUT => t.v) f",
	"SELECT * FROM TABLE(GENERATOR(ROWCOUNT => 10))",
	"SELECT * FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY())",
	"SELECT CURRENT_TIMESTAMP(), CURRENT_DATE",
	"SELECT s.NEXTVAL",
	"SELECT 'db.s.f(1)', \"f(1)\" FROM t -- f(1)\n/* f(1) */",
	"SHOW TABLES LIKE 'f(1)'",
	"DESCRIBE TABLE db.s.t",
}

// TestHarmlessReadWithLostReplyIsRunAgain: ordinary SQL does not suffer.
// Before: the number of a sequence was in doubt, and so was a table of INFORMATION_SCHEMA.
func TestHarmlessReadWithLostReplyIsRunAgain(t *testing.T) {
	for _, query := range caseHarmless {
		for _, use := range caseUses {
			t.Run(use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 1)
					caseLose(srv, query)
					if err := use.run(t.Context(), db, query); err != nil {
						t.Error(err)
					}
					if n := srv.Accepted(query); n != 2 {
						t.Errorf("accepted %d times", n)
					}
				}, snowtest.AllowRepeats())
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
	}, caseHarmless...) {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				caseLose(srv, query)
				err := snowtether.RunTx(t.Context(), caseBeginner(db), func(tx *sql.Tx) error {
					_, err := tx.ExecContext(t.Context(), query)
					if err != nil && !errors.Is(err, snowtether.ErrSessionLost) {
						t.Errorf("error is %v", err)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
				caseSum(t, srv, query, 2, 1)
			}, snowtest.AllowRepeats())
		})
	}
}

// TestFunctionsOfItsOwnMakeNoStatementInDoubtThatDidNotRun: a refusal is a proof for all.
func TestFunctionsOfItsOwnMakeNoStatementInDoubtThatDidNotRun(t *testing.T) {
	for query, kind := range caseOutside {
		for _, way := range caseWays {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var calls caseCalls
				calls.handle(srv, regexp.QuoteMeta(query), caseResult(kind))
				db := casePool(t, srv, 1)
				srv.EndSessions(way.end)
				if err := caseDrain(db.QueryContext(t.Context(), query)); err != nil {
					t.Errorf("%s, %s: %v", way.name, query, err)
				}
				calls.want(t, 1)
			}, snowtest.WithSessionParameter("MULTI_STATEMENT_COUNT", 0))
		}
	}
}
