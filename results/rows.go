package results

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
)

// This file is the row-wise form: a real *sql.Rows over the batches.

// Rows reads the result of a query as [Read] does, row by row, for Scan and for what takes a
// [sql.Rows], such as sqlx's StructScan. The values are those of plain rows, except that a NUMBER
// with a scale has all its digits; gosnowflake.WithHigherPrecision works. Close them, as any rows:
// they hold one connection of the pool.
//
// A result that came as JSON ([ErrNotArrow]) is read as plain rows, which cannot go on after a loss.
// Columns of DECFLOAT and of structured types are an error: cast them to VARCHAR in the query.
// An error of Err or Close that ends the rows early is an [Error].
func Rows(ctx context.Context, db *sql.DB, q Query, opts ...Option) (*sql.Rows, error) {
	r, err := newReader(ctx, db, q, opts)
	if err != nil {
		return nil, err
	}
	opened := false
	defer func() {
		if !opened { // also where the program's OnProgress panics
			r.close()
		}
	}()
	rows, err := r.rows()
	if err != nil {
		return nil, r.fail(err)
	}
	// What is already open goes on after Close, which ends the goroutine of this pool of one.
	pool := sql.OpenDB(&one{rows: rows})
	defer pool.Close()
	list, err := pool.QueryContext(r.ctx, "")
	if err != nil {
		return nil, r.fail(err)
	}
	opened = true
	return list, nil
}

// rows are the reader's rows: from batches, or as they come where the result is JSON.
func (r *reader) rows() (driver.Rows, error) {
	b, err := r.next()
	switch {
	case errors.Is(err, ErrNotArrow) && r.json != nil:
		if r.q.row == 0 {
			return &plain{typed: r.json.(typed), r: r}, nil
		}
		return nil, errors.New("the result came as JSON, which is read from its first row: From(…, 0)")
	case err == io.EOF:
		return &batched{typed: r.first.rows.(typed), r: r}, nil
	case err != nil:
		return nil, err
	}
	rows := &batched{typed: r.first.rows.(typed), r: r}
	if err := rows.take(b); err != nil {
		b.release()
		return nil, err
	}
	return rows, nil
}

// typed is what gosnowflake's rows tell of their columns. They do after they are closed, too.
type typed interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeLength
	driver.RowsColumnTypeNullable
	driver.RowsColumnTypePrecisionScale
	driver.RowsColumnTypeScanType
}

// A batched gives the rows of batches.
type batched struct {
	typed
	r      *reader
	batch  Batch
	values []func(row int) driver.Value // one for each column; nil: no batch
	row    int
}

var (
	_ driver.Rows                   = (*batched)(nil)
	_ driver.RowsColumnTypeScanType = (*batched)(nil)
)

// take makes a batch the one whose rows come next.
func (b *batched) take(next Batch) error {
	values := make([]func(int) driver.Value, len(next.Columns))
	for i := range values {
		var err error
		if values[i], err = next.value(i, b.ColumnTypeScanType(i)); err != nil {
			return err
		}
	}
	b.batch, b.values, b.row = next, values, 0
	return nil
}

// Next gives the next row. What it gives stays when the batch has gone.
func (b *batched) Next(dest []driver.Value) error {
	if b.values != nil && int64(b.row) == b.batch.NumRows() {
		b.r.delivered(b.batch.NumRows())
		b.drop()
	}
	if b.values == nil {
		next, err := b.r.next()
		if err == io.EOF {
			return err
		}
		if err == nil {
			if err = b.take(next); err != nil {
				next.release()
			}
		}
		if err != nil {
			return b.r.fail(err)
		}
	}
	for i, value := range b.values {
		dest[i] = nil
		if b.batch.original.Column(i).IsValid(b.row) {
			dest[i] = value(b.row)
		}
	}
	b.row++
	return nil
}

func (b *batched) drop() {
	if b.values != nil {
		b.batch.release()
		b.values = nil
	}
}

// Close gives the connection back.
func (b *batched) Close() error {
	b.drop()
	b.r.close()
	return nil
}

// A plain gives the rows of a result that came as JSON.
type plain struct {
	typed
	r *reader
}

func (p *plain) Close() error {
	p.r.close()
	return nil
}

// A one is a connector whose one connection answers its one query with the rows that there are.
type one struct{ rows driver.Rows }

var (
	_ driver.Connector      = (*one)(nil)
	_ driver.QueryerContext = (*one)(nil)
)

var errOne = errors.New("results: these are rows only")

func (o *one) Connect(context.Context) (driver.Conn, error) { return o, nil }
func (o *one) Driver() driver.Driver                        { return o }
func (o *one) Open(string) (driver.Conn, error)             { return nil, errOne }
func (o *one) Prepare(string) (driver.Stmt, error)          { return nil, errOne }
func (o *one) Begin() (driver.Tx, error)                    { return nil, errOne }
func (o *one) Close() error                                 { return nil }

func (o *one) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return o.rows, nil
}
