package gosnowflakev1

import (
	"context"
	"database/sql/driver"
	"io"
	"time"

	v1 "github.com/snowflakedb/gosnowflake"

	"github.com/snowtether/snowtether"
)

// This file gives snowtether's connections the methods that v1's have: snowtether's own
// are v2's, and code in sql.Conn.Raw asserts v1's types.

// connector is snowtether's, whose connections look like v1's. Its Driver is snowtether's,
// so that ConnectorOf finds it.
type connector struct{ *snowtether.Connector }

var (
	_ driver.Connector = connector{}
	_ io.Closer        = connector{}
)

// Connect logs in and returns the connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	opened, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return asV1(opened), nil
}

func asV1(opened driver.Conn) driver.Conn { return conn{opened.(tethered)} }

// tethered is what snowtether's connection has, but for what v2 and v1 have both, with types
// of their own.
type tethered interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.NamedValueChecker
	driver.SessionResetter
	driver.Validator
	//lint:ignore SA1019 v1's connection has it
	driver.Execer
	//lint:ignore SA1019 v1's connection has it
	driver.Queryer
	Raw() driver.Conn
}

// conn keeps all interfaces of snowtether's connection, and has v1's SnowflakeConnection and
// QueryArrowStream besides.
type conn struct{ tethered }

var (
	_ tethered               = conn{}
	_ v1.SnowflakeConnection = conn{}
	_ v1Conn                 = conn{}
)

// v1Conn is what v1's own connection has for code in sql.Conn.Raw.
type v1Conn interface {
	v1.SnowflakeConnection
	QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (v1.ArrowStreamLoader, error)
}

// inner is v1's connection as it is at the moment.
func (c conn) inner() v1Conn { return c.Raw().(v1Conn) }

// GetQueryStatus is v1's.
func (c conn) GetQueryStatus(ctx context.Context, queryID string) (*v1.SnowflakeQueryStatus, error) {
	return c.inner().GetQueryStatus(ctx, queryID)
}

// AddTelemetryData is v1's.
func (c conn) AddTelemetryData(ctx context.Context, at time.Time, data map[string]string) error {
	return c.inner().AddTelemetryData(ctx, at, data)
}

// QueryArrowStream is v1's, and its outcome too: a lost session is an error of it.
func (c conn) QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (v1.ArrowStreamLoader, error) {
	return c.inner().QueryArrowStream(ctx, query, bindings...)
}
