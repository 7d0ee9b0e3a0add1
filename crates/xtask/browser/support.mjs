// What the browser tests share: the stage that they were given, one browser, pages that are watched
// for errors, foreign requests and breaches of the content security policy.
//
// Judges what holds for every page; what holds for one is in tasks.mjs and pages.mjs.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import net from 'node:net';

/** The packages lie below cargo's target folder, not beside these files. */
export const packages = createRequire(`${process.env.LICENCE_BROWSER_PACKAGES}/package.json`);
const { chromium } = packages('playwright-core');

/** What the stage told: addresses, codes, folders. */
export const stage = JSON.parse(process.env.LICENCE_BROWSER_STAGE);

/** Bound of one step: the longest is an activation, which the server bounds at 30 s itself. */
export const STEP_MILLIS = 35_000;

/** How much of a page a failure shows, in characters. */
const SHOWN_MAX = 1500;

/** The password that takes the place of the default one. */
export const PASSWORD = 'correct horse battery staple';

let browser;

/** Opens the browser that all tests share. Chromium refuses its sandbox to root. */
export async function open() {
  const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
  browser = await chromium.launch({ executablePath: stage.chromium, args });
}

/** Closes it. */
export async function close() {
  await browser?.close();
}

/** Picks the text of a language. */
export const texts = (language) => (russian, english) => (language === 'ru' ? russian : english);

/**
 * A reader with a browser of their own: a context whose pages are watched. `expected` are parts of
 * console messages that a test provokes.
 */
export async function reader({ language, script = true, width = 1280, expected = [] }) {
  const context = await browser.newContext({
    acceptDownloads: true,
    javaScriptEnabled: script,
    locale: language === 'ru' ? 'ru-RU' : 'en-GB',
    viewport: { width, height: 900 },
  });
  context.setDefaultTimeout(STEP_MILLIS);
  const faults = [];
  context.on('request', (request) => {
    const url = new URL(request.url());
    const isOurs = url.hostname === '127.0.0.1' || ['data:', 'blob:'].includes(url.protocol);
    if (!isOurs) faults.push(`asked ${url.origin}`);
  });
  context.on('response', (response) => {
    if (response.status() >= 500) faults.push(`${response.status()} from ${response.url()}`);
  });
  context.on('weberror', (error) => faults.push(`script error: ${error.error()}`));
  context.on('console', (message) => {
    const isFault = ['error', 'warning'].includes(message.type());
    const text = `${message.text()} (${message.location().url})`;
    if (isFault && !expected.some((part) => text.includes(part))) faults.push(text);
  });
  if (script) {
    await context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => {
        console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
  }
  const page = await context.newPage();
  return {
    context,
    page,
    /** Does a step; when it fails, says what stood on the page. */
    async told(step) {
      try {
        await step();
      } catch (error) {
        const shown = await page.innerText('main').catch(() => '(no page)');
        error.message += `\nat ${page.url()}:\n${shown.slice(0, SHOWN_MAX)}\n${faults.join('\n')}`;
        throw error;
      }
    },
    /** Fails when anything was wrong so far, and ends the reader's browser. */
    async end() {
      await context.close();
      assert.deepEqual(faults, []);
    },
  };
}

/** Signs a reader in. */
export async function logIn(page, url, password = PASSWORD, name = 'admin') {
  await page.goto(`${url}/login`);
  await page.fill('#name', name);
  await page.fill('#password', password);
  await page.click('main button[type=submit]');
}

/** Gives the default password up for ours, as the console insists. */
export async function changePassword(page) {
  await page.fill('#old', 'admin');
  await page.fill('#new', PASSWORD);
  await page.fill('#again', PASSWORD);
  await page.click('main button[type=submit]');
}

/** Asks the stage. */
export function ask(question) {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = net.connect(stage.asks, '127.0.0.1', () => {
      socket.write(`${JSON.stringify(question)}\n`);
    });
    socket.setEncoding('utf8');
    socket.setTimeout(STEP_MILLIS, () => socket.destroy(new Error(`no answer to ${JSON.stringify(question)}`)));
    socket.on('data', (part) => { text += part; });
    socket.on('error', reject);
    socket.on('end', () => {
      try {
        const answer = JSON.parse(text);
        if (answer.error) reject(new Error(answer.error)); else resolve(answer);
      } catch (error) {
        reject(error);
      }
    });
  });
}

/** Calls the REST API as a script of the administrator would. */
export async function rest(url, path, { method = 'GET', authorization = basic('admin', PASSWORD), body } = {}) {
  return fetch(url + path, {
    method,
    headers: { authorization, 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  });
}

/** A name and a password as a header. */
export const basic = (name, password) => `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`;

/** A port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
