package contract_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// In doubt (docs/guarantees.md): servers whose replies can be read and make no sense: sessions,
// tokens, times and refusals that no Snowflake would give out, and connections that never become
// one.

// replaced is a change of everything that matches.
func replaced(pattern, by string) func(string) string {
	re := regexp.MustCompile(pattern)
	return func(body string) string { return re.ReplaceAllString(body, by) }
}

// TestSessionNumberMeansNothing: nor that it is another session's.
func TestSessionNumberMeansNothing(t *testing.T) {
	for _, number := range []string{"1", "0", "-1", "-9223372036854775808", "9223372036854775807"} {
		t.Run(number, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				f, cfg := inFront(t, srv)
				db, c := connect(t, cfg)
				db.SetMaxIdleConns(3)
				f.rewrites(replaced(`"sessionId":\d+`, `"sessionId":`+number))
				everyone(t, db, 3, 2)
				srv.ExpireSessionTokens()
				everyone(t, db, 3, 2)
				srv.AbortSessions()
				everyone(t, db, 3, 2)
				if n := srv.Stats().Logins; n != 6 {
					t.Errorf("%d logins", n)
				}
				for _, s := range c.Snapshot().Sessions {
					if s.ID < 0 {
						t.Errorf("session %d", s.ID)
					}
				}
			})
		})
	}
}

// TestTokensOfAMegabyte are tokens like others.
func TestTokensOfAMegabyte(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		f, cfg := inFront(t, srv)
		long := strings.Repeat("x", 1<<20)
		f.rewrites(func(body string) string { return strings.ReplaceAll(body, "snowtest-", long+"snowtest-") })
		rewrite := f.behind.Rewrite
		f.behind.Rewrite = func(r *httputil.ProxyRequest) {
			rewrite(r)
			r.Out.Header.Set("Authorization", strings.ReplaceAll(r.In.Header.Get("Authorization"), long, ""))
		}
		db, _ := connect(t, cfg)
		for _, end := range []func(...int64){srv.ExpireSessionTokens, srv.ExpireMasterTokens} {
			everyone(t, db, 2, 2)
			end()
		}
		everyone(t, db, 2, 2)
		if s := srv.Stats(); s.Renewals != 2 || s.Logins != 4 {
			t.Errorf("%d renewals, %d logins", s.Renewals, s.Logins)
		}
	})
}

// TestTokenThatCannotBeSentIsNotKept: the session is given up, although nobody can
// log it out.
func TestTokenThatCannotBeSentIsNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		f, cfg := inFront(t, srv)
		db, _ := connect(t, cfg)
		f.rewrites(replaced("snowtest-session-", `s3cret\nsnowtest-session-`))
		_, err := db.ExecContext(within(t, 10*time.Minute), insert)
		clear(t, srv, err)
		f.rewrites(func(body string) string { return body })
		if _, err := db.ExecContext(within(t, 10*time.Minute), insert); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}, snowtest.AllowOpenSessions())
}

// TestLoginWithoutATokenIsTransient: whatever else it says.
func TestLoginWithoutATokenIsTransient(t *testing.T) {
	for _, body := range []string{`{"success":true}`, `{"success":true,"data":null}`, `{"success":true,"data":{"masterToken":"m","sessionId":7}}`} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			f, cfg := inFront(t, srv)
			db, _ := connect(t, cfg)
			f.misbehaves("/login-request", false, says(body))
			err := db.PingContext(t.Context())
			clear(t, srv, err)
			if snowtether.Classify(err) != snowtether.ClassTransient || !strings.Contains(err.Error(), "without a session token") {
				t.Errorf("%s: %v", body, err)
			}
			f.behaves()
			if err := db.PingContext(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// TestServersClockMeansNothing: that of its headers, and how long it says that its
// tokens live.
func TestServersClockMeansNothing(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			f, cfg := inFront(t, srv)
			f.rewrites(replaced(`("\w*[vV]alidityInSeconds\w*"):\d+`, fmt.Sprintf("$1:%d", off/time.Second)))
			rewrite := f.behind.ModifyResponse
			f.behind.ModifyResponse = func(r *http.Response) error {
				r.Header.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
				return rewrite(r)
			}
			db, _ := connect(t, cfg)
			for range 10 {
				everyone(t, db, 2, 1)
				time.Sleep(50 * time.Minute)
			}
			if n := srv.Stats().Logins; n != 2 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

// TestTokenSourceAnHourOff: a token that has long expired, by its source's clock, is
// a clear error and not sent; one that it believes in for an hour too long is
// refused and replaced.
func TestTokenSourceAnHourOff(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		inBubble(t, func(t *testing.T, srv *snowtest.Server) {
			begun, asked := time.Now(), 0
			source := sourceFunc(func() (*oauth2.Token, error) {
				asked++
				return &oauth2.Token{AccessToken: fmt.Sprintf("%s%d", srv.Token(), time.Since(begun)/time.Hour), Expiry: time.Now().Add(time.Hour + off - time.Minute)}, nil
			})
			db, _ := connect(t, srv.Config(), snowtether.WithTokenSource(source))
			err := db.PingContext(t.Context())
			if off < 0 {
				clear(t, srv, err)
				if snowtether.Classify(err) != snowtether.ClassPermanent || !strings.Contains(err.Error(), "expired at") || srv.Stats().Requests[snowtest.RequestLogin] != 0 {
					t.Errorf("error is %v", err)
				}
				return
			}
			for range 3 {
				time.Sleep(90 * time.Minute)
				srv.AbortSessions()
				if err := errors.Join(err, db.PingContext(t.Context())); err != nil {
					t.Error(err)
				}
			}
			if s := srv.Stats(); s.Logins != 4 || s.LoginFailures != asked-1 {
				t.Errorf("%d logins, %d refused, asked %d times", s.Logins, s.LoginFailures, asked)
			}
		}, snowtest.WithToken(tokenOfTheHour()))
	}
}

type sourceFunc func() (*oauth2.Token, error)

func (f sourceFunc) Token() (*oauth2.Token, error) { return f() }

// tokenOfTheHour accepts the tokens that end with the number of the present hour.
func tokenOfTheHour() func(token string) error {
	var begun time.Time
	return func(token string) error {
		if begun.IsZero() {
			begun = time.Now()
		}
		if !strings.HasSuffix(token, fmt.Sprint(int(time.Since(begun)/time.Hour))) {
			return errors.New("stale")
		}
		return nil
	}
}

// TestTelemetryThatHangsDoesNotHoldTheGate: gosnowflake sends it at the end of a
// login, on a context of its own, and would wait for an hour.
func TestTelemetryThatHangsDoesNotHoldTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		f, cfg := inFront(t, srv)
		db, _ := connect(t, cfg)
		f.misbehaves("/telemetry", false, trickle(" ", time.Minute))
		err := db.PingContext(t.Context())
		clear(t, srv, err)
		if snowtether.Classify(err) != snowtether.ClassTransient {
			t.Errorf("error is %v", err)
		}
		f.behaves()
		if err := db.PingContext(within(t, time.Minute)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		time.Sleep(time.Hour)
		if n := len(srv.Sessions()); n != 1 {
			t.Errorf("%d sessions", n)
		}
	}, snowtest.WithSessionParameter("CLIENT_TELEMETRY_ENABLED", true))
}

// TestRedirectTakesNoTokenElsewhere: a statement follows it, its session token does
// not.
func TestRedirectTakesNoTokenElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		f, cfg := inFront(t, srv)
		db, _ := connect(t, cfg)
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		asked := 0
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if r.Host != "elsewhere" {
				redirect("http://elsewhere"+r.URL.String(), http.StatusTemporaryRedirect)(w, r)
				return
			}
			if asked++; strings.Contains(fmt.Sprint(r.Header), "snowtest-") {
				t.Errorf("elsewhere got a token: %v", r.Header)
			}
			says(`{"success":false,"code":"390104"}`)(w, r)
		})
		f.answer.Store(&h)
		_, err := db.ExecContext(within(t, time.Minute), insert)
		f.behaves()
		ranInDoubt(t, srv, insert, err, 0)
		mu.Lock()
		defer mu.Unlock()
		if asked == 0 {
			t.Error("the redirect was not followed")
		}
	}, snowtest.AllowOpenSessions()) // its log-out may have gone elsewhere too
}

// TestTLSThatEndsMidHandshakeIsTransient: with a deadline, at the deadline.
func TestTLSThatEndsMidHandshakeIsTransient(t *testing.T) {
	for name, serve := range map[string]func(conn net.Conn){
		"at once":         func(net.Conn) {},
		"after the hello": func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<16)) },
		"with HTML":       func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n<html>") },
		"half a record":   func(conn net.Conn) { _, _ = conn.Write([]byte{22, 3, 3, 0, 200, 2}) },
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			serving.Go(func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					serve(conn)
					_ = conn.Close()
				}
			})
			defer serving.Wait()
			defer listener.Close()
			db, _ := connect(t, &gosnowflake.Config{
				Account: "a", User: "u", Password: "s3cret", Protocol: "https", Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port,
			}, snowtether.WithConnectBudget(300*time.Millisecond))
			srv := snowtest.New(t)
			err = db.PingContext(t.Context())
			clear(t, srv, err)
			if snowtether.Classify(err) != snowtether.ClassTransient {
				t.Errorf("%v is %q", err, snowtether.Classify(err))
			}
		})
	}
}

// TestCertificateOfNobodyIsPermanent: it does not become right by itself.
func TestCertificateOfNobodyIsPermanent(t *testing.T) {
	srv := snowtest.New(t)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	address := server.Listener.Addr().(*net.TCPAddr)
	db, _ := connect(t, &gosnowflake.Config{Account: "a", User: "u", Password: "s3cret", Protocol: "https", Host: address.IP.String(), Port: address.Port})
	err := db.PingContext(t.Context())
	clear(t, srv, err)
	if class := snowtether.Classify(err); class != snowtether.ClassPermanent {
		t.Errorf("%v is %q", err, class)
	}
}
