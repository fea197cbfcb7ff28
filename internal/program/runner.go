package program

import (
	"context"
	"runtime/pprof"
	"sync"
	"time"
)

// This file keeps goroutines for a moment. One that has carried out a statement has a stack
// that gosnowflake fits on, and making that anew was most of what this driver added to the
// time of a statement (docs/performance.md).

// A Runner does what [Leave] does for calls that follow each other on one session, on one
// goroutine as long as they come soon one after the other. Its zero value is ready.
//
// A goroutine whose call was left behind belongs to that call and ends with it: no later
// call ever meets it, its channels or what it still writes.
type Runner[T any] struct {
	mu     sync.Mutex
	idle   *worker[T]
	closed bool
}

// keptFor is how long a goroutine without work is kept at least; it is gone after twice
// that.
const keptFor = 100 * time.Millisecond

// A worker is a goroutine that is kept.
type worker[T any] struct {
	jobs chan job[T]
	done chan returned

	// Under the runner's lock:
	timer *time.Timer
	used  bool // since the timer was set
	unset bool // the timer went off while the worker was not idle
}

type job[T any] struct {
	ctx context.Context
	on  T
	run func(T, context.Context) (any, error)
}

type returned struct {
	out  any
	err  error
	gone bool // the goroutine has ended
}

// Leave runs something until it returns or ctx ends: then it is left behind.
func (r *Runner[T]) Leave(ctx, inner context.Context, on T, run func(T, context.Context) (any, error)) (any, *Leftover, error) {
	if ctx.Done() == nil {
		out, err := guardOn(inner, on, run)
		return out, nil, err
	}
	w := r.take()
	w.jobs <- job[T]{inner, on, run}
	if got, ok := await(ctx, w.done); ok {
		r.put(w, got.gone)
		return got.out, nil, got.err
	}
	close(w.jobs)
	return nil, leaveBehind(w.done), ctx.Err()
}

// Close ends the goroutine that is idle, now and from now on.
func (r *Runner[T]) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.drop()
}

// take is a worker that nobody else has.
func (r *Runner[T]) take() *worker[T] {
	r.mu.Lock()
	w := r.idle
	r.idle = nil
	r.mu.Unlock()
	if w == nil {
		w = &worker[T]{jobs: make(chan job[T], 1), done: make(chan returned, 1)}
		go w.live()
	}
	return w
}

// put takes back a worker whose call has returned.
func (r *Runner[T]) put(w *worker[T], gone bool) {
	if gone {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.idle != nil { // another call was on its way meanwhile
		close(w.jobs)
		return
	}
	r.idle, w.used = w, true
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(keptFor, func() { r.expire(w) })
	case w.unset:
		w.unset = false
		w.timer.Reset(keptFor)
	}
}

// expire ends a worker that had no work for a while. The timer goes off a few times a second
// while there is work, and is not touched by a call.
func (r *Runner[T]) expire(w *worker[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.idle != w:
		w.unset = true
	case w.used:
		w.used = false
		w.timer.Reset(keptFor)
	default:
		r.drop()
	}
}

// drop ends the worker that is idle, if there is one.
func (r *Runner[T]) drop() {
	if w := r.idle; w != nil {
		r.idle = nil
		w.timer.Stop()
		close(w.jobs)
	}
}

// live is the life of a worker's goroutine.
func (w *worker[T]) live() {
	got := returned{err: ErrGoexit, gone: true}
	defer func() {
		if got.gone {
			w.done <- got
		}
	}()
	for j := range w.jobs {
		// A garbage collection shrinks the stack of a goroutine that waits.
		growStack(-1)
		// A profile's labels are the caller's, and not those of whoever was first.
		pprof.SetGoroutineLabels(j.ctx)
		out, err := guardOn(j.ctx, j.on, j.run)
		j = job[T]{} // nothing is held on to
		w.done <- returned{out: out, err: err}
	}
	got.gone = false
}

// guardOn is [Guard] for what runs on something.
func guardOn[T any](ctx context.Context, on T, run func(T, context.Context) (any, error)) (any, error) {
	return Guard(ctx, func(ctx context.Context) (any, error) { return run(on, ctx) })
}
