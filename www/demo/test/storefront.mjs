// The page as a shopper gets it: data exported by the command line of this build, the page built and served, a browser, and
// what every test of the page asks of it.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { buildPage } from '../build.mjs';
import { openCounter, serve } from '../serve.mjs';

const selvedge = process.env.SELVEDGE ?? fileURLToPath(new URL('../../../target/debug/selvedge', import.meta.url));

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const DESK = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** Exports real data where they can be had, made-up data elsewhere; serves the page and records what it is asked. */
export async function startStorefront() {
  return start([], async () => ({ host: null, counter: null }));
}

/** A small shop of made-up data with a host beside it, and a counter for its coupons; `options` are those of `startHost`. */
export async function startShopWithCoupons(options) {
  return start(['--quick'], (site) => openCounter(site, selvedge, options));
}

async function start(options, open) {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-page-'));
  const [data, site] = [join(directory, 'data'), join(directory, 'site')];
  execFileSync(selvedge, ['--quiet', 'demo', ...options, '--storefront', data]);
  await buildPage(data, site);
  const requests = [];
  const record = (request) => {
    const asked = { method: request.method, url: request.url, bodyBytes: 0 };
    request.on('data', (chunk) => (asked.bodyBytes += chunk.length));
    requests.push(asked);
  };
  const { host, counter } = await open(site);
  let server = await serve(site, 0, record, counter);
  const { address } = server;
  return {
    shop: JSON.parse(readFileSync(join(data, 'shop.json'), 'utf8')),
    address,
    requests,
    host,
    /** The machine is unreachable until `comeBack`. */
    goAway: () => server.close(),
    comeBack: async () => (server = await serve(site, Number(new URL(address).port), record, counter)),
    close: async () => {
      await server.close();
      await host?.close();
      rmSync(directory, { recursive: true });
    },
  };
}

export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-sync'],
  });
}

/** All that was asked for is decided and shown, and has come to rest. */
export async function settled(page) {
  await page.waitForSelector('#feed[aria-busy="false"]');
  await page.evaluate(() => Promise.allSettled(document.querySelector('#feed').getAnimations({ subtree: true }).map(({ finished }) => finished)));
}

/** What axe finds serious or critical. */
export async function barriers(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run({ resultTypes: ['violations'] });
    return violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ target }) => target.join(' ')).slice(0, 3).join(', ')}`);
  });
  return found.filter((line) => /^(serious|critical)/.test(line));
}

/** What stands out of the window on the right. */
export function cutOff(page) {
  return page.evaluate(() => [...document.querySelectorAll('body *:not(.hidden, .backdrop, .backdrop *)')]
    .filter((node) => node.checkVisibility() && node.getBoundingClientRect().right > innerWidth)
    .map((node) => node.id || node.className));
}
