// `backup` and `restore`: a copy made while the studio works, restored into a new data folder, into a server that is not ours, and into a newer
// PostgreSQL. Each time the ledger's rules and the audit log's chain hold behind it, and people sign in as before.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cli, startStack, users, waitFor } from '../support/stack.mjs';
import { NEWER_MAJOR, newerPostgres } from '../support/newer_pg.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const majors = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql').map(Number).filter((n) => existsSync(`/usr/lib/postgresql/${n}/bin/postgres`)).sort((a, b) => a - b) : [];
const tables = ['users', 'api_keys', 'llm_requests', 'token_ledger', 'audit_log', 'audit_head', 'projects', 'schema_migrations'];

let folder;
let key;
let told; // what the books said when the copy was made
const backup = () => join(folder, 'copy');
const weights = () => join(folder, `${TINY}.gguf`);

/** Ledger and chain as they were, by any connection; without these requests. */
const digest = async (sql, without = '') => {
  const ids = { llm_requests: 'id', token_ledger: 'request_id' };
  const where = (table) => (table === 'audit_log' ? `WHERE seq <= ${told.audit_seq}` : ids[table] && without ? `WHERE ${ids[table]} NOT IN (${without})` : '');
  return (await Promise.all(tables.map((table) => sql(`SELECT '${table} ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, chr(10) ORDER BY t::text)), '-') FROM ${table} t ${where(table)}`)))).join('\n');
};

/** Everything that a restored studio must still do. */
async function works(stack) {
  const login = await fetch(`${stack.authUrl}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ email: users.developer.email, password: users.developer.password }) });
  assert.equal(login.status, 200, 'the old password');
  const byKey = await fetch(`${stack.apiUrl}/rpc`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'user.self', params: {} }) });
  assert.equal((await byKey.json()).result?.email, users.developer.email, 'the old API key');
  const verify = await stack.command(['ledger', 'verify']);
  assert.equal(verify.code, 0, verify.stdout + verify.stderr);
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cds-backup-'));
  chmodSync(folder, 0o755);
  const stack = await startTiny({
    options: { 'database.bin_dir': `/usr/lib/postgresql/${majors[0]}/bin` }, // the oldest
    prepare: (models, file) => copyFileSync(file, weights()),
  });
  try {
    key = (await stack.rpc('key.create', { name: 'kept' }, 'developer')).key;
    const ask = (tokens) => stack.rpc('llm.chat', { model: TINY, messages: [{ role: 'user', content: 'Count.' }], max_tokens: tokens });
    await Promise.all([ask(20), ask(30), ask(40)]);
    await stack.rpc('user.set_role', { user_id: (await stack.rpc('user.list', { query: users.viewer.email }, 'admin')).users[0].user_id, role: 'developer' }, 'admin');
    // It works on while the copy is made.
    const busy = Promise.allSettled([ask(400), ask(400)]);
    const made = await stack.command(['backup', backup()]);
    assert.equal(made.code, 0, made.stdout + made.stderr);
    await busy;
    told = JSON.parse(readFileSync(join(backup(), 'backup.json')));
    // Somebody changes the books by hand, and a copy is made of that.
    await stack.sql('UPDATE llm_requests SET used = used + 1 WHERE state = 2');
    assert.equal((await stack.command(['backup', join(folder, 'broken')])).code, 0);
  } finally {
    await stack.stop();
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

describe('a backup', () => {
  test('is complete, closed to others, and says where the audit log was', () => {
    for (const file of ['database.dump', 'backup.json']) assert.equal(statSync(join(backup(), file)).mode & 0o777, 0o600, file);
    assert.equal(statSync(backup()).mode & 0o777, 0o700);
    assert.ok(readdirSync(join(backup(), 'keys')).includes('pepper'));
    assert.ok(told.audit_seq > 0);
    assert.match(told.audit_hash, /^[0-9a-f]{64}$/);
    assert.equal(told.postgres, majors[0]);
  });
});

describe('a restore', { concurrency: false }, () => {
  const home = () => join(folder, 'home');

  test('fills a new data folder, and everything adds up', async () => {
    const got = await cli(['restore', backup(), `--studio.home=${home()}`]);
    assert.equal(got.code, 0, got.stdout + got.stderr);
    assert.match(got.stdout, /fine +11 Each line of the audit log/);
    assert.match(got.stdout, /the ledger adds up/);
    const stack = await startStack({ home: home(), options: { 'llm.model': 'none' }, setup: false });
    try {
      await works(stack);
      assert.equal(await stack.sql(`SELECT encode(hash, 'hex') FROM audit_log WHERE seq = ${told.audit_seq}`), told.audit_hash);
      assert.equal(await stack.sql("SELECT count(*) FROM information_schema.table_privileges WHERE grantee = 'cds_app' AND table_name = 'token_ledger' AND privilege_type <> 'SELECT'"), '0', 'roles too');
      const again = await stack.command(['backup', backup()]);
      assert.equal(again.code, 1);
      assert.match(again.stderr, /something at .* already, and a backup replaces nothing/);
      const busy = await cli(['restore', backup(), `--studio.home=${home()}`]);
      assert.equal(busy.code, 1);
      assert.match(busy.stderr, /runs\..*cyberdevstudio down/s);
    } finally {
      await stack.stop();
    }
  });

  test('replaces nothing', async () => {
    const got = await cli(['restore', backup(), `--studio.home=${home()}`]);
    assert.equal(got.code, 1);
    assert.match(got.stderr, /not empty/);
  });

  test('of half a backup, of none, or of a damaged one leaves an empty database', async () => {
    const half = join(folder, 'half');
    cpSync(backup(), half, { recursive: true });
    unlinkSync(join(half, 'backup.json'));
    const other = join(folder, 'other');
    for (const from of [half, join(folder, 'absent')]) {
      const got = await cli(['restore', from, `--studio.home=${other}`]);
      assert.equal(got.code, 1);
      assert.match(got.stderr, /no whole backup/);
    }
    writeFileSync(join(half, 'backup.json'), JSON.stringify({ ...told, format: 2 }));
    const later = await cli(['restore', half, `--studio.home=${other}`]);
    assert.equal(later.code, 1);
    assert.match(later.stderr, /a form that this version does not know/);
    writeFileSync(join(half, 'backup.json'), readFileSync(join(backup(), 'backup.json')));
    const dump = readFileSync(join(half, 'database.dump'));
    writeFileSync(join(half, 'database.dump'), dump.subarray(0, dump.length - 2000));
    const damaged = await cli(['restore', half, `--studio.home=${other}`]);
    assert.equal(damaged.code, 1, damaged.stdout);
    assert.match(damaged.stderr, /pg_restore ended with/);
    const whole = await cli(['restore', backup(), `--studio.home=${other}`]);
    assert.equal(whole.code, 0, whole.stdout + whole.stderr);
  });

  test('of books that do not add up says so, and exits with 1', async () => {
    const forged = join(folder, 'forged');
    cpSync(backup(), forged, { recursive: true });
    writeFileSync(join(forged, 'backup.json'), JSON.stringify({ ...told, audit_hash: 'f'.repeat(64) }));
    const got = await cli(['restore', forged, `--studio.home=${join(folder, 'third')}`]);
    assert.equal(got.code, 1);
    assert.match(got.stdout, /NOT the one that was backed up/);
    const broken = await cli(['restore', join(folder, 'broken'), `--studio.home=${join(folder, 'fourth')}`]);
    assert.equal(broken.code, 1);
    assert.match(broken.stdout, /BROKEN +6 Every settled request/);
  });

  test('keeps keys that are there already', async () => {
    const kept = join(folder, 'kept');
    const first = await cli(['restore', backup(), `--studio.home=${kept}`]);
    assert.equal(first.code, 0, first.stdout + first.stderr);
    assert.equal(readFileSync(join(kept, 'keys/pepper'), 'hex'), readFileSync(join(backup(), 'keys/pepper'), 'hex'));
    writeFileSync(join(kept, 'keys/pepper'), 'mine');
    rmSync(join(kept, 'pg'), { recursive: true }); // the database is lost, the keys are not
    const got = await cli(['restore', backup(), `--studio.home=${kept}`]);
    assert.equal(got.code, 0, got.stdout + got.stderr);
    assert.equal(readFileSync(join(kept, 'keys/pepper'), 'utf8'), 'mine');
  });
});

/** A second server, of the programs that a folder of its own has been given, or of a folder's. */
async function secondServer(programs) {
  const where = mkdtempSync(join(tmpdir(), 'cds-second-'));
  const bin = typeof programs === 'function' ? programs(where) : programs;
  const id = (flag) => Number(spawnSync('id', [flag, 'nobody'], { encoding: 'utf8' }).stdout);
  const who = process.getuid() === 0 ? { uid: id('-u'), gid: id('-g') } : {};
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' };
  const data = join(where, 'data');
  chmodSync(where, 0o755);
  mkdirSync(data, { mode: 0o700 });
  if (who.uid !== undefined) for (const path of [where, data]) chownSync(path, who.uid, who.gid);
  const made = spawnSync(join(bin, 'initdb'), ['-D', data, '-U', 'studio', '--auth=trust', '--no-sync', '-E', 'UTF8', '--locale=C.UTF-8'], { ...who, env, cwd: where, encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  const child = spawn(join(bin, 'postgres'), ['-D', data, '-k', where, '-c', 'listen_addresses='], { ...who, env, cwd: where, stdio: 'ignore' });
  const url = `postgresql://studio@/postgres?host=${encodeURIComponent(where)}`;
  const sql = (text) => {
    const got = spawnSync('psql', ['-X', '-At', '-v', 'ON_ERROR_STOP=1', '-d', url, '-c', text], { encoding: 'utf8' });
    if (got.status !== 0) throw new Error(`sql: ${got.stderr}`);
    return got.stdout.trimEnd();
  };
  const stop = async () => {
    const ended = once(child, 'exit');
    child.kill('SIGINT');
    await ended;
    rmSync(where, { recursive: true, force: true });
  };
  await waitFor('the server answers', () => {
    try {
      return sql('SELECT 1') === '1';
    } catch {
      return false;
    }
  });
  return { url, sql, stop };
}

/** A studio goes on there: what is asked is answered and booked. */
async function goesOn(server, home) {
  const booked = () => Number(server.sql('SELECT count(*) FROM token_ledger'));
  const before = booked();
  const stack = await startStack({ home, env: { DATABASE_URL: server.url }, options: { 'llm.model': weights() }, setup: false });
  try {
    const answer = await fetch(`${stack.llmUrl}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` }, body: JSON.stringify({ model: TINY, messages: [{ role: 'user', content: 'Count.' }], max_tokens: 20 }) });
    assert.equal(answer.status, 200, await answer.text());
    await waitFor('it is booked', () => booked() === before + 1);
    await works(stack);
  } finally {
    await stack.stop();
  }
}

async function copyInto(programs, major) {
  const server = await secondServer(programs);
  const home = join(folder, `empty-${major}`);
  try {
    assert.equal(server.sql('SHOW server_version_num').slice(0, -4), String(major));
    const got = await cli(['restore', backup(), `--studio.home=${home}`], { env: { DATABASE_URL: server.url } });
    assert.equal(got.code, 0, got.stdout + got.stderr);
    assert.match(got.stdout, /the ledger adds up/);
    // Requests that ran when the copy was made are ended by a studio that is up for a while; here nobody ends them.
    const open = server.sql("SELECT string_agg(quote_literal(id), ',') FROM llm_requests WHERE state = 1");
    // All else is line for line the same as the copy in the data folder of the test before.
    const stack = await startStack({ home: join(folder, 'other'), options: { 'llm.model': 'none' }, setup: false });
    try {
      const wanted = await digest((text) => stack.sql(text), open);
      const found = await digest(async (text) => server.sql(text), open);
      for (const [at, line] of wanted.split('\n').entries()) if (!/^(audit_head|users) /.test(line)) assert.equal(found.split('\n')[at], line);
    } finally {
      await stack.stop();
    }
    await goesOn(server, home);
  } finally {
    await server.stop();
  }
}

test('a logical copy fills a second server, line for line, and a studio goes on there', async () => copyInto(`/usr/lib/postgresql/${majors.at(-1)}/bin`, majors.at(-1)));

test('a logical copy fills a newer PostgreSQL major, line for line, and a studio goes on there', async () => {
  assert.ok(NEWER_MAJOR > majors.at(-1), `${NEWER_MAJOR} is newer than ${majors}`);
  await copyInto(newerPostgres, NEWER_MAJOR);
});
