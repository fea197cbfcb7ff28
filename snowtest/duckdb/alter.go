package duckdb

import (
	"context"
	"slices"
)

func (w *work) alter(r *rewriter) *definition {
	what := r.take()
	def := &definition{done: executed, missing: pick(r.ifExists(), executed, "")}
	if what.word("WAREHOUSE") {
		def.run = w.alterWarehouse(r.objectName().name, false)
		r.i = len(r.toks) // its properties change nothing here
		return def
	}
	if !what.word("TABLE", "VIEW") {
		r.fail(unsupported("ALTER %s", what.text))
		return def
	}
	name := r.objectName()
	head := "ALTER " + what.text + " " + name.sql() + " "
	var statements []string
	var moved [][2]object
	switch {
	case r.accept("RENAME"):
		statements, moved = w.rename(r, name, head)
	case what.text == "VIEW":
		r.fail(unsupported("ALTER VIEW"))
	case r.accept("ADD"):
		statements = r.addColumns(name, head)
	case r.accept("DROP"):
		statements = r.dropColumns(head)
	case r.accept("ALTER", "MODIFY"):
		statements = r.alterColumns(name, head)
	case r.accept("SWAP"):
		statements, moved = r.swap(w, name)
	case r.accept("SET"):
		statements = []string{(&newTable{name: name, at: w.now, comment: r.options()}).note()}
	default:
		r.need("CLUSTER", "SUSPEND", "RESUME")
		r.i = len(r.toks)
	}
	run := w.statements(statements...)
	def.run = func(ctx context.Context) error {
		err := run(ctx)
		for _, m := range moved {
			if err == nil {
				err = w.moveFiles(m[0], m[1])
			}
		}
		return err
	}
	return def
}

func (w *work) rename(r *rewriter, name object, head string) (statements []string, moved [][2]object) {
	if r.accept("COLUMN") {
		from := r.takeName().text
		r.need("TO")
		to := r.takeName().text
		statements = []string{head + "RENAME COLUMN " + quoteIdent(from) + " TO " + quoteIdent(to)}
		if columns, err := w.columns(context.Background(), name); err == nil && slices.ContainsFunc(columns, func(c column) bool { return c.rest && c.name == from }) {
			statements = append(statements, head+"RENAME COLUMN "+quoteIdent(restName(from))+" TO "+quoteIdent(restName(to)))
		}
		return statements, nil
	}
	r.need("TO")
	to := r.objectName()
	if to.schema != "" && to.schema != name.schema || to.database != "" && to.database != name.database {
		r.fail(unsupported("RENAME into another schema"))
	}
	renamed := name
	renamed.name = to.name
	return []string{head + "RENAME TO " + quoteIdent(to.name)}, [][2]object{{name, renamed}}
}

func (r *rewriter) addColumns(name object, head string) []string {
	if r.peek().word("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN") {
		r.constraint(false)
		return nil
	}
	r.accept("COLUMN")
	var statements []string
	for r.err == nil {
		guard := pick(r.accept("IF") && r.accept("NOT") && r.accept("EXISTS"), "IF NOT EXISTS ", "")
		c := r.columnDef()
		if c.series != "" {
			r.fail(unsupported("ALTER TABLE with an AUTOINCREMENT column"))
		}
		standard := pick(c.standard != "", " DEFAULT ("+c.standard+")", "")
		statements = append(statements, head+"ADD COLUMN "+guard+quoteIdent(c.name)+" "+c.typ.duck()+standard)
		if c.notNull {
			statements = append(statements, head+"ALTER COLUMN "+quoteIdent(c.name)+" SET NOT NULL")
		}
		if c.typ.exact() {
			statements = append(statements, head+"ADD COLUMN "+guard+quoteIdent(restName(c.name))+" INTEGER")
		}
		statements = append(statements, c.comments(name)...)
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
		return nil
	}
	r.accept("COLUMN")
	guard := pick(r.ifExists(), "IF EXISTS ", "")
	var statements []string
	r.list(func() {
		column := r.takeName().text
		statements = append(statements, head+"DROP COLUMN "+guard+quoteIdent(column), head+"DROP COLUMN IF EXISTS "+quoteIdent(restName(column)))
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
		t := r.takeName()
		column := head + "ALTER COLUMN " + quoteIdent(t.text) + " "
		typed := func() {
			c := &columnDef{name: t.text, typ: r.dataType()}
			statements = append(statements, column+"SET DATA TYPE "+c.typ.duck(), commentOn(name, t.text, c.note()))
		}
		set := r.peek().word("SET")
		switch {
		case set && r.at(1).word("NOT", "DEFAULT") || r.peek().word("DROP"):
			column += r.take().text + " "
			if r.accept("NOT") {
				r.need("NULL")
				statements = append(statements, column+"NOT NULL")
				break
			}
			r.need("DEFAULT")
			column += "DEFAULT"
			if r.deferred = true; set {
				column += " " + r.argument()
			}
			statements, r.deferred = append(statements, column), false
		case set && r.at(1).word("DATA"):
			r.i += 2
			r.accept("TYPE")
			typed()
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

func (r *rewriter) swap(w *work, a object) (statements []string, moved [][2]object) {
	r.need("WITH")
	b := r.objectName()
	spare := a
	spare.name = w.e.uniqueName("swap$")
	move := func(from object, to string) string {
		return "ALTER TABLE " + from.sql() + " RENAME TO " + quoteIdent(to)
	}
	if a.schema != b.schema || a.database != b.database {
		r.fail(unsupported("SWAP of tables whose names are not qualified alike"))
	}
	return []string{move(a, spare.name), move(b, a.name), move(spare, b.name)}, [][2]object{{a, spare}, {b, a}, {spare, b}}
}
