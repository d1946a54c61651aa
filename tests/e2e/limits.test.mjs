// Limits, prices, grants, rates and the dry run in the browser: what an admin sets, and what the user it is about sees of it, in both themes and languages.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openBrowser, openContext, shots, signIn, themes, watch } from '../support/browser.mjs';
import { startStack, users } from '../support/stack.mjs';

const model = 'small-model';
const developer = users.developer.email;
const hourIn = (timeZone) => Number(new Intl.DateTimeFormat('en-GB', { timeZone, hour: '2-digit', hourCycle: 'h23' }).format(new Date()));
/** A zone whose day does not turn within the next two hours: what is used counts by its day. */
const farFromMidnight = () => ['Europe/Berlin', 'Asia/Tokyo'].find((zone) => hourIn(zone) < 22);

describe('limits in the browser', { timeout: 1_500_000 }, () => {
  let stack, browser, page, own, trouble, developerId;
  const ownTrouble = [];
  const noKey = '00000000-0000-0000-0000-000000000000';
  const node = '00000000-0000-7000-8000-0000000000c1';

  before(async () => {
    stack = await startStack({ llm: false, fresh: true, options: { 'llm.requests_per_minute': 600 } });
    developerId = (await stack.rpc('user.self', {}, 'developer')).user_id;
    await stack.rpc('key.create', { name: 'build server' }, 'developer');
    await stack.sql(`INSERT INTO model_prices (model, price_input, price_cached, price_output) VALUES ('${model}', 1000000, 500000, 3000000)`);
    ({ browser, page, trouble } = await openBrowser({ height: 1100 }));
    await signIn(page, `${stack.url}/admin`, users.admin);
    ({ page: own } = await openContext(browser, { viewport: { width: 1360, height: 1100 }, colorScheme: 'dark' }));
    await watch(own, ownTrouble);
    await signIn(own, `${stack.url}/account`, users.developer);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  const shot = async (name, of = page) => {
    for (const theme of themes) {
      await of.evaluate((one) => (document.documentElement.dataset.theme = one), theme);
      // Colours change softly; what turns for as long as it is there has no end.
      await of.evaluate(() => Promise.allSettled(document.getAnimations().filter((one) => one.effect?.getTiming().iterations !== Infinity).map((one) => one.finished)));
      await of.screenshot({ path: join(shots, `limits-${name}-${theme}.png`) });
    }
  };
  const dialog = () => page.getByRole('dialog');
  const closed = () => dialog().waitFor({ state: 'detached' });
  const field = (label) => dialog().getByLabel(label, { exact: true });
  const press = (name, of = dialog()) => of.getByRole('button', { name, exact: true }).click();
  const section = (id) => page.locator(`section[aria-labelledby="${id}"]`);
  const limit = () => section('limits').getByTestId('limit').filter({ hasText: `${developer} with ${model}` });
  /** A request of the developer as the model server books it. */
  const use = (tokens) => stack.sql(`SELECT reserve('${developerId}', '${noKey}', i, '${model}', t, ${tokens}, '${node}', interval '10 min'),
      settle_many(ARRAY['${developerId}'::uuid], ARRAY['${noKey}'::uuid], ARRAY[i], ARRAY['${model}'], ARRAY[t], ARRAY[${tokens}::bigint], ARRAY[0::bigint], ARRAY[0::bigint], ARRAY['stop'], '${node}')
      FROM (SELECT gen_random_uuid() AS i, now() AS t OFFSET 0) x`);

  it('an admin sets a limit for a user with one model, and what is wrong is said beside it', async () => {
    await press('Set a limit', section('limits'));
    await field('It is about').selectOption('user_model');
    await field('Mail address').fill('nobody@studio.test');
    await field('Model').fill(model);
    await field('At most').fill('a lot');
    await dialog().getByText('A whole number, 0 or more.').waitFor();
    await field('Warn at (percent)').fill('50, 500');
    await dialog().getByText('Up to five different whole numbers from 1 to 100.').waitFor();
    assert.ok(await dialog().getByRole('button', { name: 'Set', exact: true }).isDisabled());
    await field('At most').fill('1000');
    await field('Warn at (percent)').fill('40 90');
    await field('In each').selectOption('day');
    await press('Set');
    await dialog().getByText('There is no user with this address.').waitFor();
    await shot('new');
    await field('Mail address').fill(developer);
    await press('Set');
    await closed();
    await limit().getByText('1,000 of 1,000 tokens left').waitFor();
  });

  it('a limit of a key is set by its owner and name', async () => {
    await press('Set a limit', section('limits'));
    await field('It is about').selectOption('key');
    await field('Mail address').fill('nobody@studio.test');
    await dialog().getByText('There is no user with this address.').waitFor();
    await field('Mail address').fill(developer);
    await field('API key').getByRole('option', { name: 'build server' }).waitFor({ state: 'attached' });
    await field('At most').fill('2');
    await field('What is counted').selectOption('microcredits');
    await shot('key');
    await press('Set');
    await closed();
    await section('limits').getByTestId('limit').filter({ hasText: 'Key build server' }).getByText('2.00 of 2.00 credits left').waitFor();
  });

  it('changes it: number, zone and warnings; what it is about stays', async () => {
    await press('Change', limit());
    assert.ok(await field('It is about').isDisabled());
    assert.equal(await field('Warn at (percent)').inputValue(), '40, 90');
    await field('At most').fill('2000');
    await field('Time zone').fill('Nowhere/Land');
    await press('Set');
    await dialog().getByText('There is no time zone with this name.').waitFor();
    const zone = farFromMidnight();
    await field('Time zone').fill(zone);
    await shot('change');
    await press('Set');
    await closed();
    await limit().getByText('2,000 of 2,000 tokens left').waitFor();
    await limit().getByText(zone).waitFor();
    assert.equal(await stack.sql(`SELECT soft FROM budget_policies WHERE scope = 'user_model'`), '{40,90}', 'a change of the number keeps the warnings');
  });

  it('warns when it is used up to one of its percentages: the admin, and the user', async () => {
    await use(820);
    await press('Refresh', section('limits'));
    await limit().getByText('above 40 %').waitFor();
    assert.equal(await stack.sql('SELECT percent FROM budget_warnings'), '40');
    await use(1000);
    await press('Refresh', section('limits'));
    await limit().getByText('above 90 %').waitFor();
    await own.reload();
    const mine = own.getByTestId('limit').filter({ hasText: model });
    await mine.getByText('above 90 %').waitFor();
    await mine.getByText('180 of 2,000 tokens left').waitFor();
    await shot('warned');
    await mine.scrollIntoViewIfNeeded();
    await shot('warned-own', own);
  });

  it('gives with a reason, and takes no more than there is', async () => {
    await press('Give or take', limit());
    await field('How many tokens').fill('0');
    await dialog().getByText('A number other than 0.').waitFor();
    await field('How many tokens').fill('-5000');
    await field('Why').fill('Too much was given.');
    await press('Book it');
    await dialog().getByText('That is more than there is to take.').waitFor();
    await field('How many tokens').fill('500');
    await field('Why').fill('The release is near.');
    await press('Book it');
    await closed();
    await limit().getByText('680 of 2,500 tokens left').waitFor();
    await limit().getByText('500 given').waitFor();
    await press('Give or take', limit());
    await dialog().getByText(`+500 · The release is near. · ${users.admin.email}`).waitFor();
    await shot('grant');
    await press('Cancel');
    assert.equal(await stack.sql(`SELECT amount, reason FROM budget_grants`), '500|The release is near.');
  });

  it('the dry run says for whom a request would be let in, in part, or not at all', async () => {
    await press('Dry run', section('limits'));
    await field('Whose request').fill('nobody@studio.test');
    await press('Look');
    await dialog().getByText('There is no user with this address.').waitFor();
    await field('Whose request').fill(developer);
    await field('Tokens of the prompt').fill('100');
    await field('Tokens of the answer, at most').fill('200');
    await press('Look');
    await dialog().getByText('It would be let in, and the longest answer fits.').waitFor();
    await dialog().getByText('0.00005 to 0.0007 credits').waitFor();
    await field('Tokens of the answer, at most').fill('5000');
    await press('Look');
    await dialog().getByText('It would be let in, but the longest answer does not fit').waitFor();
    await shot('dryrun-part');
    await field('Tokens of the prompt').fill('9000');
    await press('Look');
    await dialog().getByText('It would be refused.').waitFor();
    await dialog().getByText('680 of 2,500 tokens left, 9,256 needed').waitFor();
    await dialog().getByRole('listitem').getByText(`${developer} with ${model}`).waitFor();
    await shot('dryrun');
    await press('Close', dialog().locator('form'));
    await closed();
    await press('Dry run', own.locator('body'));
    await own.getByRole('dialog').getByLabel('Tokens of the prompt').fill('9000');
    await own.getByRole('dialog').getByRole('button', { name: 'Look' }).click();
    await own.getByRole('dialog').getByText('It would be refused.').waitFor();
    await shot('dryrun-own', own);
    await own.getByRole('dialog').locator('form').getByRole('button', { name: 'Close' }).click();
    assert.equal(await stack.sql('SELECT sum(held) FROM budget_windows'), '0', 'nothing was held');
  });

  it('sets a price that holds from a moment to come, and refuses one of the past', async () => {
    const prices = () => section('prices').getByTestId('price');
    await press('Change', prices().filter({ hasText: model }));
    assert.deepEqual([await field('Prompt').inputValue(), await field('Prompt, cached').inputValue(), await field('Answer').inputValue()], ['1', '0.5', '3']);
    await field('Prompt').fill('2');
    await field('Prompt, cached').fill('');
    await field('Answer').fill('6');
    await field('Holds from (UTC)').fill('2020-01-01T00:00');
    await press('Set a price');
    await dialog().getByText('A price cannot hold from a moment in the past.').waitFor();
    const next = new Date().getUTCFullYear() + 2; // the next one may begin just now
    await field('Holds from (UTC)').fill(`${next}-01-01T00:00`);
    await shot('price');
    await press('Set a price');
    await closed();
    await prices().nth(1).waitFor();
    const rows = (await prices().allInnerTexts()).map((text) => text.replaceAll(/\s+/g, ' '));
    assert.ok(rows.some((text) => text.startsWith(`${model} 2.00 2.00 6.00 from 01/01/${next}, 00:00 UTC`)), rows.join('\n'));
    assert.ok(rows.some((text) => text.startsWith(`${model} 1.00 0.50 3.00 from the start until 01/01/${next}, 00:00 UTC`)), rows.join('\n'));
    await section('prices').scrollIntoViewIfNeeded();
    await shot('prices');
  });

  it('sets how fast a user and a key may ask; the user sees it', async () => {
    const rates = section('rates');
    await rates.getByTestId('rate-default').getByText('Requests a minute: 600').waitFor();
    await press('Set how fast', rates);
    await field('Mail address').fill('nobody@studio.test');
    await field('Requests a minute').fill('0');
    await dialog().getByText('A whole number from 1 to 1,000,000, or nothing.').waitFor();
    await field('Requests a minute').fill('20');
    await press('Set');
    await dialog().getByText('There is no user with this address.').waitFor();
    await shot('rate-new');
    await field('Mail address').fill(developer);
    await field('At the same time').fill('3');
    await press('Set');
    await closed();
    const row = rates.getByTestId('rate').filter({ hasText: developer }).first();
    await row.getByText('Requests a minute: 20 · Tokens a minute: as everybody · At the same time: 3').waitFor();
    await press('Set how fast', rates);
    await field('Whose').selectOption('key');
    await field('Mail address').fill(developer);
    await field('API key').getByRole('option', { name: 'build server' }).waitFor({ state: 'attached' });
    await field('Tokens a minute').fill('5000');
    await shot('rate-key');
    await press('Set');
    await closed();
    const key = rates.getByTestId('rate').filter({ hasText: 'Key build server' });
    await key.getByText('Tokens a minute: 5,000').waitFor();
    await press('Change', key);
    await field('Tokens a minute').fill('7000');
    await shot('rate-change');
    await press('Set');
    await closed();
    await key.getByText('Tokens a minute: 7,000').waitFor();
    await rates.scrollIntoViewIfNeeded();
    await shot('rates');
    await own.reload();
    await own.getByTestId('pace').getByText('Requests a minute: 20 · Tokens a minute: any number · At the same time: 3').waitFor();
    await own.getByText('An admin has set this for you.').waitFor();
    await own.getByTestId('api-key').filter({ hasText: 'build server' }).getByText('Tokens a minute: 7,000').waitFor();
    await own.getByTestId('pace').scrollIntoViewIfNeeded();
    await shot('rates-own', own);
  });

  it('a user makes a key with limits of its own, and changes them', async () => {
    await own.getByRole('button', { name: 'New key' }).click();
    const box = own.getByRole('dialog');
    await box.getByLabel('What it is for').fill('night job');
    await box.getByLabel('At the same time').fill('1');
    await shot('key-new', own);
    await box.getByRole('button', { name: 'Make the key' }).click();
    await box.getByTestId('key').waitFor();
    await box.getByRole('button', { name: 'Close' }).last().click();
    const row = own.getByTestId('api-key').filter({ hasText: 'night job' });
    await row.getByText('At the same time: 1').waitFor();
    await row.getByRole('button', { name: 'How fast' }).click();
    await box.getByLabel('Requests a minute').fill('9');
    await shot('key-rate', own);
    await box.getByRole('button', { name: 'Set', exact: true }).click();
    await row.getByText('Requests a minute: 9').waitFor();
  });

  it('speaks German', async () => {
    await page.getByRole('button', { name: 'DE: Switch language to German' }).click();
    await section('limits').getByText('noch', { exact: false }).first().waitFor();
    await press('Grenze setzen', section('limits'));
    await shot('deutsch-neu');
    await press('Abbrechen');
    await press('Tempo setzen', section('rates'));
    await shot('deutsch-tempo');
    await press('Abbrechen');
    await press('Probelauf', section('limits'));
    await field('Wessen Anfrage').fill(developer);
    await field('Token des Prompts').fill('9000');
    await press('Nachsehen');
    await dialog().getByText('Sie würde abgelehnt.').waitFor();
    await shot('deutsch-probe');
    await press('Schließen', dialog().locator('form'));
    await section('rates').scrollIntoViewIfNeeded();
    await shot('deutsch');
    await page.setViewportSize({ width: 390, height: 900 });
    await section('rates').scrollIntoViewIfNeeded();
    await shot('schmal');
    await press('Grenze setzen', section('limits'));
    await shot('schmal-neu');
    await press('Abbrechen');
    await page.setViewportSize({ width: 1360, height: 1100 });
    await page.getByRole('button', { name: /^EN: / }).click();
  });

  it('removes limits and rates after one more question', async () => {
    await press('Remove', limit());
    await limit().getByText('From then on it refuses nothing.').waitFor();
    await press('Cancel', limit());
    await press('Remove', limit());
    await press('Remove now', limit());
    await limit().waitFor({ state: 'detached' });
    const key = section('rates').getByTestId('rate').filter({ hasText: 'Key build server' });
    await press('Remove', key);
    await key.getByText('Then the key has no limit of its own.').waitFor();
    await shot('remove');
    await press('Remove now', key);
    await key.waitFor({ state: 'detached' });
    assert.equal(await stack.sql(`SELECT tokens_per_minute IS NULL FROM api_keys WHERE name = 'build server'`), 't');
    assert.equal(await stack.sql(`SELECT count(*) FROM budget_policies WHERE scope = 'user_model' AND removed_at IS NULL`), '0');
  });

  it('the ledger adds up afterwards', async () => {
    const verify = await stack.command(['ledger', 'verify']);
    assert.equal(verify.code, 0, verify.stdout + verify.stderr);
  });

  it('saw no console error and no violated policy on the way', () => {
    const expected = (line) => /Failed to load resource: .*(400|401|404|409)/.test(line); // the browser's own line for each refused answer
    assert.deepEqual([...trouble, ...ownTrouble].filter((line) => !expected(line)), []);
  });
});
