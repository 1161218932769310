// The package in Node, as it is built.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { ENGINE_CODES, SelvedgeError, load } from 'selvedge';

import { bundleId, makeBundle, selvedge as command } from './bundle.mjs';
import { corpusCase } from './corpus.mjs';

const bundle = makeBundle();
const engine = await load({ bundle });
after(() => engine.close());

const CANDIDATES = [{ id: 'a', price: 1 }, { id: 'b', price: 3.5, brand: 'söhne' }, { id: 'c', price: 2, unknown: true }];
const ids = (decision) => decision.items.map(({ id }) => id);

test('candidates are ranked, with reasons', async () => {
  const decision = await engine.rank(CANDIDATES, { query: ['milk'] }, { reasons: 1, requestId: '0'.repeat(31) + '1' });
  assert.equal(decision.status, 'personalized');
  assert.deepEqual(ids(decision), ['b', 'c', 'a']);
  assert.equal(decision.items[0].reasons[0].feature, 'price');
  assert.equal(decision.bundleId, bundleId(bundle));
  assert.equal(decision.requestId, '00000000000000000000000000000001');
  assert.deepEqual(ids(await engine.rank(CANDIDATES, {}, { pins: [{ id: 'a', slot: 0 }], exclude: ['b'], slots: 2 })), ['a', 'c']);
});

test('the request is the one that Rust writes: the decisions have the same bytes', async () => {
  const time = 1_795_545_000_000;
  const requestId = '8f14e45fceea167a5a36dedd4bea2543';
  const mine = await engine.rank(CANDIDATES, { query: ['dark', 'rye'] }, { requestId, time, utcOffsetMin: 60, reasons: 2 });
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-sdk-'));
  try {
    const path = (name) => join(directory, name);
    writeFileSync(path('bundle.svb'), bundle);
    const candidates = CANDIDATES.map(({ unknown: _, ...candidate }) => candidate);
    writeFileSync(path('request.json'), JSON.stringify({ request_id: requestId, time, utc_offset_min: 60, reasons: 2, context: { query: ['dark', 'rye'] }, candidates }));
    const guest = new URL('../../../target/guest/selvedge-guest.wasm', import.meta.url).pathname;
    execFileSync(command, ['--quiet', 'rank', '--guest', guest, '--bundle', path('bundle.svb'), '--request', path('request.json'), '--record', path('log'), '--reasons', '2']);
    const log = readFileSync(path('log'));
    const theirs = log.subarray(24 + log.readUInt32LE(8));
    assert.ok(Buffer.from(mine.bytes).equals(theirs));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('an offer is asked for and answered as in the corpus: the decisions have the same bytes', async () => {
  const stored = corpusCase('offer of "spring", user 0, dear');
  const own = await load({ bundle: stored.bundle, shared: stored.shared });
  const draw = `${'f'.repeat(24)}${'5a'.repeat(4)}`;
  const budgets = { shop: { price: 2.25, left: 150 }, brand: { price: 2.25, left: 150 } };
  const options = { requestId: '0f'.repeat(16), time: 1_795_545_000_123, utcOffsetMin: 0, user: { age: 36 } };
  const ask = (offer) => own.rank(['item 0', 'item 1', 'item 2'], {}, { ...options, offer });
  const decision = await ask({ campaign: 'spring', draw, budgets });
  assert.ok(Buffer.from(decision.bytes).equals(stored.decision));
  const { offer } = decision;
  assert.equal(offer.preview, false);
  assert.equal(offer.arms.length, 9);
  assert.equal(offer.status === 'offered', offer.arm > 0);
  assert.ok(offer.propensity > 0 && offer.propensity <= 1);
  assert.deepEqual(offer.arms[3].masked, ['no-budget'], 'a face of 300 is more than is left');

  const preview = await ask({ campaign: 'spring' });
  assert.ok(Buffer.from(preview.bytes).equals(corpusCase('preview of "spring", user 0').decision));
  assert.equal(preview.offer.preview, true);
  assert.equal(preview.offer.propensity, null);
  assert.equal(preview.offer.campaign, offer.campaign);
  assert.equal((await ask({ campaign: 'autumn' })).offer.reason, 'no-campaign');
  assert.equal((await ask({ campaign: 'spring', budgets: { shop: { price: null } } })).offer.reason, 'no-budget');
  const counts = [{ campaign: 'forest', cap: 0, count: 2 }];
  assert.equal((await ask({ campaign: 'forest', counts })).offer.reason, 'capped');
  assert.equal((await own.rank(['item 0'])).offer, null, 'nobody asked');
  await own.close();
});

test('a question for an offer that no engine can take is a fallback that says why', async () => {
  const asked = (offer) => engine.rank(CANDIDATES, {}, { offer });
  assert.equal((await asked({})).offer.reason, 'no-campaign');
  const hostile = [
    [{ draw: 'x' }, 'offer.draw'],
    [{ draw: new Uint8Array(15) }, 'offer.draw'],
    [{ budgets: { shop: null } }, 'offer.budgets.shop.price'],
    [{ budgets: { shop: { price: -1 } } }, 'offer.budgets.shop.price'],
    [{ budgets: { shop: { price: NaN } } }, 'offer.budgets.shop.price'],
    [{ budgets: { shop: { price: 1, left: 0.5 } } }, 'offer.budgets.shop.left'],
    [{ budgets: { shop: { price: 1, left: -1 } } }, 'offer.budgets.shop.left'],
    [{ counts: [{ campaign: 'spring', cap: -1, count: 0 }] }, 'offer.counts[0].cap'],
    [{ counts: [{ campaign: 'spring', cap: 0, count: 2 ** 32 }] }, 'offer.counts[0].count'],
  ];
  const told = [];
  const off = engine.on('fallback', ({ error }) => told.push(error?.message ?? ''));
  for (const [offer] of hostile) {
    const decision = await asked(offer);
    assert.equal(decision.reason, 'invalid-value');
    assert.deepEqual([decision.offer.status, decision.offer.reason], ['none', 'fallback']);
  }
  const many = Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`budget-${at}`, { price: 1 }]));
  assert.equal((await asked({ budgets: many })).error, 'too-large');
  await new Promise((resolve) => setTimeout(resolve));
  hostile.forEach(([, place], at) => assert.ok(told[at].includes(place), told[at]));
  off();
});

test('what the user does changes the next decision', async () => {
  const own = await load({ bundle });
  await own.observe({ event: 'view', item: 'a' });
  assert.deepEqual(ids(await own.rank(CANDIDATES))[0], 'a');
  const state = await own.state();
  const other = await load({ bundle, state });
  assert.deepEqual(ids(await other.rank(CANDIDATES))[0], 'a', 'a state travels');
  await own.forget();
  assert.deepEqual(ids(await own.rank(CANDIDATES))[0], 'b');
  await Promise.all([own.close(), other.close()]);
});

test('what cannot be ranked keeps its order and says why', async () => {
  const told = [];
  const off = engine.on('fallback', ({ reason }) => told.push(reason));
  const hostile = [
    [[{ id: 'x', price: 'dear' }, { id: 'y' }], 'invalid-value'],
    [[{ price: 1 }], 'invalid-value'],
    [[null], 'invalid-value'],
    [[], 'no-candidates'],
    [Array.from({ length: 5_000 }, (_, at) => `i${at}`), 'too-many-candidates'],
  ];
  for (const [candidates, reason] of hostile) {
    const decision = await engine.rank(candidates);
    assert.equal(decision.status, 'fallback');
    assert.equal(decision.reason, reason);
    assert.deepEqual(decision.items.map(({ index }) => index), candidates.slice(0, 500).map((_, at) => at));
  }
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(told, hostile.map(([, reason]) => reason));
  off();
  for (const odd of [NaN, Infinity, -0, null, undefined]) {
    assert.equal((await engine.rank([{ id: 'x', price: odd }, 'y'])).status, 'personalized');
  }
  const polluted = JSON.parse('[{"id": "x", "__proto__": {"price": 9}, "constructor": 1}, {"id": "\\ud800"}]');
  assert.equal((await engine.rank(polluted)).status, 'personalized');
  assert.equal((await engine.rank([{ id: 'x'.repeat(1 << 20) }])).status, 'personalized');
});

test('mistakes of a program are errors with a code', async () => {
  const codeOf = (promise) => promise.then(() => null, (error) => (assert.ok(error instanceof SelvedgeError), error.code));
  assert.equal(await codeOf(load({})), 'invalid-argument');
  assert.equal(await codeOf(load({ bundle: new Uint8Array(100) })), 'bad-magic');
  const newer = Uint8Array.from(bundle);
  newer[8] = 9;
  assert.match(await codeOf(load({ bundle: newer })), /unsupported-version|checksum-mismatch/);
  assert.equal(await codeOf(load({ bundle: 'http://127.0.0.1:9/bundle' })), 'unavailable');
  assert.equal(await codeOf(load({ bundle, module: new Uint8Array(8) })), 'module-refused');
  assert.equal(await codeOf(engine.rank('a')), 'invalid-argument');
  assert.equal(await codeOf(engine.rank(['a'], {}, { requestId: 'x' })), 'invalid-argument');
  const controller = new AbortController();
  controller.abort();
  await assert.rejects(engine.rank(['a'], {}, { signal: controller.signal }), { name: 'AbortError' });
  await assert.rejects(load({ bundle, signal: controller.signal }), { name: 'AbortError' });
});

test('the codes are those of the format pages', () => {
  const page = readFileSync(new URL('../../../docs/format/README.md', import.meta.url), 'utf8');
  ENGINE_CODES.forEach((name, at) => assert.match(page, new RegExp(`\\| ${at + 1} \\| \`${name}\``)));
});

test('it loads by require, and without SIMD', async () => {
  const { load: required } = createRequire(import.meta.url)('selvedge');
  const plain = readFileSync(new URL('../dist/selvedge-plain.wasm', import.meta.url));
  const options = { requestId: '1'.repeat(32), time: 0, utcOffsetMin: 0 };
  const bytes = [];
  for (const other of [await required({ bundle }), await load({ bundle, module: plain })]) {
    bytes.push((await other.rank(CANDIDATES, {}, options)).bytes);
    await other.close();
  }
  assert.deepEqual(bytes[0], bytes[1]);
});
