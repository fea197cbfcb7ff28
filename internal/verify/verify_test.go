package verify_test

import (
	"database/sql"
	"slices"
	"strings"
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

// A bystander is the same user's, in another session with a transaction open: it is not touched,
// no matter what is ended around it. Nor is a login of the caller's or the administrator's own
// ever refused, or either of them altered.
func TestOthersAreLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, append(honest(), snowtest.WithTokenLife(5*time.Hour, 10*time.Hour))...)
		db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *w.config()))
		defer func() { _ = db.Close() }()
		bystander, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = bystander.Close() }()
		do := func(sql string) {
			t.Helper()
			if _, err := bystander.ExecContext(t.Context(), sql); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
		const insert = "INSERT INTO bystander VALUES (1)"
		do("BEGIN")
		do(insert)
		w.run(verify.Options{Only: withoutPolicy(), Admin: &gosnowflake.Config{}})
		do("COMMIT")
		if n := w.srv.Effects(insert); n != 1 {
			t.Errorf("the bystander's row lasts %d times", n)
		}
		for _, name := range w.refused {
			if !strings.HasPrefix(name, verify.Prefix) {
				t.Error("a login of the caller's own was refused")
			}
		}
		for _, e := range w.srv.Ledger() {
			words := strings.Fields(e.SQL)
			switch {
			case len(words) < 3, !slices.Contains([]string{"ALTER", "DROP", "CREATE", "GRANT", "REVOKE"}, words[0]), words[1] == "SESSION",
				strings.Contains(e.SQL, "TEMPORARY STAGE SYSTEM$BIND"), strings.Contains(e.SQL, verify.Prefix):
			default:
				t.Errorf("it makes, changes or drops what is not its own: %s", e.SQL)
			}
		}
	})
}
