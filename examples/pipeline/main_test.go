package main

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// childVariable makes the test's binary the program: a child that can be killed.
const childVariable = "PIPELINE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// output is a writer for run; the log is written by several goroutines.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// serve starts a server with SQL.
func serve(t *testing.T, opts ...snowtest.Option) *snowtest.Server {
	t.Helper()
	engine, err := duckdb.New()
	if err != nil {
		t.Fatal(err)
	}
	// The UPDATE that takes a turn is the same each time.
	return snowtest.New(t, append([]snowtest.Option{snowtest.WithEngine(engine), snowtest.AllowRepeats()}, opts...)...)
}

// content is a file with a line for each of these days of 2024. The numbers are
// other ones for each salt.
func content(salt int, days ...int) string {
	var b strings.Builder
	fmt.Fprintln(&b, strings.Join(header, ","))
	for i, day := range days {
		fmt.Fprintf(&b, "\"Here, or %d\",2024-%02d-%02d,%d.%d,%d,-%d.25,0.5,sun\n", day%2, day/28+1, day%28+1, salt, day, i, salt+day)
	}
	return b.String()
}

// The files that most tests load: a has a key twice, and b has some of a's keys.
var (
	fileA = content(1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 40, 3)
	fileB = content(2, 30, 9, 31, 3, 32, 10, 60)
)

// small are flags with which the two files take five batches, one after the other.
var small = []string{"-batch", "5", "-workers", "1"}

// write writes the files and returns their paths.
func write(t *testing.T, contents ...string) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, c := range contents {
		path := filepath.Join(dir, fmt.Sprintf("%c.csv", 'a'+i))
		if err := os.WriteFile(path, []byte(c), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// load runs the program in this process and returns what it printed.
func load(t *testing.T, dsn string, wantStatus int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, log output
	if status := run(t.Context(), args, dsn, &out, &log); status != wantStatus {
		t.Fatalf("status %d, want %d\n%s%s", status, wantStatus, &out, &log)
	}
	return out.String(), log.String()
}

// open opens the server's data for a look.
func open(t *testing.T, srv *snowtest.Server) *sqlx.DB {
	t.Helper()
	db, err := sqlx.Open(snowtether.DriverName, srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// texts reads rows, each as one text.
func texts(t *testing.T, db *sqlx.DB, query string) []string {
	t.Helper()
	list := []string{}
	if err := db.SelectContext(t.Context(), &list, query); err != nil {
		t.Fatal(err)
	}
	return list
}

// exact checks that these files, merged in this order, are what the tables hold.
// It folds them by itself, without the program's own reading and sums.
func exact(t *testing.T, db *sqlx.DB, contents ...string) {
	t.Helper()
	table, lines := map[string]string{}, 0
	for _, c := range contents {
		for _, line := range strings.Split(strings.TrimSpace(c), "\n")[1:] {
			fields := strings.Split(strings.ReplaceAll(line, `"Here, or `, "Here; or "), ",")
			fields[0] = strings.TrimSuffix(strings.ReplaceAll(fields[0], ";", ","), `"`)
			for i := 2; i < 6; i++ { // as NUMBER(8, 2) is written
				whole, fraction, _ := strings.Cut(fields[i], ".")
				fields[i] = whole + "." + (fraction + "00")[:2]
			}
			table[fields[0]+fields[1]] = strings.Join(fields, "|")
			lines++
		}
	}
	want := []string{}
	for _, row := range table {
		want = append(want, row)
	}
	slices.Sort(want)
	got := texts(t, db, `SELECT location || '|' || TO_VARCHAR(day) || '|' || TO_VARCHAR(precipitation) || '|' || TO_VARCHAR(temp_max)
		|| '|' || TO_VARCHAR(temp_min) || '|' || TO_VARCHAR(wind) || '|' || weather FROM pipeline_weather`)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := texts(t, db, "SELECT TO_VARCHAR(COUNT(DISTINCT load_id || ' ' || TO_VARCHAR(line))) FROM pipeline_staged"); got[0] != fmt.Sprint(lines) {
		t.Errorf("%s lines are staged, want %d", got[0], lines)
	}
	if got := texts(t, db, "SELECT TO_VARCHAR(SUM(days)) FROM pipeline_yearly"); got[0] != fmt.Sprint(len(want)) {
		t.Errorf("the sums are those of %s rows, want %d", got[0], len(want))
	}
	if got := texts(t, db, "SELECT TO_VARCHAR(turn) FROM pipeline_loads ORDER BY turn"); len(got) != len(contents) || got[len(got)-1] != fmt.Sprint(len(got)) {
		t.Errorf("the ledger has the turns %v, want %d", got, len(contents))
	}
}

// onlyOnce checks that no line was staged twice.
func onlyOnce(t *testing.T, db *sqlx.DB) {
	t.Helper()
	if got := texts(t, db, "SELECT load_id || ' ' || TO_VARCHAR(line) FROM pipeline_staged GROUP BY load_id, line HAVING COUNT(*) > 1"); len(got) > 0 {
		t.Errorf("staged twice: %v", got)
	}
}

func TestSampleIsLoadedWithoutSettings(t *testing.T) {
	stdout, stderr := load(t, "", 0)
	for _, want := range []string{"weather.csv   2922              0        2922         2922  this run", "all sums agree"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in:\n%s", want, stdout)
		}
	}
	if n := strings.Count(stderr, "lines are staged"); n != 10 {
		t.Errorf("%d lines of progress, want 10:\n%s", n, stderr)
	}
}

func TestChaosChangesNothing(t *testing.T) {
	calm, _ := load(t, "", 0)
	wild, stderr := load(t, "", 0, "-chaos", "-batch", "200")
	before := func(s, mark string) string { text, _, _ := strings.Cut(s, mark); return text }
	if before(wild, ", after ") != before(calm, ", after ") {
		t.Errorf("with -chaos\n%s\nwithout\n%s", wild, calm)
	}
	for _, want := range []string{"looked for the lines of a COPY", "a COMMIT did not come back", "at PUT", "at MERGE", "at COMMIT"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in:\n%s", want, stderr)
		}
	}
	if !strings.Contains(wild, " strikes and ") {
		t.Errorf("the strikes were not counted:\n%s", wild)
	}
}

func TestFlagsAndFilesAreCheckedFirst(t *testing.T) {
	srv := serve(t)
	head := strings.Join(header, ",") + "\n"
	path := func(content string) string { return write(t, content)[0] }
	good := path(fileA)
	for _, test := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"-h"}, 0, "usage:"},
		{[]string{"-unknown"}, 2, "-unknown"},
		{[]string{"-batch", "many"}, 2, "-batch"},
		{[]string{"-batch", "0"}, 2, "-batch must be from 1 to 5000"},
		{[]string{"-batch", "5001"}, 2, "-batch must be from 1 to 5000"},
		{[]string{"-workers", "65"}, 2, "-workers must be from 1 to 64"},
		{[]string{"-chaos"}, 2, "unset SNOWFLAKE_DSN"},
		{[]string{good, "absent.csv"}, 2, "absent.csv"},
		{[]string{good, t.TempDir()}, 2, "directory"},
		{[]string{good, path("")}, 2, "a.csv: there is no line in it"},
		{[]string{good, path("\ufeff")}, 2, "a.csv: there is no line in it"},
		{[]string{good, path("\n\r\n\n")}, 2, "a.csv: there is no line in it"},
		{[]string{good, path("location,date\n")}, 2, "a.csv: record on line 1: wrong number of fields"},
		{[]string{good, path("a,b,c,d,e,f,g\n")}, 2, "a.csv: the first line is"},
		{[]string{good, path(head + "Here,2024-01-01,1,2,3\n")}, 2, "line 2: wrong number of fields"},
		{[]string{good, path(head + "Here,2024-01-01,1,2,3,4,sun\n\n,2024-01-02,1,2,3,4,sun\n")}, 2, "line 4: there is no location"},
		{[]string{good, path(head + "Here,2023-02-29,1,2,3,4,sun\n")}, 2, `line 2: date "2023-02-29"`},
		{[]string{good, path(head + "Here,2024-01-01,1,2,3.125,4,sun\n")}, 2, `line 2: temp_min "3.125"`},
		{[]string{good, path(head + "Here,2024-01-01,NaN,2,3,4,sun\n")}, 2, `line 2: precipitation "NaN"`},
		{[]string{good, path(head + "Here,2024-01-01,1,2,3,1e9,sun\n")}, 2, `line 2: wind "1e9"`},
		{[]string{good, path(head + "Here,2024-01-01,1,2,3,4,\xff\n")}, 2, "a.csv: it is not UTF-8"},
	} {
		var stdout, stderr output
		if got := run(t.Context(), test.args, srv.DSN(), &stdout, &stderr); got != test.status {
			t.Errorf("%v: status %d, want %d", test.args, got, test.status)
		}
		if !strings.Contains(stderr.String(), test.says) || stdout.String() != "" {
			t.Errorf("%v: stderr %q, stdout %q", test.args, &stderr, &stdout)
		}
		if test.status == 2 && strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%v: more than one line: %s", test.args, &stderr)
		}
	}
	if n := srv.Stats().Requests[snowtest.RequestLogin]; n != 0 {
		t.Errorf("%d logins before the check was over", n)
	}
}

func TestErrorsDoNotRepeatTheDSN(t *testing.T) {
	srv := serve(t)
	const secret = "wrong-Secret"
	for name, dsn := range map[string]string{
		"wrong password": strings.Replace(srv.DSN(), url.QueryEscape(srv.Password()), secret, 1),
		"malformed":      srv.User() + ":" + secret + "@host:port:" + secret + "/%zz?" + secret,
	} {
		stdout, stderr := load(t, dsn, 1)
		if out := stdout + stderr; strings.Contains(out, secret) || !strings.Contains(out, "pipeline: ") {
			t.Errorf("%s: it printed %q", name, out)
		}
	}
}

// On a terminal there is a bar, and log lines stand above it.
func TestLogLinesAndTheBarKeepApart(t *testing.T) {
	var out output
	p := newProgress(&out)
	if p.terminal {
		t.Fatal("a buffer was taken for a terminal")
	}
	p.terminal = true
	p.start("a.csv", 3, 10)
	fmt.Fprintln(p, "a log line")
	p.add(7)
	p.stop()
	fmt.Fprintln(p, "another")
	const erase = "\x1b[2K\r"
	got := out.String()
	if !strings.Contains(got, erase+"a log line\n") || !strings.Contains(got, "(3/10)") || !strings.Contains(got, "100%") || !strings.HasSuffix(got, "\nanother\n") {
		t.Errorf("%q", got)
	}
}
