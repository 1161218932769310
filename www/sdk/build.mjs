// Builds dist/: one file per runtime, the two modules, and the types. `cargo xtask web` calls it after the modules are there.
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

import { bindings, modules } from './bindings.mjs';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const dist = at('dist/');

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
const common = { bundle: true, target: 'es2022', minify: true, legalComments: 'none', plugins: [bindings], logLevel: 'warning' };
const entry = (name, more = {}) => build({ ...common, entryPoints: [at(`src/${name}.ts`)], outfile: `${dist}${name}.js`, format: 'esm', ...more });
// What only those need who follow a channel, or share, are files of their own where every byte is sent to a visitor.
const apart = { external: ['./channel.js', './share.js'] };
await Promise.all([
  entry('browser', apart),
  entry('worker', apart),
  entry('slim', apart),
  entry('channel'),
  entry('share'),
  entry('offer'),
  entry('workerd', { external: ['*.wasm'] }),
  entry('node', { platform: 'node' }),
  entry('node', {
    platform: 'node',
    format: 'cjs',
    outfile: `${dist}node.cjs`,
    define: { 'import.meta.url': '__url' },
    banner: { js: 'const __url = require("node:url").pathToFileURL(__filename);' },
  }),
  copyFile(`${modules}simd/selvedge.wasm`, `${dist}selvedge.wasm`),
  copyFile(`${modules}plain/selvedge.wasm`, `${dist}selvedge-plain.wasm`),
]);
execFileSync(process.execPath, [at('../../node_modules/typescript/bin/tsc'), '--project', at('tsconfig.json')], { stdio: 'inherit' });
// The public types name nothing of the bindings; CommonJS wants a declaration file of its own kind.
await writeFile(`${dist}types/node.d.cts`, "export * from './node.js';\n");
