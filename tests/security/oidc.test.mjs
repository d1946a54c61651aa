// Sign-in with an OpenID provider that the test runs itself: what works, and every way to get in without being let in.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { newKey, signJws, startProvider } from '../support/oidc_provider.mjs';
import { startStack, timely, users, waitFor } from '../support/stack.mjs';
import { address, callAs, guessUntilRefused, PASSWORD, person, post } from './support.mjs';

let provider;
let folder;
let open; // lets in and joins by mail, with roles from groups
let careful; // makes pending accounts, joins nobody
const options = (more) => ({
  'oidc.issuer': provider.issuer, 'oidc.name': 'Example ID', 'oidc.client_id': provider.client, 'oidc.client_secret_file': join(folder, 'secret'), ...more,
});

before(async () => {
  provider = await startProvider();
  folder = mkdtempSync(join(tmpdir(), 'cds-oidc-'));
  chmodSync(folder, 0o755);
  writeFileSync(join(folder, 'secret'), `${provider.secret}\n`);
  [open, careful] = await Promise.all([
    startStack({ llm: false, fresh: true, options: options({ 'oidc.provision': 'allow', 'oidc.link': 'mail', 'oidc.domains': 'corp.test,studio.test', 'oidc.role': 'developer' }) }),
    startStack({ llm: false, fresh: true, options: options({ 'oidc.provision': 'pending', 'oidc.role_claim': 'groups', 'oidc.role_map': 'admins=admin,devs=developer' }) }),
  ]);
});
after(async () => {
  await Promise.all([open?.stop(), careful?.stop(), provider?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

const somebody = (more = {}) => ({ sub: randomBytes(8).toString('hex'), email: `p${randomBytes(5).toString('hex')}@corp.test`, email_verified: true, name: 'Ada Lovelace', ...more });
const cookieOf = (reply, name) => new RegExp(`${name}=([^;,]*)`).exec(reply.headers.get('set-cookie') ?? '')?.[1];

async function begin(stack, path = '/auth/oidc/start') {
  const reply = await fetch(stack.url + path, { redirect: 'manual', headers: { 'x-forwarded-for': address() } });
  return { status: reply.status, location: reply.headers.get('location'), cookie: cookieOf(reply, 'cds_oidc'), setCookie: reply.headers.get('set-cookie') };
}

async function back(stack, { code, state, cookie, more = {}, ip = address() }) {
  const query = new URLSearchParams({ ...(code === undefined ? {} : { code }), ...(state === undefined ? {} : { state }), ...more });
  const reply = await fetch(`${stack.url}/auth/oidc/callback?${query}`, { redirect: 'manual', headers: { 'x-forwarded-for': ip, ...(cookie ? { cookie: `cds_oidc=${cookie}` } : {}) } });
  const location = reply.headers.get('location');
  return { status: reply.status, location, rule: /^\/login\?oidc=(.*)$/.exec(location ?? '')?.[1] ?? null, refresh: cookieOf(reply, 'cds_refresh') ?? null, setCookie: reply.headers.get('set-cookie') ?? '' };
}

/** The whole way of a browser; each hook may change what it brings back. */
async function signIn(stack, who, bring = (b) => b) {
  provider.who = who;
  const started = await begin(stack);
  assert.equal(started.status, 303, JSON.stringify(started));
  const { code, state, asked } = provider.authorize(started.location);
  return { ...(await back(stack, bring({ code, state, cookie: started.cookie }))), asked, started, code, state };
}

const session = async (stack, refresh) => (await post(`${stack.url}/auth/refresh`, {}, { cookie: refresh })).json;

describe('the way there and back', { concurrency: false }, () => {
  test('signs in who is known to the provider: code, challenge, state, nonce, and the same session as with a password', async () => {
    const who = somebody();
    const got = await signIn(open, who);
    assert.deepEqual([got.status, got.location], [303, '/?oidc=ok']);
    const { asked } = got;
    assert.deepEqual(['response_type', 'client_id', 'redirect_uri', 'scope', 'code_challenge_method'].map((name) => asked.get(name)), ['code', provider.client, `${open.url}/auth/oidc/callback`, 'openid email profile', 'S256']);
    for (const name of ['state', 'nonce', 'code_challenge']) assert.match(asked.get(name), /^[A-Za-z0-9_-]{43}$/, name);
    assert.equal(new Set(['state', 'nonce', 'code_challenge'].map((name) => asked.get(name))).size, 3);
    const form = provider.forms.at(-1).form;
    assert.equal(createHash('sha256').update(form.get('code_verifier')).digest('base64url'), asked.get('code_challenge'));
    const user = (await session(open, got.refresh)).user;
    assert.deepEqual([user.email, user.role, user.display_name], [who.email, 'developer', 'Ada Lovelace']);
    assert.match(got.setCookie, /cds_refresh=[^;]+; Path=\/auth; HttpOnly; SameSite=Strict/);
    assert.match(got.started.setCookie, /^cds_oidc=[^;]+; Path=\/auth\/oidc; HttpOnly; SameSite=Lax; Max-Age=600$/);
    assert.match(got.setCookie, /cds_oidc=; Path=\/auth\/oidc; .*Max-Age=0/);
    assert.equal((await (await fetch(`${open.url}/auth/state`)).json()).oidc, 'Example ID');
  });

  test('knows somebody again by the name that the provider has for them, also when the mail changed hands', async () => {
    const who = somebody();
    const first = (await session(open, (await signIn(open, who)).refresh)).user.id;
    const other = somebody();
    assert.equal((await session(open, (await signIn(open, { ...who, email: other.email })).refresh)).user.id, first);
    assert.notEqual((await session(open, (await signIn(open, other)).refresh)).user.id, first);
  });

  test('no code, verifier, token or secret is written to a log, and no code is kept', async () => {
    const got = await signIn(open, somebody());
    const text = readFileSync(join(open.home, 'logs/studio.jsonl'), 'utf8');
    for (const secret of [got.code, got.state, got.started.cookie, got.refresh, provider.forms.at(-1).form.get('code_verifier'), provider.secret, 'access-of-the-provider']) assert.ok(!text.includes(secret), secret);
    assert.doesNotMatch(text, /eyJ[A-Za-z0-9_-]{20,}\.eyJ/);
    assert.doesNotMatch(text, /corp\.test/);
  });

  test('takes mail and name from the userinfo endpoint when the ID token has none, and only those of the same person', async () => {
    const who = somebody();
    const thin = (c) => ({ ...c, email: undefined, email_verified: undefined, name: undefined });
    provider.claims = thin;
    assert.equal((await session(open, (await signIn(open, who)).refresh)).user.email, who.email);
    provider.answer.userinfo = (req, res) => res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ...somebody(), email: who.email }));
    assert.equal((await signIn(open, somebody())).rule, 'oidc.subject');
    provider.honest();
  });

  test('works with ES256', async () => {
    provider.key = provider.keys[1];
    assert.equal((await signIn(open, somebody())).location, '/?oidc=ok');
    provider.key = provider.keys[0];
  });

  test('a new key of the provider is fetched when it is met, and not for every invented one', async () => {
    const KEYS_PAUSE_MS = 10_000; // CDS_OIDC_KEYS_PAUSE_MS
    await new Promise((resolve) => setTimeout(resolve, KEYS_PAUSE_MS + 500)); // the last look at the keys is longer ago than that
    const fresh = newKey();
    provider.keys = [fresh, provider.keys[0]];
    provider.key = fresh;
    const since = performance.now(); // before the look at the keys that the pause begins with
    assert.equal((await signIn(open, somebody())).location, '/?oidc=ok');
    const asked = provider.asked.keys;
    const invented = newKey();
    for (let i = 0; i < 5; i++) {
      provider.token = (_, payload) => signJws(invented.privateKey, { alg: 'RS256', kid: `invented-${i}` }, payload);
      assert.equal((await signIn(open, somebody())).rule, 'jws.unknown_kid');
    }
    provider.honest();
    assert.ok(provider.asked.keys - asked <= Math.floor((performance.now() - since) / KEYS_PAUSE_MS), 'they are not asked for by every key');
  });
});

describe('a sign-in that this browser did not begin, or not so', { concurrency: false }, () => {
  test('wrong, foreign, missing and doubled state are refused before the provider is asked', async () => {
    const asked = provider.asked.token;
    const other = await begin(open);
    for (const [name, bring] of [
      ['wrong state', (b) => ({ ...b, state: 'A'.repeat(43) })], ['no state', (b) => ({ ...b, state: undefined })], ['short state', (b) => ({ ...b, state: b.state.slice(1) })],
      ['no cookie', (b) => ({ ...b, cookie: undefined })], ["somebody else's cookie", (b) => ({ ...b, cookie: other.cookie })], ['a changed cookie', (b) => ({ ...b, cookie: (b.cookie[0] === 'A' ? 'B' : 'A') + b.cookie.slice(1) })],
      ['a cookie that is none', (b) => ({ ...b, cookie: 'x'.repeat(96) })],
    ]) {
      const got = await signIn(open, somebody(), bring);
      assert.deepEqual([got.rule, got.refresh], ['oidc.state', null], name);
    }
    assert.equal(provider.asked.token, asked);
  });

  test('one answer counts once: the same code, state and cookie again are refused by us, and the code by the provider', async () => {
    const got = await signIn(open, somebody());
    assert.equal(got.location, '/?oidc=ok');
    const asked = provider.asked.token;
    assert.equal((await back(open, { code: got.code, state: got.state, cookie: got.started.cookie })).rule, 'oidc.state');
    assert.equal(provider.asked.token, asked);
    assert.equal((await signIn(open, somebody(), (b) => ({ ...b, code: got.code }))).rule, 'oidc.code');
  });

  test('a stolen code is worth nothing in another browser: the challenge is not its own', async () => {
    provider.who = somebody();
    const victim = provider.authorize((await begin(open)).location);
    const thief = await begin(open);
    const { state } = provider.authorize(thief.location);
    assert.equal((await back(open, { code: victim.code, state, cookie: thief.cookie })).rule, 'oidc.code');
  });

  test('an answer that names another provider (mix-up) is refused; one that names this one is taken', async () => {
    const asked = provider.asked.token;
    assert.equal((await signIn(open, somebody(), (b) => ({ ...b, more: { iss: 'https://evil.example' } }))).rule, 'oidc.issuer');
    assert.equal(provider.asked.token, asked);
    assert.equal((await signIn(open, somebody(), (b) => ({ ...b, more: { iss: provider.issuer } }))).location, '/?oidc=ok');
  });

  test('the address goes nowhere but to the studio, whatever a link asks for', async () => {
    for (const path of ['/auth/oidc/start?return_to=https://evil.example', '/auth/oidc/start?redirect_uri=https://evil.example/cb', '/auth/oidc/start?next=//evil.example']) {
      const { location } = await begin(open, path);
      assert.equal(new URL(location).searchParams.get('redirect_uri'), `${open.url}/auth/oidc/callback`);
      assert.doesNotMatch(location, /evil/);
    }
    const got = await signIn(open, somebody(), (b) => ({ ...b, more: { return_to: '//evil.example', next: 'https://evil.example' } }));
    assert.equal(got.location, '/?oidc=ok');
    const denied = await signIn(open, somebody(), (b) => ({ ...b, code: undefined, more: { error: 'access_denied', error_description: '//evil.example' } }));
    assert.equal(denied.location, '/login?oidc=oidc.denied');
  });

  test('answers are guesses, and slowed down like them', async () => {
    const ip = '203.0.113.9';
    await guessUntilRefused(() => back(open, { code: 'x', state: 'A'.repeat(43), cookie: 'x'.repeat(96), ip }), (got) => got.rule === 'login.ip', (got) => assert.equal(got.rule, 'oidc.state'));
  });
});

describe('an ID token that is not what it should be', { concurrency: false }, () => {
  const now = () => Math.floor(Date.now() / 1000);
  const claims = [
    ['another nonce', (c) => ({ ...c, nonce: 'A'.repeat(43) }), 'oidc.nonce'], ['no nonce', (c) => ({ ...c, nonce: undefined }), 'oidc.nonce'],
    ['another issuer', (c) => ({ ...c, iss: 'https://evil.example' }), 'oidc.issuer'], ['the issuer with a slash', (c) => ({ ...c, iss: `${c.iss}/` }), 'oidc.issuer'],
    ['another audience', (c) => ({ ...c, aud: 'another-client' }), 'oidc.audience'], ['no audience', (c) => ({ ...c, aud: undefined }), 'oidc.audience'],
    ['several audiences and no azp', (c) => ({ ...c, aud: [c.aud, 'another-client'] }), 'oidc.audience'], ['another azp', (c) => ({ ...c, azp: 'another-client' }), 'oidc.audience'],
    ['expired', (c) => ({ ...c, exp: now() - 61 }), 'oidc.expired'], ['no exp', (c) => ({ ...c, exp: undefined }), 'oidc.expired'], ['exp as text', (c) => ({ ...c, exp: '9999999999' }), 'oidc.expired'],
    ['of an earlier sign-in', (c) => ({ ...c, iat: now() - 700 }), 'oidc.expired'], ['from the future', (c) => ({ ...c, iat: now() + 90 }), 'oidc.early'], ['not yet good', (c) => ({ ...c, nbf: now() + 90 }), 'oidc.early'],
    ['nobody', (c) => ({ ...c, sub: undefined }), 'oidc.subject'], ['a subject of 256 characters', (c) => ({ ...c, sub: 'x'.repeat(256) }), 'oidc.subject'], ['a subject that is a number', (c) => ({ ...c, sub: 7 }), 'oidc.subject'],
  ];
  for (const [name, edit, rule] of claims)
    test(`${name}: refused`, async () => {
      provider.claims = edit;
      const got = await signIn(open, somebody());
      provider.honest();
      assert.deepEqual([got.rule, got.refresh], [rule, null]);
    });

  test('clocks may differ by a minute, and the right one of several audiences is taken', async () => {
    for (const edit of [(c) => ({ ...c, exp: now() - 50, iat: now() - 300 }), (c) => ({ ...c, iat: now() + 50 }), (c) => ({ ...c, aud: ['another-client', c.aud], azp: c.aud })]) {
      provider.claims = edit;
      assert.equal((await signIn(open, somebody())).location, '/?oidc=ok');
    }
    provider.honest();
  });

  test('alg none, HS256 with the public key, a key in the header, a foreign key under a known name and cut texts: refused', async () => {
    const evil = newKey();
    const pem = provider.key.publicKey.export({ type: 'spki', format: 'pem' });
    const head = { alg: 'RS256', kid: provider.key.kid };
    for (const [name, forge, rule] of [
      ['alg none', (_, p) => signJws(null, { alg: 'none', kid: head.kid }, p), 'jws.alg'], ['alg None', (_, p) => signJws(null, { alg: 'none', kid: head.kid }, p).replace(/^[^.]+/, Buffer.from('{"alg":"None"}').toString('base64url')), 'jws.alg'],
      ['HS256 with the public key', (_, p) => signJws(pem, { alg: 'HS256', kid: head.kid }, p), 'jws.alg'], ['RS512', (text, p) => `${Buffer.from(JSON.stringify({ ...head, alg: 'RS512' })).toString('base64url')}.${text.split('.').slice(1).join('.')}`, 'jws.alg'],
      ['a key in the header', (_, p) => signJws(evil.privateKey, { alg: 'RS256', jwk: evil.jwk, kid: evil.kid }, p), 'jws.unknown_kid'], ['a foreign key under a known name', (_, p) => signJws(evil.privateKey, head, p), 'jws.signature'],
      ['ES256 with the name of an RSA key', (_, p) => signJws(newKey('ES256').privateKey, { ...head, alg: 'ES256' }, p), 'jws.unknown_kid'], ['crit', (_, p) => signJws(provider.key.privateKey, { ...head, crit: ['exp'] }, p), 'jws.malformed'],
      ['a changed payload', (text, p) => { const [h, , s] = text.split('.'); return `${h}.${Buffer.from(JSON.stringify({ ...p, email: users.admin.email })).toString('base64url')}.${s}`; }, 'jws.signature'],
      ['no signature', (text) => text.slice(0, text.lastIndexOf('.') + 1), 'jws.malformed'], ['two parts', (text) => text.slice(0, text.lastIndexOf('.')), 'jws.malformed'], ['20,000 characters', (text) => text + 'A'.repeat(20_000), 'jws.malformed'],
    ]) {
      provider.token = forge;
      const got = await signIn(open, somebody());
      provider.honest();
      assert.deepEqual([got.rule, got.refresh], [rule, null], name);
    }
  });
});

describe('a provider that says that somebody has signed out there', { concurrency: false }, () => {
  const EVENT = 'http://schemas.openid.net/event/backchannel-logout';
  const now = () => Math.floor(Date.now() / 1000);
  const payloadOf = (who, more = {}) => ({ iss: provider.issuer, aud: provider.client, iat: now(), exp: now() + 120, jti: randomBytes(8).toString('hex'), sub: who.sub, events: { [EVENT]: {} }, ...more });
  const signed = (payload, key = provider.key, header = {}) => signJws(key.privateKey, { alg: key.alg, kid: key.kid, typ: 'logout+jwt', ...header }, payload);
  async function logout(token, { type = 'application/x-www-form-urlencoded', body = `logout_token=${token}` } = {}) {
    const reply = await fetch(`${open.url}/auth/oidc/logout`, { method: 'POST', headers: { 'content-type': type, 'x-forwarded-for': address() }, body });
    return { status: reply.status, cache: reply.headers.get('cache-control'), json: await reply.json() };
  }

  test('ends all sessions of that person within a second, and of nobody else', async () => {
    const [who, other] = [somebody(), somebody()];
    const mine = await session(open, (await signIn(open, who)).refresh);
    const second = await signIn(open, who);
    const theirs = await session(open, (await signIn(open, other)).refresh);
    assert.equal((await callAs(open, mine.access_token, 'user.self')).status, 200);
    const got = await logout(signed(payloadOf(who)));
    assert.deepEqual([got.status, got.cache, got.json], [200, 'no-store', { sessions: 2 }]);
    await waitFor('its token is refused', async () => (await callAs(open, mine.access_token, 'user.self')).status === 401, 1000);
    assert.equal((await fetch(`${open.url}/auth/refresh`, { method: 'POST', headers: { 'content-type': 'application/json', cookie: `cds_refresh=${second.refresh}` }, body: '{}' })).status, 401);
    assert.equal((await callAs(open, theirs.access_token, 'user.self')).status, 200);
    assert.equal((await signIn(open, who)).location, '/?oidc=ok', 'and may sign in again');
    assert.deepEqual((await logout(signed(payloadOf(somebody())))).json, { sessions: 0 }, 'who is not known has none');
  });

  test('is believed by a logout token of its own only: each thing that is wrong in it is refused and ends nothing', async () => {
    const who = somebody();
    const { access_token: token } = await session(open, (await signIn(open, who)).refresh);
    const stranger = newKey('RS256', provider.key.kid);
    const good = payloadOf(who);
    const wrong = {
      'another issuer': signed(payloadOf(who, { iss: 'https://other.example.org' })),
      'another audience': signed(payloadOf(who, { aud: 'another' })),
      'several audiences without azp': signed(payloadOf(who, { aud: [provider.client, 'another'] })),
      expired: signed(payloadOf(who, { iat: now() - 300, exp: now() - 120 })),
      'without an end': signed(payloadOf(who, { exp: undefined })),
      'made long ago': signed(payloadOf(who, { iat: now() - 3600 })),
      'made later': signed(payloadOf(who, { iat: now() + 300, exp: now() + 600 })),
      'without an event': signed(payloadOf(who, { events: undefined })),
      'another event': signed(payloadOf(who, { events: { 'http://schemas.openid.net/event/other': {} } })),
      'an event that is no object': signed(payloadOf(who, { events: { [EVENT]: 'yes' } })),
      'with a nonce, as an ID token': signed(payloadOf(who, { nonce: 'n' })),
      'without a name of its own': signed(payloadOf(who, { jti: undefined })),
      'of a session and nobody': signed(payloadOf(who, { sub: undefined, sid: 's' })),
      'a foreign key under a known name': signed(good, stranger),
      'alg none': signJws(null, { alg: 'none', kid: provider.key.kid }, good),
      'HS256 with the public key': signJws(provider.key.publicKey.export({ type: 'spki', format: 'pem' }), { alg: 'HS256', kid: provider.key.kid }, good),
      'a changed payload': signed(good).replace(/\.[^.]+\./, `.${Buffer.from(JSON.stringify({ ...good, sub: 'x' })).toString('base64url')}.`),
      'an ID token': signed({ iss: provider.issuer, aud: provider.client, iat: now(), exp: now() + 300, nonce: 'n', ...who }),
      nothing: '', 'no token': 'abc',
    };
    for (const [what, text] of Object.entries(wrong)) {
      const got = await logout(text);
      assert.deepEqual([got.status, got.json.error], [400, 'invalid_request'], what);
    }
    assert.equal((await logout(signed(good), { type: 'application/json' })).status, 400, 'another type');
    assert.equal((await logout('', { body: `token=${signed(good)}` })).status, 400, 'another name');
    assert.equal((await fetch(`${open.url}/auth/oidc/logout?logout_token=${signed(good)}`)).status, 404, 'by GET');
    assert.equal((await callAs(open, token, 'user.self')).status, 200, 'nothing ended');
    const last = signed(good);
    // What failed here may be sent once more: the session would live on otherwise.
    await open.sql('REVOKE SELECT ON oidc_identities FROM cds_auth');
    assert.equal((await logout(last)).status, 400, 'nothing was ended');
    await open.sql('GRANT SELECT ON oidc_identities TO cds_auth');
    assert.deepEqual((await logout(last)).json, { sessions: 1 });
    assert.equal((await logout(last)).status, 400, 'once');
  });
});

describe('whose account it is', { concurrency: false }, () => {
  const count = (stack, email) => stack.sql(`SELECT count(*) FROM users WHERE email = '${email}'`);

  test('a mail that the provider did not verify opens, joins and makes no account', async () => {
    const there = await person(open);
    for (const more of [{ email_verified: false }, { email_verified: undefined }, { email_verified: 'true' }, { email: undefined }, { email: 'no address' }]) {
      for (const email of [there.email, somebody().email]) {
        const got = await signIn(open, somebody({ email, ...more }));
        assert.deepEqual([got.rule, got.refresh], ['oidc.unverified', null], JSON.stringify(more));
      }
    }
    assert.equal(await open.sql(`SELECT count(*) FROM oidc_identities WHERE user_id = '${there.id}'`), '0');
  });

  test('an account is joined by a verified mail of a domain that the provider may speak for; never an admin, and nobody twice', async () => {
    const there = await person(open);
    const who = somebody({ email: there.email.toUpperCase() });
    assert.equal((await session(open, (await signIn(open, who)).refresh)).user.id, there.id);
    assert.equal((await post(`${open.authUrl}/auth/login`, { email: there.email, password: PASSWORD })).status, 200, 'the password goes on');
    assert.equal((await signIn(open, somebody({ email: there.email }))).rule, 'oidc.taken');
    assert.equal((await signIn(open, somebody({ email: users.admin.email }))).rule, 'oidc.unlinked');
  });

  test('other domains are refused, also those that end alike', async () => {
    for (const email of ['eve@evil.test', 'eve@notcorp.test', 'eve@corp.test.evil.test', 'eve@sub.corp.test'])
      assert.equal((await signIn(open, somebody({ email }))).rule, 'oidc.domain', email);
  });

  test('an invitation is taken up by who comes with its address, and its link is void then', async () => {
    const email = somebody().email;
    const made = await open.rpc('user.invite', { email, role: 'viewer' }, 'admin');
    const user = (await session(open, (await signIn(open, somebody({ email }))).refresh)).user;
    assert.deepEqual([user.id, user.role], [made.user_id, 'viewer']);
    assert.equal((await post(`${open.authUrl}/auth/invite`, { token: made.link.split('#token=')[1], password: PASSWORD })).json.rule, 'invite.unknown');
    assert.equal((await post(`${open.authUrl}/auth/login`, { email, password: '-' })).json.rule, 'login.wrong');
  });

  test('who is blocked stays out, and who is deleted is somebody new', async () => {
    const who = somebody();
    const { id } = (await session(open, (await signIn(open, who)).refresh)).user;
    await open.rpc('user.block', { user_id: id }, 'admin');
    assert.equal((await signIn(open, who)).rule, 'user.blocked');
    await open.rpc('user.delete', { user_id: id }, 'admin');
    assert.doesNotMatch(await open.sql('SELECT i::text FROM oidc_identities i'), new RegExp(who.sub));
    assert.notEqual((await session(open, (await signIn(open, who)).refresh)).user.id, id);
  });

  test('a careful studio joins nobody by mail, and makes accounts that wait for an admin', async () => {
    const there = await person(careful);
    assert.equal((await signIn(careful, somebody({ email: there.email }))).rule, 'oidc.unlinked');
    const who = somebody({ email: 'ada@anywhere.test', groups: ['devs', 'other'] });
    for (let i = 0; i < 2; i++) assert.equal((await signIn(careful, who)).rule, 'oidc.pending');
    const [row] = (await careful.rpc('user.list', { query: who.email }, 'admin')).users;
    assert.deepEqual([row.status, row.asks, row.role], ['pending', true, 'developer']);
    await careful.rpc('user.unblock', { user_id: row.user_id }, 'admin');
    assert.equal((await session(careful, (await signIn(careful, who)).refresh)).user.role, 'developer');
    assert.equal(await count(careful, who.email), '1');
  });

  test('groups give the role at each sign-in, only by the words of the map, and the last admin keeps theirs', async () => {
    const who = somebody({ groups: ['devs', 'admins'] });
    assert.equal((await signIn(careful, who)).rule, 'oidc.pending');
    const [{ user_id: id }] = (await careful.rpc('user.list', { query: who.email }, 'admin')).users;
    await careful.rpc('user.unblock', { user_id: id }, 'admin');
    const roleWith = async (groups) => (await session(careful, (await signIn(careful, { ...who, groups })).refresh)).user.role;
    for (const [groups, role] of [[['admins'], 'admin'], ['devs', 'developer'], [['admins=admin', 'admin', 'Devs', '', 7], 'viewer'], [undefined, 'viewer'], [['devs'], 'developer']]) assert.equal(await roleWith(groups), role, JSON.stringify(groups));
    await roleWith(['admins']);
    const me = (await careful.rpc('user.self', {}, 'admin')).user_id;
    await careful.sql(`SELECT user_change('${me}', 'viewer', NULL, 'role')`);
    assert.equal(await roleWith(['devs']), 'admin');
    await careful.sql(`SELECT user_change('${me}', 'admin', NULL, 'role')`);
  });
});

describe('a provider in trouble', { concurrency: false }, () => {
  const restart = async () => { // what was fetched is forgotten with the process
    const pid = Number((await careful.command(['status', '--json'])).stdout.match(/"name":\s*"auth"[^}]*?"pid":\s*(\d+)/)?.[1]);
    process.kill(pid, 'SIGKILL');
    await waitFor('cds-auth is back', async () => (await fetch(`${careful.authUrl}/readyz`).catch(() => null))?.ok, 15_000);
  };

  test('that is down, slow or answers without end is told at once, and stalls nobody', async () => {
    const big = (req, res) => res.writeHead(200, { 'content-type': 'application/json' }).end(`{"x":"${'y'.repeat(400_000)}"}`);
    for (const [name, endpoint, answer] of [
      ['refuses', 'token', (req, res) => res.writeHead(503).end()], ['breaks off', 'token', (req) => req.socket.destroy()], ['is slow', 'token', () => {}], ['answers without end', 'token', big], ['speaks no JSON', 'token', (req, res) => res.end('<html>')],
    ]) {
      provider.answer = { [endpoint]: answer };
      const begun = performance.now();
      const going = signIn(careful, somebody());
      assert.equal((await careful.rpc('user.self', {}, 'viewer')).role, 'viewer');
      const got = await going;
      provider.honest();
      assert.ok(['oidc.unreachable', 'oidc.code'].includes(got.rule), `${name}: ${got.rule}`);
      timely(performance.now() - begun, 7000, name);
      await new Promise((resolve) => setTimeout(resolve, 2100)); // it is left alone for two seconds
    }
  });

  test('whose description is another one, too large, of http elsewhere or with hosts that nobody named is not asked further', async () => {
    const cases = [
      ['another issuer', (m) => ({ ...m, issuer: 'https://evil.example' }), 'oidc.metadata'], ['no S256', (m) => ({ ...m, code_challenge_methods_supported: ['plain'] }), 'oidc.metadata'],
      ['a host inside', (m) => ({ ...m, token_endpoint: 'http://169.254.169.254/token' }), 'oidc.host'], ['a host of somebody else', (m) => ({ ...m, jwks_uri: 'http://evil.example/keys' }), 'oidc.host'],
      ['a file', (m) => ({ ...m, jwks_uri: 'file:///etc/passwd' }), 'oidc.address'], ['a user part', (m) => ({ ...m, token_endpoint: `http://127.0.0.1@evil.example/` }), 'oidc.address'], ['nothing', () => ({}), 'oidc.metadata'],
      ['500 kilobytes', (m) => ({ ...m, x: 'y'.repeat(500_000) }), 'oidc.unreachable'],
    ];
    for (const [name, edit, rule] of cases) {
      await restart();
      provider.metadata = edit;
      const got = await begin(careful);
      provider.honest();
      assert.equal(got.location, `/login?oidc=${rule}`, name);
    }
    await restart();
    const PAUSE_MS = 2000; // CDS_OIDC_PAUSE_MS
    const asked = provider.asked.metadata;
    const since = performance.now();
    provider.answer.metadata = (req, res) => res.writeHead(302, { location: '/elsewhere' }).end();
    for (let i = 0; i < 4; i++) assert.equal((await begin(careful)).location, '/login?oidc=oidc.unreachable');
    provider.honest();
    assert.ok(provider.asked.metadata - asked <= 1 + Math.floor((performance.now() - since) / PAUSE_MS), 'it is not asked by every click');
    assert.equal(provider.asked.other ?? 0, 0, 'redirects are not followed');
  });

  test('that wants the secret in the form gets it there', async () => {
    await restart();
    provider.metadata = (m) => ({ ...m, token_endpoint_auth_methods_supported: ['client_secret_post'] });
    assert.equal((await signIn(careful, somebody())).rule, 'oidc.pending');
    provider.honest();
    const { form, authorization } = provider.forms.at(-1);
    assert.deepEqual([form.get('client_secret'), form.get('client_id'), authorization], [provider.secret, provider.client, undefined]);
  });

  test('passwords go on without it', async () => {
    assert.equal((await post(`${careful.authUrl}/auth/login`, { email: users.admin.email, password: users.admin.password })).status, 200);
    assert.equal((await callAs(careful, careful.tokens.admin, 'user.self')).status, 200);
  });
});
