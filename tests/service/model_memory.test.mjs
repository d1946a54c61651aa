// Memory and life of a model: the estimate against the process, refusals with both numbers, unload that drains, a kill in every state.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { alive, startStack, timely, untilCaught, waitFor } from '../support/stack.mjs';
import { MODEL, llmClient } from '../support/llm.mjs';

const TOLERANCE = 0.2; // of the estimate; docs/adr/0045
const CONTEXT = 4096;
let stack;

const call = (method, path, body, as = 'admin') => llmClient(stack).call(method, path, body, as);
const one = async () => (await call('GET', '/admin/status')).json.models.find((m) => m.id === MODEL) ?? null;
const model = async () => (await call('GET', '/admin/models')).json.models.find((m) => m.id === MODEL);
const load = () => call('POST', '/admin/load', { model: MODEL });
const unload = () => call('POST', '/admin/unload', { model: MODEL });
const chat = (words, tokens, more = {}) => call('POST', '/v1/chat/completions', { model: MODEL, messages: [{ role: 'user', content: words }], max_tokens: tokens, temperature: 0, ...more }, 'developer');
/** An answer that lasts for some seconds. */
const story = (tokens) => chat('Tell a long story.', tokens, { ignore_eos: true });
/** Resident bytes of a process, the mapped weights too. */
const resident = (pid) => Number(/^Rss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]) * 1024;
const loaded = () => waitFor('the model is loaded', async () => {
  const m = await one();
  return m?.state === 'loaded' ? m : null;
}, 60_000);

before(async () => {
  stack = await startStack({ options: { 'llm.context_tokens': CONTEXT, 'llm.drain_ms': 300000 } });
  await stack.waitModel();
});
after(() => stack?.stop());

describe('memory', () => {
  test('the_estimate_is_near_what_the_process_takes', async () => {
    assert.equal((await chat(`Say something about words. ${'word '.repeat(150)}`, 4)).status, 200); // a whole batch, so that its buffers are in use
    const m = await one();
    const real = resident(m.pid);
    console.log(`# estimate ${(m.need_bytes / 2 ** 20).toFixed(0)} MiB, resident ${(real / 2 ** 20).toFixed(0)} MiB`);
    assert.ok(Math.abs(real - m.need_bytes) <= TOLERANCE * m.need_bytes, `estimate ${m.need_bytes}, resident ${real}`);
  });
  test('the_process_has_a_limit_of_its_own', async () => {
    const limits = readFileSync(`/proc/${(await one()).pid}/limits`, 'utf8');
    const bytes = Number(/^Max data size\s+(\d+)/m.exec(limits)[1]);
    assert.ok(bytes > (await one()).need_bytes && bytes < 4 * 2 ** 30, limits);
  });
  test('unload_gives_the_memory_back_at_once', async () => {
    const { pid } = await one();
    const began = performance.now();
    const got = await unload();
    const ms = performance.now() - began;
    assert.deepEqual(got.json, { model: MODEL, state: 'unloaded' });
    assert.ok(!alive(pid), 'the process is gone when the answer comes');
    timely(ms, 1500);
    console.log(`# unload ${ms.toFixed(0)} ms`);
    assert.equal((await load()).json.state, 'loaded');
  });
  test('a_model_that_does_not_fit_is_refused_with_what_it_needs_and_what_there_is', async () => {
    const small = await startStack({ setup: true, options: { 'llm.memory_bytes': 100 * 2 ** 20 } });
    const before = stack;
    stack = small;
    try {
      const got = await load();
      assert.equal(got.status, 507, got.text);
      assert.match(got.json.error.message, /needs about \d+ MiB of memory \(weights 136, cache of 8192 tokens 180, buffers \d+\) and there are 100 MiB/);
      assert.equal(got.json.error.rule, 'llm.memory');
      assert.equal((await model()).state, 'unloaded');
      assert.equal((await fetch(`${stack.llmUrl}/readyz`)).status, 200);
      assert.equal((await chat('Hi', 1)).status, 500);
    } finally {
      stack = before;
      await small.stop();
    }
  });
});

describe('unload', () => {
  test('running_answers_are_finished_and_new_requests_refused', async () => {
    const answer = story(400);
    await waitFor('it runs', async () => (await one())?.active === 1);
    const gone = unload();
    await waitFor('it unloads', async () => (await one())?.unloading);
    const refused = await chat('Hi', 1);
    assert.equal(refused.status, 500);
    assert.equal(refused.json.error.code, 'model_not_loaded');
    const got = await answer;
    assert.equal(got.status, 200, got.text);
    assert.ok(got.json.usage.completion_tokens > 5);
    assert.equal((await gone).json.state, 'unloaded');
    assert.equal((await load()).json.state, 'loaded');
  });
  test('a_process_that_does_not_listen_is_killed', async () => {
    const { pid } = await one();
    process.kill(pid, 'SIGSTOP');
    const began = performance.now();
    assert.equal((await unload()).json.state, 'unloaded');
    const ms = performance.now() - began;
    assert.ok(!alive(pid));
    timely(ms, 6000);
    assert.equal((await load()).json.state, 'loaded');
  });
});

describe('a kill in every state', () => {
  const kill = (pid) => process.kill(pid, 'SIGKILL');
  test('while_it_loads_ends_in_failed_with_a_reason_and_a_later_load_works', async () => {
    await untilCaught('it loads', async () => {
      await unload();
      const loading = load();
      const { pid } = await waitFor('a process', async () => {
        const now = await one();
        return now?.pid && now;
      }, Infinity, 1);
      process.kill(pid, 'SIGSTOP');
      if ((await one()).state !== 'loading') {
        process.kill(pid, 'SIGCONT'); // it was faster
        await loading;
        return false;
      }
      kill(pid);
      const got = await loading;
      assert.equal(got.status, 500, got.text);
      assert.match(got.json.error.message, /ended while it loaded/);
      assert.equal((await one()).state, 'failed');
      return true;
    });
    assert.equal((await load()).json.state, 'loaded');
  });
  test('a_load_is_given_up_by_unload', async () => {
    await unload();
    const loading = load();
    await waitFor('it has begun', async () => (await one())?.pid, Infinity, 1); // two calls at once may come in either order
    const gone = await unload();
    assert.equal(gone.json.state, 'unloaded');
    assert.ok([200, 409, 500].includes((await loading).status));
    await waitFor('no process is left', async () => !(await model()).need_bytes);
    assert.equal((await load()).json.state, 'loaded');
  });
  test('while_it_idles_it_comes_back', async () => {
    const { pid, restarts } = await one();
    kill(pid);
    await waitFor('another process', async () => {
      const m = await one();
      return m && m.pid && m.pid !== pid && m.state === 'loaded' && m.restarts > restarts;
    }, 30_000);
    assert.equal((await chat('Hi', 2)).status, 200);
  });
  test('while_it_answers_the_answer_fails_and_it_comes_back', async () => {
    await loaded();
    const answer = story(1000);
    const m = await waitFor('it runs', async () => {
      const now = await one();
      return now?.active === 1 ? now : null;
    });
    kill(m.pid);
    const got = await answer;
    assert.equal(got.json.error?.code, 'model_crashed', got.text);
    await loaded();
    assert.equal((await chat('Hi', 2)).status, 200);
  });
  test('while_it_unloads_it_is_unloaded', async () => {
    const answer = story(1000);
    const m = await waitFor('it runs', async () => {
      const now = await one();
      return now?.active === 1 ? now : null;
    });
    const gone = unload();
    await waitFor('it unloads', async () => (await one())?.unloading);
    kill(m.pid);
    assert.equal((await gone).json.state, 'unloaded');
    assert.notEqual((await answer).status, 200);
    await sleep(300);
    assert.equal((await model()).state, 'unloaded', 'it does not come back by itself');
    assert.equal((await load()).json.state, 'loaded');
  });
  test('while_it_waits_for_its_next_start_unload_ends_it', async () => {
    for (let i = 0; i < 3; i++) {
      const m = await loaded();
      kill(m.pid);
      await waitFor('it is noticed', async () => (await one())?.pid !== m.pid);
    }
    assert.equal((await unload()).json.state, 'unloaded');
    await sleep(1500);
    assert.equal((await model()).state, 'unloaded');
  });
});
