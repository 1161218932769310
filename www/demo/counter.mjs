// The shop's server, as far as coupons go: it knows who asks and what things cost, and has the token that the host wants. The
// page names products; prices, brands and what is known of a household are looked up here, and whatever else a page might say
// of them is refused.
//
// A shop knows from its session who asks. This one has no sign-in: it believes the page, and says so there.

/** More than a page ever sends. */
const MOST_BYTES = 65_536;
const MOST_LINES = 200;
const DELIVERY_MINOR = 199;
const MINOR = 100;
/** What the page may ask: how, and what becomes of it. */
const ROUTES = {
  'GET /v1/budgets': (counter) => counter.budgets(),
  'POST /v1/offers': (counter, sent) => counter.offer(sent),
  'POST /v1/redeem': (counter, sent) => counter.redeem(sent),
};

/** A request that the counter does not pass on. */
class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** The counter of a shop, in front of a host. */
export class Counter {
  #host;
  #campaign;
  #currency;
  #products;
  #lines;

  /** `host` is `{address, token}`, `shop` what stands in `shop.json`. */
  constructor(host, { offers, products, households }) {
    this.#host = host;
    this.#campaign = offers.campaign;
    this.#currency = offers.currency;
    this.#products = new Map(products.map((product) => [product.id, product]));
    this.#lines = new Map(households.map(({ id, purchases }) => [`household-${id}`, purchases]));
  }

  /** The status and the document of an answer; null where the request is for somebody else. */
  async answer(request) {
    const route = ROUTES[`${request.method} ${request.url}`];
    if (!route) return null;
    try {
      const site = request.headers['sec-fetch-site'];
      if (site && site !== 'same-origin') throw new Refused(403, 'other-site', 'only the page itself may ask');
      return await route(this, request.method === 'POST' ? await read(request) : undefined);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const { status, code, message } = error;
      return [status, { error: { code, message } }];
    }
  }

  budgets() {
    return this.#ask('GET', '/v1/budgets');
  }

  /** Asks for an offer in the name of a shopper. */
  offer({ user, basket, looked, utc_offset_min }) {
    // What has no price yet is worth nothing here; at the till it is refused.
    const minor = this.#known(basket).reduce((sum, { product, quantity }) => sum + quantity * minorOf(product), 0);
    return this.#ask('POST', '/v1/offers', {
      user: name('user', user),
      campaign: this.#campaign,
      utc_offset_min: whole('utc_offset_min', utc_offset_min, -1440, 1440),
      fields: { lines: this.#lines.get(user) ?? 0 },
      context: { basket: minor / MINOR, looked: whole('looked', looked, 0, 1e6) },
    });
  }

  /** Redeems an offer on the basket at the shop's prices; the answer has the cart as it was priced. */
  async redeem({ user, order, offer, basket, preview }) {
    const cart = this.#cart(basket);
    const [status, answer] = await this.#ask('POST', '/v1/redeem', {
      order: name('order', order),
      user: name('user', user),
      offers: [text('offer', offer, 4096)],
      cart,
      preview: preview === true,
    });
    return [status, status === 200 ? { ...answer, cart } : answer];
  }

  #cart(basket) {
    const lines = this.#known(basket).map(({ product, quantity }, at) => {
      if (product.price === null) throw new Refused(422, 'bad-basket', `basket[${at}]: the shop has no price for it`);
      const attributes = { brand: product.own_brand ? 'own' : 'national', category: product.category };
      return { item: product.id, attributes, quantity, unit_minor: minorOf(product) };
    });
    return { currency: this.#currency, lines, shipping_minor: lines.length > 0 ? DELIVERY_MINOR : 0 };
  }

  /** The products of a basket. */
  #known(basket) {
    if (!Array.isArray(basket) || basket.length > MOST_LINES) {
      throw new Refused(400, 'bad-basket', `basket: at most ${MOST_LINES} products are expected`);
    }
    return basket.map((line, at) => {
      const product = this.#products.get(line?.item);
      if (!product) throw new Refused(422, 'bad-basket', `basket[${at}]: the shop does not sell it`);
      return { product, quantity: whole(`basket[${at}].quantity`, line.quantity, 1, 1000) };
    });
  }

  async #ask(method, path, document) {
    const headers = { authorization: `Bearer ${this.#host.token}`, 'content-type': 'application/json' };
    try {
      const response = await fetch(`${this.#host.address}${path}`, { method, headers, body: document && JSON.stringify(document) });
      return [response.status, await response.json()];
    } catch {
      // Why is for the shop to find out, not for the page to be told.
      throw new Refused(502, 'no-host', 'the host does not answer');
    }
  }
}

const minorOf = ({ price }) => Math.round((price ?? 0) * MINOR);

/** The document that was sent. */
async function read(request) {
  if (!/^application\/json\b/.test(request.headers['content-type'] ?? '')) {
    throw new Refused(415, 'not-json', 'send application/json');
  }
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > MOST_BYTES) throw new Refused(413, 'too-large', `at most ${MOST_BYTES} bytes are taken`);
    chunks.push(chunk);
  }
  try {
    return Object(JSON.parse(Buffer.concat(chunks).toString()));
  } catch {
    throw new Refused(400, 'not-json', 'this is not JSON');
  }
}

function text(place, value, most) {
  if (typeof value === 'string' && value.length > 0 && value.length <= most) return value;
  throw new Refused(400, 'malformed', `${place}: 1 to ${most} characters are expected`);
}

const name = (place, value) => text(place, value, 100);

function whole(place, value, least, most) {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Refused(400, 'malformed', `${place}: a whole number from ${least} to ${most} is expected`);
}
