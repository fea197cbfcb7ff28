package contract_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Sessions are closed (docs/guarantees.md): a slow log-out delays nobody, db.Close does nothing to
// what is under way, and a log-out waits for what it would cancel.

// TestSlowLogOutDelaysNobody: neither the caller whose session is replaced, nor
// one whose connection the pool does not keep.
func TestSlowLogOutDelaysNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2)
		stall(srv, snowtest.RequestLogout, 9*time.Second)
		srv.AbortSessions()
		begun := time.Now()
		for range 2 {
			if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != nil {
				t.Fatal(err)
			}
		}
		db.SetMaxIdleConns(1)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the callers waited %v", took)
		}
	})
}

// closeInTime closes the pool, which takes no time for what is in use.
func closeInTime(t *testing.T, db *sql.DB) {
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
			closeInTime(t, db)
			time.Sleep(time.Minute)
			if _, err := tx.ExecContext(t.Context(), row(1)); err != nil {
				return err
			}
			return tx.Commit()
		},
		"a statement that is polled": func(t *testing.T, srv *snowtest.Server, db *sql.DB) error {
			slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
			time.AfterFunc(time.Second, func() { closeInTime(t, db) })
			_, err := db.ExecContext(t.Context(), row(1))
			return err
		},
		"RunTx": func(t *testing.T, srv *snowtest.Server, db *sql.DB) error {
			return snowtether.RunTx(t.Context(), func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
				closeInTime(t, db)
				_, err := tx.Exec(row(1))
				return err
			})
		},
		"a pinned connection": func(t *testing.T, srv *snowtest.Server, db *sql.DB) error {
			conn, err := db.Conn(t.Context())
			if err != nil {
				return err
			}
			defer conn.Close()
			closeInTime(t, db)
			srv.ExpireSessionTokens()
			_, err = conn.ExecContext(t.Context(), row(1))
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
			closeInTime(t, db)
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
				db := pool(t, srv, 3)
				if err := work(t, srv, db); err != nil {
					t.Error(err)
				}
				if name != "rows" {
					checkRan(t, srv, row(1), 1, 1)
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

// TestCloseReturnsWhenTheServerHangs: within 10 s, and says so.
func TestCloseReturnsWhenTheServerHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		c, err := snowtether.NewConnector(srv.Config(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		stall(srv, snowtest.RequestLogout, time.Minute)
		begun := time.Now()
		err = db.Close()
		if err == nil || !strings.Contains(err.Error(), "1 sessions have not been logged out") {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		if n := c.Stats().CloseTimeouts; n != 1 {
			t.Errorf("CloseTimeouts is %d", n)
		}
		time.Sleep(time.Hour) // the log-out ends by itself, and so does its goroutine
	})
}

// TestCloseOvertakesNoCancelling: a session is logged out behind the cancelling of its
// statement.
// Before: 3 of 8 statements were left running.
func TestCloseOvertakesNoCancelling(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 8)
		slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: 2 * time.Second}, r.Kind == snowtest.RequestAbort
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var callers sync.WaitGroup
		for i := range 8 {
			callers.Go(func() {
				if _, err := db.ExecContext(ctx, row(i)); err == nil {
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
			checkRan(t, srv, row(i), 1, 0)
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

// TestLogOutWaitsForAsynchronousStatements: a log-out cancels the session's asynchronous
// statements, so a session that has some is closed without telling the server, and an event
// says so. Before: the pool closed the connection of an INSERT that was accepted
// (SetMaxIdleConns, a maximum life), and the log-out went out while it ran.
func TestLogOutWaitsForAsynchronousStatements(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db := pool(t, srv, 1, snowtether.WithEventHook(j.hook))
		slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
		var running, early atomic.Bool
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind == snowtest.RequestLogout && running.Load() {
				early.Store(true)
			}
			return snowtest.Fault{}, false
		})
		res, err := db.ExecContext(gosnowflake.WithAsyncMode(t.Context()), row(1))
		if err != nil {
			t.Fatal(err)
		}
		running.Store(true)
		db.SetMaxIdleConns(0) // closes it
		time.Sleep(time.Minute)
		running.Store(false)
		if early.Load() {
			t.Error("its session was logged out while the INSERT ran; an account cancels it with that")
		}
		if left := j.of(snowtether.EventLeftOpen); len(left) != 1 || left[0].SessionID == 0 || len(j.of(snowtether.EventClosed)) != 0 {
			t.Errorf("events: %+v", left)
		}
		_, _ = res.RowsAffected()
	}, snowtest.AllowOpenSessions())
}
