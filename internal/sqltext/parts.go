package sqltext

import "strings"

// A part is one statement of a text, or one link of a chain.
type part struct {
	kind      Kind
	verb      verb
	block     bool    // it takes the rest of the text
	semicolon bool    // a semicolon stands before it, not only an arrow
	begin     Scanner // before its first token
	body      Scanner // behind its first word
	current   bool    // it creates a schema, database or warehouse, which becomes the current one
}

// parts goes through the parts of a text.
type parts struct {
	part  part
	rest  Scanner // from the present part's beginning
	some  bool    // there is one
	fresh bool    // the present part is the next
	final bool    // no part follows the present one
}

func (s Statement) parts() parts { return s.head }

// next goes to the next part.
func (ps *parts) next() bool {
	switch {
	case ps.fresh:
		ps.fresh = false
		return true
	case ps.final:
		return false
	}
	var semicolon bool
	if ps.some {
		t := ps.rest.Next()
		for !separates(t) {
			t = ps.rest.Next()
		}
		semicolon = t.Is(";")
	}
	for ahead := ps.rest; separates(ahead.Peek()); {
		t := ahead.Next()
		if t.Kind == End {
			return false
		}
		semicolon = semicolon || t.Is(";")
		ps.rest = ahead
	}
	ps.some = true
	ps.part = classify(ps.rest)
	ps.part.semicolon = semicolon
	ps.final = ps.part.block || ps.last()
	return true
}

// last reports whether the present part is surely the last one, without reading it.
func (ps *parts) last() bool {
	text := strings.TrimRight(ps.rest.text[ps.rest.pos:], "; \t\r\n")
	return !strings.Contains(text, ";") && !strings.Contains(text, "->>")
}

// separates reports whether the token ends a part.
func separates(t Token) bool {
	return t.Kind == End || t.Is(";") || t.Is("->>")
}

// has reports whether a part begins with the verb.
func (s Statement) has(v verb) bool {
	for ps := s.parts(); ps.next(); {
		if ps.part.verb == v {
			return true
		}
	}
	return false
}

// is reports whether the text is a transaction statement of this verb and no more.
func (s Statement) is(v verb) bool {
	ps := s.parts()
	if ps.next(); ps.part.verb != v || ps.part.kind != Transaction {
		return false
	}
	sc := ps.part.body
	t := sc.Next()
	if t.Word("TRANSACTION") || t.Word("WORK") {
		t = sc.Next()
	}
	if t.Word("NAME") {
		sc.Next()
		t = sc.Next()
	}
	return separates(t) && !ps.next()
}

// classify reads the first words of a part.
func classify(sc Scanner) part {
	p := part{begin: sc}
	t := sc.Next()
	for t.Is("(") {
		t = sc.Next()
	}
	p.body = sc
	p.verb = known(t.Text).verb
	next := sc.Peek()
	switch p.verb {
	case verbSelect, verbShow, verbList, verbDescribe:
		p.kind = Read
	case verbWith:
		p.kind = withKind(sc)
	case verbExplain:
		p.kind = explained(sc)
	case verbInsert, verbUpdate, verbDelete, verbMerge, verbCopy, verbTruncate, verbRemove:
		p.kind = DML
	case verbCreate:
		p.kind, p.current = created(sc)
	case verbAlter:
		p.kind = altered(sc)
	case verbOtherDDL:
		p.kind = DDL
	case verbUse, verbSet, verbUnset:
		p.kind = Session
	case verbTransfer:
		p.kind = FileTransfer
	case verbCommit, verbRollback:
		p.kind = Transaction
	case verbStart:
		if next.Word("TRANSACTION") {
			p.kind = Transaction
		}
	case verbBegin:
		p.kind = Transaction
		if !begins(sc) {
			p.kind, p.block = Unknown, true
		}
	case verbDeclare:
		p.block = true
	}
	return p
}

// begins reports whether a BEGIN begins a transaction. If not, it begins a block.
func begins(sc Scanner) bool {
	t := sc.Next()
	if separates(t) {
		return true
	}
	// A block may begin with an assignment to a variable of any name.
	return (t.Word("TRANSACTION") || t.Word("WORK") || t.Word("NAME")) && !sc.Peek().Is(":")
}

// altered reads what stands behind ALTER.
func altered(sc Scanner) Kind {
	if !sc.Next().Word("SESSION") {
		return DDL
	}
	switch t := sc.Next(); {
	case t.Word("SET"), t.Word("UNSET"):
		return Session
	case t.Word("POLICY"):
		return DDL
	}
	return Unknown
}

// created reads what stands behind CREATE.
func created(sc Scanner) (k Kind, current bool) {
	for {
		switch t := sc.Next(); {
		case t.Word("OR"), t.Word("REPLACE"), t.Word("ALTER"), t.Word("LOCAL"), t.Word("GLOBAL"), t.Word("SECURE"), t.Word("TRANSIENT"):
			// what it creates comes later
		case t.Word("TEMP"), t.Word("TEMPORARY"), t.Word("VOLATILE"):
			return Session, false
		case t.Word("SCHEMA"), t.Word("DATABASE") && !sc.Peek().Word("ROLE"), t.Word("WAREHOUSE"):
			return DDL, true
		default:
			return DDL, false
		}
	}
}

// mentions reports whether the word is in the part, in quotes or not.
func (p part) mentions(word string) bool {
	sc := p.body
	for t := sc.Next(); !separates(t); t = sc.Next() {
		if t.names(word) {
			return true
		}
	}
	return false
}

// names reports whether the token is the word, in quotes or not.
func (t Token) names(word string) bool {
	return equalFold(strings.Trim(t.Text, `"`), word)
}

// idempotent reports whether a session statement that is run a second time finds and
// leaves the session as after the first.
func (p part) idempotent() bool {
	if p.verb != verbCreate {
		return true
	}
	if p.consumes() {
		return false
	}
	sc := p.body
	t := sc.Next()
	replace := t.Word("OR") && sc.Peek().Word("REPLACE")
	for ; !separates(t) && !t.Word("AS") && !t.Is("("); t = sc.Next() {
		switch {
		case t.Word("IF"):
			return !replace && sc.Next().Word("NOT") && sc.Next().Word("EXISTS")
		case t.Word("CLONE"):
			return false // of what it replaced
		}
	}
	return replace
}

// consumes reports whether it makes what is filled from other tables. One of them may be a
// stream, whose rows are then in what it made and nowhere else, and go with that; a second run
// finds none. A query names a table behind FROM, or is TABLE and its name.
func (p part) consumes() bool {
	if p.verb != verbCreate {
		return false
	}
	sc := p.body
	head, filled := true, false
	for t := sc.Next(); !separates(t); t = sc.Next() {
		switch {
		case head && t.Word("VIEW"):
			return false // its query is not run
		case t.Word("FROM"), t.Word("TABLE") && filled:
			return true
		case t.Word("AS"):
			head, filled = false, true
		case t.Word("TABLE"):
			head = false
		}
	}
	return false
}
