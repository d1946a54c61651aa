// A preview in a real browser: a server started in the terminal, its chip, its page on an origin of its own, which sees nothing of the studio.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openBrowser, openContext, shots, signIn, themes } from '../support/browser.mjs';
import { startStack, users, waitFor } from '../support/stack.mjs';

describe('a preview in a browser', { timeout: 800_000 }, () => {
  let stack, browser, context, page, trouble;

  before(async () => {
    stack = await startStack({ llm: false, options: { 'term.per_project': 3, 'run.wall_ms': 600_000 } });
    await stack.rpc('fs.create', { project: stack.project, path: 'site', type: 'dir' });
    await stack.rpc('fs.write', { project: stack.project, path: 'site/index.html', content: '<!doctype html><title>mine</title><h1>Hello from the jail</h1><form method="post" action="/form"><button>Go</button></form><script src="app.js"></script>' });
    await stack.rpc('fs.write', { project: stack.project, path: 'site/app.js', content: 'localStorage.setItem("mine", "1"); document.cookie = "own=1"; document.body.dataset.ran = "yes";' });
    ({ browser, context, page, trouble } = await openBrowser());
    await signIn(page, `${stack.url}/terminal`, users.developer);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  async function shoot(name) {
    for (const theme of themes) {
      if ((await page.evaluate(() => document.documentElement.dataset.theme)) !== theme) await page.getByRole('button', { name: `Switch to ${theme}` }).click();
      await page.waitForTimeout(400);
      await page.screenshot({ path: join(shots, `${name}-${theme}.png`) });
    }
    await page.getByRole('button', { name: `Switch to ${themes[0]}` }).click();
  }
  const chip = () => page.getByRole('listitem').filter({ hasText: 'Port 8000' });
  async function openPreview() {
    const [tab] = await Promise.all([context.waitForEvent('page'), chip().getByRole('button', { name: 'Open preview' }).click()]);
    await tab.waitForLoadState();
    return tab;
  }

  /** The part that shows previews hears of an end a moment after the page. */
  const hasEnded = (tab) => waitFor('the preview has ended', async () => (await tab.reload()).status() === 410);

  let shown;
  it('offers the port that a program in the terminal listens on', async () => {
    await page.getByRole('button', { name: 'Open a shell' }).click();
    await page.getByTestId('terminal-state').getByText('Attached').waitFor();
    assert.equal(await chip().count(), 0);
    await page.locator('.xterm').click();
    await page.keyboard.type('cd site && python3 -m http.server 8000');
    await page.keyboard.press('Enter');
    await chip().waitFor();
  });

  it('opens it in a tab of its own, at an origin of its own', async () => {
    shown = await openPreview();
    await shown.getByRole('heading', { name: 'Hello from the jail' }).waitFor();
    assert.match(shown.url(), new RegExp(`^http://[0-9a-f]{32}\\.localhost:${stack.ports.preview}/$`));
    await shown.waitForFunction(() => document.body.dataset.ran === 'yes');
    await chip().getByRole('button', { name: 'Close the preview of port 8000' }).waitFor();
    await page.bringToFront();
    await shoot('preview');
    assert.deepEqual(trouble, []);
  });

  it('gives that page nothing of the studio', async () => {
    await page.evaluate(() => localStorage.setItem('only-the-studio', '1'));
    const seen = await shown.evaluate(async (studio) => {
      const tries = {};
      for (const [name, path, init] of [['rpc', '/rpc', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }], ['refresh', '/auth/refresh', { method: 'POST', credentials: 'include' }], ['page', '/', { credentials: 'include' }]])
        tries[name] = await fetch(studio + path, init).then(async (a) => `read ${a.status}`, (e) => e.name);
      tries.socket = await new Promise((done) => { const s = new WebSocket(studio.replace('http', 'ws') + '/ws', ['cds.rpc.v1']); s.onopen = () => done('open'); s.onerror = () => done('refused'); });
      tries.frame = await new Promise((done) => { const f = document.createElement('iframe'); f.src = studio; f.onload = () => { try { done(f.contentDocument?.body ? 'read' : 'opaque'); } catch { done('opaque'); } }; document.body.append(f); });
      return { cookie: document.cookie, storage: Object.keys(localStorage), opener: window.opener === null, referrer: document.referrer, tries };
    }, stack.url);
    assert.deepEqual(seen.storage, ['mine']);
    assert.equal(seen.cookie, 'own=1'); // the preview's own cookie is HttpOnly
    assert.deepEqual([seen.opener, seen.referrer], [true, '']);
    assert.deepEqual(seen.tries, { rpc: 'TypeError', refresh: 'TypeError', page: 'TypeError', socket: 'refused', frame: 'opaque' });
    assert.deepEqual(await page.evaluate(() => [localStorage.getItem('mine'), document.cookie.includes('own')]), [null, false]);
    const kept = await context.cookies(shown.url());
    const [own] = kept.filter((one) => one.name === 'cds_preview');
    assert.deepEqual([own.httpOnly, own.sameSite, own.domain], [true, 'Lax', new URL(shown.url()).hostname]);
    assert.deepEqual(kept.filter((one) => one.name.includes('refresh')), []);
  });

  it('is a closed door in another browser, and to a link with nothing but its address', async () => {
    const { context: other, page: visitor } = await openContext(browser, { locale: 'de-DE' });
    const answer = await visitor.goto(shown.url());
    assert.equal(answer.status(), 403);
    await visitor.getByRole('heading', { name: 'Diese Vorschau ist privat' }).waitFor();
    await visitor.screenshot({ path: join(shots, 'preview-private.png') });
    await other.close();
  });

  it('is closed by its chip, and its page says so', async () => {
    await page.bringToFront();
    await chip().getByRole('button', { name: 'Close the preview of port 8000' }).click();
    await chip().getByRole('button', { name: 'Close the preview of port 8000' }).waitFor({ state: 'detached' });
    const again = await shown.reload();
    assert.equal(again.status(), 410);
    await shown.getByRole('heading', { name: 'This preview was closed' }).waitFor();
    const next = await openPreview();
    await next.getByRole('heading', { name: 'Hello from the jail' }).waitFor();
    assert.notEqual(new URL(next.url()).host, new URL(shown.url()).host);
    await next.close();
    await shown.close();
  });

  it('goes when the program stops listening', async () => {
    await page.bringToFront();
    await page.locator('.xterm').click();
    await page.keyboard.press('Control+c');
    await chip().waitFor({ state: 'detached' });
    assert.deepEqual(trouble, []);
  });

  it('is offered beside a run, too', async () => {
    await page.getByRole('navigation').getByRole('link', { name: 'Run' }).click();
    await page.getByLabel('What to run').selectOption('Code typed here');
    await page.getByLabel('Code', { exact: true }).fill('import http.server\nhttp.server.ThreadingHTTPServer(("127.0.0.1", 8000), http.server.SimpleHTTPRequestHandler).serve_forever()');
    await page.getByRole('form').getByRole('button', { name: /^Run/ }).click();
    await chip().waitFor();
    const tab = await openPreview();
    await tab.getByRole('heading', { name: 'Directory listing for /' }).waitFor();
    await page.bringToFront();
    await shoot('preview-run');
    await page.getByRole('button', { name: 'Stop' }).click();
    await chip().waitFor({ state: 'detached' });
    await hasEnded(tab);
    await tab.getByRole('heading', { name: 'The program has ended' }).waitFor();
    await tab.close();
  });

  it('ends when its owner signs out', async () => {
    await page.getByRole('navigation').getByRole('link', { name: 'Terminal' }).click();
    await page.getByTestId('terminal-state').getByText('Attached').waitFor(); // what is typed before goes nowhere
    await waitFor('the prompt', async () => (await page.locator('.xterm-rows > div').allInnerTexts()).join('\n').trimEnd().endsWith('$'));
    await page.locator('.xterm').click();
    await page.keyboard.type('python3 -m http.server 8000');
    await page.keyboard.press('Enter');
    await chip().waitFor();
    const tab = await openPreview();
    await tab.getByRole('heading', { name: 'Hello from the jail' }).waitFor();
    await page.bringToFront();
    await page.getByRole('link', { name: 'Dev Developer' }).click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Welcome back' }).waitFor();
    await hasEnded(tab);
    await tab.getByRole('heading', { name: /^This preview (was closed|ended with its sign-in)/ }).waitFor();
    assert.deepEqual(trouble, []);
  });
});
