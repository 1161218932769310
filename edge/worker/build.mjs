// Puts the Worker together in target/worker: its entry with the bindings, beside the module. `cargo xtask web` calls it.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

import { shorten } from './shorten.mjs';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const bindings = at('../../target/worker-bindings/selvedge_worker.js');
const { module, names } = shorten(readFileSync(at('../../target/worker-bindings/optimised.wasm')));
writeFileSync(at('../../target/worker/selvedge_worker_bg.wasm'), module);

await build({
  entryPoints: [at('index.js')],
  outfile: at('../../target/worker/index.js'),
  bundle: true,
  minify: true,
  mangleProps: new RegExp(`^(?:${Object.keys(names).join('|')})$`),
  mangleCache: names,
  format: 'esm',
  target: 'es2022',
  external: ['cloudflare:workers', './selvedge_worker_bg.wasm'],
  plugins: [
    {
      name: 'bindings',
      setup: (build) => build.onResolve({ filter: /^\.\/selvedge_worker\.js$/ }, () => ({ path: bindings })),
    },
  ],
  logLevel: 'warning',
});
