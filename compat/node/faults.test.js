'use strict';
// Tokens that expire, sessions that the server ends, replies that are lost, a network that is cut.

const assert = require('node:assert/strict');
const test = require('node:test');
const { logIn, logOut, connect, query, value, control, seen } = require('./support');

test('an expired session token (390112) is renewed, and the session goes on', async (t) => {
  const other = await connect(t);
  const session = await value(other, 'SELECT current_session()');
  await query(other, 'CREATE OR REPLACE TEMPORARY TABLE of_this_session (i INT)');
  const before = await seen('stats');
  await control('expire?tokens=session');
  await query(other, 'INSERT INTO of_this_session VALUES (1)');
  assert.deepEqual(await query(other, 'SELECT current_session() s, COUNT(*) c FROM of_this_session'), [{ S: session, C: 1 }]);
  const now = await seen('stats');
  assert.deepEqual([now.renewals - before.renewals, now.logins - before.logins], [1, 0]);
});

test('statements that find their token expired at the same time are all answered', async (t) => {
  const other = await connect(t);
  await control('expire?tokens=session');
  assert.deepEqual(await Promise.all([1, 2, 3, 4, 5].map((n) => value(other, `SELECT ${n}`))), [1, 2, 3, 4, 5]);
});

test('a heartbeat renews an expired token, too', async (t) => {
  const other = await connect(t);
  const before = await seen('stats');
  await control('expire?tokens=session');
  assert.equal(await other.isValidAsync(), true);
  const now = await seen('stats');
  assert.deepEqual([now.renewals - before.renewals, now.heartbeats - before.heartbeats], [1, 1]);
});

// The refusal of an expired token is a log-out to this client, as it is to gosnowflake.
test('a connection whose token has expired is closed without a log-out, and its session stays', async () => {
  const other = await logIn();
  const before = await seen('stats');
  await control('expire?tokens=session');
  await logOut(other);
  const now = await seen('stats');
  assert.deepEqual([now.logouts - before.logouts, (await seen('sessions')).length], [0, 1]);
  await control('expire');
  assert.deepEqual(await seen('sessions'), []);
});

// ends is a test of a session that the server has ended: this client refuses all that is asked
// of it from then on, and opens no other by itself.
function ends(name, how) {
  test(name, async () => {
    const dead = await logIn();
    const before = await seen('stats');
    await control(how);
    await assert.rejects(value(dead, 'SELECT 1'), { code: 407002, sqlState: '08003', isFatal: true });
    assert.deepEqual([dead.isUp(), await dead.isValidAsync()], [false, false]);
    await assert.rejects(logOut(dead), { code: 406502 });
    const now = await seen('stats');
    assert.deepEqual([now.logins - before.logins, now.statements - before.statements], [0, 0]);
  });
}

ends('a session whose master token has expired (390114) is over', 'expire');
ends('a session that an administrator has ended (390111) is over', 'abort');

test('a statement whose reply is lost is sent again with its request ID, and runs once', async (t) => {
  const connection = await connect(t);
  await query(connection, 'CREATE OR REPLACE TABLE lost_replies (i INT)');
  const before = await seen('stats');
  await control('lose');
  assert.deepEqual(await query(connection, 'INSERT INTO lost_replies VALUES (1)'), [{ 'number of rows inserted': 1 }]);
  assert.equal(await value(connection, 'SELECT COUNT(*) FROM lost_replies'), 1);
  assert.equal((await seen('stats')).repeats - before.repeats, 1);
});

test('a statement that is lost is sent again, and runs once', async (t) => {
  const connection = await connect(t);
  await query(connection, 'CREATE OR REPLACE TABLE lost_statements (i INT)');
  await control('lose?ran=false');
  await query(connection, 'INSERT INTO lost_statements VALUES (1)');
  assert.equal(await value(connection, 'SELECT COUNT(*) FROM lost_statements'), 1);
});

test('a statement waits for a network that is cut', async (t) => {
  const connection = await connect(t);
  await control('outage?for=500ms');
  assert.equal(await value(connection, 'SELECT 7'), 7);
});
