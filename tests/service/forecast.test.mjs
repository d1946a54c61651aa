// Forecast of a month, unusual days, and PostgresML where it is there: the numbers against months that are known, in a live database.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { callAs, login, person } from '../security/support.mjs';
import { awayFromTheTurn, startStack, users } from '../support/stack.mjs';

const noKey = '00000000-0000-0000-0000-000000000000';
let folder;
let stack;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cds-forecast-'));
  chmodSync(folder, 0o755);
  stack = await startStack({ llm: false, home: join(folder, 'home') });
});
after(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
});

/** One line of the ledger per day, at noon. values: SQL of day d (timestamp). */
const lines = (user, from, to, tokens, key = noKey) => stack.sql(
  `INSERT INTO token_ledger (user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out, cost_micro, created_at)
   SELECT ${user}, gen_random_uuid(), 1, '${key}', date_trunc('month', d)::date, 'm', greatest(round(${tokens}), 0), 0, 0, 0, (d + interval '12 hours') AT TIME ZONE 'UTC' FROM generate_series(timestamp '${from}', '${to}', interval '1 day') d`);
const id = (n) => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
async function forecast(user, at, pgml = false) {
  const [engine, basis, days, used, expected, low, high, perDay] = (await stack.sql(
    `SELECT engine, basis, days, used, expected, low, coalesce(high, -1), per_day FROM cds_ml.month_forecast(${user ? `'${user}'` : 'NULL'}, '${at}', ${pgml})`)).split('|');
  return { engine, basis, days: Number(days), used: Number(used), expected: Number(expected), low: Number(low), high: Number(high), perDay: Number(perDay) };
}

describe('the forecast of a month', { concurrency: false }, () => {
  test('of a steady use is exact, and of one that grows evenly too', async () => {
    await lines(`'${id(1)}'::uuid`, '2026-03-01', '2026-06-12', '1000');
    // 12 June, midnight: twelve days are booked, eighteen whole days are left.
    assert.deepEqual(await forecast(id(1), '2026-06-13T00:00:00Z'), { engine: 'sql', basis: 'trend', days: 56, used: 12000, expected: 30000, low: 30000, high: 30000, perDay: 1000 });
    await lines(`'${id(2)}'::uuid`, '2026-05-01', '2026-06-12', "100 * (d::date - date '2026-04-30')");
    const grows = await forecast(id(2), '2026-06-13T00:00:00Z');
    const truth = Array.from({ length: 30 }, (_, i) => 100 * (32 + i)).reduce((a, b) => a + b);
    assert.deepEqual([grows.days, grows.expected, grows.low, grows.high], [43, truth, truth, truth]);
    const falls = id(3);
    await lines(`'${falls}'::uuid`, '2026-05-14', '2026-06-12', "100 * (date '2026-06-13' - d::date)");
    const fallen = await forecast(falls, '2026-06-13T00:00:00Z');
    assert.equal(fallen.expected, fallen.used, 'nobody uses less than nothing');
  });

  test('takes today with the share that is left of it', async () => {
    const noon = await forecast(id(1), '2026-06-12T12:00:00Z');
    assert.deepEqual([noon.used, noon.expected], [12000, 12000 + 18500]);
  });

  test('of few days is their mean, of one says nothing about its range, of none is what was used', async () => {
    await lines(`'${id(4)}'::uuid`, '2026-06-08', '2026-06-10', "1000 + 100 * (d::date - date '2026-06-09')");
    const few = await forecast(id(4), '2026-06-11T00:00:00Z');
    assert.deepEqual([few.basis, few.days, few.used, few.expected], ['mean', 3, 3000, 23000]);
    assert.ok(few.low < few.expected && few.high > few.expected && few.low >= few.used);
    await lines(`'${id(5)}'::uuid`, '2026-06-10', '2026-06-10', '700');
    const one = await forecast(id(5), '2026-06-11T00:00:00Z');
    assert.deepEqual([one.basis, one.days, one.low, one.high], ['mean', 1, 700, -1]);
    const none = await forecast(id(6), '2026-06-11T00:00:00Z');
    assert.deepEqual([none.basis, none.days, none.used, none.expected, none.low, none.high], ['none', 0, 0, 0, 0, -1]);
    const today = await forecast(id(5), '2026-06-10T13:00:00Z');
    assert.deepEqual([today.basis, today.used, today.expected], ['none', 700, 700]);
  });

  test('holds four of five months in its range: 150 months of random days', async () => {
    await stack.sql(`SELECT setseed(0.4);
      INSERT INTO token_ledger (user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out, cost_micro, created_at)
      SELECT ('00000000-0000-7000-8001-' || lpad(u::text, 12, '0'))::uuid, gen_random_uuid(), 1, '${noKey}', date_trunc('month', d)::date, 'm',
        greatest(round(20000 + 100 * (u % 5 - 2) * (d::date - date '2026-04-18') + 4000 * (random() + random() + random() + random() + random() + random() + random() + random() + random() + random() + random() + random() - 6)), 0), 0, 0, 0,
        (d + interval '12 hours') AT TIME ZONE 'UTC'
      FROM generate_series(1, 150) u, generate_series(timestamp '2026-04-18', '2026-06-30', interval '1 day') d`);
    const [inside, all] = (await stack.sql(`SELECT count(*) FILTER (WHERE t.total BETWEEN f.low AND f.high), count(*) FROM (SELECT user_id, sum(n_in) AS total FROM token_ledger
      WHERE user_id::text LIKE '00000000-0000-7000-8001-%' AND period = '2026-06-01' GROUP BY 1) t CROSS JOIN LATERAL cds_ml.month_forecast(t.user_id, '2026-06-13T00:00:00Z', false) f`)).split('|').map(Number);
    assert.equal(all, 150);
    assert.ok(inside >= 105 && inside <= 135, `${inside} of 150 inside`);
  });
});

describe('unusual days', { concurrency: false }, () => {
  const found = async (user, from = '2026-06-01', to = '2026-06-30') => (await stack.sql(`SELECT day, tokens, typical, score > 3.5, key_id FROM cds_ml.unusual_days('${user}', '${from}', '${to}', 200)`)).split('\n').filter(Boolean).map((line) => line.split('|'));

  test('are those far above the median of the days before, for each key by itself', async () => {
    const key = id(77);
    const user = id(10);
    await lines(`'${user}'::uuid`, '2026-05-01', '2026-06-30', "2000 + 200 * (extract(day FROM d)::int % 5 - 2) + CASE WHEN d = '2026-06-20' THEN 6000 ELSE 0 END");
    await lines(`'${user}'::uuid`, '2026-05-01', '2026-06-30', '100000', key);
    assert.deepEqual((await found(user)).map((row) => [row[0], row[3], row[4]]), [['2026-06-20', 't', noKey]], 'the other key uses fifty times as much every day');
  });

  test('one outlier does not hide the next, and half a month of zeros does not make every use unusual', async () => {
    const user = id(11);
    await lines(`'${user}'::uuid`, '2026-05-01', '2026-06-30', "CASE WHEN d IN ('2026-06-10', '2026-06-12', '2026-06-14') THEN 90000 ELSE 1500 + 10 * (extract(day FROM d)::int % 7) END");
    assert.deepEqual((await found(user)).map((row) => row[0]), ['2026-06-14', '2026-06-12', '2026-06-10']);
    const weekly = id(12);
    await lines(`'${weekly}'::uuid`, '2026-05-01', '2026-06-30', 'CASE WHEN extract(isodow FROM d) IN (1, 3) THEN 2000 ELSE 0 END');
    assert.deepEqual((await found(weekly)).length, 0, 'two of seven days, alike');
  });

  test('are not steady ones, not small ones, and not the first week of a key', async () => {
    const steady = id(13);
    await lines(`'${steady}'::uuid`, '2026-05-01', '2026-06-30', "CASE WHEN d = '2026-06-20' THEN 11000 ELSE 10000 END");
    assert.deepEqual(await found(steady), [], 'a tenth more is a ripple');
    const small = id(14);
    await lines(`'${small}'::uuid`, '2026-05-01', '2026-06-30', "CASE WHEN d = '2026-06-20' THEN 900 ELSE 3 END");
    assert.deepEqual(await found(small), []);
    const young = id(15);
    await lines(`'${young}'::uuid`, '2026-06-10', '2026-06-30', "CASE WHEN d = '2026-06-13' THEN 50000 WHEN d = '2026-06-18' THEN 60000 ELSE 1000 END");
    assert.deepEqual((await found(young)).map((row) => row[0]), ['2026-06-18'], 'seven days must have passed');
  });
});

describe('over RPC', { concurrency: false }, () => {
  test('everybody has their own; everybody together is for admins', async () => {
    await awayFromTheTurn();
    const who = await person(stack);
    const admin = (await login(stack, users.admin)).token;
    const today = new Date().toISOString().slice(0, 10);
    const from = new Date(Date.now() - 20 * 86_400_000).toISOString().slice(0, 10);
    await lines(`'${who.id}'::uuid`, from, today, `CASE WHEN d = '${today}' THEN 80000 ELSE 1000 END`);
    await stack.sql(`UPDATE token_ledger SET created_at = now() WHERE user_id = '${who.id}' AND created_at > now()`);
    const mine = (await callAs(stack, who.token, 'usage.forecast')).result;
    assert.deepEqual([mine.engine, mine.days, mine.basis], ['sql', 20, 'trend']);
    assert.ok(mine.expected_tokens >= mine.used_tokens && mine.low_tokens <= mine.expected_tokens && mine.high_tokens >= mine.expected_tokens);
    const { days } = (await callAs(stack, who.token, 'usage.anomalies', { from, to: today })).result;
    assert.deepEqual(days.map((one) => [one.day, one.tokens, one.typical_tokens, one.email, one.key_id]), [[today, 80000, 1000, who.email, null]]);
    for (const [method, params] of [['usage.forecast', {}], ['usage.anomalies', { from, to: today }]]) {
      const other = await person(stack);
      assert.equal((await callAs(stack, other.token, method, { ...params, everybody: true })).status, 403);
      assert.equal((await callAs(stack, other.token, method, { ...params, user_id: who.id })).status, 403);
      assert.equal((await callAs(stack, admin, method, { ...params, user_id: who.id })).status, 200);
      assert.equal((await callAs(stack, admin, method, { ...params, everybody: true })).status, 200);
      const own = (await callAs(stack, other.token, method, params)).result;
      assert.ok(method === 'usage.forecast' ? own.used_tokens === 0 : own.days.length === 0);
    }
  });
});

describe('PostgresML', { concurrency: false }, () => {
  test('is not there: status says so, a forecast that wants it is made in plain SQL, and its vectors are refused', async () => {
    const { database } = await stack.status();
    assert.match(database.version, /^\d+\.\d/);
    assert.deepEqual([database.pgml, database.pgml_used], [null, false]);
    assert.match((await stack.command(['status'])).stdout, /database: PostgreSQL \d+\.\d.*, no pgml/);
    assert.equal((await forecast(id(1), '2026-06-13T00:00:00Z', true)).engine, 'sql');
    await assert.rejects(stack.sql("SELECT cds_ml.embed('m', ARRAY['a'])"), /this database has no pgml/);
  });

  test('a role like the gateway\'s uses the interface and gets nothing of pgml', async () => {
    // Functions of the test's own, in the place and with the names of the extension's.
    await stack.sql(`CREATE SCHEMA pgml; CREATE TABLE pgml.calls (what text);
      CREATE FUNCTION pgml.train(project_name text, task text, relation_name text, y_column_name text) RETURNS TABLE (project text) LANGUAGE sql AS $$
        INSERT INTO pgml.calls VALUES (concat_ws(' ', 'train', project_name, task, relation_name, y_column_name)); SELECT project_name $$;
      CREATE FUNCTION pgml.predict(project_name text, features real[]) RETURNS real LANGUAGE sql AS $$ SELECT 2000::real $$;
      CREATE FUNCTION pgml.embed(transformer text, inputs text) RETURNS real[] LANGUAGE sql AS $$ SELECT ARRAY[length(transformer), length(inputs)]::real[] $$;
      INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) SELECT 999999, 'pgml', n.nspowner, n.oid, false, '2.10.0-played' FROM pg_namespace n WHERE nspname = 'pgml';
      CREATE ROLE gateway_like LOGIN; GRANT USAGE ON SCHEMA public TO gateway_like; GRANT SELECT ON ALL TABLES IN SCHEMA public TO gateway_like`);
    const as = (sql) => stack.sql(`SET ROLE gateway_like; ${sql}`);
    assert.match(await as(`SELECT engine, expected FROM cds_ml.month_forecast('${id(1)}', '2026-06-13T00:00:00Z', true)`), /pgml\|48000/);
    assert.match(await as("SELECT cds_ml.embed('mini', ARRAY['ab', 'abc'])"), /\{4,2\}\n\{4,3\}/);
    for (const call of ["pgml.predict('x', ARRAY[1]::real[])", "pgml.embed('m', 'x')"]) await assert.rejects(as(`SELECT ${call}`), /permission denied for schema pgml/);
    await assert.rejects(as('SELECT * FROM cds_ml.training'), /permission denied/);
    assert.equal(await stack.sql("SELECT has_schema_privilege('gateway_like', 'pgml', 'USAGE')"), 'f');
    assert.equal(await stack.sql('SELECT what FROM pgml.calls'), `train cds_usage_${id(1)} regression cds_ml.training tokens`);
    assert.equal(await stack.sql('SELECT count(*) FROM cds_ml.training'), '56');
    assert.equal((await forecast(id(1), '2026-06-13T00:00:00Z', true)).engine, 'pgml');
    assert.equal(await stack.sql('SELECT count(*) FROM pgml.calls'), '1', 'it is trained once in six hours');
    assert.equal((await forecast(id(1), '2026-06-13T00:00:00Z', false)).engine, 'sql', 'and only where it is wanted');
  });

  test('that refuses is done without', async () => {
    await stack.sql("DELETE FROM cds_ml.trained; CREATE OR REPLACE FUNCTION pgml.train(project_name text, task text, relation_name text, y_column_name text) RETURNS TABLE (project text) LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room for models'; END $$");
    const got = await forecast(id(1), '2026-06-13T00:00:00Z', true);
    assert.deepEqual([got.engine, got.expected], ['sql', 30000]);
    assert.equal(await stack.sql('SELECT count(*) FROM cds_ml.trained'), '0');
  });

  test('is found when the studio connects, named in status, and used where ml.pgml is 1', async () => {
    await stack.sql("CREATE OR REPLACE FUNCTION pgml.train(project_name text, task text, relation_name text, y_column_name text) RETURNS TABLE (project text) LANGUAGE sql AS $$ SELECT project_name $$");
    for (const [options, used, words] of [[{}, false, 'not used: ml.pgml is 0'], [{ 'ml.pgml': 1, 'ml.embed_model': 'mini' }, true, 'makes forecasts']]) {
      await stack.stop();
      stack = await startStack({ llm: false, home: join(folder, 'home'), setup: false, options });
      const { database } = await stack.status();
      assert.deepEqual([database.pgml, database.pgml_used], ['2.10.0-played', used]);
      assert.ok((await stack.command(['status'])).stdout.includes(`pgml 2.10.0-played (${words})`));
      const { token } = await login(stack, users.admin);
      assert.equal((await callAs(stack, token, 'usage.forecast', { everybody: true })).result.engine, used ? 'pgml' : 'sql');
      if (!used) continue;
      const made = (await callAs(stack, token, 'llm.embed', { input: ['ab', "it's"] })).result;
      assert.deepEqual([made.engine, made.model, made.vectors], ['pgml', 'mini', [[4, 2], [4, 4]]]);
    }
  });

  test('a real one trains and predicts (CDS_PGML_URL)', (t) => {
    if (!process.env.CDS_PGML_URL) {
      console.error('skipped: no pgml (CDS_PGML_URL names a database with the extension)');
      return t.skip('skipped: no pgml');
    }
    return import('node:child_process').then(({ execFileSync }) => {
      const sql = (text) => execFileSync('psql', ['-X', '-At', '-v', 'ON_ERROR_STOP=1', '-d', process.env.CDS_PGML_URL, '-c', text], { encoding: 'utf8' }).trim();
      sql("DROP TABLE IF EXISTS cds_try; CREATE TABLE cds_try AS SELECT x::real AS x, (100 * x + 7)::real AS tokens FROM generate_series(1, 56) x; SELECT * FROM pgml.train(project_name => 'cds_try', task => 'regression', relation_name => 'public.cds_try', y_column_name => 'tokens')");
      assert.ok(Math.abs(Number(sql("SELECT pgml.predict('cds_try', ARRAY[60::real])")) - 6007) < 50);
    });
  });
});
