// The package in Chromium: from `load` to the first decision in a fresh page whose cache is warm, and decisions after it.
import { startBrowser, startSite } from '../../www/sdk/test/site.mjs';
import { bundle, candidates, idOf, shared } from './grocer.mjs';
import { figure } from './measure.mjs';
import { makeBundle } from '../../www/sdk/test/bundle.mjs';

const ROUNDS = 5;

/** In the page: milliseconds from `load` to a decision. */
const first = async ([options, asked]) => {
  const began = performance.now();
  const engine = await window.selvedge.load(options);
  const { status } = await engine.rank(asked);
  const took = performance.now() - began;
  const { requests } = await engine.status();
  await engine.close();
  if (status !== 'personalized') throw new Error(`the decision is ${status}`);
  return [took, requests];
};

/** In the page: microseconds of each decision. Its clock has steps of some microseconds, so ten are timed together. */
const decisions = async ([options, asked, samples]) => {
  const engine = await window.selvedge.load(options);
  for (let warm = 0; warm < 200; warm++) await engine.rank(asked);
  const times = [];
  for (let at = 0; at < samples; at++) {
    const began = performance.now();
    for (let k = 0; k < 10; k++) await engine.rank(asked);
    times.push((performance.now() - began) * 100);
  }
  await engine.close();
  return times;
};

export async function chromium({ isQuick }) {
  const small = makeBundle();
  const address = (container) => `/v1/bundles/${idOf(container)}`;
  const files = {
    '/': '<!doctype html><title>bench</title><script type="module" src="/page.js"></script>',
    '/page.js': "import * as selvedge from '/dist/browser.js'; window.selvedge = selvedge;",
    [address(small)]: small,
    [address(bundle)]: bundle,
    [address(shared)]: shared,
  };
  // A shop's scripts are cached; what the browser has compiled of them is then kept as well.
  const site = await startSite(files, { 'cache-control': 'max-age=3600' });
  const browser = await startBrowser();
  try {
    const context = await browser.newContext();
    const inPage = async (run, argument) => {
      const page = await context.newPage();
      try {
        await page.goto(site.address);
        await page.waitForFunction(() => window.selvedge);
        return await page.evaluate(run, argument);
      } finally {
        await page.close();
      }
    };
    const shop = { bundle: address(small) };
    const grocer = { bundle: address(bundle), shared: address(shared) };
    const asked = candidates(100);
    const figures = [];
    for (const [what, options, target] of [
      ['load to first decision, warm cache, 100 candidates, a linear model', shop, 20],
      ['load to first decision, warm cache, 100 candidates, 300 trees and 70,000 items', grocer, null],
    ]) {
      await inPage(first, [options, asked]);
      const rounds = [];
      for (let round = 0; round < ROUNDS; round++) {
        const samples = [];
        for (let at = 0; at < (isQuick ? 4 : 20); at++) {
          const [took, requests] = await inPage(first, [options, asked]);
          if (requests > 0) throw new Error(`the cache is cold: ${requests} requests`);
          samples.push(took);
        }
        rounds.push(samples);
      }
      figures.push(figure('chromium', what, 'ms', rounds, { target }));
    }
    for (const count of [20, 100, 200, 500]) {
      const rounds = [];
      for (let round = 0; round < ROUNDS; round++) rounds.push(await inPage(decisions, [grocer, candidates(count), isQuick ? 10 : 100]));
      figures.push(figure('chromium', `decision, ${count} candidates, 300 trees`, 'us', rounds));
    }
    return figures;
  } finally {
    await browser.close();
    await site.close();
  }
}
