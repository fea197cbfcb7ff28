package sqltext

import (
	"strconv"
	"strings"
)

// opens says what the parenthesis that comes now is. What is not known to be something
// else is a call.
func (w *walk) opens() group {
	before := w.last[0]
	switch before.Kind {
	case Word, QuotedName:
		if w.name.open {
			return w.named()
		}
		return w.keyword(before)
	case String, Dollar:
		// A stage in quotes, with its options; all else is not known.
		w.outside = w.outside || !(w.last[1].Word("FROM") && strings.HasPrefix(before.Text, "'@"))
	case Symbol:
		switch before.Text {
		case ")":
			w.outside = w.outside || before.group == called || before.group == identifier
			if before.group == identifier {
				w.identified()
			}
		case "(", ",", "=", "<", ">", "!=", "+", "-", "*", "/", "%", "|", "^", "?", ":", "[":
			if w.level().group == pattern {
				return pattern
			}
		default:
			w.outside = true
		}
	}
	return plain
}

// keyword says what a parenthesis behind a reserved word is.
func (w *walk) keyword(t tok) group {
	next := w.sc.Peek()
	switch {
	case t.Word("ON"):
		return condition
	case t.Word("TABLE"):
		return called
	case t.Word("JOIN"), t.Word("USING"): // which may be names of functions
		if !isOperand(w.last[1]) {
			w.outside = true
		}
	case t.Word("LATERAL"):
		if !next.Word("SELECT") && !next.Word("WITH") && !next.Word("VALUES") {
			w.outside = true
		}
	}
	return plain
}

// isOperand reports whether an expression or the name of a table can end with the
// token, so that no call can follow directly.
func isOperand(t tok) bool {
	switch t.Kind {
	case Word:
		return t.is&(isReserved|isOperator) == 0
	case QuotedName, Stage, String:
		return true
	}
	return t.Is(")")
}

// named says what a parenthesis behind a name is.
func (w *walk) named() group {
	n := &w.name
	into := n.before[0].Word("INTO") || n.before[0].Word("TABLE") && n.before[1].Word("INTO")
	if n.parts == 1 && n.last.Word("IDENTIFIER") && !n.orphan && !into {
		w.id = w.sc.Peek()
		return identifier
	}
	if into || w.part.verb == verbCreate && w.isTable() {
		return plain
	}
	w.asks()
	if n.parts == 1 && !n.orphan && !n.dollar {
		if g, ok := w.notCalled(); ok {
			return g
		}
	}
	if !w.isHarmless() {
		w.outside = true
	}
	return called
}

// isTable reports whether the name is the table that a CREATE makes, or one that a
// foreign key refers to.
func (w *walk) isTable() bool {
	b := w.name.before[0]
	return !w.opened && (b.Word("TABLE") || b.Word("VIEW") || b.Word("EXISTS")) || w.depth == 1 && b.Word("REFERENCES")
}

// beyond reaches further back than any session is known to.
const beyond = 1 << 30

func (w *walk) reaches(n int) { w.reach = max(w.reach, n) }

// asks notices functions that ask their session, in whatever way they are named.
func (w *walk) asks() {
	is := w.name.is
	w.variables = w.variables || is&asksVariables != 0
	if is&asksHistory == 0 {
		return
	}
	sc := w.sc
	arg := sc.Next()
	if equalFold(strings.Trim(w.name.last.Text, `"`), "VALIDATE") {
		arg = jobID(arg, &sc)
	}
	switch name := strings.Trim(w.name.last.Text, `"`); {
	case equalFold(name, "CURRENT_TRANSACTION"), equalFold(name, "LAST_TRANSACTION"), arg.Is(")"):
		w.reaches(1)
	case isID(arg) && sc.Peek().Is(")"):
	case isBind(arg) && sc.Peek().Is(")"):
		w.bound = true
	case equalFold(name, "RESULT_SCAN") && arg.Word("LAST_QUERY_ID"): // which speaks for itself
	case arg.Is("-"):
		n, err := strconv.Atoi(sc.Next().Text)
		if err != nil || !sc.Peek().Is(")") {
			n = beyond
		}
		w.reaches(n)
	default: // counted from the session's first
		w.reaches(beyond)
	}
}

// jobID is the argument of VALIDATE that says of which load.
func jobID(arg Token, sc *Scanner) Token {
	for ; !separates(arg) && !arg.Is("(") && !arg.Is(")"); arg = sc.Next() {
		if arg.Word("JOB_ID") {
			for arg = sc.Next(); arg.Is("=") || arg.Is(">"); arg = sc.Next() {
			}
			return arg
		}
	}
	return arg
}

// isBind reports whether the token stands for a value that is bound.
func isBind(t Token) bool { return t.Is("?") || t.Is(":") }

// identified notices a call of what IDENTIFIER names. Only a literal says what that is.
func (w *walk) identified() {
	name := strings.Trim(w.id.Text, `'"`)
	name = strings.Trim(name[strings.LastIndexByte(name, '.')+1:], `"`)
	if w.id.Kind != String || known(name).is&asksHistory != 0 {
		w.reaches(beyond)
	}
}

// isID reports whether the token is the ID of a query.
func isID(t Token) bool { return IsQueryID(strings.Trim(t.Text, "'")) }

// IsQueryID reports whether the text has the form of a query ID. A shorter one of the same
// characters could be a number, as in LAST_QUERY_ID('-2').
func IsQueryID(id string) bool {
	const form = "01b2c3d4-0000-0000-0000-000000000000"
	if len(id) != len(form) {
		return false
	}
	for i := range len(form) {
		if (id[i] == '-') != (form[i] == '-') {
			return false
		}
	}
	return strings.Trim(id, "0123456789abcdefABCDEF-") == ""
}

// notCalled says what a parenthesis behind a name of one part is where no function can
// stand.
func (w *walk) notCalled() (group, bool) {
	n, l := &w.name, w.level()
	t, before := n.last, n.before[0]
	within := l.group
	switch {
	case within == pattern, within == matching && t.Word("PATTERN"):
		return pattern, true
	case before.Is("::"), before.Word("AS") && before.is&isReserved != 0 && within != matching:
		// In MATCH_RECOGNIZE, what follows AS is an expression.
		return typed, true
	case l.with && (before.Word("WITH") || before.Word("RECURSIVE") || before.Is(",")):
		return heading, true
	case before.Is(")") && before.group != condition, n.is&isPostfix != 0 && t.Kind == Word && isOperand(before):
		if t.Word("MATCH_RECOGNIZE") {
			return matching, true
		}
		return plain, true
	case t.Kind == QuotedName:
		return plain, false
	case n.is&isType != 0 && (isOperand(before) || within == typed):
		return typed, true
	}
	return plain, w.isClause()
}

// isClause reports whether the name is a word that opens a clause in its place alone.
func (w *walk) isClause() bool {
	t, before := w.name.last, w.name.before
	switch {
	case t.Word("ROLLUP"), t.Word("CUBE"):
		return before[0].Word("BY") || before[0].Is(",") && w.level().groupBy
	case t.Word("BERNOULLI"), t.Word("SYSTEM"), t.Word("BLOCK"):
		return before[0].Word("SAMPLE") || before[0].Word("TABLESAMPLE")
	case t.Word("EXCLUDE"), t.Word("RENAME"): // behind the star of a SELECT, not behind a product's
		b := before[1]
		return before[0].Is("*") && (b.Word("SELECT") || b.Word("DISTINCT") || b.Is(",") || b.Is("."))
	case t.Word("UNSET"), t.Word("EXPLAIN"):
		return before[0].Kind == End // the verb itself
	case t.Word("DIRECTORY"):
		return w.sc.Peek().Kind == Stage
	}
	return false
}

// isHarmless reports whether the function that is called has no effect.
func (w *walk) isHarmless() bool {
	n := &w.name
	switch {
	case n.orphan, n.last.Kind != Word:
		return false
	case n.parts == 1 && (n.is&isHarmless != 0 || n.is&isMatch != 0 && w.match > 0):
		return true
	case n.schema && n.parts <= 3 && n.is&isInformation != 0:
		return true
	}
	return w.vouched()
}

// vouched reports whether the program has named the function.
func (w *walk) vouched() bool {
	for _, harmless := range w.reader.harmless {
		if w.name.spells(Scanner{text: w.sc.text, pos: w.name.start}, harmless) {
			return true
		}
	}
	return false
}

// spells reports whether the name, which is to come, is this one.
func (n *name) spells(sc Scanner, other string) bool {
	for {
		t := sc.Next()
		part, rest, more := strings.Cut(other, ".")
		switch {
		case !sameWord(t.Text, part): // what is behind the last part is none of a name
			return false
		case t.End == n.last.End:
			return !more
		}
		sc.Next() // the dot
		other = rest
	}
}

func sameWord(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if upperByte(a[i]) != upperByte(b[i]) {
			return false
		}
	}
	return true
}
