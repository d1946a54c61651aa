// More models than memory: loads on demand, room made by idle models, two that alternate, idle unload and pins.
import assert from 'node:assert/strict';
import { chownSync, copyFileSync, mkdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { build, startStack, waitFor } from '../support/stack.mjs';
import { MODEL, llmClient } from '../support/llm.mjs';

const FILE = join(build, 'share/models/SmolLM2-135M-Instruct.Q8_0.gguf');
const MIB = 2 ** 20;
let stack;

const call = (method, path, body, as = 'admin') => llmClient(stack).call(method, path, body, as);
const models = async () => (await call('GET', '/admin/models')).json.models;
const state = async (id) => (await models()).find((m) => m.id === id)?.state;
const chat = (model) => call('POST', '/v1/chat/completions', { model, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 3, temperature: 0 }, 'developer');
/** How often a model became loaded, by the log. */
const loads = () => readFileSync(join(stack.home, 'logs/studio.jsonl'), 'utf8').split('"msg":"model state"').filter((l) => /^[^\n]*"state":"loaded"/.test(l)).length;
const put = (name) => {
  const dir = join(stack.home, 'models');
  mkdirSync(dir, { recursive: true });
  const coming = join(dir, `${name}.coming`); // it is there whole, or not at all
  copyFileSync(FILE, coming);
  chownSync(coming, statSync(dir).uid, statSync(dir).gid);
  renameSync(coming, join(dir, name));
};
const start = async (options) => {
  stack = await startStack({ llm: false, options: { 'llm.context_tokens': 1024, 'llm.request_tokens': 512, 'llm.slots': 2, 'llm.memory_bytes': 260 * MIB, 'llm.residency_ms': 300, 'llm.load_wait_ms': 600_000, ...options } });
  put('twin.gguf');
  await waitFor('both are listed', async () => (await models()).filter((m) => [MODEL, 'twin'].includes(m.id) && m.file_state === 'fine').length === 2);
};

describe('with autoload and room for one', () => {
  before(() => start({ 'llm.autoload': 1 }));
  after(() => stack?.stop());

  test('a_request_loads_its_model_and_the_other_makes_room', async () => {
    assert.equal((await chat(MODEL)).status, 200);
    assert.equal(await state(MODEL), 'loaded');
    const got = await chat('twin');
    assert.equal(got.status, 200, got.text);
    assert.equal(await state(MODEL), 'unloaded');
    assert.equal(await state('twin'), 'loaded');
  });
  test('two_models_that_alternate_are_served_in_groups_and_never_at_once', async () => {
    let both = 0, done = false;
    const watch = (async () => {
      for (; !done; await sleep(20)) both += (await models()).filter((m) => m.need_bytes).length > 1;
    })();
    const before = loads();
    const got = await Promise.all(Array.from({ length: 16 }, (_, i) => sleep(i * 10).then(() => chat(i % 2 ? MODEL : 'twin'))));
    done = true;
    await watch;
    assert.deepEqual(got.map((g) => g.status), Array(16).fill(200), got.find((g) => g.status !== 200)?.text);
    assert.equal(both, 0, 'the budget holds for every moment');
    const count = loads() - before;
    assert.ok(count >= 1 && count <= 8, `${count} loads for 16 requests that alternate`);
    console.log(`# ${count} loads for 16 requests that alternate`);
  });
  test('an_admins_load_is_refused_while_there_is_no_room', async () => {
    const [loaded] = (await models()).filter((m) => m.state === 'loaded');
    const other = loaded.id === MODEL ? 'twin' : MODEL;
    const got = await call('POST', '/admin/load', { model: other });
    assert.equal(got.status, 507, got.text);
    assert.equal(await state(loaded.id), 'loaded');
  });
  test('a_model_that_could_never_fit_is_refused_at_once', async () => {
    for (const m of await models()) await call('POST', '/admin/unload', { model: m.id });
    const before = stack;
    await start({ 'llm.autoload': 1, 'llm.memory_bytes': 50 * MIB });
    const small = stack;
    const got = await chat(MODEL);
    assert.equal(got.status, 507, got.text);
    assert.match(got.json.error.message, /there are 50 MiB/);
    stack = before;
    await small.stop();
  });
});

describe('idle models', () => {
  before(() => start({ 'llm.autoload': 1, 'llm.idle_ms': 800, 'llm.pinned': 'twin', 'llm.memory_bytes': 600 * MIB }));
  after(() => stack?.stop());

  test('leave_after_their_time_and_pinned_ones_stay', async () => {
    assert.equal((await chat(MODEL)).status, 200);
    assert.equal((await chat('twin')).status, 200);
    await waitFor('the idle one has left', async () => (await state(MODEL)) === 'unloaded');
    await sleep(1500);
    assert.equal(await state('twin'), 'loaded');
  });
});
