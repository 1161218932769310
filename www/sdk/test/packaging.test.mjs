// The tarball as users install it: Node by import and by require, Vite, workerd. Each ranks one request; all must give the
// bytes that the engine gives natively.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { build as bundle } from 'esbuild';
import { build as vite } from 'vite';

import { makeBundle, selvedge as command } from './bundle.mjs';
import { startBrowser, startSite } from './site.mjs';
import { module, startWorkerd } from './workerd.mjs';

const root = mkdtempSync(join(tmpdir(), 'selvedge-packaging-'));
const REQUEST_ID = '8f14e45fceea167a5a36dedd4bea2543';
const TIME = 1_795_545_000_000;
const CANDIDATES = [{ id: 'a', price: 1 }, { id: 'b', price: 3.5 }, { id: 'c', price: 2 }];
const RANK = `rank(${JSON.stringify(CANDIDATES)}, {}, { requestId: '${REQUEST_ID}', time: ${TIME}, utcOffsetMin: 0 })`;
let tarball;
let expected;

before(() => {
  const sdk = fileURLToPath(new URL('..', import.meta.url));
  const [{ filename }] = JSON.parse(execFileSync('npm', ['pack', '--json', '--pack-destination', root], { cwd: sdk, encoding: 'utf8' }));
  tarball = join(root, filename);
  writeFileSync(join(root, 'bundle.svb'), makeBundle());
  writeFileSync(join(root, 'request.json'), JSON.stringify({ request_id: REQUEST_ID, time: TIME, candidates: CANDIDATES }));
  const guest = fileURLToPath(new URL('../../../target/guest/selvedge-guest.wasm', import.meta.url));
  const at = (name) => join(root, name);
  execFileSync(command, ['--quiet', 'rank', '--guest', guest, '--bundle', at('bundle.svb'), '--request', at('request.json'), '--record', at('log')]);
  const log = readFileSync(at('log'));
  expected = log.subarray(24 + log.readUInt32LE(8)).toString('hex');
});

after(() => rmSync(root, { recursive: true }));

/** A fresh project with the tarball installed and these files. */
function project(name, files) {
  const directory = join(root, name);
  mkdirSync(directory);
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ name, private: true }));
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--offline', tarball], { cwd: directory, stdio: 'ignore' });
  for (const [path, text] of Object.entries(files)) writeFileSync(join(directory, path), text);
  return directory;
}

const BUNDLE = "require('node:fs').readFileSync('../bundle.svb')";
const run = (directory, file) => execFileSync(process.execPath, [file], { cwd: directory, encoding: 'utf8' }).trim();

test('the tarball holds what is built and nothing else', () => {
  const directory = project('contents', {});
  const installed = join(directory, 'node_modules/selvedge');
  assert.deepEqual(readdirSync(installed).sort(), ['README.md', 'dist', 'package.json']);
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json')));
  assert.equal(dependencies, undefined);
});

test('Node, by import', () => {
  const text = `import { load } from 'selvedge'; import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);
    const engine = await load({ bundle: ${BUNDLE} }); console.log(Buffer.from((await engine.${RANK}).bytes).toString('hex'));`;
  assert.equal(run(project('esm', { 'main.mjs': text }), 'main.mjs'), expected);
});

test('Node, by require', () => {
  const text = `const { load } = require('selvedge');
    load({ bundle: ${BUNDLE} }).then((engine) => engine.${RANK}).then(({ bytes }) => console.log(Buffer.from(bytes).toString('hex')));`;
  assert.equal(run(project('cjs', { 'main.cjs': text }), 'main.cjs'), expected);
});

test('TypeScript knows the types', () => {
  const text = `import { load, SelvedgeError, type Decision } from 'selvedge';
    import { importKeys, verifyOffer } from 'selvedge/offer';
    const engine = await load({ bundle: '/bundle.svb' });
    const decision: Decision = await engine.rank([{ id: 'a', price: 1 }], { query: ['x'] }, { reasons: 2 });
    const first: string | undefined = decision.items[0]?.id;
    engine.on('fallback', ({ error }) => console.log(error instanceof SelvedgeError && error.code, first));
    const offer = await verifyOffer('', { keys: await importKeys([]), issuer: 'shop', audience: 'shop' });
    const face: number | undefined = typeof offer === 'string' ? undefined : offer.face;
    console.log(face);
    // @ts-expect-error an event has an item
    await engine.observe({ event: 'view' });`;
  const directory = project('types', { 'main.mts': text });
  const tsc = fileURLToPath(new URL('../../../node_modules/typescript/bin/tsc', import.meta.url));
  const options = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext', '--moduleResolution', 'nodenext', '--lib', 'es2022,dom', '--types', ''];
  execFileSync(process.execPath, [tsc, ...options.filter((option) => option !== ''), 'main.mts'].filter((option) => option !== '--types'), { cwd: directory });
});

test('Vite', async () => {
  const directory = project('vite', {
    'index.html': '<!doctype html><title>x</title><script type="module" src="/main.js"></script>',
    'main.js': `import { load } from 'selvedge'; window.ranked = load({ bundle: '/bundle.svb' }).then((engine) => engine.${RANK}).then(({ bytes }) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(''));`,
  });
  // No inlining: under a strict policy a page fetches nothing from data addresses.
  await vite({ root: directory, logLevel: 'error', build: { assetsInlineLimit: 0 } });
  const files = { '/': readFileSync(join(directory, 'dist/index.html')), '/bundle.svb': readFileSync(join(root, 'bundle.svb')) };
  for (const name of readdirSync(join(directory, 'dist/assets'))) files[`/assets/${name}`] = readFileSync(join(directory, 'dist/assets', name));
  const [site, browser] = [await startSite(files), await startBrowser()];
  try {
    const page = await browser.newPage();
    await page.goto(site.address);
    await page.waitForFunction(() => window.ranked);
    assert.equal(await page.evaluate(() => window.ranked), expected);
  } finally {
    await browser.close();
    await site.close();
  }
});

test('workerd', async () => {
  const directory = project('workerd', {
    'main.js': `import { load } from 'selvedge'; import bundle from './bundle.svb';
      export default { async fetch() { const engine = await load({ bundle: new Uint8Array(bundle) }); return new Response((await engine.${RANK}).bytes); } };`,
  });
  const { outputFiles } = await bundle({
    entryPoints: [join(directory, 'main.js')],
    bundle: true,
    write: false,
    format: 'esm',
    conditions: ['workerd', 'worker', 'browser'],
    external: ['*.wasm', '*.svb'],
  });
  const miniflare = startWorkerd([
    module('main.js', outputFiles[0].text),
    module('selvedge.wasm', readFileSync(join(directory, 'node_modules/selvedge/dist/selvedge.wasm')), 'CompiledWasm'),
    module('bundle.svb', readFileSync(join(root, 'bundle.svb')), 'Data'),
  ]);
  try {
    const response = await miniflare.dispatchFetch('http://x/');
    assert.equal(Buffer.from(await response.arrayBuffer()).toString('hex'), expected);
  } finally {
    await miniflare.dispose();
  }
});
