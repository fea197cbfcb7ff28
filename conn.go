package snowtether

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file is a pooled connection: database/sql's side of a session. Each
// statement goes through do, which decides what happens when it fails.

// A conn is one connection of the pool. It outlives its session: where nothing is
// lost by it, a dead session is replaced under it.
//
// It has every method of gosnowflake's connection, so that code written for that
// one works in sql.Conn.Raw.
type conn struct {
	connector *Connector
	session   *session
	state     sessionState
	tx        *tx   // open, or nil
	bad       error // why the connection must not be used any more; sticky
	verified  int64 // the session was alive at this time of Connector.clock
	abandoned bool  // its session is given up by somebody else
	replaced  int   // how often the session was replaced; prepared statements look at it
}

var (
	_ fullConn               = (*conn)(nil)
	_ driver.SessionResetter = (*conn)(nil)
	_ driver.Validator       = (*conn)(nil)
	//lint:ignore SA1019 gosnowflake's connection has it
	_ driver.Execer = (*conn)(nil)
	//lint:ignore SA1019 gosnowflake's connection has it
	_ driver.Queryer                 = (*conn)(nil)
	_ interface{ Raw() driver.Conn } = (*conn)(nil)
)

func newConn(c *Connector, s *session) *conn {
	cn := &conn{connector: c}
	cn.attach(s)
	return cn
}

func (c *conn) attach(s *session) {
	c.session, c.verified = s, s.order
	c.state = sessionState{autocommitOff: c.connector.autocommitOff}
}

// Raw returns the inner driver's connection as it is at the moment; a later
// statement may replace it.
func (c *conn) Raw() driver.Conn { return c.session.conn.Conn }

// ResetSession is called by database/sql before each use but the first. Here is
// the one place where a dead session can be replaced without any question: there
// is no statement, no rows and no transaction. Every failure is ErrBadConn,
// because database/sql ignores all others.
func (c *conn) ResetSession(ctx context.Context) error {
	if !c.IsValid() {
		return driver.ErrBadConn
	}
	if c.session.busy.Load() != nil {
		ctx, cancel := context.WithTimeout(ctx, settleTimeout)
		defer cancel()
		if c.settle(ctx) != nil {
			return driver.ErrBadConn
		}
	}
	if c.verified >= c.connector.suspectSince.Load() || ctx.Err() != nil {
		return nil // what is wrong with ctx, the statement will say
	}
	now := c.connector.clock.Load()
	err := c.probe(ctx)
	switch {
	case err == nil:
		c.verified = now
		return nil
	case lost(err, phaseStatement):
		if c.reconnect(ctx, err) == nil {
			return nil
		}
	}
	c.bad = err
	return driver.ErrBadConn
}

// probe asks the server whether the session is alive. A describe-only statement
// is compiled and not run, so it needs no warehouse.
func (c *conn) probe(ctx context.Context) error {
	w := newWatch(gosnowflake.WithDescribeOnly(withoutSnowflake{ctx}), nil)
	defer c.session.watcher.watch.Store(nil)
	c.session.watcher.watch.Store(w)
	_, err := c.call(ctx, w, func(ctx context.Context) (any, error) {
		if _, ok := c.session.conn.Conn.(gosnowflake.SnowflakeConnection); !ok {
			return nil, c.session.conn.full.Ping(ctx)
		}
		return nil, c.session.conn.execSimple(ctx, "SELECT 1")
	})
	return err
}

// IsValid is called by database/sql when the connection comes back to the pool.
// ResetSession asks the same, because a connection that is handed on at once is
// not asked here.
func (c *conn) IsValid() bool {
	switch {
	case c.bad != nil || c.tx != nil:
		return false
	case c.state.inTx:
		// The next user's writes would end in somebody else's open transaction.
		return false
	case c.state.changed && c.connector.settings.changed == DiscardChanged:
		return false
	}
	return true
}

// Close gives the session up. Its log-out goes on in the background.
func (c *conn) Close() error {
	if !c.abandoned {
		c.connector.retire(c.session)
	}
	return nil
}

// Ping asks the server whether the session is alive, with a new login if it is
// not: database/sql does not repeat a ping.
func (c *conn) Ping(ctx context.Context) error {
	_, err := c.do(ctx, &operation{name: "ping", run: func(ctx context.Context) (any, error) {
		return nil, c.session.conn.full.Ping(ctx)
	}})
	return err
}

// ExecContext carries out a statement.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := c.do(ctx, &operation{
		name: "exec", query: query, args: args,
		run: func(ctx context.Context) (any, error) {
			return c.session.conn.full.ExecContext(ctx, query, args)
		},
		resumed: resultOf,
	})
	return outcome[driver.Result](res, err)
}

// QueryContext carries out a statement and returns the inner driver's own rows.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.do(ctx, &operation{
		name: "query", query: query, args: args,
		run: func(ctx context.Context) (any, error) {
			return c.session.conn.full.QueryContext(ctx, query, args)
		},
		resumed: rowsOf,
	})
	return outcome[driver.Rows](rows, err)
}

// QueryArrowStream is gosnowflake's; reach it through sql.Conn.Raw.
func (c *conn) QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error) {
	loader, err := c.do(ctx, &operation{
		name: "query", query: query, args: bindings,
		run: func(ctx context.Context) (any, error) {
			return c.session.conn.full.QueryArrowStream(ctx, query, bindings...)
		},
		// gosnowflake fetches by ID only as rows. RESULT_SCAN reads the same result
		// as a stream; it needs a warehouse.
		resumed: func(fetched driver.Rows, id string) (any, error) {
			if _, err := rowsOf(fetched, id); err != nil {
				return nil, err
			}
			if err := fetched.Close(); err != nil {
				return nil, err
			}
			return c.session.conn.full.QueryArrowStream(withoutSnowflake{ctx}, "SELECT * FROM TABLE(RESULT_SCAN('"+id+"'))")
		},
	})
	return outcome[gosnowflake.ArrowStreamLoader](loader, err)
}

// outcome gives an operation's outcome its type back.
func outcome[T any](v any, err error) (out T, _ error) {
	if err != nil {
		return out, err
	}
	out, _ = v.(T)
	return out, nil
}

// PrepareContext prepares a statement. With gosnowflake that sends nothing.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s := &stmt{conn: c, query: query}
	_, err := c.do(ctx, &operation{name: "prepare", run: func(ctx context.Context) (any, error) { return nil, s.prepare(ctx) }})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// BeginTx begins a transaction. Until it has ended the session is not replaced.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	t := &tx{conn: c, caller: ctx}
	begun, err := c.do(ctx, &operation{name: "begin", run: func(ctx context.Context) (any, error) {
		t.context.use(ctx)
		return c.session.conn.full.BeginTx(&t.context, opts)
	}})
	if err != nil {
		if lost(err, phaseStatement) || isContext(err) || Classify(err) == ClassInDoubt {
			c.bad = err // it may have begun
		}
		return nil, err
	}
	t.inner, err = outcome[driver.Tx](begun, nil)
	c.tx = t
	return t, err
}

// CheckNamedValue asks the inner connection which Go types it binds.
func (c *conn) CheckNamedValue(nv *driver.NamedValue) error {
	return c.session.conn.full.CheckNamedValue(nv)
}

// GetQueryStatus is gosnowflake's; reach it through sql.Conn.Raw.
func (c *conn) GetQueryStatus(ctx context.Context, queryID string) (*gosnowflake.SnowflakeQueryStatus, error) {
	return c.session.conn.full.GetQueryStatus(ctx, queryID)
}

// AddTelemetryData is gosnowflake's; reach it through sql.Conn.Raw.
func (c *conn) AddTelemetryData(ctx context.Context, at time.Time, data map[string]string) error {
	return c.session.conn.full.AddTelemetryData(ctx, at, data)
}

// The methods from before contexts, for code in sql.Conn.Raw that uses them.

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *conn) Exec(query string, args []driver.Value) (driver.Result, error) {
	return c.ExecContext(context.Background(), query, named(args))
}

func (c *conn) Query(query string, args []driver.Value) (driver.Rows, error) {
	return c.QueryContext(context.Background(), query, named(args))
}

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
}

// do carries an operation out and decides what becomes of it if it fails.
//
// A session that is gone is replaced, and the statement run again, only where the
// statement provably did not run, no transaction is open, and the session had no
// state of its own that a new one would lack. See classify for the proof.
func (c *conn) do(ctx context.Context, op *operation) (any, error) {
	for try := 1; ; try++ {
		if err := c.refuse(ctx); err != nil {
			return nil, err
		}
		now := c.connector.clock.Load()
		w := newWatch(ctx, op.args)
		watcher := c.session.watcher
		watcher.watch.Store(w)
		out, err := c.call(ctx, w, op.run)
		watcher.watch.Store(nil)
		acc := w.end(ctx)
		again := false
		if err == nil {
			c.verified = now
			c.connector.served()
			c.state.ran(op.query, false)
		} else {
			again, out, err = c.failed(ctx, op, err, acc, try)
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

// call lets the inner driver run something, and leaves it behind if the caller's
// context ends: gosnowflake then sends a request that cancels the statement, and
// tries that for minutes while the server cannot be reached. inner is the context
// for the inner driver.
func (c *conn) call(ctx, inner context.Context, run func(context.Context) (any, error)) (any, error) {
	if ctx.Done() == nil {
		return guard(inner, run)
	}
	type returned struct {
		out any
		err error
	}
	done := make(chan returned, 1)
	go func() {
		out, err := guard(inner, run)
		done <- returned{out, err}
	}()
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.out, r.err
	default:
	}
	left := make(chan struct{})
	c.session.busy.Store(&left)
	go func() {
		if rows, ok := (<-done).out.(driver.Rows); ok {
			_ = rows.Close()
		}
		close(left)
	}()
	return nil, ctx.Err()
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
		return c.settle(ctx)
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
func (c *conn) failed(ctx context.Context, op *operation, err error, acc acceptance, try int) (again bool, out any, _ error) {
	class, gone := classify(err, phaseStatement, acc), lost(err, phaseStatement)
	inTx := c.tx != nil || c.state.inTx
	if class == ClassInDoubt && plainRead(op.query) {
		switch {
		case gone && acc.queryID == "":
			class = ClassSessionLost // a read may be run again
		case acc.queryID == "":
			class = ClassTransient // and leaves nothing behind
		}
	}
	if class != ClassSessionLost {
		// Whatever it was, some of it may have been carried out.
		c.state.ran(op.query, true)
	}
	if gone {
		c.connector.lost(c.session)
	}
	fail := &SessionError{
		Op: op.name, Class: class, Code: number(err), SessionID: c.session.id(), QueryID: cmp.Or(acc.queryID, queryIDOf(err)), InTx: inTx, Err: err,
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
		return false, nil, err
	case gone && inTx:
		c.bad = fail
		if op.name != "commit" && (op.query == "" || rolledBackWithSession(op.query)) {
			// Whether it ran or not, the server rolls it back with its transaction.
			fail.Class = ClassSessionLost
		}
	case class == ClassSessionLost && (c.state.changed || try > maxReplace):
		fail.state, fail.retry = c.state.changed, true
		c.bad = fail
	case class == ClassSessionLost:
		err := c.reconnect(ctx, err)
		return err == nil, nil, err
	case class == ClassInDoubt && !inTx && fail.QueryID != "" && op.resumed != nil && c.connector.settings.resume:
		out, err := c.carryOver(ctx, op, fail)
		return false, out, err
	case gone:
		c.bad = fail
	default:
		c.verified = 0 // to be probed before its next use
	}
	return false, nil, c.doubt(ctx, fail)
}

// carryOver fetches the outcome of an accepted statement. If the session that it
// ran in had state, the connection serves this result and is then given up:
// nobody shall go on without his settings and temporary tables unaware.
func (c *conn) carryOver(ctx context.Context, op *operation, fail *SessionError) (out any, _ error) {
	id, changed := fail.QueryID, c.state.changed
	rows, err := c.resume(ctx, op, id, fail.Err)
	if err == nil {
		out, err = op.resumed(rows, id)
	}
	if changed && c.bad == nil {
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
		c.connector.counters.inDoubt.Add(1)
		c.connector.log(ctx, slog.LevelWarn, "snowtether: a statement's outcome is not known",
			slog.Any(keyReason, reason(fail.Err)), slog.Int64(keySession, fail.SessionID), slog.String(keyQuery, fail.QueryID))
	}
	return fail
}

// reconnect puts a new session in the place of the one that is gone. If that
// fails the connection is bad.
func (c *conn) reconnect(ctx context.Context, cause error) error {
	old, begun := c.session, time.Now()
	c.connector.lost(old)
	fresh, err := c.connector.login(ctx)
	if err != nil {
		c.bad = err
		return err
	}
	c.attach(fresh)
	c.replaced++
	c.connector.retire(old)
	c.connector.logReconnect(ctx, old, fresh, cause, time.Since(begun))
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
