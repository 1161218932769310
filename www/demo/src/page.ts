/** The storefront: what the shopper does goes to the engine, and what the engine decides goes to the page.
 *
 * Everything that changes the order runs in turn, so that an answer is never overtaken by an older one. The parts of the
 * page know nothing of each other; they meet here.
 */
import { load } from 'selvedge';

import { writeAbout } from './about.js';
import { Basket } from './basket.js';
import { setUpBench } from './bench.js';
import { shopClock } from './clock.js';
import { setUpCounter } from './coupons.js';
import { element, one } from './dom.js';
import { type Entry, Feed } from './feed.js';
import { addTimes } from './latency.js';
import { writeLeft } from './left.js';
import { Look } from './look.js';
import { changes, movement } from './movement.js';
import { inWords, nameOf } from './names.js';
import { cutNetwork, onNetwork, watchNetwork } from './network.js';
import type { Customer } from './offers/panel.js';
import { type Deed, Ranker, type Slate } from './ranker.js';
import { mainReasons, subjectsOf } from './reasons.js';
import { drawWords, ruleWords } from './rules.js';
import { type Household, type Policy, type Product, type Shop, type Term, openShop, place as placeOf } from './shop.js';
import { setUpTheme } from './theme.js';

/** As many as the engine gives, so that effects of either sign are among them. */
const REASONS = 16;
const TIMED = 500;
const NOTHING: Slate = { items: [], isPersonalized: false, reason: null, milliseconds: null };

class Storefront {
  readonly #shop: Shop;
  readonly #terms: ReadonlyMap<string, Term>;
  readonly #products: ReadonlyMap<string, Product>;
  readonly #now: () => number;
  readonly #feed: Feed;
  readonly #look: Look;
  #turn: Promise<void> = Promise.resolve();
  #household: Household;
  #policy: Policy = { diversity: 'off', cap: 'off', explore: 'off' };
  #isFlyer = false;
  #isRevealed = false;
  #slots = 24;
  #requestId = drawId();
  #pinned: readonly string[] = [];
  #hidden: readonly string[] = [];
  #basket: Basket;
  #ranker: Ranker | undefined;
  #slate = NOTHING;
  #events = 0;
  #looked: ReadonlySet<string> = new Set();
  /** Tells the coupon panel, once it is open, that something has changed. */
  #tellPanel = (): void => undefined;

  constructor(shop: Shop, first: Household) {
    this.#shop = shop;
    this.#terms = new Map(shop.terms.map((term) => [term.feature, term]));
    this.#products = new Map(shop.products.map((product) => [product.id, product]));
    this.#now = shopClock(shop);
    this.#household = first;
    this.#basket = this.#basketOf(first);
    this.#feed = new Feed(one('#feed'), { look: (product) => this.#lookAt(product), add: (product) => this.#add(product) });
    this.#look = new Look({
      add: (product) => this.#add(product),
      pin: (product) => this.#pin(product),
      hide: (product) => this.#hide(product),
    });
  }

  start(): void {
    writeAbout(this.#shop);
    this.#setUpHouseholds();
    this.#setUpOrder();
    this.#setUpRules();
    this.#setUpRest();
    this.#inTurn(() => this.#open());
  }

  // --- what the shopper does ---

  #lookAt(product: Product): void {
    this.#look.open(product);
    this.#looked = new Set(this.#looked).add(product.id);
    this.#writeLook('');
    this.#do('view', [product], `You looked at ${nameOf(product)}.`);
  }

  #add(product: Product): void {
    this.#basket.add(product.id);
    this.#do('cart', [product], `${nameOf(product)} is in the basket.`);
  }

  #buy(): void {
    const bought = this.#basket.items.flatMap((id) => this.#products.get(id) ?? []);
    if (bought.length === 0) return;
    this.#basket.empty();
    this.#do('purchase', bought, `You bought ${bought.length === 1 ? '1 product' : `${bought.length} products`}.`);
  }

  #do(deed: Deed, products: readonly Product[], said: string): void {
    this.#inTurn(async () => {
      this.#events += products.length;
      // It counts at once; that it is stored need not be waited for.
      for (const product of products) void this.#ranker?.observe(deed, product.id, product.price ?? 0);
      await this.#rank(said);
    });
  }

  #pin(product: Product): void {
    const isPinned = this.#pinned.includes(product.id);
    this.#pinned = isPinned ? this.#pinned.filter((id) => id !== product.id) : [...this.#pinned, product.id];
    this.#again(`${nameOf(product)} is ${isPinned ? 'no longer pinned' : `pinned at ${this.#pinned.length}`}.`);
  }

  #hide(product: Product): void {
    this.#hidden = [...this.#hidden, product.id];
    this.#pinned = this.#pinned.filter((id) => id !== product.id);
    this.#again(`${nameOf(product)} is hidden.`);
  }

  // --- decisions ---

  #inTurn(act: () => Promise<void>): void {
    const feed = one('#feed');
    feed.ariaBusy = 'true';
    const turn = this.#turn.then(act).catch((error: unknown) => this.#warn(`Something went wrong: ${String(error)}`));
    this.#turn = turn;
    void turn.then(() => this.#turn === turn && (feed.ariaBusy = 'false'));
  }

  #again(said: string): void {
    this.#inTurn(() => this.#rank(said));
  }

  /** Another household or another policy: another engine. */
  async #open(said = ''): Promise<void> {
    const last = this.#ranker;
    // Nobody may ask the old one from here on.
    this.#ranker = undefined;
    await last?.close();
    this.#ranker = await Ranker.open(this.#shop, this.#household, this.#policy, this.#now, () => this.#again('Something new came in.'));
    await this.#rank(said);
  }

  async #rank(said: string): Promise<void> {
    if (!this.#ranker) return;
    const before = this.#slate;
    this.#slate = await this.#ranker.rank(this.#asked());
    if (this.#slate.milliseconds !== null) addTimes([this.#slate.milliseconds]);
    const ids = ({ items }: Slate): string[] => items.map(({ id }) => id);
    const what = changes(ids(before), ids(this.#slate), (id) => this.#nameOf(id));
    await this.#show(said && `${said} ${what}`);
  }

  #asked(): Parameters<Ranker['rank']>[0] {
    const pins = this.#pinned.map((id, slot) => ({ id, slot }));
    return { slots: this.#slots, reasons: REASONS, pins, exclude: this.#hidden, requestId: this.#requestId };
  }

  async #time(): Promise<void> {
    addTimes((await this.#ranker?.time(TIMED, this.#asked())) ?? []);
    await this.#writeStatus();
  }

  async #forget(): Promise<void> {
    await this.#ranker?.forget();
    this.#basket.empty();
    [this.#pinned, this.#hidden, this.#events] = [[], [], 0];
    this.#looked = new Set();
    await this.#open('What was done in this session is forgotten.');
  }

  // --- what is shown ---

  async #show(said: string): Promise<void> {
    this.#feed.show(this.#isFlyer ? this.#flyerEntries() : this.#rankedEntries());
    const isOwn = !this.#isFlyer && this.#slate.isPersonalized;
    one('#order-name').textContent = isOwn ? 'in your order' : 'as it is printed';
    one('#feed').ariaLabel = isOwn ? 'Products, best first' : 'Products, as the flyer has them';
    if (said) one('#said').textContent = said;
    one('#drawn').textContent = drawWords(this.#slate.items, this.#policy, this.#requestId);
    this.#writeLook(said);
    this.#writeBasket();
    this.#writeAsked();
    this.#writeHousehold();
    this.#warn(this.#ranker?.problem ?? (this.#slate.isPersonalized ? null : `The order of the flyer stands: ${this.#slate.reason}.`));
    this.#tellPanel();
    await this.#writeStatus();
  }

  #rankedEntries(): Entry[] {
    return this.#slate.items.flatMap((item, at) => {
      const product = this.#products.get(item.id);
      const reasons = mainReasons(subjectsOf(item, this.#terms));
      if (!product) return [];
      return [this.#entry(product, at + 1, { movement: movement(item.index, at), reasons, rules: ruleWords(item) })];
    });
  }

  #flyerEntries(): Entry[] {
    const shown = this.#household.feed.flatMap((position) => this.#shop.products[position] ?? []);
    return shown.slice(0, this.#slots).map((product, at) => this.#entry(product, at + 1, { movement: null, reasons: [], rules: [] }));
  }

  #entry(product: Product, place: number, rest: Pick<Entry['caption'], 'movement' | 'reasons' | 'rules'>): Entry {
    const wasBought = this.#isRevealed && this.#boughtThatWeek().has(product.id);
    return { product, caption: { place, ...rest, isInBasket: this.#basket.has(product.id), wasBought } };
  }

  #writeLook(said: string): void {
    const product = this.#look.product;
    if (!product) return;
    const at = this.#slate.items.findIndex(({ id }) => id === product.id);
    const item = this.#slate.items[at];
    this.#look.write({
      place: item ? at + 1 : null,
      subjects: item ? subjectsOf(item, this.#terms) : [],
      isInBasket: this.#basket.has(product.id),
      isPinned: this.#pinned.includes(product.id),
      said,
    });
  }

  #writeBasket(): void {
    const { items } = this.#basket;
    const total = items.reduce((sum, id) => sum + (this.#products.get(id)?.price ?? 0), 0);
    one('#basket').textContent = items.length === 0 ? 'Basket empty' : `${items.length === 1 ? '1 item' : `${items.length} items`}, $${total.toFixed(2)}`;
    one('#buy').setAttribute('aria-disabled', String(items.length === 0));
  }

  #writeAsked(): void {
    const line = (id: string, what: string, undo: () => void): HTMLElement => {
      const button = element('button', { className: 'chip', text: `${what}: ${this.#nameOf(id)}` });
      button.type = 'button';
      button.title = 'Press to undo';
      button.addEventListener('click', undo);
      return element('li', {}, button);
    };
    const pins = this.#pinned.map((id) => line(id, 'Pinned', () => {
      this.#pinned = this.#pinned.filter((other) => other !== id);
      this.#again('The pin is taken out.');
    }));
    const hidden = this.#hidden.map((id) => line(id, 'Hidden', () => {
      this.#hidden = this.#hidden.filter((other) => other !== id);
      this.#again('It is shown again.');
    }));
    one('#asked').replaceChildren(...pins, ...hidden);
  }

  #writeHousehold(): void {
    const { purchases, favourites } = this.#household;
    const known = purchases === 0
      ? 'Nothing is known of this visitor: what sells well comes first, until something was looked at.'
      : `${purchases.toLocaleString('en')} lines of baskets before this week. Buys most: ${favourites.map(inWords).join(', ').toLowerCase()}.`;
    one('#about-household').textContent = this.#isRevealed ? `${known} ${this.#revealed()}` : known;
  }

  /** Where what the household really bought that week stands, in both orders. */
  #revealed(): string {
    const bought = this.#boughtThatWeek();
    if (bought.size === 0) return 'What this visitor would buy is not known.';
    const among = (ids: readonly string[]): number => ids.filter((id) => bought.has(id)).length;
    const flyer = this.#household.feed.slice(0, this.#slots).flatMap((position) => this.#shop.products[position]?.id ?? []);
    const ranked = this.#slate.items.map(({ id }) => id);
    return `Of ${bought.size} products of the flyer that it bought that week, ${among(ranked)} are among these ${this.#slots} as ranked, ${among(flyer)} as printed.`;
  }

  #boughtThatWeek(): ReadonlySet<string> {
    return new Set(this.#household.bought.flatMap((position) => this.#shop.products[position]?.id ?? []));
  }

  async #writeStatus(): Promise<void> {
    writeLeft(this.#events, await this.#ranker?.status());
  }

  #warn(text: string | null): void {
    const notice = one('#notice');
    notice.hidden = text === null;
    // The same words again would be read out again.
    if (notice.textContent !== text) notice.textContent = text;
  }

  // --- controls ---

  #setUpHouseholds(): void {
    const select = one<HTMLSelectElement>('#household');
    select.replaceChildren(...this.#shop.households.map(({ id, purchases }) => {
      const option = element('option', { text: purchases === 0 ? 'A new visitor' : `Household ${id}` });
      option.value = id;
      return option;
    }));
    select.addEventListener('change', () => {
      const household = this.#shop.households.find(({ id }) => id === select.value);
      if (!household) return;
      this.#inTurn(async () => {
        this.#household = household;
        this.#basket = this.#basketOf(household);
        [this.#pinned, this.#hidden, this.#looked] = [[], [], new Set()];
        this.#requestId = drawId();
        await this.#open(`Shopping as ${select.selectedOptions[0]?.text.toLowerCase() ?? household.id}.`);
      });
    });
  }

  #setUpOrder(): void {
    onChoice('order', (value) => {
      this.#isFlyer = value === 'flyer';
      this.#inTurn(() => this.#show(this.#isFlyer ? 'As the flyer is printed.' : 'In the order of this household.'));
    });
    const reveal = one<HTMLInputElement>('#reveal');
    reveal.addEventListener('change', () => {
      this.#isRevealed = reveal.checked;
      this.#inTurn(() => this.#show(''));
    });
  }

  #setUpRules(): void {
    const turn = (policy: Partial<Policy>, said: string): void => {
      this.#policy = { ...this.#policy, ...policy };
      this.#inTurn(() => this.#open(said));
    };
    for (const rule of ['diversity', 'cap'] as const) {
      const input = one<HTMLInputElement>(`#${rule}`);
      input.addEventListener('change', () => turn({ [rule]: input.checked ? 'on' : 'off' }, `${rule === 'cap' ? 'The cap' : 'Diversity'} is ${input.checked ? 'on' : 'off'}.`));
    }
    onChoice('explore', (value) => turn({ explore: value as Policy['explore'] }, value === 'off' ? 'Exploration is off.' : 'Exploration is on.'));
    one('#draw').addEventListener('click', () => {
      this.#requestId = drawId();
      this.#again('Drawn again.');
    });
    const slots = one<HTMLSelectElement>('#slots');
    slots.addEventListener('change', () => {
      this.#slots = Number(slots.value);
      this.#again(`${slots.value} places.`);
    });
  }

  #setUpRest(): void {
    one('#buy').addEventListener('click', () => this.#buy());
    setUpCounter(async (place) => {
      this.#tellPanel = await this.#openPanel(place);
    });
    one('#forget').addEventListener('click', () => this.#inTurn(() => this.#forget()));
    one('#time-more').addEventListener('click', () => this.#inTurn(() => this.#time()));
    const offline = one('#offline');
    offline.addEventListener('click', () => {
      const isCut = offline.getAttribute('aria-checked') !== 'true';
      offline.setAttribute('aria-checked', String(isCut));
      cutNetwork(isCut);
      this.#again(isCut ? 'The network is off; the ranking goes on.' : 'The network is on.');
    });
    onNetwork(() => void this.#writeStatus());
  }

  /** Loads the coupon panel, which the first visit does not. */
  async #openPanel(place: HTMLElement): Promise<() => void> {
    const { openPanel } = await import('./offers/panel.js');
    const { offers: coupons, products } = this.#shop;
    return openPanel(place, { load, coupons, bundle: placeOf(coupons.bundle), products, customer: () => this.#customer() });
  }

  #customer(): Customer {
    const { id, state, purchases } = this.#household;
    const basket = this.#basket.items.flatMap((item) => this.#products.get(item) ?? []);
    return { id, isVisitor: state === null, lines: purchases, basket, looked: this.#looked.size };
  }

  #nameOf(id: string): string {
    const product = this.#products.get(id);
    return product ? nameOf(product) : id;
  }

  #basketOf({ id }: Household): Basket {
    return new Basket(`${this.#shop.time}:${id}`);
  }
}

function onChoice(name: string, chosen: (value: string) => void): void {
  for (const input of document.querySelectorAll<HTMLInputElement>(`input[name="${name}"]`)) {
    input.addEventListener('change', () => input.checked && chosen(input.value));
  }
}

/** A request id: 32 hexadecimal digits, which seed every draw. */
function drawId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function start(): Promise<void> {
  watchNetwork();
  setUpTheme();
  setUpBench();
  try {
    const shop = await openShop();
    const [first] = shop.households;
    if (!first) throw new Error('shop.json names no household');
    new Storefront(shop, first).start();
  } catch (error) {
    const notice = one('#notice');
    notice.textContent = `The shop cannot be opened: ${error instanceof Error ? error.message : String(error)}. \`cargo xtask page --refresh\` writes its files again.`;
    notice.hidden = false;
  }
  // A visit without a network needs what the worker keeps; a browser that has none, or denies it, has this visit only.
  navigator.serviceWorker?.register('sw.js').catch(() => undefined);
}

void start();
