package main

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
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
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
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

func TestInterruptIsAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); !errors.Is(err, context.Canceled) || out.Len() > 0 {
		t.Errorf("%v, %q", err, out.String())
	}
}
