/** Who listens to what: for an engine in this thread and for one in a worker. */
import { SelvedgeError } from './errors.js';
import type { Events } from './types.js';

type Listener<K extends keyof Events> = (detail: Events[K]) => void;
type PerEvent<T extends { [K in keyof Events]: unknown }> = { readonly [K in keyof Events]: T[K] };

/** Most details that wait for a first listener. */
const MAX_UNHEARD = 8;

export class Emitter {
  readonly #listeners: PerEvent<{ [K in keyof Events]: Set<Listener<K>> }> = { channel: new Set(), update: new Set(), fallback: new Set() };
  /** What happened before anybody listened: nobody can before `load` is done. */
  readonly #unheard: PerEvent<{ [K in keyof Events]: Events[K][] }> = { channel: [], update: [], fallback: [] };

  /** Returns what ends it. */
  on<K extends keyof Events>(event: K, listener: Listener<K>): () => void {
    const listeners = this.#listeners[event];
    if (!listeners) throw new SelvedgeError('invalid-argument', `there is no event \`${String(event)}\``);
    listeners.add(listener);
    for (const detail of this.#unheard[event].splice(0)) queueMicrotask(() => listener(detail));
    return () => listeners.delete(listener);
  }

  emit<K extends keyof Events>(event: K, detail: Events[K]): void {
    const listeners = this.#listeners[event];
    const unheard = this.#unheard[event];
    if (listeners.size === 0 && unheard.length < MAX_UNHEARD) unheard.push(detail);
    // A listener that throws is its own page's problem, not the decision's.
    for (const listener of listeners) queueMicrotask(() => listener(detail));
  }
}
