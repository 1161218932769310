/** One product of the feed. A tile is made once and lives as long as its product is shown: what changes is written into it. */
import { draw } from './art.js';
import { copyOf, element, one } from './dom.js';
import type { Movement } from './movement.js';
import { detailOf, nameOf, priceOf } from './names.js';
import type { Product } from './shop.js';

/** What a tile says besides the product. */
export interface Caption {
  readonly place: number;
  /** Null in flyer order: nothing has moved. */
  readonly movement: Movement | null;
  /** Each has a line. */
  readonly reasons: readonly string[];
  readonly rules: readonly string[];
  readonly isInBasket: boolean;
  /** Whether the household bought it that week, where that is to be shown. */
  readonly wasBought: boolean;
}

export interface TileActions {
  look(product: Product): void;
  add(product: Product): void;
}

export class Tile {
  readonly node: HTMLElement;
  readonly #product: Product;

  constructor(product: Product, actions: TileActions) {
    this.#product = product;
    this.node = copyOf('#tile');
    this.node.dataset.id = product.id;
    draw(one('.art', this.node), product);
    one('.name', this.node).textContent = nameOf(product);
    one('.detail', this.node).textContent = detailOf(product);
    one('.price', this.node).textContent = priceOf(product);
    one('.name', this.node).addEventListener('click', () => actions.look(product));
    const add = one('.add', this.node);
    add.addEventListener('click', () => add.ariaDisabled !== 'true' && actions.add(product));
  }

  write({ place, movement, reasons, rules, isInBasket, wasBought }: Caption): void {
    const { node } = this;
    one('.rank', node).textContent = String(place);
    one('.movement', node).dataset.way = movement ? String(Math.sign(movement.places)) : 'none';
    one('.sign', node).textContent = movement?.sign ?? '';
    one('.words', node).textContent = movement?.words ?? '';
    one('.reasons', node).replaceChildren(...reasons.map((text) => element('li', { text })));
    one('.rules', node).replaceChildren(...rules.map((text) => element('span', { className: 'rule', text })));
    const name = nameOf(this.#product);
    const add = one('.add', node);
    add.textContent = isInBasket ? 'In basket' : 'Add';
    add.setAttribute('aria-label', isInBasket ? `In basket: ${name}` : `Add ${name} to the basket`);
    // Disabled outright it would lose the focus of whoever has just pressed it.
    add.setAttribute('aria-disabled', String(isInBasket));
    node.classList.toggle('was-bought', wasBought);
  }
}
