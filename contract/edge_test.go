package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has the awkward moments: what a sceptic tried, and made run twice or
// vanish.

// TestRenewalByTheHeartbeatIsNoProof: it was taken for the statement's own, and
// two of the statement's requests for the renewal's. The INSERT ran twice.
func TestRenewalByTheHeartbeatIsNoProof(t *testing.T) {
	for _, status := range []int{0, 401} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			time.Sleep(time.Hour - 500*time.Millisecond) // the heartbeat falls between the retries
			n := 0
			srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
				if r.SQL != insert || n == 2 {
					return snowtest.Fault{}, false
				}
				if n++; n == 1 {
					return snowtest.Fault{Run: true, Status: 503}, true
				}
				srv.EndSessions(snowtest.Refusal{Code: "390111", Status: status})
				return snowtest.Fault{Status: 503}, true
			})
			_, err := db.ExecContext(t.Context(), insert)
			inDoubt(t, srv, insert, err, 1)
		})
	}
}

// TestStatementThatBeginsATransactionIsNotCarriedOutOfIt: its rows vanished with
// the transaction that it had begun, and COMMIT on the new session said nothing.
func TestStatementThatBeginsATransactionIsNotCarriedOutOfIt(t *testing.T) {
	off := "false"
	for name, tt := range map[string]struct {
		first string
		cfg   func(cfg *gosnowflake.Config)
		opts  []snowtether.Option
	}{
		"AUTOCOMMIT off in the Config":   {insert, func(cfg *gosnowflake.Config) { cfg.Params = map[string]*string{"AUTOCOMMIT": &off} }, nil},
		"AUTOCOMMIT off by session init": {insert, nil, []snowtether.Option{snowtether.WithSessionInit("ALTER SESSION SET AUTOCOMMIT = FALSE")}},
		"AUTOCOMMIT off by a hook": {insert, nil, []snowtether.Option{snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			cfg.Params["autocommit"] = &off
			return nil
		})}},
		"BEGIN and an INSERT": {"BEGIN; " + insert, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				if tt.cfg != nil {
					tt.cfg(cfg)
				}
				db, _ := connect(t, cfg, tt.opts...)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				slowly(srv, "^(INSERT|BEGIN)", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
				endAt(srv, ways[1].End, time.Minute)
				_, err = conn.ExecContext(gosnowflake.WithMultiStatement(t.Context(), 0), tt.first)
				if !errors.Is(err, snowtether.ErrSessionLost) && !errors.Is(err, snowtether.ErrInDoubt) {
					t.Errorf("error is %v", err)
				}
				if _, err := conn.ExecContext(t.Context(), "COMMIT"); err == nil {
					t.Error("COMMIT succeeded on another session")
				}
				time.Sleep(time.Hour)
			})
		})
	}
}

// TestAutocommitThatIsOffIsNoticed: where neither the Config nor a statement says so.
// The lost session took the rows with it, and COMMIT on the new one said nothing.
func TestAutocommitThatIsOffIsNoticed(t *testing.T) {
	for name, tt := range map[string]struct {
		server []snowtest.Option
		opts   []snowtether.Option
	}{
		"for the user or the account": {[]snowtest.Option{snowtest.WithSessionParameter("AUTOCOMMIT", false)}, nil},
		"by WithAfterConnect": {nil, []snowtether.Option{snowtether.WithAfterConnect(func(ctx context.Context, conn driver.Conn) error {
			_, err := conn.(driver.ExecerContext).ExecContext(ctx, "ALTER SESSION SET AUTOCOMMIT = FALSE", nil)
			return err
		})}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db, _ := connect(t, srv.Config(), tt.opts...)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := conn.ExecContext(t.Context(), insert); err != nil {
					t.Fatal(err)
				}
				srv.AbortSessions()
				var se *snowtether.SessionError
				if _, err := conn.ExecContext(t.Context(), row(2)); !errors.As(err, &se) || !se.InTx {
					t.Errorf("the second INSERT: %v", err)
				}
				if _, err := conn.ExecContext(t.Context(), "COMMIT"); err == nil {
					t.Error("COMMIT succeeded on another session")
				}
			}, tt.server...)
		})
	}
}

// TestTransactionThatHasCommittedInPartIsInDoubt: DDL commits what came before it,
// so "nothing of it lasts" is not true any more, and RunTx must not repeat it.
func TestTransactionThatHasCommittedInPartIsInDoubt(t *testing.T) {
	for _, part := range []string{"CREATE TABLE IF NOT EXISTS x (n INT)", "CALL p()", "COMMIT"} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			runs := 0
			err := snowtether.RunTx(t.Context(), begin(db), func(tx *sql.Tx) error {
				runs++
				for _, sql := range []string{insert, part} {
					if _, err := tx.ExecContext(t.Context(), sql); err != nil {
						return err
					}
				}
				srv.AbortSessions()
				_, err := tx.ExecContext(t.Context(), row(2))
				return err
			})
			if !errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, snowtether.ErrSessionLost) || runs != 1 {
				t.Errorf("%s: %d runs, error %v", part, runs, err)
			}
		})
	}
}

// TestOddRefusalAfterAcceptanceIsNotTheStatementsOwnError: the poll, or the retry
// after a gateway's 503, is refused for a reason that has nothing to do with the
// statement, which has run.
func TestOddRefusalAfterAcceptanceIsNotTheStatementsOwnError(t *testing.T) {
	for _, f := range []snowtest.Fault{{Code: "390422"}, {Code: "390302"}, {Code: "390189"}, {Body: `{"message":"Forbidden"}`}} {
		t.Run(fmt.Sprint(f.Code, f.Body), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return f, r.Kind == snowtest.RequestResult })
				if _, err := db.ExecContext(t.Context(), insert); err != nil {
					t.Errorf("polled: %v", err)
				}
				if n := srv.Effects(insert); n != 1 {
					t.Errorf("took effect %d times", n)
				}
			})
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				once(srv, insert, snowtest.Fault{Run: true, Status: 503})
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return f, r.Kind == snowtest.RequestQuery && r.RetryCount > 0
				})
				_, err := db.ExecContext(t.Context(), insert)
				inDoubt(t, srv, insert, err, 1)
			})
		})
	}
}

// TestFileThatCannotBeReadIsTheStatementsOwnError: the server has answered by then, but
// nothing is in doubt.
func TestFileThatCannotBeReadIsTheStatementsOwnError(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		_, err := db.ExecContext(t.Context(), "PUT file:///no/such/file @stage")
		if err == nil || snowtether.Classify(err) != snowtether.ClassStatement {
			t.Errorf("error is %v, %q", err, snowtether.Classify(err))
		}
	})
}

// TestFileTransferIsNotCarriedOver: the server's part of a PUT is over before
// gosnowflake has sent a byte.
func TestFileTransferIsNotCarriedOver(t *testing.T) {
	for _, transfer := range []string{"PUT file:///tmp/rows.csv @stage", "get @stage/rows.csv file:///tmp"} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			once(srv, transfer, snowtest.Fault{Run: true, Body: inProgress, After: func() { srv.AbortSessions() }})
			_, err := db.ExecContext(gosnowflake.WithFilePutStream(t.Context(), strings.NewReader("1")), transfer)
			if !errors.Is(err, snowtether.ErrInDoubt) {
				t.Errorf("%s: %v", transfer, err)
			}
			if n := srv.Stats().Requests[snowtest.RequestMonitor]; n != 0 {
				t.Errorf("%s: its status was asked for %d times", transfer, n)
			}
		})
	}
}

// TestPingAndBeginLeaveNothingInDoubt: with their session gone, nothing is left of
// them.
func TestPingAndBeginLeaveNothingInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		for sql, use := range map[string]func() error{
			"SELECT 1": func() error { return db.PingContext(t.Context()) },
			"BEGIN": func() error {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					return err
				}
				return tx.Rollback()
			},
		} {
			once(srv, sql, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
			if err := use(); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	})
}

// TestSetUpThatHangsDoesNotHoldTheGate: gosnowflake would try to cancel it for a
// quarter of an hour, and no login of the connector would be let through.
func TestSetUpThatHangsDoesNotHoldTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		release := make(chan struct{})
		held := 0
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if held == 2 || r.Kind != snowtest.RequestQuery && r.Kind != snowtest.RequestAbort {
				return snowtest.Fault{}, false
			}
			held++
			return snowtest.Fault{Hold: release}, true
		})
		db, _ := connect(t, srv.Config(), snowtether.WithSessionInit("USE ROLE r"))
		begun := time.Now()
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 65*time.Second {
			t.Errorf("the gate was held for %v", took)
		}
		close(release)
	})
}

// TestFailingStatementsDoNotPaceLogins: the server has answered, so its sessions
// are of use.
func TestFailingStatementsDoNotPaceLogins(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		srv.Handle("^SELECT broken", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "002003", SQLState: "42S02", Message: "Object does not exist"}
		})
		db := pool(t, srv, 1)
		db.SetMaxIdleConns(0)
		begun := time.Now()
		for range 40 {
			if _, err := db.ExecContext(t.Context(), "SELECT broken"); number(err) != 2003 {
				t.Errorf("error is %v", err)
			}
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestSecretsInURLsAreNotRepeated: an Okta login's URL holds a one-time token.
func TestSecretsInURLsAreNotRepeated(t *testing.T) {
	err := &snowtether.SessionError{Op: "login", Class: snowtether.ClassTransient, Err: &gosnowflake.SnowflakeError{
		Number: gosnowflake.ErrFailedToGetSSO, Message: "HTTP: %v, URL: %v", MessageArgs: []any{403, "https://x.okta.com/sso/saml?onetimetoken=s3cret&x=y"},
	}}
	if text := err.Error(); strings.Contains(text, "s3cret") || !strings.Contains(text, "https://x.okta.com/sso/saml") {
		t.Error(text)
	}
}

// TestLastQueryIDIsNotAskedOfAnotherSession: its answer would be another statement's.
func TestLastQueryIDIsNotAskedOfAnotherSession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const scan = "SELECT * FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))"
		db := pool(t, srv, 1)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(t.Context(), "SHOW TABLES"); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions()
		rows, err := conn.QueryContext(t.Context(), scan)
		if err == nil {
			_ = rows.Close()
		}
		if !errors.Is(err, snowtether.ErrSessionLost) || srv.Accepted(scan) != 0 {
			t.Errorf("accepted %d times: %v", srv.Accepted(scan), err)
		}
	})
}

// TestConnectionOpenedByTheDriverLeavesNothing: there is no pool to close.
func TestConnectionOpenedByTheDriverLeavesNothing(t *testing.T) {
	srv := snowtest.New(t)
	before := runtime.NumGoroutine()
	for range 10 {
		conn, err := snowtether.Driver{}.Open(srv.DSN() + "&tetherIdlePing=1s")
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	for dsn, want := range map[string]string{"u:p@a/d?tetherMaxLogins=many": "tetherMaxLogins", strings.Replace(srv.DSN(), srv.User()+":", "nobody:", 1): "390100"} {
		if _, err := (snowtether.Driver{}).Open(dsn); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
	if n := len(srv.Sessions()); n != 0 {
		t.Errorf("%d sessions left", n)
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+8; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// TestCloseDuringLoginLeavesNoSession: Close waits for the login and undoes it.
func TestCloseDuringLoginLeavesNoSession(t *testing.T) {
	for name, fault := range map[string]snowtest.Fault{
		"before it is opened": {Delay: 2 * time.Second},
		"after it was opened": {After: func() { time.Sleep(2 * time.Second) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				c, err := snowtether.NewConnector(srv.Config(), quiet)
				if err != nil {
					t.Fatal(err)
				}
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return fault, r.Kind == snowtest.RequestLogin })
				got := make(chan error)
				go func() {
					_, err := c.Connect(t.Context())
					got <- err
				}()
				time.Sleep(time.Second)
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				if err := <-got; err == nil || errors.Is(err, driver.ErrBadConn) {
					t.Errorf("Connect: %v", err)
				}
				if _, err := c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
					t.Errorf("Connect after Close: %v", err)
				}
			})
		})
	}
}

// TestPreparedStatementMayBeClosedByACallerWhoLeft: while what he left behind prepares
// it on the session that replaced its own. The race detector saw the two meet.
func TestPreparedStatementMayBeClosedByACallerWhoLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn, err := pool(t, srv, 1).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for i := range 100 {
			stmt, err := conn.PrepareContext(t.Context(), "SELECT 1")
			if err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
			if err := conn.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for range i {
					runtime.Gosched()
				}
				cancel()
			}()
			if rows, err := stmt.QueryContext(ctx); err == nil {
				_ = rows.Close() // cancelled, perhaps
			} else if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if err := stmt.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestGarbledPollCostsNoSession: the statement is fetched by its ID, and where its
// session is still there its settings are too.
func TestGarbledPollCostsNoSession(t *testing.T) {
	forbidden := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
	for _, garble := range []http.HandlerFunc{says("<html>"), forbidden} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			f, cfg := inFront(t, srv)
			db, _ := connect(t, cfg)
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.ExecContext(t.Context(), "USE SCHEMA s"); err != nil {
				t.Fatal(err)
			}
			slowly(srv, "VALUES .1.", 2*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
			f.misbehaves("/result", false, func(w http.ResponseWriter, r *http.Request) {
				f.behaves()
				garble(w, r)
			})
			for _, sql := range []string{insert, row(2)} {
				if _, err := conn.ExecContext(t.Context(), sql); err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			}
		})
	}
}
