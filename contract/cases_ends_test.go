package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what a session's end does to the statement that runs in it. Snowflake's
// pages say that it runs on and that it is cancelled, so the driver has to be right both ways.

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
					db := casePool(t, srv, 1)
					slowly(srv, "INSERT", 10*time.Minute, nil, nil)
					time.AfterFunc(2*time.Minute, func() { end(srv) })
					_, err := db.ExecContext(t.Context(), insert)
					if !cancels {
						if err != nil {
							t.Error(err)
						}
						caseSum(t, srv, insert, 1, 1)
						return
					}
					caseCancelled(t, err)
					caseSum(t, srv, insert, 1, 0)
				}, opts...)
			})
		}
	}
}

// TestTransactionOfACancelledStatementLeavesNothing: that it was cancelled is Snowflake's own
// answer, so RunTx does not repeat it, and the pool goes on.
func TestTransactionOfACancelledStatementLeavesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		slowly(srv, "INSERT", 10*time.Minute, nil, nil)
		time.AfterFunc(2*time.Minute, func() { srv.AbortSessions() })
		err := snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(t.Context(), caseRow(1))
			return err
		})
		caseCancelled(t, err)
		caseSum(t, srv, caseRow(1), 1, 0)
		caseExec(t, db, caseRow(2))
	}, snowtest.WithCancelOnEnd())
}

// TestStatementsOfADisabledUserEnd: the one that runs is cancelled and says so; the next one
// is told so, and those after it cost no login; and when the user is enabled the pool goes on.
func TestStatementsOfADisabledUserEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		slowly(srv, "INSERT", 10*time.Minute, nil, nil)
		time.AfterFunc(2*time.Minute, srv.DisableUser)
		_, err := db.ExecContext(t.Context(), caseRow(1))
		caseCancelled(t, err)
		caseSum(t, srv, caseRow(1), 1, 0)
		begun := time.Now()
		if _, err := db.ExecContext(t.Context(), caseRow(2)); err == nil || !strings.Contains(err.Error(), "User access disabled") {
			t.Errorf("the next statement: %v", err)
		}
		if _, err := db.ExecContext(t.Context(), caseRow(2)); !errors.Is(err, snowtether.ErrLoginSuspended) {
			t.Errorf("the one after it: %v", err)
		}
		if d := time.Since(begun); d > 10*time.Second || srv.Stats().LoginFailures != 1 {
			t.Errorf("it took %s and %d logins", d, srv.Stats().LoginFailures)
		}
		srv.EnableUser()
		time.Sleep(10 * time.Minute)
		caseExec(t, db, caseRow(3))
	})
}

func caseCancelled(t *testing.T, err error) {
	t.Helper()
	var own *gosnowflake.SnowflakeError
	if !errors.As(err, &own) || own.Number != 604 || errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, snowtether.ErrSessionLost) {
		t.Errorf("the caller sees %v, want that the statement was cancelled", err)
	}
}
