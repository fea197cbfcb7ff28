package snowtest_test

import (
	"bytes"
	"context"
	"database/sql"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

func TestScriptAnswersWithoutHandlers(t *testing.T) {
	srv := snowtest.New(t)
	c := conn(t, open(t, srv))
	for query, want := range map[string]string{
		"SELECT 42":                  "42",
		"select -7 ;":                "-7",
		"SELECT 'it''s'":             "it's",
		"SELECT CURRENT_SESSION()":   strconv.FormatInt(srv.Sessions()[0].ID, 10),
		"SELECT x FROM t":            "1",
		"WITH a AS (SELECT 2) TABLE": "1",
		"SHOW TABLES":                "1",
		"CALL p()":                   "1",
		"CREATE TABLE t (x INT)":     "Statement executed successfully.",
		"BEGIN":                      "Statement executed successfully.",
		"USE SCHEMA s":               "Statement executed successfully.",
	} {
		if got := column(t, t.Context(), c, query); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	for query, want := range map[string]int64{
		"INSERT INTO t VALUES (1)":                      1,
		"INSERT INTO t VALUES (1, (2)), ('),(', 3)":     2,
		"INSERT INTO t (valuesX) values (1),(2) , (3)":  3,
		"INSERT INTO t SELECT * FROM u":                 1,
		"UPDATE t SET x = 1":                            1,
		"DELETE FROM t":                                 1,
		"MERGE INTO t USING u ON a = b":                 1,
		"INSERT ALL INTO a VALUES (1) INTO b SELECT 1 ": 1,
	} {
		if n, err := exec(t, c, query).RowsAffected(); n != want || err != nil {
			t.Errorf("%s: %d rows, %v", query, n, err)
		}
	}
	if n, err := c.ExecContext(t.Context(), "SELECT 1"); err != nil {
		t.Error(err)
	} else if _, err := n.RowsAffected(); err == nil {
		t.Error("a SELECT has rows affected")
	}
}

func TestHandlerRegisteredLastAnswers(t *testing.T) {
	srv := snowtest.New(t)
	answer := func(text string) snowtest.HandlerFunc {
		return func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
			return snowtest.Rows([]string{"A"}, []any{text}), nil
		}
	}
	srv.Handle("from orders", answer("old"))
	srv.Handle("from\\s+orders", answer("new"))
	srv.Handle("customers", answer("other"))
	db := open(t, srv)
	if got := column(t, t.Context(), db, "SELECT * FROM\norders"); got[0] != "new" {
		t.Errorf("got %q", got)
	}
	srv.Handle("orders", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) { return nil, nil })
	if got := column(t, t.Context(), db, "SELECT * FROM orders"); got[0] != "1" {
		t.Errorf("a handler that answers nothing: got %q", got)
	}
}

func TestHandlerSeesTheStatement(t *testing.T) {
	srv := snowtest.New(t)
	seen := make(chan snowtest.Statement, 1)
	srv.Handle("orders", func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		seen <- *st
		return nil, nil
	})
	c := conn(t, open(t, srv))
	exec(t, c, "SELECT * FROM orders WHERE id = ?", 7)
	st, e := <-seen, srv.Ledger()[0]
	if st.SQL != e.SQL || st.QueryID != e.QueryID || st.SessionID != e.SessionID || st.DescribeOnly || text(st.Binds) != "FIXED=7" {
		t.Errorf("got %+v", st)
	}
}

func TestRowsGiveTypedColumns(t *testing.T) {
	srv := snowtest.New(t)
	moment := time.Date(2024, 2, 29, 12, 30, 15, 123456789, time.UTC)
	old := time.Date(1969, 12, 31, 23, 59, 58, 500000000, time.UTC)
	columns := []string{"I", "N", "F", "S", "B", "T", "BIN", "NIL"}
	srv.Handle("typed", func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		return snowtest.Rows(columns,
			[]any{1, nil, 1.5, "text", true, moment, []byte{0, 0xff}, nil},
			[]any{nil, int64(1 << 62), nil, nil, false, old, nil, nil},
		), nil
	})
	rows, err := open(t, srv).QueryContext(t.Context(), "SELECT typed")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		t.Fatal(err)
	}
	var names, kinds []string
	for _, ct := range types {
		names, kinds = append(names, ct.Name()), append(kinds, ct.DatabaseTypeName())
	}
	if strings.Join(names, " ") != strings.Join(columns, " ") ||
		strings.Join(kinds, " ") != "FIXED FIXED REAL TEXT BOOLEAN TIMESTAMP_NTZ BINARY TEXT" {
		t.Errorf("columns %q of types %q", names, kinds)
	}
	var (
		i, n  sql.NullInt64
		f     sql.NullFloat64
		s, x  sql.NullString
		b     bool
		at    time.Time
		bytez []byte
	)
	scan := func() {
		t.Helper()
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if err := rows.Scan(&i, &n, &f, &s, &b, &at, &bytez, &x); err != nil {
			t.Fatal(err)
		}
	}
	scan()
	if i.Int64 != 1 || n.Valid || f.Float64 != 1.5 || s.String != "text" || !b || !at.Equal(moment) || !bytes.Equal(bytez, []byte{0, 0xff}) || x.Valid {
		t.Error("first row", i, n, f, s, b, at, bytez, x)
	}
	scan()
	if i.Valid || n.Int64 != 1<<62 || f.Valid || s.Valid || b || !at.Equal(old) || bytez != nil || x.Valid {
		t.Error("second row", i, n, f, s, b, at, bytez, x)
	}
}

func TestRowsPanicsOnWhatItCannotHold(t *testing.T) {
	for name, fn := range map[string]func(){
		"chan":   func() { snowtest.Rows([]string{"A"}, []any{make(chan int)}) },
		"values": func() { snowtest.Rows([]string{"A", "B"}, []any{1}) },
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, name) {
					t.Errorf("the panic does not mention %q: %q", name, text)
				}
			}()
			fn()
		}()
	}
}
