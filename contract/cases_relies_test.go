package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about programs that rely on what they have set, and say so with ErrorOnLoss:
// nothing runs without it before somebody was told, whoever replaces the session.

// caseRelies opens a pool of one connection whose program has set a schema.
func caseRelies(t *testing.T, srv *snowtest.Server, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	db := casePool(t, srv, 1, append(opts, snowtether.WithChangedSession(snowtether.ErrorOnLoss))...)
	caseExec(t, db, "USE SCHEMA s")
	return db
}

// caseToldOnce checks that use is told of the loss before it runs, and not again after that.
func caseToldOnce(t *testing.T, srv *snowtest.Server, use func() error) {
	t.Helper()
	if err := use(); !errors.Is(err, snowtether.ErrSessionLost) || !strings.Contains(err.Error(), "schema") {
		t.Errorf("error is %v, want one that Is ErrSessionLost and names the schema", err)
	}
	caseSum(t, srv, caseRow(1), 0, 0)
	if err := use(); err != nil {
		t.Errorf("it is said twice: %v", err)
	}
	caseSum(t, srv, caseRow(1), 1, 1)
}

// TestRunTxTellsOfALoss: it repeats what its own transaction has set, and nothing else,
// wherever the session went: in the pool, with a connection that was closed, or inside the
// transaction.
// Before: it ran the transaction without the settings, and returned nil.
func TestRunTxTellsOfALoss(t *testing.T) {
	for name, lose := range map[string]struct {
		before, inside func(srv *snowtest.Server, db *sql.DB)
	}{
		"replaced by the keeper": {before: func(srv *snowtest.Server, _ *sql.DB) {
			srv.AbortSessions()
			time.Sleep(10 * time.Minute)
		}},
		"went with a closed connection": {before: func(srv *snowtest.Server, db *sql.DB) {
			caseLose(srv, "INSERT INTO other VALUES (1)")
			_, _ = db.Exec("INSERT INTO other VALUES (1)") // in doubt
		}},
		"inside":              {inside: func(srv *snowtest.Server, _ *sql.DB) { srv.AbortSessions() }},
		"inside after a rest": {inside: func(srv *snowtest.Server, _ *sql.DB) { srv.AbortSessions(); time.Sleep(4 * time.Minute) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := caseRelies(t, srv, snowtether.WithIdlePing(time.Minute))
				if lose.before != nil {
					lose.before(srv, db)
				}
				caseToldOnce(t, srv, func() error {
					return snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
						if inside := lose.inside; inside != nil {
							lose.inside = nil
							inside(srv, db)
						}
						_, err := tx.ExecContext(t.Context(), caseRow(1))
						return err
					})
				})
			})
		})
	}
}

// TestLossThroughAConnectionTheDriverClosesIsTold: database/sql is asked to close one that
// has a transaction of a statement's in it, or a statement that is still being cancelled.
// Before: the next user's INSERT ran in another session, in the default schema.
func TestLossThroughAConnectionTheDriverClosesIsTold(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, srv *snowtest.Server, db *sql.DB){
		"BEGIN as a statement": func(t *testing.T, _ *snowtest.Server, db *sql.DB) { caseExec(t, db, "BEGIN") },
		"AUTOCOMMIT off": func(t *testing.T, _ *snowtest.Server, db *sql.DB) {
			caseExec(t, db, "ALTER SESSION SET AUTOCOMMIT = FALSE", "INSERT INTO other VALUES (1)")
		},
		"busy cancelling": func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
			slowly(srv, "SELECT slow", time.Hour, &snowtest.Result{}, nil)
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Delay: 5 * time.Second}, r.Kind == snowtest.RequestAbort
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := caseDrain(db.QueryContext(ctx, "SELECT slow")); err == nil {
				t.Error("the query that was to be cancelled succeeded")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := caseRelies(t, srv)
				spoil(t, srv, db)
				caseToldOnce(t, srv, func() error {
					_, err := db.ExecContext(t.Context(), caseRow(1))
					return err
				})
			})
		})
	}
}

// TestErrorOnLossRaisesNoFalseAlarm: a session that rested is asked whether it is alive;
// that Snowflake cannot be reached for half a minute is no answer.
// Before: ErrSessionLost, although the session and its schema were there.
func TestErrorOnLossRaisesNoFalseAlarm(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := caseRelies(t, srv)
		time.Sleep(4 * time.Minute)
		caseOutage(srv, 30*time.Second)
		caseExec(t, db, caseRow(1))
		caseSum(t, srv, caseRow(1), 1, 1)
		if n := srv.Stats().Logins; n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}
