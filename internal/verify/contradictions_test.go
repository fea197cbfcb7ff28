package verify_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
)

// This file contradicts each belief in turn.

// A contradiction is an account that is not as one belief says.
type contradiction struct {
	opts   []snowtest.Option // added to those of an honest one
	change func(*world)      // nil if the options do it
}

func faulty(fault snowtest.Fault, matches func(*snowtest.Request) bool) contradiction {
	return contradiction{change: func(w *world) { w.always(fault, matches) }}
}

func told(opts ...snowtest.Option) contradiction { return contradiction{opts: opts} }

// nth matches the requests of a kind from the nth on, counted from 0.
func nth(k snowtest.RequestKind, n int) func(*snowtest.Request) bool {
	return func(req *snowtest.Request) bool { return req.Kind == k && req.N >= n }
}

func refusedWith(code, other string) contradiction {
	return contradiction{change: func(w *world) { w.codes[code] = other }}
}

func failsAtItsEnd(mark string) contradiction {
	return contradiction{change: func(w *world) { w.failing = mark }}
}

// rowsOf lets counts of these marks say so many.
func rowsOf(pattern string, n int64) contradiction {
	return contradiction{change: func(w *world) {
		w.handle(pattern, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return snowtest.Rows([]string{"COUNT(*)"}, []any{n}), nil
		})
	}}
}

var (
	notAllowed = snowtest.Fault{Code: "003001", Message: "Insufficient privileges"}
	succeeded  = snowtest.Fault{Body: `{"data":null,"success":true}`}
	noResult   = snowtest.Fault{Code: "000612"}
)

var contradictions = map[string]contradiction{
	"unknown-token": faulty(snowtest.Fault{Code: "390999"}, func(req *snowtest.Request) bool {
		return req.Kind == snowtest.RequestQuery && req.SessionID == 0
	}),
	"unknown-result":                faulty(saying(), kind(snowtest.RequestResult)),
	"unknown-status":                faulty(noResult, kind(snowtest.RequestMonitor)),
	"idle-commit":                   faulty(saying("done"), text("^COMMIT")),
	"own-error":                     faulty(snowtest.Fault{Body: `{"data":null,"code":"002003","success":false}`}, text("NOTHING_OF_THIS_NAME")),
	"autocommit-reported":           {change: hidesAutocommit},
	"renewal":                       faulty(snowtest.Fault{Code: "390111"}, kind(snowtest.RequestRenew)),
	"gone-refused":                  {change: answersAfterLogout},
	"transaction-without-warehouse": faulty(snowtest.Fault{Code: "000606"}, text("CURRENT_TRANSACTION")),
	"described-without-warehouse":   faulty(snowtest.Fault{Code: "000606"}, text("^SELECT 2$")),
	"commit-has-an-id":              faulty(succeeded, text("^COMMIT")),
	"result-by-id":                  faulty(noResult, kind(snowtest.RequestResult)),
	"children-by-id":                faulty(noResult, nth(snowtest.RequestResult, 2)),
	"described-is-not-last":         {change: func(w *world) { w.countDescribed = true }},
	"current-transaction":           faulty(saying("1"), text("CURRENT_TRANSACTION")),
	"transactions-shown":            faulty(saying(), text("SHOW TRANSACTIONS")),
	"abort-own-transaction":         faulty(notAllowed, text("ABORT_TRANSACTION")),
	"commit-after-abort":            faulty(saying("done"), text("^COMMIT")),
	"insert-after-abort":            faulty(snowtest.Fault{Code: "000629"}, text("INSERT.*'behind'")),
	"cancel-all-of-own-session":     faulty(notAllowed, text("CANCEL_ALL")),
	"empty-line-is-a-row":           rowsOf(`^SELECT COUNT\(\*\) FROM \S+BINDS$`, 1),
	"running-is-not-final":          faulty(status("FAILED_WITH_ERROR"), kind(snowtest.RequestMonitor)),
	"success-has-an-end":            faulty(status("SUCCESS"), kind(snowtest.RequestMonitor)),
	"cancelled-reads-failed":        faulty(saying("1"), kind(snowtest.RequestResult)),
	"blocked-is-not-final":          faulty(status("FAILED_WITH_ERROR"), kind(snowtest.RequestMonitor)),
	"logout-cancels":                faulty(succeeded, kind(snowtest.RequestLogout)),
	"logout-rolls-back":             rowsOf(`^SELECT COUNT.*'during'`, 1),
	"abort-own-session":             faulty(notAllowed, text("ABORT_SESSION")),
	"no-late-refusal":               faulty(snowtest.Fault{Delay: 8 * time.Second, Code: "390111"}, text("INSERT.*'late'")),
	"no-early-refusal":              faulty(snowtest.Fault{Delay: 2 * time.Second, Code: "390104"}, text("INSERT.*'early'")),
	"poll-refused":                  {change: pollsLiveOn},
	"outlives-abort":                told(snowtest.WithCancelOnEnd()),
	"carried-over":                  faulty(noResult, kind(snowtest.RequestResult)),
	"request-id-twice":              told(snowtest.WithRequestMemory(time.Millisecond)),
	"request-id-while-running":      told(snowtest.WithRequestMemory(3 * time.Second)),
	"request-id-minutes":            told(snowtest.WithRequestMemory(2 * time.Minute)),
	"request-id-uncounted":          {change: uncountedIsForgotten},
	"request-id-other-text":         told(snowtest.WithRequestTexts()),
	"request-id-other-session":      {change: knownEverywhere},
	"detached-is-listed":            told(snowtest.WithDetachedTransactions(0)),
	"abort-frees-locks":             faulty(notAllowed, text("ABORT_TRANSACTION")),
	"locks-are-freed":               told(snowtest.WithDetachedTransactions(4 * time.Hour)),
	"vanished-goes-on":              failsAtItsEnd("vanished"),
	"detached-is-aborted":           {change: neverDetached},
	"result-poll-attaches":          failsAtItsEnd("polled"),
	"request-id-hour":               told(snowtest.WithRequestMemory(45 * time.Minute)),
	"expired-token":                 faulty(snowtest.Fault{Code: "390111"}, text("^SELECT 1$")),
	"idle-policy-refuses":           told(snowtest.WithIdleTimeout(0)),
	"heartbeat-counts":              faulty(succeeded, kind(snowtest.RequestHeartbeat)),
	"described-counts":              faulty(succeeded, text("^SELECT 2$")),
	"statement-counts":              faulty(succeeded, text("^SELECT 1$")),
	"old-password-refused":          refusedWith("390100", "390999"),
	"password-keeps-sessions":       {change: func(w *world) { w.endOnPassword = true }},
	"revoked-role-refused":          refusedWith("390189", "390999"),
	"network-policy-refuses":        refusedWith("390422", "390999"),
	"unset-key-refused":             refusedWith("390144", "390999"),
	"removed-token-refused":         refusedWith("394400", "390999"),
	"disabling-ends-sessions":       {change: func(w *world) { w.keepDisabled = true }},
	"disabled-is-refused":           refusedWith("390102", "390111"),
	"resuming-is-not-final":         faulty(status("FAILED_WITH_ERROR"), kind(snowtest.RequestMonitor)),
}

// hidesAutocommit answers the login with a reply that does not have the parameter. The session
// is one that the server does not know.
func hidesAutocommit(w *world) {
	w.srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		body := `{"success":true,"data":{"token":"t","masterToken":"m","sessionId":7,"parameters":[{"name":"TIMEZONE","value":"UTC"}],"sessionInfo":{}}}`
		return snowtest.Fault{Body: body}, req.Kind == snowtest.RequestLogin && req.N == 2
	})
}

// answersAfterLogout answers sessions that were logged out with what is no session's code.
func answersAfterLogout(w *world) {
	var out []int64
	w.srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.Kind == snowtest.RequestLogout {
			out = append(out, req.SessionID)
		}
		return notAllowed, req.Kind == snowtest.RequestQuery && slices.Contains(out, req.SessionID)
	})
}

// pollsLiveOn answers the first poll, that of the aborted session, as if it lived.
func pollsLiveOn(w *world) {
	w.srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		return noResult, req.Kind == snowtest.RequestResult
	})
}

// knownEverywhere answers a request ID of another session with the first one's result.
func knownEverywhere(w *world) {
	var first int64
	w.srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.Kind != snowtest.RequestQuery || !regexp.MustCompile("INSERT.*'twice'").MatchString(req.SQL) {
			return snowtest.Fault{}, false
		}
		if first == 0 {
			first = req.SessionID
		}
		return saying("1"), req.SessionID != first
	})
}

// uncountedIsForgotten answers the second sending as another statement's.
func uncountedIsForgotten(w *world) {
	sent := 0
	w.srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if strings.Contains(req.SQL, "'uncounted', 1") && req.RetryCount == 0 {
			sent++
		}
		return saying("1"), sent == 2 && strings.Contains(req.SQL, "'uncounted', 1")
	})
}

// neverDetached lets ABORT_DETACHED_QUERY stay FALSE.
func neverDetached(w *world) {
	w.handle(`ABORT_DETACHED_QUERY = TRUE`, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		res := snowtest.Status(snowtest.KindSCL, "Statement executed successfully.")
		res.Parameters = map[string]any{"ABORT_DETACHED_QUERY": "false"}
		return res, nil
	})
}

// TestEveryBeliefIsFoundWrongWhereItIs: verify notices an account that contradicts it, and a
// belief that nothing here contradicts fails the test.
func TestEveryBeliefIsFoundWrongWhereItIs(t *testing.T) {
	for _, b := range verify.Beliefs {
		c, ok := contradictions[b.Name]
		if !ok {
			t.Errorf("nothing contradicts %s", b.Name)
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opts := append(honest(), snowtest.AllowOpenSessions())
				if b.Check == "policy" {
					opts = append(opts, snowtest.WithIdleTimeout(5*time.Minute))
				}
				w := newWorld(t, append(opts, c.opts...)...)
				if c.change != nil {
					c.change(w)
				}
				report := w.run(verify.Options{Only: []string{b.Check}, Admin: &gosnowflake.Config{}})
				for _, o := range report.Outcomes {
					if o.Belief.Name == b.Name && o.Verdict != verify.Wrong {
						t.Errorf("%s: %s", o.Verdict, o.Answer)
					}
				}
				if unsafe := slices.Contains(report.Unsafe(), b.Name); unsafe != b.Safety {
					t.Errorf("safety rests on it: %v; reported so: %v", b.Safety, unsafe)
				}
			})
		})
	}
	for name := range contradictions {
		if !slices.ContainsFunc(verify.Beliefs, func(b verify.Belief) bool { return b.Name == name }) {
			t.Errorf("%s is contradicted and not believed", name)
		}
	}
}
