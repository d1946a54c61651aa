// The page Usage: one's own and everybody's, in both themes and languages. The lines of the ledger are the test's own.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { callAs } from '../security/support.mjs';
import { openBrowser, openContext, shots, signIn, themes } from '../support/browser.mjs';
import { startStack, users } from '../support/stack.mjs';

describe('usage in the browser', { timeout: 800_000 }, () => {
  let stack, browser, page, trouble;
  const noKey = '00000000-0000-0000-0000-000000000000';
  const day = (back) => new Date(Date.now() - back * 86_400_000).toISOString().slice(0, 10);

  before(async () => {
    stack = await startStack({ llm: false, fresh: true });
    const admin = (await callAs(stack, stack.tokens.admin, 'user.self')).result.user_id;
    const developer = (await callAs(stack, stack.tokens.developer, 'user.self')).result.user_id;
    const { key_id } = (await callAs(stack, stack.tokens.admin, 'key.create', { name: '=ci bot' })).result;
    const lines = (user, key, model, from, tokens) => stack.sql(`INSERT INTO token_ledger (user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out, cost_micro, created_at)
      SELECT '${user}', gen_random_uuid(), 1, '${key}', date_trunc('month', d)::date, '${model}', ${tokens}, ${tokens} / 10, ${tokens} / 4, ${tokens} * 3, d AT TIME ZONE 'UTC' FROM generate_series(timestamp '${day(from)}', '${day(1)}', interval '1 day') d`);
    await lines(admin, key_id, 'smollm2-135m-instruct', 25, `(4000 + 300 * (extract(day FROM d)::int % 5) + CASE WHEN d = '${day(4)}' THEN 40000 ELSE 0 END)::int`);
    await lines(admin, noKey, 'qwen2.5-0.5b-instruct', 12, '(1500 + 100 * (extract(day FROM d)::int % 3))::int');
    await lines(developer, noKey, 'smollm2-135m-instruct', 9, '2000');
    ({ browser, page, trouble } = await openBrowser({ height: 1250 }));
    await signIn(page, `${stack.url}/usage`, users.admin);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  const shot = async (name) => {
    for (const theme of themes) {
      await page.evaluate((one) => (document.documentElement.dataset.theme = one), theme);
      await page.waitForTimeout(400); // colours change softly
      await page.screenshot({ path: join(shots, `usage-${name}-${theme}.png`) });
    }
  };
  const sum = async () => (await page.getByTestId('sum').getByRole('cell').allInnerTexts()).map((text) => text.replaceAll(/[,.]/g, ''));
  const save = async (name) => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name }).click()]);
    return { name: download.suggestedFilename(), text: readFileSync(await download.path(), 'utf8') };
  };

  it('shows sums, chart, forecast and an unusual day, and exports what it shows', async () => {
    await page.getByRole('heading', { name: 'Usage' }).waitFor();
    await page.getByLabel('Time').selectOption('30');
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="chart"] > li').length === 30);
    await page.getByTestId('chart').getByText('unusually many').waitFor({ state: 'attached' });
    await page.getByTestId('unusual').getByText('=ci bot').waitFor();
    assert.equal(await page.getByTestId('unusual').count(), 1);
    await page.getByTestId('forecast').getByText('Four of five such months end between').waitFor();
    const shown = await sum();
    const [requests, read, cached, written] = (await stack.sql(`SELECT count(*), sum(n_in), sum(n_cached), sum(n_out) FROM token_ledger l JOIN users u ON u.id = l.user_id WHERE u.email = '${users.admin.email}'`)).split('|');
    assert.deepEqual(shown.slice(0, 4), [requests, read, cached, written]);
    const csv = await save('CSV');
    assert.match(csv.name, /^usage-\d{4}-\d\d-\d\d-\d{4}-\d\d-\d\d\.csv$/);
    const rows = csv.text.trimEnd().split('\r\n').slice(1).map((line) => line.split(','));
    assert.deepEqual([String(rows.length), String(rows.reduce((all, row) => all + Number(row[7]), 0))], [requests, read]);
    assert.ok(rows.some((row) => row[5] === "'=ci bot"));
    const json = JSON.parse((await save('JSON')).text);
    assert.equal(String(json.lines.reduce((all, line) => all + line.completion_tokens, 0)), written);
    await shot('mine');
  });

  it('sums by model and key, and for an admin everybody by user', async () => {
    await page.getByLabel('Sum by').selectOption('model');
    await page.getByTestId('report').getByText('qwen2.5-0.5b-instruct').waitFor();
    await page.getByLabel('Sum by').selectOption('key');
    await page.getByTestId('report').getByText('=ci bot').waitFor();
    await page.getByTestId('report').getByText('Signed in').waitFor();
    await page.getByLabel('Whose').selectOption('all');
    await page.getByLabel('Sum by').selectOption('user');
    for (const user of [users.admin, users.developer]) await page.getByTestId('report').getByRole('rowheader', { name: user.email, exact: true }).waitFor();
    assert.equal((await sum())[0], await stack.sql('SELECT count(*) FROM token_ledger'));
    await shot('everybody');
  });

  it('speaks German', async () => {
    await page.getByRole('button', { name: 'DE: Switch language to German' }).click();
    await page.getByRole('heading', { name: 'Verbrauch' }).waitFor();
    await page.getByLabel('Summe je').selectOption('day');
    await page.getByText('Vier von fünf solchen Monaten').waitFor();
    await shot('deutsch');
    await page.setViewportSize({ width: 390, height: 1250 });
    await shot('schmal');
  });

  it('offers nobody else what is everybody\'s, and says what belongs here where there is nothing', async () => {
    const { context, page: other } = await openContext(browser);
    await signIn(other, `${stack.url}/usage`, users.viewer);
    await other.getByText('Nothing was used in this time.').waitFor();
    assert.equal(await other.getByLabel('Whose').count(), 0);
    assert.equal(await other.getByLabel('Sum by').getByRole('option', { name: 'User' }).count(), 0);
    await other.screenshot({ path: join(shots, 'usage-empty.png') });
    await context.close();
  });

  it('without an error in the console', () => assert.deepEqual(trouble, []));
});
