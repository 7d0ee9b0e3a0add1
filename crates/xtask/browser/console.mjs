// All browser tests, in one process with one browser: `node --test-reporter=spec console.mjs`,
// started by crates/xtask/tests/console.rs, which sets the stage.

import { after, before, describe } from 'node:test';

import { everyPage } from './pages.mjs';
import { close, open } from './support.mjs';
import { tasks } from './tasks.mjs';

// Two at a time: as many as there are cores on a small builder.
describe('console', { concurrency: 2 }, () => {
  before(open);
  after(close);
  for (const language of ['ru', 'en']) {
    for (const script of [true, false]) tasks(language, script);
    everyPage(language);
  }
});
