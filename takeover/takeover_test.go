package takeover_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

// This file builds and runs whole programs, because what they are about happens before a
// test can begin: the order in which packages are initialised.

// variables are what gosnowflake v2 and v1 read.
var variables = []string{"GOSNOWFLAKE_SKIP_REGISTRATION", "GOSNOWFLAKE_SKIP_REGISTERATION"}

// build builds the program in testdata/name.
func build(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name+".exe")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", program, "./testdata/"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// run runs a program with these variables, and none of gosnowflake's besides.
func run(t *testing.T, program string, env []string, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(variables, name)
	}), env...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err = cmd.Run()
	return both.String(), err
}

// A dependency that imports gosnowflake and opens "snowflake" gets snowtether: the session
// that ends under it is replaced. The program and the dependency know nothing of that, but
// for one import in package main; and the programs that it starts see nothing of it.
func TestADependencyThatOpensSnowflakeGetsSnowtether(t *testing.T) {
	srv := snowtest.New(t)
	program := build(t, "program")
	for _, tt := range []struct {
		name, says string
		env        []string
	}{
		{"nothing was set", "unset unset", nil},
		{"both were set", "yes 1", []string{variables[0] + "=yes", variables[1] + "=1"}},
		{"one was set, and empty", "empty unset", []string{variables[0] + "="}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := run(t, program, tt.env, srv.DSN())
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{"driver snowtether.Driver", "connector found", "variables " + tt.says} {
				if !strings.Contains(out, want+"\n") {
					t.Errorf("the program did not say %q but:\n%s", want, out)
				}
			}
		})
	}
}

// What the package rests on: it needs nothing but os, so that Go initialises it before
// net/http, for which gosnowflake waits.
func TestItIsInitialisedBeforeGosnowflake(t *testing.T) {
	deps := func(path string) []string {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(out))
	}
	const skip = "github.com/snowtether/snowtether/takeover/internal/skip"
	of, needed := deps("os"), deps(skip)
	for _, path := range needed {
		if path != skip && !slices.Contains(of, path) {
			t.Errorf("it needs %s, which os does not", path)
		}
	}
	if !slices.Contains(deps("github.com/snowflakedb/gosnowflake/v2"), "net/http") || !slices.Contains(deps("net/http"), "os") || skip > "net/http" {
		t.Error("gosnowflake does not wait for net/http, or net/http for os, or it sorts before the package")
	}

	// And the package that looks whether both versions are there comes between the two.
	const twice, vendored = "github.com/snowtether/snowtether/internal/twice", "vendor/golang.org/x/net/http/httpguts"
	for _, path := range deps(twice) {
		if path > vendored {
			t.Errorf("%s needs %s, which sorts after %s", twice, path, vendored)
		}
	}
	if !slices.Contains(deps("net/http"), vendored) || !slices.Contains(deps(twice), "runtime/debug") || !slices.Contains(deps("runtime/debug"), "os") || skip > "runtime/debug" {
		t.Errorf("net/http does not wait for %s, or %s not for runtime/debug and os", vendored, twice)
	}

	out, err := run(t, build(t, "program"), []string{"GODEBUG=inittrace=1"}, "none")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	at := func(path string) int { return strings.Index(out, "init "+path+" @") }
	if ours, http, inner := at(skip), at("net/http"), at("github.com/snowflakedb/gosnowflake/v2"); ours < 0 || http < ours || inner < http {
		t.Errorf("initialised at %d, net/http at %d, gosnowflake at %d:\n%s", ours, http, inner, out)
	}
}

// Something else that registers the name is found when the program starts, and the one line
// says what to do.
func TestANameThatIsTakenIsOnePanic(t *testing.T) {
	out, err := run(t, build(t, "taken"), nil)
	if err == nil {
		t.Fatalf("it started:\n%s", out)
	}
	for _, want := range []string{
		`panic: github.com/snowtether/snowtether/takeover: "snowflake" has been registered by something else`,
		"remove the one or upgrade the other",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}
