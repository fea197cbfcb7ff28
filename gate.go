package snowtether

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/sync/semaphore"
)

// This file is the gate. Every login of a connector passes it, whoever asked for
// it. The gate limits how many are under way, lets one caller find out how things
// are while the others wait, and keeps a wrong password from locking its user out.

// A gate lets logins through.
//
// While it is open, up to maxLogins are under way at the same time. It is open
// for a moment after each login that succeeded. Otherwise one caller goes first
// and the others wait for the outcome: with an outage, that costs the server
// one login per step of the back-off; with a wrong password, one login.
type gate struct {
	slots    *semaphore.Weighted                  // first come, first served
	pause    func(*backoff.BackOff) time.Duration // the next step of a back-off, made where it is nil; the program's, so that it is called without mu
	cooldown time.Duration
	heedless bool                      // of the server's load
	budget   func(error) time.Duration // for how long a caller without a deadline waits
	secret   [32]byte                  // keys the fingerprints

	first chan struct{} // holds one token: who has it goes first
	queue func(context.Context, Event) (emit func())

	mu        sync.Mutex
	openUntil time.Time
	opened    chan struct{}   // closed when the gate opens
	backOff   backoff.BackOff // not nil during an outage
	stepping  bool            // its next step is being asked for
	next      time.Time       // no login before
	failure   error           // the last transient one
	failedAt  time.Time
	refusals  map[fingerprint]*refusal
	load      load    // what the server shows of its load
	loss      bool    // sessions were lost, and no login was sent since
	events    []Event // made known by unlock

	outage  spell // logins fail, and nobody knows for how long
	pacing  spell // logins succeed, but the sessions do not last
	refused spell // the last login was refused
}

// unlock queues what happened, unlocks mu, and then makes it known: nobody waits at the gate
// for a log handler or a hook.
func (g *gate) unlock(ctx context.Context) {
	for _, emit := range g.queued(ctx) {
		defer emit()
	}
	g.mu.Unlock()
}

// queued puts what happened in its place. It is called with mu held.
func (g *gate) queued(ctx context.Context) (emit []func()) {
	for _, e := range g.events {
		emit = append(emit, g.queue(ctx, e))
	}
	g.events = nil
	return emit
}

// A spell is a time in which logins do not go as they should. Its beginning and its
// end are events, what is between only adds to its count.
type spell struct {
	since time.Time // zero: there is none
	until time.Time // no login before
	count int
	last  error
}

func (s *spell) on() bool { return !s.since.IsZero() }

// add counts a failure. It reports whether the spell begins with it.
func (s *spell) add(err error) (begins bool) {
	if begins = !s.on(); begins {
		s.since = time.Now()
	}
	s.count++
	s.last = err
	return begins
}

// end ends a spell, if there is one.
func (g *gate) end(s *spell, kind EventKind) {
	if s.on() {
		g.events = append(g.events, Event{Kind: kind, Count: s.count, Duration: time.Since(s.since)})
		*s = spell{}
	}
}

// isOut reports whether there is an outage.
func (g *gate) isOut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.outage.on()
}

// info is the gate as a Snapshot shows it.
func (g *gate) info(now time.Time) GateInfo {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := func(state GateState, s spell, until time.Time) GateInfo {
		return GateInfo{State: state, Since: s.since, Until: until, Failures: s.count, Code: number(s.last), Class: classifyLogin(s.last, nil)}
	}
	switch {
	case g.refused.on() && now.Before(g.refused.until):
		return of(GateSuspended, g.refused, g.refused.until)
	case g.outage.on():
		return of(GateProbing, g.outage, g.next)
	case g.pacing.on():
		return of(GatePaced, g.pacing, g.next)
	}
	return GateInfo{State: GateFree}
}

// openFor is how long the gate stays open after a login that succeeded: long
// enough for those who wait, short enough for a password that was changed since,
// or an outage that has begun.
const openFor = 100 * time.Millisecond

func newGate(s *settings, queue func(context.Context, Event) func(), pause func(*backoff.BackOff) time.Duration) *gate {
	g := &gate{
		queue:    queue,
		pause:    pause,
		slots:    semaphore.NewWeighted(int64(s.maxLogins)),
		cooldown: s.authCooldown,
		heedless: s.heedless,
		first:    make(chan struct{}, 1),
		opened:   make(chan struct{}),
		refusals: make(map[fingerprint]*refusal),
	}
	_, _ = rand.Read(g.secret[:]) // never fails (crypto/rand, since Go 1.24)
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
	wait := max(time.Until(g.next), 0)
	if g.loss {
		spread := g.load.wait()
		if deadline, ok := ctx.Deadline(); ok {
			spread = min(spread, time.Until(deadline)/2)
		}
		g.loss, wait = false, wait+max(spread, 0)
	}
	g.mu.Unlock()
	if wait > 0 && !sleep(ctx, stopped, wait) {
		if ctx.Err() != nil {
			return g.waited(ctx)
		}
		return errClosed
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
		return fmt.Errorf("%w; the last login failed: %w", whyEnded(ctx), g.failure)
	}
	return fmt.Errorf("waiting for other logins: %w", whyEnded(ctx))
}

// last is when the last transient failure was, and what, if nothing has succeeded since.
func (g *gate) last() (time.Time, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failedAt, g.failure
}

// leave gives the pass back with the outcome of its attempt. It reports whether
// there is sense in another one.
func (p *pass) leave(err error) (again bool) {
	g := p.gate
	g.mu.Lock()
	switch class := classifyLogin(err, nil); {
	case err == nil:
		g.end(&g.outage, EventOutageEnded)
		g.end(&g.refused, EventSuspensionEnded)
		if g.pacing.on() {
			break // what they open does not last
		}
		if !g.load.throttled {
			g.openUntil = time.Now().Add(openFor)
			close(g.opened)
			g.opened = make(chan struct{})
		}
		g.backOff, g.next, g.failure = nil, time.Time{}, nil
	case errors.Is(err, ErrLoginSuspended) || errors.Is(err, errClosed):
		// Nothing was sent: nothing is known.
	case class == ClassTransient:
		g.out(err)
		again = g.failed(p.entered, err)
	default:
		g.backOff, g.next, g.failure = nil, time.Time{}, nil // it answers
		g.openUntil = time.Time{}
	}
	events := g.queued(context.Background())
	g.mu.Unlock()
	g.slots.Release(1)
	if p.first {
		<-g.first
	}
	for _, emit := range events { // after the pass is free: a hook may be slow
		emit()
	}
	return again
}

// failed notes a transient failure of an attempt that was begun at the given
// time. Of several that were under way at the same time only the first counts. It is
// called with mu held, and gives it away while the program's back-off is asked.
func (g *gate) failed(begun time.Time, err error) (again bool) {
	g.openUntil = time.Time{}
	g.failure, g.failedAt = err, time.Now()
	if g.stepping || g.backOff != nil && begun.Before(g.next) {
		return true
	}
	b, before := g.backOff, g.next
	g.stepping, g.next = true, time.Now().Add(programTimeout)
	g.mu.Unlock()
	wait := g.pause(&b)
	g.mu.Lock()
	g.stepping = false
	if wait == backoff.Stop {
		g.backOff, g.next = nil, before
		return false
	}
	g.backOff, g.next = b, time.Now().Add(g.load.rest(wait, retryAfter(err)))
	return true
}

// shut lets one login go first: sessions were lost, and with them what is known of how logins
// go.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.openUntil, g.loss, g.load = time.Time{}, true, g.load.remembered()
}

// weigh takes note of what a login shows of the server's load.
func (g *gate) weigh(took time.Duration, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.heedless {
		return
	}
	if g.load = g.load.after(took, err); g.load.throttled {
		g.openUntil = time.Time{}
	}
}

// pace makes the next login wait as after a failure, until unpace. lived is how
// long the last session lived.
func (g *gate) pace(lived time.Duration) {
	g.mu.Lock()
	defer g.unlock(context.Background())
	if g.pacing.add(nil) {
		g.events = append(g.events, Event{Kind: EventPacingBegan, Age: lived})
	}
	g.failed(time.Now(), errFruitless)
}

// unreachable notes that a statement could not be sent.
func (g *gate) unreachable(ctx context.Context, err error) {
	g.mu.Lock()
	defer g.unlock(ctx)
	g.out(err)
}

// out counts a failure to reach Snowflake.
func (g *gate) out(err error) {
	if g.outage.add(err) {
		g.events = append(g.events, Event{Kind: EventOutageBegan, Code: number(err), Class: ClassTransient, Duration: g.budget(err), Error: redact(err)})
	}
}

// reached notes that a statement was answered after one that could not be sent.
func (g *gate) reached(ctx context.Context) {
	g.mu.Lock()
	defer g.unlock(ctx)
	if g.failure == nil { // else logins still fail
		g.end(&g.outage, EventOutageEnded)
	}
}

func (g *gate) unpace(ctx context.Context) {
	g.mu.Lock()
	defer g.unlock(ctx)
	if g.pacing.on() {
		g.end(&g.pacing, EventPacingEnded)
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

// suspend suspends logins with credentials that were refused, for the cool-down and until
// the given time at least.
func (g *gate) suspend(key fingerprint, err error, until time.Time) {
	now := time.Now()
	if g.cooldown == 0 && !now.Before(until) {
		return
	}
	g.mu.Lock()
	defer g.unlock(context.Background())
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
	if r.until = now.Add(g.cooldown * time.Duration(min(1<<r.times, maxCooldown))); r.until.Before(until) {
		r.until = until
	}
	r.times = min(r.times+1, 8)
	r.err = err
	begins := g.refused.add(err)
	g.refused.until = r.until
	g.events = append(g.events, Event{
		Kind: EventLoginSuspended, Code: number(err), Class: ClassPermanent, Count: g.refused.count, Duration: r.until.Sub(now), Error: redact(err), again: !begins,
	})
}

func (g *gate) lift(key fingerprint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.refusals, key)
}

// A fingerprint tells credentials apart without keeping them: a keyed hash, whose
// key never leaves the process.
type fingerprint [sha256.Size]byte

// keyed is the fingerprint of something that has several parts.
func keyed(key []byte, parts ...string) fingerprint {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return fingerprint(mac.Sum(nil))
}

// credentialOf is what makes a credential.
func credentialOf(cfg *gosnowflake.Config) []string {
	parts := []string{
		cfg.Account, cfg.Host, cfg.User, cfg.Authenticator.String(), cfg.Password, // a new passcode makes no other credential
		cfg.OauthClientID, cfg.OauthClientSecret, tokenOf(cfg),
	}
	if cfg.PrivateKey != nil {
		parts = append(parts, string(cfg.PrivateKey.N.Bytes()))
	}
	return parts
}
