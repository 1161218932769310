// The package in Chromium, under the strictest policy that WebAssembly runs under.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { bundleId, makeBundle } from './bundle.mjs';
import { KEY, PUBLIC_KEY, keyOf, makeHead } from './head.mjs';
import { startBrowser, startSite } from './site.mjs';

const [bundle, newer] = [makeBundle(1), makeBundle(-1)];
const PAGE = '<!doctype html><title>test</title><script type="module" src="/page.js"></script>';
const files = {
  '/': PAGE,
  '/page.js': "import * as selvedge from '/dist/browser.js'; window.selvedge = selvedge;",
  '/bundle.svb': bundle,
  [`/v1/bundles/${bundleId(bundle)}`]: bundle,
};
let site;
let browser;

before(async () => {
  [site, browser] = [await startSite(files), await startBrowser()];
});

after(async () => {
  await browser?.close();
  await site?.close();
});

/** Runs `use` in a page of its own context. */
async function onPage(use, { path = '/', context } = {}) {
  const own = context ?? (await browser.newContext());
  const page = await own.newPage();
  const violations = [];
  page.on('console', (message) => message.type() === 'error' && violations.push(message.text()));
  try {
    await page.goto(site.address + path);
    await page.waitForFunction(() => window.selvedge);
    const result = await use(page);
    assert.deepEqual(violations.filter((text) => /Content Security|CSP/.test(text)), []);
    return result;
  } finally {
    await page.close();
    if (!context) await own.close();
  }
}

const rank = async (options) => {
  const engine = await window.selvedge.load(options);
  const { items, status } = await engine.rank([{ id: 'a', price: 1 }, { id: 'b', price: 2 }]);
  const said = { ids: items.map(({ id }) => id), status, of: await engine.status() };
  await engine.close();
  return said;
};

test('it ranks under a strict Content-Security-Policy, in the page and in a worker', async () => {
  await onPage(async (page) => {
    for (const worker of [false, true]) {
      const said = await page.evaluate(rank, { bundle: '/bundle.svb', worker });
      assert.deepEqual([said.ids, said.status, said.of.storage, said.of.simd], [['b', 'a'], 'personalized', 'persistent', true]);
    }
  });
});

test('a signed channel is followed, in the page and in a worker, and its last good bundle decides offline', async () => {
  const context = await browser.newContext();
  const blob = { id: bundleId(bundle), size: bundle.length };
  files[`/v1/blobs/${blob.id}`] = bundle;
  await onPage(
    async (page) => {
      const channel = { url: '/', name: 'shop', keys: [PUBLIC_KEY] };
      const load = async (worker, more = {}) => page.evaluate(rank, { channel, worker, ...more });
      files['/v1/channels/shop/head'] = makeHead({ bundle: blob, key: keyOf(2) });
      await assert.rejects(load(false), /unknown-key/, 'WebCrypto checks who has signed');
      files['/v1/channels/shop/head'] = makeHead({ bundle: blob, key: KEY });
      for (const worker of [false, true]) {
        const said = await load(worker);
        assert.deepEqual([said.ids, said.of.channel.state, said.of.bundleId], [['b', 'a'], 'following', blob.id]);
      }
      await context.setOffline(true);
      const said = await load(false);
      assert.deepEqual([said.ids, said.of.channel.sequence], [['b', 'a'], 1]);
      await context.setOffline(false);
    },
    { context },
  );
  await context.close();
  delete files['/v1/channels/shop/head'];
});

test('the second visit needs no network, and the user is remembered', async () => {
  const context = await browser.newContext();
  await onPage(
    async (page) => {
      await page.evaluate(async () => {
        const engine = await window.selvedge.load({ bundle: '/bundle.svb' });
        await engine.observe({ event: 'view', item: 'a' });
        await engine.close();
      });
      await page.evaluate(rank, { bundle: '/bundle.svb' });
      await context.setOffline(true);
      const said = await page.evaluate(rank, { bundle: '/bundle.svb' });
      assert.deepEqual(said.ids, ['a', 'b'], 'what was viewed comes first');
      await context.setOffline(false);
    },
    { context },
  );
  await context.close();
});

test('a newer bundle is swapped in and announced; one that is refused is not', async () => {
  const context = await browser.newContext();
  const swap = async () => {
    const engine = await window.selvedge.load({ bundle: '/bundle.svb' });
    const event = await new Promise((resolve) => {
      engine.on('update', ({ what }) => resolve(what));
      engine.on('fallback', ({ reason }) => resolve(reason));
      setTimeout(() => resolve('nothing'), 2_000);
    });
    const { items } = await engine.rank([{ id: 'a', price: 1 }, { id: 'b', price: 2 }]);
    await engine.close();
    return [event, items[0].id];
  };
  await onPage(
    async (page) => {
      await page.evaluate(rank, { bundle: '/bundle.svb' });
      files['/bundle.svb'] = bundle.subarray(0, 50);
      assert.deepEqual(await page.evaluate(swap), ['update-refused', 'b']);
      files['/bundle.svb'] = newer;
      assert.deepEqual(await page.evaluate(swap), ['bundle', 'a']);
      files['/bundle.svb'] = bundle;
    },
    { context },
  );
  await context.close();
});

test('a bad copy in the cache is fetched again', async () => {
  await onPage(async (page) => {
    await page.evaluate(rank, { bundle: '/bundle.svb' });
    await page.evaluate(async () => (await caches.open('selvedge-1')).put('/bundle.svb', new Response('noise')));
    assert.deepEqual((await page.evaluate(rank, { bundle: '/bundle.svb' })).ids, ['b', 'a']);
  });
});

for (const [what, type, isWhole] of [
  ['noise', 'application/wasm', false],
  ['of a type that no browser compiles', 'application/octet-stream', true],
]) {
  test(`a module in the cache that is ${what} is fetched again, once`, async () => {
    await onPage(async (page) => {
      await page.evaluate(rank, { bundle: '/bundle.svb' });
      const address = await page.evaluate(
        async ([type, isWhole]) => {
          const cache = await caches.open('selvedge-1');
          const { url } = (await cache.keys()).find(({ url }) => url.endsWith('.wasm'));
          const body = isWhole ? await (await cache.match(url)).arrayBuffer() : 'noise';
          await cache.put(url, new Response(body, { headers: { 'content-type': type } }));
          return new URL(url).pathname;
        },
        [type, isWhole],
      );
      const fetched = () => site.requests.filter((path) => path === address).length;
      const before = fetched();
      for (let visit = 0; visit < 2; visit++) {
        assert.deepEqual((await page.evaluate(rank, { bundle: '/bundle.svb' })).ids, ['b', 'a']);
      }
      assert.equal(fetched(), before + 1);
    });
  });
}

test('tabs agree, and no event is lost', async () => {
  const context = await browser.newContext();
  const pages = [await context.newPage(), await context.newPage()];
  for (const page of pages) {
    await page.goto(site.address);
    await page.waitForFunction(() => window.selvedge);
    await page.evaluate(async () => {
      window.engine = await window.selvedge.load({ bundle: '/bundle.svb' });
      window.updates = 0;
      window.engine.on('update', ({ what }) => (window.updates += what === 'state' ? 1 : 0));
    });
  }
  // The counter decays by half in 30 days: in a test, a view counts one.
  const views = (page) =>
    page.evaluate(async () => Math.round((await window.engine.rank([{ id: 'a' }], {})).items[0].score / 1000));
  const view = (page, times) =>
    page.evaluate(async (times) => {
      await Promise.all(Array.from({ length: times }, () => window.engine.observe({ event: 'view', item: 'a' })));
    }, times);
  await Promise.all([view(pages[0], 7), view(pages[1], 5)]);
  await pages[0].waitForFunction(() => window.updates > 0);
  await pages[0].waitForTimeout(200);
  assert.deepEqual([await views(pages[0]), await views(pages[1])], [12, 12]);
  await context.close();
});

test('a tab that finds what another one wrote only when it writes itself says so as well', async () => {
  const context = await browser.newContext();
  const [deaf, other] = [await context.newPage(), await context.newPage()];
  // As where the other tab's message comes while this one writes.
  await deaf.addInitScript(() => (BroadcastChannel.prototype.addEventListener = () => undefined));
  await deaf.addInitScript(() => Object.defineProperty(BroadcastChannel.prototype, 'onmessage', { set: () => undefined }));
  const view = (page) => page.evaluate(() => window.engine.observe({ event: 'view', item: 'a' }));
  for (const page of [deaf, other]) {
    await page.goto(site.address);
    await page.waitForFunction(() => window.selvedge);
    await page.evaluate(async () => {
      window.engine = await window.selvedge.load({ bundle: '/bundle.svb' });
      window.updates = [];
      window.engine.on('update', ({ what }) => window.updates.push(what));
    });
  }
  await view(other);
  assert.deepEqual(await deaf.evaluate(() => window.updates), [], 'nothing was heard');
  await view(deaf);
  assert.deepEqual(await deaf.evaluate(() => window.updates), ['state']);
  await context.close();
});

test('a tab that is killed while it writes leaves a sound state', async () => {
  const context = await browser.newContext();
  for (let round = 0; round < 5; round++) {
    const page = await context.newPage();
    await page.goto(site.address);
    await page.waitForFunction(() => window.selvedge);
    await page.evaluate(async () => {
      const engine = await window.selvedge.load({ bundle: '/bundle.svb' });
      for (let at = 0; at < 50; at++) void engine.observe({ event: 'view', item: `i${at}` });
    });
    await page.waitForTimeout(10 + 7 * round);
    await page.close({ runBeforeUnload: false });
  }
  await onPage(
    async (page) => {
      const said = await page.evaluate(rank, { bundle: '/bundle.svb' });
      assert.deepEqual([said.status, said.of.storage], ['personalized', 'persistent']);
    },
    { context },
  );
  await context.close();
});

test('where nothing can be stored it goes on in memory and says so', async () => {
  await onPage(async (page) => {
    const denied = await page.evaluate(async () => {
      IDBFactory.prototype.open = () => {
        throw new DOMException('denied', 'SecurityError');
      };
      CacheStorage.prototype.open = () => Promise.reject(new DOMException('denied', 'SecurityError'));
      const engine = await window.selvedge.load({ bundle: '/bundle.svb' });
      await engine.observe({ event: 'view', item: 'a' });
      const { items } = await engine.rank([{ id: 'a', price: 1 }, { id: 'b', price: 2 }]);
      return [(await engine.status()).storage, items[0].id];
    });
    assert.deepEqual(denied, ['memory', 'a']);
  });
  await onPage(async (page) => {
    const full = await page.evaluate(async () => {
      const engine = await window.selvedge.load({ bundle: '/bundle.svb' });
      const told = new Promise((resolve) => engine.on('fallback', ({ error }) => resolve(error.code)));
      IDBObjectStore.prototype.put = () => {
        throw new DOMException('full', 'QuotaExceededError');
      };
      await engine.observe({ event: 'view', item: 'a' });
      const { items } = await engine.rank([{ id: 'a', price: 1 }, { id: 'b', price: 2 }]);
      return [await told, (await engine.status()).storage, items[0].id];
    });
    assert.deepEqual(full, ['storage-unavailable', 'memory', 'a']);
  });
});

test('a page with an inlined state ranks without a request', async () => {
  const context = await browser.newContext();
  const state = await onPage(
    (page) =>
      page.evaluate(async (address) => {
        const engine = await window.selvedge.load({ bundle: address, user: 'elsewhere' });
        await engine.observe({ event: 'view', item: 'a' });
        const bytes = await engine.state();
        await engine.close();
        return btoa(String.fromCharCode(...bytes));
      }, `/v1/bundles/${bundleId(bundle)}`),
    { context },
  );
  const inlined = JSON.stringify({ bundle: `/v1/bundles/${bundleId(bundle)}`, shared: null, state });
  files['/inlined'] = PAGE.replace('<script', `<script type="application/json" id="selvedge-state">${inlined}</script><script`);
  await onPage(
    async (page) => {
      const before = site.requests.length;
      const said = await page.evaluate(rank, {});
      assert.deepEqual(said.ids, ['a', 'b'], 'the state of the page counts');
      assert.equal(said.of.requests, 0);
      assert.deepEqual(site.requests.slice(before), [], 'the site was not asked');
    },
    { path: '/inlined', context },
  );
  await context.close();
});

test('a module that breaks off gives the order back, and begins anew', async () => {
  await onPage(async (page) => {
    const said = await page.evaluate(async () => {
      const engine = await window.selvedge.load({ bundle: '/bundle.svb' });
      const candidates = [{ id: 'a', price: 1 }, { id: 'b', price: 2 }];
      const { slice } = Uint8Array.prototype;
      Uint8Array.prototype.slice = () => {
        throw new WebAssembly.RuntimeError('unreachable');
      };
      const trapped = await engine.rank(candidates);
      Uint8Array.prototype.slice = slice;
      const again = await engine.rank(candidates);
      return [trapped.reason, trapped.items[0].id, again.status, again.items[0].id];
    });
    assert.deepEqual(said, ['trap', 'a', 'personalized', 'b']);
  });
});
