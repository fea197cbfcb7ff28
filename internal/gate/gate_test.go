package gate

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
)

var errDown = errors.New("unreachable")

// inBubble runs f in virtual time with a gate whose back-off is 1 s, and the kinds of what
// happened at it.
func inBubble(t *testing.T, f func(t *testing.T, g *Gate, seen func() []Kind)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var kinds []Kind
		g := New(Config{
			MaxLogins: 3, Cooldown: 30 * time.Second, PauseBound: time.Second,
			Pause: func(b *backoff.BackOff) time.Duration {
				*b = backoff.NewConstantBackOff(time.Second)
				return time.Second
			},
			Budget:   func(error) time.Duration { return time.Minute },
			WhyEnded: func(ctx context.Context) error { return ctx.Err() },
			Queue: func(_ context.Context, e Event) func() {
				mu.Lock()
				defer mu.Unlock()
				kinds = append(kinds, e.Kind)
				return func() {}
			},
		})
		f(t, g, func() []Kind {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(kinds)
		})
	})
}

func enter(t *testing.T, g *Gate) *Pass {
	t.Helper()
	p, err := g.Enter(t.Context(), t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// succeed is a login that was taken, and whose session was ready at once.
func succeed(p *Pass) {
	p.Admitted(Fingerprint{}, time.Now())
	p.Leave(Succeeded, nil, 0)
}

// TestOneFindsOutHowThingsAre: while nothing is known one login is under way; when it has
// succeeded, as many as may be.
func TestOneFindsOutHowThingsAre(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Gate, _ func() []Kind) {
		passes := make(chan *Pass, 10)
		for range 10 {
			go func() {
				if p, err := g.Enter(t.Context(), t.Context()); err == nil {
					passes <- p
				}
			}()
		}
		synctest.Wait()
		if len(passes) != 1 {
			t.Fatalf("%d went first", len(passes))
		}
		succeed(<-passes)
		for got := 1; got < 10; got++ {
			synctest.Wait()
			if n := len(passes); n > 3 {
				t.Errorf("%d logins are under way", n)
			}
			succeed(<-passes)
		}
	})
}

// TestOutageIsToldOfTwice: when it begins and when it is over. In between one login follows
// the other by the back-off, or by the server's word where that is longer.
func TestOutageIsToldOfTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Gate, seen func() []Kind) {
		begun := time.Now()
		for range 3 {
			if !enter(t, g).Leave(Transient, errDown, 0) {
				t.Error("there is no sense in another try")
			}
		}
		enter(t, g).Leave(Transient, errDown, 10*time.Second)
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("four tries took %v", took)
		}
		if info := g.Info(time.Now()); !g.IsOut() || info.State != Probing || info.Failures != 4 || info.Last != errDown {
			t.Errorf("in the outage it is %+v", info)
		}
		succeed(enter(t, g))
		if took := time.Since(begun); took != 14*time.Second {
			t.Errorf("the try after the server's word came after %v", took)
		}
		if g.IsOut() || !slices.Equal(seen(), []Kind{OutageBegan, OutageOver}) {
			t.Errorf("it told of %v", seen())
		}
	})
}

// TestWaitEndsWithItsContextAndItsConnector: and says what the last login failed with.
func TestWaitEndsWithItsContextAndItsConnector(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Gate, _ func() []Kind) {
		enter(t, g).Leave(Transient, errDown, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Enter(ctx, t.Context()); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDown) {
			t.Errorf("the error is %v", err)
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		if _, err := g.Enter(t.Context(), stopped); err != ErrStopped {
			t.Errorf("the error is %v", err)
		}
	})
}

// TestRefusedCredentialsRest: longer each time, these alone, until they turn out right.
func TestRefusedCredentialsRest(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Gate, seen func() []Kind) {
		refused := errors.New("390100")
		old, fresh := g.NewKnock("acct", "u", []string{"old"}, true), g.NewKnock("ACCT", "U", []string{"new"}, true)
		for _, rest := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute} {
			g.Suspend(old.Key, refused, time.Time{})
			time.Sleep(rest - time.Second)
			if g.Suspended(old.Key) != refused || g.Suspended(fresh.Key) != nil {
				t.Errorf("after %v the old rests: %v, the new: %v", rest-time.Second, g.Suspended(old.Key), g.Suspended(fresh.Key))
			}
			time.Sleep(time.Second)
			if g.Suspended(old.Key) != nil {
				t.Errorf("it rests for longer than %v", rest)
			}
		}
		p := enter(t, g)
		p.Admitted(old.Key, time.Now())
		p.Leave(Succeeded, nil, 0)
		if got := seen(); !slices.Equal(got, []Kind{Suspended, Suspended, Suspended, Accepted}) {
			t.Errorf("it told of %v", got)
		}
	})
}

// TestAcceptedLoginSaysNothingOfALaterRefusal: not of the same credentials, nor of others.
func TestAcceptedLoginSaysNothingOfALaterRefusal(t *testing.T) {
	for _, name := range []string{"the same credentials", "others"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, g *Gate, seen func() []Kind) {
				mine := g.NewKnock("acct", "u", []string{"mine"}, true)
				later := mine
				if name == "others" {
					later = g.NewKnock("acct", "u", []string{"other"}, true)
				}
				p, sent := enter(t, g), time.Now()
				time.Sleep(time.Second)
				g.Suspend(later.Key, errors.New("390100"), time.Time{})
				p.Admitted(mine.Key, sent)
				p.Leave(Succeeded, nil, 0)
				if g.Suspended(later.Key) == nil {
					t.Error("the refused credentials do not rest")
				}
				if i := g.Info(time.Now()); i.State != Refusing {
					t.Errorf("the gate's state is %v", i.State)
				}
				if got := seen(); !slices.Equal(got, []Kind{Suspended}) {
					t.Errorf("it told of %v", got)
				}
			})
		})
	}
}

// TestReadySessionSaysNothingOfWhatCameAfterItsLogin: the gate opens for none, and no back-off
// is forgotten, by a session that was set up while logins failed, were refused or turned away,
// or sessions were lost.
func TestReadySessionSaysNothingOfWhatCameAfterItsLogin(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after func(t *testing.T, g *Gate)
		last  error
	}{
		{"a failure", func(t *testing.T, g *Gate) { enter(t, g).Leave(Transient, errDown, 0) }, errDown},
		{"a refusal", func(t *testing.T, g *Gate) { enter(t, g).Leave(Refused, errDown, 0) }, nil},
		{"too many", func(_ *testing.T, g *Gate) { g.Weigh(0, true, true); g.load = load{} }, nil},
		{"a loss", func(_ *testing.T, g *Gate) { g.Shut() }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, g *Gate, _ func() []Kind) {
				p := enter(t, g)
				p.Admitted(Fingerprint{}, time.Now())
				failing := enter(t, g) // its set-up
				failing.Admitted(Fingerprint{}, time.Now())
				tt.after(t, g)
				out := g.IsOut()
				p.Leave(Succeeded, nil, 0)
				failing.Leave(Refused, errDown, 0)
				if open, _ := g.state(); open {
					t.Error("the gate is open")
				}
				if _, last := g.Last(); last != tt.last || g.IsOut() != out {
					t.Errorf("the last failure is %v; an outage: %v, before: %v", last, g.IsOut(), out)
				}
				begun := time.Now()
				succeed(enter(t, g))
				if waited := time.Since(begun); (waited == time.Second) != (tt.last != nil) {
					t.Errorf("the next login waited for %v", waited)
				}
				if open, _ := g.state(); !open {
					t.Error("the gate is shut behind a login that came after")
				}
			})
		})
	}
}

// TestRefusalEndsTheOutageThatItFinds: the server has answered it.
func TestRefusalEndsTheOutageThatItFinds(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Gate, seen func() []Kind) {
		enter(t, g).Leave(Transient, errDown, 0)
		p := enter(t, g)
		g.Answered()
		p.Leave(Refused, errDown, 0)
		if i := g.Info(time.Now()); g.IsOut() || i.State != Free {
			t.Errorf("the gate's state is %v", i.State)
		}
		if want := []Kind{OutageBegan, OutageOver}; !slices.Equal(seen(), want) {
			t.Errorf("it told of %v, want %v", seen(), want)
		}
	})
}

// TestSessionThatLastsSaysNothingOfLoginsThatFail: sessions did not last, then logins failed, and
// then a session that was there before carried a statement out.
func TestSessionThatLastsSaysNothingOfLoginsThatFail(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Gate, seen func() []Kind) {
		g.Pace(time.Second)
		enter(t, g).Leave(Transient, errDown, time.Minute)
		g.Unreachable(t.Context(), time.Now(), errDown)
		g.Unpace(t.Context())
		g.Reached(t.Context())
		if _, last := g.Last(); last != errDown || !g.IsOut() {
			t.Errorf("the last failure is %v; an outage: %v", last, g.IsOut())
		}
		begun := time.Now()
		succeed(enter(t, g))
		if waited := time.Since(begun); waited != time.Second+time.Minute {
			t.Errorf("the next login waited for %v", waited)
		}
		if want := []Kind{PacingBegan, OutageBegan, PacingOver, OutageOver}; !slices.Equal(seen(), want) {
			t.Errorf("it told of %v, want %v", seen(), want)
		}
	})
}

// TestNobodyIsLockedOut: one login with a password that has not proved right, four with one
// that has, none after four refusals until the first is 15 minutes old.
func TestNobodyIsLockedOut(t *testing.T) {
	inBubble(t, func(t *testing.T, g *Gate, _ func() []Kind) {
		var l Lockout
		try := func(n Knock) (Knock, func(), error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			leave, err := l.Enter(ctx, &n)
			return n, leave, err
		}
		password := g.NewKnock("acct", "u", []string{"p"}, true)
		first, leave, err := try(password)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := try(password); err == nil {
			t.Error("two logins with a password that nobody has seen succeed")
		}
		l.Accepted(first)
		leave()
		var leaves []func()
		for range mayBeRefused {
			_, leave, err := try(password)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		if _, _, err := try(password); err == nil {
			t.Error("five logins at once: if the password is changed now, the user is locked out")
		}
		for i, leave := range leaves {
			until := l.Refused(password, errDown)
			if leave(); (i == mayBeRefused-1) == until.IsZero() {
				t.Errorf("refusal %d: none before %v", i+1, until)
			}
		}
		var full *FullError
		if _, _, err := try(password); !errors.As(err, &full) || full.Last != errDown {
			t.Errorf("a fifth refusal is risked: %v", err)
		}
		if _, _, err := try(g.NewKnock("acct", "other", []string{"p"}, true)); err != nil {
			t.Errorf("another user: %v", err)
		}
		time.Sleep(lockFor)
		if _, _, err := try(password); err != nil {
			t.Errorf("15 minutes later: %v", err)
		}
	})
}
