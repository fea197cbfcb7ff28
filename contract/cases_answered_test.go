package contract_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about answers that are not Snowflake's, or not about the statement.

// caseForeign are codes without a query ID: a gateway's, or an answer to the poll.
var caseForeign = []string{"403", "500", "000709", "000605", "000604", "002003", "390144", "-1", "0", "99", "x"}

func caseRefusal(code string) string {
	return fmt.Sprintf(`{"success":false,"code":%q,"message":"no","data":null}`, code)
}

// TestForeignAnswerToAPollIsNoAnswerToTheStatement: it was accepted, and it runs.
// Before: "did not run", although it ran.
func TestForeignAnswerToAPollIsNoAnswerToTheStatement(t *testing.T) {
	for _, code := range caseForeign {
		for _, use := range caseUses {
			t.Run(use.name+"/"+code, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 1)
					slowly(srv, "^INSERT", 10*time.Minute, caseCount(snowtest.KindInsert, "inserted", 1), nil)
					srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return snowtest.Fault{Body: caseRefusal(code)}, r.Kind == snowtest.RequestResult
					})
					if err := use.run(t.Context(), db, caseRow(1)); err != nil {
						caseDoubt(t, err, false)
						caseHasID(t, srv, err, caseRow(1))
					}
					time.Sleep(time.Hour)
					caseSum(t, srv, caseRow(1), 1, 1)
				})
			})
		}
	}
}

// TestForeignAnswerToAPollInATransactionIsNoAnswerEither: the statement's own is fetched,
// or nothing of the transaction lasts.
// Before: "did not run", although it ran, and a COMMIT made it last.
func TestForeignAnswerToAPollInATransactionIsNoAnswerEither(t *testing.T) {
	for _, code := range caseForeign {
		t.Run(code, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				slowly(srv, "^INSERT INTO t", 2*time.Minute, caseCount(snowtest.KindInsert, "inserted", 1), nil)
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return snowtest.Fault{Body: caseRefusal(code)}, r.Kind == snowtest.RequestResult
				})
				tx, effects := caseBegin(t, db), 0
				if _, err := tx.ExecContext(t.Context(), caseRow(1)); err == nil {
					effects = 1
					if err := tx.Commit(); err != nil {
						t.Error(err)
					}
				} else {
					caseLost(t, err, true)
					caseLost(t, tx.Commit(), true)
				}
				time.Sleep(time.Hour)
				caseSum(t, srv, caseRow(1), 1, effects)
				caseNextUser(t, srv, db)
			})
		})
	}
}

// TestSnowflakesOwnAnswerToAPollIsTheStatements: it brings the query ID.
func TestSnowflakesOwnAnswerToAPollIsTheStatements(t *testing.T) {
	for _, use := range caseUses {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := casePool(t, srv, 1)
			slowly(srv, "^INSERT", 10*time.Minute, nil, &snowtest.Error{Code: "100072", SQLState: "22000", Message: "NULL result in a non-nullable column"})
			err := use.run(t.Context(), db, caseRow(1))
			var se *gosnowflake.SnowflakeError
			if !errors.As(err, &se) || se.Number != 100072 || snowtether.Classify(err) != snowtether.ClassStatement {
				t.Errorf("%s: error is %v", use.name, err)
			}
			caseSum(t, srv, caseRow(1), 1, 0)
		})
	}
}

// TestForeignAnswerForTheResultOfOneOfManyStatements: all of them were carried out.
// Before: "did not run", although all ran.
func TestForeignAnswerForTheResultOfOneOfManyStatements(t *testing.T) {
	const both = "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"
	for _, code := range caseForeign {
		for _, use := range caseUses {
			for _, nth := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s/%s/%d", use.name, code, nth), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db, n := casePool(t, srv, 1), 0
						srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
							if r.Kind == snowtest.RequestResult {
								n++
							}
							return snowtest.Fault{Body: caseRefusal(code)}, r.Kind == snowtest.RequestResult && n == nth
						})
						err := use.run(gosnowflake.WithMultiStatement(t.Context(), 2), db, both)
						if err != nil {
							caseDoubt(t, err, false)
							caseHasID(t, srv, err, both)
						}
						caseSum(t, srv, caseRow(1), 1, 1)
						caseSum(t, srv, caseRow(2), 1, 1)
					})
				})
			}
		}
	}
}

// TestGatewaysRefusalOfAnAcceptedStatementIsInDoubt: gosnowflake gives its own error an
// SQLState, which makes it no answer of Snowflake's.
func TestGatewaysRefusalOfAnAcceptedStatementIsInDoubt(t *testing.T) {
	for _, status := range []int{400, 403, 404, 405, 409, 413, 302, 304} {
		for _, body := range []string{"", "<html>no</html>", caseRefusal("000603")} {
			for _, use := range caseUses {
				t.Run(fmt.Sprintf("%s/%d/%s", use.name, status, body), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := casePool(t, srv, 1)
						caseOnce(srv, caseRow(1), snowtest.Fault{Run: true, Status: status, Body: body})
						caseDoubt(t, use.run(t.Context(), db, caseRow(1)), false)
						caseSum(t, srv, caseRow(1), 1, 1)
						caseNextUser(t, srv, db)
					})
				})
			}
		}
	}
}

// TestForeignReplyToAnAcceptedStatementIsInDoubt: JSON of another's, or none.
func TestForeignReplyToAnAcceptedStatementIsInDoubt(t *testing.T) {
	bodies := []string{"<html>", "[]", `""`, `{"success":false}`, `{"success":false,"code":"","message":null,"data":{}}`}
	for _, code := range caseForeign {
		bodies = append(bodies, caseRefusal(code))
	}
	for _, body := range bodies {
		for _, use := range caseUses {
			t.Run(use.name+"/"+body, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 1)
					caseOnce(srv, caseRow(1), snowtest.Fault{Run: true, Body: body})
					caseDoubt(t, use.run(t.Context(), db, caseRow(1)), false)
					caseSum(t, srv, caseRow(1), 1, 1)
					caseNextUser(t, srv, db)
				})
			})
		}
	}
}

// TestSnowflakesOwnReplyWithoutAQueryIDIsTheStatements: its SQLState says that it is one.
func TestSnowflakesOwnReplyWithoutAQueryIDIsTheStatements(t *testing.T) {
	for _, use := range caseUses {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := casePool(t, srv, 1)
			const body = `{"success":false,"code":"001003","message":"SQL compilation error","data":{"sqlState":"42000"}}`
			caseOnce(srv, caseRow(1), snowtest.Fault{Body: body})
			err := use.run(context.WithoutCancel(t.Context()), db, caseRow(1))
			if snowtether.Classify(err) != snowtether.ClassStatement {
				t.Errorf("%s: error is %v", use.name, err)
			}
			caseSum(t, srv, caseRow(1), 0, 0)
		})
	}
}
