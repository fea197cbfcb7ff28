package contract_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about statements that change their session: when that has happened, and
// when it has not.

// TestReadBeforeAChangeOfItsSessionIsNotRunAgain: a text whose later part changes what
// its earlier part reads is not repeatable.
func TestReadBeforeAChangeOfItsSessionIsNotRunAgain(t *testing.T) {
	for _, query := range []string{
		"SELECT CURRENT_ROLE(); USE ROLE other",
		"SELECT * FROM t; USE SCHEMA other",
		"SELECT $x; SET x = 2",
		"SELECT * FROM t; CREATE OR REPLACE TEMPORARY TABLE t AS SELECT 1",
	} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				n := 0
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.Kind == snowtest.RequestQuery && r.SQL == query {
						n++
						return snowtest.Fault{Run: true, Status: 200, Body: "<html>"}, n == 1
					}
					return snowtest.Fault{}, false
				})
				err := caseDrain(db.QueryContext(gosnowflake.WithMultiStatement(t.Context(), 2), query))
				if a := srv.Accepted(query); err == nil && a != 1 {
					t.Errorf("ran %d times, and nil: the second run reads what the first has changed", a)
				}
			})
		})
	}
}

// TestChangeOfTheSessionIsRunAgainOnANewOne: its reply is lost and then its session, and
// nothing that was set before went with it.
func TestChangeOfTheSessionIsRunAgainOnANewOne(t *testing.T) {
	for _, query := range []string{"USE ROLE other", "ALTER SESSION SET TIMEZONE = 'UTC'", "SET x = 1", "CREATE TEMPORARY TABLE IF NOT EXISTS x (n INT)"} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := casePin(t, casePool(t, srv, 1))
				caseLose(srv, query)
				if _, err := conn.ExecContext(t.Context(), query); err != nil {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestFetchByIDChangesNothing: a fetch runs nothing, and so changes no session.
func TestFetchByIDChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		caseExec(t, conn, "SELECT 5")
		id := srv.Ledger()[len(srv.Ledger())-1].QueryID
		if err := caseDrain(conn.QueryContext(gosnowflake.WithFetchResultByID(t.Context(), id), "CALL p()")); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		if err := caseDrain(conn.QueryContext(t.Context(), "SELECT 6")); err != nil {
			t.Errorf("nothing was lost: %v", err)
		}
	})
}

// TestQuestionOfTheDriversIsNotTheProgramsLast: the driver's own question about the
// session is no statement of the program's.
func TestQuestionOfTheDriversIsNotTheProgramsLast(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		caseExec(t, conn, caseRow(1))
		id := srv.Ledger()[len(srv.Ledger())-1].QueryID
		probes := 0
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 1" {
				probes++
			}
			return snowtest.Fault{}, false
		})
		srv.ExpireSessionTokens()
		err := caseDrain(conn.QueryContext(gosnowflake.WithFetchResultByID(t.Context(), id), ""))
		t.Logf("fetch: %v, questions: %d", err, probes)
		if probes == 0 {
			t.Fatal("no question was asked")
		}
		if err := caseDrain(conn.QueryContext(t.Context(), "SELECT LAST_QUERY_ID()")); err == nil {
			t.Error("answered, although the last statement of the session is the driver's own")
		}
	})
}

// TestSharedSessionIsGivenBackWhenNothingWasBegun: a BeginTx that was not begun holds
// nothing: others may share the session.
func TestSharedSessionIsGivenBackWhenNothingWasBegun(t *testing.T) {
	caseShared(t, 1, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		db.SetMaxOpenConns(2)
		conn := casePin(t, db)
		if _, err := conn.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable}); err == nil {
			t.Fatal("begun")
		}
		if _, err := db.ExecContext(t.Context(), "SELECT 2"); err != nil {
			t.Errorf("nobody has a transaction: %v", err)
		}
	})
}

// TestDescribedStatementChangesNothing: what is only described has changed nothing.
func TestDescribedStatementChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		conn := casePin(t, db)
		caseExec(t, conn, "BEGIN", caseRow(1))
		if _, err := conn.ExecContext(gosnowflake.WithDescribeOnly(t.Context()), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		caseNextUser(t, srv, db)
	})
}

// TestCallerOfAChangeThatWasLostHearsOfItsEnd: a caller who waits for the query ID hears
// of the end, as from gosnowflake.
func TestCallerOfAChangeThatWasLostHearsOfItsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const query = "USE ROLE other"
		conn := casePin(t, casePool(t, srv, 1))
		caseLose(srv, query)
		ids := make(chan string, 1)
		_, err := conn.ExecContext(gosnowflake.WithQueryIDChan(t.Context(), ids), query)
		select {
		case <-ids:
		case <-time.After(time.Hour):
			t.Errorf("nothing on the channel for an hour after %v", err)
		}
	})
}

// TestRefusedChangeOfTheSessionIsNone: a statement that Snowflake refused with an error
// of its own has changed nothing.
func TestRefusedChangeOfTheSessionIsNone(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		srv.Handle("^USE ROLE nope", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "002003", SQLState: "02000", Message: "Role 'NOPE' does not exist or not authorized."}
		})
		if _, err := conn.ExecContext(t.Context(), "USE ROLE nope"); err == nil {
			t.Fatal("used")
		}
		srv.AbortSessions()
		if _, err := conn.ExecContext(t.Context(), "SELECT 2"); err != nil {
			t.Errorf("nothing was lost: %v", err)
		}
	})
}

// TestQuestionByItsIDIsNoneToTheSession: RESULT_SCAN of an ID that is bound (the
// usual way: GetQueryID, then RESULT_SCAN(?)) reads from any session of the user's. Once
// a connection's session was replaced, or only asked whether it is alive, it is refused
// with ErrSessionLost, on that connection, for ever. "Once" would be the promise; nothing
// was lost. The same for VALIDATE with a literal JOB_ID. Right: a bind is no question to
// the session (or at the least the refusal comes once).
func TestQuestionByItsIDIsNoneToTheSession(t *testing.T) {
	const id = "01bd0000-0001-0032-0001-000000000001"
	for _, query := range []string{"SELECT * FROM TABLE(RESULT_SCAN(?))", "SELECT * FROM TABLE(VALIDATE(t, JOB_ID => '" + id + "'))"} {
		t.Run(query, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				srv.AbortSessions()
				caseExec(t, db, "SELECT 7") // replaces the session
				var args []any
				if query[len(query)-3] == '?' {
					args = []any{id}
				}
				n := 0
				for range 5 {
					caseExec(t, db, "SELECT 8")
					if err := caseDrain(db.QueryContext(t.Context(), query, args...)); err != nil {
						n++
						t.Log(err)
					}
				}
				if n > 0 {
					t.Errorf("refused %d times of 5", n)
				}
			}, snowtest.AllowRepeats())
		})
	}
}

// TestVariableThatEverySessionHasIsNotLost: every session has what WithSessionInit sets.
// A read that uses such a variable and finds its session dead is ErrSessionLost, although
// the next session has the variable and nothing was lost: a pool whose statements use
// $tenant loses one statement for each session. Right: only what this holder has set
// (c.mine has LossVariables) can be lost; asking for a variable is no state by itself.
func TestVariableThatEverySessionHasIsNotLost(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1, snowtether.WithSessionInit("SET tenant = 5"))
		srv.AbortSessions()
		if err := caseDrain(db.QueryContext(t.Context(), "SELECT n FROM t WHERE tenant = $tenant")); err != nil {
			t.Error(err)
		}
		srv.AbortSessions()
		if _, err := db.ExecContext(t.Context(), "INSERT INTO t SELECT $tenant, 1"); err != nil {
			t.Error(err)
		}
	})
}

// TestReadThatWasSentTwiceIsTwoStatements: a read whose reply could not be read is
// sent again on the same session, which has then run two. LAST_QUERY_ID(-2) is the first
// of these two, not the statement before the read, and RESULT_SCAN reads another's rows:
// a wrong answer and no error. Right: as behind a probe, what reaches beyond the
// repetition is refused (c.forget() when op.loose).
func TestReadThatWasSentTwiceIsTwoStatements(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const query = "SELECT * FROM TABLE(RESULT_SCAN(LAST_QUERY_ID(-2)))"
		conn := casePin(t, casePool(t, srv, 1))
		caseExec(t, conn, "SELECT 6", "SHOW TABLES")
		caseOnce(srv, "SELECT 7", snowtest.Fault{Run: true, Body: "<html>"})
		caseExec(t, conn, "SELECT 7")
		if n := srv.Accepted("SELECT 7"); n != 2 {
			t.Fatalf("the read was accepted %d times", n)
		}
		err := caseDrain(conn.QueryContext(t.Context(), query))
		if l := srv.Ledger(); err == nil && l[len(l)-3].SQL != "SHOW TABLES" {
			t.Errorf("the statement before the last was SHOW TABLES; the session was asked for the rows of %s", l[len(l)-3].SQL)
		}
	})
}

// TestChannelOfAStatementThatIsNotSentIsClosed: a statement that fails before
// it is sent (state was lost, its transaction is over) leaves the caller's query-ID
// channel open for ever; one that fails after it was sent closes it. Whoever waits on it
// hangs. Right: do tells the channel whatever it returns.
func TestChannelOfAStatementThatIsNotSentIsClosed(t *testing.T) {
	for _, sent := range []bool{true, false} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			conn := casePin(t, casePool(t, srv, 1))
			caseExec(t, conn, "BEGIN", caseRow(1))
			srv.AbortSessions()
			if !sent {
				_, err := conn.ExecContext(t.Context(), caseRow(2))
				caseLost(t, err, true)
			}
			ch := make(chan string, 1)
			_, err := conn.ExecContext(gosnowflake.WithQueryIDChan(t.Context(), ch), caseRow(3))
			caseLost(t, err, true)
			select {
			case id, open := <-ch:
				t.Logf("sent %v: %q, %v", sent, id, open)
			case <-time.After(time.Minute):
				t.Errorf("sent %v: nothing came out of the channel", sent)
			}
		})
	}
}

// TestTemporaryTableThatIsGoneIsMadeAgain: nothing of it has lasted.
func TestTemporaryTableThatIsGoneIsMadeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		const query = "CREATE TEMPORARY TABLE stage (n INT)"
		caseLose(srv, query)
		caseExec(t, conn, query)
	}, snowtest.AllowRepeats())
}
