package duckdb

import (
	"database/sql/driver"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// A bindType says how the values of one of Snowflake's bind types reach DuckDB: as a text, and
// as an expression of that text.
type bindType struct {
	text func(typ, v string) (string, error)
	expr string
}

var (
	plainBind = bindType{func(_, v string) (string, error) { return v, nil }, "%s"}
	jsonBind  = bindType{plainBind.text, "parse_json(%s)"}
)

// wholeBind reads a checked number. DuckDB takes some ten microseconds to read a text as a
// DECIMAL(38,0), and far less as a BIGINT: what surely is one is read so.
const wholeBind = "CASE WHEN length(%[1]s) < 19 AND NOT contains(%[1]s, '.') THEN CAST(CAST(%[1]s AS BIGINT) AS HUGEINT) ELSE sf_whole(%[1]s) END"

var bindTypes = map[string]bindType{
	"FIXED": {fixedBind, wholeBind}, "REAL": {realBind, "CAST(%s AS DOUBLE)"}, "BOOLEAN": {boolBind, "CAST(%s AS BOOLEAN)"},
	"TEXT": plainBind, "CHAR": plainBind, "VARCHAR": plainBind, "DECFLOAT": plainBind, "": plainBind,
	"DATE": {timeBind, "CAST(%s AS DATE)"}, "TIME": {timeBind, "CAST(%s AS TIME)"},
	"TIMESTAMP": {timeBind, "CAST(%s AS TIMESTAMP)"}, "TIMESTAMP_NTZ": {timeBind, "CAST(%s AS TIMESTAMP)"},
	"TIMESTAMP_LTZ": {timeBind, "CAST(%s AS TIMESTAMPTZ)"}, "TIMESTAMP_TZ": {timeBind, "CAST(%s AS TIMESTAMPTZ)"},
	"BINARY": {binaryBind, "from_hex(%s)"}, "VARIANT": jsonBind, "OBJECT": jsonBind, "ARRAY": jsonBind,
}

// bindTypeOf finds the type of a bind. gosnowflake marks binaries as JSON too.
func bindTypeOf(b snowtest.Bind) (name string, t bindType, err error) {
	name = strings.ToUpper(b.Type)
	t, ok := bindTypes[name]
	switch {
	case !ok:
		return name, t, unsupported("bind type %s", b.Type)
	case b.Format == "json" && name != "BINARY":
		t = jsonBind
	}
	return name, t, nil
}

func badBind(b snowtest.Bind, v string) error {
	return sfError("002063", "22023", "SQL compilation error:\nBind value '%s' is not a valid %s.", v, b.Type)
}

func fixedBind(_, v string) (string, error) {
	if !isNumber(v) || strings.ContainsAny(v, "eE") {
		return "", fmt.Errorf("not a number: %q", v)
	}
	return v, nil
}

func realBind(_, v string) (string, error) {
	f, err := strconv.ParseFloat(v, 64)
	return strconv.FormatFloat(f, 'g', -1, 64), err
}

func boolBind(_, v string) (string, error) {
	b, err := strconv.ParseBool(strings.ToLower(v))
	return strconv.FormatBool(b), err
}

// binaryBind reads hexadecimal digits; gosnowflake sends an empty value as a list.
func binaryBind(_, v string) (string, error) {
	if v == "[]" {
		v = ""
	}
	if !isHex(v) {
		return "", fmt.Errorf("not hexadecimal: %q", v)
	}
	return v, nil
}

func timeBind(typ, v string) (string, error) {
	t, err := bindTime(typ, v)
	base := sfType{name: typ}.base()
	return strings.Trim(strings.TrimPrefix(timeLiteral(t, base), base+" "), "'"), err
}

// bindLiteral writes a bind value as a literal of DuckDB's dialect. A literal
// takes its type from the place where it stands, as Snowflake's bind values do:
// a TEXT value compares with a DATE column, a FIXED one can be a LIMIT.
func (r *rewriter) bindLiteral(b snowtest.Bind, value *string) (string, *static, error) {
	if value == nil {
		return "NULL", nil, nil
	}
	name, t, err := bindTypeOf(b)
	if err != nil {
		return "", nil, err
	}
	text, err := t.text(name, *value)
	switch {
	case err != nil:
		return "", nil, badBind(b, *value)
	case name == "FIXED" && b.Format != "json":
		return parenthesized(text), nil, nil
	}
	rest, is := bindRest(name, *value)
	if is != nil {
		is.rest = rest
	}
	return fmt.Sprintf(t.expr, r.constant(text)), is, nil
}

// bindRest gives the rest of a bind value whose type has one, and says what the value is.
func bindRest(name, v string) (string, *static) {
	typ := sfType{name: name}
	if !typ.exact() {
		return "", nil
	}
	t, err := bindTime(name, v)
	if err != nil {
		return "", nil
	}
	return strconv.Itoa(restOf(t, name == "TIMESTAMP_TZ")), &static{typ: typ}
}

func isNumber(v string) bool {
	_, ok := new(big.Float).SetString(v)
	return ok && strings.Trim(v, "+-0123456789.eE") == ""
}

// parenthesized keeps the sign of a negative number from joining an operator
// before it.
func parenthesized(v string) string {
	if strings.HasPrefix(v, "-") {
		return "(" + v + ")"
	}
	return v
}

// bindTime decodes gosnowflake's encodings (valueToString and
// convertTimeToTimeStamp in its converter.go): a DATE counts milliseconds since
// 1970, a TIME nanoseconds since midnight, a timestamp nanoseconds since 1970,
// and TIMESTAMP_TZ adds a space and the offset in minutes plus 1440. The range
// of a timestamp exceeds 64 bits. Rows that went over a stage come as RFC 3339
// texts.
func bindTime(typ, v string) (time.Time, error) {
	if strings.Contains(v, ":") || strings.Count(v, "-") >= 2 {
		t, _, ok := parseTime(v, typ, "")
		if !ok {
			return t, fmt.Errorf("not a time: %q", v)
		}
		return t, nil
	}
	offset := 1440
	if typ == "TIMESTAMP_TZ" {
		if ns, min, ok := strings.Cut(v, " "); ok {
			n, err := strconv.Atoi(min)
			if err != nil {
				return time.Time{}, err
			}
			v, offset = ns, n
		}
	}
	n, ok := new(big.Int).SetString(v, 10)
	if !ok {
		return time.Time{}, fmt.Errorf("not a number: %q", v)
	}
	unit := big.NewInt(1e9)
	if typ == "DATE" {
		unit = big.NewInt(1e3)
	}
	sec, rest := new(big.Int), new(big.Int)
	sec.DivMod(n, unit, rest)
	if !sec.IsInt64() {
		return time.Time{}, fmt.Errorf("out of range: %q", v)
	}
	nsec := rest.Int64()
	if typ == "DATE" {
		nsec *= 1e6
	}
	t := time.Unix(sec.Int64(), nsec).UTC()
	if offset != 1440 {
		t = t.In(time.FixedZone("", (offset-1440)*60))
	}
	return t, nil
}

// dateLiteral and timeLiteral write what DuckDB reads, with microseconds:
// what is finer is cut off.
func dateLiteral(t time.Time) string {
	if y := t.Year(); y <= 0 {
		return fmt.Sprintf("%04d-%02d-%02d (BC)", 1-y, t.Month(), t.Day())
	}
	return fmt.Sprintf("%04d-%02d-%02d", t.Year(), t.Month(), t.Day())
}

// timeLiteral writes a value of one of DuckDB's types.
func timeLiteral(t time.Time, typ string) string {
	if strings.HasPrefix(typ, "TIMESTAMP") {
		t = t.UTC()
	}
	return typ + " '" + timeTextOf(t, typ) + pick(typ == "TIMESTAMPTZ", "+00", "") + "'"
}

// A bindTable holds the values of an array bind, column by column, as texts for DuckDB's
// appender.
type bindTable struct {
	names  []string
	exprs  []string // how the statement reads a column
	is     []*static
	values [][]driver.Value
	rows   int
}

// arrayLength gives the number of rows of an array bind and false for binds of
// single values.
func arrayLength(binds []snowtest.Bind) (int, bool, error) {
	n, found := 0, false
	for _, b := range binds {
		if b.Array == nil {
			continue
		}
		if found && len(b.Array) != n {
			return 0, false, sfError("002063", "22023", "SQL compilation error:\nThe bind arrays have %d and %d values.", n, len(b.Array))
		}
		n, found = len(b.Array), true
	}
	return n, found, nil
}

// newBindTable decodes the arrays. A bind of a single value becomes a column of
// equal values.
func newBindTable(binds []snowtest.Bind, rows int) (*bindTable, error) {
	t := &bindTable{rows: rows}
	for i, b := range binds {
		name := "C" + strconv.Itoa(i+1)
		typ, how, err := bindTypeOf(b)
		if err != nil {
			return nil, err
		}
		col, rests := make([]driver.Value, rows), make([]driver.Value, rows)
		var is *static
		for r := range rows {
			v := b.Value
			if b.Array != nil {
				v = b.Array[r]
			}
			if v == nil {
				continue
			}
			if col[r], err = how.text(typ, *v); err != nil {
				return nil, badBind(b, *v)
			}
			if rest, of := bindRest(typ, *v); of != nil {
				rests[r], is = rest, of
			}
		}
		if is != nil {
			t.names, t.values = append(t.names, restName(name)), append(t.values, rests)
			is.rest = `CAST("binds$".` + quoteIdent(restName(name)) + " AS INTEGER)"
		}
		t.names, t.values, t.is = append(t.names, name), append(t.values, col), append(t.is, is)
		t.exprs = append(t.exprs, fmt.Sprintf(how.expr, `"binds$".`+name))
	}
	return t, nil
}
