// tests/sandbox/micro-back.test.mjs: what a program in a microVM changes in its copy of the project comes back by the rules of every file call, and
// neither side is lost. docs/adr/0038-files-come-back.md.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { PATIENT, startStack, waitFor } from '../support/stack.mjs';

const skip = existsSync('/usr/bin/qemu-system-x86_64') ? false : 'skipped: no qemu (make micro installs it)';
if (skip) console.log(skip);

describe('files of a microVM come back', { skip, timeout: 1_500_000 }, () => {
  let stack;
  let project;
  let at;
  before(async () => {
    stack = await startStack({ llm: false, options: { 'micro.pool': 0 } });
    project = stack.project;
    at = (...path) => join(stack.home, 'projects', project, ...path);
  });
  after(() => stack?.stop());
  const put = async (path, content) => {
    const parts = path.split('/').slice(0, -1);
    for (const i of parts.keys()) await stack.rpc('fs.create', { project, path: parts.slice(0, i + 1).join('/'), type: 'dir' }).catch(() => null);
    await stack.rpc('fs.write', { project, path, content });
  };
  const read = (path) => readFileSync(at(path), 'utf8');
  const run = (code, more = {}) => stack.rpc('run.exec', { project, engine: 'micro:sh', code, limits: PATIENT, ...more });
  const clean = () => readdirSync(at()).forEach((name) => rmSync(at(name), { recursive: true, force: true }));
  const vm = (name, fn, ms = 600_000) => test(name, { timeout: ms }, async () => (clean(), fn()));

  vm('changed, new and deleted files and folders come back, what was not touched stays as it is', async () => {
    await put('same.txt', 'same\n');
    await put('change.txt', 'old\n');
    await put('gone/a.txt', 'a');
    await put('deep/er/b.txt', 'b');
    const before = (await stack.rpc('fs.stat', { project, path: 'same.txt' })).version;
    const result = await run('echo new > change.txt; rm -r gone; mkdir -p made/by/it empty; echo x > made/by/it/c.txt; mv deep/er/b.txt deep/moved.txt; printf "\\0\\377" > bytes; touch same.txt');
    assert.equal(result.end, 'ok', result.stderr);
    assert.deepEqual([read('change.txt'), read('made/by/it/c.txt'), read('deep/moved.txt'), read('same.txt')], ['new\n', 'x\n', 'b', 'same\n']);
    assert.deepEqual([...readFileSync(at('bytes'))], [0, 255]);
    assert.deepEqual([existsSync(at('gone')), existsSync(at('deep/er/b.txt')), statSync(at('empty')).isDirectory()], [false, false, true]);
    assert.equal((await stack.rpc('fs.stat', { project, path: 'same.txt' })).version, before, 'touched, but the same: not written');
    const { written, folders, deleted, conflicts, refused, told } = result.project_back;
    assert.deepEqual({ written, folders, deleted, conflicts, refused, told }, { written: 4, folders: 4, deleted: 3, conflicts: 0, refused: 0, told: [] });
    assert.equal(result.project_back.bytes, 4 + 2 + 1 + 2);
    assert.equal(statSync(at('made/by/it/c.txt')).uid, statSync(at('change.txt')).uid, 'with the rights of every other write');
  });

  vm('a program that exits with an error has its files come back all the same; python and node, too', async () => {
    // The template is made in the background now, which a loaded machine needs time for.
    for (const [language, code] of [['sh', 'echo half > half.txt; exit 3'], ['python', 'open("/work/p.txt", "w").write("p")'], ['node', 'import { writeFileSync } from "fs"; writeFileSync("/work/n.txt", "n")']]) {
      const result = await run(code, { engine: `micro:${language}` });
      assert.equal(result.project_back.written, 1, JSON.stringify(result));
    }
    assert.deepEqual([read('half.txt'), read('p.txt'), read('n.txt')], ['half\n', 'p', 'n']);
  });

  // An interpreter that waited tells its end over a socket of its own: never into what the program has opened in its place.
  for (const [language, code] of [
    ['python', 'import os\nos.close(3)\nfd = os.open("/work/mine.txt", os.O_WRONLY | os.O_CREAT)\nos.write(fd, b"mine")\nprint(fd)'],
    ['node', 'import { closeSync, openSync, writeSync } from "fs"; closeSync(3); const fd = openSync("/work/mine.txt", "w"); writeSync(fd, "mine"); console.log(fd)'],
  ])
    vm(`a file of ${language} with the number that the agent's socket had holds what the program wrote`, async () => {
      let result;
      const fromTemplate = async () => (result = await run(code, { engine: `micro:${language}` })).origin === 'snapshot';
      await waitFor('a run from the template', fromTemplate, 120_000);
      assert.deepEqual([result.end, result.stdout, read('mine.txt')], ['ok', '3\n', 'mine']);
    });

  vm('read_only cannot be written, none is an empty folder, and nothing comes back from either', async () => {
    await put('there.txt', 'there');
    const readOnly = await run('cat there.txt; echo x > there.txt || echo refused', { project_access: 'read_only' });
    assert.deepEqual([readOnly.stdout, readOnly.project_back], ['thererefused\n', undefined]);
    const none = await run('ls; echo x > own.txt; cat own.txt', { project_access: 'none' });
    assert.deepEqual([none.stdout, none.project_back], ['x\n', undefined]);
    assert.deepEqual(readdirSync(at()), ['there.txt']);
    assert.equal(read('there.txt'), 'there');
  });

  vm('links, pipes, sizes and names that may not be are refused and named', async () => {
    await put('target.txt', 'target');
    symlinkSync('/etc/passwd', at('planted'));
    const result = await run('ln -s /etc/passwd link; mkfifo pipe; head -c 524289 /dev/zero > big; head -c 524288 /dev/zero > edge; touch "a\nb"; touch .cds-tmp-x; echo mine > planted; ln target.txt second; echo ok > fine.txt');
    const { told, written, refused } = result.project_back;
    const rules = Object.fromEntries(told.map((t) => [t.path, t.rule]));
    assert.deepEqual(rules, { link: 'fs.symlink', pipe: 'fs.special', big: 'fs.too_big', 'a\nb': 'fs.name', '.cds-tmp-x': 'fs.name', planted: 'fs.symlink' });
    assert.equal(refused, 6);
    assert.equal(written, 3, 'edge, second (a copy) and fine.txt');
    assert.ok(told.every((t) => t.what === 'refused' && t.reason.length > 10));
    assert.equal(readFileSync('/etc/passwd', 'utf8').includes('mine'), false);
    assert.equal(statSync(at('target.txt')).nlink, 1);
    assert.deepEqual(readdirSync(at()).sort(), ['edge', 'fine.txt', 'planted', 'second', 'target.txt']);
  });

  vm('what both sides changed is a conflict: the project keeps its file, the program’s stands beside it', async () => {
    // The copy is made when the run begins: the project is changed behind its back as soon as the program has said a word.
    const socket = new WebSocket(stack.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${stack.tokens.developer}`], { origin: stack.url });
    await new Promise((done, fail) => socket.on('open', done).on('error', fail));
    let said = [];
    socket.on('message', (data) => said.push(JSON.parse(data)));
    let result;
    // It cannot be told that all of that is done: where it woke before, it sleeps longer.
    for (let seconds = 8, late = true; late; seconds *= 4) {
      clean();
      for (const name of ['both.txt', 'gone-there.txt', 'gone-here.txt', 'agreed.txt']) await put(name, 'old');
      said = [];
      const code = `echo begun; sleep ${seconds}; echo awake; echo run > both.txt; rm gone-there.txt; echo run > gone-here.txt; printf both > agreed.txt; echo run > born.txt; mkdir d; echo run > d/x`;
      const sent = performance.now();
      socket.send(JSON.stringify({ jsonrpc: '2.0', id: seconds, method: 'run.exec', params: { project, engine: 'micro:sh', code, limits: { wall_ms: 600_000 } } }));
      await waitFor('the program has begun', () => said.some((m) => m.method === 'run.output' || m.id === seconds));
      await stack.rpc('fs.write', { project, path: 'both.txt', content: 'host' });
      await stack.rpc('fs.write', { project, path: 'gone-there.txt', content: 'host' });
      await stack.rpc('fs.delete', { project, path: 'gone-here.txt' });
      await stack.rpc('fs.write', { project, path: 'agreed.txt', content: 'both' });
      await stack.rpc('fs.write', { project, path: 'born.txt', content: 'host' });
      await stack.rpc('fs.write', { project, path: 'd', content: 'host' }).catch((error) => assert.ok(performance.now() - sent >= seconds * 1000, error)); // its folder is there already
      late = performance.now() - sent >= seconds * 1000 && said.some((m) => m.id === seconds || m.params?.data?.includes('awake'));
      ({ result } = await waitFor('its end', () => said.find((m) => m.id === seconds)));
    }
    socket.close();
    assert.equal(result.end, 'ok', result.stderr);
    const told = Object.fromEntries(result.project_back.told.map((t) => [t.path, t]));
    const suffix = `run-${result.run_id.slice(-12)}`;
    assert.deepEqual([read('both.txt'), read(`both.txt.${suffix}`), told['both.txt'].kept_as], ['host', 'run\n', `both.txt.${suffix}`]);
    assert.deepEqual([read('gone-there.txt'), told['gone-there.txt'].what, told['gone-there.txt'].kept_as], ['host', 'conflict', undefined]);
    assert.deepEqual([existsSync(at('gone-here.txt')), read(`gone-here.txt.${suffix}`)], [false, 'run\n']);
    assert.deepEqual([read('agreed.txt'), told['agreed.txt']], ['both', undefined], 'the same on both sides is no conflict');
    assert.deepEqual([read('born.txt'), read(`born.txt.${suffix}`)], ['host', 'run\n']);
    assert.deepEqual([read('d'), read(`d.${suffix}/x`)], ['host', 'run\n']);
  });

  vm('who watches the project hears of it, and a deletion of the host’s folder is no obstacle', async () => {
    await put('src/a.txt', 'a');
    const socket = new WebSocket(stack.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${stack.tokens.developer}`], { origin: stack.url });
    await new Promise((done, fail) => socket.on('open', done).on('error', fail));
    const heard = [];
    socket.on('message', (data) => heard.push(JSON.parse(data)));
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'fs.watch', params: { project } }));
    let probes = 0;
    await waitFor('somebody watches', async () => (await stack.rpc('fs.write', { project, path: 'probe.txt', content: `${probes++}` }), JSON.stringify(heard).includes('probe.txt')), Infinity, 100);
    await run('echo b > src/b.txt; rm src/a.txt');
    await waitFor('the changes are told', () => {
      const text = JSON.stringify(heard);
      return text.includes('src/b.txt') && text.includes('src/a.txt');
    });
    socket.close();
    assert.deepEqual(readdirSync(at('src')), ['b.txt']);
  });

  vm('a run that is ended for its time or cancelled brings nothing back and says so', async () => {
    const late = await run('echo x > half.txt; sleep 60', { limits: { wall_ms: 500 } });
    assert.equal(late.end, 'wall_time');
    assert.match(late.project_back.reason, /ended for its time: nothing/);
    const busy = await run('echo x > half.txt; while :; do :; done', { limits: { cpu_ms: 500 } });
    assert.equal(busy.end, 'cpu_time');
    assert.match(busy.project_back.reason, /nothing/);
    assert.deepEqual(readdirSync(at()), []);
  });

  vm('ceilings: 8 MiB and 2000 paths come back, the rest is counted and refused', async () => {
    const big = await run('i=0; while [ $i -lt 18 ]; do head -c 524288 /dev/zero > f$i; i=$((i+1)); done');
    assert.equal(big.end, 'ok', big.stderr);
    assert.equal(big.project_back.written, 16);
    assert.deepEqual(big.project_back.told.map((t) => t.rule), ['micro.back_size', 'micro.back_size']);
    clean();
    const many = await run('import os\nfor i in range(2010): open(f"/work/n{i}", "w").write(str(i))', { engine: 'micro:python', limits: { wall_ms: 60000, cpu_ms: 60000 } });
    assert.deepEqual([many.end, many.project_back.written, many.project_back.refused], ['ok', 2000, 10]);
    assert.match(many.project_back.reason, /at most 2000/);
    assert.equal(readdirSync(at()).length, 2000);
  });

  vm('a full project refuses what does not fit any more', async () => {
    mkdirSync(at('fill'));
    for (let i = 0; i < 5; i++) writeFileSync(at('fill', `f${i}`), 'x');
    const result = await run('echo x > one.txt');
    assert.equal(result.project_back.written, 1);
  });
});
