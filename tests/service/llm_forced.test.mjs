// Text that a grammar leaves no choice about: computed together, the answer the same as without, counted as generated, in fewer steps.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MODEL, assertRefused, ledgerOf, withModel } from '../support/llm.mjs';

let stack, llm;
withModel((ready) => ({ stack, llm } = ready));
const INSIST = { type: 'grammar', always: true };
const work = async () => (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === MODEL).work;
const schema = {
  type: 'object', additionalProperties: false, required: ['customer_identification_number', 'delivery_address_street_name', 'kind'],
  properties: {
    customer_identification_number: { type: 'integer', minimum: 0, maximum: 99 }, delivery_address_street_name: { enum: ['Main', 'Oak'] }, kind: { const: 'an order that was placed on paper' },
  },
};
const chat = { messages: [{ role: 'user', content: 'An order of customer 7 for Oak street, as JSON.' }], response_format: { type: 'json_schema', json_schema: { name: 'order', schema } } };
/** The same request with and without; steps that each took. */
async function pair(body, path = '/v1/chat/completions') {
  const out = [];
  for (const speculation of ['off', INSIST]) {
    const before = await work();
    const got = await llm.call('POST', path, { temperature: 0, max_tokens: 120, ...body, speculation }, 'admin');
    assert.equal(got.status, 200, got.text);
    const after = await work();
    out.push({ ...got.json, steps: after.steps - before.steps, unsampled: after.unsampled_tokens - before.unsampled_tokens, forced: after.forced_tokens - before.forced_tokens });
  }
  return out;
}
const textOf = (answer) => answer.choices.map((c) => c.message?.content ?? c.text);

describe('forced text', () => {
  test('of_a_schema_is_the_same_in_far_fewer_steps_and_counts_as_generated', async () => {
    const [plain, forced] = await pair(chat);
    assert.deepEqual(textOf(forced), textOf(plain));
    assert.equal(JSON.parse(textOf(forced)[0]).kind, 'an order that was placed on paper');
    assert.equal(forced.usage.completion_tokens, plain.usage.completion_tokens);
    assert.equal(plain.cds.speculation, undefined);
    assert.ok(forced.cds.speculation.forced >= 15 && forced.cds.speculation.refuted === 0, JSON.stringify(forced.cds.speculation));
    assert.ok(plain.unsampled >= forced.forced, `${plain.unsampled} taken without sampling, ${forced.forced} of them computed with others`);
    assert.equal(forced.unsampled, plain.unsampled, 'together or one by one');
    assert.equal(forced.forced, forced.cds.speculation.forced);
    const tokens = plain.usage.completion_tokens;
    assert.ok(plain.steps >= tokens, 'a step for each token');
    assert.ok(forced.steps / tokens < 0.6, `${forced.steps} steps for ${tokens} tokens`);
    const booked = await ledgerOf(stack, forced.cds.request_id);
    assert.equal(booked.completion_tokens, tokens);
  });

  test('of_a_grammar_of_digits_is_taken_without_sampling_on_both_ways', async () => {
    const grammar = 'root ::= [a-z]+ " 2026" [0-9] "97531" [0-9] "86420"';
    const [plain, forced] = await pair({ prompt: 'The number is', grammar }, '/v1/completions');
    assert.deepEqual(textOf(forced), textOf(plain));
    assert.ok(plain.unsampled >= 8, `${plain.unsampled} tokens without a choice`);
    assert.equal(forced.unsampled, plain.unsampled);
    assert.ok(forced.steps < plain.steps - 4);
  });

  test('is_the_same_with_a_temperature_and_a_seed_with_chances_stops_and_several_answers', async () => {
    const told = (answer) => answer.choices.map((c) => [c.index, c.message?.content ?? c.text, c.finish_reason, c.logprobs?.tokens ?? c.logprobs?.content?.map((t) => t.token)]);
    for (const more of [{ temperature: 0.9, seed: 5 }, { temperature: 1, seed: 3, n: 2 }, { logprobs: true, top_logprobs: 2 }]) {
      const [plain, forced] = await pair({ ...chat, ...more });
      assert.deepEqual(told(forced), told(plain), JSON.stringify(more));
      assert.equal(forced.usage.completion_tokens, plain.usage.completion_tokens);
    }
    const grammar = 'root ::= "The order was placed on paper by customer " [0-9] " of this shop."';
    for (const more of [{ max_tokens: 7 }, { stop: 'paper' }, { stop: ' of th' }]) {
      const [plain, forced] = await pair({ prompt: 'It is known.', grammar, ...more }, '/v1/completions');
      assert.deepEqual(told(forced), told(plain), JSON.stringify(more));
      assert.equal(forced.usage.completion_tokens, plain.usage.completion_tokens);
    }
  });

  test('is_the_same_in_a_stream_and_on_by_default', async () => {
    const plain = await llm.stream({ ...chat, temperature: 0, max_tokens: 120, speculation: 'off' });
    const text = (got) => got.events.map((e) => e.choices[0]?.delta?.content ?? '').join('');
    const usual = await llm.stream({ ...chat, temperature: 0, max_tokens: 120, stream_options: { include_usage: true } });
    assert.equal(text(usual), text(plain));
    assert.ok(usual.events.at(-1).cds.speculation?.forced > 0, 'without asking for it');
    const metrics = await (await fetch(`${stack.llmUrl}/metrics`)).text();
    assert.match(metrics, /cds_llm_forced_tokens_total [1-9]/);
  });

  test('which_is_forced_by_nothing_costs_no_guess', async () => {
    const [plain, free] = await pair({ prompt: 'The number is', grammar: 'root ::= [a-z ]+ "."', max_tokens: 20 }, '/v1/completions');
    assert.deepEqual(textOf(free), textOf(plain));
    assert.equal(free.forced, 0);
    assert.equal(free.unsampled, 0);
  });

  test('with_a_token_that_the_request_rules_out_is_not_taken', async () => {
    const two = (await llm.call('POST', '/v1/tokenize', { content: '2' })).json.tokens[0];
    const body = { prompt: 'The number is', grammar: 'root ::= "2" [0-9]', max_tokens: 4, temperature: 0 };
    assert.match((await llm.complete(body)).json.choices[0].text, /^2\d$/);
    const ruled = await llm.complete({ ...body, logit_bias: { [two]: -100 } });
    assert.equal(ruled.json.choices[0].text, '');
  });

  test('ends_where_it_may_end_although_only_one_text_could_follow', async () => {
    const { json } = await llm.call('POST', '/v1/vocabulary', { from: 0, count: 1 });
    const body = { prompt: 'The answer is', grammar: 'root ::= "yes" (" and so on")?', max_tokens: 12, temperature: 0 };
    const end = await llm.complete({ ...body, logit_bias: { [json.special.eos]: 100 } });
    assert.equal(end.json.choices[0].text, 'yes', 'the end is likelier than what could follow');
    const on = await llm.complete({ ...body, logit_bias: { [json.special.eos]: -50 } });
    assert.equal(on.json.choices[0].text, 'yes and so on');
  });

  test('wrong_words_are_400', async () => {
    assertRefused(await llm.complete({ prompt: 'x', speculation: 'grammars' }), 'speculation', /"grammar"/);
  });
});
