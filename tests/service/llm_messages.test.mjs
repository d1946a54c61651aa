// Anthropic's Messages API and its official client, unchanged: blocks, events, tools, stops, counts, errors. Needs the default model.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { rawHttp } from '../support/gateway.mjs';
import { waitFor } from '../support/stack.mjs';
import { MODEL, ask, readEvents, withModel } from '../support/llm.mjs';

let stack;
let llm;
let client;
withModel((studio) => {
  ({ stack, llm } = studio);
  client = new Anthropic({ baseURL: stack.llmUrl, apiKey: stack.tokens.developer, maxRetries: 0 });
});

const tool = { name: 'add', description: 'Adds.', input_schema: { type: 'object', properties: { a: { type: 'integer' }, b: { type: 'integer' } }, required: ['a', 'b'] } };
const send = (body, as, headers) => llm.call('POST', '/v1/messages', body, as, headers);

function assertError(got, status, type, pattern) {
  assert.equal(got.status, status, got.text);
  assert.equal(got.json.type, 'error', got.text);
  assert.equal(got.json.error.type, type, got.text);
  assert.equal(typeof got.json.error.message, 'string');
  assert.match(got.json.request_id, /^[0-9a-f-]{36}$/);
  assert.equal(got.headers.get('request-id') ?? got.json.request_id, got.json.request_id);
  if (pattern) assert.match(got.json.error.message, pattern);
}

describe('a message', () => {
  test('has_blocks_a_reason_and_usage', async () => {
    const got = await client.messages.create({ model: MODEL, max_tokens: 6, system: 'Be short.', messages: ask('Say hello.'), temperature: 0 });
    assert.equal(got.type, 'message');
    assert.match(got.id, /^msg_[0-9a-f]{32}$/);
    assert.equal(got.role, 'assistant');
    assert.equal(got.content[0].type, 'text');
    assert.ok(['end_turn', 'max_tokens'].includes(got.stop_reason));
    assert.equal(got.stop_sequence, null);
    assert.ok(got.usage.output_tokens > 0 && got.usage.input_tokens + got.usage.cache_read_input_tokens > 0);
    assert.match(got._request_id, /^[0-9a-f-]{36}$/);
  });

  test('is_the_same_text_as_the_chat_with_the_same_words', async () => {
    const chat = await llm.chat({ messages: [{ role: 'system', content: 'Be short.' }, ...ask('Say hello.')], max_tokens: 12, temperature: 0, seed: 7 });
    const got = await send({ system: [{ type: 'text', text: 'Be ' }, { type: 'text', text: 'short.', cache_control: { type: 'ephemeral' } }], messages: [{ role: 'user', content: [{ type: 'text', text: 'Say hello.' }] }], max_tokens: 12, temperature: 0, seed: 7 });
    assert.equal(got.json.content[0].text, chat.json.choices[0].message.content);
    assert.equal(got.json.usage.input_tokens + got.json.usage.cache_read_input_tokens, chat.json.usage.prompt_tokens);
    const row = await waitFor('it is settled', async () => (await llm.usage()).recent.find((r) => r.request_id === got.json.cds.request_id));
    assert.equal(row.completion_tokens, got.json.usage.output_tokens);
  });

  test('tells_which_stop_sequence_ended_it', async () => {
    const free = await send({ messages: ask('Count from one to nine in digits, with commas.'), max_tokens: 40, temperature: 0 });
    const text = free.json.content[0].text;
    const word = text.slice(8, 11);
    const got = await send({ messages: ask('Count from one to nine in digits, with commas.'), max_tokens: 40, temperature: 0, stop_sequences: ['never to be seen', word] });
    assert.equal(got.json.stop_reason, 'stop_sequence', got.text);
    assert.equal(got.json.stop_sequence, word);
    assert.equal(got.json.content[0]?.text ?? '', text.slice(0, text.indexOf(word)));
    assert.equal(free.json.stop_sequence, null);
  });

  test('goes_on_with_what_the_assistant_began', async () => {
    const got = await client.messages.create({ model: MODEL, max_tokens: 8, temperature: 0, messages: [...ask('Name a colour.'), { role: 'assistant', content: 'The colour is' }] });
    assert.equal(got.content[0].type, 'text');
    assert.ok(!got.content[0].text.startsWith('The colour is'));
  });

  test('takes_the_key_in_either_header', async () => {
    const body = JSON.stringify({ model: MODEL, max_tokens: 1, messages: ask('Hi') });
    const headers = { 'content-type': 'application/json', 'anthropic-version': '2023-06-01' };
    for (const door of [stack.llmUrl, stack.apiUrl]) {
      const key = await fetch(`${door}/v1/messages`, { method: 'POST', body, headers: { ...headers, 'x-api-key': stack.tokens.developer } });
      assert.equal(key.status, 200, await key.text());
      const none = await fetch(`${door}/v1/messages`, { method: 'POST', body, headers });
      assertError({ status: none.status, json: await none.json(), headers: none.headers, text: '' }, 401, 'authentication_error');
    }
  });

  test('counts_tokens_without_answering', async () => {
    const body = { model: MODEL, system: 'Be short.', messages: ask('Say hello.') };
    const counted = await client.messages.countTokens(body);
    const got = await client.messages.create({ ...body, max_tokens: 1 });
    assert.equal(counted.input_tokens, got.usage.input_tokens + got.usage.cache_read_input_tokens);
    const tools = await client.messages.countTokens({ ...body, tools: [tool] });
    assert.ok(tools.input_tokens > counted.input_tokens, 'tools are part of the prompt');
  });
});

describe('a stream of a message', () => {
  const body = { messages: ask('Say hello.'), max_tokens: 6, temperature: 0, stream: true };

  test('has_the_official_events_in_their_order', async () => {
    const got = readEvents((await send(body)).text);
    assert.ok(got.every((e) => e.event === e.data.type));
    const names = got.map((e) => e.event).filter((n, i) => n !== 'ping' || i === 1); // more of them come where it is quiet for long
    assert.deepEqual(names.filter((n, i) => n !== names[i - 1]), ['message_start', 'ping', 'content_block_start', 'content_block_delta', 'content_block_stop', 'message_delta', 'message_stop']);
    assert.equal(got[0].data.message.stop_reason, null);
    assert.ok(got[0].data.message.usage.input_tokens > 0);
    assert.ok(got.at(-2).data.usage.output_tokens > 0);
    assert.equal(got.at(-2).data.cds.ended, 'finished');
  });

  test('is_put_together_by_the_official_client', async () => {
    const runner = client.messages.stream({ model: MODEL, ...body, stream: undefined });
    let text = '';
    runner.on('text', (piece) => (text += piece));
    const final = await runner.finalMessage();
    assert.equal(final.content[0].text, text);
    const whole = await client.messages.create({ model: MODEL, ...body, stream: false });
    assert.equal(whole.content[0].text, text);
    assert.equal(whole.usage.output_tokens, final.usage.output_tokens);
  });

  test('tells_of_a_model_that_died', async () => {
    const { pid } = await llm.modelStatus();
    const stream = await client.messages.create({ model: MODEL, messages: ask('Write a very long story.'), max_tokens: 1500, ignore_eos: true, stream: true });
    let n = 0;
    await assert.rejects(async () => {
      for await (const _ of stream) if (++n === 6) process.kill(pid, 'SIGKILL');
    }, Anthropic.APIError);
    await stack.waitModel();
  });

  test('that_is_aborted_frees_the_model', async () => {
    const stream = await client.messages.create({ model: MODEL, messages: ask('Write a very long story.'), max_tokens: 1500, ignore_eos: true, stream: true });
    let n = 0;
    for await (const _ of stream) if (++n === 6) stream.controller.abort();
    await llm.idle();
  });
});

describe('tools of a message', () => {
  const forced = { model: MODEL, max_tokens: 500, // enough for the longest numbers and spaces that the schema lets pass
     messages: ask('What is 2 + 3?'), tools: [tool], tool_choice: { type: 'tool', name: 'add' } };

  test('are_used_whole_and_in_a_stream', async () => {
    const whole = await client.messages.create(forced);
    const use = whole.content.find((b) => b.type === 'tool_use');
    assert.equal(whole.stop_reason, 'tool_use');
    assert.equal(use.name, 'add');
    assert.match(use.id, /^toolu_/);
    assert.ok(Number.isInteger(use.input.a) && Number.isInteger(use.input.b));
    const final = await client.messages.stream(forced).finalMessage();
    assert.ok(Number.isInteger(final.content.find((b) => b.type === 'tool_use').input.b));
  });

  test('take_their_results_back', async () => {
    const first = await client.messages.create(forced);
    const use = first.content.find((b) => b.type === 'tool_use');
    const second = await client.messages.create({ model: MODEL, max_tokens: 8, messages: [...forced.messages, { role: 'assistant', content: first.content },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: use.id, content: [{ type: 'text', text: '5' }] }, { type: 'text', text: 'So?' }] }] });
    assert.ok(second.usage.output_tokens > 0);
  });

  test('any_must_call_and_none_must_not', async () => {
    const any = await client.messages.create({ ...forced, tool_choice: { type: 'any', disable_parallel_tool_use: true } });
    assert.equal(any.content.filter((b) => b.type === 'tool_use').length, 1);
    const none = await client.messages.create({ ...forced, max_tokens: 10, tool_choice: { type: 'none' } });
    assert.ok(none.content.every((b) => b.type === 'text'));
  });
});

describe('what a message cannot be', () => {
  for (const [name, body, pattern] of [
    ['without_max_tokens', { max_tokens: undefined }, /max_tokens/],
    ['without_messages', { messages: [] }, /messages/],
    ['of_another_role', { messages: [{ role: 'system', content: 'x' }] }, /messages\[0\]\.role/],
    ['of_a_picture', { messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] }, /messages\[0\]\.content\[0\]\.type/],
    ['with_a_result_of_nothing', { messages: [{ role: 'user', content: [{ type: 'tool_result' }] }] }, /tool_use_id/],
    ['with_a_use_without_input', { messages: [...ask('Hi'), { role: 'assistant', content: [{ type: 'tool_use', id: '1', name: 'f' }] }, ...ask('So?')] }, /input/],
    ['with_a_tool_without_schema', { tools: [{ name: 'x' }] }, /input_schema/],
    ['with_a_tool_of_the_server', { tools: [{ type: 'web_search_20250305', name: 'x' }] }, /tools\[0\]\.type/],
    ['with_an_unknown_choice', { tools: [tool], tool_choice: { type: 'maybe' } }, /tool_choice/],
    ['with_five_stops', { stop_sequences: ['a', 'b', 'c', 'd', 'e'] }, /stop_sequences/],
    ['with_a_wrong_temperature', { temperature: 9 }, /temperature/],
    ['with_a_budget_of_nothing', { thinking: { type: 'enabled' } }, /thinking\.budget_tokens/],
    ['with_a_tool_that_cannot_be_kept', { tools: [{ name: 'x', input_schema: { type: 'object', properties: { y: { type: 'string', pattern: '[' } } } }] }, /./],
  ])
    test(`a_message_${name}_is_400_in_the_shape_of_this_api`, async () => {
      assertError(await send({ max_tokens: 2, messages: ask('Hi'), ...body }), 400, 'invalid_request_error', pattern);
    });

  test('errors_are_classes_of_the_official_client', async () => {
    await assert.rejects(client.messages.create({ model: 'claude-9', max_tokens: 2, messages: ask('Hi') }), Anthropic.NotFoundError);
    const viewer = new Anthropic({ baseURL: stack.llmUrl, apiKey: stack.tokens.viewer, maxRetries: 0 });
    await assert.rejects(viewer.messages.create({ model: MODEL, max_tokens: 2, messages: ask('Hi') }), Anthropic.PermissionDeniedError);
    await assert.rejects(client.messages.create({ model: MODEL, max_tokens: 2, messages: ask('word '.repeat(5000)) }),
      (e) => e instanceof Anthropic.BadRequestError && /tokens/.test(e.message));
  });

  test('a_body_that_is_too_large_or_no_json_has_this_shape_too', async () => {
    assertError(await send('{'), 400, 'invalid_request_error');
    for (const url of [stack.llmUrl, stack.apiUrl]) {
      const large = await rawHttp(new URL(url).port, `POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n`);
      assert.equal(large.status, 413);
      assert.equal(large.json.error.type, 'request_too_large');
      assert.equal(large.json.type, 'error');
    }
  });
});
