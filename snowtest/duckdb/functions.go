package duckdb

import (
	"strconv"
	"strings"
)

// rewrites holds the functions that a macro cannot express. It is filled in an
// init function because the entries look at it.
var rewrites map[string]func(*call) string

func init() {
	rewrites = map[string]func(*call) string{
		"AVG": average, "LISTAGG": listagg, "ARRAY_AGG": arrayAgg, "MEDIAN": median, "PERCENTILE_CONT": percentile,
		"COUNT": count, "APPROX_COUNT_DISTINCT": countDistinct, "HLL": countDistinct,
		"RANDSTR": randstr, "CONCAT": concat, "CONCAT_WS": concatWS, "GREATEST": extreme, "LEAST": extreme, "DECODE": decode, "HASH": hash,
		"OBJECT_CONSTRUCT": objectConstruct, "OBJECT_CONSTRUCT_KEEP_NULL": objectConstruct, "ARRAY_CONSTRUCT": arrayConstruct, "ARRAY_TO_STRING": arrayToString,
		"GET_PATH": getPath, "GET": getPath, "TYPEOF": func(c *call) string { return c.write("sf_typeof") },
		"SEQ1": sequence, "SEQ2": sequence, "SEQ4": sequence, "SEQ8": sequence, "UNIFORM": uniform,
		"REGEXP_LIKE": regexpLike, "RLIKE": regexpLike, "IDENTIFIER": identifier, "SYSTEM$WAIT": systemWait,
		"COUNT_IF": countIf, "CORR": orNull, "REGR_SLOPE": orNull,
		"MIN_BY": func(c *call) string { return c.write("arg_min_null") }, "MAX_BY": func(c *call) string { return c.write("arg_max_null") },
		"CHAR": func(c *call) string { return c.write("chr") }, "CONVERT_TIMEZONE": convertTimezone,
	}
	for _, name := range []string{"DATEADD", "TIMEADD", "TIMESTAMPADD"} {
		rewrites[name] = dateAdd
	}
	for _, name := range []string{"DATEDIFF", "TIMEDIFF", "TIMESTAMPDIFF"} {
		rewrites[name] = dateDiff
	}
	rewrites["DATE_TRUNC"], rewrites["DATE_PART"], rewrites["LAST_DAY"], rewrites["TRUNC"] = dateTrunc, datePartCall, lastDay, truncate
	for name := range contextNames {
		rewrites[name] = func(c *call) string {
			text, _ := c.r.contextFunction(c.name)
			return text
		}
	}
	initConversions()
}

// average keeps decimals exact: DuckDB's avg is a double.
func average(c *call) string {
	if !c.want(1, 1) {
		return ""
	}
	return "sf_quotient(" + c.write("SUM") + ", " + c.write("COUNT") + ")"
}

func listagg(c *call) string {
	if !c.want(1, 2) {
		return ""
	}
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
		c.r.fail(unsupported("LISTAGG(DISTINCT x) in an order of its own or as a window function"))
	}
	return "COALESCE(array_to_string(list_transform(" + sorted + "(list(DISTINCT " + c.args[0] + ")), lambda e: sf_text(e)), " + sep + "), '')"
}

func arrayAgg(c *call) string {
	if !c.want(1, 1) {
		return ""
	}
	order := c.within
	if c.distinct != "" && order != "" {
		c.r.fail(unsupported("ARRAY_AGG(DISTINCT x) with an order"))
	}
	return "sf_array(string_agg(" + c.distinct + "sf_element(" + c.args[0] + "), ',' " + order + ")" + c.over + ")"
}

// median and percentile widen decimals by three digits: DuckDB interpolates in
// the type of the column.
func median(c *call) string {
	if !c.want(1, 1) {
		return ""
	}
	return c.write("MEDIAN", "("+c.args[0]+") * 1.000")
}

func percentile(c *call) string {
	expr, ok := strings.CutPrefix(c.within, "ORDER BY ")
	if !c.want(1, 1) || !ok {
		c.r.fail(unsupported("PERCENTILE_CONT without WITHIN GROUP (ORDER BY ...)"))
		return ""
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
		c.r.fail(unsupported("COUNT of several columns without DISTINCT"))
	}
	return c.write("COUNT", "CASE WHEN "+strings.Join(c.args, " IS NOT NULL AND ")+" IS NOT NULL THEN row("+strings.Join(c.args, ", ")+") END")
}

// countIf counts 0 where there are no rows; DuckDB's gives NULL.
func countIf(c *call) string {
	if !c.want(1, 1) {
		return ""
	}
	return c.write("COUNT", "CASE WHEN "+c.args[0]+" THEN 1 END")
}

// orNull is for what has no value over equal numbers: DuckDB says NaN.
func orNull(c *call) string {
	return "NULLIF(" + c.write(c.name) + ", 'NaN'::DOUBLE)"
}

// countDistinct is exact where Snowflake estimates: DuckDB's own estimate is
// off by more than Snowflake's.
func countDistinct(c *call) string {
	c.distinct = "DISTINCT "
	return count(c)
}

func concat(c *call) string {
	parts := make([]string, len(c.args))
	for i, a := range c.args {
		parts[i] = "sf_text(" + a + ")"
	}
	return "(" + strings.Join(parts, " || ") + ")"
}

func concatWS(c *call) string {
	if !c.want(2, len(c.args)) {
		return ""
	}
	parts := make([]string, len(c.args)-1)
	for i, a := range c.args[1:] {
		parts[i] = "sf_text(" + a + ")"
	}
	return "(" + strings.Join(parts, " || sf_text("+c.args[0]+") || ") + ")"
}

// maxLargeText is the longest text there is; a session can ask for no more than maxText.
const maxLargeText = 134217728

func randstr(c *call) string {
	if !c.want(2, 2) {
		return ""
	}
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
	if !c.want(1, len(c.args)) {
		return ""
	}
	return "CASE WHEN " + strings.Join(c.args, " IS NULL OR ") + " IS NULL THEN NULL ELSE system.main." + strings.ToLower(c.name) + "(" + strings.Join(c.args, ", ") + ") END"
}

func decode(c *call) string {
	if !c.want(3, len(c.args)) {
		return ""
	}
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
			c.args[i] = "*COLUMNS(*)"
		}
	}
	return "CAST(system.main.hash(" + strings.Join(c.args, ", ") + ") >> 1 AS DECIMAL(19,0))"
}

func objectConstruct(c *call) string {
	if len(c.args)%2 != 0 || len(c.args) == 1 && c.args[0] == "*" {
		c.r.fail(unsupported("%s with these arguments", c.name))
		return ""
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

func arrayToString(c *call) string {
	if !c.want(2, 2) {
		return ""
	}
	return c.write("array_to_string", "sf_texts("+c.args[0]+")", c.args[1])
}

// getPath reads GET_PATH(v, 'a.b[0]') and GET(v, 'a') or GET(v, 0).
func getPath(c *call) string {
	if !c.want(2, 2) {
		return ""
	}
	arg := c.toks[1]
	if len(arg) == 1 && c.name == "GET" {
		switch arg[0].kind {
		case tNumber:
			if !strings.ContainsAny(arg[0].text, ".eE") {
				return "sf_get(" + c.args[0] + ", " + quoteString(joinPath([]string{arg[0].text})) + ")"
			}
		case tString:
			return "sf_get(" + c.args[0] + ", " + quoteString(joinPath([]string{quoteJSON(arg[0].text)})) + ")"
		}
	}
	path, ok := c.literal(1)
	if !ok {
		c.r.fail(unsupported("%s with a path that is not a literal", c.name))
		return ""
	}
	toks, err := tokenize(path)
	if err != nil || len(toks) == 0 {
		c.r.fail(unsupported("path '%s'", path))
		return ""
	}
	sub := &rewriter{src: path, toks: toks, s: c.r.s}
	jsonPath := sub.path()
	if sub.err != nil || sub.i != len(toks) {
		c.r.fail(unsupported("path '%s'", path))
	}
	return "sf_get(" + c.args[0] + ", " + quoteString(jsonPath) + ")"
}

func sequence(c *call) string {
	if c.r.generators != 1 {
		c.r.fail(unsupported("%s without exactly one TABLE(GENERATOR(...))", c.name))
	}
	return sequenceColumn
}

func uniform(c *call) string {
	if !c.want(2, 3) {
		return ""
	}
	low, high := c.args[0], c.args[1]
	if strings.ContainsAny(low+high, ".eE") || strings.Contains(low+high, "DOUBLE") {
		return "(" + low + " + system.main.random() * (" + high + " - " + low + "))"
	}
	return "CAST(floor(" + low + " + system.main.random() * (" + high + " - " + low + " + 1)) AS BIGINT)"
}

// regexpLike takes the flags that DuckDB's regular expressions have too.
func regexpLike(c *call) string {
	if !c.want(2, 3) {
		return ""
	}
	if len(c.args) == 3 {
		if flags, ok := c.literal(2); !ok || strings.Trim(flags, "cims") != "" {
			c.r.fail(unsupported("%s with these flags", c.name))
		}
	}
	return c.write("regexp_full_match")
}

// identifier reads IDENTIFIER('db.s.t').
func identifier(c *call) string {
	if !c.want(1, 1) {
		return ""
	}
	return c.r.identified(c.args[0]).sql()
}

// maxWait bounds SYSTEM$WAIT.
const maxWait = 3600

func systemWait(c *call) string {
	if !c.want(1, 2) {
		return ""
	}
	n, err := strconv.ParseFloat(c.args[0], 64)
	unit, ok := "SECONDS", true
	if len(c.args) == 2 {
		unit, ok = c.literal(1)
	}
	d, known := waitUnits[strings.ToUpper(unit)]
	if err != nil || !ok || !known || n < 0 || n*d.Seconds() > maxWait {
		c.r.fail(unsupported("SYSTEM$WAIT with these arguments"))
		return ""
	}
	c.r.wait += scaleDuration(n, d)
	return "'waited " + strings.ToLower(c.args[0]+" "+unit) + "'"
}
