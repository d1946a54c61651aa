// The short names of the model server: the same handlers as under /v1 and /admin, at both doors. Needs the default model.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EMBEDDER, MODEL, ask, llmClient, readEvents, withModel } from '../support/llm.mjs';

let doors;
withModel(({ stack, llm }) => (doors = [llm, llmClient({ ...stack, llmUrl: stack.apiUrl })]));

describe('the short name', () => {
  test('chat_answers_and_streams_like_chat_completions', async () => {
    const body = { messages: ask('Hi'), max_tokens: 5, temperature: 0, seed: 3 };
    for (const llm of doors) {
      const long = await llm.chat(body);
      const short = await llm.call('POST', '/chat', body);
      assert.equal(short.status, 200, short.text);
      assert.equal(short.json.object, 'chat.completion');
      assert.deepEqual(short.json.choices, long.json.choices);
      const events = readEvents((await llm.call('POST', '/chat', { ...body, stream: true })).text);
      assert.equal(events.at(-1).data, '[DONE]');
    }
  });

  test('completion_answers_like_completions', async () => {
    for (const llm of doors) {
      const body = { prompt: 'One, two,', max_tokens: 3, temperature: 0 };
      const got = await llm.call('POST', '/completion', body);
      assert.equal(got.json.object, 'text_completion', got.text);
      assert.deepEqual(got.json.choices, (await llm.complete(body)).json.choices);
    }
  });

  test('embed_returns_vectors_like_embeddings', async () => {
    for (const llm of doors) {
      for (const body of [{ input: ['The sea.', 'A mountain.'] }, { input: 'The sea.', encoding_format: 'base64', dimensions: 100 }]) {
        const got = await llm.call('POST', '/embed', body);
        assert.equal(got.status, 200, got.text);
        const long = await llm.call('POST', '/v1/embeddings', body);
        assert.deepEqual([got.json.object, got.json.data, got.json.usage], [long.json.object, long.json.data, long.json.usage]);
        assert.equal(got.json.model, EMBEDDER);
      }
      const { embedding } = (await llm.call('POST', '/embed', { input: 'The sea.' })).json.data[0];
      assert.equal(embedding.length, 384);
      assert.ok(Math.abs(Math.sqrt(embedding.reduce((sum, x) => sum + x * x, 0)) - 1) < 1e-5);
      assert.equal((await llm.call('POST', '/embed', {})).json.error.param, 'input');
    }
  });

  test('models_lists_like_v1_models', async () => {
    for (const llm of doors) {
      const got = await llm.call('GET', '/models');
      assert.ok(got.json.data.some((m) => m.id === MODEL), got.text);
      assert.deepEqual(got.json, (await llm.call('GET', '/v1/models')).json);
    }
  });

  test('load_unload_and_download_are_for_administrators', async () => {
    for (const llm of doors) {
      for (const name of ['/load', '/unload', '/download']) assert.equal((await llm.call('POST', name, { model: MODEL }, 'developer')).status, 403, name);
      assert.equal((await llm.call('POST', '/unload', { model: MODEL }, 'admin')).json.state, 'unloaded');
      assert.equal((await llm.chat({ messages: ask('Hi'), max_tokens: 1 })).status, 500);
      assert.equal((await llm.call('POST', '/load', { model: MODEL }, 'admin')).json.state, 'loaded');
      const wrong = await llm.call('POST', '/download', { source: '' }, 'admin');
      assert.equal(wrong.status, 400, wrong.text);
      assert.equal(wrong.json.error.param, 'source');
    }
  });

  test('is_no_door_without_a_credential', async () => {
    for (const llm of doors) for (const name of ['/chat', '/completion', '/embed', '/load', '/unload', '/download']) assert.equal((await llm.call('POST', name, {}, null)).status, 401, name);
  });
});
