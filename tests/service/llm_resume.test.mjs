// A stream that breaks goes on: events have numbers, and the same user may read on from any of them. Needs the default model.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { untilCaught, waitFor } from '../support/stack.mjs';
import { MODEL, ask, assemble, nothingIsHeld, readEvents, withModel } from '../support/llm.mjs';

const GRACE_MS = 60_000; // no machine is so slow that a client comes back later
const KEEP_MS = 600_000;
const BYTES = 200_000;
let stack;
let llm;
const options = (grace_ms, keep_ms) => ({ 'llm.resume_grace_ms': String(grace_ms), 'llm.resume_ms': String(keep_ms), 'llm.resume_bytes': String(BYTES), 'llm.request_ms': '900000' });
withModel((studio) => ({ stack, llm } = studio), options(GRACE_MS, KEEP_MS));

const story = { messages: ask('Write a very long story.'), temperature: 0, ignore_eos: true, stream_options: { include_usage: true } };

/** A reader of a stream: text so far, how to leave, and its end. */
async function read(method, url, { body, as = 'developer', headers = {} } = {}) {
  const controller = new AbortController();
  const reply = await fetch(url, {
    method, signal: controller.signal,
    headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens[as]}`, ...headers },
    body: body ? JSON.stringify(body) : undefined,
  });
  const state = { status: reply.status, id: reply.headers.get('x-request-id'), text: '', broken: false, leave: () => controller.abort() };
  state.end = (async () => {
    try {
      for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) state.text += piece;
    } catch {
      state.broken = true;
    }
  })();
  /** Whole events only: what a client that broke off has really read. */
  state.events = () => readEvents(state.text.slice(0, state.text.lastIndexOf('\n\n') + 2));
  state.json = () => JSON.parse(state.text);
  return state;
}
const begin = (body, { door = stack.llmUrl, path = '/v1/chat/completions', headers } = {}) =>
  read('POST', `${door}${path}`, { body: { ...body, stream: true, resumable: true }, headers });
const resume = (id, last, { door = stack.llmUrl, as } = {}) =>
  read('GET', `${door}/v1/requests/${id}/events`, { as, headers: last === undefined ? {} : { 'last-event-id': String(last) } });
const active = async () => (await llm.modelStatus())?.active;
const row = async (id) => (await llm.usage()).recent.find((r) => r.request_id === id);

/** What is said in chunks must be one answer without a gap or a repeat. */
function assertWhole(events, tokens) {
  assert.deepEqual(events.map((e) => Number(e.id)), events.map((_, i) => i), 'each event once, in order');
  assert.equal(events.at(-1).data, '[DONE]');
  const chunks = events.slice(0, -1).map((e) => e.data);
  const { usage } = chunks.at(-1);
  assert.equal(usage.completion_tokens, tokens);
  const whole = assemble(chunks);
  assert.equal(whole.roles, 1);
  assert.equal(whole.finish, 'length');
  return whole.content;
}

describe('a resumable stream', () => {
  for (const [door, url] of [['llmserver', () => stack.llmUrl], ['the gateway', () => stack.apiUrl]])
    test(`that broke five times by ${door} is one answer, computed and booked once`, async () => {
      // A reader that is slower than the model has the rest before it has broken so often: then of a longer one.
      const { id, events, same } = await untilCaught('it broke five times', async (tries) => {
        // Bit by bit the same, so that an answer that was computed elsewhere in the context is no other one.
        const same = { ...story, max_tokens: Math.min(60 << tries, 480), deterministic: true };
        const first = await begin(same, { door: url() });
        let [reader, events] = [first, []];
        const over = (list) => list.at(-1)?.data === '[DONE]';
        for (let i = 0; i < 5; i++) {
          await waitFor('events came', () => reader.events().length >= 6 || over(reader.events()));
          reader.leave();
          await reader.end;
          events = [...events, ...reader.events()];
          if (over(events)) return null;
          reader = await resume(first.id, events.at(-1).id, { door: url() });
          assert.equal(reader.status, 200);
        }
        await reader.end;
        return { id: first.id, events: [...events, ...reader.events()], same };
      });
      const text = assertWhole(events, same.max_tokens);
      const plain = await llm.chat({ ...same, stream_options: undefined });
      assert.equal(text, plain.json.choices[0].message.content);
      const booked = await waitFor('it is settled', () => row(id));
      assert.equal(booked.completion_tokens, same.max_tokens);
      await nothingIsHeld(stack);
      assert.equal((await llm.usage()).recent.filter((r) => r.request_id === id).length, 1);
    });

  test('can be read again after its end, whole and from the middle', async () => {
    const first = await begin({ ...story, max_tokens: 8 });
    await first.end;
    const whole = await resume(first.id);
    await whole.end;
    assert.deepEqual(whole.events(), first.events());
    const rest = await resume(first.id, 4);
    await rest.end;
    assert.equal(Number(rest.events()[0].id), 5);
    const argument = await read('GET', `${stack.llmUrl}/v1/requests/${first.id}/events?after=4`);
    await argument.end;
    assert.deepEqual(argument.events(), rest.events());
  });

  test('is read by its newest reader: an older one is cut', async () => {
    const LENGTH = 400;
    const first = await begin({ ...story, max_tokens: LENGTH });
    await waitFor('events came', () => first.events().length > 5);
    const second = await resume(first.id);
    await first.end;
    assert.ok(first.broken);
    await second.end;
    assertWhole(second.events(), LENGTH);
  });

  test('belongs to its user: others and administrators do not find it', async () => {
    const first = await begin({ ...story, max_tokens: 30 });
    for (const as of ['admin', 'viewer']) {
      const other = await resume(first.id, undefined, { as });
      await other.end;
      assert.equal(other.status, as === 'viewer' ? 403 : 404, other.text);
    }
    const nobody = await fetch(`${stack.llmUrl}/v1/requests/${first.id}/events`);
    assert.equal(nobody.status, 401);
    await first.end;
    assertWhole(first.events(), 30);
  });

  test('of a model that the key may not use is refused, also to its own user', async () => {
    const key = async (models) => (await stack.rpc('key.create', { name: `for ${models}`, scopes: ['llm'], models }, 'developer')).key;
    const [other, same] = [await key(['another-model']), await key([MODEL])];
    const first = await begin({ ...story, max_tokens: 6 });
    await first.end;
    const with_ = async (token) => {
      const got = await read('GET', `${stack.llmUrl}/v1/requests/${first.id}/events`, { headers: { authorization: `Bearer ${token}` } });
      await got.end;
      return got;
    };
    const refused = await with_(other);
    assert.equal(refused.status, 403, refused.text);
    assert.equal(refused.json().error.rule, 'key.model');
    const allowed = await with_(same);
    assert.deepEqual(allowed.events(), first.events());
  });

  test('can be cancelled by its id while nobody reads it', async () => {
    const first = await begin({ ...story, max_tokens: 1500 });
    await waitFor('events came', () => first.events().length > 5);
    first.leave();
    const got = await llm.call('POST', `/v1/requests/${first.id}/cancel`);
    assert.equal(got.status, 202);
    const rest = await resume(first.id);
    await rest.end;
    assert.equal(rest.events().at(-1).data, '[DONE]');
    await llm.idle();
  });

  test('that fails tells it to who comes back, and costs nothing', async () => {
    const first = await begin({ ...story, max_tokens: 1500 });
    await waitFor('events came', () => first.events().length > 5);
    const { llmworker } = await stack.pids();
    first.leave();
    await first.end;
    process.kill(llmworker, 'SIGKILL');
    await waitFor('it is settled', () => row(first.id));
    const rest = await resume(first.id, first.events().at(-1).id);
    await rest.end;
    assert.equal(rest.events().at(-1).data.error.code, 'model_crashed');
    assert.equal((await row(first.id)).completion_tokens, 0);
    await stack.waitModel();
  });

  test('that was refused is an error and nothing to come back to', async () => {
    const id = randomUUID();
    const first = await begin({ ...story, messages: ask('word '.repeat(5000)), max_tokens: 5 }, { headers: { 'x-request-id': id } });
    await first.end;
    assert.equal(first.status, 400);
    assert.equal((await resume(id)).status, 404);
  });

  test('waits in the queue for a client that comes back', async () => {
    const blockers = await Promise.all(Array.from({ length: 8 }, () => begin({ ...story, max_tokens: 1000 })));
    const id = randomUUID();
    const controller = new AbortController();
    const gone = fetch(`${stack.llmUrl}/v1/chat/completions`, { method: 'POST', signal: controller.signal,
      headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}`, 'x-request-id': id },
      body: JSON.stringify({ ...story, max_tokens: 5, stream: true, resumable: true }) }).catch(() => {});
    await waitFor('it waits', async () => (await llm.modelStatus()).queued === 1);
    controller.abort();
    await gone;
    await sleep(300);
    assert.equal((await llm.modelStatus()).queued, 1, 'its place is kept');
    const back = await resume(id);
    for (const b of blockers) await llm.call('POST', `/v1/requests/${b.id}/cancel`);
    await back.end;
    assertWhole(back.events(), 5);
    await llm.idle();
  });

  test('has numbers in the other dialects too', async () => {
    const message = await read('POST', `${stack.llmUrl}/v1/messages`, { body: { messages: ask('Hi'), max_tokens: 4, stream: true, resumable: true } });
    await message.end;
    const again = await resume(message.id, 1);
    await again.end;
    assert.equal(again.events()[0].id, '2');
    assert.equal(again.events().at(-1).event, 'message_stop');
  });

  test('of_a_response_is_had_again_by_the_official_client', async () => {
    const client = new OpenAI({ baseURL: `${stack.llmUrl}/v1`, apiKey: stack.tokens.developer, maxRetries: 0 });
    const stream = await client.responses.create({ model: MODEL, input: 'Say hello.', max_output_tokens: 6, ignore_eos: true, stream: true, resumable: true });
    const all = [];
    for await (const event of stream) all.push(event);
    const rest = await client.responses.retrieve(all[0].response.id, { stream: true, starting_after: all[3].sequence_number });
    const got = [];
    for await (const event of rest) got.push(event);
    assert.deepEqual(got, all.slice(4));
  });
});

describe('what cannot be resumed', () => {
  test('is told with its reason', async () => {
    const plain = await llm.chat({ messages: ask('Hi'), max_tokens: 2, resumable: true });
    assert.equal(plain.status, 400);
    assert.equal(plain.json.error.param, 'resumable');
    const first = await begin({ ...story, max_tokens: 3 });
    await first.end;
    for (const wrong of ['9999', 'x', '-1']) assert.equal((await resume(first.id, wrong)).status, 400, wrong);
    assert.equal((await resume(randomUUID())).status, 404);
  });

  test('an ordinary stream ends with its client and is not kept', async () => {
    const id = randomUUID();
    const first = await read('POST', `${stack.llmUrl}/v1/chat/completions`, { body: { ...story, max_tokens: 1500, stream: true }, headers: { 'x-request-id': id } });
    await waitFor('events came', () => first.text.length > 500);
    assert.ok(!/^id:/m.test(first.text));
    first.leave();
    await waitFor('it ended long before a time for a return', async () => (await active()) === 0, GRACE_MS / 8);
    assert.equal((await resume(id)).status, 404);
  });

  test('events over the bytes that are kept are gone, which is said and not passed over', async () => {
    const many = Array.from({ length: 6 }, () => begin({ ...story, max_tokens: 400, logprobs: true, top_logprobs: 5 }));
    const readers = await Promise.all(many);
    await Promise.all(readers.map((r) => r.end));
    for (const r of readers) if (!r.broken) assertWhole(r.events(), 400);
    const answers = [];
    for (const r of readers) {
      const again = await resume(r.id);
      await again.end;
      answers.push([again.status, again.text.length]);
      assert.ok([200, 404, 409].includes(again.status), String(again.status));
      if (again.status === 409) assert.match(again.text, /not kept any more/);
    }
    assert.ok(answers.some(([status]) => status !== 200), `more was told than is kept: ${JSON.stringify(answers)}`);
    assert.ok(answers.filter(([status]) => status === 200).reduce((sum, [, bytes]) => sum + bytes, 0) <= BYTES);
  });
});

describe('the times of a resumable stream', () => {
  const [SHORT_MS, KEPT_MS] = [3000, 5000];
  withModel((studio) => ({ stack, llm } = studio), options(SHORT_MS, KEPT_MS)); // from here on this one

  test('one whose client stays away goes on until the time for its return is over, is paid until then, and is kept for its time', async () => {
    const first = await begin({ ...story, max_tokens: 1500 });
    await waitFor('events came', () => first.events().length > 5);
    const left = performance.now();
    first.leave();
    await llm.idle();
    const away = performance.now() - left;
    assert.ok(away >= SHORT_MS - 100, `it went on for ${Math.round(away)} ms while its client could come back`);
    const late = await resume(first.id);
    await late.end;
    const last = late.events();
    assert.equal(last.at(-1).data, '[DONE]', 'what there is can be had, with its end');
    const booked = await waitFor('it is settled', () => row(first.id));
    assert.equal(booked.state, 'gone');
    assert.ok(booked.completion_tokens > 5 && booked.completion_tokens < 1500);
    assert.equal(last.at(-2).data.usage.completion_tokens, booked.completion_tokens);
    assert.equal(last.at(-2).data.cds.ended, 'cancelled');
    // Whoever reads it gives it another time.
    await waitFor('its time is over', async () => (await resume(first.id)).status === 404, Infinity, KEPT_MS + 800);
  });
});
