package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
)

// This file has the three drivers. They get the same Config, the same pool and
// the same program.

// A through is a driver to run the workload through.
type through struct {
	name, title string
	open        func(*gosnowflake.Config) (*sql.DB, error)
}

var drivers = []through{
	{"gosnowflake", "plain gosnowflake", func(cfg *gosnowflake.Config) (*sql.DB, error) {
		return sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg)), nil
	}},
	{"the shim", "gosnowflake in a ten-line shim", func(cfg *gosnowflake.Config) (*sql.DB, error) {
		return sql.OpenDB(shim{gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg)}), nil
	}},
	{"snowtether", "snowtether", func(cfg *gosnowflake.Config) (*sql.DB, error) {
		// Its line for each reconnect would bury the counters.
		c, err := snowtether.NewConnector(cfg, snowtether.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			return nil, err
		}
		return sql.OpenDB(c), nil
	}},
}

// A shim is what one writes first: the codes of a dead session become
// driver.ErrBadConn, so that database/sql takes another connection and sends the
// statement again. It cannot know whether the statement has run.
type shim struct{ driver.Connector }

func (s shim) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return shimConn{c.(gosnowflakeConn)}, nil
}

// gosnowflakeConn is what database/sql uses of a gosnowflake connection here.
type gosnowflakeConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.NamedValueChecker
}

type shimConn struct{ gosnowflakeConn }

func (c shimConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	res, err := c.gosnowflakeConn.ExecContext(ctx, query, args)
	return res, badConn(err)
}

func (c shimConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.gosnowflakeConn.BeginTx(ctx, opts)
	return tx, badConn(err)
}

func badConn(err error) error {
	var se *gosnowflake.SnowflakeError
	if errors.As(err, &se) && (se.Number == 390114 || se.Number == 390111 || se.Number == 390104) {
		return driver.ErrBadConn
	}
	return err
}
