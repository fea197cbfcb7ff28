package duckdb

import (
	"context"
	"database/sql/driver"
	"slices"
	"strconv"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/snowtether/snowtether/snowtest"
)

func (w *work) dml(ctx context.Context) (*snowtest.Result, error) {
	rows, isArray, err := arrayLength(w.st.Binds)
	if err != nil {
		return nil, err
	}
	var changes []*change
	r := w.rewriter()
	if isArray && !w.st.DescribeOnly {
		changes, err = w.arrayChanges(ctx, rows)
	} else {
		changes = make([]*change, 1)
		changes[0], err = w.change(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	first := changes[0]
	counts := make([]int64, len(first.columns))
	if w.st.DescribeOnly {
		stmt, err := w.conn.PrepareContext(ctx, first.text)
		if err != nil {
			return nil, err
		}
		return snowtest.Count(first.kind, first.columns, counts), stmt.Close()
	}
	if err := pause(ctx, r.wait); err != nil {
		return nil, err
	}
	if err := w.beginImplicitly(ctx); err != nil {
		return nil, err
	}
	err = w.locked(ctx, func() error {
		clear(counts)
		if len(changes) == 1 && first.check == "" && first.before == "" && first.table == nil && first.kind != snowtest.KindMerge {
			n, err := exec(ctx, w.conn, first.text)
			counts[0] = n
			return err
		}
		return w.atomically(ctx, func() error {
			for _, c := range changes {
				if err := w.apply(ctx, c, counts); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	w.done(changes)
	return snowtest.Count(first.kind, first.columns, counts), nil
}

func (w *work) apply(ctx context.Context, c *change, counts []int64) error {
	var checked [][]*string
	if c.before != "" {
		if _, err := exec(ctx, w.conn, c.before); err != nil {
			return err
		}
	}
	if c.check != "" {
		var err error
		if _, checked, err = query(ctx, w.conn, c.check, false); err != nil {
			return err
		}
	}
	switch {
	case c.table != nil:
		counts[0] += int64(c.table.rows)
		return c.table.insert(ctx, w.conn, c.text)
	case c.kind == snowtest.KindMerge:
		if len(checked) > 0 {
			return sfError("100090", "42P18", "Duplicate row detected during DML action")
		}
		_, rows, err := query(ctx, w.conn, c.text, false)
		if err != nil {
			return err
		}
		done := map[string]int64{}
		for _, row := range rows {
			done[*row[0]]++
		}
		for i, name := range c.columns {
			counts[i] += done[map[string]string{rowsInserted: "INSERT", rowsUpdated: "UPDATE", rowsDeleted: "DELETE"}[name]]
		}
		return nil
	}
	n, err := exec(ctx, w.conn, c.text)
	if err != nil || c.check == "" {
		counts[0] += n
		return err
	}
	// An UPDATE with FROM: DuckDB counts a row once for each row it joins.
	for i := range counts {
		v, err := strconv.ParseInt(*checked[0][i], 10, 64)
		if err != nil {
			return err
		}
		counts[i] += v
	}
	return nil
}

// arrayChanges handles array binds: an INSERT of one row of VALUES becomes one
// bulk insert, any other statement is carried out once for each row.
func (w *work) arrayChanges(ctx context.Context, rows int) ([]*change, error) {
	table, err := newBindTable(w.st.Binds, rows)
	if err != nil {
		return nil, err
	}
	if w.insertsValues() {
		r := w.rewriter()
		r.bindText, r.bindIs = table.exprs, table.is
		c, err := w.change(ctx, r)
		if err != nil {
			return nil, err
		}
		if c.row != "" {
			c.text, c.table = c.head+" SELECT "+c.row+` FROM "binds$"`, table
			return []*change{c}, nil
		}
	}
	var changes []*change
	for i := range rows {
		r := w.rewriter()
		for _, b := range w.st.Binds {
			value := b.Value
			if b.Array != nil {
				value = b.Array[i]
			}
			text, is, err := r.bindLiteral(b, value)
			if err != nil {
				return nil, err
			}
			r.bindText, r.bindIs = append(r.bindText, text), append(r.bindIs, is)
		}
		c, err := w.change(ctx, r)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil, sfError("002063", "22023", "SQL compilation error:\nThe bind arrays are empty.")
	}
	return changes, nil
}

func (w *work) insertsValues() bool {
	if !w.toks[0].word("INSERT") {
		return false
	}
	depth := 0
	for _, t := range w.toks {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth == 0 && t.word("SELECT", "WITH"):
			return false
		case depth == 0 && t.word("VALUES"):
			return true
		}
	}
	return false
}

// insert sends the rows through DuckDB's appender.
func (t *bindTable) insert(ctx context.Context, c *duck.Conn, text string) error {
	if t.rows == 0 {
		return nil
	}
	typ, err := duck.NewTypeInfo(duck.TYPE_VARCHAR)
	if err != nil {
		return err
	}
	app, err := duck.NewQueryAppender(c, text, "binds$", slices.Repeat([]duck.TypeInfo{typ}, len(t.names)), t.names)
	if err != nil {
		return err
	}
	row := make([]driver.Value, len(t.values))
	for i := range t.rows {
		for j, col := range t.values {
			row[j] = col[i]
		}
		if err = app.AppendRow(row...); err != nil {
			break
		}
		if i%1024 == 0 && ctx.Err() != nil {
			err = ctx.Err()
			break
		}
	}
	// Closing flushes: after an error the transaction is rolled back anyway.
	if cerr := app.Close(); err == nil {
		err = cerr
	}
	return err
}
