package contract_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This file holds docs/dependencies.md against the go.mod files and against what is
// linked into a program.

// TestEveryDirectDependencyIsDocumented: with its version, and with a reason, a
// licence and the state of its upkeep; and no row is left of one that is gone.
func TestEveryDirectDependencyIsDocumented(t *testing.T) {
	t.Chdir("..")
	for heading, dir := range map[string]string{"root": ".", "snowtest/duckdb": "snowtest/duckdb", "examples": "examples"} {
		documented := map[string]string{}
		for _, row := range table(t, "docs/dependencies.md", heading) {
			if len(row) != 5 || slices.Contains(row, "") || len(terms(row[0])) != 1 {
				t.Errorf("the row %q of %q is not complete", row, heading)
				continue
			}
			documented[terms(row[0])[0]] = row[1]
		}
		direct := required(t, dir)
		for module, version := range direct {
			if documented[module] != version {
				t.Errorf("%s/go.mod requires %s %s; docs/dependencies.md has it as %q", dir, module, version, documented[module])
			}
		}
		for module := range documented {
			if direct[module] == "" {
				t.Errorf("docs/dependencies.md has %s, which %s/go.mod does not require directly", module, dir)
			}
		}
	}
}

// required are the modules that a go.mod file requires directly, without this
// repository's own, and their versions.
func required(t *testing.T, dir string) map[string]string {
	t.Helper()
	var file struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
	}
	if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json", filepath.Join(dir, "go.mod")), &file); err != nil {
		t.Fatal(err)
	}
	direct := map[string]string{}
	for _, r := range file.Require {
		if !r.Indirect && !strings.HasPrefix(r.Path, own) {
			direct[r.Path] = r.Version
		}
	}
	return direct
}

const own = "github.com/snowtether/snowtether"

func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			t.Fatalf("go %s: %s", strings.Join(args, " "), exit.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

// TestCompatibilityHasEveryProject: docs/compatibility.md has a row, with its version, for each
// project that the modules in compat have on top, and for each client that judges the server.
func TestCompatibilityHasEveryProject(t *testing.T) {
	t.Chdir("..")
	text, err := os.ReadFile("docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"compat/projects", "compat/unchanged"} {
		for module, version := range required(t, dir) {
			if strings.Contains(module, "/gosnowflake") || strings.HasSuffix(module, "/vault/sdk") {
				continue
			}
			if !strings.Contains(string(text), "\n| `"+module+"` | "+version+" | ") {
				t.Errorf("docs/compatibility.md has no row for %s %s", module, version)
			}
		}
	}
	var node struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	if file, err := os.ReadFile("compat/node/package.json"); err != nil || json.Unmarshal(file, &node) != nil || len(node.Dependencies) == 0 {
		t.Fatalf("compat/node/package.json: %v, %v", node, err)
	}
	for client, version := range node.Dependencies {
		if !regexp.MustCompile("\n\\| `" + client + "`[^|]* \\| " + regexp.QuoteMeta(version) + " \\| ").Match(text) {
			t.Errorf("docs/compatibility.md has no row for %s %s", client, version)
		}
	}
}

// TestAdoptersGetFewModules: what the driver and snowtest link into a program that
// uses gosnowflake already.
func TestAdoptersGetFewModules(t *testing.T) {
	t.Chdir("..")
	var documented []string
	for _, row := range table(t, "docs/dependencies.md", "linked in addition") {
		documented = append(documented, terms(row[0])...)
	}
	there := linked(t, "github.com/snowflakedb/gosnowflake/v2")
	for _, pkg := range []string{".", "./snowtest"} {
		added := slices.DeleteFunc(linked(t, pkg), func(module string) bool {
			return module == own || slices.Contains(there, module)
		})
		for _, module := range added {
			if !slices.Contains(documented, module) {
				t.Errorf("%s links %s, which docs/dependencies.md does not have", pkg, module)
			}
		}
		if pkg != "." {
			continue
		}
		for _, module := range documented {
			if !slices.Contains(added, module) {
				t.Errorf("docs/dependencies.md has %s, which is not linked in addition", module)
			}
		}
	}
}

// linked are the modules whose packages a program gets that imports pkg.
func linked(t *testing.T, pkg string) []string {
	t.Helper()
	modules := strings.Fields(string(goCommand(t, "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", pkg)))
	slices.Sort(modules)
	return slices.Compact(modules)
}
