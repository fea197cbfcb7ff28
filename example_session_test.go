package snowtether_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2"
	"go.opentelemetry.io/otel/metric/noop"
	"golang.org/x/oauth2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// Examples of the options about logins, about what keeps a session alive, and about what is
// told of it.

// A token for each login, here one that never changes. In your program: an
// oauth2.TokenSource that fetches one, such as that of clientcredentials.Config.
func ExampleWithTokenSource() {
	srv := start()
	defer srv.Close()

	cfg := srv.Config()
	cfg.Authenticator, cfg.Password = gosnowflake.AuthTypeOAuth, ""
	connector, err := snowtether.NewConnector(cfg,
		snowtether.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: srv.Token()})))
	if err != nil {
		log.Fatal(err)
	}
	defer connector.Close()

	conn, err := connector.Connect(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println(connector.Stats().Logins, "login")
	// Output: 1 login
}

// A guard that lets one login in a hundred milliseconds through, and stops all once one was
// refused. In your program it asks what the processes of the fleet share: examples/fleet has
// one over Redis.
type guard struct {
	mu      sync.Mutex
	key     []byte // the same in all processes, and secret
	next    time.Time
	refused map[string]time.Time
}

func (g *guard) Before(_ context.Context, login snowtether.LoginAttempt) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.refused[login.Fingerprint(g.key)]) < time.Minute {
		return 0, fmt.Errorf("refused a moment ago: %w", snowtether.ErrLoginSuspended)
	}
	if wait := time.Until(g.next); wait > 0 {
		return wait, nil
	}
	g.next = time.Now().Add(100 * time.Millisecond)
	return 0, nil
}

func (g *guard) After(_ context.Context, login snowtether.LoginAttempt, outcome snowtether.LoginOutcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if outcome.Class == snowtether.ClassPermanent {
		g.refused[login.Fingerprint(g.key)] = time.Now()
	}
}

// A wrong password in two pools is refused once.
func ExampleWithLoginGuard() {
	srv := start()
	defer srv.Close()

	shared := &guard{key: []byte("32 random bytes"), refused: map[string]time.Time{}}
	cfg := srv.Config()
	cfg.Password = "last month's"
	for range 2 {
		connector, err := snowtether.NewConnector(cfg, snowtether.WithLoginGuard(shared))
		if err != nil {
			log.Fatal(err)
		}
		_, err = connector.Connect(context.Background())
		fmt.Println(errors.Is(err, snowtether.ErrLoginSuspended))
		if err := connector.Close(); err != nil { // the guard has been told by now
			log.Fatal(err)
		}
	}
	fmt.Println(srv.Stats().LoginFailures, "refused")
	// Output:
	// false
	// true
	// 1 refused
}

// A password that is rotated in a vault: each login asks for the current one.
func ExampleWithBeforeConnect() {
	srv := start()
	defer srv.Close()
	vault := func(context.Context) (string, error) { return srv.Password(), nil }

	cfg := srv.Config()
	cfg.Password = "last month's"
	connector, err := snowtether.NewConnector(cfg, snowtether.WithBeforeConnect(
		func(ctx context.Context, cfg *gosnowflake.Config) (err error) {
			cfg.Password, err = vault(ctx)
			return err
		}))
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	fmt.Println(db.Ping())
	// Output: <nil>
}

// The statements run after each login, also after the one that replaces a lost
// session.
func ExampleWithSessionInit() {
	srv := start()
	defer srv.Close()
	db := open(srv, snowtether.WithSessionInit("USE ROLE loader", "ALTER SESSION SET QUERY_TAG = 'nightly'"))
	defer db.Close()

	fmt.Println(db.Ping())
	srv.AbortSessions()
	fmt.Println(db.Ping())
	fmt.Println("set up", srv.Accepted("USE ROLE loader"), "times")
	// Output:
	// <nil>
	// <nil>
	// set up 2 times
}

// A function that sets each new session up. It gets gosnowflake's own connection.
func ExampleWithAfterConnect() {
	srv := start()
	defer srv.Close()
	db := open(srv, snowtether.WithAfterConnect(func(ctx context.Context, conn driver.Conn) error {
		_, err := conn.(driver.ExecerContext).ExecContext(ctx, "SET day = '2026-01-01'", nil)
		return err
	}))
	defer db.Close()

	fmt.Println(db.Ping(), srv.Accepted("SET day = '2026-01-01'"))
	// Output: <nil> 1
}

// Four attempts, a millisecond apart. The default waits 500 ms to 16 s between
// attempts, until the connect budget is spent.
func ExampleWithBackOff() {
	srv := start()
	defer srv.Close()
	refuseLogins(srv)
	db := open(srv, snowtether.WithBackOff(func() backoff.BackOff {
		return backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Millisecond), 3)
	}))
	defer db.Close()

	err := db.Ping()
	fmt.Println(snowtether.Classify(err), "after", srv.Stats().Requests[snowtest.RequestLogin], "logins")
	// Output: transient after 4 logins
}

// A caller without a deadline waits this long for Snowflake to come back.
func ExampleWithConnectBudget() {
	srv := start()
	defer srv.Close()
	refuseLogins(srv)
	db := open(srv, snowtether.WithConnectBudget(20*time.Millisecond)) // default: 2 minutes
	defer db.Close()

	fmt.Println(snowtether.Classify(db.Ping()))
	// Output: transient
}

// Before any login has succeeded, a host that does not exist, or where nobody listens, is
// as a rule a wrong account name.
func ExampleWithFirstConnectBudget() {
	srv := start()
	db := open(srv, snowtether.WithFirstConnectBudget(20*time.Millisecond)) // default: 20 s
	defer db.Close()
	srv.Close() // nobody listens any more

	err := db.Ping()
	fmt.Println(snowtether.Classify(err), strings.Contains(err.Error(), "check the account name"))
	// Output: transient true
}

// refuseLogins makes the server answer 503 to every login.
func refuseLogins(srv *snowtest.Server) {
	srv.FaultAlways(func(r *snowtest.Request) (snowtest.Fault, bool) {
		return snowtest.Fault{Status: 503}, r.Kind == snowtest.RequestLogin
	})
}

// 12 connections, and never more than 2 logins at the same time.
func ExampleWithMaxLogins() {
	srv := start()
	defer srv.Close()
	db := open(srv, snowtether.WithMaxLogins(2))
	defer db.Close()

	if err := snowtether.Warm(context.Background(), db, 12); err != nil {
		log.Fatal(err)
	}
	stats := srv.Stats()
	fmt.Println(stats.Logins, "logins;", "two at the same time at the most:", stats.MaxConcurrentLogins <= 2)
	// Output: 12 logins; two at the same time at the most: true
}

// A wrong password is sent once, however often the program tries.
func ExampleWithAuthCooldown() {
	srv := start()
	defer srv.Close()
	db := open(srv,
		snowtether.WithAuthCooldown(time.Minute), // default: 30 s
		snowtether.WithBeforeConnect(func(_ context.Context, cfg *gosnowflake.Config) error {
			cfg.Password = "mistyped"
			return nil
		}))
	defer db.Close()

	for range 3 {
		err := db.Ping()
		fmt.Println(snowtether.Classify(err), errors.Is(err, snowtether.ErrLoginSuspended))
	}
	fmt.Println("logins that were sent:", srv.Stats().LoginFailures)
	// Output:
	// permanent false
	// permanent true
	// permanent true
	// logins that were sent: 1
}

// A session that ends while it is idle in the pool is replaced there, before anyone
// needs it.
func ExampleWithIdlePing() {
	srv := start()
	defer srv.Close()
	replaced := make(chan snowtether.Event, 1)
	db := open(srv,
		snowtether.WithIdlePing(20*time.Millisecond), // 4m is right for the shortest session policy
		snowtether.WithEventHook(func(e snowtether.Event) {
			if e.Kind == snowtether.EventReconnected {
				replaced <- e
			}
		}))
	defer db.Close()
	fmt.Println(db.Ping())

	srv.AbortSessions()
	e := <-replaced // nobody has used the pool meanwhile
	fmt.Println(e.Kind, e.Code)
	// Output:
	// <nil>
	// reconnected 390111
}

// Heartbeats are on by default, once an hour. An interval that gosnowflake would
// replace with its own bound is an error.
func ExampleWithHeartbeat() {
	srv := start()
	defer srv.Close()
	_, err := snowtether.NewConnector(srv.Config(), snowtether.WithHeartbeat(15*time.Minute))
	fmt.Println(err)
	_, err = snowtether.NewConnector(srv.Config(), snowtether.WithHeartbeat(time.Minute))
	fmt.Println(err)
	// Output:
	// <nil>
	// snowtether: the heartbeat (tetherHeartbeat) must be from 900s to 3600s, or 0 for Snowflake's default
}

// Without heartbeats a session that lies idle for four hours ends. The option wins
// over what the DSN or Config.Params say.
func ExampleWithKeepAlive() {
	srv := start()
	defer srv.Close()
	on := "true"
	cfg := srv.Config()
	cfg.Params["CLIENT_SESSION_KEEP_ALIVE"] = &on
	_, err := snowtether.NewConnector(cfg, snowtether.WithKeepAlive(false))
	fmt.Println(err)
	// Output: <nil>
}

// A hook must return at once; a buffered channel takes what there is to do.
func ExampleWithEventHook() {
	srv := start()
	defer srv.Close()
	events := make(chan snowtether.Event, 100)
	db := open(srv, snowtether.WithEventHook(func(e snowtether.Event) {
		select {
		case events <- e:
		default: // full: rather lose one than hold up a statement
		}
	}))
	fmt.Println(db.Ping())
	srv.AbortSessions()
	fmt.Println(db.Ping())

	for e := range events {
		if e.Kind == snowtether.EventReconnected {
			fmt.Println(e.Kind, "because of", e.Code)
			break
		}
	}
	fmt.Println(db.Close())
	// Output:
	// <nil>
	// <nil>
	// reconnected because of 390111
	// <nil>
}

// Any slog.Logger. Here the parts that differ from run to run are left out.
func ExampleWithLogger() {
	srv := start()
	defer srv.Close()
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.LevelKey, slog.MessageKey, "event", "reason":
				return a
			}
			return slog.Attr{}
		},
	})
	connector, err := snowtether.NewConnector(srv.Config(), snowtether.WithLogger(slog.New(handler)))
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	_ = db.Ping()
	srv.AbortSessions()
	_ = db.Ping()
	// Output: level=INFO msg="snowtether: session was lost and has been replaced; nothing needs doing" event=reconnected reason=390111
}

// For a command-line tool, whose users see slog's default output: nothing but what is at Warn.
func ExampleWithLogger_dsn() {
	srv := start()
	defer srv.Close()
	db, err := sql.Open("snowtether", srv.DSN()+"&tetherLog=warn")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	_ = db.Ping()
	srv.AbortSessions()
	fmt.Println(db.Ping()) // a line at Info, which is not written
	// Output: <nil>
}

// In your program: the provider of OpenTelemetry's SDK, with an exporter. With the
// global provider, otel.SetMeterProvider, no option is needed.
func ExampleWithMeterProvider() {
	srv := start()
	defer srv.Close()
	db := open(srv,
		snowtether.WithMeterProvider(noop.NewMeterProvider()),
		snowtether.WithPoolName("billing"), // tells the metrics of several pools apart
	)
	defer db.Close()
	fmt.Println(db.Ping())
	// Output: <nil>
}

func ExampleWithPoolName() {
	srv := start()
	defer srv.Close()
	connector, err := snowtether.NewConnector(srv.Config(), snowtether.WithPoolName("billing"))
	if err != nil {
		log.Fatal(err)
	}
	defer connector.Close()
	fmt.Println(connector.Snapshot().Pool)
	// Output: billing
}
