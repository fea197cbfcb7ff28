package gosnowflakev1_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"testing"

	v1 "github.com/snowflakedb/gosnowflake"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/takeover/gosnowflakev1"
)

// This file is what code that was written for gosnowflake v1 relies on, by the name
// "snowflake", with its sessions lost before.

func open(t *testing.T, srv *snowtest.Server, more string) *sql.DB {
	t.Helper()
	db, err := sql.Open("snowflake", srv.DSN()+"&disableTelemetry=true"+more)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// uses are the things of v1's own that code does with a pool.
var uses = map[string]func(t *testing.T, db *sql.DB){
	"Array binds": func(t *testing.T, db *sql.DB) {
		ids, names := []int{1, 2, 3}, []string{"a", "b", "c"}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (?, ?)", v1.Array(&ids), v1.Array(&names)); err != nil {
			t.Error(err)
		}
	},
	"WithMultiStatement": func(t *testing.T, db *sql.DB) {
		ctx, err := v1.WithMultiStatement(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := db.QueryContext(ctx, "SELECT 1; SELECT 2")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		n := 1
		for rows.NextResultSet() {
			n++
		}
		if n != 2 || rows.Err() != nil {
			t.Errorf("%d results, %v", n, rows.Err())
		}
	},
	"WithQueryIDChan": func(t *testing.T, db *sql.DB) {
		ids := make(chan string, 1)
		if _, err := db.ExecContext(v1.WithQueryIDChan(t.Context(), ids), "INSERT INTO t VALUES (4)"); err != nil {
			t.Fatal(err)
		}
		select {
		case id := <-ids:
			if id == "" {
				t.Error("the ID is empty")
			}
		default:
			t.Error("no ID came")
		}
	},
	"Raw": func(t *testing.T, db *sql.DB) {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		err = c.Raw(func(dc any) error {
			rows, err := dc.(driver.QueryerContext).QueryContext(t.Context(), "SELECT 1", nil)
			if err != nil {
				return err
			}
			defer rows.Close()
			id := rows.(v1.SnowflakeRows).GetQueryID()
			if _, err := dc.(v1.SnowflakeConnection).GetQueryStatus(t.Context(), id); err != nil {
				return err
			}
			batches, err := dc.(interface {
				QueryArrowStream(context.Context, string, ...driver.NamedValue) (v1.ArrowStreamLoader, error)
			}).QueryArrowStream(t.Context(), "SELECT 1")
			if err != nil {
				return err
			}
			if batches.TotalRows() != 1 {
				t.Errorf("%d rows", batches.TotalRows())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	},
	"SnowflakeError": func(t *testing.T, db *sql.DB) {
		_, err := db.ExecContext(t.Context(), "SELEC 1")
		var se *v1.SnowflakeError
		if !errors.As(err, &se) || se.Number != 1003 {
			t.Errorf("not v1's error: %v", err)
		}
		if err == nil || errors.Is(err, snowtether.ErrInDoubt) {
			t.Errorf("Snowflake's answer is in doubt: %v", err)
		}
	},
}

func TestWhatWorksWithV1WorksAfterALostSession(t *testing.T) {
	for name, use := range uses {
		t.Run(name, func(t *testing.T) {
			for _, before := range []func(*snowtest.Server){
				func(*snowtest.Server) {},
				func(srv *snowtest.Server) { srv.ExpireSessionTokens() },
				func(srv *snowtest.Server) { srv.ExpireMasterTokens() },
				func(srv *snowtest.Server) { srv.AbortSessions() },
			} {
				srv := snowtest.New(t)
				srv.Handle(`^SELEC `, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
					return nil, &snowtest.Error{Code: "001003", SQLState: "42000", Message: "syntax error"}
				})
				db := open(t, srv, "")
				before(srv)
				use(t, db)
				_ = db.Close()
			}
		})
	}
}

// seen notes the parameters with which sessions are opened.
type seen struct {
	*snowtest.Script
	mu     sync.Mutex
	params map[string]string
}

func (s *seen) OpenSession(ctx context.Context, info snowtest.SessionConfig) (snowtest.EngineSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.params = info.Parameters
	return s.Script.OpenSession(ctx, info)
}

// The tether… parameters are obeyed, and neither v1 nor Snowflake sees them. Heartbeats are on.
func TestTetherParametersAreTakenOutOfTheDSN(t *testing.T) {
	engine := &seen{Script: new(snowtest.Script)}
	srv := snowtest.New(t, snowtest.WithEngine(engine))
	db := open(t, srv, "&query_tag=q&tetherPoolName=imports&tetherHeartbeat=15m")
	connector, err := snowtether.ConnectorOf(db)
	if err != nil {
		t.Fatal(err)
	}
	if got := connector.Snapshot().Pool; got != "imports" {
		t.Errorf("the pool's name is %q", got)
	}
	engine.mu.Lock()
	defer engine.mu.Unlock()
	for name, want := range map[string]string{"QUERY_TAG": "q", "CLIENT_SESSION_KEEP_ALIVE": "true", "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY": "900"} {
		if engine.params[name] != want {
			t.Errorf("%s is %q, want %q", name, engine.params[name], want)
		}
	}
	for name := range engine.params {
		if strings.HasPrefix(strings.ToUpper(name), "TETHER") {
			t.Errorf("Snowflake is sent %s", name)
		}
	}
}

func TestABadDSNIsOneLineWithoutItsSecrets(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                                       "the DSN is empty",
		"hush:hush@acct/db?tetherHush=1":         "unknown parameter",
		"hush:hush@acct/db?tetherIdlePing=4m":    "tetherIdlePing needs gosnowflake v2",
		"hush:hush@acct/db?tetherMaxLogins=hush": "tetherMaxLogins must be a whole number",
		"hush:hush@acct/db?loginTimeout=hush":    "loginTimeout must be a whole number",
		"hush:hush@acct:hush/db":                 "the port",
		"hush:hush@":                             "the account is missing",
		"hush:hu/sh@h@acct/db?a=/":               "percent-encoded",
		"autoConfig":                             "connections.toml",
	} {
		t.Setenv("SNOWFLAKE_HOME", t.TempDir())
		db, err := sql.Open("snowflake", dsn)
		if err == nil {
			_ = db.Close()
			t.Errorf("%q is accepted", dsn)
			continue
		}
		says := err.Error()
		if !strings.HasPrefix(says, "snowtether: ") || !strings.Contains(says, want) || strings.Contains(strings.ReplaceAll(says, "tetherHush", ""), "hush") || strings.Contains(says, "\n") {
			t.Errorf("%q: %q does not say %q, in one line without a value", dsn, says, want)
		}
	}
}

// A connection that is opened without a pool is v1's too, and nothing is left when it is closed.
func TestASingleConnectionIsV1sToo(t *testing.T) {
	srv := snowtest.New(t) // finds a session that stays open
	conn, err := gosnowflakev1.Registered.Open(srv.DSN() + "&disableTelemetry=true")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := conn.(v1.SnowflakeConnection); !ok {
		t.Errorf("%T is not v1's", conn)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := gosnowflakev1.Registered.Open(""); err == nil {
		t.Error("an empty DSN is accepted")
	}
	wrong := strings.Replace(srv.DSN(), srv.User(), "nobody", 1)
	if _, err := gosnowflakev1.Registered.Open(wrong); err == nil {
		t.Error("an unknown user is logged in")
	}
}

// v1 has a register of TLS configurations of its own.
func TestV1ReachesATestServerOverTLS(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithTLS())
	if err := v1.RegisterTLSConfig(srv.TLSConfigName(), srv.TLSConfig()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v1.DeregisterTLSConfig(srv.TLSConfigName()) }()
	open(t, srv, "")
}
