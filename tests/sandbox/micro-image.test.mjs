// tests/sandbox/micro-image.test.mjs: an OCI archive becomes a root image; a hostile one does not leave its folder.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { root } from '../support/stack.mjs';

const run = promisify(execFile);

/** A tar archive in memory: [name, type, content or link target]. */
function tar(entries) {
  const blocks = [];
  for (const [name, type, content = ''] of entries) {
    const data = Buffer.from(type === '0' ? content : '');
    const head = Buffer.alloc(512);
    head.write(name, 0, 100);
    head.write(type === '5' ? '0000755' : '0004755', 100);
    head.write('0000000', 108);
    head.write('0000000', 116);
    head.write(data.length.toString(8).padStart(11, '0'), 124);
    head.write('00000000000', 136);
    head.write('        ', 148);
    head.write(type, 156);
    if (type === '1' || type === '2') head.write(content, 157, 100);
    head.write('ustar\u000000', 257);
    head.write(`${[...head].reduce((a, b) => a + b, 0).toString(8).padStart(6, '0')}\0 `, 148);
    blocks.push(head, data, Buffer.alloc((512 - (data.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}
const archive = (...layers) =>
  tar([...layers.map((layer, i) => [`l${i}.tar`, '0', tar(layer)]), ['manifest.json', '0', JSON.stringify([{ Layers: layers.map((_, i) => `l${i}.tar`) }])]]);

describe('images of users', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cds-oci-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  let count = 0;
  const unpack = async (...layers) => {
    const file = join(folder, `a${++count}.tar`);
    const out = join(folder, `r${count}`);
    writeFileSync(file, archive(...layers));
    await run('python3', [join(root, 'tools/micro_layers'), file, out]);
    return out;
  };

  test('layers lie on each other, white-outs delete, links of folders are followed inside', async () => {
    const at = await unpack(
      [['usr/', '5'], ['usr/bin/', '5'], ['bin', '2', 'usr/bin'], ['usr/bin/a', '0', 'old'], ['usr/bin/gone', '0', 'x'], ['d/', '5'], ['d/x', '0', '1']],
      [['bin/a', '0', 'new'], ['bin/.wh.gone', '0'], ['d/.wh..wh..opq', '0'], ['d/y', '0', '2'], ['abs', '2', '/usr/bin'], ['abs/b', '0', 'b'], ['usr/bin/c', '1', 'usr/bin/a']],
    );
    assert.equal(readFileSync(join(at, 'usr/bin/a'), 'utf8'), 'new');
    assert.equal(readFileSync(join(at, 'usr/bin/b'), 'utf8'), 'b');
    assert.equal(readFileSync(join(at, 'usr/bin/c'), 'utf8'), 'new');
    assert.deepEqual([existsSync(join(at, 'usr/bin/gone')), existsSync(join(at, 'd/x')), existsSync(join(at, 'd/y'))], [false, false, true]);
    assert.equal(lstatSync(join(at, 'usr/bin/a')).mode & 0o7000, 0, 'no set-id bits');
    assert.equal(readlinkSync(join(at, 'bin')), 'usr/bin');
  });

  test('names and links that lead outside are refused or stay inside', async () => {
    await assert.rejects(unpack([['../outside', '0', 'x']]), /leads out/);
    await assert.rejects(unpack([['a', '1', '../../etc/passwd']]), /leads out/);
    await assert.rejects(unpack([['loop', '2', 'loop'], ['loop/x', '0', 'x']]), /circle/);
    const at = await unpack([['up', '2', '../../..'], ['up/planted', '0', 'x'], ['etc', '2', `${folder}/host`], ['etc/passwd', '0', 'x']]);
    assert.ok(existsSync(join(at, 'planted')), 'above the root is the root');
    assert.ok(!existsSync(join(folder, 'host')) && !existsSync(join(folder, 'planted')));
    await assert.rejects(unpack([['link', '2', '/etc/passwd'], ['hard', '1', 'link']]), /no file of the image/);
  });

  test('something else than an archive is refused with a sentence', async () => {
    const image = join(root, 'tools/micro_image');
    await assert.rejects(run(image, ['/etc/passwd', join(folder, 'x.erofs')]), /could not be unpacked/);
    await assert.rejects(run(image, ['/nowhere', join(folder, 'x.erofs')]), /neither a folder nor an archive/);
  });
});
