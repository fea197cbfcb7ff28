package contract_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This file holds the commands, the names and the Go in the documents against the
// code.

var command = regexp.MustCompile("\\bgo (run|test|vet|build)((?: +[^\\s`#]+)+)")

// TestCommandsInDocumentsAreRight: they are given at the root of the repository, the
// packages that they name exist, and the tests that they name are in these.
func TestCommandsInDocumentsAreRight(t *testing.T) {
	t.Chdir("..")
	defined, found := tests(t), 0
	for document, text := range documents(t) {
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			var packages []string
			for _, arg := range strings.Fields(m[2]) {
				if arg != "." && !strings.HasPrefix(arg, "./") {
					continue
				}
				found++
				packages = append(packages, arg)
				dir, all := strings.CutSuffix(arg, "...")
				if files, _ := filepath.Glob(filepath.Join(dir, "*.go")); len(files) == 0 && !all {
					t.Errorf("%s: in %q, there is no package %s", document, m[0], arg)
				}
				if _, err := os.Stat(dir); err != nil {
					t.Errorf("%s: in %q, there is no directory %s", document, m[0], dir)
				}
				if m[1] == "run" {
					break // what follows is the program's
				}
			}
			for _, m := range flagName.FindAllStringSubmatch(m[2], -1) {
				if !buildFlags[m[1]] && flag.Lookup("test."+m[1]) == nil && !definesFlag(t, packages, m[1]) {
					t.Errorf("%s: %v has no flag -%s", document, packages, m[1])
				}
			}
			for _, name := range testName.FindAllString(m[2], -1) {
				if !slices.ContainsFunc(defined[name], func(file string) bool { return covered(path.Dir(file), packages) }) {
					t.Errorf("%s: in %q, %s is not in %v", document, m[0], name, packages)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d packages found in commands", found)
	}
}

// covered reports whether a directory is among those that the patterns stand for.
func covered(dir string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		root, all := strings.CutSuffix(pattern, "...")
		root = path.Clean(root)
		return dir == root || all && (root == "." || strings.HasPrefix(dir, root+"/"))
	})
}

var (
	flagName   = regexp.MustCompile(` --?([a-z][\w.]*)`)
	buildFlags = map[string]bool{"race": true, "cover": true, "coverpkg": true}
)

// definesFlag reports whether a Go file of one of the packages defines a flag.
func definesFlag(t *testing.T, packages []string, name string) bool {
	t.Helper()
	definition := regexp.MustCompile(`\b(?:flag|flags)\.\w+\([^"\n]*"` + name + `"`)
	for _, dir := range packages {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if definition.MatchString(read(t, file)) {
				return true
			}
		}
	}
	return false
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	shell      = regexp.MustCompile("(?ms)^```(sh|console)\n(.*?)^```$")
	assignment = regexp.MustCompile(`^(?:[A-Z_]+=(?:'[^']*'|\S*) +)+`)
)

// TestCommandsInBlocksAreOfKindsThatAreChecked: go run, test, vet and build are
// checked above. Of the others, go get can work only once the module is public, and
// CI runs bash .ci/run; it also runs each example that a document runs.
func TestCommandsInBlocksAreOfKindsThatAreChecked(t *testing.T) {
	t.Chdir("..")
	module, _, _ := strings.Cut(strings.TrimPrefix(read(t, "go.mod"), "module "), "\n")
	known := regexp.MustCompile(`^(?:go (?:run|test|vet|build) .*|go version|go env .*|go get ` + regexp.QuoteMeta(module) + `|bash \.ci/run|bash \.ci/all(?: (\w+))?|cd compat/\w+)$`)
	ci, all, found := read(t, ".ci/run"), read(t, ".ci/all"), 0
	for document, text := range documents(t) {
		for _, block := range shell.FindAllStringSubmatch(text, -1) {
			for line := range strings.Lines(strings.ReplaceAll(block[2], "\\\n", "")) {
				line, isCommand := strings.CutPrefix(strings.TrimSpace(line), "$ ")
				if block[1] == "console" && !isCommand || line == "" {
					continue // what a command printed
				}
				line, _, _ = strings.Cut(line, " #")
				for c := range strings.SplitSeq(line, " && ") {
					found++
					c = strings.TrimSpace(assignment.ReplaceAllString(c, ""))
					m := known.FindStringSubmatch(c)
					switch {
					case m == nil:
						t.Errorf("%s: nothing checks the command %q", document, c)
					case m[1] != "" && !strings.Contains(all, "\n"+m[1]+"() {"):
						t.Errorf("%s: .ci/all has no stage %s", document, m[1])
					}
				}
			}
		}
		for _, m := range regexp.MustCompile(`go run (\./examples/\w+)`).FindAllStringSubmatch(text, -1) {
			if !strings.Contains(ci, m[0]) {
				t.Errorf("%s: CI does not run %s", document, m[1])
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d commands found in blocks", found)
	}
}

// exported are the exported names of a package, and as Type.Name those of its methods
// and fields.
func exported(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				prefix := ""
				if decl.Recv != nil {
					of := decl.Recv.List[0].Type
					if star, ok := of.(*ast.StarExpr); ok {
						of = star.X
					}
					if generic, ok := of.(*ast.IndexExpr); ok {
						of = generic.X
					}
					prefix = of.(*ast.Ident).Name + "."
				}
				names[prefix+decl.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						for _, id := range spec.Names {
							names[id.Name] = true
						}
					case *ast.TypeSpec:
						names[spec.Name.Name] = true
						if typ, ok := spec.Type.(*ast.StructType); ok {
							for _, field := range typ.Fields.List {
								for _, id := range field.Names {
									names[spec.Name.Name+"."+id.Name] = true
								}
							}
						}
					}
				}
			}
		}
	}
	return names
}

var (
	inPackage = regexp.MustCompile(`\b(snowtether|snowtest|debugpage|duckdb)\.([A-Z]\w*)`)
	inType    = regexp.MustCompile(`\b((?:Connector|Stats|Snapshot|SessionError)\.[A-Z]\w*)`)
)

// TestNamesInDocumentsExist: what they call by a package's name, and the methods and
// fields of the types that they speak of most.
func TestNamesInDocumentsExist(t *testing.T) {
	t.Chdir("..")
	names := map[string]map[string]bool{
		"snowtether": exported(t, "."), "snowtest": exported(t, "snowtest"),
		"debugpage": exported(t, "debugpage"), "duckdb": exported(t, "snowtest/duckdb"),
	}
	found := 0
	for document, text := range documents(t) {
		for _, m := range inPackage.FindAllStringSubmatch(text, -1) {
			if found++; !names[m[1]][m[2]] {
				t.Errorf("%s: there is no %s", document, m[0])
			}
		}
		for _, m := range inType.FindAllStringSubmatch(text, -1) {
			if found++; !names["snowtether"][m[1]] {
				t.Errorf("%s: there is no %s", document, m[0])
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d names found", found)
	}
}

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// TestGoInDocumentsIsGo: each block parses. Those of docs/adopting.md are code that
// examples/adopting runs; the others are like an Example of the package.
func TestGoInDocumentsIsGo(t *testing.T) {
	t.Chdir("..")
	imports := regexp.MustCompile(`(?m)^import .*$`)
	found := 0
	for document, text := range documents(t) {
		for _, block := range goBlock.FindAllStringSubmatch(text, -1) {
			found++
			code := strings.ReplaceAll(block[1], "…", "")
			if !strings.HasPrefix(code, "package ") && !regexp.MustCompile(`(?m)^(func|type) `).MatchString(code) {
				code = "func _() {\n" + imports.ReplaceAllString(code, "") + "\n}"
			}
			if !strings.HasPrefix(code, "package ") {
				code = "package p\n" + code
			}
			if _, err := parser.ParseFile(token.NewFileSet(), document, code, 0); err != nil {
				t.Errorf("%v in\n%s", err, block[1])
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d blocks found", found)
	}
}

// TestEveryOptionIsInAnExample: on the pages of the package.
func TestEveryOptionIsInAnExample(t *testing.T) {
	t.Chdir("..")
	var examples strings.Builder
	everyFile(t, "_test.go", func(name, text string) {
		if strings.HasPrefix(name, "example_") {
			examples.WriteString(text)
		}
	})
	options, _ := settings(t)
	for _, name := range append(options, "WithTxAttempts", "WithTxBackOff", "WithTxRetryIf") {
		if !strings.Contains(examples.String(), "snowtether."+name+"(") {
			t.Errorf("no example has %s", name)
		}
	}
}
