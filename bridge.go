package snowtether

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/bridge"
)

// This file is for programs that were written for gosnowflake v1: what only v1 knows in a
// DSN, and pools with v1 underneath, for takeover/gosnowflakev1.

func init() {
	bridge.Open = openAround
	bridge.Connect = func(c driver.Connector) (driver.Conn, error) { return c.(*Connector).single() }
}

// openAround is Driver.OpenConnector with another parser.
func openAround(dsn string, parse bridge.Parse) (driver.Connector, error) {
	var inner driver.Connector
	read := func(dsn string) (params map[string]*string, err error) {
		inner, params, err = parse(dsn)
		return params, err
	}
	var params map[string]*string
	var err error
	if dsn == autoConfigDSN {
		params, err = readTOML(read)
	} else {
		params, _, err = readDSN(dsn, read)
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

// takeV1Params moves what only gosnowflake v1 knows to where v2 has it. v2 would make session
// parameters of both. In connections.toml v1 reads their names without case and "_".
func takeV1Params(cfg *gosnowflake.Config) error {
	const insecure, silent, telemetry = "insecuremode", "disabletelemetry", "CLIENT_TELEMETRY_ENABLED"
	for _, name := range slices.Sorted(maps.Keys(cfg.Params)) {
		normal, value := strings.ReplaceAll(strings.ToLower(name), "_", ""), cfg.Params[name]
		if normal != insecure && normal != silent || value == nil {
			continue
		}
		on, err := parseBool(*value)
		if err != nil {
			return fmt.Errorf("snowtether: the parameter %s %w", shorten(name), err)
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
