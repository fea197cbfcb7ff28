package duckdb_test

import (
	"bytes"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
)

func asSnowflake(err error, to **gosnowflake.SnowflakeError) bool { return errors.As(err, to) }

// TestCopyLoadsFilesOnce: the load history keeps a file from being loaded twice, until FORCE,
// another content or a truncated table.
func TestCopyLoadsFilesOnce(t *testing.T) {
	db, srv := stagedDB(t)
	mustExec(t, db, "CREATE TABLE t (a INT, b VARCHAR(5))")
	mustExec(t, db, "CREATE STAGE s")
	putText(t, db, "@s/in", "1.csv", "1,one\n2,\"two\"\n")
	putText(t, db, "@s/in", "2.csv", "3,\n")
	const load = `COPY INTO t FROM @s/in FILE_FORMAT = (TYPE = CSV FIELD_OPTIONALLY_ENCLOSED_BY = '"')`
	wantTable(t, db, load, "s/in/1.csv|LOADED|2|2|1|0|NULL|NULL|NULL|NULL;s/in/2.csv|LOADED|1|1|1|0|NULL|NULL|NULL|NULL")
	wantTable(t, db, load, "Copy executed with 0 files processed.")
	wantTable(t, db, "SELECT * FROM t ORDER BY a", "1|one;2|two;3|NULL")
	wantTable(t, db, load+" FORCE = TRUE", "s/in/1.csv|LOADED|2|2|1|0|NULL|NULL|NULL|NULL;s/in/2.csv|LOADED|1|1|1|0|NULL|NULL|NULL|NULL")
	putText(t, db, "@s/in", "2.csv", "4,four\n")
	wantTable(t, db, load, "s/in/2.csv|LOADED|1|1|1|0|NULL|NULL|NULL|NULL")
	mustExec(t, db, "TRUNCATE TABLE t")
	wantTable(t, db, load+" PURGE = TRUE", "s/in/1.csv|LOADED|2|2|1|0|NULL|NULL|NULL|NULL;s/in/2.csv|LOADED|1|1|1|0|NULL|NULL|NULL|NULL")
	wantTable(t, db, "LIST @s", "")
	// In a transaction the history goes with the rows.
	putText(t, db, "@s", "3.csv", "5,five\n")
	for _, end := range []string{"ROLLBACK", "COMMIT"} {
		mustExec(t, db, "BEGIN")
		wantTable(t, db, "COPY INTO t FROM @s", "s/3.csv|LOADED|1|1|1|0|NULL|NULL|NULL|NULL")
		wantTable(t, db, "COPY INTO t FROM @s", "Copy executed with 0 files processed.")
		mustExec(t, db, end)
	}
	wantTable(t, db, "COPY INTO t FROM @s", "Copy executed with 0 files processed.")
	wantTable(t, db, "SELECT * FROM t ORDER BY a", "1|one;2|two;4|four;5|five")
	n := 0
	for _, e := range srv.Ledger() {
		if e.SQL == load {
			n += e.Effects
			if e.Kind != snowtest.KindCopy {
				t.Errorf("its kind is %#x", e.Kind)
			}
		}
	}
	if n == 0 || len(srv.Doubles()) == 0 {
		t.Errorf("%d effects, doubles %q: a COPY that ran twice would not be seen", n, srv.Doubles())
	}
}

// TestCopyTellsWhatIsWrong: by ON_ERROR the statement fails, leaves records out, or files.
func TestCopyTellsWhatIsWrong(t *testing.T) {
	db, _ := stagedDB(t)
	mustExec(t, db, "CREATE TABLE t (a INT NOT NULL, b VARCHAR(5))")
	putText(t, db, "@~/bad", "1.csv", "1,one\nx,two\n3,three,3\n,none\n5,sixsix\n6,six\n")
	first := `|Numeric value 'x' is not recognized|2|1|"T"["A":1]`
	_, err := db.ExecContext(t.Context(), "COPY INTO t FROM @~/bad")
	wantNumber(t, "COPY", err, 100038)
	if err == nil || !strings.Contains(err.Error(), "Numeric value 'x' is not recognized\n  File 'bad/1.csv', line 2, character 1\n  Row 2, column \"T\"[\"A\":1]\n") {
		t.Errorf("it says %v", err)
	}
	wantTable(t, db, "COPY INTO t FROM @~/bad ON_ERROR = SKIP_FILE", "bad/1.csv|LOAD_FAILED|6|0|1|4"+first)
	wantTable(t, db, "COPY INTO t FROM @~/bad ON_ERROR = SKIP_FILE_3", "bad/1.csv|LOAD_FAILED|6|0|3|4"+first)
	wantTable(t, db, "COPY INTO t FROM @~/bad ON_ERROR = 'SKIP_FILE_50%'", "bad/1.csv|LOAD_FAILED|6|0|3|4"+first)
	wantTable(t, db, "SELECT COUNT(*) FROM t", "0")
	wantTable(t, db, "COPY INTO t FROM @~/bad VALIDATION_MODE = RETURN_ERRORS", `Numeric value 'x' is not recognized|bad/1.csv|2|1|parsing|100038|22018|"T"["A":1]|2;`+
		"Number of columns in file (3) does not match that of the corresponding table (2), use file format option error_on_column_count_mismatch=false to ignore this error|bad/1.csv|3|1|parsing|100080|22000||3;"+
		`NULL result in a non-nullable column|bad/1.csv|4|1|parsing|100072|22000|"T"["A":1]|4;`+
		`User character length limit (5) exceeded by string 'sixsix'|bad/1.csv|5|3|parsing|100078|22000|"T"["B":2]|5`)
	_, err = db.ExecContext(t.Context(), "COPY INTO t FROM @~/bad VALIDATION_MODE = RETURN_3_ROWS")
	wantNumber(t, "RETURN_3_ROWS", err, 100038)
	wantTable(t, db, "COPY INTO t FROM @~/bad ON_ERROR = CONTINUE", "bad/1.csv|PARTIALLY_LOADED|6|2|6|4"+first)
	wantTable(t, db, "SELECT * FROM t ORDER BY a", "1|one;6|six")
	putText(t, db, "@~/good", "2.csv", "7,seven\n8,eighteen\n")
	wantTable(t, db, "COPY INTO t FROM @~/good VALIDATION_MODE = RETURN_1_ROWS TRUNCATECOLUMNS = TRUE", "7|seven")
	wantTable(t, db, "COPY INTO t FROM @~/good TRUNCATECOLUMNS = TRUE", "good/2.csv|LOADED|2|2|1|0|NULL|NULL|NULL|NULL")
	wantTable(t, db, "SELECT * FROM t WHERE a > 6 ORDER BY a", "7|seven;8|eight")
	for query, want := range map[string]int{
		"COPY INTO t FROM @~ ON_ERROR = MAYBE":                         1420,
		"COPY INTO t FROM @~ SIZE_LIMIT = 10":                          2,
		"COPY INTO t FROM @~ FILES = ('none.csv')":                     91016,
		"COPY INTO t FROM 's3://bucket/x'":                             2,
		"COPY INTO t FROM @~ FILE_FORMAT = (TYPE = JSON)":              2019,
		"COPY INTO t FROM @~ FILE_FORMAT = (TYPE = XML)":               2,
		"COPY INTO t FROM @~ FILE_FORMAT = (DATE_FORMAT = 'DD.MM.YY')": 2,
		"COPY INTO t FROM (SELECT $1 FROM @~) ON_ERROR = CONTINUE":     2,
		"COPY INTO t FROM (SELECT $1 FROM @~":                          1003,
	} {
		_, err := db.ExecContext(t.Context(), query)
		wantNumber(t, query, err, want)
	}
}

// TestCSVFormatsMeanWhatTheySay: each option, with the values that come of it.
func TestCSVFormatsMeanWhatTheySay(t *testing.T) {
	db, _ := stagedDB(t)
	mustExec(t, db, "CREATE TABLE t (a VARCHAR, b VARCHAR)")
	for _, c := range []struct{ format, content, want string }{
		{"", "a,b\r\nc,d", "a|b;c|d"},
		{"", `\N,x` + "\n,y", "NULL|x;NULL|y"},
		{"", `a\,b,c\nd`, "a,b|c\nd"},
		{"", `"a","b"`, `"a"|"b"`},
		{"", "it's,x", "it's|x"},
		{"SKIP_HEADER = 1", "h1,h2\na,b", "a|b"},
		{"FIELD_DELIMITER = '|' RECORD_DELIMITER = ';'", "a|b;c|d;", "a|b;c|d"},
		{`FIELD_DELIMITER = '\t'`, "a\tb", "a|b"},
		{`FIELD_OPTIONALLY_ENCLOSED_BY = '"'`, "\"a \"\"x\"\", y\",\"two\nlines\"\n\"\",", "|NULL;a \"x\", y|two\nlines"},
		{`FIELD_OPTIONALLY_ENCLOSED_BY = '"' ESCAPE = '\\'`, `"a\"b",c`, `a"b|c`},
		{"NULL_IF = ('NULL', 'nil') EMPTY_FIELD_AS_NULL = FALSE", "NULL,nil\n,x", "NULL|NULL;|x"},
		{"TRIM_SPACE = TRUE", " a , b ", "a|b"},
		{"SKIP_BLANK_LINES = TRUE", "a,b\n\nc,d\n", "a|b;c|d"},
		{"ERROR_ON_COLUMN_COUNT_MISMATCH = FALSE", "a\nb,c,d", "a|NULL;b|c"},
		{"ESCAPE_UNENCLOSED_FIELD = NONE", `a\tb,c`, `a\tb|c`},
	} {
		mustExec(t, db, "TRUNCATE TABLE t")
		putText(t, db, "@%t", "x.csv", "\ufeff"+c.content)
		mustExec(t, db, "COPY INTO t FILE_FORMAT = (TYPE = CSV "+c.format+")")
		wantTable(t, db, "SELECT * FROM t ORDER BY a NULLS FIRST, b", c.want)
	}
	putText(t, db, "@%t", "x.csv", `"open`)
	_, err := db.ExecContext(t.Context(), `COPY INTO t FILE_FORMAT = (FIELD_OPTIONALLY_ENCLOSED_BY = '"')`)
	wantNumber(t, "an open quote", err, 100066)
	putText(t, db, "@%t", "x.csv", `"a"b,c`)
	_, err = db.ExecContext(t.Context(), `COPY INTO t FILE_FORMAT = (FIELD_OPTIONALLY_ENCLOSED_BY = '"')`)
	wantNumber(t, "text behind a quote", err, 100016)
}

// TestDocumentsAreLoaded: JSON as variants, by the names of columns, and by a SELECT.
func TestDocumentsAreLoaded(t *testing.T) {
	db, _ := stagedDB(t)
	mustExec(t, db, "CREATE FILE FORMAT j TYPE = JSON STRIP_OUTER_ARRAY = TRUE")
	mustExec(t, db, "CREATE STAGE s FILE_FORMAT = j")
	mustExec(t, db, "CREATE TABLE v (v VARIANT)")
	mustExec(t, db, "CREATE TABLE n (id INT, name VARCHAR, at TIMESTAMP_NTZ(3), tags ARRAY)")
	putText(t, db, "@s", "x.json", `[{"id": 1, "Name": "one", "at": "2024-02-03 04:05:06.789", "tags": ["a"]}, {"id": 2, "name": null}]`)
	wantTable(t, db, "COPY INTO v FROM @s", "s/x.json|LOADED|2|2|1|0|NULL|NULL|NULL|NULL")
	wantTable(t, db, "SELECT v:id::INT, v:Name::VARCHAR FROM v ORDER BY 1", "1|one;2|NULL")
	wantTable(t, db, "COPY INTO n FROM @s MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE", "s/x.json|LOADED|2|2|1|0|NULL|NULL|NULL|NULL")
	wantTable(t, db, "SELECT id, name, TO_VARCHAR(at, 'YYYY-MM-DD HH24:MI:SS'), tags[0]::VARCHAR FROM n ORDER BY id", "1|one|2024-02-03 04:05:06|a;2|NULL|NULL|NULL")
	wantTable(t, db, "COPY INTO n (id, name) FROM (SELECT $1:id::INT + 10, UPPER(t.$1:Name::VARCHAR) FROM @s t) FORCE = TRUE", "s/x.json|LOADED|2|2|1|0|NULL|NULL|NULL|NULL")
	wantTable(t, db, "SELECT id, name FROM n WHERE id > 10 ORDER BY id", "11|ONE;12|NULL")
	putText(t, db, "@s/bad", "y.json", "{\"id\": 3}\n{\"id\": ")
	_, err := db.ExecContext(t.Context(), "COPY INTO v FROM @s/bad")
	wantNumber(t, "half a document", err, 100069)
}

// TestStagedFilesAreQueried: $1, $2 and what the file is called, with a format and a pattern.
func TestStagedFilesAreQueried(t *testing.T) {
	db, _ := stagedDB(t)
	mustExec(t, db, "CREATE FILE FORMAT bars FIELD_DELIMITER = '|'")
	putText(t, db, "@~/q", "1.csv", "a|1\nb|2\n")
	putText(t, db, "@~/q", "2.csv", "c|3\n")
	putText(t, db, "@~/q", "3.txt", "d|4\n")
	wantTable(t, db, "SELECT $1, $2::INT + 1, METADATA$FILENAME, METADATA$FILE_ROW_NUMBER FROM @~/q (FILE_FORMAT => 'bars', PATTERN => '.*csv') ORDER BY 1",
		"a|2|q/1.csv|1;b|3|q/1.csv|2;c|4|q/2.csv|1")
	wantTable(t, db, "SELECT s.$2, s.$3 FROM '@~/q/3.txt' (FILE_FORMAT => bars) s WHERE s.$1 = 'd'", "4|NULL")
	mustExec(t, db, "CREATE TABLE t (a VARCHAR, b INT)")
	if n := changed(t, db, "INSERT INTO t SELECT $1, $2 FROM @~/q (FILE_FORMAT => bars)"); n != 4 {
		t.Errorf("%d rows", n)
	}
}

// TestUnloadsComeBack: what COPY writes into a stage, COPY loads, and is equal.
func TestUnloadsComeBack(t *testing.T) {
	db, _ := stagedDB(t)
	mustExec(t, db, "CREATE TABLE t (a INT, b VARCHAR, c NUMBER(10,2), d DATE, e TIMESTAMP_NTZ, f BOOLEAN, g FLOAT, h VARIANT)")
	mustExec(t, db, `INSERT INTO t SELECT 1, 'x, "y"', 1.25, '2024-02-29', '2024-02-29 12:34:56', TRUE, 0.5, PARSE_JSON('{"k":[1,2]}')
		UNION ALL SELECT 2, NULL, -3, NULL, NULL, FALSE, NULL, NULL UNION ALL SELECT 3, '', 0, '1969-12-31', '1969-12-31 23:59:59', NULL, -1e9, PARSE_JSON('"s"')`)
	mustExec(t, db, "CREATE TABLE u LIKE t")
	for _, format := range []string{`TYPE = CSV FIELD_OPTIONALLY_ENCLOSED_BY = '"'`, "TYPE = PARQUET"} {
		unload, load := "", " MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE"
		if format == "TYPE = PARQUET" {
			unload = " HEADER = TRUE"
			mustExec(t, db, "UPDATE t SET h = NULL") // a variant would come back as its JSON text, a string
		} else {
			load = ""
		}
		got := table(t, db, t.Context(), "COPY INTO @%u/out/ FROM t FILE_FORMAT = ("+format+") OVERWRITE = TRUE"+unload)
		if !strings.HasPrefix(got, "3|") {
			t.Errorf("%s: unloaded %s", format, got)
		}
		mustExec(t, db, "COPY INTO u FILE_FORMAT = ("+format+")"+load)
		wantTable(t, db, "SELECT * FROM u ORDER BY a", table(t, db, t.Context(), "SELECT * FROM t ORDER BY a"))
		mustExec(t, db, "TRUNCATE TABLE u")
		mustExec(t, db, "RM @%u")
	}
}

// TestUnloadNamesItsFiles: by SINGLE, MAX_FILE_SIZE, OVERWRITE and HEADER.
func TestUnloadNamesItsFiles(t *testing.T) {
	db, _ := stagedDB(t)
	const rows = "FROM (SELECT SEQ4() AS n, 'row' AS name FROM TABLE(GENERATOR(ROWCOUNT => 1000)))"
	wantTable(t, db, "COPY INTO @~/a/ "+rows+" FILE_FORMAT = (COMPRESSION = NONE) MAX_FILE_SIZE = 4000 DETAILED_OUTPUT = TRUE",
		"a/data_0_0_0.csv|4002|514;a/data_0_1_0.csv|3888|486")
	_, err := db.ExecContext(t.Context(), "COPY INTO @~/a/ "+rows+" FILE_FORMAT = (COMPRESSION = NONE)")
	wantNumber(t, "without OVERWRITE", err, 1030)
	wantTable(t, db, "COPY INTO @~/b.csv FROM (SELECT 1 AS \"x\", NULL AS y) FILE_FORMAT = (COMPRESSION = NONE NULL_IF = ('nil')) SINGLE = TRUE HEADER = TRUE", "1|10|10")
	var stream bytes.Buffer
	table(t, db, gosnowflake.WithFileGetStream(t.Context(), &stream), "GET @~/b.csv file:///tmp")
	if stream.String() != "x,Y\n1,nil\n" {
		t.Errorf("it is %q", &stream)
	}
	mustExec(t, db, "COPY INTO @~/p "+rows+" FILE_FORMAT = (TYPE = PARQUET) MAX_FILE_SIZE = 3000")
	if got := table(t, db, t.Context(), "LIST @~/p"); strings.Count(got, "p_0_") < 2 || !strings.Contains(got, ".snappy.parquet") {
		t.Errorf("LIST: %s", got)
	}
	for query, want := range map[string]int{
		"COPY INTO @~/j FROM (SELECT 1) FILE_FORMAT = (TYPE = JSON)":    2,
		"COPY INTO @~/j FROM (SELECT 1 AS a) PARTITION BY (a)":          2,
		"COPY INTO @~/s " + rows + " SINGLE = TRUE MAX_FILE_SIZE = 100": 100181,
		"COPY INTO @~/s FROM (SELECT no_such FROM (SELECT 1 AS a))":     904,
		"COPY INTO 's3://bucket/x' FROM (SELECT 1)":                     1003,
	} {
		_, err := db.ExecContext(t.Context(), query)
		wantNumber(t, query, err, want)
	}
}

// holds compares what a statement gives with what it should give, cell by cell.
func holds(t *testing.T, db *sql.DB, query, want string) {
	t.Helper()
	if got := table(t, db, t.Context(), query); got != want {
		t.Errorf("%s: %q, want %q", query, got, want)
	}
}

// TestLoadHistoryGoesWithItsTable: a table that was renamed is not loaded twice, and has its stage.
func TestLoadHistoryGoesWithItsTable(t *testing.T) {
	db, _ := stagedDB(t)
	mustExec(t, db, "CREATE TABLE r (a INT)")
	mustExec(t, db, "CREATE TABLE other (a INT)")
	putText(t, db, "@~/r", "x.csv", "1\n")
	putText(t, db, "@%r", "y.csv", "2\n")
	mustExec(t, db, "COPY INTO r FROM @~/r")
	mustExec(t, db, "ALTER TABLE r RENAME TO r2")
	mustExec(t, db, "COPY INTO r2 FROM @~/r")
	mustExec(t, db, "COPY INTO r2")
	holds(t, db, "SELECT a FROM r2 ORDER BY a", "1;2")
	mustExec(t, db, "ALTER TABLE r2 SWAP WITH other")
	mustExec(t, db, "COPY INTO other FROM @~/r")
	mustExec(t, db, "COPY INTO r2 FROM @~/r")
	holds(t, db, "SELECT COUNT(*) FROM other", "2")
	holds(t, db, "SELECT COUNT(*) FROM r2", "1")
}

// TestUnloadInPartsHasEachRowOnce: also of a query whose order is another each time.
func TestUnloadInPartsHasEachRowOnce(t *testing.T) {
	db, _ := stagedDB(t)
	mustExec(t, db, "CREATE TABLE g (a INT)")
	mustExec(t, db, `COPY INTO @~/g/ FROM (SELECT n % 50000 AS a FROM (SELECT SEQ4() AS n FROM TABLE(GENERATOR(ROWCOUNT => 300000))) GROUP BY 1)
		FILE_FORMAT = (TYPE = PARQUET) HEADER = TRUE MAX_FILE_SIZE = 50000`)
	mustExec(t, db, "COPY INTO g FROM @~/g FILE_FORMAT = (TYPE = PARQUET) MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE")
	holds(t, db, "SELECT COUNT(*), COUNT(DISTINCT a) FROM g", "50000|50000")
}

// TestCopyTakesFilesAsTheyAre: the corners of headers, percentages, lists and formats.
func TestCopyTakesFilesAsTheyAre(t *testing.T) {
	db, _ := stagedDB(t)
	mustExec(t, db, "CREATE TABLE p (a INT)")
	putText(t, db, "@%p", "x.csv", "1\n2\n3\nx\ny\n")
	mustExec(t, db, "COPY INTO p ON_ERROR = 'SKIP_FILE_50%'") // two of five do not exceed it
	holds(t, db, "SELECT COUNT(*) FROM p", "3")
	mustExec(t, db, "COPY INTO p ON_ERROR = 'SKIP_FILE_39%' FORCE = TRUE")
	holds(t, db, "SELECT COUNT(*) FROM p", "3")
	mustExec(t, db, "CREATE TABLE h (a VARCHAR)")
	putText(t, db, "@%h", "x.csv", "\"head\n1\n2\n")
	mustExec(t, db, `COPY INTO h FILE_FORMAT = (SKIP_HEADER = 1 FIELD_OPTIONALLY_ENCLOSED_BY = '"')`)
	holds(t, db, "SELECT a FROM h ORDER BY a", "1;2")
	mustExec(t, db, "CREATE TEMPORARY FILE FORMAT semi TYPE = CSV FIELD_DELIMITER = ';'")
	mustExec(t, db, "CREATE TABLE two (a INT, b INT)")
	putText(t, db, "@%two", "x.csv", "1;2\n")
	mustExec(t, db, "COPY INTO two FILE_FORMAT = semi FILES = ('x.csv', 'x.csv')")
	holds(t, db, "SELECT a, b FROM two", "1|2")
	mustExec(t, db, "DROP FILE FORMAT semi")
}
