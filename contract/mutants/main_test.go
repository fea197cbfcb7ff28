package main

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// larger is a package whose mutants are known: its condition is always or never true, or has its
// boundary on the other side (which makes no difference), and each result is zero.
const larger = `package p

func Larger(a, b int) int {
	if a > b {
		return a
	}
	return b
}
`

// boundary is the mutant that no test can kill: of two equal numbers either is the larger.
const boundary = "p/p.go Larger: `a > b` has >=\n\tOf two equal numbers either is the larger.\n"

// inModule makes a module whose package p is this file, and more, the folder of the test.
func inModule(t *testing.T, p string, more map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	files := map[string]string{"go.mod": "module example.com/m\n\ngo 1.25\n", "p/p.go": p}
	maps.Copy(files, more)
	if err := os.Mkdir("p", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// tryLarger tries the mutants of larger with this test, and gives what the command prints.
func tryLarger(t *testing.T, test, decided string, what ...string) (string, error) {
	t.Helper()
	inModule(t, larger, map[string]string{"p/p_test.go": "package p\n\nimport \"testing\"\n\nfunc TestLarger(t *testing.T) {\n" + test + "\n}\n"})
	var out strings.Builder
	err := run(&out, decided, what, 0, 1)
	return out.String(), err
}

const (
	weak   = "if Larger(2, 1) != 2 { t.Fail() }"
	strong = weak + "\nif Larger(1, 2) != 2 { t.Fail() }"
)

// TestWhatNoTestSeesIsPrinted: and fails the run.
func TestWhatNoTestSeesIsPrinted(t *testing.T) {
	for _, what := range []string{"p", "p/p.go"} {
		out, err := tryLarger(t, weak, "", what)
		if err == nil {
			t.Errorf("%s: a run with survivors succeeded", what)
		}
		const want = `p/p.go:4: survives:
p/p.go Larger: ` + "`a > b` is true in `if a > b {`" + `
p/p.go:4: survives:
p/p.go Larger: ` + "`a > b` has >=" + `
p/p.go:7: survives:
p/p.go Larger: ` + "`return b` returns its zero value for `b`" + `
p: 5 mutants, 2 killed, 0 explained, 3 survivors
`
		if out != want {
			t.Errorf("%s: it prints\n%s, want\n%s", what, out, want)
		}
	}
}

// TestDecisionsAreHeldToTheMutants: a mutant that is explained may live, and nothing else may be
// explained.
func TestDecisionsAreHeldToTheMutants(t *testing.T) {
	for name, tt := range map[string]struct{ decided, want string }{
		"explained":   {boundary, ""},
		"killed":      {boundary + "p/p.go Larger: `a > b` is true in `if a > b {`\n\tNo reason.\n", "killed, but decisions.txt says that it lives"},
		"not made":    {boundary + "p/p.go Smaller: `a < b` has <=\n\tNo reason.\n", "no such mutant"},
		"elsewhere":   {boundary + "q/q.go Larger: `a > b` has >=\n\tNot looked at.\n", ""},
		"no reason":   {boundary + "p/p.go Larger: `a > b` is true in `if a > b {`", "needs one line with a reason"},
		"said twice":  {boundary + boundary, "the name is there twice"},
		"undecided":   {"", "survives"},
		"only spaces": {strings.Replace(boundary, "Of two", "\t \n\tOf two", 1), "needs one line with a reason"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := tryLarger(t, strong, tt.decided, "p")
			if err != nil {
				out += err.Error()
			}
			if (err != nil) != (tt.want != "") || !strings.Contains(out, tt.want) {
				t.Errorf("it prints %q, want %q", out, tt.want)
			}
		})
	}
}

// TestTestsThatFailShowNothing: without a mutant they have to pass.
func TestTestsThatFailShowNothing(t *testing.T) {
	if _, err := tryLarger(t, "t.Fail()", "", "p"); err == nil || !strings.Contains(err.Error(), "fail without a mutant") {
		t.Errorf("the error is %v", err)
	}
}

// TestKindsOfMutants: each change that the command makes, by its name.
func TestKindsOfMutants(t *testing.T) {
	inModule(t, `package p

func kinds(n int, s string) (string, bool) {
	if n < 2 && s != "" {
		n++
	}
	switch n {
	case 4, 5:
		return s, true
	}
	return "", false
}
`, nil)
	mutants, _, err := mutate("p")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range mutants {
		got = append(got, strings.TrimPrefix(m.name, "p/p.go kinds: "))
	}
	want := []string{
		"`n < 2 && s != \"\"` is true in `if n < 2 && s != \"\" {`",
		"`n < 2 && s != \"\"` is false in `if n < 2 && s != \"\" {`",
		"`n < 2` is true in `n < 2 && s != \"\"`",
		"`n < 2` has <=",
		"2 is one more in `if n < 2 && s != \"\" {`",
		"2 is one less in `if n < 2 && s != \"\" {`",
		"`s != \"\"` is true in `n < 2 && s != \"\"`",
		"`n++` is left out",
		"`case 4` never holds",
		"4 is one more in `case 4, 5:`",
		"4 is one less in `case 4, 5:`",
		"`case 5` never holds",
		"5 is one more in `case 4, 5:`",
		"5 is one less in `case 4, 5:`",
		"`return s, true` returns its zero value for `s`",
		"`true` is false in `return s, true`",
		"`false` is true in `return \"\", false`",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the mutants are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
