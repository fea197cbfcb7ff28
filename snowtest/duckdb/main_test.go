package duckdb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// A client is one session of an engine.
type client struct {
	t  testing.TB
	s  snowtest.EngineSession
	id int64
}

func newEngine(t testing.TB, opts ...duckdb.Option) *duckdb.Engine {
	t.Helper()
	e, err := duckdb.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

var sessions int64

func open(t testing.TB, e *duckdb.Engine, params ...string) *client {
	t.Helper()
	sessions++
	info := snowtest.SessionConfig{ID: sessions, User: "tester", Role: "sysadmin", Database: "db", Schema: "public", Warehouse: "wh", Parameters: map[string]string{}}
	for _, p := range params {
		k, v, _ := strings.Cut(p, "=")
		info.Parameters[k] = v
	}
	s, err := e.OpenSession(context.Background(), info)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &client{t, s, info.ID}
}

func newClient(t testing.TB) *client { t.Helper(); return open(t, newEngine(t)) }

func (c *client) try(sql string, binds ...snowtest.Bind) (*snowtest.Result, error) {
	return c.s.Run(context.Background(), &snowtest.Statement{SQL: sql, Binds: binds, QueryID: "01-" + sql[:min(1, len(sql))], SessionID: c.id})
}

func (c *client) run(sql string, binds ...snowtest.Bind) *snowtest.Result {
	c.t.Helper()
	res, err := c.try(sql, binds...)
	if err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
	return res
}

func (c *client) runAll(statements ...string) {
	c.t.Helper()
	for _, s := range statements {
		c.run(s)
	}
}

// text writes a result's rows: columns apart by a bar, rows by a semicolon.
func text(res *snowtest.Result) string {
	var rows []string
	for _, r := range res.Rows {
		var row []string
		for _, v := range r {
			if v == nil {
				row = append(row, "NULL")
			} else {
				row = append(row, *v)
			}
		}
		rows = append(rows, strings.Join(row, "|"))
	}
	return strings.Join(rows, ";")
}

// types writes the types of a result's columns.
func types(res *snowtest.Result) string {
	var out []string
	for _, c := range res.Columns {
		switch c.Type {
		case "fixed":
			out = append(out, fmt.Sprintf("fixed(%d,%d)", c.Precision, c.Scale))
		default:
			out = append(out, c.Type)
		}
	}
	return strings.Join(out, " ")
}

func names(res *snowtest.Result) string {
	var out []string
	for _, c := range res.Columns {
		out = append(out, c.Name)
	}
	return strings.Join(out, "|")
}

func (c *client) want(sql, want string, binds ...snowtest.Bind) {
	c.t.Helper()
	if got := text(c.run(sql, binds...)); got != want {
		c.t.Errorf("%s:\n got %s\nwant %s", sql, got, want)
	}
}

// code gives the code and the state of an error in Snowflake's shape.
func code(err error) string {
	var sf *snowtest.Error
	if !errors.As(err, &sf) {
		return fmt.Sprint(err)
	}
	return sf.Code + "/" + sf.SQLState
}

func (c *client) wantCode(sql, want string, binds ...snowtest.Bind) {
	c.t.Helper()
	_, err := c.try(sql, binds...)
	if err == nil {
		c.t.Errorf("%s: no error, want %s", sql, want)
		return
	}
	if got := code(err); got != want {
		c.t.Errorf("%s: error %s (%v), want %s", sql, got, err, want)
	}
}

func bind(typ, value string) snowtest.Bind { return snowtest.Bind{Type: typ, Value: &value} }
func null(typ string) snowtest.Bind        { return snowtest.Bind{Type: typ} }

func array(typ string, values ...string) snowtest.Bind {
	b := snowtest.Bind{Type: typ, Array: []*string{}}
	for _, v := range values {
		if v == "<null>" {
			b.Array = append(b.Array, nil)
			continue
		}
		b.Array = append(b.Array, &v)
	}
	return b
}
