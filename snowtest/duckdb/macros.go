package duckdb

import (
	"context"
	"database/sql"
	_ "embed"
	"os"
	"path/filepath"
	"sync"

	duck "github.com/duckdb/duckdb-go/v2"
)

// This file gives an engine the functions of Snowflake's dialect.

// macros holds them as SQL.
//
//go:embed macros.sql
var macros string

// macroDatabase is on every session's search path, behind its own schema.
const (
	macroDatabase = "snowflake$"
	macroSchema   = `"` + macroDatabase + `".main`
)

// openDuckDB opens a DuckDB in memory. Extensions are neither fetched nor loaded: what is needed,
// JSON and time zones, is linked in.
func openDuckDB() (*duck.Connector, *sql.DB, error) {
	connector, err := duck.NewConnector(":memory:?autoinstall_known_extensions=false&autoload_known_extensions=false", nil)
	if err != nil {
		return nil, nil, err
	}
	return connector, sql.OpenDB(connector), nil
}

func execAll(ctx context.Context, c *sql.Conn, statements ...string) error {
	for _, q := range statements {
		if _, err := c.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// macroStatements make the functions of a new database.
var macroStatements = []string{"SET search_path = '" + macroSchema + "'", macros}

// macroFile is a database with the functions, as a file's content. DuckDB opens it in a tenth of the
// time that it takes to read the SQL, which is the most of an engine's start. A process makes it once.
var macroFile = sync.OnceValues(func() (content []byte, err error) {
	folder, err := os.MkdirTemp("", "snowtest-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	file := filepath.Join(folder, "macros")
	_, db, err := openDuckDB()
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	ctx := context.Background()
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	statements := append([]string{"ATTACH " + quoteString(file) + " AS " + quoteIdent(macroDatabase) + " (BLOCK_SIZE 16384)"}, macroStatements...)
	if err = registerScalars(c); err == nil {
		err = execAll(ctx, c, append(statements, "SET search_path = 'memory.main'", "DETACH "+quoteIdent(macroDatabase))...)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// attachMacros gives the engine the functions: from the file, or, where there is no folder for
// it, from the SQL.
func (e *Engine) attachMacros(ctx context.Context) error {
	content, err := macroFile()
	file := ""
	if err == nil {
		file, err = e.scratch()
	}
	if err == nil {
		err = os.WriteFile(file, content, 0o600)
	}
	if err == nil {
		return execAll(ctx, e.admin, "ATTACH "+quoteString(file)+" AS "+quoteIdent(macroDatabase)+" (READ_ONLY)", macroStatements[0])
	}
	return execAll(ctx, e.admin, append([]string{"ATTACH ':memory:' AS " + quoteIdent(macroDatabase)}, macroStatements...)...)
}
