'use strict';
// What the tests share: connections, statements as promises, and the server's control interface.

const assert = require('node:assert/strict');
const { after, before } = require('node:test');
const snowflake = require('snowflake-sdk');

// The server's certificate is its own, which no authority can be asked about.
snowflake.configure({ logLevel: 'OFF', additionalLogToConsole: false, disableOCSPChecks: true });

const options = {
  account: 'snowtest',
  username: 'tester',
  password: 'secret',
  accessUrl: process.env.SNOWTEST_URL,
  database: 'TESTDB',
  schema: 'PUBLIC',
};

// logIn opens a connection, or fails with the client's error.
function logIn(change) {
  const connection = snowflake.createConnection({ ...options, ...change });
  return new Promise((resolve, reject) => connection.connect((err) => (err ? reject(err) : resolve(connection))));
}

// logOut ends it.
function logOut(connection) {
  return new Promise((resolve, reject) => connection.destroy((err) => (err ? reject(err) : resolve())));
}

// connect opens a connection that ends with the test.
async function connect(t, change) {
  const connection = await logIn(change);
  t.after(() => connection.isUp() && logOut(connection));
  return connection;
}

// shared opens a connection that ends with the file. It gives a function, because there is none
// until the tests run.
function shared() {
  let connection;
  before(async () => {
    connection = await logIn();
    kept.push(connection);
  });
  return () => connection;
}

const kept = [];
after(async () => {
  await Promise.all(kept.map(logOut));
  assert.deepEqual(await seen('sessions'), [], 'sessions that were not logged out');
});

// execute carries out a statement, and gives it with its rows.
function execute(connection, sqlText, more) {
  return new Promise((resolve, reject) =>
    connection.execute({ sqlText, ...more, complete: (err, statement, rows) => (err ? reject(err) : resolve({ statement, rows })) }),
  );
}

// query gives the rows of a statement.
async function query(connection, sqlText, binds, more) {
  return (await execute(connection, sqlText, { binds, ...more })).rows;
}

// value is the only value of the only row of a statement.
async function value(connection, sqlText, binds, more) {
  const rows = await query(connection, sqlText, binds, more);
  assert.equal(rows.length, 1, `${sqlText} has ${rows.length} rows`);
  const values = Object.values(rows[0]);
  assert.equal(values.length, 1, `${sqlText} has ${values.length} columns`);
  return values[0];
}

// all reads a stream to its end.
async function all(stream) {
  const rows = [];
  for await (const row of stream) rows.push(row);
  return rows;
}

// until asks again and again, for what is on its way on the server.
async function until(holds) {
  for (;;) {
    const found = await holds();
    if (found) return found;
  }
}

// control asks the server's control interface to do something.
async function control(path) {
  const res = await fetch(`${process.env.SNOWTEST_CONTROL}/${path}`, { method: 'POST' });
  assert.ok(res.ok, `${path}: ${res.status} ${await res.text()}`);
}

// seen is what the control interface shows: ledger, sessions or stats.
async function seen(what) {
  return (await fetch(`${process.env.SNOWTEST_CONTROL}/${what}`)).json();
}

module.exports = { snowflake, options, logIn, logOut, connect, shared, execute, query, value, all, until, control, seen };
