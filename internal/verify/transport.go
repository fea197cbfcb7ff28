package verify

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/net/http/httpproxy"
)

// This file is the transport. HTTP status and keys can be seen only by a Config.Transporter,
// and with one gosnowflake leaves proxy, TLS configuration and revocation checks to it.

// newTransport goes through the proxy that the Config names, or the environment, with the
// roots that it is given, or the system's. It checks certificates, and not whether one was revoked: see Unchecked.
func newTransport(cfg *gosnowflake.Config, trust *tls.Config) http.RoundTripper {
	if cfg.Transporter != nil {
		return cfg.Transporter
	}
	return &http.Transport{
		Proxy:               proxy(cfg),
		TLSClientConfig:     trust.Clone(),
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 30 * time.Second,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     time.Minute,
	}
}

// Unchecked says in a line what the connection is not checked for.
const Unchecked = "verify checks the server's certificate, but not whether it was revoked (no OCSP, no CRL)"

// proxy finds a request's proxy as gosnowflake does: the Config's, else the environment's.
func proxy(cfg *gosnowflake.Config) func(*http.Request) (*url.URL, error) {
	if cfg.ProxyHost == "" {
		return http.ProxyFromEnvironment
	}
	address := &url.URL{Scheme: cmp.Or(cfg.ProxyProtocol, "http"), Host: net.JoinHostPort(cfg.ProxyHost, fmt.Sprint(cfg.ProxyPort))}
	if cfg.ProxyUser != "" && cfg.ProxyPassword != "" {
		address.User = url.UserPassword(cfg.ProxyUser, cfg.ProxyPassword)
	}
	find := (&httpproxy.Config{HTTPProxy: address.String(), HTTPSProxy: address.String(), NoProxy: cfg.NoProxy}).ProxyFunc()
	return func(req *http.Request) (*url.URL, error) { return find(req.URL) }
}

// A recorder is the transport of one session. It keeps the reply to the login, which has the
// tokens that requests of verify's own need, and notes whether binds went through a stage.
type recorder struct {
	base http.RoundTripper

	mu     sync.Mutex
	login  *reply
	staged bool
	broken bool // a request of gosnowflake's was not answered, or not well
}

// RoundTrip sends a request and looks at what may be looked at.
func (rec *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	path := req.URL.Path
	if path == queryPath {
		rec.lookAtBinds(req)
	}
	res, err := rec.base.RoundTrip(req)
	if err != nil || res.StatusCode >= 300 {
		rec.mu.Lock()
		rec.broken = true
		rec.mu.Unlock()
	}
	if err != nil || path != loginPath {
		return res, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if closed := res.Body.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.login = read(res.StatusCode, body)
	return res, nil
}

func (rec *recorder) lookAtBinds(req *http.Request) {
	if req.GetBody == nil {
		return
	}
	body, err := req.GetBody()
	if err != nil {
		return
	}
	defer func() { _ = body.Close() }()
	text, _ := io.ReadAll(body)
	if strings.Contains(string(text), `"bindStage"`) {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		rec.staged = true
	}
}

func (rec *recorder) answered() *reply {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.login
}

// usedStage reports whether binds went through a stage, by requests that were all answered:
// an upload that gosnowflake repeats may be an empty file.
func (rec *recorder) usedStage() bool {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.staged && !rec.broken
}
