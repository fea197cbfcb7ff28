package duckdb

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// bindLiteral writes a bind value as a literal of DuckDB's dialect. A literal
// takes its type from the place where it stands, as Snowflake's bind values do:
// a TEXT value compares with a DATE column, a FIXED one can be a LIMIT.
func bindLiteral(typ string, value *string, format string) (string, error) {
	if value == nil {
		return "NULL", nil
	}
	v := *value
	bad := func() (string, error) {
		return "", sfError("002063", "22023", "SQL compilation error:\nBind value '%s' is not a valid %s.", v, typ)
	}
	// gosnowflake marks binaries as JSON too, and sends an empty one as a list.
	isBinary := strings.EqualFold(typ, "BINARY")
	if isBinary && v == "[]" {
		v = ""
	}
	if format == "json" && !isBinary {
		return "parse_json(" + quoteString(v) + ")", nil
	}
	switch strings.ToUpper(typ) {
	case "FIXED":
		if !isNumber(v) || strings.ContainsAny(v, "eE") {
			return bad()
		}
		return parenthesized(v), nil
	case "REAL":
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return bad()
		}
		return "'" + strconv.FormatFloat(f, 'g', -1, 64) + "'::DOUBLE", nil
	case "TEXT", "CHAR", "VARCHAR", "DECFLOAT", "":
		return quoteString(v), nil
	case "BOOLEAN":
		switch strings.ToLower(v) {
		case "true", "1":
			return "TRUE", nil
		case "false", "0":
			return "FALSE", nil
		}
		return bad()
	case "DATE", "TIME", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
		t, err := bindTime(strings.ToUpper(typ), v)
		if err != nil {
			return bad()
		}
		switch strings.ToUpper(typ) {
		case "DATE":
			return "DATE '" + dateLiteral(t) + "'", nil
		case "TIME":
			return "TIME '" + t.Format("15:04:05.000000") + "'", nil
		case "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
			return timestampLiteral(t, true), nil
		}
		return timestampLiteral(t, false), nil
	case "BINARY":
		if !isHex(v) {
			return bad()
		}
		return "from_hex('" + v + "')", nil
	case "VARIANT", "OBJECT", "ARRAY":
		return "parse_json(" + quoteString(v) + ")", nil
	}
	return "", unsupported("bind type %s", typ)
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
		return parseTimeText(v)
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

func parseTimeText(v string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02", "15:04:05.999999999", time.RFC3339Nano, "2006-01-02 15:04:05.999999999 -07:00", "2006-01-02 15:04:05.999999999"} {
		if t, err := time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("not a time: %q", v)
}

// dateLiteral and timestampLiteral write what DuckDB reads, with microseconds:
// what is finer is cut off.
func dateLiteral(t time.Time) string {
	if y := t.Year(); y <= 0 {
		return fmt.Sprintf("%04d-%02d-%02d (BC)", 1-y, t.Month(), t.Day())
	}
	return fmt.Sprintf("%04d-%02d-%02d", t.Year(), t.Month(), t.Day())
}

func timestampLiteral(t time.Time, zoned bool) string {
	t = t.UTC()
	text := dateLiteral(t)
	if zoned {
		return "TIMESTAMPTZ '" + text + " " + t.Format("15:04:05.000000") + "+00'"
	}
	return "TIMESTAMP '" + text + " " + t.Format("15:04:05.000000") + "'"
}

// A bindTable holds the values of an array bind, column by column, ready for
// DuckDB's appender.
type bindTable struct {
	types  []duck.TypeInfo
	names  []string
	exprs  []string // how the statement reads a column
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
		typ, expr, decode := arrayColumn(strings.ToUpper(b.Type), b.Format, `"binds$".`+name)
		info, err := duck.NewTypeInfo(typ)
		if err != nil {
			return nil, err
		}
		col := make([]driver.Value, rows)
		for r := range rows {
			v := b.Value
			if b.Array != nil {
				v = b.Array[r]
			}
			if v == nil {
				continue
			}
			if col[r], err = decode(*v); err != nil {
				return nil, sfError("002063", "22023", "SQL compilation error:\nBind value '%s' is not a valid %s.", *v, b.Type)
			}
		}
		t.types, t.names = append(t.types, info), append(t.names, name)
		t.exprs, t.values = append(t.exprs, expr), append(t.values, col)
	}
	return t, nil
}

// arrayColumn chooses how a bind type travels through the appender.
func arrayColumn(typ, format, ref string) (duck.Type, string, func(string) (driver.Value, error)) {
	text := func(v string) (driver.Value, error) { return v, nil }
	timed := func(v string) (driver.Value, error) {
		t, err := bindTime(typ, v)
		return t.UTC(), err
	}
	if format == "json" && typ != "BINARY" {
		typ = "VARIANT"
	}
	switch typ {
	case "FIXED":
		// As text: the values may have 38 digits.
		return duck.TYPE_VARCHAR, "sf_whole(" + ref + ")", func(v string) (driver.Value, error) {
			if _, ok := new(big.Int).SetString(v, 10); !ok {
				return nil, fmt.Errorf("not an integer: %q", v)
			}
			return v, nil
		}
	case "REAL":
		return duck.TYPE_DOUBLE, ref, func(v string) (driver.Value, error) { return strconv.ParseFloat(v, 64) }
	case "BOOLEAN":
		return duck.TYPE_BOOLEAN, ref, func(v string) (driver.Value, error) { return strconv.ParseBool(v) }
	case "DATE":
		return duck.TYPE_DATE, ref, timed
	case "TIME":
		return duck.TYPE_TIME, ref, timed
	case "TIMESTAMP", "TIMESTAMP_NTZ":
		return duck.TYPE_TIMESTAMP, ref, timed
	case "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
		return duck.TYPE_TIMESTAMP_TZ, ref, timed
	case "BINARY":
		return duck.TYPE_BLOB, ref, func(v string) (driver.Value, error) { return hex.DecodeString(v) }
	case "VARIANT", "OBJECT", "ARRAY":
		return duck.TYPE_VARCHAR, "parse_json(" + ref + ")", text
	}
	return duck.TYPE_VARCHAR, ref, text
}
