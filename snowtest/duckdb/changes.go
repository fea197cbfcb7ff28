package duckdb

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// This file reads the statements that change rows. dml.go carries them out.

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

	before   string // carried out first: INSERT OVERWRITE empties the table
	fleeting bool   // carried out again, it might write something else
}

// change reads the statement.
func (w *work) change(ctx context.Context, r *rewriter) (*change, error) {
	var c *change
	switch r.take().text {
	case "INSERT":
		c = w.insert(ctx, r)
	case "UPDATE":
		c = w.update(ctx, r)
	case "DELETE":
		c = &change{kind: snowtest.KindDelete, columns: []string{rowsDeleted}, text: "DELETE " + r.region(nil)}
	default:
		c = w.merge(ctx, r)
	}
	for _, name := range []string{"random(", "randstr(", "uuid", "nextval(", "now("} {
		c.fleeting = c.fleeting || strings.Contains(strings.ToLower(c.text), name)
	}
	return c, r.end()
}

// fleetingDefaults reports whether a table has columns whose default differs from row to
// row, or from time to time.
func (w *work) fleetingDefaults(ctx context.Context, table object) bool {
	columns, err := w.columns(ctx, table)
	return err != nil || slices.ContainsFunc(columns, func(c column) bool { return strings.ContainsAny(c.standard, "(") })
}

func (w *work) insert(ctx context.Context, r *rewriter) *change {
	c := &change{kind: snowtest.KindInsert, columns: []string{rowsInserted}}
	overwrite := r.accept("OVERWRITE")
	if r.peek().word("ALL", "FIRST") {
		r.fail(unsupported("INSERT %s", r.peek().text))
		return c
	}
	r.need("INTO")
	table := r.objectName()
	target, list := table.sql(), "*"
	c.head = "INSERT INTO " + target
	c.fleeting = w.fleetingDefaults(ctx, table)
	if overwrite {
		c.before = "DELETE FROM " + target
	}
	if r.peek().is("(") && !r.at(1).word("SELECT", "WITH") && !r.at(1).is("(") {
		list = strings.Join(r.columnNames(), ", ")
		c.head += " (" + list + ")"
	}
	if r.err != nil {
		return c
	}
	columns, err := w.columnsOf(ctx, table, list)
	if err != nil {
		r.fail(err)
		return c
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
	r.list(func() {
		rows = append(rows, r.row(columns))
	})
	if len(rows) == 1 {
		c.row = rows[0]
	}
	c.text = c.head + " VALUES (" + strings.Join(rows, "), (") + ")"
	return c
}

// columnsOf describes columns of a table that is changed: all, or those of a list.
func (w *work) columnsOf(ctx context.Context, table object, list string) ([]snowtest.Column, error) {
	columns, _, err := query(ctx, w.conn, "SELECT "+list+" FROM "+table.sql(), true)
	if err != nil {
		return nil, err
	}
	o := &outline{sources: []source{{object: table, alias: table.name}}}
	for _, c := range columns {
		o.items = append(o.items, outlineItem{column: []string{c.Name}})
	}
	w.described(ctx, columns, o)
	return columns, nil
}

// row reads one row of VALUES, for these columns.
func (r *rewriter) row(columns []snowtest.Column) string {
	var row []string
	r.expectOp("(")
	r.list(func() {
		expr := r.argument()
		if i := len(row); i < len(columns) {
			expr = assigned(columns[i], expr)
		}
		row = append(row, expr)
	})
	r.expectOp(")")
	return strings.Join(row, ", ")
}

// target reads a table that is changed, with its alias, and finds its columns.
func (w *work) target(ctx context.Context, r *rewriter, stop string) (text, alias string, columns []snowtest.Column) {
	name := r.objectName()
	if r.err != nil {
		return "", "", nil
	}
	text, alias = name.sql(), quoteIdent(name.name)
	columns, err := w.columnsOf(ctx, name, "*")
	if err != nil {
		r.fail(err)
	}
	r.accept("AS")
	if t := r.peek(); t.ident() && !t.word(stop) {
		r.i++
		alias = quoteIdent(t.text)
		text += " AS " + alias
	}
	return text, alias, columns
}

// assignments reads SET a = x, b = y.
func (r *rewriter) assignments(columns []snowtest.Column, stop func(token) bool) string {
	r.need("SET")
	var list []string
	for r.err == nil {
		name := r.columnName()
		r.expectOp("=")
		expr := r.region(func(t token) bool { return t.is(",") || stop(t) })
		i := slices.IndexFunc(columns, func(c snowtest.Column) bool { return strings.EqualFold(c.Name, name) })
		if i >= 0 {
			expr = assigned(columns[i], expr)
		}
		list = append(list, quoteIdent(name)+" = "+expr)
		if !r.acceptOp(",") {
			break
		}
	}
	return "SET " + strings.Join(list, ", ")
}

func (w *work) update(ctx context.Context, r *rewriter) *change {
	c := &change{kind: snowtest.KindUpdate, columns: []string{rowsUpdated, rowsJoined}}
	target, alias, columns := w.target(ctx, r, "SET")
	set := r.assignments(columns, func(t token) bool { return t.word("FROM", "WHERE") && !r.at(-1).word("DISTINCT") })
	from := r.region(func(t token) bool { return t.word("WHERE") })
	where := r.region(nil)
	c.text = "UPDATE " + strings.Join([]string{target, set, from, where}, " ")
	if from != "" {
		c.check = "SELECT count(*), count(*) FILTER (WHERE n > 1) FROM (SELECT count(*) AS n FROM " + target + ", " +
			strings.TrimPrefix(from, "FROM ") + " " + where + " GROUP BY " + alias + ".rowid)"
	}
	return c
}

func (w *work) merge(ctx context.Context, r *rewriter) *change {
	c := &change{kind: snowtest.KindMerge, fleeting: true}
	r.need("INTO")
	target, alias, columns := w.target(ctx, r, "USING")
	r.need("USING")
	g := &region{r: r, from: true}
	for r.err == nil && r.peek().kind != tEOF && !r.peek().word("ON") {
		g.next(r.peek())
	}
	source := strings.Join(g.out, " ")
	r.need("ON")
	isWhen := func(t token) bool { return t.word("WHEN") }
	on := r.region(isWhen)
	var clauses, matched []string
	actions := map[string]bool{}
	for r.err == nil && r.accept("WHEN") {
		text, not := "WHEN", r.accept("NOT")
		if not {
			text += " NOT"
		}
		r.need("MATCHED")
		text += " MATCHED"
		cond := "TRUE"
		if r.accept("AND") {
			cond = "(" + r.region(func(t token) bool { return t.word("THEN") }) + ")"
			text += " AND " + cond
		}
		r.need("THEN")
		action := r.take()
		switch {
		case !not && action.word("UPDATE") && r.peek().word("SET"):
			text += " THEN UPDATE " + r.assignments(columns, isWhen)
		case !not && action.word("DELETE"):
			text += " THEN DELETE"
		case not && action.word("INSERT"):
			text += " THEN INSERT" + r.mergeInsert(columns)
		default:
			r.fail(r.unexpected(action))
		}
		actions[action.text] = true
		if !not {
			matched = append(matched, cond)
		}
		clauses = append(clauses, text)
	}
	for _, a := range [][2]string{{"INSERT", rowsInserted}, {"UPDATE", rowsUpdated}, {"DELETE", rowsDeleted}} {
		if actions[a[0]] {
			c.columns = append(c.columns, a[1])
		}
	}
	if len(clauses) == 0 {
		r.fail(r.unexpected(r.peek()))
	}
	c.text = "MERGE INTO " + target + " USING " + source + " ON " + on + " " + strings.Join(clauses, " ") + " RETURNING merge_action"
	if actions["UPDATE"] {
		// Snowflake refuses to change a row twice; DuckDB would do it.
		c.check = "SELECT 1 FROM " + target + " JOIN " + source + " ON " + on + " WHERE " + strings.Join(matched, " OR ") +
			" GROUP BY " + alias + ".rowid HAVING count(*) > 1 LIMIT 1"
	}
	return c
}

// mergeInsert reads (a, b) VALUES (x, y) of a MERGE.
func (r *rewriter) mergeInsert(columns []snowtest.Column) string {
	text := ""
	if r.peek().is("(") {
		names := r.columnNames()
		text = " (" + strings.Join(names, ", ") + ")"
		listed := make([]snowtest.Column, len(names))
		for i, n := range names {
			if at := slices.IndexFunc(columns, func(c snowtest.Column) bool { return strings.EqualFold(quoteIdent(c.Name), n) }); at >= 0 {
				listed[i] = columns[at]
			}
		}
		columns = listed
	}
	r.need("VALUES")
	return text + " VALUES (" + r.row(columns) + ")"
}

// assigned converts what goes into a column as Snowflake does and DuckDB does
// not: text into a BINARY is hexadecimal, texts are dates and times of more
// forms, timestamps and floating-point numbers have another look as text, and a
// half is rounded away from zero.
func assigned(c snowtest.Column, expr string) string {
	switch {
	case expr == "DEFAULT" || expr == "NULL":
	case c.Type == "binary":
		return "sf_binary(" + expr + ")"
	case c.Type == "text" && !isText(expr):
		return "sf_text(" + expr + ")"
	case fewerDigits(c):
		return sfType{name: strings.ToUpper(c.Type), args: []int{int(c.Scale)}}.cast(expr, false, false)
	case c.Type == "date" || c.Type == "time" || strings.HasPrefix(c.Type, "timestamp"):
		return "sf_time_text(" + expr + ", '" + timeTypes[c.Type] + "')"
	case c.Type == "fixed" && c.Precision == 38 && c.Scale == 0 && !(len(expr) <= 18 && strings.Trim(expr, "0123456789") == ""):
		return "CAST(CAST(" + expr + " AS DECIMAL(38,0)) AS " + wholeType + ")"
	}
	return expr
}

var timeTypes = map[string]string{"date": "DATE", "time": "TIME", "timestamp_ntz": "TIMESTAMP", "timestamp_ltz": "TIMESTAMPTZ", "timestamp_tz": "TIMESTAMPTZ"}

// fewerDigits reports whether a column of times keeps fewer digits after the second
// than DuckDB does.
func fewerDigits(c snowtest.Column) bool {
	return (c.Type == "time" || strings.HasPrefix(c.Type, "timestamp")) && c.Scale < 6
}

// kindOf gives what DuckDB has of a column's type.
func kindOf(c snowtest.Column) string {
	switch c.Type {
	case "array", "object":
		return "variant"
	case "timestamp_tz":
		return "timestamp_ltz"
	}
	return c.Type
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
		if i < len(target) && (kindOf(c) != kindOf(target[i]) || fewerDigits(target[i])) {
			items[i] = assigned(target[i], names[i])
			change = change || items[i] != names[i]
		}
	}
	if !change {
		return text, nil
	}
	return "SELECT " + strings.Join(items, ", ") + " FROM (" + text + ") AS q(" + strings.Join(names, ", ") + ")", nil
}

// columnNames reads a list of columns.
func (r *rewriter) columnNames() []string {
	var names []string
	r.expectOp("(")
	r.list(func() {
		names = append(names, quoteIdent(r.columnName()))
	})
	r.expectOp(")")
	return names
}

// columnName reads a column, which UPDATE and MERGE may qualify.
func (r *rewriter) columnName() string {
	t := r.take()
	for r.acceptOp(".") {
		t = r.take()
	}
	if !t.ident() {
		r.fail(r.unexpected(t))
	}
	return t.text
}
