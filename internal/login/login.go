// Package login is about one login: the context that gosnowflake is handed for it (what bounds
// it, what ends it, and what its end hides), and what a Config says of its credential and of
// the person who takes part.
//
//lint:file-ignore SA1019 gosnowflake calls its time-outs deprecated, but has no others
package login

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// A Context is the context of one login. It carries the values of the
// caller's context but does not end with it, is bounded by itself, and once the
// login has succeeded it has not ended: gosnowflake looks at it one last time after
// the login, and then would drop the session without logging it out. Contexts that
// are derived from it end with the one inside it, which stays ended: of a parent that
// has ended and then has not, package context makes a panic.
type Context struct {
	inner  context.Context
	cancel context.CancelFunc
	timer  *time.Timer
	unhook func() bool
	twice  bool // gosnowflake has reason to try again by itself

	late chan struct{} // closed when the time is up, also after the login has succeeded

	mu       sync.Mutex
	err      error
	in       bool          // the login has succeeded
	answered bool          // Snowflake has refused the login
	after    time.Duration // and may take one after that
	denied   bool          // and that has ended the context
}

// maxLogin bounds an attempt that hangs, below gosnowflake's client timeout of
// 900 s. A login in which a person takes part has as long as LoginTimeout says. When
// the connector is closed there is a part of Close's time left: a login that is cut off
// may have opened a session, and nobody could log it out.
const maxLogin = time.Minute

// New makes the context of a login with this Config, nil for one of which nothing is known,
// and with the values of another context. Once stopped has ended there is rest left.
func New(values, stopped context.Context, cfg *gosnowflake.Config, rest time.Duration) *Context {
	l := &Context{late: make(chan struct{})}
	l.inner, l.cancel = context.WithCancel(values)
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
		l.end(ErrTimeout)
		close(l.late)
	})
	l.unhook = context.AfterFunc(stopped, func() {
		if l.timer.Stop() {
			l.timer.Reset(rest)
		}
	})
	return l
}

// ErrTimeout is that the time was up.
var ErrTimeout = fmt.Errorf("the login was not answered in time: %w", context.DeadlineExceeded)

// Deadline is none: the time that there is may change while it passes.
func (l *Context) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is closed when the login has ended without success.
func (l *Context) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in {
		return nil
	}
	return l.inner.Done()
}

// Err is why the login has ended, and nil once it has succeeded.
func (l *Context) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in {
		return nil
	}
	return l.err
}

// Late is closed when the time is up, also after the login has succeeded.
func (l *Context) Late() <-chan struct{} { return l.late }

func (l *Context) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in || l.err != nil {
		return
	}
	l.err = err
	l.cancel()
}

// Succeeded is called when the tokens arrive.
func (l *Context) Succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in = true
}

// Refused is called when the login is refused. gosnowflake sends some of them
// once more with the same token (390303, 390318, whatever the authenticator), and
// each is a step towards the user's being locked out. Ending the context stops
// that; for the flows in which gosnowflake fetches a token itself it stays.
func (l *Context) Refused() {
	l.mu.Lock()
	l.answered, l.denied = true, !l.twice
	l.mu.Unlock()
	if !l.twice {
		l.end(context.Canceled)
	}
}

// Value finds the login in the context of its requests.
func (l *Context) Value(key any) any {
	if key == (contextKey{}) {
		return l
	}
	return l.inner.Value(key)
}

// contextKey finds a login's context in that of its request.
type contextKey struct{}

// Advise takes note of the time after which the server lets the login of this request be
// sent again.
func Advise(request context.Context, after time.Duration) {
	l, ok := request.Value(contextKey{}).(*Context)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.after = max(after, time.Nanosecond)
}

// WasRefused reports whether Snowflake has refused the login.
func (l *Context) WasRefused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered
}

// Explain puts back what ending the context hid: the context's end is all that
// gosnowflake reports of a login that it would have sent again. number is Snowflake's in the
// error, or 0.
func (l *Context) Explain(err error, number int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.after > 0 {
		err = &turnedAwayError{l.after, err}
	}
	switch {
	case l.denied && number == 0 && errors.Is(err, context.Canceled):
		return &gosnowflake.SnowflakeError{
			Number:   codeInvalidToken,
			SQLState: gosnowflake.SQLStateConnectionRejected,
			Message:  "the token was refused as invalid (390303) or expired (390318)",
		}
	case l.err == ErrTimeout && !errors.Is(err, ErrTimeout): // identity is meant
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}

const codeInvalidToken = 390303

// Release is called when the login is over.
func (l *Context) Release() {
	l.unhook()
	l.timer.Stop()
}

// A turnedAwayError is a login that was answered 429 or 503 with the time after which it may
// be sent again.
type turnedAwayError struct {
	after time.Duration
	err   error
}

func (e *turnedAwayError) Error() string { return e.err.Error() }
func (e *turnedAwayError) Unwrap() error { return e.err }

// RetryAfter is how long a login that failed is not sent again by the server's own word, 0
// where it gave none.
func RetryAfter(err error) time.Duration {
	var e *turnedAwayError
	if errors.As(err, &e) {
		return e.after
	}
	return 0
}
