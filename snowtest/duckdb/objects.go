package duckdb

import (
	"cmp"
	"context"
	"time"

	"github.com/snowtether/snowtether/internal/sqltext"
)

// HasDatabase reports whether the catalog has the database, or if schema is not empty, the
// schema in it. The server asks when a login names one; names are written as in a DSN.
func (e *Engine) HasDatabase(database, schema string) bool {
	schema = cmp.Or(schema, defaultSchema)
	if sqltext.Fold(schema) == "main" { // DuckDB's own
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	rows, err := e.admin.QueryContext(context.Background(), "SELECT 1 FROM duckdb_schemas() WHERE database_name = "+
		quoteString(sqltext.Fold(database))+" AND schema_name = "+quoteString(sqltext.Fold(schema)))
	if err != nil {
		return false
	}
	defer func() { _ = rows.Close() }()
	return rows.Next()
}

// noteCreated keeps when an object was created, where DuckDB has no place for it.
func (e *Engine) noteCreated(kind string, o object, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.created[kind+" "+o.String()] = at
}

// createdOn gives when an object was created, in the text form of a result: at the latest
// when the engine was started.
func (e *Engine) createdOn(kind string, o object) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	at, ok := e.created[kind+" "+o.String()]
	if !ok {
		at = e.started
	}
	return string(fraction(nil, at.Unix(), at.Nanosecond()/1000*1000, 9))
}
