package verify

import (
	"context"
	"time"
)

// This file sends statements whose client then vanishes: it keeps its session and asks for
// nothing, or only for the status, or for the result.

const (
	detachedRuns = 7 * time.Minute
	// A server holds the request of a statement for 45 s; its answer then has the query ID.
	detachedMost = 15 * time.Minute
)

// A vanishing is one way in which a client behaves once its statement is under way.
type vanishing struct {
	belief, mark string
	abort        string                                        // ABORT_DETACHED_QUERY
	then         func(context.Context, *session, string) error // with the statement's ID
	asBelieved   func(succeeded bool) bool
}

func askDetached(ctx context.Context, e *env) error {
	beside, err := e.session(ctx)
	if err != nil {
		return err
	}
	if err := e.makeTable(ctx, beside); err != nil {
		return err
	}
	succeeds := func(ok bool) bool { return ok }
	ways := []vanishing{
		{"vanished-goes-on", "vanished", "FALSE", nil, succeeds},
		{"detached-is-aborted", "watched", "TRUE", pollStatus, func(ok bool) bool { return !ok }},
		{"result-poll-attaches", "polled", "TRUE", pollResult, succeeds},
	}
	var parts []func() error
	for _, w := range ways {
		parts = append(parts, func() error { return e.vanish(ctx, beside, w) })
	}
	return together(parts...)
}

func (e *env) vanish(ctx context.Context, beside *session, w vanishing) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	if _, err := s.must(ctx, "ALTER SESSION SET ABORT_DETACHED_QUERY = "+w.abort); err != nil {
		return err
	}
	begun := time.Now()
	r, err := alive(s.submit(ctx, newID(), statement{SQLText: e.slow(w.mark, detachedRuns)}))
	if err != nil {
		return err
	}
	id := r.queryID()
	if !r.inProgress() || id == "" {
		e.skip(w.belief, "the request was answered before its statement had ended in no way that could be used: code "+r.shownCode())
		return nil
	}
	if w.then != nil {
		if err := w.then(ctx, s, id); err != nil {
			return err
		}
	}
	if err := pause(ctx, time.Until(begun.Add(detachedRuns))); err != nil {
		return err
	}
	_, last, err := e.watch(ctx, beside, id, detachedMost-detachedRuns)
	if err != nil {
		return err
	}
	rows, err := e.count(ctx, beside, w.mark)
	if err != nil {
		return err
	}
	e.settle(w.belief, isFinal(last.word) && w.asBelieved(rows == 1), e.seen(askStatus, last.reply),
		"ABORT_DETACHED_QUERY %s; after %v the status is %s; rows: %d", w.abort, time.Since(begun).Round(time.Second), last.word, rows)
	return nil
}

// pollStatus asks for the status every 30 s, and never for the result.
func pollStatus(ctx context.Context, s *session, id string) error {
	for end := time.Now().Add(detachedRuns - time.Minute); time.Now().Before(end); {
		p, err := s.monitor(ctx, id)
		if err != nil || isFinal(p.word) {
			return err
		}
		if err := pause(ctx, 30*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// pollResult asks for the result until there is one; the server holds each such request.
func pollResult(ctx context.Context, s *session, id string) error {
	for end := time.Now().Add(detachedMost); time.Now().Before(end); {
		r, err := alive(s.result(ctx, id))
		if err != nil || !r.inProgress() {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}
