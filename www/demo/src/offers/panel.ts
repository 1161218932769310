/** The coupon panel: previews while one shops, asks the host, shows what it promised and why, redeems, and watches the budget.
 *
 * It is a chunk of its own, loaded when somebody opens the counter: whoever only looks at the feed loads none of it. The page
 * hands in what it knows; the panel asks nothing of the feed and changes nothing in it. What the host said of one shopper is
 * kept for that shopper, so that another one never sees it.
 */
import type { OfferAnswer, load } from 'selvedge';

import { element, one } from '../dom.js';
import { nameOf } from '../names.js';
import type { Coupons, Product } from '../shop.js';
import { BudgetChart } from './chart.js';
import { type Answer, type Bill, type Budget, type Offer, Refusal, type Shopper, askOffer, budgets, isOpen, redeem } from './counter.js';
import { type Tally, letShop } from './crowd.js';
import { type Money, moneyIn } from './money.js';
import markup from './panel.html';
import { type Inputs, Preview } from './preview.js';
import { answerWords, gives, nameOfArm, refusalWords, termsOf, whyNot } from './words.js';

/** Who shops at present. */
export interface Customer {
  readonly id: string;
  readonly isVisitor: boolean;
  /** Lines of baskets before this week. */
  readonly lines: number;
  readonly basket: readonly Product[];
  /** How many products were looked at in this session. */
  readonly looked: number;
}

/** What the page lets the panel use. */
export interface Surroundings {
  readonly load: typeof load;
  readonly coupons: Coupons;
  /** Address of the bundle with the campaign. */
  readonly bundle: string;
  readonly products: readonly Product[];
  customer(): Customer;
}

const MICROS = 1e6;
const MINOR = 100;
/** How often the budget is looked at while nobody does anything. */
const LOOK_MS = 5000;
/** Shoppers of a crowd between two looks. */
const LOOK_AT = 4;
const LEDGER = 'In the host’s ledger. Held is what it may promise or has promised; the price is what a unit of cost must bring, besides itself, from the head that the host follows.';
const NO_COUNTER = 'There is no coupon counter here: this site has files only. `cargo xtask page` starts the page with a host beside it. What follows is previewed in this tab, as if money cost nothing.';

/** Fills `place` and keeps it up to date; the answer is to be called when the customer has changed something. */
export async function openPanel(place: HTMLElement, surroundings: Surroundings): Promise<() => void> {
  // The markup is the build's own; whatever else is shown goes in as text.
  place.innerHTML = markup;
  const panel = new Panel(surroundings);
  await panel.open();
  return () => void panel.changed();
}

class Panel {
  readonly #around: Surroundings;
  readonly #money: Money;
  readonly #chart = new BudgetChart(one<SVGSVGElement>('#budget-chart'));
  /** By shopper: what the host said. */
  readonly #answers = new Map<string, Answer>();
  #preview: Preview | undefined;
  #budget: Budget | undefined;
  #visitor = newVisitor();
  #hasCounter = false;
  #shown = '';

  constructor(around: Surroundings) {
    this.#around = around;
    this.#money = moneyIn(around.coupons.currency);
  }

  async open(): Promise<void> {
    const { load: loadEngine, bundle, coupons } = this.#around;
    const [budget] = coupons.budgets;
    // A server that cannot be reached may have one: asking it will say what is wrong.
    this.#hasCounter = await isOpen().catch(() => true);
    this.#preview = await Preview.open(loadEngine, bundle, coupons.campaign, budget?.budget ?? '').catch(() => undefined);
    one('#offer-ask').addEventListener('click', () => this.#busy('#offer-ask', () => this.#ask()));
    one('#offer-newcomer').addEventListener('click', () => {
      this.#visitor = newVisitor();
      void this.changed();
    });
    one('#offer-redeem').addEventListener('click', () => this.#busy('#offer-redeem', () => this.#redeem(false)));
    one('#offer-try').addEventListener('click', () => this.#busy('#offer-try', () => this.#redeem(true)));
    one('#crowd').addEventListener('click', () => this.#busy('#crowd', () => this.#letCrowdShop()));
    if (this.#hasCounter) {
      await this.#lookAtBudget();
      // Nobody watches a page that is not seen.
      setInterval(() => document.visibilityState === 'visible' && void this.#lookAtBudget(), LOOK_MS);
    } else {
      one('#offer-said').textContent = NO_COUNTER;
      for (const part of ['#offer-ask', '#offer-newcomer', '#budget-part']) one(part).hidden = true;
    }
    await this.changed();
  }

  /** The customer, the basket, the looks, or the budget may be others. */
  async changed(): Promise<void> {
    const { isVisitor } = this.#around.customer();
    one('#offer-newcomer').hidden = !this.#hasCounter || !isVisitor;
    const { user } = this.#shopper();
    if (user !== this.#shown) {
      this.#shown = user;
      one('#redeem-said').textContent = '';
      one('#bill').hidden = true;
      this.#writeAnswer(this.#answers.get(user));
    }
    await this.#writePreview();
  }

  // --- what is asked ---

  #shopper(): Shopper {
    const { id, isVisitor, basket, looked } = this.#around.customer();
    const user = isVisitor ? this.#visitor : `household-${id}`;
    return { user, looked, basket: basket.map((product) => ({ item: product.id, quantity: 1 })) };
  }

  async #ask(): Promise<void> {
    const shopper = this.#shopper();
    const answer = await askOffer(shopper).catch(asRefusal);
    if (answer instanceof Refusal) one('#offer-said').textContent = refusalWords(answer);
    else {
      this.#answers.set(shopper.user, answer);
      if (this.#shown === shopper.user) this.#writeAnswer(answer);
    }
    await this.#lookAtBudget();
  }

  async #redeem(isPreview: boolean): Promise<void> {
    const shopper = this.#shopper();
    const offer = this.#answers.get(shopper.user)?.offer;
    if (!offer) return;
    const order = `order-${crypto.randomUUID().slice(0, 8)}`;
    const bill = await redeem(shopper, order, offer.token, isPreview).catch(asRefusal);
    one('#bill').hidden = bill instanceof Refusal;
    if (bill instanceof Refusal) one('#redeem-said').textContent = `Refused. ${refusalWords(bill)}`;
    else this.#writeBill(bill, isPreview ? null : order);
    await this.#lookAtBudget();
  }

  async #letCrowdShop(): Promise<void> {
    const said = one('#crowd-said');
    const count = Number(one<HTMLSelectElement>('#crowd-size').value);
    said.textContent = `${count} shoppers come.`;
    const stepped = async ({ came }: Tally): Promise<void> => {
      if (came % LOOK_AT === 0) await this.#lookAtBudget();
    };
    const tally = await letShop(count, this.#around.products, stepped).catch(asRefusal);
    said.textContent = tally instanceof Refusal ? refusalWords(tally) : tallyWords(tally);
    await this.#lookAtBudget();
  }

  async #lookAtBudget(): Promise<void> {
    if (!this.#hasCounter) return;
    const all = await budgets().catch(asRefusal);
    const note = one('#budget-note');
    if (all instanceof Refusal) {
      note.textContent = refusalWords(all);
      return;
    }
    const named = this.#around.coupons.budgets[0]?.budget;
    const found = all.find(({ budget }) => budget === named);
    note.textContent = found ? LEDGER : 'The host has no such budget.';
    if (!found) return;
    const isNew = JSON.stringify(found) !== JSON.stringify(this.#budget);
    this.#budget = found;
    this.#writeBudget(found);
    if (isNew) await this.#writePreview();
  }

  /** Runs `act` once at a time; a control that is disabled outright would lose the focus. */
  async #busy(selector: string, act: () => Promise<void>): Promise<void> {
    const control = one(selector);
    if (control.getAttribute('aria-disabled') === 'true') return;
    control.setAttribute('aria-disabled', 'true');
    try {
      await act();
    } finally {
      control.setAttribute('aria-disabled', 'false');
    }
  }

  // --- what is shown ---

  #writeAnswer(answer: Answer | undefined): void {
    const offer = answer?.offer;
    one('#coupon').hidden = !offer;
    one('#redeem-part').hidden = !offer;
    if (!this.#hasCounter) return;
    one('#offer-said').textContent = answer ? answerWords(answer) : 'Not asked yet. Asking tells the shop’s server who asks, what is in the basket, and how many products were looked at.';
    if (offer) this.#writeCoupon(offer);
  }

  #writeCoupon({ terms, token, disclosed, expires_ms, currency }: Offer): void {
    const money = moneyIn(currency);
    one('#coupon-gives').textContent = gives(terms, money);
    one('#coupon-terms').replaceChildren(...listOf(termsOf(terms, money, expires_ms)));
    one('#coupon-disclosure').textContent = disclosed
      ? 'Made for you by a computer, from your purchases before this week, your basket, and how much you looked at. Others may be offered something else, or nothing.'
      : '';
    one('#coupon-claims').replaceChildren(...listOf(claimsOf(token, money)));
  }

  #writeBill(bill: Bill, order: string | null): void {
    const money = moneyIn(bill.currency);
    const names = new Map(this.#around.products.map((product) => [product.id, nameOf(product)]));
    one('#redeem-said').textContent = order
      ? `Redeemed by ${order}: ${money(bill.discount_minor)} off, ${money(bill.after_minor)} to pay.`
      : `It would give ${money(bill.discount_minor)}; ${money(bill.after_minor)} to pay. Nothing is used up.`;
    const row = (name: string, price: number, discount: number): HTMLElement => {
      const head = element('th', { text: name });
      head.scope = 'row';
      return element('tr', {}, head, element('td', { text: money(price) }), element('td', { text: discount > 0 ? `−${money(discount)}` : '' }));
    };
    const { lines, shipping_minor } = bill.cart;
    one('#bill-lines').replaceChildren(
      ...lines.map(({ item, quantity, unit_minor }, at) => row(names.get(item) ?? item, quantity * unit_minor, bill.line_discounts_minor[at] ?? 0)),
      row('Delivery', shipping_minor, bill.shipping_discount_minor),
    );
    one('#bill-sums').replaceChildren(row('To pay', bill.after_minor, bill.discount_minor));
    one('#bill').hidden = false;
  }

  #writeBudget(budget: Budget): void {
    const { total, settled, held, free, price_micros } = budget;
    const price = price_micros === null ? 'highest' : (price_micros / MICROS).toFixed(2);
    const parts = { total, spent: settled, held, free };
    for (const [part, minor] of Object.entries(parts)) one(`#budget-${part}`).textContent = this.#money(minor);
    one('#budget-price').textContent = price;
    this.#chart.add(budget, `Of ${this.#money(total)}, ${this.#money(settled)} are spent, ${this.#money(held)} held, ${this.#money(free)} free; the price is ${price}`);
  }

  async #writePreview(): Promise<void> {
    const said = one('#preview-said');
    const inputs = this.#inputs();
    const answer = await this.#preview?.decide(inputs).catch(() => undefined);
    said.textContent = answer ? previewWords(answer, this.#around.coupons) : 'This tab has no engine that could preview.';
    if (answer) this.#writeArms(answer);
    one('#read').textContent = `Read: ${inputs.lines.toLocaleString('en')} lines of baskets before this week, ${this.#money(Math.round(inputs.basket * MINOR))} in the basket, products looked at: ${inputs.looked}. At a price of ${inputs.price.toFixed(2)}. “They buy” is the chance that they do, “worth” what remains of what it brings beyond no coupon.`;
  }

  #writeArms({ arms, best }: OfferAnswer): void {
    const { offers } = this.#around.coupons;
    const cents = (value: number): string => this.#money(Math.round(value));
    one('#arms').replaceChildren(...arms.map(({ response, value, cost, score, masked }, arm) => {
      const head = element('th', { text: nameOfArm(offers[arm - 1]) });
      head.scope = 'row';
      const worth = masked.length > 0 ? masked.join(', ').replaceAll('-', ' ') : cents(score);
      const line = element('tr', {}, head, ...[`${Math.round(100 * response)} %`, cents(value), cents(cost), worth].map((text) => element('td', { text })));
      line.classList.toggle('best', arm === best);
      return line;
    }));
  }

  #inputs(): Inputs {
    const { lines, basket, looked } = this.#around.customer();
    const worth = basket.reduce((sum, { price }) => sum + Math.round((price ?? 0) * MINOR), 0) / MINOR;
    const now = this.#budget;
    // A head without a price leaves the bundle's highest one to the host; here the bundle is not read.
    const price = now ? (now.price_micros ?? 0) / MICROS : 0;
    return { lines, basket: worth, looked, price, left: now ? now.free + now.held : this.#around.coupons.budgets[0]?.total ?? 0 };
  }
}

const newVisitor = (): string => `visitor-${crypto.randomUUID().slice(0, 8)}`;

/** A refusal is an answer; anything else is a mistake of ours. */
function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  throw error;
}

function previewWords({ status, reason, arm }: OfferAnswer, { offers }: Coupons): string {
  return status === 'offered' ? `Now it would be “${nameOfArm(offers[arm - 1])}”. What is in the basket and what was looked at may change that.` : `Now there would be none: ${whyNot(reason)}.`;
}

function tallyWords({ came, offered, heldOut, none, redeemed }: Tally): string {
  return `${came} shoppers came: ${offered} got a coupon, ${redeemed} redeemed it; ${none} got none, ${heldOut} were held out.`;
}

function listOf(entries: readonly (readonly [string, string])[]): HTMLElement[] {
  return entries.map(([name, text]) => element('div', {}, element('dt', { text: name }), element('dd', { text })));
}

/** What a token says, unverified: only who has the public key knows that it is true. */
function claimsOf(token: string, money: Money): [string, string][] {
  const body = token.split('.')[1] ?? '';
  const claims = JSON.parse(atob(body.replace(/-/g, '+').replace(/_/g, '/'))) as Record<string, string | number>;
  return [
    ['Arm', `${claims.arm}, ${nameOfArm(String(claims.offer))}`],
    ['Drawn with probability', Number(claims.propensity).toFixed(3)],
    ['Money put aside', money(Number(claims.face))],
    ['User, as a keyed hash', `${String(claims.sub).slice(0, 12)}…`],
    ['Good once as', `${String(claims.jti).slice(0, 12)}…`],
    ['Bundle', `${String(claims.bundle).slice(0, 12)}…`],
  ];
}
