// tests/sandbox/micro.test.mjs: microVMs through the gateway on a live studio. Emulated machines are slow on a loaded one: each test has one retry,
// which is counted and printed.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { alive, build, PATIENT, startStack, waitFor } from '../support/stack.mjs';

const QEMU = '/usr/bin/qemu-system-x86_64';
const skip = existsSync(QEMU) ? false : 'skipped: no qemu (make micro installs it)';
if (skip) console.log(skip);
let retries = 0;
/** A test with one retry. */
const vm = (name, fn, ms = 240_000) =>
  test(name, { timeout: 2 * ms + 5000 }, async (t) => {
    const once = () => Promise.race([fn(t), new Promise((_, fail) => setTimeout(() => fail(new Error(`not within ${ms} ms`)), ms).unref())]);
    try {
      await once();
    } catch (error) {
      retries++;
      console.log(`retry ${retries}: ${name}: ${error.message}`);
      await once();
    }
  });

/** Processes of QEMU whose jail belongs to this broker. */
function machinesOf(broker) {
  const children = (pid) => {
    try {
      return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
    } catch {
      return [];
    }
  };
  return children(broker).flatMap(children).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('qemu');
    } catch {
      return false;
    }
  });
}

describe('microVMs through the gateway', { skip }, () => {
  let stack;
  let project;
  before(async () => {
    assert.ok(existsSync(join(build, 'share/micro/root.erofs')), 'the images are missing: run `make micro`');
    stack = await startStack({ llm: false, options: { 'micro.pool': 1 } });
    project = stack.project;
  });
  after(async () => {
    console.log(`microVM tests: ${retries} retries`);
    await stack?.stop();
  });
  const run = (language, code, more = {}) => stack.rpc('run.exec', { project, engine: `micro:${language}`, code, project_access: 'none', limits: PATIENT, ...more });

  vm('the first machine boots and says what held the program', async () => {
    const result = await run('python', 'print(1 + 2)');
    assert.deepEqual([result.end, result.exit_code, result.stdout, result.engine], ['ok', 0, '3\n', 'micro']);
    assert.ok(['qemu-tcg/emulated', 'qemu-kvm/hardware'].includes(`${result.backend}/${result.boundary}`), result.backend);
    assert.ok(['cold', 'snapshot', 'pool'].includes(result.origin));
    assert.ok(result.limits.memory_bytes < 268435456, 'the limit that holds is that of the machine');
  });

  vm('a template is made in the background, and the next machines start from it', async () => {
    const result = await waitFor('a machine from the template', async () => {
      const r = await run('sh', 'echo 3');
      assert.equal(r.stdout, '3\n');
      return r.origin === 'cold' ? null : r;
    }, 100_000, 500);
    assert.ok(['snapshot', 'pool'].includes(result.origin), result.origin);
  });

  vm('node and sh print 3, and an exit code, a signal and standard error come back', async () => {
    assert.equal((await run('node', 'console.log(1 + 2)')).stdout, '3\n');
    const left = await run('node', 'process.on("exit", () => console.log("bye")); process.exitCode = 4');
    assert.deepEqual([left.exit_code, left.stdout], [4, 'bye\n']);
    assert.equal((await run('python', 'import atexit, sys\natexit.register(print, "bye")\nsys.exit(3)')).stdout, 'bye\n');
    const failed = await run('sh', 'echo oops >&2; exit 5');
    assert.deepEqual([failed.end, failed.exit_code, failed.stderr], ['exit', 5, 'oops\n']);
    const killed = await run('sh', 'kill -9 $$');
    assert.deepEqual([killed.end, killed.signal], ['signal', 9]);
    const error = await run('python', 'def f():\n    raise ValueError("no")\nf()\n');
    assert.match(error.stderr, /^Traceback[^]*File "\/tmp\/main.py", line 3, in <module>[^]*ValueError: no\n$/);
    assert.ok(!error.stderr.includes('prestart'), 'lines of ours are not shown');
  });

  vm('input, arguments, variables and files reach the program', async () => {
    const params = { stdin: 'in\n', argv: ['a b', '$x'], env: [{ name: 'COLOUR', value: 'blue' }], files: [{ path: 'd/extra.txt', content: 'along' }] };
    const python = 'import os, sys\nprint(input(), sys.argv[1:], os.environ["COLOUR"], open("/tmp/d/extra.txt").read(), os.getcwd(), __name__)';
    assert.equal((await run('python', python, params)).stdout, "in ['a b', '$x'] blue along /work __main__\n");
    const node = 'import { readFileSync } from "fs"; console.log(readFileSync(0, "utf8").trim(), process.argv.slice(2), process.env.COLOUR, readFileSync("/tmp/d/extra.txt", "utf8"))';
    assert.equal((await run('node', node, params)).stdout, "in [ 'a b', '$x' ] blue along\n");
    assert.equal((await run('sh', 'read x; echo "$x|$1|$2|$COLOUR|$(cat d/extra.txt 2>/dev/null)|$(pwd)"', params)).stdout, 'in|a b|$x|blue||/work\n');
  });

  vm('a program of the project runs on a copy of it', async () => {
    const folder = join(stack.home, 'projects', project, 'lib');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'three.py'), 'def three():\n    return 3\n');
    await stack.rpc('fs.write', { project, path: 'use.py', content: 'from lib.three import three\nopen("/work/new.txt", "w").write("x")\nprint(three())\n' });
    const result = await stack.rpc('run.exec', { project, engine: 'micro:python', path: 'use.py' });
    assert.equal(result.stdout, '3\n', result.stderr);
    assert.equal(readFileSync(join(stack.home, 'projects', project, 'new.txt'), 'utf8'), 'x', 'what it writes comes back; more in micro-back.test.mjs');
    assert.equal(result.project_back.written, 1);
  });

  vm('wall clock, CPU time, memory and output are limits with names', async () => {
    assert.equal((await run('python', 'import time\ntime.sleep(60)', { limits: { wall_ms: 500 } })).end, 'wall_time');
    assert.equal((await run('sh', 'while :; do :; done', { limits: { cpu_ms: 500 } })).end, 'cpu_time');
    const memory = await run('python', 'x = []\nwhile True: x.append(bytearray(1 << 20))', { limits: { memory_bytes: 64 << 20 } });
    assert.equal(memory.end, 'memory');
    const flood = await run('sh', 'head -c 3000000 /dev/zero | tr "\\0" x');
    assert.deepEqual([flood.end, flood.stdout.length, flood.dropped_bytes], ['ok', 1048576, 3000000 - 1048576]);
  });

  vm('there is no network, no host and no other user inside', async () => {
    const code = [
      'import os, socket',
      'for family, address in ((socket.AF_INET, ("1.1.1.1", 80)), (socket.AF_INET, ("127.0.0.1", 80)), (socket.AF_VSOCK, (2, 1))):',
      '    try:',
      '        s = socket.socket(family, socket.SOCK_STREAM); s.settimeout(2); s.connect(address); print("REACHED", address)',
      '    except OSError as e: print("no", e.errno)',
      'print(os.getuid(), os.path.exists("/etc/shadow") and open("/etc/shadow").read(), sorted(os.listdir("/work")))',
      'print([p for p in os.listdir("/proc") if p.isdigit() and p not in (str(os.getpid()),)])',
    ].join('\n');
    const { stdout } = await run('python', code);
    assert.ok(!stdout.includes('REACHED'), stdout);
    assert.match(stdout, /^1000 False \[\]$/m);
    for (const attempt of ['mount -t tmpfs x /mnt', 'echo 1 > /proc/sysrq-trigger', 'kill -9 1 && sleep 1 && false', 'touch /usr/x', 'dd if=/dev/vda of=/dev/null count=1'])
      assert.notEqual((await run('sh', attempt)).exit_code, 0, attempt);
  });

  vm('two machines from one template share no random value, and their clock is right', async () => {
    const python = 'import os, uuid, random, time, ssl\nprint(os.urandom(8).hex(), uuid.uuid4(), random.random(), ssl.RAND_bytes(8).hex(), open("/proc/sys/kernel/random/boot_id").read().strip())\nprint(time.time_ns())';
    const node = 'import { randomBytes, randomUUID } from "crypto"; console.log(randomBytes(8).toString("hex"), randomUUID(), Math.random()); console.log(String(BigInt(Date.now()) * 1000000n))';
    for (const [language, code] of [['python', python], ['node', node]]) {
      const seen = new Set();
      let count = 0;
      for (let i = 0; i < 3; i++) {
        const began = Date.now();
        const result = await run(language, code);
        const [values, clock] = result.stdout.trim().split('\n');
        values.split(' ').forEach((value) => seen.add(value));
        count += values.split(' ').length;
        const at = Number(BigInt(clock) / 1_000_000n);
        assert.ok(at >= began - 5 && at <= Date.now() + 5, `the clock of the machine is off: ${at - began} ms after the call, which took ${Date.now() - began}`);
        assert.equal(result.end, 'ok', result.stderr);
      }
      assert.equal(seen.size, count, `${language}: a random value came twice`);
    }
  });

  vm('a warm machine of the pool serves a language that was used', async () => {
    const result = await waitFor('a machine of the pool', async () => {
      const r = await run('python', 'print(1 + 2)');
      assert.equal(r.stdout, '3\n');
      return r.origin === 'pool' ? r : null;
    }, 60_000, 2500);
    const after = await run('python', 'print(1 + 2)'); // drained: the template serves
    assert.equal(after.stdout, '3\n');
    assert.equal(result.end, 'ok');
  });

  vm('a client that goes away takes its machine with it', async () => {
    const { sandboxd } = await stack.pids();
    const socket = new WebSocket(stack.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${stack.tokens.developer}`], { origin: stack.url });
    await new Promise((done, fail) => socket.on('open', done).on('error', fail));
    const messages = [];
    socket.on('message', (data) => messages.push(JSON.parse(data)));
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'run.exec', params: { project, engine: 'micro:sh', code: 'echo up; sleep 1000', project_access: 'none', limits: { wall_ms: 60000 } } }));
    await waitFor('output', () => messages.some((m) => m.method === 'run.output'));
    const before = machinesOf(sandboxd);
    assert.ok(before.length >= 1);
    socket.close();
    await waitFor('a machine is gone', () => before.some((pid) => !alive(pid)));
    assert.equal((await run('sh', 'echo next')).stdout, 'next\n');
  });

  vm('kill -9 of the broker in mid-run leaves no machine', async () => {
    const { sandboxd } = await stack.pids();
    const answer = stack.rpcRaw({ jsonrpc: '2.0', id: 1, method: 'run.exec', params: { project, engine: 'micro:sh', code: 'sleep 100', project_access: 'none' } });
    await waitFor('a machine', () => machinesOf(sandboxd).length > 0);
    const machines = machinesOf(sandboxd);
    process.kill(sandboxd, 'SIGKILL');
    assert.equal((await answer).status, 503);
    await waitFor('no machine is left', () => machines.every((pid) => !alive(pid)));
    await stack.waitPart('sandboxd', sandboxd);
    const next = await waitFor('the next run', () => run('sh', 'echo back').catch(() => null));
    assert.equal(next.stdout, 'back\n');
  });

  test('probe has a row for each tier, with a reason and a remedy where it does not work', { timeout: 90_000 }, async () => {
    const { engines } = await stack.rpc('sandbox.probe', {}, 'viewer');
    const tiers = engines.filter((e) => e.name === 'micro');
    assert.deepEqual(tiers.map((t) => t.backend), ['msb-kvm', 'qemu-kvm', 'qemu-tcg']);
    assert.ok(tiers.every((t) => t.works || (t.reason.length > 10 && t.remedy.length > 10)), JSON.stringify(tiers));
    assert.ok(tiers.some((t) => t.works));
    assert.ok(readdirSync(join(stack.home, 'run')).includes('micro-tiers.json'), 'what was found is remembered');
    console.log(tiers.map((t) => `${t.backend}: ${t.works ? 'works' : t.reason}`).join('\n'));
    console.log('NOT SHOWN on a host without virtualisation: a run on KVM, a run by msb');
  });
});

describe('microVMs that cannot be', { skip }, () => {
  for (const [what, options, rule] of [
    ['QEMU is missing', { 'micro.qemu': '/nowhere/qemu' }, 'micro.no_backend'],
    ['the image is missing', { 'micro.image': '/nowhere/own.erofs' }, 'micro.image'],
    ['the image is something else', { 'micro.image': '/etc/passwd' }, 'micro.image'],
  ]) {
    test(`${what}: the run is refused with its rule, and nothing weaker is taken unless asked for`, { timeout: 120_000 }, async () => {
      const stack = await startStack({ llm: false, options });
      try {
        const params = { project: stack.project, engine: 'micro:sh', code: 'echo 3' };
        const refused = await stack.rpc('run.exec', params);
        assert.deepEqual([refused.end, refused.rule, refused.backend], ['refused', rule, 'none']);
        assert.ok(refused.reason.length > 10);
        const fallen = await stack.rpc('run.exec', { ...params, fallback: 'run' });
        assert.deepEqual([fallen.end, fallen.engine, fallen.boundary], ['ok', 'run', 'process']);
        assert.ok(fallen.fallback_reason.length > 10);
        const { engines } = await stack.rpc('sandbox.probe', {}, 'viewer');
        assert.ok(engines.filter((e) => e.name === 'micro').every((e) => !e.works && e.reason && e.remedy));
      } finally {
        await stack.stop();
      }
    });
  }

  test('a machine that does not come up after the run was taken: engine_failed with its step, or the process sandbox where the caller allows it', { timeout: 120_000 }, async () => {
    const stack = await startStack({ llm: false, options: { 'micro.qemu': '/usr/bin/true' } });
    try {
      const params = { project: stack.project, engine: 'micro:sh', code: 'echo 3 > made.txt; cat made.txt' };
      const failed = await stack.rpc('run.exec', params);
      assert.deepEqual([failed.end, failed.engine, failed.backend, failed.stdout], ['engine_failed', 'micro', 'qemu-tcg', '']);
      assert.match(failed.reason, /^start of the machine: /);
      assert.match(failed.project_back.reason, /nothing/);
      const fallen = await stack.rpc('run.exec', { ...params, fallback: 'run' });
      assert.deepEqual([fallen.end, fallen.engine, fallen.boundary, fallen.stdout], ['ok', 'run', 'process', '3\n']);
      assert.match(fallen.fallback_reason, /^start of the machine: /);
      assert.equal(fallen.project_back, undefined, 'the process sandbox works in the project itself');
      const { engines } = await stack.rpc('sandbox.probe', {}, 'viewer');
      assert.ok(engines.filter((e) => e.name === 'micro').every((e) => !e.works));
      const known = await stack.rpc('run.exec', { ...params, fallback: 'run' });
      assert.deepEqual([known.end, known.engine, /micro|machine/.test(known.fallback_reason)], ['ok', 'run', true]);
    } finally {
      await stack.stop();
    }
  });
});
