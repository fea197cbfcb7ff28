package duckdb

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// conversionForms are TO_CHAR, TO_DATE and their like: what depends on a format or on a
// precision that must be a literal.
func conversionForms() []form {
	list := []form{{"TO_CHAR TO_VARCHAR", 1, 2, toChar}}
	for _, name := range []string{"VARIANT", "OBJECT", "ARRAY"} {
		list = append(list, form{"TO_" + name, 1, 1, func(c *call) string { return c.converted(name, false) }})
	}
	for _, try := range []bool{false, true} {
		prefix := pick(try, "TRY_TO_", "TO_")
		for _, name := range []string{"DATE", "TIME", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ"} {
			list = append(list, form{prefix + name, 1, 2, func(c *call) string { return toTemporal(c, name, try) }})
		}
		for _, name := range []string{"NUMBER", "DECIMAL", "NUMERIC"} {
			list = append(list, form{prefix + name, 1, 4, func(c *call) string { return toNumber(c, try) }})
		}
		list = append(list, form{prefix + "DOUBLE", 1, 1, func(c *call) string { return c.converted("FLOAT", try) }},
			form{prefix + "BOOLEAN", 1, 1, func(c *call) string { return c.converted("BOOLEAN", try) }},
			form{prefix + "BINARY", 1, 2, func(c *call) string { return toBinary(c, try) }})
	}
	return append(list, form{"DATE", 1, 2, func(c *call) string { return toTemporal(c, "DATE", false) }},
		form{"TIME", 1, 2, func(c *call) string { return toTemporal(c, "TIME", false) }})
}

// toChar formats dates and timestamps. Numbers have no format here.
func toChar(c *call) string {
	if len(c.args) == 1 {
		return "sf_text(" + c.args[0] + ")"
	}
	if f, ok := c.literal(1); ok && strings.ToUpper(f) == "HEX" {
		return "hex(" + c.args[0] + ")"
	}
	return "sf_to_char(CAST(" + c.args[0] + " AS VARCHAR), system.main.typeof(" + c.args[0] + "), " + c.format() + ")"
}

func (c *call) format() string {
	f := c.text(1)
	if _, ok := writeTime(time.Unix(0, 0), f); !ok {
		return c.refuse("format '%s'", f)
	}
	return quoteString(f)
}

func (c *call) converted(name string, try bool) string {
	return sfType{name: name}.cast(c.args[0], isVariantText(c.args[0]), try)
}

func isVariantText(expr string) bool {
	return strings.HasPrefix(expr, "sf_get(") || strings.HasPrefix(expr, "parse_json(")
}

func toNumber(c *call, try bool) string {
	typ := sfType{name: "NUMBER"}
	for i := 1; i < len(c.args); i++ {
		n, err := strconv.Atoi(c.args[i])
		if err != nil {
			return c.refuse("%s with a format", c.name)
		}
		typ.args = append(typ.args, n)
	}
	if p, s := typ.decimal(); len(typ.args) > 2 || p < 1 || p > 38 || s < 0 || s > p {
		c.r.fail(compileError("002015", "42601", "invalid precision or scale for function %s", c.name))
	}
	return typ.cast(c.args[0], isVariantText(c.args[0]), try)
}

func toTemporal(c *call, name string, try bool) string {
	x, typ := c.args[0], sfType{name: name}
	if f, ok := c.literal(1); len(c.args) == 2 && !(ok && strings.ToUpper(f) == "AUTO") {
		read := pick(try, "sf_try_read_time", "sf_read_time")
		return "CAST(" + read + "(sf_text(" + x + "), '" + typ.base() + "', " + c.format() + ") AS " + typ.base() + ")"
	}
	c.r.cast = &static{typ: typ, rest: typ.rest(x, c.is[0])}
	return typ.cast(x, false, try)
}

func toBinary(c *call, try bool) string {
	format := "HEX"
	if len(c.args) == 2 {
		format = strings.ToUpper(c.text(1))
	}
	switch format {
	case "HEX":
		return sfType{name: "BINARY"}.cast(c.args[0], false, try)
	case "UTF-8", "UTF8":
		return "encode(" + c.args[0] + ")"
	case "BASE64":
		return "from_base64(" + c.args[0] + ")"
	}
	return c.refuse("binary format '%s'", format)
}

// moments are the functions that know the time, written for the moment in place of %s:
// DuckDB's own stand still within a transaction, Snowflake's do not.
var moments = map[string]string{
	"CURRENT_TIMESTAMP": "%s", "GETDATE": "%s", "LOCALTIMESTAMP": "%s", "SYSTIMESTAMP": "%s", "SYSDATE": "timezone('UTC', %s)",
	"CURRENT_DATE": "CAST(%s AS DATE)", "CURRENT_TIME": "CAST(CAST(%s AS TIMESTAMP) AS TIME)", "LOCALTIME": "CAST(CAST(%s AS TIMESTAMP) AS TIME)",
}

// facts are the functions that know the session. What is empty is NULL.
var facts = map[string]func(*rewriter) string{
	"CURRENT_USER":      func(r *rewriter) string { return strings.ToUpper(r.s.info.User) },
	"CURRENT_DATABASE":  func(r *rewriter) string { return r.s.database },
	"CURRENT_SCHEMA":    func(r *rewriter) string { return r.s.schema },
	"CURRENT_SCHEMAS":   func(r *rewriter) string { return `["` + r.s.database + "." + r.s.schema + `"]` },
	"CURRENT_ROLE":      func(r *rewriter) string { return r.s.role },
	"CURRENT_WAREHOUSE": func(r *rewriter) string { return r.s.warehouse },
	"CURRENT_SESSION":   func(r *rewriter) string { return strconv.FormatInt(r.s.info.ID, 10) },
	"CURRENT_VERSION":   func(*rewriter) string { return "9.99.0" },
	"CURRENT_ACCOUNT":   func(*rewriter) string { return "SNOWTEST" },
	"CURRENT_REGION":    func(*rewriter) string { return "LOCAL" },
	"CURRENT_CLIENT":    func(*rewriter) string { return "Go" },
	"CURRENT_STATEMENT": func(r *rewriter) string { return r.src },
	"LAST_QUERY_ID":     func(r *rewriter) string { return r.s.lastQueryID },
	"CURRENT_TRANSACTION": func(r *rewriter) string {
		if !r.s.inTx {
			return ""
		}
		return strconv.FormatInt(r.s.txID, 10)
	},
}

// bareWords call a function without parentheses.
var bareWords = wordSet("CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP LOCALTIME LOCALTIMESTAMP CURRENT_USER")

// fact gives the value of a function that knows the session or the time, and false if the
// name is none of theirs.
func (r *rewriter) fact(name string) (string, bool) {
	if form, ok := moments[name]; ok {
		moment := "now()"
		if !r.deferred {
			moment = timeLiteral(r.now.Truncate(time.Millisecond), "TIMESTAMPTZ") // as an account has it
		}
		return fmt.Sprintf(form, "CAST("+moment+" AS TIMESTAMPTZ)"), true
	}
	value, ok := facts[name]
	switch {
	case !ok:
		return "", false
	case r.deferred:
		r.fail(unsupported("%s in a view or in a default", name))
	default:
		if v := value(r); v != "" {
			return quoteString(v), true
		}
	}
	return "CAST(NULL AS VARCHAR)", true
}
