package contract_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// caseConnectProxy is a proxy that knows CONNECT alone, as those of companies are.
func caseConnectProxy(t *testing.T) *url.URL {
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

// caseTLS puts TLS in front of the server, with HTTP/2 or without, and a proxy before it.
func caseTLS(t *testing.T, srv *snowtest.Server, http2, proxied bool) *gosnowflake.Config {
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
		transport.Proxy = http.ProxyURL(caseConnectProxy(t))
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
		for _, way := range caseWays[2:] {
			t.Run(name+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				srv := snowtest.New(t)
				db := caseConnect(t, caseTLS(t, srv, how.http2, how.proxied), 1)
				caseProof(t, srv, way.end, func(query string) error {
					_, err := db.ExecContext(t.Context(), query)
					return err
				})
				caseNextUser(t, srv, db)
			})
		}
	}
}
