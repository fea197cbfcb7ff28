// Package recorded finds the exchanges that gosnowflake ships as recordings for its own tests,
// in WireMock's format. They are read where the module lies, and are no part of this one.
package recorded

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Read reads one file of them, such as auth/password/successful_flow.json.
func Read(ctx context.Context, file string) ([]byte, error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/snowflakedb/gosnowflake/v2").Output()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "test_data", "wiremock", "mappings", file))
}
