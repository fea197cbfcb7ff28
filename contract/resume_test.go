package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about statements that were accepted before their session ended:
// they are carried over and never run again.

// slowly answers the statements that match after a while.
func slowly(srv *snowtest.Server, pattern string, d time.Duration, res *snowtest.Result, err error) {
	srv.Handle(pattern, func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-time.After(d):
			return res, err
		case <-ctx.Done():
			return nil, &snowtest.Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}
		}
	})
}

// endAt ends all sessions of the moment at these times from now.
func endAt(srv *snowtest.Server, how snowtest.Refusal, times ...time.Duration) {
	for _, d := range times {
		time.AfterFunc(d, func() { srv.EndSessions(how) })
	}
}

func counted(kind snowtest.Kind, what string, n int64) *snowtest.Result {
	return snowtest.Count(kind, []string{"number of rows " + what}, []int64{n})
}

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

// TestCarriedOverStatementThatFailsGivesItsOwnError: code, text and query ID.
func TestCarriedOverStatementThatFailsGivesItsOwnError(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, nil, &snowtest.Error{Code: "100072", SQLState: "22000", Message: "NULL result in a non-nullable column"})
		endAt(srv, ways[1].End, time.Minute)
		_, err := db.ExecContext(t.Context(), insert)
		var se *gosnowflake.SnowflakeError
		if !errors.As(err, &se) || se.Number != 100072 || !strings.Contains(se.Message, "non-nullable") || se.QueryID != srv.Ledger()[0].QueryID {
			t.Errorf("error is %v", err)
		}
		if errors.Is(err, snowtether.ErrInDoubt) {
			t.Errorf("%v is in doubt", err)
		}
	})
}

// TestCarriedOverStatementThatWasAbortedSaysSo: it did not take effect.
func TestCarriedOverStatementThatWasAbortedSaysSo(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2)
		slowly(srv, "^INSERT", time.Hour, nil, nil)
		endAt(srv, ways[1].End, time.Minute)
		go func() {
			time.Sleep(10 * time.Minute)
			if _, err := db.ExecContext(t.Context(), fmt.Sprintf("SELECT SYSTEM$CANCEL_QUERY('%s')", srv.Ledger()[0].QueryID)); err != nil {
				t.Error(err)
			}
		}()
		_, err := db.ExecContext(t.Context(), insert)
		if err == nil || !(strings.Contains(strings.ToLower(err.Error()), "cancel") || strings.Contains(err.Error(), "ABORTED")) {
			t.Errorf("error is %v", err)
		}
		synctest.Wait()
	})
}

// TestCallersContextBoundsTheResume: and the statement is cancelled.
func TestCallersContextBoundsTheResume(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", 10*time.Hour, nil, nil)
		endAt(srv, ways[1].End, time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		_, err := db.ExecContext(ctx, insert)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(begun); took > time.Hour {
			t.Errorf("waited %v", took)
		}
		time.Sleep(time.Minute)
		if state := srv.Ledger()[0].State; state != snowtest.Aborted {
			t.Errorf("the statement is %v, want it cancelled", state)
		}
		if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != nil {
			t.Errorf("the next statement: %v", err)
		}
	})
}

// TestSessionStateIsNotLostUnaware: a pinned connection whose session had state
// serves the result that was carried over, and then says that it is over.
func TestSessionStateIsNotLostUnaware(t *testing.T) {
	for _, state := range []string{"USE ROLE r", "ALTER SESSION SET TIMEZONE = 'UTC'", "SET x = 1", "CREATE TEMPORARY TABLE x (a INT)"} {
		for _, accepted := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/accepted %v", state, accepted), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					conn, err := db.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					if _, err := conn.ExecContext(t.Context(), state); err != nil {
						t.Fatal(err)
					}
					if accepted {
						slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
						endAt(srv, ways[1].End, time.Minute)
						if _, err := conn.ExecContext(t.Context(), insert); err != nil {
							t.Errorf("the accepted statement: %v", err)
						}
					} else {
						srv.EndSessions(ways[1].End)
					}
					_, err = conn.ExecContext(t.Context(), row(2))
					var se *snowtether.SessionError
					if !errors.As(err, &se) || !errors.Is(err, snowtether.ErrSessionLost) || !strings.Contains(err.Error(), "session lost, and with it ") {
						t.Errorf("the next statement: %v", err)
					}
					if n := srv.Accepted(row(2)); n != 0 {
						t.Errorf("it was accepted %d times", n)
					}
				})
			})
		}
	}
}

// TestPlainReadWithLostReplyIsRunAgain: a read leaves nothing behind; anything
// that might is not a plain one.
func TestPlainReadWithLostReplyIsRunAgain(t *testing.T) {
	for sql, plain := range map[string]bool{
		"SELECT 1":                        true,
		"-- all of it\n(SELECT 1)":        true,
		"SELECT s.nextval":                true, // a sequence has gaps
		"SELECT 1 /* ; */ ;":              true,
		"SELECT SYSTEM$WAIT(1)":           false,
		"CALL p()":                        false,
		"EXECUTE IMMEDIATE 'SELECT 1'":    false,
		"SELECT db.s.f(1)":                false,
		"SHOW TABLES":                     true,
		"WITH a AS (SELECT 1) SELECT 2":   true,
		"SELECT 'nextval', \"into\", 1+1": true,
	} {
		t.Run(sql, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				once(srv, sql, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
				rows, err := db.QueryContext(t.Context(), sql)
				if plain {
					if err != nil {
						t.Fatal(err)
					}
					if err := rows.Close(); err != nil {
						t.Error(err)
					}
					if n := srv.Accepted(sql); n != 2 {
						t.Errorf("accepted %d times, want 2", n)
					}
					return
				}
				inDoubt(t, srv, sql, err, 1)
			})
		})
	}
}

// TestResumeOfWhatCannotBeFetchedIsInDoubt: never a second run, whatever the
// server makes of the query ID.
func TestResumeOfWhatCannotBeFetchedIsInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		endAt(srv, ways[1].End, time.Minute)
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestMonitor {
				return snowtest.Fault{}, false
			}
			return snowtest.Fault{Body: `{"data":{"queries":[]},"success":true}`}, true
		})
		begun := time.Now()
		_, err := db.ExecContext(t.Context(), insert)
		inDoubt(t, srv, insert, err, 1)
		withID(t, err)
		if took := time.Since(begun); took > 10*time.Minute {
			t.Errorf("waited %v", took)
		}
		time.Sleep(2 * time.Hour)
	})
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
