package contract_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// This file holds the documents against the files, tests, commands and settings
// that they name.

// documents are the texts of all .md files, by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	everyFile(t, ".md", func(name, text string) { texts[name] = text })
	if len(texts) < 5 {
		t.Fatalf("only %d documents found: %v", len(texts), slices.Collect(maps.Keys(texts)))
	}
	return texts
}

// everyFile calls f with the path, with slashes, and the text of each file whose
// name ends so.
func everyFile(t *testing.T, ending string, f func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ending) {
			return err
		}
		text, err := os.ReadFile(name)
		if err == nil {
			f(filepath.ToSlash(name), string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Example|Benchmark)[A-Z]\w+`)
	testFunc = regexp.MustCompile(`(?m)^func (\w+)\(`)
)

// tests says in which files a test, fuzz target, example or benchmark of a name is
// defined.
func tests(t *testing.T) map[string][]string {
	t.Helper()
	in := map[string][]string{}
	everyFile(t, "_test.go", func(name, text string) {
		for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
			in[m[1]] = append(in[m[1]], name)
		}
	})
	return in
}

var (
	link    = regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]*))?[^)]*\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

// TestDocumentsNameWhatExists: every test that a document names, and every file and
// heading that it links to.
func TestDocumentsNameWhatExists(t *testing.T) {
	t.Chdir("..")
	texts, defined := documents(t), tests(t)
	for document, text := range texts {
		for _, name := range testName.FindAllString(text, -1) {
			if defined[name] == nil {
				t.Errorf("%s names %s, which does not exist", document, name)
			}
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			target := document
			if m[1] != "" {
				target = path.Join(path.Dir(document), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which does not exist", document, m[1])
				continue
			}
			if linked, isDocument := texts[target]; isDocument && m[2] != "" && !slices.Contains(anchors(linked), m[2]) {
				t.Errorf("%s links to #%s of %s, which has no such heading", document, m[2], target)
			}
		}
	}
}

// anchors are what the headings of a document are linked to by.
func anchors(text string) (anchors []string) {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		anchors = append(anchors, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(m[1])))
	}
	return anchors
}

// TestReadmeIsReadInFiveMinutes: a stranger does not scroll for what it is.
func TestReadmeIsReadInFiveMinutes(t *testing.T) {
	t.Chdir("..")
	text := documents(t)["README.md"]
	if lines, words := strings.Count(text, "\n"), len(strings.Fields(text)); lines > 120 || words > 1400 {
		t.Errorf("README.md has %d lines and %d words, and may have 120 and 1400", lines, words)
	}
}

// TestSettingsDocumentHasEverySetting: each option and each parameter of the DSN is in its
// table, and nothing else is.
func TestSettingsDocumentHasEverySetting(t *testing.T) {
	t.Chdir("..")
	var options, params []string
	for _, row := range table(t, "docs/settings.md", "option") {
		for _, term := range terms(row[0]) {
			name, _, _ := strings.Cut(term, "(")
			options = append(options, name)
		}
		params = append(params, terms(row[1])...)
	}
	slices.Sort(options)
	slices.Sort(params)
	wantOptions, wantParams := settings(t)
	if !slices.Equal(options, wantOptions) {
		t.Errorf("docs/settings.md has the options\n%v, the package\n%v", options, wantOptions)
	}
	if !slices.Equal(params, wantParams) {
		t.Errorf("docs/settings.md has the parameters\n%v, the package\n%v", params, wantParams)
	}
}

// settings are the functions of options.go that return an Option and the keys of
// dsnParams, sorted.
func settings(t *testing.T) (options, params []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "options.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if res := n.Type.Results; n.Name.IsExported() && res != nil {
				if id, ok := res.List[0].Type.(*ast.Ident); ok && id.Name == "Option" {
					options = append(options, n.Name.Name)
				}
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.BasicLit); ok && key.Kind == token.STRING {
				name, err := strconv.Unquote(key.Value)
				if err != nil {
					t.Fatal(err)
				}
				params = append(params, name)
			}
		}
		return true
	})
	slices.Sort(options)
	slices.Sort(params)
	return options, params
}

// TestContributingHasEveryFile: each Go file of the root package and each package
// below it is in a table, but for a test file whose namesake is. The programs in testdata are
// their package's.
func TestContributingHasEveryFile(t *testing.T) {
	t.Chdir("..")
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			listed[m[1]] = true
			if dir := path.Dir(m[1]); dir != "." {
				listed[dir] = true
			}
		}
	}
	everyFile(t, ".go", func(name, _ string) {
		if dir := path.Dir(name); dir != "." {
			name, _, _ = strings.Cut(dir, "/testdata")
		}
		namesake := strings.TrimSuffix(name, "_test.go") + ".go"
		if !listed[name] && !listed[namesake] {
			t.Errorf("CONTRIBUTING.md has no row for %s", name)
			listed[name] = true // once is enough
		}
	})
}

var (
	section = regexp.MustCompile(`(?m)^## (.+)\n`)
	shownBy = regexp.MustCompile(`(?m)^Tests: .*`)
	holds   = regexp.MustCompile(`(?m)^// (.+?) \(docs/guarantees\.md\):`)
)

// TestGuaranteesNameTheFilesOfTheirTests: each section of docs/guarantees.md names, below its
// heading, the files of contract in which its tests stand, and those whose first comment says
// that they hold its guarantee; and the document names each test of these. A test that stands
// elsewhere is found by the package that it is in.
func TestGuaranteesNameTheFilesOfTheirTests(t *testing.T) {
	t.Chdir("..")
	texts, defined := documents(t), tests(t)
	text := texts["docs/guarantees.md"]
	named := testName.FindAllString(text, -1)
	files := map[string][]string{} // by the title of their section
	starts := section.FindAllStringSubmatchIndex(text, -1)
	for i, at := range starts {
		title, body := text[at[2]:at[3]], text[at[1]:]
		if i+1 < len(starts) {
			body = text[at[1]:starts[i+1][0]]
		}
		for _, m := range link.FindAllStringSubmatch(shownBy.FindString(body), -1) {
			files[title] = append(files[title], path.Join("docs", m[1]))
		}
		for _, name := range testName.FindAllString(body, -1) {
			for _, in := range defined[name] {
				if path.Dir(in) == "contract" && !slices.Contains(files[title], in) {
					t.Errorf("the section %q names %s and not %s, where it stands", title, name, in)
				}
			}
		}
	}
	everyFile(t, "_test.go", func(name, text string) {
		if path.Dir(name) != "contract" {
			return
		}
		if m := holds.FindStringSubmatch(text); m != nil {
			if !slices.Contains(files[m[1]], name) {
				t.Errorf("%s says that it holds %q, a section that does not name it", name, m[1])
			}
			for _, f := range testFunc.FindAllStringSubmatch(text, -1) {
				if testName.MatchString(f[1]) && !slices.Contains(named, f[1]) {
					t.Errorf("docs/guarantees.md does not name %s of %s", f[1], name)
				}
			}
		} else if !strings.Contains(texts["CONTRIBUTING.md"], "("+name+")") {
			t.Errorf("%s neither says which section of docs/guarantees.md it holds nor is in CONTRIBUTING.md", name)
		}
	})
}
