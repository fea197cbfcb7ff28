package duckdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// connect starts a server with this engine and opens gosnowflake on it.
func connect(t testing.TB, opts ...snowtest.Option) (*sql.DB, *snowtest.Server) {
	t.Helper()
	e, err := duckdb.New()
	if err != nil {
		t.Fatal(err)
	}
	srv := snowtest.New(t, append(opts, snowtest.WithEngine(e))...)
	db, err := sql.Open("snowflake", srv.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, srv
}

type execer interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}

func mustExec(t testing.TB, db execer, query string, args ...any) sql.Result {
	t.Helper()
	res, err := db.ExecContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return res
}

// changed carries out a DML statement and gives the rows it changed.
func changed(t *testing.T, db execer, query string, args ...any) int64 {
	t.Helper()
	n, err := mustExec(t, db, query, args...).RowsAffected()
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestClientWritesAndReadsEveryType(t *testing.T) {
	db, _ := connect(t)
	mustExec(t, db, `CREATE TABLE t (i INT, n NUMBER(20,4), f FLOAT, s VARCHAR, b BOOLEAN, d DATE, tm TIME, ntz TIMESTAMP_NTZ, ltz TIMESTAMP_LTZ, tz TIMESTAMP_TZ, bin BINARY)`)
	when := time.Date(2024, 2, 29, 13, 14, 15, 123456000, time.FixedZone("", 2*3600))
	affected := changed(t, db, "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", -7, "1234567890123456.7891", 0.5, "it's \\ ü", true,
		gosnowflake.DataTypeDate, when, gosnowflake.DataTypeTime, when, gosnowflake.DataTypeTimestampNtz, when,
		gosnowflake.DataTypeTimestampLtz, when, gosnowflake.DataTypeTimestampTz, when, gosnowflake.DataTypeBinary, []byte{0, 255})
	if affected != 1 {
		t.Fatalf("inserted %d", affected)
	}
	var i int64
	var n, s string
	var f float64
	var b bool
	var d, tm, ntz, ltz, tz time.Time
	var bin []byte
	if err := db.QueryRow("SELECT * FROM t").Scan(&i, &n, &f, &s, &b, &d, &tm, &ntz, &ltz, &tz, &bin); err != nil {
		t.Fatal(err)
	}
	if i != -7 || n != "1234567890123456.7891" || f != 0.5 || s != "it's \\ ü" || !b || !bytes.Equal(bin, []byte{0, 255}) {
		t.Errorf("got %v %v %v %q %v %x", i, n, f, s, b, bin)
	}
	if d.Format(time.DateOnly) != "2024-02-29" || tm.Format("15:04:05.000000000") != "13:14:15.123456000" {
		t.Errorf("got %v %v", d, tm)
	}
	if !ntz.Equal(when) || !ltz.Equal(when) || !tz.Equal(when) {
		t.Errorf("got %v %v %v, want %v", ntz, ltz, tz, when)
	}
	var null sql.NullInt64
	if err := db.QueryRow("SELECT sum(i) FROM t WHERE false").Scan(&null); err != nil || null.Valid {
		t.Errorf("NULL: %v %v", null, err)
	}
}

func TestClientSeesColumnTypes(t *testing.T) {
	db, _ := connect(t)
	rows, err := db.Query("SELECT 1.50::NUMBER(10,2) AS price, 'x' AS name, current_date AS today, count(*), parse_json('{\"a\":1}') AS v")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range types {
		p, s, _ := c.DecimalSize()
		got = append(got, fmt.Sprintf("%s %s(%d,%d)", c.Name(), c.DatabaseTypeName(), p, s))
	}
	want := "PRICE FIXED(10,2), NAME TEXT(0,0), TODAY DATE(0,0), COUNT(*) FIXED(18,0), V VARIANT(0,0)"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
	for rows.Next() {
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
	}
}

func TestClientKeepsAllDigits(t *testing.T) {
	db, _ := connect(t)
	ctx := gosnowflake.WithHigherPrecision(t.Context())
	var n *big.Int
	var v any
	if err := db.QueryRowContext(ctx, "SELECT 12345678901234567890123456789012345678").Scan(&v); err != nil {
		t.Fatal(err)
	}
	if b, ok := v.(big.Int); ok {
		n = &b
	} else if n, ok = v.(*big.Int); !ok {
		t.Fatalf("got a %T", v)
	}
	if n.String() != "12345678901234567890123456789012345678" {
		t.Errorf("got %v", n)
	}
}

func TestClientTransactionsAndCounts(t *testing.T) {
	db, srv := connect(t)
	mustExec(t, db, "CREATE TABLE t (id INT, s VARCHAR)")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := changed(t, tx, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')"); n != 3 {
		t.Errorf("inserted %d", n)
	}
	if n := changed(t, tx, "UPDATE t SET s = upper(s) WHERE id >= ?", 2); n != 2 {
		t.Errorf("updated %d", n)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n := changed(t, db, "INSERT INTO t SELECT seq4(), 'x' FROM TABLE(GENERATOR(ROWCOUNT => 1000))"); n != 1000 {
		t.Errorf("inserted %d", n)
	}
	if n := changed(t, db, "DELETE FROM t WHERE id < 10"); n != 10 {
		t.Errorf("deleted %d", n)
	}
	n := changed(t, db, `MERGE INTO t USING (SELECT column1 AS id FROM VALUES (10), (5000)) s ON t.id = s.id
		WHEN MATCHED THEN UPDATE SET s = 'new' WHEN NOT MATCHED THEN INSERT (id, s) VALUES (s.id, 'new')`)
	if n != 2 {
		t.Errorf("merged %d", n)
	}
	if got := srv.Effects("DELETE FROM t WHERE id < 10"); got != 1 {
		t.Errorf("the ledger counts %d effects", got)
	}
}

func TestClientArrayBinds(t *testing.T) {
	for name, opt := range map[string]snowtest.Option{
		"in the request": snowtest.WithSessionParameter("QUERY_TAG", ""),
		"over a stage":   snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 10),
	} {
		t.Run(name, func(t *testing.T) {
			db, _ := connect(t, opt)
			mustExec(t, db, "CREATE TABLE t (i INT, f FLOAT, s VARCHAR, b BOOLEAN, bin BINARY, ts TIMESTAMP_NTZ, d DATE, tm TIME)")
			const n = 3000
			var is []int
			var fs []float64
			var ss []string
			var bs []bool
			var bins [][]byte
			var times []time.Time
			for i := range n {
				is, fs, ss = append(is, i), append(fs, float64(i)/4), append(ss, fmt.Sprintf("s,\"%d\"", i))
				bs, bins = append(bs, i%2 == 0), append(bins, []byte{byte(i)})
				times = append(times, time.Date(2024, 1, 1, 0, 0, i, 1000*i, time.UTC))
			}
			arrays := []any{is, fs, ss, bs, bins}
			for i := range arrays {
				arrays[i] = goArray(t, arrays[i])
			}
			arrays = append(arrays, goArray(t, times, gosnowflake.TimestampNTZType), goArray(t, times, gosnowflake.DateType), goArray(t, times, gosnowflake.TimeType))
			if got := changed(t, db, "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?)", arrays...); got != n {
				t.Errorf("inserted %d", got)
			}
			var got string
			err := db.QueryRow(`SELECT count(*) || ' ' || sum(i) || ' ' || sum(f) || ' ' || count_if(b) || ' ' || count(DISTINCT bin) || ' ' ||
				max(ts) || ' ' || min(d) || ' ' || max(tm) || ' ' || max(s) FROM t WHERE length(s) > 0`).Scan(&got)
			if err != nil {
				t.Fatal(err)
			}
			if want := `3000 4498500 1124625 1500 256 2024-01-01 00:49:59.002 2024-01-01 00:49:59 s,"999"`; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func goArray(t *testing.T, values any, typ ...any) any {
	t.Helper()
	a, err := gosnowflake.Array(values, typ...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestClientSeesSnowflakesErrors(t *testing.T) {
	db, _ := connect(t)
	for query, want := range map[string]int{
		"SELEC 1": 1003, "SELECT * FROM nope": 2003, "SELECT nope FROM VALUES (1)": 904, "SELECT 1 / 0": 100051,
		"SELECT 'abc'::INT": 100038, "SELECT foo(1)": 2140, "SELECT * FROM t AT(OFFSET => -60)": 2,
	} {
		_, err := db.Query(query)
		var sf *gosnowflake.SnowflakeError
		if !errors.As(err, &sf) || sf.Number != want {
			t.Errorf("%s: %v, want %d", query, err, want)
		}
	}
}

func TestClientSessionState(t *testing.T) {
	db, _ := connect(t)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range []string{"CREATE DATABASE other", "CREATE SCHEMA s2", "ALTER SESSION SET TIMEZONE = 'Asia/Tokyo'", "SET v = 41", "USE ROLE analyst"} {
		mustExec(t, conn, q)
	}
	var db2, schema, role, text string
	var v int
	var ltz time.Time
	if err := conn.QueryRowContext(t.Context(), "SELECT current_database(), current_schema(), current_role(), $v + 1, '2024-01-01 00:00:00'::TIMESTAMP_LTZ, to_varchar('2024-01-01 00:00:00'::TIMESTAMP_LTZ)").
		Scan(&db2, &schema, &role, &v, &ltz, &text); err != nil {
		t.Fatal(err)
	}
	if db2 != "OTHER" || schema != "S2" || role != "ANALYST" || v != 42 {
		t.Errorf("got %s %s %s %d", db2, schema, role, v)
	}
	if ltz.UTC().Format(time.DateTime) != "2023-12-31 15:00:00" || text != "2024-01-01 00:00:00.000 +0900" || ltz.Location().String() != "Asia/Tokyo" {
		t.Errorf("got %v, %s", ltz, text)
	}
}

func TestClientsInsertAtOnce(t *testing.T) {
	db, _ := connect(t)
	db.SetMaxOpenConns(8)
	mustExec(t, db, "CREATE TABLE t (worker INT, n INT)")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := range 10 {
				if _, err := db.Exec("INSERT INTO t VALUES (?, ?)", w, n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n, distinct int
	if err := db.QueryRow("SELECT count(*), count(DISTINCT worker, n) FROM t").Scan(&n, &distinct); err != nil || n != 80 || distinct != 80 {
		t.Errorf("got %d and %d, %v", n, distinct, err)
	}
}

func TestClientCancels(t *testing.T) {
	db, _ := connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := db.QueryContext(ctx, "SELECT count(*) FROM TABLE(GENERATOR(ROWCOUNT => 10000000)) a, TABLE(GENERATOR(ROWCOUNT => 1000000)) b WHERE random() > 0")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := db.Ping(); err != nil {
		t.Error(err)
	}
}

func TestClientPrepares(t *testing.T) {
	db, _ := connect(t)
	mustExec(t, db, "CREATE TABLE t (a INT, s VARCHAR)")
	stmt, err := db.Prepare("INSERT INTO t VALUES (?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	for i := range 3 {
		if _, err := stmt.Exec(i, fmt.Sprint("row ", i)); err != nil {
			t.Fatal(err)
		}
	}
	var s string
	if err := db.QueryRow("SELECT listagg(s, ',') WITHIN GROUP (ORDER BY a) FROM t").Scan(&s); err != nil || s != "row 0,row 1,row 2" {
		t.Errorf("got %q, %v", s, err)
	}
}

func TestClientReadsChunks(t *testing.T) {
	db, _ := connect(t, snowtest.WithChunkRows(1000))
	rows, err := db.Query("SELECT seq4() AS n, n * 2 FROM TABLE(GENERATOR(ROWCOUNT => 25000)) ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	count, sum := 0, 0
	for rows.Next() {
		var a, b int
		if err := rows.Scan(&a, &b); err != nil {
			t.Fatal(err)
		}
		count, sum = count+1, sum+b
	}
	if rows.Err() != nil || count != 25000 || sum != 25000*24999 {
		t.Errorf("%d rows, sum %d, %v", count, sum, rows.Err())
	}
}
