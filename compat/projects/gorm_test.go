package projects

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/waves"
)

// This file is what a user of GORM does. The dialector is ours: GORM has none for Snowflake,
// and the module proxy serves none of those that others have published.

// A dialector is the least that GORM needs of one.
type dialector struct{ Conn gorm.ConnPool }

func (d dialector) Name() string { return "snowflake" }

func (d dialector) Initialize(db *gorm.DB) error {
	callbacks.RegisterDefaultCallbacks(db, &callbacks.Config{})
	db.ConnPool = d.Conn
	return nil
}

func (d dialector) Migrator(*gorm.DB) gorm.Migrator { return nil }
func (d dialector) DataTypeOf(*schema.Field) string { return "" }
func (d dialector) DefaultValueOf(*schema.Field) clause.Expression {
	return clause.Expr{SQL: "DEFAULT"}
}
func (d dialector) BindVarTo(w clause.Writer, _ *gorm.Statement, _ any) { _ = w.WriteByte('?') }
func (d dialector) QuoteTo(w clause.Writer, name string)                { _, _ = w.WriteString(name) }
func (d dialector) Explain(sql string, vars ...any) string {
	return logger.ExplainSQL(sql, nil, "'", vars...)
}

// A gormItem is an item as GORM knows it.
type gormItem struct {
	ID     int `gorm:"primaryKey;autoIncrement:false"`
	Name   string
	Amount int
	Note   *string
}

func (gormItem) TableName() string { return "items" }

func newGormItem(r *waves.Run) gormItem {
	it := newItem(r)
	return gormItem{ID: it.ID, Name: it.Name, Amount: it.Amount}
}

// TestGorm: with SkipDefaultTransaction writes survive their sessions; with GORM's default each
// is a transaction, which is repeated as a whole.
func TestGorm(t *testing.T) {
	for name, cfg := range map[string]gorm.Config{
		"SkipDefaultTransaction":                  {SkipDefaultTransaction: true},
		"SkipDefaultTransaction and PrepareStmt":  {SkipDefaultTransaction: true, PrepareStmt: true},
		"a transaction a write, which is default": {},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(r *waves.Run, pool *sql.DB) {
				quiet := cfg
				quiet.Logger = logger.Discard
				g, err := gorm.Open(dialector{pool}, &quiet)
				r.Must("gorm.Open", err)
				g = g.WithContext(r.Context())
				ids := gormWrites(r, g, cfg.SkipDefaultTransaction)
				gormReads(r, g, pool, ids)
				gormTransactions(r, g)
			})
		})
	}
}

// gormWrites creates, changes and deletes rows.
func gormWrites(r *waves.Run, g *gorm.DB, bare bool) []int {
	write := func(what string, once func() *gorm.DB, ids ...int) {
		r.Helper()
		if bare {
			err := once().Error
			r.Wrote(err, ids...)
			r.Must(what, err)
		} else {
			r.Tx(what, func() error { return once().Error }, ids...)
		}
	}
	one := newGormItem(r)
	write("Create", func() *gorm.DB { return g.Create(&one) }, one.ID)
	batch := []gormItem{newGormItem(r), newGormItem(r), newGormItem(r)}
	write("Create of a slice", func() *gorm.DB { return g.Create(&batch) }, batch[0].ID, batch[1].ID, batch[2].ID)
	note := "changed"
	write("Updates", func() *gorm.DB { return g.Model(&one).Updates(map[string]any{"note": note}) })
	write("Update where", func() *gorm.DB {
		return g.Model(&gormItem{}).Where("id IN ?", []int{batch[0].ID, batch[1].ID}).Update("note", note)
	})
	gone := newGormItem(r)
	write("Create", func() *gorm.DB { return g.Create(&gone) }, gone.ID)
	write("Delete", func() *gorm.DB { return g.Delete(&gone) })
	r.Wrote(gorm.ErrRecordNotFound, gone.ID)
	return []int{one.ID, batch[0].ID, batch[1].ID, batch[2].ID}
}

// gormReads reads the rows in the ways that GORM has.
func gormReads(r *waves.Run, g *gorm.DB, pool *sql.DB, ids []int) {
	var one gormItem
	r.Must("First", g.First(&one, ids[0]).Error)
	if want := stored(r, pool, ids[0]); one.Name != want.Name || one.Amount != want.Amount || *one.Note != want.Note.String {
		r.Errorf("First gives %+v, want %+v", one, want)
	}
	if err := g.Take(&gormItem{}, -1).Error; !errors.Is(err, gorm.ErrRecordNotFound) {
		r.Errorf("Take of no row: %v", err)
	}
	var all []gormItem
	r.Must("Find", g.Where("id IN ?", ids).Order("id DESC").Limit(3).Offset(1).Find(&all).Error)
	if len(all) != 3 || all[0].ID != ids[2] {
		r.Errorf("Find gives %+v", all)
	}
	var n int64
	r.Must("Count", g.Model(&gormItem{}).Where("note = ?", "changed").Where("id IN ?", ids).Count(&n).Error)
	var names []string
	r.Must("Pluck", g.Model(&gormItem{}).Where("id IN ?", ids).Pluck("name", &names).Error)
	var sum struct{ Total int }
	r.Must("Raw", g.Raw("SELECT SUM(amount) AS total FROM items WHERE id = ?", ids[0]).Scan(&sum).Error)
	if n != 3 || len(names) != 4 || sum.Total != 10*ids[0] {
		r.Errorf("Count gives %d, Pluck %q, Raw %d", n, names, sum.Total)
	}
	batches := 0
	r.Must("FindInBatches", g.Where("id IN ?", ids).FindInBatches(&all, 3, func(*gorm.DB, int) error { batches++; return nil }).Error)
	rows, err := g.Model(&gormItem{}).Where("id IN ?", ids).Rows()
	r.Must("Rows", err)
	defer rows.Close()
	seen := 0
	for ; rows.Next(); seen++ {
		r.Must("ScanRows", g.ScanRows(rows, &one))
	}
	if r.Must("Rows", rows.Err()); seen != 4 || batches != 2 {
		r.Errorf("Rows gives %d, FindInBatches %d batches", seen, batches)
	}
}

// gormTx lets RunTx end a transaction of GORM's.
type gormTx struct{ *gorm.DB }

func (tx gormTx) Commit() error   { return tx.DB.Commit().Error }
func (tx gormTx) Rollback() error { return tx.DB.Rollback().Error }

// gormTransactions are a transaction of GORM's own, one rolled back, and one of RunTx.
func gormTransactions(r *waves.Run, g *gorm.DB) {
	one, two := newGormItem(r), newGormItem(r)
	r.Tx("Transaction", func() error {
		return g.Transaction(func(tx *gorm.DB) error {
			if err := tx.Create(&one).Error; err != nil {
				return err
			}
			return tx.Create(&two).Error
		})
	}, one.ID, two.ID)

	undone, stop := newGormItem(r), errors.New("stop")
	err := stop
	for once := true; once || r.Waves && errors.Is(err, snowtether.ErrSessionLost); once = false {
		err = g.Transaction(func(tx *gorm.DB) error {
			if err := tx.Create(&undone).Error; err != nil {
				return err
			}
			return stop
		})
	}
	if !errors.Is(err, stop) {
		r.Errorf("a transaction that its function stopped: %v", err)
	}
	r.Wrote(stop, undone.ID)

	three := newGormItem(r)
	r.Tx("RunTx", func() error {
		return snowtether.RunTx(r.Context(),
			func(ctx context.Context) (gormTx, error) {
				tx := g.WithContext(ctx).Begin()
				return gormTx{tx}, tx.Error
			},
			func(tx gormTx) error { return tx.Create(&three).Error })
	}, three.ID)
}
