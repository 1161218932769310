// Workers compile no module at run time: the bundler uploads this one compiled. All of them have SIMD.
import module from './selvedge.wasm';

import { Client } from './client.js';
import type { LoadOptions, Selvedge } from './types.js';

/** Loads the engine and a bundle. Nothing is stored. */
export function load(options: LoadOptions = {}): Promise<Selvedge> {
  return Client.load({ ...options, store: false }, { simd: module, plain: module });
}

export * from './public.js';
