package duckdb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Notes are what the engine keeps in DuckDB's comments: of a column its declared
// type and its comment, of a table when it was created, its kind and its
// comment.
const (
	noteSeparator = "\x1f"
	timeNote      = "2006-01-02T15:04:05.000000Z"
)

func joinNote(parts ...string) string { return strings.Join(parts, noteSeparator) }

// A columnDef is a column of CREATE TABLE or ALTER TABLE … ADD.
type columnDef struct {
	name     string
	typ      sfType
	typed    bool
	notNull  bool
	standard string // the default; empty for none
	series   string // of an identity, as DuckDB's sequences have it
	comment  string
}

// sql writes the column for DuckDB. Lengths become constraints, because DuckDB
// ignores them.
func (c *columnDef) sql() string {
	text := quoteIdent(c.name) + " " + c.typ.duck()
	text += pick(c.standard != "", " DEFAULT ("+c.standard+")", "") + pick(c.notNull, " NOT NULL", "")
	if n, ok := c.typ.length(); ok {
		text += fmt.Sprintf(" CHECK (length(%s) <= %d)", quoteIdent(c.name), n)
	}
	if c.typ.exact() {
		text += ", " + quoteIdent(restName(c.name)) + " INTEGER"
	}
	return text
}

func (c *columnDef) note() string {
	declared := ""
	switch {
	case c.typ.semi(), strings.HasPrefix(c.typ.declared(), "TIMESTAMP_TZ"), len(c.typ.args) == 1 && c.typ.base() != "DECIMAL" && c.typ.base() != "VARCHAR":
		declared = c.typ.declared()
	default:
		if _, ok := c.typ.length(); ok {
			declared = c.typ.declared()
		}
	}
	if declared == "" && c.comment == "" {
		return ""
	}
	return joinNote(declared, c.comment)
}

func (c *columnDef) comments(table object) []string {
	if n := c.note(); n != "" {
		return []string{commentOn(table, c.name, n)}
	}
	return nil
}

func commentOn(table object, column, note string) string {
	return "COMMENT ON COLUMN " + table.sql() + "." + quoteIdent(column) + " IS " + quoteString(note)
}

func (w *work) createTable(r *rewriter, f createFlags) (object, action) {
	t := &newTable{name: w.createdName(r, f), flags: f, at: w.now}
	if r.peek().is("(") {
		t.columns = r.columnDefs()
	}
	if r.peek().word("LIKE", "CLONE") {
		clone, from := r.take().text == "CLONE", r.objectName()
		return t.name, func(ctx context.Context) error { return w.copyTable(ctx, t, from, clone) }
	}
	t.comment = r.options()
	if r.accept("AS") {
		t.query = r.wholeQuery()
	}
	typed := len(slices.DeleteFunc(slices.Clone(t.columns), func(c *columnDef) bool { return !c.typed }))
	switch {
	case typed != 0 && typed != len(t.columns):
		r.fail(unsupported("CREATE TABLE with types for some columns only"))
	case typed != 0:
		return t.name, w.statements(t.statements(w)...)
	case t.query == "":
		r.fail(r.unexpected(r.peek()))
	}
	return t.name, func(ctx context.Context) error { return w.tableOfQuery(ctx, t, r.outline) }
}

// A newTable is a table that is created.
type newTable struct {
	name    object
	flags   createFlags
	at      time.Time
	columns []*columnDef
	comment string
	query   string // what fills it
}

func (t *newTable) create() string { return t.flags.head() + "TABLE " + t.name.sql() }

func (t *newTable) note() string {
	kind := pick(t.flags.temporary, "TEMPORARY", "TABLE")
	return "COMMENT ON TABLE " + t.name.sql() + " IS " + quoteString(joinNote(t.at.UTC().Format(timeNote), kind, t.comment))
}

// statements are those of DuckDB that make a table whose columns are known.
func (t *newTable) statements(w *work) []string {
	var statements, defs, notes []string
	for _, c := range t.columns {
		if c.series != "" {
			// The name never repeats: the table that OR REPLACE removes still
			// needs its own sequence.
			seq := object{database: t.name.database, schema: t.name.schema, name: w.e.uniqueName("identity$")}
			head := createFlags{temporary: t.flags.temporary}.head()
			statements = append(statements, head+"SEQUENCE "+seq.sql()+c.series)
			c.standard = "nextval(" + quoteString(seq.sql()) + ")"
		}
		defs = append(defs, c.sql())
		notes = append(notes, c.comments(t.name)...)
	}
	statements = append(append(statements, t.create()+" ("+strings.Join(defs, ", ")+")", t.note()), notes...)
	if t.query != "" {
		statements = append(statements, "INSERT INTO "+t.name.sql()+" "+t.query)
	}
	return statements
}

// tableOfQuery gives whole numbers the type NUMBER, because DuckDB's integers would overflow in a
// table, and keeps the types of columns where DuckDB has no such types.
func (w *work) tableOfQuery(ctx context.Context, t *newTable, o *outline) error {
	q, err := describeQuery(ctx, w.conn, t.query)
	if err == nil && t.columns != nil {
		err = countError(len(t.columns), len(q.columns))
	}
	if err != nil {
		return err
	}
	described(q.columns, o)
	var items, names, notes []string
	for i, c := range q.columns {
		item, name := q.names[q.places[i]], c.Name
		if t.columns != nil {
			name = t.columns[i].name
		}
		if c.Type == "fixed" && c.Scale == 0 {
			item = "sf_whole(" + item + ")"
		}
		if items, names = append(items, item), append(names, quoteIdent(name)); q.rests[i] >= 0 {
			items, names = append(items, q.names[q.rests[i]]), append(names, quoteIdent(restName(name)))
		}
		typ := sfType{name: strings.ToUpper(c.Type)}
		if typ.exact() || typ.loses() || c.Scale != 9 && strings.HasPrefix(c.Type, "time") {
			typ.args = []int{int(c.Scale)}
		} else if c.Type != "array" && c.Type != "object" {
			continue
		}
		notes = append(notes, commentOn(t.name, name, joinNote(typ.declared(), "")))
	}
	text := t.create() + " (" + strings.Join(names, ", ") + ") AS " + q.selecting(items)
	return w.statements(append([]string{text, t.note()}, notes...)...)(ctx)
}

func (w *work) copyTable(ctx context.Context, t *newTable, from object, data bool) error {
	columns, err := w.columns(ctx, from)
	if err != nil {
		return err
	}
	for _, c := range columns {
		t.columns = append(t.columns, &columnDef{name: c.name, typ: c.typ, notNull: !c.nullable, standard: c.standard, comment: c.comment()})
	}
	if data {
		t.query = "SELECT " + strings.Join(withRests(columns), ", ") + " FROM " + from.sql()
	}
	return w.statements(t.statements(w)...)(ctx)
}

// columnDefs reads the list of columns and constraints. Primary, unique and
// foreign keys are read and dropped: Snowflake does not enforce them.
func (r *rewriter) columnDefs() []*columnDef {
	var columns []*columnDef
	keys := map[string]bool{}
	r.bracketed("(", func() {
		if r.peek().word("CONSTRAINT", "PRIMARY", "FOREIGN") || r.peek().word("UNIQUE") && r.at(1).is("(") {
			for _, k := range r.constraint(false) {
				keys[k] = true
			}
		} else {
			columns = append(columns, r.columnDef())
		}
	})
	for _, c := range columns {
		c.notNull = c.notNull || keys[c.name]
	}
	return columns
}

// constraint reads a constraint of a table, up to the next column, or of a column, up to
// the column's next property. It gives the columns of a primary key.
func (r *rewriter) constraint(inline bool) (primary []string) {
	isPrimary := false
	for r.err == nil {
		t := r.peek()
		switch {
		case t.kind == tEOF || t.is(",") || t.is(")"):
			return primary
		case inline && (t.word("DEFAULT", "COMMENT", "AUTOINCREMENT", "IDENTITY") || t.word("NOT") && r.at(1).word("NULL")):
			return primary
		case !inline && t.word("CHECK"):
			r.fail(unsupported("CHECK constraint"))
		case t.is("("):
			names := r.columnNames()
			if isPrimary {
				primary, isPrimary = names, false
			}
		default:
			isPrimary = isPrimary || t.word("PRIMARY")
			r.i++
		}
	}
	return nil
}

func (r *rewriter) columnDef() *columnDef {
	t := r.takeName()
	c := &columnDef{name: t.text}
	if n := r.peek(); n.is(",") || n.is(")") {
		return c
	}
	c.typ, c.typed = r.dataType(), true
	for r.err == nil {
		switch t := r.peek(); {
		case t.word("NOT") && r.at(1).word("NULL"):
			r.i += 2
			c.notNull = true
		case t.word("NULL"):
			r.i++
		case t.word("DEFAULT"):
			r.i++
			saved := r.deferred
			r.deferred = true
			c.standard = r.region(func(t token) bool {
				return t.is(",") || t.word("NOT", "COMMENT", "PRIMARY", "UNIQUE", "CONSTRAINT", "REFERENCES", "COLLATE") ||
					t.word("NULL") && !r.at(-1).word("DEFAULT")
			})
			r.deferred = saved
		case t.word("AUTOINCREMENT", "IDENTITY"):
			r.i++
			c.series = r.series(false)
		case t.word("COMMENT"):
			r.i++
			c.comment = r.takeString().text
		case t.word("PRIMARY"):
			c.notNull = true
			fallthrough
		case t.word("UNIQUE", "REFERENCES", "CONSTRAINT", "FOREIGN"):
			r.constraint(true)
		case t.word("COLLATE", "AS", "WITH", "MASKING", "CHECK"):
			r.fail(unsupported("%s of a column", t.text))
		default:
			return c
		}
	}
	return c
}
