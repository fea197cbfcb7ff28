package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// wellFormed returns the texts of an SVG.
func wellFormed(t *testing.T, svg []byte) (texts []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	inText := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("the SVG is not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				texts = append(texts, string(token))
			}
		}
	}
}

func TestChartSaysWhatHappened(t *testing.T) {
	verdicts := []verdict{
		{name: "one", outcomes: []outcome{{fate: succeeded, at: time.Second}, {fate: failed, at: 10 * time.Second}}},
		{name: "two", counts: [fates]int{7, 8, 9}, doubled: 41, lost: make([]time.Duration, 23),
			twice: slices.Repeat([]time.Duration{5 * time.Second}, 41)},
		{name: "three"},
	}
	faults := schedule(28, 10*time.Second)
	svg, err := chart(verdicts, faults, "a <caption> & more")
	if err != nil {
		t.Fatal(err)
	}
	texts := wellFormed(t, svg)
	want := []string{
		"plain gosnowflake", "gosnowflake in a ten-line shim", "snowtether", "a <caption> & more",
		"7 succeeded, 8 failed, 9 in doubt, 41 ran twice, 23 lost", "41", "23",
		"seconds since the start", "statements per second", "succeeded", "failed", "in doubt: may have run",
		"ran twice (how many)", "lost without an error (how many)",
	}
	for _, f := range faults {
		want = append(want, strings.Split(f.label, "\n")...)
	}
	for _, text := range want {
		if !slices.Contains(texts, text) {
			t.Errorf("the chart does not say %q", text)
		}
	}
	if s := string(svg); strings.Contains(s, "font-family:Liberation Sans;") || strings.Contains(s, "@font-face") {
		t.Error("a font is named without another in its place, or embedded")
	}
}

func TestChartOfAShortenedRunHasTheFaultsThatStruck(t *testing.T) {
	faults := schedule(28, 30*time.Second)
	svg, err := chart([]verdict{{outcomes: []outcome{{at: 3 * time.Second}}}}, faults, "")
	if err != nil {
		t.Fatal(err)
	}
	texts := wellFormed(t, svg)
	if !slices.Contains(texts, "tokens") || slices.Contains(texts, "rolling") {
		t.Errorf("the texts are %q", texts)
	}
}

func TestStackedCountsEachStatementOnce(t *testing.T) {
	v := verdict{outcomes: []outcome{{fate: failed}, {fate: inDoubt, at: 30 * time.Second}, {fate: succeeded, at: 30 * time.Second}, {fate: succeeded, at: 60 * time.Second}}}
	got := v.stacked(60 * time.Second) // bins of a second
	for _, test := range []struct {
		second int
		want   [fates]float64
	}{{0, [fates]float64{0, 1, 1}}, {1, [fates]float64{}}, {30, [fates]float64{1, 1, 2}}, {59, [fates]float64{1, 1, 1}}} {
		if is := [fates]float64{got[succeeded][test.second], got[failed][test.second], got[inDoubt][test.second]}; is != test.want {
			t.Errorf("second %d: %v, want %v", test.second, is, test.want)
		}
	}
	if h := v.highest(60 * time.Second); h != 2 {
		t.Errorf("highest %v", h)
	}
}

func TestChartOfNothingIsAnError(t *testing.T) {
	if _, err := chart([]verdict{{}, {}, {}}, nil, ""); err == nil {
		t.Error("no error")
	}
}

// TestChartHasOnlyColours: that there are, and others in the dark. A transparent background was
// written as a negative number.
func TestChartHasOnlyColours(t *testing.T) {
	svg, err := chart([]verdict{
		{name: "one", outcomes: []outcome{{fate: succeeded, at: time.Second}}}, {name: "two"}, {name: "three"},
	}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	drawn, err := os.ReadFile("../../docs/chaos.svg")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"generated": string(svg), "docs/chaos.svg": string(drawn)} {
		wellFormed(t, []byte(text))
		for _, m := range regexp.MustCompile(`(?:fill|stroke):([^;"\]]+)`).FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`^( ?none|#[0-9A-F]{6}| #[0-9A-F]{6} !important .*)$`).MatchString(strings.ReplaceAll(m[1], "\n", " ")) {
				t.Errorf("%s has the colour %q", name, m[1])
				break
			}
		}
		if !strings.Contains(text, "prefers-color-scheme: dark") {
			t.Errorf("%s is white in the dark", name)
		}
	}
}
