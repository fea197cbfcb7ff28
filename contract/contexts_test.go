package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Contexts (docs/guarantees.md): a call whose context ends returns at that moment, whatever it
// waits for, and its statement is cancelled, whatever has become of its session.

// TestContextIsHonouredAtOnce: gosnowflake first tries to cancel the statement,
// for minutes if it must.
func TestContextIsHonouredAtOnce(t *testing.T) {
	for name, use := range map[string]func(ctx context.Context, db *sql.DB) error{
		"exec":  func(ctx context.Context, db *sql.DB) error { _, err := db.ExecContext(ctx, insert); return err },
		"query": func(ctx context.Context, db *sql.DB) error { return db.QueryRowContext(ctx, "SELECT 1").Scan(new(int)) },
		"ping":  func(ctx context.Context, db *sql.DB) error { return db.PingContext(ctx) },
		"begin": func(ctx context.Context, db *sql.DB) error { _, err := db.BeginTx(ctx, nil); return err },
	} {
		for cancelling, fault := range map[string]snowtest.Fault{
			"works": {Delay: 100 * time.Millisecond}, "is slow": {Delay: time.Minute}, "fails": {Status: 503},
		} {
			t.Run(name+", cancelling "+cancelling, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
						return snowtest.Fault{Run: true, Delay: time.Minute}, r.Kind == snowtest.RequestQuery
					})
					srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
						if r.Kind != snowtest.RequestAbort {
							return snowtest.Fault{}, false
						}
						return fault, true
					})
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					begun := time.Now()
					err := use(ctx, db)
					if took := time.Since(begun); took != time.Second || !errors.Is(err, context.DeadlineExceeded) || snowtether.Classify(err) != snowtether.ClassContext {
						t.Errorf("waited %v: %v", took, err)
					}
					before := srv.Stats().Logins
					if err := db.PingContext(t.Context()); err != nil {
						t.Errorf("the next statement: %v", err)
					}
					if kept := srv.Stats().Logins == before; kept != (cancelling == "works" && name != "begin") {
						t.Errorf("the connection was kept: %v", kept)
					}
					time.Sleep(time.Hour)
				})
			})
		}
	}
}

// TestWaitingForALoginEndsWithTheContext: at once, wherever in the queue.
func TestWaitingForALoginEndsWithTheContext(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config(), snowtether.WithMaxLogins(1))
		stall(srv, snowtest.RequestLogin, 10*time.Second)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				limit := time.Duration(i+1) * 100 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				begun := time.Now()
				err := db.PingContext(ctx)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != limit {
					t.Errorf("left after %v of %v with %v", time.Since(begun), limit, err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
	})
}

// TestDeadlineIsKeptDuringAnOutage: within 50 ms, with the last failure in the
// error.
func TestDeadlineIsKeptDuringAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config())
		outage(srv, time.Hour, unavailable)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			begun := time.Now()
			err := db.PingContext(ctx)
			took := time.Since(begun)
			cancel()
			if took > 350*time.Millisecond {
				t.Errorf("waited %v", took)
			}
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "503") || errors.Is(err, driver.ErrBadConn) || snowtether.Classify(err) != snowtether.ClassContext {
				t.Errorf("error is %v", err)
			}
		}
	})
}

// TestRollbackNeverOutlastsItsCaller: nor does RunTx, or a panic in it.
// Before: 10 s late.
func TestRollbackNeverOutlastsItsCaller(t *testing.T) {
	const deadline = 5 * time.Second
	hang := func(srv *snowtest.Server) {
		held := make(chan struct{})
		time.AfterFunc(2*deadline, func() { close(held) })
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Hold: held}, r.Kind == snowtest.RequestQuery || r.Kind == snowtest.RequestAbort
		})
	}
	t.Run("defer", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 8)
			var callers sync.WaitGroup
			for i := range 40 {
				callers.Go(func() {
					begun := time.Now()
					ctx, cancel := context.WithTimeout(context.Background(), deadline)
					defer cancel()
					func() {
						tx, err := db.BeginTx(ctx, nil)
						if err != nil {
							return
						}
						defer func() { _ = tx.Rollback() }()
						if i == 0 {
							hang(srv)
						}
						_, _ = tx.ExecContext(ctx, row(i))
					}()
					if d := time.Since(begun); d > deadline {
						t.Errorf("came back after %v", d)
					}
				})
			}
			callers.Wait()
			time.Sleep(2 * deadline)
		}, snowtest.AllowOpenSessions())
	})
	t.Run("RunTx", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			begun := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			defer func() {
				if r := recover(); r != "mine" {
					t.Errorf("recovered %v", r)
				}
				if d := time.Since(begun); d > deadline {
					t.Errorf("the panic came through after %v", d)
				}
				time.Sleep(2 * deadline)
			}()
			_ = snowtether.RunTx(ctx, func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }, func(tx *sql.Tx) error {
				hang(srv)
				_, _ = tx.ExecContext(ctx, row(1))
				panic("mine")
			})
		}, snowtest.AllowOpenSessions())
	})
}

// TestStatementIsCancelledWhateverBecameOfItsSession: while the server holds its request,
// while it is polled, while it is carried over.
// Before: gosnowflake's cancelling was refused with the session, and it ran on.
func TestStatementIsCancelledWhateverBecameOfItsSession(t *testing.T) {
	const query = "UPDATE t SET n = 1" // would take an hour
	for name, test := range map[string]struct {
		ends, leaves time.Duration
		down         time.Duration // for how long logins fail, from the session's end on
	}{
		"session ended while the request was held":    {10 * time.Second, 20 * time.Second, 0},
		"the same, logins down":                       {10 * time.Second, 20 * time.Second, time.Minute},
		"session ended before the next poll":          {time.Minute, 61 * time.Second, 0},
		"session ended, logins down":                  {time.Minute, 2 * time.Minute, 90 * time.Second},
		"carried over":                                {time.Minute, 10 * time.Minute, 0},
		"session ended at the moment the caller left": {time.Minute, time.Minute, 0},
	} {
		for _, use := range forms {
			t.Run(name+"/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					slowly(srv, "^UPDATE", time.Hour, counted(snowtest.KindUpdate, "updated", 1), nil)
					time.AfterFunc(test.ends, func() {
						srv.AbortSessions()
						if test.down > 0 {
							on := noLogins(srv)
							time.AfterFunc(test.down, func() { on.Store(false) })
						}
					})
					ctx, cancel := context.WithTimeout(t.Context(), test.leaves)
					defer cancel()
					begun := time.Now()
					if err := use.run(ctx, db, query); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("error is %v", err)
					}
					if d := time.Since(begun); d != test.leaves {
						t.Errorf("it returned after %v", d)
					}
					time.Sleep(5 * time.Minute)
					for _, e := range srv.Ledger() {
						if e.SQL == query && (e.State == snowtest.Running || e.State == snowtest.Succeeded) {
							t.Errorf("it has state %v", e.State)
						}
					}
					checkRan(t, srv, query, 1, 0)
				})
			})
		}
	}
}

// TestAsynchronousStatementsOfTheSessionAreNotCancelledWithIt: what is cancelled is the
// statement whose caller left.
func TestAsynchronousStatementsOfTheSessionAreNotCancelledWithIt(t *testing.T) {
	const query = "UPDATE t SET n = 1"
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		slowly(srv, "^UPDATE|^DELETE", 30*time.Minute, counted(snowtest.KindUpdate, "updated", 1), nil)
		res, err := conn.ExecContext(gosnowflake.WithAsyncMode(t.Context()), "DELETE FROM t")
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*time.Second, func() { srv.AbortSessions() })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := conn.ExecContext(ctx, query); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		time.Sleep(time.Hour)
		checkRan(t, srv, "DELETE FROM t", 1, 1)
		_, _ = res.RowsAffected() // gosnowflake's goroutine waits for somebody to ask
	})
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

// TestStatementLeftBehindStaysOnItsSession: while it is still being cancelled its dead
// session is replaced in the pool, and the next caller waits for neither.
func TestStatementLeftBehindStaysOnItsSession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, snowtether.WithIdlePing(4*time.Minute))
		slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		stall(srv, snowtest.RequestAbort, 30*time.Minute)
		if _, err := db.ExecContext(within(t, time.Second), insert); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error is %v", err)
		}
		srv.AbortSessions()
		time.Sleep(10 * time.Minute)
		begun := time.Now()
		if _, err := db.ExecContext(t.Context(), "UPDATE t SET n = 1"); err != nil || time.Since(begun) != 0 {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if n := srv.Stats().Logins; n != 2 {
			t.Errorf("%d logins: the keeper did not replace it", n)
		}
		for _, e := range srv.Ledger() {
			if own := int64(1); (e.SQL == insert) != (e.SessionID == own) {
				t.Errorf("%s ran in session %d", e.SQL, e.SessionID)
			}
		}
		time.Sleep(2 * time.Hour)
	})
}
