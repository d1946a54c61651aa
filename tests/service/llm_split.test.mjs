// A model in several files: the first part stands for all, and says what the whole one says.
import assert from 'node:assert/strict';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { llmClient } from '../support/llm.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const ALIGN = 32;
const SIZES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 }; // of GGUF value types; 8 is a string, 9 a list

/** Header, keys and tensors of a GGUF file. */
function read(bytes) {
  let at = 24;
  const u64 = () => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const u32 = () => bytes.readUInt32LE((at += 4) - 4);
  const pass = (count) => (at += count); // the count is read before `at` is
  const skip = (type) => {
    if (type === 8) pass(u64());
    else if (type !== 9) at += SIZES[type];
    else for (let item = u32(), left = u64(); left > 0; left--) skip(item);
  };
  const keys = Number(bytes.readBigUInt64LE(16)), tensors = [];
  for (let i = 0; i < keys; i++) skip(8), skip(u32());
  const end = at;
  for (let i = Number(bytes.readBigUInt64LE(8)); i > 0; i--) {
    const from = at;
    skip(8);
    pass(8 * u32() + 4);
    tensors.push({ head: bytes.subarray(from, at), offset: u64() });
  }
  const data = Math.ceil(at / ALIGN) * ALIGN;
  tensors.forEach((t, i) => (t.data = bytes.subarray(data + t.offset, i + 1 < tensors.length ? data + tensors[i + 1].offset : undefined)));
  return { keys, pairs: bytes.subarray(24, end), tensors };
}

const number = (name, type, value) => {
  const b = Buffer.alloc(8 + name.length + 4 + SIZES[type]);
  b.writeBigUInt64LE(BigInt(name.length));
  b.write(name, 8);
  b.writeUInt32LE(type, 8 + name.length);
  b.writeUIntLE(value, 12 + name.length, SIZES[type]);
  return b;
};

/** Part `index` of `count`: all keys, and its share of the tensors. */
function part(whole, index, count) {
  const share = Math.ceil(whole.tensors.length / count), mine = whole.tensors.slice(index * share, (index + 1) * share);
  const head = Buffer.alloc(24);
  head.write('GGUF');
  head.writeUInt32LE(3, 4);
  head.writeBigUInt64LE(BigInt(mine.length), 8);
  head.writeBigUInt64LE(BigInt(whole.keys + 3), 16);
  const pieces = [head, whole.pairs, number('split.no', 2, index), number('split.count', 2, count), number('split.tensors.count', 5, whole.tensors.length)];
  const padded = (b) => Buffer.concat([b, Buffer.alloc(Math.ceil(b.length / ALIGN) * ALIGN - b.length)]);
  let offset = 0;
  for (const t of mine) {
    const at = Buffer.alloc(8);
    at.writeBigUInt64LE(BigInt(offset));
    pieces.push(t.head, at);
    offset += padded(t.data).length;
  }
  return Buffer.concat([padded(Buffer.concat(pieces)), ...mine.map((t) => padded(t.data))]);
}

let stack, llm;
before(async () => {
  stack = await startTiny({
    options: { 'llm.slots': '2', 'llm.request_tokens': '1024', 'llm.context_tokens': '4096' },
    prepare: (models, file) => {
      const whole = read(readFileSync(file));
      for (let i = 0; i < 3; i++) writeFileSync(join(models, `parts-0000${i + 1}-of-00003.gguf`), part(whole, i, 3));
    },
  });
  llm = llmClient(stack);
});
after(() => stack?.stop());

test('a_model_in_three_files_is_one_and_answers_like_the_whole_one', async () => {
  const say = async (model) => (await llm.complete({ model, prompt: 'The river and the stone', max_tokens: 12, temperature: 0 })).json;
  const { models } = (await llm.call('GET', '/admin/models', undefined, 'admin')).json;
  const [whole, parts] = [TINY, 'parts'].map((id) => models.find((m) => m.id === id));
  assert.equal(parts.parameters, whole.parameters, 'of all parts together');
  assert.ok(!models.some((m) => m.id.includes('of-00003')), 'the other parts are no models');
  const loaded = await llm.call('POST', '/admin/load', { model: 'parts' }, 'admin');
  assert.equal(loaded.status, 200, loaded.text);
  assert.equal((await say('parts')).choices[0].text, (await say(TINY)).choices[0].text);
});

test('a_part_that_is_missing_is_said_before_anything_is_loaded', async () => {
  await llm.call('POST', '/admin/unload', { model: 'parts' }, 'admin');
  const second = join(stack.home, 'models', 'parts-00002-of-00003.gguf');
  renameSync(second, `${second}.away`);
  const first = join(stack.home, 'models', 'parts-00001-of-00003.gguf');
  writeFileSync(first, readFileSync(first)); // another time: it is read again
  await llm.call('GET', '/admin/models', undefined, 'admin');
  const got = await llm.call('POST', '/admin/load', { model: 'parts' }, 'admin');
  assert.equal(got.status, 400, got.text);
  assert.match(got.json.error.message, /part|corrupt|missing/i);
});
