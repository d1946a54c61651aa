// tests/sandbox/micro-abuse.test.mjs: a guest that was taken over, agent included: whatever it says or does, its run ends with a name, in time, and
// nothing of it is left. Rows A39 and A40 of the abuse list.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { build, timely } from '../support/stack.mjs';

const skip = existsSync('/usr/bin/qemu-system-x86_64') ? false : 'skipped: no qemu (make micro installs it)';
if (skip) console.log(skip);
const EXPECTED = {
  huge: /^engine_failed protocol/, unknown: /^engine_failed protocol/, exit_twice: /^engine_failed protocol/, exit_then_late_output: /^engine_failed protocol/,
  back_unasked: /^engine_failed protocol/, back_gone_unknown: /^engine_failed protocol/, back_half_a_file: /^engine_failed protocol/, back_paths: /^ok/, other_id: /^engine_failed protocol/,
  started_twice: /^engine_failed protocol/, flood: /^engine_failed protocol/, flood_of_ready: /^engine_failed protocol/,
  drip: /^wall_time/, spin: /^(wall|cpu)_time/,
  stands_still: /^engine_failed protocol/, // its first machine; a second one took its place
  panic: /^engine_failed/, reboot: /^engine_failed/, poweroff: /^(engine_failed|wall_time)/, init_ends: /^engine_failed/, triple_fault: /^engine_failed/,
};

const machines = () => readdirSync('/proc').filter((pid) => {
  try {
    return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('qemu-system') && readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes('cds-hostile');
  } catch {
    return false;
  }
});

test('a hostile guest ends with a name, in time, and leaves nothing', { skip, timeout: 1_500_000 }, async (t) => {
  const began = performance.now();
  const { stdout } = await promisify(execFile)(join(build, 'hostile/drive'), Object.keys(EXPECTED), { timeout: 1_400_000 });
  const rows = Object.fromEntries(stdout.trim().split('\n').map((line) => JSON.parse(line)).map((row) => [row.attack, row]));
  for (const [attack, expected] of Object.entries(EXPECTED))
    await t.test(`${attack} is ${expected.source.replace('^', '')}`, () => {
      const row = rows[attack];
      assert.match(`${row.end} ${row.reason.replace(/^[a-z ]*: /, '')}`, expected, JSON.stringify(row));
      if (attack === 'back_paths') {
        assert.equal(row.back.written, 1, 'the one honest path');
        assert.deepEqual(row.back.told.map((t) => t.rule), ['fs.outside_root', 'fs.outside_root', 'fs.name', 'fs.outside_root', 'fs.name', 'fs.name', 'fs.name', 'fs.name']);
      }
      timely(row.wall_ms, 4000, attack, performance.now() - began);
    });
  assert.deepEqual(machines(), []);
});
