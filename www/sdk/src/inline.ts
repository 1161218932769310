/** What the Worker wrote into the page: `<script type="application/json" id="selvedge-state">`. */
import type { LoadOptions } from './types.js';

interface Inlined {
  readonly bundle?: string;
  readonly shared?: string;
  /** The user's state in base64. */
  readonly state?: string;
}

/** The options, with what the page brings for those that are not given. */
export function withInlined(options: LoadOptions): LoadOptions {
  if (options.inline === false || typeof document === 'undefined') return options;
  const text = document.getElementById('selvedge-state')?.textContent;
  if (!text) return options;
  let inlined: Inlined;
  try {
    inlined = JSON.parse(text) as Inlined;
  } catch {
    return options;
  }
  const found: { bundle?: string; shared?: string; state?: Uint8Array } = {};
  if (typeof inlined.bundle === 'string') found.bundle = inlined.bundle;
  if (typeof inlined.shared === 'string') found.shared = inlined.shared;
  if (typeof inlined.state === 'string') {
    try {
      found.state = Uint8Array.from(atob(inlined.state), (character) => character.charCodeAt(0));
    } catch {
      // Not base64: as if there were no state.
    }
  }
  return { ...found, ...options };
}
