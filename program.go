package snowtether

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/dsn"
	"github.com/snowtether/snowtether/internal/gate"
	"github.com/snowtether/snowtether/internal/login"
	"github.com/snowtether/snowtether/internal/program"
)

// This file is about the program's own functions, as internal/program calls them: its log
// handler and event hook, which are handed what happened; its token source and the hook that
// changes the Config of a login; and its back-off, and how long an operation waits by that for
// an outage to end.

// programTimeout bounds the waiting for a function that should return at once: a back-off, a
// log handler, an event hook.
const programTimeout = time.Second

// errWithin is what a login gets that a function of the program's asks for.
var errWithin = errors.New("a function that the pool is calling (a hook, a token source, a log handler) uses that pool, and each would wait for the other; give it a pool of its own")

// failed has it logged, once for each connector, that a function of the program's panicked
// or blocked.
func (c *Connector) failed(what string, err error) {
	if c.told.Swap(true) {
		return
	}
	if p, ok := as[*program.PanicError](err); ok {
		err = errors.New(p.What)
	}
	c.tell(slog.LevelError, functionFailed, slog.String("function", what), slog.String("error", err.Error()))
}

// tell writes a line that is about no event, in its turn.
func (c *Connector) tell(level slog.Level, message string, attrs ...slog.Attr) {
	c.deliveries.Post(&program.Delivery{Ctx: context.Background(), Steps: []func(context.Context){
		func(ctx context.Context) { c.logger().LogAttrs(ctx, level, message, attrs...) },
	}})
}

// newDeliveries makes what events go through to the program's log handler and event hook.
func newDeliveries(c *Connector) *program.Queue {
	return &program.Queue{
		Functions: &c.programs, Timeout: programTimeout,
		Failed: func(err error) { c.failed("event hook or log handler", err) },
		Dropped: func(n int) func(context.Context) {
			return func(ctx context.Context) {
				c.logger().LogAttrs(ctx, slog.LevelWarn, eventsDropped, slog.Int("count", n))
			}
		},
	}
}

// deliver hands an event over. await waits until it has been seen, for a moment at most.
func (c *Connector) deliver(ctx context.Context, e Event) (await func()) {
	steps := []func(context.Context){func(ctx context.Context) { c.write(ctx, e) }}
	if hook := c.settings.eventHook; hook != nil {
		steps = append(steps, func(context.Context) { hook(e) })
	}
	seen := c.deliveries.Post(&program.Delivery{Ctx: ctx, Steps: steps})
	return func() { seen(ctx) }
}

// hookTimeout bounds a hook or a token source that hangs, so that it cannot hold
// up the logins of others for ever.
const hookTimeout = time.Minute

// prepare makes the Config for one login. stale is a token that was just refused.
func (c *Connector) prepare(ctx context.Context, stale string) (*gosnowflake.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	defer context.AfterFunc(c.stopped, cancel)()
	cfg := dsn.Clone(c.cfg)
	if c.tokens != nil {
		token, err := c.tokens.Get(ctx, stale)
		if err != nil {
			return nil, &programError{"token source", err}
		}
		cfg.Token, cfg.TokenFilePath = token, ""
		if cfg.Authenticator != gosnowflake.AuthTypePat {
			cfg.Authenticator = gosnowflake.AuthTypeOAuth
		}
	}
	if c.settings.beforeConnect != nil {
		if err := c.askHook(ctx, cfg); err != nil {
			return nil, &programError{"hook before the login", err}
		}
	}
	if cfg.TokenFilePath != "" && strings.TrimSpace(login.Token(cfg)) == "" {
		return nil, &localError{errors.New("the token file (tokenFilePath) is empty, or cannot be read")} // it may be being written
	}
	return cfg, nil
}

// askHook lets the program's hook change cfg.
func (c *Connector) askHook(ctx context.Context, cfg *gosnowflake.Config) error {
	// One that ignores its context is left behind, and cfg with it.
	_, err := program.Call(ctx, &c.programs, func(ctx context.Context) (any, error) { return nil, c.settings.beforeConnect(ctx, cfg) })
	if err != nil {
		return err
	}
	if cfg.Params == nil {
		cfg.Params = make(map[string]*string)
	}
	// What it says about keep-alive in another spelling replaces what is there.
	for _, name := range []string{paramKeepAlive, paramHeartbeat} {
		for key := range cfg.Params {
			if key != name && strings.EqualFold(key, name) {
				delete(cfg.Params, name)
			}
		}
	}
	for name, value := range cfg.Params {
		if value == nil || strings.HasPrefix(strings.ToLower(name), "tether") {
			return fmt.Errorf("it set the parameter %s, which has no value or is an option of the connector", dsn.Shorten(name))
		}
	}
	return c.settings.applyKeepAlive(cfg)
}

// A programError is what a function of the program's failed with before a login was sent.
type programError struct {
	who string
	err error
}

func (e *programError) Error() string { return "the " + e.who + " failed: " + e.err.Error() }
func (e *programError) Unwrap() error { return e.err }

// class is permanent for the caller who meets the error, as a rule. It suspends nobody.
func (e *programError) class() Class {
	if isTransient(e.err) || isContext(e.err) {
		return ClassTransient
	}
	return ClassPermanent
}

// nextPause takes the next wait from the program's back-off, which is made where there is
// none yet. One that fails is replaced by the default.
func (c *Connector) nextPause(ctx context.Context, b *backoff.BackOff) time.Duration {
	if c.settings.newBackOff == nil {
		if *b == nil {
			*b = c.settings.defaultBackOff()
		}
		return (*b).NextBackOff()
	}
	bounded, cancel := context.WithTimeout(ctx, programTimeout)
	defer cancel()
	type step struct {
		b    backoff.BackOff
		wait time.Duration
	}
	old := *b
	next, err := program.Call(bounded, &c.programs, func(context.Context) (step, error) {
		b := old
		if b == nil {
			if b = c.settings.newBackOff(); b == nil {
				b = &backoff.StopBackOff{}
			}
		}
		return step{b, b.NextBackOff()}, nil
	})
	if err != nil {
		if ctx.Err() == nil {
			c.failed("back-off", err)
		}
		next.b = c.settings.defaultBackOff()
		next.wait = next.b.NextBackOff()
	}
	*b = next.b
	return next.wait
}

// defaultBackOff is 0.5, 1, 2, 4, 8, 16, 16 … seconds, each ± half.
func (s *settings) defaultBackOff() backoff.BackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(s.backOffInitial), backoff.WithMultiplier(2), backoff.WithRandomizationFactor(0.5),
		backoff.WithMaxInterval(s.backOffMax), backoff.WithMaxElapsedTime(0))
}

// A patience is what one operation has for an outage: without a deadline of the caller's
// the connect budget, once, from the first failure on, whatever is waited for then: a
// pause, a login, a question.
type patience struct {
	since   time.Time // of the first failure; zero: there was none, or it is over
	backOff backoff.BackOff
}

// Waited is the time for which a connection's first login was waited for.
type waited struct{ from, until time.Time }

// after is a patience of which a part is gone: the call waited for its connection a moment
// ago, for longer than a login takes.
func (p *patience) after(w waited) {
	if w.until.Sub(w.from) > atOnceFor && time.Since(w.until) < time.Second {
		p.since = w.from
	}
}

// renew is called when an outage is over.
func (p *patience) renew() { *p = patience{} }

func (p *patience) begin() {
	if p.since.IsZero() {
		p.since = time.Now()
	}
}

// limit is the caller's context for what is waited for.
func (p *patience) limit(ctx context.Context, c *Connector) (context.Context, context.CancelFunc) {
	p.begin()
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, p.since.Add(c.settings.connectBudget), errBudgetOver)
}

// wait lets some of an outage pass before the operation is tried again, and reports
// whether there is time for that.
func (p *patience) wait(ctx context.Context, c *Connector) bool {
	p.begin()
	pause := c.nextPause(ctx, &p.backOff)
	_, bounded := ctx.Deadline()
	if pause == backoff.Stop || !bounded && time.Since(p.since)+pause > c.settings.connectBudget {
		return false
	}
	return gate.Sleep(ctx, c.stopped, pause)
}

// untried reports whether next to nothing of it is gone: then database/sql may begin from
// the start on another connection, with a patience of its own.
func (p *patience) untried() bool { return p.since.IsZero() || time.Since(p.since) <= atOnceFor }

// atOnceFor is how long what is done without waiting may take.
const atOnceFor = 5 * time.Second
