// Vectors of texts over POST /v1/embeddings, with the embedding model that set-up converts (all-MiniLM-L6-v2). Needs both default models.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { startStack, waitFor } from '../support/stack.mjs';
import { EMBEDDER, MODEL, assertRefused, cancelled, cosine, decodeBase64, ledgerOf, llmClient } from '../support/llm.mjs';

let stack;
let llm;
let client;
before(async () => {
  stack = await startStack({ fresh: true });
  await stack.waitModel();
  llm = llmClient(stack);
  client = new OpenAI({ baseURL: `${stack.llmUrl}/v1`, apiKey: stack.tokens.developer, maxRetries: 0 });
});
after(async () => {
  await stack?.stop();
});

const embed = (body, as, headers) => llm.call('POST', '/v1/embeddings', body, as, headers);
const one = async (input, more = {}) => (await embed({ input, ...more })).json.data[0].embedding;
const norm = (v) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
/** More than anybody has read to its end before it is left. */
const many = () => Array.from({ length: 2000 }, (_, i) => `sentence ${i} ${'of very many that nobody will wait for '.repeat(6)}`);
const near = (a, b, within = 1e-5) => a.length === b.length && a.every((x, i) => Math.abs(x - b[i]) < within);

describe('embeddings', () => {
  test('the_embedding_model_is_loaded_by_its_first_use_and_is_the_default', async () => {
    const before = (await llm.call('GET', `/v1/models/${EMBEDDER}`)).json.cds;
    assert.deepEqual([before.state, before.kind, before.dimensions, before.pooling], ['unloaded', 'embedding', 384, 'mean']);
    const got = await embed({ input: 'The weather is lovely today.' });
    assert.equal(got.status, 200, got.text);
    assert.equal(got.json.object, 'list');
    assert.equal(got.json.model, EMBEDDER);
    assert.deepEqual(got.json.data.map((d) => [d.object, d.index, d.embedding.length]), [['embedding', 0, 384]]);
    assert.deepEqual(got.json.usage, { prompt_tokens: 8, total_tokens: 8 });
    assert.ok(Math.abs(norm(got.json.data[0].embedding) - 1) < 1e-6);
    assert.equal((await llm.call('GET', `/v1/models/${EMBEDDER}`)).json.cds.state, 'loaded');
    // The chat model stays the one that answers chats without a name.
    const chat = await llm.chat({ messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2 });
    assert.equal(chat.json.model, MODEL);
  });

  test('similarities_are_those_of_the_model_card', async () => {
    // The example of the model's publisher, with the numbers it prints.
    const input = ['The weather is lovely today.', "It's so sunny outside!", 'He drove to the stadium.'];
    const { data } = (await embed({ input })).json;
    const of = (a, b) => cosine(data[a].embedding, data[b].embedding);
    for (const [a, b, expected] of [[0, 1, 0.666], [0, 2, 0.1046], [1, 2, 0.1411]])
      assert.ok(Math.abs(of(a, b) - expected) < 0.01, `${input[a]} / ${input[b]}: ${of(a, b)}, not ${expected}`);
    const pairs = ['How do I reset my password?', 'I forgot my login and need a new one.', 'Best pizza in town', 'Where can I eat well in the city?'];
    const more = (await embed({ input: pairs })).json.data.map((d) => d.embedding);
    for (const [query, match, other] of [[0, 1, 2], [2, 3, 0], [3, 2, 1]])
      assert.ok(cosine(more[query], more[match]) > cosine(more[query], more[other]) + 0.1);
  });

  test('all_forms_of_input_give_the_same_vector_and_order_is_kept', async () => {
    const texts = ['one', 'two words', 'and three of them'];
    const tokens = await Promise.all(texts.map(async (content) =>
      (await llm.call('POST', '/v1/tokenize', { model: EMBEDDER, content, add_special: true })).json.tokens));
    const strings = (await embed({ input: texts })).json;
    const lists = (await embed({ input: tokens })).json;
    assert.deepEqual(strings.data.map((d) => d.index), [0, 1, 2]);
    for (const [i, text] of texts.entries()) {
      assert.ok(near(strings.data[i].embedding, await one(text)));
      assert.ok(near(strings.data[i].embedding, lists.data[i].embedding));
      assert.ok(near(strings.data[i].embedding, await one(tokens[i])));
    }
    assert.equal(strings.usage.prompt_tokens, tokens.flat().length);
  });

  test('base64_holds_the_same_floats', async () => {
    const floats = await one('same text');
    const packed = (await embed({ input: 'same text', encoding_format: 'base64' })).json.data[0].embedding;
    assert.equal(typeof packed, 'string');
    assert.deepEqual(decodeBase64(packed), floats.map(Math.fround));
  });

  test('the_official_client_reads_floats_and_base64', async () => {
    // Without a format it asks for base64 and unpacks it itself.
    const silent = await client.embeddings.create({ model: EMBEDDER, input: ['a cat', 'a dog'] });
    const floats = await client.embeddings.create({ model: EMBEDDER, input: ['a cat', 'a dog'], encoding_format: 'float', user: 'u1' });
    const cut = await client.embeddings.create({ model: EMBEDDER, input: 'a cat', dimensions: 64 });
    assert.ok(near(Array.from(silent.data[1].embedding), floats.data[1].embedding, 1e-7));
    assert.equal(cut.data[0].embedding.length, 64);
    assert.equal(silent.usage.total_tokens, floats.usage.prompt_tokens);
    await assert.rejects(client.embeddings.create({ model: EMBEDDER, input: '' }), (e) => e instanceof OpenAI.BadRequestError && e.param === 'input');
  });

  test('dimensions_cut_the_vector_and_normalise_it_again', async () => {
    const whole = await one('cut me');
    const cut = await one('cut me', { dimensions: 100 });
    assert.equal(cut.length, 100);
    const size = norm(whole.slice(0, 100));
    assert.ok(near(cut, whole.slice(0, 100).map((x) => x / size)));
    assertRefused(await embed({ input: 'x', dimensions: 385 }), 'dimensions', /at most 384/);
  });

  test('norms_and_poolings_can_be_chosen', async () => {
    const raw = await one('choose', { embd_normalize: -1 });
    const taxicab = await one('choose', { embd_normalize: 1 });
    const large = await one('choose', { embd_normalize: 0 });
    assert.ok(Math.abs(norm(raw) - 1) > 0.1);
    assert.ok(Math.abs(taxicab.reduce((sum, x) => sum + Math.abs(x), 0) - 1) < 1e-5);
    assert.ok(Math.abs(Math.max(...large.map(Math.abs)) - 32760) < 1);
    const each = await one('choose', { pooling: 'none', embd_normalize: -1 });
    assert.equal(each.length, 3); // [CLS] choose [SEP]
    assert.ok(near(each[0], await one('choose', { pooling: 'cls', embd_normalize: -1 }), 1e-4));
    assert.ok(near(each[2], await one('choose', { pooling: 'last', embd_normalize: -1 }), 1e-4));
    assert.ok(near(each[0].map((_, i) => (each[0][i] + each[1][i] + each[2][i]) / 3), raw, 1e-4));
    const packed = (await embed({ input: 'choose', pooling: 'none', embd_normalize: -1, encoding_format: 'base64' })).json.data[0].embedding;
    assert.ok(near(decodeBase64(packed[1]), each[1], 1e-6));
  });

  test('many_texts_of_any_length_are_computed_in_few_batches', async () => {
    const { work } = (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === EMBEDDER);
    const input = Array.from({ length: 500 }, (_, i) => (i % 50 ? `text number ${i}` : `long text ${i} `.repeat(40)));
    const got = await embed({ input });
    assert.equal(got.status, 200, got.text.slice(0, 300));
    assert.equal(got.json.data.length, 500);
    const after = (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === EMBEDDER).work;
    assert.equal(after.texts - work.texts, 500);
    assert.equal(after.rows - work.rows, got.json.usage.prompt_tokens);
    assert.ok(after.most_texts > 8);
    assert.ok(after.threads >= 1, 'threads are told behind an end, too');
    assert.ok(after.steps - work.steps <= Math.ceil(got.json.usage.prompt_tokens / 128), `${after.steps - work.steps} steps`);
    assert.ok(near(got.json.data[499].embedding, await one(input[499]), 1e-3));
  });

  test('every_answered_token_is_in_the_ledger', async () => {
    const got = await embed({ input: ['count me', 'and me too'] });
    const row = await ledgerOf(stack, got.json.cds.request_id);
    assert.deepEqual([row.prompt_tokens, row.completion_tokens, row.outcome], [got.json.usage.prompt_tokens, 0, 'stop']);
    assert.equal(row.model, EMBEDDER);
    assert.ok(got.json.cds.cost_micro > 0);
    assert.equal(got.json.cds.ended, 'finished');
  });

  test('who_leaves_pays_for_what_was_computed_and_the_model_is_free_again', async () => {
    const id = '01990000-0000-7000-8000-00000000e001';
    const gone = new AbortController();
    const call = fetch(`${stack.llmUrl}/v1/embeddings`, { method: 'POST', signal: gone.signal, body: JSON.stringify({ input: many() }),
      headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}`, 'x-request-id': id } });
    const active = async () => (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === EMBEDDER).active;
    await waitFor('it runs', async () => (await active()) === 1, undefined, 2);
    gone.abort();
    await assert.rejects(call);
    await waitFor('it is over', async () => (await active()) === 0);
    const row = await waitFor('it is booked', () => ledgerOf(stack, id));
    assert.equal(row.outcome, 'gone');
    assert.ok(row.prompt_tokens < 2000 * 6 * 8, `${row.prompt_tokens} tokens`);
    assert.ok((await one('still here')).length === 384);
  });

  test('a_request_can_be_cancelled_by_its_id', async () => {
    const got = await cancelled(llm, (id) => embed({ input: many() }, 'developer', { 'x-request-id': id }));
    assert.notEqual(got.status, 200);
    assert.match(got.json.error.message, /cancelled/);
  });

  test('vectors_of_two_users_come_from_common_batches_and_are_the_right_ones', async () => {
    const texts = Array.from({ length: 24 }, (_, i) => `parallel text ${i} ${'word '.repeat(i)}`);
    const alone = [];
    for (const text of texts) alone.push(await one(text));
    const together = await Promise.all(texts.map((text, i) => embed({ input: text }, i % 2 ? 'admin' : 'developer')));
    // Each is its own text's: near to it (the last bits depend on the batch), and nearer than to any other.
    together.forEach((got, i) => {
      const near = alone.map((vector) => cosine(got.json.data[0].embedding, vector));
      assert.ok(near[i] > 0.999, `${i}: ${near[i]}`);
      assert.equal(near.indexOf(Math.max(...near)), i, `${i}: ${near.map((n) => n.toFixed(5))}`);
    });
  });

  test('bad_input_is_400_naming_the_member', async () => {
    for (const [body, param] of [
      [{}, 'input'], [{ input: '' }, 'input'], [{ input: [] }, 'input'], [{ input: 7 }, 'input'], [{ input: null }, 'input'], [{ input: ['a', ''] }, 'input/1'],
      [{ input: ['a', 7] }, 'input/1'], [{ input: [[1], []] }, 'input/1'], [{ input: [-1] }, 'input/0'], [{ input: [[99999999]] }, 'input/0'], [{ input: [1, 'a', 1.5] }, 'input/0'],
      [{ input: Array(2049).fill('a') }, 'input'], [{ input: 'a', encoding_format: 'hex' }, 'encoding_format'], [{ input: 'a', dimensions: 0 }, 'dimensions'],
      [{ input: 'a', dimensions: 1.5 }, 'dimensions'], [{ input: 'a', dimensions: '16' }, 'dimensions'], [{ input: 'a', user: 5 }, 'user'],
      [{ input: 'a', pooling: 'rank' }, 'pooling'], [{ input: 'a', embd_normalize: 65 }, 'embd_normalize'], [{ input: 'a', model: 5 }, 'model'],
    ]) {
      assertRefused(await embed(body), param);
    }
    assert.equal((await embed('{"input":')).status, 400);
    assert.equal((await embed({ input: 'a', model: 'nobody' })).status, 404);
    assert.equal((await embed({ input: 'a' }, 'viewer')).status, 403);
    assert.equal((await embed({ input: 'a' }, null)).status, 401);
  });

  test('a_text_that_does_not_fit_is_400_with_both_numbers', async () => {
    const got = await embed({ input: ['short', 'long '.repeat(600)] });
    assert.equal(got.status, 400);
    assert.equal(got.json.error.code, 'context_length_exceeded');
    assert.match(got.json.error.message, /Input 1 has 60\d tokens.*512/);
    const fits = await embed({ input: 'long '.repeat(510) });
    assert.equal(fits.json.usage.prompt_tokens, 512);
  });

  test('chat_models_make_no_vectors_and_the_embedding_model_does_not_chat', async () => {
    const vector = await embed({ input: 'a', model: MODEL });
    assertRefused(vector, 'model', /generates text/);
    assert.match(vector.json.error.hint ?? vector.text, new RegExp(EMBEDDER));
    for (const [path, body] of [['chat/completions', { messages: [{ role: 'user', content: 'Hi' }] }], ['completions', { prompt: 'Hi' }], ['infill', { input_prefix: 'a' }]])
      assertRefused(await llm.call('POST', `/v1/${path}`, { model: EMBEDDER, ...body }), 'model', /makes vectors/);
  });

  test('a_model_process_that_dies_costs_nothing_and_comes_back', async () => {
    const { pid } = (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === EMBEDDER);
    const id = '01990000-0000-7000-8000-00000000e003';
    const call = embed({ input: many() }, 'developer', { 'x-request-id': id });
    await waitFor('it runs', async () => (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === EMBEDDER).active === 1, undefined, 2);
    process.kill(pid, 'SIGKILL');
    assert.equal((await call).status, 500);
    assert.equal((await waitFor('it is booked', () => ledgerOf(stack, id))).prompt_tokens, 0);
    const again = await waitFor('it is back', async () => { const got = await embed({ input: 'again' }); return got.status === 200 && got; });
    assert.equal(again.json.data[0].embedding.length, 384);
  });
});
