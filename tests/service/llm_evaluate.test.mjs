// Prompts that are evaluated and not answered, and the chances of their tokens: POST /v1/completions with max_tokens 0, echo and logprobs. Needs the
// default model.
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { assertRefused, ledgerOf, withModel } from '../support/llm.mjs';

let stack;
let llm;
withModel((studio) => ({ stack, llm } = studio));

const prompt = 'The capital of France is Paris and the capital of Italy is Rome.';
const of = async (body) => (await llm.complete({ prompt, max_tokens: 0, temperature: 0, ...body })).json;

describe('a prompt that is only evaluated', () => {
  test('gives_no_text_and_costs_its_prompt', async () => {
    const got = await of({ prompt: `${prompt} Once.` });
    assert.equal(got.choices[0].text, '');
    assert.equal(got.choices[0].finish_reason, 'stop');
    assert.equal(got.usage.completion_tokens, 0);
    const row = await ledgerOf(stack, got.cds.request_id);
    assert.deepEqual([row.prompt_tokens, row.completion_tokens], [got.usage.prompt_tokens, 0]);
  });

  test('is_there_when_the_question_comes', async () => {
    const long = `Remember number ${Math.random()}. ${prompt}`;
    const first = await of({ prompt: long });
    const then = (await llm.complete({ prompt: long, max_tokens: 1 })).json;
    assert.equal(then.usage.prompt_tokens_details.cached_tokens, first.usage.prompt_tokens - 1);
  });

  test('tells_the_chance_of_each_of_its_tokens', async () => {
    const got = await of({ echo: true, logprobs: 5 }); // more than are compared below: of two that are as good as alike either may be the second
    const { tokens, token_logprobs, top_logprobs, text_offset } = got.choices[0].logprobs;
    assert.equal(got.choices[0].text, prompt);
    assert.equal(tokens.join(''), prompt);
    assert.equal(tokens.length, got.usage.prompt_tokens);
    assert.deepEqual(text_offset, tokens.map((_, i) => tokens.slice(0, i).join('').length));
    assert.equal(token_logprobs[0], null);
    assert.equal(top_logprobs[0], null);
    assert.ok(token_logprobs.slice(1).every((x) => x < 0 && x > -40));
    // What a generation says about the same token in the same place.
    const place = tokens.indexOf(' Paris');
    const before = (await llm.complete({ prompt: tokens.slice(0, place).join(''), max_tokens: 1, temperature: 0, logprobs: 2 })).json.choices[0].logprobs;
    for (const [text, chance] of Object.entries(before.top_logprobs[0])) assert.ok(Math.abs(top_logprobs[place][text] - chance) < 0.2, `${text}: ${chance}`);
    assert.ok(token_logprobs[place] > token_logprobs[1], 'a fact is likelier than a beginning');
  });

  test('tells_chances_at_chosen_places_only', async () => {
    const all = (await of({ echo: true, logprobs: 0 })).choices[0].logprobs;
    const some = await of({ echo: true, logprobs: 0, logprob_positions: [3, 5, 9999] });
    const chosen = some.choices[0].logprobs.token_logprobs;
    assert.deepEqual(chosen.map((x) => x !== null).reduce((list, told, i) => (told ? [...list, i] : list), []), [3, 5]);
    for (const i of [3, 5]) assert.ok(Math.abs(chosen[i] - all.token_logprobs[i]) < 0.2);
    // The beginning before the first place may come from what is there already.
    assert.equal(some.usage.prompt_tokens_details.cached_tokens, 2);
  });

  test('goes_on_behind_its_chances_when_an_answer_is_wanted', async () => {
    const got = await of({ echo: true, logprobs: 1, max_tokens: 3 });
    const { tokens, token_logprobs } = got.choices[0].logprobs;
    assert.equal(tokens.join(''), got.choices[0].text);
    assert.ok(tokens.length > got.usage.prompt_tokens);
    assert.ok(token_logprobs.slice(1).every((x) => x !== null));
  });

  test('refuses_what_it_cannot_tell', async () => {
    assertRefused(await llm.chat({ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 0 }), 'max_tokens');
    assertRefused(await llm.complete({ prompt, max_tokens: -1 }), 'max_tokens');
    assertRefused(await llm.complete({ prompt, max_tokens: 0, n: 2 }), 'n');
    assertRefused(await llm.complete({ prompt, echo: true, logprobs: 1, stream: true }), 'echo');
    assertRefused(await llm.complete({ prompt, echo: true, logprobs: 1, n: 2 }), 'echo');
    assertRefused(await llm.complete({ prompt: [1, 2], echo: true, logprobs: 1 }), 'echo');
    assertRefused(await llm.complete({ prompt, echo: true, logprobs: 1, suffix: 'x' }), 'echo');
    assertRefused(await llm.complete({ prompt, logprob_positions: [1] }), 'logprob_positions');
    assertRefused(await llm.complete({ prompt, echo: true, logprobs: 1, logprob_positions: [-1] }), 'logprob_positions');
  });
});
