// An esbuild plugin for `glue.js`, the bindings of the browser module.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/** Where `cargo xtask web` puts the modules. */
export const modules = fileURLToPath(new URL('../../target/browser/', import.meta.url));

/**
 * wasm-bindgen's file keeps one instance in variables of the file. Wrapped in a function it gives as many as are asked
 * for, so that a module that broke off can be replaced.
 */
async function glue() {
  const source = await readFile(`${modules}simd/selvedge_browser.js`, 'utf8');
  if (source !== (await readFile(`${modules}plain/selvedge_browser.js`, 'utf8'))) {
    throw new Error('the modules with and without SIMD have different bindings: build both from one source');
  }
  const exported = 'export { initSync, __wbg_init as default };';
  const types = '/* @ts-self-types="./selvedge_browser.d.ts" */';
  if (!source.includes(exported) || !source.includes('export class Engine ')) {
    throw new Error('wasm-bindgen writes its file in another way: teach www/sdk/bindings.mjs');
  }
  const body = source.replace(exported, '').replace(types, '').replace(/^export (class|function) /gm, '$1 ');
  return `export function bindings() {\n${body}\nreturn { Engine, initSync };\n}\n`;
}

export const bindings = {
  name: 'bindings',
  setup(build) {
    build.onResolve({ filter: /\/glue\.js$/ }, () => ({ path: 'glue', namespace: 'bindings' }));
    build.onLoad({ filter: /.*/, namespace: 'bindings' }, async () => ({ contents: await glue(), loader: 'js' }));
  },
};
