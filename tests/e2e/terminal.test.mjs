// Terminals in a real browser: typed into, left by a reload and by a lost gateway, found again; several, closed with a question; by key alone.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { lookOut, openBrowser, openContext, shots, signIn, themes } from '../support/browser.mjs';
import { startStack, timely, users, waitFor } from '../support/stack.mjs';

const ESC = '\\033';

describe('terminals in a browser', { timeout: 800_000 }, () => {
  let stack, browser, context, page, trouble;

  before(async () => {
    stack = await startStack({ llm: false, options: { 'term.per_project': 3 } });
    ({ browser, context, page, trouble } = await openBrowser());
    await signIn(page, `${stack.url}/terminal`, users.developer);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  /** What stands on the screen: xterm paints one element per row. */
  const rows = () => page.locator('.xterm-rows > div').allInnerTexts();
  const screen = async () => (await rows()).map((row) => row.replaceAll('\u00a0', ' ').trimEnd()).join('\n');
  const sees = (what) => waitFor(String(what), async () => (what instanceof RegExp ? what.test(await screen()) : (await screen()).includes(what))).catch(async (error) => {
    throw Object.assign(error, { message: `${error.message}\n${await screen()}` });
  });
  const attached = () => page.getByTestId('terminal-state').getByText('Attached').waitFor();
  const tab = (name) => page.getByRole('tab', { name });
  const listed = async () => (await stack.rpc('term.list', { project: stack.project })).terminals;
  async function type(text) {
    await page.keyboard.type(text);
    await page.keyboard.press('Enter');
  }
  async function shoot(name) {
    for (const theme of themes) {
      if ((await page.evaluate(() => document.documentElement.dataset.theme)) !== theme) await page.getByRole('button', { name: `Switch to ${theme}` }).click();
      await page.waitForTimeout(400);
      await page.screenshot({ path: join(shots, `${name}-${theme}.png`) });
    }
    await page.getByRole('button', { name: `Switch to ${themes[0]}` }).click();
    if (await page.locator('.xterm').count()) await page.locator('.xterm').click();
  }

  it('says what a terminal is before there is one', async () => {
    await page.getByRole('heading', { name: 'No terminal is open' }).waitFor();
    await shoot('terminal-empty');
  });

  it('opens a shell and shows what a command writes', async () => {
    await page.getByRole('button', { name: 'Open a shell' }).click();
    await attached();
    await sees('$');
    await type('echo hi');
    await sees(/^hi$/m);
    assert.deepEqual(trouble, []);
  });

  it('is as large as its place, and follows it', async () => {
    // The first one is opened before it has a place, and is told its size once that rests.
    const first = await waitFor('it fills its place', async () => { const [now] = await listed(); return now.cols > 100 && now.rows > 25 ? now : null; });
    await page.setViewportSize({ width: 900, height: 600 });
    // A page may find its new layout in steps: the shell is asked again when it was told another size meanwhile.
    let asked = null;
    await waitFor('a smaller terminal', async () => {
      const [now] = await listed();
      if (now.cols >= first.cols || now.rows >= first.rows) return false;
      const size = `${now.rows} ${now.cols}`;
      if (asked !== size) await type('stty size');
      asked = size;
      return (await screen()).split('\n').includes(size);
    });
    await page.setViewportSize({ width: 1360, height: 820 });
    await waitFor('it has grown back', async () => (await listed())[0].cols === first.cols);
  });

  it('paints colours and wide characters in both themes', async () => {
    await type(`clear; for i in 1 2 3 4 5 6; do printf '${ESC}[3'$i'mcolour '$i' ${ESC}[9'$i'mbright ${ESC}[0m'; done; echo; printf '${ESC}[1mbold${ESC}[0m ${ESC}[4mline${ESC}[0m ${ESC}[7mreverse${ESC}[0m \\u4f60\\u597d \\u00e4\\u00f6\\u00fc \\u2502\\u2500\\n'; ls -la`);
    await sees(/bold line reverse 你好 äöü/);
    await shoot('terminal');
  });

  it('lets no sequence of a program reach beyond the screen', async () => {
    const title = await page.title();
    await type(`printf '${ESC}]52;c;aGlkZGVu\\007${ESC}]0;stolen\\007${ESC}]2;stolen\\007${ESC}[21t${ESC}P$qm${ESC}\\\\'; echo after-the-escapes`);
    await sees(/^after-the-escapes$/m);
    await type('echo nothing-was-typed');
    await sees(/\n~ \$ echo nothing-was-typed\nnothing-was-typed/); // no answer of the terminal stands before it
    assert.equal(await page.title(), title);
    await type(`echo '<img src=x onerror=alert(1)><script>alert(2)</script>'`);
    await sees(/\n<img src=x onerror=alert\(1\)>/);
    assert.equal(await page.locator('.xterm img, .xterm script').count(), 0);
    assert.deepEqual(trouble, []);
  });

  it('is found again after a reload, with what stood there and what came meanwhile', async () => {
    await type('clear; echo before-the-reload; sleep 2; echo during-the-reload');
    await sees(/^before-the-reload$/m);
    await page.reload();
    await attached();
    await sees(/before-the-reload\nduring-the-reload/);
    await type('echo and-after');
    await sees(/^and-after$/m);
    assert.equal((await listed()).length, 1);
  });

  it('answers nothing when a question of a program is only replayed', async () => {
    await type(`clear; printf '${ESC}[6n${ESC}[c'; sleep 0.3; echo; echo asked`); // the answers are typed into the shell once
    await sees(/^asked$/m);
    await page.keyboard.press('Control+c');
    await type('clear; echo clean');
    await sees(/^clean\n~ \$$/m); // with the prompt, the last that the shell writes
    const before = (await listed())[0].next_seq;
    await page.reload();
    await attached();
    await sees(/^clean$/m);
    await page.waitForTimeout(500);
    assert.equal((await listed())[0].next_seq, before, 'the replay made the shell write');
  });

  it('goes on while another area is shown', async () => {
    await page.getByRole('navigation').getByRole('link', { name: 'Run' }).click();
    await page.getByRole('navigation').getByRole('link', { name: 'Terminal' }).click();
    await sees(/^clean$/m);
    await type('echo back-again');
    await sees(/^back-again$/m);
  });

  it('stops a flood with one key, and the page stays alive', async () => {
    await type('yes 0123456789012345678901234567890123456789');
    await sees(/0123456789/);
    await page.waitForTimeout(2000);
    const began = Date.now();
    await page.keyboard.press('Control+c');
    await sees(/\^C[^]*\$ *$/);
    timely(Date.now() - began, 5000);
    await type('echo alive');
    await sees(/^alive$/m);
    assert.deepEqual(trouble, []);
  });

  it('can be left by key, walked and opened without a mouse', async () => {
    await page.getByText('leaves the terminal for its tabs').waitFor();
    await page.keyboard.press('F6');
    await page.waitForFunction(() => document.activeElement?.getAttribute('role') === 'tab');
    await page.getByLabel('Program of a new terminal').selectOption('python');
    await page.getByRole('button', { name: 'New terminal' }).press('Enter');
    await sees('>>>');
    await type('print(6 * 7)');
    await sees(/\n42/);
    await page.keyboard.press('F6');
    await page.waitForFunction(() => document.activeElement?.getAttribute('role') === 'tab');
    await page.keyboard.press('ArrowLeft');
    await sees(/alive/);
    await page.keyboard.press('Alt+1'); // the areas stay within reach
    await waitFor('the code area', () => new URL(page.url()).pathname === '/code');
    await page.keyboard.press('Alt+6');
    await waitFor('the terminal', () => new URL(page.url()).pathname === '/terminal');
    await shoot('terminal-tabs');
  });

  it('says that all places are taken', async () => {
    await page.getByLabel('Program of a new terminal').selectOption('shell');
    await page.getByRole('button', { name: 'New terminal' }).click();
    await tab(/^3: Shell/).waitFor();
    await page.getByRole('button', { name: 'New terminal' }).click();
    await page.getByText('All 3 places for terminals of this project are taken.').waitFor();
    await shoot('terminal-full');
    await page.getByRole('alert').getByRole('button', { name: 'Close' }).click();
  });

  it('closes an idle shell at once, and asks where something runs', async () => {
    await waitFor('idle prompts', async () => (await listed()).every((one) => one.busy === (one.program === 'python')));
    await page.getByRole('button', { name: 'Close 3: Shell' }).click();
    await waitFor('it is gone', async () => (await listed()).length === 2);
    await tab(/^2: Python/).click();
    await page.getByRole('button', { name: 'Close 2: Python' }).click();
    await page.getByText('A program is running in it.').waitFor();
    await page.getByRole('button', { name: 'Keep it running' }).click();
    assert.equal((await listed()).length, 2);
    await page.getByRole('button', { name: 'Close 2: Python' }).click();
    await page.getByRole('button', { name: 'End it', exact: true }).click();
    await waitFor('it is gone', async () => (await listed()).length === 1);
    await waitFor('its tab is gone', async () => (await page.getByRole('tab').count()) === 1); // the page hears of it a moment after the broker
  });

  it('says that the gateway is away, and goes on by itself', async () => {
    const before = trouble.length;
    await page.locator('.xterm').click();
    await type('for i in 1 2 3 4 5 6; do echo tick-$i; sleep 1; done');
    await sees(/^tick-1$/m);
    const { api } = await stack.pids();
    const away = await lookOut(page, 'terminal-state', /trying again/);
    process.kill(api, 'SIGKILL');
    await away();
    await stack.waitPart('api', api);
    await attached();
    await sees(/tick-1\ntick-2\ntick-3\ntick-4\ntick-5\ntick-6\n/);
    trouble.length = before; // the browser itself reports the lost socket
  });

  it('shows how a terminal ended, in German, too', async () => {
    await type('exit 4');
    await page.getByText('Ended with exit code 4').waitFor();
    await page.getByRole('button', { name: /^DE/ }).click();
    await page.getByText('Beendet mit Exit-Code 4').waitFor();

    await page.getByRole('button', { name: /^EN/ }).click();
    await page.getByTestId('terminal-state').locator('..').getByRole('button', { name: 'Close' }).click();
    await page.getByRole('heading', { name: 'No terminal is open' }).waitFor();
  });

  it('tells a viewer why there is none', async () => {
    const { context: other, page: viewer } = await openContext(browser);
    await signIn(viewer, `${stack.url}/terminal`, users.viewer);
    await viewer.getByText('Viewers have no terminal').waitFor();
    assert.equal(await viewer.getByRole('button', { name: 'New terminal' }).count(), 0);
    await other.close();
  });
});
