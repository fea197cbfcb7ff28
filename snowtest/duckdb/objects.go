package duckdb

import "context"

// HasDatabase reports whether the catalog has the database, or if schema is not empty, the
// schema in it. The server asks when a login names one; names are written as in a DSN.
func (e *Engine) HasDatabase(database, schema string) bool {
	if schema == "" {
		schema = defaultSchema
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	rows, err := e.admin.QueryContext(context.Background(), "SELECT 1 FROM duckdb_schemas() WHERE database_name = "+
		quoteString(foldName(database))+" AND schema_name = "+quoteString(foldName(schema)))
	if err != nil {
		return false
	}
	defer func() { _ = rows.Close() }()
	return rows.Next()
}
