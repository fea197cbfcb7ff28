package contract_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// In doubt (docs/guarantees.md): an error in doubt says what to look for, and the check can be
// made on the same connection. Whatever gosnowflake or a hostile server does (a panic, renewals
// without end, garbage, bombs), callers get one clear error in time and nothing runs twice.

// TestDoubtNamesTheRequestThatTheCallerNamed: with no query ID it is all there is
// to look for.
func TestDoubtNamesTheRequestThatTheCallerNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		once(srv, insert, snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})
		id := gosnowflake.NewUUID()
		_, err := db.ExecContext(gosnowflake.WithRequestID(t.Context(), id), insert)
		ranInDoubt(t, srv, insert, err, 1)
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
		ranInDoubt(t, srv, insert, err, 1)
		var se *snowtether.SessionError
		if !errors.As(err, &se) || se.RequestID == "" || se.RequestID != srv.Ledger()[0].RequestID {
			t.Errorf("request %q, the ledger has %q", se.RequestID, srv.Ledger()[0].RequestID)
		}
		e := j.of(snowtether.EventInDoubt)[0]
		if e.Operation != "exec" || e.RequestID != se.RequestID || e.SessionID == 0 {
			t.Errorf("the event is %+v", e)
		}
		want := fmt.Sprintf("look in QUERY_HISTORY for what ran in session %d at about 00:00 UTC, and at what the statement should have changed; once it is over, run it again only if nothing of it is there", e.SessionID)
		if e.Remedy() != want || se.Remedy() != want || !strings.Contains(err.Error(), "; "+want+": ") {
			t.Errorf("remedy %q\nof the error %q\nwant   %q, also in\n%v", e.Remedy(), se.Remedy(), want, err)
		}
		synctest.Wait() // for the line
		for _, line := range j.written() {
			if attr(line, "event") == "in_doubt" && (attr(line, "remedy") != want || attr(line, "operation") != "exec" || attr(line, "request_id") != se.RequestID) {
				t.Errorf("the line has operation %q, request_id %q, remedy %q", attr(line, "operation"), attr(line, "request_id"), attr(line, "remedy"))
			}
		}
	})
	for _, tt := range []struct {
		e    snowtether.Event
		want string
	}{
		{snowtether.Event{Kind: snowtether.EventInDoubt, Operation: "exec", SessionID: 7, QueryID: "01b2"}, "look up query 01b2 in QUERY_HISTORY, and run the statement again only if it failed there"},
		{snowtether.Event{Kind: snowtether.EventInDoubt, Operation: "commit", SessionID: 7}, "the COMMIT in session 7, and at what the transaction should have changed"},
		{snowtether.Event{Kind: snowtether.EventInDoubt, Operation: "exec"}, "look at what the statement should have changed; once it is over, run it again only"},
		{snowtether.Event{Kind: snowtether.EventLost, SessionID: 7}, ""},
	} {
		if got := tt.e.Remedy(); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%+v: %q, want %q", tt.e, got, tt.want)
		}
	}
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
		ranInDoubt(t, srv, insert, err, 1)
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

// TestPanicOfTheInnerDriverIsAnError: a server that ignores asyncExec makes
// gosnowflake hand out a nil pointer, and its prepared statements panic on it.
func TestPanicOfTheInnerDriverIsAnError(t *testing.T) {
	const answer = `{"data":{"rowtype":[],"rowset":[],"total":0,"queryId":"01b","statementTypeId":12544},"success":true,"code":null}`
	for name, use := range map[string]func(ctx context.Context, db *sql.DB) error{
		"exec": func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, insert)
			return err
		},
		"query": func(ctx context.Context, db *sql.DB) error {
			rows, err := db.QueryContext(ctx, insert)
			if err == nil {
				err = errors.Join(rows.Err(), rows.Close())
			}
			return err
		},
		"plain read": func(ctx context.Context, db *sql.DB) error { return db.QueryRowContext(ctx, "SELECT 7").Scan(new(int)) },
		"prepared": func(ctx context.Context, db *sql.DB) error {
			stmt, err := db.PrepareContext(ctx, insert)
			if err != nil {
				return err
			}
			defer stmt.Close()
			_, err = stmt.ExecContext(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				db := pool(t, srv, 1)
				onceAt(srv, snowtest.RequestQuery, snowtest.Fault{Body: answer})
				err := use(gosnowflake.WithAsyncMode(t.Context()), db)
				if !errors.Is(err, snowtether.ErrInDoubt) {
					t.Errorf("error is %v", err)
				}
				if _, err := db.ExecContext(t.Context(), insert); err != nil {
					t.Errorf("the next statement: %v", err)
				}
				if n := srv.Stats().Logins; n != 2 {
					t.Errorf("%d logins: the connection was not discarded", n)
				}
			})
		})
	}
}

// TestEndlessRenewalEndsWithAClearError: gosnowflake asks for ever, 92 times a
// second.
func TestEndlessRenewalEndsWithAClearError(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		var over atomic.Bool
		srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestQuery || over.Load() {
				return snowtest.Fault{}, false
			}
			return snowtest.Fault{Code: "390112", Message: "Session token expired."}, true
		})
		_, err := db.ExecContext(t.Context(), insert)
		if err == nil || !strings.Contains(err.Error(), "refuses the session token again after each renewal") {
			t.Errorf("error is %v", err)
		}
		if errors.Is(err, snowtether.ErrInDoubt) || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("%v Is ErrInDoubt or ErrBadConn", err)
		}
		if n := srv.Stats().Renewals; n > 10 {
			t.Errorf("%d renewals", n)
		}
		over.Store(true)
		srv.ExpireSessionTokens()
		if _, err := db.ExecContext(within(t, time.Minute), insert); err != nil {
			t.Errorf("afterwards, with a token to renew: %v", err)
		}
		if n := srv.Stats().Logins; n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

// TestManyRenewalsOfALongStatementAreNoLoop: it is polled for two days and renewed
// each hour.
func TestManyRenewalsOfALongStatementAreNoLoop(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		release := hold(srv, "^INSERT")
		time.AfterFunc(48*time.Hour, release)
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Error(err)
		}
		if n := srv.Stats().Renewals; n < 40 {
			t.Errorf("only %d renewals", n)
		}
	})
}

// refuseTokens answers 390112 to each request of a kind, and lets renewals succeed.
func refuseTokens(srv *snowtest.Server, kind snowtest.RequestKind) {
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.Kind != kind {
			return snowtest.Fault{}, false
		}
		return snowtest.Fault{Code: "390112", Message: "Session token expired."}, true
	})
}

// TestEndlessRenewalOfACancelledStatementEnds: gosnowflake renews there without
// asking anybody, as often as it can, long after its caller has gone.
func TestEndlessRenewalOfACancelledStatementEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1)
		slowly(srv, "VALUES .1.", time.Hour, counted(snowtest.KindInsert, "inserted", 1), nil)
		srv.ExpireSessionTokens()
		mustPing(t, db) // it may have been renewed in good order before
		time.Sleep(20 * time.Minute)
		refuseTokens(srv, snowtest.RequestAbort)
		_, err := db.ExecContext(within(t, 10*time.Minute), insert)
		clear(t, srv, err)
		if _, err := db.ExecContext(within(t, time.Minute), row(2)); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if n := srv.Stats().Renewals; n > 10 {
			t.Errorf("%d renewals", n)
		}
	}, snowtest.WithLatency(10*time.Millisecond))
}

// TestEndlessRenewalDuringSetUpEnds: with an error that says so.
func TestEndlessRenewalDuringSetUpEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		refuseTokens(srv, snowtest.RequestQuery)
		db, _ := connect(t, srv.Config(), snowtether.WithSessionInit("USE ROLE r"))
		err := db.PingContext(t.Context())
		clear(t, srv, err)
		if snowtether.Classify(err) != snowtether.ClassTransient || !strings.Contains(err.Error(), "after each renewal") {
			t.Errorf("error is %v", err)
		}
		if s := srv.Stats(); s.Renewals > 10*s.Logins {
			t.Errorf("%d renewals for %d logins", s.Renewals, s.Logins)
		}
	}, snowtest.WithLatency(10*time.Millisecond))
}

// zipped answers with a body that says it is gzip.
func zipped(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(body)
	}
}

// answers are what servers make of a reply that should have been JSON.
var answers = []struct {
	name   string
	answer http.HandlerFunc
}{
	{"HTML", says("<!DOCTYPE html>\n<html><body>Welcome to the hotel</body></html>")},
	{"not a word of how it went", says(`{"message":"Internal server error"}`)},
	{"half of it", says(`{"success":true,"data":{"token":"a`)},
	{"nothing", says("")},
	{"a JSON of another shape", says(`[1,2,3]`)},
	{"a code that is no number", says(`{"success":false,"code":"abc","message":"no"}`)},
	{"a number for a code", says(`{"success":false,"code":390114,"message":"no"}`)},
	{"no gzip", zipped([]byte("this is no gzip"))},
	{"half of the gzip", zipped(spaces(1)[:500])},
	{"less than it promised", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"success":`)
	}},
	{"an endless one", trickle(strings.Repeat(" ", 4<<10), time.Second)},
	{"an endless token", trickle(strings.Repeat(`{"data":{"token":"`, 100), time.Second)},
	{"a byte a minute", trickle(" ", time.Minute)},
	{"a redirect to itself", func(w http.ResponseWriter, r *http.Request) {
		redirect(r.URL.Path+"?"+r.URL.RawQuery+"&token=s3cret", 307)(w, r)
	}},
	{"a redirect elsewhere", redirect("http://elsewhere/x?token=s3cret", 307)},
	{"a redirect to a login page", redirect("/login?from=s3cret", 302)},
}

// spaces is so many MiB of spaces, gzipped.
func spaces(n int) []byte {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		panic(err)
	}
	for range n {
		_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20)) // a bytes.Buffer takes everything
	}
	_ = w.Close()
	return buf.Bytes()
}

// TestHostileLoginIsAClearError: within the connect budget of 2 minutes. Only a
// server that says no is believed that it is for good.
func TestHostileLoginIsAClearError(t *testing.T) {
	refusals := map[string]bool{"a code that is no number": true, "not a word of how it went": true}
	for _, a := range answers {
		t.Run(a.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				f, cfg := inFront(t, srv)
				db, _ := connect(t, cfg)
				f.misbehaves("/login-request", false, a.answer)
				begun := time.Now()
				err := db.PingContext(t.Context())
				if took := time.Since(begun); took > 2*time.Minute {
					t.Errorf("waited %v", took)
				}
				clear(t, srv, err)
				want := snowtether.ClassTransient
				if refusals[a.name] {
					want = snowtether.ClassPermanent
				}
				if class := snowtether.Classify(err); class != want {
					t.Errorf("%v is %q", err, class)
				}
				f.behaves()
				time.Sleep(time.Minute) // the longest cool-down or back-off, and the login under way
				if err := db.PingContext(within(t, time.Minute)); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

// TestHostileReplyIsInDoubt: to a statement that was carried out, to its poll, or to
// the renewal that it needs. It is not run again.
func TestHostileReplyIsInDoubt(t *testing.T) {
	for i, a := range answers {
		for n, at := range []string{"/query-request", "/result", "/token-request"} {
			if testpool.Quick() && i%3 != n {
				continue
			}
			t.Run(a.name+" at "+at, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					f, cfg := inFront(t, srv)
					db, _ := connect(t, cfg)
					if err := db.PingContext(t.Context()); err != nil {
						t.Fatal(err)
					}
					switch at {
					case "/result":
						slowly(srv, "VALUES .1.", 2*time.Minute, counted(snowtest.KindInsert, "inserted", 1), nil)
					case "/token-request":
						srv.ExpireSessionTokens()
					}
					f.misbehaves(at, true, a.answer)
					const patience = 20 * time.Minute
					begun := time.Now()
					_, err := db.ExecContext(within(t, patience), insert)
					if took := time.Since(begun); took > patience || took < patience && !errors.Is(err, snowtether.ErrInDoubt) ||
						took == patience && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("after %v: %v", took, err)
					}
					clear(t, srv, err)
					f.behaves()
					if _, err := db.ExecContext(within(t, time.Minute), row(2)); err != nil {
						t.Errorf("afterwards: %v", err)
					}
					time.Sleep(3 * time.Hour) // gosnowflake's cancelling
					if n := srv.Accepted(insert); n > 1 {
						t.Errorf("accepted %d times", n)
					}
				})
			})
		}
	}
}

// TestPlainReadOutlastsHostileReplies: it is run again until one can be read.
func TestPlainReadOutlastsHostileReplies(t *testing.T) {
	for _, a := range answers {
		t.Run(a.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				f, cfg := inFront(t, srv)
				db, _ := connect(t, cfg)
				if err := db.PingContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				f.misbehaves("/query-request", true, a.answer)
				time.AfterFunc(5*time.Minute, f.behaves)
				var one int
				if err := db.QueryRowContext(within(t, time.Hour), "SELECT 1").Scan(&one); err != nil || one != 1 {
					t.Errorf("%d, %v", one, err)
				}
			})
		})
	}
}

// TestBombIsGarbage: 100 MiB that were 450 KB on their way.
func TestBombIsGarbage(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		f, cfg := inFront(t, srv)
		db, _ := connect(t, cfg)
		megabytes := 100
		if testpool.Quick() {
			megabytes = 10
		}
		bomb := zipped(spaces(megabytes))
		once := func(w http.ResponseWriter, r *http.Request) {
			f.behaves()
			bomb(w, r)
		}
		f.misbehaves("/login-request", false, once)
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		f.misbehaves("/query-request", true, once)
		_, err := db.ExecContext(t.Context(), insert)
		ranInDoubt(t, srv, insert, err, 1)
	})
}
