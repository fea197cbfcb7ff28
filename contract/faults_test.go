package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what runs twice elsewhere: statements that were accepted
// before their session ended. Each test runs in virtual time, so that
// gosnowflake's seconds of back-off cost nothing, and in a bubble that fails if a
// goroutine is left.

const insert = "INSERT INTO t VALUES (1)"

// once answers the next request for this SQL with the fault.
func once(srv *snowtest.Server, sql string, f snowtest.Fault) {
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		return f, r.Kind == snowtest.RequestQuery && r.SQL == sql
	})
}

// inDoubt checks the error of a statement that ran, or may have.
func inDoubt(t *testing.T, srv *snowtest.Server, sql string, err error, accepted int) {
	t.Helper()
	var se *snowtether.SessionError
	switch {
	case !errors.Is(err, snowtether.ErrInDoubt) || !errors.As(err, &se):
		t.Fatalf("error is %v, want one that Is ErrInDoubt", err)
	case errors.Is(err, driver.ErrBadConn):
		t.Errorf("%v Is driver.ErrBadConn: database/sql runs the statement again", err)
	case errors.Is(err, snowtether.ErrSessionLost):
		t.Errorf("%v Is ErrSessionLost, which means that it did not run", err)
	case snowtether.Classify(err) != snowtether.ClassInDoubt:
		t.Errorf("Classify says %q", snowtether.Classify(err))
	}
	if n := srv.Accepted(sql); n != accepted {
		t.Errorf("accepted %d times, want %d", n, accepted)
	}
	for _, e := range srv.Ledger() {
		if se.QueryID != "" && e.SQL == sql && e.QueryID != se.QueryID {
			t.Errorf("the error has query ID %q, the server %q", se.QueryID, e.QueryID)
		}
	}
}

// withID checks that the error carries a query ID.
func withID(t *testing.T, err error) {
	t.Helper()
	var se *snowtether.SessionError
	if !errors.As(err, &se) || se.QueryID == "" {
		t.Errorf("error %v carries no query ID", err)
	}
}

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
					inDoubt(t, srv, insert, err, 1)
					if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (2)"); err != nil {
						t.Errorf("the next statement: %v", err)
					}
				})
			})
		}
	}
}

// hiding is a Config.Transporter that drops the context of each request, and with
// it the sight of the traffic.
type hiding struct{ http.RoundTripper }

func (h hiding) RoundTrip(r *http.Request) (*http.Response, error) {
	return h.RoundTripper.RoundTrip(r.WithContext(context.Background()))
}

// TestHiddenTrafficIsNoProof: neither that the statement ran nor that it did not.
func TestHiddenTrafficIsNoProof(t *testing.T) {
	for _, way := range ways[1:] {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			cfg := srv.Config()
			cfg.Transporter = hiding{cfg.Transporter}
			db, _ := connect(t, cfg)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.EndSessions(way.End) }})
			_, err := db.ExecContext(t.Context(), insert)
			inDoubt(t, srv, insert, err, 1)
		})
	}
}

// TestDoubtNamesTheRequestThatTheCallerNamed: with no query ID it is all there is
// to look for.
func TestDoubtNamesTheRequestThatTheCallerNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		id := gosnowflake.NewUUID()
		_, err := db.ExecContext(gosnowflake.WithRequestID(t.Context(), id), insert)
		inDoubt(t, srv, insert, err, 1)
		var se *snowtether.SessionError
		if !errors.As(err, &se) || se.RequestID != id.String() || srv.Ledger()[0].RequestID != id.String() {
			t.Errorf("request %q, the ledger has %q: %v", se.RequestID, srv.Ledger()[0].RequestID, err)
		}
	})
}

// TestDoubtSaysWhatToLookFor: the same in the event, the error and the log. A statement
// without a query ID is known by its session and by the request that it was sent with, also
// where its caller named none.
func TestDoubtSaysWhatToLookFor(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		var j journal
		db, _ := connect(t, srv.Config(), snowtether.WithEventHook(j.hook), snowtether.WithLogger(slog.New(&j)))
		once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		_, err := db.ExecContext(t.Context(), insert)
		inDoubt(t, srv, insert, err, 1)
		var se *snowtether.SessionError
		if !errors.As(err, &se) || se.RequestID == "" || se.RequestID != srv.Ledger()[0].RequestID {
			t.Errorf("request %q, the ledger has %q", se.RequestID, srv.Ledger()[0].RequestID)
		}
		e := j.of(snowtether.EventInDoubt)[0]
		if e.Operation != "exec" || e.RequestID != se.RequestID || e.SessionID == 0 {
			t.Errorf("the event is %+v", e)
		}
		want := fmt.Sprintf("look in QUERY_HISTORY for what ran in session %d at about 00:00 UTC, and at what the statement should have changed; once it is over, run it again only if nothing of it is there", e.SessionID)
		if e.Remedy() != want {
			t.Errorf("remedy %q\nwant   %q", e.Remedy(), want)
		}
		for _, line := range j.lines {
			if attr(line, "event") == "in_doubt" && (attr(line, "remedy") != want || attr(line, "operation") != "exec" || attr(line, "request_id") != se.RequestID) {
				t.Errorf("the line has operation %q, request_id %q, remedy %q", attr(line, "operation"), attr(line, "request_id"), attr(line, "remedy"))
			}
		}
	})
	for _, tt := range []struct {
		e    snowtether.Event
		want string
	}{
		{snowtether.Event{Kind: snowtether.EventInDoubt, Operation: "exec", SessionID: 7, QueryID: "01b2"}, "look up query 01b2 in QUERY_HISTORY: run the statement again only if it failed there"},
		{snowtether.Event{Kind: snowtether.EventInDoubt, Operation: "commit", SessionID: 7}, "the COMMIT in session 7 at about 00:00 UTC, and at what the transaction should have changed"},
		{snowtether.Event{Kind: snowtether.EventInDoubt, Operation: "exec"}, "look at what the statement should have changed; once it is over, run it again only"},
		{snowtether.Event{Kind: snowtether.EventLost, SessionID: 7}, ""},
	} {
		if got := tt.e.Remedy(); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%+v: %q, want %q", tt.e, got, tt.want)
		}
	}
}

// hold makes the statements that match wait until release is called.
func hold(srv *snowtest.Server, pattern string) (release func()) {
	gate := make(chan struct{})
	srv.Handle(pattern, func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
		select {
		case <-gate:
			return snowtest.Count(snowtest.KindInsert, []string{"number of rows inserted"}, []int64{1}), nil
		case <-ctx.Done():
			return nil, &snowtest.Error{Code: "000604", SQLState: "57014", Message: "SQL execution canceled"}
		}
	})
	return func() { close(gate) }
}

// polled runs use with a statement that the server has accepted and that is being
// polled when its session ends.
func polled(t *testing.T, way snowtest.Refusal, use func(ctx context.Context, db *sql.DB) error, check func(srv *snowtest.Server, err error)) {
	t.Helper()
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, snowtether.WithResume(false))
		release := hold(srv, "^INSERT")
		go func() {
			time.Sleep(2 * time.Minute)
			srv.EndSessions(way)
			time.Sleep(2 * time.Minute)
			release()
		}()
		err := use(t.Context(), db)
		synctest.Wait()
		time.Sleep(time.Hour)
		check(srv, err)
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
				withID(t, err)
				inDoubt(t, srv, insert, err, 1)
			})
		})
	}
	t.Run("HTTP 401", func(t *testing.T) {
		polled(t, snowtest.Refusal{Status: 401}, func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, insert)
			return err
		}, func(srv *snowtest.Server, err error) {
			withID(t, err)
			inDoubt(t, srv, insert, err, 1)
		})
	})
}

// TestCallersQueryIDChannelGetsItsID: also when the statement survived the loss
// of a session, and while it still runs.
func TestCallersQueryIDChannelGetsItsID(t *testing.T) {
	for _, tt := range []struct {
		name     string
		buffered int
		before   func(srv *snowtest.Server)
	}{
		{"undisturbed", 1, func(*snowtest.Server) {}},
		{"unbuffered", 0, func(*snowtest.Server) {}},
		{"session lost", 1, func(srv *snowtest.Server) { srv.AbortSessions() }},
		{"token renewed", 1, func(srv *snowtest.Server) { srv.ExpireSessionTokens() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				tt.before(srv)
				ids := make(chan string, tt.buffered)
				ctx := gosnowflake.WithQueryIDChan(t.Context(), ids)
				if _, err := db.ExecContext(ctx, insert); err != nil {
					t.Fatal(err)
				}
				id, ok := <-ids
				if _, more := <-ids; !ok || more {
					t.Fatal("want one ID, then a closed channel")
				}
				if ledger := srv.Ledger(); len(ledger) != 1 || ledger[0].QueryID != id {
					t.Errorf("got ID %q, ledger %+v", id, ledger)
				}
			})
		})
	}
	t.Run("while it runs, lost while polled", func(t *testing.T) {
		var id string
		polled(t, snowtest.Refusal{Code: "390111"}, func(ctx context.Context, db *sql.DB) error {
			ids := make(chan string)
			done := make(chan struct{})
			go func() { id = <-ids; close(done) }()
			_, err := db.ExecContext(gosnowflake.WithQueryIDChan(ctx, ids), insert)
			<-done
			return err
		}, func(srv *snowtest.Server, err error) {
			withID(t, err)
			inDoubt(t, srv, insert, err, 1)
			if id != srv.Ledger()[0].QueryID {
				t.Errorf("the channel got %q", id)
			}
		})
	})
	t.Run("the same context twice", func(t *testing.T) {
		// gosnowflake panics here, in the caller's goroutine.
		for buffered := range 2 {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				ids := make(chan string, buffered)
				ctx := gosnowflake.WithQueryIDChan(t.Context(), ids)
				for i := range 2 {
					if _, err := db.ExecContext(ctx, row(i)); err != nil {
						t.Fatal(err)
					}
				}
				if id := <-ids; id != srv.Ledger()[0].QueryID && id != srv.Ledger()[1].QueryID {
					t.Errorf("got ID %q", id)
				}
				synctest.Wait() // for the one that came too late
			})
		}
	})
	t.Run("nobody reads it", func(t *testing.T) {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) { // which fails if a goroutine waits for ever
			db := pool(t, srv, 1)
			ctx, cancel := context.WithCancel(gosnowflake.WithQueryIDChan(t.Context(), make(chan string)))
			if _, err := db.ExecContext(ctx, insert); err != nil {
				t.Error(err)
			}
			cancel()
		})
	})
}

// TestArrayBindThroughAStageIsNotRunAgain: an array bind above the threshold
// creates a stage, uploads the values and only then sends the INSERT.
func TestArrayBindThroughAStageIsNotRunAgain(t *testing.T) {
	const bulk = "INSERT INTO t VALUES (?)"
	values := make([]int, 100)
	for i := range values {
		values[i] = i
	}
	for _, tt := range []struct {
		name    string
		arrange func(srv *snowtest.Server)
		doubt   int // how often it was accepted, if the outcome is in doubt; else -1
	}{
		{"undisturbed", func(*snowtest.Server) {}, -1},
		{"session lost before", func(srv *snowtest.Server) { srv.AbortSessions() }, -1},
		{"token expired before", func(srv *snowtest.Server) { srv.ExpireSessionTokens() }, -1},
		{"session lost before the INSERT", func(srv *snowtest.Server) {
			once(srv, bulk, snowtest.Fault{Code: "390111", Message: "Session no longer exists."})
		}, -1},
		{"reply of the INSERT lost, then expiry", func(srv *snowtest.Server) {
			once(srv, bulk, snowtest.Fault{Run: true, Drop: true, After: func() { srv.ExpireMasterTokens() }})
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				tt.arrange(srv)
				ids := make(chan string, 1)
				array, err := gosnowflake.Array(&values)
				if err != nil {
					t.Fatal(err)
				}
				res, err := db.ExecContext(gosnowflake.WithQueryIDChan(t.Context(), ids), bulk, array)
				if tt.doubt >= 0 {
					inDoubt(t, srv, bulk, err, tt.doubt)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); n != 100 || err != nil {
					t.Errorf("RowsAffected: %d, %v", n, err)
				}
				if n := srv.Accepted(bulk); n != 1 {
					t.Errorf("accepted %d times", n)
				}
				id := <-ids
				for _, e := range srv.Ledger() {
					if e.SQL == bulk && e.QueryID != id {
						t.Errorf("the caller's channel got %q, the INSERT has %q", id, e.QueryID)
					}
				}
			}, snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 10))
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
		inDoubt(t, srv, row(2), err, 1)
	})
}
