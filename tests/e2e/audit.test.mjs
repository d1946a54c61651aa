// The audit log in the browser: an admin reads it, narrows it down, and takes all of it away as a file whose chain holds; in both themes and languages.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openBrowser, shots, signIn, themes } from '../support/browser.mjs';
import { startStack, users } from '../support/stack.mjs';

describe('the audit log in the browser', { timeout: 800_000 }, () => {
  let stack, browser, page, trouble;
  before(async () => {
    stack = await startStack({ llm: false, fresh: true });
    const viewer = (await stack.rpc('user.list', { query: users.viewer.email }, 'admin')).users[0].user_id;
    await stack.rpc('user.set_role', { user_id: viewer, role: 'developer' }, 'admin');
    ({ browser, page, trouble } = await openBrowser({ height: 1400 }));
    await signIn(page, `${stack.url}/admin`, users.admin);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  const section = () => page.getByTestId('audit');
  const shot = async (name) => {
    for (const theme of themes) {
      await page.evaluate((one) => (document.documentElement.dataset.theme = one), theme);
      await page.waitForTimeout(400); // colours change softly
      await section().screenshot({ path: join(shots, `audit-${name}-${theme}.png`) });
    }
  };

  it('shows who did what, and what changed', async () => {
    const line = section().getByTestId('audit-line').filter({ hasText: 'user.set_role' }).first();
    await line.getByText(users.admin.email).waitFor();
    await section().getByTestId('audit-line').filter({ hasText: 'users update' }).filter({ hasText: '"role":"viewer"' }).first().waitFor();
    await shot('lines');
  });

  it('can be narrowed to acts that begin with a word', async () => {
    await section().getByLabel('Acts that begin with').fill('user.set_');
    await page.waitForFunction(() => [...document.querySelectorAll('[data-testid=audit-line]')].every((l) => l.textContent.includes('user.set_role')));
    await section().getByLabel('Acts that begin with').fill('nothing.like.it');
    await section().getByText('There is no such line.').waitFor();
    await section().getByLabel('Acts that begin with').fill('');
  });

  it('is exported as a file whose chain holds', async () => {
    const [download] = await Promise.all([page.waitForEvent('download'), section().getByRole('button', { name: 'Export all' }).click()]);
    const lines = readFileSync(await download.path(), 'utf8').trimEnd().split('\n').map((l) => JSON.parse(l));
    const { head } = lines.pop();
    let prev = '0'.repeat(64);
    for (const line of lines) {
      assert.equal(line.prev, prev);
      prev = createHash('sha256').update(Buffer.from(line.prev, 'hex')).update(line.text).digest('hex');
      assert.equal(line.hash, prev);
    }
    assert.equal(head.hash, prev);
    assert.equal(head.seq, lines.length);
  });

  it('speaks German too', async () => {
    await page.goto(`${stack.url}/account`);
    await page.getByRole('radio', { name: 'Deutsch' }).click();
    await page.goto(`${stack.url}/admin`);
    await page.getByRole('heading', { name: 'Prüfprotokoll' }).waitFor();
    await section().getByText('begonnen').first().waitFor();
    await shot('deutsch');
  });

  it('breaks nothing on the page', () => assert.deepEqual(trouble, []));
});
