package duckdb

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tEOF    tokenKind = iota
	tWord             // an unquoted identifier or keyword; text is in upper case
	tQuoted           // a quoted identifier; text is what stands between the quotes
	tString           // a string literal; text is its value
	tHex              // X'4142'; text is the hex digits
	tNumber           // a number literal
	tBind             // ? or :1; text is empty or the number
	tVar              // $name or $1; text is what follows the $, in upper case
	tOp               // an operator or a punctuation mark
)

// A token is one lexical element of a statement. Comments and white space are
// not tokens.
type token struct {
	kind       tokenKind
	text       string
	start, end int // byte offsets in the statement
}

func (t token) is(op string) bool { return t.kind == tOp && t.text == op }
func (t token) word(words ...string) bool {
	if t.kind != tWord {
		return false
	}
	for _, w := range words {
		if t.text == w {
			return true
		}
	}
	return false
}

// ident reports whether the token can name something.
func (t token) ident() bool { return t.kind == tWord || t.kind == tQuoted }

// tokenize splits a statement after Snowflake's lexical rules: --, // and block
// comments, strings with backslash escapes and doubled quotes, $$ strings.
// A semicolon at the end is dropped.
func tokenize(src string) ([]token, error) {
	var toks []token
	i := 0
	add := func(kind tokenKind, text string, end int) {
		toks = append(toks, token{kind, text, i, end})
		i = end
	}
	for i < len(src) {
		c := src[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			i++
		case strings.HasPrefix(src[i:], "--") || strings.HasPrefix(src[i:], "//"):
			n := strings.IndexByte(src[i:], '\n')
			if n < 0 {
				n = len(src) - i
			}
			i += n
		case strings.HasPrefix(src[i:], "/*"):
			n := strings.Index(src[i+2:], "*/")
			if n < 0 {
				return nil, syntaxError(src, i, "/*")
			}
			i += n + 4
		case strings.HasPrefix(src[i:], "$$"):
			n := strings.Index(src[i+2:], "$$")
			if n < 0 {
				return nil, syntaxError(src, i, "$$")
			}
			add(tString, src[i+2:i+2+n], i+n+4)
		case c == '\'':
			text, end, ok := scanString(src, i)
			if !ok {
				return nil, syntaxError(src, i, "'")
			}
			add(tString, text, end)
		case (c == 'x' || c == 'X') && i+1 < len(src) && src[i+1] == '\'':
			text, end, ok := scanString(src, i+1)
			if !ok || !isHex(text) {
				return nil, syntaxError(src, i, src[i:i+2])
			}
			add(tHex, text, end)
		case c == '"':
			text, end, ok := scanQuoted(src, i)
			if !ok {
				return nil, syntaxError(src, i, `"`)
			}
			add(tQuoted, text, end)
		case isDigit(c) || c == '.' && i+1 < len(src) && isDigit(src[i+1]) && !afterOperand(toks, i):
			end := scanNumber(src, i)
			add(tNumber, src[i:end], end)
		case c == '?':
			add(tBind, "", i+1)
		case c == ':' && i+1 < len(src) && isDigit(src[i+1]) && (i == 0 || src[i-1] != ':'):
			end := i + 1
			for end < len(src) && isDigit(src[end]) {
				end++
			}
			add(tBind, src[i+1:end], end)
		case c == '$' && i+1 < len(src) && isWordByte(src[i+1]):
			end := scanWord(src, i+1)
			add(tVar, strings.ToUpper(src[i+1:end]), end)
		case c == '_' || c >= utf8.RuneSelf || isLetter(c):
			end := scanWord(src, i)
			if end == i {
				return nil, syntaxError(src, i, src[i:i+1])
			}
			add(tWord, strings.ToUpper(src[i:end]), end)
		default:
			n := 1
			for _, op := range []string{"::", "||", "<=", ">=", "<>", "!=", "=>", "->", ":="} {
				if strings.HasPrefix(src[i:], op) {
					n = 2
					break
				}
			}
			if n == 1 && !strings.ContainsRune("()[]{},.;:+-*/%=<>@&|^~!", rune(c)) {
				return nil, syntaxError(src, i, src[i:i+1])
			}
			add(tOp, src[i:i+n], i+n)
		}
	}
	for len(toks) > 0 && toks[len(toks)-1].is(";") {
		toks = toks[:len(toks)-1]
	}
	return toks, nil
}

// afterOperand reports whether a dot at offset i qualifies a name, as in t.1.
func afterOperand(toks []token, i int) bool {
	if len(toks) == 0 {
		return false
	}
	last := toks[len(toks)-1]
	return last.end == i && (last.ident() || last.is(")"))
}

// scanString reads a string literal at src[i] and gives its value.
func scanString(src string, i int) (text string, end int, ok bool) {
	var b strings.Builder
	for j := i + 1; j < len(src); j++ {
		switch c := src[j]; c {
		case '\'':
			if j+1 < len(src) && src[j+1] == '\'' {
				b.WriteByte('\'')
				j++
				continue
			}
			return b.String(), j + 1, true
		case '\\':
			j++
			if j == len(src) {
				return "", 0, false
			}
			n, s := unescape(src[j:])
			b.WriteString(s)
			j += n - 1
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, false
}

// unescape decodes the escape sequence that follows a backslash and says how
// many bytes it took.
func unescape(s string) (n int, text string) {
	number := func(digits string, base int) (rune, bool) {
		var v rune
		for _, c := range digits {
			d := strings.IndexRune("0123456789abcdef", unicode.ToLower(c))
			if d < 0 || d >= base {
				return 0, false
			}
			v = v*rune(base) + rune(d)
		}
		return v, true
	}
	switch s[0] {
	case 'n':
		return 1, "\n"
	case 't':
		return 1, "\t"
	case 'r':
		return 1, "\r"
	case 'b':
		return 1, "\b"
	case 'f':
		return 1, "\f"
	case 'x':
		if len(s) >= 3 {
			if v, ok := number(s[1:3], 16); ok {
				return 3, string(v)
			}
		}
	case 'u':
		if len(s) >= 5 {
			if v, ok := number(s[1:5], 16); ok {
				return 5, string(v)
			}
		}
	case '0', '1', '2', '3':
		if len(s) >= 3 {
			if v, ok := number(s[:3], 8); ok {
				return 3, string(v)
			}
		}
		if s[0] == '0' {
			return 1, "\x00"
		}
	}
	_, size := utf8.DecodeRuneInString(s)
	return size, s[:size]
}

func scanQuoted(src string, i int) (text string, end int, ok bool) {
	var b strings.Builder
	for j := i + 1; j < len(src); j++ {
		if src[j] != '"' {
			b.WriteByte(src[j])
			continue
		}
		if j+1 < len(src) && src[j+1] == '"' {
			b.WriteByte('"')
			j++
			continue
		}
		return b.String(), j + 1, b.Len() > 0
	}
	return "", 0, false
}

func scanNumber(src string, i int) int {
	digits := func() {
		for i < len(src) && isDigit(src[i]) {
			i++
		}
	}
	digits()
	if i < len(src) && src[i] == '.' {
		i++
		digits()
	}
	if i < len(src) && (src[i] == 'e' || src[i] == 'E') {
		j := i + 1
		if j < len(src) && (src[j] == '+' || src[j] == '-') {
			j++
		}
		if j < len(src) && isDigit(src[j]) {
			i = j
			digits()
		}
	}
	return i
}

func scanWord(src string, i int) int {
	for i < len(src) {
		if src[i] < utf8.RuneSelf {
			if !isWordByte(src[i]) {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(src[i:])
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return i
		}
		i += size
	}
	return i
}

func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isLetter(c byte) bool   { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isWordByte(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' || c == '$' }

func isHex(s string) bool {
	return len(s)%2 == 0 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// quoteIdent writes a name as a quoted identifier.
func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// unquoted gives the value of a string literal that quoteString has written, and
// false if it is none.
func unquoted(literal string) (string, bool) {
	if len(literal) < 2 || literal[0] != '\'' || literal[len(literal)-1] != '\'' {
		return "", false
	}
	return strings.ReplaceAll(literal[1:len(literal)-1], "''", "'"), true
}

// quoteString writes a value as a string literal that DuckDB reads.
func quoteString(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		// DuckDB takes statements as C strings: a zero byte would end it.
		parts := strings.Split(s, "\x00")
		for i, p := range parts {
			parts[i] = quoteString(p)
		}
		return "(" + strings.Join(parts, " || chr(0) || ") + ")"
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
