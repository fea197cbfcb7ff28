package snowtest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

// capture notes the bind values of the statements that match.
func capture(srv *snowtest.Server, pattern string) chan []snowtest.Bind {
	binds := make(chan []snowtest.Bind, 10)
	srv.Handle(pattern, func(_ context.Context, st *snowtest.Statement) (*snowtest.Result, error) {
		binds <- st.Binds
		return nil, nil
	})
	return binds
}

// text writes bind values as one string: TYPE=value or TYPE=[values].
func text(binds []snowtest.Bind) string {
	value := func(p *string) string {
		if p == nil {
			return "NULL"
		}
		return *p
	}
	var list []string
	for _, b := range binds {
		s := value(b.Value)
		if b.Array != nil {
			var all []string
			for _, v := range b.Array {
				all = append(all, value(v))
			}
			s = "[" + strings.Join(all, "|") + "]"
		}
		list = append(list, b.Type+"="+s)
	}
	return strings.Join(list, " ")
}

func TestBindsComeInTheOrderOfTheirPlaceholders(t *testing.T) {
	srv := snowtest.New(t)
	binds := capture(srv, "INSERT")
	args := make([]any, 12)
	var want []string
	for i := range args {
		args[i] = fmt.Sprint("v", i)
		want = append(want, fmt.Sprint("TEXT=v", i))
	}
	exec(t, open(t, srv), "INSERT INTO t VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", args...)
	if got := text(<-binds); got != strings.Join(want, " ") {
		t.Errorf("got %s", got)
	}
}

func TestBindTypes(t *testing.T) {
	srv := snowtest.New(t)
	binds := capture(srv, "INSERT")
	exec(t, open(t, srv), "INSERT INTO t VALUES (?,?,?,?,?)", 1, 1.5, true, nil, "")
	if got := text(<-binds); got != "FIXED=1 REAL=1.5 BOOLEAN=true TEXT=NULL TEXT=" {
		t.Errorf("got %s", got)
	}
}

func TestArrayBindsInTheRequest(t *testing.T) {
	srv := snowtest.New(t)
	binds := capture(srv, "INSERT")
	res := exec(t, open(t, srv), "INSERT INTO t VALUES (?, ?)", array(t, &[]int{1, 2, 3}), array(t, &[]string{"a", "", "c"}))
	if n, err := res.RowsAffected(); n != 3 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	if got := text(<-binds); got != "FIXED=[1|2|3] TEXT=[a||c]" {
		t.Errorf("got %s", got)
	}
}

// Above the threshold gosnowflake uploads the values to a stage.
func TestArrayBindsThroughAStage(t *testing.T) {
	for _, memory := range []bool{false, true} {
		t.Run(fmt.Sprint("in memory ", memory), func(t *testing.T) {
			opts := []snowtest.Option{snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 6), snowtest.AllowRepeats(), snowtest.WithRequestTexts()}
			if memory {
				opts = append(opts, snowtest.InMemory())
			}
			srv := snowtest.New(t, opts...)
			binds := capture(srv, "INSERT")
			c := conn(t, open(t, srv))
			numbers := []any{1, nil, 3}
			texts := []string{"plain", "", "a \"quoted\", one\nin two lines"}
			// With a request ID of the caller's, all the statements carry the same, so that the
			// server has to compare their texts.
			ctxs := []context.Context{t.Context(), gosnowflake.WithRequestID(t.Context(), gosnowflake.NewUUID())}
			for i, ctx := range ctxs {
				res, err := c.ExecContext(ctx, "INSERT INTO t VALUES (?, ?)", array(t, &numbers), array(t, &texts))
				if err != nil {
					t.Fatal(err)
				}
				if n, err := res.RowsAffected(); n != 3 || err != nil {
					t.Errorf("%d rows, %v", n, err)
				}
				want := "TEXT=[1|NULL|3] TEXT=[plain||a \"quoted\", one\nin two lines]"
				if got := text(<-binds); got != want {
					t.Errorf("got %s", got)
				}
				if n := srv.Accepted("INSERT INTO t VALUES (?, ?)"); n != i+1 {
					t.Errorf("accepted %d times", n)
				}
				last := srv.Ledger()[len(srv.Ledger())-1]
				if text(last.Binds) != want {
					t.Errorf("in the ledger: %s", text(last.Binds))
				}
			}
		})
	}
}

func TestStageOfABulkBindDoesNotEndTheTransaction(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 1))
	c := conn(t, open(t, srv))
	exec(t, c, "BEGIN")
	exec(t, c, "INSERT INTO t VALUES (?)", array(t, &[]int{1, 2, 3}))
	if srv.Effects("INSERT INTO t VALUES (?)") != 0 {
		t.Error("it took effect before the COMMIT")
	}
	exec(t, c, "ROLLBACK")
	if srv.Effects("INSERT INTO t VALUES (?)") != 0 {
		t.Error("it took effect in spite of the ROLLBACK")
	}
}

func TestLargeUploadIsSplitIntoFiles(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 1))
	binds := capture(srv, "INSERT")
	values := make([]string, 26)
	for i := range values {
		values[i] = fmt.Sprint(i) + strings.Repeat("x", 1<<20)
	}
	exec(t, open(t, srv), "INSERT INTO t VALUES (?)", array(t, &values))
	got := (<-binds)[0].Array
	if len(got) != len(values) {
		t.Fatalf("%d values", len(got))
	}
	for i, v := range got {
		if *v != values[i] {
			t.Errorf("value %d begins with %.8s", i, *v)
		}
	}
	if n := srv.Stats().Requests[snowtest.RequestOther]; n != 3 {
		t.Errorf("%d files", n)
	}
}

func TestBindStageThatDoesNotExistIsAnError(t *testing.T) {
	srv := snowtest.New(t)
	tokens := &accessor{}
	db := open(t, srv, func(c *gosnowflake.Config) { c.TokenAccessor = tokens })
	exec(t, db, "SELECT 1")
	got := request(t, srv, "POST", "/queries/v1/query-request?requestId=x", tokens.session,
		map[string]any{"sqlText": "INSERT INTO t VALUES (?)", "bindStage": "@SYSTEM$BIND/none"})
	if got.Success || got.Code != "002003" {
		t.Errorf("got %+v", got)
	}
	if got := request(t, srv, "PUT", "/stages/made-up/1", "", nil); got.status != 403 {
		t.Errorf("an upload to a path that was not given out: status %d", got.status)
	}
}

func TestGetOfAFileIsAnError(t *testing.T) {
	srv := snowtest.New(t)
	_, err := open(t, srv).ExecContext(t.Context(), "GET @stage/file file:///tmp")
	wantCode(t, err, 2)
}

func TestCSVTellsNullFromEmpty(t *testing.T) {
	for _, test := range []struct {
		csv  string
		want [][]string
	}{
		{"", nil},
		{"a,b\n", [][]string{{"a", "b"}}},
		{"a\n\"\"\n\nb\n", [][]string{{"a"}, {""}, {"NULL"}, {"b"}}},
		{",\n", [][]string{{"NULL", "NULL"}}},
		{"\"\",,x\n", [][]string{{"", "NULL", "x"}}},
		{"\"a,\"\"b\"\"\nc\",d\n", [][]string{{"a,\"b\"\nc", "d"}}},
		{"a,b", [][]string{{"a", "b"}}},
		{"a,", [][]string{{"a", "NULL"}}},
		{`"back\slash",x` + "\n", [][]string{{`back\slash`, "x"}}},
	} {
		var got [][]string
		for _, row := range snowtest.ParseCSV(test.csv) {
			var list []string
			for _, v := range row {
				if v == nil {
					list = append(list, "NULL")
				} else {
					list = append(list, *v)
				}
			}
			got = append(got, list)
		}
		if !slices.EqualFunc(got, test.want, slices.Equal) {
			t.Errorf("%q: got %q, want %q", test.csv, got, test.want)
		}
	}
}

func array(t *testing.T, values any) any {
	t.Helper()
	a, err := gosnowflake.Array(values)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
