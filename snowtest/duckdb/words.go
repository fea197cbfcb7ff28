package duckdb

import "strings"

// keywords are the words that a parenthesis may follow without making a call.
var keywords = wordSet(`ALL AND ANY AS ASC BETWEEN BY CONNECT CROSS CUBE DELETE DESC DISTINCT ELSE END ESCAPE
	EXCEPT EXCLUDE EXISTS FETCH FILTER FIRST FOLLOWING FROM FULL GROUP GROUPING HAVING ILIKE IN INNER INSERT
	INTERSECT INTO IS JOIN LAST LATERAL LIKE LIMIT MATCHED MINUS NATURAL NOT NULLS OFFSET ON OR ORDER OUTER OVER
	OVERLAPS PARTITION PRECEDING QUALIFY RANGE RECURSIVE REGEXP RENAME REPLACING ROLLUP ROWS SELECT SET SETS SOME
	THEN UNBOUNDED UNION UPDATE USING VALUES WHEN WHERE WINDOW WITH WITHIN`)

// calledKeywords name functions of DuckDB's where a parenthesis follows.
var calledKeywords = wordSet("FILTER FIRST LAST RANGE")

// quotedWords are reserved in DuckDB and plain names in Snowflake.
var quotedWords = wordSet(`ANALYSE ANALYZE ANTI ARRAY ASYMMETRIC AT AUTHORIZATION BINARY BOTH COLLATION COLUMNS CONCURRENTLY
	DEFERRABLE DESCRIBE DO FREEZE GENERATED GLOB INITIALLY ISNULL LAMBDA LEADING MAP NOTNULL PLACING POSITIONAL RETURNING SEMI
	SHOW STRUCT SUMMARIZE SYMMETRIC TRAILING UNPACK USER VARIADIC VERBOSE`)

var clauseWords = wordSet(`FROM WHERE GROUP HAVING QUALIFY ORDER LIMIT OFFSET FETCH UNION INTERSECT EXCEPT MINUS
	WINDOW INTO`)

// refusedWords begin what DuckDB lacks or understands otherwise.
var refusedWords = map[string]string{
	"PIVOT": "PIVOT", "UNPIVOT": "UNPIVOT", "MATCH_RECOGNIZE": "MATCH_RECOGNIZE", "SAMPLE": "SAMPLE",
	"TABLESAMPLE": "SAMPLE", "ASOF": "ASOF JOIN", "CHANGES": "CHANGES", "RESULT_SCAN": "RESULT_SCAN",
}

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

func (g *region) word(t token) {
	r := g.r
	next := r.at(1)
	refused := ""
	if next.is("(") || next.word("JOIN", "BERNOULLI", "SYSTEM", "ROW", "BLOCK") {
		refused = refusedWords[t.text]
	}
	switch t.text {
	case "SELECT":
		r.i++
		g.with = false
		g.push("SELECT")
		if g == r.top {
			if r.outline == nil {
				r.outline = &outline{}
			} else {
				g.untraced()
			}
		}
		g.selectList()
		return
	case "CASE":
		r.i++
		inner := r.region(func(t token) bool { return t.word("END") })
		if !r.accept("END") {
			r.fail(r.unexpected(r.peek()))
			return
		}
		g.addOperand("CASE "+inner+" END", false)
		return
	case "NULL", "TRUE", "FALSE":
		r.i++
		g.addOperand(t.text, false)
		return
	case "MINUS":
		r.i++
		if g == r.top {
			g.untraced()
		}
		g.push("EXCEPT")
		return
	case "RLIKE", "REGEXP":
		if !next.is("(") && (g.operand || r.at(-1).word("NOT")) {
			r.i++
			g.push("SIMILAR TO")
			return
		}
	case "INTERVAL":
		refused = "INTERVAL outside of a sum"
	case "DATE", "TIME", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "DATETIME":
		if next.kind == tString {
			r.i += 2
			typ := sfType{name: t.text}
			g.is = &static{typ: typ, notNull: true, rest: typ.rest(quoteString(next.text), nil)}
			g.addOperand(typ.cast(quoteString(next.text), false, false), false)
			return
		}
	case "FROM", "JOIN":
		g.joined(t)
		r.i++
		distinct := r.at(-2).word("DISTINCT") && r.at(-3).word("IS", "NOT")
		g.push(t.text)
		if !distinct {
			g.from = true
			g.tableSource()
		}
		return
	case "TABLE":
		if next.is("(") {
			g.tableFunction()
			return
		}
	case "FLATTEN":
		if next.is("(") && g.from {
			r.i++
			g.flattenCall()
			return
		}
	case "LIKE", "ILIKE":
		if next.word("ANY", "ALL", "SOME") && r.at(2).is("(") {
			g.likeAny(t.text, next.text)
			return
		}
	case "VALUES":
		if g.from && !g.operand {
			g.values(false)
			return
		}
	case "AT", "BEFORE":
		if next.is("(") && g.from {
			refused = "time travel"
		}
	case "START", "CONNECT":
		if next.word("WITH", "BY") {
			refused = "CONNECT BY"
		}
	}
	if refused != "" {
		r.fail(unsupported("%s", refused))
		return
	}
	if keywords[t.text] && !next.is(".") && !(calledKeywords[t.text] && next.is("(")) {
		r.i++
		if clauseWords[t.text] {
			g.from = false
		}
		if g == r.top && r.outline != nil {
			r.outline.grouped = r.outline.grouped || t.text == "GROUP"
		}
		g.with = g.with || t.text == "WITH"
		if g == r.top && t.word("WITH", "UNION", "INTERSECT", "EXCEPT", "USING") {
			g.untraced()
		}
		g.push(t.text)
		return
	}
	g.name()
}

func (g *region) untraced() { g.r.outline = &outline{vague: true} }

// joined notes what a join of the outermost SELECT does to its columns.
func (g *region) joined(t token) {
	r := g.r
	if g != r.top || r.outline == nil || t.text != "JOIN" {
		return
	}
	for i := -1; r.at(i).word("LEFT", "RIGHT", "FULL", "OUTER", "NATURAL", "INNER", "CROSS"); i-- {
		r.outline.outer = r.outline.outer || r.at(i).word("LEFT", "RIGHT", "FULL")
		r.outline.vague = r.outline.vague || r.at(i).word("NATURAL")
	}
}

// name reads a qualified name and what it stands for: a column or a table, a
// call, a sequence's NEXTVAL, an assignment's target.
func (g *region) name() {
	r := g.r
	start := r.i
	parts := []token{r.take()}
	star := false
	for r.peek().is(".") && !star {
		switch t := r.at(1); {
		case t.ident():
			parts = append(parts, t)
			r.i += 2
		case t.kind == tVar && isDigit(t.text[0]):
			parts = append(parts, token{kind: tQuoted, text: "$" + t.text})
			r.i += 2
		case t.is("*"):
			star = true
			r.i += 2
		case t.is("."):
			// DB..T means DB.PUBLIC.T.
			parts = append(parts, token{kind: tWord, text: "PUBLIC"})
			r.i++
		default:
			r.fail(r.unexpected(t))
			return
		}
	}
	last := parts[len(parts)-1]
	switch {
	case len(parts) == 1 && r.peek().is("(") && g.namesColumns(start):
		columns := r.parens()
		g.push(joinName(parts) + "(" + columns + ")")
		g.operand = true
		return
	case !star && r.peek().is("("):
		if len(parts) > 1 || last.kind != tWord {
			c := &call{r: r, name: last.text}
			if c.read(); r.err != nil {
				return
			}
			if fn := r.s.routine(objectOf(parts), len(c.args)); fn != nil && fn.table == nil {
				g.addOperand(r.expand(fn, c.args), fn.returns.semi())
				return
			}
			r.fail(compileError("002140", "42601", "Unknown function %s.", strings.ToUpper(r.text(start, start+2*len(parts)-1))))
			return
		}
		piece, variant := r.call(last)
		g.is = resultOf[last.text]
		if r.cast != nil {
			g.is, r.cast = r.cast, nil
		}
		g.addOperand(piece, variant)
		return
	case len(parts) == 1 && r.params[strings.ToUpper(last.text)] != "" && !r.peek().is("("):
		g.addOperand(r.params[strings.ToUpper(last.text)], false)
		return
	case len(parts) == 1 && last.kind == tWord && bareWords[last.text]:
		piece, _ := r.fact(last.text)
		g.addOperand(piece, false)
		return
	case len(parts) > 1 && last.word("NEXTVAL") && !star:
		g.addOperand("nextval("+quoteString(joinName(parts[:len(parts)-1]))+")", false)
		return
	case g.from && len(parts) > 1 && parts[len(parts)-2].ident() && parts[len(parts)-2].text == informationSchemaName:
		g.addOperand(r.informationSchema(parts), false)
		return
	}
	piece := joinName(parts)
	is := &static{}
	for _, p := range parts {
		is.column = append(is.column, p.text)
	}
	if g.is = is; star {
		g.push(piece + ".*")
		g.is = is
		return
	}
	g.addOperand(piece, false)
}

// likeAny rewrites x [NOT] LIKE ANY (a, b), which DuckDB lacks.
func (g *region) likeAny(op, quantifier string) {
	r := g.r
	r.i += 3
	not := len(g.out) > 0 && g.out[len(g.out)-1] == "NOT"
	if not {
		g.out = g.out[:len(g.out)-1]
	}
	if len(g.out) == 0 || len(g.out) > 1 && strings.Contains("+-*/%||", g.out[len(g.out)-2]) {
		r.fail(unsupported("%s %s after a sum; put it in parentheses", op, quantifier))
		return
	}
	x, joint := g.out[len(g.out)-1], pick(quantifier == "ALL", " AND ", " OR ")
	var list []string
	r.list(func() {
		list = append(list, x+" "+op+" "+r.argument())
	})
	r.expectOp(")")
	text := "(" + strings.Join(list, joint) + ")"
	if not {
		text = "(NOT " + text + ")"
	}
	g.out = g.out[:len(g.out)-1]
	g.push(text)
	g.operand = true
}

// namesColumns reports whether the name at start is that of a table and what
// follows it in parentheses are its columns: FROM x AS t(a, b), WITH t(a, b) AS.
func (g *region) namesColumns(start int) bool {
	r := g.r
	end := start + 2
	for ; end < len(r.toks) && !r.toks[end].is(")"); end++ {
		if !r.toks[end].ident() && !r.toks[end].is(",") {
			return false
		}
	}
	return r.at(start-1-r.i).word("AS") || g.from && g.operand || g.with && r.at(end+1-r.i).word("AS")
}

func joinName(parts []token) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('.')
		}
		if p.kind == tQuoted || i > 0 || quotedWords[p.text] {
			b.WriteString(quoteIdent(p.text))
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// selectList gives each item of a SELECT the name that Snowflake gives it: its
// own text in upper case, where it has neither an alias nor a column's name.
func (g *region) selectList() {
	r := g.r
	if r.peek().word("DISTINCT", "ALL") {
		g.push(r.take().text)
	}
	if r.peek().word("TOP") && r.at(1).kind == tNumber {
		r.fail(unsupported("TOP"))
		return
	}
	for r.err == nil {
		start, end := r.i, r.itemEnd()
		exprEnd, alias := r.splitAlias(start, end)
		piece := r.regionUntil(exprEnd)
		if r.err == nil && r.i != exprEnd {
			r.fail(r.unexpected(r.peek()))
		}
		g.noteItem(piece, alias)
		if g != r.top {
			piece = inner(piece)
		}
		r.i = max(r.i, end)
		if alias != "" {
			piece += " AS " + quoteIdent(alias)
		}
		g.push(piece)
		if !r.acceptOp(",") {
			return
		}
		if r.peek().word("FROM") {
			return // a comma after the last item
		}
		g.push(",")
	}
}

func (g *region) noteItem(piece, alias string) {
	r := g.r
	if g != r.top || r.outline.vague {
		return
	}
	item := outlineItem{is: r.is, at: len(g.out), alias: alias, star: piece == "*" || strings.HasSuffix(piece, ".*")}
	if strings.HasPrefix(piece, "*") && piece != "*" || strings.Contains(piece, ".* ") {
		r.outline.vague = true // EXCLUDE and its like
	}
	r.outline.items = append(r.outline.items, item)
}

func (r *rewriter) itemEnd() int {
	depth := 0
	for i := r.i; i < len(r.toks); i++ {
		switch t := r.toks[i]; {
		case t.is("(") || t.is("[") || t.is("{"):
			depth++
		case t.is(")") || t.is("]") || t.is("}"):
			if depth--; depth < 0 {
				return i
			}
		case depth > 0:
		case t.is(",") || t.is(";"):
			return i
		case t.kind == tWord && clauseWords[t.text] && !(i > 0 && r.toks[i-1].is(".")):
			if t.text == "GROUP" && i > 0 && r.toks[i-1].word("WITHIN") {
				continue
			}
			if t.text == "FROM" && i >= 2 && r.toks[i-1].word("DISTINCT") && r.toks[i-2].word("IS", "NOT") {
				continue
			}
			return i
		}
	}
	return len(r.toks)
}

// splitAlias parts an item into its expression and the name of its column; the
// name is empty where DuckDB names the column as Snowflake does.
func (r *rewriter) splitAlias(start, end int) (exprEnd int, alias string) {
	ts := r.toks[start:end]
	if len(ts) == 0 {
		return end, ""
	}
	last := ts[len(ts)-1]
	if len(ts) >= 3 && ts[len(ts)-2].word("AS") && last.ident() {
		return end - 2, last.text
	}
	chain := true
	for i, t := range ts {
		if i%2 == 0 && t.is("*") || t.word("EXCLUDE", "RENAME", "REPLACE") && i > 0 && ts[i-1].is("*") {
			return end, ""
		}
		if i%2 == 0 && !t.ident() || i%2 == 1 && !t.is(".") {
			chain = false
			break
		}
	}
	if chain {
		if len(ts) == 1 && ts[0].kind == tWord && (bareWords[ts[0].text] || ts[0].word("NULL", "TRUE", "FALSE")) {
			return end, ts[0].text
		}
		if len(ts) > 1 && last.word("NEXTVAL") {
			return end, "NEXTVAL"
		}
		return end, ""
	}
	if last.ident() && !last.word("END", "NULL", "TRUE", "FALSE", "PRECISION") && endsOperand(ts[:len(ts)-1]) {
		return end - 1, last.text
	}
	return end, strings.ToUpper(r.text(start, end))
}

// endsOperand reports whether a name after these tokens is an alias.
func endsOperand(ts []token) bool {
	if len(ts) == 0 {
		return false
	}
	t := ts[len(ts)-1]
	switch t.kind {
	case tNumber, tString, tHex, tQuoted, tBind, tVar:
		return true
	case tOp:
		return t.text == ")" || t.text == "]" || t.text == "}"
	}
	if t.text == "END" || t.text == "NULL" {
		return true
	}
	return !keywords[t.text] && t.text != "CASE" && t.text != "RLIKE" && t.text != "COLLATE"
}
