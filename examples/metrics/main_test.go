package main

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

// samples are the values of the lines, by the name with its labels.
func samples(t *testing.T, page string) map[string]float64 {
	t.Helper()
	values := make(map[string]float64)
	for line := range strings.Lines(page) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		values[name] = n
	}
	return values
}

func TestPageSaysHowTheSessionsEnded(t *testing.T) {
	var out, stderr bytes.Buffer
	if status := run(t.Context(), nil, "", &out, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	got := samples(t, out.String())
	const pool = `db_client_connection_pool_name="example"`
	sum := func(prefix string) (n float64) {
		for name, v := range got {
			if strings.HasPrefix(name, prefix+"{") {
				n += v
			}
		}
		return n
	}
	// Each of the four sessions is lost twice.
	for name, want := range map[string]float64{
		"snowtether_logins_total":                        12,
		"snowtether_sessions_lost_total":                 8,
		"snowtether_reconnects_total":                    8,
		"snowtether_session_life_seconds_count":          8,
		"snowtether_login_duration_seconds_count":        12,
		"db_client_connection_create_time_seconds_count": 12,
		"snowtether_login_failures_total":                0,
		"snowtether_statements_in_doubt_total":           0,
		"db_client_connection_count":                     4,
	} {
		if n := sum(name); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	for _, name := range []string{
		`snowtether_reconnects_total{` + pool + `,snowtether_reason="390114"}`,
		`snowtether_reconnects_total{` + pool + `,snowtether_reason="390111"}`,
		`snowtether_renewals_total{` + pool + `}`,
	} {
		if got[name] != 4 {
			t.Errorf("%s is %v, want 4", name, got[name])
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestAccountIsReadAndNothingElse(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	var out, stderr bytes.Buffer
	if status := run(t.Context(), nil, srv.DSN(), &out, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	if !strings.Contains(out.String(), "\nsnowtether_logins_total{db_client_connection_pool_name=\"snowtether\"} 4\n") {
		t.Errorf("it printed\n%s", &out)
	}
	for _, e := range srv.Ledger() {
		if e.SQL != "SELECT ?" {
			t.Errorf("it sent %s", e.SQL)
		}
	}
	if s := srv.Stats(); s.Logins != 4 || s.Statements != 100 {
		t.Errorf("%d logins, %d statements", s.Logins, s.Statements)
	}
}

func TestStatusSaysWhatBecameOfIt(t *testing.T) {
	for _, test := range []struct {
		name, args, dsn string
		interrupt       bool
		status          int
		says            string
	}{
		{"help", "-h", "", false, 0, "usage:"},
		{"a flag", "-unknown", "", false, 2, "metrics: flag provided but not defined: -unknown\n"},
		{"an argument", "page", "", false, 2, "metrics: there are no arguments\n"},
		{"no DSN", "", "secret", false, 1, "metrics: snowtether: "},
		{"an interrupt", "", "", true, 130, "metrics: interrupted\n"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if test.interrupt {
			cancel()
		}
		var stdout, stderr bytes.Buffer
		status := run(ctx, strings.Fields(test.args), test.dsn, &stdout, &stderr)
		if text := stderr.String(); status != test.status || stdout.Len() > 0 || !strings.Contains(text, test.says) || strings.Contains(text, "secret") {
			t.Errorf("%s: status %d, it printed %q and %q", test.name, status, &stdout, text)
		}
	}
}
