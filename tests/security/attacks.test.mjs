// tests/security/attacks.test.mjs: attacks that worked on other servers, tried here against every process. The whole table is docs/attacks.md.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { startStack, waitFor } from '../support/stack.mjs';
import { callAs, person, post } from './support.mjs';

let stack;
let model;
before(async () => {
  stack = await startStack({ fresh: true });
  model = (await stack.waitModel()).id;
});
after(() => stack?.stop());

/** One raw request: any path and any header as they stand, which fetch would tidy: { status, headers, text }. */
const raw = (base, path, { method = 'GET', headers = {}, body } = {}) =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(base);
    const req = request({ hostname, port, path, method, headers: { connection: 'close', ...headers } }, (reply) => {
      let text = '';
      reply.setEncoding('utf8').on('data', (piece) => (text += piece));
      reply.on('end', () => resolve({ status: reply.statusCode, headers: reply.headers, text }));
    });
    req.on('error', reject).end(body);
  });

const json = { 'content-type': 'application/json' };
const log = () => readFileSync(join(stack.home, 'logs/studio.jsonl'), 'utf8'); // of every process, PostgreSQL's among them

describe('SQL in a credential', () => {
  const quotes = ["' OR '1'='1", "x'; DROP TABLE users; --", "\\'; SELECT pg_sleep(9); --", '$$; DELETE FROM api_keys; $$', "cds_live_' UNION SELECT hash FROM api_keys --_x"];

  test('is a wrong credential on every process, in every header, and no statement of ours breaks over it', async () => {
    const ends = [
      [stack.apiUrl, '/rpc', 'POST'], [stack.apiUrl, '/v1/models', 'GET'], [stack.apiUrl, '/v1/chat/completions', 'POST'], [stack.apiUrl, '/no/such/path', 'GET'],
      [stack.llmUrl, '/v1/models', 'GET'], [stack.llmUrl, '/v1/chat/completions', 'POST'], [stack.llmUrl, '/v1/messages', 'POST'], [stack.llmUrl, '/no/such/path', 'GET'],
    ];
    for (const [base, path, method] of ends)
      for (const text of quotes)
        for (const headers of [{ authorization: `Bearer ${text}` }, { 'x-api-key': text }]) {
          const got = await raw(base, path, { method, headers: { ...json, ...headers }, body: method === 'POST' ? '{"broken' : undefined });
          assert.ok([400, 401, 404].includes(got.status), `${path} ${JSON.stringify(headers)}: ${got.status} ${got.text}`);
          assert.doesNotMatch(got.text, /syntax error|SQLSTATE|relation|UNION SELECT|DROP TABLE/);
        }
    for (const text of quotes) {
      const cookie = await raw(stack.authUrl, '/auth/refresh', { method: 'POST', headers: { ...json, origin: stack.url, cookie: `cds_refresh=${encodeURIComponent(text)}` }, body: '{}' });
      assert.equal(cookie.status, 401, cookie.text);
      const login = await post(`${stack.authUrl}/auth/login`, { email: `${text}@studio.test`, password: text });
      assert.ok([400, 401].includes(login.status), JSON.stringify(login.json));
      const made = await callAs(stack, stack.tokens.developer, 'key.create', { name: text.slice(0, 90) });
      assert.equal(made.error, undefined, 'as a name it is a name');
    }
    assert.deepEqual((await callAs(stack, stack.tokens.developer, 'key.list')).result.keys.map((key) => key.name).sort(), [...quotes].sort());
    assert.doesNotMatch(log(), /syntax error|unterminated/);
  });
});

describe('a model that is forbidden to a key', () => {
  test('answers on none of the ways to it, and loads by none', async () => {
    const admin = await person(stack, 'admin');
    const { key } = (await callAs(stack, admin.token, 'key.create', { name: 'narrow', role: 'admin', models: ['another-model'] })).result;
    const text = { model, prompt: 'a', input: 'a', messages: [{ role: 'user', content: 'a' }], max_tokens: 1, query: 'a', documents: ['a'], input_prefix: 'a', input_suffix: 'b', content: 'a', tokens: [1] };
    const ways = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/rerank', '/v1/infill', '/v1/tokenize', '/v1/detokenize', '/v1/apply-template',
      '/v1/responses', '/v1/messages', '/v1/messages/count_tokens', '/chat', '/completion', '/embed', '/load', '/unload', '/admin/load', '/admin/unload', `/admin/models/${model}/settings`];
    const open = [];
    for (const base of [stack.apiUrl, stack.llmUrl])
      for (const path of ways) {
        const got = await raw(base, path, { method: path.endsWith('/settings') ? 'PUT' : 'POST', headers: { ...json, authorization: `Bearer ${key}` }, body: JSON.stringify(text) });
        if (got.status < 400 || got.status >= 500) open.push(`${path}: ${got.status} ${got.text.slice(0, 120)}`);
      }
    assert.deepEqual(open, []);
    assert.equal((await stack.waitModel()).id, model, 'and it is still loaded');
  });
});

describe('a name of a model that is a path', () => {
  test('is unknown or refused, by every method that takes one, and nothing outside of the folder is read', async () => {
    const token = stack.tokens.admin;
    for (const name of ['../../../../etc/passwd', '..%2f..%2fetc%2fpasswd', '/etc/passwd', `${model}/../../secret`, 'a\u0000b', '..', 'sha256:../../../etc/passwd']) {
      for (const path of ['/admin/load', '/admin/unload', '/v1/chat/completions', '/v1/embeddings']) {
        const got = await raw(stack.llmUrl, path, { method: 'POST', headers: { ...json, authorization: `Bearer ${token}` }, body: JSON.stringify({ model: name, input: 'a', messages: [{ role: 'user', content: 'a' }] }) });
        assert.ok(got.status >= 400 && got.status < 500, `${path} ${name}: ${got.status} ${got.text}`);
        assert.doesNotMatch(got.text, /root:/);
      }
      const one = await raw(stack.llmUrl, `/v1/models/${encodeURIComponent(name)}`, { headers: { authorization: `Bearer ${token}` } });
      assert.ok([400, 404].includes(one.status), `${name}: ${one.status}`);
      const rpc = await callAs(stack, token, 'llm.start', { model: name });
      assert.ok(rpc.error, JSON.stringify(rpc.result));
    }
    const before = readdirSync(join(stack.home, 'models')).filter((name) => /\.(gguf|part|journal)$/.test(name));
    for (const source of ['../../etc/passwd', 'file:///etc/passwd', 'hf:../../x:Q8_0', 'http://169.254.169.254/latest/meta-data', 'https://[::ffff:127.0.0.1]/m.gguf', 'https://user:word@example.org/m.gguf'])
{
      const started = await callAs(stack, token, 'llm.download', { source });
      if (started.error) continue;
      await waitFor(`the end of ${source}`, async () => {
        const { downloads } = JSON.parse((await raw(stack.apiUrl, '/admin/models', { headers: { authorization: `Bearer ${token}` } })).text);
        const { state } = downloads.find((one) => one.id === started.result.id);
        assert.notEqual(state, 'done', source);
        return state === 'failed';
      });
    }
    assert.deepEqual(readdirSync(join(stack.home, 'models')).filter((name) => /\.(gguf|part|journal)$/.test(name)), before, 'and nothing came of it');
  });
});

describe('a page of another site', () => {
  const evil = 'http://evil.example';

  test('opens no socket, with the credentials of a person or without', async () => {
    for (const [path, protocol] of [['/ws', 'cds.rpc.v1'], ['/stream/logs', 'cds.logs.v1'], ['/v1/responses', undefined]])
      for (const base of [stack.url, stack.apiUrl, stack.llmUrl])
        for (const how of [{ origin: evil, token: true }, { origin: 'null', token: true }, { origin: evil }, { origin: stack.url }]) {
          const protocols = [...(protocol ? [protocol] : []), ...(how.token ? [`cds.bearer.${stack.tokens.admin}`] : [])];
          const socket = new WebSocket(base.replace(/^http/, 'ws') + path, protocols, { origin: how.origin });
          const end = await new Promise((resolve) => {
            socket.on('open', () => resolve('open')).on('unexpected-response', (_, reply) => resolve(reply.statusCode)).on('error', (error) => resolve(error.message));
          });
          socket.terminate();
          assert.ok(end >= 400 && end < 500, `${base}${path} ${JSON.stringify(how)}: ${end}`);
        }
  });

  test('reads nothing of ours: no answer names it as allowed', async () => {
    for (const base of [stack.url, stack.apiUrl, stack.llmUrl, stack.authUrl])
      for (const path of ['/', '/rpc', '/v1/models', '/auth/state', '/healthz']) {
        for (const method of ['OPTIONS', 'GET']) {
          const got = await raw(base, path, { method, headers: { origin: evil, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' } });
          const allowed = got.headers['access-control-allow-origin'];
          assert.ok(allowed === undefined || allowed === stack.url, `${method} ${base}${path}: ${allowed}`);
        }
      }
  });

  test('whose name points at this machine finds nothing that needs no credential, and no way to sign in', async () => {
    const rebound = { host: 'evil.example', origin: evil };
    for (const [base, path, body] of [
      [stack.url, '/auth/login', { email: 'admin@studio.test', password: 'Quiet-Harbour-41-Lamps' }], [stack.url, '/auth/refresh', {}], [stack.authUrl, '/auth/login', { email: 'a@b.cd', password: 'x' }],
      [stack.url, '/rpc', { jsonrpc: '2.0', id: 1, method: 'project.list', params: {} }], [stack.apiUrl, '/rpc', { jsonrpc: '2.0', id: 1, method: 'project.list', params: {} }],
      [stack.llmUrl, '/v1/chat/completions', { messages: [{ role: 'user', content: 'a' }] }], [stack.llmUrl, '/admin/load', { model }],
    ]) {
      const got = await raw(base, path, { method: 'POST', headers: { ...json, ...rebound }, body: JSON.stringify(body) });
      assert.ok([401, 403].includes(got.status), `${base}${path}: ${got.status} ${got.text}`);
    }
    for (const path of ['/admin/status', '/v1/models', '/v1/states', '/v1/vocabulary']) assert.equal((await raw(stack.llmUrl, path, { headers: rebound })).status, 401, path);
  });
});

describe('a script', () => {
  const script = '<script>alert(1)</script>';

  test('in a path, a header or a body comes back on no error page as markup', async () => {
    for (const base of [stack.url, stack.apiUrl, stack.llmUrl, stack.authUrl])
      for (const [path, how] of [
        [`/${encodeURIComponent(script)}`, {}], [`/v1/models/${encodeURIComponent(script)}`, { headers: { authorization: `Bearer ${stack.tokens.developer}` } }], [`/auth/${encodeURIComponent(script)}`, {}],
        [`/nothing?q=${encodeURIComponent(script)}`, { headers: { 'x-request-id': script, referer: script } }], ['/rpc', { method: 'POST', headers: { ...json, authorization: `Bearer ${stack.tokens.developer}` }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: script }) }],
      ]) {
        const got = await raw(base, path, how);
        const type = got.headers['content-type'] ?? '';
        if (got.text.includes(script)) assert.match(type, /json/, `${base}${path}: ${type} ${got.text.slice(0, 200)}`);
        if (!/json/.test(type)) assert.ok(!got.text.includes('alert(1)'), `${base}${path}: ${type}`);
        assert.equal(got.headers['x-content-type-options'], 'nosniff', `${base}${path} lets a browser guess`);
        assert.ok(!JSON.stringify(got.headers).includes('<script'), JSON.stringify(got.headers));
      }
  });

  test('has no way into the page: its policy names this origin only, no inline code and no frame around it', async () => {
    const policy = (await raw(stack.url, '/')).headers['content-security-policy'];
    const rules = Object.fromEntries(policy.split(';').map((rule) => rule.trim().split(/\s+/)).map(([name, ...values]) => [name, values]));
    for (const name of ['default-src', 'frame-ancestors', 'base-uri']) assert.deepEqual(rules[name], ["'none'"], policy);
    assert.deepEqual(rules['script-src'], ["'self'"], policy);
    assert.doesNotMatch(rules['img-src'].join(' '), /https?:|\*/, 'a picture in a chat could carry words out');
  });
});
