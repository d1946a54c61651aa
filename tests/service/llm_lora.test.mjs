// LoRA adapters: registered by an administrator, named by requests with scales, told apart in cells and batches, counted, and refused by name.
import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { writeAdapter } from '../support/gguf_edit.mjs';
import { MODEL, ask, assertRefused, llmClient } from '../support/llm.mjs';
import { build } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const SMOL = { layer: 28, feed: 1536, width: 576, strength: 0.7 };
const PATH = `/admin/models/${MODEL}/settings`;
let stack, llm, folder;
const admin = (method, path, body) => llm.call(method, path, body, 'admin');
const status = async (id = MODEL) => (await admin('GET', '/admin/status')).json.models.find((m) => m.id === id);
const register = (adapters, path = PATH) => admin('PUT', path, { adapters });
async function reload(id = MODEL) {
  assert.equal((await admin('POST', '/admin/unload', { model: id })).status, 200);
  const got = await admin('POST', '/admin/load', { model: id });
  assert.equal(got.status, 200, got.text);
}
const prompt = 'A list of colours: red, green, blue,';
async function text(more = {}, as = 'developer') {
  const got = await llm.complete({ prompt, max_tokens: 12, temperature: 0, speculation: 'off', ...more }, as);
  assert.equal(got.status, 200, got.text);
  return { text: got.json.choices[0].text, usage: got.json.usage };
}
const one = (id, scale) => [{ id, scale }];

before(async () => {
  stack = await startTiny({
    options: { 'llm.model': join(build, 'share/models/SmolLM2-135M-Instruct.Q8_0.gguf'), 'llm.slots': '6' },
    prepare: (models) => {
      folder = models;
      writeAdapter(join(models, 'noise.gguf'), { ...SMOL, seed: 7 });
      writeAdapter(join(models, 'other.gguf'), { ...SMOL, seed: 99 });
    },
  });
  llm = llmClient(stack);
  const got = await register(['noise=noise.gguf', 'other=other.gguf']);
  assert.equal(got.status, 200, got.text);
  assert.equal(got.json.reload_needed, true);
  await reload();
});
after(() => stack?.stop());

describe('a request with adapters', () => {
  test('the_effect_is_there_at_scale_1_another_at_a_half_and_gone_at_0', async () => {
    const plain = await text();
    const whole = await text({ lora: one('noise', 1) });
    assert.notEqual(whole.text, plain.text);
    assert.equal((await text({ lora: [{ id: 'noise' }] })).text, whole.text, 'a scale that is not named is 1');
    assert.equal((await text({ lora: one('noise', 0) })).text, plain.text);
    assert.equal((await text({ lora: [] })).text, plain.text);
    const other = await text({ lora: one('other', 1) });
    const both = await text({ lora: [{ id: 'noise', scale: 1 }, { id: 'other', scale: 1 }] });
    assert.equal(new Set([plain.text, whole.text, other.text, both.text]).size, 4);
    assert.equal((await text({ lora: [{ id: 'other', scale: 1 }, { id: 'noise', scale: 1 }] })).text, both.text, 'their order says nothing');
    assert.equal((await text()).text, plain.text, 'and nothing of it stays');
  });

  test('every_dialect_takes_them', async () => {
    const lora = one('noise', 1), messages = ask('Name three colours.');
    const chat = async (more) => (await llm.chat({ messages, max_tokens: 10, temperature: 0, speculation: 'off', ...more })).json.choices[0].message.content;
    const responses = async (more) =>
      (await llm.call('POST', '/v1/responses', { input: messages, max_output_tokens: 10, temperature: 0, speculation: 'off', ...more })).json.output[0].content[0].text;
    const anthropic = async (more) =>
      (await llm.call('POST', '/v1/messages', { model: MODEL, messages, max_tokens: 10, temperature: 0, speculation: 'off', ...more })).json.content[0].text;
    const rpc = async (more) => (await stack.rpc('llm.chat', { messages, max_tokens: 10, temperature: 0, ...more }, 'developer')).content;
    const completed = async (more) => (await stack.rpc('llm.complete', { prompt, max_tokens: 12, temperature: 0, ...more }, 'developer')).content;
    const [plain, changed] = [await chat({}), await chat({ lora })];
    assert.notEqual(changed, plain);
    for (const dialect of [responses, anthropic, rpc]) {
      assert.equal(await dialect({}), plain);
      assert.equal(await dialect({ lora }), changed);
    }
    assert.equal(await completed({ lora }), (await text({ lora })).text);
    const streamed = await llm.stream({ messages, max_tokens: 10, temperature: 0, lora });
    assert.equal(streamed.events.map((e) => e.choices[0]?.delta?.content ?? '').join(''), changed);
  });

  test('cells_are_shared_only_with_the_same_adapters_and_scales', async () => {
    const long = `${'The river and the stone and the bridge and the market. '.repeat(8)}A list: red, green, blue,`;
    const cached = async (lora) => (await text({ prompt: long, lora })).usage.prompt_tokens_details.cached_tokens;
    const prompt_tokens = (await text({ prompt: long, lora: one('noise', 0.7) })).usage.prompt_tokens;
    assert.equal(await cached(one('noise', 0.7)), prompt_tokens - 1);
    assert.ok((await cached(one('noise', 0.6))) <= 1, 'another scale');
    assert.ok((await cached(one('other', 0.7))) <= 1, 'another adapter');
    assert.ok((await cached(undefined)) <= 1, 'none');
    assert.equal(await cached(one('noise', 0)), prompt_tokens - 1, 'scale 0 is none');
    assert.equal(await cached(one('noise', 0.6)), prompt_tokens - 1, 'each is kept for itself');
  });

  test('requests_with_different_adapters_at_once_each_say_what_they_say_alone', async () => {
    const sets = [undefined, one('noise', 1), one('other', 1), one('noise', 0.5), [{ id: 'noise', scale: 1 }, { id: 'other', scale: 1 }], undefined];
    /** Chances of the prompt's tokens: texts may part where two tokens are as good as alike, and the company changes the last bit of a sum. */
    const chances = async (lora, i) => {
      const got = await llm.complete({ prompt: `${i} + ${i} = ${2 * i}. ${prompt}`, max_tokens: 24, temperature: 0, speculation: 'off', logprobs: 1, echo: true, lora });
      return got.json.choices[0].logprobs.token_logprobs.slice(1, 15);
    };
    const apart = (a, b) => Math.max(...a.map((n, i) => Math.abs(n - b[i])));
    const plain = await chances(undefined, 7);
    for (const lora of sets.slice(1, 5)) {
      const seen = apart(await chances(lora, 7), plain);
      assert.ok(seen > 0.15, `${JSON.stringify(lora)} changes a chance by ${seen}`);
    }
    const alone = [];
    for (const [i, lora] of sets.entries()) alone.push(await chances(lora, i));
    const { turns, most_generating } = (await status()).work;
    const together = await Promise.all(sets.map(chances));
    for (const [i, list] of together.entries()) assert.ok(apart(list, alone[i]) < 0.05, `request ${i} beside others: ${apart(list, alone[i])} off`);
    const after = (await status()).work;
    assert.ok(after.turns - turns >= 5, `${after.turns - turns} changes of adapters`);
    assert.ok(after.most_generating <= Math.max(most_generating, 2), 'only the two without adapters were in one batch');
  });

  test('an_unknown_adapter_is_400_naming_those_there_are', async () => {
    assertRefused(await llm.complete({ prompt, lora: one('nobody', 1) }), 'lora', /no adapter "nobody".*"noise", "other"/);
    assertRefused(await llm.chat({ messages: ask('Hi'), lora: one('nobody', 1) }), 'lora', /"noise", "other"/);
    const wrong = ['noise', [1], [{ id: 3 }], [{ id: '' }], [{ scale: 1 }], one('noise', '1'), one('noise', 101), one('noise', -101), [...one('noise', 1), ...one('noise', 2)],
      Array.from({ length: 9 }, (_, i) => ({ id: `a${i}` })), { noise: 1 }];
    for (const lora of wrong) assertRefused(await llm.complete({ prompt, lora }), 'lora', /at most 8 objects/);
    assert.equal((await llm.complete({ prompt, lora: null, max_tokens: 2 })).status, 200);
  });
});

describe('an administrator', () => {
  test('models_list_their_adapters_and_adapters_are_no_models', async () => {
    const bytes = statSync(join(folder, 'noise.gguf')).size;
    const wanted = [{ id: 'noise', file: 'noise.gguf', scale: 0, size_bytes: bytes }, { id: 'other', file: 'other.gguf', scale: 0, size_bytes: bytes }];
    const listed = (await llm.call('GET', '/v1/models')).json.data;
    assert.deepEqual(listed.find((m) => m.id === MODEL).cds.adapters, wanted);
    assert.deepEqual(listed.find((m) => m.id === TINY).cds.adapters, []);
    assert.equal(listed.find((m) => m.id === 'noise'), undefined);
    const all = (await admin('GET', '/admin/models')).json.models;
    assert.deepEqual(all.find((m) => m.id === MODEL).adapters, wanted);
    assert.equal(all.find((m) => m.id === 'noise').facts.type, 'adapter');
    const got = await admin('POST', '/admin/load', { model: 'noise' });
    assert.equal(got.status, 400);
    assert.match(got.json.error.message, /kind "adapter"/);
  });

  test('their_memory_is_in_the_estimate', async () => {
    const { need_bytes } = (await admin('PUT', PATH, { adapters: [] })).json;
    const more = (await register(['noise=noise.gguf', 'other=other.gguf'])).json.need_bytes - need_bytes;
    const numbers = 2 * 4 * (1536 + 576) * 4;
    assert.ok(more >= numbers && more < numbers + 4096, `${more} bytes for ${numbers}`);
  });

  test('what_does_not_fit_is_refused_by_name_when_it_is_registered', async () => {
    writeAdapter(join(folder, 'qwen.gguf'), { ...SMOL, architecture: 'qwen2' });
    writeFileSync(join(folder, 'broken.gguf'), 'GGUF, or what is left of it');
    for (const [entry, pattern] of [
      ['a=qwen.gguf', /"a" \(qwen.gguf\).*"qwen2".*"llama"/], ['b=broken.gguf', /"b" \(broken.gguf\) is corrupt/], ['c=nothing.gguf', /"c" \(nothing.gguf\) is not there/],
      [`d=${TINY}.gguf`, /"d" .* no adapter, but a file of the kind "model"/],
    ]) {
      const got = await register([entry]);
      assertRefused(got, 'adapters', pattern);
    }
    for (const wrong of ['noise', ['noise'], ['=noise.gguf'], ['Noise=noise.gguf'], ['a=../noise.gguf'], ['a=noise.bin'], ['a=noise.gguf:x'], ['a=noise.gguf:200'], ['a=noise.gguf:'],
      ['a=noise.gguf', 'a=other.gguf'], Array.from({ length: 9 }, (_, i) => `a${i}=noise.gguf`)])
      assertRefused(await register(wrong), 'adapters', /such as "pirate=pirate.gguf"/);
    assert.deepEqual((await admin('GET', PATH)).json.settings.find((s) => s.name === 'adapters').value, ['noise=noise.gguf', 'other=other.gguf']);
    assert.equal((await llm.call('PUT', PATH, { adapters: [] }, 'developer')).status, 403);
  });

  test('one_for_another_shape_is_refused_by_name_when_the_model_is_loaded', async () => {
    const path = `/admin/models/${TINY}/settings`;
    assert.equal((await register(['wide=noise.gguf'], path)).status, 200, 'the header names the same architecture');
    const got = await admin('POST', '/admin/load', { model: TINY });
    assert.notEqual(got.status, 200);
    assert.match(got.json.error.message, /"wide" \(noise.gguf\) cannot be used with this model/);
    assert.equal((await admin('PUT', path, { adapters: null })).status, 200);
    assert.equal((await admin('POST', '/admin/unload', { model: TINY })).status, 200);
    assert.equal((await admin('POST', '/admin/load', { model: TINY })).status, 200);
    assertRefused(await llm.complete({ model: TINY, prompt: 'x', lora: one('noise', 1) }), 'lora', /no adapter "noise", nor any other/);
    assert.equal((await admin('POST', '/admin/unload', { model: TINY })).status, 200);
  });

  test('a_scale_of_the_setting_holds_for_requests_that_name_none', async () => {
    const [plain, changed] = [(await text()).text, (await text({ lora: one('noise', 1) })).text];
    assert.equal((await register(['noise=noise.gguf:1', 'other=other.gguf'])).status, 200);
    await reload();
    assert.equal((await text()).text, changed);
    assert.equal((await text({ lora: [] })).text, plain, 'a request that names none has none');
    assert.equal((await llm.call('GET', `/v1/models/${MODEL}`)).json.cds.adapters[0].scale, 1);
  });
});
