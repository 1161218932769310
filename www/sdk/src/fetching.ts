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
  readonly #keep: boolean;

  constructor(keep: boolean) {
    this.#keep = keep;
  }

  /** The cached copy, or one from the network. */
  async get(address: string | URL, signal?: AbortSignal): Promise<Copy> {
    const cached = await this.kept(address);
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

  /** The cached copy. */
  async kept(address: string | URL): Promise<Response | undefined> {
    // One question to the browser's storage; to open the cache first would be two.
    return this.#ask((storage) => storage.match(address, { cacheName: CACHE }));
  }

  /** Keeps a good copy. A full or denied cache costs the next visit a request and nothing else. */
  async keep(address: string | URL, bytes: Uint8Array, type = 'application/octet-stream'): Promise<void> {
    const headers = { 'content-type': type, 'content-length': String(bytes.length) };
    const response = new Response(bytes as BodyInit, { headers });
    await this.#ask(async (storage) => (await storage.open(CACHE)).put(address, response));
  }

  /** Drops a copy that proved to be bad. */
  async drop(address: string | URL): Promise<void> {
    await this.#ask(async (storage) => (await storage.open(CACHE)).delete(address));
  }

  async #ask<T>(question: (storage: CacheStorage) => Promise<T>): Promise<T | undefined> {
    try {
      return this.#keep ? await question(caches) : undefined;
    } catch {
      // Not there, full, or denied: then the very name throws.
      return undefined;
    }
  }
}
