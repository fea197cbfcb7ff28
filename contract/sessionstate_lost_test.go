package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Session state (docs/guarantees.md): what the holder of a connection has set does not go
// unnoticed with its session: the next statement says so, once. Nor is another session asked for
// what this one ran (LAST_QUERY_ID, RESULT_SCAN).

// TestSessionStateIsNotLostUnaware: a pinned connection whose session had state
// serves the result that was carried over, and then says that it is over.
func TestSessionStateIsNotLostUnaware(t *testing.T) {
	for _, state := range []string{"USE ROLE r", "ALTER SESSION SET TIMEZONE = 'UTC'", "SET x = 1", "CREATE TEMPORARY TABLE x (a INT)"} {
		for _, accepted := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/accepted %v", state, accepted), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					conn, err := db.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					if _, err := conn.ExecContext(t.Context(), state); err != nil {
						t.Fatal(err)
					}
					if accepted {
						slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
						endAt(srv, ways[1].End, time.Minute)
						if _, err := conn.ExecContext(t.Context(), insert); err != nil {
							t.Errorf("the accepted statement: %v", err)
						}
					} else {
						srv.EndSessions(ways[1].End)
					}
					_, err = conn.ExecContext(t.Context(), row(2))
					var se *snowtether.SessionError
					if !errors.As(err, &se) || !errors.Is(err, snowtether.ErrSessionLost) || !strings.Contains(err.Error(), "session lost, and with it ") {
						t.Errorf("the next statement: %v", err)
					}
					if n := srv.Accepted(row(2)); n != 0 {
						t.Errorf("it was accepted %d times", n)
					}
				})
			})
		}
	}
}

// firstStatements are the ways in which a caller first hears that the session is gone.
var firstStatements = []struct {
	name string
	run  func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error
}{
	{"BeginTx", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		srv.AbortSessions()
		tx, err := conn.BeginTx(ctx, nil)
		if err == nil {
			_ = tx.Rollback()
		}
		return err
	}},
	{"Ping", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		srv.AbortSessions()
		return conn.PingContext(ctx)
	}},
	{"write", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		srv.AbortSessions()
		_, err := conn.ExecContext(ctx, row(1))
		return err
	}},
	{"read", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		srv.AbortSessions()
		return drain(conn.QueryContext(ctx, "SELECT n FROM t"))
	}},
	{"read whose reply is lost", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		runAndLose(srv, "SELECT n FROM t")
		return drain(conn.QueryContext(ctx, "SELECT n FROM t"))
	}},
	{"prepared read whose reply is lost", func(ctx context.Context, srv *snowtest.Server, conn *sql.Conn) error {
		runAndLose(srv, "SELECT n FROM t")
		return forms[3].run(ctx, conn, "SELECT n FROM t")
	}},
}

// TestLossOfAPinnedSessionsStateIsToldOnce: by whatever comes first; then the connection
// works again, on a session without it.
// Before: BeginTx, Ping and reads were refused or read another schema's t, and the pinned
// connection was closed.
func TestLossOfAPinnedSessionsStateIsToldOnce(t *testing.T) {
	for _, state := range stateSQL {
		for _, first := range firstStatements {
			t.Run(first.name+"/"+state, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					mustExec(t, conn, state)
					old := srv.Ledger()[0].SessionID
					isLost(t, first.run(t.Context(), srv, conn), false)
					for _, e := range srv.Ledger() {
						if e.SessionID != old && e.Kind == snowtest.KindSelect && e.SQL != "SELECT 1" {
							t.Errorf("%s was run in another session", e.SQL)
						}
					}
					checkRan(t, srv, row(1), 0, 0)
					mustExec(t, conn, row(2))
					checkRan(t, srv, row(2), 1, 1)
				})
			})
		}
	}
}

// TestLossOfAPinnedSessionsStateIsToldAfterACarryOver: the outcome is handed out first.
// Before: the next statement closed the pinned connection.
func TestLossOfAPinnedSessionsStateIsToldAfterACarryOver(t *testing.T) {
	for _, state := range stateSQL {
		for _, first := range firstStatements[:4] {
			t.Run(first.name+"/"+state, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					mustExec(t, conn, state)
					slowly(srv, "^INSERT INTO u", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
					abortAt(srv, time.Minute)
					mustExec(t, conn, "INSERT INTO u VALUES (1)")
					isLost(t, first.run(t.Context(), srv, conn), false)
					checkRan(t, srv, "INSERT INTO u VALUES (1)", 1, 1)
					checkRan(t, srv, row(1), 0, 0)
				})
			})
		}
	}
}

// TestStateOfAnEarlierUserIsNotTheNextUsers: their statement runs on a fresh session, and
// the log says once that something went.
// Before: nobody was told.
func TestStateOfAnEarlierUserIsNotTheNextUsers(t *testing.T) {
	for _, state := range stateSQL {
		for _, use := range forms {
			t.Run(use.name+"/"+state, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var log lines
					db := poolOf(t, srv.Config(), 1, logTo(&log))
					mustExec(t, db, state)
					srv.AbortSessions()
					if err := use.run(t.Context(), db, row(1)); err != nil {
						t.Error(err)
					}
					checkRan(t, srv, row(1), 1, 1)
					if n := log.Count("level=WARN"); n != 1 {
						t.Errorf("%d warnings in the log", n)
					}
				})
			})
		}
	}
}

// TestChangedSessionIsKeptOrDiscarded: with DiscardChanged one caller's role is
// never the next one's; by default the pool keeps the connection, as database/sql
// users expect.
func TestChangedSessionIsKeptOrDiscarded(t *testing.T) {
	for _, change := range []string{"USE ROLE r", "use secondary roles none", "ALTER SESSION SET TIMEZONE = 'UTC'", "SET x = 1", "UNSET x", "CREATE OR REPLACE TEMP TABLE x (a INT)"} {
		for _, what := range []snowtether.ChangedSession{snowtether.KeepChanged, snowtether.DiscardChanged} {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1, snowtether.WithChangedSession(what))
				if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != nil {
					t.Fatal(err)
				}
				before := srv.Sessions()[0].ID
				if _, err := db.ExecContext(t.Context(), change); err != nil {
					t.Fatal(err)
				}
				if err := db.PingContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				kept := srv.Sessions()[0].ID == before
				if kept != (what == snowtether.KeepChanged) {
					t.Errorf("%s: the session was kept: %v", change, kept)
				}
			})
		}
	}
}

var askingSQL = []string{
	"SELECT * FROM TABLE(RESULT_SCAN(-1))",
	"SELECT * FROM TABLE(RESULT_SCAN())",
	"select n from table(result_scan(last_query_id()))",
	"SELECT * FROM TABLE(RESULT_SCAN(LAST_QUERY_ID(-1)))",
	"SELECT LAST_QUERY_ID()",
	"SELECT LAST_QUERY_ID(-2)",
	"SELECT LAST_QUERY_ID /* of mine */ ( 1 )",
	"CREATE TABLE x AS SELECT * FROM TABLE(RESULT_SCAN(-1))",
	"INSERT INTO t SELECT * FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))",
	"SHOW TABLES ->> SELECT LAST_QUERY_ID()",
}

// TestQuestionForWhatAnotherSessionRanIsRefused: its session went with the question, or
// before it, or was left behind by a statement that was carried over.
// Before: another session's rows and nil, but where LAST_QUERY_ID found its session dead.
func TestQuestionForWhatAnotherSessionRanIsRefused(t *testing.T) {
	for _, query := range askingSQL {
		for _, use := range forms {
			t.Run("at the question/"+use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					mustExec(t, conn, "SELECT 7")
					srv.AbortSessions()
					isLost(t, use.run(t.Context(), conn, query), false)
					checkRan(t, srv, query, 0, 0)
				})
			})
			t.Run("with a lost reply/"+use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					mustExec(t, conn, "SELECT 7")
					runAndLose(srv, query)
					if err := use.run(t.Context(), conn, query); err == nil {
						t.Error("answered from another session")
					}
					if n := srv.Accepted(query); n != 1 {
						t.Errorf("accepted %d times", n)
					}
				})
			})
			t.Run("after a carry-over/"+use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					slowly(srv, "^UPDATE", 10*time.Minute, counted(snowtest.KindUpdate, "updated", 1), nil)
					abortAt(srv, time.Minute)
					mustExec(t, conn, "UPDATE t SET n = 1")
					isLost(t, use.run(t.Context(), conn, query), false)
					checkRan(t, srv, query, 0, 0)
				})
			})
		}
	}
}

// TestQuestionIsAnsweredOnceItIsAboutTheNewSession: the last statement but one needs two.
// Before: it was not noticed whether the session had ever run what was asked for.
func TestQuestionIsAnsweredOnceItIsAboutTheNewSession(t *testing.T) {
	for query, needs := range map[string]int{
		"SELECT * FROM TABLE(RESULT_SCAN(-1))": 1,
		"SELECT * FROM TABLE(RESULT_SCAN())":   1,
		"SELECT LAST_QUERY_ID()":               1,
		"SELECT LAST_QUERY_ID(-2)":             2,
	} {
		for _, refused := range []bool{true, false} { // before the session is replaced
			t.Run(fmt.Sprintf("refused first %v/%s", refused, query), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1))
					mustExec(t, conn, "SELECT 7", "SELECT 7")
					srv.AbortSessions()
					if refused {
						isLost(t, drain(conn.QueryContext(t.Context(), query)), false)
					}
					for i := range needs {
						mustExec(t, conn, "SELECT 8")
						if err := drain(conn.QueryContext(t.Context(), query)); i+1 == needs {
							if err != nil {
								t.Errorf("after %d statements: %v", i+1, err)
							}
						} else {
							isLost(t, err, false)
						}
					}
					checkRan(t, srv, query, 1, 1)
				})
			})
		}
	}
}

// TestResultOfANamedStatementIsReadFromAnySession: a literal ID asks no session.
func TestResultOfANamedStatementIsReadFromAnySession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		mustExec(t, conn, "SELECT 7")
		query := fmt.Sprintf("SELECT * FROM TABLE(RESULT_SCAN('%s'))", srv.Ledger()[0].QueryID)
		for range 2 {
			srv.AbortSessions()
			var n int
			if err := conn.QueryRowContext(t.Context(), query).Scan(&n); err != nil || n != 7 {
				t.Errorf("%d, %v", n, err)
			}
		}
	})
}

// TestQuestionOfTheDriversIsNotTheProgramsLast: the driver's own question about the
// session is no statement of the program's.
func TestQuestionOfTheDriversIsNotTheProgramsLast(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		mustExec(t, conn, row(1))
		id := srv.Ledger()[len(srv.Ledger())-1].QueryID
		probes := 0
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 1" {
				probes++
			}
			return snowtest.Fault{}, false
		})
		srv.ExpireSessionTokens()
		err := drain(conn.QueryContext(gosnowflake.WithFetchResultByID(t.Context(), id), ""))
		t.Logf("fetch: %v, questions: %d", err, probes)
		if probes == 0 {
			t.Fatal("no question was asked")
		}
		if err := drain(conn.QueryContext(t.Context(), "SELECT LAST_QUERY_ID()")); err == nil {
			t.Error("answered, although the last statement of the session is the driver's own")
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
		conn := pin(t, pool(t, srv, 1))
		mustExec(t, conn, "SELECT 6", "SHOW TABLES")
		once(srv, "SELECT 7", snowtest.Fault{Run: true, Body: "<html>"})
		mustExec(t, conn, "SELECT 7")
		if n := srv.Accepted("SELECT 7"); n != 2 {
			t.Fatalf("the read was accepted %d times", n)
		}
		err := drain(conn.QueryContext(t.Context(), query))
		if l := srv.Ledger(); err == nil && l[len(l)-3].SQL != "SHOW TABLES" {
			t.Errorf("the statement before the last was SHOW TABLES; the session was asked for the rows of %s", l[len(l)-3].SQL)
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
				db := pool(t, srv, 1)
				srv.AbortSessions()
				mustExec(t, db, "SELECT 7") // replaces the session
				var args []any
				if query[len(query)-3] == '?' {
					args = []any{id}
				}
				n := 0
				for range 5 {
					mustExec(t, db, "SELECT 8")
					if err := drain(db.QueryContext(t.Context(), query, args...)); err != nil {
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

// TestLastQueryIDIsNotAskedOfAnotherSession: its answer would be another statement's.
func TestLastQueryIDIsNotAskedOfAnotherSession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const scan = "SELECT * FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))"
		db := pool(t, srv, 1)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(t.Context(), "SHOW TABLES"); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		rows, err := conn.QueryContext(t.Context(), scan)
		if err == nil {
			_ = rows.Close()
		}
		if !errors.Is(err, snowtether.ErrSessionLost) || srv.Accepted(scan) != 0 {
			t.Errorf("accepted %d times: %v", srv.Accepted(scan), err)
		}
	})
}
