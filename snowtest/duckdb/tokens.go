package duckdb

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/snowtether/snowtether/internal/sqltext"
)

type tokenKind uint8

const (
	tEOF    tokenKind = iota
	tWord             // an unquoted identifier or keyword; text is in upper case
	tQuoted           // a quoted identifier; text is what stands between the quotes
	tString           // a string literal; text is its value
	tHex              // X'4142'; text is the hex digits
	tNumber           // a number literal
	tBind             // ?, :1 or :name; text is empty, the number or the name
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
	return t.kind == tWord && slices.Contains(words, t.text)
}

func (t token) whole() bool { return t.kind == tNumber && !strings.ContainsAny(t.text, ".eE") }

func (t token) ident() bool { return t.kind == tWord || t.kind == tQuoted }

// A tokenizer makes this engine's tokens of the scanner's: with the values of
// literals, binds, and operators of two bytes.
type tokenizer struct {
	src  string
	scan sqltext.Scanner
	toks []token
}

// tokenize splits a statement after Snowflake's lexical rules. A semicolon at the
// end is dropped.
func tokenize(src string) ([]token, error) {
	z := tokenizer{src: src, scan: sqltext.NewScanner(src)}
	for t := z.scan.Next(); t.Kind != sqltext.End || t.Open; t = z.scan.Next() {
		if err := z.take(t); err != nil {
			return nil, err
		}
	}
	toks := z.toks
	for len(toks) > 0 && toks[len(toks)-1].is(";") {
		toks = toks[:len(toks)-1]
	}
	return toks, nil
}

// add takes the text to end as a token, and goes on behind it.
func (z *tokenizer) add(kind tokenKind, text string, start, end int) error {
	z.toks = append(z.toks, token{kind, text, start, end})
	z.scan.Seek(end)
	return nil
}

func (z *tokenizer) take(t sqltext.Token) error {
	switch t.Kind {
	case sqltext.End:
		return syntaxError(z.src, t.Start, "/*")
	case sqltext.String:
		return z.literal(t)
	case sqltext.Dollar:
		if t.Open {
			return syntaxError(z.src, t.Start, "$$")
		}
		return z.add(tString, t.Text[2:len(t.Text)-2], t.Start, t.End)
	case sqltext.QuotedName:
		if t.Open || len(t.Text) == 2 {
			return syntaxError(z.src, t.Start, `"`)
		}
		return z.add(tQuoted, strings.ReplaceAll(t.Text[1:len(t.Text)-1], `""`, `"`), t.Start, t.End)
	case sqltext.Number:
		return z.add(tNumber, t.Text, t.Start, t.End)
	case sqltext.Word:
		return z.word(t)
	}
	return z.operator(t) // a stage is an @ here, and what follows it
}

// literal takes a string, or the hex digits of a binary value if an X stands before.
func (z *tokenizer) literal(t sqltext.Token) error {
	kind, start := tString, t.Start
	if last := z.last(); last.word("X") && last.end == t.Start {
		kind, start = tHex, last.start
		z.toks = z.toks[:len(z.toks)-1]
	}
	text := ""
	if !t.Open {
		text = unescaped(t.Text[1 : len(t.Text)-1])
	}
	if t.Open || kind == tHex && !isHex(text) {
		return syntaxError(z.src, start, z.src[start:t.Start+1])
	}
	return z.add(kind, text, start, t.End)
}

func (z *tokenizer) word(t sqltext.Token) error {
	kind, begin := tWord, t.Start
	if t.Text[0] == '$' {
		kind, begin = tVar, t.Start+1
	}
	end := scanWord(z.src, begin)
	if end == begin || kind == tVar && !isWordByte(z.src[begin]) {
		return syntaxError(z.src, t.Start, z.src[t.Start:t.Start+1])
	}
	return z.add(kind, strings.ToUpper(z.src[begin:end]), t.Start, end)
}

func (z *tokenizer) operator(t sqltext.Token) error {
	rest := z.src[t.Start:]
	digit := len(rest) > 1 && isDigit(rest[1])
	switch {
	case rest[0] == '?':
		return z.add(tBind, "", t.Start, t.Start+1)
	case rest[0] == ':' && z.bindsHere(t.Start):
		end := scanWord(z.src, t.Start+1)
		return z.add(tBind, strings.ToUpper(z.src[t.Start+1:end]), t.Start, end)
	case rest[0] == '.' && digit && !z.afterOperand(t.Start):
		fraction, _, _ := strings.Cut(z.scan.Next().Text, ".") // for the scanner, .5 is two tokens
		n := 1 + len(fraction)
		return z.add(tNumber, rest[:n], t.Start, t.Start+n)
	}
	n := 1
	for _, op := range []string{"::", "||", "<=", ">=", "<>", "!=", "=>", "->", ":="} {
		if strings.HasPrefix(rest, op) {
			n = 2
			break
		}
	}
	if n == 1 && !strings.ContainsRune("()[]{},.;:+-*/%=<>@&|^~!", rune(rest[0])) {
		return syntaxError(z.src, t.Start, rest[:1])
	}
	return z.add(tOp, rest[:n], t.Start, t.Start+n)
}

// bindsHere reports whether the colon at offset i begins a placeholder: what follows is a
// number or a name, and what stands before is neither a variant nor the key of an object.
func (z *tokenizer) bindsHere(i int) bool {
	if i+1 >= len(z.src) || !isLetter(z.src[i+1]) && !isDigit(z.src[i+1]) {
		return false
	}
	switch last := z.last(); last.kind {
	case tEOF:
		return true
	case tWord:
		return keywords[last.text] || last.text == "CASE"
	case tOp:
		return last.text != ")" && last.text != "]" && last.text != "}" && last.text != ":"
	}
	return false
}

// last gives the token before, which is tEOF at the beginning.
func (z *tokenizer) last() token {
	if len(z.toks) == 0 {
		return token{}
	}
	return z.toks[len(z.toks)-1]
}

// afterOperand reports whether a dot at offset i qualifies a name, as in t.1.
func (z *tokenizer) afterOperand(i int) bool {
	last := z.last()
	return last.end == i && (last.ident() || last.is(")"))
}

func unescaped(s string) string {
	if !strings.ContainsAny(s, `\'`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\'':
			i++ // the second of two
			b.WriteByte('\'')
		case '\\':
			n, text := unescape(s[i+1:])
			b.WriteString(text)
			i += n
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// unescape decodes the escape sequence that follows a backslash and says how
// many bytes it took.
func unescape(s string) (n int, text string) {
	numbered := func(from, to, base int) bool {
		if len(s) < to {
			return false
		}
		v, err := strconv.ParseUint(s[from:to], base, 32)
		n, text = to, string(rune(v))
		return err == nil
	}
	if i := strings.IndexByte("ntrbf", s[0]); i >= 0 {
		return 1, "\n\t\r\b\f"[i : i+1]
	}
	switch {
	case s[0] == 'x' && numbered(1, 3, 16), s[0] == 'u' && numbered(1, 5, 16), s[0] <= '3' && numbered(0, 3, 8):
		return n, text
	case s[0] == '0':
		return 1, "\x00"
	}
	_, size := utf8.DecodeRuneInString(s)
	return size, s[:size]
}

// scanWord gives the end of the word that begins at an offset.
func scanWord(src string, i int) int {
	if n := strings.IndexFunc(src[i:], func(c rune) bool { return !isNameRune(c) }); n >= 0 {
		return i + n
	}
	return len(src)
}

func isNameRune(c rune) bool {
	return c == '_' || c == '$' || unicode.IsLetter(c) || unicode.IsDigit(c)
}

func isDigit(c byte) bool    { return '0' <= c && c <= '9' }
func isLetter(c byte) bool   { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isWordByte(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' || c == '$' }

func isHex(s string) bool { return len(s)%2 == 0 && strings.Trim(s, "0123456789abcdefABCDEF") == "" }

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
