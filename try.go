package snowtether

import (
	"cmp"
	"context"
	"database/sql/driver"

	"github.com/snowtether/snowtether/internal/bulk"
	"github.com/snowtether/snowtether/internal/inner"
	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/transcript"
	"github.com/snowtether/snowtether/internal/verdict"
)

// This file is one try of an operation: something is run on a session and watched, and what
// the decision about it rests on is gathered. Under whose keys a caller puts things into a
// context depends on what is inside the session (gosnowflake v2, gosnowflake v1, or something
// that is neither), and so does whether what is seen can be read. Of an array bind it is asked
// as well whether all rows arrived.

// call runs something on the session, and leaves it behind if the caller's context
// ends: gosnowflake then sends a request that cancels the statement, and tries
// that for minutes while the server cannot be reached. under is the context for
// the inner driver. left says that it was left behind: from then on the connection is
// another's, so run takes its session from here and touches nothing else of it.
func (s *session) call(ctx, under context.Context, run func(context.Context, *session) (any, error)) (_ any, left bool, _ error) {
	return s.returned(program.Leave(ctx, under, func(ctx context.Context) (any, error) { return run(ctx, s) }))
}

// returned notes that a call was left behind, if it was.
func (s *session) returned(out any, behind *program.Leftover, err error) (_ any, left bool, _ error) {
	if behind != nil {
		s.busy.Store(behind)
	}
	return out, behind != nil, err
}

// try is call for a try of an operation, on a goroutine that is kept for the next one: no
// hook runs there, and what sends no HTTP, a mock, needs no such stack.
func (s *session) try(ctx context.Context, seen *transcript.Recorder, op *operation) (_ any, left bool, _ error) {
	if s.silent {
		return s.call(ctx, seen, func(ctx context.Context, s *session) (any, error) { return op.run(ctx, s, op) })
	}
	return s.returned(s.runner.Leave(ctx, seen, onSession{op, s}, onSession.run))
}

// tried is try with what was seen of it. An inner driver that ends its caller's goroutine, as
// a mock's t.FailNow does, leaves nothing known of the statement: the session has no next user.
func (c *conn) tried(ctx context.Context, seen *transcript.Recorder, op *operation) (out any, saw transcript.Transcript, left bool, err error) {
	s, ends := c.session, true
	left, err = true, program.ErrGoexit // unless it returns
	s.watch.Store(seen)
	defer func() {
		if saw = s.unwatched(seen, left, err); ends {
			c.giveUp(err)
		}
	}()
	out, left, err = s.try(ctx, seen, op)
	ends = false
	return
}

// An onSession is an operation, and the session that it is carried out on.
type onSession struct {
	op *operation
	s  *session
}

func (on onSession) run(ctx context.Context) (any, error) { return on.op.run(ctx, on.s, on.op) }

// watched is call with a recorder as the inner context, which sees renewals of the session
// token too; it gives what was seen.
func (s *session) watched(ctx context.Context, seen *transcript.Recorder, run func(context.Context, *session) (any, error)) (out any, saw transcript.Transcript, left bool, err error) {
	left, err = true, program.ErrGoexit // unless it returns
	s.watch.Store(seen)
	defer func() { saw = s.unwatched(seen, left, err) }()
	out, left, err = s.call(ctx, seen, run)
	return
}

// unwatched ends the recording of what was called.
func (s *session) unwatched(seen *transcript.Recorder, left bool, err error) transcript.Transcript {
	s.rest()
	s.unheard.Store(err != nil && !outcomeOf(err).Answer)
	s.watch.Store(nil)
	return seen.End(left)
}

// awaitLeft waits for an operation that its caller left behind: gosnowflake may still
// be cancelling it.
func (s *session) awaitLeft() {
	if left := s.busy.Load(); left != nil {
		<-left.Over
	}
}

// dialectOf is the dialect of a session's gosnowflake.
func dialectOf(login transcript.Transcript, conn inner.Conn, native bool) *transcript.Dialect {
	switch {
	case native:
		return transcript.V2
	case login.Dialect() != nil:
		return login.Dialect()
	case conn.Snowflake() != nil:
		return transcript.DialectOf(conn.Snowflake())
	}
	return nil
}

// told is what the caller has put into ctx for the session's gosnowflake, under its own
// keys: another version's do nothing there.
func (s *session) told(ctx context.Context, key transcript.Key) any {
	return cmp.Or(s.dialect.Load(), transcript.V2).Get(ctx, key)
}

// isSet reports whether the caller has switched something on for one statement.
func (s *session) isSet(ctx context.Context, key transcript.Key) bool {
	on, _ := s.told(ctx, key).(bool)
	return on
}

// fetches reports whether a query with this context runs nothing and fetches a result
// by its ID. An Exec or an Arrow stream with the same context is run.
func (s *session) fetches(ctx context.Context) bool {
	id, _ := s.told(ctx, transcript.Fetch).(string)
	return id != ""
}

// stranger reports whether the session is one of an inner driver that speaks HTTP and in
// which no gosnowflake was seen.
func (s *session) stranger() bool {
	return s.dialect.Load() == nil && !s.silent && s.conn.Snowflake() == nil
}

// bulkOf reads a statement's values. The error says why they are not sent.
func (op *operation) bulkOf(args []driver.NamedValue) (bulk.Bound, error) {
	b, err := bulk.Of(args)
	if b.Arrays && (!op.isOver() || op.call != verdict.Statement || op.text.PlainInsert() != len(args)) {
		b.Rows = 0
	}
	return b, err
}

// isOver reports whether nothing goes on when gosnowflake has returned: it is an Exec that is
// not asynchronous.
func (op *operation) isOver() bool { return op.nothing == driver.ResultNoRows && !op.async }

// counts compares what an INSERT has counted with what was bound.
func (c *conn) counts(ctx context.Context, b bulk.Bound, out any, id string) error {
	uncounted, err := b.Compare(out)
	if uncounted != 0 {
		c.connector.emit(ctx, Event{Kind: EventRowsUncounted, SessionID: c.session.id(), QueryID: id, Count: uncounted})
	}
	return err
}

// checked is a try of an array bind with what is known of its rows: an upload that was
// stopped before the INSERT was sent is one that failed, and an INSERT that counts other
// rows than were bound is in doubt.
func (c *conn) checked(ctx context.Context, op *operation, t *try, saw transcript.Transcript) {
	switch {
	case !op.bulk.Arrays, c.session.silent && saw.Silent(): // a mock's counts are seldom exact
	case saw.Short() && t.err != nil && t.fate.Kind == transcript.NotRun:
		t.err = bulk.ErrShortUpload
	case t.err == nil:
		op.bulk.Staged = saw.Transferred()
		if t.err = c.counts(ctx, op.bulk, t.out, t.fate.ID); t.err != nil {
			t.fate.Kind, t.out = transcript.Open, nil
		}
	}
}

// ask asks whether the session is alive, once, where the error of a try does not say so:
// a fetch begins with a look at the statement's status, which neither renews an expired
// token nor says that the session is gone; and the error of an array bind's upload hides
// why that was refused. A statement of our own says it.
func (c *conn) ask(ctx context.Context, op *operation, t *try) (next bool) {
	if t.err == nil || t.gone || t.left || op.asked || ctx.Err() != nil {
		return false
	}
	o := outcomeOf(t.err)
	fetch := op.call == verdict.Fetch && !o.Answer // that the result is not there is an answer
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

// situation is what the decision about a try rests on.
func (c *conn) situation(ctx context.Context, op *operation, t *try) verdict.Situation {
	s := verdict.Situation{Call: op.call, Fate: t.fate.Kind, Gone: t.gone, Left: ctx.Err() != nil, Tx: c.txState()}
	text := op.does()
	s.Text.Commits = text.Commits() && (s.Tx != verdict.NoTx || text.CommitsEarlier())
	if t.err == nil {
		// The reply to a COMMIT without a transaction says success and nothing else.
		s.Proven = t.fate.ID != "" || !t.visible || !c.sure
		return s
	}
	s.Held = c.mine != 0
	if op.ours() {
		s.Text.Undone = true
		return s
	}
	s.Held = s.Held || op.reach() > 0 || c.theirs&(sqltext.LossVariables|sqltext.LossUnknown) != 0 && op.text.AsksVariables()
	s.Text.Undone = text.UndoneByRollback() || text.LeavesTransaction() || op.call != verdict.Statement
	if op.call != verdict.Statement || isPanic(t.err) {
		return s
	}
	// What a text does is known of Snowflake's SQL.
	s.Text.Repeatable = (text.Repeatable() || t.gone && text.GoesWithSession()) && !c.session.stranger()
	s.Text.Begins = text.After(sqltext.State{AutocommitOff: c.autocommitOff}, true).InTx
	s.Text.Carriable = op.resumed != nil && c.connector.settings.resume && !text.Has(sqltext.FileTransfer)
	return s
}

// txState says what kind of transaction is open.
func (c *conn) txState() verdict.Tx {
	switch {
	case c.tx == nil && !c.inTx:
		return verdict.NoTx
	case c.lasting:
		return verdict.LastingTx
	}
	return verdict.UndoneTx
}
