package duckdb_test

import "testing"

// What differs from Snowflake, by the list in doc.go, and can be told from the statement, is an error
// and no other answer. TestRefusedForGood has what the engine will not learn.
func TestWhatDiffersIsAnErrorAndNoOtherAnswer(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE DATABASE other", "CREATE TABLE other.public.o (a INT)", "USE SCHEMA db.public",
		"CREATE TABLE t (a INT, v VARIANT, d DATE, s VARCHAR(3))", "INSERT INTO t SELECT 1, PARSE_JSON('1'), '2020-01-01', 'a'")
	for _, query := range []string{
		"SELECT v = 1 FROM t", "SELECT v + 1 FROM t", "SELECT DATEADD(nanosecond, 1, d) FROM t", "SELECT CONVERT_TIMEZONE('UTC', d) FROM t",
		"SELECT ARRAY_CONSTRUCT(1, NULL)", "SELECT SHA2('a', 512)", "SELECT * FROM TABLE(GENERATOR(ROWCOUNT => 1)), TABLE(GENERATOR(ROWCOUNT => 1)) WHERE seq4() = 0",
		"SELECT LISTAGG(DISTINCT a) WITHIN GROUP (ORDER BY d) FROM t", "SELECT TO_CHAR(d, 'Q') FROM t", "SELECT TO_NUMBER(s, '999') FROM t",
		"ALTER SESSION SET WEEK_START = 1", "ALTER SESSION SET TIMESTAMP_TYPE_MAPPING = 'TIMESTAMP_LTZ'", "CREATE TABLE x (a INT CHECK (a > 0))", "CREATE TABLE x (a VARCHAR COLLATE 'en')",
		"CREATE STAGE x URL = 's3://b'", "CREATE FILE FORMAT x TYPE = AVRO", "SELECT * FROM t UNPIVOT (x FOR y IN (a))", "SELECT INTERVAL '1 day'", "SHOW USERS", "CREATE VIEW w AS SELECT CURRENT_ROLE() AS r",
	} {
		c.wantCode(query, "000002/0A000")
	}
	c.wantCode("SELECT d + a FROM t", "001044/42P13")
	c.wantCode("SELECT d > '01-JAN-2020' FROM t", "100040/22007")
	c.runAll("BEGIN", "UPDATE t SET a = 2")
	c.wantCode("INSERT INTO other.public.o VALUES (1)", "000002/0A000")
	c.run("ROLLBACK")
	c.want("SELECT a FROM t", "1")
}
