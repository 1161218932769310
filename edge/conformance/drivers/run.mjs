// The corpus in Node, Chromium and workerd, with the npm package's modules, with SIMD and without.
// `node run.mjs CORPUS TRACE` prints a JSON list of `{driver, cases, equal}`; differences go to standard error.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { build } from 'esbuild';
import { chromium } from 'playwright-core';

import { bindings, modules } from '../../../www/sdk/bindings.mjs';
import { module, startWorkerd } from '../../../www/sdk/test/workerd.mjs';

const [corpusPath, tracePath] = process.argv.slice(2);
const harness = fileURLToPath(new URL('../../../target/conformance/harness.mjs', import.meta.url));
await build({
  entryPoints: [fileURLToPath(new URL('harness.js', import.meta.url))],
  outfile: harness,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  plugins: [bindings],
  logLevel: 'warning',
});

const files = {
  'harness.mjs': await readFile(harness),
  'corpus.bin': await readFile(corpusPath),
  'trace.bin': await readFile(tracePath),
};
const variants = { '': 'simd', '-plain': 'plain' };
const wasm = {};
for (const variant of Object.values(variants)) wasm[variant] = await readFile(`${modules}${variant}/selvedge.wasm`);

const drivers = { node: inNode, chromium: inChromium, workerd: inWorkerd };
const reports = [];
for (const [driver, decide] of Object.entries(drivers)) {
  for (const [suffix, report] of Object.entries(await decide())) reports.push({ driver: driver + suffix, ...report });
}
for (const { driver, difference } of reports) if (difference) console.error(`${driver}: ${difference}`);
const lines = reports.map(({ driver, cases, equal }) => `  ${JSON.stringify({ driver, cases, equal })}`);
console.log(`[\n${lines.join(',\n')}\n]`);
process.exitCode = reports.every(({ cases, equal }) => cases === equal) ? 0 : 1;

async function inNode() {
  const { run } = await import(pathToFileURL(harness).href);
  const reports = {};
  for (const [suffix, variant] of Object.entries(variants)) {
    reports[suffix] = run(await WebAssembly.compile(wasm[variant]), files['corpus.bin'], files['trace.bin']);
  }
  return reports;
}

async function inChromium() {
  const served = { ...files, 'simd.wasm': wasm.simd, 'plain.wasm': wasm.plain, '': '<!doctype html><title>conformance</title>' };
  const types = { mjs: 'text/javascript', wasm: 'application/wasm', bin: 'application/octet-stream' };
  const server = createServer((request, response) => {
    const name = request.url.slice(1);
    const body = Object.hasOwn(served, name) ? served[name] : undefined;
    response.writeHead(body === undefined ? 404 : 200, { 'content-type': types[name.split('.').pop()] ?? 'text/html' });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    return await page.evaluate(async (variants) => {
      const { run } = await import('/harness.mjs');
      const bytes = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
      const [corpus, trace] = await Promise.all([bytes('/corpus.bin'), bytes('/trace.bin')]);
      const reports = {};
      for (const [suffix, variant] of Object.entries(variants)) {
        reports[suffix] = run(await WebAssembly.compileStreaming(fetch(`/${variant}.wasm`)), corpus, trace);
      }
      return reports;
    }, variants);
  } finally {
    await browser.close();
    server.close();
  }
}

async function inWorkerd() {
  const worker = `
    import { run } from './harness.mjs';
    import simd from './simd.wasm';
    import plain from './plain.wasm';
    import corpus from './corpus.bin';
    import trace from './trace.bin';
    export default {
      fetch: () => Response.json(Object.fromEntries([['', simd], ['-plain', plain]].map(([suffix, module]) =>
        [suffix, run(module, new Uint8Array(corpus), new Uint8Array(trace))]))),
    };`;
  const miniflare = startWorkerd([
    module('worker.mjs', worker),
    module('harness.mjs', files['harness.mjs']),
    module('simd.wasm', wasm.simd, 'CompiledWasm'),
    module('plain.wasm', wasm.plain, 'CompiledWasm'),
    module('corpus.bin', files['corpus.bin'], 'Data'),
    module('trace.bin', files['trace.bin'], 'Data'),
  ]);
  try {
    const response = await miniflare.dispatchFetch('http://conformance/');
    if (!response.ok) throw new Error(`workerd answered ${response.status}: ${await response.text()}`);
    return await response.json();
  } finally {
    await miniflare.dispose();
  }
}
