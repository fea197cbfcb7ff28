package duckdb

import (
	"strings"
	"time"
)

// dateParts maps the names and abbreviations of date and time parts.
var dateParts = map[string]string{}

// timeParts are the parts of which a DATE has none.
var timeParts = map[string]bool{"hour": true, "minute": true, "second": true, "millisecond": true, "microsecond": true}

func init() {
	for part, names := range map[string]string{
		"year": "YEAR Y YY YYY YYYY YR YEARS YRS", "quarter": "QUARTER Q QTR QTRS QUARTERS", "month": "MONTH MM MON MONS MONTHS",
		"week": "WEEK W WK WEEKOFYEAR WOY WY WEEKS", "day": "DAY D DD DAYS DAYOFMONTH",
		"hour": "HOUR H HH HR HOURS HRS", "minute": "MINUTE M MI MIN MINUTES MINS", "second": "SECOND S SEC SECONDS SECS",
		"millisecond": "MILLISECOND MS MSEC MILLISECONDS", "microsecond": "MICROSECOND US USEC MICROSECONDS",
		"nanosecond": "NANOSECOND NS NSEC NANOSEC NSECOND NANOSECONDS NANOSECS NSECONDS",
		"dayofweek":  "DAYOFWEEK WEEKDAY DOW DW", "dayofweekiso": "DAYOFWEEKISO DAYOFWEEK_ISO WEEKDAY_ISO DOW_ISO DW_ISO",
		"dayofyear": "DAYOFYEAR YEARDAY DOY DY", "weekiso": "WEEKISO WEEK_ISO WEEKOFYEARISO WEEKOFYEAR_ISO",
		"yearofweek": "YEAROFWEEK", "yearofweekiso": "YEAROFWEEKISO",
		"epoch": "EPOCH_SECOND EPOCH EPOCH_SECONDS", "epoch_ms": "EPOCH_MILLISECOND EPOCH_MILLISECONDS",
		"epoch_us": "EPOCH_MICROSECOND EPOCH_MICROSECONDS", "epoch_ns": "EPOCH_NANOSECOND EPOCH_NANOSECONDS",
	} {
		for _, n := range strings.Fields(names) {
			dateParts[n] = part
		}
	}
}

var waitUnits = map[string]time.Duration{
	"SECONDS": time.Second, "MILLISECONDS": time.Millisecond, "MINUTES": time.Minute, "HOURS": time.Hour,
}

func scaleDuration(n float64, unit time.Duration) time.Duration {
	return time.Duration(n * float64(unit))
}

// part gives the date part that an argument names, quoted or not.
func (c *call) part(i int) string {
	if i >= len(c.toks) || len(c.toks[i]) != 1 {
		c.r.fail(unsupported("%s without a date part", c.name))
		return ""
	}
	t := c.toks[i][0]
	p, ok := dateParts[strings.ToUpper(t.text)]
	if !ok || t.kind != tWord && t.kind != tString && t.kind != tQuoted {
		c.r.fail(compileError("001003", "42000", "'%s' is not a valid date/time component for function %s.", t.text, c.name))
		return ""
	}
	return p
}

// countable keeps the parts that can be added and counted.
func (c *call) countable(i int) string {
	switch p := c.part(i); p {
	case "year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond":
		return p
	case "nanosecond":
		c.r.fail(unsupported("nanoseconds: this engine keeps microseconds"))
	default:
		if c.r.err == nil {
			c.r.fail(compileError("001003", "42000", "'%s' is not a valid date/time component for function %s.", p, c.name))
		}
	}
	return ""
}

func dateAdd(c *call) string {
	if !c.want(3, 3) {
		return ""
	}
	return "sf_add_" + c.countable(0) + "(" + c.args[1] + ", " + c.temporal(2) + ")"
}

// dateDiff counts the boundaries crossed. DuckDB counts weeks from the first
// date on, Snowflake counts Mondays.
func dateDiff(c *call) string {
	if !c.want(3, 3) {
		return ""
	}
	p := c.countable(0)
	if p == "week" {
		return "sf_diff_week(" + c.temporal(1) + ", " + c.temporal(2) + ")"
	}
	return "date_diff('" + p + "', " + c.temporal(1) + ", " + c.temporal(2) + ")"
}

func dateTrunc(c *call) string {
	if !c.want(2, 2) {
		return ""
	}
	return "sf_trunc('" + c.countable(0) + "', " + c.temporal(1) + ")"
}

// truncate is TRUNC of a number, or of a date if a part is named.
func truncate(c *call) string {
	if !c.want(1, 2) {
		return ""
	}
	if s, ok := c.literal(1); ok {
		if _, known := dateParts[strings.ToUpper(s)]; known {
			c.args[0], c.args[1] = c.args[1], c.args[0]
			c.toks[0], c.toks[1] = c.toks[1], c.toks[0]
			return dateTrunc(c)
		}
	}
	return c.write("sf_truncate")
}

func datePartCall(c *call) string {
	if !c.want(2, 2) {
		return ""
	}
	return datePart(c, c.part(0), c.temporal(1))
}

func datePart(c *call, part, x string) string {
	switch part {
	case "year", "quarter", "month", "week", "day", "hour", "minute", "second":
		return "date_part('" + part + "', " + x + ")"
	case "dayofweek":
		return "date_part('dow', " + x + ")"
	case "dayofweekiso":
		return "date_part('isodow', " + x + ")"
	case "dayofyear":
		return "date_part('doy', " + x + ")"
	case "weekiso":
		return "date_part('week', " + x + ")"
	case "yearofweek", "yearofweekiso":
		return "date_part('isoyear', " + x + ")"
	case "epoch":
		return "CAST(floor(epoch(" + x + ")) AS BIGINT)"
	case "epoch_ms", "epoch_us", "epoch_ns":
		return part + "(" + x + ")"
	case "nanosecond":
		return "((date_part('microsecond', " + x + ") % 1000000) * 1000)"
	}
	c.r.fail(unsupported("date part %s", part))
	return ""
}

func lastDay(c *call) string {
	if !c.want(1, 2) {
		return ""
	}
	if len(c.args) == 1 {
		return "system.main.last_day(" + c.temporal(0) + ")"
	}
	switch p := c.part(1); p {
	case "month":
		return "system.main.last_day(" + c.temporal(0) + ")"
	case "year", "quarter", "week":
		return "sf_last_" + p + "(" + c.temporal(0) + ")"
	}
	c.r.fail(unsupported("LAST_DAY of this part"))
	return ""
}

// convertTimezone gives the wall clock of another zone. With two arguments the
// result is a TIMESTAMP_TZ with that zone's offset, which this engine drops.
func convertTimezone(c *call) string {
	if !c.want(2, 3) {
		return ""
	}
	if len(c.args) == 2 {
		c.r.fail(unsupported("CONVERT_TIMEZONE without a source time zone"))
	}
	return c.write(c.name)
}

// extract reads EXTRACT(part FROM x).
func (r *rewriter) extract() string {
	c := &call{r: r, name: "EXTRACT"}
	r.expectOp("(")
	c.toks = [][]token{{r.take()}}
	if !r.accept("FROM") {
		r.fail(r.unexpected(r.peek()))
		return ""
	}
	start := r.i
	c.args = []string{"", r.region(nil)}
	c.toks = append(c.toks, r.toks[min(start, len(r.toks)):min(r.i, len(r.toks))])
	r.expectOp(")")
	return datePart(c, c.part(0), c.temporal(1))
}

// position reads POSITION(a IN b) and POSITION(a, b [, start]).
func (r *rewriter) position() string {
	c := &call{r: r, name: "POSITION"}
	r.expectOp("(")
	for r.err == nil && !r.peek().is(")") {
		c.args = append(c.args, r.region(func(t token) bool { return t.is(",") || t.word("IN") }))
		if !r.acceptOp(",") && !r.accept("IN") {
			break
		}
	}
	r.expectOp(")")
	if !c.want(2, 3) {
		return ""
	}
	return "charindex(" + strings.Join(c.args, ", ") + ")"
}

// A direction says what a format is for: strftime or strptime.
type direction int

const (
	written direction = iota
	parsed
)

// format translates a date format into DuckDB's, or refuses it. The result is a
// string literal.
func (c *call) format(i int, d direction) string {
	f, ok := c.literal(i)
	if !ok {
		c.r.fail(unsupported("%s with a format that is not a literal", c.name))
		return ""
	}
	var b strings.Builder
	rest := f
	for rest != "" {
		element, text, ok := formatElement(rest)
		if !ok {
			c.r.fail(unsupported("format '%s'", f))
			return ""
		}
		if d == parsed && strings.HasSuffix(text, "000") {
			text = "%n" // any number of digits
		}
		b.WriteString(text)
		rest = rest[len(element):]
	}
	return quoteString(b.String())
}

// formatElements are tried in this order: the longer before the shorter.
var formatElements = [][2]string{
	{"YYYY", "%Y"}, {"YY", "%y"}, {"MMMM", "%B"}, {"MON", "%b"}, {"MM", "%m"}, {"MI", "%M"}, {"DD", "%d"}, {"DY", "%a"},
	{"HH24", "%H"}, {"HH12", "%I"}, {"AM", "%p"}, {"PM", "%p"}, {"SS", "%S"}, {"FF3", "%g"}, {"FF6", "%f"}, {"FF9", "%f000"}, {"FF", "%f000"},
}

func formatElement(s string) (element, text string, ok bool) {
	upper := strings.ToUpper(s)
	for _, e := range formatElements {
		if strings.HasPrefix(upper, e[0]) {
			return e[0], e[1], true
		}
	}
	if s[0] == '"' {
		if n := strings.IndexByte(s[1:], '"'); n >= 0 {
			return s[:n+2], strings.ReplaceAll(s[1:n+1], "%", "%%"), true
		}
	}
	if upper[0] == 'T' && (len(upper) == 1 || !isLetter(upper[1]) || strings.HasPrefix(upper[1:], "HH")) {
		return s[:1], s[:1], true
	}
	if strings.IndexByte("-/:., ;_", s[0]) >= 0 {
		return s[:1], s[:1], true
	}
	return "", "", false
}
