// OpenAI's Responses API and its official client, unchanged: items, events, tools, schemas, refusals, money. Needs the default model.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { waitFor } from '../support/stack.mjs';
import { MODEL, assertRefused, nothingIsHeld, readEvents, withModel } from '../support/llm.mjs';

let stack;
let llm;
let client;
withModel((studio) => {
  ({ stack, llm } = studio);
  client = new OpenAI({ baseURL: `${stack.llmUrl}/v1`, apiKey: stack.tokens.developer, maxRetries: 0 });
});

const tool = { type: 'function', name: 'add', strict: true, parameters: { type: 'object', properties: { a: { type: 'integer' }, b: { type: 'integer' } }, required: ['a', 'b'], additionalProperties: false } };
const respond = (body, as, headers) => llm.call('POST', '/v1/responses', body, as, headers);

async function events(body) {
  const reply = await fetch(`${stack.llmUrl}/v1/responses`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}` },
    body: JSON.stringify({ ...body, stream: true }),
  });
  assert.equal(reply.status, 200);
  return readEvents(await reply.text());
}

describe('a response', () => {
  test('has_its_text_as_an_item_and_its_usage', async () => {
    const got = await client.responses.create({ model: MODEL, instructions: 'Be short.', input: 'Say hello.', max_output_tokens: 12, temperature: 0 });
    assert.equal(got.object, 'response');
    assert.match(got.id, /^resp_[0-9a-f]{32}$/);
    assert.ok(['completed', 'incomplete'].includes(got.status));
    const [item] = got.output;
    assert.equal(item.type, 'message');
    assert.equal(item.role, 'assistant');
    assert.equal(item.content[0].type, 'output_text');
    assert.equal(got.output_text, item.content[0].text);
    assert.equal(got.instructions, 'Be short.');
    assert.equal(got.usage.total_tokens, got.usage.input_tokens + got.usage.output_tokens);
    assert.equal(got.store, false);
    assert.equal(got.previous_response_id, null);
  });

  test('is_the_same_text_as_the_chat_with_the_same_words', async () => {
    const chat = await llm.chat({ messages: [{ role: 'system', content: 'Be short.' }, { role: 'user', content: 'Say hello.' }], max_tokens: 12, temperature: 0, seed: 7 });
    const got = await respond({ input: [{ role: 'developer', content: 'Be short.' }, { role: 'user', content: [{ type: 'input_text', text: 'Say hello.' }] }], max_output_tokens: 12, temperature: 0, seed: 7 });
    assert.equal(got.json.output[0].content[0].text, chat.json.choices[0].message.content);
    assert.equal(got.json.usage.input_tokens, chat.json.usage.prompt_tokens);
    assert.equal(got.json.usage.output_tokens, chat.json.usage.completion_tokens);
  });

  test('that_is_cut_by_its_limit_is_incomplete', async () => {
    const got = await client.responses.create({ model: MODEL, input: 'Write a very long story.', max_output_tokens: 3, temperature: 0, ignore_eos: true });
    assert.equal(got.status, 'incomplete');
    assert.deepEqual(got.incomplete_details, { reason: 'max_output_tokens' });
    assert.equal(got.output[0].status, 'incomplete');
  });

  test('goes_on_with_the_items_of_the_last_one', async () => {
    const first = await client.responses.create({ model: MODEL, input: 'Say hello.', max_output_tokens: 8, temperature: 0 });
    const second = await client.responses.create({ model: MODEL, max_output_tokens: 4, temperature: 0, input: [{ role: 'user', content: 'Say hello.' }, ...first.output, { role: 'user', content: 'Again.' }] });
    assert.equal(second.output[0].type, 'message');
  });

  test('is_booked_like_any_other_generation', async () => {
    const before = (await llm.usage()).used_tokens;
    const got = await respond({ input: 'Say hello.', max_output_tokens: 5 });
    const after = (await llm.usage()).used_tokens;
    if (before !== undefined) assert.equal(after - before, got.json.usage.total_tokens);
    const row = await waitFor('it is settled', async () => (await llm.usage()).recent.find((r) => r.request_id === got.json.cds.request_id));
    assert.equal(row.completion_tokens, got.json.usage.output_tokens);
    assert.equal(row.prompt_tokens, got.json.usage.input_tokens);
  });

  test('tells_logprobs_of_its_tokens', async () => {
    const got = await client.responses.create({ model: MODEL, input: 'Hi', max_output_tokens: 3, temperature: 0, include: ['message.output_text.logprobs'], top_logprobs: 2 });
    const { logprobs } = got.output[0].content[0];
    assert.ok(logprobs.length >= 1 && logprobs[0].top_logprobs.length === 2, JSON.stringify(got.output));
  });

  test('leaves_out_the_oldest_items_when_asked_to', async () => {
    const input = [...Array.from({ length: 40 }, (_, i) => [{ role: 'user', content: `Question ${i}: ${'word '.repeat(60)}` }, { role: 'assistant', content: 'Yes.' }]).flat(), { role: 'user', content: 'So?' }];
    const whole = await respond({ input, max_output_tokens: 4 });
    assert.equal(whole.status, 400);
    assert.equal(whole.json.error.code, 'context_length_exceeded');
    assert.equal(whole.json.error.param, 'input');
    const cut = await respond({ input, max_output_tokens: 4, truncation: 'auto' });
    assert.equal(cut.status, 200, cut.text);
    assert.equal(cut.json.truncation, 'auto');
    assert.ok(cut.json.cds.context_shift, 'and it is told');
  });

  test('counts_the_tokens_of_an_input_without_answering', async () => {
    const before = await llm.usage();
    const counted = await client.responses.inputTokens.count({ model: MODEL, input: 'Say hello.', instructions: 'Be short.' });
    assert.equal(counted.object, 'response.input_tokens');
    const got = await client.responses.create({ model: MODEL, input: 'Say hello.', instructions: 'Be short.', max_output_tokens: 1 });
    assert.equal(counted.input_tokens, got.usage.input_tokens);
    assert.equal((await llm.usage()).recent.length - before.recent.length <= 1, true, 'the count itself is not booked');
  });
});

describe('a stream of a response', () => {
  test('has_the_official_events_in_their_order', async () => {
    const got = await events({ input: 'Say hello.', max_output_tokens: 6, temperature: 0 });
    assert.ok(got.every((e) => e.event === e.data.type), 'the name of an event is its type');
    assert.deepEqual(got.map((e) => e.data.sequence_number), got.map((_, i) => i));
    const names = got.map((e) => e.event);
    assert.deepEqual(names.filter((n, i) => n !== names[i - 1]), [
      'response.created', 'response.in_progress', 'response.output_item.added', 'response.content_part.added', 'response.output_text.delta',
      'response.output_text.done', 'response.content_part.done', 'response.output_item.done', names.at(-1)]);
    const last = got.at(-1).data.response;
    assert.ok(names.at(-1) === `response.${last.status}`);
    const text = got.filter((e) => e.event === 'response.output_text.delta').map((e) => e.data.delta).join('');
    assert.equal(text, last.output[0].content[0].text);
    assert.equal(got.find((e) => e.event === 'response.output_text.done').data.text, text);
    const ids = new Set(got.map((e) => e.data.item_id ?? e.data.item?.id).filter(Boolean));
    assert.deepEqual([...ids], [last.output[0].id]);
  });

  test('is_put_together_by_the_official_client', async () => {
    const runner = client.responses.stream({ model: MODEL, input: 'Say hello.', max_output_tokens: 8, temperature: 0, seed: 1 });
    let text = '';
    for await (const event of runner) if (event.type === 'response.output_text.delta') text += event.delta;
    const final = await runner.finalResponse();
    assert.equal(final.output_text, text);
    const whole = await client.responses.create({ model: MODEL, input: 'Say hello.', max_output_tokens: 8, temperature: 0, seed: 1 });
    assert.equal(whole.output_text, text);
    assert.deepEqual(final.usage.output_tokens, whole.usage.output_tokens);
  });

  test('tells_of_a_model_that_died_and_costs_nothing', async () => {
    const pid = (await stack.pids()).llmworker;
    const stream = await client.responses.create({ model: MODEL, input: 'Write a very long story.', max_output_tokens: 1500, ignore_eos: true, stream: true });
    const seen = [];
    await assert.rejects(async () => {
      for await (const event of stream) if (seen.push(event.type) === 8) process.kill(pid, 'SIGKILL');
    }, OpenAI.APIError);
    assert.equal(seen.at(-1), 'response.failed');
    await stack.waitModel();
    await nothingIsHeld(stack);
  });

  test('that_is_left_frees_the_model', async () => {
    const stream = await client.responses.create({ model: MODEL, input: 'Write a very long story.', max_output_tokens: 1500, ignore_eos: true, stream: true });
    let n = 0;
    for await (const _ of stream) if (++n === 6) stream.controller.abort();
    await llm.idle();
  });
});

describe('functions of a response', () => {
  const forced = { input: 'What is 2 + 3?', tools: [tool], tool_choice: { type: 'function', name: 'add' }, max_output_tokens: 100, temperature: 0 };

  test('are_called_whole_and_in_a_stream', async () => {
    const whole = await client.responses.create({ model: MODEL, ...forced });
    const call = whole.output.find((i) => i.type === 'function_call');
    assert.equal(call.name, 'add');
    assert.match(call.call_id, /^call_/);
    assert.ok(Number.isInteger(JSON.parse(call.arguments).a));
    assert.equal(whole.status, 'completed');
    const got = await events(forced);
    const names = got.map((e) => e.event);
    assert.deepEqual(names.filter((n, i) => n !== names[i - 1]).slice(2), [
      'response.output_item.added', 'response.function_call_arguments.delta', 'response.function_call_arguments.done', 'response.output_item.done', 'response.completed']);
    const pieces = got.filter((e) => e.event === 'response.function_call_arguments.delta').map((e) => e.data.delta).join('');
    assert.equal(pieces, got.find((e) => e.event === 'response.function_call_arguments.done').data.arguments);
  });

  test('take_their_results_back', async () => {
    const first = await client.responses.create({ model: MODEL, ...forced });
    const call = first.output.find((i) => i.type === 'function_call');
    // Without ignore_eos it may have nothing to say to it.
    const second = await client.responses.create({ model: MODEL, max_output_tokens: 8, ignore_eos: true,
      input: [{ role: 'user', content: forced.input }, ...first.output, { type: 'function_call_output', call_id: call.call_id, output: '5' }] });
    assert.ok(second.output.length >= 1);
  });

  test('can_be_allowed_by_name', async () => {
    const other = { ...tool, name: 'other' };
    const got = await respond({ ...forced, tools: [other, tool], tool_choice: { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'add' }] }, max_tool_calls: 1 });
    assert.equal(got.json.output.find((i) => i.type === 'function_call').name, 'add');
    assertRefused(await respond({ ...forced, tool_choice: { type: 'allowed_tools', mode: 'auto', tools: [{ type: 'function', name: 'gone' }] } }), 'tool_choice/tools');
  });

  test('a_schema_of_the_text_is_kept_and_parsed', async () => {
    const got = await client.responses.parse({ model: MODEL, input: 'Invent a pet.', max_output_tokens: 80, temperature: 0, text: { format: { type: 'json_schema', name: 'pet', strict: true, schema: {
      type: 'object', properties: { kind: { enum: ['cat', 'dog'] }, age: { type: 'integer', minimum: 0, maximum: 20 } }, required: ['kind', 'age'], additionalProperties: false } } } });
    const value = got.output_parsed ?? JSON.parse(got.output_text);
    assert.ok(['cat', 'dog'].includes(value.kind) && value.age <= 20);
  });
});

describe('what a response cannot be', () => {
  for (const [name, body, param] of [
    ['without_input', {}, 'input'],
    ['of_an_empty_list', { input: [] }, 'input'],
    ['after_one_that_is_not_kept', { input: 'Hi', previous_response_id: 'resp_1' }, 'previous_response_id'],
    ['in_a_conversation', { input: 'Hi', conversation: 'conv_1' }, 'conversation'],
    ['of_a_kept_prompt', { input: 'Hi', prompt: { id: 'pmpt_1' } }, 'prompt'],
    ['in_the_background', { input: 'Hi', background: true }, 'background'],
    ['of_an_input_shortened_somehow', { input: 'Hi', truncation: 'maybe' }, 'truncation'],
    ['of_a_picture', { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'x' }] }] }, 'input/0/content'],
    ['of_an_unknown_item', { input: [{ type: 'web_search_call' }] }, 'input/0/type'],
    ['of_a_reference', { input: [{ type: 'item_reference', id: 'x' }] }, 'input/0'],
    ['of_a_broken_call', { input: [{ type: 'function_call', call_id: '1', name: 'f', arguments: '{' }] }, 'input/0/arguments'],
    ['of_a_foreign_tool', { input: 'Hi', tools: [{ type: 'web_search' }] }, 'tools/0/type'],
    ['of_a_tool_without_a_name', { input: 'Hi', tools: [{ type: 'function', parameters: {} }] }, 'tools/0/name'],
    ['with_a_wrong_limit', { input: 'Hi', max_output_tokens: 0 }, 'max_output_tokens'],
    ['with_a_wrong_temperature', { input: 'Hi', temperature: 9 }, 'temperature'],
    ['with_a_schema_that_cannot_be_kept', { input: 'Hi', text: { format: { type: 'json_schema', name: 'x', schema: { type: 'object', minProperties: 2 } } } }, 'text/format/schema/minProperties'],
  ])
    test(`a_response_${name}_is_400_naming_the_member`, async () => {
      const got = await respond({ max_output_tokens: 2, ...body });
      assertRefused(got, param);
      assert.ok(got.json.error.message.includes(param.split('/')[0]), got.json.error.message);
    });

  test('a_response_that_is_not_streamed_cannot_be_had_again', async () => {
    const got = await respond({ input: 'Hi', max_output_tokens: 2 });
    await assert.rejects(client.responses.retrieve(got.json.id), OpenAI.NotFoundError);
  });
});
