// sandbox/preload/node.cjs: a Node that is started before its program is known, inside the finished jail, for one program.
//
// Waits for the order (sandbox/confine/order.h), then runs the file as `node FILE ARGS...` would. It serves once.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { runMain } = require('node:module');

const mark = Buffer.alloc(1);
if (fs.readSync(6, mark, 0, 1, null) !== 1) process.reallyExit(123);
const data = fs.readFileSync(5);
fs.closeSync(5);
fs.closeSync(6);
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
for (const name of Object.keys(process.env)) delete process.env[name];
for (const pair of env) process.env[pair.slice(0, pair.indexOf('='))] = pair.slice(pair.indexOf('=') + 1);
process.argv = [process.execPath, ...argv];
delete require.cache[__filename];
runMain(argv[0]);
