package projects

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/dialect/feature"
	"github.com/uptrace/bun/schema"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/waves"
)

// This file is what a user of bun does. bun has no dialect for Snowflake; this one is ours.

type bunDialect struct {
	schema.BaseDialect
	tables *schema.Tables
}

func newBunDialect() *bunDialect {
	d := &bunDialect{}
	d.tables = schema.NewTables(d)
	return d
}

func (d *bunDialect) Init(*sql.DB)           {}
func (d *bunDialect) Name() dialect.Name     { return 100 } // "custom"
func (d *bunDialect) Tables() *schema.Tables { return d.tables }
func (d *bunDialect) OnTable(*schema.Table)  {}
func (d *bunDialect) IdentQuote() byte       { return '"' }
func (d *bunDialect) DefaultVarcharLen() int { return 0 }
func (d *bunDialect) DefaultSchema() string  { return "PUBLIC" }
func (d *bunDialect) Features() feature.Feature {
	return feature.CTE | feature.SelectExists
}

func (d *bunDialect) AppendSequence(b []byte, _ *schema.Table, _ *schema.Field) []byte { return b }

// AppendString escapes backslashes too, which Snowflake reads.
func (d *bunDialect) AppendString(b []byte, s string) []byte {
	for _, c := range d.BaseDialect.AppendString(nil, s) {
		if b = append(b, c); c == '\\' {
			b = append(b, c)
		}
	}
	return b
}

// A bunItem is an item as bun knows it.
type bunItem struct {
	bun.BaseModel `bun:"table:ITEMS,alias:I"`

	ID     int    `bun:"ID,pk"`
	Name   string `bun:"NAME"`
	Amount int    `bun:"AMOUNT"`
	Note   string `bun:"NOTE,nullzero"`
}

func newBunItem(r *waves.Run) *bunItem {
	it := newItem(r)
	return &bunItem{ID: it.ID, Name: it.Name, Amount: it.Amount}
}

// TestBun: bun writes values into the text itself.
func TestBun(t *testing.T) {
	both(t, func(r *waves.Run, pool *sql.DB) {
		db, ctx := bun.NewDB(pool, newBunDialect()), r.Context()
		one, batch := newBunItem(r), []*bunItem{newBunItem(r), newBunItem(r)}
		_, err := db.NewInsert().Model(one).Exec(ctx)
		r.Wrote(err, one.ID)
		r.Must("NewInsert", err)
		_, err = db.NewInsert().Model(&batch).Exec(ctx)
		r.Wrote(err, batch[0].ID, batch[1].ID)
		r.Must("NewInsert of a slice", err)
		_, err = db.NewRaw("UPDATE ITEMS SET NOTE = ? WHERE ID IN (?)", "n", bun.List([]int{one.ID, batch[0].ID})).Exec(ctx)
		r.Must("NewRaw", err)
		raw := newItem(r)
		_, err = db.ExecContext(ctx, "INSERT INTO ITEMS (ID, NAME) VALUES (?, ?)", raw.ID, raw.Name)
		r.Wrote(err, raw.ID)
		r.Must("Exec", err)
		bunReads(r, db, pool, one, batch)
		bunTransactions(r, db)
	})
}

func bunReads(r *waves.Run, db *bun.DB, pool *sql.DB, one *bunItem, batch []*bunItem) {
	ctx := r.Context()
	got := &bunItem{ID: one.ID}
	r.Must("NewSelect", db.NewSelect().Model(got).WherePK().Scan(ctx))
	if want := stored(r, pool, one.ID); got.Name != want.Name || got.Amount != want.Amount || got.Note != "n" {
		r.Errorf("NewSelect gives %+v, want %+v", got, want)
	}
	if err := db.NewSelect().Model(&bunItem{ID: -1}).WherePK().Scan(ctx); !errors.Is(err, sql.ErrNoRows) {
		r.Errorf("NewSelect of no row: %v", err)
	}
	var all []bunItem
	n, err := db.NewSelect().Model(&all).Where("ID IN (?)", bun.List([]int{one.ID, batch[0].ID, batch[1].ID})).Order("ID DESC").Limit(2).ScanAndCount(ctx)
	if r.Must("ScanAndCount", err); n != 3 || len(all) != 2 || all[0].ID != batch[1].ID {
		r.Errorf("ScanAndCount gives %d and %+v", n, all)
	}
	there, err := db.NewSelect().Model((*bunItem)(nil)).Where("ID = ?", one.ID).Exists(ctx)
	if r.Must("Exists", err); !there {
		r.Error("Exists says no")
	}
	var names []string
	r.Must("Column", db.NewSelect().Model((*bunItem)(nil)).Column("NAME").Where("ID = ?", one.ID).Scan(ctx, &names))
	stmt, err := db.PrepareContext(ctx, "SELECT NAME FROM ITEMS WHERE ID = ?")
	r.Must("Prepare", err)
	defer stmt.Close()
	var name string
	r.Must("a statement", stmt.QueryRowContext(ctx, one.ID).Scan(&name))
	if len(names) != 1 || names[0] != one.Name || name != one.Name {
		r.Errorf("Column gives %q, a statement %q", names, name)
	}
}

func bunTransactions(r *waves.Run, db *bun.DB) {
	ctx := r.Context()
	one, two := newBunItem(r), newBunItem(r)
	r.Tx("RunInTx", func() error {
		return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewInsert().Model(one).Exec(ctx); err != nil {
				return err
			}
			_, err := tx.NewInsert().Model(two).Exec(ctx)
			return err
		})
	}, one.ID, two.ID)
	three := newBunItem(r)
	r.Tx("RunTx", func() error {
		return snowtether.RunTx(ctx,
			func(ctx context.Context) (bun.Tx, error) { return db.BeginTx(ctx, nil) },
			func(tx bun.Tx) error { _, err := tx.NewInsert().Model(three).Exec(ctx); return err })
	}, three.ID)
	gone := newBunItem(r)
	r.Tx("a row that is deleted", func() error {
		return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewInsert().Model(gone).Exec(ctx); err != nil {
				return err
			}
			_, err := tx.NewDelete().Model((*bunItem)(nil)).Where("ID = ?", gone.ID).Exec(ctx)
			return err
		})
	})
}
