package contract_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what the server says of a statement whose outcome is waited for on
// another session.

// caseStatus makes the server give a statement this status from a moment on, for a while.
func caseStatus(srv *snowtest.Server, from, until time.Duration, status map[string]any) {
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

// caseNotFinal are answers that do not say that a statement has ended.
var caseNotFinal = []map[string]any{
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
	for _, status := range caseNotFinal {
		for _, fails := range []bool{false, true} {
			for _, use := range caseUses {
				if testpool.Quick() && fails != (use.name == caseUses[0].name) {
					continue
				}
				t.Run(fmt.Sprintf("%v/fails %v/%s", status, fails, use.name), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var own error
						if fails {
							own = &snowtest.Error{Code: "100072", SQLState: "22000", Message: "NULL result"}
						}
						db := casePool(t, srv, 1)
						slowly(srv, "^INSERT", time.Hour, caseCount(snowtest.KindInsert, "inserted", 3), own)
						caseEndAt(srv, time.Minute)
						caseStatus(srv, 0, 40*time.Minute, status)
						begun := time.Now()
						err := use.run(t.Context(), db, caseRow(1))
						var se *gosnowflake.SnowflakeError
						if fails && (!errors.As(err, &se) || se.Number != 100072 || errors.Is(err, snowtether.ErrInDoubt)) || !fails && err != nil {
							t.Errorf("after %v: %v", time.Since(begun), err)
						}
						time.Sleep(2 * time.Hour)
						caseSum(t, srv, caseRow(1), 1, map[bool]int{false: 1, true: 0}[fails])
					})
				})
			}
		}
	}
}

// TestRowsAffectedSurviveAStatusThatIsNotFinal: they come with the result.
// Before: RESTARTED lost them.
func TestRowsAffectedSurviveAStatusThatIsNotFinal(t *testing.T) {
	for _, status := range caseNotFinal {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				slowly(srv, "^INSERT", time.Hour, caseCount(snowtest.KindInsert, "inserted", 3), nil)
				caseEndAt(srv, time.Minute)
				caseStatus(srv, 20*time.Minute, 40*time.Minute, status)
				res, err := db.ExecContext(t.Context(), caseRow(1))
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
			db := casePool(t, srv, 1)
			slowly(srv, "^INSERT", time.Hour, caseCount(snowtest.KindInsert, "inserted", 3), nil)
			caseEndAt(srv, time.Minute)
			end := time.Now().Add(time.Hour).UnixMilli()
			caseStatus(srv, time.Hour, 48*time.Hour, map[string]any{"status": "SUCCESS", "errorCode": code, "endTime": end})
			res, err := db.ExecContext(t.Context(), caseRow(1))
			if err != nil {
				caseDoubt(t, err, false)
				caseHasID(t, srv, err, caseRow(1))
				return
			}
			if n, err := res.RowsAffected(); n != 3 || err != nil {
				t.Errorf("%s: RowsAffected: %d, %v", code, n, err)
			}
		})
	}
}

// TestWaitingOnSilenceIsBounded: nothing that can be read comes for the status or for the
// result; in the end the statement is in doubt, with its ID.
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
				db := casePool(t, srv, 1)
				slowly(srv, "^INSERT", 48*time.Hour, caseCount(snowtest.KindInsert, "inserted", 3), nil)
				caseEndAt(srv, time.Minute)
				caseStatus(srv, 0, 48*time.Hour, status)
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return snowtest.Fault{Body: "<html>"}, r.Kind == snowtest.RequestResult
				})
				ctx, cancel := context.WithTimeout(t.Context(), 25*time.Hour)
				defer cancel()
				_, err := db.ExecContext(ctx, caseRow(1))
				caseDoubt(t, err, false)
				caseHasID(t, srv, err, caseRow(1))
				time.Sleep(72 * time.Hour)
				if n := srv.Accepted(caseRow(1)); n != 1 {
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
	for _, query := range []string{caseRow(1), "UPDATE t SET n = 1", "CALL p()", "CREATE TABLE x AS SELECT 1"} {
		for _, times := range [][]time.Duration{{time.Minute}, {time.Minute, 8 * time.Minute, 20 * time.Minute}} {
			t.Run(fmt.Sprintf("%s/%d sessions", query, len(times)), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 1)
					slowly(srv, "^(INSERT|UPDATE|CALL|CREATE)", 30*time.Minute, nil, nil)
					caseEndAt(srv, times...)
					if _, err := db.ExecContext(t.Context(), query); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Hour)
					caseSum(t, srv, query, 1, 1)
				}, snowtest.WithSessionParameter("ABORT_DETACHED_QUERY", true))
			})
		}
	}
}
