package verify

import (
	"context"
	"strings"
)

// This file asks for results by their ID, from another session than the one that ran the
// statement, which has been logged out: what carrying over rests on.

func askResults(ctx context.Context, e *env) error {
	s, beside, err := e.pair(ctx)
	if err != nil {
		return err
	}
	if err := e.makeTable(ctx, s); err != nil {
		return err
	}
	insert, err := s.must(ctx, e.insert("a"))
	if err != nil {
		return err
	}
	selected, err := s.must(ctx, "SELECT 42 AS N")
	if err != nil {
		return err
	}
	three, err := s.submit(ctx, newID(), statement{
		SQLText:    strings.Join([]string{e.insert("b"), "SELECT 7 AS N", e.insert("c")}, "; "),
		Parameters: map[string]any{"MULTI_STATEMENT_COUNT": 3},
	})
	if err == nil {
		three, err = s.finish(ctx, three)
	}
	if err != nil {
		return err
	}
	if _, err := s.logout(ctx); err != nil {
		return err
	}
	if err := e.askByID(ctx, beside, insert, selected); err != nil {
		return err
	}
	return e.askChildren(ctx, beside, three)
}

func (e *env) askByID(ctx context.Context, beside *session, insert, selected *reply) error {
	i, err := alive(beside.result(ctx, insert.queryID()))
	if err != nil {
		return err
	}
	r, err := alive(beside.result(ctx, selected.queryID()))
	if err != nil {
		return err
	}
	same := i.cell() == insert.cell() && r.cell() == selected.cell() && i.cell() != "" && r.cell() != ""
	e.settle("result-by-id", i.Success && r.Success && same, e.seen(askResult, i, r),
		"of an INSERT: success %t, code %s; of a SELECT: success %t, code %s; the values are the same: %t",
		i.Success, i.shownCode(), r.Success, r.shownCode(), same)
	return nil
}

func (e *env) askChildren(ctx context.Context, beside *session, three *reply) error {
	if !three.Success {
		e.skip("children-by-id", "a request of three statements was not carried out")
		return nil
	}
	ids := strings.Split(three.text("resultIds"), ",")
	var replies []*reply
	good := len(ids) == 3
	for _, id := range ids {
		if !idForm.MatchString(id) {
			good = false
			continue
		}
		r, err := alive(beside.result(ctx, id))
		if err != nil {
			return err
		}
		replies = append(replies, r)
		good = good && r.Success
	}
	e.settle("children-by-id", good, append(e.seen(askStatement, three), e.seen(askResult, replies...)...),
		"%d results of three are named and answered", countSuccess(replies))
	return nil
}

func countSuccess(replies []*reply) (n int) {
	for _, r := range replies {
		if r.Success {
			n++
		}
	}
	return n
}
