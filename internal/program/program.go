// Package program calls what may never return: the program's own functions (hooks, back-offs,
// log handlers) and the inner driver. Each runs on a goroutine of its own and with no lock
// held, so that one that panics, calls runtime.Goexit or blocks harms nobody but itself.
package program

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
)

// Functions are those of the program's that are running.
type Functions struct {
	running atomic.Int64
	on      sync.Map // the number of a goroutine → true
}

// Call calls one of the program's functions and waits for it until ctx ends. The error is
// the function's, a [*PanicError], or the context's where it was left behind.
func Call[T any](ctx context.Context, p *Functions, f func(context.Context) (T, error)) (out T, _ error) {
	got, _, err := Leave(ctx, ctx, func(ctx context.Context) (any, error) {
		ctx, over := p.Enter(ctx)
		defer over()
		return f(ctx)
	})
	if err == nil {
		out, _ = got.(T)
	}
	return out, err
}

// within marks the context of a function of the program's.
type within struct{ p *Functions }

// Enter notes that a function of the program's is running on this goroutine, and marks the
// context for it.
func (p *Functions) Enter(ctx context.Context) (_ context.Context, leave func()) {
	g := goroutine()
	p.on.Store(g, true)
	p.running.Add(1)
	return context.WithValue(ctx, within{p}, true), func() {
		p.running.Add(-1)
		p.on.Delete(g)
	}
}

// Inside reports whether it is a function of the program's, of these, that
// is asking. What it starts itself is known by its context alone.
func (p *Functions) Inside(ctx context.Context) bool {
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

// A PanicError is a panic of the inner driver, turned into an error.
type PanicError struct{ What string }

func (e *PanicError) Error() string { return "the inner driver panicked: " + e.What }

// Guard calls the inner driver, or a hook, and turns a panic into an error.
// gosnowflake panics, for example, on a server that ignores asyncExec.
func Guard[T any](ctx context.Context, call func(context.Context) (T, error)) (out T, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			err = &PanicError{r.Error()}
		default:
			// Its text may hold anything, also a secret.
			err = &PanicError{fmt.Sprintf("a value of type %T", r)}
		}
	}()
	if out, err = call(ctx); err == nil {
		err = present(out)
	}
	return out, err
}

// ErrNoAnswer is what a typed nil pointer in place of rows or a result is turned
// into. gosnowflake returns one if a server ignores asyncExec, and any use of it
// is a panic.
var ErrNoAnswer = errors.New("the server did not treat the statement as asynchronous")

func present(v any) error {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() {
		return ErrNoAnswer
	}
	return nil
}

// A Leftover is an operation that its caller left behind.
type Leftover struct {
	Over chan struct{} // closed when it has returned
	Err  error         // what it returned with
}

// Leave runs something until it returns or ctx ends: then it is left behind.
func Leave(ctx, inner context.Context, run func(context.Context) (any, error)) (_ any, _ *Leftover, _ error) {
	if ctx.Done() == nil {
		out, err := Guard(inner, run)
		return out, nil, err
	}
	done := make(chan returned, 1)
	go func() {
		r := returned{err: ErrGoexit}
		defer func() { done <- r }()
		growStack(-1)
		r.out, r.err = Guard(inner, run)
	}()
	if r, ok := await(ctx, done); ok {
		return r.out, nil, r.err
	}
	return nil, leaveBehind(done), ctx.Err()
}

// await waits for a call until ctx ends. What has returned by then counts.
func await(ctx context.Context, done <-chan returned) (_ returned, ok bool) {
	select {
	case r := <-done:
		return r, true
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r, true
	default:
		return returned{}, false
	}
}

// leaveBehind sees a call to its end that its caller left behind.
func leaveBehind(done <-chan returned) *Leftover {
	left := &Leftover{Over: make(chan struct{})}
	go func() {
		r := <-done
		if rows, ok := r.out.(driver.Rows); ok {
			_ = rows.Close()
		}
		left.Err = r.err
		close(left.Over)
		if res, ok := r.out.(driver.Result); ok {
			// gosnowflake hands the end of an asynchronous statement to whoever asks, and
			// waits for that, for ever.
			_, _ = res.RowsAffected()
		}
	}()
	return left
}

// ErrGoexit is a function of the program's that has ended its goroutine.
var ErrGoexit = &PanicError{"it called runtime.Goexit"}

// growStack makes room on a goroutine's stack for gosnowflake, whose calls take some 20 KB.
// Growing at once, while there is nothing to copy, in place of doubling on the way down,
// halves what a new goroutine costs a statement (BenchmarkStatement). That a function has the
// room is enough: with -1 it leaves it as it is.
//
//go:noinline
func growStack(i int) byte {
	if i < 0 {
		return 0
	}
	var room [28 << 10]byte
	return room[i]
}
