// Accounts: links that work once, passwords, the last admin, guesses that are slowed down and tell nothing, and sign-ins that stall nobody.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openSocket, whileItWaits } from '../support/gateway.mjs';
import { startStack, timely, users, waitFor } from '../support/stack.mjs';
import { callAs, decode, guessUntilRefused, login, PASSWORD, person, post } from './support.mjs';

let stack;
before(async () => (stack = await startStack({ llm: false, fresh: true })));
after(() => stack?.stop());

const admin = (method, params) => stack.rpc(method, params, 'admin');
const mail = () => `m${randomBytes(6).toString('hex')}@studio.test`;
const tokenOf = (link) => link.split('#token=')[1];
const redeem = (token, password = PASSWORD, more = {}) => post(`${stack.authUrl}/auth/invite`, { token, password, ...more });
const look = (token) => post(`${stack.authUrl}/auth/invite/look`, { token });
const signIn = (email, password, options) => post(`${stack.authUrl}/auth/login`, { email, password }, options);
const sha256 = (text) => createHash('sha256').update(text).digest('hex');
/** Milliseconds of processor time that the sign-in service spends on a call: what a guess costs there, whatever else the machine does. */
async function cost(call) {
  const { auth } = await stack.pids();
  const spent = () => {
    const fields = readFileSync(`/proc/${auth}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  };
  const before = spent();
  assert.equal((await call()).status, 401);
  return spent() - before;
}
const statusOf = (id) => stack.sql(`SELECT status FROM users WHERE id = '${id}'`);

describe('an invitation', { concurrency: false }, () => {
  test('makes a pending account that nobody can sign in to, and a link of which only the digest is kept', async () => {
    const email = mail();
    const made = await admin('user.invite', { email: email.toUpperCase(), role: 'viewer', display_name: 'Grace' });
    assert.equal(made.email, email);
    assert.ok(made.link.startsWith(`${stack.url}/invite#token=`), made.link);
    assert.equal(await statusOf(made.user_id), 'pending');
    assert.equal(await stack.sql(`SELECT token_hash FROM invites WHERE user_id = '${made.user_id}'`), sha256(tokenOf(made.link)));
    assert.equal((await signIn(email, '*')).json.rule, 'login.wrong');
    assert.deepEqual((await look(tokenOf(made.link))).json, { kind: 'invite', email, role: 'viewer', display_name: 'Grace' });
    assert.doesNotMatch(JSON.stringify(stack.logTail(200)), new RegExp(tokenOf(made.link)));
  });

  test('sets the password, activates the account and signs in; afterwards the link is dead', async () => {
    const made = await admin('user.invite', { email: mail(), role: 'developer' });
    const weak = await redeem(tokenOf(made.link), 'password1234');
    assert.deepEqual([weak.status, weak.json.rule], [400, 'password.common']);
    const got = await redeem(tokenOf(made.link), PASSWORD, { display_name: 'Ada' });
    assert.deepEqual([got.status, got.json.user.display_name, got.json.user.role], [200, 'Ada', 'developer']);
    assert.ok(got.refresh);
    assert.equal(await statusOf(made.user_id), 'active');
    for (const dead of [await redeem(tokenOf(made.link)), await look(tokenOf(made.link))]) assert.deepEqual([dead.status, dead.json.rule], [403, 'invite.used']);
    assert.equal((await signIn(made.email, PASSWORD)).status, 200);
  });

  test('of several redemptions at once exactly one counts', async () => {
    const made = await admin('user.invite', { email: mail(), role: 'viewer' });
    const all = await Promise.all(Array.from({ length: 5 }, (_, i) => redeem(tokenOf(made.link), `${PASSWORD}-${i}`)));
    assert.deepEqual(all.map((got) => got.status).sort(), [200, 403, 403, 403, 403]);
    const winner = all.findIndex((got) => got.status === 200);
    assert.equal((await signIn(made.email, `${PASSWORD}-${winner}`)).status, 200);
  });

  test('an expired, an invented and a replaced link are refused', async () => {
    const made = await admin('user.invite', { email: mail(), role: 'viewer' });
    const again = await admin('user.link', { user_id: made.user_id });
    assert.equal(again.kind, 'invite');
    assert.equal((await redeem(tokenOf(made.link))).json.rule, 'invite.unknown');
    await stack.sql(`UPDATE invites SET expires_at = now() - interval '1 second' WHERE user_id = '${made.user_id}'`);
    assert.equal((await redeem(tokenOf(again.link))).json.rule, 'invite.expired');
    assert.equal((await redeem(randomBytes(32).toString('base64url'))).json.rule, 'invite.unknown');
    assert.equal(await statusOf(made.user_id), 'pending');
  });

  test('a link that is made while another of the same user is taken up waits for it', async () => {
    const made = await admin('user.invite', { email: mail(), role: 'viewer' });
    // What a redemption does, in its order; the link comes in the middle.
    const got = await whileItWaits(stack, `SELECT FROM access_clock FOR UPDATE; UPDATE invites SET expires_at = expires_at WHERE user_id = '${made.user_id}'`,
      () => callAs(stack, stack.tokens.admin, 'user.link', { user_id: made.user_id }), `UPDATE users SET display_name = 'Grace' WHERE id = '${made.user_id}'`);
    assert.equal(got.status, 200, JSON.stringify(got.error));
    assert.equal(await stack.sql(`SELECT display_name FROM users WHERE id = '${made.user_id}'`), 'Grace');
  });

  test('a link that is replaced at the very moment of its redemption sets no password', async () => {
    const made = await admin('user.invite', { email: mail(), role: 'viewer' });
    const got = await whileItWaits(stack, `DELETE FROM invites WHERE user_id = '${made.user_id}'`, () => redeem(tokenOf(made.link)));
    assert.deepEqual([got.status, got.json.rule], [403, 'invite.unknown']);
    assert.equal(await statusOf(made.user_id), 'pending');
  });

  test('a blocked account gets no link, and one that was made before does not open it', async () => {
    const made = await admin('user.invite', { email: mail(), role: 'viewer' });
    await admin('user.block', { user_id: made.user_id });
    assert.equal((await redeem(tokenOf(made.link))).json.rule, 'user.blocked');
    await assert.rejects(admin('user.link', { user_id: made.user_id }), (e) => e.data.rule === 'user.blocked');
    assert.equal((await admin('user.unblock', { user_id: made.user_id })).status, 'pending');
  });
});

describe('a password', { concurrency: false }, () => {
  test('is changed with the old one only; other sessions end, this one goes on, open links are void', async () => {
    const who = await person(stack);
    const other = await login(stack, who);
    const { link } = await admin('user.link', { user_id: who.id });
    const socket = await openSocket(stack, { token: other.token });
    const closed = new Promise((resolve) => socket.socket.on('close', resolve));
    const wrong = await callAs(stack, who.token, 'user.password.change', { old_password: 'not-the-password', new_password: 'Nine-Silver-Ladders' });
    assert.deepEqual([wrong.status, wrong.error.data.rule], [403, 'password.wrong']);
    const weak = await callAs(stack, who.token, 'user.password.change', { old_password: PASSWORD, new_password: 'short' });
    assert.deepEqual([weak.status, weak.error.data.errors[0].pointer], [400, '/params/new_password']);
    assert.deepEqual((await callAs(stack, who.token, 'user.password.change', { old_password: PASSWORD, new_password: 'Nine-Silver-Ladders' })).result, { ended_sessions: 1 });
    assert.equal(await closed, 4003);
    assert.equal((await callAs(stack, other.token, 'user.self')).error.data.rule, 'session.ended');
    assert.equal((await post(`${stack.authUrl}/auth/refresh`, {}, { cookie: other.refresh })).status, 401);
    assert.equal((await callAs(stack, who.token, 'user.self')).status, 200);
    assert.equal((await post(`${stack.authUrl}/auth/refresh`, {}, { cookie: who.refresh })).status, 200);
    assert.equal((await signIn(who.email, PASSWORD)).status, 401);
    assert.equal((await signIn(who.email, 'Nine-Silver-Ladders')).status, 200);
    assert.equal((await redeem(tokenOf(link))).json.rule, 'invite.unknown');
  });

  test('that changes between its check and the begin of the session opens none, over either way', async () => {
    for (const attempt of [(who) => signIn(who.email, PASSWORD), (who) => callAs(stack, undefined, 'user.login', { email: who.email, password: PASSWORD })]) {
      const who = await person(stack);
      const got = await whileItWaits(stack, `UPDATE users SET password_hash = '*' WHERE id = '${who.id}'`, () => attempt(who));
      assert.deepEqual([got.status, got.json?.rule ?? got.error?.data.rule], [401, 'login.wrong']);
      assert.equal(await stack.sql(`SELECT count(*) FROM sessions WHERE user_id = '${who.id}'`), '1');
    }
  });

  test('set through a link ends every session and every API key of before', async () => {
    const who = await person(stack);
    const { key } = (await callAs(stack, who.token, 'key.create', { name: 'k' })).result;
    assert.equal((await callAs(stack, key, 'user.self')).status, 200);
    const made = await admin('user.link', { user_id: who.id });
    assert.equal(made.kind, 'reset');
    assert.equal((await redeem(tokenOf(made.link), 'Nine-Silver-Ladders')).status, 200);
    await waitFor('the old session is void', async () => (await callAs(stack, who.token, 'user.self')).error?.data.rule === 'session.ended', 1000);
    assert.equal((await post(`${stack.authUrl}/auth/refresh`, {}, { cookie: who.refresh })).status, 401);
    assert.equal((await callAs(stack, key, 'user.self')).error?.data.rule, 'key.revoked');
  });

  test('guesses at the old one by a stolen session are slowed down', async () => {
    const who = await person(stack);
    const guess = (i) => callAs(stack, who.token, 'user.password.change', { old_password: `guess-${i}`, new_password: 'Nine-Silver-Ladders' });
    const last = await guessUntilRefused(guess, (got) => got.status === 429, (got) => assert.equal(got.error.data.rule, 'password.wrong'), { burst: 3, more: (ms) => Math.log2(1 + ms / 1000) });
    assert.ok(last.headers.get('retry-after'));
    assert.match(last.error.data.rule, /^login\.(ip|account)$/);
  });

  test('stands in no log, no answer and no table', async () => {
    const secret = `Canary-${randomBytes(8).toString('hex')}`;
    const who = await person(stack);
    await callAs(stack, who.token, 'user.password.change', { old_password: PASSWORD, new_password: secret });
    await callAs(stack, undefined, 'user.login', { email: who.email, password: secret });
    await callAs(stack, undefined, 'user.login', { email: who.email, password: `${secret}x` });
    assert.doesNotMatch(readFileSync(join(stack.home, 'logs/studio.jsonl'), 'utf8'), new RegExp(secret));
    for (const table of ['users', 'sessions', 'invites', 'access_changes']) assert.doesNotMatch(await stack.sql(`SELECT t::text FROM ${table} t`), new RegExp(secret));
  });
});

describe('the last admin', { concurrency: false }, () => {
  test('cannot be blocked, demoted or deleted, also not by two admins who demote each other at once', async () => {
    const { user_id: me } = await admin('user.self');
    for (const [method, params] of [['user.block', {}], ['user.set_role', { role: 'viewer' }], ['user.delete', {}]])
      await assert.rejects(admin(method, { user_id: me, ...params }), (e) => e.data.rule === 'user.last_admin', method);
    const second = await person(stack, 'admin');
    const both = await Promise.all([
      callAs(stack, stack.tokens.admin, 'user.set_role', { user_id: second.id, role: 'developer' }),
      callAs(stack, second.token, 'user.set_role', { user_id: me, role: 'developer' }),
    ]);
    assert.equal(await stack.sql(`SELECT count(*) FROM users WHERE role = 'admin' AND status = 'active'`), '1');
    assert.ok(both.filter((got) => got.status === 200).length === 1, JSON.stringify(both.map((got) => got.error?.data)));
    await stack.sql(`SELECT user_change('${me}', 'admin', NULL, 'role')`);
    await stack.sql(`SELECT user_change('${second.id}', 'viewer', NULL, 'role')`);
    await waitFor('the admin is one again', async () => (await callAs(stack, stack.tokens.admin, 'user.self')).result?.role === 'admin', 2000);
  });
});

describe('somebody who is deleted', { concurrency: false }, () => {
  test('is gone from every list and table, and so is every session; what was booked stays', async () => {
    const who = await person(stack);
    await admin('user.delete', { user_id: who.id });
    await waitFor('the session is void', async () => (await callAs(stack, who.token, 'user.self')).error?.data.rule === 'user.gone', 1000);
    assert.equal((await signIn(who.email, PASSWORD)).json.rule, 'login.wrong');
    assert.deepEqual((await admin('user.list', { query: who.email })).users, []);
    for (const table of ['users', 'sessions', 'invites']) assert.doesNotMatch(await stack.sql(`SELECT t::text FROM ${table} t`), new RegExp(who.email), table);
    assert.equal(await stack.sql(`SELECT count(*) FROM users WHERE id = '${who.id}'`), '1');
    const fresh = await admin('user.invite', { email: who.email, role: 'viewer' });
    assert.notEqual(fresh.user_id, who.id);
  });

  const file = (project) => join(stack.home, 'projects', project, 'kept.txt');
  const withFile = async () => {
    const who = await person(stack, 'developer', { project: true });
    assert.equal((await callAs(stack, who.token, 'fs.write', { project: who.project, path: 'kept.txt', content: 'work of months' })).status, 200);
    return who;
  };

  test('and has projects: nothing happens until it is said what becomes of them', async () => {
    const who = await withFile();
    const got = await callAs(stack, stack.tokens.admin, 'user.delete', { user_id: who.id });
    assert.deepEqual([got.status, got.error.data.rule], [409, 'user.projects']);
    assert.equal((await callAs(stack, who.token, 'user.self')).status, 200);
    const both = await callAs(stack, stack.tokens.admin, 'user.delete', { user_id: who.id, remove_projects: true, projects_to: who.id });
    assert.deepEqual([both.status, both.error.data.rule], [400, 'user.heir']);
    for (const heir of [who.id, '0190f5a0-0000-7000-8000-00000000ffff']) {
      const none = await callAs(stack, stack.tokens.admin, 'user.delete', { user_id: who.id, projects_to: heir });
      assert.deepEqual([none.status, none.error.data.rule], [400, 'user.heir'], heir);
    }
    assert.ok(existsSync(file(who.project)));
  });

  test('and has projects: they are handed over with their files, also one whose name the heir has', async () => {
    const [who, heir] = [await withFile(), await withFile()];
    const got = await admin('user.delete', { user_id: who.id, projects_to: heir.id });
    assert.equal(got.projects, 1);
    const { projects } = (await callAs(stack, heir.token, 'project.list')).result;
    assert.deepEqual(projects.map((one) => one.id).sort(), [heir.project, who.project].sort());
    assert.equal(new Set(projects.map((one) => one.name)).size, 2);
    assert.equal((await callAs(stack, heir.token, 'fs.read', { project: who.project, path: 'kept.txt' })).result.content, 'work of months');
  });

  test('and has projects: they are removed with all files, what runs in them ends', async () => {
    const who = await withFile();
    const socket = await openSocket(stack, { token: who.token });
    socket.call(1, 'term.open', { project: who.project, rows: 24, cols: 80 });
    await socket.answer(1);
    const got = await admin('user.delete', { user_id: who.id, remove_projects: true });
    assert.equal(got.projects, 1);
    await waitFor('the folder is gone', async () => !existsSync(join(stack.home, 'projects', who.project)), 15_000);
    assert.equal(await stack.sql(`SELECT count(*) FROM projects WHERE user_id = '${who.id}'`), '0');
  });
});

describe('guesses', { concurrency: false }, () => {
  test('at accounts that are known, unknown, invited, blocked or deleted read the same', async () => {
    const known = await person(stack);
    const invited = (await admin('user.invite', { email: mail(), role: 'viewer' })).email;
    const blocked = await person(stack);
    await admin('user.block', { user_id: blocked.id });
    const gone = await person(stack);
    await admin('user.delete', { user_id: gone.id });
    const read = async (email) => {
      const rpc = await post(`${stack.apiUrl}/rpc`, { jsonrpc: '2.0', id: 1, method: 'user.login', params: { email, password: 'not-the-password' } });
      const page = await signIn(email, 'not-the-password');
      for (const one of [rpc.json.error.data, page.json]) for (const name of ['request_id', 'instance']) delete one[name];
      return [rpc.status, rpc.json.error, page.status, page.json];
    };
    const first = await read(known.email);
    assert.equal(first[0], 401);
    for (const email of [mail(), invited, blocked.email, gone.email]) assert.deepEqual(await read(email), first, email);
  });

  test('take as long for an unknown account as for a known one, and for one with a cheaper hash', async () => {
    const known = await person(stack);
    const cheap = await person(stack);
    // A hash of cost 5, as an older studio could have made it.
    await stack.sql(`UPDATE users SET password_hash = '$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW' WHERE id = '${cheap.id}'`);
    const time = async (email) => {
      const times = [];
      for (let i = 0; i < 5; i++) {
        await stack.sql('SELECT 1'); // apart from each other
        times.push(await cost(() => signIn(email(), 'not-the-password')));
        await signIn(known.email, known.password); // the right password ends the row of failures
      }
      return Math.min(...times);
    };
    const unknown = await time(mail);
    for (const [name, who] of [['known', known], ['cheap', cheap]]) {
      const took = await cost(() => signIn(who.email, 'not-the-password'));
      assert.ok(took > unknown * 0.5 && took < unknown * 4 + 50, `${name}: ${took} ms, unknown: ${unknown} ms`);
    }
  });

  test('are throttled through the gateway by the address of the browser, over HTTP and on a socket', async () => {
    const ip = '203.0.113.7';
    const guess = (i) => post(`${stack.apiUrl}/rpc`, { jsonrpc: '2.0', id: 1, method: 'user.login', params: { email: `ghost${i}@studio.test`, password: 'x' } }, { ip });
    const last = await guessUntilRefused(guess, (got) => got.status === 429, (got) => assert.equal(got.status, 401));
    assert.equal(last.json.error.data.rule, 'login.ip');
    assert.ok(Number(last.headers.get('retry-after')) >= 1);
    assert.equal((await post(`${stack.apiUrl}/rpc`, { jsonrpc: '2.0', id: 1, method: 'user.login', params: { email: users.viewer.email, password: users.viewer.password } })).status, 200);
  });
});

test('a session is continued at once also when every connection to the database was lost meanwhile', async () => {
  let { refresh } = await person(stack);
  for (let i = 0; i < 3; i++) { // the look at the database each two seconds may have mended one before
    await stack.sql(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`);
    const begin = performance.now();
    const got = await post(`${stack.authUrl}/auth/refresh`, {}, { cookie: refresh });
    assert.equal(got.status, 200, JSON.stringify(got.json));
    timely(performance.now() - begin, 1000);
    refresh = got.refresh;
  }
});

describe('who makes too much', { concurrency: false }, () => {
  test('has a hundred sessions at most, also by user.login: the one idle longest ends', async () => {
    const who = await person(stack);
    await stack.sql(`INSERT INTO sessions (id, user_id, token_version, expires_at, last_used_at) SELECT gen_random_uuid(), '${who.id}', 1, now() + interval '1 hour', now() - n * interval '1 second' FROM generate_series(1, 99) n`);
    const oldest = await stack.sql(`SELECT id FROM sessions WHERE user_id = '${who.id}' ORDER BY last_used_at LIMIT 1`);
    assert.ok((await callAs(stack, undefined, 'user.login', { email: who.email, password: who.password })).result);
    assert.equal(await stack.sql(`SELECT count(*) FROM sessions WHERE user_id = '${who.id}' AND revoked_at IS NULL`), '100');
    assert.equal(await stack.sql(`SELECT revoked_reason FROM sessions WHERE id = '${oldest}'`), 'limit');
  });

  test('of keys waits, so that nobody fills the memory of what has ended', async () => {
    const who = await person(stack);
    const BACK_MS = 10_000; // one comes back after this long
    const began = performance.now();
    let last;
    for (let i = 0; i < 220 + (performance.now() - began) / BACK_MS && last?.status !== 429; i++) {
      last = await callAs(stack, who.token, 'key.create', { name: 'k' });
      if (last.result) await callAs(stack, who.token, 'key.revoke', { key_id: last.result.key_id });
    }
    assert.deepEqual([last.status, last.error?.data.rule], [429, 'key.often']);
    assert.equal((await callAs(stack, stack.tokens.admin, 'user.self')).status, 200, 'others are not touched');
  });
});

test('cds-auth asks the database who somebody is now: neither the role in a token nor an ended session counts there', async () => {
  const who = await person(stack, 'admin');
  const invite = async () => (await post(`${stack.authUrl}/auth/rpc`, { jsonrpc: '2.0', id: 1, method: 'user.invite', params: { email: mail(), role: 'viewer' } }, { token: who.token })).json;
  assert.ok((await invite()).result);
  await admin('user.set_role', { user_id: who.id, role: 'developer' });
  assert.equal((await invite()).error.data.rule, 'role');
  await admin('user.set_role', { user_id: who.id, role: 'admin' });
  assert.ok((await invite()).result);
  await admin('session.revoke', { session_id: who.sid });
  assert.equal((await invite()).error.data.rule, 'session.ended');
  await admin('user.delete', { user_id: who.id }); // so that the first admin is the last again
});

test('sessions and keys of somebody else are neither shown nor ended, but by an admin', async () => {
  const [victim, other] = [await person(stack), await person(stack)];
  const key = (await callAs(stack, victim.token, 'key.create', { name: 'k' })).result;
  for (const [method, params, status] of [['session.list', { user_id: victim.id }, 403], ['key.list', { user_id: victim.id }, 403], ['session.revoke', { session_id: victim.sid }, 404], ['key.revoke', { key_id: key.key_id }, 404], ['key.rotate', { key_id: key.key_id }, 404]])
    assert.equal((await callAs(stack, other.token, method, params)).status, status, method);
  assert.equal((await callAs(stack, victim.token, 'user.self')).status, 200);
  assert.equal((await callAs(stack, key.key, 'user.self')).status, 200);
  assert.ok((await admin('session.list', { user_id: victim.id })).sessions.length);
  assert.ok((await admin('key.revoke', { key_id: key.key_id })).revoked);
});

test('user.login gives a token of the user, and its session ends with it', async () => {
  const who = await person(stack);
  const LIFE_S = 3600; // CDS_AUTH_ACCESS_S of the tests
  const since = Math.floor(Date.now() / 1000);
  const got = (await callAs(stack, undefined, 'user.login', { email: who.email, password: who.password })).result;
  const until = Math.ceil(Date.now() / 1000);
  const claims = decode(got.access_token);
  assert.equal(claims.sub, who.id);
  assert.equal((await callAs(stack, got.access_token, 'user.self')).result.email, who.email);
  const { sessions } = (await callAs(stack, got.access_token, 'session.list')).result;
  const mine = sessions.find((one) => one.session_id === claims.sid);
  assert.equal(mine.current, true);
  assert.equal(mine.device, 'JSON-RPC');
  for (const end of [Date.parse(mine.expires_at) / 1000, claims.exp]) assert.ok(since + LIFE_S <= end && end <= until + LIFE_S, `${since}, ${end}, ${until}`);
});

test('the list of sessions shows where they are, and their owner ends one of them or all others', async () => {
  const who = await person(stack);
  const second = await login(stack, who);
  await login(stack, who);
  const { sessions } = (await callAs(stack, who.token, 'session.list')).result;
  assert.equal(sessions.length, 3);
  assert.match(sessions[0].address, /^198\.51\./);
  assert.equal(sessions.filter((one) => one.current).length, 1);
  await callAs(stack, who.token, 'session.revoke', { session_id: second.sid });
  await assert.rejects(stack.rpc('session.revoke', { session_id: second.sid }, 'admin'), (e) => e.code === -32004);
  assert.deepEqual((await callAs(stack, who.token, 'session.revoke_others')).result, { revoked: 1 });
  assert.deepEqual((await callAs(stack, who.token, 'session.list')).result.sessions.map((one) => one.session_id), [who.sid]);
});

describe('the command line', { concurrency: false }, () => {
  const run = async (...words) => {
    const got = await stack.command(['user', ...words]);
    return { code: got.code, text: got.stdout + got.stderr };
  };

  test('lists, blocks, unblocks, signs out, changes roles and deletes; the running studio follows within a second', async () => {
    const who = await person(stack);
    const of = async (email) => JSON.parse((await run('list', '--json')).text).find((one) => one.email === email);
    assert.deepEqual([(await of(who.email)).role, (await of(who.email)).sessions], ['developer', 1]);
    assert.match((await run('role', '--email', who.email, '--role', 'viewer')).text, /: viewer/);
    await waitFor('the role holds', async () => (await callAs(stack, who.token, 'user.self')).result?.role === 'viewer', 1000);
    assert.match((await run('signout', '--email', who.email)).text, /: 1 sessions ended/);
    await waitFor('the session is void', async () => (await callAs(stack, who.token, 'user.self')).error?.data.rule === 'session.ended', 1000);
    assert.match((await run('block', '--email', who.email)).text, /: blocked/);
    assert.match((await run('block', '--email', who.email)).text, /: already blocked/);
    assert.equal((await signIn(who.email, PASSWORD)).json.rule, 'user.blocked');
    assert.equal((await run('unblock', '--email', who.email)).code, 0);
    assert.equal((await signIn(who.email, PASSWORD)).status, 200);
    assert.equal((await run('delete', '--email', who.email)).code, 0);
    assert.equal(await of(who.email), undefined);
  });

  test('deletes somebody with projects only when told what becomes of them', async () => {
    const [one, two, heir] = await Promise.all([1, 2, 3].map(() => person(stack, 'developer', { project: true })));
    const refused = await run('delete', '--email', one.email);
    assert.notEqual(refused.code, 0);
    assert.match(refused.text, /has 1 project with files.*--projects-to.*--remove-projects/);
    assert.match((await run('delete', '--email', one.email, '--projects-to', heir.email)).text, new RegExp(`1 project handed over to ${heir.email}`));
    assert.equal((await callAs(stack, heir.token, 'project.list')).result.projects.length, 2);
    assert.match((await run('delete', '--email', two.email, '--remove-projects')).text, /1 project removed/);
    assert.ok(!existsSync(join(stack.home, 'projects', two.project)));
    assert.ok(existsSync(join(stack.home, 'projects', one.project)));
  });

  test('a link from it sets a password, also for the only admin; it refuses to take that admin away', async () => {
    const made = await run('link', '--email', users.admin.email);
    assert.equal(made.code, 0, made.text);
    const got = await redeem(/#token=([A-Za-z0-9_-]{43})/.exec(made.text)[1], users.admin.password);
    assert.equal(got.status, 200);
    stack.tokens.admin = got.json.access_token;
    for (const words of [['block'], ['delete'], ['role', '--role', 'viewer']]) {
      const refused = await run(words[0], '--email', users.admin.email, ...words.slice(1));
      assert.notEqual(refused.code, 0);
      assert.match(refused.text, /last active admin/);
    }
    assert.match((await run('block', '--email', 'nobody@studio.test')).text, /no user nobody@studio.test/);
  });
});

test('a flood of sign-ins stalls neither refreshes nor calls', async () => {
  const slow = await startStack({ llm: false, fresh: true, env: { CDS_AUTH_BCRYPT_COST: '13' } });
  try {
    const flood = Array.from({ length: 24 }, (_, i) => post(`${slow.authUrl}/auth/login`, { email: `flood${i}@studio.test`, password: 'x' }));
    const times = [];
    for (let i = 0; i < 20; i++) {
      const begin = performance.now();
      const state = await fetch(`${slow.authUrl}/auth/state`);
      await slow.rpc('user.self', {}, 'viewer');
      times.push(performance.now() - begin);
      assert.equal(state.status, 200);
    }
    times.sort((a, b) => a - b);
    timely(times[10], 250, 'half of the calls, while sign-ins of half a second each waited,');
    const answers = await Promise.all(flood);
    assert.ok(answers.every((got) => got.status === 401 || got.status === 503), 'each is answered');
  } finally {
    await slow.stop();
  }
});

test('a wrong guess takes as long for an unknown address as for an account with a dearer hash', async () => {
  const dear = await person(stack);
  const time = (email) => cost(() => signIn(email, 'not-the-password'));
  const before = Math.min(await time(mail()), await time(mail()), await time(mail()));
  const dearer = Number((await stack.sql(`SELECT substr(password_hash, 5, 2) FROM users WHERE id = '${dear.id}'`))) + 3;
  await stack.sql(`UPDATE users SET password_hash = '$2b$${dearer}$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW' WHERE id = '${dear.id}'`);
  await waitFor('unknown addresses take longer', async () => (await time(mail())) > before * 4, 30_000);
  let [unknown, known] = [Infinity, Infinity];
  for (let i = 0; i < 3; i++) [unknown, known] = [Math.min(unknown, await time(mail())), Math.min(known, await time(dear.email))]; // in turns: both on the same machine
  assert.ok(known < unknown * 2 && unknown < known * 2, `known ${known} ms, unknown ${unknown} ms`);
});
