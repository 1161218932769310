/** A budget over time: what is spent below, what is held above it, the total at the top; and the price as a line of its own, on a scale
 * of its own. */
import type { Budget } from './counter.js';

const KEPT = 60;
/** The drawing is 100 by 100 and stretched to the place that it gets. */
const SIDE = 100;
/** Points by which a step of the price is drawn: so many that it looks upright. */
const STEPS = 20;
const SVG = 'http://www.w3.org/2000/svg';

export class BudgetChart {
  readonly #chart: SVGSVGElement;
  #seen: Budget[] = [];

  constructor(chart: SVGSVGElement) {
    this.#chart = chart;
  }

  add(now: Budget, words: string): void {
    this.#seen = [...this.#seen, now].slice(-KEPT);
    const spent = this.#seen.map(({ settled, total }) => settled / total);
    const taken = this.#seen.map(({ settled, held, total }) => (settled + held) / total);
    const prices = this.#seen.map(({ price_micros }) => price_micros ?? 0);
    // The first price is half way up, so that there is room above it.
    const highest = Math.max(...prices, 2 * (prices[0] ?? 0), 1);
    this.#chart.replaceChildren(
      shape('polygon', 'of-held', `0,${SIDE} ${points(taken)} ${SIDE},${SIDE}`),
      shape('polygon', 'of-spent', `0,${SIDE} ${points(spent)} ${SIDE},${SIDE}`),
      shape('polyline', 'of-price', points(stairs(prices).map((price) => (0.9 * price) / highest))),
    );
    this.#chart.setAttribute('aria-label', words);
  }
}

/** From the left edge to the right one, by shares of the height. A single one is a level line. */
function points(shares: readonly number[]): string {
  const drawn = shares.length === 1 ? [...shares, ...shares] : shares;
  return drawn.map((share, at) => `${(SIDE * at) / (drawn.length - 1)},${SIDE * (1 - share)}`).join(' ');
}

/** A price holds until the next one: it does not slide there. */
const stairs = (prices: readonly number[]): number[] => prices.flatMap((price) => Array<number>(STEPS).fill(price));

function shape(kind: 'polygon' | 'polyline', className: string, drawn: string): SVGElement {
  const made = document.createElementNS(SVG, kind);
  made.setAttribute('class', className);
  made.setAttribute('points', drawn);
  return made;
}
