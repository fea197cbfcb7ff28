package snowtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// recorder is a test that notes what it is told.
type recorder struct {
	errors   []string
	fatal    string
	cleanups []func()
}

func (r *recorder) Helper()           {}
func (r *recorder) Cleanup(fn func()) { r.cleanups = append(r.cleanups, fn) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Fatalf(format string, args ...any) { r.fatal = fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          { runtime.Goexit() }

// end runs the clean-ups as package testing does.
func (r *recorder) end() []string {
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		fn := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		fn()
	}
	return r.errors
}

// twice runs a statement two times.
func twice(query string, args ...any) func(t *testing.T, srv *snowtest.Server) {
	return func(t *testing.T, srv *snowtest.Server) {
		db := open(t, srv)
		exec(t, db, query, args...)
		exec(t, db, query, args...)
		_ = db.Close()
	}
}

func TestEndOfTestChecks(t *testing.T) {
	log := func(t *testing.T, srv *snowtest.Server, text string) {
		t.Helper()
		if _, err := fmt.Fprintln(srv.Log(), "level=INFO msg="+text); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		opts []snowtest.Option
		do   func(t *testing.T, srv *snowtest.Server)
		want string // part of the one error, empty for none
	}{
		{"a test that behaves", nil, func(t *testing.T, srv *snowtest.Server) {
			db := open(t, srv)
			exec(t, db, "INSERT INTO t VALUES (1)")
			exec(t, db, "INSERT INTO t VALUES (2)")
			exec(t, db, "INSERT INTO t VALUES (?)", 1)
			exec(t, db, "INSERT INTO t VALUES (?)", 2)
			for range 2 {
				exec(t, db, "SELECT 1")
				exec(t, db, "SHOW TABLES")
				exec(t, db, "CREATE TABLE t (x INT)")
				exec(t, db, "BEGIN")
				exec(t, db, "ROLLBACK")
				exec(t, db, "USE ROLE r")
			}
			log(t, srv, "login of "+srv.User())
			_ = db.Close()
		}, ""},
		{"an open session", nil, func(t *testing.T, srv *snowtest.Server) {
			conn(t, open(t, srv))
		}, "1 sessions were not closed: [1]"},
		{"an open session, allowed", []snowtest.Option{snowtest.AllowOpenSessions()}, func(t *testing.T, srv *snowtest.Server) {
			conn(t, open(t, srv))
		}, ""},
		{"an open session, closed by the server", nil, func(t *testing.T, srv *snowtest.Server) {
			conn(t, open(t, srv))
			conn(t, open(t, srv))
			srv.AbortSessions(1)
			srv.ExpireMasterTokens(2)
		}, ""},
		{"a session that nobody knows", nil, func(t *testing.T, srv *snowtest.Server) {
			srv.FaultOnce(func(*snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{Run: true, Code: "390100"}, true
			})
			wantCode(t, open(t, srv).PingContext(t.Context()), 390100)
			if len(srv.Sessions()) != 1 {
				t.Error("the login was not carried out")
			}
		}, ""},
		{"sessions whose logins were cut short", nil, func(t *testing.T, srv *snowtest.Server) {
			db := open(t, srv)
			for _, fault := range []snowtest.Fault{{Cut: 20}, {After: srv.Disconnect}} {
				srv.FaultOnce(on(snowtest.RequestLogin, fault))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if err := db.PingContext(ctx); err == nil {
					t.Errorf("the login succeeded after %+v", fault)
				}
				cancel()
			}
			srv.Reconnect()
			exec(t, db, "SELECT 1")
			_ = db.Close()
			if n := len(srv.Sessions()); n != 2 {
				t.Errorf("%d sessions are open", n)
			}
		}, ""},
		{"a session whose login its client gave up", nil, func(t *testing.T, srv *snowtest.Server) {
			ctx, cancel := context.WithCancel(t.Context())
			srv.FaultOnce(func(*snowtest.Request) (snowtest.Fault, bool) {
				return snowtest.Fault{After: cancel}, true
			})
			if err := open(t, srv).PingContext(ctx); err == nil {
				t.Error("the login succeeded")
			}
		}, "1 sessions were not closed: [1]"},
		{"the same INSERT twice", nil, twice("INSERT INTO t VALUES (1)"), "took lasting effect more than once: INSERT INTO t VALUES (1) (if the test means it: snowtest.AllowRepeats())"},
		{"the same INSERT twice, once rolled back", nil, func(t *testing.T, srv *snowtest.Server) {
			db := open(t, srv)
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			exec(t, tx, "INSERT INTO t VALUES (1)")
			_ = tx.Rollback()
			exec(t, db, "INSERT INTO t VALUES (1)")
			_ = db.Close()
		}, ""},
		{"the same INSERT twice, the first still running", nil, func(t *testing.T, srv *snowtest.Server) {
			srv.Handle("INSERT", func(ctx context.Context, _ *snowtest.Statement) (*snowtest.Result, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			db := open(t, srv)
			ctx, cancel := context.WithCancel(t.Context())
			for range 2 {
				go func() { _, _ = db.ExecContext(ctx, "INSERT INTO t VALUES (1)") }()
			}
			synctest.Wait()
			if err := srv.Check(); err == nil || !strings.Contains(err.Error(), "took lasting effect more than once") {
				t.Errorf("while both run: %v", err)
			}
			cancel()
			synctest.Wait()
			_ = db.Close()
		}, ""},
		{"a function that nothing is known of, twice", nil, twice("SELECT COUNT(*), f(1) FROM t"), "took lasting effect more than once: SELECT COUNT(*), f(1) FROM t"},
		{"a function and a procedure that their handlers know, twice", nil, func(t *testing.T, srv *snowtest.Server) {
			srv.Handle(`f\(1\)|p\(1\)`, func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
				res := snowtest.Rows([]string{"F"}, []any{1})
				res.ReadOnly = strings.HasPrefix(st.SQL, "CALL")
				return res, nil
			})
			db := open(t, srv)
			for range 2 {
				exec(t, db, "SELECT f(1)")
				exec(t, db, "CALL p(1)")
			}
			_ = db.Close()
		}, ""},
		{"a procedure with a handler that says nothing of it, twice", nil, func(t *testing.T, srv *snowtest.Server) {
			srv.Handle("CALL", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
				return snowtest.Rows([]string{"P"}, []any{1}), nil
			})
			twice("CALL p(1)")(t, srv)
		}, "took lasting effect more than once: CALL p(1)"},
		{"queries, twice", nil, func(t *testing.T, srv *snowtest.Server) {
			db := open(t, srv)
			for range 2 {
				exec(t, db, "SELECT COUNT(*), MAX(x) FROM t WHERE (a OR b) AND x IN (1, 2)")
				exec(t, db, "SHOW TABLES")
				exec(t, db, "CREATE TABLE IF NOT EXISTS t (x NUMBER(10, 2))")
			}
			_ = db.Close()
		}, ""},
		{"the same CALL twice", nil, twice("CALL p(?)", "x"), `took lasting effect more than once: CALL p(?) ["x"]`},
		{"the same INSERT twice, allowed", []snowtest.Option{snowtest.AllowRepeats()}, twice("INSERT INTO t VALUES (1)"), ""},
		{"the password in the log", nil, func(t *testing.T, srv *snowtest.Server) {
			log(t, srv, "connecting with "+srv.Password())
		}, "1 secrets stand in the log"},
		{"the password in a DSN in the log", []snowtest.Option{snowtest.WithCredentials("u", "p@ss/w")}, func(t *testing.T, srv *snowtest.Server) {
			log(t, srv, "opening u:"+url.QueryEscape("p@ss/w")+"@host/db")
		}, "1 secrets stand in the log"},
		{"the password in quotes in the log", []snowtest.Option{snowtest.WithCredentials("u", `p"ss`)}, func(_ *testing.T, srv *snowtest.Server) {
			slog.New(slog.NewTextHandler(srv.Log(), nil)).Info("connecting", "password", `p"ss`)
		}, "1 secrets stand in the log"},
		{"the password as JSON in the log", []snowtest.Option{snowtest.WithCredentials("u", "p<ss&")}, func(t *testing.T, srv *snowtest.Server) {
			if err := json.NewEncoder(srv.Log()).Encode(map[string]string{"password": "p<ss&"}); err != nil {
				t.Fatal(err)
			}
		}, "1 secrets stand in the log"},
		{"a login token in the log", nil, func(t *testing.T, srv *snowtest.Server) {
			log(t, srv, srv.Token())
		}, "1 secrets stand in the log"},
		{"a refused login token in the log", nil, func(t *testing.T, srv *snowtest.Server) {
			db := open(t, srv, func(c *gosnowflake.Config) {
				c.Authenticator, c.Password, c.Token = gosnowflake.AuthTypeOAuth, "", "my-own-token"
			})
			wantCode(t, db.PingContext(t.Context()), 390303)
			log(t, srv, "my-own-token")
		}, "1 secrets stand in the log"},
		{"a session token and a master token that are no longer good in the log", nil, func(t *testing.T, srv *snowtest.Server) {
			tokens := &accessor{}
			db := open(t, srv, func(c *gosnowflake.Config) { c.TokenAccessor = tokens })
			exec(t, db, "SELECT 1")
			log(t, srv, tokens.session)
			log(t, srv, tokens.master)
			srv.ExpireSessionTokens()
			exec(t, db, "SELECT 1")
			_ = db.Close()
		}, "2 secrets stand in the log"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// Pools are closed after the server here, which takes gosnowflake some
			// retries; in a bubble they take no time.
			synctest.Test(t, func(t *testing.T) {
				tb := &recorder{}
				srv := snowtest.New(tb, append(test.opts, snowtest.InMemory())...)
				test.do(t, srv)
				checked := srv.Check()
				errs := tb.end()
				switch {
				case test.want == "" && (len(errs) > 0 || checked != nil):
					t.Errorf("errors %q, Check %v", errs, checked)
				case test.want != "" && (len(errs) != 1 || !strings.Contains(errs[0], test.want)):
					t.Errorf("errors %q, want %q", errs, test.want)
				case test.want != "" && (checked == nil || !strings.Contains(checked.Error(), test.want)):
					t.Errorf("Check says %v", checked)
				}
				after := srv.Check() // the server is closed
				if (after == nil) != (checked == nil) {
					t.Errorf("Check says %v before Close and %v after it", checked, after)
				}
			})
		})
	}
}

func TestNewFailsTheTestOnBadOptions(t *testing.T) {
	tb := &recorder{}
	if srv := snowtest.New(tb, snowtest.WithInlineWait(-1)); srv != nil || !strings.Contains(tb.fatal, "WithInlineWait") {
		t.Errorf("got %v, fatal %q", srv, tb.fatal)
	}
}
