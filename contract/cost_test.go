package contract_test

import (
	"context"
	"database/sql"
	"math"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is what a statement costs more than through gosnowflake, as far as a test can
// hold it: allocations and goroutines. Times are docs/performance.md's.

// TestStatementAllocatesLittleMoreThanGosnowflake: ten of its own, of which five are net/http's
// hooks and two gosnowflake's channel, and one for each header that net/http reports, of which
// gosnowflake sends eleven. The bound leaves room for a header or two of a newer version.
func TestStatementAllocatesLittleMoreThanGosnowflake(t *testing.T) {
	const bound = 24
	plain, ours := side(t, false, 1), side(t, true, 1)
	block(t, plain, 1, 16, execOnce)
	block(t, ours, 1, 16, execOnce)
	// The least of each: what a busy machine adds, such as a goroutine that was not used for too
	// long to be kept, is no statement's.
	least := func(s *sql.DB) float64 {
		n := math.Inf(1)
		for range 15 {
			n = min(n, block(t, s, 1, 16, execOnce).allocs)
		}
		return n
	}
	if got := least(ours) - least(plain); got > bound {
		t.Errorf("%.1f more allocations a statement, want at most %d", got, bound)
	}
}

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
