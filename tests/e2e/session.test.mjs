// A page that stays open: tokens are renewed by themselves, a gateway that dies comes back, a sign-out reaches the other tabs.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { lookOut, openBrowser, signIn } from '../support/browser.mjs';
import { startStack, users } from '../support/stack.mjs';

describe('a page that stays open', { timeout: 800_000 }, () => {
  let stack, browser, context, page, trouble;

  before(async () => {
    stack = await startStack({ llm: false, env: { CDS_AUTH_ACCESS_S: '10' } });
    ({ browser, context, page, trouble } = await openBrowser());
    await signIn(page, `${stack.url}/run`, users.developer);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  async function run(code) {
    await page.getByLabel('What to run').selectOption('code');
    await page.getByLabel('Language', { exact: true }).selectOption('sh');
    await page.getByLabel('Code', { exact: true }).fill(code);
    await page.getByRole('form', { name: 'Run' }).getByRole('button', { name: 'Run' }).click();
  }
  const output = (text) => page.locator('[data-testid=output]:visible').getByText(text).waitFor();

  it('goes to the address that was asked for after signing in', () => {
    assert.equal(new URL(page.url()).pathname, '/run');
  });

  it('renews its token before it ends, without a break or a console error', async () => {
    for (let n = 0; n < 3; n++) {
      const answer = await page.waitForResponse((response) => response.url().endsWith('/auth/refresh'));
      assert.equal(answer.status(), 200);
    }
    await run('echo after-renewal');
    await output('after-renewal');
    assert.deepEqual(trouble, []);
  });

  it('keeps a run alive that is longer than its token', async () => {
    await run('echo begin-long; sleep 14; echo end-long');
    await output('end-long');
    assert.deepEqual(trouble, []);
  });

  it('shows that the gateway is away, and is back by itself', async () => {
    const { api } = await stack.pids();
    const away = await lookOut(page, 'connection', /Connection away|Connecting/);
    process.kill(api, 'SIGKILL');
    await away();
    await stack.waitPart('api', api);
    await page.getByTestId('connection').getByText('Connected').waitFor();
    await run('echo after-the-gateway-came-back');
    await output('after-the-gateway-came-back');
  });

  it('signs out in every tab', async () => {
    const other = await context.newPage();
    await other.goto(`${stack.url}/account`);
    await other.getByRole('button', { name: 'Sign out' }).click();
    await other.getByRole('heading', { name: 'Welcome back' }).waitFor();
    await page.getByRole('heading', { name: 'Welcome back' }).waitFor();
  });
});
