// Package shim is what one writes first against sessions that end: the codes of a dead session
// become driver.ErrBadConn, so that database/sql takes another connection and sends the
// statement again. It cannot know whether the statement has run. Nobody should use it; the
// tests and examples/chaos show what becomes of those who do.
package shim

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/snowflakedb/gosnowflake/v2"
)

// A Connector is gosnowflake's in the shim.
type Connector struct{ driver.Connector }

// Connect logs in and returns the connection in the shim.
func (s Connector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return conn{c.(inner)}, nil
}

// inner is what database/sql uses of a gosnowflake connection.
type inner interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
}

type conn struct{ inner }

func (c conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := c.inner.ExecContext(ctx, query, args)
	return res, badConn(err)
}

func (c conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.inner.QueryContext(ctx, query, args)
	return rows, badConn(err)
}

func (c conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.inner.BeginTx(ctx, opts)
	return tx, badConn(err)
}

func badConn(err error) error {
	var se *gosnowflake.SnowflakeError
	if errors.As(err, &se) && (se.Number == 390114 || se.Number == 390111 || se.Number == 390104) {
		return driver.ErrBadConn
	}
	return err
}
