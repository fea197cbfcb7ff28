package duckdb

import (
	"cmp"
	"context"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// use carries out USE.
func (w *work) use(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i = 1
	res := snowtest.Status(snowtest.KindSCL, executed)
	var target object
	switch what := r.peek(); {
	case what.word("SECONDARY") && r.at(1).word("ROLES", "ROLE"):
		if w.st.DescribeOnly {
			return describeOnly(res), nil
		}
		return res, nil
	case what.word("ROLE", "WAREHOUSE") && r.at(1).kind != tEOF:
		r.i++
		name := r.objectName()
		if err := r.end(); err != nil {
			return nil, err
		}
		if w.st.DescribeOnly {
			return describeOnly(res), nil
		}
		if what.text == "ROLE" {
			w.role, res.Role = name.name, name.name
		} else {
			w.warehouse, res.Warehouse = name.name, name.name
		}
		return res, nil
	case what.word("DATABASE") && r.at(1).kind != tEOF:
		r.i++
		target.database = r.objectName().name
	case what.word("SCHEMA") && r.at(1).kind != tEOF:
		r.i++
		target = r.schemaName()
	default:
		o := r.objectName()
		target.database = o.name
		if o.schema != "" {
			target = object{database: o.schema, schema: o.name}
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if w.st.DescribeOnly {
		return describeOnly(res), nil
	}
	if err := w.moveTo(ctx, target); err != nil {
		return nil, err
	}
	res.Database, res.Schema = w.database, w.schema
	return res, nil
}

// moveTo makes a database and a schema current.
func (w *work) moveTo(ctx context.Context, target object) error {
	if target.database == "" {
		target.database = w.database
	}
	if target.schema == "" {
		target.schema = defaultSchema
	}
	if err := w.mustExist(ctx, target); err != nil {
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
	_, err := exec(ctx, s.conn, "SET search_path = "+quoteString(path))
	return err
}

func (s *session) setTimeZone(ctx context.Context, zone string) error {
	_, err := exec(ctx, s.conn, "SET TimeZone = "+quoteString(zone))
	return err
}

// zone gives the session's time zone, for what DuckDB does not write itself.
func (s *session) zone() *time.Location {
	if zone, err := time.LoadLocation(s.param("TIMEZONE")); err == nil {
		return zone
	}
	return time.UTC
}
