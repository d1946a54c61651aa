// What a block, another role or the end of a session does to everything that is open: HTTP, sockets, streams of the model, runs, terminals, on every
// process, within one second, also when nobody was notified.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openSocket, whileStopped } from '../support/gateway.mjs';
import { alive, startStack, timely, waitFor } from '../support/stack.mjs';
import { callAs, login, modelStream, openAll, person, post } from './support.mjs';

let stack;
before(async () => {
  stack = await startStack({ fresh: true });
  await stack.waitModel();
});
after(() => stack?.stop());

const admin = (method, params) => stack.rpc(method, params, 'admin');
/** Ends of all that openAll opened, each within a second of `since`. */
async function allEnd(ended, since) {
  const ends = {};
  for (const [name, end] of Object.entries(ended)) {
    ends[name] = await Promise.race([end, sleep(60_000, null, { ref: false })]);
    assert.ok(ends[name], `${name} goes on`);
    timely(ends[name].at - since, 1000, name);
  }
  return ends;
}
const terminals = async (who) => (await callAs(stack, who.token, 'term.list', { project: who.project })).result?.terminals ?? [];
/** Terminals that run, as the sandbox itself counts them, once it says so. */
const running = async () => Number(await waitFor('the sandbox counts', async () => /cds_sandbox_active_terminals (\d+)/.exec(await (await fetch(`${stack.apiUrl}/metrics/sandboxd`)).text())?.[1]));
/** Those that tests before have ended are gone, so that who counts has his own alone. */
const noneRuns = () => waitFor('no terminal runs', async () => (await running()) === 0);

describe('a block', { concurrency: false }, () => {
  test('ends calls, sockets, streams, runs and terminals of that user within a second, and each says why', async () => {
    const who = await person(stack, 'developer', { project: true });
    const other = await person(stack, 'developer', { project: true });
    await noneRuns();
    const open = await openAll(stack, who);
    const bystander = await openSocket(stack, { token: other.token });
    const before = await running();
    const since = performance.now();
    await admin('user.block', { user_id: who.id });
    const ends = await allEnd(open.ended, since);
    assert.equal(ends.socket.code, 4003);
    assert.equal(ends.logs.code, 4003);
    assert.deepEqual([ends.responses.code, ends.responses.rule], [4003, 'user.blocked']);
    for (const name of ['run', 'terminal', 'chat']) assert.equal(ends[name].error.data.rule, 'user.blocked', name);
    assert.equal(ends.httpRun.status, 403);
    assert.equal(ends.httpRun.error.data.rule, 'user.blocked');
    for (const name of ['direct', 'proxied']) {
      assert.match(ends[name].text, /blocked/, name);
      assert.doesNotMatch(ends[name].text, /\[DONE\]/, name);
    }
    await waitFor('its terminal is gone', async () => (await running()) === before - 1, 1000);
    bystander.call(1, 'user.self');
    assert.equal((await bystander.answer(1)).result.email, other.email);
    bystander.socket.close();
  });

  test('books what was generated until then and leaves no tokens held', async () => {
    const who = await person(stack);
    const stream = modelStream(stack.llmUrl, who.token);
    await stream.first;
    await sleep(300);
    await admin('user.block', { user_id: who.id });
    await stream.end;
    await waitFor('nothing is held', async () => (await stack.sql(`SELECT coalesce(sum(held), 0) FROM budget_usage WHERE user_id = '${who.id}'`)) === '0', 2000);
    const [n_in, n_out, outcome] = (await stack.sql(
      `SELECT l.n_in, l.n_out, q.outcome FROM token_ledger l JOIN llm_requests q ON q.id = l.request_id WHERE l.user_id = '${who.id}'`)).split('|');
    assert.ok(Number(n_in) > 0 && Number(n_out) > 0, `${n_in} and ${n_out}`);
    assert.equal(outcome, 'cancelled');
    const verify = await stack.command(['ledger', 'verify']);
    assert.equal(verify.code, 0, verify.stdout + verify.stderr);
  });

  test('refuses the token on every process, and the cookie, and is not undone for them by an unblock', async () => {
    const who = await person(stack, 'developer', { project: true });
    await admin('user.block', { user_id: who.id });
    // Each process hears of it for itself, within a second.
    const everywhere = async (status, rule) => {
      await waitFor('RPC refuses it', async () => {
        const { status: got, error } = await callAs(stack, who.token, 'user.self');
        return got === status && error.data.rule === rule;
      }, 1000);
      for (const base of [stack.llmUrl, stack.apiUrl])
        await waitFor(`${base} refuses it`, async () => {
          const got = await fetch(`${base}/v1/models`, { headers: { authorization: `Bearer ${who.token}` } });
          return got.status === status && (await got.json()).error.rule === rule;
        }, 1000);
      const auth = await post(`${stack.authUrl}/auth/rpc`, { jsonrpc: '2.0', id: 1, method: 'user.password.change', params: { old_password: 'x', new_password: 'y' } }, { token: who.token });
      assert.deepEqual([auth.status, auth.json.error.data.rule], [status, rule]);
      await assert.rejects(openSocket(stack, { token: who.token }), new RegExp(String(status)));
    };
    await everywhere(403, 'user.blocked');
    const refresh = await post(`${stack.authUrl}/auth/refresh`, {}, { cookie: who.refresh });
    assert.deepEqual([refresh.status, refresh.json.rule], [403, 'user.blocked']);
    await admin('user.unblock', { user_id: who.id });
    await everywhere(401, 'session.stale');
    assert.equal((await post(`${stack.authUrl}/auth/refresh`, {}, { cookie: who.refresh })).status, 401);
    assert.equal((await callAs(stack, (await login(stack, who)).token, 'user.self')).status, 200);
  });
});

describe('the end of a session', { concurrency: false }, () => {
  test('ends what is open under it, its terminal too, and nothing of another session', async () => {
    const who = await person(stack, 'developer', { project: true });
    const second = { ...(await login(stack, who)), project: who.project };
    const open = await openAll(stack, who);
    const bystander = await openSocket(stack, { token: second.token });
    bystander.call(1, 'term.open', { project: who.project, rows: 24, cols: 80 });
    const { term_id: kept } = (await bystander.answer(1)).result;
    const since = performance.now();
    assert.deepEqual((await callAs(stack, second.token, 'session.revoke', { session_id: who.sid })).result, { session_id: who.sid, revoked: true });
    const ends = await allEnd(open.ended, since);
    assert.equal(ends.socket.code, 4003);
    for (const name of ['run', 'terminal', 'chat']) assert.equal(ends[name].error.data.rule, 'session.ended', name);
    await waitFor('only the other terminal runs', async () => (await terminals(second)).filter((t) => t.end === 'running').map((t) => t.term_id).join() === kept, 1000);
    bystander.call(2, 'user.self');
    assert.equal((await bystander.answer(2)).result.email, who.email);
    bystander.call(3, 'term.kill', { project: who.project, term_id: kept });
    await bystander.answer(3);
    bystander.socket.close();
  });

  test('a sign-out voids the access token at once and leaves terminals to their owner', async () => {
    const who = await person(stack, 'developer', { project: true });
    const second = { ...(await login(stack, who)), project: who.project };
    const socket = await openSocket(stack, { token: who.token });
    socket.call(1, 'term.open', { project: who.project, rows: 24, cols: 80 });
    const { term_id: term } = (await socket.answer(1)).result;
    const closed = new Promise((resolve) => socket.socket.on('close', resolve));
    assert.equal((await post(`${stack.authUrl}/auth/logout`, {}, { cookie: who.refresh })).status, 204);
    assert.equal(await closed, 4003);
    assert.equal((await callAs(stack, who.token, 'user.self')).error.data.rule, 'session.ended');
    assert.equal((await terminals(second)).find((t) => t.term_id === term).end, 'running');
    await callAs(stack, second.token, 'term.kill', { project: who.project, term_id: term });
  });

  test('a refresh token that is used twice takes the access tokens of its session along', async () => {
    const who = await person(stack);
    await post(`${stack.authUrl}/auth/refresh`, {}, { cookie: who.refresh });
    await stack.sql(`UPDATE refresh_tokens SET used_at = now() - interval '2 hours' WHERE used_at IS NOT NULL AND session_id = '${who.sid}'`);
    assert.equal((await post(`${stack.authUrl}/auth/refresh`, {}, { cookie: who.refresh })).json.rule, 'refresh.reused');
    await waitFor('the access token is void', async () => (await callAs(stack, who.token, 'user.self')).error?.data.rule === 'session.ended', 1000);
  });
});

describe('another role', { concurrency: false }, () => {
  test('less: what needs more ends within a second, the rest goes on, and the socket is told', async () => {
    const who = await person(stack, 'developer', { project: true });
    const open = await openAll(stack, who);
    const { socket: alive, logs, ...ended } = open.ended;
    const since = performance.now();
    await admin('user.set_role', { user_id: who.id, role: 'viewer' });
    const ends = await allEnd(ended, since);
    for (const name of ['run', 'chat']) assert.equal(ends[name].error.data.rule, 'role', name);
    assert.ok(ends.terminal.error?.data.rule === 'role' || ends.terminal.result?.end === 'revoked', JSON.stringify(ends.terminal));
    assert.equal((await open.socket.next((m) => m.method === 'session.changed')).params.role, 'viewer');
    open.socket.call(9, 'user.self');
    assert.equal((await open.socket.answer(9)).result.role, 'viewer');
    open.socket.call(10, 'run.exec', { project: who.project, language: 'sh', code: 'echo hi' });
    assert.equal((await open.socket.answer(10)).error.data.rule, 'role');
    for (const base of [stack.llmUrl, stack.apiUrl]) {
      const got = await post(`${base}/v1/chat/completions`, { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 4 }, { token: who.token });
      assert.equal(got.status, 403, base);
    }
    open.socket.socket.close();
    open.logs.socket.close();
    await Promise.all([alive, logs]);
  });

  test('more: it holds at once, on the open socket, without a new token', async () => {
    const who = await person(stack, 'viewer');
    const socket = await openSocket(stack, { token: who.token });
    socket.call(1, 'user.list');
    assert.equal((await socket.answer(1)).error.data.rule, 'role');
    await admin('user.set_role', { user_id: who.id, role: 'admin' });
    await socket.next((m) => m.method === 'session.changed');
    socket.call(2, 'user.list');
    assert.ok((await socket.answer(2)).result.users.length > 0);
    socket.socket.close();
    await admin('user.set_role', { user_id: who.id, role: 'viewer' });
  });

  test('a demoted admin loses admin methods on the open socket and the lines of others in the open log', async () => {
    const who = await person(stack, 'admin');
    const socket = await openSocket(stack, { token: who.token });
    const logs = await openSocket(stack, { token: who.token, path: '/stream/logs', protocol: 'cds.logs.v1' });
    await stack.rpc('user.self', {}, 'developer');
    const foreign = (m) => m.line?.user_id && m.line.user_id !== who.id;
    await logs.next(foreign);
    await admin('user.set_role', { user_id: who.id, role: 'developer' });
    await socket.next((m) => m.method === 'session.changed');
    // What was sent to the other socket before has come by the time of its answer.
    logs.socket.ping();
    await once(logs.socket, 'pong');
    socket.call(1, 'budget.set', { scope: 'user', email: who.email, unit: 'tokens', window: 'month', limit: 1_000_000_000 });
    assert.equal((await socket.answer(1)).error.data.rule, 'role');
    const seen = logs.messages.length;
    await stack.rpc('user.self', {}, 'developer');
    socket.call(2, 'user.self');
    await socket.answer(2);
    await logs.next((m) => logs.messages.indexOf(m) >= seen && m.line?.user_id === who.id && m.line.method === 'user.self');
    assert.deepEqual(logs.messages.slice(seen).filter(foreign), []);
    for (const one of [socket, logs]) one.socket.close();
  });
});

describe('a lost notification', { concurrency: false }, () => {
  /** The same change as session_end makes, told to nobody. */
  const quietly = (who) => stack.sql(
    `BEGIN; UPDATE access_clock SET seq = seq + 1; UPDATE sessions SET revoked_at = now() WHERE id = '${who.sid}';
     INSERT INTO access_changes (seq, kind, user_id, subject, role, status, token_version, why)
       SELECT c.seq, 'session', '${who.id}', '${who.sid}', 'developer', 'active', 1, 'revoked' FROM access_clock c; COMMIT`);

  test('keeps rights alive for less than a second', async () => {
    const who = await person(stack, 'developer', { project: true });
    const open = await openAll(stack, who);
    const since = performance.now();
    await quietly(who);
    const ends = await allEnd(open.ended, since);
    assert.equal(ends.socket.code, 4003);
  });

  test('nor does the end of the connections that listen', async () => {
    const who = await person(stack, 'developer', { project: true });
    const open = await openAll(stack, who);
    const since = performance.now();
    await stack.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%access_clock%' AND pid <> pg_backend_pid()`);
    await admin('user.block', { user_id: who.id });
    await allEnd(open.ended, since);
  });

  test('a process that starts later knows of it', async () => {
    const who = await person(stack);
    await admin('user.block', { user_id: who.id });
    const pids = await stack.pids();
    process.kill(pids.api, 'SIGKILL');
    await stack.waitPart('api', pids.api);
    assert.equal((await callAs(stack, who.token, 'user.self')).error.data.rule, 'user.blocked');
  });

  test('terminals of who was blocked while the gateway was down end when it is back', async () => {
    const who = await person(stack, 'developer', { project: true });
    const socket = await openSocket(stack, { token: who.token });
    await noneRuns();
    socket.call(1, 'term.open', { project: who.project, rows: 24, cols: 80 });
    await socket.answer(1);
    const before = await running();
    const pids = await stack.pids();
    process.kill(pids.api, 'SIGKILL');
    await stack.sql(`SELECT user_change('${who.id}', NULL, 'blocked', 'blocked')`);
    await stack.waitPart('api', pids.api);
    await waitFor('the terminal is gone', async () => (await running()) === before - 1, 3000);
  });

  test('terminals of who was blocked and unblocked earlier in the day go on when the gateway starts anew', async () => {
    const who = await person(stack, 'developer', { project: true });
    await admin('user.block', { user_id: who.id });
    await admin('user.unblock', { user_id: who.id });
    const now = await login(stack, who);
    const socket = await openSocket(stack, { token: now.token });
    await noneRuns();
    socket.call(1, 'term.open', { project: who.project, rows: 24, cols: 80 });
    await socket.answer(1);
    const before = await running();
    const pids = await stack.pids();
    process.kill(pids.api, 'SIGKILL');
    await stack.waitPart('api', pids.api);
    await sleep(1500);
    assert.equal(await running(), before);
  });
});

describe('the database out of reach', { concurrency: false }, () => {
  test('nobody is let in, what runs goes on for ten seconds and then ends, and all of it comes back', async () => {
    const who = await person(stack, 'developer', { project: true });
    const socket = await openSocket(stack, { token: who.token });
    const closed = new Promise((resolve) => socket.socket.on('close', (code) => resolve({ code, at: performance.now() })));
    const { postgres } = await stack.pids();
    // The server first: it makes no other backend then, and those that there are stand below it.
    const signal = (name) => {
      process.kill(postgres, name);
      const backends = readFileSync(`/proc/${postgres}/task/${postgres}/children`, 'utf8').trim().split(' ').map(Number);
      for (const pid of backends) if (alive(pid)) process.kill(pid, name); // one that ended has nothing to stop
    };
    // Who is let in here was confirmed within the last second, so what runs under it ends nine seconds from here at the earliest.
    const since = performance.now();
    assert.equal((await callAs(stack, who.token, 'user.self')).status, 200);
    try {
      signal('SIGSTOP');
      await sleep(1100);
      socket.call(1, 'user.self');
      const [got, models, answer] = await Promise.all([
        callAs(stack, who.token, 'user.self'), fetch(`${stack.llmUrl}/v1/models`, { headers: { authorization: `Bearer ${who.token}` } }), socket.answer(1),
      ]);
      assert.equal(socket.closed, null, 'it still goes on');
      assert.deepEqual([got.status, got.error.data.rule], [503, 'access.unknown']);
      assert.ok(got.headers.get('retry-after'));
      assert.deepEqual([models.status, (await models.json()).error.rule], [503, 'access.unknown']);
      assert.equal(answer.error.data.rule, 'access.unknown');
      const ready = await fetch(`${stack.apiUrl}/readyz`);
      assert.equal(ready.status, 503);
      const end = await Promise.race([closed, sleep(60_000, null, { ref: false }).then(() => assert.fail('the socket goes on'))]);
      assert.equal(end.code, 4003);
      assert.ok(end.at - since > 9000, `${Math.round(end.at - since)} ms`);
      timely(end.at - since, 13_000);
    } finally {
      signal('SIGCONT');
    }
    await waitFor('calls work again', async () => (await callAs(stack, who.token, 'user.self')).status === 200, 20_000, 100);
  });

  test('a process that stood still while rights changed lets nobody in by what it knew', async () => {
    const who = await person(stack);
    const { api } = await stack.pids();
    let answer;
    await whileStopped(api, async () => {
      answer = callAs(stack, who.token, 'user.self');
      await sleep(1200);
      await stack.sql(`SELECT user_change('${who.id}', NULL, 'blocked', 'blocked')`);
    });
    assert.equal((await answer).error?.data.rule, 'user.blocked');
  });

  test('a process that itself stood still for longer than ten seconds ends nothing that still holds', async () => {
    const who = await person(stack);
    const socket = await openSocket(stack, { token: who.token });
    const { api } = await stack.pids();
    await whileStopped(api, () => sleep(12_000));
    await sleep(1500);
    socket.call(1, 'user.self');
    assert.equal((await socket.answer(1)).result.email, who.email);
    assert.equal(socket.closed, null);
    socket.socket.close();
  });
});

test('100 tries: from the call that revokes to the closed socket, the refused call and the ended stream', async (t) => {
  const tries = 100;
  const who = await person(stack);
  const times = { socket: [], http: [], stream: [] };
  for (let i = 0; i < tries; i++) {
    const mine = await login(stack, who);
    const socket = await openSocket(stack, { token: mine.token });
    const stream = modelStream(stack.llmUrl, mine.token);
    await stream.first;
    const closed = new Promise((resolve) => socket.socket.on('close', () => resolve(performance.now())));
    const since = performance.now();
    const revoke = admin('session.revoke', { session_id: mine.sid });
    const refused = (async () => {
      for (;;) if ((await callAs(stack, mine.token, 'user.self')).status === 401) return performance.now();
    })();
    for (const [name, at] of [['socket', await closed], ['http', await refused], ['stream', (await stream.end).at]]) {
      times[name].push(at - since);
      timely(at - since, 1000, `${name}, in try ${i + 1},`); // while the machine is as busy as it was
    }
    await revoke;
  }
  for (const [name, list] of Object.entries(times)) {
    list.sort((a, b) => a - b);
    const at = (share) => list[Math.min(list.length - 1, Math.ceil(list.length * share) - 1)].toFixed(1);
    t.diagnostic(`${name}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms of ${tries}`);
  }
});
