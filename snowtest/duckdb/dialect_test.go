package duckdb_test

import (
	"strings"
	"testing"
)

// Each line is a query, its types and its rows as Snowflake gives them.
func TestDialect(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a INT, b VARCHAR, c FLOAT, d DATE, ts TIMESTAMP, v VARIANT)",
		`INSERT INTO t SELECT 1, 'x', 1.5, '2020-01-31', '2020-01-31 10:00:00', parse_json('{"k":"v","n":1.5,"l":[1,{"m":null}]}')
			UNION ALL SELECT 2, 'Y', 2.5, NULL, NULL, NULL UNION ALL SELECT NULL, NULL, NULL, '2021-02-28', NULL, parse_json('[1]')`)
	for _, test := range []struct{ query, types, rows string }{
		// Numbers.
		{"SELECT 7/2, 1.5/3, 7::FLOAT/2, -7/2, 2/3, -2/3", "fixed(7,6) fixed(8,7) real fixed(38,6) fixed(7,6) fixed(38,6)", "3.500000|0.5000000|3.5|-3.500000|0.666667|-0.666667"},
		{"SELECT 10000000000000000000/3, 1/2/2, 1/3*3", "fixed(26,6) fixed(13,12) fixed(8,6)", "3333333333333333333.333333|0.250000000000|0.999999"},
		{"SELECT 1/3/3/3, 2::NUMBER(20,10)/3, 1/7::NUMBER(30,15)", "fixed(13,12) fixed(22,12) fixed(22,6)", "0.037037000000|0.666666666667|0.142857"},
		{"SELECT 1/2000000, -1/2000000, 3/2000000", "fixed(7,6) fixed(38,6) fixed(7,6)", "0.000001|-0.000001|0.000002"},
		{"SELECT 0.1 + 0.2, 5 % 3, -5 % 3, mod(7, 4), 100000 * 100000", "", "0.3|2|-2|3|10000000000"},
		{"SELECT round(2.5), round(-2.5), round(2.5::FLOAT), round(1234.567, -2), trunc(-1.567, 1), ceil(2.15, 1), floor(-2.15, 1)", "", "3|-3|3|1200|-1.5|2.2|-2.2"},
		{"SELECT 2.5::INT, -2.5::INT, 2.5::FLOAT::INT, '1.5'::INT, TRUE::INT, 1.567::NUMBER(10,2)", "", "3|-3|3|2|1|1.57"},
		{"SELECT avg(a), avg(c), sum(a), median(a), count(*), stddev(c) FROM t", "fixed(38,6) real fixed(38,0) fixed(38,3) fixed(18,0) real", "1.500000|2|3|1.500|3|0.7071067811865476"},
		{"SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t", "fixed(38,3)", "1.500"},
		{"SELECT avg(a) OVER (PARTITION BY b ORDER BY a) x FROM t ORDER BY 1", "", "1.000000;2.000000;NULL"},
		{"SELECT div0(1, 0), div0(7, 2), zeroifnull(NULL), nullifzero(0), square(3), power(2, 10), log(10, 1000)", "", "0.000000|3.500000|0|NULL|9|1024|3"},
		{"SELECT bitand(6, 3), bitor(6, 3), bitxor(6, 3), bitshiftleft(1, 4), greatest(1, 2, NULL), least(2, 1)", "", "2|7|5|16|NULL|1"},
		{"SELECT 12345678901234567890123456789012345678, 1e3, .5", "fixed(38,0) real fixed(1,1)", "12345678901234567890123456789012345678|1000|0.5"},
		// A whole number and a fraction: the fraction keeps its digits.
		{"SELECT n > a, coalesce(n, a), nvl(a, n), greatest(a, n), iff(TRUE, n, a), CASE WHEN FALSE THEN a ELSE n END FROM (SELECT 1::INT a, 1.4::NUMBER(10,2) n)", "", "1|1.40|1.00|1.40|1.40|1.40"},
		{"SELECT a FROM t WHERE a > (SELECT avg(a) FROM t)", "fixed(38,0)", "2"},
		{"SELECT column1::NUMBER(10,2) AS n FROM VALUES (1.5) UNION ALL SELECT a FROM t WHERE a = 2 ORDER BY 1", "fixed(38,2)", "1.50;2.00"},
		{"SELECT count(*) FROM t JOIN (SELECT 1.5::NUMBER(5,1) AS n) x ON t.a = x.n OR t.a IN (1.4, 2.2)", "", "0"},
		{"SELECT round(a, -1), ceil(a, 1), floor(a, -1), trunc(a), a % 2, a / 3, power(a, 2), a::VARCHAR, a::FLOAT, 'x' || a FROM t WHERE a = 2", "", "0|2|0|2|0|0.666667|4|2|2|x2"},
		// NULL and conditions.
		{"SELECT a FROM t ORDER BY a", "", "1;2;NULL"},
		{"SELECT a FROM t ORDER BY a DESC", "", "NULL;2;1"},
		{"SELECT a FROM t ORDER BY a DESC NULLS LAST", "", "2;1;NULL"},
		{"SELECT a FROM t QUALIFY row_number() OVER (ORDER BY a DESC) = 1", "", "NULL"},
		{"SELECT iff(a > 1, 'big', 'small'), nvl(a, 0), nvl2(a, 1, 2), equal_null(a, NULL) FROM t ORDER BY a", "", "small|1|1|0;big|2|1|0;small|0|2|1"},
		{"SELECT decode(a, 1, 'one', NULL, 'none', 'other') FROM t ORDER BY a", "", "one;other;none"},
		{"SELECT 'a' || NULL, '' IS NULL, concat('a', NULL), concat_ws('-', 'a', NULL), coalesce(NULL, 'z'), NULL IS NOT DISTINCT FROM NULL", "", "NULL|0|NULL|NULL|z|1"},
		{"SELECT min_by(x, y), max_by(x, y), count_if(x > 5), corr(x, x - x), regr_slope(x, x - x) FROM VALUES (NULL, 1), (5, 2), (NULL, 9) v(x, y)", "", "NULL|NULL|0|NULL|NULL"},
		{"SELECT count_if(a > 0), count(*) FROM t WHERE FALSE", "", "0|0"},
		{"SELECT left('abc', NULL), right('abc', NULL), substr('abc', 1, NULL), left('abc', -1), substr('abc', 2, -1), 'NaN'::FLOAT::VARCHAR", "", "NULL|NULL|NULL|||NaN"},
		// Text.
		{"SELECT 'a' = 'A', 'a' LIKE 'A', 'a' ILIKE 'A', 'abc' RLIKE 'b', 'abc' RLIKE '.b.', 'abc' NOT RLIKE 'b'", "", "0|0|1|0|1|1"},
		{"SELECT substr('abc', 0, 2), substr('abc', -2), substring('abc', 2), left('abc', 2), right('abc', 2), charindex('c', 'abc'), position('b' IN 'abc'), position('c', 'abcabc', 4)", "", "ab|bc|bc|ab|bc|3|2|6"},
		{"SELECT split_part('a.b.c', '.', 2), split_part('a.b', '.', 0), split_part('a.b', '.', -1), startswith('abc', 'a'), endswith('abc', 'c'), contains('abc', 'b'), len('äb')", "", "b|a|b|1|1|1|2"},
		{"SELECT split_part('abc', '', 1), split_part('abc', '', 2), octet_length('ä'), octet_length(X'41'), char(65), unicode(''), unicode('€')", "", "abc||2|1|A|0|8364"},
		{"SELECT regexp_like('abc', 'b'), regexp_like('ABC', 'a.c', 'i'), regexp_replace('a1b2', '[0-9]'), regexp_replace('a1b2', '[0-9]', '#'), regexp_substr('ab12', '[0-9]+'), regexp_substr('ab', '[0-9]+'), regexp_count('a1b2', '[0-9]')", "", "0|1|ab|a#b#|12|NULL|2"},
		{`SELECT 'it''s', 'a\'b\\n\n', $$raw\n'$$, X'4142'`, "text text text binary", "it's|a'b\\n\n|raw\\n'|4142"},
		{"SELECT lpad('7', 3, '0'), rpad('a', 2), trim(' x '), upper('ab'), replace('aXa', 'X'), repeat('ab', 2), reverse('abc'), translate('abc', 'ab', 'xy'), chr(65), ascii('A')", "", "007|a |x|AB|aa|abab|cba|xyc|A|65"},
		{"SELECT md5('a'), sha2('a'), hex_encode('a'), base64_encode('abc')", "", "0cc175b9c0f1b6a831c399e269772661|ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb|61|YWJj"},
		{"SELECT listagg(b, ',') WITHIN GROUP (ORDER BY a DESC) FROM t", "text", "Y,x"},
		{"SELECT listagg(DISTINCT column1, '-') WITHIN GROUP (ORDER BY column1 DESC), listagg(column1) FROM VALUES (9), (10), (9) WHERE column1 > 100", "", "|"},
		{"SELECT listagg(DISTINCT column1, '-') WITHIN GROUP (ORDER BY column1 DESC) FROM VALUES (9), (10), (9)", "", "10-9"},
		// Text of other types.
		{"SELECT 1.50::VARCHAR, 2::FLOAT::VARCHAR, 1e20::FLOAT::VARCHAR, TRUE::VARCHAR, 'abcdef'::VARCHAR(3), 'AB'::BINARY::VARCHAR", "", "1.50|2|1e+20|true|abc|AB"},
		{"SELECT ts::VARCHAR, d::VARCHAR, ts::TIME::VARCHAR, 'at ' || ts, '2020-01-01 01:02:03.5'::TIMESTAMP_LTZ::VARCHAR FROM t WHERE a = 1", "", "2020-01-31 10:00:00.000|2020-01-31|10:00:00|at 2020-01-31 10:00:00.000|2020-01-01 01:02:03.500 Z"},
		{"SELECT to_char(ts, 'YYYY/MM/DD HH24:MI:SS.FF3'), to_varchar(d, 'DD-MON-YY'), to_char(ts, 'YYYY-MM-DD\"T\"HH12:MI AM'), to_varchar(1.5) FROM t WHERE a = 1", "", "2020/01/31 10:00:00.000|31-Jan-20|2020-01-31T10:00 AM|1.5"},
		{"SELECT to_date('02.01.2020', 'DD.MM.YYYY'), to_timestamp('2020-01-02 03:04', 'YYYY-MM-DD HH24:MI'), to_timestamp(60), to_timestamp('1577836800000'), try_to_date('x'), to_time('10:11:12')", "date timestamp_ntz timestamp_ntz timestamp_ntz date time", "18263|1577934240.000000000|60.000000000|1577836800.000000000|NULL|36672.000000000"},
		{"SELECT to_number('12.345', 10, 2), to_decimal('7'), try_to_number('x'), try_cast('x' AS INT), to_boolean('yes'), to_double('1.5'), to_binary('4142'), to_binary('ab', 'UTF-8')", "fixed(10,2) fixed(38,0) fixed(38,0) fixed(38,0) boolean real binary binary", "12.35|7|NULL|NULL|1|1.5|4142|6162"},
		// Dates and times.
		{"SELECT dateadd(day, 1, d), dateadd('month', 1, d), dateadd(hour, 2, d), dateadd(year, -1, ts), d + 1, d + INTERVAL '1 day', ts - INTERVAL '1 hour, 30 minutes' FROM t WHERE a = 1", "date date timestamp_ntz timestamp_ntz date date timestamp_ntz", "18293|18321|1580436000.000000000|1548928800.000000000|18293|18293|1580459400.000000000"},
		{"SELECT datediff(week, '2024-01-07'::DATE, '2024-01-08'::DATE), datediff(day, '2024-01-01 23:59:59', '2024-01-02 00:00:00'), datediff(month, '2024-01-31', '2024-02-01'), datediff(year, '2023-12-31', '2024-01-01'), timestampdiff(hour, '2024-01-01 00:59:00'::TIMESTAMP, '2024-01-01 01:00:00'::TIMESTAMP)", "", "1|1|1|1|1"},
		{"SELECT date_trunc(month, ts), date_trunc('week', d), last_day(d), last_day(d, 'year'), add_months('2020-02-29'::DATE, 12), trunc(d, 'month') FROM t WHERE a = 1", "timestamp_ntz date date date date date", "1577836800.000000000|18288|18292|18627|18686|18262"},
		{"SELECT dayofweek('2024-01-07'::DATE), dayofweekiso('2024-01-07'::DATE), dayname(d), monthname(d), year(d), quarter(d), week(d), hour(ts), extract(month FROM d), date_part(epoch_second, ts), date_part('dow', d) FROM t WHERE a = 1", "", "0|7|Fri|Jan|2020|1|5|10|1|1580464800|5"},
		{"SELECT '2024-02-29 12:00:00 +05:30'::TIMESTAMP_TZ, '2024-02-29 12:00:00+05:30'::TIMESTAMP_TZ, '2024-02-29T12:00:00.5 -0800'::TIMESTAMP_LTZ, '2024-02-29 12:00Z'::TIMESTAMP_TZ, to_timestamp_tz('2024-02-29 12:00:00 +05')", "timestamp_tz timestamp_tz timestamp_ltz timestamp_tz timestamp_tz", "1709188200.000000000 1770|1709188200.000000000 1770|1709236800.500000000|1709208000.000000000 1440|1709190000.000000000 1740"},
		{"SELECT '2024-02-29 12:00:00 +05:30'::TIMESTAMP_NTZ, '29-Feb-2024'::DATE, '02/29/2024 1:02:03'::TIMESTAMP, '2024-2-9'::DATE, '2024-02-29 12:00:00 +05:30'::DATE, '1:02 PM'::TIME, '2024-02-29 12'::TIMESTAMP, to_time('2024-01-01 12:30:00')", "", "1709208000.000000000|19782|1709168523.000000000|19762|19782|46920.000000000|1709208000.000000000|45000.000000000"},
		{"SELECT 60::TIMESTAMP, '1577836800000'::TIMESTAMP, to_date('86400'), to_timestamp(1.5), to_timestamp('2024-01-01 10:00:00.123', 'YYYY-MM-DD HH24:MI:SS.FF'), try_to_timestamp('2024-02-30'), try_cast('12:60' AS TIME), dateadd(day, 1, '2024-01-01 00:00:00 +01:00')", "", "60.000000000|1577836800.000000000|1|1.500000000|1704103200.123000000|NULL|NULL|1704153600.000000000"},
		{"SELECT d - '2020-01-01'::DATE, date_from_parts(2020, 14, 1), convert_timezone('UTC', 'America/New_York', '2020-01-01 12:00:00'::TIMESTAMP) FROM t WHERE a = 1", "", "30|18659|1577862000.000000000"},
		// Semi-structured values.
		{"SELECT v:k::STRING, v:n::FLOAT, v:l[0]::INT, v['k']::STRING, v:l[1].m::STRING, v:none::INT FROM t WHERE a = 1", "text real fixed(38,0) text text fixed(38,0)", "v|1.5|1|v|NULL|NULL"},
		{"SELECT a FROM t WHERE v:k::STRING = 'v'", "", "1"},
		{"SELECT v:k, v:l, get_path(v, 'l[0]'), get(v, 'n'), typeof(v:k), array_size(v:l) FROM t WHERE a = 1", "variant variant variant variant text fixed(10,0)", "\"v\"|[\n  1,\n  {\n    \"m\": null\n  }\n]|1|1.5|VARCHAR|2"},
		{"SELECT to_json(object_construct('a', 1.50, 'b', NULL, 'c', parse_json('[1]'), 'd', 'q\"')), to_json(array_construct(1, 'x')), array_to_string(split('a,b', ','), '-')", "", `{"a":1.50,"c":[1],"d":"q\""}|[1,"x"]|a-b`},
		{"SELECT to_json(array_agg(a) WITHIN GROUP (ORDER BY a DESC)), try_parse_json('{x'), parse_json('12345678901234567890.5')::VARCHAR IS NOT NULL FROM t", "", "[2,1]|NULL|1"},
		{`SELECT parse_json('{"b": [1, 2], "a": null}'), to_json(parse_json('{"b": 1, "a": "<é"}')), parse_json('{"a": 1, "b": 2}') = parse_json('{"b":2,"a":1}')`, "variant text boolean", "{\n  \"a\": null,\n  \"b\": [\n    1,\n    2\n  ]\n}|{\"a\":\"<é\",\"b\":1}|1"},
		{`SELECT v:n, v:n::NUMBER(38,0), v:f::VARCHAR, v:"x""y"::INT, v:l[1]:z::STRING, v:l[7], v:n.m FROM (SELECT parse_json('{"n":12345678901234567890123,"f":1.10,"x\\"y":3,"l":[0,{"z":"q"}]}') AS v)`, "", "12345678901234567890123|12345678901234567890123|1.10|3|q|NULL|NULL"},
		{"SELECT x::INT, x::FLOAT, x::NUMBER(5,1), cast(x AS VARCHAR), to_number(x), y::DATE, y::TIMESTAMP, z::BOOLEAN FROM (SELECT parse_json('5') x, parse_json('\"2024-01-01\"') y, parse_json('true') z)", "", "5|5|5.0|5|5|19723|1704067200.000000000|1"},
		{"SELECT to_array(1), 'x'::ARRAY, to_array(parse_json('[1]')), parse_json('{\"a\":1}')::OBJECT, split('ab', ''), object_construct('b', 1, 'a', 2)", "", "[\n  1\n]|[\n  \"x\"\n]|[\n  1\n]|{\n  \"a\": 1\n}|[\n  \"ab\"\n]|{\n  \"a\": 2,\n  \"b\": 1\n}"},
		// Queries.
		{"SELECT * FROM VALUES (1, 'a'), (2, 'b')", "fixed(38,0) text", "1|a;2|b"},
		{"SELECT x + 1 FROM (VALUES (1), (2)) AS q(x) ORDER BY 1 DESC LIMIT 1", "", "3"},
		{"SELECT sum(seq4()) FROM TABLE(GENERATOR(ROWCOUNT => 5))", "", "10"},
		{"WITH a(x) AS (SELECT 1), b(y, z) AS (SELECT x + 1, 2 FROM a) SELECT x, avg(y) AS y, avg(z) AS z FROM a, b AS q(y, z) GROUP BY x", "fixed(38,0) fixed(38,6) fixed(38,6)", "1|2.000000|2.000000"},
		{"WITH RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r WHERE n < 4) SELECT max(n) FROM r", "", "4"},
		{"SELECT a FROM t MINUS SELECT 1 ORDER BY a", "", "2;NULL"},
		{"SELECT b, count(*) FROM t GROUP BY 1 HAVING count(*) > 0 ORDER BY 2, 1", "", "Y|1;x|1;NULL|1"},
		{"SELECT last_value(a) OVER (ORDER BY a), first_value(a) IGNORE NULLS OVER (ORDER BY a DESC), lag(a) OVER (ORDER BY a), sum(a) OVER (ORDER BY a) FROM t ORDER BY a", "", "NULL|2|NULL|1;NULL|2|1|3;NULL|2|2|3"},
		{"SELECT a / 2 AS half, half * 2 FROM t WHERE a = 1", "", "0.500000|1.000000"},
		{"SELECT count(DISTINCT a, b), approx_count_distinct(a), count_if(a > 1) FROM t", "", "2|2|1"},
		{"SELECT x.a, y.a FROM t x LEFT JOIN t y ON x.a = y.a + 1 ORDER BY 1", "", "1|NULL;2|1;NULL|NULL"},
		{"SELECT uniform(1, 3, random()) BETWEEN 1 AND 3, length(randstr(10, random())), uuid_string() <> uuid_string(), hash('a') = hash('a')", "", "1|10|1|1"},
		{"SELECT count(*), count(DISTINCT mod(abs(hash(*)), 4)), count(hash(*)) FROM (SELECT seq4() AS n, NULL AS z FROM TABLE(GENERATOR(ROWCOUNT => 100)))", "", "100|4|100"},
		{"SELECT n FROM (SELECT seq4() AS n, NULL AS z FROM TABLE(GENERATOR(ROWCOUNT => 3))) AS q WHERE mod(abs(hash(*)), 1) = 0 ORDER BY n", "", "0;1;2"},
		{"SELECT identifier('a') FROM identifier('db.public.t') WHERE a = 1 -- a comment", "", "1"},
		{"SELECT /* one */ 1 // two\n, 2", "", "1|2"},
	} {
		res, err := c.try(test.query)
		if err != nil {
			t.Errorf("%s: %v", test.query, err)
			continue
		}
		if got := text(res); got != test.rows {
			t.Errorf("%s:\n got %s\nwant %s", test.query, got, test.rows)
		}
		if got := types(res); test.types != "" && got != test.types {
			t.Errorf("%s:\n got %s\nwant %s", test.query, got, test.types)
		}
	}
}

func TestColumnNamesAreSnowflakes(t *testing.T) {
	c := newClient(t)
	c.run("CREATE TABLE t (a INT, \"MiXed\" INT)")
	for query, want := range map[string]string{
		"select a, t.a as b, \"MiXed\", a as \"lower\" from t": "A|B|MiXed|lower",
		"select count(*), a+1, 'x', max(a) from t group by a":  "COUNT(*)|A+1|'X'|MAX(A)",
		"select a one, a::int two, (a) three, 4 from t":        "ONE|TWO|THREE|4",
		"select * from t":                                                                "A|MiXed",
		"select x.* exclude (a) from t x":                                                "MiXed",
		"select iff(true, 1, 2), current_date, null, ?":                                  "IFF(TRUE, 1, 2)|CURRENT_DATE|NULL|?",
		"select * from (select count(*), sum(a) s from t)":                               "COUNT(*)|S",
		"select case when a is null then 1 end, a is null, not true, a in (1, 2) from t": "CASE WHEN A IS NULL THEN 1 END|A IS NULL|NOT TRUE|A IN (1, 2)",
	} {
		if got := names(c.run(query, null("TEXT"))); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// What DuckDB would answer otherwise than Snowflake, or not at all, is refused
// in Snowflake's words.
func TestErrors(t *testing.T) {
	c := newClient(t)
	c.runAll("CREATE TABLE t (a INT NOT NULL, s VARCHAR(3), v VARIANT)", "CREATE TABLE u (a INT)",
		"INSERT INTO t SELECT 1, 'x', parse_json('{\"k\":\"v\"}')")
	for _, test := range []struct{ query, code, message string }{
		{"SELEC 1", "001003/42000", "SQL compilation error:\nsyntax error line 1 at position 0 unexpected 'SELEC'."},
		{"SELECT 1\nFROM WHERE x", "001003/42000", "syntax error line 2 at position 5 unexpected 'WHERE'."},
		{"SELECT (1", "001003/42000", "unexpected '<EOF>'"},
		{"SELECT 'open", "001003/42000", ""},
		{"", "000900/42601", ""},
		{"SELECT 1; SELECT 2", "000008/0A000", ""},
		{"SELECT * FROM nope", "002003/42S02", "Object 'NOPE' does not exist or not authorized."},
		{"SELECT * FROM u JOIN db.public.nope ON true", "002003/42S02", "Object 'DB.PUBLIC.NOPE' does not exist or not authorized."},
		{"SELECT * FROM other.public.t", "002003/02000", "Database 'OTHER' does not exist or not authorized."},
		{"INSERT INTO nope VALUES (1)", "002003/42S02", "Object 'NOPE' does not exist"},
		{"SELECT v.k FROM t", "000904/42000", "invalid identifier 'k'"},
		{"SELECT v.v FROM t", "000904/42000", "invalid identifier 'v'"},
		{"SELECT nope FROM t", "000904/42000", "invalid identifier 'NOPE'"},
		{"INSERT INTO t (nope) VALUES (1)", "000904/42000", "invalid identifier 'NOPE'"},
		{"SELECT t.a, u.a FROM t, u WHERE a = 1", "000904/42000", "ambiguous column name 'A'"},
		{"SELECT foo(1)", "002140/42601", "Unknown function FOO."},
		{"SELECT date_diff('day', current_date, current_date)", "002140/42601", "Unknown function DATE_DIFF."},
		{"SELECT 1, list(a) AS b FROM t", "002140/42601", "Unknown function LIST."},
		{"SELECT \"list\"(a) FROM t", "002140/42601", "Unknown function \"LIST\"."},
		{"SELECT list_value(1)", "002140/42601", "Unknown function LIST_VALUE."},
		{"SELECT * FROM range(3)", "002140/42601", "Unknown function RANGE."},
		{"SELECT convert_timezone('UTC', current_timestamp())", "000002/0A000", "CONVERT_TIMEZONE"},
		{"SELECT 'infinity'::DATE", "100040/22007", "Date 'infinity' is not recognized"},
		{"SELECT '2024/02/29'::DATE", "100040/22007", "Date '2024/02/29' is not recognized"},
		{"SELECT '2024-02-29 24:00:00 +05:30'::TIMESTAMP_TZ", "100035/22007", "Timestamp '2024-02-29 24:00:00 +05:30' is not recognized"},
		{"SELECT '2024-02-29 12:00:00 +15:00'::TIMESTAMP_TZ", "100035/22007", ""},
		{"SELECT '2024-02-29'::DATE::INT", "001065/22023", "types DATE and DECIMAL(38,0)"},
		{"SELECT '12:61'::TIME", "100108/22007", "Time '12:61' is not recognized"},
		{"SELECT parse_json('{\"a\":1,\"a\":2}')", "100069/22P02", "duplicate object attribute \"a\""},
		{"SELECT parse_json('[1] [2]')", "100069/22P02", ""},
		{"SELECT to_object(parse_json('[1]'))", "100071/22000", "Failed to cast variant value [1] to OBJECT"},
		{"SELECT 'abc'::BINARY", "100053/22023", "not a legal hex-encoded string"},
		{"SELECT to_binary('xy')", "100053/22023", "not a legal hex-encoded string"},
		{"SELECT array_construct(1, NULL)", "000002/0A000", "NULL in ARRAY_CONSTRUCT"},
		{"SELECT read_csv('/etc/passwd')", "002140/42601", "Unknown function READ_CSV."},
		{"SELECT * FROM read_text('/etc/passwd')", "002140/42601", ""},
		{"SELECT * FROM '/etc/passwd'", "001003/42000", ""},
		{"SELECT 1 / 0", "100051/22012", "Division by zero"},
		{"SELECT 5 % 0", "100051/22012", "Division by zero"},
		{"SELECT column1 / column2 FROM VALUES (1, 1), (1, 0)", "100051/22012", "Division by zero"},
		{"SELECT 'abc'::INT", "100038/22018", "Numeric value 'abc' is not recognized"},
		{"SELECT ''::NUMBER(3,0)", "100038/22018", "Numeric value '' is not recognized"},
		{"SELECT 'maybe'::BOOLEAN", "100037/22018", "Boolean value 'maybe' is not recognized"},
		{"SELECT '2024-02-30'::DATE", "100040/22007", "Date '2024-02-30' is not recognized"},
		{"SELECT 'x'::TIMESTAMP", "100035/22007", "Timestamp 'x' is not recognized"},
		{"SELECT 1000::NUMBER(3,1)", "100039/22003", "Numeric value '1000' is out of range"},
		{"SELECT 99999999999999999999999999999999999999 * 10", "100046/22003", ""},
		{"SELECT parse_json('{x')", "100069/22P02", "Error parsing JSON"},
		{"INSERT INTO t (s) VALUES ('x')", "100072/22000", "NULL result in a non-nullable column"},
		{"INSERT INTO t (a, s) VALUES (1, 'long')", "100078/22000", "VARCHAR(3)"},
		{"INSERT INTO t VALUES (1, 'x')", "002020/21S01", "Insert value list does not match column list expecting 3 but got 2"},
		{"CREATE TABLE t (a INT)", "002002/42710", "Object 'T' already exists."},
		{"SELECT a, count(*) FROM t", "000979/42601", ""},
		{"SELECT $novar", "002211/02000", "Session variable '$NOVAR' does not exist"},
		{"SELECT nvl(1)", "000939/22023", ""},
		{"SELECT dateadd(fortnight, 1, current_date)", "001003/42000", "'FORTNIGHT' is not a valid date/time component for function DATEADD."},
		{"SELECT * FROM TABLE(RESULT_SCAN(last_query_id()))", "000002/0A000", "RESULT_SCAN"},
		{"SELECT * FROM t AT(OFFSET => -60)", "000002/0A000", "time travel"},
		{"SELECT * FROM t SAMPLE (10)", "000002/0A000", "SAMPLE"},
		{"SELECT * FROM t PIVOT(sum(a) FOR s IN ('x'))", "000002/0A000", "PIVOT"},
		{"SELECT TOP 1 a FROM t", "000002/0A000", "TOP"},
		{"SELECT a FROM t WHERE v:k = 'v'", "000002/0A000", "VARIANT"},
		{"SELECT a FROM t START WITH a = 1 CONNECT BY a = 2", "000002/0A000", "CONNECT BY"},
		{"SELECT * FROM @stage", "002003/02000", "STAGE"},
		{"SELECT to_char(1.5, '99.9')", "000002/0A000", "format"},
		{"SELECT seq4() FROM t", "000002/0A000", "SEQ4"},
		{"COPY INTO t FROM 's3://bucket/'", "000002/0A000", ""},
		{"ALTER SESSION SET WEEK_START = 1", "000002/0A000", "WEEK_START"},
		{"ATTACH 'x.db'", "001003/42000", "unexpected 'ATTACH'"},
		{"PRAGMA database_list", "001003/42000", ""},
		{"INSTALL httpfs", "001003/42000", ""},
		{"USE SCHEMA nowhere", "002043/02000", ""},
	} {
		_, err := c.try(test.query + " ")
		if err == nil {
			t.Errorf("%s: no error, want %s", test.query, test.code)
			continue
		}
		if got := code(err); got != test.code || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s:\n got %v\nwant %s %s", test.query, err, test.code, test.message)
		}
	}
}
