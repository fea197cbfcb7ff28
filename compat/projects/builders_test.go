package projects

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	sq "github.com/Masterminds/squirrel"
	"github.com/doug-martin/goqu/v9"
	"github.com/georgysavva/scany/v2/dbscan"
	"github.com/georgysavva/scany/v2/sqlscan"

	"github.com/snowtether/snowtether/internal/waves"
)

// This file is what users of squirrel and goqu do, with scany to read what they select.

// scanning finds the fields of structs by Snowflake's capitals.
func scanning(r *waves.Run) *sqlscan.API {
	inner, err := sqlscan.NewDBScanAPI(dbscan.WithFieldNameMapper(strings.ToUpper))
	r.Must("scany", err)
	api, err := sqlscan.NewAPI(inner)
	r.Must("scany", err)
	return api
}

// TestSquirrelAndScany: no line is changed but the name that is opened.
func TestSquirrelAndScany(t *testing.T) {
	both(t, func(r *waves.Run, db *sql.DB) {
		ctx, scan := r.Context(), scanning(r)
		cache := sq.NewStmtCache(db)
		defer func() { r.Must("StmtCache.Clear", cache.Clear()) }()
		var ids []int
		for _, runner := range []sq.BaseRunner{db, cache} {
			it := newItem(r)
			res, err := sq.Insert("items").Columns("ID", "NAME", "AMOUNT").Values(it.ID, it.Name, it.Amount).RunWith(runner).ExecContext(ctx)
			r.Wrote(err, it.ID)
			r.Must("Insert", err)
			if n, err := res.RowsAffected(); n != 1 || err != nil {
				r.Errorf("%d rows affected, %v", n, err)
			}
			ids = append(ids, it.ID)
		}
		_, err := sq.Update("items").Set("NOTE", "n").Where(sq.Eq{"ID": ids}).RunWith(db).ExecContext(ctx)
		r.Must("Update", err)

		query, args := sq.Select("*").From("items").Where(sq.And{sq.Eq{"ID": ids}, sq.NotEq{"NOTE": nil}}).OrderBy("ID").MustSql()
		var all []item
		r.Must("scany's Select", scan.Select(ctx, db, &all, query, args...))
		if len(all) != 2 || all[1] != stored(r, db, ids[1]) {
			r.Errorf("scany's Select gives %+v", all)
		}
		var one item
		if err := scan.Get(ctx, db, &one, "SELECT * FROM items WHERE ID = ?", -1); !sqlscan.NotFound(err) {
			r.Errorf("scany's Get of no row: %v", err)
		}
		var name string
		r.Must("QueryRow", sq.Select("NAME").From("items").Where(sq.Eq{"ID": ids[0]}).RunWith(db).QueryRowContext(ctx).Scan(&name))

		it := newItem(r)
		r.Tx("a transaction", func() error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if _, err := sq.Insert("items").SetMap(map[string]any{"ID": it.ID, "NAME": it.Name, "AMOUNT": it.Amount}).RunWith(tx).ExecContext(ctx); err != nil {
				return err
			}
			if err := scan.Get(ctx, tx, &one, "SELECT * FROM items WHERE ID = ?", it.ID); err != nil {
				return err
			}
			return tx.Commit()
		}, it.ID)
	})
}

// TestGoquAndScany: goqu's default dialect, and what it prepares.
func TestGoquAndScany(t *testing.T) {
	both(t, func(r *waves.Run, pool *sql.DB) {
		db, ctx, scan := goqu.New("default", pool), r.Context(), scanning(r)
		items := goqu.T("ITEMS")
		var ids []int
		for _, prepared := range []bool{true, false} {
			it := newItem(r)
			it.Name = "no backslash" // goqu's default dialect does not escape it in texts
			_, err := db.Insert(items).Prepared(prepared).Rows(goqu.Record{"ID": it.ID, "NAME": it.Name, "AMOUNT": it.Amount}).Executor().ExecContext(ctx)
			r.Wrote(err, it.ID)
			r.Must("Insert", err)
			ids = append(ids, it.ID)
		}
		_, err := db.Update(items).Set(goqu.Record{"NOTE": "n"}).Where(goqu.C("ID").In(ids)).Executor().ExecContext(ctx)
		r.Must("Update", err)

		var one item
		found, err := db.From(items).Prepared(true).Where(goqu.C("ID").Eq(ids[0])).ScanStructContext(ctx, &one)
		if r.Must("ScanStruct", err); !found || one != stored(r, pool, ids[0]) {
			r.Errorf("ScanStruct gives %v, %+v", found, one)
		}
		n, err := db.From(items).Where(goqu.C("ID").In(ids)).CountContext(ctx)
		if r.Must("Count", err); n != 2 {
			r.Errorf("Count gives %d", n)
		}
		var names []string
		r.Must("ScanVals", db.From(items).Select("NAME").Where(goqu.C("ID").In(ids)).ScanValsContext(ctx, &names))
		query, args, err := db.From(items).Prepared(true).Where(goqu.C("ID").In(ids)).Order(goqu.C("ID").Desc()).Limit(1).ToSQL()
		r.Must("ToSQL", err)
		r.Must("scany's Get", scan.Get(ctx, pool, &one, query, args...))
		if len(names) != 2 || one.ID != ids[1] {
			r.Errorf("ScanVals gives %q, scany's Get %+v", names, one)
		}

		goquTransaction(r, ctx, db)
	})
}

func goquTransaction(r *waves.Run, ctx context.Context, db *goqu.Database) {
	it := newItem(r)
	r.Tx("WithTx", func() error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		return tx.Wrap(func() error {
			_, err := tx.Insert("ITEMS").Prepared(true).Rows(goqu.Record{"ID": it.ID, "NAME": it.Name}).Executor().ExecContext(ctx)
			return err
		})
	}, it.ID)
}
