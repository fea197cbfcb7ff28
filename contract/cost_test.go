package contract_test

import (
	"context"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is what a statement costs more than through gosnowflake, as far as a test can
// hold it: goroutines here, allocations in cost_allocations_test.go. Times are
// docs/performance.md's.

// TestIdleConnectionKeepsNoGoroutineOfOurs: that of its last statement is kept for the next,
// and is gone soon after.
func TestIdleConnectionKeepsNoGoroutineOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pool(t, snowtest.New(t, snowtest.InMemory()), 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 3 {
			if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
				t.Fatal(err)
			}
		}
		if n := kept(); n != 1 {
			t.Errorf("%d goroutines are kept after three statements on one connection, want 1", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := kept(); n != 0 {
			t.Errorf("%d goroutines are kept after a second", n)
		}
	})
}

var worker = regexp.MustCompile(`synctest bubble[^\n]*\n(?:[^\n]+\n)*?github\.com/snowtether/snowtether/internal/program\.\(\*worker`)

// kept is how many goroutines wait for a statement, in any bubble.
func kept() int {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	n := 0
	for _, goroutine := range strings.Split(string(stacks), "\n\n") {
		if worker.MatchString(goroutine) {
			n++
		}
	}
	return n
}
