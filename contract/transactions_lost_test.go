package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): a transaction is never continued on another session. If its
// session is lost, its statements and COMMIT fail, and ROLLBACK is done.

// TestTransactionIsNeverContinuedOnAnotherSession: its second statement fails,
// COMMIT fails, nothing of it lasts, and the pool serves the next caller.
func TestTransactionIsNeverContinuedOnAnotherSession(t *testing.T) {
	for _, way := range ways[1:] {
		for _, begin := range []string{"BeginTx", "BEGIN", "start transaction"} {
			t.Run(way.Name+"/"+begin, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					ctx := t.Context()
					var exec func(context.Context, string, ...any) (sql.Result, error)
					var commit, done func() error
					if begin == "BeginTx" {
						tx, err := db.BeginTx(ctx, nil)
						if err != nil {
							t.Fatal(err)
						}
						exec, commit, done = tx.ExecContext, tx.Commit, func() error { return nil }
					} else {
						conn, err := db.Conn(ctx)
						if err != nil {
							t.Fatal(err)
						}
						if _, err := conn.ExecContext(ctx, begin); err != nil {
							t.Fatal(err)
						}
						exec, done = conn.ExecContext, conn.Close
						commit = func() error { _, err := conn.ExecContext(ctx, "COMMIT"); return err }
					}
					if _, err := exec(ctx, row(1)); err != nil {
						t.Fatal(err)
					}
					srv.EndSessions(way.End)
					for _, sql := range []string{row(2), row(3)} {
						_, err := exec(ctx, sql)
						isLost(t, err, true)
					}
					isLost(t, commit(), true)
					if err := done(); err != nil {
						t.Error(err)
					}
					if _, err := db.ExecContext(ctx, row(4)); err != nil {
						t.Errorf("the next caller: %v", err)
					}
					for i, want := range []int{0, 0, 0, 1} {
						if n := srv.Effects(row(i + 1)); n != want {
							t.Errorf("row %d took effect %d times, want %d", i+1, n, want)
						}
					}
				})
			})
		}
	}
}

// TestRollbackOfALostTransactionSucceeds: the server has rolled it back.
func TestRollbackOfALostTransactionSucceeds(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Error(err)
		}
	})
}

// TestRollbackAfterALostStatementSucceeds: also where something of the transaction
// lasts already; its error has been told.
func TestRollbackAfterALostStatementSucceeds(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(t.Context(), "CREATE TABLE x (n INT)"); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		if _, err := tx.ExecContext(t.Context(), insert); !errors.Is(err, snowtether.ErrInDoubt) {
			t.Errorf("error is %v", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Errorf("Rollback: %v", err)
		}
	})
}

// TestRollbackOnASilentServerIsBounded: by 10 s; the session's end rolls back too.
func TestRollbackOnASilentServerIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		once(srv, "ROLLBACK", snowtest.Fault{Delay: 24 * time.Hour})
		begun := time.Now()
		if err := tx.Rollback(); err != nil {
			t.Errorf("Rollback: %v", err)
		}
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		time.Sleep(time.Hour)
		fiveWriters(t, srv, db, true)
	})
}

// TestRollbackWithLostReplyAndSessionSucceeds: one of the two has rolled back.
func TestRollbackWithLostReplyAndSessionSucceeds(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		once(srv, "ROLLBACK", snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	})
}

// TestTransactionInOneRequestIsLostWithItsSession: nothing was written before its BEGIN.
func TestTransactionInOneRequestIsLostWithItsSession(t *testing.T) {
	for text, n := range map[string]int{
		"BEGIN; INSERT INTO b VALUES (1)":                     2,
		"SELECT 1; BEGIN; INSERT INTO b VALUES (1); SELECT 2": 4,
	} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			conn := pin(t, pool(t, srv, 1))
			if _, err := conn.ExecContext(gosnowflake.WithMultiStatement(t.Context(), n), text); err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
			_, err := conn.ExecContext(t.Context(), row(1))
			isLost(t, err, true)
			checkRan(t, srv, "INSERT INTO b VALUES (1)", 1, 0)
			checkRan(t, srv, row(1), 0, 0)
		})
	}
}

// TestMethodsFromBeforeContextsOutliveTheirSession: as those of today do.
func TestMethodsFromBeforeContextsOutliveTheirSession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		raw(t, db, func(dc any) error {
			type execer interface {
				Exec([]driver.Value) (driver.Result, error)
			}
			type queryer interface {
				Query([]driver.Value) (driver.Rows, error)
			}
			c := dc.(interface {
				Prepare(string) (driver.Stmt, error)
				Begin() (driver.Tx, error)
				Exec(string, []driver.Value) (driver.Result, error)
				Query(string, []driver.Value) (driver.Rows, error)
				gosnowflake.SnowflakeConnection
			})
			srv.AbortSessions()
			res, err := c.Exec("INSERT INTO t VALUES (?)", []driver.Value{int64(1)})
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); n != 1 || err != nil {
				t.Errorf("RowsAffected: %d, %v", n, err)
			}
			srv.AbortSessions()
			rows, err := c.Query("SELECT 7", nil)
			if err != nil {
				return err
			}
			srv.AbortSessions()
			tx, err := c.Begin()
			if err != nil {
				return err
			}
			if err := errors.Join(rows.Close(), tx.Commit()); err != nil {
				return err
			}
			stmt, err := c.Prepare("SELECT ?")
			if err != nil {
				return err
			}
			srv.AbortSessions()
			if _, err := stmt.(execer).Exec([]driver.Value{int64(1)}); err != nil {
				return err
			}
			srv.AbortSessions()
			rows, err = stmt.(queryer).Query([]driver.Value{int64(1)})
			if err != nil {
				return err
			}
			return errors.Join(rows.Close(), stmt.Close(), c.AddTelemetryData(t.Context(), time.Now(), map[string]string{"a": "b"}))
		})
		if n := srv.Accepted("INSERT INTO t VALUES (?)"); n != 1 {
			t.Errorf("accepted %d times", n)
		}
	}, snowtest.AllowRepeats()) // the prepared SELECT is carried out twice
}
