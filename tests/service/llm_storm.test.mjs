// kill -9 at random moments while many requests run: model processes, the model server, clients. Afterwards every request is settled exactly once, with
// the tokens that were computed, nothing is held, and what other models answered is whole. CDS_KILLS says how many (10), CDS_SEED which (a new
// one each time; it is printed). Two models of random weights.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { users, waitFor } from '../support/stack.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';
import { llmClient } from '../support/llm.mjs';
import { checkSettled, randomFrom, rowsOf, sum } from '../support/storm.mjs';

const KILLS = Number(process.env.CDS_KILLS ?? 10);
const SEED = Number(process.env.CDS_SEED ?? Date.now() % 1_000_000);
const TWIN = 'random-twin';
const VICTIMS = ['client', 'llmworker', 'llmserver'];
const PLENTY = 1_000_000_000; // tokens of the month: never used up, however many kills there are
const random = randomFrom(SEED);

let stack;
let llm;
before(async () => {
  stack = await startTiny({
    prepare: (models, file) => copyFileSync(file, join(models, `${TWIN}.gguf`)),
    options: { 'llm.slots': '8', 'llm.context_tokens': '8192', 'llm.request_tokens': '4096', 'llm.queue_per_user': '64' },
  });
  llm = llmClient(stack);
  await stack.rpc('budget.set', { scope: 'user', email: users.developer.email, unit: 'tokens', window: 'month', limit: PLENTY }, 'admin');
  await bothLoaded();
});
after(() => stack?.stop());

const status = async () => (await llm.call('GET', '/admin/status', undefined, 'admin')).json?.models ?? [];
const model = async (id) => (await status()).find((m) => m.id === id);

async function bothLoaded() {
  for (const id of [TINY, TWIN])
    await waitFor(`${id} is loaded`, async () => (await llm.call('POST', '/admin/load', { model: id }, 'admin').catch(() => ({}))).json?.state === 'loaded', 60_000, 50);
}

/** A request of random kind and size. */
function request(modelId) {
  const choices = random(8) === 0 ? 2 : 1;
  const prompt = `Count on without an end, number ${random(1000)}: ${'one two three four '.repeat(random(3) === 0 ? 300 : random(10))}`;
  const common = { model: modelId, max_tokens: 100 + random(700), n: choices, ignore_eos: true, return_tokens: true, speculation: 'off', temperature: 0.8, stream: random(5) > 0 };
  const shape = common.stream ? { ...common, stream_options: { include_usage: true } } : common;
  return random(2)
    ? { id: randomUUID(), model: modelId, choices, path: '/v1/completions', body: { ...shape, prompt } }
    : { id: randomUUID(), model: modelId, choices, path: '/v1/chat/completions', body: { ...shape, messages: [{ role: 'user', content: prompt }] } };
}

/** A client with its requests under way: seen(id) is the last that it said of one. */
function client(requests) {
  const file = join(fileURLToPath(new URL('.', import.meta.url)), '../support/stream_client.mjs');
  const child = spawn(process.execPath, [file, JSON.stringify({ url: stack.llmUrl, token: stack.tokens.developer, requests })], { stdio: ['ignore', 'pipe', 'inherit'] });
  const last = new Map();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const one = JSON.parse(line);
    last.set(one.id, one);
  });
  return { child, requests, seen: (id) => last.get(id) ?? { told: 0, begun: [], end: null }, told: () => [...last.values()].reduce((sum, one) => sum + one.told, 0), gone: new Promise((done) => child.on('close', done)) };
}

/** All that a model process did since `begin` is what was booked for its requests. Not for one that died: its counters died with it. */
function checkWork(begin, end, requests, rows, seenOf, name) {
  const mine = requests.map((r) => ({ ...r, ...rows.get(r.id), begun: seenOf(r.id).begun.length })).filter((r) => r.booked);
  const more = (counter) => end.work[counter] - (begin.work[counter] ?? 0);
  assert.equal(end.pid, begin.pid, `${name}: the process lives`);
  // A prompt with two answers is booked once, and its second answer begins with all of its cells; where no slot was free it may never have begun.
  const least = sum(mine, (r) => r.n_in * Math.max(r.begun, 1));
  const most = sum(mine, (r) => r.n_in * r.choices);
  const seen = more('cached_tokens') + more('prompt_rows') - more('recomputed_tokens');
  assert.ok(seen >= least && seen <= most, `${name}: ${seen} prompt tokens seen, ${least} to ${most} booked`);
  if (mine.every((r) => r.choices === 1)) assert.equal(sum(mine, (r) => r.n_cached), more('cached_tokens'), `${name}: cached tokens`);
  const generated = more('rows') - more('prompt_rows');
  const booked = sum(mine, (r) => r.n_out);
  // The last token of each answer is chosen and not evaluated, unless the answer was cancelled behind it.
  assert.ok(generated <= booked && generated >= booked - sum(mine, (r) => r.choices), `${name}: ${generated} rows, ${booked} tokens booked`);
}

async function quiet(requests) {
  await bothLoaded();
  await waitFor('nothing runs', async () => (await status()).every((m) => m.active === 0 && m.queued === 0), 60_000, 20);
  const list = requests.map((r) => `'${r.id}'`).join();
  await waitFor('everything is settled', async () => (await stack.sql(`SELECT count(*) FROM llm_requests WHERE state = 1 AND id IN (${list})`)) === '0', 60_000, 50);
}

async function kill(victim, clients, pids) {
  if (victim === 'client') clients[random(clients.length)].child.kill('SIGKILL');
  else process.kill(pids[victim], 'SIGKILL');
  if (victim === 'llmserver') await stack.waitPart('llmserver', pids.llmserver);
}

async function round(number, victim) {
  const name = `kill ${number} (${victim}, seed ${SEED})`;
  const requests = [];
  const clients = [];
  const begin = { [TINY]: await model(TINY), [TWIN]: await model(TWIN) };
  const pids = { llmworker: begin[TINY].pid, llmserver: victim === 'llmserver' ? (await stack.pids()).llmserver : null };
  for (let i = 0; i < 2; i++) {
    const mine = Array.from({ length: 3 + random(3) }, () => request(TINY));
    requests.push(...mine);
    clients.push(client(mine));
  }
  const others = Array.from({ length: 2 }, () => request(TWIN));
  const other = client(others);
  requests.push(...others);
  // Some die before they began, most in the middle.
  if (random(4)) await waitFor('tokens come', () => clients.some((c) => c.told() > 0) || clients.every((c) => c.child.exitCode !== null), 30_000, 2);
  await sleep(random(400));
  await kill(victim, clients, pids);
  await Promise.all([...clients, other].map((c) => c.gone));
  await quiet(requests);
  const rows = await rowsOf(stack, requests);
  for (const c of [...clients, other]) for (const r of c.requests) checkSettled(r, rows.get(r.id), c.seen(r.id), `${name}, request ${r.id}`);
  const end = { [TINY]: await model(TINY), [TWIN]: await model(TWIN) };
  if (victim !== 'llmserver') {
    for (const r of others) assert.equal(other.seen(r.id).end?.how, 'whole', `${name}: the other model's streams are whole`);
    checkWork(begin[TWIN], end[TWIN], others, rows, other.seen, `${name}, ${TWIN}`);
  }
  if (victim === 'client') checkWork(begin[TINY], end[TINY], requests.filter((r) => r.model === TINY), rows, (id) => clients.find((c) => c.requests.some((r) => r.id === id)).seen(id), `${name}, ${TINY}`);
  assert.equal(await stack.sql('SELECT count(*) FROM llm_requests WHERE state = 1'), '0', `${name}: nothing is open`);
  assert.equal(await stack.sql('SELECT coalesce(sum(held), 0) FROM budget_windows'), '0', `${name}: nothing is held`);
  return [...rows.values()].map((row) => row.outcome);
}

test(`${KILLS} kills at random moments lose and double nothing`, async (t) => {
  const outcomes = {};
  t.diagnostic(`CDS_SEED=${SEED}`);
  for (let i = 0; i < KILLS; i++) {
    const victim = i < VICTIMS.length ? VICTIMS[i] : VICTIMS[random(VICTIMS.length)];
    for (const outcome of await round(i + 1, victim)) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
  t.diagnostic(JSON.stringify(outcomes));
  const verify = await stack.command(['ledger', 'verify']);
  assert.equal(verify.code, 0, verify.stdout + verify.stderr);
  const { period, used_tokens } = await stack.rpc('usage.summary');
  const used = Number(await stack.sql(`SELECT coalesce(sum(n_in + n_out), 0) FROM token_ledger WHERE to_char(period, 'YYYY-MM') = '${period}'`));
  assert.equal(used_tokens, used, 'the month is the sum of its rows');
});
