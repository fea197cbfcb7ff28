package duckdb

import (
	"context"
	"slices"
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

func (w *work) change(ctx context.Context, r *rewriter) (*change, error) {
	var c *change
	switch r.take().text {
	case "INSERT":
		c = w.insert(ctx, r)
	case "UPDATE":
		c = w.update(ctx, r)
	case "DELETE":
		r.need("FROM")
		target, _, _ := w.target(ctx, r, "USING", "WHERE")
		c = &change{kind: snowtest.KindDelete, columns: []string{rowsDeleted}, text: "DELETE FROM " + target + " " + r.region(nil)}
	default:
		c = w.merge(ctx, r)
	}
	lower := strings.ToLower(c.text) // once: the text can be of many megabytes
	for _, name := range []string{"random(", "randstr(", "uuid", "nextval(", "now("} {
		c.fleeting = c.fleeting || strings.Contains(lower, name)
	}
	return c, r.end()
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
	if overwrite {
		c.before = "DELETE FROM " + table.sql()
	}
	columns, err := w.columnsOf(ctx, r, table)
	r.fail(err)
	// A default may differ from row to row, or from time to time.
	c.fleeting = slices.ContainsFunc(columns, func(c column) bool { return strings.Contains(c.standard, "(") })
	listed := r.peek().is("(") && !r.at(1).word("SELECT", "WITH") && !r.at(1).is("(")
	if listed {
		columns = r.listed(columns)
	}
	c.head = "INSERT INTO " + table.sql()
	if listed || hasRests(columns) {
		c.head += " (" + strings.Join(withRests(columns), ", ") + ")"
	}
	if r.err != nil {
		return c
	}
	if !r.accept("VALUES") {
		text, err := w.converted(ctx, r.wholeQuery(), columns)
		r.fail(err)
		c.text = c.head + " " + text
		return c
	}
	var rows []string
	r.list(func() { rows = append(rows, r.row(columns)) })
	if len(rows) == 1 {
		c.row = rows[0]
	}
	c.text = c.head + " VALUES (" + strings.Join(rows, "), (") + ")"
	return c
}

func (w *work) columnsOf(ctx context.Context, r *rewriter, table object) ([]column, error) {
	if r.err != nil {
		return nil, r.err
	}
	return w.columns(ctx, table)
}

func (r *rewriter) listed(columns []column) []column {
	var list []column
	for _, name := range r.columnNames() {
		list = append(list, r.columnIn(columns, name))
	}
	return list
}

func (r *rewriter) columnIn(columns []column, name string) column {
	i := slices.IndexFunc(columns, func(c column) bool { return c.name == name })
	if i >= 0 {
		return columns[i]
	}
	r.invalid(name)
	return column{}
}

func (r *rewriter) invalid(name string) string {
	r.fail(sfError("000904", "42000", "%s", located(r.src, name, "SQL compilation error: error line 1 at position 0\ninvalid identifier '"+name+"'")))
	return ""
}

func (r *rewriter) row(columns []column) string {
	var row []string
	n := 0
	r.bracketed("(", func() {
		if expr := r.argument(); n < len(columns) {
			row = append(row, assigned(columns[n], expr, r.is)...)
		}
		n++
	})
	r.fail(countError(len(columns), n))
	return strings.Join(row, ", ")
}

func countError(columns, values int) error {
	if columns == values {
		return nil
	}
	return compileError("002020", "21S01", "Insert value list does not match column list expecting %d but got %d", columns, values)
}

// target reads a table that is changed, with its alias, and finds its columns.
func (w *work) target(ctx context.Context, r *rewriter, stop ...string) (text, alias string, columns []column) {
	name := r.objectName()
	if r.err != nil {
		return "", "", nil
	}
	text, alias = name.sql(), quoteIdent(name.name)
	columns, err := w.columnsOf(ctx, r, name)
	r.fail(err)
	r.accept("AS")
	if t := r.peek(); t.ident() && !t.word(stop...) {
		r.i++
		alias = quoteIdent(t.text)
		text += " AS " + alias
	}
	return text, alias, columns
}

func (r *rewriter) assignments(columns []column, stop func(token) bool) string {
	r.need("SET")
	var list []string
	r.list(func() {
		c := r.columnIn(columns, r.columnName())
		r.expectOp("=")
		expr := r.region(func(t token) bool { return t.is(",") || stop(t) })
		values := assigned(c, expr, r.is)
		for i, name := range withRests([]column{c}) {
			list = append(list, name+" = "+values[i])
		}
	})
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
		not := r.accept("NOT")
		r.need("MATCHED")
		text := "WHEN" + pick(not, " NOT", "") + " MATCHED"
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

func (r *rewriter) mergeInsert(columns []column) string {
	if r.peek().is("(") {
		columns = r.listed(columns)
	}
	r.need("VALUES")
	return " (" + strings.Join(withRests(columns), ", ") + ") VALUES (" + r.row(columns) + ")"
}

// assigned converts what goes into a column as Snowflake does and DuckDB does
// not: text into a BINARY is hexadecimal, texts are dates and times of more
// forms, timestamps and floating-point numbers have another look as text, and a
// half is rounded away from zero. What DuckDB's times lack follows.
func assigned(c column, expr string, is *static) []string {
	typ, value := c.typ, expr
	switch base := typ.base(); {
	case expr == "DEFAULT" || expr == "NULL":
	case base == "BLOB":
		value = "sf_binary(" + expr + ")"
	case base == "VARCHAR" && !isText(expr):
		value = "sf_text(" + expr + ")"
	case typ.loses():
		value = typ.cast(expr, false, false)
	case base == "DATE" || base == "TIME" || strings.HasPrefix(base, "TIMESTAMP"):
		value = "sf_time_text(" + expr + ", '" + base + "')"
	case typ.whole() && !(len(expr) <= 18 && strings.Trim(expr, "0123456789") == ""):
		value = "CAST(CAST(" + expr + " AS DECIMAL(38,0)) AS " + wholeType + ")"
	}
	if c.rest {
		return []string{value, typ.rest(expr, is)}
	}
	return []string{value}
}

// kinds are the types of results that DuckDB has for its own types.
var kinds = map[string]string{"DECIMAL": "fixed", "DOUBLE": "real", "VARCHAR": "text", "BOOLEAN": "boolean", "BLOB": "binary", "DATE": "date",
	"TIME": "time", "TIMESTAMP": "timestamp_ntz", "TIMESTAMPTZ": "timestamp_ltz", variantType: "variant"}

// converted gives the query of an INSERT, its columns converted where that is
// needed.
func (w *work) converted(ctx context.Context, text string, target []column) (string, error) {
	q, err := describeQuery(ctx, w.conn, text)
	if err == nil {
		err = countError(len(target), len(q.columns))
	}
	if err != nil {
		return "", err
	}
	change := len(q.names) != len(q.columns)
	var items []string
	for i, c := range q.columns {
		name, typ := q.names[q.places[i]], target[i].typ
		values := []string{name}
		if c.Type != kinds[typ.base()] || typ.loses() || target[i].rest {
			values = assigned(target[i], name, nil)
		}
		if target[i].rest && q.rests[i] >= 0 {
			values[1] = q.names[q.rests[i]]
		}
		change = change || len(values) > 1 || values[0] != name
		items = append(items, values...)
	}
	if !change {
		return text, nil
	}
	return q.selecting(items), nil
}

func (r *rewriter) columnNames() []string {
	var names []string
	r.bracketed("(", func() { names = append(names, r.columnName()) })
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
