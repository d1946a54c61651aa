// Users and sessions in the browser: an admin invites, the person opens the link, both see what happens to the account, in both themes and languages.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openBrowser, openContext, shots, signIn, themes, watch } from '../support/browser.mjs';
import { startStack, users } from '../support/stack.mjs';

const email = 'grace@studio.test';
const password = 'Tall-Copper-Kettles';

describe('accounts in the browser', { timeout: 800_000 }, () => {
  let stack, browser, page, guest, trouble, link;
  const guestTrouble = [];

  before(async () => {
    stack = await startStack({ llm: false, fresh: true });
    ({ browser, page, trouble } = await openBrowser());
    await signIn(page, `${stack.url}/admin`, users.admin);
    ({ page: guest } = await openContext(browser));
    await watch(guest, guestTrouble);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  const row = () => page.getByTestId('user').filter({ hasText: email });
  const shot = async (of, name) => {
    for (const theme of themes) {
      await of.evaluate((one) => (document.documentElement.dataset.theme = one), theme);
      await of.waitForTimeout(400); // colours change softly
      await of.screenshot({ path: join(shots, `accounts-${name}-${theme}.png`) });
    }
  };

  it('shows the users to an admin, the admin among them', async () => {
    await page.getByRole('heading', { name: 'Users' }).waitFor();
    await page.getByTestId('user').filter({ hasText: users.admin.email }).getByText('That is you').waitFor();
  });

  it('invites somebody and shows the link once', async () => {
    await page.getByRole('button', { name: 'Invite somebody' }).click();
    await page.getByLabel('Mail address').fill(email);
    await page.getByRole('button', { name: 'Make the link' }).click();
    link = await page.getByTestId('link').innerText();
    assert.match(link, /\/invite#token=[A-Za-z0-9_-]{43}$/);
    await shot(page, 'link');
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).last().click();
    await row().getByText('Invited').waitFor();
    await page.getByText(link).waitFor({ state: 'detached' });
  });

  it('lets the person choose a password through the link, and takes the token out of the address', async () => {
    await guest.goto(link);
    await guest.getByRole('heading', { name: 'Welcome: choose your password' }).waitFor();
    assert.equal(new URL(guest.url()).hash, '');
    await shot(guest, 'invite');
    await guest.getByLabel('Your name').fill('Grace');
    await guest.getByLabel('New password').fill(password);
    await guest.getByRole('button', { name: 'Set password and sign in' }).click();
    await guest.getByTestId('connection').getByText('Connected').waitFor();
    await page.getByRole('heading', { name: 'Users' }).locator('..').getByRole('button', { name: 'Refresh' }).click();
    await row().getByText('Active').waitFor();
  });

  it('keeps the admin page out of the page of others', async () => {
    assert.equal(await guest.locator('a[href="/admin"]').count(), 0);
    await guest.goto(`${stack.url}/admin`);
    await guest.getByTestId('connection').getByText('Connected').waitFor();
    assert.equal(await guest.getByTestId('user').count(), 0);
    assert.equal(await guest.getByRole('heading', { name: 'Users' }).count(), 0);
  });

  it('shows the sessions of the person, who ends the other one', async () => {
    await fetch(`${stack.authUrl}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json', 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0' }, body: JSON.stringify({ email, password }) });
    await guest.goto(`${stack.url}/account`);
    const other = guest.getByTestId('session').filter({ hasText: 'Firefox, Linux' });
    await other.waitFor();
    await shot(guest, 'sessions');
    await other.getByRole('button').click();
    await other.waitFor({ state: 'detached' });
    await guest.getByTestId('session').getByText('This browser').waitFor();
  });

  it('makes an API key that is shown once, and revokes it after one more question', async () => {
    await guest.getByRole('button', { name: 'New key' }).click();
    await guest.getByLabel('What it is for').fill('build server');
    await guest.getByLabel('llm', { exact: true }).check();
    await shot(guest, 'key-new');
    await guest.getByRole('button', { name: 'Make the key' }).click();
    const key = await guest.getByTestId('key').innerText();
    assert.match(key, /^cds_key_[0-9a-f]{32}_[A-Za-z0-9_-]{43}_[0-9a-f]{8}$/);
    await guest.getByRole('dialog').getByRole('button', { name: 'Close' }).last().click();
    const row = guest.getByTestId('api-key').filter({ hasText: 'build server' });
    await row.getByText('llm').waitFor();
    await shot(guest, 'keys');
    await row.getByRole('button', { name: 'Revoke' }).click();
    await row.getByRole('button', { name: 'Revoke now' }).click();
    await row.waitFor({ state: 'detached' });
  });

  it('changes the password, and says so when the old one is wrong', async () => {
    await guest.getByLabel('Present password').fill('not-the-password');
    await guest.getByLabel('New password').fill('Nine-Silver-Ladders');
    await guest.getByRole('button', { name: 'Change password' }).click();
    await guest.getByText('The present password is wrong.').waitFor();
    await guest.getByLabel('Present password').fill(password);
    await guest.getByRole('button', { name: 'Change password' }).click();
    await guest.getByText('The password is changed').waitFor();
  });

  it('gives the person another role at once: the admin page appears without a reload', async () => {
    await row().getByRole('combobox').selectOption('admin');
    await guest.locator('a[href="/admin"]').waitFor();
    await row().getByRole('combobox').selectOption('developer');
    await guest.locator('a[href="/admin"]').waitFor({ state: 'detached' });
  });

  it('refuses to take the last admin away, in the language of the page', async () => {
    await page.getByTestId('user').filter({ hasText: users.admin.email }).getByRole('combobox').selectOption('viewer');
    await page.getByText('This is the last active admin.').waitFor();
    await page.getByRole('button', { name: 'DE: ' }).click();
    await page.getByText('Das ist der letzte aktive Admin.').waitFor();
    await shot(page, 'users-de');
    await page.getByRole('button', { name: 'EN: ' }).click();
  });

  it('blocks the person after one more question; the open page says why and asks to sign in', async () => {
    await row().getByRole('button', { name: 'Block' }).click();
    await row().getByRole('button', { name: 'Block now' }).click();
    await guest.getByRole('heading', { name: 'Welcome back' }).waitFor();
    await guest.getByText('This account is blocked.').waitFor();
    await shot(guest, 'blocked');
    await row().getByText('Blocked').waitFor();
    await page.getByText('This is the last active admin.').waitFor({ state: 'detached' });
    await shot(page, 'users');
  });

  it('tells of a link that has been used', async () => {
    await guest.goto(link);
    await guest.reload(); // the same page with another fragment
    await guest.goto('about:blank');
    await guest.goto(link);
    await guest.getByRole('heading', { name: 'This link has been used' }).waitFor();
  });

  it('saw no console error and no violated policy on the way', () => {
    const expected = (line) => /Failed to load resource: .*(401|403)/.test(line); // the browser's own line for each refused answer
    assert.deepEqual([...trouble, ...guestTrouble].filter((line) => !expected(line)), []);
  });
});
