package duckdb

import (
	"context"
	"database/sql/driver"
	"strconv"
	"strings"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/snowtether/snowtether/snowtest"
)

const (
	rowsInserted = "number of rows inserted"
	rowsUpdated  = "number of rows updated"
	rowsJoined   = "number of multi-joined rows updated"
	rowsDeleted  = "number of rows deleted"
)

// A change is an INSERT, UPDATE, DELETE or MERGE in DuckDB's dialect.
type change struct {
	kind    snowtest.Kind
	columns []string // of the result
	text    string

	// check is read before the change, in the same transaction: the joined rows
	// of an UPDATE, or the rows that a MERGE would change twice.
	check string
	table *bindTable // of an INSERT with array binds

	head, row string // of an INSERT with one row of VALUES
}

// dml carries out a statement that changes rows and counts them.
func (w *work) dml(ctx context.Context) (*snowtest.Result, error) {
	rows, isArray, err := arrayLength(w.st.Binds)
	if err != nil {
		return nil, err
	}
	var changes []*change
	if isArray && !w.st.DescribeOnly {
		changes, err = w.arrayChanges(ctx, rows)
	} else {
		changes = make([]*change, 1)
		changes[0], err = w.change(ctx, w.rewriter())
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
		return describeOnly(snowtest.Count(first.kind, first.columns, counts)), stmt.Close()
	}
	if !w.inTx && !w.autocommit() {
		if err := w.begin(ctx); err != nil {
			return nil, err
		}
	}
	err = w.locked(ctx, func() error {
		clear(counts)
		if len(changes) == 1 && first.check == "" && first.table == nil && first.kind != snowtest.KindMerge {
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
	return snowtest.Count(first.kind, first.columns, counts), nil
}

// apply carries out one change and adds to the counts.
func (w *work) apply(ctx context.Context, c *change, counts []int64) error {
	var checked [][]*string
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
		r.bindText = table.exprs
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
			text, err := bindLiteral(b.Type, value, b.Format)
			if err != nil {
				return nil, err
			}
			r.bindText = append(r.bindText, text)
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

// insertsValues reports whether the statement is INSERT … VALUES.
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
	app, err := duck.NewQueryAppender(c, text, "binds$", t.types, t.names)
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

// change reads the statement.
func (w *work) change(ctx context.Context, r *rewriter) (*change, error) {
	var c *change
	switch r.take().text {
	case "INSERT":
		c = w.insert(ctx, r)
	case "UPDATE":
		c = r.update()
	case "DELETE":
		c = &change{kind: snowtest.KindDelete, columns: []string{rowsDeleted}, text: "DELETE " + r.region(nil)}
	default:
		c = r.merge()
	}
	return c, r.end()
}

func (w *work) insert(ctx context.Context, r *rewriter) *change {
	c := &change{kind: snowtest.KindInsert, columns: []string{rowsInserted}}
	if r.peek().word("OVERWRITE", "ALL", "FIRST") {
		r.fail(unsupported("INSERT %s", r.peek().text))
		return c
	}
	if !r.accept("INTO") {
		r.fail(r.unexpected(r.peek()))
		return c
	}
	target, list := r.objectName().sql(), "*"
	c.head = "INSERT INTO " + target
	if r.peek().is("(") && !r.at(1).word("SELECT", "WITH") && !r.at(1).is("(") {
		list = strings.Join(r.columnNames(), ", ")
		c.head += " (" + list + ")"
	}
	if r.err != nil {
		return c
	}
	columns, _, err := query(ctx, w.conn, "SELECT "+list+" FROM "+target, true)
	if err != nil {
		r.fail(err)
		return c
	}
	convert := func(i int, expr string) string {
		if i >= len(columns) || expr == "DEFAULT" || expr == "NULL" {
			return expr
		}
		return assigned(columns[i].Type, expr)
	}
	if !r.accept("VALUES") {
		text, err := w.converted(ctx, r.region(nil), columns)
		if err != nil {
			r.fail(err)
		}
		c.text = c.head + " " + text
		return c
	}
	var rows []string
	for r.err == nil {
		r.expectOp("(")
		var row []string
		for r.err == nil {
			row = append(row, convert(len(row), r.region(func(t token) bool { return t.is(",") })))
			if !r.acceptOp(",") {
				break
			}
		}
		r.expectOp(")")
		rows = append(rows, strings.Join(row, ", "))
		if !r.acceptOp(",") {
			break
		}
	}
	if len(rows) == 1 {
		c.row = rows[0]
	}
	c.text = c.head + " VALUES (" + strings.Join(rows, "), (") + ")"
	return c
}

// assigned converts what goes into a column as Snowflake does and DuckDB does
// not: text into a BINARY is hexadecimal, and timestamps and floating-point
// numbers have another look as text.
func assigned(typ, expr string) string {
	switch {
	case typ == "binary":
		return "sf_binary(" + expr + ")"
	case typ == "text" && !isText(expr):
		return "sf_text(" + expr + ")"
	}
	return expr
}

// converted gives the query of an INSERT, its columns converted where that is
// needed.
func (w *work) converted(ctx context.Context, text string, target []snowtest.Column) (string, error) {
	source, _, err := query(ctx, w.conn, text, true)
	if err != nil {
		return "", err
	}
	change := false
	names, items := make([]string, len(source)), make([]string, len(source))
	for i, c := range source {
		names[i] = "c" + strconv.Itoa(i)
		items[i] = names[i]
		if i < len(target) && c.Type != target[i].Type {
			items[i] = assigned(target[i].Type, names[i])
			change = change || items[i] != names[i]
		}
	}
	if !change {
		return text, nil
	}
	return "SELECT " + strings.Join(items, ", ") + " FROM (" + text + ") AS q(" + strings.Join(names, ", ") + ")", nil
}

// columnNames reads a list of columns; MERGE may qualify them.
func (r *rewriter) columnNames() []string {
	var names []string
	r.expectOp("(")
	for r.err == nil {
		t := r.take()
		for r.acceptOp(".") {
			t = r.take()
		}
		if !t.ident() {
			r.fail(r.unexpected(t))
		}
		names = append(names, quoteIdent(t.text))
		if !r.acceptOp(",") {
			break
		}
	}
	r.expectOp(")")
	return names
}

func (w *work) truncate(ctx context.Context) (*snowtest.Result, error) {
	r := w.rewriter()
	r.i++
	r.accept("TABLE")
	exists := r.accept("IF") && r.accept("EXISTS")
	name := r.objectName()
	if err := r.end(); err != nil {
		return nil, err
	}
	res := snowtest.Status(snowtest.KindDDL, "Statement executed successfully.")
	if w.st.DescribeOnly {
		return describeOnly(res), nil
	}
	if err := w.commit(ctx); err != nil {
		return nil, err
	}
	err := w.locked(ctx, func() error {
		_, err := exec(ctx, w.conn, "TRUNCATE "+name.sql())
		return err
	})
	if exists && isNotExists(err) {
		err = nil
	}
	return res, err
}
