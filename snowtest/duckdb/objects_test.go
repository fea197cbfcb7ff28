package duckdb_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// A login may name what the catalog has, and nothing else.
func TestLoginNamesADatabaseOfTheCatalog(t *testing.T) {
	engine, err := duckdb.New()
	if err != nil {
		t.Fatal(err)
	}
	srv := snowtest.New(t, snowtest.WithEngine(engine))
	open := func(database, schema string) error {
		cfg := srv.Config()
		cfg.Database, cfg.Schema = database, schema
		db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, *cfg))
		defer func() { _ = db.Close() }()
		return db.PingContext(t.Context())
	}
	refused := func(err error) bool {
		var e *gosnowflake.SnowflakeError
		return errors.As(err, &e) && e.Number == gosnowflake.ErrObjectNotExistOrAuthorized
	}
	if err := open("SALES", "RAW"); !refused(err) {
		t.Errorf("an unknown database: %v", err)
	}
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, statement := range []string{"CREATE DATABASE sales", "CREATE SCHEMA sales.raw"} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sales", "SALES", `"SALES"`} {
		if err := open(name, "raw"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := open("SALES", "CLEAN"); !refused(err) {
		t.Errorf("an unknown schema: %v", err)
	}
	if err := open("SALES", `"main"`); !refused(err) {
		t.Errorf("DuckDB's own schema: %v", err)
	}
	if err := open(`"sales"`, ""); !refused(err) {
		t.Errorf("a name in quotes: %v", err)
	}
}
