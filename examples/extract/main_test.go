package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// asMain makes the test binary run the program itself, through the driver that it
// names, for tests of what happens to its process.
const asMain = "EXTRACT_TEST_DRIVER"

func TestMain(m *testing.M) {
	if driver := os.Getenv(asMain); driver != "" {
		driverName = driver
		main()
	}
	os.Exit(m.Run())
}

// child is the program in a process of its own.
func child(tb testing.TB, driver, dsn string, args ...string) *exec.Cmd {
	tb.Helper()
	program, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), asMain+"="+driver, "SNOWFLAKE_DSN="+dsn)
	return cmd
}

func TestWorksWithoutSettings(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-rows", "100"}, "", &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	if !strings.HasPrefix(stdout.String(), "extract.csv: 100 rows in ") {
		t.Errorf("it printed %q", &stdout)
	}
	if names := list(t, dir); !slices.Equal(names, []string{"extract.csv"}) {
		t.Errorf("it left %v", names)
	}
	lines := readCSV(t, "extract.csv")
	want := []string{"5", "Customer 4595", "2020-01-06", "2020-01-01T00:02:35", "2020-01-01T00:01:05Z", "5236.45", "0.5", "false", ""}
	if len(lines) != 101 || !slices.Equal(lines[6], want) || lines[5][8] != null {
		t.Errorf("%d lines, among them %q", len(lines), lines[5:7])
	}
}

func TestWrongFlagsAndFilesLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("empty.sql", []byte(" ;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("gone", "nowhere.csv"); err != nil {
		t.Fatal(err)
	}
	const account = "user:secret-Password@account/db"
	for _, test := range []struct {
		dsn    string
		args   string
		status int
		says   string
	}{
		{"", "-h", 0, "usage:"},
		{"", "-unknown", 2, "-unknown"},
		{"", "orders.csv", 2, "arguments"},
		{"", "-rows -1", 2, "-rows"},
		{"", "-rows many", 2, "-rows"},
		{"", "-partitions 0", 2, "-partitions"},
		{"", "-partitions 65", 2, "-partitions"},
		{"", "-key id", 2, "-key needs -partitions"},
		{"", "-partitions 2 -key ", 2, "-key"},
		{"", "-query x -file y", 2, "not both"},
		{"", "-file missing.sql", 2, "missing.sql: no such file"},
		{"", "-file empty.sql", 2, "empty.sql: there is no SQL"},
		{"", "-file .", 2, "directory"},
		{"", "-query ", 2, "-query: there is no SQL"},
		{"", "-file ", 2, "-file must name a file"},
		{account, "-file ", 2, "-file must name a file"},
		{"", "-partitions 2 -key id;", 2, "-key"},
		{"", "-out orders.xlsx", 2, ".csv or .parquet"},
		{"", "-out missing/orders.csv", 2, "in the directory missing: no such file or directory"},
		{"", "-out empty.sql/orders.csv", 2, "in the directory empty.sql: not a directory"},
		{"", "-out nowhere.csv", 2, "nowhere.csv is a symbolic link that leads nowhere"},
		{"", "-out .", 2, ".csv or .parquet"},
		{account, "", 2, "-query or -file"},
		{account, "-query x -rows 5", 2, "-rows"},
	} {
		var args []string
		if test.args != "" {
			args = strings.Split(test.args, " ")
		}
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), args, test.dsn, &stdout, &stderr); status != test.status {
			t.Errorf("%q: status %d, want %d", test.args, status, test.status)
		}
		if text := stderr.String(); !strings.Contains(text, test.says) || stdout.String() != "" || strings.Contains(text, "secret") {
			t.Errorf("%q: stderr %q, stdout %q", test.args, text, &stdout)
		} else if test.status == 2 && strings.Count(text, "\n") != 1 {
			t.Errorf("%q: more than one line: %s", test.args, text)
		}
	}
	if names := list(t, dir); !slices.Equal(names, []string{"empty.sql", "nowhere.csv"}) {
		t.Errorf("it left %v", names)
	}
}

func TestErrorsDoNotRepeatTheDSN(t *testing.T) {
	srv := snowtest.New(t)
	dir := t.TempDir()
	for name, dsn := range map[string]string{
		"a wrong password": strings.Replace(srv.DSN(), "tester:", "tester:secret", 1),
		"no DSN at all":    "tester:secret@host:port/%zz?secret",
	} {
		var stderr bytes.Buffer
		status := run(t.Context(), []string{"-query", "SELECT 1", "-out", filepath.Join(dir, "x.csv")}, dsn, io.Discard, &stderr)
		if text := stderr.String(); status != 1 || strings.Contains(text, "secret") || strings.Count(text, "extract: ") != 1 {
			t.Errorf("%s: status %d, %q", name, status, text)
		}
	}
	if names := list(t, dir); len(names) > 0 {
		t.Errorf("it left %v", names)
	}
}

func TestResultsWithoutArrowAreRefused(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithSessionParameter("GO_QUERY_RESULT_FORMAT", "JSON"))
	var stderr bytes.Buffer
	status := run(t.Context(), []string{"-query", "SELECT 1", "-out", filepath.Join(t.TempDir(), "x.csv")}, srv.DSN(), io.Discard, &stderr)
	if status != 1 || !strings.Contains(stderr.String(), "GO_QUERY_RESULT_FORMAT") {
		t.Errorf("status %d, %q", status, &stderr)
	}
}

// What is tried again is what there is a result of.
func TestServerThatIsNotThereIsGivenUpAfterTheDriversOwnTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		_, _, err := inMemory(t, func(srv *snowtest.Server) {
			srv.FaultAlways(func(*snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Status: 503}, true
			})
		})
		if took := time.Since(begun); err == nil || took > 3*time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

func TestSQLInAFileMayEndInASemicolonOrAComment(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithEngine(engine(t)))
	file := filepath.Join(t.TempDir(), "query.sql")
	for _, text := range []string{"SELECT 1 AS n;\n", "\nSELECT 1 AS n -- one\n", "\ufeffSELECT 1 AS n; -- one"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, partitions := range []string{"1", "3"} {
			lines := readCSV(t, extractTo(t, srv, "n.csv", "-file", file, "-partitions", partitions))
			if len(lines) != 2 || lines[1][0] != "1" {
				t.Errorf("%q in %s: %q", text, partitions, lines)
			}
		}
	}
}

func engine(t testing.TB) *duckdb.Engine {
	t.Helper()
	e, err := duckdb.New()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Rows that are equal are in the same partition, and stay as many as they are.
func TestPartitionsAddUpToTheWhole(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithEngine(engine(t)), snowtest.WithChunkRows(500))
	query := "SELECT MOD(n, 700) AS k, NULLIF(MOD(n, 10), 3) AS v FROM (SELECT SEQ8() AS n FROM TABLE(GENERATOR(ROWCOUNT => 10000)))"
	sorted := func(lines [][]string) (rows []string) {
		for _, line := range lines[1:] {
			rows = append(rows, strings.Join(line, ","))
		}
		slices.Sort(rows)
		return rows
	}
	want := sorted(readCSV(t, extractTo(t, srv, "whole.csv", "-query", query)))
	if len(want) != 10_000 {
		t.Fatalf("%d rows", len(want))
	}
	for _, key := range []string{"*", "k", "v", "v, k"} {
		before := srv.Stats()
		if got := sorted(readCSV(t, extractTo(t, srv, "parts.csv", "-query", query, "-partitions", "4", "-key", key))); !slices.Equal(got, want) {
			t.Errorf("-key %s: %d rows, not those of the whole", key, len(got))
		}
		after := srv.Stats()
		if sessions, statements := after.Logins-before.Logins, after.Statements-before.Statements; sessions != 4 || statements != 4 {
			t.Errorf("-key %s: %d sessions, %d statements", key, sessions, statements)
		}
	}
	path := extractTo(t, srv, "parts.parquet", "-query", query, "-partitions", "4")
	if n := readParquet(t, path).NumRows(); n != 10_000 {
		t.Errorf("Parquet: %d rows", n)
	}
}

func TestPartitionsSurviveLossEachOnItsOwn(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithEngine(engine(t)), snowtest.WithChunkRows(100))
	for _, part := range []int{1, 5} {
		srv.FaultOnce(at(part, snowtest.Fault{Run: true, Status: 403, After: func() { srv.ExpireChunkURLs(); srv.AbortSessions() }}))
	}
	lines := readCSV(t, extractTo(t, srv, "n.csv", "-partitions", "3",
		"-query", "SELECT SEQ8() AS n FROM TABLE(GENERATOR(ROWCOUNT => 5000))"))
	seen := map[string]bool{}
	for _, line := range lines[1:] {
		seen[line[0]] = true
	}
	if len(lines) != 5001 || len(seen) != 5000 {
		t.Errorf("%d lines, %d different rows", len(lines), len(seen))
	}
	if n := srv.Stats().Statements; n != 3 {
		t.Errorf("%d statements", n)
	}
}

// what says what a path holds.
func what(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// onPart calls do when a part in the middle is asked for, and holds its reply until
// the test is over.
func onPart(t *testing.T, srv *snowtest.Server, do func()) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		hit := req.Kind == snowtest.RequestChunk && strings.HasSuffix(req.HTTP.URL.Path, "/4")
		if hit {
			do()
		}
		return snowtest.Fault{Hold: over}, hit
	})
}

func TestInterruptedOrKilledItLeavesTheOldFile(t *testing.T) {
	for _, test := range []struct {
		name   string
		signal os.Signal
		status int
		left   int // temporary files
	}{
		{"interrupted", os.Interrupt, 130, 0},
		{"terminated", syscall.SIGTERM, 130, 0},
		{"killed", os.Kill, -1, 1},
	} {
		for _, format := range []string{".csv", ".parquet"} {
			t.Run(test.name+format, func(t *testing.T) {
				srv := snowtest.New(t, snowtest.WithChunkRows(partRows), snowtest.AllowOpenSessions())
				handleMany(srv)
				dir := t.TempDir()
				path := filepath.Join(dir, "many"+format)
				if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
				cmd := child(t, snowtether.DriverName, srv.DSN(), "-query", manyQuery, "-out", path)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				started := make(chan struct{})
				onPart(t, srv, func() {
					<-started
					_ = cmd.Process.Signal(test.signal)
				})
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				close(started)
				err := cmd.Wait()
				var ended *exec.ExitError
				if !errors.As(err, &ended) || ended.ExitCode() != test.status {
					t.Fatalf("it ended with %v: %s", err, &stderr)
				}
				if got := what(t, path); got != "old" {
					t.Errorf("the old file holds %.20q", got)
				}
				if names := list(t, dir); len(names) != 1+test.left {
					t.Errorf("the directory holds %v", names)
				}
				if test.status == 130 && (!strings.Contains(stderr.String(), "interrupted") || strings.Count(stderr.String(), "\n") != 1) {
					t.Errorf("it printed %q", &stderr)
				}
			})
		}
	}
}

func TestFileIsReplacedInOneStep(t *testing.T) {
	srv := snowtest.New(t)
	handleMany(srv)
	dir := t.TempDir()
	path, link := filepath.Join(dir, "many.csv"), filepath.Join(dir, "link.csv")
	if err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.Kind == snowtest.RequestQuery && what(t, path) != "old" {
			t.Error("the old file was gone before the new one was there")
		}
		return snowtest.Fault{}, req.Kind == snowtest.RequestQuery
	})
	if status := run(t.Context(), []string{"-query", manyQuery, "-out", link}, srv.DSN(), io.Discard, io.Discard); status != 0 {
		t.Fatalf("status %d", status)
	}
	exactly(t, srv, path)
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link has become %v, %v", info, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file, which nobody else could read, is %v, %v", info, err)
	}
	if names := list(t, dir); !slices.Equal(names, []string{"link.csv", "many.csv"}) {
		t.Errorf("it left %v", names)
	}
}

func TestTargetMustBeARegularFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.csv")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	if status := run(t.Context(), []string{"-out", path}, "", io.Discard, &stderr); status != 2 || !strings.Contains(stderr.String(), "not a regular file") {
		t.Errorf("status %d, %q", status, &stderr)
	}
}

func TestProgressIsALineEveryFewSecondsWithoutATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out)
		for second := range 12 {
			p.running(time.Duration(second) * time.Second)
			time.Sleep(time.Second)
		}
		p.start(1000)
		for range 4 {
			time.Sleep(3 * time.Second)
			p.add(100)
		}
		p.finish()
		want := "extract: running the query … 1 s\nextract: running the query … 6 s\nextract: running the query … 11 s\n" +
			"extract: 200 of 1000 rows, 33 rows/s, 24s left\nextract: 400 of 1000 rows, 33 rows/s, 18s left\n"
		if out.String() != want {
			t.Errorf("got %q, want %q", &out, want)
		}
	})
}

func TestContextThatEndsStopsTheReading(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithChunkRows(partRows))
	handleMany(srv)
	ctx, cancel := context.WithCancel(t.Context())
	onPart(t, srv, cancel)
	dir := t.TempDir()
	if status := run(ctx, []string{"-query", manyQuery, "-out", filepath.Join(dir, "many.csv")}, srv.DSN(), io.Discard, io.Discard); status != 130 {
		t.Errorf("status %d", status)
	}
	if names := list(t, dir); len(names) > 0 {
		t.Errorf("it left %v", names)
	}
}

// TestWhatAnEarlierKillLeftBehindIsNamed: and not removed, for its run may still go on.
func TestWhatAnEarlierKillLeftBehindIsNamed(t *testing.T) {
	srv := snowtest.New(t)
	handleMany(srv)
	dir := t.TempDir()
	for _, name := range []string{".many.csv.ABCDEFGH.tmp", ".other.csv.ABCDEFGH.tmp", ".many.csv.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-query", manyQuery, "-out", filepath.Join(dir, "many.csv")}, srv.DSN(), &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	text := stderr.String()
	if !strings.Contains(text, "has left "+filepath.Join(dir, ".many.csv.ABCDEFGH.tmp")+";") || strings.Count(text, "has left") != 1 || len(list(t, dir)) != 4 {
		t.Errorf("it says %q, and there are %v", text, list(t, dir))
	}
	if !strings.Contains(stdout.String(), " rows/s, after ") {
		t.Errorf("it says %q", &stdout)
	}
}

// refusing is a network in which nobody listens.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

func TestWrongHostIsToldWithinTwentySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := snowtest.New(t, snowtest.InMemory()).Config()
		cfg.Transporter = refusing{}
		connector, err := snowtether.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		began := time.Now()
		err = readAll(t.Context(), db, []string{manyQuery}, &output{open: newCSV, file: io.Discard, progress: newProgress(io.Discard)})
		if took := time.Since(began); err == nil || took > 20*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
	})
}
