package duckdb

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// This file reads DuckDB's results.

const (
	firstRows = 10_000 // of a query, in the result itself
	moreRows  = 2048   // at a time, of those that follow: one chunk of DuckDB's
)

// query carries out a statement and gives its rows in Snowflake's text form.
// With describe it is only prepared.
func query(ctx context.Context, c *duck.Conn, text string, describe bool) ([]snowtest.Column, [][]*string, error) {
	columns, rows, err := openRows(ctx, c, text, describe)
	if err != nil || describe {
		return columns, nil, err
	}
	defer rows.close()
	list := [][]*string{}
	for {
		some, err := rows.next(ctx, firstRows, false)
		if err != nil {
			return nil, nil, err
		}
		if list = append(list, some...); len(some) < firstRows {
			return columns, list, nil
		}
	}
}

// resultRows is a result that DuckDB holds.
type resultRows struct {
	stmt   *duck.Stmt
	rows   driver.Rows
	write  []converter
	places []int // of the columns that are shown, in values
	rests  []int // of the columns with their rests, in values; -1 for none
	values []driver.Value
	ended  bool

	buf  []byte // the text of the rows that are being read, value after value
	ends []int  // where each ends in buf; -1 for NULL

	// The rows given out last.
	text  []string
	cells []*string
	list  [][]*string
}

// openRows carries out a query. With describe it is only prepared, and there are
// no rows.
func openRows(ctx context.Context, c *duck.Conn, text string, describe bool) ([]snowtest.Column, *resultRows, error) {
	prepared, err := c.PrepareContext(ctx, text)
	if err != nil {
		return nil, nil, err
	}
	r := &resultRows{stmt: prepared.(*duck.Stmt)}
	columns, err := r.columns()
	if err == nil && !describe {
		r.rows, err = r.stmt.QueryContext(ctx, nil)
	}
	if err != nil || describe {
		r.close()
		return columns, nil, err
	}
	return columns, r, nil
}

func (r *resultRows) columns() ([]snowtest.Column, error) {
	n, err := r.stmt.ColumnCount()
	if err != nil {
		return nil, err
	}
	names := make([]string, n)
	for i := range n {
		if names[i], err = r.stmt.ColumnName(i); err != nil {
			return nil, err
		}
	}
	r.places, r.rests = pair(names)
	columns := make([]snowtest.Column, len(r.places))
	r.write, r.values = make([]converter, len(columns)), make([]driver.Value, n)
	for i, at := range r.places {
		info, err := r.stmt.ColumnTypeInfo(at)
		if err != nil {
			return nil, unsupported("result column %s of a type that Snowflake does not have", names[at])
		}
		if columns[i], r.write[i], err = columnOf(names[at], info); err != nil {
			return nil, err
		}
	}
	return columns, nil
}

// reshape writes times with the digits that their columns have.
func (r *resultRows) reshape(columns []snowtest.Column, zone *time.Location) {
	if r == nil {
		return
	}
	for i, c := range columns {
		if w := timeWriter(c, zone); w != nil {
			r.write[i] = w
		}
	}
}

func (r *resultRows) close() {
	if r.rows != nil {
		_ = r.rows.Close() // of what DuckDB has in memory
	}
	_ = r.stmt.Close()
}

// next reads up to n rows, fewer only at the end. With reuse they are good until
// the next call: a large result is read with one allocation for the text of all
// rows of a call, besides those of the DuckDB client.
func (r *resultRows) next(ctx context.Context, n int, reuse bool) ([][]*string, error) {
	r.buf, r.ends = r.buf[:0], r.ends[:0]
	count := 0
	for ; count < n && !r.ended; count++ {
		if count%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err := r.rows.Next(r.values)
		if errors.Is(err, io.EOF) {
			r.ended = true
			break
		}
		if err != nil {
			return nil, err
		}
		for i, at := range r.places {
			v := r.values[at]
			if r.rests[i] >= 0 {
				v = withRest(v, r.values[r.rests[i]])
			}
			if v == nil {
				r.ends = append(r.ends, -1)
				continue
			}
			if r.buf, err = r.write[i](r.buf, v); err != nil {
				return nil, err
			}
			r.ends = append(r.ends, len(r.buf))
		}
	}
	if !reuse || cap(r.list) < count {
		r.text, r.cells, r.list = make([]string, len(r.ends)), make([]*string, len(r.ends)), make([][]*string, count)
	}
	text, cells, list := r.text[:len(r.ends)], r.cells[:len(r.ends)], r.list[:count]
	all, from := string(r.buf), 0
	for i, end := range r.ends {
		if end < 0 {
			cells[i] = nil
			continue
		}
		text[i], cells[i], from = all[from:end], &text[i], end
	}
	for i := range list {
		list[i] = cells[i*len(r.write) : (i+1)*len(r.write) : (i+1)*len(r.write)]
	}
	return list, nil
}
