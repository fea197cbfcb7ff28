// Package adopting_test tries what docs/adopting.md says. The code in the guide is
// quoted from these files, and TestGuideQuotesTheseFiles holds it to that.
package adopting_test

import (
	"database/sql"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

func TestMain(m *testing.M) {
	_ = gosnowflake.GetLogger().SetLogLevel("off")
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

var block = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// flat removes the indentation, which in the guide begins at the margin.
func flat(code string) string {
	lines := strings.Split(strings.TrimSpace(code), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}

// TestGuideQuotesTheseFiles: each block of Go in the guide stands in a file of this
// package, and one with a package clause is the whole file.
func TestGuideQuotesTheseFiles(t *testing.T) {
	guide, err := os.ReadFile("../../docs/adopting.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	whole, parts := map[string]bool{}, ""
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		whole[string(text)] = true
		parts += flat(string(text))
	}
	blocks, complete := block.FindAllStringSubmatch(string(guide), -1), 0
	for _, b := range blocks {
		switch code := b[1]; {
		case strings.HasPrefix(code, "package "):
			complete++
			if !whole[code] {
				t.Errorf("the guide has a file that is none here:\n%s", code)
			}
		case !strings.Contains(parts, flat(code)):
			t.Errorf("the guide has code that stands in no file here:\n%s", code)
		}
	}
	if len(blocks) < 10 || complete != 1 {
		t.Errorf("found %d blocks, of them %d whole files", len(blocks), complete)
	}
}

// open returns a pool that is closed when the test is over.
func open(t *testing.T, driver string, srv *snowtest.Server) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, db)
}

// openConfig opens a pool by the server's Config, which reaches a server in memory, too.
func openConfig(t *testing.T, srv *snowtest.Server) *sql.DB {
	t.Helper()
	db, err := byConfig(srv.Config())
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, db)
}

func closing(t *testing.T, db *sql.DB) *sql.DB {
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("db.Close: %v", err)
		}
	})
	return db
}

// once puts a fault on the next request that brings this statement.
func once(srv *snowtest.Server, sql string, f snowtest.Fault) {
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		return f, r.Kind == snowtest.RequestQuery && r.SQL == sql
	})
}
