// tests/sandbox/micro-storm.test.mjs: many machines from one template: no random value may come twice, no clock may be off. 30 in the suite,
// 10,000 with `make storm-micro` (hours under emulation). Row A38 of the abuse list, gate G19. Of the storm: CDS_STORM machines; CDS_STORM_FILE keeps each
// value, so that a second call goes on where the first one ended; CDS_STORM_S seconds are the most one call takes.
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { startStack } from '../support/stack.mjs';

const COUNT = Number(process.env.CDS_STORM ?? 30);
const SECONDS = Number(process.env.CDS_STORM_S ?? Infinity);
const FILE = process.env.CDS_STORM_FILE;
const EVERY = 50; // machines between two lines of progress
const skip = existsSync('/usr/bin/qemu-system-x86_64') ? false : 'skipped: no qemu (make micro installs it)';
if (skip) console.log(skip);
const PROGRAMS = {
  sh: 'cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id; od -An -N16 -tx8 /dev/urandom; date +%s%N',
  // Nothing but the shell: what a night is made of. Without a clock.
  bare: 'read uuid < /proc/sys/kernel/random/uuid; read boot < /proc/sys/kernel/random/boot_id; echo "$uuid $boot -"',
  python: 'import os, time, uuid, random, secrets\nprint(os.urandom(16).hex(), uuid.uuid4(), random.getrandbits(64), secrets.token_hex(8))\nprint(time.time_ns())',
  node: 'import { randomBytes, randomUUID } from "crypto"; console.log(randomBytes(16).toString("hex"), randomUUID(), Math.random()); console.log(String(BigInt(Date.now()) * 1000000n))',
};

// A storm is of bare shells in nine of ten.
const kindOf = (i) => (COUNT > 100 && i >= 0 && i % 10 ? 'bare' : ['sh', 'python', 'sh', 'node'][(COUNT > 100 ? i / 10 : i) % 4]);

test(`${COUNT} restores repeat no random value and have the right time`, { skip, timeout: 120_000 + Math.min(COUNT * 5000, 2 ** 31 - 200_000) }, async () => {
  const stack = await startStack({ llm: false, options: { 'micro.pool': 0 } });
  const seen = new Map();
  const origins = {};
  let worst = 0;
  let retries = 0;
  let first = 0;
  // A line of the file is a machine: its number and its values.
  for (const line of FILE && existsSync(FILE) ? readFileSync(FILE, 'utf8').split('\n').slice(0, -1) : []) {
    const [i, ...words] = line.split(' ');
    for (const word of words) {
      assert.ok(!seen.has(word), `${word} came in run ${seen.get(word)} and again in run ${i}`);
      seen.set(word, i);
    }
    first++;
  }
  const once = async (i) => {
    const kind = kindOf(i) ?? 'sh';
    const language = kind === 'bare' ? 'sh' : kind;
    const began = Date.now();
    const result = await stack.rpc('run.exec', { project: stack.project, engine: `micro:${language}`, code: PROGRAMS[kind], project_access: 'none' });
    const ended = Date.now();
    assert.equal(result.end, 'ok', `${result.end} ${result.reason ?? ''} ${result.stderr}`);
    origins[result.origin] = (origins[result.origin] ?? 0) + 1;
    const words = result.stdout.trim().split(/\s+/);
    const clock = words.pop();
    if (clock !== '-') worst = Math.max(worst, began - Number(BigInt(clock) / 1_000_000n), Number(BigInt(clock) / 1_000_000n) - ended);
    for (const word of words) {
      assert.ok(!seen.has(word), `${word} came in run ${seen.get(word)} and again in run ${i} (${kind})`);
      seen.set(word, i);
    }
    if (FILE && i >= 0) appendFileSync(FILE, `${i} ${words.join(' ')}\n`);
  };
  try {
    // The first boots; the template is made when nothing runs.
    for (let i = -1; !origins.snapshot && i > -60; i--) {
      await once(i * 4);
      if (!origins.snapshot) await new Promise((done) => setTimeout(done, 1000));
    }
    let next = first;
    const began = performance.now();
    const worker = async () => {
      for (let i = next++; i < COUNT && performance.now() - began < SECONDS * 1000; i = next++) {
        if (i > first && i % EVERY === 0) {
          const each = (performance.now() - began) / (i - first);
          console.log(`${i} of ${COUNT} machines, ${each.toFixed(0)} ms each, ${(((COUNT - i) * each) / 60_000).toFixed(0)} minutes left`);
        }
        await once(i).catch((error) => {
          if (/came in run/.test(error.message)) throw error;
          retries++;
          console.log(`retry ${retries}: ${error.message}`);
          return once(i);
        });
      }
    };
    await Promise.all([worker(), worker()]);
    const machines = Math.max(0, Math.min(next - 2, COUNT) - first);
    console.log(`gate G19 0 n=${first + machines} p95=0: no value came twice; ${((performance.now() - began) / Math.max(1, machines)).toFixed(0)} ms for each machine, two at once`);
    assert.ok(worst <= 5, `a clock was ${worst} ms outside of its call`);
    assert.ok(retries <= Math.max(1, COUNT / 50), `${retries} retries`);
  } finally {
    console.log(`${seen.size} values of ${JSON.stringify(origins)} machines, ${retries} retries`);
    await stack.stop();
  }
});
