/** An engine in a dedicated worker: the same calls, each a message. */
import { inOrder, readRequestId } from './client.js';
import { Emitter } from './emitter.js';
import { type ErrorCode, SelvedgeError } from './errors.js';
import type { Candidate, Context, Decision, Events, LoadOptions, RankOptions, Selvedge, Status, UserEvent } from './types.js';

export type Method = 'load' | 'rank' | 'observe' | 'state' | 'forget' | 'status' | 'close';

export interface Call {
  readonly id: number;
  readonly method: Method;
  readonly args: readonly unknown[];
}

/** An error as it can be sent. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
}

export type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: PlainError }
  | { readonly event: keyof Events; readonly detail: object };

/** A worker that the browser has ended says nothing: without an answer for so long it is given up, milliseconds. */
const PATIENCE = 10_000;
/** What it is given besides, when page and worker wake up together and the clock has gone on. */
const GRACE = 1_000;

export class Remote implements Selvedge {
  readonly #worker: Worker;
  readonly #open = new Map<number, { resolve: (value: never) => void; reject: (error: unknown) => void }>();
  readonly #events = new Emitter();
  #calls = 0;
  #lost: SelvedgeError | undefined;

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Answer>) => this.#receive(data);
    worker.onerror = (event) => this.#lose(event.message || 'it did not start');
  }

  static async load(options: LoadOptions, worker: Worker): Promise<Remote> {
    const remote = new Remote(worker);
    const { signal, ...rest } = options;
    try {
      await remote.#call<void>('load', [portable(rest)], signal);
    } catch (error) {
      worker.terminate();
      throw error;
    }
    return remote;
  }

  async rank(candidates: readonly Candidate[], context: Context = {}, options: RankOptions = {}): Promise<Decision> {
    const requestId = readRequestId(options.requestId);
    const { signal, ...rest } = options;
    try {
      return await this.#call<Decision>('rank', [candidates, context, { ...rest, requestId }], signal);
    } catch (error) {
      if (!(error instanceof SelvedgeError) || (error.code !== 'worker-lost' && error.code !== 'invalid-value')) throw error;
      this.#events.emit('fallback', { reason: error.code, error });
      return inOrder(candidates, options, requestId, error.code);
    }
  }

  observe(event: UserEvent): Promise<void> {
    return this.#call('observe', [event]);
  }

  state(): Promise<Uint8Array> {
    return this.#call('state', []);
  }

  forget(): Promise<void> {
    return this.#call('forget', []);
  }

  status(): Promise<Status> {
    return this.#call('status', []);
  }

  on<K extends keyof Events>(event: K, listener: (detail: Events[K]) => void): () => void {
    return this.#events.on(event, listener);
  }

  async close(): Promise<void> {
    if (this.#lost) return;
    await this.#call('close', []);
    this.#lose('it was closed');
  }

  async #call<T>(method: Method, args: readonly unknown[], signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#lost) throw this.#lost;
    const id = this.#calls++;
    try {
      this.#worker.postMessage({ id, method, args } satisfies Call);
    } catch (cause) {
      throw new SelvedgeError('invalid-value', `this cannot be sent to the worker: ${String(cause)}`, { cause });
    }
    let abort: (() => void) | undefined;
    const answer = new Promise<T>((resolve, reject) => {
      this.#open.set(id, { resolve, reject });
      abort = () => reject(signal?.reason);
      signal?.addEventListener('abort', abort);
    });
    // Loading takes as long as the network does; everything else is a moment's work.
    const stopWaiting = method === 'load' ? undefined : this.#wait();
    try {
      return await answer;
    } finally {
      this.#open.delete(id);
      stopWaiting?.();
      if (abort) signal?.removeEventListener('abort', abort);
    }
  }

  /** Gives the worker up unless what is returned is called in time. */
  #wait(): () => void {
    let timer = setTimeout(() => {
      timer = setTimeout(() => this.#lose('it does not answer'), GRACE);
    }, PATIENCE);
    return () => clearTimeout(timer);
  }

  #receive(answer: Answer): void {
    if ('event' in answer) {
      const { error } = answer.detail as { readonly error?: PlainError | null };
      this.#events.emit(answer.event, { ...answer.detail, ...(error && { error: revived(error) }) } as never);
      return;
    }
    const open = this.#open.get(answer.id);
    if ('error' in answer) open?.reject(revived(answer.error));
    else open?.resolve(answer.value as never);
  }

  #lose(why: string): void {
    this.#worker.terminate();
    this.#lost = new SelvedgeError('worker-lost', `the worker of the engine is gone: ${why}`);
    for (const { reject } of this.#open.values()) reject(this.#lost);
    this.#open.clear();
  }
}

function revived({ code, message }: PlainError): SelvedgeError {
  return new SelvedgeError(code, message);
}

/** Addresses mean something else in a worker: they go there complete, and a URL cannot be sent at all. */
function portable(options: LoadOptions): LoadOptions {
  const complete = <T>(value: T): T | string =>
    value instanceof URL || typeof value === 'string' ? new URL(value, document.baseURI).href : value;
  const { bundle, shared, module, channel, share, ...rest } = options;
  return {
    ...rest,
    ...(channel && { channel: { ...channel, url: complete(channel.url) } }),
    ...(share && { share: { ...share, url: complete(share.url) } }),
    ...(bundle && { bundle: complete(bundle) }),
    ...(shared && { shared: complete(shared) }),
    ...(module && { module: complete(module) }),
  } as LoadOptions;
}
