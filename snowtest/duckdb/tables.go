package duckdb

import (
	"context"
	"fmt"
	"strings"
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
	identity bool
	start    string
	step     string
	comment  string
}

// sql writes the column for DuckDB. Lengths become constraints, because DuckDB
// ignores them.
func (c *columnDef) sql() string {
	text := quoteIdent(c.name) + " " + c.typ.duck()
	if c.standard != "" {
		text += " DEFAULT (" + c.standard + ")"
	}
	if c.notNull {
		text += " NOT NULL"
	}
	if n, ok := c.typ.length(); ok {
		text += fmt.Sprintf(" CHECK (length(%s) <= %d)", quoteIdent(c.name), n)
	}
	return text
}

// note gives what is kept in the column's comment.
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

func (w *work) createTable(r *rewriter, f createFlags) (*definition, object) {
	name := w.createdName(r, f)
	create := f.head() + "TABLE " + name.sql()
	var columns []*columnDef
	if r.peek().is("(") {
		columns = r.columnDefs()
	}
	if r.peek().word("LIKE", "CLONE") {
		clone := r.take().text == "CLONE"
		from := r.objectName()
		return &definition{run: w.copyTable(create, name, from, clone)}, name
	}
	comment := r.options()
	query := ""
	if r.accept("AS") {
		query = r.region(nil)
	}
	if query == "" && (columns == nil || !columns[0].typed) {
		r.fail(r.unexpected(r.peek()))
	}
	kind := "TABLE"
	if f.temporary {
		kind = "TEMPORARY"
	}
	note := "COMMENT ON TABLE " + name.sql() + " IS " + quoteString(joinNote(w.now.UTC().Format(timeNote), kind, comment))
	if columns == nil || !columns[0].typed {
		var names []string
		for _, c := range columns {
			names = append(names, quoteIdent(c.name))
			if c.typed {
				r.fail(unsupported("CREATE TABLE with types for some columns only"))
			}
		}
		return &definition{run: func(ctx context.Context) error {
			text, err := w.widened(ctx, query)
			if err != nil {
				return err
			}
			head := create
			if names != nil {
				head += " (" + strings.Join(names, ", ") + ")"
			}
			notes, err := w.queryNotes(ctx, query, name, r.outline)
			if err != nil {
				return err
			}
			return w.statements(append([]string{head + " AS " + text, note}, notes...)...)(ctx)
		}}, name
	}
	var statements, defs []string
	for _, c := range columns {
		if !c.typed {
			r.fail(unsupported("CREATE TABLE with types for some columns only"))
		}
		if c.identity {
			// The name never repeats: the table that OR REPLACE removes still
			// needs its own sequence.
			seq := object{database: name.database, schema: name.schema, name: w.e.uniqueName("identity$")}
			temporary := ""
			if f.temporary {
				temporary = "TEMPORARY "
			}
			statements = append(statements, "CREATE "+temporary+"SEQUENCE "+seq.sql()+sequenceRange(c.start, c.step))
			c.standard = "nextval(" + quoteString(seq.sql()) + ")"
		}
		defs = append(defs, c.sql())
	}
	statements = append(statements, create+" ("+strings.Join(defs, ", ")+")", note)
	for _, c := range columns {
		if n := c.note(); n != "" {
			statements = append(statements, "COMMENT ON COLUMN "+name.sql()+"."+quoteIdent(c.name)+" IS "+quoteString(n))
		}
	}
	if query != "" {
		statements = append(statements, "INSERT INTO "+name.sql()+" "+query)
	}
	return &definition{run: w.statements(statements...)}, name
}

// queryNotes keeps the types of a query's columns, where DuckDB has no such types, for the
// table that is made of it.
func (w *work) queryNotes(ctx context.Context, text string, table object, o *outline) ([]string, error) {
	columns, _, err := query(ctx, w.conn, text, true)
	if err != nil {
		return nil, err
	}
	w.described(ctx, columns, o)
	var notes []string
	for _, c := range columns {
		typ := sfType{name: strings.ToUpper(c.Type)}
		switch {
		case c.Type == "array" || c.Type == "object" || c.Type == "timestamp_tz" && c.Scale == 9:
		case timeTypes[c.Type] != "" && c.Type != "date" && c.Scale < 9:
			typ.args = []int{int(c.Scale)}
		default:
			continue
		}
		notes = append(notes, "COMMENT ON COLUMN "+table.sql()+"."+quoteIdent(c.Name)+" IS "+quoteString(joinNote(typ.declared(), "")))
	}
	return notes, nil
}

// widened gives whole numbers of a query that makes a table the type NUMBER:
// DuckDB's integers would overflow in it.
func (w *work) widened(ctx context.Context, text string) (string, error) {
	columns, _, err := query(ctx, w.conn, text, true)
	if err != nil {
		return "", err
	}
	change := false
	items := make([]string, len(columns))
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = quoteIdent(c.Name)
		items[i] = names[i]
		if c.Type == "fixed" && c.Scale == 0 {
			change = true
			items[i] = "sf_whole(" + items[i] + ") AS " + items[i]
		}
	}
	if !change {
		return text, nil
	}
	return "SELECT " + strings.Join(items, ", ") + " FROM (" + text + ") AS q(" + strings.Join(names, ", ") + ")", nil
}

// copyTable carries out CREATE TABLE … LIKE and … CLONE.
func (w *work) copyTable(create string, name, from object, data bool) func(context.Context) error {
	return func(ctx context.Context) error {
		columns, err := w.columns(ctx, from)
		if err != nil {
			return err
		}
		var defs, notes []string
		for _, c := range columns {
			text := quoteIdent(c.name) + " " + c.dataType
			if c.standard != "" {
				text += " DEFAULT (" + c.standard + ")"
			}
			if !c.nullable {
				text += " NOT NULL"
			}
			if n, ok := c.length(); ok {
				text += fmt.Sprintf(" CHECK (length(%s) <= %d)", quoteIdent(c.name), n)
			}
			defs = append(defs, text)
			if c.note != "" {
				notes = append(notes, "COMMENT ON COLUMN "+name.sql()+"."+quoteIdent(c.name)+" IS "+quoteString(c.note))
			}
		}
		statements := []string{create + " (" + strings.Join(defs, ", ") + ")",
			"COMMENT ON TABLE " + name.sql() + " IS " + quoteString(joinNote(w.now.UTC().Format(timeNote), "TABLE", ""))}
		statements = append(statements, notes...)
		if data {
			statements = append(statements, "INSERT INTO "+name.sql()+" SELECT * FROM "+from.sql())
		}
		return w.statements(statements...)(ctx)
	}
}

// columnDefs reads the list of columns and constraints. Primary, unique and
// foreign keys are read and dropped: Snowflake does not enforce them.
func (r *rewriter) columnDefs() []*columnDef {
	var columns []*columnDef
	keys := map[string]bool{}
	r.expectOp("(")
	r.list(func() {
		if r.peek().word("CONSTRAINT", "PRIMARY", "FOREIGN") || r.peek().word("UNIQUE") && r.at(1).is("(") {
			for _, k := range r.constraint() {
				keys[k] = true
			}
		} else {
			columns = append(columns, r.columnDef())
		}
	})
	r.expectOp(")")
	for _, c := range columns {
		c.notNull = c.notNull || keys[c.name]
	}
	return columns
}

// constraint reads one constraint of a table, up to the next column, and gives
// the columns of a primary key.
func (r *rewriter) constraint() (primary []string) {
	isPrimary := false
	for r.err == nil {
		t := r.peek()
		switch {
		case t.kind == tEOF || t.is(",") || t.is(")"):
			return primary
		case t.word("CHECK"):
			r.fail(unsupported("CHECK constraint"))
		case t.is("("):
			names := r.columnNames()
			if isPrimary {
				primary, isPrimary = names, false
			}
			for i, n := range primary {
				primary[i] = strings.Trim(n, `"`)
			}
		default:
			isPrimary = isPrimary || t.word("PRIMARY")
			r.i++
		}
	}
	return nil
}

func (r *rewriter) columnDef() *columnDef {
	t := r.take()
	if !t.ident() {
		r.fail(r.unexpected(t))
		return &columnDef{}
	}
	c := &columnDef{name: t.text, start: "1", step: "1"}
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
			c.identity = true
			r.identity(c)
		case t.word("COMMENT"):
			r.i++
			v := r.takeString()
			c.comment = v.text
		case t.word("PRIMARY"):
			c.notNull = true
			fallthrough
		case t.word("UNIQUE", "REFERENCES", "CONSTRAINT", "FOREIGN"):
			r.inlineConstraint()
		case t.word("COLLATE", "AS", "WITH", "MASKING", "CHECK"):
			r.fail(unsupported("%s of a column", t.text))
		default:
			return c
		}
	}
	return c
}

// inlineConstraint skips a key of a column.
func (r *rewriter) inlineConstraint() {
	for r.err == nil {
		t := r.peek()
		switch {
		case t.kind == tEOF || t.is(",") || t.is(")") || t.word("DEFAULT", "COMMENT", "AUTOINCREMENT", "IDENTITY"):
			return
		case t.word("NOT") && r.at(1).word("NULL"):
			return
		case t.is("("):
			r.columnNames()
		default:
			r.i++
		}
	}
}

// identity reads (start, step) or START n INCREMENT n.
func (r *rewriter) identity(c *columnDef) {
	if r.acceptOp("(") {
		c.start = r.integer()
		if r.acceptOp(",") {
			c.step = r.integer()
		}
		r.expectOp(")")
	}
	for r.err == nil {
		switch {
		case r.accept("START"):
			r.accept("WITH")
			r.acceptOp("=")
			c.start = r.integer()
		case r.accept("INCREMENT"):
			r.accept("BY")
			r.acceptOp("=")
			c.step = r.integer()
		case r.accept("ORDER", "NOORDER"):
		default:
			return
		}
	}
}
