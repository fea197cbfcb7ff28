package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Logins (docs/guarantees.md): a caller without a deadline waits for the connect budget, once,
// whatever their call waits for while Snowflake cannot be reached.

// TestConnectBudgetBoundsACallerWithoutDeadline: database/sql dials once.
func TestConnectBudgetBoundsACallerWithoutDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config(), snowtether.WithConnectBudget(40*time.Second))
		outage(srv, time.Hour, unavailable)
		begun := time.Now()
		err := db.PingContext(t.Context())
		var se *snowtether.SessionError
		if !errors.As(err, &se) || se.Class != snowtether.ClassTransient || se.Op != "login" {
			t.Errorf("error is %v", err)
		}
		// No context of the caller's has ended.
		if errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "for the connect budget of 40s") || !strings.Contains(err.Error(), "503") {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(begun); took > 40*time.Second {
			t.Errorf("waited %v", took)
		}
	})
}

// TestCallerWithoutDeadlineWaitsForTheBudgetOnce: each login takes most of the budget,
// and each session is gone at its first statement.
func TestCallerWithoutDeadlineWaitsForTheBudgetOnce(t *testing.T) {
	const budget = time.Minute
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, snowtether.WithConnectBudget(budget))
		mustExec(t, db, "SELECT 1")
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			switch {
			case r.Kind == snowtest.RequestLogin:
				return snowtest.Fault{Delay: budget * 9 / 10}, true
			case r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 2":
				return snowtest.Fault{Code: "390111"}, true
			}
			return snowtest.Fault{}, false
		})
		begun := time.Now()
		_, err := db.ExecContext(context.Background(), "SELECT 2")
		if d := time.Since(begun); d > 2*budget {
			t.Errorf("a caller without a deadline waited for %v with a budget of %v: %v", d, budget, err)
		}
	})
}

// checkBudget checks the error of a call whose caller had no deadline.
func checkBudget(t *testing.T, err error, waited, most time.Duration) {
	t.Helper()
	switch {
	case err == nil:
		t.Fatal("it succeeded")
	case waited > most:
		t.Errorf("it waited %v: %v", waited, err)
	case !strings.Contains(err.Error(), "for the connect budget of 2m0s"):
		t.Errorf("the error does not say for how long: %v", err)
	case !strings.Contains(err.Error(), "503"):
		t.Errorf("the error does not say what failed: %v", err)
	case errors.Is(err, context.DeadlineExceeded):
		t.Errorf("the error is a context's, of which none had a deadline: %v", err)
	case snowtether.Classify(err) != snowtether.ClassTransient:
		t.Errorf("the class of the error is %s: %v", snowtether.Classify(err), err)
	}
}

// TestCallWaitsForOneBudgetHoweverManySessionsHaveEnded: while they lay in the pool.
// Before: 6 minutes with 4 sessions, one budget for each of three connections.
func TestCallWaitsForOneBudgetHoweverManySessionsHaveEnded(t *testing.T) {
	for _, idle := range []time.Duration{time.Second, 5 * time.Hour} {
		for _, n := range []int{1, 4} {
			t.Run(fmt.Sprintf("%d sessions, idle for %v", n, idle), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, n)
					srv.AbortSessions()
					time.Sleep(idle)
					noLogins(srv)
					for _, use := range forms {
						begun := time.Now()
						checkBudget(t, use.run(context.Background(), db, row(1)), time.Since(begun), 150*time.Second)
					}
					begun := time.Now()
					_, err := db.BeginTx(context.Background(), nil)
					checkBudget(t, err, time.Since(begun), 150*time.Second)
					begun = time.Now()
					checkBudget(t, db.PingContext(context.Background()), time.Since(begun), 150*time.Second)
				}, snowtest.AllowOpenSessions())
			})
		}
	}
}

// TestQuestionWithoutAnAnswerIsNotWaitedFor: sessions are suspect, and the server takes
// the question about one and says nothing.
func TestQuestionWithoutAnAnswerIsNotWaitedFor(t *testing.T) {
	const budget = time.Minute
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2, snowtether.WithConnectBudget(budget))
		one, two := pin(t, db), pin(t, db)
		mustExec(t, one, "SELECT 2")
		mustExec(t, two, "SELECT 2")
		_ = two.Close()
		srv.AbortSessions(srv.Sessions()[0].ID)
		mustExec(t, one, "SELECT 3") // which may or may not be the one
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: 24 * time.Hour}, r.Kind == snowtest.RequestQuery && r.SQL == "SELECT 1"
		})
		begun := time.Now()
		err := drain(db.QueryContext(context.Background(), "SELECT 4"))
		if d := time.Since(begun); d > 2*budget {
			t.Errorf("waited %v for a question that the driver asks by itself: %v", d, err)
		}
	})
}

// TestCallWaitsForOneBudgetFromItsLoginOn: what its connection's first login has waited for
// is gone from it.
// Before: a login that took most of a budget, and a statement that had one of its own, made
// 3 minutes 48 seconds.
func TestCallWaitsForOneBudgetFromItsLoginOn(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, db *sql.DB) error{
		"exec": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, row(1))
			return err
		},
		"query": func(ctx context.Context, db *sql.DB) error { return drain(db.QueryContext(ctx, "SELECT 1")) },
		"begin": func(ctx context.Context, db *sql.DB) error {
			_, err := db.BeginTx(ctx, nil)
			return err
		},
		"ping": func(ctx context.Context, db *sql.DB) error { return db.PingContext(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				db.SetMaxIdleConns(0) // the call logs in
				time.Sleep(time.Minute)
				begun := time.Now()
				var in atomic.Bool // one login gets through, late, to a session that has ended
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					switch r.Kind {
					case snowtest.RequestLogin:
						late := time.Since(begun) > 90*time.Second
						return snowtest.Fault{Status: 503}, !late || in.Swap(true)
					case snowtest.RequestQuery:
						return snowtest.Fault{Code: "390111", Message: "Session no longer exists."}, true
					}
					return snowtest.Fault{}, false
				})
				if err := call(context.Background(), db); snowtether.Classify(err) != snowtether.ClassTransient {
					t.Errorf("error is %v", err)
				}
				if took := time.Since(begun); !in.Load() || took > 150*time.Second {
					t.Errorf("it waited for %v", took)
				}
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestCrowdWaitsForOneBudget: who has waited in database/sql for a connection, for those
// before them, is told at once. New callers wait again, and see the end of the outage.
// Before: 42 minutes for 20 callers on 8 connections.
func TestCrowdWaitsForOneBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 8)
		srv.AbortSessions()
		outage := noLogins(srv)
		begun := time.Now()
		var callers sync.WaitGroup
		for i := range 20 {
			callers.Go(func() {
				if _, err := db.ExecContext(context.Background(), row(i)); err == nil {
					t.Error("it succeeded")
				}
			})
		}
		callers.Wait()
		if d := time.Since(begun); d > 150*time.Second {
			t.Errorf("the last of them waited %v", d)
		}
		time.Sleep(time.Second)
		time.AfterFunc(time.Minute, func() { outage.Store(false) })
		if _, err := db.ExecContext(context.Background(), row(100)); err != nil {
			t.Errorf("a new caller: %v", err)
		}
	}, snowtest.AllowOpenSessions())
}

// TestNobodyIsToldOfABudgetBehindALogin: a caller who waits in database/sql's queue is told at once
// what another has just waited for in vain, unless a login has got through since.
// Before: they were told so for a second, however little they had waited.
func TestNobodyIsToldOfABudgetBehindALogin(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		outage(srv, 10*time.Second+100*time.Millisecond, unavailable)
		db, _ := connect(t, srv.Config(), snowtether.WithConnectBudget(10*time.Second),
			snowtether.WithBackOff(func() backoff.BackOff { return backoff.NewConstantBackOff(100 * time.Millisecond) }))
		db.SetMaxOpenConns(1)
		if err := db.PingContext(t.Context()); snowtether.Classify(err) != snowtether.ClassTransient {
			t.Errorf("in the outage: %v", err)
		}
		conn := pin(t, db)
		queued := make(chan error)
		go func() { queued <- db.PingContext(t.Context()) }()
		synctest.Wait()
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the queue's turn
		_ = conn.Close()
		if err := <-queued; err != nil {
			t.Error(err)
		}
	})
}

// TestPatienceIsRenewedWhenAnOutageIsOver: each cut has a budget of its own.
func TestPatienceIsRenewedWhenAnOutageIsOver(t *testing.T) {
	for name, outage := range map[string]func(srv *snowtest.Server) (ends func()){
		"the network is cut": func(srv *snowtest.Server) func() {
			srv.Disconnect()
			return srv.Reconnect
		},
		"the session ends and logins fail": func(srv *snowtest.Server) func() {
			srv.AbortSessions()
			on := noLogins(srv)
			return func() { on.Store(false) }
		},
	} {
		for _, use := range forms {
			t.Run(name+"/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := pin(t, pool(t, srv, 1, snowtether.WithConnectBudget(10*time.Minute)))
					slowly(srv, "^UPDATE", 6*time.Hour, counted(snowtest.KindUpdate, "updated", 1), nil)
					for _, at := range []time.Duration{time.Hour, 3 * time.Hour, 5 * time.Hour} {
						time.AfterFunc(at, func() { time.AfterFunc(5*time.Minute, outage(srv)) })
					}
					if err := use.run(context.Background(), conn, "UPDATE t SET n = 1"); err != nil {
						t.Error(err)
					}
					checkRan(t, srv, "UPDATE t SET n = 1", 1, 1)
				}, snowtest.AllowOpenSessions())
			})
		}
	}
}

// TestWrongHostIsToldSoon: whatever the caller's deadline, until a login has succeeded.
// After that the same errors are an outage.
func TestWrongHostIsToldSoon(t *testing.T) {
	for name, fault := range map[string]error{
		"no such host": &net.DNSError{Err: "no such host", Name: "nope.snowflakecomputing.com", IsNotFound: true},
		"refused port": &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
	} {
		for _, deadline := range []time.Duration{0, 10 * time.Minute} {
			t.Run(fmt.Sprintf("%s, deadline %v", name, deadline), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					call := func() context.Context {
						if deadline == 0 {
							return context.Background()
						}
						ctx, cancel := context.WithTimeout(context.Background(), deadline)
						t.Cleanup(cancel)
						return ctx
					}
					var log lines
					var wrong atomic.Bool
					wrong.Store(true)
					cfg := srv.Config()
					transport := cfg.Transporter.(*http.Transport).Clone()
					right := transport.DialContext
					transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
						if wrong.Load() {
							return nil, fault
						}
						return right(ctx, network, address)
					}
					cfg.Transporter = transport
					c, err := snowtether.NewConnector(cfg, logTo(&log))
					if err != nil {
						t.Fatal(err)
					}
					db := sql.OpenDB(c)
					defer db.Close()
					var callers sync.WaitGroup
					for range 3 {
						callers.Go(func() {
							begun := time.Now()
							err := db.PingContext(call())
							if d := time.Since(begun); err == nil || d > 20*time.Second || !strings.Contains(err.Error(), "check the account name") || !strings.Contains(err.Error(), fault.Error()) {
								t.Errorf("after %v: %v", d, err)
							}
							if snowtether.Classify(err) != snowtether.ClassTransient || errors.Is(err, context.DeadlineExceeded) {
								t.Errorf("class %s: %v", snowtether.Classify(err), err)
							}
						})
					}
					callers.Wait()
					if log.Count("outage_began") != 1 || log.Count("for=20s") != 1 {
						t.Error("the log does not say for how long it tries")
					}
					wrong.Store(false)
					if err := db.PingContext(call()); err != nil { // at the next step of the back-off
						t.Fatalf("once the name is right: %v", err)
					}
					srv.AbortSessions()
					wrong.Store(true)
					transport.CloseIdleConnections()
					time.AfterFunc(time.Minute, func() { wrong.Store(false) })
					if err := db.PingContext(call()); err != nil {
						t.Errorf("an outage of a minute, later: %v", err)
					}
				})
			})
		}
	}
}

// TestHangingLoginIsBounded: by a minute, not by gosnowflake's 900 s.
func TestHangingLoginIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db, _ := connect(t, srv.Config())
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: time.Hour}, r.Kind == snowtest.RequestLogin
		})
		begun := time.Now()
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("the login after the one that hung: %v", err)
		}
		if took := time.Since(begun); took < time.Minute || took > 62*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestRunningSpendsNoPatience: a read finds its session dead, gets another one
// within a second, and runs there for 3 minutes; then that session ends. It has waited
// for nothing, but the budget of 2 minutes is taken to be gone (patience.since is the
// first failure's, and nothing renews it when a login or a question has succeeded): it
// fails with "budget over" and not one login is tried. Right: patience counts what was
// waited for, or is renewed when Snowflake was reached.
func TestRunningSpendsNoPatience(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, snowtether.WithResume(false))
		slowly(srv, "FROM big", 4*time.Minute, snowtest.Rows([]string{"N"}, []any{1}), nil)
		srv.AbortSessions()
		abortAt(srv, 3*time.Minute)
		begun := time.Now()
		if err := drain(db.QueryContext(context.Background(), "SELECT n FROM big")); err != nil {
			t.Errorf("after %v and %d logins: %v", time.Since(begun), srv.Stats().Logins, err)
		}
	})
}
