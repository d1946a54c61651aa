// States of prompts in files: saved by a request, put back after the model process is another one, paid as cached; whose they are, how many, and what is
// refused by name.
import assert from 'node:assert/strict';
import { chownSync, copyFileSync, existsSync, linkSync, readFileSync, readdirSync, renameSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { writeAdapter } from '../support/gguf_edit.mjs';
import { assertRefused, ledgerOf, llmClient } from '../support/llm.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const PATH = `/admin/models/${TINY}/settings`, KIB = 1024;
let stack, llm;
const admin = (method, path, body) => llm.call(method, path, body, 'admin');
const prompt = `${'The river and the stone and the bridge and the market and the letter. '.repeat(30)}Then`;
const body = { prompt, max_tokens: 4, temperature: 0, speculation: 'off' };
const status = async () => (await admin('GET', '/admin/status')).json.models.find((m) => m.id === TINY);
async function reload(changes) {
  if (changes) assert.equal((await admin('PUT', PATH, changes)).status, 200);
  assert.equal((await admin('POST', '/admin/unload', { model: TINY })).status, 200);
  assert.equal((await admin('POST', '/admin/load', { model: TINY })).status, 200);
}
const save = (name, more = {}, as) => llm.complete({ ...body, save_state: name, ...more }, as);
const restore = (name, more, as) => llm.call('POST', `/v1/states/${name}/restore`, more ?? {}, as);
const list = async (as) => (await llm.call('GET', '/v1/states', undefined, as)).json;
const remove = (name, as) => llm.call('DELETE', `/v1/states/${name}`, undefined, as);
async function said(more = {}) {
  const got = await llm.complete({ ...body, ...more });
  assert.equal(got.status, 200, got.text);
  return { text: got.json.choices[0].text, cached: got.json.usage.prompt_tokens_details.cached_tokens, prompt: got.json.usage.prompt_tokens, id: got.json.cds.request_id };
}
const files = () => {
  const root = join(stack.home, 'states');
  return existsSync(root) ? readdirSync(root, { recursive: true }).filter((f) => f.endsWith('.state')).map((f) => join(root, f)) : [];
};
const fileOf = (name) => files().find((f) => f.endsWith(`/${name}.state`));

before(async () => {
  stack = await startTiny({
    options: { 'llm.slots': '2', 'llm.context_tokens': '4096', 'llm.request_tokens': '1024', 'llm.states_per_user': '3', 'llm.states_bytes': String(4096 * KIB) },
    prepare: (models, file) => {
      linkSync(file, join(models, 'second.gguf'));
      writeAdapter(join(models, 'noise.gguf'), { layer: 1, feed: 128, width: 64 });
      writeAdapter(join(models, 'noise2.gguf'), { layer: 0, feed: 128, width: 64, seed: 3 });
    },
  });
  llm = llmClient(stack);
});
after(() => stack?.stop());

describe('a state', () => {
  test('is_saved_and_put_back_into_a_new_process_and_nothing_is_computed_twice', async () => {
    const first = await said();
    const saved = await save('story');
    assert.equal(saved.status, 200, saved.text);
    assert.equal(saved.json.usage.completion_tokens, 0);
    assert.equal(saved.json.choices[0].text, '');
    const { state } = saved.json.cds;
    assert.equal(state.name, 'story');
    assert.equal(state.tokens, first.prompt);
    assert.ok(state.bytes > first.prompt * 2 * 2 * 64 * 2, 'two layers of keys and values of 64 numbers');
    await reload();
    const { pid } = await status();
    const put = await restore('story');
    assert.equal(put.status, 200, put.text);
    assert.deepEqual(put.json, { object: 'state', name: 'story', model: TINY, tokens: first.prompt, restored: true });
    const before = (await status()).work;
    assert.equal((await status()).pid, pid);
    assert.equal(before.restored_tokens, first.prompt);
    assert.equal(before.prompt_rows, 0, 'nothing was computed for it');
    const again = await said();
    const work = (await status()).work;
    assert.equal(again.text, first.text);
    assert.equal(again.cached, first.prompt - 1);
    assert.equal(work.prompt_rows - before.prompt_rows, 1, 'one token, for its logits');
    const booked = await ledgerOf(stack, again.id);
    assert.deepEqual([booked.prompt_tokens, booked.cached_tokens, booked.completion_tokens], [first.prompt, first.prompt - 1, 4]);
  });

  test('its_saving_is_paid_like_a_prompt_that_is_read', async () => {
    const saved = await save('paid', { prompt: `Nobody has asked this before. ${prompt}` });
    const booked = await ledgerOf(stack, saved.json.cds.request_id);
    const { usage } = saved.json;
    assert.deepEqual([booked.prompt_tokens, booked.cached_tokens, booked.completion_tokens], [usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, 0]);
    assert.equal((await remove('paid')).json.deleted, true);
  });

  test('of_a_chat_serves_the_chat_that_goes_on', async () => {
    const messages = [{ role: 'system', content: prompt }, { role: 'user', content: 'Go on.' }];
    const saved = await llm.chat({ messages, save_state: 'chat' });
    assert.equal(saved.status, 200, saved.text);
    await reload();
    assert.equal((await restore('chat')).status, 200);
    const next = await llm.chat({ messages: [...messages, { role: 'assistant', content: 'Yes.' }, { role: 'user', content: 'And then?' }], max_tokens: 2 });
    assert.ok(next.json.usage.prompt_tokens_details.cached_tokens >= saved.json.cds.state.tokens - 1, next.text);
    await remove('chat');
  });

  test('is_listed_with_what_it_was_made_with_and_replaced_under_its_name', async () => {
    await save('twice');
    const before = (await list()).data.find((s) => s.name === 'twice');
    await save('twice', { prompt: `${prompt} and more` });
    const all = await list();
    const one = all.data.find((s) => s.name === 'twice');
    assert.ok(one.tokens > before.tokens);
    assert.equal(one.model, TINY);
    assert.equal(one.settings.cache_type_k, 'f16');
    assert.equal(one.bytes, statSync(fileOf('twice')).size);
    assert.equal(all.data.filter((s) => s.name === 'twice').length, 1);
    assert.equal(all.bytes, all.data.reduce((sum, s) => sum + s.bytes, 0));
    assert.deepEqual((await llm.call('GET', '/v1/states/twice')).json, one);
    assert.equal(statSync(fileOf('twice')).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(fileOf('twice'))).mode & 0o777, 0o700);
    assert.equal((await remove('twice')).status, 200);
    assert.equal((await remove('twice')).status, 404);
  });

  test('belongs_to_its_user_alone', async () => {
    await save('mine');
    assert.ok((await list()).data.some((s) => s.name === 'mine'));
    for (const as of ['admin']) {
      assert.deepEqual((await list(as)).data, []);
      assert.equal((await restore('mine', {}, as)).status, 404);
      assert.equal((await remove('mine', as)).status, 404);
      assert.equal((await llm.call('GET', '/v1/states/mine', undefined, as)).status, 404);
    }
    assert.equal((await llm.call('GET', '/v1/states', undefined, 'viewer')).status, 403);
    /* What one user put back, another one shares nothing of. */
    await reload();
    assert.equal((await restore('mine')).status, 200);
    const other = await llm.complete(body, 'admin');
    assert.ok(other.json.usage.prompt_tokens_details.cached_tokens <= 1);
    /* Nor is a file of one taken for one of another. */
    const copied = join(dirname(fileOf('mine')), 'copied.state'), { uid, gid } = statSync(fileOf('mine'));
    copyFileSync(fileOf('mine'), copied);
    chownSync(copied, uid, gid);
    const got = await restore('copied');
    assert.equal(got.status, 400);
    assert.match(got.json.error.message, /somebody else/);
    await remove('copied');
    await remove('mine');
  });

  test('more_or_larger_ones_than_a_user_may_keep_are_refused_with_the_numbers', async () => {
    for (const { name } of (await list()).data) await remove(name);
    const tokens = 'a '.repeat(60);
    for (const name of ['one', 'two', 'three']) assert.equal((await save(name, { prompt: tokens })).status, 200);
    const spent = (await llm.usage()).used_tokens;
    const got = await save('four', { prompt: tokens });
    assert.equal(got.status, 507, got.text);
    assert.match(got.json.error.message, /3 states.*at most 3/);
    assert.equal(got.json.error.rule, 'llm.states_per_user');
    assert.equal((await save('two', { prompt: tokens })).status, 200, 'one that is there may be replaced');
    for (const name of ['one', 'two', 'three']) await remove(name);
    assert.ok((await llm.usage()).used_tokens > spent);
    assert.equal(files().length, 0);
  });

  test('wrong_names_and_wrong_company_are_400', async () => {
    for (const name of ['', '.x', 'a/b', 'x'.repeat(65), 'ä', 7, true]) assertRefused(await save(name), 'save_state', /1 to 64 letters/);
    assertRefused(await save('n', { n: 2 }), 'save_state', /several/);
    assertRefused(await save('n', { prompt: ['a', 'b'] }), 'save_state', /several/);
    assert.equal((await restore('nobody')).status, 404);
    assert.equal((await llm.call('POST', '/v1/states/.x/restore', {})).status, 400);
    assert.equal((await llm.call('POST', '/v1/states/a/b/restore', {})).status, 400);
    assert.equal((await llm.call('POST', '/v1/states/x', {})).status, 404);
  });
});

describe('what does not fit is refused by name', () => {
  const refused = async (name, pattern, more) => {
    const got = await restore(name, more);
    assert.equal(got.status, 409, got.text);
    assert.match(got.json.error.message, pattern);
  };
  before(async () => assert.equal((await save('kept')).status, 200));

  test('another_model_another_setting_and_a_smaller_request', async () => {
    assert.equal((await admin('POST', '/admin/load', { model: 'second' })).status, 200);
    await refused('kept', /the model "random-tiny"; now it is "second"/, { model: 'second' });
    assert.equal((await admin('POST', '/admin/unload', { model: 'second' })).status, 200);
    await reload({ cache_type_k: 'q8_0' });
    await refused('kept', /the setting "cache_type_k" "f16"; now it is "q8_0"/);
    await reload({ cache_type_k: null, flash_attention: 'off' });
    await refused('kept', /the setting "flash_attention" "auto"; now it is "off"/);
    await reload({ flash_attention: null, request_tokens: 256 });
    await refused('kept', /tokens, but a request of the model may have 256/);
    await reload({ request_tokens: null });
    assert.equal((await restore('kept')).status, 200);
  });

  test('a_model_that_is_not_loaded', async () => {
    assert.equal((await admin('POST', '/admin/unload', { model: TINY })).status, 200);
    const got = await restore('kept');
    assert.equal(got.json.error.code, 'model_not_loaded');
    assert.equal((await admin('POST', '/admin/load', { model: TINY })).status, 200);
  });

  test('other_weights_under_the_same_name', async () => {
    const file = join(stack.home, 'models', `${TINY}.gguf`), bytes = readFileSync(file);
    const changed = Buffer.from(bytes);
    for (let at = Math.floor(bytes.length * 0.7); at < Math.floor(bytes.length * 0.8); at++) changed[at] ^= 1;
    await admin('POST', '/admin/unload', { model: TINY });
    writeFileSync(file, changed);
    await admin('POST', '/admin/load', { model: TINY });
    await refused('kept', /weights have changed/);
    await admin('POST', '/admin/unload', { model: TINY });
    writeFileSync(file, bytes);
    await admin('POST', '/admin/load', { model: TINY });
    assert.equal((await restore('kept')).status, 200);
  });

  test('one_bit_of_the_weights_or_of_an_adapter_of_the_same_name_and_length', async () => {
    const models = join(stack.home, 'models'), [file, adapter] = [`${TINY}.gguf`, 'noise.gguf'].map((f) => join(models, f));
    const lora = [{ id: 'noise', scale: 0.5 }];
    await reload({ adapters: ['noise=noise.gguf'] });
    assert.equal((await save('bits', { lora })).status, 200);
    for (const [path, pattern] of [[file, /another file of this model/], [adapter, /another file of the adapter "noise"/]]) {
      const bytes = readFileSync(path), changed = Buffer.from(bytes);
      changed[Math.floor(bytes.length / 64) * 40 + Math.floor(bytes.length / 128)] ^= 1; // in the middle between what a look at samples would see
      await admin('POST', '/admin/unload', { model: TINY });
      writeFileSync(path, changed);
      await admin('POST', '/admin/load', { model: TINY });
      await refused('bits', pattern);
      await admin('POST', '/admin/unload', { model: TINY });
      writeFileSync(path, bytes);
      await admin('POST', '/admin/load', { model: TINY });
    }
    assert.equal((await restore('bits')).status, 200, 'the same bytes again');
    await reload({ adapters: null });
    await remove('bits');
  });

  test('a_file_that_is_another_one_since_the_model_was_loaded', async () => {
    const file = join(stack.home, 'models', `${TINY}.gguf`), old = `${file}.old`, bytes = readFileSync(file);
    renameSync(file, old); // the process keeps what it has read
    bytes[Math.floor(bytes.length / 2)] ^= 1;
    writeFileSync(file, bytes);
    const spent = (await llm.usage()).used_tokens;
    const got = await save('late');
    assert.equal(got.status, 409, got.text);
    assert.match(got.json.error.message, /was written or replaced since it was loaded/);
    assert.match(got.json.error.hint, /load it again/);
    assert.equal((await llm.usage()).used_tokens, spent, 'and costs nothing');
    await refused('kept', /since it was loaded/);
    renameSync(old, file);
    await reload();
    assert.equal((await restore('kept')).status, 200);
  });

  test('an_adapter_that_is_gone_or_another_one', async () => {
    await reload({ adapters: ['noise=noise.gguf'] });
    const lora = [{ id: 'noise', scale: 0.5 }];
    const plain = await said({ lora });
    assert.equal((await save('tuned', { lora })).status, 200);
    await reload();
    assert.equal((await restore('tuned')).status, 200);
    const again = await said({ lora });
    assert.deepEqual([again.text, again.cached], [plain.text, plain.prompt - 1]);
    assert.ok((await said({ lora: [] })).cached <= 1, 'and for nobody without it');
    await reload({ adapters: [] });
    await refused('tuned', /the adapter "noise" from the file "noise.gguf"; now it is none/);
    await reload({ adapters: ['noise=noise2.gguf'] });
    await refused('tuned', /the adapter "noise" from the file "noise.gguf"; now it is "noise2.gguf"/);
    await reload({ adapters: null });
    await remove('tuned');
  });

  test('a_file_that_was_changed_or_cut_or_comes_from_elsewhere', async () => {
    const file = fileOf('kept'), whole = readFileSync(file);
    const spoilt = async (pattern) => {
      const got = await restore('kept');
      assert.equal(got.status, 400, got.text);
      assert.match(got.json.error.message, pattern);
      assert.match(got.json.error.hint, /save it again/);
    };
    for (const at of [whole.length - 5000, whole.length - 40, whole.length - 1]) {
      const changed = Buffer.from(whole);
      changed[at] ^= 4;
      writeFileSync(file, changed);
      await spoilt(/its digest is another one/);
    }
    const changed = Buffer.from(whole);
    changed[whole.indexOf('"tokens":') + 10] ^= 1;
    writeFileSync(file, changed);
    await spoilt(/digest|damaged/);
    writeFileSync(file, 'CDSSTATE, or what is left');
    await spoilt(/damaged/);
    writeFileSync(file, whole);
    truncateSync(file, whole.length - 1000);
    await spoilt(/digest|too early/);
    writeFileSync(file, whole);
    assert.equal((await restore('kept')).status, 200);
    assert.equal((await status()).state, 'loaded');
  });

  test('nothing_of_all_that_has_ended_the_model_process', async () => {
    assert.equal((await status()).restarts, 0);
    assert.equal((await said()).cached > 0, true);
  });
});
