package results_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/jmoiron/sqlx"
	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/internal/testpool"
	"github.com/snowtether/snowtether/results"
	"github.com/snowtether/snowtether/snowtest"
)

// This file is about values: those of the row-wise form, and the times of batches.

const kindsQuery = "SELECT * FROM kinds"

// kinds are columns of all types, with values as an account sends them, the last of each NULL.
var kinds = []struct {
	column snowtest.Column
	sent   [4]string
}{
	{snowtest.Column{Name: "SMALL", Type: "fixed", Precision: 9}, [4]string{"1", "-127", "999999999", "0"}},
	{snowtest.Column{Name: "AMOUNT", Type: "fixed", Precision: 18, Scale: 4}, [4]string{"0.5", "-0.0001", "-12.3", "7"}},
	{snowtest.Column{Name: "WIDE", Type: "fixed", Precision: 38}, [4]string{"99999999999999999999999999999999999999", "-1", "9223372036854775808", "7"}},
	{snowtest.Column{Name: "FINE", Type: "fixed", Precision: 38, Scale: 20}, [4]string{"1.5", "-0.25", "0", "123456789012345678.00000000000000000001"}},
	{snowtest.Column{Name: "RATIO", Type: "real"}, [4]string{"0.1", "-1.5e-300", "inf", "0"}},
	{snowtest.Column{Name: "NOTE", Type: "text"}, [4]string{"", "Žluťoučký 雪 ❄", "a", "NULL"}},
	{snowtest.Column{Name: "GIFT", Type: "boolean"}, [4]string{"1", "0", "1", "0"}},
	{snowtest.Column{Name: "DAY", Type: "date"}, [4]string{"0", "-1", "2932896", "-719162"}},
	{snowtest.Column{Name: "CLOCK9", Type: "time", Scale: 9}, [4]string{"0", "86399.999999999", "1.5", "0.000000001"}},
	{snowtest.Column{Name: "CLOCK6", Type: "time", Scale: 6}, [4]string{"0", "86399.999999", "1.5", "0.000001"}},
	{snowtest.Column{Name: "LOCAL9", Type: "timestamp_ntz", Scale: 9}, [4]string{"0", "-1.999999999", "1700000000.123456789", "1"}},
	{snowtest.Column{Name: "LOCAL3", Type: "timestamp_ntz", Scale: 3}, [4]string{"253402300799.999", "-62135596800", "0.001", "-1.5"}},
	{snowtest.Column{Name: "PAID", Type: "timestamp_ltz", Scale: 9}, [4]string{"0", "1700000000.123", "-1", "1.000000001"}},
	{snowtest.Column{Name: "SENT", Type: "timestamp_tz", Scale: 6}, [4]string{"0 1440", "1700000000.000001 1560", "1700000000 870", "-1 1440"}},
	{snowtest.Column{Name: "RAW", Type: "binary"}, [4]string{"", "00FF10", "41", "DEADBEEF"}},
	{snowtest.Column{Name: "DOC", Type: "variant"}, [4]string{`{"a": 1}`, "null", `[1, "x"]`, "1.5"}},
}

// handleKinds answers with them, in parts of two rows.
func handleKinds(srv *snowtest.Server) {
	srv.Handle("FROM kinds", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		res := &snowtest.Result{Kind: snowtest.KindSelect, Rows: make([][]*string, 5)}
		for _, k := range kinds {
			k.column.Nullable = true
			res.Columns = append(res.Columns, k.column)
			for row, sent := range k.sent {
				res.Rows[row] = append(res.Rows[row], &sent)
			}
			res.Rows[4] = append(res.Rows[4], nil)
		}
		return res, nil
	})
}

// inKinds is inBubble with that result, and with sessions that begin in New York.
func inKinds(t *testing.T, f func(t *testing.T, srv *snowtest.Server, db *sql.DB)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := snowtest.New(t, snowtest.InMemory(), snowtest.AllowRepeats(), snowtest.WithChunkRows(2), snowtest.WithSessionParameter("TIMEZONE", "America/New_York"))
		handleKinds(srv)
		connector, err := snowtether.NewConnector(srv.Config())
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		defer db.Close()
		f(t, srv, db)
	})
}

// all are the values of rows, each with its type.
func all(t *testing.T, rows *sql.Rows, err error) (lines []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	values, targets := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			lines = append(lines, fmt.Sprintf("%s %T %v", columns[i], v, v))
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestRowsHoldWhatPlainRowsHold(t *testing.T) {
	inKinds(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		for name, ctx := range map[string]context.Context{"": t.Context(), "in higher precision": gosnowflake.WithHigherPrecision(t.Context())} {
			plain, err := db.QueryContext(ctx, kindsQuery)
			want := all(t, plain, err)
			rows, err := results.Rows(ctx, db, results.SQL(kindsQuery))
			got := all(t, rows, err)
			for i := range want {
				// Plain rows make their texts of numbers with a scale over a float64.
				exact := name == "" && strings.HasPrefix(want[i], "FINE string 123456789012345678.")
				if name != "" && strings.HasPrefix(want[i], "SMALL int64") {
					got[i] = strings.Replace(got[i], " string ", " int64 ", 1) // Scan makes one of either
				}
				if i >= len(got) || got[i] != want[i] && !exact {
					t.Errorf("%s: got %s, want %s", name, got[i], want[i])
				}
			}
			if len(got) != len(want) || len(want) != 5*len(kinds) {
				t.Errorf("%d values, want %d", len(got), len(want))
			}
		}
	})
}

func kindsNames() (names []string) {
	for _, k := range kinds {
		names = append(names, k.column.Name)
	}
	return names
}

func TestRowsTellTheTypesOfTheirColumns(t *testing.T) {
	inKinds(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		describe := func(rows *sql.Rows, err error) (text string) {
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			types, err := rows.ColumnTypes()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range types {
				length, hasLength := c.Length()
				precision, scale, decimal := c.DecimalSize()
				nullable, known := c.Nullable()
				text += fmt.Sprintln(c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength, precision, scale, decimal, nullable, known)
			}
			return text
		}
		want := describe(db.QueryContext(t.Context(), kindsQuery))
		if got := describe(results.Rows(t.Context(), db, results.SQL(kindsQuery))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestRowsAreTakenBySQLX(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		breaks[5].put(srv, 11)
		rows, err := results.Rows(t.Context(), db, results.SQL(manyQuery))
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var list []struct {
			N    int    `db:"N"`
			Text string `db:"TEXT"`
		}
		if err := sqlx.StructScan(rows, &list); err != nil {
			t.Fatal(err)
		}
		for i, row := range list {
			if row.N != i || row.Text != fmt.Sprint("row ", i) {
				t.Fatalf("row %d is %v", i, row)
			}
		}
		if len(list) != manyRows || srv.Accepted(manyQuery) != 1 {
			t.Errorf("%d rows, accepted %d times", len(list), srv.Accepted(manyQuery))
		}
	})
}

func TestRowsSurviveEveryBreak(t *testing.T) {
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
				for _, part := range []int{0, 20, parts - 1} {
					b.put(srv, part)
				}
				rows, err := results.Rows(t.Context(), db, results.SQL(manyQuery))
				lines := all(t, rows, err)
				for i := range manyRows {
					if want := fmt.Sprintf("N string %d", i); len(lines) != 2*manyRows || lines[2*i] != want {
						t.Fatalf("%d values, want %d, and row %d %s", len(lines), 2*manyRows, i, want)
					}
				}
				if n := srv.Accepted(manyQuery); n != 1 {
					t.Errorf("the query was accepted %d times", n)
				}
			}, snowtest.AllowOpenSessions())
		})
	}
}

// TestRowsThatAreClosedEarlyLeaveNothingBehind: no goroutine (the bubble sees to that), and no
// connection.
func TestRowsThatAreClosedEarlyLeaveNothingBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		db.SetMaxOpenConns(1)
		for _, cancels := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			rows, err := results.Rows(ctx, db, results.SQL(manyQuery))
			if err != nil || !rows.Next() {
				t.Fatal(err, rows.Err())
			}
			if cancels {
				cancel()
				for rows.Next() {
				}
				if !errors.Is(rows.Err(), context.Canceled) {
					t.Errorf("the error is %v", rows.Err())
				}
			} else if err := rows.Close(); err != nil {
				t.Error(err)
			}
			cancel()
			synctest.Wait()
			if n := db.Stats().InUse; n != 0 {
				t.Errorf("%d connections are in use", n)
			}
		}
	}, snowtest.AllowRepeats())
}

func TestRowsOfJSONAreServedAsPlainRows(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		rows, err := results.Rows(t.Context(), db, results.SQL(manyQuery))
		if n := len(all(t, rows, err)); n != 2*manyRows {
			t.Errorf("%d values", n)
		}
		if n := db.Stats().InUse; n != 0 || srv.Accepted(manyQuery) != 1 {
			t.Errorf("%d connections are in use, accepted %d times", n, srv.Accepted(manyQuery))
		}
	}, snowtest.WithSessionParameter("GO_QUERY_RESULT_FORMAT", "JSON"))
}

// TestRowsOfJSONOutliveDownloadsThatFailUnseen: gosnowflake's Next misses downloads that fail while it
// is about to wait for them, and then waits for ever.
func TestRowsOfJSONOutliveDownloadsThatFailUnseen(t *testing.T) {
	const atOnce = 4
	read := func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		ctx := testpool.FailUnseen(t.Context(), srv, atOnce)
		// What waits for ever holds up all that would close it: then only the process can be ended.
		defer time.AfterFunc(24*time.Hour, func() { panic("the reader waits for ever") }).Stop()
		rows, err := results.Rows(ctx, db, results.SQL(manyQuery))
		if n := len(all(t, rows, err)); n != 2*manyRows {
			t.Errorf("%d values", n)
		}
	}
	inJSON := snowtest.WithSessionParameter("GO_QUERY_RESULT_FORMAT", "JSON")
	few := snowtest.WithSessionParameter("CLIENT_PREFETCH_THREADS", atOnce)
	t.Run("snowtether's pool", func(t *testing.T) { inBubble(t, read, inJSON, few) })
	t.Run("gosnowflake's", func(t *testing.T) { plainly(t, read, inJSON, few) })
}

// TestFirstSessionsTimezoneStays: the sessions that fetch the rest of the result have another one.
func TestFirstSessionsTimezoneStays(t *testing.T) {
	inKinds(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		paid := slices.Index(kindsNames(), "PAID")
		var seen []string
		lose := func() {
			srv.ExpireChunkURLs()
			srv.AbortSessions()
		}
		tokyo := func() {
			if _, err := db.ExecContext(t.Context(), "ALTER SESSION SET TIMEZONE = 'Asia/Tokyo'"); err != nil { // of the connection that is read with next
				t.Fatal(err)
			}
		}
		tokyo()
		err := results.Read(t.Context(), db, results.SQL(kindsQuery), func(b results.Batch) error {
			if b.First == 0 {
				lose()
			}
			at, _ := b.Timestamp(paid, 0)
			seen = append(seen, fmt.Sprint(b.Column(paid).DataType(), at.Location()))
			return nil
		}, results.Ahead(0))
		const want = "timestamp[ns, tz=Asia/Tokyo] Asia/Tokyo"
		if err != nil || len(seen) != 3 || seen[0] != want || seen[1] != want || refetched(srv) == 0 {
			t.Errorf("fetched again %d times, %q, %v", refetched(srv), seen, err)
		}

		tokyo()
		rows, err := results.Rows(t.Context(), db, results.SQL(kindsQuery), results.Ahead(0))
		if err != nil {
			t.Fatal(err)
		}
		lose()
		for _, line := range all(t, rows, nil) {
			if strings.HasPrefix(line, "PAID time.Time") && !strings.HasSuffix(line, " JST") {
				t.Errorf("row-wise: %s", line)
			}
		}
	})
}

func TestTimesOfBatchesAreArrowsOwn(t *testing.T) {
	inKinds(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		got := map[string]string{}
		err := results.Read(t.Context(), db, results.SQL(kindsQuery), func(b results.Batch) error {
			for i, c := range b.Columns {
				if b.Schema().Field(i).Type.String() != b.Column(i).DataType().String() {
					t.Errorf("%s: the schema says %v", c.Name, b.Schema().Field(i).Type)
				}
				switch values := b.Column(i).(type) {
				case *array.Time64, *array.Timestamp:
					got[c.Name] += values.DataType().String() + " " + values.ValueStr(0) + "; "
				}
				for row := range int(b.NumRows()) {
					stamps, _ := b.Column(i).(*array.Timestamp)
					if at, ok := b.Timestamp(i, row); ok && !stamps.Value(row).ToTime(stamps.DataType().(*arrow.TimestampType).Unit).Equal(at) {
						t.Errorf("%s: %v is %s", c.Name, at, stamps.ValueStr(row))
					}
				}
				at, ok := b.Timestamp(i, 0)
				if _, stamp := b.Column(i).(*array.Timestamp); ok != (stamp && b.Column(i).IsValid(0)) {
					t.Errorf("%s: a timestamp %v, %v", c.Name, at, ok)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"CLOCK9": "time64[ns] 00:00:00.000000000; time64[ns] 00:00:01.500000000; time64[ns] (null); ",
			"CLOCK6": "time64[us] 00:00:00.000000; time64[us] 00:00:01.500000; time64[us] (null); ",
			"LOCAL9": "timestamp[ns] 1970-01-01T00:00:00Z; timestamp[ns] 2023-11-14T22:13:20.123456789Z; timestamp[ns] (null); ",
			"LOCAL3": "timestamp[ms] 9999-12-31T23:59:59.999Z; timestamp[ms] 1970-01-01T00:00:00.001Z; timestamp[ms] (null); ",
			"SENT":   "timestamp[us, tz=UTC] 1970-01-01T00:00:00Z; timestamp[us, tz=UTC] 2023-11-14T22:13:20Z; timestamp[us, tz=UTC] (null); ",
		} {
			if got[name] != want {
				t.Errorf("%s:\ngot  %s\nwant %s", name, got[name], want)
			}
		}
	})
}

// oneColumn answers with one value.
func oneColumn(srv *snowtest.Server, c snowtest.Column, value string) {
	srv.Handle("FROM one", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return &snowtest.Result{Kind: snowtest.KindSelect, Columns: []snowtest.Column{c}, Rows: [][]*string{{&value}}}, nil
	})
}

func TestTimeThatCannotBeConvertedNamesItsColumn(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		for scale := range 10 {
			oneColumn(srv, snowtest.Column{Name: "OPENS", Type: "time", Scale: int64(scale)}, "61")
			read := 0
			err := results.Read(t.Context(), db, results.SQL("SELECT * FROM one"), func(results.Batch) error { read++; return nil })
			rows, rowsErr := results.Rows(t.Context(), db, results.SQL("SELECT * FROM one"))
			if scale >= 5 {
				if lines := all(t, rows, rowsErr); err != nil || read != 1 || lines[0] != "OPENS time.Time 0001-01-01 00:01:01 +0000 UTC" {
					t.Errorf("TIME(%d): %v, %q", scale, err, lines)
				}
				continue
			}
			if says := fmt.Sprintf("column OPENS: gosnowflake cannot convert a TIME(%d)", scale); err == nil || rowsErr == nil || read != 0 || !strings.Contains(err.Error(), says) || !strings.Contains(rowsErr.Error(), says) {
				t.Errorf("TIME(%d): %v, %v", scale, err, rowsErr)
			}
		}
	}, snowtest.AllowRepeats())
}

func TestTimestampThatDoesNotFitIsAnErrorAndNotAnotherDate(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *snowtest.Server, db *sql.DB) {
		oneColumn(srv, snowtest.Column{Name: "EVER", Type: "timestamp_ntz", Scale: 9}, "253402214400.000000001")
		err := results.Read(t.Context(), db, results.SQL("SELECT * FROM one"), func(results.Batch) error { t.Error("there are rows"); return nil })
		if err == nil || !strings.Contains(err.Error(), "column EVER: 9999-12-31T00:00:00.000000001Z does not fit") {
			t.Errorf("the error is %v", err)
		}
		var at time.Time
		err = results.Read(t.Context(), db, results.SQL("SELECT * FROM one"), func(b results.Batch) error { at, _ = b.Timestamp(0, 0); return nil }, results.OriginalTimestamps())
		if err != nil || at.Format(time.RFC3339Nano) != "9999-12-31T00:00:00.000000001Z" {
			t.Errorf("%v, %v", at, err)
		}
	}, snowtest.AllowRepeats())
}
