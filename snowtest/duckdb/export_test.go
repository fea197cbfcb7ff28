package duckdb

// LockWaits says how often statements have met another session's change and
// waited.
func LockWaits(e *Engine) int64 { return e.lockWaits.Load() }
