package verify_test

import (
	"slices"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
)

// withoutPolicy are the checks that can be asked of one account together: a policy on a server
// is one on all its users.
func withoutPolicy() []string {
	return slices.DeleteFunc(verify.Names(), func(name string) bool { return name == "policy" })
}

func TestAccountThatIsAsBelievedIsFoundSo(t *testing.T) {
	for name, test := range map[string]struct {
		only []string
		opts []snowtest.Option
	}{
		"all":    {withoutPolicy(), nil},
		"policy": {[]string{"policy"}, []snowtest.Option{snowtest.WithIdleTimeout(5 * time.Minute)}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				report := newWorld(t, append(honest(), test.opts...)...).run(verify.Options{Only: test.only, Admin: &gosnowflake.Config{}})
				for _, o := range report.Outcomes {
					if slices.Contains(test.only, o.Belief.Check) && o.Verdict != verify.AsBelieved {
						t.Errorf("%s is %s: %s", o.Belief.Name, o.Verdict, o.Answer)
					}
				}
				if len(report.Unsafe()) > 0 {
					t.Error(report.Unsafe())
				}
			})
		})
	}
}

// Neither the DSN's session parameters nor the user's own change what is asked.
func TestParametersOfTheUserChangeNoAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, append(honest(), snowtest.WithSessionParameter("AUTOCOMMIT", false), snowtest.WithSessionParameter("ABORT_DETACHED_QUERY", true))...)
		on, off, arrow := "true", "false", "ARROW"
		cfg := w.config()
		cfg.ServerSessionKeepAlive = true
		cfg.Params = map[string]*string{"client_session_keep_alive": &on, "AUTOCOMMIT": &off, "GO_QUERY_RESULT_FORMAT": &arrow}
		report, err := verify.Run(t.Context(), verify.Options{Config: cfg, Only: []string{"shapes", "results", "detached"}})
		if err != nil {
			t.Fatal(err)
		}
		if report.Count(verify.Wrong) > 0 || report.Count(verify.AsBelieved) < 10 {
			_ = report.Text(t.Output())
			t.Error("not as believed")
		}
		if n := w.srv.Stats().Heartbeats; n > 0 {
			t.Errorf("%d heartbeats that nobody asked for", n)
		}
		altered := 0
		for _, e := range w.srv.Ledger() {
			if e.SQL == "ALTER SESSION SET AUTOCOMMIT = TRUE" {
				altered++
			}
		}
		if altered != w.srv.Stats().Logins {
			t.Errorf("AUTOCOMMIT was switched on in %d of %d sessions", altered, w.srv.Stats().Logins)
		}
	})
}
