// Package peers has what a user would put around gosnowflake, snowtether among it, to say what a
// statement costs through each: in time and allocations (BenchmarkSideBySide, beside it) and in
// instructions (package instructions).
package peers

import (
	"context"
	"database/sql/driver"
	"sync/atomic"

	"github.com/XSAM/otelsql"
	"github.com/ngrok/sqlmw"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/shim"
)

// A Peer is one of them.
type Peer struct {
	Name string
	Open func(dsn string) (driver.Connector, error)
}

// All of them; the first is the yardstick. Each renews its tokens by a heartbeat, as snowtether
// does, because the server repeats that in each reply.
var All = []Peer{
	{"gosnowflake", of(gosnowflake.SnowflakeDriver{})},
	{"snowtether", of(snowtether.Driver{})},
	{"otelsql", of(otelsql.WrapDriver(gosnowflake.SnowflakeDriver{}))},
	{"sqlmw", of(sqlmw.Driver(gosnowflake.SnowflakeDriver{}, &Counting{}))},
	{"shim", func(dsn string) (driver.Connector, error) {
		plain, err := of(gosnowflake.SnowflakeDriver{})(dsn)
		return shim.Connector{Connector: plain}, err
	}},
}

func of(d driver.Driver) func(dsn string) (driver.Connector, error) {
	return func(dsn string) (driver.Connector, error) {
		return d.(driver.DriverContext).OpenConnector(dsn + "&client_session_keep_alive=true")
	}
}

// Counting is an interceptor for sqlmw that counts the statements.
type Counting struct {
	sqlmw.NullInterceptor
	seen atomic.Int64
}

// ConnExecContext counts a statement and passes it on.
func (c *Counting) ConnExecContext(ctx context.Context, conn driver.ExecerContext, query string, args []driver.NamedValue) (driver.Result, error) {
	c.seen.Add(1)
	return conn.ExecContext(ctx, query, args)
}
