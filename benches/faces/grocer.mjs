// The world of `benches/src/lib.rs` for faces of JavaScript: 70,000 items, 32 features, 300 trees, a user with 900 events.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (name) => fileURLToPath(new URL(`../../target/faces/world/${name}`, import.meta.url));

export const bundle = readFileSync(at('bundle.svb'));
export const shared = readFileSync(at('shared.bin'));
export const state = readFileSync(at('state.bin'));

/** A campaign of eight arms by itself, whose responses are linear or 20 trees each. */
export const coupons = {
  linear: readFileSync(at('coupons-linear.svb')),
  trees: readFileSync(at('coupons-trees.svb')),
  state: readFileSync(at('coupons.bin')),
};
export const idOf = (container) => container.subarray(32, 64).toString('hex');

const ids = readFileSync(at('ids.txt'), 'utf8').split('\n');

/** Candidates as a page has them: the request brings a discount, everything else is in the shared state. */
export const candidates = (count) => ids.slice(0, count).map((id, at) => ({ id, discount: ((at * 37) % 101) / 100 }));

/** A feed as a shop has it: what is shown of an item besides what ranks it. */
export const feed = (count) =>
  JSON.stringify({
    page: 1,
    items: candidates(count).map((candidate, at) => ({
      ...candidate,
      title: `A product of the ${at} th shelf, with a name of some length`,
      image: `https://images.shop.example/products/${candidate.id}/640x640.webp`,
      price: { amount: ((at * 53) % 997) / 10, currency: 'EUR' },
      badges: at % 5 ? [] : ['new'],
      stock: at % 7,
    })),
    next: '/api/feed?page=2',
  });

/** What the user did, for a state at the Worker: as many events as there are in `state`. */
export const events = Array.from({ length: 900 }, (_, at) => ({
  id: `e${at}`,
  event: at % 3 ? 'purchase' : 'view',
  item: ids[(at * 7) % 300],
  value: 1 + (at % 9),
}));
