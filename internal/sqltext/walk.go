package sqltext

import "strings"

// does is what a part does besides what its kind says.
type does struct {
	outside   bool // what a rollback does not undo, and a second run does again
	reach     int  // how many of the statements before it its session is asked about
	bound     bool // or a bind says of which
	variables bool // it asks for a variable of its session
}

// A walk goes through the tokens of a part and looks for calls.
type walk struct {
	does
	reader Reader
	part   part
	sc     Scanner
	last   [2]tok // the token before, and the one before that
	name   name
	depth  int // of parentheses
	opened bool
	match  int   // how many MATCH_RECOGNIZE are open
	headed bool  // AS has to follow: what was taken for the head of a WITH is one
	id     Token // the first token in the last IDENTIFIER(…)
	levels [64]level
}

// tok is a token with what is known of it.
type tok struct {
	Token
	is    bits
	group group // of a closing parenthesis: what it closes
}

// A level is what is known of the inside of a parenthesis.
type level struct {
	group   group
	with    bool // in the list of a WITH
	groupBy bool // in a GROUP BY
}

// A group says what a parenthesis is to what stands before it.
type group uint8

const (
	plain      group = iota
	called           // the arguments of a function or of TABLE
	identifier       // IDENTIFIER(…), a name
	condition        // of ON, behind which an expression could stand
	typed            // the arguments of a type, or the columns of an alias
	heading          // the columns of a common table expression
	matching         // MATCH_RECOGNIZE (…)
	pattern          // PATTERN (…) in it
)

// A name is a chain of words and quoted names, joined by dots.
type name struct {
	open   bool // it is what stands before
	parts  int
	orphan bool // it goes on from what is no name: f(x).g
	dollar bool // a variable, or a column by its number
	schema bool // the part before the last is INFORMATION_SCHEMA
	start  int
	last   Token
	is     bits   // what is known of the last part
	before [2]tok // what stands before it, and before that
}

// walk finds out what the part does.
func (r Reader) walk(p part) does {
	w := walk{reader: r, part: p, sc: p.begin}
	switch p.verb {
	case verbTruncate, verbRemove:
		w.outside = true
	case verbCopy:
		w.outside = unloads(p.body)
	}
	for t := w.sc.Next(); t.Kind != End && (p.block || !separates(t)); t = w.sc.Next() {
		w.take(tok{Token: t})
	}
	w.outside = w.outside || w.depth > 0 || w.headed
	switch p.verb {
	case verbShow, verbDescribe:
		w.outside = false // they name functions and call none
	}
	return w.does
}

// unloads reports whether a COPY writes files, or may: it loads only into what a name
// stands for.
func unloads(sc Scanner) bool {
	into, to := sc.Next(), sc.Next()
	return !into.Word("INTO") || to.Kind != Word && to.Kind != QuotedName || to.Text[0] == '$'
}

func (w *walk) level() *level { return &w.levels[min(w.depth, len(w.levels)-1)] }

func (w *walk) take(t tok) {
	w.outside = w.outside || t.Open || w.headed && !t.Word("AS")
	w.headed = false
	names := false
	switch {
	case t.Kind == Word:
		names = w.word(&t)
	case t.Kind == QuotedName:
		w.extend(&t)
		names = true
	case t.Is("("):
		w.open(w.opens())
	case t.Is(")"):
		t.group = w.close()
	case t.Is("!"): // a method: model!PREDICT(…)
		w.outside = true
	}
	w.name.open = names || w.name.open && t.Is(".")
	w.last[1], w.last[0] = w.last[0], t
}

func (w *walk) open(g group) {
	w.depth++
	w.opened = true
	w.outside = w.outside || w.depth >= len(w.levels) // deeper than it can see
	*w.level() = level{group: g}
	if g == matching {
		w.match++
	}
}

func (w *walk) close() group {
	if w.depth == 0 {
		w.outside = true
		return plain
	}
	g := w.level().group
	w.depth--
	switch g {
	case matching:
		w.match--
	case heading:
		w.headed = true
	}
	return g
}

// word takes an unquoted word and reports whether it is a name.
func (w *walk) word(t *tok) bool {
	before := w.last[0]
	if before.Is(".") {
		w.extend(t)
		return true
	}
	e := known(t.Text)
	t.is = e.is
	if before.Is(":") { // within a value, where any word is a name
		t.is &^= isReserved
		w.extend(t)
		return true
	}
	w.notice(t, e.verb)
	if t.is&isReserved == 0 {
		w.extend(t)
		return true
	}
	w.clause(t)
	return false
}

// notice looks for words that mean something wherever they stand.
func (w *walk) notice(t *tok, v verb) {
	next := w.sc.Peek
	switch p := w.part; {
	case t.Text[0] == '$' && digits(t.Text, 1) < len(t.Text): // $1 is a column
		w.variables = true
	case p.verb == verbDescribe && t.Word("RESULT"):
		switch id := next(); {
		case isID(id), id.Word("LAST_QUERY_ID"): // which speaks for itself
		case isBind(id):
			w.bound = true
		default: // nobody knows
			w.reaches(beyond)
		}
	case p.verb == verbShow && t.Word("VARIABLES"):
		w.variables = true
	case p.verb == verbCopy && t.Word("PURGE") && next().Is("="):
		sc := w.sc
		sc.Next()
		w.outside = w.outside || !sc.Next().Word("FALSE")
	case p.kind == Read && p.verb != verbExplain && (t.Word("INTO") || v != verbNone && changesData(w.last[0].Token, t.Token, next())):
		w.outside = true
	}
}

// clause takes note of what a reserved word begins.
func (w *walk) clause(t *tok) {
	l := w.level()
	l.groupBy = t.Word("GROUP") || l.groupBy && t.Word("BY")
	switch {
	case t.Word("WITH"):
		l.with = !w.last[0].Word("START")
	case !t.Word("AS"):
		l.with = false
	}
}

// extend takes a part of a name, or the beginning of a new one.
func (w *walk) extend(t *tok) {
	n := &w.name
	if !w.last[0].Is(".") {
		*n = name{start: t.Start, before: w.last, dollar: t.Text[0] == '$'}
	} else {
		if !n.open {
			*n = name{orphan: true, before: w.last}
		}
		n.schema = n.last.Word("INFORMATION_SCHEMA")
	}
	n.parts++
	n.last = t.Token
	n.is = known(strings.Trim(t.Text, `"`)).is
}
