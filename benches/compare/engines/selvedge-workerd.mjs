// Ours in workerd, the runtime of Cloudflare's Workers: the same module, requests and harness as in Node.
//
// A Worker's clock stands still while it computes, so Node's is read around a request that makes many calls; a request that
// makes none is taken off.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { open } from './workload.mjs';

const source = (name) => readFileSync(fileURLToPath(new URL(name, import.meta.url)), 'utf8');
const WORKER = `
  import { engine } from './selvedge.mjs';
  import { check, group } from './harness.mjs';
  import guest from './guest.wasm';
  import bundle from './bundle.svb';
  import { requests } from './requests.mjs';
  let ours;
  export default {
    async fetch(request) {
      ours ??= engine(guest, new Uint8Array(bundle), requests);
      const { rows, calls } = await request.json();
      if (calls === undefined) return Response.json(await check(ours, rows));
      group(ours, rows, calls);
      return Response.json({});
    },
  };`;

/** A turn is one request of so many milliseconds: what it costs beside the calls is then little, and is taken off. */
const LEAST_MS = 20;

export async function load(folder) {
  const { Miniflare } = await import('miniflare');
  const { GUEST: guest } = process.env;
  const workload = open(folder);
  const files = workload.each((rows, set) => `request-${rows}-${set}.svrq`);
  const names = Object.values(files).flat();
  const list = Object.entries(files).map(([rows, of]) => `${rows}: [${of.map((name) => `r${names.indexOf(name)}`)}]`);
  const imports = names.map((name, at) => `import b${at} from './${name}'; const r${at} = new Uint8Array(b${at});`);
  const data = ['bundle.svb', ...names].map((name) => ({ type: 'Data', path: `/${name}`, contents: workload.read(name) }));
  const miniflare = new Miniflare({
    cf: false,
    host: '127.0.0.1',
    compatibilityDate: '2026-04-01',
    modulesRoot: '/',
    modules: [
      { type: 'ESModule', path: '/worker.mjs', contents: WORKER },
      { type: 'ESModule', path: '/selvedge.mjs', contents: source('selvedge.mjs') },
      { type: 'ESModule', path: '/harness.mjs', contents: source('harness.mjs') },
      { type: 'ESModule', path: '/requests.mjs', contents: `${imports.join('\n')}\nexport const requests = {${list}};` },
      { type: 'CompiledWasm', path: '/guest.wasm', contents: readFileSync(guest) },
      ...data,
    ],
  });
  const ask = async (question) => {
    const response = await miniflare.dispatchFetch('http://compare/', { method: 'POST', body: JSON.stringify(question) });
    if (!response.ok) throw new Error(`workerd answered ${response.status}: ${await response.text()}`);
    return response.json();
  };
  const timed = async (rows, calls) => {
    const began = performance.now();
    await ask({ rows, calls });
    return performance.now() - began;
  };
  const counts = {};
  const count = async (rows, millis) => {
    let calls = 1;
    while ((await timed(rows, calls)) < Math.max(millis, LEAST_MS)) calls *= 2;
    return calls;
  };
  const time = async (_, rows, millis) => {
    const key = `${rows} ${millis}`;
    const calls = (counts[key] ??= await count(rows, millis));
    const nothing = await timed(rows, 0);
    return { us: (Math.max(0, (await timed(rows, calls)) - nothing) / calls) * 1_000, calls };
  };
  return {
    version: process.env.VERSION,
    settings: 'the guest module in workerd; time from outside, an empty request taken off',
    files: [guest],
    rows: workload.rows,
    sets: workload.sets,
    remote: { check: (_, rows) => ask({ rows }), time },
    close: () => miniflare.dispose(),
  };
}
