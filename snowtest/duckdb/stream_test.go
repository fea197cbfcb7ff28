package duckdb_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"
	"github.com/snowflakedb/gosnowflake/v2/arrowbatches"

	"github.com/snowtether/snowtether/snowtest"
)

// This file is about results in Arrow format and results that are too large to
// stand in memory as a whole.

// inJSON takes a connection that gets its rows in JSON.
func inJSON(t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	c := pinned(t, db)
	mustExec(t, c, "ALTER SESSION SET GO_QUERY_RESULT_FORMAT = 'JSON'")
	return c
}

func pinned(t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// values reads what a query gives for one column.
func values(t *testing.T, c *sql.Conn, query string, dest any) (list []any) {
	t.Helper()
	rows, err := c.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		v := reflect.New(reflect.TypeOf(dest).Elem())
		if err := rows.Scan(v.Interface()); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		list = append(list, v.Elem().Interface())
	}
	if rows.Err() != nil {
		t.Fatalf("%s: %v", query, rows.Err())
	}
	return list
}

func TestArrowAndJSONGiveTheSameValues(t *testing.T) {
	db, _ := connect(t)
	asArrow, asJSON := pinned(t, db), inJSON(t, db)
	text, number, instant := new(sql.NullString), new(sql.NullInt64), new(sql.NullTime)
	for expr, dest := range map[string]any{
		"1":                                 number,
		"9223372036854775807::NUMBER(38,0)": number,
		"99999999999999999999999999999999999999::NUMBER(38,0)": text,
		"-9999999999999999999999999999999999.99::NUMBER(38,2)": text,
		"-0.05::NUMBER(10,2)":                              text,
		"1.5::FLOAT":                                       new(sql.NullFloat64),
		"TRUE":                                             new(sql.NullBool),
		"'é, \"x\"'":                                       text,
		"'0001-01-01'::DATE":                               instant,
		"'9999-12-31'::DATE":                               instant,
		"'23:59:59.999999'::TIME":                          instant,
		"'1969-12-31 23:59:59'::TIMESTAMP_NTZ":             instant,
		"'0001-01-01 00:00:00'::TIMESTAMP_NTZ":             instant,
		"'9999-12-31 23:59:59.999999'::TIMESTAMP_NTZ":      instant,
		"'2024-02-29 12:00:00.123456+05:30'::TIMESTAMP_TZ": instant,
		"'2024-02-29 12:00:00.123456'::TIMESTAMP_LTZ":      instant,
		"TO_BINARY('DEADBEEF')":                            new([]byte),
		"PARSE_JSON('{\"a\": [1, 2]}')":                    text,
		"NULL":                                             number,
		"CAST(NULL AS VARCHAR)":                            text,
		"CAST(NULL AS TIMESTAMP_NTZ)":                      instant,
		"CAST(NULL AS NUMBER(38,2))":                       text,
	} {
		for _, query := range []string{
			"SELECT " + expr, "SELECT " + expr + " WHERE FALSE",
			"SELECT CASE WHEN n = 2 THEN NULL ELSE " + expr + " END FROM (SELECT 1 AS n UNION ALL SELECT 2) ORDER BY n",
		} {
			if want, got := values(t, asJSON, query, dest), values(t, asArrow, query, dest); !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n Arrow %v\n  JSON %v", query, got, want)
			}
		}
	}
}

func TestUnsetFormatIsTheServers(t *testing.T) {
	db, _ := connect(t)
	c := inJSON(t, db)
	ctx := arrowbatches.WithArrowBatches(t.Context())
	for _, want := range []bool{false, true} {
		err := c.Raw(func(dc any) error {
			rows, err := dc.(driver.QueryerContext).QueryContext(ctx, "SELECT 1", nil)
			if err != nil {
				return err
			}
			defer rows.Close()
			if _, err := arrowbatches.GetArrowBatches(rows.(gosnowflake.SnowflakeRows)); (err == nil) != want {
				t.Errorf("Arrow %v: %v", want, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, c, "ALTER SESSION UNSET GO_QUERY_RESULT_FORMAT")
	}
	if _, err := c.ExecContext(t.Context(), "ALTER SESSION SET GO_QUERY_RESULT_FORMAT = 'XML'"); err == nil {
		t.Error("a session that gets XML")
	}
}

const (
	manyRows = 25_001
	counting = "SELECT n, 'row ' || n AS name, IFF(n %% 7 = 0, NULL, n / 2) AS half FROM (SELECT seq4() AS n FROM TABLE(GENERATOR(ROWCOUNT => %d))) ORDER BY n"
)

// counted fails unless rows are those of counting.
func counted(t *testing.T, rows *sql.Rows, n int) {
	t.Helper()
	defer rows.Close()
	i := 0
	for ; rows.Next(); i++ {
		var id int
		var name string
		var half sql.NullFloat64
		if err := rows.Scan(&id, &name, &half); err != nil {
			t.Fatal(err)
		}
		if id != i || name != fmt.Sprint("row ", i) || half.Valid != (i%7 != 0) || half.Valid && half.Float64 != float64(i)/2 {
			t.Fatalf("row %d: %d %q %v", i, id, name, half)
		}
	}
	if rows.Err() != nil || i != n {
		t.Fatalf("%d rows, %v", i, rows.Err())
	}
}

func TestLargeResultIsYielded(t *testing.T) {
	db, srv := connect(t)
	query := fmt.Sprintf(counting, manyRows)
	asArrow, asJSON := pinned(t, db), inJSON(t, db)
	for _, c := range []*sql.Conn{asArrow, asJSON} {
		rows, err := c.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		counted(t, rows, manyRows)
		list := srv.Ledger()
		id := list[len(list)-1].QueryID
		for _, again := range []*sql.Conn{asArrow, asJSON} {
			rows, err := again.QueryContext(gosnowflake.WithFetchResultByID(t.Context(), id), "")
			if err != nil {
				t.Fatal(err)
			}
			counted(t, rows, manyRows)
			rows, err = again.QueryContext(t.Context(), "SELECT * FROM TABLE(RESULT_SCAN('"+id+"'))")
			if err != nil {
				t.Fatal(err)
			}
			counted(t, rows, manyRows)
		}
	}
}

func TestLargeResultsOfMultiStatement(t *testing.T) {
	db, _ := connect(t)
	rows, err := db.QueryContext(gosnowflake.WithMultiStatement(t.Context(), 2), fmt.Sprintf(counting+";"+counting, 12_000, 11_000))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for _, want := range []int{12_000, 11_000} {
		for rows.Next() {
			n++
		}
		if n != want || rows.Err() != nil {
			t.Errorf("%d rows, want %d: %v", n, want, rows.Err())
		}
		rows.NextResultSet()
		n = 0
	}
}

func TestArrowBatchesOfLargeResult(t *testing.T) {
	db, _ := connect(t)
	if n := batchRows(t, pinned(t, db), fmt.Sprintf(counting, manyRows)); n != manyRows {
		t.Errorf("%d rows", n)
	}
}

// batchRows counts the rows of a query's Arrow batches.
func batchRows(t testing.TB, c *sql.Conn, query string) (n int) {
	t.Helper()
	err := c.Raw(func(dc any) error {
		ctx := arrowbatches.WithArrowBatches(t.Context())
		rows, err := dc.(driver.QueryerContext).QueryContext(ctx, query, nil)
		if err != nil {
			return err
		}
		defer rows.Close()
		batches, err := arrowbatches.GetArrowBatches(rows.(gosnowflake.SnowflakeRows))
		if err != nil {
			return err
		}
		for _, b := range batches {
			records, err := b.Fetch()
			if err != nil {
				return err
			}
			for _, r := range *records {
				n += int(r.NumRows())
				r.Release()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestErrorFarDownInTheRowsFailsTheStatement(t *testing.T) {
	db, _ := connect(t)
	// 39 digits, which only the client would notice.
	const query = "SELECT 1 AS n FROM TABLE(GENERATOR(ROWCOUNT => 20000)) UNION ALL " +
		"SELECT SUM(v) FROM (SELECT 60000000000000000000000000000000000000::NUMBER(38,0) AS v FROM TABLE(GENERATOR(ROWCOUNT => 2)))"
	c := pinned(t, db)
	mustExec(t, c, "BEGIN")
	_, err := c.QueryContext(t.Context(), query)
	var sf *gosnowflake.SnowflakeError
	if !errors.As(err, &sf) || sf.Number != 100046 {
		t.Errorf("error %v", err)
	}
	mustExec(t, c, "COMMIT")
	if got := values(t, c, "SELECT 1", new(int)); len(got) != 1 {
		t.Errorf("afterwards: %v", got)
	}
}

// An engine can be used without the server, which reads the rows at once.
func TestRowsThatNobodyReadGoWithTheNextStatement(t *testing.T) {
	c := newClient(t)
	many := "SELECT seq4() FROM TABLE(GENERATOR(ROWCOUNT => 30000))"
	old := c.run(many)
	total := 0
	for rows, err := range c.run(many).More {
		if err != nil {
			t.Fatal(err)
		}
		total += len(rows)
	}
	if total+len(old.Rows) != 30_000 {
		t.Errorf("%d rows, then %d", len(old.Rows), total)
	}
	for _, err := range old.More {
		if err == nil {
			t.Fatal("rows of a statement that is over")
		}
	}
	c.run(many) // is closed with the session
	if res, err := c.s.Run(context.Background(), &snowtest.Statement{SQL: many, DescribeOnly: true}); err != nil || res.More != nil {
		t.Errorf("described: %v", err)
	}
	c.run(many)
}
