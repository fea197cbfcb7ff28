package snowtether

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether/snowtest"
)

// secret stands in every value of the DSNs below that may hold something private.
const secret = "hush"

// refuses checks that a DSN is refused by sql.Open, with an error that says all
// of want.
func refuses(t *testing.T, dsn string, want ...string) {
	t.Helper()
	db, err := sql.Open("snowtether", dsn)
	if err == nil {
		_ = db.Close()
		t.Errorf("%.80q is accepted, want an error that says %q", dsn, want)
		return
	}
	clearError(t, dsn, err, want...)
}

// clearError checks that an error is one short line and repeats nothing private.
func clearError(t *testing.T, dsn string, err error, want ...string) {
	t.Helper()
	text := err.Error()
	if !strings.HasPrefix(text, "snowtether: ") || strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text) {
		t.Errorf("%.80q: not one line of this driver's: %q", dsn, text)
	}
	if len(text) > 600 {
		t.Errorf("%.80q: %d bytes: %q", dsn, len(text), text)
	}
	if strings.Contains(strings.ToLower(text), secret) {
		t.Errorf("%.80q: the error repeats a value: %q", dsn, text)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%.80q: %q does not say %q", dsn, text, w)
		}
	}
}

const form = "user:password@account" // what a DSN should look like

func TestBadDSNIsRefusedWithOneClearLine(t *testing.T) {
	const good = "hushuser:hushpass@acct/hushdb/hushschema"
	for _, dsn := range []string{"", " ", "\t \n"} {
		refuses(t, dsn, "empty", form)
	}
	for _, dsn := range []string{"hushuser:hushpass@", "hushuser:hushpass@/hushdb", "hushuser:hushpass@?warehouse=hush", "@", "/", "?"} {
		refuses(t, dsn, "account", form)
	}
	for _, dsn := range []string{"acct", "acct/hushdb", "@acct/hushdb", ":hushpass@acct/hushdb", strings.Repeat("a", 1<<16)} {
		refuses(t, dsn, "user", form)
	}
	refuses(t, "hushuser:hushpass", "no @", "account", form)
	refuses(t, good+"?tetherMaxLogins=2&tetherMaxLogins=3", "tetherMaxLogins", "twice")
	for _, dsn := range []string{"hushuser@acct", "hushuser:@acct/hushdb"} {
		refuses(t, dsn, "password", form)
	}
	refuses(t, "%20:hushpass@acct", "user is missing or empty")
	refuses(t, "hushuser:%20@acct", "password is missing or empty")
	for _, dsn := range []string{
		"%zzhush:hushpass@acct/hushdb", "hushuser:%zzhush@acct/hushdb", "hushuser:hush%@acct", "hushuser:hushpass@acct/%zzhush",
		"hushuser:hushpass@acct/hushdb/%zhush", good + "?warehouse=%zzhush", good + "?hush=%zzhush", good + "?token=%zzhush", good + "?tetherKeepAlive=%zzhush",
	} {
		refuses(t, dsn, "percent-encod")
	}
	for _, port := range []string{"0", "-1", "65536", "99999999", "99999999999999999999", "hush", "", "1e3"} {
		refuses(t, "hushuser:hushpass@hush.example.com:"+port+"/hushdb?account=acct", "port", "1 to 65535")
		refuses(t, "hushuser:hushpass@acct.snowflakecomputing.com:"+port+"/hushdb", "port", "1 to 65535")
	}
	for _, name := range []string{"tether", "tetherX%00", "TetherKeepAlive", "tetherkeepalive", "TETHER_KEEP_ALIVE", "tetherKeepalive", "%74ether", "tether" + strings.Repeat("x", 1<<16), "tether\n\x00\xff"} {
		refuses(t, good+"?"+name+"=hush", "unknown parameter", "tetherKeepAlive")
	}
	for _, tt := range []struct{ params, name, right string }{
		{"authenticator=hush", "authenticator", ""},
		{"authenticator=oauth_authorization_code", "oauthClientSecret", ""},
		{"authenticator=programmatic_access_token", "token", ""},
		{"authenticator=snowflake_jwt", "privateKey", ""},
		{"authenticator=programmatic_access_token&token=hush&clientTimeout=hush", "clientTimeout", ""},
		{"privateKey=hush", "privateKey", "PKCS#8"},
		{"privateKey=aHVzaA==", "privateKey", "PKCS#8"},
		{"certRevocationCheckMode=hush", "certRevocationCheckMode", ""},
		{"token=hush&tokenFilePath=hush", "tokenFilePath", ""},
		{"tlsConfigName=hush", "tlsConfigName", ""},
		{"tmpDirPath=%2Fno%2Fhush", "tmpDirPath", ""},
		{"protocol=hush", "protocol", "https"},
		{"warehouse=hush/hush", "percent-encod", ""}, // gosnowflake reads it as part of the database's name
		{"tetherResume=hush&warehouse=hush@b/hush", "", ""},
	} {
		refuses(t, good+"?"+tt.params, tt.name, tt.right)
	}
	refuses(t, "snowflake://hushuser:hushpass@acct/hushdb", form) // of the user "snowflake"
}

func TestBadTetherParameterIsRefused(t *testing.T) {
	const good = "hushuser:hushpass@acct/hushdb?"
	for name, bad := range map[string]struct {
		values []string
		right  string
	}{
		"tetherKeepAlive":      {[]string{"", "hush", "2", "yes", "%20true", "\xff"}, "true or false"},
		"tetherResume":         {[]string{"", "hush", "on"}, "true or false"},
		"tetherHeartbeat":      {[]string{"899", "899s", "3601", "1h1s", "-1h", "1"}, "900s to 3600s"},
		"tetherBackOffInitial": {[]string{"0", "-1s", "17s"}, "tetherBackOffInitial"},
		"tetherBackOffMax":     {[]string{"0", "499ms", "-5"}, "must not be less than"},
		"tetherConnectBudget":  {[]string{"0", "0s", "-1"}, "more than 0"},
		"tetherAuthCooldown":   {[]string{"-1", "-1ns"}, "negative"},
		"tetherMaxLogins":      {[]string{"0", "-1"}, "at least 1"},
		"tetherChangedSession": {[]string{"", "hush", "drop"}, "keep, discard or error"},
		"tetherLog":            {[]string{"", "hush", "true", "debug", "error"}, "off, warn or info"},
	} {
		for _, v := range bad.values {
			refuses(t, good+name+"="+v, name, bad.right)
		}
		refuses(t, good+name, name) // no value at all
	}
	for _, name := range []string{"tetherHeartbeat", "tetherIdlePing", "tetherBackOffInitial", "tetherBackOffMax", "tetherConnectBudget", "tetherAuthCooldown"} {
		for _, v := range []string{"", "hush", "90 s", "1.5", "1d", "90%00", "9999999999999999999", "9999999h"} {
			refuses(t, good+name+"="+v, name, "duration", "90s", "seconds")
		}
	}
	for _, v := range []string{"", "hush", "1.5", "0x10", "99999999999999999999"} {
		refuses(t, good+"tetherMaxLogins="+v, "tetherMaxLogins", "whole number")
	}
	refuses(t, good+"tetherMaxLogins=0&tetherConnectBudget=0&tetherHeartbeat=1&tetherBackOffInitial=0&tetherBackOffMax=-1&tetherAuthCooldown=-1",
		"tetherMaxLogins", "tetherConnectBudget")
}

func TestBadValueOfATypedParameterIsRefused(t *testing.T) {
	for right, names := range map[string]string{
		"true or false": "singleAuthenticationPrompt enableSingleUseRefreshTokens passcodeInPassword serverSessionKeepAlive disableOCSPChecks ocspFailOpen " +
			"validateDefaultParameters clientRequestMfaToken clientStoreTemporaryCredential logQueryText logQueryParameters disableQueryContextCache " +
			"includeRetryReason disableConsoleLogin disableSamlURLCheck crlAllowCertificatesWithoutCrlURL crlInMemoryCacheDisabled crlOnDiskCacheDisabled " +
			"connectionDiagnosticsEnabled client_session_keep_alive CLIENT_SESSION_KEEP_ALIVE Client_Session_Keep_Alive",
		"number": "clientTimeout jwtClientTimeout loginTimeout requestTimeout jwtTimeout externalBrowserTimeout cloudStorageTimeout maxRetryCount " +
			"crlDownloadMaxSize crlHttpClientTimeout proxyPort client_session_keep_alive_heartbeat_frequency",
	} {
		for _, name := range strings.Fields(names) {
			want := name
			if strings.EqualFold(name, paramKeepAlive) {
				want = paramKeepAlive
			}
			const dsn = "hushuser:hushpass@acct/hushdb?"
			refuses(t, dsn+name+"=hush", want, right)
			for _, param := range []string{name + "=", "application=x&" + name + "=hush", name + "=hush&application=x"} {
				refuses(t, dsn+param, want)
			}
		}
	}
}

// TestPasswordThatIsNotEscaped: either it is taken as it stands, or refused with
// advice; it is never read as something else.
func TestPasswordThatIsNotEscaped(t *testing.T) {
	for _, c := range strings.Split("@ / ? # : & = % ; ~ \\ \" ' < é \x00 \n \x7f \xff // :// @/ /@ ?/ =/&", " ") {
		for _, password := range []string{"hush" + c + "hush", c + "hush", "hush" + c, "12" + c + "34"} {
			if password == "12%34" {
				continue // nobody can tell that it is not escaped
			}
			for _, rest := range []string{"@acct", "@acct/db", "@acct/db/sch", "@acct?warehouse=w", "@acct/db/sch?warehouse=w&tetherMaxLogins=3"} {
				dsn := "hushuser:" + password + rest
				cfg, err := parseDSN(dsn)
				if err != nil {
					clearError(t, dsn, err, "percent-encod")
				} else if cfg.User != "hushuser" || cfg.Password != password || cfg.Account != "acct" {
					t.Errorf("%q is read as user %q, password %q, account %q", dsn, cfg.User, cfg.Password, cfg.Account)
				}
			}
		}
	}
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
		refuses(t, "u:p@acct/db?"+earlier+"=1s&"+current+"=1s", current, earlier)
		refuses(t, "u:p@acct/db?"+earlier, earlier+" has no value")
		refuses(t, "u:p@acct/db?"+earlier+"=1s&"+earlier+"=2s", earlier)
	}
}

// What only gosnowflake v1 knows means what it means there, in a DSN, in a Config that v2 has
// made of one, and in connections.toml. v2 would send it to Snowflake as session parameters.
func TestParametersOfV1MeanWhatTheyMeanThere(t *testing.T) {
	for _, tt := range []struct {
		dsn            string
		insecure, loud bool
		configInsecure bool // where nothing tells an explicit "false" from none
	}{
		{"application=x", false, true, false},
		{"insecureMode=true", true, true, true},
		{"insecureMode=false", false, true, false},
		{"insecuremode=true", true, true, true},
		{"insecure_mode=TRUE", true, true, true},
		{"insecureMode=true&disableOCSPChecks=false", false, true, true},
		{"disableOCSPChecks=true&insecureMode=false", true, true, true},
		{"disableTelemetry=true", false, false, false},
		{"disableTelemetry=false", false, true, false},
		{"disableTelemetry=true&insecureMode=true", true, false, true},
		{"disableTelemetry=true&client_telemetry_enabled=true", false, false, false},
	} {
		check := func(how string, cfg *gosnowflake.Config, insecure bool) {
			t.Helper()
			if cfg.DisableOCSPChecks != insecure {
				t.Errorf("%s, %s: DisableOCSPChecks is %v", tt.dsn, how, cfg.DisableOCSPChecks)
			}
			off := cfg.Params["CLIENT_TELEMETRY_ENABLED"]
			if loud := off == nil || *off != "false"; loud != tt.loud {
				t.Errorf("%s, %s: CLIENT_TELEMETRY_ENABLED is not as it should be", tt.dsn, how)
			}
			for name := range cfg.Params {
				if name := strings.ReplaceAll(strings.ToLower(name), "_", ""); name == "insecuremode" || name == "disabletelemetry" {
					t.Errorf("%s, %s: Snowflake would be sent %s", tt.dsn, how, name)
				}
			}
		}
		c, err := Driver{}.OpenConnector("u:p@acct/db?" + tt.dsn)
		if err != nil {
			t.Fatalf("%s: %v", tt.dsn, err)
		}
		check("DSN", c.(*Connector).cfg, tt.insecure)
		cfg, err := gosnowflake.ParseDSN("u:p@acct/db?" + tt.dsn)
		if err != nil {
			t.Fatal(err)
		}
		made, err := NewConnector(cfg)
		if err != nil {
			t.Fatalf("%s: %v", tt.dsn, err)
		}
		check("Config", made.cfg, tt.configInsecure)
	}

	refuses(t, "hushuser:hushpass@acct/hushdb?insecureMode=hush", "insecureMode", "true or false")
	refuses(t, "hushuser:hushpass@acct/hushdb?disableTelemetry=hush", "disableTelemetry", "true or false")
	refuses(t, "hushuser:hushpass@acct/hushdb?insecure_mode=hush", "insecure_mode", "true or false")
}

// sessions notes the parameters of the sessions that are opened.
type sessions struct {
	*snowtest.Script
	mu     sync.Mutex
	params []map[string]string
}

func (s *sessions) OpenSession(ctx context.Context, info snowtest.SessionConfig) (snowtest.EngineSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.params = append(s.params, info.Parameters)
	return s.Script.OpenSession(ctx, info)
}

// logIn opens a pool, uses it once and returns the parameters of its session.
func logIn(t *testing.T, seen *sessions, dsn string) map[string]string {
	t.Helper()
	db, err := sql.Open("snowtether", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	return seen.params[len(seen.params)-1]
}

func TestTetherParametersAreNotSentToSnowflake(t *testing.T) {
	seen := &sessions{Script: new(snowtest.Script)}
	srv := snowtest.New(t, snowtest.WithEngine(seen))
	params := logIn(t, seen, srv.DSN()+"&query_tag=q&tetherKeepAlive=true&tetherHeartbeat=900&tetherBackOffInitial=1s&tetherBackOffMax=2s"+
		"&tetherConnectBudget=1m&tetherAuthCooldown=1m&tetherMaxLogins=2&tetherResume=true&tetherChangedSession=keep")
	for name := range params {
		if strings.HasPrefix(strings.ToLower(name), "tether") {
			t.Errorf("Snowflake is sent the session parameter %s", name)
		}
	}
	for name, want := range map[string]string{"QUERY_TAG": "q", strings.ToUpper(paramKeepAlive): "true", strings.ToUpper(paramHeartbeat): "900"} {
		if params[name] != want {
			t.Errorf("session parameter %s is %q, want %q", name, params[name], want)
		}
	}
}

func TestAutoConfig(t *testing.T) {
	home := t.TempDir()
	t.Setenv("SNOWFLAKE_HOME", home)
	t.Setenv("SNOWFLAKE_DEFAULT_CONNECTION_NAME", "")
	file := filepath.Join(home, "connections.toml")
	refuses(t, "autoConfig", "autoConfig", "connections.toml")

	seen := &sessions{Script: new(snowtest.Script)}
	srv := snowtest.New(t, snowtest.WithEngine(seen))
	at, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf("[default]\naccount = \"acct\"\nuser = %q\npassword = %q\nhost = %q\nport = %q\nprotocol = \"http\"\ntetherHeartbeat = \"15m\"\ntetherKeepAlive = \"true\"\ninsecureMode = \"true\"\n",
		srv.User(), srv.Password(), at.Hostname(), at.Port()))
	params := logIn(t, seen, "autoConfig")
	if got := params[strings.ToUpper(paramHeartbeat)]; got != "900" {
		t.Errorf("tetherHeartbeat of connections.toml has no effect: %q, parameters %v", got, params)
	}
	if got, sent := params["INSECUREMODE"]; sent {
		t.Errorf("insecureMode, which v1 knows, is sent to Snowflake: %q", got)
	}

	const start = "[default]\naccount = 'acct'\nuser = 'hushuser'\npassword = 'hushpass'\n"
	for _, tt := range []struct{ text, want string }{
		{"", "default"},
		{"[other]\n", "default"},
		{"default = 'hush'\n", "default"},
		{"[default]\nuser = 'hushuser'\npassword = 'hushpass'\n", "account"},
		{"[default]\naccount = 'acct'\nuser = 'hushuser'\n", "password"},
		{"[default]\naccount = 'acct'\nuser = 'u'\npassword = hush\n", "password"},
		{"[default]\naccount = 'acct'\nuser = 'u'\npassword = 'hush\n", "password"},
		{start + "port = 'hush'\n", "port"},
		{start + "port = '99999'\n", "port"},
		{start + "authenticator = 'hush'\n", "authenticator"},
		{start + "host = 'https://hush'\n", "host"},
		{start + "tmpDirPath = '/no/hush'\n", "tmpDirPath"},
		{start + "tetherMaxLogins = 'hush'\n", "tetherMaxLogins"},
		{start + "tetherHush = 'hush'\n", "unknown parameter"},
	} {
		write(strings.Replace(tt.text, "tetherHush", "tetherX", 1))
		refuses(t, "autoConfig", tt.want)
	}
	write("[default]\naccount = 'acct'\nuser = 'u'\npassword = 20061123\n")
	if _, err := sql.Open("snowtether", "autoConfig"); err == nil || strings.Contains(err.Error(), "20061123") {
		t.Errorf("a password without quotes gives %v", err)
	}
}

func TestNewConnectorRefusesWhatCannotWork(t *testing.T) {
	base := func() *gosnowflake.Config {
		return &gosnowflake.Config{Account: "acct", User: "hushuser", Password: "hushpass"}
	}
	for _, tt := range []struct {
		want   string
		change func(cfg *gosnowflake.Config)
		opts   []Option
	}{
		{want: "option is nil", opts: []Option{nil}},
		{want: "option is nil", opts: []Option{WithResume(true), nil}},
		{want: "tetherHeartbeat", opts: []Option{WithHeartbeat(time.Second)}},
		{want: "tetherIdlePing", opts: []Option{WithIdlePing(-1)}},
		{want: "tetherHeartbeat", opts: []Option{WithHeartbeat(time.Hour + 1)}},
		{want: "tetherConnectBudget", opts: []Option{WithConnectBudget(0)}},
		{want: "tetherMaxLogins", opts: []Option{WithMaxLogins(0)}},
		{want: "tetherAuthCooldown", opts: []Option{WithAuthCooldown(-1)}},
		{want: "KeepChanged, DiscardChanged or ErrorOnLoss", opts: []Option{WithChangedSession(7)}},
		{want: "statement 2 of WithSessionInit", opts: []Option{WithSessionInit("USE ROLE r", " \n")}},
		{want: "account", change: func(cfg *gosnowflake.Config) { cfg.Account = "" }},
		{want: "user", change: func(cfg *gosnowflake.Config) { cfg.User = "" }},
		{want: "password", change: func(cfg *gosnowflake.Config) { cfg.Password = "" }},
		{want: "port", change: func(cfg *gosnowflake.Config) { cfg.Port = -1 }},
		{want: "port", change: func(cfg *gosnowflake.Config) { cfg.Port = 65536 }},
		{want: "OktaURL", change: func(cfg *gosnowflake.Config) { cfg.Authenticator = gosnowflake.AuthTypeOkta }},
		{want: "query_tag", change: func(cfg *gosnowflake.Config) { cfg.Params = map[string]*string{"query_tag": nil} }},
		{want: paramKeepAlive, change: func(cfg *gosnowflake.Config) { cfg.Params = map[string]*string{"CLIENT_SESSION_KEEP_ALIVE": nil} }},
		{want: "tetherResume", change: func(cfg *gosnowflake.Config) { cfg.Params = map[string]*string{"tetherResume": nil} }},
	} {
		t.Run(tt.want, func(t *testing.T) {
			cfg := base()
			if tt.change != nil {
				tt.change(cfg)
			}
			err := func() (err error) {
				defer func() {
					if r := recover(); r != nil {
						err = fmt.Errorf("panic: %v", r)
					}
				}()
				_, err = NewConnector(cfg, tt.opts...)
				return err
			}()
			if err == nil {
				t.Error("it is accepted")
			} else {
				clearError(t, tt.want, err, tt.want)
			}
		})
	}
	if _, err := NewConnector(nil); err == nil || err.Error() != "snowtether: the Config is nil" {
		t.Errorf("nil Config: %v", err)
	}
}

func TestNewConnectorNeedsNoCredentialThatComesLater(t *testing.T) {
	source := WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t"}))
	hook := WithBeforeConnect(func(context.Context, *gosnowflake.Config) error { return nil })
	for _, auth := range []gosnowflake.AuthType{gosnowflake.AuthTypeSnowflake, gosnowflake.AuthTypeOAuth, gosnowflake.AuthTypePat} {
		for name, opt := range map[string]Option{"token source": source, "hook": hook} {
			if _, err := NewConnector(&gosnowflake.Config{Account: "acct", User: "u", Authenticator: auth}, opt); err != nil {
				t.Errorf("%v with a %s: %v", auth, name, err)
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
