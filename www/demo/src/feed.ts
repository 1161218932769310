/** The list of products, and how it gets from one order to the next.
 *
 * The list is put into its new order at once, so that the keyboard and a screen reader never meet an order in between; then
 * each tile is moved back to where it was seen and let go (FLIP: first, last, invert, play). Only transforms are animated,
 * so nothing is laid out twice and nothing shifts.
 */
import type { Product } from './shop.js';
import { type Caption, Tile, type TileActions } from './tile.js';

export interface Entry {
  readonly product: Product;
  readonly caption: Caption;
}

const MOVE: KeyframeAnimationOptions = { duration: 420, easing: 'cubic-bezier(.2, .8, .2, 1)' };
const APPEAR: KeyframeAnimationOptions = { duration: 240, easing: 'ease-out' };
const calm = matchMedia('(prefers-reduced-motion: reduce)');

export class Feed {
  readonly #list: HTMLElement;
  readonly #actions: TileActions;
  #tiles = new Map<string, Tile>();

  constructor(list: HTMLElement, actions: TileActions) {
    this.#list = list;
    this.#actions = actions;
  }

  show(entries: readonly Entry[]): void {
    const seen = calm.matches ? new Map<string, DOMRect>() : this.#places();
    const next = new Map<string, Tile>();
    for (const { product, caption } of entries) {
      const tile = this.#tiles.get(product.id) ?? new Tile(product, this.#actions);
      tile.write(caption);
      next.set(product.id, tile);
    }
    this.#arrange([...next.values()].map(({ node }) => node));
    const isFirst = this.#tiles.size === 0;
    this.#tiles = next;
    if (!isFirst && !calm.matches) this.#play(seen);
  }

  /** Where the tiles are seen now, in the middle of an animation too. */
  #places(): Map<string, DOMRect> {
    return new Map([...this.#tiles].map(([id, { node }]) => [id, node.getBoundingClientRect()]));
  }

  /** A node that is moved loses the focus, and with it the place of whoever uses the keyboard: it is given back. */
  #arrange(nodes: readonly HTMLElement[]): void {
    const focused = document.activeElement;
    const wanted = new Set<Element>(nodes);
    for (const node of [...this.#list.children]) if (!wanted.has(node)) node.remove();
    nodes.forEach((node, at) => {
      const there = this.#list.children[at];
      if (there !== node) this.#list.insertBefore(node, there ?? null);
    });
    if (focused instanceof HTMLElement && focused !== document.activeElement) {
      // What was focused may be gone: then the list takes over, not the top of the page.
      (focused.isConnected ? focused : this.#list).focus({ preventScroll: true });
    }
  }

  #play(seen: ReadonlyMap<string, DOMRect>): void {
    for (const [id, { node }] of this.#tiles) {
      for (const animation of node.getAnimations()) animation.cancel();
      const [from, to] = [seen.get(id), node.getBoundingClientRect()];
      if (!isNear(to) && !(from && isNear(from))) continue;
      if (!from) node.animate([{ opacity: 0 }, { opacity: 1 }], APPEAR);
      else if (from.left !== to.left || from.top !== to.top) {
        const back = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
        node.animate([{ transform: back }, { transform: 'none' }], MOVE);
      }
    }
  }
}

/** Whether it is in the window or just outside: what nobody sees needs no animation. */
function isNear({ top, bottom }: DOMRect): boolean {
  return bottom > -innerHeight / 2 && top < 1.5 * innerHeight;
}
