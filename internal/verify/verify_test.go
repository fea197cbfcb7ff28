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
