/** What a household has put into its basket at this device, so that it is still there after a reload. */
import { recall, remember } from './memory.js';

export class Basket {
  readonly #key: string;
  readonly #items: Set<string>;

  constructor(owner: string) {
    this.#key = `basket:${owner}`;
    this.#items = new Set(readIds(recall(this.#key)));
  }

  get items(): readonly string[] {
    return [...this.#items];
  }

  has(item: string): boolean {
    return this.#items.has(item);
  }

  add(item: string): void {
    this.#items.add(item);
    this.#keep();
  }

  empty(): void {
    this.#items.clear();
    this.#keep();
  }

  #keep(): void {
    remember(this.#key, JSON.stringify(this.items));
  }
}

/** Whatever else writes to this origin may have written there. */
function readIds(text: string | null): string[] {
  try {
    const read: unknown = JSON.parse(text ?? '[]');
    return Array.isArray(read) ? read.filter((item) => typeof item === 'string') : [];
  } catch {
    return [];
  }
}
