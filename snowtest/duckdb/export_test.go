package duckdb

import (
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// LockWaits says how often statements have met another session's change and
// waited.
func LockWaits(e *Engine) int64 { return e.lockWaits.Load() }

// Rewritten gives a query in DuckDB's dialect.
func Rewritten(s snowtest.EngineSession, query string, binds ...snowtest.Bind) (string, error) {
	toks, err := tokenize(query)
	if err != nil {
		return "", err
	}
	r := s.(*session).rewriter(query, toks, &snowtest.Statement{SQL: query, Binds: binds}, time.Now())
	return r.wholeQuery(), r.end()
}
