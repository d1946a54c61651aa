// tests/support/patience.mjs: waits and times that hold on a machine that is busy with other things.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** A deadline ends a test that hangs, and nothing else. */
const PATIENCE_MS = 120_000;

/** What wanted to run or waited for a disk, beside this process: [when, how many tasks], of the last minutes. A load that is over is not there any more when it is asked for. */
const crowd = [];
const LOOK_MS = 100;
const KEPT = 3000;
setInterval(() => {
  try {
    const stat = readFileSync('/proc/stat', 'utf8');
    const [running, blocked] = [/^procs_running (\d+)/m, /^procs_blocked (\d+)/m].map((line) => Number(line.exec(stat)?.[1] ?? 0));
    if (crowd.push([performance.now(), Math.max(0, running - 1) + blocked]) > KEPT) crowd.shift();
  } catch {
    /* nobody tells it here */
  }
}, LOOK_MS).unref();

/** How many of them there were for each processor in the last ms, on average. */
function crowded(ms) {
  const began = performance.now() - ms - LOOK_MS;
  const seen = crowd.filter(([at]) => at >= began);
  return seen.length ? seen.reduce((sum, [, tasks]) => sum + tasks, 0) / seen.length / availableParallelism() : 1;
}

/**
 * How many times longer than on a processor of its own a computation takes, at least 1: now, by a burst of 60 ms of processor time, or within the last ms,
 * by how many wanted a processor then. What is judged is over, and so may be the load that delayed it.
 */
export function stretch(ms = 0) {
  const BURST_US = 60_000;
  const cpu = process.cpuUsage();
  const began = performance.now();
  for (;;) {
    for (let i = 0; i < 100_000; i++);
    const { user, system } = process.cpuUsage(cpu);
    if (user + system >= BURST_US) return Math.max(1, ((performance.now() - began) * 1000) / (user + system), crowded(ms));
  }
}

/**
 * What took ms had to take less than limitMs; where the machine is busy with other things, as many times more as a computation takes longer there.
 * @param sinceMs  how long ago it began, where it is judged later than at its end
 */
export function timely(ms, limitMs, what = 'it', sinceMs = ms) {
  if (ms < limitMs) return;
  const times = stretch(sinceMs);
  assert.ok(ms < limitMs * times, `${what} took ${Math.round(ms)} ms, the limit is ${limitMs} ms, and computations take ${times.toFixed(1)} times as long`);
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

/**
 * Brings about a moment that lasts only so long, and asks what holds in it: attempt() gives something false when it came too late for that, and is made
 * again; what it throws is thrown.
 */
export async function untilCaught(what, attempt, tries = 10) {
  for (let i = 0; i < tries; i++) {
    const value = await attempt(i);
    if (value) return value;
  }
  throw new Error(`not caught in ${tries} attempts: ${what}`);
}

/** Waits until the next full hour of the clock is so far away: what counts by the hour, the day or the month counts in one of them until then. */
export async function awayFromTheTurn(ms = 60_000) {
  const HOUR_MS = 3_600_000;
  const left = HOUR_MS - (Date.now() % HOUR_MS);
  if (left < ms) await sleep(left + 1000);
}
