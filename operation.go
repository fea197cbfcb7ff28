package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/transcript"
)

// This file carries one operation out on a connection: it sends, asks decide
// (verdict.go) what becomes of it, and acts.

// maxReplace is how often one statement may meet a dead session on the same
// connection before database/sql is asked for another one.
const maxReplace = 3

// An operation is something to be carried out on the session.
type operation struct {
	name    string
	call    call
	text    sqltext.Statement                                   // empty where it is none of the caller's own
	run     func(context.Context, *session) (any, error)        // it may be left behind, and then touches nothing but the session
	resumed func(rows driver.Rows, queryID string) (any, error) // makes the outcome of rows that were carried over; nil: it cannot be

	sessions int     // that ended under it
	asked    bool    // whether its session is alive
	outage   *outage // that it waits for the end of, or nil
}

// statement is an operation with a text of the caller's.
func (c *conn) statement(name, query string) *operation {
	op := &operation{name: name, text: c.connector.reader.Read(query)}
	switch {
	case op.text.IsBegin():
		op.call = callBegin
	case op.text.IsRollback() && name == "exec":
		op.call = callRollback
	}
	return op
}

// ours reports whether what is sent has no text of the caller's.
func (op *operation) ours() bool {
	return op.call != callStatement && op.call != callFetch && op.text.Text() == ""
}

// An outage is one operation's patience with a server that cannot be reached.
type outage struct {
	backOff backoff.BackOff
	until   time.Time // zero: as long as the caller's context lasts
}

// wait lets some of an outage pass before the operation is tried again, and
// reports whether there is time for that. Without a deadline of the caller's the
// connect budget is all there is, counted from the first failure.
func (op *operation) wait(ctx context.Context, c *Connector) bool {
	if op.outage == nil {
		op.outage = &outage{backOff: c.gate.newBackOff()}
		if _, ok := ctx.Deadline(); !ok {
			op.outage.until = time.Now().Add(c.settings.connectBudget)
		}
	}
	pause := op.outage.backOff.NextBackOff()
	if pause == backoff.Stop || !op.outage.until.IsZero() && time.Now().Add(pause).After(op.outage.until) {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-c.stopped.Done():
	}
	return false
}

// A try is one try of an operation, and what came of it.
type try struct {
	out  any
	err  error
	fate transcript.Fate
	gone bool
}

// do carries an operation out, as often as it takes.
func (c *conn) do(ctx context.Context, op *operation) (any, error) {
	c.checkOut()
	for {
		if done, err := c.ready(ctx, op); done || err != nil {
			return driver.ResultNoRows, err
		}
		base := ctx
		if op.ours() {
			base = transcript.Without(ctx) // what the caller put there is for a statement of theirs
		}
		seen := transcript.New(base)
		t := c.send(ctx, seen, op)
		if c.ask(ctx, op, t) {
			continue
		}
		next, out, err := c.act(ctx, op, t, decide(c.situation(ctx, op, t)))
		if next {
			continue
		}
		if err == nil || !isRetry(err) {
			seen.Tell(ctx)
		}
		return out, err
	}
}

// send tries the operation once.
func (c *conn) send(ctx context.Context, seen *transcript.Recorder, op *operation) (t *try) {
	s, now := c.session, c.connector.clock.Load()
	s.watcher.watch.Store(seen)
	out, left, err := s.call(ctx, seen, op.run)
	s.watcher.watch.Store(nil)
	saw := seen.End(left)
	t = &try{out: out, err: err}
	if saw.Shows() {
		s.visible.Store(true)
	}
	if err == nil {
		if saw.Sent() || c.connector.inner != nil { // a prepare sends nothing and proves nothing
			s.heard(now)
			c.connector.served()
		}
		t.fate = saw.Judge(transcript.Outcome{}, true)
		return t
	}
	o := outcomeOf(err)
	t.gone = o.Gone
	if s.silent && saw.Silent() {
		t.fate = wordOf(o)
		return t
	}
	t.fate = saw.Judge(o, s.visible.Load())
	if t.fate.Kind == transcript.Accepted && op.text.First() == sqltext.FileTransfer && !op.text.Many() && !o.Gone && !o.Network && !saw.Transferred() {
		// The client transfers the files after the reply, and has not begun to.
		t.fate = transcript.Fate{Kind: transcript.Answered, ID: t.fate.ID}
	}
	if t.fate.Kind == transcript.Local && o.Network {
		s.doubted.Store(true) // it cannot be sent with what the session has
	}
	return t
}

// wordOf is the fate of a statement of an inner driver that sends no HTTP at all, such
// as a mock: its word is all there is.
func wordOf(o transcript.Outcome) transcript.Fate {
	switch {
	case o.Gone && o.QueryID == "":
		return transcript.Fate{Kind: transcript.NotRun}
	case o.Gone || o.Network:
		return transcript.Fate{Kind: transcript.Open, ID: o.QueryID}
	}
	return transcript.Fate{Kind: transcript.Local}
}

// situation is what the decision about a try rests on.
func (c *conn) situation(ctx context.Context, op *operation, t *try) situation {
	s := situation{call: op.call, fate: t.fate.Kind, gone: t.gone, left: ctx.Err() != nil, tx: c.txState()}
	s.text.commits = op.text.Commits()
	if t.err == nil {
		// The reply to a COMMIT without a transaction says success and nothing else.
		s.proven = t.fate.ID != "" || !c.session.visible.Load() || c.ended || s.tx == noTx
		return s
	}
	s.held = c.mine != 0
	if op.ours() {
		s.text.undone = true
		return s
	}
	state := sqltext.State{AutocommitOff: c.autocommitOff}
	panicked := isPanic(t.err)
	s.held = s.held || op.text.AsksSession()
	s.text.undone = op.text.UndoneByRollback() || op.call == callRollback || op.call == callBegin
	s.text.repeatable = op.text.Repeatable() && !panicked
	s.text.begins = op.call == callStatement && op.text.After(state, true).InTx
	s.text.carriable = op.resumed != nil && !panicked && c.connector.settings.resume && !op.text.Has(sqltext.FileTransfer)
	return s
}

// txState says what kind of transaction is open.
func (c *conn) txState() txState {
	switch {
	case c.tx == nil && !c.inTx:
		return noTx
	case c.lasting:
		return lastingTx
	}
	return undoneTx
}

// act does what was decided about a try. next says that the operation is to be tried
// once more.
func (c *conn) act(ctx context.Context, op *operation, t *try, v verdict) (next bool, out any, _ error) {
	if t.fate.Kind != transcript.NotRun && t.fate.Kind != transcript.Local {
		// Whatever it was, some of it may have been carried out.
		c.ran(op.text, t.err != nil)
	}
	if t.gone {
		c.connector.lost(c.session, t.err)
	}
	if v.action == asItIs {
		if t.fate.Kind == transcript.Answered {
			c.connector.served()
		}
		if isPanic(t.err) {
			c.giveUp(t.err)
		}
		return false, t.out, t.err
	}
	if v.action == carryOver {
		out, err := c.carryOver(ctx, op, t)
		return false, out, err
	}
	fail := c.failure(ctx, op, t, v)
	if t.gone || v.end || isPanic(t.err) {
		c.giveUp(cause(t.err))
	}
	switch v.action {
	case rolled:
		c.inTx, c.lasting = false, false
		return false, driver.ResultNoRows, nil
	case depart:
		return false, nil, fail.Err
	case again:
		return c.again(ctx, op, t, fail)
	}
	if fail.InTx && op.call != callCommit && op.call != callRollback && (c.tx != nil || !op.text.Commits()) {
		c.over = fail // each statement says so until the transaction is ended
	}
	if v.action == sessLost {
		fail.lost, c.untold = c.untold, 0
		fail.asks = fail.lost == 0 && op.text.AsksSession()
	} else if !t.gone && !v.end {
		c.session.doubted.Store(true)
	}
	return false, nil, c.doubt(ctx, fail)
}

// again prepares the next try: it lets some of an outage pass, or gets a new session.
func (c *conn) again(ctx context.Context, op *operation, t *try, fail *SessionError) (next bool, out any, _ error) {
	if !t.gone {
		switch {
		case errors.Is(t.err, errRenewalLoop), c.session.silent:
			return false, nil, fail
		case isHopeless(t.err):
			return false, nil, t.err
		}
		c.connector.unreachable(t.err)
		if !op.wait(ctx, c.connector) {
			return false, nil, c.impatient(ctx, fail)
		}
	}
	if c.gone == nil {
		return true, nil, nil
	}
	if op.sessions++; op.sessions > maxReplace && op.outage == nil {
		fail.Class, fail.retry = ClassSessionLost, true
		return false, nil, fail
	}
	if op.sessions > maxReplace && !op.wait(ctx, c.connector) {
		return false, nil, c.impatient(ctx, fail)
	}
	err := c.renew(ctx)
	return err == nil, nil, err
}

// impatient is the error of an operation for which there is no time left.
func (c *conn) impatient(ctx context.Context, fail *SessionError) error {
	if ctx.Err() != nil {
		return contextError(ctx, fail.Err, false)
	}
	return fail
}

// failure makes the error for a verdict.
func (c *conn) failure(ctx context.Context, op *operation, t *try, v verdict) *SessionError {
	fail := &SessionError{
		Op: op.name, Class: ClassTransient, Code: number(t.err), SessionID: c.session.id(), QueryID: t.fate.ID,
		InTx: c.tx != nil || c.inTx, Err: cause(t.err), ran: v.ran,
	}
	switch v.action {
	case sessLost:
		fail.Class = ClassSessionLost
	case inDoubt:
		fail.Class, fail.unsent = ClassInDoubt, !v.ran
	}
	fail.InTx = fail.InTx || op.call == callCommit || op.text.Commits()
	if id, ok := ctx.Value(requestIDKey).(gosnowflake.UUID); ok && !op.ours() {
		fail.RequestID = id.String()
	}
	if ctx.Err() != nil {
		fail.Err = contextError(ctx, fail.Err, v.ran && v.lasts)
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

// ask asks whether the session is alive, once, where the error of a try does not say so:
// a fetch begins with a look at the statement's status, which neither renews an expired
// token nor says that the session is gone; and the error of an array bind's upload hides
// why that was refused. A statement of our own says it.
func (c *conn) ask(ctx context.Context, op *operation, t *try) (next bool) {
	if t.err == nil || t.gone || op.asked {
		return false
	}
	o := outcomeOf(t.err)
	fetch := op.call == callFetch && !o.Answer // that the result is not there is an answer
	if !fetch && (t.fate.Kind != transcript.NotRun || o.Network) {
		return false
	}
	op.asked = true
	_, err := c.probe(ctx)
	if lost(err) {
		t.err, t.gone, t.fate = err, true, transcript.Fate{Kind: transcript.NotRun}
	}
	return err == nil
}

// requestIDKey is where gosnowflake looks for a request ID of the caller's own
// (util.go). A test fails if a newer one looks elsewhere.
const requestIDKey = gosnowflake.ContextKey("SNOWFLAKE_REQUEST_ID")

// fetchKey is where it looks for the query ID of a result to be fetched.
const fetchKey = gosnowflake.ContextKey("SF_FETCH_RESULT_BY_ID")

// fetches reports whether a query with this context runs nothing and fetches a result
// by its ID. An Exec or an Arrow stream with the same context is run.
func fetches(ctx context.Context) bool {
	id, _ := ctx.Value(fetchKey).(string)
	return id != ""
}

// doubt says aloud that a statement is in doubt, if it is.
func (c *conn) doubt(ctx context.Context, fail *SessionError) error {
	if fail.Class == ClassInDoubt {
		why := Classify(fail.Err)
		if why == ClassStatement { // nothing of Snowflake's about the statement
			why = ClassInDoubt
		}
		c.connector.emit(ctx, Event{Kind: EventInDoubt, SessionID: fail.SessionID, Code: number(fail.Err), Class: why, QueryID: fail.QueryID})
	}
	return fail
}

func isRetry(err error) bool {
	se, ok := as[*SessionError](err)
	return ok && se.retry
}

func isPanic(err error) bool {
	_, ok := as[*panicError](err)
	return ok || err == errNoAnswer // never wrapped
}
