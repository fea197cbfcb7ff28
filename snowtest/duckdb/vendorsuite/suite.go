package main

// This file compiles gosnowflake's tests, finds those that log in, and runs one.

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "github.com/snowflakedb/gosnowflake/v2" // the driver that furnish uses

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

const suite = "github.com/snowflakedb/gosnowflake/v2"

// A binary is the compiled suite.
type binary struct {
	dir  string // of its sources, in which go test runs it: a copy, because some tests leave files there
	work string // of files that the tests and this program write
	file string
}

func compile(ctx context.Context) (*binary, error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", suite).Output()
	if err != nil {
		return nil, fmt.Errorf("%s is not found from this folder; run it inside the workspace: %w", suite, stderr(err))
	}
	work, err := os.MkdirTemp("", "vendorsuite")
	if err != nil {
		return nil, err
	}
	b := &binary{dir: filepath.Join(work, "suite"), work: work, file: filepath.Join(work, "suite.test")}
	if _, err = exec.CommandContext(ctx, "go", "test", "-c", "-o", b.file, suite).Output(); err != nil {
		err = fmt.Errorf("the tests of %s do not compile: %w", suite, stderr(err))
	} else {
		err = os.CopyFS(b.dir, os.DirFS(strings.TrimSpace(string(dir))))
	}
	if err != nil {
		os.RemoveAll(work)
		return nil, err
	}
	return b, nil
}

// stderr adds what a command said to its error.
func stderr(err error) error {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(e.Stderr))
	}
	return err
}

// liveTests gives the names of the tests that log in, in the order of the alphabet: those
// that open a DSN of the suite's, themselves or through what they call.
func liveTests(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	uses := map[string][]string{} // the names in each function
	live := map[string]bool{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			called, dsn := namesIn(fn)
			uses[fn.Name.Name] = append(uses[fn.Name.Name], called...)
			live[fn.Name.Name] = live[fn.Name.Name] || dsn
		}
	}
	for grown := true; grown; {
		grown = false
		for name, called := range uses {
			if !live[name] && slices.ContainsFunc(called, func(c string) bool { return live[c] }) {
				live[name], grown = true, true
			}
		}
	}
	var names []string
	for name := range uses {
		if live[name] && strings.HasPrefix(name, "Test") && name != "TestMain" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// namesIn lists the functions that a function calls, and says whether it opens a
// DSN of its own, or reads the suite's.
func namesIn(fn *ast.FuncDecl) (called []string, dsn bool) {
	own, opened := false, false
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Open" && len(n.Args) == 2 {
				opened = opened || named(n.Args[1])
			}
			switch f := n.Fun.(type) {
			case *ast.Ident:
				called = append(called, f.Name)
			case *ast.SelectorExpr:
				called = append(called, f.Sel.Name)
			}
		case *ast.SelectorExpr:
			ast.Inspect(n.X, func(x ast.Node) bool {
				dsn = dsn || named(x)
				return true
			})
			return named(n.X) || !isIdent(n.X)
		case *ast.AssignStmt:
			own = own || n.Tok == token.DEFINE && slices.ContainsFunc(n.Lhs, func(e ast.Expr) bool { return named(e) })
		case *ast.Field:
			own = own || slices.ContainsFunc(n.Names, func(id *ast.Ident) bool { return named(id) })
		case *ast.Ident:
			dsn = dsn || named(n)
		}
		return true
	})
	return called, opened || dsn && !own
}

func named(n ast.Node) bool {
	id, ok := n.(*ast.Ident)
	return ok && id.Name == "dsn"
}

func isIdent(n ast.Node) bool {
	_, ok := n.(*ast.Ident)
	return ok
}

// runOne runs one test against a server of its own.
func (b *binary) runOne(ctx context.Context, name string, limit time.Duration) outcome {
	engine, err := duckdb.New()
	if err != nil {
		return outcome{Name: name, Class: ours, Why: err.Error()}
	}
	// As with an account: over https, and with a store that the client asks whether a file is
	// there. Google's, by URLs, which is the default of snowtest, gosnowflake does not ask: it
	// never skips a file there (getFileHeader in its gcs_storage_client.go).
	srv, err := snowtest.Start(snowtest.WithEngine(engine), snowtest.WithTLS(), snowtest.WithStore(snowtest.S3))
	if err != nil {
		return outcome{Name: name, Class: ours, Why: err.Error()}
	}
	defer srv.Close()
	if err := furnish(ctx, srv); err != nil {
		return outcome{Name: name, Class: ours, Why: err.Error()}
	}
	home, err := os.MkdirTemp(b.work, "home")
	if err != nil {
		return outcome{Name: name, Class: ours, Why: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.file, "-test.run", "^"+name+"$", "-test.v", "-test.timeout", limit.String())
	cmd.Dir = b.dir
	certificate := filepath.Join(home, "server.pem")
	if err := os.WriteFile(certificate, srv.CertificatePEM(), 0o600); err != nil {
		return outcome{Name: name, Class: ours, Why: err.Error()}
	}
	cmd.Env = append(environment(srv), "HOME="+home, "TMPDIR="+home, "SSL_CERT_FILE="+certificate)
	cmd.WaitDelay = time.Second
	began := time.Now()
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("took longer than %v", limit)
	}
	o := judge(name, string(output), err)
	o.Seconds = time.Since(began).Seconds()
	return o
}

// furnish makes what every account has from the start and the suite's tests rely on.
func furnish(ctx context.Context, srv *snowtest.Server) error {
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS SNOWFLAKE_SAMPLE_DATA")
	return err
}

// environment is what the suite's driver_test.go reads, and nothing else of its names.
func environment(srv *snowtest.Server) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SNOWFLAKE_") && !strings.HasPrefix(v, "GITHUB_") && !strings.HasPrefix(v, "HOME=") && !strings.HasPrefix(v, "TMPDIR=") {
			env = append(env, v)
		}
	}
	at, _ := url.Parse(srv.URL()) // of our own server
	return append(env,
		"SNOWFLAKE_TEST_PROTOCOL=https", "SNOWFLAKE_TEST_HOST="+at.Hostname(), "SNOWFLAKE_TEST_PORT="+at.Port(),
		"SNOWFLAKE_TEST_USER="+srv.User(), "SNOWFLAKE_TEST_PASSWORD="+srv.Password(), "SNOWFLAKE_TEST_ACCOUNT=snowtest",
		"SNOWFLAKE_TEST_DATABASE=TESTDB", "SNOWFLAKE_TEST_SCHEMA=PUBLIC", "SNOWFLAKE_TEST_WAREHOUSE=TESTWH", "SNOWFLAKE_TEST_ROLE=SYSADMIN",
		"SNOWFLAKE_DISABLE_PLATFORM_DETECTION=true")
}
