package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/sflog"

	"github.com/snowtether/snowtether/internal/bridge"
	"github.com/snowtether/snowtether/internal/dsn"
	"github.com/snowtether/snowtether/internal/gate"
	"github.com/snowtether/snowtether/internal/inner"
	"github.com/snowtether/snowtether/internal/program"
	"github.com/snowtether/snowtether/internal/sqltext"
	"github.com/snowtether/snowtether/internal/tokens"
	"github.com/snowtether/snowtether/internal/transcript"
)

// This file is what a program holds: the connector of a pool, from the settings to
// Close, and with gosnowflake v1 underneath. What becomes of its sessions is in session.go.

// closeTimeout bounds how long Close waits for log-outs. gosnowflake's own Close
// has no useful bound: it sends telemetry and the log-out with the client timeout
// of 900 s, and waits for a heartbeat that is under way.
const closeTimeout = 10 * time.Second

// A Connector opens the sessions of one pool and looks after them. It is safe for
// use by several goroutines.
type Connector struct {
	settings settings
	cfg      *gosnowflake.Config // nil if inner was given
	inner    driver.Connector    // nil if cfg was given
	gate     *gate.Gate
	lockout  gate.Lockout
	guardian guardian
	tokens   *program.Tokens // nil without a token source
	reader   sqltext.Reader
	sharing  tokens.Sharing
	errands  errands
	orphans  orphans
	counters counters
	recent   recent
	waits    waits
	burst    burst
	repeats  repeats
	metrics  *metrics

	programs    program.Functions
	deliveries  *program.Queue
	told        atomic.Bool  // a function of the program's has failed and was logged
	fruitless   atomic.Int64 // logins since a statement was last carried out
	cut         atomic.Int64 // when a statement or a login last failed in an outage, as waits.reading has it; 0: an answer has ended it
	vain        atomic.Pointer[vain]
	unready     atomic.Bool   // the last session could not be set up, and that has been told
	in          atomic.Bool   // a login has succeeded
	versionTold atomic.Bool   // which gosnowflake is inside was looked at
	untold      atomic.Uint32 // what connections have lost that are closed, and the next user is to be told of (ErrorOnLoss)

	// The order in which things happened: sessions opened, heard of, found dead. A
	// session not heard of since suspectSince has to prove at its next checkout that
	// it is alive.
	clock        atomic.Int64
	suspectSince atomic.Int64

	stopped context.Context // ends with Close; logins under way end soon after it
	stop    context.CancelFunc
	keeping sync.Once

	mu         sync.Mutex
	closed     bool
	sessions   map[*session]struct{}
	background tasks // logins and log-outs
	closing    sync.Once
	closeErr   atomic.Pointer[error] // once log-outs have not been answered in time
}

var (
	_ driver.Connector = (*Connector)(nil)
	_ io.Closer        = (*Connector)(nil)
)

// NewConnector makes a connector for sql.OpenDB from a gosnowflake Config, which
// it clones. tether… parameters in cfg.Params count as they do in a DSN; options
// win over them. It opens no connection. An error says what is wrong with the Config
// or with an option.
func NewConnector(cfg *gosnowflake.Config, opts ...Option) (*Connector, error) {
	if cfg == nil {
		return nil, errors.New("snowtether: the Config is nil")
	}
	return newConnector(dsn.Clone(cfg), opts)
}

func newConnector(cfg *gosnowflake.Config, opts []Option) (*Connector, error) {
	s := defaults()
	if err := takeTetherParams(cfg, &s); err != nil {
		return nil, err
	}
	if err := dsn.TakeV1Params(cfg); err != nil {
		return nil, err
	}
	if err := s.apply(opts); err != nil {
		return nil, err
	}
	if err := s.applyKeepAlive(cfg); err != nil {
		return nil, err
	}
	if err := checkConfig(cfg, &s); err != nil {
		return nil, err
	}
	return start(&Connector{settings: s, cfg: cfg}), nil
}

// WrapConnector makes a connector around any other, such as a mock or a traced
// gosnowflake. The inner connections need to be no more than a driver.Conn; what
// else they have is used. Sessions are recognised as lost by gosnowflake's errors,
// and by the text "authentication token has expired".
//
// The inner driver should pass the context of a statement on to gosnowflake, v2 or v1, as
// tracing wrappers do: without it nothing shows whether a statement ran, and each that
// meets a lost session fails with [ErrInDoubt]. The same holds for a driver that speaks HTTP
// and is not gosnowflake; none of its statements is run again. A driver that sends no HTTP
// at all, such as a mock, is believed. Options about the session itself (keep-alive,
// heartbeat, idle ping, token source, WithBeforeConnect, WithLoginGuard) cannot reach an inner
// connector, so WrapConnector returns an error for them.
func WrapConnector(inner driver.Connector, opts ...Option) (*Connector, error) {
	if isNil(inner) {
		return nil, errors.New("snowtether: the inner connector is nil; give it one, such as gosnowflake.NewConnector makes")
	}
	s := defaults()
	if err := s.apply(opts); err != nil {
		return nil, err
	}
	if s.keepAlive != nil || s.heartbeat != 0 || s.idlePing != 0 || s.tokenSource != nil || s.beforeConnect != nil || s.loginGuard != nil {
		return nil, errors.New("snowtether: WithKeepAlive, WithHeartbeat, WithIdlePing, WithTokenSource, WithBeforeConnect and WithLoginGuard need NewConnector: a wrapped connector makes its own Config")
	}
	return start(&Connector{settings: s, inner: inner}), nil
}

// apply sets the options and checks the outcome.
func (s *settings) apply(opts []Option) error {
	for _, opt := range opts {
		if opt == nil {
			return errors.New("snowtether: an option is nil")
		}
		opt(s)
	}
	return s.validate()
}

func start(c *Connector) *Connector {
	c.stopped, c.stop = context.WithCancel(context.Background())
	c.sessions = make(map[*session]struct{})
	c.reader, _ = sqltext.NewReader(c.settings.harmless...) // validate has seen that they are names
	c.counters.start()
	c.waits.epoch = time.Now()
	c.deliveries = newDeliveries(c)
	c.gate = newGate(c)
	c.guardian.guard = c.settings.loginGuard
	if c.settings.tokenSource != nil {
		c.tokens = program.NewTokens(c.settings.tokenSource, &c.programs)
	}
	c.metrics = newMetrics(c)
	c.tellRenamed()
	return c
}

// Driver returns the [Driver], bound to the connector for [ConnectorOf].
func (c *Connector) Driver() driver.Driver { return Driver{c} }

// Connect logs in and returns the connection. Logins that fail because Snowflake
// cannot be reached are tried again until the deadline of ctx, or for the connect
// budget ([WithConnectBudget]) if it has none. The error is a [*SessionError],
// unless the connector is closed, and never a driver.ErrBadConn, for which
// database/sql would dial twice more.
//
// The login does not end with ctx: if the caller leaves, the session is closed in
// the background as soon as it is open.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	begun := time.Now()
	s, err := c.login(ctx)
	if err != nil {
		return nil, err
	}
	cn := newConn(c, s)
	cn.waited = waited{begun, time.Now()}
	return cn, nil
}

// Close ends the connector: no login is sent any more. Sessions that are in use are left
// to those who use them, and each is logged out when its connection is closed; those that
// lie in a pool are logged out. Close waits at most 10 s for the log-outs that are under
// way, side by side; a login that is under way gets 5 s of them, so that the session it
// may have opened is logged out too. If some have not been answered by then, Close
// returns an error that says so: Snowflake ends those sessions later by itself, and a
// goroutine each waits for the answer. sql.DB.Close calls it. A further call waits for the
// log-outs that have begun since, or returns the same error.
func (c *Connector) Close() error {
	c.closing.Do(func() {
		c.stop() // first, so that a login which ends now is not handed out
		c.mu.Lock()
		c.closed = true
		open := slices.Collect(maps.Keys(c.sessions))
		c.mu.Unlock()
		for _, s := range open {
			if holder := s.holder.Load(); holder != nil && holder.lies() {
				c.retire(s)
			}
		}
	})
	if c.programs.Inside(context.Background()) {
		return nil // what it would wait for may be waiting for the function that calls it
	}
	if c.closeErr.Load() == nil {
		select {
		case <-c.background.done():
		case <-time.After(closeTimeout):
			left := c.leaving()
			err := fmt.Errorf("snowtether: %d sessions have not been logged out after %v; Snowflake ends them by itself", left, closeTimeout)
			if left == 0 {
				err = fmt.Errorf("snowtether: a login, or what it asks for, has not ended after %v", closeTimeout)
			}
			if c.closeErr.CompareAndSwap(nil, &err) {
				c.emit(context.Background(), Event{Kind: EventCloseTimedOut, Count: left, Duration: closeTimeout})
			}
		}
		c.burst.end(c.manyReplaced, true)
		c.metrics.stop()
	}
	if err := c.closeErr.Load(); err != nil {
		return *err
	}
	return nil
}

// leaving counts the sessions that are being logged out.
func (c *Connector) leaving() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions {
		if s.leaving.Load() {
			n++
		}
	}
	return n
}

// spawn runs f in the background unless the connector is closed. Close waits for
// it.
func (c *Connector) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.background.Go(f)
	return true
}

// A tasks is a set of goroutines that can be waited for, also while others are begun: sessions that
// are in use are logged out after Close.
type tasks struct {
	mu   sync.Mutex
	n    int
	over chan struct{} // closed when the last of those that are under way has ended
}

func (t *tasks) Go(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		t.over = make(chan struct{})
	}
	t.n++
	go func() {
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.n--; t.n == 0 {
				close(t.over)
			}
		}()
		f()
	}()
}

// done is closed when none is under way.
func (t *tasks) done() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	return t.over
}

var errClosed = errors.New("snowtether: the connector is closed")

// checkConfig finds what a login would fail with for want of a setting, so that
// it is an error of the constructor and not of the first statement.
func checkConfig(cfg *gosnowflake.Config, s *settings) error {
	for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
		if cfg.Params[name] == nil {
			return fmt.Errorf("snowtether: the parameter %s has no value", dsn.Shorten(name))
		}
	}
	switch {
	case cfg.Port < 0 || cfg.Port > 65535:
		return errors.New("snowtether: the port is not a number from 1 to 65535")
	case cfg.Protocol != "" && cfg.Protocol != "http" && cfg.Protocol != "https":
		return errors.New("snowtether: the protocol must be https, or http for tests")
	case cfg.Token != "" && cfg.TokenFilePath != "":
		return errors.New("snowtether: token and tokenFilePath are both given; give one")
	case cfg.Authenticator == gosnowflake.AuthTypeTokenAccessor && cfg.TokenAccessor != nil && s.changed == DiscardChanged:
		return errors.New("snowtether: WithChangedSession(DiscardChanged) needs a session for each connection; with AuthTypeTokenAccessor all are one")
	case cfg.Authenticator == gosnowflake.AuthTypeOkta && cfg.OktaURL == nil:
		return errors.New("snowtether: the OktaURL is missing, and the authenticator needs it")
	case cfg.Authenticator == gosnowflake.AuthTypeJwt && cfg.PrivateKey == nil && s.beforeConnect == nil:
		return errors.New("snowtether: the privateKey is missing, and the authenticator needs it")
	}
	if cfg.TmpDirPath != "" {
		if _, err := os.Stat(cfg.TmpDirPath); err != nil {
			return errors.New("snowtether: the tmpDirPath names no directory that can be read")
		}
	}
	//lint:ignore SA1019 there is no other setting for it
	if level := cfg.Tracing; level != "" {
		if _, err := sflog.ParseLevel(level); err != nil {
			return errors.New("snowtether: the parameter tracing must be off, fatal, error, warn, info, debug or trace")
		}
	}
	probe := dsn.Clone(cfg)
	if s.tokenSource != nil {
		probe.Token, probe.TokenFilePath = "from the token source", ""
		if probe.Authenticator != gosnowflake.AuthTypePat {
			probe.Authenticator = gosnowflake.AuthTypeOAuth
		}
	}
	if s.beforeConnect != nil {
		// The hook may fill these in at each login.
		for _, field := range []*string{&probe.User, &probe.Password} {
			if *field == "" {
				*field = "from the hook"
			}
		}
		if probe.Token == "" && probe.TokenFilePath == "" {
			probe.Token = "from the hook"
		}
	}
	_, err := gosnowflake.DSN(probe)
	if err == nil {
		err = probe.Validate()
	}
	switch says := dsn.Problem(err); {
	case err == nil:
		return nil
	case says != "":
		return errors.New("snowtether: " + says)
	}
	return fmt.Errorf("snowtether: %w", err)
}

// For programs that were written for gosnowflake v1: what only v1 knows in a DSN, and pools
// with v1 underneath, for takeover/gosnowflakev1.

func init() {
	bridge.Open = openAround
	bridge.Connect = func(c driver.Connector) (driver.Conn, error) { return c.(*Connector).single() }
}

// openAround is Driver.OpenConnector with another parser.
func openAround(text string, parse bridge.Parse) (driver.Connector, error) {
	var inner driver.Connector
	read := func(text string) (params map[string]*string, err error) {
		inner, params, err = parse(text)
		return params, err
	}
	var params map[string]*string
	var err error
	if text == dsn.AutoConfig {
		params, err = dsn.ReadTOML(read, bridge.ErrElsewhere)
	} else {
		params, _, err = dsn.Read(text, isOption, read)
	}
	if err != nil {
		return nil, err
	}
	s := defaults()
	cfg := &gosnowflake.Config{Params: params}
	if err := takeTetherParams(cfg, &s); err != nil {
		return nil, err
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	if s.idlePing != 0 {
		return nil, errors.New("snowtether: tetherIdlePing needs gosnowflake v2 underneath: leave it out, or open \"" + DriverName + "\"")
	}
	if err := s.applyKeepAlive(cfg); err != nil {
		return nil, err
	}
	return start(&Connector{settings: s, inner: inner}), nil
}

// tellVersion has it logged, once for each connector, that the gosnowflake inside is older
// than what was tried.
func (c *Connector) tellVersion(d *transcript.Dialect) {
	if c.inner == nil || d == nil || c.versionTold.Swap(true) {
		return
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	if version := inner.VersionIn(build, d.Module()); inner.Older(version) {
		c.tell(slog.LevelWarn, versionOld, slog.String("version", version))
	}
}
