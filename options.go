package snowtether

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/oauth2"
)

// This file has every setting: its option, its DSN parameter, its default and
// its bounds. A new one goes into settings, defaults, validate and dsnParams.

// An Option changes one setting of a [Connector]. Later options win over earlier
// ones, and options win over the DSN.
type Option func(*settings)

type settings struct {
	keepAlive      *bool // nil: what the DSN or Params say, else true
	heartbeat      time.Duration
	idlePing       time.Duration
	newBackOff     func() backoff.BackOff
	backOffInitial time.Duration
	backOffMax     time.Duration
	connectBudget  time.Duration
	maxLogins      int
	authCooldown   time.Duration
	tokenSource    oauth2.TokenSource
	beforeConnect  func(context.Context, *gosnowflake.Config) error
	afterConnect   func(context.Context, driver.Conn) error
	sessionInit    []string
	resume         bool
	changed        ChangedSession
	logger         *slog.Logger
	eventHook      func(Event)
	meterProvider  metric.MeterProvider // nil: the global one
	poolName       string
	now            func() time.Time // by it a suspended machine is noticed; tests replace it
}

func defaults() settings {
	return settings{
		backOffInitial: 500 * time.Millisecond,
		backOffMax:     16 * time.Second,
		connectBudget:  2 * time.Minute,
		maxLogins:      8,
		authCooldown:   30 * time.Second,
		resume:         true,
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
		{s.backOffInitial > 0, "the first back-off (tetherBackoffInitial) must be more than 0"},
		{s.backOffMax >= s.backOffInitial, "the longest back-off (tetherBackoffMax) must not be less than the first (tetherBackoffInitial)"},
		{s.backOffMax <= maxWait, "the longest back-off (tetherBackoffMax) must be at most 24h"},
		{s.connectBudget > 0, "the connect budget (tetherConnectBudget) must be more than 0"},
		{s.maxLogins >= 1 && s.maxLogins <= 1000, "the number of logins at the same time (tetherMaxLogins) must be at least 1 and at most 1000"},
		{s.authCooldown >= 0, "the cool-down after a refused login (tetherAuthCooldown) must not be negative"},
		{s.authCooldown <= maxWait, "the cool-down after a refused login (tetherAuthCooldown) must be at most 24h"},
		{s.changed == KeepChanged || s.changed == DiscardChanged, "the treatment of changed sessions must be KeepChanged or DiscardChanged"},
		{s.poolName != "" && len(s.poolName) <= 100, "the name of the pool (tetherPoolName) must have from 1 to 100 bytes"},
	} {
		if !rule.ok {
			wrong = append(wrong, rule.says)
		}
	}
	for i, statement := range s.sessionInit {
		if strings.TrimSpace(statement) == "" {
			wrong = append(wrong, fmt.Sprintf("statement %d of WithSessionInit is empty", i+1))
		}
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
		on, err := parseBool(v)
		s.keepAlive = &on
		return err
	},
	"tetherHeartbeat":      durationParam(func(s *settings) *time.Duration { return &s.heartbeat }),
	"tetherIdlePing":       durationParam(func(s *settings) *time.Duration { return &s.idlePing }),
	"tetherBackoffInitial": durationParam(func(s *settings) *time.Duration { return &s.backOffInitial }),
	"tetherBackoffMax":     durationParam(func(s *settings) *time.Duration { return &s.backOffMax }),
	"tetherConnectBudget":  durationParam(func(s *settings) *time.Duration { return &s.connectBudget }),
	"tetherAuthCooldown":   durationParam(func(s *settings) *time.Duration { return &s.authCooldown }),
	"tetherMaxLogins": func(s *settings, v string) (err error) {
		if s.maxLogins, err = strconv.Atoi(v); err != nil {
			return errors.New("must be a whole number")
		}
		return nil
	},
	"tetherResume": func(s *settings, v string) (err error) {
		s.resume, err = parseBool(v)
		return err
	},
	"tetherChangedSession": func(s *settings, v string) error {
		switch strings.ToLower(v) {
		case "keep":
			s.changed = KeepChanged
		case "discard":
			s.changed = DiscardChanged
		default:
			return errors.New("must be keep or discard")
		}
		return nil
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

func parseBool(v string) (bool, error) {
	b, err := strconv.ParseBool(strings.ToLower(v))
	if err != nil {
		return false, errors.New("must be true or false")
	}
	return b, nil
}

// WithKeepAlive sets CLIENT_SESSION_KEEP_ALIVE, which makes gosnowflake send a
// heartbeat for each session so that its master token (4 h) does not run out.
// The default is true, unless the DSN or Config.Params say otherwise; this option
// wins over both. DSN: tetherKeepAlive.
func WithKeepAlive(on bool) Option { return func(s *settings) { s.keepAlive = &on } }

// WithHeartbeat sets the time between heartbeats, from 900 s to 3600 s, as
// CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY. The default is gosnowflake's,
// 3600 s. It has no effect without keep-alive. DSN: tetherHeartbeat.
func WithHeartbeat(d time.Duration) Option { return func(s *settings) { s.heartbeat = d } }

// WithIdlePing looks after sessions that lie idle in the pool: each is asked, at a
// moment between d/2 and d after its last use or ping, whether it is alive, and
// one that is dead is replaced while nobody waits for it. It is for session
// policies whose idle time-out is below the heartbeat's floor of 15 minutes: 4m is
// right for the shortest, 5 minutes. It must be from 10 ms to 24 h. The default, 0, is
// off. DSN: tetherIdlePing.
//
// A ping is one round trip on a connection of its own, one at a time for the whole
// pool, from one goroutine. It compiles SELECT 1 and does not run it, which takes
// no warehouse. No checkout waits for a ping; in the worst case, a dead session
// that is handed out at the very moment costs its caller the login that he would
// have paid without pings.
func WithIdlePing(d time.Duration) Option { return func(s *settings) { s.idlePing = d } }

// WithBackOff sets how long to wait between logins, and between the tries of a
// statement that could not be sent, while Snowflake cannot be reached. newBackOff is
// called for each outage and each such statement, by several goroutines at the same
// time, and returns a new one each time. The default
// doubles from 500 ms to 16 s, each varied by up to a half; [backoff.Stop] ends
// the trying. DSN: tetherBackoffInitial and tetherBackoffMax, up to 24 h, change
// the bounds of the default.
func WithBackOff(newBackOff func() backoff.BackOff) Option {
	return func(s *settings) { s.newBackOff = newBackOff }
}

// WithConnectBudget sets how long one Connect may go on trying while Snowflake
// cannot be reached, if the caller's context has no deadline; with one, the
// deadline counts alone. It bounds a statement that could not be sent, or is a
// plain read, in the same way, from its first failure; gosnowflake's own
// repetitions before that take about a minute. The default is 2 minutes. DSN:
// tetherConnectBudget.
func WithConnectBudget(d time.Duration) Option { return func(s *settings) { s.connectBudget = d } }

// WithMaxLogins sets how many logins of the connector may be under way at the
// same time. The default is 8; further ones wait their turn, first come, first
// served. It must be from 1 to 1000. DSN: tetherMaxLogins.
func WithMaxLogins(n int) Option { return func(s *settings) { s.maxLogins = n } }

// WithAuthCooldown sets for how long no login is sent after one was refused for
// good, as long as the credentials are the same: callers get [ErrLoginSuspended]
// at once. It doubles with each further refusal, up to 16 times d. Other
// credentials lift it at once. The default is 30 s, the most 24 h; 0 switches it off, and a pool
// with a wrong password then locks its user out (five refusals do it, says
// Snowflake's documentation). DSN: tetherAuthCooldown.
func WithAuthCooldown(d time.Duration) Option { return func(s *settings) { s.authCooldown = d } }

// WithTokenSource takes the token of each login from source: a programmatic access
// token if Config.Authenticator says so, otherwise an OAuth access token, which may
// be a JWT that somebody else signs (External OAuth). A token is asked
// for when the last one is within a minute of its expiry by the wall clock, by
// one login at a time; a login that is refused with 390303, 390318 or 394400 asks
// once more, whatever the expiry says. A source that has a method
//
//	Refresh(context.Context) (*oauth2.Token, error)
//
// is asked through it then, so that a cache of its own can be passed by.
func WithTokenSource(source oauth2.TokenSource) Option {
	return func(s *settings) { s.tokenSource = source }
}

// WithBeforeConnect is called before each login with a clone of the Config, to
// which it may do anything: put in a password from a vault, pick a role. An
// error fails the login as permanent, unless it is a network error. It must
// honour its context.
func WithBeforeConnect(hook func(context.Context, *gosnowflake.Config) error) Option {
	return func(s *settings) { s.beforeConnect = hook }
}

// WithAfterConnect is called with the inner driver's connection after each
// login, also after one in the place of a lost session, before its first use and
// after the statements of [WithSessionInit]. If it fails the session is closed
// and the login has failed.
func WithAfterConnect(hook func(context.Context, driver.Conn) error) Option {
	return func(s *settings) { s.afterConnect = hook }
}

// WithSessionInit runs the statements after each login, also after one in the
// place of a lost session, before the session's first use: USE, ALTER SESSION,
// SET. A failure closes the session and fails the login.
func WithSessionInit(statements ...string) Option {
	return func(s *settings) { s.sessionInit = append(s.sessionInit, statements...) }
}

// WithResume sets whether a statement that was accepted before its session ended
// is carried over to a new session: its outcome is fetched there by its query ID.
// The default is true; without it such a statement is [ErrInDoubt]. DSN:
// tetherResume.
func WithResume(on bool) Option { return func(s *settings) { s.resume = on } }

// WithLogger sets where it is logged what happens to sessions and logins. The
// default is slog.Default() at the time of each line. A reconnect that went well is
// logged at Info, because nothing needs doing about it; a statement in doubt, a
// refused login, and the beginning of an outage at Warn.
func WithLogger(l *slog.Logger) Option { return func(s *settings) { s.logger = l } }

// WithEventHook calls hook with everything that happens to sessions and logins, as
// it happens: see [EventKind]. The hook is called by whoever it happens to, often a
// statement that waits for its new session, and by several goroutines at the same
// time. So it must return at once and must not use the pool: hand the event to a
// buffered channel if there is much to do. A panic in it is logged once and does no
// harm. Without a hook, the default, events cost nothing here.
func WithEventHook(hook func(Event)) Option { return func(s *settings) { s.eventHook = hook } }

// WithMeterProvider sets where the metrics go that docs/observability.md lists. The
// default is otel.GetMeterProvider() at the time of [NewConnector]: nowhere, unless
// the program sets a global provider, then or later. [Connector.Close] ends them.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(s *settings) { s.meterProvider = p }
}

// WithPoolName sets the db.client.connection.pool.name of the metrics and spans,
// and the name in a [Snapshot]. The default is "snowtether", which tells nobody the
// account. The counts of pools with the same name are added up, so a program with
// several gives each its own, of up to 100 bytes. DSN: tetherPoolName.
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
)

// WithChangedSession sets what becomes of changed connections when they come
// back to the pool. The default is [KeepChanged]. DSN: tetherChangedSession=keep
// or discard.
func WithChangedSession(c ChangedSession) Option { return func(s *settings) { s.changed = c } }
