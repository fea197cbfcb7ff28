//go:build !race

package contract_test

import (
	"database/sql"
	"math"
	"testing"
)

// This file is what a statement allocates more than through gosnowflake. Under the race detector
// sync.Pool drops at random what it is given, so that the counts of both are a matter of luck.

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
