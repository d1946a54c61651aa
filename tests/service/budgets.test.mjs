// Limits, prices and grants on a running studio: what callers and clients see of them. The SQL behind them has its own tests (tests/unit/lib/db/test_budget*.c).
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { openSocket } from '../support/gateway.mjs';
import { awayFromTheTurn, startStack, users } from '../support/stack.mjs';

let stack;
let model;
const rpc = (method, params, as = 'admin') => stack.rpc(method, params, as);
const refusal = (promise) => promise.then(() => assert.fail('it was not refused'), (e) => e);
const ask = (token, body = {}) => fetch(`${stack.llmUrl}/v1/chat/completions`, {
  method: 'POST',
  headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
  body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 4, temperature: 0, ignore_eos: true, ...body }),
});
const mine = (rest) => ({ scope: 'user', email: users.developer.email, ...rest });
const policyOf = async (id) => (await rpc('budget.list', { limit: 200 })).policies.find((p) => p.policy_id === id);

before(async () => {
  stack = await startStack();
  await stack.waitModel();
  model = (await rpc('llm.list_models', {})).models.find((one) => one.state === 'loaded').id;
});
after(() => stack?.stop());

describe('limits', { concurrency: false }, () => {
  test('a limit of requests lets exactly that many in, and openai\'s client does not try again', async () => {
    await awayFromTheTurn();
    const { policy_id } = await rpc('budget.set', mine({ unit: 'requests', window: 'hour', limit: 2, zone: 'Europe/Berlin' }));
    try {
      const got = await Promise.all(Array.from({ length: 10 }, () => ask(stack.tokens.developer)));
      assert.equal(got.filter((one) => one.status === 200).length, 2);
      const no = got.find((one) => one.status === 429);
      assert.equal(no.headers.get('x-should-retry'), 'false');
      const { error } = await no.json();
      assert.equal(error.code, 'insufficient_quota');
      assert.equal(error.rule, 'budget.user.hour');
      assert.match(error.message, /hourly request budget of this user does not allow 1 more requests.*resets on \d{4}-\d\d-\d\d( at \d\d:\d\d UTC)?/);
      const calls = [];
      const client = new OpenAI({ baseURL: `${stack.llmUrl}/v1`, apiKey: stack.tokens.developer, maxRetries: 3, fetch: (...a) => (calls.push(a[0]), fetch(...a)) });
      await assert.rejects(client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hi' }] }), OpenAI.RateLimitError);
      assert.equal(calls.length, 1);
      assert.deepEqual((({ used, held, remaining, passed }) => ({ used, held, remaining, passed }))(await policyOf(policy_id)), { used: 2, held: 0, remaining: 0, passed: 95 });
    } finally {
      await rpc('budget.remove', { policy_id });
    }
    assert.equal((await ask(stack.tokens.developer)).status, 200);
  });

  test('what is asked with a key counts for the key and its user, also when the key was rotated', async () => {
    await awayFromTheTurn();
    const { key_id, key } = await rpc('key.create', { name: 'limited', month_tokens: 60 }, 'developer');
    const before = (await rpc('budget.self', {}, 'developer')).policies;
    assert.equal(before.find((p) => p.key_id === key_id).limit, 60);
    const first = await ask(key);
    assert.equal(first.status, 200);
    const { total_tokens } = (await first.json()).usage;
    const after = (await rpc('budget.self', {}, 'developer')).policies;
    assert.equal(after.find((p) => p.key_id === key_id).used, total_tokens);
    const user = (list) => list.find((p) => p.scope === 'user' && p.unit === 'tokens' && p.window === 'month').used;
    assert.equal(user(after) - user(before), total_tokens);
    const { key: next } = await rpc('key.rotate', { key_id }, 'developer');
    const no = await ask(next, { max_tokens: 60 });
    assert.equal(no.status, 429);
    assert.equal((await no.json()).error.rule, 'budget.key.month');
  });

  test('an answer tells when a soft limit was passed, and the log does once', async () => {
    const { total_tokens } = (await (await ask(stack.tokens.developer)).json()).usage;
    const { policy_id } = await rpc('budget.set', mine({ scope: 'user_model', model, unit: 'tokens', window: 'lifetime', limit: total_tokens * 2, soft: [50] }));
    try {
      const { cds } = await (await ask(stack.tokens.developer)).json();
      assert.deepEqual(cds.budget, { name: 'user_model tokens lifetime', percent: 50 });
      assert.equal((await policyOf(policy_id)).passed, 50);
      assert.equal(await stack.sql(`SELECT count(*) FROM budget_warnings WHERE policy = '${policy_id}'`), '1');
    } finally {
      await rpc('budget.remove', { policy_id });
    }
  });

  test('a grant at the limit lets the next request in; a second click gives nothing; a taking blocks', async () => {
    const { policy_id } = await rpc('budget.set', mine({ scope: 'user_model', model, unit: 'requests', window: 'lifetime', limit: 0 }));
    const grant_id = randomUUID();
    const give = (amount, id = grant_id) => rpc('budget.grant', { grant_id: id, policy_id, amount, reason: 'The release is near.' });
    try {
      assert.equal((await ask(stack.tokens.developer)).status, 429);
      assert.equal((await give(1)).again, false);
      assert.equal((await give(1)).again, true);
      assert.equal((await ask(stack.tokens.developer)).status, 200);
      assert.equal((await ask(stack.tokens.developer)).status, 429);
      assert.equal((await refusal(give(2))).data.rule, 'budget.grant_taken');
      assert.equal((await refusal(give(-2, randomUUID()))).data.rule, 'budget.grant_below');
      assert.equal((await refusal(give(0, randomUUID()))).data.rule, 'budget.grant_nothing');
      await give(2, randomUUID());
      await give(-2, randomUUID());
      assert.equal((await ask(stack.tokens.developer)).status, 429);
      const { grants } = await rpc('budget.grants', { policy_id });
      assert.deepEqual(grants.map((g) => [g.amount, g.reason, g.actor]), [[-2, 'The release is near.', users.admin.email], [2, 'The release is near.', users.admin.email], [1, 'The release is near.', users.admin.email]]);
    } finally {
      await rpc('budget.remove', { policy_id });
    }
  });

  test('a scope that does not fit its names is refused with a sentence', async () => {
    for (const params of [{ scope: 'user' }, { scope: 'global', model: 'm' }, { scope: 'key', email: users.developer.email }, { scope: 'key_model', key_id: randomUUID() }])
      assert.equal((await refusal(rpc('budget.set', { ...params, unit: 'tokens', window: 'day', limit: 1 }))).data.rule, 'budget.scope', JSON.stringify(params));
  });
});

describe('prices and the dry run', { concurrency: false }, () => {
  test('a request keeps the price of its admission while another one is set, and the next one has the new price', async () => {
    const { prices } = await rpc('price.list', { model });
    const [old] = prices;
    const reply = await ask(stack.tokens.developer, { stream: true, stream_options: { include_usage: true }, max_tokens: 300 });
    const reader = reply.body.getReader();
    let text = new TextDecoder().decode((await reader.read()).value); // it runs: its hold is there
    await rpc('price.set', { model, input: old.input * 10, cached: old.cached * 10, output: old.output * 10 });
    for (let part; !(part = await reader.read()).done;) text += new TextDecoder().decode(part.value);
    const last = JSON.parse(text.trim().split('\n\n').at(-2).slice(6));
    const cost = ({ prompt_tokens: n, completion_tokens: o, prompt_tokens_details: { cached_tokens: c } }, by) => (((n - c) * old.input + c * old.cached + o * old.output) / 1e6) * by;
    assert.equal(last.cds.cost_micro, cost(last.usage, 1));
    const next = await (await ask(stack.tokens.developer)).json();
    assert.equal(next.cds.cost_micro, cost(next.usage, 10));
    await rpc('price.set', { model, input: old.input, cached: old.cached, output: old.output });
    const all = (await rpc('price.list', { model })).prices;
    assert.deepEqual(all.map((p) => p.state), ['now', 'past', 'past']);
    assert.equal(all[0].set_by, users.admin.email);
  });

  test('a price of the past is refused', async () => {
    const e = await refusal(rpc('price.set', { model, input: 1, output: 1, valid_from: '2020-01-01T00:00:00Z' }));
    assert.equal(e.data.rule, 'price.past');
  });

  test('the dry run says what a request would meet and what it could cost, and nobody learns of keys that are not theirs', async () => {
    const yes = await rpc('budget.check', { model, prompt_tokens: 10, max_tokens: 1000 }, 'developer');
    assert.equal(yes.admitted, true);
    assert.equal(yes.held_tokens, 266);
    assert.equal(yes.cost_at_most, (10 * Math.max(yes.price.input, yes.price.cached) + 1000 * yes.price.output) / 1e6);
    const { policy_id } = await rpc('budget.set', mine({ scope: 'user_model', model, unit: 'tokens', window: 'lifetime', limit: 300 }));
    try {
      const half = await rpc('budget.check', { model, prompt_tokens: 10, max_tokens: 1000 }, 'developer');
      assert.deepEqual([half.admitted, half.complete, half.short_of.map((p) => p.policy)], [true, false, [policy_id]]);
      const no = await rpc('budget.check', { model, prompt_tokens: 500 }, 'developer');
      assert.deepEqual([no.admitted, no.refused_by.map((p) => p.scope)], [false, ['user_model']]);
      assert.equal((await policyOf(policy_id)).held, 0);
    } finally {
      await rpc('budget.remove', { policy_id });
    }
    const { key_id } = await rpc('key.create', { name: 'of the admin' }, 'admin');
    for (const id of [key_id, randomUUID()]) assert.equal((await refusal(rpc('budget.check', { model, prompt_tokens: 1, key_id: id }, 'developer'))).data.rule, 'budget.no_key');
  });
});

describe('an API key that has asked', { concurrency: false }, () => {
  test('sees what it has used, and no more than its maker: key.self and usage.report over HTTP, as x-api-key and on a socket', async () => {
    await awayFromTheTurn();
    const { key_id, key } = await rpc('key.create', { name: 'reports', scopes: ['llm', 'usage'], month_tokens: 100000 }, 'developer');
    const used = { requests: 0, prompt_tokens: 0, completion_tokens: 0, cost_micro: 0 };
    for (const headers of [{ authorization: `Bearer ${key}` }, { 'x-api-key': key }]) {
      const got = await fetch(`${stack.apiUrl}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 4, temperature: 0 }),
      });
      assert.equal(got.status, 200);
      const { usage, cds } = await got.json();
      used.requests++;
      used.prompt_tokens += usage.prompt_tokens;
      used.completion_tokens += usage.completion_tokens;
      used.cost_micro += cds.cost_micro;
    }
    const today = new Date();
    const range = { from: new Date(today - 86_400_000).toISOString().slice(0, 10), to: today.toISOString().slice(0, 10) };
    const socket = await openSocket(stack, { token: key });
    try {
      let id = 0;
      const ways = {
        'over HTTP': async (method, params) => (await (await fetch(`${stack.apiUrl}/rpc`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }) })).json()),
        'as x-api-key': async (method, params) => (await (await fetch(`${stack.url}/rpc`, { method: 'POST', headers: { 'content-type': 'application/json', 'x-api-key': key }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }) })).json()),
        'on a socket': async (method, params) => (socket.call(++id, method, params), socket.answer(id)),
      };
      for (const [name, call] of Object.entries(ways)) {
        const self = await call('key.self', {});
        assert.ok(self.result, `${name}: ${JSON.stringify(self.error)}`);
        const tokens = used.prompt_tokens + used.completion_tokens;
        assert.deepEqual([self.result.key_id, self.result.usage.month.tokens, self.result.usage.month.requests, self.result.usage.month.cost_micro], [key_id, tokens, 2, used.cost_micro], name);
        assert.equal(self.result.limits.find((one) => one.scope === 'key').remaining, 100000 - tokens, name);
        const report = await call('usage.report', { by: 'key', ...range });
        const row = report.result.rows.find((one) => one.key_id === key_id);
        assert.deepEqual((({ requests, prompt_tokens, completion_tokens, cost_micro }) => ({ requests, prompt_tokens, completion_tokens, cost_micro }))(row), used, name);
        assert.ok(report.result.rows.length > 1, 'what its maker used in other ways stands there too');
        const all = await call('usage.report', { by: 'user', ...range, everybody: true });
        assert.equal(all.error.data.rule, 'role', name);
        const grant = await call('budget.self', {});
        assert.equal(grant.error.data.rule, 'key.scope', name);
      }
    } finally {
      socket.socket.close();
    }
  });
});

test('afterwards the ledger adds up', async () => {
  const verify = await stack.command(['ledger', 'verify']);
  assert.equal(verify.code, 0, verify.stdout + verify.stderr);
});
