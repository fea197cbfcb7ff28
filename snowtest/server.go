package snowtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
)

// A Server is a Snowflake in the process of the test. Its methods are safe for
// concurrent use.
type Server struct {
	options
	http      *http.Server
	conns     connTracker
	port      int
	transport *http.Transport // nil when the server listens on loopback
	secured   *secured        // nil without TLS
	controls  controls
	log       logBuffer
	secrets   secrets
	token     string
	spill     spill

	closing  chan struct{} // closed when Close begins
	serving  chan struct{} // closed when no connection is accepted any more
	base     context.Context
	cancel   context.CancelFunc
	work     sync.WaitGroup // goroutines that run statements and end sessions
	closed   chan struct{}  // closed when Close is done
	closeErr error

	mu          sync.Mutex
	isClosing   bool
	disabled    bool // the user
	lastSession int64
	lastQuery   int64
	open        map[int64]*session
	tokens      map[string]*token
	queries     map[string]*query
	openTx      map[int64]*transaction
	locks       map[string]*transaction // by the table that others must not change
	grants      map[string]*grant       // by the secret part of the chunks' URLs
	stages      map[string]*stage
	opened      map[string]*opened // by the secret part of the URLs of their files
	ledger      []*entry
	stats       Stats
	logins      int // in progress
	leftOpen    []int64
}

// Start starts a server, for programs; tests use [New]. The caller must call
// [Server.Close] in the end. Start fails if an option is wrong, or if it cannot listen
// on loopback.
//
// If the environment does not say otherwise, Start sets
// SNOWFLAKE_DISABLE_PLATFORM_DETECTION=true for the process: gosnowflake's first
// login would otherwise ask the metadata services of three clouds where it
// runs, which takes time, leaves the machine, and cannot be done in a synctest
// bubble.
func Start(opts ...Option) (*Server, error) {
	o := defaults()
	for _, opt := range opts {
		opt(&o)
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.engine == nil {
		o.engine = new(Script)
	}
	const detection = "SNOWFLAKE_DISABLE_PLATFORM_DETECTION"
	if _, set := os.LookupEnv(detection); !set {
		if err := os.Setenv(detection, "true"); err != nil {
			return nil, err
		}
	}

	s := &Server{
		options: o,
		port:    80,
		closing: make(chan struct{}),
		serving: make(chan struct{}),
		closed:  make(chan struct{}),
		open:    map[int64]*session{},
		tokens:  map[string]*token{},
		queries: map[string]*query{},
		openTx:  map[int64]*transaction{},
		locks:   map[string]*transaction{},
		grants:  map[string]*grant{},
		stages:  map[string]*stage{},
		opened:  map[string]*opened{},
		stats:   Stats{Requests: map[RequestKind]int{}},
	}
	s.conns.conns = map[net.Conn]struct{}{}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.token = "snowtest-login-" + randomHex(16)
	s.secrets.add(o.password)
	s.secrets.add(s.token)

	var listener net.Listener
	if o.inMemory {
		l := newMemoryListener(&s.conns.cut)
		s.transport = newMemoryTransport(l)
		listener = l
	} else {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(o.port)))
		if err != nil {
			return nil, err
		}
		listener, s.port = l, l.Addr().(*net.TCPAddr).Port
	}
	if o.tls {
		var err error
		if s.secured, err = newSecured(); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		listener = s.secured.listen(listener)
	}
	s.http = &http.Server{
		Handler:   http.HandlerFunc(s.serve),
		ConnState: s.conns.state,
	}
	go func() {
		defer close(s.serving)
		_ = s.http.Serve(listener) // always ErrServerClosed, at Close
	}()
	return s, nil
}

// New starts a server for a test. When the test is over it runs the checks (see
// [Server.Check]), reports what they found as errors of the test, and closes
// the server.
func New(tb TB, opts ...Option) *Server {
	tb.Helper()
	s, err := Start(opts...)
	if err != nil {
		tb.Fatalf("snowtest: %v", err)
		return nil
	}
	tb.Cleanup(func() {
		tb.Helper()
		for _, err := range s.check() {
			tb.Errorf("%v", err)
		}
		if err := s.Close(); err != nil {
			tb.Errorf("snowtest: close: %v", err)
		}
	})
	return s
}

// TB is what [New] needs of a test; *testing.T and *testing.B have it.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Close stops the server: requests that are held or waiting are dropped,
// running statements are cancelled, open sessions are ended, and the engine is
// closed. When it returns, no goroutine of the server is left, so an engine must
// heed the context of Run. Close may be called more than once; the error is the
// engine's.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.isClosing {
		s.mu.Unlock()
		<-s.closed
		return s.closeErr
	}
	s.isClosing = true
	s.sweep(time.Now())
	for id, ses := range s.open {
		if ses.excused {
			continue
		}
		s.leftOpen = append(s.leftOpen, id)
	}
	s.mu.Unlock()
	defer close(s.closed)

	close(s.closing)
	s.cancel()
	err := s.http.Close()
	<-s.serving
	_ = s.http.Close() // a connection that was accepted while the first one ran
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
	s.conns.open.Wait()
	s.EndSessions(Refusal{Code: codeSessionGone})
	s.work.Wait()
	s.closeErr = errors.Join(err, s.engine.Close(), s.spill.close(), s.secured.forget())
	return s.closeErr
}

// URL returns the server's address, such as http://127.0.0.1:40123, or https with [WithTLS].
// It is empty in memory.
func (s *Server) URL() string {
	if s.inMemory {
		return ""
	}
	return s.scheme() + "://" + s.address()
}

// DSN returns a DSN for sql.Open. It panics when the server is [InMemory], because no DSN
// can carry a transport: use [Server.Config] with a connector there.
func (s *Server) DSN() string {
	if s.inMemory {
		panic("snowtest: an in-memory server has no DSN; open it with Server.Config and a connector")
	}
	params := url.Values{"account": {account}, "protocol": {s.scheme()}}
	if s.secured != nil {
		params.Set("tlsConfigName", s.secured.name)
	}
	return url.QueryEscape(s.user) + ":" + url.QueryEscape(s.password) + "@" +
		s.address() + "/" + database + "/" + schema + "?" + params.Encode()
}

func (s *Server) address() string { return net.JoinHostPort(host, strconv.Itoa(s.port)) }

const (
	host      = "127.0.0.1" // in memory, too, where it stands in URLs that never leave the process
	account   = "snowtest"
	database  = "TESTDB"
	schema    = "PUBLIC"
	warehouse = "TESTWH"
	role      = "SYSADMIN"
)

// Config returns a new configuration at each call, for gosnowflake.NewConnector. It
// logs in with the user's password. In memory, its Transporter reaches the
// server.
func (s *Server) Config() *gosnowflake.Config {
	cfg := &gosnowflake.Config{
		Account:  account,
		User:     s.user,
		Password: s.password,
		Database: database,
		Schema:   schema,
		Host:     host,
		Port:     s.port,
		Protocol: s.scheme(),
		Params:   map[string]*string{},
	}
	cfg.TLSConfigName = s.TLSConfigName()
	if s.transport != nil {
		cfg.Transporter = s.transport
	}
	return cfg
}

// User returns the user that can log in.
func (s *Server) User() string { return s.user }

// Password returns the user's password.
func (s *Server) Password() string { return s.password }

// Token returns the token with which OAuth and programmatic-access-token logins are
// accepted, unless [WithToken] sets another check.
func (s *Server) Token() string { return s.token }

// Handle registers an answer of the default engine; see [Script.Handle]. It
// panics when the server has another engine.
func (s *Server) Handle(pattern string, h HandlerFunc) {
	script, ok := s.engine.(*Script)
	if !ok {
		panic("snowtest: Server.Handle needs the engine Script; this server was started with WithEngine of another type")
	}
	script.Handle(pattern, h)
}

// Log returns a writer for the logs of a test (a slog handler's, gosnowflake's):
// [Server.Check] fails if a password or a token was written to it.
func (s *Server) Log() io.Writer { return &s.log }

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
