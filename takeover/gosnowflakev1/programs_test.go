package gosnowflakev1_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

// This file builds and runs whole programs: what they are about is the order in which
// packages are initialised.

// build builds the program in testdata/name.
func build(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name+".exe")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", program, "./testdata/"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// run runs a program with these variables, and none of gosnowflake's besides.
func run(t *testing.T, program string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOSNOWFLAKE_SKIP") }), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A dependency that is on gosnowflake v1 and opens "snowflake" gets snowtether around v1: its
// errors are v1's. The programs that it starts see nothing of how.
func TestADependencyOnV1GetsSnowtetherAroundV1(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle(`^SELEC `, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, &snowtest.Error{Code: "001003", SQLState: "42000", Message: "syntax error"}
	})
	program := build(t, "program")
	out, err := run(t, program, nil, srv.DSN()+"&tetherMaxLogins=2&disableTelemetry=true")
	if err != nil || !strings.Contains(out, "number 1003\n") || strings.Contains(out, "set:") {
		t.Errorf("%v\n%s", err, out)
	}

	out, err = run(t, program, []string{"GODEBUG=inittrace=1"})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	at := func(path string) int { return strings.Index(out, "init "+path+" @") }
	ours, http := at("github.com/snowtether/snowtether/takeover/internal/skip"), at("net/http")
	for _, inner := range []string{"github.com/snowflakedb/gosnowflake", "github.com/snowflakedb/gosnowflake/v2"} {
		if ours < 0 || http < ours || at(inner) < http {
			t.Errorf("initialised at %d, net/http at %d, %s at %d:\n%s", ours, http, inner, at(inner), out)
		}
	}
}

// One of the two packages at a time: the other's users would have the wrong gosnowflake.
func TestBothPackagesInOneProgramAreOnePanic(t *testing.T) {
	out, err := run(t, build(t, "both"), nil)
	if err == nil {
		t.Fatalf("it started:\n%s", out)
	}
	line, _, _ := strings.Cut(out, "\n")
	for _, want := range []string{
		"panic: github.com/snowtether/snowtether/takeover", "is in the program too", "only one of them can be behind the name \"snowflake\"",
		"github.com/snowtether/snowtether/takeover for v2", "github.com/snowtether/snowtether/takeover/gosnowflakev1 for v1",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("the first line does not say %q:\n%s", want, out)
		}
	}
}

// A program with takeover, on v2, and a dependency on v1 starts as well: v1 is kept from the
// name too. What the dependency opens by it is v2, so v1's errors are not found.
func TestAProgramOnV2WithADependencyOnV1Starts(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle(`^SELEC `, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, &snowtest.Error{Code: "001003", SQLState: "42000", Message: "syntax error"}
	})
	out, err := run(t, build(t, "mixed"), nil, srv.DSN())
	if err != nil || !strings.Contains(out, "number 0\n") || strings.Contains(out, "set:") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Where both versions are in a program and neither package is, the panic says what to do, and
// not only that a name is registered twice. With one of the variables the program starts.
func TestBothVersionsWithoutTakeoverAreOneLineThatSaysWhatToDo(t *testing.T) {
	program := build(t, "twice")
	out, err := run(t, program, nil)
	line, _, _ := strings.Cut(out, "\n")
	if err == nil {
		t.Error("it started")
	}
	for _, want := range []string{"panic: snowtether: ", "v1 and v2 are both in this program", "/takeover/gosnowflakev1", "GOSNOWFLAKE_SKIP_REGISTERATION=true", "GOSNOWFLAKE_SKIP_REGISTRATION=true"} {
		if !strings.Contains(line, want) {
			t.Errorf("the first line does not say %q:\n%s", want, out)
		}
	}
	for _, name := range []string{"GOSNOWFLAKE_SKIP_REGISTRATION", "GOSNOWFLAKE_SKIP_REGISTERATION"} {
		if out, err := run(t, program, []string{name + "=1"}); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
