/** Offers, reasons and refusals in the shopper's words. */
import type { NoOffer } from 'selvedge';

import type { Answer, LineTest, Refusal, Terms } from './counter.js';
import type { Money } from './money.js';

/** Shares of terms are ten-thousandths. */
const PERCENT = 100;

const NO_OFFER: Readonly<Record<NoOffer, string>> = {
  'no-campaign': 'no campaign is running',
  'outside-window': 'the campaign has not begun, is over, or rests at this hour',
  'not-eligible': 'the campaign is not for this shopper',
  capped: 'this shopper has had as many coupons as the campaign gives',
  'no-budget': 'what is left of the budget covers no coupon',
  'margin-floor': 'no coupon would leave the shop enough of its margin',
  'not-worth-it': 'no coupon is worth its price: what it moves does not pay for what it costs',
  fallback: 'nothing could be decided',
  drawn: 'a draw gave none. A few decisions are left to chance, so that something is learned',
};
const HELD_OUT = 'Held out: some shoppers get no coupon whatever it would bring, so that one can tell what coupons do.';

const REFUSALS: Readonly<Record<string, string>> = {
  'already-redeemed': 'It was used already, by another order.',
  expired: 'It has expired.',
  'not-yet': 'It is not good yet.',
  'other-user': 'It was made to somebody else.',
  'below-minimum': 'What it is for costs less, in this basket, than the coupon wants.',
  'no-line-in-scope': 'Nothing in this basket is what it is for.',
  'nothing-left': 'In this basket there is nothing left that it could take off.',
  'rounds-to-nothing': 'On this basket it gives less than a cent.',
  'margin-floor': 'On this basket the shop would be left with too little.',
  'lease-reclaimed': 'It came too late: the money that was held for it went back.',
  'unknown-terms': 'The host does not know its terms any more.',
  signature: 'The host does not believe it: it was not signed there.',
  malformed: 'The host does not believe it: it was changed.',
  'bad-basket': 'There is something in the basket that the shop has no price for.',
  'no-counter': 'The shop’s server cannot be reached. The products are ranked without it.',
  'no-host': 'The host does not answer, so there are no coupons. The products are ranked without it.',
};

/** Why nothing is offered, as the end of a sentence. */
export function whyNot(reason: string | null | undefined): string {
  return NO_OFFER[reason as NoOffer] ?? 'nothing could be decided';
}

/** What the host said, without the terms. */
export function answerWords({ status, reason, repeated }: Answer): string {
  const again = repeated ? ' It was decided before, and stays so for a day.' : '';
  if (status === 'offered') return `There is a coupon.${again}`;
  return status === 'held-out' ? `${HELD_OUT}${again}` : `No coupon: ${whyNot(reason)}.${again}`;
}

export const refusalWords = ({ code, message }: Refusal): string => `${REFUSALS[code] ?? `${message}.`} (${code})`;

/** What it gives, as a heading. */
export function gives({ benefit, min_spend, scope }: Terms, money: Money): string {
  const from = min_spend > 0 ? ` from ${money(min_spend)}` : '';
  const on = scope.only.length > 0 ? ` on ${onWhat(scope.only)}` : '';
  if (benefit === 'FreeShipping') return `Free delivery${on}${from}`;
  if ('Percent' in benefit) return `${benefit.Percent.share / PERCENT} % off${on}${from}`;
  if ('Amount' in benefit) return `${money(benefit.Amount.minor)} off${on}${from}`;
  return benefit.Tiers.steps.map(({ spend, save }) => `${money(save)} off from ${money(spend)}`).join(', ') + on;
}

/** Its terms, by name. */
export function termsOf({ cap, min_spend, scope, stacking }: Terms, money: Money, expires_ms: number): [string, string][] {
  const except = scope.except.length > 0 ? `, not on ${onWhat(scope.except)}` : '';
  const until = new Intl.DateTimeFormat('en', { month: 'short', day: 'numeric', hour: 'numeric', minute: '2-digit' }).format(expires_ms);
  return [
    ['Basket', min_spend > 0 ? `${money(min_spend)} at least` : 'any'],
    ['Gives at most', money(cap)],
    ['On', (scope.only.length > 0 ? onWhat(scope.only) : 'everything') + except],
    ['Good', `once, until ${until}`],
    ['With others', stacking.exclusive ? 'no' : stacking.group ? `one of “${stacking.group}”` : 'yes'],
  ];
}

const onWhat = (tests: readonly LineTest[]): string => tests.map(({ attribute, values }) => `${values.join(' or ')} ${attribute}`).join(' and ');

/** What an offer of the campaign is called where its terms are not known: `three_off` is “three off”. */
export const nameOfArm = (offer: string | undefined): string => (offer ?? 'no coupon').replaceAll('_', ' ');
