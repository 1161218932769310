/** Names for people. The data abbreviate as the till does; what is written out here is the same word. */
import type { Product } from './shop.js';

const WORDS: Readonly<Record<string, string>> = {
  br: 'bread',
  brkfst: 'breakfast',
  btl: 'bottle',
  carb: 'carbonated',
  choc: 'chocolate',
  drnk: 'drink',
  dsh: 'dish',
  frzn: 'frozen',
  gm: 'general merchandise',
  sft: 'soft',
  sherbts: 'sherbets',
  sngl: 'single',
  srv: 'serve',
  veg: 'vegetable',
  whlsm: 'wholesome',
  wtr: 'water',
};

/** `Frzn novelties/wtr ice` becomes `Frozen novelties/water ice`. */
export function inWords(text: string): string {
  const written = text.replace(/[a-z]+/gi, (word) => WORDS[word.toLowerCase()] ?? word);
  return written.charAt(0).toUpperCase() + written.slice(1);
}

/** The kind of product; with its category where the kind alone says too little: `Enhanced` is pork. */
export function nameOf({ product_type, category }: Product): string {
  const [kind, aisle] = [inWords(product_type), inWords(category)];
  const isShort = /^\w+( \w+)?$/.test(aisle);
  const isSaid = aisle.toLowerCase().split(' ').some((word) => kind.toLowerCase().includes(word));
  return isShort && !isSaid ? `${kind}, ${aisle.toLowerCase()}` : kind;
}

export const aisleOf = ({ department, category }: Product): string => `${inWords(department)} › ${inWords(category)}`;

export const priceOf = ({ price }: Product): string => (price === null ? '' : `$${price.toFixed(2)}`);

/** Size and brand. A size with a number of four digits is a slip of the data. */
export function detailOf({ own_brand, size }: Product): string {
  const known = /\d{4}/.test(size) ? '' : size.toLowerCase();
  return [known, own_brand ? 'own brand' : 'national brand'].filter(Boolean).join(' · ');
}
