package duckdb

import (
	"strconv"
	"strings"
	"time"
)

// many is for a function that takes any number of arguments.
const many = 1 << 10

// A form is how the calls of a function are written that a macro cannot express.
type form struct {
	names     string // of one function
	low, high int    // how many arguments it takes
	write     func(*call) string
}

// forms are filled in an init function because the entries look at them.
var forms = map[string]form{}

func init() {
	list := []form{
		{"LISTAGG", 1, 2, listagg}, {"ARRAY_AGG", 1, 1, arrayAgg}, {"PERCENTILE_CONT", 1, 1, percentile},
		{"COUNT", 0, many, count}, {"APPROX_COUNT_DISTINCT HLL", 0, many, countDistinct}, {"CORR REGR_SLOPE", 0, many, orNull},
		{"RANDSTR", 2, 2, randstr}, {"GREATEST LEAST", 1, many, extreme}, {"DECODE", 3, many, decode}, {"HASH", 0, many, hash},
		{"OBJECT_CONSTRUCT OBJECT_CONSTRUCT_KEEP_NULL", 0, many, objectConstruct}, {"ARRAY_CONSTRUCT", 0, many, arrayConstruct},
		{"GET_PATH GET", 2, 2, getPath}, {"SEQ1 SEQ2 SEQ4 SEQ8", 0, many, sequence}, {"UNIFORM", 2, 3, uniform},
		{"REGEXP_LIKE RLIKE", 2, 3, regexpLike}, {"SYSTEM$WAIT", 1, 2, systemWait},
		{"MIN_BY", 0, many, as("arg_min_null")}, {"MAX_BY", 0, many, as("arg_max_null")}, {"CHAR", 0, many, as("chr")}, {"TYPEOF", 0, many, as("sf_typeof")}, {"POSITION", 2, 3, as("charindex")},
		// DuckDB's AVG is a double; decimals stay exact. It interpolates in the type of the
		// column: MEDIAN widens decimals by three digits. Its COUNT_IF is NULL without rows.
		{"AVG", 1, 1, func(c *call) string { return "sf_quotient(" + c.write("SUM") + ", " + c.write("COUNT") + ")" }},
		{"MEDIAN", 1, 1, func(c *call) string { return c.write("MEDIAN", "("+c.args[0]+") * 1.000") }},
		{"COUNT_IF", 1, 1, func(c *call) string { return c.write("COUNT", "CASE WHEN "+c.args[0]+" THEN 1 END") }},
		{"CONCAT", 0, many, func(c *call) string { return "(" + strings.Join(texted(c.args), " || ") + ")" }},
		{"CONCAT_WS", 2, many, func(c *call) string {
			return "(" + strings.Join(texted(c.args[1:]), " || "+texted(c.args)[0]+" || ") + ")"
		}},
		{"ARRAY_TO_STRING", 2, 2, func(c *call) string { return c.write("array_to_string", "sf_texts("+c.args[0]+")", c.args[1]) }},
		{"IDENTIFIER", 1, 1, func(c *call) string { return c.r.identified(c.args[0]).sql() }},
	}
	for _, f := range append(append(list, temporalForms()...), conversionForms()...) {
		for _, name := range strings.Fields(f.names) {
			forms[name] = f
		}
	}
}

func as(name string) func(*call) string { return func(c *call) string { return c.write(name) } }

func texted(args []string) []string {
	return each(args, func(a string) string { return "sf_text(" + a + ")" })
}

func listagg(c *call) string {
	sep := "''"
	if len(c.args) == 2 {
		sep = c.args[1]
	}
	text := "sf_text(" + c.args[0] + ")"
	if c.distinct == "" {
		return "COALESCE(string_agg(" + text + ", " + sep + " " + c.within + ")" + c.over + ", '')"
	}
	// DuckDB does not order the distinct values of an aggregate by what they
	// were before they became text: sort a list of them.
	sorted, ok := "", true
	switch c.within {
	case "":
	case "ORDER BY " + c.args[0], "ORDER BY " + c.args[0] + " ASC":
		sorted = "list_sort"
	case "ORDER BY " + c.args[0] + " DESC":
		sorted = "list_reverse_sort"
	default:
		ok = false
	}
	if !ok || c.over != "" {
		return c.refuse("LISTAGG(DISTINCT x) in an order of its own or as a window function")
	}
	return "COALESCE(array_to_string(list_transform(" + sorted + "(list(DISTINCT " + c.args[0] + ")), lambda e: sf_text(e)), " + sep + "), '')"
}

func arrayAgg(c *call) string {
	order := c.within
	if c.distinct != "" && order != "" {
		return c.refuse("ARRAY_AGG(DISTINCT x) with an order")
	}
	return "sf_array(string_agg(" + c.distinct + "sf_element(" + c.args[0] + "), ',' " + order + ")" + c.over + ")"
}

func percentile(c *call) string {
	expr, ok := strings.CutPrefix(c.within, "ORDER BY ")
	if !ok {
		return c.refuse("PERCENTILE_CONT without WITHIN GROUP (ORDER BY ...)")
	}
	direction := ""
	for _, d := range []string{" ASC", " DESC"} {
		if e, ok := strings.CutSuffix(expr, d); ok {
			expr, direction = e, d
		}
	}
	c.within = "ORDER BY (" + expr + ") * 1.000" + direction
	return c.write("PERCENTILE_CONT")
}

// count handles COUNT(DISTINCT a, b), which skips rows where one is NULL.
func count(c *call) string {
	if len(c.args) <= 1 {
		return c.write("COUNT")
	}
	if c.distinct == "" {
		return c.refuse("COUNT of several columns without DISTINCT")
	}
	return c.write("COUNT", "CASE WHEN "+strings.Join(c.args, " IS NOT NULL AND ")+" IS NOT NULL THEN row("+strings.Join(c.args, ", ")+") END")
}

// orNull is for what has no value over equal numbers: DuckDB says NaN.
func orNull(c *call) string { return "NULLIF(" + c.write(c.name) + ", 'NaN'::DOUBLE)" }

// countDistinct is exact where Snowflake estimates: DuckDB's own estimate is
// off by more than Snowflake's.
func countDistinct(c *call) string {
	c.distinct = "DISTINCT "
	return count(c)
}

// maxLargeText is the longest text there is; a session can ask for no more than maxText.
const maxLargeText = 134217728

func randstr(c *call) string {
	limit := maxLargeText
	if strings.EqualFold(c.r.s.param("ENABLE_LARGE_VARCHAR_AND_BINARY_IN_RESULT"), "false") {
		limit = maxText
	}
	if n, err := strconv.Atoi(c.args[0]); err == nil && n > limit {
		c.r.fail(sfError("100067", "54000", "The data length in result column %s is not supported by this version of the client. Actual length %d exceeds supported length of %d.",
			c.name, n, limit))
	}
	return c.write(c.name)
}

// extreme is NULL as soon as one argument is.
func extreme(c *call) string {
	return "CASE WHEN " + strings.Join(c.args, " IS NULL OR ") + " IS NULL THEN NULL ELSE system.main." + strings.ToLower(c.name) + "(" + strings.Join(c.args, ", ") + ") END"
}

func decode(c *call) string {
	var b strings.Builder
	b.WriteString("CASE")
	i := 1
	for ; i+1 < len(c.args); i += 2 {
		b.WriteString(" WHEN (" + c.args[0] + ") IS NOT DISTINCT FROM (" + c.args[i] + ") THEN " + c.args[i+1])
	}
	if i < len(c.args) {
		b.WriteString(" ELSE " + c.args[i])
	}
	b.WriteString(" END")
	return b.String()
}

// hash is not Snowflake's function, only its range: a signed number. Like it, it
// is never NULL, and HASH(*) takes all columns.
func hash(c *call) string {
	for i, a := range c.args {
		if a == "*" {
			c.args[i] = "*COLUMNS(c -> NOT contains(c, chr(31)))"
		}
	}
	return "CAST(system.main.hash(" + strings.Join(c.args, ", ") + ") >> 1 AS DECIMAL(19,0))"
}

func objectConstruct(c *call) string {
	if len(c.args)%2 != 0 || len(c.args) == 1 && c.args[0] == "*" {
		return c.refuse("%s with these arguments", c.name)
	}
	pairs := make([]string, 0, len(c.args)/2)
	for i := 0; i < len(c.args); i += 2 {
		element := c.element(i + 1)
		if c.name == "OBJECT_CONSTRUCT_KEEP_NULL" {
			element = "COALESCE(" + element + ", 'null')"
		}
		pairs = append(pairs, "sf_pair("+c.args[i]+", "+element+")")
	}
	return "sf_object([" + strings.Join(pairs, ", ") + "]::VARCHAR[])"
}

// arrayConstruct refuses NULL, which would be an undefined element: JSON has none.
func arrayConstruct(c *call) string {
	elements := make([]string, len(c.args))
	for i := range c.args {
		elements[i] = "COALESCE(" + c.element(i) + ", sf_undefined())"
	}
	return "sf_array(array_to_string([" + strings.Join(elements, ", ") + "]::VARCHAR[], ','))"
}

// getPath reads GET_PATH(v, 'a.b[0]') and GET(v, 'a') or GET(v, 0).
func getPath(c *call) string {
	path := ""
	if arg := c.toks[1]; c.name == "GET" && len(arg) == 1 && arg[0].step() != "" {
		path = joinPath([]string{arg[0].step()})
	} else {
		sub := newReader(c.r.s, c.text(1))
		if path = sub.path(); sub.end() != nil {
			return c.refuse("path '%s'", sub.src)
		}
	}
	return "sf_get(" + c.args[0] + ", " + quoteString(path) + ")"
}

func sequence(c *call) string {
	if c.r.generators != 1 {
		return c.refuse("%s without exactly one TABLE(GENERATOR(...))", c.name)
	}
	return sequenceColumn
}

func uniform(c *call) string {
	low, high := c.args[0], c.args[1]
	if strings.ContainsAny(low+high, ".eE") || strings.Contains(low+high, "DOUBLE") {
		return "(" + low + " + system.main.random() * (" + high + " - " + low + "))"
	}
	return "CAST(floor(" + low + " + system.main.random() * (" + high + " - " + low + " + 1)) AS BIGINT)"
}

// regexpLike takes the flags that DuckDB's regular expressions have too.
func regexpLike(c *call) string {
	if len(c.args) == 3 && strings.Trim(c.text(2), "cims") != "" {
		return c.refuse("%s with these flags", c.name)
	}
	return c.write("regexp_full_match")
}

// maxWait bounds SYSTEM$WAIT.
const maxWait = 3600

func systemWait(c *call) string {
	n, err := strconv.ParseFloat(c.args[0], 64)
	unit := "SECONDS"
	if len(c.args) == 2 {
		unit = c.text(1)
	}
	d, known := waitUnits[strings.ToUpper(unit)]
	if err != nil || !known || n < 0 || n*d.Seconds() > maxWait {
		return c.refuse("SYSTEM$WAIT with these arguments")
	}
	c.r.wait += time.Duration(n * float64(d))
	return "'waited " + strings.ToLower(c.args[0]+" "+unit) + "'"
}
