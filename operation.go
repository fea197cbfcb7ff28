package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/snowtether/snowtether/internal/bulk"
	"github.com/snowtether/snowtether/internal/inner"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/transcript"
	"github.com/snowtether/snowtether/internal/verdict"
)

// This file carries one operation out on a connection: it sends, asks
// internal/verdict what becomes of it, and acts.

// maxReplace is how often one statement may meet a dead session on the same
// connection before database/sql is asked for another one.
const maxReplace = 3

// An operation is something to be carried out on the session.
type operation struct {
	name  string
	call  verdict.Call
	text  sqltext.Statement // empty where it is none of the caller's own, or is not run
	whole sqltext.Statement // text, also where gosnowflake is told not to run it
	query string            // as the caller gave it
	args  []driver.NamedValue
	stmt  *stmt // whose execution it is, or nil
	// run may be left behind, and then touches nothing but the session, and of the operation
	// what does not change: query, args, stmt.
	run     func(context.Context, *session, *operation) (any, error)
	resumed func(op *operation, rows driver.Rows, queryID string) (any, error) // makes the outcome of rows that were carried over; nil: it cannot be
	bulk    bulk.Bound                                                         // of array binds
	refused error                                                              // why its values are not sent
	nothing any                                                                // the outcome of a ROLLBACK that need not be sent
	async   bool                                                               // its outcome comes after it was accepted, through gosnowflake

	sessions int  // that ended under it
	asked    bool // whether its session is alive
	loose    bool // an earlier try may have run, on the present session
	tidied   bool // of a BEGIN: what others have left behind was to be ended
	inside   bool // of a BEGIN: a transaction was open before it, or was lost and nobody told
	patience patience
}

// statement is an operation with a text of the caller's.
func (c *conn) statement(ctx context.Context, name, query string) *operation {
	op := &operation{name: name, query: query, whole: c.connector.reader.Read(query), async: c.session.isSet(ctx, transcript.Async)}
	if op.runs(); c.session.isSet(ctx, transcript.Describe) {
		op.call = verdict.Fetch
	}
	return op
}

// runs makes it an operation whose text is run.
func (op *operation) runs() {
	switch op.text, op.call = op.whole, verdict.Statement; {
	case op.text.IsBegin():
		op.call = verdict.Begin
	case op.text.IsRollback():
		op.call = verdict.Rollback
	}
}

// exec is a statement that returns a result.
func (c *conn) exec(ctx context.Context, query string, args []driver.NamedValue) *operation {
	op := c.statement(ctx, "exec", query)
	op.args, op.nothing = args, driver.ResultNoRows
	op.bulk, op.refused = op.bulkOf(args)
	return op
}

// query is a statement that returns rows.
func (c *conn) query(ctx context.Context, query string, args []driver.NamedValue) *operation {
	op := c.statement(ctx, "query", query)
	if c.session.fetches(ctx) {
		op.call, op.text = verdict.Fetch, sqltext.Statement{}
	}
	if op.args = args; op.call == verdict.Rollback {
		op.nothing = new(inner.NothingToDo)
	}
	op.bulk, op.refused = op.bulkOf(args)
	return op
}

// ours reports whether what is sent has no text of the caller's.
func (op *operation) ours() bool {
	return op.call != verdict.Statement && op.call != verdict.Fetch && op.text.Text() == ""
}

// does is the text as far as it does anything: what is fetched or described does nothing.
func (op *operation) does() sqltext.Statement {
	switch {
	case op.call == verdict.Fetch:
		return sqltext.Statement{}
	case op.call == verdict.Begin && op.ours():
		return sqltext.Reader{}.Read("BEGIN")
	case op.call == verdict.Commit:
		return sqltext.Reader{}.Read("COMMIT")
	}
	return op.text
}

// A try is one try of an operation, and what came of it.
type try struct {
	out     any
	err     error
	fate    transcript.Fate
	gone    bool         // the session has ended
	left    bool         // its caller left it behind
	visible bool         // what gosnowflake did could be seen
	request fmt.Stringer // the ID of its request, or nil
	since   time.Time    // when the request began that had no answer, or zero
	heard   time.Time    // when Snowflake last answered, or, where that was not seen, now
}

// do carries an operation out, as often as it takes.
func (c *conn) do(ctx context.Context, op *operation) (out any, failed error) {
	c.checkOut()
	c.caller = ctx
	op.patience.after(c.waited)
	var seen *transcript.Recorder
	failed = op.refused
	for next := failed == nil; next; {
		var done bool
		if done, failed = c.ready(ctx, op); done || failed != nil {
			out = op.nothing
			break
		}
		if c.endOrphans(ctx, op) {
			continue
		}
		base := ctx
		if op.ours() {
			base = transcript.Without(ctx) // what the caller put there is for a statement of theirs
		}
		seen = transcript.New(base)
		var t try
		c.send(ctx, seen, op, &t)
		if c.ask(ctx, op, &t) {
			continue
		}
		s := c.situation(ctx, op, &t)
		next, out, failed = c.act(ctx, op, &t, s, verdict.Decide(s))
	}
	if failed != nil && op.loose && c.gone == nil {
		c.unclear(op.does())
	}
	if failed == nil || !isRetry(failed) {
		if seen == nil { // nothing was sent
			seen = transcript.New(ctx)
			seen.Expect(c.session.told(ctx, transcript.QueryID))
		}
		seen.Tell(ctx)
	}
	c.unclaimed()
	if c.tx != nil && op.call != verdict.Commit { // which says itself what came of it
		c.tx.note(c.partLasts())
	}
	return out, failed
}

// reach is how far back in its session's history it asks.
func (op *operation) reach() int {
	if op.ours() {
		return 0
	}
	for _, arg := range op.args {
		if id, ok := arg.Value.(string); !ok || !sqltext.IsQueryID(id) {
			return op.text.Reach()
		}
	}
	return op.text.ReachWithIDs()
}

// send tries the operation once.
func (c *conn) send(ctx context.Context, seen *transcript.Recorder, op *operation, t *try) {
	s, now, native := c.session, c.connector.clock.Load(), c.connector.inner == nil
	if op.bulk.Arrays {
		if done := seen.StopShortUploads(); op.isOver() {
			defer done()
		} // else rows, or gosnowflake's goroutine, go on with the context
	}
	out, saw, left, err := c.tried(ctx, seen, op)
	if d := saw.Dialect(); d != nil && saw.Shows() {
		s.dialect.Store(d)
		s.visible.Store(true)
	}
	if op.call == verdict.Fetch && !saw.Idle() {
		op.runs() // what the caller put into the context did not reach gosnowflake
	}
	// What wraps gosnowflake may show one statement and hide another.
	*t = try{out: out, err: err, left: left, visible: s.visible.Load() && (native || !saw.Silent()), request: saw.Request(), since: saw.Unanswered(), heard: saw.Heard()}
	if t.heard.IsZero() {
		t.heard = time.Now()
	}
	if err == nil {
		if saw.Sent() || !native { // a prepare sends nothing and proves nothing
			s.heard(now)
			c.connector.served(ctx, t.heard)
		}
		t.fate = saw.Judge(transcript.Outcome{}, true)
		c.checked(ctx, op, t, saw)
		return
	}
	o := outcomeOf(err)
	t.gone = o.Gone
	switch {
	case s.silent && saw.Silent():
		t.fate = o.Word()
		return
	case s.stranger():
		t.fate = saw.StrangersWord(o, op.does().Commits())
		return
	}
	o.Local = o.Local || native && !o.Gone
	t.fate = saw.Judge(o, t.visible)
	if t.fate.Kind == transcript.NotRun && !o.Network && number(err) != 0 {
		t.gone = true // its renewal was refused, with whatever code: the session serves nobody
	}
	if t.fate.Kind == transcript.Accepted && op.text.First() == sqltext.FileTransfer && !op.text.Many() && !o.Gone && !o.Network && !saw.Transferred() {
		// The client transfers the files after the reply, and has not begun to.
		t.fate = transcript.Fate{Kind: transcript.Answered, ID: t.fate.ID}
	}
	if t.fate.Kind == transcript.Local && o.Network {
		s.doubted.Store(true) // it cannot be sent with what the session has
	}
	c.checked(ctx, op, t, saw)
}

// act does what was decided about a try. next says that the operation is to be tried
// once more.
func (c *conn) act(ctx context.Context, op *operation, t *try, s verdict.Situation, v verdict.Verdict) (next bool, out any, _ error) {
	if t.gone {
		c.connector.lost(ctx, c.session, t.err)
	}
	switch v.Action {
	case verdict.AsItIs:
		c.known(op, t)
		return false, t.out, t.err
	case verdict.CarryOver:
		out, err := c.carryOver(ctx, op, t, s)
		return false, out, err
	}
	fail := c.failure(ctx, op, t, s, v)
	if s.Sent() && (op.text.Steps() || op.text.Has(sqltext.Unknown)) {
		c.session.runsOn = true
	}
	if t.gone || v.End || isPanic(t.err) {
		c.session.inTx = c.session.inTx || s.Sent() && (s.Text.Begins || op.call == verdict.Begin)
		c.giveUp(cause(t.err))
	}
	switch v.Action {
	case verdict.Again:
		return c.again(ctx, op, t, fail)
	case verdict.RolledBack:
		if c.tx == nil {
			c.over = nil
		}
		return false, op.nothing, nil
	}
	if s.Sent() {
		c.unclear(op.does())
		if s.Left && op.call == verdict.Statement && (t.left || lost(t.err)) {
			c.cancelLeft(t)
		}
	}
	if v.Action == verdict.Depart {
		return false, nil, fail.Err
	}
	switch ended := c.tx == nil && s.Commits(); {
	case s.Text.Begins && (s.Sent() || ended), c.over != nil && !ended:
		c.over, c.told = fail, true // each statement says so until the transaction is ended
	case ended:
		c.over = nil
	}
	if v.Action == verdict.SessionLost {
		fail.lost, fail.earlier, c.untold, c.earlier = c.untold, c.earlier, 0, 0
		fail.asks = fail.lost == 0 && s.Held
	} else if c.gone == nil {
		c.session.doubted.Store(true)
	}
	return false, nil, c.doubt(ctx, fail)
}

// known takes note of a try whose outcome is its own. An asynchronous statement is not
// over with it.
func (c *conn) known(op *operation, t *try) {
	switch text := op.does(); t.fate.Kind {
	case transcript.Done:
		c.ran(text, op.async)
		if op.async {
			c.session.notOver(t.fate.ID)
		}
	case transcript.Answered:
		c.connector.served(c.caller, t.heard)
		if text.AllOrNothing() {
			c.since++
		} else {
			c.ran(text, true)
		}
	}
	if t.err != nil && isPanic(t.err) {
		c.giveUp(t.err)
	}
}

// unclear takes note of a statement that may have run, in part or not at all. What it
// made of a session that is gone went with it.
func (c *conn) unclear(text sqltext.Statement) {
	if c.gone != nil {
		made := text.After(sqltext.State{}, true).Lost
		c.connector.stateLost(c.caller, c.session, errReplaced, made&^c.untold)
		if c.untold |= made; c.over == nil {
			c.earlier |= made
		}
		return
	}
	c.ran(text, true)
	c.since = 0
}

// again prepares the next try: it lets some of an outage pass, or gets a new session.
func (c *conn) again(ctx context.Context, op *operation, t *try, fail *SessionError) (next bool, out any, _ error) {
	accepted := t.fate.Kind == transcript.Accepted
	if accepted { // Snowflake was reached: an outage is over
		op.patience.renew()
	}
	op.patience.begin()
	if op.loose = c.gone == nil && (op.loose || fail.ran); op.loose {
		c.forget() // it may be two statements of its session's
	}
	if !t.gone {
		switch {
		case errors.Is(t.err, errRenewalLoop), c.session.silent:
			return false, nil, fail
		case isHopeless(t.err):
			return false, nil, t.err
		}
		if t.err != bulk.ErrShortUpload { // identity is meant; it is the object store that cannot be reached
			c.connector.unreachable(ctx, t.since, t.err)
		}
		if !op.patience.wait(ctx, c.connector) {
			return false, nil, c.impatient(ctx, fail)
		}
	}
	if c.gone == nil {
		return true, nil, nil
	}
	if op.sessions++; op.sessions > maxReplace {
		if accepted || op.patience.untried() {
			fail.Class, fail.retry = ClassSessionLost, !accepted
			return false, nil, fail
		}
		if !op.patience.wait(ctx, c.connector) {
			return false, nil, c.impatient(ctx, fail)
		}
	}
	err := c.renew(ctx, op)
	return err == nil, nil, err
}

// impatient is the error of an operation for which there is no time left.
func (c *conn) impatient(ctx context.Context, fail *SessionError) error {
	if ctx.Err() != nil {
		return contextError(ctx, fail.Err, false)
	}
	if _, bounded := ctx.Deadline(); !bounded && c.connector.stopped.Err() == nil {
		fail.Err = &budgetError{c.connector.settings.connectBudget, fail.Err}
	}
	return fail
}

// failure makes the error for a verdict.
func (c *conn) failure(ctx context.Context, op *operation, t *try, s verdict.Situation, v verdict.Verdict) *SessionError {
	fail := &SessionError{
		Op: op.name, Class: ClassTransient, Code: number(t.err), SessionID: c.session.id(), QueryID: t.fate.ID,
		InTx: s.InTx() || s.Commits(), Err: cause(t.err), ran: v.Ran, inside: op.inside || c.tx != nil && c.tx.inside,
	}
	switch v.Action {
	case verdict.SessionLost:
		fail.Class = ClassSessionLost
	case verdict.InDoubt:
		fail.Class, fail.unsent = ClassInDoubt, !v.Ran
	}
	id := t.request
	if id == nil && !op.ours() {
		id, _ = c.session.told(ctx, transcript.RequestID).(fmt.Stringer)
	}
	if id != nil {
		fail.RequestID = id.String()
	}
	if ctx.Err() != nil {
		fail.Err = contextError(ctx, fail.Err, v.Ran && v.Lasts)
	}
	return fail
}

// errNoTransaction is a COMMIT that was answered with success and nothing else.
var errNoTransaction = errors.New("COMMIT was answered as if there were no transaction")

func cause(err error) error {
	if err == nil {
		return errNoTransaction
	}
	return err
}

// contextError is the error of a caller whose context has ended.
func contextError(ctx context.Context, err error, mayHaveRun bool) error {
	ended := ctx.Err()
	if !isContext(err) {
		ended = fmt.Errorf("%w; meanwhile: %w", ended, redacted{notBadConn(err)})
	}
	if mayHaveRun {
		ended = fmt.Errorf("%w; the statement may have run", ended)
	}
	return ended
}

// doubt says aloud that a statement is in doubt, if it is.
func (c *conn) doubt(ctx context.Context, fail *SessionError) error {
	if fail.Class == ClassInDoubt {
		why := Classify(fail.Err)
		if why == ClassStatement { // nothing of Snowflake's about the statement
			why = ClassInDoubt
		}
		fail.at = time.Now()
		c.connector.emit(ctx, Event{
			Kind: EventInDoubt, Time: fail.at, SessionID: fail.SessionID, Code: number(fail.Err), Class: why,
			QueryID: fail.QueryID, RequestID: fail.RequestID, Operation: fail.Op, doubt: fail.doubt(),
		})
	}
	return fail
}
