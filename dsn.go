package snowtether

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/bridge"
)

// This file reads what a program or a person wrote, a DSN, connections.toml or a
// Config, and says in one line what is wrong with it. No error repeats a value:
// in a mistyped DSN any piece may be the password.

const dsnForm = "user:password@account/database/schema?warehouse=wh&role=r, with special characters percent-encoded"

// autoConfigDSN stands for connections.toml in place of a DSN.
const autoConfigDSN = "autoConfig"

// parseDSN reads a DSN, or connections.toml, as a gosnowflake Config.
func parseDSN(dsn string) (*gosnowflake.Config, error) {
	if dsn == autoConfigDSN {
		return autoConfig()
	}
	cfg, params, err := readDSN(dsn, gosnowflake.ParseDSN)
	if err != nil {
		return nil, err
	}
	if _, given := params["disableOCSPChecks"]; given {
		delete(cfg.Params, "insecureMode") // v1 lets the newer name win
	}
	return cfg, nil
}

// readDSN is gosnowflake's parser made safe. It refuses what gosnowflake would
// read as something else, and neither panics nor repeats what it was given. It returns the
// DSN's parameters too, as they stand there.
func readDSN[T any](dsn string, parse func(string) (T, error)) (read T, params map[string]string, err error) {
	var none T
	if strings.TrimSpace(dsn) == "" {
		return none, nil, errors.New("snowtether: the DSN is empty; it should look like " + dsnForm)
	}
	defer func() {
		if recover() != nil {
			read, params, err = none, nil, errors.New("snowtether: the DSN cannot be parsed; it should look like "+dsnForm)
		}
	}()
	if params, err = checkDSN(dsn); err != nil {
		return none, nil, err
	}
	if err := checkTypes(params); err != nil {
		return none, nil, err
	}
	if read, err = parse(dsn); err != nil {
		if says := problem(err); says != "" {
			return none, nil, errors.New("snowtether: " + says + "; the DSN should look like " + dsnForm)
		}
		if _, wrong := gosnowflake.ParseDSN("u:p@a/d?certRevocationCheckMode=" + url.QueryEscape(params["certRevocationCheckMode"])); params["certRevocationCheckMode"] != "" && wrong != nil {
			return none, nil, errors.New("snowtether: the parameter certRevocationCheckMode must be DISABLED, ADVISORY or ENABLED")
		}
		return none, nil, errors.New("snowtether: the DSN cannot be parsed; check its percent-encoding; it should look like " + dsnForm)
	}
	return read, params, nil
}

// checkDSN looks at the DSN's structure, which gosnowflake reads from its end: an
// unescaped "/" or "@" in a parameter makes it take other pieces for the host and
// the password. It returns the parameters.
func checkDSN(dsn string) (map[string]string, error) {
	escape := errors.New("snowtether: a special character in the DSN is not percent-encoded, in the password or in a parameter; it should look like " + dsnForm)
	at := strings.LastIndexByte(dsn, '@')
	userinfo, rest := "", dsn
	if at >= 0 {
		userinfo, rest = dsn[:at], dsn[at+1:]
	}
	if strings.Contains(userinfo, "://") && !strings.Contains(userinfo[:strings.Index(userinfo, "://")], ":") {
		return nil, errors.New("snowtether: the DSN starts with a scheme; it should look like " + dsnForm)
	}
	// An "@" within the parameters, or a password that looks as if it were.
	if q := strings.IndexByte(userinfo, '?'); q >= 0 && strings.ContainsAny(userinfo[:q], "@") && strings.Contains(userinfo[q:], "=") {
		return nil, escape
	}
	if q := strings.IndexByte(userinfo, '?'); q >= 0 && strings.IndexByte(userinfo[q:], '/') >= 0 && strings.Contains(userinfo[q:], "=") {
		return nil, escape
	}
	address, query, _ := strings.Cut(rest, "?")
	if strings.ContainsAny(query, "/@") {
		return nil, escape
	}
	authority, _, _ := strings.Cut(address, "/")
	if _, port, ok := strings.Cut(authority, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil && at < 0 {
			return nil, errors.New("snowtether: the DSN has no @ and so no account; it should look like " + dsnForm)
		}
		if err != nil || n == 0 {
			return nil, errors.New("snowtether: the port in the DSN is not a number from 1 to 65535; in user and password special characters must be percent-encoded")
		}
	}
	for _, part := range []string{userinfo, address} {
		if _, err := url.QueryUnescape(part); err != nil {
			return nil, escape
		}
	}
	params := make(map[string]string)
	for param := range strings.SplitSeq(query, "&") {
		name, value, ok := strings.Cut(param, "=")
		if !ok {
			if _, tether := dsnParams[currentParam(name)]; tether {
				return nil, fmt.Errorf("snowtether: the parameter %s has no value", name)
			}
			continue
		}
		value, err := url.QueryUnescape(value)
		if err != nil {
			return nil, errors.New("snowtether: the value of a parameter in the DSN is not percent-encoded")
		}
		if _, twice := params[name]; twice && (kindOf(name) != "" || dsnParams[currentParam(name)] != nil) && value != params[name] {
			return nil, fmt.Errorf("snowtether: the parameter %s is given twice, with different values", name)
		}
		params[name] = value
	}
	return params, nil
}

// What the values of gosnowflake's typed parameters have to be. It overwrites the
// error of some with the next parameter, and its other errors repeat the value
// and not the name.
const (
	isBool   = "must be true or false"
	isNumber = "must be a whole number"
	isTime   = "must be a whole number of seconds"
)

var paramKinds = map[string][]string{
	isBool: {
		"singleAuthenticationPrompt", "enableSingleUseRefreshTokens", "passcodeInPassword", "serverSessionKeepAlive", "disableOCSPChecks", "ocspFailOpen",
		"validateDefaultParameters", "clientRequestMfaToken", "clientStoreTemporaryCredential", "logQueryText", "logQueryParameters",
		"disableQueryContextCache", "includeRetryReason", "disableConsoleLogin", "disableSamlURLCheck", "crlAllowCertificatesWithoutCrlURL",
		"crlInMemoryCacheDisabled", "crlOnDiskCacheDisabled", "connectionDiagnosticsEnabled", "insecureMode", "disableTelemetry",
	},
	isNumber: {"maxRetryCount", "crlDownloadMaxSize", "proxyPort"},
	isTime: {
		"clientTimeout", "jwtClientTimeout", "loginTimeout", "requestTimeout", "jwtTimeout", "externalBrowserTimeout", "cloudStorageTimeout",
		"crlHttpClientTimeout",
	},
}

func kindOf(name string) string {
	for kind, names := range paramKinds {
		if slices.Contains(names, name) {
			return kind
		}
	}
	return ""
}

func checkTypes(params map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		var err error
		kind := kindOf(name)
		switch kind {
		case isBool:
			_, err = strconv.ParseBool(params[name])
		case isNumber, isTime:
			_, err = strconv.ParseInt(params[name], 10, 32)
		}
		if err != nil {
			return fmt.Errorf("snowtether: the parameter %s %s", name, kind)
		}
	}
	return nil
}

// problem says what one of gosnowflake's numbered errors means, in words of our
// own, or "".
func problem(err error) string { return problems[number(err)] }

var problems = map[int]string{
	gosnowflake.ErrCodeEmptyAccountCode:           "the account is missing",
	gosnowflake.ErrCodeEmptyUsernameCode:          "the user is missing or empty",
	gosnowflake.ErrCodeEmptyPasswordCode:          "the password is missing or empty, and the authenticator needs one",
	gosnowflake.ErrCodeEmptyToken:                 "token and tokenFilePath are missing, and the authenticator needs one of them",
	gosnowflake.ErrCodeEmptyOAuthParameters:       "oauthClientId or oauthClientSecret is missing, and the authenticator needs both",
	gosnowflake.ErrCodeFailedToParseHost:          "the host name is not valid",
	gosnowflake.ErrCodeHostWithScheme:             "the host starts with http:// or https://; give the name alone, and the scheme as protocol",
	gosnowflake.ErrCodeFailedToParsePort:          "the port is not a number from 1 to 65535",
	gosnowflake.ErrCodeFailedToParseAuthenticator: "the authenticator is none that gosnowflake knows",
	gosnowflake.ErrCodePrivateKeyParseError:       "the privateKey is not a base64 URL-encoded PKCS#8 key",
	gosnowflake.ErrCodeRegionOverlap:              "the region is given twice, by itself and within the account",
	codeMissingTLSConfig:                          "the tlsConfigName names no TLS configuration that was registered",
}

// gosnowflake exports every code but this one.
const codeMissingTLSConfig = 260019

// autoConfig lets gosnowflake read connections.toml. Its function for that is
// internal, and all that it exports is a Connector that holds the result in a
// private field; reading the field keeps the file's meaning, search path and
// permission checks gosnowflake's own. TestAutoConfig fails if a newer gosnowflake
// moves it.
func autoConfig() (*gosnowflake.Config, error) {
	return readTOML(func(dsn string) (*gosnowflake.Config, error) {
		inner, err := gosnowflake.SnowflakeDriver{}.OpenConnector(dsn)
		if err != nil {
			return nil, err
		}
		cfg, ok := bridge.Config[gosnowflake.Config](inner)
		if !ok {
			return nil, bridge.ErrElsewhere
		}
		return cloneConfig(cfg), nil
	})
}

// readTOML has gosnowflake read connections.toml, and explains what is wrong with it.
func readTOML[T any](parse func(string) (T, error)) (read T, err error) {
	name := os.Getenv("SNOWFLAKE_DEFAULT_CONNECTION_NAME")
	if name == "" {
		name = "default"
	}
	var none T
	defer func() {
		if recover() != nil {
			read, err = none, fmt.Errorf("snowtether: autoConfig: the connection %s in connections.toml is not a table", shorten(name))
		}
	}()
	switch read, err = parse(autoConfigDSN); {
	case errors.Is(err, bridge.ErrElsewhere):
		return none, fmt.Errorf("snowtether: autoConfig: %w", err)
	case err != nil:
		return none, fmt.Errorf("snowtether: autoConfig: %s", explainTOML(name, err))
	}
	return read, nil
}

// lastKey finds the name and not the value in an error of the TOML parser.
var lastKey = regexp.MustCompile(`last key "([\w.-]+)"`)

func explainTOML(name string, err error) string {
	if says := problem(err); says != "" {
		return says + " (connections.toml, connection " + shorten(name) + ")"
	}
	se, numbered := as[*gosnowflake.SnowflakeError](err)
	missing, noFile := as[*fs.PathError](err)
	switch {
	case numbered && se.Number == gosnowflake.ErrCodeFailedToFindDSNInToml:
		return "connections.toml has no connection " + shorten(name)
	case numbered && se.Number == gosnowflake.ErrCodeTomlFileParsingFailed && len(se.MessageArgs) > 0:
		return fmt.Sprintf("the value of %s in connections.toml is not valid; numbers and booleans stand in quotes there", shorten(fmt.Sprint(se.MessageArgs[0])))
	case numbered && se.Number == gosnowflake.ErrCodeInvalidFilePermission:
		return "connections.toml can be read by others; set its permissions to 0600"
	case noFile:
		return "connections.toml cannot be read: " + missing.Err.Error()
	}
	if m := lastKey.FindStringSubmatch(err.Error()); m != nil {
		return "connections.toml cannot be parsed at or after " + shorten(m[1]) + "; values stand in quotes"
	}
	return "connections.toml cannot be parsed; values stand in quotes"
}

func parseBool(v string) (bool, error) {
	b, err := strconv.ParseBool(strings.ToLower(v))
	if err != nil {
		return false, errors.New("must be true or false")
	}
	return b, nil
}

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
			return fmt.Errorf("snowtether: unknown parameter %s; known are %s", shorten(name), strings.Join(slices.Sorted(maps.Keys(dsnParams)), ", "))
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
	if cfg.OktaURL != nil {
		okta := *cfg.OktaURL
		clone.OktaURL = &okta
	}
	clone.WorkloadIdentityImpersonationPath = slices.Clone(cfg.WorkloadIdentityImpersonationPath)
	return &clone
}

// checkConfig finds what a login would fail with for want of a setting, so that
// it is an error of the constructor and not of the first statement.
func checkConfig(cfg *gosnowflake.Config, s *settings) error {
	for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
		if cfg.Params[name] == nil {
			return fmt.Errorf("snowtether: the parameter %s has no value", shorten(name))
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
	probe := cloneConfig(cfg)
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
	switch says := problem(err); {
	case err == nil:
		return nil
	case says != "":
		return errors.New("snowtether: " + says)
	}
	return fmt.Errorf("snowtether: %w", err)
}
