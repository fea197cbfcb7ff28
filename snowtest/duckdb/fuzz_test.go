package duckdb_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/snowtether/snowtether/snowtest"
)

// Whatever a client sends, it gets a result whose rows fit its columns, or an
// error in Snowflake's shape.
func FuzzStatements(f *testing.F) {
	for _, seed := range []string{
		"SELECT a::INT, v:k[0].x::STRING || 'x' FROM t WHERE a RLIKE 'b' AND NOT c IS NULL ORDER BY 1", "SELECT", "SELECT (", "SELECT a.", "WITH x AS (SELECT 1",
		"INSERT INTO t VALUES (?, :1, $v)", "UPDATE t SET t.a = 1, b = (SELECT 2) FROM u WHERE t.a = u.a", "MERGE INTO t USING u ON a = b WHEN MATCHED THEN DELETE",
		"CREATE TABLE t (a NUMBER(10,2) DEFAULT 1 NOT NULL, b VARCHAR(5) COMMENT 'x') AS SELECT 1", "ALTER TABLE t ADD COLUMN a INT", "SHOW TABLES LIKE '%' IN DATABASE x",
		"SET (a, b) = (1, 'x')", "USE SCHEMA a.b", "ALTER SESSION SET a = 1", "SELECT dateadd(day, 1, d), listagg(DISTINCT a, ',') WITHIN GROUP (ORDER BY a) OVER (PARTITION BY b)",
		"SELECT * FROM VALUES (1, 'a') AS t(x, y), TABLE(GENERATOR(ROWCOUNT => 3))", "SELECT CASE WHEN 1 THEN 2 END, $$a$$, X'41', \"q\"\"\" -- c", "DESCRIBE TABLE t",
		"BEGIN", "COMMENT ON COLUMN a.b IS 'c'", "SELECT extract(year FROM d), position('a' IN 'b'), cast(a AS b), get_path(a, 'b.c')", "DROP TABLE IF EXISTS a.b.c CASCADE", "(CAST(AS", "(=>", "SELECT ->", ":=",
	} {
		f.Add(seed)
	}
	c := newClient(f)
	c.runAll("CREATE TABLE t (a INT, b VARCHAR, v VARIANT, d DATE)", "CREATE TABLE u (a INT)")
	f.Fuzz(func(t *testing.T, query string) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		for _, describe := range []bool{true, false} {
			res, err := c.s.Run(ctx, &snowtest.Statement{SQL: query, Binds: []snowtest.Bind{null("TEXT")}, DescribeOnly: describe})
			var sf *snowtest.Error
			switch {
			case err != nil && !errors.As(err, &sf):
				t.Fatalf("%q: not Snowflake's shape: %v", query, err)
			case err != nil && (len(sf.Code) != 6 || len(sf.SQLState) != 5 || sf.Message == ""):
				t.Fatalf("%q: %+v", query, sf)
			case err == nil && res == nil:
				t.Fatalf("%q: neither a result nor an error", query)
			case err == nil:
				for _, row := range res.Rows {
					if len(row) != len(res.Columns) {
						t.Fatalf("%q: %d values in %d columns", query, len(row), len(res.Columns))
					}
				}
			}
		}
	})
}
