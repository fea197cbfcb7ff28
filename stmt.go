package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/inner"
	"github.com/snowtether/snowtether/internal/verdict"
)

// A stmt is a prepared statement. It outlives the session that it was prepared
// on: on the next one it is prepared anew, which with gosnowflake sends nothing.
//
// It is no NamedValueChecker: database/sql asks the connection instead.
type stmt struct {
	conn    *conn
	query   string
	inner   atomic.Pointer[prepared] // nil before its first use
	queryID string                   // of an execution that was carried over to another session
}

// A prepared is the inner statement, and the session that it was prepared on.
type prepared struct {
	driver.Stmt
	session *session
}

// close closes the inner statement, if its session has not done that.
func (p *prepared) close() error {
	s := p.session
	s.preparing.Lock() // its connection is one goroutine's at a time
	defer s.preparing.Unlock()
	if _, open := s.prepared[p]; !open {
		return nil
	}
	delete(s.prepared, p)
	return p.Stmt.Close()
}

var (
	_ driver.Stmt               = (*stmt)(nil)
	_ driver.StmtExecContext    = (*stmt)(nil)
	_ driver.StmtQueryContext   = (*stmt)(nil)
	_ gosnowflake.SnowflakeStmt = (*stmt)(nil)
)

func (s *stmt) prepare(ctx context.Context, on *session) (*prepared, error) {
	made, err := on.conn.Full.PrepareContext(ctx, s.query)
	if err != nil {
		return nil, err // and s.inner stays: database/sql asks for NumInput before it tries again
	}
	p := &prepared{made, on}
	on.preparing.Lock()
	if on.prepared != nil {
		on.prepared[p] = struct{}{}
	}
	on.preparing.Unlock()
	s.inner.Store(p)
	return p, nil
}

// current is the inner statement on a session, the connection's present one.
func (s *stmt) current(ctx context.Context, on *session) (driver.Stmt, error) {
	p := s.inner.Load()
	if p == nil || p.session != on { // which closes what was prepared on it
		var err error
		if p, err = s.prepare(ctx, on); err != nil {
			return nil, err
		}
	}
	return p.Stmt, nil
}

// ExecContext carries out the statement.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.queryID = ""
	op := s.conn.exec(ctx, s.query, args)
	op.stmt = s
	op.run = func(ctx context.Context, on *session, op *operation) (any, error) {
		current, err := op.stmt.current(ctx, on)
		if err != nil {
			return nil, err
		}
		return inner.ExecStmt(ctx, current, op.args)
	}
	op.resumed = func(op *operation, rows driver.Rows, id string) (any, error) {
		op.stmt.queryID = id
		return resultOf(rows, id, op.text)
	}
	res, err := s.conn.do(ctx, op)
	return outcome[driver.Result](res, err)
}

// QueryContext carries out the statement, which has rows.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.queryID = ""
	op := s.conn.query(ctx, s.query, args)
	op.stmt = s
	op.run = func(ctx context.Context, on *session, op *operation) (any, error) {
		current, err := op.stmt.current(ctx, on)
		if err != nil {
			return nil, err
		}
		return inner.QueryStmt(ctx, current, op.args)
	}
	op.resumed = func(op *operation, fetched driver.Rows, id string) (any, error) {
		op.stmt.queryID = id
		return rowsOf(fetched, id)
	}
	rows, err := s.conn.do(ctx, op)
	return rowsFor(ctx, rows, err)
}

// Exec is ExecContext from before contexts.
func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), inner.Named(args))
}

// Query is QueryContext from before contexts.
func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), inner.Named(args))
}

// NumInput is the inner statement's: -1 with gosnowflake, which does not know.
func (s *stmt) NumInput() int {
	if p := s.inner.Load(); p != nil {
		return p.NumInput()
	}
	return -1
}

// GetQueryID is gosnowflake's: the ID of the last execution.
func (s *stmt) GetQueryID() string {
	if s.queryID != "" {
		return s.queryID
	}
	if p := s.inner.Load(); p != nil {
		if q, ok := p.Stmt.(gosnowflake.SnowflakeStmt); ok {
			return q.GetQueryID()
		}
	}
	return ""
}

// Close closes the inner statement, as soon as nobody uses it: an execution that its
// caller left behind may still do.
func (s *stmt) Close() error {
	p := s.inner.Load()
	if p == nil {
		return nil
	}
	if p.session.busy.Load() == nil {
		return p.close()
	}
	go func() {
		p.session.awaitLeft()
		_ = p.close()
	}()
	return nil
}

// A transaction is never continued on another session: from BEGIN to COMMIT or
// ROLLBACK a lost session is an error, and the connection goes.

// rollbackTimeout bounds a ROLLBACK. If it has not arrived by then the session is
// closed instead, which rolls back as well.
const rollbackTimeout = 10 * time.Second

// A tx is one transaction. After its end it is over, whatever came of it.
type tx struct {
	conn    *conn
	inner   driver.Tx
	caller  context.Context // BeginTx's: database/sql rolls back when it ends
	context txContext       // what the inner driver uses in its place
	remains *remains        // for who began it, or nil
	inside  bool            // a transaction was open before it: whoever began this one did not write what that held
}

var _ driver.Tx = (*tx)(nil)

// Commit sends COMMIT. If its outcome is not known, the error matches [ErrInDoubt].
// Whatever went wrong, the session is ended: its transaction may still be open, and the
// next user's rows would vanish in it.
func (t *tx) Commit() error {
	c := t.conn
	_, err := c.do(t.caller, &operation{name: "commit", call: verdict.Commit, run: func(ctx context.Context, _ *session, _ *operation) (any, error) {
		t.context.use(ctx)
		return nil, t.inner.Commit()
	}})
	t.note(err == nil || errors.Is(err, ErrInDoubt))
	t.end(err)
	return err
}

// note tells who began the transaction that something of it may last, if it may.
func (t *tx) note(lasts bool) {
	if lasts && t.remains != nil {
		t.remains.lasts.Store(true)
	}
}

// end notes that the transaction is over. What a statement in it began, where AUTOCOMMIT
// is off, is over with it.
func (t *tx) end(err error) {
	c := t.conn
	if err != nil {
		c.giveUp(err)
	}
	c.tx, c.over = nil, nil
	c.inTx, c.sure, c.lasting = false, false, false
	c.unclaimed()
}

// Rollback sends ROLLBACK, on a context of its own: gosnowflake sends it with
// BeginTx's, and where that has ended it never arrives. Then the session is ended in the
// background, which rolls back as well, and nobody waits. A session that is gone has
// rolled back already.
func (t *tx) Rollback() error {
	c := t.conn
	if c.gone != nil || c.over != nil {
		t.end(nil)
		return nil
	}
	if err := t.caller.Err(); err != nil {
		t.end(err)
		return nil
	}
	ctx, cancel := context.WithTimeout(t.caller, rollbackTimeout)
	defer cancel()
	_, err := c.do(ctx, &operation{name: "rollback", call: verdict.Rollback, run: func(ctx context.Context, _ *session, _ *operation) (any, error) {
		t.context.use(ctx)
		return nil, t.inner.Rollback()
	}})
	t.end(err)
	if errors.Is(err, ErrSessionLost) {
		return nil
	}
	return err
}

// A txContext is the context that the inner driver keeps from BeginTx to COMMIT
// or ROLLBACK. What it stands for changes with each of them.
type txContext struct {
	now atomic.Pointer[context.Context]
}

func (t *txContext) use(ctx context.Context) { t.now.Store(&ctx) }

func (t *txContext) Deadline() (time.Time, bool) { return (*t.now.Load()).Deadline() }
func (t *txContext) Done() <-chan struct{}       { return (*t.now.Load()).Done() }
func (t *txContext) Err() error                  { return (*t.now.Load()).Err() }
func (t *txContext) Value(key any) any           { return (*t.now.Load()).Value(key) }
