/** wasm-bindgen's JavaScript, wrapped by build.mjs so that each call gives an instance of its own. */
import type { Engine as BoundEngine, initSync as boundInitSync } from '../../../target/browser/simd/selvedge_browser.js';

export type Engine = BoundEngine;
export function bindings(): { Engine: typeof BoundEngine; initSync: typeof boundInitSync };
