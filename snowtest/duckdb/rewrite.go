package duckdb

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// A rewriter turns a statement of Snowflake's dialect into DuckDB's. It goes
// over the tokens once, left to right, and collapses each operand (a literal, a
// name, a call, a parenthesis, a CASE) into one piece of text, so that what
// follows it (::type, :path, ||) can be applied to the piece. What it does not
// know it hands on: DuckDB then knows it or says so. What both know and
// understand differently it rewrites or refuses.
type rewriter struct {
	src  string
	toks []token
	i    int
	err  error

	s        *session
	now      time.Time // the statement's time
	binds    []snowtest.Bind
	bindText []string // replaces the bind values by these expressions
	bindIs   []*static
	nextBind int
	describe bool // binds that are missing are NULL

	generators int           // TABLE(GENERATOR(...)) in the statement
	wait       time.Duration // what SYSTEM$WAIT asks for
	deferred   bool          // the text is kept: a view, or a column's default

	staged *stagedTable      // what a stage in FROM stands for, in COPY INTO
	params map[string]string // of the function whose body this is
	calls  int               // how many functions this one is called by

	rests   bool    // a table of the outermost FROM has hidden columns
	hide    bool    // nobody is to see them
	top     *region // the outermost
	outline *outline
	is      *static // of the region that was read last
	cast    *static // what CAST has just made
}

func (s *session) rewriter(src string, toks []token, st *snowtest.Statement, now time.Time) *rewriter {
	r := &rewriter{src: src, toks: toks, s: s, now: now, binds: st.Binds, describe: st.DescribeOnly}
	for i, t := range toks {
		if t.word("GENERATOR") && i+1 < len(toks) && toks[i+1].is("(") {
			r.generators++
		}
	}
	return r
}

// newReader reads a text that is no statement: a name, a path, a type.
func newReader(s *session, text string) *rewriter {
	toks, err := tokenize(text)
	return &rewriter{src: text, toks: toks, s: s, err: err}
}

// end gives the first error; what is left of the statement is one too.
func (r *rewriter) end() error {
	if t := r.peek(); r.err == nil && t.kind != tEOF {
		r.fail(r.unexpected(t))
	}
	return r.err
}

func (r *rewriter) peek() token { return r.at(0) }

func (r *rewriter) at(n int) token {
	if r.i+n < 0 || r.i+n >= len(r.toks) {
		return token{kind: tEOF, start: len(r.src), end: len(r.src)}
	}
	return r.toks[r.i+n]
}

func (r *rewriter) take() token {
	t := r.peek()
	r.i++
	return t
}

func (r *rewriter) accept(words ...string) bool {
	if r.peek().word(words...) {
		r.i++
		return true
	}
	return false
}

func (r *rewriter) acceptOp(op string) bool {
	if r.peek().is(op) {
		r.i++
		return true
	}
	return false
}

func (r *rewriter) expectOp(op string) {
	if !r.acceptOp(op) {
		r.fail(r.unexpected(r.peek()))
	}
}

// need reads a word that has to stand here: one of these.
func (r *rewriter) need(words ...string) {
	if !r.accept(words...) {
		r.fail(r.unexpected(r.peek()))
	}
}

// takeString reads a string that has to stand here, takeName a name.
func (r *rewriter) takeString() token { return r.takeIf(r.peek().kind == tString) }
func (r *rewriter) takeName() token   { return r.takeIf(r.peek().ident()) }

func (r *rewriter) takeIf(right bool) token {
	t := r.take()
	if !right {
		r.fail(r.unexpected(t))
	}
	return t
}

func (r *rewriter) ifExists() bool { return r.accept("IF") && r.accept("EXISTS") }

func (r *rewriter) list(item func()) {
	for r.err == nil {
		if item(); !r.acceptOp(",") {
			return
		}
	}
}

// bracketed reads a list, which may be empty, in brackets.
func (r *rewriter) bracketed(open string, item func()) {
	end := map[string]string{"(": ")", "[": "]", "{": "}"}[open]
	if r.expectOp(open); !r.peek().is(end) {
		r.list(item)
	}
	r.expectOp(end)
}

func (r *rewriter) argument() string { return r.region(func(t token) bool { return t.is(",") }) }

func (r *rewriter) parens() string {
	r.expectOp("(")
	text := r.region(nil)
	r.expectOp(")")
	return text
}

// fail keeps the first error and ends the reading. No error is no failure.
func (r *rewriter) fail(err error) {
	if err == nil {
		return
	}
	if r.err == nil {
		r.err = err
	}
	r.i = len(r.toks)
}

func (r *rewriter) unexpected(t token) error {
	if t.kind == tEOF {
		return unexpectedEnd(r.src)
	}
	return syntaxError(r.src, t.start, r.src[t.start:t.end])
}

func (r *rewriter) text(i, end int) string {
	if i >= end || end > len(r.toks) {
		return ""
	}
	return r.src[r.toks[i].start:r.toks[end-1].end]
}

// A region is what stands between two parentheses, or one argument, or one item
// of a SELECT.
type region struct {
	r       *rewriter
	out     []string
	operand bool      // the last piece is an operand
	concat  bool      // the next operand follows ||
	wrapped bool      // the last piece is text already
	from    bool      // inside a FROM clause
	with    bool      // among the names of a WITH clause
	is      *static   // what is known of the operand that comes, and then of the last
	terms   []*static // what is known of the pieces
}

// region rewrites up to a closing bracket, the end, or a token at which stop
// says so.
func (r *rewriter) region(stop func(token) bool) string {
	g := &region{r: r}
	if r.top == nil {
		r.top = g
	}
	for r.err == nil {
		t := r.peek()
		if t.kind == tEOF || t.is(")") || t.is("]") || t.is("}") || stop != nil && stop(t) {
			break
		}
		g.next(t)
	}
	if r.is = g.is; len(g.out) != 1 || g.is == nil {
		r.is = &static{terms: g.terms}
	}
	return strings.Join(g.out, " ")
}

func (r *rewriter) regionUntil(end int) string {
	return r.region(func(token) bool { return r.i >= end })
}

func (g *region) push(piece string) {
	g.out, g.terms = append(g.out, piece), append(g.terms, &static{op: piece})
	g.operand, g.wrapped, g.is = false, false, nil
}

func (g *region) next(t token) {
	r := g.r
	switch t.kind {
	case tQuoted:
		g.name()
		return
	case tWord:
		g.word(t)
		return
	case tOp:
		g.op(t)
		return
	}
	r.i++
	text := ""
	switch t.kind {
	case tNumber:
		text, g.is = t.text, literalOf(t)
	case tString:
		text, g.is = r.constant(t.text), literalOf(t)
	case tHex:
		text = "from_hex('" + t.text + "')"
	case tBind:
		text, g.is = r.bind(t)
	case tVar:
		text = r.variable(t)
	}
	g.addOperand(text, false)
}

// widened gives a whole number that is calculated with the type of NUMBER(38,0): DuckDB would
// calculate in 32 or 64 bits and overflow. Beside + and - one does so that begins a sum of
// numbers: what stands alone there may be days, which DuckDB adds to a date as an INTEGER only.
func (g *region) widened(piece string) string {
	next, n := g.r.peek(), len(g.out)
	begins := n == 0 || !strings.Contains("+-*/%", g.out[n-1]) || n == 1 || keywords[g.out[n-2]] || strings.Contains(",=<>=", g.out[n-2])
	sum := begins && (next.is("+") || next.is("-")) && (g.r.at(1).kind == tNumber || g.r.at(1).kind == tBind)
	if isWhole(piece) && (sum || next.is("*") || n > 0 && g.out[n-1] == "*") {
		return piece + "::" + wholeType
	}
	return piece
}

// isWhole reports whether an expression is a whole number and no more.
func isWhole(piece string) bool {
	return strings.Trim(piece, "()- ") != "" && strings.Trim(piece, "()- 0123456789") == ""
}

// inner gives a whole number that a query around this one sees the type of NUMBER(38,0).
func inner(piece string) string { return pick(isWhole(piece), "("+piece+")::"+wholeType, piece) }

// addOperand applies what follows an operand, and appends it.
func (g *region) addOperand(piece string, variant bool) {
	r := g.r
	is := g.is
	for r.err == nil {
		t := r.peek()
		switch {
		case t.is("::"):
			r.i++
			typ := r.dataType()
			if r.err != nil {
				return
			}
			is = &static{typ: typ, notNull: is != nil && is.notNull, rest: typ.rest(piece, is)}
			piece, variant = typ.cast(piece, variant, false), typ.semi()
		case t.is(":") && (r.at(1).ident()):
			r.i++
			piece, variant, is = "sf_get("+piece+", "+quoteString(r.path())+")", true, nil
		case t.is("["):
			piece, variant, is = "sf_get("+piece+", "+quoteString(joinPath([]string{r.subscript()}))+")", true, nil
		default:
			wrap := g.concat && !t.is("*") && !t.is("/") && !t.is("%")
			if wrap {
				piece, is = textOf(piece), nil
			}
			g.push(g.widened(piece))
			g.operand, g.wrapped, g.concat = true, wrap, false
			g.is, g.terms[len(g.terms)-1] = is, is
			return
		}
	}
}

// isText reports whether a piece is text for certain, written as Snowflake would.
func isText(piece string) bool {
	return strings.HasPrefix(piece, "'") || strings.HasPrefix(piece, "sf_text(") || strings.HasPrefix(piece, heldText)
}

// textOf writes a piece as Snowflake would.
func textOf(piece string) string { return pick(isText(piece), piece, "sf_text("+piece+")") }

const (
	longText = 64 << 10 // what is longer does not pass through DuckDB's parser
	heldText = "getvariable('held$"
)

// constant writes a text for DuckDB: as a literal, or, if it is long and only this statement needs
// it, as a variable of DuckDB's connection. DuckDB takes seconds to read a literal of some megabytes.
func (r *rewriter) constant(text string) string {
	if len(text) < longText || r.deferred {
		return quoteString(text)
	}
	name, err := r.s.hold(text)
	r.fail(err)
	return "getvariable('" + name + "')"
}

// path reads the rest of v:a.b[0]. The names are case-sensitive.
func (r *rewriter) path() string {
	var steps []string
	for {
		t := r.take()
		name := t.text
		if t.kind == tWord {
			name = r.src[t.start:t.end]
		} else if t.kind != tQuoted {
			r.fail(r.unexpected(t))
			return ""
		}
		steps = append(steps, quoteJSON(name))
		for r.peek().is("[") {
			steps = append(steps, r.subscript())
		}
		if !r.peek().is(".") {
			return joinPath(steps)
		}
		r.i++
	}
}

// subscript reads [0] or ['name'] as a step of a path.
func (r *rewriter) subscript() string {
	r.i++
	step := r.take().step()
	r.expectOp("]")
	if step == "" {
		r.fail(unsupported("subscript that is not a literal"))
	}
	return step
}

// step writes a subscript for a path; only literals are one.
func (t token) step() string {
	switch {
	case t.whole():
		return t.text
	case t.kind == tString:
		return quoteJSON(t.text)
	}
	return ""
}

func (g *region) op(t token) {
	r := g.r
	switch t.text {
	case "(":
		if g.from && r.at(1).word("VALUES") && !g.operand {
			r.i++
			g.values(true)
			return
		}
		inner := r.parens()
		g.is = r.is
		g.addOperand("("+inner+")", false)
	case "||":
		r.i++
		arithmetic := len(g.out) >= 2 && strings.Contains("+-*/%", g.out[len(g.out)-2])
		if g.operand && !g.wrapped && !arithmetic {
			last := &g.out[len(g.out)-1]
			*last = textOf(*last)
		}
		g.push("||")
		g.concat = true
	case "+", "-":
		r.i++
		if r.peek().word("INTERVAL") && g.operand {
			g.interval(t.text)
			return
		}
		g.push(t.text)
	case "[":
		g.arrayConstant()
	case "{":
		g.objectConstant()
	case "@":
		r.fail(unsupported("stage in a query"))
	case "->", "=>", ":=":
		r.fail(unsupported("%s", t.text))
	case "&", "|", "^", "~", "!":
		r.fail(r.unexpected(t))
	case ";":
		r.fail(sfError("000008", "0A000", "Actual statement count did not match the desired statement count 1."))
	default:
		r.i++
		g.push(t.text)
		if t.text == "," && g.from {
			g.tableSource()
		}
	}
}

// arrayConstant reads [a, b]. A subscript follows an operand, and is read there.
func (g *region) arrayConstant() {
	r := g.r
	c := &call{r: r, name: "ARRAY_CONSTRUCT"}
	r.bracketed("[", func() { c.arg(r.argument(), r.is) })
	g.construct(c, arrayConstruct(c))
}

func (g *region) construct(c *call, text string) {
	g.is = resultOf[c.name]
	g.addOperand(text, true)
}

// objectConstant reads {'key': value}.
func (g *region) objectConstant() {
	r := g.r
	c := &call{r: r, name: "OBJECT_CONSTRUCT"}
	r.bracketed("{", func() {
		if r.peek().kind != tString {
			r.fail(unsupported("OBJECT constant with a key that is not a string"))
		}
		c.arg(quoteString(r.takeString().text), nil)
		r.expectOp(":")
		c.arg(r.argument(), r.is)
	})
	g.construct(c, objectConstruct(c))
}

// interval rewrites x + INTERVAL '1 day'. A DATE stays a DATE if the interval
// counts days or more; DuckDB would make it a TIMESTAMP.
func (g *region) interval(sign string) {
	r := g.r
	r.i++
	t := r.take()
	if t.kind != tString {
		r.fail(unsupported("INTERVAL without a string"))
		return
	}
	text := strings.ReplaceAll(t.text, ",", " ")
	days := true
	for _, f := range strings.Fields(strings.ToLower(text)) {
		if _, err := strconv.ParseFloat(f, 64); err == nil {
			continue
		}
		part, ok := dateParts[strings.ToUpper(f)]
		if !ok {
			r.fail(unsupported("INTERVAL '%s'", t.text))
			return
		}
		days = days && !timeParts[part]
	}
	if !strings.ContainsAny(text, " ") {
		// A number alone counts seconds in Snowflake.
		text, days = text+" seconds", false
	}
	iv := "INTERVAL " + quoteString(text)
	if !days {
		g.push(sign)
		g.addOperand(iv, false)
		return
	}
	if len(g.out) >= 2 && strings.Contains("+-*/%", g.out[len(g.out)-2]) {
		r.fail(unsupported("INTERVAL after another sum; put it in parentheses"))
		return
	}
	last := g.out[len(g.out)-1]
	g.out = g.out[:len(g.out)-1]
	g.addOperand("cast_to_type("+last+" "+sign+" "+iv+", "+last+")", false)
}

// bind gives the value of a placeholder: ? counts up, :n names its number.
func (r *rewriter) bind(t token) (string, *static) {
	n := r.nextBind
	switch v, err := strconv.Atoi(t.text); {
	case t.text == "":
		r.nextBind++
	case err == nil && v > 0:
		n = v - 1
	case err == nil:
		r.fail(r.unexpected(t))
		return "", nil
	default:
		n = slices.IndexFunc(r.binds, func(b snowtest.Bind) bool { return strings.EqualFold(b.Name, t.text) })
		if n < 0 {
			n = len(r.binds)
		}
	}
	if r.bindText != nil && n < len(r.bindText) {
		return r.bindText[n], r.bindIs[n]
	}
	if n >= len(r.binds) {
		if r.describe {
			return "NULL", nil
		}
		r.fail(compileError("002049", "42601", "Bind variable %s not set.", r.src[t.start:t.end]))
		return "", nil
	}
	b := r.binds[n]
	text, is, err := r.bindLiteral(b, b.Value)
	r.fail(err)
	return text, is
}

func (r *rewriter) variable(t token) string {
	if v, ok := r.s.vars[t.text]; ok {
		return parenthesized(v)
	}
	if at, _ := r.stage(); isDigit(t.text[0]) && at > 0 {
		return `"$` + t.text + `"`
	}
	if isDigit(t.text[0]) {
		return r.positional(t)
	}
	r.fail(compileError("002211", "02000", "Session variable '$%s' does not exist", t.text))
	return ""
}

// positional gives the column that $n means: of the one table, or the VALUES, of the FROM
// clause that belongs to the parentheses in which it stands.
func (r *rewriter) positional(t token) string {
	depth, start := 0, r.i-1
	for ; start > 0 && depth >= 0; start-- {
		depth -= bracket(r.toks[start-1])
	}
	depth = 0
	for i := start; i < len(r.toks) && depth >= 0; i++ {
		if depth += bracket(r.toks[i]); depth != 0 || !r.toks[i].word("FROM") {
			continue
		}
		at := &rewriter{src: r.src, toks: r.toks, s: r.s, i: i + 1}
		if at.acceptOp("("); at.peek().word("VALUES") {
			return "COLUMN" + t.text
		}
		if at.peek().word(informationSchemaName) && !at.at(3).is(",") {
			return "#" + t.text // the view's, which has no columns of the engine's own
		}
		columns, err := r.s.columns(context.Background(), at.source().object)
		if n := number(t.text); err == nil && n >= 1 && n <= len(columns) && !at.at(at.source().tokens).is(",") {
			return quoteIdent(columns[n-1].name)
		}
		break
	}
	r.fail(unsupported("column by position $%s of what is neither a table nor VALUES", t.text))
	return ""
}

// bracket counts parentheses: one more, or one less.
func bracket(t token) int {
	switch {
	case t.is("("):
		return 1
	case t.is(")"):
		return -1
	}
	return 0
}
