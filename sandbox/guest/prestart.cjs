// sandbox/guest/prestart.cjs: waits inside a template for its job and then is that job, as `node <file> <arguments>` would be.
'use strict';
const { closeSync, readSync, writeSync } = require('fs');
const { runMain } = require('module');
const { setFlagsFromString } = require('v8');

function receive() {
  let data = Buffer.alloc(0);
  for (;;) {
    const piece = Buffer.alloc(1 << 16);
    const n = readSync(3, piece, 0, piece.length, null);
    if (n === 0) process.exit(0);
    data = Buffer.concat([data, piece.subarray(0, n)]);
    if (data.length >= 4 && data.length >= 4 + data.readUInt32LE(0)) return data.subarray(4);
  }
}

writeSync(3, 'r');
const [, count, ...rest] = receive().toString('utf8').split('\0').slice(0, -1);
closeSync(3);
const argv = rest.slice(0, Number(count));
for (const name of Object.keys(process.env)) delete process.env[name];
for (const entry of rest.slice(Number(count))) {
  const at = entry.indexOf('=');
  process.env[entry.slice(0, at)] = entry.slice(at + 1);
}
process.chdir('/work');
process.argv.splice(1, process.argv.length, ...argv);
// Math.random is seeded at its first use from a generator that all clones share: give it a seed of this VM.
setFlagsFromString(`--random_seed=${require('crypto').randomBytes(4).readUInt32LE(0) >>> 1 || 1}`);
delete require.cache[__filename];
runMain();
