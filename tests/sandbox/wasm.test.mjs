// tests/sandbox/wasm.test.mjs: modules of WebAssembly through the gateway on a live studio: what they may do, and what they must not.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { build, startStack, waitFor } from '../support/stack.mjs';
import { addModule, call, f64, forever, get, i32, i64, load8, memoryGrow, oneFunction, op, section, store8, wasiProgram, wasmModule } from '../support/wasm.mjs';

const library = join(build, 'lib/wasmer/libwasmer.so');
const i = (value) => ({ type: 'i32', value });
const OPEN_READ = 2n | (1n << 14n);

describe('a studio without libwasmer', () => {
  let stack;
  before(async () => {
    stack = await startStack({ llm: false, options: { 'run.wasmer_lib': '/nowhere/libwasmer.so' } });
  });
  after(() => stack?.stop());

  test('refuses a module with the rule and the remedy, and takes the process sandbox only when the caller says so', async () => {
    const params = { project: stack.project, engine: 'wasm', module: addModule().toString('base64'), export: 'add', values: [i(1), i(2)] };
    const result = await stack.rpc('run.exec', params);
    assert.deepEqual([result.end, result.rule, result.backend, result.boundary], ['refused', 'wasm.no_backend', 'none', 'none']);
    assert.match(result.reason, /make wasmer/);
    const { engines } = await stack.rpc('sandbox.probe', {});
    const wasm = engines.find((e) => e.name === 'wasm');
    assert.deepEqual([wasm.works, wasm.backend], [false, 'wasmer']);
    assert.match(wasm.remedy, /make wasmer/);
  });
});

const skip = !existsSync(library) && `libwasmer is not built: ${library} (make wasmer)`;

describe('a worker that waits for the next module', { skip }, () => {
  let stack;
  before(async () => {
    stack = await startStack({ llm: false });
  });
  after(() => stack?.stop());

  test('takes the same module the next time, with another project in sight only for its own project', async () => {
    const project = stack.project;
    const hello = wasiProgram((w) => [w.show(w.open(4, 'main.py')), w.copyOut(0)]);
    const run = (more) => stack.rpc('run.exec', { project, engine: 'wasm', module: hello.toString('base64'), stdin: 'in\n', ...more });
    assert.equal((await run()).origin, 'cold');
    const warm = await waitFor('a worker waits', () => run().then((r) => (r.origin === 'pool' ? r : null)));
    assert.deepEqual([warm.end, warm.stdout], ['ok', '000\nin\n']);
    const none = await run({ project_access: 'none' });
    assert.deepEqual([none.origin, none.stdout], ['cold', '044\nin\n']);
    const files = await run({ files: [{ path: 'x', content: '' }] });
    assert.deepEqual([files.origin, files.stdout], ['cold', '000\nin\n']);
  });
});

describe('modules of WebAssembly', { skip }, () => {
  let stack;
  let project;
  before(async () => {
    // Without jails that wait, a child of the broker is a job.
    stack = await startStack({ llm: false, options: { 'run.pool': 0 } });
    project = stack.project;
  });
  after(() => stack?.stop());

  const run = (bytes, more = {}) => stack.rpc('run.exec', { project, engine: 'wasm', ...(bytes ? { module: Buffer.from(bytes).toString('base64') } : {}), ...more });
  const go = (bytes, more = {}) => run(bytes, { export: 'go', ...more });
  const sh = (code) => stack.rpc('run.exec', { project, language: 'sh', code });
  const intoProject = async (path, bytes) => {
    // fs.write takes text; a run brings the bytes along.
    const result = await stack.rpc('run.exec', { project, language: 'sh', code: `cp /tmp/m "/work/${path}"`, files: [{ path: 'm', content: Buffer.from(bytes).toString('base64'), encoding: 'base64' }] });
    assert.equal(result.end, 'ok', result.stderr);
  };
  const stillWorks = async () => {
    const result = await run(addModule(), { export: 'add', values: [i(1), i(2)] });
    assert.deepEqual([result.end, result.values], ['ok', [i(3)]], result.reason);
  };
  const nothingLeft = async () => {
    const { sandboxd } = await stack.pids();
    await waitFor('no job is left', () => readFileSync(`/proc/${sandboxd}/task/${sandboxd}/children`, 'utf8').trim() === '');
    const fds = readdirSync(`/proc/${sandboxd}/fd`).length;
    assert.ok(fds < 120, `${fds} descriptors are open`);
  };

  test('add.wasm with 1 and 2 gives 3, as a file of the project and as a module that comes along', async () => {
    await intoProject('add.wasm', addModule());
    for (const params of [{ path: 'add.wasm' }, { module: addModule().toString('base64') }]) {
      const result = await run(null, { ...params, export: 'add', values: [i(1), i(2)] });
      assert.deepEqual([result.end, result.exit_code, result.values], ['ok', 0, [i(3)]], result.reason);
      assert.deepEqual([result.engine, result.backend, result.boundary, result.limits.fuel], ['wasm', 'wasmer', 'language', 10000000000]);
    }
  });

  test('sandbox.probe has run 1 + 2', async () => {
    const wasm = (await stack.rpc('sandbox.probe', {})).engines.find((e) => e.name === 'wasm');
    assert.deepEqual([wasm.works, wasm.boundary, wasm.reason], [true, 'language', '']);
  });

  test('values of all four types go in and out, and what JSON has no number for comes as text', async () => {
    const types = ['i32', 'i64', 'f32', 'f64'];
    const same = wasmModule({ types: [[types, types]], functions: [{ type: 0, body: [0, 1, 2, 3].map(get) }], exports: [['same', 'func', 0]] });
    const values = [i(-7), { type: 'i64', value: '-9223372036854775808' }, { type: 'f32', value: 1.5 }, { type: 'f64', value: -0.1 }];
    assert.deepEqual((await run(same, { export: 'same', values })).values, values);
    const nan = wasmModule({ types: [[[], ['f64', 'f64']]], functions: [{ type: 0, body: [f64(0), f64(0), op.f64div, f64(-1), f64(0), op.f64div] }], exports: [['go', 'func', 0]] });
    assert.deepEqual((await go(nan)).values, [{ type: 'f64', value: 'NaN' }, { type: 'f64', value: '-Infinity' }]);
  });

  test('a program for WASI has its arguments, variables, standard input and the files of the project, and its exit code', async () => {
    await stack.rpc('fs.write', { project, path: 'note.txt', content: 'from the project\n' });
    const program = wasiProgram((w) => [
      w.print(w.text('hello\n')),
      w.call('args_get', 40, w.buffer), op.drop, w.write([i32(44), 0x28, 2, 0], 3),
      w.call('environ_get', 40, w.buffer), op.drop, w.write([i32(40), 0x28, 2, 0], 6),
      w.copyOut(0), w.show(w.open(4, 'note.txt')), w.copyOut(w.opened), w.call('proc_exit', 3),
    ]);
    const result = await run(program, { argv: ['one'], env: [{ name: 'NAME', value: 'v' }], stdin: '\ninput\n' });
    assert.equal(result.stdout, 'hello\noneNAME=v\ninput\n000\nfrom the project\n', JSON.stringify(result));
    assert.deepEqual([result.end, result.exit_code], ['exit', 3]);
    const silent = await run(wasiProgram((w) => w.call('proc_exit', 0)));
    assert.deepEqual([silent.end, silent.exit_code, silent.stdout], ['ok', 0, '']);
  });

  test('a program can write to the project and to /tmp, and to neither a project that is read-only nor one that is not there', async () => {
    const write = wasiProgram((w) => [w.show(w.open(4, 'made.txt', { oflags: 1 })), w.show(w.open(5, 'scratch', { oflags: 1 }))]);
    assert.equal((await run(write, { project_access: 'read_only' })).stdout.endsWith('000\n'), true);
    assert.ok(!existsSync(join(stack.home, 'projects', project, 'made.txt')));
    assert.equal((await run(write, { project_access: 'none' })).stdout, '000\n000\n');
    assert.ok(!existsSync(join(stack.home, 'projects', project, 'made.txt')));
    assert.equal((await run(write)).stdout, '000\n000\n');
    assert.ok(existsSync(join(stack.home, 'projects', project, 'made.txt')));
  });

  test('nothing outside of the project can be reached: not by .., absolute names, links of a run or of its own, trailing slashes, or the root', async () => {
    await sh('mkdir -p d; echo in > d/f; ln -sf /etc/passwd abs; ln -sf ../../etc/passwd rel; ln -sfn /usr dirlink; ln -sfn .. up; ln -sf d/f good');
    const outside = [
      [3, 'etc/passwd'], [3, 'usr/bin/env'], [3, 'opt/libwasmer.so'], [3, 'proc/self/status'], [3, 'dev/null'], [3, 'root'], [4, 'abs'], [4, 'rel'],
      [4, 'dirlink/bin/env'], [4, '../etc/passwd'], [4, 'd/../../etc/passwd'], [4, '/etc/passwd'], [4, 'up/etc/passwd'], [4, 'abs/'], [4, 'rel/'], [4, 'dirlink/'],
      [5, '../etc/passwd'], [6, '../etc/passwd'], [6, 'abs'],
    ];
    for (const dirflags of [0, 1]) {
      const program = wasiProgram((w) => [
        w.show(w.open(4, 'd/f', { dirflags, rights: OPEN_READ })),
        ...outside.map(([dir, path]) => w.show(w.open(dir, path, { dirflags, rights: OPEN_READ }))),
        w.call('path_symlink', w.path('/etc'), 4, w.path('mine')), op.drop, w.show(w.open(4, 'mine/passwd', { dirflags, rights: OPEN_READ })),
        w.call('path_symlink', w.path('../..'), 4, w.path('mine2')), op.drop, w.show(w.open(4, 'mine2/etc/passwd', { dirflags, rights: OPEN_READ })),
      ]);
      const codes = (await run(program)).stdout.trim().split('\n');
      assert.equal(codes.length, outside.length + 3);
      assert.equal(codes[0], '000', 'a file of the project opens');
      codes.slice(1).forEach((code, at) => assert.notEqual(code, '000', `${outside[at]?.join(' ')} with flags ${dirflags}`));
    }
    const change = wasiProgram((w) => [
      w.show(w.call('path_rename', 4, w.path('d/f'), 4, w.path('../out'))), w.show(w.call('path_create_directory', 4, w.path('../out'))),
      w.show(w.call('path_create_directory', 3, w.path('out'))), w.show(w.open(3, 'out', { oflags: 1 })), w.show(w.open(4, 'abs/', { oflags: 1 })),
      w.show(w.call('path_link', 3, 1, w.path('etc/passwd'), 4, w.path('linked'))), w.show(w.call('path_unlink_file', 4, w.path('../tmp/x'))),
    ]);
    const codes = (await run(change)).stdout.trim().split('\n');
    assert.equal(codes.length, 7);
    assert.ok(codes.every((code) => code !== '000'), codes.join(' '));
  });

  test('a descriptor that is renumbered stays what it was, and those of the worker cannot be reached', async () => {
    const program = wasiProgram((w) => [
      w.open(4, 'renumbered.txt', { oflags: 1 }), op.drop, w.call('fd_renumber', w.opened, 1), op.drop, w.print(w.text('into the file')),
    ]);
    assert.equal((await run(program)).stdout, '');
    assert.equal(readFileSync(join(stack.home, 'projects', project, 'renumbered.txt'), 'utf8'), 'into the file');
  });

  test('what a program wrote is in its file when the run has ended, also when it did not close it and when it left by proc_exit or a trap', async () => {
    for (const [at, end] of [[], (w) => w.call('proc_exit', 0), () => op.unreachable].entries()) {
      const text = 'x'.repeat(20000) + at;
      const program = wasiProgram((w) => {
        const t = w.text(text);
        return [w.open(4, `left${at}.txt`, { oflags: 1 }), op.drop, i32(0), i32(t.at), 0x36, 2, 0, i32(4), i32(t.len), 0x36, 2, 0, w.call('fd_write', w.opened, 0, 1, 8), op.drop, Array.isArray(end) ? end : end(w)];
      });
      await run(program);
      assert.equal(readFileSync(join(stack.home, 'projects', project, `left${at}.txt`), 'utf8'), text, `end ${at}`);
    }
  });

  const wasix = (module, field) => wasmModule({ types: [[[], []]], imports: [[module, field, 0]], functions: [{ type: 0, body: [] }], exports: [['go', 'func', 1]] });
  const many = wasmModule({ types: [[[], []]], functions: Array.from({ length: 20001 }, () => ({ type: 0, body: [] })), exports: [['go', 'func', 0]] });
  const atomics = [i32(0), i32(0), i64(-1), 0xfe, 0x01, 2, 0, op.drop];
  const refusals = {
    'an import of the host': ['wasm.import', wasix('env', 'system')],
    'fork of WASIX': ['wasm.import', wasix('wasix_32v1', 'proc_fork')],
    'a thread of WASIX': ['wasm.import', wasix('wasi', 'thread-spawn')],
    'a socket of WASIX under the name of WASI': ['wasm.import', wasix('wasi_snapshot_preview1', 'sock_open')],
    'an imported memory': ['wasm.import', oneFunction([], { memory: undefined, imports: [['env', 'memory', { min: 1 }]] })],
    'an imported shared memory': ['wasm.threads', oneFunction([], { memory: undefined, imports: [['env', 'memory', { min: 1, max: 1, shared: true }]] })],
    'a shared memory': ['wasm.threads', oneFunction([], { memory: { min: 1, max: 1, shared: true } })],
    'instructions for threads': ['wasm.threads', oneFunction(atomics)],
    'a memory of 4 GiB': ['wasm.memory', oneFunction([], { memory: { min: 65536 } })],
    'a memory with 64-bit addresses': ['wasm.memory', oneFunction([], { memory: { min: 1, wide: true } })],
    'a bomb of functions': ['wasm.too_big', many],
    'a bomb of locals': ['wasm.too_big', oneFunction([], { functions: [{ type: 0, locals: [[4000000000, 'i64']], body: [] }] })],
    'a bomb of elements': ['wasm.too_big', oneFunction([], { table: { min: 4000000000 } })],
    'text': ['wasm.malformed', Buffer.from('print("I am python")')],
    'a component': ['wasm.unsupported', Buffer.from([0, 0x61, 0x73, 0x6d, 13, 0, 1, 0])],
    'a module that is cut off': ['wasm.malformed', addModule().subarray(0, 30)],
    'a function that leaves nothing on the stack': ['wasm.malformed', wasmModule({ types: [[[], ['i32']]], functions: [{ type: 0, body: [] }], exports: [['go', 'func', 0]] })],
    'a section that stands twice': ['wasm.malformed', Buffer.concat([addModule(), Buffer.from(section(1, [0]))])],
    'an export under the name of the fuel gauge': ['wasm.export', oneFunction([], { exports: [['wasmer_metering_remaining_points', 'func', 0]] })],
    'a function that is not there': ['wasm.export', addModule()],
  };
  for (const [what, [rule, bytes]] of Object.entries(refusals)) {
    test(`${what} is refused with the rule ${rule}`, async () => {
      const result = await go(bytes);
      assert.deepEqual([result.end, result.rule, result.exit_code], ['refused', rule, null], JSON.stringify(result));
      assert.match(result.reason, /\w+ .*\.$/);
    });
  }

  test('values that a function does not take, and a module that is no program, are refused by name', async () => {
    for (const values of [[], [i(1)], [i(1), { type: 'f32', value: 1 }], [i(1), i(2), i(3)]]) {
      const result = await run(addModule(), { export: 'add', values });
      assert.deepEqual([result.end, result.rule], ['refused', 'wasm.values'], result.reason);
    }
    assert.deepEqual(((r) => [r.end, r.rule])(await run(addModule())), ['refused', 'wasm.export']);
  });

  test('a file of 17 MiB, a folder, a link and a file that is not there are refused before anything runs', async () => {
    await sh('head -c 17825792 /dev/zero > big.wasm; mkdir -p folder; ln -sf add.wasm link.wasm');
    const big = await run(null, { path: 'big.wasm' });
    assert.deepEqual([big.end, big.rule], ['refused', 'wasm.too_big']);
    for (const [path, status] of [['folder', 400], ['link.wasm', 403], ['absent.wasm', 404]]) {
      const answer = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method: 'run.exec', params: { project, engine: 'wasm', path } });
      assert.equal(answer.status, status, `${path}: ${answer.text}`);
    }
    await sh('rm big.wasm');
  });

  test('fuel that is used up is cpu_time with a sentence, also in the start function, and the same fuel is always enough or never', async () => {
    const loop = forever();
    const result = await go(oneFunction([loop]), { limits: { fuel: 1000000 } });
    assert.deepEqual([result.end, result.exit_code], ['cpu_time', null]);
    assert.match(result.reason, /limits\.fuel/);
    const start = wasmModule({ types: [[[], []]], functions: [{ type: 0, body: [loop] }, { type: 0, body: [] }], start: 0, exports: [['go', 'func', 1]] });
    for (let turn = 0; turn < 2; turn++) assert.equal((await go(start, { limits: { fuel: 1000000 } })).end, 'cpu_time');
    for (let turn = 0; turn < 2; turn++) {
      assert.equal((await run(addModule(), { export: 'add', values: [i(1), i(2)], limits: { fuel: 4 } })).end, 'ok');
      assert.equal((await run(addModule(), { export: 'add', values: [i(1), i(2)], limits: { fuel: 3 } })).end, 'cpu_time');
    }
  });

  test('an endless loop ends at the clock: in a function, in the start function, and in a start function without an export section', async () => {
    const loop = oneFunction([forever()]);
    const start = wasmModule({ types: [[[], []]], functions: [{ type: 0, body: [forever()] }], start: 0, exports: [['go', 'func', 0]] });
    const alone = wasmModule({ types: [[[], []]], functions: [{ type: 0, body: [forever()] }], start: 0 });
    for (const [bytes, more] of [[loop, { export: 'go' }], [start, { export: 'go' }], [alone, {}]]) {
      const result = await run(bytes, { ...more, limits: { wall_ms: bytes === alone ? 20_000 : 500, fuel: 1000000000000000 } });
      if (bytes === alone) assert.deepEqual([result.end, result.rule], ['refused', 'wasm.export']);
      else assert.ok(['wall_time', 'cpu_time'].includes(result.end), JSON.stringify(result));
    }
    await stillWorks();
    await nothingLeft();
  });

  test('a start function runs before the function that was asked for', async () => {
    const global = { types: [[[], []], [[], ['i32']]], globals: [1], exports: [['go', 'func', 1]] };
    const module = wasmModule({ ...global, functions: [{ type: 0, body: [i32(42), 0x24, 0] }, { type: 1, body: [0x23, 0] }], start: 0 });
    assert.deepEqual((await go(module)).values, [i(42)]);
  });

  test('endless recursion, unreachable, a division by zero and a read outside of memory are traps with their names', async () => {
    const traps = {
      'call stack exhausted': [call(0)],
      unreachable: [op.unreachable],
      'integer divide by zero': [i32(1), i32(0), op.divS, op.drop],
      'out of bounds memory access': [i32(-1), load8, op.drop],
    };
    for (const [what, body] of Object.entries(traps)) {
      const result = await go(oneFunction(body));
      assert.deepEqual([result.end, result.exit_code], ['exit', 134], JSON.stringify(result));
      assert.match(result.reason, new RegExp(what));
    }
  });

  test('memory grows to the limit and no further: memory.grow says -1, and a job that fills all it has stays within its control group', async () => {
    const pages = (more) => wasmModule({ types: [[[], ['i32']]], memory: { min: 1, ...more }, exports: [['go', 'func', 0]], functions: [{ type: 0, body: [i32(255), memoryGrow, op.drop, i32(1), memoryGrow] }] });
    const limits = { memory_bytes: 16 << 20 };
    assert.deepEqual((await go(pages({}), { limits })).values, [i(-1)]);
    assert.deepEqual((await go(pages({ max: 65536 }), { limits })).values, [i(-1)]);
    assert.deepEqual((await go(pages({}), { limits: { memory_bytes: 32 << 20 } })).values, [i(256)]);
    const fill = oneFunction([i32(1023), memoryGrow, op.drop, i32(0), i32(1), i32(1024 * 65536), 0xfc, 11, 0]);
    const full = await go(fill, { limits: { memory_bytes: 64 << 20 } });
    assert.equal(full.end, 'ok', JSON.stringify(full));
    assert.ok(full.peak_memory_bytes >= 64 << 20 && full.peak_memory_bytes < 240 << 20, `${full.peak_memory_bytes}`);
  });

  test('loops of memory.grow and table.grow, a huge br_table and a data segment outside of memory end by name, and the next run is fine', async () => {
    const limits = { wall_ms: 3000, cpu_ms: 2000, memory_bytes: 32 << 20 };
    const grow = await go(oneFunction([forever(i32(1), memoryGrow, op.drop)]), { limits });
    assert.ok(['wall_time', 'cpu_time'].includes(grow.end), grow.end);
    const table = await go(oneFunction([forever(0xd0, 0x70, i32(100000), 0xfc, 15, 0, op.drop)], { table: { min: 1 } }), { limits });
    assert.ok(['wall_time', 'cpu_time', 'memory', 'exit', 'signal'].includes(table.end), JSON.stringify(table));
    const targets = Array.from({ length: 100000 }, () => 0);
    const branches = await go(oneFunction([0x02, 0x40, i32(0), 0x0e, ...[0xa0, 0x8d, 0x06], ...targets, 0, op.end]), { limits });
    assert.ok(['ok', 'cpu_time', 'wall_time'].includes(branches.end), JSON.stringify(branches));
    const data = await go(oneFunction([], { data: [[65535, [1, 2, 3]]] }), { limits: { memory_bytes: limits.memory_bytes } });
    assert.equal(data.end, 'exit');
    assert.match(data.reason, /memory/);
    await stillWorks();
    await nothingLeft();
  });

  test('a flood of output is counted and cut at the ceiling', async () => {
    const flood = wasiProgram((w) => forever(w.print(w.text('a'.repeat(16384)))));
    const result = await run(flood, { limits: { fuel: 20_000 } });
    assert.equal(result.end, 'cpu_time', JSON.stringify({ ...result, stdout: '' }));
    assert.equal(Buffer.byteLength(result.stdout), result.limits.output_bytes);
    assert.ok(result.dropped_bytes > 0);
  });

  test('a variable of the caller reaches the module and never the loader of the worker', async () => {
    const program = wasiProgram((w) => [w.call('environ_get', 40, w.buffer), op.drop, w.write([i32(40), 0x28, 2, 0], 21)]);
    const result = await run(program, { env: [{ name: 'LD_PRELOAD', value: '/work/x.so' }] });
    assert.equal(result.stderr, '');
    assert.equal(result.stdout, 'LD_PRELOAD=/work/x.so');
  });

  test('compiled code is kept below the data folder, is made again when it was tampered with, and belongs to the broker', async () => {
    const folder = join(stack.home, 'cache/wasm');
    const files = () => readdirSync(folder).filter((file) => file.endsWith('.aot'));
    await waitFor('compiled code is kept', () => files().length > 0);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    for (const file of [...files(), 'key']) assert.equal(statSync(join(folder, file)).mode & 0o777, 0o600, file);
    const seen = await sh('ls / /opt; find / -name "*.aot" 2>/dev/null; true');
    assert.ok(!seen.stdout.includes('.aot'));
    await stillWorks();
  });

  test('simultaneous modules do not disturb each other', async () => {
    const answers = await Promise.all([1, 2, 3].map((n) => run(addModule(), { export: 'add', values: [i(n), i(10 * n)] })));
    assert.deepEqual(answers.map((r) => r.values[0].value), [11, 22, 33]);
    await nothingLeft();
  });
});
