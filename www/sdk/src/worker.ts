/** The other end of `remote.ts`: what runs in the dedicated worker. */
import { Client } from './client.js';
import { SelvedgeError } from './errors.js';
import { modules } from './modules.browser.js';
import type { Answer, Call, PlainError } from './remote.js';
import type { LoadOptions } from './types.js';

let client: Client | undefined;
const post = (answer: Answer): void => self.postMessage(answer);

self.onmessage = async ({ data: { id, method, args } }: MessageEvent<Call>) => {
  try {
    if (method === 'load') {
      client = await Client.load(args[0] as LoadOptions, modules);
      for (const event of ['channel', 'update', 'fallback'] as const) {
        client.on(event, (detail) => post({ event, detail: 'error' in detail ? { ...detail, error: plain(detail.error) } : detail }));
      }
      post({ id, value: undefined });
    } else {
      const call = client?.[method] as ((...args: readonly unknown[]) => Promise<unknown>) | undefined;
      post({ id, value: await call?.apply(client, [...args]) });
    }
  } catch (error) {
    post({ id, error: plain(error) ?? { code: 'invalid-argument', message: String(error) } });
  }
};

/** Errors lose their class and code on the way. */
function plain(error: unknown): PlainError | null {
  return error instanceof SelvedgeError ? { code: error.code, message: error.message } : null;
}
