package duckdb

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tableSource checks what follows FROM or JOIN.
func (g *region) tableSource() {
	r := g.r
	from, top := r.source(), g == r.top && r.outline != nil
	if from.object.name != "" {
		var err error // of what is no table: it is not known, unless only the case of its name differs
		if from.columns, err = r.s.columns(context.Background(), from.object); hasCode(err, "002003") && r.s.otherCase(from.object) {
			r.fail(err)
		}
	}
	if hasRests(from.columns) && (!top || r.hide || from.renamed) {
		r.i += from.tokens
		if g.push(hidden(from.object)); !from.named {
			g.push("AS " + quoteIdent(from.alias))
		}
		g.operand, r.rests = true, r.rests || top
		from.columns = slices.Clone(from.columns)
		for i := range from.columns {
			from.columns[i].rest = false
		}
	}
	if from.renamed {
		from.columns = nil
	}
	if top {
		r.outline.sources = append(r.outline.sources, from)
		r.rests = r.rests || hasRests(from.columns)
	}
	switch t := r.peek(); {
	case t.isStage():
		g.push(r.stagedSource())
		g.operand = true
	case t.kind == tString:
		r.fail(r.unexpected(t))
	case t.word("VALUES"):
		g.values(false)
	case t.word("DUAL") && !r.at(1).is(".") && !r.at(1).is("("):
		r.i++
		g.push("(SELECT 1 AS " + quoteIdent("dual$") + ")")
		g.operand = true
	}
}

// values reads VALUES (…), (…) as a table. Snowflake names its columns COLUMN1,
// COLUMN2 and so on.
func (g *region) values(parenthesized bool) {
	r := g.r
	r.i++
	var rows []string
	columns := 0
	r.list(func() {
		var row []string
		r.bracketed("(", func() { row = append(row, inner(r.argument())) })
		rows, columns = append(rows, "("+strings.Join(row, ", ")+")"), len(row)
	})
	if parenthesized {
		r.expectOp(")")
	}
	alias, named := `"VALUES"`, false
	r.accept("AS")
	if t := r.peek(); t.ident() && !keywords[t.text] && !clauseWords[t.text] && !t.word("LEFT", "RIGHT", "AT") {
		r.i++
		alias = quoteIdent(t.text)
		named = r.peek().is("(")
	}
	list := ""
	if named {
		list = r.parens()
	} else {
		names := make([]string, columns)
		for i := range names {
			names[i] = "COLUMN" + strconv.Itoa(i+1)
		}
		list = strings.Join(names, ", ")
	}
	g.push("(VALUES " + strings.Join(rows, ", ") + ") AS " + alias + "(" + list + ")")
}

// sequenceColumn is what SEQ4() reads from TABLE(GENERATOR(...)).
const sequenceColumn = `"seq$"`

// tableFunction reads TABLE(GENERATOR(ROWCOUNT => n, TIMELIMIT => s)) and the table
// functions that clients define; DuckDB has none of the others.
func (g *region) tableFunction() {
	r := g.r
	r.i += 2
	if r.peek().word("FLATTEN") && r.at(1).is("(") {
		r.i++
		g.flattenCall()
		r.expectOp(")")
		return
	}
	if !r.peek().word("GENERATOR") || !r.at(1).is("(") {
		g.namedTableFunction()
		return
	}
	r.i += 2
	rows, limit := "", 0.0
	for r.err == nil && !r.peek().is(")") {
		name := r.take()
		r.expectOp("=>")
		value := r.argument()
		switch {
		case name.word("ROWCOUNT"):
			rows = value
		case name.word("TIMELIMIT"):
			limit = r.timeLimit(value)
		default:
			r.fail(r.unexpected(name))
		}
		r.acceptOp(",")
	}
	r.expectOp(")")
	r.expectOp(")")
	if rows == "" {
		rows = strconv.Itoa(int(limit * 1000)) // how many come within the time is not defined
	}
	g.push("(SELECT range AS " + sequenceColumn + " FROM system.main.range(CAST(" + rows + " AS BIGINT)))")
}

// timeLimit lets the statement last for the seconds of GENERATOR(TIMELIMIT => n), and gives
// them. An account generates as many rows as it can in that time; here there are those of
// ROWCOUNT, or 1,000 a second.
func (r *rewriter) timeLimit(value string) float64 {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || n < 0 || n > maxWait {
		r.fail(unsupported("GENERATOR with this TIMELIMIT"))
		return 0
	}
	r.wait += time.Duration(n * float64(time.Second))
	return n
}

// namedTableFunction reads a table function of INFORMATION_SCHEMA or of a client's.
func (g *region) namedTableFunction() {
	r := g.r
	o := r.objectName()
	c := &call{r: r, name: o.name}
	c.read()
	r.expectOp(")")
	switch fn := r.s.routine(o, len(c.args)); {
	case r.err != nil:
	case o.schema == informationSchemaName && o.name == "QUERY_HISTORY_BY_SESSION" && len(c.args) == 0:
		g.push(r.s.queryHistory())
	case fn != nil && fn.table != nil:
		g.push(r.expand(fn, c.args))
	default:
		r.fail(unsupported("table function %s", o))
	}
}

var informationViews = wordSet("TABLES COLUMNS SCHEMATA VIEWS DATABASES SEQUENCES")

// informationSchema gives the view of a database's INFORMATION_SCHEMA.
func (r *rewriter) informationSchema(parts []token) string {
	name := parts[len(parts)-1].text
	if !informationViews[name] {
		r.fail(unsupported("INFORMATION_SCHEMA.%s", name))
		return ""
	}
	db := r.s.database
	if len(parts) > 2 {
		db = parts[len(parts)-3].text
		r.fail(r.s.mustExist(context.Background(), object{database: db}, domainNotExists("Database", db)))
	}
	alias := ""
	if t := r.peek(); !t.word("AS") && (!t.ident() || keywords[t.text] || clauseWords[t.text]) {
		alias = " AS " + name
	}
	return macroSchema + ".sf_info_" + strings.ToLower(name) + "(" + quoteString(db) + ")" + alias
}
