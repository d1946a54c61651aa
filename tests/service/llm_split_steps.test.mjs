// Steps in two batches (apps/llmworker/split.h): answers that go on while a prompt enters say what they say alone, and so does the prompt's.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { llmClient } from '../support/llm.mjs';
import { startStack, untilCaught, waitFor } from '../support/stack.mjs';

const words = ['river', 'stone', 'bridge', 'market', 'winter', 'garden', 'letter', 'window', 'summer', 'forest', 'silver', 'mountain'];
const text = (seed, count) => Array.from({ length: count }, (_, i) => words[(seed * 7 + i * i * 5 + i * seed) % words.length]).join(' ');
const ANSWERS = 6;
const LENGTH = 48;
let stack;
let llm;

describe('answers beside a prompt', () => {
  before(async () => {
    stack = await startStack({ options: { 'llm.slots': 8 } });
    await stack.waitModel();
    llm = llmClient(stack);
  });
  after(() => stack?.stop());

  test('have_a_batch_of_their_own_and_say_what_they_say_alone', async () => {
    const ask = (prompt, max_tokens) => llm.complete({ prompt, max_tokens, temperature: 0, ignore_eos: true, logprobs: 0, speculation: 'off' });
    const prompts = Array.from({ length: ANSWERS }, (_, i) => `${i} ${text(i, 260)}. The next words are:`);
    const entering = `Once upon a time. ${text(99, 700)}. And then`;
    const alone = [];
    for (const prompt of prompts) alone.push(await ask(prompt, LENGTH));
    const entered = await ask(entering, 8);
    // Another beginning, so that everything is computed again; the answers run for as long as the prompt takes to enter.
    const again = await untilCaught('a step that is split', async (i) => {
      const before = (await llm.modelStatus()).work.split_steps;
      let over = 0;
      const running = prompts.map((prompt) => ask(prompt, LENGTH).finally(() => over++));
      await waitFor('all of them run', async () => over > 0 || (await llm.modelStatus()).active >= ANSWERS, Infinity, 5);
      const one = llm.complete({ prompt: `${'x'.repeat(i + 1)}${entering}`, max_tokens: 4, temperature: 0, speculation: 'off' });
      const got = await Promise.all(running);
      await one;
      return (await llm.modelStatus()).work.split_steps > before && got;
    });
    const beside = await ask(entering, 8);
    // Greedy text may drift where two tokens are as likely; rows that were mixed up would differ at once, and in their chances.
    let same = 0;
    let apart = 0;
    for (const [i, got] of again.entries()) {
      const [was, is] = [alone[i], got].map((g) => g.json.choices[0].logprobs);
      const common = was.tokens.findIndex((token, n) => token !== is.tokens[n]);
      const count = common < 0 ? was.tokens.length : common;
      same += count;
      for (let n = 0; n < count; n++) apart += Math.abs(is.token_logprobs[n] - was.token_logprobs[n]);
    }
    assert.ok(same >= 0.5 * ANSWERS * LENGTH, `${same} of ${ANSWERS * LENGTH} tokens are the same`);
    assert.ok(apart / same < 0.05, `chances are ${apart / same} apart`);
    assert.equal(beside.json.choices[0].text, entered.json.choices[0].text);
  });
});
