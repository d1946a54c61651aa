// The audit log: each act of an admin stands there before it is done, by whatever way it comes, nothing personal does, and no line can be changed
// unnoticed (docs/adr/0073-audit-chain.md).
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { whileLocked } from '../support/gateway.mjs';
import { root, startStack, users, waitFor } from '../support/stack.mjs';
import { callAs, person, post } from './support.mjs';

let stack;
before(async () => {
  stack = await startStack({ fresh: true, options: { 'llm.model': 'none' } });
});
after(() => stack?.stop());

const lines = async (params = {}) => (await stack.rpc('audit.list', { limit: 200, ...params }, 'admin')).lines;
const detail = (line) => JSON.parse(line.detail);
const actOf = async (method, wanted = () => true) => (await lines({ action: method })).filter((l) => l.action === method && wanted(l));
const schemas = readdirSync(join(root, 'schemas/rpc')).map((file) => JSON.parse(readFileSync(join(root, 'schemas/rpc', file))));

async function chain() {
  const all = [];
  for (let after = 0; after !== null; ) {
    const page = await stack.rpc('audit.export', { after, limit: 500 }, 'admin');
    all.push(...page.lines);
    after = page.next_after;
    if (after === null) return { lines: all, head: page.head };
  }
}

describe('an act of an admin', { concurrency: false }, () => {
  test('has a line before it and one with its end, and each change has one with before and after', async () => {
    const who = await person(stack, 'viewer');
    await stack.rpc('user.set_role', { user_id: who.id, role: 'developer' }, 'admin');
    const acts = await actOf('user.set_role', (l) => l.source === 'api');
    const [end, begin] = acts;
    assert.deepEqual([begin.phase, end.phase], ['begin', 'end']);
    assert.equal(begin.request_id, end.request_id);
    assert.equal(begin.actor_name, users.admin.email);
    assert.deepEqual(detail(begin).params, { user_id: who.id, role: 'developer' });
    assert.equal(detail(end).end, 'OK');
    const change = (await actOf('users update')).find((l) => detail(l).object === who.id && detail(l).after.role === 'developer');
    assert.ok(begin.seq < change.seq && change.seq < end.seq, 'in the order in which it happened');
    assert.deepEqual(detail(change), { object: who.id, before: { role: 'viewer' }, after: { role: 'developer' } });
    assert.equal(change.source, 'cds_app');
  });

  test('that is refused by its own rules says so in its end, and one that a guard refuses is none', async () => {
    const me = (await stack.rpc('user.self', {}, 'admin')).user_id;
    await assert.rejects(stack.rpc('user.set_role', { user_id: me, role: 'viewer' }, 'admin'));
    assert.equal(detail((await actOf('user.set_role'))[0]).end, 'CONFLICT');
    const before = (await lines())[0].seq;
    await assert.rejects(stack.rpc('user.set_role', { user_id: me, role: 'viewer' }, 'developer'));
    await assert.rejects(stack.rpc('user.set_role', { user_id: me, role: 'king' }, 'admin'));
    assert.equal((await actOf('user.set_role', (l) => l.seq > before)).length, 0);
  });

  test('is not done while its line cannot be written', async () => {
    const who = await person(stack, 'viewer');
    // Somebody holds the end of the chain.
    await whileLocked(stack, 'UPDATE audit_head SET seq = seq', async () => {
      const [api, auth] = await Promise.all([
        callAs(stack, stack.tokens.admin, 'user.block', { user_id: who.id }),
        post(`${stack.authUrl}/auth/rpc`, { jsonrpc: '2.0', id: 1, method: 'user.link', params: { user_id: who.id } }, { token: stack.tokens.admin }),
      ]);
      assert.equal(api.error.data.rule, 'audit.unwritten');
      assert.equal(auth.json.error.data.rule, 'audit.unwritten');
      assert.equal(api.status, 503);
    });
    assert.equal(await stack.sql(`SELECT status FROM users WHERE id = '${who.id}'`), 'active');
    assert.equal(await stack.sql(`SELECT count(*) FROM invites WHERE user_id = '${who.id}' AND used_at IS NULL`), '0');
  });

  test('is written by whatever way it comes: at cds-auth, at the model server, by an API key, by the command line', async () => {
    const who = await person(stack, 'viewer');
    await post(`${stack.authUrl}/auth/rpc`, { jsonrpc: '2.0', id: 1, method: 'user.link', params: { user_id: who.id } }, { token: stack.tokens.admin });
    assert.deepEqual((await actOf('user.link', (l) => detail(l).params?.user_id === who.id || l.phase === 'end')).slice(0, 2).map((l) => [l.source, l.phase]), [['auth', 'end'], ['auth', 'begin']]);
    assert.ok((await actOf('invites insert')).some((l) => detail(l).object === who.id));

    await post(`${stack.llmUrl}/admin/load`, { model: 'no-such-model' }, { token: stack.tokens.admin });
    const [load] = await actOf('POST /admin/load', (l) => l.phase === 'begin');
    assert.equal(load.source, 'llmserver');
    assert.equal(load.actor_name, users.admin.email);
    await post(`${stack.apiUrl}/load`, { model: 'no-such-model' }, { token: stack.tokens.admin });
    const begun = async () => (await actOf('POST /admin/load', (l) => l.phase === 'begin')).length;
    assert.equal(await begun(), 2, 'the short name too');
    await post(`${stack.llmUrl}/admin/load`, { model: 'no-such-model' }, { token: stack.tokens.developer });
    assert.equal(await begun(), 2, 'a refusal is no act');

    const key = await stack.rpc('key.create', { name: 'k', role: 'admin' }, 'admin');
    await callAs(stack, key.key, 'user.list');
    assert.equal((await actOf('user.list'))[0].actor_key, key.key_id);
    assert.ok((await actOf('api_keys insert')).some((l) => detail(l).object === key.key_id));

    const blocked = await stack.command(['user', 'block', '--email', who.email]);
    assert.equal(blocked.code, 0, blocked.stderr);
    const [cli] = await actOf('user block');
    assert.deepEqual([cli.source, cli.actor, cli.phase], ['command line', null, 'end']);
    assert.deepEqual(detail((await actOf('users update'))[0]), { object: who.id, before: { status: 'active' }, after: { status: 'blocked' } });
  });

  test('at the model server says in its end what came of it, also when that is after the answer', async () => {
    const at = async (path, body) => (await post(`${stack.llmUrl}${path}`, body, { token: stack.tokens.admin })).status;
    /** The newest act of this name, once its end is there. */
    const last = (action) => waitFor(`the end of ${action}`, async () => {
      const [end, begin] = await actOf(action);
      return end?.phase === 'end' ? { end, begin } : null;
    }, 60_000);
    assert.equal(await at('/admin/load', { model: 'absent' }), 404);
    const load = await last('POST /admin/load');
    assert.deepEqual([detail(load.begin), detail(load.end)], [{ path: '/admin/load', model: 'absent' }, { end: 'NOT_FOUND', status: 404 }]);
    assert.equal(load.begin.request_id, load.end.request_id);
    assert.equal(load.end.actor_name, users.admin.email);
    assert.equal(await at('/admin/load', { text: 'x' }), 400);
    assert.deepEqual(detail((await last('POST /admin/load')).end), { end: 'BAD_PARAM', status: 400 });
    // A download answers at once and ends later.
    assert.equal(await at('/admin/download', { source: 'https://nowhere.invalid/secret-name.gguf' }), 202);
    const download = await last('POST /admin/download');
    assert.notEqual(detail(download.end).end, 'OK');
    assert.doesNotMatch(download.begin.detail + download.end.detail, /secret-name/);
  });

  test('at the command line has both lines: with the account of the machine, what it is about and what came of it', async () => {
    const who = await person(stack, 'viewer');
    const acts = async (action) => (await actOf(action)).slice(0, 2).map((l) => ({ ...detail(l), phase: l.phase, source: l.source, request: l.request_id }));
    const runs = async (words, code, extra) => assert.equal((await stack.command(words, extra)).code, code, words.join(' '));
    const account = userInfo().username;
    const both = async (words, object, outcome, name = words.slice(0, 2).join(' ')) => {
      const [end, begin] = await acts(name);
      assert.deepEqual([begin.phase, end.phase, end.end, begin.request], ['begin', 'end', outcome, end.request], words.join(' '));
      for (const line of [begin, end]) assert.deepEqual([line.source, line.account, line.uid, line.object], ['command line', account, process.getuid(), object], words.join(' '));
    };
    await runs(['user', 'block', '--email', who.email], 0);
    await both(['user', 'block'], undefined, 'OK');
    await runs(['user', 'block', '--email', 'nobody@studio.test'], 1);
    await both(['user', 'block'], undefined, 'NOT_FOUND');
    await runs(['user', 'add', '--email', `added${Date.now()}@studio.test`, '--role', 'viewer'], 0, { input: 'a long enough word 7\n' });
    await both(['user', 'add'], undefined, 'OK');
    await runs(['key', 'create', '--email', users.developer.email, '--name', 'cli'], 0);
    await both(['key', 'create'], undefined, 'OK');
    const id = await stack.sql("SELECT id FROM api_keys WHERE name = 'cli'");
    await runs(['key', 'revoke', '--id', id], 0);
    await both(['key', 'revoke'], id, 'OK');
    mkdirSync(join(stack.home, 'models'), { recursive: true });
    writeFileSync(join(stack.home, 'models/goes.gguf'), 'x');
    await runs(['model', 'remove', 'goes.gguf'], 0);
    await both(['model', 'remove'], 'goes.gguf', 'OK');
    await runs(['model', 'remove', 'goes.gguf'], 1);
    await both(['model', 'remove'], 'goes.gguf', 'FAILED');
    await runs(['model', 'pull', 'https://nowhere.invalid/a.gguf?token=canary-of-a-key'], 1);
    await both(['model', 'pull'], 'https://nowhere.invalid/a.gguf', 'FAILED');
    await runs(['image', 'remove', 'absent'], 1);
    await both(['image', 'remove'], 'absent', 'FAILED');
    await runs(['image', 'add', 'fromcli', join(stack.home, 'run')], 1);
    await both(['image', 'add'], 'fromcli', 'FAILED');
    await runs(['backup', stack.home], 1);
    await both(['backup'], undefined, 'CONFLICT', 'backup');
    assert.doesNotMatch(await stack.sql('SELECT string_agg(a::text, chr(10)) FROM audit_log a'), /canary-of-a-key|a long enough word/);
  });

  test('at the command line is not done without its line, and what only reads has none', async () => {
    const who = await person(stack, 'viewer');
    const file = join(stack.home, 'models/stays.gguf');
    mkdirSync(join(stack.home, 'models'), { recursive: true });
    writeFileSync(file, 'x');
    const before = (await lines())[0].seq;
    for (const words of [['model', 'list'], ['image', 'list'], ['user', 'list'], ['key', 'list'], ['ledger', 'verify']]) assert.equal((await stack.command(words)).code, 0, words.join(' '));
    assert.deepEqual((await lines()).filter((l) => l.seq > before && l.source === 'command line'), []);
    const rename = (from, to) => stack.sql(`ALTER FUNCTION ${from}(text, text, uuid, uuid, text, uuid, jsonb) RENAME TO ${to}`);
    await rename('audit_add', 'audit_away');
    try {
      for (const words of [['model', 'remove', 'stays.gguf'], ['user', 'block', '--email', who.email], ['image', 'remove', 'x'], ['key', 'create', '--email', users.developer.email, '--name', 'unwritten']]) {
        const got = await stack.command(words);
        assert.equal(got.code, 1, words.join(' '));
        assert.match(got.stderr, /Nothing was done: the audit log could not be written/, words.join(' '));
      }
    } finally {
      await rename('audit_away', 'audit_add');
    }
    assert.ok(existsSync(file));
    assert.equal(await stack.sql(`SELECT status FROM users WHERE id = '${who.id}'`), 'active');
    assert.equal(await stack.sql("SELECT count(*) FROM api_keys WHERE name = 'unwritten'"), '0');
  });

  test('on the things of others is written though its method is for everybody; on an own thing of a developer it is not', async () => {
    const mine = await stack.rpc('key.create', { name: 'k' }, 'developer');
    await stack.rpc('key.revoke', { key_id: mine.key_id }, 'admin');
    assert.equal(detail((await actOf('key.revoke', (l) => l.phase === 'begin'))[0]).params.key_id, mine.key_id);
    const own = await stack.rpc('key.create', { name: 'k' }, 'developer');
    const before = (await lines())[0].seq;
    await stack.rpc('key.revoke', { key_id: own.key_id }, 'developer');
    assert.equal((await actOf('key.revoke', (l) => l.seq > before)).length, 0);
    assert.ok((await actOf('api_keys update')).some((l) => detail(l).object === own.key_id && detail(l).after.revoked_at), 'the change itself is');
  });

  test('names no address, no name and no secret', async () => {
    const canary = `canary${Date.now()}`;
    const made = await stack.rpc('user.invite', { email: `${canary}@studio.test`, role: 'viewer', display_name: `${canary} name` }, 'admin');
    await stack.rpc('user.list', { query: canary }, 'admin');
    const text = await stack.sql('SELECT string_agg(a::text, chr(10)) FROM audit_log a');
    assert.doesNotMatch(text, new RegExp(canary));
    assert.doesNotMatch(text, new RegExp(made.link.split('#token=')[1]));
    assert.doesNotMatch(text, /@studio\.test|\$2[aby]\$/);
    assert.match(text, /not kept/);
  });
});

describe('the chain', { concurrency: false }, () => {
  test('is exported so that anybody can check it', async () => {
    const { lines: all, head } = await chain();
    let prev = '0'.repeat(64);
    for (const [at, line] of all.entries()) {
      assert.equal(line.seq, at + 1);
      assert.equal(line.prev, prev);
      assert.equal(createHash('sha256').update(Buffer.from(line.prev, 'hex')).update(line.text).digest('hex'), line.hash);
      assert.equal(JSON.parse(line.text)[0], line.seq);
      prev = line.hash;
    }
    assert.ok(all.length > 20);
    assert.deepEqual(head, { seq: all.at(-1).seq, hash: prev });
  });

  test('is checked by ledger verify, which names a line that was changed, taken out, or cut off', async () => {
    const verify = async () => await stack.command(['ledger', 'verify']);
    assert.equal((await verify()).code, 0, (await verify()).stdout);
    const hand = (sql) => stack.sql(`BEGIN; ALTER TABLE audit_log DISABLE TRIGGER audit_append_only; ${sql}; ALTER TABLE audit_log ENABLE TRIGGER audit_append_only; COMMIT`);
    // What the gateway still had to write is written: it asks the database in turn.
    await stack.rpc('project.list', {}, 'developer');
    await stack.sql('CREATE TABLE kept AS TABLE audit_log');
    const back = () => hand('DELETE FROM audit_log; INSERT INTO audit_log TABLE kept');
    const notices = async (sql, what) => {
      await hand(sql);
      const got = await verify();
      await back();
      assert.equal(got.code, 1, sql);
      assert.match(got.stdout, new RegExp(`BROKEN +11 .*audit_chain.*${what}`), sql);
    };
    await notices("UPDATE audit_log SET detail = '{}' WHERE seq = 3", 'line 3');
    await notices('UPDATE audit_log SET actor = NULL WHERE seq = (SELECT min(seq) FROM audit_log WHERE actor IS NOT NULL)', 'line');
    await notices("UPDATE audit_log SET at = at + interval '1 microsecond' WHERE seq = 4", 'line 4');
    await notices('DELETE FROM audit_log WHERE seq = 5', 'line 6');
    await notices('DELETE FROM audit_log WHERE seq = (SELECT max(seq) FROM audit_log)', 'the end is line');
    await notices('UPDATE audit_log SET hash = prev WHERE seq = 2', 'line');
    assert.equal((await verify()).code, 0);
    await stack.sql('DROP TABLE kept');
  });

  test('refuses a change by the owner of the database too, as long as its trigger is there', async () => {
    for (const sql of ["UPDATE audit_log SET detail = '{}'", 'DELETE FROM audit_log', 'TRUNCATE audit_log']) await assert.rejects(stack.sql(sql), /append only/);
  });
});

test('every method for admins is audited, and whatever lets an admin name somebody else', () => {
  const generated = readFileSync(join(process.env.CDS_BUILD ?? join(root, 'build'), 'gen/rpc_methods.c'), 'utf8');
  const when = Object.fromEntries([...generated.matchAll(/\.name = "([^"]+)"[^}]*?\.audit = CDS_AUDIT_(\w+)/g)].map((m) => [m[1], m[2]]));
  const others = readFileSync(join(root, 'schemas/access.txt'), 'utf8').split('\n').map((l) => l.split('#')[0].trim().split(/\s+/)).filter((w) => w.slice(2).some((p) => p.endsWith('*'))).map((w) => w[0]);
  assert.equal(Object.keys(when).length, schemas.length);
  for (const { method, role } of schemas) assert.equal(when[method], role === 'admin' ? 'ALWAYS' : others.includes(method) ? 'ADMINS' : 'NEVER', method);
});
