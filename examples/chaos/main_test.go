package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// output is a writer for run, which writes from several goroutines. It calls seen
// once, when what was written contains trigger.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	trigger string
	seen    func()
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.buf.Write(p)
	if o.seen != nil && strings.Contains(o.buf.String(), o.trigger) {
		o.seen()
		o.seen = nil
	}
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// cells are the numbers of a line of the table: gosnowflake, the shim, snowtether.
func cells(t *testing.T, table, label string) []int {
	t.Helper()
	for line := range strings.Lines(table) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), label+" ")
		if !ok {
			continue
		}
		var numbers []int
		for _, field := range strings.Fields(rest) {
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			numbers = append(numbers, n)
		}
		return numbers
	}
	t.Fatalf("no line %q in:\n%s", label, table)
	return nil
}

func TestNothingRunsTwiceOrIsLostThroughSnowtether(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chaos.svg")
	var stdout, stderr output
	if status := run(t.Context(), []string{"-duration", "4s", "-svg", file}, "", &stdout, &stderr); status != 0 {
		t.Fatalf("status %d\n%s%s", status, &stdout, &stderr)
	}
	table := stdout.String()
	for _, label := range []string{"ran twice", "lost without an error", "failed, although it ran"} {
		if got := cells(t, table, label); got[2] != 0 {
			t.Errorf("%s: %d through snowtether", label, got[2])
		}
	}
	if got, all := cells(t, table, "statements"), 4*8*perWorker; !slices.Equal(got, []int{all, all, all}) {
		t.Errorf("%v statements, want %d each", got, all)
	}
	ok, failed, logins := cells(t, table, "succeeded"), cells(t, table, "failed"), cells(t, table, "logins")
	if failed[0] < ok[0] || logins[0] != 8 {
		t.Errorf("gosnowflake: %d succeeded, %d failed, %d logins: nothing was put to the test", ok[0], failed[0], logins[0])
	}
	if ok[2] <= ok[0] || logins[2] <= 8 {
		t.Errorf("snowtether: %d succeeded, gosnowflake: %d; %d logins", ok[2], ok[0], logins[2])
	}
	for _, k := range kinds {
		if n := strings.Count(stderr.String(), k.String()); n != 1 {
			t.Errorf("%v struck %d times", k, n)
		}
	}
	svg, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	texts := wellFormed(t, svg)
	for _, d := range drivers {
		if !slices.Contains(texts, d.title) {
			t.Errorf("the chart does not name %s", d.title)
		}
	}
	if t.Failed() {
		t.Logf("%s%s", table, &stderr)
	}
}

func TestInterruptEndsTheRunWithTheTable(t *testing.T) {
	for _, k := range []int{0, 6, 7} { // in a moment; while logins fail; while the server stalls
		t.Run(kinds[k].detail, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stdout output
			stderr := output{trigger: kinds[k].String(), seen: cancel}
			if status := run(ctx, []string{"-duration", "6s", "-workers", "4"}, "", &stdout, &stderr); status != 130 {
				t.Errorf("status %d", status)
			}
			if !strings.HasSuffix(stderr.String(), "chaos: interrupted\n") {
				t.Errorf("it does not say why it ended:\n%s", &stderr)
			}
			table := stdout.String()
			for i, n := range cells(t, table, "statements") {
				if n == 0 || n >= 6*4*perWorker {
					t.Errorf("%s: %d statements", drivers[i].name, n)
				}
				if told := cells(t, table, "succeeded")[i] + cells(t, table, "failed")[i] + cells(t, table, "in doubt")[i]; told != n {
					t.Errorf("%s: %d of %d statements have an outcome", drivers[i].name, told, n)
				}
			}
			if twice, lost := cells(t, table, "ran twice"), cells(t, table, "lost without an error"); twice[2] != 0 || lost[2] != 0 {
				t.Errorf("through snowtether %d ran twice, %d were lost", twice[2], lost[2])
			}
		})
	}
}

func TestInterruptBeforeTheFirstStatementTouchesNoFile(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old.svg")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, file := range []string{old, filepath.Join(dir, "new.svg")} {
		var stdout, stderr output
		if status := run(ctx, []string{"-svg", file}, "", &stdout, &stderr); status != 130 || stdout.String() != "" {
			t.Errorf("status %d, it printed %q", status, &stdout)
		}
		if stderr.String() != "chaos: interrupted\n" {
			t.Errorf("it said %q", &stderr)
		}
	}
	files, err := os.ReadDir(dir)
	if text, readErr := os.ReadFile(old); err != nil || readErr != nil || string(text) != "old" || len(files) != 1 {
		t.Errorf("the old file holds %q, %v; there are %v, %v", text, readErr, files, err)
	}
}

func TestAccountIsLeftAlone(t *testing.T) {
	account := snowtest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stderr := output{trigger: "statements a second", seen: cancel} // the sessions are open
	run(ctx, nil, account.DSN(), &output{}, &stderr)
	if n := len(account.Stats().Requests); n != 0 {
		t.Errorf("the account got %d kinds of requests", n)
	}
	said := stderr.String()
	if !strings.Contains(said, "SNOWFLAKE_DSN is ignored") || strings.Contains(said, account.User()+":") {
		t.Errorf("it said %s", said)
	}
}

func TestFlags(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"-h"}, 0, "usage:"},
		{[]string{"-unknown"}, 2, "-unknown"},
		{[]string{"-duration", "soon"}, 2, "-duration"},
		{[]string{"-duration", "999ms"}, 2, "-duration"},
		{[]string{"-duration", "11m"}, 2, "-duration"},
		{[]string{"-workers", "0"}, 2, "-workers"},
		{[]string{"-workers", "33"}, 2, "-workers"},
		{[]string{"-seed", "-1"}, 2, "-seed"},
		{[]string{"-svg", filepath.Join(dir, "none", "c.svg")}, 2, "-svg: open "},
		{[]string{"-svg", filepath.Join(file, "c.svg")}, 2, "not a directory"},
		{[]string{"-svg", dir}, 2, "is a directory"},
		{[]string{"chaos.svg"}, 2, "arguments"},
	} {
		var stdout, stderr output
		if got := run(t.Context(), test.args, "", &stdout, &stderr); got != test.status {
			t.Errorf("%v: status %d, want %d", test.args, got, test.status)
		}
		if !strings.Contains(stderr.String(), test.says) || stdout.String() != "" {
			t.Errorf("%v: stderr %q, stdout %q", test.args, &stderr, &stdout)
		}
		if test.status == 2 && strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%v: more than one line: %s", test.args, &stderr)
		}
	}
}

// On a terminal the counters are written over, elsewhere each line stands alone.
func TestCountersOnATerminalAreWrittenOver(t *testing.T) {
	srv := snowtest.New(t)
	var w output
	l := &live{w: &w, terminal: true, begun: time.Now(), lanes: []*lane{{name: "one", srv: srv}, {name: "two", srv: srv}}}
	l.lanes[1].counts[inDoubt].Add(3)
	l.print("")
	l.struck(fault{kind: kinds[0], at: time.Second})
	parts := strings.Split(w.String(), "\x1b[2A\x1b[J")
	if len(parts) != 2 {
		t.Fatalf("the two lines were not written over: %q", &w)
	}
	if lines := strings.Split(parts[1], "\n"); len(lines) != 4 || !strings.Contains(lines[0], "session tokens expire") ||
		!strings.Contains(lines[1], "one") || !strings.Contains(lines[2], "3 in doubt") {
		t.Errorf("it wrote %q", parts[1])
	}

	w = output{}
	l.terminal = false
	l.print("")
	l.struck(fault{kind: kinds[0]})
	if out := w.String(); strings.Contains(out, "\x1b") || strings.Count(out, "\n") != 3 {
		t.Errorf("it wrote %q", out)
	}
}
