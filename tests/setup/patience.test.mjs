// What the waits of the tests themselves promise: a limit of time that is passed on an idle machine is a failure, and a busy one stretches it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { stretch, timely, waitFor } from '../support/patience.mjs';

test('a time below its limit passes, one that no load explains fails with both times', () => {
  timely(999, 1000);
  assert.throws(() => timely(1_000_000_000, 1000, 'the answer'), /the answer took 1000000000 ms, the limit is 1000 ms, and computations take [\d.]+ times as long now/);
  assert.ok(stretch() >= 1);
});

test('a wait gives what it waited for, and one with a limit fails when that comes too late', async () => {
  let looks = 0;
  assert.equal(await waitFor('the third look', () => ++looks === 3 && 'here', Infinity, 1), 'here');
  await assert.rejects(waitFor('it', async () => (await sleep(300), true), 0.001), /it took \d+ ms/);
});
