package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Exactly once (docs/guarantees.md): only Snowflake's own error about this statement is passed on
// as its answer. A gateway's code is none; what gosnowflake refuses by itself is its own error.

// localFailures are calls that gosnowflake refuses by itself: nothing is sent.
var localFailures = map[string]func(ctx context.Context, t *testing.T, conn *sql.Conn) error{
	"isolation level": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		_, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		return err
	},
	"read-only transaction": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		_, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		return err
	},
	"bad bind": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, bulkInsert, gosnowflake.DataTypeBinary, time.Now())
		return err
	},
	"bad bind of a query": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		return drain(conn.QueryContext(ctx, "SELECT db.s.f(?)", gosnowflake.DataTypeBinary, time.Now()))
	},
	"bad bind of a prepared statement": func(ctx context.Context, _ *testing.T, conn *sql.Conn) error {
		return forms[2].run(ctx, conn, bulkInsert, gosnowflake.DataTypeBinary, time.Now())
	},
	"arrays of several lengths": func(ctx context.Context, t *testing.T, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "INSERT INTO t VALUES (?, ?)", arrayOf(t, 100), arrayOf(t, 99))
		return err
	},
}

// TestWhatGosnowflakeRefusesByItselfIsItsOwnError: no login, no doubt, no second try,
// whether the session lives or not; and the connection works on.
func TestWhatGosnowflakeRefusesByItselfIsItsOwnError(t *testing.T) {
	for name, run := range localFailures {
		for _, dead := range []bool{false, true} {
			t.Run(map[bool]string{false: "alive/", true: "dead/"}[dead]+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
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
					mustExec(t, conn, row(1))
					checkRan(t, srv, row(1), 1, 1)
				}, throughAStage)
			})
		}
	}
}

// TestWhatGosnowflakeRefusesByItselfEndsNoTransaction: what was written lasts.
func TestWhatGosnowflakeRefusesByItselfEndsNoTransaction(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tx := mustBegin(t, pool(t, srv, 1))
		mustExec(t, tx, row(1))
		if _, err := tx.ExecContext(t.Context(), bulkInsert, gosnowflake.DataTypeBinary, time.Now()); err == nil || snowtether.Classify(err) != snowtether.ClassStatement {
			t.Errorf("error is %v", err)
		}
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		checkRan(t, srv, row(1), 1, 1)
	})
}

// TestFileThatCannotBeReadIsTheStatementsOwnError: the server has answered by then, but
// nothing is in doubt.
func TestFileThatCannotBeReadIsTheStatementsOwnError(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		_, err := db.ExecContext(t.Context(), "PUT file:///no/such/file @stage")
		if err == nil || snowtether.Classify(err) != snowtether.ClassStatement {
			t.Errorf("error is %v, %q", err, snowtether.Classify(err))
		}
	})
}

// foreignCodes are codes without a query ID: a gateway's, or an answer to the poll.
var foreignCodes = []string{"403", "500", "000709", "000605", "000604", "002003", "390144", "-1", "0", "99", "x"}

// TestForeignAnswerToAPollIsNoAnswerToTheStatement: it was accepted, and it runs.
// Before: "did not run", although it ran.
func TestForeignAnswerToAPollIsNoAnswerToTheStatement(t *testing.T) {
	for _, code := range foreignCodes {
		for _, use := range forms {
			t.Run(use.name+"/"+code, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
					srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return snowtest.Fault{Body: refusalBody(code)}, r.Kind == snowtest.RequestResult
					})
					if err := use.run(t.Context(), db, row(1)); err != nil {
						isInDoubt(t, err, false)
						hasIDOf(t, srv, err, row(1))
					}
					time.Sleep(time.Hour)
					checkRan(t, srv, row(1), 1, 1)
				})
			})
		}
	}
}

// TestForeignAnswerToAPollInATransactionIsNoAnswerEither: the statement's own is fetched,
// or nothing of the transaction lasts.
// Before: "did not run", although it ran, and a COMMIT made it last.
func TestForeignAnswerToAPollInATransactionIsNoAnswerEither(t *testing.T) {
	for _, code := range foreignCodes {
		t.Run(code, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, "^INSERT INTO t", 2*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return snowtest.Fault{Body: refusalBody(code)}, r.Kind == snowtest.RequestResult
				})
				tx, effects := mustBegin(t, db), 0
				if _, err := tx.ExecContext(t.Context(), row(1)); err == nil {
					effects = 1
					if err := tx.Commit(); err != nil {
						t.Error(err)
					}
				} else {
					isLost(t, err, true)
					isLost(t, tx.Commit(), true)
				}
				time.Sleep(time.Hour)
				checkRan(t, srv, row(1), 1, effects)
				nextUser(t, srv, db)
			})
		})
	}
}

// TestSnowflakesOwnAnswerToAPollIsTheStatements: it brings the query ID.
func TestSnowflakesOwnAnswerToAPollIsTheStatements(t *testing.T) {
	for _, use := range forms {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			slowly(srv, "^INSERT", 10*time.Minute, nil, &snowtest.Error{Code: "100072", SQLState: "22000", Message: "NULL result in a non-nullable column"})
			err := use.run(t.Context(), db, row(1))
			var se *gosnowflake.SnowflakeError
			if !errors.As(err, &se) || se.Number != 100072 || snowtether.Classify(err) != snowtether.ClassStatement {
				t.Errorf("%s: error is %v", use.name, err)
			}
			checkRan(t, srv, row(1), 1, 0)
		})
	}
}

// TestForeignAnswerForTheResultOfOneOfManyStatements: all of them were carried out.
// Before: "did not run", although all ran.
func TestForeignAnswerForTheResultOfOneOfManyStatements(t *testing.T) {
	const both = "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"
	for _, code := range foreignCodes {
		for _, use := range forms {
			for _, nth := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s/%s/%d", use.name, code, nth), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db, n := pool(t, srv, 1), 0
						srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
							if r.Kind == snowtest.RequestResult {
								n++
							}
							return snowtest.Fault{Body: refusalBody(code)}, r.Kind == snowtest.RequestResult && n == nth
						})
						err := use.run(gosnowflake.WithMultiStatement(t.Context(), 2), db, both)
						if err != nil {
							isInDoubt(t, err, false)
							hasIDOf(t, srv, err, both)
						}
						checkRan(t, srv, row(1), 1, 1)
						checkRan(t, srv, row(2), 1, 1)
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
		for _, body := range []string{"", "<html>no</html>", refusalBody("000603")} {
			for _, use := range forms {
				t.Run(fmt.Sprintf("%s/%d/%s", use.name, status, body), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := pool(t, srv, 1)
						once(srv, row(1), snowtest.Fault{Run: true, Status: status, Body: body})
						isInDoubt(t, use.run(t.Context(), db, row(1)), false)
						checkRan(t, srv, row(1), 1, 1)
						nextUser(t, srv, db)
					})
				})
			}
		}
	}
}

// TestForeignReplyToAnAcceptedStatementIsInDoubt: JSON of another's, or none.
func TestForeignReplyToAnAcceptedStatementIsInDoubt(t *testing.T) {
	bodies := []string{"<html>", "[]", `""`, `{"success":false}`, `{"success":false,"code":"","message":null,"data":{}}`}
	for _, code := range foreignCodes {
		bodies = append(bodies, refusalBody(code))
	}
	for _, body := range bodies {
		for _, use := range forms {
			t.Run(use.name+"/"+body, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					once(srv, row(1), snowtest.Fault{Run: true, Body: body})
					isInDoubt(t, use.run(t.Context(), db, row(1)), false)
					checkRan(t, srv, row(1), 1, 1)
					nextUser(t, srv, db)
				})
			})
		}
	}
}

// TestOddRefusalAfterAcceptanceIsNotTheStatementsOwnError: the poll, or the retry
// after a gateway's 503, is refused for a reason that has nothing to do with the
// statement, which has run.
func TestOddRefusalAfterAcceptanceIsNotTheStatementsOwnError(t *testing.T) {
	for _, f := range []snowtest.Fault{{Code: "390422"}, {Code: "390302"}, {Code: "390189"}, {Body: `{"message":"Forbidden"}`}} {
		t.Run(fmt.Sprint(f.Code, f.Body), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return f, r.Kind == snowtest.RequestResult })
				if _, err := db.ExecContext(t.Context(), insert); err != nil {
					t.Errorf("polled: %v", err)
				}
				if n := srv.Effects(insert); n != 1 {
					t.Errorf("took effect %d times", n)
				}
			})
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				once(srv, insert, snowtest.Fault{Run: true, Status: 503})
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return f, r.Kind == snowtest.RequestQuery && r.RetryCount > 0
				})
				_, err := db.ExecContext(t.Context(), insert)
				ranInDoubt(t, srv, insert, err, 1)
			})
		})
	}
}

// TestSnowflakesOwnReplyWithoutAQueryIDIsTheStatements: its SQLState says that it is one.
func TestSnowflakesOwnReplyWithoutAQueryIDIsTheStatements(t *testing.T) {
	for _, use := range forms {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			const body = `{"success":false,"code":"001003","message":"SQL compilation error","data":{"sqlState":"42000"}}`
			once(srv, row(1), snowtest.Fault{Body: body})
			err := use.run(context.WithoutCancel(t.Context()), db, row(1))
			if snowtether.Classify(err) != snowtether.ClassStatement {
				t.Errorf("%s: error is %v", use.name, err)
			}
			checkRan(t, srv, row(1), 0, 0)
		})
	}
}

// TestStatusOfAGatewayIsInDoubt: 203 is a proxy's that changed the reply, and 403 may
// be that of one which has read it. A read is what it is.
func TestStatusOfAGatewayIsInDoubt(t *testing.T) {
	for _, status := range []int{202, 203, 206, 304, 400, 403, 413} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				f, cfg := inFront(t, srv)
				db, _ := connect(t, cfg)
				if err := db.PingContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				f.misbehaves("/query-request", true, func(w http.ResponseWriter, _ *http.Request) {
					f.behaves()
					w.WriteHeader(status)
				})
				_, err := db.ExecContext(t.Context(), insert)
				ranInDoubt(t, srv, insert, err, 1)
				if status < 400 {
					return
				}
				f.misbehaves("/query-request", true, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
				begun := time.Now()
				var one int
				if err := db.QueryRowContext(t.Context(), "SELECT 1").Scan(&one); snowtether.Classify(err) != snowtether.ClassStatement || time.Since(begun) > time.Second {
					t.Errorf("a read: %v, after %v", err, time.Since(begun))
				}
				f.behaves()
			})
		})
	}
}
