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

// timeElements are the elements of formats, and Go's layouts for them. An offset of zero is
// written Z, as gosnowflake's test of formats has it from an account.
var timeElements = [][2]string{
	{"YYYY", "2006"}, {"YY", "06"}, {"MMMM", "January"}, {"MON", "Jan"}, {"MM", "01"}, {"MI", "04"}, {"DD", "02"}, {"DY", "Mon"},
	{"HH24", "15"}, {"HH12", "03"}, {"AM", "PM"}, {"PM", "PM"}, {"SS", "05"}, {"TZHTZM", "Z0700"}, {"TZH:TZM", "Z07:00"}, {"TZH", "-07"},
}

// writeTime writes a time in one of Snowflake's formats, and false if the format has
// elements that this engine does not know.
func writeTime(t time.Time, format string) (string, bool) {
	var b strings.Builder
	for rest := format; rest != ""; {
		upper, found := strings.ToUpper(rest), false
		for _, e := range timeElements {
			if strings.HasPrefix(upper, e[0]) {
				b.WriteString(t.Format(e[1]))
				rest, found = rest[len(e[0]):], true
				break
			}
		}
		switch {
		case found:
		case strings.HasPrefix(upper, "FF"):
			digits, n := 9, 2
			if len(rest) > 2 && isDigit(rest[2]) {
				digits, n = int(rest[2]-'0'), 3
			}
			b.WriteString(fmt.Sprintf("%09d", t.Nanosecond())[:digits])
			rest = rest[n:]
		case rest[0] == '"' && strings.Contains(rest[1:], `"`):
			text, after, _ := strings.Cut(rest[1:], `"`)
			b.WriteString(text)
			rest = after
		case strings.IndexByte("-/:., ;_T", rest[0]) >= 0:
			b.WriteByte(rest[0])
			rest = rest[1:]
		default:
			return "", false
		}
	}
	return b.String(), true
}
