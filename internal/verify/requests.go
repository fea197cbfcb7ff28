package verify

import (
	"context"
	"fmt"
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
	return together(
		func() error { return e.askTwice(ctx, s, other) },
		func() error { return e.askOtherText(ctx, s) },
		func() error { return e.askWhileRunning(ctx) },
		func() error { return e.askLater(ctx, "request-id-minutes", "minutes", time.Minute, 5*time.Minute) },
		func() error { return e.askUncounted(ctx, s) },
	)
}

// A request is a statement under an ID, which can be sent again as gosnowflake sends it again:
// with the same body, and counted in the URL.
type request struct {
	id string
	st statement
}

func (s *session) newRequest(sql string) *request {
	return &request{newID(), statement{SQLText: sql, SequenceID: s.sequence.Add(1)}}
}

// sendTo sends the request, and waits for its result.
func (q request) sendTo(ctx context.Context, s *session, repetition int) (*reply, error) {
	q.st.repetition = repetition
	r, err := s.submit(ctx, q.id, q.st)
	if err != nil {
		return nil, err
	}
	return alive(s.finish(ctx, r))
}

// first sends a request for the first time. Of one that did not succeed nothing is learned by
// sending it again.
func (q request) first(ctx context.Context, s *session) (*reply, error) {
	r, err := q.sendTo(ctx, s, 0)
	if err == nil && (!r.Success || r.queryID() == "") {
		err = s.unexpected("the request that was to be repeated", r)
	}
	return r, err
}

func (e *env) askTwice(ctx context.Context, s, other *session) error {
	q := s.newRequest(e.insert("twice"))
	first, err := q.first(ctx, s)
	if err != nil {
		return err
	}
	second, err := q.sendTo(ctx, s, 1)
	if err != nil {
		return err
	}
	rows, err := e.count(ctx, s, "twice")
	if err != nil {
		return err
	}
	same := first.queryID() != "" && first.queryID() == second.queryID()
	e.settle("request-id-twice", rows == 1 && same, e.seen(askStatement, first, second), "the same query ID: %t; rows: %d", same, rows)

	third, err := q.sendTo(ctx, other, 0)
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

// askUncounted sends a request again as a program would that only knows its ID.
func (e *env) askUncounted(ctx context.Context, s *session) error {
	q := s.newRequest(e.insert("uncounted"))
	first, err := q.first(ctx, s)
	if err != nil {
		return err
	}
	q.st.SequenceID = s.sequence.Add(1)
	second, err := q.sendTo(ctx, s, 0)
	if err != nil {
		return err
	}
	rows, err := e.count(ctx, s, "uncounted")
	if err != nil {
		return err
	}
	same := first.queryID() != "" && first.queryID() == second.queryID()
	e.settle("request-id-uncounted", rows == 1 && same, e.seen(askStatement, second), "the same query ID: %t; rows: %d", same, rows)
	return nil
}

func (e *env) askOtherText(ctx context.Context, s *session) error {
	q := s.newRequest(e.insert("this"))
	first, err := q.first(ctx, s)
	if err != nil {
		return err
	}
	q.st.SQLText = e.insert("that")
	second, err := q.sendTo(ctx, s, 0)
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
	q := s.newRequest(e.slow("running", 20*time.Second))
	var replies [2]*reply
	send := func(repetition int, after time.Duration) func() error {
		return func() (err error) {
			if err = pause(ctx, after); err == nil {
				replies[repetition], err = q.sendTo(ctx, s, repetition)
			}
			return err
		}
	}
	if err := together(send(0, 0), send(1, 5*time.Second)); err != nil {
		return err
	}
	if !replies[0].Success {
		return s.unexpected("the request that was to be repeated", replies[0])
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
	q := s.newRequest(e.insert(mark))
	begun := time.Now()
	first, err := q.first(ctx, s)
	if err != nil {
		return err
	}
	replies, known, answer := []*reply{first}, first.Success, ""
	for i, after := range at {
		if err := pause(ctx, time.Until(begun.Add(after))); err != nil {
			return err
		}
		r, err := q.sendTo(ctx, s, i+1)
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
	return together(
		func() error { return e.askLater(ctx, "request-id-hour", "hour", 30*time.Minute, time.Hour) },
		func() error { return e.askExpired(ctx) },
	)
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
	if r.Code != "390112" && renewal.refused() {
		return errEnded
	}
	e.settle("expired-token", r.Code == "390112" && renewal.Success, append(e.seen(askStatement, r), e.seen(askRenewal, renewal)...),
		"HTTP %d, code %s; then renewed: %t", r.Status, r.shownCode(), renewal.Success)
	return nil
}
