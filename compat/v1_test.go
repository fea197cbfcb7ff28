package compat

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/snowflakedb/gosnowflake"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is gosnowflake v1 inside WrapConnector: the proof is as good with it, because
// it looks up the same things in a statement's context, and its errors are read too.

// transport sends v1's requests to a server in memory.
type transport struct{ http.RoundTripper }

// v1Connector makes v1's connector to the server.
func v1Connector(srv *snowtest.Server) driver.Connector {
	cfg := srv.Config()
	return v1.NewConnector(v1.SnowflakeDriver{}, v1.Config{
		Account: cfg.Account, User: cfg.User, Password: cfg.Password, Host: cfg.Host, Port: cfg.Port, Protocol: cfg.Protocol,
		Transporter: transport{cfg.Transporter}, DisableTelemetry: true,
	})
}

// traced is a wrapper as tracing ones are: it passes contexts on.
type traced struct{ driver.Connector }

func (t traced) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := t.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return tracedConn{conn.(inner)}, nil
}

type inner interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
}

type tracedConn struct{ inner }

// A fault is what happens to the next statement, and what may come of it.
type fault struct {
	name     string
	ran      bool // it may have run, so it is in doubt where it is not carried over
	recovers bool // it did not run, and that can be proven
	strike   func(srv *snowtest.Server)
}

func next(f snowtest.Fault) func(srv *snowtest.Server) {
	return func(srv *snowtest.Server) {
		srv.Control(func(r *snowtest.Request) (snowtest.Fault, bool) { return f, r.Kind == snowtest.RequestQuery })
	}
}

var faults = []fault{
	{"undisturbed", false, true, func(*snowtest.Server) {}},
	{"session token expired", false, true, func(srv *snowtest.Server) { srv.ExpireSessionTokens() }},
	{"master token expired", false, true, func(srv *snowtest.Server) { srv.ExpireMasterTokens() }},
	{"aborted", false, true, func(srv *snowtest.Server) { srv.AbortSessions() }},
	{"390111", false, true, next(snowtest.Fault{Code: "390111"})},
	{"390104", false, true, next(snowtest.Fault{Code: "390104"})},
	{"390114", false, true, next(snowtest.Fault{Code: "390114"})},
	{"401", false, true, next(snowtest.Fault{Status: 401})},
	{"lost before", false, false, next(snowtest.Fault{Drop: true})},
	{"503 before", false, false, next(snowtest.Fault{Status: 503})},
	{"lost after, then aborted", true, false, func(srv *snowtest.Server) {
		next(snowtest.Fault{Run: true, Drop: true, After: func() { srv.AbortSessions() }})(srv)
	}},
	{"503 after, then expired", true, false, func(srv *snowtest.Server) {
		next(snowtest.Fault{Run: true, Status: 503, After: func() { srv.ExpireMasterTokens() }})(srv)
	}},
	{"HTML after", true, false, next(snowtest.Fault{Run: true, Body: "<html>"})},
	{"403 after", true, false, next(snowtest.Fault{Run: true, Status: 403})},
	{"accepted, aborted at the poll", true, false, func(srv *snowtest.Server) {
		srv.Control(func(r *snowtest.Request) (snowtest.Fault, bool) {
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

// TestGosnowflakeV1IsAsSafe: nothing runs twice, no error claims what is not so, and a
// session that ends before the statement was accepted is recovered from.
func TestGosnowflakeV1IsAsSafe(t *testing.T) {
	for _, wrapped := range []bool{false, true} {
		for _, polled := range []bool{false, true} {
			for use, run := range uses {
				for _, f := range faults {
					t.Run(fmt.Sprintf("traced %v/polled %v/%s/%s", wrapped, polled, use, f.name), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { trial(t, wrapped, polled, run, f) })
					})
				}
			}
		}
	}
}

func trial(t *testing.T, wrapped, polled bool, run func(context.Context, *sql.DB) error, f fault) {
	opts := []snowtest.Option{snowtest.InMemory(), snowtest.AllowRepeats(), snowtest.AllowOpenSessions()}
	if polled {
		opts = append(opts, snowtest.WithInlineWait(0))
	}
	srv := snowtest.New(t, opts...)
	c := v1Connector(srv)
	if wrapped {
		c = traced{c}
	}
	connector, err := snowtether.WrapConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.strike(srv)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	err = run(ctx, db)
	n := srv.Effects(insert)
	switch doubt := errors.Is(err, snowtether.ErrInDoubt); {
	case n > 1:
		t.Errorf("took effect %d times: %v", n, err)
	case err == nil && n != 1:
		t.Errorf("nil, and it took effect %d times", n)
	case err != nil && !doubt && n != 0:
		t.Errorf("it took effect, and the error does not say so: %v", err)
	case err != nil && f.recovers:
		t.Errorf("needless: %v", err)
	}
}

// TestOrdinaryErrorOfV1IsTheStatementsOwn: with v1's own type.
func TestOrdinaryErrorOfV1IsTheStatementsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory())
		srv.Handle("^INSERT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return nil, &snowtest.Error{Code: "002003", SQLState: "42S02", Message: "Table does not exist"}
		})
		connector, err := snowtether.WrapConnector(v1Connector(srv))
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		_, err = db.ExecContext(t.Context(), insert)
		var own *v1.SnowflakeError
		if !errors.As(err, &own) || own.Number != 2003 || errors.Is(err, snowtether.ErrInDoubt) || snowtether.Classify(err) != snowtether.ClassStatement {
			t.Errorf("error is %v", err)
		}
	})
}
