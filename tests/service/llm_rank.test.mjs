// POST /v1/rerank: with a model that has a head for ranking (made here from the embedding model, with a head of noise: what it likes is arbitrary,
// but it is the same each time), by the cosine of vectors when that is asked for, and refusals. Needs the embedding model.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { build, root, startStack } from '../support/stack.mjs';
import { editGguf } from '../support/gguf_edit.mjs';
import { EMBEDDER, MODEL, assertRefused, ledgerOf, llmClient } from '../support/llm.mjs';

const HEAD = 'head', DEEP = 'deep'; // one layer, as of a distilled ranker, and two, as of a BERT classifier
const folder = mkdtempSync(join(tmpdir(), 'cds-rank-'));
const home = join(folder, 'home');
const fileOf = (id) => join(home, 'models', `${id}.gguf`);
let stack;
let llm;
before(async () => {
  const noise = (length, times) => Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898) * times);
  const output = [['cls.output.weight', [384, 1], noise(384, 0.3)], ['cls.output.bias', [1], Float32Array.of(0.5)]];
  const dense = [['cls.weight', [384, 384], noise(384 * 384, 0.2)], ['cls.bias', [384], noise(384, 0.1)]];
  const models = join(home, 'models');
  mkdirSync(models, { recursive: true });
  chmodSync(folder, 0o755);
  for (const [id, tensors] of [[HEAD, output], [DEEP, [...dense, ...output]]])
    editGguf(join(build, 'share/models/all-MiniLM-L6-v2.Q8_0.gguf'), fileOf(id), { set: { 'bert.pooling_type': 4 }, tensors });
  stack = await startStack({ home, options: { 'llm.model': fileOf(HEAD) } });
  await stack.waitModel();
  llm = llmClient(stack);
});
after(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const rank = (body, as) => llm.call('POST', '/v1/rerank', body, as);
const documents = ['Paris is the capital of France.', 'Bananas are yellow.', 'The Eiffel Tower stands in Paris.', 'Berlin is the capital of Germany.'];
const query = 'What is the capital of France?';

/** bench/llm_rank.c: the same library and file, the pairs put together by hand, so many of them in one batch. */
function straight(id, together) {
  const done = spawnSync(join(build, 'bench/llm_rank'), [fileOf(id), join(root, 'deps/llama/lib'), 1, together, query, ...documents].map(String), { encoding: 'utf8' });
  assert.equal(done.status, 0, done.stderr);
  return JSON.parse(done.stdout);
}

describe('ranking', () => {
  test('a_ranking_head_gives_sorted_scores_with_indexes_and_usage', async () => {
    const got = await rank({ query, documents });
    assert.equal(got.status, 200, got.text);
    assert.deepEqual([got.json.object, got.json.model], ['list', HEAD]);
    const scores = got.json.results.map((r) => r.relevance_score);
    assert.deepEqual(scores, [...scores].sort((a, b) => b - a));
    assert.deepEqual(got.json.results.map((r) => r.index).sort(), [0, 1, 2, 3]);
    assert.ok(new Set(scores).size === 4, 'documents differ');
    assert.ok(got.json.results.every((r) => !('document' in r)));
    // [CLS] query [SEP] document [SEP]
    const words = async (content) => (await llm.call('POST', '/v1/tokenize', { model: HEAD, content })).json.count;
    let expected = 0;
    for (const text of documents) expected += 3 + (await words(query)) + (await words(text));
    assert.deepEqual(got.json.usage, { prompt_tokens: expected, total_tokens: expected });
    const row = await ledgerOf(stack, got.json.cds.request_id);
    assert.deepEqual([row.prompt_tokens, row.completion_tokens, row.model], [expected, 0, HEAD]);
    assert.deepEqual((await rank({ query, documents })).json.results, got.json.results);
  });

  test('the_score_belongs_to_the_pair_and_not_to_its_company', async () => {
    const all = (await rank({ query, documents })).json.results;
    // The size of a batch moves the sums of the library itself, on some processors more than on others.
    const [one, many] = [straight(HEAD, 1), straight(HEAD, documents.length)];
    for (const [i, text] of documents.entries()) {
      const alone = (await rank({ query, documents: [text] })).json.results[0].relevance_score;
      const company = all.find((r) => r.index === i).relevance_score;
      const moved = many[i] - one[i];
      assert.ok(Math.abs(company - alone - moved) < 2e-3, `${alone} alone, ${company} with others; the library's own differs by ${moved}`);
    }
    const other = (await rank({ query: 'Which fruit is yellow?', documents })).json.results;
    assert.notDeepEqual(other.map((r) => r.relevance_score), all.map((r) => r.relevance_score));
  });

  test('the_scores_are_those_of_a_straight_loop_over_the_library', async () => {
    const ours = async (model, texts) => (await rank({ query, documents: texts, model })).json.results.sort((a, b) => a.index - b.index).map((r) => r.relevance_score);
    const near = (got, wanted, what) => wanted.forEach((score, i) => assert.ok(Math.abs(got[i] - score) < 1e-3, `${what}, document ${i}: ${got[i]} here, ${score} in a straight loop`));
    for (const model of [HEAD, DEEP]) {
      assert.equal((await llm.call('POST', '/admin/load', { model }, 'admin')).status, 200);
      const wanted = straight(model, 1);
      assert.ok(Math.max(...wanted) - Math.min(...wanted) > 0.01, `the head tells documents apart: ${wanted}`);
      const alone = [];
      for (const text of documents) alone.push(...(await ours(model, [text])));
      near(alone, wanted, `${model}, alone`);
      near(await ours(model, documents), straight(model, documents.length), `${model}, together`);
    }
  });

  test('top_n_and_return_documents_and_normalize', async () => {
    const all = (await rank({ query, documents })).json.results;
    const got = (await rank({ query, documents: documents.map((text) => ({ text })), top_n: 2, return_documents: true, normalize: true })).json.results;
    assert.deepEqual(got.map((r) => r.index), all.slice(0, 2).map((r) => r.index));
    assert.deepEqual(got.map((r) => r.document.text), all.slice(0, 2).map((r) => documents[r.index]));
    got.forEach((r, i) => assert.ok(Math.abs(r.relevance_score - 1 / (1 + Math.exp(-all[i].relevance_score))) < 1e-6));
  });

  test('cosine_ranks_with_an_embedding_model_and_only_when_it_is_asked_for', async () => {
    assertRefused(await rank({ query, documents, model: EMBEDDER }), 'model', /makes vectors/);
    const got = await rank({ query, documents, method: 'cosine' });
    assert.equal(got.status, 200, got.text);
    assert.equal(got.json.model, EMBEDDER);
    assert.equal(got.json.results[0].index, 0);
    assert.equal(got.json.results.at(-1).index, 1);
    const vectors = (await llm.call('POST', '/v1/embeddings', { input: [query, ...documents] })).json.data.map((d) => d.embedding);
    for (const { index, relevance_score } of got.json.results)
      assert.ok(Math.abs(relevance_score - vectors[0].reduce((sum, x, i) => sum + x * vectors[index + 1][i], 0)) < 1e-3);
    assertRefused(await rank({ query, documents, model: HEAD, method: 'cosine' }), 'model', /ranks documents/);
    assertRefused(await rank({ query, documents, model: MODEL }), 'model', /generates text/);
    assertRefused(await llm.call('POST', '/v1/embeddings', { input: 'a', model: HEAD }), 'model', /ranks documents/);
  });

  test('a_document_that_is_too_long_is_refused_or_counts_by_its_best_part', async () => {
    const filler = 'Nothing of interest is written here. '.repeat(90);
    const long = `${filler}${documents[0]} ${filler}`;
    const refused = await rank({ query, documents: ['short', long], method: 'cosine' });
    assert.equal(refused.status, 400);
    assert.equal(refused.json.error.code, 'context_length_exceeded');
    assert.match(refused.json.error.message, /Document 1 has \d+ tokens.*room for 510.*best_chunk/);
    const plain = (await rank({ query, documents: [filler.slice(0, 900), long], method: 'cosine', overflow: 'best_chunk', overlap: 32 })).json;
    assert.equal(plain.results[0].index, 1, 'the part with the answer decides');
    assert.ok(plain.usage.prompt_tokens > 1400);
    const head = (await rank({ query, documents: [long], overflow: 'best_chunk', overlap: 0 })).json;
    const wider = (await rank({ query, documents: [long], overflow: 'best_chunk', overlap: 200 })).json;
    assert.ok(wider.usage.prompt_tokens > head.usage.prompt_tokens, 'overlap is evaluated twice');
    assert.equal((await rank({ query: 'word '.repeat(600), documents: ['a'] })).json.error.param, 'query');
  });

  test('a_template_of_ones_own_says_how_query_and_document_stand_together', async () => {
    const usual = (await rank({ query, documents })).json;
    const same = (await rank({ query, documents, rank_template: '[CLS]{query}[SEP]{document}[SEP]' })).json;
    assert.deepEqual(same.usage, usual.usage);
    same.results.forEach((r, i) => assert.ok(Math.abs(r.relevance_score - usual.results[i].relevance_score) < 1e-4));
    const other = (await rank({ query, documents, rank_template: '[CLS]{document}[SEP]{query}[SEP]' })).json;
    assert.notDeepEqual(other.results.map((r) => r.relevance_score), usual.results.map((r) => r.relevance_score));
    assertRefused(await rank({ query, documents, rank_template: '{query}' }), 'rank_template');
  });

  test('bad_input_is_400_naming_the_member', async () => {
    for (const [body, param] of [
      [{ documents }, 'query'], [{ query: '', documents }, 'query'], [{ query }, 'documents'], [{ query, documents: [] }, 'documents'], [{ query, documents: 'a' }, 'documents'],
      [{ query, documents: ['a', 5] }, 'documents/1'], [{ query, documents: ['', 'a'] }, 'documents/0'], [{ query, documents: [{ body: 'a' }] }, 'documents/0'],
      [{ query, documents, top_n: 0 }, 'top_n'], [{ query, documents, top_n: 'x' }, 'top_n'], [{ query, documents, return_documents: 1 }, 'return_documents'],
      [{ query, documents, method: 'guess' }, 'method'], [{ query, documents, overflow: 'drop' }, 'overflow'], [{ query, documents, overlap: -1 }, 'overlap'],
      [{ query, documents: Array(2049).fill('a') }, 'documents'],
    ]) assertRefused(await rank(body), param);
    assert.equal((await rank({ query, documents }, 'viewer')).status, 403);
  });
});
