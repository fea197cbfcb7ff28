package stagefiles

import (
	"strconv"
	"strings"
)

// Settings are options of the form NAME = value, by their names in upper case.
type Settings map[string]Setting

// A Setting is the value of an option: a word or a text, a list, or options in parentheses.
type Setting struct {
	Text  string
	List  []string
	Inner Settings
}

// Text gives an option as it was written.
func (s Settings) Text(name string) string { return s[name].Text }

// Word gives an option in upper case, or what stands in for it.
func (s Settings) Word(name, standard string) string {
	if v, ok := s[name]; ok {
		return strings.ToUpper(v.Text)
	}
	return standard
}

// Is reports whether an option is TRUE, or what stands in for it.
func (s Settings) Is(name string, standard bool) bool {
	return s.Word(name, strings.ToUpper(strconv.FormatBool(standard))) == "TRUE"
}

// Number gives an option that is a whole number.
func (s Settings) Number(name string, standard int) int {
	if n, err := strconv.Atoi(s.Text(name)); err == nil {
		return n
	}
	return standard
}

// mark gives a delimiter, a quote or an escape: NONE is none.
func (s Settings) mark(name, standard string) string {
	v, ok := s[name]
	switch {
	case !ok:
		return standard
	case strings.EqualFold(v.Text, "NONE"):
		return ""
	case len(v.Text) > 1:
		return unescaped(v.Text, `\`)
	}
	return v.Text
}

// OnError reads the ON_ERROR of COPY: with how many errors, or with what share of a file's
// records, the file is left out; 0 is never.
func (s Settings) OnError() (word string, count, percent int, known bool) {
	word = s.Word("ON_ERROR", "ABORT_STATEMENT")
	n, skips := strings.CutPrefix(word, "SKIP_FILE_")
	share, isShare := strings.CutSuffix(n, "%")
	v, err := strconv.Atoi(share)
	switch {
	case word == "SKIP_FILE":
		return word, 1, 0, true
	case word == "CONTINUE" || word == "ABORT_STATEMENT":
		return word, 0, 0, true
	case !skips || err != nil || v < 1:
		return word, 0, 0, false
	case isShare:
		return word, 0, v, true
	}
	return word, v, 0, true
}

func unescaped(s, escape string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if !strings.HasPrefix(s[i:], escape) || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if n := strings.IndexByte("ntrbf0", s[i]); n >= 0 {
			b.WriteByte("\n\t\r\b\f\x00"[n])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
