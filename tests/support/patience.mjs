// tests/support/patience.mjs: waits and times that hold on a machine that is busy with other things.
import assert from 'node:assert/strict';
import { availableParallelism, loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** A deadline ends a test that hangs, and nothing else. */
const PATIENCE_MS = 60_000;

/**
 * How many times longer than on a processor of its own a computation takes, at least 1: now, by a burst of 60 ms of processor time, or within the last
 * minute, by how many wanted a processor then. What is judged is over, and so may be the load that delayed it.
 */
export function stretch() {
  const BURST_US = 60_000;
  const cpu = process.cpuUsage();
  const began = performance.now();
  for (;;) {
    for (let i = 0; i < 100_000; i++);
    const { user, system } = process.cpuUsage(cpu);
    if (user + system >= BURST_US) return Math.max(1, ((performance.now() - began) * 1000) / (user + system), loadavg()[0] / availableParallelism());
  }
}

/** What took ms had to take less than limitMs; where the machine is busy with other things, as many times more as a computation takes longer there. */
export function timely(ms, limitMs, what = 'it') {
  if (ms < limitMs) return;
  const times = stretch();
  assert.ok(ms < limitMs * times, `${what} took ${Math.round(ms)} ms, the limit is ${limitMs} ms, and computations take ${times.toFixed(1)} times as long now`);
}

/** Probes until it gets something true. Where limitMs is given, it had to come within that time, as timely has it. */
export async function waitFor(what, probe, limitMs = Infinity, everyMs = 25) {
  const began = performance.now();
  const patience = Number.isFinite(limitMs) ? Math.max(PATIENCE_MS, 2 * limitMs) : PATIENCE_MS;
  for (;;) {
    const value = await probe();
    const ms = performance.now() - began;
    if (value) {
      timely(ms, limitMs, what);
      return value;
    }
    if (ms > patience) throw new Error(`not within ${Math.round(ms)} ms: ${what}`);
    await sleep(everyMs);
  }
}
