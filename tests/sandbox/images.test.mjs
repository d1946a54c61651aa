// tests/sandbox/images.test.mjs: images by name on a live studio: made in the jail, run by machines, removed, and what is left after bad ones.
// What make.py itself refuses is in micro-image.test.mjs.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import WebSocket from 'ws';
import { alive, PATIENT, startStack, waitFor } from '../support/stack.mjs';
import { dockerSave, tar } from '../support/tar.mjs';

const QEMU = '/usr/bin/qemu-system-x86_64';
const skip = existsSync(QEMU) ? false : 'skipped: no qemu (make micro installs it)';
const LIMIT = { timeout: 400_000 };
/** A root folder with a shell of its own and a mark, made inside of a project by a run. */
const tree = (name, mark) =>
  `mkdir -p ${name}/bin ${name}/etc ${name}/lib64 ${name}/lib/x86_64-linux-gnu && cp /bin/sh ${name}/bin/sh && cp /lib64/ld-linux-x86-64.so.2 ${name}/lib64/ && ` +
  `cp /lib/x86_64-linux-gnu/libc.so.6 ${name}/lib/x86_64-linux-gnu/ && echo ${mark} >${name}/etc/mark`;
/** Entries that a bomb or a wait is made of. */
const repeated = (entry, times) => {
  const one = tar([entry], { end: false });
  return Buffer.concat(Array(times).fill(one));
};

describe('images by name', { skip }, () => {
  let stack;
  let project;
  before(async () => {
    stack = await startStack({ llm: false, fresh: true, options: { 'image.max': 4, 'image.bytes': 64 << 20, 'micro.pool': 0 } });
    project = (await stack.rpc('project.list', {}, 'admin')).projects[0].id;
  });
  after(() => stack?.stop());

  const admin = (method, params = {}) => stack.rpc(method, params, 'admin');
  const folder = () => join(stack.home, 'projects', project);
  const images = () => join(stack.home, 'images');
  const sh = (code) => admin('run.exec', { project, language: 'sh', code });
  const micro = (image, code, more = {}) => admin('run.exec', { project, engine: 'micro:sh', code, project_access: 'none', image, limits: PATIENT, ...more });
  const add = (name, path) => admin('image.add', { name, project, path });
  const names = async () => (await stack.rpc('image.list', {}, 'viewer')).images.map((i) => i.name);
  const refused = (name, path, rule) => assert.rejects(add(name, path), (error) => error.data.rule === rule || assert.fail(`${error.data.rule}: ${error.message}`));
  /** A file of the project; the jobs may read what others may read. */
  const put = (name, data) => writeFileSync(join(folder(), name), data);
  /** One call at the broker's own socket. */
  const ask = async (method, params, who) => {
    const code = `
import json, socket, struct, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
m = json.dumps({"jsonrpc": "2.0", "id": 1, "method": sys.argv[2], "params": json.loads(sys.argv[3])}).encode()
s.sendall(struct.pack(">I", len(m)) + m)
n = struct.unpack(">I", s.recv(4))[0]
print(s.recv(n).decode())`;
    const child = spawn('/usr/bin/python3', ['-c', code, join(stack.home, 'run/sandboxd.sock'), method, JSON.stringify(params)], who);
    let out = '';
    child.stdout.on('data', (d) => (out += d));
    await new Promise((done) => child.on('close', done));
    return out;
  };
  const left = () => readdirSync(images()).filter((n) => !/^[a-z0-9._-]+\.(erofs|json)$/.test(n));

  test('an image made from a folder with its own shell runs, and from a template of its own the next time', LIMIT, async () => {
    assert.equal((await sh(tree('own', 'folder'))).end, 'ok');
    const { image } = await add('own.folder-1', 'own');
    assert.deepEqual([image.name, image.source, image.languages], ['own.folder-1', 'folder', ['sh']]);
    const file = join(images(), 'own.folder-1.erofs');
    assert.equal(createHash('sha256').update(readFileSync(file)).digest('hex'), image.digest);
    const st = lstatSync(file);
    assert.deepEqual([st.uid, st.mode & 0o777, st.size, st.nlink], [process.getuid(), 0o444, image.size_bytes, 1], 'it is the broker\'s, who alone enters the folder');
    assert.deepEqual(left(), [], 'nothing else is left in the folder of images');
    const first = await micro('own.folder-1', 'read x </etc/mark; echo "$x"');
    assert.deepEqual([first.end, first.stdout, first.image, first.origin], ['ok', 'folder\n', 'own.folder-1', 'cold']);
    const usual = await micro('default', 'test -e /etc/mark || echo no mark');
    assert.deepEqual([usual.stdout, usual.image], ['no mark\n', 'default']);
    const later = await waitFor('a machine from the template of the image', async () => {
      const r = await micro('own.folder-1', 'read x </etc/mark; echo "$x"');
      assert.equal(r.stdout, 'folder\n');
      return r.origin === 'snapshot' ? r : null;
    }, 120_000, 500);
    assert.equal(later.image, 'own.folder-1');
  });

  test('an image made from what docker save writes runs', LIMIT, async () => {
    const read = (path) => readFileSync(path);
    put('saved.tar', dockerSave(
      [['bin/sh', '0', read('/bin/sh'), { mode: '0000755' }], ['lib64/ld-linux-x86-64.so.2', '0', read('/lib64/ld-linux-x86-64.so.2'), { mode: '0000755' }], ['etc/mark', '0', 'old\n']],
      gzipSync(tar([['lib/x86_64-linux-gnu/libc.so.6', '0', read('/lib/x86_64-linux-gnu/libc.so.6')], ['etc/mark', '0', 'layered\n']])),
    ));
    const { image } = await add('saved', 'saved.tar');
    assert.deepEqual([image.source, image.languages], ['archive', ['sh']]);
    assert.equal((await micro('saved', 'read x </etc/mark; echo "$x"')).stdout, 'layered\n');
  });

  test('a run names an image that is there, that has its language, and with an engine that has images', async () => {
    const exec = (params) => admin('run.exec', { project, code: 'true', project_access: 'none', ...params }).then(() => assert.fail('it ran'), (error) => error);
    const unknown = await exec({ engine: 'micro:sh', image: 'nowhere' });
    assert.deepEqual([unknown.status, unknown.data.rule], [404, 'image.unknown']);
    const language = await exec({ engine: 'micro:node', image: 'saved' });
    assert.deepEqual([language.status, language.data.rule], [400, 'image.language']);
    assert.match(language.message, /holds no node; it has sh/);
    const engine = await exec({ language: 'sh', image: 'saved' });
    assert.deepEqual([engine.status, engine.data.errors[0].pointer], [400, '/params/image']);
    const fallback = await exec({ engine: 'micro:sh', image: 'saved', fallback: 'run' });
    assert.deepEqual([fallback.status, fallback.data.errors[0].pointer], [400, '/params/fallback']);
    assert.equal((await exec({ engine: 'micro:sh', image: '../saved' })).status, 400);
  });

  test('only admins change images, everybody sees names, sizes and languages, and a taken name is a conflict', async () => {
    for (const role of ['developer', 'viewer'])
      for (const [method, params] of [['image.add', { name: 'x', project, path: 'own' }], ['image.remove', { name: 'saved' }], ['image.pull', { name: 'x', reference: 'debian:12' }]])
        await assert.rejects(stack.rpc(method, params, role), (e) => e.status === 403);
    const { images: all } = await stack.rpc('image.list', {}, 'viewer');
    assert.deepEqual(all.map((i) => i.name), ['default', 'own.folder-1', 'saved']);
    assert.ok(all.every((i) => i.size_bytes > 0 && i.languages.length > 0 && !('from' in i)));
    await refused('saved', 'own', 'image.exists');
    await refused('default', 'own', 'image.exists');
    for (const name of ['', 'Upper', '.hidden', '-x', 'a/b', '..', 'a'.repeat(64), 'ü'])
      await assert.rejects(add(name, 'own'), (e) => e.status === 400, name);
    await assert.rejects(add('x', '../../etc'), (e) => e.data.rule === 'fs.outside_root');
    await assert.rejects(add('x', 'nowhere'), (e) => e.status === 404);
    await assert.rejects(admin('image.add', { name: 'x', project: stack.project, path: 'own' }), (e) => e.status === 404, 'a project of somebody else');
    await assert.rejects(admin('image.add', { name: 'x', project, path: 'own', host_path: '/etc' }), (e) => e.status === 400, 'a path of the host is not for the gateway');
  });

  test('hostile sources are refused by name and leave nothing', LIMIT, async () => {
    const SH = ['bin/sh', '0', '#!'];
    await sh('ln -s /etc link; mkfifo pipe; printf "x%.0s" $(seq 100) >text; mkdir -p deep/$(printf "d/%.0s" $(seq 70))');
    put('dots.tar', dockerSave([['../../escape', '0', 'x']]));
    put('hard.tar', dockerSave([['x', '1', '/etc/passwd']]));
    put('linked.tar', dockerSave([SH, ['out', '2', '/'], ['out/escape-by-link', '0', 'x'], ['up', '2', '../../../..'], ['up/escape-up', '0', 'x'], ['null', '3'], ['/absolute-name', '0', 'x']]));
    put('bomb.tar', gzipSync(tar([SH, ['zeros', '0', Buffer.alloc(80 << 20)]])));
    put('cut.tar', dockerSave([SH, ['big', '0', Buffer.alloc(1 << 20, 7)]]).subarray(0, 600_000));
    put('million.tar', gzipSync(Buffer.concat([tar([SH], { end: false }), ...Array(16).fill(repeated(['./', '5'], 62_500))]), { level: 1 }));
    put('large.tar', Buffer.alloc((64 << 20) + 1));
    put('empty.tar', tar([['etc/x', '0', 'x']]));
    for (const [path, rule] of [['dots.tar', 'image.entry'], ['hard.tar', 'image.entry'], ['bomb.tar', 'image.too_big'], ['cut.tar', 'image.malformed'], ['text', 'image.malformed'],
      ['million.tar', 'image.too_many'], ['large.tar', 'image.too_big'], ['empty.tar', 'image.empty'], ['link', 'fs.symlink'], ['link/passwd', 'fs.symlink'], ['pipe', 'fs.special'], ['deep', 'image.entry']])
      await refused('bad', path, rule);
    const { image } = await add('linked', 'linked.tar');
    assert.deepEqual(image.languages, ['sh']);
    for (const escaped of ['/escape-by-link', '/escape-up', '/absolute-name', join(images(), 'escape-up')]) assert.ok(!existsSync(escaped), escaped);
    await admin('image.remove', { name: 'linked' });
    assert.deepEqual(await names(), ['default', 'own.folder-1', 'saved']);
    assert.deepEqual(left(), []);
    await sh('rm -rf *.tar deep link pipe text');
  });

  test('one is made at a time, and one that is cancelled leaves nothing', LIMIT, async () => {
    // Links that are replaced again and again: seconds of work, no disk.
    put('slow.tar', gzipSync(Buffer.concat([tar([['bin/sh', '0', '#!', { mode: '0000755' }]], { end: false }), repeated(['l', '2', 'x'], 190_000), Buffer.alloc(1024)]), { level: 1 }));
    const socket = new WebSocket(`${stack.apiUrl.replace('http', 'ws')}/ws`, ['cds.rpc.v1', `cds.bearer.${stack.tokens.admin}`]);
    await new Promise((done) => socket.on('open', done));
    const answers = new Map();
    socket.on('message', (data) => {
      const message = JSON.parse(data);
      answers.set(message.id, message);
    });
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'image.add', params: { name: 'slow', project, path: 'slow.tar' } }));
    const pids = await stack.pids();
    const makers = () => readFileSync(`/proc/${pids.sandboxd}/task/${pids.sandboxd}/children`, 'utf8').trim().split(' ').filter(Boolean);
    await waitFor('the image is being made', () => existsSync(join(images(), 'making/root')), 20_000);
    await assert.rejects(add('second', 'own'), (e) => e.status === 503 && e.data.retry_after_ms > 0);
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'rpc.cancel', params: { id: 1 } }));
    await waitFor('the answer', () => answers.get(1), 20_000);
    assert.equal(answers.get(1).error.data.type, 'urn:cyberdevstudio:problem:cancelled', JSON.stringify(answers.get(1)));
    assert.deepEqual([left(), (await names()).includes('slow')], [[], false]);
    // And one whose client goes away.
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: 3, method: 'image.add', params: { name: 'slow', project, path: 'slow.tar' } }));
    await waitFor('it is being made again', () => existsSync(join(images(), 'making/root')), 20_000);
    socket.terminate();
    await waitFor('nothing is left', () => left().length === 0, 20_000);
    assert.ok(!(await names()).includes('slow'));
    assert.ok(makers().length < 8);
  });

  test('an image in use is not removed, and afterwards it is', LIMIT, async () => {
    // By its clock, not by work: as long on every machine.
    const running = micro('saved', 'read up rest </proc/uptime; while read now rest </proc/uptime; [ "${now%.*}" -lt $((${up%.*} + 8)) ]; do :; done; echo end');
    await waitFor('it runs', async () => (await admin('run.history', { project })).runs.some((r) => r.engine === 'micro' && r.state === 'running'), 60_000, 50);
    await assert.rejects(admin('image.remove', { name: 'saved' }), (e) => e.status === 409 && e.data.rule === 'image.in_use');
    assert.equal((await running).stdout, 'end\n');
    assert.deepEqual(await admin('image.remove', { name: 'saved' }), { name: 'saved' });
    await assert.rejects(admin('image.remove', { name: 'saved' }), (e) => e.data.rule === 'image.unknown');
    await assert.rejects(admin('image.remove', { name: 'default' }), (e) => e.data.rule === 'image.default');
    assert.ok(!existsSync(join(images(), 'saved.erofs')) && !existsSync(join(images(), 'saved.json')));
  });

  test('there are no more than image.max', LIMIT, async () => {
    for (const name of ['one', 'two', 'three']) await add(name, 'own');
    await refused('four', 'own', 'image.count');
    for (const name of ['one', 'two', 'three']) await admin('image.remove', { name });
  });

  test('the command line adds a file or a folder of this machine, lists and removes', LIMIT, async () => {
    const source = join(stack.home, '..', 'tree');
    mkdirSync(join(source, 'bin'), { recursive: true });
    writeFileSync(join(source, 'bin/sh'), '#!', { mode: 0o755 });
    const added = await stack.command(['image', 'add', 'from-cli', source]);
    assert.equal(added.code, 0, added.stderr);
    const listed = await stack.command(['image', 'list', '--json']);
    const one = JSON.parse(listed.stdout).find((i) => i.name === 'from-cli');
    assert.match(one.from, /\/tree$/);
    assert.match((await stack.command(['image', 'list'])).stdout, /from-cli +\d+\.\d MiB +sh +folder/);
    assert.equal((await stack.command(['image', 'add', 'from-cli', source])).code, 1);
    assert.equal((await stack.command(['image', 'add', 'Bad', source])).code, 2);
    assert.equal((await stack.command(['image', 'add', 'x', '/nowhere'])).code, 1);
    assert.equal((await stack.command(['image', 'remove', 'from-cli'])).code, 0);
    const logged = (msg, image) => waitFor(`${msg}: ${image}`, () => stack.logTail(400).find((l) => l.msg === msg && l.image === image));
    const line = await logged('an image was added', 'from-cli');
    assert.equal(line.digest, one.digest);
    await logged('an image was removed', 'from-cli');
    const mine = await logged('an image was removed', 'three');
    assert.match(mine.user_id, /^[0-9a-f-]{36}$/, 'who did it stands in the log');
  });

  test('a pull is refused by name, with the remedy, where msb does not work', LIMIT, async (t) => {
    const { engines } = await stack.rpc('sandbox.probe', {}, 'viewer');
    const msb = engines.find((e) => e.backend.startsWith('msb'));
    if (msb.works) return t.skip('msb works here; this host shows no refusal');
    await assert.rejects(admin('image.pull', { name: 'pulled', reference: 'debian:12' }), (e) => e.status === 403 && e.data.rule === 'image.no_msb' && e.data.hint.length > 10);
    await assert.rejects(admin('image.pull', { name: 'pulled', reference: '--help' }), (e) => e.status === 400);
    assert.equal((await stack.command(['image', 'pull', 'pulled', 'debian:12'])).code, 1);
    assert.deepEqual(left(), []);
    console.log(`image.pull was shown up to the refusal only: ${msb.reason}`);
  });

  test('a path of the host is taken from the broker\'s own user only', { skip: process.getuid() !== 0 && 'needs root to be somebody else' }, async () => {
    const owner = lstatSync(join(stack.home, 'run/egress.sock')).uid;
    const path = join(stack.home, 'run/sandboxd.sock');
    const out = await ask('image.add', { name: 'stolen', host_path: '/etc' }, { uid: owner, gid: lstatSync(path).gid });
    assert.match(out, /command line only/, `as uid ${owner}`);
  });

  test('where an image came from is told to who asks for it on the machine, not to a gateway that has the same user', async () => {
    assert.doesNotMatch(await ask('image.list', {}, {}), /"from"/);
    assert.match(await ask('image.list', { from: true }, {}), /"from": ?"own"/);
  });

  test('an image that is removed gives up its memory and its disk, also while its template is made', LIMIT, async () => {
    const { sandboxd } = await stack.pids();
    const held = () => readdirSync(`/proc/${sandboxd}/fd`).filter((fd) => {
      try {
        return readlinkSync(`/proc/${sandboxd}/fd/${fd}`).startsWith(join(images(), 'short-lived'));
      } catch {
        return false; // closed meanwhile
      }
    }).length;
    await add('short-lived', 'own');
    // The same file under another name has the same template; this one is a file of its own.
    assert.equal((await sh('echo other >own/etc/mark')).end, 'ok');
    await admin('image.remove', { name: 'short-lived' });
    await add('short-lived', 'own');
    assert.equal((await micro('short-lived', 'read x </etc/mark; echo "$x"')).stdout, 'other\n');
    await waitFor('its template is being made, or is there', () => held() > 0);
    await admin('image.remove', { name: 'short-lived' });
    await waitFor('nothing holds the file', () => held() === 0, 10_000);
    assert.equal((await sh('echo folder >own/etc/mark')).end, 'ok');
  });

  test('a broker that is killed while it makes an image leaves nothing, and knows the others again', LIMIT, async () => {
    put('slow.tar', gzipSync(Buffer.concat([tar([['bin/sh', '0', '#!', { mode: '0000755' }]], { end: false }), repeated(['l', '2', 'x'], 190_000), Buffer.alloc(1024)]), { level: 1 }));
    const pids = await stack.pids();
    const adding = add('slow', 'slow.tar').catch((e) => e);
    await waitFor('it is being made', () => existsSync(join(images(), 'making/root')), 20_000);
    writeFileSync(join(images(), 'half.erofs'), 'x'); // as after a crash between the file and its record
    process.kill(pids.sandboxd, 'SIGKILL');
    assert.ok((await adding) instanceof Error);
    await stack.waitPart('sandboxd', pids.sandboxd);
    assert.ok(!alive(pids.sandboxd));
    await waitFor('what was left is removed', () => left().length === 0 && !existsSync(join(images(), 'half.erofs')), 20_000);
    await waitFor('the gateway is connected again', () => names().catch(() => null));
    assert.deepEqual(await names(), ['default', 'own.folder-1']);
    assert.equal((await micro('own.folder-1', 'read x </etc/mark; echo "$x"')).stdout, 'folder\n');
  });
});
