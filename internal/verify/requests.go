package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// This file sends one request ID more than once: at once, while the statement runs, with
// another text, from another session, and after minutes.

func askRequests(ctx context.Context, e *env) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	if err := e.makeTable(ctx, s); err != nil {
		return err
	}
	other, err := e.session(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var errs [4]error
	wg.Go(func() { errs[0] = e.askTwice(ctx, s, other) })
	wg.Go(func() { errs[1] = e.askOtherText(ctx, s) })
	wg.Go(func() { errs[2] = e.askWhileRunning(ctx) })
	wg.Go(func() {
		errs[3] = e.askLater(ctx, "request-id-minutes", "minutes", time.Minute, 5*time.Minute)
	})
	wg.Wait()
	return errors.Join(errs[:]...)
}

// repeat sends a statement under a request ID, and reports the ID that it got.
func (s *session) repeat(ctx context.Context, requestID, sql string) (*reply, error) {
	r, err := s.submit(ctx, requestID, statement{SQLText: sql})
	if err != nil {
		return nil, err
	}
	return s.finish(ctx, r)
}

func (e *env) askTwice(ctx context.Context, s, other *session) error {
	id, sql := newID(), e.insert("twice")
	first, err := s.repeat(ctx, id, sql)
	if err != nil {
		return err
	}
	second, err := s.repeat(ctx, id, sql)
	if err != nil {
		return err
	}
	rows, err := e.count(ctx, s, "twice")
	if err != nil {
		return err
	}
	same := first.queryID() != "" && first.queryID() == second.queryID()
	e.settle("request-id-twice", rows == 1 && same, e.seen(askStatement, first, second), "the same query ID: %t; rows: %d", same, rows)

	third, err := other.repeat(ctx, id, sql)
	if err != nil {
		return err
	}
	now, err := e.count(ctx, s, "twice")
	if err != nil {
		return err
	}
	anew := third.Success && third.queryID() != first.queryID() && now == rows+1
	e.settle("request-id-other-session", anew, e.seen(askStatement, third), "run again: %t; rows more: %d", anew, now-rows)
	return nil
}

func (e *env) askOtherText(ctx context.Context, s *session) error {
	id := newID()
	first, err := s.repeat(ctx, id, e.insert("this"))
	if err != nil {
		return err
	}
	second, err := s.repeat(ctx, id, e.insert("that"))
	if err != nil {
		return err
	}
	rows, err := e.count(ctx, s, "that")
	if err != nil {
		return err
	}
	same := first.queryID() == second.queryID()
	e.settle("request-id-other-text", same && rows == 0, e.seen(askStatement, second), "success %t, code %s; the first statement's query ID: %t; rows of the other text: %d",
		second.Success, second.shownCode(), same, rows)
	return nil
}

func (e *env) askWhileRunning(ctx context.Context) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	id, sql := newID(), e.slow("running", 20*time.Second)
	var replies [2]*reply
	var errs [2]error
	var wg sync.WaitGroup
	for i, wait := range []time.Duration{0, 5 * time.Second} {
		wg.Go(func() {
			if errs[i] = pause(ctx, wait); errs[i] == nil {
				replies[i], errs[i] = s.repeat(ctx, id, sql)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	rows, err := e.count(ctx, s, "running")
	if err != nil {
		return err
	}
	same := replies[0].queryID() != "" && replies[0].queryID() == replies[1].queryID()
	e.settle("request-id-while-running", rows == 1 && same, e.seen(askStatement, replies[:]...), "the same query ID: %t; rows: %d", same, rows)
	return nil
}

// askLater repeats a request at some times after its first sending.
func (e *env) askLater(ctx context.Context, belief, mark string, at ...time.Duration) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	id, sql := newID(), e.insert(mark)
	begun := time.Now()
	first, err := s.repeat(ctx, id, sql)
	if err != nil {
		return err
	}
	replies, known, answer := []*reply{first}, first.Success, ""
	for _, after := range at {
		if err := pause(ctx, time.Until(begun.Add(after))); err != nil {
			return err
		}
		r, err := s.repeat(ctx, id, sql)
		if err != nil {
			return err
		}
		same := r.queryID() != "" && r.queryID() == first.queryID()
		answer += fmt.Sprintf("after %v the same query ID: %t; ", after, same)
		replies, known = append(replies, r), known && same
	}
	rows, err := e.count(ctx, s, mark)
	if err != nil {
		return err
	}
	e.settle(belief, known && rows == 1, e.seen(askStatement, replies...), "%srows: %d", answer, rows)
	return nil
}

func askHour(ctx context.Context, e *env) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	if err := e.makeTable(ctx, s); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var errs [2]error
	wg.Go(func() {
		errs[0] = e.askLater(ctx, "request-id-hour", "hour", 30*time.Minute, time.Hour)
	})
	wg.Go(func() { errs[1] = e.askExpired(ctx) })
	wg.Wait()
	return errors.Join(errs[:]...)
}

// askExpired lets a session token expire, and asks with it.
func (e *env) askExpired(ctx context.Context) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, 65*time.Minute); err != nil {
		return err
	}
	token, _ := s.tokens()
	r, err := s.send(ctx, question{method: "POST", path: queryPath, token: token, body: statement{SQLText: "SELECT 1"}})
	if err != nil {
		return err
	}
	renewal, err := s.renew(ctx)
	if err != nil {
		return err
	}
	e.settle("expired-token", r.Code == "390112" && renewal.Success, append(e.seen(askStatement, r), e.seen(askRenewal, renewal)...),
		"HTTP %d, code %s; then renewed: %t", r.Status, r.shownCode(), renewal.Success)
	return nil
}
