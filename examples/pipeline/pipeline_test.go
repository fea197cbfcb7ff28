package main

import (
	"database/sql"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/jmoiron/sqlx"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

func TestLoadedFileIsNotLoadedAgain(t *testing.T) {
	srv := serve(t)
	paths := write(t, fileA, fileB)
	load(t, srv.DSN(), 0, paths...)
	stdout, _ := load(t, srv.DSN(), 0, paths[0]) // would undo what b.csv changed
	exact(t, open(t, srv), fileA, fileB)
	if !strings.Contains(stdout, "a.csv     13             13           0           12  an earlier run") {
		t.Errorf("it printed\n%s", stdout)
	}
	// The same content under another name is the same load; a changed file is another one.
	changed := strings.Replace(fileA, "sun", "fog", 1)
	load(t, srv.DSN(), 0, write(t, fileB, changed, fileB)...)
	exact(t, open(t, srv), fileA, fileB, changed)
	onlyOnce(t, open(t, srv))
}

func TestFileWithoutLinesIsALoad(t *testing.T) {
	srv := serve(t)
	empty := strings.Join(header, ",") + "\n"
	load(t, srv.DSN(), 0, write(t, empty)...)
	if got := texts(t, open(t, srv), "SELECT file_name FROM pipeline_loads"); len(got) != 1 {
		t.Errorf("the ledger has %v", got)
	}
	load(t, srv.DSN(), 0, write(t, "\ufeff"+fileA)...) // as spreadsheets write it
	exact(t, open(t, srv), empty, fileA)
}

func TestTwoRunsAtTheSameTime(t *testing.T) {
	srv := serve(t)
	paths := write(t, fileA, fileB)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			var stdout, stderr output
			if status := run(t.Context(), append([]string{"-batch", "3"}, paths...), srv.DSN(), &stdout, &stderr); status != 0 {
				t.Errorf("status %d\n%s", status, &stderr)
			}
		})
	}
	wg.Wait()
	exact(t, open(t, srv), fileA, fileB)
}

// The check has to find what the pipeline itself never does.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	for name, wrong := range map[string]string{
		"a row is missing":        "DELETE FROM pipeline_weather WHERE day = '2024-01-03'",
		"a row is there twice":    "INSERT INTO pipeline_weather SELECT * FROM pipeline_weather WHERE day = '2024-01-03'",
		"a number differs":        "UPDATE pipeline_weather SET wind = wind + 0.01 WHERE day = '2024-01-03'",
		"the sums differ":         "UPDATE pipeline_yearly SET temp_min = temp_min - 0.01",
		"a staged number differs": "UPDATE pipeline_staged SET precipitation = precipitation + 0.01 WHERE line = 4",
		"a merge is not recorded": "DELETE FROM pipeline_loads WHERE turn = 2",
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t)
			paths := write(t, fileA, fileB)
			load(t, srv.DSN(), 0, paths...)
			if _, err := open(t, srv).ExecContext(t.Context(), wrong); err != nil {
				t.Fatal(err)
			}
			_, stderr := load(t, srv.DSN(), 1, paths[0])
			if !strings.Contains(stderr, "the counts differ") || strings.Contains(stderr, "goes on") {
				t.Errorf("it printed\n%s", stderr)
			}
		})
	}
}

func TestStagedLinesThatVanishedAreStagedAgain(t *testing.T) {
	srv := serve(t)
	paths := write(t, fileA, fileB)
	load(t, srv.DSN(), 0, paths...)
	db := open(t, srv)
	if _, err := db.ExecContext(t.Context(), "DELETE FROM pipeline_staged WHERE line IN (2, 5, 9)"); err != nil {
		t.Fatal(err)
	}
	load(t, srv.DSN(), 0, paths...)
	exact(t, db, fileA, fileB)
	onlyOnce(t, db)
}

// The reply to a statement is lost, and the session is gone when gosnowflake asks
// again: nobody can tell whether it ran, except by looking. Time is virtual.
func TestStatementInDoubtIsLookedUp(t *testing.T) {
	for _, at := range []string{"PUT", "COPY", "INSERT INTO pipeline_staged", "COMMIT"} {
		for name, ran := range map[string]bool{"it ran": true, "it did not run": false} {
			t.Run(at+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv := serve(t, snowtest.InMemory())
					srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
						lost := snowtest.Fault{Run: ran, Drop: true, After: func() { srv.AbortSessions() }}
						return lost, strings.HasPrefix(req.SQL, at)
					})
					connector, err := snowtether.NewConnector(srv.Config())
					if err != nil {
						t.Fatal(err)
					}
					db := sqlx.NewDb(sql.OpenDB(connector), snowtether.DriverName)
					defer db.Close()
					db.SetMaxOpenConns(1)
					p := &pipeline{db: db, batch: 5, workers: 1, inserts: strings.HasPrefix(at, "INSERT"), progress: newProgress(srv.Log())}
					f, err := parseFile("a.csv", []byte(fileA))
					if err != nil {
						t.Fatal(err)
					}
					if err := p.prepare(t.Context()); err != nil {
						t.Fatal(err)
					}
					o, err := p.load(t.Context(), f)
					if want := (outcome{merged: 12}); err != nil || o != want {
						t.Errorf("%+v, %v, want %+v", o, err, want)
					}
					if n := connector.Stats().InDoubt; n != 1 {
						t.Errorf("%d statements were in doubt", n)
					}
					exact(t, db, fileA)
					onlyOnce(t, db)
					merges := 0
					for _, e := range srv.Ledger() {
						if strings.HasPrefix(e.SQL, "MERGE") {
							merges += e.Effects
						}
					}
					if merges != 1 {
						t.Errorf("the MERGE took effect %d times", merges)
					}
				})
			})
		}
	}
}
