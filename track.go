package snowtether

import "strings"

// This file reads SQL just far enough to know what it does to its session: first
// keywords only, with comments and quotes skipped. It allocates nothing.

// A sessionState is what a connection's own statements have made of its session.
// The zero value is the state after a login.
type sessionState struct {
	inTx          bool // a transaction was begun by a statement, not by BeginTx
	changed       bool // USE, ALTER SESSION, SET, temporary objects
	autocommitOff bool // then the first DML begins a transaction
}

// ran takes note of a statement that was carried out. One that failed may have
// been carried out in part: then what it may have begun counts as begun, and what
// it should have ended as not ended.
func (st *sessionState) ran(sql string, failed bool) {
	sc := scanner{rest: sql}
	many := strings.IndexByte(sql, ';') >= 0
	for {
		word := sc.next()
		for word == ";" || word == "(" {
			word = sc.next()
		}
		if word == "" {
			return
		}
		if st.one(&sc, word, failed) || !many {
			return
		}
		sc.skipStatement()
	}
}

// one takes note of the statement that begins with word. It reports whether the
// rest of the text belongs to the statement, as with a block of Snowflake
// Scripting.
func (st *sessionState) one(sc *scanner, word string, failed bool) (rest bool) {
	switch {
	case is(word, "BEGIN"):
		switch after := sc.peek(); {
		case after == "" || after == ";" || is(after, "TRANSACTION") || is(after, "WORK") || is(after, "NAME"):
			st.inTx = true
		default: // a block, which may do anything
			st.changed = true
			st.inTx = st.inTx || st.autocommitOff
			return true
		}
	case is(word, "DECLARE"), is(word, "EXECUTE"), is(word, "CALL"):
		// Blocks and procedures may do anything to the session that they run in.
		st.changed = true
		st.inTx = st.inTx || st.autocommitOff
		return is(word, "DECLARE")
	case is(word, "WITH"):
		if ahead := *sc; ahead.has("PROCEDURE", "CALL") {
			st.changed = true
			st.inTx = st.inTx || st.autocommitOff
		}
	case is(word, "START"):
		st.inTx = true
	case is(word, "COMMIT"), is(word, "ROLLBACK"):
		st.inTx = failed
	case is(word, "USE"), is(word, "SET"), is(word, "UNSET"):
		st.changed = true
	case is(word, "ALTER"):
		if is(sc.peek(), "SESSION") {
			st.changed = true
			st.alterSession(sc, failed)
		}
	case is(word, "CREATE"):
		for {
			switch word := sc.peek(); {
			case is(word, "OR"), is(word, "REPLACE"), is(word, "ALTER"), is(word, "LOCAL"), is(word, "GLOBAL"), is(word, "SECURE"), is(word, "TRANSIENT"):
				sc.next()
				continue
			case is(word, "TEMP"), is(word, "TEMPORARY"), is(word, "VOLATILE"):
				st.changed = true
			case is(word, "SCHEMA"), is(word, "DATABASE"), is(word, "WAREHOUSE"):
				st.changed = true // what it creates becomes the session's current one
			}
			return false
		}
	case is(word, "INSERT"), is(word, "UPDATE"), is(word, "DELETE"), is(word, "MERGE"), is(word, "COPY"), is(word, "TRUNCATE"):
		st.inTx = st.inTx || st.autocommitOff
	}
	return false
}

// alterSession looks for AUTOCOMMIT in ALTER SESSION SET a = b … One that failed may
// have switched it off, but is not trusted to have switched it on.
func (st *sessionState) alterSession(sc *scanner, failed bool) {
	sc.next()
	unset := is(sc.next(), "UNSET")
	for {
		switch word := sc.peek(); {
		case word == "" || word == ";":
			return
		case is(word, "AUTOCOMMIT"):
			sc.next()
			off := false
			if !unset {
				if sc.next() != "=" {
					continue
				}
				on := sc.next()
				off = !is(on, "TRUE") && on != "1" // whatever else it is, it may be off
			}
			st.autocommitOff = off || failed && st.autocommitOff
		default:
			sc.next()
		}
	}
}

// rolledBackWithSession reports whether all that the statement did is undone when
// its session ends inside a transaction. DDL commits by itself, procedures and
// blocks may, and an unload leaves files.
func rolledBackWithSession(sql string) bool {
	sc := scanner{rest: sql}
	word := sc.next()
	for word == "(" {
		word = sc.next()
	}
	if all := (scanner{rest: sql}); all.many() {
		return false
	}
	switch {
	case is(word, "COPY"):
		into, to := sc.next(), sc.next()
		return is(into, "INTO") && to != "@" && to != "'"
	case is(word, "WITH"):
		return !sc.has("PROCEDURE", "CALL")
	}
	for _, w := range []string{"INSERT", "UPDATE", "DELETE", "MERGE", "SELECT", "SHOW", "DESCRIBE", "DESC", "VALUES", "BEGIN", "START", "ROLLBACK"} {
		if is(word, w) {
			return true
		}
	}
	return false
}

// endsTx reports whether what follows the statement is in no transaction any more, or
// may not be.
func endsTx(sql string) bool {
	st := sessionState{inTx: true}
	st.ran(sql, false)
	return !st.inTx
}

// asksForLastQuery reports whether the statement asks for the ID of the one before
// it: on another session that is another's.
func asksForLastQuery(sql string) bool {
	sc := scanner{rest: sql}
	for word := sc.next(); word != ""; word = sc.next() {
		if is(word, "LAST_QUERY_ID") {
			return true
		}
	}
	return false
}

// plainRead reports whether running the statement twice is the same as once. It
// decides conservatively: the first word is one that only reads, there is no
// second statement, and nothing in it draws a number from a sequence, calls one of
// Snowflake's system functions, writes with INTO, asks for the last query's ID, which
// the first run has changed, or calls a function by a qualified name, which may be an external one. A SELECT from a stream does not
// consume it; only DML does.
func plainRead(sql string) bool {
	sc := scanner{rest: sql}
	word := sc.next()
	for word == "(" {
		word = sc.next()
	}
	if !is(word, "SELECT") && !is(word, "WITH") && !is(word, "SHOW") && !is(word, "DESCRIBE") && !is(word, "DESC") && !is(word, "EXPLAIN") {
		return false
	}
	for qualified := false; word != ""; {
		last := word
		word = sc.next()
		switch {
		case word == ";":
			return sc.peek() == ""
		case is(word, "NEXTVAL"), is(word, "GETNEXTVAL"), is(word, "INTO"), is(word, "LAST_QUERY_ID"), is(word, "PROCEDURE"), is(word, "CALL"), len(word) > 7 && is(word[:7], "SYSTEM$"):
			return false
		case word == ">" && last == ">":
			return false // ->> hands the result on to another statement
		case word == "(" && qualified:
			return false
		}
		qualified = last == "."
	}
	return true
}

func is(word, keyword string) bool { return strings.EqualFold(word, keyword) }

// A scanner cuts SQL into words and single characters.
type scanner struct{ rest string }

// next gives the next word or character, "" at the end. A quoted string or name
// comes as its first quote alone.
func (sc *scanner) next() string {
	sc.skipSpace()
	s := sc.rest
	if s == "" {
		return ""
	}
	n := 1
	switch c := s[0]; {
	case c == '\'' || c == '"':
		n = quoted(s, c)
		sc.rest = s[n:]
		return s[:1]
	case strings.HasPrefix(s, "$$"):
		n = len(s)
		if end := strings.Index(s[2:], "$$"); end >= 0 {
			n = end + 4
		}
		sc.rest = s[n:]
		return s[:2]
	case isWord(c):
		for n < len(s) && isWord(s[n]) {
			n++
		}
	}
	sc.rest = s[n:]
	return s[:n]
}

func (sc *scanner) peek() string {
	ahead := *sc
	return ahead.next()
}

// has reports whether one of two words follows in the statement.
func (sc *scanner) has(a, b string) bool {
	for word := sc.next(); word != "" && word != ";"; word = sc.next() {
		if is(word, a) || is(word, b) {
			return true
		}
	}
	return false
}

// many reports whether there is more than one statement.
func (sc *scanner) many() bool {
	sc.skipStatement()
	for sc.peek() == ";" {
		sc.next()
	}
	return sc.peek() != ""
}

// skipStatement goes to the next semicolon.
func (sc *scanner) skipStatement() {
	for word := sc.peek(); word != "" && word != ";"; word = sc.peek() {
		sc.next()
	}
}

func (sc *scanner) skipSpace() {
	for {
		s := strings.TrimLeft(sc.rest, " \t\r\n\f\v\u00a0\ufeff")
		var end string
		switch {
		case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "//"):
			end = "\n"
		case strings.HasPrefix(s, "/*"):
			end = "*/"
		default:
			sc.rest = s
			return
		}
		i := strings.Index(s[2:], end)
		if i < 0 {
			sc.rest = ""
			return
		}
		sc.rest = s[2+i+len(end):]
	}
}

// quoted is the length of the quoted text at the start of s. A doubled quote is
// part of it, and so is, in a string, one behind a backslash.
func quoted(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote == '\'':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}
