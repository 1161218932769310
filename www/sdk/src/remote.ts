/** An engine in a dedicated worker: the same calls, each a message. */
import { inOrder, readRequestId } from './client.js';
import { type ErrorCode, SelvedgeError } from './errors.js';
import type { Candidate, Context, Decision, Events, LoadOptions, RankOptions, Selvedge, Status, UserEvent } from './types.js';

export type Method = 'load' | 'rank' | 'observe' | 'state' | 'forget' | 'status' | 'close';

export interface Call {
  readonly id: number;
  readonly method: Method;
  readonly args: readonly unknown[];
}

export type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: { readonly code: ErrorCode; readonly message: string } }
  | { readonly event: keyof Events; readonly detail: Events[keyof Events] };

export class Remote implements Selvedge {
  readonly #worker: Worker;
  readonly #open = new Map<number, { resolve: (value: never) => void; reject: (error: unknown) => void }>();
  readonly #listeners: { [K in keyof Events]: Set<(detail: Events[K]) => void> } = {
    update: new Set(),
    fallback: new Set(),
  };
  #calls = 0;
  #lost: SelvedgeError | undefined;

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Answer>) => this.#receive(data);
    worker.onerror = (event) => this.#lose(event.message);
  }

  static async load(options: LoadOptions, worker: Worker): Promise<Remote> {
    const remote = new Remote(worker);
    const { signal, ...rest } = options;
    const loaded = remote.#call<void>('load', [portable(rest)], signal);
    await loaded.catch((error: unknown) => {
      worker.terminate();
      throw error;
    });
    return remote;
  }

  async rank(candidates: readonly Candidate[], context: Context = {}, options: RankOptions = {}): Promise<Decision> {
    const requestId = readRequestId(options.requestId);
    const { signal, ...rest } = options;
    try {
      return await this.#call<Decision>('rank', [candidates, context, { ...rest, requestId }], signal);
    } catch (error) {
      if (!(error instanceof SelvedgeError) || error.code !== 'worker-lost') throw error;
      this.#emit('fallback', { reason: 'worker-lost', error });
      return inOrder(candidates, options, requestId, 'worker-lost');
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
    const listeners = this.#listeners[event];
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  async close(): Promise<void> {
    await this.#call('close', []);
    this.#worker.terminate();
    this.#lose('it was closed');
  }

  async #call<T>(method: Method, args: readonly unknown[], signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#lost) throw this.#lost;
    const id = this.#calls++;
    const answer = new Promise<T>((resolve, reject) => {
      this.#open.set(id, { resolve, reject });
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    this.#worker.postMessage({ id, method, args } satisfies Call);
    return answer.finally(() => this.#open.delete(id));
  }

  #receive(answer: Answer): void {
    if ('event' in answer) {
      this.#emit(answer.event, answer.detail as never);
      return;
    }
    const open = this.#open.get(answer.id);
    if ('error' in answer) open?.reject(new SelvedgeError(answer.error.code, answer.error.message));
    else open?.resolve(answer.value as never);
  }

  #lose(why: string): void {
    this.#lost = new SelvedgeError('worker-lost', `the worker of the engine is gone: ${why}`);
    for (const { reject } of this.#open.values()) reject(this.#lost);
    this.#open.clear();
  }

  #emit<K extends keyof Events>(event: K, detail: Events[K]): void {
    for (const listener of this.#listeners[event]) queueMicrotask(() => listener(detail));
  }
}

/** Addresses mean something else in a worker: they go there complete, and a URL cannot be sent at all. */
function portable(options: LoadOptions): LoadOptions {
  const complete = <T>(value: T): T | string =>
    value instanceof URL || typeof value === 'string' ? new URL(value, document.baseURI).href : value;
  const { bundle, shared, module, ...rest } = options;
  return {
    ...rest,
    ...(bundle && { bundle: complete(bundle) }),
    ...(shared && { shared: complete(shared) }),
    ...(module && { module: complete(module) }),
  } as LoadOptions;
}
