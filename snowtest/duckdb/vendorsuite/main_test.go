package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a test is called follows from what it prints and how its process ends; a process
// that ends well without a result has not passed.
func TestATestPassesOnlyIfItSaysSo(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, tc := range []struct {
		name, output string
		err          error
		want         class
		why          string
	}{
		{"TestA", "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", nil, passed, ""},
		{"TestA", "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", failed, ours, "exit status 1"},
		{"TestA", "PASS\n", nil, ours, ""},
		{"TestA", "    a_test.go:3: not here\n--- SKIP: TestA (0.00s)\n", nil, skipped, "not here"},
		{"TestA", "    a_test.go:3: err: bad\n--- FAIL: TestA (0.00s)\n", failed, ours, "err: bad"},
		{"TestA", "    a_test.go:3: Unsupported feature 'structured type'.\n--- FAIL: TestA (0.00s)\n", failed, refused, ""},
		{"TestA", "panic: boom\n", failed, ours, "boom"},
		{"TestCrlE2E", "--- FAIL: TestCrlE2E (0.00s)\n", failed, outside, "certificates of a public host and their revocation lists"},
	} {
		o := judge(tc.name, tc.output, tc.err)
		if o.Class != tc.want || tc.why != "" && o.Why != tc.why {
			t.Errorf("%s with %q is %s (%s), want %s (%s)", tc.name, tc.output, o.Class, o.Why, tc.want, tc.why)
		}
	}
}

// A test logs in if it opens a DSN, itself or through what it calls.
func TestOnlyTestsThatLogInAreRun(t *testing.T) {
	dir := t.TempDir()
	source := `package x
func open() { sql.Open("snowflake", dsn) }
func TestMain() { open() }
func TestThrough() { run(func() { open() }) }
func TestOwn() { dsn := "x"; parse(dsn) }
func TestOpensItsOwn() { dsn, _ := DSN(cfg); sql.Open("snowflake", dsn) }
func TestAppends() { custom := dsn + "&a=b"; _ = custom }
func TestNone() { x.dsn() }
`
	if err := os.WriteFile(filepath.Join(dir, "x_test.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := liveTests(dir)
	if want := []string{"TestAppends", "TestOpensItsOwn", "TestThrough"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestAWrongFlagSaysWhatWouldBeRight(t *testing.T) {
	for _, tc := range [][]string{{"-run", "("}, {"TestX"}, {"-limit", "0s"}, {"-jobs", "0"}} {
		_, err := parse(tc)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v", tc, err)
		}
	}
}
