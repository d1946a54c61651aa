// The official client of OpenAI against the model server, unchanged: only its base address differs. Needs the default model.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { startStack } from '../support/stack.mjs';
import { MODEL, ask, llmClient } from '../support/llm.mjs';

let stack;
let client;
let llm;
before(async () => {
  stack = await startStack();
  await stack.waitModel();
  llm = llmClient(stack);
  client = new OpenAI({ baseURL: `${stack.llmUrl}/v1`, apiKey: stack.tokens.developer, maxRetries: 0 });
});
after(async () => {
  await stack?.stop();
});

const tool = {
  type: 'function',
  function: { name: 'add', strict: true, parameters: { type: 'object', properties: { a: { type: 'integer' }, b: { type: 'integer' } }, required: ['a', 'b'], additionalProperties: false } },
};

describe('the official client', () => {
  test('chats_and_sees_usage_and_request_id', async () => {
    const got = await client.chat.completions.create({ model: MODEL, messages: ask('Hi'), max_completion_tokens: 5 });
    assert.equal(got.choices[0].message.role, 'assistant');
    assert.equal(got.usage.total_tokens, got.usage.prompt_tokens + got.usage.completion_tokens);
    assert.match(got._request_id, /^[0-9a-f-]{36}$/);
  });

  test('streams_with_usage', async () => {
    const stream = await client.chat.completions.create({ model: MODEL, messages: ask('Count.'), max_tokens: 6, stream: true, stream_options: { include_usage: true } });
    let text = '';
    let usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? '';
      usage = chunk.usage ?? usage;
    }
    assert.ok(text.length > 0 && usage.completion_tokens > 0);
  });

  test('calls_tools_in_a_stream_and_whole', async () => {
    const body = { model: MODEL, messages: ask('What is 2 + 3?'), tools: [tool], tool_choice: { type: 'function', function: { name: 'add' } }, max_tokens: 100 };
    const whole = await client.chat.completions.create(body);
    assert.equal(whole.choices[0].finish_reason, 'tool_calls');
    assert.ok(Number.isInteger(JSON.parse(whole.choices[0].message.tool_calls[0].function.arguments).a));
    const runner = client.chat.completions.stream(body);
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0].message.tool_calls[0].function.name, 'add');
    assert.ok(Number.isInteger(final.choices[0].message.tool_calls[0].function.parsed_arguments?.b ?? JSON.parse(final.choices[0].message.tool_calls[0].function.arguments).b));
  });

  test('its_parse_helper_reads_a_schema', async () => {
    const got = await client.chat.completions.parse({
      model: MODEL, messages: ask('Invent a pet.'), max_tokens: 80,
      response_format: { type: 'json_schema', json_schema: { name: 'pet', strict: true, schema: {
        type: 'object', properties: { kind: { enum: ['cat', 'dog'] }, age: { type: 'integer', minimum: 0, maximum: 20 } }, required: ['kind', 'age'], additionalProperties: false } } },
    });
    const value = got.choices[0].message.parsed ?? JSON.parse(got.choices[0].message.content);
    assert.ok(['cat', 'dog'].includes(value.kind) && value.age <= 20);
    await assert.rejects(client.chat.completions.parse({ model: MODEL, messages: ask('Invent a pet.'), max_tokens: 1,
      response_format: { type: 'json_schema', json_schema: { name: 'pet', schema: { type: 'object', properties: { kind: { enum: ['cat'] } }, required: ['kind'] } } } }), OpenAI.LengthFinishReasonError);
  });

  test('reads_logprobs_in_both_forms', async () => {
    const chat = await client.chat.completions.create({ model: MODEL, messages: ask('Hi'), max_tokens: 3, logprobs: true, top_logprobs: 2 });
    assert.equal(chat.choices[0].logprobs.content[0].top_logprobs.length, 2);
    const text = await client.completions.create({ model: MODEL, prompt: 'One, two,', max_tokens: 3, logprobs: 1 });
    assert.equal(text.choices[0].logprobs.tokens.length, text.choices[0].logprobs.text_offset.length);
  });

  test('turns_errors_into_its_own_classes', async () => {
    await assert.rejects(client.chat.completions.create({ model: MODEL, messages: ask('Hi'), temperature: 9 }),
      (e) => e instanceof OpenAI.BadRequestError && e.param === 'temperature' && typeof e.code === 'string' && e.type === 'invalid_request_error' && !!e.requestID);
    await assert.rejects(client.chat.completions.create({ model: 'gpt-9', messages: ask('Hi') }), OpenAI.NotFoundError);
    const stranger = new OpenAI({ baseURL: `${stack.llmUrl}/v1`, apiKey: 'wrong', maxRetries: 0 });
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  });

  test('lists_models_and_reads_one', async () => {
    const list = await client.models.list();
    assert.ok(list.data.some((m) => m.id === MODEL));
    assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
  });

  test('aborts_a_stream_and_the_model_is_free_again', async () => {
    const stream = await client.chat.completions.create({ model: MODEL, messages: ask('Write a very long story.'), max_tokens: 1500, stream: true });
    let chunks = 0;
    for await (const _ of stream) {
      if (++chunks === 3) stream.controller.abort();
    }
    assert.ok(chunks >= 3);
    await llm.idle();
  });

  test('sees_an_error_that_comes_after_the_stream_began', async () => {
    const stream = await client.chat.completions.create({ model: MODEL, messages: ask('Write a very long story.'), max_tokens: 1500, stream: true });
    const pid = (await stack.pids()).llmworker;
    await assert.rejects(async () => {
      let chunks = 0;
      for await (const _ of stream) if (++chunks === 3) process.kill(pid, 'SIGKILL');
    }, OpenAI.APIError);
    await stack.waitModel();
  });
});
