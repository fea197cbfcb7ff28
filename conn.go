package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/inner"
	"github.com/snowtether/snowtether/internal/large"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/transcript"
	"github.com/snowtether/snowtether/internal/verdict"
)

// This file is a pooled connection as database/sql sees it. Whatever it sends goes
// through do (operation.go). What it knows of its session is in state.go.

// A conn is one connection of the pool. It outlives its session: where nothing is
// lost by it, a dead session is replaced under it.
//
// It has every method of gosnowflake's connection, so that code written for that
// one works in sql.Conn.Raw.
type conn struct {
	connector *Connector
	session   *session
	tx        *tx             // open, or nil
	caller    context.Context // of the operation under way, or the last: nobody waits for an event once it has ended
	waited    waited          // for its first login
	alone     bool            // its connector has no other and ends with it
	sessionState

	// While the connection lies in the pool the keeper may look at it and replace
	// its session. IsValid begins that time, checkOut ends it; at all other times the
	// fields above are its user's alone.
	mu   sync.Mutex
	idle time.Time // since when it lies in the pool; zero while it is in use
}

var (
	_ inner.Full             = (*conn)(nil)
	_ driver.SessionResetter = (*conn)(nil)
	_ driver.Validator       = (*conn)(nil)
	//lint:ignore SA1019 gosnowflake's connection has it
	_ driver.Execer = (*conn)(nil)
	//lint:ignore SA1019 gosnowflake's connection has it
	_ driver.Queryer                 = (*conn)(nil)
	_ interface{ Raw() driver.Conn } = (*conn)(nil)
)

func newConn(c *Connector, s *session) *conn {
	cn := &conn{connector: c, caller: context.Background()}
	cn.attach(s)
	cn.untold = sqltext.Loss(c.untold.Swap(0))
	cn.earlier = cn.untold
	return cn
}

// checkOut ends the time in the pool and returns when it began, zero if it had
// not. It waits for nothing: the keeper holds the lock only to look and to swap.
//
// All that uses the session calls it: a connection whose first caller left while it
// was being opened has its next user without a ResetSession.
func (c *conn) checkOut() (since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since, c.idle = c.idle, time.Time{}
	return since
}

// lies reports whether the connection lies in the pool.
func (c *conn) lies() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.idle.IsZero()
}

// Raw returns the inner driver's connection as it is at the moment; a later
// statement may replace it.
//
// Where the session was lost with what its holder had set, it is the lost one's, and its
// statements fail: the next statement of the connection says what was lost.
func (c *conn) Raw() driver.Conn {
	c.present()
	return c.session.conn.Conn
}

// present sees to it that code which uses the session without a statement finds one, if
// there is one to be had.
func (c *conn) present() {
	c.checkOut()
	op := new(operation)
	if _ = c.inspect(context.Background(), op); c.gone != nil && c.over == nil && c.untold == 0 {
		_ = c.renew(context.Background(), op)
	}
}

// ResetSession is called by database/sql before each use but the first. It waits for the
// cancelling of a statement whose caller left, for at most 1 s, and for nothing else: what
// is wrong with the session, the next statement finds out, within its own patience.
func (c *conn) ResetSession(ctx context.Context) error {
	since := c.checkOut()
	if !c.valid() {
		return c.refuse()
	}
	if !c.settled(ctx) {
		return c.refuse()
	}
	if c.session.expired(since) {
		c.giveUp(errExpired)
	}
	c.unsure = c.session.suspect()
	return nil
}

// question asks whether the session is alive, because it came out of the pool and others
// have ended, or because it rested. One that rested is asked again while Snowflake cannot be
// reached, within the operation's patience. The error is the context's.
func (c *conn) question(ctx context.Context, op *operation, rested bool) error {
	limited, cancel := op.patience.limit(ctx, c.connector)
	defer cancel()
	now := c.connector.clock.Load()
	unsent, err := c.probe(limited)
	switch {
	case err == nil:
		op.patience.renew()
		c.session.heard(now)
	case lost(err):
		c.connector.lost(ctx, c.session, err)
		c.giveUp(err)
	case ctx.Err() != nil:
		return ctx.Err()
	case rested && !unsent && isTransient(err) && c.settled(ctx) && op.patience.wait(ctx, c.connector):
		return c.question(ctx, op, rested)
	case !unsent && c.mine == 0 && c.txState() == verdict.NoTx:
		// Nothing is known. A new session costs little; what would be lost with this one
		// is not given up for that, and the statement finds out.
		c.giveUp(err)
	}
	return nil
}

// probe asks the server whether the session is alive, or reports that no network
// connection was found to ask over. A describe-only statement is compiled and not run,
// so it needs no warehouse. It is a statement, too, of which the program knows nothing.
func (c *conn) probe(ctx context.Context) (unsent bool, _ error) {
	defer c.forget()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := transcript.New(transcript.With(transcript.Without(ctx), transcript.Describe, true))
	defer bound(seen, cancel)()
	_, saw, _, err := c.session.watched(ctx, seen, ask)
	return saw.Unsent(), err
}

// ask is what a session is asked that only has to answer, with transcript.Describe.
func ask(ctx context.Context, s *session) (any, error) {
	if _, ok := s.conn.Conn.(gosnowflake.SnowflakeConnection); !ok {
		return nil, s.conn.Full.Ping(ctx)
	}
	return nil, s.conn.Exec(ctx, "SELECT 1")
}

// bound calls cancel where a question of the driver's own has had no answer for 20 s, until
// stop is called. While the network is cut gosnowflake tries on, as while it is told to come
// again later.
func bound(seen *transcript.Recorder, cancel func()) (stop func() bool) {
	var timer *time.Timer
	answers := 0
	timer = time.AfterFunc(questionTimeout, func() {
		switch n := seen.Answers(); {
		case !seen.Sent():
			timer.Reset(time.Second)
		case n > answers:
			answers = n
			timer.Reset(questionTimeout)
		default:
			cancel()
		}
	})
	return timer.Stop
}

// hasTransaction asks whether a transaction is open.
func (c *conn) hasTransaction(ctx context.Context, op *operation) (open bool, _ error) {
	ctx, cancel := op.patience.limit(ctx, c.connector)
	defer cancel()
	defer c.forget()
	answer, err := c.session.own(ctx, func(ctx context.Context, s *session) (any, error) {
		return s.conn.QueryOne(ctx, "SELECT CURRENT_TRANSACTION()")
	})
	return answer != nil && answer != "", err
}

// own sends something of the driver's own, with nothing of the caller's.
func (s *session) own(ctx context.Context, run func(context.Context, *session) (any, error)) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := transcript.New(transcript.Without(ctx))
	defer bound(seen, cancel)()
	out, _, _, err := s.watched(ctx, seen, run)
	return out, err
}

// questionTimeout bounds the wait for the answer to what the driver asks by itself:
// whether a session is alive, how far a statement is. Such questions take less than a
// second; gosnowflake would wait for 15 minutes.
const questionTimeout = 20 * time.Second

// IsValid is called by database/sql when the connection comes back to the pool.
func (c *conn) IsValid() bool {
	c.handOver()
	if !c.valid() {
		_ = c.refuse()
		return false
	}
	c.mu.Lock()
	c.idle = c.connector.settings.now()
	c.mu.Unlock()
	return true
}

// refuse is called where the connection is to have no further user, by the driver's own
// choice: what was set on it goes with it.
func (c *conn) refuse() error {
	if c.connector.settings.changed == ErrorOnLoss {
		c.untold |= c.mine
	}
	return driver.ErrBadConn
}

// valid says whether the connection may have another user.
func (c *conn) valid() bool {
	switch {
	case c.gone != nil || c.over != nil || c.tx != nil || c.foreign || c.connector.stopped.Err() != nil:
		return false
	case c.inTx:
		// The next user's writes would end in somebody else's open transaction.
		return false
	case c.mine|c.theirs != 0 && c.connector.settings.changed == DiscardChanged:
		return false
	}
	return true
}

// Close gives the session up. Its log-out goes on in the background.
func (c *conn) Close() error {
	c.checkOut()
	if c.gone == nil && c.txState() != verdict.NoTx {
		c.session.inTx = true
	}
	c.leaveUntold()
	c.release()
	if c.alone {
		return c.connector.Close()
	}
	return nil
}

// Ping asks the server whether the session is alive, with a new login if it is
// not: database/sql does not repeat a ping.
func (c *conn) Ping(ctx context.Context) error {
	_, err := c.do(ctx, &operation{name: "ping", call: verdict.Ping, run: func(ctx context.Context, s *session, _ *operation) (any, error) {
		return nil, s.conn.Full.Ping(ctx)
	}})
	return err
}

// ExecContext carries out a statement.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	op := c.exec(ctx, query, args)
	op.run = func(ctx context.Context, s *session, op *operation) (any, error) {
		return s.conn.Full.ExecContext(ctx, op.query, op.args)
	}
	op.resumed = func(op *operation, rows driver.Rows, id string) (any, error) { return resultOf(rows, id, op.text) }
	res, err := c.do(ctx, op)
	return outcome[driver.Result](res, err)
}

// QueryContext carries out a statement that has rows.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	op := c.query(ctx, query, args)
	op.run = func(ctx context.Context, s *session, op *operation) (any, error) {
		return s.conn.Full.QueryContext(ctx, op.query, op.args)
	}
	op.resumed = func(_ *operation, rows driver.Rows, id string) (any, error) { return rowsOf(rows, id) }
	rows, err := c.do(ctx, op)
	return rowsFor(ctx, rows, err)
}

// rowsFor are a query's rows for the caller whose context it is.
func rowsFor(ctx context.Context, v any, err error) (driver.Rows, error) {
	rows, err := outcome[driver.Rows](v, err)
	return large.Rows(ctx, rows), err
}

// QueryArrowStream is gosnowflake's; reach it through sql.Conn.Raw. Its outcome cannot
// be fetched by its ID: RESULT_SCAN keeps neither the order of rows nor columns of one
// name.
func (c *conn) QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error) {
	op := c.statement(ctx, "query", query)
	op.args = bindings
	op.bulk, op.refused = op.bulkOf(bindings)
	if op.call == verdict.Rollback {
		op.call = verdict.Statement // its outcome cannot be made up
	}
	op.run = func(ctx context.Context, s *session, op *operation) (any, error) {
		return s.conn.Full.QueryArrowStream(ctx, op.query, op.args...)
	}
	loader, err := c.do(ctx, op)
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

// PrepareContext prepares a statement. With gosnowflake, which sends nothing for it, that
// is left to the statement's first use; another inner driver may find fault with it, and
// is not asked where a transaction was lost: then its use says so, or is the ROLLBACK.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s := &stmt{conn: c, query: query}
	if c.connector.cfg != nil || c.over != nil {
		c.checkOut()
		return s, ctx.Err()
	}
	_, err := c.do(ctx, &operation{name: "prepare", call: verdict.Prepare, run: func(ctx context.Context, on *session, _ *operation) (any, error) { return s.prepare(ctx, on) }})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// errNested is a BeginTx inside a transaction. Snowflake would ignore its BEGIN, and its COMMIT
// would commit what the outer one has done so far.
var errNested = errors.New("snowtether: a transaction is open on this connection: commit it or roll it back before another one begins")

// opBegin is BeginTx in the errors that it returns.
const opBegin = "begin"

// BeginTx begins a transaction. Until it has ended the session is not replaced.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.tx != nil {
		return nil, errNested
	}
	t := &tx{conn: c, caller: ctx}
	if t.remains, _ = ctx.Value(remainsKey{}).(*remains); t.remains != nil {
		t.remains.told.Store(true)
	}
	op := &operation{name: opBegin, call: verdict.Begin, run: func(ctx context.Context, s *session, _ *operation) (any, error) {
		t.context.use(ctx)
		return s.conn.Full.BeginTx(&t.context, opts)
	}}
	begun, err := c.do(ctx, op)
	if t.inside = op.inside; t.inside && t.remains != nil {
		t.remains.inside.Store(true)
	}
	if err != nil {
		return nil, err
	}
	t.inner, err = outcome[driver.Tx](begun, nil)
	c.tx = t
	if t.remains != nil && !t.remains.begun.Swap(true) && t.remains.attempt > 1 {
		c.connector.repeated(ctx, c.session, t.remains)
	}
	return t, err
}

// CheckNamedValue asks the inner connection which Go types it binds.
func (c *conn) CheckNamedValue(nv *driver.NamedValue) error {
	c.checkOut()
	return c.session.conn.Full.CheckNamedValue(nv)
}

// GetQueryStatus is gosnowflake's; reach it through sql.Conn.Raw.
func (c *conn) GetQueryStatus(ctx context.Context, queryID string) (*gosnowflake.SnowflakeQueryStatus, error) {
	c.present()
	return c.session.conn.Full.GetQueryStatus(ctx, queryID)
}

// AddTelemetryData is gosnowflake's; reach it through sql.Conn.Raw.
func (c *conn) AddTelemetryData(ctx context.Context, at time.Time, data map[string]string) error {
	c.present()
	return c.session.conn.Full.AddTelemetryData(ctx, at, data)
}

// The methods from before contexts, for code in sql.Conn.Raw that uses them.

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *conn) Exec(query string, args []driver.Value) (driver.Result, error) {
	return c.ExecContext(context.Background(), query, inner.Named(args))
}

func (c *conn) Query(query string, args []driver.Value) (driver.Rows, error) {
	return c.QueryContext(context.Background(), query, inner.Named(args))
}
