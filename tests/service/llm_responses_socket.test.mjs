// /v1/responses as a WebSocket: turns, lanes, going on, cancel, bad messages and ceilings; with the official client and with bare sockets. The
// model has random weights: what it says does not matter here.
import assert from 'node:assert/strict';
import { test, describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { ResponsesWS } from 'openai/resources/responses/ws';
import WebSocket from 'ws';
import { openShort, openSocket, rawHttp } from '../support/gateway.mjs';
import { waitFor } from '../support/stack.mjs';
import { ask, nothingIsHeld, readEvents } from '../support/llm.mjs';
import { LONG, TINY as MODEL, withTiny } from '../support/tiny.mjs';

let stack;
let llm;
withTiny((studio) => ({ stack, llm } = studio));

const PROTOCOL = 'cds.responses.v1';
const long = { input: 'Write a very long story.', max_output_tokens: LONG, ignore_eos: true };
const short = { input: 'Say hello.', max_output_tokens: 6, temperature: 0 };
const terminal = ['response.completed', 'response.incomplete', 'response.failed', 'error'];

/** A socket with what a turn needs: create(event), end(nth) of the nth turn that ended, cancel(event), text(lane). */
async function open({ as = 'developer', path = '/v1/responses', of = stack, short = false } = {}) {
  const c = short ? await openShort(of, { path, protocol: PROTOCOL }, as) : await openSocket(of, { path, protocol: PROTOCOL, token: stack.tokens[as] });
  c.create = (event) => c.send({ type: 'response.create', ...event });
  c.cancel = (event = {}) => c.send({ type: 'response.cancel', ...event });
  c.ends = () => c.messages.filter((m) => terminal.includes(m.type));
  c.end = (nth = 1) => waitFor(`end ${nth}`, () => c.ends()[nth - 1] ?? (c.closed !== null && { type: 'closed', code: c.closed }));
  c.deltas = (lane) => c.messages.filter((m) => m.type === 'response.output_text.delta' && m.stream_id === lane);
  c.text = (lane) => c.deltas(lane).map((m) => m.delta).join('');
  c.close = () => c.socket.close();
  return c;
}

async function withSocket(fn, options) {
  const c = await open(options);
  try {
    await fn(c);
  } finally {
    c.socket.terminate();
  }
}

describe('a socket of responses', () => {
  test('carries the same events as a stream over HTTP', () => withSocket(async (c) => {
    const streamed = readEvents((await llm.call('POST', '/v1/responses', { ...short, stream: true })).text).map((e) => e.data);
    c.create(short);
    const last = await c.end();
    assert.deepEqual(c.messages.map((m) => m.type), streamed.map((m) => m.type));
    assert.deepEqual(c.messages.map((m) => m.sequence_number), c.messages.map((_, i) => i));
    assert.equal(c.text(), last.response.output[0].content[0].text);
    assert.equal(last.response.output[0].content[0].text, streamed.at(-1).response.output[0].content[0].text);
    assert.ok(c.messages.every((m) => !('stream_id' in m)));
  }));

  test('is that of the official client, unchanged', async () => {
    const client = new OpenAI({ baseURL: `${stack.apiUrl}/v1`, apiKey: stack.tokens.developer, maxRetries: 0 });
    const ws = new ResponsesWS(client);
    const seen = [];
    try {
      const done = new Promise((resolve, reject) => {
        ws.on('event', (event) => seen.push(event.type));
        ws.on('response.completed', resolve).on('response.incomplete', resolve).on('error', reject);
      });
      ws.send({ type: 'response.create', model: MODEL, ...short });
      const { response } = await done;
      assert.equal(seen[0], 'response.created');
      assert.ok(response.output[0].content[0].text.length > 0);
      assert.ok(response.usage.output_tokens > 0);
      const refused = new Promise((resolve) => ws.on('error', resolve));
      ws.send({ type: 'response.create', model: MODEL, ...short, temperature: 9 });
      const error = await refused;
      assert.match(error.message, /temperature/);
      assert.equal(error.error.status, 400);
    } finally {
      ws.close();
    }
  });

  test('is open at the page server as well', () => withSocket(async (c) => {
    c.create({ ...short, max_output_tokens: 1 });
    assert.ok((await c.end()).response);
  }, { of: { ...stack, apiUrl: stack.url } }));

  test('takes the turns of one lane in their order and those of several lanes beside each other', () => withSocket(async (c) => {
    c.create({ ...long, stream_id: 'a' });
    c.create({ ...short, stream_id: 'a', max_output_tokens: 3 });
    c.create({ ...short, stream_id: 'b', max_output_tokens: 400, ignore_eos: true });
    await c.end(1); // b's, unless it waited for a
    c.cancel({ response_id: c.messages.find((m) => m.stream_id === 'a').response.id });
    for (const nth of [2, 3]) await c.end(nth);
    const inA = c.messages.filter((m) => m.stream_id === 'a');
    const first = inA.findIndex((m) => terminal.includes(m.type));
    assert.equal(inA.filter((m) => m.type === 'response.created').length, 2);
    assert.ok(inA.slice(0, first).filter((m) => m.type === 'response.created').length === 1, 'the second begins behind the end of the first');
    const at = (lane, type) => c.messages.findIndex((m) => m.stream_id === lane && m.type === type);
    assert.ok(at('b', 'response.created') < c.messages.findIndex((m) => m.stream_id === 'a' && terminal.includes(m.type)), 'b did not wait for a');
    assert.ok(c.messages.every((m) => m.stream_id === 'a' || m.stream_id === 'b'));
  }));

  test('goes on with a response it has given, in any lane, and sends only what is new', () => withSocket(async (c) => {
    c.create({ ...short, stream_id: 'a' });
    const first = (await c.end(1)).response;
    c.create({ input: [{ role: 'user', content: 'Again.' }], previous_response_id: first.id, max_output_tokens: 4, temperature: 0, stream_id: 'b' });
    const second = (await c.end(2)).response;
    const whole = await llm.call('POST', '/v1/responses', { max_output_tokens: 4, temperature: 0, input: [{ role: 'user', content: short.input }, ...first.output, { role: 'user', content: 'Again.' }] });
    assert.equal(second.usage.input_tokens, whole.json.usage.input_tokens, 'the model sees the whole conversation');
    assert.ok(second.usage.input_tokens_details.cached_tokens > 0, 'and what was there is not computed again');
    c.create({ input: 'And again.', previous_response_id: second.id, max_output_tokens: 1 });
    assert.ok((await c.end(3)).response.usage.input_tokens > second.usage.input_tokens, 'a chain goes on');
  }));

  test('reads a prompt in advance that the next turn goes on with', () => withSocket(async (c) => {
    c.create({ input: `${'A long instruction. '.repeat(30)}`, generate: false });
    const warm = (await c.end(1)).response;
    assert.equal(c.text(), '');
    assert.equal(warm.usage.output_tokens, 0);
    c.create({ input: 'Say hello.', previous_response_id: warm.id, max_output_tokens: 2 });
    const next = (await c.end(2)).response;
    assert.ok(next.usage.input_tokens_details.cached_tokens > warm.usage.input_tokens / 2, JSON.stringify(next.usage));
  }));

  test('is booked turn by turn like any other generation', () => withSocket(async (c) => {
    const before = await llm.usage();
    c.create(short);
    const one = (await c.end(1)).response;
    c.create({ ...short, temperature: 9 });
    assert.equal((await c.end(2)).status, 400);
    const later = await llm.usage();
    assert.equal(later.used_tokens - before.used_tokens, one.usage.total_tokens);
    const row = later.recent.find((r) => r.request_id === one.cds.request_id);
    assert.equal(`resp_${row.request_id.replaceAll('-', '')}`, one.id);
  }));
});

describe('a response on a socket ends', () => {
  test('by response.cancel, with what there is and its usage, and the lane goes on', () => withSocket(async (c) => {
    c.create(long);
    c.create(short);
    await waitFor('it speaks', () => c.deltas().length > 4);
    c.cancel();
    const { type, response } = await c.end(1);
    assert.equal(type, 'response.incomplete');
    assert.equal(response.incomplete_details.reason, 'cancelled');
    assert.ok(response.usage.output_tokens > 0 && response.usage.output_tokens < LONG);
    assert.notEqual((await c.end(2)).type, 'error');
  }));

  test('by response.cancel at any moment, also when the wish overtakes the request', () => withSocket(async (c) => {
    for (let i = 0; i < 24; i++) {
      c.create(long);
      await sleep(i / 2);
      c.cancel();
      const end = await c.end(i + 1);
      assert.equal(end.type === 'error' ? end.error.code : end.response.incomplete_details.reason, 'cancelled', `after ${i / 2} ms: ${JSON.stringify(end)}`);
    }
  }));

  test('by its id or its lane, and leaves the others alone', () => withSocket(async (c) => {
    c.create({ ...long, stream_id: 'a' });
    c.create({ ...long, stream_id: 'b', max_output_tokens: 60 });
    c.create({ ...long, stream_id: 'd' });
    await waitFor('all speak', () => ['a', 'b', 'd'].every((l) => c.deltas(l).length > 3));
    c.cancel({ response_id: c.messages.find((m) => m.stream_id === 'a').response.id });
    c.cancel({ stream_id: 'd' });
    for (const nth of [1, 2, 3]) await c.end(nth);
    const reasons = Object.fromEntries(c.ends().map((m) => [m.stream_id, m.response.incomplete_details.reason]));
    assert.deepEqual(reasons, { a: 'cancelled', d: 'cancelled', b: 'max_output_tokens' });
  }));

  test('before it began, without being asked of the model', () => withSocket(async (c) => {
    const before = (await llm.usage()).requests;
    c.create(long);
    c.create({ ...short, stream_id: undefined });
    await waitFor('the first speaks', () => c.deltas().length > 2);
    c.cancel(); // the running one
    await c.end(1);
    await c.end(2);
    c.create({ ...long, stream_id: 'x' });
    c.create({ ...short, stream_id: 'x' });
    await waitFor('it speaks', () => c.deltas('x').length > 2);
    c.cancel({ stream_id: 'x' });
    await c.end(3);
    await c.end(4);
    assert.equal((await llm.usage()).requests - before, 4);
    c.cancel();
    const none = await c.end(5);
    assert.equal(none.status, 404);
    assert.equal(none.error.code, 'not_found');
  }));

  test('when its socket is closed, and pays for what was computed', async () => {
    const c = await open();
    c.create({ ...long, stream_id: 'a' });
    c.create({ ...long, stream_id: 'b' });
    await waitFor('both speak', () => c.deltas('a').length > 3 && c.deltas('b').length > 3);
    const ids = c.messages.filter((m) => m.type === 'response.created').map((m) => m.response.id);
    c.socket.terminate();
    await llm.idle();
    const rows = await waitFor('both are settled', async () => {
      const { recent, held_tokens } = await llm.usage();
      const mine = recent.filter((r) => ids.includes(`resp_${r.request_id.replaceAll('-', '')}`) && r.state === 'gone');
      return mine.length === 2 && held_tokens === 0 && mine;
    });
    for (const row of rows) assert.ok(row.completion_tokens >= 3 && row.completion_tokens < LONG, JSON.stringify(row));
  });

  test('as failed when the model process dies, and the socket goes on', () => withSocket(async (c) => {
    const { llmworker } = await stack.pids();
    c.create(long);
    await waitFor('it speaks', () => c.deltas().length > 3);
    process.kill(llmworker, 'SIGKILL');
    assert.equal((await c.end(1)).type, 'response.failed');
    await waitFor('the error follows', () => c.messages.some((m) => m.type === 'error' && m.code === 'model_crashed'));
    await stack.waitModel();
    const ended = c.ends().length;
    c.create(short);
    assert.ok((await c.end(ended + 1)).response);
    await nothingIsHeld(stack);
  }));

  test('regularly after the token has expired, and then the socket closes', async () => {
    const c = await open({ short: true });
    c.create({ ...long, t_max_predict_ms: c.seconds * 1000 + 1500 }); // longer than the token
    await waitFor('it speaks', () => c.deltas().length > 3);
    await waitFor('it is over', () => c.closed !== null);
    assert.equal(c.closed, 4001);
    assert.equal(c.ends()[0].response.incomplete_details.reason, 'max_output_tokens');
  });
});

describe('a socket of responses refuses', () => {
  const messages = {
    'no JSON': ['{"type":', 400, null],
    'no object': ['[1]', 400, null],
    'an event of no type': ['{}', 400, 'type'],
    'an event of another type': ['{"type":"session.update"}', 400, 'type'],
    'a turn without input': ['{"type":"response.create"}', 400, 'input'],
    'a lane that is no name': ['{"type":"response.create","input":"Hi","stream_id":7}', 400, 'stream_id'],
    'a lane with a name that is too long': [JSON.stringify({ type: 'response.create', input: 'Hi', stream_id: 'x'.repeat(65) }), 400, 'stream_id'],
    'an empty lane': ['{"type":"response.create","input":"Hi","stream_id":""}', 400, 'stream_id'],
    'a response it has not given': ['{"type":"response.create","input":"Hi","previous_response_id":"resp_1"}', 400, 'previous_response_id'],
    'an answer in the background': ['{"type":"response.create","input":"Hi","background":true}', 400, 'background'],
    'a warm-up that is neither true nor false': ['{"type":"response.create","input":"Hi","generate":"no"}', 400, 'generate'],
    'a model that is not here': ['{"type":"response.create","input":"Hi","model":"gpt-9"}', 404, 'model'],
    'a cancel of a lane that is no name': ['{"type":"response.cancel","stream_id":{}}', 400, 'stream_id'],
    'a text nested 20000 deep': [`{"type":"response.create","input":${'['.repeat(20000)}${']'.repeat(20000)}}`, 400, null],
  };
  for (const [name, [text, status, param]] of Object.entries(messages))
    test(`${name}, and goes on`, () => withSocket(async (c) => {
      c.socket.send(text);
      const got = await c.end(1);
      assert.equal(got.type, 'error', JSON.stringify(got));
      assert.equal(got.status, status, JSON.stringify(got));
      assert.equal(got.error.param, param, JSON.stringify(got));
      assert.equal(typeof got.error.code, 'string');
      assert.equal(typeof got.error.message, 'string');
      if (param === 'previous_response_id') assert.equal(got.error.code, 'previous_response_not_found');
      c.create({ ...short, max_output_tokens: 1 });
      assert.ok((await c.end(2)).response, 'the socket is as good as before');
    }));

  test('bytes, and a message over 2 MiB, by closing', async () => {
    const bytes = await open();
    bytes.socket.send(Buffer.from([1, 2, 3]));
    assert.equal((await bytes.end()).code, 1003);
    const big = await open();
    big.socket.send(JSON.stringify({ type: 'response.create', input: 'x'.repeat(2 * 1024 * 1024) }));
    assert.equal((await big.end()).code, 1009);
  });

  test('a text that is not UTF-8 by closing', async () => {
    const c = await open();
    c.socket.send(Buffer.from([0x22, 0xff, 0x22]), { binary: false });
    assert.equal((await c.end()).code, 1007);
  });

  test('the 33rd turn that runs or waits', () => withSocket(async (c) => {
    c.create(long);
    for (let i = 0; i < 31; i++) c.create({ ...short, max_output_tokens: 1 });
    c.create(short);
    const refused = await c.next((m) => m.type === 'error');
    assert.equal(refused.status, 429);
    assert.equal(refused.error.type, 'rate_limit_error');
    const over = () => c.ends().filter((m) => m.status !== 404); // on a slow machine the long one is over, and nothing to be cancelled
    c.cancel({ response_id: (await c.next((m) => m.type === 'response.created')).response.id });
    await waitFor('the others come to their turn', () => over().length === 33);
    assert.equal(over().filter((m) => m.type === 'error').length, 1);
    c.create({ ...short, max_output_tokens: 1 });
    await waitFor('one more', () => over().length === 34);
  }));

  test('more than 4 MiB that wait', () => withSocket(async (c) => {
    const LONG_ONES = 4; // so that something runs until all has come
    for (let i = 0; i < LONG_ONES; i++) c.create(long);
    const big = { input: 'a '.repeat(750_000), max_output_tokens: 1 };
    for (let i = 0; i < 3; i++) c.create(big);
    const refused = await c.next((m) => m.type === 'error');
    assert.equal(refused.status, 429);
    const left = new Set();
    await waitFor('the big ones are refused as too long', () => {
      for (const { response } of c.messages.filter((m) => m.type === 'response.created').slice(0, LONG_ONES)) {
        if (!left.has(response.id)) c.cancel({ response_id: response.id });
        left.add(response.id);
      }
      return c.ends().filter((m) => m.error?.code === 'context_length_exceeded').length === 2;
    });
  }));

  test('more than 8 MiB that run on it, or 16 MiB on all sockets of a user, with what they go on with', async () => {
    const MIB = 1 << 20, sockets = [];
    const one = async () => {
      const c = await open();
      sockets.push(c);
      c.create({ input: [{ type: 'message', role: 'user', content: 'Hi', id: 'x'.repeat(1.9 * MIB) }], max_output_tokens: 1 });
      c.kept = (await c.end(1)).response.id;
      return c;
    };
    /** Turns that are each a few bytes long, in lanes of their own; @returns those that are refused */
    const ask = async (c, from, count) => {
      for (let i = from; i < from + count; i++) c.create({ ...long, previous_response_id: c.kept, stream_id: `lane ${i}` });
      await waitFor('all are running or refused', () => new Set(c.messages.filter((m) => m.stream_id && /created|error/.test(m.type)).map((m) => m.stream_id)).size === from + count);
      return c.messages.filter((m) => m.type === 'error' && m.stream_id);
    };
    try {
      const [first, second, third] = [await one(), await one(), await one()];
      assert.deepEqual(await ask(first, 0, 4), [], 'four of 1.9 MiB fit');
      const [refused] = await ask(first, 4, 1);
      assert.equal(refused.status, 429);
      assert.equal(refused.error.rule, 'responses.bytes');
      assert.match(refused.error.message, /run on this socket ask \d{7} already; at most 8388608/);
      assert.deepEqual(await ask(second, 0, 4), []);
      const [everywhere] = await ask(third, 0, 1);
      assert.equal(everywhere.status, 429);
      assert.match(everywhere.error.message, /run on all your sockets ask \d{8} already; at most 16777216/);
      first.cancel({ stream_id: 'lane 0' });
      await waitFor('it ends', () => first.ends().some((m) => m.stream_id === 'lane 0'));
      third.create({ ...short, previous_response_id: third.kept });
      assert.ok((await third.end(3)).response, 'there is room again');
    } finally {
      for (const c of sockets) c.socket.terminate();
      await llm.idle();
    }
  });

  test('to keep more than the newest 16 responses', () => withSocket(async (c) => {
    for (let i = 1; i <= 17; i++) {
      c.create({ ...short, max_output_tokens: 1 });
      await c.end(i);
    }
    const ids = c.ends().map((m) => m.response.id);
    c.create({ input: 'Hi', previous_response_id: ids[0], max_output_tokens: 1 });
    assert.equal((await c.end(18)).error.code, 'previous_response_not_found');
    c.create({ input: 'Hi', previous_response_id: ids[1], max_output_tokens: 1 });
    assert.ok((await c.end(19)).response);
  }));

  test('who has no credential, may not generate, comes from a foreign page or does not ask for a socket', async () => {
    const refusal = (headers, protocols = []) => new Promise((resolve) => {
      const socket = new WebSocket(`${stack.apiUrl.replace(/^http/, 'ws')}/v1/responses`, protocols, { headers });
      socket.on('unexpected-response', (_, reply) => resolve(reply.statusCode)).on('open', () => resolve('open')).on('error', () => {});
    });
    assert.equal(await refusal({}), 401);
    assert.equal(await refusal({ authorization: 'Bearer a.b.c' }), 401);
    assert.equal(await refusal({ authorization: `Bearer ${'x'.repeat(10_000)}` }), 401);
    assert.equal(await refusal({ authorization: `Bearer ${stack.tokens.viewer}` }), 403);
    assert.equal(await refusal({ authorization: `Bearer ${stack.tokens.developer}`, origin: 'https://evil.example' }), 403);
    const plain = await llm.call('GET', '/v1/responses');
    assert.equal(plain.status, 404);
    const version = await rawHttp(stack.ports.api, `GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer ${stack.tokens.developer}\r\n\r\n`);
    assert.equal(version.status, 426);
  });
});
