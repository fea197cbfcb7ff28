package main

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/snowtether/snowtether/results"
)

// This file writes Parquet.

// rowGroup is how many rows are kept in memory, encoded, until they are written.
// Readers want groups not too small: each is read and skipped as a whole.
const rowGroup = 1 << 18

type parquetWriter struct {
	schema *arrow.Schema
	file   *pqarrow.FileWriter
}

func newParquet(w io.Writer, columns []results.Column) (writer, error) {
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		t, err := arrowType(c)
		if err != nil {
			return nil, err
		}
		fields[i] = arrow.Field{Name: c.Name, Type: t, Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	properties := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(rowGroup),
		parquet.WithStoreDecimalAsInteger(true)) // where 18 digits are enough
	// The struct hides a Close, which the Parquet writer would call: the file is
	// still to be synced.
	file, err := pqarrow.NewFileWriter(schema, struct{ io.Writer }{w}, properties, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	return &parquetWriter{schema, file}, err
}

func (w *parquetWriter) write(b *batch) error {
	columns := make([]arrow.Array, b.NumCols())
	for i := range columns {
		var err error
		if columns[i], err = b.values(i, w.schema.Field(i).Type); err != nil {
			return err
		}
		defer columns[i].Release()
	}
	record := array.NewRecordBatch(w.schema, columns, b.NumRows())
	defer record.Release()
	return w.file.WriteBuffered(record)
}

func (w *parquetWriter) close() error { return w.file.Close() }

// arrowType is what a column becomes, whatever form its parts come in.
func arrowType(c results.Column) (arrow.DataType, error) {
	unit := arrow.Nanosecond
	switch {
	case c.Scale <= 3:
		unit = arrow.Millisecond
	case c.Scale <= 6:
		unit = arrow.Microsecond
	}
	switch c.Type {
	case "FIXED":
		return &arrow.Decimal128Type{Precision: int32(c.Precision), Scale: int32(c.Scale)}, nil
	case "REAL":
		return arrow.PrimitiveTypes.Float64, nil
	case "TEXT", "VARIANT", "OBJECT", "ARRAY":
		return arrow.BinaryTypes.String, nil
	case "BOOLEAN":
		return arrow.FixedWidthTypes.Boolean, nil
	case "DATE":
		return arrow.FixedWidthTypes.Date32, nil
	case "BINARY":
		return arrow.BinaryTypes.Binary, nil
	case "TIME":
		if unit == arrow.Nanosecond {
			return arrow.FixedWidthTypes.Time64ns, nil
		}
		return arrow.FixedWidthTypes.Time64us, nil
	case "TIMESTAMP_NTZ": // no zone: isAdjustedToUTC is false
		return &arrow.TimestampType{Unit: unit}, nil
	case "TIMESTAMP_LTZ", "TIMESTAMP_TZ": // instants; Parquet has no place for the offset of each
		return &arrow.TimestampType{Unit: unit, TimeZone: "UTC"}, nil
	}
	return nil, fmt.Errorf("column %s: Parquet has no type for Snowflake's %s; cast it to VARCHAR in the query", c.Name, c.Type)
}

// values converts a column of the batch.
func (b *batch) values(i int, to arrow.DataType) (arrow.Array, error) {
	from := b.Column(i)
	if arrow.TypeEqual(from.DataType(), to) && b.Columns[i].Type != "TIME" {
		from.Retain()
		return from, nil
	}
	builder := array.NewBuilder(memory.DefaultAllocator, to)
	defer builder.Release()
	rows := from.Len()
	builder.Reserve(rows)
	var add func(row int) error
	switch out := builder.(type) {
	case *array.Decimal128Builder:
		numbers, err := b.numbers(i)
		if err != nil {
			return nil, err
		}
		add = func(row int) error { out.Append(numbers(row)); return nil }
	case *array.Time64Builder:
		clocks, err := b.clocks(i)
		if err != nil {
			return nil, err
		}
		unit := to.(*arrow.Time64Type).Unit.Multiplier()
		add = func(row int) error { out.Append(arrow.Time64(clocks(row) / unit)); return nil }
	case *array.TimestampBuilder:
		unit := to.(*arrow.TimestampType).Unit
		add = func(row int) error {
			t := b.stamp(i, row)
			if unit == arrow.Nanosecond && (t.Before(earliest) || t.After(latest)) {
				return fmt.Errorf("column %s: %s cannot be written in nanoseconds, which reach from 1677 to 2262; cast the column to %s(6) in the query",
					b.Columns[i].Name, t.Format(time.RFC3339Nano), b.Columns[i].Type)
			}
			stamp, err := arrow.TimestampFromTime(t, unit)
			out.Append(stamp)
			return err
		}
	default:
		return nil, unexpected(b.Columns[i], from)
	}
	for row := range rows {
		if from.IsNull(row) {
			builder.AppendNull()
		} else if err := add(row); err != nil {
			return nil, err
		}
	}
	return builder.NewArray(), nil
}

// What 64 bits of nanoseconds can hold.
var earliest, latest = time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)
