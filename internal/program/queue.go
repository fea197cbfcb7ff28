package program

import (
	"context"
	"sync"
	"time"
)

// A Queue holds what is on its way to the program, in its order: events, for its log handler
// and its event hook. One goroutine delivers, while there is anything.
type Queue struct {
	Functions *Functions
	Timeout   time.Duration                         // for which a delivery is waited for
	Failed    func(error)                           // is told of a function that panicked or ended its goroutine
	Dropped   func(n int) func(ctx context.Context) // makes the step that tells of deliveries that were dropped

	mu      sync.Mutex
	queue   []*Delivery
	under   bool // way: somebody delivers
	late    bool // one that was waited for was too slow: nobody waits until all are through
	dropped int
}

// A Delivery is what is handed over, in steps. Each is taken off before it is tried: one that
// panics or ends its goroutine is not tried again, and the next one is.
type Delivery struct {
	Ctx   context.Context
	Steps []func(context.Context)
	over  chan struct{}
}

// maxDeliveries is how many events wait for a handler or a hook that blocks; more are dropped.
const maxDeliveries = 1000

// Post queues a delivery. await waits a moment, at most until ctx ends, so that as a rule it
// has been seen when the call returns that it is about.
func (q *Queue) Post(d *Delivery) (await func(ctx context.Context)) {
	wait := q.add(d)
	return func(ctx context.Context) {
		if wait && !q.Functions.Inside(ctx) { // else it would wait for itself
			q.await(ctx, d)
		}
	}
}

func (q *Queue) await(ctx context.Context, d *Delivery) {
	timer := time.NewTimer(q.Timeout)
	defer timer.Stop()
	select {
	case <-d.over:
	case <-ctx.Done():
	case <-timer.C:
		q.mu.Lock()
		q.late = q.under
		q.mu.Unlock()
	}
}

// add reports whether there is sense in waiting for the delivery.
func (q *Queue) add(d *Delivery) (wait bool) {
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
		go q.deliver()
	}
	return !q.late
}

// deliver is the life of the goroutine that delivers. Where the program's function ends it,
// another goes on.
func (q *Queue) deliver() {
	_, over := q.Functions.Enter(context.Background())
	defer over()
	done := false
	defer func() {
		if !done {
			q.Failed(ErrGoexit)
			go q.deliver()
		}
	}()
	for d := q.first(); d != nil; d = q.first() {
		for len(d.Steps) > 0 {
			step := d.Steps[0]
			d.Steps = d.Steps[1:]
			if _, err := Guard(d.Ctx, func(ctx context.Context) (any, error) { step(ctx); return nil, nil }); err != nil {
				q.Failed(err)
			}
		}
		q.pop()
	}
	done = true
}

// first is the delivery whose turn it is; nil if there is none, and the goroutine ends.
func (q *Queue) first() *Delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		q.under, q.late = false, false
		return nil
	}
	return q.queue[0]
}

// pop takes it out of the queue.
func (q *Queue) pop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.queue[0].over)
	q.queue = q.queue[1:]
	if n := q.dropped; n > 0 {
		q.dropped = 0
		q.queue = append(q.queue, &Delivery{Ctx: context.Background(), Steps: []func(context.Context){q.Dropped(n)}, over: make(chan struct{})})
	}
}
