// What an administrator comes for, from the first sign-in to the last log-out, on a server of its
// own: in one language, with script or without.
//
// The steps build on each other as they do in life. What a page says in general (accessibility,
// keyboard, narrow screens) is judged in pages.mjs.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';

import {
  STEP_MILLIS, ask, basic, changePassword, freePort, logIn, reader, rest, stage, texts,
} from './support.mjs';

const run = promisify(execFile);

/** All tasks of one reader. */
export function tasks(language, script) {
  const site = `${language}-${script ? 'script' : 'plain'}`;
  describe(`tasks, ${language}, ${script ? 'with' : 'without'} script`, { concurrency: 1 }, () => {
    const say = texts(language);
    const given = stage.sites[site];
    let { url } = given;
    let who;
    let page;

    let isBroken = false;

    /** A step; those after a failed one would only wait for what cannot come. */
    const task = (name, body) => it(name, { timeout: 4 * STEP_MILLIS }, async () => {
      if (isBroken) throw 'a step before this one has failed';
      isBroken = true;
      await who.told(body);
      isBroken = false;
      console.log(`${site}: ${name}`);
    });
    const button = (name) => page.getByRole('button', { name, exact: true });
    const link = (name) => page.getByRole('link', { name, exact: true });
    const see = async (text) => page.getByText(text).first().waitFor();
    const heading = async (text) => page.getByRole('heading', { level: 1, name: text }).waitFor();
    const menu = async (name) => page.getByRole('navigation').getByRole('link', { name, exact: true }).click();
    const done = async (text) => page.locator('.notice.done', { hasText: text }).waitFor();
    /** With script the form asks once more. */
    const confirm = async () => { if (script) await page.locator('dialog button.danger').click(); };
    const held = async () => (await (await rest(url, '/api/sessions')).json()).Sessions;
    const saved = async (press) => {
      const [download] = await Promise.all([page.waitForEvent('download'), press()]);
      assert.equal(await download.failure(), null);
      return { name: download.suggestedFilename(), text: await readFile(await download.path(), 'utf8') };
    };

    before(async () => {
      who = await reader({
        language,
        script,
        // A code that is none is answered with 400; the rest is the refresh of an open page while the
        // server restarts.
        expected: ['400 (Bad Request)', 'net::ERR_CONNECTION_REFUSED', 'net::ERR_EMPTY_RESPONSE', 'net::ERR_CONNECTION_RESET'],
      });
      ({ page } = who);
    });
    after(() => who?.end());

    task('signs in with the default password and is made to change it', async () => {
      await logIn(page, url, 'admin');
      await heading(say('Смена пароля', 'Change the password'));
      assert.equal(await page.getAttribute('html', 'lang'), language);
      await page.goto(`${url}/keys`);
      await heading(say('Смена пароля', 'Change the password'));
      await changePassword(page);
      await done(say('Пароль изменён.', 'The password has been changed.'));
      const old = await rest(url, '/api/licences', { authorization: basic('admin', 'admin') });
      assert.equal(old.status, 401);
      assert.equal((await rest(url, '/api/licences')).status, 200);
    });

    task('installs a key by its code', async () => {
      await menu(say('Ключи', 'Keys'));
      await link(say('Установить ключ', 'Install a key')).first().click();
      await page.getByLabel(say('Код активации или резервный код', 'Activation code or reserve code')).fill('1111-2222');
      await button(say('Установить автоматически', 'Install automatically')).click();
      await page.locator('[role=alert]').waitFor();
      await page.fill('#code', given.code.toLowerCase());
      await button(say('Установить автоматически', 'Install automatically')).click();
      await done(say('Ключ установлен.', 'The key has been installed.'));
      const { Licences: keys } = await (await rest(url, '/api/licences')).json();
      assert.deepEqual(keys.map((key) => [key.LicenceCount, key.Enabled]), [[2, true]]);
    });

    task('installs a key by file', async () => {
      await page.goto(`${url}/keys/install`);
      await page.fill('#code', given.fileCode);
      const request = await saved(() => button(say('Сохранить запрос в файл', 'Save the request as a file')).click());
      const answer = await answered(request);
      if (script) {
        await page.setInputFiles('#answer-file', { name: 'answer', mimeType: 'text/plain', buffer: Buffer.from(answer) });
        await page.waitForFunction(() => document.getElementById('answer').value !== '');
      } else {
        await page.fill('#answer', answer);
      }
      await button(say('Установить ответ', 'Install the answer')).click();
      await done(say('Ключ установлен.', 'The key has been installed.'));
      const { Licences: keys } = await (await rest(url, '/api/licences')).json();
      assert.deepEqual(keys.map((key) => key.LicenceCount).sort(), [1, 2]);
    });

    /** The answer to a request: from the centre's page, or by licencekit. */
    async function answered(request) {
      const file = join(stage.downloads, `${site}.request`);
      const answer = join(stage.downloads, `${site}.answer`);
      await writeFile(file, request.text);
      if (language === 'en') {
        await run(stage.kit, ['request', 'answer', '--centre', stage.centre, '--out', answer, file]);
        return readFile(answer, 'utf8');
      }
      const internet = await reader({ language, script });
      await internet.page.goto(stage.centre);
      await internet.page.getByLabel('Текст запроса:').fill(request.text);
      const [download] = await Promise.all([
        internet.page.waitForEvent('download'),
        internet.page.getByRole('button', { name: 'Получить ответ' }).click(),
      ]);
      const text = await readFile(await download.path(), 'utf8');
      await internet.end();
      return text;
    }

    task('finds who holds a seat and ends the session with a reason', async () => {
      await ask({ site, do: 'start' });
      const seats = [];
      for (const number of [1, 2, 3]) seats.push(await ask({ site, do: 'take', number }));
      assert.match((await ask({ site, do: 'take', number: 4 })).refused, /ENoFreeLicence/);
      assert.equal((await ask({ site, do: 'held' })).held, 3);
      const watching = await who.context.newPage();
      await watching.goto(`${url}/sessions`);
      assert.equal(await watching.locator('#list tbody tr').count(), 3);

      await menu(say('Сеансы', 'Sessions'));
      await page.getByLabel(say('Поиск', 'Search')).fill('pc-2');
      await button(say('Найти', 'Search')).click();
      await page.locator('.found', { hasText: '1' }).first().waitFor();
      const row = page.locator('#list tbody tr');
      assert.equal(await row.count(), 1);
      assert.match(await row.innerText(), /Пользователь 2/);
      await row.getByRole('link', { name: '2', exact: true }).click();
      await heading(say('Сеанс № 2', 'Session no. 2'));
      await page.getByLabel(say('Причина', 'Reason')).fill(say('ушёл домой', 'went home'));
      await button(say('Завершить сеанс', 'End the session')).click();
      await confirm();
      await done(say('Сеанс завершён, лицензия свободна.', 'The session has been ended.'));

      assert.deepEqual((await held()).map((session) => session.SessionNumber).sort(), ['1', '3']);
      assert.equal((await ask({ site, do: 'held' })).held, 2, 'the component counts two');
      if (script) {
        // The page that was left open learns of it by itself.
        await watching.waitForFunction(() => document.querySelectorAll('#list tbody tr').length === 2);
      }
      await watching.close();
      const again = await ask({ site, do: 'take', number: 4 });
      assert.ok(again.id, `its seat is free for somebody else: ${JSON.stringify([again, await held()])}`);
      await page.goto(`${url}/events?kind=audit`);
      const end = page.locator('tr.event', { hasText: say('ушёл домой', 'went home') });
      assert.match(await end.innerText(), /admin/);
    });

    task('reads the peak of the month', async () => {
      await menu(say('Отчёты', 'Reports'));
      await page.getByLabel(say('Период', 'Span')).selectOption({ label: say('30 дней', '30 days') });
      await button(say('Показать', 'Show')).click();
      const facts = page.locator('article.report').first();
      await facts.locator('figcaption b', { hasText: /^3$/ }).waitFor();
      assert.match(await facts.locator('dl.facts').innerText(), say(/Пик[^\n]*\n+3/, /[Pp]eak[^\n]*\n+3/));
      assert.match(await page.locator('section[aria-labelledby=by-users]').innerText(), /Пользователь 1/);
    });

    task('downloads the denials as CSV', async () => {
      await menu(say('События', 'Events'));
      await page.getByLabel(say('Вид', 'Kind')).selectOption({ label: say('отказ', 'denial') });
      await button(say('Показать', 'Show')).click();
      await page.locator('tr.event.denied').first().waitFor();
      const list = await saved(() => link('CSV').click());
      assert.match(list.name, /\.csv$/);
      const lines = list.text.trim().split(/\r?\n/);
      assert.equal(lines.length, 2, list.text);
      assert.match(lines[1], /ENoFreeLicence/);
      assert.match(lines[1], /Пользователь 4/);
    });

    task('makes a token for the metrics and uses it', async () => {
      await menu(say('Доступ', 'Access'));
      await page.locator('#token-name').fill('prometheus');
      await page.locator('#token-scope').selectOption({ label: say('только метрики', 'metrics only') });
      await button(say('Выдать', 'Make')).click();
      const secret = await page.locator('#made-token').inputValue();
      const metrics = await rest(url, '/metrics', { authorization: `Bearer ${secret}` });
      assert.equal(metrics.status, 200);
      assert.match(await metrics.text(), /^licence\w*_seats\w*\{.*\} \d+$/m);
      assert.equal((await rest(url, '/metrics', { authorization: `Bearer ${secret}x` })).status, 401);
      assert.equal((await rest(url, '/api/sessions', { authorization: `Bearer ${secret}` })).status, 403);
      await page.goto(`${url}/access`);
      assert.equal(await page.getByText(secret).count(), 0, 'the secret is shown once');
      await page.locator('#tokens ~ table', { hasText: 'prometheus' }).waitFor();
    });

    task('adds a rule after a look at what it would do', async () => {
      await menu(say('Правила', 'Rules'));
      const name = say('Третий — не сейчас', 'Not the third one');
      await page.locator('#rule-name').fill(name);
      await page.locator('#rule-effect').selectOption('deny');
      await page.locator('#rule-user').fill('*ватель 3');
      await page.locator('section[aria-labelledby=one-rule]').getByRole('button').click();
      await heading(say('Проверка правил', 'Check of the rules'));
      assert.match(await page.locator('main .notice.warning[role=status]').innerText(), /1 (из|of) 3/);
      assert.match(await page.locator('table').first().innerText(), /Пользователь 3/);
      await page.getByRole('button', { name: say('Применить', 'Apply') }).click();
      await done(say('Правила сохранены.', 'The rules have been saved.'));
      await page.locator('tr.rule', { hasText: name }).waitFor();
      assert.equal((await held()).length, 3, 'who works goes on');
    });

    task('enters an organisation and whom to remind of its session keys', async () => {
      await menu(say('ИС МП', 'Session keys'));
      await heading(say('Ключи сессии ИС МП', 'Session keys of ИС МП'));
      const saved = async (name) => {
        await button(name).click();
        await done(say('Настройки ключей сессии сохранены.', 'What was entered has been saved.'));
        // Without what was done, so that the next step is not taken for done already.
        await page.goto(`${url}/ismp`);
      };
      await page.locator('#organization-inn').fill('7707083893');
      await page.locator('#organization-name').fill('Ромашка');
      await saved(say('Добавить организацию', 'Add the organisation'));
      await page.locator('#installation-oms').fill('b8e61c2a-1b8a-4b1f-8c2e-3c9b2a7f0d11');
      await saved(say('Добавить установку', 'Add the installation'));
      await page.locator('#rule-organization').selectOption('7707083893');
      await page.locator('#rule-people').fill('Иванова Анна; завтра');
      await button(say('Добавить правило', 'Add the rule')).click();
      await page.locator('[role=alert]').waitFor();
      assert.equal(await page.locator('#rule-people').inputValue(), 'Иванова Анна; завтра', 'what was typed stays');
      await page.locator('#rule-people').fill('Иванова Анна; 30');
      await saved(say('Добавить правило', 'Add the rule'));
      const row = page.locator('section[aria-labelledby=ismp-rules] tbody tr');
      assert.match(await row.innerText(), /Ромашка[^]*Иванова Анна — 30/);
      await row.getByRole('button').click();
      await confirm();
      await done(say('Настройки ключей сессии сохранены.', 'What was entered has been saved.'));
      await see(say('Правил нет', 'There are no rules'));
    });

    task('switches the language and back', async () => {
      await menu(say('Справка', 'Help'));
      await link(say('English', 'Русский')).click();
      assert.equal(await page.getAttribute('html', 'lang'), language === 'ru' ? 'en' : 'ru');
      assert.equal(new URL(page.url()).pathname, '/help');
      await link(say('Русский', 'English')).click();
      await heading(say('Справка', 'Help'));
    });

    task('changes the port, restarts from the page and finds the console there', async () => {
      const port = await freePort();
      await menu(say('Настройки', 'Settings'));
      await page.getByLabel('ServerPort', { exact: true }).fill(String(port));
      await button(say('Сохранить', 'Save')).click();
      await done(say('Настройки сохранены.', 'The settings have been saved.'));
      await see(say('ждёт перезапуска', 'waits for a restart'));
      await page.locator('section[aria-labelledby=restart]').getByRole('button').click();
      await confirm();
      await heading(say('Сервер перезапускается', 'The server is restarting'));
      url = `http://127.0.0.1:${port}`;
      await page.waitForURL((at) => at.port === String(port));
      await page.goto(`${url}/`);
      await heading(say('Обзор', 'Overview'));
      assert.equal((await rest(url, '/api/licences')).status, 200);
      const conf = await readFile(join(stage.downloads, site, '3.0', 'licenceserver.conf'), 'utf8');
      assert.match(conf, /^; kept by the console$/m);
      assert.match(conf, new RegExp(`^ServerPort=${port}$`, 'm'));
    });

    task('logs out', async () => {
      await page.goto(`${url}/settings`);
      if (await page.locator('#password').count()) await logIn(page, url);
      await button(say('Выйти', 'Log out')).click();
      await done(say('Вы вышли из консоли.', 'You are logged out.'));
      await page.goto(`${url}/settings`);
      await heading(say('Вход в консоль', 'Log in to the console'));
    });
  });
}
