package contract_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what becomes of one operation that fails, where it is neither
// simply run again nor simply in doubt.

// onceAt answers the next request of a kind with the fault.
func onceAt(srv *snowtest.Server, kind snowtest.RequestKind, f snowtest.Fault) {
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return f, r.Kind == kind })
}

// always answers every request for this SQL with the fault, and counts them.
func always(srv *snowtest.Server, sql string, f snowtest.Fault) (n *int) {
	n = new(int)
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != snowtest.RequestQuery || r.SQL != sql {
			return snowtest.Fault{}, false
		}
		*n++
		return f, true
	})
	return n
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

// TestTransactionIsNotCarriedOver: its statement's result could be fetched from
// another session, but the transaction is not there.
func TestTransactionIsNotCarriedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		onceAt(srv, snowtest.RequestResult, snowtest.Fault{Body: "<html>", After: func() { srv.AbortSessions() }})
		_, err = tx.ExecContext(t.Context(), insert)
		lostInTx(t, err)
		if err := tx.Commit(); err == nil {
			t.Error("COMMIT succeeded on another session")
		}
		if n := srv.Effects(insert); n != 0 {
			t.Errorf("it took effect %d times", n)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestWhatLastsIsToldOfItsOwnTransactionAlone: one that held DDL is in doubt when its
// session ends, whichever way it was begun; the next on the same connection is not.
func TestWhatLastsIsToldOfItsOwnTransactionAlone(t *testing.T) {
	for _, tt := range []struct {
		name    string
		first   []string
		begin   string // BeginTx if it is empty
		inDoubt bool
	}{
		{"DDL in it", []string{"BEGIN", "CREATE TABLE x (n INT)"}, "", true},
		{"DDL in the one before", []string{"BEGIN", "CREATE TABLE x (n INT)", "COMMIT"}, "begin", false},
		{"DDL in the one before, then BeginTx", []string{"BEGIN", "CREATE TABLE x (n INT)", "COMMIT"}, "BeginTx", false},
		{"DDL before it", []string{"CREATE TABLE x (n INT)"}, "begin", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				exec := conn.ExecContext
				for _, sql := range tt.first {
					if _, err := exec(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				switch tt.begin {
				case "BeginTx":
					tx, err := conn.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					exec = tx.ExecContext
					defer func() { _ = tx.Rollback() }() // else conn.Close waits for it
				case "begin":
					if _, err := exec(t.Context(), tt.begin); err != nil {
						t.Fatal(err)
					}
				}
				srv.AbortSessions()
				_, err = exec(t.Context(), insert)
				if tt.inDoubt {
					inDoubt(t, srv, insert, err, 0)
				} else {
					lostInTx(t, err)
				}
			})
		})
	}
}

// TestBeginWithLostReplyAndSessionIsSentAgain: it had changed nothing, and what lasted
// before it is none of its business.
func TestBeginWithLostReplyAndSessionIsSentAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.ExecContext(t.Context(), "CREATE TABLE x (n INT)"); err != nil {
			t.Fatal(err)
		}
		once(srv, "BEGIN", snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		for _, sql := range []string{"BEGIN", insert, "COMMIT"} {
			if _, err := conn.ExecContext(t.Context(), sql); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
		if n := srv.Effects(insert); n != 1 {
			t.Errorf("the INSERT took effect %d times", n)
		}
	})
}

// TestLastStatementOfALostTransactionMayLast: DDL commits, and its own reply was lost.
func TestLastStatementOfALostTransactionMayLast(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		const ddl = "CREATE TABLE x (n INT)"
		db := pool(t, srv, 1)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		once(srv, ddl, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		_, err = tx.ExecContext(t.Context(), ddl)
		inDoubt(t, srv, ddl, err, 1)
	})
}

// TestPinnedConnectionLivesOnAfterADoubt: the check that the error asks for can be made
// on it, because its session had nothing to lose.
func TestPinnedConnectionLivesOnAfterADoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		_, err = conn.ExecContext(t.Context(), insert)
		inDoubt(t, srv, insert, err, 1)
		if _, err := conn.ExecContext(t.Context(), row(2)); err != nil {
			t.Errorf("the next statement: %v", err)
		}
		if n := srv.Accepted(row(2)); n != 1 {
			t.Errorf("accepted %d times", n)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestReadThatIsTriedAgainEndsWithItsContext: to the moment, and with both errors.
func TestReadThatIsTriedAgainEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		always(srv, "SELECT 7", snowtest.Fault{Body: "<html>"})
		begun := time.Now()
		err := db.QueryRowContext(within(t, 20*time.Second), "SELECT 7").Scan(new(int))
		if took := time.Since(begun); took != 20*time.Second || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "invalid character '<'") {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestBackOffThatStopsEndsTheTrying: of a statement too.
func TestBackOffThatStopsEndsTheTrying(t *testing.T) {
	for name, none := range map[string]func() backoff.BackOff{
		"at once":     func() backoff.BackOff { return &backoff.StopBackOff{} },
		"there is no": func() backoff.BackOff { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1, snowtether.WithBackOff(none))
				n := always(srv, "SELECT 7", snowtest.Fault{Body: "<html>"})
				err := db.QueryRowContext(t.Context(), "SELECT 7").Scan(new(int))
				if *n != 1 || snowtether.Classify(err) != snowtether.ClassTransient {
					t.Errorf("sent %d times: %v", *n, err)
				}
			})
		})
	}
}

// TestTransactionWhoseCallerLeftIsOver: what is still on its way must find no session,
// and nobody waits for the cancelling.
func TestTransactionWhoseCallerLeftIsOver(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		stall(srv, snowtest.RequestAbort, time.Minute)
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, err = tx.ExecContext(within(t, time.Second), insert)
		lostInTx(t, err)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		_, err = tx.ExecContext(t.Context(), row(2))
		lostInTx(t, err)
		if err := tx.Rollback(); err != nil {
			t.Errorf("Rollback: %v", err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("took %v", took)
		}
		if n := srv.Accepted(row(2)); n != 0 {
			t.Errorf("accepted %d times", n)
		}
		if _, err := db.ExecContext(t.Context(), "UPDATE t SET n = 1"); err != nil {
			t.Errorf("the next caller: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if n := srv.Effects(insert); n != 0 {
			t.Errorf("the INSERT took effect %d times", n)
		}
	})
}

// TestSuspectSessionIsAskedOnceAndNeedsNoWarehouse: however often it is handed out.
func TestSuspectSessionIsAskedOnceAndNeedsNoWarehouse(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 2)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(t.Context(), row(1)); err != nil {
			t.Fatal(err)
		}
		srv.AbortSessions(srv.Ledger()[0].SessionID)
		if _, err := conn.ExecContext(t.Context(), row(2)); err != nil {
			t.Fatal(err) // it has found the session dead, and the other is suspect
		}
		before := srv.Stats().Requests[snowtest.RequestQuery]
		for range 3 {
			if _, err := db.ExecContext(t.Context(), "SELECT 2"); err != nil {
				t.Error(err)
			}
		}
		if n := srv.Stats().Requests[snowtest.RequestQuery] - before - 3; n != 1 {
			t.Errorf("asked %d times", n)
		}
		if n := len(srv.Ledger()); n != 5 {
			t.Errorf("%d statements were run, want the two INSERTs and the three SELECTs", n)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
}

// inProgress is a reply that accepts a statement under an ID that the server knows
// nothing of.
const inProgress = `{"success":true,"code":"333333","data":{"queryId":"01bd0000-0001-0032-0001-000000000001","getResultUrl":"/queries/01bd0000-0001-0032-0001-000000000001/result"}}`

// TestArrayBindIsCarriedOver: where it was the caller's statement that was
// accepted, and not one that gosnowflake sent to prepare it.
func TestArrayBindIsCarriedOver(t *testing.T) {
	const bulk = "INSERT INTO t VALUES (?)"
	values := make([]int, 100)
	array, err := gosnowflake.Array(&values)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("the statement", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			slowly(srv, "^INSERT", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 100), nil)
			endAt(srv, ways[1].End, time.Minute)
			res, err := db.ExecContext(t.Context(), " "+bulk+"\n", array)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := res.RowsAffected(); n != 100 || err != nil {
				t.Errorf("RowsAffected: %d, %v", n, err)
			}
		})
	})
	t.Run("its stage", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Run: true, Body: inProgress, After: func() { srv.AbortSessions() }}, strings.HasPrefix(r.SQL, "CREATE")
			})
			onceAt(srv, snowtest.RequestMonitor, snowtest.Fault{Body: `{"success":true,"data":{"queries":[{"status":"SUCCESS","sqlText":"CREATE OR REPLACE TEMPORARY STAGE"}]}}`})
			if _, err := db.ExecContext(t.Context(), bulk, array); err != nil {
				t.Error(err) // the stage is made anew, and the INSERT is sent once
			}
			if n := srv.Accepted(bulk); n != 1 {
				t.Errorf("accepted %d times", n)
			}
		}, snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 10))
	})
}

// TestOutcomeThatCannotBeReadIsInDoubt: the statement was carried out, and how many
// rows it changed is anybody's guess.
func TestOutcomeThatCannotBeReadIsInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, snowtest.Rows([]string{"number of rows inserted"}, []any{"many"}), nil)
		endAt(srv, ways[1].End, time.Minute)
		_, err := db.ExecContext(t.Context(), insert)
		inDoubt(t, srv, insert, err, 1)
		withID(t, err)
	})
}

// status makes the server answer a question about a statement with this status for
// a while, from a moment on.
func status(srv *snowtest.Server, from, until time.Duration, body string) {
	begun := time.Now()
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		at := time.Since(begun)
		return snowtest.Fault{Body: body}, r.Kind == snowtest.RequestMonitor && at >= from && at < until
	})
}

// TestResumeOutlastsOddAnswers: a statement that waits for a lock, or is being
// aborted, has not ended; and what cannot be read says nothing about it.
func TestResumeOutlastsOddAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"blocked":         `{"success":true,"data":{"queries":[{"status":"BLOCKED"}]}}`,
		"aborting":        `{"success":true,"data":{"queries":[{"status":"ABORTING"}]}}`,
		"HTML":            "<html>",
		"nothing":         "",
		"no such thing":   `{"success":true,"data":{"queries":[]}}`,
		"an odd refusal":  `{"success":false,"code":"000001","message":"no"}`,
		"no session here": `{"success":false,"code":"390111","message":"gone"}`,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 3), nil)
				endAt(srv, ways[1].End, time.Minute)
				status(srv, 20*time.Minute, 24*time.Minute, body)
				res, err := db.ExecContext(t.Context(), insert)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); n != 3 || err != nil || srv.Accepted(insert) != 1 {
					t.Errorf("RowsAffected: %d, %v; accepted %d times", n, err, srv.Accepted(insert))
				}
			})
		})
	}
}

// TestCarriedOverStatementThatEndedInSilenceSaysSo: Snowflake has not always a code.
func TestCarriedOverStatementThatEndedInSilenceSaysSo(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, nil, nil)
		endAt(srv, ways[1].End, time.Minute)
		status(srv, 20*time.Minute, time.Hour, `{"success":true,"data":{"queries":[{"status":"FAILED_WITH_INCIDENT","errorMessage":"an incident"}]}}`)
		begun := time.Now()
		_, err := db.ExecContext(t.Context(), insert)
		if took := time.Since(begun); took > 21*time.Minute || err == nil || !strings.Contains(err.Error(), "an incident") || errors.Is(err, snowtether.ErrInDoubt) {
			t.Errorf("after %v: %v", took, err)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestResumeThatCannotLogInIsInDoubt: with the refusal, and the statement's ID.
func TestResumeThatCannotLogInIsInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		endAt(srv, ways[1].End, time.Minute)
		onceAt(srv, snowtest.RequestLogin, snowtest.Fault{Code: "390100", Message: "Incorrect username or password was specified."})
		_, err := db.ExecContext(t.Context(), insert)
		inDoubt(t, srv, insert, err, 1)
		withID(t, err)
		if !strings.Contains(err.Error(), "390100") {
			t.Errorf("the refusal is not in the error: %v", err)
		}
		time.Sleep(2 * time.Hour)
	})
}
