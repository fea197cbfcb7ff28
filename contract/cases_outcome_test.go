package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about the outcome of a statement that was carried over: it is what it
// would have been on its own session.

// caseTwice runs f as it is, and with a statement that is carried over.
func caseTwice(t *testing.T, opts []snowtest.Option, f func(t *testing.T, srv *snowtest.Server, d time.Duration) string) {
	t.Helper()
	var got [2]string
	for i, d := range []time.Duration{time.Second, 10 * time.Minute} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) { got[i] = f(t, srv, d) }, opts...)
	}
	if got[0] != got[1] {
		t.Errorf("carried over it is %s, directly %s", got[1], got[0])
	}
}

// TestRowsAffectedAreAsDirectly: whatever gosnowflake makes of the columns.
// Before: an error for INSERT ALL, 7 for 9 of an UPDATE, 1500 for a SELECT.
func TestRowsAffectedAreAsDirectly(t *testing.T) {
	counts := func(kind snowtest.Kind, names ...string) *snowtest.Result {
		values := make([]int64, len(names))
		for i := range names {
			values[i] = int64(7 - 5*i)
		}
		return snowtest.Count(kind, names, values)
	}
	loaded := snowtest.Rows([]string{"file", "status", "rows_parsed", "rows_loaded"}, []any{"a.csv.gz", "LOADED", 7, 7})
	loaded.Kind = snowtest.KindCopy
	unloaded := snowtest.Rows([]string{"rows_unloaded", "input_bytes", "output_bytes"}, []any{7, 70, 35})
	unloaded.Kind = snowtest.KindUnload
	for query, res := range map[string]*snowtest.Result{
		"COPY INTO a FROM @s":               loaded,
		"COPY INTO @s FROM a":               unloaded,
		"INSERT ALL INTO a INTO b SELECT 1": counts(snowtest.KindMultiInsert, "number of rows inserted into A", "number of rows inserted into B"),
		"insert /* x */ first when n > 0 then into a else into b select 1": counts(snowtest.KindMultiInsert, "number of rows inserted into A", "number of rows inserted into B"),
		"INSERT INTO a SELECT 1":                                     counts(snowtest.KindInsert, "number of rows inserted"),
		"INSERT OVERWRITE INTO a SELECT 1":                           counts(snowtest.KindInsert, "number of rows inserted"),
		"UPDATE a SET n = b.n FROM b":                                counts(snowtest.KindUpdate, "number of rows updated", "number of multi-joined rows updated"),
		"DELETE FROM a":                                              counts(snowtest.KindDelete, "number of rows deleted"),
		"MERGE INTO a USING b ON a.n = b.n WHEN MATCHED THEN DELETE": counts(snowtest.KindMerge, "number of rows inserted", "number of rows updated"),
		"WITH x AS (SELECT 1 AS n) DELETE FROM a USING x":            counts(snowtest.KindDelete, "number of rows deleted"),
		"SELECT 1 AS n ->> INSERT INTO a SELECT * FROM $1":           counts(snowtest.KindInsert, "number of rows inserted"),
		"SELECT n AS \"number of rows inserted\" FROM a":             snowtest.Rows([]string{"number of rows inserted"}, []any{1500}),
		"CALL p()":               snowtest.Rows([]string{"number of rows inserted"}, []any{"1500"}),
		"CREATE TABLE x (n INT)": snowtest.Status(snowtest.KindDDL, "done"),
		"USE ROLE r":             snowtest.Status(snowtest.KindSCL, "done"),
	} {
		for _, prepared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/prepared %v", query, prepared), func(t *testing.T) {
				caseTwice(t, nil, func(t *testing.T, srv *snowtest.Server, d time.Duration) string {
					db := casePool(t, srv, 1)
					slowly(srv, ".", d, res, nil)
					caseEndAt(srv, time.Minute)
					out, err := caseResultOf(t, db, query, prepared)
					if err != nil {
						t.Fatal(err)
					}
					n, err := out.RowsAffected()
					if k := srv.Accepted(query); k != 1 {
						t.Errorf("accepted %d times", k)
					}
					return fmt.Sprintf("%d, error %v", n, err != nil)
				})
			})
		}
	}
}

func caseResultOf(t *testing.T, db *sql.DB, query string, prepared bool) (sql.Result, error) {
	t.Helper()
	if !prepared {
		return db.ExecContext(t.Context(), query)
	}
	stmt, err := db.PrepareContext(t.Context(), query)
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	return stmt.ExecContext(t.Context())
}

// TestLocalTimesAreThoseOfTheSession: in which the statement ran.
// Before: in the account's time zone, where the session had another.
func TestLocalTimesAreThoseOfTheSession(t *testing.T) {
	at := fmt.Sprintf("%d.000000000", time.Date(2024, 2, 29, 20, 0, 0, 0, time.UTC).Unix())
	for _, format := range []string{"ARROW", "JSON"} {
		for name, set := range map[string][]string{
			"set":           {"ALTER SESSION SET TIMEZONE = 'Asia/Tokyo'"},
			"set and reset": {"ALTER SESSION SET TIMEZONE = 'Asia/Tokyo'", "ALTER SESSION SET TIMEZONE = 'America/New_York'"},
			"not set":       nil,
		} {
			t.Run(format+"/"+name, func(t *testing.T) {
				opts := []snowtest.Option{snowtest.WithSessionParameter("GO_QUERY_RESULT_FORMAT", format), snowtest.WithSessionParameter("TIMEZONE", "Europe/Berlin")}
				caseTwice(t, opts, func(t *testing.T, srv *snowtest.Server, d time.Duration) string {
					conn := casePin(t, casePool(t, srv, 1))
					caseExec(t, conn, set...)
					column := snowtest.Column{Name: "AT", Type: "timestamp_ltz", Scale: 9}
					slowly(srv, "^SELECT at", d, &snowtest.Result{Kind: snowtest.KindSelect, Columns: []snowtest.Column{column}, Rows: [][]*string{{&at}}}, nil)
					caseEndAt(srv, time.Minute)
					var got time.Time
					if err := conn.QueryRowContext(t.Context(), "SELECT at FROM t").Scan(&got); err != nil {
						t.Fatal(err)
					}
					caseSum(t, srv, "SELECT at FROM t", 1, 1)
					return got.String()
				})
			})
		}
	}
}

// caseStream reads an Arrow stream to its end and tells how long its parts are.
func caseStream(ctx context.Context, conn *sql.Conn, query string) (text string, _ error) {
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
			conn := casePin(t, casePool(t, srv, 1))
			caseEndAt(srv, time.Minute)
			if _, err := caseStream(t.Context(), conn, query); err != nil {
				t.Errorf("%s: %v", query, err)
			}
			caseSum(t, srv, query, 2, 2)
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
			conn := casePin(t, casePool(t, srv, 1))
			caseEndAt(srv, time.Minute)
			_, err := caseStream(t.Context(), conn, query)
			caseDoubt(t, err, false)
			caseHasID(t, srv, err, query)
			time.Sleep(time.Hour)
			caseSum(t, srv, query, 1, 1)
			if n := len(srv.Ledger()); n != 1 {
				t.Errorf("%s: %d statements were run", query, n)
			}
		})
	}
}

// TestProcedureIsCarriedOver: it takes ten minutes, and its session is aborted at three.
func TestProcedureIsCarriedOver(t *testing.T) {
	for _, query := range []string{"CALL p(1)", "BEGIN LET n := f(7); RETURN n; END", "DECLARE n INT; BEGIN RETURN 1; END", "EXECUTE IMMEDIATE 'SELECT 1'"} {
		for _, use := range caseUses {
			t.Run(use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := casePool(t, srv, 1)
					slowly(srv, ".", 10*time.Minute, snowtest.Rows([]string{"P"}, []any{"7"}), nil)
					caseEndAt(srv, 3*time.Minute)
					if err := use.run(t.Context(), db, query); err != nil {
						t.Error(err)
					}
					caseSum(t, srv, query, 1, 1)
				})
			})
		}
	}
}

// TestProcedureThatWasCarriedOverMayHaveChangedItsSession: what follows is told, once.
func TestProcedureThatWasCarriedOverMayHaveChangedItsSession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := casePin(t, casePool(t, srv, 1))
		slowly(srv, "^CALL", 10*time.Minute, snowtest.Rows([]string{"P"}, []any{"7"}), nil)
		caseEndAt(srv, 3*time.Minute)
		caseExec(t, conn, "CALL p(1)")
		_, err := conn.ExecContext(t.Context(), caseRow(1))
		caseLost(t, err, false)
		caseSum(t, srv, caseRow(1), 0, 0)
		if snowtether.Classify(err) != snowtether.ClassSessionLost {
			t.Errorf("Classify says %q", snowtether.Classify(err))
		}
	})
}
