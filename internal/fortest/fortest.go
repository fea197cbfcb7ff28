// Package fortest leads the tests of other packages to settings of the driver's that no
// program has. The driver fills it in; what the functions return is an Option of its own.
package fortest

import "time"

var (
	// WithClock replaces the clock by which a suspended machine is noticed.
	WithClock func(now func() time.Time) any

	// WithoutLoad makes a connector deaf to what the server shows of its load.
	WithoutLoad func() any
)
