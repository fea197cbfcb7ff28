package duckdb

import (
	"strings"

	"github.com/snowtether/snowtether/snowtest"
)

// target reads a table that is changed, with its alias.
func (r *rewriter) target(stop string) (text, alias string) {
	name := r.objectName()
	text, alias = name.sql(), quoteIdent(name.name)
	r.accept("AS")
	if t := r.peek(); t.ident() && !t.word(stop) {
		r.i++
		alias = quoteIdent(t.text)
		text += " AS " + alias
	}
	return text, alias
}

func (r *rewriter) update() *change {
	c := &change{kind: snowtest.KindUpdate, columns: []string{rowsUpdated, rowsJoined}}
	target, alias := r.target("SET")
	if !r.peek().word("SET") {
		r.fail(r.unexpected(r.peek()))
		return c
	}
	set := r.region(func(t token) bool { return t.word("FROM", "WHERE") && !r.at(-1).word("DISTINCT") })
	from := r.region(func(t token) bool { return t.word("WHERE") })
	where := r.region(nil)
	c.text = "UPDATE " + strings.Join([]string{target, set, from, where}, " ")
	if from != "" {
		c.check = "SELECT count(*), count(*) FILTER (WHERE n > 1) FROM (SELECT count(*) AS n FROM " + target + ", " +
			strings.TrimPrefix(from, "FROM ") + " " + where + " GROUP BY " + alias + ".rowid)"
	}
	return c
}

func (r *rewriter) merge() *change {
	c := &change{kind: snowtest.KindMerge}
	if !r.accept("INTO") {
		r.fail(r.unexpected(r.peek()))
		return c
	}
	target, alias := r.target("USING")
	if !r.accept("USING") {
		r.fail(r.unexpected(r.peek()))
		return c
	}
	g := &region{r: r, from: true}
	for r.err == nil && r.peek().kind != tEOF && !r.peek().word("ON") {
		g.next(r.peek())
	}
	source := strings.Join(g.out, " ")
	if !r.accept("ON") {
		r.fail(r.unexpected(r.peek()))
		return c
	}
	isWhen := func(t token) bool { return t.word("WHEN") }
	on := r.region(isWhen)
	var clauses, matched []string
	actions := map[string]bool{}
	for r.err == nil && r.accept("WHEN") {
		text, not := "WHEN", r.accept("NOT")
		if not {
			text += " NOT"
		}
		if !r.accept("MATCHED") {
			r.fail(r.unexpected(r.peek()))
		}
		text += " MATCHED"
		cond := "TRUE"
		if r.accept("AND") {
			cond = "(" + r.region(func(t token) bool { return t.word("THEN") }) + ")"
			text += " AND " + cond
		}
		if !r.accept("THEN") {
			r.fail(r.unexpected(r.peek()))
		}
		action := r.take()
		switch {
		case !not && action.word("UPDATE") && r.peek().word("SET"):
			text += " THEN UPDATE " + r.region(isWhen)
		case !not && action.word("DELETE"):
			text += " THEN DELETE"
		case not && action.word("INSERT"):
			text += " THEN INSERT"
			if r.peek().is("(") {
				text += " (" + strings.Join(r.columnNames(), ", ") + ")"
			}
			text += " " + r.region(isWhen)
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
