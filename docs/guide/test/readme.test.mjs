// What the npm package says of itself on its page in the registry.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

import { makeBundle } from '../../../www/sdk/test/bundle.mjs';
import { startBrowser, startSite } from '../../../www/sdk/test/site.mjs';

const sdk = new URL('../../../www/sdk/', import.meta.url);
const readme = readFileSync(new URL('README.md', sdk), 'utf8');

test('the example of the package ranks in a page, under the policy that it names', async () => {
  const blocks = [...readme.matchAll(/^```(.*)\n([^]*?)^```$/gm)];
  assert.deepEqual(blocks.map(([, language]) => language), ['js'], 'a block that nobody runs');
  const script = blocks[0][2].replace("'selvedge'", "'/dist/browser.js'");
  const site = await startSite({
    '/': '<!doctype html><script type="module" src="/readme.js"></script>',
    '/readme.js': `${script}\nglobalThis.ranked = items.map(({ id }) => id);`,
    '/bundle.svb': makeBundle(),
  });
  const browser = await startBrowser();
  try {
    const page = await browser.newPage();
    await page.goto(site.address);
    await page.waitForFunction(() => globalThis.ranked);
    assert.deepEqual(await page.evaluate(() => globalThis.ranked), ['rye', 'milk']);
    const asked = site.requests.filter((path) => path !== '/favicon.ico').sort();
    assert.deepEqual(asked, ['/', '/bundle.svb', '/dist/browser.js', '/dist/selvedge.wasm', '/readme.js']);
  } finally {
    await browser.close();
    await site.close();
  }
});

test('the size that it names is that of what a page loads', () => {
  const stated = Number(/(\d+) KB over the network/.exec(readme)[1]);
  const loaded = ['dist/browser.js', 'dist/selvedge.wasm'].map((file) => gzipSync(readFileSync(new URL(file, sdk)), { level: 9 }).length);
  const actual = loaded.reduce((sum, bytes) => sum + bytes) / 1000;
  assert.ok(actual <= stated && actual > stated - 3, `${actual} KB, not ${stated}`);
});
