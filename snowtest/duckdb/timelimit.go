package duckdb

import (
	"strconv"
	"time"
)

// timeLimit lets the statement last for the seconds of GENERATOR(TIMELIMIT => n), and gives
// them. An account generates as many rows as it can in that time; here there are those of
// ROWCOUNT, or 1,000 a second.
func (r *rewriter) timeLimit(value string) float64 {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || n < 0 || n > maxWait {
		r.fail(unsupported("GENERATOR with this TIMELIMIT"))
		return 0
	}
	r.wait += scaleDuration(n, time.Second)
	return n
}
