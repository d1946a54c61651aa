// tests/service/auth.test.mjs: cds-auth against a real database: first admin, sign-in, sessions, keys, and what must be refused.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, createPrivateKey, generateKeyPairSync, createPublicKey, randomBytes, sign, verify } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { build, freePorts, startStack, untilCaught, users, waitFor } from '../support/stack.mjs';

const JSON_TYPE = { 'content-type': 'application/json' };

let stack;
let setupToken;
let lastAddress = 0;

/** An address of its own for each test: the throttle counts by address, and the page's proxy names it in this header. */
const address = () => `198.51.100.${++lastAddress}`;

async function post(path, body = {}, { cookie, headers = {}, ip = address(), base = stack.authUrl } = {}) {
  const all = { ...JSON_TYPE, 'x-forwarded-for': ip, ...(cookie ? { cookie: `cds_refresh=${cookie}` } : {}), ...headers };
  const reply = await fetch(base + path, { method: 'POST', headers: all, body: typeof body === 'string' ? body : JSON.stringify(body) });
  const text = await reply.text();
  const setCookie = reply.headers.get('set-cookie'); // one cookie at most; Debian's Node 18 has no getSetCookie
  return {
    status: reply.status,
    headers: reply.headers,
    json: text ? JSON.parse(text) : null,
    setCookie,
    refresh: setCookie ? /^cds_refresh=([^;]*)/.exec(setCookie)[1] : null,
  };
}

const login = (who = users.admin, options) => post('/auth/login', { email: who.email, password: who.password }, options);
const decode = (token, part = 1) => JSON.parse(Buffer.from(token.split('.')[part], 'base64url').toString());
const sha256 = (text) => createHash('sha256').update(text).digest('hex');

/** A token of any content under any key. */
function forge(key, header, claims) {
  const input = [header, claims].map((value) => Buffer.from(JSON.stringify(value)).toString('base64url')).join('.');
  return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`;
}

const NEW_PASSWORD = 'Seven-Copper-Kettles';

/** Runs a program to its end; never throws for an exit code. */
async function run(program, args, input = '') {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const out = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', (text) => (out[name] += text));
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  return { code, ...out };
}

const database = () => `host=${stack.home}/run/pg user=studio dbname=studio`;

/** A look into the private database, or a change that only time would make: rows as `a|b` lines. */
async function sql(text) {
  const got = await run('psql', ['-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', database(), '-c', text]);
  assert.equal(got.code, 0, got.stderr);
  return got.stdout.trim();
}

/**
 * Runs calls while the database stops them at a lock, and opens it only when `waiting` of them stand there: a race that always happens. Who holds the lock
 * looks for itself: a session of the studio waits two seconds at most.
 */
async function together(lock, waiting, calls) {
  const holder = spawn('psql', ['-XqAt', '-d', database()], { stdio: ['pipe', 'pipe', 'inherit'] });
  holder.stdin.write(`BEGIN; ${lock}; SELECT 'held';\n`);
  await once(holder.stdout, 'data');
  holder.stdin.end(`DO $$ BEGIN FOR i IN 1..60000 LOOP EXIT WHEN (SELECT count(*) FROM pg_locks WHERE NOT granted) >= ${waiting}; PERFORM pg_sleep(0.001); END LOOP; END $$; COMMIT;\n`);
  const ended = once(holder, 'close');
  const answers = await Promise.all(calls());
  await ended;
  return answers;
}

const addUser = (email, role, input = `${NEW_PASSWORD}\n`) => stack.command(['user', 'add', '--email', email, '--role', role], { input });

/** What the gateway says to a token. */
async function callAs(token) {
  const reply = await fetch(`${stack.apiUrl}/rpc`, {
    method: 'POST',
    headers: { ...JSON_TYPE, ...(token ? { authorization: `Bearer ${token}` } : {}) },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'user.self', params: {} }),
  });
  return { status: reply.status, json: await reply.json(), headers: reply.headers };
}

before(async () => {
  stack = await startStack({ llm: false, setup: false });
  setupToken = new URL(stack.setupLink).hash.replace('#token=', '');
});

after(() => stack?.stop());

describe('the first admin', { concurrency: false }, () => {
  const body = (token, extra = {}) => ({ token, email: users.admin.email, password: users.admin.password, display_name: users.admin.name, ...extra });

  test('the link holds 43 characters in its fragment, and the table only their hash', async () => {
    assert.match(setupToken, /^[A-Za-z0-9_-]{43}$/);
    assert.equal(await sql('SELECT token_hash FROM setup_tokens'), sha256(setupToken));
  });

  test('the state says that a first admin is needed', async () => {
    const state = await (await fetch(`${stack.authUrl}/auth/state`)).json();
    assert.deepEqual(Object.keys(state).sort(), ['oidc', 'setup_needed', 'version']);
    assert.equal(state.oidc, null);
    assert.equal(state.setup_needed, true);
  });

  test('an invented token is refused', async () => {
    const got = await post('/auth/setup', body(randomBytes(32).toString('base64url')));
    assert.equal(got.status, 403);
    assert.equal(got.json.rule, 'setup.unknown');
    assert.equal(got.refresh, null);
  });

  test('weak passwords and odd mails are refused with a pointer, and the link stays good', async () => {
    for (const [extra, pointer] of [
      [{ password: 'short' }, '/password'],
      [{ password: 'password1234' }, '/password'],
      [{ password: 'x'.repeat(73) }, '/password'],
      [{ email: 'no-mail' }, '/email'],
      [{ role: 'viewer' }, '/role'],
    ]) {
      const got = await post('/auth/setup', body(setupToken, extra));
      assert.equal(got.status, 400, JSON.stringify(extra));
      assert.equal(got.json.errors[0].pointer, pointer);
    }
    assert.equal(await sql('SELECT count(*) FROM users'), '0');
  });

  test('a link past its time is refused, and so it is when it is good again', async () => {
    await sql(`UPDATE setup_tokens SET expires_at = now() - interval '1 second'`);
    const got = await post('/auth/setup', body(setupToken));
    assert.equal(got.status, 403);
    assert.equal(got.json.rule, 'setup.expired');
    await sql(`UPDATE setup_tokens SET expires_at = now() + interval '1 hour'`);
  });

  test('of several redemptions at once, of two links, at two servers, exactly one makes an admin', async () => {
    const [port] = await freePorts(1);
    const twin = spawn(join(build, 'bin/cds-auth'), [...stack.flags, `--auth.port=${port}`], { stdio: 'ignore' });
    const bases = [stack.authUrl, `http://127.0.0.1:${port}`];
    await waitFor('the second server is ready', () => fetch(`${bases[1]}/readyz`).then((reply) => reply.ok, () => false));
    const second = randomBytes(32).toString('base64url');
    await sql(`INSERT INTO setup_tokens (token_hash, expires_at) VALUES ('${sha256(second)}', now() + interval '1 hour')`);
    const tokens = [setupToken, setupToken, second, second, setupToken, second];
    const all = await together('LOCK TABLE users IN SHARE MODE', 2, () => tokens.map((token, i) =>
      post('/auth/setup', body(token, { email: `other${i}@studio.test` }), { base: bases[i % 2] })));
    twin.kill('SIGTERM');
    const [code] = await once(twin, 'exit');
    assert.equal(code, 0);
    assert.deepEqual(all.map((got) => got.status).sort(), [201, 403, 403, 403, 403, 403]);
    for (const got of all.filter((one) => one.status === 403)) assert.equal(got.json.rule, 'setup.used');
    assert.equal(await sql('SELECT count(*) FROM users'), '1');
    assert.equal(await sql('SELECT count(*) FROM setup_tokens WHERE used_at IS NOT NULL'), '1');
    const made = all.find((one) => one.status === 201);
    assert.equal(made.json.user.role, 'admin');
    assert.equal(made.json.user.email, await sql('SELECT email FROM users'));
    await sql(`UPDATE users SET email = '${users.admin.email}'`);
  });

  test('the link is dead afterwards and the state says so', async () => {
    const got = await post('/auth/setup', body(setupToken, { email: 'third@studio.test' }));
    assert.equal(got.status, 403);
    assert.equal(got.json.rule, 'setup.used');
    assert.equal((await (await fetch(`${stack.authUrl}/auth/state`)).json()).setup_needed, false);
  });

  test('an unused link dies as well once any admin exists', async () => {
    const late = randomBytes(32).toString('base64url');
    await sql(`INSERT INTO setup_tokens (token_hash, expires_at) VALUES ('${sha256(late)}', now() + interval '1 hour')`);
    const got = await post('/auth/setup', body(late, { email: 'late@studio.test' }));
    assert.equal(got.status, 403);
    assert.equal(got.json.rule, 'setup.used');
  });

  test('the new user has the configured monthly limit and a bcrypt hash of the configured cost', async () => {
    const [limit, hash] = (await sql("SELECT b.lim, u.password_hash FROM users u JOIN budget_policies b ON b.user_id = u.id AND b.scope = 'user' AND b.unit = 1 AND b.span = 'month'")).split('|');
    assert.equal(limit, '1000000');
    assert.match(hash, /^\$2b\$10\$[./A-Za-z0-9]{53}$/);
  });
});

describe('sign-in', { concurrency: false }, () => {
  test('mail in any case and the right password give a token, a user and a cookie', async () => {
    const got = await post('/auth/login', { email: users.admin.email.toUpperCase(), password: users.admin.password });
    assert.equal(got.status, 200);
    assert.deepEqual(Object.keys(got.json).sort(), ['access_token', 'expires_in', 'token_type', 'user']);
    assert.equal(got.json.token_type, 'Bearer');
    assert.equal(got.json.expires_in, 3600);
    assert.equal(got.json.user.role, 'admin');
    assert.equal(got.headers.get('cache-control'), 'no-store');
    const claims = decode(got.json.access_token);
    assert.equal(claims.sub, got.json.user.id);
    assert.equal(claims.exp - claims.iat, 3600);
    assert.equal((await callAs(got.json.access_token)).json.result.email, users.admin.email);
  });

  test('the cookie is out of reach of scripts, of other sites and of other paths', async () => {
    const { setCookie } = await login();
    const [pair, ...flags] = setCookie.split('; ');
    assert.match(pair, /^cds_refresh=[A-Za-z0-9_-]{43}$/);
    assert.deepEqual(flags.sort(), ['HttpOnly', 'Max-Age=1209600', 'Path=/auth', 'SameSite=Strict']);
  });

  test('wrong mail and wrong password read the same', async () => {
    const wrong = await post('/auth/login', { email: users.admin.email, password: 'not-the-password' });
    const unknown = await post('/auth/login', { email: 'nobody@studio.test', password: 'not-the-password' });
    const cut = await post('/auth/login', { email: users.admin.email, password: 'x'.repeat(100) });
    for (const got of [wrong, unknown, cut]) {
      assert.equal(got.status, 401);
      assert.ok(got.headers.get('www-authenticate'));
      delete got.json.request_id;
      delete got.json.instance;
    }
    assert.deepEqual(wrong.json, unknown.json);
    assert.deepEqual(wrong.json, cut.json);
    assert.equal(wrong.refresh, null);
    await login(); // the right password ends the row of failures
  });

  test('an address is throttled after five failures, with the seconds to wait, and others are not', async () => {
    const ip = address();
    const fail = (i) => post('/auth/login', { email: `ghost${i}@studio.test`, password: 'not-the-password' }, { ip });
    for (let i = 0; i < 5; i++) assert.equal((await fail(i)).status, 401);
    // One try comes back every twelve seconds: on a slow machine somebody fails once more.
    const got = await untilCaught('the address has to wait', async (i) => {
      const one = await login(users.admin, { ip });
      if (one.status === 200) await fail(5 + i);
      return one.status !== 200 && one;
    });
    assert.equal(got.status, 429);
    assert.equal(got.json.rule, 'login.ip');
    const wait = Number(got.headers.get('retry-after'));
    assert.ok(wait >= 1 && wait <= 12, `Retry-After ${wait}`);
    assert.equal((await login()).status, 200);
  });

  test('an account has to wait where the failures come from, known or not, and nowhere else', async () => {
    for (const email of ['quiet@studio.test', 'ghost@studio.test']) {
      if (email.startsWith('quiet')) await addUser(email, 'viewer');
      const ip = address();
      const guess = (options) => post('/auth/login', { email, password: 'not-the-password' }, options);
      for (let i = 0; i < 3; i++) assert.equal((await guess({ ip })).status, 401);
      // After the third failure it waits one second, then two, four ...: on a slow machine somebody fails once more.
      const got = await untilCaught('the account has to wait', async () => {
        const one = await guess({ ip });
        return one.status !== 401 && one;
      });
      assert.equal(got.status, 429);
      assert.equal(got.json.rule, 'login.account');
      assert.ok(Number(got.headers.get('retry-after')) >= 1);
      assert.equal((await guess()).status, 401, 'another address');
    }
    assert.equal((await post('/auth/login', { email: 'quiet@studio.test', password: NEW_PASSWORD })).status, 200, 'its owner elsewhere');
  });

  test('failures from ever new addresses are slowed down together, but not for who signed in from an address before', async () => {
    const email = 'wanted@studio.test';
    const home = '192.0.2.77';
    await addUser(email, 'viewer');
    const signIn = (password, ip) => post('/auth/login', { email, password }, { ip });
    assert.equal((await signIn(NEW_PASSWORD, home)).status, 200);
    let refused = null;
    for (let i = 0; i < 200 && !refused; i++) {
      const got = await signIn('not-the-password', `203.0.113.${i}`);
      if (got.status === 429) refused = got.json.rule;
    }
    assert.equal(refused, 'login.account');
    assert.equal((await signIn(NEW_PASSWORD, home)).status, 200);
  });

  test('a blocked user is refused, but told so only with the right password', async () => {
    await addUser('blocked@studio.test', 'developer');
    await sql(`UPDATE users SET status = 'blocked' WHERE email = 'blocked@studio.test'`);
    const right = await post('/auth/login', { email: 'blocked@studio.test', password: NEW_PASSWORD });
    assert.equal(right.status, 403);
    assert.equal(right.json.rule, 'user.blocked');
    const wrong = await post('/auth/login', { email: 'blocked@studio.test', password: 'not-the-password' });
    assert.equal(wrong.json.rule, 'login.wrong');
  });

  test('a cheaper hash is renewed at the next sign-in, and a dearer one stays', async () => {
    const words = ['user', 'add', '--email', 'older@studio.test', '--role', 'viewer', ...stack.flags, '--auth.bcrypt_cost=11'];
    assert.equal((await run(join(build, 'bin/cds-auth'), words, `${NEW_PASSWORD}\n`)).code, 0);
    const hash = () => sql(`SELECT password_hash FROM users WHERE email = 'older@studio.test'`);
    const signIn = async () => assert.equal((await post('/auth/login', { email: 'older@studio.test', password: NEW_PASSWORD })).status, 200);
    const dear = await hash();
    assert.match(dear, /^\$2b\$11\$/);
    await signIn();
    assert.equal(await hash(), dear);
    await sql(`UPDATE users SET password_hash = '$2b$04$2aUcPZ4g1NSdKKZa2QO3MORz2VjU3Iscndvn8Ix2Rpj./2rAl/el6' WHERE email = 'older@studio.test'`); // of the same password, at cost 4
    await signIn();
    assert.match(await hash(), /^\$2b\$10\$/);
    await signIn();
  });
});

describe('users from the command line', { concurrency: false }, () => {
  test('a user is added with one line, and can sign in', async () => {
    const got = await addUser('new@studio.test', 'developer');
    assert.equal(got.code, 0, got.stderr);
    assert.match(got.stdout, /new@studio\.test/);
    assert.equal((await post('/auth/login', { email: 'new@studio.test', password: NEW_PASSWORD })).json.user.role, 'developer');
  });

  test('a second user of the same mail, an unknown role and a weak password are each refused with a sentence', async () => {
    const twice = await addUser('NEW@studio.test', 'developer');
    assert.notEqual(twice.code, 0);
    assert.match(twice.stderr, /exists already/);
    const role = await addUser('more@studio.test', 'emperor');
    assert.notEqual(role.code, 0);
    assert.match(role.stderr, /role/i);
    const weak = await addUser('more@studio.test', 'viewer', 'short\n');
    assert.notEqual(weak.code, 0);
    assert.match(weak.stderr, /12 characters/);
    assert.equal(await sql(`SELECT count(*) FROM users WHERE email = 'more@studio.test'`), '0');
  });
});

describe('sessions', { concurrency: false }, () => {
  test('a refresh gives a new access token and a new cookie of the same session', async () => {
    const first = await login();
    const second = await post('/auth/refresh', {}, { cookie: first.refresh });
    assert.equal(second.status, 200);
    assert.notEqual(second.refresh, first.refresh);
    assert.equal(decode(second.json.access_token).sid, decode(first.json.access_token).sid);
    assert.equal((await post('/auth/refresh', {}, { cookie: second.refresh })).status, 200);
    assert.equal((await callAs(second.json.access_token)).status, 200);
  });

  test('a parallel tab within ten seconds gets an access token and no cookie, and both go on', async () => {
    const first = await login();
    const [a, b] = await together('LOCK TABLE refresh_tokens IN SHARE MODE', 2, () =>
      [1, 2].map(() => post('/auth/refresh', {}, { cookie: first.refresh })));
    assert.deepEqual([a.status, b.status], [200, 200]);
    const cookies = [a.refresh, b.refresh].filter((value) => value !== null); // an empty one would sign the browser out
    assert.equal(cookies.length, 1);
    assert.equal((await post('/auth/refresh', {}, { cookie: cookies[0] })).status, 200);
  });

  const used = (token, ago) => sql(`UPDATE refresh_tokens SET used_at = now() - interval '${ago}' WHERE token_hash = '${sha256(token)}'`);

  test('an answer that was lost costs no session: the browser shows the old token again and goes on with another', async () => {
    const first = await login();
    const lost = await post('/auth/refresh', {}, { cookie: first.refresh });
    await used(first.refresh, '9 minutes');
    const again = await post('/auth/refresh', {}, { cookie: first.refresh });
    assert.equal(again.status, 200);
    assert.ok(again.refresh && again.refresh !== lost.refresh);
    const next = await post('/auth/refresh', {}, { cookie: again.refresh });
    assert.equal(next.status, 200);
    assert.equal(decode(next.json.access_token).sid, decode(first.json.access_token).sid);
  });

  test('once the successor of a token is shown beside another, or by two, the session ends: one of them is a copy', async () => {
    for (const thief of ['with the old token', 'with the new one']) {
      const first = await login();
      const second = await post('/auth/refresh', {}, { cookie: first.refresh });
      await used(first.refresh, '9 minutes');
      const [one, other] = thief === 'with the old token' ? [first, second] : [second, first];
      assert.equal((await post('/auth/refresh', {}, { cookie: one.refresh })).status, 200);
      const caught = await post('/auth/refresh', {}, { cookie: other.refresh });
      assert.deepEqual([caught.status, caught.json.rule], [401, 'refresh.reused'], thief);
      const sid = decode(first.json.access_token).sid;
      assert.equal(await sql(`SELECT revoked_reason FROM sessions WHERE id = '${sid}'`), 'reuse');
    }
  });

  test('the old token is good for a lost answer in its own browser only', async () => {
    for (const ago of ['1 second', '9 minutes']) {
      const first = await login();
      await post('/auth/refresh', {}, { cookie: first.refresh });
      await used(first.refresh, ago);
      const got = await post('/auth/refresh', {}, { cookie: first.refresh, headers: { 'user-agent': 'Another browser' } });
      assert.equal(got.json.rule, 'refresh.reused', ago);
    }
  });

  test('a token used again later ends the whole family', async () => {
    const first = await login();
    const second = await post('/auth/refresh', {}, { cookie: first.refresh });
    await used(first.refresh, '2 hours');
    const reuse = await post('/auth/refresh', {}, { cookie: first.refresh });
    assert.equal(reuse.status, 401);
    assert.equal(reuse.json.rule, 'refresh.reused');
    assert.match(reuse.setCookie, /^cds_refresh=; .*Max-Age=0/);
    const rest = await post('/auth/refresh', {}, { cookie: second.refresh });
    assert.equal(rest.status, 401);
    assert.equal(rest.json.rule, 'session.ended');
    const sid = decode(first.json.access_token).sid;
    assert.equal(await sql(`SELECT revoked_reason FROM sessions WHERE id = '${sid}'`), 'reuse');
  });

  test('signing out ends the session and takes the cookie', async () => {
    const got = await login();
    const out = await post('/auth/logout', {}, { cookie: got.refresh });
    assert.equal(out.status, 204);
    assert.match(out.setCookie, /^cds_refresh=; .*Max-Age=0/);
    assert.equal((await post('/auth/refresh', {}, { cookie: got.refresh })).json.rule, 'session.ended');
    assert.equal((await post('/auth/logout')).status, 204); // without a session as well
  });

  test('signing out of one session leaves the others', async () => {
    const [one, two] = [await login(), await login()];
    await post('/auth/logout', {}, { cookie: one.refresh });
    assert.equal((await post('/auth/refresh', {}, { cookie: two.refresh })).status, 200);
  });

  test('no cookie, an invented one and a malformed one are refused', async () => {
    assert.equal((await post('/auth/refresh')).json.rule, 'refresh.absent');
    assert.equal((await post('/auth/refresh', {}, { cookie: randomBytes(32).toString('base64url') })).json.rule, 'refresh.unknown');
    assert.equal((await post('/auth/refresh', {}, { cookie: "' OR 1=1 --" })).json.rule, 'refresh.absent');
  });

  test('a session ends when unused for too long, and at its absolute end', async () => {
    for (const change of [`last_used_at = now() - interval '15 days'`, `expires_at = now() - interval '1 second'`]) {
      const got = await login();
      const sid = decode(got.json.access_token).sid;
      await sql(`UPDATE sessions SET ${change} WHERE id = '${sid}'`);
      const late = await post('/auth/refresh', {}, { cookie: got.refresh });
      assert.equal(late.status, 401);
      assert.equal(late.json.rule, 'session.expired');
    }
  });

  test('blocking a user or raising the token version ends the session at its next refresh', async () => {
    for (const [change, undo, status, rule] of [
      [`status = 'blocked'`, `status = 'active'`, 403, 'user.blocked'],
      ['token_version = token_version + 1', 'token_version = token_version', 401, 'session.stale'],
    ]) {
      const got = await login();
      await sql(`UPDATE users SET ${change} WHERE email = '${users.admin.email}'`);
      const refused = await post('/auth/refresh', {}, { cookie: got.refresh });
      await sql(`UPDATE users SET ${undo} WHERE email = '${users.admin.email}'`);
      assert.equal(refused.status, status);
      assert.equal(refused.json.rule, rule);
      assert.equal((await post('/auth/refresh', {}, { cookie: got.refresh })).json.rule, 'session.ended');
    }
    assert.equal((await login()).status, 200);
  });
});

describe('requests from elsewhere', { concurrency: false }, () => {
  test('a foreign Origin is refused on every route, before anything is looked at', async () => {
    for (const path of ['/auth/login', '/auth/setup', '/auth/refresh', '/auth/logout'])
      for (const origin of ['https://evil.example', 'null', `http://127.0.0.1:${stack.ports.ui}.evil.example`]) {
        const got = await post(path, '{', { headers: { origin } });
        assert.equal(got.status, 403, `${path} from ${origin}`);
        assert.equal(got.json.rule, 'http.origin');
        assert.equal(got.setCookie, null);
      }
  });

  test("the page's own Origin passes, under each loopback name", async () => {
    for (const host of ['127.0.0.1', 'localhost'])
      assert.equal((await login(users.admin, { headers: { origin: `http://${host}:${stack.ports.ui}` } })).status, 200);
  });

  test('a body that is not declared as JSON is refused', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp']) {
      const got = await login(users.admin, { headers: { 'content-type': type } });
      assert.equal(got.status, 400);
      assert.equal(got.json.rule, 'http.content_type');
    }
  });

  test('malformed JSON, a body over 8 KB and an unknown route each get a problem document', async () => {
    for (const [path, body, status] of [['/auth/login', '{"email":', 400], ['/auth/login', 'x'.repeat(8193), 413], ['/auth/nothing', '{}', 404]]) {
      const got = await post(path, body);
      assert.equal(got.status, status);
      assert.match(got.headers.get('content-type'), /^application\/problem\+json/);
      assert.equal(got.json.status, status);
      assert.ok(got.json.detail || got.json.title);
    }
    assert.equal((await fetch(`${stack.authUrl}/auth/login`)).status, 404);
  });
});

describe('access tokens', { concurrency: false }, () => {
  let ownKey;
  let kid;
  let good;

  before(async () => {
    ownKey = createPrivateKey(readFileSync(join(stack.home, 'keys/jwt.pem')));
    good = (await login()).json.access_token;
    kid = decode(good, 0).kid;
  });

  test('the key set holds one public Ed25519 key, named by its thumbprint, and it verifies a token', async () => {
    const reply = await fetch(`${stack.authUrl}/.well-known/jwks.json`);
    const { keys } = await reply.json();
    assert.equal(keys.length, 1);
    assert.deepEqual(Object.keys(keys[0]).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x']);
    assert.equal(keys[0].kid, createHash('sha256').update(`{"crv":"Ed25519","kty":"OKP","x":"${keys[0].x}"}`).digest('base64url'));
    const [head, body, signature] = good.split('.');
    const publicKey = createPublicKey({ key: keys[0], format: 'jwk' });
    assert.ok(verify(null, Buffer.from(`${head}.${body}`), publicKey, Buffer.from(signature, 'base64url')));
    assert.deepEqual(decode(good, 0), { alg: 'EdDSA', typ: 'at+jwt', kid });
  });

  test('a token that we sign ourselves is taken by the gateway, so that the refusals below mean something', async () => {
    assert.equal((await callAs(forge(ownKey, { alg: 'EdDSA', typ: 'at+jwt', kid }, decode(good)))).status, 200);
  });

  test('another key, alg none, HS256, a foreign audience and no token at all are 401 at the gateway', async () => {
    const other = generateKeyPairSync('ed25519').privateKey;
    const head = { alg: 'EdDSA', typ: 'at+jwt', kid };
    const claims = decode(good);
    const bad = {
      'signed by another key under our kid': forge(other, head, claims),
      'signed by another key under its own kid': forge(other, { ...head, kid: 'A'.repeat(43) }, claims),
      'alg none': `${forge(ownKey, { ...head, alg: 'none' }, claims).split('.').slice(0, 2).join('.')}.`,
      'alg HS256': forge(ownKey, { ...head, alg: 'HS256' }, claims),
      'foreign audience': forge(ownKey, head, { ...claims, aud: 'elsewhere' }),
      'foreign issuer': forge(ownKey, head, { ...claims, iss: 'elsewhere' }),
      'a role changed behind the signature': good.replace(/\.[^.]+\./, `.${Buffer.from(JSON.stringify({ ...claims, role: 'admin ' })).toString('base64url')}.`),
      'a trailing dot': `${good}.`,
      'no token': null,
    };
    for (const [what, token] of Object.entries(bad)) {
      const got = await callAs(token);
      assert.equal(got.status, 401, what);
      assert.equal(got.json.error.code, -32001, what);
      assert.ok(got.headers.get('www-authenticate'), what);
    }
  });

  test('an expired token is 401 and the sentence says so', async () => {
    const now = Math.floor(Date.now() / 1000);
    const got = await callAs(forge(ownKey, { alg: 'EdDSA', typ: 'at+jwt', kid }, { ...decode(good), iat: now - 700, exp: now - 100 }));
    assert.equal(got.status, 401);
    assert.match(JSON.stringify(got.json.error), /expired/);
  });
});

describe('the process', { concurrency: false }, () => {
  test('is healthy, ready, and counts what it did', async () => {
    assert.equal((await fetch(`${stack.authUrl}/healthz`)).status, 200);
    assert.equal((await fetch(`${stack.authUrl}/readyz`)).status, 200);
    const metrics = await (await fetch(`${stack.authUrl}/metrics`)).text();
    for (const outcome of ['ok', 'wrong', 'throttled', 'blocked'])
      assert.match(metrics, new RegExp(`^cds_auth_logins_total\\{outcome="${outcome}"\\} [1-9]`, 'm'));
    assert.match(metrics, /^cds_auth_tokens_issued_total [1-9]/m);
  });

  test('writes one line for a sign-in, with the user id, and no secret anywhere', async () => {
    const canary = 'Canary-Password-9Q7Z';
    await post('/auth/login', { email: 'canary-mail@studio.test', password: canary });
    const got = await login();
    await post('/auth/refresh', {}, { cookie: got.refresh });
    const id = got.headers.get('x-request-id');
    const lines = await waitFor('its line', () => {
      const mine = stack.logTail(400).filter((line) => line.request_id === id && line.proc === 'cds-auth');
      return mine.length > 0 && mine;
    });
    assert.equal(lines.length, 1);
    assert.equal(lines[0].user_id, got.json.user.id);
    assert.equal(lines[0].status, 200);
    const log = readFileSync(join(stack.home, 'logs/studio.jsonl'), 'utf8');
    for (const secret of [canary, 'canary-mail@studio.test', users.admin.email, users.admin.password, setupToken, got.refresh, got.json.access_token])
      assert.ok(!log.includes(secret), 'a secret or a mail address stands in the log');
  });

  test("is reached through the page's proxy, cookie and all", async () => {
    const got = await login(users.admin, { base: stack.url, headers: { origin: new URL(stack.url).origin } });
    assert.equal(got.status, 200);
    assert.match(got.setCookie, /HttpOnly/);
    assert.equal((await post('/auth/refresh', {}, { base: stack.url, cookie: got.refresh })).status, 200);
  });

  test('says what is missing: the database, or its key file', async () => {
    const home = mkdtempSync(join(tmpdir(), 'cds-auth-'));
    mkdirSync(join(home, 'keys'));
    const [port] = await freePorts(1);
    const base = `http://127.0.0.1:${port}`;
    const start = (url) => spawn(join(build, 'bin/cds-auth'), [`--studio.home=${home}`, `--auth.port=${port}`, `--database.url=${url}`], { stdio: 'ignore' });
    const ready = () => fetch(`${base}/readyz`).catch(() => null);
    const end = async (child) => {
      child.kill('SIGTERM');
      assert.equal((await once(child, 'exit'))[0], 0);
    };
    let child = start(`host=${home} user=studio dbname=studio`);
    try {
      const away = await waitFor('it answers', ready);
      assert.equal(away.status, 503);
      assert.match(await away.text(), /database/i);
      for (let i = 0; i < 6; i++) assert.equal((await login(users.admin, { base, ip: '203.0.113.1' })).status, 503); // and nobody is throttled for it
      await end(child);
      child = start(database());
      await waitFor('it is ready', async () => (await ready())?.ok);
      renameSync(join(home, 'keys/jwt.pem'), join(home, 'keys/away.pem'));
      const keyless = await ready();
      assert.equal(keyless.status, 503);
      assert.match(await keyless.text(), /jwt\.pem/);
    } finally {
      await end(child);
      rmSync(home, { recursive: true });
    }
  });
});
