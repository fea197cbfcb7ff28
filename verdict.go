package snowtether

import "github.com/snowtether/snowtether/internal/transcript"

// This file decides what becomes of a statement. decide is pure: it knows no clock, no
// connection and no error, and its whole domain is walked by a test. operation.go sends,
// asks it, and acts.

// A situation is all that a decision rests on.
type situation struct {
	call   call
	text   traits
	fate   transcript.Kind // what is known of this try
	gone   bool            // the session has ended
	tx     txState         // before it
	held   bool            // the session had state of this holder's, or the answer depends on what it did before
	left   bool            // the caller's context has ended
	proven bool            // of a COMMIT that succeeded: a transaction was there
}

// A call is what was asked of the session.
type call uint8

const (
	callStatement call = iota
	callBegin          // BeginTx, or a text that is BEGIN and nothing else
	callCommit
	callRollback
	callPing
	callPrepare
	callFetch // of a result by its ID, or a description: it runs nothing
	calls
)

// Traits are what the text can do.
type traits struct {
	repeatable bool // to run it twice is to run it once
	undone     bool // a rollback undoes all of it
	commits    bool // some part of it is COMMIT, and not of a transaction that the text itself begins
	begins     bool // it leaves a transaction open that was not there before
	carriable  bool // its outcome can be fetched by its ID
}

// A txState is the transaction that was open before a statement.
type txState uint8

const (
	noTx      txState = iota
	undoneTx          // the end of its session undoes all of it
	lastingTx         // it holds something that lasts
	txStates
)

// An action is what is done about a try.
type action uint8

const (
	asItIs    action = iota // the caller gets what gosnowflake returned
	rolled                  // it is done: the session's end has rolled back
	depart                  // the caller gets their context's error, at once
	again                   // it is sent once more, on a new session if this one is gone
	carryOver               // its outcome is waited for and fetched by its ID
	sessLost                // ErrSessionLost
	inDoubt                 // ErrInDoubt
)

// A verdict is an action, and what the words of an error follow from.
type verdict struct {
	action action
	ran    bool // it may have run
	lasts  bool // something of it, or of its transaction, may last
	end    bool // the session is ended, without a ROLLBACK: what is still on its way must find none
}

// A rule is one line of the table: the first that holds decides. Its words are those of
// docs/how-it-works.md.
type rule struct {
	when, then string
	holds      func(s situation) bool
	verdict    func(s situation) verdict
}

var rules = [...]rule{
	{
		"it is gosnowflake's own error and nothing was sent, Snowflake answered, or it succeeded; a COMMIT only if its reply shows that there was a transaction", "the outcome is yours as it is",
		func(s situation) bool {
			return s.fate == transcript.Local || s.fate == transcript.Answered || s.fate == transcript.Done && (!s.commits() || s.proven)
		},
		func(s situation) verdict { return verdict{action: asItIs, ran: s.sent(), lasts: s.sent()} },
	},
	{
		"it is ROLLBACK, and its session is gone, or it may have run", "it is done: the session is ended, and its transaction with it",
		func(s situation) bool { return s.call == callRollback && (s.gone || s.sent()) },
		func(s situation) verdict { return verdict{action: rolled, end: true} },
	},
	{
		"it commits, did not run, and the session is gone", "`ErrSessionLost` with `InTx`; `ErrInDoubt` if something of the transaction may last",
		func(s situation) bool { return s.commits() && s.fate == transcript.NotRun && s.gone },
		func(s situation) verdict { return s.over() },
	},
	{
		"it commits, and may have run", "`ErrInDoubt`; it is never sent again",
		func(s situation) bool { return s.commits() && s.sent() },
		func(s situation) verdict { return verdict{inDoubt, true, true, true} },
	},
	{
		"a transaction is open, and its session is gone, or the statement may have run", "the session is ended; `ErrSessionLost` with `InTx`, or `ErrInDoubt` if something may last",
		func(s situation) bool { return s.inTx() && (s.gone || s.sent()) },
		func(s situation) verdict { return s.over() },
	},
	{
		"your context has ended", "its error, at once",
		func(s situation) bool { return s.left },
		func(s situation) verdict {
			return verdict{depart, s.sent(), s.sent() && !s.harmless(), s.call == callBegin && s.sent()}
		},
	},
	{
		"it did not run, or may run twice; but the session is gone, and state of yours with it", "`ErrSessionLost`, once, which names what was lost",
		func(s situation) bool { return s.free() && s.held && s.loses() },
		func(s situation) verdict { return verdict{sessLost, s.sent(), false, true} },
	},
	{
		"it did not run, or may run twice", "it is sent again, on a new session if this one is gone",
		func(s situation) bool { return s.free() },
		func(s situation) verdict { return verdict{again, s.sent(), false, s.loses()} },
	},
	{
		"Snowflake accepted it", "it is carried over: its outcome is waited for and fetched",
		func(s situation) bool { return s.fate == transcript.Accepted && s.carriable() },
		func(s situation) verdict { return verdict{carryOver, true, true, false} },
	},
	{
		"anything else", "`ErrInDoubt`, with the query ID where there is one",
		func(situation) bool { return true },
		func(situation) verdict { return verdict{inDoubt, true, true, false} },
	},
}

// decide says what becomes of a try.
func decide(s situation) verdict {
	for _, r := range rules {
		if r.holds(s) {
			return r.verdict(s)
		}
	}
	panic("unreachable: the last rule always holds")
}

// sent reports whether the statement may have run.
func (s situation) sent() bool { return s.fate != transcript.Local && s.fate != transcript.NotRun }

// commits reports whether it ends a transaction so that it lasts.
func (s situation) commits() bool { return s.call == callCommit || s.text.commits }

// inTx reports whether a transaction is open, or may be by now.
func (s situation) inTx() bool { return s.tx != noTx || s.text.begins && s.sent() }

// harmless reports whether to run it twice is to run it once. A BEGIN has no effect
// where its session is ended before the next.
func (s situation) harmless() bool {
	return s.text.repeatable || s.call >= callPing || s.call == callBegin
}

// free reports whether it may be sent again without asking what it did.
func (s situation) free() bool {
	switch s.fate {
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
func (s situation) carriable() bool { return s.text.carriable && s.call == callStatement }

// loses reports whether sending it again takes a new session. A BEGIN that may have run
// has opened a transaction in this one.
func (s situation) loses() bool { return s.gone || s.call == callBegin && s.sent() }

// over is the end of a transaction whose session is ended.
func (s situation) over() verdict {
	if s.tx != lastingTx && (s.text.undone || !s.sent()) {
		return verdict{sessLost, s.sent(), false, true}
	}
	return verdict{inDoubt, s.sent(), true, true}
}
