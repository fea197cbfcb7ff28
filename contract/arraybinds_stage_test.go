package contract_test

import (
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Array binds (docs/guarantees.md): an array bind through a stage is one statement. gosnowflake
// creates a stage, uploads the values, and then sends the caller's INSERT; whatever happens to
// the uploads, nothing was inserted before it.

// TestArrayBindThroughAStageIsNotRunAgain: an array bind above the threshold
// creates a stage, uploads the values and only then sends the INSERT.
func TestArrayBindThroughAStageIsNotRunAgain(t *testing.T) {
	const bulk = "INSERT INTO t VALUES (?)"
	values := make([]int, 100)
	for i := range values {
		values[i] = i
	}
	for _, tt := range []struct {
		name    string
		arrange func(srv *snowtest.Server)
		doubt   int // how often it was accepted, if the outcome is in doubt; else -1
	}{
		{"undisturbed", func(*snowtest.Server) {}, -1},
		{"session lost before", func(srv *snowtest.Server) { srv.AbortSessions() }, -1},
		{"token expired before", func(srv *snowtest.Server) { srv.ExpireSessionTokens() }, -1},
		{"session lost before the INSERT", func(srv *snowtest.Server) {
			once(srv, bulk, snowtest.Fault{Code: "390111", Message: "Session no longer exists."})
		}, -1},
		{"reply of the INSERT lost, then expiry", func(srv *snowtest.Server) {
			once(srv, bulk, snowtest.Fault{Run: true, Drop: true, After: func() { srv.ExpireMasterTokens() }})
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				tt.arrange(srv)
				ids := make(chan string, 1)
				array, err := gosnowflake.Array(&values)
				if err != nil {
					t.Fatal(err)
				}
				res, err := db.ExecContext(gosnowflake.WithQueryIDChan(t.Context(), ids), bulk, array)
				if tt.doubt >= 0 {
					ranInDoubt(t, srv, bulk, err, tt.doubt)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); n != 100 || err != nil {
					t.Errorf("RowsAffected: %d, %v", n, err)
				}
				if n := srv.Accepted(bulk); n != 1 {
					t.Errorf("accepted %d times", n)
				}
				id := <-ids
				for _, e := range srv.Ledger() {
					if e.SQL == bulk && e.QueryID != id {
						t.Errorf("the caller's channel got %q, the INSERT has %q", id, e.QueryID)
					}
				}
			}, snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 10))
		})
	}
}

// stageSteps are the statements of an array bind.
var stageSteps = []struct {
	name  string
	match func(query string) bool
}{
	{"CREATE", func(query string) bool { return strings.HasPrefix(query, "CREATE") }},
	{"PUT", func(query string) bool { return strings.HasPrefix(query, "PUT") }},
	{"INSERT", func(query string) bool { return query == bulkInsert }},
}

func atStep(srv *snowtest.Server, match func(string) bool, f snowtest.Fault) {
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		return f, r.Kind == snowtest.RequestQuery && match(r.SQL)
	})
}

// bulkResult sends the array bind and checks its count, its ID and that it took
// effect once.
func bulkResult(t *testing.T, srv *snowtest.Server, db dbtx) {
	t.Helper()
	ids := make(chan string, 1)
	res, err := db.ExecContext(gosnowflake.WithQueryIDChan(t.Context(), ids), bulkInsert, arrayOf(t, 100))
	if err != nil {
		t.Error(err)
		return
	}
	if n, err := res.RowsAffected(); n != 100 || err != nil {
		t.Errorf("RowsAffected: %d, %v", n, err)
	}
	checkRan(t, srv, bulkInsert, 1, 1)
	id := <-ids
	for _, e := range srv.Ledger() {
		if e.SQL == bulkInsert && (e.QueryID != id || len(e.Binds) != 1 || len(e.Binds[0].Array) != 100) {
			t.Errorf("the caller's channel got %q, the INSERT of %d binds has %q", id, len(e.Binds), e.QueryID)
		}
	}
}

// TestArrayBindWhoseInsertWasNotAcceptedIsRunAgain: in whichever of its statements the
// session dies, before it or with its reply, and whichever way. Its stage is temporary
// and its uploads can be repeated.
// Before: in doubt, or gosnowflake's bare 264003.
func TestArrayBindWhoseInsertWasNotAcceptedIsRunAgain(t *testing.T) {
	for _, way := range endings {
		for _, step := range stageSteps {
			t.Run(way.name+"/"+step.name+"/refused", func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
						met := r.Kind == snowtest.RequestQuery && step.match(r.SQL)
						if met {
							srv.EndSessions(way.end)
						}
						return snowtest.Fault{}, met
					})
					bulkResult(t, srv, db)
					nextUser(t, srv, db)
				}, throughAStage)
			})
			for name, fault := range map[string]snowtest.Fault{
				"then lost": {}, "reply lost": {Run: true, Drop: true}, "503": {Run: true, Status: 503},
			} {
				if step.name == "INSERT" {
					continue // accepted, or it may have been
				}
				t.Run(way.name+"/"+step.name+"/"+name, func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := pool(t, srv, 1)
						fault.After = func() { srv.EndSessions(way.end) }
						atStep(srv, step.match, fault)
						bulkResult(t, srv, db)
						nextUser(t, srv, db)
					}, throughAStage)
				})
			}
		}
	}
}

// TestArrayBindWhosePreparationCannotBeReadIsNotInDoubt: its INSERT was not sent.
// Before: in doubt.
func TestArrayBindWhosePreparationCannotBeReadIsNotInDoubt(t *testing.T) {
	for _, step := range stageSteps[:2] {
		for _, body := range []string{"<html>", "", "{", `{"success":false,"code":"403","message":"no"}`} {
			t.Run(step.name+"/"+body, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					fault := snowtest.Fault{Run: true, Body: body}
					if body == "" {
						fault = snowtest.Fault{Run: true, Status: 403}
					}
					atStep(srv, step.match, fault)
					_, err := db.ExecContext(t.Context(), bulkInsert, arrayOf(t, 100))
					n := 0
					if err == nil {
						n = 1
					}
					if errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, driver.ErrBadConn) {
						t.Errorf("error is %v", err)
					}
					checkRan(t, srv, bulkInsert, n, n)
					nextUser(t, srv, db)
				}, throughAStage)
			})
		}
	}
}

// TestArrayBindThatWasAcceptedIsCarriedOver: while it is polled its session ends.
// Before: in doubt.
func TestArrayBindThatWasAcceptedIsCarriedOver(t *testing.T) {
	for _, times := range [][]time.Duration{{time.Minute}, {time.Minute, 4 * time.Minute}} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			slowly(srv, "^INSERT INTO t", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 100), nil)
			abortAt(srv, times...)
			bulkResult(t, srv, db)
		}, throughAStage)
	}
}

// TestArrayBindIsCarriedOver: where it was the caller's statement that was
// accepted, and not one that gosnowflake sent to prepare it.
func TestArrayBindIsCarriedOver(t *testing.T) {
	const bulk = "INSERT INTO t VALUES (?)"
	values := make([]int, 100)
	array, err := gosnowflake.Array(&values)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("the statement", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 100), nil)
			endAt(srv, ways[1].End, time.Minute)
			res, err := db.ExecContext(t.Context(), " "+bulk+"\n", array)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := res.RowsAffected(); n != 100 || err != nil {
				t.Errorf("RowsAffected: %d, %v", n, err)
			}
		})
	})
	t.Run("its stage", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Run: true, Body: inProgress, After: func() { srv.AbortSessions() }}, strings.HasPrefix(r.SQL, "CREATE")
			})
			onceAt(srv, snowtest.RequestMonitor, snowtest.Fault{Body: `{"success":true,"data":{"queries":[{"status":"SUCCESS","sqlText":"CREATE OR REPLACE TEMPORARY STAGE"}]}}`})
			if _, err := db.ExecContext(t.Context(), bulk, array); err != nil {
				t.Error(err) // the stage is made anew, and the INSERT is sent once
			}
			if n := srv.Accepted(bulk); n != 1 {
				t.Errorf("accepted %d times", n)
			}
		}, snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 10))
	})
}

// TestArrayBindWhoseReplyWasLostIsInDoubt: and no ID of an internal statement is taken
// for the INSERT's.
func TestArrayBindWhoseReplyWasLostIsInDoubt(t *testing.T) {
	for _, way := range endings {
		for name, fault := range map[string]snowtest.Fault{
			"dropped": {Run: true, Drop: true}, "503": {Run: true, Status: 503}, "cut": {Run: true, Cut: 20},
		} {
			t.Run(way.name+"/"+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					fault.After = func() { srv.EndSessions(way.end) }
					once(srv, bulkInsert, fault)
					ids := make(chan string, 1)
					_, err := db.ExecContext(gosnowflake.WithQueryIDChan(t.Context(), ids), bulkInsert, arrayOf(t, 100))
					isInDoubt(t, err, false)
					checkRan(t, srv, bulkInsert, 1, 1)
					var se *snowtether.SessionError
					if errors.As(err, &se) && se.QueryID != "" {
						hasIDOf(t, srv, err, bulkInsert)
					}
					if id := <-ids; id != "" {
						t.Errorf("the caller's channel got %q", id)
					}
				}, throughAStage)
			})
		}
	}
}

// TestIDOfAnInternalStatementIsNeverTheCallers: one is accepted and polled when its
// session ends; the caller's INSERT was not sent.
// Before: in doubt with the ID of CREATE STAGE.
func TestIDOfAnInternalStatementIsNeverTheCallers(t *testing.T) {
	const inProgress = `{"success":true,"code":"333333","data":{"queryId":"01bd0000-ffff-0032-0001-000000000001","getResultUrl":"/queries/01bd0000-ffff-0032-0001-000000000001/result"}}`
	for _, step := range stageSteps[:2] {
		t.Run(step.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				atStep(srv, step.match, snowtest.Fault{Run: true, Body: inProgress, After: func() { srv.AbortSessions() }})
				bulkResult(t, srv, db)
			}, throughAStage)
		})
	}
}
