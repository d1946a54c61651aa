// What the waits of the tests themselves promise: a limit of time that is passed on an idle machine is a failure, and a busy one stretches it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { awayFromTheTurn, stretch, timely, untilCaught, waitFor } from '../support/patience.mjs';

test('a time below its limit passes, one that no load explains fails with both times', () => {
  timely(999, 1000);
  assert.throws(() => timely(1_000_000_000, 1000, 'the answer'), /the answer took 1000000000 ms, the limit is 1000 ms, and computations take [\d.]+ times as long/);
  assert.ok(stretch() >= 1);
});

test('a wait gives what it waited for, and one with a limit fails when that comes too late', async () => {
  let looks = 0;
  assert.equal(await waitFor('the third look', () => ++looks === 3 && 'here', Infinity, 1), 'here');
  await assert.rejects(waitFor('it', async () => (await sleep(300), true), 0.001), /it took \d+ ms/);
});

test('a load that is over by the end of a wait stretches its limit too', async () => {
  const TASKS = 4 * availableParallelism();
  const began = performance.now();
  const busy = Array.from({ length: TASKS }, () => spawn(process.execPath, ['-e', 'for (const end = Date.now() + 1500; Date.now() < end; );'], { stdio: 'ignore' }));
  await Promise.all(busy.map((child) => once(child, 'exit')));
  const ms = performance.now() - began;
  timely(ms, ms / 2);
});

test('an attempt that came too late is made again, and what one throws is thrown', async () => {
  assert.equal(await untilCaught('it', async (i) => i === 2 && 'caught'), 'caught');
  await assert.rejects(untilCaught('it', async () => null, 3), /not caught in 3 attempts: it/);
  await assert.rejects(untilCaught('it', async () => { throw new Error('wrong'); }), /wrong/);
});

test('far from the turn of the hour nothing is waited for', async () => {
  const began = performance.now();
  await awayFromTheTurn(0);
  assert.ok(performance.now() - began < 1000);
});
