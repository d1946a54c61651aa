// API keys: what one may, what it may not, and when it ends.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openSocket } from '../support/gateway.mjs';
import { startStack, timely, waitFor } from '../support/stack.mjs';
import { callAs, guessUntilRefused, modelStream, person, post } from './support.mjs';

let stack;
let model;
let lasting; // sockets of a key, open while the other tests run
before(async () => {
  stack = await startStack({ fresh: true });
  model = (await stack.waitModel()).id;
  const who = await person(stack);
  const made = await make(who);
  lasting = { ...made, who, since: performance.now() };
  lasting.ws = await openSocket(stack, { token: made.key });
  lasting.logs = await openSocket(stack, { token: made.key, path: '/stream/logs', protocol: 'cds.logs.v1' });
  lasting.responses = await openSocket(stack, { token: made.key, path: '/v1/responses', protocol: 'cds.responses.v1' });
});
after(() => stack?.stop());

const shape = /^cds_key_[0-9a-f]{32}_[A-Za-z0-9_-]{43}_[0-9a-f]{8}$/;
const make = async (who, params = {}) => (await callAs(stack, who.token, 'key.create', { name: 'k', ...params })).result;
/** A key of the right form, with the id of another one and a secret of its own. */
function makeText(key) {
  const body = `${key.slice(0, 8)}${randomBytes(16).toString('hex')}_${randomBytes(33).toString('base64url').slice(0, 43)}`;
  return `${body}_${(crc32(body) >>> 0).toString(16).padStart(8, '0')}`;
}
function crc32(text) {
  let crc = ~0;
  for (const byte of Buffer.from(text)) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc;
}
const rule = (got) => got.error?.data.rule;
const chat = (base, headers, body = {}) => fetch(`${base}/v1/chat/completions`, {
  method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 4, ...body }),
});

describe('a key', { concurrency: false }, () => {
  test('is shown once, and stored only as a hash that the database alone cannot check', async () => {
    const who = await person(stack);
    const made = await make(who);
    assert.match(made.key, shape);
    const [hash, row] = (await stack.sql(`SELECT hash, k::text FROM api_keys k WHERE id = '${made.key_id}'`)).split('|');
    assert.match(hash, /^[0-9a-f]{64}$/);
    assert.doesNotMatch(row, new RegExp(made.key.slice(42, 80)));
    assert.doesNotMatch(JSON.stringify((await callAs(stack, who.token, 'key.list')).result), new RegExp(made.key.slice(42, 80)));
    await callAs(stack, made.key, 'user.self');
    assert.doesNotMatch(readFileSync(join(stack.home, 'logs/studio.jsonl'), 'utf8'), new RegExp(made.key.slice(42, 80)));
    assert.equal(readFileSync(join(stack.home, 'keys/pepper')).length, 32);
  });

  test('works for RPC, on a socket and under /v1, in either header, at the gateway and at the model server', async () => {
    const who = await person(stack, 'developer', { project: true });
    const { key, key_id } = await make(who);
    assert.equal((await callAs(stack, key, 'user.self')).result.email, who.email);
    const byHeader = await post(`${stack.apiUrl}/rpc`, { jsonrpc: '2.0', id: 1, method: 'user.self', params: {} }, { headers: { 'x-api-key': key } });
    assert.equal(byHeader.json.result.email, who.email);
    const socket = await openSocket(stack, { token: key });
    socket.call(1, 'fs.list', { project: who.project, path: '' });
    assert.ok((await socket.answer(1)).result.entries);
    socket.call(2, 'llm.chat', { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 4 });
    assert.ok((await socket.answer(2)).result.usage);
    socket.socket.close();
    for (const base of [stack.llmUrl, stack.apiUrl]) for (const headers of [{ authorization: `Bearer ${key}` }, { 'x-api-key': key }]) assert.equal((await chat(base, headers)).status, 200);
    const listed = (await callAs(stack, who.token, 'key.list')).result.keys.find((one) => one.key_id === key_id);
    assert.ok(Math.abs(Date.parse(listed.last_used_at) - Date.now()) < 120_000);
  });

  test('with a wrong character is refused without asking anybody; an invented one is refused too', async () => {
    const { key } = await make(await person(stack));
    const typo = key.slice(0, 50) + (key[50] === 'A' ? 'B' : 'A') + key.slice(51);
    assert.equal(rule(await callAs(stack, typo, 'user.self')), 'key.malformed');
    assert.equal(rule(await callAs(stack, 'cds_key_', 'user.self')), 'key.malformed');
    const other = await make(await person(stack));
    await stack.sql(`UPDATE api_keys SET hash = repeat('0', 64) WHERE id = '${other.key_id}'`);
    assert.equal(rule(await callAs(stack, other.key, 'user.self')), 'key.unknown');
  });

  test('keeps to its scopes and models', async () => {
    const who = await person(stack, 'developer', { project: true });
    const { key } = await make(who, { scopes: ['llm', 'user'], models: ['another-model'] });
    assert.equal((await callAs(stack, key, 'user.self')).status, 200);
    assert.equal(rule(await callAs(stack, key, 'fs.list', { project: who.project, path: '' })), 'key.scope');
    for (const base of [stack.llmUrl, stack.apiUrl]) {
      const got = await chat(base, { authorization: `Bearer ${key}` });
      assert.deepEqual([got.status, (await got.json()).error.rule], [403, 'key.model'], base);
      const listed = await (await fetch(`${base}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).json();
      assert.deepEqual(listed.data, []);
      assert.equal((await fetch(`${base}/v1/models/${model}`, { headers: { authorization: `Bearer ${key}` } })).status, 404);
    }
    const files = await make(who, { scopes: ['fs'] });
    assert.equal((await chat(stack.llmUrl, { authorization: `Bearer ${files.key}` })).status, 403);
  });

  test('reads the log only with the scope for it, or with none', async () => {
    const who = await person(stack);
    const open = (token) => openSocket({ ...stack, tokens: { ...stack.tokens, mine: token } }, { token, path: '/stream/logs', protocol: 'cds.logs.v1' });
    await assert.rejects(open((await make(who, { scopes: ['llm', 'user'] })).key), /403/);
    for (const params of [{ scopes: ['logs'] }, {}]) (await open((await make(who, params)).key)).socket.close();
  });

  test('counts when it is rotated, and a live one is listed before any number of ended ones', async () => {
    const who = await person(stack);
    const first = await make(who, { models: ['NULL'] });
    const fill = (count, revoked) => stack.sql(`INSERT INTO api_keys (id, user_id, name, hash, created_at, revoked_at) SELECT gen_random_uuid(), '${who.id}', 'x', md5(random()::text) || md5(random()::text), now(), ${revoked} FROM generate_series(1, ${count})`);
    await fill(210, 'now()');
    const listed = (await callAs(stack, who.token, 'key.list')).result.keys;
    assert.equal(listed.length, 200);
    assert.deepEqual([listed[0].key_id, listed[0].models], [first.key_id, ['NULL']]);
    await fill(99, 'NULL');
    assert.equal(rule(await callAs(stack, who.token, 'key.rotate', { key_id: first.key_id, overlap_s: 60 })), 'key.count');
    assert.ok((await callAs(stack, who.token, 'key.rotate', { key_id: first.key_id, overlap_s: 0 })).result.key);
  });

  test('is never more than its maker, also when the maker becomes less', async () => {
    const who = await person(stack, 'developer', { project: true });
    const wish = await callAs(stack, who.token, 'key.create', { name: 'k', role: 'admin' });
    assert.equal(rule(wish), 'key.role');
    const { key } = await make(who);
    const small = await make(who, { role: 'viewer' });
    assert.equal(rule(await callAs(stack, small.key, 'fs.create', { project: who.project, path: 'x', type: 'file' })), 'role');
    assert.equal((await callAs(stack, key, 'user.self')).result.role, 'developer');
    await stack.rpc('user.set_role', { user_id: who.id, role: 'viewer' }, 'admin');
    await waitFor('the key is less', async () => (await callAs(stack, key, 'user.self')).result?.role === 'viewer', 1000);
    await stack.rpc('user.set_role', { user_id: who.id, role: 'admin' }, 'admin');
    await waitFor('the maker is more', async () => (await callAs(stack, who.token, 'user.self')).result?.role === 'admin', 1000);
    assert.equal((await callAs(stack, key, 'user.self')).result.role, 'developer');
    await stack.rpc('user.block', { user_id: who.id }, 'admin');
    await waitFor('the key is nothing', async () => rule(await callAs(stack, key, 'user.self')) === 'user.blocked', 1000);
  });

  test('makes no keys and changes no password', async () => {
    const who = await person(stack);
    const { key, key_id } = await make(who);
    for (const [method, params] of [['key.create', { name: 'more' }], ['key.rotate', { key_id }], ['user.password.change', { old_password: who.password, new_password: 'Nine-Silver-Ladders' }]])
      assert.equal(rule(await callAs(stack, key, method, params)), 'key.session', method);
  });

  test('ends when it expires', async () => {
    const who = await person(stack);
    const { key, key_id } = await make(who, { expires_in_s: 60 });
    await stack.sql(`UPDATE api_keys SET created_at = now() - interval '1 hour', expires_at = now() - interval '1 second' WHERE id = '${key_id}'`);
    assert.equal(rule(await callAs(stack, key, 'user.self')), 'key.expired');
  });

  test('that is revoked ends sockets and streams under it within a second, everywhere', async () => {
    const who = await person(stack);
    const { key, key_id } = await make(who);
    const socket = await openSocket(stack, { token: key });
    const stream = modelStream(stack.llmUrl, key);
    await stream.first;
    const closed = new Promise((resolve) => socket.socket.on('close', (code) => resolve({ code, at: performance.now() })));
    const since = performance.now();
    await callAs(stack, who.token, 'key.revoke', { key_id });
    const [end, text] = await Promise.all([closed, stream.end]);
    assert.equal(end.code, 4003);
    timely(end.at - since, 1000, 'the end of the socket');
    timely(text.at - since, 1000, 'the end of the stream');
    assert.match(text.text, /revoked/);
    assert.equal(rule(await callAs(stack, key, 'user.self')), 'key.revoked');
    assert.equal((await chat(stack.llmUrl, { 'x-api-key': key })).status, 401);
    assert.equal((await callAs(stack, who.token, 'user.self')).status, 200);
  });

  test('is rotated with an overlap: both work, then the new one alone', async () => {
    const who = await person(stack);
    const old = await make(who, { scopes: ['user'] });
    const fresh = (await callAs(stack, who.token, 'key.rotate', { key_id: old.key_id, overlap_s: 3600 })).result;
    for (const one of [old, fresh]) assert.equal((await callAs(stack, one.key, 'user.self')).status, 200);
    assert.equal(rule(await callAs(stack, fresh.key, 'usage.summary')), 'key.scope', 'it has the rights of the old one');
    const { keys } = (await callAs(stack, who.token, 'key.list')).result;
    assert.equal(keys.find((k) => k.key_id === fresh.key_id).rotated_from, old.key_id);
    assert.ok(Date.parse(keys.find((k) => k.key_id === old.key_id).expires_at) - Date.now() <= 3_600_000);
    const again = await make(who);
    const now = (await callAs(stack, who.token, 'key.rotate', { key_id: again.key_id, overlap_s: 0 })).result;
    await waitFor('the old one has ended', async () => rule(await callAs(stack, again.key, 'user.self')) === 'key.expired', 2000);
    assert.equal((await callAs(stack, now.key, 'user.self')).status, 200);
  });
});

describe('keys that nobody has', { concurrency: false }, () => {
  test('are guessed through the page as slowly as passwords', async () => {
    const { key } = await make(await person(stack));
    const ask = (text, ip) => post(`${stack.url}/auth/key`, { key: text }, { ip });
    const invented = makeText(key);
    await guessUntilRefused(() => ask(invented, '203.0.113.200'), (got) => got.status === 429, (got) => assert.equal(got.status, 401));
    assert.equal((await callAs(stack, key, 'user.self')).status, 200);
  });

  test('are asked for so many at a time only, and refreshes and keys that work are not held up', async () => {
    const { key } = await make(await person(stack));
    assert.equal((await callAs(stack, key, 'user.self')).status, 200);
    const all = await Promise.all(Array.from({ length: 200 }, async () => callAs(stack, makeText(key), 'user.self')));
    const rules = new Set(all.map(rule));
    assert.deepEqual([...rules].sort(), ['key.flood', 'key.unknown']);
    assert.ok(all.filter((got) => got.status === 429).every((got) => Number(got.headers.get('retry-after')) >= 1));
    assert.equal((await callAs(stack, key, 'user.self')).status, 200);
  });
});

describe('the command line', { concurrency: false }, () => {
  const run = async (...words) => {
    const got = await stack.command(['key', ...words]);
    return { code: got.code, text: got.stdout + got.stderr };
  };
  const keyIn = (text) => /cds_key_[0-9a-f]{32}_[A-Za-z0-9_-]{43}_[0-9a-f]{8}/.exec(text)?.[0];
  const idIn = (text) => /id is ([0-9a-f-]{36})/.exec(text)[1];

  test('makes, lists, rotates and revokes keys; the running studio follows', async () => {
    const who = await person(stack);
    const made = await run('create', '--email', who.email, '--name', 'for the build', '--scopes', 'user,llm', '--models', model, '--days', '30');
    assert.equal(made.code, 0, made.text);
    const key = keyIn(made.text);
    assert.equal((await callAs(stack, key, 'user.self')).result.email, who.email);
    assert.equal(rule(await callAs(stack, key, 'usage.summary')), 'key.scope');
    const listed = JSON.parse((await run('list', '--email', who.email, '--json')).text);
    assert.deepEqual(listed.map((one) => [one.key_id, one.name, one.role, one.state, one.scopes, one.models]), [[idIn(made.text), 'for the build', 'developer', 'active', 'user,llm', model]]);
    assert.match((await run('list')).text, /for the build/);
    const next = await run('rotate', '--id', idIn(made.text), '--overlap-s', '0');
    assert.equal(next.code, 0, next.text);
    assert.equal((await callAs(stack, keyIn(next.text), 'user.self')).status, 200);
    assert.equal((await run('revoke', '--id', idIn(next.text))).code, 0);
    await waitFor('the key has ended', async () => rule(await callAs(stack, keyIn(next.text), 'user.self')) === 'key.revoked', 1000);
    assert.doesNotMatch(readFileSync(join(stack.home, 'logs/studio.jsonl'), 'utf8'), new RegExp(key.slice(42, 80)));
  });

  test('refuses what the page would refuse, with a sentence', async () => {
    const who = await person(stack, 'viewer');
    for (const [words, why] of [
      [['create', '--email', who.email], /needs --name/], [['create', '--email', who.email, '--name', 'x', '--role', 'admin'], /cannot have the role admin/],
      [['create', '--email', 'nobody@studio.test', '--name', 'x'], /no user/], [['create', '--email', who.email, '--name', 'x', '--scopes', 'everything'], /scopes/],
      [['create', '--email', who.email, '--name', 'x', '--days', 'many'], /expires_in_s/], [['rotate', '--id', '0190f5a0-0000-7000-8000-00000000ffff'], /no API key/],
      [['revoke', '--id', 'x'], /named by its id/], [['revoke', '--id', '0190f5a0-0000-7000-8000-00000000ffff'], /no live API key/], [['list', 'x'], /not an argument/],
    ]) {
      const got = await run(...words);
      assert.notEqual(got.code, 0, words.join(' '));
      assert.match(got.text, why, words.join(' '));
    }
  });
});

test('sockets of a key live as long as the key: past its minute of a token, and not past its end', async () => {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, 63_000 - (performance.now() - lasting.since))));
  for (const name of ['ws', 'logs', 'responses']) assert.equal(lasting[name].closed, null, name);
  lasting.ws.call(1, 'user.self');
  assert.equal((await lasting.ws.answer(1)).result.email, lasting.who.email);
  await callAs(stack, lasting.who.token, 'key.revoke', { key_id: lasting.key_id });
  for (const name of ['ws', 'logs', 'responses']) await waitFor(`${name} is closed`, () => lasting[name].closed === 4003, 1000);
});
