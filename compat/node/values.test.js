'use strict';
// Values of each type, as results and as binds, and what columns say of themselves.

const assert = require('node:assert/strict');
const test = require('node:test');
const { connect, shared, execute, query, value } = require('./support');

const connection = shared();

// reads is a test that an expression has the value, and as text that text.
function reads(name, expression, want, text) {
  test(`${name}: ${expression}`, async () => {
    assert.deepEqual(await value(connection(), `SELECT ${expression}`), want);
    const all = ['String', 'Boolean', 'Number', 'Date', 'JSON', 'Buffer'];
    assert.equal(await value(connection(), `SELECT ${expression}`, undefined, { fetchAsString: all }), text);
  });
}

reads('a number', '42', 42, '42');
reads('a fraction', '-0.25::NUMBER(10,2)', -0.25, '-0.25');
reads('a number of 38 digits', "'-99999999999999999999999999999999999999'::NUMBER(38,0)", -1e38, '-99999999999999999999999999999999999999');
reads('a float', '0.1::FLOAT', 0.1, '0.1');
reads('a text', "'häß 雪 ❄️ \"quoted\"\\n'", 'häß 雪 ❄️ "quoted"\n', 'häß 雪 ❄️ "quoted"\n');
reads('an empty text', "''", '', '');
reads('true', 'TRUE', true, 'TRUE');
reads('false', 'FALSE', false, 'FALSE');
reads('a time', "'23:59:58.987654321'::TIME", '23:59:58', '23:59:58');
reads('NULL', 'NULL', null, 'NULL');
reads('NULL of a type', 'NULL::TIMESTAMP_TZ', null, 'NULL');

// readsDate is the same of what the client makes a Date of: the instant to the millisecond, its
// nanoseconds and its offset, and its text in the format of the session.
function readsDate(name, expression, instant, nanoseconds, offset, text) {
  test(`${name}: ${expression}`, async () => {
    const date = await value(connection(), `SELECT ${expression}`);
    assert.deepEqual([date.toISOString(), date.getNanoSeconds(), date.getTimezone()], [instant, nanoseconds, offset]);
    assert.equal(date.toJSON(), text);
  });
}

readsDate('a date', "'2024-02-29'::DATE", '2024-02-29T00:00:00.000Z', 0, 'UTC', '2024-02-29');
readsDate('a date before 1970', "'1582-10-15'::DATE", '1582-10-15T00:00:00.000Z', 0, 'UTC', '1582-10-15');
readsDate('a TIMESTAMP_NTZ', "'2024-02-29 12:34:56.123456789'::TIMESTAMP_NTZ", '2024-02-29T12:34:56.123Z', 123456789, 'UTC', '2024-02-29 12:34:56.123');
readsDate('a TIMESTAMP_NTZ before 1970', "'1969-12-31 23:59:59.9'::TIMESTAMP_NTZ(1)", '1969-12-31T23:59:59.900Z', 900000000, 'UTC', '1969-12-31 23:59:59.900');
readsDate('a TIMESTAMP_LTZ', "'2024-02-29 12:34:56.5 +01:00'::TIMESTAMP_LTZ", '2024-02-29T11:34:56.500Z', 500000000, 'UTC', '2024-02-29 11:34:56.500 +0000');
readsDate('a TIMESTAMP_TZ', "'2024-02-29 12:34:56.123456789 -08:30'::TIMESTAMP_TZ", '2024-02-29T21:04:56.123Z', 123456789, -510, '2024-02-29 12:34:56.123 -0830');

test('a TIMESTAMP_LTZ is in the time zone of the session', async (t) => {
  const other = await connect(t);
  await query(other, "ALTER SESSION SET TIMEZONE = 'America/New_York'");
  const date = await value(other, "SELECT '2024-07-01 12:00:00'::TIMESTAMP_LTZ");
  assert.deepEqual([date.toISOString(), date.getTimezone(), date.toJSON()], ['2024-07-01T16:00:00.000Z', 'America/New_York', '2024-07-01 12:00:00.000 -0400']);
});

test('a binary value is bytes, and as text capital hex digits', async () => {
  const bytes = await value(connection(), "SELECT TO_BINARY('00CAFEFF', 'HEX')");
  assert.deepEqual([...bytes], [0x00, 0xca, 0xfe, 0xff]);
  assert.deepEqual([bytes.getFormat(), bytes.toStringSf()], ['HEX', '00CAFEFF']);
});

test('variants, objects and arrays are values of JavaScript', async () => {
  const [row] = await query(
    connection(),
    `SELECT PARSE_JSON('{"a":[1,null,{"b":"häß"}],"c":1.5,"d":true}') v, OBJECT_CONSTRUCT('k', 1, 'l', 'x') o, PARSE_JSON('[1,"two",null]')::ARRAY a,
      PARSE_JSON('null') j, TO_VARIANT('text') s`,
  );
  assert.deepEqual(row, { V: { a: [1, null, { b: 'häß' }], c: 1.5, d: true }, O: { k: 1, l: 'x' }, A: [1, 'two', null], J: null, S: 'text' });
});

test('whole numbers are BigInts where the session says so', async (t) => {
  for (const other of [await connect(t, { jsTreatIntegerAsBigInt: true }), await connect(t)]) {
    await query(other, 'ALTER SESSION SET JS_TREAT_INTEGER_AS_BIGINT = TRUE');
    const [row] = await query(other, "SELECT '12345678901234567890123456789012345678'::NUMBER(38,0) n, 1.5 f");
    assert.deepEqual([row.N.toString(), typeof row.N, row.F], ['12345678901234567890123456789012345678', 'object', 1.5]);
    await query(other, 'ALTER SESSION SET JS_TREAT_INTEGER_AS_BIGINT = FALSE');
    assert.equal(await value(other, 'SELECT 7'), 7);
  }
});

test('structured types are refused with 000002', () =>
  assert.rejects(query(connection(), 'SELECT [1, 2]::ARRAY(NUMBER)'), { code: '000002', sqlState: '0A000' }));

test('columns tell their name, type, digits and whether they can be NULL', async () => {
  await query(
    connection(),
    `CREATE OR REPLACE TABLE columns_of (id NUMBER(10,2) NOT NULL, "lower case" VARCHAR(20), f FLOAT, b BOOLEAN NOT NULL, d DATE,
      t TIME(3), n TIMESTAMP_NTZ(6), l TIMESTAMP_LTZ, z TIMESTAMP_TZ, y BINARY, v VARIANT, o OBJECT, a ARRAY)`,
  );
  const { statement } = await execute(connection(), 'SELECT *, id + 1 AS "sum", 7 FROM columns_of');
  const told = statement.getColumns().map((c) => [c.getName(), c.getType(), c.getPrecision(), c.getScale(), c.isNullable()]);
  assert.deepEqual(told, [
    ['ID', 'fixed', 10, 2, false],
    ['lower case', 'text', null, null, true],
    ['F', 'real', null, null, true],
    ['B', 'boolean', null, null, false],
    ['D', 'date', null, null, true],
    ['T', 'time', 0, 3, true],
    ['N', 'timestamp_ntz', 0, 6, true],
    ['L', 'timestamp_ltz', 0, 9, true],
    ['Z', 'timestamp_tz', 0, 9, true],
    ['Y', 'binary', null, null, true],
    ['V', 'variant', null, null, true],
    ['O', 'object', null, null, true],
    ['A', 'array', null, null, true],
    ['sum', 'fixed', told[13][2], 2, told[13][4]],
    ['7', 'fixed', 1, 0, false],
  ]);
  assert.deepEqual([statement.getColumn('ID').getIndex(), statement.getColumn(1).getName()], [0, 'lower case']);
});

test('a statement that is only described tells its columns and does nothing', async () => {
  await query(connection(), 'CREATE OR REPLACE TABLE described (i INT)');
  const { statement, rows } = await execute(connection(), "SELECT 1 AS a, 'x' AS b", { describeOnly: true });
  assert.deepEqual([statement.getColumns().map((c) => c.getName()), rows], [['A', 'B'], []]);
  await execute(connection(), 'INSERT INTO described VALUES (1)', { describeOnly: true });
  assert.equal(await value(connection(), 'SELECT COUNT(*) FROM described'), 0);
});

// binds is a test of a bind: its value, the expression in which it stands, what that is.
function binds(name, bind, expression, want) {
  test(`a bind of ${name}`, async () => assert.deepEqual(await value(connection(), `SELECT ${expression}`, [bind]), want));
}

binds('a whole number', 42, '? + 1', 43);
binds('a large number', Number.MAX_SAFE_INTEGER, '?', Number.MAX_SAFE_INTEGER);
binds('a float', -1.5, '?', -1.5);
binds('a text', 'häß 雪 \'"\\', '?', 'häß 雪 \'"\\');
binds('an empty text', '', '?', '');
binds('a number as text', '12345678901234567890123456789012345678', '?::NUMBER(38,0)::VARCHAR', '12345678901234567890123456789012345678');
binds('true', true, '?', true);
binds('false', false, 'NOT ?', true);
binds('NULL', null, '?', null);
binds('NULL as a number', null, '?::NUMBER IS NULL', true);
binds('a Date', new Date('2024-02-29T12:34:56.789Z'), "TO_CHAR(?::TIMESTAMP_NTZ, 'YYYY-MM-DD HH24:MI:SS.FF3')", '2024-02-29 12:34:56.789');
binds('a date as text', '2024-02-29', "TO_CHAR(?::DATE + 1, 'YYYY-MM-DD')", '2024-03-01');
binds('a binary value as text', 'CAFE', 'HEX_ENCODE(?::BINARY)', 'CAFE');
binds('an object', { a: [1, { b: null }] }, '?', { a: [1, { b: null }] });
binds('the same in two places', 7, ':1 * :1', 49);

test('an array is a bind where it is not the first', async () =>
  assert.deepEqual(await query(connection(), 'SELECT ? a, ? b', [1, [1, 'x']]), [{ A: 1, B: [1, 'x'] }]));

test('binds go by their numbers', async () =>
  assert.deepEqual(await query(connection(), 'SELECT :2 a, :1 b', ['x', 1]), [{ A: 1, B: 'x' }]));

test('a missing bind is an error', () => assert.rejects(query(connection(), 'SELECT ?, ?', [1]), { name: 'OperationFailedError' }));

test('what was bound comes back from a table as it was', async () => {
  await query(connection(), 'CREATE OR REPLACE TABLE kept (n NUMBER, f FLOAT, s VARCHAR, b BOOLEAN, d TIMESTAMP_NTZ(3), v VARIANT, x VARCHAR)');
  const row = [7, 0.1, 'häß 雪', true, new Date('2024-02-29T12:34:56.789Z'), { a: 1 }, null];
  await query(connection(), 'INSERT INTO kept SELECT ?, ?, ?, ?, ?, ?, ?', row);
  const [got] = await query(connection(), 'SELECT * FROM kept', undefined, { rowMode: 'array' });
  got[4] = new Date(got[4].getTime());
  assert.deepEqual(got, row);
});
