package adopting_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

const (
	insertOrder = "INSERT INTO orders (id, amount) VALUES (?, ?)"
	findOrder   = "SELECT COUNT(*) FROM orders WHERE id = ?"
)

// saveOrder is the code under test. It stores an order once, whatever becomes of the
// session, if the INSERT is over when it looks. Where it may still be running, wait first.
func saveOrder(ctx context.Context, db *sql.DB, id, amount int) error {
	_, err := db.ExecContext(ctx, insertOrder, id, amount)
	if !errors.Is(err, snowtether.ErrInDoubt) {
		return err
	}
	var n int // it may have run: look, and only then decide
	if err := db.QueryRowContext(ctx, findOrder, id).Scan(&n); err != nil || n > 0 {
		return err
	}
	_, err = db.ExecContext(ctx, insertOrder, id, amount)
	return err
}

func TestOrderIsSavedOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(*snowtest.Server) snowtest.Fault // what becomes of the INSERT's request
	}{
		{"nothing happens", func(*snowtest.Server) snowtest.Fault { return snowtest.Fault{} }},
		{"refused, the session is gone", func(srv *snowtest.Server) snowtest.Fault {
			srv.ExpireMasterTokens()
			return snowtest.Fault{}
		}},
		{"ran, but the reply and the session are lost", func(srv *snowtest.Server) snowtest.Fault {
			return snowtest.Fault{Run: true, After: func() { srv.AbortSessions() }, Status: 503}
		}},
		{"did not run, and the session is lost", func(srv *snowtest.Server) snowtest.Fault {
			srv.AbortSessions()
			return snowtest.Fault{Status: 503}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := snowtest.New(t) // checks in the end that no INSERT was accepted twice
			srv.Handle(`FROM orders WHERE id`, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				return snowtest.Rows([]string{"N"}, []any{srv.Effects(insertOrder)}), nil
			})
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				if r.SQL != insertOrder {
					return snowtest.Fault{}, false
				}
				return tt.fault(srv), true
			})
			db, err := sql.Open("snowtether", srv.DSN())
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := saveOrder(t.Context(), db, 7, 100); err != nil {
				t.Error(err)
			}
			if n := srv.Effects(insertOrder); n != 1 {
				t.Errorf("the order was saved %d times", n)
			}
		})
	}
}
