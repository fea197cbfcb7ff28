package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// The program's own functions (docs/guarantees.md): where two of them meet, or one of them and a
// caller who has no time, or Close.

// errorHandler is a log handler for lines at Error alone.
type errorHandler struct{ logHandler }

func (errorHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

// TestBackOffThatFailsWhereItCannotBeLoggedHarmsNobody: the line about it is the log
// handler's business like any other.
// Before: a handler that blocked held up all logins for ever, one that panicked ended the
// process.
func TestBackOffThatFailsWhereItCannotBeLoggedHarmsNobody(t *testing.T) {
	for misdeed, do := range misdeeds {
		for name, handler := range map[string]slog.Handler{"every line": logHandler{do}, "lines at Error": errorHandler{logHandler{do}}} {
			t.Run(misdeed+" at "+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					defer time.Sleep(24 * time.Hour) // for what blocks
					c, err := snowtether.NewConnector(srv.Config(), snowtether.WithLogger(slog.New(handler)),
						snowtether.WithBackOff(func() backoff.BackOff { panic("s3cret") }))
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					end := noLogins(srv)
					time.AfterFunc(3*time.Second, func() { end.Store(false) })
					for range 2 {
						begun := time.Now()
						conn, err := c.Connect(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						if took := time.Since(begun); took > 30*time.Second {
							t.Errorf("the login took %v", took)
						}
						if err := conn.Close(); err != nil {
							t.Error(err)
						}
					}
				})
			})
		}
	}
}

// TestLogHandlerKeepsNoEventFromTheHook: each event is for both.
// Before: a handler that ended its goroutine took every event with it.
func TestLogHandlerKeepsNoEventFromTheHook(t *testing.T) {
	for misdeed, do := range map[string]func(){"panics": func() { panic("s3cret") }, "ends its goroutine": runtime.Goexit} {
		t.Run(misdeed, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var j journal
				db := poolOf(t, srv.Config(), 3, snowtether.WithEventHook(j.hook), snowtether.WithLogger(slog.New(logHandler{do})))
				if err := db.PingContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				if n := len(j.of(snowtether.EventOpened)); n != 3 {
					t.Errorf("the hook has seen %d of 3 sessions open", n)
				}
			})
		})
	}
}

// TestCallerWithADeadlineWaitsForNoFunction: each is slow, but not so slow that it is given up.
// Before: a caller with 100 ms waited for up to a second for each event.
func TestCallerWithADeadlineWaitsForNoFunction(t *testing.T) {
	for name := range misbehaving(nil, nil) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var slow atomic.Bool
				db := poolOf(t, srv.Config(), 1, misbehaving(srv, func() {
					if slow.Load() {
						time.Sleep(900 * time.Millisecond)
					}
				})[name]...)
				slow.Store(true)
				srv.AbortSessions()
				end := noLogins(srv)
				defer end.Store(false)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				begun := time.Now()
				err := db.PingContext(ctx)
				if took := time.Since(begun); err == nil || took > 100*time.Millisecond {
					t.Errorf("a caller with 100 ms waited for %v: %v", took, err)
				}
			}, snowtest.WithToken(func(string) error { return nil }))
		})
	}
}

// TestCloseEndsLoginsThatWaitForAFunction: nobody needs what it is asked for any more.
// Before: callers without a deadline waited for up to a minute after Close.
func TestCloseEndsLoginsThatWaitForAFunction(t *testing.T) {
	for name, opt := range map[string]snowtether.Option{
		"hook": snowtether.WithBeforeConnect(func(ctx context.Context, _ *gosnowflake.Config) error {
			<-ctx.Done()
			return ctx.Err()
		}),
		"deaf hook": snowtether.WithBeforeConnect(func(context.Context, *gosnowflake.Config) error {
			time.Sleep(time.Hour)
			return nil
		}),
		"token source": snowtether.WithTokenSource(tokenFunc(func() (*oauth2.Token, error) {
			time.Sleep(time.Hour)
			return nil, context.Canceled
		})),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				c, err := snowtether.NewConnector(srv.Config(), logTo(srv.Log()), opt)
				if err != nil {
					t.Fatal(err)
				}
				var callers sync.WaitGroup
				for range 3 {
					callers.Go(func() {
						if _, err := c.Connect(context.Background()); err == nil {
							t.Error("a login of a closed connector succeeded")
						}
					})
				}
				time.Sleep(time.Second)
				begun := time.Now()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				callers.Wait()
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("the last caller waited for %v after Close", took)
				}
			})
		})
	}
}

// TestCloseInAHookDoesNotWaitForItself: for the login that the hook is a part of.
// Before: it waited for 10 s, and said that 0 sessions had been left.
func TestCloseInAHookDoesNotWaitForItself(t *testing.T) {
	for name, opt := range map[string]func(close func()) snowtether.Option{
		"before the login": func(close func()) snowtether.Option {
			return snowtether.WithBeforeConnect(func(context.Context, *gosnowflake.Config) error { close(); return nil })
		},
		"after the login": func(close func()) snowtether.Option {
			return snowtether.WithAfterConnect(func(context.Context, driver.Conn) error { close(); return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				var db *sql.DB
				closed := make(chan struct{})
				c, err := snowtether.NewConnector(srv.Config(), logTo(srv.Log()), opt(func() {
					begun := time.Now()
					err := db.Close()
					if took := time.Since(begun); err != nil || took > time.Second {
						t.Errorf("it took %v: %v", took, err)
					}
					close(closed)
				}))
				if err != nil {
					t.Fatal(err)
				}
				db = sql.OpenDB(c)
				if err := db.PingContext(t.Context()); err == nil {
					t.Error("a login of a closed connector succeeded")
				}
				<-closed
				time.Sleep(time.Minute) // for the log-out, for which nobody waits
			})
		})
	}
}

// TestEventsComeInTheirOrder: also where what happens next happens to another login while
// the hook is still at the last event.
// Before: the last word about the credential was "accepted", 0.8 s after it was refused.
func TestEventsComeInTheirOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		c, err := snowtether.NewConnector(srv.Config(), logTo(srv.Log()), snowtether.WithAuthCooldown(time.Second), snowtether.WithEventHook(func(e snowtether.Event) {
			j.hook(e)
			if e.Kind == snowtether.EventSuspensionEnded {
				time.Sleep(800 * time.Millisecond)
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		loginTimes(srv, snowtest.Fault{Code: "390100", Message: "no"}, snowtest.Fault{Status: 503}, snowtest.Fault{}, snowtest.Fault{Code: "390100", Message: "no"})
		_, _ = c.Connect(t.Context())
		time.Sleep(2 * time.Second)
		var callers sync.WaitGroup
		for range 2 {
			callers.Go(func() {
				if conn, err := c.Connect(t.Context()); err == nil {
					_ = conn.Close()
				}
			})
		}
		callers.Wait()
		time.Sleep(2 * time.Second)
		var kinds []snowtether.EventKind
		heard := j.heard()
		for i, e := range heard {
			if i > 0 && e.Time.Before(heard[i-1].Time) {
				t.Errorf("%s of %v comes after %s of %v", e.Kind, e.Time, heard[i-1].Kind, heard[i-1].Time)
			}
			switch e.Kind {
			case snowtether.EventLoginSuspended, snowtether.EventSuspensionEnded, snowtether.EventOutageBegan:
				kinds = append(kinds, e.Kind)
			}
		}
		want := []snowtether.EventKind{snowtether.EventLoginSuspended, snowtether.EventOutageBegan, snowtether.EventSuspensionEnded, snowtether.EventLoginSuspended}
		if !slices.Equal(kinds, want) {
			t.Errorf("the hook has seen %v, want %v", kinds, want)
		}
	})
}

// TestRefusalIsNotForgottenByALoginBeforeIt: that one was taken, and its session is still
// being set up, when Snowflake refuses the next with the same credentials.
// Before: the first lifted the suspension of the second as soon as it was ready, and said so.
func TestRefusalIsNotForgottenByALoginBeforeIt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		ready, setUps := make(chan struct{}), make(chan struct{}, 4)
		c, err := snowtether.NewConnector(srv.Config(), logTo(srv.Log()), snowtether.WithAuthCooldown(time.Minute), snowtether.WithEventHook(j.hook),
			snowtether.WithAfterConnect(func(context.Context, driver.Conn) error {
				setUps <- struct{}{}
				<-ready
				return nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		refused := snowtest.Fault{Code: "390100", Message: "no"}
		times := loginTimes(srv, refused, snowtest.Fault{}, refused)
		connect := func() error {
			conn, err := c.Connect(t.Context())
			if err == nil {
				_ = conn.Close()
			}
			return err
		}
		if err := connect(); number(err) != 390100 {
			t.Errorf("the first login: %v", err)
		}
		time.Sleep(time.Minute)
		first := make(chan error)
		go func() { first <- connect() }()
		<-setUps
		if err := connect(); number(err) != 390100 {
			t.Errorf("the login while the other session is set up: %v", err)
		}
		close(ready)
		if err := <-first; err != nil {
			t.Errorf("the login whose session was set up: %v", err)
		}
		if err := connect(); !errors.Is(err, snowtether.ErrLoginSuspended) {
			t.Errorf("after the refusal: %v, want ErrLoginSuspended", err)
		}
		if n := len(times()); n != 3 {
			t.Errorf("%d logins were sent, want 3", n)
		}
		if state := c.Snapshot().Gate.State; state != snowtether.GateSuspended {
			t.Errorf("the gate is %v, want %v", state, snowtether.GateSuspended)
		}
		var kinds []snowtether.EventKind
		for _, e := range j.heard() {
			if e.Kind == snowtether.EventLoginSuspended || e.Kind == snowtether.EventSuspensionEnded {
				kinds = append(kinds, e.Kind)
			}
		}
		if want := []snowtether.EventKind{snowtether.EventLoginSuspended, snowtether.EventSuspensionEnded, snowtether.EventLoginSuspended}; !slices.Equal(kinds, want) {
			t.Errorf("the hook has seen %v, want %v", kinds, want)
		}
	})
}

// leavingDriver ends the goroutine of whoever executes something.
type leavingDriver struct{}

func (leavingDriver) Connect(context.Context) (driver.Conn, error) { return leavingDriver{}, nil }
func (leavingDriver) Driver() driver.Driver                        { return nil }
func (leavingDriver) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("no") }
func (leavingDriver) Begin() (driver.Tx, error)                    { return nil, errors.New("no") }
func (leavingDriver) Close() error                                 { return nil }
func (leavingDriver) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	runtime.Goexit()
	return nil, nil
}

// TestStatementThatEndsItsGoroutineIsNotUnderWayForEver: a mock of a test does that.
func TestStatementThatEndsItsGoroutineIsNotUnderWayForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := snowtether.WrapConnector(leavingDriver{}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		over := make(chan struct{})
		go func() {
			defer close(over)
			_, _ = db.ExecContext(context.Background(), "INSERT INTO t VALUES (1)")
		}()
		<-over
		synctest.Wait()
		if s := c.Snapshot(); s.Waiting.Statements != 0 || len(s.Sessions) != 0 {
			t.Errorf("%d statements are under way, in %d sessions", s.Waiting.Statements, len(s.Sessions))
		}
		_ = db.Close()
	})
}
