// Words of a model that is not loaded: answered from its vocabulary alone, as the loaded model would, with little memory that is told and given back.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { MODEL, ask, llmClient } from '../support/llm.mjs';
import { build, waitFor } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const MIB = 2 ** 20;
let stack, llm;
const admin = (method, path, body) => llm.call(method, path, body, 'admin');
const row = async (id = MODEL) => (await admin('GET', '/admin/models')).json.models.find((m) => m.id === id);
const QUESTIONS = [
  ['/v1/tokenize', { content: 'Colours: red, grün, 青.', with_pieces: true }], ['/v1/tokenize', { content: '<|im_start|>', parse_special: true }],
  ['/v1/detokenize', { tokens: [504, 2353, 282] }], ['/v1/vocabulary', { from: 0, count: 5 }], ['/v1/apply-template', { messages: ask('Hello') }],
];
const answers = async (model) => {
  const out = [];
  for (const [path, body] of QUESTIONS) {
    const got = await llm.call('POST', path, { model, ...body });
    assert.equal(got.status, 200, `${path}: ${got.text}`);
    out.push(got.json);
  }
  return out;
};

before(async () => {
  stack = await startTiny({
    options: { 'llm.silent_ms': '20000', 'llm.model': join(build, 'share/models/SmolLM2-135M-Instruct.Q8_0.gguf') },
    prepare: (models) => writeFileSync(join(models, 'broken.gguf'), 'GGUF, or what is left of it'),
  });
  llm = llmClient(stack);
});
after(() => stack?.stop());

describe('a model that is not loaded', () => {
  test('answers_about_its_words_as_it_does_when_it_is_loaded', async () => {
    await waitFor('it is loaded and nothing is left of what was asked before', async () => { const r = await row(); return r.state === 'loaded' && r.vocabulary_process === null; }, 60000);
    const loaded = await answers(MODEL);
    assert.equal((await row()).vocabulary_process, null, 'a loaded one needs no other process');
    assert.equal((await admin('POST', '/admin/unload', { model: MODEL })).status, 200);
    assert.deepEqual(await answers(MODEL), loaded);
    const now = await row();
    assert.equal(now.state, 'unloaded', 'and it stays unloaded');
  });

  test('takes_little_memory_for_it_which_is_told_beside_the_estimate', async () => {
    await answers(MODEL);
    const { vocabulary_process, size_bytes } = await row();
    assert.ok(vocabulary_process.resident_bytes < 80 * MIB && vocabulary_process.resident_bytes < size_bytes, `${vocabulary_process.resident_bytes / MIB} MiB`);
    assert.ok(vocabulary_process.need_bytes > vocabulary_process.resident_bytes / 3 && vocabulary_process.need_bytes < size_bytes);
    const listed = (await admin('GET', '/admin/status')).json.models.find((m) => m.id === MODEL);
    assert.equal(listed.vocabulary_process.pid, vocabulary_process.pid);
    assert.equal(listed.pid, null);
  });

  test('generates_nothing_and_says_why', async () => {
    const got = await llm.complete({ model: MODEL, prompt: 'x' });
    assert.equal(got.status, 500);
    assert.equal(got.json.error.code, 'model_not_loaded');
  });

  test('gives_that_memory_back_when_it_is_loaded', async () => {
    await answers(MODEL);
    const { pid } = (await row()).vocabulary_process;
    assert.equal((await admin('POST', '/admin/load', { model: MODEL })).status, 200);
    await waitFor('the process is gone', async () => (await row()).vocabulary_process === null);
    await waitFor('and reaped', async () => { try { process.kill(pid, 0); return false; } catch { return true; } });
    assert.equal((await llm.complete({ model: MODEL, prompt: 'x', max_tokens: 1 })).status, 200);
  });

  test('several_at_once_and_wrong_questions_are_answered_and_a_broken_file_is_not_read', async () => {
    const got = await Promise.all(Array.from({ length: 8 }, (_, i) => llm.call('POST', '/v1/tokenize', { model: TINY, content: `number ${i}` })));
    assert.ok(got.every((g) => g.status === 200 && g.json.count > 1));
    const wrong = await llm.call('POST', '/v1/detokenize', { model: TINY, tokens: [99999999] });
    assert.equal(wrong.status, 400);
    assert.match(wrong.json.error.message, /the model has \d+ tokens/);
    assert.notEqual((await llm.call('POST', '/v1/tokenize', { model: 'broken', content: 'x' })).status, 200);
    assert.equal((await llm.call('POST', '/v1/tokenize', { model: 'nobody', content: 'x' })).status, 404);
  });

  test('whose_process_hangs_has_it_killed_and_the_question_fails_in_time', async () => {
    assert.equal((await llm.call('POST', '/v1/tokenize', { model: TINY, content: 'once' })).status, 200);
    const { pid } = (await row(TINY)).vocabulary_process;
    process.kill(pid, 'SIGSTOP');
    const began = performance.now();
    const got = await Promise.race([llm.call('POST', '/v1/tokenize', { model: TINY, content: 'a question that nobody answers' }), sleep(90_000, null, { ref: false })]);
    assert.ok(got, 'it is answered');
    assert.equal(got.status, 500, got.text);
    assert.equal(got.json.error.code, 'model_crashed');
    assert.ok(performance.now() - began > 19_900, 'it had its time');
    assert.equal((await llm.call('POST', '/v1/tokenize', { model: TINY, content: 'and again' })).status, 200);
    assert.notEqual((await row(TINY)).vocabulary_process.pid, pid);
  });

  test('that_loses_its_process_has_another_one_at_the_next_question', async () => {
    assert.equal((await llm.call('POST', '/v1/tokenize', { model: TINY, content: 'first' })).status, 200);
    const { pid } = (await row(TINY)).vocabulary_process;
    process.kill(pid, 'SIGKILL');
    await waitFor('it is gone', async () => (await row(TINY)).vocabulary_process?.pid !== pid);
    assert.equal((await llm.call('POST', '/v1/tokenize', { model: TINY, content: 'again' })).status, 200);
    assert.notEqual((await row(TINY)).vocabulary_process.pid, pid);
  });
});
