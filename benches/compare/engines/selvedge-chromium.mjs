// Ours in a page of Chromium: the same module, inputs and harness as in Node; only the clock is the page's.
//
// The page is isolated from other origins, because only then the clock's steps are 5 microseconds; calls are timed in groups
// of a millisecond.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

import { open } from './workload.mjs';

const at = (name) => fileURLToPath(new URL(name, import.meta.url));
const PAGE = `<!doctype html><title>compare</title><script type="module">
  import { engine, matrices } from './selvedge.mjs';
  import * as harness from './harness.mjs';
  const bytes = async (name) => new Uint8Array(await (await fetch(name)).arrayBuffer());
  window.start = async (rows, sets, features) => {
    const [module, bundle] = await Promise.all([WebAssembly.compileStreaming(fetch('guest.wasm')), bytes('bundle.svb')]);
    const inputs = {};
    for (const count of rows) inputs[count] = matrices(await bytes(\`inputs-\${count}.f32\`), sets, count, features);
    const ours = engine(module, bundle, inputs);
    window.ask = (question, ...of) => harness[question](ours, ...of);
  };
</script>`;

const TYPES = { mjs: 'text/javascript', wasm: 'application/wasm', svb: 'application/octet-stream', f32: 'application/octet-stream' };

export async function load(folder) {
  const { chromium } = await import('playwright-core');
  const { GUEST: guest, PEER: executablePath } = process.env;
  const workload = open(folder);
  const body = (name) => {
    if (name === '') return PAGE;
    if (name === 'guest.wasm') return readFileSync(guest);
    return name.endsWith('.mjs') ? readFileSync(at(name)) : workload.read(name);
  };
  const server = createServer((request, response) => {
    const name = request.url.slice(1);
    response.setHeader('cross-origin-opener-policy', 'same-origin');
    response.setHeader('cross-origin-embedder-policy', 'require-corp');
    response.setHeader('content-type', TYPES[name.split('.').pop()] ?? 'text/html');
    try {
      response.end(body(name));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-sync'],
  });
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => window.start);
  await page.evaluate((of) => window.start(...of), [workload.rows, workload.sets, workload.columns.length]);
  const ask = (question, ...of) => page.evaluate(([question, of]) => window.ask(question, ...of), [question, of]);
  return {
    version: process.env.VERSION,
    settings: `the guest module in a page of Chromium ${browser.version()}, \`predict\` on rows of features, which lie ready`,
    files: [guest],
    rows: workload.rows,
    sets: workload.sets,
    remote: { check: (_, rows) => ask('check', rows), time: (_, rows, millis) => ask('time', rows, millis) },
    close: async () => {
      await browser.close();
      server.close();
    },
  };
}
