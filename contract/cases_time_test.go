package contract_test

import (
	"context"
	"database/sql"
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
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about how long a call may take while Snowflake cannot be reached.

// caseNoLogins makes each login fail, until it is told otherwise.
func caseNoLogins(srv *snowtest.Server) *atomic.Bool {
	on := new(atomic.Bool)
	on.Store(true)
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{Status: 503}, r.Kind == snowtest.RequestLogin && on.Load()
	})
	return on
}

// caseBudget checks the error of a call whose caller had no deadline.
func caseBudget(t *testing.T, err error, waited, most time.Duration) {
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
					db := casePool(t, srv, n)
					srv.AbortSessions()
					time.Sleep(idle)
					caseNoLogins(srv)
					for _, use := range caseUses {
						begun := time.Now()
						caseBudget(t, use.run(context.Background(), db, caseRow(1)), time.Since(begun), 150*time.Second)
					}
					begun := time.Now()
					_, err := db.BeginTx(context.Background(), nil)
					caseBudget(t, err, time.Since(begun), 150*time.Second)
					begun = time.Now()
					caseBudget(t, db.PingContext(context.Background()), time.Since(begun), 150*time.Second)
				}, snowtest.AllowOpenSessions())
			})
		}
	}
}

// TestCrowdWaitsForOneBudget: who has waited in database/sql for a connection, for those
// before them, is told at once. New callers wait again, and see the end of the outage.
// Before: 42 minutes for 20 callers on 8 connections.
func TestCrowdWaitsForOneBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := casePool(t, srv, 8)
		srv.AbortSessions()
		outage := caseNoLogins(srv)
		begun := time.Now()
		var callers sync.WaitGroup
		for i := range 20 {
			callers.Go(func() {
				if _, err := db.ExecContext(context.Background(), caseRow(i)); err == nil {
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
		if _, err := db.ExecContext(context.Background(), caseRow(100)); err != nil {
			t.Errorf("a new caller: %v", err)
		}
	}, snowtest.AllowOpenSessions())
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
					var log caseBuffer
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
					c, err := snowtether.NewConnector(cfg, caseLog(&log))
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
					if log.count("outage_began") != 1 || log.count("for=20s") != 1 {
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

// TestPatienceIsRenewedWhenAnOutageIsOver: each cut has a budget of its own.
func TestPatienceIsRenewedWhenAnOutageIsOver(t *testing.T) {
	for name, outage := range map[string]func(srv *snowtest.Server) (ends func()){
		"the network is cut": func(srv *snowtest.Server) func() {
			srv.Disconnect()
			return srv.Reconnect
		},
		"the session ends and logins fail": func(srv *snowtest.Server) func() {
			srv.AbortSessions()
			on := caseNoLogins(srv)
			return func() { on.Store(false) }
		},
	} {
		for _, use := range caseUses {
			t.Run(name+"/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					conn := casePin(t, casePool(t, srv, 1, snowtether.WithConnectBudget(10*time.Minute)))
					slowly(srv, "^UPDATE", 6*time.Hour, caseCount(snowtest.KindUpdate, "updated", 1), nil)
					for _, at := range []time.Duration{time.Hour, 3 * time.Hour, 5 * time.Hour} {
						time.AfterFunc(at, func() { time.AfterFunc(5*time.Minute, outage(srv)) })
					}
					if err := use.run(context.Background(), conn, "UPDATE t SET n = 1"); err != nil {
						t.Error(err)
					}
					caseSum(t, srv, "UPDATE t SET n = 1", 1, 1)
				}, snowtest.AllowOpenSessions())
			})
		}
	}
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
			db := casePool(t, srv, 8)
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
						_, _ = tx.ExecContext(ctx, caseRow(i))
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
			db := casePool(t, srv, 1)
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
				_, _ = tx.ExecContext(ctx, caseRow(1))
				panic("mine")
			})
		}, snowtest.AllowOpenSessions())
	})
}

// TestTransactionGivenUpBecauseACancellingHangsIsLost: RunTx repeats it.
// Before: a bare internal error.
func TestTransactionGivenUpBecauseACancellingHangsIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		tx := caseBegin(t, casePool(t, srv, 1))
		caseExec(t, tx, caseRow(1))
		held := make(chan struct{})
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Hold: held}, r.Kind == snowtest.RequestAbort || r.Kind == snowtest.RequestQuery && r.SQL == caseRow(2)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := tx.ExecContext(ctx, caseRow(2))
		caseLost(t, err, true)
		_, err = tx.ExecContext(t.Context(), caseRow(3))
		caseLost(t, err, true)
		caseLost(t, tx.Commit(), true)
		close(held)
	}, snowtest.AllowOpenSessions())
}
