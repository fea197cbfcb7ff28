'use strict';
// What a session is: its parameters and names, its transactions, its heartbeats.

const assert = require('node:assert/strict');
const test = require('node:test');
const { logIn, logOut, connect, shared, execute, query, value, until, seen } = require('./support');

const connection = shared();

test('a session parameter is set, shown and unset', async () => {
  const shown = async () => (await query(connection(), "SHOW PARAMETERS LIKE 'QUERY_TAG'"))[0];
  await query(connection(), "ALTER SESSION SET QUERY_TAG = 'judged'");
  assert.deepEqual([(await shown()).value, (await shown()).level], ['judged', 'SESSION']);
  await query(connection(), 'ALTER SESSION UNSET QUERY_TAG');
  assert.deepEqual([(await shown()).value, (await shown()).level], ['', '']);
});

test('the query tag of a connection is that of its statements', async (t) => {
  const tagged = await connect(t, { queryTag: 'nightly' });
  await query(tagged, 'SELECT 1');
  assert.equal(await value(tagged, "SELECT COUNT(*) > 0 FROM TABLE(information_schema.query_history_by_session()) WHERE query_tag = 'nightly'"), true);
});

test('an output format of the session is that of the text of values', async (t) => {
  const other = await connect(t);
  await query(other, "ALTER SESSION SET DATE_OUTPUT_FORMAT = 'DD.MM.YYYY' TIME_OUTPUT_FORMAT = 'HH24:MI' TIMESTAMP_NTZ_OUTPUT_FORMAT = 'YYYY/MM/DD'");
  const [row] = await query(other, "SELECT '2024-02-29'::DATE d, '12:34:56'::TIME t, '2024-02-29 12:00:00'::TIMESTAMP_NTZ n");
  assert.deepEqual([row.D.toJSON(), row.T, row.N.toJSON()], ['29.02.2024', '12:34', '2024/02/29']);
});

test('an unknown session parameter is refused with 001420', () =>
  assert.rejects(query(connection(), 'ALTER SESSION SET NO_SUCH_PARAMETER = 1'), { code: '001420', sqlState: '22023' }));

test('USE changes the database, schema, warehouse and role that each statement reports', async (t) => {
  const other = await connect(t);
  await query(other, 'CREATE DATABASE IF NOT EXISTS used');
  await query(other, 'CREATE SCHEMA IF NOT EXISTS used.inner_one');
  const state = async (sql) => {
    const s = (await execute(other, sql)).statement.getSessionState();
    return [s.getCurrentDatabase(), s.getCurrentSchema(), s.getCurrentWarehouse(), s.getCurrentRole()];
  };
  assert.deepEqual(await state('USE DATABASE used'), ['USED', 'PUBLIC', 'TESTWH', 'SYSADMIN']);
  assert.deepEqual(await state('USE SCHEMA inner_one'), ['USED', 'INNER_ONE', 'TESTWH', 'SYSADMIN']);
  assert.deepEqual(await state('USE ROLE useradmin'), ['USED', 'INNER_ONE', 'TESTWH', 'USERADMIN']);
  assert.deepEqual(await state('USE WAREHOUSE other_wh'), ['USED', 'INNER_ONE', 'OTHER_WH', 'USERADMIN']);
  assert.deepEqual(await query(other, 'SELECT current_database() d, current_schema() s'), [{ D: 'USED', S: 'INNER_ONE' }]);
  await assert.rejects(query(other, 'USE SCHEMA no_such_schema'), { code: '002043', sqlState: '02000' });
  assert.equal(await value(other, 'SELECT current_schema()'), 'INNER_ONE');
});

test('a variable of the session is known to later statements', async () => {
  await query(connection(), "SET judged = 'yes'");
  assert.equal(await value(connection(), 'SELECT $judged'), 'yes');
});

test('a transaction is seen by others when it is committed, and never when it is rolled back', async (t) => {
  const [a, b] = [await connect(t), await connect(t)];
  const count = (c) => value(c, 'SELECT COUNT(*) FROM in_transactions');
  await query(a, 'CREATE OR REPLACE TABLE in_transactions (i INT)');
  await query(a, 'BEGIN');
  await query(a, 'INSERT INTO in_transactions VALUES (1), (2)');
  assert.deepEqual([await count(a), await count(b)], [2, 0]);
  assert.notEqual(await value(a, 'SELECT CURRENT_TRANSACTION()'), null);
  await query(a, 'ROLLBACK');
  assert.deepEqual([await count(a), await count(b)], [0, 0]);
  await query(a, 'BEGIN');
  await query(a, 'INSERT INTO in_transactions VALUES (3)');
  await query(a, 'COMMIT');
  assert.deepEqual([await count(a), await count(b)], [1, 1]);
});

test('without AUTOCOMMIT a statement begins a transaction', async (t) => {
  const [a, b] = [await connect(t), await connect(t)];
  await query(a, 'CREATE OR REPLACE TABLE not_committed (i INT)');
  await query(a, 'ALTER SESSION SET AUTOCOMMIT = FALSE');
  await query(a, 'INSERT INTO not_committed VALUES (1)');
  assert.equal(await value(b, 'SELECT COUNT(*) FROM not_committed'), 0);
  await query(a, 'COMMIT');
  assert.equal(await value(b, 'SELECT COUNT(*) FROM not_committed'), 1);
});

test('a transaction ends with its session, and leaves nothing', async (t) => {
  const lost = await logIn();
  await query(lost, 'CREATE OR REPLACE TABLE abandoned (i INT)');
  await query(lost, 'BEGIN');
  await query(lost, 'INSERT INTO abandoned VALUES (1)');
  await logOut(lost);
  assert.equal(await value(await connect(t), 'SELECT COUNT(*) FROM abandoned'), 0);
});

// An account is believed to answer with success and no data at all (docs/guarantees.md,
// idle-commit). This client reads the query ID of an answer without looking whether it has data.
test('a COMMIT without a transaction is a success without data, which the client cannot read', async () => {
  await assert.rejects(query(connection(), 'COMMIT'), { message: /Cannot read properties of null \(reading 'queryId'\)/ });
  const entry = (await seen('ledger')).at(-1);
  assert.deepEqual([entry.sql, entry.state], ['COMMIT', 'succeeded']);
  assert.equal(await value(connection(), 'SELECT 1'), 1);
});

test('with CLIENT_SESSION_KEEP_ALIVE the client sends a heartbeat each quarter of an hour', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const kept = await connect(t, { clientSessionKeepAlive: true, clientSessionKeepAliveHeartbeatFrequency: 900 });
  assert.deepEqual([kept.getClientSessionKeepAlive(), kept.getClientSessionKeepAliveHeartbeatFrequency()], [true, 900]);
  const before = (await seen('stats')).heartbeats;
  for (const beats of [1, 2]) {
    t.mock.timers.tick(900_000);
    await until(async () => (await seen('stats')).heartbeats === before + beats);
  }
});
