package snowtest

import (
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// The encodings are those that gosnowflake reads (arrowToValue in converter.go
// of v2.1.0). Where it reads several, the choice is Snowflake's:
//
//   - fixed: whole numbers of 1, 2, 4 or 8 bytes, or decimals of 16, without
//     their point; the narrowest that holds the values of the part, whatever the
//     precision of the column. Clients that take the type of the first part for
//     that of all fail, with this server as with an account.
//   - time: units of the scale, 4 bytes up to a scale of 4, else 8.
//   - timestamps: units of the scale in 8 bytes up to a scale of 7, else seconds
//     and nanoseconds; timestamp_tz has the offset besides, and units up to a
//     scale of 3 only.

var mem = memory.DefaultAllocator

func newColumnWriter(c Column) columnWriter {
	switch c.Type {
	case "fixed":
		if c.Scale < 0 || c.Scale > 38 {
			return nil
		}
		return &fixedWriter{scale: int(c.Scale)}
	case "real":
		b := array.NewFloat64Builder(mem)
		return &plainWriter{b, 8, func(text string) error {
			f, err := strconv.ParseFloat(text, 64)
			b.Append(f)
			return reason(err)
		}}
	case "boolean":
		b := array.NewBooleanBuilder(mem)
		return &plainWriter{b, 1, func(text string) error {
			v, err := strconv.ParseBool(text)
			b.Append(v)
			return reason(err)
		}}
	case "date":
		b := array.NewDate32Builder(mem)
		return &plainWriter{b, 4, func(text string) error {
			days, err := strconv.ParseInt(text, 10, 32)
			b.Append(arrow.Date32(days))
			return reason(err)
		}}
	case "text", "variant", "object", "array":
		b := array.NewStringBuilder(mem)
		return &plainWriter{b, int(c.ByteLength), func(text string) error {
			b.Append(text)
			return nil
		}}
	case "binary":
		b := array.NewBinaryBuilder(mem, arrow.BinaryTypes.Binary)
		return &plainWriter{b, int(c.ByteLength), func(text string) error {
			v, err := hex.DecodeString(text)
			b.Append(v)
			return err
		}}
	case "time", "timestamp_ntz", "timestamp_ltz", "timestamp_tz":
		if c.Scale < 0 || c.Scale > 9 {
			return nil
		}
		return &timeWriter{kind: c.Type, scale: int(c.Scale)}
	}
	return nil
}

// reason is why strconv did not read a value, without the value.
func reason(err error) error {
	var e *strconv.NumError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// plainWriter is for the types with one encoding.
type plainWriter struct {
	builder array.Builder
	width   int
	write   func(text string) error
}

func (w *plainWriter) null()                     { w.builder.AppendNull() }
func (w *plainWriter) add(text string) error     { return w.write(text) }
func (w *plainWriter) flush() (arrow.Array, int) { return w.builder.NewArray(), w.width }

// fixedWriter collects numbers without their point.
type fixedWriter struct {
	scale    int
	valid    []bool
	values   []int64
	min, max int64
	wide     []decimal128.Num // in place of values, once one needs more than 8 bytes
}

func (w *fixedWriter) null() { w.put(0, false) }

func (w *fixedWriter) put(v int64, valid bool) {
	w.valid = append(w.valid, valid)
	if w.wide != nil {
		w.wide = append(w.wide, decimal128.FromI64(v))
		return
	}
	w.values = append(w.values, v)
	w.min, w.max = min(w.min, v), max(w.max, v)
}

func (w *fixedWriter) add(text string) error {
	if v, ok := smallDecimal(text, w.scale); ok {
		w.put(v, true)
		return nil
	}
	v, err := largeDecimal(text, w.scale)
	switch {
	case err != nil:
		return err
	case v.BigInt().IsInt64():
		w.put(v.BigInt().Int64(), true)
		return nil
	case w.wide == nil:
		w.wide = make([]decimal128.Num, len(w.values), max(cap(w.values), len(w.values)+1))
		for i, v := range w.values {
			w.wide[i] = decimal128.FromI64(v)
		}
	}
	w.valid, w.wide = append(w.valid, true), append(w.wide, v)
	return nil
}

func (w *fixedWriter) flush() (values arrow.Array, width int) {
	switch {
	case w.wide != nil:
		b := array.NewDecimal128Builder(mem, &arrow.Decimal128Type{Precision: 38, Scale: int32(w.scale)})
		b.AppendValues(w.wide, w.valid)
		values, width = b.NewArray(), 16
	case w.min >= math.MinInt8 && w.max <= math.MaxInt8:
		b := array.NewInt8Builder(mem)
		b.AppendValues(narrow[int8](w.values), w.valid)
		values, width = b.NewArray(), 1
	case w.min >= math.MinInt16 && w.max <= math.MaxInt16:
		b := array.NewInt16Builder(mem)
		b.AppendValues(narrow[int16](w.values), w.valid)
		values, width = b.NewArray(), 2
	case w.min >= math.MinInt32 && w.max <= math.MaxInt32:
		b := array.NewInt32Builder(mem)
		b.AppendValues(narrow[int32](w.values), w.valid)
		values, width = b.NewArray(), 4
	default:
		b := array.NewInt64Builder(mem)
		b.AppendValues(w.values, w.valid)
		values, width = b.NewArray(), 8
	}
	*w = fixedWriter{scale: w.scale, valid: w.valid[:0], values: w.values[:0]}
	return values, width
}

func narrow[T int8 | int16 | int32](values []int64) []T {
	list := make([]T, len(values))
	for i, v := range values {
		list[i] = T(v)
	}
	return list
}

// smallDecimal reads a number of up to 18 digits at its scale, which nearly all
// are.
func smallDecimal(text string, scale int) (v int64, ok bool) {
	digits := strings.TrimPrefix(text, "-")
	count, fraction := 0, -1
	for i := 0; i < len(digits); i++ {
		switch c := digits[i]; {
		case c >= '0' && c <= '9':
			v = v*10 + int64(c-'0')
			count++
			if fraction >= 0 {
				fraction++
			}
		case c == '.' && fraction < 0:
			fraction = 0
		default:
			return 0, false
		}
	}
	missing := scale - max(fraction, 0)
	if count == 0 || missing < 0 || count+missing > 18 {
		return 0, false
	}
	for range missing {
		v *= 10
	}
	if len(digits) < len(text) {
		v = -v
	}
	return v, true
}

var (
	errDigits = errors.New("it has more digits than the scale of the column")
	errNumber = errors.New("it is not a number")
	errRange  = errors.New("it is out of range")
)

func largeDecimal(text string, scale int) (decimal128.Num, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > scale {
		return decimal128.Num{}, errDigits
	}
	v, ok := new(big.Int).SetString(whole+fraction+strings.Repeat("0", scale-len(fraction)), 10)
	if !ok {
		return decimal128.Num{}, errNumber
	}
	if v.BitLen() > 127 {
		return decimal128.Num{}, errRange
	}
	n := decimal128.FromBigInt(v)
	if !n.FitsInPrecision(38) {
		return n, errRange
	}
	return n, nil
}

// timeWriter collects times and timestamps.
type timeWriter struct {
	kind  string
	scale int
	valid []bool
	sec   []int64
	nsec  []int32
	zone  []int32 // of timestamp_tz
}

func (w *timeWriter) null() { w.put(0, 0, 0, false) }

func (w *timeWriter) put(sec int64, nsec, zone int32, valid bool) {
	w.valid, w.sec, w.nsec = append(w.valid, valid), append(w.sec, sec), append(w.nsec, nsec)
	if w.kind == "timestamp_tz" {
		w.zone = append(w.zone, zone)
	}
}

func (w *timeWriter) add(text string) error {
	var zone int64
	if w.kind == "timestamp_tz" {
		stamp, offset, ok := strings.Cut(text, " ")
		if !ok {
			return errors.New("the offset is missing")
		}
		var err error
		if zone, err = strconv.ParseInt(offset, 10, 32); err != nil {
			return reason(err)
		}
		text = stamp
	}
	sec, nsec, err := seconds(text)
	switch {
	case err != nil:
		return err
	case nsec%pow10(9-w.scale) != 0:
		return errDigits
	case sec < -maxSeconds || sec > maxSeconds || w.kind == "time" && (sec < 0 || sec >= 86400):
		return errRange
	}
	w.put(sec, int32(nsec), int32(zone), true)
	return nil
}

// maxSeconds is the end of the year 9999 and more, and fits into 8 bytes in
// units of a scale of 7.
const maxSeconds = 900_000_000_000

// seconds reads seconds with a fraction. The fraction counts upwards, also
// before 1970.
func seconds(text string) (sec, nsec int64, err error) {
	whole, fraction, _ := strings.Cut(text, ".")
	if sec, err = strconv.ParseInt(whole, 10, 64); err != nil {
		return 0, 0, reason(err)
	}
	if fraction == "" {
		return sec, 0, nil
	}
	if len(fraction) > 9 {
		return 0, 0, errDigits
	}
	n, err := strconv.ParseUint(fraction, 10, 32)
	if err != nil {
		return 0, 0, reason(err)
	}
	return sec, int64(n) * pow10(9-len(fraction)), nil
}

func pow10(n int) int64 {
	v := int64(1)
	for range n {
		v *= 10
	}
	return v
}

func (w *timeWriter) flush() (values arrow.Array, width int) {
	defer func() { w.valid, w.sec, w.nsec, w.zone = w.valid[:0], w.sec[:0], w.nsec[:0], w.zone[:0] }()
	switch {
	case w.kind == "time" && w.scale <= 4:
		b := array.NewInt32Builder(mem)
		b.AppendValues(narrow[int32](w.units()), w.valid)
		return b.NewArray(), 4
	case w.kind == "time", w.kind != "timestamp_tz" && w.scale <= 7:
		b := array.NewInt64Builder(mem)
		b.AppendValues(w.units(), w.valid)
		return b.NewArray(), 8
	case w.kind == "timestamp_tz" && w.scale <= 3:
		return w.structOf([]string{"epoch", "timezone"}, w.units(), w.zone), 8
	case w.kind == "timestamp_tz":
		return w.structOf([]string{"epoch", "fraction", "timezone"}, w.sec, w.nsec, w.zone), 16
	}
	return w.structOf([]string{"epoch", "fraction"}, w.sec, w.nsec), 16
}

// units are the values as whole numbers of the column's scale.
func (w *timeWriter) units() []int64 {
	list := make([]int64, len(w.sec))
	per, of := pow10(w.scale), pow10(9-w.scale)
	for i, sec := range w.sec {
		list[i] = sec*per + int64(w.nsec[i])/of
	}
	return list
}

func (w *timeWriter) structOf(names []string, epoch []int64, others ...[]int32) arrow.Array {
	fields := []arrow.Field{{Name: names[0], Type: arrow.PrimitiveTypes.Int64, Nullable: true}}
	for _, name := range names[1:] {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int32, Nullable: true})
	}
	b := array.NewStructBuilder(mem, arrow.StructOf(fields...))
	b.AppendValues(w.valid)
	b.FieldBuilder(0).(*array.Int64Builder).AppendValues(epoch, w.valid)
	for i, values := range others {
		b.FieldBuilder(i+1).(*array.Int32Builder).AppendValues(values, w.valid)
	}
	return b.NewArray()
}
