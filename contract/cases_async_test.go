package contract_test

import (
	"context"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// TestAsynchronousStatementThatWasAcceptedIsInDoubt: its error comes from gosnowflake's
// own Result or Rows, as text inside 266001, and can be about the session alone.
// Before: Classify said statement for a 401 and session_lost, "did not run", for 390114.
func TestAsynchronousStatementThatWasAcceptedIsInDoubt(t *testing.T) {
	for _, way := range caseWays[3:] { // those that come as 266001
		for name, run := range map[string]func(ctx context.Context, db caseDB) error{
			"exec": func(ctx context.Context, db caseDB) error {
				res, err := db.ExecContext(ctx, caseRow(1))
				if err != nil {
					return err
				}
				_, err = res.RowsAffected()
				return err
			},
			"query": func(ctx context.Context, db caseDB) error { return caseDrain(db.QueryContext(ctx, caseRow(1))) },
		} {
			t.Run(way.name+"/"+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 1)
					slowly(srv, "^INSERT INTO t", 10*time.Minute, caseCount(snowtest.KindInsert, "inserted", 1), nil)
					time.AfterFunc(time.Minute, func() { srv.EndSessions(way.end) })
					err := run(gosnowflake.WithAsyncMode(t.Context()), db)
					if class := snowtether.Classify(err); class != snowtether.ClassInDoubt {
						t.Errorf("Classify(%v) is %q", err, class)
					}
					time.Sleep(time.Hour)
					caseSum(t, srv, caseRow(1), 1, 1)
					caseNextUser(t, srv, db)
				}, snowtest.AllowOpenSessions())
			})
		}
	}
}

// TestAsynchronousStatementWithAnUnreadableResultIsInDoubt: it ran, and the answer to the
// poll was another's.
func TestAsynchronousStatementWithAnUnreadableResultIsInDoubt(t *testing.T) {
	for name, fault := range map[string]snowtest.Fault{
		"HTML": {Body: "<html>"}, "403": {Status: 403}, "404": {Status: 404, Body: "<html>"}, "cut": {Cut: 5, Run: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 1)
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return fault, r.Kind == snowtest.RequestResult })
				res, err := db.ExecContext(gosnowflake.WithAsyncMode(t.Context()), caseRow(1))
				if err != nil {
					t.Fatal(err)
				}
				_, err = res.RowsAffected()
				if class := snowtether.Classify(err); class != snowtether.ClassInDoubt {
					t.Errorf("Classify(%v) is %q", err, class)
				}
				time.Sleep(time.Minute) // the statement runs beside the question
				caseSum(t, srv, caseRow(1), 1, 1)
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestAsynchronousStatementThatFailsHasItsOwnError: with the server's code and no 266001.
func TestAsynchronousStatementThatFailsHasItsOwnError(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 1)
		slowly(srv, "^INSERT", time.Minute, nil, &snowtest.Error{Code: "100072", SQLState: "22000", Message: "NULL result"})
		res, err := db.ExecContext(gosnowflake.WithAsyncMode(t.Context()), caseRow(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = res.RowsAffected(); snowtether.Classify(err) != snowtether.ClassStatement {
			t.Errorf("Classify(%v) is %q", err, snowtether.Classify(err))
		}
	}, snowtest.AllowOpenSessions())
}
