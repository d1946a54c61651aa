// The way of a new user through a whole studio, in a real browser: first-admin link, edit, save, run, chat, account, sign out.
// Screenshots of every screen in both themes go to build/screenshots.
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openBrowser, openContext, shots, themes } from '../support/browser.mjs';
import { startStack, untilCaught, users, waitFor } from '../support/stack.mjs';

const screens = ['setup', 'login', 'code', 'run', 'chat', 'logs', 'account'];
const picture = (screen, theme) => join(shots, `${screen}-${theme}.png`);
const editedLine = 'print("edited in the browser")';
const { email, password, name } = users.admin;

describe('the spine in a browser', { timeout: 800_000 }, () => {
  let stack, browser, context, page, trouble;

  before(async () => {
    for (const screen of screens) for (const theme of themes) rmSync(picture(screen, theme), { force: true }); // none of an earlier run counts
    stack = await startStack({ setup: false });
    ({ browser, context, page, trouble } = await openBrowser());
    watchOrigins(page);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  /** Nothing comes from elsewhere, and no secret stands in an address. */
  function watchOrigins(target) {
    target.on('request', (request) => {
      const url = request.url();
      if (new URL(url).origin !== new URL(stack.url).origin && !url.startsWith('data:')) trouble.push(`request to another origin: ${url}`);
    });
    target.on('websocket', (socket) => {
      if (new URL(socket.url()).host !== new URL(stack.url).host) trouble.push(`socket to another origin: ${socket.url()}`);
      if (/bearer|token/.test(socket.url())) trouble.push(`a token in an address: ${socket.url()}`);
    });
  }

  const themeNow = () => page.evaluate(() => document.documentElement.dataset.theme);
  async function useTheme(theme) {
    if ((await themeNow()) === theme) return;
    const radio = page.getByRole('radio', { name: theme });
    if (await radio.count()) await radio.click();
    else await page.getByRole('button', { name: `Switch to ${theme}` }).click();
    await page.waitForFunction((wanted) => document.documentElement.dataset.theme === wanted, theme);
  }
  async function shoot(screen) {
    for (const theme of themes) {
      await useTheme(theme);
      await page.mouse.move(700, 400);
      await page.waitForTimeout(300); // colours fade for a moment
      await page.screenshot({ path: picture(screen, theme) });
    }
    await useTheme(themes[0]);
  }
  /** The Code page stays mounted while others are shown, so the visible one counts. */
  const seen = (id) => page.locator(`[data-testid=${id}]:visible`).first();
  const open = (area) => page.getByRole('navigation').getByRole('link', { name: area }).click();

  it('follows the system preference for the first theme', async () => {
    await page.goto(`${stack.url}/login`);
    await page.getByText('No account exists yet').waitFor();
    assert.equal(await themeNow(), 'NeonCyberNight');
    const { context: light, page: other } = await openContext(browser, { colorScheme: 'light' });
    await other.goto(`${stack.url}/login`);
    assert.equal(await other.evaluate(() => document.documentElement.dataset.theme), 'SerialSteel');
    await light.close();
  });

  it('refuses a setup link that is not complete', async () => {
    await page.goto(`${stack.url}/setup#token=short`);
    await page.getByRole('heading', { name: 'This link is not complete' }).waitFor();
  });

  it('makes the first admin through the link, and takes the token out of the address', async () => {
    await page.goto('about:blank');
    await page.goto(stack.setupLink);
    await page.getByRole('heading', { name: 'Make the first admin' }).waitFor();
    assert.equal(new URL(page.url()).hash, '');
    await page.getByLabel('Mail address').fill(email);
    await page.getByLabel('Your name').fill(name);
    const field = page.getByLabel('Password', { exact: true });
    await field.fill('short');
    assert.ok(await page.getByRole('button', { name: /Create admin/ }).isDisabled());
    await field.fill(password);
    assert.equal(await field.getAttribute('type'), 'password');
    await page.getByRole('button', { name: 'Show password' }).click();
    await page.locator('input[type=text]').and(field).waitFor();
    await page.getByRole('button', { name: 'Hide password' }).click();
    await shoot('setup');
    await page.getByRole('button', { name: /Create admin/ }).click();
    await page.waitForURL('**/code');
  });

  it('opens the sample project with the editor ready', async () => {
    await page.locator('.monaco-editor .view-lines').waitFor();
    await page.getByRole('treeitem', { name: 'main.py' }).waitFor();
    await page.getByRole('treeitem', { name: 'hello.c' }).waitFor();
    await page.getByRole('treeitem', { name: 'hello.js' }).waitFor();
    await page.getByTestId('connection').getByText('Connected').waitFor();
    await page.getByTestId('tokens-left').getByText(/tokens left this month|No token limit/).waitFor();
  });

  it('keeps no token where a script of another day could find it', async () => {
    const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
    assert.doesNotMatch(stored, /eyJ/);
    assert.equal(await page.evaluate(() => document.cookie), '');
  });

  it('edits and saves a file', async () => {
    await page.locator('.monaco-editor .view-lines').click();
    await page.keyboard.press('Control+End');
    await page.keyboard.type(`\n${editedLine}\nimport sys; sys.stderr.write("to stderr\\n")\n`);
    await page.getByRole('tab', { name: /main\.py.*unsaved/ }).waitFor();
    await page.keyboard.press('Control+S');
    await page.getByRole('tab', { name: /^main\.py$/ }).waitFor();
    assert.ok(await page.getByRole('button', { name: 'Save' }).isDisabled());
  });

  it('runs it and shows stdout, stderr and the exit code', async () => {
    await page.getByRole('button', { name: 'Run', exact: true }).click();
    await seen('verdict').waitFor();
    await waitFor('its end', async () => /Finished\s*exit code 0/.test(await seen('verdict').innerText()));
    for (const part of [/edited in the browser/, /stderr:\s*to stderr/]) await waitFor(String(part), async () => part.test(await seen('output').innerText()));
    await shoot('code');
  });

  it('asks before it overwrites a file that changed on the server', async () => {
    await page.evaluate(() => window.scrollTo(0, 0));
    const { access_token: token } = await login();
    const call = (method, params) => rpc(token, method, params);
    const { projects } = await call('project.list', {});
    await page.locator('.monaco-editor .view-lines').click();
    await page.keyboard.type('# mine');
    await page.getByRole('tab', { name: /main\.py.*unsaved/ }).waitFor();
    await call('fs.write', { project: projects[0].id, path: 'main.py', content: 'print("from elsewhere")\n' });
    await page.keyboard.press('Control+S');
    await page.getByRole('heading', { name: 'main.py changed on the server' }).waitFor();
    await page.getByRole('button', { name: "Load the server's text" }).click();
    await page.locator('.view-lines').getByText('from elsewhere').waitFor();
    assert.equal((await call('fs.read', { project: projects[0].id, path: 'main.py' })).content, 'print("from elsewhere")\n');
  });

  it('shows what something else writes: a new file in the tree, a new text of an open file without changes', async () => {
    const { access_token: token } = await login();
    const { projects } = await rpc(token, 'project.list', {});
    await rpc(token, 'fs.write', { project: projects[0].id, path: 'elsewhere.txt', content: 'x' });
    await page.getByRole('treeitem', { name: 'elsewhere.txt' }).waitFor();
    await rpc(token, 'fs.write', { project: projects[0].id, path: 'main.py', content: 'print("once more")\n' });
    await page.locator('.view-lines').getByText('once more').waitFor();
    await rpc(token, 'fs.delete', { project: projects[0].id, path: 'elsewhere.txt' });
    await page.getByRole('treeitem', { name: 'elsewhere.txt' }).waitFor({ state: 'detached' });
  });

  it('makes, renames and deletes a file in the tree', async () => {
    const dialog = page.getByRole('dialog');
    const item = page.getByRole('treeitem', { name: 'first.md' });
    await page.getByRole('button', { name: 'New file', exact: true }).click();
    await dialog.getByLabel('Name').fill('notes/first.md');
    await dialog.getByRole('button', { name: 'Create' }).click();
    await item.waitFor();
    await item.press('F2');
    await dialog.getByLabel('New path in the project').fill('notes/second.md');
    await dialog.getByRole('button', { name: 'Rename' }).click();
    const renamed = page.getByRole('treeitem', { name: 'second.md' });
    await renamed.waitFor();
    await page.getByRole('tab', { name: 'second.md' }).waitFor();
    await renamed.press('Delete');
    await dialog.getByRole('button', { name: 'Delete for good' }).click();
    await renamed.waitFor({ state: 'detached' });
    await page.getByRole('tab', { name: 'second.md' }).waitFor({ state: 'detached' });
  });

  it('runs typed code with arguments and input, and shows a failing exit code', async () => {
    await open('Run');
    await page.getByLabel('What to run').selectOption('code');
    await page.getByLabel('Code', { exact: true }).fill('import sys\nprint(sys.argv[1], sys.stdin.read())\nsys.exit(3)');
    await page.getByLabel('Arguments, one per line').fill('two words');
    await page.getByLabel('Standard input').fill('typed in');
    await page.getByRole('form', { name: 'Run' }).getByRole('button', { name: 'Run' }).click();
    await seen('verdict').getByText('exit code 3').waitFor();
    await seen('output').getByText('two words typed in').waitFor();
    await shoot('run');
  });

  it('stops a run', async () => {
    await page.getByLabel('Code', { exact: true }).fill('import time\nprint("started", flush=True)\ntime.sleep(60)');
    await page.getByRole('form', { name: 'Run' }).getByRole('button', { name: 'Run' }).click();
    await seen('output').getByText('started').waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await seen('verdict').getByText('Stopped by you').waitFor();
  });

  it('streams an answer of the model and shows its tokens and cost', async () => {
    await open('Chat');
    await page.getByTestId('model-state').getByText(/ready/).waitFor({ timeout: 240_000 });
    await page.getByLabel('Longest answer').selectOption('64');
    const usages = page.getByTestId('usage');
    // What a model writes is chance, and so is how much: where it was hardly anything, nothing could grow, and it is asked again.
    await untilCaught('an answer of some length', async () => {
      const whole = await usages.count();
      await page.getByLabel('Your message').fill('Write three sentences about the city of Paris.');
      const lengths = page.evaluate(
        (before) =>
          new Promise((done) => {
            const seen = new Set();
            const log = document.querySelector('[role=log]');
            const observer = new MutationObserver(() => {
              seen.add(log.querySelector('article:last-of-type')?.textContent.length ?? 0);
              if (log.querySelectorAll('[data-testid=usage]').length <= before) return;
              observer.disconnect();
              done(seen.size);
            });
            observer.observe(log, { childList: true, subtree: true, characterData: true });
          }),
        whole,
      );
      await page.keyboard.press('Enter');
      await usages.nth(whole).waitFor({ timeout: 240_000 });
      const usage = /^([\d,]+) read \+ ([\d,]+) written = ([\d,]+) tokens$/.exec(await usages.nth(whole).innerText());
      assert.ok(usage, 'tokens are shown');
      const [read, written, total] = usage.slice(1).map((n) => Number(n.replaceAll(',', '')));
      assert.equal(read + written, total);
      assert.ok(written <= 64);
      assert.match(await page.getByTestId('cost').nth(whole).innerText(), /^[\d,]+\.\d{2,6} credits$/);
      if (written < 16) return false;
      assert.ok((await lengths) > 3, `the answer grew in ${await lengths} steps only`);
      return true;
    });
    await shoot('chat');
  });

  it('stops an answer and keeps what was written', async () => {
    await page.getByLabel('Longest answer').selectOption('2048');
    const [busy, usage] = [page.locator('[role=log] article[aria-busy=true]'), page.getByTestId('usage')];
    const stopped = page.getByRole('log').getByText('Stopped', { exact: true });
    // What a model writes is chance, and so is when it ends: then there was nothing to stop, and it is asked again.
    while ((await stopped.count()) === 0) {
      const whole = await usage.count();
      await page.getByLabel('Your message').fill('Tell me a very long story about a lighthouse.');
      await page.keyboard.press('Enter');
      await waitFor('much of an answer, or all', async () => (await usage.count()) > whole || (await busy.allInnerTexts()).some((text) => text.length > 60), Infinity, 5);
      await page.evaluate(() => [...document.querySelectorAll('button')].find((one) => one.textContent.trim() === 'Stop')?.click());
      await waitFor('it has stopped or ended', async () => (await usage.count()) > whole || (await stopped.count()) > 0);
    }
    assert.ok((await stopped.locator('xpath=ancestor::article').innerText()).length > 60, 'what was written stays');
  });

  it('shows log lines live and filters them', async () => {
    await open('Logs');
    const lines = page.getByRole('log', { name: 'Log lines' });
    await lines.getByRole('button').first().waitFor();
    await page.getByText('Live', { exact: true }).waitFor();
    await shoot('logs');
    await page.getByLabel('Find in lines (text, request id, process)').fill('no such words anywhere');
    await page.getByText(/matches this filter/).waitFor();
    await page.getByLabel('Find in lines (text, request id, process)').fill('');
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByRole('button', { name: 'Resume' }).click();
  });

  it('shows the usage on the account page', async () => {
    await page.keyboard.press('Alt+5');
    await page.waitForURL('**/account');
    await page.getByRole('heading', { name: 'My account' }).waitFor();
    await waitFor('the requests of the month', async () => /Requests\s+[1-9]/.test(await page.getByTestId('month').innerText()));
    await page.getByRole('cell', { name: /settled|cancelled|ended/i }).first().waitFor();
    await shoot('account');
  });

  it('speaks German, and says so to the browser', async () => {
    await page.getByRole('radio', { name: 'Deutsch' }).click();
    await page.getByRole('heading', { name: 'Mein Konto' }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'de');
    await page.getByRole('radio', { name: 'English' }).click();
    await page.getByRole('heading', { name: 'My account' }).waitFor();
  });

  it('finds commands with F1 and moves with Alt and digits', async () => {
    await page.keyboard.press('F1');
    await page.getByRole('combobox', { name: 'Type to find a command' }).fill('chat');
    await page.keyboard.press('Enter');
    await page.waitForURL('**/chat');
    for (const [digit, area] of [['1', 'code'], ['2', 'run'], ['4', 'logs'], ['3', 'chat']]) {
      await page.keyboard.press(`Alt+${digit}`);
      await page.waitForURL(`**/${area}`);
    }
  });

  it('stays signed in over a reload', async () => {
    await page.goto(`${stack.url}/account`);
    await page.getByRole('heading', { name: 'My account' }).waitFor();
  });

  it('signs out, and a protected address then shows the sign-in form', async () => {
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Welcome back' }).waitFor();
    await page.goto(`${stack.url}/code`);
    await page.getByRole('heading', { name: 'Welcome back' }).waitFor();
    assert.equal(await page.locator('.monaco-editor').count(), 0);
    await shoot('login');
  });

  it('left a picture of every screen in both themes', () => {
    for (const screen of screens) {
      const [one, other] = themes.map((theme) => readFileSync(picture(screen, theme)));
      for (const picture of [one, other]) assert.equal(picture.subarray(1, 4).toString(), 'PNG', screen);
      assert.notDeepEqual(one, other, `${screen} looks the same in both themes`);
    }
  });

  it('saw no console error, no foreign request and no violated policy on the way', () => {
    assert.deepEqual(trouble, []);
  });

  it('tells a used setup link from a wrong password', async () => {
    await page.goto('about:blank');
    await page.goto(stack.setupLink);
    await page.getByRole('heading', { name: 'This link has been used' }).waitFor();
    await page.getByRole('button', { name: 'Go to sign in' }).click();
    await page.getByLabel('Mail address').fill(email);
    await page.getByLabel('Password', { exact: true }).fill('not the password');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').getByText('Address or password is wrong. An admin can make a link to set a new password.').waitFor();
    await page.getByLabel('Password', { exact: true }).fill(password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.locator('.monaco-editor .view-lines').waitFor();
  });

  async function login() {
    const answer = await fetch(`${stack.url}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ email, password }) });
    assert.equal(answer.status, 200);
    return answer.json();
  }
  async function rpc(token, method, params) {
    const answer = await fetch(`${stack.url}/rpc`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
    const { result, error } = await answer.json();
    assert.equal(error, undefined);
    return result;
  }
});
