package results

import (
	"database/sql/driver"
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/cenkalti/backoff/v4"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"
)

// This file makes Arrow's own times of the forms in which Snowflake sends times and timestamps. The
// form belongs to a part of the result and not to its column: an integer, or a struct.

// shortestTime is the scale of the coarsest TIME that comes as 64 bits; a coarser one comes as 32,
// which gosnowflake v2.1.0 cannot convert.
const shortestTime = 5

// columnsOf describes the columns. Scales of times come with the parts only; an empty result can do
// without.
func columnsOf(rows driver.Rows, batches []*arrowbatches.ArrowBatch) ([]Column, error) {
	types, ok := rows.(interface {
		driver.RowsColumnTypeDatabaseTypeName
		driver.RowsColumnTypePrecisionScale
		driver.RowsColumnTypeNullable
	})
	if !ok {
		return nil, backoff.Permanent(fmt.Errorf("the rows, a %T, do not tell the types of their columns", rows))
	}
	names := rows.Columns()
	columns := make([]Column, len(names))
	for i, name := range names {
		c := Column{Name: name, Type: types.ColumnTypeDatabaseTypeName(i), Scale: 9}
		if c.Type == "FIXED" {
			precision, scale, _ := types.ColumnTypePrecisionScale(i)
			c.Precision, c.Scale = int(precision), int(scale)
		} else if len(batches) > 0 {
			c.Scale = int(batches[0].GetRowTypes()[i].Scale)
		}
		c.Nullable, _ = types.ColumnTypeNullable(i)
		if c.Type == "TIME" && c.Scale < shortestTime {
			return nil, backoff.Permanent(fmt.Errorf("column %s: gosnowflake cannot convert a TIME(%d), which is less than microseconds; cast it to TIME(9) in the query", name, c.Scale))
		}
		columns[i] = c
	}
	return columns, nil
}

func (c Column) isTimestamp() bool {
	return c.Type == "TIMESTAMP_NTZ" || c.Type == "TIMESTAMP_LTZ" || c.Type == "TIMESTAMP_TZ"
}

// unit is the coarsest unit that has all digits of the column.
func (c Column) unit() arrow.TimeUnit {
	switch {
	case c.Scale <= 3:
		return arrow.Millisecond
	case c.Scale <= 6:
		return arrow.Microsecond
	}
	return arrow.Nanosecond
}

// timestamp gives the value of a row, if it is not NULL.
func timestamp(record arrow.RecordBatch, part *arrowbatches.ArrowBatch, c Column, column, row int, zone *time.Location) (time.Time, bool) {
	t := part.ArrowSnowflakeTimestampToTime(record, column, row)
	switch {
	case t == nil:
		return time.Time{}, false
	case c.Type == "TIMESTAMP_LTZ": // the session that fetches it may have another TIMEZONE
		return t.In(zone), true
	}
	return *t, true
}

// standard puts Arrow's own times in the place of Snowflake's.
func (r *reader) standard(b *Batch) error {
	if r.original {
		return nil
	}
	schema := b.original.Schema()
	fields := schema.Fields()
	columns := append([]arrow.Array(nil), b.original.Columns()...)
	var made []arrow.Array
	defer func() {
		for _, values := range made {
			values.Release()
		}
	}()
	for i, c := range b.Columns {
		if c.Type != "TIME" && !c.isTimestamp() {
			continue
		}
		values, err := b.times(i)
		if err != nil {
			b.original.Release()
			return err
		}
		made = append(made, values)
		columns[i], fields[i].Type = values, values.DataType()
	}
	if len(made) > 0 {
		metadata := schema.Metadata()
		b.RecordBatch = array.NewRecordBatch(arrow.NewSchema(fields, &metadata), columns, b.original.NumRows())
	}
	return nil
}

// times converts a column of times or timestamps.
func (b *Batch) times(i int) (arrow.Array, error) {
	c, pool := b.Columns[i], b.part.GetAllocator()
	if c.Type == "TIME" {
		return clockValues(c, b.original.Column(i), pool)
	}
	to := &arrow.TimestampType{Unit: c.unit()}
	switch c.Type {
	case "TIMESTAMP_LTZ":
		to.TimeZone = b.zone.String()
	case "TIMESTAMP_TZ":
		to.TimeZone = "UTC"
	}
	instants, err := instantsOf(c, b.original.Column(i))
	if err != nil {
		return nil, err
	}
	builder := array.NewTimestampBuilder(pool, to)
	defer builder.Release()
	rows := int(b.original.NumRows())
	builder.Reserve(rows)
	for row := range rows {
		if b.original.Column(i).IsNull(row) {
			builder.AppendNull()
			continue
		}
		value, ok := instants(row)
		if !ok {
			t, _ := timestamp(b.original, b.part, c, i, row, b.zone)
			return nil, fmt.Errorf("column %s: %s does not fit into nanoseconds, which reach from 1677 to 2262; cast the column to %s(6) in the query, or read with OriginalTimestamps",
				c.Name, t.Format(time.RFC3339Nano), c.Type)
		}
		builder.Append(value)
	}
	return builder.NewArray(), nil
}

// instantsOf gives the values of a column of timestamps in its unit, without a detour over
// time.Time. It is false where one does not fit.
func instantsOf(c Column, column arrow.Array) (func(row int) (arrow.Timestamp, bool), error) {
	digits := 3 * int(c.unit()) // of the unit: milli-, micro- or nanoseconds
	values := column
	if parts, ok := column.(*array.Struct); ok {
		values = parts.Field(0)
		if c.Type != "TIMESTAMP_TZ" || parts.NumField() == 3 { // seconds, and a fraction of nanoseconds
			fractions, ok := parts.Field(1).(*array.Int32)
			seconds, both := values.(*array.Int64)
			if !ok || !both {
				return nil, c.unexpected(column)
			}
			up, down := int64(math.Pow10(digits)), int64(math.Pow10(9-digits))
			return func(row int) (arrow.Timestamp, bool) {
				whole, fraction := seconds.Value(row), int64(fractions.Value(row))/down
				at := whole*up + fraction
				return arrow.Timestamp(at), whole > math.MinInt64/up && whole < math.MaxInt64/up
			}, nil
		}
	}
	numbers, ok := values.(*array.Int64)
	if !ok {
		return nil, c.unexpected(column)
	}
	factor := int64(math.Pow10(digits - c.Scale))
	return func(row int) (arrow.Timestamp, bool) {
		v := numbers.Value(row)
		return arrow.Timestamp(v * factor), v <= math.MaxInt64/factor && v >= math.MinInt64/factor
	}, nil
}

// clockValues converts a column of TIME, which gosnowflake v2.1.0 calls nanoseconds, whatever they
// are.
func clockValues(c Column, from arrow.Array, pool memory.Allocator) (arrow.Array, error) {
	values, ok := from.(*array.Time64)
	if !ok {
		return nil, c.unexpected(from)
	}
	to := arrow.FixedWidthTypes.Time64ns.(*arrow.Time64Type)
	factor := arrow.Time64(math.Pow10(9 - c.Scale))
	if c.Scale <= 6 {
		to, factor = arrow.FixedWidthTypes.Time64us.(*arrow.Time64Type), arrow.Time64(math.Pow10(6-c.Scale))
	}
	builder := array.NewTime64Builder(pool, to)
	defer builder.Release()
	builder.Reserve(values.Len())
	for row := range values.Len() {
		if values.IsNull(row) {
			builder.AppendNull()
			continue
		}
		builder.Append(values.Value(row) * factor)
	}
	return builder.NewArray(), nil
}

func (c Column) unexpected(values arrow.Array) error {
	return fmt.Errorf("column %s: %s as Arrow's %v is not supported; cast it to VARCHAR in the query", c.Name, c.Type, values.DataType())
}
