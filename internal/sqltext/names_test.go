package sqltext

import (
	"strings"
	"testing"
)

// TestACallIsSeenBehindWhatLooksLikeSomethingElse: names that go on from what is no name, and
// words that mean something elsewhere.
func TestACallIsSeenBehindWhatLooksLikeSomethingElse(t *testing.T) {
	nested := func(n int) string { return "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) }
	checkTable(t, Reader{}, []judged{
		{"SELECT * FROM TABLE((INFORMATION_SCHEMA).COPY_HISTORY())", Read, ""},
		{"SELECT ABS(x).upper(y)", Read, ""},
		{"SELECT ABS(x).IDENTIFIER('a')", Read, ""},
		{"SELECT ABS(x).directory(@s)", Read, ""},
		{"SELECT s.exists(1)", Read, ""},
		{"SELECT * FROM (SELECT 1) $x (a)", Read, "V"},
		{"COPY INTO t FROM (SELECT f($1) FROM @s) PURGE = FALSE", DML, ""},
		{"UPDATE t SET purge = (SELECT 1)", DML, "U"},
		{"CREATE OR REPLACE TEMP TABLE t (a BOOLEAN) AS SELECT EXISTS f(1)", Session, ""},
		{"SELECT a FROM t ORDER BY a, cube(3)", Read, ""},
		{"SELECT WITH f(1)", Read, ""},
		{"SELECT (first(7), last(8), classifier())", Read, ""},
		{"SELECT * FROM s MATCH_RECOGNIZE (ORDER BY d PATTERN (a) DEFINE a AS p > 1) WHERE classifier() = 'a'", Read, ""},
		{"SELECT " + strings.Repeat("(", 61) + "ABS((1))(y)" + strings.Repeat(")", 61), Read, ""},
		{nested(63), Read, "RU"},
		{nested(64), Read, ""},
	})
}
