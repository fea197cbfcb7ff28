package snowtether

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/snowflakedb/gosnowflake/v2"
)

// DriverName is the name under which the driver is registered with database/sql.
const DriverName = "snowtether"

func init() { sql.Register(DriverName, Driver{}) }

// Driver is the database/sql driver. Programs do not use it by name but through
// sql.Open, [NewConnector] or [WrapConnector].
type Driver struct{}

var (
	_ driver.Driver        = Driver{}
	_ driver.DriverContext = Driver{}
)

// Open logs in and returns one connection. database/sql calls OpenConnector
// instead.
func (d Driver) Open(dsn string) (driver.Conn, error) {
	c, err := d.OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	return c.Connect(context.Background())
}

// OpenConnector reads the DSN: gosnowflake's own format, or "autoConfig" for the
// connections.toml that Snowflake's tools share, with the tether… parameters in
// either. It connects to nothing. Errors name what is wrong and never repeat the
// DSN or a value from it.
func (d Driver) OpenConnector(dsn string) (driver.Connector, error) {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	return newConnector(cfg, nil)
}

// parseDSN is gosnowflake's parser, made safe: it neither panics nor repeats
// parts of the DSN, which in a mistyped one may be the password.
func parseDSN(dsn string) (cfg *gosnowflake.Config, err error) {
	defer func() {
		if recover() != nil {
			cfg, err = nil, errors.New("snowtether: the DSN cannot be parsed; it should look like "+dsnForm)
		}
	}()
	if strings.TrimSpace(dsn) == "" {
		return nil, errors.New("snowtether: the DSN is empty; it should look like " + dsnForm)
	}
	if dsn == "autoConfig" {
		return autoConfig()
	}
	if cfg, err = gosnowflake.ParseDSN(dsn); err != nil {
		return nil, explainDSN(dsn, err)
	}
	if cfg.Port < 1 || cfg.Port > 65535 {
		return nil, errors.New("snowtether: the port in the DSN is not a number from 1 to 65535")
	}
	return cfg, nil
}

const dsnForm = "user:password@account/database/schema?warehouse=wh&role=r, with special characters percent-encoded"

// explainDSN says what is wrong with a DSN in words of its own.
func explainDSN(dsn string, err error) error {
	if says, ok := dsnProblems[number(err)]; ok {
		return errors.New("snowtether: " + says)
	}
	// The error is about some parameter's value, and gosnowflake names the value
	// instead of the parameter. Trying each by itself finds the name.
	if _, params, ok := strings.Cut(dsn[strings.LastIndexByte(dsn, '/')+1:], "?"); ok {
		for param := range strings.SplitSeq(params, "&") {
			if _, err := gosnowflake.ParseDSN("u:p@a/d?" + param); err != nil {
				name, _, _ := strings.Cut(param, "=")
				if slices.Contains(knownParams, name) {
					return fmt.Errorf("snowtether: the parameter %s in the DSN has a value that is not valid", name)
				}
				return errors.New("snowtether: a parameter in the DSN has a value that is not valid; check its percent-encoding")
			}
		}
	}
	return errors.New("snowtether: the DSN cannot be parsed; check its percent-encoding; it should look like " + dsnForm)
}

var dsnProblems = map[int]string{
	gosnowflake.ErrCodeEmptyAccountCode:           "the DSN names no account; it should look like " + dsnForm,
	gosnowflake.ErrCodeEmptyUsernameCode:          "the DSN names no user; it should look like " + dsnForm,
	gosnowflake.ErrCodeEmptyPasswordCode:          "the DSN has no password, and its authenticator needs one; it should look like " + dsnForm,
	gosnowflake.ErrCodeEmptyToken:                 "the DSN has neither token nor tokenFilePath, and its authenticator needs one",
	gosnowflake.ErrCodeEmptyOAuthParameters:       "the DSN lacks oauthClientId or oauthClientSecret, which its authenticator needs",
	gosnowflake.ErrCodeFailedToParseHost:          "the host name in the DSN is not valid",
	gosnowflake.ErrCodeHostWithScheme:             "the host in the DSN starts with http:// or https://; give the name alone, and the scheme as the parameter protocol",
	gosnowflake.ErrCodeFailedToParsePort:          "the port in the DSN is not a number from 1 to 65535; special characters in user and password must be percent-encoded",
	gosnowflake.ErrCodeFailedToParseAuthenticator: "the parameter authenticator in the DSN is none that gosnowflake knows",
	gosnowflake.ErrCodePrivateKeyParseError:       "the parameter privateKey in the DSN is not a base64 URL-encoded PKCS#8 key",
}

// knownParams are names that an error may repeat: whatever else stands before a
// "=" in a mistyped DSN may be part of a secret.
var knownParams = []string{
	"singleAuthenticationPrompt", "enableSingleUseRefreshTokens", "passcodeInPassword", "clientTimeout", "jwtClientTimeout",
	"loginTimeout", "requestTimeout", "jwtTimeout", "externalBrowserTimeout", "cloudStorageTimeout", "maxRetryCount",
	"serverSessionKeepAlive", "authenticator", "disableOCSPChecks", "ocspFailOpen", "privateKey", "validateDefaultParameters",
	"clientRequestMfaToken", "clientStoreTemporaryCredential", "logQueryText", "logQueryParameters", "disableQueryContextCache",
	"includeRetryReason", "disableConsoleLogin", "disableSamlURLCheck", "certRevocationCheckMode", "crlInMemoryCacheDisabled",
	"crlOnDiskCacheDisabled", "crlDownloadMaxSize", "crlHttpClientTimeout", "connectionDiagnosticsEnabled", "proxyPort",
	"account", "warehouse", "database", "schema", "role", "region", "protocol", "application", "tracing",
}

// autoConfig lets gosnowflake read connections.toml. Its function for that is
// internal, and all that it exports is a Connector that holds the result in a
// private field; reading the field keeps the file's meaning,
// search path and permission checks gosnowflake's own. TestAutoConfig fails if a
// newer gosnowflake moves it.
func autoConfig() (*gosnowflake.Config, error) {
	inner, err := gosnowflake.SnowflakeDriver{}.OpenConnector("autoConfig")
	if err != nil {
		return nil, fmt.Errorf("snowtether: autoConfig: %w", err)
	}
	v := reflect.New(reflect.TypeOf(inner)).Elem()
	v.Set(reflect.ValueOf(inner))
	field := v.FieldByName("cfg")
	if !field.IsValid() || field.Type() != reflect.TypeFor[gosnowflake.Config]() {
		return nil, errors.New("snowtether: autoConfig: this version of gosnowflake keeps its Config elsewhere")
	}
	return cloneConfig((*gosnowflake.Config)(unsafe.Pointer(field.UnsafeAddr()))), nil
}

// takeTetherParams moves the tether… parameters from cfg.Params, where
// gosnowflake leaves what it does not know, into s. Left there they would be
// sent to Snowflake as session parameters.
func takeTetherParams(cfg *gosnowflake.Config, s *settings) error {
	for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
		if len(name) < len("tether") || !strings.EqualFold(name[:len("tether")], "tether") {
			continue
		}
		set, ok := dsnParams[name]
		if !ok {
			return fmt.Errorf("snowtether: unknown parameter %s; known are %s", shorten(name), strings.Join(slices.Sorted(maps.Keys(dsnParams)), ", "))
		}
		value := cfg.Params[name]
		if value == nil {
			return fmt.Errorf("snowtether: the parameter %s has no value", name)
		}
		if err := set(s, *value); err != nil {
			return fmt.Errorf("snowtether: the parameter %s %w", name, err)
		}
		delete(cfg.Params, name)
	}
	return nil
}

// shorten keeps a mistyped name readable without letting 64 KiB of it through.
func shorten(name string) string {
	const most = 32
	if len(name) <= most {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("%q…", name[:most])
}

// cloneConfig copies what a hook or gosnowflake could change.
func cloneConfig(cfg *gosnowflake.Config) *gosnowflake.Config {
	clone := *cfg
	clone.Params = make(map[string]*string, len(cfg.Params))
	for k, v := range cfg.Params {
		if v != nil {
			value := *v
			v = &value
		}
		clone.Params[k] = v
	}
	clone.WorkloadIdentityImpersonationPath = slices.Clone(cfg.WorkloadIdentityImpersonationPath)
	return &clone
}

// checkConfig finds what a login would fail with for want of a setting, so that
// it is an error of the constructor and not of the first statement.
func checkConfig(cfg *gosnowflake.Config, s *settings) error {
	probe := cloneConfig(cfg)
	if s.tokenSource != nil {
		probe.Token = "from the token source"
		probe.TokenFilePath = ""
	}
	if s.beforeConnect != nil {
		// The hook may fill these in at each login.
		probe.User = cmp.Or(probe.User, "from the hook")
		probe.Password = cmp.Or(probe.Password, "from the hook")
		if probe.TokenFilePath == "" {
			probe.Token = cmp.Or(probe.Token, "from the hook")
		}
	}
	if _, err := gosnowflake.DSN(probe); err != nil {
		return fmt.Errorf("snowtether: %w", err)
	}
	if err := probe.Validate(); err != nil {
		return fmt.Errorf("snowtether: %w", err)
	}
	return nil
}
