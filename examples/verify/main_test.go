package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
)

// withoutAdmin are the checks that need no administrator, whom this server does not have.
func withoutAdmin() []string {
	return slices.DeleteFunc(verify.Names(), func(name string) bool { return name == "policy" || name == "users" || name == "resume" })
}

// Virtual time: the hour takes none.
func TestServerWithRealSQLIsAsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := start(snowtest.InMemory())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = srv.Close() }()
		report, err := verify.Run(t.Context(), verify.Options{Config: srv.Config(), Only: withoutAdmin()})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range report.Outcomes {
			if slices.Contains(withoutAdmin(), o.Belief.Check) && o.Verdict != verify.AsBelieved {
				t.Errorf("%s is %s: %s", o.Belief.Name, o.Verdict, o.Answer)
			}
		}
	})
}

func TestQuickChecksNeedNoFlag(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), nil, &stdout, &stderr); status != 0 || !strings.Contains(stdout.String(), "idle-commit") {
		t.Errorf("status %d\n%s%s", status, &stdout, &stderr)
	}
}

func TestFlags(t *testing.T) {
	for _, test := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"-h"}, 0, "-only"},
		{[]string{"-unknown"}, 2, "-unknown"},
		{[]string{"-only", "nothing"}, 2, "there is no check"},
		{[]string{"-only", "users"}, 2, "administrator"},
	} {
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), test.args, &stdout, &stderr); got != test.status || !strings.Contains(stderr.String(), test.says) {
			t.Errorf("%v: status %d, %s", test.args, got, &stderr)
		}
	}
}
