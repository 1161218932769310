/** Bytes by address, kept in Cache storage where there is one, so that a page that was here before needs no network. */
import { SelvedgeError } from './errors.js';

const CACHE = 'selvedge-1';

/** What was fetched, for the person who asks what left the device. */
export interface Traffic {
  requests: number;
  bytes: number;
}

export interface Copy {
  readonly bytes: Uint8Array;
  /** Whether it came from the cache, and may be out of date. */
  readonly cached: boolean;
}

export class Fetcher {
  readonly traffic: Traffic = { requests: 0, bytes: 0 };
  readonly #cache: Promise<Cache | undefined>;

  constructor(keep: boolean) {
    this.#cache = keep ? open() : Promise.resolve(undefined);
  }

  /** The cached copy, or one from the network. */
  async get(address: string | URL, signal?: AbortSignal): Promise<Copy> {
    const cached = await (await this.#cache)?.match(address).catch(() => undefined);
    if (cached) return { bytes: new Uint8Array(await cached.arrayBuffer()), cached: true };
    const bytes = await this.fetch(address, signal);
    return { bytes, cached: false };
  }

  /** A copy from the network. What is fetched is kept by {@link keep}, once it has proved to be good. */
  async fetch(address: string | URL, signal?: AbortSignal): Promise<Uint8Array> {
    this.traffic.requests += 1;
    let bytes: Uint8Array;
    try {
      const response = await fetch(address, { signal: signal ?? null, cache: 'no-cache', credentials: 'same-origin' });
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      bytes = new Uint8Array(await response.arrayBuffer());
    } catch (cause) {
      signal?.throwIfAborted();
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new SelvedgeError('unavailable', `cannot fetch ${String(address)}: ${why}`, { cause });
    }
    this.traffic.bytes += bytes.length;
    return bytes;
  }

  /** Keeps a good copy. A full or denied cache costs the next visit a request and nothing else. */
  async keep(address: string | URL, bytes: Uint8Array): Promise<void> {
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(bytes.length) };
    await (await this.#cache)?.put(address, new Response(bytes as BodyInit, { headers })).catch(() => undefined);
  }

  /** Drops a copy that proved to be bad. */
  async drop(address: string | URL): Promise<void> {
    await (await this.#cache)?.delete(address).catch(() => undefined);
  }
}

async function open(): Promise<Cache | undefined> {
  try {
    return await caches.open(CACHE);
  } catch {
    // Not there, or denied: then the very name throws.
    return undefined;
  }
}
