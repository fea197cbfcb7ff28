package snowtether

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether/internal/dsn"
	"github.com/snowtether/snowtether/internal/gate"
)

// This file is about settings, as a DSN, a Config and options give them: what is made of
// those that are accepted, and settings and errors of any value.

const fuzzSecret = "aVerySecretValue7"

// noToken is a token source that never has one.
type noToken struct{}

func (noToken) Token() (*oauth2.Token, error) { return nil, errors.New("none") }

// FuzzOptions: whatever the settings, by option or by parameter, there is an error
// of one line that repeats no value, or a connector whose settings are within their
// bounds and do no harm.
func FuzzOptions(f *testing.F) {
	const (
		second = int64(time.Second)
		most   = int64(^uint64(0) >> 1)
		all    = uint32(0x3ff8) // options with a value
	)
	f.Add(uint32(0), int64(0), int64(0), second/2, 16*second, 120*second, 30*second, 8, 0, "pool", "USE ROLE r", "client_session_keep_alive", "true")
	f.Add(all, 900*second, 240*second, second, second, second, int64(0), 1, 1, "p", "SET x = 1", "tetherMaxLogins", "4")
	f.Add(all&^8, int64(0), most, most, most, most, most, 1000, 1, strings.Repeat("p", 100), "x", "tetherHeartbeat", "900s")
	f.Add(all, int64(0), int64(1), int64(1), int64(1), int64(1), int64(1), 1, 1, "x", "x", "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", "3600")
	f.Add(all, -second, -second, -second, -second, -second, -second, 1001, 0, "x", "x", "tetherIdlePing", "9223372036s")
	f.Add(uint32(1), int64(0), int64(0), int64(0), int64(0), int64(0), int64(0), 0, 0, "", "", "tetherConnectBudget", "9999999999999h")
	f.Add(uint32(1), int64(0), int64(0), int64(0), int64(0), int64(0), int64(0), 0, 0, "", "", "tetherLog", "warn")
	// What has failed before.
	f.Add(uint32(16368), int64(0), most, most, most, most, most, 1000, 1, "0", "0", "tether\xc7\xc7\xc7\xc7\xc7", "0")
	f.Add(uint32(0), int64(0), int64(0), second/2, 16*second, 120*second, int64(30000000100), 8, -59, "0", "0", "00A\xcbAAA", "0")
	f.Add(uint32(0), int64(0), int64(0), second/2, 16*second, 120*second, int64(30000000100), 8, -116, "0", "0", "Aӗ", "0")
	f.Add(uint32(1), int64(0), int64(0), int64(-23), int64(0), int64(0), int64(0), 0, -23, "0", "", "\xfa", "0")
	f.Add(uint32(16282), int64(0), int64(1), int64(-47), int64(1), int64(1), int64(30), 1, 1, "0", "0", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "0")
	f.Add(uint32(14), int64(0), int64(0), second/2, int64(16000000013), 120*second, int64(30000000100), 8, -59, "0", "0", "0", strings.Repeat("0!! ", 100))
	f.Add(uint32(16376), int64(-1000000000), int64(-999999923), int64(-999999935), int64(-999999958), int64(-1000000000), int64(-1000000005), 1025, 0, "0", "̀", "0", "0")
	f.Add(uint32(16277), 900*second, 240*second, second, second, second, int64(0), 56, 1, "0", "ل0", "0", "0")
	f.Add(uint32(16412), int64(0), int64(81), int64(145), int64(-48), int64(1), int64(1), 1, 16, "0", "0", "\xfa0", "0")
	f.Fuzz(func(t *testing.T, which uint32, heartbeat, ping, first, longest, budget, cooldown int64, logins, changed int, name, statement, param, value string) {
		value = strings.ReplaceAll(value, "§", fuzzSecret)
		cfg := &gosnowflake.Config{Account: "acct", User: "u", Password: fuzzSecret, Params: map[string]*string{param: &value, "x": nil}}
		if which&1 == 0 {
			delete(cfg.Params, "x")
		}
		opts := []Option{WithLogger(slog.New(slog.DiscardHandler))}
		for i, opt := range []Option{
			WithKeepAlive(which&2 == 0), WithHeartbeat(time.Duration(heartbeat)), WithIdlePing(time.Duration(ping)),
			func(s *settings) { s.backOffInitial, s.backOffMax = time.Duration(first), time.Duration(longest) },
			WithConnectBudget(time.Duration(budget)), WithAuthCooldown(time.Duration(cooldown)), WithMaxLogins(logins),
			WithChangedSession(ChangedSession(changed)), WithPoolName(name), WithSessionInit(statement), WithResume(which&4 == 0),
			WithTokenSource(nil), WithTokenSource(noToken{}), WithBackOff(nil), WithBackOff(func() backoff.BackOff { return &backoff.ZeroBackOff{} }),
			WithBeforeConnect(nil), WithBeforeConnect(func(context.Context, *gosnowflake.Config) error { return nil }),
			WithAfterConnect(nil), WithAfterConnect(func(context.Context, driver.Conn) error { return nil }),
			WithLogger(nil), WithEventHook(nil), WithEventHook(func(Event) {}), WithMeterProvider(nil), nil,
		} {
			if which>>(3+i)&1 != 0 {
				opts = append(opts, opt)
			}
		}
		c, err := NewConnector(cfg, opts...)
		if err != nil {
			text := err.Error()
			if strings.Contains(text, fuzzSecret) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 2000 || !strings.HasPrefix(text, "snowtether: ") {
				t.Errorf("the error is %q", text)
			}
			return
		}
		harmless(t, c)
		_, _ = c.Stats(), c.Snapshot()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// harmless checks what is made of the settings that were accepted.
func harmless(t *testing.T, c *Connector) {
	t.Helper()
	s, now := &c.settings, time.Now()
	for what, ok := range map[string]bool{
		"heartbeat": s.heartbeat == 0 || s.heartbeat >= 900*time.Second && s.heartbeat <= 3600*time.Second,
		"first":     s.firstBudget > 0 && now.Add(s.firstBudget).After(now),
		"budget":    s.connectBudget > 0 && now.Add(s.connectBudget).After(now),
		"logins":    s.maxLogins >= 1 && s.maxLogins <= 1000,
		"cool-down": s.authCooldown >= 0 && s.authCooldown*gate.MaxCooldown >= s.authCooldown,
		"changed":   s.changed >= KeepChanged && s.changed <= ErrorOnLoss,
		"pool name": s.poolName != "" && len(s.poolName) <= 100,
		"idle ping": s.idlePing == 0 || s.idlePing/16 > time.Millisecond, // else the keeper does nothing but ping
	} {
		if !ok {
			t.Errorf("%s: %+v", what, *s)
		}
	}
	if s.idlePing != 0 {
		for range 10 {
			if d := spread(s.idlePing); d < s.idlePing/2 || d > s.idlePing {
				t.Errorf("an idle ping of %v comes after %v", s.idlePing, d)
			}
		}
	}
	var waits backoff.BackOff
	for range 100 {
		if d := c.nextPause(t.Context(), &waits); s.newBackOff == nil && (d < 0 || d > s.backOffMax+s.backOffMax/2+1) {
			t.Fatalf("with back-offs from %v to %v a wait of %v", s.backOffInitial, s.backOffMax, d)
		}
	}
	for _, name := range []string{paramKeepAlive, paramHeartbeat} {
		for key := range c.cfg.Params {
			if key != name && strings.EqualFold(key, name) || strings.HasPrefix(strings.ToLower(key), "tether") {
				t.Errorf("the parameter %s goes to gosnowflake", key)
			}
		}
	}
	if v := c.cfg.Params[paramKeepAlive]; v == nil || *v != "true" && *v != "false" {
		t.Error("keep-alive is neither on nor off")
	}
}

// plain is what an account, host or parameter looks like whose text needs no
// escaping. gosnowflake escapes neither of the former, and unescapes some of the
// latter twice.
var plain = regexp.MustCompile(`^[\w.-]*$`)

// FuzzDSN: nothing panics, an error is one line and never repeats a secret, and a DSN that is
// accepted still means the same after gosnowflake has written it anew.
func FuzzDSN(f *testing.F) {
	for _, rest := range []string{
		"acct", "acct/db", "acct/db/schema?warehouse=wh&role=r", "acct.eu-west-1", "host.example.com:8080/db?account=acct&protocol=http",
		"acct-x.global.snowflakecomputing.com:443/db", "acct/db?token=§&authenticator=oauth", "acct?privateKey=§&authenticator=snowflake_jwt",
		"acct/d?clientTimeout=§", "acct/d?authenticator=§", "acct/d?tetherKeepAlive=§", "acct/d?tetherHeartbeat=900&tetherMaxLogins=2&tetherResume=false",
		"acct/d?tether=§&x=%zz", "acct:§/d", "acct/d?client_session_keep_alive=§", "acct/d?CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY=1800",
		"acct/a=§/b", "acct/d?tmpDirPath=§", "acct/d?tlsConfigName=§", "acct/d?passcode=§&proxyPort=§&loginTimeout=1", "@/?#:%\x00\xff", "acct/d?region=us-west-2",
	} {
		f.Add("user", "", rest)
		f.Add("us%40er", "/@:", rest)
	}
	for _, found := range [][3]string{ // what has failed before
		{"0", "0", ":100000"},
		{" 0", "0", "!"},
		{"0", "0", "?authenticator=Aaaaa"},
		{"0", "0", "0?tether=&A00000="},
		{"0", "0", "?account=!"},
		{"0", "Ȣ", "0.\xe800"},
		{"!!!!!!!!!!!!!!!!!!!!", "!!!!!!!!!!!!", "0"},
		{"0", "?/=", "0"},
		{"0", "0", "    0"},
		{"0", "0", "00+"},
		{"user", "c", "X1.8X?0120=20a1&protocol=http"},
		{" ", "0", "!?authenticator=oAuth"},
	} {
		f.Add(found[0], found[1], found[2])
	}
	f.Fuzz(func(t *testing.T, user, password, rest string) {
		const secret = "aVerySecretValue7"
		if strings.Contains(user+password+rest, "tether:") {
			return // a mistyped DSN can make a password part of a parameter's name
		}
		text := user + ":" + secret + password + "@" + strings.ReplaceAll(rest, "=§", "="+secret)
		db, err := sql.Open(DriverName, text)
		if err != nil {
			if says := err.Error(); strings.Contains(strings.ToLower(says), strings.ToLower(secret)) || strings.ContainsFunc(says, unicode.IsControl) || len(says) > 600 {
				t.Errorf("%q gives the error %q", text, says)
			}
			return
		}
		_ = db.Close()

		first, s := read(t, text)
		for _, piece := range []string{first.Account, first.Host, first.Region, first.Database, first.Schema, first.Warehouse, first.Role} {
			if !plain.MatchString(piece) {
				return
			}
		}
		again := dsn.Clone(first)
		maps.DeleteFunc(again.Params, func(name string, value *string) bool { return !plain.MatchString(name) || !plain.MatchString(*value) })
		written, err := gosnowflake.DSN(again)
		if err != nil {
			t.Fatalf("%q is accepted and cannot be written: %v", text, err)
		}
		second, s2 := read(t, written)
		type fields struct {
			user, password, account, host, database, schema, warehouse, role, protocol, token string
			port                                                                              int
			authenticator                                                                     gosnowflake.AuthType
			params                                                                            string
		}
		of := func(cfg *gosnowflake.Config) fields {
			v := fields{
				cfg.User, cfg.Password, cfg.Account, cfg.Host, cfg.Database, cfg.Schema, cfg.Warehouse, cfg.Role, cfg.Protocol, cfg.Token,
				cfg.Port, cfg.Authenticator, "",
			}
			for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
				v.params += name + "=" + *cfg.Params[name] + " "
			}
			return v
		}
		if a, b := of(again), of(second); a != b {
			t.Errorf("%q means\n%+v, written as %q\n%+v", text, a, written, b)
		}
		if s.heartbeat != 0 && (s.heartbeat < minHeartbeat || s.heartbeat > maxHeartbeat) || s.maxLogins < 1 || s2.maxLogins != defaults().maxLogins {
			t.Errorf("%q gives the settings %+v", text, s)
		}
	})
}

// read returns what the connector of a DSN logs in with. Its settings have
// parameters of the DSN that its Config has not.
func read(t *testing.T, dsn string) (*gosnowflake.Config, *settings) {
	t.Helper()
	c, err := Driver{}.OpenConnector(dsn)
	if err != nil {
		t.Fatalf("%q is refused: %v", dsn, err)
	}
	made := c.(*Connector)
	if err := made.Close(); err != nil {
		t.Error(err)
	}
	for name := range made.cfg.Params {
		if strings.HasPrefix(strings.ToLower(name), "tether") {
			t.Errorf("%q leaves %q in the Config", dsn, name)
		}
	}
	return made.cfg, &made.settings
}

// FuzzClassify: whatever the error, a login is never a statement's; only what can be
// Snowflake's own answer is called one; and no error is taken for driver.ErrBadConn that
// was not said to be lost without having run.
func FuzzClassify(f *testing.F) {
	f.Add(390114, "gone", "08001", 0, uint8(0), false, "")
	f.Add(390112, "renew", "-1", 0, uint8(1), false, "")
	f.Add(261000, "HTTP: %v", "", 401, uint8(2), false, "")
	f.Add(266001, "390114 (08001): expired", "", 0, uint8(3), false, "")
	f.Add(0, "Authentication token has expired", "", 0, uint8(4), false, "01b2")
	f.Fuzz(func(t *testing.T, code int, text, state string, status int, guise uint8, ended bool, id string) {
		se := &gosnowflake.SnowflakeError{Number: code, SQLState: state, Message: text, QueryID: id}
		if status != 0 {
			se.MessageArgs = []any{status}
		}
		if len(se.Error()) > 1<<16 {
			return // a format whose width is millions: gosnowflake has none
		}
		causes := []error{se, fmt.Errorf("a: %w", se), errors.Join(driver.ErrBadConn, se), async(se), errors.New(text), driver.ErrBadConn, errors.Join(se, io.EOF, errRenewalLoop)}
		err := causes[int(guise)%len(causes)]
		var ctxErr error
		if ended {
			ctxErr = context.Canceled
		}
		class := classifyLogin(err, ctxErr)
		if ended != (class == ClassContext) {
			t.Errorf("%v: caller's context ended %v, class %q", err, ended, class)
		}
		if slices.Contains([]Class{ClassInDoubt, ClassStatement, ClassSessionLost}, class) {
			t.Errorf("%v at a login is %q", err, class)
		}
		for _, class := range []Class{ClassStatement, ClassInDoubt, ClassTransient, ClassPermanent} {
			fail := &SessionError{Op: "exec", Class: class, Err: err, retry: true}
			if errors.Is(fail, driver.ErrBadConn) {
				t.Errorf("%v: %q Is ErrBadConn", err, class)
			}
			_ = fail.Error() // does not panic
		}
		o := outcomeOf(err)
		if n := number(err); o.Answer && (n <= 0 || n >= 390000 && n <= 399999 || n >= 260000 && n <= 279999) {
			t.Errorf("%v: %d is taken for Snowflake's answer", err, n)
		}
		if o.Answer && o.Gone {
			t.Errorf("%v is an answer of a session that is gone", err)
		}
		if got := Classify(err); got == "" {
			t.Errorf("Classify(%v) = %q", err, got)
		}
	})
}

func TestTetherParametersAreAppliedAndTaken(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		get         func(s *settings) any
		want        any
	}{
		{"tetherKeepAlive", "False", func(s *settings) any { return *s.keepAlive }, false},
		{"tetherKeepAlive", "1", func(s *settings) any { return *s.keepAlive }, true},
		{"tetherIdlePing", "4m", func(s *settings) any { return s.idlePing }, 4 * time.Minute},
		{"tetherIdlePing", "0", func(s *settings) any { return s.idlePing }, time.Duration(0)},
		{"tetherHeartbeat", "15m", func(s *settings) any { return s.heartbeat }, 15 * time.Minute},
		{"tetherHeartbeat", "3600", func(s *settings) any { return s.heartbeat }, time.Hour},
		{"tetherHeartbeat", "0", func(s *settings) any { return s.heartbeat }, time.Duration(0)},
		{"tetherBackOffInitial", "250ms", func(s *settings) any { return s.backOffInitial }, 250 * time.Millisecond},
		{"tetherBackOffMax", "60", func(s *settings) any { return s.backOffMax }, time.Minute},
		{"tetherFirstConnectBudget", "45s", func(s *settings) any { return s.firstBudget }, 45 * time.Second},
		{"tetherConnectBudget", "1h30m", func(s *settings) any { return s.connectBudget }, 90 * time.Minute},
		{"tetherAuthCooldown", "0", func(s *settings) any { return s.authCooldown }, time.Duration(0)},
		{"tetherMaxLogins", "3", func(s *settings) any { return s.maxLogins }, 3},
		{"tetherResume", "FALSE", func(s *settings) any { return s.resume }, false},
		{"tetherChangedSession", "Discard", func(s *settings) any { return s.changed }, DiscardChanged},
		{"tetherChangedSession", "error", func(s *settings) any { return s.changed }, ErrorOnLoss},
		{"tetherLog", "Off", func(s *settings) any { return s.logFrom > slog.LevelError }, true},
		{"tetherLog", "warn", func(s *settings) any { return s.logFrom }, slog.LevelWarn},
		{"tetherLog", "info", func(s *settings) any { return s.logFrom }, slog.LevelDebug},
		{"tetherChangedSession", "keep", func(s *settings) any { return s.changed }, KeepChanged},
		{"tether%4DaxLogins", "5", func(s *settings) any { return s.maxLogins }, 5},
	} {
		c, err := Driver{}.OpenConnector("u:p@acct/db?application=x&" + tt.name + "=" + tt.value + "&query_tag=q")
		if err != nil {
			t.Errorf("%s=%s: %v", tt.name, tt.value, err)
			continue
		}
		s := &c.(*Connector).settings
		if got := tt.get(s); got != tt.want {
			t.Errorf("%s=%s gives %v, want %v", tt.name, tt.value, got, tt.want)
		}
		if params := c.(*Connector).cfg.Params; len(params) != 2 || *params["query_tag"] != "q" || params[paramKeepAlive] == nil {
			if tt.name != "tetherHeartbeat" || params[paramHeartbeat] == nil && s.heartbeat != 0 {
				t.Errorf("%s=%s: the Config has the parameters %v", tt.name, tt.value, slices.Sorted(maps.Keys(params)))
			}
		}
	}
}

func TestNewConnectorClonesItsConfig(t *testing.T) {
	text := func(s string) *string { return &s }
	fresh := func() *gosnowflake.Config {
		return &gosnowflake.Config{
			Account: "acct", User: "u", Password: "p", Params: map[string]*string{"query_tag": text("q"), "tetherMaxLogins": text("3"), "CLIENT_SESSION_KEEP_ALIVE": text("TRUE")},
			OktaURL: &url.URL{Scheme: "https", Host: "okta.example.com"}, WorkloadIdentityImpersonationPath: []string{"a"},
		}
	}
	cfg := fresh()
	c, err := NewConnector(cfg, WithMaxLogins(4))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg, fresh()) {
		t.Errorf("NewConnector has changed its argument to %+v", cfg)
	}
	if c.settings.maxLogins != 4 {
		t.Errorf("an option does not win over the Config: %d", c.settings.maxLogins)
	}
	for range 2 { // what one login's hook does to its Config is nothing to the next
		before, err := c.prepare(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{before.User, *before.Params["query_tag"], before.OktaURL.Host, before.WorkloadIdentityImpersonationPath[0]} {
			if strings.Contains(text, "other") || len(before.Params) != 2 {
				t.Errorf("a change from outside shows: %q, parameters %v", text, slices.Sorted(maps.Keys(before.Params)))
			}
		}
		for _, cfg := range []*gosnowflake.Config{cfg, before} {
			cfg.User = "other"
			*cfg.Params["query_tag"] = "other"
			cfg.Params["other"] = text("other")
			cfg.OktaURL.Host = "other.example.com"
			cfg.WorkloadIdentityImpersonationPath[0] = "other"
		}
	}
}

// A DSN that was written before 0.1.0 means what it meant.
func TestEarlierNamesOfParametersMeanTheSame(t *testing.T) {
	for earlier, current := range renamedParams {
		c, err := Driver{}.OpenConnector("u:p@acct/db?" + earlier + "=1s")
		if err != nil {
			t.Fatal(err)
		}
		want, err := Driver{}.OpenConnector("u:p@acct/db?" + current + "=1s")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := c.(*Connector).settings, want.(*Connector).settings; got.backOffInitial != want.backOffInitial || got.backOffMax != want.backOffMax {
			t.Errorf("%s gives %v and %v, %s %v and %v", earlier, got.backOffInitial, got.backOffMax, current, want.backOffInitial, want.backOffMax)
		}
	}
}
