package verify

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// This file ends sessions in which a statement runs: by an abort from another session, where
// the user may do that, else by a log-out with their token from beside.

const (
	endedRuns  = 20 * time.Second // how long the statement runs
	lateAbort  = 5 * time.Second
	earlyAbort = time.Second
	outcomeFor = 10 * time.Minute // within which its rows must have come, if they come
)

func askEnds(ctx context.Context, e *env) error {
	beside, err := e.session(ctx)
	if err != nil {
		return err
	}
	if err := e.makeTable(ctx, beside); err != nil {
		return err
	}
	return together(
		func() error { return e.askRefusal(ctx, beside, "late", lateAbort, "no-late-refusal") },
		func() error { return e.askRefusal(ctx, beside, "early", earlyAbort, "no-early-refusal") },
		func() error { return e.askPolled(ctx, beside) },
	)
}

// abort ends a session from beside it, and reports whether its user may.
func (e *env) abort(ctx context.Context, beside, victim *session) (may bool, err error) {
	r, err := beside.run(ctx, "SELECT SYSTEM$ABORT_SESSION("+victim.id+")")
	if err != nil {
		return false, err
	}
	e.settle("abort-own-session", r.Success, e.seen(askStatement, r), "success %t, code %s", r.Success, r.shownCode())
	if r.Success {
		victim.ended()
		return true, nil
	}
	_, err = victim.logout(ctx)
	return false, err
}

// askRefusal ends the session of a statement whose request is open.
func (e *env) askRefusal(ctx context.Context, beside *session, mark string, after time.Duration, belief string) error {
	victim, err := e.session(ctx)
	if err != nil {
		return err
	}
	type answer struct {
		reply *reply
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, 1)
	go func() {
		r, err := victim.submit(ctx, newID(), statement{SQLText: e.slow(mark, endedRuns)})
		answers <- answer{r, err}
	}()
	if err := pause(ctx, after); err != nil {
		return err
	}
	may, err := e.abort(ctx, beside, victim)
	if err != nil {
		return err
	}
	gone, goneErr := victim.try(ctx, "SELECT 3")
	a := <-answers
	switch {
	case goneErr != nil || !isGone(gone):
		e.skip(belief, "the session did not end, as far as could be seen")
		return nil
	case a.err == nil && !a.reply.Success && !a.reply.refused() && number(a.reply.Code) != 604 && !a.reply.inProgress():
		e.skip(belief, "the statement failed by itself, with code "+a.reply.shownCode())
		return nil
	}
	if a.err != nil {
		e.skip(belief, "the request was not answered at all: "+a.err.Error())
		return nil
	}
	rows, err := e.rowsCome(ctx, beside, mark)
	if err != nil {
		return err
	}
	how := "aborted"
	if !may {
		how = "logged out from beside"
	}
	e.settle(belief, !a.reply.refused(), e.seen(askStatement, a.reply),
		"the session was %s %v after the statement was sent; its request was answered HTTP %d, success %t, code %s; rows: %d",
		how, after, a.reply.Status, a.reply.Success, a.reply.shownCode(), rows)
	return nil
}

// askPolled ends the session of a statement that was accepted and is being polled.
func (e *env) askPolled(ctx context.Context, beside *session) error {
	victim, err := e.session(ctx)
	if err != nil {
		return err
	}
	id, err := victim.start(ctx, e.slow("polled", endedRuns))
	if err != nil {
		return err
	}
	if err := pause(ctx, lateAbort); err != nil {
		return err
	}
	may, err := e.abort(ctx, beside, victim)
	if err != nil {
		return err
	}
	poll, err := victim.result(ctx, id)
	if err != nil {
		return err
	}
	e.settle("poll-refused", isGone(poll), e.seen(askResult, poll), "HTTP %d, code %s", poll.Status, poll.shownCode())
	if !may {
		e.skip("outlives-abort", "this user may not abort their own session")
		e.skip("carried-over", "this user may not abort their own session")
		return nil
	}
	words, last, err := e.watch(ctx, beside, id, outcomeFor)
	if err != nil {
		return err
	}
	rows, err := e.rowsCome(ctx, beside, "polled")
	if err != nil {
		return err
	}
	e.settle("outlives-abort", rows == 1, e.seen(askStatus, last.reply), "status words: %s; rows: %d", words, rows)
	if rows != 1 {
		e.skip("carried-over", "the statement ended with its session")
		return nil
	}
	r, err := alive(beside.result(ctx, id))
	if err != nil {
		return err
	}
	e.settle("carried-over", r.Success && r.cell() == "1", e.seen(askResult, r), "success %t, code %s", r.Success, r.shownCode())
	return nil
}

// rowsCome counts the rows of a mark until there are some, or its statement must be over.
func (e *env) rowsCome(ctx context.Context, s *session, mark string) (int, error) {
	for end := time.Now().Add(outcomeFor); ; {
		n, err := e.count(ctx, s, mark)
		if n > 0 || err != nil || time.Now().After(end) {
			return n, err
		}
		if err := pause(ctx, 15*time.Second); err != nil {
			return 0, err
		}
	}
}

// isFinal reports whether a status word says that the statement is over.
func isFinal(word string) bool {
	switch word {
	case "SUCCESS", "FAILED_WITH_ERROR", "FAILED_WITH_INCIDENT", "ABORTED":
		return true
	}
	return false
}

// watch asks for a statement's status each second until it is final, and returns the words
// that were seen, in order, with how often.
func (e *env) watch(ctx context.Context, s *session, id string, atMost time.Duration) (words string, last progress, err error) {
	count, before := 0, ""
	note := func() {
		if count > 0 {
			words += fmt.Sprintf("%s ×%d ", before, count)
		}
	}
	for end := time.Now().Add(atMost); time.Now().Before(end); {
		if last, err = s.monitor(ctx, id); err != nil {
			return words, last, err
		}
		if last.word != before {
			note()
			before, count = last.word, 0
		}
		count++
		if isFinal(last.word) {
			break
		}
		if err := pause(ctx, time.Second); err != nil {
			return words, last, err
		}
	}
	note()
	return words, last, nil
}

func askLogout(ctx context.Context, e *env) error {
	beside, err := e.session(ctx)
	if err != nil {
		return err
	}
	if err := e.makeTable(ctx, beside); err != nil {
		return err
	}
	return errors.Join(e.askLogoutCancels(ctx, beside), e.askLogoutRollsBack(ctx, beside))
}

func (e *env) askLogoutCancels(ctx context.Context, beside *session) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	id, err := s.start(ctx, e.slow("cancelled", 4*time.Minute))
	if err != nil {
		return err
	}
	if err := pause(ctx, 5*time.Second); err != nil {
		return err
	}
	if _, err := s.logout(ctx); err != nil {
		return err
	}
	s.ended()
	begun := time.Now()
	words, last, err := e.watch(ctx, beside, id, 5*time.Minute)
	if err != nil {
		return err
	}
	n, err := e.count(ctx, beside, "cancelled")
	if err != nil {
		return err
	}
	e.settle("logout-cancels", n == 0 && isFinal(last.word), e.seen(askStatus, last.reply), "status words: %s, within %v; rows: %d", words, time.Since(begun).Round(time.Second), n)
	return nil
}

// askLogoutRollsBack logs a session out that has a transaction open in which a statement runs.
func (e *env) askLogoutRollsBack(ctx context.Context, beside *session) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	for _, sql := range []string{"BEGIN", e.insert("before")} {
		if _, err := s.must(ctx, sql); err != nil {
			return err
		}
	}
	id, err := s.start(ctx, e.slow("during", 10*time.Second))
	if err != nil {
		return err
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if _, err := s.logout(ctx); err != nil {
		return err
	}
	if err := pause(ctx, 30*time.Second); err != nil {
		return err
	}
	if _, _, err := e.watch(ctx, beside, id, 2*time.Minute); err != nil {
		return err
	}
	open, _, err := transactionOf(ctx, beside, s)
	if err != nil {
		return err
	}
	before, err := e.count(ctx, beside, "before")
	if err != nil {
		return err
	}
	during, err := e.count(ctx, beside, "during")
	if err != nil {
		return err
	}
	e.settle("logout-rolls-back", open == "" && before == 0 && during == 0, nil,
		"the transaction is still listed: %t; its rows: %d; of the statement that ran: %d", open != "", before, during)
	return nil
}
