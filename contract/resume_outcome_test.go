package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Resume (docs/guarantees.md): a statement that was accepted before its session ended is carried
// over to a new one, and its outcome is what it would have been on its own.

// TestAcceptedStatementIsCarriedOver: exec and query, prepared or not, with binds
// or without, whichever way the session ended.
func TestAcceptedStatementIsCarriedOver(t *testing.T) {
	for _, way := range ways[1:] {
		for _, prepared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/prepared %v", way.Name, prepared), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					slowly(srv, "^UPDATE", 10*time.Minute, snowtest.Count(snowtest.KindUpdate,
						[]string{"number of rows updated", "number of multi-joined rows updated"}, []int64{5, 2}), nil)
					slowly(srv, "^SELECT n", 10*time.Minute, snowtest.Rows([]string{"N"}, []any{int64(7)}, []any{int64(8)}), nil)
					exec, query := db.ExecContext, db.QueryContext
					if prepared {
						exec = func(ctx context.Context, sql string, args ...any) (sql.Result, error) {
							stmt, err := db.PrepareContext(ctx, sql)
							if err != nil {
								return nil, err
							}
							defer stmt.Close()
							return stmt.ExecContext(ctx, args...)
						}
						query = func(ctx context.Context, sql string, args ...any) (*sql.Rows, error) {
							stmt, err := db.PrepareContext(ctx, sql)
							if err != nil {
								return nil, err
							}
							defer stmt.Close()
							return stmt.QueryContext(ctx, args...)
						}
					}

					endAt(srv, way.End, 3*time.Minute)
					res, err := exec(t.Context(), "UPDATE t SET a = ?", 3)
					if err != nil {
						t.Fatal(err)
					}
					if n, err := res.RowsAffected(); n != 7 || err != nil { // gosnowflake sums all the counts
						t.Errorf("RowsAffected: %d, %v; want 7", n, err)
					}

					endAt(srv, way.End, 3*time.Minute)
					rows, err := query(t.Context(), "SELECT n FROM t WHERE a = ?", 3)
					if err != nil {
						t.Fatal(err)
					}
					var got []int
					for rows.Next() {
						var n int
						if err := rows.Scan(&n); err != nil {
							t.Fatal(err)
						}
						got = append(got, n)
					}
					if err := errors.Join(rows.Err(), rows.Close()); err != nil || fmt.Sprint(got) != "[7 8]" {
						t.Errorf("rows are %v, %v", got, err)
					}
					for _, sql := range []string{"UPDATE t SET a = ?", "SELECT n FROM t WHERE a = ?"} {
						if n := srv.Accepted(sql); n != 1 {
							t.Errorf("%s: accepted %d times", sql, n)
						}
					}
					if n := srv.Stats().Logins; n != 3 {
						t.Errorf("%d logins, want 3: the connection lives on", n)
					}
				})
			})
		}
	}
}

// TestProcedureIsCarriedOver: it takes ten minutes, and its session is aborted at three.
func TestProcedureIsCarriedOver(t *testing.T) {
	for _, query := range []string{"CALL p(1)", "BEGIN LET n := f(7); RETURN n; END", "DECLARE n INT; BEGIN RETURN 1; END", "EXECUTE IMMEDIATE 'SELECT 1'"} {
		for _, use := range forms {
			t.Run(use.name+"/"+query, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					slowly(srv, ".", 10*time.Minute, snowtest.Rows([]string{"P"}, []any{"7"}), nil)
					abortAt(srv, 3*time.Minute)
					if err := use.run(t.Context(), db, query); err != nil {
						t.Error(err)
					}
					checkRan(t, srv, query, 1, 1)
				})
			})
		}
	}
}

// TestProcedureThatWasCarriedOverMayHaveChangedItsSession: what follows is told, once.
func TestProcedureThatWasCarriedOverMayHaveChangedItsSession(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		slowly(srv, "^CALL", 10*time.Minute, snowtest.Rows([]string{"P"}, []any{"7"}), nil)
		abortAt(srv, 3*time.Minute)
		mustExec(t, conn, "CALL p(1)")
		_, err := conn.ExecContext(t.Context(), row(1))
		isLost(t, err, false)
		checkRan(t, srv, row(1), 0, 0)
		if snowtether.Classify(err) != snowtether.ClassSessionLost {
			t.Errorf("Classify says %q", snowtether.Classify(err))
		}
	})
}

// TestRowsAffectedOfACarriedOverStatement: as Snowflake counts them.
func TestRowsAffectedOfACarriedOverStatement(t *testing.T) {
	for _, tt := range []struct {
		sql  string
		res  *snowtest.Result
		want int64 // -1: the driver has none
	}{
		{"INSERT INTO t SELECT 1", counted(snowtest.KindInsert, "inserted", 12), 12},
		{"DELETE FROM t", counted(snowtest.KindDelete, "deleted", 0), 0},
		{"MERGE INTO t USING s ON t.a = s.a", snowtest.Count(snowtest.KindMerge,
			[]string{"number of rows inserted", "number of rows updated", "number of rows deleted"}, []int64{1, 2, 4}), 7},
		{"CREATE TABLE t (a INT)", snowtest.Status(snowtest.KindDDL, "Table T successfully created."), -1},
	} {
		t.Run(tt.sql, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, ".", time.Hour, tt.res, nil)
				endAt(srv, ways[1].End, time.Minute)
				res, err := db.ExecContext(t.Context(), tt.sql)
				if err != nil {
					t.Fatal(err)
				}
				n, err := res.RowsAffected()
				if (err != nil) != (tt.want < 0) || err == nil && n != tt.want {
					t.Errorf("RowsAffected: %d, %v; want %d", n, err, tt.want)
				}
				if n := srv.Accepted(tt.sql); n != 1 {
					t.Errorf("accepted %d times", n)
				}
			})
		})
	}
}

// alsoResumed runs f as it is, and with a statement that is carried over.
func alsoResumed(t *testing.T, opts []snowtest.Option, f func(t *testing.T, srv *snowtest.Server, d time.Duration) string) {
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
				alsoResumed(t, nil, func(t *testing.T, srv *snowtest.Server, d time.Duration) string {
					db := pool(t, srv, 1)
					slowly(srv, ".", d, res, nil)
					abortAt(srv, time.Minute)
					out, err := resultOf(t, db, query, prepared)
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

func resultOf(t *testing.T, db *sql.DB, query string, prepared bool) (sql.Result, error) {
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
				alsoResumed(t, opts, func(t *testing.T, srv *snowtest.Server, d time.Duration) string {
					conn := pin(t, pool(t, srv, 1))
					mustExec(t, conn, set...)
					column := snowtest.Column{Name: "AT", Type: "timestamp_ltz", Scale: 9}
					slowly(srv, "^SELECT at", d, &snowtest.Result{Kind: snowtest.KindSelect, Columns: []snowtest.Column{column}, Rows: [][]*string{{&at}}}, nil)
					abortAt(srv, time.Minute)
					var got time.Time
					if err := conn.QueryRowContext(t.Context(), "SELECT at FROM t").Scan(&got); err != nil {
						t.Fatal(err)
					}
					checkRan(t, srv, "SELECT at FROM t", 1, 1)
					return got.String()
				})
			})
		}
	}
}

// TestFurtherSessionsMayDieDuringTheResume: while its status is polled, and
// between that and the fetching of its result.
func TestFurtherSessionsMayDieDuringTheResume(t *testing.T) {
	for _, way := range ways[1:] {
		t.Run(way.Name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 3), nil)
				endAt(srv, way.End, time.Minute, 10*time.Minute, 20*time.Minute, 20*time.Minute+time.Second)
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
					if r.Kind != snowtest.RequestMonitor || time.Now().Minute() < 59 && time.Now().Hour() == 0 {
						return snowtest.Fault{}, false
					}
					return snowtest.Fault{Run: true, After: func() { srv.EndSessions(way.End) }}, true
				})
				res, err := db.ExecContext(t.Context(), insert)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); n != 3 || err != nil {
					t.Errorf("RowsAffected: %d, %v", n, err)
				}
				if n := srv.Accepted(insert); n != 1 {
					t.Errorf("accepted %d times", n)
				}
			})
		})
	}
}

// TestCarriedOverResultHasItsQueryID: as gosnowflake's has, and its statement too.
func TestCarriedOverResultHasItsQueryID(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
		raw(t, db, func(dc any) error {
			stmt, err := dc.(driver.ConnPrepareContext).PrepareContext(t.Context(), insert)
			if err != nil {
				return err
			}
			endAt(srv, ways[1].End, time.Minute)
			got, err := stmt.(driver.StmtExecContext).ExecContext(t.Context(), nil)
			if err != nil {
				return err
			}
			id, res := srv.Ledger()[0].QueryID, got.(gosnowflake.SnowflakeResult)
			if a, b := res.GetQueryID(), stmt.(gosnowflake.SnowflakeStmt).GetQueryID(); a != id || b != id {
				t.Errorf("the result has query ID %q and the statement %q, the server %q", a, b, id)
			}
			if status := res.GetStatus(); status != gosnowflake.QueryStatusComplete {
				t.Errorf("its status is %v", status)
			}
			if n, err := got.LastInsertId(); n != -1 || err != nil {
				t.Errorf("LastInsertId: %d, %v; gosnowflake says -1", n, err)
			}
			return stmt.Close()
		})
	})
}

// TestStatementWithARequestIDIsCarriedOverWithoutIt: the fetch has its own.
func TestStatementWithARequestIDIsCarriedOverWithoutIt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
		abortAt(srv, time.Minute, 5*time.Minute)
		if _, err := db.ExecContext(marks[0].mark(t.Context()), row(1)); err != nil {
			t.Error(err)
		}
		checkRan(t, srv, row(1), 1, 1)
		checkRequestIDs(t, srv)
	})
}
