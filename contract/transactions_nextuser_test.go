package contract_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Transactions (docs/guarantees.md): the rows of a connection's next users do not end up in
// somebody else's transaction.

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

// wireLog replaces a text in what is sent: the server then carries out what a script
// would have done in its place.

type wireLog struct {
	http.RoundTripper
	from, to string
}

func (w wireLog) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return w.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	_ = r.Body.Close()
	body = bytes.Replace(body, []byte(w.from), []byte(w.to), 1)
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return w.RoundTripper.RoundTrip(r)
}

// TestScriptsTransactionIsNotTheNextUsers: EXECUTE IMMEDIATE 'BEGIN TRANSACTION',
// or EXECUTE IMMEDIATE FROM @stage/migration.sql that begins and does not come to its
// COMMIT, runs in the session itself: its transaction stays open. An unknown
// statement may do anything; here (sqltext/state.go, part(), Unknown) it never begins a
// transaction where AUTOCOMMIT is on. The connection goes back to the pool with it, the
// next user's INSERT is nil, and ends with the session: the row is gone. Right: behind
// what is unknown and not a CALL (a procedure's transaction ends with it), InTx may be:
// the connection has no next user unless a COMMIT or ROLLBACK came.
func TestScriptsTransactionIsNotTheNextUsers(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const script = "EXECUTE IMMEDIATE FROM @migrations/one.sql"
		cfg := srv.Config()
		cfg.Transporter = wireLog{cfg.Transporter, script, "BEGIN"}
		db := poolOf(t, cfg, 1)
		if _, err := db.ExecContext(t.Context(), script); err != nil {
			t.Fatal(err)
		}
		_, err := db.ExecContext(t.Context(), row(1))
		if n := srv.Effects(row(1)); err == nil && n != 1 {
			t.Errorf("the next user: nil, and the row took effect %d times", n)
		}
	})
}

// TestScriptsTransactionIsNotLeftBehind: what follows the script is in it, and goes with
// its session.
func TestScriptsTransactionIsNotLeftBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const script, update = "EXECUTE IMMEDIATE FROM @migrations/one.sql", "UPDATE t SET n = 1"
		cfg := srv.Config()
		cfg.Transporter = wireLog{cfg.Transporter, script, "BEGIN"}
		conn := pin(t, poolOf(t, cfg, 1))
		slowly(srv, "^UPDATE", 2*time.Minute, counted(snowtest.KindUpdate, "updated", 1), nil)
		mustExec(t, conn, script)
		abortAt(srv, time.Minute)
		_, err := conn.ExecContext(t.Context(), update)
		time.Sleep(time.Hour)
		if n := srv.Effects(update); err == nil && n != 1 {
			t.Errorf("nil, and the UPDATE took effect %d times", n)
		}
	})
}

// TestSpoiltConnectionIsRefusedAtItsReturnAndAtItsNextUse: some pools ask only once.
func TestSpoiltConnectionIsRefusedAtItsReturnAndAtItsNextUse(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, srv *snowtest.Server, c *snowtether.Connector, dc driver.Conn) error{
		"an open transaction": func(t *testing.T, _ *snowtest.Server, _ *snowtether.Connector, dc driver.Conn) error {
			_, err := dc.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{})
			return err
		},
		"a login that was refused": func(t *testing.T, srv *snowtest.Server, _ *snowtether.Connector, dc driver.Conn) error {
			srv.AbortSessions()
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Code: "390100", Message: "No."}, r.Kind == snowtest.RequestLogin
			})
			if err := dc.(driver.Pinger).Ping(t.Context()); number(err) != 390100 {
				return errors.Join(errors.New("want 390100"), err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				c, err := snowtether.NewConnector(srv.Config(), quiet)
				if err != nil {
					t.Fatal(err)
				}
				dc, err := c.Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := spoil(t, srv, c, dc); err != nil {
					t.Fatal(err)
				}
				if dc.(driver.Validator).IsValid() {
					t.Error("it may return to the pool")
				}
				if err := dc.(driver.SessionResetter).ResetSession(t.Context()); err != driver.ErrBadConn { // bare, as database/sql wants it
					t.Errorf("its next use: %v", err)
				}
				if err := errors.Join(dc.Close(), c.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
