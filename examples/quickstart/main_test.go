package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

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

// cells are the numbers of a line of the table.
func cells(t *testing.T, table, label string) []int {
	t.Helper()
	for line := range strings.Lines(table) {
		rest, ok := strings.CutPrefix(line, label+" ")
		if !ok {
			continue
		}
		var numbers []int
		for _, field := range strings.Fields(rest) {
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			numbers = append(numbers, n)
		}
		return numbers
	}
	t.Fatalf("no line %q in:\n%s", label, table)
	return nil
}

func TestEachRowArrivesOnceThroughSnowtetherOnly(t *testing.T) {
	var stdout, stderr output
	status := run(t.Context(), []string{"-rows", "401", "-every", "100ms"}, "", &stdout, &stderr)
	if status != 0 {
		t.Fatalf("status %d\n%s%s", status, &stdout, &stderr)
	}
	table := stdout.String()
	for label, want := range map[string]int{
		"rows in the file": 401, "rows in the table": 401, "rows missing": 0, "rows doubled": 0,
		"statements failed": 0, "statements run twice": 0,
	} {
		if got := cells(t, table, label); got[0] != want {
			t.Errorf("%s: %d through snowtether, want %d", label, got[0], want)
		}
	}
	for _, label := range []string{"rows missing", "statements failed"} {
		if got := cells(t, table, label); got[1] == 0 {
			t.Errorf("%s: 0 through gosnowflake: nothing was put to the test", label)
		}
	}
	waves, reconnects := cells(t, table, "waves"), cells(t, table, "reconnects")
	if waves[0] < 2 || waves[1] < 2 || reconnects[0] == 0 || reconnects[1] != 0 {
		t.Errorf("waves %v, reconnects %v", waves, reconnects)
	}
	// Each has a line; of many the first five, and one line has their number.
	lines, sum := strings.Count(stderr.String(), "session was lost and has been replaced"), strings.Contains(stderr.String(), "sessions were lost and have been replaced")
	if lines < min(reconnects[0], 5) || lines > reconnects[0] || lines < reconnects[0] && !sum {
		t.Errorf("%d reconnects have %d lines in the log, and a sum: %v", reconnects[0], lines, sum)
	}
	if t.Failed() {
		t.Logf("%s%s", table, &stderr)
	}
}

// serve starts a server with SQL.
func serve(t *testing.T) *snowtest.Server {
	t.Helper()
	engine, err := duckdb.New()
	if err != nil {
		t.Fatal(err)
	}
	return snowtest.New(t, snowtest.WithEngine(engine), snowtest.WithLatency(5*time.Millisecond))
}

func TestTableHoldsWhatTheFileHolds(t *testing.T) {
	srv := serve(t)
	db, err := sql.Open(snowtether.DriverName, srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE weather "+tableColumns); err != nil {
		t.Fatal(err)
	}
	days, err := readDays(strings.NewReader(weather))
	if err != nil || len(days) != 1461 {
		t.Fatalf("%d days, %v", len(days), err)
	}
	db.SetMaxIdleConns(4)
	stop := storm(srv, 4, 50*time.Millisecond)
	failed := load(t.Context(), db, "weather", days, 4)
	if n := stop(); n == 0 || len(failed) > 0 {
		t.Fatalf("%d waves; failed: %v", n, failed)
	}
	if got, err := count(t.Context(), db, "weather", days); err != nil || got != (tally{file: 1461, table: 1461}) {
		t.Errorf("got %+v, %v", got, err)
	}

	rows, err := db.QueryContext(t.Context(), "SELECT * FROM weather ORDER BY day")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []day
	for rows.Next() {
		var d day
		var date time.Time
		if err := rows.Scan(&date, &d.precipitation, &d.tempMax, &d.tempMin, &d.wind, &d.weather); err != nil {
			t.Fatal(err)
		}
		d.date = date.Format(time.DateOnly)
		got = append(got, d)
	}
	if err := rows.Err(); err != nil || !slices.Equal(got, days) {
		t.Errorf("the table differs from the file: %d rows, %v", len(got), err)
	}
}

func TestCountTellsMissingFromDoubled(t *testing.T) {
	srv := serve(t)
	db, err := sql.Open(snowtether.DriverName, srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		"CREATE TABLE weather " + tableColumns,
		"INSERT INTO weather (day) VALUES ('2012-01-01'), ('2012-01-02'), ('2012-01-02'), ('2012-01-02')",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	days := []day{{date: "2012-01-01"}, {date: "2012-01-02"}, {date: "2012-01-03"}}
	got, err := count(t.Context(), db, "weather", days)
	if want := (tally{file: 3, table: 4, missing: 1, doubled: 2}); got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// The reply to the INSERT is lost, and the session is gone when gosnowflake asks
// again: nobody can tell whether it ran, except by looking. Time is virtual.
func TestInsertInDoubtIsLookedUp(t *testing.T) {
	for name, ran := range map[string]bool{"it ran": true, "it did not run": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := snowtest.New(t, snowtest.InMemory(), snowtest.AllowRepeats())
				srv.Handle("SELECT COUNT", func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
					n := 0
					for _, e := range srv.Ledger() {
						if strings.HasPrefix(e.SQL, "INSERT") && *e.Binds[0].Value == *st.Binds[0].Value {
							n += e.Effects
						}
					}
					return snowtest.Rows([]string{"COUNT(*)"}, []any{int64(n)}), nil
				})
				srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
					lost := snowtest.Fault{Run: ran, Drop: true, After: func() { srv.AbortSessions() }}
					return lost, strings.HasPrefix(req.SQL, "INSERT")
				})
				connector, err := snowtether.NewConnector(srv.Config())
				if err != nil {
					t.Fatal(err)
				}
				db := sql.OpenDB(connector)
				defer db.Close()
				if err := insert(t.Context(), db, "weather", []day{{date: "2012-01-01"}, {date: "2012-01-02"}}); err != nil {
					t.Fatal(err)
				}
				if n := connector.Stats().InDoubt; n != 1 {
					t.Errorf("%d statements were in doubt", n)
				}
				inserts := slices.DeleteFunc(srv.Ledger(), func(e snowtest.Entry) bool { return !strings.HasPrefix(e.SQL, "INSERT") })
				if len(inserts) != 1 || inserts[0].Effects != 1 {
					t.Errorf("the INSERT was accepted %d times: %+v", len(inserts), inserts)
				}
			})
		})
	}
}

func TestInsertThatStaysInDoubtIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.AllowRepeats())
		srv.Handle("SELECT COUNT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return snowtest.Rows([]string{"COUNT(*)"}, []any{0}), nil
		})
		srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Drop: true, After: func() { srv.AbortSessions() }}, strings.HasPrefix(req.SQL, "INSERT")
		})
		connector, err := snowtether.NewConnector(srv.Config())
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		err = insert(t.Context(), db, "weather", []day{{date: "2012-01-01"}})
		if n := connector.Stats().InDoubt; !errors.Is(err, snowtether.ErrInDoubt) || n != attempts {
			t.Errorf("in doubt %d times; %v", n, err)
		}
	})
}

func TestOnlySnowtethersRowsDecideTheStatus(t *testing.T) {
	good := column{name: "good", tally: tally{file: 10, table: 10}}
	missing := column{name: "missing", tally: tally{file: 10, table: 9, missing: 1}, failed: 1}
	doubled := column{name: "doubled", tally: tally{file: 10, table: 11, doubled: 1}}
	both := column{name: "both", tally: tally{file: 10, table: 10, missing: 1, doubled: 1}}
	for _, test := range []struct {
		columns []column
		want    int
	}{
		{[]column{good}, 0},
		{[]column{good, missing}, 0},
		{[]column{good, doubled}, 0},
		{[]column{missing}, 1},
		{[]column{missing, good}, 1},
		{[]column{doubled, good}, 1},
		{[]column{both, good}, 1},
	} {
		if got := report(io.Discard, test.columns); got != test.want {
			t.Errorf("status %d for %+v, want %d", got, test.columns, test.want)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, test := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"-h"}, 0, "usage:"},
		{[]string{"-unknown"}, 2, "-unknown"},
		{[]string{"-workers", "0"}, 2, "-workers"},
		{[]string{"-rows", "-1"}, 2, "-rows"},
		{[]string{"-every", "1ms"}, 2, "-every"},
		{[]string{"weather.csv"}, 2, "arguments"},
	} {
		var stdout, stderr output
		if got := run(t.Context(), test.args, "", &stdout, &stderr); got != test.status {
			t.Errorf("%v: status %d, want %d", test.args, got, test.status)
		}
		if !strings.Contains(stderr.String(), test.says) || stdout.String() != "" {
			t.Errorf("%v: stderr %q, stdout %q", test.args, &stderr, &stdout)
		}
		if test.status == 2 && strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%v: more than one line: %s", test.args, &stderr)
		}
	}
}

// schemas lists the schemas that were created and dropped.
func schemas(srv *snowtest.Server) (created, dropped []string) {
	for _, e := range srv.Ledger() {
		if name, ok := strings.CutPrefix(e.SQL, "CREATE TRANSIENT SCHEMA "); ok {
			created = append(created, name)
		}
		if name, ok := strings.CutPrefix(e.SQL, "DROP SCHEMA IF EXISTS "); ok {
			dropped = append(dropped, name)
		}
	}
	return created, dropped
}

func TestAccountGetsItsSchemaDropped(t *testing.T) {
	srv := serve(t)
	var stdout output
	if status := run(t.Context(), []string{"-rows", "50"}, srv.DSN(), &stdout, srv.Log()); status != 0 {
		t.Fatalf("status %d\n%s", status, &stdout)
	}
	if got := cells(t, stdout.String(), "rows in the table"); !slices.Equal(got, []int{50}) {
		t.Errorf("rows in the table: %v", got)
	}
	if strings.Contains(stdout.String(), "waves") {
		t.Errorf("it speaks of kills on an account:\n%s", &stdout)
	}
	created, dropped := schemas(srv)
	if len(created) != 1 || !slices.Equal(created, dropped) {
		t.Errorf("created %v, dropped %v", created, dropped)
	}
	for _, e := range srv.Ledger() {
		if strings.Contains(e.SQL, "weather") && !strings.Contains(e.SQL, created[0]+".weather") {
			t.Errorf("the name is not qualified: %s", e.SQL)
		}
	}
}

func TestInterruptDropsTheSchema(t *testing.T) {
	for _, at := range []string{"CREATE TRANSIENT SCHEMA", "CREATE TABLE", "INSERT", "SELECT day"} {
		t.Run(at, func(t *testing.T) {
			srv := serve(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{After: cancel}, strings.HasPrefix(req.SQL, at)
			})
			var stderr output
			status := run(ctx, []string{"-rows", "50"}, srv.DSN(), io.Discard, &stderr)
			if status != 130 || !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("status %d\n%s", status, &stderr)
			}
			created, dropped := schemas(srv)
			if len(created) != 1 || !slices.Equal(created, dropped) {
				t.Errorf("created %v, dropped %v", created, dropped)
			}
		})
	}
}

func TestSchemaThatIsLeftBehindIsNamed(t *testing.T) {
	for name, interrupted := range map[string]bool{"after the load": false, "after an interrupt": true} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
				if interrupted && strings.HasPrefix(req.SQL, "SELECT day") {
					cancel()
				}
				return snowtest.Fault{Code: "003001", Message: "Insufficient privileges"}, strings.HasPrefix(req.SQL, "DROP SCHEMA")
			})
			var stderr output
			if status := run(ctx, []string{"-rows", "8"}, srv.DSN(), io.Discard, &stderr); status != 1 {
				t.Errorf("status %d", status)
			}
			created, _ := schemas(srv)
			if len(created) != 1 || !strings.Contains(stderr.String(), "not dropped: "+created[0]) {
				t.Errorf("created %v; it printed %s", created, &stderr)
			}
		})
	}
}

func TestErrorsDoNotRepeatTheDSN(t *testing.T) {
	srv := serve(t)
	const secret = "wrong-Secret"
	for name, dsn := range map[string]string{
		"wrong password": strings.Replace(srv.DSN(), url.QueryEscape(srv.Password()), secret, 1),
		"malformed":      srv.User() + ":" + secret + "@host:port:" + secret + "/%zz?" + secret,
	} {
		var stdout, stderr output
		if status := run(t.Context(), nil, dsn, &stdout, &stderr); status != 1 {
			t.Errorf("%s: status %d", name, status)
		}
		if out := stdout.String() + stderr.String(); strings.Contains(out, secret) || !strings.Contains(out, "quickstart: ") {
			t.Errorf("%s: it printed %q", name, out)
		}
		if strings.Contains(stderr.String(), "was not dropped") {
			t.Errorf("%s: it mourns a schema that never was: %s", name, &stderr)
		}
	}
}
