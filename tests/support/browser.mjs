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

/** Whoever looks: { context, page }. What is waited for on it may take two minutes: only what hangs should end. */
export async function openContext(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 820 }, locale: 'en-GB', ...options });
  context.setDefaultTimeout(120_000);
  return { context, page: await context.newPage() };
}

/** A browser with one watched page: { browser, context, page, trouble }. */
export async function openBrowser({ height = 820 } = {}) {
  const browser = await launch();
  const { context, page } = await openContext(browser, { viewport: { width: 1360, height }, colorScheme: 'dark' });
  const trouble = [];
  await watch(page, trouble);
  return { browser, context, page, trouble };
}

/** For a text that may be gone again at once: awaited before what brings it about, it gives a function that waits until it has been there. */
export async function lookOut(page, testId, pattern) {
  await page.evaluate(([id, source]) => {
    window.cdsSeen = new Promise((done) => {
      const look = () => [...document.querySelectorAll(`[data-testid="${id}"]`)].some((one) => new RegExp(source).test(one.textContent)) && (observer.disconnect(), done());
      const observer = new MutationObserver(look);
      observer.observe(document.body, { childList: true, subtree: true, characterData: true });
    });
  }, [testId, pattern.source]);
  return () => page.evaluate(() => window.cdsSeen);
}

/** Goes to an address that wants a user, and signs in there. */
export async function signIn(page, address, { email, password }) {
  await page.goto(address);
  await page.getByLabel('Mail address').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByTestId('connection').getByText('Connected').waitFor();
}
