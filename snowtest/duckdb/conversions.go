package duckdb

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// initConversions adds TO_CHAR, TO_DATE and their like to the rewrites: what
// depends on a format or on a precision that must be a literal.
func initConversions() {
	for _, name := range []string{"TO_CHAR", "TO_VARCHAR"} {
		rewrites[name] = toChar
	}
	for _, try := range []bool{false, true} {
		prefix := "TO_"
		if try {
			prefix = "TRY_TO_"
		}
		for _, name := range []string{"NUMBER", "DECIMAL", "NUMERIC"} {
			rewrites[prefix+name] = func(c *call) string { return toNumber(c, try) }
		}
		for _, name := range []string{"DATE", "TIME", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ"} {
			rewrites[prefix+name] = func(c *call) string { return toTemporal(c, name, try) }
		}
		rewrites[prefix+"DOUBLE"] = func(c *call) string { return toType(c, "FLOAT", try) }
		rewrites[prefix+"BOOLEAN"] = func(c *call) string { return toType(c, "BOOLEAN", try) }
		rewrites[prefix+"BINARY"] = func(c *call) string { return toBinary(c, try) }
	}
	rewrites["DATE"] = func(c *call) string { return toTemporal(c, "DATE", false) }
	rewrites["TIME"] = func(c *call) string { return toTemporal(c, "TIME", false) }
	for _, name := range []string{"VARIANT", "OBJECT", "ARRAY"} {
		rewrites["TO_"+name] = func(c *call) string { return toType(c, name, false) }
	}
}

// toChar formats dates and timestamps. Numbers have no format here.
func toChar(c *call) string {
	if !c.want(1, 2) {
		return ""
	}
	if len(c.args) == 1 {
		return "sf_text(" + c.args[0] + ")"
	}
	if f, ok := c.literal(1); ok && strings.ToUpper(f) == "HEX" {
		return "hex(" + c.args[0] + ")"
	}
	return "strftime(" + c.args[0] + ", " + c.format(1, written) + ")"
}

func toType(c *call, name string, try bool) string {
	if !c.want(1, 1) {
		return ""
	}
	return sfType{name: name}.cast(c.args[0], c.variantArg(), try)
}

// variantArg reports whether the first argument is known to be a variant.
func (c *call) variantArg() bool {
	return strings.HasPrefix(c.args[0], "sf_get(") || strings.HasPrefix(c.args[0], "parse_json(")
}

func toNumber(c *call, try bool) string {
	if !c.want(1, 4) {
		return ""
	}
	typ := sfType{name: "NUMBER"}
	for i := 1; i < len(c.args); i++ {
		n, err := strconv.Atoi(c.args[i])
		if err != nil {
			c.r.fail(unsupported("%s with a format", c.name))
			return ""
		}
		typ.args = append(typ.args, n)
	}
	if p, s := typ.decimal(); len(typ.args) > 2 || p < 1 || p > 38 || s < 0 || s > p {
		c.r.fail(compileError("002015", "42601", "invalid precision or scale for function %s", c.name))
	}
	return typ.cast(c.args[0], c.variantArg(), try)
}

func toTemporal(c *call, name string, try bool) string {
	if !c.want(1, 2) {
		return ""
	}
	x, typ := c.args[0], sfType{name: name}
	if len(c.args) == 2 {
		if f, ok := c.literal(1); !ok || strings.ToUpper(f) != "AUTO" {
			parse := "strptime"
			if try {
				parse = "try_strptime"
			}
			return typ.cast("CAST("+parse+"(sf_text("+x+"), "+c.format(1, parsed)+") AS TIMESTAMP)", false, try)
		}
	}
	return typ.cast(x, false, try)
}

func toBinary(c *call, try bool) string {
	if !c.want(1, 2) {
		return ""
	}
	format := "HEX"
	if len(c.args) == 2 {
		f, ok := c.literal(1)
		if !ok {
			c.r.fail(unsupported("%s with a format that is not a literal", c.name))
		}
		format = strings.ToUpper(f)
	}
	switch format {
	case "HEX":
		return sfType{name: "BINARY"}.cast(c.args[0], false, try)
	case "UTF-8", "UTF8":
		return "encode(" + c.args[0] + ")"
	case "BASE64":
		return "from_base64(" + c.args[0] + ")"
	}
	c.r.fail(unsupported("binary format '%s'", format))
	return ""
}

// contextNames are the functions that know the session. Those marked true may
// stand without parentheses.
var contextNames = map[string]bool{
	"CURRENT_DATE": true, "CURRENT_TIME": true, "CURRENT_TIMESTAMP": true, "LOCALTIME": true, "LOCALTIMESTAMP": true,
	"CURRENT_USER": true, "GETDATE": false, "SYSDATE": false, "SYSTIMESTAMP": false,
	"CURRENT_DATABASE": false, "CURRENT_SCHEMA": false, "CURRENT_SCHEMAS": false, "CURRENT_ROLE": false, "CURRENT_WAREHOUSE": false,
	"CURRENT_SESSION": false, "CURRENT_VERSION": false, "CURRENT_ACCOUNT": false, "CURRENT_REGION": false,
	"CURRENT_CLIENT": false, "CURRENT_STATEMENT": false, "CURRENT_TRANSACTION": false, "LAST_QUERY_ID": false,
}

func contextWord(name string) bool { return contextNames[name] }

// contextFunction gives the value of CURRENT_DATE and its like as a literal:
// DuckDB's own stand still within a transaction, Snowflake's do not.
func (r *rewriter) contextFunction(name string) (string, bool) {
	s := r.s
	text := func(v string) (string, bool) {
		if v == "" {
			return "CAST(NULL AS VARCHAR)", true
		}
		return quoteString(v), true
	}
	at := r.now.Truncate(time.Millisecond) // as an account has it
	now := timestampLiteral(at, true)
	if r.deferred {
		now = "now()"
		switch name {
		case "CURRENT_TIMESTAMP", "GETDATE", "LOCALTIMESTAMP", "SYSTIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIME":
		case "SYSDATE":
			return "timezone('UTC', now())", true
		default:
			r.fail(unsupported("%s in a view or in a default", name))
			return "", false
		}
	}
	switch name {
	case "CURRENT_TIMESTAMP", "GETDATE", "LOCALTIMESTAMP", "SYSTIMESTAMP":
		return "CAST(" + now + " AS TIMESTAMPTZ)", true
	case "SYSDATE":
		return timestampLiteral(at, false), true
	case "CURRENT_DATE":
		return "CAST(CAST(" + now + " AS TIMESTAMPTZ) AS DATE)", true
	case "CURRENT_TIME", "LOCALTIME":
		return "CAST(CAST(CAST(" + now + " AS TIMESTAMPTZ) AS TIMESTAMP) AS TIME)", true
	case "CURRENT_USER":
		return text(strings.ToUpper(s.info.User))
	case "CURRENT_DATABASE":
		return text(s.database)
	case "CURRENT_SCHEMA":
		return text(s.schema)
	case "CURRENT_SCHEMAS":
		return text(fmt.Sprintf(`["%s.%s"]`, s.database, s.schema))
	case "CURRENT_ROLE":
		return text(s.role)
	case "CURRENT_WAREHOUSE":
		return text(s.warehouse)
	case "CURRENT_SESSION":
		return text(strconv.FormatInt(s.info.ID, 10))
	case "CURRENT_VERSION":
		return text(version)
	case "CURRENT_ACCOUNT":
		return text("SNOWTEST")
	case "CURRENT_REGION":
		return text("LOCAL")
	case "CURRENT_CLIENT":
		return text("Go")
	case "CURRENT_STATEMENT":
		return text(r.src)
	case "CURRENT_TRANSACTION":
		if !s.inTx {
			return text("")
		}
		return text(strconv.FormatInt(s.txID, 10))
	case "LAST_QUERY_ID":
		return text(s.lastQueryID)
	}
	r.fail(unsupported("%s", name))
	return "", false
}

// version is what CURRENT_VERSION() answers.
const version = "9.99.0"
