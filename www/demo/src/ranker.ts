/** One household at this device, and the engine that ranks for it. Whatever goes wrong, the flyer is still there: a ranker
 * without an engine gives the order that came in, and says why. */
import { type Decision, type RankOptions, type RankedItem, SelvedgeError, type Selvedge, type Status, load } from 'selvedge';

import { type Household, type Policy, type Shop, bundleOf, place } from './shop.js';

/** What the shopper can do. */
export type Deed = 'view' | 'cart' | 'purchase';

export interface Slate {
  readonly items: readonly RankedItem[];
  readonly isPersonalized: boolean;
  /** Why it is not. */
  readonly reason: string | null;
  /** How long the decision took, from the call to its answer; null if there was none. */
  readonly milliseconds: number | null;
}

type Asked = Pick<RankOptions, 'slots' | 'reasons' | 'pins' | 'exclude' | 'requestId'>;

export class Ranker {
  readonly #engine: Selvedge | undefined;
  readonly #now: () => number;
  readonly #feed: readonly string[];
  /** Why there is no engine, or why it knows less than it could; null if all is well. */
  readonly problem: string | null;

  private constructor(engine: Selvedge | undefined, now: () => number, feed: readonly string[], problem: string | null) {
    this.#engine = engine;
    this.#now = now;
    this.#feed = feed;
    this.problem = problem;
  }

  static async open(shop: Shop, household: Household, policy: Policy, now: () => number, changed: () => void): Promise<Ranker> {
    const feed = household.feed.flatMap((position) => shop.products[position]?.id ?? []);
    const till = await fetchState(household);
    try {
      const engine = await load({
        bundle: bundleOf(shop, policy),
        shared: place(shop.shared),
        user: `demo/${shop.source}/${shop.week}/${household.id}`,
        state: till.state,
      });
      engine.on('update', changed);
      engine.on('fallback', changed);
      return new Ranker(engine, now, feed, till.problem);
    } catch (error) {
      const why = error instanceof SelvedgeError ? error.message : String(error);
      return new Ranker(undefined, now, feed, `The products are in the order of the flyer: ${why}. A reload tries again.`);
    }
  }

  async rank(asked: Asked): Promise<Slate> {
    if (!this.#engine) return { items: inOrder(this.#feed, asked), isPersonalized: false, reason: this.problem, milliseconds: null };
    const before = performance.now();
    const decision = await this.#decide(this.#engine, asked);
    const milliseconds = performance.now() - before;
    return { items: decision.items, isPersonalized: decision.status === 'personalized', reason: decision.reason, milliseconds };
  }

  /** Times `count` decisions, each with a draw of its own. */
  async time(count: number, asked: Asked): Promise<number[]> {
    const { requestId: _, ...same } = asked;
    const times: number[] = [];
    for (let at = 0; at < count; at++) {
      const { milliseconds } = await this.rank(same);
      if (milliseconds !== null) times.push(milliseconds);
    }
    return times;
  }

  async observe(deed: Deed, item: string, value = 0): Promise<void> {
    await this.#engine?.observe({ event: deed, item, value, time: this.#now() });
  }

  /** Forgets what was done at this device. */
  async forget(): Promise<void> {
    await this.#engine?.forget();
  }

  async status(): Promise<Status | undefined> {
    return this.#engine?.status();
  }

  async close(): Promise<void> {
    await this.#engine?.close();
  }

  #decide(engine: Selvedge, asked: Asked): Promise<Decision> {
    // The shop's week has no time zone; with the device's, two devices would decide differently.
    return engine.rank(this.#feed, {}, { ...asked, time: this.#now(), utcOffsetMin: 0 });
  }
}

/** What the till knows of a household. */
async function fetchState({ state }: Household): Promise<{ state: Uint8Array; problem: string | null }> {
  if (state === null) return { state: new Uint8Array(), problem: null };
  try {
    const response = await fetch(place(state));
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return { state: new Uint8Array(await response.arrayBuffer()), problem: null };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { state: new Uint8Array(), problem: `What the till knows is missing (${place(state)}: ${why}), so this household begins as a visitor.` };
  }
}

function inOrder(feed: readonly string[], { slots = feed.length, exclude = [] }: Asked): RankedItem[] {
  return feed
    .map((id, index) => ({ id, index, score: null, propensity: 1, rules: [], reasons: [] }))
    .filter(({ id }) => !exclude.includes(id))
    .slice(0, slots);
}
