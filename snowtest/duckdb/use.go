package duckdb

import (
	"cmp"
	"context"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// status ends the reading of a statement whose result is one line, and carries it out,
// unless the client asks for the result's columns only.
func (w *work) status(r *rewriter, kind snowtest.Kind, message string, run func(*snowtest.Result) error) (*snowtest.Result, error) {
	if err := r.end(); err != nil {
		return nil, err
	}
	res := snowtest.Status(kind, message)
	if w.st.DescribeOnly {
		return res, nil
	}
	return res, run(res)
}

func (w *work) use(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	kind := "DATABASE"
	if r.peek().word("ROLE", "WAREHOUSE", "SCHEMA", "DATABASE", "SECONDARY") && r.at(1).kind != tEOF {
		kind = r.take().text
	} else if r.at(1).is(".") {
		kind = "SCHEMA"
	}
	var name object
	if kind == "SECONDARY" {
		r.need("ROLES", "ROLE")
		r.i = len(r.toks)
	} else {
		name = r.objectName()
	}
	return w.status(r, snowtest.KindSCL, executed, func(res *snowtest.Result) error {
		target := object{database: name.name}
		switch kind {
		case "ROLE":
			w.role, res.Role = name.name, name.name
		case "WAREHOUSE":
			w.warehouse, res.Warehouse = name.name, name.name
		case "SCHEMA":
			target = object{database: name.schema, schema: name.name}
			fallthrough
		case "DATABASE":
			err := w.moveTo(ctx, target)
			res.Database, res.Schema = w.database, w.schema
			return err
		}
		return nil
	})
}

func (w *work) moveTo(ctx context.Context, target object) error {
	target.database, target.schema = cmp.Or(target.database, w.database), cmp.Or(target.schema, defaultSchema)
	if err := w.mustExist(ctx, target, errNoObject); err != nil {
		return err
	}
	w.database, w.schema = target.database, target.schema
	return w.setPath(ctx)
}

// setPath tells DuckDB where names are looked up: in the session's schema, then
// among the macros.
func (s *session) setPath(ctx context.Context) error {
	path := macroSchema
	if s.database != "" {
		// Without a schema, that of DuckDB's which nobody sees, so that OTHER.T is found.
		schema := cmp.Or(s.schema, "main")
		path = quoteIdent(s.database) + "." + quoteIdent(schema) + "," + path
	}
	return s.execute(ctx, "SET search_path = "+quoteString(path))
}

func (s *session) setTimeZone(ctx context.Context, zone string) error {
	return s.execute(ctx, "SET TimeZone = "+quoteString(zone))
}

// zone gives the session's time zone, for what DuckDB does not write itself.
func (s *session) zone() *time.Location {
	if zone, err := time.LoadLocation(s.param("TIMEZONE")); err == nil {
		return zone
	}
	return time.UTC
}
