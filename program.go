package snowtether

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// This file calls the program's own functions: hooks, back-offs, log handlers (its token
// source is asked in credentials.go). Each runs on a goroutine of its own and with no lock
// held, so that one that panics, calls runtime.Goexit or blocks harms nobody but itself.

// programTimeout bounds the waiting for a function that should return at once: a back-off, a
// log handler, an event hook.
const programTimeout = time.Second

// Programs are the functions of the program's that are running.
type programs struct {
	running atomic.Int64
	on      sync.Map    // the number of a goroutine → true
	told    atomic.Bool // one has failed and was logged
}

// program calls one of the program's functions and waits for it until ctx ends. The error is
// the function's, a *panicError, or the context's where it was left behind.
func program[T any](ctx context.Context, c *Connector, f func(context.Context) (T, error)) (T, error) {
	out, _, err := leave(ctx, context.WithValue(ctx, within{c}, true), func(ctx context.Context) (any, error) {
		defer c.programs.enter()()
		return f(ctx)
	})
	return outcome[T](out, err)
}

// within marks the context of a function of the program's.
type within struct{ c *Connector }

// enter notes that a function of the program's is running on this goroutine.
func (p *programs) enter() (leave func()) {
	g := goroutine()
	p.on.Store(g, true)
	p.running.Add(1)
	return func() {
		p.running.Add(-1)
		p.on.Delete(g)
	}
}

// inside reports whether it is a function of the program's, called by this connector, that
// is asking. What it starts itself is known by its context alone.
func (p *programs) inside(ctx context.Context, c *Connector) bool {
	if ctx.Value(within{c}) != nil {
		return true
	}
	if p.running.Load() == 0 {
		return false
	}
	_, on := p.on.Load(goroutine())
	return on
}

// goroutine is the number of the goroutine, from the first line of its stack: "goroutine 7
// [running]:". There is no other way to ask for it; it is asked only where one of the
// program's functions is running, or begins to.
func goroutine() int {
	var buf [64]byte
	_, line, _ := bytes.Cut(buf[:runtime.Stack(buf[:], false)], []byte(" "))
	digits, _, _ := bytes.Cut(line, []byte(" "))
	n, _ := strconv.Atoi(string(digits))
	return n
}

// errWithin is what a login gets that a function of the program's asks for.
var errWithin = errors.New("a function that the pool is calling (a hook, a token source, a log handler) uses that pool, and each would wait for the other; give it a pool of its own")

// failed logs, once for each connector, that a function of the program's panicked or blocked.
func (c *Connector) failed(ctx context.Context, what string, err error) {
	if p, ok := as[*panicError](err); ok {
		err = errors.New(p.what)
	}
	if !c.programs.told.Swap(true) {
		c.logger().LogAttrs(ctx, slog.LevelError, functionFailed, slog.String("function", what), slog.String(keyError, err.Error()))
	}
}

// nextPause takes the next wait from the program's back-off, which is made where there is
// none yet. One that fails is replaced by the default.
func (c *Connector) nextPause(b *backoff.BackOff) time.Duration {
	if c.settings.newBackOff == nil {
		if *b == nil {
			*b = c.settings.defaultBackOff()
		}
		return (*b).NextBackOff()
	}
	ctx, cancel := context.WithTimeout(context.Background(), programTimeout)
	defer cancel()
	type step struct {
		b    backoff.BackOff
		wait time.Duration
	}
	old := *b
	next, err := program(ctx, c, func(context.Context) (step, error) {
		b := old
		if b == nil {
			if b = c.settings.newBackOff(); b == nil {
				b = &backoff.StopBackOff{}
			}
		}
		return step{b, b.NextBackOff()}, nil
	})
	if err != nil {
		c.failed(context.Background(), "back-off", err)
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

// Deliveries are the events on their way to the program's log handler and event hook, in
// their order. One goroutine delivers them, while there are any.
type deliveries struct {
	mu      sync.Mutex
	queue   []*delivery
	under   bool // way: somebody delivers
	late    bool // the last one that was waited for was too slow: nobody waits until it is through
	dropped int
}

type delivery struct {
	ctx   context.Context
	event Event
	over  chan struct{}
}

// maxDeliveries is how many events wait for a handler or a hook that blocks; more are dropped.
const maxDeliveries = 1000

// deliver hands an event over, and waits a moment so that as a rule it has been seen when the
// call returns that it is about.
func (c *Connector) deliver(ctx context.Context, e Event) {
	q, d := &c.deliveries, &delivery{ctx, e, make(chan struct{})}
	q.mu.Lock()
	if len(q.queue) == maxDeliveries {
		q.dropped++
		q.mu.Unlock()
		return
	}
	q.queue = append(q.queue, d)
	wait := !q.late
	if !q.under {
		q.under = true
		go c.deliverAll()
	}
	q.mu.Unlock()
	if !wait || c.programs.inside(ctx, c) { // it would wait for itself
		return
	}
	timer := time.NewTimer(programTimeout)
	defer timer.Stop()
	select {
	case <-d.over:
	case <-timer.C:
		q.mu.Lock()
		q.late = q.under
		q.mu.Unlock()
	}
}

// deliverAll is the life of the goroutine that delivers.
func (c *Connector) deliverAll() {
	defer c.programs.enter()()
	q := &c.deliveries
	for {
		q.mu.Lock()
		if len(q.queue) == 0 {
			q.under, q.late = false, false
			q.mu.Unlock()
			return
		}
		d := q.queue[0]
		q.queue = q.queue[1:]
		dropped := q.dropped
		q.dropped = 0
		q.mu.Unlock()
		if !c.deliverOne(d, dropped) {
			return // another goes on
		}
	}
}

// deliverOne hands one event to the log handler and to the event hook. It returns false
// where one of them has ended the goroutine.
func (c *Connector) deliverOne(d *delivery, dropped int) (lives bool) {
	defer close(d.over)
	defer func() {
		if !lives {
			go c.deliverAll()
		}
	}()
	_, err := guard(d.ctx, func(ctx context.Context) (any, error) {
		if dropped > 0 {
			c.logger().LogAttrs(ctx, slog.LevelWarn, eventsDropped, slog.Int("count", dropped))
		}
		c.write(ctx, d.event)
		return nil, nil
	})
	if hook := c.settings.eventHook; hook != nil {
		_, failed := guard(d.ctx, func(context.Context) (any, error) { hook(d.event); return nil, nil })
		err = errors.Join(err, failed)
	}
	if err != nil {
		_, _ = guard(d.ctx, func(ctx context.Context) (any, error) {
			c.failed(ctx, "event hook or log handler", err)
			return nil, nil
		})
	}
	return true
}
