/** The service worker: keeps every file of the page, so that a visit without a network finds them.
 *
 * With a network, the network answers: what is shown is what the server has. Without one, the copies of the last build that
 * was installed answer. Nothing else is done here; the ranking is the page's.
 */
export {};

declare const self: ServiceWorkerGlobalScope;

/** The paths of the build's files, and a hash of their content: written in by `build.mjs`. */
declare const FILES: readonly string[];
declare const BUILD: string;

const CACHE = `selvedge-demo-${BUILD}`;

self.addEventListener('install', (event) => {
  event.waitUntil(keepAll().then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  event.waitUntil(dropOldBuilds().then(() => self.clients.claim()));
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const isOurs = request.method === 'GET' && new URL(request.url).origin === location.origin;
  if (isOurs) event.respondWith(fetch(request).catch((error: unknown) => kept(request, error)));
});

async function keepAll(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(FILES.map((path) => new Request(path, { cache: 'no-cache' })));
}

async function dropOldBuilds(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith('selvedge-demo-') && name !== CACHE).map((name) => caches.delete(name)));
}

async function kept(request: Request, error: unknown): Promise<Response> {
  const copy = await (await caches.open(CACHE)).match(request, { ignoreSearch: true });
  if (copy) return copy;
  throw error;
}
