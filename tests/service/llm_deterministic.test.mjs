// "deterministic": the same text for the same request in any company. A model of random weights, whose answers change with the last bit of a sum.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertRefused, llmClient } from '../support/llm.mjs';
import { waitFor } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

let stack;
let llm;
before(async () => {
  stack = await startTiny({ options: { 'llm.slots': '6', 'llm.context_tokens': '8192', 'llm.request_tokens': '2048' } });
  llm = llmClient(stack);
});
after(() => stack?.stop());

const body = { prompt: `Count on without an end. ${'river stone bridge market '.repeat(40)}`, max_tokens: 200, ignore_eos: true, temperature: 1, deterministic: true, return_tokens: true };
const work = async () => (await llm.call('GET', '/admin/status', undefined, 'admin')).json.models.find((m) => m.id === TINY).work;
const tokens = (got) => {
  assert.equal(got.status, 200, got.text);
  return got.json.choices[0].tokens;
};

describe('a deterministic request', () => {
  test('says the same alone, behind others, beside others and after them', async () => {
    const alone = tokens(await llm.complete(body));
    assert.equal(alone.length, 200);
    assert.deepEqual(tokens(await llm.complete(body)), alone, 'again');
    for (let round = 0; round < 3; round++) {
      const crowd = Array.from({ length: 5 }, (_, i) => llm.complete({ prompt: `Crowd ${round} ${i}: ${body.prompt}`, max_tokens: 150 + 20 * i, ignore_eos: true, temperature: 0.9 }));
      await waitFor('they run', async () => (await work()).active >= 3, 10_000, 2);
      const begin = await work();
      const asked = llm.complete(body);
      const late = llm.complete({ prompt: body.prompt, max_tokens: 30, ignore_eos: true });
      const got = await asked;
      assert.deepEqual(tokens(got), alone, `round ${round}`);
      assert.equal(got.json.usage.prompt_tokens_details.cached_tokens, 0, 'nothing of others is used');
      assert.equal((await work()).put_back, begin.put_back, 'nobody was put back for it');
      for (const one of [...crowd, late]) assert.equal((await one).status, 200);
    }
    assert.notDeepEqual(tokens(await llm.complete({ ...body, seed: 5 })), alone, 'another seed is another text');
  });

  test('is one prompt and one answer, without guesses', async () => {
    assertRefused(await llm.complete({ ...body, n: 2 }), 'deterministic');
    assertRefused(await llm.complete({ ...body, prompt: ['a', 'b'] }), 'deterministic');
    assertRefused(await llm.complete({ ...body, deterministic: 'yes' }), 'deterministic');
    assertRefused(await llm.complete({ ...body, speculation: 'lookup' }), 'speculation');
  });
});
