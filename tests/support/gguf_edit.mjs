// tests/support/gguf_edit.mjs: a copy of a GGUF file with other keys and more tensors, for models that set-up does not bring: one that knows tokens
// around a gap, one with a head for ranking; and LoRA adapters.
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

/** Table and bytes of tensors [[name, dimensions with the fastest first, Float32Array]], the first one at `offset`. */
function lay(tensors, offset) {
  const blobs = [];
  const infos = tensors.map(([name, dims, floats]) => {
    const info = Buffer.concat([str(name), u32(dims.length), ...dims.map(u64), u32(F32), u64(offset)]);
    blobs.push(padded(Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength)));
    offset += blobs.at(-1).length;
    return info;
  });
  return { infos, blobs };
}
const head = (tensors, pairs, infos) => padded(Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors), u64(pairs.length), ...pairs, ...infos]));

/** @param set  numbers (as 32 bits) or texts by key; @param tensors  [[name, dimensions with the fastest first, Float32Array]] */
export function editGguf(from, to, { set = {}, tensors = [] }) {
  const old = parse(readFileSync(from));
  for (const [name, value] of Object.entries(set))
    old.keys[name] = typeof value === 'number' ? Buffer.concat([u32(UINT32), u32(value)]) : Buffer.concat([u32(STRING), str(value)]);
  const data = padded(old.data);
  const { infos, blobs } = lay(tensors, data.length);
  const pairs = Object.entries(old.keys).map(([name, value]) => Buffer.concat([str(name), value]));
  writeFileSync(to, Buffer.concat([head(old.tensors + tensors.length, pairs, [old.infos, ...infos]), data, ...blobs]));
}

/** Numbers from -1 to 1 that are the same each time. */
function noise(count, seed) {
  const numbers = new Float32Array(count);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers[i] = state / 2 ** 31 - 1;
  }
  return numbers;
}

/**
 * A LoRA adapter that disturbs one layer so much that the text becomes another one.
 * @param layer, feed, width  the layer whose ffn_down is changed, and its shape
 */
export function writeAdapter(to, { architecture = 'llama', layer, feed, width, seed = 7, strength = 1, type = 'adapter' }) {
  const RANK = 4, FLOAT32 = 6;
  const alpha = Buffer.alloc(4);
  alpha.writeFloatLE(RANK);
  const text = (name, value) => Buffer.concat([str(name), u32(STRING), str(value)]);
  const pairs = [
    text('general.type', type), text('general.architecture', architecture), text('general.name', 'an adapter of the tests'), text('adapter.type', 'lora'),
    Buffer.concat([str('adapter.lora.alpha'), u32(FLOAT32), alpha]),
  ];
  const name = `blk.${layer}.ffn_down.weight`;
  const { infos, blobs } = lay([
    [`${name}.lora_a`, [feed, RANK], noise(feed * RANK, seed).map((n) => n * strength)],
    [`${name}.lora_b`, [RANK, width], noise(RANK * width, seed + 1).map((n) => n * strength)],
  ], 0);
  writeFileSync(to, Buffer.concat([head(infos.length, pairs, infos), ...blobs]));
}
