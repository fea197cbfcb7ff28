package verify

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/snowflakedb/gosnowflake/v2"
)

// This file asks for replies that cost nothing: unknown IDs, an unknown token, a COMMIT
// without a transaction, what a login reports, what a statement's own error has.

func askShapes(ctx context.Context, e *env) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	e.askLoginReply(s)
	for _, ask := range []func(context.Context, *env, *session) error{
		askUnknownToken, askUnknownQuery, askIdleCommit, askOwnError, askRenewalOf, askLoggedOut, askNoWarehouse,
	} {
		if err := ask(ctx, e, s); err != nil {
			return err
		}
	}
	return nil
}

// askLoginReply looks for AUTOCOMMIT among what the login reported.
func (e *env) askLoginReply(s *session) {
	_, found := s.autocommit()
	e.settle("autocommit-reported", found, e.seen(askLogin, s.rec.answered()), "AUTOCOMMIT is among the parameters that the login reports: %t", found)
}

func askUnknownToken(ctx context.Context, e *env, s *session) error {
	r, err := s.send(ctx, question{
		method: http.MethodPost, path: queryPath, token: "not-a-token-" + newID(), query: url.Values{"requestId": {newID()}},
		body: statement{SQLText: "SELECT 1"},
	})
	if err != nil {
		return err
	}
	e.settle("unknown-token", r.Status == http.StatusUnauthorized && r.Code == "390104", e.seen(askStatement, r),
		"HTTP %d, code %s", r.Status, r.shownCode())
	return nil
}

func askUnknownQuery(ctx context.Context, e *env, s *session) error {
	id := newID()
	r, err := s.result(ctx, id)
	if err != nil {
		return err
	}
	e.settle("unknown-result", !r.Success && !r.refused() && number(r.Code) == 612, e.seen(askResult, r), "success %t, code %s", r.Success, r.shownCode())
	p, err := s.monitor(ctx, id)
	if err != nil {
		return err
	}
	_, hasList := p.Data["queries"]
	e.settle("unknown-status", p.Success && hasList && p.word == "", e.seen(askStatus, p.reply), "success %t, a list of statements: %t, with one in it: %t", p.Success, hasList, p.word != "")
	return nil
}

func askIdleCommit(ctx context.Context, e *env, s *session) error {
	r, err := s.run(ctx, "COMMIT")
	if err != nil {
		return err
	}
	e.settle("idle-commit", r.Success && r.queryID() == "", e.seen(askStatement, r), "success %t, with a query ID: %t", r.Success, r.queryID() != "")
	return nil
}

func askOwnError(ctx context.Context, e *env, s *session) error {
	r, err := s.run(ctx, "SELECT * FROM "+e.schema+".NOTHING_OF_THIS_NAME")
	if err != nil {
		return err
	}
	asBelieved := !r.Success && !r.refused() && (r.queryID() != "" || len(r.text("sqlState")) == 5)
	e.settle("own-error", asBelieved, e.seen(askStatement, r), "success %t, code %s, with a query ID: %t, with an SQLState: %t",
		r.Success, r.shownCode(), r.queryID() != "", r.text("sqlState") != "")
	return nil
}

func askRenewalOf(ctx context.Context, e *env, s *session) error {
	r, err := s.renew(ctx)
	if err != nil {
		return err
	}
	after, err := s.run(ctx, "SELECT 1")
	if err != nil {
		return err
	}
	same := r.text("sessionId") == s.id || r.text("sessionId") == ""
	e.settle("renewal", r.Success && r.text("sessionToken") != "" && same && after.Success, append(e.seen(askRenewal, r), e.seen(askStatement, after)...),
		"renewed: %t; the same session: %t; a statement with the new token succeeds: %t", r.Success, same, after.Success)
	return nil
}

// askLoggedOut asks what is said to one who sends more after a log-out.
func askLoggedOut(ctx context.Context, e *env, _ *session) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	if _, err := s.logout(ctx); err != nil {
		return err
	}
	r, err := s.try(ctx, "SELECT 1")
	if err != nil {
		return err
	}
	e.settle("gone-refused", isGone(r), e.seen(askStatement, r), "HTTP %d, code %s", r.Status, r.shownCode())
	return nil
}

// isGone reports whether the reply is one by which the driver knows that a session has gone.
func isGone(r *reply) bool {
	return r.Status == http.StatusUnauthorized ||
		slices.Contains([]string{"390104", "390110", "390111", "390112", "390113", "390114", "390115", "390195", "390318"}, r.Code)
}

// askNoWarehouse asks for the transaction in a session without a warehouse. A warehouse that
// does not exist gives one, where the login does not ask for the check of it.
func askNoWarehouse(ctx context.Context, e *env, _ *session) error {
	s, err := e.own.login(ctx, func(cfg *gosnowflake.Config) {
		cfg.Warehouse, cfg.ValidateDefaultParameters = Prefix+"NONE", gosnowflake.ConfigBoolFalse
	})
	if err != nil {
		e.skip("transaction-without-warehouse", "no session without a warehouse could be had")
		e.skip("described-without-warehouse", "no session without a warehouse could be had")
		return nil
	}
	r, err := s.run(ctx, "SELECT CURRENT_TRANSACTION()")
	if err != nil {
		return err
	}
	if r.text("finalWarehouseName") != "" {
		e.skip("transaction-without-warehouse", "each session of this user has a warehouse")
		e.skip("described-without-warehouse", "each session of this user has a warehouse")
		return nil
	}
	e.settle("transaction-without-warehouse", r.Success, e.seen(askStatement, r), "success %t, code %s", r.Success, r.shownCode())
	if r, err = s.submit(ctx, newID(), statement{SQLText: "SELECT 2", DescribeOnly: true}); err != nil {
		return err
	}
	e.settle("described-without-warehouse", r.Success, e.seen(askStatement, r), "success %t, code %s", r.Success, r.shownCode())
	return nil
}

// shownCode is the code as an answer may have it.
func (r *reply) shownCode() string {
	switch {
	case r.Code == "":
		return "none"
	case codeForm.MatchString(r.Code):
		return r.Code
	}
	return "?"
}
