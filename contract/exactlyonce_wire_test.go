package contract_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/snowtest"
)

// Exactly once (docs/guarantees.md): the proof through what stands between a program and
// Snowflake: gateways, redirects, slow lines, repetitions of net/http's own, HTTP/2, TLS, proxies.

// behindGateway puts a gateway in front of the server and returns a configuration that goes
// through it. http2 speaks that on the client's side. The handler gets the statement's SQL
// and what passes its request on.
func behindGateway(t *testing.T, srv *snowtest.Server, http2 bool, handle func(w http.ResponseWriter, r *http.Request, query string, next http.Handler)) *gosnowflake.Config {
	t.Helper()
	cfg := srv.Config()
	next := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "127.0.0.1:80"}) },
		Transport:    cfg.Transporter,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	server := &http.Server{Protocols: &protocols, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		query := ""
		if strings.HasPrefix(r.URL.Path, "/queries/v1/query-request") {
			query = string(body)
		}
		handle(w, r, query, next)
	})}
	pipes := newPipes()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(pipes) // always ErrServerClosed
	}()
	transport := &http.Transport{DialContext: pipes.dial, Protocols: &protocols}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
	})
	cfg.Transporter = transport
	return cfg
}

// passOn passes every request on.
func passOn(w http.ResponseWriter, r *http.Request, _ string, next http.Handler) {
	next.ServeHTTP(w, r)
}

// TestProofIsAsGoodOverHTTP2: where the names of headers are in lower case.
func TestProofIsAsGoodOverHTTP2(t *testing.T) {
	for _, way := range endings {
		for _, use := range forms {
			t.Run(way.name+"/"+use.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					db := poolOf(t, behindGateway(t, srv, true, passOn), 1)
					checkProof(t, srv, way.end, func(query string) error { return use.run(t.Context(), db, query) })
					nextUser(t, srv, db)
				})
			})
		}
	}
}

// checkProof runs one statement that is refused, one that is polled while its session ends,
// and one whose reply is lost.
func checkProof(t *testing.T, srv *snowtest.Server, end snowtest.Refusal, run func(query string) error) {
	t.Helper()
	srv.EndSessions(end)
	if err := run(row(1)); err != nil {
		t.Errorf("refused: %v", err)
	}
	checkRan(t, srv, row(1), 1, 1)
	once(srv, row(2), snowtest.Fault{Run: true, Status: 503, After: func() { srv.EndSessions(end) }})
	isInDoubt(t, run(row(2)), false)
	checkRan(t, srv, row(2), 1, 1)
}

func isSQL(query, text string) bool { return strings.Contains(query, `"sqlText":"`+text+`"`) }

// TestEarlyBytesAreNoAnswer: a 1xx or the headers of a reply come at once; what the
// statement waits for is the rest.
// Before: the INSERT was run again.
func TestEarlyBytesAreNoAnswer(t *testing.T) {
	for name, early := range map[string]func(w http.ResponseWriter){
		"102": func(w http.ResponseWriter) { w.WriteHeader(http.StatusProcessing) },
		"103": func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) },
		"headers": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		},
		"half of it": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
		},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/http2 %v", name, http2), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var once sync.Once
					cfg := behindGateway(t, srv, http2, func(w http.ResponseWriter, r *http.Request, query string, next http.Handler) {
						if isSQL(query, row(1)) {
							once.Do(func() {
								srv.AbortSessions()
								early(w)
								time.Sleep(10 * time.Second)
							})
						}
						next.ServeHTTP(w, r)
					})
					db := poolOf(t, cfg, 1)
					_, err := db.ExecContext(t.Context(), row(1))
					isInDoubt(t, err, false)
					checkRan(t, srv, row(1), 0, 0)
					nextUser(t, srv, db)
				})
			})
		}
	}
}

// slowLine is a connection that takes a while for what it sends.
type slowLine struct{ net.Conn }

func (c slowLine) Write(b []byte) (int, error) {
	time.Sleep(time.Duration(len(b)) * time.Microsecond) // a megabyte a second
	return c.Conn.Write(b)
}

// TestLargeStatementOnASlowLineIsNotSlow: its sending does not count, its refusal does.
func TestLargeStatementOnASlowLineIsNotSlow(t *testing.T) {
	seconds := 16 // for a megabyte each
	if testpool.Quick() {
		seconds = 5
	}
	query := "INSERT INTO t VALUES ('" + strings.Repeat("x", seconds<<20) + "')"
	for took, again := range map[time.Duration]bool{0: true, 10 * time.Second: false} {
		t.Run(took.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				cfg := srv.Config()
				dial := cfg.Transporter.(*http.Transport).DialContext
				transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					return slowLine{conn}, err
				}}
				t.Cleanup(transport.CloseIdleConnections)
				cfg.Transporter = transport
				db := poolOf(t, cfg, 1)
				srv.AbortSessions()
				once(srv, query, snowtest.Fault{Delay: took})
				begun := time.Now()
				_, err := db.ExecContext(t.Context(), query)
				if sent := time.Since(begun) - took; sent < time.Duration(seconds)*time.Second {
					t.Errorf("sent in %v", sent)
				}
				if again {
					if err != nil {
						t.Error(err)
					}
				} else {
					isInDoubt(t, err, false)
				}
				if n := srv.Accepted(query); n != map[bool]int{true: 1, false: 0}[again] {
					t.Errorf("accepted %d times", n)
				}
			})
		})
	}
}

// TestRedirectToAnotherHostProvesNothing: net/http leaves the token out there, and the
// refusal is not the statement's.
func TestRedirectToAnotherHostProvesNothing(t *testing.T) {
	for _, ran := range []bool{false, true} {
		for _, status := range []int{307, 308, 302, 303} {
			t.Run(fmt.Sprintf("%d/ran %v", status, ran), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					var once sync.Once
					cfg := behindGateway(t, srv, false, func(w http.ResponseWriter, r *http.Request, query string, next http.Handler) {
						redirected := false
						if isSQL(query, row(1)) && !strings.HasPrefix(r.Host, "other") {
							once.Do(func() {
								if ran {
									next.ServeHTTP(nowhere{http.Header{}}, r)
								}
								srv.AbortSessions()
								http.Redirect(w, r, "http://other.test"+r.URL.RequestURI(), status)
								redirected = true
							})
						}
						if !redirected && strings.HasPrefix(r.Host, "other") {
							_, _ = io.WriteString(w, refusalBody("390111"))
						} else if !redirected {
							next.ServeHTTP(w, r)
						}
					})
					db := poolOf(t, cfg, 1)
					_, err := db.ExecContext(t.Context(), row(1))
					isInDoubt(t, err, false)
					n := map[bool]int{false: 0, true: 1}[ran]
					checkRan(t, srv, row(1), n, n)
					nextUser(t, srv, db)
				})
			})
		}
	}
}

// TestRedirectIsFollowed: on the same host, and the statement is run once.
func TestRedirectIsFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		cfg := behindGateway(t, srv, false, func(w http.ResponseWriter, r *http.Request, query string, next http.Handler) {
			if query != "" && !strings.Contains(r.URL.RawQuery, "again=1") {
				http.Redirect(w, r, r.URL.RequestURI()+"&again=1", http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		})
		db := poolOf(t, cfg, 1)
		for i := range 3 {
			mustExec(t, db, row(i))
			checkRan(t, srv, row(i), 1, 1)
		}
	})
}

// brokenBody is a connection on which nothing can be written once its idle time is over.
type brokenBody struct {
	net.Conn
	broken *bool
}

func (c brokenBody) Write(b []byte) (int, error) {
	if *c.broken {
		*c.broken = false
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// TestRequestThatNetHTTPRepeatsIsNotRunTwice: it found its idle connection broken and
// wrote on another.
func TestRequestThatNetHTTPRepeatsIsNotRunTwice(t *testing.T) {
	for _, gone := range []bool{false, true} {
		for _, use := range forms {
			t.Run(fmt.Sprintf("%s/session gone %v", use.name, gone), func(t *testing.T) {
				inBubble(t, func(t *testing.T, srv *snowtest.Server) {
					cfg, broken := srv.Config(), false
					dial := cfg.Transporter.(*http.Transport).DialContext
					transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
						conn, err := dial(ctx, network, address)
						return brokenBody{conn, &broken}, err
					}}
					t.Cleanup(transport.CloseIdleConnections)
					cfg.Transporter = transport
					db := poolOf(t, cfg, 1)
					if gone {
						srv.AbortSessions()
					}
					broken = true
					if err := use.run(t.Context(), db, row(1)); err == nil {
						checkRan(t, srv, row(1), 1, 1)
					} else {
						isInDoubt(t, err, false)
						checkRan(t, srv, row(1), 0, 0)
					}
					if !gone && srv.Accepted(row(1)) != 1 {
						t.Error("it was not run, although its session lives")
					}
					nextUser(t, srv, db)
				})
			})
		}
	}
}

// connectProxy is a proxy that knows CONNECT alone, as those of companies are.
func connectProxy(t *testing.T) *url.URL {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
			return
		}
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = far.Close()
			return
		}
		_, _ = io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
		for _, way := range [][2]net.Conn{{far, near}, {near, far}} {
			go func() {
				_, _ = io.Copy(way[0], way[1])
				_ = way[0].Close()
			}()
		}
	}))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// tlsConfig puts TLS in front of the server, with HTTP/2 or without, and a proxy before it.
func tlsConfig(t *testing.T, srv *snowtest.Server, http2, proxied bool) *gosnowflake.Config {
	t.Helper()
	behind, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(behind) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	front.EnableHTTP2 = http2
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	t.Cleanup(front.Close)
	transport := front.Client().Transport.(*http.Transport).Clone()
	if proxied {
		transport.Proxy = http.ProxyURL(connectProxy(t))
	}
	t.Cleanup(transport.CloseIdleConnections)
	host, port, err := net.SplitHostPort(front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cfg := srv.Config()
	cfg.Protocol, cfg.Host, cfg.Transporter = "https", host, transport
	if cfg.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestProofIsAsGoodThroughTLSAndProxies: a CONNECT is no request of the statement's.
func TestProofIsAsGoodThroughTLSAndProxies(t *testing.T) {
	for name, how := range map[string]struct{ http2, proxied bool }{
		"TLS": {false, false}, "HTTP/2": {true, false}, "proxy": {false, true}, "HTTP/2 through a proxy": {true, true},
	} {
		for _, way := range endings[2:] {
			t.Run(name+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				srv := snowtest.New(t)
				db := poolOf(t, tlsConfig(t, srv, how.http2, how.proxied), 1)
				checkProof(t, srv, way.end, func(query string) error {
					_, err := db.ExecContext(t.Context(), query)
					return err
				})
				nextUser(t, srv, db)
			})
		}
	}
}

// TestHTTP2ProvesAsMuch: a refusal is told from a lost reply over HTTP/2 too.
func TestHTTP2ProvesAsMuch(t *testing.T) {
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	for _, way := range ways[1:] {
		t.Run(way.Name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server) {
				f, cfg := inFront(t, srv, &h2)
				db, _ := connect(t, cfg)
				if err := db.PingContext(t.Context()); err != nil {
					t.Fatal(err)
				}
				srv.EndSessions(way.End)
				if _, err := db.ExecContext(t.Context(), row(2)); err != nil {
					t.Errorf("refused: %v", err)
				}
				f.misbehaves("/query-request", true, func(_ http.ResponseWriter, r *http.Request) {
					if r.ProtoMajor != 2 {
						t.Errorf("%s", r.Proto)
					}
					f.behaves()
					srv.EndSessions(way.End)
					panic(http.ErrAbortHandler)
				})
				_, err := db.ExecContext(t.Context(), insert)
				ranInDoubt(t, srv, insert, err, 1)
			})
		})
	}
}
