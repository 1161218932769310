/** The product that the shopper looks at: what it is, what can be done with it, and why it stands where it stands. */
import { draw } from './art.js';
import { element, one } from './dom.js';
import { aisleOf, detailOf, nameOf, priceOf } from './names.js';
import type { Subject } from './reasons.js';
import type { Product } from './shop.js';

export interface LookActions {
  add(product: Product): void;
  pin(product: Product): void;
  hide(product: Product): void;
}

/** What is said of the product now. */
export interface Standing {
  /** Its place, from 1; null if it is not in the slate. */
  readonly place: number | null;
  readonly subjects: readonly Subject[];
  readonly isInBasket: boolean;
  readonly isPinned: boolean;
  /** What looking at it has changed. */
  readonly said: string;
}

export class Look {
  readonly #dialog = one<HTMLDialogElement>('#look');
  #product: Product | undefined;

  constructor(actions: LookActions) {
    const withProduct = (act: (product: Product) => void) => () => this.#product && act(this.#product);
    const add = one('#look-add');
    add.addEventListener('click', withProduct((product) => add.ariaDisabled !== 'true' && actions.add(product)));
    one('#look-pin').addEventListener('click', withProduct(actions.pin));
    one('#look-hide').addEventListener('click', withProduct((product) => {
      this.#dialog.close();
      actions.hide(product);
    }));
    one('#look-close').addEventListener('click', () => this.#dialog.close());
    // A press beside the dialog is one on its backdrop.
    this.#dialog.addEventListener('click', (event) => event.target === this.#dialog && this.#dialog.close());
    this.#dialog.addEventListener('close', () => (this.#product = undefined));
  }

  get product(): Product | undefined {
    return this.#product;
  }

  open(product: Product): void {
    this.#product = product;
    draw(one('#look-art'), product);
    one('#look-name').textContent = nameOf(product);
    one('#look-aisle').textContent = aisleOf(product);
    one('#look-size').textContent = detailOf(product);
    one('#look-price').textContent = priceOf(product);
    one('#look-said').textContent = '';
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  write({ place, subjects, isInBasket, isPinned, said }: Standing): void {
    if (!this.#product) return;
    one('#look-place').textContent = place === null ? 'outside the places shown' : `at ${place}`;
    one('#look-said').textContent = said;
    const add = one('#look-add');
    add.textContent = isInBasket ? 'In basket' : 'Add to basket';
    add.setAttribute('aria-disabled', String(isInBasket));
    one('#look-pin').setAttribute('aria-pressed', String(isPinned));
    const widest = Math.max(...subjects.map(({ effect }) => Math.abs(effect)), Number.MIN_VALUE);
    one('#look-reasons').replaceChildren(...subjects.map((subject) => subjectLine(subject, widest)));
    one('#look-note').textContent = subjects.length === 0
      ? 'The order of the flyer has no reasons.'
      : 'The score is the sum, against an average product. Terms about the same thing may pull against each other.';
  }
}

function subjectLine({ title, effect, isDeclared, reasons }: Subject, widest: number): HTMLElement {
  const head = element('span', { className: 'subject', text: title }, element('small', { text: isDeclared ? ' declared' : ' learned' }));
  const bar = element('span', { className: 'bar' });
  bar.style.setProperty('--share', String(Math.abs(effect) / widest));
  bar.dataset.way = effect < 0 ? 'down' : 'up';
  const sum = element('span', { className: 'effect', text: signed(effect) });
  const terms = reasons.map(({ sentence, effect: part }) => `${sentence} ${signed(part)}`).join(' · ');
  return element('li', {}, head, bar, sum, element('span', { className: 'parts', text: terms }));
}

const signed = (effect: number): string => `${effect < 0 ? '−' : '+'}${Math.abs(effect).toFixed(2)}`;
