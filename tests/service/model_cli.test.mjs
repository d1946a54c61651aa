// `cyberdevstudio model chat|complete|infill` and `model inspect gpu|estimate|measure` against a running studio.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { llmClient } from '../support/llm.mjs';
import { cli, users } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

let stack, llm;
before(async () => {
  stack = await startTiny({ options: { 'llm.slots': '2', 'llm.request_tokens': '1024', 'llm.context_tokens': '4096' } });
  llm = llmClient(stack);
});
after(() => stack?.stop());

/** The command with the flags of the studio under test; `as` gives its token. */
const model = (words, { as = 'developer', ...how } = {}) =>
  cli(['model', ...words, ...stack.flags], { ...how, env: { ...stack.env, ...(as ? { CDS_ACCESS_TOKEN: stack.tokens[as] } : {}) } });
const fixed = ['--max-tokens', '8', '--temperature', '0'];

describe('texts', () => {
  test('complete_prints_what_the_api_says_and_what_it_took', async () => {
    const got = await model(['complete', 'The river and the stone', ...fixed]);
    assert.equal(got.code, 0, got.stderr);
    const { choices, usage } = (await llm.complete({ prompt: 'The river and the stone', max_tokens: 8, temperature: 0 })).json;
    assert.equal(got.stdout, `${choices[0].text}\n`);
    assert.match(got.stderr, new RegExp(`${usage.prompt_tokens} prompt tokens, ${usage.completion_tokens} answer tokens, \\d+ micro-credits`));
  });
  test('chat_says_one_message_or_each_line_of_stdin_with_what_was_said_before', async () => {
    const first = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Say a word.' }];
    const api = async (messages) => (await llm.chat({ messages, max_tokens: 8, temperature: 0 })).json.choices[0].message.content;
    const one = await model(['chat', '--system', 'Be brief.', ...fixed, 'Say a word.']);
    assert.equal(one.code, 0, one.stderr);
    const said = await api(first);
    assert.equal(one.stdout, `${said}\n`);
    const two = await model(['chat', '--system', 'Be brief.', ...fixed], { input: 'Say a word.\nAnother one.\n' });
    assert.equal(two.code, 0, two.stderr);
    const next = await api([...first, { role: 'assistant', content: said }, { role: 'user', content: 'Another one.' }]);
    assert.equal(two.stdout, `${said}\n${next}\n`);
  });
  test('infill_fills_the_gap_between_two_texts', async () => {
    const got = await model(['infill', 'def add(a, b):\n  return', '\nprint(add(1, 2))', ...fixed]);
    const api = await llm.call('POST', '/v1/infill', { input_prefix: 'def add(a, b):\n  return', input_suffix: '\nprint(add(1, 2))', max_tokens: 8, temperature: 0 });
    if (api.status === 200) {
      assert.equal(got.stdout, `${api.json.choices[0].text}\n`);
    } else {
      assert.equal(got.code, 2);
      assert.ok(got.stderr.includes(api.json.error.message), got.stderr);
    }
  });
  test('a_user_signs_in_with_the_password_on_stdin', async () => {
    const { email, password } = users.developer;
    const got = await model(['complete', '--email', email, 'The river', ...fixed], { as: null, input: `${password}\n` });
    assert.equal(got.code, 0, got.stderr);
    const wrong = await model(['complete', '--email', email, 'The river', ...fixed], { as: null, input: 'no-such-password-9\n' });
    assert.notEqual(wrong.code, 0);
    assert.ok(!wrong.stdout && !wrong.stderr.includes('no-such-password'), wrong.stderr);
  });
  test('what_is_missing_or_wrong_is_said_in_a_sentence', async () => {
    const nobody = await model(['complete', 'The river'], { as: null });
    assert.equal(nobody.code, 2);
    assert.match(nobody.stderr, /--email/);
    assert.match((await model(['complete'])).stderr, /takes one text/);
    assert.match((await model(['complete', 'a', '--max-tokens', 'many'])).stderr, /take numbers/);
    assert.match((await model(['complete', 'a', '--model', 'no-such'])).stderr, /no model "no-such"/);
    const away = await cli(['model', 'complete', 'a', '--llm.port=1'], { env: { ...stack.env, CDS_ACCESS_TOKEN: 'x' } });
    assert.equal(away.code, 1);
    assert.match(away.stderr, /does not answer/);
  });
});

describe('inspect', () => {
  test('gpu_lists_devices_and_memory', async () => {
    const got = await model(['inspect', 'gpu'], { as: 'admin' });
    assert.equal(got.code, 0, got.stderr);
    const { system } = (await llm.call('GET', '/admin/status', undefined, 'admin')).json;
    assert.deepEqual(JSON.parse(got.stdout).devices.map((d) => d.name), system.devices.map((d) => d.name));
    assert.notEqual((await model(['inspect', 'gpu'])).code, 0, 'administrators only');
  });
  test('estimate_tells_the_memory_of_a_load_and_measure_what_it_took_and_leaves_the_model_as_it_was', async () => {
    const state = async () => (await llm.call('GET', '/admin/models', undefined, 'admin')).json.models.find((m) => m.id === TINY).state;
    await llm.call('POST', '/admin/unload', { model: TINY }, 'admin');
    const estimate = await model(['inspect', 'estimate', TINY], { as: 'admin' });
    assert.equal(estimate.code, 0, estimate.stderr);
    const { need_bytes: need, state: then } = JSON.parse(estimate.stdout);
    assert.ok(need > 0 && then === 'unloaded');
    const measure = await model(['inspect', 'measure', TINY], { as: 'admin' });
    assert.equal(measure.code, 0, measure.stderr);
    const told = JSON.parse(measure.stdout);
    assert.equal(told.need_bytes, need);
    assert.ok(told.resident_bytes > 2 ** 20 && told.cells === 4096, measure.stdout);
    assert.equal(await state(), 'unloaded');
    await llm.call('POST', '/admin/load', { model: TINY }, 'admin');
    assert.equal((await model(['inspect', 'measure', TINY], { as: 'admin' })).code, 0);
    assert.equal(await state(), 'loaded');
  });
});
