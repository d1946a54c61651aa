// Sign-in with an OpenID provider in the browser: the button, the way there and back, what is told when somebody has to wait, and the admin who lets them in.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openBrowser, openContext, shots, signIn, themes, watch } from '../support/browser.mjs';
import { startProvider } from '../support/oidc_provider.mjs';
import { startStack, users } from '../support/stack.mjs';

describe('an OpenID provider in the browser', { timeout: 800_000 }, () => {
  let stack, provider, folder, browser, page, guest, trouble;
  const guestTrouble = [];

  before(async () => {
    provider = await startProvider();
    provider.who = { sub: 'grace-1', email: 'grace@corp.test', email_verified: true, name: 'Grace' };
    folder = mkdtempSync(join(tmpdir(), 'cds-oidc-'));
    chmodSync(folder, 0o755);
    writeFileSync(join(folder, 'secret'), provider.secret);
    stack = await startStack({
      llm: false, fresh: true,
      options: { 'oidc.issuer': provider.issuer, 'oidc.name': 'Example ID', 'oidc.client_id': provider.client, 'oidc.client_secret_file': join(folder, 'secret'), 'oidc.provision': 'pending', 'oidc.role': 'developer' },
    });
    ({ browser, page, trouble } = await openBrowser());
    ({ page: guest } = await openContext(browser, { locale: 'de-DE' }));
    await watch(guest, guestTrouble);
  });
  after(async () => {
    await browser?.close();
    await Promise.all([stack?.stop(), provider?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  const shot = async (of, name) => {
    for (const theme of themes) {
      await of.evaluate((one) => (document.documentElement.dataset.theme = one), theme);
      await of.waitForTimeout(400); // colours change softly
      await of.screenshot({ path: join(shots, `oidc-${name}-${theme}.png`) });
    }
  };

  it('is a button beside the password, which says what it is called', async () => {
    await page.goto(stack.url);
    await page.getByRole('button', { name: 'Sign in with Example ID' }).waitFor();
    await shot(page, 'login-en');
    await guest.goto(stack.url);
    await guest.getByRole('button', { name: 'Mit Example ID anmelden' }).waitFor();
    await shot(guest, 'login-de');
  });

  it('brings somebody new back to the sign-in, who is told to wait for an admin', async () => {
    await guest.getByRole('button', { name: 'Mit Example ID anmelden' }).click();
    await guest.getByText('Ihr Konto wartet darauf, dass ein Admin dieses Studios Sie zulässt.').waitFor();
    await shot(guest, 'pending-de');
    assert.equal(new URL(guest.url()).pathname, '/login');
  });

  it('shows the admin who waits, and lets them in by one click', async () => {
    await signIn(page, `${stack.url}/admin`, users.admin);
    const row = page.getByTestId('user').filter({ hasText: 'grace@corp.test' });
    await row.getByRole('button', { name: 'Let in' }).waitFor();
    await shot(page, 'admin');
    await row.getByRole('button', { name: 'Let in' }).click();
    await row.getByText('Active').waitFor();
  });

  it('signs in and opens the studio, with nothing of the provider in the address', async () => {
    await guest.getByRole('button', { name: 'Mit Example ID anmelden' }).click();
    await guest.waitForURL(`${stack.url}/code`);
    assert.equal(new URL(guest.url()).search, '');
    assert.equal(provider.asked.authorize, 2);
  });

  it('left no trouble in either console', () => {
    assert.deepEqual([...trouble, ...guestTrouble], []);
  });
});
