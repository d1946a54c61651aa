// The supervisor and the command line, with the real processes.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, chmodSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { alive, cli, freePorts, program, startStack, timely, users, waitFor } from '../support/stack.mjs';

const STOP_LIMIT_MS = 3000;
const isRoot = process.getuid() === 0;

/** Every process of a studio: parts, their descendants, the supervisor. */
async function allPids(stack) {
  const status = await stack.status();
  return [status.pid, ...status.parts.flatMap((p) => [p.pid, ...p.children.map((c) => c.pid)])].filter(Boolean);
}

/** Processes that have the data folder in their command line or working folder. */
function processesOn(home) {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(home) && alive(pid);
    } catch {
      return false;
    }
  });
}

function tempFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'cds-sup-'));
  chmodSync(folder, 0o755);
  return folder;
}

describe('a running studio', () => {
  let stack;
  before(async () => {
    stack = await startStack({ fresh: true, first: true });
  });
  after(() => stack?.stop());

  test('up prints one line per ready part, the address and the link', () => {
    for (const part of ['postgres', 'auth', 'sandboxd', 'egress', 'llmserver', 'api', 'preview', 'studio-ui'])
      assert.match(stack.output, new RegExp(`^  ready   ${part} .* \\d+ ms$`, 'm'));
    assert.match(stack.output, /^ {2}schema {2}0001_\S+\.sql$/m, 'a first start makes its own database');
    assert.equal(stack.url, `http://127.0.0.1:${stack.ports.ui}`);
    assert.match(stack.setupLink, new RegExp(`^${stack.url}/setup#token=[A-Za-z0-9_-]{43}$`));
  });

  test('the link of the first admin is dead after its use', async () => {
    const token = stack.setupLink.split('#token=')[1];
    const reply = await fetch(`${stack.authUrl}/auth/setup`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token, email: 'second@studio.test', password: 'Another-Long-Phrase-55' }),
    });
    assert.equal(reply.status, 403);
    const state = await (await fetch(`${stack.authUrl}/auth/state`)).json();
    assert.equal(state.setup_needed, false);
  });

  test('the page answers and every part says that it is ready', async () => {
    for (const base of [stack.url, stack.apiUrl, stack.authUrl, stack.llmUrl]) {
      assert.equal((await fetch(`${base}/healthz`)).status, 200, `${base}/healthz`);
      await waitFor(`${base}/readyz`, async () => (await fetch(`${base}/readyz`)).status === 200, 60_000);
    }
  });

  test('status shows each part in a table and as JSON', async () => {
    const table = await stack.command(['status']);
    assert.equal(table.code, 0);
    for (const part of ['postgres', 'auth', 'sandboxd', 'egress', 'llmserver', 'api', 'preview', 'studio-ui']) assert.match(table.stdout, new RegExp(`^${part} +\\d+ +ready`, 'm'));
    const status = await stack.status();
    assert.equal(status.state, 'running');
    assert.equal(status.pid, stack.pid);
    assert.equal(status.home, stack.home);
    for (const part of status.parts) {
      assert.equal(part.state, 'ready', part.name);
      assert.ok(alive(part.pid) && part.rss_bytes > 0 && part.uptime_ms >= 0, part.name);
    }
    assert.equal(status.parts.find((p) => p.name === 'api').port, stack.ports.api);
  });

  test('a second up on the same data folder is refused in one sentence', async () => {
    const got = await stack.command(['up']);
    assert.equal(got.code, 1);
    assert.match(got.stderr, new RegExp(`^cyberdevstudio: A studio already runs on .* \\(process ${stack.pid}\\)\\. Stop it with .*\\n$`));
    assert.equal((await stack.status()).pid, stack.pid);
  });

  test('the services are not root and the sandbox knows no database', { skip: !isRoot && 'needs root' }, async () => {
    const pids = await stack.pids();
    for (const part of ['auth', 'llmserver', 'api', 'preview', 'studio-ui', 'postgres']) assert.notEqual(statSync(`/proc/${pids[part]}`).uid, 0, part);
    assert.equal(statSync(`/proc/${pids.sandboxd}`).uid, 0);
    const mode = (path) => statSync(join(stack.home, path)).mode & 0o7777;
    assert.deepEqual(['keys', 'pg', 'logs', 'run'].map(mode), [0o700, 0o700, 0o750, 0o1731]);
    assert.equal(mode('projects') & 0o066, 0, 'nobody else lists the projects');
    assert.equal(mode('run/supervisor.sock'), 0o600);
    assert.equal(mode('run/sandboxd.sock') & 0o007, 0, 'nobody else reaches the sandbox');
  });

  test('each process has only the variables of the short list', async () => {
    const pids = await stack.pids();
    for (const part of ['auth', 'sandboxd', 'egress', 'llmserver', 'api', 'preview', 'studio-ui'])
      for (const variable of readFileSync(`/proc/${pids[part]}/environ`, 'utf8').split('\0').filter(Boolean))
        assert.match(variable, /^(PATH|HOME|LANG|TZ|USER|LOGNAME|CDS_[A-Z_]+)=/, `${part}: ${variable.split('=')[0]}`);
  });

  test('a crashed part comes back, the pause doubles, the others stay', async () => {
    const before = await stack.pids();
    process.kill(before['studio-ui'], 'SIGKILL');
    const once1 = await stack.waitPart('studio-ui', before['studio-ui']);
    process.kill(once1.pid, 'SIGKILL');
    const twice = await stack.waitPart('studio-ui', once1.pid);
    assert.equal(twice.restarts, 2);
    assert.equal((await fetch(`${stack.url}/healthz`)).status, 200);
    const now = await stack.pids();
    for (const part of ['postgres', 'auth', 'sandboxd', 'egress', 'llmserver', 'api']) assert.equal(now[part], before[part], part);
    const pauses = stack.logTail(400).filter((l) => l.msg === 'part ended' && l.part === 'studio-ui').map((l) => l.restart_in_ms);
    assert.deepEqual(pauses, [100, 200]);
  });

  test('user add refuses a wrong role, a weak password and an address that is taken', async () => {
    const add = (email, role, password) => stack.command(['user', 'add', '--email', email, '--role', role], { input: `${password}\n` });
    const role = await add('x@studio.test', 'king', 'Long-Enough-Phrase-77');
    assert.equal(role.code, 2);
    assert.match(role.stderr, /admin, developer or viewer/);
    const weak = await add('x@studio.test', 'viewer', 'password');
    assert.notEqual(weak.code, 0);
    assert.match(weak.stderr, /^cyberdevstudio: .+\n$/);
    const twice = await add(users.viewer.email, 'viewer', 'Long-Enough-Phrase-77');
    assert.notEqual(twice.code, 0);
    const empty = await stack.command(['user', 'add', '--email', 'x@studio.test', '--role', 'viewer']);
    assert.equal(empty.code, 2);
    assert.match(empty.stderr, /stdin/);
  });

  test('migrate and ledger verify work beside the running studio', async () => {
    const migrate = await stack.command(['migrate']);
    assert.equal(migrate.code, 0, migrate.stderr);
    assert.match(migrate.stdout, /up to date/);
    const verify = await stack.command(['ledger', 'verify']);
    assert.equal(verify.code, 0, verify.stdout + verify.stderr);
  });

  test('ledger verify finds a row that was changed by hand, and names the rule', async () => {
    await stack.sql("INSERT INTO budget_windows (policy, starts_at, ends_at, used) VALUES ('00000000-0000-7000-8000-000000000000', '2026-01-01', '2026-02-01', 5)");
    const broken = await stack.command(['ledger', 'verify']);
    assert.equal(broken.code, 1);
    assert.match(broken.stdout, /BROKEN +2 What a budget window has used .* 1 times \(window_used\), e\.g\. 00000000-.*used 5, settled 0/);
    const json = JSON.parse((await stack.command(['ledger', 'verify', '--json'])).stdout);
    assert.equal(json.ok, false);
    assert.equal(json.checks.find((c) => c.name === 'window_used').broken, 1);
    assert.deepEqual([...new Set(json.checks.map((c) => c.number))], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    await stack.sql("DELETE FROM budget_windows WHERE policy = '00000000-0000-7000-8000-000000000000'");
    assert.equal((await stack.command(['ledger', 'verify'])).code, 0);
  });

  test('a folder with other things is refused as data folder and left as it is', async () => {
    const folder = tempFolder();
    writeFileSync(join(folder, 'thesis.txt'), 'words');
    const before = statSync(folder).mode;
    const got = await cli(['up', `--studio.home=${folder}`]);
    const after = statSync(folder).mode;
    rmSync(folder, { recursive: true });
    assert.equal(got.code, 1);
    assert.match(got.stderr, /^cyberdevstudio: The folder \S+ holds other things \(thesis\.txt\).*\n$/);
    assert.equal(after, before);
  });

  test('doctor finds nothing missing here, and names what is missing elsewhere', async () => {
    const good = await stack.command(['doctor', '--json']);
    const findings = JSON.parse(good.stdout).findings;
    const missing = findings.filter((f) => f.verdict === 'missing');
    assert.deepEqual(missing, []);
    assert.equal(good.code, 0);
    for (const name of ['programs', 'data folder', 'disk', 'postgresql', 'database', 'ports', 'libllama', 'model', 'page', 'engine run', 'run python',
      ...['postgres', 'auth', 'sandboxd', 'egress', 'llmserver', 'api', 'preview', 'studio-ui'].map((part) => `part ${part}`)])
      assert.ok(findings.some((f) => f.name === name), name);
    for (const language of ['python', 'node', 'c', 'sh'])
      assert.match(findings.find((f) => f.name === `run ${language}`).text, /, runs in the sandbox$/, 'the sandbox was asked');
    const bad = await cli(['doctor', ...stack.flags, '--llm.lib_dir=/nonexistent', '--llm.model=/nonexistent.gguf']);
    assert.equal(bad.code, 1);
    assert.match(bad.stdout, /missing +libllama +no libllama in \/nonexistent\n +-> \S/);
    assert.match(bad.stdout, /missing +model +\/nonexistent.gguf/);
  });

  test('doctor changes nothing: it makes no user', { skip: !isRoot && 'needs root' }, async () => {
    const before = readFileSync('/etc/passwd', 'utf8');
    const got = await cli(['doctor', '--json', ...stack.flags, '--studio.run_user=cds-never-made']);
    assert.equal(readFileSync('/etc/passwd', 'utf8'), before);
    assert.equal(JSON.parse(got.stdout).findings.find((f) => f.name === 'service user').text, 'cds-never-made is made by the next start');
  });

  test('every line of the log is one JSON object', () => {
    const text = readFileSync(join(stack.home, 'logs/studio.jsonl'), 'utf8');
    const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n').filter(Boolean); // the last one may still be coming
    assert.ok(lines.length > 10);
    for (const line of lines) {
      const object = JSON.parse(line);
      for (const field of ['ts', 'level', 'proc', 'msg']) assert.equal(typeof object[field], 'string', line);
    }
    assert.ok(!lines.some((line) => line.includes(stack.setupLink.split('#token=')[1])), 'the link is not in the log');
  });

  test('down ends everything within 3 s, then status says that nothing runs', async () => {
    const pids = await allPids(stack);
    assert.ok(pids.length >= 7);
    const begin = performance.now();
    const got = await stack.command(['down']);
    assert.equal(got.code, 0, got.stderr);
    timely(performance.now() - begin, STOP_LIMIT_MS);
    assert.deepEqual(pids.filter(alive), []);
    assert.deepEqual(processesOn(stack.home), []);
    assert.equal(existsSync(join(stack.home, 'run/supervisor.sock')), false);
    const status = await stack.command(['status']);
    assert.equal(status.code, 3);
    assert.match(status.stderr, /No studio runs on .* Start it with "cyberdevstudio up"/);
    assert.equal((await stack.command(['down'])).code, 3);
  });

  test('commands that need the database start it for a moment when the studio is down', async () => {
    const verify = await stack.command(['ledger', 'verify']);
    assert.equal(verify.code, 0, verify.stdout + verify.stderr);
    const added = await stack.command(['user', 'add', '--email', 'later@studio.test', '--role', 'viewer'], { input: 'Silver-Kettle-29-Wind\n' });
    assert.equal(added.code, 0, added.stderr);
    assert.deepEqual(processesOn(stack.home), []);
  });

  test('started again it shows the login page within 3 s', async () => {
    const begin = performance.now();
    const again = await startStack({ home: stack.home, setup: false });
    const page = await fetch(`${again.url}/login`);
    const ms = performance.now() - begin;
    await again.stop();
    assert.equal(page.status, 200);
    assert.match(await page.text(), /<html/);
    timely(ms, 3000);
  });

  test('started again it has its users, no new link, and Ctrl+C leaves no process within 3 s', async () => {
    const again = await startStack({ home: stack.home, setup: false });
    assert.equal(again.setupLink, null);
    const login = await fetch(`${again.authUrl}/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ email: 'later@studio.test', password: 'Silver-Kettle-29-Wind' }),
    });
    assert.equal(login.status, 200);
    const pids = await allPids(again);
    const { ms, code } = await again.stop('SIGINT');
    assert.equal(code, 0);
    timely(ms, STOP_LIMIT_MS);
    assert.deepEqual(pids.filter(alive), []);
    assert.deepEqual(processesOn(stack.home), []);
  });

  test('killed with SIGKILL it takes every process with it, and the next up works', async () => {
    const again = await startStack({ home: stack.home, setup: false });
    const pids = await allPids(again);
    await again.stop('SIGKILL');
    await waitFor('all processes are gone', () => pids.filter(alive).length === 0 && processesOn(stack.home).length === 0, 5000);
    const next = await startStack({ home: stack.home, setup: false });
    assert.equal((await next.status()).state, 'running');
    await next.stop();
  });
});

describe('what is refused before anything starts', () => {
  let folder;
  before(() => {
    folder = tempFolder();
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('a taken port is named with its option and the remedy', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const taken = server.address().port;
    const [a, b, c, d] = await freePorts(4);
    const home = join(folder, 'ports');
    const got = await cli(['up', `--studio.home=${home}`, `--ui.port=${a}`, `--api.port=${taken}`, `--auth.port=${b}`, `--llm.port=${c}`, `--preview.port=${d}`]);
    server.close();
    assert.equal(got.code, 1);
    assert.match(got.stderr, new RegExp(`^cyberdevstudio: Port ${taken} \\(api\\.port, .*\\) on 127\\.0\\.0\\.1 is taken .*--api\\.port=PORT\\.\\n$`));
    assert.equal(existsSync(join(home, 'pg')), false);
  });

  test('one port for two parts is refused', async () => {
    const got = await cli(['up', `--studio.home=${join(folder, 'twice')}`, '--api.port=7001', '--auth.port=7001']);
    assert.equal(got.code, 2);
    assert.match(got.stderr, /both port 7001/);
  });

  test('a folder for PostgreSQL without its programs is named', async () => {
    const [a, b, c, d, e] = await freePorts(5);
    const got = await cli(['up', `--studio.home=${join(folder, 'nopg')}`, `--ui.port=${a}`, `--api.port=${b}`, `--auth.port=${c}`, `--llm.port=${d}`, `--preview.port=${e}`,
      '--database.bin_dir=/nonexistent']);
    assert.equal(got.code === 1 || got.code === 2, true, `exit ${got.code}`);
    assert.match(got.stderr, /^cyberdevstudio: .*\/nonexistent.*\n$/);
  });

  test('Ctrl+C in the middle of the first start leaves no process', async () => {
    const home = join(folder, 'early');
    const [a, b, c, d, e] = await freePorts(5);
    const child = spawn(program, ['up', `--studio.home=${home}`, `--ui.port=${a}`, `--api.port=${b}`, `--auth.port=${c}`, `--llm.port=${d}`, `--preview.port=${e}`], { stdio: 'ignore' });
    await waitFor('the cluster is being made', () => existsSync(join(home, 'pg')), 20_000, 5);
    await sleep(50);
    child.kill('SIGINT');
    const [code] = await once(child, 'exit');
    assert.equal(code, 0);
    assert.deepEqual(processesOn(home), []);
  });
});

describe('commands on a data folder that no studio was started on', () => {
  let folder;
  before(() => {
    folder = tempFolder();
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  const add = (home, ...more) => ['user', 'add', '--email', 'first@studio.test', '--role', 'admin', `--studio.home=${home}`, ...more];
  const password = { input: 'Silver-Kettle-29-Wind\n' };

  /** Starts a command that is going to wait; resolves with what it said when it has ended. */
  function waiting(args) {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const said = { text: '', child };
    child.stdin.end('Silver-Kettle-29-Wind\n');
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said.text += text));
    after(() => child.kill('SIGKILL'));
    said.end = once(child, 'close').then(([code, signal]) => ({ code, signal }));
    return said;
  }

  test('user add makes the database with its schema, and the user can sign in', async () => {
    const home = join(folder, 'fresh');
    const added = await cli(add(home), password);
    assert.equal(added.code, 0, added.stderr);
    assert.match(added.stdout, /^Added first@studio\.test as admin/);
    assert.deepEqual(processesOn(home), []);
    const stack = await startStack({ home, setup: false, llm: false });
    try {
      assert.equal(stack.setupLink, null, 'there is an admin');
      const login = await fetch(`${stack.authUrl}/auth/login`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ email: 'first@studio.test', password: 'Silver-Kettle-29-Wind' }),
      });
      assert.equal(login.status, 200);
    } finally {
      await stack.stop();
    }
  });

  test('ledger verify makes no database, it says that there is none', async () => {
    const home = join(folder, 'none');
    const got = await cli(['ledger', 'verify', `--studio.home=${home}`]);
    assert.equal(got.code, 1);
    assert.match(got.stderr, /^cyberdevstudio: There is no database in .*none yet\. Start the studio once .*\n$/);
    assert.equal(existsSync(home), false);
  });

  test('a password line longer than 256 bytes is refused, one of 256 goes to the rules of cds-auth', async () => {
    const home = join(folder, 'fresh');
    const over = await cli(add(home), { input: `${'Aa1-'.repeat(64)}x\n` });
    assert.equal(over.code, 2);
    assert.match(over.stderr, /one line of at most 256 bytes/);
    const edge = await cli(add(home), { input: `${'Aa1-'.repeat(64)}\n` });
    assert.equal(edge.code, 1);
    assert.match(edge.stderr, /72 bytes/);
  });

  test('a wait for the making of the database is told, and Ctrl+C ends it', async () => {
    const bin = join(folder, 'slow-bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'postgres'), '#!/bin/sh\necho "postgres (PostgreSQL) 15.1"\n', { mode: 0o755 });
    writeFileSync(join(bin, 'initdb'), '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
    const home = join(folder, 'slow');
    const said = waiting(add(home, `--database.bin_dir=${bin}`));
    await waitFor('progress', () => /^ {2}\.\.\. +the database is being made, \d+ s so far$/m.test(said.text));
    const begin = performance.now();
    said.child.kill('SIGINT');
    assert.deepEqual(await said.end, { code: 1, signal: null });
    timely(performance.now() - begin, STOP_LIMIT_MS);
    assert.match(said.text, /cyberdevstudio: Interrupted; the database is stopped again\.\n$/);
    assert.deepEqual(processesOn(home), []);
  });

  test('a wait for a database that does not answer is told, and Ctrl+C ends it', async () => {
    const home = join(folder, 'held');
    mkdirSync(home);
    writeFileSync(join(home, 'supervisor.lock'), '');
    const holder = spawn('flock', [join(home, 'supervisor.lock'), 'sleep', '600'], { stdio: 'ignore', detached: true });
    try {
      await waitFor('it is held', () => spawnSync('flock', ['-n', join(home, 'supervisor.lock'), 'true']).status === 1);
      const said = waiting(add(home));
      await waitFor('progress', () => /waiting for the database, \d+ s so far/.test(said.text));
      said.child.kill('SIGINT');
      assert.deepEqual(await said.end, { code: null, signal: 'SIGINT' });
    } finally {
      process.kill(-holder.pid, 'SIGKILL');
    }
  });
});

describe('the command line', () => {
  test('help lists the commands and the exit codes', async () => {
    const got = await cli(['--help']);
    assert.equal(got.code, 0);
    for (const word of ['up', 'down', 'status', 'doctor', 'config check', 'user add', 'migrate', 'ledger verify', 'Exit codes'])
      assert.ok(got.stdout.includes(word), word);
  });

  test('wrong use ends with exit code 2 and one sentence', async () => {
    assert.equal((await cli([])).code, 2);
    for (const args of [['fly'], ['up', 'now'], ['status', '--xml'], ['user', 'add', '--email'], ['user', 'add', '--email', 'a@b.c']]) {
      const got = await cli(args, { input: 'x\n' });
      assert.equal(got.code, 2, args.join(' '));
      assert.match(got.stderr, /^cyberdevstudio: .+\n$/, args.join(' '));
    }
  });

  test('config check prints each value with the place it came from', async () => {
    const got = await cli(['config', 'check', '--ui.port=7777'], { env: { CDS_API_PORT: '7778' } });
    assert.equal(got.code, 0);
    assert.match(got.stdout, /ui\.port\s.*7777.*flag/);
    assert.match(got.stdout, /api\.port\s.*7778.*CDS_API_PORT/);
    assert.match(got.stdout, /auth\.port\s.*6971.*default/);
  });

  test('a value out of its range is refused with the range', async () => {
    const got = await cli(['config', 'check', '--ui.port=70000']);
    assert.equal(got.code, 2);
    assert.match(got.stderr, /ui\.port.*65535/);
  });
});
