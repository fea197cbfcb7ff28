package duckdb

import (
	"cmp"
	"fmt"
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

func (c *call) part(i int) string {
	if i >= len(c.toks) || len(c.toks[i]) != 1 {
		return c.refuse("%s without a date part", c.name)
	}
	t := c.toks[i][0]
	p, ok := dateParts[strings.ToUpper(t.text)]
	if !ok || t.kind != tWord && t.kind != tString && t.kind != tQuoted {
		c.r.fail(compileError("001003", "42000", "'%s' is not a valid date/time component for function %s.", t.text, c.name))
		return ""
	}
	return p
}

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

func temporalForms() []form {
	return []form{
		{"DATEADD TIMEADD TIMESTAMPADD", 3, 3, func(c *call) string { return "sf_add_" + c.countable(0) + "(" + c.args[1] + ", " + c.temporal(2) + ")" }},
		{"DATEDIFF TIMEDIFF TIMESTAMPDIFF", 3, 3, dateDiff},
		{"DATE_TRUNC", 2, 2, dateTrunc}, {"TRUNC", 1, 2, truncate}, {"LAST_DAY", 1, 2, lastDay},
		{"DATE_PART EXTRACT", 2, 2, func(c *call) string { return datePart(c, c.part(0), c.temporal(1)) }},
		{"CONVERT_TIMEZONE", 2, 3, convertTimezone},
	}
}

// dateDiff counts the boundaries crossed. DuckDB counts weeks from the first
// date on, Snowflake counts Mondays.
func dateDiff(c *call) string {
	p := c.countable(0)
	return pick(p == "week", "sf_diff_week(", "date_diff('"+p+"', ") + c.temporal(1) + ", " + c.temporal(2) + ")"
}

func dateTrunc(c *call) string { return "sf_trunc('" + c.countable(0) + "', " + c.temporal(1) + ")" }

// truncate is TRUNC of a number, or of a date if a part is named.
func truncate(c *call) string {
	if s, ok := c.literal(1); ok {
		if _, known := dateParts[strings.ToUpper(s)]; known {
			c.args[0], c.args[1] = c.args[1], c.args[0]
			c.toks[0], c.toks[1] = c.toks[1], c.toks[0]
			return dateTrunc(c)
		}
	}
	return c.write("sf_truncate")
}

// partValues say how the parts are read that are not DuckDB's of the same name.
var partValues = map[string]string{
	"year": "", "quarter": "", "month": "", "week": "", "day": "", "hour": "", "minute": "", "second": "",
	"dayofweek": "date_part('dow', %s)", "dayofweekiso": "date_part('isodow', %s)", "dayofyear": "date_part('doy', %s)",
	"weekiso": "date_part('week', %s)", "yearofweek": "date_part('isoyear', %s)", "yearofweekiso": "date_part('isoyear', %s)",
	"epoch": "CAST(floor(epoch(%s)) AS BIGINT)", "epoch_ms": "epoch_ms(%s)", "epoch_us": "epoch_us(%s)", "epoch_ns": "epoch_ns(%s)",
	"nanosecond": "((date_part('microsecond', %s) %% 1000000) * 1000)",
}

func datePart(c *call, part, x string) string {
	form, ok := partValues[part]
	if !ok {
		return c.refuse("date part %s", part)
	}
	return fmt.Sprintf(cmp.Or(form, "date_part('"+part+"', %s)"), x)
}

func lastDay(c *call) string {
	p := "month"
	if len(c.args) == 2 {
		p = c.part(1)
	}
	switch p {
	case "year", "quarter", "month", "week":
		return "sf_last_" + p + "(" + c.temporal(0) + ")"
	}
	return c.refuse("LAST_DAY of this part")
}

// convertTimezone gives the wall clock of another zone. With two arguments the
// result is a TIMESTAMP_TZ with that zone's offset, which this engine drops.
func convertTimezone(c *call) string {
	if len(c.args) == 2 {
		return c.refuse("CONVERT_TIMEZONE without a source time zone")
	}
	return c.write(c.name)
}
