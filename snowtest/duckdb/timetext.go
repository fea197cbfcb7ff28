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
	t, zoned, ok := parseTime(s, typ, format)
	if ok && zoned && typ == "TIMESTAMPTZ" {
		return timeTextOf(t.UTC(), typ) + "+00", true
	}
	return timeTextOf(t, typ), ok
}

// readRest gives what DuckDB's value of that text lacks, without an offset if the text has none.
func readRest(s, typ string) (int, bool) {
	t, zoned, ok := parseTime(s, typ, "")
	return restOf(t, zoned && typ == "TIMESTAMPTZ"), ok
}

// parseTime reads a text, and says whether it has an offset.
func parseTime(s, typ, format string) (t time.Time, zoned, ok bool) {
	if format != "" {
		layout, ok := timeLayout(format)
		t, err := time.Parse(layout, s)
		return t, strings.Contains(layout, "07"), ok && err == nil
	}
	if wholeText.MatchString(s) {
		t, ok = epochTime(strings.TrimSpace(s))
		return t, true, ok
	}
	m := dateTimeText.FindStringSubmatch(s)
	if m == nil {
		return t, false, false
	}
	date, clock, zone := m[1:10], m[10:15], m[15:19]
	year, month, day, dated := calendar(date)
	hour, ok := clockHour(clock)
	zoned = zone[0]+zone[1] != ""
	switch {
	case !ok, !dated && (typ != "TIME" || clock[1] == ""), zoned && clock[1] == "", number(zone[2]) > 14, number(zone[3]) > 59:
		return t, false, false
	}
	minute, second := number(clock[1]), number(clock[2])
	nanos := number((clock[3] + "000000000")[:9])
	offset := number(zone[2])*3600 + number(zone[3])*60
	if zone[1] == "-" {
		offset = -offset
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.FixedZone("", offset))
	ok = t.Day() == day && int(t.Month()) == month && t.Hour() == hour && t.Minute() == minute && t.Second() == second
	return t, zoned, ok
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

// epochTime reads a whole number: it counts seconds since 1970, or milliseconds,
// microseconds or nanoseconds if it is large.
func epochTime(s string) (time.Time, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
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
	return t.UTC(), err == nil
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
