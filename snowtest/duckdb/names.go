package duckdb

import (
	"context"
	"strings"
)

// An object is the name of a table, view, sequence or schema, with what
// qualifies it as far as the client said.
type object struct{ database, schema, name string }

// sql writes the name for DuckDB.
func (o object) sql() string {
	var parts []string
	for _, p := range []string{o.database, o.schema, o.name} {
		if p != "" {
			parts = append(parts, quoteIdent(p))
		}
	}
	return strings.Join(parts, ".")
}

// String writes the name as Snowflake's messages do.
func (o object) String() string {
	var parts []string
	for _, p := range []string{o.database, o.schema, o.name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ".")
}

// in completes the name with the session's database and schema.
func (o object) in(s *session) (object, error) {
	if o.schema == "" {
		o.schema = s.schema
		o.database = s.database
	}
	if o.database == "" {
		o.database = s.database
	}
	if o.database == "" {
		return o, sfError("090105", "22000", "Cannot perform operation. This session does not have a current database. Call 'USE DATABASE', or use a qualified name.")
	}
	if o.schema == "" {
		return o, sfError("090106", "22000", "Cannot perform operation. This session does not have a current schema. Call 'USE SCHEMA', or use a qualified name.")
	}
	return o, nil
}

// objectName reads a name, or IDENTIFIER('name').
func (r *rewriter) objectName() object {
	var parts []string
	if r.peek().word("IDENTIFIER") && r.at(1).is("(") {
		r.i += 2
		value := r.region(nil)
		r.expectOp(")")
		toks, err := tokenize(strings.ReplaceAll(strings.Trim(value, "'"), "''", "'"))
		if err != nil || !strings.HasPrefix(value, "'") {
			r.fail(unsupported("IDENTIFIER with this argument"))
			return object{}
		}
		sub := &rewriter{src: value, toks: toks, s: r.s}
		o := sub.objectName()
		if sub.err != nil || sub.i < len(toks) {
			r.fail(unsupported("IDENTIFIER(%s)", value))
		}
		return o
	}
	for r.err == nil {
		t := r.take()
		if !t.ident() {
			if t.is(".") && len(parts) == 1 {
				parts = append(parts, defaultSchema)
				continue
			}
			r.fail(r.unexpected(t))
			return object{}
		}
		parts = append(parts, t.text)
		if !r.acceptOp(".") {
			break
		}
	}
	switch len(parts) {
	case 1:
		return object{name: parts[0]}
	case 2:
		return object{schema: parts[0], name: parts[1]}
	case 3:
		return object{database: parts[0], schema: parts[1], name: parts[2]}
	}
	r.fail(r.unexpected(r.at(-1)))
	return object{}
}

// schemaName reads the name of a schema, which may be qualified.
func (r *rewriter) schemaName() object {
	o := r.objectName()
	if o.database != "" {
		r.fail(r.unexpected(r.at(-1)))
	}
	return object{database: o.schema, schema: o.name}
}

// values runs a query of the engine's own and gives its rows.
func (s *session) values(ctx context.Context, text string) ([][]*string, error) {
	_, rows, err := query(ctx, s.conn, text, false)
	return rows, err
}

func (s *session) databaseExists(ctx context.Context, name string) (bool, error) {
	rows, err := s.values(ctx, "SELECT 1 FROM duckdb_databases() WHERE NOT internal AND database_name = "+quoteString(name)+
		" AND database_name NOT IN ("+hiddenDatabases+")")
	return len(rows) > 0, err
}

func (s *session) schemaExists(ctx context.Context, o object) (bool, error) {
	rows, err := s.values(ctx, "SELECT 1 FROM duckdb_schemas() WHERE database_name = "+quoteString(o.database)+
		" AND schema_name = "+quoteString(o.schema))
	return len(rows) > 0, err
}

// mustExist is an error if there is no such database or, if one is named, no such
// schema in it.
func (s *session) mustExist(ctx context.Context, o object) error {
	found, err := s.databaseExists(ctx, o.database)
	if err == nil && found && o.schema != "" {
		found, err = s.schemaExists(ctx, o)
	}
	if err == nil && !found {
		return compileError("002043", "02000", "Object does not exist, or operation cannot be performed.")
	}
	return err
}

// hiddenDatabases are DuckDB's own and the engine's.
const hiddenDatabases = "'memory', 'temp', 'system', '" + macroDatabase + "'"
