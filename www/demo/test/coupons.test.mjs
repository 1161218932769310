// The coupon panel in Chromium, against a host as it is: shown, redeemed once, refused by name, within a budget that moves.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { transform } from 'esbuild';

import { DESK, PHONE, barriers, cutOff, settled, startBrowser, startShopWithCoupons } from './storefront.mjs';

/** Of visitors, a fifth is held out, and most others get a coupon: so many in a row of one kind come once in 10^6. */
const VISITORS = 62;
/** A host looks at what was spent every two seconds: so often is it given the time to. */
const [LOOKS, LOOK_MS] = [10, 2_500];
/** In cents. That of the recipe is soon gone, as it shall be on the page. */
const TOTAL = 100_000;
let store;
let browser;

before(async () => {
  [store, browser] = [await startShopWithCoupons({ isPaced: false }), await startBrowser()];
  await store.host.setBudget('coupons', TOTAL);
});

after(async () => {
  await browser?.close();
  await store?.close();
});

/** The page as a new visitor sees it, its counter open unless `isClosed`; refusals are failed requests in the console. */
async function onPanel(use, { address = store.address, isClosed = false, prepare = async () => {}, ...options } = {}) {
  const context = await browser.newContext({ viewport: DESK, reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  const [complaints, answers] = [[], []];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('response', (response) => answers.push(response));
  try {
    await prepare(context);
    await page.goto(address);
    await settled(page);
    await page.locator('#household').selectOption('visitor');
    await settled(page);
    if (!isClosed) await openCounter(page);
    await use(page, answers);
    assert.deepEqual(complaints.filter((text) => !/^Failed to load resource|Service Worker registration blocked/.test(text)), []);
  } finally {
    await context.close();
  }
}

async function openCounter(page) {
  if (await page.locator('#open-bench').isVisible()) await page.locator('#open-bench').click();
  await page.locator('#open-counter').click();
  await page.waitForSelector('#counter:not([hidden])');
}

const text = (page, selector) => page.locator(selector).textContent();
const amount = async (page, what) => Math.round(100 * Number((await text(page, `#budget-${what}`)).replace(/[$,]/g, '')));
const budget = async () => (await (await fetch(`${store.address}v1/budgets`)).json()).find((one) => one.budget === 'coupons');
const post = (path, document, headers = {}) =>
  fetch(`${store.address}${path}`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(document) });

/** Presses a control of the counter and waits for its answer. */
async function press(page, selector) {
  await page.locator(selector).click();
  await page.waitForSelector(`${selector}[aria-disabled="false"]`, { state: 'attached' });
}

/** Asks as one visitor after the other, until the answer is such a one. */
async function askUntil(page, expected) {
  for (let at = 0; at < VISITORS; at++) {
    await press(page, '#offer-ask');
    const said = await text(page, '#offer-said');
    if (expected.test(said)) return said;
    await page.locator('#offer-newcomer').click();
  }
  return assert.fail(`no visitor of ${VISITORS} was told ${expected}`);
}

/** Adds products that are worth so many cents together, an own brand among them. */
async function fill(page, cents) {
  const products = store.shop.products.filter(({ price }) => price > 0);
  const shown = new Set(await page.$$eval('.tile', (tiles) => tiles.map((tile) => tile.dataset.id)));
  const order = products.filter(({ id }) => shown.has(id)).sort((a, b) => b.own_brand - a.own_brand || b.price - a.price);
  let total = 0;
  for (const { id, price } of order) {
    if (total >= cents) break;
    const add = page.locator(`.tile[data-id="${id}"] .add`);
    if (!(await add.isVisible())) continue;
    await add.click();
    await settled(page);
    total += Math.round(100 * price);
  }
  assert.ok(total >= cents, 'there is enough to buy');
  return total;
}

test('a coupon is shown with its terms, redeemed once, and refused by name the second time', async () => {
  await onPanel(async (page) => {
    assert.match(await text(page, '#assumed'), /^How people respond to coupons is assumed, not learned/);
    const promised = (await text(page, '#preview-said')).match(/^Now it would be “(.+?)”/)?.[1];
    assert.ok(promised, 'this tab previews a coupon for somebody of whom nothing is known');
    await askUntil(page, /^There is a coupon\.$/);
    assert.match(await text(page, '#coupon-gives'), /^(\$[345]\.00 off|20 % off on own brand|Free delivery)/);
    const terms = await page.$$eval('#coupon-terms div', (lines) => lines.map((line) => [...line.children].map((part) => part.textContent)));
    assert.deepEqual(terms.map(([name]) => name), ['Basket', 'Gives at most', 'On', 'Good', 'With others']);
    assert.match(terms[1][1], /^\$\d\.\d\d$/);
    assert.match(terms[3][1], /^once, until /);
    assert.match(await text(page, '#coupon-disclosure'), /^Made for you by a computer/);
    await press(page, '#offer-ask');
    assert.match(await text(page, '#offer-said'), /^There is a coupon\. It was decided before/, 'asked again, the answer is the same');

    const settledBefore = (await budget()).settled;
    await press(page, '#offer-redeem');
    assert.match(await text(page, '#redeem-said'), /^Refused\. .*\((below-minimum|no-line-in-scope)\)$/, 'an empty basket is not what it is for');
    const total = await fill(page, 1500);
    await press(page, '#offer-try');
    assert.match(await text(page, '#redeem-said'), /^It would give \$\d\.\d\d; .* Nothing is used up\.$/);
    assert.equal((await budget()).settled, settledBefore);
    await press(page, '#offer-redeem');
    const [, order, off, paid] = (await text(page, '#redeem-said')).match(/^Redeemed by (order-\w{8}): \$(\d\.\d\d) off, \$([\d.]+) to pay\.$/);
    const cents = (dollars) => Math.round(100 * Number(dollars));
    assert.equal(cents(paid), total + 199 - cents(off), 'the shop’s prices and its delivery, less the coupon');
    assert.equal((await budget()).settled, settledBefore + cents(off));
    const discounts = await page.$$eval('#bill-lines td:last-child', (cells) => cells.map((cell) => Number(cell.textContent.replace(/[−$]/g, '') || 0)));
    assert.equal(cents(discounts.reduce((sum, discount) => sum + discount, 0)), cents(off), 'line by line');
    assert.ok(order);

    await press(page, '#offer-redeem');
    assert.match(await text(page, '#redeem-said'), /^Refused\. It was used already, by another order\. \(already-redeemed\)$/);
    assert.equal(await page.locator('#bill').isVisible(), false);
    assert.equal((await budget()).settled, settledBefore + cents(off));
  });
});

test('who is held out sees no coupon, however often they ask, and the next visitor sees nothing of it', async () => {
  await onPanel(async (page) => {
    await askUntil(page, /^Held out: /);
    assert.equal(await page.locator('#coupon').isVisible(), false);
    assert.equal(await page.locator('#redeem-part').isVisible(), false);
    const { held, settled: spent } = await budget();
    await press(page, '#offer-ask');
    assert.match(await text(page, '#offer-said'), /^Held out: .* It was decided before/);
    assert.deepEqual([(await budget()).held, (await budget()).settled], [held, spent]);
    await page.locator('#offer-newcomer').click();
    assert.match(await text(page, '#offer-said'), /^Not asked yet\./);
  });
});

test('the preview follows the basket, says why, and is the engine’s in this tab', async () => {
  await onPanel(async (page, answers) => {
    await page.locator('#counter summary').first().click();
    const arms = () => page.$$eval('#arms tr', (lines) => lines.map((line) => [...line.children].map((cell) => cell.textContent)));
    const empty = await arms();
    assert.deepEqual(empty.map(([name]) => name), ['no coupon', ...store.shop.offers.offers.map((offer) => offer.replaceAll('_', ' '))]);
    assert.equal(await page.locator('#arms .best th').textContent(), (await text(page, '#preview-said')).match(/“(.+?)”/)[1]);
    await fill(page, 6000);
    assert.notDeepEqual(await arms(), empty);
    assert.match(await text(page, '#preview-said'), /^Now there would be none: no coupon is worth its price/, 'who buys anyway needs none');
    assert.match(await text(page, '#read'), /^Read: 0 lines .* \$\d\d\.\d\d in the basket/);
    assert.ok(!answers.some((answer) => answer.request().method() === 'POST'), 'nobody was asked');
  });
});

test('a crowd moves the budget, which adds up, and a price of the head is shown and changes what is offered', async () => {
  await onPanel(async (page) => {
    const before = await budget();
    await press(page, '#crowd');
    const [, came, got, redeemed, none, heldOut] = (await text(page, '#crowd-said'))
      .match(/^(\d+) shoppers came: (\d+) got a coupon, (\d+) redeemed it; (\d+) got none, (\d+) were held out\.$/)
      .map(Number);
    assert.deepEqual([came, got + none + heldOut], [40, 40]);
    assert.ok(redeemed <= got);
    const after = await budget();
    assert.ok(after.settled + after.held > before.settled + before.held, 'money moved');
    const [total, spent, held, free] = await Promise.all(['total', 'spent', 'held', 'free'].map((what) => amount(page, what)));
    assert.deepEqual([total, spent + held + free], [TOTAL, TOTAL]);
    assert.equal(spent, after.settled);
    assert.match(await page.locator('#budget-chart').getAttribute('aria-label'), /^Of \$1,000\.00, \$[\d.]+ are spent, .* the price is 0\.20$/);
    assert.ok((await page.locator('#budget-chart polygon').first().getAttribute('points')).split(' ').length > 5, 'a step for each look');

    await store.host.setPrice('coupons', 3.5);
    await page.waitForFunction(() => document.querySelector('#budget-price').textContent === '3.50');
    await page.waitForFunction(() => document.querySelector('#preview-said').textContent.startsWith('Now there would be none'));
    await page.locator('#offer-newcomer').click();
    await press(page, '#offer-ask');
    assert.match(await text(page, '#offer-said'), /^(No coupon: |Held out: |There is a coupon)/);
    await store.host.setPrice('coupons', 0.2);
  });
});

test('a crowd raises the price by itself, where the host sets it', async () => {
  const paced = await startShopWithCoupons({ isPaced: true });
  try {
    const price = async () => (await (await fetch(`${paced.address}v1/budgets`)).json())[0].price_micros;
    await onPanel(async (page) => {
      const before = await price();
      for (let look = 0; look < LOOKS && (await price()) <= before; look++) {
        await press(page, '#crowd');
        await page.waitForTimeout(LOOK_MS);
      }
      assert.ok((await price()) > before, `${await price()} millionths after a crowd, ${before} before it`);
      await page.waitForFunction((opening) => Number(document.querySelector('#budget-price').textContent) > opening, before / 1e6);
    }, { address: paced.address });
  } finally {
    await paced.close();
  }
});

test('an empty budget is told, and nobody is promised what it cannot pay', async () => {
  await onPanel(async (page) => {
    const { settled: spent, held } = await budget();
    await store.host.setBudget('coupons', spent + held);
    await askUntil(page, /^No coupon: what is left of the budget covers no coupon\.$/);
    assert.equal(await page.locator('#coupon').isVisible(), false);
    const after = await budget();
    assert.deepEqual([after.settled + after.held, after.free], [spent + held, 0]);
    await store.host.setBudget('coupons', TOTAL);
  });
});

test('the first visit loads nothing of the counter, and nothing that the page gets opens the host', async () => {
  await onPanel(
    async (page, answers) => {
      const addresses = () => answers.map((answer) => new URL(answer.url()).pathname);
      assert.ok(!addresses().some((path) => /offers|counter|\/v1\//.test(path)), addresses().join(' '));
      await openCounter(page);
      await press(page, '#offer-ask');
      assert.ok(['/offers/panel.js', '/offers/panel.css', '/data/offers.svb', '/v1/budgets', '/v1/offers'].every((path) => addresses().includes(path)));
      assert.match(await text(page, '#left-note'), /to the coupon counter, by those who asked it: 1 question with who asks/);
      for (const answer of answers) {
        const [url, body] = [answer.url(), await answer.text().catch(() => '')];
        assert.ok(url.startsWith(store.address), `${url} is not the page’s server`);
        assert.ok(!body.includes('svt_') && !body.includes('PRIVATE KEY') && !body.includes(store.host.token), url);
      }
    },
    { isClosed: true },
  );
});

test('the counter believes the page about no price, passes no operator’s request on, and answers its own page only', async () => {
  const named = async (response) => [response.status, (await response.json()).error?.code];
  const question = { user: 'visitor-1', basket: [], looked: 0, utc_offset_min: 0 };
  assert.equal((await post('v1/offers', question)).status, 200);
  assert.deepEqual(await named(await post('v1/offers', question, { 'sec-fetch-site': 'cross-site' })), [403, 'other-site']);
  assert.deepEqual(await named(await post('v1/offers', question, { 'content-type': 'text/plain' })), [415, 'not-json']);
  assert.deepEqual(await named(await post('v1/offers', { ...question, user: '' })), [400, 'malformed']);
  assert.deepEqual(await named(await post('v1/offers', { ...question, basket: [{ item: 'no such', quantity: 1 }] })), [422, 'bad-basket']);
  assert.deepEqual(await named(await post('v1/offers', { ...question, basket: [{ item: store.shop.products[0].id, quantity: -1 }] })), [400, 'malformed']);
  assert.deepEqual(await named(await post('v1/offers', { ...question, basket: 'x'.repeat(70_000) })), [413, 'too-large']);
  assert.deepEqual(await named(await post('v1/redeem', { ...question, order: 'o1', offer: 'a.b.c' })), [422, 'malformed']);
  for (const [method, path] of [['PUT', 'v1/budgets/coupons'], ['POST', 'v1/leases'], ['POST', 'v1/events']]) {
    assert.equal((await fetch(`${store.address}${path}`, { method, body: '{}' })).status, 405, path);
  }
});

test('axe finds nothing serious in the counter, nothing is cut off, and nothing moves, light and dark, wide and narrow', async () => {
  for (const viewport of [DESK, PHONE]) {
    for (const colorScheme of ['light', 'dark']) {
      await onPanel(
        async (page) => {
          assert.equal(await page.evaluate(() => document.activeElement.id), 'counter', 'the focus goes into the counter');
          await askUntil(page, /^There is a coupon\./);
          for (const summary of await page.locator('#counter summary').all()) await summary.click();
          if (viewport === PHONE) await page.locator('#close-bench').click();
          await fill(page, 1500);
          if (viewport === PHONE) await page.locator('#open-bench').click();
          await press(page, '#offer-try');
          const where = `${viewport.width} ${colorScheme}`;
          assert.deepEqual(await barriers(page), [], where);
          assert.deepEqual(await cutOff(page), [], where);
          assert.equal(await page.evaluate(() => document.querySelector('#counter').getAnimations({ subtree: true }).length), 0);
        },
        { viewport, colorScheme },
      );
    }
  }
});

test('the keyboard alone opens the counter, asks, and stays where it is', async () => {
  await onPanel(
    async (page) => {
      await page.locator('#open-counter').focus();
      await page.keyboard.press('Enter');
      await page.waitForSelector('#counter:not([hidden])');
      const focused = () => page.evaluate(() => document.activeElement.id);
      for (let at = 0; at < 5 && (await focused()) !== 'offer-ask'; at++) await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => !document.querySelector('#offer-said').textContent.startsWith('Not asked'));
      assert.equal(await focused(), 'offer-ask');
    },
    { isClosed: true },
  );
});

test('amounts are written in the minor units of their currency', async () => {
  const source = readFileSync(new URL('../src/offers/money.ts', import.meta.url), 'utf8');
  const { code } = await transform(source, { loader: 'ts' });
  const { moneyIn } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
  assert.deepEqual(['USD', 'JPY', 'KWD'].map((currency) => moneyIn(currency)(1234).replace(/\s/g, ' ')), ['$12.34', '¥1,234', 'KWD 1.234']);
});

test('a site of files alone says how to start a host, previews, and ranks', async () => {
  await onPanel(
    async (page) => {
      assert.match(await text(page, '#offer-said'), /no coupon counter here.*`cargo xtask page` starts the page with a host/);
      assert.match(await text(page, '#preview-said'), /^Now it would be “/);
      assert.deepEqual(await page.$$eval('#offer-ask, #offer-newcomer, #budget-part', (parts) => parts.map((part) => part.checkVisibility())), [false, false, false]);
    },
    { serviceWorkers: 'block', prepare: (context) => context.route('**/counter.json', (route) => route.fulfill({ json: { open: false } })) },
  );
});

// The last one: it ends the host.
test('when the host is down the panel says so, and the feed goes on ranking', async () => {
  await onPanel(async (page) => {
    const order = () => page.$$eval('.tile', (tiles) => tiles.map((tile) => tile.dataset.id));
    await store.host.close();
    await press(page, '#offer-ask');
    assert.match(await text(page, '#offer-said'), /^The host does not answer, so there are no coupons\. .* \(no-host\)$/);
    assert.match(await text(page, '#budget-note'), /\(no-host\)$/);
    const was = await order();
    await page.locator('.tile .add').first().click();
    await settled(page);
    assert.notDeepEqual(await order(), was);
    assert.equal(await page.locator('#notice').isVisible(), false);
    await store.goAway();
    await press(page, '#offer-ask');
    assert.match(await text(page, '#offer-said'), /\(no-counter\)$/);
    const now = await order();
    await page.locator('.tile .add').nth(2).click();
    await settled(page);
    assert.notDeepEqual(await order(), now, 'without the page’s server too');
    await store.comeBack();
  });
});
