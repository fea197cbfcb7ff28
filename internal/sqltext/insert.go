package sqltext

// PlainInsert is how many placeholders an INSERT INTO t [(columns)] VALUES (one list of
// bare placeholders) has, which inserts a row for each set of values that is bound. It is 0
// for any other text, whose rows depend on more than on that.
func (s Statement) PlainInsert() (placeholders int) {
	sc := NewScanner(s.text)
	if !sc.Next().Word("INSERT") || !sc.Next().Word("INTO") || !sc.table() {
		return 0
	}
	t := sc.Next()
	if t.Is("(") {
		for t = sc.Next(); t.Kind == Word || t.Kind == QuotedName || t.Is(","); {
			t = sc.Next()
		}
		if !t.Is(")") {
			return 0
		}
		t = sc.Next()
	}
	if !t.Word("VALUES") || !sc.Next().Is("(") {
		return 0
	}
	for {
		t = sc.Next()
		if t.Is(":") && sc.Peek().Kind == Number {
			sc.Next()
		} else if !t.Is("?") {
			return 0
		}
		placeholders++
		if t = sc.Next(); t.Is(")") {
			break
		}
		if !t.Is(",") {
			return 0
		}
	}
	if t = sc.Next(); t.Is(";") {
		t = sc.Next()
	}
	if t.Kind != End || t.Open {
		return 0
	}
	return placeholders
}

// table reads the name of a table, of names joined by dots.
func (s *Scanner) table() bool {
	for {
		if t := s.Next(); t.Kind != Word && t.Kind != QuotedName {
			return false
		}
		if !s.Peek().Is(".") {
			return true
		}
		s.Next()
	}
}
