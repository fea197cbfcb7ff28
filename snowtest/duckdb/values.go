package duckdb

import (
	"bytes"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/snowtether/snowtether/snowtest"
)

const (
	maxText   = 16777216 // length of VARCHAR without a length
	maxBinary = 8388608  // length of BINARY without a length
)

// variantType is how a VARIANT, an OBJECT and an ARRAY are stored: JSON text in
// a type of its own, so that what treats it as a plain string fails instead of
// comparing quoted with unquoted text.
const (
	variantType  = "STRUCT(" + variantField + " VARCHAR)"
	variantField = "json_"
)

// A converter appends a value of DuckDB's in Snowflake's text form.
type converter func(dst []byte, v driver.Value) ([]byte, error)

// columnOf describes a result column in Snowflake's terms and says how its
// values are written.
func columnOf(name string, info duck.TypeInfo) (snowtest.Column, converter, error) {
	col := snowtest.Column{Name: name, Nullable: true}
	var write converter
	switch typ := info.InternalType(); typ {
	case duck.TYPE_BOOLEAN:
		col.Type, write = "boolean", of(boolText)
	case duck.TYPE_TINYINT, duck.TYPE_UTINYINT, duck.TYPE_SMALLINT, duck.TYPE_USMALLINT, duck.TYPE_INTEGER, duck.TYPE_UINTEGER,
		duck.TYPE_SQLNULL, duck.TYPE_BIGINT, duck.TYPE_UBIGINT, duck.TYPE_HUGEINT:
		col.Type, col.Precision, write = "fixed", wholeDigits[typ], intText
	case duck.TYPE_DECIMAL:
		d, ok := info.Details().(*duck.DecimalDetails)
		if !ok {
			return col, nil, unsupported("decimal type without details")
		}
		col.Type, col.Precision, col.Scale, write = "fixed", int64(d.Width), int64(d.Scale), of(decimalText)
	case duck.TYPE_DOUBLE:
		col.Type, write = "real", of(realText)
	case duck.TYPE_VARCHAR:
		col.Type, col.Length, col.ByteLength, write = "text", maxText, maxText, of(plainText)
	case duck.TYPE_BLOB:
		col.Type, col.Length, col.ByteLength, write = "binary", maxBinary, maxBinary, of(binaryText)
	case duck.TYPE_DATE:
		col.Type, write = "date", of(dateText)
	case duck.TYPE_TIME:
		col.Type, col.Scale = "time", 9
	case duck.TYPE_TIMESTAMP, duck.TYPE_TIMESTAMP_S, duck.TYPE_TIMESTAMP_MS, duck.TYPE_TIMESTAMP_NS:
		col.Type, col.Scale = "timestamp_ntz", 9
	case duck.TYPE_TIMESTAMP_TZ:
		col.Type, col.Scale = "timestamp_ltz", 9
	default:
		if !isVariant(info) {
			return col, nil, unsupported("result column %s of a type that Snowflake does not have", name)
		}
		col.Type, write = "variant", of(variantText)
	}
	if write == nil {
		write = timeWriter(col, nil)
	}
	return col, write, nil
}

// wholeDigits are the digits of DuckDB's integers. What counts and ranks yields a BIGINT:
// NUMBER(18,0) in Snowflake.
var wholeDigits = map[duck.Type]int64{
	duck.TYPE_TINYINT: 3, duck.TYPE_UTINYINT: 3, duck.TYPE_SMALLINT: 5, duck.TYPE_USMALLINT: 5, duck.TYPE_INTEGER: 10, duck.TYPE_UINTEGER: 10,
	duck.TYPE_SQLNULL: 10, duck.TYPE_BIGINT: 18, duck.TYPE_UBIGINT: 18, duck.TYPE_HUGEINT: 38,
}

func isVariant(info duck.TypeInfo) bool {
	d, ok := info.Details().(*duck.StructDetails)
	return ok && len(d.Entries) == 1 && d.Entries[0].Name() == variantField && d.Entries[0].Info().InternalType() == duck.TYPE_VARCHAR
}

func wrongType(v driver.Value) error { return fmt.Errorf("unexpected value of type %T", v) }

// of makes a converter of values of one type of Go's.
func of[T any](write func(dst []byte, v T) ([]byte, error)) converter {
	return func(dst []byte, v driver.Value) ([]byte, error) {
		t, ok := v.(T)
		if !ok {
			return dst, wrongType(v)
		}
		return write(dst, t)
	}
}

func boolText(dst []byte, b bool) ([]byte, error) {
	if b {
		return append(dst, '1'), nil
	}
	return append(dst, '0'), nil
}

func intText(dst []byte, v driver.Value) ([]byte, error) {
	switch n := v.(type) {
	case int32:
		return strconv.AppendInt(dst, int64(n), 10), nil
	case int64:
		return strconv.AppendInt(dst, n, 10), nil
	case *big.Int:
		from := len(dst)
		dst = n.Append(dst, 10)
		return dst, inRange(dst[from:], 0)
	case int16, int8, uint8, uint16, uint32, uint64:
		return fmt.Append(dst, n), nil
	}
	return dst, wrongType(v)
}

// inRange refuses numbers of more than 38 digits, which DuckDB's sums can have.
func inRange(number []byte, scale uint8) error {
	if digits := bytes.TrimLeft(number, "-0."); len(digits)-bytes.Count(digits, []byte(".")) <= 38 {
		return nil
	}
	return sfError("100046", "22003", "Number out of representable range: type FIXED[SB16](38,%d){nullable}, value %s", scale, number)
}

func decimalText(dst []byte, d duck.Decimal) ([]byte, error) {
	from := len(dst)
	if d.Value.IsInt64() {
		dst = strconv.AppendInt(dst, d.Value.Int64(), 10)
	} else {
		dst = d.Value.Append(dst, 10)
	}
	digits := from
	if dst[from] == '-' {
		digits++
	}
	for d.Scale > 0 && len(dst)-digits <= int(d.Scale) {
		dst = slices.Insert(dst, digits, '0')
	}
	if d.Scale > 0 {
		dst = slices.Insert(dst, len(dst)-int(d.Scale), '.')
	}
	return dst, inRange(dst[from:], d.Scale)
}

func realText(dst []byte, f float64) ([]byte, error) {
	if math.IsInf(f, 0) {
		return append(dst, pick(f > 0, "inf", "-inf")...), nil
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64), nil
}

func plainText(dst []byte, s string) ([]byte, error) { return append(dst, s...), nil }

func binaryText(dst []byte, b []byte) ([]byte, error) {
	return append(dst, bytes.ToUpper(hex.AppendEncode(nil, b))...), nil
}

func dateText(dst []byte, t time.Time) ([]byte, error) {
	// DuckDB's dates are midnights in UTC, so the division is exact.
	return strconv.AppendInt(dst, t.Unix()/86400, 10), nil
}

// timeWriter writes times and timestamps with the digits of their column: seconds
// since midnight or since 1970. Before 1970 the seconds are rounded down and the
// fraction still counts upwards: so gosnowflake's extractTimestamp reads them. A
// TIMESTAMP_TZ without an offset of its own has that of the session's time zone. Other types have no such writer.
func timeWriter(c snowtest.Column, zone *time.Location) converter {
	if c.Type != "time" && !strings.HasPrefix(c.Type, "timestamp") {
		return nil
	}
	return of(func(dst []byte, t time.Time) ([]byte, error) {
		sec := t.Unix()
		if c.Type == "time" {
			sec = int64(t.Hour()*3600 + t.Minute()*60 + t.Second())
		}
		dst = fraction(dst, sec, t.Nanosecond(), int(c.Scale))
		if c.Type == "timestamp_tz" {
			if t.Location().String() != restZone {
				t = t.In(zone)
			}
			_, offset := t.Zone()
			dst = strconv.AppendInt(append(dst, ' '), int64(offset/60+1440), 10)
		}
		return dst, nil
	})
}

func fraction(dst []byte, sec int64, nsec, digits int) []byte {
	dst = strconv.AppendInt(dst, sec, 10)
	if digits > 0 {
		dst = append(dst, '.')
	}
	for unit := 100_000_000; digits > 0; unit, digits = unit/10, digits-1 {
		dst = append(dst, byte('0'+nsec/unit%10))
	}
	return dst
}

// variantText writes semi-structured values as Snowflake does, indented by two.
func variantText(dst []byte, m map[string]any) ([]byte, error) {
	s, ok := m[variantField].(string)
	if !ok {
		return dst, wrongType(m[variantField])
	}
	if s != "" && (s[0] == '{' || s[0] == '[') {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(s), "", "  "); err == nil {
			return append(dst, b.Bytes()...), nil
		}
	}
	return append(dst, s...), nil
}
