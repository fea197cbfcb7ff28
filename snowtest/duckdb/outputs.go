package duckdb

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
)

// This file writes dates and times as text in the session's formats, TIME_OUTPUT_FORMAT and
// its like. The macros find the formats in a variable of the DuckDB connection.

// formatsVariable is DuckDB's variable: the formats of DATE, TIME, TIMESTAMP_NTZ and of
// timestamps with a time zone, apart by noteSeparator.
const formatsVariable = "sf_formats"

// outputFormats are the parameters of those; what is empty is TIMESTAMP_OUTPUT_FORMAT.
var outputFormats = []string{"DATE_OUTPUT_FORMAT", "TIME_OUTPUT_FORMAT", "TIMESTAMP_NTZ_OUTPUT_FORMAT", "TIMESTAMP_LTZ_OUTPUT_FORMAT"}

// setFormats tells DuckDB the session's formats.
func (s *session) setFormats(ctx context.Context) error {
	formats := make([]string, len(outputFormats))
	for i, name := range outputFormats {
		formats[i] = cmp.Or(s.param(name), s.param("TIMESTAMP_OUTPUT_FORMAT"))
	}
	return s.execute(ctx, "SET VARIABLE "+formatsVariable+" = "+quoteString(strings.Join(formats, noteSeparator)))
}

// timeLayouts are Go's for DuckDB's texts of its types, which have these places in the
// list of formats.
var timeLayouts = map[string]struct {
	layout string
	place  int
}{
	"DATE": {"2006-01-02", 0}, "TIME": {"15:04:05", 1}, "TIMESTAMP": {"2006-01-02 15:04:05", 2}, "TIMESTAMP WITH TIME ZONE": {"2006-01-02 15:04:05Z07", 3},
}

// formatted writes DuckDB's text of a value in the format of its type, and gives false if
// it is no date and no time.
func formatted(s, typ, formats string) (string, bool) {
	in, ok := timeLayouts[typ]
	if !ok {
		return "", false
	}
	if typ == "TIMESTAMP WITH TIME ZONE" && strings.Count(s, ":") == 3 {
		in.layout += ":00"
	}
	t, err := time.Parse(in.layout, s)
	if err != nil {
		return s, true // of a year that has not four digits
	}
	return writeTime(t, strings.Split(formats, noteSeparator)[in.place])
}

// timeElements are the elements of formats, and Go's layouts that write them and read them.
// An offset of zero is written Z, as gosnowflake's test of formats has it from an account.
var timeElements = [][3]string{
	{"YYYY", "2006", "2006"}, {"YY", "06", "06"}, {"MMMM", "January", "January"}, {"MON", "Jan", "Jan"}, {"MM", "01", "1"}, {"MI", "04", "4"},
	{"DD", "02", "2"}, {"DY", "Mon", "Mon"}, {"HH24", "15", "15"}, {"HH12", "03", "3"}, {"AM", "PM", "PM"}, {"PM", "PM", "PM"}, {"SS", "05", "5"},
	{"TZHTZM", "Z0700", "Z0700"}, {"TZH:TZM", "Z07:00", "Z07:00"}, {"TZH", "-07", "-07"},
}

// A timePiece is one element of a format, or a text.
type timePiece struct {
	write, read string
	digits      int  // of the fraction of a second, if it is one
	literal     bool // the text is written as it is
}

// timePieces takes a format apart, and gives false if it has elements that this engine does
// not know.
func timePieces(format string) (pieces []timePiece, ok bool) {
next:
	for rest := format; rest != ""; {
		upper := strings.ToUpper(rest)
		for _, e := range timeElements {
			if strings.HasPrefix(upper, e[0]) {
				pieces, rest = append(pieces, timePiece{write: e[1], read: e[2]}), rest[len(e[0]):]
				continue next
			}
		}
		text, n := rest[:1], 1
		switch {
		case strings.HasPrefix(upper, "FF"):
			p := timePiece{read: "999999999", digits: 9}
			if n = 2; len(rest) > 2 && isDigit(rest[2]) {
				p.digits, n = int(rest[2]-'0'), 3
			}
			pieces, rest = append(pieces, p), rest[n:]
			continue
		case rest[0] == '"' && strings.Contains(rest[1:], `"`):
			text, _, _ = strings.Cut(rest[1:], `"`)
			n = len(text) + 2
		case strings.IndexByte("-/:., ;_T", rest[0]) < 0:
			return nil, false
		}
		pieces, rest = append(pieces, timePiece{write: text, read: text, literal: true}), rest[n:]
	}
	return pieces, true
}

// writeTime writes a time in one of Snowflake's formats, and gives false if it cannot.
func writeTime(t time.Time, format string) (string, bool) {
	var b strings.Builder
	pieces, ok := timePieces(format)
	for _, p := range pieces {
		switch {
		case p.literal:
			b.WriteString(p.write)
		case p.write == "":
			b.WriteString(fmt.Sprintf("%09d", t.Nanosecond())[:p.digits])
		default:
			b.WriteString(t.Format(p.write))
		}
	}
	return b.String(), ok
}

// timeLayout gives Go's layout that reads one of Snowflake's formats.
func timeLayout(format string) (layout string, ok bool) {
	pieces, ok := timePieces(format)
	for _, p := range pieces {
		layout += p.read
		ok = ok && (!p.literal || time.Time{}.Format(p.read) == p.read)
	}
	return layout, ok
}
