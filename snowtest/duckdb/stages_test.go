package duckdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/snowflakedb/gosnowflake/v2"

	"github.com/snowtether/snowtether/snowtest"
	"github.com/snowtether/snowtether/snowtest/duckdb"
)

// These tests are about stages: files go there and come back through gosnowflake, as they do
// with an account.

// stagedDB is one session on a server with this engine.
func stagedDB(t *testing.T, opts ...snowtest.Option) (*sql.DB, *snowtest.Server) {
	t.Helper()
	db, srv := connect(t, append(opts, snowtest.AllowRepeats())...)
	db.SetMaxOpenConns(1)
	return db, srv
}

// table reads a result: columns apart by a bar, rows by a semicolon.
func table(t *testing.T, db *sql.DB, ctx context.Context, query string) string {
	t.Helper()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		t.Errorf("%s: %v", query, err)
		return ""
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for rows.Next() {
		values, dest := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		var row []string
		for _, v := range values {
			if v == nil {
				v = "NULL"
			}
			row = append(row, fmt.Sprint(v))
		}
		list = append(list, strings.Join(row, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Errorf("%s: %v", query, err)
	}
	return strings.Join(list, ";")
}

func wantTable(t *testing.T, db *sql.DB, query, want string) {
	t.Helper()
	if got := table(t, db, t.Context(), query); got != want {
		t.Errorf("%s:\n got %s\nwant %s", query, got, want)
	}
}

// folder makes files of name and content, in turn.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// putText puts one file, uncompressed, of this content.
func putText(t *testing.T, db *sql.DB, stage, name, content string) {
	t.Helper()
	ctx := gosnowflake.WithFilePutStream(t.Context(), strings.NewReader(content))
	if got := table(t, db, ctx, "PUT file:///none/"+name+" "+stage+" AUTO_COMPRESS=FALSE OVERWRITE=TRUE"); !strings.Contains(got, "UPLOADED") {
		t.Fatalf("%s: %s", name, got)
	}
}

// stores are the kinds of object store, and what each needs.
var stores = map[string][]snowtest.Option{
	"Google's URLs":   nil,
	"Google's tokens": {snowtest.WithTLS(), snowtest.WithStore(snowtest.GoogleTokens)},
	"S3":              {snowtest.WithTLS(), snowtest.WithStore(snowtest.S3)},
	"Azure":           {snowtest.WithTLS(), snowtest.WithStore(snowtest.Azure)},
}

// What is put comes back, byte by byte, from each kind of store, for files and streams, in
// each kind of stage; LIST shows it and REMOVE takes it away.
func TestWhatIsPutIsListedGotAndRemoved(t *testing.T) {
	for name, opts := range stores {
		t.Run(name, func(t *testing.T) {
			db, _ := stagedDB(t, opts...)
			mustExec(t, db, "CREATE TABLE t (a INT)")
			mustExec(t, db, "CREATE STAGE s")
			dir := folder(t, "a.csv", "1\n2\n", "b.csv", strings.Repeat("3\n", 1000), "empty.csv", "")
			for _, stage := range []struct{ name, shown string }{{"@s/in", "s/in/"}, {"@~/in", "in/"}, {"@%t/in", "in/"}} {
				put := table(t, db, t.Context(), "PUT 'file://"+dir+"/*.csv' "+stage.name+" AUTO_COMPRESS = FALSE")
				put = strings.ReplaceAll(put, dir+"/", "")
				if put != "a.csv|a.csv|4|4|NONE|NONE|UPLOADED|;b.csv|b.csv|2000|2000|NONE|NONE|UPLOADED|;empty.csv|empty.csv|0|0|NONE|NONE|UPLOADED|" {
					t.Errorf("PUT: %s", put)
				}
				var names []string
				for _, row := range strings.Split(table(t, db, t.Context(), "LIST "+stage.name), ";") {
					fields := strings.Split(row, "|")
					names = append(names, fields[0]+" "+fields[1])
				}
				if got, want := strings.Join(names, ", "), fmt.Sprintf("%[1]sa.csv 4, %[1]sb.csv 2000, %[1]sempty.csv 0", stage.shown); got != want {
					t.Errorf("LIST: %s, want %s", got, want)
				}
				back := t.TempDir()
				if got := table(t, db, t.Context(), "GET "+stage.name+"/ 'file://"+back+"'"); got != "a.csv|4|DOWNLOADED|;b.csv|2000|DOWNLOADED|;empty.csv|0|DOWNLOADED|" && got != "in/a.csv|4|DOWNLOADED|;in/b.csv|2000|DOWNLOADED|;in/empty.csv|0|DOWNLOADED|" {
					t.Errorf("GET: %s", got)
				}
				for _, file := range []string{"a.csv", "b.csv", "empty.csv"} {
					want, _ := os.ReadFile(filepath.Join(dir, file))
					if got, err := os.ReadFile(filepath.Join(back, file)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s came back with %d bytes, %v", file, len(got), err)
					}
				}
				var stream bytes.Buffer
				putText(t, db, stage.name, "stream.txt", "what a stream had")
				table(t, db, gosnowflake.WithFileGetStream(t.Context(), &stream), "GET "+stage.name+"/stream.txt file:///tmp")
				if stream.String() != "what a stream had" {
					t.Errorf("the stream came back as %q", &stream)
				}
				wantTable(t, db, "RM "+stage.name+" PATTERN = '.*[ab][.]csv'", strings.ReplaceAll("_a.csv|removed;_b.csv|removed", "_", stage.shown))
				wantTable(t, db, "REMOVE "+stage.name, strings.ReplaceAll("_empty.csv|removed;_stream.txt|removed", "_", stage.shown))
				wantTable(t, db, "LS "+stage.name, "")
			}
		})
	}
}

// A file that is sent in parts is one file: larger than a part of each store's.
func TestLargeFilesAreWhole(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<16) // 20 MB
	for name, opts := range stores {
		t.Run(name, func(t *testing.T) {
			db, _ := stagedDB(t, opts...)
			ctx := gosnowflake.WithFilePutStream(t.Context(), bytes.NewReader(large))
			table(t, db, ctx, "PUT file:///none/large.bin @~ AUTO_COMPRESS=FALSE")
			var stream bytes.Buffer
			table(t, db, gosnowflake.WithFileGetStream(t.Context(), &stream), "GET @~/large.bin file:///tmp")
			if !bytes.Equal(stream.Bytes(), large) {
				t.Errorf("%d bytes of %d came back", stream.Len(), len(large))
			}
		})
	}
}

// Without OVERWRITE a file that is there stays, and is skipped.
func TestPutSkipsWhatIsThere(t *testing.T) {
	for name, opts := range stores {
		if opts == nil {
			continue // gosnowflake does not ask there
		}
		t.Run(name, func(t *testing.T) {
			db, _ := stagedDB(t, opts...)
			dir := folder(t, "a.csv", "1\n")
			put := func(options string) string {
				return table(t, db, t.Context(), "PUT file://"+dir+"/a.csv @~ "+options)
			}
			put("")
			if got := put(""); !strings.Contains(got, "|SKIPPED|") {
				t.Errorf("without OVERWRITE: %s", got)
			}
			if got := put("OVERWRITE = TRUE"); !strings.Contains(got, "|UPLOADED|") {
				t.Errorf("with OVERWRITE: %s", got)
			}
		})
	}
}

// Clients encrypt what they send and decrypt what they fetch, unless the stage has another
// ENCRYPTION. Of a stream, gosnowflake tells the size only where it has decrypted it. Unloaded
// files have the size that zlib gives them, an account's too.
func TestClientsEncryptFiles(t *testing.T) {
	for name, opts := range stores {
		t.Run(name, func(t *testing.T) {
			db, _ := stagedDB(t, opts...)
			mustExec(t, db, "CREATE STAGE plain ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE')")
			mustExec(t, db, "CREATE STAGE own")
			for stage, want := range map[string]string{"@plain": "0", "@own": "20", "@~": "20"} {
				putText(t, db, stage, "a.csv", "123,test1\n456,test2\n")
				var stream bytes.Buffer
				got := table(t, db, gosnowflake.WithFileGetStream(t.Context(), &stream), "GET "+stage+"/a.csv file:///tmp")
				if stream.String() != "123,test1\n456,test2\n" || got != "a.csv|"+want+"|DOWNLOADED|" {
					t.Errorf("%s: %q, %s", stage, &stream, got)
				}
			}
			mustExec(t, db, "CREATE TABLE t (a INT, b VARCHAR)")
			wantTable(t, db, "COPY INTO t FROM @own", "own/a.csv|LOADED|2|2|1|0|NULL|NULL|NULL|NULL")
			mustExec(t, db, "COPY INTO @own/out/ FROM t")
			if got := table(t, db, t.Context(), "GET @own/out/ 'file://"+t.TempDir()+"'"); got != "out/data_0_0_0.csv.gz|36|DOWNLOADED|" && got != "data_0_0_0.csv.gz|36|DOWNLOADED|" {
				t.Errorf("GET of an unloaded file: %s", got)
			}
		})
	}
}

func TestStagesAreMadeShownAndDropped(t *testing.T) {
	db, _ := stagedDB(t)
	wantTable(t, db, "CREATE STAGE first COMMENT = 'of files' FILE_FORMAT = (TYPE = CSV SKIP_HEADER = 1)", "Stage area FIRST successfully created.")
	wantTable(t, db, "CREATE STAGE IF NOT EXISTS first", "FIRST already exists, statement succeeded.")
	wantTable(t, db, "CREATE OR REPLACE FILE FORMAT f TYPE = JSON STRIP_OUTER_ARRAY = TRUE", "File format F successfully created.")
	for query, want := range map[string]int{
		"CREATE STAGE first":                    2002,
		"LIST @absent":                          2003,
		"DROP STAGE absent":                     2003,
		"LIST @%absent":                         2003,
		"CREATE STAGE x URL = 's3://b/'":        2,
		"CREATE FILE FORMAT x TYPE = AVRO":      2,
		"CREATE FILE FORMAT x NO_SUCH = 1":      1420,
		"DESCRIBE STAGE absent":                 2003,
		"COPY INTO absent FROM @first":          2003,
		"SELECT $1 FROM @absent":                2003,
		"PUT file:///tmp/x @absent":             2003,
		"PUT 's3://b/x' @first":                 1003,
		"COPY INTO @first FROM (SELECT 1) NO=1": 2,
	} {
		_, err := db.ExecContext(t.Context(), query)
		wantNumber(t, query, err, want)
	}
	shown := table(t, db, t.Context(), "SHOW STAGES LIKE 'fir%'")
	if _, rest, _ := strings.Cut(shown, "|"); rest != "FIRST|TESTDB|PUBLIC||N|N|SYSADMIN|of files|INTERNAL" {
		t.Errorf("SHOW STAGES: %s", shown)
	}
	wantTable(t, db, "DESCRIBE STAGE first", "FILE_FORMAT|SKIP_HEADER|String|1|;FILE_FORMAT|TYPE|String|CSV|")
	wantTable(t, db, "DROP STAGE first", "FIRST successfully dropped.")
	wantTable(t, db, "DROP STAGE IF EXISTS first", "Drop statement executed successfully (FIRST already dropped).")
	wantTable(t, db, "DROP FILE FORMAT f", "F successfully dropped.")
	// A stage goes with its table, its schema and, if it is temporary, with its session.
	mustExec(t, db, "CREATE TABLE t (a INT)")
	putText(t, db, "@%t", "x.csv", "1\n")
	mustExec(t, db, "CREATE OR REPLACE TABLE t (a INT)")
	wantTable(t, db, "LIST @%t", "")
	mustExec(t, db, "CREATE TEMPORARY STAGE mine")
	putText(t, db, "@mine", "x.csv", "1\n")
	wantTable(t, db, "REMOVE @mine", "mine/x.csv|removed")
}

func wantNumber(t *testing.T, query string, err error, want int) {
	t.Helper()
	var sf *gosnowflake.SnowflakeError
	if !asSnowflake(err, &sf) || sf.Number != want {
		t.Errorf("%s: error %v, want number %d", query, err, want)
	}
}

// The files go with the engine: nothing is left on the disk.
func TestStagedFilesGoWithTheEngine(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	e, err := duckdb.New()
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.OpenSession(t.Context(), snowtest.SessionConfig{ID: 1, User: "u"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(t.Context(), &snowtest.Statement{SQL: "COPY INTO @~/x FROM (SELECT 1 AS a) FILE_FORMAT = (TYPE = PARQUET)"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
