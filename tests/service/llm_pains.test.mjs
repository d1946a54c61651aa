// What goes wrong in other model servers and has no test elsewhere here: a process that lives and does nothing, a server that grows, a queue that
// has no limit for one user. Needs the default model.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startStack, timely, waitFor } from '../support/stack.mjs';
import { MODEL, ask, assemble, llmClient, nothingIsHeld, withModel } from '../support/llm.mjs';

let stack;
let llm;
const SILENT_MS = 10_000; // a step of a busy machine takes seconds
withModel((studio) => ({ stack, llm } = studio), { 'llm.silent_ms': String(SILENT_MS), 'llm.slots': '2', 'llm.queue_per_user': '2', 'llm.resume_bytes': '1000000', 'llm.request_ms': '20000' });

const long = { messages: ask('Write a very long story.'), max_tokens: 1500, ignore_eos: true };
const rssKiB = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

describe('a model process', () => {
  test('that lives and does nothing is killed, its request gets an error, and it comes back', async () => {
    const { llmworker } = await stack.pids();
    const asked = llm.chat(long);
    await waitFor('it runs', async () => (await llm.modelStatus())?.active === 1);
    process.kill(llmworker, 'SIGSTOP');
    const got = await asked;
    assert.equal(got.status, 500, got.text);
    assert.equal(got.json.error.code, 'model_crashed');
    await stack.waitModel();
    assert.notEqual((await stack.pids()).llmworker, llmworker);
    assert.equal((await llm.chat({ messages: ask('Hi'), max_tokens: 2 })).status, 200);
    await nothingIsHeld(stack);
  });

  test('that is stuck while it idles makes the server unready and is started anew', async () => {
    const ready = async () => (await fetch(`${stack.llmUrl}/readyz`)).status;
    const { llmworker } = await stack.pids();
    await sleep(SILENT_MS / 2 + 500); // so long nobody asks a process that was at work
    const rows = (await llm.modelStatus()).work.rows;
    assert.equal(await ready(), 200);
    await waitFor('one token was computed', async () => (await llm.modelStatus()).work.rows > rows);
    process.kill(llmworker, 'SIGSTOP');
    await sleep(SILENT_MS / 2 + 500);
    assert.equal(await ready(), 200, 'it is being asked');
    const said = await waitFor('it is overdue', async () => {
      const reply = await fetch(`${stack.llmUrl}/readyz`);
      return reply.status === 503 && reply.text();
    }, SILENT_MS + 3000, 200);
    assert.match(said, /smollm2-135m-instruct does not answer/);
    await waitFor('another process', async () => { const now = (await stack.pids()).llmworker; return now && now !== llmworker; }, 30_000, 200);
    await stack.waitModel();
    assert.equal(await ready(), 200);
    await nothingIsHeld(stack);
  });
});

describe('a model process that the machine gives little time', () => {
  /** So that a step of 128 prompt tokens lasts a quarter of a minute: the process runs for 5 ms of processor time and stands for 250. */
  async function slowly(pid, until) {
    const cpuNs = () => Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]);
    let over = false;
    until.finally(() => (over = true)).catch(() => {});
    try {
      while (!over) {
        const began = cpuNs();
        process.kill(pid, 'SIGCONT');
        await waitFor('it had its turn', () => over || cpuNs() - began > 5e6, Infinity, 1);
        process.kill(pid, 'SIGSTOP');
        await sleep(250);
      }
      process.kill(pid, 'SIGCONT');
    } catch {
      /* it was killed; its request says so */
    }
  }

  test('is not taken for one that does nothing, however long a step takes', async () => {
    const own = await startStack({ options: { 'llm.silent_ms': '6000', 'llm.threads': '1' } });
    try {
      await own.waitModel();
      const { llmworker } = await own.pids();
      const asked = llmClient(own).complete({ prompt: 'stone '.repeat(127), max_tokens: 1 });
      await slowly(llmworker, asked);
      const got = await asked;
      assert.equal(got.status, 200, got.text);
      assert.equal((await own.pids()).llmworker, llmworker);
    } finally {
      await own.stop();
    }
  });
});

describe('a request', () => {
  test('whose schema or grammar never ends stops at its tokens or at the time of the server, whatever it asks for', async () => {
    const endless = { type: 'array', items: { type: 'string' }, minItems: 2000 };
    const tool = { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { x: endless }, required: ['x'] } } };
    const kinds = [
      { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: endless } } },
      { tools: [tool], tool_choice: 'required' },
      { grammar: 'root ::= "a" root' },
    ];
    for (const kind of kinds) {
      const got = await llm.chat({ messages: ask('Go on for ever.'), max_tokens: 12, ...kind });
      assert.equal(got.status, 200, got.text);
      assert.equal(got.json.choices[0].finish_reason, 'length', got.text);
      assert.equal(got.json.usage.completion_tokens, 12);
    }
    const began = performance.now();
    const two = Array.from({ length: 2 }, () => llm.stream({ messages: ask('Go on for ever.'), max_tokens: 1_000_000, grammar: 'root ::= [a-z] root', context_shift: true, stream_options: { include_usage: true } }));
    for (const s of await Promise.all(two)) {
      assert.ok(s.done && !s.error, JSON.stringify(s.error));
      assert.equal(assemble(s.events).finish, 'length');
      assert.ok(['deadline', 'finished'].includes(s.events.at(-1).cds.ended), s.events.at(-1).cds.ended);
    }
    timely(performance.now() - began, 25_000);
  });
});

describe('a load', () => {
  test('that stands still is told with how far it is and when to come again, and one that goes on is waited for', async () => {
    const own = await startStack({ options: { 'llm.load_wait_ms': '8000', 'llm.drain_ms': '0' } });
    const client = llmClient(own);
    try {
      await own.waitModel();
      const one = async () => (await client.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === MODEL);
      const halted = async () => {
        await client.call('POST', '/admin/unload', { model: MODEL }, 'admin');
        const load = client.call('POST', '/admin/load', { model: MODEL }, 'admin');
        const m = await waitFor('it loads', async () => { const now = await one(); return now?.pid && now; }, 10_000, 1);
        process.kill(m.pid, 'SIGSTOP');
        return { load, pid: m.pid, loading: (await one()).state === 'loading' };
      };
      const until = async (wanted) => {
        for (let i = 0; i < 20; i++) {
          const h = await halted();
          if (h.loading) return wanted(h);
          process.kill(h.pid, 'SIGCONT'); // it was faster
          await h.load;
        }
        throw new Error('no load was ever caught');
      };
      await until(async ({ load, pid }) => {
        for (const got of await Promise.all([client.chat({ messages: ask('Hi') }), client.call('POST', '/v1/messages', { messages: ask('Hi'), max_tokens: 4, stream: true })])) {
          assert.equal(got.status, 503, got.text);
          assert.match(got.text, /is being started \(\d+ %, \d requests? wait/);
          assert.ok(Number(got.headers.get('retry-after')) >= 1);
        }
        process.kill(pid, 'SIGCONT');
        assert.equal((await load).json.state, 'loaded');
      });
      await until(async ({ load, pid }) => {
        const asked = client.chat({ messages: ask('Hi'), max_tokens: 2 });
        const percent = async () => { const m = await one(); return m.state === 'loading' ? m.percent : 100; };
        let pauses = 0;
        for (let before = await percent(); before < 100; pauses++) {
          await sleep(4500);
          process.kill(pid, 'SIGCONT');
          before = await waitFor('it goes on', async () => { const now = await percent(); return now > before && now; }, 10_000, 1);
          if (before < 100 && pauses < 3) process.kill(pid, 'SIGSTOP');
        }
        assert.equal((await asked).status, 200, `after ${pauses} pauses`);
        assert.equal((await load).json.state, 'loaded');
      });
    } finally {
      await own.stop();
    }
  });
});

describe('the queue', () => {
  test('has a limit for one user, which is 429 with the time to wait, while others still get in', async () => {
    const ids = [];
    const many = [];
    for (let i = 0; i < 4; i++) {
      const id = `0190000${i}-0000-7000-8000-00000000000${i}`;
      ids.push(id);
      many.push(llm.call('POST', '/v1/chat/completions', long, 'developer', { 'x-request-id': id }));
      await waitFor('it is in', async () => { const s = await llm.modelStatus(); return s.active + s.queued === i + 1; });
    }
    for (const path of ['/v1/chat/completions', '/v1/responses', '/v1/messages']) {
      const refused = await llm.call('POST', path, { ...long, input: 'Hi' });
      assert.equal(refused.status, 429, refused.text);
      assert.ok(Number(refused.headers.get('retry-after')) >= 1);
      assert.ok(Number(refused.headers.get('x-cds-queue-place')) >= 3);
      assert.match(refused.json.error.type, /rate_limit_error/);
    }
    const other = llm.chat({ messages: ask('Hi'), max_tokens: 1 }, 'admin');
    for (const id of ids) await llm.call('POST', `/v1/requests/${id}/cancel`);
    assert.equal((await other).status, 200);
    await Promise.all(many);
    await llm.idle();
  });
});

describe('the model server', () => {
  test('does not grow over requests of every kind', async () => {
    const pid = (await stack.pids()).llmserver;
    const kinds = [
      () => llm.call('POST', '/v1/messages/count_tokens', { messages: ask('Hi') }),
      () => llm.call('POST', '/v1/responses', { input: 'Hi', max_output_tokens: 1, stream: true, resumable: true }),
      () => llm.call('POST', '/v1/messages', { messages: ask('Hi'), max_tokens: 0 }),
      () => llm.call('POST', '/v1/responses', { input: [{ type: 'nothing' }] }),
      () => llm.call('POST', '/v1/chat/completions', '{'),
      () => llm.call('GET', '/v1/requests/01900000-0000-7000-8000-000000000000/events'),
      () => llm.call('GET', '/models'),
    ];
    const round = async (n) => { for (let i = 0; i < n; i++) await kinds[i % kinds.length](); };
    await round(350); // what is allocated once, and the kept streams
    const first = rssKiB(pid);
    await round(700);
    const last = rssKiB(pid);
    assert.ok(last - first < 1024, `${first} KiB, then ${last} KiB`);
    assert.ok(last < 64 * 1024, `${last} KiB`);
  });
});
