/** The other end of `remote.ts`: what runs in the dedicated worker. */
import { Client } from './client.js';
import { SelvedgeError } from './errors.js';
import { modules } from './modules.browser.js';
import type { Answer, Call } from './remote.js';
import type { Events, LoadOptions } from './types.js';

let client: Client | undefined;
const post = (answer: Answer): void => self.postMessage(answer);

self.onmessage = async ({ data: { id, method, args } }: MessageEvent<Call>) => {
  try {
    if (method === 'load') {
      client = await Client.load(args[0] as LoadOptions, modules);
      for (const event of ['update', 'fallback'] as const) {
        client.on(event, (detail) => post({ event, detail: sendable(detail) }));
      }
      post({ id, value: undefined });
    } else {
      const call = client?.[method] as ((...args: readonly unknown[]) => Promise<unknown>) | undefined;
      post({ id, value: await call?.apply(client, [...args]) });
    }
  } catch (error) {
    const code = error instanceof SelvedgeError ? error.code : 'invalid-argument';
    post({ id, error: { code, message: error instanceof Error ? error.message : String(error) } });
  }
};

/** Errors lose their class and code on the way; the reason says enough. */
function sendable<T extends Events[keyof Events]>(detail: T): T {
  return 'error' in detail ? { ...detail, error: null } : detail;
}
