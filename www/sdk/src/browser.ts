import { Client } from './client.js';
import { SelvedgeError } from './errors.js';
import { withInlined } from './inline.js';
import { modules } from './modules.browser.js';
import { Remote } from './remote.js';
import type { LoadOptions, Selvedge } from './types.js';

/** Loads the engine and a bundle. */
export async function load(options: LoadOptions = {}): Promise<Selvedge> {
  const complete = withInlined(options);
  if (!complete.worker) return Client.load(complete, modules);
  return Remote.load(complete, startWorker());
}

function startWorker(): Worker {
  try {
    return new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'selvedge' });
  } catch (cause) {
    throw new SelvedgeError('worker-lost', `no worker can be started (${String(cause)}); load without \`worker\``, { cause });
  }
}

export * from './public.js';
