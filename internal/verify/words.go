package verify

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file asks what the monitor says of statements that run, wait for a lock or were
// cancelled; whether a described statement is one for LAST_QUERY_ID; and whether an empty
// line of a bulk bind is a row.

func askWords(ctx context.Context, e *env) error {
	s, beside, err := e.pair(ctx)
	if err != nil {
		return err
	}
	if err := e.makeTable(ctx, s); err != nil {
		return err
	}
	if err := e.askRunningWords(ctx, s, beside); err != nil {
		return err
	}
	if err := e.askCancelled(ctx, s, beside); err != nil {
		return err
	}
	return e.askBlockedWords(ctx, s, beside)
}

func (e *env) askRunningWords(ctx context.Context, s, beside *session) error {
	const runs = 15 * time.Second
	begun := time.Now()
	id, err := s.start(ctx, e.slow("running", runs))
	if err != nil {
		return err
	}
	words, last, err := e.watch(ctx, beside, id, 5*time.Minute)
	if err != nil {
		return err
	}
	took := time.Since(begun)
	rows, err := e.count(ctx, beside, "running")
	if err != nil {
		return err
	}
	answer := fmt.Sprintf("a statement of %v: status words %s, final after %v", runs, words, took.Round(time.Second))
	if err := e.settleEnd(ctx, "running-is-not-final", beside, id, last, took < runs-2*time.Second || rows != 1, answer); err != nil {
		return err
	}
	if last.word != "SUCCESS" {
		e.skip("success-has-an-end", "the statement did not succeed")
		return nil
	}
	e.settle("success-has-an-end", last.ended, e.seen(askStatus, last.reply), "%s, with an end time: %t", last.word, last.ended)
	return nil
}

// settleEnd settles whether the final word of a statement was true. One that ended early has
// ended by itself, if it was.
func (e *env) settleEnd(ctx context.Context, belief string, beside *session, id string, last progress, early bool, answer string) error {
	lie, err := e.lies(ctx, beside, id)
	switch {
	case err != nil:
		return err
	case !isFinal(last.word):
		e.skip(belief, "the statement did not end in time, or its status could not be read")
	case !lie && early:
		e.skip(belief, "the statement ended by itself before its time")
	default:
		e.settle(belief, !lie, e.seen(askStatus, last.reply), "%s; its result came later: %t", answer, lie)
	}
	return nil
}

// lies reports whether a statement of which a final word was heard, or none, has not ended: a
// request for its result is held until there is one.
func (e *env) lies(ctx context.Context, beside *session, id string) (bool, error) {
	begun := time.Now()
	r, err := alive(beside.result(ctx, id))
	if err != nil {
		return false, err
	}
	return r.inProgress() || time.Since(begun) > 2*time.Second, nil
}

func (e *env) askCancelled(ctx context.Context, s, beside *session) error {
	id, err := s.start(ctx, e.slow("cancelled", 2*time.Minute))
	if err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	if _, err := beside.must(ctx, "SELECT SYSTEM$CANCEL_QUERY('"+id+"')"); err != nil {
		return err
	}
	words, last, err := e.watch(ctx, beside, id, 3*time.Minute)
	if err != nil {
		return err
	}
	r, err := alive(beside.result(ctx, id))
	if err != nil {
		return err
	}
	failed := isFinal(last.word) && last.word != "SUCCESS"
	e.settle("cancelled-reads-failed", failed && !r.Success && number(r.Code) == 604, append(e.seen(askStatus, last.reply), e.seen(askResult, r)...),
		"status words: %s; its result: success %t, code %s", words, r.Success, r.shownCode())
	return nil
}

// askBlockedWords lets a statement wait for a lock that a living session of the run's own has.
func (e *env) askBlockedWords(ctx context.Context, s, beside *session) error {
	holder, err := e.session(ctx)
	if err != nil {
		return err
	}
	update := fmt.Sprintf("UPDATE %s SET N = N + 1 WHERE M = 'locked'", e.table)
	for _, sql := range []string{e.insert("locked"), "BEGIN", update} {
		if _, err := holder.must(ctx, sql); err != nil {
			return err
		}
	}
	id, err := s.start(ctx, update)
	if err != nil {
		return err
	}
	words, last, err := e.watch(ctx, beside, id, 20*time.Second)
	if err != nil {
		return err
	}
	waits, err := e.lies(ctx, beside, id)
	if err != nil {
		return err
	}
	if _, err := holder.must(ctx, "ROLLBACK"); err != nil {
		return err
	}
	if !waits || last.word == "" {
		e.skip("blocked-is-not-final", "the statement did not wait for the lock, or its status could not be read")
		return nil
	}
	e.settle("blocked-is-not-final", !isFinal(last.word), e.seen(askStatus, last.reply), "status words within 20 s: %s", words)
	_, _, err = e.watch(ctx, beside, id, time.Minute)
	return err
}

func askHistory(ctx context.Context, e *env) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	first, err := s.must(ctx, "SELECT 1")
	if err != nil {
		return err
	}
	described, err := s.submit(ctx, newID(), statement{SQLText: "SELECT 2", DescribeOnly: true})
	if err != nil {
		return err
	}
	last, err := s.must(ctx, "SELECT LAST_QUERY_ID()")
	if err != nil {
		return err
	}
	if !described.Success || last.cell() == "" {
		e.skip("described-is-not-last", "a statement could not be described, or there was no last query ID")
		return nil
	}
	e.settle("described-is-not-last", last.cell() == first.queryID(), e.seen(askStatement, described),
		"LAST_QUERY_ID is that of the statement before: %t; of the described one: %t", last.cell() == first.queryID(), last.cell() == described.queryID())
	return nil
}

// askBinds sends two rows of one column, one of them NULL, through a stage.
func askBinds(ctx context.Context, e *env) error {
	one := "1"
	s, err := e.own.login(ctx, func(cfg *gosnowflake.Config) { cfg.Params["CLIENT_STAGE_ARRAY_BINDING_THRESHOLD"] = &one })
	if err != nil {
		return err
	}
	for _, sql := range []string{"CREATE TABLE " + e.table + " (M VARCHAR)", "USE SCHEMA " + e.schema} {
		if _, err := s.must(ctx, sql); err != nil {
			return err
		}
	}
	values, err := gosnowflake.Array(&[]any{nil, "a"})
	if err != nil {
		return err
	}
	exec, ok := s.conn.(driver.ExecerContext)
	if !ok {
		e.skip("empty-line-is-a-row", "gosnowflake's connection carries out no statements")
		return nil
	}
	if _, err := exec.ExecContext(ctx, "INSERT INTO "+e.table+" VALUES (?)", []driver.NamedValue{{Ordinal: 1, Value: values}}); err != nil {
		e.skip("empty-line-is-a-row", "the bulk INSERT failed: "+e.own.blank.blank(err.Error()))
		return nil
	}
	if !s.rec.usedStage() {
		e.skip("empty-line-is-a-row", "the values did not go through a stage, or not at the first try")
		return nil
	}
	r, err := s.must(ctx, "SELECT COUNT(*) FROM "+e.table)
	if err != nil {
		return err
	}
	n := number(r.cell())
	e.settle("empty-line-is-a-row", n == 2, nil, "of two rows, one of them an empty line, %d arrived", n)
	return nil
}
