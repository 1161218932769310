// The page as a shopper gets it: data exported by the command line of this build, the page built and served, a browser.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { buildPage } from '../build.mjs';
import { serve } from '../serve.mjs';

const selvedge = process.env.SELVEDGE ?? fileURLToPath(new URL('../../../target/debug/selvedge', import.meta.url));

/** Exports real data where they can be had, made-up data elsewhere; serves the page and records what it is asked. */
export async function startStorefront() {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-page-'));
  const [data, site] = [join(directory, 'data'), join(directory, 'site')];
  execFileSync(selvedge, ['--quiet', 'demo', '--storefront', data]);
  await buildPage(data, site);
  const requests = [];
  const record = (request) => {
    const asked = { method: request.method, url: request.url, bodyBytes: 0 };
    request.on('data', (chunk) => (asked.bodyBytes += chunk.length));
    requests.push(asked);
  };
  let server = await serve(site, 0, record);
  const { address } = server;
  return {
    shop: JSON.parse(readFileSync(join(data, 'shop.json'), 'utf8')),
    address,
    requests,
    /** The machine is unreachable until `comeBack`. */
    goAway: () => server.close(),
    comeBack: async () => (server = await serve(site, Number(new URL(address).port), record)),
    close: async () => {
      await server.close();
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
