// Package gosnowflakev1 is for programs with code that uses gosnowflake v1: it makes
// sql.Open("snowflake", dsn), wherever in the program it stands, open snowtether with v1
// underneath. Import it in package main, for its effect alone:
//
//	import _ "github.com/snowtether/snowtether/takeover/gosnowflakev1"
//
// Such code has pools opened by name and then uses v1's own types with them: its Array and
// WithMultiStatement, the connection in sql.Conn.Raw, *SnowflakeError. They work as before.
// If all code is on v2, or on neither, take github.com/snowtether/snowtether/takeover
// instead. The two cannot be in one program: it panics when it starts.
//
// The DSN is read by v1, after the tether… parameters have been taken out of it. They mean
// what they mean for "snowtether", but for tetherIdlePing, which is refused: idle sessions
// are v1's. Heartbeats are on by default. v1's QueryArrowStream goes to v1 as it is: a lost
// session is its error there. [snowtether.ConnectorOf] finds the connector of such a
// pool.
//
// gosnowflake would register the name itself when the program starts. It is told not to, in
// the environment of the process, before it is initialised, and the environment is restored
// right after: programs that this one starts see none of it. If the name is registered all
// the same, or v1 is older than v1.19.1, the oldest that was tried, the program panics when
// it starts, with what to do.
package gosnowflakev1

import (
	"database/sql"
	"database/sql/driver"
	"slices"

	v1 "github.com/snowflakedb/gosnowflake"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/bridge"
	"github.com/snowtether/snowtether/takeover/internal/skip"
)

func init() {
	skip.Claim(skip.V1, slices.Contains(sql.Drivers(), "snowflake"))
	if says := bridge.TooOld("v" + v1.SnowflakeGoDriverVersion); says != "" {
		panic(skip.V1 + ": " + says)
	}
	sql.Register("snowflake", around{})
	skip.Restore()
}

// around is the driver "snowflake".
type around struct{}

var (
	_ driver.Driver        = around{}
	_ driver.DriverContext = around{}
)

// Open logs in and returns one connection. database/sql calls OpenConnector instead.
func (d around) Open(dsn string) (driver.Conn, error) {
	c, err := bridge.Open(dsn, parse)
	if err != nil {
		return nil, err
	}
	opened, err := bridge.Connect(c)
	if err != nil {
		return nil, err
	}
	return asV1(opened), nil
}

// OpenConnector reads the DSN. It opens no connection.
func (around) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := bridge.Open(dsn, parse)
	if err != nil {
		return nil, err
	}
	return connector{c.(*snowtether.Connector)}, nil
}

// parse has v1 read the DSN, or connections.toml.
func parse(dsn string) (driver.Connector, map[string]*string, error) {
	inner, err := v1.SnowflakeDriver{}.OpenConnector(dsn)
	if err != nil {
		return nil, nil, err
	}
	cfg, ok := bridge.Config[v1.Config](inner)
	if !ok {
		return nil, nil, bridge.ErrElsewhere
	}
	clone := *cfg
	if clone.Params == nil {
		clone.Params = make(map[string]*string)
	}
	return v1.NewConnector(v1.SnowflakeDriver{}, clone), clone.Params, nil
}
