package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestMain makes the test program one process of the fleet where it is started as such.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == memberArg {
		main()
	}
	quiet()
	os.Exit(m.Run())
}

// redisAddress starts a redis-server for the test.
func redisAddress(t *testing.T) string {
	t.Helper()
	address, stop, err := startRedis(t.Context())
	if errors.Is(err, errNoRedis) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}

// TestTwentyProcessesWithAWrongPasswordAreRefusedOnce: real ones; and without the guard each
// of them is. Afterwards they log in at the rate, and everybody is served.
func TestTwentyProcessesWithAWrongPasswordAreRefusedOnce(t *testing.T) {
	var out, stderr bytes.Buffer
	args := []string{"-processes", "20", "-redis", redisAddress(t)}
	if status := run(t.Context(), args, &out, &stderr); status != 0 {
		t.Fatalf("status %d: %s%s", status, &out, &stderr)
	}
	t.Logf("\n%s", &out)
	var refused []int
	for _, m := range regexp.MustCompile(`refused (\d+) times`).FindAllStringSubmatch(out.String(), -1) {
		n, _ := strconv.Atoi(m[1])
		refused = append(refused, n)
	}
	if len(refused) != 2 || refused[0] < 20 || refused[1] != 1 {
		t.Errorf("refused %v times, want 20 or more, and once", refused)
	}
	if n := strings.Count(out.String(), "160 logins"); n != 2 {
		t.Errorf("it printed\n%s", &out)
	}
}

func TestStatusSaysWhatBecameOfIt(t *testing.T) {
	for _, test := range []struct {
		name, args, key string
		path            string // where redis-server is looked for
		interrupt       bool
		status          int
		says            string
	}{
		{"help", "-h", "", "", false, 0, "usage:"},
		{"a flag", "-unknown", "", "", false, 2, "fleet: flag provided but not defined: -unknown; -h lists the flags\n"},
		{"an argument", "run", "", "", false, 2, "fleet: there are no arguments, only flags\n"},
		{"no processes", "-processes 0", "", "", false, 2, "fleet: -processes must be"},
		{"no rate", "-rate 0", "", "", false, 2, "fleet: -rate must be"},
		{"a short key", "", "s3cret-key", "", false, 2, "fleet: FLEET_KEY: the key has 10 bytes, and must have 32 or more"},
		{"no redis-server", "", "", "/nowhere", false, 1, "fleet: redis-server is not installed: apt-get install redis-server, or -redis with the address of one\n"},
		{"nobody there", "-redis 127.0.0.1:1", "", "", false, 1, "fleet: the Redis at 127.0.0.1:1 does not answer: "},
		{"an interrupt", "-redis 127.0.0.1:1", "", "", true, 130, "fleet: interrupted\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.interrupt {
				cancel()
			}
			t.Setenv("FLEET_KEY", test.key)
			if test.path != "" {
				t.Setenv("PATH", test.path)
			}
			var stdout, stderr bytes.Buffer
			status := run(ctx, strings.Fields(test.args), &stdout, &stderr)
			if text := stderr.String(); status != test.status || stdout.Len() > 0 || !strings.Contains(text, test.says) || strings.Contains(text, "s3cret") {
				t.Errorf("status %d, it printed %q and %q", status, &stdout, text)
			}
		})
	}
}
