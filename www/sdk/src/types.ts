import type { EngineFallback } from './decision.js';
import type { EngineCode, SelvedgeError } from './errors.js';

/** A value of a field: its type is the one that the bundle declares. `null` and `undefined` are missing. */
export type Value = number | string | readonly string[] | Date | null | undefined;

/** An id, or an object with an `id` and values by field name. Fields that the bundle does not read are passed over. */
export type Candidate = string | { readonly id: string; readonly [field: string]: Value };

/** Values of the context by field name, for example the query. */
export type Context = Readonly<Record<string, Value>>;

/** What `rank` may be asked besides. */
export interface RankOptions {
  /** Slots wanted; otherwise the bundle's number. */
  readonly slots?: number;
  /** Largest contributions per slot, at most 16; none unless asked for. */
  readonly reasons?: number;
  /** These ids in these slots, counted from 0. */
  readonly pins?: readonly { readonly id: string; readonly slot: number }[];
  /** Ids that never stand in the slate. */
  readonly exclude?: readonly string[];
  /** Values of the user by field name; they go before those of the stored profile. */
  readonly user?: Context;
  /** Asks for an offer as well. */
  readonly offer?: OfferQuestion;
  /** 16 bytes, or 32 hexadecimal digits; random unless given. Seeds every draw: a repeated id repeats the decision. */
  readonly requestId?: Uint8Array | string;
  /** When the decision is made, milliseconds since 1970-01-01 UTC; now unless given. */
  readonly time?: number;
  /** The user's offset from UTC in minutes; the device's unless given. */
  readonly utcOffsetMin?: number;
  readonly signal?: AbortSignal;
}

/** What a budget is worth now, and what is left of it. */
export interface OfferBudget {
  /** What a unit of cost must bring, 0 to 1e9; `null` where nothing may be spent. */
  readonly price: number | null;
  /** What can be reserved, in minor units; enough unless given. */
  readonly left?: number;
}

/** Asks which offer of the bundle's campaigns the user is to be made: `docs/format/request.md`. */
export interface OfferQuestion {
  /** Name of the campaign; the first that the user is eligible for unless given. */
  readonly campaign?: string;
  /**
   * The keyed hash of user, campaign and epoch: 16 bytes, or 32 hexadecimal digits. Without it the answer is a preview.
   * The key belongs to a server: a page asks for previews.
   */
  readonly draw?: Uint8Array | string;
  /** By name; a budget that is left out has the bundle's highest price, and enough left. At most 64. */
  readonly budgets?: Readonly<Record<string, OfferBudget>>;
  /** How many offers the caps have counted: the name of the campaign, and the position of the cap in it. At most 512. */
  readonly counts?: readonly { readonly campaign: string; readonly cap: number; readonly count: number }[];
}

/** Why nothing is offered. */
export type NoOffer =
  | 'no-campaign'
  | 'outside-window'
  | 'not-eligible'
  | 'capped'
  | 'no-budget'
  | 'margin-floor'
  | 'not-worth-it'
  | 'fallback'
  | 'drawn';

/** What one arm would do and cost; amounts in minor units. */
export interface OfferArm {
  /** Why it cannot be offered; empty where it can. */
  readonly masked: readonly ('no-budget' | 'margin-floor')[];
  /** Chance of a response. */
  readonly response: number;
  /** Incremental value. */
  readonly value: number;
  /** Expected cost. */
  readonly cost: number;
  /** Value minus the price of the cost: what the arms are compared by. */
  readonly score: number;
}

/** Which offer the user is to be made. It promises nothing: who mints the offer has its terms, and signs. */
export interface OfferAnswer {
  /** Key of the campaign's name, 16 hexadecimal digits; null where there is none. */
  readonly campaign: string | null;
  /** The epoch for which it holds, counted in the campaign's epochs since 1970. */
  readonly epoch: number;
  readonly status: 'offered' | 'held-out' | 'none';
  /** Why nothing is offered. */
  readonly reason: NoOffer | null;
  /** Position of the arm among the campaign's offers, from 1; 0 is no offer. */
  readonly arm: number;
  /** The arm with the best score. */
  readonly best: number;
  /** Whether nothing was drawn. */
  readonly preview: boolean;
  /** Probability of the arm for this user; null in a preview. */
  readonly propensity: number | null;
  /** No offer first; empty where none was looked at. */
  readonly arms: readonly OfferArm[];
}

export type Rule = 'pinned' | 'diversity' | 'at-most' | 'explored';

export interface RankedItem {
  /** Position among the candidates, from 0. */
  readonly index: number;
  readonly id: string;
  /** Null where there is none. */
  readonly score: number | null;
  /** Probability that the policy puts it here, given the slots above. */
  readonly propensity: number;
  readonly rules: readonly Rule[];
  /** Largest contribution first. */
  readonly reasons: readonly { readonly feature: string; readonly effect: number }[];
}

export interface Decision {
  readonly status: 'personalized' | 'control' | 'fallback';
  /** Why it is not personalized; where it is, why the last stages of a cascade did not run. */
  readonly reason: FallbackReason | 'holdout' | null;
  readonly error: EngineCode | null;
  /** 32 hexadecimal digits. */
  readonly requestId: string;
  /** 64 hexadecimal digits; null if none is loaded. */
  readonly bundleId: string | null;
  readonly sharedId: string | null;
  /** The slate, best first. */
  readonly items: readonly RankedItem[];
  /** The answer to `offer`; null if it was not asked. */
  readonly offer: OfferAnswer | null;
  /** The decision as `docs/format/decision.md` has it; empty where the engine made none. */
  readonly bytes: Uint8Array;
}

export type FallbackReason = EngineFallback | 'invalid-value' | 'trap' | 'worker-lost' | 'killed';

/** Something that the user did. */
export interface UserEvent {
  /** One of the bundle's events, for example `view`. */
  readonly event: string;
  /** Id of the item. */
  readonly item: string;
  /** What counters of values add; 0 unless given. */
  readonly value?: number;
  /** Milliseconds since 1970-01-01 UTC; now unless given. */
  readonly time?: number;
}

/** A channel of a host, or of what stands in front of it. */
export interface ChannelOptions {
  /** Address of the host, for example `https://selvedge.shop.example`. */
  readonly url: string | URL;
  /** Name of the channel. */
  readonly name: string;
  /** Public keys whose heads are believed, as `selvedge keygen` prints them; two while one is rotated. */
  readonly keys: readonly string[];
  /** Seconds between two questions, where no stream of events is held; 30 unless given. */
  readonly poll?: number;
  /** Seconds without an answer after which the follower is stale; ten times `poll` unless given. */
  readonly staleAfter?: number;
  /** Whether to hold a stream of events while the page is seen; true unless given. */
  readonly stream?: boolean;
  /** Largest bundle or shared state that is taken, in bytes; 64 MiB unless given. */
  readonly maxBytes?: number;
}

/** How a channel is followed: docs/follow.md. */
export type ChannelState = 'bootstrap' | 'following' | 'stale' | 'expired' | 'rolled-back' | 'killed';

/** Why a head was refused: docs/follow.md. */
export type Refusal =
  | 'malformed'
  | 'other-channel'
  | 'unknown-key'
  | 'bad-signature'
  | 'not-yet-valid'
  | 'expired'
  | 'sequence-lower'
  | 'sequence-reused'
  | 'blob-too-large'
  | 'blob-missing'
  | 'blob-mismatch'
  | 'load-failed';

export interface ChannelStatus {
  readonly state: ChannelState;
  /** Sequence of the head in force; 0 without one. */
  readonly sequence: number;
  /** The bundle that the channel has put in place; null before. */
  readonly bundleId: string | null;
  /** Whether prices may be used. */
  readonly pricesValid: boolean;
  /** Why the newest head was refused, if it was. */
  readonly refusal: Refusal | null;
}

/** What may leave the device. Without it nothing does. */
export interface ShareOptions {
  /** `events` sends what the user does, as it is observed; `state` only the encoded counters, which name no item. */
  readonly what: 'events' | 'state';
  /** Address of the host, or of your own server, which then holds the token. */
  readonly url: string | URL;
  /** A token of the host with the scope `ingest`. In a page it is public: anybody can send events with it. */
  readonly token?: string;
  /** Seconds that things wait for each other; 5 unless given. */
  readonly delay?: number;
}

export interface LoadOptions {
  /** What is sent to a host, for the user named by `user`; nothing unless given. */
  readonly share?: ShareOptions;
  /** A signed channel to follow. `bundle` is then what decides until it was heard, and may be left out. */
  readonly channel?: ChannelOptions;
  /** Address or bytes of the bundle. Left out, the page's inlined one is taken (see {@link inline}). */
  readonly bundle?: string | URL | Uint8Array;
  /** Address or bytes of the shared state: item fields and counters over all users. */
  readonly shared?: string | URL | Uint8Array;
  /** A state to begin with, for example the server's; merged with the stored one. */
  readonly state?: Uint8Array;
  /** Under which name the state is stored; one device may have several users. */
  readonly user?: string;
  /** Whether state and bundle are kept on the device; true where the runtime can. */
  readonly store?: boolean;
  /** Whether the engine runs in a dedicated worker. */
  readonly worker?: boolean;
  /** Whether to read `<script type="application/json" id="selvedge-state">`; true in a page that has it. */
  readonly inline?: boolean;
  /** The module, where the package shall not find it by itself; `selvedge/slim` needs it. */
  readonly module?: ModuleSource;
  readonly signal?: AbortSignal;
}

export type ModuleSource = WebAssembly.Module | Uint8Array | string | URL;

export interface Status {
  /** 64 hexadecimal digits; null if none is loaded. */
  readonly bundleId: string | null;
  readonly sharedId: string | null;
  /** Which module runs. */
  readonly simd: boolean;
  /** `persistent` keeps bundle and state on the device; `memory` until the page goes. */
  readonly storage: 'persistent' | 'memory';
  /** Bytes of the user's state. */
  readonly stateBytes: number;
  /** Events that are not written yet. */
  readonly pending: number;
  readonly decisions: number;
  readonly fallbacks: number;
  /** Requests that the package has made, and the bytes that they brought. Nothing is sent but addresses, unless `share` says so. */
  readonly requests: number;
  readonly requestBytes: number;
  /** How the channel is followed; null if none is. */
  readonly channel: ChannelStatus | null;
}

export interface Events {
  /** The channel is followed otherwise than before. */
  channel: ChannelStatus;
  /** A newer bundle or shared state is in use, or another tab changed the user's state. */
  update: { readonly what: 'bundle' | 'shared' | 'state'; readonly id: string | null };
  /** A decision kept the order it was given, or something that would be kept is not. */
  fallback: { readonly reason: FallbackReason | 'storage-unavailable' | 'update-refused' | 'share-refused'; readonly error: SelvedgeError | null };
}

/** A loaded engine. */
export interface Selvedge {
  /**
   * Ranks the candidates. What cannot be ranked keeps its order and says why; the promise is rejected only if `signal`
   * aborts or an argument is none that a program should pass.
   */
  rank(candidates: readonly Candidate[], context?: Context, options?: RankOptions): Promise<Decision>;
  /** Counts something that the user did. The next `rank` knows it; the promise is kept when it is stored. */
  observe(event: UserEvent): Promise<void>;
  /** The user's state as bytes, for a server or another device. */
  state(): Promise<Uint8Array>;
  /** Forgets the user, on the device too. */
  forget(): Promise<void>;
  status(): Promise<Status>;
  /** Calls `listener` at every event; returns what ends that. */
  on<K extends keyof Events>(event: K, listener: (detail: Events[K]) => void): () => void;
  /** Ends all work; pending events are written first. */
  close(): Promise<void>;
}
