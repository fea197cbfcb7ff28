package main

import (
	"fmt"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/snowtether/snowtether/results"
)

// This file reads the values of a result, in the Arrow forms in which Snowflake
// sends them. The form belongs to a part of the result and not to its column: a
// NUMBER comes as the narrowest integer that holds the part's values, a timestamp
// as an integer or as a struct.

// A batch is some rows of the result.
type batch struct{ results.Batch }

func unexpected(c results.Column, values arrow.Array) error {
	return fmt.Errorf("column %s: %s as Arrow's %v is not supported; cast it to VARCHAR in the query", c.Name, c.Type, values.DataType())
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
	return nil, unexpected(b.Columns[i], b.Column(i))
}

func integers[T int8 | int16 | int32 | int64](values interface{ Value(int) T }) func(int) decimal128.Num {
	return func(row int) decimal128.Num { return decimal128.FromI64(int64(values.Value(row))) }
}

// clocks gives the values of a TIME column, as time since midnight.
func (b *batch) clocks(i int) (func(row int) time.Duration, error) {
	values, ok := b.Column(i).(*array.Time64)
	if !ok {
		return nil, unexpected(b.Columns[i], b.Column(i))
	}
	// gosnowflake v2.1.0 calls them nanoseconds, whatever they are.
	unit := time.Duration(math.Pow10(9 - b.Columns[i].Scale))
	return func(row int) time.Duration { return time.Duration(values.Value(row)) * unit }, nil
}

// stamp gives a timestamp that is not NULL: TIMESTAMP_NTZ as if it were UTC,
// TIMESTAMP_TZ in its own zone.
func (b *batch) stamp(i, row int) time.Time {
	t, _ := b.Timestamp(i, row)
	return t
}
