package snowtether

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/snowtether/snowtether/internal/fortest"
	_ "github.com/snowtether/snowtether/internal/twice" // before gosnowflake
)

// DriverName is the name under which the driver is registered with database/sql.
const DriverName = "snowtether"

func init() {
	sql.Register(DriverName, Driver{})
	fortest.WithClock = func(now func() time.Time) any { return Option(func(s *settings) { s.now = now }) }
	fortest.WithoutLoad = func() any { return Option(func(s *settings) { s.heedless = true }) }
}

// Driver is the database/sql driver. Programs use it through sql.Open,
// [NewConnector] or [WrapConnector].
type Driver struct {
	connector *Connector // of the pool that was asked for its driver, see ConnectorOf
}

var (
	_ driver.Driver        = Driver{}
	_ driver.DriverContext = Driver{}
)

// Open logs in and returns one connection, whose Close waits for its log-out, at
// most 10 s. database/sql calls OpenConnector instead.
func (d Driver) Open(dsn string) (driver.Conn, error) {
	c, err := d.open(dsn)
	if err != nil {
		return nil, err
	}
	return c.single()
}

// single logs in and returns one connection, with which the connector ends.
func (c *Connector) single() (driver.Conn, error) {
	s, err := c.login(context.Background())
	if err != nil {
		_ = c.Close() // nothing is open
		return nil, err
	}
	cn := newConn(c, s)
	cn.alone = true
	return cn, nil
}

// OpenConnector reads the DSN: gosnowflake's own format, or "autoConfig" for the
// connections.toml that Snowflake's tools share, with the tether… parameters in
// either. It opens no connection. Errors name what is wrong, and never repeat the
// DSN or a value from it.
func (d Driver) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := d.open(dsn)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (Driver) open(dsn string) (*Connector, error) {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	return newConnector(cfg, nil)
}
