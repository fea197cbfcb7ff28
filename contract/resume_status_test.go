package contract_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Resume (docs/guarantees.md): a status word that is not known to be final means that the
// statement goes on, and asking for the result keeps it attached. One that failed gives its own
// code, text and query ID, also where the end of a session cancels what it runs.

// reportStatus makes the server give a statement this status from a moment on, for a while.
func reportStatus(srv *snowtest.Server, from, until time.Duration, status map[string]any) {
	begun := time.Now()
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		at := time.Since(begun)
		if r.Kind != snowtest.RequestMonitor || at < from || at >= until {
			return snowtest.Fault{}, false
		}
		query := map[string]any{"id": r.QueryID}
		for _, e := range srv.Ledger() {
			if e.QueryID == r.QueryID {
				query["sqlText"], query["startTime"] = e.SQL, e.Accepted.UnixMilli()
			}
		}
		for key, value := range status {
			query[key] = value
		}
		body, err := json.Marshal(map[string]any{"success": true, "data": map[string]any{"queries": []any{query}}})
		if err != nil {
			panic(err)
		}
		return snowtest.Fault{Body: string(body)}, true
	})
}

// notFinal are answers that do not say that a statement has ended.
var notFinal = []map[string]any{
	{"status": "RESTARTED"},
	{"status": "RESTARTED", "errorMessage": "the warehouse was resized"},
	{"status": "DISCONNECTED"},
	{"status": "BLOCKED"},
	{"status": "ABORTING"},
	{"status": "QUEUED"},
	{"status": "RESUMING_WAREHOUSE"},
	{"status": "QUEUED_REPAIRING_WAREHOUSE"},
	{"status": "NO_DATA"},
	{"status": "SOMETHING_NEW"},
	{"status": ""},
	{"status": "RUNNING", "errorCode": "0"},
	{"status": "SUCCESS"}, // without an end: gosnowflake reads every word it does not know so
	{"status": "SUCCESS", "errorCode": "0"},
}

// TestStatusThatIsNotFinalIsWaitedFor: the statement runs on, and then succeeds or fails.
// Before: RESTARTED was nil at once, also where it failed later; DISCONNECTED and an error
// code "0" were the statement's own error, although it ran on and took effect.
func TestStatusThatIsNotFinalIsWaitedFor(t *testing.T) {
	for _, status := range notFinal {
		for _, fails := range []bool{false, true} {
			for _, use := range forms {
				if testpool.Quick() && fails != (use.name == forms[0].name) {
					continue
				}
				t.Run(fmt.Sprintf("%v/fails %v/%s", status, fails, use.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var own error
						if fails {
							own = &snowtest.Error{Code: "100072", SQLState: "22000", Message: "NULL result"}
						}
						db := pool(t, srv, 1)
						slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 3), own)
						abortAt(srv, time.Minute)
						reportStatus(srv, 0, 40*time.Minute, status)
						begun := time.Now()
						err := use.run(t.Context(), db, row(1))
						var se *gosnowflake.SnowflakeError
						if fails && (!errors.As(err, &se) || se.Number != 100072 || errors.Is(err, snowtether.ErrInDoubt)) || !fails && err != nil {
							t.Errorf("after %v: %v", time.Since(begun), err)
						}
						time.Sleep(2 * time.Hour)
						checkRan(t, srv, row(1), 1, map[bool]int{false: 1, true: 0}[fails])
					})
				})
			}
		}
	}
}

// TestRowsAffectedSurviveAStatusThatIsNotFinal: they come with the result.
// Before: RESTARTED lost them.
func TestRowsAffectedSurviveAStatusThatIsNotFinal(t *testing.T) {
	for _, status := range notFinal {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 3), nil)
				abortAt(srv, time.Minute)
				reportStatus(srv, 20*time.Minute, 40*time.Minute, status)
				res, err := db.ExecContext(t.Context(), row(1))
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); n != 3 || err != nil {
					t.Errorf("RowsAffected: %d, %v", n, err)
				}
			})
		})
	}
}

// TestErrorCodeZeroIsNoError: of a statement that has succeeded. gosnowflake hands out no
// result while the status has a code, so if none was being waited for at that moment, the
// statement is in doubt in the end, with its ID.
// Before: its own error, 000000.
func TestErrorCodeZeroIsNoError(t *testing.T) {
	for _, code := range []string{"0", "000000"} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 3), nil)
			abortAt(srv, time.Minute)
			end := time.Now().Add(time.Hour).UnixMilli()
			reportStatus(srv, time.Hour, 48*time.Hour, map[string]any{"status": "SUCCESS", "errorCode": code, "endTime": end})
			res, err := db.ExecContext(t.Context(), row(1))
			if err != nil {
				isInDoubt(t, err, false)
				hasIDOf(t, srv, err, row(1))
				return
			}
			if n, err := res.RowsAffected(); n != 3 || err != nil {
				t.Errorf("%s: RowsAffected: %d, %v", code, n, err)
			}
		})
	}
}

// TestWaitingOnSilenceIsBounded: nothing that can be read comes for the status or for the
// result; in the end the statement is in doubt, with its ID. Until then both are asked for
// every 5 s. Before: the result twice a second.
func TestWaitingOnSilenceIsBounded(t *testing.T) {
	for name, status := range map[string]map[string]any{
		"disconnected": {"status": "DISCONNECTED"},
		"restarted":    {"status": "RESTARTED"},
		"unknown":      {"status": "SOMETHING_NEW"},
		"code 0":       {"status": "SUCCESS", "errorCode": "0"},
	} {
		if testing.Short() && name != "unknown" {
			continue // twelve hours of questions each
		}
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, "^INSERT", 48*time.Hour, counted(snowtest.KindInsert, "inserted", 3), nil)
				abortAt(srv, time.Minute)
				reportStatus(srv, 0, 48*time.Hour, status)
				var asked atomic.Int64
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					result := r.Kind == snowtest.RequestResult
					if result {
						asked.Add(1)
					}
					return snowtest.Fault{Body: "<html>"}, result
				})
				ctx, cancel := context.WithTimeout(t.Context(), 25*time.Hour)
				defer cancel()
				_, err := db.ExecContext(ctx, row(1))
				if n, most := asked.Load(), int64(12*time.Hour/(4*time.Second)); n > most {
					t.Errorf("the result was asked for %d times in 12 h; want at most %d", n, most)
				}
				isInDoubt(t, err, false)
				hasIDOf(t, srv, err, row(1))
				time.Sleep(72 * time.Hour)
				if n := srv.Accepted(row(1)); n != 1 {
					t.Errorf("accepted %d times", n)
				}
			})
		})
	}
}

// TestStatementStaysAttachedWhileItsOutcomeIsWaitedFor: questions about its status do not
// keep it so, requests for its result do.
// Before: Snowflake aborted it 5 minutes after its session had ended.
func TestStatementStaysAttachedWhileItsOutcomeIsWaitedFor(t *testing.T) {
	for _, query := range []string{row(1), "UPDATE t SET n = 1", "CALL p()", "CREATE TABLE x AS SELECT 1"} {
		for _, times := range [][]time.Duration{{time.Minute}, {time.Minute, 8 * time.Minute, 20 * time.Minute}} {
			t.Run(fmt.Sprintf("%s/%d sessions", query, len(times)), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					slowly(srv, "^(INSERT|UPDATE|CALL|CREATE)", 30*time.Minute, nil, nil)
					abortAt(srv, times...)
					if _, err := db.ExecContext(t.Context(), query); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Hour)
					checkRan(t, srv, query, 1, 1)
				}, snowtest.WithSessionParameter("ABORT_DETACHED_QUERY", true))
			})
		}
	}
}

// status makes the server answer a question about a statement with this status for
// a while, from a moment on.
func status(srv *snowtest.Server, from, until time.Duration, body string) {
	begun := time.Now()
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		at := time.Since(begun)
		return snowtest.Fault{Body: body}, r.Kind == snowtest.RequestMonitor && at >= from && at < until
	})
}

// TestResumeOutlastsOddAnswers: a statement that waits for a lock, or is being
// aborted, has not ended; and what cannot be read says nothing about it.
func TestResumeOutlastsOddAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"blocked":         `{"success":true,"data":{"queries":[{"status":"BLOCKED"}]}}`,
		"aborting":        `{"success":true,"data":{"queries":[{"status":"ABORTING"}]}}`,
		"HTML":            "<html>",
		"nothing":         "",
		"no such thing":   `{"success":true,"data":{"queries":[]}}`,
		"an odd refusal":  `{"success":false,"code":"000001","message":"no"}`,
		"no session here": `{"success":false,"code":"390111","message":"gone"}`,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 3), nil)
				endAt(srv, ways[1].End, time.Minute)
				status(srv, 20*time.Minute, 24*time.Minute, body)
				res, err := db.ExecContext(t.Context(), insert)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); n != 3 || err != nil || srv.Accepted(insert) != 1 {
					t.Errorf("RowsAffected: %d, %v; accepted %d times", n, err, srv.Accepted(insert))
				}
			})
		})
	}
}

// TestGarbledPollCostsNoSession: the statement is fetched by its ID, and where its
// session is still there its settings are too.
func TestGarbledPollCostsNoSession(t *testing.T) {
	forbidden := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
	for _, garble := range []http.HandlerFunc{says("<html>"), forbidden} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			f, cfg := inFront(t, srv)
			db, _ := connect(t, cfg)
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.ExecContext(t.Context(), "USE SCHEMA s"); err != nil {
				t.Fatal(err)
			}
			slowly(srv, "VALUES .1.", 2*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
			f.misbehaves("/result", false, func(w http.ResponseWriter, r *http.Request) {
				f.behaves()
				garble(w, r)
			})
			for _, sql := range []string{insert, row(2)} {
				if _, err := conn.ExecContext(t.Context(), sql); err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			}
		})
	}
}

// TestCarriedOverStatementThatFailsGivesItsOwnError: code, text and query ID.
func TestCarriedOverStatementThatFailsGivesItsOwnError(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, nil, &snowtest.Error{Code: "100072", SQLState: "22000", Message: "NULL result in a non-nullable column"})
		endAt(srv, ways[1].End, time.Minute)
		_, err := db.ExecContext(t.Context(), insert)
		var se *gosnowflake.SnowflakeError
		if !errors.As(err, &se) || se.Number != 100072 || !strings.Contains(se.Message, "non-nullable") || se.QueryID != srv.Ledger()[0].QueryID {
			t.Errorf("error is %v", err)
		}
		if errors.Is(err, snowtether.ErrInDoubt) {
			t.Errorf("%v is in doubt", err)
		}
	})
}

// TestCarriedOverStatementThatWasAbortedSaysSo: it did not take effect.
func TestCarriedOverStatementThatWasAbortedSaysSo(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2)
		slowly(srv, "^INSERT", time.Hour, nil, nil)
		endAt(srv, ways[1].End, time.Minute)
		go func() {
			time.Sleep(10 * time.Minute)
			if _, err := db.ExecContext(t.Context(), fmt.Sprintf("SELECT SYSTEM$CANCEL_QUERY('%s')", srv.Ledger()[0].QueryID)); err != nil {
				t.Error(err)
			}
		}()
		_, err := db.ExecContext(t.Context(), insert)
		if err == nil || !(strings.Contains(strings.ToLower(err.Error()), "cancel") || strings.Contains(err.Error(), "ABORTED")) {
			t.Errorf("error is %v", err)
		}
		synctest.Wait()
	})
}

// TestCarriedOverStatementThatEndedInSilenceSaysSo: Snowflake has not always a code.
func TestCarriedOverStatementThatEndedInSilenceSaysSo(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, nil, nil)
		endAt(srv, ways[1].End, time.Minute)
		status(srv, 20*time.Minute, time.Hour, `{"success":true,"data":{"queries":[{"status":"FAILED_WITH_INCIDENT","errorMessage":"an incident"}]}}`)
		begun := time.Now()
		_, err := db.ExecContext(t.Context(), insert)
		if took := time.Since(begun); took > 21*time.Minute || err == nil || !strings.Contains(err.Error(), "an incident") || errors.Is(err, snowtether.ErrInDoubt) {
			t.Errorf("after %v: %v", took, err)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestOutcomeThatCannotBeReadIsInDoubt: the statement was carried out, and how many
// rows it changed is anybody's guess.
func TestOutcomeThatCannotBeReadIsInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, snowtest.Rows([]string{"number of rows inserted"}, []any{"many"}), nil)
		endAt(srv, ways[1].End, time.Minute)
		_, err := db.ExecContext(t.Context(), insert)
		ranInDoubt(t, srv, insert, err, 1)
		hasID(t, err)
	})
}

// TestStatementOfASessionThatEndsHasItsOwnOutcome: the statement is run once, and the caller
// hears what became of it: its result where it ran on, that it was cancelled where not.
func TestStatementOfASessionThatEndsHasItsOwnOutcome(t *testing.T) {
	const insert = "INSERT INTO t SELECT * FROM s"
	ends := map[string]func(*snowtest.Server){
		"by an administrator": func(srv *snowtest.Server) { srv.AbortSessions() },
		"with 401":            func(srv *snowtest.Server) { srv.EndSessions(snowtest.Refusal{Status: 401}) },
		"by a policy":         func(srv *snowtest.Server) { srv.EndSessions(snowtest.Refusal{Code: "390112", Renewal: "390111"}) },
	}
	for name, end := range ends {
		for _, cancels := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cancels %v", name, cancels), func(t *testing.T) {
				var opts []snowtest.Option
				if cancels {
					opts = append(opts, snowtest.WithCancelOnEnd())
				}
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					slowly(srv, "INSERT", 10*time.Minute, nil, nil)
					time.AfterFunc(2*time.Minute, func() { end(srv) })
					_, err := db.ExecContext(t.Context(), insert)
					if !cancels {
						if err != nil {
							t.Error(err)
						}
						checkRan(t, srv, insert, 1, 1)
						return
					}
					checkCancelled(t, err)
					checkRan(t, srv, insert, 1, 0)
				}, opts...)
			})
		}
	}
}

func checkCancelled(t *testing.T, err error) {
	t.Helper()
	var own *gosnowflake.SnowflakeError
	if !errors.As(err, &own) || own.Number != 604 || errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, snowtether.ErrSessionLost) {
		t.Errorf("the caller sees %v, want that the statement was cancelled", err)
	}
}

// TestTransactionOfACancelledStatementLeavesNothing: that it was cancelled is Snowflake's own
// answer, so RunTx does not repeat it, and the pool goes on.
func TestTransactionOfACancelledStatementLeavesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "INSERT", 10*time.Minute, nil, nil)
		time.AfterFunc(2*time.Minute, func() { srv.AbortSessions() })
		err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), row(1))
			return err
		})
		checkCancelled(t, err)
		checkRan(t, srv, row(1), 1, 0)
		mustExec(t, db, row(2))
	}, snowtest.WithCancelOnEnd())
}

// TestStatementsOfADisabledUserEnd: the one that runs is cancelled and says so; the next one
// is told so, and those after it cost no login; and when the user is enabled the pool goes on.
func TestStatementsOfADisabledUserEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "INSERT", 10*time.Minute, nil, nil)
		time.AfterFunc(2*time.Minute, srv.DisableUser)
		_, err := db.ExecContext(t.Context(), row(1))
		checkCancelled(t, err)
		checkRan(t, srv, row(1), 1, 0)
		begun := time.Now()
		if _, err := db.ExecContext(t.Context(), row(2)); err == nil || !strings.Contains(err.Error(), "User access disabled") {
			t.Errorf("the next statement: %v", err)
		}
		if _, err := db.ExecContext(t.Context(), row(2)); !errors.Is(err, snowtether.ErrLoginSuspended) {
			t.Errorf("the one after it: %v", err)
		}
		if d := time.Since(begun); d > 10*time.Second || srv.Stats().LoginFailures != 1 {
			t.Errorf("it took %s and %d logins", d, srv.Stats().LoginFailures)
		}
		srv.EnableUser()
		time.Sleep(10 * time.Minute)
		mustExec(t, db, row(3))
	})
}
