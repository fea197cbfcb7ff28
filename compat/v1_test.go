package compat

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/XSAM/otelsql"
	v1 "github.com/snowflakedb/gosnowflake"
	v2 "github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is gosnowflake v1 inside WrapConnector: the proof is as good with it, because
// it looks up the same things in a statement's context, and its errors are read too.

// transport sends v1's requests to a server in memory.
type transport struct{ http.RoundTripper }

// v1Connector makes v1's connector to the server.
func v1Connector(srv *snowtest.Server) driver.Connector { return v1To(srv.Config()) }

// v1To makes v1's connector to where v2's would go.
func v1To(cfg *v2.Config) driver.Connector {
	return v1.NewConnector(v1.SnowflakeDriver{}, v1.Config{
		Account: cfg.Account, User: cfg.User, Password: cfg.Password, Host: cfg.Host, Port: cfg.Port, Protocol: cfg.Protocol,
		Transporter: transport{cfg.Transporter}, DisableTelemetry: true,
	})
}

// connectors are the ways in which v1 is given to WrapConnector.
var connectors = map[string]func(driver.Connector) driver.Connector{
	"bare": func(c driver.Connector) driver.Connector { return c },
	"otelsql": func(c driver.Connector) driver.Connector {
		c, err := otelsql.WrapDriver(fixed{c}).(driver.DriverContext).OpenConnector("")
		if err != nil {
			panic(err)
		}
		return c
	},
}

// fixed is a driver that has one connector, as otelsql wants to be given it.
type fixed struct{ driver.Connector }

func (f fixed) OpenConnector(string) (driver.Connector, error) { return f.Connector, nil }
func (f fixed) Open(string) (driver.Conn, error)               { return f.Connect(context.Background()) }

// open opens a pool of one connection.
func open(t *testing.T, inner driver.Connector, opts ...snowtether.Option) *sql.DB {
	t.Helper()
	connector, err := snowtether.WrapConnector(inner, append([]snowtether.Option{snowtether.WithLogger(slog.New(slog.DiscardHandler))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// A fault is what happens to the next statement, and what may come of it.
type fault struct {
	name     string
	ran      bool // it may have run, so it is in doubt where it is not carried over
	recovers bool // it did not run, and that can be proven
	carried  bool // it was accepted, and its outcome can be had
	strike   func(srv *snowtest.Server)
}

func next(f snowtest.Fault) func(srv *snowtest.Server) {
	return func(srv *snowtest.Server) {
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) { return f, r.Kind == snowtest.RequestQuery })
	}
}

var faults = []fault{
	{"undisturbed", false, true, false, func(*snowtest.Server) {}},
	{"session token expired", false, true, false, func(srv *snowtest.Server) { srv.ExpireSessionTokens() }},
	{"master token expired", false, true, false, func(srv *snowtest.Server) { srv.ExpireMasterTokens() }},
	{"aborted", false, true, false, func(srv *snowtest.Server) { srv.AbortSessions() }},
	{"390111", false, true, false, next(snowtest.Fault{Code: "390111"})},
	{"390104", false, true, false, next(snowtest.Fault{Code: "390104"})},
	{"390114", false, true, false, next(snowtest.Fault{Code: "390114"})},
	{"401", false, true, false, next(snowtest.Fault{Status: 401})},
	{"lost before", false, false, false, next(snowtest.Fault{Drop: true})},
	{"503 before", false, false, false, next(snowtest.Fault{Status: 503})},
	{"lost after, then aborted", true, false, false, func(srv *snowtest.Server) {
		next(snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})(srv)
	}},
	{"503 after, then expired", true, false, false, func(srv *snowtest.Server) {
		next(snowtest.Fault{Run: true, Status: 503, After: func() { srv.ExpireMasterTokens() }})(srv)
	}},
	{"HTML after", true, false, false, next(snowtest.Fault{Run: true, Body: "<html>"})},
	{"403 after", true, false, false, next(snowtest.Fault{Run: true, Status: 403})},
	{"accepted, aborted at the poll", true, false, true, func(srv *snowtest.Server) {
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.Kind != snowtest.RequestResult {
				return snowtest.Fault{}, false
			}
			srv.AbortSessions()
			return snowtest.Fault{}, true
		})
	}},
}

const insert = "INSERT INTO t VALUES (1)"

// uses are the ways in which the statement is run.
var uses = map[string]func(ctx context.Context, db *sql.DB) error{
	"exec": func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, insert)
		return err
	},
	"query": func(ctx context.Context, db *sql.DB) error {
		rows, err := db.QueryContext(ctx, insert)
		if err != nil {
			return err
		}
		return rows.Close()
	},
	"prepared": func(ctx context.Context, db *sql.DB) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		stmt, err := conn.PrepareContext(ctx, insert)
		if err != nil {
			return err
		}
		defer stmt.Close()
		_, err = stmt.ExecContext(ctx)
		return err
	},
	"RunTx": func(ctx context.Context, db *sql.DB) error {
		begin := func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) }
		return snowtether.RunTx(ctx, begin, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, insert)
			return err
		})
	},
}

// TestGosnowflakeV1IsAsSafe: nothing runs twice, no error claims what is not so, a
// session that ends before the statement was accepted is recovered from, and what was
// accepted is carried over. At first that last was in doubt.
func TestGosnowflakeV1IsAsSafe(t *testing.T) {
	for name, wrap := range connectors {
		for _, polled := range []bool{false, true} {
			for use, run := range uses {
				for _, f := range faults {
					t.Run(fmt.Sprintf("%s/polled %v/%s/%s", name, polled, use, f.name), func(t *testing.T) {
						virtually(t, func(t *testing.T) { trial(t, wrap, polled, run, f) })
					})
				}
			}
		}
	}
}

// virtually runs fn in virtual time. Its end waits for what gosnowflake still does by itself,
// such as a log-out that it tries for 5 s.
func virtually(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Hour) })
		fn(t)
	})
}

func trial(t *testing.T, wrap func(driver.Connector) driver.Connector, polled bool, run func(context.Context, *sql.DB) error, f fault) {
	opts := []snowtest.Option{snowtest.InMemory(), snowtest.AllowRepeats(), snowtest.AllowOpenSessions()}
	if polled {
		opts = append(opts, snowtest.WithInlineWait(0))
	}
	srv := snowtest.New(t, opts...)
	db := open(t, wrap(v1Connector(srv)))
	f.strike(srv)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	err := run(ctx, db)
	n := srv.Effects(insert)
	switch doubt := errors.Is(err, snowtether.ErrInDoubt); {
	case n > 1:
		t.Errorf("took effect %d times: %v", n, err)
	case err == nil && n != 1:
		t.Errorf("nil, and it took effect %d times", n)
	case err != nil && !doubt && n != 0:
		t.Errorf("it took effect, and the error does not say so: %v", err)
	case err != nil && (f.recovers || f.carried):
		t.Errorf("needless: %v", err)
	}
}

// TestOrdinaryErrorOfV1IsTheStatementsOwn: with v1's own type.
func TestOrdinaryErrorOfV1IsTheStatementsOwn(t *testing.T) {
	virtually(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		srv.Handle("^INSERT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "002003", SQLState: "42S02", Message: "Table does not exist"}
		})
		_, err := open(t, v1Connector(srv)).ExecContext(t.Context(), insert)
		var own *v1.SnowflakeError
		if !errors.As(err, &own) || own.Number != 2003 || errors.Is(err, snowtether.ErrInDoubt) || snowtether.Classify(err) != snowtether.ClassStatement {
			t.Errorf("error is %v", err)
		}
	})
}

// blind is a transport that sends its requests without their contexts.
type blind struct{ http.RoundTripper }

func (b blind) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer context.AfterFunc(r.Context(), cancel)()
	return b.RoundTripper.RoundTrip(r.WithContext(ctx))
}

// TestHiddenTrafficOfV1IsNoProof: behind such a transport every statement that meets a lost
// session is in doubt, and none runs twice.
func TestHiddenTrafficOfV1IsNoProof(t *testing.T) {
	for use, run := range uses {
		for _, f := range faults {
			t.Run(use+"/"+f.name, func(t *testing.T) {
				virtually(t, func(t *testing.T) {
					srv := snowtest.New(t, snowtest.InMemory(), snowtest.AllowRepeats(), snowtest.AllowOpenSessions())
					cfg := srv.Config()
					cfg.Transporter = blind{cfg.Transporter}
					db := open(t, v1To(cfg))
					f.strike(srv)
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					err := run(ctx, db)
					n, doubt := srv.Effects(insert), errors.Is(err, snowtether.ErrInDoubt)
					if n > 1 || err == nil && n != 1 || err != nil && !doubt && n != 0 {
						t.Errorf("took effect %d times: %v", n, err)
					}
					if lost := snowtether.Classify(errors.Unwrap(err)) == snowtether.ClassSessionLost; lost && use != "RunTx" && !doubt {
						t.Errorf("its session was lost: %v", err)
					}
				})
			})
		}
	}
}
