/** A picture for each product, drawn from what is known of it: a pictogram and a colour for its kind, and a figure behind it
 * for the product itself, so that two of a kind are told apart. The data have no photographs, and none are made up. */
import type { Product } from './shop.js';

/** A circle as a path, so that a pictogram is one string. */
const circle = (x: number, y: number, r: number): string => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;

interface Family {
  /** What category, kind or department say, in lower case. */
  readonly words: RegExp;
  /** Degrees on the colour wheel. */
  readonly hue: number;
  /** Drawn on 48 by 48. */
  readonly path: string;
}

/** The first that fits is taken: what is particular stands before what is general. */
const FAMILIES: readonly Family[] = [
  {
    words: /baby|infant|diaper/,
    hue: 350,
    path: `M18 18h12c3 0 4 2 4 5v15c0 3-2 4-4 4H18c-2 0-4-1-4-4V23c0-3 1-5 4-5ZM17 18v-4h14v4M21 14c0-3 0-5 3-7 3 2 3 4 3 7M14 27h6M14 33h6`,
  },
  {
    words: /\b(dog|cat|pet)\b/,
    hue: 60,
    path: `M24 24c5 0 10 7 10 11s-4 5-6 4-6-1-8 0-6 0-6-4 5-11 10-11Z${circle(12, 22, 3.5)}${circle(19, 13, 4)}${circle(29, 13, 4)}${circle(36, 22, 3.5)}`,
  },
  {
    words: /ice cream|novelt|sherb/,
    hue: 330,
    path: `M15 22c-3-14 21-14 18 0M13 22h22c2 0 2 4 0 4H13c-2 0-2-4 0-4ZM15 26l9 17 9-17M20 26l8 11M28 26l-8 11`,
  },
  {
    words: /pizza/,
    hue: 35,
    path: `M24 43 7 13c11-7 23-7 34 0ZM10 18c9-5 19-5 28 0${circle(20, 23, 2.5)}${circle(28, 26, 2.5)}${circle(23, 33, 2)}`,
  },
  {
    words: /frozen|frzn|\bice\b/,
    hue: 215,
    path: `M24 6v36M8.5 15l31 18M39.5 15l-31 18M19 9l5 5 5-5M19 39l5-5 5 5M8 22l7-3-1-7M40 26l-7 3 1 7M40 22l-7-3 1-7M8 26l7 3-1 7`,
  },
  {
    words: /yogurt|sour cream|pudding|dip\b|cottage/,
    hue: 320,
    path: `M13 17h22l-3 23H16ZM11 11h26v6H11ZM19 25h10`,
  },
  {
    words: /cheese|butter|margarine/,
    hue: 85,
    path: `M7 29 33 12c5 2 8 7 8 13v12H7ZM7 29h34${circle(17, 33, 2)}${circle(28, 34, 1.5)}${circle(29, 21, 2.5)}`,
  },
  {
    words: /\begg/,
    hue: 75,
    path: `M24 7c7 0 12 12 12 20s-5 14-12 14-12-6-12-14S17 7 24 7Z${circle(24, 29, 6)}`,
  },
  {
    words: /milk|dairy|creamer/,
    hue: 240,
    path: `M15 20 20 11h8l5 9v22H15ZM15 20h18M20 11V6h8v5M20 28h8M20 34h5`,
  },
  {
    words: /coffee|\btea\b|cocoa/,
    hue: 50,
    path: `M9 18h25v11c0 8-4 12-12 12S9 37 9 29ZM34 21h3c6 0 6 10-3.5 11M17 12c-2-3 2-4 0-7M25 12c-2-3 2-4 0-7`,
  },
  {
    words: /beer|wine|liquor|spirits|\bale\b/,
    hue: 345,
    path: `M15 6h18c2 12-2 19-9 19S13 18 15 6ZM24 25v15M16 41h16M14 14h20`,
  },
  {
    words: /soft drink|soda|cola/,
    hue: 8,
    path: `M14 11c0-5 20-5 20 0v27c0 5-20 5-20 0ZM14 11c0 5 20 5 20 0M14 21c6 3 14 3 20 0M14 31c6 3 14 3 20 0`,
  },
  {
    words: /water|juice|drink|beverage|isotonic|lemonade/,
    hue: 200,
    path: `M20 6h8v8c0 4 5 6 5 12v13c0 2-1 3-3 3H18c-2 0-3-1-3-3V26c0-6 5-8 5-12ZM20 11h8M15 27h18M15 36h18`,
  },
  {
    words: /fish|seafood|shrimp|tuna|salmon|crab/,
    hue: 215,
    path: `M5 24c8-13 23-13 30 0-7 13-22 13-30 0ZM35 24l8-8v16Z${circle(14, 22, 1.5)}M22 18c3 4 3 8 0 12`,
  },
  {
    words: /chicken|turkey|poultry/,
    hue: 50,
    path: `M22 27c-6-6-4-17 6-19 9-1 15 8 11 16-4 6-11 8-17 3ZM22 27l-9 9M16 33c-3-2-7 0-6 3 0 1 1 2 2 2 0 1 1 3 3 3 3 0 4-4 1-7Z`,
  },
  {
    words: /beef|pork|meat|bacon|sausage|ham\b|hot dog|franks|lunchmeat|bologna|smoked|rib\b|steak/,
    hue: 22,
    path: `M8 25C7 13 22 7 32 12s11 20 2 24c-7 3-9-2-15-1-6 2-11-2-11-10Z${circle(29, 22, 5)}M14 22c2-5 6-7 10-7`,
  },
  {
    words: /bread|bakery|bun|roll|bagel|muffin|cake|donut|pastry|tortilla|biscuit|dough|pie\b/,
    hue: 78,
    path: `M10 25c-6-5-2-14 14-14s20 9 14 14v13c0 1-1 2-2 2H12c-1 0-2-1-2-2ZM18 17v6M24 16v7M30 17v6`,
  },
  {
    words: /berr|apple|banana|grape|orange|citrus|melon|fruit|peach|pear\b|pears|stone/,
    hue: 25,
    path: `M24 16c-7-6-16-1-15 9s8 17 15 13c7 4 14-3 15-13s-8-15-15-9ZM24 16c0-5 2-8 6-10M25 10c-4 1-7-1-8-4`,
  },
  {
    words: /potato|onion|tomato|salad|vegetable|lettuce|carrot|pepper|mushroom|broccoli|corn\b|bean|herb|produce|organic|\bveg/,
    hue: 140,
    path: `M31 17c6 7-9 21-21 25 3-13 14-31 21-25ZM32 16l7-7M34 19c3-3 6-3 9-2M29 14c-1-4 0-6 2-9M22 22l4 4M18 29l4 3`,
  },
  {
    words: /candy|chocolate|sweet|cookie|gum\b|frosting|sugar/,
    hue: 335,
    path: `${circle(24, 24, 8)}M30 18l4-9 6 6-9 4M18 30l-4 9-6-6 9-4M21 19c4 2 6 5 7 9`,
  },
  {
    words: /snack|chip|cracker|pretzel|popcorn|nuts|peanut|bagged/,
    hue: 55,
    path: `M12 7h24l-2 7 3 26c-9 2-17 2-26 0l3-26ZM14 14h20${circle(24, 27, 6)}M22 25l4 4`,
  },
  {
    words: /cereal|breakfast|oat|granola|bars\b/,
    hue: 95,
    path: `M7 25h34c0 9-6 15-17 15S7 34 7 25ZM12 25c0-4 3-6 6-5 1-4 7-4 8 0 3-2 8 0 8 5M30 17 38 6`,
  },
  {
    words: /pasta|rice|flour|grain|noodle|macaroni|mix/,
    hue: 80,
    path: `M24 43V14M24 14c-5-4-5-7 0-11 5 4 5 7 0 11ZM24 24c-8 0-10-4-10-9 6 0 10 3 10 9ZM24 24c8 0 10-4 10-9-6 0-10 3-10 9ZM24 34c-8 0-10-4-10-9 6 0 10 3 10 9ZM24 34c8 0 10-4 10-9-6 0-10 3-10 9Z`,
  },
  {
    words: /soup|canned|sauce|condiment|dressing|salsa|jelly|jam|pickle|olive|oil|spice|mayo|ketchup|syrup/,
    hue: 30,
    path: `M16 6h16v6H16ZM16 12c-3 2-3 4-3 7v19c0 3 1 4 4 4h14c3 0 4-1 4-4V19c0-3 0-5-3-7M13 21h22v13H13Z`,
  },
  {
    words: /paper|tissue|towel|napkin|foil|bag|wrap|plates|cups/,
    hue: 260,
    path: `M12 14c0-9 14-9 14 0v22c0 7-14 7-14 0ZM19 7h10c9 0 9 7 9 9v24c-2 2-4-2-6 0s-4-2-6 0${circle(19, 14, 2.5)}`,
  },
  {
    words: /detergent|laundry|clean|soap|dish|household|bleach|softener|air care/,
    hue: 175,
    path: `M19 18h9v-4h6V7H16v7h3ZM19 18c-4 3-5 7-5 12v10c0 1 1 2 2 2h15c1 0 2-1 2-2V30c0-6-2-9-5-12M34 9l5-2M34 12l5 2M14 32h19`,
  },
  {
    words: /hair|shampoo|skin|oral|deodorant|makeup|cosmetic|hand\/body|shav|feminine|dental|lotion|care/,
    hue: 300,
    path: `M18 21h12c3 0 4 2 4 5v13c0 2-1 3-3 3H17c-2 0-3-1-3-3V26c0-3 1-5 4-5ZM24 21v-9M17 15v-3h10c2 0 3-2 3-4M20 30h8`,
  },
  {
    words: /health|drug|medic|vitamin|cold|analgesic|allergy|antacid|first aid|pharm/,
    hue: 160,
    path: `M19 8h10v11h11v10H29v11H19V29H8V19h11Z`,
  },
  {
    words: /flor|flower|plant|garden|nursery/,
    hue: 345,
    path: `${circle(24, 18, 4)}${circle(24, 9.5, 4.5)}${circle(32, 16, 4.5)}${circle(29, 25, 4.5)}${circle(19, 25, 4.5)}${circle(16, 16, 4.5)}M24 27v16M24 38c-5 0-8-2-9-6 6-1 9 2 9 6Z`,
  },
];

const OTHER: Omit<Family, 'words'> = { hue: 280, path: 'M10 16h28l3 26H7ZM17 20v-6c0-9 14-9 14 0v6' };
const SVG = 'http://www.w3.org/2000/svg';

/** Draws into `frame`, whose style sheet knows `--hue`. */
export function draw(frame: HTMLElement, product: Product): void {
  const { hue, path } = familyOf(product);
  const seed = hash(product.id);
  frame.style.setProperty('--hue', String((hue + ((seed >>> 3) % 17) - 8 + 360) % 360));
  frame.replaceChildren(backdrop(seed), pictogram(path));
}

function familyOf({ product_type, category, department }: Product): Omit<Family, 'words'> {
  // The category is the most reliable of the three, the kind abbreviates, the department is wide.
  for (const text of [category, product_type, department]) {
    const family = FAMILIES.find(({ words }) => words.test(text.toLowerCase()));
    if (family) return family;
  }
  return OTHER;
}

/** Two discs, somewhere: the same product has them in the same place. */
function backdrop(seed: number): SVGElement {
  const [left, right] = [seed % 45, 55 + ((seed >>> 6) % 45)];
  const [high, low] = [(seed >>> 12) % 30, 45 + ((seed >>> 17) % 30)];
  const isRising = seed % 2 === 0;
  const svg = shape('svg', { class: 'backdrop', viewBox: '0 0 100 75', preserveAspectRatio: 'xMidYMid slice', 'aria-hidden': 'true' });
  svg.append(
    shape('circle', { cx: left, cy: isRising ? low : high, r: 22 + ((seed >>> 3) % 14) }),
    shape('circle', { cx: right, cy: isRising ? high : low, r: 10 + ((seed >>> 9) % 12) }),
  );
  return svg;
}

function pictogram(path: string): SVGElement {
  const svg = shape('svg', { class: 'pictogram', viewBox: '0 0 48 48', 'aria-hidden': 'true' });
  svg.append(shape('path', { d: path }));
  return svg;
}

function shape(tag: string, attributes: Readonly<Record<string, string | number>>): SVGElement {
  const made = document.createElementNS(SVG, tag) as SVGElement;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

/** FNV-1a: only to tell pictures apart. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193) >>> 0;
  return value;
}
