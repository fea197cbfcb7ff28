// Package verdict decides what becomes of a statement: it is sent again, carried over, in
// doubt, or its outcome is the caller's as it is.
//
// [Decide] is pure: it knows no clock, no connection and no error, and its whole domain is
// walked by a test. The driver sends, asks it, and acts. What is known of a try is the one
// word that this package shares with another: a [transcript.Kind], because a second list of
// the same fates could differ from the first.
package verdict

import "github.com/snowtether/snowtether/internal/transcript"

// A Situation is all that a decision rests on.
type Situation struct {
	Call   Call
	Text   Traits
	Fate   transcript.Kind // what is known of this try
	Gone   bool            // the session has ended
	Tx     Tx              // before it
	Held   bool            // the session had state of this holder's, or the answer depends on what it did before
	Left   bool            // the caller's context has ended
	Proven bool            // of a COMMIT that succeeded: a transaction was there
}

// A Call is what was asked of the session.
type Call uint8

// The calls.
const (
	Statement Call = iota
	Begin          // BeginTx, or a text that is BEGIN and nothing else
	Commit
	Rollback
	Ping
	Prepare
	Fetch // of a result by its ID, or a description: it runs nothing
	calls
)

// Traits are what the text can do.
type Traits struct {
	Repeatable bool // to run it twice is to run it once
	Undone     bool // a rollback undoes all of it
	Commits    bool // some part of it is COMMIT, and not of a transaction that the text itself begins
	Begins     bool // it leaves a transaction open that was not there before
	Carriable  bool // its outcome can be fetched by its ID
}

// A Tx is the transaction that was open before a statement.
type Tx uint8

// The kinds of transaction.
const (
	NoTx      Tx = iota
	UndoneTx     // the end of its session undoes all of it
	LastingTx    // it holds something that lasts
	txs
)

// An Action is what is done about a try.
type Action uint8

// The actions.
const (
	AsItIs      Action = iota // the caller gets what gosnowflake returned
	RolledBack                // it is done: the session's end has rolled back
	Depart                    // the caller gets their context's error, at once
	Again                     // it is sent once more, on a new session if this one is gone
	CarryOver                 // its outcome is waited for and fetched by its ID
	SessionLost               // ErrSessionLost
	InDoubt                   // ErrInDoubt
)

// A Verdict is an action, and what the words of an error follow from.
type Verdict struct {
	Action Action
	Ran    bool // it may have run
	Lasts  bool // something of it, or of its transaction, may last
	End    bool // the session is ended, without a ROLLBACK: what is still on its way must find none
}

// A rule is one line of the table: the first that holds decides. Its words are those of
// docs/how-it-works.md.
type rule struct {
	when, then string
	holds      func(s Situation) bool
	verdict    func(s Situation) Verdict
}

var rules = [...]rule{
	{
		"it is gosnowflake's own error and nothing was sent, Snowflake answered, or it succeeded; a COMMIT only if its reply shows that there was a transaction", "the outcome is yours as it is",
		func(s Situation) bool {
			return s.Fate == transcript.Local || s.Fate == transcript.Answered || s.Fate == transcript.Done && (!s.Commits() || s.Proven)
		},
		func(s Situation) Verdict { return Verdict{Action: AsItIs, Ran: s.Sent(), Lasts: s.Sent()} },
	},
	{
		"it is ROLLBACK, and its session is gone, or it may have run", "it is done: the session is ended, and its transaction with it",
		func(s Situation) bool { return s.Call == Rollback && (s.Gone || s.Sent()) },
		func(s Situation) Verdict { return Verdict{Action: RolledBack, End: true} },
	},
	{
		"it commits, did not run, and the session is gone", "`ErrSessionLost` with `InTx`; `ErrInDoubt` if something of the transaction may last",
		func(s Situation) bool { return s.Commits() && s.Fate == transcript.NotRun && s.Gone },
		func(s Situation) Verdict { return s.over() },
	},
	{
		"it commits, and may have run", "`ErrInDoubt`; it is never sent again",
		func(s Situation) bool { return s.Commits() && s.Sent() },
		func(s Situation) Verdict { return Verdict{InDoubt, true, true, true} },
	},
	{
		"a transaction is open, and its session is gone, or the statement may have run", "the session is ended; `ErrSessionLost` with `InTx`, or `ErrInDoubt` if something may last",
		func(s Situation) bool { return s.InTx() && (s.Gone || s.Sent()) },
		func(s Situation) Verdict { return s.over() },
	},
	{
		"your context has ended", "its error, at once",
		func(s Situation) bool { return s.Left },
		func(s Situation) Verdict {
			return Verdict{Depart, s.Sent(), s.Sent() && !s.harmless(), s.Call == Begin && s.Sent()}
		},
	},
	{
		"it did not run, or may run twice; but the session is gone, and state of yours with it", "`ErrSessionLost`, once, which names what was lost",
		func(s Situation) bool { return s.free() && s.Held && s.loses() },
		func(s Situation) Verdict { return Verdict{SessionLost, s.Sent(), false, true} },
	},
	{
		"it did not run, or may run twice", "it is sent again, on a new session if this one is gone",
		func(s Situation) bool { return s.free() },
		func(s Situation) Verdict { return Verdict{Again, s.Sent(), false, s.loses()} },
	},
	{
		"Snowflake accepted it", "it is carried over: its outcome is waited for and fetched",
		func(s Situation) bool { return s.Fate == transcript.Accepted && s.carriable() },
		func(s Situation) Verdict { return Verdict{CarryOver, true, true, false} },
	},
	{
		"anything else", "`ErrInDoubt`, with the query ID where there is one",
		func(Situation) bool { return true },
		func(Situation) Verdict { return Verdict{InDoubt, true, true, false} },
	},
}

// Decide says what becomes of a try.
func Decide(s Situation) Verdict {
	for _, r := range rules {
		if r.holds(s) {
			return r.verdict(s)
		}
	}
	panic("unreachable: the last rule always holds")
}

// Sent reports whether the statement may have run.
func (s Situation) Sent() bool { return s.Fate != transcript.Local && s.Fate != transcript.NotRun }

// Commits reports whether it ends a transaction so that it lasts.
func (s Situation) Commits() bool { return s.Call == Commit || s.Text.Commits }

// InTx reports whether a transaction is open, or may be by now.
func (s Situation) InTx() bool { return s.Tx != NoTx || s.Text.Begins && s.Sent() }

// harmless reports whether to run it twice is to run it once. A BEGIN has no effect
// where its session is ended before the next.
func (s Situation) harmless() bool {
	return s.Text.Repeatable || s.Call >= Ping || s.Call == Begin
}

// free reports whether it may be sent again without asking what it did.
func (s Situation) free() bool {
	switch s.Fate {
	case transcript.NotRun:
		return true
	case transcript.Open:
		return s.harmless()
	case transcript.Accepted:
		return s.harmless() && !s.carriable()
	}
	return false
}

// carriable reports whether its outcome can be fetched on another session and is the
// same there. That of a BEGIN is not: its transaction is in its own session.
func (s Situation) carriable() bool { return s.Text.Carriable && s.Call == Statement }

// loses reports whether sending it again takes a new session. A BEGIN that may have run
// has opened a transaction in this one.
func (s Situation) loses() bool { return s.Gone || s.Call == Begin && s.Sent() }

// over is the end of a transaction whose session is ended.
func (s Situation) over() Verdict {
	if s.Tx != LastingTx && (s.Text.Undone || !s.Sent()) {
		return Verdict{SessionLost, s.Sent(), false, true}
	}
	return Verdict{InDoubt, s.Sent(), true, true}
}
