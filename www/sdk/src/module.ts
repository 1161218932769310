/** The WebAssembly module: which one, and an instance of it. */
import { SelvedgeError } from './errors.js';
import type { Fetcher } from './fetching.js';
import { bindings, type Engine } from './glue.js';
import type { ModuleSource } from './types.js';

export type { Engine } from './glue.js';

/** `(module (func (result v128) i32.const 0 i8x16.splat))`: valid where SIMD is. */
const SIMD_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);

/** Where the runtime's own modules are. */
export interface Modules {
  readonly simd: ModuleSource | (() => Promise<ModuleSource>);
  readonly plain: ModuleSource | (() => Promise<ModuleSource>);
}

export interface Instance {
  readonly engine: Engine;
  readonly simd: boolean;
}

export function hasSimd(): boolean {
  return WebAssembly.validate(SIMD_PROBE);
}

/** Compiles a module once; every engine gets an instance, and so a memory, of its own. */
export async function compile(source: ModuleSource, fetcher: Fetcher, signal?: AbortSignal): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (typeof source !== 'string' && !(source instanceof URL)) return compileBytes(source);
  const kept = await fetcher.kept(source);
  if (kept) {
    try {
      // Compiled off the page's thread while it is read.
      return await WebAssembly.compileStreaming(kept);
    } catch {
      await fetcher.drop(source);
    }
  }
  const bytes = await fetcher.fetch(source, signal);
  const module = await compileBytes(bytes);
  await fetcher.keep(source, bytes, 'application/wasm');
  return module;
}

async function compileBytes(bytes: Uint8Array): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes as BufferSource);
  } catch (cause) {
    const hint = "a Content-Security-Policy needs 'wasm-unsafe-eval' in script-src";
    throw new SelvedgeError('module-refused', `the WebAssembly module was refused (${String(cause)}); ${hint}`, { cause });
  }
}

export function instantiate(module: WebAssembly.Module): Engine {
  const { Engine, initSync } = bindings();
  try {
    initSync({ module });
    return new Engine();
  } catch (cause) {
    throw new SelvedgeError('module-refused', `this is no module of this version of the package: ${String(cause)}`, { cause });
  }
}
