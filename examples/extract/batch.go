package main

import (
	"database/sql/driver"
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"
)

// This file reads the values of a result, in the Arrow forms in which Snowflake
// sends them. The form belongs to a part of the result and not to its column: a
// NUMBER comes as the narrowest integer that holds the part's values, a timestamp
// as an integer or as a struct.

// A column of the result.
type column struct {
	name             string
	kind             string // Snowflake's name of the type, such as FIXED or TIMESTAMP_NTZ
	precision, scale int    // of FIXED; of TIME and timestamps, the scale: the digits of their seconds
	nullable         bool
}

// columnsOf describes the columns. Scales of times come with the parts only; an
// empty result can do without.
func columnsOf(rows driver.Rows, batches []*arrowbatches.ArrowBatch) ([]column, error) {
	types, ok := rows.(interface {
		driver.RowsColumnTypeDatabaseTypeName
		driver.RowsColumnTypePrecisionScale
		driver.RowsColumnTypeNullable
	})
	if !ok {
		return nil, fmt.Errorf("the driver's rows, a %T, do not tell the types of their columns", rows)
	}
	columns := make([]column, len(rows.Columns()))
	for i, name := range rows.Columns() {
		c := column{name: name, kind: types.ColumnTypeDatabaseTypeName(i), scale: 9}
		if c.kind == "FIXED" {
			precision, scale, _ := types.ColumnTypePrecisionScale(i)
			c.precision, c.scale = int(precision), int(scale)
		} else if len(batches) > 0 {
			c.scale = int(batches[0].GetRowTypes()[i].Scale)
		}
		c.nullable, _ = types.ColumnTypeNullable(i)
		columns[i] = c
	}
	return columns, nil
}

// A batch is some rows of the result.
type batch struct {
	arrow.RecordBatch
	columns []column
	source  *arrowbatches.ArrowBatch
}

func (c column) unexpected(values arrow.Array) error {
	return fmt.Errorf("column %s: %s as Arrow's %v is not supported; cast it to VARCHAR in the query", c.name, c.kind, values.DataType())
}

// numbers gives the values of a FIXED column without their scale.
func (b *batch) numbers(i int) (func(row int) decimal128.Num, error) {
	switch values := b.Column(i).(type) {
	case *array.Int8:
		return integers(values), nil
	case *array.Int16:
		return integers(values), nil
	case *array.Int32:
		return integers(values), nil
	case *array.Int64:
		return integers(values), nil
	case *array.Decimal128:
		return values.Value, nil
	}
	return nil, b.columns[i].unexpected(b.Column(i))
}

func integers[T int8 | int16 | int32 | int64](values interface{ Value(int) T }) func(int) decimal128.Num {
	return func(row int) decimal128.Num { return decimal128.FromI64(int64(values.Value(row))) }
}

// clocks gives the values of a TIME column, as time since midnight.
func (b *batch) clocks(i int) (func(row int) time.Duration, error) {
	values, ok := b.Column(i).(*array.Time64)
	if !ok {
		return nil, b.columns[i].unexpected(b.Column(i))
	}
	// gosnowflake v2.1.0 calls them nanoseconds, whatever they are.
	unit := time.Duration(math.Pow10(9 - b.columns[i].scale))
	return func(row int) time.Duration { return time.Duration(values.Value(row)) * unit }, nil
}

// stamp gives a timestamp: TIMESTAMP_NTZ as if it were UTC, TIMESTAMP_TZ in its
// own zone.
func (b *batch) stamp(i, row int) time.Time {
	return *b.source.ArrowSnowflakeTimestampToTime(b.RecordBatch, i, row)
}
