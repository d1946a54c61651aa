// The gateway on a live studio without a model: metrics, one request id, the log stream, projects, cancel, ceilings, errors below /v1.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openShort, openSocket, rawHttp, rpcHttp, whileStopped, withLock } from '../support/gateway.mjs';
import { startStack, timely, untilCaught, waitFor } from '../support/stack.mjs';

const BUSY = -32053;
const CANCELLED = -32800;
const CONFLICT = -32009;
const TIMED_OUT = -32055;
let stack;

before(async () => {
  stack = await startStack({ llm: false, options: { 'llm.request_ms': '1000' } });
});
after(async () => {
  await stack?.stop();
});

const sub = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()).sub;
const logged = (what, wanted) => waitFor(what, () => stack.logTail(400).find(wanted), 5000);

describe('metrics', () => {
  const page = async (url) => {
    const reply = await fetch(url);
    assert.equal(reply.status, 200, url);
    assert.match(reply.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
    return reply.text();
  };
  const pages = () => ({
    'studio-ui': `${stack.url}/metrics`, api: `${stack.apiUrl}/metrics`, auth: `${stack.authUrl}/metrics`, llmserver: `${stack.llmUrl}/metrics`,
    sandboxd: `${stack.apiUrl}/metrics/sandboxd`, preview: `http://127.0.0.1:${stack.ports.preview}/metrics`,
  });

  test('every process shows its metrics before their first use and promtool accepts each page', async () => {
    const wanted = {
      'studio-ui': ['cds_http_requests_total', 'cds_http_request_duration_seconds'],
      api: ['cds_http_requests_total', 'cds_rpc_calls_total', 'cds_rpc_errors_total', 'cds_websockets_open'],
      auth: ['cds_auth_logins_total', 'cds_auth_tokens_issued_total'],
      llmserver: ['llm_request_count', 'token_spend', 'cds_llm_requests_total', 'cds_llm_queue_requests', 'cds_ledger_refused_total'],
      sandboxd: ['sandbox_runtime', 'cds_sandbox_active_runs'],
      preview: ['cds_previews_active', 'cds_http_requests_total'],
    };
    for (const [name, url] of Object.entries(pages())) {
      const text = await page(url);
      for (const metric of wanted[name]) assert.match(text, new RegExp(`^${metric}(_count)?(\\{.*\\})? \\d`, 'm'), `${name}: ${metric}`);
      const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
      assert.equal(checked.status, 0, `${name}: ${checked.stdout}${checked.stderr}`);
    }
    // No request has been made: this is what a rule on these names would find.
    assert.match(await page(pages().llmserver), /^llm_request_count\{model=""\} 0$/m);
    assert.match(await page(pages().llmserver), /^token_spend\{model=""\} 0$/m);
  });

  test('a run counts in sandbox_runtime', async () => {
    await stack.rpc('run.exec', { project: stack.project, language: 'sh', code: 'sleep 0.2' });
    const seconds = Number(/^sandbox_runtime\{engine="run"\} ([\d.]+)$/m.exec(await page(pages().sandboxd))[1]);
    assert.ok(seconds >= 0.2, `${seconds} s`);
  });
});

describe('one request id', () => {
  test('a run carries it through the log of the gateway and of the sandbox', async () => {
    const id = randomUUID();
    const got = await rpcHttp(stack, 'run.exec', { project: stack.project, language: 'sh', code: 'true' }, { headers: { 'x-request-id': id } });
    assert.equal(got.json.result.end, 'ok', JSON.stringify(got.json));
    assert.equal(got.headers.get('x-request-id'), id);
    const line = await logged('the line of the sandbox', (l) => l.proc === 'cds-sandboxd' && l.msg === 'run' && l.request_id === id);
    assert.equal(line.run_id, got.json.result.run_id);
    await logged('the line of the gateway', (l) => l.proc === 'cds-api' && l.msg === 'call' && l.request_id === id);
  });

  test('a refused file call and a refused run stand in both logs under the id of the error text', async () => {
    for (const [method, params, msg] of [
      ['fs.read', { path: 'no/such/file' }, 'file call'],
      ['run.exec', { path: 'no_such_file.py', language: 'python' }, 'run refused'],
    ]) {
      const id = randomUUID();
      const got = await rpcHttp(stack, method, { project: stack.project, ...params }, { headers: { 'x-request-id': id } });
      assert.equal(got.status, 404, JSON.stringify(got.json));
      assert.equal(got.json.error.data.request_id, id);
      const line = await logged(`${method} in the sandbox's log`, (l) => l.proc === 'cds-sandboxd' && l.msg === msg && l.request_id === id);
      assert.equal(line.error, got.json.error.message);
      await logged(`${method} in the gateway's log`, (l) => l.proc === 'cds-api' && l.msg === 'call' && l.request_id === id);
    }
  });
});

describe('the log stream', () => {
  const read = (as, more = {}) =>
    openSocket(stack, { path: `/stream/logs${more.after === undefined ? '' : `?after=${more.after}`}`, protocol: 'cds.logs.v1', token: stack.tokens[as], ...more });
  const callAs = async (as) => {
    const id = randomUUID();
    await rpcHttp(stack, 'user.self', {}, { as, headers: { 'x-request-id': id } });
    return id;
  };
  const has = (id) => (m) => m.line?.request_id === id;

  test('an admin sees every line and others only those of their own requests', async () => {
    const [admin, developer] = [await read('admin'), await read('developer')];
    try {
      const theirs = await callAs('viewer');
      const own = await callAs('developer');
      await developer.next(has(own));
      await admin.next(has(own));
      assert.ok(admin.messages.some(has(theirs)), 'the admin sees the line of the viewer');
      assert.ok(admin.messages.some((m) => m.line.user_id === undefined), 'and lines that belong to nobody');
      assert.ok(!developer.messages.some(has(theirs)), 'the developer does not see the line of the viewer');
      const me = sub(stack.tokens.developer);
      for (const { line } of developer.messages) assert.equal(line.user_id, me);
    } finally {
      admin.socket.close();
      developer.socket.close();
    }
  });

  test('after names the line behind which the stream goes on, without gap or double', async () => {
    const first = await read('admin');
    const seen = await first.next(has(await callAs('viewer')));
    first.socket.close();
    const missed = [await callAs('viewer'), await callAs('developer')];
    const second = await read('admin', { after: seen.seq });
    try {
      await second.next(has(missed[1]));
      assert.ok(second.messages.some(has(missed[0])));
      assert.ok(!second.messages.some(has(seen.line.request_id)), 'the last line that was read does not come again');
      const seqs = second.messages.map((m) => m.seq);
      assert.equal(new Set(seqs).size, seqs.length);
    } finally {
      second.socket.close();
    }
  });

  test('the stream closes with 4001 when the token ends and not before', async () => {
    const open = await openShort(stack, { path: '/stream/logs', protocol: 'cds.logs.v1' });
    const ended = await waitFor('it is closed', () => open.closed);
    assert.equal(ended, 4001);
    assert.ok(Date.now() >= open.expires, 'not before its time');
  });
});

describe('projects', () => {
  const folders = () => readdirSync(join(stack.home, 'projects')).length;
  const create = (name) => rpcHttp(stack, 'project.create', { name, template: 'sample' });

  test('creating one name again and again is refused and leaves no folder', async () => {
    const before = folders();
    assert.equal((await create('again')).status, 200);
    for (let i = 0; i < 10; i++) {
      const got = await create('again');
      assert.equal(got.status, 409);
      assert.equal(got.json.error.code, CONFLICT);
      assert.match(got.json.error.message, /of this name already/);
    }
    assert.equal(folders(), before + 1);
  });

  test('of many calls with one name at once one makes a project and none of the others leaves its folder', async () => {
    const before = folders();
    const { sandboxd } = await stack.pids();
    let calls;
    await whileStopped(sandboxd, async () => {
      calls = Array.from({ length: 8 }, () => create('at once'));
      await sleep(500); // all of them have found room before the first has its folder
    });
    const got = await Promise.all(calls);
    assert.equal(got.filter((g) => g.status === 200).length, 1);
    assert.equal(got.filter((g) => g.json.error?.code === CONFLICT).length, 7);
    await waitFor('the folders of the others are gone', () => folders() === before + 1, 5000);
  });

  test('the two hundredth project is made, the next one is refused without a folder', async () => {
    const me = sub(stack.tokens.developer);
    const have = Number(await stack.sql(`SELECT count(*) FROM projects WHERE user_id = '${me}'`));
    await stack.sql(`INSERT INTO projects (user_id, id, name, template) SELECT '${me}', gen_random_uuid(), 'filler ' || n, 'empty' FROM generate_series(1, ${199 - have}) n`);
    try {
      const before = folders();
      assert.equal((await create('the last one')).status, 200);
      const got = await create('one too many');
      assert.equal(got.json.error?.code, CONFLICT);
      assert.match(got.json.error.message, /200 projects/);
      assert.equal(folders(), before + 1);
    } finally {
      await stack.sql(`DELETE FROM projects WHERE name LIKE 'filler %'`);
    }
  });

  test('a caller that leaves while the folder is made leaves neither folder nor row', async () => {
    const before = folders();
    const { sandboxd } = await stack.pids();
    await whileStopped(sandboxd, async () => {
      const leaving = new AbortController();
      const call = rpcHttp(stack, 'project.create', { name: 'left', template: 'sample' }, { signal: leaving.signal });
      await sleep(500); // the look whether there is room is over, the sandbox has been asked
      leaving.abort();
      await assert.rejects(call);
      await logged('the gateway noticed', (l) => l.method === 'project.create' && l.end === 'CANCELLED');
    });
    // The sandbox changes folders one after the other: when this one is there, the other one was made, and is about to be removed.
    assert.equal((await create('behind it')).status, 200);
    await waitFor('the folder that nobody waits for is gone', () => folders() === before + 1);
    assert.equal(await stack.sql(`SELECT count(*) FROM projects WHERE name = 'left'`), '0');
  });
});

describe('rpc.cancel', () => {
  const cancel = async (c, id) => {
    c.call(`cancel ${id}`, 'rpc.cancel', { id });
    return (await c.answer(`cancel ${id}`)).result.cancelled;
  };
  const fresh = async (name) => (await rpcHttp(stack, 'project.create', { name, template: 'empty' })).json.result.id;

  test('a call that waits for the owner of its project ends at once and is never carried out', () => withLock(stack, 'LOCK TABLE projects', async (hold) => {
    const c = await openSocket(stack);
    const project = await fresh(`cancel early ${randomUUID()}`); // nobody asked for it yet, so the database is asked
    try {
      await hold(async () => {
        c.call('w', 'fs.write', { project, path: 'a.txt', content: 'a' });
        c.call('x', 'run.exec', { project, language: 'sh', code: 'echo ran > ran.txt' });
        await sleep(200);
        assert.equal(await cancel(c, 'w'), true);
        assert.equal(await cancel(c, 'x'), true);
        assert.equal((await c.answer('w')).error.code, CANCELLED);
        assert.equal((await c.answer('x')).error.code, CANCELLED);
      });
      await sleep(300);
      assert.deepEqual((await stack.rpc('fs.list', { project, path: '' })).entries, []);
    } finally {
      c.socket.close();
    }
  }));

  test('a file call that the sandbox has is not said to be cancelled, and is carried out', async () => {
    const c = await openSocket(stack);
    const { sandboxd } = await stack.pids();
    await stack.rpc('fs.list', { project: stack.project, path: '' });
    try {
      let id;
      await whileStopped(sandboxd, () => untilCaught('the sandbox has it', async (i) => {
        id = `w${i}`;
        c.call(id, 'fs.write', { project: stack.project, path: 'kept.txt', content: 'kept' });
        await sleep(1000);
        if (await cancel(c, id)) assert.equal((await c.answer(id)).error.code, CANCELLED); // it had not come so far
        else return true;
      }));
      assert.equal((await c.answer(id)).result.size_bytes, 4);
    } finally {
      c.socket.close();
    }
  });

  test('loading a model goes on, listing them and a chat end, also while the model server says nothing', async () => {
    const c = await openSocket(stack, { token: stack.tokens.admin });
    let start;
    const { llmserver } = await stack.pids();
    try {
      await whileStopped(llmserver, async () => {
        await untilCaught('the model server has it', async (i) => {
          start = `start ${i}`;
          c.call(start, 'llm.start', { model: 'no-such-model' });
          await sleep(1000);
          return !(await cancel(c, start));
        });
        c.call('list', 'llm.list_models');
        c.call('chat', 'llm.chat', { messages: [{ role: 'user', content: 'Hi' }] });
        await sleep(1000);
        assert.equal(await cancel(c, 'list'), true);
        assert.equal(await cancel(c, 'chat'), true);
        assert.equal((await c.answer('list')).error.code, CANCELLED);
        assert.equal((await c.answer('chat')).error.code, CANCELLED);
      });
      assert.ok((await c.answer(start)).error, 'its own answer');
    } finally {
      c.socket.close();
    }
  });
});

describe('ceilings', () => {
  test('a socket may have a hundred calls open, whether they came alone or as a batch, and rpc.cancel still gets through', async () => {
    const oneOf = (batch) => withLock(stack, 'LOCK TABLE projects', async (hold) => {
      const c = await openSocket(stack);
      try {
        const calls = Array.from({ length: 100 }, (_, i) => ({ jsonrpc: '2.0', id: i, method: 'project.list', params: {} }));
        await hold(async () => {
          if (batch) c.send(calls);
          else calls.forEach((call) => c.send(call));
          c.call('over', 'project.list');
          const over = await c.answer('over');
          assert.equal(over.error.code, BUSY);
          assert.match(over.error.message, /100 calls open/);
          assert.ok(over.error.data.retry_after_ms > 0);
          c.call('cancel', 'rpc.cancel', { id: 'nothing' });
          assert.deepEqual((await c.answer('cancel')).result, { cancelled: false });
          assert.equal(c.messages.length, 2, 'none of the hundred was refused');
        });
        const answers = batch ? await c.next((m) => Array.isArray(m)) : await Promise.all(calls.map((call) => c.answer(call.id)));
        assert.equal(answers.filter((a) => a.result).length, 100);
        c.call('after', 'project.list');
        assert.ok((await c.answer('after')).result);
      } finally {
        c.socket.close();
      }
    });
    for (const batch of [false, true]) await oneOf(batch);
  });

  test('llm.chat has the time that llm.request_ms gives it and ten seconds more', async () => {
    const { llmserver } = await stack.pids();
    await whileStopped(llmserver, async () => {
      const began = Date.now();
      const got = await rpcHttp(stack, 'llm.chat', { messages: [{ role: 'user', content: 'Hi' }] });
      assert.equal(got.json.error.code, TIMED_OUT, JSON.stringify(got.json));
      const ms = Date.now() - began;
      assert.ok(ms >= 10_900, `${ms} ms`);
      timely(ms, 15_000);
    });
  });
});

describe('errors below /v1', () => {
  const ports = () => [['the page server', stack.ports.ui], ['the gateway', stack.ports.api], ['llmserver', stack.ports.llm]];
  const assertOpenai = (got, status, code, who) => {
    assert.equal(got.status, status, who);
    assert.match(got.headers, /content-type: application\/json/, who);
    assert.equal(got.json.error.code, code, who);
    assert.equal(typeof got.json.error.message, 'string');
    assert.equal(typeof got.json.error.type, 'string');
    assert.equal(got.json.error.param, null);
    assert.match(got.headers, /x-request-id: [0-9a-f-]{36}/, who);
  };

  test('refusals by the head have the shape of OpenAI, and a problem document elsewhere', async () => {
    const head = (path, ...lines) => `POST ${path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n${lines.map((l) => `${l}\r\n`).join('')}\r\n`;
    for (const [who, port] of ports()) {
      assertOpenai(await rawHttp(port, head('/v1/chat/completions', 'Content-Length: 99999999')), 413, 'request_too_large', who);
      assertOpenai(await rawHttp(port, head('/v1/completions', 'Transfer-Encoding: chunked')), 411, 'invalid_request', who);
      assertOpenai(await rawHttp(port, head('/v1/models', 'Host: u', 'Content-Length: 0')), 400, 'invalid_request', who);
      const other = await rawHttp(port, head('/rpc', 'Content-Length: 99999999'));
      assert.equal(other.status, 413);
      assert.match(other.headers, /content-type: application\/problem\+json/);
    }
  });

  test('a model server that is away is 503 in the shape of OpenAI, with a time to wait', async () => {
    const { llmserver } = await stack.pids();
    process.kill(llmserver, 'SIGKILL');
    for (const port of [stack.ports.api, stack.ports.ui]) {
      const got = await waitFor('nobody answers', async () => {
        const one = await rawHttp(port, 'GET /v1/models HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n');
        const now = one.status === 503 ? null : (await stack.pids()).llmserver;
        try {
          if (now) process.kill(now, 'SIGKILL');
        } catch {
          /* it has ended since */
        }
        return one.status === 503 ? one : null;
      }, 20_000);
      assertOpenai(got, 503, 'unavailable', `port ${port}`);
      assert.match(got.headers, /retry-after: 1/);
      assert.ok(got.json.error.hint && got.json.error.retry_after_ms === 1000);
    }
  });
});
