// Limits of rate on a running studio: who is let in, what clients are told, and what openai's client does with it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { startStack, waitFor } from '../support/stack.mjs';

let stack;
let model;
let developer;
const rpc = (method, params = {}, as = 'admin') => stack.rpc(method, params, as);
const ask = (token, body = {}, base = stack.llmUrl) => fetch(`${base}/v1/chat/completions`, {
  method: 'POST',
  headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
  body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 4, temperature: 0, ...body }),
});
const newKey = async (limits) => (await rpc('key.create', { name: 'rates', ...limits }, 'developer')).key;

before(async () => {
  stack = await startStack();
  await stack.waitModel();
  model = (await rpc('llm.list_models')).models.find((one) => one.state === 'loaded').id;
  developer = (await rpc('user.self', {}, 'developer')).user_id;
});
after(() => stack?.stop());

describe('a key', { concurrency: false }, () => {
  test('may ask as often as it may, from its first request on, and is told so; the gateway and the page pass it on', async () => {
    const key = await newKey({ requests_per_minute: 3 });
    for (const [i, base] of [stack.llmUrl, stack.apiUrl, stack.url].entries()) {
      const got = await ask(key, {}, base);
      assert.equal(got.status, 200);
      assert.equal(got.headers.get('ratelimit-policy'), '"key-requests";q=3;w=60');
      assert.match(got.headers.get('ratelimit'), new RegExp(`^"key-requests";r=${2 - i};t=\\d+$`));
      assert.equal(got.headers.get('x-ratelimit-limit-requests'), '3');
      assert.equal(got.headers.get('x-ratelimit-remaining-requests'), String(2 - i));
      assert.match(got.headers.get('x-ratelimit-reset-requests'), /^(\d+ms|\d+\.\d{3}s)$/);
      await got.text();
    }
    const no = await ask(key);
    assert.equal(no.status, 429);
    const seconds = Number(no.headers.get('retry-after'));
    assert.ok(seconds >= 1 && seconds <= 20, `${seconds}`);
    // Whoever waits as long as Retry-After says comes no earlier than the window of RateLimit ends.
    assert.ok(Number(/^"key-requests";r=0;t=(\d+)$/.exec(no.headers.get('ratelimit'))[1]) <= seconds, no.headers.get('ratelimit'));
    assert.equal(no.headers.get('x-should-retry'), null); // unlike a budget that is used up: it helps to wait
    assert.equal(no.headers.get('x-ratelimit-remaining-requests'), '0');
    const { error } = await no.json();
    assert.equal(error.code, 'rate_limit_exceeded');
    assert.equal(error.rule, 'rate.key.requests');
  });

  test('of tokens: parallel calls take no more than its minute, and what they did not use comes back', async () => {
    const key = await newKey({ tokens_per_minute: 400 });
    const began = performance.now();
    const back = () => (400 * (performance.now() - began)) / 60_000; // so much of a minute has come back since
    const got = await Promise.all(Array.from({ length: 8 }, () => ask(key, { max_tokens: 64 })));
    const yes = got.filter((one) => one.status === 200);
    assert.ok(yes.length >= 1 && yes.length < 8, `${yes.length}`);
    const used = (await Promise.all(yes.map((one) => one.json()))).reduce((sum, one) => sum + one.usage.total_tokens, 0);
    assert.ok(used <= 410 + back(), `${used}`);
    const no = await got.find((one) => one.status === 429).json();
    assert.equal(no.error.rule, 'rate.key.tokens');
    const later = await ask(key, { max_tokens: 1 });
    const left = Number(later.headers.get('x-ratelimit-remaining-tokens'));
    assert.ok(left >= 400 - used - 80 && left <= 410 - used + back(), `${left} left of 400, ${used} used, ${back()} came back`);
  });

  test('a long answer ends with a notice when its minute is used up, and a prompt that never fits is refused', async () => {
    const key = await newKey({ tokens_per_minute: 120 });
    const began = performance.now();
    const got = await (await ask(key, { max_tokens: 1000, messages: [{ role: 'user', content: 'Count from 1 to 500, one number per line.' }] })).json();
    assert.equal(got.choices[0].finish_reason, 'length');
    assert.equal(got.cds.ended, 'budget');
    assert.match(got.cds.notice, /tokens per minute/);
    assert.ok(got.usage.total_tokens <= 140 + (120 * (performance.now() - began)) / 60_000, `${got.usage.total_tokens}`);
    const no = await (await ask(key, { messages: [{ role: 'user', content: 'word '.repeat(300) }] })).json();
    assert.equal(no.error.rule, 'rate.key.too_large');
  });

  test('as many requests at the same time as it may, and one more when one has ended', async () => {
    const key = await newKey({ concurrent_requests: 1 });
    const first = await ask(key, { stream: true, max_tokens: 1000, ignore_eos: true });
    const reader = first.body.getReader();
    await reader.read();
    const no = await ask(key);
    assert.equal(no.status, 429);
    assert.equal((await no.json()).error.rule, 'rate.key.concurrency');
    assert.equal(no.headers.get('ratelimit-policy'), '"key-concurrency";q=1;qu="concurrent-requests"');
    await reader.cancel(); // its client leaves
    await waitFor('its place is free', async () => (await ask(key)).status === 200, 10_000, 200);
  });
});

const refusal = (promise) => promise.then(() => assert.fail('it was not refused'), (e) => e);

describe('the limits of a key', { concurrency: false }, () => {
  test('its owner and an admin change how fast it may ask, nobody else', async () => {
    const { key_id, key } = await rpc('key.create', { name: 'later', requests_per_minute: 1000 }, 'developer');
    const own = async () => (await rpc('key.list', {}, 'developer')).keys.find((one) => one.key_id === key_id);
    await rpc('key.set_rates', { key_id, requests_per_minute: 50, concurrent_requests: 2 }, 'developer');
    assert.deepEqual((({ requests_per_minute: r, tokens_per_minute: t, concurrent_requests: c }) => [r, t, c])(await own()), [50, null, 2]);
    await rpc('key.set_rates', { key_id, tokens_per_minute: 9000 }, 'admin');
    const { keys } = await rpc('rate.list');
    assert.deepEqual((({ name, requests_per_minute: r, tokens_per_minute: t, concurrent_requests: c }) => [name, r, t, c])(keys.find((one) => one.key_id === key_id)), ['later', null, 9000, null]);
    assert.equal((await refusal(rpc('key.set_rates', { key_id, requests_per_minute: 1000000 }, 'viewer'))).data.rule, 'key.unknown');
    assert.equal((await own()).tokens_per_minute, 9000, 'nothing changed');
    // Its first token is made now, and says what was set last.
    assert.equal((await ask(key)).headers.get('ratelimit-policy'), '"key-tokens";q=9000;qu="tokens";w=60');
    stack.tokens.later = key;
    const self = await rpc('key.self', {}, 'later');
    assert.deepEqual([self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests], [null, 9000, null]);
    assert.equal((await refusal(rpc('key.set_rates', { key_id }, 'later'))).data.rule, 'key.session', 'a key does not change itself');
    await rpc('key.revoke', { key_id }, 'developer');
    assert.equal((await refusal(rpc('key.set_rates', { key_id, requests_per_minute: 5 }, 'developer'))).data.rule, 'key.unknown');
  });
});

describe('a user', { concurrency: false }, () => {
  test('is limited within a second, keys included, and openai\'s client waits and tries again', async () => {
    const key = await newKey({});
    await rpc('rate.set', { user_id: developer, requests_per_minute: 20 });
    await waitFor('it holds', async () => (await ask(stack.tokens.developer)).headers.get('ratelimit-policy') === '"user-requests";q=20;w=60', 3000, 100);
    // Until the next place is nearly as far away as it can be: three seconds.
    await waitFor('its minute is used up', async () => { const got = await ask(key); return got.status === 429 && got.headers.get('retry-after') === '3'; });
    const calls = [];
    const client = new OpenAI({ baseURL: `${stack.llmUrl}/v1`, apiKey: key, maxRetries: 2, fetch: async (...a) => { const r = await fetch(...a); calls.push(r.status); return r; } });
    const { response } = await client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2 }).withResponse();
    assert.deepEqual([calls[0], calls.at(-1)], [429, 200]);
    assert.equal(response.headers.get('x-ratelimit-limit-requests'), '20');
    assert.equal((await rpc('rate.list')).limits.find((one) => one.user_id === developer).requests_per_minute, 20);
    await rpc('rate.set', { user_id: developer });
    await waitFor('it holds no more', async () => (await ask(key)).headers.get('ratelimit-policy') === null, 3000, 100);
    assert.equal((await rpc('rate.list')).limits.length, 0);
  });

  test('the rate of an RPC call is the same, with its own error', async () => {
    await rpc('rate.set', { user_id: developer, requests_per_minute: 1 });
    await waitFor('it holds', async () => (await ask(stack.tokens.developer)).status === 429, 3000, 100);
    const { json } = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method: 'llm.chat', params: { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2 } }, 'developer');
    assert.equal(json.error.code, -32029);
    assert.equal(json.error.data.type, 'urn:cyberdevstudio:problem:rate-limited');
    assert.equal(json.error.data.rule, 'rate.user.requests');
    assert.ok(json.error.data.retry_after_ms > 0);
    await rpc('rate.set', { user_id: developer });
  });
});

describe('defaults', { concurrency: false }, () => {
  test('a limit that is set for a user takes no default of another kind away, and rate.self tells both', async () => {
    const other = await startStack({ fresh: true, options: { 'llm.tokens_per_minute': 500000, 'llm.concurrent_requests': 9 } });
    try {
      await other.waitModel();
      const { user_id } = await other.rpc('user.self', {}, 'developer');
      const policy = async () => {
        const got = await fetch(`${other.llmUrl}/v1/chat/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization: `Bearer ${other.tokens.developer}` },
          body: JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 1 }),
        });
        await got.text();
        return got.headers.get('ratelimit-policy');
      };
      const defaults = '"user-tokens";q=500000;qu="tokens";w=60, "user-concurrency";q=9;qu="concurrent-requests"';
      assert.equal(await policy(), defaults);
      assert.deepEqual(await other.rpc('rate.self', {}, 'developer'), { own: false, requests_per_minute: null, tokens_per_minute: 500000, concurrent_requests: 9 });
      await other.rpc('rate.set', { user_id, requests_per_minute: 700, concurrent_requests: 4 }, 'admin');
      const both = '"user-requests";q=700;w=60, "user-tokens";q=500000;qu="tokens";w=60, "user-concurrency";q=4;qu="concurrent-requests"';
      await waitFor('it holds', async () => (await policy()) === both, 30_000, 100);
      assert.deepEqual(await other.rpc('rate.self', {}, 'developer'), { own: true, requests_per_minute: 700, tokens_per_minute: 500000, concurrent_requests: 4 });
      assert.deepEqual((await other.rpc('rate.list', {}, 'admin')).defaults, { requests_per_minute: null, tokens_per_minute: 500000, concurrent_requests: 9 });
      await other.rpc('rate.set', { user_id }, 'admin');
      await waitFor('the defaults hold again', async () => (await policy()) === defaults, 30_000, 100);
    } finally {
      await other.stop();
    }
  });
});

test('afterwards the ledger adds up', async () => {
  const verify = await stack.command(['ledger', 'verify']);
  assert.equal(verify.code, 0, verify.stdout + verify.stderr);
});
