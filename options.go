package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether/internal/dsn"
	"github.com/snowtether/snowtether/internal/sqltext"
)

// This file has every setting: its option, its DSN parameter, its default and
// its bounds. A new one goes into settings, defaults, validate and dsnParams.

// An Option changes one setting of a [Connector]. Later options win over earlier
// ones, and options win over the DSN. A nil function, logger, source or provider
// stands for the default. For a value out of bounds [NewConnector] and
// [WrapConnector] return an error.
type Option func(*settings)

type settings struct {
	keepAlive      *bool // nil: what the DSN or Params say, else true
	heartbeat      time.Duration
	idlePing       time.Duration
	newBackOff     func() backoff.BackOff
	backOffInitial time.Duration
	backOffMax     time.Duration
	connectBudget  time.Duration
	firstBudget    time.Duration
	maxLogins      int
	authCooldown   time.Duration
	tokenSource    oauth2.TokenSource
	beforeConnect  func(context.Context, *gosnowflake.Config) error
	afterConnect   func(context.Context, driver.Conn) error
	sessionInit    []string
	resume         bool
	changed        ChangedSession
	harmless       []string // functions that the program vouches for
	logger         *slog.Logger
	logFrom        slog.Level // lines below it are not written
	eventHook      func(Event)
	loginGuard     LoginGuard
	heedless       bool                 // of the server's load (internal/gate): in tests
	meterProvider  metric.MeterProvider // nil: the global one
	poolName       string
	renamed        []string         // parameters that were given under an earlier name
	now            func() time.Time // by it a suspended machine is noticed; tests replace it
}

func defaults() settings {
	return settings{
		backOffInitial: 500 * time.Millisecond,
		backOffMax:     16 * time.Second,
		connectBudget:  2 * time.Minute,
		firstBudget:    20 * time.Second,
		maxLogins:      8,
		authCooldown:   30 * time.Second,
		resume:         true,
		logFrom:        slog.LevelDebug,
		poolName:       DriverName,
		now:            time.Now,
	}
}

// The bounds that gosnowflake enforces on its heartbeat (heartbeat.go of v2.1.0);
// Snowflake documents the same for CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY.
const (
	minHeartbeat = 900 * time.Second
	maxHeartbeat = 3600 * time.Second
)

// The bounds of what snowtether waits for by itself. A shorter ping leaves no time
// for anything else; with waits of centuries the sums overflow.
const (
	minIdlePing = 10 * time.Millisecond
	maxWait     = 24 * time.Hour
)

// validate is the table of what a setting may be.
func (s *settings) validate() error {
	var wrong []string
	for _, rule := range []struct {
		ok   bool
		says string
	}{
		{s.heartbeat == 0 || s.heartbeat >= minHeartbeat && s.heartbeat <= maxHeartbeat, "the heartbeat (tetherHeartbeat) must be from 900s to 3600s, or 0 for Snowflake's default"},
		{s.idlePing == 0 || s.idlePing >= minIdlePing && s.idlePing <= maxWait, "the idle ping (tetherIdlePing) must be from 10ms to 24h, or 0 for off"},
		{s.backOffInitial > 0, "the first back-off (tetherBackOffInitial) must be more than 0"},
		{s.backOffMax >= s.backOffInitial, "the longest back-off (tetherBackOffMax) must not be less than the first (tetherBackOffInitial)"},
		{s.backOffMax <= maxWait, "the longest back-off (tetherBackOffMax) must be at most 24h"},
		{s.connectBudget > 0, "the connect budget (tetherConnectBudget) must be more than 0"},
		{s.firstBudget > 0, "the budget of the first connect (tetherFirstConnectBudget) must be more than 0"},
		{s.maxLogins >= 1 && s.maxLogins <= 1000, "the number of logins at the same time (tetherMaxLogins) must be at least 1 and at most 1000"},
		{s.authCooldown >= 0, "the cool-down after a refused login (tetherAuthCooldown) must not be negative"},
		{s.authCooldown <= maxWait, "the cool-down after a refused login (tetherAuthCooldown) must be at most 24h"},
		{s.changed >= KeepChanged && s.changed <= ErrorOnLoss, "the treatment of changed sessions must be KeepChanged, DiscardChanged or ErrorOnLoss"},
		{s.poolName != "" && len(s.poolName) <= 100, "the name of the pool (tetherPoolName) must have from 1 to 100 bytes"},
	} {
		if !rule.ok {
			wrong = append(wrong, rule.says)
		}
	}
	if _, err := sqltext.NewReader(s.harmless...); err != nil {
		wrong = append(wrong, "the harmless functions (tetherHarmlessFunctions): "+err.Error())
	}
	var state sqltext.State
	for i, statement := range s.sessionInit {
		read := (sqltext.Reader{}).Read(statement)
		body := read.Has(sqltext.Unknown) // semicolons may be those of a procedure's
		switch {
		case strings.TrimSpace(statement) == "":
			wrong = append(wrong, fmt.Sprintf("statement %d of WithSessionInit is empty", i+1))
		case read.Many() && !body:
			wrong = append(wrong, fmt.Sprintf("statement %d of WithSessionInit holds several statements; give each as an argument of its own", i+1))
		case !body:
			state = read.After(state, false)
		default:
			state.Sure = false // it may have committed
		}
	}
	if state.Sure { // a session's end would roll back what its users write
		wrong = append(wrong, "WithSessionInit leaves a transaction open: add COMMIT")
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New("snowtether: " + strings.Join(wrong, "; "))
}

// dsnParams maps each DSN parameter to the setting it sets. Bad values give an
// error that names the parameter, never the value: it might be a secret that
// slipped into the wrong place.
var dsnParams = map[string]func(s *settings, value string) error{
	"tetherKeepAlive": func(s *settings, v string) error {
		on, err := dsn.ParseBool(v)
		s.keepAlive = &on
		return err
	},
	"tetherHeartbeat":          durationParam(func(s *settings) *time.Duration { return &s.heartbeat }),
	"tetherIdlePing":           durationParam(func(s *settings) *time.Duration { return &s.idlePing }),
	"tetherBackOffInitial":     durationParam(func(s *settings) *time.Duration { return &s.backOffInitial }),
	"tetherBackOffMax":         durationParam(func(s *settings) *time.Duration { return &s.backOffMax }),
	"tetherConnectBudget":      durationParam(func(s *settings) *time.Duration { return &s.connectBudget }),
	"tetherFirstConnectBudget": durationParam(func(s *settings) *time.Duration { return &s.firstBudget }),
	"tetherAuthCooldown":       durationParam(func(s *settings) *time.Duration { return &s.authCooldown }),
	"tetherMaxLogins": func(s *settings, v string) (err error) {
		if s.maxLogins, err = strconv.Atoi(v); err != nil {
			return errors.New("must be a whole number")
		}
		return nil
	},
	"tetherResume": func(s *settings, v string) (err error) {
		s.resume, err = dsn.ParseBool(v)
		return err
	},
	"tetherChangedSession": func(s *settings, v string) error {
		switch strings.ToLower(v) {
		case "keep":
			s.changed = KeepChanged
		case "discard":
			s.changed = DiscardChanged
		case "error":
			s.changed = ErrorOnLoss
		default:
			return errors.New("must be keep, discard or error")
		}
		return nil
	},
	"tetherHarmlessFunctions": func(s *settings, v string) error {
		s.harmless = append(s.harmless, strings.Split(v, ",")...)
		return nil
	},
	"tetherLog": func(s *settings, v string) (err error) {
		s.logFrom, err = parseLog(v)
		return err
	},
	"tetherPoolName": func(s *settings, v string) error {
		s.poolName = v
		return nil
	},
}

func durationParam(field func(*settings) *time.Duration) func(*settings, string) error {
	return func(s *settings, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			seconds, err := strconv.ParseInt(v, 10, 32) // as gosnowflake reads its own
			if err != nil {
				return errors.New("must be a duration such as 90s, 15m or 1h, or a whole number of seconds")
			}
			d = time.Duration(seconds) * time.Second
		}
		*field(s) = d
		return nil
	}
}

// WithKeepAlive sets CLIENT_SESSION_KEEP_ALIVE, which makes gosnowflake send a
// heartbeat for each session so that its master token (4 h) does not run out.
// The default is true, unless the DSN or Config.Params say otherwise; this option
// wins over both. DSN: tetherKeepAlive.
func WithKeepAlive(on bool) Option { return func(s *settings) { s.keepAlive = &on } }

// WithHeartbeat sets the time between heartbeats, from 900 s to 3600 s, as
// CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY does. The default, 0, leaves it to
// gosnowflake: 3600 s. It has no effect without keep-alive. DSN: tetherHeartbeat.
func WithHeartbeat(d time.Duration) Option { return func(s *settings) { s.heartbeat = d } }

// WithIdlePing keeps an eye on the sessions that are idle in the pool. Between d/2
// and d after its last use or ping, each is asked whether it is alive, and a dead one
// is replaced before anyone needs it. It is meant for session policies whose idle
// time-out is below the heartbeat's floor of 15 minutes: 4m is right for the
// shortest, 5 minutes. d must be from 10 ms to 24 h. The default, 0, is off. DSN:
// tetherIdlePing.
//
// A ping is one round trip on a network connection of the keeper's own; up to 16 are
// under way at the same time, which is enough for 1,500 idle sessions under the
// shortest policy where a round trip takes 200 ms. While all goes well there is one
// goroutine for the whole pool, and one more for each ping under way. A ping compiles
// SELECT 1 without running it, which takes no warehouse. No checkout waits for a ping.
// Dead sessions are replaced side by side, within [WithMaxLogins]. In the worst case,
// a dead session that is handed out at that very moment costs its caller a login, as
// it would without pings. If sessions are asked later than d because there are too many,
// or because the server is too slow, the log says so ([EventPingsLate]).
func WithIdlePing(d time.Duration) Option { return func(s *settings) { s.idlePing = d } }

// WithBackOff sets how long to wait between logins, and between the attempts of a
// statement that could not be sent, while Snowflake cannot be reached. newBackOff is
// called for each outage and each such statement, by several goroutines at the same
// time, and must return a new value each time. By default the waits double from
// 500 ms to 16 s, each varied by up to a half. [backoff.Stop] ends the attempts.
// DSN: tetherBackOffInitial and tetherBackOffMax, up to 24 h, change the bounds of
// the default.
func WithBackOff(newBackOff func() backoff.BackOff) Option {
	return func(s *settings) { s.newBackOff = newBackOff }
}

// WithConnectBudget sets how long one Connect goes on trying while Snowflake cannot
// be reached, if the caller's context has no deadline; if it has one, only the
// deadline counts. It bounds in the same way a statement that could not be sent, or
// one that may run twice, counted from its first failure; gosnowflake's own retries before
// that take about a minute. The default is 2 minutes; it must be more than 0. DSN:
// tetherConnectBudget.
func WithConnectBudget(d time.Duration) Option { return func(s *settings) { s.connectBudget = d } }

// WithFirstConnectBudget sets how long a login that meets "no such host" or a refused port,
// or no credential where one should be (an empty token file, a metadata service that has
// none), is tried before any login of the connector has succeeded, even if the caller's
// deadline is later. Before the first login such an error usually means that a setting is
// wrong, not the network. The default is 20 s, so that a program which starts before its
// machine's network or resolver still succeeds; it must be more than 0. After the first
// success such errors are an outage like any other. DSN: tetherFirstConnectBudget.
func WithFirstConnectBudget(d time.Duration) Option {
	return func(s *settings) { s.firstBudget = d }
}

// WithMaxLogins sets how many logins of the connector may be under way at the
// same time, from 1 to 1000. The default is 8; further ones wait their turn, first
// come, first served. With one user's password at most 4 are under way, whatever n is,
// because a fifth refusal locks the user out. DSN: tetherMaxLogins.
func WithMaxLogins(n int) Option { return func(s *settings) { s.maxLogins = n } }

// WithAuthCooldown sets the cool-down: for how long logins with the same credentials are
// suspended after Snowflake has refused one for good. Until then no login is sent, and callers
// get [ErrLoginSuspended] at once. The cool-down doubles with each further refusal, up to 16 times
// d. Other credentials end the suspension at once. The default is 30 s, the most 24 h; 0
// switches it off. Whatever d is, a user who was refused 4 times is not logged in until 15 minutes have
// passed since the first of them: Snowflake's documentation says that a fifth refusal in
// a row locks the user out for that time. DSN: tetherAuthCooldown.
func WithAuthCooldown(d time.Duration) Option { return func(s *settings) { s.authCooldown = d } }

// WithLoginGuard has guard asked before each login, and told how it ended: the processes of
// a fleet share a limit on logins and suspensions with it. The default is none.
func WithLoginGuard(guard LoginGuard) Option { return func(s *settings) { s.loginGuard = guard } }

// WithTokenSource takes the token of each login from source: a programmatic access
// token if Config.Authenticator says so, otherwise an OAuth access token, which may
// be a JWT that another party signs (External OAuth). By default the token is that
// of the Config.
//
// The source is asked for a token when the last one is within a minute of its expiry
// by the wall clock, by one login at a time. After a login that is refused with
// 390303, 390318 or 394400 it is asked once more, whatever the expiry says. If the
// source has a method
//
//	Refresh(context.Context) (*oauth2.Token, error)
//
// that is called then in place of Token, so that the source can bypass a cache of its
// own. A call that has not returned after 1 minute is no longer waited for, and another may
// be made; after five such calls none is.
func WithTokenSource(source oauth2.TokenSource) Option {
	return func(s *settings) { s.tokenSource = source }
}

// WithBeforeConnect sets a hook that is called before each login with a clone of the
// Config, which it may change in any way: put in a password from a vault, pick a
// role. An error of it fails the login as permanent, unless it is a network error.
// It must honour its context, which ends after 1 minute. The default is none.
func WithBeforeConnect(hook func(context.Context, *gosnowflake.Config) error) Option {
	return func(s *settings) { s.beforeConnect = hook }
}

// WithAfterConnect sets a hook that is called with the inner driver's connection
// after each login, including those that replace a lost session: after the
// statements of [WithSessionInit], and before the session's first use. An error of
// it closes the session and fails the login. It must honour its context, which ends
// 1 minute after the login, and end each transaction that it begins. The default is none.
func WithAfterConnect(hook func(context.Context, driver.Conn) error) Option {
	return func(s *settings) { s.afterConnect = hook }
}

// WithSessionInit runs the statements (USE, ALTER SESSION, SET) after each login,
// including those that replace a lost session, before the session's first use. A
// failure closes the session and fails the login, and so do statements that take
// longer than 1 minute in all. Given more than once, it adds statements. They must not
// leave a transaction open. The default is none.
func WithSessionInit(statements ...string) Option {
	return func(s *settings) { s.sessionInit = append(s.sessionInit, statements...) }
}

// WithResume sets whether a statement that was accepted before its session ended is
// carried over to a new session, where its outcome is fetched by its query ID. The
// default is true; with false the caller gets [ErrInDoubt]. DSN: tetherResume.
func WithResume(on bool) Option { return func(s *settings) { s.resume = on } }

// WithHarmlessFunctions names functions of the account (UDFs) that have no effect: they write
// nothing, call nothing outside Snowflake, and may be called twice. Without this option a
// query that calls a UDF is not run again if its reply was lost, and the caller gets
// [ErrInDoubt]; Snowflake's own functions without effect are known. Names are written as the
// statements write them, "f" or "db.s.f", without quotes; case does not matter. Given
// more than once, it adds names. The default is none. DSN: tetherHarmlessFunctions, with
// commas between the names.
func WithHarmlessFunctions(names ...string) Option {
	return func(s *settings) { s.harmless = append(s.harmless, names...) }
}

// WithLogger sets the logger for what happens to sessions and logins. The default is
// slog.Default() at the time of each line. A reconnect that went well is logged at
// Info, because nothing needs doing about it; a statement in doubt, a refused login
// and the beginning of an outage are logged at Warn.
//
// DSN: tetherLog=off writes nothing to slog.Default(), tetherLog=warn only lines at Warn and
// above, and tetherLog=info, the default, all lines that it takes. It is for command-line
// tools, whose users see that log. With this option it has no effect, unless l is nil.
func WithLogger(l *slog.Logger) Option {
	return func(s *settings) {
		if s.logger = l; l != nil {
			s.logFrom = slog.LevelDebug
		}
	}
}

// WithEventHook sets a hook that is called with everything that happens to sessions
// and logins, as it happens: see [EventKind]. It is called on the goroutine that the
// event happens to, often that of a statement that waits for its new session, and by
// several goroutines at the same time. So it must return at once and must not use
// the pool: if there is much to do, send the event to a buffered channel. A panic in
// it is logged once and does no harm. The default is none.
func WithEventHook(hook func(Event)) Option { return func(s *settings) { s.eventHook = hook } }

// WithMeterProvider sets the provider of the metrics that docs/observability.md
// lists. The default is otel.GetMeterProvider() at the time of [NewConnector], which
// goes nowhere unless the program sets a global provider, before or later.
// [Connector.Close] takes the pool out of the metrics.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(s *settings) { s.meterProvider = p }
}

// WithPoolName sets the db.client.connection.pool.name of the metrics and spans, and
// the name in a [Snapshot]: 1 to 100 bytes. The default is "snowtether", which does
// not reveal the account. The counts of pools with the same name are added up, so a
// program with several pools should name each. DSN: tetherPoolName.
func WithPoolName(name string) Option { return func(s *settings) { s.poolName = name } }

// ChangedSession says what becomes of a pooled connection whose session was
// changed by USE, ALTER SESSION, SET or temporary objects.
type ChangedSession int

const (
	// KeepChanged returns it to the pool as it is, as database/sql users expect.
	KeepChanged ChangedSession = iota
	// DiscardChanged closes it, so that one caller's role, schema or variables are
	// never the next one's.
	DiscardChanged
	// ErrorOnLoss also returns it to the pool. If its session is lost later, the next
	// statement, BEGIN or ping on the connection fails once with [ErrSessionLost], which
	// names what was lost. If the driver has closed the connection, that happens on the
	// next one that the pool opens.
	ErrorOnLoss
)

// WithChangedSession sets what becomes of changed connections when they come
// back to the pool, and of those whose session is then lost. The default is [KeepChanged]:
// a lost setting of an earlier user is a line at Warn, and the next statement runs without
// it. That is right where programs qualify their names, or set what they need in
// [WithSessionInit] or on a pinned sql.Conn, whose holder is always told. DiscardChanged is
// right where users of one pool must not see each other's settings. ErrorOnLoss is right
// where a program relies on the settings of a pooled connection, as with a pool of one that
// runs USE SCHEMA s and then INSERT INTO t: without it that row could go into another
// schema's t. Nobody is told of state that is lost because database/sql closes a
// connection (SetConnMaxLifetime, SetConnMaxIdleTime, SetMaxIdleConns). DSN: tetherChangedSession=keep,
// discard or error.
func WithChangedSession(c ChangedSession) Option { return func(s *settings) { s.changed = c } }

// isOption reports whether a parameter of a DSN is one of these.
func isOption(name string) bool { return dsnParams[currentParam(name)] != nil }

// takeTetherParams moves the tether… parameters from cfg.Params, where
// gosnowflake leaves what it does not know, into s. Left there they would be
// sent to Snowflake as session parameters.
func takeTetherParams(cfg *gosnowflake.Config, s *settings) error {
	for _, earlier := range slices.Sorted(maps.Keys(renamedParams)) {
		if cfg.Params[earlier] != nil && cfg.Params[renamedParams[earlier]] != nil {
			return fmt.Errorf("snowtether: the parameter %s is given, and also under its earlier name %s; leave that out", renamedParams[earlier], earlier)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
		if len(name) < len("tether") || !strings.EqualFold(name[:len("tether")], "tether") {
			continue
		}
		set, ok := dsnParams[currentParam(name)]
		if !ok {
			return fmt.Errorf("snowtether: unknown parameter %s; known are %s", dsn.Shorten(name), strings.Join(slices.Sorted(maps.Keys(dsnParams)), ", "))
		}
		value := cfg.Params[name]
		if value == nil {
			return fmt.Errorf("snowtether: the parameter %s has no value", name)
		}
		if err := set(s, *value); err != nil {
			return fmt.Errorf("snowtether: the parameter %s %w", name, err)
		}
		if name != currentParam(name) {
			s.renamed = append(s.renamed, name)
		}
		delete(cfg.Params, name)
	}
	return nil
}
