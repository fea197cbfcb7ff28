package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/snowflakedb/gosnowflake/v2"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/bridge"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about what is said of settings that cannot work: one clear line, from the DSN, a
// Config, connections.toml or an inner driver's DSN.

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

// secret stands in every value of the DSNs below that may hold something private.
const secret = "hush"

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
			if strings.EqualFold(name, "client_session_keep_alive") {
				want = "client_session_keep_alive"
			}
			const dsn = "hushuser:hushpass@acct/hushdb?"
			refuses(t, dsn+name+"=hush", want, right)
			for _, param := range []string{name + "=", "application=x&" + name + "=hush", name + "=hush&application=x"} {
				refuses(t, dsn+param, want)
			}
		}
	}
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
	for name, want := range map[string]string{"QUERY_TAG": "q", "CLIENT_SESSION_KEEP_ALIVE": "true", "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY": "900"} {
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
	if got := params["CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY"]; got != "900" {
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

// TestSessionInitMayMakeAProcedure: the semicolons of a body without quotes separate no statements
// of the program's, and what a procedure or a script does to a transaction is not known.
func TestSessionInitMayMakeAProcedure(t *testing.T) {
	c, err := snowtether.NewConnector(&gosnowflake.Config{Account: "acct", User: "u", Password: "p"}, snowtether.WithSessionInit(
		"CREATE OR REPLACE TEMPORARY PROCEDURE p() RETURNS INT LANGUAGE SQL AS BEGIN LET x := 1; RETURN x; END;",
		"BEGIN LET x := 1; RETURN x; END",
		"CREATE OR REPLACE TEMPORARY PROCEDURE q() RETURNS INT LANGUAGE SQL AS BEGIN BEGIN TRANSACTION; IF (TRUE) THEN COMMIT; END IF; END",
		"USE ROLE r;",
		"BEGIN", "INSERT INTO logins VALUES (1)", "EXECUTE IMMEDIATE 'COMMIT'",
	))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestNewConnectorRefusesWhatCannotWork(t *testing.T) {
	base := func() *gosnowflake.Config {
		return &gosnowflake.Config{Account: "acct", User: "hushuser", Password: "hushpass"}
	}
	for _, tt := range []struct {
		want   string
		change func(cfg *gosnowflake.Config)
		opts   []snowtether.Option
	}{
		{want: "option is nil", opts: []snowtether.Option{nil}},
		{want: "option is nil", opts: []snowtether.Option{snowtether.WithResume(true), nil}},
		{want: "tetherHeartbeat", opts: []snowtether.Option{snowtether.WithHeartbeat(time.Second)}},
		{want: "tetherIdlePing", opts: []snowtether.Option{snowtether.WithIdlePing(-1)}},
		{want: "tetherHeartbeat", opts: []snowtether.Option{snowtether.WithHeartbeat(time.Hour + 1)}},
		{want: "tetherConnectBudget", opts: []snowtether.Option{snowtether.WithConnectBudget(0)}},
		{want: "tetherMaxLogins", opts: []snowtether.Option{snowtether.WithMaxLogins(0)}},
		{want: "tetherAuthCooldown", opts: []snowtether.Option{snowtether.WithAuthCooldown(-1)}},
		{want: "KeepChanged, DiscardChanged or ErrorOnLoss", opts: []snowtether.Option{snowtether.WithChangedSession(7)}},
		{want: "statement 2 of WithSessionInit", opts: []snowtether.Option{snowtether.WithSessionInit("USE ROLE r", " \n")}},
		{want: "statement 2 of WithSessionInit holds several statements; give each as an argument of its own", opts: []snowtether.Option{snowtether.WithSessionInit("USE ROLE r;", "USE SCHEMA a; USE SCHEMA b")}},
		// Before: every row was written in a transaction that nobody ended, nil, and went with its session.
		{want: "WithSessionInit leaves a transaction open", opts: []snowtether.Option{snowtether.WithSessionInit("/* of mine */ begin work")}},
		{want: "WithSessionInit leaves a transaction open", opts: []snowtether.Option{snowtether.WithSessionInit("COMMIT", "START TRANSACTION", "USE ROLE r")}},
		{want: "WithSessionInit leaves a transaction open", opts: []snowtether.Option{snowtether.WithSessionInit("ALTER SESSION SET AUTOCOMMIT = FALSE", "INSERT INTO logins VALUES (1)")}},
		//lint:ignore SA1019 there is no other setting for it
		{want: "tracing must be off, fatal", change: func(cfg *gosnowflake.Config) { cfg.Tracing = "hush" }},
		{want: "account", change: func(cfg *gosnowflake.Config) { cfg.Account = "" }},
		{want: "user", change: func(cfg *gosnowflake.Config) { cfg.User = "" }},
		{want: "password", change: func(cfg *gosnowflake.Config) { cfg.Password = "" }},
		{want: "port", change: func(cfg *gosnowflake.Config) { cfg.Port = -1 }},
		{want: "port", change: func(cfg *gosnowflake.Config) { cfg.Port = 65536 }},
		{want: "OktaURL", change: func(cfg *gosnowflake.Config) { cfg.Authenticator = gosnowflake.AuthTypeOkta }},
		{want: "query_tag", change: func(cfg *gosnowflake.Config) { cfg.Params = map[string]*string{"query_tag": nil} }},
		{want: "client_session_keep_alive", change: func(cfg *gosnowflake.Config) { cfg.Params = map[string]*string{"CLIENT_SESSION_KEEP_ALIVE": nil} }},
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
				_, err = snowtether.NewConnector(cfg, tt.opts...)
				return err
			}()
			if err == nil {
				t.Error("it is accepted")
			} else {
				clearError(t, tt.want, err, tt.want)
			}
		})
	}
	if _, err := snowtether.NewConnector(nil); err == nil || err.Error() != "snowtether: the Config is nil" {
		t.Errorf("nil Config: %v", err)
	}
}

func TestNewConnectorNeedsNoCredentialThatComesLater(t *testing.T) {
	source := snowtether.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t"}))
	hook := snowtether.WithBeforeConnect(func(context.Context, *gosnowflake.Config) error { return nil })
	for _, auth := range []gosnowflake.AuthType{gosnowflake.AuthTypeSnowflake, gosnowflake.AuthTypeOAuth, gosnowflake.AuthTypePat} {
		for name, opt := range map[string]snowtether.Option{"token source": source, "hook": hook} {
			if _, err := snowtether.NewConnector(&gosnowflake.Config{Account: "acct", User: "u", Authenticator: auth}, opt); err != nil {
				t.Errorf("%v with a %s: %v", auth, name, err)
			}
		}
	}
}

// TestLevelOfTheVendorsLogIsChecked: by sql.Open, and not by 20 s of logins.
func TestLevelOfTheVendorsLogIsChecked(t *testing.T) {
	refuses(t, "hushuser:hushpass@acct/hushdb?tracing=hush", "tracing must be off, fatal, error, warn, info, debug or trace")
	for _, level := range []string{"off", "FATAL", "error", "warn", "info", "debug", "trace"} {
		db, err := sql.Open("snowtether", "hushuser:hushpass@acct/hushdb?tracing="+level)
		if err != nil {
			t.Errorf("%s: %v", level, err)
			continue
		}
		_ = db.Close()
	}
}

func TestBadParameterOfV1IsRefused(t *testing.T) {
	refuses(t, "hushuser:hushpass@acct/hushdb?insecureMode=hush", "insecureMode", "true or false")
	refuses(t, "hushuser:hushpass@acct/hushdb?disableTelemetry=hush", "disableTelemetry", "true or false")
	refuses(t, "hushuser:hushpass@acct/hushdb?insecure_mode=hush", "insecure_mode", "true or false")
}

func TestEarlierNameOfAParameterIsHeldToTheSameRules(t *testing.T) {
	for earlier, current := range map[string]string{"tetherBackoffInitial": "tetherBackOffInitial", "tetherBackoffMax": "tetherBackOffMax"} {
		refuses(t, "u:p@acct/db?"+earlier+"=1s&"+current+"=1s", current, earlier)
		refuses(t, "u:p@acct/db?"+earlier, earlier+" has no value")
		refuses(t, "u:p@acct/db?"+earlier+"=1s&"+earlier+"=2s", earlier)
	}
}

func parseInner(dsn string) (driver.Connector, map[string]*string, error) {
	inner, err := gosnowflake.SnowflakeDriver{}.OpenConnector(dsn)
	if err != nil {
		return nil, nil, err
	}
	cfg, ok := bridge.Config[gosnowflake.Config](inner)
	if !ok {
		return nil, nil, bridge.ErrElsewhere
	}
	return inner, cfg.Params, nil
}

// The inner driver reads the DSN, and what is snowtether's in it is obeyed and not sent on.
func TestAnInnerDriverReadsTheDSN(t *testing.T) {
	srv := snowtest.New(t)
	c, err := bridge.Open(srv.DSN()+"&tetherPoolName=inner", parseInner)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	defer db.Close()
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv.AbortSessions()
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("the session was not replaced: %v", err)
	}
	if name := c.(*snowtether.Connector).Snapshot().Pool; name != "inner" {
		t.Errorf("the pool's name is %q", name)
	}

	one, err := bridge.Open(srv.DSN(), parseInner)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := bridge.Connect(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := one.Connect(context.Background()); err == nil {
		t.Error("the connector of a single connection outlives it")
	}
}

func TestAnInnerDriversDSNIsRefusedInOneLine(t *testing.T) {
	t.Setenv("SNOWFLAKE_HOME", t.TempDir())
	elsewhere := func(string) (driver.Connector, map[string]*string, error) { return nil, nil, bridge.ErrElsewhere }
	panics := func(string) (driver.Connector, map[string]*string, error) { panic("hush") }
	const good = "hush:hush@acct/db?"
	for _, tt := range []struct {
		dsn   string
		parse bridge.Parse
		want  string
	}{
		{"", parseInner, "is empty"},
		{"autoConfig", parseInner, "connections.toml cannot be read"},
		{"autoConfig", elsewhere, "keeps its Config elsewhere"},
		{"autoConfig", panics, "is not a table"},
		{good, panics, "cannot be parsed"},
		{good + "tetherX=1", parseInner, "unknown parameter"},
		{good + "tetherMaxLogins=0", parseInner, "at least 1"},
		{good + "tetherIdlePing=4m", parseInner, "needs gosnowflake v2"},
		{good + "client_session_keep_alive=hush", parseInner, "true or false"},
	} {
		_, err := bridge.Open(tt.dsn, tt.parse)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q gives %v, want %q", tt.dsn, err, tt.want)
		}
	}
}

// TestSecretsInURLsAreNotRepeated: an Okta login's URL holds a one-time token.
func TestSecretsInURLsAreNotRepeated(t *testing.T) {
	err := &snowtether.SessionError{Op: "login", Class: snowtether.ClassTransient, Err: &gosnowflake.SnowflakeError{
		Number: gosnowflake.ErrFailedToGetSSO, Message: "HTTP: %v, URL: %v", MessageArgs: []any{403, "https://x.okta.com/sso/saml?onetimetoken=s3cret&x=y"},
	}}
	if text := err.Error(); strings.Contains(text, "s3cret") || !strings.Contains(text, "https://x.okta.com/sso/saml") {
		t.Error(text)
	}
}

// A noConnector is one that may be nil.
type noConnector struct{}

func (*noConnector) Connect(context.Context) (driver.Conn, error) { return nil, nil }
func (*noConnector) Driver() driver.Driver                        { return nil }

// TestNilConnectorIsRefused: and not found out by a panic at the first login.
func TestNilConnectorIsRefused(t *testing.T) {
	for _, inner := range []driver.Connector{nil, (*noConnector)(nil)} {
		if _, err := snowtether.WrapConnector(inner); err == nil || !strings.Contains(err.Error(), "the inner connector is nil; give it") {
			t.Errorf("%T: %v", inner, err)
		}
	}
	if _, err := snowtether.WrapConnector(new(noConnector)); err != nil {
		t.Error(err)
	}
}
