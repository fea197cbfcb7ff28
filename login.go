package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/gate"
	"github.com/snowtether/snowtether/internal/login"
	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/sferr"
	"github.com/snowtether/snowtether/internal/transcript"
)

// This file is a login's way from the caller who needs a session to the server:
// through the gate (gate.go, internal/gate), with the credentials of the moment (program.go).

// login logs in, as often as it takes and the caller has time.
func (c *Connector) login(ctx context.Context) (_ *session, failed error) {
	if c.programs.Inside(ctx) {
		return nil, &SessionError{Op: "login", Class: ClassPermanent, Err: errWithin}
	}
	begun := time.Now()
	ctx, end := c.span(ctx, "snowtether.login")
	defer func() {
		end(failed)
		if failed == nil {
			c.metrics.created(ctx, time.Since(begun))
		}
	}()
	caller := ctx
	if _, ok := ctx.Deadline(); !ok {
		if v := c.vain.Load(); v.fresh() && isOpener() {
			return nil, v.err
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.settings.connectBudget, errBudgetOver)
		defer cancel()
	}
	waiting, cancel := firstFor(ctx, c.settings.firstBudget, !c.in.Load())
	defer func() { cancel() }()
	for {
		p, err := c.gate.Enter(waiting, c.stopped)
		switch {
		case err != nil && context.Cause(waiting) == errFirstBudget && ctx.Err() == nil && c.stopped.Err() == nil:
			cancel()
			switch at, wrong := c.gate.Last(); {
			case c.in.Load() || !isSetting(wrong):
				waiting, cancel = firstFor(ctx, 0, false) // nothing is sure
			case at.Before(begun): // the step of the back-off was longer
				waiting, cancel = firstFor(ctx, time.Second, true)
			default:
				return nil, &SessionError{Op: "login", Class: ClassTransient, Err: &settingError{time.Since(begun), wrong}}
			}
			continue
		case err != nil:
			return nil, c.loginError(caller, err)
		}
		s, again, err := c.attempt(ctx, p)
		if err == nil {
			return s, nil
		}
		if !again {
			return nil, c.loginError(caller, err)
		}
	}
}

// firstFor bounds the waiting for a host that may be wrong.
func firstFor(ctx context.Context, d time.Duration, first bool) (context.Context, context.CancelFunc) {
	if first {
		return context.WithTimeoutCause(ctx, d, errFirstBudget)
	}
	return ctx, func() {}
}

// errFirstBudget ends the waiting for a host that may be wrong.
var errFirstBudget = errors.New("no login has succeeded yet")

// isWrongHost reports whether an error is as sure as one can be that the address is wrong:
// there is no such host, or nobody listens there.
func isWrongHost(err error) bool {
	if dns, ok := as[*net.DNSError](err); ok {
		return dns.IsNotFound
	}
	op, ok := as[*net.OpError](err)
	return ok && op.Op == "dial" && strings.Contains(op.Err.Error(), "refused") // on Windows too
}

// isSetting reports whether an error may well come from a setting that was never right.
func isSetting(err error) bool {
	_, local := as[*localError](err)
	return local || isWrongHost(err)
}

// A settingError is what the first login ends with where a setting may be wrong.
type settingError struct {
	tried time.Duration
	last  error
}

func (e *settingError) Error() string {
	check := "the credentials' settings"
	if isWrongHost(e.last) {
		check = "the account name, or the host and port"
	}
	return fmt.Sprintf("tried for %v; check %s: %v", e.tried.Round(time.Second), check, e.last)
}
func (e *settingError) Unwrap() error { return e.last }

// loginError makes the error that a failed login is reported as.
func (c *Connector) loginError(caller context.Context, err error) error {
	if c.stopped.Err() != nil {
		return errClosed
	}
	// One that is wrapped is of an earlier login, and not why this caller leaves.
	if se, ok := err.(*SessionError); ok {
		return se
	}
	if errors.Is(err, errBudgetOver) && (caller.Err() == nil || context.Cause(caller) == errBudgetOver) {
		failed := &SessionError{Op: "login", Class: ClassTransient, Code: number(err), Err: &budgetError{c.settings.connectBudget, err}}
		c.vain.Store(&vain{time.Now(), failed})
		return failed
	}
	class := classifyLogin(err, caller.Err())
	if class == ClassContext && !errors.Is(err, caller.Err()) {
		err = fmt.Errorf("%w; the last login failed: %w", caller.Err(), err)
	}
	if class == ClassCredential {
		class = ClassPermanent // a fresh one has been tried, or there is none
	}
	if p, ok := as[*programError](err); ok && class != ClassContext {
		class = p.class()
	}
	return &SessionError{Op: "login", Class: class, Code: number(err), Err: err}
}

// A vain is a login that was waited for in vain for the whole connect budget.
type vain struct {
	at  time.Time
	err error
}

// fresh reports whether that was just now.
func (v *vain) fresh() bool { return v != nil && time.Since(v.at) < time.Second }

// isOpener reports whether it is database/sql's own goroutine that asks for a connection,
// on behalf of callers who wait in its queue. It asks for one after the other, so that
// each would wait for all before them; as they have waited, they are told at once what
// others have just waited for in vain.
func isOpener() bool {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for more := true; more; {
		var frame runtime.Frame
		if frame, more = frames.Next(); frame.Function == "database/sql.(*DB).connectionOpener" {
			return true
		}
	}
	return false
}

// errBudgetOver ends the waiting of a caller without a deadline.
var errBudgetOver = errors.New("no login got through")

// whyEnded is why a context has ended: the connect budget, or what the caller says.
func whyEnded(ctx context.Context) error {
	if context.Cause(ctx) == errBudgetOver {
		return errBudgetOver
	}
	return ctx.Err()
}

// A budgetError is what a caller without a deadline waited for in vain. It is no context's
// error, whatever the last login failed with: no context of the caller's has ended.
type budgetError struct {
	budget time.Duration
	last   error
}

func (e *budgetError) Error() string {
	return fmt.Sprintf("for the connect budget of %v %v", e.budget, e.last)
}
func (e *budgetError) Is(target error) bool {
	return target != context.DeadlineExceeded && target != context.Canceled && errors.Is(e.last, target)
}
func (e *budgetError) As(target any) bool { return errors.As(e.last, target) }

// attempt sends one login, two if the credential was stale. It goes on by itself
// if the caller leaves: gosnowflake would leak a session whose caller left at the
// wrong moment, and the outcome is news to the others who wait. again says
// whether there is sense in another attempt.
func (c *Connector) attempt(ctx context.Context, p *gate.Pass) (s *session, again bool, err error) {
	type outcome struct {
		s     *session
		again bool
		err   error
	}
	done, left := make(chan outcome), make(chan struct{})
	detached := transcript.Without(context.WithoutCancel(ctx)) // a request ID is the statement's
	if !c.spawn(func() {
		s, err := c.dial(detached, p.Admitted)
		again := leaveGate(p, err) && !hasAsked(err)
		if err != nil && c.gate.IsOut() {
			c.cut.Store(c.waits.reading(time.Now())) // behind the outage that an answer is to end
		}
		select {
		case done <- outcome{s, again, err}:
		case <-left:
			if s != nil {
				c.retire(s)
			}
		}
	}) {
		leaveGate(p, errClosed)
		return nil, false, errClosed
	}
	select {
	case o := <-done:
		return o.s, o.again, o.err
	case <-ctx.Done():
		close(left)
		return nil, false, c.gate.OutOfTime(ctx, "a login was still under way")
	}
}

// dial opens a session with the credentials of this moment. admitted is called once a login
// has been taken, before its session is set up, with its credentials and when it was sent.
func (c *Connector) dial(ctx context.Context, admitted func(gate.Fingerprint, time.Time)) (*session, error) {
	if c.inner != nil {
		return c.knock(ctx, gate.Unknown(), nil, admitted) // nothing is known of its credentials
	}
	cfg, err := c.prepare(ctx, "")
	if err != nil {
		return nil, err
	}
	n := c.knockOf(cfg)
	s, err := c.knock(ctx, n, cfg, admitted)
	for tries := 1; isStale(cfg, err); tries++ {
		jwt := number(err) == codeInvalidJWT
		if jwt && (tries > len(jwtPauses) || !gate.Sleep(ctx, c.stopped, jwtPauses[tries-1])) || !jwt && tries > 1 {
			break
		}
		// Once more with a fresh credential, from the source, the token file or the
		// hook. A JWT gosnowflake signs afresh by itself.
		next, prepareErr := c.prepare(ctx, cfg.Token)
		if prepareErr != nil {
			err = fmt.Errorf("%w; there is no fresh credential: %w", err, prepareErr)
			break
		}
		fresh := c.knockOf(next)
		if fresh.Key == n.Key && !jwt {
			break
		}
		n, cfg = fresh, next
		s, err = c.knock(ctx, n, cfg, admitted)
	}
	if isStale(cfg, err) { // and there is no better
		c.gate.Suspend(n.Key, err, time.Time{})
	}
	return s, err
}

// isStale reports whether a login was refused for a reason that a fresh credential, or the
// same a little later, may not have.
func isStale(cfg *gosnowflake.Config, err error) bool {
	if err == nil || errors.Is(err, ErrLoginSuspended) {
		return false
	}
	return classifyLogin(err, nil) == ClassCredential || number(err) == codeInvalidJWT && cfg.Authenticator == gosnowflake.AuthTypeJwt
}

// codeInvalidJWT is what Snowflake answers to a key-pair login whose JWT it does
// not accept, among others because of its clock.
const codeInvalidJWT = 390144

// jwtPauses are between the logins with a JWT that was refused: clocks that differ by seconds
// are set right, or drift past each other. A refused JWT locks nobody out.
var jwtPauses = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// knock sends one login, as soon as it cannot lock its user out, and notes what came of it.
// cfg is nil for a connector that was given.
func (c *Connector) knock(ctx context.Context, n gate.Knock, cfg *gosnowflake.Config, admitted func(gate.Fingerprint, time.Time)) (*session, error) {
	if err := c.suspended(n); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.stopped, cancel)()
	leave, err := c.lockout.Enter(waiting, &n)
	if err == nil {
		defer leave()
	}
	if c.stopped.Err() != nil {
		err = errClosed
	}
	if full, ok := as[*gate.FullError](err); ok {
		err = &SessionError{Op: "login", Class: ClassPermanent, Code: number(full.Last), Err: full, suspended: true}
	}
	if err != nil {
		return nil, err
	}
	if err := c.suspended(n); err != nil { // by one that was waited for
		return nil, err
	}
	if err := c.askGuard(ctx, attemptOf(n)); errors.Is(err, ErrLoginSuspended) {
		err = guardError(err)
		c.gate.Suspend(n.Key, err, time.Time{})
		return nil, err
	} else if err != nil {
		return nil, err
	}
	begun, in := time.Now(), false
	heard := func(err error) { // of the login; what becomes of its session says nothing of that, and comes later
		took := time.Since(begun)
		if cfg == nil || !login.HasPerson(cfg) {
			c.gate.Weigh(took, isThrottled(err), err != nil)
		}
		if c.stopped.Err() == nil || err == nil {
			c.tellGuard(attemptOf(n), err, took)
		}
	}
	answered := c.waits.login(begun, cfg != nil && login.HasPerson(cfg))
	s, err := c.open(ctx, cfg, func() { // it is in, and its set-up holds up no other
		in = true
		c.vain.Store(nil)
		c.waits.answered(time.Now())
		answered()
		c.counters.failingLogins.Store(0)
		heard(nil)
		c.lockout.Accepted(n)
		leave()
		admitted(n.Key, begun)
	})
	answered()
	if !in {
		heard(err)
	}
	switch {
	case in: // the login was taken
	case c.stopped.Err() != nil:
		err = errClosed // Close ended it: that says nothing about Snowflake
	case c.loginFailed(ctx, begun, err) != ClassTransient:
		if said, _ := sferr.Of(err); said.Number > 0 && !said.Own() { // else it is the client's, or the identity provider's
			c.waits.answered(time.Now())
			c.gate.Answered()
		}
		until := c.lockout.Refused(n, err)
		if cfg == nil || !isStale(cfg, err) && (!login.HasPerson(cfg) || number(err) == 0) {
			c.gate.Suspend(n.Key, err, until)
		}
	}
	return s, err
}

// connectInner logs in. gosnowflake does more than that: with the tokens in its hands it
// sends telemetry, on a context of its own, and tries that for up to an hour if the
// server hangs. It is left to that, and what it returns in the end is closed. seen is
// the login's context with what watches it.
func (c *Connector) connectInner(l *login.Context, seen context.Context, inner driver.Connector) (driver.Conn, error) {
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
	late := l.Late()
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
			return nil, login.ErrTimeout
		}
	}
}

// loginFailed makes it known that a login was sent and failed.
func (c *Connector) loginFailed(ctx context.Context, begun time.Time, err error) Class {
	class := classifyLogin(err, nil)
	c.emit(ctx, Event{
		Kind: EventLoginFailed, Code: number(err), Class: class, Attempt: int(c.counters.failingLogins.Add(1)),
		Duration: time.Since(begun), Error: redact(err),
	})
	return class
}

func isSetUp(err error) bool {
	_, ok := as[*setUpError](err)
	return ok
}

// An askedError is what a login failed with for which somebody may have been asked to
// consent. It is not sent again by itself.
type askedError struct{ err error }

func (e *askedError) Error() string { return e.err.Error() }
func (e *askedError) Unwrap() error { return e.err }

func hasAsked(err error) bool {
	_, asked := as[*askedError](err)
	return asked
}
