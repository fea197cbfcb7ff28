package duckdb

import (
	"strconv"
	"time"
)

// timeLimit lets the statement last for the seconds of GENERATOR(TIMELIMIT => n). An account
// generates as many rows as it can in that time; here there are those of ROWCOUNT, or none.
func (r *rewriter) timeLimit(value string) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > maxWait {
		r.fail(unsupported("GENERATOR with this TIMELIMIT"))
		return
	}
	r.wait += time.Duration(n) * time.Second
}
