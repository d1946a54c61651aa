// Images of microVMs on the page: an admin makes one of a folder, a run takes it, what came back of the project is told, and it is removed again.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openBrowser, shots, signIn, themes } from '../support/browser.mjs';
import { startStack, users, waitFor } from '../support/stack.mjs';

const skip = existsSync('/usr/bin/qemu-system-x86_64') ? false : 'skipped: no qemu (make micro installs it)';
const MACHINE_MS = 240_000;

describe('images of microVMs in a browser', { timeout: 800_000, skip }, () => {
  let stack, browser, page, trouble, project;

  before(async () => {
    stack = await startStack({ llm: false, fresh: true, options: { 'run.wall_ms': 600_000 } });
    project = (await stack.rpc('project.list', {}, 'admin')).projects[0].id;
    const made = await stack.rpc('run.exec', {
      project, language: 'sh',
      code: 'mkdir -p own/bin own/etc own/lib64 own/lib/x86_64-linux-gnu && cp /bin/sh own/bin/ && cp /lib64/ld-linux-x86-64.so.2 own/lib64/ && cp /lib/x86_64-linux-gnu/libc.so.6 own/lib/x86_64-linux-gnu/ && echo made of a folder >own/etc/mark',
    }, 'admin');
    assert.equal(made.end, 'ok');
    ({ browser, page, trouble } = await openBrowser({ height: 900 }));
    await signIn(page, `${stack.url}/run`, users.admin);
  });
  after(async () => {
    await browser?.close();
    await stack?.stop();
  });

  /** A modal covers the switch: there the theme is set as the switch sets it, without telling the editor. */
  async function turn(theme) {
    if ((await page.evaluate(() => document.documentElement.dataset.theme)) === theme) return;
    if (await page.getByRole('dialog').count()) await page.evaluate((to) => (document.documentElement.dataset.theme = to), theme);
    else await page.getByRole('button', { name: new RegExp(`${theme}$`) }).click();
  }
  async function shoot(name) {
    for (const theme of themes) {
      await turn(theme);
      await page.waitForTimeout(400);
      await page.screenshot({ path: join(shots, `${name}-${theme}.png`) });
    }
    await turn(themes[0]);
  }
  const dialog = () => page.getByRole('dialog', { name: 'Images of microVMs' });
  const verdict = () => page.getByTestId('verdict').last();
  async function runCode(code) {
    await page.getByLabel('What to run').selectOption('Code typed here');
    await page.getByLabel('Code', { exact: true }).fill(code);
    await page.getByRole('form', { name: 'Run' }).getByRole('button', { name: /^Run$/ }).click();
  }

  it('shows what there is, and an admin adds one from the project', async () => {
    await page.getByRole('button', { name: 'Images' }).click();
    await dialog().getByRole('listitem').filter({ hasText: 'came with the studio' }).waitFor();
    await dialog().getByLabel('Name').fill('Not Good');
    await dialog().getByText('Small letters, digits').waitFor();
    assert.ok(await dialog().getByRole('button', { name: 'Add image' }).isDisabled());
    await dialog().getByLabel('Name').fill('tiny');
    await dialog().getByLabel('Path in the project').fill('nowhere');
    await dialog().getByRole('button', { name: 'Add image' }).click();
    await dialog().getByRole('alert').waitFor();
    await shoot('images-refused');
    await dialog().getByLabel('Path in the project').fill('own');
    await dialog().getByRole('button', { name: 'Add image' }).click();
    const row = dialog().getByRole('listitem').filter({ hasText: 'tiny' });
    await row.getByText('Shell · from a folder').waitFor();
    await shoot('images');
  });

  it('a pull says why it does not work here, and what to do', async () => {
    const msb = (await stack.rpc('sandbox.probe', {}, 'viewer')).engines.find((e) => e.backend.startsWith('msb'));
    if (msb.works) return;
    await dialog().getByLabel('Name').fill('pulled');
    await dialog().getByLabel('Made from').selectOption('A registry');
    await dialog().getByLabel('Reference').fill('debian:12');
    await dialog().getByRole('button', { name: 'Add image' }).click();
    await dialog().getByText('image.no_msb').waitFor({ timeout: MACHINE_MS });
    await shoot('images-pull');
    await dialog().getByRole('button', { name: 'Close' }).click();
  });

  it('the form offers it to a language it holds, and the run says which it had', async () => {
    const form = page.getByRole('form', { name: 'Run' });
    await form.getByLabel('Language').selectOption('C++, compiled first');
    await form.getByText('MicroVMs run Python, JavaScript and Shell.').waitFor();
    assert.ok(await form.getByLabel('Sandbox').isDisabled());
    await shoot('run-cpp');
    await form.getByLabel('Language').selectOption('Python');
    await form.getByLabel('Sandbox').selectOption({ index: 1 });
    await waitFor('the images are known', async () => (await form.getByLabel('Image').locator('option').count()) === 1);
    await form.getByLabel('Language').selectOption('Shell');
    await form.getByLabel('Image').selectOption('tiny');
    await runCode('read x </etc/mark; echo "$x"');
    await verdict().getByText('Finished').waitFor({ timeout: MACHINE_MS });
    await waitFor('what it wrote', async () => (await page.getByTestId('output').innerText()) === 'made of a folder\n');
    await page.getByRole('definition').filter({ hasText: 'tiny' }).waitFor();
    await page.getByTestId('project-back').getByText('The program changed nothing.').waitFor();
    await shoot('run-image');
  });

  it('tells what came back of the project, and where both sides changed it', async () => {
    await page.getByRole('form', { name: 'Run' }).getByLabel('Image').selectOption('default');
    const back = page.getByTestId('project-back');
    // The machine has no way to be told that the file was written here: where that took longer than it slept and it was first, it is given more time.
    let told = '';
    for (let seconds = 4; !told.includes('was changed on both sides'); seconds *= 4) {
      for (const [path, content] of [['both.txt', 'before\n'], ['gone.txt', 'x\n']]) await stack.rpc('fs.write', { project, path, content }, 'admin');
      await stack.rpc('fs.delete', { project, path: 'made', recursive: true }, 'admin').catch(() => null);
      const began = performance.now();
      await runCode(`echo working-${seconds}\nsleep ${seconds}\necho from the machine >both.txt\nmkdir made\necho new >made/new.txt\nrm gone.txt\n`);
      await page.getByTestId('output').getByText(`working-${seconds}`).waitFor({ timeout: MACHINE_MS });
      await stack.rpc('fs.write', { project, path: 'both.txt', content: 'from the editor\n' }, 'admin');
      const late = performance.now() - began >= seconds * 1000;
      await back.getByText(/Files written/).waitFor({ timeout: MACHINE_MS });
      told = await back.innerText();
      assert.ok(late || told.includes('was changed on both sides'), told);
    }
    for (const part of [/Files written\s+1/, /Folders made\s+1/, /Deleted\s+1/, /Conflicts\s+1/, /both\.txt/, /the program's file is/]) assert.match(told, part);
    assert.equal((await stack.rpc('fs.read', { project, path: 'both.txt' }, 'admin')).content, 'from the editor\n');
    await shoot('project-back');
  });

  it('is removed after a second word, and the form forgets it', async () => {
    await page.getByRole('button', { name: 'Images' }).click();
    await dialog().getByRole('button', { name: 'Remove tiny' }).click();
    await dialog().getByRole('button', { name: 'Remove', exact: true }).click();
    await dialog().getByText('tiny', { exact: true }).waitFor({ state: 'detached' });
    await dialog().getByRole('button', { name: 'Close' }).click();
    await waitFor('the form has forgotten it', async () => (await page.getByLabel('Image').locator('option').count()) === 1);
  });

  it('the code page shows what a program outside of it has changed', async () => {
    await page.goto(`${stack.url}/code`);
    await page.getByTestId('connection').getByText('Connected').waitFor();
    await page.getByText('both.txt', { exact: true }).first().dblclick();
    await page.getByText('from the editor').waitFor();
    await stack.rpc('fs.write', { project, path: 'both.txt', content: 'from a program outside\n' }, 'admin');
    await stack.rpc('fs.write', { project, path: 'appeared.txt', content: 'x\n' }, 'admin');
    await page.getByText('appeared.txt').waitFor();
    await page.getByText('from a program outside').waitFor();
    await shoot('code-changed-outside');
  });

  it('speaks German, too, and nothing went wrong on the way', async () => {
    await page.evaluate(() => localStorage.setItem('cds.language', 'de'));
    await page.goto(`${stack.url}/run`);
    await page.getByRole('button', { name: 'Images' }).click();
    const german = page.getByRole('dialog');
    await german.getByRole('listitem').first().waitFor();
    await shoot('images-german');
    assert.deepEqual(trouble, []);
  });
});
