package main

import (
	"database/sql"
	"log/slog"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/shim"
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
		return sql.OpenDB(shim.Connector{Connector: gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg)}), nil
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
