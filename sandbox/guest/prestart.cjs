// sandbox/guest/prestart.cjs: waits inside a template for its job and then is that job, as `node <file> <arguments>` would be.
// What a small program needs at its start (module loader, output, formatting) is loaded and compiled before the template is saved.
'use strict';
const { readSync, writeSync } = require('fs');
const { runMain } = require('module');
const { format, inspect } = require('util');
const { setFlagsFromString } = require('v8');
const { randomBytes } = require('crypto');

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

function become(job) {
  const [, count, ...rest] = job.toString('utf8').split('\0').slice(0, -1);
  const argv = rest.slice(0, Number(count));
  for (const name of Object.keys(process.env)) delete process.env[name];
  for (const entry of rest.slice(Number(count))) {
    const at = entry.indexOf('=');
    process.env[entry.slice(0, at)] = entry.slice(at + 1);
  }
  process.chdir('/work');
  process.argv.splice(1, process.argv.length, ...argv);
  // Math.random is seeded at its first use from a generator that all clones share: give it a seed of this machine. OpenSSL, which randomBytes
  // asks, seeds itself anew because the clock has jumped by days since the template was saved.
  setFlagsFromString(`--random_seed=${randomBytes(4).readUInt32LE(0) >>> 1 || 1}`);
  delete require.cache[__filename];
  // As the program ends: after the last listener of its end the agent is told the code, and need not wait until the engine and its memory were taken
  // apart, which nobody can see and which costs more than a small program under emulation.
  const { emit, reallyExit } = process;
  process.emit = function (name, ...rest) {
    const heard = Reflect.apply(emit, this, [name, ...rest]);
    if (name === 'exit') {
      const code = process.exitCode ?? rest[0] ?? 0;
      try {
        writeSync(3, Uint8Array.of(0x78, code));
      } catch {
        // The program closed it: the agent sees the end of the process then.
      }
      reallyExit(code);
    }
    return heard;
  };
  runMain();
}

format('%s %d %j', 'a', 1, { a: [1] });
inspect({ a: [1, 'b', new Map([[1, { c: 2 }]])] });
new Error('once').stack; // eslint-disable-line no-unused-expressions
[process.stdin, process.stdout, process.stderr].map((stream) => stream.writable);
import('/run/prestart-warm.mjs').then(() => {
  writeSync(3, 'r');
  become(receive());
});
