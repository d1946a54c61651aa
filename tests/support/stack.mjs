// tests/support/stack.mjs: a whole studio for live tests: started in a temporary data folder, on free ports, ended and removed afterwards.
//
//   const stack = await startStack();            // or { llm: false, options: { 'http.drain_ms': 200 }, env: {...}, setup: false }
//   await stack.rpc('fs.list', { project: stack.project, path: '' }, 'viewer');
//   await stack.stop();
//
// CDS_BUILD names the build folder (default: build). With CDS_STACK=<file> a test that asks for nothing special uses the studio that
// `node tests/support/stack.mjs --serve <file>` keeps running, and its stop() does nothing.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, openSync, fstatSync, readSync, closeSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { firstFinding } from './findings.mjs';
import { waitFor } from './patience.mjs';
import { givePrepared } from './prepared.mjs';

export { awayFromTheTurn, timely, untilCaught, waitFor } from './patience.mjs';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const build = resolve(root, process.env.CDS_BUILD ?? 'build');
export const program = join(build, 'bin/cyberdevstudio');
export const users = {
  admin: { email: 'admin@studio.test', password: 'Quiet-Harbour-41-Lamps', name: 'Ada Admin' },
  developer: { email: 'developer@studio.test', password: 'Green-Window-82-Rivers', name: 'Dev Developer' },
  viewer: { email: 'viewer@studio.test', password: 'Paper-Mountain-63-Bells', name: 'Vera Viewer' },
};
/** Limits of a run that no busy machine reaches: a microVM that is emulated is the slowest of all. */
export const PATIENT = { wall_ms: 240_000, cpu_ms: 120_000 };
const START_MS = 120_000;
const STOP_MS = 120_000;

/** Whether this process can listen there; the server that does, or null. */
async function listening(address) {
  const server = createServer();
  server.listen(address);
  return Promise.race([once(server, 'listening').then(() => server), once(server, 'error').then(() => null)]).catch(() => null);
}

/** Ports that nobody else takes before the studio does: the system gives connections none below 32768, and of the tests that run side by side only
 * one can listen at a name, which it keeps until its process ends. */
export async function freePorts(count) {
  const ports = [];
  while (ports.length < count) {
    const port = 10_100 + Math.floor(Math.random() * 20_000); // fetch and browsers refuse 10080
    const name = await listening({ path: `\0cyberdevstudio-test-port-${port}` });
    const server = name && (await listening({ port, host: '127.0.0.1' }));
    if (server) {
      await new Promise((done) => server.close(done));
      name.unref();
      ports.push(port);
    } else {
      name?.close();
    }
  }
  return ports;
}

/** The environment of a studio under test: nothing of the caller's configuration. */
function cleanEnv(extra) {
  const env = {};
  for (const [name, value] of Object.entries(process.env))
    if (['PATH', 'HOME', 'LANG', 'TZ', 'USER'].includes(name)) env[name] = value;
  return { ...env, ...extra };
}

/** Runs the studio's command line; never throws for an exit code. */
export const cli = (args, how) => runProgram(program, args, how);

async function runProgram(file, args, { input = '', env = {}, timeoutMs = 300_000 } = {}) {
  const child = spawn(file, args, { env: cleanEnv(env), stdio: ['pipe', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const [code, signal] = await once(child, 'close');
  clearTimeout(timer);
  return { code, signal, stdout, stderr };
}

async function postJson(url, body, token) {
  const headers = { 'content-type': 'application/json' };
  if (token) headers.authorization = `Bearer ${token}`;
  const reply = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  const text = await reply.text();
  let json = null;
  try {
    json = JSON.parse(text);
  } catch {
    /* the caller sees status and text */
  }
  return { status: reply.status, json, text };
}

/** Is there a living process with this pid (a zombie is none)? */
export function alive(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

// A test runner that gives up sends SIGTERM: leave through the exit handlers, which end the studios and remove their folders.
process.once('SIGTERM', () => process.exit(143));

/** What both kinds of stack, own and shared, can do. */
function withMethods(stack) {
  let nextId = 1;
  return Object.assign(stack, {
    /** JSON-RPC over HTTP as one of the users, or null for nobody. Returns the result; a JSON-RPC error is thrown with code and data. */
    async rpc(method, params = {}, as = 'developer') {
      const reply = await stack.rpcRaw({ jsonrpc: '2.0', id: nextId++, method, params }, as);
      if (reply.json?.error) {
        const { code, message, data } = reply.json.error;
        throw Object.assign(new Error(`${method}: ${message} (${code})`), { code, data, status: reply.status });
      }
      if (!reply.json || !('result' in reply.json)) throw new Error(`${method}: HTTP ${reply.status} ${reply.text.slice(0, 300)}`);
      return reply.json.result;
    },
    /** The same with the whole answer: { status, json, text }. */
    rpcRaw(message, as = 'developer') {
      return postJson(`${stack.apiUrl}/rpc`, message, as ? stack.tokens[as] : undefined);
    },
    /** Runs a command against this studio, e.g. command(['ledger', 'verify']). */
    command(args, extra = {}) {
      return cli([...args, ...stack.flags], { env: stack.env, ...extra });
    },
    /** Runs SQL on the private cluster; returns the rows as text, columns divided by |. */
    async sql(text) {
      const args = ['-X', '-At', '-v', 'ON_ERROR_STOP=1', '-h', join(stack.home, 'run/pg'), '-U', 'studio', '-d', 'studio', '-c', text];
      const got = await runProgram('psql', args, {});
      if (got.code !== 0) throw new Error(`sql: ${got.stderr}`);
      return got.stdout.trimEnd();
    },
    async status() {
      const NOT_RUNNING = 3;
      for (let tries = 3; ; tries--) {
        const got = await stack.command(['status', '--json']);
        if (got.code === 0) return JSON.parse(got.stdout);
        // The command asks for five seconds: a supervisor that gets no processor so long is asked again.
        if (got.code === NOT_RUNNING || tries === 1) throw new Error(`status: exit ${got.code} ${got.stderr}`);
      }
    },
    /** { supervisor, postgres, auth, sandboxd, llmserver, api, preview, 'studio-ui', llmworker }: pids, null while a part is down. */
    async pids() {
      const status = await stack.status();
      const pids = { supervisor: status.pid, llmworker: null };
      for (const part of status.parts) {
        pids[part.name] = part.pid;
        if (part.name === 'llmserver') pids.llmworker = part.children.find((c) => c.name.startsWith('cds-llmworker'))?.pid ?? null;
      }
      return pids;
    },
    /** Waits until a part is ready under another pid than before. */
    waitPart(name, oldPid, timeoutMs = 40_000) {
      return waitFor(`${name} is back`, async () => {
        const part = (await stack.status()).parts.find((p) => p.name === name);
        return part.state === 'ready' && part.pid !== oldPid ? part : null;
      }, timeoutMs, 50);
    },
    /** Waits until the model answers; a studio is ready before its model is. */
    waitModel(timeoutMs = 90_000) {
      return waitFor('the model is loaded', async () => {
        const { models } = await stack.rpc('llm.list_models', {}, 'viewer').catch(() => ({ models: [] }));
        return models.find((m) => m.state === 'loaded') ?? null;
      }, timeoutMs, 50);
    },
    /** The last lines of the log, parsed; what is being written just now is none yet. */
    logTail(lines = 50) {
      const fd = openSync(join(stack.home, 'logs/studio.jsonl'), 'r');
      try {
        const size = fstatSync(fd).size;
        const buffer = Buffer.alloc(Math.min(size, 256 * 1024));
        readSync(fd, buffer, 0, buffer.length, size - buffer.length);
        const all = buffer.toString('utf8').split('\n').slice(0, -1);
        return (size > buffer.length ? all.slice(1) : all).slice(-lines).map((line) => JSON.parse(line));
      } finally {
        closeSync(fd);
      }
    },
  });
}

/** Registers the admin through the one-time link, adds the others through the command line and signs everybody in. */
async function makePeople(stack) {
  const { admin, developer, viewer } = users;
  const made = await postJson(`${stack.authUrl}/auth/setup`, { token: stack.setupToken, email: admin.email, password: admin.password, display_name: admin.name });
  if (made.status !== 201) throw new Error(`first admin: HTTP ${made.status} ${made.text}`);
  stack.tokens.admin = made.json.access_token;
  await Promise.all(Object.entries({ developer, viewer }).map(async ([role, user]) => {
    const added = await stack.command(['user', 'add', '--email', user.email, '--role', role, '--name', user.name], { input: `${user.password}\n` });
    if (added.code !== 0) throw new Error(`user add ${role}: exit ${added.code} ${added.stderr}`);
    const login = await postJson(`${stack.authUrl}/auth/login`, { email: user.email, password: user.password });
    if (login.status !== 200) throw new Error(`login ${role}: HTTP ${login.status} ${login.text}`);
    stack.tokens[role] = login.json.access_token;
  }));
  const { projects } = await stack.rpc('project.list', {}, 'developer');
  stack.project = projects[0].id;
}

function sharedStack() {
  const file = process.env.CDS_STACK;
  if (!file || !existsSync(file)) return null;
  return withMethods({ ...JSON.parse(readFileSync(file, 'utf8')), shared: true, stop: async () => null });
}

/** Starts the process; resolves when it printed its address. */
async function launch(stack, child, timeoutMs) {
  child.stdout.setEncoding('utf8').on('data', (text) => (stack.output += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (stack.output += text));
  let ended = null;
  child.once('close', (code, signal) => (ended = { code, signal }));
  const found = await waitFor('the studio is ready', () => {
    if (ended) throw Object.assign(new Error(`up ended (exit ${ended.code}, signal ${ended.signal}):\n${stack.output}`), { exitCode: ended.code });
    return /ready after .*: (http\S+)\n[^]*Stop: Ctrl\+C/.exec(stack.output);
  }, timeoutMs);
  stack.url = found[1];
  stack.setupLink = /(https?:\S+\/setup#token=\S+)/.exec(stack.output)?.[1] ?? null;
  stack.setupToken = stack.setupLink?.split('#token=')[1] ?? null;
}

/**
 * @param llm      false: no model is loaded
 * @param setup    false: the first-admin link stays unused, nobody is signed in
 * @param options  { 'section.name': value } for the command line
 * @param fresh    true: never the shared one
 * @param first    true: a first start, with a database made for it; else a new data folder begins with the prepared one. So is every start with
 *                 setup: false, and one with a database of its own choice
 * @param home     an existing data folder to start on again; it is not removed
 */
export async function startStack({ llm = true, setup = true, env = {}, options = {}, fresh = false, first = false, home = null, timeoutMs = START_MS } = {}) {
  const special = fresh || !setup || home || Object.keys(env).length > 0 || Object.keys(options).length > 0;
  const shared = special ? null : sharedStack();
  if (shared) return shared;
  const folder = home ? null : mkdtempSync(join(tmpdir(), 'cds-stack-'));
  if (folder) chmodSync(folder, 0o755); // the services and the database have users of their own
  const [ui, api, auth, llmPort, preview] = await freePorts(5);
  const all = {
    'studio.home': home ?? join(folder, 'home'), 'ui.port': ui, 'api.port': api, 'auth.port': auth, 'llm.port': llmPort, 'preview.port': preview,
    ...(llm ? {} : { 'llm.model': 'none' }), ...options,
  };
  // Defaults of the tests stand in the environment, so that both env and options of a test win over them.
  const testEnv = { CDS_AUTH_ACCESS_S: '3600', CDS_AUTH_BCRYPT_COST: '10', ...env };
  const host = 'http://127.0.0.1';
  const stack = withMethods({
    home: all['studio.home'], url: null, apiUrl: `${host}:${api}`, authUrl: `${host}:${auth}`, llmUrl: `${host}:${llmPort}`,
    ports: { ui, api, auth, llm: llmPort, preview }, flags: Object.entries(all).map(([k, v]) => `--${k}=${v}`), env: testEnv, tokens: {}, project: null,
    setupLink: null, setupToken: null, output: '', shared: false,
  });
  const ownDatabase = [...Object.keys(env), ...Object.keys(options)].some((name) => /database[._]/i.test(name));
  if (setup && !first && !ownDatabase && !existsSync(join(stack.home, 'supervisor.lock')))
    await givePrepared(build, stack.home, async (where) => (await startStack({ llm: false, setup: false, home: where })).stop());
  const child = spawn(program, ['up', ...stack.flags], { env: cleanEnv(testEnv), stdio: ['ignore', 'pipe', 'pipe'] });
  Object.defineProperty(stack, 'child', { value: child, enumerable: false });
  stack.pid = child.pid;
  const removeAll = () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL'); // its children die with it
    if (folder) rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  };
  process.once('exit', removeAll);
  /** Ends the studio; returns { ms, code, signal } of the supervisor. Fails when a sanitizer found something in one of its programs. */
  stack.stop = async (signal = 'SIGINT') => {
    const begin = performance.now();
    const running = child.exitCode === null && child.signalCode === null;
    const ended = running ? once(child, 'exit') : null;
    if (running) child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(timer);
    const ms = performance.now() - begin;
    const finding = firstFinding(stack.home);
    process.removeListener('exit', removeAll);
    removeAll();
    if (finding) throw new Error(`a sanitizer found something in a program of this studio:\n${finding}`);
    return { ms, code: child.exitCode, signal: child.signalCode };
  };
  try {
    await launch(stack, child, timeoutMs);
    if (setup && stack.setupLink) await makePeople(stack);
  } catch (error) {
    if (error.cause) error.message += `: ${error.cause.code ?? ''} ${error.cause.message}`;
    if (existsSync(join(stack.home, 'logs/studio.jsonl'))) error.message += `\nlog:\n${stack.logTail(20).map((l) => JSON.stringify(l)).join('\n')}`;
    await stack.stop('SIGKILL');
    throw error;
  }
  return stack;
}

/** `--serve FILE`: keeps one studio running for several test files, until SIGTERM or SIGINT. */
async function serve(file) {
  const stack = await startStack({ fresh: true });
  const { home, url, apiUrl, authUrl, llmUrl, ports, flags, env, tokens, project, pid } = stack;
  writeFileSync(`${file}.tmp`, JSON.stringify({ home, url, apiUrl, authUrl, llmUrl, ports, flags, env, tokens, project, pid, setupLink: null, output: '' }), { mode: 0o600 });
  renameSync(`${file}.tmp`, file);
  console.log(`studio for tests at ${url}`);
  process.removeAllListeners('SIGTERM');
  const stop = new Promise((done) => ['SIGTERM', 'SIGINT'].forEach((s) => process.once(s, done)));
  const keepAlive = setInterval(() => {}, 1 << 30);
  await Promise.race([stop, once(stack.child, 'exit')]);
  clearInterval(keepAlive);
  rmSync(file, { force: true });
  await stack.stop();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] !== '--serve' || !process.argv[3]) {
    console.error('use: node tests/support/stack.mjs --serve FILE');
    process.exitCode = 2;
  } else {
    await serve(resolve(process.argv[3]));
  }
}
