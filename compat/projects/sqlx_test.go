package projects

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/waves"
)

// This file is what a user of sqlx does.

const insertNamed = "INSERT INTO items (ID, NAME, AMOUNT) VALUES (:ID, :NAME, :AMOUNT)"

// TestSqlx: one line is changed, the name that sqlx opens.
func TestSqlx(t *testing.T) {
	both(t, func(r *waves.Run, pool *sql.DB) {
		db, ctx := sqlx.NewDb(pool, "snowtether"), r.Context()
		ids := sqlxWrites(r, db)
		one, two := newItem(r), newItem(r)
		r.Tx("Beginx", func() error { return sqlxTransaction(ctx, db, one, two) }, one.ID, two.ID)
		three := newItem(r)
		r.Tx("RunTx", func() error {
			return snowtether.RunTx(ctx,
				func(ctx context.Context) (*sqlx.Tx, error) { return db.BeginTxx(ctx, nil) },
				func(tx *sqlx.Tx) error {
					_, err := tx.NamedExecContext(ctx, insertNamed, three)
					return err
				})
		}, three.ID)
		sqlxReads(r, db, ids)
	})
}

// sqlxWrites writes rows in every way that sqlx has, outside transactions.
func sqlxWrites(r *waves.Run, db *sqlx.DB) []int {
	ctx := r.Context()
	var ids []int
	wrote := func(what string, err error, items ...item) {
		r.Helper()
		for _, it := range items {
			r.Wrote(err, it.ID)
			ids = append(ids, it.ID)
		}
		r.Must(what, err)
	}

	it := newItem(r)
	res, err := db.NamedExecContext(ctx, insertNamed, it)
	wrote("NamedExec of a struct", err, it)
	n, err := res.RowsAffected()
	if r.Must("RowsAffected", err); n != 1 {
		r.Errorf("%d rows affected", n)
	}

	it = newItem(r)
	_, err = db.NamedExecContext(ctx, insertNamed, map[string]any{"ID": it.ID, "NAME": it.Name, "AMOUNT": it.Amount})
	wrote("NamedExec of a map", err, it)

	batch := []item{newItem(r), newItem(r), newItem(r)}
	_, err = db.NamedExecContext(ctx, insertNamed, batch)
	wrote("NamedExec of a slice", err, batch...)

	named, err := db.PrepareNamedContext(ctx, insertNamed)
	r.Must("PrepareNamed", err)
	defer named.Close()
	for range 2 {
		it = newItem(r)
		_, err = named.ExecContext(ctx, it)
		wrote("a named statement", err, it)
	}

	stmt, err := db.PreparexContext(ctx, "INSERT INTO items (ID, NAME, AMOUNT) VALUES (?, ?, ?)")
	r.Must("Preparex", err)
	defer stmt.Close()
	for range 2 {
		it = newItem(r)
		_, err = stmt.ExecContext(ctx, it.ID, it.Name, it.Amount)
		wrote("a statement", err, it)
	}

	it = newItem(r)
	conn, err := db.Connx(ctx)
	r.Must("Connx", err)
	defer conn.Close()
	_, err = conn.ExecContext(ctx, db.Rebind("INSERT INTO items (ID, NAME, AMOUNT) VALUES (?, ?, ?)"), it.ID, it.Name, it.Amount)
	wrote("Connx", err, it)
	return ids
}

// sqlxTransaction writes two rows with what a Tx of sqlx has.
func sqlxTransaction(ctx context.Context, db *sqlx.DB, one, two item) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.NamedExecContext(ctx, insertNamed, one); err != nil {
		return err
	}
	stmt, err := tx.PreparexContext(ctx, "INSERT INTO items (ID, NAME, AMOUNT) VALUES (?, ?, ?)")
	if err != nil {
		return err
	}
	defer stmt.Close()
	if _, err := stmt.ExecContext(ctx, two.ID, two.Name, two.Amount); err != nil {
		return err
	}
	var count int
	if err := tx.GetContext(ctx, &count, "SELECT COUNT(*) FROM items WHERE ID IN (?, ?)", one.ID, two.ID); err != nil {
		return err
	}
	return tx.Commit()
}

// sqlxReads reads these rows in every way that sqlx has.
func sqlxReads(r *waves.Run, db *sqlx.DB, ids []int) {
	ctx := r.Context()
	var it item
	r.Must("Get", db.GetContext(ctx, &it, "SELECT * FROM items WHERE ID = ?", ids[0]))
	if it != stored(r, db.DB, ids[0]) || it.Amount != 10*it.ID {
		r.Errorf("Get gives %+v", it)
	}
	if err := db.GetContext(ctx, &it, "SELECT * FROM items WHERE ID = -1"); err != sql.ErrNoRows {
		r.Errorf("Get of no row: %v", err)
	}

	query, args, err := sqlx.In("SELECT * FROM items WHERE ID IN (?) ORDER BY ID", ids)
	r.Must("In", err)
	var all []item
	r.Must("Select", db.SelectContext(ctx, &all, db.Rebind(query), args...))
	if len(all) != len(ids) {
		r.Errorf("Select gives %d rows, want %d", len(all), len(ids))
	}

	rows, err := db.NamedQueryContext(ctx, "SELECT * FROM items WHERE ID >= :ID AND ID < :AMOUNT ORDER BY ID", item{ID: ids[0], Amount: ids[0] + 3})
	r.Must("NamedQuery", err)
	n := 0
	for ; rows.Next(); n++ {
		r.Must("StructScan", rows.StructScan(&it))
	}
	if r.Must("NamedQuery", rows.Err()); n != 3 {
		r.Errorf("NamedQuery gives %d rows", n)
	}

	m := map[string]any{}
	r.Must("MapScan", db.QueryRowxContext(ctx, "SELECT * FROM items WHERE ID = ?", ids[0]).MapScan(m))
	if len(m) != 4 || m["NAME"] != it.Name {
		r.Errorf("MapScan gives %v", m)
	}
	slice, err := db.QueryRowxContext(ctx, "SELECT ID, NAME FROM items WHERE ID = ?", ids[0]).SliceScan()
	if r.Must("SliceScan", err); len(slice) != 2 {
		r.Errorf("SliceScan gives %v", slice)
	}

	lower := db.Unsafe()
	lower.MapperFunc(strings.ToUpper)
	var part struct{ Name string }
	r.Must("Unsafe", lower.GetContext(ctx, &part, "SELECT * FROM items WHERE ID = ?", ids[0]))
	if part.Name != it.Name {
		r.Errorf("Unsafe gives %+v", part)
	}
}
