// What tests in a real browser share: where it is, how it is started, what must not happen on a page, and how somebody signs in.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { build } from './stack.mjs';

export const shots = join(build, 'screenshots');
export const themes = ['NeonCyberNight', 'SerialSteel'];
const executable = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const args = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export function launch() {
  assert.ok(executable, 'Chromium is missing: tools/setup test installs it');
  mkdirSync(shots, { recursive: true });
  return chromium.launch({ executablePath: executable, args });
}

/** Notes console errors, uncaught errors and violations of the content security policy of a page in trouble. */
export async function watch(page, trouble) {
  page.on('console', (message) => message.type() === 'error' && trouble.push(`console: ${message.text()} (${message.location().url})`));
  page.on('pageerror', (error) => trouble.push(`page error: ${error.message}`));
  await page.exposeFunction('cdsViolation', (what) => trouble.push(`content security policy: ${what}`));
  // A page of another origin that is shown inside may load before the function is there.
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', (e) => window.cdsViolation?.(`${e.violatedDirective} ${e.blockedURI}`)));
}

/** A browser with one watched page: { browser, context, page, trouble }. What is waited for on it may take timeoutMs: only what hangs should end. */
export async function openBrowser({ height = 820, timeoutMs = 60_000 } = {}) {
  const browser = await launch();
  const context = await browser.newContext({ viewport: { width: 1360, height }, colorScheme: 'dark', locale: 'en-GB' });
  context.setDefaultTimeout(timeoutMs);
  const page = await context.newPage();
  const trouble = [];
  await watch(page, trouble);
  return { browser, context, page, trouble };
}

/** Goes to an address that wants a user, and signs in there. */
export async function signIn(page, address, { email, password }) {
  await page.goto(address);
  await page.getByLabel('Mail address').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByTestId('connection').getByText('Connected').waitFor();
}
