package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Exactly once (docs/guarantees.md): a statement whose reply is lost, cut or given too early, that
// was cancelled, or that is asynchronous, is not run again.

// TestStatementWithLostReplyIsNotRunAgain: the obvious shim runs every one of
// these twice.
func TestStatementWithLostReplyIsNotRunAgain(t *testing.T) {
	for _, lost := range []struct {
		name  string
		fault snowtest.Fault
	}{
		{"reply lost", snowtest.Fault{Run: true, Drop: true}},
		{"503 from a gateway", snowtest.Fault{Run: true, Status: 503, Body: "<html>busy</html>"}},
		{"half a reply", snowtest.Fault{Run: true, Body: `{"data":{"queryId":"`}},
	} {
		for _, way := range ways[1:] {
			t.Run(lost.name+", then "+way.Name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 2)
					fault := lost.fault
					fault.After = func() { srv.EndSessions(way.End) }
					once(srv, insert, fault)
					_, err := db.ExecContext(t.Context(), insert)
					ranInDoubt(t, srv, insert, err, 1)
					if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (2)"); err != nil {
						t.Errorf("the next statement: %v", err)
					}
				})
			})
		}
	}
}

// TestAnswerBeforeTheStatementWasReadProvesNothing: a gateway that refuses a request
// while its body is still on the way refuses that one, and not the one before it,
// whose reply was lost.
func TestAnswerBeforeTheStatementWasReadProvesNothing(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"HTTP 401": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusUnauthorized)
		},
		"390111": says(`{"success":false,"code":"390111","message":"Session no longer exists."}`),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				f, cfg := inFront(t, srv)
				db, _ := connect(t, cfg)
				if err := db.PingContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				f.misbehaves("/query-request", true, func(http.ResponseWriter, *http.Request) {
					f.misbehaves("/query-request", false, func(w http.ResponseWriter, r *http.Request) {
						f.behaves()
						srv.AbortSessions()
						answer(w, r)
						_ = http.NewResponseController(w).Flush()
						time.Sleep(time.Second) // the body, larger than all buffers, waits
					})
					panic(http.ErrAbortHandler)
				})
				sql := "INSERT INTO t VALUES ('" + strings.Repeat("x", 1<<20) + "')"
				_, err := db.ExecContext(t.Context(), sql)
				time.Sleep(time.Minute)
				if !errors.Is(err, snowtether.ErrInDoubt) {
					t.Errorf("error is %v, want one that Is ErrInDoubt", err)
				}
				if n := srv.Accepted(sql); n != 1 {
					t.Errorf("accepted %d times", n)
				}
			})
		})
	}
}

// TestFailedCancellingSaysNothingOfTheStatement: gosnowflake cancels a statement whose
// reply does not come within Config.ClientTimeout. What it hears then is about the
// cancelling, and stands first in the statement's error.
func TestFailedCancellingSaysNothingOfTheStatement(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	halt := func(w http.ResponseWriter, r *http.Request) {
		says(`{"data":`)(w, r)
		_ = http.NewResponseController(w).Flush()
		hang(w, r)
	}
	for _, tt := range []struct {
		name  string
		first http.HandlerFunc // the answer to the first try, after the statement was carried out
		then  http.HandlerFunc // and to all others
		abort http.HandlerFunc // the answer to the cancelling
	}{
		{"the session is gone", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, halt, says(`{"success":false,"code":"390111","message":"Session no longer exists."}`)},
		{"a code of its own", hang, hang, says(`{"success":false,"code":"000999","message":"no"}`)},
		{"HTTP 403", hang, hang, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				f, cfg := inFront(t, srv)
				cfg.ClientTimeout = time.Minute //lint:ignore SA1019 there is no other setting for it
				db, _ := connect(t, cfg)
				if err := db.PingContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				f.misbehaves("/query-request", true, func(w http.ResponseWriter, r *http.Request) {
					f.misbehaves("/queries/v1/", false, func(w http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						if strings.Contains(r.URL.Path, "/abort-request") {
							tt.abort(w, r)
							return
						}
						tt.then(w, r)
					})
					tt.first(w, r)
				})
				_, err := db.ExecContext(t.Context(), insert)
				ranInDoubt(t, srv, insert, err, 1)
				f.behaves()
			})
		})
	}
}

// TestAsynchronousStatementIsNotRunAgain: refused at once it is run once on
// another session; lost while it runs, its error comes from the result.
func TestAsynchronousStatementIsNotRunAgain(t *testing.T) {
	t.Run("session lost before", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			db := pool(t, srv, 1)
			srv.AbortSessions()
			res, err := db.ExecContext(gosnowflake.WithAsyncMode(t.Context()), insert)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := res.RowsAffected(); n != 1 || err != nil {
				t.Errorf("RowsAffected: %d, %v", n, err)
			}
		})
	})
	t.Run("session lost while it runs", func(t *testing.T) {
		polled(t, snowtest.Refusal{Renewal: "390114"}, func(ctx context.Context, db *sql.DB) error {
			res, err := db.ExecContext(gosnowflake.WithAsyncMode(ctx), insert)
			if err != nil {
				return err
			}
			_, err = res.RowsAffected()
			return err
		}, func(srv *snowtest.Server, err error) {
			// The result is gosnowflake's own: 266001 with the code in its text.
			if class := snowtether.Classify(err); class != snowtether.ClassInDoubt {
				t.Errorf("Classify(%v) is %q", err, class)
			}
			if n := srv.Accepted(insert); n != 1 {
				t.Errorf("accepted %d times", n)
			}
		})
	})
}

// TestAsynchronousStatementThatWasAcceptedIsInDoubt: its error comes from gosnowflake's
// own Result or Rows, as text inside 266001, and can be about the session alone.
// Before: Classify said statement for a 401 and session_lost, "did not run", for 390114.
func TestAsynchronousStatementThatWasAcceptedIsInDoubt(t *testing.T) {
	for _, way := range endings[3:] { // those that come as 266001
		for name, run := range map[string]func(ctx context.Context, db dbtx) error{
			"exec": func(ctx context.Context, db dbtx) error {
				res, err := db.ExecContext(ctx, row(1))
				if err != nil {
					return err
				}
				_, err = res.RowsAffected()
				return err
			},
			"query": func(ctx context.Context, db dbtx) error { return drain(db.QueryContext(ctx, row(1))) },
		} {
			t.Run(way.name+"/"+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := pool(t, srv, 1)
					slowly(srv, "^INSERT INTO t", 10*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
					time.AfterFunc(time.Minute, func() { srv.EndSessions(way.end) })
					err := run(gosnowflake.WithAsyncMode(t.Context()), db)
					if class := snowtether.Classify(err); class != snowtether.ClassInDoubt {
						t.Errorf("Classify(%v) is %q", err, class)
					}
					time.Sleep(time.Hour)
					checkRan(t, srv, row(1), 1, 1)
					nextUser(t, srv, db)
				}, snowtest.AllowOpenSessions())
			})
		}
	}
}

// TestAsynchronousStatementWithAnUnreadableResultIsInDoubt: it ran, and the answer to the
// poll was another's.
func TestAsynchronousStatementWithAnUnreadableResultIsInDoubt(t *testing.T) {
	for name, fault := range map[string]snowtest.Fault{
		"HTML": {Body: "<html>"}, "403": {Status: 403}, "404": {Status: 404, Body: "<html>"}, "cut": {Cut: 5, Run: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return fault, r.Kind == snowtest.RequestResult })
				res, err := db.ExecContext(gosnowflake.WithAsyncMode(t.Context()), row(1))
				if err != nil {
					t.Fatal(err)
				}
				_, err = res.RowsAffected()
				if class := snowtether.Classify(err); class != snowtether.ClassInDoubt {
					t.Errorf("Classify(%v) is %q", err, class)
				}
				time.Sleep(time.Minute) // the statement runs beside the question
				checkRan(t, srv, row(1), 1, 1)
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestAsynchronousStatementThatFailsHasItsOwnError: with the server's code and no 266001.
func TestAsynchronousStatementThatFailsHasItsOwnError(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "^INSERT", time.Minute, nil, &snowtest.Error{Code: "100072", SQLState: "22000", Message: "NULL result"})
		res, err := db.ExecContext(gosnowflake.WithAsyncMode(t.Context()), row(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = res.RowsAffected(); snowtether.Classify(err) != snowtether.ClassStatement {
			t.Errorf("Classify(%v) is %q", err, snowtether.Classify(err))
		}
	}, snowtest.AllowOpenSessions())
}

// TestCallersOwnTraceIsKept: and the proof is as good with one in the context.
func TestCallersOwnTraceIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		srv.AbortSessions()
		var written atomic.Int64
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteHeaders: func() { written.Add(1) }})
		if _, err := db.ExecContext(ctx, insert); err != nil {
			t.Fatal(err)
		}
		if n := written.Load(); n < 2 {
			t.Errorf("the caller saw %d requests", n)
		}
		once(srv, row(2), snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		_, err := db.ExecContext(ctx, row(2))
		ranInDoubt(t, srv, row(2), err, 1)
	})
}

// TestNothingIsSentForACallerWhoHasLeft: on a connection that is his.
func TestNothingIsSentForACallerWhoHasLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before := srv.Stats().Requests[snowtest.RequestQuery]
		raw(t, db, func(dc any) error {
			if _, err := dc.(driver.ExecerContext).ExecContext(ctx, insert, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v", err)
			}
			return nil
		})
		if n := srv.Stats().Requests[snowtest.RequestQuery] - before; n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}
