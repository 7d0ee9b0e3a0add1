// Every page, as people come to it: with a screen reader (axe-core), with the keyboard alone, on a
// narrow screen, in light and dark; and a picture of each.
//
// What a page is for is judged in tasks.mjs.

import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { STEP_MILLIS, changePassword, logIn, packages, reader, rest, stage, texts } from './support.mjs';

/** Faults of this weight fail the test; axe's other findings are matters of taste. */
const GRAVE = ['serious', 'critical'];

/** The narrowest screen that WCAG 1.4.10 asks for, in CSS pixels. */
const NARROW = 320;

/** How a page is looked at: width, scheme. */
const LOOKS = [[1280, 'light'], [1280, 'dark'], [390, 'light'], [390, 'dark']];

/** What a scheme can spoil: in the dark nothing else is looked at again. */
const DARK_RULES = ['color-contrast', 'link-in-text-block'];

/** Most presses of Tab on one page; the settings have the most fields, with room to spare. */
const TABS_MAX = 400;

const { url } = stage.furnished;

/** Pages that everybody sees: name, path, status. */
const OPEN = [
  ['login', '/login', 200],
  ['nobody-overview', '/', 200],
  ['nobody-keys', '/keys', 200],
  ['nobody-sessions', '/sessions', 200],
  ['nobody-systeminfo', '/systeminfo', 200],
  ['nobody-help', '/help', 200],
  ['nobody-session', 'session', 200],
];

/** Pages of somebody who has logged in. */
const CLOSED = [
  ['overview', '/', 200],
  ['overview-month', '/?span=month', 200],
  ['keys', '/keys', 200],
  ['key', `/keys/${stage.furnished.key}`, 200],
  ['install', '/keys/install', 200],
  ['sessions', '/sessions', 200],
  ['session', 'session', 200],
  ['connections', '/connections', 200],
  ['events', '/events', 200],
  ['denials', '/events?kind=denied', 200],
  ['reports', '/reports?span=month', 200],
  ['rules', '/rules', 200],
  ['ismp', '/ismp', 200],
  ['settings', '/settings', 200],
  ['access', '/access', 200],
  ['log', '/log', 200],
  ['systeminfo', '/systeminfo', 200],
  ['help', '/help', 200],
  ['password', '/password', 200],
  ['error', '/keys/1', 404],
  ['embedded', '/sessions?menu=false&header=true', 200],
];

/** What it takes to know a focus ring when one sees one. */
const FOCUS = () => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  // A field for a date is several stops in one.
  const isBack = at.dataset.reached === '1' && window.lastStop !== at;
  window.lastStop = at;
  const style = getComputedStyle(at);
  const box = at.getBoundingClientRect();
  at.dataset.reached = '1';
  return {
    what: at.outerHTML.slice(0, 120),
    isSkip: at.classList.contains('skip'),
    isSeen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && box.width > 0,
    isBack,
  };
};

/** What the keyboard must reach. */
const UNREACHED = () => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter((item) => item.type !== 'hidden' && !item.disabled && item.checkVisibility() && !item.dataset.reached)
  .map((item) => item.outerHTML.slice(0, 120));

/** All pages in one language. */
export function everyPage(language) {
  describe(`pages, ${language}`, { concurrency: 1 }, () => {
    const say = texts(language);
    const task = (name, body) => it(name, { timeout: 6 * STEP_MILLIS }, body);
    // A page that is not found is told of by the browser as well.
    const expected = ['404 (Not Found)'];
    let axe;
    let who;

    before(async () => {
      axe = await readFile(packages.resolve('axe-core/axe.min.js'), 'utf8');
      await mkdir(stage.pictures, { recursive: true });
      await prepare();
    });

    /** Loads a page and gives it when it is what it must be. */
    async function show(page, path, status) {
      const address = path === 'session' ? `/sessions/${await prepare()}` : path;
      const response = await page.goto(url + address);
      assert.equal(response.status(), status, address);
      assert.equal(await page.getAttribute('html', 'lang'), language, address);
    }

    /** Looks at pages in every way; gives what is wrong. */
    async function look(page, pages) {
      const wrong = [];
      for (const [name, path, status] of pages) {
        console.log(`${language}: ${name}`);
        await page.setViewportSize({ width: 1280, height: 900 });
        await show(page, path, status);
        await page.evaluate(axe);
        for (const [width, scheme] of LOOKS) {
          await page.setViewportSize({ width, height: 900 });
          await page.emulateMedia({ colorScheme: scheme });
          const { violations } = await page.evaluate((rules) => window.axe.run(document, {
            resultTypes: ['violations'],
            ...(rules && { runOnly: { type: 'rule', values: rules } }),
          }), scheme === 'dark' ? DARK_RULES : null);
          for (const { id, impact, help, nodes } of violations) {
            if (!GRAVE.includes(impact)) continue;
            wrong.push(`${name} ${width} ${scheme}: ${id} (${impact}): ${help}: ${nodes.map((node) => node.html.slice(0, 160)).slice(0, 3).join(' | ')}`);
          }
          await page.screenshot({
            fullPage: true,
            path: join(stage.pictures, `${name}-${language}-${scheme}-${width}.png`),
          });
        }
        await page.emulateMedia({ colorScheme: 'light' });
        await page.setViewportSize({ width: NARROW, height: 900 });
        const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        if (over > 0) {
          const widest = await page.evaluate(() => [...document.querySelectorAll('body *')]
            .filter((item) => item.getBoundingClientRect().right > window.innerWidth + 1 && !item.closest('.scroll, .menu ul, pre'))
            .slice(0, 3).map((item) => item.outerHTML.slice(0, 120)));
          wrong.push(`${name}: ${over} px too wide at ${NARROW}: ${widest.join(' | ')}`);
        }
      }
      return wrong;
    }

    /** Walks a page with Tab; gives what is wrong. */
    async function walk(page, name) {
      const wrong = [];
      for (let at = 0; at < TABS_MAX; at += 1) {
        await page.keyboard.press('Tab');
        const focus = await page.evaluate(FOCUS);
        if (focus === null) break;
        if (at === 0 && !focus.isSkip) wrong.push(`${name}: the first stop is ${focus.what}`);
        if (!focus.isSeen) wrong.push(`${name}: no focus is seen on ${focus.what}`);
        if (focus.isBack) break;
      }
      const unreached = await page.evaluate(UNREACHED);
      if (unreached.length) wrong.push(`${name}: never reached: ${unreached.slice(0, 3).join(' | ')}`);
      return wrong;
    }

    task('are accessible before the login', async () => {
      who = await reader({ language, expected });
      assert.deepEqual(await look(who.page, OPEN), []);
      await who.end();
    });

    task('are accessible after it', async () => {
      who = await reader({ language, expected });
      await entered(who.page);
      assert.deepEqual(await look(who.page, CLOSED), []);
      await who.end();
    });

    task('are reached and left by the keyboard', async () => {
      // One language is enough: the order of the page is the same.
      const pages = language === 'ru' ? CLOSED : OPEN;
      who = await reader({ language, expected });
      if (language === 'ru') await entered(who.page);
      const wrong = [];
      for (const [name, path, status] of pages) {
        await show(who.page, path, status);
        if (name === 'login') {
          assert.equal(await who.page.evaluate(() => document.activeElement.id), 'name');
          continue;
        }
        wrong.push(...await walk(who.page, name));
      }
      assert.deepEqual(wrong, []);
      await who.page.goto(`${url}/help`);
      await who.page.keyboard.press('Tab');
      await who.page.keyboard.press('Enter');
      assert.equal(await who.page.evaluate(() => document.activeElement.id), 'main');
      await who.page.goto(`${url}/login`);
      await who.page.getByRole('heading', { name: say('Вход в консоль', 'Log in to the console') }).waitFor();
      await who.end();
    });
  });
}

let prepared;

/** Takes the server over as its administrator would: password, people, rules, a token. */
function prepare() {
  prepared ??= (async () => {
    const { page, end } = await reader({ language: 'en' });
    await logIn(page, url, 'admin');
    await page.waitForURL('**/password');
    await changePassword(page);
    await page.locator('.notice.done').waitFor();
    await end();
    const put = async (method, path, body) => {
      const answer = await rest(url, path, { method, body });
      assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.text()}`);
    };
    await put('PUT', '/api/users/olga', { Role: 'operator', Password: 'a long phrase of hers' });
    await put('POST', '/api/tokens', { Name: 'prometheus', Scope: 'metrics', Days: 90 });
    await put('PUT', '/api/rules', {
      Rules: [
        { Name: 'Бухгалтерия', Effect: 'reserve', Seats: 5, Infobase: '*accounting*', Comment: 'до сдачи отчётности' },
        { Name: 'Фоновые задания', Effect: 'limit', Seats: 2, Application: 'BackgroundJob' },
        { Name: 'Практиканты', Effect: 'deny', User: 'Практикант*', Enabled: false },
      ],
    });
    const answer = await rest(url, '/api/sessions');
    return (await answer.json()).Sessions[0].ID;
  })();
  return prepared;
}

async function entered(page) {
  await logIn(page, url);
  await page.locator('.actor').waitFor();
}
