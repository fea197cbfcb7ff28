package program_test

import (
	"context"
	"errors"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether/internal/program"
)

// on runs something with a runner, under a context that can end.
func on(ctx context.Context, r *program.Runner[string], run func(on string, ctx context.Context) (any, error)) (any, *program.Leftover, error) {
	return r.Leave(ctx, ctx, "it", run)
}

// number is that of the goroutine which asks.
func number(string, context.Context) (any, error) {
	var buf [64]byte
	return strings.Fields(string(buf[:runtime.Stack(buf[:], false)]))[1], nil
}

// TestGoroutineIsKeptForAMoment: calls that follow each other are on one goroutine, which
// ends when there have been none for a while, or the session is closed. That none is left
// behind, the bubble says.
func TestGoroutineIsKeptForAMoment(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var r program.Runner[string]
			defer r.Close() // time stands still once this returns
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			first, _, _ := on(ctx, &r, number)
			for range 20 { // more than a second
				time.Sleep(70 * time.Millisecond)
				if again, _, err := on(ctx, &r, number); again != first || err != nil {
					t.Fatalf("goroutine %v, then %v: %v", first, again, err)
				}
			}
			long := func(string, context.Context) (any, error) { time.Sleep(time.Hour); return nil, nil }
			if _, _, err := on(ctx, &r, long); err != nil {
				t.Error(err)
			}
			if again, _, _ := on(ctx, &r, number); again != first {
				t.Error("a call that took long has ended the goroutine")
			}
			if closed {
				r.Close()
			} else {
				time.Sleep(time.Second)
			}
			synctest.Wait()
			if again, _, _ := on(ctx, &r, number); again == first {
				t.Error("the goroutine has not ended")
			}
		})
	}
}

// TestCallThatWasLeftBehindMeetsNoLaterOne: its goroutine is its own from then on, and what
// it returns reaches nobody.
func TestCallThatWasLeftBehindMeetsNoLaterOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r program.Runner[string]
		defer r.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first, _, _ := on(ctx, &r, number)
		if first == "" {
			t.Fatal("no number")
		}
		late := errors.New("late")
		_, left, err := on(ctx, &r, func(string, context.Context) (any, error) { time.Sleep(time.Minute); return "late", late })
		if left == nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v, %v", left, err)
		}
		alive, end := context.WithCancel(t.Context())
		defer end()
		for range 100 {
			if got, _, err := on(alive, &r, number); got == first || got == "late" || err != nil {
				t.Fatalf("%v, %v", got, err)
			}
			time.Sleep(time.Second)
		}
		if <-left.Over; left.Err != late {
			t.Errorf("it ended with %v", left.Err)
		}
	})
}

// TestRunnerIsHarmedByNoCall: a panic is an error, as is the end of its goroutine, and the
// next call has another one.
func TestRunnerIsHarmedByNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r program.Runner[string]
		defer r.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 3 {
			var panicked *program.PanicError
			if _, _, err := on(ctx, &r, func(string, context.Context) (any, error) { panic("a secret") }); !errors.As(err, &panicked) || strings.Contains(err.Error(), "secret") {
				t.Errorf("a panic is %v", err)
			}
			if _, _, err := on(ctx, &r, func(string, context.Context) (any, error) { runtime.Goexit(); return nil, nil }); err != program.ErrGoexit {
				t.Errorf("a Goexit is %v", err)
			}
			if what, _, err := on(ctx, &r, func(on string, _ context.Context) (any, error) { return on, nil }); what != "it" || err != nil {
				t.Errorf("%v, %v", what, err)
			}
		}
	})
}

// TestCallHasItsCallersProfileLabels: and not those of the one before it.
func TestCallHasItsCallersProfileLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r program.Runner[string]
		defer r.Close()
		labels := func(string, context.Context) (any, error) {
			var b strings.Builder
			err := pprof.Lookup("goroutine").WriteTo(&b, 1)
			return strings.Contains(b.String(), `"job":"nightly"`), err
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, labelled := range []bool{false, true, false} {
			ctx := ctx
			if labelled {
				ctx = pprof.WithLabels(ctx, pprof.Labels("job", "nightly"))
			}
			if got, _, err := on(ctx, &r, labels); got != labelled || err != nil {
				t.Errorf("labelled: %v, want %v: %v", got, labelled, err)
			}
		}
	})
}

// BenchmarkLeave is the way to another goroutine and back, of a call that uses as much of
// its stack as gosnowflake does: on a goroutine that is kept, and on a new one.
func BenchmarkLeave(b *testing.B) {
	deep := func(string, context.Context) (any, error) { return use(0), nil }
	b.Run("kept", func(b *testing.B) {
		var r program.Runner[string]
		defer r.Close()
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = on(b.Context(), &r, deep)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = program.Leave(b.Context(), b.Context(), func(ctx context.Context) (any, error) { return deep("", ctx) })
		}
	})
}

// use needs 20 KB of stack.
//
//go:noinline
func use(i int) byte {
	var room [20 << 10]byte
	return room[i]
}
