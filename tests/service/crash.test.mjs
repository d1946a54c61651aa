// kill -9 of every process in the middle of a request: the others live, it comes back, and the ledger still adds up.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { alive, startStack, untilCaught, waitFor } from '../support/stack.mjs';

let stack;

/** A long chat over HTTP; resolves with what became of it, never throws. */
function chat(base, more = {}) {
  const state = { bytes: 0, outcome: null };
  state.done = (async () => {
    try {
      const reply = await fetch(`${base}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}` },
        body: JSON.stringify({ messages: [{ role: 'user', content: 'Tell a long story about a lighthouse.' }], max_tokens: 160, stream: true, ...more }),
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
async function underWay(more) {
  const direct = chat(stack.llmUrl, more);
  const throughGateway = chat(stack.apiUrl, more);
  const run = outcome(stack.rpc('run.exec', { project: stack.project, language: 'sh', code: 'sleep 2; echo done' }));
  await waitFor('tokens stream', () => (direct.bytes > 300 && throughGateway.bytes > 300) || direct.outcome || throughGateway.outcome, 30_000, 10);
  return { direct, throughGateway, run, all: Promise.all([direct.done, throughGateway.done, run]) };
}

/** A backend of the database that serves a client. */
async function backendPid() {
  const status = await stack.status();
  const children = status.parts.find((p) => p.name === 'postgres').children;
  const backend = children.find((c) => {
    try {
      return readFileSync(`/proc/${c.pid}/cmdline`, 'utf8').includes('[local]');
    } catch {
      return false; // it has ended since
    }
  });
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

async function ledgerAddsUp(of = stack) {
  const verify = await of.command(['ledger', 'verify']);
  assert.equal(verify.code, 0, verify.stdout + verify.stderr);
}

before(async () => {
  stack = await startStack({ fresh: true });
  await stack.waitModel();
});
after(() => stack?.stop());

const parts = ['api', 'auth', 'sandboxd', 'egress', 'llmserver', 'preview', 'studio-ui'];

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
    await untilCaught('a backend dies', async () => {
      try {
        return process.kill(await backendPid(), 'SIGKILL');
      } catch (error) {
        if (error.code !== 'ESRCH') throw error; // it had ended by itself
      }
    });
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

  test('llmserver after an extension: exactly the counts that were durable last are booked', async () => {
    await waitFor('no tokens are held', async () => (await stack.rpc('usage.summary')).held_tokens === 0, 60_000, 250);
    const before = await stack.rpc('usage.summary');
    const pids = await stack.pids();
    const id = randomUUID();
    const left = outcome(fetch(`${stack.llmUrl}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${stack.tokens.developer}`, 'x-request-id': id },
      body: JSON.stringify({ prompt: 'Count without stopping: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,', max_tokens: 1500, temperature: 0, stream: true }),
    }).then((reply) => reply.text()));
    const row = () => stack.sql(`SELECT done_in, done_out, price_input / 1000000, price_output / 1000000, held FROM llm_requests WHERE id = '${id}' AND done_out > 0`);
    await waitFor('an extension is noted', row, 60_000, 10);
    // It stands still, and what it had sent is done: so what the row says now is the last that was durable.
    process.kill(pids.llmserver, 'SIGSTOP');
    let last = null;
    for (let same = 0; same < 5; ) { // what stands in a socket still has its backend to be read by
      await waitFor('the database is idle', async () => (await stack.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid()")) === '0');
      const now = await row();
      same = now === last ? same + 1 : 0;
      last = now;
    }
    const [n_in, n_out, price_in, price_out, held] = last.split('|').map(Number);
    assert.ok(n_in > 0 && n_out >= 192 && held > n_in + n_out, `${n_in} and ${n_out} of ${held}`);
    process.kill(pids.llmserver, 'SIGKILL');
    await stack.waitPart('llmserver', pids.llmserver);
    assert.ok((await left).error, 'the stream broke');
    const booked = await waitFor('it is booked', () => stack.sql(`SELECT l.n_in, l.n_cached, l.n_out, l.cost_micro, q.state, q.outcome, q.used
      FROM token_ledger l JOIN llm_requests q ON q.user_id = l.user_id AND q.id = l.request_id WHERE q.id = '${id}'`));
    assert.equal(booked, [n_in, 0, n_out, n_in * price_in + n_out * price_out, 2, 'node_lost', n_in + n_out].join('|'));
    const later = await stack.rpc('usage.summary');
    assert.equal(later.used_tokens - before.used_tokens, n_in + n_out);
    assert.equal(later.cost_micro - before.cost_micro, n_in * price_in + n_out * price_out);
    assert.equal(later.held_tokens, 0);
    await ledgerAddsUp();
  });

  test('afterwards nothing is held for a request that is over', async () => {
    await waitFor('no tokens are held', async () => (await stack.rpc('usage.summary')).held_tokens === 0, 60_000, 250);
  });

  test('the supervisor: all ends with it, the next start closes what was running, the ledger adds up', async () => {
    const status = await stack.status();
    const pids = [status.pid, ...status.parts.flatMap((p) => [p.pid, ...p.children.map((c) => c.pid)])].filter(Boolean);
    const admitted = Number(await stack.sql('SELECT count(*) FROM llm_requests'));
    const work = await underWay({ max_tokens: 1500, ignore_eos: true });
    const open = await stack.sql('SELECT id FROM llm_requests WHERE state = 1 AND held > 0 ORDER BY 1');
    assert.equal(open.split('\n').length, 2, 'both chats hold tokens');
    process.kill(stack.pid, 'SIGKILL');
    await work.all;
    await waitFor('all processes are gone', () => pids.filter(alive).length === 0, 10_000);
    const again = await startStack({ home: stack.home, setup: false });
    try {
      again.tokens = stack.tokens; // the keys are in the data folder
      await waitFor('nothing is open', async () => (await again.sql('SELECT count(*) FROM llm_requests WHERE state = 1')) === '0', 20_000, 50);
      assert.equal(await again.sql('SELECT count(*) FROM llm_requests'), String(admitted + 2));
      assert.equal(await again.sql(`SELECT count(*) FROM token_ledger WHERE request_id IN ('${open.replace('\n', "','")}')`), '2', 'each is booked once');
      assert.equal((await again.rpc('usage.summary')).held_tokens, 0);
      await ledgerAddsUp(again);
      await again.waitModel();
      const answer = await again.rpc('llm.chat', { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 8 });
      assert.ok(answer.usage.completion_tokens > 0);
      await ledgerAddsUp(again);
    } finally {
      await again.stop();
    }
  });
});
