package main

import (
	"bufio"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/snowtether/snowtether/results"
)

// This file writes CSV, with the names of the columns in the first line.

// null stands for NULL: encoding/csv writes the empty string as nothing, so that
// NULL must be something. Snowflake's COPY INTO and others read \N as NULL if they
// are not told otherwise.
const null = `\N`

type csvWriter struct {
	buf     *bufio.Writer // the csv.Writer's own
	csv     *csv.Writer
	columns []results.Column
	rows    int64
}

func newCSV(w io.Writer, columns []results.Column) (writer, error) {
	buf := bufio.NewWriterSize(w, 1<<18)
	out := &csvWriter{buf: buf, csv: csv.NewWriter(buf), columns: columns}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return out, out.csv.Write(names)
}

func (w *csvWriter) write(b *batch) error {
	texts := make([]func(row int) string, len(w.columns))
	for i := range w.columns {
		var err error
		if texts[i], err = b.texts(i); err != nil {
			return err
		}
	}
	line := make([]string, len(w.columns))
	for row := range int(b.NumRows()) {
		w.rows++
		for i, text := range texts {
			if b.Column(i).IsNull(row) {
				line[i] = null
				continue
			}
			if line[i] = text(row); line[i] == null {
				return fmt.Errorf(`row %d, column %s: the text \N would be read as NULL; write Parquet, or replace it in the query`, w.rows, w.columns[i].Name)
			}
		}
		if len(line) == 1 && line[0] == "" {
			// An empty line is no row to most readers.
			if _, err := w.buf.WriteString("\"\"\n"); err != nil {
				return err
			}
			continue
		}
		if err := w.csv.Write(line); err != nil {
			return err
		}
	}
	return nil
}

func (w *csvWriter) close() error {
	w.csv.Flush()
	return w.csv.Error()
}

// texts gives the values of a column as text. A value that is NULL is not asked
// for.
func (b *batch) texts(i int) (func(row int) string, error) {
	c := b.Columns[i]
	switch c.Type {
	case "FIXED":
		numbers, err := b.numbers(i)
		return func(row int) string { return decimalText(numbers(row), c.Scale) }, err
	case "TIME":
		clocks, err := b.clocks(i)
		return func(row int) string { return time.Time{}.Add(clocks(row)).Format("15:04:05.999999999") }, err
	case "TIMESTAMP_NTZ":
		return func(row int) string { return b.stamp(i, row).Format("2006-01-02T15:04:05.999999999") }, nil
	case "TIMESTAMP_LTZ": // the zone of the session that reads says nothing about the value
		return func(row int) string { return b.stamp(i, row).UTC().Format(time.RFC3339Nano) }, nil
	case "TIMESTAMP_TZ":
		return func(row int) string { return b.stamp(i, row).Format(time.RFC3339Nano) }, nil
	}
	switch values := b.Column(i).(type) {
	case *array.String: // TEXT, and the JSON of VARIANT, OBJECT and ARRAY
		return values.Value, nil
	case *array.Float64:
		return func(row int) string { return floatText(values.Value(row)) }, nil
	case *array.Boolean:
		return func(row int) string { return strconv.FormatBool(values.Value(row)) }, nil
	case *array.Date32:
		return func(row int) string { return values.Value(row).ToTime().Format(time.DateOnly) }, nil
	case *array.Binary:
		return func(row int) string { return strings.ToUpper(hex.EncodeToString(values.Value(row))) }, nil
	}
	return nil, unexpected(c, b.Column(i))
}

// decimalText places the point of a decimal. decimal128's own ToString takes the
// way over a big.Float, ten times as long.
func decimalText(n decimal128.Num, scale int) string {
	var digits string
	if n == decimal128.FromI64(int64(n.LowBits())) {
		digits = strconv.FormatInt(int64(n.LowBits()), 10)
	} else {
		digits = n.BigInt().String()
	}
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
	point := len(digits) - scale
	return sign + digits[:point] + "." + digits[point:]
}

// floatText writes the shortest text that reads back as the same number, and what
// is no number as Snowflake spells it.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}
