// Guesses at the next tokens, over HTTP: the answer is the same as without, in every form of asking; only what was chosen is billed; who may insist.
import assert from 'node:assert/strict';
import { linkSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { MODEL, assertRefused, llmClient } from '../support/llm.mjs';
import { build } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

// The default model copies a repeated text without any doubt, so the last bit of a sum decides nothing.

let stack;
let llm;
const INSIST = { type: 'lookup', always: true };
const DEFAULT = join(build, 'share/models/SmolLM2-135M-Instruct.Q8_0.gguf');
const prompt = Array(3).fill('The quick brown fox jumps over the lazy dog while seven wizards pack five boxes of liquor jugs.').join('\n') + '\nThe quick';
const statusOf = async (id) => (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === id);

before(async () => {
  stack = await startTiny({
    options: { 'llm.model': DEFAULT, 'llm.draft_models': `${MODEL}=twin, ${TINY}=stranger` },
    prepare: (models, file) => {
      linkSync(DEFAULT, join(models, 'twin.gguf'));
      const bytes = readFileSync(file);
      bytes.write('mountaiX', bytes.indexOf('mountain'));
      writeFileSync(join(models, 'stranger.gguf'), bytes);
    },
  });
  llm = llmClient(stack);
});
after(async () => {
  await stack?.stop();
});

async function pair(body, how = INSIST) {
  const plain = await llm.complete({ prompt, max_tokens: 60, temperature: 0, ...body, speculation: 'off' }, 'admin');
  const guessed = await llm.complete({ prompt, max_tokens: 60, temperature: 0, ...body, speculation: how }, 'admin');
  assert.equal(plain.status, 200, plain.text);
  assert.equal(guessed.status, 200, guessed.text);
  assert.equal(plain.json.cds.speculation, undefined);
  return [plain.json, guessed.json];
}

describe('lookup', () => {
  test('the_answer_is_the_same_and_only_chosen_tokens_are_billed', async () => {
    const spent = async () => (await stack.rpc('usage.summary', {}, 'admin')).used_tokens;
    const before = await spent();
    const [plain, guessed] = await pair({});
    assert.equal(guessed.choices[0].text, plain.choices[0].text);
    assert.deepEqual({ ...guessed.usage, prompt_tokens_details: 0 }, { ...plain.usage, prompt_tokens_details: 0 });
    assert.equal(guessed.usage.completion_tokens, 60);
    const { validated, refuted } = guessed.cds.speculation;
    assert.ok(validated > 40 && validated < 60, `${validated} came true, ${refuted} did not`);
    assert.equal((await spent()) - before, plain.usage.total_tokens + guessed.usage.total_tokens);
  });

  test('chances_stops_several_answers_and_grammar_are_as_without', async () => {
    const told = (choices) => choices.map((c) => [c.index, c.text, c.finish_reason, c.logprobs?.tokens, c.logprobs?.text_offset]);
    for (const body of [{ logprobs: 2 }, { n: 3, temperature: 0.1, seed: 4 }, { grammar: 'root ::= (" brown" | " fox")+', max_tokens: 30 }, { prompt: [prompt, `${prompt} brown fox`] },
      { max_tokens: 2 }, { max_tokens: 1 }]) {
      const [plain, guessed] = await pair(body);
      assert.deepEqual(told(guessed.choices), told(plain.choices), JSON.stringify(body));
      assert.equal(guessed.usage.completion_tokens, plain.usage.completion_tokens);
    }
    const [whole] = await pair({});
    const stop = whole.choices[0].text.slice(90, 96);
    const [plain, guessed] = await pair({ stop });
    assert.deepEqual(guessed.choices, plain.choices);
    assert.equal(guessed.choices[0].finish_reason, 'stop');
    assert.equal(guessed.usage.completion_tokens, plain.usage.completion_tokens);
  });

  test('the_stream_says_the_same', async () => {
    const body = { prompt, max_tokens: 50, temperature: 0, stream_options: { include_usage: true } };
    const plain = await llm.textStream({ ...body, speculation: 'off' }, 'admin');
    const guessed = await llm.textStream({ ...body, speculation: INSIST }, 'admin');
    const text = (got) => got.events.map((e) => e.choices[0]?.text ?? '').join('');
    assert.equal(text(guessed), text(plain));
    assert.ok(guessed.done);
    assert.ok(guessed.events.at(-1).cds.speculation.validated > 10);
  });

  test('counters_stand_in_status_and_metrics', async () => {
    const { work } = await statusOf(MODEL);
    assert.ok(work.guesses > 0 && work.validated_tokens > 0);
    const metrics = await (await fetch(`${stack.llmUrl}/metrics`)).text();
    assert.match(metrics, /cds_llm_draft_tokens_total\{outcome="validated"\} [1-9]/);
  });

  test('a_wrong_speculation_is_400_and_insisting_is_for_admins', async () => {
    const ask = (speculation, as) => llm.complete({ prompt: 'Hi', max_tokens: 1, speculation }, as);
    for (const wrong of ['magic', 3, { type: 'x' }, { min_tokens: 64 }, { max_tokens: 0 }, { min_tokens: 5, max_tokens: 4 }, { min_confidence: 2 }, { always: 1 }])
      assertRefused(await ask(wrong), 'speculation');
    assert.equal((await ask(INSIST)).status, 403);
    for (const right of ['off', 'lookup', 'auto', null, { type: 'lookup', min_tokens: 2, max_tokens: 8 }]) assert.equal((await ask(right)).status, 200);
  });
});

describe('draft model', () => {
  test('the_same_answer_with_a_twin_that_knows_it', async () => {
    assert.equal((await statusOf(MODEL)).drafts, true);
    const [plain, guessed] = await pair({ max_tokens: 24 }, { type: 'draft', always: true, min_tokens: 2, max_tokens: 8 });
    assert.equal(guessed.choices[0].text, plain.choices[0].text);
    assert.ok(guessed.cds.speculation.validated > 12, JSON.stringify(guessed.cds));
  });

  test('a_guess_below_the_confidence_is_not_made', async () => {
    const [, guessed] = await pair({ prompt: 'Once upon a time', max_tokens: 12 }, { type: 'draft', always: true, min_confidence: 1 });
    assert.equal(guessed.cds.speculation, undefined);
  });

  test('one_of_another_vocabulary_is_not_used_and_says_so', async () => {
    const load = await llm.call('POST', '/admin/load', { model: TINY }, 'admin');
    assert.equal(load.status, 200, load.text);
    const tiny = await statusOf(TINY);
    assert.equal(tiny.drafts, false);
    assert.match(tiny.draft_problem, /Token \d+ of the draft model/);
    assertRefused(await llm.complete({ model: TINY, prompt: 'Hi', speculation: 'draft' }), 'speculation', /Token \d+/);
    assert.equal((await llm.complete({ model: TINY, prompt: 'Hi', max_tokens: 2 })).status, 200);
  });
});
