package verify_test

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
)

// This file disturbs runs at each of their requests in turn.

var (
	created = regexp.MustCompile(`^CREATE (?:TRANSIENT )?(USER|SCHEMA|ROLE|WAREHOUSE|NETWORK POLICY|SESSION POLICY) (\S+)`)
	dropped = regexp.MustCompile(`^DROP (USER|SCHEMA|ROLE|WAREHOUSE|NETWORK POLICY|SESSION POLICY) IF EXISTS (\S+)`)
)

// left is what was made and not dropped, and what was dropped without being the run's own.
func (w *world) left() (left []string) {
	made := map[string]bool{}
	for _, e := range w.srv.Ledger() {
		if m := created.FindStringSubmatch(e.SQL); m != nil && e.State == snowtest.Succeeded {
			made[m[1]+" "+m[2]] = true
		}
		if m := dropped.FindStringSubmatch(e.SQL); m != nil && e.State == snowtest.Succeeded {
			if !strings.Contains(m[2], verify.Prefix) {
				left = append(left, "dropped "+m[2])
			}
			delete(made, m[1]+" "+m[2])
		}
	}
	for what := range made {
		left = append(left, what)
	}
	return left
}

// sweep runs a check once for each of its requests, but for the status polls that are many of
// a kind.
func sweep(t *testing.T, check string, disturb func(w *world, nth int) verify.Options, judge func(t *testing.T, w *world, report *verify.Report, err error)) {
	t.Helper()
	step := map[string]int{"users": 3, "locks": 3, "policy": 3}[check] // they take long
	if testing.Short() {
		step *= 3
	}
	for nth, more := 0, true; more && nth < 120; nth += max(step, 1) {
		bubble(t, func(t *testing.T) {
			opts := append(honest(), snowtest.AllowOpenSessions())
			if check == "policy" {
				opts = append(opts, snowtest.WithIdleTimeout(5*time.Minute))
			}
			w := newWorld(t, opts...)
			o := disturb(w, nth)
			o.Config, o.Admin, o.Only = w.config(), w.admin(), []string{check}
			report, err := verify.Run(w.ctx, o)
			more = w.disturbed
			time.Sleep(time.Hour) // gosnowflake leaves a goroutine for its time-out behind where a login is cut short
			judge(t, w, report, err)
			if t.Failed() {
				t.Fatalf("disturbed at request %d of %s", nth, check)
			}
		})
	}
}

// at calls fn for the nth request that is no poll.
func (w *world) at(nth int, fn func() snowtest.Fault) {
	seen := -1
	w.srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.Kind == snowtest.RequestMonitor && req.N > 3 || req.Kind == snowtest.RequestTelemetry {
			return snowtest.Fault{}, false
		}
		if seen++; seen != nth {
			return snowtest.Fault{}, false
		}
		w.disturbed = true
		return fn(), true
	})
}

// Nothing that is not answered is taken for an answer: its belief is not asked. What was made is
// dropped, also where the reply that it was made never came.
func TestRequestWithoutAnAnswerIsNoContradiction(t *testing.T) {
	for _, check := range verify.Names() {
		t.Run(check, func(t *testing.T) {
			sweep(t, check, func(w *world, nth int) verify.Options {
				w.at(nth, func() snowtest.Fault {
					if nth%2 == 0 {
						return snowtest.Fault{Run: true, Status: 503, Body: "<html>"}
					}
					return snowtest.Fault{Run: true, Drop: true}
				})
				return verify.Options{}
			}, func(t *testing.T, w *world, report *verify.Report, err error) {
				if err == nil && report.Count(verify.Wrong) > 0 {
					for _, o := range report.Outcomes {
						if o.Verdict == verify.Wrong {
							t.Errorf("%s is wrong: %s", o.Belief.Name, o.Answer)
						}
					}
				}
				if left := w.left(); len(left) > 0 {
					t.Errorf("left behind: %v; %v", left, err)
				}
			})
		})
	}
}

func TestInterruptDropsWhatWasMade(t *testing.T) {
	for _, check := range []string{"shapes", "ends", "detached", "users", "policy", "resume"} {
		t.Run(check, func(t *testing.T) {
			sweep(t, check, func(w *world, nth int) verify.Options {
				ctx, cancel := context.WithCancel(w.t.Context())
				w.ctx = ctx
				w.at(nth, func() snowtest.Fault { return snowtest.Fault{After: cancel} })
				return verify.Options{}
			}, func(t *testing.T, w *world, _ *verify.Report, err error) {
				if w.disturbed && !errors.Is(err, context.Canceled) && err != nil {
					t.Errorf("%v", err)
				}
				if left := w.left(); len(left) > 0 {
					t.Errorf("left behind: %v; %v", left, err)
				}
			})
		})
	}
}

// A run that another one was killed before: it is named, and whatever is not of that form stays.
func TestCleanupDropsWhatRunsHaveLeft(t *testing.T) {
	const old = verify.Prefix + "20261128T134700_ABCDEFG2"
	bubble(t, func(t *testing.T) {
		w := newWorld(t, honest()...)
		for what, names := range map[string][]string{
			"SCHEMAS": {old, verify.Prefix + "MINE", "PUBLIC"}, "USERS": {old + "_U", "SNOWTETHER"}, "ROLES": {old + "_U"},
			"NETWORK POLICIES": {"OFFICE"}, "WAREHOUSES": {old + "_W", verify.Prefix + "20261128T134700_ABCDEFG2_WH"},
		} {
			w.handle("^SHOW "+what, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				var rows [][]any
				for _, name := range names {
					rows = append(rows, []any{"2026-11-28", name})
				}
				return snowtest.Rows([]string{"created_on", "name"}, rows...), nil
			})
		}
		got, err := verify.Cleanup(t.Context(), verify.Options{Config: w.config(), Admin: w.admin()})
		want := []string{"USER " + old + "_U", "ROLE " + old + "_U", "WAREHOUSE " + old + "_W", "SCHEMA " + old, "SCHEMA " + old}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("dropped %v, %v", got, err)
		}
		w.always(notAllowed, text("^DROP"))
		if got, err := verify.Cleanup(t.Context(), verify.Options{Config: w.config()}); err == nil || len(got) > 0 {
			t.Errorf("dropped %v, %v", got, err)
		}
		w.always(notAllowed, text("^SHOW"))
		if _, err := verify.Cleanup(t.Context(), verify.Options{Config: w.config()}); err == nil {
			t.Error("it found nothing, although it was not allowed to look")
		}
	})
}

func TestWhatCannotBeDroppedIsNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, honest()...)
		w.always(notAllowed, text("^DROP"))
		report, err := verify.Run(t.Context(), verify.Options{Config: w.config(), Admin: w.admin(), Only: []string{"resume"}})
		if !errors.Is(err, verify.ErrLeft) || report == nil || !strings.Contains(err.Error(), "DROP WAREHOUSE") || strings.Contains(err.Error(), "TESTDB") {
			t.Errorf("%v", err)
		}
	})
}

func TestRunNeedsManyGoodLogins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, honest()...)
		for _, test := range []struct {
			change func(*verify.Options)
			says   string
		}{
			{func(o *verify.Options) { o.Config.Authenticator = gosnowflake.AuthTypeExternalBrowser }, "a browser"},
			{func(o *verify.Options) { o.Config.Passcode = "123456" }, "a passcode"},
			{func(o *verify.Options) { o.Config.Database = "" }, "no database"},
			{func(o *verify.Options) { o.Admin.Database = "" }, "the administrator's DSN"},
			{func(o *verify.Options) { o.Admin.Password = "wrong" }, "as the administrator: the login was refused with code 390100"},
			{func(o *verify.Options) { o.Config.Password = "wrong" }, "the login was refused with code 390100"},
			{func(o *verify.Options) { o.Only = []string{"nothing"} }, "there is no check"},
			{func(o *verify.Options) { o.Only, o.Admin = []string{"users"}, nil }, "needs an administrator"},
		} {
			o := verify.Options{Config: w.config(), Admin: w.admin(), Only: []string{"history"}}
			test.change(&o)
			report, err := verify.Run(t.Context(), o)
			if err == nil || report != nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), w.srv.User()) {
				t.Errorf("%q: %v", test.says, err)
			}
		}
		if n := w.srv.Stats().LoginFailures; n != 2 {
			t.Errorf("%d logins were refused: each that is gets no second", n)
		}
		w.always(notAllowed, text("^CREATE"))
		if _, err := verify.Run(t.Context(), verify.Options{Config: w.config()}); err == nil || !strings.Contains(err.Error(), "schema") {
			t.Error(err)
		}
	})
}
