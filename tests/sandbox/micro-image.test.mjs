// tests/sandbox/micro-image.test.mjs: sandbox/image/make.py by itself: an archive or a folder becomes a root image; a hostile one does not leave its
// folder. What the jail around it adds, and the calls, are in images.test.mjs.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { build, root } from '../support/stack.mjs';
import { dockerSave, tar } from '../support/tar.mjs';

const run = promisify(execFile);
const MAKE = join(root, 'sandbox/image/make.py');
const SH = ['bin/sh', '0', '#!'];

describe('images of users', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cds-oci-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  let count = 0;
  /** { root, facts } of what was made of a source; what is refused is thrown, with its sentence. */
  const make = async (source, { bytes = 64 << 20, entries = 1000 } = {}) => {
    const work = mkdtempSync(join(folder, 'w-'));
    const { stdout } = await run('/usr/bin/python3', ['-I', MAKE, source, work, String(bytes), String(entries)]);
    return { root: join(work, 'root'), image: join(work, 'image'), facts: JSON.parse(stdout) };
  };
  const bytesOf = (data) => {
    const file = join(folder, `a${++count}.tar`);
    writeFileSync(file, data);
    return file;
  };
  const unpack = async (...layers) => (await make(bytesOf(dockerSave([SH], ...layers)))).root;

  test('layers lie on each other, white-outs delete, links of folders are followed inside', async () => {
    const { root: at, facts, image } = await make(bytesOf(dockerSave(
      [['usr/', '5'], ['usr/bin/', '5'], ['bin', '2', 'usr/bin'], ['usr/bin/sh', '0', '#!'], ['usr/bin/a', '0', 'old'], ['usr/bin/gone', '0', 'x'], ['d/', '5'], ['d/x', '0', '1']],
      [['bin/a', '0', 'new'], ['bin/.wh.gone', '0'], ['d/.wh..wh..opq', '0'], ['d/y', '0', '2'], ['abs', '2', '/usr/bin'], ['abs/b', '0', 'b'], ['d/abs', '2', '/usr/bin'], ['d/abs/e', '0', 'e'], ['usr/bin/c', '1', 'usr/bin/a']],
    )));
    assert.equal(readFileSync(join(at, 'usr/bin/a'), 'utf8'), 'new');
    assert.equal(readFileSync(join(at, 'usr/bin/b'), 'utf8'), 'b');
    assert.equal(readFileSync(join(at, 'usr/bin/c'), 'utf8'), 'new');
    assert.equal(readFileSync(join(at, 'usr/bin/e'), 'utf8'), 'e', 'an absolute link begins at the root of the image');
    assert.deepEqual([existsSync(join(at, 'usr/bin/gone')), existsSync(join(at, 'd/x')), existsSync(join(at, 'd/y'))], [false, false, true]);
    assert.equal(lstatSync(join(at, 'usr/bin/a')).mode & 0o7000, 0, 'no set-id bits');
    assert.equal(readlinkSync(join(at, 'bin')), 'usr/bin');
    assert.deepEqual(facts.languages, ['sh']);
    assert.match(readFileSync(join(at, 'etc/passwd'), 'utf8'), /^job:x:1000:/m);
    assert.equal(readFileSync(image).readUInt32LE(1024), 0xe0f5e1e2, 'erofs');
  });

  test('an OCI layout, the tar of a root folder and a folder serve as well', async () => {
    const layer = gzipSync(tar([SH, ['usr/bin/node', '2', '../local/bin/node'], ['usr/local/bin/node', '0', 'x']]));
    const digest = (c) => `sha256:${c.repeat(64)}`;
    const oci = tar([
      ['oci-layout', '0', '{"imageLayoutVersion":"1.0.0"}'],
      ['index.json', '0', JSON.stringify({ manifests: [{ digest: digest('a'), platform: { architecture: 'arm64' } }, { digest: digest('b'), platform: { architecture: 'amd64' } }] })],
      [`blobs/sha256/${'b'.repeat(64)}`, '0', JSON.stringify({ layers: [{ digest: digest('c') }] })],
      [`blobs/sha256/${'c'.repeat(64)}`, '0', layer],
    ]);
    assert.deepEqual((await make(bytesOf(oci))).facts.languages, ['node', 'sh']);
    assert.deepEqual((await make(bytesOf(tar([['./bin/', '5'], ['./bin/sh', '0', '#!'], ['./usr/bin/python3', '0', 'x']])))).facts.languages, ['python', 'sh']);
    const source = join(folder, 'tree');
    mkdirSync(join(source, 'usr/bin'), { recursive: true });
    writeFileSync(join(source, 'usr/bin/dash'), 'x', { mode: 0o4755 });
    symlinkSync('dash', join(source, 'usr/bin/sh'));
    symlinkSync('usr/bin', join(source, 'bin'));
    symlinkSync('/etc/shadow', join(source, 'shadow'));
    symlinkSync('/etc', join(source, 'etc'));
    execFileSync('mkfifo', [join(source, 'pipe')]);
    const { root: at, facts } = await make(source);
    assert.deepEqual(facts.languages, ['sh']);
    assert.ok(lstatSync(join(at, 'shadow')).isSymbolicLink(), 'a link is kept, not followed');
    assert.deepEqual(readdirSync(join(at, 'etc')), ['passwd'], 'nor one that stands where the image needs a folder');
    assert.ok(!existsSync(join(at, 'pipe')));
    assert.equal(lstatSync(join(at, 'usr/bin/dash')).mode & 0o7000, 0);
  });

  test('names and links that lead outside are refused or stay inside', async () => {
    await assert.rejects(unpack([['../outside', '0', 'x']]), /leads out/);
    await assert.rejects(unpack([['a/../../outside', '0', 'x']]), /leads out/);
    await assert.rejects(unpack([['a', '1', '../../etc/passwd']]), /leads out/);
    await assert.rejects(unpack([['loop', '2', 'loop'], ['loop/x', '0', 'x']]), /circle/);
    const at = await unpack([['up', '2', '../../..'], ['up/planted', '0', 'x'], ['etc', '2', `${folder}/host`], ['etc/passwd', '0', 'x'], ['/absolute', '0', 'y']]);
    assert.ok(existsSync(join(at, 'planted')), 'above the root is the root');
    assert.ok(existsSync(join(at, 'absolute')) && !existsSync('/absolute'), 'an absolute name is one of the image');
    assert.ok(!existsSync(join(folder, 'host')) && !existsSync(join(folder, 'planted')));
    await assert.rejects(unpack([['link', '2', '/etc/passwd'], ['hard', '1', 'link']]), /no file of the image/);
    await assert.rejects(unpack([['hard', '1', '/etc/hostname']]), /no file of the image/);
    await assert.rejects(unpack([['.wh..', '0']]), /names nothing/);
    await assert.rejects(unpack([['.wh...', '0']]), /names nothing/);
    await assert.rejects(unpack([['l', '2', 'd/'.repeat(45)], [`l/${'d/'.repeat(45)}x`, '0', 'x']]), /deeper/);
  });

  test('devices, pipes and set-id bits are left out', async () => {
    const at = await unpack([['dev/null', '3'], ['disk', '4'], ['fifo', '6'], ['etc/x', '0', 'x', { mode: '0006777' }]]);
    assert.deepEqual([existsSync(join(at, 'disk')), existsSync(join(at, 'fifo')), readdirSync(join(at, 'dev')).length], [false, false, 0]);
    assert.equal(lstatSync(join(at, 'etc/x')).mode & 0o7000, 0);
  });

  test('bombs end at the ceilings: bytes, entries, and folders that no entry names', async () => {
    const bomb = gzipSync(tar([SH, ['zeros', '0', Buffer.alloc(32 << 20)]]));
    assert.ok(bomb.length < 64 << 10);
    await assert.rejects(make(bytesOf(bomb), { bytes: 8 << 20 }), /more than 8 MiB/);
    await assert.rejects(make(bytesOf(dockerSave([SH], bomb)), { bytes: 8 << 20 }), /more than 8 MiB/);
    await assert.rejects(make(bytesOf(dockerSave(tar([SH, ['huge', '0', 'x', { size: 2 ** 32 }]])))), /more than 64 MiB/);
    await assert.rejects(make(bytesOf(dockerSave([SH], [['skipped', '5', '', { size: 2 ** 32 }]]))), /more than 64 MiB/);
    await assert.rejects(make(bytesOf(gzipSync(Buffer.concat([tar([SH], { end: false }), ...Array(1001).fill(tar([['./', '5']], { end: false }))])))), /more than 1000 entries/);
    await assert.rejects(make(bytesOf(dockerSave([SH], Array.from({ length: 60 }, (_, i) => [`${i}${'/d'.repeat(40)}/x`, '0', 'x'])))), /more than 1000 entries/);
    const sparse = join(folder, 'sparse');
    mkdirSync(sparse);
    writeFileSync(join(sparse, 'f'), '');
    truncateSync(join(sparse, 'f'), 2 ** 40);
    await assert.rejects(make(sparse), /more than 64 MiB/);
  });

  test('what is no image, cut off, empty or for another machine is refused with a sentence', async () => {
    const whole = dockerSave([SH, ['big', '0', Buffer.alloc(100_000, 1)]]);
    await assert.rejects(make(bytesOf(whole.subarray(0, 60_000))), /it is no image, or a part of it is missing/);
    await assert.rejects(make(bytesOf(dockerSave([SH], gzipSync(tar([SH])).subarray(0, 60)))), /part of it is missing/);
    await assert.rejects(make(bytesOf('not an image at all')), /it is no image/);
    await assert.rejects(make(bytesOf('')), /it is no image/);
    await assert.rejects(make(bytesOf(dockerSave([['etc/x', '0', 'x']]))), /neither \/usr\/bin\/python3/);
    await assert.rejects(make(bytesOf(dockerSave([['bin/sh', '0', '#!', { mode: '0000644' }]]))), /neither/);
    await assert.rejects(make(bytesOf(dockerSave([['bin/sh', '2', '/nowhere']]))), /neither/);
    await assert.rejects(make(bytesOf(tar([['manifest.json', '0', '[{},{}]']]))), /holds 2 images/);
    await assert.rejects(make(bytesOf(tar([['manifest.json', '0', '[{"Layers":["gone"]}]']]))), /is missing in the archive/);
    await assert.rejects(make(bytesOf(tar([['manifest.json', '0', '{']]))), /it is no image/);
    await assert.rejects(make(bytesOf(tar([['manifest.json', '0', '[{"Layers":[7]}]']]))), /is missing in the archive/);
    await assert.rejects(make(bytesOf(dockerSave([SH], Buffer.from('28b52ffd0000', 'hex')))), /no image/);
  });

  test('a folder of which something may not be read names it', { skip: process.getuid() !== 0 && 'needs root to give a file away' }, async () => {
    const source = join(folder, 'closed');
    mkdirSync(join(source, 'bin'), { recursive: true });
    writeFileSync(join(source, 'bin/sh'), 'x', { mode: 0o700 });
    chmodSync(folder, 0o755);
    const work = mkdtempSync(join(folder, 'w-'));
    chmodSync(work, 0o777);
    await assert.rejects(run('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', '/usr/bin/python3', '-I', MAKE, source, work, '1000000', '100']), /may not be read by programs/);
  });

  const MSB = join(build, 'share/micro/msb/bin/msb');
  test('what the real msb saves is taken: the way of image.pull behind its download', { skip: existsSync(MSB) ? false : 'skipped: no msb (make micro fetches it)' }, async () => {
    const home = mkdtempSync(join(folder, 'msb-'));
    const msb = (...args) => run(MSB, args, { cwd: home, env: { PATH: '/usr/bin:/bin', HOME: home, MSB_HOME: join(home, 'msb') } });
    const hash = (data) => createHash('sha256').update(data).digest('hex');
    const layer = tar([['bin/', '5'], ['bin/sh', '0', '#!', { mode: '0000755' }]]);
    const config = JSON.stringify({ architecture: 'amd64', os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [`sha256:${hash(layer)}`] }, history: [] });
    writeFileSync(join(home, 'in.tar'), tar([['config.json', '0', config], ['l.tar', '0', layer], ['manifest.json', '0', JSON.stringify([{ Config: 'config.json', RepoTags: ['tiny:1'], Layers: ['l.tar'] }])]]));
    await msb('load', '--quiet', '--input', 'in.tar');
    await msb('save', '--quiet', '--output', 'out.tar', 'tiny:1');
    assert.deepEqual((await make(join(home, 'out.tar'))).facts.languages, ['sh']);
    console.log('image.pull: what msb saves was taken; its download from a registry is shown only up to the refusal of a host without one');
  });

  test('tools/micro_image refuses with a sentence, too', async () => {
    const image = join(root, 'tools/micro_image');
    await assert.rejects(run(image, ['/etc/passwd', join(folder, 'x.erofs')]), /could not be unpacked/);
    await assert.rejects(run(image, ['/nowhere', join(folder, 'x.erofs')]), /neither a folder nor an archive/);
  });
});
