//lint:file-ignore SA1019 gosnowflake calls its time-outs deprecated, but has no others

package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file has what gosnowflake is handed for the login and the life of one
// session: the holder of its tokens, which sees the login and the renewals go by,
// and the context of the login.

// A tokenWatcher holds the tokens of one session for gosnowflake and sees the
// login and every renewal go by.
type tokenWatcher struct {
	connector *Connector
	own       gosnowflake.TokenAccessor // the program's own, if its Config had one
	login     *loginContext

	renewing chan struct{}         // full during a renewal; no mutex, because virtual time stands still while one is waited for
	watch    atomic.Pointer[watch] // of the statement under way

	mu              sync.Mutex
	session, master string
	sessionID       int64
	loggedIn        bool
	issued          time.Time // of the session token, by the settings' clock
	renewed         *Event    // to be made known once the lock of the renewal is free
	locked          bool      // a renewal is under way that Lock was called for
	unlocked        int       // renewals without Lock, one soon after the other
}

var _ gosnowflake.TokenAccessor = (*tokenWatcher)(nil)

// unsendable is a token that net/http refuses to send.
const unsendable = "\x00"

// GetTokens is called by gosnowflake for each request.
//
// Where gosnowflake cancels a statement it renews without Lock, and as often as
// the server refuses the token. Nothing but a renewal that fails ends that.
func (w *tokenWatcher) GetTokens() (token, master string, sessionID int64) {
	w.mu.Lock()
	token, master, sessionID = w.session, w.master, w.sessionID
	loop := !w.locked && w.unlocked > maxRenewals && elapsed(w.issued, w.connector.settings.now()) < loopWithin
	w.mu.Unlock()
	if w.own != nil {
		token, master, sessionID = w.own.GetTokens()
	}
	if loop {
		master = unsendable
	}
	return token, master, sessionID
}

// loopWithin is how soon one renewal follows the other where the server refuses each
// token. A session token is good for an hour.
const loopWithin = 10 * time.Minute

// SetTokens is called by gosnowflake with what a login or a renewal brought, and
// with empty tokens when a login was refused.
func (w *tokenWatcher) SetTokens(token, master string, sessionID int64) {
	if w.own != nil {
		w.own.SetTokens(token, master, sessionID)
	}
	w.mu.Lock()
	w.session, w.master, w.sessionID = token, master, sessionID
	now, before := w.connector.settings.now(), w.loggedIn
	refused := token == "" && sessionID == -1
	w.loggedIn = before || !refused
	if before {
		w.renewed = &Event{Kind: EventRenewed, SessionID: max(sessionID, 0)}
		if !w.issued.IsZero() {
			w.renewed.Duration = elapsed(w.issued, now)
		}
		if w.unlocked++; w.locked || w.renewed.Duration > loopWithin {
			w.unlocked = 0
		}
	}
	w.issued = now
	w.mu.Unlock()
	switch {
	case !before && refused:
		w.login.refused()
	case !before:
		w.login.succeeded()
	}
}

func (w *tokenWatcher) issuedAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.issued
}

// Lock is called by gosnowflake before a renewal; an error ends the statement.
func (w *tokenWatcher) Lock() error {
	if err := w.lock(); err != nil {
		return err
	}
	if watch := w.watch.Load(); watch != nil {
		if err := watch.mayRenew(); err != nil {
			w.Unlock()
			return err
		}
	}
	return nil
}

func (w *tokenWatcher) lock() error {
	if w.own == nil {
		w.renewing <- struct{}{}
	} else if err := w.own.Lock(); err != nil {
		return err
	}
	w.mu.Lock()
	w.locked = true
	w.mu.Unlock()
	return nil
}

// Unlock is called by gosnowflake after a renewal.
func (w *tokenWatcher) Unlock() {
	w.mu.Lock()
	renewed := w.renewed
	w.renewed, w.locked = nil, false
	w.mu.Unlock()
	if w.own != nil {
		w.own.Unlock()
	} else {
		<-w.renewing
	}
	if renewed != nil {
		w.connector.emit(context.Background(), *renewed)
	}
}

// A loginContext is the context of one login. It carries the values of the
// caller's context but does not end with it, is bounded by itself, and once the
// login has succeeded it has not ended: gosnowflake looks at it one last time after
// the login, and then would drop the session without logging it out. Contexts that
// are derived from it end with the embedded one, which stays ended: of a parent that
// has ended and then has not, package context makes a panic.
type loginContext struct {
	context.Context
	cancel context.CancelFunc
	timer  *time.Timer
	unhook func() bool
	twice  bool // gosnowflake has reason to try again by itself

	late chan struct{} // closed when the time is up, also after the login has succeeded

	mu     sync.Mutex
	err    error
	in     bool // the login has succeeded
	denied bool // the login was refused
}

// maxLogin bounds an attempt that hangs, below gosnowflake's client timeout of
// 900 s. A login in which a person takes part has as long as LoginTimeout says. When
// the connector is closed there is half of Close's time left: a login that is cut off
// may have opened a session, and nobody could log it out.
const maxLogin = time.Minute

func newLoginContext(values, stopped context.Context, cfg *gosnowflake.Config) *loginContext {
	l := &loginContext{late: make(chan struct{})}
	l.Context, l.cancel = context.WithCancel(values)
	bound := maxLogin
	if cfg != nil {
		switch cfg.Authenticator {
		case gosnowflake.AuthTypeExternalBrowser:
			bound = max(cfg.LoginTimeout, cfg.ExternalBrowserTimeout+maxLogin)
		case gosnowflake.AuthTypeOAuthAuthorizationCode, gosnowflake.AuthTypeOAuthClientCredentials:
			bound, l.twice = max(cfg.LoginTimeout, cfg.ExternalBrowserTimeout+maxLogin), true
		case gosnowflake.AuthTypeUsernamePasswordMFA, gosnowflake.AuthTypeOkta:
			bound = max(cfg.LoginTimeout, maxLogin)
		default:
			if cfg.LoginTimeout > 0 {
				bound = min(cfg.LoginTimeout, maxLogin)
			}
		}
	}
	l.timer = time.AfterFunc(bound, func() {
		l.end(errLoginTimeout)
		close(l.late)
	})
	l.unhook = context.AfterFunc(stopped, func() {
		if l.timer.Stop() {
			l.timer.Reset(closeTimeout / 2)
		}
	})
	return l
}

var errLoginTimeout = fmt.Errorf("the login was not answered in time: %w", context.DeadlineExceeded)

// connect logs in. gosnowflake does more than that: with the tokens in its hands it
// sends telemetry, on a context of its own, and tries that for up to an hour if the
// server hangs. It is left to that, and what it returns in the end is closed.
func (l *loginContext) connect(c *Connector, inner driver.Connector) (driver.Conn, error) {
	type returned struct {
		conn driver.Conn
		err  error
	}
	done := make(chan returned)
	left := make(chan struct{})
	c.background.Go(func() {
		conn, err := guard(l, inner.Connect)
		select {
		case done <- returned{conn, err}:
		case <-left:
			if err == nil {
				_, _ = guard(l, func(context.Context) (any, error) { return nil, conn.Close() })
			}
		}
	})
	late := l.late
	for {
		select {
		case r := <-done:
			return r.conn, r.err
		case <-late:
			if l.Err() != nil {
				late = nil // gosnowflake sees it too, and has an error that says more
				continue
			}
			close(left)
			return nil, errLoginTimeout
		}
	}
}

func (l *loginContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func (l *loginContext) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in {
		return nil
	}
	return l.Context.Done()
}

func (l *loginContext) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in {
		return nil
	}
	return l.err
}

func (l *loginContext) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in || l.err != nil {
		return
	}
	l.err = err
	l.cancel()
}

// succeeded is called when the tokens arrive.
func (l *loginContext) succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in = true
}

// refused is called when the login is refused. gosnowflake sends some of them
// once more with the same token (390303, 390318, whatever the authenticator), and
// each is a step towards the user's being locked out. Ending the context stops
// that; for the flows in which gosnowflake fetches a token itself it stays.
func (l *loginContext) refused() {
	if l.twice {
		return
	}
	l.mu.Lock()
	l.denied = true
	l.mu.Unlock()
	l.end(context.Canceled)
}

// explain puts back what ending the context hid: the context's end is all that
// gosnowflake reports of a login that it would have sent again.
func (l *loginContext) explain(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.denied && number(err) == 0 && errors.Is(err, context.Canceled):
		return &gosnowflake.SnowflakeError{
			Number:   codeInvalidToken,
			SQLState: gosnowflake.SQLStateConnectionRejected,
			Message:  "the token was refused as invalid (390303) or expired (390318)",
		}
	case l.err == errLoginTimeout && !errors.Is(err, errLoginTimeout): // identity is meant
		return fmt.Errorf("%w: %w", errLoginTimeout, err)
	}
	return err
}

const codeInvalidToken = 390303

func (l *loginContext) release() {
	l.unhook()
	l.timer.Stop()
}

// A panicError is a panic of the inner driver, turned into an error.
type panicError struct{ what string }

func (e *panicError) Error() string { return "the inner driver panicked: " + e.what }

// guard calls the inner driver, or a hook, and turns a panic into an error.
// gosnowflake panics, for example, on a server that ignores asyncExec.
func guard[T any](ctx context.Context, call func(context.Context) (T, error)) (out T, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			err = &panicError{r.Error()}
		default:
			// Its text may hold anything, also a secret.
			err = &panicError{fmt.Sprintf("a value of type %T", r)}
		}
	}()
	if out, err = call(ctx); err == nil {
		err = present(out)
	}
	return out, err
}
