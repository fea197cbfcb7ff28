package results_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/results"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has the promises of Read, one test each; loss_test.go has what becomes of a loss.

func TestEachRowComesOnceAndInOrder(t *testing.T) {
	for _, ahead := range []int{0, 1, 3, 100} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
			whole(t, srv, db, results.Ahead(ahead))
			if n := refetched(srv); n > 0 {
				t.Errorf("%d ahead: the result was fetched again %d times", ahead, n)
			}
		})
	}
}

func TestFunctionIsCalledOnceAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *snowtest.Server, db *sql.DB) {
		var running atomic.Int32
		err := results.Read(t.Context(), db, results.SQL(manyQuery), func(results.Batch) error {
			if running.Add(1) != 1 {
				t.Error("two calls at a time")
			}
			time.Sleep(time.Second)
			running.Add(-1)
			return nil
		}, results.OnProgress(func(results.Progress) {
			if running.Load() != 0 {
				t.Error("a report while the function runs")
			}
		}))
		if err != nil {
			t.Error(err)
		}
	})
}

func TestFromGoesOnWithoutRunningTheQuery(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		boom := errors.New("boom")
		y := &tally{t: t}
		err := results.Read(t.Context(), db, results.SQL(manyQuery), func(b results.Batch) error {
			if y.next >= 10*partRows {
				return boom
			}
			return y.take(b)
		})
		if err != boom {
			t.Fatalf("the function's error came as %v", err)
		}
		for _, from := range []int64{y.next, y.next + 7, manyRows - 1, manyRows} {
			z := &tally{t: t, next: from}
			if err := results.Read(t.Context(), db, results.From(y.last.QueryID, from), z.take); err != nil || z.next != manyRows {
				t.Errorf("from row %d to %d: %v", from, z.next, err)
			}
		}
		if n := srv.Accepted(manyQuery); n != 1 {
			t.Errorf("the query was accepted %d times", n)
		}
		err = results.Read(t.Context(), db, results.From(y.last.QueryID, manyRows+1), y.take)
		if err == nil || !strings.Contains(err.Error(), "1020 rows only") {
			t.Errorf("past the end: %v", err)
		}
	})
}

func TestResultThatIsGoneIsSaidToBeGone(t *testing.T) {
	for name, bubble := range map[string]func(*testing.T, func(*testing.T, *snowtest.Server, *sql.DB), ...snowtest.Option){"snowtether": inBubble, "gosnowflake": plainly} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
				began := time.Now()
				err := results.Read(t.Context(), db, results.From("01b2c3d4-0000-0000-0000-000000000000", 5), func(results.Batch) error { return nil })
				if !errors.Is(err, results.ErrGone) || time.Since(began) > time.Minute {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				srv.FaultOnce(at(5, snowtest.Fault{Status: 403}))
				srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
					return snowtest.Fault{Code: "000709", Message: "Statement not found"}, req.Kind == snowtest.RequestResult
				})
				y := &tally{t: t}
				err = results.Read(t.Context(), db, results.SQL(manyQuery), y.take)
				var ended *results.Error
				if !errors.Is(err, results.ErrGone) || !errors.As(err, &ended) || ended.Row != y.next || ended.QueryID != y.last.QueryID {
					t.Errorf("in the middle, at row %d: %v", y.next, err)
				}
			})
		})
	}
}

func TestErrorSaysWhereToGoOn(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		y := &tally{t: t}
		err := results.Read(ctx, db, results.SQL(manyQuery), func(b results.Batch) error {
			if y.next > 300 {
				cancel()
			}
			return y.take(b)
		})
		var ended *results.Error
		if !errors.As(err, &ended) || !errors.Is(err, context.Canceled) {
			t.Fatalf("the error is %v", err)
		}
		y.next = ended.Row
		if err := results.Read(t.Context(), db, results.From(ended.QueryID, ended.Row), y.take); err != nil || y.next != manyRows {
			t.Errorf("it went on to row %d: %v", y.next, err)
		}
	})
}

// TestPartsAheadAreBounded: while the function keeps the reading waiting, no more parts are asked
// for than were allowed.
func TestPartsAheadAreBounded(t *testing.T) {
	for _, ahead := range []int{0, 1, 3, 7} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
			read := 0
			err := results.Read(t.Context(), db, results.SQL(manyQuery), func(results.Batch) error {
				time.Sleep(time.Minute)
				if n := srv.Stats().Requests[snowtest.RequestChunk]; n > read+ahead+1 {
					t.Errorf("%d ahead: %d parts were asked for while part %d was read", ahead, n, read)
				}
				read++
				return nil
			}, results.Ahead(ahead))
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBatchesAreReleasedWhenTheFunctionReturns(t *testing.T) {
	for _, b := range append(breaks[:1:1], breaks[2], breaks[4]) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
			b.put(srv, 7)
			pool := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer pool.AssertSize(t, 0)
			ctx := gosnowflake.WithArrowAllocator(t.Context(), pool)
			most := 0
			for _, stop := range []int64{manyRows, 300} {
				err := results.Read(ctx, db, results.SQL(manyQuery), func(b results.Batch) error {
					most = max(most, pool.CurrentAlloc())
					if b.First >= stop {
						return io.ErrUnexpectedEOF
					}
					return nil
				})
				if err != nil && err != io.ErrUnexpectedEOF {
					t.Error(err)
				}
			}
			if most == 0 || most > 8*4096 {
				t.Errorf("%d bytes of rows at a time", most)
			}
		})
	}
}

// A part that stalls is given up at its limit, which is twice as long at the next try.
func TestPartThatStallsIsGivenTwiceTheTime(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		for range 3 {
			srv.FaultOnce(at(0, snowtest.Fault{Delay: 24 * time.Hour}))
		}
		var waits []time.Duration
		last := time.Now()
		began := last
		whole(t, srv, db, results.PartTimeout(time.Minute), results.OnProgress(func(p results.Progress) {
			if p.Again != nil {
				waits = append(waits, time.Since(last).Round(time.Minute))
			}
			last = time.Now()
		}))
		if got := fmt.Sprint(waits); got != "[1m0s 2m0s 4m0s]" {
			t.Errorf("the tries took %v", got)
		}
		if took := time.Since(began); took > 8*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestReadingIsGivenUpAfterSixTriesAndTenMinutes(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Status: 403}, req.Kind == snowtest.RequestChunk
		})
		began := time.Now()
		y := &tally{t: t}
		err := results.Read(t.Context(), db, results.SQL(manyQuery), y.take)
		if took := time.Since(began); err == nil || took < 10*time.Minute || took > 12*time.Minute || strings.Contains(err.Error(), "/chunks/") {
			t.Errorf("after %v: %v", took, err)
		}
		if n := srv.Accepted(manyQuery); n != 1 || refetched(srv) < 5 {
			t.Errorf("the query was accepted %d times, the result fetched %d times", n, refetched(srv))
		}
	})
}

// TestPartsMayBeCutDifferently: the result that comes back in one piece is taken from the row on.
func TestPartsMayBeCutDifferently(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		for _, part := range []int{9, 30} {
			srv.FaultOnce(at(part, snowtest.Fault{Status: 403}))
		}
		srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
			body := fmt.Sprintf(`{"success": true, "data": {"queryResultFormat": "arrow", "rowsetBase64": %q, "total": %d, "returned": %[2]d,
				"rowtype": [{"name": "N", "type": "fixed", "precision": 38}, {"name": "TEXT", "type": "text"}]}}`,
				base64.StdEncoding.EncodeToString(stream(0, manyRows)), manyRows)
			return snowtest.Fault{Body: body}, req.Kind == snowtest.RequestResult
		})
		whole(t, srv, db)
		if n := refetched(srv); n != 1 {
			t.Errorf("the result was fetched again %d times", n)
		}
	})
}

// A server that is asked too early, or has lost the result, can answer with none.
func TestResultThatComesBackShorterIsNotTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		srv.FaultOnce(at(4, snowtest.Fault{Status: 403}))
		srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
			empty := `{"success": true, "data": {"queryResultFormat": "arrow", "rowsetBase64": "", "rowset": [], "total": 0, "returned": 0,
				"rowtype": [{"name": "N", "type": "fixed", "precision": 38}, {"name": "TEXT", "type": "text"}]}}`
			return snowtest.Fault{Body: empty}, req.Kind == snowtest.RequestResult
		})
		whole(t, srv, db)
		if n := refetched(srv); n != 2 {
			t.Errorf("the result was fetched again %d times", n)
		}
	})
}

func TestCancellationEndsTheReadingAtOnce(t *testing.T) {
	for _, moment := range []string{"while the query runs", "while a part is downloaded", "between two tries"} {
		t.Run(moment, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				switch moment {
				case "while the query runs":
					srv.Handle("FROM many", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
						<-ctx.Done()
						return nil, ctx.Err()
					})
				case "while a part is downloaded":
					srv.FaultOnce(at(4, snowtest.Fault{Delay: time.Hour}))
				default:
					srv.FaultAlways(func(req *snowtest.Request) (snowtest.Fault, bool) {
						return snowtest.Fault{Status: 403}, req.Kind == snowtest.RequestChunk
					})
				}
				began := time.Now()
				err := results.Read(ctx, db, results.SQL(manyQuery), func(results.Batch) error { return nil })
				if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 10*time.Second {
					t.Errorf("after %v: %v", took, err)
				}
			})
		})
	}
}

// TestFunctionThatUsesAPoolOfOneGetsAnError: it does not wait for ever for the connection that is
// held while it runs.
func TestFunctionThatUsesAPoolOfOneGetsAnError(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *snowtest.Server, db *sql.DB) {
		db.SetMaxOpenConns(1)
		began := time.Now()
		calls := 0
		err := results.Read(t.Context(), db, results.SQL(manyQuery), func(results.Batch) error {
			calls++
			_, err := db.ExecContext(t.Context(), "SELECT 1")
			return err
		})
		if took := time.Since(began); !errors.Is(err, results.ErrPoolHeld) || calls != 1 || took > 10*time.Second {
			t.Errorf("after %v and %d calls: %v", took, calls, err)
		}
	})
}

// What others wait for in a pool of one is no reason to end a reading.
func TestOthersMayWaitForAPoolOfOne(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		db.SetMaxOpenConns(1)
		done := make(chan error, 1)
		y := &tally{t: t}
		err := results.Read(t.Context(), db, results.SQL(manyQuery), func(b results.Batch) error {
			if b.First == 0 {
				go func() { _, err := db.ExecContext(t.Context(), "SELECT 1"); done <- err }()
				time.Sleep(time.Minute)
			}
			return y.take(b)
		})
		if err := errors.Join(err, <-done); err != nil || y.next != manyRows {
			t.Errorf("%d rows: %v", y.next, err)
		}
	})
}

func TestProgressTellsTheQueryTheRowsAndTheFetches(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		srv.FaultOnce(func(req *snowtest.Request) (snowtest.Fault, bool) {
			return snowtest.Fault{Delay: 5500 * time.Millisecond}, req.Kind == snowtest.RequestQuery
		})
		srv.FaultOnce(at(25, snowtest.Fault{Status: 403}))
		var all []results.Progress
		whole(t, srv, db, results.OnProgress(func(p results.Progress) { all = append(all, p) }))
		var running, again int
		for i, p := range all {
			if p.Running {
				running++
				if p.Total != -1 || p.Rows != 0 || p.Elapsed != time.Duration(i)*time.Second {
					t.Errorf("while the query runs: %+v", p)
				}
			} else if p.Total != manyRows || p.QueryID == "" || len(p.Columns) != 2 {
				t.Errorf("%+v", p)
			}
			if p.Again != nil {
				again++
			}
		}
		if last := all[len(all)-1]; running != 6 || again != 1 || last.Rows != manyRows || last.Fetches != 2 {
			t.Errorf("%d reports that it runs, %d that it is fetched again, at last %+v", running, again, last)
		}
	})
}

func TestPanicOfTheFunctionLeavesNothingBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		db.SetMaxOpenConns(1)
		panicking := func(opts []results.Option, fn func(results.Batch) error) {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach the caller")
				}
			}()
			_ = results.Read(t.Context(), db, results.SQL(manyQuery), fn, opts...)
		}
		panicking(nil, func(results.Batch) error { panic("fn") })
		panicking([]results.Option{results.OnProgress(func(results.Progress) { panic("progress") })}, func(results.Batch) error { return nil })
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
	}, snowtest.AllowRepeats())
}

// With gosnowflake's own pool, too, a result is fetched again; the query is gosnowflake's business.
func TestPlainPoolSurvivesALossInTheMiddle(t *testing.T) {
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			plainly(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
				b.put(srv, 17)
				whole(t, srv, db)
			}, snowtest.AllowOpenSessions())
		})
	}
}
