package snowtest_test

import (
	"context"
	"slices"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

func statements(t *testing.T, n int) context.Context {
	t.Helper()
	return gosnowflake.WithMultiStatement(t.Context(), n)
}

func TestMultiStatementQuery(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv)
	for _, n := range []int{0, 3} {
		got := column(t, statements(t, n), db, "SELECT 1; SELECT ';'; SELECT 3;")
		if !slices.Equal(got, []string{"1", ";", "3"}) {
			t.Errorf("count %d: got %q", n, got)
		}
	}
}

func TestMultiStatementExec(t *testing.T) {
	srv := snowtest.New(t)
	binds := capture(srv, "INSERT")
	db := open(t, srv)
	const sql = "BEGIN; INSERT INTO t VALUES (?), (?); INSERT INTO u VALUES ('?', ?); SELECT 1; COMMIT"
	res, err := db.ExecContext(statements(t, 5), sql, 1, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); n != 3 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	if one, two := text(<-binds), text(<-binds); one != "FIXED=1 FIXED=2" || two != "FIXED=3" {
		t.Errorf("binds %q and %q", one, two)
	}
	ledger := srv.Ledger()
	if len(ledger) != 6 {
		t.Fatalf("%d entries", len(ledger))
	}
	parent := ledger[0]
	if parent.SQL != sql || parent.Kind != snowtest.KindMulti || parent.Parent != "" {
		t.Errorf("the parent is %+v", parent)
	}
	for _, e := range ledger[1:] {
		if e.Parent != parent.QueryID || e.QueryID == parent.QueryID || e.State != snowtest.Succeeded || e.Effects != 1 {
			t.Errorf("a child is %+v", e)
		}
	}
}

func TestMultiStatementStopsAtTheFirstError(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle("broken", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, &snowtest.Error{Code: "001003", SQLState: "42000", Message: "broken"}
	})
	db := open(t, srv)
	_, err := db.ExecContext(statements(t, 0), "INSERT INTO t VALUES (1); broken; INSERT INTO t VALUES (2)")
	wantCode(t, err, 1003)
	if srv.Effects("INSERT INTO t VALUES (1)") != 1 || srv.Accepted("INSERT INTO t VALUES (2)") != 0 {
		t.Errorf("ledger %+v", srv.Ledger())
	}
	if e := srv.Ledger()[0]; e.State != snowtest.Failed {
		t.Errorf("the parent is %+v", e)
	}
}

func TestStatementCountMustMatch(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv)
	_, err := db.ExecContext(t.Context(), "SELECT 1; SELECT 2")
	wantCode(t, err, 8)
	_, err = db.ExecContext(statements(t, 3), "SELECT 1; SELECT 2")
	wantCode(t, err, 8)
	if n := srv.Accepted("SELECT 1"); n != 0 {
		t.Errorf("%d statements ran", n)
	}
	exec(t, db, "SELECT 1;")
}

func TestStatementCountCanBeASessionParameter(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	exec(t, c, "ALTER SESSION SET MULTI_STATEMENT_COUNT = 0")
	if got := column(t, t.Context(), c, "SELECT 1; SELECT 2"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %q", got)
	}
}

func TestCancelledMultiStatementStops(t *testing.T) {
	srv := snowtest.New(t)
	b := block(srv, "UPDATE")
	db := open(t, srv)
	ctx, cancel := context.WithCancel(statements(t, 0))
	go func() { <-b.began; cancel() }()
	if _, err := db.ExecContext(ctx, "UPDATE t SET x = 1; DELETE FROM t"); err == nil {
		t.Error("it succeeded")
	}
	waitFor(func() bool { return srv.Ledger()[0].State == snowtest.Aborted })
	if e := srv.Ledger()[1]; e.State != snowtest.Aborted || srv.Accepted("DELETE FROM t") != 0 {
		t.Errorf("ledger %+v", srv.Ledger())
	}
}
