// tests/sandbox/term.test.mjs: terminals through the gateway on a live studio: opened, typed into, left and found again, over WebSocket and HTTP.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { startStack, timely, waitFor } from '../support/stack.mjs';

const ESC = '\u001b';
const RING = 256 * 1024;
const WAITS_MS = 2000; // a program for a reader that does not read
const rssOf = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;

describe('terminals through the gateway', { timeout: 800_000 }, () => {
  let stack;
  let project;
  const sockets = new Set();
  before(async () => {
    stack = await startStack({ llm: false, options: { 'term.per_project': 3, 'term.slots': 4 } });
    project = stack.project;
  });
  after(() => stack?.stop());
  afterEach(async () => {
    for (const socket of sockets) socket.terminate();
    sockets.clear();
    for (const { term_id } of (await rpc('term.list', { project })).terminals) await rpc('term.kill', { project, term_id });
    await waitFor('all are gone', async () => (await rpc('term.list', { project })).terminals.length === 0);
  });

  const rpc = (method, params, as) => stack.rpc(method, params, as);
  const refused = async (method, params, as = 'developer') => {
    const answer = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method, params }, as);
    return { status: answer.status, text: answer.json?.error?.message, hint: answer.json?.error?.data?.hint, result: answer.json?.result };
  };
  const open = async (more = {}) => (await rpc('term.open', { project, rows: 24, cols: 80, ...more })).term_id;
  const type = (term_id, data) => rpc('term.input', { project, term_id, data });

  /** A WebSocket of the developer. */
  async function connect(token = stack.tokens.developer) {
    const socket = new WebSocket(stack.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${token}`], { origin: stack.url });
    sockets.add(socket);
    const handlers = new Set();
    socket.on('message', (data) => handlers.forEach((fn) => fn(JSON.parse(data))));
    await new Promise((done, fail) => socket.on('open', done).on('error', fail));
    return { socket, handlers, send: (id, method, params) => socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params })) };
  }

  /** Attached: what came so far, in bytes and as text; each piece must begin where the one before ended. */
  let lastId = 100;
  async function attach(term_id, params = {}, link = null) {
    const c = link ?? (await connect());
    const id = ++lastId;
    const view = { id, link: c, bytes: Buffer.alloc(0), start: null, next: null, states: [], answer: null, error: null };
    c.handlers.add((m) => {
      if (m.id === id) [view.answer, view.error] = [m.result ?? null, m.error ?? null];
      if (m.params?.id !== id) return;
      if (m.method === 'term.state') {
        view.states.push(m.params);
        view.next ??= m.params.seq;
        if (m.params.lost_bytes) view.next = m.params.seq;
        return;
      }
      const piece = Buffer.from(m.params.data, m.params.encoding ?? 'utf8');
      if (view.start === null) view.start = m.params.seq;
      assert.equal(m.params.seq, view.next, 'a piece begins where the one before ended');
      assert.equal(m.params.next_seq, m.params.seq + piece.length);
      view.next = m.params.next_seq;
      view.bytes = Buffer.concat([view.bytes, piece]).subarray(-4 * RING);
    });
    view.text = () => view.bytes.toString('utf8');
    view.sees = (what, ms = 20_000) =>
      waitFor(`${what}`, () => (what instanceof RegExp ? what.test(view.text()) : view.text().includes(what)), ms).catch((error) => {
        error.message += ` in ${JSON.stringify(view.text().slice(-300))}`;
        throw error;
      });
    view.detach = async () => {
      c.send(`c${id}`, 'rpc.cancel', { id });
      return waitFor('the answer of the reader', () => view.answer);
    };
    c.send(id, 'term.attach', { project, term_id, ...params });
    return view;
  }
  const one = async (term_id) => (await rpc('term.list', { project })).terminals.find((t) => t.term_id === term_id);

  test('a terminal echoes, runs commands in the project and knows its size', async () => {
    await rpc('fs.write', { project, path: 'seen.txt', content: 'seen' });
    const term = await open({ rows: 30, cols: 100 });
    const view = await attach(term);
    await type(term, 'cat seen.txt; stty size; pwd; echo $TERM\n');
    await view.sees('seen30 100\r\n/work\r\nxterm-256color\r\n');
    assert.deepEqual([view.states[0].rows, view.states[0].cols], [30, 100]);
    assert.deepEqual(await rpc('term.resize', { project, term_id: term, rows: 12, cols: 44 }), { rows: 12, cols: 44 });
    await type(term, 'stty size\n');
    await view.sees('12 44\r\n');
    assert.deepEqual([view.states.at(-1).rows, view.states.at(-1).cols], [12, 44]);
  });

  test('control C ends what is in front, and the list says whether something is', async () => {
    const term = await open();
    const view = await attach(term);
    await view.sees('$ ');
    await waitFor('the prompt is idle', async () => !(await one(term)).busy);
    await type(term, `python3 -c "import signal, time; signal.signal(2, signal.SIG_DFL); print('be' + 'gun', flush=True); time.sleep(60)"\n`);
    await view.sees('begun');
    assert.equal((await one(term)).busy, true);
    const began = Date.now();
    await type(term, '\u0003');
    await waitFor('the prompt is back', async () => !(await one(term)).busy);
    timely(Date.now() - began, 3000);
    await type(term, 'echo code $?\n');
    await view.sees('code 130\r\n');
  });

  test('who comes back with the number of bytes they have gets exactly the rest', async () => {
    const term = await open();
    const first = await attach(term);
    await type(term, 'for i in 1 2 3; do echo early-$i; done\n');
    await first.sees('early-3\r\n');
    const left = await first.detach();
    assert.equal(left.end, 'detached');
    assert.equal(left.next_seq, first.next);
    await type(term, 'echo while-\u00e4way-$((6*7))\n');
    await waitFor('it was written', async () => (await one(term)).next_seq > left.next_seq + 30);
    const second = await attach(term, { after_seq: left.next_seq });
    await second.sees('while-\u00e4way-42\r\n');
    assert.equal(second.start, left.next_seq);
    assert.ok(!second.text().includes('early'));
    const all = await attach(term);
    await all.sees('while-\u00e4way-42\r\n');
    await waitFor('the same end', () => all.next === second.next);
    assert.deepEqual(all.bytes, Buffer.concat([first.bytes, second.bytes]));
    assert.equal(all.states[0].lost_bytes, 0);
  });

  test('two readers see the same, and the terminal ends with its shell', async () => {
    const term = await open();
    const [a, b] = [await attach(term), await attach(term)];
    await waitFor('both are attached', () => a.states.length > 0 && b.states.length > 0); // what is typed comes another way, and may be quicker
    await type(term, 'echo both; exit 5\n');
    for (const view of [a, b]) {
      const answer = await waitFor('the end', () => view.answer);
      assert.deepEqual([answer.end, answer.exit_code, answer.signal], ['exit', 5, null]);
      assert.equal(answer.next_seq, view.next);
      assert.match(view.text(), /both\r\n/);
    }
    assert.deepEqual(a.bytes, b.bytes);
    assert.equal((await refused('term.input', { project, term_id: term, data: 'x' })).status, 404); // told, so forgotten
  });

  test('a flood while nobody is attached neither blocks nor grows the broker, and says how much was lost', async () => {
    const { sandboxd } = await stack.pids();
    const term = await open();
    const left = await (await attach(term)).detach();
    await type(term, 'stty -echo; head -c 300000000 /dev/zero | tr "\\0" x; echo; echo flood is over; exec sleep 600\n'); // no prompt follows
    await sleep(500);
    const before = rssOf(sandboxd);
    await waitFor('all of it was written', async () => (await one(term)).next_seq > 300_000_000, 240_000, 200);
    assert.ok(rssOf(sandboxd) - before < 16 * 1024 * 1024, `grew by ${rssOf(sandboxd) - before}`);
    const end = await attach(term);
    await end.sees('flood is over\r\n');
    await end.detach();
    const view = await attach(term, { after_seq: left.next_seq });
    await view.sees('flood is over\r\n');
    const now = await one(term);
    const [state] = view.states;
    assert.equal(state.lost_bytes, state.seq - left.next_seq);
    assert.ok(state.lost_bytes > 299_000_000);
    assert.equal(view.bytes.length, now.next_seq - state.seq);
    assert.equal(view.bytes.length, RING);
    assert.equal((await view.detach()).lost_bytes, state.lost_bytes);
  });

  test('a reader with a window gets no more than it confirmed, and the program waits only so long for it', async () => {
    let term, slow, held;
    for (let late = true; late; ) {
      if (term) await rpc('term.kill', { project, term_id: term });
      term = await open();
      slow = await attach(term, { window_bytes: 8192 });
      await slow.sees('$ ');
      const typed = Date.now();
      await type(term, 'yes 0123456789\n');
      await waitFor('the window is full', () => slow.next - slow.states[0].seq >= 8192);
      await sleep(300);
      assert.equal(slow.next, slow.states[0].seq + 8192);
      held = (await one(term)).next_seq;
      late = Date.now() - typed >= WAITS_MS; // it may have waited in vain by now: this look tells nothing
    }
    assert.ok(held < 8192 + 256 * 1024, `the program went on to ${held}`);
    const other = await attach(term, { after_seq: held });
    await waitFor('the other reader goes on', () => other.next > held + 2 * RING, 10_000);
    slow.link.send('ack', 'term.ack', { id: slow.id, seq: slow.next });
    await waitFor('the slow one goes on, too', () => slow.states.some((s) => s.lost_bytes > 0));
    const began = Date.now();
    await type(term, '\u0003');
    await other.sees(/\^C[^]*\$ $/);
    timely(Date.now() - began, 3000);
  });

  test('a client that does not read its socket is neither dropped nor does it fill the gateway', async () => {
    const { api } = await stack.pids();
    const term = await open();
    const view = await attach(term);
    await view.sees('$ ');
    const before = rssOf(api);
    view.link.socket.pause();
    await type(term, 'yes a line that nobody reads\n');
    await sleep(4000);
    assert.ok(rssOf(api) - before < 24 * 1024 * 1024, `grew by ${rssOf(api) - before}`);
    await type(term, '\u0003');
    view.link.socket.resume();
    await view.sees(/\^C[^]*\$ $/);
    assert.equal(view.link.socket.readyState, WebSocket.OPEN);
  });

  test('hostile bytes come through as data, to the byte', async () => {
    const term = await open({ program: 'python' });
    const view = await attach(term);
    await view.sees('>>> ');
    const hostile = [`${ESC}]52;c;aGk=\u0007`, `${ESC}[21t`, `${ESC}P$qm${ESC}\\`, `${ESC}]0;title\u0007`, '"}]}<script>alert(1)</script>'].join('');
    await type(term, `import sys; print('BE'+'GIN', end='', flush=True); sys.stdout.buffer.write(bytes.fromhex('${Buffer.from(hostile).toString('hex')}') + b'\\xff\\x00\\xfe' + b'EN' + b'D'); sys.stdout.flush()\n`);
    await view.sees('END');
    const at = view.bytes.indexOf('BEGIN') + 5;
    assert.deepEqual(view.bytes.subarray(at, view.bytes.indexOf('END', at)), Buffer.concat([Buffer.from(hostile), Buffer.from([0xff, 0, 0xfe])]));
  });

  test('kill ends everything, also what ignores signals and has left the session', async () => {
    const term = await open();
    const view = await attach(term);
    await view.sees('$ ');
    await type(term, `setsid python3 -c "import signal,time; signal.signal(15, 1); signal.signal(1, 1); print('a-'+'way', flush=True); time.sleep(987)" & trap '' TERM HUP\n`);
    await view.sees('a-way');
    assert.deepEqual(await rpc('term.kill', { project, term_id: term }), { killed: true });
    assert.deepEqual([(await waitFor('the end', () => view.answer)).end, view.answer.exit_code], ['killed', null]);
    assert.equal((await rpc('run.exec', { project, language: 'sh', code: 'grep -l sleep.987 /proc/[0-9]*/cmdline; true' })).stdout, '');
    assert.equal((await refused('term.kill', { project, term_id: term })).status, 404);
    const alone = await open(); // nobody is attached, and who ended it knows: it does not wait to be told
    await rpc('term.kill', { project, term_id: alone });
    await waitFor('it is forgotten', async () => !(await one(alone)));
  });

  test('there are places for three in a project; what has ended makes room', async () => {
    const terms = [await open(), await open(), await open()];
    const full = await refused('term.open', { project, rows: 24, cols: 80 });
    assert.equal(full.status, 503);
    assert.match(full.text, /All 3 places for terminals of this project/);
    assert.match(full.hint, /End a terminal/);
    assert.equal((await rpc('run.exec', { project, language: 'sh', code: 'echo ran' })).stdout, 'ran\n'); // runs have places of their own
    await type(terms[1], 'exit\n'); // nobody attached: it waits to be told
    await waitFor('it has ended', async () => (await one(terms[1])).end === 'ok');
    terms.push(await open());
    assert.equal(await one(terms[1]), undefined);
    await rpc('term.kill', { project, term_id: terms[0] });
    await open(); // at once
    await waitFor('the killed one is gone', async () => !(await one(terms[0])));
    const other = (await rpc('project.create', { name: `p${Date.now()}`, template: 'empty' })).id;
    const fourth = (await rpc('term.open', { project: other, rows: 24, cols: 80 })).term_id;
    const all = await refused('term.open', { project: other, rows: 24, cols: 80 });
    assert.deepEqual([all.status, /All 4 places for terminals are taken/.test(all.text)], [503, true]);
    assert.equal((await refused('term.input', { project, term_id: fourth, data: 'x' })).status, 404); // not of this project
    await rpc('term.kill', { project: other, term_id: fourth });
  });

  test('a viewer has no terminal, and a foreign one is not found', async () => {
    const term = await open();
    const calls = [
      ['term.open', { rows: 24, cols: 80 }], ['term.attach', { term_id: term }], ['term.input', { term_id: term, data: 'x' }],
      ['term.resize', { term_id: term, rows: 3, cols: 3 }], ['term.kill', { term_id: term }], ['term.list', {}],
    ];
    for (const [method, more] of calls) {
      assert.equal((await refused(method, { project, ...more }, 'viewer')).status, 403, method);
      assert.equal((await refused(method, { project, ...more }, 'admin')).status, 404, method);
    }
    const mine = (await rpc('project.list', {}, 'admin')).projects[0].id;
    assert.equal((await refused('term.attach', { project: mine, term_id: term }, 'admin')).status, 404);
    assert.equal((await refused('term.attach', { project, term_id: term, user: 'someone' })).status, 400);
    assert.equal((await one(term)).end, 'running');
  });

  test('the sandbox itself keeps to owner and ceilings, whoever writes to its socket', async () => {
    const term = await open();
    const { user_id: user } = await rpc('user.self', {});
    const socket = createConnection(join(stack.home, 'run/sandboxd.sock'));
    const answers = [];
    let rest = Buffer.alloc(0);
    socket.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
        answers.push(JSON.parse(rest.subarray(4, 4 + rest.readUInt32BE(0))));
        rest = rest.subarray(4 + rest.readUInt32BE(0));
      }
    });
    const ask = async (method, params) => {
      const id = ++lastId;
      const text = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, method, params }));
      const head = Buffer.alloc(4);
      head.writeUInt32BE(text.length);
      socket.write(Buffer.concat([head, text]));
      const answer = await waitFor(`an answer to ${method}`, () => answers.find((a) => a.id === id));
      return answer.error?.code ?? answer.result;
    };
    const stranger = '01890000-0000-7000-8000-000000000000';
    const size = { rows: 5, cols: 5 };
    for (const [method, more] of [['term.attach', {}], ['term.input', { data: 'x' }], ['term.resize', size], ['term.kill', {}]])
      for (const who of [{ user: stranger }, {}]) assert.equal(await ask(method, { project, term_id: term, ...who, ...more }), -32004, method);
    assert.deepEqual(await ask('term.list', { project, user: stranger }), { terminals: [] });
    assert.equal(await ask('term.open', { project, ...size }), -32602); // whose?
    for (const bad of [{ rows: 0 }, { cols: 0 }, { rows: -1 }, { cols: 1001 }, { program: 'perl' }, { rows: '5' }])
      assert.equal(await ask('term.open', { project, user, ...size, ...bad }), -32602, JSON.stringify(bad));
    assert.equal(await ask('term.input', { project, user, term_id: term, data: 'x'.repeat(65_537) }), -32602);
    assert.equal(await ask('term.input', { project, user, term_id: term }), -32602);
    assert.equal(await ask('term.attach', { project, user, term_id: term, window_bytes: 1 }), -32602);
    assert.deepEqual(await ask('term.input', { project, user, term_id: term, data: 'x' }), { accepted_bytes: 1 });
    socket.destroy();
  });

  test('over HTTP a reader is answered with what there is, and goes on from there', async () => {
    const term = await open();
    let next = 0;
    let text = '';
    const read = async (wait_ms) => {
      const answer = await rpc('term.attach', { project, term_id: term, after_seq: next, wait_ms });
      next = answer.next_seq;
      text += Buffer.from(answer.data, answer.encoding ?? 'utf8').toString();
      return answer;
    };
    await waitFor('the prompt', async () => ((await read(1000)), text.includes('$ ')));
    const began = Date.now();
    assert.deepEqual([(await read(300)).data, Date.now() - began >= 290], ['', true]);
    await type(term, 'echo over-http; exit 3\n');
    const last = await waitFor('the end', async () => { const a = await read(2000); return a.end === 'running' ? null : a; });
    assert.match(text, /over-http\r\n/);
    assert.deepEqual([last.end, last.exit_code], ['exit', 3]);
  });

  test('a terminal outlives the gateway, and is found again with what came meanwhile', async () => {
    const term = await open();
    const view = await attach(term);
    await view.sees('$ ');
    await type(term, 'echo before; sleep 1; echo mean-while\n');
    await view.sees('before\r\n');
    const { api } = await stack.pids();
    process.kill(api, 'SIGKILL');
    await stack.waitPart('api', api);
    await waitFor('the gateway answers', () => rpc('user.self').catch(() => null));
    assert.equal((await one(term)).attached, 0);
    const again = await attach(term, { after_seq: view.next });
    await again.sees('mean-while\r\n');
    assert.equal(again.start, view.next);
  });

  test('rpc.cancel of another socket detaches nobody, and closing the socket does', async () => {
    const term = await open();
    const view = await attach(term);
    await waitFor('it is attached', () => view.states.length > 0);
    const other = await connect();
    let cancelled = null;
    other.handlers.add((m) => m.id === 'x' && (cancelled = m.result));
    other.send('x', 'rpc.cancel', { id: view.id });
    assert.deepEqual(await waitFor('the answer', () => cancelled), { cancelled: false });
    assert.equal((await one(term)).attached, 1);
    view.link.socket.terminate();
    await waitFor('nobody is attached', async () => (await one(term)).attached === 0);
  });
});

describe('ceilings of time', { timeout: 800_000 }, () => {
  let stack;
  before(async () => {
    stack = await startStack({ llm: false, options: { 'term.detached_ms': 4000, 'term.wall_ms': 12_000 } });
  });
  after(() => stack?.stop());

  test('a terminal that nobody is attached to ends as idle, one that is watched at its wall clock', async () => {
    const project = stack.project;
    const socket = new WebSocket(stack.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${stack.tokens.developer}`], { origin: stack.url });
    await new Promise((done, fail) => socket.on('open', done).on('error', fail));
    let answer = null;
    socket.on('message', (data) => { const m = JSON.parse(data); if (m.id === 1) answer = m; });
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'term.attach', params: { project, term_id: (await stack.rpc('term.open', { project, rows: 24, cols: 80 })).term_id } }));
    const { term_id } = await stack.rpc('term.open', { project, rows: 24, cols: 80 });
    const ended = await waitFor('it is idle', async () => (await stack.rpc('term.list', { project })).terminals.find((t) => t.term_id === term_id && t.end !== 'running'));
    assert.equal(ended.end, 'idle');
    assert.equal((await waitFor('the wall clock', () => answer)).result.end, 'wall_time');
    assert.equal((await stack.rpc('term.attach', { project, term_id })).end, 'idle'); // its end waits to be told, with all it wrote
    socket.terminate();
  });

  test('a reader ends with the token of its socket, and the terminal goes on', async () => {
    const short = await startStack({ llm: false, env: { CDS_AUTH_ACCESS_S: '10' } });
    try {
      const login = async () => {
        const answer = await fetch(`${short.authUrl}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ email: 'developer@studio.test', password: 'Green-Window-82-Rivers' }) });
        return (await answer.json()).access_token;
      };
      const project = short.project;
      const token = (short.tokens.developer = await login());
      const { term_id } = await short.rpc('term.open', { project, rows: 24, cols: 80 });
      const socket = new WebSocket(short.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${token}`], { origin: short.url });
      let closed = null;
      let end = null;
      socket.on('close', (code) => (closed = code));
      socket.on('message', (data) => { const m = JSON.parse(data); if (m.id === 1) end = m.result?.end; });
      await new Promise((done, fail) => socket.on('open', done).on('error', fail));
      socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'term.attach', params: { project, term_id } }));
      await waitFor('the socket is closed', () => closed !== null, 40_000);
      assert.equal(closed, 4001);
      assert.equal(end, 'detached');
      short.tokens.developer = await login();
      assert.equal((await short.rpc('term.list', { project })).terminals.find((t) => t.term_id === term_id).end, 'running');
    } finally {
      await short.stop();
    }
  });
});
