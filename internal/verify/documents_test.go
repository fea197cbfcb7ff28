package verify_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/internal/verify"
)

// This file holds docs/guarantees.md against what is believed.

const document = "../../docs/guarantees.md"

var rewrite = flag.Bool("rewrite", false, "write the table of docs/guarantees.md anew")

func rows() (list []string) {
	for _, b := range verify.Beliefs {
		safety := "no"
		if b.Safety {
			safety = "**yes**"
		}
		list = append(list, fmt.Sprintf("| `%s` | %s | %s | %s | %s |", b.Name, b.Claim, safety, b.IfWrong, b.Evidence))
	}
	return list
}

// TestDocumentsHaveWhatIsBelieved: docs/guarantees.md has the same beliefs in the same words,
// each with its evidence. `go test ./internal/verify -run Documents -rewrite` writes the table.
func TestDocumentsHaveWhatIsBelieved(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	const heading = "\n## What is believed of Snowflake\n"
	before, section, found := strings.Cut(string(text), heading)
	if !found {
		t.Fatalf("%s has no section%s", document, heading)
	}
	section, after, more := strings.Cut(section, "\n## ")
	if more {
		after = "\n## " + after
	}
	var got, prose []string
	for line := range strings.Lines(section) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "| `") {
			got = append(got, line)
		} else {
			prose = append(prose, line)
		}
	}
	if *rewrite {
		at := slices.IndexFunc(prose, func(line string) bool { return strings.HasPrefix(line, "|---") }) + 1
		section = strings.Join(slices.Concat(prose[:at], rows(), prose[at:]), "\n") + "\n"
		if err := os.WriteFile(document, []byte(before+heading+section+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := rows()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("row %d of the table is not that of the list (-rewrite writes it):\n%v\n%v", i, at(got, i), at(want, i))
		}
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "none"
}

// TestBeliefsThatDocumentsNameExist: those after the word "belief".
func TestBeliefsThatDocumentsNameExist(t *testing.T) {
	found := 0
	for _, file := range []string{document, "../../docs/adopting.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("\\bbelief `([^`]+)`").FindAllStringSubmatch(string(text), -1) {
			found++
			if !slices.ContainsFunc(verify.Beliefs, func(b verify.Belief) bool { return b.Name == m[1] }) {
				t.Errorf("%s names %s, which is no belief", file, m[1])
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d found", found)
	}
}

// TestEveryBeliefIsComplete: each says what it means, and by whom it is confirmed; each check
// settles some, and each name is one word in lower case.
func TestEveryBeliefIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range verify.Beliefs {
		if seen[b.Name] || b.Name != strings.ToLower(b.Name) || strings.ContainsAny(b.Name, " |`") {
			t.Errorf("the name %q is not one of its own", b.Name)
		}
		seen[b.Name] = true
		for _, text := range []string{b.Claim, b.IfWrong, b.Evidence} {
			if !strings.HasSuffix(text, ".") || strings.ContainsAny(text, "|\n") {
				t.Errorf("%s: %q is no sentence", b.Name, text)
			}
		}
		if !slices.Contains(verify.Names(), b.Check) {
			t.Errorf("%s: there is no check %q", b.Name, b.Check)
		}
	}
	for _, name := range verify.Names() {
		if !slices.ContainsFunc(verify.Beliefs, func(b verify.Belief) bool { return b.Check == name }) {
			t.Errorf("the check %s settles nothing", name)
		}
	}
}
