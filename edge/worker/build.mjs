// Puts the Worker together in target/worker: its entry with the bindings, beside the module. `cargo xtask web` calls it.
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const bindings = at('../../target/worker-bindings/selvedge_worker.js');

await build({
  entryPoints: [at('index.js')],
  outfile: at('../../target/worker/index.js'),
  bundle: true,
  minify: true,
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
