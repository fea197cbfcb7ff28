package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

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
}

var _ driver.Tx = (*tx)(nil)

// Commit sends COMMIT. If its outcome is not known the error Is [ErrInDoubt].
// Whatever went wrong, the connection does not return to the pool: its
// transaction may still be open, and the next user's rows would vanish in it.
func (t *tx) Commit() error {
	c := t.conn
	defer func() { c.tx = nil }()
	notSent := t.caller.Err() != nil
	_, err := c.do(withoutSnowflake{t.caller}, &operation{name: "commit", run: func(ctx context.Context) (any, error) {
		t.context.use(ctx)
		return nil, t.inner.Commit()
	}})
	if err == nil {
		return nil
	}
	if isContext(err) && !notSent {
		err = c.doubt(t.caller, &SessionError{Op: "commit", Class: ClassInDoubt, SessionID: c.session.id(), InTx: true, Err: err})
	}
	if c.bad == nil {
		c.bad = err
	}
	return err
}

// Rollback sends ROLLBACK, on a context of its own: gosnowflake sends it with
// BeginTx's, and where that has ended it never arrives. A session that is gone
// has rolled back already.
func (t *tx) Rollback() error {
	c := t.conn
	defer func() { c.tx = nil }()
	if c.bad != nil {
		return nil // Close ends the session, and the transaction with it
	}
	ctx, cancel := context.WithTimeout(withoutSnowflake{context.WithoutCancel(t.caller)}, rollbackTimeout)
	defer cancel()
	_, err := c.do(ctx, &operation{name: "rollback", run: func(ctx context.Context) (any, error) {
		t.context.use(ctx)
		return nil, t.inner.Rollback()
	}})
	if err != nil && c.bad == nil {
		c.bad = err
	}
	if errors.Is(err, ErrSessionLost) {
		return nil
	}
	return err
}

// withoutSnowflake hides what the caller has put into the context for gosnowflake
// and for one statement: a request ID, for example, under which Snowflake would
// take a COMMIT for the BEGIN before it.
type withoutSnowflake struct{ context.Context }

func (c withoutSnowflake) Value(key any) any {
	if _, ok := key.(gosnowflake.ContextKey); ok {
		return nil
	}
	return c.Context.Value(key)
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
