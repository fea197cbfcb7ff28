package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"
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

// Commit sends COMMIT. If its outcome is not known, the error matches [ErrInDoubt].
// Whatever went wrong, the session is ended: its transaction may still be open, and the
// next user's rows would vanish in it.
func (t *tx) Commit() error {
	c := t.conn
	_, err := c.do(t.caller, &operation{name: "commit", call: callCommit, run: func(ctx context.Context, _ *session) (any, error) {
		t.context.use(ctx)
		return nil, t.inner.Commit()
	}})
	t.end(err)
	return err
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
	_, err := c.do(ctx, &operation{name: "rollback", call: callRollback, run: func(ctx context.Context, _ *session) (any, error) {
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
