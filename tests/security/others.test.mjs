// Somebody else's things: every parameter that names one, in every method, with the id of another user's living project, terminal, run, preview, request,
// session or account. The answer must be the one that an id which never was gets, and nothing of the other user may change.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openSocket } from '../support/gateway.mjs';
import { root, startStack, waitFor } from '../support/stack.mjs';
import { callAs, modelStream, person } from './support.mjs';

const rows = readFileSync(join(root, 'schemas/access.txt'), 'utf8').split('\n').filter((line) => line && !line.startsWith('#')).map((line) => {
  const [method, least, ...own] = line.trim().split(/\s+/);
  return { method, least, own: own.filter((name) => !/[-~]$/.test(name)).map((name) => name.replace('*', '')) };
});
const example = (method) => JSON.parse(readFileSync(join(root, 'examples/rpc', `${method}.ok.json`), 'utf8')).request.params ?? {};

let stack;
let victim;
let attacker;

/** Everything that somebody can own, alive. */
async function owner() {
  const who = await person(stack, 'developer', { project: true });
  const socket = await openSocket(stack, { token: who.token });
  await callAs(stack, who.token, 'fs.write', { project: who.project, path: 'secret.txt', content: 'mine alone' });
  socket.call(1, 'term.open', { project: who.project, rows: 24, cols: 80 });
  const { term_id } = (await socket.answer(1)).result;
  let run_id;
  socket.call(2, 'run.exec', { project: who.project, language: 'sh', code: 'sleep 600', limits: { wall_ms: 600_000 } });
  run_id = (await socket.next((m) => m.method === 'run.started')).params.run_id;
  const stream = modelStream(stack.llmUrl, who.token, { max_tokens: 4000, resumable: true, ignore_eos: false });
  await stream.first;
  const request_id = await stack.sql(`SELECT id FROM llm_requests WHERE user_id = '${who.id}' ORDER BY admitted_at DESC LIMIT 1`);
  socket.call(4, 'term.attach', { project: who.project, term_id });
  socket.call(3, 'term.input', { project: who.project, term_id, data: 'python3 -m http.server 8000\n' });
  await waitFor('a program listens', async () => (await callAs(stack, who.token, 'preview.ports', { project: who.project, term_id })).result?.ports?.includes(8000), 30_000, 100);
  // It says so behind that, and nothing more.
  const said = () => socket.messages.filter((m) => m.method === 'term.output').map((m) => m.params.data).join('');
  await waitFor('the terminal is quiet', () => /Serving HTTP[^\n]*\n/.test(said()));
  const { key_id } = (await callAs(stack, who.token, 'key.create', { name: 'mine' })).result;
  const { preview_id } = (await callAs(stack, who.token, 'preview.open', { project: who.project, term_id, port: 8000 })).result;
  return { ...who, socket, stream, things: { project: who.project, term_id, run_id, request_id, session_id: who.sid, user_id: who.id, projects_to: who.id, preview_id, key_id } };
}

/** The answer without what names this very call. */
function bare({ status, result, error }) {
  return { status, result, error: error && { code: error.code, rule: error.data.rule, detail: error.data.detail, errors: error.data.errors } };
}

let lastId = 100;
/** What is refused over HTTP altogether. */
async function overSocket(_stack, _token, method, params) {
  const id = ++lastId;
  attacker.socket.call(id, method, params);
  const { result, error } = await attacker.socket.answer(id);
  return { status: error?.data.status ?? 200, result, error };
}

/** What an example asks for, by the attacker: their own things where it names some. */
function mine(method, over) {
  const params = JSON.parse(JSON.stringify(example(method)).replaceAll('$UNIQUE', randomUUID().slice(0, 8)).replaceAll('$EMAIL', attacker.email).replaceAll('$MODEL', 'm'));
  const { own } = rows.find((row) => row.method === method);
  for (const name of own) if (name in params || name in over) params[name] = over[name] ?? attacker.things[name] ?? params[name];
  if ('run_id' in over) delete params.term_id; // one of the two
  if ('term_id' in over) delete params.run_id;
  return params;
}

/** What can be seen of the victim's things. */
async function seen() {
  const list = await callAs(stack, victim.token, 'fs.list', { project: victim.project, path: '' });
  const file = await callAs(stack, victim.token, 'fs.read', { project: victim.project, path: 'secret.txt' });
  const terms = await callAs(stack, victim.token, 'term.list', { project: victim.project });
  const net = await callAs(stack, victim.token, 'project.network.get', { project: victim.project });
  const self = await callAs(stack, victim.token, 'user.self');
  const sessions = await callAs(stack, victim.token, 'session.list');
  return {
    files: list.result.entries.map((e) => [e.name, e.version, e.size_bytes]), file: file.result.content,
    previews: (await callAs(stack, victim.token, 'preview.list', { project: victim.project })).result.previews.map((p) => p.preview_id),
    terms: terms.result.terminals.map((t) => [t.term_id, t.end, t.rows, t.cols, t.next_seq]), net: net.result, role: self.result.role, sessions: sessions.result.sessions.length,
  };
}

before(async () => {
  stack = await startStack({ fresh: true });
  await stack.waitModel();
  victim = await owner();
  attacker = await owner();
});
after(async () => {
  for (const one of [victim, attacker]) one?.socket.socket.close();
  await stack?.stop();
});

describe('an id of somebody else is an id that never was', { concurrency: false }, () => {
  for (const { method, least, own } of rows) {
    if (own.length === 0) continue;
    test(`${method}: ${own.join(', ')}`, async () => {
      const before = await seen();
      for (const name of own) {
        const foreign = victim.things[name];
        const run = async (value) => bare(await (method === 'fs.watch' ? overSocket : callAs)(stack, attacker.token, method, mine(method, { [name]: value })));
        const got = await run(foreign);
        const never = await run(name === 'preview_id' ? '0'.repeat(32) : randomUUID());
        assert.deepEqual(JSON.parse(JSON.stringify(got).replaceAll(foreign, 'ID')), JSON.parse(JSON.stringify(never).replaceAll(/[0-9a-f-]{36}/g, 'ID')), name);
        if (least === 'admin') assert.equal(got.status, 403, name);
        else if (!['llm.cancel', 'run.cancel', 'preview.close'].includes(method) || name === 'project') assert.ok([403, 404].includes(got.status), `${name}: ${JSON.stringify(got)}`);
        assert.doesNotMatch(JSON.stringify(got), /mine alone/);
      }
      assert.deepEqual(await seen(), before);
    });
  }

  test('the run and the stream of the other user were not touched', async () => {
    const { runs } = (await callAs(stack, victim.token, 'run.history', { project: victim.project })).result;
    assert.equal(runs.find((r) => r.run_id === victim.things.run_id).end ?? null, null);
    const ended = await Promise.race([victim.stream.end, Promise.resolve(null)]);
    if (ended) assert.match(ended.text, /\[DONE\]/, 'it came to its own end');
  });

  test('the streams and requests of another user are not there over HTTP either', async () => {
    const { request_id: id } = victim.things;
    for (const base of [stack.llmUrl, stack.apiUrl])
      for (const [verb, path] of [['GET', `/v1/requests/${id}/events`], ['POST', `/v1/requests/${id}/cancel`]]) {
        const got = await fetch(base + path, { method: verb, headers: { authorization: `Bearer ${attacker.token}` } });
        assert.equal(got.status, 404, path);
      }
  });
});
