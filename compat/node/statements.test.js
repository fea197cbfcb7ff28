'use strict';
// Statements: what they count, how their results are read, and how they go wrong.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');
const { connect, shared, execute, query, value, all, until, seen } = require('./support');

const connection = shared();
const endless = 'SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 1000000000000))';

test('DDL answers in a sentence and counts no rows', async () => {
  const { statement, rows } = await execute(connection(), 'CREATE OR REPLACE TABLE made (i INT)');
  assert.deepEqual([rows, statement.getNumUpdatedRows()], [[{ status: 'Table MADE successfully created.' }], -1]);
  assert.deepEqual(await query(connection(), 'DROP TABLE made'), [{ status: 'MADE successfully dropped.' }]);
});

test('DML counts the rows that it changes', async () => {
  const count = async (sql) => {
    const { statement, rows } = await execute(connection(), sql);
    return [statement.getNumUpdatedRows(), rows];
  };
  await query(connection(), 'CREATE OR REPLACE TABLE counted (i INT, s VARCHAR)');
  assert.deepEqual(await count("INSERT INTO counted VALUES (1, 'a'), (2, 'b'), (3, 'c')"), [3, [{ 'number of rows inserted': 3 }]]);
  assert.deepEqual(await count("UPDATE counted SET s = 'x' WHERE i > 1"), [2, [{ 'number of rows updated': 2, 'number of multi-joined rows updated': 0 }]]);
  assert.deepEqual(await count('DELETE FROM counted WHERE i = 1'), [1, [{ 'number of rows deleted': 1 }]]);
  assert.deepEqual(
    await count(`MERGE INTO counted c USING (SELECT 2 i UNION ALL SELECT 9) n ON c.i = n.i
      WHEN MATCHED THEN UPDATE SET s = 'm' WHEN NOT MATCHED THEN INSERT (i, s) VALUES (n.i, 'n')`),
    [2, [{ 'number of rows inserted': 1, 'number of rows updated': 1 }]],
  );
  assert.deepEqual(await count('DELETE FROM counted WHERE i = 77'), [0, [{ 'number of rows deleted': 0 }]]);
  assert.deepEqual(await query(connection(), 'SELECT * FROM counted ORDER BY i'), [
    { I: 2, S: 'm' },
    { I: 3, S: 'x' },
    { I: 9, S: 'n' },
  ]);
});

// arrays is a test of an array bind: row for row, what was bound is in the table.
function arrays(name, change, rows, uploads) {
  test(name, async (t) => {
    const c = await connect(t, change);
    await query(c, 'CREATE OR REPLACE TABLE array_binds (i INT, s VARCHAR, f FLOAT, b BOOLEAN, d TIMESTAMP_NTZ(3))');
    const bound = Array.from({ length: rows }, (_, i) => [
      i,
      [null, '', 'häß 雪', 'with "quotes", commas\nand lines', 'back\\slash\ttab', "it's"][i % 6],
      i % 2 ? i + 0.5 : null,
      i % 2 === 0,
      new Date(1_700_000_000_000 + i),
    ]);
    const before = await seen('stats');
    const { statement } = await execute(c, 'INSERT INTO array_binds VALUES (?, ?, ?, ?, ?)', { binds: bound });
    assert.equal(statement.getNumUpdatedRows(), rows);
    assert.equal(((await seen('stats')).requests.other ?? 0) - (before.requests.other ?? 0), uploads);
    const got = await query(c, 'SELECT * FROM array_binds ORDER BY i', undefined, { rowMode: 'array' });
    assert.deepEqual(got.map((row) => [...row.slice(0, 4), new Date(row[4].getTime())]), bound);
  });
}

arrays('an array bind is in the statement', {}, 7, 0);
arrays('an array bind of more values than a threshold goes through a stage', { arrayBindingThreshold: 100 }, 1000, 1);
arrays('an array bind of more than 100,000 values goes through a stage by itself', {}, 20_001, 1);

test('a large result comes in chunks, all rows of it, once and in order', async () => {
  const before = await seen('stats');
  const { statement } = await execute(connection(), "SELECT SEQ4() n, 'row ' || SEQ4() s FROM TABLE(GENERATOR(ROWCOUNT => 100000)) ORDER BY n", {
    streamResult: true,
  });
  assert.equal(statement.getNumRows(), 100_000);
  let n = 0;
  for await (const row of statement.streamRows()) {
    if (row.N !== n || row.S !== `row ${n}`) assert.fail(`row ${n} is ${JSON.stringify(row)}`);
    n++;
  }
  assert.equal(n, 100_000);
  assert.equal((await seen('stats')).requests.chunk - (before.requests.chunk ?? 0), 3);
  const range = await all(statement.streamRows({ start: 9_998, end: 10_001 })); // across the first chunk's end
  assert.deepEqual(range.map((row) => row.N), [9_998, 9_999, 10_000, 10_001]);
});

test('an empty result has columns and no rows', async () => {
  const { statement, rows } = await execute(connection(), 'SELECT 1 AS a, 2 AS b WHERE FALSE');
  assert.deepEqual([rows, statement.getNumRows(), statement.getColumns().length], [[], 0, 2]);
});

test('rows are objects, objects with renamed columns, or arrays', async () => {
  const rows = (rowMode) => query(connection(), 'SELECT 1 a, 2 a, 3 b', undefined, { rowMode });
  assert.deepEqual(await rows('object'), [{ A: 2, B: 3 }]);
  assert.deepEqual(await rows('object_with_renamed_duplicated_columns'), [{ A: 1, A_2: 2, B: 3 }]);
  assert.deepEqual(await rows('array'), [[1, 2, 3]]);
});

// several reads all results of a text with several statements.
function several(sqlText, count) {
  return new Promise((resolve, reject) => {
    const results = [];
    connection().execute({
      sqlText,
      parameters: { MULTI_STATEMENT_COUNT: count },
      complete: (err, statement, rows) => {
        if (err) return reject(err);
        results.push(rows);
        return statement.hasNext() ? statement.NextResult() : resolve(results);
      },
    });
  });
}

for (const count of [3, 0]) {
  test(`several statements in one text have a result each (MULTI_STATEMENT_COUNT = ${count})`, async () => {
    assert.deepEqual(await several("CREATE OR REPLACE TABLE multi (i INT); INSERT INTO multi VALUES (1), (2); SELECT SUM(i) s FROM multi", count), [
      [{ status: 'Table MULTI successfully created.' }],
      [{ 'number of rows inserted': 2 }],
      [{ S: 3 }],
    ]);
  });
}

test('another number of statements than was said is refused with 000008', async () => {
  await assert.rejects(query(connection(), 'SELECT 1; SELECT 2'), { code: '000008', sqlState: '0A000', message: /Actual statement count 2/ });
});

// result fetches the rows of a statement by its query ID.
function result(c, queryId) {
  return new Promise((resolve, reject) => c.fetchResult({ queryId, complete: (err, statement, rows) => (err ? reject(err) : resolve(rows)) }));
}

test('an asynchronous statement is answered at once, and its result is fetched by its query ID', async (t) => {
  const { statement, rows } = await execute(connection(), 'SELECT 40 + 2 AS v', { asyncExec: true });
  const queryId = statement.getQueryId();
  assert.equal(rows.queryId, queryId);
  const fetched = await connection().getResultsFromQueryId({ queryId });
  assert.deepEqual(await all(fetched.streamRows()), [{ V: 42 }]);
  assert.equal(await connection().getQueryStatus(queryId), 'SUCCESS');
  assert.deepEqual(await result(await connect(t), queryId), [{ V: 42 }]); // in another session
});

test('the status of an asynchronous statement that failed tells why', async () => {
  const { statement } = await execute(connection(), 'SELECT 1 / 0', { asyncExec: true });
  const queryId = statement.getQueryId();
  await until(async () => (await connection().getQueryStatus(queryId)) === 'FAILED_WITH_ERROR');
  await assert.rejects(connection().getResultsFromQueryId({ queryId }), { message: /Division by zero/ });
});

test('an unknown query ID has no status, and its result is refused with 000612', async () => {
  const queryId = '01bd0000-0000-0000-0000-0000000fffff';
  assert.equal(await connection().getQueryStatus(queryId), 'NO_QUERY_DATA');
  await assert.rejects(result(connection(), queryId), { code: '000612' });
});

// cancels ends a statement, and fails if the server does not know it.
const cancels = (statement) => new Promise((resolve, reject) => statement.cancel((err) => (err ? reject(err) : resolve())));

test('a statement that runs is cancelled by its request ID', async () => {
  const sqlText = `${endless} -- ${crypto.randomUUID()}`;
  let statement;
  const failed = new Promise((resolve) => {
    statement = connection().execute({ sqlText, complete: resolve });
  });
  await until(async () => (await seen('ledger')).some((e) => e.sql === sqlText && e.state === 'running'));
  assert.equal(statement.getQueryId(), undefined);
  await cancels(statement);
  const err = await failed;
  assert.deepEqual([err.code, err.sqlState, err.message], ['000604', '57014', 'SQL execution canceled']);
  assert.equal(await value(connection(), 'SELECT 1'), 1);
});

test('a statement that runs is cancelled by its query ID', async () => {
  const { statement } = await execute(connection(), endless, { asyncExec: true });
  const queryId = statement.getQueryId();
  assert.equal(await connection().getQueryStatus(queryId), 'RUNNING');
  await cancels(statement);
  await until(async () => (await connection().getQueryStatus(queryId)) === 'FAILED_WITH_ERROR'); // ABORTING before that
  await assert.rejects(cancels(statement), { code: '000605', sqlState: '57014' }); // it runs no more
});

// fails is a test of an error: its code, its SQLState, what its message says and where.
function fails(name, sql, code, sqlState, message) {
  test(`${name} is an error with code, SQLState and query ID`, async () => {
    await assert.rejects(query(connection(), sql), (err) => {
      assert.deepEqual([err.name, err.code, err.sqlState, err.data.sqlState], ['OperationFailedError', code, sqlState, sqlState]);
      assert.match(err.message, message);
      assert.equal((err.data.queryId.match(/-/g) ?? []).length, 4, err.data.queryId);
      return true;
    });
  });
}

fails('a syntax error', 'SELECT 1\nFROM t\n  WHERE GROUP', '001003', '42000', /syntax error line 3 at position 8 unexpected 'GROUP'/);
fails('an unknown column', 'SELECT 1,\n  nope\nFROM (SELECT 1 a)', '000904', '42000', /error line 2 at position 2\ninvalid identifier 'NOPE'/);
fails('an unknown table', 'SELECT * FROM no_such_table', '002003', '42S02', /Object 'NO_SUCH_TABLE' does not exist or not authorized/);
fails('an unknown function', 'SELECT no_such_function(1)', '002140', '42601', /Unknown function NO_SUCH_FUNCTION/);
fails('a division by zero', 'SELECT 1 / 0', '100051', '22012', /Division by zero/);
fails('a text that is no number', "SELECT 'x'::INT", '100038', '22018', /Numeric value 'x' is not recognized/);
fails('a NULL that must not be', 'CREATE OR REPLACE TABLE strict_one (i INT NOT NULL) AS SELECT NULL', '100072', '22000', /NULL result in a non-nullable column/);
fails('a procedure, which the engine has none of,', 'CALL some_procedure()', '000002', '0A000', /Unsupported feature 'CALL'/);

test('a request ID that comes again has the result of the first, and nothing runs twice', async () => {
  await query(connection(), 'CREATE OR REPLACE TABLE once (i INT)');
  const requestId = crypto.randomUUID();
  const first = await execute(connection(), 'INSERT INTO once VALUES (1)', { requestId });
  const second = await execute(connection(), 'INSERT INTO once VALUES (1)', { requestId });
  assert.equal(second.statement.getQueryId(), first.statement.getQueryId());
  assert.equal(await value(connection(), 'SELECT COUNT(*) FROM once'), 1);
});

test('the query context that the server gives is kept, and sent with the next statement', async () => {
  const { statement } = await execute(connection(), 'SELECT 1');
  assert.deepEqual([statement.getQueryContextCacheSize(), statement.getQueryContextDTOSize()], [1, 1]);
});

test('a file is put on a stage, loaded, and got back', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'snowtest-node-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, 'up.csv'), '1,häß\n2,"b, c"\n');
  fs.mkdirSync(path.join(folder, 'down'));
  await query(connection(), 'CREATE OR REPLACE STAGE files');
  await query(connection(), 'CREATE OR REPLACE TABLE loaded (i INT, s VARCHAR)');
  const [put] = await query(connection(), `PUT file://${folder}/up.csv @files`);
  assert.deepEqual([put.source, put.target, put.status], ['up.csv', 'up.csv.gz', 'UPLOADED']);
  assert.deepEqual((await query(connection(), 'LIST @files')).map((f) => f.name), ['files/up.csv.gz']);
  await query(connection(), `COPY INTO loaded FROM @files FILE_FORMAT = (TYPE = CSV FIELD_OPTIONALLY_ENCLOSED_BY = '"')`);
  assert.deepEqual(await query(connection(), 'SELECT * FROM loaded ORDER BY i'), [
    { I: 1, S: 'häß' },
    { I: 2, S: 'b, c' },
  ]);
  const [got] = await query(connection(), `GET @files file://${folder}/down`);
  assert.deepEqual([got.file, got.status, fs.readdirSync(path.join(folder, 'down'))], ['up.csv.gz', 'DOWNLOADED', ['up.csv.gz']]);
});
