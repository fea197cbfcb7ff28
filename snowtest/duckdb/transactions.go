package duckdb

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// transaction carries out BEGIN, COMMIT and ROLLBACK. Transactions do not nest:
// BEGIN inside of one, and COMMIT and ROLLBACK outside, do nothing.
func (w *work) transaction(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	word := r.take().text
	if word == "BEGIN" || word == "START" {
		r.accept("TRANSACTION", "WORK")
		if r.accept("NAME") {
			r.objectName()
		}
	} else {
		r.accept("WORK")
	}
	return w.status(r, snowtest.KindTCL, executed, func(res *snowtest.Result) error {
		switch word {
		case "COMMIT":
			res.Transaction = snowtest.Committed
			return w.commit(ctx)
		case "ROLLBACK":
			res.Transaction = snowtest.RolledBack
			return w.rollback()
		}
		res.Transaction = snowtest.Begun
		return w.begin(ctx)
	})
}

// beginImplicitly begins the transaction of a change where AUTOCOMMIT is off.
func (s *session) beginImplicitly(ctx context.Context) error {
	if s.autocommit() {
		return nil
	}
	return s.begin(ctx)
}

func (s *session) begin(ctx context.Context) error {
	if s.inTx {
		return nil
	}
	if _, err := exec(ctx, s.conn, "BEGIN TRANSACTION"); err != nil {
		return err
	}
	s.inTx, s.used, s.broken, s.txID = true, false, false, s.e.txs.Add(1)
	s.changes, s.fleeting, s.changesAt, s.loads = nil, false, s.e.changes.Load(), nil
	return nil
}

// commit leaves no transaction behind, whether it succeeds or not.
func (s *session) commit(ctx context.Context) error {
	if !s.inTx {
		return nil
	}
	if s.broken {
		// DuckDB would report success and roll back.
		if err := s.rollback(); err != nil {
			return err
		}
		return sfError("000603", "25P02", "%s", "COMMIT rolled back. "+abortedMessage)
	}
	s.inTx = false
	s.e.changes.Add(1)
	_, err := exec(ctx, s.conn, "COMMIT")
	if err != nil {
		// DuckDB has rolled back already, or does so now; which of them does not
		// matter, so neither does this error.
		_, _ = exec(context.Background(), s.conn, "ROLLBACK")
	} else {
		s.e.files.Record(s.loads)
	}
	return translate(ctx, "COMMIT", err)
}

func (s *session) rollback() error {
	if !s.inTx {
		return nil
	}
	s.inTx = false
	_, err := exec(context.Background(), s.conn, "ROLLBACK")
	return err
}

// atomically carries out several DuckDB statements as one: in the open
// transaction, or in one of their own.
func (s *session) atomically(ctx context.Context, fn func() error) error {
	if s.inTx {
		return fn()
	}
	if _, err := exec(ctx, s.conn, "BEGIN TRANSACTION"); err != nil {
		return err
	}
	err := fn()
	if err == nil {
		_, err = exec(ctx, s.conn, "COMMIT")
	}
	if err != nil {
		_, _ = exec(context.Background(), s.conn, "ROLLBACK")
	}
	return err
}

// locked carries out a change. Where another transaction changes the same rows,
// Snowflake waits for its lock and DuckDB fails at once: so it is tried again
// until the lock time is over. That is sound outside of a transaction, and
// inside one that has done nothing yet. Later the transaction's snapshot is
// older than the other's change, and only the client can begin again.
func (w *work) locked(ctx context.Context, fn func() error) error {
	deadline := time.Now().Add(w.lockTimeout())
	delay := time.Millisecond
	for {
		err := translate(ctx, w.st.SQL, fn())
		if !errors.Is(err, errConflict) || w.inTx && w.used || time.Now().After(deadline) {
			if err == nil {
				w.used = true
				if !w.inTx {
					w.e.changes.Add(1)
				}
			}
			return err
		}
		w.e.lockWaits.Add(1)
		if err := pause(ctx, delay); err != nil {
			return err
		}
		delay = min(2*delay, 50*time.Millisecond)
		if w.inTx {
			// The conflict has broken the transaction, which was empty.
			_, _ = exec(context.Background(), w.conn, "ROLLBACK")
			if _, err := exec(ctx, w.conn, "BEGIN TRANSACTION"); err != nil {
				w.inTx = false
				return err
			}
		}
	}
}

// done notes changes of the open transaction, so that they can be carried out again.
func (s *session) done(changes []*change) {
	if !s.inTx {
		return
	}
	s.fleeting = s.fleeting || slices.ContainsFunc(changes, func(c *change) bool { return c.fleeting })
	s.changes = append(s.changes, changes...)
}

// restored undoes one statement that failed in a transaction: DuckDB, which has no
// savepoints, begins anew and carries out what was done before. That is the same only if
// nobody has committed anything meanwhile and nothing depends on chance or on the time;
// otherwise the transaction is lost.
func (s *session) restored() bool {
	if s.fleeting || s.e.changes.Load() != s.changesAt {
		return false
	}
	ctx := context.Background()
	_, _ = exec(ctx, s.conn, "ROLLBACK") // of a transaction that DuckDB has given up
	if _, err := exec(ctx, s.conn, "BEGIN TRANSACTION"); err != nil {
		return false
	}
	w := &work{session: s}
	for _, c := range s.changes {
		if err := w.apply(ctx, c, make([]int64, max(len(c.columns), 1))); err != nil {
			return false
		}
	}
	return true
}
