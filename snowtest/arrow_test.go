package snowtest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	arrowarray "github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is about results in Arrow format: their values, and when there are
// any.

const jsonFormat, arrowFormat = "JSON", "ARROW"

func inFormat(format string) func(*gosnowflake.Config) {
	return func(cfg *gosnowflake.Config) { cfg.Params["GO_QUERY_RESULT_FORMAT"] = &format }
}

// columnValues is a column with values in the text form of Result.Rows; "" is NULL.
type columnValues struct {
	column snowtest.Column
	dest   any // what a program scans into
	values string
}

func columnCases() []columnValues {
	col := func(typ string, precision, scale int64) snowtest.Column {
		name := fmt.Sprintf("%s(%d,%d)", typ, precision, scale)
		return snowtest.Column{Name: name, Type: typ, Precision: precision, Scale: scale, Nullable: true}
	}
	nines := strings.Repeat("9", 38)
	return []columnValues{
		{col("fixed", 3, 0), new(sql.NullInt64), "127,-128,0,"},
		{col("fixed", 5, 0), new(sql.NullInt64), "32767,,-32768"},
		{col("fixed", 10, 0), new(sql.NullInt64), "2147483647,-2147483648"},
		{col("fixed", 19, 0), new(sql.NullInt64), "9223372036854775807,-9223372036854775808,1"},
		{col("fixed", 38, 0), new(sql.NullString), nines + ",-" + nines + ",0,,9223372036854775808"},
		{col("fixed", 4, 2), new(sql.NullString), "12.34,-0.05,,1.00,-99.99"},
		{col("fixed", 15, 5), new(sql.NullString), "9999999999.99999,-1.00001"},
		{col("fixed", 38, 2), new(sql.NullString), nines[:36] + ".99,-" + nines[:36] + ".99,0.01,"},
		{col("fixed", 38, 37), new(sql.NullString), "9." + nines[:37] + ",-0." + strings.Repeat("0", 36) + "1"},
		{col("real", 0, 0), new(sql.NullFloat64), "1.5,-0,,1.7976931348623157e308,5e-324,0.1,inf,-inf"},
		{col("boolean", 0, 0), new(sql.NullBool), "1,0,"},
		{col("date", 0, 0), new(sql.NullTime), "0,-1,,-719162,2932896"}, // 0001-01-01 to 9999-12-31
		{col("time", 0, 0), new(sql.NullTime), "0,86399,"},
		{col("time", 0, 4), new(sql.NullTime), "0.0001,86399.9999"},
		{col("time", 0, 6), new(sql.NullTime), "0.000001,86399.999999"},
		{col("time", 0, 9), new(sql.NullTime), "0.000000001,86399.999999999,"},
		{col("timestamp_ntz", 0, 0), new(sql.NullTime), "0,-1,253402300799,-62135596800,"},
		{col("timestamp_ntz", 0, 3), new(sql.NullTime), "0.001,-1.999,253402300799.999"},
		{col("timestamp_ntz", 0, 7), new(sql.NullTime), "-62135596800.0000001,253402300799.9999999,"},
		{col("timestamp_ntz", 0, 9), new(sql.NullTime), "1.000000001,-1.999999999,,253402300799.999999999,-62135596800.000000001"},
		{col("timestamp_ltz", 0, 6), new(sql.NullTime), "1700000000.123456,-1.000001"},
		{col("timestamp_ltz", 0, 9), new(sql.NullTime), "1700000000.123456789,,-0.5"},
		{col("timestamp_tz", 0, 3), new(sql.NullTime), "1700000000.123 1440,-1.001 0,,5 2280"},
		{col("timestamp_tz", 0, 9), new(sql.NullTime), "1700000000.123456789 1770,-1.000000001 720,,253402300799.999999999 1440"},
		{col("text", 0, 0), new(sql.NullString), `x,"quoted" é 日本 🎿,,<&>`},
		{col("binary", 0, 0), new([]byte), "00FF,DEADBEEF,,616263"},
		{col("variant", 0, 0), new(sql.NullString), `{"a": 1},null,,"x"`},
		{col("object", 0, 0), new(sql.NullString), `{},`},
		{col("array", 0, 0), new(sql.NullString), `[1],`},
		{col("fixed", 38, 0), new(sql.NullString), ",,"},
		{col("timestamp_tz", 0, 9), new(sql.NullTime), ","},
		{col("text", 0, 0), new(sql.NullString), ","},
	}
}

func (c columnValues) result() *snowtest.Result {
	res := &snowtest.Result{Kind: snowtest.KindSelect, Columns: []snowtest.Column{c.column}}
	for v := range strings.SplitSeq(c.values, ",") {
		row := []*string{&v}
		if v == "" {
			row[0] = nil
		}
		res.Rows = append(res.Rows, row)
	}
	return res
}

// scan reads the one column of a query as a program does.
func scan(t *testing.T, ctx context.Context, db queryer, query string, dest any) []any {
	t.Helper()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var list []any
	for rows.Next() {
		v := reflect.New(reflect.TypeOf(dest).Elem())
		if err := rows.Scan(v.Interface()); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		list = append(list, v.Elem().Interface())
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return list
}

func TestArrowAndJSONGiveTheSameValues(t *testing.T) {
	cases := columnCases()
	srv := snowtest.New(t, snowtest.WithSessionParameter("TIMEZONE", "America/St_Johns"))
	for i, c := range cases {
		srv.Handle(fmt.Sprintf("FROM t%d$", i), func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return c.result(), nil
		})
	}
	asJSON, asArrow := open(t, srv, inFormat("json")), open(t, srv)
	for i, c := range cases {
		query := fmt.Sprintf("SELECT a FROM t%d", i)
		t.Run(c.column.Name+" "+c.values, func(t *testing.T) {
			want, got := scan(t, t.Context(), asJSON, query, c.dest), scan(t, t.Context(), asArrow, query, c.dest)
			if strings.HasPrefix(c.column.Type, "timestamp") {
				for i := range got {
					got[i] = misread(got[i].(sql.NullTime))
				}
			}
			if len(want) != strings.Count(c.values, ",")+1 || !reflect.DeepEqual(got, want) {
				t.Errorf("Arrow %v\n JSON %v", got, want)
			}
			if f := format(t, asArrow, query); f != "arrow" {
				t.Errorf("the format is %s", f)
			}
		})
	}
}

// misread is what gosnowflake v2.1.0 makes of an instant in JSON. Before 1970 it takes the
// fraction, which counts downwards there, for one that counts upwards.
func misread(at sql.NullTime) sql.NullTime {
	if at.Time.Unix() < 0 && at.Time.Nanosecond() != 0 {
		down := time.Second - time.Duration(at.Time.Nanosecond())
		at.Time = at.Time.Add(2 * down)
	}
	return at
}

// format is the format in which the server answers a query.
func format(t *testing.T, db *sql.DB, query string) (format string) {
	t.Helper()
	stream(t, conn(t, db), query, func(l gosnowflake.ArrowStreamLoader) {
		format = l.(gosnowflake.QueryResultFormatProvider).QueryResultFormat()
	})
	return format
}

func stream(t *testing.T, c *sql.Conn, query string, use func(gosnowflake.ArrowStreamLoader)) {
	t.Helper()
	ctx := statements(t, 0)
	err := c.Raw(func(dc any) error {
		loader, err := dc.(interface {
			QueryArrowStream(context.Context, string, ...driver.NamedValue) (gosnowflake.ArrowStreamLoader, error)
		}).QueryArrowStream(ctx, query)
		if err == nil {
			use(loader)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// batches hands use the columns of each record of a query's Arrow batches.
func batches(t *testing.T, ctx context.Context, c *sql.Conn, query string, use func(batch int, columns []arrow.Array)) {
	t.Helper()
	err := c.Raw(func(dc any) error {
		rows, err := dc.(driver.QueryerContext).QueryContext(arrowbatches.WithArrowBatches(ctx), query, nil)
		if err != nil {
			return err
		}
		defer rows.Close()
		list, err := arrowbatches.GetArrowBatches(rows.(gosnowflake.SnowflakeRows))
		if err != nil {
			return err
		}
		for i, b := range list {
			records, err := b.Fetch()
			if err != nil {
				return err
			}
			for _, rec := range *records {
				use(i, rec.Columns())
				rec.Release()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// The encodings themselves, which programs meet that read the streams.
func TestEncodingsAreSnowflakes(t *testing.T) {
	srv := snowtest.New(t)
	cases := map[string]struct {
		typ    string
		scale  int64
		values string
		want   string
	}{
		"a byte":             {"fixed", 0, "127,-128", "int8 FIXED 1"},
		"a byte with scale":  {"fixed", 1, "12.7", "int8 FIXED 1"},
		"two bytes":          {"fixed", 0, "128", "int16 FIXED 2"},
		"four bytes":         {"fixed", 0, "-32769", "int32 FIXED 4"},
		"eight bytes":        {"fixed", 0, "2147483648", "int64 FIXED 8"},
		"19 digits":          {"fixed", 0, "9223372036854775807", "int64 FIXED 8"},
		"sixteen bytes":      {"fixed", 2, "1," + strings.Repeat("9", 30) + ".25", "decimal(38, 2) FIXED 16"},
		"only NULL":          {"fixed", 0, ",", "int8 FIXED 1"},
		"real":               {"real", 0, "1", "float64 REAL 8"},
		"boolean":            {"boolean", 0, "1", "bool BOOLEAN 1"},
		"date":               {"date", 0, "1", "date32 DATE 4"},
		"time(4)":            {"time", 4, "1", "int32 TIME 4"},
		"time(9)":            {"time", 9, "1", "int64 TIME 8"},
		"timestamp_ntz(7)":   {"timestamp_ntz", 7, "1", "int64 TIMESTAMP_NTZ 8"},
		"timestamp_ntz(9)":   {"timestamp_ntz", 9, "1", "struct<epoch: int64, fraction: int32> TIMESTAMP_NTZ 16"},
		"timestamp_ltz(0)":   {"timestamp_ltz", 0, "1", "int64 TIMESTAMP_LTZ 8"},
		"timestamp_ltz(8)":   {"timestamp_ltz", 8, "1", "struct<epoch: int64, fraction: int32> TIMESTAMP_LTZ 16"},
		"timestamp_tz(3)":    {"timestamp_tz", 3, "1 1440", "struct<epoch: int64, timezone: int32> TIMESTAMP_TZ 8"},
		"timestamp_tz(9)":    {"timestamp_tz", 9, "1 1440", "struct<epoch: int64, fraction: int32, timezone: int32> TIMESTAMP_TZ 16"},
		"text":               {"text", 0, "x", "utf8 TEXT 100"},
		"variant":            {"variant", 0, "1", "utf8 VARIANT 100"},
		"binary":             {"binary", 0, "00", "binary BINARY 100"},
		"a type of no Arrow": {"geography", 0, "POINT(0 0)", "json"},
	}
	c := conn(t, open(t, srv))
	for name, tt := range cases {
		column := snowtest.Column{Name: "A", Type: tt.typ, Scale: tt.scale, ByteLength: 100}
		srv.Handle("^SELECT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return columnValues{column: column, values: tt.values}.result(), nil
		})
		got := "json"
		stream(t, c, "SELECT a FROM t", func(l gosnowflake.ArrowStreamLoader) {
			if l.(gosnowflake.QueryResultFormatProvider).QueryResultFormat() == "json" {
				return
			}
			list, err := l.GetBatches()
			if err != nil || len(list) != 1 {
				t.Fatalf("%d batches: %v", len(list), err)
			}
			body, err := list[0].GetStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			r, err := ipc.NewReader(body)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Release()
			f := r.Schema().Field(0)
			logical, _ := f.Metadata.GetValue("logicalType")
			width, _ := f.Metadata.GetValue("byteLength")
			got = strings.ReplaceAll(fmt.Sprint(f.Type), ", nullable", "") + " " + logical + " " + width
		})
		if got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestQueriesAreArrowAndTheRestIsJSON(t *testing.T) {
	srv := snowtest.New(t, snowtest.AllowRepeats())
	db := open(t, srv)
	for query, want := range map[string]string{
		"SELECT 1":                     "arrow",
		"/* c */ with x as (select 1)": "arrow",
		"(SELECT 1) UNION (SELECT 2)":  "arrow",
		"SHOW TABLES":                  "json",
		"DESCRIBE TABLE t":             "json",
		"CALL p()":                     "json",
		"INSERT INTO t VALUES (1)":     "json",
		"CREATE TABLE t (a INT)":       "json",
		"USE ROLE r":                   "json",
	} {
		if got := format(t, db, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestSessionChoosesItsFormat(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	for _, step := range []struct{ set, want string }{
		{"json", "json"}, {"'ARROW'", "arrow"}, {"'JSON'", "json"}, {"arrow", "arrow"},
	} {
		exec(t, c, "ALTER SESSION SET go_query_result_format = "+step.set)
		stream(t, c, "SELECT 1", func(l gosnowflake.ArrowStreamLoader) {
			if got := l.(gosnowflake.QueryResultFormatProvider).QueryResultFormat(); got != step.want {
				t.Errorf("after %s: %s", step.set, got)
			}
		})
	}
	_, err := c.ExecContext(t.Context(), "ALTER SESSION SET GO_QUERY_RESULT_FORMAT = 'XML'")
	wantCode(t, err, 1006)
	_, err = open(t, srv, inFormat("XML")).ExecContext(t.Context(), "SELECT 1")
	wantCode(t, err, 1006)
	if _, err := snowtest.Start(snowtest.WithSessionParameter("GO_QUERY_RESULT_FORMAT", "XML")); err == nil {
		t.Error("a server that answers XML started")
	}
	all := snowtest.New(t, snowtest.WithSessionParameter("GO_QUERY_RESULT_FORMAT", "json"))
	if got := format(t, open(t, all), "SELECT 1"); got != "json" {
		t.Errorf("server of JSON: %s", got)
	}
}

func TestEmptyArrowResultHasItsColumns(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle("FROM empty", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return &snowtest.Result{Columns: []snowtest.Column{{Name: "A", Type: "timestamp_tz", Scale: 9}, {Name: "B", Type: "fixed"}}}, nil
	})
	db := open(t, srv)
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM empty")
	if err != nil {
		t.Fatal(err)
	}
	names, err := rows.Columns()
	if err != nil || len(names) != 2 || rows.Next() || rows.Err() != nil {
		t.Errorf("columns %v, %v, %v", names, err, rows.Err())
	}
	_ = rows.Close()
	stream(t, conn(t, db), "SELECT * FROM empty", func(l gosnowflake.ArrowStreamLoader) {
		list, err := l.GetBatches()
		if err != nil || len(list) != 0 || len(l.RowTypes()) != 2 || l.TotalRows() != 0 {
			t.Errorf("%d batches, %d columns, %d rows: %v", len(list), len(l.RowTypes()), l.TotalRows(), err)
		}
	})
}

func TestValueThatItsTypeCannotHoldFailsTheStatement(t *testing.T) {
	for typ, value := range map[string]string{
		"fixed": "1.5", "real": "x", "boolean": "maybe", "date": "2024-01-01", "time": "86400", "timestamp_ntz": "0.5",
		"timestamp_tz": "1", "binary": "0", "timestamp_ltz": "1e3",
	} {
		srv := snowtest.New(t)
		srv.Handle("^SELECT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return &snowtest.Result{Columns: []snowtest.Column{{Name: "AMOUNT", Type: typ}}, Rows: [][]*string{{&value}}}, nil
		})
		_, err := open(t, srv).QueryContext(t.Context(), "SELECT a FROM t")
		wantCode(t, err, 603)
		if text := err.Error(); !strings.Contains(text, "AMOUNT") || !strings.Contains(text, typ) || !strings.Contains(text, value) {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// gosnowflake's own conversion of decimals to text rounds some in the 38th digit.
func TestDecimalsAreExact(t *testing.T) {
	srv := snowtest.New(t)
	nines, one := strings.Repeat("9", 38), "1."+strings.Repeat("0", 36)+"1"
	c := conn(t, open(t, srv))
	for scale, values := range map[int64]string{0: nines + ",,-" + nines, 37: one + ",,-" + one} {
		srv.Handle("^SELECT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return columnValues{column: snowtest.Column{Name: "A", Type: "fixed", Precision: 38, Scale: scale}, values: values}.result(), nil
		})
		batches(t, gosnowflake.WithHigherPrecision(t.Context()), c, "SELECT a FROM t", func(_ int, columns []arrow.Array) {
			d := columns[0].(*arrowarray.Decimal128)
			got := d.Value(0).BigInt().String() + ",," + d.Value(2).BigInt().String()
			if want := strings.ReplaceAll(values, ".", ""); got != want || !d.IsNull(1) {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

func TestNonNumbersTravel(t *testing.T) {
	srv := snowtest.New(t)
	srv.Handle("^SELECT", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return columnValues{column: snowtest.Column{Name: "A", Type: "real"}, values: "NaN"}.result(), nil
	})
	got := scan(t, t.Context(), open(t, srv), "SELECT a FROM t", new(float64))
	if len(got) != 1 || !math.IsNaN(got[0].(float64)) {
		t.Errorf("%v", got)
	}
}
