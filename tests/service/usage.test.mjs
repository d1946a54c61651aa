// What was used: reports by day, model, key and user, the export, one request, and a key that asks about itself. The lines of the ledger are the test's
// own, so that there are many of them, at all hours, with names that bite.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { callAs, person } from '../security/support.mjs';
import { awayFromTheTurn, startStack } from '../support/stack.mjs';

let stack;
let ann;
let bob;
const keys = {};
before(async () => {
  stack = await startStack({ llm: false, fresh: true });
  ann = await person(stack);
  bob = await person(stack);
});
after(() => stack?.stop());

const quote = (text) => `'${text.replaceAll("'", "''")}'`;
const noKey = '00000000-0000-0000-0000-000000000000';
/** A generator of whole numbers below n: the same in each run. */
function dice(seed) {
  let state = seed;
  return (n) => Math.floor(((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) * n);
}
const counts = ['prompt_tokens', 'cached_tokens', 'completion_tokens', 'cost_micro'];
const sum = (lines) => Object.fromEntries(['requests', ...counts].map((name) => [name, lines.reduce((all, line) => all + (name === 'requests' ? (line.requests ?? 1) : line[name]), 0)]));
const asked = async (who, method, params) => {
  const got = await callAs(stack, who.token, method, params);
  assert.equal(got.status, 200, JSON.stringify(got.error));
  return got.result;
};

/** All pages of a list. */
async function pages(who, method, params, member) {
  const all = [];
  for (let cursor; ; ) {
    const got = await asked(who, method, { ...params, ...(cursor ? { cursor } : {}) });
    all.push(got);
    if (!got.next_cursor) return { all, rows: all.flatMap((page) => page[member] ?? []) };
    assert.ok(all.length < 1000, 'the pages end');
    cursor = got.next_cursor;
  }
}

/** RFC 4180: lists of fields. */
function csvRows(text) {
  const rows = [[]];
  for (let at = 0; at < text.length; ) {
    let field = '';
    if (text[at] === '"') {
      for (at++; !(text[at] === '"' && text[at + 1] !== '"'); at++) field += text[at] === '"' ? text[++at] : text[at];
      at++;
    } else while (at < text.length && text[at] !== ',' && text[at] !== '\r') field += text[at++];
    rows.at(-1).push(field);
    if (text[at] === ',') at++;
    else {
      assert.equal(text.slice(at, at + 2), '\r\n', 'a line ends with CR LF');
      at += 2;
      if (at < text.length) rows.push([]);
    }
  }
  return rows;
}

const names = ['ci bot', '=HYPERLINK("http://x","y")', '+1', '-1', '@SUM(A1)', 'a,"b"\tc', ' =1'];
describe('reports and exports of random lines', { concurrency: false }, () => {
  before(async () => {
    for (const who of [ann, bob]) {
      keys[who.id] = [];
      for (const name of names) {
        const { key_id } = await asked(who, 'key.create', { name: 'k' });
        await stack.sql(`UPDATE api_keys SET name = ${quote(name)} WHERE id = '${key_id}'`);
        keys[who.id].push(key_id);
      }
    }
    const next = dice(11);
    const rows = [];
    for (let i = 0; i < 1500; i++) {
      const who = next(3) ? ann : bob;
      const key = next(4) ? keys[who.id][next(names.length)] : noKey;
      // Hours around both changes of the clock in 2026, some of them at the same micro-second.
      const day = 60 + next(270);
      const at = new Date(Date.UTC(2026, 0, 1 + day, next(24), next(4) * 15, next(2) * 59)).toISOString();
      const n_in = next(5000);
      rows.push(`('${who.id}', gen_random_uuid(), 1, '${key}', date_trunc('month', timestamp '${at.slice(0, 19)}')::date, ${quote(['m-a', 'm-b', '=m', 'm.d'][next(4)])}, ${n_in}, ${next(n_in + 1)}, ${next(900)}, ${next(1e6)}, '${at}')`);
    }
    while (rows.length > 0)
      await stack.sql(`INSERT INTO token_ledger (user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out, cost_micro, created_at) VALUES ${rows.splice(0, 300).join(',')}`);
  });

  test('the sum of all pages is the total, by whatever they are made, and that of the export in both forms', async () => {
    const next = dice(23);
    const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kathmandu', 'Pacific/Kiritimati', 'America/St_Johns'];
    for (let round = 0; round < 12; round++) {
      const first = 55 + next(200);
      const day = (n) => new Date(Date.UTC(2026, 0, 1 + n)).toISOString().slice(0, 10);
      const range = { from: day(first), to: day(first + next(90)), time_zone: zones[next(zones.length)], ...(next(3) ? {} : { model: 'm-a' }) };
      const who = next(2) ? ann : { token: stack.tokens.admin, all: true };
      const whose = who.all ? { everybody: true } : {};
      const [requests, n_in, n_cached, n_out, cost] = (await stack.sql(
        `SELECT count(*), coalesce(sum(n_in), 0), coalesce(sum(n_cached), 0), coalesce(sum(n_out), 0), coalesce(sum(cost_micro), 0) FROM token_ledger WHERE (created_at AT TIME ZONE '${range.time_zone}')::date BETWEEN '${range.from}' AND '${range.to}'` +
        `${who.all ? '' : ` AND user_id = '${who.id}'`}${range.model ? ` AND model = '${range.model}'` : ''}`)).split('|').map(Number);
      const truth = { requests, prompt_tokens: n_in, cached_tokens: n_cached, completion_tokens: n_out, cost_micro: cost };
      for (const by of ['day', 'model', 'key', 'user']) {
        const { all, rows } = await pages(who, 'usage.report', { by, ...range, ...whose, limit: 1 + next(9) }, 'rows');
        for (const page of all) assert.deepEqual(page.totals, truth, `totals by ${by}`);
        assert.deepEqual(sum(rows), truth, `rows by ${by}`);
        const ids = rows.map((row) => [row.day, row.model, row.user_id, row.key_id].join());
        assert.equal(new Set(ids).size, ids.length, 'no row twice');
      }
      const json = await pages(who, 'usage.export', { format: 'json', ...range, ...whose, limit: 1 + next(200) }, 'lines');
      assert.deepEqual(sum(json.rows), truth, 'JSON');
      const csv = await pages(who, 'usage.export', { format: 'csv', ...range, ...whose, limit: 1 + next(200) });
      const [head, ...lines] = csvRows(csv.all.map((page) => page.csv).join(''));
      const objects = lines.map((line) => Object.fromEntries(head.map((name, i) => [name, counts.includes(name) ? Number(line[i]) : line[i]])));
      assert.deepEqual(sum(objects), truth, 'CSV');
      assert.deepEqual(objects.map((line) => line.request_id), json.rows.map((line) => line.request_id));
      assert.equal(new Set(objects.map((line) => line.request_id)).size, requests);
    }
  });

  test('days begin at midnight of the time zone, also on those of 23 and 25 hours', async () => {
    const user = await person(stack);
    const at = ['2026-03-28T22:59:59Z', '2026-03-28T23:00:00Z', '2026-03-29T21:59:59Z', '2026-03-29T22:00:00Z', '2026-10-24T22:00:00Z', '2026-10-25T22:59:59Z', '2026-10-25T23:00:00Z'];
    for (const [i, time] of at.entries())
      await stack.sql(`INSERT INTO token_ledger VALUES ('${user.id}', gen_random_uuid(), 1, '${noKey}', date_trunc('month', timestamp '${time.slice(0, 19)}')::date, 'm', ${10 ** i}, 0, 0, 0, '${time}')`);
    const { rows } = await asked(user, 'usage.report', { by: 'day', from: '2026-03-01', to: '2026-10-31', time_zone: 'Europe/Berlin' });
    assert.deepEqual(rows.map((row) => [row.day, row.prompt_tokens]), [['2026-03-28', 1], ['2026-03-29', 110], ['2026-03-30', 1000], ['2026-10-25', 110000], ['2026-10-26', 1000000]]);
    const one = await asked(user, 'usage.report', { by: 'day', from: '2026-03-29', to: '2026-03-29', time_zone: 'Europe/Berlin' });
    assert.deepEqual(one.rows.map((row) => [row.day, row.prompt_tokens]), [['2026-03-29', 110]], 'a range is one of days of the zone, too');
  });

  test('a key and a user have their names, a session has none, and a key of somebody else is not mixed in', async () => {
    const range = { from: '2026-01-01', to: '2026-12-31' };
    const { rows } = await asked(ann, 'usage.report', { by: 'key', ...range });
    assert.equal(rows.length, names.length + 1);
    assert.deepEqual(rows.filter((row) => row.key_id).map((row) => row.key_name).sort(), [...names].sort());
    assert.deepEqual([rows.find((row) => !row.key_id).key_name, new Set(rows.map((row) => row.user_id)).size], [null, 1]);
    const users = await asked(ann, 'usage.report', { by: 'user', ...range });
    assert.deepEqual(users.rows.map((row) => [row.user_id, row.email]), [[ann.id, ann.email]]);
    const all = await asked({ token: stack.tokens.admin }, 'usage.report', { by: 'user', ...range, everybody: true });
    assert.ok([ann, bob].every((who) => all.rows.some((row) => row.email === who.email)));
    const one = await asked({ token: stack.tokens.admin }, 'usage.report', { by: 'user', ...range, user_id: bob.id });
    assert.deepEqual(one.rows.map((row) => row.email), [bob.email]);
  });

  test('no field of the CSV is a formula', async () => {
    const { all } = await pages(ann, 'usage.export', { format: 'csv', from: '2026-01-01', to: '2026-12-31' });
    const rows = csvRows(all.map((page) => page.csv).join(''));
    assert.equal(rows[0].join(), 'at,request_id,user_id,email,key_id,key_name,model,prompt_tokens,cached_tokens,completion_tokens,cost_micro');
    for (const row of rows) for (const field of row) assert.doesNotMatch(field, /^\s*[=+@-]/);
    for (const name of names.slice(1, 5)) assert.ok(rows.some((row) => row[5] === `'${name}`), name);
    assert.ok(rows.some((row) => row[6] === "'=m"));
  });

  test('a range, a zone or a cursor that cannot be is named', async () => {
    const range = { from: '2026-01-01', to: '2026-01-31' };
    for (const [params, pointer] of [
      [{ from: '2026-02-29' }, '/params/from'], [{ to: '2026-02-30' }, '/params/to'], [{ to: '2025-12-31' }, '/params/to'], [{ to: '2027-03-01' }, '/params/to'],
      [{ time_zone: 'Nowhere/Land' }, '/params/time_zone'], [{ everybody: true, user_id: ann.id }, '/params/everybody'],
    ]) {
      for (const method of [{ name: 'usage.report', by: 'day' }, { name: 'usage.export', format: 'csv' }]) {
        const { name, ...more } = method;
        const got = await callAs(stack, stack.tokens.admin, name, { ...more, ...range, ...params });
        assert.deepEqual([got.status, got.error.data.errors[0].pointer], [400, pointer], JSON.stringify(params));
      }
    }
    assert.equal((await callAs(stack, ann.token, 'usage.report', { by: 'day', from: '2026-01-01', to: '2027-02-04' })).status, 200, '400 days are not too many');
    const far = await callAs(stack, ann.token, 'usage.anomalies', { from: '2026-01-01', to: '2026-11-30' });
    assert.deepEqual([far.status, far.error.data.errors[0].pointer], [400, '/params/to'], 'unusual days are looked for in 92 days at most');
    const bad = await callAs(stack, ann.token, 'usage.export', { format: 'csv', ...range, cursor: `2026-99-01T00:00:00.000000Z ${ann.id} ${ann.id}` });
    assert.deepEqual([bad.status, bad.error.data.errors[0].pointer], [400, '/params/cursor']);
  });
});

describe('whose', { concurrency: false }, () => {
  const range = { from: '2026-01-01', to: '2026-12-31' };
  test('everybody has their own, and nobody but an admin more than that', async () => {
    for (const who of [ann, bob, { token: stack.tokens.viewer }])
      for (const [method, more] of [['usage.report', { by: 'user' }], ['usage.export', { format: 'json' }]]) {
        assert.equal((await callAs(stack, who.token, method, { ...more, ...range, everybody: true })).status, 403);
        const other = who === ann ? bob : ann;
        assert.equal((await callAs(stack, who.token, method, { ...more, ...range, user_id: other.id })).status, 403);
        const got = await asked(who, method, { ...more, ...range });
        assert.ok(!JSON.stringify(got).includes(other.id));
      }
  });

  test('an API key sees what its maker sees, with the scope for it', async () => {
    const { key } = await asked(ann, 'key.create', { name: 'k', scopes: ['usage'] });
    assert.deepEqual((await asked({ token: key }, 'usage.report', { by: 'model', ...range })).totals, (await asked(ann, 'usage.report', { by: 'model', ...range })).totals);
    const { key: other } = await asked(ann, 'key.create', { name: 'k', scopes: ['fs'] });
    assert.equal((await callAs(stack, other, 'usage.report', { by: 'model', ...range })).error.data.rule, 'key.scope');
  });
});

describe('one request', { concurrency: false }, () => {
  const id = (n) => `00000000-0000-7000-8000-00000000010${n}`;
  test('is told while it runs, when it is booked and when it was given up; only to whom it belongs', async () => {
    const user = await person(stack);
    const node = '00000000-0000-7000-8000-0000000000c1';
    await stack.sql(`INSERT INTO model_prices (model, price_input, price_cached, price_output) VALUES ('tracked', 10000000, 1000000, 100000000);
      SELECT reserve('${user.id}', '${noKey}', '${id(1)}', 'tracked', now(), 300, '${node}', interval '10 min');
      SELECT extend('${user.id}', '${id(1)}', 600, 44, 200, interval '10 min')`);
    const open = await asked(user, 'usage.track', { request_id: id(1) });
    assert.deepEqual([open.state, open.held_tokens, open.prompt_tokens, open.completion_tokens, open.cost_micro, open.ended_at, open.key_id], ['open', 600, 44, 200, null, null, null]);
    await stack.sql(`SELECT settle_many('{${user.id}}', '{${noKey}}', '{${id(1)}}', '{tracked}', ARRAY[now()], '{44}', '{4}', '{250}', '{stop}', '${node}')`);
    const booked = await asked(user, 'usage.track', { request_id: id(1) });
    assert.deepEqual([booked.state, booked.outcome, booked.held_tokens, booked.prompt_tokens, booked.cached_tokens, booked.completion_tokens, booked.cost_micro], ['settled', 'stop', 0, 44, 4, 250, 400 + 4 + 25000]);
    await stack.sql(`SELECT reserve('${user.id}', '${noKey}', '${id(2)}', 'tracked', now(), 300, '${node}', interval '-1 s'); SELECT reap(10)`);
    assert.deepEqual([(await asked(user, 'usage.track', { request_id: id(2) })).state], ['given_up']);
    const other = await callAs(stack, bob.token, 'usage.track', { request_id: id(1) });
    const never = await callAs(stack, bob.token, 'usage.track', { request_id: id(9) });
    assert.deepEqual([other.status, other.error.message], [404, never.error.message]);
    assert.equal((await callAs(stack, bob.token, 'usage.track', { request_id: id(1), user_id: user.id })).status, 403);
    assert.equal((await asked({ token: stack.tokens.admin }, 'usage.track', { request_id: id(1), user_id: user.id })).state, 'settled');
  });
});

describe('a key asks about itself', { concurrency: false }, () => {
  test('with any scope: name, rights, expiry, last use, what is left and what it used', async () => {
    await awayFromTheTurn();
    const user = await person(stack);
    const made = await asked(user, 'key.create', { name: 'ci bot', scopes: ['fs'], models: ['m-a'], expires_in_s: 3600, role: 'viewer', requests_per_minute: 7 });
    const month = new Date().toISOString().slice(0, 7);
    const self = await asked({ token: made.key }, 'key.self', {});
    assert.deepEqual([self.key_id, self.name, self.role, self.scopes, self.models, self.expires_at, self.requests_per_minute, self.tokens_per_minute], [made.key_id, 'ci bot', 'viewer', ['fs'], ['m-a'], made.expires_at, 7, null]);
    assert.ok(Math.abs(Date.parse(self.last_used_at) - Date.now()) < 120_000);
    assert.deepEqual([self.remaining_tokens, self.limits.map((one) => one.scope)], [1_000_000, ['user']], 'what everybody has at first');
    await stack.sql(`INSERT INTO token_ledger VALUES ('${user.id}', gen_random_uuid(), 1, '${made.key_id}', '${month}-01', 'm', 100, 0, 50, 7, now()),
        ('${user.id}', gen_random_uuid(), 1, '${noKey}', '${month}-01', 'm', 9, 0, 9, 9, now())`);
    await stack.rpc('budget.set', { scope: 'user', user_id: user.id, unit: 'tokens', window: 'month', limit: 5000 }, 'admin');
    await stack.rpc('budget.set', { scope: 'key', key_id: made.key_id, unit: 'tokens', window: 'day', limit: 1000, zone: 'Europe/Berlin' }, 'admin');
    await stack.rpc('budget.set', { scope: 'key_model', key_id: made.key_id, model: 'm-a', unit: 'requests', window: 'hour', limit: 3 }, 'admin');
    await stack.rpc('budget.set', { scope: 'user', user_id: bob.id, unit: 'tokens', window: 'month', limit: 7 }, 'admin');
    await stack.rpc('budget.set', { scope: 'global', unit: 'tokens', window: 'lifetime', limit: 1000000000 }, 'admin');
    const used = await asked({ token: made.key }, 'key.self', {});
    assert.deepEqual([used.usage.today, used.usage.month], [{ tokens: 150, requests: 1, cost_micro: 7 }, { tokens: 150, requests: 1, cost_micro: 7 }]);
    assert.deepEqual(used.limits.map((one) => [one.scope, one.model, one.unit, one.window, one.limit]), [['key', null, 'tokens', 'day', 1000], ['key_model', 'm-a', 'requests', 'hour', 3], ['user', null, 'tokens', 'month', 5000]]);
    for (const one of used.limits) assert.deepEqual([one.remaining, Date.parse(one.resets_at) > Date.now()], [one.limit - one.used - one.held, true]);
    assert.equal(used.remaining_tokens, Math.min(used.limits[0].remaining, used.limits[2].remaining));
    await stack.sql(`UPDATE budget_windows SET used = 990 WHERE policy = (SELECT id FROM budget_policies WHERE key_id = '${made.key_id}' AND unit = 1)`);
    const opened = await stack.sql(`SELECT count(*) FROM budget_windows w JOIN budget_policies p ON p.id = w.policy WHERE p.key_id = '${made.key_id}' AND p.unit = 1`);
    if (opened !== '0') assert.equal((await asked({ token: made.key }, 'key.self', {})).remaining_tokens, 10);
  });

  test('whoever is signed in is none', async () => {
    const got = await callAs(stack, ann.token, 'key.self', {});
    assert.deepEqual([got.status, got.error.data.rule], [404, 'key.none']);
  });
});
