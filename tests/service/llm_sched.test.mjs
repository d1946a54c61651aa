// The scheduler on a live studio, by its counters: what is computed, what is shared, who waits for whom, what a cancel frees. The model has
// random weights and the vocabulary of the default one (bench/llm_mkmodel.c): it is fast and seldom ends an answer by itself.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { nothingIsHeld } from '../support/llm.mjs';
import { build, root, startStack, timely, untilCaught, waitFor } from '../support/stack.mjs';

const MODEL = 'random-tiny';
const folder = mkdtempSync(join(tmpdir(), 'cds-sched-'));
const file = join(folder, `${MODEL}.gguf`);
let stack;
before(() => {
  const made = spawnSync(join(build, 'bench/llm_mkmodel'), [join(root, 'deps/models/SmolLM2-135M-Instruct.Q4_1.gguf'), file]);
  assert.equal(made.status, 0, made.stderr?.toString());
  chmodSync(folder, 0o755);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** One request to /v1/completions; leave() breaks the connection. */
function complete(body, as = 'developer') {
  const controller = new AbortController();
  const state = { text: '', status: 0, leave: () => controller.abort() };
  state.end = (async () => {
    const reply = await fetch(`${stack.llmUrl}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens[as]}` },
      body: JSON.stringify({ temperature: 0, ...body }),
      signal: controller.signal,
    });
    state.status = reply.status;
    state.id = reply.headers.get('x-request-id');
    state.place = Number(reply.headers.get('x-cds-queue-place') ?? 0);
    state.retryAfter = Number(reply.headers.get('retry-after') ?? 0);
    for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) state.text += piece;
    if (!body.stream) state.json = JSON.parse(state.text);
    return state;
  })();
  state.end.catch(() => {});
  return state;
}
async function status() {
  const reply = await fetch(`${stack.llmUrl}/admin/status`, { headers: { authorization: `Bearer ${stack.tokens.admin}` } });
  return (await reply.json()).models.find((m) => m.id === MODEL);
}
const work = async () => (await status()).work;
const idle = () => waitFor('no request is running', async () => { const s = await status(); return s.active === 0 && s.queued === 0; }, 120000);
/** The log line of a request that ended. */
const logged = (one) => waitFor('it is in the log', () => stack.logTail(3000).find((l) => l.msg === 'request' && l.request_id === one.id && l.status));

/** Text of about so many tokens ("word" and a blank are one each time), different for each seed from its beginning on. */
const words = ['river', 'stone', 'bridge', 'market', 'winter', 'garden', 'letter', 'window', 'summer', 'forest', 'silver', 'mountain'];
function text(seed, count) {
  let state = seed * 2654435761 + 1;
  const out = [];
  for (let i = 0; i < count; i++) {
    state = (state * 1103515245 + 12345) % 2147483648;
    out.push(words[Math.floor((state / 2147483648) * words.length)]);
  }
  return out.join(' ');
}
const long = (seed) => `Count on without an end. ${text(seed, 8)}: 1, 2, 3, 4, 5, 6, 7, 8,`;

async function started(options) {
  stack = await startStack({ options: { 'llm.model': file, ...options } });
  await stack.waitModel();
}
const stopped = async () => {
  await stack?.stop();
};

describe('shared beginnings and fair turns', () => {
  before(() => started({ 'llm.slots': '8', 'llm.context_tokens': '32768', 'llm.request_tokens': '16384', 'llm.queue': '150', 'llm.queue_per_user': '110' }));
  after(stopped);

  test('eight_requests_that_come_together_compute_their_common_beginning_once', async () => {
    const begin = await work();
    const shared = text(1, 1500);
    const got = await Promise.all(Array.from({ length: 8 }, (_, i) => complete({ prompt: `${shared} ${text(100 + i, 32)}`, max_tokens: 2 }).end));
    for (const one of got) assert.equal(one.status, 200, one.text);
    await idle();
    const computed = (await work()).prompt_rows - begin.prompt_rows;
    const prompt = got.reduce((sum, one) => sum + one.json.usage.prompt_tokens, 0);
    assert.ok(prompt > 8 * 1530, `${prompt} prompt tokens`);
    assert.ok(computed <= 1.05 * 1756, `${computed} computed for ${prompt}`);
    assert.equal((await work()).cached_tokens - begin.cached_tokens, prompt - computed);
  });

  test('the_beginning_that_a_busy_request_holds_is_not_computed_again', async () => {
    const shared = text(2, 2000);
    const busy = complete({ prompt: shared, max_tokens: 10000, stream: true });
    await waitFor('it generates', () => busy.text.split('data: ').length > 4);
    const begin = (await work()).prompt_rows;
    const got = await complete({ prompt: `${shared} and then`, max_tokens: 2 }).end;
    assert.equal(got.status, 200, got.text);
    assert.ok(got.json.usage.prompt_tokens > 2000);
    await waitFor('the counters came', async () => (await work()).prompt_rows > begin);
    const computed = (await work()).prompt_rows - begin;
    assert.equal((await status()).active, 1, 'the busy one is still busy');
    busy.leave();
    assert.ok(computed <= 32, `${computed} computed`);
    await idle();
  });

  test('another_user_shares_nothing', async () => {
    const shared = text(3, 300);
    await complete({ prompt: shared, max_tokens: 1 }).end;
    await idle();
    const begin = await work();
    const got = await complete({ prompt: shared, max_tokens: 1 }, 'admin').end;
    await idle();
    const end = await work();
    assert.equal(end.prompt_rows - begin.prompt_rows, got.json.usage.prompt_tokens);
    assert.equal(end.cached_tokens, begin.cached_tokens);
  });

  test('a_long_prompt_lets_running_answers_go_on_after_64_tokens_and_a_short_one_pass', async () => {
    const live = complete({ prompt: long(4), max_tokens: 12000, stream: true });
    await waitFor('it generates', () => live.text.split('data: ').length > 3);
    await untilCaught('the long one still enters', async (i) => {
      const begin = (await work()).prompt_rows;
      const entering = complete({ prompt: text(500 + i, 12000), max_tokens: 1 });
      await waitFor('it enters', async () => (await work()).prompt_rows > begin + 300, Infinity, 1);
      const small = await complete({ prompt: `${i} times the sea is as wide as the sky and as deep as the night`, max_tokens: 1 }).end;
      assert.equal(small.status, 200, small.text);
      const still = entering.status === 0;
      assert.ok((await logged(small)).foreign_tokens <= 256, `${(await logged(small)).foreign_tokens} tokens went before it`);
      assert.equal((await entering.end).status, 200);
      return still;
    });
    live.leave();
    await idle();
    /* The tile of 64 rows is shared with the answer's own, until that is so long that it gets a batch of its own. */
    assert.ok([63, 64].includes((await work()).most_between), `${(await work()).most_between} prompt tokens between two of the answer`);
  });

  test('one_request_of_a_user_does_not_wait_for_a_hundred_of_another', async () => {
    const crowd = Array.from({ length: 100 }, (_, i) => complete({ prompt: long(1000 + i), max_tokens: 3500 }));
    await waitFor('the crowd waits', async () => (await status()).queued >= 90, 60000);
    const { queue } = await status();
    assert.deepEqual(queue.map((q) => q.place).sort((a, b) => a - b), queue.map((_, i) => i + 1));
    const small = await complete({ prompt: 'The sea is', max_tokens: 3 }, 'admin').end;
    assert.equal(small.status, 200, small.text);
    const { steps_to_first: steps } = await logged(small);
    assert.ok(steps <= 3, `${steps} steps to its first token: two of waiting, one of its prompt`);
    const later = await status();
    assert.ok(later.queued >= 60, `${later.queued} of the crowd still wait`);
    assert.ok(later.work.put_back > 0);
    const waits = complete({ prompt: long(1), max_tokens: 2, stream: true });
    await waitFor('it is told its place', () => /^: number \d+ in the queue$/m.test(waits.text), 30000);
    const more = Array.from({ length: 80 }, (_, i) => complete({ prompt: long(2000 + i), max_tokens: 2 }));
    const refused = await Promise.any(more.map(async (m) => { const got = await m.end; assert.equal(got.status, 429); return got; }));
    assert.equal(refused.json.error.code, 'rate_limit_exceeded');
    assert.ok(refused.retryAfter >= 1 && refused.place > 80, `${refused.retryAfter} ${refused.place}`);
    for (const one of [...crowd, waits, ...more]) one.leave();
    await idle();
    await nothingIsHeld(stack);
  });

  test('flex_requests_wait_behind_the_others', async () => {
    await untilCaught('those that were passed still run', async () => {
      const first = Array.from({ length: 8 }, (_, i) => complete({ prompt: long(20 + i), max_tokens: 3500, service_tier: 'flex' }));
      const run = () => first.every((one) => one.status === 0);
      await waitFor('all slots are taken', async () => !run() || (await status()).active === 8);
      const flex = complete({ prompt: 'The moon is', max_tokens: 1, service_tier: 'flex' });
      const waits = await waitFor('it waits', async () => !run() || (await status()).queue[0]);
      if (run()) assert.equal(waits.class, 'low');
      const normal = await complete({ prompt: 'The sun is', max_tokens: 1 }).end;
      const caught = run(); // else there was a place for each
      assert.equal(normal.status, 200);
      if (caught) {
        assert.equal(flex.status, 0, 'the flex one still waits');
        assert.ok((await logged(normal)).steps_to_first <= 3);
      }
      for (const one of [...first, flex]) one.leave();
      await idle();
      return caught;
    });
  });
});

describe('a context that is too small for all', () => {
  before(() => started({ 'llm.slots': '4', 'llm.context_tokens': '1024', 'llm.request_tokens': '1024' }));
  after(stopped);

  test('the_newest_request_is_put_back_and_none_fails_or_pays_twice', async () => {
    const spent = await nothingIsHeld(stack);
    const got = await Promise.all(Array.from({ length: 3 }, (_, i) => complete({ prompt: long(30 + i), max_tokens: 900 }).end));
    for (const one of got) assert.equal(one.status, 200, one.text);
    await idle();
    const end = await work();
    assert.ok(end.put_back > 0, 'somebody was put back');
    assert.ok(end.recomputed_tokens > 0, 'and computed some tokens twice');
    const told = got.reduce((sum, one) => sum + one.json.usage.total_tokens, 0);
    const later = await nothingIsHeld(stack);
    assert.equal(later.used_tokens - spent.used_tokens, told);
    const prompts = got.reduce((sum, one) => sum + one.json.usage.prompt_tokens, 0);
    assert.equal(prompts, end.cached_tokens + end.prompt_rows - end.recomputed_tokens);
    assert.equal(end.cells_live, 0);
    assert.ok(end.cells_kept <= 1024);
  });

  test('what_can_never_fit_is_refused_with_both_numbers', async () => {
    const got = await complete({ prompt: text(9, 1100), max_tokens: 10 }).end;
    assert.equal(got.status, 400);
    assert.equal(got.json.error.code, 'context_length_exceeded');
    assert.match(got.json.error.message, /11\d\d tokens.*1024/);
  });
});

describe('cancel with 32 active', () => {
  before(() => started({ 'llm.slots': '32', 'llm.context_tokens': '65536', 'llm.request_tokens': '16384', 'llm.queue': '200', 'llm.queue_per_user': '100' }));
  after(stopped);

  test('the_capacity_is_free_within_one_step_in_200_of_200_tries', async () => {
    for (let round = 0; round < 10; round++) {
      const background = Array.from({ length: 12 }, (_, i) => complete({ prompt: long(50 + i), max_tokens: 3800, stream: true }, 'admin'));
      await waitFor('they run', async () => (await work()).active === 12);
      const { cancelled } = await work();
      // In the middle of a prompt or of an answer, as a stream or not.
      const tries = Array.from({ length: 20 }, (_, i) =>
        complete({ prompt: i % 4 === 0 ? text(round * 100 + i, 3000) : long(round * 100 + i), max_tokens: 3500, stream: i % 2 === 0 }));
      await waitFor('32 are in the model', async () => (await work()).active === 32);
      for (const one of tries) one.leave();
      await waitFor('all 20 are out', async () => (await work()).cancelled - cancelled >= 20);
      for (const one of background) one.leave();
      await idle();
      assert.equal((await work()).cancelled - cancelled, 32);
    }
    const end = await work();
    assert.ok(end.cancel_steps <= 1, `${end.cancel_steps} steps`);
    const [waited, took, step] = [end.cancel_wait_us, end.cancel_us, end.step_us].map((us) => us / 1000);
    console.log(`# a cancel was read after at most ${waited} ms and took at most ${took} ms; the longest step took ${step} ms`);
    timely(waited + took, step + 20, `a cancel beside a longest step of ${step} ms`);
    assert.equal(end.cells_live, 0);
  });

  test('a_request_that_waits_leaves_the_queue_at_once', async () => {
    const running = Array.from({ length: 32 }, (_, i) => complete({ prompt: long(70 + i), max_tokens: 3000 }));
    await waitFor('all slots are taken', async () => (await status()).active === 32);
    const waits = complete({ prompt: long(5), max_tokens: 5 });
    await waitFor('it waits', async () => (await status()).queued === 1);
    waits.leave();
    await waitFor('it is gone', async () => (await status()).queued === 0);
    for (const one of running) one.leave();
    await idle();
    await nothingIsHeld(stack);
  });
});
