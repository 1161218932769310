/** The shop as `selvedge demo --storefront` wrote it. Nothing here was made for the page: `models/recipes/storefront` says
 * what is real in it. */

export interface Product {
  readonly id: string;
  readonly product_type: string;
  readonly category: string;
  readonly department: string;
  readonly own_brand: boolean;
  readonly size: string;
  /** US dollars a unit, where it was last sold. */
  readonly price: number | null;
}

export interface Household {
  readonly id: string;
  /** Lines of baskets before the week. */
  readonly purchases: number;
  readonly favourites: readonly string[];
  /** Address of what the till knows of it; none for a visitor. */
  readonly state: string | null;
  /** Positions among the products, in the order of the flyer. */
  readonly feed: readonly number[];
  /** Those of them that it bought that week. */
  readonly bought: readonly number[];
}

/** A term of the weighted sum. */
export interface Term {
  readonly feature: string;
  readonly doc: string;
  readonly weight: number;
  /** By the recipe; otherwise learned. */
  readonly declared: boolean;
}

export interface Size {
  readonly bytes: number;
  readonly gzip_bytes: number;
}

/** The campaign of the bundle that decides about coupons. */
export interface Coupons {
  /** Where the bundle is. */
  readonly bundle: string;
  readonly campaign: string;
  /** ISO 4217 code of all its amounts. */
  readonly currency: string;
  /** Names of its offers; arm 1 is the first. */
  readonly offers: readonly string[];
  /** Totals are in minor units. */
  readonly budgets: readonly { readonly budget: string; readonly total: number }[];
}

export interface Shop {
  readonly source: string;
  readonly made_up: boolean;
  /** When it is in the shop, milliseconds since 1970-01-01 UTC. */
  readonly time: number;
  readonly week: number;
  readonly bundles: { readonly address: string };
  readonly shared: string;
  readonly offers: Coupons;
  readonly sizes: { readonly bundle: Size; readonly offers: Size; readonly shared: Size; readonly state: Size };
  readonly terms: readonly Term[];
  readonly products: readonly Product[];
  readonly households: readonly Household[];
}

/** What is turned on in the bundle's slate policy. */
export interface Policy {
  readonly diversity: 'off' | 'on';
  readonly cap: 'off' | 'on';
  readonly explore: 'off' | 'epsilon' | 'softmax';
}

const DATA = 'data/';

/** Where a file of the shop is. */
export const place = (path: string): string => DATA + path;

export async function openShop(): Promise<Shop> {
  const response = await fetch(place('shop.json'));
  if (!response.ok) throw new Error(`${place('shop.json')}: the server answered ${response.status}`);
  return withVisitor((await response.json()) as Shop);
}

/** The bundle of a policy. */
export function bundleOf(shop: Shop, policy: Policy): string {
  const parts: Readonly<Record<string, string>> = { ...policy };
  return place(shop.bundles.address.replace(/\{(\w+)\}/g, (_, part: string) => parts[part] ?? ''));
}

/** Somebody of whom nothing is known, before the flyer of the first household. */
function withVisitor(shop: Shop): Shop {
  const [first] = shop.households;
  if (!first) return shop;
  const visitor: Household = { id: 'visitor', purchases: 0, favourites: [], state: null, feed: first.feed, bought: [] };
  return { ...shop, households: [...shop.households, visitor] };
}
