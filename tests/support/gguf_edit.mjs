// tests/support/gguf_edit.mjs: a copy of a GGUF file with other keys and more tensors, for models that set-up does not bring: one that knows tokens
// around a gap, one with a head for ranking.
//
//   editGguf(from, to, { set: { 'bert.pooling_type': 4 }, tensors: [['cls.output.weight', [384, 1], floats]] });
import { readFileSync, writeFileSync } from 'node:fs';

const SIZES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const UINT32 = 4, STRING = 8, ARRAY = 9, F32 = 0, ALIGN = 32;

const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b; };
const str = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);
const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc((ALIGN - (bytes.length % ALIGN)) % ALIGN)]);

/** Where things stand: { keys: { name: bytes of type and value }, infos, tensors, data } */
function parse(file) {
  let at = 24;
  const number = () => { const n = Number(file.readBigUInt64LE(at)); at += 8; return n; };
  const jump = () => { const n = number(); at += n; };
  const text = () => { const n = number(); at += n; return file.toString('utf8', at - n, at); };
  const skip = (type) => {
    if (type === STRING) jump();
    else if (type === ARRAY) {
      const of = file.readUInt32LE(at);
      at += 4;
      const count = number();
      if (of === STRING) for (let i = 0; i < count; i++) jump();
      else at += count * SIZES[of];
    } else at += SIZES[type];
  };
  const keys = {};
  for (let i = 0, count = Number(file.readBigUInt64LE(16)); i < count; i++) {
    const name = text(), from = at, type = file.readUInt32LE(at);
    at += 4;
    skip(type);
    keys[name] = file.subarray(from, at);
  }
  const from = at, tensors = Number(file.readBigUInt64LE(8));
  for (let i = 0; i < tensors; i++) {
    text();
    at += 4 + file.readUInt32LE(at) * 8 + 4 + 8;
  }
  return { keys, infos: file.subarray(from, at), tensors, data: file.subarray(Math.ceil(at / ALIGN) * ALIGN) };
}

/** @param set  numbers (as 32 bits) or texts by key; @param tensors  [[name, dimensions with the fastest first, Float32Array]] */
export function editGguf(from, to, { set = {}, tensors = [] }) {
  const old = parse(readFileSync(from));
  for (const [name, value] of Object.entries(set))
    old.keys[name] = typeof value === 'number' ? Buffer.concat([u32(UINT32), u32(value)]) : Buffer.concat([u32(STRING), str(value)]);
  const blobs = [padded(old.data)];
  let offset = blobs[0].length;
  const infos = tensors.map(([name, dims, floats]) => {
    const info = Buffer.concat([str(name), u32(dims.length), ...dims.map(u64), u32(F32), u64(offset)]);
    blobs.push(padded(Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength)));
    offset += blobs.at(-1).length;
    return info;
  });
  const pairs = Object.entries(old.keys).map(([name, value]) => Buffer.concat([str(name), value]));
  const head = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(old.tensors + tensors.length), u64(pairs.length), ...pairs, old.infos, ...infos]);
  writeFileSync(to, Buffer.concat([padded(head), ...blobs]));
}
