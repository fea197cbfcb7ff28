package contract_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Resume (docs/guarantees.md): carrying a statement over ends, with the caller's context, or
// without a deadline when nothing more can come of it. PUT and GET are not carried over, nor is what
// is in a transaction or begins one.

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

// TestCarryingOverToSessionsThatDoNotLastEnds: each new session is ended at once, and so
// is the waiting, in the end.
func TestCarryingOverToSessionsThatDoNotLastEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		slowly(srv, "^UPDATE", 2*time.Minute, counted(snowtest.KindUpdate, "updated", 1), nil)
		var bad atomic.Bool
		var logins atomic.Int32
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			switch r.Kind {
			case snowtest.RequestLogin:
				logins.Add(1)
			case snowtest.RequestQuery, snowtest.RequestResult, snowtest.RequestMonitor:
				return snowtest.Fault{Code: "390111"}, bad.Load()
			}
			return snowtest.Fault{}, false
		})
		time.AfterFunc(time.Minute, func() { bad.Store(true) })
		begun := time.Now()
		_, err := conn.ExecContext(context.Background(), "UPDATE t SET n = 1")
		isInDoubt(t, err, false)
		if d, n := time.Since(begun), logins.Load(); d > 10*time.Minute || n > 50 {
			t.Errorf("it took %v and %d logins: %v", d, n, err)
		}
	})
}

// TestSilenceDuringACarryOverIsBounded: the server takes the questions about a statement
// and says nothing. Where it has said that the statement runs, it is believed; else the
// statement is in doubt in the end.
func TestSilenceDuringACarryOverIsBounded(t *testing.T) {
	for _, kind := range []snowtest.RequestKind{snowtest.RequestMonitor, snowtest.RequestResult} {
		t.Run(kind.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				conn := pin(t, pool(t, srv, 1))
				slowly(srv, "^UPDATE", 10*time.Minute, counted(snowtest.KindUpdate, "updated", 1), nil)
				abortAt(srv, time.Minute)
				begun := time.Now()
				srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
					return snowtest.Fault{Delay: 48 * time.Hour}, r.Kind == kind && time.Since(begun) > 2*time.Minute
				})
				_, err := conn.ExecContext(context.Background(), "UPDATE t SET n = 1")
				if d := time.Since(begun); d > 30*time.Minute {
					t.Errorf("waited %v: %v", d, err)
				}
				isInDoubt(t, err, false)
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestResultThatIsNotAnsweredIsAskedForAgain: a question for the result that is not
// answered is asked again: nothing is cancelled.
func TestResultThatIsNotAnsweredIsAskedForAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		conn := pin(t, pool(t, srv, 1))
		slowly(srv, "^UPDATE", 10*time.Minute, counted(snowtest.KindUpdate, "updated", 1), nil)
		abortAt(srv, time.Minute)
		begun, left := time.Now(), 2
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestResult || time.Since(begun) < 2*time.Minute || left == 0 {
				return snowtest.Fault{}, false
			}
			left--
			return snowtest.Fault{Delay: 48 * time.Hour}, true
		})
		res, err := conn.ExecContext(t.Context(), "UPDATE t SET n = 1")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := res.RowsAffected(); n != 1 || err != nil {
			t.Errorf("%d rows, %v", n, err)
		}
	}, snowtest.AllowOpenSessions())
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
		ranInDoubt(t, srv, insert, err, 1)
		hasID(t, err)
		if took := time.Since(begun); took > 10*time.Minute {
			t.Errorf("waited %v", took)
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
		ranInDoubt(t, srv, insert, err, 1)
		hasID(t, err)
		if !strings.Contains(err.Error(), "390100") {
			t.Errorf("the refusal is not in the error: %v", err)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestAcceptedStatementIsNotRunAgain: its session ends while it is polled.
func TestAcceptedStatementIsNotRunAgain(t *testing.T) {
	for _, way := range ways[1:5] {
		t.Run(way.Name, func(t *testing.T) {
			polled(t, way.End, func(ctx context.Context, db *sql.DB) error {
				_, err := db.ExecContext(ctx, insert)
				return err
			}, func(srv *snowtest.Server, err error) {
				hasID(t, err)
				ranInDoubt(t, srv, insert, err, 1)
			})
		})
	}
	t.Run("HTTP 401", func(t *testing.T) {
		polled(t, snowtest.Refusal{Status: 401}, func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, insert)
			return err
		}, func(srv *snowtest.Server, err error) {
			hasID(t, err)
			ranInDoubt(t, srv, insert, err, 1)
		})
	})
}

// TestFileTransferIsNotCarriedOver: the server's part of a PUT is over before
// gosnowflake has sent a byte.
func TestFileTransferIsNotCarriedOver(t *testing.T) {
	for _, transfer := range []string{"PUT file:///tmp/rows.csv @stage", "get @stage/rows.csv file:///tmp"} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			once(srv, transfer, snowtest.Fault{Run: true, Body: inProgress, After: func() { srv.AbortSessions() }})
			_, err := db.ExecContext(gosnowflake.WithFilePutStream(t.Context(), strings.NewReader("1")), transfer)
			if !errors.Is(err, snowtether.ErrInDoubt) {
				t.Errorf("%s: %v", transfer, err)
			}
			if n := srv.Stats().Requests[snowtest.RequestMonitor]; n != 0 {
				t.Errorf("%s: its status was asked for %d times", transfer, n)
			}
		})
	}
}

// TestPutSaysWhichFilesArrivedOrThatItDoesNotKnow: whichever of its requests meets the end of
// the session or a fault, and whatever had been uploaded before.
func TestPutSaysWhichFilesArrivedOrThatItDoesNotKnow(t *testing.T) {
	const files = 3
	dir := t.TempDir()
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d.csv", i)), []byte("1,2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	faults := map[string]snowtest.Fault{"": {}, "403": {Status: 403}, "503": {Status: 503}, "lost before": {Drop: true}, "lost after": {Run: true, Drop: true}}
	for at := range 2*files + 2 {
		for name, fault := range faults {
			for _, dies := range []bool{false, true} {
				t.Run(fmt.Sprintf("request %d/%s/dies %v", at, name, dies), func(t *testing.T) {
					inBubble(t, func(t *testing.T, srv *snowtest.Server) {
						db := pool(t, srv, 1)
						n, arrived := 0, 0
						srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
							upload := r.Kind == snowtest.RequestOther && r.HTTP.Method == http.MethodPut
							if !upload && r.Kind != snowtest.RequestQuery {
								return snowtest.Fault{}, false
							}
							f := snowtest.Fault{}
							if n++; n == at+1 {
								if f = fault; dies {
									srv.AbortSessions()
								}
							}
							if upload && (f.Run || !f.Drop && f.Status == 0) {
								arrived++
							}
							return f, true
						})
						listed, err := put(t, db, "PUT 'file://"+dir+"/*.csv' @~/x PARALLEL=1 OVERWRITE=TRUE")
						switch {
						case err == nil && listed != files:
							t.Errorf("%d of %d files are listed as uploaded, and no error", listed, files)
						case err != nil && arrived > 0 && !errors.Is(err, snowtether.ErrInDoubt):
							t.Errorf("%d files arrived, and the error is %v", arrived, err)
						}
					}, snowtest.AllowRepeats())
				})
			}
		}
	}
}

// put carries a PUT out and counts the files that its result lists as uploaded.
func put(t *testing.T, db dbtx, query string) (uploaded int, _ error) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		return 0, err
	}
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, dest := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		for i, column := range columns {
			if column == "status" && fmt.Sprint(values[i]) == "UPLOADED" {
				uploaded++
			}
		}
	}
	return uploaded, errors.Join(rows.Err(), rows.Close())
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
		isLost(t, err, true)
		if err := tx.Commit(); err == nil {
			t.Error("COMMIT succeeded on another session")
		}
		if n := srv.Effects(insert); n != 0 {
			t.Errorf("it took effect %d times", n)
		}
		time.Sleep(2 * time.Hour)
	})
}

// TestStatementThatBeginsATransactionIsNotCarriedOutOfIt: its rows vanished with
// the transaction that it had begun, and COMMIT on the new session said nothing.
func TestStatementThatBeginsATransactionIsNotCarriedOutOfIt(t *testing.T) {
	off := "false"
	for name, tt := range map[string]struct {
		first string
		cfg   func(cfg *gosnowflake.Config)
		opts  []snowtether.Option
	}{
		"AUTOCOMMIT off in the Config":   {insert, func(cfg *gosnowflake.Config) { cfg.Params = map[string]*string{"AUTOCOMMIT": &off} }, nil},
		"AUTOCOMMIT off by session init": {insert, nil, []snowtether.Option{snowtether.WithSessionInit("ALTER SESSION SET AUTOCOMMIT = FALSE")}},
		"AUTOCOMMIT off by a hook": {insert, nil, []snowtether.Option{snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			cfg.Params["autocommit"] = &off
			return nil
		})}},
		"BEGIN and an INSERT": {"BEGIN; " + insert, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				if tt.cfg != nil {
					tt.cfg(cfg)
				}
				db, _ := connect(t, cfg, tt.opts...)
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				slowly(srv, "^(INSERT|BEGIN)", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
				endAt(srv, ways[1].End, time.Minute)
				_, err = conn.ExecContext(gosnowflake.WithMultiStatement(t.Context(), 0), tt.first)
				if !errors.Is(err, snowtether.ErrSessionLost) && !errors.Is(err, snowtether.ErrInDoubt) {
					t.Errorf("error is %v", err)
				}
				if _, err := conn.ExecContext(t.Context(), "COMMIT"); err == nil {
					t.Error("COMMIT succeeded on another session")
				}
				time.Sleep(time.Hour)
			})
		})
	}
}
