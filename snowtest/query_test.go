package snowtest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

func TestErrorsReachTheClientAsTheyStand(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle("missing", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, fmt.Errorf("wrapped: %w", &snowtest.Error{Code: "002003", SQLState: "02000", Message: "does not exist"})
	})
	srv.Handle("plain", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, errors.New("plain failure")
	})
	db := open(t, srv)
	_, err := db.ExecContext(t.Context(), "SELECT * FROM missing")
	var se *gosnowflake.SnowflakeError
	if !errors.As(err, &se) || se.Number != 2003 || se.SQLState != "02000" || se.Message != "does not exist" {
		t.Fatalf("got %#v", err)
	}
	e := srv.Ledger()[0]
	if e.State != snowtest.Failed || e.Effects != 0 || e.Err == nil || e.Err.Code != "002003" || se.QueryID != e.QueryID {
		t.Errorf("the entry is %+v, the error's query ID %q", e, se.QueryID)
	}
	_, err = db.ExecContext(t.Context(), "SELECT * FROM plain")
	wantCode(t, err, 603)
	_, err = db.ExecContext(t.Context(), " -- nothing")
	wantCode(t, err, 900)
}

// gosnowflake v2.1.0 panics on most of them.
func TestResultsThatFitNoQueryAreErrors(t *testing.T) {
	one, two := "1", "2"
	columns := []snowtest.Column{{Name: "A", Type: "text"}}
	for name, res := range map[string]*snowtest.Result{
		"no column":          {},
		"a row of two":       {Columns: columns, Rows: [][]*string{{&one, &two}}},
		"a row of none":      {Columns: columns, Rows: [][]*string{{&one}, {}}},
		"a count of nothing": {Kind: snowtest.KindInsert, Columns: columns, Rows: [][]*string{{}}},
	} {
		bothFormats(t, func(t *testing.T, format string) {
			srv := snowtest.New(t)
			srv.Handle("t", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) { return res, nil })
			_, err := open(t, srv, inFormat(format)).ExecContext(t.Context(), "SELECT * FROM t")
			if code(err) != 603 || !strings.Contains(err.Error(), "column") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// The statement runs on while its client polls, and once only.
func TestSlowStatementIsPolled(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithInlineWait(time.Millisecond))
	b := block(srv, "UPDATE")
	var polls atomic.Int32
	srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
		if req.Kind == snowtest.RequestResult && polls.Add(1) == 3 {
			close(b.release)
		}
		return snowtest.Fault{}, false
	})
	res := exec(t, open(t, srv), "UPDATE t SET x = 1")
	if n, err := res.RowsAffected(); n != 1 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	if len(b.began) != 1 || srv.Accepted("UPDATE t SET x = 1") != 1 || polls.Load() < 3 {
		t.Errorf("ran %d times, accepted %d times, %d polls", len(b.began), srv.Accepted("UPDATE t SET x = 1"), polls.Load())
	}
}

func TestAsynchronousStatement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		b := block(srv, "SLOW")
		c := conn(t, open(t, srv))
		res := exec(t, c2{c, gosnowflake.WithAsyncMode}, "UPDATE slow SET x = 1")
		<-b.began
		if e := srv.Ledger()[0]; e.State != snowtest.Running {
			t.Errorf("the entry is %+v", e)
		}
		go func() { time.Sleep(3 * time.Minute); close(b.release) }()
		if n, err := res.RowsAffected(); n != 1 || err != nil {
			t.Errorf("%d rows, %v", n, err)
		}
		rows, err := c.QueryContext(gosnowflake.WithAsyncMode(t.Context()), "SELECT 7")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readColumn(rows); err != nil || len(got) != 1 || got[0] != "7" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// c2 puts something into the context of each statement.
type c2 struct {
	execer
	with func(context.Context) context.Context
}

func (c c2) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return c.execer.ExecContext(c.with(ctx), query, args...)
}

// The reply is lost; the client asks again with the same request ID and a retry
// count, and must get the outcome of the first.
func TestRepeatedRequestIDNeverRunsAgain(t *testing.T) {
	for name, fault := range map[string]snowtest.Fault{
		"lost reply":     {Run: true, Drop: true},
		"gateway's 503":  {Run: true, Status: 503, Body: "<html>"},
		"cut short":      {Run: true, Body: `{"data":`},
		"expired, twice": {Run: true, Code: "390112"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := snowtest.New(t, snowtest.InMemory())
				var retries []int
				srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
					if req.Kind != snowtest.RequestQuery {
						return snowtest.Fault{}, false
					}
					retries = append(retries, req.RetryCount)
					return fault, len(retries) == 1
				})
				srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
					if req.Kind == snowtest.RequestQuery && req.RetryCount > 0 {
						retries = append(retries, req.RetryCount)
					}
					return snowtest.Fault{}, false
				})
				res := exec(t, open(t, srv), "INSERT INTO t VALUES (1), (2)")
				if n, err := res.RowsAffected(); n != 2 || err != nil {
					t.Errorf("%d rows, %v", n, err)
				}
				if st := srv.Stats(); len(srv.Ledger()) != 1 || st.Repeats != 1 || st.Requests[snowtest.RequestQuery] != 2 {
					t.Errorf("%d entries, stats %+v", len(srv.Ledger()), st)
				}
				if strings.Contains(name, "lost") && (len(retries) != 2 || retries[1] != 1) {
					t.Errorf("retry counts %v", retries)
				}
			})
		})
	}
}

func TestRequestIDOfOneSessionMeansNothingInAnother(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	db := open(t, srv)
	ctx := gosnowflake.WithRequestID(t.Context(), gosnowflake.NewUUID())
	for _, c := range []*sql.Conn{conn(t, db), conn(t, db)} {
		for range 2 {
			if _, err := c.ExecContext(ctx, "INSERT INTO t VALUES (1)"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := srv.Accepted("INSERT INTO t VALUES (1)"); n != 2 {
		t.Errorf("accepted %d times in two sessions", n)
	}
}

func TestCancelledContextAbortsTheStatement(t *testing.T) {
	srv := snowtest.New(t)
	b := block(srv, "UPDATE")
	db := open(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-b.began; cancel() }()
	if _, err := db.ExecContext(ctx, "UPDATE t SET x = 1"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	waitFor(func() bool { return srv.Ledger()[0].State != snowtest.Running })
	if e := srv.Ledger()[0]; e.State != snowtest.Aborted || e.Effects != 0 || e.Err.Code != "000604" || e.Err.SQLState != "57014" {
		t.Errorf("the entry is %+v", e)
	}
	wantCode(t, status(t, conn(t, db), srv.Ledger()[0].QueryID), gosnowflake.ErrQueryStatus)
}

func TestSystemCancelQuery(t *testing.T) {
	srv := snowtest.New(t)
	b := block(srv, "UPDATE")
	db := open(t, srv)
	failed := make(chan error)
	go func() { _, err := db.ExecContext(t.Context(), "UPDATE t SET x = 1"); failed <- err }()
	<-b.began
	id := srv.Ledger()[0].QueryID
	if got := column(t, t.Context(), db, "SELECT SYSTEM$CANCEL_QUERY('"+id+"')"); got[0] != "query ["+id+"] terminated." {
		t.Errorf("got %q", got)
	}
	wantCode(t, <-failed, 604)
	if got := monitored(t, srv, id); got != "FAILED_WITH_ERROR" {
		t.Errorf("its status is %q", got)
	}
	if got := column(t, t.Context(), db, "select system$cancel_query('"+id+"');"); !strings.Contains(got[0], "not currently executing") {
		t.Errorf("got %q", got)
	}
}

// TestSystemCancelAllQueries: of one session, and of no other user's.
func TestSystemCancelAllQueries(t *testing.T) {
	srv := snowtest.New(t)
	b := block(srv, "UPDATE")
	db := open(t, srv)
	failed := make(chan error)
	go func() { _, err := db.ExecContext(t.Context(), "UPDATE t SET x = 1"); failed <- err }()
	<-b.began
	of := srv.Ledger()[0].SessionID
	for _, id := range []int64{of + 1000, of} {
		want := "0 cancelled."
		if id == of {
			want = "1 cancelled."
		}
		if got := column(t, t.Context(), db, fmt.Sprintf("SELECT SYSTEM$CANCEL_ALL_QUERIES(%d)", id)); got[0] != want {
			t.Errorf("session %d: %q, want %q", id, got, want)
		}
	}
	wantCode(t, <-failed, 604)
}

// monitored asks for a status as it stands on the wire; gosnowflake folds all
// failures into one.
func monitored(t *testing.T, srv *snowtest.Server, id string) string {
	t.Helper()
	tokens := &accessor{}
	db := open(t, srv, func(c *gosnowflake.Config) { c.TokenAccessor = tokens })
	exec(t, db, "SELECT 1")
	got := request(t, srv, "GET", "/monitoring/queries/"+id, tokens.session, nil)
	queries, _ := got.Data["queries"].([]any)
	if len(queries) != 1 {
		return ""
	}
	status, _ := queries[0].(map[string]any)["status"].(string)
	return status
}

func TestQueryStatus(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle("wrong", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return nil, &snowtest.Error{Code: "001003", SQLState: "42000", Message: "SQL compilation error"}
	})
	c := conn(t, open(t, srv))
	exec(t, c, "SELECT 1")
	_, _ = c.ExecContext(t.Context(), "wrong")
	ledger := srv.Ledger()
	err := c.Raw(func(dc any) error {
		st, err := dc.(gosnowflake.SnowflakeConnection).GetQueryStatus(t.Context(), ledger[0].QueryID)
		if err == nil && (st.SQLText != "SELECT 1" || st.StartTime == 0 || st.EndTime < st.StartTime || st.ProducedRows != 1) {
			t.Errorf("status %+v", st)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for i, want := range []string{"SUCCESS", "FAILED_WITH_ERROR"} {
		if got := monitored(t, srv, ledger[i].QueryID); got != want {
			t.Errorf("%s: status %q", ledger[i].SQL, got)
		}
	}
	err = status(t, c, ledger[1].QueryID)
	wantCode(t, err, gosnowflake.ErrQueryStatus)
	if !strings.Contains(err.Error(), "001003") {
		t.Errorf("the code is not in %q", err)
	}
}

func TestDescribeOnlyTellsColumnsAndRunsNothing(t *testing.T) {
	srv := snowtest.New(t)
	described := make(chan bool, 1)
	srv.Handle("FROM t", func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		described <- st.DescribeOnly
		return snowtest.Rows([]string{"A", "B"}, []any{int64(1), "x"}), nil
	})
	db := open(t, srv)
	rows, err := db.QueryContext(gosnowflake.WithDescribeOnly(t.Context()), "SELECT a, b FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil || len(types) != 2 || types[0].Name() != "A" || types[0].DatabaseTypeName() != "FIXED" || types[1].DatabaseTypeName() != "TEXT" {
		t.Errorf("columns %v, %v", types, err)
	}
	if rows.Next() || !<-described || len(srv.Ledger()) != 0 || srv.Stats().Statements != 0 {
		t.Errorf("it was carried out; ledger %v", srv.Ledger())
	}
}

func TestDescribingDoesNotStandInForTheStatement(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	ctx := gosnowflake.WithRequestID(t.Context(), gosnowflake.NewUUID())
	if got := column(t, gosnowflake.WithDescribeOnly(ctx), c, "SELECT 1"); len(got) != 0 {
		t.Errorf("described: %q", got)
	}
	if got := column(t, ctx, c, "SELECT 1"); len(got) != 1 {
		t.Errorf("carried out: %q", got)
	}
}

func TestLargeResultComesInChunks(t *testing.T) {
	const n = 2_345
	all := make([][]any, n)
	for i := range all {
		all[i] = []any{strconv.Itoa(i) + ` "quoted", [bracketed]`}
	}
	all[n-1][0] = nil
	for rows, chunks := range map[int]int{100: 23, 2_344: 1, n: 0, 0: 0} {
		srv := snowtest.New(t, snowtest.WithChunkRows(rows))
		srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return snowtest.Rows([]string{"A"}, all...), nil
		})
		db := open(t, srv)
		got := column(t, t.Context(), db, "SELECT a FROM big")
		if len(got) != n || got[n-1] != "NULL" {
			t.Fatalf("%d rows in chunks of %d", len(got), rows)
		}
		for i, v := range got[:n-1] {
			if v != all[i][0] {
				t.Fatalf("row %d is %q", i, v)
			}
		}
		if st := srv.Stats(); st.Requests[snowtest.RequestChunk] < chunks || chunks == 0 && st.Requests[snowtest.RequestChunk] > 0 {
			t.Errorf("%d chunks were fetched, want %d", st.Requests[snowtest.RequestChunk], chunks)
		}
		_ = db.Close()
	}
}

func TestChunkNeedsItsPath(t *testing.T) {
	srv := snowtest.New(t)
	if got := request(t, srv, "GET", "/chunks/made-up/0", "", nil); got.status != 403 {
		t.Errorf("status %d", got.status)
	}
}

func TestSessionStateFollowsTheStatements(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	exec(t, c, "USE ROLE auditor")
	if got := srv.Sessions()[0].Role; got != "AUDITOR" {
		t.Errorf("role %q", got)
	}
	exec(t, c2{c, gosnowflake.WithDescribeOnly}, "USE ROLE other")
	if got := srv.Sessions()[0].Role; got != "AUDITOR" {
		t.Errorf("role %q by a statement that was only described", got)
	}
}

func TestStatementsOfASessionRunOneAtATimeInOrder(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	var running, most atomic.Int32
	var order []string
	srv.Handle("UPDATE", func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		most.Store(max(most.Load(), running.Add(1)))
		order = append(order, st.SQL) // a data race if two ran at once
		running.Add(-1)
		return nil, nil
	})
	c := conn(t, open(t, srv))
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprintf("UPDATE t SET x = %d", i))
		exec(t, c2{c, gosnowflake.WithAsyncMode}, want[i])
	}
	exec(t, c, "SELECT 1")
	if most.Load() != 1 || strings.Join(order, ";") != strings.Join(want, ";") {
		t.Errorf("%d at once, in the order %q", most.Load(), order)
	}
}

func TestCancelledStatementInTheQueueLetsNoneOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		b := block(srv, "SLOW")
		db := open(t, srv)
		c, other := conn(t, db), conn(t, db)
		var results []sql.Result
		for _, query := range []string{"UPDATE slow SET x = 1", "UPDATE t SET x = 2", "UPDATE t SET x = 3"} {
			results = append(results, exec(t, c2{c, gosnowflake.WithAsyncMode}, query))
		}
		<-b.began
		exec(t, other, "SELECT SYSTEM$CANCEL_QUERY('"+srv.Ledger()[1].QueryID+"')")
		synctest.Wait()
		states := func() (list []snowtest.State) {
			for _, e := range srv.Ledger()[:3] {
				list = append(list, e.State)
			}
			return list
		}
		if got := states(); got[0] != snowtest.Running || got[1] != snowtest.Aborted || got[2] != snowtest.Running {
			t.Errorf("while the first runs: %v", got)
		}
		close(b.release)
		synctest.Wait()
		if got := states(); got[0] != snowtest.Succeeded || got[1] != snowtest.Aborted || got[2] != snowtest.Succeeded {
			t.Errorf("in the end: %v", got)
		}
		for i, want := range []int{0, 604, 0} {
			_, err := results[i].RowsAffected() // ends gosnowflake's goroutine, too
			wantCode(t, err, want)
		}
	})
}

// A test that fails inside a handler must not hang.
func TestHandlerThatNeverReturnsFailsTheStatement(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	srv.Handle("UPDATE", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		(&recorder{}).FailNow()
		return nil, nil
	})
	db := open(t, srv)
	_, err := db.ExecContext(t.Context(), "UPDATE t SET x = 1")
	wantCode(t, err, 603)
	_, err = db.ExecContext(statements(t, 0), "SELECT 1; UPDATE t SET x = 1; SELECT 2")
	wantCode(t, err, 603)
}
