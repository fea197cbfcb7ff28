package contract_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether"
	"github.com/snowtether/snowtether/snowtest"
)

// This file has statements that tests send, what is looked at after them, and what their errors
// have to say.

const insert = "INSERT INTO t VALUES (1)"

// row is one of the INSERTs that a test tells apart.
func row(i int) string { return fmt.Sprintf("INSERT INTO t VALUES (%d)", i) }

func counted(kind snowtest.Kind, what string, n int64) *snowtest.Result {
	return snowtest.Count(kind, []string{"number of rows " + what}, []int64{n})
}

// once answers the next request for this SQL with the fault.
func once(srv *snowtest.Server, sql string, f snowtest.Fault) {
	srv.FaultOnce(func(r *snowtest.Request) (snowtest.Fault, bool) {
		return f, r.Kind == snowtest.RequestQuery && r.SQL == sql
	})
}

// ranInDoubt checks the error of a statement that ran, or may have.
func ranInDoubt(t *testing.T, srv *snowtest.Server, sql string, err error, accepted int) {
	t.Helper()
	var se *snowtether.SessionError
	switch {
	case !errors.Is(err, snowtether.ErrInDoubt) || !errors.As(err, &se):
		t.Fatalf("error is %v, want one that Is ErrInDoubt", err)
	case errors.Is(err, driver.ErrBadConn):
		t.Errorf("%v Is driver.ErrBadConn: database/sql runs the statement again", err)
	case errors.Is(err, snowtether.ErrSessionLost):
		t.Errorf("%v Is ErrSessionLost, which means that it did not run", err)
	case snowtether.Classify(err) != snowtether.ClassInDoubt:
		t.Errorf("Classify says %q", snowtether.Classify(err))
	}
	if n := srv.Accepted(sql); n != accepted {
		t.Errorf("accepted %d times, want %d", n, accepted)
	}
	for _, e := range srv.Ledger() {
		if se.QueryID != "" && e.SQL == sql && e.QueryID != se.QueryID {
			t.Errorf("the error has query ID %q, the server %q", se.QueryID, e.QueryID)
		}
	}
}

// hasID checks that the error carries a query ID.
func hasID(t *testing.T, err error) {
	t.Helper()
	var se *snowtether.SessionError
	if !errors.As(err, &se) || se.QueryID == "" {
		t.Errorf("error %v carries no query ID", err)
	}
}

// polled runs use with a statement that the server has accepted and that is being
// polled when its session ends.
func polled(t *testing.T, way snowtest.Refusal, use func(ctx context.Context, db *sql.DB) error, check func(srv *snowtest.Server, err error)) {
	t.Helper()
	inBubble(t, func(t *testing.T, srv *snowtest.Server) {
		db := pool(t, srv, 1, snowtether.WithResume(false))
		release := hold(srv, "^INSERT")
		go func() {
			time.Sleep(2 * time.Minute)
			srv.EndSessions(way)
			time.Sleep(2 * time.Minute)
			release()
		}()
		err := use(t.Context(), db)
		synctest.Wait()
		time.Sleep(time.Hour)
		check(srv, err)
	})
}

func number(err error) int {
	var se *gosnowflake.SnowflakeError
	if errors.As(err, &se) {
		return se.Number
	}
	return 0
}

// clear checks that an error is one that its reader can do something with.
func clear(t *testing.T, srv *snowtest.Server, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	text := err.Error()
	fmt.Fprintln(srv.Log(), text) // where the server looks for its secrets
	if errors.Is(err, driver.ErrBadConn) || len(text) > 600 || strings.ContainsAny(text, "\n\r") || strings.Contains(text, "s3cret") {
		t.Errorf("the error is %q", text)
	}
}

func mustExec(t *testing.T, db dbtx, queries ...string) {
	t.Helper()
	for _, query := range queries {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

// checkRan checks how often a statement was accepted and took effect.
func checkRan(t *testing.T, srv *snowtest.Server, query string, accepted, effects int) {
	t.Helper()
	if a, e := srv.Accepted(query), srv.Effects(query); a != accepted || e != effects {
		t.Errorf("%s: accepted %d times, took effect %d times; want %d and %d", query, a, e, accepted, effects)
	}
}

// isInDoubt checks the error of a statement that ran or may have, and returns it.
func isInDoubt(t *testing.T, err error, inTx bool) *snowtether.SessionError {
	t.Helper()
	var se *snowtether.SessionError
	switch {
	case !errors.Is(err, snowtether.ErrInDoubt) || !errors.As(err, &se):
		t.Errorf("error is %v, want one that Is ErrInDoubt", err)
		return nil
	case errors.Is(err, driver.ErrBadConn) || errors.Is(err, snowtether.ErrSessionLost):
		t.Errorf("%v Is driver.ErrBadConn or ErrSessionLost", err)
	case se.InTx != inTx:
		t.Errorf("InTx is %v: %v", se.InTx, err)
	}
	return se
}

// isLost checks the error of a statement that did not run, or of which nothing lasts.
func isLost(t *testing.T, err error, inTx bool) {
	t.Helper()
	var se *snowtether.SessionError
	switch {
	case !errors.Is(err, snowtether.ErrSessionLost) || !errors.As(err, &se):
		t.Errorf("error is %v, want one that Is ErrSessionLost", err)
	case errors.Is(err, driver.ErrBadConn) || errors.Is(err, snowtether.ErrInDoubt):
		t.Errorf("%v Is driver.ErrBadConn or ErrInDoubt", err)
	case se.InTx != inTx:
		t.Errorf("InTx is %v: %v", se.InTx, err)
	}
}

// hasIDOf checks that the error names the statement by the server's query ID.
func hasIDOf(t *testing.T, srv *snowtest.Server, err error, query string) {
	t.Helper()
	var se *snowtether.SessionError
	if !errors.As(err, &se) {
		t.Errorf("error is %v, want a SessionError", err)
		return
	}
	for _, e := range srv.Ledger() {
		if e.QueryID == se.QueryID && e.SQL == query {
			return
		}
	}
	t.Errorf("query ID %q is not that of %q: %v", se.QueryID, query, err)
}

// nextUser writes a row as the next user of the pool, and checks that it lasts.
func nextUser(t *testing.T, srv *snowtest.Server, db *sql.DB) {
	t.Helper()
	const query = "INSERT INTO next_user VALUES (1)"
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Errorf("the next user: %v", err)
	}
	checkRan(t, srv, query, 1, 1)
}

func usualResult(kind snowtest.Kind) *snowtest.Result {
	if kind.IsDML() {
		return counted(kind, "changed", 1)
	}
	return snowtest.Rows([]string{"N"}, []any{1})
}

// outsideSQL are such statements, and the kind of each.
var outsideSQL = map[string]snowtest.Kind{
	"SELECT db.s.f(7)":                                  snowtest.KindSelect,
	"SELECT my_udf(1)":                                  snowtest.KindSelect,
	"SELECT n, s.f /* of s */ (n) FROM t":               snowtest.KindSelect,
	"SELECT \"F\"(7)":                                   snowtest.KindSelect,
	"SELECT \"UPPER\"(s) FROM t":                        snowtest.KindSelect,
	"SELECT db.s.UPPER(s) FROM t":                       snowtest.KindSelect,
	"SELECT IDENTIFIER('db.s.f')(7)":                    snowtest.KindSelect,
	"SELECT n, IDENTIFIER('f')(7) FROM t":               snowtest.KindSelect,
	"SELECT db.s.m!PREDICT(7)":                          snowtest.KindSelect,
	"SELECT m!predict(INPUT_DATA => n) FROM t":          snowtest.KindSelect,
	"SELECT SYSTEM$SEND_EMAIL('i', 'a@b.c', 's', 't')":  snowtest.KindSelect,
	"WITH x AS (SELECT SYSTEM$WAIT(1)) SELECT * FROM x": snowtest.KindSelect,
	"SELECT * FROM TABLE(db.s.f(7))":                    snowtest.KindSelect,
	"SELECT * FROM TABLE(f(7)) WHERE n > 0":             snowtest.KindSelect,
	"SELECT 1 --\rFROM TABLE(db.s.f(1))":                snowtest.KindSelect,
	"SELECT 1 //\r, f(1)":                               snowtest.KindSelect,
	"SELECT COUNT(*) FROM t WHERE f(n) > 0":             snowtest.KindSelect,
	"INSERT INTO u SELECT db.s.f(7)":                    snowtest.KindInsert,
	"INSERT INTO u (a, b) VALUES (1, f(2))":             snowtest.KindInsert,
	"UPDATE u SET a = db.s.f(a)":                        snowtest.KindUpdate,
	"DELETE FROM u WHERE f(a) > 0":                      snowtest.KindDelete,
	"MERGE INTO u USING (SELECT f(1) AS n) s ON u.n = s.n WHEN MATCHED THEN DELETE": snowtest.KindMerge,
	"COPY INTO u FROM @s PURGE = TRUE":                                              snowtest.KindSelect,
	"COPY INTO @s FROM u":                                                           snowtest.KindSelect,
	"COPY INTO 's3://b/c' FROM (SELECT * FROM u)":                                   snowtest.KindSelect,
	"CALL p(7)":                          snowtest.KindSelect,
	"EXECUTE IMMEDIATE 'SELECT f(7)'":    snowtest.KindSelect,
	"BEGIN LET n := f(7); RETURN n; END": snowtest.KindSelect,
	"WITH p AS PROCEDURE () RETURNS INT LANGUAGE SQL AS 'RETURN 1' CALL p()": snowtest.KindSelect,
}

// harmlessSQL are everyday statements that only read.
var harmlessSQL = []string{
	"SELECT 1",
	"SELECT COUNT(*), SUM(a), MAX(db.s.t.a) FROM db.s.t WHERE a IN (1, 2)",
	"SELECT UPPER(s), COALESCE(a, 0), IFF(a > 0, 'x(1)', 'y') FROM t",
	"SELECT a::NUMBER(10,2), CAST(b AS VARCHAR(20)) FROM t",
	"SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t QUALIFY 1 = 1",
	"WITH x (n) AS (SELECT 1) SELECT n FROM x",
	"SELECT * FROM t AT (OFFSET => -60)",
	"SELECT * FROM t SAMPLE (10)",
	"SELECT f.value FROM t, LATERAL FLATTEN(INPUT => t.v) f",
	"SELECT * FROM TABLE(GENERATOR(ROWCOUNT => 10))",
	"SELECT * FROM TABLE(INFORMATION_SCHEMA.QUERY_HISTORY())",
	"SELECT CURRENT_TIMESTAMP(), CURRENT_DATE",
	"SELECT s.NEXTVAL",
	"SELECT 'db.s.f(1)', \"f(1)\" FROM t -- f(1)\n/* f(1) */",
	"SHOW TABLES LIKE 'f(1)'",
	"DESCRIBE TABLE db.s.t",
}

// harmlessPools open a pool for which f and db.s.g are harmless.
var harmlessPools = map[string]func(t *testing.T, srv *snowtest.Server) *sql.DB{
	"option": func(t *testing.T, srv *snowtest.Server) *sql.DB {
		return pool(t, srv, 1, snowtether.WithHarmlessFunctions("f", "db.s.g"))
	},
	"options add up": func(t *testing.T, srv *snowtest.Server) *sql.DB {
		return pool(t, srv, 1, snowtether.WithHarmlessFunctions("f"), snowtether.WithHarmlessFunctions("DB.S.G"))
	},
}

// actions counts how often a statement that acts outside of Snowflake has acted.
type actions struct {
	mu sync.Mutex
	n  int
}

// handle answers the statements that match with a result, and counts them.
func (c *actions) handle(srv *snowtest.Server, pattern string, res *snowtest.Result) {
	srv.Handle(pattern, func(context.Context, *snowtest.Statement) (*snowtest.Result, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n++
		return res, nil
	})
}

func (c *actions) want(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n != n {
		t.Errorf("acted %d times, want %d", c.n, n)
	}
}

// marks are contexts that change the statement which they are meant for.
var marks = []struct {
	name string
	mark func(context.Context) context.Context
}{
	{"request ID", func(ctx context.Context) context.Context {
		return gosnowflake.WithRequestID(ctx, gosnowflake.ParseUUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8"))
	}},
	{"describe only", gosnowflake.WithDescribeOnly},
	{"statement count", func(ctx context.Context) context.Context { return gosnowflake.WithMultiStatement(ctx, 3) }},
	{"asynchronous", gosnowflake.WithAsyncMode},
	{"fetch by ID", func(ctx context.Context) context.Context {
		return gosnowflake.WithFetchResultByID(ctx, "01bd0000-0001-0032-0001-000000000001")
	}},
}

// checkRequestIDs checks that no two statements of a session have one request ID.
func checkRequestIDs(t *testing.T, srv *snowtest.Server) {
	t.Helper()
	seen := map[string]string{}
	for _, e := range srv.Ledger() {
		key := fmt.Sprint(e.SessionID, e.RequestID)
		if other, ok := seen[key]; ok && e.Parent == "" {
			t.Errorf("%q and %q have the same request ID", other, e.SQL)
		}
		seen[key] = e.SQL
	}
}

var stateSQL = []string{
	"USE SCHEMA s", "USE ROLE r", "use warehouse w", "ALTER SESSION SET TIMEZONE = 'UTC'", "SET x = 1",
	"CREATE TEMPORARY TABLE t (n INT)", "create or replace temp table t (n int)", "CREATE SCHEMA s", "CALL p()",
	"EXECUTE IMMEDIATE 'USE SCHEMA s'", "SELECT 1 ->> USE SCHEMA s",
}

// sessionSettings are what a program sets, and the word for its kind.
var sessionSettings = []struct{ set, kind string }{
	{"USE ROLE secret_value", "role"},
	{"USE SCHEMA secret_value", "schema"},
	{"USE DATABASE secret_value", "database"},
	{"USE WAREHOUSE secret_value", "warehouse"},
	{"SET v = 'secret_value'", "variables"},
	{"ALTER SESSION SET QUERY_TAG = 'secret_value'", "parameters"},
	{"CREATE TEMPORARY TABLE secret_value (a INT)", "temporary"},
}

const bulkInsert = "INSERT INTO t VALUES (?)"

// throughAStage makes array binds of ten values and more go through a stage.
var throughAStage = snowtest.WithSessionParameter("CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", 10)

func arrayOf(t *testing.T, n int) any {
	t.Helper()
	values := make([]int, n)
	for i := range values {
		values[i] = i
	}
	array, err := gosnowflake.Array(&values)
	if err != nil {
		t.Fatal(err)
	}
	return array
}
