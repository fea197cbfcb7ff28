package contract

import (
	"bytes"
	"flag"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file holds what programs rely on against testdata/surface.txt, a line for each
// thing: exported names with their types and values, DSN parameters, events with their
// log lines, metrics, and the fields of the debug page's JSON. So a change of any of them
// is a line in the diff of two releases. RELEASING.md has the rule for such a change.

var updateSurface = flag.Bool("surface.update", false, "write testdata/surface.txt anew")

const surfaceFile = "testdata/surface.txt"

// released are the packages that programs import, by their directories.
var released = []string{".", "debugpage", "results", "snowtest", "snowtest/duckdb", "takeover", "takeover/gosnowflakev1"}

// TestNothingThatProgramsRelyOnChangesUnseen: what differs from the file has to be meant.
func TestNothingThatProgramsRelyOnChangesUnseen(t *testing.T) {
	var found []string
	for _, dir := range released {
		found = append(found, exportedNames(t, dir)...)
	}
	found = append(found, parameters(t)...)
	for heading, prefix := range map[string]string{
		"event | level | message | attributes": "log: ",
		"attribute | what it is":               "log attribute: ",
		"metric | kind | unit | attributes":    "metric: ",
		"in | fields":                          "debug page: ",
	} {
		found = append(found, rows(t, heading, prefix)...)
	}
	slices.Sort(found)
	found = slices.Compact(found)

	if *updateSurface {
		if err := os.WriteFile(surfaceFile, []byte(strings.Join(found, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(surfaceFile)
	if err != nil {
		t.Fatal(err)
	}
	written := strings.Split(strings.TrimSpace(string(text)), "\n")
	gone := slices.DeleteFunc(slices.Clone(written), func(line string) bool { return slices.Contains(found, line) })
	added := slices.DeleteFunc(slices.Clone(found), func(line string) bool { return slices.Contains(written, line) })
	if len(gone)+len(added) > 0 {
		t.Errorf("not as in contract/%s:\ngone\n\t%s\nadded\n\t%s\nIf that is meant, read \"What programs rely on\" in docs/releasing.md, then: go test -run '^%s$' ./contract -surface.update",
			surfaceFile, strings.Join(gone, "\n\t"), strings.Join(added, "\n\t"), t.Name())
	}
}

// exportedNames are the exported declarations of a package, one a line.
func exportedNames(t *testing.T, dir string) (lines []string) {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has no Go files: %v", dir, err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	path := strings.TrimSuffix("snowtether/"+filepath.ToSlash(dir), "/.")
	pkg, err := doc.NewFromFiles(fset, files, "github.com/snowtether/"+path)
	if err != nil {
		t.Fatal(err)
	}
	s := surface{fset: fset, prefix: path + ": "}
	s.values(pkg.Consts)
	s.values(pkg.Vars)
	s.functions(pkg.Funcs)
	for _, typ := range pkg.Types {
		s.values(typ.Consts)
		s.values(typ.Vars)
		s.functions(typ.Funcs)
		s.functions(typ.Methods)
		s.typ(typ.Decl)
	}
	return s.lines
}

// A surface collects the lines of one package.
type surface struct {
	fset   *token.FileSet
	prefix string
	lines  []string
}

var space = regexp.MustCompile(`\s+`)

// add adds a line: a few words, and nodes as Go writes them.
func (s *surface) add(parts ...any) {
	var line bytes.Buffer
	for _, part := range parts {
		if text, ok := part.(string); ok {
			line.WriteString(text)
		} else if err := printer.Fprint(&line, s.fset, part); err != nil {
			panic(err) // no node of a file that was parsed
		}
	}
	s.lines = append(s.lines, s.prefix+strings.TrimSpace(space.ReplaceAllString(line.String(), " ")))
}

func (s *surface) values(values []*doc.Value) {
	for _, value := range values {
		var last ast.Expr // a constant without a type of its own has that of the one before
		for i, spec := range value.Decl.Specs {
			spec := spec.(*ast.ValueSpec)
			if spec.Type != nil {
				last = spec.Type
			}
			for j, name := range spec.Names {
				if !name.IsExported() {
					continue
				}
				parts := []any{value.Decl.Tok.String(), " ", name.Name}
				if last != nil && len(spec.Values) == 0 {
					parts = append(parts, " ", last, " #", strconv.Itoa(i))
				} else if spec.Type != nil {
					parts = append(parts, " ", spec.Type)
				}
				if j < len(spec.Values) && value.Decl.Tok == token.CONST {
					parts = append(parts, " = ", spec.Values[j])
				}
				s.add(parts...)
			}
		}
	}
}

func (s *surface) functions(functions []*doc.Func) {
	for _, f := range functions {
		declared := *f.Decl
		declared.Doc, declared.Body = nil, nil
		s.add(&declared)
	}
}

// typ adds a type, and each of its exported fields or methods: one more is then one line.
func (s *surface) typ(declared *ast.GenDecl) {
	for _, spec := range declared.Specs {
		spec := spec.(*ast.TypeSpec)
		alias := ""
		if spec.Assign.IsValid() {
			alias = "= "
		}
		var members *ast.FieldList
		kind := ""
		switch typ := spec.Type.(type) {
		case *ast.StructType:
			members, kind = typ.Fields, "struct"
		case *ast.InterfaceType:
			members, kind = typ.Methods, "interface"
		default:
			s.add("type ", spec.Name.Name, " ", alias, spec.Type)
			continue
		}
		s.add("type ", spec.Name.Name, " ", alias, kind)
		for _, member := range members.List {
			for _, name := range member.Names {
				s.add("type ", spec.Name.Name, " ", kind, ", ", name.Name, " ", member.Type)
			}
			if len(member.Names) == 0 {
				s.add("type ", spec.Name.Name, " ", kind, ", ", member.Type)
			}
		}
	}
}

var parameter = regexp.MustCompile(`"(tether[A-Z][A-Za-z]*)"`)

// parameters are the DSN parameters that the driver's code names.
func parameters(t *testing.T) (lines []string) {
	t.Helper()
	names, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range parameter.FindAllStringSubmatch(content(t, name), -1) {
			lines = append(lines, "DSN parameter: "+m[1])
		}
	}
	if len(lines) < 10 {
		t.Errorf("only %d DSN parameters found", len(lines))
	}
	return lines
}

// rows are those of a table in docs/observability.md, which other tests hold against the
// code. Their last column is left out where it only explains.
func rows(t *testing.T, heading, prefix string) (lines []string) {
	t.Helper()
	_, rest, found := strings.Cut(content(t, "../docs/observability.md"), "\n| "+heading)
	if !found {
		t.Fatalf("docs/observability.md has no table %q", heading)
	}
	columns := strings.Count(heading, "|") + 1
	if strings.HasPrefix(heading, "attribute") {
		columns = 1
	}
	for _, row := range strings.Split(rest, "\n")[2:] { // below the heading and its rule
		if !strings.HasPrefix(row, "|") {
			break
		}
		cells := strings.Split(strings.Trim(row, "| "), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		lines = append(lines, prefix+strings.Join(cells[:min(columns, len(cells))], " | "))
	}
	return lines
}

func content(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
