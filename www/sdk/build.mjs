// Builds dist/: one file per runtime, the two modules, and the types. `cargo xtask sdk` calls it after the modules are there.
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const modules = at('../../target/browser/');
const dist = at('dist/');

/**
 * wasm-bindgen's file keeps one instance in variables of the file. Wrapped in a function it gives as many as are asked
 * for, so that a module that broke off can be replaced.
 */
async function glue() {
  const source = await readFile(`${modules}simd/selvedge_browser.js`, 'utf8');
  if (source !== (await readFile(`${modules}plain/selvedge_browser.js`, 'utf8'))) {
    throw new Error('the modules with and without SIMD have different bindings: build both from one source');
  }
  const marker = 'export { initSync, __wbg_init as default };';
  if (!source.includes(marker) || !source.includes('export class Engine ')) {
    throw new Error('wasm-bindgen writes its file in another way: teach build.mjs');
  }
  const body = source.replace(marker, '').replace('export class Engine ', 'class Engine ').replace('/* @ts-self-types="./selvedge_browser.d.ts" */', '');
  return `export function bindings() {\n${body}\nreturn { Engine, initSync };\n}\n`;
}

const bound = {
  name: 'bindings',
  setup(build) {
    build.onResolve({ filter: /\/glue\.js$/ }, () => ({ path: 'glue', namespace: 'bindings' }));
    build.onLoad({ filter: /.*/, namespace: 'bindings' }, async () => ({ contents: await glue(), loader: 'js' }));
  },
};

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
const common = { bundle: true, target: 'es2022', minify: true, legalComments: 'none', plugins: [bound], logLevel: 'warning' };
const entry = (name, more = {}) => build({ ...common, entryPoints: [at(`src/${name}.ts`)], outfile: `${dist}${name}.js`, format: 'esm', ...more });
await Promise.all([
  entry('browser'),
  entry('worker'),
  entry('slim'),
  entry('workerd', { external: ['*.wasm'] }),
  entry('node', { platform: 'node' }),
  entry('node', {
    platform: 'node',
    format: 'cjs',
    outfile: `${dist}node.cjs`,
    define: { 'import.meta.url': '__url' },
    banner: { js: 'const __url = require("node:url").pathToFileURL(__filename);' },
  }),
  copyFile(`${modules}simd/selvedge_browser_bg.wasm`, `${dist}selvedge.wasm`),
  copyFile(`${modules}plain/selvedge_browser_bg.wasm`, `${dist}selvedge-plain.wasm`),
]);
execFileSync(process.execPath, [at('../../node_modules/typescript/bin/tsc'), '--project', at('tsconfig.json')], { stdio: 'inherit' });
// The public types name nothing of the bindings; CommonJS wants a declaration file of its own kind.
await writeFile(`${dist}types/node.d.cts`, "export * from './node.js';\n");
