/** Shoppers who are made up, so that a budget moves: each asks for a coupon as the page does, and some redeem it. What they
 * have in their baskets is drawn, and says nothing about real ones. */
import type { Product } from '../shop.js';
import { type Answer, type BasketLine, type Terms, askOffer, redeem } from './counter.js';

/** Who shops at the same time. */
const AT_ONCE = 4;
/** Assumed: the share of those with a coupon who redeem it at once. */
const REDEEMING = 0.6;
const MOST_PRODUCTS = 4;
const MOST_LOOKS = 8;
const MINOR = 100;

/** What came of a crowd so far. */
export interface Tally {
  came: number;
  offered: number;
  heldOut: number;
  none: number;
  redeemed: number;
}

/** Lets `count` shoppers come; `stepped` is called after each. The first refusal of the counter ends it. */
export async function letShop(count: number, products: readonly Product[], stepped: (tally: Tally) => Promise<void>): Promise<Tally> {
  const tally: Tally = { came: 0, offered: 0, heldOut: 0, none: 0, redeemed: 0 };
  const party = crypto.randomUUID().slice(0, 8);
  const priced = products.filter(({ price }) => price !== null && price > 0);
  let next = 0;
  const come = async (): Promise<void> => {
    while (next < count) {
      await shop(`crowd-${party}-${next++}`, priced, tally);
      tally.came += 1;
      await stepped(tally);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, come));
  return tally;
}

async function shop(user: string, products: readonly Product[], tally: Tally): Promise<void> {
  const shopper = { user, basket: draw(products, Math.floor(Math.random() * (MOST_PRODUCTS + 1))), looked: Math.floor(Math.random() * MOST_LOOKS) };
  const { status, offer }: Answer = await askOffer(shopper);
  if (status === 'held-out') tally.heldOut += 1;
  else if (!offer) tally.none += 1;
  else {
    tally.offered += 1;
    if (Math.random() >= REDEEMING) return;
    const basket = fitting(offer.terms, products);
    if (basket.length === 0) return;
    await redeem({ ...shopper, basket }, crypto.randomUUID(), offer.token, false);
    tally.redeemed += 1;
  }
}

/** A basket that the coupon is for, with as much in it as it wants; empty where the shop has nothing of the kind. */
function fitting({ min_spend, scope }: Terms, products: readonly Product[]): BasketLine[] {
  const brands = scope.only.find(({ attribute }) => attribute === 'brand')?.values;
  const meant = products.filter(({ own_brand }) => !brands || brands.includes(own_brand ? 'own' : 'national'));
  return draw(meant, 1).map(({ item }) => {
    const minor = Math.round((products.find(({ id }) => id === item)?.price ?? 1) * MINOR);
    return { item, quantity: Math.max(1, Math.ceil(min_spend / minor)) };
  });
}

/** Some products, each at most once. */
function draw(products: readonly Product[], count: number): BasketLine[] {
  const drawn = new Set(Array.from({ length: count }, () => products[Math.floor(Math.random() * products.length)]?.id));
  return [...drawn].flatMap((item) => (item === undefined ? [] : { item, quantity: 1 }));
}
