package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/snowtether/snowtether/internal/verify"
	"github.com/snowtether/snowtether/snowtest"
)

// serve starts a server that knows as much SQL as the quick checks need.
func serve(t *testing.T, opts ...snowtest.Option) *snowtest.Server {
	srv := snowtest.New(t, append(opts, snowtest.WithSessionParameter("AUTOCOMMIT", true))...)
	srv.Handle("NOTHING_OF_THIS_NAME", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, &snowtest.Error{Code: "002003", SQLState: "42S02", Message: "SQL compilation error:\nObject does not exist or not authorized."}
	})
	return srv
}

// quick are checks that take no time.
const quick = "shapes,results"

func verified(t *testing.T, dsn string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	status = run(t.Context(), args, dsn, &out, &errOut)
	return status, out.String(), errOut.String()
}

func TestWithoutAnAccountItSaysWhatItWouldAsk(t *testing.T) {
	status, stdout, stderr := verified(t, "")
	if status != 2 || !strings.Contains(stdout, "idle-commit") || strings.Contains(stdout, "policy  ") || !strings.Contains(stderr, "-dsn") {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	if _, stdout, _ = verified(t, "", "-slow", "-admin-dsn", "x"); !strings.Contains(stdout, "policy  ") || !strings.Contains(stdout, "hour  ") {
		t.Errorf("%s", stdout)
	}
}

func TestAccountIsAskedAndReported(t *testing.T) {
	srv := serve(t)
	file := filepath.Join(t.TempDir(), "out.json")
	status, stdout, stderr := verified(t, srv.DSN()+"&tetherPoolName=x", "-only", quick, "-json", file)
	if status != 0 || !strings.Contains(stdout, "0 wrong") || !strings.Contains(stdout, "idle-commit") || !strings.Contains(stderr, verify.Unchecked) {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	text, err := os.ReadFile(file)
	var report verify.Report
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil || report.Count(verify.AsBelieved) == 0 {
		t.Errorf("%v, %+v", err, report)
	}
	if !strings.Contains(stderr, "2 of 2 checks") {
		t.Errorf("no progress: %s", stderr)
	}
	_, _ = srv.Log().Write([]byte(stdout + stderr))
}

// Only a belief that safety rests on is a failure.
func TestStatusIsOneIfSafetyRestsOnAWrongBelief(t *testing.T) {
	for at, want := range map[string]int{"COMMIT": 1, "GET": 0} {
		t.Run(at, func(t *testing.T) {
			srv := serve(t)
			srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
				fault := snowtest.Fault{Body: `{"success":true,"data":{"queryId":"01bd0000-0000-0000-0000-000000000000"}}`}
				return fault, req.SQL == at || at == "GET" && req.Kind == snowtest.RequestResult
			})
			status, stdout, stderr := verified(t, srv.DSN(), "-only", "shapes")
			if status != want || !strings.Contains(stdout, "**Wrong: ") {
				t.Errorf("status %d\n%s%s", status, stdout, stderr)
			}
		})
	}
}

// schemas are those that were made and not dropped.
func schemas(srv *snowtest.Server) map[string]bool {
	open := map[string]bool{}
	for _, e := range srv.Ledger() {
		if name, ok := strings.CutPrefix(e.SQL, "CREATE TRANSIENT SCHEMA "); ok {
			open[name] = true
		}
		if name, ok := strings.CutPrefix(e.SQL, "DROP SCHEMA IF EXISTS "); ok {
			delete(open, name)
		}
	}
	return open
}

func TestInterruptDropsTheSchema(t *testing.T) {
	for _, at := range []string{"CREATE TRANSIENT SCHEMA", "CREATE TABLE", "INSERT"} {
		t.Run(at, func(t *testing.T) {
			srv := serve(t, snowtest.AllowOpenSessions())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{After: cancel}, strings.HasPrefix(req.SQL, at)
			})
			var stdout, stderr bytes.Buffer
			if status := run(ctx, []string{"-only", "results"}, srv.DSN(), &stdout, &stderr); status != 130 || !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("status %d\n%s", status, &stderr)
			}
			if left := schemas(srv); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWhatIsLeftBehindIsNamedAndCleanedUp(t *testing.T) {
	srv := serve(t)
	refusing := true
	srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{Code: "003001", Message: "Insufficient privileges"}, refusing && strings.HasPrefix(req.SQL, "DROP SCHEMA")
	})
	status, _, stderr := verified(t, srv.DSN(), "-only", "history")
	left := ""
	for name := range schemas(srv) {
		left = name
	}
	if status != 2 || left == "" || !strings.Contains(stderr, strings.TrimPrefix(left, "TESTDB.")) || strings.Contains(stderr, "TESTDB") {
		t.Errorf("status %d, left %q\n%s", status, left, stderr)
	}
	srv.Handle("^SHOW SCHEMAS", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows([]string{"name"}, []any{strings.TrimPrefix(left, "TESTDB.")}), nil
	})
	refusing = false
	status, stdout, stderr := verified(t, srv.DSN(), "-cleanup")
	if status != 0 || !strings.Contains(stdout, "dropped: SCHEMA "+verify.Prefix) || len(schemas(srv)) > 0 {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	srv.Handle("^SHOW SCHEMAS", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows([]string{"name"}), nil
	})
	if status, stdout, _ = verified(t, srv.DSN(), "-cleanup"); status != 0 || !strings.Contains(stdout, "nothing") {
		t.Errorf("status %d, %s", status, stdout)
	}
}

func TestFlagsAreExplainedInOneLineWithoutValues(t *testing.T) {
	srv := serve(t)
	const secret = "hunter2Secret"
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		dsn  string
		args []string
		says string
	}{
		{"", []string{"-unknown"}, "-unknown"},
		{"", []string{"-slow=" + secret}, "-h lists them"},
		{"", []string{secret}, "no arguments"},
		{"", []string{"-cleanup"}, "needs an account"},
		{"", []string{"-only", "none"}, "there is no check"},
		{srv.DSN(), []string{"-only", "users"}, "-admin-dsn"},
		{"user:" + secret + "@acme:port:" + secret + "/%zz", nil, "the DSN"},
		{srv.DSN(), []string{"-admin-dsn", secret}, "-admin-dsn"},
		{srv.DSN() + "&tlsConfigName=mine", nil, "-ca"},
		{srv.DSN() + "&tlsConfigName=mine", []string{"-ca", secret}, "cannot be read"},
		{srv.DSN() + "&tlsConfigName=mine", []string{"-ca", empty}, "no certificate"},
		{strings.Replace(srv.DSN(), "s3cret", secret, 1), []string{"-only", "history"}, "390100"},
		{strings.Replace(srv.DSN(), "s3cret", secret, 1), []string{"-cleanup"}, "390100"},
		{srv.DSN(), []string{"-only", "history", "-json", filepath.Join(empty, secret)}, "-json"},
	} {
		status, _, stderr := verified(t, test.dsn, test.args...)
		lines := strings.TrimPrefix(stderr, "verify: "+verify.Unchecked+"\n")
		if status != 2 || !strings.Contains(stderr, test.says) || strings.Contains(stderr, secret) || strings.Contains(lines, srv.User()) {
			t.Errorf("%v: status %d, %s", test.args, status, stderr)
		}
	}
	status, _, stderr := verified(t, "u:"+secret+"@a/d", "-h")
	if status != 0 || !strings.Contains(stderr, "usage:") || strings.Contains(stderr, secret) {
		t.Errorf("-h: status %d, %s", status, stderr)
	}
}

func TestRootsOfADSNsTLSConfigurationAreTrusted(t *testing.T) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{ca: file}
	cfg, err := s.config("u:p@acme/db?tlsConfigName=mine", "the DSN")
	if err != nil || cfg.TLSConfigName != "mine" || s.options.TLS == nil || s.options.TLS.RootCAs == nil {
		t.Errorf("%v", err)
	}
}

func TestBarIsOneLineOnATerminal(t *testing.T) {
	var out bytes.Buffer
	b := newBar(&out)
	b.terminal = true
	b.done.Go(b.tick)
	b.show(verify.Progress{Done: 1, All: 3, Running: []string{"ends", "locks"}, Left: 90 * time.Second})
	b.clear()
	if text := out.String(); strings.Contains(text, "\n") || !strings.Contains(text, "██████████░") || !strings.Contains(text, "1 of 3 checks, at most 1m30s more: ends locks") {
		t.Errorf("%q", text)
	}
}
