// tests/setup/run_tests.test.mjs: the queue of `make test`: what hangs, breaks or is ended leaves nothing behind and is counted.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { waitFor } from '../support/patience.mjs';

const root = resolve(import.meta.dirname, '../..');
let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), 'cds-run-tests-'))));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The queue as a module `r`, with short times, and then these lines. */
const python = (lines) => `import importlib.machinery, importlib.util, signal, sys, threading
loader = importlib.machinery.SourceFileLoader("run_tests", "${root}/tools/run_tests")
r = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_tests", loader))
sys.dont_write_bytecode = True
loader.exec_module(r)
r.GRACE_S = 1
${lines}`;

const pidIn = (file) => Number(readFileSync(join(folder, file), 'utf8'));
/** Alive, and not only a corpse that nobody has collected. */
function lives(pid) {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** A program of two processes: the second one, whose id is in the file, does not end when it is asked to; then what the first one does. */
const stubborn = (file, then) => JSON.stringify(['sh', '-c', `echo 'ok 1 - a'; (trap "" TERM; exec sh -c 'echo $$ >${folder}/${file}; exec sleep 600') & ${then}`]);

test('a_program_that_hangs_is_ended_with_all_that_it_started_and_counts_as_a_failure', async () => {
  const ran = spawnSync('python3', ['-c', python(`import os, time
real = r.subprocess.Popen.wait
def wait(self, timeout=None): # the deadline comes when it runs
    if timeout != 600: return real(self, timeout)
    while not os.path.exists("${folder}/hang") or not os.path.getsize("${folder}/hang"): time.sleep(0.01)
    raise r.subprocess.TimeoutExpired("x", timeout)
r.subprocess.Popen.wait = wait
r.tap("x", ${stubborn('hang', 'sleep 600')}, 600)
print(r.passed, r.failed)`)], { encoding: 'utf8' });
  assert.equal(ran.status, 0, ran.stderr);
  assert.match(ran.stdout, /x ended with its deadline of 600 s after 1 tests/);
  assert.match(ran.stdout, /^1 1$/m);
  await waitFor('what it started is gone', () => !lives(pidIn('hang')));
});

test('what_a_program_leaves_running_is_ended', async () => {
  const ran = spawnSync('python3', ['-c', python(`print(r.run(${stubborn('left', `until [ -s ${folder}/left ]; do sleep 0.01; done`)}, 600)[0])`)], { encoding: 'utf8' });
  assert.equal(ran.stdout.trim(), '0', ran.stderr);
  await waitFor('what it left is gone', () => !lives(pidIn('left')));
});

test('a_job_that_breaks_counts_as_a_failure_and_the_others_run', () => {
  const ran = spawnSync('python3', ['-c', python(`r.run_stage([("k", lambda: 1 / 0), ("k", lambda: r.count("after", 1, 0, 0, "", 0))], 1)
print(r.passed, r.failed)`)], { encoding: 'utf8' });
  assert.match(ran.stdout, /ZeroDivisionError/);
  assert.match(ran.stdout, /^1 1$/m);
});

test('who_ends_the_queue_ends_what_it_runs', async () => {
  const queue = spawn('python3', ['-c', python(`signal.signal(signal.SIGTERM, r.end_all)
r.run_stage([(None, lambda: r.run(${stubborn('ended', 'sleep 600')}, 600))], 1)`)], { stdio: 'ignore' });
  await waitFor('it runs', () => existsSync(join(folder, 'ended')) && pidIn('ended') > 0); // 0: the file is still empty
  const ended = new Promise((done) => queue.once('exit', done));
  queue.kill('SIGTERM');
  assert.equal(await ended, 128 + 15);
  await waitFor('what it ran is gone', () => !lives(pidIn('ended')));
});

test('what_was_left_out_is_told_at_the_end_with_its_reason_also_when_it_is_a_whole_suite', () => {
  const file = join(folder, 'left.test.mjs');
  writeFileSync(file, `import { describe, test } from 'node:test';
describe('a suite', { skip: 'no library (make library)' }, () => { test('a', () => {}); test('b', () => {}); });
test('c', { skip: 'no second server' }, () => {});
test('d', () => {});
test('e', () => { throw new Error('it breaks'); });`);
  const program = (...lines) => JSON.stringify(['printf', '%s\\n', ...lines]);
  const ran = spawnSync('python3', ['-c', python(`from pathlib import Path
r.suite_rules = lambda: [
  (None, lambda: r.node("n", Path("${file}"), 60)),
  (None, lambda: r.tap("t", ${program('ok 1 - a', 'ok 2 - b # SKIP no second server', 'ok 3 - c # SKIP no second server')}, 60)),
  (None, lambda: r.tap("m", ${program('SKIPPED: no headers', 'not ok 1 # SKIP - the_headers', 'ok 2 - d')}, 60))]
sys.argv = ["run_tests", "rules"]
sys.exit(r.main())`)], { encoding: 'utf8', env: { ...process.env, NODE_TEST_CONTEXT: undefined } });
  assert.equal(ran.status, 1, ran.stdout + ran.stderr);
  const told = ran.stdout.slice(ran.stdout.indexOf('left out:')).split('\n');
  assert.ok(told.includes('  no library (make library): n/left.test.mjs (1)'), ran.stdout);
  assert.ok(told.includes('  no second server: n/left.test.mjs (1), t (2)') || told.includes('  no second server: t (2), n/left.test.mjs (1)'), ran.stdout);
  assert.ok(told.includes('  no headers: m (1)'), ran.stdout);
  assert.match(ran.stdout, /^3 passed, 1 failed, 5 skipped$/m);
});
