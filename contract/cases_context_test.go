package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what a caller puts into a context for one statement: it reaches
// that statement, and none that the driver sends besides.

// caseMarks are contexts that change the statement which they are meant for.
var caseMarks = []struct {
	name string
	mark func(context.Context) context.Context
}{
	{"request ID", func(ctx context.Context) context.Context {
		return gosnowflake.WithRequestID(ctx, gosnowflake.ParseUUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8"))
	}},
	{"describe only", gosnowflake.WithDescribeOnly},
	{"statement count", func(ctx context.Context) context.Context { return gosnowflake.WithMultiStatement(ctx, 3) }},
	{"asynchronous", gosnowflake.WithAsyncMode},
	{"fetch by ID", func(ctx context.Context) context.Context {
		return gosnowflake.WithFetchResultByID(ctx, "01bd0000-0001-0032-0001-000000000001")
	}},
}

// caseUnmarked checks that no two statements of a session have one request ID.
func caseUnmarked(t *testing.T, srv *snowtest.Server) {
	t.Helper()
	seen := map[string]string{}
	for _, e := range srv.Ledger() {
		key := fmt.Sprint(e.SessionID, e.RequestID)
		if other, ok := seen[key]; ok && e.Parent == "" {
			t.Errorf("%q and %q have the same request ID", other, e.SQL)
		}
		seen[key] = e.SQL
	}
}

// TestTransactionIsBegunAndEndedWithoutTheCallersMarks: BEGIN, COMMIT and ROLLBACK are
// the driver's.
// Before: BEGIN was only described, or refused for its statement count, or had the
// request ID of the INSERT after it.
func TestTransactionIsBegunAndEndedWithoutTheCallersMarks(t *testing.T) {
	for _, m := range caseMarks {
		for _, commit := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/commit %v", m.name, commit), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 1)
					ctx := m.mark(t.Context())
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						t.Fatal(err)
					}
					insertCtx := t.Context()
					if m.name == "request ID" {
						insertCtx = ctx
					}
					if _, err := tx.ExecContext(insertCtx, caseRow(1)); err != nil {
						t.Error(err)
					}
					caseSum(t, srv, caseRow(1), 1, 0)
					end, effects := tx.Rollback, 0
					if commit {
						end, effects = tx.Commit, 1
					}
					if err := end(); err != nil {
						t.Error(err)
					}
					caseSum(t, srv, caseRow(1), 1, effects)
					if n := srv.Accepted("BEGIN"); n != 1 {
						t.Errorf("BEGIN was accepted %d times", n)
					}
					caseUnmarked(t, srv)
				})
			})
		}
	}
}

// TestRunTxPassesNoMarksOn: nor when it repeats the transaction.
// Before: as with BeginTx.
func TestRunTxPassesNoMarksOn(t *testing.T) {
	for _, m := range caseMarks {
		t.Run(m.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				tries := 0
				err := snowtether.RunTx(m.mark(t.Context()), caseBeginner(db), func(tx *sql.Tx) error {
					caseExec(t, tx, caseRow(1))
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
				caseSum(t, srv, caseRow(2), 1, 1)
				caseUnmarked(t, srv)
			}, snowtest.AllowRepeats())
		})
	}
}

// TestSessionIsSetUpWithoutTheCallersMarks: the caller's statement may need a login, a
// look whether its session lives, or the outcome of what was carried over.
func TestSessionIsSetUpWithoutTheCallersMarks(t *testing.T) {
	for _, m := range caseMarks[:3] {
		t.Run(m.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 2, snowtether.WithSessionInit("USE ROLE r"))
				srv.AbortSessions()
				query := caseRow(1)
				if m.name == "statement count" {
					query += "; " + caseRow(2) + "; " + caseRow(3)
				}
				if err := caseDrain(db.QueryContext(m.mark(t.Context()), query)); err != nil {
					t.Error(err)
				}
				if _, err := db.ExecContext(t.Context(), caseRow(4)); err != nil {
					t.Error(err)
				}
				if n := srv.Accepted("USE ROLE r"); n < 3 {
					t.Errorf("%d sessions were set up", n)
				}
				want := 1
				if m.name == "describe only" {
					want = 0
				}
				caseSum(t, srv, caseRow(1), want, want)
				caseUnmarked(t, srv)
			})
		})
	}
}

// TestStatementWithARequestIDIsCarriedOverWithoutIt: the fetch has its own.
func TestStatementWithARequestIDIsCarriedOverWithoutIt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		slowly(srv, "^INSERT", 10*time.Minute, caseCount(snowtest.KindInsert, "inserted", 1), nil)
		caseEndAt(srv, time.Minute, 5*time.Minute)
		if _, err := db.ExecContext(caseMarks[0].mark(t.Context()), caseRow(1)); err != nil {
			t.Error(err)
		}
		caseSum(t, srv, caseRow(1), 1, 1)
		caseUnmarked(t, srv)
	})
}

// TestRequestIDOfAnArrayBindIsTheInsertsAlone: or the array bind is refused.
// Before: all of its statements had the ID, and a server that goes by it could answer one
// with the reply of another.
func TestRequestIDOfAnArrayBindIsTheInsertsAlone(t *testing.T) {
	for name, arrange := range map[string]func(srv *snowtest.Server){
		"undisturbed":       func(*snowtest.Server) {},
		"session lost":      func(srv *snowtest.Server) { srv.AbortSessions() },
		"token expired":     func(srv *snowtest.Server) { srv.ExpireSessionTokens() },
		"the INSERT again":  func(srv *snowtest.Server) { caseOnce(srv, caseBulk, snowtest.Fault{Run: true, Drop: true}) },
		"the INSERT is cut": func(srv *snowtest.Server) { caseOnce(srv, caseBulk, snowtest.Fault{Run: true, Cut: 20}) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				arrange(srv)
				_, err := db.ExecContext(caseMarks[0].mark(t.Context()), caseBulk, caseArray(t, 100))
				switch {
				case err == nil:
					caseSum(t, srv, caseBulk, 1, 1)
				case errors.Is(err, snowtether.ErrInDoubt):
					t.Errorf("neither refused nor done: %v", err)
				default:
					caseSum(t, srv, caseBulk, 0, 0)
				}
				caseUnmarked(t, srv)
				caseNextUser(t, srv, db)
			}, caseThroughAStage)
		})
	}
}
