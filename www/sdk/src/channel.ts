/**
 * Follows a signed channel. The rules are those of docs/follow.md, and pass its table of cases; they are a file of their own,
 * which a page loads only if it follows.
 */
import { hex } from './decision.js';
import { SelvedgeError } from './errors.js';
import type { Fetcher } from './fetching.js';
import type { ChannelOptions, ChannelState, ChannelStatus, Refusal } from './types.js';

const HEADER = 88;
const SIGNED_HEADER = 24;
const MAX_HEAD = 8192;
const MAX_PRICES = 64;
const CONTAINER_HEADER = 64;
const SHARE = 10_000;
const NAME = /^[a-z0-9._-]{1,64}$/;
const DOMAIN = new TextEncoder().encode('selvedge head v1\n');
const DELTA_HEADER = 104;
const DELTA_TYPE = 'application/vnd.selvedge.delta';
const HOUR = 3_600_000;
/** A host says that it lives every fifteen seconds: three times as long is silence. */
const SILENCE = 45_000;
const CALL = 30_000;

export interface Blob {
  readonly id: string;
  readonly size: number;
}

export interface Rollout {
  readonly bundle: Blob;
  readonly shared: Blob | null;
  readonly share: number;
  readonly salt: bigint;
}

export interface Guard {
  readonly maxFallbackShare: number;
  readonly minDecisions: number;
}

export interface Head {
  readonly channel: string;
  readonly sequence: bigint;
  readonly issuedMs: number;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly bundle: Blob;
  readonly shared: Blob | null;
  readonly rollout: Rollout | null;
  readonly prices: readonly { readonly budget: string; readonly priceMicros: bigint }[];
  readonly guard: Guard | null;
  readonly killed: boolean;
}

/** Postcard, as far as heads need it; throws at whatever is not in its one form. */
class Reader {
  at = 0;

  constructor(readonly bytes: Uint8Array) {}

  take(length: number): Uint8Array {
    const end = this.at + length;
    if (end > this.bytes.length) throw new RangeError();
    const taken = this.bytes.subarray(this.at, end);
    this.at = end;
    return taken;
  }

  byte(): number {
    return this.take(1)[0] as number;
  }

  varint(bits: number): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      if ((byte === 0 && shift > 0n) || shift > 63n) throw new RangeError();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) break;
    }
    if (value >> BigInt(bits)) throw new RangeError();
    return value;
  }

  number(bits: number): number {
    return Number(this.varint(bits));
  }

  count(most: number): number {
    const count = this.number(32);
    if (count > most) throw new RangeError();
    return count;
  }

  /** Times are not negative, and what a Number cannot hold is later than any clock. */
  time(): number {
    const word = this.varint(64);
    if (word & 1n) throw new RangeError();
    return Number(word >> 1n);
  }

  text(): string {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.take(this.number(32)));
  }

  flag(): boolean {
    const byte = this.byte();
    if (byte > 1) throw new RangeError();
    return byte === 1;
  }

  option<T>(read: () => T): T | null {
    return this.flag() ? read() : null;
  }

  blob = (): Blob => {
    const blob = { id: hex(this.take(32)), size: this.number(32) };
    if (blob.size < CONTAINER_HEADER) throw new RangeError();
    return blob;
  };
}

/** The head in bytes that are well formed; nobody has checked its signature. */
export function parseHead(bytes: Uint8Array): Head | null {
  try {
    return readHead(bytes);
  } catch {
    return null;
  }
}

function readHead(bytes: Uint8Array): Head {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = String.fromCharCode(...bytes.subarray(0, 8));
  const isHead = magic === 'SELVHEAD' && bytes.length <= MAX_HEAD && view.getUint16(8, true) === 1;
  if (!isHead || view.getUint16(10, true) !== bytes.length - HEADER || view.getUint32(12, true) !== 0) throw new RangeError();
  const reader = new Reader(bytes.subarray(HEADER));
  const head: Head = {
    channel: reader.text(),
    sequence: reader.varint(64),
    issuedMs: reader.time(),
    notBeforeMs: reader.time(),
    notAfterMs: reader.time(),
    bundle: reader.blob(),
    shared: reader.option(reader.blob),
    rollout: reader.option(() => ({
      bundle: reader.blob(),
      shared: reader.option(reader.blob),
      share: reader.number(16),
      salt: reader.varint(64),
    })),
    prices: Array.from({ length: reader.count(MAX_PRICES) }, () => ({ budget: reader.text(), priceMicros: reader.varint(64) })),
    guard: reader.option(() => ({ maxFallbackShare: reader.number(16), minDecisions: reader.number(32) })),
    killed: reader.flag(),
  };
  const { rollout, guard, prices } = head;
  const isSound =
    reader.at === reader.bytes.length &&
    NAME.test(head.channel) &&
    head.sequence > 0n &&
    head.notBeforeMs < head.notAfterMs &&
    (!rollout || (rollout.share > 0 && rollout.share < SHARE)) &&
    (!guard || (guard.maxFallbackShare <= SHARE && guard.minDecisions > 0)) &&
    prices.every(({ budget }, at) => NAME.test(budget) && (at === 0 || (prices[at - 1]?.budget ?? '') < budget));
  if (!isSound) throw new RangeError();
  return head;
}

async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as BufferSource));
}

export interface Key {
  readonly id: string;
  readonly key: CryptoKey;
}

/** Public keys as `selvedge keygen` prints them. */
export async function importKeys(texts: readonly string[]): Promise<readonly Key[]> {
  if (!globalThis.crypto?.subtle) {
    throw new SelvedgeError('unavailable', 'a channel needs WebCrypto, which pages have on https and on localhost alone');
  }
  return Promise.all(
    texts.map(async (text) => {
      try {
        const [, base64 = ''] = /^ed25519:([\w-]{43})$/.exec(text) ?? [];
        const raw = Uint8Array.from(atob(base64.replace(/-/g, '+').replace(/_/g, '/')), (letter) => letter.charCodeAt(0));
        const key = await crypto.subtle.importKey('raw', raw, 'Ed25519', false, ['verify']);
        return { id: hex((await sha256(raw)).subarray(0, 8)), key };
      } catch (cause) {
        throw new SelvedgeError('invalid-argument', `${text} is no public key, or this runtime knows no Ed25519`, { cause });
      }
    }),
  );
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, at) => byte === b[at]);

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Judges the next head: the head if it is taken, null if it is the one that is held, or why it is refused. */
export async function judge(
  held: Uint8Array | undefined,
  channel: string,
  keys: readonly Key[],
  bytes: Uint8Array,
  nowMs: number,
): Promise<Head | null | Refusal> {
  if (held && equal(held, bytes)) return null;
  const head = parseHead(bytes);
  if (!head) return 'malformed';
  if (head.channel !== channel) return 'other-channel';
  const named = hex(bytes.subarray(16, SIGNED_HEADER));
  const key = keys.find(({ id }) => id === named);
  if (!key) return 'unknown-key';
  const message = concat(DOMAIN, bytes.subarray(0, SIGNED_HEADER), bytes.subarray(HEADER));
  const signature = bytes.subarray(SIGNED_HEADER, HEADER);
  if (!(await crypto.subtle.verify('Ed25519', key.key, signature as BufferSource, message as BufferSource))) return 'bad-signature';
  if (nowMs < head.notBeforeMs) return 'not-yet-valid';
  if (nowMs >= head.notAfterMs) return 'expired';
  const newest = (held && parseHead(held)?.sequence) || 0n;
  if (head.sequence < newest) return 'sequence-lower';
  return head.sequence === newest ? 'sequence-reused' : head;
}

/** Milliseconds until the next question. */
export function nextPollMs(pollMs: number, failures: number, random: number, retryAfterMs: number): number {
  const longest = Math.min(1000 * 2 ** Math.min(failures, 20), 300_000);
  const pause = failures === 0 ? pollMs * (0.9 + 0.2 * random) : longest * random;
  return Math.max(Math.floor(pause), retryAfterMs, 100);
}

/** Whether a bundle is given up. */
export function givesUp(guard: Guard | null, decisions: number, fallbacks: number): boolean {
  return !!guard && decisions >= guard.minDecisions && fallbacks * SHARE > decisions * guard.maxFallbackShare;
}

/** How a follower does, and whether prices are valid. */
export function stateOf(
  head: Pick<Head, 'notAfterMs' | 'killed'> | undefined,
  heardMs: number,
  isRolledBack: boolean,
  staleAfterMs: number,
  nowMs: number,
): readonly [ChannelState, boolean] {
  if (!head) return ['bootstrap', false];
  const isExpired = nowMs >= head.notAfterMs;
  const others: ChannelState = isRolledBack ? 'rolled-back' : nowMs - heardMs > staleAfterMs ? 'stale' : 'following';
  return [head.killed ? 'killed' : isExpired ? 'expired' : others, !isExpired && !head.killed];
}

/** Whether a user is among those for whom a rollout's bundle decides. */
export async function inRollout(salt: bigint, unit: string, share: number): Promise<boolean> {
  const word = new Uint8Array(8);
  new DataView(word.buffer).setBigUint64(0, salt, true);
  const digest = await sha256(concat(word, new TextEncoder().encode(unit)));
  return new DataView(digest.buffer).getUint32(0, true) % SHARE < share;
}

/** Makes the target of a delta; throws at whatever is wrong with it. The result must be hashed. */
export function applyDelta(delta: Uint8Array, base: Uint8Array, limit: number): Uint8Array {
  const view = new DataView(delta.buffer, delta.byteOffset, delta.byteLength);
  const length = Number(view.getBigUint64(24, true));
  const isDelta = String.fromCharCode(...delta.subarray(0, 8)) === 'SELVDLTA' && view.getUint32(8, true) === 1;
  if (!isDelta || length > limit || Number(view.getBigUint64(16, true)) !== base.length) throw new RangeError();
  const operations = new Reader(delta.subarray(DELTA_HEADER));
  const ops = new Reader(operations.take(view.getUint32(96, true)));
  const differences = new Reader(operations.take(view.getUint32(100, true)));
  const literals = new Reader(operations.take(operations.bytes.length - operations.at));
  const target = new Uint8Array(length);
  let [to, from] = [0, 0];
  for (let left = view.getUint32(12, true); left > 0; left -= 1) {
    const word = ops.varint(64);
    const [kind, run] = [Number(word & 3n), Number(word >> 2n)];
    if (run === 0 || run > length - to || kind > 2) throw new RangeError();
    if (kind === 1) {
      target.set(literals.take(run), to);
    } else {
      const step = ops.varint(64);
      from += Number((step >> 1n) ^ -(step & 1n));
      if (from < 0 || from + run > base.length) throw new RangeError();
      target.set(base.subarray(from, from + run), to);
      if (kind === 2) {
        const added = differences.take(run);
        for (let at = 0; at < run; at += 1) target[to + at] = (target[to + at] as number) + (added[at] as number);
      }
      from += run;
    }
    to += run;
  }
  const isUsedUp = [ops, differences, literals].every(({ at, bytes }) => at === bytes.length);
  if (to !== length || !isUsedUp) throw new RangeError();
  return target;
}

/** What a follower needs of the one it follows for. */
export interface Hooks {
  /** Puts both in place, or throws and leaves what is there. */
  deploy(bundle: Uint8Array, shared: Uint8Array | null): void;
  /** Told after every change of the status. */
  changed(status: ChannelStatus): void;
}

interface Deployed {
  readonly bundle: Uint8Array;
  readonly shared: Uint8Array | null;
  readonly id: string;
  readonly sharedId: string | undefined;
}

export class Follower {
  readonly #options: ChannelOptions;
  readonly #keys: readonly Key[];
  readonly #fetcher: Fetcher;
  readonly #hooks: Hooks;
  readonly #unit: string;
  readonly #base: string;
  readonly #end = new AbortController();
  readonly #blobs = new Map<string, Uint8Array>();
  #held: Uint8Array | undefined;
  #head: Head | undefined;
  #current: Deployed | undefined;
  #previous: Deployed | undefined;
  #heardMs = Date.now();
  #isRolledBack = false;
  #refusal: Refusal | null = null;
  #etag: string | undefined;
  #decisions = 0;
  #fallbacks = 0;
  #told = '';

  private constructor(options: ChannelOptions, keys: readonly Key[], unit: string, fetcher: Fetcher, hooks: Hooks) {
    this.#options = options;
    this.#keys = keys;
    this.#unit = unit;
    this.#fetcher = fetcher;
    this.#hooks = hooks;
    this.#base = String(options.url).replace(/\/$/, '');
  }

  /**
   * Takes up what was kept, and follows. Without a bundle to begin with (`isUrgent`) it waits for the first answer, and
   * throws if there is none.
   */
  static async start(options: ChannelOptions, unit: string, fetcher: Fetcher, hooks: Hooks, isUrgent: boolean): Promise<Follower> {
    if (!NAME.test(options.name) || !options.keys?.length) {
      throw new SelvedgeError('invalid-argument', '`channel` needs a `name` of a-z, 0-9, ., _ and -, and `keys`');
    }
    const follower = new Follower(options, await importKeys(options.keys), unit, fetcher, hooks);
    await follower.#restore();
    if (isUrgent && !follower.#current) {
      const failure = await follower.#ask();
      if (!follower.#current && !follower.#head?.killed) {
        follower.stop();
        const why = follower.#refusal ?? String(failure);
        throw new SelvedgeError('unavailable', `channel ${options.name} gives no bundle: ${why}`, { cause: failure });
      }
    }
    void follower.#run();
    return follower;
  }

  /** Ends. What is in place stays. */
  stop(): void {
    this.#end.abort();
  }

  get isKilled(): boolean {
    return this.#head?.killed ?? false;
  }

  status(): ChannelStatus {
    const staleAfter = (this.#options.staleAfter ?? 10 * this.#poll) * 1000;
    const [state, pricesValid] = stateOf(this.#head, this.#heardMs, this.#isRolledBack, staleAfter, Date.now());
    const sequence = Number(this.#head?.sequence ?? 0n);
    return { state, sequence, bundleId: this.#current?.id ?? null, pricesValid, refusal: this.#refusal };
  }

  /** Counts a decision for the guard. */
  decided(fellBack: boolean): void {
    this.#decisions += 1;
    this.#fallbacks += fellBack ? 1 : 0;
    const previous = this.#previous;
    if (this.#isRolledBack || !previous || !givesUp(this.#head?.guard ?? null, this.#decisions, this.#fallbacks)) return;
    this.#hooks.deploy(previous.bundle, previous.shared);
    [this.#isRolledBack, this.#current, this.#previous] = [true, previous, undefined];
    this.#tell();
  }

  get #poll(): number {
    return this.#options.poll ?? 30;
  }

  get #address(): string {
    return `${this.#base}/v1/channels/${this.#options.name}/head`;
  }

  #tell(): void {
    const status = this.status();
    const words = JSON.stringify(status);
    if (words !== this.#told) this.#hooks.changed(status);
    this.#told = words;
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    let failures = 0;
    while (!signal.aborted) {
      const failure = await this.#ask();
      failures = failure === undefined ? 0 : failures + 1;
      // What ends was open: what was missed meanwhile is asked for soon.
      if (failure === undefined && (this.#options.stream ?? true) && (await this.#listen())) failures = 1;
      this.#tell();
      const retryAfter = failure instanceof Unanswered ? failure.retryAfterMs : 0;
      await pause(nextPollMs(this.#poll * 1000, failures, Math.random(), retryAfter), signal);
    }
  }

  /** Asks once; what went wrong, if anything did. */
  async #ask(): Promise<unknown> {
    try {
      const headers: Record<string, string> = this.#etag ? { 'if-none-match': this.#etag } : {};
      const response = await this.#fetch(this.#address, headers);
      if (response.status === 304) {
        this.#heardMs = Date.now();
        return undefined;
      }
      const etag = response.headers.get('etag') ?? undefined;
      const taken = await this.#consider(await this.#bytes(response, MAX_HEAD));
      // Only now: a head that was refused is asked for again.
      if (taken) this.#etag = etag;
      return taken ? undefined : this.#refusal;
    } catch (error) {
      return error;
    }
  }

  /** Holds a stream of events until it ends; whether it had been open. A tab that nobody sees asks instead. */
  async #listen(): Promise<boolean> {
    if (globalThis.document?.visibilityState === 'hidden') return false;
    const silence = new AbortController();
    const quit = (): void => silence.abort();
    let timer = setTimeout(quit, SILENCE);
    this.#end.signal.addEventListener('abort', quit);
    let wasOpen = false;
    try {
      const signal = silence.signal;
      const response = await fetch(this.#address, { headers: { accept: 'text/event-stream' }, cache: 'no-store', credentials: 'omit', signal });
      if (!response.ok || !response.body || !response.headers.get('content-type')?.startsWith('text/event-stream')) return false;
      wasOpen = true;
      this.#fetcher.traffic.requests += 1;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ''; ; ) {
        const { done, value } = await reader.read();
        if (done || rest.length > 2 * MAX_HEAD) return true;
        clearTimeout(timer);
        timer = setTimeout(quit, SILENCE);
        this.#heardMs = Date.now();
        this.#fetcher.traffic.bytes += value.length;
        const lines = (rest + value).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          if (!line.startsWith('data:')) continue;
          const bytes = Uint8Array.from(atob(line.slice(5).trim()), (letter) => letter.charCodeAt(0));
          if (!(await this.#consider(bytes))) return true;
        }
      }
    } catch {
      return wasOpen;
    } finally {
      clearTimeout(timer);
      this.#end.signal.removeEventListener('abort', quit);
      silence.abort();
    }
  }

  /** Judges a head, gets what it names, and puts it in place; whether it is in force. Throws where the source fails. */
  async #consider(bytes: Uint8Array): Promise<boolean> {
    const judged = await judge(this.#held, this.#options.name, this.#keys, bytes, Date.now());
    this.#heardMs = Date.now();
    const refusal = typeof judged === 'string' ? judged : judged && (await this.#take(bytes, judged));
    this.#refusal = refusal;
    this.#tell();
    return refusal === null;
  }

  async #take(bytes: Uint8Array, head: Head): Promise<Refusal | null> {
    const { rollout } = head;
    const mine = rollout && (await inRollout(rollout.salt, this.#unit, rollout.share)) ? rollout : head;
    let next = this.#current;
    if (this.#current?.id !== mine.bundle.id || this.#current.sharedId !== mine.shared?.id) {
      try {
        const bundle = await this.#blob(mine.bundle);
        const shared = mine.shared && (await this.#blob(mine.shared));
        if (typeof bundle === 'string') throw bundle;
        if (typeof shared === 'string') throw shared;
        try {
          this.#hooks.deploy(bundle, shared);
        } catch {
          throw 'load-failed' satisfies Refusal;
        }
        next = { bundle, shared, id: mine.bundle.id, sharedId: mine.shared?.id };
        this.#blobs.clear();
        this.#blobs.set(mine.bundle.id, bundle);
        if (mine.shared && shared) this.#blobs.set(mine.shared.id, shared);
      } catch (refusal) {
        // A kill is obeyed even where its bundle cannot be had.
        if (!head.killed) {
          if (typeof refusal === 'string') return refusal as Refusal;
          throw refusal;
        }
      }
    }
    if (next !== this.#current) {
      [this.#previous, this.#current] = [this.#current, next];
      [this.#decisions, this.#fallbacks] = [0, 0];
    }
    // The head that was given up is not held any more, whichever bundle this one names.
    this.#isRolledBack = false;
    [this.#held, this.#head] = [bytes, head];
    await this.#fetcher.keep(`${this.#address}?last-good`, bytes);
    for (const [id, blob] of this.#blobs) await this.#fetcher.keep(this.#blobAddress(id), blob);
    return null;
  }

  #blobAddress(id: string): string {
    return `${this.#base}/v1/blobs/${id}`;
  }

  /** What a head names: held, kept, as a delta from what is held, or whole. */
  async #blob({ id, size }: Blob): Promise<Uint8Array | Refusal> {
    if (size > (this.#options.maxBytes ?? 1 << 26)) return 'blob-too-large';
    const isIt = async (bytes: Uint8Array): Promise<boolean> =>
      bytes.length === size && hex(bytes.subarray(32, 64)) === id && hex(await sha256(bytes.subarray(CONTAINER_HEADER))) === id;
    const held = this.#blobs.get(id);
    if (held) return held;
    const address = this.#blobAddress(id);
    const kept = await this.#fetcher.kept(address);
    const copy = kept && new Uint8Array(await kept.arrayBuffer());
    if (copy && (await isIt(copy))) return copy;
    // From what is most alike in length: bundles differ less among each other than from shared states.
    const near = ([, a]: [string, Uint8Array], [, b]: [string, Uint8Array]): number => Math.abs(a.length - size) - Math.abs(b.length - size);
    const [base] = [...this.#blobs].sort(near);
    if (base) {
      try {
        const response = await this.#fetch(`${address}?base=${base[0]}`);
        const bytes = await this.#bytes(response, 2 * size + 65_536);
        const isDelta = response.headers.get('content-type')?.startsWith(DELTA_TYPE);
        const made = isDelta ? applyDelta(bytes, base[1], size) : bytes;
        if (await isIt(made)) return made;
      } catch {
        // What is wrong with a delta does not matter: the whole is fetched.
      }
    }
    try {
      const whole = await this.#bytes(await this.#fetch(address), size);
      return (await isIt(whole)) ? whole : 'blob-mismatch';
    } catch (error) {
      if (error instanceof Unanswered && error.status === 404) return 'blob-missing';
      throw error;
    }
  }

  async #fetch(address: string, headers: Record<string, string> = {}): Promise<Response> {
    this.#fetcher.traffic.requests += 1;
    const signal = AbortSignal.any([this.#end.signal, AbortSignal.timeout(CALL)]);
    const response = await fetch(address, { headers, cache: 'no-store', credentials: 'omit', signal });
    if (!response.ok && response.status !== 304) throw new Unanswered(response);
    return response;
  }

  async #bytes(response: Response, limit: number): Promise<Uint8Array> {
    const reader = response.body?.getReader();
    const parts: Uint8Array[] = [];
    let length = 0;
    for (;;) {
      const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
      if (done) break;
      length += value.length;
      if (length > limit) {
        void reader?.cancel();
        // Longer than what was signed: not it.
        break;
      }
      parts.push(value);
    }
    this.#fetcher.traffic.bytes += length;
    return concat(...parts);
  }

  /** Goes on from what was kept, whatever its age: it was believed once. */
  async #restore(): Promise<void> {
    const kept = await this.#fetcher.kept(`${this.#address}?last-good`);
    if (!kept) return;
    const bytes = new Uint8Array(await kept.arrayBuffer());
    const head = await judge(undefined, this.#options.name, this.#keys, bytes, parseHead(bytes)?.issuedMs ?? 0);
    if (!head || typeof head === 'string') return;
    try {
      await this.#take(bytes, head);
    } catch {
      // Its bundle is not kept, and the source is away: the next answer decides.
    }
  }
}

class Unanswered extends Error {
  readonly status: number;
  readonly retryAfterMs: number;

  constructor(response: Response) {
    super(`the host answered ${response.status}`);
    this.status = response.status;
    this.retryAfterMs = Math.min(Number(response.headers.get('retry-after')) * 1000 || 0, HOUR);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    // In Node, nobody waits for a follower to end.
    (timer as { unref?: () => void }).unref?.();
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
