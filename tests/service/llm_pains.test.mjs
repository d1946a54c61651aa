// What goes wrong in other model servers and has no test elsewhere here: a process that lives and does nothing, a server that grows, a queue that
// has no limit for one user. Needs the default model.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { startStack, waitFor } from '../support/stack.mjs';
import { ask, llmClient } from '../support/llm.mjs';

let stack;
let llm;
before(async () => {
  stack = await startStack({ options: { 'llm.silent_ms': '3000', 'llm.slots': '2', 'llm.queue_per_user': '2', 'llm.resume_bytes': '1000000' } });
  await stack.waitModel();
  llm = llmClient(stack);
});
after(async () => {
  await stack?.stop();
});

const long = { messages: ask('Write a very long story.'), max_tokens: 1500, ignore_eos: true };
const rssKiB = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

describe('a model process', () => {
  test('that lives and does nothing is killed, its request gets an error, and it comes back', async () => {
    const { llmworker } = await stack.pids();
    const asked = llm.chat(long);
    await waitFor('it runs', async () => (await llm.modelStatus())?.active === 1);
    process.kill(llmworker, 'SIGSTOP');
    const got = await asked;
    assert.equal(got.status, 500, got.text);
    assert.equal(got.json.error.code, 'model_crashed');
    await stack.waitModel();
    assert.notEqual((await stack.pids()).llmworker, llmworker);
    assert.equal((await llm.chat({ messages: ask('Hi'), max_tokens: 2 })).status, 200);
    assert.equal((await llm.usage()).held_tokens, 0);
  });
});

describe('the queue', () => {
  test('has a limit for one user, which is 429 with the time to wait, while others still get in', async () => {
    const ids = [];
    const many = [];
    for (let i = 0; i < 4; i++) {
      const id = `0190000${i}-0000-7000-8000-00000000000${i}`;
      ids.push(id);
      many.push(llm.call('POST', '/v1/chat/completions', long, 'developer', { 'x-request-id': id }));
      await waitFor('it is in', async () => { const s = await llm.modelStatus(); return s.active + s.queued === i + 1; });
    }
    for (const path of ['/v1/chat/completions', '/v1/responses', '/v1/messages']) {
      const refused = await llm.call('POST', path, { ...long, input: 'Hi' });
      assert.equal(refused.status, 429, refused.text);
      assert.ok(Number(refused.headers.get('retry-after')) >= 1);
      assert.ok(Number(refused.headers.get('x-cds-queue-place')) >= 3);
      assert.match(refused.json.error.type, /rate_limit_error/);
    }
    const other = llm.chat({ messages: ask('Hi'), max_tokens: 1 }, 'admin');
    for (const id of ids) await llm.call('POST', `/v1/requests/${id}/cancel`);
    assert.equal((await other).status, 200);
    await Promise.all(many);
    await llm.idle();
  });
});

describe('the model server', () => {
  test('does not grow over requests of every kind', async () => {
    const pid = (await stack.pids()).llmserver;
    const kinds = [
      () => llm.call('POST', '/v1/messages/count_tokens', { messages: ask('Hi') }),
      () => llm.call('POST', '/v1/responses', { input: 'Hi', max_output_tokens: 1, stream: true, resumable: true }),
      () => llm.call('POST', '/v1/messages', { messages: ask('Hi'), max_tokens: 0 }),
      () => llm.call('POST', '/v1/responses', { input: [{ type: 'nothing' }] }),
      () => llm.call('POST', '/v1/chat/completions', '{'),
      () => llm.call('GET', '/v1/requests/01900000-0000-7000-8000-000000000000/events'),
      () => llm.call('GET', '/models'),
    ];
    const round = async (n) => { for (let i = 0; i < n; i++) await kinds[i % kinds.length](); };
    await round(350); // what is allocated once, and the kept streams
    const first = rssKiB(pid);
    await round(700);
    const last = rssKiB(pid);
    assert.ok(last - first < 1024, `${first} KiB, then ${last} KiB`);
    assert.ok(last < 64 * 1024, `${last} KiB`);
  });
});
