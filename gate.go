package snowtether

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/gate"
	"github.com/snowtether/snowtether/internal/http2"
	"github.com/snowtether/snowtether/internal/login"
	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/sferr"
)

// This file is what stands before a login: the gate and the count of refusals, which are in
// internal/gate and are told here what an error means, and the program's login guard, with
// which the processes of a fleet share what a gate does for one of them.

// newGate makes the gate of a connector.
func newGate(c *Connector) *gate.Gate {
	s := &c.settings
	return gate.New(gate.Config{
		MaxLogins: s.maxLogins, Cooldown: s.authCooldown, Heedless: s.heedless,
		Pause:      func(b *backoff.BackOff) time.Duration { return c.nextPause(context.Background(), b) },
		PauseBound: programTimeout,
		Budget: func(err error) time.Duration {
			if isSetting(err) && !c.in.Load() {
				return s.firstBudget
			}
			return s.connectBudget
		},
		WhyEnded: whyEnded,
		Queue:    func(ctx context.Context, e gate.Event) func() { return c.queue(ctx, gateEvent(e)) },
	})
}

// gateEvent is what happened at the gate, as an event of the connector's.
func gateEvent(e gate.Event) Event {
	out := Event{
		Kind: map[gate.Kind]EventKind{
			gate.OutageBegan: EventOutageBegan, gate.OutageOver: EventOutageEnded,
			gate.PacingBegan: EventPacingBegan, gate.PacingOver: EventPacingEnded,
			gate.Suspended: EventLoginSuspended, gate.Accepted: EventSuspensionEnded,
		}[e.Kind],
		Code: number(e.Err), Count: e.Count, Duration: e.Duration, Age: e.Age, Error: redact(e.Err), again: e.Again,
	}
	switch e.Kind {
	case gate.OutageBegan:
		out.Class = ClassTransient
	case gate.Suspended:
		out.Class = ClassPermanent
	}
	return out
}

// gateInfo is the gate as a Snapshot shows it.
func gateInfo(i gate.Info) GateInfo {
	state := map[gate.State]GateState{gate.Free: GateFree, gate.Probing: GateProbing, gate.Paced: GatePaced, gate.Refusing: GateSuspended}[i.State]
	return GateInfo{State: state, Since: i.Since, Until: i.Until, Failures: i.Failures, Code: number(i.Last), Class: classifyLogin(i.Last, nil)}
}

// leaveGate gives a pass back with what the login came to.
func leaveGate(p *gate.Pass, err error) (again bool) {
	outcome := gate.Refused
	switch {
	case err == nil:
		outcome = gate.Succeeded
	case errors.Is(err, ErrLoginSuspended) || errors.Is(err, errClosed):
		outcome = gate.Unsent
	case classifyLogin(err, nil) != ClassTransient: // it answered
	case isSetUp(err):
		outcome = gate.Unready
	default:
		outcome = gate.Transient
	}
	return p.Leave(outcome, err, login.RetryAfter(err))
}

// suspended is what a caller gets while these credentials rest, or nil.
func (c *Connector) suspended(n gate.Knock) error {
	err := c.gate.Suspended(n.Key)
	if err == nil {
		return nil
	}
	return &SessionError{Op: "login", Class: ClassPermanent, Code: number(err), Err: err, suspended: true}
}

// knockOf is a login with this Config.
func (c *Connector) knockOf(cfg *gosnowflake.Config) gate.Knock {
	return c.gate.NewKnock(cmp.Or(cfg.Account, cfg.Host), cfg.User, login.Credential(cfg), login.IsLockable(cfg))
}

// readAdvice tells a login of the Retry-After in its reply.
func readAdvice(req *http.Request, res *http.Response) {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return
	}
	if after, err := http2.ReadRetryAfter(res.Header.Get("Retry-After"), time.Now()); err == nil {
		login.Advise(req.Context(), after)
	}
}

// isThrottled reports whether a login was turned away because there are too many.
func isThrottled(err error) bool {
	if err == nil {
		return false
	}
	if login.RetryAfter(err) > 0 {
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

// A LoginGuard is asked before each login of a connector, and told how it ended. With one
// that the processes of a fleet share, for example over Redis, they share a limit on logins,
// and suspensions: a thousand processes whose sessions end in the same second do not log in
// in the same second, and a rotated password is refused once and not once in each of them.
//
// Both methods are called for one login at a time or for several side by side, on goroutines
// of the connector's. If a call panics or fails, or has not returned after 2 s, that is a
// line at Warn, the login is sent without the guard, and the guard is not asked again for
// 10 s. The same happens when the guard has held a login up for 90 s in all, which is less
// than the default of [WithConnectBudget].
type LoginGuard interface {
	// Before says whether a login may be sent: now (0, nil), or not before wait has passed,
	// when it is asked again. An error that matches [ErrLoginSuspended] says that it may not be
	// sent at all: the caller gets it, and logins with the credential are suspended as
	// if Snowflake had refused one here ([WithAuthCooldown]). Any other error is a failure of the guard.
	Before(ctx context.Context, login LoginAttempt) (wait time.Duration, err error)

	// After is told how a login ended that was sent, as soon as that is known: a session may not
	// be set up by then. Outcomes that contradict each other, accepted and refused, come one after
	// the other, in their order. Nobody else waits for it to return.
	After(ctx context.Context, login LoginAttempt, outcome LoginOutcome)
}

// A LoginAttempt is one login, as a [LoginGuard] sees it.
type LoginAttempt struct{ of func(key []byte) string }

// Fingerprint stands for the account, the user and the credential: a keyed hash
// (HMAC-SHA-256, in hexadecimal), from which none of them can be found without the key. It
// is the same in every process that uses the same key. The key should have 32 random bytes.
// Keep it as secret as the credential: whoever has it and a fingerprint can try out
// passwords. A new password or token changes the fingerprint; a new passcode does not.
func (l LoginAttempt) Fingerprint(key []byte) string {
	if l.of == nil {
		return ""
	}
	return l.of(key)
}

// A LoginOutcome is how a login ended.
type LoginOutcome struct {
	Class    Class         // empty: it succeeded; ClassPermanent and ClassCredential: it was refused; ClassTransient: Snowflake could not be reached, or was too busy
	Code     int           // Snowflake's number, or 0
	Duration time.Duration // from the request to the answer, or to giving it up
}

// The bounds of a guard.
const (
	guardTimeout = 2 * time.Second
	guardRest    = 10 * time.Second
	guardBound   = 90 * time.Second
)

var errGuardBound = fmt.Errorf("it has held a login up for %v", guardBound)

// A guardian asks the program's guard, and does without it while it fails.
type guardian struct {
	guard LoginGuard // nil: there is none

	mu     sync.Mutex
	failed time.Time // when it last did; zero: it answers
	turn   turn      // the present one
}

// A turn are outcomes that follow each other and do not contradict each other. The guard is told
// of them side by side, and of what contradicts them when it has heard them all: else it would
// take a credential for a good one that was refused last, or the other way round.
type turn struct {
	refused      bool
	after, calls *sync.WaitGroup // of the turn before, or nil; and of this one
}

// attemptOf is a login as its guard sees it.
func attemptOf(n gate.Knock) LoginAttempt {
	if n.Credential == nil {
		return LoginAttempt{}
	}
	return LoginAttempt{func(key []byte) string {
		hash := gate.Keyed(key, n.Credential...)
		return hex.EncodeToString(hash[:])
	}}
}

// askGuard waits until the guard lets a login through. The error is what it says against it.
func (c *Connector) askGuard(ctx context.Context, login LoginAttempt) error {
	g := &c.guardian
	if g.guard == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, guardBound)
	defer cancel()
	for g.answers() {
		asked, stop := context.WithTimeout(ctx, guardTimeout)
		wait, err := program.Call(asked, &c.programs, func(ctx context.Context) (time.Duration, error) { return g.guard.Before(ctx, login) })
		stop()
		switch {
		case errors.Is(err, ErrLoginSuspended):
			return err
		case err != nil:
			if ctx.Err() != nil {
				err = errGuardBound
			}
			c.guardFailed(err)
			return nil
		case wait <= 0:
			g.answered()
			return nil
		}
		g.answered()
		if gate.Sleep(ctx, c.stopped, wait) {
			continue
		}
		if c.stopped.Err() != nil {
			return errClosed
		}
		c.guardFailed(errGuardBound)
		return nil
	}
	return nil
}

// tellGuard tells the guard how a login ended, in the background.
func (c *Connector) tellGuard(login LoginAttempt, err error, took time.Duration) {
	g := &c.guardian
	if g.guard == nil || !g.answers() {
		return
	}
	outcome := LoginOutcome{classifyLogin(err, nil), number(err), took}
	refused := outcome.Class == ClassPermanent || outcome.Class == ClassCredential
	g.mu.Lock()
	if g.turn.calls == nil || refused != g.turn.refused && outcome.Class != ClassTransient { // which says nothing of the credential
		g.turn = turn{refused, g.turn.calls, new(sync.WaitGroup)}
	}
	now := g.turn
	now.calls.Add(1)
	g.mu.Unlock()
	c.background.Go(func() {
		defer now.calls.Done()
		if now.after != nil {
			now.after.Wait()
			if !g.answers() {
				return // it has failed meanwhile, and rests
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), guardTimeout)
		defer cancel()
		if _, err := program.Call(ctx, &c.programs, func(ctx context.Context) (any, error) { g.guard.After(ctx, login, outcome); return nil, nil }); err != nil {
			c.guardFailed(err)
		}
	})
}

// answers reports whether the guard is asked: it has not failed a moment ago.
func (g *guardian) answers() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed.IsZero() || time.Since(g.failed) >= guardRest
}

func (g *guardian) answered() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = time.Time{}
}

func (c *Connector) guardFailed(err error) {
	if p, ok := as[*program.PanicError](err); ok {
		err = errors.New("it panicked: " + p.What)
	}
	g := &c.guardian
	g.mu.Lock()
	again := !g.failed.IsZero()
	g.failed = time.Now()
	g.mu.Unlock()
	c.emit(context.Background(), Event{Kind: EventGuardFailed, Duration: guardRest, Error: redact(err), again: again})
}

// guardError is what a caller gets whose login the guard has not let through.
func guardError(err error) error {
	return &SessionError{Op: "login", Class: ClassPermanent, Err: fmt.Errorf("the login guard says: %w", err), suspended: true}
}
