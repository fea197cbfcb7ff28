package snowtether

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/sync/semaphore"
)

// Every login of a connector passes here, whoever asked for it. The gate limits
// how many are under way, lets one caller find out how things are while the
// others wait, and keeps a wrong password from locking its user out.

// login logs in, as often as it takes and the caller has time.
func (c *Connector) login(ctx context.Context) (*session, error) {
	caller := ctx
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.settings.connectBudget)
		defer cancel()
	}
	for {
		p, err := c.gate.enter(ctx, c.stopped)
		if err != nil {
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

// loginError makes the error that a failed login is reported as.
func (c *Connector) loginError(caller context.Context, err error) error {
	if c.stopped.Err() != nil {
		return errClosed
	}
	if se, ok := as[*SessionError](err); ok {
		return se
	}
	class := classify(err, phaseLogin, acceptance{ctxErr: caller.Err()})
	if class == ClassContext && !errors.Is(err, caller.Err()) {
		err = fmt.Errorf("%w; the last login failed: %w", caller.Err(), err)
	}
	if class == ClassCredential {
		class = ClassPermanent // a fresh one has been tried, or there is none
	}
	return &SessionError{Op: "login", Class: class, Code: number(err), Err: err}
}

// attempt sends one login, two if the credential was stale. It goes on by itself
// if the caller leaves: gosnowflake would leak a session whose caller left at the
// wrong moment, and the outcome is news to the others who wait. again says
// whether there is sense in another attempt.
func (c *Connector) attempt(ctx context.Context, p *pass) (s *session, again bool, err error) {
	type outcome struct {
		s     *session
		again bool
		err   error
	}
	done, left := make(chan outcome), make(chan struct{})
	detached := context.WithoutCancel(ctx)
	if !c.spawn(func() {
		s, err := c.dial(detached)
		again := p.leave(err)
		select {
		case done <- outcome{s, again, err}:
		case <-left:
			if s != nil {
				c.retire(s)
			}
		}
	}) {
		p.leave(errClosed)
		return nil, false, errClosed
	}
	select {
	case o := <-done:
		return o.s, o.again, o.err
	case <-ctx.Done():
		close(left)
		return nil, false, fmt.Errorf("a login was still under way: %w", ctx.Err())
	}
}

// codeInvalidJWT is what Snowflake answers to a key-pair login whose JWT it does
// not accept, among others because of its clock.
const codeInvalidJWT = 390144

// dial opens a session with the credentials of this moment.
func (c *Connector) dial(ctx context.Context) (*session, error) {
	if c.inner != nil {
		if err := c.gate.suspended(fingerprint{}); err != nil {
			return nil, err
		}
		s, err := c.open(ctx, nil)
		return s, c.judge(fingerprint{}, err)
	}
	cfg, err := c.prepare(ctx, "")
	if err != nil {
		return nil, err
	}
	key := c.gate.fingerprint(cfg)
	if err := c.gate.suspended(key); err != nil {
		return nil, err
	}
	s, err := c.open(ctx, cfg)
	stale := classify(err, phaseLogin, acceptance{}) == ClassCredential
	jwt := number(err) == codeInvalidJWT && cfg.Authenticator == gosnowflake.AuthTypeJwt
	if !stale && !jwt {
		return s, c.judge(key, err)
	}
	// Once more with a fresh credential, from the source, the token file or the
	// hook. A JWT gosnowflake signs afresh by itself.
	cfg, prepareErr := c.prepare(ctx, cfg.Token)
	if prepareErr != nil {
		return nil, errors.Join(prepareErr, c.judge(key, err))
	}
	fresh := c.gate.fingerprint(cfg)
	if fresh == key && !jwt {
		return nil, c.judge(key, err)
	}
	s, err = c.open(ctx, cfg)
	return s, c.judge(fresh, err)
}

// judge notes what a login with these credentials came to.
func (c *Connector) judge(key fingerprint, err error) error {
	switch {
	case err == nil:
		c.gate.lift(key)
		return nil
	case isSetUp(err):
		return err // the credentials were right
	}
	c.counters.loginFailures.Add(1)
	if classify(err, phaseLogin, acceptance{}) != ClassTransient {
		c.gate.suspend(key, err)
	}
	return err
}

// A gate lets logins through.
//
// While it is open, up to maxLogins are under way at the same time. It is open
// for a moment after each login that succeeded. Otherwise one caller goes first
// and the others wait for what he finds: with an outage, that costs the server
// one login per step of the back-off; with a wrong password, one login.
type gate struct {
	slots      *semaphore.Weighted // first come, first served
	newBackOff func() backoff.BackOff
	cooldown   time.Duration
	secret     [32]byte // keys the fingerprints

	first chan struct{} // holds one token: who has it goes first
	write func(level slog.Level, msg string, attrs ...slog.Attr)

	mu        sync.Mutex
	openUntil time.Time
	opened    chan struct{}   // closed when the gate opens
	backOff   backoff.BackOff // not nil during an outage
	next      time.Time       // no login before
	failure   error           // the last transient one
	paced     bool            // logins succeed, but the sessions do not last
	refusals  map[fingerprint]*refusal
	lines     []func() // log lines, written by unlock
}

// log puts a line down for unlock to write.
func (g *gate) log(level slog.Level, msg string, attrs ...slog.Attr) {
	g.lines = append(g.lines, func() { g.write(level, msg, attrs...) })
}

// unlock unlocks mu and then writes what was logged: nobody waits at the gate for
// a log handler.
func (g *gate) unlock() {
	lines := g.lines
	g.lines = nil
	g.mu.Unlock()
	for _, line := range lines {
		line()
	}
}

// openFor is how long the gate stays open after a login that succeeded: long
// enough for those who wait, short enough for a password that was changed since,
// or an outage that has begun.
const openFor = 100 * time.Millisecond

func newGate(s *settings, log func(slog.Level, string, ...slog.Attr)) *gate {
	g := &gate{
		write:      log,
		slots:      semaphore.NewWeighted(int64(s.maxLogins)),
		newBackOff: s.newBackOff,
		cooldown:   s.authCooldown,
		first:      make(chan struct{}, 1),
		opened:     make(chan struct{}),
		refusals:   make(map[fingerprint]*refusal),
	}
	_, _ = rand.Read(g.secret[:]) // never fails (crypto/rand, since Go 1.24)
	if g.newBackOff == nil {
		g.newBackOff = func() backoff.BackOff {
			// 0.5, 1, 2, 4, 8, 16, 16 … seconds, each ± half.
			return backoff.NewExponentialBackOff(
				backoff.WithInitialInterval(s.backOffInitial), backoff.WithMultiplier(2), backoff.WithRandomizationFactor(0.5),
				backoff.WithMaxInterval(s.backOffMax), backoff.WithMaxElapsedTime(0))
		}
	}
	return g
}

// A pass allows one attempt. Its holder calls leave.
type pass struct {
	gate    *gate
	first   bool
	entered time.Time
}

// enter waits for a pass. The error is the context's, with the last transient
// failure if there was one.
func (g *gate) enter(ctx, stopped context.Context) (*pass, error) {
	for {
		open, opened := g.state()
		if open {
			if err := g.slots.Acquire(ctx, 1); err != nil {
				return nil, g.waited(ctx)
			}
			if open, _ := g.state(); open {
				return &pass{gate: g, entered: time.Now()}, nil
			}
			g.slots.Release(1)
			continue
		}
		select {
		case g.first <- struct{}{}:
		case <-opened:
			continue
		case <-ctx.Done():
			return nil, g.waited(ctx)
		case <-stopped.Done():
			return nil, errClosed
		}
		if err := g.goFirst(ctx, stopped); err != nil {
			<-g.first
			return nil, err
		}
		if open, _ := g.state(); open {
			<-g.first
			g.slots.Release(1)
			continue
		}
		return &pass{gate: g, first: true, entered: time.Now()}, nil
	}
}

func (g *gate) state() (open bool, opened <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.openUntil), g.opened
}

// goFirst waits until the next step of the back-off and takes a slot.
func (g *gate) goFirst(ctx, stopped context.Context) error {
	g.mu.Lock()
	wait := time.Until(g.next)
	g.mu.Unlock()
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return g.waited(ctx)
		case <-stopped.Done():
			return errClosed
		}
	}
	if g.slots.Acquire(ctx, 1) != nil {
		return g.waited(ctx)
	}
	return nil
}

// waited is the error of a caller who ran out of time.
func (g *gate) waited(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure != nil {
		return fmt.Errorf("%w; the last login failed: %w", ctx.Err(), g.failure)
	}
	return fmt.Errorf("waiting for other logins: %w", ctx.Err())
}

// leave gives the pass back with the outcome of its attempt. It reports whether
// there is sense in another one.
func (p *pass) leave(err error) (again bool) {
	g := p.gate
	g.mu.Lock()
	switch class := classify(err, phaseLogin, acceptance{}); {
	case err == nil && !g.paced:
		if g.failure != nil {
			g.log(slog.LevelInfo, "snowtether: logins work again; nothing needs doing")
		}
		g.openUntil = time.Now().Add(openFor)
		close(g.opened)
		g.opened = make(chan struct{})
		g.backOff, g.next, g.failure = nil, time.Time{}, nil
	case err == nil:
		// Logins work, but what they open does not last.
	case errors.Is(err, ErrLoginSuspended) || errors.Is(err, errClosed):
		// Nothing was sent: nothing is known.
	case class == ClassTransient:
		again = g.failed(p.entered, err)
	default:
		g.backOff, g.next, g.failure = nil, time.Time{}, nil // it answers
		g.openUntil = time.Time{}
	}
	g.unlock()
	g.slots.Release(1)
	if p.first {
		<-g.first
	}
	return again
}

// failed notes a transient failure of an attempt that was begun at the given
// time. Of several that were under way at the same time only the first counts.
func (g *gate) failed(begun time.Time, err error) (again bool) {
	g.openUntil = time.Time{}
	g.failure = err
	if g.backOff == nil {
		g.backOff = g.newBackOff()
		if !g.paced {
			g.log(slog.LevelWarn, "snowtether: Snowflake cannot be reached; logins are tried again, with a back-off", slog.String(keyError, redact(err)))
		}
	} else if begun.Before(g.next) {
		return true
	}
	wait := g.backOff.NextBackOff()
	if wait == backoff.Stop {
		g.backOff = nil
		return false
	}
	g.next = time.Now().Add(wait)
	return true
}

// pace makes the next login wait as after a failure, until unpace. It reports
// whether that is new.
func (g *gate) pace() (begins bool) {
	g.mu.Lock()
	defer g.unlock()
	begins = !g.paced
	g.paced = true
	g.failed(time.Now(), errFruitless)
	return begins
}

func (g *gate) unpace() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paced {
		g.paced = false
		g.backOff, g.next, g.failure = nil, time.Time{}, nil
	}
}

var errFruitless = errors.New("sessions end before they can be used")

// A refusal is a login that was refused for good.
type refusal struct {
	until time.Time
	times int
	err   error
}

// maxCooldown is by how much the cool-down grows at the most: to 8 minutes from
// the default of 30 s.
const maxCooldown = 16

// suspended returns the error that callers get during the cool-down of these
// credentials.
func (g *gate) suspended(key fingerprint) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.refusals[key]
	if r == nil || !time.Now().Before(r.until) {
		return nil
	}
	return &SessionError{Op: "login", Class: ClassPermanent, Code: number(r.err), Err: r.err, suspended: true}
}

func (g *gate) suspend(key fingerprint, err error) {
	if g.cooldown == 0 {
		return
	}
	g.mu.Lock()
	defer g.unlock()
	now := time.Now()
	for k, r := range g.refusals {
		if k != key && now.Sub(r.until) > maxCooldown*g.cooldown {
			delete(g.refusals, k) // long replaced
		}
	}
	r := g.refusals[key]
	if r == nil {
		r = &refusal{}
		g.refusals[key] = r
	}
	r.until = now.Add(g.cooldown * time.Duration(min(1<<r.times, maxCooldown)))
	r.times = min(r.times+1, 8)
	r.err = err
	g.log(slog.LevelWarn, "snowtether: a login was refused; none is sent with the same credentials for a while",
		slog.Any(keyReason, reason(err)), slog.Duration("for", r.until.Sub(now)), slog.String(keyError, redact(err)))
}

func (g *gate) lift(key fingerprint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.refusals, key)
}

// A fingerprint tells credentials apart without keeping them: a keyed hash, whose
// key never leaves the process.
type fingerprint [sha256.Size]byte

func (g *gate) fingerprint(cfg *gosnowflake.Config) (key fingerprint) {
	mac := hmac.New(sha256.New, g.secret[:])
	for _, part := range []string{
		cfg.Account, cfg.Host, cfg.User, cfg.Authenticator.String(), cfg.Password, cfg.Passcode,
		cfg.OauthClientID, cfg.OauthClientSecret, tokenOf(cfg),
	} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	if cfg.PrivateKey != nil {
		mac.Write(cfg.PrivateKey.N.Bytes())
	}
	mac.Sum(key[:0])
	return key
}

func isSetUp(err error) bool {
	_, ok := as[*setUpError](err)
	return ok
}
