// A wish to end an answer that reaches the model server before the answer's own request: it is unknown there (404), and must not be lost. The order
// of the two is arranged by a model server of the test's own, behind a gateway of its own.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import { ask } from '../support/llm.mjs';
import { openSocket } from '../support/gateway.mjs';
import { build, freePorts, startStack, waitFor } from '../support/stack.mjs';

const MOST_MS = 60_000; // for what may only fail by never coming
let stack, fake, api, of;
let stream, wishes; // what the gateway asked: the answer (a response that is open), and each time to end it

before(async () => {
  stack = await startStack({ llm: false });
  fake = createServer((req, res) => {
    req.resume();
    if (req.url.endsWith('/cancel')) wishes.push(res);
    else if (req.method === 'POST') stream = res;
    else res.writeHead(200).end('{}');
  });
  const [fakePort, apiPort] = await freePorts(2);
  await once(fake.listen(fakePort, '127.0.0.1'), 'listening');
  const flags = stack.flags.filter((f) => !f.startsWith('--api.port=') && !f.startsWith('--llm.port='));
  api = spawn(`${build}/bin/cds-api`, [...flags, `--api.port=${apiPort}`, `--llm.port=${fakePort}`], { env: { PATH: process.env.PATH, ...stack.env }, stdio: 'ignore' });
  of = { ...stack, apiUrl: `http://127.0.0.1:${apiPort}` };
  await waitFor('the gateway answers', () => fetch(`${of.apiUrl}/readyz`).then((r) => r.ok, () => false), MOST_MS);
});
after(async () => {
  api?.kill('SIGKILL');
  fake?.close();
  fake?.closeAllConnections();
  await stack?.stop();
});
beforeEach(() => {
  stream = null;
  wishes = [];
});

const reply = (res, status, body) => res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const unknown = (res) => reply(res, 404, { error: { message: 'No running request of yours has this id.', type: 'invalid_request_error', code: 'not_found', param: null } });
const accept = (res) => reply(res, 202, { cancelled: true });
const begin = () => stream.writeHead(200, { 'content-type': 'text/event-stream' });

// How each of the two sockets asks, and what the answer's own end looks like.
const chunk = (choices, more) => `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices, usage: null, ...more })}\n\n`;
const response = (type, more) => `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`;
const ways = {
  'an answer': {
    open: () => openSocket(of),
    ask: (c) => c.call(1, 'llm.chat', { messages: ask('Hi') }),
    cancel: (c) => c.call('c', 'rpc.cancel', { id: 1 }),
    speak: () => stream.write(chunk([{ index: 0, delta: { role: 'assistant', content: 'Once' }, finish_reason: null }])),
    spoke: (m) => m.method === 'llm.delta',
    finish: () => stream.end(chunk([{ index: 0, delta: {}, finish_reason: 'stop' }]) + chunk([], { usage: { prompt_tokens: 9, completion_tokens: 1, total_tokens: 10 }, cds: { cost_micro: 0, ended: 'cancelled' } }) + 'data: [DONE]\n\n'),
    ended: (m) => m.id === 1 && !m.method,
    assertWhole: (m) => assert.deepEqual([m.result?.content, m.result?.usage.completion_tokens], ['Once', 1], JSON.stringify(m)),
    assertCancelled: (m) => assert.equal(m.error?.code, -32800, JSON.stringify(m)),
  },
  'a response': {
    open: () => openSocket(of, { path: '/v1/responses', protocol: 'cds.responses.v1' }),
    ask: (c) => c.send({ type: 'response.create', input: 'Hi' }),
    cancel: (c) => c.send({ type: 'response.cancel' }),
    speak: () => stream.write(response('response.created', { sequence_number: 0, response: { id: 'resp_1', status: 'in_progress' } })),
    spoke: (m) => m.type === 'response.created',
    finish: () => stream.end(response('response.incomplete', { sequence_number: 1, response: { id: 'resp_1', status: 'incomplete', incomplete_details: { reason: 'cancelled' }, output: [] } })),
    ended: (m) => ['response.incomplete', 'error'].includes(m.type),
    assertWhole: (m) => assert.equal(m.response?.incomplete_details.reason, 'cancelled', JSON.stringify(m)),
    assertCancelled: (m) => assert.equal(m.error?.code, 'cancelled', JSON.stringify(m)),
  },
};

for (const [what, way] of Object.entries(ways)) {
  /** An answer that was asked for and, before anything came of it, was to end. */
  const overtaken = (fn) => async () => {
    const c = await way.open();
    try {
      way.ask(c);
      await waitFor('it is asked for', () => stream, MOST_MS);
      way.cancel(c);
      await waitFor('it is to end', () => wishes.length === 1, MOST_MS);
      await fn(c);
    } finally {
      c.socket.terminate();
    }
  };

  test(`the end of ${what} that was not known yet is asked for again`, overtaken(async (c) => {
    begin();
    way.speak();
    await c.next(way.spoke, MOST_MS); // the gateway knows that it has begun
    unknown(wishes[0]);
    await waitFor('it is to end, again', () => wishes.length === 2, MOST_MS);
    accept(wishes[1]);
    way.finish();
    way.assertWhole(await c.next(way.ended, MOST_MS));
    assert.equal(wishes.length, 2);
  }));

  test(`${what} that never began when its end came is left, which ends it as well`, overtaken(async (c) => {
    const left = once(stream, 'close');
    unknown(wishes[0]);
    way.assertCancelled(await c.next(way.ended, MOST_MS));
    await left;
    assert.equal(wishes.length, 1);
  }));

  test(`${what} that had ended by itself when its end was asked for is whole, and nobody asks again`, async () => {
    const c = await way.open();
    try {
      way.ask(c);
      await waitFor('it is asked for', () => stream, MOST_MS);
      begin();
      way.speak();
      await c.next(way.spoke, MOST_MS);
      way.cancel(c);
      await waitFor('it is to end', () => wishes.length === 1, MOST_MS);
      unknown(wishes[0]);
      way.finish();
      way.assertWhole(await c.next(way.ended, MOST_MS));
      assert.equal(wishes.length, 1);
    } finally {
      c.socket.terminate();
    }
  });
}
