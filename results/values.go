package results

import (
	"bytes"
	"database/sql/driver"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// This file gives the values of a column as plain rows would.

// The scan types of numbers where the program asks for WithHigherPrecision.
var bigInt, bigFloat = reflect.TypeFor[*big.Int](), reflect.TypeFor[*big.Float]()

// value gives the values of a column for its rows that are not NULL.
func (b *Batch) value(i int, scan reflect.Type) (func(row int) driver.Value, error) {
	c := b.Columns[i]
	switch {
	case c.Type == "FIXED":
		return b.numbers(i, scan)
	case c.Type == "TIME":
		values, ok := b.original.Column(i).(*array.Time64)
		if !ok {
			return nil, c.unexpected(b.original.Column(i))
		}
		// gosnowflake v2.1.0 calls them nanoseconds, whatever they are.
		unit := time.Duration(math.Pow10(9 - c.Scale))
		return func(row int) driver.Value { return time.Time{}.Add(time.Duration(values.Value(row)) * unit) }, nil
	case c.isTimestamp():
		return func(row int) driver.Value {
			t, _ := timestamp(b.original, b.part, c, i, row, b.zone)
			return t
		}, nil
	}
	switch values := b.original.Column(i).(type) {
	case *array.String: // TEXT, and the JSON of VARIANT, OBJECT and ARRAY
		return func(row int) driver.Value { return strings.Clone(values.Value(row)) }, nil
	case *array.Float64:
		return func(row int) driver.Value { return values.Value(row) }, nil
	case *array.Boolean:
		return func(row int) driver.Value { return values.Value(row) }, nil
	case *array.Date32:
		return func(row int) driver.Value { return time.Unix(int64(values.Value(row))*86400, 0).UTC() }, nil
	case *array.Binary:
		return func(row int) driver.Value { return bytes.Clone(values.Value(row)) }, nil
	}
	return nil, c.unexpected(b.original.Column(i))
}

// numbers gives the values of a NUMBER.
func (b *Batch) numbers(i int, scan reflect.Type) (func(row int) driver.Value, error) {
	c := b.Columns[i]
	var integer func(row int) int64
	switch values := b.original.Column(i).(type) {
	case *array.Int8:
		integer = func(row int) int64 { return int64(values.Value(row)) }
	case *array.Int16:
		integer = func(row int) int64 { return int64(values.Value(row)) }
	case *array.Int32:
		integer = func(row int) int64 { return int64(values.Value(row)) }
	case *array.Int64:
		integer = values.Value
	case *array.Decimal128:
		return wide(values.Value, c.Scale, scan), nil
	default:
		return nil, c.unexpected(b.original.Column(i))
	}
	switch {
	case scan == bigInt:
		return func(row int) driver.Value { return big.NewInt(integer(row)) }, nil
	case scan == bigFloat:
		return func(row int) driver.Value { return quotient(big.NewInt(integer(row)), c.Scale) }, nil
	case c.Scale == 0:
		return func(row int) driver.Value { return strconv.FormatInt(integer(row), 10) }, nil
	}
	return func(row int) driver.Value { return point(strconv.FormatInt(integer(row), 10), c.Scale) }, nil
}

// wide gives the values of a NUMBER that comes as a decimal.
func wide(value func(int) decimal128.Num, scale int, scan reflect.Type) func(row int) driver.Value {
	switch {
	case scan == bigInt:
		return func(row int) driver.Value { return value(row).BigInt() }
	case scan == bigFloat:
		return func(row int) driver.Value { return quotient(value(row).BigInt(), scale) }
	}
	return func(row int) driver.Value { return point(value(row).BigInt().String(), scale) }
}

// quotient is n without its scale, in the precision that gosnowflake gives it.
func quotient(n *big.Int, scale int) *big.Float {
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return new(big.Float).Quo(new(big.Float).SetInt(n), new(big.Float).SetInt(power))
}

// point places the point in a number of so many digits behind it.
func point(digits string, scale int) string {
	if scale == 0 {
		return digits
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if short := scale + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	at := len(digits) - scale
	return sign + digits[:at] + "." + digits[at:]
}
