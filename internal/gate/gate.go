// Package gate is what every login of a connector passes, whoever asked for it. The gate
// limits how many are under way, lets one caller find out how things are while the others
// wait, and keeps a wrong password from locking its user out. It knows no error and no
// session: what a login came to it is told.
package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/semaphore"
)

// A Config is what a gate is made with. All of it is needed.
type Config struct {
	MaxLogins int
	Cooldown  time.Duration // for which credentials rest that were refused; 0: not at all
	Heedless  bool          // of the server's load

	Pause      func(*backoff.BackOff) time.Duration // the next step of a back-off, made where it is nil; the program's, so that it is called without a lock
	PauseBound time.Duration                        // for which a step is waited for at most
	Budget     func(error) time.Duration            // for how long a caller without a deadline waits
	WhyEnded   func(context.Context) error          // why a context of a caller's has ended

	// Queue puts what happened in its place and may be called with a lock held; the function
	// that it returns makes it known, and may not.
	Queue func(context.Context, Event) (emit func())
}

// A Kind says what happened at the gate.
type Kind int

// The kinds of events. A spell's beginning and its end are events, what is between only adds
// to its count.
const (
	OutageBegan Kind = iota // Err; callers without a deadline wait for Duration
	OutageOver              // Duration after the first of Count failures
	PacingBegan             // the last session lived for Age
	PacingOver              // after Duration
	Suspended               // Err, the Count-th in a row; none is sent for Duration
	Accepted                // Duration after the first of Count refusals
)

// An Event is one thing that happened at the gate.
type Event struct {
	Kind          Kind
	Count         int
	Duration, Age time.Duration
	Err           error
	Again         bool // of a state that has been told of
}

// A State is the gate's.
type State int

// The states of the gate.
const (
	Free     State = iota
	Probing        // logins fail, and one caller at a time finds out how things are
	Paced          // logins succeed, but the sessions do not last
	Refusing       // the last login was refused, and its credentials rest
)

// An Info is the gate at one time. Of a gate that is free the rest is zero.
type Info struct {
	State        State
	Since, Until time.Time
	Failures     int
	Last         error
}

// An Outcome is what one attempt came to.
type Outcome int

// The outcomes of attempts.
const (
	Succeeded Outcome = iota
	Unsent            // nothing was sent: nothing is known
	Unready           // the server took it, and its session could not be set up for now
	Transient         // Snowflake could not be reached, or was too busy
	Refused           // it answered
)

// A Gate lets logins through.
//
// While it is open, up to MaxLogins are under way at the same time. It is open
// for a moment after each login that succeeded. Otherwise one caller goes first
// and the others wait for the outcome: with an outage, that costs the server
// one login per step of the back-off; with a wrong password, one login.
type Gate struct {
	Config
	slots  *semaphore.Weighted // first come, first served
	secret [32]byte            // keys the fingerprints
	first  chan struct{}       // holds one token: who has it goes first

	mu        sync.Mutex
	asking    int // how many are between Enter and Leave
	openUntil time.Time
	shuts     int             // how often something spoke against opening it
	opened    chan struct{}   // closed when the gate opens
	backOff   backoff.BackOff // not nil during an outage
	stepping  bool            // its next step is being asked for
	next      time.Time       // no login before
	failure   error           // the last transient one
	failedAt  time.Time
	failures  int // how often there was one
	refusals  map[Fingerprint]*refusal
	load      load    // what the server shows of its load
	loss      bool    // sessions were lost, and no login was sent since
	events    []Event // made known by unlock

	outage    spell // logins fail, and nobody knows for how long
	pacing    spell // logins succeed, but the sessions do not last
	refused   spell // the last login was refused
	refusedAt time.Time
}

// unlock queues what happened, unlocks mu, and then makes it known: nobody waits at the gate
// for a log handler or a hook.
func (g *Gate) unlock(ctx context.Context) {
	for _, emit := range g.queued(ctx) {
		defer emit()
	}
	g.mu.Unlock()
}

// queued puts what happened in its place. It is called with mu held.
func (g *Gate) queued(ctx context.Context) (emit []func()) {
	for _, e := range g.events {
		emit = append(emit, g.Queue(ctx, e))
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

// add counts a failure of what was begun at the given time. It reports whether the spell begins with it.
func (s *spell) add(since time.Time, err error) (begins bool) {
	if begins = !s.on(); begins || since.Before(s.since) {
		s.since = since
	}
	s.count++
	s.last = err
	return begins
}

// end ends a spell, if there is one.
func (g *Gate) end(s *spell, kind Kind) {
	if s.on() {
		g.events = append(g.events, Event{Kind: kind, Count: s.count, Duration: time.Since(s.since)})
		*s = spell{}
	}
}

// IsOut reports whether there is an outage.
func (g *Gate) IsOut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.outage.on()
}

// Info is the gate as it is now.
func (g *Gate) Info(now time.Time) Info {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := func(state State, s spell, until time.Time) Info {
		return Info{State: state, Since: s.since, Until: until, Failures: s.count, Last: s.last}
	}
	switch {
	case g.refused.on() && now.Before(g.refused.until):
		return of(Refusing, g.refused, g.refused.until)
	case g.outage.on():
		return of(Probing, g.outage, g.next)
	case g.pacing.on():
		return of(Paced, g.pacing, g.next)
	}
	return Info{State: Free}
}

// openFor is how long the gate stays open after a login that succeeded: long
// enough for those who wait, short enough for a password that was changed since,
// or an outage that has begun.
const openFor = 100 * time.Millisecond

// New makes a gate.
func New(c Config) *Gate {
	g := &Gate{
		Config:   c,
		slots:    semaphore.NewWeighted(int64(c.MaxLogins)),
		first:    make(chan struct{}, 1),
		opened:   make(chan struct{}),
		refusals: make(map[Fingerprint]*refusal),
	}
	_, _ = rand.Read(g.secret[:]) // never fails (crypto/rand, since Go 1.24)
	return g
}

// A Pass allows one attempt. Its holder calls Leave.
type Pass struct {
	gate     *Gate
	first    bool
	entered  time.Time
	in       bool     // it was admitted
	admitted []func() // make known what that was news of; called by Leave
	shuts    int      // the gate's when it was answered
	failures int
}

// Enter waits for a pass. The error is the context's, with the last transient failure if
// there was one, or [ErrStopped].
func (g *Gate) Enter(ctx, stopped context.Context) (_ *Pass, err error) {
	g.ask(1)
	defer func() {
		if err != nil {
			g.ask(-1)
		}
	}()
	for {
		open, opened := g.state()
		if open {
			if err := g.slots.Acquire(ctx, 1); err != nil {
				return nil, g.waited(ctx)
			}
			if open, _ := g.state(); open {
				return &Pass{gate: g, entered: time.Now()}, nil
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
			return nil, ErrStopped
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
		return &Pass{gate: g, first: true, entered: time.Now()}, nil
	}
}

func (g *Gate) ask(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking += n
}

func (g *Gate) state() (open bool, opened <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.openUntil), g.opened
}

// goFirst waits until the next step of the back-off and takes a slot.
func (g *Gate) goFirst(ctx, stopped context.Context) error {
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
	if wait > 0 && !Sleep(ctx, stopped, wait) {
		if ctx.Err() != nil {
			return g.waited(ctx)
		}
		return ErrStopped
	}
	if g.slots.Acquire(ctx, 1) != nil {
		return g.waited(ctx)
	}
	return nil
}

// waited is the error of a caller who ran out of time at the gate.
func (g *Gate) waited(ctx context.Context) error { return g.OutOfTime(ctx, "waiting for other logins") }

// OutOfTime is the error of a caller who ran out of time: why the context ended, with the last
// transient failure, or, if there was none, with what the caller was doing.
func (g *Gate) OutOfTime(ctx context.Context, doing string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure != nil {
		return fmt.Errorf("%w; the last login failed: %w", g.WhyEnded(ctx), g.failure)
	}
	return fmt.Errorf("%s: %w", doing, g.WhyEnded(ctx))
}

// Last is when the last transient failure was, and what, if nothing has succeeded since.
func (g *Gate) Last() (time.Time, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failedAt, g.failure
}

// Admitted notes that the server has taken a login with these credentials that was sent at
// the given time: it can be reached, and they rest no longer, unless they were refused since.
// It lets the next caller go first: what the program still does with the session, for however
// long, holds up nobody. The gate does not open by it, so that of sessions whose set-up fails
// no more are made at once than it has slots.
func (p *Pass) Admitted(key Fingerprint, sent time.Time) {
	g := p.gate
	g.mu.Lock()
	if r := g.refusals[key]; r != nil && !sent.Before(r.at) {
		delete(g.refusals, key)
	}
	if !sent.Before(g.refusedAt) {
		g.end(&g.refused, Accepted)
	}
	g.end(&g.outage, OutageOver)
	p.in, p.shuts, p.failures = true, g.shuts, g.failures
	p.admitted = append(p.admitted, g.queued(context.Background())...)
	g.mu.Unlock()
	if p.first {
		p.first = false
		<-g.first
	}
}

// Leave gives the pass back with the outcome of its attempt. after is how long the server
// asks not to be sent another. It reports whether there is sense in one.
func (p *Pass) Leave(o Outcome, err error, after time.Duration) (again bool) {
	g := p.gate
	g.mu.Lock()
	g.asking--
	if !p.in {
		p.shuts, p.failures = g.shuts, g.failures
	}
	switch o {
	case Succeeded:
		if g.pacing.on() {
			break // what they open does not last
		}
		if !g.load.throttled && g.shuts == p.shuts {
			g.openUntil = time.Now().Add(openFor)
			close(g.opened)
			g.opened = make(chan struct{})
		}
		g.calm(p)
	case Unsent:
	case Unready:
		again = g.failed(p.entered, err, after)
	case Transient:
		g.out(p.entered, err)
		again = g.failed(p.entered, err, after)
	default:
		g.calm(p)
		g.shut()
	}
	events := append(p.admitted, g.queued(context.Background())...)
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

// calm ends the back-off: Snowflake has answered, and no login has failed since. It is called
// with mu held.
func (g *Gate) calm(p *Pass) {
	if g.failures == p.failures {
		g.backOff, g.next, g.failure = nil, time.Time{}, nil
	}
}

// failed notes a transient failure of an attempt that was begun at the given
// time. Of several that were under way at the same time only the first counts. It is
// called with mu held, and gives it away while the program's back-off is asked.
func (g *Gate) failed(begun time.Time, err error, after time.Duration) (again bool) {
	g.shut()
	g.failure, g.failedAt = err, time.Now()
	g.failures++
	if g.stepping || g.backOff != nil && begun.Before(g.next) {
		return true
	}
	b, before := g.backOff, g.next
	g.stepping, g.next = true, time.Now().Add(g.PauseBound)
	g.mu.Unlock()
	wait := g.Pause(&b)
	g.mu.Lock()
	g.stepping = false
	if wait == backoff.Stop {
		g.backOff, g.next = nil, before
		return false
	}
	g.backOff, g.next = b, time.Now().Add(g.load.rest(wait, after))
	return true
}

// Shut lets one login go first: sessions were lost, and with them what is known of how logins
// go.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut()
	g.loss, g.load = true, g.load.remembered()
}

// shut has one caller go first, whatever logins say that were answered before. It is called
// with mu held.
func (g *Gate) shut() {
	g.openUntil = time.Time{}
	g.shuts++
}

// Weigh takes note of what a login shows of the server's load: that it took so long, was
// turned away because there are too many, or failed for another reason.
func (g *Gate) Weigh(took time.Duration, throttled, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Heedless {
		return
	}
	if g.load = g.load.after(took, throttled, failed); g.load.throttled {
		g.shut()
	}
}

// Pace makes the next login wait as after a failure, until Unpace. lived is how
// long the last session lived.
func (g *Gate) Pace(lived time.Duration) {
	g.mu.Lock()
	defer g.unlock(context.Background())
	if g.pacing.add(time.Now(), nil) {
		g.events = append(g.events, Event{Kind: PacingBegan, Age: lived})
	}
	g.failed(time.Now(), errFruitless, 0)
}

// Unreachable notes that a statement could not be sent; its request has had no answer since.
func (g *Gate) Unreachable(ctx context.Context, since time.Time, err error) {
	g.mu.Lock()
	defer g.unlock(ctx)
	g.out(since, err)
}

// out counts a failure to reach Snowflake.
func (g *Gate) out(since time.Time, err error) {
	if g.outage.add(since, err) {
		g.events = append(g.events, Event{Kind: OutageBegan, Duration: g.Budget(err), Err: err})
	}
}

// Reached notes that a statement was answered in an outage, and reports whether that is over by
// it: while logins fail, and somebody still asks for one, it is not.
func (g *Gate) Reached(ctx context.Context) (over bool) {
	g.mu.Lock()
	defer g.unlock(ctx)
	if g.failure != nil && (g.asking > 0 || time.Since(g.failedAt) < tellingFor) {
		return false
	}
	g.end(&g.outage, OutageOver)
	return true
}

// tellingFor is for how long a login that failed tells of an outage when nobody asks for
// another: long enough for a caller who tries again.
const tellingFor = time.Minute

// Answered notes that the server has refused a login: it can be reached.
func (g *Gate) Answered() {
	g.mu.Lock()
	defer g.unlock(context.Background())
	g.end(&g.outage, OutageOver)
}

// Unpace lets logins go as usual again: sessions last.
func (g *Gate) Unpace(ctx context.Context) {
	g.mu.Lock()
	defer g.unlock(ctx)
	if g.pacing.on() {
		g.end(&g.pacing, PacingOver)
		if g.failure == errFruitless { // identity is meant; else logins fail
			g.backOff, g.next, g.failure = nil, time.Time{}, nil
		}
	}
}

var errFruitless = errors.New("sessions end before they can be used")

// ErrStopped is what a caller gets who waits while the connector is closed.
var ErrStopped = errors.New("the gate is closed")

// Sleep waits, and reports whether neither context ended before that.
func Sleep(ctx, stopped context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-stopped.Done():
	}
	return false
}
