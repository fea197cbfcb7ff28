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
	out, _, err := leave(ctx, ctx, func(ctx context.Context) (any, error) {
		ctx, over := c.programs.enter(ctx)
		defer over()
		return f(ctx)
	})
	return outcome[T](out, err)
}

// within marks the context of a function of the program's.
type within struct{ p *programs }

// enter notes that a function of the program's is running on this goroutine, and marks the
// context for it.
func (p *programs) enter(ctx context.Context) (_ context.Context, leave func()) {
	g := goroutine()
	p.on.Store(g, true)
	p.running.Add(1)
	return context.WithValue(ctx, within{p}, true), func() {
		p.running.Add(-1)
		p.on.Delete(g)
	}
}

// inside reports whether it is a function of the program's, called by this connector, that
// is asking. What it starts itself is known by its context alone.
func (p *programs) inside(ctx context.Context) bool {
	if ctx.Value(within{p}) != nil {
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

// failed has it logged, once for each connector, that a function of the program's panicked
// or blocked.
func (c *Connector) failed(what string, err error) {
	if c.programs.told.Swap(true) {
		return
	}
	if p, ok := as[*panicError](err); ok {
		err = errors.New(p.what)
	}
	c.post(&delivery{ctx: context.Background(), hooked: true, write: func(ctx context.Context) {
		c.logger().LogAttrs(ctx, slog.LevelError, functionFailed, slog.String("function", what), slog.String("error", err.Error()))
	}})
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
	next, err := program(bounded, c, func(context.Context) (step, error) {
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

// Deliveries are the events on their way to the program's log handler and event hook, in
// their order. One goroutine delivers them, while there are any.
type deliveries struct {
	mu      sync.Mutex
	queue   []*delivery
	under   bool // way: somebody delivers
	late    bool // one that was waited for was too slow: nobody waits until all are through
	dropped int
}

// A delivery is what is handed over, in two steps. Each is marked as done before it is tried:
// one that panics or ends its goroutine is not tried again, and the next one is.
type delivery struct {
	ctx             context.Context
	event           Event
	write           func(context.Context) // the line in the log
	written, hooked bool
	over            chan struct{}
}

// maxDeliveries is how many events wait for a handler or a hook that blocks; more are dropped.
const maxDeliveries = 1000

// deliver hands an event over. await waits a moment, at most until ctx ends, so that as a rule
// it has been seen when the call returns that it is about.
func (c *Connector) deliver(ctx context.Context, e Event) (await func()) {
	d := &delivery{ctx: ctx, event: e, write: func(ctx context.Context) { c.write(ctx, e) }, hooked: c.settings.eventHook == nil}
	wait := c.post(d)
	return func() {
		if wait && !c.programs.inside(ctx) { // else it would wait for itself
			c.await(ctx, d)
		}
	}
}

func (c *Connector) await(ctx context.Context, d *delivery) {
	timer := time.NewTimer(programTimeout)
	defer timer.Stop()
	select {
	case <-d.over:
	case <-ctx.Done():
	case <-timer.C:
		q := &c.deliveries
		q.mu.Lock()
		q.late = q.under
		q.mu.Unlock()
	}
}

// post queues a delivery. It reports whether there is sense in waiting for it.
func (c *Connector) post(d *delivery) (wait bool) {
	q := &c.deliveries
	d.over = make(chan struct{})
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == maxDeliveries {
		q.dropped++
		return false
	}
	q.queue = append(q.queue, d)
	if !q.under {
		q.under = true
		go c.deliverAll()
	}
	return !q.late
}

// deliverAll is the life of the goroutine that delivers. Where the program's function ends
// it, another goes on.
func (c *Connector) deliverAll() {
	_, over := c.programs.enter(context.Background())
	defer over()
	done := false
	defer func() {
		if !done {
			c.failed("event hook or log handler", errGoexit)
			go c.deliverAll()
		}
	}()
	for d := c.deliveries.first(); d != nil; d = c.deliveries.first() {
		for _, step := range []struct {
			done *bool
			do   func(context.Context)
		}{{&d.written, d.write}, {&d.hooked, func(context.Context) { c.settings.eventHook(d.event) }}} {
			if *step.done {
				continue
			}
			*step.done = true
			if _, err := guard(d.ctx, func(ctx context.Context) (any, error) { step.do(ctx); return nil, nil }); err != nil {
				c.failed("event hook or log handler", err)
			}
		}
		c.deliveries.pop(c)
	}
	done = true
}

// first is the delivery whose turn it is; nil if there is none, and the goroutine ends.
func (q *deliveries) first() *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		q.under, q.late = false, false
		return nil
	}
	return q.queue[0]
}

// pop takes it out of the queue.
func (q *deliveries) pop(c *Connector) {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.queue[0].over)
	q.queue = q.queue[1:]
	if n := q.dropped; n > 0 {
		q.dropped = 0
		q.queue = append(q.queue, &delivery{ctx: context.Background(), hooked: true, over: make(chan struct{}), write: func(ctx context.Context) {
			c.logger().LogAttrs(ctx, slog.LevelWarn, eventsDropped, slog.Int("count", n))
		}})
	}
}
