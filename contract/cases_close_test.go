package contract_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what sql.DB.Close does to what is under way: nothing.

// caseClose closes the pool, which takes no time for what is in use.
func caseClose(t *testing.T, db *sql.DB) {
	t.Helper()
	begun := time.Now()
	if err := db.Close(); err != nil {
		t.Errorf("db.Close: %v", err)
	}
	if d := time.Since(begun); d > time.Second {
		t.Errorf("db.Close took %v", d)
	}
}

// TestCloseLetsWorkUnderWayFinish: as database/sql documents. Each session is logged out
// when its connection comes back.
// Before: the driver ended all of them.
func TestCloseLetsWorkUnderWayFinish(t *testing.T) {
	for name, work := range map[string]func(t *testing.T, srv *snowtest.Server, db *sql.DB) error{
		"a transaction": func(t *testing.T, srv *snowtest.Server, db *sql.DB) error {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(t.Context(), "SELECT 2"); err != nil {
				return err
			}
			caseClose(t, db)
			time.Sleep(time.Minute)
			if _, err := tx.ExecContext(t.Context(), caseRow(1)); err != nil {
				return err
			}
			return tx.Commit()
		},
		"a statement that is polled": func(t *testing.T, srv *snowtest.Server, db *sql.DB) error {
			slowly(srv, "^INSERT", 10*time.Minute, caseCount(snowtest.KindInsert, "inserted", 1), nil)
			time.AfterFunc(time.Second, func() { caseClose(t, db) })
			_, err := db.ExecContext(t.Context(), caseRow(1))
			return err
		},
		"RunTx": func(t *testing.T, srv *snowtest.Server, db *sql.DB) error {
			return snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
				caseClose(t, db)
				_, err := tx.Exec(caseRow(1))
				return err
			})
		},
		"a pinned connection": func(t *testing.T, srv *snowtest.Server, db *sql.DB) error {
			conn, err := db.Conn(t.Context())
			if err != nil {
				return err
			}
			defer conn.Close()
			caseClose(t, db)
			srv.ExpireSessionTokens()
			_, err = conn.ExecContext(t.Context(), caseRow(1))
			return err
		},
		"rows": func(t *testing.T, srv *snowtest.Server, db *sql.DB) error {
			srv.Handle("^SELECT n", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				rows := make([][]any, 100_000)
				for i := range rows {
					rows[i] = []any{i}
				}
				return snowtest.Rows([]string{"n"}, rows...), nil
			})
			rows, err := db.QueryContext(t.Context(), "SELECT n FROM numbers")
			if err != nil {
				return err
			}
			caseClose(t, db)
			n := 0
			for rows.Next() {
				n++
			}
			if n != 100_000 {
				t.Errorf("%d rows", n)
			}
			_ = rows.Close()
			return rows.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := casePool(t, srv, 3)
				if err := work(t, srv, db); err != nil {
					t.Error(err)
				}
				if name != "rows" {
					caseSum(t, srv, caseRow(1), 1, 1)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if n := len(srv.Sessions()); n != 0 {
					t.Errorf("%d sessions were not logged out", n)
				}
			})
		})
	}
}

// TestCloseOvertakesNoCancelling: a session is logged out behind the cancelling of its
// statement.
// Before: 3 of 8 statements were left running.
func TestCloseOvertakesNoCancelling(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 8)
		slowly(srv, "^INSERT", time.Hour, caseCount(snowtest.KindInsert, "inserted", 1), nil)
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: 2 * time.Second}, r.Kind == snowtest.RequestAbort
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var callers sync.WaitGroup
		for i := range 8 {
			callers.Go(func() {
				if _, err := db.ExecContext(ctx, caseRow(i)); err == nil {
					t.Error("it succeeded")
				}
			})
		}
		callers.Wait()
		if err := db.Close(); err != nil {
			t.Errorf("db.Close: %v", err)
		}
		time.Sleep(10 * time.Second)
		for i := range 8 {
			caseSum(t, srv, caseRow(i), 1, 0)
		}
		for _, e := range srv.Ledger() {
			if e.State == snowtest.Running {
				t.Errorf("still running: %s", e.SQL)
			}
		}
		if n := len(srv.Sessions()); n != 0 {
			t.Error(fmt.Sprint(n, " sessions were not logged out"))
		}
	})
}
