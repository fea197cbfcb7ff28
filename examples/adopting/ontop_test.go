package adopting_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// This file is about what stands on top of database/sql: sqlx, sqlc, GORM.

type order struct {
	ID     int `db:"ID"`
	Amount int `db:"AMOUNT"`
}

const insertNamed = "INSERT INTO orders (id, amount) VALUES (:ID, :AMOUNT)"

func saveAndRead(ctx context.Context, db *sqlx.DB) (orders []order, err error) {
	if _, err := db.NamedExecContext(ctx, insertNamed, order{ID: 7, Amount: 100}); err != nil {
		return nil, err
	}
	err = db.SelectContext(ctx, &orders, "SELECT id, amount FROM orders")
	return orders, err
}

func TestSqlxNeedsNoBindDriver(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	ctx, dsn, pool := t.Context(), srv.DSN(), open(t, "snowtether", srv)

	srv.Handle("^SELECT id, amount", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows([]string{"ID", "AMOUNT"}, []any{7, 100}), nil // names come in capitals
	})

	db, err := sqlx.Open("snowtether", dsn)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, db.DB)
	existing := sqlx.NewDb(pool, "snowtether") // around an existing *sql.DB

	for _, db := range []*sqlx.DB{db, existing} {
		srv.AbortSessions()
		orders, err := saveAndRead(ctx, db)
		if err != nil || len(orders) != 1 || orders[0] != (order{7, 100}) {
			t.Errorf("got %v, %v", orders, err)
		}
		query, args, err := sqlx.In("DELETE FROM orders WHERE id IN (?)", []int{1, 2, 3})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(ctx, db.Rebind(query), args...); err != nil {
			t.Error(err)
		}
		err = snowtether.RunTx(ctx,
			func(ctx context.Context) (*sqlx.Tx, error) { return db.BeginTxx(ctx, nil) },
			func(tx *sqlx.Tx) error {
				_, err := tx.NamedExec(insertNamed, order{8, 200})
				return err
			})
		if err != nil {
			t.Error(err)
		}
	}
	if n := srv.Effects("INSERT INTO orders (id, amount) VALUES (?, ?)"); n != 4 {
		t.Errorf("%d orders, want 4", n)
	}
	if n := srv.Effects("DELETE FROM orders WHERE id IN (?, ?, ?)"); n != 2 {
		t.Errorf("%d deletions, want 2", n)
	}
}

// TestNamesOfSqlxHaveTheCaseOfTheColumns: with tags in capitals, with a mapper in place of tags,
// and with columns that each query names in lower case. Against real SQL.
func TestNamesOfSqlxHaveTheCaseOfTheColumns(t *testing.T) {
	engine, err := duckdb.New()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	pool := open(t, "snowtether", snowtest.New(t, snowtest.WithEngine(engine)))
	db := sqlx.NewDb(pool, "snowtether")
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id INT, amount INT)"); err != nil {
		t.Fatal(err)
	}
	if orders, err := saveAndRead(ctx, db); err != nil || len(orders) != 1 || orders[0] != (order{7, 100}) {
		t.Errorf("tags in capitals: %v, %v", orders, err)
	}

	type untagged struct{ ID, Amount int }
	mapped := sqlx.NewDb(pool, "snowtether")
	mapped.MapperFunc(strings.ToUpper)
	if _, err := mapped.NamedExecContext(ctx, insertNamed, untagged{8, 200}); err != nil {
		t.Errorf("a mapper: %v", err)
	}
	var one untagged
	if err := mapped.GetContext(ctx, &one, "SELECT id, amount FROM orders WHERE id = 8"); err != nil || one != (untagged{8, 200}) {
		t.Errorf("a mapper: %v, %v", one, err)
	}

	type lower struct {
		ID int `db:"id"`
	}
	var low lower
	if err := db.GetContext(ctx, &low, `SELECT id AS "id" FROM orders WHERE id = 8`); err != nil || low.ID != 8 {
		t.Errorf("names in lower case: %v, %v", low, err)
	}
}

// DBTX is what code that sqlc generated asks for.
type DBTX interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// Queries has the shape of what sqlc generates.
type Queries struct{ db DBTX }

func New(db DBTX) *Queries { return &Queries{db} }

func (q *Queries) WithTx(tx *sql.Tx) *Queries { return &Queries{tx} }

func (q *Queries) InsertOrder(ctx context.Context, o order) error {
	_, err := q.db.ExecContext(ctx, insertOrder, o.ID, o.Amount)
	return err
}

func TestGeneratedCodeTakesThePool(t *testing.T) {
	srv := snowtest.New(t)
	db, ctx := open(t, "snowtether", srv), t.Context()
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		if r.SQL == insertOrder {
			srv.AbortSessions()
		}
		return snowtest.Fault{}, r.SQL == insertOrder
	})

	queries := New(db)
	err := snowtether.RunTx(ctx,
		func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) },
		func(tx *sql.Tx) error { return queries.WithTx(tx).InsertOrder(ctx, order{7, 100}) })
	if err != nil || srv.Effects(insertOrder) != 1 {
		t.Errorf("%d effects, %v", srv.Effects(insertOrder), err)
	}
}

// A dialector is the least that GORM needs of one. A real one has types and a
// migrator.
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

func openGorm(db *sql.DB) (*gorm.DB, error) {
	return gorm.Open(dialector{Conn: db}, &gorm.Config{SkipDefaultTransaction: true})
}

// TestGormMeetsALostSession: outside a transaction it sees nothing of it. Its
// default puts each write into one, where an error is all that there can be.
func TestGormMeetsALostSession(t *testing.T) {
	for _, skip := range []bool{true, false} {
		srv := snowtest.New(t)
		db, ctx := open(t, "snowtether", srv), t.Context()
		g, err := openGorm(db)
		if !skip {
			g, err = gorm.Open(dialector{Conn: db}, &gorm.Config{})
		}
		if err != nil {
			t.Fatal(err)
		}
		g.Logger = logger.Discard
		const insert = "INSERT INTO orders (amount,id) VALUES (?,?)"
		// The session is gone when the INSERT arrives, be it in a transaction or not.
		srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
			if r.SQL == insert {
				srv.AbortSessions()
			}
			return snowtest.Fault{}, r.SQL == insert
		})
		err = g.WithContext(ctx).Create(&order{ID: 7, Amount: 100}).Error
		if skip {
			if err != nil || srv.Effects(insert) != 1 {
				t.Errorf("without its transaction: %v, %d effects, %v", err, srv.Effects(insert), srv.Ledger())
			}
			continue
		}
		if snowtether.Classify(err) != snowtether.ClassSessionLost || srv.Effects(insert) != 0 {
			t.Errorf("in its transaction: %v, %d effects, %v", err, srv.Effects(insert), srv.Ledger())
		}
		// The whole of it again, as RunTx would.
		err = snowtether.RunTx(ctx,
			func(ctx context.Context) (gormTx, error) {
				tx := g.WithContext(ctx).Begin()
				return gormTx{tx}, tx.Error
			},
			func(tx gormTx) error { return tx.Create(&order{ID: 7, Amount: 100}).Error })
		if err != nil || srv.Effects(insert) != 1 {
			t.Errorf("RunTx: %v, %d effects", err, srv.Effects(insert))
		}
	}
}

// A gormTx lets RunTx end a transaction of GORM's.
type gormTx struct{ *gorm.DB }

func (tx gormTx) Commit() error   { return tx.DB.Commit().Error }
func (tx gormTx) Rollback() error { return tx.DB.Rollback().Error }
