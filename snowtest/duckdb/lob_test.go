package duckdb_test

import (
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// A text can be as long as 128 MB where its column says so.
func TestTextsCanBeLarge(t *testing.T) {
	c := newClient(t)
	large := strings.Repeat("abcdefgh", 20_000_000/8)
	c.run("CREATE TABLE t (a VARCHAR(67108864), b INT)")
	c.run("INSERT INTO t VALUES ('" + large + "', 1)")
	c.run("INSERT INTO t VALUES (?, 2)", bind("TEXT", large))
	c.want("SELECT length(a), b FROM t ORDER BY b", "20000000|1;20000000|2")
	if got := shapes(c.run("SELECT * FROM t")); got != "text(67108864) fixed(38,0)" {
		t.Error(got)
	}
	c.wantCode("CREATE TABLE u (a VARCHAR(134217729))", "001424/22000")
}

// What a long text means does not depend on its length: in an expression, in a view, in a default,
// in JSON, and in a transaction in which a statement fails, so that what was done is done again.
func TestLongTextsAreTextsLikeAnyOther(t *testing.T) {
	c := newClient(t)
	long := strings.Repeat("it''s long; ", 10_000)
	value := strings.ReplaceAll(long, "''", "'")
	size := "110000"
	c.run("CREATE TABLE t (a VARCHAR DEFAULT '" + long + "', b INT)")
	c.run("CREATE VIEW v AS SELECT '" + long + "' AS a")
	c.run("INSERT INTO t (b) VALUES (1)")
	c.want("SELECT length(a) FROM t UNION ALL SELECT length(a) FROM v", size+";"+size)
	c.want("SELECT length('"+long+"' || 1.0), length(1 || ?), '"+long+"' = ?", "110003|110001|1", bind("TEXT", value), bind("TEXT", value))
	c.want("SELECT length(PARSE_JSON(?):a::VARCHAR), length(?) FROM t", size+"|110011", bind("TEXT", `{"a": "`+value+`"}`), bind("TEXT", `{"a": "`+value+`"}  `))
	c.want("SELECT length(?)", "3", bind("TEXT", "a\x00b"))
	c.want("SELECT length(?)", "100001", bind("TEXT", strings.Repeat("a", 50_000)+"\x00"+strings.Repeat("b", 50_000)))

	c.runAll("BEGIN", "DELETE FROM t")
	c.run("INSERT INTO t VALUES (?, 2)", bind("TEXT", value+"!"))
	c.wantCode("SELECT 1/0", "100051/22012")
	c.runAll("INSERT INTO t VALUES ('"+long+"??', 3)", "COMMIT", "SELECT 1")
	c.want("SELECT length(a), right(a, 2), b FROM t ORDER BY b", "110001| !|2;110002|??|3")
}

// DuckDB takes seconds to read a literal of some megabytes: a long text is not in its SQL.
func TestLongTextsAreNotInDuckDBsSQL(t *testing.T) {
	c := newClient(t)
	long := strings.Repeat("x", 1<<20)
	for _, query := range []string{"SELECT '" + long + "' || 'x' AS a", "SELECT ?", "SELECT PARSE_JSON(?)", "SELECT UPPER(?), ?::VARCHAR"} {
		text, err := duckdb.Rewritten(c.s, query, bind("TEXT", long), bind("TEXT", long))
		if err != nil || len(text) > 10_000 {
			t.Errorf("%.30s becomes %d bytes, %v", query, len(text), err)
		}
	}
}
