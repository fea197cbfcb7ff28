package duckdb

import (
	"context"
	"strings"
)

func (w *work) alter(r *rewriter) *definition {
	what := r.take()
	def := &definition{done: executed}
	switch what.text {
	case "TABLE", "VIEW":
	case "WAREHOUSE":
		// There is none, so there is nothing to resume or resize.
		r.i = len(r.toks)
		def.run = func(context.Context) error { return nil }
		return def
	default:
		r.fail(unsupported("ALTER %s", what.text))
		return def
	}
	if r.ifExists() {
		def.missing = executed
	}
	name := r.objectName()
	head := "ALTER " + what.text + " " + name.sql() + " "
	switch {
	case r.accept("RENAME"):
		def.run = w.statements(head + r.rename(name))
	case what.text == "VIEW":
		r.fail(unsupported("ALTER VIEW"))
	case r.accept("ADD"):
		def.run = w.statements(r.addColumns(name, head)...)
	case r.accept("DROP"):
		def.run = w.statements(r.dropColumns(head)...)
	case r.accept("ALTER", "MODIFY"):
		def.run = w.statements(r.alterColumns(name, head)...)
	case r.accept("SWAP"):
		def.run = r.swap(w, name)
	case r.accept("SET"):
		comment := r.options()
		note := joinNote(w.now.UTC().Format(timeNote), "TABLE", comment)
		def.run = w.statements("COMMENT ON TABLE " + name.sql() + " IS " + quoteString(note))
	case r.accept("CLUSTER", "SUSPEND", "RESUME"):
		r.i = len(r.toks)
		def.run = func(context.Context) error { return nil }
	default:
		r.fail(r.unexpected(r.peek()))
	}
	return def
}

func (r *rewriter) rename(name object) string {
	if r.accept("COLUMN") {
		from := r.take()
		r.need("TO")
		return "RENAME COLUMN " + quoteIdent(from.text) + " TO " + quoteIdent(r.take().text)
	}
	r.need("TO")
	to := r.objectName()
	if to.schema != "" && to.schema != name.schema || to.database != "" && to.database != name.database {
		r.fail(unsupported("RENAME into another schema"))
	}
	return "RENAME TO " + quoteIdent(to.name)
}

func (r *rewriter) addColumns(name object, head string) []string {
	if r.peek().word("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN") {
		r.constraint()
		return []string{"SELECT 1"}
	}
	r.accept("COLUMN")
	var statements []string
	for r.err == nil {
		guard := ""
		if r.accept("IF") && r.accept("NOT") && r.accept("EXISTS") {
			guard = "IF NOT EXISTS "
		}
		c := r.columnDef()
		if c.identity {
			r.fail(unsupported("ALTER TABLE with an AUTOINCREMENT column"))
		}
		text := head + "ADD COLUMN " + guard + quoteIdent(c.name) + " " + c.typ.duck()
		if c.standard != "" {
			text += " DEFAULT (" + c.standard + ")"
		}
		statements = append(statements, text)
		if c.notNull {
			statements = append(statements, head+"ALTER COLUMN "+quoteIdent(c.name)+" SET NOT NULL")
		}
		if n := c.note(); n != "" {
			statements = append(statements, "COMMENT ON COLUMN "+name.sql()+"."+quoteIdent(c.name)+" IS "+quoteString(n))
		}
		if !r.acceptOp(",") {
			break
		}
		r.accept("COLUMN")
	}
	return statements
}

func (r *rewriter) dropColumns(head string) []string {
	if r.peek().word("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN") {
		r.i = len(r.toks)
		return []string{"SELECT 1"}
	}
	r.accept("COLUMN")
	guard := ""
	if r.ifExists() {
		guard = "IF EXISTS "
	}
	var statements []string
	r.list(func() {
		t := r.take()
		if !t.ident() {
			r.fail(r.unexpected(t))
		}
		statements = append(statements, head+"DROP COLUMN "+guard+quoteIdent(t.text))
	})
	return statements
}

// alterColumns reads ALTER COLUMN c SET DATA TYPE t and its like; several may
// stand in a row, with or without parentheses.
func (r *rewriter) alterColumns(name object, head string) []string {
	parenthesis := r.acceptOp("(")
	var statements []string
	for r.err == nil {
		r.accept("COLUMN")
		t := r.take()
		if !t.ident() {
			r.fail(r.unexpected(t))
			break
		}
		column := head + "ALTER COLUMN " + quoteIdent(t.text) + " "
		typed := func() {
			c := &columnDef{name: t.text, typ: r.dataType()}
			statements = append(statements, column+"SET DATA TYPE "+c.typ.duck(),
				"COMMENT ON COLUMN "+name.sql()+"."+quoteIdent(t.text)+" IS "+quoteString(c.note()))
		}
		switch {
		case r.accept("SET"):
			switch {
			case r.accept("DATA"):
				r.accept("TYPE")
				typed()
			case r.accept("NOT") && r.accept("NULL"):
				statements = append(statements, column+"SET NOT NULL")
			case r.accept("DEFAULT"):
				r.deferred = true
				statements = append(statements, column+"SET DEFAULT "+r.argument())
				r.deferred = false
			default:
				r.fail(r.unexpected(r.peek()))
			}
		case r.accept("DROP"):
			switch {
			case r.accept("NOT") && r.accept("NULL"):
				statements = append(statements, column+"DROP NOT NULL")
			case r.accept("DEFAULT"):
				statements = append(statements, column+"DROP DEFAULT")
			default:
				r.fail(r.unexpected(r.peek()))
			}
		case r.accept("COMMENT"):
			r.fail(unsupported("ALTER COLUMN … COMMENT; use COMMENT ON COLUMN"))
		default:
			r.accept("TYPE")
			typed()
		}
		if !r.acceptOp(",") {
			break
		}
	}
	if parenthesis {
		r.expectOp(")")
	}
	return statements
}

// swap exchanges two tables of a schema by renaming them.
func (r *rewriter) swap(w *work, a object) func(context.Context) error {
	r.need("WITH")
	b := r.objectName()
	spare := a
	spare.name = w.e.uniqueName("swap$")
	move := func(from object, to string) string {
		return strings.Join([]string{"ALTER TABLE", from.sql(), "RENAME TO", quoteIdent(to)}, " ")
	}
	if a.schema != b.schema || a.database != b.database {
		r.fail(unsupported("SWAP of tables whose names are not qualified alike"))
	}
	return w.statements(move(a, spare.name), move(b, a.name), move(spare, b.name))
}
