// What a reader sees in a browser: a page's text, and what its console answers.
import assert from 'node:assert/strict';
import { inspect } from 'node:util';

import { startBrowser } from '../../../www/sdk/test/site.mjs';
import { isShown } from './steps.mjs';

/** Longest that a page may take to show what the guide says, milliseconds. */
const PATIENCE = 20_000;

/** Opens Chromium; pages stay open, as tabs do. */
export async function openBrowser() {
  const browser = await startBrowser();
  const context = await browser.newContext();
  const pages = new Map();

  async function open(address) {
    const page = await context.newPage();
    const complaints = [];
    page.on('console', (message) => {
      // Browsers ask every site for an icon; that there is none is no fault of the page.
      const isIcon = message.location().url.endsWith('/favicon.ico');
      if (message.type() === 'error' && !isIcon) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(address);
    pages.set(address, { page, complaints });
    return { page, complaints };
  }

  return {
    /** Loads the page anew and waits until it shows this; it must complain of nothing, its policy included. */
    async shows(address, shown) {
      await pages.get(address)?.page.close();
      const { page, complaints } = await open(address);
      const text = async () => (await page.evaluate(() => document.body.innerText)).replace(/\n\n+/g, '\n');
      const end = Date.now() + PATIENCE;
      while (!isShown(shown, await text())) {
        const seen = [...complaints, await text()].join('\n');
        assert.ok(Date.now() < end, `${address} does not show what the guide says, but:\n${seen}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      assert.deepEqual(complaints, [], `${address} complains`);
    },
    /** Evaluates an expression in the page; its value as the console writes it. */
    async evaluate(address, expression, isOffline) {
      const { page } = pages.get(address) ?? (await open(address));
      await context.setOffline(isOffline);
      try {
        return inspect(await page.evaluate(`(async () => (${expression}))()`), { depth: 5, breakLength: 100 });
      } catch (error) {
        return `Uncaught ${String(error.message).replace(/^page\.evaluate: /, '').split('\n')[0]}`;
      } finally {
        await context.setOffline(false);
      }
    },
    close: () => browser.close(),
  };
}
