/** The page's way to the network: it counts what goes out, and it can be cut.
 *
 * `fetch` is replaced before anything is loaded, so what the package asks for passes here as well. Cut, an address is
 * answered from what the service worker kept, or refused as a browser without a network refuses it.
 */

/** One question that left the device, or would have. */
export interface Question {
  readonly method: string;
  readonly address: string;
  /** Bytes of its body: the only place in which behaviour could hide. */
  readonly bodyBytes: number;
  readonly isBlocked: boolean;
}

const questions: Question[] = [];
const real = globalThis.fetch.bind(globalThis);
let isCut = false;
let changed = (): void => undefined;

export function watchNetwork(): void {
  globalThis.fetch = pass;
  addEventListener('online', () => changed());
  addEventListener('offline', () => changed());
}

/** Calls `listener` when something was asked, and when the network comes or goes. */
export function onNetwork(listener: () => void): void {
  changed = listener;
}

export function cutNetwork(cut: boolean): void {
  isCut = cut;
  changed();
}

export const isOffline = (): boolean => isCut || !navigator.onLine;
export const asked = (): readonly Question[] => questions;

async function pass(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const request = new Request(input, init);
  const bodyBytes = request.body ? (await request.clone().arrayBuffer()).byteLength : 0;
  questions.push({ method: request.method, address: request.url, bodyBytes, isBlocked: isCut });
  changed();
  return isCut ? kept(request) : real(request);
}

async function kept(request: Request): Promise<Response> {
  const copy = await caches.match(request.url).catch(() => undefined);
  if (copy) return copy;
  throw new TypeError('the network is switched off on this page');
}
