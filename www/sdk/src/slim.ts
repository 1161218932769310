import { Client } from './client.js';
import { withInlined } from './inline.js';
import type { LoadOptions, Selvedge } from './types.js';

/** As the package's `load`, with a module that the caller brings: `{ module }`. */
export function load(options: LoadOptions): Promise<Selvedge> {
  return Client.load(withInlined(options), undefined);
}

export * from './public.js';
