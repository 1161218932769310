/** The shop's coupon counter, as a page sees it: it is asked who gets what, and shown what was promised. The page has no token
 * of the host, and no key; the counter has the one, the host the other. */

/** Who asks, and what the counter is told of it. Prices are not: the counter knows them. */
export interface Shopper {
  readonly user: string;
  readonly basket: readonly BasketLine[];
  /** How many products were looked at. */
  readonly looked: number;
}

export interface BasketLine {
  readonly item: string;
  readonly quantity: number;
}

/** The terms of an offer as `docs/format/bundle.md` has them. */
export interface Terms {
  readonly offer: string;
  readonly benefit: Benefit;
  readonly cap: number;
  readonly min_spend: number;
  readonly scope: { readonly only: readonly LineTest[]; readonly except: readonly LineTest[] };
  readonly stacking: { readonly group: string; readonly exclusive: boolean };
}

export type Benefit =
  | 'FreeShipping'
  | { readonly Percent: { readonly share: number } }
  | { readonly Amount: { readonly minor: number } }
  | { readonly Tiers: { readonly steps: readonly { readonly spend: number; readonly save: number }[] } };

export interface LineTest {
  readonly attribute: string;
  readonly values: readonly string[];
}

export interface Offer {
  readonly offer: string;
  readonly terms: Terms;
  readonly currency: string;
  /** Whether the shopper must be told that a decision about them made it. */
  readonly disclosed: boolean;
  readonly token: string;
  readonly expires_ms: number;
}

export interface Answer {
  readonly status: 'offered' | 'held-out' | 'none';
  readonly reason?: string;
  readonly offer?: Offer;
  /** Whether it was decided before. */
  readonly repeated: boolean;
}

/** An order as the host priced it. */
export interface Bill {
  readonly currency: string;
  readonly before_minor: number;
  readonly discount_minor: number;
  readonly after_minor: number;
  readonly line_discounts_minor: readonly number[];
  readonly shipping_discount_minor: number;
  readonly cart: {
    readonly lines: readonly { readonly item: string; readonly quantity: number; readonly unit_minor: number }[];
    readonly shipping_minor: number;
  };
}

/** A budget now: `total = settled + held + free`, in minor units. */
export interface Budget {
  readonly budget: string;
  readonly total: number;
  readonly settled: number;
  readonly held: number;
  readonly free: number;
  /** What a unit of cost must bring, in millionths, as the head says that the host follows. */
  readonly price_micros: number | null;
}

/** Why there is no answer: by a name that stays, and in the counter's words. */
export class Refusal extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const PATIENCE_MS = 10_000;

/** Whether this page's server has a counter at all; throws where the server cannot be reached. */
export async function isOpen(): Promise<boolean> {
  const response = await fetch('counter.json', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) });
  return response.ok && ((await response.json()) as { open: boolean }).open;
}

export const askOffer = (shopper: Shopper): Promise<Answer> =>
  ask('v1/offers', { ...shopper, utc_offset_min: -new Date().getTimezoneOffset() });

export const redeem = (shopper: Shopper, order: string, offer: string, preview: boolean): Promise<Bill> =>
  ask('v1/redeem', { user: shopper.user, basket: shopper.basket, order, offer, preview });

export const budgets = (): Promise<readonly Budget[]> => ask('v1/budgets');

async function ask<T>(path: string, document?: object): Promise<T> {
  const sent = document
    ? { method: 'POST', body: JSON.stringify(document), headers: { 'content-type': 'application/json' } }
    : {};
  let response: Response;
  let answer: unknown;
  try {
    response = await fetch(path, { ...sent, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) });
    answer = await response.json();
  } catch {
    throw new Refusal('no-counter', 'the counter cannot be reached');
  }
  if (response.ok) return answer as T;
  const { error } = answer as { readonly error?: { readonly code: string; readonly message: string } };
  throw new Refusal(error?.code ?? 'no-counter', error?.message ?? `the counter answered ${response.status}`);
}
