// Workers in workerd as tests and measurements start them: of one compatibility date, on this machine alone, and without what
// Miniflare would fetch from Cloudflare.
import { Miniflare } from 'miniflare';

/** A module of a Worker. */
export const module = (path, contents, type = 'ESModule') => ({ type, path: `/${path}`, contents });

/** Starts a Worker of these modules, of which the first is its entry; `more` are further settings of Miniflare. */
export const startWorkerd = (modules, more = {}) =>
  new Miniflare({ cf: false, host: '127.0.0.1', compatibilityDate: '2026-04-01', modulesRoot: '/', modules, ...more });
