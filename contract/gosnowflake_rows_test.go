package contract_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// gosnowflake's own interfaces (docs/guarantees.md): the rows of large results, whose parts
// gosnowflake downloads on goroutines of its own. It has two faults there, which snowtether keeps
// from its users. The context makes each show itself: gosnowflake looks something up in it between
// the two steps that must not be separated.

const (
	bigRows  = 500
	bigParts = 4 // to download; the first comes with the reply
)

// serveBig answers FROM big with so many rows, in parts.
func serveBig(srv *snowtest.Server) {
	list := make([][]any, bigRows)
	for i := range list {
		list[i] = []any{i}
	}
	srv.Handle("FROM big", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows([]string{"N"}, list...), nil
	})
}

var bigParted = snowtest.WithChunkRows(bigRows / (bigParts + 1))

// rowsIn reads rows of one whole number to their end, in order.
func rowsIn(rows driver.Rows) (n int, err error) { return rest(rows, 0) }

// rest is rowsIn from the nth row on.
func rest(rows driver.Rows, n int) (int, error) {
	dest := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(dest); err != nil {
			return n, err
		}
		if got := fmt.Sprint(dest[0]); got != fmt.Sprint(n) {
			return n, fmt.Errorf("row %d is %s", n, got)
		}
		n++
	}
}

// readings are the ways to large results.
var readings = []struct {
	name  string
	first int // result sets of one row before the large one
	query func(ctx context.Context, dc driver.Conn) (driver.Rows, error)
}{
	{"query", 0, func(ctx context.Context, dc driver.Conn) (driver.Rows, error) {
		return dc.(driver.QueryerContext).QueryContext(ctx, "SELECT n FROM big", nil)
	}},
	{"prepared", 0, func(ctx context.Context, dc driver.Conn) (driver.Rows, error) {
		stmt, err := dc.(driver.ConnPrepareContext).PrepareContext(ctx, "SELECT n FROM big")
		if err != nil {
			return nil, err
		}
		return stmt.(driver.StmtQueryContext).QueryContext(ctx, nil)
	}},
	{"asynchronous", 0, func(ctx context.Context, dc driver.Conn) (driver.Rows, error) {
		return dc.(driver.QueryerContext).QueryContext(gosnowflake.WithAsyncMode(ctx), "SELECT n FROM big", nil)
	}},
	{"second result set", 1, func(ctx context.Context, dc driver.Conn) (driver.Rows, error) {
		return dc.(driver.QueryerContext).QueryContext(gosnowflake.WithMultiStatement(ctx, 2), "SELECT 0; SELECT n FROM big", nil)
	}},
}

// onLarge reads a large result in each way and in each format.
func onLarge(t *testing.T, context func(t *testing.T, srv *snowtest.Server) context.Context, read func(t *testing.T, rows driver.Rows)) {
	for _, format := range []string{"ARROW", "JSON"} {
		for _, way := range readings {
			t.Run(format+" "+way.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					serveBig(srv)
					cfg := srv.Config()
					cfg.Params["GO_QUERY_RESULT_FORMAT"] = &format
					db := poolOf(t, cfg, 1)
					ctx := context(t, srv)
					raw(t, db, func(dc any) error {
						rows, err := way.query(ctx, dc.(driver.Conn))
						if err != nil {
							return err
						}
						for range way.first {
							if n, err := rowsIn(rows); n != 1 || err != io.EOF {
								t.Errorf("the result set before it: %d rows, %v", n, err)
							}
							if err := rows.(driver.RowsNextResultSet).NextResultSet(); err != nil {
								return err
							}
						}
						read(t, rows)
						return rows.Close()
					})
				}, bigParted)
			})
		}
	}
}

// returns fails the test if f waits for ever. What waits can then not be ended, which fails the
// bubble as well.
func returns(t *testing.T, f func()) {
	t.Helper()
	over := make(chan struct{})
	go func() { defer close(over); f() }()
	select {
	case <-over:
	case <-time.After(24 * time.Hour):
		t.Fatal("it waits for ever")
	}
}

// TestDownloadsThatFailUnseenAreMadeAnew: the rows are read to their end, in each format and by
// whoever has no deadline too.
func TestDownloadsThatFailUnseenAreMadeAnew(t *testing.T) {
	onLarge(t, func(_ *testing.T, srv *snowtest.Server) context.Context {
		return testpool.FailUnseen(context.Background(), srv, bigParts)
	}, func(t *testing.T, rows driver.Rows) {
		returns(t, func() {
			begun := time.Now()
			if n, err := rowsIn(rows); n != bigRows || err != io.EOF {
				t.Errorf("%d rows, %v", n, err)
			}
			if took := time.Since(begun); took > time.Second {
				t.Errorf("the failed downloads were noticed after %v", took)
			}
		})
	})
}

// TestReaderLeavesAtItsDeadlineWhateverBecomesOfDownloads: also where they failed unseen, or are
// with a transport that knows no contexts. Rows that broke off never look complete.
func TestReaderLeavesAtItsDeadlineWhateverBecomesOfDownloads(t *testing.T) {
	const patience = 300 * time.Millisecond
	leaves := func(t *testing.T, ctx context.Context, rows driver.Rows) {
		t.Helper()
		returns(t, func() {
			n, err := rowsIn(rows)
			if !errors.Is(err, context.DeadlineExceeded) || n != bigRows/(bigParts+1) {
				t.Errorf("%d rows, %v", n, err)
			}
			if at, _ := ctx.Deadline(); !time.Now().Equal(at) {
				t.Errorf("the reader left %v after its deadline", time.Since(at))
			}
			if again := rows.Next(make([]driver.Value, 1)); !errors.Is(again, context.DeadlineExceeded) {
				t.Errorf("the row after that: %v", again)
			}
			if err := rows.(driver.RowsNextResultSet).NextResultSet(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the result set after that: %v", err)
			}
			if err := rows.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("failed unseen", func(t *testing.T) {
		var ctx context.Context
		onLarge(t, func(t *testing.T, srv *snowtest.Server) context.Context {
			bounded, cancel := context.WithTimeout(t.Context(), patience)
			_ = cancel // the bubble's time ends it
			ctx = testpool.FailUnseen(bounded, srv, bigParts)
			return ctx
		}, func(t *testing.T, rows driver.Rows) { leaves(t, ctx, rows) })
	})
	t.Run("all is there", func(t *testing.T) {
		var cancel context.CancelFunc
		onLarge(t, func(t *testing.T, _ *snowtest.Server) (ctx context.Context) {
			ctx, cancel = context.WithCancel(t.Context())
			return ctx
		}, func(t *testing.T, rows driver.Rows) {
			dest := make([]driver.Value, len(rows.Columns()))
			if err := rows.Next(dest); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			cancel()
			if n, err := rest(rows, 1); !errors.Is(err, context.Canceled) || n != bigRows/(bigParts+1) {
				t.Errorf("%d rows, %v", n, err)
			}
		})
	})
	t.Run("deaf transport", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			serveBig(srv)
			deaf := &deafTransport{RoundTripper: srv.Config().Transporter, over: make(chan struct{})}
			cfg := srv.Config()
			cfg.Transporter = deaf
			db := poolOf(t, cfg, 1)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			raw(t, db, func(dc any) error {
				rows, err := readings[0].query(ctx, dc.(driver.Conn))
				if err == nil {
					leaves(t, ctx, rows)
				}
				return err
			})
			nextUser(t, srv, db)
			close(deaf.over)
		}, bigParted)
	})
}

// A deafTransport has a download wait whatever becomes of its context.
type deafTransport struct {
	http.RoundTripper
	over chan struct{}
}

func (d *deafTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/chunks/") {
		<-d.over
	}
	return d.RoundTripper.RoundTrip(r)
}

// TestContextMayEndAtTheLastRow: gosnowflake asks whether it has after each download. Where that
// comes between the last row and the answer, the program goes on, and the rows are complete, also
// for who asks once more.
func TestContextMayEndAtTheLastRow(t *testing.T) {
	var (
		read chan struct{} // closed when the last row was read
		end  context.CancelFunc
	)
	onLarge(t, func(t *testing.T, _ *snowtest.Server) context.Context {
		read = make(chan struct{})
		var ctx context.Context
		ctx, end = context.WithCancel(t.Context())
		return &testpool.Meddler{Context: ctx, OnErr: func() { <-read; end() }, From: "downloadChunk"}
	}, func(t *testing.T, rows driver.Rows) {
		rows.Columns()  // waits for an asynchronous result
		synctest.Wait() // all is downloaded, and whoever did it asks whether the context has ended
		if n, err := rowsIn(rows); n != bigRows || err != io.EOF {
			t.Errorf("%d rows, %v", n, err)
		}
		close(read)
		synctest.Wait()
		if err := rows.Next(make([]driver.Value, 1)); err != io.EOF {
			t.Errorf("behind the last row: %v", err)
		}
	})
}

// TestRowsHaveAllThatGosnowflakesHave: of a large result but for its Arrow batches, which exist only
// where they are asked for; of any other they are gosnowflake's own.
func TestRowsHaveAllThatGosnowflakesHave(t *testing.T) {
	small := func(ctx context.Context, dc driver.Conn) (driver.Rows, error) {
		return dc.(driver.QueryerContext).QueryContext(ctx, "SELECT 1", nil)
	}
	srv := snowtest.New(t, bigParted)
	serveBig(srv)
	raw(t, pool(t, srv, 1), func(dc any) error {
		ours, bare := dc.(driver.Conn), dc.(interface{ Raw() driver.Conn }).Raw()
		was, err := small(t.Context(), bare)
		if err != nil {
			return err
		}
		if got, err := small(t.Context(), ours); err != nil || reflect.TypeOf(got) != reflect.TypeOf(was) {
			t.Errorf("of a small result the rows are %T, %v", got, err)
		}
		for _, way := range readings {
			got, err := way.query(t.Context(), ours)
			if err != nil {
				return err
			}
			for _, name := range methods(was) {
				if name != "GetArrowBatches" && !slices.Contains(methods(got), name) {
					t.Errorf("%s: gosnowflake's rows have the method %s, the wrapper has not", way.name, name)
				}
			}
			got.Columns() // waits for an asynchronous result, which gosnowflake then writes its ID into
			if id := got.(gosnowflake.SnowflakeRows).GetQueryID(); id == "" {
				t.Errorf("%s: no query ID", way.name)
			}
			if err := got.Close(); err != nil {
				return err
			}
		}
		return was.Close()
	})
}
