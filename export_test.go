package snowtether

import "time"

// WithClock replaces the clock by which a suspended machine is noticed.
func WithClock(now func() time.Time) Option { return func(s *settings) { s.now = now } }

// WithoutLoad makes a connector deaf to what the server shows of its load.
func WithoutLoad() Option { return func(s *settings) { s.heedless = true } }
