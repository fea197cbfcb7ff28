package results_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/results"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what is read: which queries, settings and results are taken.

func TestWhatIsNoReadIsRefusedAndNothingIsSent(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		for _, text := range []string{
			"", " ; ", "-- nothing", "DROP TABLE t", "INSERT INTO t VALUES (1)", "SELECT 1; DROP TABLE t", "SELECT 1; SELECT 2", "CALL p()",
			"BEGIN SELECT 1; END", "WITH p AS PROCEDURE () RETURNS INT AS 'x' CALL p()", "SELECT 1 ->> INSERT INTO t SELECT * FROM $1",
			"USE ROLE r", "PUT file:///x @y", "COMMIT", "EXECUTE IMMEDIATE 'SELECT 1'", "secret-Word",
		} {
			fn := func(results.Batch) error { t.Errorf("%q: there are rows", text); return nil }
			err := results.Read(t.Context(), db, results.SQL(text), fn)
			rows, rowsErr := results.Rows(t.Context(), db, results.SQL(text))
			if rowsErr == nil {
				t.Errorf("%q: Rows takes it", text)
				rows.Close()
			}
			if err == nil || !strings.HasPrefix(err.Error(), "results: SQL takes ") || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v", text, err)
			}
		}
		if n := len(srv.Stats().Requests); n > 0 {
			t.Errorf("the server got %d kinds of requests", n)
		}
	})
}

func TestWrongSettingsAreOneLineThatSaysWhatIsRight(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		fn := func(results.Batch) error { return nil }
		q := results.SQL(manyQuery)
		for says, err := range map[string]error{
			"Ahead(-1)":      results.Read(t.Context(), db, q, fn, results.Ahead(-1)),
			"PartTimeout":    results.Read(t.Context(), db, q, fn, results.PartTimeout(0)),
			"a function":     results.Read(t.Context(), db, q, nil),
			"pool is nil":    results.Read(t.Context(), nil, q, fn),
			"option 1 is":    results.Read(t.Context(), db, q, fn, nil),
			"SQL or From":    results.Read(t.Context(), db, results.Query{}, fn),
			"ID of a query":  results.Read(t.Context(), db, results.From("x y", 0), fn),
			"first row is 0": results.Read(t.Context(), db, results.From("01b2c3d4-0000-0000-0000-000000000000", -1), fn),
		} {
			if err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "results: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v", says, err)
			}
		}
		if n := len(srv.Stats().Requests); n > 0 {
			t.Errorf("the server got %d kinds of requests", n)
		}
	})
}

func TestJSONIsRefusedBeforeAnythingIsDelivered(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		for _, text := range []string{manyQuery, "SHOW TABLES"} {
			err := results.Read(t.Context(), db, results.SQL(text), func(results.Batch) error { t.Error("there are rows"); return nil })
			if !errors.Is(err, results.ErrNotArrow) || srv.Accepted(text) != 1 {
				t.Errorf("%s, accepted %d times: %v", text, srv.Accepted(text), err)
			}
		}
	}, snowtest.WithSessionParameter("GO_QUERY_RESULT_FORMAT", "JSON"))
}

func TestEmptyResultHasColumnsAndNoRows(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		srv.Handle("FROM nothing", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return &snowtest.Result{Kind: snowtest.KindSelect, Columns: []snowtest.Column{{Name: "N", Type: "fixed", Precision: 10, Scale: 2}}}, nil
		})
		var columns []results.Column
		err := results.Read(t.Context(), db, results.SQL("SELECT * FROM nothing"), func(results.Batch) error { t.Error("there are rows"); return nil },
			results.OnProgress(func(p results.Progress) { columns = p.Columns }))
		if got := fmt.Sprint(columns); err != nil || got != "[{N FIXED 10 2 false}]" {
			t.Errorf("%s, %v", got, err)
		}
	})
}

func TestArgumentsAreBound(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		var bound string
		srv.Handle("FROM bound", func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
			for i := 1; i <= len(st.Binds); i++ {
				bound += fmt.Sprint(*st.Binds[i-1].Value, ";")
			}
			return snowtest.Rows([]string{"N"}, []any{1}), nil
		})
		q := results.SQL("SELECT * FROM bound WHERE a = ? AND b = ? AND c = ?", 5, "x", sql.NullString{String: "y", Valid: true})
		if err := results.Read(t.Context(), db, q, func(results.Batch) error { return nil }); err != nil || bound != "5;x;y;" {
			t.Errorf("%q, %v", bound, err)
		}
	})
}

// TestDriverDoesNotImportResults: Arrow's compute, which results needs, doubles a binary.
func TestDriverDoesNotImportResults(t *testing.T) {
	for _, pkg := range []string{"github.com/snowtether/snowtether", "github.com/snowtether/snowtether/snowtest"} {
		deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, dep := range strings.Fields(string(deps)) {
			if strings.HasSuffix(dep, "/results") || strings.Contains(dep, "/arrow/compute") || strings.HasSuffix(dep, "/arrowbatches") {
				t.Errorf("%s imports %s", pkg, dep)
			}
		}
	}
}

// A statement that Snowflake refuses costs no session.
func TestWrongQueryLeavesItsSessionInThePool(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		srv.Handle("FROM missing", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "002003", SQLState: "42S02", Message: "Object 'MISSING' does not exist."}
		})
		for range 2 {
			err := results.Read(t.Context(), db, results.SQL("SELECT * FROM missing"), func(results.Batch) error { return nil })
			if err == nil || !strings.Contains(err.Error(), "'MISSING' does not exist") {
				t.Errorf("the error is %v", err)
			}
		}
		if n := srv.Stats().Logins; n != 1 || srv.Accepted("SELECT * FROM missing") != 2 {
			t.Errorf("%d logins, accepted %d times", n, srv.Accepted("SELECT * FROM missing"))
		}
	}, snowtest.AllowRepeats())
}

// TestFromWaitsForAQueryThatStillRuns: perhaps another process has sent it.
func TestFromWaitsForAQueryThatStillRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		srv.Handle("FROM slow", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			time.Sleep(3 * time.Minute)
			return snowtest.Rows([]string{"N"}, []any{1}), nil
		})
		ids := make(chan string, 1)
		sent := make(chan error, 1)
		go func() {
			sent <- results.Read(gosnowflake.WithQueryIDChan(t.Context(), ids), db, results.SQL("SELECT * FROM slow"), func(results.Batch) error { return nil })
		}()
		began, rows, running := time.Now(), int64(0), 0
		err := results.Read(t.Context(), db, results.From(<-ids, 0), func(b results.Batch) error { rows += b.NumRows(); return nil },
			results.OnProgress(func(p results.Progress) {
				if p.Running {
					running++
				}
			}))
		if took := time.Since(began); err != nil || <-sent != nil || rows != 1 || took < time.Minute || took > 4*time.Minute || running < 60 {
			t.Errorf("after %v, %d reports and %d rows: %v", took, running, rows, err)
		}
		if n := srv.Accepted("SELECT * FROM slow"); n != 1 {
			t.Errorf("the query was accepted %d times", n)
		}
	})
}

// forgetful is a connector around gosnowflake's whose connections lose the ID that a result is to be
// fetched by.
type forgetful struct{ driver.Connector }

func (f forgetful) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := f.Connector.Connect(ctx)
	return forgetting{c}, err
}

type forgetting struct{ driver.Conn }

func (f forgetting) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	return f.Conn.(driver.QueryerContext).QueryContext(context.WithValue(ctx, gosnowflake.ContextKey("SF_FETCH_RESULT_BY_ID"), nil), text, args)
}

// TestQueryIsNotRunAgainWhereItsResultCannotBeFetched: by a wrapper that loses the context.
func TestQueryIsNotRunAgainWhereItsResultCannotBeFetched(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, _ *sql.DB) {
		db := sql.OpenDB(forgetful{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())})
		defer db.Close()
		srv.FaultOnce(at(5, snowtest.Fault{Status: 403}))
		y := &tally{t: t}
		err := results.Read(t.Context(), db, results.SQL(manyQuery), y.take)
		if n := srv.Accepted(manyQuery); err == nil || n != 1 {
			t.Errorf("accepted %d times, %d rows: %v", n, y.next, err)
		}
	}, snowtest.AllowRepeats())
}
