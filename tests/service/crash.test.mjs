// kill -9 of every process in the middle of a request: the others live, it comes back, and the ledger still adds up.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { startStack, waitFor } from '../support/stack.mjs';

let stack;

/** A long chat over HTTP; resolves with what became of it, never throws. */
function chat(base) {
  const state = { bytes: 0, outcome: null };
  state.done = (async () => {
    try {
      const reply = await fetch(`${base}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}` },
        body: JSON.stringify({ messages: [{ role: 'user', content: 'Tell a long story about a lighthouse.' }], max_tokens: 400, stream: true }),
      });
      for await (const chunk of reply.body) state.bytes += chunk.length;
      state.outcome = `HTTP ${reply.status}`;
    } catch (error) {
      state.outcome = error.cause?.code ?? error.message;
    }
  })();
  return state;
}

/** Settles as soon as the request has an outcome, whatever it is. */
const outcome = (promise) => promise.then((value) => ({ value }), (error) => ({ error }));

/** Several kinds of work at once, already under way. */
async function underWay() {
  const direct = chat(stack.llmUrl);
  const throughGateway = chat(stack.apiUrl);
  const run = outcome(stack.rpc('run.exec', { project: stack.project, language: 'sh', code: 'sleep 3; echo done' }));
  await waitFor('tokens stream', () => (direct.bytes > 300 && throughGateway.bytes > 300) || direct.outcome || throughGateway.outcome, 30_000, 10);
  return { direct, throughGateway, run, all: Promise.all([direct.done, throughGateway.done, run]) };
}

/** A backend of the database that serves a client. */
async function backendPid() {
  const status = await stack.status();
  const children = status.parts.find((p) => p.name === 'postgres').children;
  const backend = children.find((c) => readFileSync(`/proc/${c.pid}/cmdline`, 'utf8').includes('[local]'));
  assert.ok(backend, 'a backend runs');
  return backend.pid;
}

async function everythingWorks() {
  await waitFor('a chat works again', async () => {
    const answer = await outcome(stack.rpc('llm.chat', { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 8 }));
    return answer.value?.usage?.completion_tokens > 0;
  }, 60_000, 100);
  await waitFor('a run works again', async () => {
    const answer = await outcome(stack.rpc('run.exec', { project: stack.project, language: 'sh', code: 'echo hello' }));
    return answer.value?.stdout === 'hello\n';
  }, 30_000, 100);
  await waitFor('the page answers', async () => (await outcome(fetch(`${stack.url}/healthz`))).value?.status === 200);
  await waitFor('signing in works', async () => (await outcome(fetch(`${stack.authUrl}/auth/state`))).value?.status === 200);
}

async function ledgerAddsUp() {
  const verify = await stack.command(['ledger', 'verify']);
  assert.equal(verify.code, 0, verify.stdout + verify.stderr);
}

before(async () => {
  stack = await startStack({ fresh: true });
  await stack.waitModel();
});
after(() => stack?.stop());

const parts = ['api', 'auth', 'sandboxd', 'llmserver', 'studio-ui'];

describe('kill -9 in the middle of requests', () => {
  for (const victim of parts)
    test(`${victim} comes back, the others live, the ledger adds up`, async () => {
      const pids = await stack.pids();
      const work = await underWay();
      process.kill(pids[victim], 'SIGKILL');
      await stack.waitPart(victim, pids[victim]);
      await work.all;
      const now = await stack.pids();
      for (const other of ['supervisor', 'postgres', ...parts]) if (other !== victim) assert.equal(now[other], pids[other], `${other} lives`);
      await everythingWorks();
      await ledgerAddsUp();
    });

  test('llmworker: the running chats end with a clean error, the next one works', async () => {
    const pids = await stack.pids();
    assert.ok(pids.llmworker, 'a worker runs');
    const work = await underWay();
    process.kill(pids.llmworker, 'SIGKILL');
    await work.all;
    assert.match(work.direct.outcome, /^HTTP /, 'the stream ended in order');
    await waitFor('a new worker', async () => {
      const now = (await stack.pids()).llmworker;
      return now && now !== pids.llmworker;
    }, 30_000);
    const now = await stack.pids();
    for (const other of ['supervisor', 'postgres', ...parts]) assert.equal(now[other], pids[other], `${other} lives`);
    await everythingWorks();
    await ledgerAddsUp();
  });

  test('a database backend: the server recovers, no service dies, the ledger adds up', async () => {
    const pids = await stack.pids();
    const work = await underWay();
    process.kill(await backendPid(), 'SIGKILL');
    await work.all;
    await everythingWorks();
    const now = await stack.pids();
    for (const other of ['supervisor', 'postgres', ...parts]) assert.equal(now[other], pids[other], `${other} lives`);
    await ledgerAddsUp();
  });

  test('the database server itself comes back and the services find it again', async () => {
    const pids = await stack.pids();
    const work = await underWay();
    process.kill(pids.postgres, 'SIGKILL');
    await stack.waitPart('postgres', pids.postgres);
    await work.all;
    await everythingWorks();
    const now = await stack.pids();
    for (const other of ['supervisor', ...parts]) assert.equal(now[other], pids[other], `${other} lives`);
    await ledgerAddsUp();
  });

  test('afterwards nothing is held for a request that is over', async () => {
    await waitFor('no tokens are held', async () => (await stack.rpc('usage.summary')).held_tokens === 0, 60_000, 250);
  });
});
