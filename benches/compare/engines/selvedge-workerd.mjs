// Ours in workerd, the runtime of Cloudflare's Workers: the same module, inputs and harness as in Node; only the clock is
// workerd's. In production it stands still while a Worker computes; here it runs, in steps of a millisecond.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { open } from './workload.mjs';

const source = (name) => readFileSync(fileURLToPath(new URL(name, import.meta.url)), 'utf8');
/** A twentieth of it is what a step of the clock may add. */
const GROUP_MS = 20;

const WORKER = `
  import { engine, matrices } from './selvedge.mjs';
  import * as harness from './harness.mjs';
  import guest from './guest.wasm';
  import bundle from './bundle.svb';
  import { values, sets, features } from './inputs.mjs';
  const inputs = Object.fromEntries(values.map(([rows, all]) => [rows, matrices(new Uint8Array(all), sets, rows, features)]));
  let ours;
  export default {
    async fetch(request) {
      ours ??= { ...engine(guest, new Uint8Array(bundle), inputs), groupMs: ${GROUP_MS} };
      const [question, ...of] = await request.json();
      return Response.json(await harness[question](ours, ...of));
    },
  };`;

export async function load(folder) {
  const { Miniflare } = await import('miniflare');
  const { GUEST: guest } = process.env;
  const workload = open(folder);
  const names = workload.rows.map((rows) => `inputs-${rows}.f32`);
  const imports = names.map((name, at) => `import v${at} from './${name}';`);
  const inputs = `${imports.join('\n')}
    export const values = [${workload.rows.map((rows, at) => `[${rows}, v${at}]`)}];
    export const [sets, features] = [${workload.sets}, ${workload.columns.length}];`;
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
      { type: 'ESModule', path: '/inputs.mjs', contents: inputs },
      { type: 'CompiledWasm', path: '/guest.wasm', contents: readFileSync(guest) },
      ...data,
    ],
  });
  const ask = async (...question) => {
    const response = await miniflare.dispatchFetch('http://compare/', { method: 'POST', body: JSON.stringify(question) });
    if (!response.ok) throw new Error(`workerd answered ${response.status}: ${await response.text()}`);
    return response.json();
  };
  return {
    version: process.env.VERSION,
    settings: 'the guest module in workerd, `predict` on rows of features, which lie ready',
    files: [guest],
    rows: workload.rows,
    sets: workload.sets,
    remote: { check: (_, rows) => ask('check', rows), time: (_, rows, millis) => ask('time', rows, millis) },
    close: () => miniflare.dispose(),
  };
}
