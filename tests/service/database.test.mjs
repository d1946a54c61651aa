// DATABASE_URL: a PostgreSQL server that is not ours. It gets the schema and the ledger, its password is told to nobody, and one that cannot be used
// ends `up` with one sentence.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cli, freePorts, root, startStack, users, waitFor } from '../support/stack.mjs';

const PASSWORD = 'Amber-Bridge-77-Quarry';
const majors = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql').map(Number).sort((a, b) => b - a) : [];
const bin = `/usr/lib/postgresql/${majors[0]}/bin`;

/** The server refuses to run as root: then it runs as nobody. */
function unprivileged() {
  if (process.getuid() !== 0) return {};
  const id = (flag) => Number(spawnSync('id', [flag, 'nobody'], { encoding: 'utf8' }).stdout);
  return { uid: id('-u'), gid: id('-g') };
}

/** A server of its own in a temporary folder: socket only, SCRAM. */
async function foreignServer() {
  const folder = mkdtempSync(join(tmpdir(), 'cds-ext-'));
  const who = unprivileged();
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' };
  const [data, password] = [join(folder, 'data'), join(folder, 'password')];
  chmodSync(folder, 0o755); // the services reach the socket
  mkdirSync(data, { mode: 0o700 });
  writeFileSync(password, `${PASSWORD}\n`, { mode: 0o600 });
  if (who.uid !== undefined) for (const path of [folder, data, password]) chownSync(path, who.uid, who.gid);
  const args = ['-D', data, '-U', 'owner', '--auth=scram-sha-256', `--pwfile=${password}`, '--no-sync', '-E', 'UTF8', '--locale=C.UTF-8'];
  const made = spawnSync(join(bin, 'initdb'), args, { ...who, env, cwd: folder, encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  const child = spawn(join(bin, 'postgres'), ['-D', data, '-k', folder, '-c', 'listen_addresses='], { ...who, env, cwd: folder, stdio: 'ignore' });
  const url = `postgresql://owner:${PASSWORD}@/postgres?host=${encodeURIComponent(folder)}`;
  const sql = (text) => {
    const got = spawnSync('psql', ['-X', '-At', '-v', 'ON_ERROR_STOP=1', '-d', url, '-c', text], { encoding: 'utf8' });
    if (got.status !== 0) throw new Error(`sql: ${got.stderr}`);
    return got.stdout.trimEnd();
  };
  /** These may connect without a password from now on. */
  const allow = (roles) => {
    const hba = join(data, 'pg_hba.conf');
    writeFileSync(hba, `local all ${roles} trust\n${readFileSync(hba, 'utf8')}`);
    sql('SELECT pg_reload_conf()');
  };
  const stop = async () => {
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null;
    if (ended) child.kill('SIGINT');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await waitFor('the server answers', () => {
      try {
        return sql('SELECT 1') === '1';
      } catch {
        return false;
      }
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, sql, stop, allow };
}

/** `up` with that address in a new data folder, which is removed. */
async function upWith(url) {
  const folder = mkdtempSync(join(tmpdir(), 'cds-ext-'));
  chmodSync(folder, 0o755);
  const [a, b, c, d, e] = await freePorts(5);
  const flags = [`--studio.home=${folder}/home`, `--ui.port=${a}`, `--api.port=${b}`, `--auth.port=${c}`, `--llm.port=${d}`, `--preview.port=${e}`, '--llm.model=none'];
  try {
    return await cli(['up', ...flags], { env: { DATABASE_URL: url } });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe('a studio on a database of its own choice', () => {
  let server, stack;
  before(async () => {
    server = await foreignServer();
    stack = await startStack({ env: { DATABASE_URL: server.url } });
    await stack.waitModel();
  });
  after(async () => {
    await stack?.stop();
    await server?.stop();
  });

  test('the database is shown as external and no private one is made', async () => {
    assert.match(stack.output, /^ {2}ready {3}postgres +external/m);
    const part = (await stack.status()).parts.find((p) => p.name === 'postgres');
    assert.equal(part.state, 'external');
    assert.equal(part.pid, null);
    assert.match((await stack.command(['status'])).stdout, /^postgres .*external/m);
    assert.equal(existsSync(join(stack.home, 'pg')), false);
  });

  test('every migration is recorded there', () => {
    const files = readdirSync(join(root, 'database/migrations')).filter((name) => name.endsWith('.sql')).sort();
    assert.equal(server.sql('SELECT name FROM schema_migrations ORDER BY number'), files.join('\n'));
  });

  test('a chat is reserved and settled in its ledger, and the books are right', async () => {
    const answer = await stack.rpc('llm.chat', { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 8 });
    const tokens = answer.usage.prompt_tokens + answer.usage.completion_tokens;
    const row = server.sql(`SELECT l.n_in + l.n_out, l.cost_micro, q.state, q.held >= l.n_in + l.n_out FROM token_ledger l JOIN llm_requests q ON q.id = l.request_id
      JOIN users u ON u.id = l.user_id WHERE u.email = '${users.developer.email}'`);
    assert.equal(row, `${tokens}|${answer.cost_micro}|2|t`);
    assert.equal((await stack.rpc('usage.summary')).used_tokens, tokens);
    const verify = await stack.command(['ledger', 'verify']);
    assert.equal(verify.code, 0, verify.stdout + verify.stderr);
    assert.match((await stack.command(['migrate'])).stdout, /up to date/);
  });

  test('the password of the address stands in no log, no output and no command line', async () => {
    const status = await stack.status();
    const pids = [status.pid, ...status.parts.flatMap((p) => [p.pid, ...p.children.map((c) => c.pid)])].filter(Boolean);
    const commandLine = (pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return ''; // it has ended since
      }
    };
    for (const pid of pids) assert.ok(!commandLine(pid).includes(PASSWORD), `process ${pid}`);
    assert.ok(!readFileSync(join(stack.home, 'logs/studio.jsonl'), 'utf8').includes(PASSWORD));
    assert.ok(!stack.output.includes(PASSWORD));
    assert.ok(!readFileSync(`/proc/${status.parts.find((p) => p.name === 'sandboxd').pid}/environ`, 'utf8').includes(PASSWORD));
  });
});

describe('the roles of a database that is not ours', () => {
  let server;
  before(async () => {
    server = await foreignServer();
  });
  after(() => server?.stop());
  const finding = (got) => JSON.parse(got.stdout).findings.find((c) => c.name === 'database roles');

  test('separate nothing unless the services use them, which doctor says', async () => {
    const stack = await startStack({ env: { DATABASE_URL: server.url }, options: { 'llm.model': 'none' } });
    try {
      assert.equal(server.sql("SELECT string_agg(DISTINCT usename, ',') FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"), 'owner');
      const found = finding(await stack.command(['doctor', '--json']));
      assert.equal(found.verdict, 'weak');
      assert.match(found.text, /all services connect as database\.url says/);
      assert.match(found.remedy, /database\.roles = 1/);
      const unable = finding(await stack.command(['doctor', '--json', '--database.roles=1']));
      assert.equal(unable.verdict, 'missing');
      assert.match(unable.text, /cds_app cannot connect/);
    } finally {
      await stack.stop();
    }
  });

  test('separate the services once they have passwords or another way to say who they are', async () => {
    server.allow('cds_app,cds_auth');
    const stack = await startStack({ env: { DATABASE_URL: server.url }, options: { 'llm.model': 'none', 'database.roles': '1' }, setup: false });
    try {
      const roles = await waitFor('all services are connected', () => {
        const seen = server.sql("SELECT string_agg(DISTINCT usename, ',' ORDER BY usename) FROM pg_stat_activity WHERE usename <> 'owner'");
        return seen === 'cds_app,cds_auth' ? seen : null;
      });
      assert.equal(roles, 'cds_app,cds_auth');
      assert.equal(finding(await stack.command(['doctor', '--json'])).verdict, 'works');
      assert.equal((await fetch(`${stack.authUrl}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ email: users.developer.email, password: users.developer.password }) })).status, 200);
      assert.equal((await stack.command(['ledger', 'verify'])).code, 0);
    } finally {
      await stack.stop();
    }
  });
});

describe('a database that cannot be used ends up with one sentence', { concurrency: true }, () => {
  test('nobody answers at the address', async () => {
    const [port] = await freePorts(1);
    const got = await upWith(`postgresql://owner:${PASSWORD}@127.0.0.1:${port}/studio`);
    assert.equal(got.code, 1);
    assert.match(got.stderr, /^cyberdevstudio: The database cannot be reached\..*database\.url.*\n$/);
    assert.ok(!(got.stderr + got.stdout).includes(PASSWORD));
  });

  test('the server is too old', async () => {
    // The greeting of a server of version 14, as in "Message Formats" of PostgreSQL's protocol: AuthenticationOk, ParameterStatus, ReadyForQuery.
    const message = (type, ...parts) => {
      const body = Buffer.concat(parts);
      const head = Buffer.alloc(5);
      head.write(type);
      head.writeInt32BE(body.length + 4, 1);
      return Buffer.concat([head, body]);
    };
    const greeting = Buffer.concat([message('R', Buffer.alloc(4)), message('S', Buffer.from('server_version\x0014.12\0')), message('Z', Buffer.from('I'))]);
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.write(greeting));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const got = await upWith(`postgresql://owner@127.0.0.1:${server.address().port}/studio?sslmode=disable&gssencmode=disable`);
    server.close();
    assert.equal(got.code, 1);
    assert.match(got.stderr, /^cyberdevstudio: The database is PostgreSQL 14 and 15 is the oldest that works\..*\n$/);
  });
});
