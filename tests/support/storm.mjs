// What the storms share: chance that can be played again, and one request's row in the ledger held against what its client was told.
import assert from 'node:assert/strict';

const AHEAD = 64; // tokens that a server may have noted, and not yet sent, when it is killed

/** random(n): 0 to n - 1, the same row of them for the same seed. */
export function randomFrom(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor((state / 0x80000000) * below);
  };
}

export const sum = (list, of) => list.reduce((total, one) => total + of(one), 0);

/** What the ledger has of these requests: id → row. A request that was never admitted has none; one that is settled twice fails here. */
export async function rowsOf(stack, requests) {
  const list = requests.map((r) => `'${r.id}'`).join();
  const text = await stack.sql(`SELECT q.id, q.state, q.outcome, q.held, q.used, count(l.*), coalesce(sum(l.n_in), 0), coalesce(sum(l.n_cached), 0), coalesce(sum(l.n_out), 0),
    coalesce(sum(l.cost_micro), 0) FROM llm_requests q LEFT JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id WHERE q.id IN (${list}) GROUP BY 1, 2, 3, 4, 5`);
  const rows = new Map();
  for (const line of text ? text.split('\n') : []) {
    const [id, open, outcome, held, used, booked, n_in, n_cached, n_out, cost] = line.split('|');
    rows.set(id, { open, outcome, held: +held, used: +used, booked: +booked, n_in: +n_in, n_cached: +n_cached, n_out: +n_out, cost: +cost });
  }
  return rows;
}

/** One request, { id, choices, body, mayEndEarly }, against what its client was told: { told, end }. */
export function checkSettled(r, row, seen, name) {
  if (!row) {
    assert.notEqual(seen.end?.how, 'whole', `${name}: an answer without a row in the ledger`);
    assert.equal(seen.told, 0, `${name}: tokens without a row in the ledger`);
    return;
  }
  assert.equal(row.open, '2', `${name} is settled`);
  assert.equal(row.booked, 1, `${name} is booked once`);
  assert.equal(row.used, row.n_in + row.n_out, `${name}: request and ledger agree`);
  assert.ok(row.n_cached <= row.n_in, name);
  if (seen.end?.how === 'whole') {
    assert.equal(seen.end.request_id, r.id, name);
    assert.equal(row.n_in, seen.end.usage.prompt_tokens, name);
    assert.equal(row.n_out, seen.end.usage.completion_tokens, name);
    assert.equal(row.n_out, seen.told, `${name}: each token that is billed was told`);
    // A budget may have ended it, or a ledger that could not be asked for more.
    if (!r.mayEndEarly) assert.equal(row.n_out, r.body.max_tokens * r.choices, `${name}: nothing of it is missing`);
  } else if (row.outcome === 'node_lost') {
    assert.ok(row.n_out <= (r.body.stream ? seen.told + AHEAD : r.body.max_tokens * r.choices), `${name}: ${row.n_out} booked, ${seen.told} told`);
  } else if (row.outcome === 'crashed' || row.outcome === 'failed') {
    assert.equal(row.used, 0, `${name} is free`);
    assert.equal(row.cost, 0, `${name} is free`);
  } else {
    assert.ok(row.n_out >= seen.told && row.n_out <= r.body.max_tokens * r.choices, `${name} (${row.outcome}): ${row.n_out} booked, ${seen.told} told`);
  }
}
