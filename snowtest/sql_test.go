package snowtest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

func TestStatementsAreSplitAtTopLevelSemicolons(t *testing.T) {
	for _, test := range []struct {
		sql  string
		want []string
	}{
		{"", nil},
		{" ;; -- nothing\n; /* nothing; */ ;", nil},
		{"SELECT 1", []string{"SELECT 1"}},
		{"SELECT 1;", []string{"SELECT 1"}},
		{"SELECT 1; \n SELECT 2 ;", []string{"SELECT 1", "SELECT 2"}},
		{"SELECT ';', 'it''s;', 'a\\';'; SELECT 2", []string{"SELECT ';', 'it''s;', 'a\\';'", "SELECT 2"}},
		{`SELECT "a;""b;"; SELECT 2`, []string{`SELECT "a;""b;"`, "SELECT 2"}},
		{"SELECT $$a;'b$$; SELECT 2", []string{"SELECT $$a;'b$$", "SELECT 2"}},
		{"SELECT 1 -- a;b\n; SELECT 2 // c;d\n; SELECT /* e;f */ 3", []string{"SELECT 1 -- a;b", "SELECT 2 // c;d", "SELECT /* e;f */ 3"}},
		{"SELECT 'open; SELECT 2", []string{"SELECT 'open; SELECT 2"}},
		{"SELECT /* open; SELECT 2", []string{"SELECT /* open; SELECT 2"}},
		{"BEGIN; INSERT INTO t VALUES (1); COMMIT", []string{"BEGIN", "INSERT INTO t VALUES (1)", "COMMIT"}},
		{"BEGIN TRANSACTION; COMMIT", []string{"BEGIN TRANSACTION", "COMMIT"}},
		{"BEGIN LET x := 1; RETURN x; END;", []string{"BEGIN LET x := 1; RETURN x; END;"}},
		{"SELECT 1; DECLARE x INT; BEGIN RETURN x; END;", []string{"SELECT 1", "DECLARE x INT; BEGIN RETURN x; END;"}},
	} {
		if got := snowtest.SplitStatements(test.sql); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.sql, got, test.want)
		}
	}
}

func FuzzSplittingLosesNothing(f *testing.F) {
	for _, seed := range []string{"SELECT 1; SELECT ';'", "BEGIN;--\n", "$$", `"`, "'\\", "/*", "é;é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		rest := sql
		for _, part := range snowtest.SplitStatements(sql) {
			i := strings.Index(rest, part)
			if i < 0 {
				t.Fatalf("%q is not in %q, or not in order", part, sql)
			}
			rest = rest[i+len(part):]
		}
		snowtest.CountPlaceholders(sql)
		snowtest.ParseCSV(sql)
	})
}

func TestPlaceholdersAreCountedOutsideOfLiterals(t *testing.T) {
	for sql, want := range map[string]int{
		"SELECT 1":                           0,
		"INSERT INTO t VALUES (?, ?)":        2,
		"SELECT '?', \"?\", $$?$$, ? -- ?\n": 1,
		"SELECT /* ? */ ?":                   1,
	} {
		if got := snowtest.CountPlaceholders(sql); got != want {
			t.Errorf("%q: %d", sql, got)
		}
	}
}

func TestKindsAreGuessedByTheFirstWords(t *testing.T) {
	for sql, want := range map[string]snowtest.Kind{
		"select 1":                             snowtest.KindSelect,
		"WITH a AS (SELECT 1) SELECT * FROM a": snowtest.KindSelect,
		"(SELECT 1)":                           snowtest.KindSelect,
		"SHOW TABLES":                          snowtest.KindSelect,
		"CALL p()":                             snowtest.KindSelect,
		"":                                     snowtest.KindSelect,
		"insert into t values (1)":             snowtest.KindInsert,
		"/* hint */ -- x\n INSERT OVERWRITE INTO t": snowtest.KindInsert,
		"INSERT ALL INTO t SELECT 1":                snowtest.KindMultiInsert,
		"UPDATE t SET x = 1":                        snowtest.KindUpdate,
		"DELETE FROM t":                             snowtest.KindDelete,
		"MERGE INTO t USING s ON 1=1":               snowtest.KindMerge,
		"BEGIN":                                     snowtest.KindTCL,
		"BEGIN;":                                    snowtest.KindTCL,
		"BEGIN NAME n":                              snowtest.KindTCL,
		"START TRANSACTION":                         snowtest.KindTCL,
		"COMMIT":                                    snowtest.KindTCL,
		"ROLLBACK":                                  snowtest.KindTCL,
		"BEGIN INSERT INTO t VALUES (1); END;":      snowtest.KindSelect,
		"COPY INTO t FROM @s":                       snowtest.KindCopy,
		"COPY INTO @s FROM t":                       snowtest.KindUnload,
		"USE ROLE r":                                snowtest.KindSCL,
		"ALTER SESSION SET X = 1":                   snowtest.KindSCL,
		"SET x = 1":                                 snowtest.KindSCL,
		"ALTER TABLE t ADD COLUMN x INT":            snowtest.KindDDL,
		"CREATE TABLE t (x INT)":                    snowtest.KindDDL,
		"DROP TABLE t":                              snowtest.KindDDL,
		"TRUNCATE TABLE t":                          snowtest.KindDDL,
		"GRANT SELECT ON t TO ROLE r":               snowtest.KindDDL,
		"EXECUTE IMMEDIATE $$BEGIN RETURN 1; END;$$;": snowtest.KindSelect,
	} {
		if got := snowtest.KindOfSQL(sql); got != want {
			t.Errorf("%q: kind %#x, want %#x", sql, int(got), int(want))
		}
	}
}

func TestScriptKnowsWhatOnlyReads(t *testing.T) {
	for sql, want := range map[string]bool{
		"SELECT 1": true, "SELECT a, (b) FROM t WHERE x IN (1) AND (y OR z)": true, "SHOW TABLES": true, "VALUES (1), (2)": true,
		"WITH c AS (SELECT 1) SELECT COUNT(*) FROM c": true, "SELECT * FROM TABLE(RESULT_SCAN('x'))": true, "(SELECT 1)": true,
		"SELECT f(1)": false, `SELECT "COUNT"(1)`: false, "SELECT m!PREDICT(1)": false, "SELECT IDENTIFIER('f')(1)": false,
		"SELECT 1 ->> INSERT INTO t SELECT * FROM $1": false, "SELECT 1; CALL p()": false, "SELECT s.NEXTVAL(1)": false,
		"WITH c AS (SELECT 1) DELETE FROM t": false, "WITH p AS PROCEDURE () RETURNS INT AS 'x' CALL p()": false, "SHOW TABLES ->> CALL p()": false,
		"SELECT CURRENT_VERSION(), UPPER(a)::VARCHAR(10), CASE WHEN (x) THEN (y) END FROM t, LATERAL FLATTEN(v) GROUP BY 1 HAVING (z)": true,
		"CALL p()": false, "EXECUTE IMMEDIATE 'x'": false, "BEGIN CALL p(); END;": false, "anything": false, "": false,
	} {
		if got := snowtest.OnlyReads(sql); got != want {
			t.Errorf("%q: %v", sql, got)
		}
	}
}
