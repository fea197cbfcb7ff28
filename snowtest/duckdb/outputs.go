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
// timestamps with a time zone, apart by noteSeparator. Without it they are the defaults.
const formatsVariable = "sf_formats"

// outputFormats are the parameters that a session can set; what they are by default,
// Go code writes faster.
var outputFormats = []string{"DATE_OUTPUT_FORMAT", "TIME_OUTPUT_FORMAT", "TIMESTAMP_NTZ_OUTPUT_FORMAT", "TIMESTAMP_LTZ_OUTPUT_FORMAT"}

// setFormats tells DuckDB the formats that the session has set.
func (s *session) setFormats(ctx context.Context) error {
	formats := make([]string, len(outputFormats))
	for i, name := range outputFormats {
		if p, _ := findParameter(name); s.param(name) != p.standard {
			formats[i] = s.param(name)
		}
	}
	if zoned, _ := findParameter("TIMESTAMP_OUTPUT_FORMAT"); s.param(zoned.name) != zoned.standard {
		formats[3] = cmp.Or(formats[3], s.param(zoned.name))
	}
	_, err := exec(ctx, s.conn, "SET VARIABLE "+formatsVariable+" = "+quoteString(strings.Join(formats, noteSeparator)))
	return err
}

// formatted writes DuckDB's text of a value in the format of its type, and false where the
// session has set none.
func formatted(s, typ, formats string) (string, bool) {
	if strings.Trim(formats, noteSeparator) == "" {
		return "", false
	}
	list := strings.Split(formats, noteSeparator)
	layout, format := "", ""
	switch typ {
	case "DATE":
		layout, format = "2006-01-02", list[0]
	case "TIME":
		layout, format = "15:04:05", list[1]
	case "TIMESTAMP":
		layout, format = "2006-01-02 15:04:05", list[2]
	case "TIMESTAMP WITH TIME ZONE":
		layout, format = "2006-01-02 15:04:05Z07", list[3]
		if strings.Count(s, ":") == 3 {
			layout += ":00"
		}
	}
	t, err := time.Parse(layout, s)
	if format == "" || err != nil {
		return "", false
	}
	text, ok := writeTime(t, format)
	return text, ok
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
