// "deterministic": the same answer bit by bit, chances included, whatever runs beside it, whatever is kept, in every load of the model.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertRefused, cancelled, llmClient } from '../support/llm.mjs';
import { waitFor } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

let stack, llm;
const admin = (method, path, body) => llm.call(method, path, body, 'admin');
const status = async () => (await admin('GET', '/admin/status')).json.models.find((m) => m.id === TINY);
const words = (seed, count) => Array.from({ length: count }, (_, i) => ['river', 'stone', 'bridge', 'market', 'winter', 'garden', 'letter'][(i * seed + (i % 5)) % 7]).join(' ');
const prompt = `${words(3, 150)} then`;

before(async () => {
  // Others ask for as long as it takes.
  stack = await startTiny({ options: { 'llm.slots': '6', 'llm.context_tokens': '8192', 'llm.request_tokens': '2048', 'budget.month_tokens': '1000000000' } });
  llm = llmClient(stack);
});
after(() => stack?.stop());

/** Text and chances to the last bit (they are told as numbers with all their digits). */
async function answer(more = {}) {
  const got = await llm.complete({ prompt, max_tokens: 40, temperature: 0.7, seed: 11, logprobs: 2, deterministic: true, ...more });
  assert.equal(got.status, 200, got.text);
  return { told: JSON.stringify([got.json.choices.map((c) => [c.text, c.logprobs])]), usage: got.json.usage };
}
/** While this runs, other prompts are read and other answers made, which leaves their cells everywhere. */
async function beside(what) {
  let over = false;
  const others = Array.from({ length: 5 }, async (_, i) => {
    for (let k = 0; !over; k++) await llm.complete({ prompt: `${words(i + 2, 60 + 37 * (k % 20))} ${k}`, max_tokens: 30 + 9 * i, temperature: 1 }, 'admin');
  });
  try {
    await waitFor('others run', async () => (await status()).active >= 3, undefined, 2);
    return await what();
  } finally {
    over = true;
    await Promise.all(others);
  }
}

describe('a deterministic answer', () => {
  test('is_the_same_to_the_last_bit_beside_others_after_others_and_in_another_process', async () => {
    const first = await answer();
    assert.ok((await answer()).told === first.told, 'again, with nothing kept');
    await beside(async () => {
      for (let i = 0; i < 3; i++) assert.ok((await answer()).told === first.told, 'beside others');
      const both = await Promise.all([answer(), answer({ prompt: `${words(5, 90)}` }), answer()]);
      assert.ok(both[0].told === first.told);
      assert.ok(both[2].told === first.told);
    });
    assert.ok((await answer()).told === first.told, 'with the context full of what others left');
    assert.equal((await admin('POST', '/admin/unload', { model: TINY })).status, 200);
    assert.equal((await admin('POST', '/admin/load', { model: TINY })).status, 200);
    await llm.complete({ prompt: words(6, 200), max_tokens: 5 });
    assert.ok((await answer()).told === first.told, 'in another process');
  });

  test('an_ordinary_one_is_not_which_is_what_it_is_for', async () => {
    const plain = { deterministic: false, speculation: 'off' };
    const first = await answer(plain), seen = new Set([first.told]);
    await beside(async () => {
      await waitFor('the last bit of a chance changes with the company', async () => seen.add((await answer(plain)).told).size > 1, undefined, 0);
    });
  });

  test('nothing_is_shared_with_it_and_nothing_of_it_kept', async () => {
    await answer({ deterministic: false });
    const { usage } = await answer();
    assert.equal(usage.prompt_tokens_details.cached_tokens, 0);
    assert.equal((await answer()).usage.prompt_tokens_details.cached_tokens, 0);
    assert.equal((await answer({ max_tokens: 7, temperature: 0, ignore_eos: true })).usage.completion_tokens, 7);
  });

  test('without_a_seed_it_has_always_the_same', async () => {
    const one = await answer({ seed: undefined, temperature: 1.5 }), two = await answer({ seed: undefined, temperature: 1.5 });
    assert.ok(one.told === two.told);
  });

  test('streams_chats_cancels_and_stops_like_any_other', async () => {
    const body = { prompt, max_tokens: 30, temperature: 0, deterministic: true };
    const whole = (await llm.complete(body)).json.choices[0].text;
    const streamed = await llm.textStream(body);
    assert.equal(streamed.events.map((e) => e.choices[0]?.text ?? '').join(''), whole);
    const stop = [...whole].slice(8, 12).join('');
    assert.equal((await llm.complete({ ...body, stop })).json.choices[0].finish_reason, 'stop');
    const chat = { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 6, temperature: 0, deterministic: true };
    assert.equal((await llm.chat(chat)).json.choices[0].message.content, (await llm.chat(chat)).json.choices[0].message.content);
    assert.equal((await stack.rpc('llm.complete', { prompt, max_tokens: 30, temperature: 0, deterministic: true }, 'developer')).content, whole);
    const long = await cancelled(llm, (id) => llm.complete({ ...body, max_tokens: 1600 }, 'developer', { 'x-request-id': id }));
    assert.equal(long.json.cds.ended, 'cancelled');
    assert.equal((await llm.complete(body)).json.choices[0].text, whole);
  });

  test('others_go_on_meanwhile_and_its_context_is_counted', async () => {
    const before = (await status()).work;
    const [slow, fast] = await Promise.all([answer({ max_tokens: 200, ignore_eos: true }), llm.complete({ prompt: words(4, 20), max_tokens: 40 })]);
    assert.equal(fast.status, 200);
    assert.equal(slow.usage.completion_tokens, 200);
    const { work, need_bytes } = await status();
    assert.ok(work.solo_steps - before.solo_steps >= 200);
    assert.ok(work.steps > before.steps);
    await admin('POST', '/admin/unload', { model: TINY });
    await admin('POST', '/admin/load', { model: TINY });
    assert.ok((await status()).need_bytes < need_bytes, 'the context is made by the first one that wants it');
  });

  test('what_is_only_there_to_be_kept_is_400', async () => {
    for (const more of [{ preload: true }, { save_state: 'x' }]) assertRefused(await llm.complete({ prompt, deterministic: true, ...more }), 'deterministic', /nothing of such a request is kept/);
    assertRefused(await llm.complete({ prompt, deterministic: 1 }), 'deterministic', /true or false/);
  });
});

const body = { prompt: `Count on without an end. ${'river stone bridge market '.repeat(40)}`, max_tokens: 200, ignore_eos: true, temperature: 1, deterministic: true, return_tokens: true };
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
      let over = false;
      const crowd = Array.from({ length: 5 }, async (_, i) => {
        do {
          const one = await llm.complete({ prompt: `Crowd ${round} ${i}: ${body.prompt}`, max_tokens: 150 + 20 * i, ignore_eos: true, temperature: 0.9 });
          assert.equal(one.status, 200, one.text);
        } while (!over);
      });
      await waitFor('they run', async () => (await status()).active >= 3, undefined, 2);
      const begin = (await status()).work;
      const asked = llm.complete(body);
      const late = llm.complete({ prompt: body.prompt, max_tokens: 30, ignore_eos: true });
      const got = await asked;
      over = true;
      await Promise.all(crowd);
      assert.equal((await late).status, 200);
      assert.deepEqual(tokens(got), alone, `round ${round}`);
      assert.equal(got.json.usage.prompt_tokens_details.cached_tokens, 0, 'nothing of others is used');
      assert.equal((await status()).work.put_back, begin.put_back, 'nobody was put back for it');
    }
    assert.notDeepEqual(tokens(await llm.complete({ ...body, seed: 5 })), alone, 'another seed is another text');
  });

  test('is not put back for one of a higher class, which would read its tokens again in larger pieces', async () => {
    const low = (more) => answer({ priority: 'low', max_tokens: 200, ignore_eos: true, ...more });
    const alone = await low();
    for (let round = 0; round < 3; round++) {
      const begun = (await status()).work;
      const asked = low();
      await waitFor('it answers', async () => (await status()).work.solo_steps >= begun.solo_steps + 12 + 20 * round, undefined, 2);
      const [other, got] = await Promise.all([answer({ max_tokens: 8, ignore_eos: true }), asked]);
      assert.ok(got.told === alone.told, `round ${round}`);
      assert.equal(other.usage.completion_tokens, 8);
    }
  });

  test('is one prompt and one answer, without guesses', async () => {
    assertRefused(await llm.complete({ ...body, n: 2 }), 'deterministic');
    assertRefused(await llm.complete({ ...body, prompt: ['a', 'b'] }), 'deterministic');
    assertRefused(await llm.complete({ ...body, deterministic: 'yes' }), 'deterministic');
    assertRefused(await llm.complete({ ...body, speculation: 'lookup' }), 'speculation');
  });
});

describe('its memory', () => {
  test('where_there_is_no_memory_for_its_context_it_is_refused_with_the_numbers', async () => {
    const path = `/admin/models/${TINY}/settings`;
    const { need_bytes } = (await admin('GET', path)).json;
    await stack.stop();
    stack = await startTiny({ options: { 'llm.slots': '2', 'llm.request_tokens': '4096', 'llm.memory_bytes': String(Math.floor(need_bytes * 1.03)) } });
    llm = llmClient(stack);
    const got = await llm.complete({ prompt, max_tokens: 4, deterministic: true });
    assert.equal(got.status, 507, got.text);
    assert.equal(got.json.error.rule, 'llm.memory');
    assert.match(got.json.error.message, /needs about \d+ MiB more memory for deterministic answers/);
    assert.equal((await llm.complete({ prompt, max_tokens: 4 })).status, 200);
  });
});
