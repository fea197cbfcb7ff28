package contract_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is about questions to the session for what ran in it before.

var caseAsks = []string{
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
	for _, query := range caseAsks {
		for _, use := range caseUses {
			t.Run("at the question/"+use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := casePin(t, casePool(t, srv, 1))
					caseExec(t, conn, "SELECT 7")
					srv.AbortSessions()
					caseLost(t, use.run(t.Context(), conn, query), false)
					caseSum(t, srv, query, 0, 0)
				})
			})
			t.Run("with a lost reply/"+use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := casePin(t, casePool(t, srv, 1))
					caseExec(t, conn, "SELECT 7")
					caseLose(srv, query)
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
					conn := casePin(t, casePool(t, srv, 1))
					slowly(srv, "^UPDATE", 10*time.Minute, caseCount(snowtest.KindUpdate, "updated", 1), nil)
					caseEndAt(srv, time.Minute)
					caseExec(t, conn, "UPDATE t SET n = 1")
					caseLost(t, use.run(t.Context(), conn, query), false)
					caseSum(t, srv, query, 0, 0)
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
					conn := casePin(t, casePool(t, srv, 1))
					caseExec(t, conn, "SELECT 7", "SELECT 7")
					srv.AbortSessions()
					if refused {
						caseLost(t, caseDrain(conn.QueryContext(t.Context(), query)), false)
					}
					for i := range needs {
						caseExec(t, conn, "SELECT 8")
						if err := caseDrain(conn.QueryContext(t.Context(), query)); i+1 == needs {
							if err != nil {
								t.Errorf("after %d statements: %v", i+1, err)
							}
						} else {
							caseLost(t, err, false)
						}
					}
					caseSum(t, srv, query, 1, 1)
				})
			})
		}
	}
}

// TestResultOfANamedStatementIsReadFromAnySession: a literal ID asks no session.
func TestResultOfANamedStatementIsReadFromAnySession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		caseExec(t, conn, "SELECT 7")
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
