package sqltext

import "strings"

// A TokenKind says what a token is.
type TokenKind uint8

const (
	End        TokenKind = iota // the end of the text
	Word                        // an unquoted name or keyword, also $1 and $name
	Number                      // digits, with a fraction and an exponent: 1, 1.5, 2e-3
	String                      // '…', with its quotes
	QuotedName                  // "…", with its quotes
	Dollar                      // $$…$$, with its dollars
	Stage                       // @stage/path
	Symbol                      // one byte, or one of ->> :: !=
)

// A Token is one lexical element. Comments and white space are none.
type Token struct {
	Kind       TokenKind
	Open       bool // quoted text, or at the end a comment, that the text does not close
	Start, End int  // byte offsets in the text
	Text       string
}

// Is reports whether the token is this symbol.
func (t Token) Is(symbol string) bool { return t.Text == symbol }

// Word reports whether the token is this unquoted word, which is given in upper case.
func (t Token) Word(upper string) bool { return t.Kind == Word && equalFold(t.Text, upper) }

// A Scanner cuts SQL text into tokens after Snowflake's lexical rules. It allocates
// nothing, and a copy of it looks ahead.
type Scanner struct {
	text string
	pos  int
}

// NewScanner begins at the beginning of the text.
func NewScanner(text string) Scanner { return Scanner{text: text} }

// Next gives the next token, at the end one of kind End.
func (s *Scanner) Next() Token {
	opened := s.skip()
	start := s.pos
	if start == len(s.text) {
		if opened >= 0 {
			return Token{Start: opened, End: start, Open: true}
		}
		return Token{Start: start, End: start}
	}
	kind, n, open := element(s.text[start:])
	s.pos += n
	return Token{Kind: kind, Open: open, Start: start, End: s.pos, Text: s.text[start:s.pos]}
}

// Peek gives the token that Next will give.
func (s Scanner) Peek() Token { return s.Next() }

// Seek goes on at this byte of the text, for a reader that cuts a token otherwise.
func (s *Scanner) Seek(pos int) { s.pos = min(max(pos, 0), len(s.text)) }

// skip passes white space and comments. It gives where a comment begins that is not
// closed, or -1.
func (s *Scanner) skip() (opened int) {
	for s.pos < len(s.text) {
		rest := s.text[s.pos:]
		if n := space(rest); n > 0 {
			s.pos += n
			continue
		}
		switch comment(rest) {
		case '-': // to the end of the line, which a carriage return is too
			n := strings.IndexAny(rest, "\r\n")
			if n < 0 {
				n = len(rest)
			}
			s.pos += n
		case '*':
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				opened, s.pos = s.pos, len(s.text)
				return opened
			}
			s.pos += n + 4
		default:
			return -1
		}
	}
	return -1
}

// comment tells whether a comment begins: '-' for one to the end of the line, '*' for
// one with an end of its own.
func comment(s string) byte {
	switch {
	case len(s) < 2:
		return 0
	case s[0] == '-' && s[1] == '-', s[0] == '/' && s[1] == '/':
		return '-'
	case s[0] == '/' && s[1] == '*':
		return '*'
	}
	return 0
}

// space is the length of the white space character at the beginning, or 0.
func space(s string) int {
	switch s[0] {
	case ' ', '\t', '\r', '\n', '\f', '\v':
		return 1
	case 0xc2:
		if strings.HasPrefix(s, "\u00a0") {
			return 2
		}
	case 0xef:
		if strings.HasPrefix(s, "\ufeff") {
			return 3
		}
	}
	return 0
}

// element reads the token at the beginning.
func element(s string) (kind TokenKind, n int, open bool) {
	switch c := s[0]; {
	case c == '\'':
		n, open = quoted(s)
		return String, n, open
	case c == '"':
		n, open = quoted(s)
		return QuotedName, n, open
	case strings.HasPrefix(s, "$$"):
		if end := strings.Index(s[2:], "$$"); end >= 0 {
			return Dollar, end + 4, false
		}
		return Dollar, len(s), true
	case c >= '0' && c <= '9':
		return Number, number(s), false
	case isWord(c):
		return Word, word(s), false
	case c == '@':
		return stage(s)
	case strings.HasPrefix(s, "->>"):
		return Symbol, 3, false
	case strings.HasPrefix(s, "::"), strings.HasPrefix(s, "!="):
		return Symbol, 2, false
	}
	return Symbol, 1, false
}

// quoted is the length of the quoted text. A doubled quote is part of it, and so is,
// in a string, what stands behind a backslash.
func quoted(s string) (n int, open bool) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote == '\'':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1, false
		}
	}
	return len(s), true
}

// number is the length of the number. What stands directly behind it is a token of its
// own: in 1f(2), f is called.
func number(s string) int {
	i := digits(s, 0)
	if i < len(s) && s[i] == '.' {
		i = digits(s, i+1)
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if end := digits(s, j); end > j {
			i = end
		}
	}
	return i
}

func digits(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

func word(s string) int {
	i := 0
	for i < len(s) && isWord(s[i]) && space(s[i:]) == 0 {
		i++
	}
	return i
}

// stage is a reference to a stage with its path, which may hold what would be
// operators elsewhere: @db.s.stage/2024-01-01/part.csv.gz.
func stage(s string) (kind TokenKind, n int, open bool) {
	for n = 1; n < len(s); {
		switch rest := s[n:]; {
		case rest[0] == '"':
			var m int
			m, open = quoted(rest)
			n += m
		case strings.IndexByte("(),;'", rest[0]) >= 0, space(rest) > 0, comment(rest) != 0, strings.HasPrefix(rest, "->>"):
			return Stage, n, false
		default:
			n++
		}
	}
	return Stage, n, open
}

// isWord counts bytes beyond ASCII as letters: no keyword and no operator has any.
func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}

// equalFold compares a word with one in upper case. Only ASCII letters have a case
// here: to strings.EqualFold, the sign for Kelvin is a K.
func equalFold(word, upper string) bool {
	if len(word) != len(upper) {
		return false
	}
	for i := range len(word) {
		if upperByte(word[i]) != upper[i] {
			return false
		}
	}
	return true
}

func upperByte(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}
