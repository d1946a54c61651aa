// tests/sandbox/preview.test.mjs: previews on a live studio: a program that listens in the sandbox, seen by its owner alone, at an origin of its own.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect as tcp } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';
import { alive, startStack, waitFor } from '../support/stack.mjs';

const rssOf = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
const MiB = 1024 * 1024;
// Long enough for a machine that is busy with other things to be in time, and waited for once each where being late is meant.
const WAIT_MS = 4000;
const TICKET_MS = 6000;

// What most tests look at: it tells what it was sent, and does on request what programs do.
const server = `
import hashlib, http.server, json, os, sys, threading, time
LOCK, COUNT, SEEN = threading.Lock(), [0], threading.Semaphore(0)
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *a): pass
    def say(self, status, body, headers=()):
        self.send_response(status)
        for k, v in headers: self.send_header(k, v)
        self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        p = self.path.split('?')[0]
        if p == '/sse':
            self.send_response(200); self.send_header('Content-Type', 'text/event-stream'); self.send_header('Connection', 'close'); self.end_headers()
            for i in range(4):
                self.wfile.write(b'data: %d\\n\\n' % i); self.wfile.flush()
                SEEN.acquire() # the next one is sent when this one was seen
            self.close_connection = True
        elif p == '/seen': SEEN.release(); self.say(200, b'')
        elif p == '/big':
            self.send_response(200); self.send_header('Content-Length', str(10 * 1024 * 1024)); self.end_headers()
            piece = bytes(range(256)) * 256
            for i in range(160): self.wfile.write(piece)
        elif p == '/slow': # until there is a file "go"; each one leaves a file that says it is there
            with LOCK: COUNT[0] += 1; open('slow-%s-%d' % (NAME, COUNT[0]), 'w').close()
            while not os.path.exists('go'): time.sleep(0.05)
            self.say(200, b'slow')
        elif p == '/half':
            self.send_response(200); self.send_header('Content-Length', '1000'); self.end_headers(); self.wfile.write(b'half'); self.wfile.flush(); os._exit(1)
        elif p == '/none': os._exit(1)
        elif p == '/cookies':
            self.say(200, b'', [('Set-Cookie', 'mine=1; Path=/'), ('Set-Cookie', 'wide=1; Domain=localhost'), ('Set-Cookie', 'cds_preview=stolen; Path=/'), ('Clear-Site-Data', '"cookies"')])
        elif p == '/away': self.say(302, b'', [('Location', 'http://localhost:%d/there?x=1' % PORT)])
        elif p == '/far': self.say(302, b'', [('Location', 'https://example.org/')])
        else: self.say(200, json.dumps({'name': NAME, 'path': self.path, 'headers': {k.lower(): v for k, v in self.headers.items()}}).encode(), [('Content-Type', 'application/json')])
    def do_POST(self):
        left, seen = int(self.headers['Content-Length']), hashlib.sha256()
        while left:
            piece = self.rfile.read(min(left, 65536)); left -= len(piece); seen.update(piece)
            if self.path == '/slowly': time.sleep(0.02)
        self.say(200, seen.hexdigest().encode())
    do_HEAD = do_PUT = do_POST
PORT, NAME = int(sys.argv[1]), sys.argv[2]
at = http.server.ThreadingHTTPServer(('127.0.0.1', PORT), H)
open('up-%s-%d' % (NAME, PORT), 'w').close()
at.serve_forever()
`;

// A WebSocket that echoes, without any library.
const echo = `
import base64, hashlib, socket, sys, threading
def serve(c):
    head = b''
    while b'\\r\\n\\r\\n' not in head: head += c.recv(4096)
    lines = dict(l.split(': ', 1) for l in head.decode().split('\\r\\n')[1:] if ': ' in l)
    lines = {k.lower(): v for k, v in lines.items()}
    key = base64.b64encode(hashlib.sha1((lines['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode()
    c.sendall(('HTTP/1.1 101 Switching\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: %s\\r\\n\\r\\n' % key).encode())
    def need(n):
        b = b''
        while len(b) < n:
            p = c.recv(n - len(b))
            if not p: raise SystemExit
            b += p
        return b
    def send(t): c.sendall((bytes([0x81, len(t)]) if len(t) < 126 else bytes([0x81, 126]) + len(t).to_bytes(2, 'big')) + t)
    send(('%s|%s|%s' % (lines.get('origin'), lines.get('host'), lines.get('cookie'))).encode())
    while True:
        a, b = need(2); n = b & 127
        if n == 126: n = int.from_bytes(need(2), 'big')
        mask = need(4); data = bytes(x ^ mask[i % 4] for i, x in enumerate(need(n)))
        if a & 15 == 8: c.close(); return
        send(data)
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('0.0.0.0', 8100)); s.listen(50)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
`;

describe('previews of programs in the sandbox', { timeout: 800_000 }, () => {
  let stack, project, port;
  const sockets = new Set();
  before(async () => {
    stack = await startStack({ llm: false, options: { 'preview.wait_ms': WAIT_MS, 'preview.per_user': 3, 'preview.ticket_ms': TICKET_MS } });
    [project, port] = [stack.project, stack.ports.preview];
    await rpc('fs.write', { project, path: 'server.py', content: server });
    await rpc('fs.write', { project, path: 'echo.py', content: echo });
  });
  after(() => stack?.stop());
  afterEach(async () => {
    for (const socket of sockets) socket.terminate();
    sockets.clear();
    for (const { term_id } of (await rpc('term.list', { project })).terminals) await rpc('term.kill', { project, term_id });
    for (const { name } of (await rpc('fs.list', { project, path: '' })).entries) if (/^(go$|slow-|up-)/.test(name)) await rpc('fs.delete', { project, path: name });
    await waitFor('all previews are gone', async () => (await rpc('preview.list', { project })).previews.length === 0);
  });

  const rpc = (method, params, as) => stack.rpc(method, params, as);
  const refused = async (method, params, as = 'developer') => {
    const { status, json } = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method, params }, as);
    assert.ok(json?.error, JSON.stringify(json));
    return { status, rule: json.error.data.rule, text: json.error.message, hint: json.error.data.hint };
  };
  const type = (term_id, data) => rpc('term.input', { project, term_id, data });
  const listens = (target, wanted) => waitFor(`port ${wanted}`, async () => (await rpc('preview.ports', { project, ...target })).ports.includes(wanted));
  /** Has a program of the project left this file? */
  const written = (path) => waitFor(path, () => existsSync(join(stack.home, 'projects', project, path)));
  const hostOf = (preview) => new URL(preview.url).host;

  /** One request as a browser sends it; the name of a preview is resolved to this machine. */
  function visit(preview, path = '/', { method = 'GET', headers = {}, body = null, cookie = preview.cookie, host = hostOf(preview), onData = null } = {}) {
    return new Promise((done, fail) => {
      const all = { Host: host, ...(cookie ? { Cookie: cookie } : {}), ...headers };
      if (typeof body === 'string') all['Content-Length'] = Buffer.byteLength(body);
      const r = request({ host: '127.0.0.1', port, path, method, headers: all, setHost: false, agent: false });
      r.on('response', (answer) => {
        const pieces = [];
        const result = { status: answer.statusCode, headers: answer.headers, text: '' };
        answer.on('data', (piece) => (onData ? onData(piece, answer) : pieces.push(piece)));
        answer.on('end', () => done(Object.assign(result, { bytes: Buffer.concat(pieces), text: Buffer.concat(pieces).toString() })));
        answer.on('error', (error) => fail(Object.assign(error, { status: answer.statusCode, text: Buffer.concat(pieces).toString() })));
      });
      r.on('error', fail);
      if (typeof body === 'function') body(r);
      else r.end(body ?? undefined);
    });
  }
  const enter = (preview, ticket = preview.ticket, more = {}) =>
    visit(preview, '/.cds/enter', { method: 'POST', body: `ticket=${ticket}`, headers: { 'Content-Type': 'application/x-www-form-urlencoded', Origin: 'null' }, cookie: null, ...more });

  /** A terminal with a program in it. */
  async function terminal(line, wanted) {
    const { term_id } = await rpc('term.open', { project, rows: 24, cols: 200 });
    await type(term_id, `${line}\n`);
    if (wanted) await listens({ term_id }, wanted);
    return term_id;
  }
  /** Opened, and entered with its ticket. */
  async function opened(target, wanted) {
    const preview = await rpc('preview.open', { project, port: wanted, ...target });
    const answer = await enter(preview);
    assert.equal(answer.status, 303);
    assert.equal(answer.headers.location, '/');
    return Object.assign(preview, { setCookie: answer.headers['set-cookie'][0], cookie: answer.headers['set-cookie'][0].split(';')[0] });
  }
  const shown = async (name = 'one', wanted = 8000) => {
    const term_id = await terminal(`python3 server.py ${wanted} ${name}`, wanted);
    return Object.assign(await opened({ term_id }, wanted), { term_id });
  };

  test('a program in a terminal is listed, opened and seen with the cookie', async () => {
    const { term_id } = await rpc('term.open', { project, rows: 24, cols: 80 });
    assert.deepEqual((await rpc('preview.ports', { project, term_id })).ports, []);
    await type(term_id, 'python3 -m http.server 8000\n');
    await listens({ term_id }, 8000);
    assert.deepEqual((await rpc('preview.ports', { project, term_id })).ports, [8000]);
    const preview = await opened({ term_id }, 8000);
    assert.match(preview.url, new RegExp(`^http://[0-9a-f]{32}\\.localhost:${port}$`));
    assert.match(preview.setCookie, /^cds_preview=[0-9a-f]{64}; Path=\/; HttpOnly; SameSite=Lax$/);
    const page = await visit(preview);
    assert.equal(page.status, 200);
    assert.match(page.text, /main\.py/);
    assert.equal((await visit(preview, '/main.py')).text, (await rpc('fs.read', { project, path: 'main.py' })).content);
    const [one] = (await rpc('preview.list', { project })).previews;
    assert.deepEqual([one.preview_id, one.port, one.term_id, one.url], [preview.preview_id, 8000, term_id, preview.url]);
    // Again: the same preview with another ticket.
    const again = await rpc('preview.open', { project, term_id, port: 8000 });
    assert.equal(again.preview_id, preview.preview_id);
    assert.notEqual(again.ticket, preview.ticket);
  });

  test('a program of a run is, too, and its preview ends with the run', async () => {
    const socket = new WebSocket(stack.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${stack.tokens.developer}`], { origin: stack.url });
    sockets.add(socket);
    let run_id = null;
    socket.on('message', (data) => {
      const m = JSON.parse(data);
      if (m.method === 'run.started') run_id = m.params.run_id;
    });
    await new Promise((done) => socket.on('open', done));
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'run.exec', params: { project, path: 'server.py', language: 'python', argv: ['8001', 'run'] } }));
    await waitFor('the run', () => run_id);
    await listens({ run_id }, 8001);
    const preview = await opened({ run_id }, 8001);
    assert.equal(JSON.parse((await visit(preview)).text).name, 'run');
    assert.equal((await rpc('run.cancel', { project, run_id })).cancelled, true);
    const gone = await waitFor('it is gone', async () => { const page = await visit(preview); return page.status === 410 ? page : null; });
    assert.match(gone.text, /The program has ended/);
    assert.equal((await refused('preview.ports', { project, run_id })).status, 404);
  });

  test('without its cookie, its ticket, its host or its path nobody gets in', async () => {
    const preview = await shown();
    const other = await rpc('preview.open', { project, term_id: preview.term_id, port: 8000 });
    assert.equal((await visit(preview)).status, 200);
    const bare = await visit(preview, '/', { cookie: null });
    assert.equal(bare.status, 403);
    assert.match(bare.text, /This preview is private.*Open it from the studio/s);
    assert.match((await visit(preview, '/', { cookie: null, headers: { 'Accept-Language': 'de-DE' } })).text, /Diese Vorschau ist privat/);
    assert.equal((await visit(preview, '/', { cookie: `cds_preview=${'0'.repeat(64)}` })).status, 403);
    assert.equal((await visit(preview, '/', { cookie: null, headers: { Authorization: `Bearer ${stack.tokens.developer}` } })).status, 403);
    // A ticket: once, in time, of this preview, by POST.
    assert.equal((await enter(preview)).status, 403);
    assert.equal((await visit(preview, `/.cds/enter?ticket=${other.ticket}`, { cookie: null })).status, 404);
    assert.equal((await enter(preview, other.ticket.slice(1))).status, 403);
    assert.equal((await enter(preview, other.ticket, { body: `ticket=${other.ticket}${'x'.repeat(300)}` })).status, 404);
    await sleep(TICKET_MS + 100);
    const late = await enter(preview, other.ticket);
    assert.equal(late.status, 403);
    assert.match(late.text, /does not work any more/);
    const racing = await rpc('preview.open', { project, term_id: preview.term_id, port: 8000 });
    const both = await Promise.all([1, 2, 3, 4, 5].map(() => enter(racing)));
    assert.deepEqual(both.map((a) => a.status).sort(), [303, 403, 403, 403, 403]);
    // Other names for this machine, as in DNS rebinding, and other labels.
    for (const host of ['evil.example.org', `evil.example.org:${port}`, `${preview.preview_id}.evil.org:${port}`, `${preview.preview_id}.localhost`, `x${hostOf(preview)}`, `${preview.preview_id}.localhost.:${port}`])
      assert.equal((await visit(preview, '/', { host })).status, 421, host);
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`]) assert.equal((await visit(preview, '/', { host })).status, 421, host);
    assert.equal((await visit(preview, '/healthz', { host: `127.0.0.1:${port}` })).status, 200);
    assert.equal((await visit(preview, '/', { host: `${'0'.repeat(32)}.localhost:${port}` })).status, 404);
    for (const path of ['/.cds', '/.cds/', '/.cds/x', '/.CDS/x', '/%2ecds/enter', '/%2Ecds%2Fenter', '//.cds/x', '/./.cds/x', '/a/../.cds/x', '/a/%2e%2e/.cds/x', '/%5c.cds/x'])
      assert.equal((await visit(preview, path)).status, 404, path);
    assert.equal(JSON.parse((await visit(preview, '/.cdsx/../x/.cds')).text).path, '/.cdsx/../x/.cds');
    // Another site's form, and another user of the studio.
    assert.equal((await visit(preview, '/', { method: 'POST', body: 'x', headers: { Origin: 'http://127.0.0.1:1' } })).status, 403);
    const foreign = (await rpc('project.list', {}, 'admin')).projects[0].id;
    assert.equal((await refused('preview.open', { project, term_id: preview.term_id, port: 8000 }, 'admin')).status, 404);
    assert.equal((await refused('preview.open', { project: foreign, term_id: preview.term_id, port: 8000 }, 'admin')).status, 404);
    assert.equal((await refused('preview.ports', { project: foreign, term_id: preview.term_id }, 'admin')).status, 404);
    assert.equal((await refused('preview.ports', { project, term_id: preview.term_id }, 'viewer')).status, 403);
    assert.equal((await refused('preview.open', { project, term_id: preview.term_id, port: 8000 }, 'viewer')).status, 403);
    assert.equal((await rpc('preview.close', { project: foreign, preview_id: preview.preview_id }, 'admin')).closed, false);
    assert.deepEqual((await rpc('preview.list', { project: foreign }, 'admin')).previews, []);
    assert.equal((await visit(preview)).status, 200);
  });

  test('the program sees localhost and no credential, and sets no cookie beyond its host', async () => {
    const preview = await shown();
    const own = preview.url;
    const seen = JSON.parse((await visit(preview, '/a/b?c=%20d', {
      cookie: `a=1; ${preview.cookie}; cds_refresh=secret; __Host-cds_refresh=secret; b=2`,
      headers: { Authorization: `Bearer ${stack.tokens.developer}`, 'Proxy-Authorization': 'Basic x', 'X-Forwarded-For': '9.9.9.9', 'X-Forwarded-Host': 'lie', Forwarded: 'for=lie', Origin: own, Referer: `${own}/from`, 'X-Own': 'kept', Connection: 'keep-alive, x-hop', 'X-Hop': 'gone' },
    })).text);
    assert.equal(seen.path, '/a/b?c=%20d');
    const h = seen.headers;
    assert.equal(h.cookie, 'a=1; b=2');
    assert.equal(h.host, 'localhost:8000');
    assert.deepEqual([h.origin, h.referer, h['x-own']], ['http://localhost:8000', 'http://localhost:8000/from', 'kept']);
    assert.deepEqual([h['x-forwarded-host'], h['x-forwarded-proto']], [hostOf(preview), 'http']);
    for (const name of ['authorization', 'proxy-authorization', 'forwarded', 'x-hop']) assert.equal(h[name], undefined, name);
    assert.ok(!JSON.stringify(seen).includes('secret') && !JSON.stringify(seen).includes(preview.cookie.slice(12)));
    assert.equal(JSON.parse((await visit(preview, '/')).text).headers.cookie, undefined);
    const set = await visit(preview, '/cookies');
    assert.deepEqual(set.headers['set-cookie'], ['mine=1; Path=/']);
    assert.equal(set.headers['clear-site-data'], undefined);
    assert.equal((await visit(preview, '/away')).headers.location, '/there?x=1');
    assert.equal((await visit(preview, '/far')).headers.location, 'https://example.org/');
  });

  test('10 MB stream both ways, slowly too, without lying in memory', async () => {
    const preview = await shown();
    const { preview: pid } = await stack.pids();
    const before = rssOf(pid);
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, rssOf(pid))), 20);
    try {
      const hash = createHash('sha256');
      let bytes = 0;
      await visit(preview, '/big', { onData: (piece, answer) => { hash.update(piece); bytes += piece.length; answer.pause(); setTimeout(() => answer.resume(), 5); } });
      assert.equal(bytes, 10 * MiB);
      assert.equal(hash.digest('hex'), createHash('sha256').update(Buffer.alloc(10 * MiB, Buffer.from([...Array(256).keys()]))).digest('hex'));
      const data = randomBytes(10 * MiB);
      const sent = createHash('sha256').update(data).digest('hex');
      for (const path of ['/fast', '/slowly']) {
        const up = await visit(preview, path, { method: 'POST', headers: { 'Content-Length': data.length }, body: (r) => r.end(data) });
        assert.equal(up.text, sent);
      }
      // The browser is the slow one.
      const drip = await visit(preview, '/drip', { method: 'PUT', headers: { 'Content-Length': 400_000 }, body: async (r) => { for (let i = 0; i < 400_000; i += 20_000) { r.write(data.subarray(i, i + 20_000)); await sleep(10); } r.end(); } });
      assert.equal(drip.text, createHash('sha256').update(data.subarray(0, 400_000)).digest('hex'));
    } finally {
      clearInterval(watch);
    }
    console.log(`# memory of cds-preview grew by ${((most - before) / MiB).toFixed(1)} MiB while 10 MiB streamed`);
    assert.ok(most - before < 4 * MiB, `${most - before} bytes more`);
    const long = await visit(preview, '/', { method: 'POST', headers: { 'Content-Length': 65 * MiB }, body: (r) => r.flushHeaders() }).catch((error) => error);
    assert.equal(long.status, 413);
  });

  test('events come as they are sent', async () => {
    const preview = await shown();
    const pieces = [];
    const seen = [];
    const answer = await visit(preview, '/sse', { onData: (piece) => (pieces.push(piece.toString()), seen.push(visit(preview, '/seen'))) });
    assert.equal(answer.headers['content-type'], 'text/event-stream');
    assert.deepEqual(pieces, [0, 1, 2, 3].map((i) => `data: ${i}\n\n`));
    await Promise.all(seen);
  });

  test('a WebSocket goes through with cookie and own Origin, and not otherwise', async () => {
    const term_id = await terminal('python3 echo.py', 8100);
    const preview = await opened({ term_id }, 8100);
    const dial = (headers) => new Promise((done) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: { Host: hostOf(preview), ...headers } });
      sockets.add(socket);
      socket.first = new Promise((told) => socket.once('message', (data) => told(data.toString())));
      socket.once('open', () => done(socket));
      socket.once('error', (error) => done(error));
    });
    const socket = await dial({ Cookie: `x=1; ${preview.cookie}`, Origin: preview.url });
    assert.ok(socket instanceof WebSocket, String(socket));
    assert.equal(await socket.first, 'http://localhost:8100|localhost:8100|x=1');
    for (const text of ['hello', 'x'.repeat(5000)]) {
      socket.send(text);
      assert.equal(await new Promise((told) => socket.once('message', (data) => told(data.toString()))), text);
    }
    for (const [what, headers] of [['no cookie', { Origin: preview.url }], ['no origin', { Cookie: preview.cookie }], ['the studio', { Cookie: preview.cookie, Origin: stack.url }], ['null', { Cookie: preview.cookie, Origin: 'null' }]])
      assert.match(String(await dial(headers)), /403/, what);
    const closed = new Promise((done) => socket.once('close', done));
    await rpc('preview.close', { project, preview_id: preview.preview_id });
    await closed;
  });

  test('a program that breaks off, or is gone, or closes its port is a 502', async () => {
    let preview = await shown();
    const broken = await visit(preview, '/half').then((a) => a, (error) => error);
    assert.ok(broken instanceof Error, 'a body cut short is an error to the browser');
    await waitFor('the port is closed', async () => (await rpc('preview.ports', { project, term_id: preview.term_id })).ports.length === 0);
    const none = await visit(preview, '/');
    assert.equal(none.status, 502);
    assert.match(none.text, /does not answer on port 8000/);
    assert.match(none.headers['content-security-policy'], /default-src 'none'/);
    await type(preview.term_id, 'python3 server.py 8000 two\n');
    await listens({ term_id: preview.term_id }, 8000);
    assert.equal(JSON.parse((await visit(preview)).text).name, 'two');
    assert.equal((await visit(preview, '/none')).status, 502);
    await waitFor('the port is closed', async () => (await rpc('preview.ports', { project, term_id: preview.term_id })).ports.length === 0);
    const other = await refused('preview.open', { project, term_id: preview.term_id, port: 8000 });
    assert.deepEqual([other.status, other.rule], [409, 'preview.port']);
    for (const wanted of [3128, 1, 65535]) assert.equal((await refused('preview.open', { project, term_id: preview.term_id, port: wanted })).rule, 'preview.port');
    await rpc('term.kill', { project, term_id: preview.term_id });
    await waitFor('it is gone', async () => (await visit(preview)).status === 410);
  });

  test('the port of the way out is never told of, nor opened', async () => {
    const term_id = await terminal('python3 server.py 3128 way-out & python3 server.py 8002 mine', 8002);
    for (const file of ['up-way-out-3128', 'up-mine-8002']) await written(file);
    assert.deepEqual((await rpc('preview.ports', { project, term_id })).ports, [8002]);
    assert.equal((await refused('preview.open', { project, term_id, port: 3128 })).rule, 'preview.port');
  });

  test('two programs on the same port number do not mix', async () => {
    const [one, two] = [await shown('one'), await shown('two')];
    assert.notEqual(one.preview_id, two.preview_id);
    for (let i = 0; i < 10; i++) {
      assert.equal(JSON.parse((await visit(one)).text).name, 'one');
      assert.equal(JSON.parse((await visit(two)).text).name, 'two');
    }
    assert.equal((await visit(one, '/', { cookie: two.cookie })).status, 403);
    await rpc('term.kill', { project, term_id: one.term_id });
    await waitFor('one is gone', async () => (await visit(one)).status === 410);
    assert.equal((await visit(two)).status, 200);
  });

  test('more requests than sockets wait, and after a moment are told to come back', async () => {
    const preview = await shown();
    const slow = Array.from({ length: 16 }, () => visit(preview, '/slow'));
    await written('slow-one-16');
    const late = await visit(preview);
    assert.equal(late.status, 503);
    assert.equal(late.headers['retry-after'], '1');
    const flood = await Promise.all(Array.from({ length: 40 }, () => visit(preview)));
    assert.ok(flood.every((a) => a.status === 503));
    await rpc('fs.write', { project, path: 'go', content: '' });
    assert.ok((await Promise.all(slow)).every((a) => a.text === 'slow'));
    // Those that wait long enough get their turn.
    const many = await Promise.all(Array.from({ length: 30 }, () => visit(preview)));
    assert.deepEqual([...new Set(many.map((a) => a.status))], [200]);
    // Browsers that go away give their sockets back.
    await rpc('fs.delete', { project, path: 'go' });
    for (let i = 0; i < 32; i++) {
      const c = tcp(port, '127.0.0.1');
      await new Promise((done) => c.once('connect', done));
      c.write(`GET /slow HTTP/1.1\r\nHost: ${hostOf(preview)}\r\nCookie: ${preview.cookie}\r\n\r\n`);
      await written(`slow-one-${17 + i}`); // a socket that was not given back is not there for the seventeenth
      c.destroy();
    }
    assert.equal((await visit(preview)).status, 200);
  });

  test('there is a ceiling for each user, and closing makes room', async () => {
    const term_id = await terminal('for p in 9001 9002 9003 9004; do python3 server.py $p x & done', 9001);
    for (const p of [9002, 9003, 9004]) await listens({ term_id }, p);
    const all = [];
    for (const p of [9001, 9002, 9003]) all.push(await opened({ term_id }, p));
    const full = await refused('preview.open', { project, term_id, port: 9004 });
    assert.deepEqual([full.status, full.rule], [503, 'preview.limit']);
    assert.equal((await rpc('preview.close', { project, preview_id: all[0].preview_id })).closed, true);
    assert.equal((await visit(all[0])).status, 410);
    assert.match((await visit(all[0])).text, /was closed/);
    assert.equal((await visit(all[1])).status, 200);
    await opened({ term_id }, 9004);
  });

  test('engines without such a network say so', async () => {
    const both = await refused('preview.ports', { project });
    assert.equal(both.status, 400);
    assert.equal((await refused('preview.open', { project, term_id: project, run_id: project, port: 8000 })).status, 400);
    // An endless module: (module (func (export "_start") (loop (br 0))))
    const code = Buffer.from('0061736d010000000104016000000302010007' + '0a01065f737461727400000a0901070003400c000b0b', 'hex').toString('base64');
    const socket = new WebSocket(stack.apiUrl.replace('http', 'ws') + '/ws', ['cds.rpc.v1', `cds.bearer.${stack.tokens.developer}`], { origin: stack.url });
    sockets.add(socket);
    let run_id = null, answer = null;
    socket.on('message', (data) => { const m = JSON.parse(data); if (m.method === 'run.started') run_id = m.params.run_id; if (m.id === 1) answer = m; });
    await new Promise((done) => socket.on('open', done));
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'run.exec', params: { project, engine: 'wasm', module: code, limits: { wall_ms: 20000 } } }));
    await waitFor('it runs or is refused', () => run_id || answer);
    if (answer && !run_id) return console.log('# no engine wasm here', JSON.stringify(answer).slice(0, 200));
    const no = await refused('preview.open', { project, run_id, port: 8000 });
    assert.deepEqual([no.status, no.rule], [409, 'preview.engine']);
    assert.match(no.hint, /terminal/);
    assert.deepEqual((await rpc('preview.ports', { project, run_id })).ports, []);
    await rpc('run.cancel', { project, run_id });
  });

  test('cds-preview killed in the middle is back, and the program answers a new preview', async () => {
    const preview = await shown();
    const slow = visit(preview, '/slow').then(() => 'answered', (error) => error.code);
    await written('slow-one-1');
    const { preview: pid, sandboxd } = await stack.pids();
    process.kill(pid, 'SIGKILL');
    assert.match(String(await slow), /ECONNRESET|socket/i);
    await stack.waitPart('preview', pid);
    assert.ok(alive(sandboxd));
    const old = await visit(preview);
    assert.equal(old.status, 404);
    assert.match(old.text, /no such preview/);
    const again = await opened({ term_id: preview.term_id }, 8000);
    for (let i = 0; i < 20; i++) assert.equal(JSON.parse((await visit(again)).text).name, 'one');
  });

  test('cds-sandboxd killed in the middle takes its programs along, and nothing else', async () => {
    const preview = await shown();
    const slow = visit(preview, '/slow').then((a) => a.status, (error) => error.code);
    await written('slow-one-1');
    const { sandboxd, preview: pid } = await stack.pids();
    process.kill(sandboxd, 'SIGKILL');
    assert.ok([410, 502].includes(await slow), 'its program is killed, or the loan of its sockets ends first');
    await waitFor('it is gone', async () => (await visit(preview)).status === 410);
    await stack.waitPart('sandboxd', sandboxd);
    assert.equal((await stack.pids()).preview, pid);
    const next = await waitFor('a new one', () => shown('next').catch(() => null));
    assert.equal(JSON.parse((await visit(next)).text).name, 'next');
  });
});

describe('the ends of a preview', { timeout: 800_000 }, () => {
  test('it ends when nobody looks', async () => {
    const stack = await startStack({ llm: false, options: { 'preview.idle_ms': 5000 } });
    try {
      const project = stack.project;
      const { term_id } = await stack.rpc('term.open', { project, rows: 24, cols: 80 });
      await stack.rpc('term.input', { project, term_id, data: 'python3 -m http.server 8000\n' });
      await waitFor('the port', async () => (await stack.rpc('preview.ports', { project, term_id })).ports.length === 1);
      const preview = await stack.rpc('preview.open', { project, term_id, port: 8000 });
      const status = () => new Promise((done) => request({ host: '127.0.0.1', port: stack.ports.preview, headers: { Host: new URL(preview.url).host }, setHost: false, agent: false }, (a) => { let t = ''; a.on('data', (d) => (t += d)); a.on('end', () => done([a.statusCode, t])); }).end());
      assert.equal((await status())[0], 403);
      const text = await waitFor('it ends', async () => { const [code, words] = await status(); return code === 410 ? words : null; }); // looks that are refused do not count
      assert.match(text, /nobody looked/);
    } finally {
      await stack.stop();
    }
  });

  describe('with tokens that end soon', { timeout: 300_000 }, () => {
    const seconds = 12; // the life of a token
    let stack, term_id, project;
    before(async () => {
      stack = await startStack({ llm: false, env: { CDS_AUTH_ACCESS_S: String(seconds) } });
      const login = async (email, password) => (await (await fetch(`${stack.authUrl}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ email, password }) })).json()).access_token;
      stack.login = () => login('developer@studio.test', 'Green-Window-82-Rivers');
      stack.tokens.developer = await stack.login();
      const made = await stack.rpc('key.create', { name: 'previews' });
      stack.tokens.key = made.key;
      stack.key_id = made.key_id;
      project = stack.project;
      ({ term_id } = await stack.rpc('term.open', { project, rows: 24, cols: 80 }, 'key'));
      await stack.rpc('term.input', { project, term_id, data: 'python3 -m http.server 8000\n' }, 'key');
      await waitFor('the port', async () => (await stack.rpc('preview.ports', { project, term_id }, 'key')).ports.length === 1, 60_000);
    });
    after(() => stack?.stop());
    const ask = (preview, path, headers, method = 'GET', body = undefined) => new Promise((done, fail) => {
      const r = request({ host: '127.0.0.1', port: stack.ports.preview, path, method, headers: { Host: new URL(preview.url).host, ...headers, ...(body ? { 'Content-Length': body.length } : {}) }, setHost: false, agent: false }, (a) => { let text = ''; a.on('data', (d) => (text += d)); a.on('end', () => done({ status: a.statusCode, text, headers: a.headers })); });
      r.on('error', fail);
      r.end(body);
    });
    const enter = async (preview) => (await ask(preview, '/.cds/enter', {}, 'POST', `ticket=${preview.ticket}`)).headers['set-cookie'][0].split(';')[0];
    const open = async (as = 'key') => {
      const preview = await stack.rpc('preview.open', { project, term_id, port: 8000 }, as);
      preview.cookie = await enter(preview);
      return preview;
    };
    const look = (preview) => ask(preview, '/', { Cookie: preview.cookie });

    test('it ends with the token that was last shown for it', async () => {
      const begin = Date.now();
      stack.tokens.developer = await stack.login(); // with a whole life before it
      const preview = await open('developer');
      assert.equal((await look(preview)).status, 200);
      const over = await waitFor('the end of the session', async () => { const { status, text } = await look(preview); return status === 410 ? text : null; }, (seconds + 8) * 1000, 200);
      assert.match(over, /ended with its sign-in/);
      assert.ok(Date.now() - begin > (seconds - 3) * 1000, `${Date.now() - begin} ms`);
    });

    test('opened with an API key it holds as long as the key, and ends with it', async () => {
      const preview = await open();
      const opened = Date.now();
      // No call with the key meanwhile: the token of the opening is long over when this ends.
      await waitFor('its token is over', async () => { assert.equal((await look(preview)).status, 200); return Date.now() - opened > (seconds + 4) * 1000; }, 120_000, 500);
      stack.tokens.developer = await stack.login();
      await stack.rpc('key.revoke', { key_id: stack.key_id });
      const gone = await waitFor('it is gone', async () => { const got = await look(preview); return got.status === 410 ? got : null; }, 30_000, 100);
      assert.match(gone.text, /ended with its sign-in/);
    });

    test('opened with an API key it ends when nobody can tell whether the key holds', async () => {
      stack.tokens.developer = await stack.login();
      stack.tokens.key = (await stack.rpc('key.create', { name: 'more' })).key;
      ({ term_id } = await stack.rpc('term.open', { project, rows: 24, cols: 80 }));
      await stack.rpc('term.input', { project, term_id, data: 'python3 -m http.server 8000\n' });
      await waitFor('the port', async () => (await stack.rpc('preview.ports', { project, term_id }, 'key')).ports.length === 1, 60_000);
      const preview = await open();
      assert.equal((await look(preview)).status, 200);
      await stack.sql('ALTER TABLE access_changes RENAME TO access_away');
      try {
        await waitFor('it is gone', async () => (await look(preview)).status === 410, 60_000, 200);
      } finally {
        await stack.sql('ALTER TABLE access_away RENAME TO access_changes');
      }
    });
  });

  test('a studio with a name of its own wants an address for its previews', async () => {
    const stack = await startStack({ llm: false, options: { 'ui.public_url': 'https://studio.example.org' } });
    try {
      const project = stack.project;
      const { json } = await stack.rpcRaw({ jsonrpc: '2.0', id: 1, method: 'preview.open', params: { project, term_id: project, port: 8000 } });
      assert.equal(json.error.data.rule, 'preview.origin');
      assert.match(json.error.data.hint, /preview\.origin/);
    } finally {
      await stack.stop();
    }
  });
});
