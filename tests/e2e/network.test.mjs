// The network list of a project in a real browser: read and changed by its owner, with errors in words, in both languages and both themes.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openBrowser, shots, signIn, themes } from '../support/browser.mjs';
import { startStack, users } from '../support/stack.mjs';

describe('the network of a project in a browser', { timeout: 800_000 }, () => {
  let stack, browser, context, page, trouble;

  before(async () => {
    stack = await startStack({ llm: false, options: { 'egress.hosts': '*.example.org pypi.org' } });
    ({ browser, context, page, trouble } = await openBrowser());
    await signIn(page, `${stack.url}/run`, users.developer);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  const get = () => stack.rpc('project.network.get', { project: stack.project });
  const dialog = (name) => page.getByRole('dialog', { name });
  async function shoot(name) {
    for (const theme of themes) {
      await page.evaluate((to) => (document.documentElement.dataset.theme = to), theme);
      await page.waitForTimeout(900);
      await page.screenshot({ path: join(shots, `network-${name}-${theme}.png`) });
    }
  }

  it('is off at first, and the owner names hosts, one per line', async () => {
    await page.getByRole('button', { name: 'Network' }).click();
    const box = dialog('Network of this project');
    await box.getByText('*.example.org pypi.org').waitFor();
    assert.equal(await box.getByLabel('Network', { exact: true }).inputValue(), 'off');
    await box.getByLabel('Network', { exact: true }).selectOption('allow');
    await box.getByLabel('Hosts, one per line').fill('PyPI.org\n\nfiles.example.org');
    await shoot('filled');
    await box.getByRole('button', { name: 'Save' }).click();
    await box.waitFor({ state: 'hidden' });
    assert.deepEqual(await get(), { mode: 'allow', rules: ['pypi.org', 'files.example.org'], hosts: ['*.example.org', 'pypi.org'] });
  });

  it('says which entry cannot stay, and why, and keeps what was typed', async () => {
    await page.getByRole('button', { name: 'Network' }).click();
    const box = dialog('Network of this project');
    assert.equal(await box.getByLabel('Hosts, one per line').inputValue(), 'pypi.org\nfiles.example.org');
    await box.getByLabel('Hosts, one per line').fill('pypi.org\nregistry.test');
    await box.getByRole('button', { name: 'Save' }).click();
    await box.getByText('Entry 2, registry.test, cannot stay like this.').waitFor();
    await box.getByText('is not among the hosts that projects of this studio may name').waitFor();
    await box.getByText('Rule egress.hosts').waitFor();
    await shoot('refused');
    await box.getByLabel('Hosts, one per line').fill('https://pypi.org/simple');
    await box.getByRole('button', { name: 'Save' }).click();
    await box.getByText('Entry 1, https://pypi.org/simple, cannot stay like this.').waitFor();
    await page.keyboard.press('Escape');
    await box.waitFor({ state: 'hidden' });
    assert.deepEqual((await get()).rules, ['pypi.org', 'files.example.org']);
  });

  it('a run says that it had the list, and the list can be switched off again', async () => {
    await page.getByLabel('What to run').selectOption('code');
    await page.locator('form textarea').first().fill('print("with a list")');
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await page.getByTestId('output').getByText('with a list').waitFor();
    await page.getByText('allow-list').waitFor();
    await page.getByRole('button', { name: 'Network' }).click();
    const box = dialog('Network of this project');
    await box.getByLabel('Network', { exact: true }).selectOption('off');
    await box.getByRole('button', { name: 'Save' }).click();
    await box.waitFor({ state: 'hidden' });
    assert.deepEqual(await get(), { mode: 'off', rules: ['pypi.org', 'files.example.org'], hosts: ['*.example.org', 'pypi.org'] });
  });

  it('speaks German', async () => {
    await page.getByRole('button', { name: /^DE/ }).click();
    await page.getByRole('button', { name: 'Netz' }).click();
    await dialog('Netz dieses Projekts').getByText('Was schon läuft, behält die Liste').waitFor();
    await shoot('de');
    await page.keyboard.press('Escape');
  });

  it('saw no console error on the way', () => assert.deepEqual(trouble.filter((text) => !/status of 40[03]/.test(text)), []));
});
