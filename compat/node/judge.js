'use strict';
// Snowflake's client for Node judges the test server: this starts the server's program over
// http and then over https, runs every *.test.js here against it, and says how many passed.
//
//	node judge.js <the program> [part of a test's name]

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const { run } = require('node:test');
const { version } = require('snowflake-sdk/package.json');

// start starts the server and reads what it prints: where it serves, and where it is controlled.
async function start(program, flags) {
  const server = spawn(program, ['-user', 'tester', '-password', 'secret', '-master-life', '24h', ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => server.on('exit', resolve));
  const found = {};
  for await (const line of readline.createInterface({ input: server.stdout })) {
    const [, name, value] = line.match(/^(serving on|trust:|control:) *(?:SSL_CERT_FILE=)?(\S+)/) ?? [];
    found[name] = value;
    if (found['control:']) break;
  }
  if (!found['control:']) throw new Error(`${program} did not say where it is controlled`);
  const stop = () => {
    server.kill('SIGTERM');
    return ended;
  };
  return { url: found['serving on'], control: found['control:'], certificate: found['trust:'], stop };
}

async function judge(program, flags, pattern) {
  const server = await start(program, flags);
  // The processes of the tests inherit these. The client looks for the cloud that it runs in
  // at addresses that nobody answers here, and its AWS library warns of old versions of Node.
  Object.assign(process.env, {
    SNOWTEST_URL: server.url,
    SNOWTEST_CONTROL: server.control,
    NODE_EXTRA_CA_CERTS: server.certificate ?? '',
    SNOWFLAKE_DISABLE_PLATFORM_DETECTION: 'true',
    NODE_NO_WARNINGS: '1',
  });
  const files = fs.readdirSync(__dirname).filter((name) => name.endsWith('.test.js')).sort();
  const count = { passed: 0, all: 0 };
  try {
    const tests = run({ files: files.map((name) => path.join(__dirname, name)), testNamePatterns: pattern, timeout: 180_000 });
    tests.on('test:pass', (t) => {
      if (t.skip !== undefined || t.details.type === 'suite') return; // what the pattern leaves out
      count.all++;
      count.passed++;
    });
    tests.on('test:fail', (t) => {
      count.all++;
      console.log(`FAILED: ${t.name}\n${t.details.error.cause?.stack ?? t.details.error.stack}`);
    });
    await new Promise((resolve, reject) => tests.on('end', resolve).on('error', reject).resume());
  } finally {
    await server.stop();
  }
  console.log(`snowflake-sdk ${version}, Node ${process.versions.node}, ${new URL(server.url).protocol.slice(0, -1)}: ${count.passed} of ${count.all} passed`);
  return count.all > 0 && count.passed === count.all;
}

async function main(program, pattern) {
  const plain = await judge(program, [], pattern);
  const secured = await judge(program, ['-tls'], pattern);
  process.exitCode = plain && secured ? 0 : 1;
}

main(...process.argv.slice(2));
