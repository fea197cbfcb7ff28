package main

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/snowtether/snowtether/snowtest"
)

func TestQueriesAreKnownWhateverTheyLookLike(t *testing.T) {
	for _, sql := range []string{
		"SELECT 1", "select\n*\nfrom t", "SELECT*FROM t", "SELECT'x'", "SELECT(1)", "SELECT DISTINCT a FROM t",
		"-- a; comment\n// another\n/* DROP; 'it */ SELECT 1", "SELECT 1 -- the end; of it\n",
		"(SELECT 1)", "((SELECT 1) UNION ALL (SELECT 2)) ORDER BY 1", "( /* c */ WITH x AS (SELECT 1) SELECT * FROM x)",
		"WITH x AS (SELECT 1) SELECT * FROM x", "WITH RECURSIVE x (a, b) AS (SELECT 1, 2), \"; y\" AS (SELECT (3)) (SELECT * FROM x)",
		`WITH "a "" b" AS (SELECT 1), žena AS (SELECT 2) SELECT * FROM žena`,
		`SELECT 'it''s; \'; 1->>2', "a;""b", $$;'$$, a$$b FROM t`, "SELECT ')' FROM (SELECT ';')",
		"SELECT \"DROP\", x -> y, 1 - -1, 'ž;' FROM drop_list",
	} {
		for _, end := range []string{"", ";", " ;\n ;; -- done;\n", "; /* done; */ "} {
			if got, err := onlyQuery(sql + end); err != nil || got != strings.TrimSpace(sql) {
				t.Errorf("%s: %q, %v", sql+end, got, err)
			}
		}
	}
}

func TestWhatIsNotSurelyAQueryIsRefused(t *testing.T) {
	for sql, says := range map[string]string{
		"": "no SQL", " \n;": "no SQL", "-- nothing": "no SQL", "/* ; */ ;": "no SQL",
		"DROP TABLE t": "begins with DROP;", "insert into t select 1": "begins with INSERT;", "/* SELECT */ DELETE FROM t": "begins with DELETE;",
		"SHOW TABLES": "RESULT_SCAN", "CALL p()": "RESULT_SCAN", "(DROP TABLE t)": "begins with DROP;", "'SELECT 1'": "begins with '';",
		"BEGIN SELECT 1; END": "more than one", "SELECTED 1": "begins with SELECTED;", "SELECTĚ": "begins with SELECTĚ;",
		"SELECT 1; DROP TABLE t": "more than one", "SELECT 1;SELECT 2;": "more than one", "SELECT (1; DROP TABLE t": "more than one",
		"SELECT 'x\\''; DROP TABLE t --'": "more than one", "SELECT a$$; DROP TABLE t --$$": "more than one",
		"SELECT 1 ->> INSERT INTO t SELECT * FROM $1":                   "more than one",
		"WITH p AS PROCEDURE () RETURNS INT AS 'DROP TABLE t' CALL p()": "begins with WITH;",
		"WITH x AS (SELECT 1) DELETE FROM t":                            "begins with WITH;",
		"WITH x AS (SELECT 1), y AS PROCEDURE () CALL y()":              "begins with WITH;",
	} {
		if got, err := onlyQuery(sql); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %q, %v, want %q", sql, got, err, says)
		}
	}
}

func TestOtherStatementsAreNotSent(t *testing.T) {
	srv := snowtest.New(t, snowtest.WithEngine(engine(t)))
	dir := t.TempDir()
	for _, sql := range []string{"CREATE TABLE t (n INT)", "SELECT 1; DROP TABLE t", "SHOW TABLES"} {
		for _, partitions := range []string{"1", "2"} {
			var stderr bytes.Buffer
			status := run(t.Context(), []string{"-query", sql, "-partitions", partitions, "-out", filepath.Join(dir, "x.csv")}, srv.DSN(), io.Discard, &stderr)
			if text := stderr.String(); status != 2 || !strings.HasPrefix(text, "extract: -query: ") || strings.Count(text, "\n") != 1 {
				t.Errorf("%s: status %d, %q", sql, status, text)
			}
		}
	}
	if n := len(srv.Stats().Requests); n > 0 {
		t.Errorf("the server got %d kinds of requests", n)
	}
	if names := list(t, dir); len(names) > 0 {
		t.Errorf("it left %v", names)
	}
}
