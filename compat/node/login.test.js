'use strict';
// Logins and log-outs.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const test = require('node:test');
const { snowflake, options, logIn, logOut, connect, query, value, seen } = require('./support');

// refused is that a login fails with the code, and that no session is left of it.
async function refused(change, code, message) {
  await assert.rejects(logIn(change), (err) => {
    assert.deepEqual([err.name, err.code, err.sqlState], ['OperationFailedError', code, undefined], err.message);
    assert.match(err.message, message);
    return true;
  });
  assert.deepEqual(await seen('sessions'), []);
}

test('a login with a password opens a session, and destroy logs it out', async () => {
  const before = await seen('stats');
  const connection = await logIn();
  assert.ok(connection.isUp() && connection.isTokenValid());
  assert.deepEqual((await seen('sessions')).map((s) => s.User), ['tester']);
  await logOut(connection);
  assert.equal(connection.isUp(), false);
  const now = await seen('stats');
  assert.deepEqual([now.logins - before.logins, now.logouts - before.logouts], [1, 1]);
  assert.deepEqual(await seen('sessions'), []);
});

test('a wrong password is refused with 390100', () => refused({ password: 'wrong' }, '390100', /Incorrect username or password/));

test('an unknown user is refused with 390100', () => refused({ username: 'nobody' }, '390100', /Incorrect username or password/));

test('a wrong OAuth token is refused with 390303', () =>
  refused({ authenticator: 'OAUTH', token: 'wrong', password: undefined }, '390303', /Invalid OAuth access token/));

test('a wrong programmatic access token is refused with 394400', () =>
  refused({ authenticator: 'PROGRAMMATIC_ACCESS_TOKEN', token: 'wrong', password: undefined }, '394400', /token is invalid/));

test('a role that does not exist is refused with 390189', () => refused({ role: 'NOPE' }, '390189', /Role 'NOPE'/));

test('a key pair logs in', async (t) => {
  const { privateKey } = crypto.generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  const connection = await connect(t, { authenticator: 'SNOWFLAKE_JWT', privateKey, password: undefined });
  assert.equal(await value(connection, 'SELECT current_user()'), 'TESTER');
});

test('a session begins with the database, schema, warehouse and role of its login', async (t) => {
  await query(await connect(t), 'CREATE SCHEMA IF NOT EXISTS logins');
  const connection = await connect(t, { schema: 'logins', warehouse: 'TESTWH', role: 'USERADMIN' });
  assert.deepEqual(await query(connection, 'SELECT current_database() d, current_schema() s, current_warehouse() w, current_role() r'), [
    { D: 'TESTDB', S: 'LOGINS', W: 'TESTWH', R: 'USERADMIN' },
  ]);
});

test('a pool opens a session for each connection in use, and logs all of them out', async () => {
  const pool = snowflake.createPool(options, { max: 2 });
  const [a, b] = await Promise.all([pool.acquire(), pool.acquire()]);
  const sessions = await Promise.all([a, b].map((connection) => value(connection, 'SELECT current_session()')));
  assert.equal(new Set(sessions).size, 2);
  await Promise.all([a, b].map((connection) => pool.release(connection)));
  const again = await pool.use((connection) => value(connection, 'SELECT current_session()'));
  assert.ok(sessions.includes(again), `session ${again} is none of ${sessions}`);
  await pool.drain();
  await pool.clear();
  assert.deepEqual(await seen('sessions'), []);
});

test('what is asked of a connection that was logged out never reaches the server', async () => {
  const connection = await logIn();
  await logOut(connection);
  const before = await seen('stats');
  await assert.rejects(value(connection, 'SELECT 1'), { code: 407002, sqlState: '08003' });
  await assert.rejects(logOut(connection), { code: 406502 });
  assert.equal((await seen('stats')).requests.query, before.requests.query);
});
