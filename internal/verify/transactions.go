package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// This file ends transactions from beside: those of living sessions and those that dead ones
// have left. Transactions are known by the session of the run's own that began them.

func askTransactions(ctx context.Context, e *env) error {
	s, beside, err := e.pair(ctx)
	if err != nil {
		return err
	}
	if err := e.makeTable(ctx, s); err != nil {
		return err
	}
	if err := e.askCurrent(ctx, s); err != nil {
		return err
	}
	if err := e.askCommit(ctx, s); err != nil {
		return err
	}
	for _, sql := range []string{"BEGIN", e.insert("before")} {
		if _, err := s.must(ctx, sql); err != nil {
			return err
		}
	}
	tx, r, err := transactionOf(ctx, beside, s)
	if err != nil {
		return err
	}
	e.settle("transactions-shown", tx != "", e.seen(askStatement, r), "a transaction of another session of the user's is listed: %t", tx != "")
	if tx == "" {
		return nil
	}
	aborted, err := beside.run(ctx, "SELECT SYSTEM$ABORT_TRANSACTION("+tx+")")
	if err != nil {
		return err
	}
	e.settle("abort-own-transaction", aborted.Success, e.seen(askStatement, aborted), "success %t, code %s", aborted.Success, aborted.shownCode())
	if !aborted.Success {
		_, err := s.must(ctx, "ROLLBACK")
		return err
	}
	if still, _, err := transactionOf(ctx, beside, s); err != nil || still != "" {
		e.skip("commit-after-abort", "the transaction that was to be aborted is still listed")
		e.skip("insert-after-abort", "the transaction that was to be aborted is still listed")
		_, rollback := s.must(ctx, "ROLLBACK")
		return errors.Join(err, rollback)
	}
	return e.askBehindAbort(ctx, s)
}

// askBehindAbort goes on in a session whose transaction somebody has aborted.
func (e *env) askBehindAbort(ctx context.Context, s *session) error {
	insert, err := s.run(ctx, e.insert("behind"))
	if err != nil {
		return err
	}
	commit, err := s.run(ctx, "COMMIT")
	if err != nil {
		return err
	}
	before, err := e.count(ctx, s, "before")
	if err != nil {
		return err
	}
	behind, err := e.count(ctx, s, "behind")
	if err != nil {
		return err
	}
	e.settle("commit-after-abort", before == 0 && (!commit.Success || commit.queryID() == ""), e.seen(askStatement, commit),
		"COMMIT: success %t, code %s, with a query ID: %t; rows from before the abort: %d", commit.Success, commit.shownCode(), commit.queryID() != "", before)
	e.settle("insert-after-abort", insert.Success && behind == 1, e.seen(askStatement, insert),
		"success %t, code %s; rows: %d", insert.Success, insert.shownCode(), behind)
	return nil
}

// askCommit commits a transaction.
func (e *env) askCommit(ctx context.Context, s *session) error {
	for _, sql := range []string{"BEGIN", e.insert("committed")} {
		if _, err := s.must(ctx, sql); err != nil {
			return err
		}
	}
	r, err := s.run(ctx, "COMMIT")
	if err != nil {
		return err
	}
	e.settle("commit-has-an-id", r.Success && r.queryID() != "", e.seen(askStatement, r), "success %t, with a query ID: %t", r.Success, r.queryID() != "")
	return nil
}

// askCurrent asks for the open transaction, with one and without.
func (e *env) askCurrent(ctx context.Context, s *session) error {
	var replies [2]*reply
	for i, sql := range []string{"BEGIN", "ROLLBACK"} {
		if _, err := s.must(ctx, sql); err != nil {
			return err
		}
		var err error
		if replies[i], err = s.must(ctx, "SELECT CURRENT_TRANSACTION()"); err != nil {
			return err
		}
	}
	open, none := replies[0].cell() != "", replies[1].cell() == ""
	e.settle("current-transaction", open && none, e.seen(askStatement, replies[:]...), "in a transaction it has a value: %t; behind it NULL: %t", open, none)
	return nil
}

// transactionOf finds the open transaction of a session among the user's; "" for none.
func transactionOf(ctx context.Context, beside, of *session) (id string, r *reply, err error) {
	if r, err = beside.must(ctx, "SHOW TRANSACTIONS"); err != nil {
		return "", nil, err
	}
	sessions, ids := r.column("session"), r.column("id")
	if i := slices.Index(sessions, of.id); of.id != "" && i >= 0 && number(ids[i]) > 0 {
		return ids[i], r, nil
	}
	return "", r, nil
}

func askCancelAll(ctx context.Context, e *env) error {
	s, beside, err := e.pair(ctx)
	if err != nil {
		return err
	}
	if err := e.makeTable(ctx, s); err != nil {
		return err
	}
	id, err := s.start(ctx, e.slow("cancelled", 2*time.Minute))
	if err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	r, err := beside.run(ctx, "SELECT SYSTEM$CANCEL_ALL_QUERIES("+s.id+")")
	if err != nil {
		return err
	}
	words, last, err := e.watch(ctx, beside, id, 3*time.Minute)
	if err != nil {
		return err
	}
	n, err := e.count(ctx, beside, "cancelled")
	if err != nil {
		return err
	}
	e.settle("cancel-all-of-own-session", r.Success && n == 0 && isFinal(last.word), append(e.seen(askStatement, r), e.seen(askStatus, last.reply)...),
		"success %t, code %s; then the status words: %s; rows: %d", r.Success, r.shownCode(), words, n)
	return nil
}

const lockMost = 9 * time.Minute // within which a dead session's lock must be free by itself

func askLocks(ctx context.Context, e *env) error {
	beside, err := e.session(ctx)
	if err != nil {
		return err
	}
	return together(
		func() error { return e.askLock(ctx, beside, "_ENDED", true) },
		func() error { return e.askLock(ctx, beside, "_LEFT", false) },
	)
}

// askLock leaves a transaction with a lock behind, lets another session wait for it, and ends
// the transaction, or waits for the account to do so.
func (e *env) askLock(ctx context.Context, beside *session, suffix string, end bool) error {
	of := &env{run: e.run, check: e.check, table: e.table + suffix}
	belief := map[bool]string{true: "abort-frees-locks", false: "locks-are-freed"}[end]
	holder, waiter, err := e.pair(ctx)
	if err != nil {
		return err
	}
	if err := of.makeTable(ctx, beside); err != nil {
		return err
	}
	update := fmt.Sprintf("UPDATE %s SET N = N + 1 WHERE M = 'row'", of.table)
	for _, sql := range []string{of.insert("row"), "BEGIN", update} {
		if _, err := holder.must(ctx, sql); err != nil {
			return err
		}
	}
	may, err := e.abort(ctx, beside, holder)
	if err != nil {
		return err
	}
	if !may {
		e.skip(belief, "this user may not abort their own session, and a log-out leaves no transaction")
		e.skip("detached-is-listed", "this user may not abort their own session, and a log-out leaves no transaction")
		return nil
	}
	tx, listed, err := transactionOf(ctx, beside, holder)
	if err != nil {
		return err
	}
	e.settle("detached-is-listed", tx != "", e.seen(askStatement, listed), "the transaction of an aborted session is listed: %t", tx != "")
	if tx == "" {
		e.skip(belief, "the aborted session left no transaction behind")
		return nil
	}
	return of.askWaiter(ctx, beside, waiter, belief, update, tx, end)
}

func (e *env) askWaiter(ctx context.Context, beside, waiter *session, belief, update, tx string, end bool) error {
	begun := time.Now()
	id, err := waiter.start(ctx, update)
	if err != nil {
		return err
	}
	if err := pause(ctx, 20*time.Second); err != nil {
		return err
	}
	blocked, err := beside.monitor(ctx, id)
	if err != nil {
		return err
	}
	if isFinal(blocked.word) {
		e.settle(belief, false, e.seen(askStatus, blocked.reply), "a statement that changes the same rows did not wait: %s after 20 s", blocked.word)
		return nil
	}
	atMost := lockMost
	if end {
		atMost = time.Minute
		r, err := beside.run(ctx, "SELECT SYSTEM$ABORT_TRANSACTION("+tx+")")
		if err != nil {
			return err
		}
		if !r.Success {
			e.settle(belief, false, e.seen(askStatement, r), "SYSTEM$ABORT_TRANSACTION: success %t, code %s", r.Success, r.shownCode())
			return nil
		}
	}
	words, last, err := e.watch(ctx, beside, id, atMost)
	if err != nil {
		return err
	}
	e.settle(belief, last.word == "SUCCESS", e.seen(askStatus, last.reply), "status words of the statement that waited: %s; after %v: %s",
		words, time.Since(begun).Round(time.Second), last.word)
	return nil
}
