/** An engine with its storage, in the thread that asks. */
import type { Follower } from './channel.js';
import type { Sharer } from './share.js';
import { hex, noOffer, readDecision } from './decision.js';
import { Emitter } from './emitter.js';
import { SelvedgeError, engineError } from './errors.js';
import { Fetcher } from './fetching.js';
import { type Engine, type Modules, compile, hasSimd, instantiate } from './module.js';
import { type Fields, type KeyOf, RequestWriter, idOf, sixteen } from './request.js';
import { StateStore, type Stored } from './store.js';
import type {
  Candidate,
  ChannelOptions,
  ChannelStatus,
  Context,
  Decision,
  Events,
  FallbackReason,
  LoadOptions,
  ModuleSource,
  RankOptions,
  Selvedge,
  ShareOptions,
  Status,
  UserEvent,
} from './types.js';

/** How long events wait for each other before they are written, milliseconds. */
const WRITE_DELAY = 20;
const EMPTY = new Uint8Array();

interface Pending {
  readonly event: UserEvent;
  readonly time: number;
}

export class Client implements Selvedge {
  readonly #module: WebAssembly.Module;
  readonly #simd: boolean;
  readonly #fetcher: Fetcher;
  readonly #events = new Emitter();
  readonly #writer = new RequestWriter();
  readonly #fields = new Map<string, ReturnType<Fields>>();
  readonly #begin: Uint8Array;
  readonly #bytes = new Map<'bundle' | 'shared', Uint8Array>();
  #engine: Engine;
  #isDead = false;
  #isClosed = false;
  #names: readonly string[] = [];
  #store: StateStore | undefined;
  #device = randomDevice();
  #revision = 0;
  #pending: Pending[] = [];
  #writing: Promise<void> | undefined;
  #state: Uint8Array | undefined;
  #decisions = 0;
  #fallbacks = 0;
  #follower: Follower | undefined;
  #sharer: Sharer | undefined;

  private constructor(module: WebAssembly.Module, simd: boolean, fetcher: Fetcher, begin: Uint8Array) {
    this.#module = module;
    this.#simd = simd;
    this.#fetcher = fetcher;
    this.#begin = begin;
    this.#engine = instantiate(module);
  }

  static async load(options: LoadOptions, modules: Modules | undefined): Promise<Client> {
    const { signal } = options;
    signal?.throwIfAborted();
    const keep = options.store ?? true;
    const fetcher = new Fetcher(keep);
    const simd = hasSimd();
    const own = modules && (simd ? modules.simd : modules.plain);
    const source = options.module ?? (typeof own === 'function' ? await own() : own);
    if (!source) throw new SelvedgeError('invalid-argument', '`module` is missing: selvedge/slim brings none');
    if (!options.bundle && !options.channel) {
      throw new SelvedgeError('invalid-argument', '`bundle` is missing, and the page inlines none (#selvedge-state)');
    }
    const module = compile(source, fetcher, signal);
    // While the module compiles, bundle and state are on their way.
    const parts = (['bundle', 'shared'] as const).flatMap((what) => {
      const from = options[what];
      return from ? [{ what, from, copy: from instanceof Uint8Array ? undefined : fetcher.get(from, signal) }] : [];
    });
    for (const { copy } of parts) copy?.catch(() => undefined);
    let isOutdated = false;
    let follow = (_: number): void => void (isOutdated = true);
    const opening = keep ? StateStore.open(options.user ?? '', (revision) => follow(revision)) : undefined;
    const reading = opening?.then((store) => store.read());
    reading?.catch(() => undefined);
    try {
      const client = new Client(await module, simd, fetcher, options.state ?? EMPTY);
      follow = (revision) => void client.#followTabs(revision);
      for (const { what, from, copy } of parts) await client.#place(what, from, await copy, signal);
      client.#merge(client.#begin);
      if (opening) await client.#keepIn(opening, async (store) => (isOutdated ? store.read() : reading));
      if (options.channel) await client.#follow(options.channel, options.user ?? '', !options.bundle);
      if (options.share) await client.#share(options.share, options.user ?? '');
      signal?.throwIfAborted();
      return client;
    } catch (error) {
      opening?.then((store) => store.close(), () => undefined);
      throw error;
    }
  }

  async rank(candidates: readonly Candidate[], context: Context = {}, options: RankOptions = {}): Promise<Decision> {
    options.signal?.throwIfAborted();
    this.#mustBeOpen();
    if (!Array.isArray(candidates)) {
      throw new SelvedgeError('invalid-argument', '`candidates` must be an array of ids or of objects with an id');
    }
    const requestId = readRequestId(options.requestId);
    this.#decisions += 1;
    if (this.#follower?.isKilled) {
      this.#fallbacks += 1;
      this.#events.emit('fallback', { reason: 'killed', error: null });
      return inOrder(candidates, options, requestId, 'killed');
    }
    let bytes: Uint8Array;
    try {
      this.#revive();
      const time = options.time ?? Date.now();
      const utcOffsetMin = options.utcOffsetMin ?? -new Date(time).getTimezoneOffset();
      this.#state ??= this.#engine.state();
      const frame = { requestId, timeMs: time, utcOffsetMin, state: this.#state };
      bytes = this.#engine.decide(this.#writer.write(candidates, context, options, frame, this.#field, this.#key));
    } catch (error) {
      const isOurs = error instanceof SelvedgeError;
      if (!isOurs) this.#isDead = true;
      const reason = isOurs ? 'invalid-value' : 'trap';
      this.#follower?.decided(true);
      const told = isOurs ? error : new SelvedgeError('trap', `the module broke off: ${String(error)}`, { cause: error });
      return this.#fallBack(candidates, options, requestId, reason, told);
    }
    const decision = readDecision(bytes, (at) => idOf(candidates[at], at), this.#names);
    this.#follower?.decided(decision.status === 'fallback');
    if (decision.status === 'fallback') this.#tellFallback(decision.reason as FallbackReason, this.#lastError(decision));
    return decision;
  }

  async observe(event: UserEvent): Promise<void> {
    this.#mustBeOpen();
    if (typeof event?.event !== 'string' || typeof event.item !== 'string') {
      throw new SelvedgeError('invalid-argument', 'an event needs the strings `event` and `item`');
    }
    const pending = { event, time: event.time ?? Date.now() };
    this.#apply(pending);
    this.#sharer?.happened(event, pending.time, this.#device.toString(16));
    if (!this.#store) return;
    this.#pending.push(pending);
    this.#writing ??= new Promise((resolve) => setTimeout(resolve, WRITE_DELAY)).then(() => this.#write());
    await this.#writing;
  }

  async state(): Promise<Uint8Array> {
    this.#mustBeOpen();
    return this.#engine.state();
  }

  async forget(): Promise<void> {
    this.#mustBeOpen();
    await this.#writing;
    this.#engine.forget();
    this.#state = undefined;
    this.#revision = 0;
    await this.#store?.clear();
  }

  async status(): Promise<Status> {
    return {
      bundleId: identity(this.#engine.bundleId()),
      sharedId: identity(this.#engine.sharedId()),
      simd: this.#simd,
      storage: this.#store ? 'persistent' : 'memory',
      stateBytes: this.#engine.state().length,
      pending: this.#pending.length,
      decisions: this.#decisions,
      fallbacks: this.#fallbacks,
      requests: this.#fetcher.traffic.requests,
      requestBytes: this.#fetcher.traffic.bytes,
      channel: this.#follower?.status() ?? null,
    };
  }

  on<K extends keyof Events>(event: K, listener: (detail: Events[K]) => void): () => void {
    return this.#events.on(event, listener);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#follower?.stop();
    await Promise.all([this.#writing, this.#sharer?.close()]);
    this.#isClosed = true;
    this.#store?.close();
    this.#engine.free();
  }

  readonly #field: Fields = (scope, name) => {
    const key = `${scope}${name}`;
    let field = this.#fields.get(key);
    if (field === undefined) {
      const type = this.#engine.fieldType(scope, name);
      field = type === 255 ? null : { id: this.#engine.fieldId(scope, name), type };
      // Names come from candidates, which may come from anywhere.
      if (this.#fields.size < 4096) this.#fields.set(key, field);
    }
    return field;
  };

  readonly #key: KeyOf = (text) => this.#engine.key(String(text));

  /** Follows a channel, with code that only those load who do. */
  async #follow(options: ChannelOptions, unit: string, isUrgent: boolean): Promise<void> {
    const { Follower } = await import('./channel.js');
    const hooks = {
      deploy: (bundle: Uint8Array, shared: Uint8Array | null) => this.#deploy(bundle, shared),
      changed: (status: ChannelStatus) => this.#events.emit('channel', status),
    };
    this.#follower = await Follower.start(options, unit, this.#fetcher, hooks, isUrgent);
    if (this.#isClosed) this.#follower.stop();
  }

  /** Sends what may leave the device, with code that only those load who share. */
  async #share(options: ShareOptions, user: string): Promise<void> {
    const { Sharer } = await import('./share.js');
    const refused = (error: SelvedgeError) => this.#events.emit('fallback', { reason: 'share-refused', error });
    this.#sharer = new Sharer(options, user, this.#fetcher, () => this.#engine.state(), refused);
  }

  /** Puts a bundle and its shared state in place between two decisions, both or neither. */
  #deploy(bundle: Uint8Array, shared: Uint8Array | null): void {
    const [engine, before, wasDead] = [this.#engine, new Map(this.#bytes), this.#isDead];
    const state = wasDead ? (this.#state ?? EMPTY) : engine.state();
    this.#engine = instantiate(this.#module);
    try {
      this.#bytes.clear();
      this.#load('bundle', bundle);
      if (shared) this.#load('shared', shared);
    } catch (error) {
      this.#engine.free();
      this.#engine = engine;
      this.#bytes.clear();
      for (const [what, bytes] of before) this.#bytes.set(what, bytes);
      throw error;
    }
    if (!wasDead) engine.free();
    this.#isDead = false;
    this.#merge(state);
    this.#events.emit('update', { what: 'bundle', id: this.#id('bundle') });
  }

  /** Loads what was fetched; a bad copy from the cache is fetched again, an old one is looked after in the background. */
  async #place(
    what: 'bundle' | 'shared',
    from: string | URL | Uint8Array,
    copy: { bytes: Uint8Array; cached: boolean } | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (from instanceof Uint8Array || !copy) return this.#load(what, from as Uint8Array);
    let { bytes, cached } = copy;
    try {
      this.#load(what, bytes);
    } catch (error) {
      if (!cached) throw error;
      await this.#fetcher.drop(from);
      bytes = await this.#fetcher.fetch(from, signal);
      cached = false;
      this.#load(what, bytes);
    }
    if (!cached) await this.#fetcher.keep(from, bytes);
    // An address that ends in the id cannot have other content.
    else if (!String(from).endsWith(this.#id(what) ?? '-')) void this.#refresh(what, from);
  }

  /** Asks for a newer version and swaps it in between two decisions. */
  async #refresh(what: 'bundle' | 'shared', from: string | URL): Promise<void> {
    try {
      const before = this.#id(what);
      const bytes = await this.#fetcher.fetch(from);
      if (this.#isClosed) return;
      this.#load(what, bytes);
      if (this.#id(what) === before) return;
      await this.#fetcher.keep(from, bytes);
      this.#events.emit('update', { what, id: this.#id(what) });
    } catch (error) {
      // Offline, the cached version is as good as it gets.
      const isRefused = error instanceof SelvedgeError && error.code !== 'unavailable';
      if (isRefused) this.#events.emit('fallback', { reason: 'update-refused', error });
    }
  }

  #load(what: 'bundle' | 'shared', bytes: Uint8Array): void {
    const code = this.#engine.load(bytes);
    if (code !== 0) throw engineError(code, `the ${what === 'shared' ? 'shared state' : what} was refused: ${this.#engine.lastError()}`);
    this.#bytes.set(what, bytes);
    this.#fields.clear();
    this.#names = this.#engine.featureNames();
  }

  #id(what: 'bundle' | 'shared'): string | null {
    return identity(what === 'bundle' ? this.#engine.bundleId() : this.#engine.sharedId());
  }

  #merge(state: Uint8Array): void {
    this.#state = undefined;
    // A state that does not decode is another version's or damaged: the user begins anew.
    if (state.length > 0 && this.#engine.merge(state) !== 0) {
      this.#tellFallback('invalid-state', engineError(7, this.#engine.lastError()));
    }
  }

  async #keepIn(opening: Promise<StateStore>, read: (store: StateStore) => Promise<Stored | undefined>): Promise<void> {
    try {
      this.#store = await opening;
      const stored = await read(this.#store);
      if (stored) this.#restore(stored);
    } catch (cause) {
      this.#doWithoutStore(cause);
    }
  }

  #restore(stored: Stored): void {
    this.#engine.forget();
    this.#merge(this.#begin);
    this.#merge(stored.state);
    this.#device = stored.device;
    this.#revision = stored.revision;
    for (const pending of this.#pending) this.#apply(pending);
  }

  /** Another tab has written. */
  async #followTabs(revision: number): Promise<void> {
    if (revision === this.#revision || this.#isClosed || !this.#store) return;
    const stored = await this.#store.read().catch(() => undefined);
    if (this.#isClosed) return;
    if (stored) this.#restore(stored);
    else {
      this.#engine.forget();
      this.#state = undefined;
      this.#revision = 0;
    }
    this.#events.emit('update', { what: 'state', id: null });
  }

  #apply({ event, time }: Pending): void {
    this.#state = undefined;
    const code = this.#engine.observe(this.#device, event.event, event.item, time, event.value ?? 0);
    if (code !== 0) throw engineError(code, this.#engine.lastError());
  }

  /** Writes the pending events on top of what is stored by now. */
  async #write(): Promise<void> {
    this.#writing = undefined;
    const count = this.#pending.length;
    let isOthers = false;
    try {
      const written = await this.#store?.update((stored) => {
        isOthers = stored !== undefined && stored.revision !== this.#revision;
        if (stored && isOthers) this.#restore(stored);
        return { state: this.#engine.state(), device: this.#device };
      });
      this.#revision = written?.revision ?? 0;
      this.#pending = this.#pending.slice(count);
      // Another tab's message may come before this write has ended, and then tells nothing new.
      if (isOthers) this.#events.emit('update', { what: 'state', id: null });
    } catch (cause) {
      this.#doWithoutStore(cause);
    }
  }

  /** Goes on in memory. */
  #doWithoutStore(cause: unknown): void {
    this.#store?.close();
    this.#store = undefined;
    this.#pending = [];
    const error = new SelvedgeError('storage-unavailable', `the user's state is not kept: ${String(cause)}`, { cause });
    this.#events.emit('fallback', { reason: 'storage-unavailable', error });
  }

  /** After a trap, an instance begins anew with all that was loaded. */
  #revive(): void {
    if (!this.#isDead) return;
    const state = this.#state ?? EMPTY;
    this.#engine = instantiate(this.#module);
    this.#isDead = false;
    for (const [what, bytes] of this.#bytes) this.#load(what, bytes);
    this.#merge(state);
  }

  #fallBack(
    candidates: readonly Candidate[],
    options: RankOptions,
    requestId: Uint8Array,
    reason: FallbackReason,
    error: SelvedgeError,
  ): Decision {
    this.#tellFallback(reason, error);
    return inOrder(candidates, options, requestId, reason);
  }

  #tellFallback(reason: FallbackReason, error: SelvedgeError | null): void {
    this.#fallbacks += 1;
    this.#events.emit('fallback', { reason, error });
  }

  #lastError(decision: Decision): SelvedgeError | null {
    return decision.error ? new SelvedgeError(decision.error, this.#engine.lastError()) : null;
  }

  #mustBeOpen(): void {
    if (this.#isClosed) throw new SelvedgeError('invalid-argument', 'this engine was closed');
  }
}

/** The order that was given, where the engine made no decision. */
export function inOrder(
  candidates: readonly Candidate[],
  options: RankOptions,
  requestId: Uint8Array,
  reason: FallbackReason,
): Decision {
  const excluded = new Set(options.exclude ?? []);
  const items = candidates
    .map((candidate, index) => ({ index, id: typeof candidate === 'object' ? String(candidate?.id) : String(candidate) }))
    .filter(({ id }) => !excluded.has(id))
    .slice(0, options.slots ?? 500)
    .map(({ index, id }) => ({ index, id, score: null, propensity: 1, rules: [], reasons: [] }));
  return {
    status: 'fallback',
    reason,
    error: null,
    requestId: hex(requestId),
    bundleId: null,
    sharedId: null,
    items,
    offer: options.offer ? noOffer(options.offer) : null,
    bytes: EMPTY,
  };
}

export function readRequestId(given: Uint8Array | string | undefined): Uint8Array {
  if (given === undefined) return crypto.getRandomValues(new Uint8Array(16));
  const id = sixteen(given);
  if (id) return id;
  throw new SelvedgeError('invalid-argument', '`requestId` must be 16 bytes or 32 hexadecimal digits');
}

function identity(id: Uint8Array | undefined): string | null {
  return id ? hex(id) : null;
}

function randomDevice(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0] as bigint;
}

export type { ModuleSource };
