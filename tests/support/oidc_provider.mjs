// tests/support/oidc_provider.mjs: an OpenID provider that a test runs itself, honest unless it is told otherwise.
import { createHash, createHmac, createSign, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { createServer } from 'node:http';

const b64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A signed text under any key and header. */
export function signJws(key, header, payload) {
  const input = `${b64(header)}.${b64(payload)}`;
  if (header.alg === 'none') return `${input}.`;
  if (header.alg === 'HS256') return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`;
  if (header.alg === 'ES256') return `${input}.${sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  return `${input}.${createSign('sha256').update(input).sign(key).toString('base64url')}`;
}

export function newKey(alg = 'RS256', kid = randomBytes(6).toString('hex')) {
  const pair = alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { alg, kid, ...pair, jwk: { ...pair.publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' } };
}

/**
 * Starts one. provider.who is whom it signs in: { sub, email, email_verified, ... }. Tests change its behaviour by the hooks:
 * claims(payload) edits what the ID token says, token(text, payload) replaces it, answer.<name>(req, res) takes over an endpoint ("metadata", "keys", "token", "userinfo"),
 * metadata edits the description. provider.asked counts the requests by endpoint; provider.forms are what came to the token endpoint.
 */
export async function startProvider({ client = 'studio', secret = 'correct horse:battery', port = 0 } = {}) {
  const provider = { who: null, keys: [newKey(), newKey('ES256')], claims: (c) => c, token: (text) => text, metadata: (m) => m, answer: {}, asked: {}, forms: [], codes: new Map(), client, secret };
  provider.key = provider.keys[0];
  const json = (res, value, status = 200) => res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  const endpoints = {
    '/.well-known/openid-configuration': ['metadata', (req, res) => json(res, provider.metadata({
      issuer: provider.issuer, authorization_endpoint: `${provider.issuer}/authorize`, token_endpoint: `${provider.issuer}/token`, jwks_uri: `${provider.issuer}/keys`,
      userinfo_endpoint: `${provider.issuer}/userinfo`, response_types_supported: ['code'], code_challenge_methods_supported: ['S256'], id_token_signing_alg_values_supported: ['RS256', 'ES256'],
    }))],
    '/keys': ['keys', (req, res) => json(res, { keys: provider.keys.map((key) => key.jwk) })],
    '/userinfo': ['userinfo', (req, res) => json(res, req.headers.authorization === 'Bearer access-of-the-provider' ? provider.who : { error: 'invalid_token' }, 200)],
    '/authorize': ['authorize', (req, res) => { // whoever comes is provider.who: the person has signed in there
      const { code, state, asked } = provider.authorize(provider.issuer + req.url);
      res.writeHead(302, { location: `${asked.get('redirect_uri')}?${new URLSearchParams({ code, state, iss: provider.issuer })}` }).end();
    }],
    '/token': ['token', async (req, res) => {
      const form = new URLSearchParams(await bodyOf(req));
      provider.forms.push({ form, authorization: req.headers.authorization });
      const basic = `Basic ${Buffer.from(`${provider.client}:${encodeURIComponent(provider.secret)}`).toString('base64')}`;
      const authentic = req.headers.authorization === basic || (form.get('client_id') === provider.client && form.get('client_secret') === provider.secret);
      const code = provider.codes.get(form.get('code'));
      provider.codes.delete(form.get('code')); // once
      const fits = code && code.redirect === form.get('redirect_uri') && createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url') === code.challenge;
      if (!authentic || !fits || form.get('grant_type') !== 'authorization_code') return json(res, { error: authentic ? 'invalid_grant' : 'invalid_client' }, 400);
      const now = Math.floor(Date.now() / 1000);
      const payload = provider.claims({ iss: provider.issuer, aud: provider.client, iat: now, exp: now + 300, nonce: code.nonce, ...provider.who });
      json(res, { access_token: 'access-of-the-provider', token_type: 'Bearer', id_token: provider.token(signJws(provider.key.privateKey, { alg: provider.key.alg, kid: provider.key.kid }, payload), payload) });
    }],
  };
  const server = createServer((req, res) => {
    const [name, run] = endpoints[new URL(req.url, 'http://x').pathname] ?? ['other', (_, r) => r.writeHead(404).end()];
    provider.asked[name] = (provider.asked[name] ?? 0) + 1;
    (provider.answer[name] ?? run)(req, res);
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  provider.issuer = `http://127.0.0.1:${server.address().port}`;
  provider.port = server.address().port;
  /** What the person's browser brings back from the authorization endpoint: a code of that address. */
  provider.authorize = (location) => {
    const asked = new URL(location).searchParams;
    const code = randomBytes(12).toString('hex');
    provider.codes.set(code, { nonce: asked.get('nonce'), challenge: asked.get('code_challenge'), redirect: asked.get('redirect_uri') });
    return { code, state: asked.get('state'), asked };
  };
  provider.honest = () => Object.assign(provider, { claims: (c) => c, token: (text) => text, metadata: (m) => m, answer: {} });
  provider.stop = () => new Promise((resolve) => (server.closeAllConnections?.(), server.close(resolve)));
  return provider;
}

async function bodyOf(req) {
  let text = '';
  for await (const piece of req) text += piece;
  return text;
}
