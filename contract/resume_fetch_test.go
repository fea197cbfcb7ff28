package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Resume (docs/guarantees.md): a result outlives its session where it can be fetched by its ID,
// and fetching it runs nothing. So it is, within limits, with Arrow streams and with requests of
// several statements.

// TestFetchByIDOutlivesItsSession: gosnowflake says 279001 of a result that it could
// not ask about.
func TestFetchByIDOutlivesItsSession(t *testing.T) {
	for _, way := range ways {
		t.Run(way.Name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				ids := make(chan string, 1)
				var n int
				if err := db.QueryRowContext(gosnowflake.WithQueryIDChan(t.Context(), ids), "SELECT 7").Scan(&n); err != nil {
					t.Fatal(err)
				}
				if way.Logins == 0 {
					srv.ExpireSessionTokens()
				} else {
					srv.EndSessions(way.End)
				}
				n = 0
				if err := db.QueryRowContext(gosnowflake.WithFetchResultByID(t.Context(), <-ids), "").Scan(&n); err != nil || n != 7 {
					t.Errorf("fetched %d: %v", n, err)
				}
				if accepted := srv.Accepted("SELECT 7"); accepted != 1 {
					t.Errorf("accepted %d times", accepted)
				}
			})
		})
	}
}

// TestOnlyAQueryFetchesByID: gosnowflake runs an Exec whatever its context says, and
// so it is not run again as a fetch would be.
func TestOnlyAQueryFetchesByID(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		_, err := db.ExecContext(gosnowflake.WithFetchResultByID(t.Context(), "01b2c3d4-0000-0000-0000-000000000000"), insert)
		ranInDoubt(t, srv, insert, err, 1)
	})
}

// TestFetchRunsNothing: a statement that is carried over has its result fetched through an
// inner driver that drops the ID.
func TestFetchRunsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const update = "UPDATE t SET n = n + 1"
		inner := veiledConnector{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config())}
		db := testpool.OpenConnector(t, wrapped(t, inner), 1)
		slowly(srv, "^UPDATE", 2*time.Minute, counted(snowtest.KindUpdate, "updated", 1), nil)
		abortAt(srv, time.Minute)
		_, err := db.ExecContext(t.Context(), update)
		isInDoubt(t, err, false)
		time.Sleep(time.Hour)
		checkRan(t, srv, update, 1, 1)
	})
}

// TestAcceptedReadIsFetchedAndNotRunAgain: it may have taken an hour.
func TestAcceptedReadIsFetchedAndNotRunAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^SELECT n", time.Hour, snowtest.Rows([]string{"N"}, []any{int64(7)}), nil)
		onceAt(srv, snowtest.RequestResult, snowtest.Fault{Body: "<html>"})
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT n").Scan(&n); err != nil || n != 7 {
			t.Errorf("%d, %v", n, err)
		}
		if n := srv.Accepted("SELECT n"); n != 1 {
			t.Errorf("accepted %d times", n)
		}
	})
}

// TestMultiStatementRequestIsCarriedOver: its outcome is known, its counts are
// not; its rows cannot be had, and that is said.
func TestMultiStatementRequestIsCarriedOver(t *testing.T) {
	const both = "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"
	for _, query := range []bool{false, true} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
			endAt(srv, ways[1].End, time.Minute)
			ctx := gosnowflake.WithMultiStatement(t.Context(), 2)
			told := func(err error) bool { // the parent's ID, and what it is good for
				return strings.Contains(err.Error(), "statements of request "+srv.Ledger()[0].QueryID+" in the query history") && strings.Contains(err.Error(), "RESULT_SCAN")
			}
			if query {
				_, err := db.QueryContext(ctx, both)
				if !errors.Is(err, snowtether.ErrInDoubt) || !strings.Contains(err.Error(), "was carried out") || !told(err) {
					t.Errorf("query: %v", err)
				}
			} else {
				res, err := db.ExecContext(ctx, both)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); err == nil || !strings.Contains(err.Error(), "were carried out, but how many rows they affected is not known") || !told(err) {
					t.Errorf("RowsAffected: %d, %v", n, err)
				}
			}
			for i := range 2 {
				if n := srv.Effects(row(i + 1)); n != 1 {
					t.Errorf("statement %d took effect %d times", i+1, n)
				}
			}
		})
	}
}

// TestArrowStreamIsCarriedOver: gosnowflake fetches by ID only as rows, so the same
// result is read once more with RESULT_SCAN.
func TestArrowStreamIsCarriedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		const sql = "SELECT n FROM t"
		slowly(srv, "^SELECT n", time.Hour, snowtest.Rows([]string{"N"}, []any{int64(7)}, []any{int64(8)}), nil)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, lost := range []func(){
			func() { srv.EndSessions(ways[1].End) },
			func() { endAt(srv, ways[1].End, time.Minute) },
		} {
			lost()
			err = conn.Raw(func(dc any) error {
				loader, err := dc.(interface {
					QueryArrowStream(context.Context, string, ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error)
				}).QueryArrowStream(t.Context(), sql)
				if err != nil {
					return err
				}
				batches, err := loader.GetBatches()
				if err != nil || len(batches) != 1 || loader.TotalRows() != 2 {
					t.Fatalf("%d rows in %d batches: %v", loader.TotalRows(), len(batches), err)
				}
				stream, err := batches[0].GetStream(t.Context())
				if err != nil {
					return err
				}
				defer stream.Close()
				records, err := ipc.NewReader(stream)
				if err != nil {
					return err
				}
				for record, err := range array.IterFromReader(records) {
					if err != nil || record.Column(0).String() != "[7 8]" {
						t.Errorf("%v: %v", record, err)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := srv.Accepted(sql); n != 3 { // the second time twice: RESULT_SCAN keeps no order
			t.Errorf("accepted %d times, want 3", n)
		}
	})
}

// readStream reads an Arrow stream to its end and tells how long its parts are.
func readStream(ctx context.Context, conn *sql.Conn, query string) (text string, _ error) {
	return text, conn.Raw(func(dc any) error {
		loader, err := dc.(interface {
			QueryArrowStream(context.Context, string, ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error)
		}).QueryArrowStream(ctx, query)
		if err != nil {
			return err
		}
		batches, err := loader.GetBatches()
		if err != nil {
			return err
		}
		for _, batch := range batches {
			stream, err := batch.GetStream(ctx)
			if err != nil {
				return err
			}
			body, err := io.ReadAll(stream)
			text += fmt.Sprintf("%d bytes ", len(body))
			if err := errors.Join(err, stream.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestArrowStreamIsRunAgainWhereThatIsTheSame: RESULT_SCAN keeps neither the order of the
// rows nor names that stand twice.
// Before: read through RESULT_SCAN, in another order and without an error.
func TestArrowStreamIsRunAgainWhereThatIsTheSame(t *testing.T) {
	for _, query := range []string{"SELECT n FROM t ORDER BY n", "WITH x AS (SELECT n, n FROM t) SELECT * FROM x ORDER BY 1 DESC"} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			slowly(srv, " FROM t", 10*time.Minute, snowtest.Rows([]string{"N"}, []any{7}, []any{8}), nil)
			conn := pin(t, pool(t, srv, 1))
			abortAt(srv, time.Minute)
			if _, err := readStream(t.Context(), conn, query); err != nil {
				t.Errorf("%s: %v", query, err)
			}
			checkRan(t, srv, query, 2, 2)
			if n := len(srv.Ledger()); n != 2 {
				t.Errorf("%s: %d statements were run", query, n)
			}
		})
	}
}

// TestArrowStreamThatCannotBeRunAgainIsInDoubt: with its ID, by which its result can be
// fetched.
// Before: read through RESULT_SCAN, in another order and without an error.
func TestArrowStreamThatCannotBeRunAgainIsInDoubt(t *testing.T) {
	for _, query := range []string{"SELECT db.s.f(n) FROM t ORDER BY n", "CALL p()", "SELECT * FROM TABLE(f(1))"} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			slowly(srv, ".", 10*time.Minute, snowtest.Rows([]string{"N"}, []any{7}, []any{8}), nil)
			conn := pin(t, pool(t, srv, 1))
			abortAt(srv, time.Minute)
			_, err := readStream(t.Context(), conn, query)
			isInDoubt(t, err, false)
			hasIDOf(t, srv, err, query)
			time.Sleep(time.Hour)
			checkRan(t, srv, query, 1, 1)
			if n := len(srv.Ledger()); n != 1 {
				t.Errorf("%s: %d statements were run", query, n)
			}
		})
	}
}
