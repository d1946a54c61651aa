// Answers over a WebSocket: several at once, cancel by call and by request id, as-you-type, slow readers, lost connections. Needs the default model.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openSocket, rpcHttp } from '../support/gateway.mjs';
import { build, freePorts, untilCaught, waitFor } from '../support/stack.mjs';
import { ask, nothingIsHeld, withModel } from '../support/llm.mjs';

let stack;
let llm;
withModel((studio) => ({ stack, llm } = studio), { 'llm.resume_grace_ms': '60000' });

const long = { messages: ask('Write a very long story.'), max_tokens: 1500, temperature: 0 };
/** Enough for every text that the schemas here let pass: digits and spaces are tokens of their own. */
const LONGEST = 600;
const deltas = (c, id) => c.messages.filter((m) => m.method === 'llm.delta' && m.params.id === id).map((m) => m.params);
const text = (c, id) => deltas(c, id).map((d) => d.content).join('');

describe('a socket', () => {
  test('carries several answers at once, each with its own pieces', async () => {
    const c = await openSocket(stack);
    try {
      const ids = ['a', 'b', 3, 4];
      for (const id of ids) c.call(id, 'llm.chat', { messages: ask(`Say ${id}.`), max_tokens: 30, temperature: 0 });
      for (const id of ids) {
        const { result, error } = await c.answer(id);
        assert.ok(result, JSON.stringify(error));
        assert.equal(text(c, id), result.content);
        assert.deepEqual(deltas(c, id).map((d) => d.seq), deltas(c, id).map((_, i) => i));
      }
      const order = c.messages.filter((m) => m.method === 'llm.delta').map((m) => m.params.id);
      assert.ok(order.some((id, i) => i > 1 && id !== order[i - 1] && order.slice(0, i - 1).includes(id)), 'they ran beside each other');
    } finally {
      c.socket.close();
    }
  });

  test('ends one of them by its call id and leaves the others alone', async () => {
    const c = await openSocket(stack);
    try {
      c.call(1, 'llm.chat', long);
      c.call(2, 'llm.chat', { ...long, max_tokens: 60 });
      await waitFor('both speak', () => deltas(c, 1).length > 3 && deltas(c, 2).length > 3);
      c.call('c', 'rpc.cancel', { id: 1 });
      const { result } = await c.answer(1);
      assert.equal(result.finish_reason, 'stop');
      assert.ok(result.usage.completion_tokens > 0 && result.usage.completion_tokens < 1500);
      assert.equal(result.content, text(c, 1), 'what there is, is kept');
      assert.equal((await c.answer(2)).result.finish_reason, 'length');
    } finally {
      c.socket.close();
    }
  });

  test('ends one by its request id from another connection, which its own reader gets with usage', async () => {
    const c = await openSocket(stack);
    try {
      c.call(1, 'llm.chat', { ...long, resumable: true });
      const { request_id } = (await c.next((m) => m.method === 'llm.delta' && m.params.content)).params;
      const mine = await rpcHttp(stack, 'llm.cancel', { request_id });
      assert.deepEqual(mine.json.result, { cancelled: true });
      const { result } = await c.answer(1);
      assert.ok(result.usage.completion_tokens > 0);
      assert.deepEqual((await rpcHttp(stack, 'llm.cancel', { request_id })).json.result, { cancelled: false });
      await llm.idle();
    } finally {
      c.socket.close();
    }
  });

  test('that is lost ends its answers', async () => {
    const c = await openSocket(stack);
    c.call(1, 'llm.chat', long);
    c.call(2, 'llm.complete', { prompt: 'Once upon a time', max_tokens: 1500, temperature: 0 });
    await waitFor('both speak', () => deltas(c, 1).length > 3 && deltas(c, 2).length > 3);
    c.socket.terminate();
    await llm.idle();
    await nothingIsHeld(stack);
  });

  test('that is lost goes on with a resumable answer on the next one', async () => {
    const a = await openSocket(stack);
    const body = { ...long, max_tokens: 60, resumable: true };
    a.call(1, 'llm.chat', body);
    await waitFor('it speaks', () => deltas(a, 1).length > 8);
    a.socket.terminate();
    const got = deltas(a, 1);
    const last = got.at(-1);
    const b = await openSocket(stack);
    try {
      b.call('again', 'llm.resume', { request_id: last.request_id, after: last.event });
      const { result, error } = await b.answer('again');
      assert.ok(result, JSON.stringify(error));
      assert.deepEqual(deltas(b, 'again').map((d) => d.event), deltas(b, 'again').map((_, i) => last.event + 1 + i));
      // The same answer from its beginning on: another one to the same question may differ in the company it is computed in.
      b.call('whole', 'llm.resume', { request_id: last.request_id });
      const whole = (await b.answer('whole')).result;
      assert.equal(got.map((d) => d.content).join('') + result.content, whole.content);
      assert.deepEqual(result.usage, whole.usage);
      const rows = (await llm.usage()).recent.filter((r) => r.request_id === result.request_id);
      assert.equal(rows.length, 1);
      assert.equal(rows[0].completion_tokens, result.usage.completion_tokens);
    } finally {
      b.socket.close();
    }
  });

  test('takes functions and a schema as texts', async () => {
    const parameters = JSON.stringify({ type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false });
    const c = await openSocket(stack);
    try {
      c.call(1, 'llm.chat', { messages: ask('Add.'), max_tokens: LONGEST, tools: [{ name: 'add', description: 'Adds.', parameters }], tool_choice: 'add' });
      const { result, error } = await c.answer(1);
      assert.ok(result, JSON.stringify(error));
      assert.equal(result.finish_reason, 'tool_calls');
      const [call] = result.tool_calls;
      assert.equal(call.name, 'add');
      assert.ok(Number.isInteger(JSON.parse(call.arguments).a));
      assert.equal(deltas(c, 1).flatMap((d) => d.tool_calls ?? []).map((t) => t.arguments).join(''), call.arguments);
      c.call(2, 'llm.chat', { max_tokens: 5, messages: [...ask('Add.'), { role: 'assistant', content: '', tool_calls: result.tool_calls }, { role: 'tool', tool_call_id: call.id, content: '5' }] });
      assert.ok((await c.answer(2)).result);
      c.call(3, 'llm.chat', { messages: ask('A number.'), max_tokens: LONGEST, schema: JSON.stringify({ type: 'object', properties: { n: { enum: [1, 2] } }, required: ['n'], additionalProperties: false }) });
      assert.ok([1, 2].includes(JSON.parse((await c.answer(3)).result.content).n));
      c.call(4, 'llm.chat', { messages: ask('Hi'), schema: '{' });
      assert.equal((await c.answer(4)).error.data.errors[0].pointer, '/params/schema');
    } finally {
      c.socket.close();
    }
  });
});

describe('completion as one types', () => {
  test('ends the call before it, and computes the common beginning once', async () => {
    const c = await openSocket(stack);
    const story = 'It was a dark and stormy night, and the captain of the old ship looked out over the water. '.repeat(10);
    try {
      c.call('k0', 'llm.complete', { prompt: story, max_tokens: 600, temperature: 0 });
      await waitFor('it speaks', () => deltas(c, 'k0').length > 3);
      c.call('k1', 'llm.complete', { prompt: `${story}He `, max_tokens: 600, temperature: 0, replaces: 'k0' });
      const first = await c.answer('k0');
      assert.ok(first.error?.code === -32800 || first.result.usage.completion_tokens < 600, JSON.stringify(first));
      await waitFor('the next one speaks', () => deltas(c, 'k1').length > 3);
      c.call('k2', 'llm.complete', { prompt: `${story}He saw`, max_tokens: 8, temperature: 0, replaces: 'k1' });
      const { result } = await c.answer('k2');
      assert.ok(result.usage.prompt_tokens - result.usage.cached_tokens <= 32, JSON.stringify(result.usage));
      assert.equal(text(c, 'k2'), result.content);
      c.call('other', 'llm.complete', { prompt: 'One, two,', max_tokens: 2, replaces: 'nobody' });
      assert.ok((await c.answer('other')).result, 'a call that is over has nothing to be ended');
    } finally {
      c.socket.close();
    }
  });
});

describe('a slow reader', () => {
  const TOTAL = 250_000; // more bytes than all buffers of the kernel on the way together
  const TEXTS = 1500;
  const piece = 'x'.repeat(1000);
  let fake;
  let api;
  let port;
  let written = 0;

  before(async () => {
    // A model server that is faster than any reader, behind a gateway of its own.
    fake = createServer(async (req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      const head = { id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm' };
      let room = null;
      res.on('drain', () => room?.()).on('close', () => room?.());
      for (let i = 0; i < TOTAL && !res.destroyed; i += 50) {
        const delta = i < TEXTS ? { content: piece } : { reasoning_content: 'y' };
        const event = `data: ${JSON.stringify({ ...head, choices: [{ index: 0, delta, finish_reason: null }], usage: null })}\n\n`;
        written += event.length * 50;
        if (!res.write(event.repeat(50))) await new Promise((go) => (room = go));
      }
      res.write(`data: ${JSON.stringify({ ...head, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], usage: null })}\n\n`);
      res.write(`data: ${JSON.stringify({ ...head, choices: [], usage: { prompt_tokens: 1, completion_tokens: TOTAL, total_tokens: TOTAL + 1 }, cds: { cost_micro: 0, request_id: '01234567-89ab-7cde-8f01-23456789abcd', ended: 'finished' } })}\n\n`);
      res.end('data: [DONE]\n\n');
    });
    const [fakePort, apiPort] = await freePorts(2);
    port = apiPort;
    await new Promise((go) => fake.listen(fakePort, '127.0.0.1', go));
    const flags = stack.flags.filter((f) => !f.startsWith('--api.port=') && !f.startsWith('--llm.port='));
    api = spawn(`${build}/bin/cds-api`, [...flags, `--api.port=${port}`, `--llm.port=${fakePort}`], { env: { PATH: process.env.PATH, ...stack.env }, stdio: 'ignore' });
    await waitFor('the gateway answers', () => fetch(`http://127.0.0.1:${port}/readyz`).then((r) => r.ok, () => false));
  });
  after(() => {
    api?.kill('SIGKILL');
    fake?.close();
    fake?.closeAllConnections();
  });

  test('makes the model server wait, is not cut, and gets every piece in the end', () => untilCaught('the whole answer', async () => {
    written = 0;
    const c = await openSocket({ ...stack, apiUrl: `http://127.0.0.1:${port}` });
    const got = { content: [], thoughts: 0, next: 0, answer: null };
    c.socket.removeAllListeners('message'); // far too many to keep them all
    c.socket.on('message', (data) => {
      const m = JSON.parse(data);
      if (!m.method) return (got.answer = m);
      assert.equal(m.params.seq, got.next++);
      if (m.params.content) got.content.push(m.params.content);
      got.thoughts += m.params.reasoning?.length ?? 0;
    });
    try {
      c.call(1, 'llm.chat', { messages: ask('Hi') });
      await waitFor('it began', () => got.next > 0);
      c.socket.pause();
      let before = -1;
      await waitFor('the model server waits', async () => {
        const still = before === written;
        before = written;
        await sleep(400);
        return still && before === written;
      });
      assert.ok(written < TOTAL * 100, `${written} of more than ${TOTAL * 140} bytes were taken while nobody read`);
      const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${api.pid}/status`, 'utf8'))[1]);
      assert.ok(rss < 80_000, `${rss} KiB`);
      c.socket.resume();
      await waitFor('it ended', () => got.answer || c.closed !== null, 300_000);
      assert.equal(c.closed, null);
      // A machine on which nobody can ask for ten seconds whether a credential holds ends what runs with it: that says nothing here.
      if (got.answer.error?.data?.rule === 'access.unknown') return false;
      assert.ok(got.answer.result, JSON.stringify(got.answer.error));
      assert.equal(got.content.join(''), piece.repeat(TEXTS));
      assert.equal(got.answer.result.content.length, 1000 * TEXTS);
      assert.equal(got.thoughts, TOTAL - TEXTS);
      return true;
    } finally {
      c.socket.terminate();
    }
  }));
});
