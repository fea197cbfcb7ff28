package verify_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about accounts of which something cannot be asked, or not in the usual way.

// A server may answer each statement as one that is in progress, and let the client poll.
func TestAccountThatLetsItsClientsPollIsAsBelieved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		report := newWorld(t, append(honest(), snowtest.WithInlineWait(0))...).run(verify.Options{})
		for _, o := range report.Outcomes {
			if o.Verdict == verify.Wrong {
				t.Errorf("%s is %s: %s", o.Belief.Name, o.Verdict, o.Answer)
			}
		}
		if report.Count(verify.AsBelieved) < 35 {
			_ = report.Text(t.Output())
			t.Error("too little was asked")
		}
	})
}

// answers lets the script answer a statement with an error.
func answers(pattern, code string) contradiction {
	return contradiction{change: func(w *world) {
		w.handle(pattern, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: code, SQLState: "42501", Message: "Insufficient privileges"}
		})
	}}
}

func TestWhatAnAccountDoesNotAllowIsNotAsked(t *testing.T) {
	for name, test := range map[string]struct {
		account contradiction
		check   string
		beliefs []string
		why     string
	}{
		"a warehouse in each session": {told(snowtest.WithWarehouse(verify.Prefix + "NONE")), "shapes",
			[]string{"transaction-without-warehouse", "described-without-warehouse"}, "has a warehouse"},
		"no session without a warehouse": {faulty(snowtest.Fault{Code: "390201"}, func(req *snowtest.Request) bool {
			return req.Kind == snowtest.RequestLogin && strings.Contains(req.HTTP.URL.RawQuery, "NONE")
		}), "shapes", []string{"transaction-without-warehouse"}, "could be had"},
		"one statement a request": {faulty(notAllowed, text(";")), "results", []string{"children-by-id"}, "was not carried out"},
		"no descriptions":         {faulty(notAllowed, text("^SELECT 2$")), "history", []string{"described-is-not-last"}, "described"},
		"no tables":               {answers("^CREATE TABLE", "003001"), "results", []string{"result-by-id", "children-by-id"}, "003001"},
		"no stages":               {faulty(notAllowed, text("STAGE")), "binds", []string{"empty-line-is-a-row"}, "Insufficient privileges"},
		"no bulk inserts":         {answers(`^INSERT.*VALUES \(\?\)`, "003001"), "binds", []string{"empty-line-is-a-row"}, "failed"},
		"no abort of one's own session": {faulty(notAllowed, text("ABORT_SESSION")), "ends",
			[]string{"outlives-abort", "carried-over"}, "may not abort"},
		"nor behind that any locks": {faulty(notAllowed, text("ABORT_SESSION")), "locks",
			[]string{"abort-frees-locks", "locks-are-freed", "detached-is-listed"}, "leaves no transaction"},
		"no transactions of others": {faulty(saying(), text("SHOW TRANSACTIONS")), "transactions", []string{"abort-own-transaction", "commit-after-abort"}, "did not come"},
		"no slow statements":        {answers("GENERATOR", "000606"), "detached", []string{"vanished-goes-on"}, "000606"},
		"no users":                  {answers("^CREATE USER", "003001"), "users", []string{"old-password-refused", "unset-key-refused"}, "003001"},
		"no network policies":       {answers("^CREATE NETWORK", "003001"), "users", []string{"network-policy-refuses"}, "003001"},
		"no access tokens":          {answers("^ALTER USER .* ADD PROG", "003001"), "users", []string{"removed-token-refused"}, "003001"},
		"tokens without a secret":   {answersRows("^ALTER USER .* ADD PROG"), "users", []string{"removed-token-refused"}, "no programmatic"},
		"no keys":                   {answers("^ALTER USER .* SET RSA", "003001"), "users", []string{"unset-key-refused"}, "003001"},
		"keys that are not taken":   {answersRows("^ALTER USER .* SET RSA"), "users", []string{"unset-key-refused"}, "was refused"},
		"no roles":                  {answers("^CREATE ROLE", "003001"), "users", []string{"revoked-role-refused"}, "003001"},
		"no warehouses":             {answers("^CREATE WAREHOUSE", "003001"), "resume", []string{"resuming-is-not-final"}, "003001"},
		"no policies":               {answers("^CREATE SESSION POLICY", "003001"), "policy", []string{"idle-policy-refuses"}, "003001"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, append(append(honest(), snowtest.AllowOpenSessions()), test.account.opts...)...)
				if test.account.change != nil {
					test.account.change(w)
				}
				report := w.run(verify.Options{Only: []string{test.check}, Admin: &gosnowflake.Config{}})
				time.Sleep(time.Hour)
				for _, o := range report.Outcomes {
					if slices.Contains(test.beliefs, o.Belief.Name) && (o.Verdict != verify.NotAsked || !strings.Contains(o.Answer, test.why)) {
						t.Errorf("%s is %s: %s", o.Belief.Name, o.Verdict, o.Answer)
					}
				}
				if left := w.left(); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

// answersRows lets the script answer a statement with its status alone, and do nothing.
func answersRows(pattern string) contradiction {
	return contradiction{change: func(w *world) {
		w.handle(pattern, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return snowtest.Status(snowtest.KindDDL, "Statement executed successfully."), nil
		})
	}}
}

// Users who lose nothing by what is taken from them.
func TestLoginThatIsNotRefusedIsFound(t *testing.T) {
	for belief, taken := range map[string]string{"old-password-refused": "SET PASSWORD", "disabled-is-refused": "SET DISABLED", "network-policy-refuses": "SET NETWORK"} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, append(honest(), snowtest.AllowOpenSessions())...)
			answersRows("^ALTER USER .* " + taken).change(w)
			for _, o := range w.run(verify.Options{Only: []string{"users"}, Admin: &gosnowflake.Config{}}).Outcomes {
				if o.Belief.Name == belief && o.Verdict != verify.Wrong {
					t.Errorf("%s is %s: %s", o.Belief.Name, o.Verdict, o.Answer)
				}
			}
		})
	}
}

func TestProgressSaysWhatRunsAndForHowLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var seen []verify.Progress
		newWorld(t, honest()...).run(verify.Options{Only: []string{"shapes", "words"}, Progress: func(p verify.Progress) { seen = append(seen, p) }})
		last := seen[len(seen)-1]
		if len(seen) != 4 || last.Done != 2 || last.All != 2 || len(last.Running) > 0 || last.Left != 0 {
			t.Errorf("%+v", seen)
		}
		if both := seen[1]; !slices.Equal(both.Running, []string{"shapes", "words"}) || both.Left < time.Minute {
			t.Errorf("%+v", both)
		}
	})
}

// A policy of the user's own that is shorter than the checks ends sessions of theirs: of what
// they are told then, nothing is taken for an answer.
func TestSessionThatAPolicyEndsIsNoContradiction(t *testing.T) {
	for _, d := range []time.Duration{2 * time.Second, 40 * time.Second, 2 * time.Minute, 4 * time.Minute} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, append(honest(), snowtest.AllowOpenSessions(), snowtest.WithMaxSessionLife(d))...)
			report, err := verify.Run(t.Context(), verify.Options{Config: w.config(), Slow: true})
			if err != nil {
				t.Error(err)
			}
			for _, o := range report.Outcomes {
				if o.Verdict == verify.Wrong {
					t.Errorf("%v: %s is %s: %s", d, o.Belief.Name, o.Verdict, o.Answer)
				}
			}
			if left := w.left(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
