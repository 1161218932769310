// The storefront in Chromium: what a shopper sees, hears and does, on real data where they can be had.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { DESK, PHONE, barriers, cutOff, settled, startBrowser, startStorefront } from './storefront.mjs';

/** Decisions until a draw of probability 0.2 has surely come: it fails once in 10^9. */
const DRAWS = 95;

let store;
let browser;
let products;

before(async () => {
  [store, browser] = [await startStorefront(), await startBrowser()];
  products = new Map(store.shop.products.map((product) => [product.id, product]));
});

after(async () => {
  await browser?.close();
  await store?.close();
});

/** Opens the page in a browser of its own; nothing may be said in the console but what `expected` matches. */
async function onPage(use, { expected = /^$/, prepare = async () => {}, ...options } = {}) {
  const context = await browser.newContext({ viewport: DESK, ...options });
  const page = await context.newPage();
  const [complaints, asked] = [[], []];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => asked.push(request));
  try {
    await prepare(context, page);
    await page.goto(store.address);
    await settled(page);
    await use(page, context);
    assert.deepEqual(complaints.filter((text) => !expected.test(text)), [], 'the console is silent');
    for (const request of asked) {
      assert.ok(request.url().startsWith(store.address), `${request.url()} is not ours`);
      assert.deepEqual([request.method(), request.postData(), new URL(request.url()).search], ['GET', null, ''], request.url());
    }
  } finally {
    await context.close();
  }
}

const order = (page) => page.$$eval('.tile', (tiles) => tiles.map((tile) => tile.dataset.id));
const tile = (page, id) => page.locator(`.tile[data-id="${id}"]`);
const text = (page, selector) => page.locator(selector).textContent();
const kind = (id) => products.get(id).product_type;
const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

async function press(page, selector) {
  await page.locator(selector).click();
  await settled(page);
}

/** Opens a product and closes it again. */
async function look(page, id) {
  await tile(page, id).locator('.name').click();
  await settled(page);
  await page.keyboard.press('Escape');
}

async function choose(page, name, value) {
  await page.locator(`input[name="${name}"][value="${value}"]`).check({ force: true });
  await settled(page);
}

/** As many places as the page offers, so that hardly anything moves out of sight. */
async function showMost(page) {
  await page.locator('#slots').selectOption('96');
  await settled(page);
}

test('the page says where its data are from', async (t) => {
  t.diagnostic(`data: ${store.shop.source}, week ${store.shop.week}`);
  await onPage(async (page) => {
    const said = await text(page, '#real-data');
    assert.match(said, store.shop.made_up ? /are made up/ : /^Real: .* Complete Journey/);
    const declared = store.shop.terms.filter((term) => term.declared).length;
    assert.match(said, new RegExp(`the ${declared} weights of the session are declared, not learned`));
    assert.equal(await page.locator('#terms tr').count(), store.shop.terms.length);
  });
});

test('a look raises products of the same kind', async () => {
  await onPage(async (page) => {
    await showMost(page);
    const was = await order(page);
    // One from the middle whose kind is in the feed elsewhere, below something of another kind.
    const looked = was.slice(20).find((id) => was.filter((other) => kind(other) === kind(id)).length > 2);
    const like = was.filter((id) => kind(id) === kind(looked));
    await look(page, looked);
    const is = await order(page);
    const places = (list) => like.map((id) => (list.includes(id) ? list.indexOf(id) : list.length));
    assert.ok(mean(places(is)) < mean(places(was)), `${kind(looked)}: ${places(was)} became ${places(is)}`);
    assert.match(await text(page, '#said'), /^You looked at .*\d+ products? moved\./);
  });
});

test('what is put into the basket, and what is bought, makes room', async () => {
  await onPage(async (page) => {
    const [first, second] = await order(page);
    await tile(page, first).locator('.add').click();
    await settled(page);
    assert.notEqual((await order(page))[0], first, 'it is in the basket already');
    assert.match(await text(page, '#basket'), /^1 item, \$/);
    await tile(page, second).locator('.add').click();
    await settled(page);
    const before = await order(page);
    await press(page, '#buy');
    assert.match(await text(page, '#said'), /^You bought 2 products\./);
    assert.equal(await text(page, '#basket'), 'Basket empty');
    const bought = await order(page);
    assert.ok(![first, second].includes(bought[0]));
    assert.notDeepEqual(bought, before);
  });
});

test('another household has another order and a basket of its own', async () => {
  await onPage(async (page) => {
    const [first, second] = store.shop.households;
    await tile(page, (await order(page))[3]).locator('.add').click();
    await settled(page);
    const [was, about] = [await order(page), await text(page, '#about-household')];
    await page.locator('#household').selectOption(second.id);
    await settled(page);
    assert.notDeepEqual(await order(page), was);
    assert.notEqual(await text(page, '#about-household'), about);
    assert.equal(await text(page, '#basket'), 'Basket empty');
    await page.locator('#household').selectOption('visitor');
    await settled(page);
    assert.match(await text(page, '#about-household'), /^Nothing is known/);
    await page.locator('#household').selectOption(first.id);
    await settled(page);
    assert.deepEqual(await order(page), was, 'what the first one did is remembered');
    assert.match(await text(page, '#basket'), /^1 item, \$/);
  });
});

test('the flyer order is the flyer’s, and every mark of movement is true', async () => {
  await onPage(async (page) => {
    const [household] = store.shop.households;
    const flyer = household.feed.map((position) => store.shop.products[position].id);
    const marks = await page.$$eval('.tile', (tiles) => tiles.map((tile) => [tile.dataset.id, tile.querySelector('.words').textContent]));
    assert.notDeepEqual(marks.map(([id]) => id), flyer.slice(0, marks.length), 'the ranking is another one');
    for (const [place, [id, words]] of marks.entries()) {
      const up = flyer.indexOf(id) - place;
      const unit = Math.abs(up) === 1 ? 'place' : 'places';
      const expected = up === 0 ? 'where the flyer has it' : `${up > 0 ? 'up' : 'down'} ${Math.abs(up)} ${unit} from the flyer`;
      assert.equal(words, expected);
    }
    await choose(page, 'order', 'flyer');
    assert.deepEqual(await order(page), flyer.slice(0, marks.length));
    await choose(page, 'order', 'ranked');
    assert.deepEqual(await order(page), marks.map(([id]) => id));
    await page.locator('#reveal').check();
    await settled(page);
    const bought = household.bought.map((position) => store.shop.products[position].id);
    const marked = await page.$$eval('.was-bought', (tiles) => tiles.map((tile) => tile.dataset.id));
    assert.deepEqual(new Set(marked), new Set(marks.map(([id]) => id).filter((id) => bought.includes(id))));
    assert.match(await text(page, '#about-household'), new RegExp(`Of ${bought.length} .* ${marked.length} are among these ${marks.length} as ranked`));
  });
});

test('every product has reasons, in words and as terms of the score', async () => {
  await onPage(async (page) => {
    const reasons = await page.$$eval('.reasons', (lists) => lists.map((list) => [...list.children].map((line) => line.textContent)));
    assert.ok(reasons.every((lines) => lines.length > 0), reasons.join('|'));
    assert.ok(reasons.flat().every((reason) => /^[A-Z].* /.test(reason)), 'words, not names of features');
    await page.locator('.tile .name').first().click();
    await settled(page);
    const lines = await page.$$eval('#look-reasons li', (found) => found.map((line) => ['.effect', '.parts'].map((part) => line.querySelector(part).textContent)));
    assert.ok(lines.length >= 3, 'history, kind, everybody');
    const number = (written) => parseFloat(written.replace('−', '-'));
    for (const [sum, parts] of lines) {
      const effects = parts.match(/[+−]\d+\.\d\d(?= ·|$)/g).map(number);
      const added = effects.reduce((all, effect) => all + effect, 0);
      // Each was rounded to two places.
      assert.ok(Math.abs(number(sum) - added) < 0.006 * (effects.length + 1), `${parts} is not ${sum}`);
    }
    const sizes = lines.map(([sum]) => Math.abs(number(sum)));
    assert.deepEqual(sizes, sizes.toSorted((a, b) => b - a), 'largest first');
  });
});

test('rules, pins and places act as they say', async () => {
  await onPage(async (page) => {
    const category = (id) => products.get(id).category;
    const repeats = (ids) => ids.filter((id, at) => ids.slice(Math.max(0, at - 3), at).some((other) => category(other) === category(id))).length;
    const plain = await order(page);
    assert.ok(repeats(plain) > 0, 'there is something for the cap to do');
    await press(page, '#cap');
    const capped = await order(page);
    assert.ok(repeats(capped.slice(0, 4)) === 0, 'no category twice in the first four places');
    assert.ok(repeats(capped) < repeats(plain));
    assert.ok((await page.$$eval('.rule', (nodes) => nodes.map((node) => node.textContent))).includes('Cap'));
    await press(page, '#cap');
    assert.deepEqual(await order(page), plain);
    await press(page, '#diversity');
    const diverse = await order(page);
    const kinds = (ids) => new Set(ids.slice(0, 12).map(kind)).size;
    assert.ok(kinds(diverse) > kinds(plain), `${kinds(plain)} kinds became ${kinds(diverse)}`);
    await press(page, '#diversity');
    await page.locator('#slots').selectOption('12');
    await settled(page);
    assert.deepEqual(await order(page), plain.slice(0, 12));
    const pinned = plain[7];
    await tile(page, pinned).locator('.name').click();
    await settled(page);
    await press(page, '#look-pin');
    await page.keyboard.press('Escape');
    assert.equal((await order(page))[0], pinned);
    const hidden = (await order(page))[1];
    await tile(page, hidden).locator('.name').click();
    await settled(page);
    await press(page, '#look-hide');
    assert.ok(!(await order(page)).includes(hidden));
    await press(page, '#asked .chip >> nth=1');
    await press(page, '#asked .chip >> nth=0');
    await press(page, '#forget');
    assert.deepEqual(await order(page), plain.slice(0, 12), 'nothing is left of the session');
  });
});

test('exploration draws the first place only, marks it, and gives its probability', async () => {
  await onPage(async (page) => {
    const plain = await order(page);
    await press(page, '#draw');
    assert.deepEqual(await order(page), plain, 'without exploration nothing is drawn');
    await choose(page, 'explore', 'epsilon');
    let drawn = [];
    for (let at = 0; at < DRAWS && drawn.length === 0; at++) {
      await page.locator('#draw').click();
      await page.waitForSelector('#feed[aria-busy="false"]');
      drawn = await page.$$eval('.rule', (nodes) => nodes.map((node) => node.textContent));
    }
    const candidates = store.shop.households[0].feed.length;
    const probability = (0.2 / candidates).toPrecision(1);
    assert.deepEqual(drawn, [`Explored, p = ${probability}`]);
    assert.match(await text(page, '#drawn'), new RegExp(`an explored product, which had the probability ${probability}`));
    await settled(page);
    const [first, ...rest] = await order(page);
    assert.deepEqual(rest, plain.filter((id) => id !== first).slice(0, rest.length), 'the other places are as before');
    await tile(page, rest[0]).locator('.name').click();
    await settled(page);
    await press(page, '#look-pin');
    await page.keyboard.press('Escape');
    const free = await page.locator('#drawn').textContent();
    assert.match(free, new RegExp(`probability (0\\.80|${probability})\\.`), 'a pinned place is not drawn');
    await choose(page, 'explore', 'softmax');
    assert.match(await text(page, '#drawn'), /which had the probability 0\.\d+/);
  });
});

test('cut from the network, the page goes on ranking, with rules that it never loaded', async () => {
  await onPage(async (page) => {
    await page.evaluate(() => navigator.serviceWorker.ready);
    await press(page, '#offline');
    const [asked, was] = [store.requests.length, await order(page)];
    await look(page, was[9]);
    assert.notDeepEqual(await order(page), was);
    await press(page, '#diversity');
    assert.equal(await page.locator('#notice').isVisible(), false);
    assert.match(await text(page, '#left-note'), /The network is off\./);
    assert.match(await text(page, '#requests'), /bundles\/on-off-off\.svb not sent/);
    assert.deepEqual(store.requests.slice(asked), [], 'the server was not asked');
  });
});

test('reloaded while the server is away, the page is there, remembers, and ranks', async () => {
  await onPage(
    async (page) => {
      await page.evaluate(() => navigator.serviceWorker.ready);
      await look(page, (await order(page))[9]);
      const was = await order(page);
      await store.goAway();
      try {
        await page.reload();
        await settled(page);
        assert.deepEqual(await order(page), was, 'the look is remembered');
        assert.equal(await text(page, '#order-name'), 'in your order');
        await page.locator('#household').selectOption(store.shop.households[2].id);
        await settled(page);
        assert.equal(await page.locator('#notice').isVisible(), false);
        const other = await order(page);
        await look(page, other[9]);
        assert.notDeepEqual(await order(page), other);
      } finally {
        await store.comeBack();
      }
    },
    { expected: /ERR_CONNECTION_REFUSED/ },
  );
});

test('nothing about the shopper is in any request', async () => {
  await onPage(async (page) => {
    const from = store.requests.length;
    const ids = await order(page);
    await look(page, ids[5]);
    await tile(page, ids[6]).locator('.add').click();
    await settled(page);
    await press(page, '#buy');
    await press(page, '#cap');
    const asked = store.requests.slice(from);
    assert.ok(asked.length > 0, 'the bundle with the cap was asked for');
    for (const { method, url, bodyBytes } of asked) {
      assert.deepEqual([method, bodyBytes], ['GET', 0]);
      assert.match(url, /^\/(data\/(bundles|states)\/[\w-]+\.\w+|data\/(shared\.bin|offers\.svb|shop\.json)|(offers\/)?[\w-]+\.(js|css|svg|wasm|html))?$/);
      assert.ok(!ids.some((id) => id.length > 3 && url.includes(id)), url);
    }
    assert.deepEqual([await text(page, '#events-sent'), await text(page, '#bytes-sent')], ['0', '0']);
    assert.match(await text(page, '#left-note'), /^No behaviour is sent.*3 events of this page were counted here/);
    assert.ok(Number(await text(page, '#files-asked')) >= 5, 'requests are counted');
  });
});

test('decisions are timed, and the page says how finely', async () => {
  await onPage(async (page) => {
    await press(page, '#time-more');
    assert.ok(Number((await text(page, '#timed')).replace(',', '')) > 500);
    assert.match(await page.locator('#histogram').getAttribute('aria-label'), /^Histogram of \d+ decisions: median \d+(\.\d+)? (µs|ms)/);
    assert.match(await text(page, '#clock-note'), /5 µs, because this page is isolated/);
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
  });
});

test('axe finds nothing serious, light and dark, wide and narrow', async () => {
  const check = async (page, where) => assert.deepEqual(await barriers(page), [], where);
  for (const viewport of [DESK, PHONE]) {
    for (const colorScheme of ['light', 'dark']) {
      await onPage(
        async (page) => {
          const where = `${viewport.width} ${colorScheme}`;
          await check(page, where);
          await tile(page, (await order(page))[2]).locator('.add').click();
          await page.locator('#reveal').check();
          await page.locator('.tile .name').nth(1).click();
          await settled(page);
          await check(page, `${where}, a product open`);
          await page.keyboard.press('Escape');
          if (viewport === PHONE) await page.locator('#open-bench').click();
          await page.locator('#explore-softmax, input[value="softmax"]').first().check({ force: true });
          await press(page, '#cap');
          for (const summary of await page.locator('summary').all()) await summary.click();
          await check(page, `${where}, the workbench in use`);
          assert.deepEqual(await cutOff(page), [], `${where}: nothing is cut off`);
        },
        { viewport, colorScheme },
      );
    }
  }
});

test('the keyboard alone opens, adds and closes, and is back where it was', async () => {
  await onPage(async (page) => {
    const focused = () => page.evaluate(() => {
      const { activeElement: at } = document;
      return [at.className || at.id, at.closest('.tile')?.dataset.id ?? null];
    });
    for (let at = 0; at < 40 && (await focused())[0] !== 'name'; at++) await page.keyboard.press('Tab');
    const [, id] = await focused();
    assert.equal(id, (await order(page))[0], 'the first product is reached');
    await page.keyboard.press('Enter');
    await settled(page);
    assert.equal(await page.locator('#look').evaluate((dialog) => dialog.open), true);
    for (let at = 0; at < 5 && (await focused())[0] !== 'button primary'; at++) await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await settled(page);
    assert.match(await text(page, '#basket'), /^1 item, \$/);
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('#look').evaluate((dialog) => dialog.open), false);
    assert.deepEqual(await focused(), (await order(page)).includes(id) ? ['name', id] : ['feed', null]);
  });
});

test('whatever moves under the focus, the focus goes along', async () => {
  await onPage(async (page) => {
    const focused = () => page.evaluate(() => [document.activeElement.className, document.activeElement.closest('.tile')?.dataset.id ?? null]);
    // A switch that is turned by itself, as another tab would: nobody takes the focus there.
    const turn = async () => {
      await page.evaluate(() => document.querySelector('#diversity').click());
      await settled(page);
    };
    const plain = await order(page);
    await turn();
    const diverse = await order(page);
    await turn();
    const riser = diverse.find((id, at) => plain.indexOf(id) > at);
    await tile(page, riser).locator('.name').focus();
    await turn();
    assert.deepEqual(await order(page), diverse);
    assert.deepEqual(await focused(), ['name', riser]);
    await page.keyboard.press('Enter');
    await settled(page);
    await page.locator('#look-hide').press('Enter');
    await settled(page);
    assert.equal((await order(page)).includes(riser), false);
    assert.deepEqual(await focused(), ['feed', null], 'of what has gone, the list takes the focus over');
  });
});

test('the workbench of a phone is a sheet that holds the focus and gives it back', async () => {
  await onPage(
    async (page) => {
      await page.locator('#open-bench').click();
      assert.equal(await page.evaluate(() => document.activeElement.id), 'close-bench');
      for (let at = 0; at < 30; at++) await page.keyboard.press('Tab');
      assert.equal(await page.evaluate(() => document.activeElement === document.body || document.querySelector('#bench').contains(document.activeElement)), true);
      await page.locator('#draw').focus();
      await page.keyboard.press('Escape');
      assert.equal(await page.evaluate(() => document.activeElement.id), 'open-bench');
      assert.equal(await page.locator('#bench').isVisible(), false);
    },
    { viewport: PHONE },
  );
});

test('a new order moves tiles by transforms and nothing else, and jumps for who wants no motion', async () => {
  // The measure of the web: what shifts right after an input does not count. Of that, we say ourselves what may move.
  const observe = (context) => context.addInitScript(() => {
    [window.shift, window.shifted] = [0, []];
    new PerformanceObserver((list) => {
      for (const { value, hadRecentInput, sources } of list.getEntries()) {
        window.shift += hadRecentInput ? 0 : value;
        // What has gone has no node any more.
        if (hadRecentInput) window.shifted.push(...sources.flatMap(({ node }) => (node ? [node.className ?? node.nodeName] : [])));
      }
    }).observe({ type: 'layout-shift', buffered: true });
  });
  const animated = (page) => page.evaluate(() => document.querySelector('#feed').getAnimations({ subtree: true })
    .map(({ effect }) => Object.keys(effect.getKeyframes()[0]).filter((key) => ['transform', 'opacity', 'top', 'left', 'height', 'width', 'margin'].includes(key)).join()));
  for (const reducedMotion of ['no-preference', 'reduce']) {
    for (const viewport of [DESK, PHONE]) {
      await onPage(
        async (page) => {
          await tile(page, (await order(page))[1]).locator('.add').click();
          await page.waitForSelector('#feed[aria-busy="false"]');
          const moving = await animated(page);
          if (reducedMotion === 'reduce') assert.deepEqual(moving, []);
          else assert.ok(moving.includes('transform') && moving.every((property) => ['transform', 'opacity'].includes(property)), moving.join(' '));
          await settled(page);
          await look(page, (await order(page))[4]);
          await page.locator('#buy').click();
          await settled(page);
          // The observer reports a frame later.
          await page.waitForTimeout(200);
          const [shift, shifted] = await page.evaluate(() => [window.shift, window.shifted]);
          assert.ok(shift < 0.01, `cumulative layout shift ${shift} at ${viewport.width}`);
          assert.deepEqual(shifted.filter((name) => name !== 'tile'), [], 'only tiles change their place');
        },
        { viewport, reducedMotion, prepare: observe },
      );
    }
  }
});

test('where nothing can be stored it works in memory and says so', async () => {
  const deny = (context) => context.addInitScript(() => {
    const denied = () => {
      throw new DOMException('denied', 'SecurityError');
    };
    IDBFactory.prototype.open = denied;
    CacheStorage.prototype.open = denied;
    Object.defineProperty(window, 'localStorage', { get: denied });
  });
  await onPage(
    async (page) => {
      const was = await order(page);
      assert.equal(await text(page, '#order-name'), 'in your order');
      await look(page, was[9]);
      assert.notDeepEqual(await order(page), was);
      await press(page, '#theme');
      assert.match(await text(page, '#left-note'), /lives in memory, until this page goes/);
    },
    { prepare: deny },
  );
});

test('what is missing is named, and the flyer is still there', async () => {
  const without = (path) => ({
    serviceWorkers: 'block',
    expected: /404|blocked by Playwright/,
    prepare: (context) => context.route(path, (route) => route.fulfill({ status: 404 })),
  });
  const [household] = store.shop.households;
  const flyer = household.feed.map((position) => store.shop.products[position].id);
  for (const missing of ['**/bundles/*', '**/shared.bin', '**/*.wasm']) {
    await onPage(async (page) => {
      assert.match(await text(page, '#notice'), /^The products are in the order of the flyer: cannot fetch .*404/);
      assert.deepEqual(await order(page), flyer.slice(0, 24));
      assert.equal(await text(page, '#order-name'), 'as it is printed');
      await look(page, flyer[3]);
      await press(page, '#cap');
      assert.deepEqual(await order(page), flyer.slice(0, 24), 'and stays');
    }, without(missing));
  }
  await onPage(async (page) => {
    assert.match(await text(page, '#notice'), new RegExp(`^What the till knows is missing \\(data/states/${household.id}\\.bin: the server answered 404\\)`));
    assert.equal(await text(page, '#order-name'), 'in your order');
  }, without('**/states/*'));
});

test('without shop.json the page says what to do', async () => {
  const context = await browser.newContext({ serviceWorkers: 'block' });
  await context.route('**/shop.json', (route) => route.fulfill({ status: 404 }));
  const page = await context.newPage();
  await page.goto(store.address);
  await page.locator('#notice').waitFor();
  assert.match(await text(page, '#notice'), /^The shop cannot be opened: data\/shop\.json: the server answered 404\. `cargo xtask page --refresh`/);
  await context.close();
});

test('the server allows scripts and WebAssembly of its own, nothing else, and gives nothing beyond the site', async () => {
  const answer = await fetch(store.address);
  assert.match(answer.headers.get('content-security-policy'), /^default-src 'none'; script-src 'self' 'wasm-unsafe-eval';(?!.*unsafe-inline)/);
  const outside = await fetch(`${store.address}..%2f..%2f..%2f..%2f..%2fetc/passwd`);
  assert.equal(outside.status, 404);
  assert.equal((await fetch(store.address, { method: 'POST', body: 'x' })).status, 405);
  assert.equal((await fetch(`${store.address}%`)).status, 400);
});
