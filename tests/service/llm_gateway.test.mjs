// Generation through the gateway on a live studio: one request id, errors that keep their members, and clients that leave by every door.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openSocket, rpcHttp } from '../support/gateway.mjs';
import { awayFromTheTurn, users, waitFor } from '../support/stack.mjs';
import { ask, liveStream, nothingIsHeld, withModel } from '../support/llm.mjs';

const story = { messages: ask('Write a very long story about a river.'), max_tokens: 1500 };
/** The likeliest words of this story have no end; a seed lets nobody guess at them. */
const long = { ...story, temperature: 0, seed: 1 };
const endless = { ...story, temperature: 0.8, ignore_eos: true }; // of the doors that take it
let stack;
let llm;
withModel((studio) => ({ stack, llm } = studio));

const usage = () => llm.usage();
const modelStatus = () => llm.modelStatus();
const idle = () => llm.idle();
const loggedAll = (wanted) => stack.logTail(500).filter(wanted);

describe('one request id', () => {
  test('of a chat stands in header, both logs, ledger row and result', async () => {
    const id = randomUUID();
    const got = await rpcHttp(stack, 'llm.chat', { messages: ask('Hi'), max_tokens: 4 }, { headers: { 'x-request-id': id } });
    assert.equal(got.status, 200, JSON.stringify(got.json));
    assert.equal(got.headers.get('x-request-id'), id);
    assert.equal(got.json.result.request_id, id);
    assert.equal(await stack.sql(`SELECT count(*) FROM llm_requests q JOIN token_ledger l ON l.request_id = q.id WHERE q.id = '${id}'`), '1');
    const model = await waitFor('llmserver logged it', () => loggedAll((l) => l.proc === 'cds-llmserver' && l.request_id === id)[0]);
    assert.equal(model.completion_tokens, got.json.result.usage.completion_tokens);
    const gateway = await waitFor('the gateway logged it', () => loggedAll((l) => l.proc === 'cds-api' && l.request_id === id)[0]);
    assert.equal(gateway.method, 'llm.chat');
  });

  test('of a refused chat stands in the error text and in one line of each log', async () => {
    const id = randomUUID();
    const got = await rpcHttp(stack, 'llm.chat', { messages: ask('word '.repeat(3000)) }, { headers: { 'x-request-id': id } });
    assert.equal(got.json.error.data.request_id, id);
    for (const proc of ['cds-api', 'cds-llmserver']) {
      const lines = await waitFor(`${proc} logged it`, () => (loggedAll((l) => l.proc === proc && l.request_id === id).length ? loggedAll((l) => l.proc === proc && l.request_id === id) : null));
      assert.equal(lines.length, 1, JSON.stringify(lines));
      assert.equal(lines[0].error, got.json.error.message);
    }
  });
});

describe('errors of llmserver through /rpc', () => {
  test('a too long prompt points at the parameter', async () => {
    const got = await rpcHttp(stack, 'llm.chat', { messages: ask('word '.repeat(3000)) });
    assert.equal(got.status, 400);
    assert.equal(got.json.error.code, -32052);
    assert.deepEqual(got.json.error.data.errors.map((e) => e.pointer), ['/params/messages']);
  });

  test('a used up budget names its rule and says that trying again does not help', async () => {
    await awayFromTheTurn();
    const before = await usage();
    await stack.rpc('budget.set', { scope: 'user', email: users.developer.email, unit: 'tokens', window: 'month', limit: before.used_tokens + 5 }, 'admin');
    try {
      const got = await rpcHttp(stack, 'llm.chat', { messages: ask('Hi there, how are you today?'), max_tokens: 50 });
      assert.equal(got.status, 429);
      assert.equal(got.json.error.code, -32030);
      assert.match(got.json.error.data.rule, /^budget\./);
      assert.ok(got.json.error.data.hint);
      assert.ok(!got.json.error.message.includes(got.json.error.data.hint), 'the hint is not told twice');
      assert.equal(got.headers.get('x-should-retry'), 'false');
    } finally {
      await stack.rpc('budget.set', { scope: 'user', email: users.developer.email, unit: 'tokens', window: 'month', limit: before.limit_tokens }, 'admin');
    }
    const fine = await rpcHttp(stack, 'llm.chat', { messages: ask('Hi'), max_tokens: 2 });
    assert.equal(fine.headers.get('x-should-retry'), null);
  });

  test('a failed generation is one line in the log, with its reason', async () => {
    const id = randomUUID();
    await idle();
    const { pid } = await modelStatus();
    const call = rpcHttp(stack, 'llm.chat', long, { headers: { 'x-request-id': id } });
    await waitFor('it runs', async () => (await modelStatus()).active === 1);
    process.kill(pid, 'SIGKILL');
    const got = await call;
    assert.equal(got.status, 500);
    assert.equal(got.json.error.code, -32051);
    const mine = (l) => l.proc === 'cds-llmserver' && l.request_id === id;
    await waitFor('llmserver logged it', () => loggedAll(mine).length > 0);
    await sleep(300);
    const lines = loggedAll(mine);
    assert.equal(lines.length, 1, JSON.stringify(lines));
    assert.equal(lines[0].level, 'warn');
    assert.equal(lines[0].code, 'MODEL_CRASHED');
    assert.equal(lines[0].error, got.json.error.message);
    await stack.waitModel();
  });
});

/** Steps the model process has made, told by itself: with the answer to a request of one token, which takes a few steps of its own. */
const PROBE_STEPS = 4;
async function stepsNow() {
  assert.equal((await llm.chat({ messages: ask('Hi'), max_tokens: 1 })).status, 200);
  return (await modelStatus()).work.steps;
}

/** A streamed generation over HTTP that can be left; tokens() counts what came. */
async function streamed(base, id) {
  const s = await liveStream({ ...stack, llmUrl: base }, endless, { 'x-request-id': id });
  assert.equal(s.status, 200);
  return { leave: s.leave, tokens: () => s.events.length - 1 };
}

const doors = {
  'llmserver itself': (id) => streamed(stack.llmUrl, id),
  '/v1 of the gateway': (id) => streamed(stack.apiUrl, id),
  '/v1 of the page server': (id) => streamed(stack.url, id),
  'POST /rpc': async (id) => {
    const controller = new AbortController();
    rpcHttp(stack, 'llm.chat', long, { headers: { 'x-request-id': id }, signal: controller.signal }).catch(() => {});
    const began = (await modelStatus()).work.steps;
    await waitFor('it generates', async () => (await modelStatus()).work.steps > began + 20);
    return { leave: () => controller.abort(), tokens: () => 9 };
  },
  'a WebSocket': async () => {
    const c = await openSocket(stack);
    c.call(1, 'llm.chat', long);
    return { leave: () => c.socket.terminate(), tokens: () => c.messages.filter((m) => m.method === 'llm.delta').length };
  },
};

describe('a client that leaves', () => {
  for (const [door, open] of Object.entries(doors))
    test(`by ${door} stops the generation within a step: the model process makes no more of them`, async () => {
      await idle();
      const before = await usage();
      const id = randomUUID();
      const client = await open(id);
      await waitFor('some tokens came', () => client.tokens() > 8);
      const seen = client.tokens();
      client.leave();
      await idle();
      const first = await stepsNow();
      await sleep(700);
      const second = await stepsNow();
      assert.ok(second - first <= PROBE_STEPS, `${second - first} steps in a time in which nobody asked for any`);
      // What is paid is what was computed until then, and the model was asked for many times more.
      const row = await waitFor('it is settled', async () => (await usage()).recent.find((r) => r.state === 'gone' && r.at > before.recent[0].at));
      // A socket names no id, and the page server makes one of its own.
      if (!['a WebSocket', '/v1 of the page server'].includes(door)) assert.equal(row.request_id, id);
      assert.ok(row.completion_tokens >= seen, `${row.completion_tokens} booked, ${seen} seen`);
      assert.ok(row.completion_tokens < long.max_tokens, `${row.completion_tokens} of ${long.max_tokens} tokens`);
      await nothingIsHeld(stack);
    });

  test('while another one stays: its steps go on, which the counter shows', async () => {
    await idle();
    const stays = await streamed(stack.llmUrl, randomUUID());
    const leaves = await streamed(stack.apiUrl, randomUUID());
    try {
      await waitFor('both came', () => stays.tokens() > 8 && leaves.tokens() > 8);
      leaves.leave();
      await waitFor('one is left', async () => (await modelStatus()).active === 1);
      const { steps } = (await modelStatus()).work;
      await waitFor('its steps go on', async () => (await modelStatus()).work.steps > steps + PROBE_STEPS);
    } finally {
      stays.leave();
    }
    await idle();
  });
});

describe('rpc.cancel of a chat', () => {
  test('ends it with what there is, also when it is asked for at once', async () => {
    const c = await openSocket(stack);
    try {
      for (const when of ['at once', 'in a moment', 'in its answer']) {
        const id = `chat ${when}`;
        c.call(id, 'llm.chat', long);
        if (when === 'in a moment') await sleep(5);
        if (when === 'in its answer') await c.next((m) => m.method === 'llm.delta' && m.params.id === id);
        c.call(`cancel ${id}`, 'rpc.cancel', { id });
        assert.deepEqual((await c.answer(`cancel ${id}`)).result, { cancelled: true });
        const { result, error } = await c.answer(id);
        assert.ok(error?.code === -32800 || result?.finish_reason === 'stop', JSON.stringify(error ?? result));
        if (when === 'in its answer') assert.ok(result.usage.completion_tokens > 0);
        await idle();
      }
    } finally {
      c.socket.close();
    }
  });
});

describe('a full queue', () => {
  let own;
  withModel((studio) => (own = studio), { 'llm.slots': '1', 'llm.queue': '1' });

  test('is 503 with Retry-After through /rpc as well', async () => {
    const first = await liveStream(own.stack, endless);
    await waitFor('the first one runs', () => first.events.length > 2);
    const second = await openSocket(own.stack);
    second.call(1, 'llm.chat', long);
    await waitFor('the second one waits', async () => (await own.llm.modelStatus()).queued === 1);
    const third = await rpcHttp(own.stack, 'llm.chat', long);
    assert.equal(third.status, 503);
    assert.equal(third.json.error.code, -32053);
    assert.ok(third.json.error.data.retry_after_ms >= 1000);
    assert.ok(Number(third.headers.get('retry-after')) >= 1);
    second.socket.terminate();
    first.leave();
    await own.llm.idle();
  });
});
