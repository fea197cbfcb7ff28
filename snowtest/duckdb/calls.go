package duckdb

import (
	"regexp"
	"strings"
)

// A call is one function call, its arguments rewritten.
type call struct {
	r        *rewriter
	name     string
	distinct string // "DISTINCT " or empty
	args     []string
	toks     [][]token // the arguments as the client wrote them
	is       []*static // what is known of them
	within   string    // what stands in WITHIN GROUP (...)
	nulls    string    // IGNORE NULLS or RESPECT NULLS
	over     string    // the window, with OVER; empty for none
}

func (r *rewriter) call(name token) (piece string, variant bool) {
	if name.word("CAST", "TRY_CAST") {
		return r.castCall(name.text == "TRY_CAST")
	}
	c := &call{r: r, name: name.text}
	c.read()
	if r.err != nil {
		return "", false
	}
	if f, ok := forms[c.name]; ok {
		if c.want(f.low, f.high) {
			piece = f.write(c)
		}
	} else if sameFunctions[c.name] || macroFunctions[c.name] {
		piece = c.write(c.name)
	} else if text, ok := r.fact(c.name); ok {
		piece = text
	} else if fn := r.s.routine(object{name: c.name}, len(c.args)); fn != nil && fn.table == nil {
		return r.expand(fn, c.args), fn.returns.semi()
	} else {
		r.fail(compileError("002140", "42601", "Unknown function %s.", c.name))
	}
	is := resultOf[c.name]
	return piece, is != nil && is.typ.semi()
}

func (c *call) refuse(format string, args ...any) string {
	c.r.fail(unsupported(format, args...))
	return ""
}

// sameFunctions mean in DuckDB what they mean in Snowflake. A function that is
// neither here nor in macros.sql nor rewritten is unknown, even if DuckDB has
// one of that name: it might answer something else.
var sameFunctions = wordSet(`ABS SIGN SQRT CBRT EXP LN POWER POW DEGREES RADIANS PI FACTORIAL
	SIN COS TAN COT ASIN ACOS ATAN ATAN2 SINH COSH TANH ASINH ACOSH ATANH
	COALESCE NULLIF LENGTH LOWER UPPER TRIM LTRIM RTRIM REVERSE CONTAINS ASCII TRANSLATE BIT_LENGTH MD5 SHA1
	YEAR QUARTER MONTH DAY DAYOFMONTH DAYOFWEEK DAYOFYEAR WEEK WEEKOFYEAR HOUR MINUTE SECOND
	SUM MIN MAX ANY_VALUE MODE STDDEV STDDEV_POP STDDEV_SAMP VARIANCE VAR_POP VAR_SAMP COVAR_POP COVAR_SAMP
	REGR_AVGX REGR_AVGY REGR_COUNT REGR_INTERCEPT REGR_R2 REGR_SXX REGR_SXY REGR_SYY PERCENTILE_DISC GROUPING GROUPING_ID
	ROW_NUMBER RANK DENSE_RANK PERCENT_RANK CUME_DIST NTILE LAG LEAD FIRST_VALUE LAST_VALUE NTH_VALUE`)

// macroFunctions are those that macros.sql defines for clients.
var macroFunctions = func() map[string]bool {
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^CREATE MACRO "?(\w+)`).FindAllStringSubmatch(macros, -1) {
		if !strings.HasPrefix(m[1], "sf_") {
			names[strings.ToUpper(m[1])] = true
		}
	}
	return names
}()

// resultOf says what some functions yield, besides what DuckDB knows.
var resultOf = func() map[string]*static {
	m := map[string]*static{}
	for typ, functions := range map[string]string{
		"VARIANT":       "PARSE_JSON TRY_PARSE_JSON GET_PATH GET TO_VARIANT",
		"OBJECT":        "OBJECT_CONSTRUCT OBJECT_CONSTRUCT_KEEP_NULL TO_OBJECT AS_OBJECT",
		"ARRAY":         "ARRAY_CONSTRUCT ARRAY_AGG TO_ARRAY SPLIT OBJECT_KEYS AS_ARRAY",
		"TIMESTAMP_LTZ": "CURRENT_TIMESTAMP GETDATE LOCALTIMESTAMP SYSTIMESTAMP",
		"TIMESTAMP_TZ":  "TO_TIMESTAMP_TZ TRY_TO_TIMESTAMP_TZ",
	} {
		for name := range wordSet(functions) {
			m[name] = &static{typ: sfType{name: typ}}
		}
	}
	return m
}()

// separators are the words that may stand where other functions have a comma.
var separators = map[string]string{"EXTRACT": "FROM", "POSITION": "IN"}

func (c *call) read() {
	r := c.r
	argument := func() {
		if len(c.args) == 0 && r.accept("DISTINCT") {
			c.distinct = "DISTINCT "
		}
		start := r.i
		if r.peek().is("*") && (r.at(1).is(")") || r.at(1).is(",")) {
			r.i++
			c.arg("*", nil)
		} else {
			c.arg(r.region(func(t token) bool { return t.is(",") || t.word(separators[c.name]) }), r.is)
		}
		c.toks = append(c.toks, r.toks[min(start, len(r.toks)):min(r.i, len(r.toks))])
	}
	r.bracketed("(", func() {
		if argument(); r.accept(separators[c.name]) {
			argument()
		}
	})
	for r.err == nil {
		switch t := r.peek(); {
		case t.word("WITHIN") && r.at(1).word("GROUP"):
			r.i += 2
			c.within = r.parens()
		case t.word("FILTER") && r.at(1).is("("):
			r.fail(unsupported("FILTER"))
		case t.word("IGNORE", "RESPECT") && r.at(1).word("NULLS"):
			c.nulls = " " + t.text + " NULLS"
			r.i += 2
		case t.word("OVER"):
			r.i++
			c.readWindow()
		default:
			return
		}
	}
}

func (c *call) arg(text string, is *static) { c.args, c.is = append(c.args, text), append(c.is, is) }

// element writes an argument as JSON text. Where its type is known, the text does not hold
// the argument more than once: constants nest.
func (c *call) element(i int) string {
	switch is := c.is[i]; {
	case is != nil && is.typ.semi():
		return "struct_extract(" + c.args[i] + ", 'json_')"
	case is != nil && is.typ.base() == "DECIMAL":
		return "CAST(" + c.args[i] + " AS VARCHAR)"
	case is != nil && is.typ.base() == "VARCHAR":
		return "CAST(system.main.to_json(" + c.args[i] + ") AS VARCHAR)"
	}
	return "sf_element(" + c.args[i] + ")"
}

// readWindow reads what follows OVER. FIRST_VALUE, LAST_VALUE and NTH_VALUE look
// at the whole partition in Snowflake, unless a frame says otherwise.
func (c *call) readWindow() {
	r := c.r
	if r.peek().ident() {
		c.over = " OVER " + joinName([]token{r.take()})
		return
	}
	start := r.i
	r.expectOp("(")
	spec := r.region(nil)
	framed := false
	for _, t := range r.toks[start:min(r.i, len(r.toks))] {
		framed = framed || t.word("ROWS", "RANGE", "GROUPS")
	}
	r.expectOp(")")
	switch c.name {
	case "FIRST_VALUE", "LAST_VALUE", "NTH_VALUE":
		if !framed {
			spec += " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
		}
	}
	c.over = " OVER (" + strings.TrimSpace(spec) + ")"
}

func (c *call) write(name string, args ...string) string {
	if args == nil {
		args = c.args
	}
	text := name + "(" + c.distinct + strings.Join(args, ", ") + c.nulls + ")"
	if c.within != "" {
		text += " WITHIN GROUP (" + c.within + ")"
	}
	return text + c.over
}

func (c *call) want(low, high int) bool {
	switch n := len(c.args); {
	case n < low:
		c.r.fail(sfError("000938", "22023", "SQL compilation error: error line 1 at position 0\nnot enough arguments for function [%s], expected %d, got %d", c.name, low, n))
	case n > high:
		c.r.fail(sfError("000939", "22023", "SQL compilation error: error line 1 at position 0\ntoo many arguments for function [%s] expected %d, got %d", c.name, high, n))
	}
	return c.r.err == nil
}

func (c *call) literal(i int) (string, bool) {
	if i < len(c.toks) && len(c.toks[i]) == 1 && c.toks[i][0].kind == tString {
		return c.toks[i][0].text, true
	}
	return "", false
}

// text gives an argument that has to be a literal.
func (c *call) text(i int) string {
	text, ok := c.literal(i)
	if !ok {
		c.refuse("%s with an argument that is not a literal", c.name)
	}
	return text
}

// temporal gives an argument that is a date or a timestamp: Snowflake takes
// literals and bind values that are texts as timestamps, DuckDB cannot tell.
func (c *call) temporal(i int) string {
	if i < len(c.toks) && len(c.toks[i]) == 1 && strings.HasPrefix(c.args[i], "'") {
		return "sf_timestamp(" + c.args[i] + ")"
	}
	return c.args[i]
}
