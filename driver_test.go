package snowtether_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is the contract: what a program sees through database/sql and sqlx
// when sessions end under it, with the real gosnowflake against a real listener.

func TestMain(m *testing.M) {
	// gosnowflake logs to stderr what it is about to return anyway.
	if err := gosnowflake.GetLogger().SetLogLevel("off"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// pool opens a pool of n connections on srv and opens all of them, so that each
// has a session to lose. Its log goes to the server, which looks for secrets in
// it.
func pool(t testing.TB, srv *snowtest.Server, n int, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	opts = append([]snowtether.Option{snowtether.WithLogger(newLogger(srv.Log()))}, opts...)
	c, err := snowtether.NewConnector(srv.Config(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("db.Close: %v", err)
		}
	})
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	if err := snowtether.Warm(t.Context(), db, n); err != nil {
		t.Fatal(err)
	}
	return db
}

// ways are the ways in which a session ends, as gosnowflake meets them.
var ways = []struct {
	name   string
	end    snowtest.End
	logins int // that a session costs
}{
	{"390112, renewed", snowtest.End{}, 0},
	{"390112 then 390114", snowtest.End{Renewal: "390114"}, 1},
	{"390114", snowtest.End{Code: "390114"}, 1},
	{"390111", snowtest.End{Code: "390111"}, 1},
	{"390104", snowtest.End{Code: "390104"}, 1},
	{"HTTP 401", snowtest.End{Status: 401}, 1},
}

// uses are the ways in which programs use a pool.
var uses = []struct {
	name string
	use  func(ctx context.Context, db *sql.DB, i int) error
}{
	{"Exec", func(ctx context.Context, db *sql.DB, i int) error {
		res, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?)", i)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); n != 1 || err != nil {
			return fmt.Errorf("RowsAffected: %d, %v", n, err)
		}
		return nil
	}},
	{"Query", func(ctx context.Context, db *sql.DB, i int) error {
		var n int
		if err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT %d", i)).Scan(&n); err != nil {
			return err
		}
		if n != i {
			return fmt.Errorf("got %d, want %d", n, i)
		}
		return nil
	}},
	{"Prepare", func(ctx context.Context, db *sql.DB, i int) error {
		stmt, err := db.PrepareContext(ctx, "INSERT INTO t VALUES (?)")
		if err != nil {
			return err
		}
		defer stmt.Close()
		_, err = stmt.ExecContext(ctx, i)
		return err
	}},
	{"Prepare and Query", func(ctx context.Context, db *sql.DB, i int) error {
		stmt, err := db.PrepareContext(ctx, "SELECT 7")
		if err != nil {
			return err
		}
		defer stmt.Close()
		var n int
		return stmt.QueryRowContext(ctx).Scan(&n)
	}},
	{"Begin", func(ctx context.Context, db *sql.DB, i int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (?)", i); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}},
	{"Ping", func(ctx context.Context, db *sql.DB, _ int) error { return db.PingContext(ctx) }},
	{"Conn", func(ctx context.Context, db *sql.DB, i int) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.ExecContext(ctx, "INSERT INTO t VALUES (?)", i)
		return err
	}},
	{"sqlx Select", func(ctx context.Context, db *sql.DB, _ int) error {
		var rows []int
		return sqlx.NewDb(db, "snowflake").SelectContext(ctx, &rows, "SELECT 1")
	}},
	{"sqlx NamedExec", func(ctx context.Context, db *sql.DB, i int) error {
		sqlx.BindDriver("snowflake", sqlx.QUESTION)
		_, err := sqlx.NewDb(db, "snowflake").NamedExecContext(ctx, "INSERT INTO t VALUES (:n)", map[string]any{"n": i})
		return err
	}},
	{"sqlx Preparex", func(ctx context.Context, db *sql.DB, _ int) error {
		stmt, err := sqlx.NewDb(db, "snowflake").PreparexContext(ctx, "SELECT 1")
		if err != nil {
			return err
		}
		defer stmt.Close()
		var n int
		return stmt.GetContext(ctx, &n)
	}},
}

// TestPoolOutlivesItsSessions: plain gosnowflake fails all 400 statements, for
// ever.
func TestPoolOutlivesItsSessions(t *testing.T) {
	statements := 400
	if testing.Short() {
		statements = 80 // they take half the time of all tests
	}
	for _, way := range ways {
		for _, use := range uses {
			t.Run(way.name+"/"+use.name, func(t *testing.T) {
				t.Parallel()
				srv := snowtest.New(t)
				db := pool(t, srv, 8)
				before := srv.Stats().Logins
				if way.end == (snowtest.End{}) {
					srv.ExpireSessionTokens()
				} else {
					srv.EndSessions(way.end)
				}
				var wg sync.WaitGroup
				for worker := range 8 {
					wg.Go(func() {
						for i := worker; i < statements; i += 8 {
							if err := use.use(t.Context(), db, i); err != nil {
								t.Errorf("statement %d: %v", i, err)
							}
						}
					})
				}
				wg.Wait()
				if n := srv.Stats().Logins - before; n > 8*way.logins {
					t.Errorf("%d new logins, want at most %d", n, 8*way.logins)
				}
				if d := srv.Doubles(); len(d) > 0 {
					t.Errorf("took effect twice: %v", d)
				}
			})
		}
	}
}

// TestSteadyStateHasNoRequestsOfItsOwn: while all is well the server gets what it
// gets from plain gosnowflake, request by request.
func TestSteadyStateHasNoRequestsOfItsOwn(t *testing.T) {
	for _, use := range uses {
		t.Run(use.name, func(t *testing.T) {
			requests := func(open func(*snowtest.Server) *sql.DB) map[snowtest.RequestKind]int {
				srv := snowtest.New(t, snowtest.AllowRepeats())
				db := open(srv)
				for i := range 20 {
					if err := use.use(t.Context(), db, i); err != nil {
						t.Fatal(err)
					}
				}
				n := srv.Stats().Requests
				delete(n, snowtest.RequestTelemetry) // gosnowflake's own, sent in batches
				return n
			}
			ours := requests(func(srv *snowtest.Server) *sql.DB { return pool(t, srv, 1) })
			plain := requests(func(srv *snowtest.Server) *sql.DB {
				db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *srv.Config()))
				t.Cleanup(func() { _ = db.Close() })
				db.SetMaxOpenConns(1)
				return db
			})
			if !maps.Equal(ours, plain) {
				t.Errorf("requests %v, through gosnowflake %v", ours, plain)
			}
		})
	}
}

// TestReconnectIsLoggedOnceAtInfo: and with all that an operator asks about.
func TestReconnectIsLoggedOnceAtInfo(t *testing.T) {
	srv := snowtest.New(t)
	var log lines
	db := pool(t, srv, 1, snowtether.WithLogger(newLogger(&log)))
	old := srv.Sessions()[0].ID
	srv.EndSessions(snowtest.End{Code: "390114"})
	if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	for _, want := range []string{
		"level=INFO", "nothing needs doing", "reason=390114", "session_age=", "login_took=",
		fmt.Sprintf("old_session=%d", old), fmt.Sprintf("session_id=%d", srv.Sessions()[0].ID),
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not in the log once:\n%s", want, text)
		}
	}
	for _, secret := range []string{srv.Password(), srv.DSN()} {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is in the log:\n%s", text)
		}
	}
}

// A command-line tool whose users see slog's default output can silence the driver in the DSN.
// A logger of its own wins over that.
func TestTetherLogLimitsWhatTheDriverWrites(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		for _, tt := range []struct {
			value          string
			own            bool
			info, warnings int
		}{
			{"off", false, 0, 0}, {"warn", false, 0, 1}, {"info", false, 1, 1}, {"", false, 1, 1}, {"off", true, 1, 1},
		} {
			var log lines
			old := slog.Default()
			slog.SetDefault(newLogger(&log))
			opts, cfg := []snowtether.Option{snowtether.WithLogger(nil)}, srv.Config()
			if tt.own {
				opts = []snowtether.Option{snowtether.WithLogger(newLogger(&log))}
			}
			if tt.value != "" {
				cfg.Params["tetherLog"] = &tt.value
			}
			connector, err := snowtether.NewConnector(cfg, opts...)
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(connector)
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			srv.AbortSessions()
			if err := db.PingContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			once(srv, insert, snowtest.Fault{Run: true, Status: 503, After: func() { srv.AbortSessions() }})
			if _, err := db.ExecContext(t.Context(), insert); !errors.Is(err, snowtether.ErrInDoubt) {
				t.Errorf("in doubt: %v", err)
			}
			_ = db.Close()
			slog.SetDefault(old)
			text := log.String()
			if got := strings.Count(text, "event=reconnected"); got != tt.info {
				t.Errorf("tetherLog=%s: %d lines at Info, want %d:\n%s", tt.value, got, tt.info, text)
			}
			if got := strings.Count(text, "level=WARN"); got != tt.warnings || strings.Count(text, "event=in_doubt") != tt.warnings {
				t.Errorf("tetherLog=%s: %d lines at Warn, want %d:\n%s", tt.value, got, tt.warnings, text)
			}
		}
	}, snowtest.AllowRepeats())
}

func newLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// lines is a log that is safe for concurrent use.
type lines struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
