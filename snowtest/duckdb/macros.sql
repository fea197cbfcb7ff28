-- Snowflake's functions, as macros of DuckDB. They live in a database of their
-- own that every session has on its search path, behind its own schema and
-- before DuckDB's functions: a macro here hides DuckDB's function or operator of
-- the same name, which is then called with system.main before it.
--
-- An error is raised by a cast of 'SF|code|state|message|' to a number, which
-- errors.go turns into one of Snowflake's shape: DuckDB's error() would make the
-- expression volatile and its alias useless to the rest of the SELECT. What needs
-- to see the statement's text (date parts, formats, any number of arguments) is
-- rewritten in functions.go, temporal.go and conversions.go, which call the macros
-- that begin with sf_. A few of those are functions in Go: udf.go lists them.

-- Values as text: what ::VARCHAR, TO_VARCHAR and || make of each type.

CREATE MACRO sf_is_variant(x) AS system.main.typeof(x) = 'STRUCT(json_ VARCHAR)';
CREATE MACRO sf_json_text(j) AS CASE system.main.left(j, 1) WHEN '"' THEN json_extract_string(j, '$') WHEN 'n' THEN NULL ELSE j END;
CREATE MACRO sf_text(x) AS CASE
  WHEN sf_is_variant(x) THEN sf_json_text(system.main.to_json(x) ->> '$.json_')
  WHEN system.main.typeof(x) IN ('DATE', 'TIMESTAMP', 'TIMESTAMP WITH TIME ZONE', 'TIME') THEN sf_format(CAST(x AS VARCHAR), system.main.typeof(x), COALESCE(CAST(getvariable('sf_formats') AS VARCHAR), ''))
  WHEN system.main.typeof(x) IN ('DOUBLE', 'FLOAT') THEN system.main.regexp_replace(system.main.replace(CAST(x AS VARCHAR), 'nan', 'NaN'), '\.0$', '')
  WHEN system.main.typeof(x) = 'BLOB' THEN system.main.hex(CAST(CAST(x AS VARCHAR) AS BLOB))
  ELSE CAST(x AS VARCHAR) END;
CREATE MACRO sf_try_binary(x) AS CASE WHEN regexp_full_match(x, '([0-9A-Fa-f]{2})*') THEN from_hex(x) END;
CREATE MACRO sf_binary(x) AS CASE
  WHEN system.main.typeof(x) <> 'VARCHAR' THEN CAST(CAST(x AS VARCHAR) AS BLOB)
  WHEN regexp_full_match(CAST(x AS VARCHAR), '([0-9A-Fa-f]{2})*') THEN from_hex(CAST(x AS VARCHAR))
  WHEN x IS NOT NULL THEN CAST(CAST(CAST('SF|100053|22023|The string is not a legal hex-encoded string|' AS INTEGER) AS VARCHAR) AS BLOB) END;

-- Texts and other values as numbers, dates and times. A variant gives its value.

CREATE MACRO sf_numeric(x) AS system.main.typeof(x) IN ('TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT', 'UBIGINT') OR starts_with(system.main.typeof(x), 'DECIMAL');
CREATE MACRO sf_inexact(x) AS system.main.typeof(x) IN ('DOUBLE', 'FLOAT');
CREATE MACRO sf_is_text(x) AS system.main.typeof(x) IN ('VARCHAR', 'STRUCT(json_ VARCHAR)');
CREATE MACRO sf_whole(x) AS CAST(CASE WHEN sf_is_variant(x) THEN CAST(sf_text(x) AS DECIMAL(38,0)) ELSE CAST(x AS DECIMAL(38,0)) END AS HUGEINT);
CREATE MACRO sf_try_whole(x) AS CAST(CASE WHEN sf_is_variant(x) THEN TRY_CAST(sf_text(x) AS DECIMAL(38,0)) ELSE TRY_CAST(x AS DECIMAL(38,0)) END AS HUGEINT);
CREATE MACRO sf_time_text(x, t) AS CASE WHEN system.main.typeof(x) = 'VARCHAR' THEN sf_read_time(CAST(x AS VARCHAR), t, '') ELSE CAST(x AS VARCHAR) END;
CREATE MACRO sf_date(x) AS CASE WHEN sf_is_text(x) THEN CAST(sf_read_time(sf_text(x), 'DATE', '') AS DATE) ELSE CAST(x AS DATE) END;
CREATE MACRO sf_try_date(x) AS CASE WHEN sf_is_text(x) THEN CAST(sf_try_read_time(sf_text(x), 'DATE', '') AS DATE) ELSE CAST(x AS DATE) END;
CREATE MACRO sf_time(x) AS CASE WHEN sf_is_text(x) THEN CAST(sf_read_time(sf_text(x), 'TIME', '') AS TIME) ELSE CAST(x AS TIME) END;
CREATE MACRO sf_try_time(x) AS CASE WHEN sf_is_text(x) THEN CAST(sf_try_read_time(sf_text(x), 'TIME', '') AS TIME) ELSE CAST(x AS TIME) END;

-- A number as a timestamp counts seconds since 1970.
CREATE MACRO sf_counts(x) AS sf_numeric(x) OR sf_inexact(x);
CREATE MACRO sf_epoch(x) AS make_timestamp(CAST(CAST(CAST(x AS VARCHAR) AS DECIMAL(38,6)) * 1000000 AS BIGINT));
CREATE MACRO sf_timestamp(x) AS CASE
  WHEN sf_is_text(x) THEN CAST(sf_read_time(sf_text(x), 'TIMESTAMP', '') AS TIMESTAMP)
  WHEN sf_counts(x) THEN sf_epoch(x)
  ELSE CAST(x AS TIMESTAMP) END;
CREATE MACRO sf_timestamptz(x) AS CASE
  WHEN sf_is_text(x) THEN CAST(sf_read_time(sf_text(x), 'TIMESTAMPTZ', '') AS TIMESTAMPTZ)
  WHEN sf_counts(x) THEN timezone('UTC', sf_epoch(x))
  ELSE CAST(x AS TIMESTAMPTZ) END;
CREATE MACRO sf_try_timestamp(x) AS CASE WHEN sf_is_text(x) THEN CAST(sf_try_read_time(sf_text(x), 'TIMESTAMP', '') AS TIMESTAMP) ELSE sf_timestamp(x) END;
CREATE MACRO sf_try_timestamptz(x) AS CASE WHEN sf_is_text(x) THEN CAST(sf_try_read_time(sf_text(x), 'TIMESTAMPTZ', '') AS TIMESTAMPTZ) ELSE sf_timestamptz(x) END;

-- The rest of a time: see exact.go. An offset that a text does not have is that of the session.
CREATE MACRO sf_offset(x) AS 1000 * (1440 + CAST(date_part('timezone', CAST(CAST(x AS VARCHAR) AS TIMESTAMPTZ)) // 60 AS INTEGER));
CREATE MACRO sf_rest(x, t) AS CASE
  WHEN NOT sf_is_text(x) THEN CASE t WHEN 'TIMESTAMPTZ' THEN sf_offset(x) ELSE 0 END
  ELSE CAST(sf_read_rest(sf_text(x), t) AS INTEGER) + CASE WHEN t = 'TIMESTAMPTZ' AND CAST(sf_read_rest(sf_text(x), t) AS INTEGER) < 1000
    THEN sf_offset(sf_try_read_time(sf_text(x), t, '')) ELSE 0 END END;

-- Times with fewer digits: what is beyond is cut off. The unit counts microseconds.
CREATE MACRO sf_cut_units(us, unit) AS us - system.main."%"(system.main."%"(us, unit) + unit, unit);
CREATE MACRO sf_cut_timestamp(x, unit) AS make_timestamp(sf_cut_units(epoch_us(x), unit));
CREATE MACRO sf_cut_timestamptz(x, unit) AS timezone('UTC', make_timestamp(sf_cut_units(epoch_us(x), unit)));
CREATE MACRO sf_cut_time(x, unit) AS CAST(make_timestamp(sf_cut_units(epoch_us(x), unit)) AS TIME);

-- Arithmetic. The quotient of two decimals is exact, rounded half away from
-- zero, with six digits more than the dividend, but not more than twelve. DuckDB's
-- is a double. The CASE of its type leaves room for 26 digits before the point, and
-- so stops the scale at twelve.

CREATE MACRO sf_quotient_type(a, b) AS CASE WHEN TRUE THEN a * 0.000001 + system.main.round(b) * 0 + CAST(0 AS DECIMAL(38,0)) ELSE CAST(0 AS DECIMAL(26,0)) END;
CREATE MACRO sf_quotient(a, b) AS CASE
  WHEN b = 0 THEN NULL
  WHEN sf_inexact(a) OR sf_inexact(b) THEN cast_to_type(system.main."/"(CAST(a AS DOUBLE), CAST(b AS DOUBLE)), sf_quotient_type(a, b))
  ELSE cast_to_type(sf_divide(CAST(a AS VARCHAR), CAST(b AS VARCHAR)), sf_quotient_type(a, b)) END;
CREATE MACRO sf_zero_divide() AS CAST('SF|100051|22012|Division by zero|' AS INTEGER);
CREATE MACRO "/"(a, b) AS CASE WHEN b = 0 THEN sf_zero_divide() ELSE sf_quotient(a, b) END;
CREATE MACRO "%"(a, b) AS CASE WHEN b = 0 THEN sf_zero_divide() ELSE system.main."%"(a, b) END;
CREATE MACRO mod(a, b) AS a % b;
CREATE MACRO div0(a, b) AS CASE WHEN b = 0 THEN 0 ELSE sf_quotient(a, b) END;
CREATE MACRO div0null(a, b) AS CASE WHEN b = 0 OR b IS NULL THEN 0 ELSE sf_quotient(a, b) END;
CREATE MACRO square(x) AS CAST(x AS DOUBLE) * x;
CREATE MACRO round(x) AS system.main.round(x), (x, n) AS system.main.round(x, CAST(n AS INTEGER));
CREATE MACRO sf_truncate(x) AS system.main.trunc(x), (x, n) AS system.main.trunc(x, CAST(n AS INTEGER));
CREATE MACRO truncate(x) AS sf_truncate(x), (x, n) AS sf_truncate(x, n);
CREATE MACRO sf_ten(n) AS CAST('1e' || CAST(n AS VARCHAR) AS DECIMAL(38,18));
CREATE MACRO ceil(x) AS system.main.ceil(x), (x, n) AS cast_to_type(-system.main.floor(-(x * sf_ten(n))) * sf_ten(-n), round(x, n));
CREATE MACRO floor(x) AS system.main.floor(x), (x, n) AS cast_to_type(system.main.floor(x * sf_ten(n)) * sf_ten(-n), round(x, n));
CREATE MACRO log(b, x) AS CASE b WHEN 10 THEN log10(x) WHEN 2 THEN log2(x) ELSE ln(x) / ln(b) END;
CREATE MACRO bitand(a, b) AS CAST(a AS BIGINT) & CAST(b AS BIGINT);
CREATE MACRO bitor(a, b) AS CAST(a AS BIGINT) | CAST(b AS BIGINT);
CREATE MACRO bitxor(a, b) AS xor(CAST(a AS BIGINT), CAST(b AS BIGINT));
CREATE MACRO bitnot(a) AS ~CAST(a AS BIGINT);
CREATE MACRO bitshiftleft(a, n) AS CAST(a AS BIGINT) << CAST(n AS BIGINT);
CREATE MACRO bitshiftright(a, n) AS CAST(a AS BIGINT) >> CAST(n AS BIGINT);
CREATE MACRO random() AS CAST((system.main.random() - 0.5) * 18446744073709551000 AS DECIMAL(19,0)), (seed) AS CAST('SF|000002|0A000|Unsupported feature ''RANDOM with a seed''.|' AS INTEGER);
CREATE MACRO randstr(n, gen) AS system.main.left(repeat(md5(CAST(gen AS VARCHAR) || CAST(system.main.random() AS VARCHAR)), CAST(n AS INTEGER) // 32 + 1), CAST(n AS INTEGER));

-- Conditions and NULL.

CREATE MACRO iff(c, a, b) AS CASE WHEN c THEN a ELSE b END;
CREATE MACRO nvl(a, b) AS COALESCE(a, b);
CREATE MACRO ifnull(a, b) AS COALESCE(a, b);
CREATE MACRO nvl2(a, b, c) AS CASE WHEN a IS NOT NULL THEN b ELSE c END;
CREATE MACRO zeroifnull(x) AS COALESCE(x, 0);
CREATE MACRO nullifzero(x) AS NULLIF(x, 0);
CREATE MACRO equal_null(a, b) AS a IS NOT DISTINCT FROM b;
CREATE MACRO boolor_agg(x) AS bool_or(CAST(x AS BOOLEAN));
CREATE MACRO booland_agg(x) AS bool_and(CAST(x AS BOOLEAN));
CREATE MACRO booland(a, b) AS CAST(a AS BOOLEAN) AND CAST(b AS BOOLEAN);
CREATE MACRO boolor(a, b) AS CAST(a AS BOOLEAN) OR CAST(b AS BOOLEAN);

-- Strings. Positions count from 1; 0 counts as 1 in SUBSTR and SPLIT_PART.

CREATE MACRO len(x) AS length(sf_text(x));
CREATE MACRO octet_length(x) AS system.main.octet_length(CASE system.main.typeof(x) WHEN 'BLOB' THEN CAST(CAST(x AS VARCHAR) AS BLOB) ELSE encode(CAST(x AS VARCHAR)) END);
CREATE MACRO unicode(s) AS CASE WHEN s = '' THEN 0 ELSE system.main.unicode(s) END;
CREATE MACRO startswith(s, p) AS starts_with(s, p);
CREATE MACRO endswith(s, p) AS ends_with(s, p);
CREATE MACRO charindex(p, s) AS strpos(s, p),
  (p, s, start) AS CASE WHEN strpos(system.main.substr(s, CAST(start AS BIGINT)), p) = 0 THEN 0
    ELSE strpos(system.main.substr(s, CAST(start AS BIGINT)), p) + CAST(start AS BIGINT) - 1 END;
CREATE MACRO substr(s, n) AS system.main.substr(s, CASE WHEN n = 0 THEN 1 ELSE CAST(n AS BIGINT) END),
  (s, n, l) AS system.main.substr(s, CASE WHEN n = 0 THEN 1 ELSE CAST(n AS BIGINT) END, CASE WHEN l < 0 THEN 0 ELSE CAST(l AS BIGINT) END);
CREATE MACRO substring(s, n) AS substr(s, n), (s, n, l) AS substr(s, n, l);
CREATE MACRO "left"(s, n) AS system.main.left(s, CASE WHEN n < 0 THEN 0 ELSE CAST(n AS BIGINT) END);
CREATE MACRO "right"(s, n) AS system.main.right(s, CASE WHEN n < 0 THEN 0 ELSE CAST(n AS BIGINT) END);
CREATE MACRO lpad(s, n) AS system.main.lpad(s, CAST(n AS INTEGER), ' '), (s, n, p) AS system.main.lpad(s, CAST(n AS INTEGER), p);
CREATE MACRO rpad(s, n) AS system.main.rpad(s, CAST(n AS INTEGER), ' '), (s, n, p) AS system.main.rpad(s, CAST(n AS INTEGER), p);
CREATE MACRO repeat(s, n) AS system.main.repeat(s, CAST(n AS BIGINT));
CREATE MACRO space(n) AS system.main.repeat(' ', CAST(n AS BIGINT));
CREATE MACRO replace(s, a) AS system.main.replace(s, a, ''), (s, a, b) AS system.main.replace(s, a, b);
CREATE MACRO split_part(s, d, n) AS CASE WHEN d = '' THEN CASE WHEN n IN (0, 1, -1) THEN s ELSE '' END ELSE system.main.split_part(s, d, CASE WHEN n = 0 THEN 1 ELSE CAST(n AS BIGINT) END) END;
CREATE MACRO chr(n) AS system.main.chr(CAST(n AS INTEGER));
CREATE MACRO regexp_like(s, p) AS regexp_full_match(s, p);
CREATE MACRO rlike(s, p) AS regexp_full_match(s, p);
CREATE MACRO regexp_replace(s, p) AS system.main.regexp_replace(s, p, '', 'g'), (s, p, r) AS system.main.regexp_replace(s, p, r, 'g');
CREATE MACRO regexp_substr(s, p) AS CASE WHEN regexp_matches(s, p) THEN regexp_extract(s, p) END;
CREATE MACRO regexp_count(s, p) AS system.main.len(regexp_extract_all(s, p));
CREATE MACRO sha1_hex(s) AS sha1(s);
CREATE MACRO md5_hex(s) AS md5(s);
CREATE MACRO sha2(s) AS sha256(s),
  (s, n) AS CASE WHEN n = 256 THEN sha256(s) ELSE CAST(CAST('SF|000002|0A000|Unsupported feature ''SHA2 of other than 256 bits''.|' AS INTEGER) AS VARCHAR) END;
CREATE MACRO sha2_hex(s) AS sha256(s), (s, n) AS sha2(s, n);
CREATE MACRO base64_encode(x) AS to_base64(CASE system.main.typeof(x) WHEN 'BLOB' THEN CAST(CAST(x AS VARCHAR) AS BLOB) ELSE encode(CAST(x AS VARCHAR)) END);
CREATE MACRO hex_encode(s) AS hex(s);
CREATE MACRO uuid_string() AS CAST(uuid() AS VARCHAR);

-- Dates and times. A DATE stays a DATE when days or more are added.

CREATE MACRO sf_add_year(n, d) AS cast_to_type(d + to_years(CAST(n AS INTEGER)), d);
CREATE MACRO sf_add_quarter(n, d) AS cast_to_type(d + to_months(CAST(n AS INTEGER) * 3), d);
CREATE MACRO sf_add_month(n, d) AS cast_to_type(d + to_months(CAST(n AS INTEGER)), d);
CREATE MACRO sf_add_week(n, d) AS cast_to_type(d + to_days(CAST(n AS INTEGER) * 7), d);
CREATE MACRO sf_add_day(n, d) AS cast_to_type(d + to_days(CAST(n AS INTEGER)), d);
CREATE MACRO sf_add_hour(n, d) AS d + to_hours(CAST(n AS BIGINT));
CREATE MACRO sf_add_minute(n, d) AS d + to_minutes(CAST(n AS BIGINT));
CREATE MACRO sf_add_second(n, d) AS d + to_seconds(CAST(n AS BIGINT));
CREATE MACRO sf_add_millisecond(n, d) AS d + to_milliseconds(CAST(n AS BIGINT));
CREATE MACRO sf_add_microsecond(n, d) AS d + to_microseconds(CAST(n AS BIGINT));
CREATE MACRO add_months(d, n) AS cast_to_type(CASE
  WHEN CAST(d AS DATE) = last_day(d) THEN last_day(d + to_months(CAST(n AS INTEGER))) + (CAST(d AS TIMESTAMP) - CAST(CAST(d AS DATE) AS TIMESTAMP))
  ELSE d + to_months(CAST(n AS INTEGER)) END, d);
CREATE MACRO sf_diff_week(a, b) AS system.main."//"(CAST(date_trunc('week', b) AS DATE) - CAST(date_trunc('week', a) AS DATE), 7);
CREATE MACRO sf_trunc(part, d) AS cast_to_type(date_trunc(part, d), d);
CREATE MACRO sf_last_month(d) AS system.main.last_day(d);
CREATE MACRO sf_last_year(d) AS CAST(date_trunc('year', d) + INTERVAL 1 YEAR - INTERVAL 1 DAY AS DATE);
CREATE MACRO sf_last_quarter(d) AS CAST(date_trunc('quarter', d) + INTERVAL 3 MONTH - INTERVAL 1 DAY AS DATE);
CREATE MACRO sf_last_week(d) AS CAST(date_trunc('week', d) + INTERVAL 6 DAY AS DATE);
CREATE MACRO monthname(d) AS strftime(d, '%b');
CREATE MACRO dayname(d) AS strftime(d, '%a');
CREATE MACRO dayofweekiso(d) AS isodow(d);
CREATE MACRO dayofweek_iso(d) AS isodow(d);
CREATE MACRO weekiso(d) AS week(d);
CREATE MACRO yearofweek(d) AS isoyear(d);
CREATE MACRO yearofweekiso(d) AS isoyear(d);
CREATE MACRO months_between(a, b) AS CASE
  WHEN day(a) = day(b) OR CAST(a AS DATE) = last_day(a) AND CAST(b AS DATE) = last_day(b) THEN CAST(date_diff('month', b, a) AS DOUBLE)
  ELSE date_diff('month', b, a) + (day(a) - day(b)) / CAST(31 AS DOUBLE) END;
CREATE MACRO date_from_parts(y, m, d) AS CAST(CAST(make_date(CAST(y AS BIGINT), 1, 1) AS TIMESTAMP) + to_months(CAST(m AS INTEGER) - 1) + to_days(CAST(d AS INTEGER) - 1) AS DATE);
CREATE MACRO datefromparts(y, m, d) AS date_from_parts(y, m, d);
CREATE MACRO time_from_parts(h, m, s) AS make_time(CAST(h AS BIGINT), CAST(m AS BIGINT), CAST(s AS DOUBLE));
CREATE MACRO timestamp_from_parts(y, mo, d, h, mi, s) AS CAST(date_from_parts(y, mo, d) AS TIMESTAMP) + to_hours(CAST(h AS BIGINT)) + to_minutes(CAST(mi AS BIGINT)) + to_seconds(CAST(s AS BIGINT));
CREATE MACRO timestamp_ntz_from_parts(y, mo, d, h, mi, s) AS timestamp_from_parts(y, mo, d, h, mi, s);
CREATE MACRO convert_timezone(src, dst, t) AS timezone(dst, timezone(src, CAST(t AS TIMESTAMP)));

-- Semi-structured values: JSON text in a STRUCT, so that nothing takes the text
-- for a string by mistake.

CREATE MACRO sf_box(j) AS CASE WHEN j IS NULL THEN NULL ELSE {'json_': CAST(j AS VARCHAR)} END;
CREATE MACRO sf_element(x) AS CASE
  WHEN x IS NULL THEN NULL
  WHEN sf_is_variant(x) THEN system.main.to_json(x) ->> '$.json_'
  WHEN sf_numeric(x) OR system.main.typeof(x) = 'BOOLEAN' THEN CAST(x AS VARCHAR)
  WHEN system.main.typeof(x) = 'DOUBLE' THEN CAST(system.main.to_json(x) AS VARCHAR)
  ELSE CAST(system.main.to_json(sf_text(x)) AS VARCHAR) END;
CREATE MACRO sf_undefined() AS CAST(CAST('SF|000002|0A000|Unsupported feature ''NULL in ARRAY_CONSTRUCT''.|' AS INTEGER) AS VARCHAR);
CREATE MACRO sf_variant(x) AS sf_box(sf_element(x));
CREATE MACRO parse_json(s) AS sf_box(CASE
  WHEN sf_is_variant(s) THEN system.main.to_json(s) ->> '$.json_'
  WHEN trim(CAST(s AS VARCHAR)) = '' THEN NULL
  ELSE sf_json(CAST(s AS VARCHAR)) END);
CREATE MACRO try_parse_json(s) AS sf_box(sf_try_json(s));
CREATE MACRO to_json(x) AS struct_extract(x, 'json_');
CREATE MACRO sf_get(x, path) AS sf_box(sf_json_at(struct_extract(x, 'json_'), path));
CREATE MACRO sf_pair(k, element) AS CAST(system.main.to_json(CAST(k AS VARCHAR)) AS VARCHAR) || ':' || element;
CREATE MACRO sf_object(pairs) AS {'json_': CAST(sf_json('{' || COALESCE(array_to_string(pairs, ','), '') || '}') AS VARCHAR)};
CREATE MACRO sf_array(elements) AS {'json_': CAST('[' || COALESCE(elements, '') || ']' AS VARCHAR)};
CREATE MACRO sf_to_array(x) AS sf_box(CASE
  WHEN NOT sf_is_variant(x) OR system.main.left(sf_element(x), 1) NOT IN ('[', 'n') THEN '[' || sf_element(x) || ']'
  WHEN sf_element(x) <> 'null' THEN sf_element(x) END);
CREATE MACRO sf_to_object(x) AS sf_box(CASE
  WHEN system.main.left(sf_element(x), 1) = '{' THEN sf_element(x)
  WHEN sf_element(x) <> 'null' THEN CAST(CAST('SF|100071|22000|Failed to cast variant value ' || sf_element(x) || ' to OBJECT|' AS INTEGER) AS VARCHAR) END);
CREATE MACRO split(s, d) AS sf_box(system.main.to_json(CASE WHEN d = '' THEN [s] ELSE string_split(s, d) END));
CREATE MACRO array_size(x) AS CASE WHEN json_type(struct_extract(x, 'json_')) = 'ARRAY' THEN CAST(json_array_length(struct_extract(x, 'json_')) AS INTEGER) END;
CREATE MACRO object_keys(x) AS sf_box(system.main.to_json(json_keys(struct_extract(x, 'json_'))));
CREATE MACRO sf_no_seq() AS CAST('SF|000002|0A000|Unsupported feature ''SEQ of a FLATTEN that is carried out for each row''.|' AS INTEGER);
CREATE MACRO sf_texts(x) AS json_extract_string(struct_extract(x, 'json_'), '$[*]');
CREATE MACRO sf_kind(x) AS json_type(struct_extract(x, 'json_'));
CREATE MACRO sf_is_whole(x) AS sf_kind(x) IN ('UBIGINT', 'BIGINT', 'HUGEINT', 'UHUGEINT') OR sf_kind(x) = 'DOUBLE' AND regexp_full_match(struct_extract(x, 'json_'), '-?[0-9]+');
CREATE MACRO sf_is_number(x) AS sf_kind(x) IN ('UBIGINT', 'BIGINT', 'HUGEINT', 'UHUGEINT', 'DOUBLE');
CREATE MACRO is_array(x) AS sf_kind(x) = 'ARRAY';
CREATE MACRO is_object(x) AS sf_kind(x) = 'OBJECT';
CREATE MACRO is_boolean(x) AS sf_kind(x) = 'BOOLEAN';
CREATE MACRO is_varchar(x) AS sf_kind(x) = 'VARCHAR';
CREATE MACRO is_char(x) AS sf_kind(x) = 'VARCHAR';
CREATE MACRO is_integer(x) AS sf_is_whole(x);
CREATE MACRO is_decimal(x) AS sf_is_number(x);
CREATE MACRO as_array(x) AS CASE WHEN is_array(x) THEN x END;
CREATE MACRO as_object(x) AS CASE WHEN is_object(x) THEN x END;
CREATE MACRO as_boolean(x) AS CASE WHEN is_boolean(x) THEN CAST(sf_text(x) AS BOOLEAN) END;
CREATE MACRO as_varchar(x) AS CASE WHEN is_varchar(x) THEN sf_text(x) END;
CREATE MACRO as_char(x) AS as_varchar(x);
CREATE MACRO as_integer(x) AS CASE WHEN sf_is_whole(x) THEN sf_whole(x) END;
CREATE MACRO as_number(x) AS CASE WHEN sf_is_number(x) THEN sf_whole(x) END;
CREATE MACRO as_decimal(x) AS as_number(x);
CREATE MACRO as_double(x) AS CASE WHEN sf_is_number(x) THEN CAST(sf_text(x) AS DOUBLE) END;
CREATE MACRO as_real(x) AS as_double(x);
CREATE MACRO is_null_value(x) AS json_type(struct_extract(x, 'json_')) = 'NULL';
CREATE MACRO sf_typeof(x) AS CASE json_type(struct_extract(x, 'json_'))
  WHEN 'VARCHAR' THEN 'VARCHAR' WHEN 'BOOLEAN' THEN 'BOOLEAN' WHEN 'NULL' THEN 'NULL_VALUE' WHEN 'OBJECT' THEN 'OBJECT'
  WHEN 'ARRAY' THEN 'ARRAY' WHEN 'DOUBLE' THEN 'DECIMAL' ELSE 'INTEGER' END;

-- What INFORMATION_SCHEMA shows of a database.

CREATE MACRO sf_type_name(data_type, declared) AS CASE
  WHEN starts_with(declared, 'VARCHAR') THEN 'TEXT'
  WHEN declared IS NOT NULL AND declared <> '' THEN regexp_extract(declared, '^[A-Z_]+')
  WHEN starts_with(data_type, 'DECIMAL') THEN 'NUMBER'
  ELSE COALESCE(map_extract_value(MAP {
    'INTEGER': 'NUMBER', 'BIGINT': 'NUMBER', 'SMALLINT': 'NUMBER', 'TINYINT': 'NUMBER', 'HUGEINT': 'NUMBER', 'VARCHAR': 'TEXT', 'DOUBLE': 'FLOAT',
    'TIMESTAMP': 'TIMESTAMP_NTZ', 'TIMESTAMP WITH TIME ZONE': 'TIMESTAMP_LTZ', 'BLOB': 'BINARY', 'STRUCT(json_ VARCHAR)': 'VARIANT'}, data_type), data_type) END;
-- The columns of INFORMATION_SCHEMA's own views, which a test compares with the views.
CREATE MACRO sf_info_own() AS TABLE
  SELECT v, unnest(string_split(c, ' ')) AS c, unnest(range(1, system.main.len(string_split(c, ' ')) + 1)) AS n FROM (VALUES
    ('COLUMNS', 'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME ORDINAL_POSITION COLUMN_DEFAULT IS_NULLABLE DATA_TYPE NUMERIC_PRECISION NUMERIC_SCALE COMMENT'),
    ('DATABASES', 'DATABASE_NAME DATABASE_OWNER'), ('SCHEMATA', 'CATALOG_NAME SCHEMA_NAME SCHEMA_OWNER'),
    ('SEQUENCES', 'SEQUENCE_CATALOG SEQUENCE_SCHEMA SEQUENCE_NAME SEQUENCE_OWNER DATA_TYPE START_VALUE INCREMENT'),
    ('TABLES', 'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_OWNER TABLE_TYPE COMMENT'),
    ('VIEWS', 'TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_OWNER COMMENT')) AS own(v, c);
CREATE MACRO sf_info_tables(db) AS TABLE
  SELECT database_name AS TABLE_CATALOG, schema_name AS TABLE_SCHEMA, table_name AS TABLE_NAME, 'SYSADMIN' AS TABLE_OWNER,
    'BASE TABLE' AS TABLE_TYPE, NULLIF(split_part(comment, chr(31), 3), '') AS COMMENT
  FROM duckdb_tables() WHERE database_name = db
  UNION ALL
  SELECT database_name, schema_name, view_name, 'SYSADMIN', 'VIEW', comment FROM duckdb_views() WHERE database_name = db AND NOT internal
  UNION ALL SELECT db, 'INFORMATION_SCHEMA', v, NULL, 'VIEW', NULL FROM sf_info_own() WHERE n = 1;
CREATE MACRO sf_info_views(db) AS TABLE
  SELECT database_name AS TABLE_CATALOG, schema_name AS TABLE_SCHEMA, view_name AS TABLE_NAME, 'SYSADMIN' AS TABLE_OWNER, comment AS COMMENT
  FROM duckdb_views() WHERE database_name = db AND NOT internal;
CREATE MACRO sf_info_schemata(db) AS TABLE
  SELECT database_name AS CATALOG_NAME, schema_name AS SCHEMA_NAME, 'SYSADMIN' AS SCHEMA_OWNER
  FROM duckdb_schemas() WHERE database_name = db AND schema_name NOT IN ('main', 'information_schema', 'pg_catalog')
  UNION ALL SELECT db, 'INFORMATION_SCHEMA', NULL;
CREATE MACRO sf_info_sequences(db) AS TABLE
  SELECT database_name AS SEQUENCE_CATALOG, schema_name AS SEQUENCE_SCHEMA, sequence_name AS SEQUENCE_NAME, 'SYSADMIN' AS SEQUENCE_OWNER,
    'NUMBER' AS DATA_TYPE, CAST(start_value AS VARCHAR) AS START_VALUE, CAST(increment_by AS VARCHAR) AS "INCREMENT"
  FROM duckdb_sequences() WHERE database_name = db AND NOT starts_with(sequence_name, 'identity$');
CREATE MACRO sf_info_databases(db) AS TABLE
  SELECT database_name AS DATABASE_NAME, 'SYSADMIN' AS DATABASE_OWNER
  FROM duckdb_databases() WHERE NOT internal AND database_name NOT IN ('memory', 'temp', 'system', 'snowflake$');
CREATE MACRO sf_info_columns(db) AS TABLE
  SELECT c.database_name AS TABLE_CATALOG, c.schema_name AS TABLE_SCHEMA, c.table_name AS TABLE_NAME, c.column_name AS COLUMN_NAME,
    row_number() OVER (PARTITION BY c.database_name, c.schema_name, c.table_name ORDER BY c.column_index) AS ORDINAL_POSITION, c.column_default AS COLUMN_DEFAULT, CASE WHEN c.is_nullable THEN 'YES' ELSE 'NO' END AS IS_NULLABLE,
    sf_type_name(c.data_type, split_part(c.comment, chr(31), 1)) AS DATA_TYPE,
    CASE WHEN c.data_type = 'HUGEINT' THEN 38 WHEN starts_with(c.data_type, 'DECIMAL') THEN CAST(c.numeric_precision AS BIGINT) END AS NUMERIC_PRECISION,
    CASE WHEN c.data_type = 'HUGEINT' THEN 0 WHEN starts_with(c.data_type, 'DECIMAL') THEN CAST(c.numeric_scale AS BIGINT) END AS NUMERIC_SCALE,
    NULLIF(split_part(c.comment, chr(31), 2), '') AS COMMENT
  FROM duckdb_columns() c WHERE c.database_name = db AND NOT c.internal AND NOT contains(c.column_name, chr(31))
  UNION ALL SELECT db, 'INFORMATION_SCHEMA', v, c, CAST(n AS BIGINT), NULL, 'YES', CASE WHEN c IN ('ORDINAL_POSITION', 'NUMERIC_PRECISION', 'NUMERIC_SCALE') THEN 'NUMBER' ELSE 'TEXT' END,
    CASE WHEN c IN ('ORDINAL_POSITION', 'NUMERIC_PRECISION', 'NUMERIC_SCALE') THEN 18 END, CASE WHEN c IN ('ORDINAL_POSITION', 'NUMERIC_PRECISION', 'NUMERIC_SCALE') THEN 0 END, NULL
  FROM sf_info_own();

-- What SHOW lists, for a session with this current database and schema. Temporary tables
-- belong to the session and stand in its schema. DuckDB's own column "temporary" turns false
-- when a comment is set. What is NULL in created_on and rows, Go fills in.

CREATE MACRO sf_show_tables(db, sch) AS TABLE
  SELECT TRY_CAST(split_part(comment, chr(31), 1) AS TIMESTAMPTZ) AS created_on, table_name AS name, CASE database_name WHEN 'temp' THEN db ELSE database_name END AS database_name,
    CASE database_name WHEN 'temp' THEN sch ELSE schema_name END AS schema_name, CASE database_name WHEN 'temp' THEN 'TEMPORARY' ELSE 'TABLE' END AS kind,
    COALESCE(split_part(comment, chr(31), 3), '') AS comment, '' AS cluster_by, CAST(NULL AS BIGINT) AS "rows", CAST(NULL AS BIGINT) AS bytes, 'SYSADMIN' AS owner, '1' AS retention_time
  FROM duckdb_tables() WHERE database_name NOT IN ('memory', 'system', 'snowflake$');
CREATE MACRO sf_show_views(db, sch) AS TABLE
  SELECT CAST(NULL AS TIMESTAMPTZ) AS created_on, view_name AS name, '' AS reserved, database_name, schema_name, 'SYSADMIN' AS owner, COALESCE(comment, '') AS comment, sql AS text
  FROM duckdb_views() WHERE NOT internal AND database_name NOT IN ('memory', 'temp', 'system', 'snowflake$');
CREATE MACRO sf_show_objects(db, sch) AS TABLE
  SELECT created_on, name, database_name, schema_name, kind, comment, owner FROM sf_show_tables(db, sch)
  UNION ALL SELECT created_on, name, database_name, schema_name, 'VIEW', comment, owner FROM sf_show_views(db, sch);
CREATE MACRO sf_show_sequences(db, sch) AS TABLE
  SELECT CAST(NULL AS TIMESTAMPTZ) AS created_on, sequence_name AS name, database_name, schema_name, start_value AS next_value, increment_by AS "interval", 'SYSADMIN' AS owner
  FROM duckdb_sequences() WHERE NOT starts_with(sequence_name, 'identity$') AND database_name NOT IN ('memory', 'temp', 'system', 'snowflake$');
CREATE MACRO sf_show_schemas(db, sch) AS TABLE
  SELECT CAST(NULL AS TIMESTAMPTZ) AS created_on, schema_name AS name, 'N' AS is_default, CASE WHEN database_name = db AND schema_name = sch THEN 'Y' ELSE 'N' END AS is_current,
    database_name, 'SYSADMIN' AS owner, '' AS comment, '' AS options, '1' AS retention_time
  FROM duckdb_schemas() WHERE schema_name NOT IN ('main', 'information_schema', 'pg_catalog') AND database_name NOT IN ('memory', 'temp', 'system', 'snowflake$');
CREATE MACRO sf_show_databases(db, sch) AS TABLE
  SELECT CAST(NULL AS TIMESTAMPTZ) AS created_on, database_name AS name, 'N' AS is_default, CASE WHEN database_name = db THEN 'Y' ELSE 'N' END AS is_current,
    '' AS origin, 'SYSADMIN' AS owner, '' AS comment, '' AS options, '1' AS retention_time
  FROM duckdb_databases() WHERE NOT internal AND database_name NOT IN ('memory', 'temp', 'system', 'snowflake$');
