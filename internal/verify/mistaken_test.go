package verify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what could be mistaken for an answer: then nothing was asked.

func TestWhatTeachesNothingIsNotAsked(t *testing.T) {
	for name, test := range map[string]struct {
		account contradiction
		check   string
		belief  string
	}{
		"a statement that fails before its session ends": {answers("^INSERT .*'late'", "000630"), "ends", "no-late-refusal"},
		"the same, early":                      {answers("^INSERT .*'early'", "000630"), "ends", "no-early-refusal"},
		"a statement that fails by itself":     {answers("^INSERT .*'running'", "000630"), "words", "running-is-not-final"},
		"a monitor that answers nothing":       {faulty(notAllowed, kind(snowtest.RequestMonitor)), "words", "running-is-not-final"},
		"the same, for a statement that waits": {faulty(notAllowed, kind(snowtest.RequestMonitor)), "words", "blocked-is-not-final"},
		"a lock that nobody waits for":         {told(snowtest.WithDetachedTransactions(0)), "words", "blocked-is-not-final"},
		"a lock time-out":                      {answers("^UPDATE .*'locked'", "000625"), "words", "blocked-is-not-final"},
		"an abort without effect":              {faulty(saying("Transaction not found."), text("ABORT_TRANSACTION")), "transactions", "commit-after-abort"},
		"a gateway's JSON at a COMMIT":         {faulty(snowtest.Fault{Status: 403, Body: `{"message":"Forbidden"}`}, text("^COMMIT")), "shapes", "idle-commit"},
		"a gateway's JSON at a poll":           {faulty(snowtest.Fault{Status: 403, Body: `{"message":"Forbidden"}`}, kind(snowtest.RequestResult)), "ends", "poll-refused"},
		"a first request that fails":           {answers("^INSERT .*'twice'", "000630"), "requests", "request-id-twice"},
		"one that fails while it is repeated":  {answers("^INSERT .*'running'", "000630"), "requests", "request-id-while-running"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opts := append(honest(), snowtest.AllowOpenSessions())
				w := newWorld(t, append(opts, test.account.opts...)...)
				if test.account.change != nil {
					test.account.change(w)
				}
				for _, o := range w.run(verify.Options{Only: []string{test.check}}).Outcomes {
					if o.Belief.Name == test.belief && o.Verdict != verify.NotAsked {
						t.Errorf("it is %s: %s", o.Verdict, o.Answer)
					}
				}
			})
		})
	}
}

func TestCallersOwnUserIsRefusedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, append(honest(), snowtest.AllowOpenSessions())...)
		w.srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{After: func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.users[strings.ToUpper(w.srv.User())].password = "changed"
			}}, strings.HasPrefix(req.SQL, "CREATE TRANSIENT SCHEMA")
		})
		_, _ = verify.Run(t.Context(), verify.Options{Config: w.config()}) // what it says is not what is asked here
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.refused) != 1 {
			t.Errorf("%d logins were refused; five lock a user out", len(w.refused))
		}
	})
}

// What Snowflake says it did not make is not dropped, and a name stays one name.
func TestNothingElseIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, append(honest(), snowtest.AllowOpenSessions())...)
		answers("^CREATE TRANSIENT SCHEMA", "002002").change(w)
		cfg := w.config()
		cfg.Database, cfg.ValidateDefaultParameters = `"DB".PUBLIC --`, gosnowflake.ConfigBoolFalse
		if _, err := verify.Run(t.Context(), verify.Options{Config: cfg, Only: []string{"history"}}); err == nil {
			t.Error("it ran without a schema")
		}
		for _, e := range w.srv.Ledger() {
			if strings.HasPrefix(e.SQL, "DROP") || strings.HasPrefix(e.SQL, "CREATE") && !strings.Contains(e.SQL, `"""DB"".PUBLIC --".`) {
				t.Errorf("sent: %s", e.SQL)
			}
		}
	})
}

// An account without session policies refuses to make, to set and to drop one: nothing is left.
func TestNothingIsLeftOfWhatCouldNotBeMade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, append(honest(), snowtest.AllowOpenSessions())...)
		w.always(notAllowed, text("SESSION POLICY"))
		report, err := verify.Run(t.Context(), verify.Options{Config: w.config(), Admin: w.admin(), Only: []string{"policy"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range report.Outcomes {
			if o.Verdict != verify.NotAsked {
				t.Errorf("%s is %s: %s", o.Belief.Name, o.Verdict, o.Answer)
			}
		}
	})
}

// A statement that never ends is given up.
func TestCheckIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, append(honest(), snowtest.AllowOpenSessions())...)
		w.always(snowtest.Fault{Body: `{"success":true,"code":"333333","data":{"queryId":"01bd0000-0000-0000-0000-000000000000"}}`}, kind(snowtest.RequestResult))
		begun := time.Now()
		report := w.run(verify.Options{Only: []string{"words"}})
		if d := time.Since(begun); d > 15*time.Minute {
			t.Errorf("it took %s", d)
		}
		if report.Count(verify.AsBelieved) > 2 {
			_ = report.Text(t.Output())
			t.Error("it was believed")
		}
	})
}
