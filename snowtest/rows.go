package snowtest

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// Rows makes the result of a query from Go values, for handlers. The type of a
// column is that of its first value that is not nil: int and int64 make fixed,
// float64 real, string text, bool boolean, time.Time timestamp_ntz (of its UTC),
// []byte binary; nil is NULL, and a column of nothing else is text. Rows panics on
// a value of another type and on a row of the wrong length.
func Rows(columns []string, rows ...[]any) *Result {
	res := &Result{Kind: KindSelect, Columns: make([]Column, len(columns)), Rows: make([][]*string, len(rows))}
	for i, name := range columns {
		res.Columns[i] = Column{Name: name}
	}
	for r, row := range rows {
		if len(row) != len(columns) {
			panic(fmt.Sprintf("snowtest: row %d has %d values for %d columns", r, len(row), len(columns)))
		}
		res.Rows[r] = make([]*string, len(row))
		for i, value := range row {
			if value == nil {
				continue
			}
			text, column := encode(value)
			res.Rows[r][i] = &text
			if res.Columns[i].Type == "" {
				column.Name = columns[i]
				res.Columns[i] = column
			}
		}
	}
	for i := range res.Columns {
		if res.Columns[i].Type == "" {
			res.Columns[i] = textColumn(columns[i])
		}
	}
	return res
}

func textColumn(name string) Column {
	return Column{Name: name, Type: "text", Length: 16777216, ByteLength: 16777216, Nullable: true}
}

// encode gives a value the text form of Snowflake's JSON result format.
func encode(value any) (string, Column) {
	switch v := value.(type) {
	case int:
		return strconv.Itoa(v), Column{Type: "fixed", Precision: 38, Nullable: true}
	case int64:
		return strconv.FormatInt(v, 10), Column{Type: "fixed", Precision: 38, Nullable: true}
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), Column{Type: "real", Nullable: true}
	case string:
		return v, textColumn("")
	case bool:
		if v {
			return "1", Column{Type: "boolean", Nullable: true}
		}
		return "0", Column{Type: "boolean", Nullable: true}
	case time.Time:
		return fmt.Sprintf("%d.%09d", v.Unix(), v.Nanosecond()), Column{Type: "timestamp_ntz", Scale: 9, Nullable: true}
	case []byte:
		return hex.EncodeToString(v), Column{Type: "binary", Length: 8388608, ByteLength: 8388608, Nullable: true}
	}
	panic(fmt.Sprintf("snowtest: Rows cannot hold a %T", value))
}
