// The database is away when an answer ends, and the model server is killed before it is back: what the client was told is booked all the same, once.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { alive, waitFor } from '../support/stack.mjs';
import { rowsOf } from '../support/storm.mjs';
import { ask } from '../support/stream.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const NOTED = 700; // the ledger holds slices of 256, 512 and 1,024 tokens by then, and has noted more than the first
const TOKENS = 1_700; // fits what is held: nothing more is asked for while the database is away

let stack;
let folder;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cds-journal-'));
  stack = await startTiny({ options: { 'llm.request_tokens': '4096', 'llm.context_tokens': '8192', 'llm.silent_ms': '600000' } });
});
after(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const journal = () => join(stack.home, 'run/llmserver.journal');
const emptied = () => readFileSync(journal()).every((byte) => byte === 0);
const said = (msg) => stack.logTail(2000).filter((l) => l.proc === 'cds-llmserver' && l.msg === msg).length;
const BOOKED_NOW = 'settlements of an earlier run are booked now';

/** A signal to the whole database: the server first, so that it makes no other backend. */
function signalDatabase(postgres, name) {
  process.kill(postgres, name);
  const backends = readFileSync(`/proc/${postgres}/task/${postgres}/children`, 'utf8').trim().split(' ').map(Number);
  for (const pid of backends) if (alive(pid)) process.kill(pid, name);
  return backends;
}

/** An answer whose second half comes while the database stands still. @returns what its client was told, with the database still standing */
async function answerWithoutDatabase(request) {
  const { postgres, llmworker } = await stack.pids();
  let halfway;
  const half = new Promise((resolve) => (halfway = resolve));
  const answer = ask({
    url: stack.llmUrl, token: stack.tokens.developer, request,
    say: ({ told }) => {
      if (told < NOTED || !halfway) return;
      process.kill(llmworker, 'SIGSTOP');
      halfway();
      halfway = null;
    },
  });
  await half;
  await waitFor('all of it is held', async () => Number(await stack.sql(`SELECT held FROM llm_requests WHERE id = '${request.id}'`)) > TOKENS);
  const backends = signalDatabase(postgres, 'SIGSTOP');
  process.kill(llmworker, 'SIGCONT');
  return { seen: await answer, postgres, backends };
}

const nothingIsOpen = () => waitFor('nothing is open', async () => (await stack.sql('SELECT count(*) FROM llm_requests WHERE state = 1')) === '0');

async function verifyBooks(request, usage) {
  const file = join(folder, 'answers');
  writeFileSync(file, `${request.id} ${usage.prompt_tokens} ${usage.completion_tokens}\n`);
  const verify = await stack.command(['ledger', 'verify', '--answers', file]);
  assert.equal(verify.code, 0, verify.stdout + verify.stderr);
  assert.match(verify.stdout, /fine +13 Every answer of the client's list/);
}

describe('an answer that ended without the database, under a server that was killed', { concurrency: false }, () => {
  const request = {
    id: randomUUID(), path: '/v1/completions',
    body: { model: TINY, prompt: 'Count on', max_tokens: TOKENS, ignore_eos: true, return_tokens: true, temperature: 0.8, stream: true, stream_options: { include_usage: true } },
  };
  let usage;
  let kept;
  const row = async () => (await rowsOf(stack, [request])).get(request.id);

  test('is booked with exactly what its client was told', async () => {
    const { seen, postgres, backends } = await answerWithoutDatabase(request);
    assert.equal(seen.end.how, 'whole', JSON.stringify(seen.end));
    assert.match(seen.end.notice, /still being booked/);
    usage = seen.end.usage;
    assert.ok(usage.completion_tokens > NOTED && usage.completion_tokens === seen.told, `${usage.completion_tokens} of ${seen.told}`);
    const { llmserver } = await stack.pids();
    process.kill(llmserver, 'SIGKILL');
    kept = readFileSync(journal());
    // What was sent to the database lies in its sockets: only its end takes that away.
    for (const pid of [postgres, ...backends]) if (alive(pid)) process.kill(pid, 'SIGKILL');
    await stack.waitPart('postgres', postgres);
    await stack.waitPart('llmserver', llmserver);
    await nothingIsOpen();
    const { booked, n_in, n_out, outcome } = await row();
    assert.deepEqual({ booked, n_in, n_out, outcome }, { booked: 1, n_in: usage.prompt_tokens, n_out: usage.completion_tokens, outcome: 'length' });
    assert.equal(said(BOOKED_NOW), 1);
    assert.ok(emptied(), 'what is booked is no longer in the journal');
    await verifyBooks(request, usage);
  });

  test('is booked once when the server is killed again before its journal forgets it', async () => {
    const before = await row();
    const { llmserver } = await stack.pids();
    writeFileSync(journal(), kept, { flag: 'r+' }); // as it was before the database confirmed
    process.kill(llmserver, 'SIGKILL');
    await stack.waitPart('llmserver', llmserver);
    await waitFor('the journal is booked', () => said(BOOKED_NOW) === 2 && emptied());
    assert.deepEqual(await row(), before);
    await verifyBooks(request, usage);
  });

  test('leaves a file that nobody else may read, without a word of its prompt', () => {
    assert.equal(statSync(journal()).mode & 0o777, 0o600);
    assert.ok(kept.includes(request.id));
    assert.ok(!kept.includes(request.body.prompt));
  });
});
