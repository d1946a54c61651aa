// What tests of the model server share: one call, one stream, and what an OpenAI error looks like.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before } from 'node:test';
import { startStack, waitFor } from './stack.mjs';

export const MODEL = 'smollm2-135m-instruct';
export const EMBEDDER = 'all-minilm-l6-v2';
export const ask = (text) => [{ role: 'user', content: text }];

/** One studio with its model loaded for all tests of a file or describe; ready is given it before the first of them: { stack, llm }. */
export function withModel(ready, options = {}) {
  let stack;
  before(async () => {
    stack = await startStack({ options });
    await stack.waitModel();
    ready({ stack, llm: llmClient(stack) });
  });
  after(() => stack?.stop());
}

/** @param model  whose state modelStatus() and idle() tell */
export function llmClient(stack, model = MODEL) {
  /** One HTTP call to the model server: { status, json, text, headers }. */
  async function call(method, path, body, as = 'developer', headers = {}) {
    const token = as && stack.tokens[as];
    const reply = await fetch(`${stack.llmUrl}${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
      body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await reply.text();
    let json = null;
    try {
      json = JSON.parse(text);
    } catch {
      /* the caller sees status and text */
    }
    return { status: reply.status, json, text, headers: reply.headers };
  }
  /** A whole event stream: { status, events, done, error }. */
  async function stream(path, body, as = 'developer') {
    const reply = await fetch(`${stack.llmUrl}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens[as]}` },
      body: JSON.stringify({ ...body, stream: true }),
    });
    const lines = (await reply.text()).split('\n\n').filter((l) => l.startsWith('data: '));
    const events = lines.filter((l) => l !== 'data: [DONE]').map((l) => JSON.parse(l.slice(6)));
    return { status: reply.status, events, done: lines.at(-1) === 'data: [DONE]', error: events.find((e) => e.error)?.error };
  }
  const status = async () => (await call('GET', '/admin/status', undefined, 'admin')).json;
  return {
    call,
    stream: (body, as) => stream('/v1/chat/completions', body, as),
    textStream: (body, as) => stream('/v1/completions', body, as),
    chat: (body, as, headers) => call('POST', '/v1/chat/completions', body, as, headers),
    complete: (body, as, headers) => call('POST', '/v1/completions', body, as, headers),
    usage: () => nothingIsHeld(stack),
    modelStatus: async () => (await status()).models.find((m) => m.id === model),
    idle: () => waitFor('no request is running', async () => (await status()).models.find((m) => m.id === model)?.active === 0),
  };
}

/** Waits until no request of the developer holds tokens, and gives the usage: a request that failed or was left is answered first and booked then. */
export function nothingIsHeld(stack) {
  return waitFor('nothing is held', async () => {
    const usage = await stack.rpc('usage.summary', {}, 'developer');
    return usage.held_tokens === 0 && usage;
  });
}

/**
 * Cancels a request while it runs; one that had ended before it could be, or whose end was on its way then, is asked for again.
 * @param send  gives the answer to a request of this id
 */
export function cancelled(llm, send) {
  return waitFor('a request is cancelled while it runs', async () => {
    const id = randomUUID();
    let over = false;
    let heard = false;
    const asked = send(id).finally(() => (over = true));
    while (!over && !heard) heard = (await llm.call('POST', `/v1/requests/${id}/cancel`)).status === 202;
    const answer = await asked;
    return heard && answer.json?.cds?.ended !== 'finished' && answer;
  });
}

/** An event stream of a chat while it comes: its events so far, leave() breaks it, end() waits for its end. */
export async function liveStream(stack, body, headers = {}) {
  const controller = new AbortController();
  const reply = await fetch(`${stack.llmUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}`, ...headers },
    body: JSON.stringify({ ...body, stream: true }),
    signal: controller.signal,
  });
  const state = { reply, status: reply.status, events: [], done: false, leave: () => controller.abort() };
  const read = (async () => {
    let text = '';
    for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      for (let cut; (cut = text.indexOf('\n\n')) >= 0; text = text.slice(cut + 2)) {
        const line = text.slice(0, cut);
        if (line.startsWith(':')) continue;
        assert.ok(line.startsWith('data: '), `an event begins with data: ${line}`);
        if (line === 'data: [DONE]') state.done = true;
        else state.events.push(JSON.parse(line.slice(6)));
      }
    }
  })();
  read.catch(() => {});
  state.end = () => read;
  state.text = () => state.events.map((e) => e.choices?.[0]?.delta?.content ?? '').join('');
  return state;
}

/** Named events of a stream: [{ event, id, data }]; comments are left out. */
export function readEvents(text) {
  const events = [];
  for (const block of text.split('\n\n')) {
    const fields = Object.fromEntries(block.split('\n').filter((l) => l && !l.startsWith(':')).map((l) => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 2)]));
    if (fields.data === undefined) continue;
    events.push({ event: fields.event, id: fields.id, data: fields.data === '[DONE]' ? fields.data : JSON.parse(fields.data) });
  }
  return events;
}

/** The deltas of one choice of a stream, put together: { content, reasoning, calls, finish }. */
export function assemble(events, index = 0) {
  const whole = { content: '', reasoning: '', calls: [], finish: null, roles: 0 };
  for (const event of events) {
    for (const choice of event.choices ?? []) {
      if (choice.index !== index) continue;
      const { delta } = choice;
      if (delta.role) whole.roles += 1;
      whole.content += delta.content ?? '';
      whole.reasoning += delta.reasoning_content ?? '';
      for (const call of delta.tool_calls ?? []) {
        assert.ok(Number.isInteger(call.index));
        if (call.index === whole.calls.length) {
          assert.equal(call.type, 'function');
          assert.equal(typeof call.id, 'string');
          assert.equal(typeof call.function.name, 'string');
          assert.equal(typeof call.function.arguments, 'string');
          whole.calls.push({ id: call.id, name: call.function.name, arguments: call.function.arguments });
        } else {
          assert.deepEqual(Object.keys(call).sort(), ['function', 'index']);
          whole.calls[call.index].arguments += call.function.arguments;
        }
      }
      whole.finish ??= choice.finish_reason;
    }
  }
  return whole;
}

export function assertRefused(got, param, pattern) {
  assert.equal(got.status, 400, got.text);
  const { error } = got.json;
  assert.equal(error.type, 'invalid_request_error', got.text);
  assert.equal(error.param, param, got.text);
  assert.equal(typeof error.code, 'string');
  if (pattern) assert.match(error.message, pattern);
}

export const cosine = (a, b) => {
  let [dot, left, right] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) [dot, left, right] = [dot + a[i] * b[i], left + a[i] * a[i], right + b[i] * b[i]];
  return dot / Math.sqrt(left * right);
};

/** Little-endian floats. */
export function decodeBase64(text) {
  const bytes = Buffer.from(text, 'base64');
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}

/** What the ledger has of a request; null while it has nothing settled. */
export async function ledgerOf(stack, requestId) {
  const row = await stack.sql(`SELECT l.model, l.n_in, l.n_cached, l.n_out, l.cost_micro, r.outcome FROM token_ledger l JOIN llm_requests r ON r.user_id = l.user_id
    AND r.id = l.request_id WHERE l.request_id = '${requestId}'`);
  if (!row) return null;
  const [model, prompt, cached, completion, cost, outcome] = row.split('|');
  return { model, prompt_tokens: +prompt, cached_tokens: +cached, completion_tokens: +completion, cost_micro: +cost, outcome };
}
