// The official client of OpenAI against the model server, unchanged: only its base address differs. Needs the default model.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import OpenAI from 'openai';
import { users, waitFor } from '../support/stack.mjs';
import { MODEL, ask, withModel } from '../support/llm.mjs';

let stack;
let client;
let llm;
withModel((studio) => {
  ({ stack, llm } = studio);
  client = new OpenAI({ baseURL: `${stack.llmUrl}/v1`, apiKey: stack.tokens.developer, maxRetries: 0 });
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
    const stream = await client.chat.completions.create({ model: MODEL, messages: ask('Count.'), max_tokens: 6, temperature: 0, stream: true, stream_options: { include_usage: true } });
    let text = '';
    let usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? '';
      usage = chunk.usage ?? usage;
    }
    assert.ok(text.length > 0 && usage.completion_tokens > 0);
  });

  test('calls_tools_in_a_stream_and_whole', async () => {
    const body = { model: MODEL, messages: ask('What is 2 + 3?'), tools: [tool], tool_choice: { type: 'function', function: { name: 'add' } }, max_tokens: 500 }; // enough for the longest that the schema lets pass
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
      model: MODEL, messages: ask('Invent a pet.'), max_tokens: 500,
      response_format: { type: 'json_schema', json_schema: { name: 'pet', strict: true, schema: {
        type: 'object', properties: { kind: { enum: ['cat', 'dog'] }, age: { type: 'integer', minimum: 0, maximum: 20 } }, required: ['kind', 'age'], additionalProperties: false } } },
    });
    const value = got.choices[0].message.parsed ?? JSON.parse(got.choices[0].message.content);
    assert.ok(['cat', 'dog'].includes(value.kind) && value.age <= 20);
    await assert.rejects(client.chat.completions.parse({ model: MODEL, messages: ask('Invent a pet.'), max_tokens: 1,
      response_format: { type: 'json_schema', json_schema: { name: 'pet', schema: { type: 'object', properties: { kind: { enum: ['cat'] } }, required: ['kind'] } } } }), OpenAI.LengthFinishReasonError);
  });

  test('reads_logprobs_in_both_forms', async () => {
    const chat = await client.chat.completions.create({ model: MODEL, messages: ask('Hi'), max_tokens: 3, temperature: 0, logprobs: true, top_logprobs: 2 });
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
    const stream = await client.chat.completions.create({ model: MODEL, messages: ask('Write a very long story.'), max_tokens: 1500, ignore_eos: true, stream: true });
    let chunks = 0;
    for await (const _ of stream) {
      if (++chunks === 3) stream.controller.abort();
    }
    assert.ok(chunks >= 3);
    await llm.idle();
  });

  test('sees_an_error_that_comes_after_the_stream_began', async () => {
    const { pid } = await llm.modelStatus();
    const stream = await client.chat.completions.create({ model: MODEL, messages: ask('Write a very long story.'), max_tokens: 1500, ignore_eos: true, stream: true });
    await assert.rejects(async () => {
      let chunks = 0;
      for await (const _ of stream) if (++chunks === 3) process.kill(pid, 'SIGKILL');
    }, OpenAI.APIError);
    await stack.waitModel();
  });

  test('its_parse_helper_reads_a_schema_while_it_streams', async () => {
    const runner = client.chat.completions.stream({
      model: MODEL, messages: ask('Invent a pet.'), max_tokens: 500,
      response_format: { type: 'json_schema', json_schema: { name: 'pet', strict: true, schema: {
        type: 'object', properties: { kind: { enum: ['cat', 'dog'] } }, required: ['kind'], additionalProperties: false } } },
    });
    let text = '';
    runner.on('content', (piece) => (text += piece));
    const final = await runner.finalChatCompletion();
    assert.ok(['cat', 'dog'].includes(JSON.parse(final.choices[0].message.content).kind));
    assert.equal(text, final.choices[0].message.content);
  });

  test('its_runner_calls_a_function_and_goes_on_with_the_result', async () => {
    const called = [];
    const runner = client.chat.completions.runTools({
      model: MODEL, messages: ask('What is 2 + 3?'), max_tokens: 500, tool_choice: { type: 'function', function: { name: 'add' } },
      tools: [{ type: 'function', function: { ...tool.function, parse: JSON.parse, function: (args) => (called.push(args), '5') } }],
    }, { maxChatCompletions: 2 });
    await runner.done().catch(() => {});
    assert.ok(called.length >= 1 && Number.isInteger(called[0].a), JSON.stringify(called));
  });

  test('streams_logprobs_and_several_choices', async () => {
    const stream = await client.chat.completions.create({ model: MODEL, messages: ask('Hi'), max_tokens: 3, ignore_eos: true, n: 2, logprobs: true, top_logprobs: 1, stream: true });
    const seen = [0, 0];
    for await (const chunk of stream) for (const choice of chunk.choices) seen[choice.index] += choice.logprobs?.content.length ?? 0;
    assert.ok(seen[0] > 0 && seen[1] > 0, JSON.stringify(seen));
  });

  test('streams_a_text_completion', async () => {
    const stream = await client.completions.create({ model: MODEL, prompt: 'One, two,', max_tokens: 4, temperature: 0, stream: true });
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0].text;
    assert.ok(text.length > 0);
  });

  test('tries_again_by_itself_what_may_be_tried_again_and_nothing_else', async () => {
    const calls = [];
    const counting = (key) => new OpenAI({ baseURL: `${stack.llmUrl}/v1`, apiKey: key, maxRetries: 2, fetch: (...a) => (calls.push(a[0]), fetch(...a)) });
    await assert.rejects(counting(stack.tokens.developer).chat.completions.create({ model: MODEL, messages: ask('Hi'), temperature: 9 }), OpenAI.BadRequestError);
    assert.equal(calls.length, 1, 'a wrong request');
    calls.length = 0;
    await stack.rpc('budget.set', { scope: 'user', email: users.developer.email, unit: 'tokens', window: 'month', limit: 0 }, 'admin');
    try {
      await assert.rejects(counting(stack.tokens.developer).chat.completions.create({ model: MODEL, messages: ask('Hi') }), OpenAI.RateLimitError);
      assert.equal(calls.length, 1, 'a used up budget says that trying again does not help');
    } finally {
      await stack.rpc('budget.set', { scope: 'user', email: users.developer.email, unit: 'tokens', window: 'month', limit: 1000000 }, 'admin');
    }
  });

  test('aborts_a_request_that_is_not_streamed_and_the_model_is_free_again', async () => {
    const controller = new AbortController();
    const asked = client.chat.completions.create({ model: MODEL, messages: ask('Write a very long story.'), max_tokens: 1500, ignore_eos: true }, { signal: controller.signal });
    await waitFor('it runs', async () => (await llm.modelStatus())?.active === 1);
    controller.abort();
    await assert.rejects(asked, OpenAI.APIUserAbortError);
    await llm.idle();
  });

  test('works_through_the_gateway_as_well', async () => {
    const through = new OpenAI({ baseURL: `${stack.apiUrl}/v1`, apiKey: stack.tokens.developer, maxRetries: 0 });
    const stream = await through.chat.completions.create({ model: MODEL, messages: ask('Hi'), max_tokens: 4, stream: true, stream_options: { include_usage: true } });
    let usage = null;
    for await (const chunk of stream) usage = chunk.usage ?? usage;
    assert.ok(usage.completion_tokens > 0);
    await assert.rejects(through.chat.completions.create({ model: 'gpt-9', messages: ask('Hi') }), OpenAI.NotFoundError);
  });
});
