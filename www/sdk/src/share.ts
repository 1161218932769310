/** Sends what a page has decided to share, and nothing else: events, or the encoded state. Loaded only by those who share. */
import { SelvedgeError } from './errors.js';
import type { Fetcher } from './fetching.js';
import type { ShareOptions, UserEvent } from './types.js';

/** Events in one request, and at most so many wait: what comes after drops the oldest. */
const BATCH = 100;
const MAX_WAITING = 1000;
const LONGEST_PAUSE = 300_000;
const CALL = 30_000;

interface Waiting {
  readonly id: string;
  readonly user: string;
  readonly event: string;
  readonly item: string;
  readonly value: number;
  readonly time: number;
  readonly device: string;
}

export class Sharer {
  readonly #options: ShareOptions;
  readonly #user: string;
  readonly #fetcher: Fetcher;
  readonly #state: () => Uint8Array;
  readonly #refused: (error: SelvedgeError) => void;
  readonly #leave = (): void => void this.flush();
  #waiting: Waiting[] = [];
  #isChanged = false;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sending: Promise<void> | undefined;

  constructor(options: ShareOptions, user: string, fetcher: Fetcher, state: () => Uint8Array, refused: (error: SelvedgeError) => void) {
    if (!user || !['events', 'state'].includes(options.what)) {
      throw new SelvedgeError('invalid-argument', "`share` needs the option `user`, and `what`: 'events' or 'state'");
    }
    this.#options = options;
    this.#user = user;
    this.#fetcher = fetcher;
    this.#state = state;
    this.#refused = refused;
    // A page that is left may not come back.
    globalThis.addEventListener?.('pagehide', this.#leave);
  }

  /** Something happened that may be shared. */
  happened(event: UserEvent, time: number, device: string): void {
    if (this.#options.what === 'events') {
      const { event: name, item, value = 0 } = event;
      this.#waiting.push({ id: crypto.randomUUID(), user: this.#user, event: name, item, value, time, device });
      this.#waiting = this.#waiting.slice(-MAX_WAITING);
    }
    this.#isChanged = true;
    this.#later((this.#options.delay ?? 5) * 1000);
  }

  /** Sends what waits, now. What fails waits for the next time. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await (this.#sending ??= this.#send().finally(() => (this.#sending = undefined)));
  }

  async close(): Promise<void> {
    globalThis.removeEventListener?.('pagehide', this.#leave);
    await this.flush();
    clearTimeout(this.#timer);
  }

  #later(ms: number): void {
    this.#timer ??= setTimeout(() => void this.flush(), ms);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  async #send(): Promise<void> {
    const { what, url } = this.#options;
    const base = String(url).replace(/\/$/, '');
    while (what === 'state' ? this.#isChanged : this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, BATCH);
      this.#isChanged = false;
      const [address, method, type, body] =
        what === 'state'
          ? [`${base}/v1/users/${encodeURIComponent(this.#user)}/state`, 'PUT', 'application/vnd.selvedge.user-state', this.#state()]
          : [`${base}/v1/events`, 'POST', 'application/json', JSON.stringify({ events: batch })];
      const status = await this.#call(address, method, type, body);
      const isTemporary = status === 0 || status === 429 || status >= 500;
      if (isTemporary) {
        this.#isChanged = true;
        this.#failures += 1;
        this.#later(Math.random() * Math.min(1000 * 2 ** this.#failures, LONGEST_PAUSE) + 100);
        return;
      }
      this.#failures = 0;
      // Taken, or never to be taken.
      this.#waiting = this.#waiting.filter((event) => !batch.includes(event));
      if (status >= 400) this.#refused(new SelvedgeError('unavailable', `what was shared is refused: the host answered ${status}`));
    }
  }

  /** The status of the answer; 0 if there is none. */
  async #call(address: string, method: string, type: string, body: string | Uint8Array): Promise<number> {
    const { token } = this.#options;
    const headers = { 'content-type': type, ...(token && { authorization: `Bearer ${token}` }) };
    this.#fetcher.traffic.requests += 1;
    try {
      const signal = AbortSignal.timeout(CALL);
      const init = { method, headers, body: body as BodyInit, keepalive: true, credentials: 'omit', signal } as const;
      return (await fetch(address, init)).status;
    } catch {
      return 0;
    }
  }
}
