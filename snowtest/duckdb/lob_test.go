package duckdb_test

import (
	"strings"
	"testing"
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
