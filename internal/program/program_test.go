package program_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether/internal/program"
)

// TestCallIsHarmedByNoFunction: whatever the program's function does, its caller gets an
// error, and goes on.
func TestCallIsHarmedByNoFunction(t *testing.T) {
	failed := errors.New("no")
	for name, tt := range map[string]struct {
		f    func(context.Context) (int, error)
		want string
	}{
		"returns":      {func(context.Context) (int, error) { return 7, nil }, ""},
		"fails":        {func(context.Context) (int, error) { return 0, failed }, "no"},
		"panics":       {func(context.Context) (int, error) { panic("a secret") }, "a value of type string"},
		"ends":         {func(context.Context) (int, error) { runtime.Goexit(); return 0, nil }, "runtime.Goexit"},
		"nil pointer":  {func(context.Context) (int, error) { var p *int; return *p, nil }, "nil pointer"},
		"does not end": {func(ctx context.Context) (int, error) { time.Sleep(time.Hour); return 0, nil }, context.DeadlineExceeded.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var functions program.Functions
				begun := time.Now()
				got, err := program.Call(ctx, &functions, tt.f)
				switch {
				case tt.want == "" && (got != 7 || err != nil):
					t.Errorf("%d, %v", got, err)
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret")):
					t.Errorf("the error is %v, want one with %q", err, tt.want)
				}
				took := time.Since(begun)
				time.Sleep(2 * time.Hour) // for what was left behind
				if took > time.Minute {
					t.Errorf("it was waited for for %v", took)
				}
			})
		})
	}
}

// TestFunctionIsKnownByItsContextAndItsGoroutine: and nobody else is taken for one.
func TestFunctionIsKnownByItsContextAndItsGoroutine(t *testing.T) {
	var functions, others program.Functions
	if functions.Inside(t.Context()) {
		t.Error("no function runs")
	}
	_, err := program.Call(t.Context(), &functions, func(ctx context.Context) (any, error) {
		if !functions.Inside(context.Background()) || !functions.Inside(ctx) {
			t.Error("the function is not known")
		}
		if others.Inside(ctx) {
			t.Error("it is taken for another connector's")
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if !functions.Inside(ctx) || functions.Inside(context.Background()) {
				t.Error("what it starts is known by its context alone")
			}
		})
		wg.Wait()
		return nil, nil
	})
	if err != nil || functions.Inside(t.Context()) {
		t.Errorf("it is known when it has returned; %v", err)
	}
}

type rows struct {
	driver.Rows
	closed chan struct{}
}

func (r *rows) Close() error { close(r.closed); return nil }

// TestWhatIsLeftBehindIsCleanedUp: rows that nobody waits for are closed, and its end is known.
func TestWhatIsLeftBehindIsCleanedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late := &rows{closed: make(chan struct{})}
		_, left, err := program.Leave(ctx, t.Context(), func(context.Context) (any, error) {
			time.Sleep(time.Minute)
			return late, nil
		})
		if left == nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("left %v, %v", left, err)
		}
		<-left.Over
		<-late.closed
		if left.Err != nil {
			t.Error(left.Err)
		}
	})
}

// TestTypedNilIsNoAnswer: gosnowflake returns one, and its use would be a panic.
func TestTypedNilIsNoAnswer(t *testing.T) {
	_, err := program.Guard(t.Context(), func(context.Context) (driver.Rows, error) { return (*rows)(nil), nil })
	if err != program.ErrNoAnswer {
		t.Errorf("the error is %v", err)
	}
}

// TestDeliveriesKeepTheirOrder: whatever one of them does, the next are delivered, each step
// once, and nobody waits long.
func TestDeliveriesKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		failures := 0
		q := &program.Queue{
			Functions: new(program.Functions), Timeout: time.Second,
			Failed:  func(error) { mu.Lock(); failures++; mu.Unlock() },
			Dropped: func(int) func(context.Context) { return func(context.Context) {} },
		}
		note := func(what string) func(context.Context) {
			return func(context.Context) { mu.Lock(); seen = append(seen, what); mu.Unlock() }
		}
		post := func(steps ...func(context.Context)) {
			q.Post(&program.Delivery{Ctx: t.Context(), Steps: steps})(t.Context())
		}
		begun := time.Now()
		post(note("1"), note("2"))
		post(func(context.Context) { panic("no") }, note("3"))
		post(func(context.Context) { runtime.Goexit() }, note("4"))
		post(func(context.Context) { time.Sleep(time.Hour) }, note("5"))
		post(note("6"))
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the callers waited for %v", took)
		}
		time.Sleep(2 * time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"1", "2", "3", "4", "5", "6"}; !slices.Equal(seen, want) || failures != 2 {
			t.Errorf("seen %v, %d failures; want %v and 2", seen, failures, want)
		}
	})
}

// TestFullQueueDropsAndSaysSo: one that blocks costs no memory without bound.
func TestFullQueueDropsAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dropped := 0
		q := &program.Queue{
			Functions: new(program.Functions), Timeout: time.Second, Failed: func(error) {},
			Dropped: func(n int) func(context.Context) { return func(context.Context) { dropped += n } },
		}
		release, delivered := make(chan struct{}), 0
		for range 1200 {
			q.Post(&program.Delivery{Ctx: t.Context(), Steps: []func(context.Context){func(context.Context) { <-release; delivered++ }}})
		}
		close(release)
		synctest.Wait()
		if delivered != 1000 || dropped != 200 {
			t.Errorf("%d delivered, %d dropped", delivered, dropped)
		}
	})
}
