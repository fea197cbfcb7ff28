package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/bridge"
	"github.com/snowtether/snowtether/snowtest"
)

// This file opens pools by a DSN that an inner driver reads, here gosnowflake v2 itself;
// takeover/gosnowflakev1 has the same with v1.

func parseInner(dsn string) (driver.Connector, map[string]*string, error) {
	inner, err := gosnowflake.SnowflakeDriver{}.OpenConnector(dsn)
	if err != nil {
		return nil, nil, err
	}
	cfg, ok := bridge.Config[gosnowflake.Config](inner)
	if !ok {
		return nil, nil, bridge.ErrElsewhere
	}
	return inner, cfg.Params, nil
}

// The inner driver reads the DSN, and what is snowtether's in it is obeyed and not sent on.
func TestAnInnerDriverReadsTheDSN(t *testing.T) {
	srv := snowtest.New(t)
	c, err := bridge.Open(srv.DSN()+"&tetherPoolName=inner", parseInner)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	defer db.Close()
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv.AbortSessions()
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("the session was not replaced: %v", err)
	}
	if name := c.(*snowtether.Connector).Snapshot().Pool; name != "inner" {
		t.Errorf("the pool's name is %q", name)
	}

	one, err := bridge.Open(srv.DSN(), parseInner)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := bridge.Connect(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := one.Connect(context.Background()); err == nil {
		t.Error("the connector of a single connection outlives it")
	}
}

func TestAnInnerDriversDSNIsRefusedInOneLine(t *testing.T) {
	t.Setenv("SNOWFLAKE_HOME", t.TempDir())
	elsewhere := func(string) (driver.Connector, map[string]*string, error) { return nil, nil, bridge.ErrElsewhere }
	panics := func(string) (driver.Connector, map[string]*string, error) { panic("hush") }
	const good = "hush:hush@acct/db?"
	for _, tt := range []struct {
		dsn   string
		parse bridge.Parse
		want  string
	}{
		{"", parseInner, "is empty"},
		{"autoConfig", parseInner, "connections.toml cannot be read"},
		{"autoConfig", elsewhere, "keeps its Config elsewhere"},
		{"autoConfig", panics, "is not a table"},
		{good, panics, "cannot be parsed"},
		{good + "tetherX=1", parseInner, "unknown parameter"},
		{good + "tetherMaxLogins=0", parseInner, "at least 1"},
		{good + "tetherIdlePing=4m", parseInner, "needs gosnowflake v2"},
		{good + "client_session_keep_alive=hush", parseInner, "true or false"},
	} {
		_, err := bridge.Open(tt.dsn, tt.parse)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q gives %v, want %q", tt.dsn, err, tt.want)
		}
	}
}
