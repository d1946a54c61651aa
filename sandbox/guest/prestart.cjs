// sandbox/guest/prestart.cjs: waits inside a template for its job and then is that job, as `node <file> <arguments>` would be.
//
// Before, it walks through what a small program walks through (an order, the loader of modules, output, formatting): once before the template is
// saved, so that all that is loaded and compiled, and once in each machine of the pool, so that the emulator has translated it. It does so itself,
// since translations are found again by address only: what another node walks through, with its own layout, is of no use to it.
'use strict';
const { Console } = require('console');
const { fstatSync, readSync, unlinkSync, writeFileSync, writeSync } = require('fs');
const { runMain } = require('module');
const { Writable } = require('stream');
const { setFlagsFromString } = require('v8');
const { randomBytes } = require('crypto');

const agent = fstatSync(3).ino;

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

/** Kind, number of arguments, arguments, variables; each ends with a zero. */
function parse(job) {
  const [kind, count, ...rest] = job.toString('utf8').split('\0').slice(0, -1);
  return { kind, argv: rest.slice(0, Number(count)), env: rest.slice(Number(count)) };
}

function setEnvironment(env) {
  for (const name of Object.keys(process.env)) delete process.env[name];
  for (const entry of env) {
    const at = entry.indexOf('=');
    process.env[entry.slice(0, at)] = entry.slice(at + 1);
  }
}

// Math.random is seeded at its first use from a generator that all clones share: give it a seed of this machine. OpenSSL, which randomBytes
// asks, seeds itself anew because the clock has jumped by days since the template was saved.
function setSeed() {
  setFlagsFromString(`--random_seed=${randomBytes(4).readUInt32LE(0) >>> 1 || 1}`);
}

let rehearsals = 0;

/** All that leaves no trace for the program. The agent reads what is printed. */
async function rehearse({ env }) {
  const file = `/tmp/.rehearsal-${++rehearsals}.mjs`;
  setEnvironment(env);
  process.chdir('/work');
  setSeed();
  writeFileSync(file, "import 'node:fs'; globalThis.rehearsed(process.argv);");
  await new Promise((done) => {
    globalThis.rehearsed = done;
    runMain(file);
  });
  delete globalThis.rehearsed;
  unlinkSync(file);
  const silent = new Console(new Writable({ write: (chunk, encoding, done) => done() }));
  silent.log('%s %d %j', 'a', 1, { a: [1] });
  silent.log({ a: [1, 'b', new Map([[1, { c: 2 }]])] });
  silent.error(new Error('none'));
  console.log(3);
}

function become({ argv, env }) {
  setEnvironment(env);
  process.chdir('/work');
  process.argv.splice(1, process.argv.length, ...argv);
  setSeed();
  delete require.cache[__filename];
  // As the program ends: after the last listener of its end the agent is told the code, and need not wait until the engine and its memory were taken
  // apart, which nobody can see and which costs more than a small program under emulation.
  const { emit, reallyExit } = process;
  process.emit = function (name, ...rest) {
    const heard = Reflect.apply(emit, this, [name, ...rest]);
    if (name === 'exit') {
      const code = process.exitCode ?? rest[0] ?? 0;
      try {
        // Not into a file of the program's that has our number now.
        if (fstatSync(3).ino === agent) writeSync(3, Uint8Array.of(0x78, code));
      } catch {
        // The program closed it: the agent sees the end of the process then.
      }
      reallyExit(code);
    }
    return heard;
  };
  runMain();
}

async function wait() {
  writeSync(3, 'r');
  for (;;) {
    const job = parse(receive());
    // In a turn of its own: what the program throws is its own, and not ours.
    if (job.kind !== 'w') return setImmediate(become, job);
    await rehearse(job).catch(() => {}); // one that fails costs time only: the program meets the same failure where it can be seen
    writeSync(3, 'w');
  }
}

[process.stdin, process.stdout, process.stderr].map((stream) => stream.writable);
wait();
