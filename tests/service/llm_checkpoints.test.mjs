// Checkpoints: a recurrent model cannot share or cut what it has read, so its states are kept, and a chat that goes on reads what is new.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ledgerOf, llmClient } from '../support/llm.mjs';
import { build, root } from '../support/stack.mjs';
import { startTiny } from '../support/tiny.mjs';

const ID = 'recurrent', PATH = `/admin/models/${ID}/settings`, MIB = 2 ** 20;
let stack, llm;
const admin = (method, path, body) => llm.call(method, path, body, 'admin');
const work = async () => (await admin('GET', '/admin/status')).json.models.find((m) => m.id === ID).work;
const words = (seed, count) => Array.from({ length: count }, (_, i) => ['river', 'stone', 'bridge', 'market', 'winter', 'garden'][(i * seed + (i % 4)) % 6]).join(' ');
async function reload(changes) {
  assert.equal((await admin('PUT', PATH, changes)).status, 200);
  await admin('POST', '/admin/unload', { model: ID });
  assert.equal((await admin('POST', '/admin/load', { model: ID })).status, 200);
}
async function chat(messages, more = {}, as = 'developer') {
  const got = await llm.chat({ model: ID, messages, max_tokens: 12, temperature: 0, ...more }, as);
  assert.equal(got.status, 200, got.text);
  return { text: got.json.choices[0].message.content, prompt: got.json.usage.prompt_tokens, cached: got.json.usage.prompt_tokens_details.cached_tokens, id: got.json.cds.request_id };
}

before(async () => {
  stack = await startTiny({
    options: { 'llm.slots': '3', 'llm.context_tokens': '8192', 'llm.request_tokens': '2048' },
    prepare: (models) => {
      const made = spawnSync(join(build, 'bench/llm_mkmodel'), [join(root, 'deps/models/SmolLM2-135M-Instruct.Q4_1.gguf'), join(models, `${ID}.gguf`), '64', '2', '2', '128', '32768', 'mamba']);
      assert.equal(made.status, 0, made.stderr?.toString());
    },
  });
  llm = llmClient(stack);
  const got = await admin('POST', '/admin/load', { model: ID });
  assert.equal(got.status, 200, got.text);
});
after(() => stack?.stop());

describe('a recurrent model', () => {
  test('reads_only_what_is_new_of_a_chat_that_goes_on_and_says_the_same', async () => {
    const first = [{ role: 'system', content: words(3, 300) }, { role: 'user', content: 'Tell me more.' }];
    const one = await chat(first);
    assert.equal(one.cached, 0);
    const next = [...first, { role: 'assistant', content: one.text }, { role: 'user', content: 'And then?' }];
    const begin = await work();
    const two = await chat(next);
    const computed = (await work()).prompt_rows - begin.prompt_rows;
    assert.ok(two.cached >= one.prompt - 1, `${two.cached} of ${two.prompt} were there`);
    assert.equal(computed, two.prompt - two.cached);
    const booked = await ledgerOf(stack, two.id);
    assert.deepEqual([booked.prompt_tokens, booked.cached_tokens], [two.prompt, two.cached]);
    const same = await chat(next);
    assert.equal(same.cached, two.prompt - 1, 'the same question again: its last token only');
    const other = await chat([...first, { role: 'assistant', content: one.text }, { role: 'user', content: 'Why?' }]);
    assert.ok(other.cached >= one.prompt - 1, 'another question after the same beginning');
    const strange = await chat([{ role: 'system', content: words(5, 600) }, ...next.slice(1)]);
    assert.equal(strange.cached, 0, 'nothing, however long, for what begins otherwise');
    await reload({ checkpoint_mib: 0 });
    const cold = await chat(next);
    assert.equal(cold.cached, 0);
    assert.equal(cold.text, two.text, 'with nothing kept the answer is the same');
    assert.equal((await chat(next)).cached, 0, 'none are kept');
    await reload({ checkpoint_mib: null });
  });

  test('keeps_nothing_of_one_user_for_another', async () => {
    const messages = [{ role: 'user', content: words(5, 120) }];
    await chat(messages);
    assert.ok((await chat(messages)).cached > 100);
    assert.equal((await chat(messages, {}, 'admin')).cached, 0);
  });

  test('keeps_no_more_than_its_setting_and_gives_up_what_was_used_longest_ago', async () => {
    const before = (await admin('GET', PATH)).json.need_bytes;
    await reload({ checkpoint_mib: 1 });
    assert.equal(before - (await admin('GET', PATH)).json.need_bytes, 63 * MIB, 'they are in the estimate');
    for (let i = 2; i < 40; i++) await chat([{ role: 'user', content: `${i} ${words(i, 60)}` }], { max_tokens: 2 });
    const { checkpoint_bytes, checkpoints } = await work();
    assert.ok(checkpoint_bytes > 0 && checkpoint_bytes <= MIB, `${checkpoint_bytes} bytes`);
    assert.ok(checkpoints >= 60);
    assert.ok((await chat([{ role: 'user', content: `39 ${words(39, 60)}` }], { max_tokens: 2 })).cached > 50);
    assert.equal((await chat([{ role: 'user', content: `2 ${words(2, 60)}` }], { max_tokens: 2 })).cached, 0);
    await reload({ checkpoint_mib: null });
  });

  test('of_which_a_state_was_saved_goes_on_from_its_file', async () => {
    const prompt = words(3, 200);
    const saved = await llm.complete({ model: ID, prompt, save_state: 'recurrent' });
    assert.equal(saved.status, 200, saved.text);
    await reload({});
    const put = await llm.call('POST', '/v1/states/recurrent/restore', {});
    assert.equal(put.status, 200, put.text);
    const on = await llm.complete({ model: ID, prompt: `${prompt} and so on`, max_tokens: 2 });
    assert.ok(on.json.usage.prompt_tokens_details.cached_tokens >= saved.json.cds.state.tokens - 1, on.text);
  });
});
