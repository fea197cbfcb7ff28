//lint:file-ignore SA1019 gosnowflake calls its time-outs deprecated, but has no others

package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/http2"
	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/sferr"
)

// This file is the context that gosnowflake is handed for one login: what bounds it,
// what ends it, and what its end hides.

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

	mu       sync.Mutex
	err      error
	in       bool          // the login has succeeded
	answered bool          // Snowflake has refused the login
	after    time.Duration // and may take one after that
	denied   bool          // and that has ended the context
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
// server hangs. It is left to that, and what it returns in the end is closed. seen is
// the login's context with what watches it.
func (l *loginContext) connect(c *Connector, seen context.Context, inner driver.Connector) (driver.Conn, error) {
	type returned struct {
		conn driver.Conn
		err  error
	}
	done := make(chan returned)
	left := make(chan struct{})
	c.background.Go(func() {
		r := returned{err: program.ErrGoexit}
		defer func() {
			select {
			case done <- r:
			case <-left:
				if r.err == nil {
					_, _ = program.Guard(l, func(context.Context) (any, error) { return nil, r.conn.Close() })
				}
			}
		}()
		r.conn, r.err = program.Guard(seen, inner.Connect)
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
	l.mu.Lock()
	l.answered, l.denied = true, !l.twice
	l.mu.Unlock()
	if !l.twice {
		l.end(context.Canceled)
	}
}

// Value finds the login in the context of its requests.
func (l *loginContext) Value(key any) any {
	if key == (loginKey{}) {
		return l
	}
	return l.Context.Value(key)
}

// advise takes note of a Retry-After.
func (l *loginContext) advise(header string) {
	after, err := http2.ReadRetryAfter(header, time.Now())
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.after = max(after, time.Nanosecond)
}

// wasAnswered reports whether Snowflake has refused the login.
func (l *loginContext) wasAnswered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered
}

// explain puts back what ending the context hid: the context's end is all that
// gosnowflake reports of a login that it would have sent again.
func (l *loginContext) explain(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.after > 0 {
		err = &throttledError{l.after, err}
	}
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

// loginKey finds a login's context in that of its request.
type loginKey struct{}

// readAdvice tells a login of the Retry-After in its reply.
func readAdvice(req *http.Request, res *http.Response) {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return
	}
	if l, ok := req.Context().Value(loginKey{}).(*loginContext); ok {
		l.advise(res.Header.Get("Retry-After"))
	}
}

// isThrottled reports whether a login was turned away because there are too many.
func isThrottled(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := as[*throttledError](err); ok {
		return true
	}
	said, _ := sferr.Of(err)
	if m := lastStatus.FindStringSubmatch(err.Error()); m != nil && said.Status == 0 {
		said.Status, _ = strconv.Atoi(m[1])
	}
	return said.Status == http.StatusTooManyRequests
}

// lastStatus is in gosnowflake's words after its last try (retry.go).
var lastStatus = regexp.MustCompile(`^timeout after .* HTTP Status: (\d{3})\b`)

// A throttledError is a login that was answered 429 or 503 with the time after which it may
// be sent again.
type throttledError struct {
	after time.Duration
	err   error
}

func (e *throttledError) Error() string { return e.err.Error() }
func (e *throttledError) Unwrap() error { return e.err }

// retryAfter is how long a login that failed is not sent again by the server's own word.
func retryAfter(err error) time.Duration {
	if e, ok := as[*throttledError](err); ok {
		return e.after
	}
	return 0
}
