package sqltext

import (
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"SELECT a1, $x_2 FROM É", "w:SELECT w:a1 s:, w:$x_2 w:FROM w:É"},
		{"1 1.5 2e3 4E-5 .5 1.e2 1e 12abc 7.f", "n:1 n:1.5 n:2e3 n:4E-5 s:. n:5 n:1.e2 n:1 w:e n:12 w:abc n:7. w:f"},
		{`'a''b' 'c\'d' 'e\\' "f""g" "h\" $$i'"$$ ''`, `S:'a''b' S:'c\'d' S:'e\\' q:"f""g" q:"h\" d:$$i'"$$ S:''`},
		{"a->>b a->b a::b a!=b a!b a:b", "w:a s:->> w:b w:a s:- s:> w:b w:a s::: w:b w:a s:!= w:b w:a s:! w:b w:a s:: w:b"},
		{"@db.s.st/a-b/2024.csv.gz (x) @~/y, @%t;@\"a b\".c/d @s--x\n@s//x\n@s/*x*/ @a->>b @'c'",
			"@:@db.s.st/a-b/2024.csv.gz s:( w:x s:) @:@~/y s:, @:@%t s:; @:@\"a b\".c/d @:@s @:@s @:@s @:@a s:->> w:b @:@ S:'c'"},
		{"a--b\nc//d\re/*f\n*/g - - / / a", "w:a w:c w:e w:g s:- s:- s:/ s:/ w:a"},
		{"/*/a*/ b /**/c", "w:b w:c"},
		{"a\u00a0b\ufeffc\vd\fe", "w:a w:b w:c w:d w:e"},
		{"x$$y $$z", "w:x$$y D:$$z"},
		{"0 9 90.09 a0b9 9a 1d5 a\x80b a\x7fb", "n:0 n:9 n:90.09 w:a0b9 n:9 w:a n:1 w:d5 w:a\x80b w:a s:\x7f w:b"},
		{"a{b}c|d[e]f~g^h`i", "w:a s:{ w:b s:} w:c s:| w:d s:[ w:e s:] w:f s:~ w:g s:^ w:h s:` w:i"},
		{"2e+3", "n:2e+3"}, {"1e", "n:1 w:e"}, {"1e+", "n:1 w:e s:+"}, {"1.", "n:1."}, {"@s(x)", "@:@s s:( w:x s:)"},
		{"/* a", "e:!"}, {"a --", "w:a"}, {"a //", "w:a"}, {"a /*", "w:a e:!"}, {"a -", "w:a s:-"},
		{"'a", "S:'a!"}, {`'a\'`, `S:'a\'!`}, {`"a""`, `q:"a""!`}, {"@\"a", "@:@\"a!"}, {"a /* b", "w:a e:!"},
		{"\xff\xc2 \xef", "w:\xff\xc2 w:\xef"},
	} {
		if got := spelled(tt.text); got != strings.ReplaceAll(tt.want, "D:$$z", "d:$$z!") {
			t.Errorf("%q:\n%s, want\n%s", tt.text, got, tt.want)
		}
	}
}

// spelled gives the tokens of a text with their kinds, ! behind what is not closed.
func spelled(text string) string {
	var list []string
	sc := NewScanner(text)
	for {
		token := sc.Next()
		word := string("ewnSqd@s"[token.Kind]) + ":" + token.Text
		if token.Open {
			word += "!"
		}
		if token.Kind != End || token.Open {
			list = append(list, word)
		}
		if token.Kind == End {
			return strings.Join(list, " ")
		}
	}
}

func TestATokenKnowsWhatItIs(t *testing.T) {
	sc := NewScanner("select (")
	if token := sc.Peek(); !token.Word("SELECT") || token.Word("SELEC") || token.Is("(") {
		t.Errorf("%+v", token)
	}
	sc.Next()
	if token := sc.Next(); !token.Is("(") || token.Word("(") {
		t.Errorf("%+v", token)
	}
	if token := sc.Next(); token.Kind != End || token.Start != 8 || sc.Next() != token {
		t.Errorf("%+v", token)
	}
}

func TestACommentThatIsNotClosedIsWhereItBegins(t *testing.T) {
	for _, text := range []string{"/* a", "a /* b"} {
		sc := NewScanner(text)
		token := sc.Next()
		for token.Kind != End {
			token = sc.Next()
		}
		if !token.Open || token.Start != strings.Index(text, "/*") || token.End != len(text) {
			t.Errorf("%q: %+v", text, token)
		}
	}
}

func TestAReaderMayCutATokenOtherwise(t *testing.T) {
	sc := NewScanner("@s/x y")
	sc.Next()
	for pos, want := range map[int]string{1: "s", 3: "x", -1: "@s/x", 99: ""} {
		sc.Seek(pos)
		if token := sc.Next(); token.Text != want {
			t.Errorf("%d: %+v", pos, token)
		}
	}
}

// FuzzScanner: tokens cover the text in order, between them is nothing but white space
// and comments, and each is alone what it is in the text.
func FuzzScanner(f *testing.F) {
	for _, table := range [][]judged{reads, writes, sessions, hostile} {
		for _, tt := range table {
			f.Add(tt.sql)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		sc, end := NewScanner(text), 0
		for range len(text) + 1 {
			token := sc.Next()
			between := text[end:token.Start]
			if gap := NewScanner(between); gap.Next().Kind != End || gap.Peek().Open && token.Kind != End {
				t.Fatalf("%q: %q is passed over", text, between)
			}
			if token.Kind == End {
				return
			}
			if token.End <= token.Start || token.Text != text[token.Start:token.End] {
				t.Fatalf("%q: %+v", text, token)
			}
			alone := NewScanner(token.Text)
			if a := alone.Next(); a.Kind != token.Kind || a.Text != token.Text || a.Open != token.Open || alone.Next().Kind != End {
				t.Fatalf("%q: %+v alone is %+v", text, token, a)
			}
			end = token.End
		}
		t.Fatalf("%q: no end", text)
	})
}
