// One token at a time: a client that has each step itself, puts another token in the place of the chosen one, and takes out what it does not want any
// more. What was read before is found again, so a step computes its own token and nothing else; counted on a live studio.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertRefused, ledgerOf, llmClient } from '../support/llm.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

let stack, llm;
before(async () => {
  stack = await startTiny({ options: { 'llm.slots': '8', 'llm.context_tokens': '16384', 'llm.request_tokens': '2048' } });
  llm = llmClient(stack);
});
after(() => stack?.stop());

const STEPS = 12;
const text = `${'The river and the stone and the bridge and the market and the letter. '.repeat(12)}Then`;
const work = async () => (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === TINY).work;
const tokensOf = async (content) => (await llm.call('POST', '/v1/tokenize', { content })).json.tokens;
/** One request over tokens: the tokens that came, their chances, what was computed for it. */
async function evaluate(tokens, more = {}, as = 'developer') {
  const before = await work();
  const got = await llm.complete({ prompt: tokens, max_tokens: 1, temperature: 0, ignore_eos: true, speculation: 'off', return_tokens: true, logprobs: 3, ...more }, as);
  assert.equal(got.status, 200, got.text);
  const { choices: [choice], usage, cds } = got.json;
  return { tokens: choice.tokens, text: choice.text, chances: choice.logprobs, usage, cached: usage.prompt_tokens_details.cached_tokens, computed: (await work()).prompt_rows - before.prompt_rows, id: cds.request_id };
}

describe('a client that takes each step itself', () => {
  test('computes_one_token_with_each_and_has_what_one_request_would_have_said', async () => {
    const prompt = await tokensOf(text), whole = await evaluate(prompt, { max_tokens: STEPS });
    const said = [], shown = [];
    for (let i = 0; i < STEPS; i++) {
      const step = await evaluate([...prompt, ...said]);
      assert.equal(step.computed, 1, `step ${i} computed ${step.computed} tokens`);
      assert.equal(step.cached, prompt.length + i - 1);
      assert.equal(Object.keys(step.chances.top_logprobs[0]).length, 3, 'with the chances of what else could come');
      said.push(...step.tokens);
      shown.push(step.text);
    }
    assert.deepEqual(said, whole.tokens);
    assert.equal(shown.join(''), whole.text);
    const last = await evaluate([...prompt, ...said.slice(0, -1)]);
    const booked = await ledgerOf(stack, last.id);
    assert.deepEqual([booked.prompt_tokens, booked.cached_tokens, booked.completion_tokens], [prompt.length + STEPS - 1, prompt.length + STEPS - 2, 1], 'cached tokens are told and billed as such');
  });

  test('may_put_another_token_in_the_place_of_the_chosen_one', async () => {
    const prompt = await tokensOf(text), said = [];
    for (let i = 0; i < STEPS; i++) {
      const step = await evaluate([...prompt, ...said]);
      assert.equal(step.computed, 1);
      // Every third time not the likeliest one, but the second.
      const second = await tokensOf(Object.entries(step.chances.top_logprobs[0]).sort((a, b) => b[1] - a[1])[1][0]);
      said.push(i % 3 === 2 && second.length === 1 ? second[0] : step.tokens[0]);
    }
    const after = await evaluate([...prompt, ...said], { max_tokens: 4 });
    assert.equal(after.computed, 1, 'what was put there counts like what was chosen');
    const elsewhere = await evaluate([...prompt, ...said], { max_tokens: 4 }, 'admin'); // shares nothing
    assert.equal(elsewhere.cached, 0);
    assert.deepEqual(elsewhere.tokens, after.tokens, 'and the answer is the one to exactly these tokens');
    const ours = said.findIndex((_, i) => i % 3 === 2);
    const straight = await evaluate(prompt, { max_tokens: STEPS });
    assert.deepEqual(said.slice(0, ours), straight.tokens.slice(0, ours));
    assert.notEqual(said[ours], straight.tokens[ours], 'another one stands there');
  });

  test('may_take_a_range_of_tokens_out_and_computes_only_what_stood_behind_it', async () => {
    const prompt = await tokensOf(text), [from, to] = [Math.floor(prompt.length * 0.6), Math.floor(prompt.length * 0.7)];
    await evaluate(prompt);
    const cut = [...prompt.slice(0, from), ...prompt.slice(to)];
    const got = await evaluate(cut, { max_tokens: 6 });
    assert.ok(got.cached >= from && got.cached <= from + 1, `${got.cached} of ${from} stood before it`);
    assert.equal(got.computed, cut.length - got.cached);
    const elsewhere = await evaluate(cut, { max_tokens: 6 }, 'admin');
    assert.ok(elsewhere.cached <= from + 1);
    assert.deepEqual(got.tokens, elsewhere.tokens, 'as if it had never been there');
    const end = await evaluate(prompt.slice(0, from));
    assert.equal(end.computed, 1, 'taking out the end costs nothing');
  });

  test('tokens_that_the_model_has_not_are_400', async () => {
    assertRefused(await llm.complete({ prompt: [1, 2, 99_999_999], max_tokens: 1 }), 'prompt');
    assertRefused(await llm.complete({ prompt: [1, -2], max_tokens: 1 }), 'prompt');
  });
});
