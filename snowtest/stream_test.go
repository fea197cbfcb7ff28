package snowtest_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is about results that an engine yields a few rows at a time, and
// about results that are fetched once more.

func TestYieldedRowsFollowTheFirst(t *testing.T) {
	bothFormats(t, func(t *testing.T, format string) {
		for _, chunkRows := range []int{0, 1, 7, 100_000} {
			srv := snowtest.New(t, snowtest.WithChunkRows(chunkRows))
			srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				res := repeated(10, 5)
				zero := "0"
				res.Rows = [][]*string{{&zero}}
				return res, nil
			})
			got := column(t, t.Context(), open(t, srv, inFormat(format)), "SELECT * FROM big")
			if got[0] != "0" {
				t.Errorf("the first row is %s", got[0])
			}
			inOrder(t, got[1:], 50)
		}
	})
}

func TestErrorAmongTheYieldedRowsFailsTheStatement(t *testing.T) {
	bothFormats(t, func(t *testing.T, format string) {
		srv := snowtest.New(t, snowtest.WithChunkRows(10))
		srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			res := repeated(10, 5)
			rows := res.More
			res.More = func(yield func([][]*string, error) bool) {
				rows(yield)
				yield(nil, &snowtest.Error{Code: "100051", SQLState: "22012", Message: "Division by zero"})
			}
			return res, nil
		})
		_, err := open(t, srv, inFormat(format)).QueryContext(t.Context(), "SELECT * FROM big")
		wantCode(t, err, 100051)
		if e := srv.Ledger()[0]; e.State != snowtest.Failed {
			t.Errorf("the statement is %v", e.State)
		}
	})
}

func TestCancelledStatementYieldsNoMoreRows(t *testing.T) {
	srv := snowtest.New(t)
	began := make(chan struct{})
	stopped := false
	srv.Handle("FROM endless", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		res := repeated(10, 1)
		rows := res.More
		res.More = func(yield func([][]*string, error) bool) {
			close(began)
			for more := true; more; {
				rows(func(list [][]*string, err error) bool {
					more = yield(list, err)
					return more
				})
			}
			stopped = true
		}
		return res, nil
	})
	c := conn(t, open(t, srv))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := c.QueryContext(ctx, "SELECT * FROM endless"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	exec(t, c, "SELECT 1") // runs when the other is over
	if e := srv.Ledger()[0]; e.State != snowtest.Aborted || !stopped {
		t.Errorf("the statement is %v", e.State)
	}
}

func TestDescribedStatementYieldsNoRows(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		res := repeated(1, 1)
		res.More = func(func([][]*string, error) bool) { t.Error("it was read") }
		return res, nil
	})
	c := conn(t, open(t, srv))
	err := c.Raw(func(dc any) error {
		rows, err := dc.(driver.QueryerContext).QueryContext(gosnowflake.WithDescribeOnly(t.Context()), "SELECT * FROM big", nil)
		if err == nil && strings.Join(rows.Columns(), ",") != "N" {
			t.Errorf("columns %v", rows.Columns())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// again answers FROM big with rows that only the parts hold, and FROM small with
// rows that the server keeps.
func again(t *testing.T) *snowtest.Server {
	srv := snowtest.New(t, snowtest.WithChunkRows(100))
	srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) { return repeated(10, 50), nil })
	srv.Handle("FROM small", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows([]string{"N"}, []any{0}, []any{1}, []any{2}), nil
	})
	return srv
}

func TestResultScanGivesTheSameRows(t *testing.T) {
	bothFormats(t, func(t *testing.T, first string) {
		bothFormats(t, func(t *testing.T, second string) {
			srv := again(t)
			a, b := open(t, srv, inFormat(first)), open(t, srv, inFormat(second))
			for table, n := range map[string]int{"big": 500, "small": 3} {
				inOrder(t, column(t, t.Context(), a, "SELECT * FROM "+table), n)
				list := srv.Ledger()
				scan := "SELECT * FROM TABLE(RESULT_SCAN('" + list[len(list)-1].QueryID + "'))"
				inOrder(t, column(t, t.Context(), b, scan), n)
			}
		})
	})
}

func TestRowsOfShowAreArrowWhenScanned(t *testing.T) {
	srv := snowtest.New(t)
	db := open(t, srv)
	exec(t, db, "SHOW TABLES")
	if got := format(t, db, "SELECT * FROM TABLE(RESULT_SCAN('"+srv.Ledger()[0].QueryID+"'))"); got != "arrow" {
		t.Errorf("format %s", got)
	}
}

func TestResultScanRepeatsTheRowsAndNotTheStatement(t *testing.T) {
	srv := again(t)
	c := conn(t, open(t, srv))
	exec(t, c, "USE ROLE one")
	exec(t, c, "USE ROLE two")
	inOrder(t, column(t, t.Context(), c, "SELECT * FROM big"), 500)
	list := srv.Ledger()
	exec(t, c, "SELECT * FROM TABLE(RESULT_SCAN('"+list[0].QueryID+"'))")
	if role := srv.Sessions()[0].Role; role != "TWO" {
		t.Errorf("the role is %s", role)
	}
	described := gosnowflake.WithDescribeOnly(t.Context())
	if got := column(t, described, c, "SELECT * FROM TABLE(RESULT_SCAN('"+list[2].QueryID+"'))"); len(got) != 0 {
		t.Errorf("described: %d rows", len(got))
	}
}

func TestOtherSessionsFetchArrowByID(t *testing.T) {
	srv := again(t)
	a, b := open(t, srv), open(t, srv, inFormat(jsonFormat))
	inOrder(t, column(t, t.Context(), a, "SELECT * FROM big"), 500)
	byID := gosnowflake.WithFetchResultByID(t.Context(), srv.Ledger()[0].QueryID)
	inOrder(t, column(t, byID, b, ""), 500)
	total := 0
	batches(t, byID, conn(t, a), "", func(_ int, columns []arrow.Array) { total += columns[0].Len() })
	if total != 500 {
		t.Errorf("%d rows in batches", total)
	}
}

func TestMultiStatementHasArrowResultSets(t *testing.T) {
	bothFormats(t, func(t *testing.T, format string) {
		srv := again(t)
		db := open(t, srv, inFormat(format))
		const text = "SELECT * FROM small; INSERT INTO t VALUES (1), (2); SELECT * FROM big; SHOW TABLES; SELECT 'x'"
		got := column(t, statements(t, 5), db, text)
		if len(got) != 3+1+500+1+1 || got[3] != "2" || got[505] != "x" {
			t.Fatalf("%d rows: %v", len(got), got)
		}
		inOrder(t, got[:3], 3)
		inOrder(t, got[4:504], 500)
	})
}

func TestMultiStatementStreams(t *testing.T) {
	srv := again(t)
	var formats []string
	var totals []int64
	stream(t, conn(t, open(t, srv)), "SELECT * FROM small; SHOW TABLES; SELECT * FROM big", func(l gosnowflake.ArrowStreamLoader) {
		for {
			formats = append(formats, l.(gosnowflake.QueryResultFormatProvider).QueryResultFormat())
			list, err := l.GetBatches()
			if err != nil {
				t.Fatal(err)
			}
			var total int64
			for _, b := range list {
				total += b.NumRows()
			}
			totals = append(totals, total)
			if err := l.NextResultSet(t.Context()); err != nil {
				return
			}
		}
	})
	if strings.Join(formats, " ") != "arrow json arrow" || totals[0] != 3 || totals[2] != 500 {
		t.Errorf("formats %v, rows %v", formats, totals)
	}
}
