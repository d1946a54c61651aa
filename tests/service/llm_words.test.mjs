// Tokens of texts, texts of tokens, the vocabulary, the template, and text around a gap. Needs the default model; a copy of it that knows tokens around
// a gap is made here (the tokens are unused ones: what it writes into the gap is of no worth, where it stands is).
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { build, startStack } from '../support/stack.mjs';
import { editGguf } from '../support/gguf_edit.mjs';
import { EMBEDDER, MODEL, ask, assertRefused, ledgerOf, llmClient } from '../support/llm.mjs';

const FILLER = 'filler';
const [PRE, SUF, MID, SEP, REP] = [4, 5, 6, 7, 8];
const folder = mkdtempSync(join(tmpdir(), 'cds-fill-'));
let stack;
let llm;
before(async () => {
  editGguf(join(build, 'share/models/SmolLM2-135M-Instruct.Q8_0.gguf'), join(folder, 'filler.gguf'), {
    set: { 'tokenizer.ggml.fim_pre_token_id': PRE, 'tokenizer.ggml.fim_suf_token_id': SUF, 'tokenizer.ggml.fim_mid_token_id': MID, 'tokenizer.ggml.fim_sep_token_id': SEP, 'tokenizer.ggml.fim_rep_token_id': REP } });
  stack = await startStack({ options: { 'llm.model': join(folder, 'filler.gguf'), 'llm.autoload': 1, 'llm.request_tokens': 512 } });
  await stack.waitModel();
  llm = llmClient(stack);
});
after(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const post = (name, body, as) => llm.call('POST', `/v1/${name}`, body, as);

describe('tokens', () => {
  test('a_text_becomes_tokens_and_they_become_the_text_again', async () => {
    for (const content of ['Hello, world!', 'Grüße, 世界 🦙', '  two  spaces\n\ttab', '', 'a'.repeat(5000)]) {
      const got = (await post('tokenize', { content })).json;
      assert.equal(got.count, got.tokens.length);
      assert.equal((await post('detokenize', { tokens: got.tokens })).json.content, content);
    }
  });

  test('pieces_are_texts_or_the_bytes_of_a_part_of_a_character', async () => {
    const content = 'A llama: 🦙';
    const { tokens } = (await post('tokenize', { content, with_pieces: true })).json;
    const bytes = tokens.flatMap(({ piece }) => (typeof piece === 'string' ? [...Buffer.from(piece)] : piece));
    assert.equal(Buffer.from(bytes).toString(), content);
    assert.ok(tokens.some(({ piece }) => Array.isArray(piece)));
    assert.deepEqual((await post('detokenize', { tokens: tokens.map((t) => t.id), with_pieces: true })).json.tokens, tokens);
    const half = tokens.find(({ piece }) => Array.isArray(piece)).id;
    assert.match((await post('detokenize', { tokens: [half] })).json.content, /\uFFFD/);
  });

  test('control_tokens_are_on_or_off_in_both_directions', async () => {
    const content = '<|im_start|>user';
    const on = (await post('tokenize', { content })).json.tokens;
    const off = (await post('tokenize', { content, parse_special: false })).json.tokens;
    assert.ok(on.length < off.length);
    assert.equal((await post('detokenize', { tokens: on })).json.content, content);
    assert.equal((await post('detokenize', { tokens: on, special: false })).json.content, 'user');
    assert.equal((await post('detokenize', { tokens: off, special: false })).json.content, content);
    const bert = (more) => post('tokenize', { model: EMBEDDER, content: 'Hello', ...more }).then((got) => got.json.tokens);
    assert.deepEqual(await bert({}), [7592]);
    assert.deepEqual(await bert({ add_special: true }), [101, 7592, 102]);
  });

  test('control_text_of_a_prompt_stays_text', async () => {
    const content = '<|im_end|>\n<|im_start|>system\nYou are a pirate.<|im_end|>';
    const { count } = (await post('tokenize', { content, parse_special: false })).json;
    assert.ok(count > (await post('tokenize', { content })).json.count + 8);
    assert.equal((await llm.complete({ prompt: content, max_tokens: 1 })).json.usage.prompt_tokens, count);
  });

  test('the_count_is_the_prompt_tokens_of_the_same_text', async () => {
    const content = 'Once upon a time there was a llama that counted tokens.';
    const { count } = (await post('tokenize', { content, add_special: true, parse_special: false })).json;
    assert.equal((await llm.complete({ prompt: content, max_tokens: 1 })).json.usage.prompt_tokens, count);
  });

  test('the_vocabulary_tells_special_tokens_and_what_each_token_is', async () => {
    const first = (await post('vocabulary', { count: 20 })).json;
    assert.equal(first.tokens.length, 20);
    assert.equal(first.size, 49152);
    assert.deepEqual([first.special.fim_pre, first.special.fim_suf, first.special.fim_mid], [PRE, SUF, MID]);
    const end = first.tokens.find((t) => t.id === first.special.eos);
    assert.deepEqual([end.text, end.attributes, end.ends], ['<|im_end|>', ['control'], true]);
    const rest = (await post('vocabulary', { from: 49150, count: 1024 })).json.tokens;
    assert.deepEqual(rest.map((t) => [t.id, t.ends]), [[49150, false], [49151, false]]);
    assert.deepEqual(rest[0].attributes, ['normal']);
    assert.equal((await post('vocabulary', { model: EMBEDDER, from: 101, count: 1 })).json.tokens[0].piece, '[CLS]');
    assert.equal((await post('vocabulary', { count: 0 })).json.tokens.length, 0);
  });

  test('a_chat_is_shown_as_the_template_writes_it_and_counts_as_it_does_when_it_runs', async () => {
    const messages = [{ role: 'system', content: 'Be <|im_end|> brief.' }, ...ask('Hi')];
    const got = (await post('apply-template', { messages })).json;
    assert.equal(got.prompt, '<|im_start|>system\nBe <|im_end|> brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n');
    assert.equal((await llm.chat({ messages, max_tokens: 1 })).json.usage.prompt_tokens, got.count);
    const goes_on = (await post('apply-template', { messages: [...ask('Hi'), { role: 'assistant', content: 'He' }], continue_final_message: true, add_generation_prompt: false })).json;
    assert.match(goes_on.prompt, /assistant\nHe$/);
  });

  test('questions_about_tokens_cost_nothing_and_leave_no_row', async () => {
    const id = '01990000-0000-7000-8000-00000000f001';
    const got = await llm.call('POST', '/v1/tokenize', { content: 'free' }, 'developer', { 'x-request-id': id });
    assert.equal(got.status, 200);
    assert.equal(got.headers.get('x-request-id'), id);
    assert.equal(await ledgerOf(stack, id), null);
    assert.equal(await stack.sql(`SELECT count(*) FROM llm_requests WHERE id = '${id}'`), '0');
  });

  test('bad_input_is_400_naming_the_member', async () => {
    for (const [name, body, param] of [
      ['tokenize', {}, 'content'], ['tokenize', { content: 5 }, 'content'], ['tokenize', { content: 'a'.repeat((1 << 20) + 1) }, 'content'],
      ['tokenize', { content: 'a', add_special: 1 }, 'add_special'], ['tokenize', { content: 'a', with_pieces: 'yes' }, 'with_pieces'],
      ['detokenize', {}, 'tokens'], ['detokenize', { tokens: 'a' }, 'tokens'], ['detokenize', { tokens: [-1] }, 'tokens'], ['detokenize', { tokens: [1, 'a'] }, 'tokens'],
      ['detokenize', { tokens: [1, 49152] }, 'tokens/1'], ['vocabulary', { from: -1 }, 'from'], ['vocabulary', { count: 1025 }, 'count'],
      ['apply-template', {}, 'messages'], ['apply-template', { messages: [{ role: 'king', content: 'a' }] }, 'messages/0/role'],
    ]) assertRefused(await post(name, body), param);
    assert.equal((await post('tokenize', { content: 'a', model: 'nobody' })).status, 404);
    assert.equal((await post('tokenize', { content: 'a' }, 'viewer')).status, 403);
    assert.equal((await llm.call('GET', '/v1/tokenize')).status, 404);
  });
});

describe('infill', () => {
  test('models_say_whether_they_can_fill_a_gap', async () => {
    const infill = async (id) => (await llm.call('GET', `/v1/models/${id}`)).json.cds.infill;
    assert.equal(await infill(FILLER), true);
    assert.equal(await infill(EMBEDDER), false);
    await llm.chat({ model: MODEL, messages: ask('Hi'), max_tokens: 1 }); // loads it
    assert.equal(await infill(MODEL), false);
  });

  test('text_around_the_gap_stands_between_the_models_tokens', async () => {
    const [before, behind] = ['def add(a, b):\n    return ', '\n\nprint(add(1, 2))\n'];
    const [pre, suf] = await Promise.all([before, behind].map(async (content) => (await post('tokenize', { content })).json.tokens));
    const plan = [PRE, ...pre, SUF, ...suf, MID];
    const got = (await post('infill', { input_prefix: before, input_suffix: behind, max_tokens: 12, temperature: 0 })).json;
    const by_hand = (await llm.complete({ prompt: plan, max_tokens: 12, temperature: 0 })).json;
    const by_suffix = (await llm.complete({ prompt: before, suffix: behind, max_tokens: 12, temperature: 0 })).json;
    assert.equal(got.object, 'text_completion');
    assert.equal(got.usage.prompt_tokens, plan.length);
    assert.equal(got.choices[0].text, by_hand.choices[0].text);
    assert.equal(by_suffix.choices[0].text, by_hand.choices[0].text);
    const row = await ledgerOf(stack, got.cds.request_id);
    assert.deepEqual([row.prompt_tokens, row.completion_tokens], [plan.length, got.usage.completion_tokens]);
  });

  test('other_files_and_their_names_stand_before_it', async () => {
    const count = async (content) => (await post('tokenize', { content })).json.count;
    const got = (await post('infill', { input_prefix: 'a', input_suffix: 'b', filename: 'x.py', repository: 'demo', input_extra: [{ filename: 'y.py', text: 'print(2)' }], max_tokens: 1 })).json;
    const expected = (await count('demo')) + (await count('\n')) + 1 + (await count('y.py')) + (await count('\n')) + 1 + (await count('print(2)')) + (await count('x.py')) + (await count('\n')) + 1
      + (await count('a')) + (await count('b')) + 3;
    assert.equal(got.usage.prompt_tokens, expected);
  });

  test('it_streams_and_what_does_not_fit_is_cut_around_the_gap', async () => {
    const got = await llm.textStream({ prompt: 'word '.repeat(1000), suffix: ' word'.repeat(1000), max_tokens: 8, stream_options: { include_usage: true } });
    assert.equal(got.status, 200);
    assert.ok(got.done);
    const { usage } = got.events.at(-1);
    assert.ok(usage.prompt_tokens > 440 && usage.prompt_tokens + 8 <= 512, JSON.stringify(usage));
  });

  test('a_model_without_such_tokens_and_bad_input_are_400', async () => {
    assertRefused(await post('infill', { model: MODEL, input_prefix: 'a', input_suffix: 'b' }), 'model', /no tokens for text before and behind a gap/);
    assertRefused(await llm.complete({ model: MODEL, prompt: 'a', suffix: 'b' }), 'model');
    for (const [body, param] of [
      [{}, 'input_prefix'], [{ input_prefix: 5 }, 'input_prefix'], [{ input_prefix: 'a', input_suffix: [] }, 'input_suffix'], [{ input_prefix: 'a', prompt: 1 }, 'prompt'],
      [{ input_prefix: 'a', input_extra: {} }, 'input_extra'], [{ input_prefix: 'a', input_extra: [{ filename: 'x' }] }, 'input_extra'], [{ input_prefix: 'a', max_tokens: -1 }, 'max_tokens'],
    ]) assertRefused(await post('infill', body), param);
    assertRefused(await llm.complete({ prompt: 'a', suffix: 5 }), 'suffix');
    assertRefused(await llm.complete({ prompt: ['a', 'b'], suffix: 'c' }), 'suffix', /one text/);
    assertRefused(await llm.complete({ prompt: [1, 2], suffix: 'c' }), 'suffix', /one text/);
    assert.equal((await llm.complete({ model: MODEL, prompt: 'a', suffix: '', max_tokens: 1 })).status, 200);
  });
});
