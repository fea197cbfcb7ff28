package sqltext

// explained is the kind of an EXPLAIN: a read, unless nobody knows what it explains.
func explained(sc Scanner) Kind {
	if sc.Peek().Word("USING") {
		sc.Next()
		sc.Next()
	}
	t := sc.Next()
	for t.Is("(") {
		t = sc.Next()
	}
	switch known(t.Text).verb {
	case verbWith:
		if withKind(sc) != Unknown {
			return Read
		}
	case verbSelect, verbInsert, verbUpdate, verbDelete, verbMerge, verbCreate: // what has a plan
		return Read
	}
	return Unknown
}

// withKind reads the list of a WITH: what stands behind it decides.
func withKind(sc Scanner) Kind {
	for {
		t := sc.Next()
		if next := sc.Peek(); t.Word("RECURSIVE") && !next.Is("(") && !next.Word("AS") {
			t = sc.Next()
		}
		if t.Kind != Word && t.Kind != QuotedName {
			return Unknown
		}
		t = sc.Next()
		if t.Is("(") { // the names of its columns
			if !sc.closing(nil) {
				return Unknown
			}
			t = sc.Next()
		}
		if !t.Word("AS") || !sc.Next().Is("(") || !sc.query() {
			return Unknown // AS PROCEDURE, among others
		}
		t = sc.Next()
		if t.Is(",") {
			continue
		}
		inside := t.Is("(")
		for t.Is("(") {
			t = sc.Next()
		}
		switch v := known(t.Text).verb; {
		case v == verbSelect:
			return Read
		case !inside && (v == verbInsert || v == verbUpdate || v == verbDelete || v == verbMerge):
			return DML
		}
		return Unknown
	}
}

// query passes what stands in parentheses and reports whether it is a query that
// changes no data.
func (s *Scanner) query() bool {
	ahead := *s
	t := ahead.Next()
	for t.Is("(") {
		t = ahead.Next()
	}
	if v := known(t.Text).verb; v != verbSelect && v != verbWith {
		return false
	}
	return s.closing(changesData)
}

// closing goes behind the parenthesis that closes the one before. It gives up at a
// token that is bad, or where the part ends.
func (s *Scanner) closing(bad func(before, t, next Token) bool) bool {
	var before Token
	for depth := 1; depth > 0; {
		t := s.Next()
		switch {
		case separates(t):
			return false
		case t.Is("("):
			depth++
		case t.Is(")"):
			depth--
		case bad != nil && t.Kind == Word && bad(before, t, s.Peek()):
			return false
		}
		before = t
	}
	return true
}

// changesData reports whether a word within a query makes it one that changes data.
// INSERT is a function, too, and behind a colon or a dot any word is a name.
func changesData(before, t, next Token) bool {
	if before.Is(":") || before.Is(".") {
		return false
	}
	switch known(t.Text).verb {
	case verbDelete:
		return true
	case verbUpdate:
		return !before.Word("FOR")
	case verbInsert:
		return !next.Is("(")
	case verbMerge:
		return next.Word("INTO")
	}
	return false
}
