package contract_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about servers that answer what no Snowflake would: what a broken
// gateway, a captive portal or an enemy makes of a reply. Whatever it is, callers
// get one clear error in time, nothing runs twice, and the pool works again as soon
// as the server does.

// A front stands between a pool and a server that behaves, and may answer in its
// place.
type front struct {
	*casePipes
	answer atomic.Pointer[http.HandlerFunc] // nil: behaves
	behind *httputil.ReverseProxy
}

// inFront puts a front before srv and returns the Config that goes through it, over
// HTTP/1 or what else is given.
func inFront(t *testing.T, srv *snowtest.Server, protocols ...*http.Protocols) (*front, *gosnowflake.Config) {
	t.Helper()
	cfg := srv.Config()
	f := &front{casePipes: newPipes()}
	f.behind = &httputil.ReverseProxy{
		Transport: cfg.Transporter, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: cfg.Host})
			r.Out.Host = cfg.Host
		},
	}
	server := &http.Server{MaxHeaderBytes: 4 << 20, ErrorLog: f.behind.ErrorLog, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := f.answer.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		f.behind.ServeHTTP(w, r)
	})}
	transport := &http.Transport{DialContext: f.dial, MaxIdleConnsPerHost: 64}
	for _, p := range protocols {
		server.Protocols, transport.Protocols = p, p
	}
	go func() { _ = server.Serve(f) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg.Transporter = transport
	return f, cfg
}

// misbehaves answers requests to paths that contain at. With run they are carried
// out before.
func (f *front) misbehaves(at string, run bool, answer http.HandlerFunc) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "elsewhere" || r.URL.Path == "/login" {
			says("<html>Please log in</html>")(w, r)
			return
		}
		if !strings.Contains(r.URL.Path, at) {
			f.behind.ServeHTTP(w, r)
			return
		}
		if run {
			f.behind.ServeHTTP(nowhere{http.Header{}}, r)
		}
		answer(w, r)
	})
	f.answer.Store(&h)
}

func (f *front) behaves() { f.answer.Store(nil) }

// nowhere takes a reply that nobody gets.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// trickle writes a piece of a body each time that the interval has passed, until
// the client has gone.
func trickle(piece string, every time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for {
			select {
			case <-time.After(every):
			case <-r.Context().Done():
				return
			}
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// zipped answers with a body that says it is gzip.
func zipped(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(body)
	}
}

func redirect(to string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, status) }
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

// clear checks that an error is one that its reader can do something with.
func clear(t *testing.T, srv *snowtest.Server, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	text := err.Error()
	fmt.Fprintln(srv.Log(), text) // where the server looks for its secrets
	if errors.Is(err, driver.ErrBadConn) || len(text) > 600 || strings.ContainsAny(text, "\n\r") || strings.Contains(text, "s3cret") {
		t.Errorf("the error is %q", text)
	}
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
		inDoubt(t, srv, insert, err, 1)
	})
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
				inDoubt(t, srv, insert, err, 1)
				f.behaves()
			})
		})
	}
}
