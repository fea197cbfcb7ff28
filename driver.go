package snowtether

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/internal/bridge"
	"github.com/snowtether/snowtether/internal/dsn"
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

func (Driver) open(text string) (*Connector, error) {
	read := func() (*gosnowflake.Config, error) { return dsn.Parse(text, isOption) }
	if text == dsn.AutoConfig {
		read = autoConfig
	}
	cfg, err := read()
	if err != nil {
		return nil, err
	}
	return newConnector(cfg, nil)
}

// autoConfig lets gosnowflake read connections.toml. Its function for that is
// internal, and all that it exports is a Connector that holds the result in a
// private field; reading the field keeps the file's meaning, search path and
// permission checks gosnowflake's own. TestAutoConfig fails if a newer gosnowflake
// moves it.
func autoConfig() (*gosnowflake.Config, error) {
	return dsn.ReadTOML(func(text string) (*gosnowflake.Config, error) {
		inner, err := gosnowflake.SnowflakeDriver{}.OpenConnector(text)
		if err != nil {
			return nil, err
		}
		cfg, ok := bridge.Config[gosnowflake.Config](inner)
		if !ok {
			return nil, bridge.ErrElsewhere
		}
		return dsn.Clone(cfg), nil
	}, bridge.ErrElsewhere)
}

// Warm opens n connections of db side by side and returns them to the pool, so
// that the first users find them there. Connections that are already open count. If
// ctx ends or a login fails first, the error says how many connections were opened;
// those stay in the pool.
//
// Warm returns an error for an n below 1, and for one above the pool's MaxOpenConns,
// because it would wait for ever. The pool keeps no more of the connections than its MaxIdleConns,
// which is 2 by default.
func Warm(ctx context.Context, db *sql.DB, n int) error {
	switch limit := 0; {
	case db == nil:
		return errors.New("snowtether: Warm: db is nil")
	case n < 1:
		return fmt.Errorf("snowtether: Warm: %d connections; must be at least 1", n)
	default:
		if limit = db.Stats().MaxOpenConnections; limit > 0 && n > limit {
			return fmt.Errorf("snowtether: Warm: %d connections are more than the pool's MaxOpenConns of %d", n, limit)
		}
	}
	conns := make([]*sql.Conn, n)
	var g errgroup.Group
	for i := range conns {
		g.Go(func() (err error) {
			conns[i], err = db.Conn(ctx)
			return err
		})
	}
	err := g.Wait()
	// Returned one by one only now: before, the same one would be handed out again.
	got := 0
	for _, conn := range conns {
		if conn != nil {
			got++
			err = errors.Join(err, conn.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("snowtether: Warm: %d of %d connections: %w", got, n, err)
	}
	return nil
}

// The names of before 0.1.0, which goes without them: docs/releasing.md.

// ClassNone is the class of no error.
//
// Deprecated: compare with "". It will be removed in v0.1.0.
const ClassNone Class = ""

// Events under their earlier names. Their values are those of the new names.
const (
	// Deprecated: use [EventOutageEnded]. It will be removed in v0.1.0.
	EventOutageOver = EventOutageEnded
	// Deprecated: use [EventPacingEnded]. It will be removed in v0.1.0.
	EventPacingOver = EventPacingEnded
	// Deprecated: use [EventSuspensionEnded]. It will be removed in v0.1.0.
	EventLoginAccepted = EventSuspensionEnded
)

// WithAttempts is WithTxAttempts.
//
// Deprecated: use [WithTxAttempts]. It will be removed in v0.1.0.
func WithAttempts(n int) TxOption { return WithTxAttempts(n) }

// WithRepeatable is WithTxRetryIf.
//
// Deprecated: use [WithTxRetryIf]. It will be removed in v0.1.0.
func WithRepeatable(also func(error) bool) TxOption { return WithTxRetryIf(also) }

// renamedParams are the earlier names of DSN parameters, with those that they have now.
var renamedParams = map[string]string{
	"tetherBackoffInitial": "tetherBackOffInitial",
	"tetherBackoffMax":     "tetherBackOffMax",
}

// tellRenamed writes a line for each parameter that was given under its earlier name.
func (c *Connector) tellRenamed() {
	for _, earlier := range c.settings.renamed {
		c.tell(slog.LevelWarn, paramRenamed, slog.String("parameter", earlier), slog.String("use", currentParam(earlier)))
	}
}

// currentParam is the name that a DSN parameter has now.
func currentParam(name string) string {
	if current, renamed := renamedParams[name]; renamed {
		return current
	}
	return name
}
