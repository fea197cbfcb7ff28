package sqltext

import (
	"strings"
	"testing"
)

func addTexts(f *testing.F, add func(sql string, i int)) {
	i := 0
	for _, table := range [][]judged{reads, writes, sessions, hostile} {
		for _, tt := range table {
			add(tt.sql, i)
			i++
		}
	}
}

// answers are all that a statement says of itself, harmless answers as false.
type answers struct {
	kinds                                              [FileTransfer + 1]bool
	once, lasts, history, variables, ends, ends2, many bool
}

func answersOf(s Statement) answers {
	a := answers{
		once: !s.Repeatable(), lasts: !s.UndoneByRollback(), history: s.AsksHistory(), variables: s.AsksVariables(),
		ends: s.EndsTransaction(), ends2: s.Commits(), many: s.Many(),
	}
	for k := range a.kinds {
		a.kinds[k] = s.Has(Kind(k))
	}
	return a
}

// without names what a says and b does not.
func (a answers) without(b answers) string {
	var lost []string
	for _, q := range []struct {
		name string
		a, b bool
	}{
		{"once", a.once, b.once}, {"lasts", a.lasts, b.lasts}, {"history", a.history, b.history},
		{"variables", a.variables, b.variables}, {"ends", a.ends, b.ends}, {"commits", a.ends2, b.ends2}, {"many", a.many, b.many},
	} {
		if q.a && !q.b {
			lost = append(lost, q.name)
		}
	}
	for k := range a.kinds {
		if a.kinds[k] && !b.kinds[k] {
			lost = append(lost, Kind(k).String())
		}
	}
	return strings.Join(lost, ", ")
}

// unclosed reports whether a quote or a comment is open at the end of the text. What
// follows becomes part of that, and is no part more.
func unclosed(s Statement) bool {
	sc := NewScanner(s.text)
	for t := sc.Next(); ; t = sc.Next() {
		if t.Open || t.Kind == End {
			return t.Open
		}
	}
}

// closed reports whether the text ends where a new part can begin: no block is open.
func closed(s Statement) bool {
	for ps := s.parts(); ps.next(); {
		if ps.part.block {
			return false
		}
	}
	return true
}

// FuzzAPartMore: a part more never makes a text more harmless, neither behind nor before
// it.
func FuzzAPartMore(f *testing.F) {
	addTexts(f, func(sql string, i int) {
		f.Add(sql, hostile[i%len(hostile)].sql, i%2 == 0)
		f.Add(writes[i%len(writes)].sql, sql, i%3 == 0)
	})
	f.Fuzz(func(t *testing.T, a, b string, chain bool) {
		separator := "\n;"
		if chain {
			separator = "\n->>"
		}
		first, second, both := Reader{}.Read(a), Reader{}.Read(b), Reader{}.Read(a+separator+b)
		have := answersOf(both)
		if empty(first) || empty(second) || unclosed(first) {
			return // no part more
		}
		if lost := answersOf(first).without(have); lost != "" {
			t.Errorf("%q alone: %s; not with %q", a, lost, b)
		}
		if !closed(first) {
			return
		}
		if lost := answersOf(second).without(have); lost != "" {
			t.Errorf("%q alone: %s; not behind %q", b, lost, a)
		}
		for _, before := range []State{{}, {InTx: true}, {AutocommitOff: true}} {
			for _, failed := range []bool{false, true} {
				want := second.After(first.After(before, failed), failed)
				if got := both.After(before, failed); got != want {
					t.Errorf("%q and %q, before %+v, failed %v: %+v, want %+v", a, b, before, failed, got, want)
				}
			}
		}
	})
}

func empty(s Statement) bool {
	ps := s.parts()
	return !ps.next()
}

// FuzzSpelling: comments, white space and the case of unquoted words change nothing.
func FuzzSpelling(f *testing.F) {
	addTexts(f, func(sql string, i int) { f.Add(sql, byte(i)) })
	gaps := []string{" ", "\t", "\r\n", "--'x\n", "//\"y\r", "/*;COMMIT*/", "\u00a0", "\ufeff\f\v", "-- ->> DELETE\r\n"}
	f.Fuzz(func(t *testing.T, text string, seed byte) {
		var plain, other strings.Builder
		sc := NewScanner(text)
		for token, i := sc.Next(), int(seed); token.Kind != End; token, i = sc.Next(), i+1 {
			word := token.Text
			if token.Open {
				return // what follows would become part of it
			}
			plain.WriteString(word + " ")
			if token.Kind == Word && i%2 == 0 {
				word = ascii(word, 'a', 'z')
			} else if token.Kind == Word {
				word = ascii(word, 'A', 'Z')
			}
			other.WriteString(word + " " + gaps[i%len(gaps)] + gaps[i/2%len(gaps)])
		}
		a, b := Reader{}.Read(plain.String()), Reader{}.Read(other.String())
		if x, y := answersOf(a), answersOf(b); x != y || a.First() != b.First() {
			t.Errorf("%q: %v %+v; %q: %v %+v", a.text, a.First(), x, b.text, b.First(), y)
		}
		if x, y := askAll(a), askAll(b); x != y {
			t.Errorf("%q: %+v; %q: %+v", a.text, x, b.text, y)
		}
		if a.IsBegin() != b.IsBegin() || a.IsCommit() != b.IsCommit() || a.IsRollback() != b.IsRollback() {
			t.Errorf("%q and %q: one is a transaction statement", a.text, b.text)
		}
		if x := answersOf(Reader{}.Read(text)); x != answersOf(a) {
			t.Errorf("%q is not what %q is", text, a.text)
		}
	})
}

// ascii turns the case of the ASCII letters that are not from one to the other.
func ascii(word string, from, to byte) string {
	b := []byte(word)
	for i, c := range b {
		if c|0x20 >= 'a' && c|0x20 <= 'z' && (c < from || c > to) {
			b[i] = c ^ 0x20
		}
	}
	return string(b)
}

// FuzzQuoted: what stands in quotes is never a keyword.
func FuzzQuoted(f *testing.F) {
	addTexts(f, func(sql string, _ int) { f.Add(sql) })
	f.Fuzz(func(t *testing.T, text string) {
		inside := strings.ReplaceAll(strings.ReplaceAll(text, `\`, ""), "'", "")
		name := strings.ReplaceAll(text, `"`, "")
		dollar := strings.ReplaceAll(text, "$", "")
		harmless := answersOf(Reader{}.Read("SELECT 1 FROM t"))
		for _, sql := range []string{
			"SELECT '" + inside + "' FROM t", `SELECT 1 AS "` + name + `" FROM t`, "SELECT $$" + dollar + "$$ FROM t",
			"SELECT 1 /*" + strings.ReplaceAll(text, "*", "") + "*/ FROM t", "SELECT 1 --" + strings.NewReplacer("\r", "", "\n", "").Replace(text) + "\n FROM t",
		} {
			if got := answersOf(Reader{}.Read(sql)); got != harmless {
				t.Errorf("%q: %+v", sql, got)
			}
		}
		for _, sql := range []string{"'" + inside + "' 1", `"` + name + `" 1`, "$$" + dollar + "$$ 1"} {
			if s := (Reader{}).Read(sql); s.First() != Unknown || s.Repeatable() || s.UndoneByRollback() || s.EndsTransaction() {
				t.Errorf("%q: %v", sql, s.First())
			}
		}
	})
}
