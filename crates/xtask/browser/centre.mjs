// The pages of the activation centre in a browser: the vendor's and the customer's tasks without
// script, then every page with a screen reader (axe-core), on wide and narrow screens, in light and
// dark; and a picture of each. Started by crates/xtask/tests/centre_pages.rs, which sets the stage.

import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { STEP_MILLIS, close, logIn, open, packages, reader, stage, texts } from './support.mjs';

/** Faults of this weight fail the test; axe's other findings are matters of taste. */
const GRAVE = ['serious', 'critical'];

/** How a page is looked at: width, scheme. */
const LOOKS = [[1280, 'light'], [1280, 'dark'], [390, 'light'], [390, 'dark']];

/** The narrowest screen that WCAG 1.4.10 asks for, in CSS pixels. */
const NARROW = 320;

const { centre: url, password } = stage;

/** Pages that anybody sees: name, path, status. */
const OPEN = [
  ['centre-request', '/', 200],
  ['centre-road', `/r?request=${stage.request}`, 200],
  ['centre-road-wrong', '/r?request=x', 200],
  ['centre-login', '/login', 200],
  ['centre-my', '/my', 200],
];

/** Pages of the vendor's people. */
const VENDOR = [
  ['centre-overview', '/vendor', 200],
  ['centre-orders', '/vendor/orders', 200],
  ['centre-order-new', '/vendor/orders/new', 200],
  ['centre-order', '/vendor/orders/1', 200],
  ['centre-keys', '/vendor/keys', 200],
  ['centre-key', `/vendor/keys/${stage.key}`, 200],
  ['centre-customers', '/vendor/customers', 200],
  ['centre-customer', '/vendor/customers/1', 200],
  ['centre-series', '/vendor/series', 200],
  ['centre-series-one', '/vendor/series/672B', 200],
  ['centre-blanks', '/vendor/blanks', 200],
  ['centre-suspicions', '/vendor/suspicions', 200],
  ['centre-audit', '/vendor/audit', 200],
  ['centre-accounts', '/vendor/accounts', 200],
  ['centre-password', '/vendor/password', 200],
  ['centre-nothing', '/vendor/orders/999', 404],
];

/** Opens the page of a key as its customer. */
async function comeIn(page, code) {
  await page.goto(`${url}/my`);
  await page.fill('#code', code);
  await page.fill('#itn', stage.itn);
  await page.click('main button[type=submit]');
  await page.waitForURL('**/my/key');
}

for (const language of ['ru', 'en']) {
  describe(`centre, ${language}`, { concurrency: 1 }, () => {
    const say = texts(language);
    const task = (name, body) => it(name, { timeout: 6 * STEP_MILLIS }, body);
    const expected = ['404 (Not Found)'];
    let axe;

    before(async () => {
      if (language === 'ru') await open();
      axe = await readFile(packages.resolve('axe-core/axe.min.js'), 'utf8');
      await mkdir(stage.pictures, { recursive: true });
    });
    after(async () => {
      if (language === 'en') await close();
    });

    task('vendor sells without script', async () => {
      const { page, told, end } = await reader({ language, script: false });
      await told(async () => {
        await logIn(page, url, password, 'clara');
        await page.getByRole('link', { name: say('Покупатели', 'Customers'), exact: true }).click();
        await page.fill('#name', `ООО Лютик ${language}`);
        await page.fill('main form.fields #itn', '7707083893');
        await page.getByRole('button', { name: say('Добавить', 'Add') }).click();
        await page.locator('.notice.done').waitFor();
        await page.getByRole('link', { name: say('Новый заказ', 'New order') }).click();
        assert.equal(await page.inputValue('#itn'), '7707083893');
        await page.fill('#seats', '7');
        await page.fill('#count', '3');
        await page.getByRole('button', { name: say('Принять заказ', 'Take the order') }).click();
        await page.locator('.notice.done').waitFor();
        assert.equal(await page.locator('tbody tr').count(), 3);
        const download = page.waitForEvent('download');
        await page.getByRole('link', { name: 'CSV' }).click();
        const file = await readFile(await (await download).path(), 'utf8');
        assert.equal(file.trim().split('\n').length, 4, file);
        // A clerk has no accounts.
        assert.equal(await page.getByRole('link', { name: say('Учётные записи', 'Accounts') }).count(), 0);
        await page.getByRole('button', { name: say('Выйти', 'Log out') }).click();
        await page.locator('#password').waitFor();
      });
      await end();
    });

    task('customer draws a spare code and releases the key of a dead server', async () => {
      const { page, told, end } = await reader({ language, script: false });
      await told(async () => {
        await comeIn(page, stage.codes[language]);
        await page.getByRole('button', { name: say('Получить запасной код', 'Draw the spare code') }).click();
        await page.locator('.notice.done').waitFor();
        const spare = await page.locator('.secret').innerText();
        await page.check('#sure');
        await page.getByRole('button', { name: say('Освободить ключ', 'Release the key') }).click();
        await page.locator('.notice.done').waitFor();
        const reserve = await page.locator('.secret').innerText();
        assert.notEqual(reserve, spare);
        assert.match(reserve, /^[0-9A-Z]{4}(-[0-9A-Z]{4}){4}$/);
        await page.getByRole('button', { name: say('Закрыть страницу', 'Leave this page') }).click();
        await page.locator('#code').waitFor();
      });
      await end();
    });

    /** Looks at pages in every way; gives what is wrong. */
    async function look(page, pages) {
      const wrong = [];
      for (const [name, path, status] of pages) {
        console.log(`${language}: ${name}`);
        await page.setViewportSize({ width: 1280, height: 900 });
        const response = await page.goto(url + path);
        assert.equal(response.status(), status, path);
        assert.equal(await page.getAttribute('html', 'lang'), language, path);
        await page.evaluate(axe);
        for (const [width, scheme] of LOOKS) {
          await page.setViewportSize({ width, height: 900 });
          await page.emulateMedia({ colorScheme: scheme });
          const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
          for (const { id, impact, help, nodes } of violations) {
            if (!GRAVE.includes(impact)) continue;
            wrong.push(`${name} ${width} ${scheme}: ${id} (${impact}): ${help}: ${nodes.map((node) => node.html.slice(0, 160)).slice(0, 3).join(' | ')}`);
          }
          await page.screenshot({ fullPage: true, path: join(stage.pictures, `${name}-${language}-${scheme}-${width}.png`) });
        }
        await page.emulateMedia({ colorScheme: 'light' });
        await page.setViewportSize({ width: NARROW, height: 900 });
        const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        if (over > 0) wrong.push(`${name}: ${over} px too wide at ${NARROW}`);
      }
      return wrong;
    }

    task('pages that anybody sees are accessible', async () => {
      const { page, end } = await reader({ language, expected });
      assert.deepEqual(await look(page, OPEN), []);
      await end();
    });

    task('pages of the vendor are accessible', async () => {
      const { page, end } = await reader({ language, expected });
      await logIn(page, url, password, 'ada');
      await page.locator('.menu').waitFor();
      assert.deepEqual(await look(page, VENDOR), []);
      await end();
    });

    task('page of a key is accessible before and after its release', async () => {
      const { page, end } = await reader({ language, expected });
      await comeIn(page, stage.codes.shown);
      assert.deepEqual(await look(page, [['centre-my-key', '/my/key', 200]]), []);
      await comeIn(page, stage.codes[language]);
      assert.deepEqual(await look(page, [['centre-my-released', '/my/key', 200]]), []);
      await end();
    });
  });
}
