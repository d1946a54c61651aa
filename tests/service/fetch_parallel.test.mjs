// Parts of a split model come several at a time (cds-fetch pull --parallel), against a hub of the test's own.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { build, waitFor } from '../support/stack.mjs';
import { gguf, sha256, splitKeys, startHub } from '../support/modelhub.mjs';

const PROGRAM = join(build, 'bin/cds-fetch');
const PARTS = 5, PIECE = 8 << 20;
const name = (i) => `big-Q8_0-0000${i + 1}-of-0000${PARTS}.gguf`;
const SOURCE = 'hf:owner/repo:q8_0';
const NEVER_MS = 3_600_000; // a hub that is slow because its machine is does not stall
const files = {}; // 5 parts of 24 MB: three whole pieces of 8 MiB each, less in the last
const opened = [];
let dir, hub;

before(() => {
  for (let i = 0; i < PARTS; i++) files[name(i)] = gguf({ tensors: [[`blk.${i}.w`, [1024, 6000]]], extra: splitKeys(i, PARTS), seed: i + 5 });
});
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'cds-parallel-'));
  opened.push(dir);
  await hub?.stop();
  hub = await startHub({ 'owner/repo': files });
});
after(async () => {
  await hub?.stop();
  opened.forEach((d) => rmSync(d, { recursive: true, force: true }));
});

function start(options = {}) {
  const all = { source: SOURCE, dir, hub: hub.url, reserve: 0, 'stall-ms': NEVER_MS, 'backoff-ms': 20, ...options };
  const child = spawn(PROGRAM, ['pull', ...Object.entries(all).map(([k, v]) => `--${k}=${v}`)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const got = { child, text: '' };
  child.stdout.setEncoding('utf8').on('data', (t) => (got.text += t));
  got.ended = once(child, 'close').then(([code, signal]) => {
    const lines = got.text.split('\n').filter(Boolean).map((l) => JSON.parse(l));
    return { code, signal, lines, end: lines.at(-1), text: got.text };
  });
  return got;
}
const behave = (how) => (hub.behave = Object.fromEntries(Object.keys(files).map((n) => [n, { ...how }])));
const whole = () => {
  for (const [n, bytes] of Object.entries(files)) assert.equal(sha256(readFileSync(join(dir, n))), sha256(bytes), n);
};
/** Verified pieces of each part that is not whole. */
const pieces = () => Object.keys(files).map((n) => {
  const path = join(dir, `${n}.journal`);
  return existsSync(path) ? Math.max(0, readFileSync(path, 'utf8').split('\n').length - 2) : 0;
});
/** First bytes asked for, by part. */
const firsts = () => Object.fromEntries(hub.requests.filter((r) => r.path.includes('/resolve/')).map((r) => [r.path.split('/').at(-1), r]).reverse().map(([n, r]) => [n, Number(/bytes=(\d+)/.exec(r.range)[1])]));

describe('parts of a split model', () => {
  test('come_three_at_a_time_with_one_progress_and_all_become_whole', { timeout: 300_000 }, async () => {
    behave({ from: 1, slow: 400_000, gather: 3 });
    const got = await start().ended;
    assert.equal(got.code, 0, got.text);
    whole();
    assert.equal(hub.mostOpen, 3, 'the default is three');
    const bulk = got.lines.filter((l) => l.state === 'downloading');
    const total = Object.values(files).reduce((a, b) => a + b.length, 0);
    assert.ok(bulk.length > 3 && bulk.every((l) => l.total === total && l.parts === PARTS && l.received <= total && l.part >= 1 && l.part <= PARTS));
    for (let i = 1; i < bulk.length; i++) assert.ok(bulk[i].received >= bulk[i - 1].received && bulk[i].part >= bulk[i - 1].part, got.text);
    assert.equal(got.end.facts.parameters, PARTS * 1024 * 6000);
    assert.deepEqual(got.end.files, Object.keys(files));
  });
  test('come_as_many_at_a_time_as_the_setting_says', { timeout: 300_000 }, async () => {
    for (const [parallel, most] of [[1, 1], [8, PARTS]]) {
      rmSync(dir, { recursive: true });
      hub.mostOpen = 0;
      behave({ from: 1, slow: 2_000_000, gather: most });
      assert.equal((await start({ parallel }).ended).code, 0);
      whole();
      assert.equal(hub.mostOpen, most);
    }
    assert.equal((await start({ parallel: 0 }).ended).code, 2);
    assert.equal((await start({ parallel: 9 }).ended).code, 2);
  });
  test('killed_in_mid_part_go_on_with_the_verified_pieces_of_each', { timeout: 300_000 }, async () => {
    for (let round = 0; round < 2; round++) {
      behave({ from: 1, hold: 20_000_000 });
      hub.requests.length = 0;
      const first = start();
      await waitFor('three parts are in their middle', () => pieces().filter((n) => n >= 2).length >= 3 && hub.requests.filter((r) => /^bytes=[1-9]/.test(r.range)).length >= 3);
      first.child.kill('SIGKILL');
      await first.ended;
    }
    const had = pieces();
    assert.ok(had.filter((n) => n >= 2).length >= 3, `${had}`);
    assert.ok(!Object.keys(files).some((n) => existsSync(join(dir, n))), 'no half file has the name');
    hub.behave = {};
    hub.requests.length = 0;
    const got = await start().ended;
    assert.equal(got.code, 0, got.text);
    whole();
    const from = firsts();
    Object.keys(files).forEach((n, i) => assert.ok(from[n] === undefined ? had[i] === 3 : from[n] === had[i] * PIECE, `${n}: ${from[n]}, had ${had[i]}`));
  });
  test('of_which_one_fails_end_together_and_keep_their_pieces', { timeout: 300_000 }, async () => {
    behave({ from: 1, hold: 12_000_000 }); // who waits for their end waits for ever
    hub.behave[name(1)] = { from: 1, dropAfter: 9_000_000, times: 1, after: () => (hub.behave[name(1)] = { status: 404 }) };
    const got = await start().ended;
    assert.equal(got.code, 1, got.text);
    assert.equal(got.end.code, 'not_found', 'the first failure is the one that is told');
    assert.deepEqual(pieces(), [1, 2, 1, 1, 1]);
    assert.equal(readdirSync(dir).filter((f) => f.endsWith('.gguf')).length, 0);
    hub.behave = {};
    hub.requests.length = 0;
    assert.equal((await start().ended).code, 0);
    whole();
    assert.deepEqual(Object.values(firsts()).sort((a, b) => a - b), [1, 1, 1, 1, 2].map((n) => n * PIECE));
  });
  test('of_which_one_hangs_do_not_wait_for_it_when_another_fails', { timeout: 300_000 }, async () => {
    hub.behave = { [name(0)]: { from: 1, stall: true }, [name(1)]: { from: 1, status: 404 } };
    const got = await start().ended;
    assert.equal(got.end.code, 'not_found', got.text);
  });
  test('whose_bytes_are_wrong_leave_nothing_of_any_part', { timeout: 300_000 }, async () => {
    hub.behave[name(3)] = { corrupt: 20_000_000 };
    const got = await start().ended;
    assert.equal(got.code, 1);
    assert.equal(got.end.rule, 'llm.sha256');
    assert.deepEqual(readdirSync(dir), []);
  });
  test('that_lost_their_process_while_they_got_their_names_are_finished_by_the_next_download_without_a_byte', { timeout: 300_000 }, async () => {
    mkdirSync(join(dir, `${name(1)}.origin`)); // the record of the second cannot be written: those behind it have their names by then
    const first = await start().ended;
    assert.equal(first.code, 1, first.text);
    assert.deepEqual([0, 1, 2, 3, 4].filter((i) => existsSync(join(dir, name(i)))), [2, 3, 4]);
    rmSync(join(dir, `${name(1)}.origin`), { recursive: true });
    writeFileSync(join(dir, `${name(4)}.journal`), ''); // and one that ended just behind a renaming leaves this
    hub.requests.length = 0;
    const got = await start().ended;
    assert.equal(got.code, 0, got.text);
    whole();
    assert.equal(got.end.end, 'done');
    assert.deepEqual(got.end.files, Object.keys(files));
    assert.equal(got.end.facts.parameters, PARTS * 1024 * 6000, 'the gate has seen all of them');
    assert.equal(hub.requests.filter((r) => r.path.includes('/resolve/')).length, 0);
    assert.deepEqual(readdirSync(dir).sort(), Object.keys(files).flatMap((n) => [n, `${n}.origin`]).sort(), 'nothing else is left');
    assert.equal((await start().ended).end.end, 'present');
  });
  test('of_which_one_is_missing_are_completed_and_one_that_was_changed_is_said', { timeout: 300_000 }, async () => {
    assert.equal((await start().ended).code, 0);
    rmSync(join(dir, name(2)));
    const path = join(dir, name(3)), bytes = readFileSync(path);
    bytes[bytes.length - 5] ^= 1;
    writeFileSync(path, bytes);
    const got = await start().ended;
    assert.equal(got.code, 1);
    assert.equal(got.end.code, 'conflict', got.text);
    assert.match(got.end.message, /00004-of-00005.* is not as it was downloaded/);
    assert.match(got.end.hint, /Remove it/);
    assert.ok(existsSync(path), 'what is there is never removed');
    rmSync(path);
    assert.equal((await start().ended).code, 0);
    whole();
  });
  test('take_the_memory_of_those_that_come_only', { timeout: 300_000 }, async () => {
    behave({ from: 1, hold: 20_000_000 });
    const one = start({ parallel: 2 });
    let most = 0;
    while (one.child.exitCode === null && pieces().filter((n) => n >= 2).length < 2) {
      const status = readFileSync(`/proc/${one.child.pid}/status`, 'utf8');
      most = Math.max(most, Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0));
      await sleep(20);
    }
    one.child.kill('SIGKILL');
    await one.ended;
    assert.ok(most > 0 && most < 32_000, `two pieces of 8 MiB and what the program needs, not five: ${most} KiB`);
  });
  test('are_refused_when_the_disk_has_no_room_for_all_of_them', async () => {
    const got = await start({ reserve: 1e15 }).ended;
    assert.equal(got.end.code, 'exhausted');
    assert.equal(hub.requests.filter((r) => r.path.includes('/resolve/')).length, 0);
  });
});
