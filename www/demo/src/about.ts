/** What does not change while the page is open: sizes, the model's terms, and what is real. */
import { element, one } from './dom.js';
import { bytes } from './left.js';
import type { Shop, Size } from './shop.js';

/** Measured when the page was built. */
declare const BUILT: { readonly module: Size; readonly page: Size };

export function writeAbout(shop: Shop): void {
  const { bundle, offers, shared, state } = shop.sizes;
  const parts: [string, Size][] = [
    ['Engine module', BUILT.module],
    ['This page’s script, with the package', BUILT.page],
    ['Bundle: model, features, rules', bundle],
    ['The same with the coupons’ campaign', offers],
    ['Shared state: what everybody buys', shared],
    ['One household’s year', state],
  ];
  one('#sizes').replaceChildren(...parts.map(([name, size]) => {
    const head = element('th', { text: name });
    head.scope = 'row';
    return element('tr', {}, head, element('td', { text: bytes(size.gzip_bytes) }), element('td', { text: size.bytes.toLocaleString('en') }));
  }));
  one('#terms').replaceChildren(...shop.terms.map(({ feature, doc, weight, declared }) => {
    const head = element('th', {}, element('code', { text: feature }), element('span', { text: doc }));
    head.scope = 'row';
    return element('tr', {}, head, element('td', { text: `${weight.toFixed(2)}${declared ? ' declared' : ''}` }));
  }));
  one('#real-data').textContent = `${origin(shop)} ${learning(shop)}`;
}

function origin({ made_up, source, week }: Shop): string {
  return made_up
    ? `These households and products are made up (${source}); \`cargo xtask page\` with a network takes real ones.`
    : `Real: the households, products, prices and week ${week}’s flyers are from the Complete Journey, a year of purchases at a US grocer. The pictures are drawn from each product’s category.`;
}

function learning({ terms }: Shop): string {
  const declared = terms.filter((term) => term.declared).length;
  return `${terms.length - declared} weights were learned from other households of the same data. The data know no looks and no baskets in progress, so the ${declared} weights of the session are declared, not learned.`;
}
