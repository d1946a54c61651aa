// sandbox/preload/node.cjs: a Node that is started before its program is known, inside the finished jail, for one program.
//
// Walks once through all that a program walks through on its way to its first line (an order, the loader of modules, console.log), so that it is
// loaded and compiled. Then waits for the order (sandbox/confine/order.h) and runs the file as `node FILE ARGS...` would. It serves once.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { Console } = require('node:console');
const { runMain } = require('node:module');
const { Writable } = require('node:stream');
const { pathToFileURL } = require('node:url');
require('node:net'); // what console.log needs for a pipe; the streams themselves are the program's to open
require('node:tty');

/** Writes the files of an order and returns its arguments and variables. */
function take(data) {
  let at = 0;
  const count = () => data.readUInt32LE((at += 4) - 4);
  const item = () => {
    const size = count();
    return data.subarray(at, (at += size));
  };
  const text = () => item().toString('utf8').slice(0, -1);
  const argv = Array.from({ length: count() }, text);
  const env = Array.from({ length: count() }, text);
  for (let left = count(); left > 0; left--) {
    const name = path.join('/tmp', text());
    fs.mkdirSync(path.dirname(name), { recursive: true });
    fs.writeFileSync(name, item(), { flag: 'wx' });
  }
  return { argv, env };
}

/** An order for one empty module. */
function rehearsal(name) {
  const number = (value) => {
    const four = Buffer.alloc(4);
    four.writeUInt32LE(value);
    return four;
  };
  const item = (value) => [number(value.length), Buffer.from(value)];
  return Buffer.concat([number(1), ...item(`/tmp/${name}\0`), number(0), number(1), ...item(`${name}\0`), ...item('export {};')]);
}

async function rehearse() {
  const { argv } = take(rehearsal('.cds-rehearsal.mjs'));
  await import(pathToFileURL(argv[0]));
  fs.unlinkSync(argv[0]);
  const nowhere = new Writable({ write: (chunk, encoding, done) => done() });
  const silent = new Console({ stdout: nowhere, stderr: nowhere });
  silent.log('%s', 1, { list: [1, 'two'] });
  silent.error(new Error('none'));
}

function serve() {
  const mark = Buffer.alloc(1);
  if (fs.readSync(6, mark, 0, 1, null) !== 1) process.reallyExit(123);
  const { argv, env } = take(fs.readFileSync(5));
  fs.closeSync(5);
  fs.closeSync(6);
  for (const name of Object.keys(process.env)) delete process.env[name];
  for (const pair of env) process.env[pair.slice(0, pair.indexOf('='))] = pair.slice(pair.indexOf('=') + 1);
  process.argv = [process.execPath, ...argv];
  delete require.cache[__filename];
  runMain(argv[0]);
}

// A rehearsal that fails costs time only: the program meets the same failure where it can be seen.
rehearse()
  .catch(() => {})
  .then(() => setImmediate(serve));
