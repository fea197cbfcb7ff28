// Package dsn reads what a program or a person wrote, a DSN, connections.toml or a Config's
// parameters, and says in one line what is wrong with it. No error repeats a value: in a
// mistyped DSN any piece may be the password.
package dsn

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"
)

// form is what a DSN looks like.
const form = "user:password@account/database/schema?warehouse=wh&role=r, with special characters percent-encoded"

// AutoConfig stands for connections.toml in place of a DSN.
const AutoConfig = "autoConfig"

// Parse reads a DSN as a gosnowflake Config. option says which of its
// parameters are the driver's own: they need a value, and only one.
func Parse(dsn string, option func(name string) bool) (*gosnowflake.Config, error) {
	cfg, params, err := Read(dsn, option, gosnowflake.ParseDSN)
	if err != nil {
		return nil, err
	}
	if _, given := params["disableOCSPChecks"]; given {
		delete(cfg.Params, "insecureMode") // v1 lets the newer name win
	}
	return cfg, nil
}

// Read is gosnowflake's parser made safe. It refuses what gosnowflake would
// read as something else, and neither panics nor repeats what it was given. It returns the
// DSN's parameters too, as they stand there.
func Read[T any](dsn string, option func(name string) bool, parse func(string) (T, error)) (read T, params map[string]string, err error) {
	var none T
	if strings.TrimSpace(dsn) == "" {
		return none, nil, errors.New("snowtether: the DSN is empty; it should look like " + form)
	}
	defer func() {
		if recover() != nil {
			read, params, err = none, nil, errors.New("snowtether: the DSN cannot be parsed; it should look like "+form)
		}
	}()
	if params, err = check(dsn, option); err != nil {
		return none, nil, err
	}
	if err := checkTypes(params); err != nil {
		return none, nil, err
	}
	if read, err = parse(dsn); err != nil {
		switch says := Problem(err); {
		case isComplete(err):
			return none, nil, errors.New("snowtether: " + says)
		case says != "":
			return none, nil, errors.New("snowtether: " + says + "; the DSN should look like " + form)
		}
		if _, wrong := gosnowflake.ParseDSN("u:p@a/d?certRevocationCheckMode=" + url.QueryEscape(params["certRevocationCheckMode"])); params["certRevocationCheckMode"] != "" && wrong != nil {
			return none, nil, errors.New("snowtether: the parameter certRevocationCheckMode must be DISABLED, ADVISORY or ENABLED")
		}
		return none, nil, errors.New("snowtether: the DSN cannot be parsed; check its percent-encoding; it should look like " + form)
	}
	return read, params, nil
}

// check looks at the DSN's structure, which gosnowflake reads from its end: an
// unescaped "/" or "@" in a parameter makes it take other pieces for the host and
// the password. It returns the parameters.
func check(dsn string, option func(name string) bool) (map[string]string, error) {
	escape := errors.New("snowtether: a special character in the DSN is not percent-encoded, in the password or in a parameter; it should look like " + form)
	at := strings.LastIndexByte(dsn, '@')
	userinfo, rest := "", dsn
	if at >= 0 {
		userinfo, rest = dsn[:at], dsn[at+1:]
	}
	if strings.Contains(userinfo, "://") && !strings.Contains(userinfo[:strings.Index(userinfo, "://")], ":") {
		return nil, errors.New("snowtether: the DSN starts with a scheme; it should look like " + form)
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
			return nil, errors.New("snowtether: the DSN has no @ and so no account; it should look like " + form)
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
			if option(name) {
				return nil, fmt.Errorf("snowtether: the parameter %s has no value", name)
			}
			continue
		}
		value, err := url.QueryUnescape(value)
		if err != nil {
			return nil, errors.New("snowtether: the value of a parameter in the DSN is not percent-encoded")
		}
		if _, twice := params[name]; twice && (kindOf(name) != "" || option(name)) && value != params[name] {
			return nil, fmt.Errorf("snowtether: the parameter %s is given twice, with different values", name)
		}
		params[name] = value
	}
	return params, nil
}

// ParseBool reads a Boolean parameter, in any case.
func ParseBool(v string) (bool, error) {
	b, err := strconv.ParseBool(strings.ToLower(v))
	if err != nil {
		return false, errors.New("must be true or false")
	}
	return b, nil
}

// Shorten keeps a mistyped name readable without letting 64 KiB of it through.
func Shorten(name string) string {
	const most = 32
	if len(name) <= most {
		return fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("%q…", name[:most])
}

// Clone copies what a hook or gosnowflake could change.
func Clone(cfg *gosnowflake.Config) *gosnowflake.Config {
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

// TakeV1Params moves what only gosnowflake v1 knows to where v2 has it. v2 would make session
// parameters of both. In connections.toml v1 reads their names without case and "_".
func TakeV1Params(cfg *gosnowflake.Config) error {
	const insecure, silent, telemetry = "insecuremode", "disabletelemetry", "CLIENT_TELEMETRY_ENABLED"
	for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
		normal, value := strings.ReplaceAll(strings.ToLower(name), "_", ""), cfg.Params[name]
		if normal != insecure && normal != silent || value == nil {
			continue
		}
		on, err := ParseBool(*value)
		if err != nil {
			return fmt.Errorf("snowtether: the parameter %s %w", Shorten(name), err)
		}
		delete(cfg.Params, name)
		switch {
		case normal == insecure:
			cfg.DisableOCSPChecks = cfg.DisableOCSPChecks || on
		case on:
			maps.DeleteFunc(cfg.Params, func(n string, _ *string) bool { return strings.EqualFold(n, telemetry) })
			no := "false"
			cfg.Params[telemetry] = &no // what v2's change log names in its place
		}
	}
	return nil
}
