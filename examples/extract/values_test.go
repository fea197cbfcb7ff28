package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/snowtether/snowtether/results"
	"github.com/snowtether/snowtether/snowtest"
)

// A cell is a value as the server holds it and as the files are to show it: want
// is for both, unless csv says otherwise; without any it is what was sent.
type cell struct{ sent, want, csv string }

const sentNull = "NULL"

// kinds are columns of all types, each with extremes. The server divides the rows
// into parts, so that numbers come as integers of different widths.
var kinds = []struct {
	column  snowtest.Column
	parquet string // the type in the file
	cells   [6]cell
}{
	{snowtest.Column{Name: "small", Type: "fixed", Precision: 9}, "decimal(9, 0)",
		[6]cell{{sent: "1"}, {sent: "-127"}, {sent: sentNull}, {sent: "999999999"}, {sent: "-999999999"}, {sent: "0"}}},
	{snowtest.Column{Name: "amount", Type: "fixed", Precision: 18, Scale: 4}, "decimal(18, 4)",
		[6]cell{{"0.5", "0.5000", ""}, {"-0.0001", "-0.0001", ""}, {sent: sentNull}, {"99999999999999.9999", "99999999999999.9999", ""}, {"-12.3", "-12.3000", ""}, {"0", "0.0000", ""}}},
	{snowtest.Column{Name: "wide", Type: "fixed", Precision: 38}, "decimal(38, 0)",
		[6]cell{{sent: "99999999999999999999999999999999999999"}, {sent: "-99999999999999999999999999999999999999"}, {sent: sentNull}, {sent: "9223372036854775808"}, {sent: "-9223372036854775809"}, {sent: "7"}}},
	{snowtest.Column{Name: "fine", Type: "fixed", Precision: 38, Scale: 37}, "decimal(38, 37)",
		[6]cell{{sent: "1.2345678901234567890123456789012345678"}, {sent: "-0.0000000000000000000000000000000000001"}, {sent: sentNull}, {sent: "9.9999999999999999999999999999999999999"}, {"0", "0.0000000000000000000000000000000000000", ""}, {"1", "1.0000000000000000000000000000000000000", ""}}},
	{snowtest.Column{Name: "ratio", Type: "real"}, "float64",
		[6]cell{{sent: "0.1"}, {sent: "-1.5e-300", want: "-1.5e-300"}, {sent: sentNull}, {"NaN", "NaN", "NaN"}, {"inf", "+Inf", "inf"}, {"-inf", "-Inf", "-inf"}}},
	{snowtest.Column{Name: "note", Type: "text"}, "utf8",
		[6]cell{{sent: ""}, {sent: "a \"quoted\", text\nin two lines"}, {sent: sentNull}, {sent: "NULL "}, {sent: "Žluťoučký 雪 ❄"}, {sent: ` \N`}}},
	{snowtest.Column{Name: "gift", Type: "boolean"}, "bool",
		[6]cell{{"1", "true", ""}, {"0", "false", ""}, {sent: sentNull}, {"1", "true", ""}, {"0", "false", ""}, {"1", "true", ""}}},
	{snowtest.Column{Name: "day", Type: "date"}, "date32",
		[6]cell{{"0", "1970-01-01", ""}, {"-1", "1969-12-31", ""}, {sent: sentNull}, {"2932896", "9999-12-31", ""}, {"-719162", "0001-01-01", ""}, {"19723", "2024-01-01", ""}}},
	{snowtest.Column{Name: "clock", Type: "time", Scale: 9}, "time64[ns]",
		[6]cell{{"0", "00:00:00", ""}, {"86399.999999999", "23:59:59.999999999", ""}, {sent: sentNull}, {"1.5", "00:00:01.5", ""}, {"43200", "12:00:00", ""}, {"0.000000001", "00:00:00.000000001", ""}}},
	{snowtest.Column{Name: "clock6", Type: "time", Scale: 6}, "time64[us]",
		[6]cell{{"0", "00:00:00", ""}, {"86399.999999", "23:59:59.999999", ""}, {sent: sentNull}, {"1.5", "00:00:01.5", ""}, {"43200", "12:00:00", ""}, {"0.000001", "00:00:00.000001", ""}}},
	{snowtest.Column{Name: "local", Type: "timestamp_ntz", Scale: 9}, "timestamp[ns]",
		[6]cell{{"0", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00"}, {"-1.999999999", "1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999"}, {sent: sentNull}, {"1700000000.123456789", "2023-11-14T22:13:20.123456789Z", "2023-11-14T22:13:20.123456789"}, {"9223372036.854775807", "2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:16.854775807"}, {"-9223372036", "1677-09-21T00:12:44Z", "1677-09-21T00:12:44"}}},
	{snowtest.Column{Name: "local6", Type: "timestamp_ntz", Scale: 6}, "timestamp[us]",
		[6]cell{{"253402300799.999999", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999"}, {"-62135596800", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00"}, {sent: sentNull}, {"0.000001", "1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000001"}, {"-1.5", "1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5"}, {"1", "1970-01-01T00:00:01Z", "1970-01-01T00:00:01"}}},
	{snowtest.Column{Name: "paid", Type: "timestamp_ltz", Scale: 3}, "timestamp[ms, tz=UTC]",
		[6]cell{{"0", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"}, {"1700000000.123", "2023-11-14T22:13:20.123Z", "2023-11-14T22:13:20.123Z"}, {sent: sentNull}, {"253402300799", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"}, {"-1", "1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"}, {"1", "1970-01-01T00:00:01Z", "1970-01-01T00:00:01Z"}}},
	{snowtest.Column{Name: "sent", Type: "timestamp_tz", Scale: 9}, "timestamp[ns, tz=UTC]",
		[6]cell{{"0 1440", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"}, {"1700000000.000000001 1560", "2023-11-14T22:13:20.000000001Z", "2023-11-15T00:13:20.000000001+02:00"}, {sent: sentNull}, {"1700000000 870", "2023-11-14T22:13:20Z", "2023-11-14T12:43:20-09:30"}, {"-1 1440", "1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"}, {"1 1441", "1970-01-01T00:00:01Z", "1970-01-01T00:01:01+00:01"}}},
	{snowtest.Column{Name: "sent0", Type: "timestamp_tz", Scale: 0}, "timestamp[ms, tz=UTC]",
		[6]cell{{"0 1440", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"}, {"1700000000 1560", "2023-11-14T22:13:20Z", "2023-11-15T00:13:20+02:00"}, {sent: sentNull}, {"1700000000 870", "2023-11-14T22:13:20Z", "2023-11-14T12:43:20-09:30"}, {"-1 1440", "1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"}, {"1 1441", "1970-01-01T00:00:01Z", "1970-01-01T00:01:01+00:01"}}},
	{snowtest.Column{Name: "raw", Type: "binary"}, "binary",
		[6]cell{{"", "", ""}, {"00FF10", "AP8Q", "00FF10"}, {sent: sentNull}, {"41", "QQ==", "41"}, {"4142", "QUI=", "4142"}, {"DEADBEEF", "3q2+7w==", "DEADBEEF"}}},
	{snowtest.Column{Name: "doc", Type: "variant"}, "utf8",
		[6]cell{{sent: `{"a": 1}`}, {sent: "null"}, {sent: sentNull}, {sent: `[1, "x"]`}, {sent: `""`}, {sent: "1.5"}}},
	{snowtest.Column{Name: "empty", Type: "text"}, "utf8",
		[6]cell{{sent: sentNull}, {sent: sentNull}, {sent: sentNull}, {sent: sentNull}, {sent: sentNull}, {sent: sentNull}}},
}

// serveKinds starts a server that answers with all of them.
func serveKinds(t *testing.T) *snowtest.Server {
	t.Helper()
	srv := snowtest.New(t, snowtest.WithChunkRows(2))
	srv.Handle("FROM kinds", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		res := &snowtest.Result{Kind: snowtest.KindSelect, Rows: make([][]*string, 6)}
		for _, k := range kinds {
			k.column.Nullable = true
			res.Columns = append(res.Columns, k.column)
			for row, c := range k.cells {
				var value *string
				if c.sent != sentNull {
					value = &c.sent
				}
				res.Rows[row] = append(res.Rows[row], value)
			}
		}
		return res, nil
	})
	return srv
}

// extractTo runs the program against a server and returns the path of the file.
func extractTo(t *testing.T, srv *snowtest.Server, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	var stderr bytes.Buffer
	if status := run(t.Context(), append(args, "-out", path), srv.DSN(), io.Discard, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	return path
}

// readCSV returns the lines of the file, the names among them.
func readCSV(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// readParquet returns the file as one table.
func readParquet(t *testing.T, path string) arrow.Table {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := pqarrow.ReadTable(context.Background(), f, nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// texts are the values of a column of a table.
func texts(column *arrow.Column) []string {
	var list []string
	for _, chunk := range column.Data().Chunks() {
		for row := range chunk.Len() {
			text := chunk.ValueStr(row)
			switch values := chunk.(type) {
			case *array.Decimal128: // ValueStr leaves zeros out
				text = values.Value(row).ToString(values.DataType().(*arrow.Decimal128Type).Scale)
			case *array.Time64: // and puts them in
				text = values.Value(row).ToTime(values.DataType().(*arrow.Time64Type).Unit).Format("15:04:05.999999999")
			}
			if chunk.IsNull(row) {
				text = sentNull
			}
			list = append(list, text)
		}
	}
	return list
}

func TestCSVHoldsEachValue(t *testing.T) {
	lines := readCSV(t, extractTo(t, serveKinds(t), "kinds.csv", "-query", "SELECT * FROM kinds"))
	for i, k := range kinds {
		want := []string{k.column.Name}
		for _, c := range k.cells {
			switch {
			case c.sent == sentNull:
				want = append(want, `\N`)
			case c.csv != "":
				want = append(want, c.csv)
			case c.want != "":
				want = append(want, c.want)
			default:
				want = append(want, c.sent)
			}
		}
		var got []string
		for _, line := range lines {
			got = append(got, line[i])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", k.column.Name, got, want)
		}
	}
}

func TestParquetHoldsEachValueWithItsType(t *testing.T) {
	table := readParquet(t, extractTo(t, serveKinds(t), "kinds.parquet", "-query", "SELECT * FROM kinds"))
	for i, k := range kinds {
		var want []string
		for _, c := range k.cells {
			if c.want == "" {
				c.want = c.sent
			}
			want = append(want, c.want)
		}
		field := table.Schema().Field(i)
		if field.Name != k.column.Name || field.Type.String() != k.parquet || !field.Nullable {
			t.Errorf("%s: the column is %v, want %s", k.column.Name, field, k.parquet)
		}
		if got := texts(table.Column(i)); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", k.column.Name, got, want)
		}
	}
}

// What other readers go by is the Parquet schema, and not Arrow's that is stored
// beside it.
func TestParquetSchemaTellsZonesAndDecimals(t *testing.T) {
	f, err := file.OpenParquetFile(extractTo(t, serveKinds(t), "kinds.parquet", "-query", "SELECT * FROM kinds"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]string{
		"small":  "INT32 Decimal(precision=9, scale=0)",
		"amount": "INT64 Decimal(precision=18, scale=4)",
		"wide":   "FIXED_LEN_BYTE_ARRAY Decimal(precision=38, scale=0)",
		"local":  "INT64 Timestamp(isAdjustedToUTC=false, timeUnit=nanoseconds",
		"paid":   "INT64 Timestamp(isAdjustedToUTC=true, timeUnit=milliseconds",
		"sent":   "INT64 Timestamp(isAdjustedToUTC=true, timeUnit=nanoseconds",
	} {
		schema := f.MetaData().Schema
		c := schema.Column(schema.ColumnIndexByName(name))
		if got := c.PhysicalType().String() + " " + c.LogicalType().String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestEmptyResultHasItsColumns(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle("FROM nothing", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return &snowtest.Result{Kind: snowtest.KindSelect, Columns: []snowtest.Column{
			{Name: "N", Type: "fixed", Precision: 10, Scale: 2, Nullable: true}, {Name: "T", Type: "timestamp_ntz", Scale: 9, Nullable: true},
		}}, nil
	})
	if lines := readCSV(t, extractTo(t, srv, "nothing.csv", "-query", "SELECT * FROM nothing")); len(lines) != 1 || !slices.Equal(lines[0], []string{"N", "T"}) {
		t.Errorf("CSV: %q", lines)
	}
	table := readParquet(t, extractTo(t, srv, "nothing.parquet", "-query", "SELECT * FROM nothing"))
	if table.NumRows() != 0 || table.Schema().Field(0).Type.String() != "decimal(10, 2)" || table.Schema().Field(1).Type.String() != "timestamp[ns]" {
		t.Errorf("Parquet: %d rows, %v", table.NumRows(), table.Schema())
	}
}

// Without rows, the scale of a time is not known.
func TestPartitionWithoutRowsDoesNotDecideTheTypes(t *testing.T) {
	kind := func(scale int) []results.Column {
		return []results.Column{{Name: "T", Type: "TIMESTAMP_NTZ", Scale: scale}}
	}
	for _, test := range []struct {
		rows [2]int64
		want string
	}{{[2]int64{0, 1}, "timestamp[ms]"}, {[2]int64{1, 0}, "timestamp[ms]"}, {[2]int64{0, 0}, "timestamp[ns]"}} {
		out := &output{open: newParquet, file: io.Discard, progress: newProgress(io.Discard)}
		out.wait(2)
		for _, n := range test.rows {
			scale := 3
			if n == 0 {
				scale = 9
			}
			if err := out.begin(kind(scale), n); err != nil {
				t.Fatal(err)
			}
		}
		if got := out.w.(*parquetWriter).schema.Field(0).Type.String(); got != test.want {
			t.Errorf("%v rows: %s, want %s", test.rows, got, test.want)
		}
	}
}

func TestLineOfOneEmptyStringIsARow(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle("FROM notes", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows([]string{"NOTE"}, []any{"a"}, []any{""}, []any{nil}, []any{"b"}), nil
	})
	lines := readCSV(t, extractTo(t, srv, "notes.csv", "-query", "SELECT * FROM notes"))
	if got, want := fmt.Sprintf("%q", lines), `[["NOTE"] ["a"] [""] ["\\N"] ["b"]]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What cannot be written as it is, is an error and not another value.
func TestValuesWithoutAPlaceAreRefused(t *testing.T) {
	for _, test := range []struct {
		out, says string
		column    snowtest.Column
		value     string
	}{
		{"x.csv", `row 1, column X: the text \N would be read as NULL`, snowtest.Column{Name: "X", Type: "text"}, `\N`},
		{"x.parquet", "column X: 9999-12-31T00:00:00Z cannot be written in nanoseconds", snowtest.Column{Name: "X", Type: "timestamp_ntz", Scale: 9}, "253402214400"},
		{"x.csv", "cast it to TIME(9)", snowtest.Column{Name: "X", Type: "time", Scale: 0}, "1"},
	} {
		srv := snowtest.New(t)
		srv.Handle("FROM x", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return &snowtest.Result{Kind: snowtest.KindSelect, Columns: []snowtest.Column{test.column}, Rows: [][]*string{{&test.value}}}, nil
		})
		dir := t.TempDir()
		var stderr bytes.Buffer
		status := run(t.Context(), []string{"-query", "SELECT * FROM x", "-out", filepath.Join(dir, test.out)}, srv.DSN(), io.Discard, &stderr)
		if status != 1 || !strings.Contains(stderr.String(), test.says) {
			t.Errorf("%s: status %d, %q", test.out, status, &stderr)
		}
		if files := list(t, dir); len(files) > 0 {
			t.Errorf("%s: it left %v", test.out, files)
		}
	}
}

// list is what stands in a directory.
func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
