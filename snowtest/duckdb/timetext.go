package duckdb

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// This file reads dates and times that are texts. DuckDB reads other texts than
// Snowflake does: 'infinity' and '2024/02/29' it takes, '29-FEB-2024' and an
// offset after a space it does not.

// dateTimeText is what the format AUTO takes: one of three dates, a time, an
// offset.
var dateTimeText = regexp.MustCompile(`^\s*(?:(?:(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})/(\d{1,2})/(\d{4})|(\d{1,2})-([A-Za-z]{3})-(\d{4}))(?:[T ]|$))?` +
	`\s*(?:(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:\.(\d{0,9}))?)?)?(?:\s*([AaPp][Mm]))?)?` +
	`\s*(?:([Zz])|([+-])(\d{1,2})(?::?(\d{2}))?)?\s*$`)

var wholeText = regexp.MustCompile(`^\s*[+-]?\d+\s*$`)

// readTime gives DuckDB's text for a text that is a DATE, a TIME, a TIMESTAMP or
// a TIMESTAMPTZ, and false if it is none. Without a format it is AUTO.
func readTime(s, typ, format string) (string, bool) {
	if format != "" {
		layout, ok := timeLayout(format)
		t, err := time.Parse(layout, s)
		if typ == "TIMESTAMPTZ" && strings.Contains(layout, "07") {
			return timeTextOf(t.UTC(), typ) + "+00", ok && err == nil
		}
		return timeTextOf(t, typ), ok && err == nil
	}
	if wholeText.MatchString(s) {
		return epochText(strings.TrimSpace(s), typ)
	}
	m := dateTimeText.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	date, clock, zone := m[1:10], m[10:15], m[15:19]
	year, month, day, dated := calendar(date)
	hour, ok := clockHour(clock)
	switch {
	case !ok, !dated && (typ != "TIME" || clock[1] == ""), zone[0]+zone[1] != "" && clock[1] == "", number(zone[2]) > 14, number(zone[3]) > 59:
		return "", false
	}
	minute, second := number(clock[1]), number(clock[2])
	nanos := number((clock[3] + "000000000")[:9])
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if t.Day() != day || int(t.Month()) != month || t.Hour() != hour || t.Minute() != minute || t.Second() != second {
		return "", false
	}
	if typ == "TIMESTAMPTZ" && zone[0]+zone[1] != "" {
		offset := time.Duration(number(zone[2]))*time.Hour + time.Duration(number(zone[3]))*time.Minute
		if zone[1] == "+" {
			offset = -offset
		}
		return timeTextOf(t.Add(offset), typ) + "+00", true
	}
	return timeTextOf(t, typ), true
}

// calendar gives the date that a text has; a time alone stands on 1970-01-01.
func calendar(m []string) (year, month, day int, found bool) {
	switch {
	case m[0] != "":
		return number(m[0]), number(m[1]), number(m[2]), true
	case m[5] != "":
		return number(m[5]), number(m[3]), number(m[4]), true
	case m[8] != "":
		t, err := time.Parse("Jan", m[7])
		if err != nil {
			return 0, 0, 0, true // which is no date
		}
		return number(m[8]), int(t.Month()), number(m[6]), true
	}
	return 1970, 1, 1, false
}

func clockHour(m []string) (int, bool) {
	hour := number(m[0])
	if m[4] == "" {
		return hour, true
	}
	if m[1] == "" || hour < 1 || hour > 12 {
		return 0, false
	}
	hour %= 12
	if m[4][0]|0x20 == 'p' {
		hour += 12
	}
	return hour, true
}

// epochText reads a whole number: it counts seconds since 1970, or milliseconds,
// microseconds or nanoseconds if it is large.
func epochText(s, typ string) (string, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return "", false
	}
	var t time.Time
	switch size := max(n, -n); {
	case size < 31_536_000_000:
		t = time.Unix(n, 0)
	case size < 31_536_000_000_000:
		t = time.UnixMilli(n)
	case size < 31_536_000_000_000_000:
		t = time.UnixMicro(n)
	default:
		t = time.Unix(0, n)
	}
	text := timeTextOf(t.UTC(), typ)
	if typ == "TIMESTAMPTZ" {
		text += "+00"
	}
	return text, true
}

func timeTextOf(t time.Time, typ string) string {
	switch typ {
	case "DATE":
		return dateLiteral(t)
	case "TIME":
		return t.Format("15:04:05.000000")
	}
	return dateLiteral(t) + " " + t.Format("15:04:05.000000")
}

// number reads digits; what is missing counts as 0.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// notRecognized is the error of a text that is no date or time, as a macro
// raises it.
func notRecognized(s, typ string) error {
	switch typ {
	case "DATE":
		return raise("100040", "22007", "Date '"+s+"' is not recognized")
	case "TIME":
		return raise("100108", "22007", "Time '"+s+"' is not recognized")
	}
	return raise("100035", "22007", "Timestamp '"+s+"' is not recognized")
}
