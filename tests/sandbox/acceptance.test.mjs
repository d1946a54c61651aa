// tests/sandbox/acceptance.test.mjs: files and runs through the gateway on a live studio: what the product promises, and what it must refuse.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { alive, startStack, timely, waitFor } from '../support/stack.mjs';

describe('the sandbox through the gateway', () => {
  let stack;
  let project;
  before(async () => {
    stack = await startStack({ llm: false });
    project = stack.project;
  });
  after(() => stack?.stop());

  const refused = async (method, params, as = 'developer') => {
    const answer = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method, params }, as);
    return { status: answer.status, rule: answer.json.error?.data.rule, error: answer.json.error };
  };
  const run = (params, as) => stack.rpc('run.exec', { project, ...params }, as);

  test('fs.write is 200 and the file is there', async () => {
    const answer = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method: 'fs.write', params: { project, path: 'there.txt', content: 'written' } });
    assert.equal(answer.status, 200);
    assert.equal(readFileSync(join(stack.home, 'projects', project, 'there.txt'), 'utf8'), 'written');
    assert.equal((await stack.rpc('fs.read', { project, path: 'there.txt' }, 'developer')).content, 'written');
  });

  test('run.exec python is exit code 0 and stdout OK', async () => {
    const result = await run({ language: 'python', code: "print('OK')" });
    assert.deepEqual([result.end, result.exit_code, result.stdout], ['ok', 0, 'OK\n']);
    assert.deepEqual([result.engine, result.backend, result.boundary], ['run', 'jail', 'process']);
  });

  test('bytes that are no text come over HTTP as replacement characters, NUL included', async () => {
    const result = await run({ language: 'sh', code: "printf 'a\\0b\\377c'" });
    assert.deepEqual([result.stdout, result.stdout_bytes], ['a\ufffdb\ufffdc', 5]);
  });

  test('a failing exit, a timeout and a memory limit are told apart', async () => {
    assert.equal((await run({ language: 'sh', code: 'exit 3' })).end, 'exit');
    assert.equal((await run({ language: 'sh', code: 'sleep 9', limits: { wall_ms: 300 } })).end, 'wall_time');
    assert.equal((await run({ language: 'python', code: 'while True: pass', limits: { cpu_ms: 200 } })).end, 'cpu_time');
    const big = await run({ language: 'python', code: "x = bytearray(400 << 20)\nprint('had it')", limits: { memory_bytes: 64 << 20 } });
    assert.ok(['memory', 'exit'].includes(big.end), big.end);
    assert.equal(big.stdout, '');
  });

  test('a wall clock below the CPU time and an engine that is not there are refused with their place', async () => {
    const wrong = await refused('run.exec', { project, language: 'sh', code: 'true', limits: { wall_ms: 1000, cpu_ms: 2000 } });
    assert.deepEqual([wrong.status, wrong.error.data.errors[0].pointer], [400, '/params/limits/wall_ms']);
    const engine = await refused('run.exec', { project, engine: 'jail', language: 'sh', code: 'true' });
    assert.deepEqual([engine.status, engine.error.data.errors[0].pointer], [400, '/params/engine']);
  });

  test('changes that are asked for at once happen in their order, writes in batches included', async () => {
    const socket = new WebSocket(stack.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${stack.tokens.developer}`], { origin: stack.url });
    await new Promise((done, fail) => socket.on('open', done).on('error', fail));
    const answers = new Map();
    socket.on('message', (data) => answers.set(JSON.parse(data).id, JSON.parse(data)));
    const calls = [];
    for (let i = 0; i < 20; i++) calls.push(['fs.write', { path: 'order.txt', content: `${i}` }], ['fs.write', { path: `many${i}.txt`, content: 'x' }]);
    calls.push(['fs.rename', { from: 'order.txt', to: 'moved.txt' }], ['fs.write', { path: 'order.txt', content: 'new', if_version: '' }]);
    calls.push(['fs.delete', { path: 'moved.txt' }], ['fs.create', { path: 'moved.txt', type: 'dir' }], ['fs.write', { path: 'moved.txt/in', content: 'y' }]);
    calls.forEach(([method, params], id) => socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params: { project, ...params } })));
    await waitFor('all answers', () => answers.size === calls.length);
    socket.close();
    for (const [id, answer] of answers) assert.ok(answer.result, `${calls[id][0]} ${JSON.stringify(answer.error)}`);
    assert.equal((await stack.rpc('fs.read', { project, path: 'order.txt' }, 'developer')).content, 'new');
    assert.equal((await stack.rpc('fs.read', { project, path: 'moved.txt/in' }, 'developer')).content, 'y');
  });

  test('a link that a run planted is not followed', async () => {
    await run({ language: 'sh', code: 'ln -s /etc/passwd /work/planted; ln -s / /work/root; ln -s .. /work/up' });
    for (const path of ['planted', 'root/etc/passwd', 'up/x']) {
      for (const [method, more] of [['fs.read', {}], ['fs.write', { content: 'x' }], ['fs.stat', {}]]) {
        const answer = await refused(method, { project, path, ...more });
        assert.deepEqual([answer.status, answer.rule], [403, 'fs.symlink'], `${method} ${path}`);
      }
    }
    const answer = await refused('fs.write', { project, path: 'big', content: 'a'.repeat(524289) });
    assert.deepEqual([answer.status, answer.rule], [403, 'fs.too_big']);
  });

  test('a run that fills the project ends with disk, whether it hides what it wrote or not, and the studio can clear it away', async () => {
    for (const hide of ['', "os.chmod('/work/full', 0)"]) {
      const result = await run({
        language: 'python',
        code: `import os, time\nos.makedirs('/work/full/in')\nos.chdir('/work/full/in')\n${hide}\nfor i in range(5):\n  fd = os.open(str(i), os.O_CREAT | os.O_WRONLY)\n  os.posix_fallocate(fd, 0, 100 << 20)\ntime.sleep(20)\nprint('not stopped')`,
      });
      assert.deepEqual([result.end, result.stdout], ['disk', ''], JSON.stringify(result));
      const full = await refused('fs.write', { project, path: 'one-more.txt', content: 'x' });
      assert.deepEqual([full.status, full.rule], [403, 'fs.quota']);
      await stack.rpc('fs.delete', { project, path: 'full', recursive: true }, 'developer');
      await stack.rpc('fs.write', { project, path: 'one-more.txt', content: 'x' }, 'developer');
    }
  });

  test('a run that is refused tasks and fails for it ends with tasks where that is known', async () => {
    const result = await run({ language: 'python', code: "import os, time\nfor i in range(5000):\n  if os.fork() == 0:\n    time.sleep(30)\n    os._exit(0)" });
    assert.ok(result.end === 'tasks' || (result.end === 'exit' && result.limits.enforced_by === 'rlimit'), result.end);
  });

  test('a foreign project is not found by any method, and a viewer may not change anything', async () => {
    for (const [method, more] of [
      ['fs.list', { path: '' }], ['fs.read', { path: 'main.py' }], ['fs.stat', { path: 'main.py' }], ['fs.write', { path: 'x', content: '' }],
      ['fs.create', { path: 'x', type: 'file' }], ['fs.rename', { from: 'main.py', to: 'y' }], ['fs.delete', { path: 'main.py' }],
      ['run.exec', { language: 'sh', code: 'ls' }],
    ]) {
      assert.equal((await refused(method, { project, ...more }, 'admin')).status, 404, method);
    }
    assert.equal((await refused('fs.write', { project, path: 'x', content: '' }, 'viewer')).status, 403);
    assert.equal((await refused('run.exec', { project, language: 'sh', code: 'ls' }, 'viewer')).status, 403);
  });

  test('a run that is cancelled over its socket answers within a second', async () => {
    const socket = new WebSocket(stack.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${stack.tokens.developer}`], { origin: stack.url });
    await new Promise((done, fail) => socket.on('open', done).on('error', fail));
    const messages = [];
    socket.on('message', (data) => messages.push(JSON.parse(data)));
    const call = (id, method, params) => socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }));
    call(1, 'run.exec', { project, language: 'python', code: "import time\nfor i in range(500): print(i, flush=True); time.sleep(0.05)" });
    await waitFor('output', () => messages.some((m) => m.method === 'run.output'));
    const began = Date.now();
    call(2, 'rpc.cancel', { id: 1 });
    const end = await waitFor('the answer', () => messages.find((m) => m.id === 1));
    assert.equal(end.result.end, 'cancelled');
    timely(Date.now() - began, 3000);
    const seqs = messages.filter((m) => m.method === 'run.output').map((m) => m.params.seq);
    assert.deepEqual(seqs, seqs.map((_, i) => i + 1));
    socket.close();
  });

  test('more runs than places are told to come back', async () => {
    // None of them ends before one was refused.
    const runs = Array.from({ length: 8 }, async () => {
      const answer = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method: 'run.exec', params: { project, language: 'sh', code: 'until [ -e may-end ]; do sleep 0.1; done' } });
      if (answer.status === 503) writeFileSync(join(stack.home, 'projects', project, 'may-end'), '');
      return answer;
    });
    const answers = await Promise.all(runs);
    const busy = answers.filter((a) => a.status === 503);
    assert.ok(busy.length >= 1 && busy.length < 8, `${busy.length} of 8 were refused`);
    assert.ok(busy.every((a) => a.json.error.data.retry_after_ms > 0));
    assert.ok(answers.every((a) => a.status === 503 || a.json.result.end === 'ok'));
  });

  test('kill -9 of the broker in mid-run ends the job, answers the call, and the next run works', async () => {
    const { sandboxd } = await stack.pids();
    const marker = join(stack.home, 'projects', project, 'pid.txt');
    const answer = stack.rpcRaw({ jsonrpc: '2.0', id: 1, method: 'run.exec', params: { project, language: 'python', code: "open('/work/pid.txt','w').write('up')\nimport time\ntime.sleep(30)" } });
    await waitFor('the run has begun', () => existsSync(marker));
    const children = readFileSync(`/proc/${sandboxd}/task/${sandboxd}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
    assert.ok(children.length >= 1);
    process.kill(sandboxd, 'SIGKILL');
    const got = await answer;
    assert.equal(got.status, 503);
    assert.match(got.json.error.message, /\w/);
    await waitFor('no process of the job is left', () => children.every((pid) => !alive(pid)));
    await stack.waitPart('sandboxd', sandboxd);
    const result = await waitFor('the next run', () => run({ language: 'sh', code: 'echo back' }).catch(() => null));
    assert.equal(result.stdout, 'back\n');
  });
});
