/** Time in the shop: the first instant of its week when somebody first comes, and from there on as time passes. A visit a
 * week later finds that nothing of the session is left but what was bought. */
import { recall, remember } from './memory.js';
import type { Shop } from './shop.js';

export function shopClock(shop: Shop): () => number {
  const key = `began:${shop.time}`;
  const kept = Number(recall(key));
  const began = kept > 0 && kept <= Date.now() ? kept : Date.now();
  remember(key, String(began));
  return () => shop.time + (Date.now() - began);
}
