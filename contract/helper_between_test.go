package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has what several tests put between a pool and the test server: inner drivers,
// transports, token sources and token stores, a front that answers in the server's place, pipes.

// mocks is a connector that opens one go-sqlmock connection after the other.
type mocks struct {
	pings  bool // are expected too
	driver driver.Driver
	names  []string
	opened int
}

func (m *mocks) Driver() driver.Driver { return m.driver }

func (m *mocks) Connect(context.Context) (driver.Conn, error) {
	if m.opened == len(m.names) {
		return nil, errors.New("no more mocks")
	}
	m.opened++
	return m.driver.Open(m.names[m.opened-1])
}

func (m *mocks) add(t testing.TB, name string) sqlmock.Sqlmock {
	t.Helper()
	name = fmt.Sprint(t.Name(), "/", name, "/", mocked.Add(1)) // with -count too each is another
	db, mock, err := sqlmock.NewWithDSN(name, sqlmock.MonitorPingsOption(m.pings))
	if err != nil {
		t.Fatal(err)
	}
	m.driver, m.names = db.Driver(), append(m.names, name)
	return mock
}

var mocked atomic.Int64

// bare is the least that a driver may be: no contexts, no interfaces beyond
// driver.Conn.
type bare struct{ log *[]string }

func (b bare) note(s string) { *b.log = append(*b.log, s) }

func (b bare) Connect(context.Context) (driver.Conn, error) { return b, nil }
func (b bare) Driver() driver.Driver                        { return nil }
func (b bare) Close() error                                 { b.note("close"); return nil }
func (b bare) Begin() (driver.Tx, error)                    { b.note("begin"); return b, nil }
func (b bare) Commit() error                                { b.note("commit"); return nil }
func (b bare) Rollback() error                              { b.note("rollback"); return nil }
func (b bare) Prepare(query string) (driver.Stmt, error)    { return bareStmt{b, query}, nil }

type bareStmt struct {
	bare
	query string
}

func (s bareStmt) Close() error  { return nil }
func (s bareStmt) NumInput() int { return -1 }

func (s bareStmt) Exec([]driver.Value) (driver.Result, error) {
	s.note(s.query)
	return driver.RowsAffected(1), nil
}

func (s bareStmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("no queries here")
}

// hiding is a Config.Transporter that drops the context of each request, and with
// it the sight of the traffic.
type hiding struct{ http.RoundTripper }

func (h hiding) RoundTrip(r *http.Request) (*http.Response, error) {
	return h.RoundTripper.RoundTrip(r.WithContext(context.Background()))
}

func wrapped(t *testing.T, inner driver.Connector) driver.Connector {
	t.Helper()
	c, err := snowtether.WrapConnector(inner, logTo(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type full interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.NamedValueChecker
}

// detachedConnector is a wrapper that sends statements with a context of its own.
type detachedConnector struct{ driver.Connector }

func (d detachedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return detachedConn{c.(full)}, nil
}

type detachedConn struct{ full }

func (c detachedConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.full.ExecContext(context.Background(), query, args)
}

// veiledConnector passes the context of an Exec on, and not that of a query.
type veiledConnector struct{ driver.Connector }

func (v veiledConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := v.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return veiledConn{c.(full), c.(gosnowflake.SnowflakeConnection)}, nil
}

type veiledConn struct {
	full
	gosnowflake.SnowflakeConnection
}

func (c veiledConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.full.QueryContext(context.Background(), query, args)
}

// tokenFunc is a token source.
type tokenFunc func() (*oauth2.Token, error)

func (f tokenFunc) Token() (*oauth2.Token, error) { return f() }

// tokenStore is one: it holds the tokens that it was told last.
type tokenStore struct {
	lock sync.Mutex

	mu            sync.Mutex
	token, master string
	id            int64
}

func (s *tokenStore) GetTokens() (token, master string, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.master, s.id
}

func (s *tokenStore) SetTokens(token, master string, id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.master, s.id = token, master, id
}

func (s *tokenStore) Lock() error { s.lock.Lock(); return nil }
func (s *tokenStore) Unlock()     { s.lock.Unlock() }

// sharingPools runs f with a pool of n connections, all of them one session that somebody
// else has logged in.
func sharingPools(t *testing.T, n int, f func(t *testing.T, srv *snowtest.Server, db *sql.DB)) {
	t.Helper()
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		store := &tokenStore{}
		cfg := srv.Config()
		cfg.TokenAccessor = store
		owner := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
		t.Cleanup(func() { _ = owner.Close() })
		if err := owner.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		shared := srv.Config()
		shared.TokenAccessor, shared.Authenticator = store, gosnowflake.AuthTypeTokenAccessor
		f(t, srv, poolOf(t, shared, n))
	})
}

// A front stands between a pool and a server that behaves, and may answer in its
// place.
type front struct {
	*pipeListener
	answer atomic.Pointer[http.HandlerFunc] // nil: behaves
	behind *httputil.ReverseProxy
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

// rewrites changes what the server says, in each of its replies.
func (f *front) rewrites(change func(body string) string) {
	f.behind.ModifyResponse = func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		text := change(string(body))
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		r.Header.Set("Content-Length", fmt.Sprint(len(text)))
		return nil
	}
}

// pipeListener is a listener in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// nowhere takes a reply that nobody gets.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// inFront puts a front before srv and returns the Config that goes through it, over
// HTTP/1 or what else is given.
func inFront(t *testing.T, srv *snowtest.Server, protocols ...*http.Protocols) (*front, *gosnowflake.Config) {
	t.Helper()
	cfg := srv.Config()
	f := &front{pipeListener: newPipes()}
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

func redirect(to string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, status) }
}

func refusalBody(code string) string {
	return fmt.Sprintf(`{"success":false,"code":%q,"message":"no","data":null}`, code)
}

func newPipes() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}
