// Package duckdb is an engine for package snowtest that answers real SQL: a program
// that talks to Snowflake finds tables, transactions, counts and types inside the
// test process, without a network.
//
//	engine, err := duckdb.New()
//	if err != nil { … }
//	srv := snowtest.New(t, snowtest.WithEngine(engine)) // closes the engine in the end
//	db, err := sql.Open("snowtether", srv.DSN())
//
// The sessions of one engine share its databases. Each has a DuckDB connection
// of its own, and so its own transactions, temporary tables, variables and
// parameters. The engine needs cgo and nothing at run time: no extension is
// loaded, and no statement can reach the file system. Stages are in memory; Parquet files, and
// the engine's own functions, pass through a temporary folder, which goes with the engine.
//
// # For programs that are not Go tests
//
// The same as a program of its own, with a DSN to connect to and an HTTP interface to end
// sessions, lose replies and cut the network with:
//
//	go run github.com/snowtether/snowtether/snowtest/duckdb/cmd/snowtest
//
// # How a statement is answered
//
// A statement is split into tokens, rewritten into DuckDB's dialect in one pass
// (rewrite.go), and carried out with the functions of macros.sql, which stand
// before DuckDB's own. DDL, DML, SHOW, USE, SET and ALTER SESSION are read by this
// package. Only functions that mean the same in both are left to DuckDB (calls.go);
// any other is an unknown function, in Snowflake's code and words, even if
// Snowflake has it. What both know and understand differently is rewritten, or
// refused with code 000002.
//
// session.go takes a statement and sends it to one of these: rewrite.go, words.go and
// sources.go rewrite queries; calls.go reads calls, and functions.go, conversions.go and
// temporal.go hold the functions, a row each; outline.go knows what the columns are, and exact.go
// what DuckDB's times lack; changes.go reads INSERT, UPDATE, DELETE and MERGE, and dml.go
// carries them out; ddl.go, tables.go and alter.go make and change objects; show.go, use.go,
// parameters.go, variables.go and transactions.go do what their names say. rows.go and
// values.go read DuckDB's results. stages.go has the stages, staged.go makes tables of their files,
// copyinto.go and unload.go carry out COPY INTO.
//
// # What differs from Snowflake
//
//   - Two names that differ in case only cannot stand side by side. A name in quotes that is
//     no object's is told by its case in FROM, in the outermost list of a SELECT and in what
//     changes tables; elsewhere a column is found without regard to case.
//   - Nanoseconds and the offset of a TIMESTAMP_TZ are kept by tables, binds, casts of texts,
//     INSERT and CREATE TABLE of a query, and the outermost SELECT (exact.go). Functions,
//     comparisons, ORDER BY, set operations, CTEs and subqueries see microseconds and the
//     instant, which is then given in the session's time zone.
//   - DuckDB has no savepoints. Where Snowflake undoes one statement that failed
//     in a transaction, the engine carries out again what the transaction had
//     done. If somebody has committed meanwhile, or what it did holds chance,
//     sequences, MERGE or the time, the whole transaction is lost: each statement
//     up to ROLLBACK fails and says so, and so does COMMIT, which then rolls back.
//   - A transaction changes the tables of one database only.
//   - A statement that meets another transaction's change is tried again until
//     the lock time is over ([WithLockWait]), then fails with 000625. In a
//     transaction that has already read or written something it fails at once.
//   - VARIANT, OBJECT and ARRAY are JSON text of one type; results report the kind
//     of columns, casts, constants and calls, and VARIANT where it is not certain.
//     A variant has to be cast before it is compared or calculated with.
//     DISTINCT, ORDER BY, MIN and MAX of variants go by their text.
//   - Sums, products and quotients of columns, casts and literals have Snowflake's precision in results
//     of the outermost SELECT; what else is there, and tables of queries, often NUMBER(38, s).
//     A product keeps all digits where Snowflake stops at a scale of 12, because nothing public says
//     how it rounds there; a quotient stops there also where the dividend has more. Two fractions of
//     38 digits meet at the smaller scale: NUMBER(38,2) is compared with NUMBER(38,6) by two digits.
//     What functions and CASE make of whole numbers can have 32 or 64 bits, and fails
//     on overflow. Days are added to a date as a number; columns of them with DATEADD.
//   - Lengths of VARCHAR are enforced in tables that CREATE TABLE makes, not for
//     columns that ALTER TABLE adds or changes. Lengths of BINARY are shown and not
//     enforced. Keys are read and not kept: DESCRIBE shows none.
//   - Lengths, digits and NOT NULL of result columns are traced through the outermost
//     SELECT from tables, casts and literals. Through subqueries, set operations and
//     functions they are those of DuckDB: VARCHAR(16777216), and NULL is possible.
//   - GENERATOR with TIMELIMIT waits the whole time, and gives 1,000 rows for each second of it.
//   - Functions in SQL are put in place of their calls. They belong to the engine,
//     not to a transaction, and INFORMATION_SCHEMA does not list them.
//   - Session parameters that begin with CLIENT_, ENABLE_, FEATURE_, FORCE_, IGNORE_ or USE_
//     are accepted unseen, because Snowflake does not document them all.
//   - A text that is compared with a date or a timestamp, without a cast, has to
//     be of the form 2024-02-29 12:00:00, with an offset that follows at once.
//   - Regular expressions are RE2. HASH, RANDOM, RANDSTR and UNIFORM give other
//     values; APPROX_COUNT_DISTINCT is exact.
//   - In views and column defaults, CURRENT_TIMESTAMP and its like stand for the
//     start of the transaction; elsewhere for the start of the statement.
//   - The databases and schemas of logins are created on the way, and a session
//     without any uses SNOWTEST.PUBLIC. TIMEZONE is UTC by default, as the
//     server reports it.
//   - Stages are internal. LIST shows sizes before encryption, and another sum after each
//     upload, as of an encrypted file, in all of them. Files are compressed with gzip or not at all. Dates and times in files
//     have formats that AUTO knows. A COPY of a SELECT has no ON_ERROR and no VALIDATION_MODE,
//     and documents are loaded into one column, by the names of columns, or by a SELECT.
//     Two COPYs of one file at the same time may both load it, and PURGE removes files at
//     once, also where the transaction is rolled back. Parquet files are made
//     of whole results: MAX_FILE_SIZE halves them until they fit. A variant in them is text.
//   - Refused for good, with code 000002: structured types and MAP, DECFLOAT, VECTOR, GEOGRAPHY and
//     GEOMETRY, procedures and scripting, functions in other languages than SQL, hybrid tables,
//     streams, tasks, AT and BEFORE, MATCH_RECOGNIZE, PIVOT, SAMPLE, CONNECT BY, TOP, FILTER, INSERT
//     ALL and FIRST, EXPLAIN, GRANT, UNDROP, ->>, RESULT_SCAN, RANDOM with a seed, and SEQ of a
//     FLATTEN that is carried out for each row.
//   - Roles and grants do not exist, and warehouses are names: USE accepts any role
//     and warehouse.
package duckdb
