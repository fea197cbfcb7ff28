package snowtest

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// This file writes the parts of a result as Arrow IPC streams; arrowcolumns.go
// has the encodings of the types.

// recordRows is how many rows stand in one record batch: a part can have
// several, and who reads it must not take the first for all.
const recordRows = 8192

// arrowEncoder collects rows, column by column, and writes them as one stream.
type arrowEncoder struct {
	columns []Column
	writers []columnWriter
	rows    int
}

// A columnWriter collects the values of one column.
type columnWriter interface {
	null()
	add(text string) error // in the text form of Result.Rows
	// flush returns what was added, in the narrowest encoding that Snowflake
	// has for it, with the bytes a value takes, and begins anew.
	flush() (values arrow.Array, width int)
}

// newArrowEncoder returns nil if a column has a type that is not one of
// [Column.Type]'s: such results stay JSON.
func newArrowEncoder(columns []Column) *arrowEncoder {
	e := &arrowEncoder{columns: columns, writers: make([]columnWriter, len(columns))}
	for i, c := range columns {
		if e.writers[i] = newColumnWriter(c); e.writers[i] == nil {
			return nil
		}
	}
	return e
}

func (e *arrowEncoder) add(rows [][]*string) error {
	for i, w := range e.writers {
		for _, row := range rows {
			if row[i] == nil {
				w.null()
			} else if err := w.add(*row[i]); err != nil {
				return fmt.Errorf("column %s of type %s cannot hold %.50q: %w", e.columns[i].Name, e.columns[i].Type, *row[i], err)
			}
		}
	}
	e.rows += len(rows)
	return nil
}

// flush writes the rows that were added as one stream. The schema can differ
// from part to part, because the values decide how wide numbers are.
func (e *arrowEncoder) flush() ([]byte, error) {
	fields, values := make([]arrow.Field, len(e.columns)), make([]arrow.Array, len(e.columns))
	for i, c := range e.columns {
		var width int
		values[i], width = e.writers[i].flush()
		fields[i] = arrow.Field{Name: c.Name, Type: values[i].DataType(), Nullable: c.Nullable, Metadata: metadata(c, width)}
	}
	schema := arrow.NewSchema(fields, nil)
	//lint:ignore SA1019 the name that replaces it is newer than the version gosnowflake asks for
	all := array.NewRecord(schema, values, int64(e.rows))
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	for from := 0; from < e.rows; from += recordRows {
		if err := w.Write(all.NewSlice(int64(from), int64(min(from+recordRows, e.rows)))); err != nil {
			return nil, err
		}
	}
	e.rows = 0
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// metadata is what Snowflake's fields tell about their column.
func metadata(c Column, width int) arrow.Metadata {
	return arrow.NewMetadata(
		[]string{"logicalType", "precision", "scale", "charLength", "byteLength", "finalType"},
		[]string{
			upper(c.Type), strconv.FormatInt(c.Precision, 10), strconv.FormatInt(c.Scale, 10),
			strconv.FormatInt(c.Length, 10), strconv.Itoa(width), "T",
		},
	)
}
