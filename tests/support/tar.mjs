// tests/support/tar.mjs: tar archives in memory, well-formed and not: [name, type, content or link target, { mode, size }].
//   type: '0' file, '1' hard link, '2' symbolic link, '3' character device, '5' folder, '6' pipe

/** One archive. */
export function tar(entries, { end = true } = {}) {
  const blocks = [];
  for (const [name, type, content = '', { mode, size } = {}] of entries) {
    const data = Buffer.from(type === '0' ? content : '');
    const head = Buffer.alloc(512);
    head.write(name, 0, 100);
    head.write(mode ?? (type === '5' ? '0000755' : '0004755'), 100);
    head.write('0000000', 108);
    head.write('0000000', 116);
    head.write((size ?? data.length).toString(8).padStart(11, '0'), 124);
    head.write('00000000000', 136);
    head.write('        ', 148);
    head.write(type, 156);
    if (type === '1' || type === '2') head.write(content, 157, 100);
    head.write('ustar\u000000', 257);
    head.write(`${[...head].reduce((a, b) => a + b, 0).toString(8).padStart(6, '0')}\0 `, 148);
    blocks.push(head, data, Buffer.alloc((512 - (data.length % 512)) % 512));
  }
  return Buffer.concat(end ? [...blocks, Buffer.alloc(1024)] : blocks);
}

/** What `docker save` writes, of layers (each a list of entries, or the bytes of a layer). */
export const dockerSave = (...layers) =>
  tar([
    ...layers.map((layer, i) => [`l${i}.tar`, '0', Buffer.isBuffer(layer) ? layer : tar(layer)]),
    ['manifest.json', '0', JSON.stringify([{ Layers: layers.map((_, i) => `l${i}.tar`) }])],
  ]);
