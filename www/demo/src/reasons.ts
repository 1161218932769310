/** Reasons in the shopper's words. A term of the weighted sum raises or lowers a product; which of two sentences is true
 * depends on whether the feature is high or low there, and that follows from the signs of effect and weight. */
import type { RankedItem } from 'selvedge';

import type { Term } from './shop.js';

/** What a term is about. Terms about the same thing know much of each other and may pull against each other: only their
 * sum says something. */
type About = 'item' | 'kind' | 'shop' | 'look' | 'basket' | 'other';

const TITLES: Readonly<Record<About, string>> = {
  item: 'Your history with it',
  kind: 'Your history with its kind',
  shop: 'What everybody buys',
  look: 'What you look at',
  basket: 'Your basket',
  other: 'Other terms',
};

/** By feature: what a high value means, and what a low one. */
const SENTENCES: Readonly<Record<string, { readonly about: About; readonly high: string; readonly low: string }>> = {
  item_purchases: { about: 'item', high: 'You bought it before', low: 'You hardly ever buy it' },
  item_share: { about: 'item', high: 'A regular in your baskets', low: 'Not a regular in your baskets' },
  item_112d: { about: 'item', high: 'You bought it this season', low: 'You did not buy it this season' },
  item_share_56d: { about: 'item', high: 'You buy it a lot lately', low: 'Not among your latest purchases' },
  item_recency: { about: 'item', high: 'You bought it long ago, if ever', low: 'You bought it not long ago' },
  type_recency: { about: 'kind', high: 'You bought its kind long ago, if ever', low: 'You bought its kind not long ago' },
  type_share_56d: { about: 'kind', high: 'A kind that you buy a lot', low: 'A kind that you seldom buy' },
  category_share_56d: { about: 'kind', high: 'From an aisle you buy from a lot', low: 'From an aisle you seldom buy from' },
  sales_7d: { about: 'shop', high: 'Sells well these days', low: 'Sells little these days' },
  sales_28d: { about: 'shop', high: 'Sold well this month', low: 'Sold little this month' },
  type_sales_28d: { about: 'shop', high: 'Its kind sells well', low: 'Its kind sells little' },
  sales_of_type: { about: 'shop', high: 'A best-seller of its kind', low: 'No best-seller of its kind' },
  flyer_rate: { about: 'shop', high: 'Many buy it off the flyer', low: 'Few buy it off the flyer' },
  viewed_item: { about: 'look', high: 'You looked at it just now', low: 'You have not looked at it' },
  viewed_type: { about: 'look', high: 'Like what you looked at', low: 'Unlike what you looked at' },
  viewed_category: { about: 'look', high: 'From an aisle you looked at', low: 'Not from an aisle you looked at' },
  in_basket: { about: 'basket', high: 'In your basket already', low: 'Not in your basket' },
  basket_type: { about: 'basket', high: 'Like something in your basket', low: 'Unlike what is in your basket' },
  basket_category: { about: 'basket', high: 'From an aisle of your basket', low: 'Not from an aisle of your basket' },
  just_bought: { about: 'basket', high: 'You bought it just now', low: 'Not bought just now' },
};

export interface Reason {
  readonly sentence: string;
  readonly effect: number;
}

/** The terms about one thing. */
export interface Subject {
  readonly title: string;
  /** Of the effects of its terms: to the score, against an average product. */
  readonly effect: number;
  /** Whether the recipe declares its weights; otherwise they were learned. */
  readonly isDeclared: boolean;
  /** Largest effect first. */
  readonly reasons: readonly Reason[];
}

/** The reasons of a decision by what they are about, the largest effect first. */
export function subjectsOf(item: RankedItem, terms: ReadonlyMap<string, Term>): Subject[] {
  const subjects = new Map<About, Subject>();
  for (const { feature, effect } of item.reasons) {
    const term = terms.get(feature);
    const { about, high, low } = SENTENCES[feature] ?? { about: 'other', high: feature, low: feature };
    const isHigh = Math.sign(effect) === Math.sign(term?.weight ?? 1);
    const before = subjects.get(about) ?? { title: TITLES[about], effect: 0, isDeclared: term?.declared ?? false, reasons: [] };
    const reasons = [...before.reasons, { sentence: isHigh ? high : low, effect }];
    subjects.set(about, { ...before, effect: before.effect + effect, reasons });
  }
  return [...subjects.values()].sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect));
}

/** What a tile has room for: of the two subjects that raised the product most, the term that raised it most. */
export function mainReasons(subjects: readonly Subject[]): string[] {
  const raising = subjects.filter(({ effect }) => effect > 0).slice(0, 2);
  return raising.flatMap(({ reasons }) => reasons.find(({ effect }) => effect > 0)?.sentence ?? []);
}
