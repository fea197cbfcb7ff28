package snowtether

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
)

// This file carries one operation out on a connection and decides what becomes of
// it if it fails: run again on a new session, carried over to one, or an error,
// and which.

// maxReplace is how often one statement may meet a dead session on the same
// connection before database/sql is asked for another one.
const maxReplace = 3

// An operation is something to be carried out on the session.
type operation struct {
	name    string
	query   string // "" where it is none of the caller's own
	args    []driver.NamedValue
	run     func(context.Context) (any, error)
	resumed func(rows driver.Rows, queryID string) (any, error) // makes the outcome of rows that were carried over; nil: it cannot be
	rows    bool                                                // it is a query, which an ID in its context makes a fetch

	replaced int     // sessions that were replaced for it
	asked    bool    // whether its session is alive
	outage   *outage // that it waits for the end of, or nil
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

// do carries an operation out and decides what becomes of it if it fails.
//
// A session that is gone is replaced, and the statement run again, only where the
// statement provably did not run, no transaction is open, and the session had no
// state of its own that a new one would lack. See classify for the proof.
func (c *conn) do(ctx context.Context, op *operation) (any, error) {
	c.checkOut()
	for {
		if err := c.refuse(ctx); err != nil {
			return nil, err
		}
		now := c.connector.clock.Load()
		w := newWatch(ctx, op.args)
		watcher := c.session.watcher
		watcher.watch.Store(w)
		out, err := c.session.call(ctx, w, op.run)
		watcher.watch.Store(nil)
		acc := w.end(ctx)
		acc.watched, acc.visible = true, c.connector.cfg != nil && !errors.Is(err, driver.ErrBadConn)
		again := false
		if err == nil {
			if acc.requests > 0 || c.connector.inner != nil { // a prepare sends nothing and proves nothing
				c.session.heard(now)
				c.connector.served()
			}
			c.ran(op.query, false)
		} else {
			again, out, err = c.failed(ctx, op, err, acc)
		}
		if again {
			continue
		}
		if err == nil || !isRetry(err) {
			w.tell(ctx)
		}
		return out, err
	}
}

// call runs something on the session, and leaves it behind if the caller's context
// ends: gosnowflake then sends a request that cancels the statement, and tries
// that for minutes while the server cannot be reached. inner is the context for
// the inner driver.
func (s *session) call(ctx, inner context.Context, run func(context.Context) (any, error)) (any, error) {
	out, left, err := leave(ctx, inner, run)
	if left != nil {
		busy := left // left itself stays off the heap
		s.busy.Store(&busy)
	}
	return out, err
}

// leave runs something until it returns or ctx ends. If it was left behind, left is
// closed when it has returned.
func leave(ctx, inner context.Context, run func(context.Context) (any, error)) (_ any, left chan struct{}, _ error) {
	if ctx.Done() == nil {
		out, err := guard(inner, run)
		return out, nil, err
	}
	type returned struct {
		out any
		err error
	}
	done := make(chan returned, 1)
	go func() {
		growStack(0)
		out, err := guard(inner, run)
		done <- returned{out, err}
	}()
	select {
	case r := <-done:
		return r.out, nil, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.out, nil, r.err
	default:
	}
	over := make(chan struct{})
	go func() {
		if rows, ok := (<-done).out.(driver.Rows); ok {
			_ = rows.Close()
		}
		close(over)
	}()
	return nil, over, ctx.Err()
}

// growStack makes room on a new goroutine's stack for gosnowflake, whose calls take
// some 20 KB. Growing at once, while there is nothing to copy, in place of doubling on
// the way down, halves what the goroutine costs a statement (BenchmarkStatement).
//
//go:noinline
func growStack(i int) byte {
	var room [28 << 10]byte
	return room[i]
}

// awaitLeft waits for an operation that its caller left behind: gosnowflake may still
// be cancelling it.
func (s *session) awaitLeft() {
	if left := s.busy.Load(); left != nil {
		<-*left
	}
}

// settle waits until an operation that a caller left behind is over.
func (c *conn) settle(ctx context.Context) error {
	left := c.session.busy.Load()
	if left == nil {
		return nil
	}
	select {
	case <-*left:
		c.session.busy.Store(nil)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settleTimeout is how long a checkout waits for the cancelling of the statement
// that its last user left behind, before it gives the connection up.
const settleTimeout = time.Second

// refuse is the error for a connection or a caller with whom there is no sense in
// sending anything.
func (c *conn) refuse(ctx context.Context) error {
	if c.bad == nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.session.busy.Load() == nil {
			return nil
		}
		bounded, cancel := context.WithTimeout(ctx, rollbackTimeout)
		defer cancel()
		if c.settle(bounded) == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.bad = errAbandoned
	}
	if c.tx != nil || c.state.inTx {
		return c.bad // the transaction is over, and every statement in it says so
	}
	if se, ok := as[*SessionError](c.bad); ok && se.state && se.retry {
		return c.bad
	}
	return driver.ErrBadConn // for this statement on this connection: nothing was sent
}

// failed decides about an operation that failed: run it again, or which error.
func (c *conn) failed(ctx context.Context, op *operation, err error, acc acceptance) (again bool, out any, _ error) {
	class, gone := classify(err, phaseStatement, acc), lost(err, phaseStatement)
	inTx, lasting := c.tx != nil || c.state.inTx, c.lasting
	fetching := op.rows && fetches(ctx)
	if fetching && !op.asked && (number(err) == gosnowflake.ErrQueryStatus || class == ClassInDoubt && !gone) {
		// The fetch begins with a look at the statement's status, which neither renews an
		// expired token nor says that the session is gone. A statement of our own does.
		op.asked = true
		_, asked := c.probe(ctx)
		if asked == nil {
			return true, nil, nil
		}
		if lost(asked, phaseStatement) {
			class, gone, err = ClassSessionLost, true, asked
		}
	}
	reads := fetching || op.name == "ping" || plainRead(op.query)
	if class == ClassStatement && number(err) == 0 && acc.queryID != "" && !reads && !transfersFile(op.query) {
		class = ClassInDoubt // no answer of Snowflake's: the statement is done, and what came of it cannot be read
	}
	if class == ClassInDoubt && reads {
		switch {
		case acc.queryID != "" && op.resumed != nil: // accepted: its result can be fetched
		case gone:
			class = ClassSessionLost // a read may be run again
		case httpStatus(err)/100 == 4 && !isTransient(err):
			class = ClassStatement // which a gateway will not let through the next time either
		default:
			class = ClassTransient // and leaves nothing behind
		}
	}
	if gone && class == ClassInDoubt && (op.name == "prepare" || op.name == "begin") {
		class = ClassSessionLost // with its session nothing is left of it
	}
	if class == ClassTransient && c.connector.cfg != nil && !errors.Is(err, errRenewalLoop) {
		c.connector.unreachable(err)
		if op.wait(ctx, c.connector) {
			return true, nil, nil // it was not sent, or is a plain read; the session may well be there still
		}
		if ctx.Err() != nil {
			class = ClassContext
		}
	}
	if class != ClassSessionLost {
		// It may have begun a transaction, which went with the session.
		after := c.state
		after.ran(op.query, false)
		inTx = inTx || after.inTx
		// Whatever it was, some of it may have been carried out.
		c.ran(op.query, true)
	}
	if gone {
		c.connector.lost(c.session, err)
	}
	fail := &SessionError{
		Op: op.name, Class: class, Code: number(err), SessionID: c.session.id(), QueryID: cmp.Or(acc.queryID, queryIDOf(err)), InTx: inTx, Err: err,
	}
	if id, ok := ctx.Value(requestIDKey).(gosnowflake.UUID); ok {
		fail.RequestID = id.String()
	}
	switch {
	case isPanic(err):
		c.bad = fail
		if acc.requests > 0 {
			fail.Class = ClassInDoubt
		}
	case class == ClassContext:
		if gone {
			c.bad = fail
		}
		if !isContext(err) {
			err = fmt.Errorf("%w; meanwhile: %w", ctx.Err(), notBadConn(err))
		}
		return false, nil, err
	case class == ClassStatement:
		c.connector.served() // the server has answered
		return false, nil, err
	case gone && inTx:
		c.bad = fail
		if op.name != "commit" && (op.query == "" || rolledBackWithSession(op.query)) {
			// Whether it ran or not, the server rolls it back with its transaction.
			fail.Class = ClassSessionLost
		}
		if lasting {
			fail.Class = ClassInDoubt // some of the transaction lasts already
		}
	case class == ClassSessionLost && (c.state.changed || asksForLastQuery(op.query) || op.replaced == maxReplace):
		fail.state, fail.retry = c.state.changed || asksForLastQuery(op.query), true
		c.bad = fail
	case class == ClassSessionLost:
		op.replaced++
		err := c.reconnect(ctx, err)
		return err == nil, nil, err
	case class == ClassInDoubt && !inTx && fail.QueryID != "" && op.resumed != nil && c.connector.settings.resume && !transfersFile(op.query):
		out, err := c.carryOver(ctx, op, fail)
		return false, out, err
	case gone:
		c.bad = fail
	default:
		c.session.doubted.Store(true)
	}
	return false, nil, c.doubt(ctx, fail)
}

// ran takes note of a statement in the session's state, and of whether it left
// something in its transaction that the session's end does not undo.
func (c *conn) ran(query string, failed bool) {
	before := c.state.inTx
	c.state.ran(query, failed)
	switch {
	case c.tx == nil && !before && c.state.inTx:
		c.lasting = failed && !c.state.autocommitOff // it may not have begun, and what follows commits by itself
	case query != "" && (c.tx != nil || before) && (!rolledBackWithSession(query) || endsTx(query)):
		c.lasting = true
	}
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

// carryOver fetches the outcome of an accepted statement. If the session that it
// ran in had state, the connection serves this result and is then given up:
// nobody must go on unaware without their settings and temporary tables.
func (c *conn) carryOver(ctx context.Context, op *operation, fail *SessionError) (out any, _ error) {
	id, changed, ranIn := fail.QueryID, c.state.changed, c.session
	rows, err := c.resume(ctx, op, id, fail.Err)
	if err == nil {
		if out, err = op.resumed(rows, id); err != nil && !errors.Is(err, errOutcome) {
			err = fmt.Errorf("%w: %w", errOutcome, err)
		}
	}
	if changed && c.bad == nil && c.session != ranIn {
		c.bad = &SessionError{Op: op.name, Class: ClassSessionLost, Code: fail.Code, SessionID: fail.SessionID, Err: fail.Err, state: true, retry: true}
	}
	var se *SessionError
	if errors.Is(err, errOutcome) {
		se = &SessionError{Op: op.name, Class: ClassInDoubt, Code: fail.Code, SessionID: fail.SessionID, QueryID: id, Err: err}
		return nil, c.doubt(ctx, se)
	}
	if errors.As(err, &se) {
		return nil, c.doubt(ctx, se)
	}
	return out, err
}

// doubt says aloud that a statement is in doubt, if it is.
func (c *conn) doubt(ctx context.Context, fail *SessionError) error {
	if fail.Class == ClassInDoubt {
		c.connector.emit(ctx, Event{Kind: EventInDoubt, SessionID: fail.SessionID, Code: number(fail.Err), Class: Classify(fail.Err), QueryID: fail.QueryID})
	}
	return fail
}

// reconnect puts a new session in the place of the one that is gone. If that
// fails the connection is bad.
func (c *conn) reconnect(ctx context.Context, cause error) error {
	c.connector.lost(c.session, cause)
	return c.replace(ctx, cause)
}

// replace puts a new session in the place of the one that is there. If that fails
// the connection is bad.
func (c *conn) replace(ctx context.Context, cause error) error {
	old, begun := c.session, time.Now()
	fresh, err := c.connector.login(ctx)
	if err != nil {
		c.bad = err
		return err
	}
	c.attach(fresh)
	c.connector.retire(old)
	c.connector.replaced(ctx, old, fresh, cause, time.Since(begun))
	return nil
}

func isRetry(err error) bool {
	se, ok := as[*SessionError](err)
	return ok && se.retry
}

func isPanic(err error) bool {
	_, ok := as[*panicError](err)
	return ok || err == errNoAnswer // never wrapped
}
