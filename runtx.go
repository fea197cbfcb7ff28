package snowtether

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/snowtether/snowtether/internal/program"
)

// Tx is what [RunTx] needs of a transaction: *sql.Tx, *sqlx.Tx and their like
// have it.
type Tx interface {
	Commit() error
	Rollback() error
}

// RunTx runs a transaction. Warning: fn can run more than once. What it does besides
// its transaction (counters, files, messages) must be safe to repeat, and it must
// reset at its start the variables that it sets. It must not commit or roll back: RunTx does.
//
// RunTx begins, calls fn, and commits. If the session is lost before the COMMIT
// was accepted, nothing of the transaction lasts, and the whole of it is run again
// on another session: 5 times in all by default ([WithTxAttempts]), with a back-off
// in between. What the lost session has left open on the server is ended first, as before
// every BEGIN, so that its locks do not block the repetition. The transaction is also run
// again after a statement that Snowflake aborted because too many statements wait for the
// same lock (000625). It is not run again if a part of it may last, because DDL, a procedure
// or a COMMIT ran in it. fn may wrap the error of the failed statement, with %w. If fn
// returns nil although the session was lost, COMMIT fails, and the transaction is run again
// in the same way.
//
// begin must pass its context on. Where it does not, or where another driver is behind it,
// the transaction is run again only if its session was lost. fn must use its transaction and
// not the pool: if all connections of the pool are in transactions, a call of the pool waits
// until its context ends. A transaction inside another one, on one connection, is refused;
// inside one that a statement began it is not run again, because that would lose what the
// other held.
//
// If fn returns an error of its own, RunTx rolls back and returns that error
// unchanged. If fn panics or calls runtime.Goexit, RunTx rolls back and lets it
// continue. The error of a COMMIT whose outcome is not known matches [ErrInDoubt], and
// the transaction is never repeated: look whether its rows are there.
//
//	err := snowtether.RunTx(ctx,
//		func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) },
//		func(tx *sql.Tx) error {
//			_, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (?)", 1)
//			return err
//		})
func RunTx[T Tx](ctx context.Context, begin func(context.Context) (T, error), fn func(T) error, opts ...TxOption) error {
	if begin == nil || fn == nil {
		return errors.New("snowtether: RunTx: begin and fn must not be nil")
	}
	s := txSettings{attempts: 5}
	for _, opt := range opts {
		if opt == nil {
			return errors.New("snowtether: RunTx: an option is nil")
		}
		opt(&s)
	}
	if s.attempts < 1 {
		return fmt.Errorf("snowtether: RunTx: %d attempts; must be at least 1", s.attempts)
	}
	pause, failed := s.backOff(), error(nil)
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := &remains{attempt: attempt, failed: failed}
		err := runOnce(context.WithValue(ctx, remainsKey{}, r), begin, fn)
		switch {
		case err == nil:
			return nil
		case !s.repeatable(err, r):
			return err
		case attempt == s.attempts:
			return fmt.Errorf("snowtether: the transaction failed %d times, the last time with: %w", attempt, err)
		}
		failed = err
		wait := pause.NextBackOff()
		if wait == backoff.Stop {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w; the transaction had failed with: %w", ctx.Err(), notBadConn(err))
		}
	}
}

// RunInTx is [RunTx] for database/sql's own transactions. db is a *sql.DB, a *sqlx.DB, a
// *sql.Conn or what else begins them; opts are those of BeginTx, and may be nil.
//
//	err := snowtether.RunInTx(ctx, db, nil, func(tx *sql.Tx) error {
//		_, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (?)", 1)
//		return err
//	})
func RunInTx(ctx context.Context, db Beginner, opts *sql.TxOptions, fn func(*sql.Tx) error, txOpts ...TxOption) error {
	if isNil(db) || fn == nil {
		return errors.New("snowtether: RunInTx: db and fn must not be nil")
	}
	return RunTx(ctx, func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, opts) }, fn, txOpts...)
}

// A Beginner is what [RunInTx] needs of a pool or a connection.
type Beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

// remains is what RunTx and the connection of a transaction tell each other of it. An error of
// Snowflake's, or of the program's, does not say whether something of its transaction may last.
type remains struct {
	attempt int         // which this is
	failed  error       // what the attempt before it came to
	told    atomic.Bool // begin passed its context on, to a connection of this driver's
	begun   atomic.Bool // its transaction; another that fn begins with that context is none of RunTx's
	lasts   atomic.Bool // something of it may last
	inside  atomic.Bool // its connection was in a transaction already: fn cannot bring back what that had done
}

// remainsKey is the key under which a BeginTx finds it.
type remainsKey struct{}

func runOnce[T Tx](ctx context.Context, begin func(context.Context) (T, error), fn func(T) error) error {
	tx, err := begin(ctx)
	if err != nil {
		return &beginError{err}
	}
	if isNil(tx) {
		return errors.New("snowtether: RunTx: begin returned neither a transaction nor an error")
	}
	ended := false
	defer func() {
		if !ended {
			_ = rollBack(ctx, tx) // fn panicked or called runtime.Goexit
		}
	}()
	err = fn(tx)
	ended = true
	if err != nil {
		if panicked := rollBack(ctx, tx); panicked != nil {
			return fmt.Errorf("%w; and its rollback panicked: %w", err, panicked)
		}
		return err
	}
	err = tx.Commit()
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() == nil {
		return fmt.Errorf("snowtether: RunTx: the transaction was ended before RunTx could commit it; whether its changes last depends on what ended it: a Commit or Rollback in the function, which must not call them, or the end of the context that it was begun with: %w", err)
	}
	return err
}

// rollBack rolls back for as long as the caller waits. On a lost session this sends nothing:
// the server has rolled back. What else goes wrong the connection's end puts right, but for a
// panic of the program's own Rollback.
func rollBack(ctx context.Context, tx Tx) (panicked error) {
	_, _, err := program.Leave(ctx, ctx, func(context.Context) (any, error) { return nil, tx.Rollback() })
	if p, ok := as[*program.PanicError](err); ok {
		return p
	}
	return nil
}

// A beginError marks a transaction that was never begun for fn.
type beginError struct{ err error }

func (e *beginError) Error() string { return e.err.Error() }
func (e *beginError) Unwrap() error { return e.err }

// codeTooManyWaiters is Snowflake's 000625: "… this lock has not yet been
// released. Your statement … was aborted because the number of waiters for this
// lock exceeds the 20 statements limit" (quoted in users' reports; the limit is in
// Snowflake's knowledge base). For deadlocks no number is documented: see
// WithTxRetryIf.
const codeTooManyWaiters = 625

// A TxOption changes how [RunTx] runs a transaction.
type TxOption func(*txSettings)

type txSettings struct {
	attempts   int
	newBackOff func() backoff.BackOff
	also       func(error) bool
}

func (s *txSettings) backOff() backoff.BackOff {
	if s.newBackOff != nil {
		if b := s.newBackOff(); b != nil {
			return b
		}
		return &backoff.StopBackOff{}
	}
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
}

// repeatable reports whether nothing of the transaction can have lasted and
// running it again may help.
func (s *txSettings) repeatable(err error, r *remains) bool {
	_, unbegun := as[*beginError](err)
	switch lost, _ := as[*SessionError](err); {
	case r.lasts.Load(), r.inside.Load():
		return false
	case errors.Is(err, ErrInDoubt): // a BEGIN that may have run has changed nothing
		return unbegun && lost != nil && lost.Op == opBegin && !lost.InTx
	case lost != nil && (lost.earlier != 0 || lost.inside):
		return false // what the connection's holder had set, or done, is theirs to do again
	case errors.Is(err, ErrSessionLost):
		return true
	case !unbegun && !r.told.Load():
		return false // nobody has noted what may last
	case errors.Is(err, driver.ErrBadConn), number(err) == codeTooManyWaiters:
		return true
	}
	return s.also != nil && s.also(err)
}

// WithTxAttempts sets how many times at most [RunTx] runs the transaction. The default
// is 5; 1 means no repetition, and less is an error of RunTx.
func WithTxAttempts(n int) TxOption { return func(s *txSettings) { s.attempts = n } }

// WithTxBackOff sets how long [RunTx] waits between attempts. newBackOff is called once for
// each call of RunTx; if it returns nil, nothing is run again. By default the waits grow by
// half each time, from 100 ms to 5 s, each varied by up to a half. backoff.Stop ends the
// attempts.
func WithTxBackOff(newBackOff func() backoff.BackOff) TxOption {
	return func(s *txSettings) { s.newBackOff = newBackOff }
}

// WithTxRetryIf adds errors after which [RunTx] runs the transaction again: those
// for which also returns true, such as an error of fn's own or Snowflake's code for
// a deadlock. It is never asked about an error that matches [ErrInDoubt], nor where
// something of the transaction may last. By default there are none.
func WithTxRetryIf(also func(error) bool) TxOption { return func(s *txSettings) { s.also = also } }

// isNil reports whether a value of an interface type is nil, or a pointer that is.
func isNil(value any) bool {
	v := reflect.ValueOf(value)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
