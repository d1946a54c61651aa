// kill -9 of gateway, model server, model process and database at random moments under a load that never stops and of which 30 % of the clients
// leave in the middle; one of two users is near the end of a budget. Afterwards nothing is lost, doubled or over a limit: each client's list is held
// against the ledger, and `ledger verify` finds all of its rules kept. CDS_KILLS says how many (10), CDS_SEED which (a new one each time; it is
// printed).
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { users, waitFor } from '../support/stack.mjs';
import { checkSettled, randomFrom, rowsOf } from '../support/storm.mjs';
import { ask } from '../support/stream.mjs';
import { TINY, startTiny } from '../support/tiny.mjs';

const KILLS = Number(process.env.CDS_KILLS ?? 10);
const SEED = Number(process.env.CDS_SEED ?? Date.now() % 1_000_000);
const VICTIMS = ['api', 'llmserver', 'llmworker', 'postgres'];
const CLIENTS = ['admin', 'admin', 'admin', 'admin', 'developer', 'developer'];
const LIMIT = 3_000; // tokens of the developer's month: used up in the middle of the storm
const LEAVE = 30; // of a hundred answers, how many are left by their clients
const PLENTY = 1_000_000_000; // tokens of the admin's month: never used up
const random = randomFrom(SEED);

let stack;
let folder;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cds-storm-'));
  stack = await startTiny({ options: { 'llm.slots': '8', 'llm.context_tokens': '4096', 'llm.queue_per_user': '64' } });
  for (const [who, limit] of [['developer', LIMIT], ['admin', PLENTY]])
    await stack.rpc('budget.set', { scope: 'user', email: users[who].email, unit: 'tokens', window: 'month', limit }, 'admin');
});
after(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Every request that was sent, with what its client was told. */
const sent = [];
const load = { on: true, whole: 0 };

function request(as) {
  const prompt = `Count on without an end, number ${random(1000)}: ${'one two three four '.repeat(random(12))}`;
  const stream = random(5) > 0;
  return {
    id: randomUUID(), choices: 1, mayEndEarly: true, path: '/v1/completions',
    body: { model: TINY, prompt, max_tokens: 20 + random(400), ignore_eos: true, return_tokens: true, temperature: 0.8, stream, ...(stream ? { stream_options: { include_usage: true } } : {}) },
  };
}

/**
 * One client: request after request through the gateway until the load ends. It leaves LEAVE of a hundred answers, at a random time or a random token,
 * whichever comes first; where an answer was faster, it leaves the next one.
 */
async function client(as) {
  let [answers, left] = [0, 0];
  while (load.on) {
    const one = { request: request(as), as, seen: { told: 0, end: null } };
    const leaves = left * 100 < LEAVE * (answers + 1) ? new AbortController() : null;
    const timer = leaves && setTimeout(() => leaves.abort(), 5 + random(400));
    const last = 1 + random(one.request.body.max_tokens - 1);
    const say = ({ told, end }) => !end && told >= last && leaves?.abort();
    sent.push(one);
    one.seen = await ask({ url: stack.apiUrl, token: stack.tokens[as], request: one.request, say, signal: leaves?.signal });
    clearTimeout(timer);
    one.left = leaves?.signal.aborted ?? false;
    left += one.left;
    answers += one.left || one.seen.told > 0;
    if (one.seen.end.how === 'whole') load.whole++;
    else await sleep(20 + random(80));
  }
}

const workerLoaded = async () => (await stack.rpc('llm.list_models', {}, 'admin').catch(() => ({ models: [] }))).models.some((m) => m.id === TINY && m.state === 'loaded');

async function kill(number, victim) {
  const name = `kill ${number} (${victim}, seed ${SEED})`;
  const pids = await stack.pids();
  await sleep(random(700));
  process.kill(pids[victim], 'SIGKILL');
  if (victim === 'llmworker') await waitFor(`${name}: another model process`, async () => ![null, pids.llmworker].includes((await stack.pids()).llmworker), 40_000, 50);
  else await stack.waitPart(victim, pids[victim]);
  await waitFor(`${name}: the model is loaded`, workerLoaded, 60_000, 50);
  // One that is asked for now and is booked before it ends: what ended before it is booked as well, so that no kill finds what the one before it has delayed.
  const since = sent.length;
  await waitFor(`${name}: answers are whole and booked again`, () => sent.slice(since).some(({ seen }) => seen.end?.how === 'whole' && !seen.end.notice), 60_000, 10);
}

/** The list that `ledger verify --answers` reads. */
function writeAnswers() {
  const file = join(folder, 'answers');
  const lines = sent.flatMap(({ request: { id }, seen }) =>
    seen.end.how === 'whole' ? [`${id} ${seen.end.usage.prompt_tokens} ${seen.end.usage.completion_tokens}`] : seen.told > 0 ? [id] : []);
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''));
  return { file, lines: lines.length };
}

test('kills of gateway, model server, model process and database lose, double and overshoot nothing', async (t) => {
  t.diagnostic(`${KILLS} kills, CDS_SEED=${SEED}`);
  const clients = CLIENTS.map(client);
  try {
    await waitFor('answers come', () => load.whole > 0, 30_000, 10);
    for (let i = 0; i < KILLS; i++) await kill(i + 1, i < VICTIMS.length ? VICTIMS[i] : VICTIMS[random(VICTIMS.length)]);
  } finally {
    load.on = false;
    await Promise.all(clients);
  }
  await waitFor('everything is settled', async () => (await stack.sql('SELECT count(*) FROM llm_requests WHERE state = 1')) === '0', 60_000, 50);

  const rows = new Map();
  for (let i = 0; i < sent.length; i += 500) for (const [id, row] of await rowsOf(stack, sent.slice(i, i + 500).map((s) => s.request))) rows.set(id, row);
  for (const { request: r, seen } of sent) checkSettled(r, rows.get(r.id), seen, `seed ${SEED}, request ${r.id}`);
  const outcomes = {};
  for (const row of rows.values()) outcomes[row.outcome] = (outcomes[row.outcome] ?? 0) + 1;
  const left = sent.filter((s) => s.left).length;
  t.diagnostic(`${sent.length} requests, ${rows.size} taken, ${load.whole} whole, ${left} left by their clients; ${JSON.stringify(outcomes)}`);
  // Of those that were taken: while the gateway is away each request is refused at once, and on a slow machine those are most.
  assert.ok(left >= rows.size * 0.1, `${left} of ${rows.size} clients left`);

  const answers = writeAnswers();
  assert.ok(answers.lines > KILLS, `${answers.lines} answers`);
  const verify = await stack.command(['ledger', 'verify', '--answers', answers.file]);
  assert.equal(verify.code, 0, verify.stdout + verify.stderr);
  assert.match(verify.stdout, /fine +13 Every answer of the client's list/);
  assert.doesNotMatch(verify.stdout, /not asked/);
  // Nothing passed the budget but what had lost its reservation with the database.
  const [used, held, bare] = (await stack.sql(`SELECT b.used, b.held, (SELECT coalesce(sum(q.used), 0) FROM llm_requests q WHERE q.user_id = b.user_id AND q.held = 0)
    FROM budget_usage b JOIN users u ON u.id = b.user_id WHERE b.scope = 'user' AND u.email = '${users.developer.email}'`)).split('|').map(Number);
  assert.equal(held, 0);
  assert.ok(used <= LIMIT + bare, `${used} of ${LIMIT} used, ${bare} of them without a hold`);
});
