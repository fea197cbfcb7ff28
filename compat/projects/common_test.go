package projects

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/waves"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// This file is what the tests share: a server with real SQL, a pool, a table.

func init() {
	// gosnowflake logs to stderr what it is about to return anyway.
	if err := gosnowflake.GetLogger().SetLogLevel("off"); err != nil {
		panic(err)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // a line for each session
}

// The table that the programs write into; amounts are 10 times the ID.
const createItems = `CREATE TABLE items (ID INT, NAME VARCHAR, AMOUNT INT, NOTE VARCHAR)`

// An item is a row of it.
type item struct {
	ID     int            `db:"ID"`
	Name   string         `db:"NAME"`
	Amount int            `db:"AMOUNT"`
	Note   sql.NullString `db:"NOTE"`
}

func newItem(r *waves.Run) item {
	id := r.ID()
	return item{ID: id, Name: "it's \\ ü ?", Amount: 10 * id}
}

// server starts one with the table.
func server(t *testing.T) *snowtest.Server {
	t.Helper()
	e, err := duckdb.New()
	if err != nil {
		t.Fatal(err)
	}
	srv := snowtest.New(t, snowtest.WithEngine(e))
	db := sql.OpenDB(connector(t, srv))
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), createItems); err != nil {
		t.Fatal(err)
	}
	return srv
}

func connector(t *testing.T, srv *snowtest.Server) *snowtether.Connector {
	t.Helper()
	c, err := snowtether.NewConnector(srv.Config())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open opens the driver by its name, as the line that is changed in most programs does.
func open(r *waves.Run) *sql.DB {
	db, err := sql.Open("snowtether", r.Server.DSN())
	r.Must("sql.Open", err)
	return closing(r, db)
}

func closing(r *waves.Run, db *sql.DB) *sql.DB {
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	r.Cleanup(func() {
		if err := db.Close(); err != nil {
			r.Error(err)
		}
	})
	return db
}

// both runs work on a pool, quiet and under waves.
func both(t *testing.T, work func(r *waves.Run, db *sql.DB)) {
	t.Helper()
	bothOpened(t, open, work)
}

func bothOpened(t *testing.T, open func(r *waves.Run) *sql.DB, work func(r *waves.Run, db *sql.DB)) {
	t.Helper()
	var db *sql.DB
	opened := func(r *waves.Run) *sql.DB { db = open(r); return db }
	waves.Both(t, server, opened, "items", func(r *waves.Run) { work(r, db) })
}

// stored reads an item as database/sql does, to compare with what a program has written.
func stored(r *waves.Run, db *sql.DB, id int) (it item) {
	row := db.QueryRowContext(context.WithoutCancel(r.Context()), "SELECT ID, NAME, AMOUNT, NOTE FROM items WHERE ID = ?", id)
	r.Must("the row", row.Scan(&it.ID, &it.Name, &it.Amount, &it.Note))
	return it
}
