package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// The program's own functions (docs/guarantees.md): whatever one of them does, it harms nobody
// else, and it may look at its connector and use other pools.

// misdeeds are what a function may do in place of what it is for.
var misdeeds = map[string]func(){
	"panics":                func() { panic("s3cret") },
	"panics with nil error": func() { panic(error(nil)) },
	"ends its goroutine":    func() { runtime.Goexit() },
	"blocks for an hour":    func() { time.Sleep(time.Hour) },
}

// backOff is a back-off of a program's.
type backOff func() time.Duration

func (f backOff) NextBackOff() time.Duration { return f() }
func (f backOff) Reset()                     {}

// misbehaving are the functions that a program hands over, each with what it does first.
func misbehaving(srv *snowtest.Server, do func()) map[string][]snowtether.Option {
	log := logTo(io.Discard)
	return map[string][]snowtether.Option{
		"back-off": {log, snowtether.WithBackOff(func() backoff.BackOff {
			return backOff(func() time.Duration { do(); return time.Second })
		})},
		"maker of back-offs": {log, snowtether.WithBackOff(func() backoff.BackOff {
			do()
			return backoff.NewConstantBackOff(time.Second)
		})},
		"event hook":  {log, snowtether.WithEventHook(func(snowtether.Event) { do() })},
		"log handler": {snowtether.WithLogger(slog.New(logHandler{do}))},
		"token source": {log, snowtether.WithTokenSource(tokenFunc(func() (*oauth2.Token, error) {
			do()
			return &oauth2.Token{AccessToken: srv.Token()}, nil
		}))},
		"hook before the login": {log, snowtether.WithBeforeConnect(func(context.Context, *gosnowflake.Config) error { do(); return nil })},
		"hook after the login":  {log, snowtether.WithAfterConnect(func(context.Context, driver.Conn) error { do(); return nil })},
	}
}

// TestFunctionThatMisbehavesHarmsNobodyElse: one call of it does, during an outage in which
// sessions are lost; then each caller is served. Before: a panic in a back-off or a log
// handler ended the process, runtime.Goexit in an event hook all logins.
func TestFunctionThatMisbehavesHarmsNobodyElse(t *testing.T) {
	for misdeed, do := range misdeeds {
		for name := range misbehaving(nil, nil) {
			for _, on := range []int64{1, 2, 5} {
				t.Run(name+" "+misdeed, func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						var armed atomic.Bool
						var n atomic.Int64
						opts := misbehaving(srv, func() {
							if armed.Load() && n.Add(1) == on {
								do()
							}
						})[name]
						cfg := srv.Config()
						db := poolOf(t, cfg, 8, opts...)
						srv.AbortSessions()
						end := noLogins(srv)
						time.AfterFunc(20*time.Second, func() { end.Store(false) })
						armed.Store(true)
						var wg sync.WaitGroup
						var failed atomic.Int64
						begun := time.Now()
						for i := range 16 {
							wg.Go(func() {
								if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
									failed.Add(1)
									if strings.Contains(err.Error(), "s3cret") {
										t.Error(err)
									}
									return
								}
								checkRan(t, srv, row(i), 1, 1)
							})
						}
						wg.Wait()
						// Those who waited for the credential, or for the session, that the
						// function did not make.
						if failed.Load() > 1 && !strings.Contains(name, "token") || failed.Load() > 15 {
							t.Errorf("%d of 16 failed", failed.Load())
						}
						if took := time.Since(begun); took > 3*time.Minute {
							t.Errorf("the last came back after %v", took)
						}
						for i := range 8 {
							if _, err := db.ExecContext(t.Context(), row(100+i)); err != nil {
								t.Errorf("afterwards: %v", err)
							}
						}
						time.Sleep(2 * time.Hour)
					}, snowtest.WithToken(func(string) error { return nil }))
				})
			}
		}
	}
}

// TestFunctionsMayLookAtTheirConnector: no lock is held. Before: a back-off that asked for a
// Snapshot stopped the pool for ever.
func TestFunctionsMayLookAtTheirConnector(t *testing.T) {
	for name := range misbehaving(nil, nil) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var c *snowtether.Connector
				var looked atomic.Int64
				opts := misbehaving(srv, func() {
					if c != nil {
						c.Snapshot()
						c.Stats()
						looked.Add(1)
					}
				})[name]
				cfg := srv.Config()
				c, err := snowtether.NewConnector(cfg, opts...)
				if err != nil {
					t.Fatal(err)
				}
				db := testpool.OpenConnector(t, c, 4)
				srv.AbortSessions()
				end := noLogins(srv)
				time.AfterFunc(20*time.Second, func() { end.Store(false) })
				for i := range 8 {
					if _, err := db.ExecContext(t.Context(), row(i)); err != nil {
						t.Error(err)
					}
				}
				if looked.Load() == 0 {
					t.Error("it was never called")
				}
			}, snowtest.WithToken(func(string) error { return nil }))
		})
	}
}

// TestFunctionThatUsesItsOwnPoolIsToldAtOnce: where it needs a login, each would wait for the
// other. Before: its deadline.
func TestFunctionThatUsesItsOwnPoolIsToldAtOnce(t *testing.T) {
	for name := range misbehaving(nil, nil) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var db *sql.DB
				var n atomic.Int64
				var told atomic.Pointer[error]
				opts := misbehaving(srv, func() {
					if db == nil || n.Add(1) != 1 {
						return
					}
					begun := time.Now()
					ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
					defer cancel()
					conn, err := db.Conn(ctx)
					if err == nil {
						_ = conn.Close()
					}
					told.Store(&err)
					if took := time.Since(begun); took != 0 {
						t.Errorf("it was told after %v", took)
					}
				})[name]
				cfg := srv.Config()
				c, err := snowtether.NewConnector(cfg, opts...)
				if err != nil {
					t.Fatal(err)
				}
				pool := sql.OpenDB(c)
				defer pool.Close()
				db = pool
				end := noLogins(srv) // for the back-off's sake
				time.AfterFunc(3*time.Second, func() { end.Store(false) })
				for range 2 {
					if err := pool.PingContext(t.Context()); err != nil {
						t.Error(err)
					}
					srv.AbortSessions()
				}
				time.Sleep(time.Minute)
				err = errors.New("never called")
				if e := told.Load(); e != nil {
					err = *e
				}
				if err == nil || !strings.Contains(err.Error(), "a pool of its own") {
					t.Errorf("error is %v", err)
				}
			}, snowtest.WithToken(func(string) error { return nil }))
		})
	}
}

// TestHookMayUseAnotherPool: also another of this driver's.
func TestHookMayUseAnotherPool(t *testing.T) {
	for name := range misbehaving(nil, nil) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				other := pool(t, srv, 1)
				var n atomic.Int64
				opts := misbehaving(srv, func() {
					if n.Add(1) == 1 {
						srv.AbortSessions()
						if err := other.Ping(); err != nil {
							t.Error(err)
						}
					}
				})[name]
				db := poolOf(t, srv.Config(), 1, opts...)
				if err := db.PingContext(t.Context()); err != nil {
					t.Error(err)
				}
			}, snowtest.WithToken(func(string) error { return nil }))
		})
	}
}

// TestHookThatEndsItsGoroutineEndsNothingElse: neither the login nor Close waits for it.
func TestHookThatEndsItsGoroutineEndsNothingElse(t *testing.T) {
	srv := snowtest.New(t) // no bubble: what is left behind would be a deadlock in it
	var n atomic.Int32
	c, err := snowtether.NewConnector(srv.Config(), logTo(io.Discard), snowtether.WithAfterConnect(func(context.Context, driver.Conn) error {
		if n.Add(1) == 1 {
			runtime.Goexit()
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err = db.ExecContext(ctx, "SELECT 1"); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("db.Close: %v", err)
	}
}

// TestPanicOfTheHookDoesNoHarm: it is logged once, without its value, which may be
// anything.
func TestPanicOfTheHookDoesNoHarm(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var log lines
		db := pool(t, srv, 4, snowtether.WithLogger(newLogger(&log)), snowtether.WithEventHook(func(snowtether.Event) { panic("s3cret") }))
		srv.AbortSessions()
		everyone(t, db, 4, 2)
		if n := strings.Count(log.String(), "panicked or did not return"); n != 1 || strings.Contains(log.String(), "s3cret") {
			t.Errorf("%d lines about it:\n%s", n, log.String())
		}
	})
}

// An accessor is a program's own gosnowflake.TokenAccessor, which knows whether it
// is locked.
type accessor struct {
	tokenStore
	locked atomic.Bool
}

func (a *accessor) Lock() error {
	err := a.tokenStore.Lock()
	a.locked.Store(true)
	return err
}

func (a *accessor) Unlock() {
	a.locked.Store(false)
	a.tokenStore.Unlock()
}

// TestHookOfARenewalHoldsNobodyUp: it is called when the next one may begin.
func TestHookOfARenewalHoldsNobodyUp(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var own accessor
		cfg := srv.Config()
		cfg.TokenAccessor = &own
		renewed := 0
		db, _ := connect(t, cfg, snowtether.WithEventHook(func(e snowtether.Event) {
			if e.Kind == snowtether.EventRenewed {
				renewed++
				if own.locked.Load() {
					t.Error("the hook is called in the middle of the renewal")
				}
			}
		}))
		mustPing(t, db)
		srv.ExpireSessionTokens()
		mustPing(t, db)
		if renewed != 1 {
			t.Errorf("%d renewals were heard of", renewed)
		}
	})
}

// TestSlowHookHoldsNobodyAtTheGate: it holds up whoever it happened to.
func TestSlowHookHoldsNobodyAtTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		release := make(chan struct{})
		var first atomic.Bool
		db, _ := connect(t, srv.Config(), snowtether.WithEventHook(func(e snowtether.Event) {
			if e.Kind == snowtether.EventOutageBegan && !first.Swap(true) {
				<-release
			}
		}))
		outage(srv, time.Second, unavailable)
		met := make(chan error, 1)
		go func() { met <- db.PingContext(t.Context()) }()
		time.Sleep(2 * time.Second)
		if err := db.PingContext(within(t, time.Minute)); err != nil {
			t.Errorf("another login: %v", err)
		}
		close(release)
		if err := <-met; err != nil {
			t.Error(err)
		}
	})
}

// TestHookMayCloseTheConnector: also where closing it is what happens.
func TestHookMayCloseTheConnector(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var c *snowtether.Connector
		c, err := snowtether.NewConnector(srv.Config(), quiet, snowtether.WithEventHook(func(e snowtether.Event) {
			if e.Kind == snowtether.EventCloseTimedOut {
				_ = c.Close()
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		stall(srv, snowtest.RequestLogout, time.Minute)
		if db.Close() == nil {
			t.Error("Close says nothing of the session that it left")
		}
		time.Sleep(time.Hour)
	})
}
