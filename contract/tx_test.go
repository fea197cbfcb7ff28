package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// row is one of the INSERTs that a test tells apart.
func row(i int) string { return fmt.Sprintf("INSERT INTO t VALUES (%d)", i) }

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
						lostInTx(t, err)
					}
					lostInTx(t, commit())
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

func lostInTx(t *testing.T, err error) {
	t.Helper()
	var se *snowtether.SessionError
	switch {
	case !errors.As(err, &se) || !se.InTx || !errors.Is(err, snowtether.ErrSessionLost):
		t.Errorf("error is %v, want one that Is ErrSessionLost and says InTx", err)
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, snowtether.ErrInDoubt):
		t.Errorf("%v Is driver.ErrBadConn or ErrInDoubt", err)
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

// both runs a test with plain gosnowflake and with snowtether on one connection,
// to show what the difference is.
func both(t *testing.T, f func(t *testing.T, srv *snowtest.Server, db *sql.DB, ours bool)) {
	t.Helper()
	for name, ours := range map[string]bool{"plain gosnowflake": false, "snowtether": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				if ours {
					f(t, srv, pool(t, srv, 1), true)
					return
				}
				db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()))
				db.SetMaxOpenConns(1)
				f(t, srv, db, false)
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// fiveWriters writes five rows as the next users of the pool and checks how many
// of them last once the pool is closed: plain gosnowflake loses all five, without
// an error.
func fiveWriters(t *testing.T, srv *snowtest.Server, db *sql.DB, ours bool) {
	t.Helper()
	for i := range 5 {
		if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
			t.Errorf("writer %d: %v", i, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	lasting := 0
	for i := range 5 {
		lasting += srv.Effects(row(i))
	}
	if want := map[bool]int{true: 5, false: 0}[ours]; lasting != want {
		t.Errorf("%d of 5 rows last, want %d", lasting, want)
	}
}

// TestCancelledBeginTxLeavesTheNextWritersRows: gosnowflake sends the ROLLBACK
// with the cancelled context, and it never arrives.
func TestCancelledBeginTxLeavesTheNextWritersRows(t *testing.T) {
	both(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, ours bool) {
		// database/sql rolls back in the background too, and closes the connection of
		// a driver like gosnowflake's if it comes first. Try until the caller does.
		err := sql.ErrTxDone
		for errors.Is(err, sql.ErrTxDone) {
			ctx, cancel := context.WithCancel(t.Context())
			tx, beginErr := db.BeginTx(ctx, nil)
			if beginErr != nil {
				t.Fatal(beginErr)
			}
			cancel()
			err = tx.Rollback()
			synctest.Wait()
		}
		if ours && err != nil {
			t.Errorf("Rollback: %v", err)
		}
		fiveWriters(t, srv, db, ours)
	})
	t.Run("rolled back by database/sql", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			ctx, cancel := context.WithCancel(t.Context())
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.ExecContext(ctx, row(9)); err != nil {
				t.Fatal(err)
			}
			cancel()
			synctest.Wait()
			fiveWriters(t, srv, db, true)
			if n := srv.Effects(row(9)); n != 0 {
				t.Errorf("the cancelled transaction's own row took effect %d times", n)
			}
			if n := srv.Stats().Logins; n != 2 {
				t.Errorf("%d logins: the session was not ended", n)
			}
		})
	})
}

// TestFailedCommitLeavesTheNextWritersRows: its transaction may still be open.
func TestFailedCommitLeavesTheNextWritersRows(t *testing.T) {
	both(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, ours bool) {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		once(srv, "COMMIT", snowtest.Fault{Code: "000625", Message: "Statement has locked table T in another transaction."})
		if err := tx.Commit(); err == nil {
			t.Error("COMMIT succeeded")
		}
		fiveWriters(t, srv, db, ours)
	})
}

// TestFailedRollbackLeavesTheNextWritersRows: the same for ROLLBACK.
func TestFailedRollbackLeavesTheNextWritersRows(t *testing.T) {
	both(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB, ours bool) {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		once(srv, "ROLLBACK", snowtest.Fault{Code: "000603", Message: "Internal error."})
		if err := tx.Rollback(); err == nil {
			t.Error("ROLLBACK succeeded")
		}
		fiveWriters(t, srv, db, ours)
	})
}

// TestOpenTransactionDoesNotReturnToThePool: begun by a statement and not ended.
func TestOpenTransactionDoesNotReturnToThePool(t *testing.T) {
	for _, left := range [][]string{
		{"BEGIN"},
		{"/* a load */ begin work", row(9)},
		{"ALTER SESSION SET AUTOCOMMIT = FALSE", row(9)},
	} {
		t.Run(left[0], func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, sql := range left {
					if _, err := conn.ExecContext(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
				fiveWriters(t, srv, db, true)
			})
		})
	}
}

// TestLostCommitIsInDoubt: it may have been carried out.
func TestLostCommitIsInDoubt(t *testing.T) {
	for _, lost := range []snowtest.Fault{{Run: true, Drop: true}, {Run: true, Status: 503}} {
		for _, way := range ways[1:] {
			t.Run(fmt.Sprintf("%d/%s", lost.Status, way.Name), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					tx, err := db.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := tx.ExecContext(t.Context(), insert); err != nil {
						t.Fatal(err)
					}
					lost.After = func() { srv.EndSessions(way.End) }
					once(srv, "COMMIT", lost)
					inDoubt(t, srv, insert, tx.Commit(), 1)
					if n := srv.Effects(insert); n != 1 {
						t.Errorf("took effect %d times", n)
					}
				})
			})
		}
	}
}

// TestCommitOfACancelledCallerIsInDoubt: the server may carry it out all the same.
func TestCommitOfACancelledCallerIsInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, insert); err != nil {
			t.Fatal(err)
		}
		once(srv, "COMMIT", snowtest.Fault{Run: true, Delay: 0, After: func() { cancel(); time.Sleep(time.Second) }})
		err = tx.Commit()
		inDoubt(t, srv, insert, err, 1)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v is not context.Canceled as well", err)
		}
	})
}

// TestWhatFollowsARollbackStatementIsInDoubt: it is in no transaction any more, or may
// not be, so it commits by itself and nothing rolls it back.
func TestWhatFollowsARollbackStatementIsInDoubt(t *testing.T) {
	for _, begin := range []string{"BeginTx", "BEGIN"} {
		t.Run(begin, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn, err := pool(t, srv, 1).Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				exec := conn.ExecContext
				if begin == "BeginTx" {
					tx, err := conn.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = tx.Rollback() }() // the session is gone
					exec = tx.ExecContext
				} else {
					if _, err := exec(t.Context(), begin); err != nil {
						t.Fatal(err)
					}
					once(srv, "ROLLBACK", snowtest.Fault{Run: true, Body: "<html>"}) // and the error is ignored, as happens
				}
				_, _ = exec(t.Context(), "ROLLBACK")
				once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
				_, err = exec(t.Context(), insert)
				inDoubt(t, srv, insert, err, 1)
			})
		})
	}
}

// TestEndIsNotTakenForItsBegin: a request ID that the caller gave BeginTx must not be
// sent with COMMIT or ROLLBACK, which Snowflake would take for a repetition, nor with
// BEGIN: the INSERT with the same ID would be taken for that.
func TestEndIsNotTakenForItsBegin(t *testing.T) {
	for sql, end := range map[string]func(*sql.Tx) error{"COMMIT": (*sql.Tx).Commit, "ROLLBACK": (*sql.Tx).Rollback} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			id := gosnowflake.NewUUID()
			tx, err := db.BeginTx(gosnowflake.WithRequestID(t.Context(), id), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := end(tx); err != nil {
				t.Fatal(err)
			}
			got := make(map[string]bool) // whether the statement was sent with the ID
			for _, e := range srv.Ledger() {
				got[e.SQL] = e.RequestID == id.String()
			}
			if len(got) != 2 || got["BEGIN"] || got[sql] {
				t.Errorf("sent with the caller's ID: %v", got)
			}
		})
	}
}

// TestBeginInDoubtLeavesTheNextWritersRows: its transaction may be open, although its
// session lives, so that session is ended and BEGIN is sent again.
func TestBeginInDoubtLeavesTheNextWritersRows(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, "BEGIN", snowtest.Fault{Run: true, Body: "<html>"})
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		fiveWriters(t, srv, db, true)
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

// TestBeginThatWasRefusedHasBegunNothing: the statements after it commit by themselves,
// and are recovered as such.
func TestBeginThatWasRefusedHasBegunNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn, err := pool(t, srv, 1).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		srv.Handle("^BEGIN", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "000630", SQLState: "57014", Message: "Statement reached its statement or warehouse timeout"}
		})
		if _, err := conn.ExecContext(t.Context(), "BEGIN"); err == nil {
			t.Fatal("BEGIN succeeded")
		}
		if _, err := conn.ExecContext(t.Context(), insert); err != nil { // and the error of BEGIN is ignored, as happens
			t.Fatal(err)
		}
		srv.AbortSessions()
		if _, err := conn.ExecContext(t.Context(), row(2)); err != nil {
			t.Errorf("after the session's end: %v", err)
		}
		for _, query := range []string{insert, row(2)} {
			if n := srv.Effects(query); n != 1 {
				t.Errorf("%s took effect %d times", query, n)
			}
		}
	})
}
