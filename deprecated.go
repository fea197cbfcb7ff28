package snowtether

// This file has the names of before 0.1.0, which goes without them: docs/releasing.md.

// ClassNone is the class of no error.
//
// Deprecated: compare with "". This name goes with 0.1.0.
const ClassNone Class = ""

// Events under their earlier names. Their values are those of the new names.
const (
	// Deprecated: use [EventOutageEnded]. This name goes with 0.1.0.
	EventOutageOver = EventOutageEnded
	// Deprecated: use [EventPacingEnded]. This name goes with 0.1.0.
	EventPacingOver = EventPacingEnded
	// Deprecated: use [EventSuspensionEnded]. This name goes with 0.1.0.
	EventLoginAccepted = EventSuspensionEnded
)

// WithAttempts is WithTxAttempts.
//
// Deprecated: use [WithTxAttempts]. This name goes with 0.1.0.
func WithAttempts(n int) TxOption { return WithTxAttempts(n) }

// WithRepeatable is WithTxRetryIf.
//
// Deprecated: use [WithTxRetryIf]. This name goes with 0.1.0.
func WithRepeatable(also func(error) bool) TxOption { return WithTxRetryIf(also) }

// renamedParams are the earlier names of DSN parameters, with those that they have now.
var renamedParams = map[string]string{
	"tetherBackoffInitial": "tetherBackOffInitial",
	"tetherBackoffMax":     "tetherBackOffMax",
}

// currentParam is the name that a DSN parameter has now.
func currentParam(name string) string {
	if current, renamed := renamedParams[name]; renamed {
		return current
	}
	return name
}
