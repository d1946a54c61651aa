// tests/sandbox/network.test.mjs: what a project's list of hosts lets its programs reach on a live studio, and what it does not.
//
// The hosts are servers of this file on loopback, which the option egress.allow_addresses names; `localhost` is the only name that leads there.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startStack, waitFor } from '../support/stack.mjs';

const SECRET = 'do-not-log-this-path';

/** A server on a free port of loopback. */
async function serve(server, host = '127.0.0.1') {
  server.listen(0, host);
  await once(server, 'listening');
  return server.address().port;
}

describe('the network of a project', { timeout: 800_000 }, () => {
  let stack;
  let project;
  const seen = [];
  const sockets = new Set();
  const web = createHttpServer((req, res) => {
    seen.push({ method: req.method, url: req.url, headers: req.headers });
    let size = 0;
    req.on('data', (piece) => (size += piece.length));
    req.on('end', () => res.end(`hello ${req.method} ${req.url} ${size}`));
  });
  // For tunnels: says hello, then gives back what it gets; "drip" sends for ever.
  const echo = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    socket.on('data', (data) => {
      if (data.toString().startsWith('drip')) socket.timer = setInterval(() => socket.write('x'.repeat(1000)), 20);
      else socket.write(data);
    });
    socket.on('close', () => clearInterval(socket.timer));
  });
  const other = createServer((socket) => socket.end('not for you'));
  let port;
  let tunnel;
  let closed;

  before(async () => {
    port = await serve(web);
    tunnel = await serve(echo);
    closed = await serve(other);
    stack = await startStack({
      llm: false,
      options: { 'egress.hosts': `*:${port} *:${tunnel} *`, 'egress.allow_addresses': '127.0.0.1/32', 'egress.per_job': 4 },
    });
    project = stack.project;
    await allow([`localhost:${port}`, `localhost:${tunnel}`]);
  });
  after(async () => {
    await stack?.stop();
    for (const socket of sockets) socket.destroy();
    [web, echo, other].forEach((server) => server.close());
  });

  // What is local is not asked of the proxy, as usual; here the only host there is has a local name.
  const unbypassed = [{ name: 'no_proxy', value: '' }, { name: 'NO_PROXY', value: '' }];
  const allow = (rules, of = project) => stack.rpc('project.network.set', { project: of, mode: 'allow', rules });
  const python = async (code, more = {}) => {
    const result = await stack.rpc('run.exec', { project, language: 'python', code, limits: { wall_ms: 20_000 }, env: unbypassed, ...more });
    return { ...result, text: result.stdout + result.stderr };
  };
  /** What a program says to the proxy by hand, and the first bytes that come back. */
  const ask = async (head, more) =>
    (await python(`import socket
s = socket.create_connection(('127.0.0.1', 3128), 5); s.settimeout(8)
s.sendall(${JSON.stringify(head)}.encode('latin-1'))
got = b''
try:
  while len(got) < 4000:
    piece = s.recv(4000)
    if not piece: break
    got += piece
    if b'established' in got: break
except OSError as e: got += str(e).encode()
print(got.decode('latin-1'))`, more)).text;
  const connect = (target) => ask(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  const lines = () => stack.logTail(400).filter((line) => line.proc === 'cds-egress' && line.msg === 'egress');

  test('a program reaches an allowed host by http, and its line is in the log without what it asked for', async () => {
    const got = await python(`import urllib.request
print(urllib.request.urlopen('http://localhost:${port}/a/${SECRET}?q=1').read().decode())
print(urllib.request.urlopen(urllib.request.Request('http://localhost:${port}/post', data=b'x' * 100000)).read().decode())`);
    assert.match(got.text, new RegExp(`hello GET /a/${SECRET}\\?q=1 0\nhello POST /post 100000\n`));
    assert.equal(got.network, 'allow-list');
    assert.equal(seen.at(-1).headers.host, `localhost:${port}`);
    assert.ok(!Object.keys(seen.at(-1).headers).some((name) => name.startsWith('proxy')), JSON.stringify(seen.at(-1).headers));
    const line = await waitFor('a line in the log', () => lines().find((l) => l.port === port && l.verdict === 'allowed'));
    assert.deepEqual([line.project, line.host, line.address], [project, 'localhost', '127.0.0.1']);
    assert.ok(line.up_bytes > 0 && line.down_bytes > 0 && line.ms >= 0 && /^[0-9a-f-]{36}$/.test(line.request_id), JSON.stringify(line));
    assert.ok(!readFileSync(join(stack.home, 'logs/studio.jsonl'), 'utf8').includes(SECRET));
  });

  test('curl goes through a tunnel, in a run and in a terminal', async () => {
    const run = await stack.rpc('run.exec', { project, language: 'sh', code: `curl -sp --noproxy '' http://localhost:${port}/tunnelled; echo; env | sort | grep -i proxy` });
    assert.match(run.stdout, /hello GET \/tunnelled 0\n/);
    assert.match(run.stdout, /NODE_USE_ENV_PROXY=1\n(.*\n)*https_proxy=http:\/\/127\.0\.0\.1:3128\nno_proxy=localhost,127\.0\.0\.1/);
    const { term_id } = await stack.rpc('term.open', { project, rows: 24, cols: 200 });
    await stack.rpc('term.input', { project, term_id, data: `curl -sp http://localhost:${port}/from-terminal --noproxy ''; echo\n` });
    const shown = await waitFor('the answer in the terminal', async () => {
      const { data } = await stack.rpc('term.attach', { project, term_id, after_seq: 0, wait_ms: 500 });
      return data.includes('hello GET /from-terminal');
    });
    assert.ok(shown);
    await stack.rpc('term.kill', { project, term_id });
  });

  test('all else is refused, with a rule and what to do', async () => {
    await allow([`localhost:${port}`, `localhost:${tunnel}`, 'localhost', 'ip6-localhost', '10.1.2.3', '169.254.169.254', '*.example.org']);
    assert.match(await connect('pypi.org:443'), /^HTTP\/1\.1 403 egress\.host: not on the network list[^]*pypi\.org:443 is not on the network list of this project/);
    assert.match(await connect('example.org:443'), /^HTTP\/1\.1 403 egress\.host/);
    assert.match(await connect(`localhost:${closed}`), /^HTTP\/1\.1 403 egress\.port/);
    assert.match(await connect('10.1.2.3:80'), /^HTTP\/1\.1 403 egress\.address: [^]*10\.1\.2\.3 leads to 10\.1\.2\.3/);
    assert.match(await connect('169.254.169.254:80'), /^HTTP\/1\.1 403 egress\.address/);
    assert.match(await connect('[::ffff:10.1.2.3]:80'), /^HTTP\/1\.1 403 egress\.host/);
    assert.match(await connect('0x7f.1:80'), /^HTTP\/1\.1 403 egress\.host/);
    assert.match(await connect(`2130706433:${port}`), /^HTTP\/1\.1 403 egress\.host/);
    assert.match(await connect('ip6-localhost:80'), /^HTTP\/1\.1 (403 egress\.address|502)/); // a name that leads to ::1, where there is one
    assert.match(await connect('localhost:80'), /^HTTP\/1\.1 50[24]/); // named, allowed, and nobody listens
    assert.match(await ask(`GET http://localhost:${port}/x HTTP/1.1\r\nHost: pypi.org\r\n\r\n`), /^HTTP\/1\.1 400 egress\.request/);
    assert.match(await ask(`GET / HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`), /^HTTP\/1\.1 400 egress\.request: [^]*This is a proxy/);
    await waitFor('a refusal in the log', () => lines().find((l) => l.host === 'pypi.org' && l.verdict === 'refused' && l.rule === 'egress.host'));
    const metrics = await (await fetch(`${stack.apiUrl}/metrics/sandboxd`)).text();
    assert.match(metrics, /cds_egress_connections_total\{verdict="refused"\} \d+/);
    await allow([`localhost:${port}`, `localhost:${tunnel}`]);
  });

  test('one connection carries one request, whatever follows it', async () => {
    const before = seen.length;
    const text = await ask(`GET http://localhost:${port}/one HTTP/1.1\r\nHost: localhost:${port}\r\n\r\nGET /two HTTP/1.1\r\nHost: evil\r\n\r\n`);
    assert.match(text, /hello GET \/one 0/);
    await sleep(200);
    assert.deepEqual(seen.slice(before).map((s) => s.url), ['/one']);
  });

  test('nothing but the door leads out', async () => {
    const got = await python(`import socket
def t(name, fn):
  try: print(name, 'BAD', fn())
  except OSError as e: print(name, e.errno)
t('raw', lambda: socket.create_connection(('127.0.0.1', ${tunnel}), 2))
t('tcp', lambda: socket.create_connection(('192.0.2.1', 80), 2))
t('udp', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53)))
t('dns', lambda: socket.getaddrinfo('example.org', 80))
t('v6', lambda: socket.create_connection(('2001:db8::1', 80), 2))`);
    assert.doesNotMatch(got.text, /BAD/);
    assert.match(got.text, /raw 111\ntcp 101\nudp 101\n/);
  });

  test('a job has as many connections as it may, and no more', async () => {
    const got = await python(`import socket
held = []
for i in range(6):
  s = socket.create_connection(('127.0.0.1', 3128), 5); s.settimeout(5)
  s.sendall(b'CONNECT localhost:${tunnel} HTTP/1.1\\r\\nHost: localhost:${tunnel}\\r\\n\\r\\n')
  print(s.recv(200).split(b'\\r\\n')[0].decode()); held.append(s)`);
    assert.equal((got.text.match(/200 Connection established/g) ?? []).length, 4);
    assert.equal((got.text.match(/503 egress\.connections/g) ?? []).length, 2);
  });

  test('without a policy nobody answers, and a change holds from the next run on', async () => {
    const knock = `import os, socket
try: socket.create_connection(('127.0.0.1', 3128), 2); print('BAD')
except OSError as e: print(e.errno, sorted(k for k in os.environ if 'proxy' in k.lower()))`;
    const mine = await stack.rpc('project.create', { name: 'Closed', template: 'empty' });
    const got = await stack.rpc('run.exec', { project: mine.id, language: 'python', code: knock });
    assert.equal(got.stdout, '111 []\n');
    assert.equal(got.network, 'none');
    await allow([`localhost:${port}`], mine.id);
    const fetchIt = `import urllib.request\nprint(urllib.request.urlopen('http://localhost:${port}/changed').read().decode())`;
    assert.match((await stack.rpc('run.exec', { project: mine.id, language: 'python', code: fetchIt, env: unbypassed })).stdout, /hello/);
    await stack.rpc('project.network.set', { project: mine.id, mode: 'off', rules: [`localhost:${port}`] });
    for (let i = 0; i < 3; i++) assert.equal((await stack.rpc('run.exec', { project: mine.id, language: 'python', code: knock })).stdout, '111 []\n');
    assert.deepEqual(await stack.rpc('project.network.get', { project: mine.id }), { mode: 'off', rules: [`localhost:${port}`], hosts: [`*:${port}`, `*:${tunnel}`, '*'] });
  });

  test('each job has a door of its own: what one project may, another may not', async () => {
    const mine = await stack.rpc('project.create', { name: 'Narrow', template: 'empty' });
    await allow(['pypi.org'], mine.id);
    const code = `import socket, time
s = socket.create_connection(('127.0.0.1', 3128), 5)
s.sendall(b'CONNECT localhost:${tunnel} HTTP/1.1\\r\\nHost: localhost:${tunnel}\\r\\n\\r\\n')
print(s.recv(200).split(b'\\r\\n')[0].decode()); time.sleep(1)`;
    const [wide, narrow] = await Promise.all([project, mine.id].map((id) => stack.rpc('run.exec', { project: id, language: 'python', code })));
    assert.match(wide.stdout, /200/);
    assert.match(narrow.stdout, /403 egress\.host/);
  });

  test('the connections of a job end with it', async () => {
    await python(`import os, socket, time
if os.fork() == 0: time.sleep(30)
s = socket.create_connection(('127.0.0.1', 3128), 5)
s.sendall(b'CONNECT localhost:${tunnel} HTTP/1.1\\r\\nHost: localhost:${tunnel}\\r\\n\\r\\n'); s.recv(100)
s.sendall(b'drip'); s.recv(1000); print('dripping')`);
    await waitFor('the server is told', () => sockets.size === 0);
  });

  test('cds-egress is killed in the middle of a transfer: the job is told, others live, and it is back', async () => {
    const { term_id } = await stack.rpc('term.open', { project, rows: 24, cols: 200 });
    const egress = (await stack.pids()).egress;
    assert.ok(egress > 0);
    const running = python(`import socket, time, urllib.request
s = socket.create_connection(('127.0.0.1', 3128), 5)
s.sendall(b'CONNECT localhost:${tunnel} HTTP/1.1\\r\\nHost: localhost:${tunnel}\\r\\n\\r\\n'); s.recv(100)
s.sendall(b'drip')
try:
  while s.recv(1000): pass
  print('ended')
except OSError as e: print('ended', e.errno)
for i in range(900):
  try:
    print(urllib.request.urlopen('http://localhost:${port}/again').read().decode()); break
  except OSError as e: last = e; time.sleep(0.1)
else: print(last)`, { limits: { wall_ms: 120_000 } });
    await waitFor('it is dripping', () => sockets.size === 1 && [...sockets][0].timer); // the program has its tunnel by then, and has asked for it
    process.kill(egress, 'SIGKILL');
    const got = await running;
    assert.match(got.text, /^ended.*\nhello GET \/again 0\n/);
    assert.equal(got.end, 'ok');
    await stack.waitPart('egress', egress);
    assert.equal((await stack.rpc('term.list', { project })).terminals.find((t) => t.term_id === term_id).end, 'running');
    await stack.rpc('term.kill', { project, term_id });
  });

  test('who may set it, and what may be named', async () => {
    const refused = async (params, as) => {
      const { json, status } = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method: 'project.network.set', params: { project, mode: 'allow', ...params } }, as);
      return [status, json.error?.data?.rule ?? json.error?.data?.errors?.[0]?.pointer ?? null];
    };
    assert.deepEqual(await refused({ rules: ['a.org'] }, 'viewer'), [403, 'role']);
    assert.equal((await refused({ rules: ['a.org'] }, 'admin'))[0], 404); // a project of somebody else
    assert.deepEqual(await refused({ rules: ['a.org', 'a.org:22'] }), [403, 'egress.hosts']);
    assert.deepEqual(await refused({ rules: ['*'] }), [400, '/params/rules/0']);
    assert.deepEqual(await refused({ rules: ['a.org', 'http://b.org'] }), [400, '/params/rules/1']);
    const forged = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method: 'run.exec', params: { project, language: 'sh', code: 'true', network: { rules: ['*'] } } });
    assert.equal(forged.status, 400);
    const { rules } = await stack.rpc('project.network.set', { project, mode: 'allow', rules: ['PyPI.org.', 'pypi.org', `LOCALHOST:${port}`] });
    assert.deepEqual(rules, ['pypi.org', `localhost:${port}`]);
  });

  test('the engines without a network say so', async () => {
    const result = await stack.rpc('run.exec', { project, engine: 'wasm', code: 'AGFzbQEAAAABBAFgAAADAgEABwoBBl9zdGFydAAACgQBAgAL', encoding: 'base64' }).catch((e) => e);
    if (result instanceof Error) assert.doesNotMatch(result.message, /network/);
    else assert.equal(result.network, 'none');
  });
});
