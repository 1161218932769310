import type { Modules } from './module.js';

/** Beside this file; bundlers know the pattern and take the modules along. */
export const modules: Modules = {
  simd: () => Promise.resolve(new URL('./selvedge.wasm', import.meta.url)),
  plain: () => Promise.resolve(new URL('./selvedge-plain.wasm', import.meta.url)),
};
