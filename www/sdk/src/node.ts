import { readFile } from 'node:fs/promises';

import { Client } from './client.js';
import type { Modules } from './module.js';
import type { LoadOptions, Selvedge } from './types.js';

const file = (name: string) => () => readFile(new URL(name, import.meta.url));
const modules: Modules = { simd: file('./selvedge.wasm'), plain: file('./selvedge-plain.wasm') };

/** Loads the engine and a bundle; addresses may be of files. Nothing is stored. */
export async function load(options: LoadOptions = {}): Promise<Selvedge> {
  const [bundle, shared] = await Promise.all([fromFile(options.bundle), fromFile(options.shared)]);
  const read = { ...options, ...(bundle && { bundle }), ...(shared && { shared }) };
  return Client.load({ ...read, store: false }, modules);
}

async function fromFile(from: LoadOptions['bundle']): Promise<LoadOptions['bundle']> {
  return from instanceof URL && from.protocol === 'file:' ? readFile(from) : from;
}

export * from './public.js';
