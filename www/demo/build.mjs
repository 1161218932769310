// Builds the page: `node www/demo/build.mjs DATA SITE`, from what `selvedge demo --storefront DATA` wrote into a directory
// that any static server can serve. `cargo xtask page` calls it after the npm package is built.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const sdk = at('../sdk/dist/');
/** Says whether there is a coupon counter: no file to keep, since that changes with the server. */
const COUNTER = 'counter.json';
const PANEL = 'offers/panel.js';
const common = { bundle: true, target: 'es2022', format: 'esm', minify: true, legalComments: 'none', logLevel: 'warning' };

/** Builds into `site`, which is emptied first. */
export async function buildPage(data, site) {
  for (const project of ['tsconfig.json', 'worker/tsconfig.json']) {
    execFileSync(process.execPath, [at('../../node_modules/typescript/bin/tsc'), '--project', at(project)], { stdio: 'inherit' });
  }
  await rm(site, { recursive: true, force: true });
  await mkdir(site, { recursive: true });
  await Promise.all([
    cp(data, join(site, 'data'), { recursive: true }),
    // A site without a counter says so; `serve.mjs` says otherwise where it has one.
    writeFile(join(site, COUNTER), '{"open": false}\n'),
    ...['index.html', 'icon.svg'].map((file) => cp(at(file), join(site, file))),
    ...['selvedge.wasm', 'selvedge-plain.wasm'].map((file) => cp(join(sdk, file), join(site, file))),
    build({ ...common, entryPoints: [at('styles/page.css')], outfile: join(site, 'page.css'), target: 'esnext' }),
    build({ ...common, entryPoints: [at('styles/offers.css')], outfile: join(site, 'offers/panel.css'), target: 'esnext' }),
    // A chunk of its own, since whoever opens no coupon counter need not load it. What it uses of the engine it is handed.
    build({ ...common, entryPoints: [at('src/offers/panel.ts')], outfile: join(site, PANEL), loader: { '.html': 'text' } }),
  ]);
  await script(site);
  await serviceWorker(site);
}

/** The page's script, which knows its own size: that of a first build, give or take the digits that it then writes in. */
async function script(site) {
  const outfile = join(site, 'page.js');
  const [module, none] = [await sizeOf(join(site, 'selvedge.wasm')), { bytes: 0, gzip_bytes: 0 }];
  const write = (page) => build({ ...common, entryPoints: [at('src/page.ts')], outfile, external: [`./${PANEL}`], define: { BUILT: JSON.stringify({ module, page }) } });
  await write(none);
  await write(await sizeOf(outfile));
}

/** The service worker, which knows what to keep. */
async function serviceWorker(site) {
  const files = (await list(site)).filter((file) => file !== COUNTER);
  const hash = createHash('sha256');
  for (const file of files) hash.update(file).update(await readFile(join(site, file)));
  const define = { FILES: JSON.stringify(['./', ...files]), BUILD: JSON.stringify(hash.digest('hex').slice(0, 16)) };
  await build({ ...common, entryPoints: [at('worker/sw.ts')], outfile: join(site, 'sw.js'), format: 'iife', define });
}

async function sizeOf(path) {
  const bytes = await readFile(path);
  return { bytes: bytes.length, gzip_bytes: gzipSync(bytes, { level: 9 }).length };
}

/** Paths of all files below, sorted. */
async function list(directory) {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => relative(directory, join(entry.parentPath ?? entry.path, entry.name)));
  return files.sort();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [data, site] = process.argv.slice(2);
  if (!data || !site) {
    console.error('usage: node www/demo/build.mjs DATA SITE');
    process.exit(2);
  }
  await buildPage(data, site);
}
