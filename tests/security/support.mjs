// tests/security/support.mjs: people that a test may break, and everything that somebody can have open.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { openSocket } from '../support/gateway.mjs';

export const PASSWORD = 'Seven-Copper-Kettles';
let lastAddress = 0;
/** An address of its own for each attempt: the throttle counts by address, and the page's proxy names it in this header. */
export const address = () => `198.51.${100 + Math.floor(++lastAddress / 250)}.${lastAddress % 250}`;

export const decode = (token, part = 1) => JSON.parse(Buffer.from(token.split('.')[part], 'base64url').toString());

export async function post(url, body, { token, cookie, ip = address(), headers = {} } = {}) {
  const reply = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json', 'x-forwarded-for': ip, ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...(cookie ? { cookie: `cds_refresh=${cookie}` } : {}), ...headers,
    },
    body: JSON.stringify(body),
  });
  const text = await reply.text();
  const set = reply.headers.get('set-cookie');
  return { status: reply.status, headers: reply.headers, json: text ? JSON.parse(text) : null, refresh: set ? /^cds_refresh=([^;]*)/.exec(set)[1] : null };
}

/**
 * Makes one guess(i) after the other until one has to wait, and gives that answer: `burst` are let through (the numbers of apps/auth/throttle.h), and
 * as many more as more(ms) says, which on a slow machine are some. `passed` checks each that was let through.
 */
export async function guessUntilRefused(guess, waits, passed, { burst = 5, more = (ms) => ms / 12_000 } = {}) {
  const began = performance.now();
  for (let i = 0; ; i++) {
    const got = await guess(i);
    if (waits(got)) {
      assert.ok(i >= burst, `guess ${i + 1} has to wait already`);
      return got;
    }
    assert.ok(i < burst + Math.floor(more(performance.now() - began)), `guess ${i + 1} was let through`);
    passed(got);
  }
}

/** One call over HTTP with any token: { status, result, error }. */
export async function callAs(stack, token, method, params = {}) {
  const got = await post(`${stack.apiUrl}/rpc`, { jsonrpc: '2.0', id: 1, method, params }, { token });
  return { status: got.status, result: got.json?.result, error: got.json?.error, headers: got.headers };
}

/** A user made by invitation, signed in: { id, email, password, token, refresh, sid, project? }. */
export async function person(stack, role = 'developer', { project = false } = {}) {
  const email = `p${randomBytes(6).toString('hex')}@studio.test`;
  const made = await stack.rpc('user.invite', { email, role }, 'admin');
  const token = made.link.split('#token=')[1];
  const got = await post(`${stack.authUrl}/auth/invite`, { token, password: PASSWORD });
  assert.equal(got.status, 200, JSON.stringify(got.json));
  const who = { id: made.user_id, email, password: PASSWORD, token: got.json.access_token, refresh: got.refresh, sid: decode(got.json.access_token).sid };
  if (project) who.project = (await callAs(stack, who.token, 'project.list')).result.projects[0].id;
  return who;
}

export async function login(stack, who) {
  const got = await post(`${stack.authUrl}/auth/login`, { email: who.email, password: who.password });
  assert.equal(got.status, 200, JSON.stringify(got.json));
  return { ...who, token: got.json.access_token, refresh: got.refresh, sid: decode(got.json.access_token).sid };
}

/** A streamed answer of the model, which goes on to its last token: { first: promise, end: promise of { text, at } }. */
export function modelStream(base, token, body = {}) {
  const url = new URL(`${base}/v1/chat/completions`);
  let text = '';
  let status = null;
  let told;
  const first = new Promise((resolve) => (told = resolve));
  const end = new Promise((resolve) => {
    const req = request(url, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` } }, (reply) => {
      status = reply.statusCode;
      reply.setEncoding('utf8').on('data', (piece) => ((text += piece), text.split('"content"').length > 5 && told())); // some tokens
      for (const event of ['end', 'aborted', 'error', 'close']) reply.on(event, () => (told(), resolve({ text, status, at: performance.now() })));
    });
    req.on('error', () => (told(), resolve({ text, status, at: performance.now() })));
    req.end(JSON.stringify({ messages: [{ role: 'user', content: 'Tell a very long story about a lighthouse.' }], max_tokens: 1500, ignore_eos: true, stream: true, ...body }));
  });
  return { first, end };
}

/** Everything at once of one signed-in person with a project: names with promises of the moment they ended. */
export async function openAll(stack, who, { model = true } = {}) {
  const as = { ...stack, tokens: { ...stack.tokens, mine: who.token } };
  const socket = await openSocket(as, { token: who.token });
  const logs = await openSocket(as, { token: who.token, path: '/stream/logs', protocol: 'cds.logs.v1' });
  const ended = {};
  const closing = (open) => new Promise((resolve) => open.socket.on('close', (code) => resolve({ code, at: performance.now() })));
  ended.socket = closing(socket);
  ended.logs = closing(logs);
  socket.call(1, 'term.open', { project: who.project, rows: 24, cols: 80 });
  const { term_id: term } = (await socket.answer(1)).result;
  socket.call(2, 'term.attach', { project: who.project, term_id: term });
  ended.terminal = socket.answer(2).then((m) => ({ ...m, at: performance.now() }));
  socket.call(3, 'run.exec', { project: who.project, language: 'sh', code: 'echo begun; sleep 600', limits: { wall_ms: 600_000 } });
  await socket.next((m) => m.method === 'run.output');
  ended.run = socket.answer(3).then((m) => ({ ...m, at: performance.now() }));
  ended.httpRun = callAs(stack, who.token, 'run.exec', { project: who.project, language: 'sh', code: 'sleep 600', limits: { wall_ms: 600_000 } }).then((got) => ({ ...got, at: performance.now() }));
  if (model) {
    for (const [name, base] of [['direct', stack.llmUrl], ['proxied', stack.apiUrl]]) {
      const stream = modelStream(base, who.token);
      await stream.first;
      ended[name] = stream.end;
    }
    const responses = await openSocket(as, { token: who.token, path: '/v1/responses', protocol: 'cds.responses.v1' });
    responses.send({ type: 'response.create', input: 'Tell a very long story.', max_output_tokens: 1500, ignore_eos: true });
    await responses.next((m) => m.type === 'response.output_text.delta');
    ended.responses = Promise.all([closing(responses), responses.next((m) => m.type === 'error')]).then(([end, told]) => ({ ...end, rule: told.error.rule }));
    socket.call(4, 'llm.chat', { messages: [{ role: 'user', content: 'Tell a very long story.' }], max_tokens: 1500, temperature: 0 }); // it repeats itself without end then
    await socket.next((m) => m.method === 'llm.delta');
    ended.chat = socket.answer(4).then((m) => ({ ...m, at: performance.now() }));
  }
  return { socket, logs, ended, term };
}
