// Bundles on their way into an isolate: from R2 and KV, swapped, refused, missing.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createHash } from 'node:crypto';

import { keyOf, publicKey } from '../../../www/sdk/test/head.mjs';

import { FEED, REORDERED, bundleId, fallback, idsOf, makeBundle, sleep, startOrigin, startWorker, statusOf, token, withWorker } from './shop.mjs';

const [bundle, newer] = [makeBundle(1), makeBundle(-1)];
/** As a newer engine writes it. */
const fromTheFuture = Buffer.from(makeBundle(2));
fromTheFuture.writeUInt16LE(9, 8);

const ROLLOUT_SALT = 7n;
/** Whether a user is among the first half: docs/format/channel-head.md. */
const isDrawn = (user) => {
  const salt = Buffer.alloc(8);
  salt.writeBigUInt64LE(ROLLOUT_SALT);
  return createHash('sha256').update(salt).update(user).digest().readUInt32LE(0) % 10_000 < 5000;
};
const USERS = Array.from({ length: 20 }, (_, at) => `user${at}`);
const [IN_ROLLOUT, OUT_OF_ROLLOUT] = [USERS.find(isDrawn), USERS.find((user) => !isDrawn(user))];

let origin;

before(async () => {
  origin = await startOrigin();
});

after(() => origin?.close());

for (const store of ['r2', 'kv']) {
  test(`a bundle from ${store} is kept, and swapped for a newer one between two requests`, async () => {
    await withWorker(origin, {}, { store }, async (worker) => {
      await worker.publish(bundle);
      assert.deepEqual(await idsOf(await worker.fetch('/feed/good')), ['b', 7, 'a']);
      await worker.publish(newer);
      assert.deepEqual(await idsOf(await worker.fetch('/feed/good')), ['b', 7, 'a'], 'younger than 5 s: not looked after');
      await sleep(5_100);
      assert.deepEqual(await idsOf(await worker.fetch('/feed/good')), ['b', 7, 'a'], 'the old one answers while the new one is fetched');
      const { counters, refusal } = await worker.statusWhen(({ bundle_id: id }) => id === bundleId(newer));
      assert.deepEqual([counters.bundles_loaded, counters.bundles_refused, refusal], [2, 0, null]);
      assert.deepEqual(await idsOf(await worker.fetch('/feed/good')), ['a', 7, 'b']);
    });
  });
}

test('a bundle that is refused later leaves the old one in place, and is counted until the next is good', async () => {
  const bent = Buffer.from(newer);
  bent[bent.length - 1] ^= 1;
  await withWorker(origin, {}, {}, async (worker) => {
    await worker.publish(bundle);
    await worker.fetch('/feed/good');
    for (const [bad, named, words] of [
      [fromTheFuture, bundleId(fromTheFuture), /version/],
      [bent, bundleId(newer), /checksum/],
      [newer.subarray(0, 100), bundleId(newer), /bytes/],
      [bundle, bundleId(newer), new RegExp(`the content has the id ${bundleId(bundle)}`)],
    ]) {
      await worker.publish(bad, named);
      await sleep(5_100);
      const { refusal, bundle_id: id, counters } = await worker.statusWhen(({ refusal }) => refusal !== null && words.test(refusal));
      assert.equal(id, bundleId(bundle), refusal);
      assert.ok(counters.bundles_refused > 0);
      assert.equal(await (await worker.fetch('/feed/good')).text(), REORDERED, 'the old one decides');
    }
    await worker.publish(newer);
    await sleep(5_100);
    const { refusal } = await worker.statusWhen(({ bundle_id: id }) => id === bundleId(newer));
    assert.equal(refusal, null);
  });
});

test('without a bundle, or with one that is refused, the order is the origin\'s', async () => {
  await withWorker(origin, {}, {}, async (worker) => {
    const missing = await worker.fetch('/feed/good');
    assert.deepEqual([statusOf(missing), await missing.text()], [fallback('bundle-missing'), FEED]);
    assert.match((await worker.status()).refusal, /BUNDLES has no `channels\/shop\/head`/);
    const ranked = await (await worker.post('/v1/rank', { time: 0, candidates: [{ id: 'x', price: 1 }, { id: 'y' }] })).json();
    assert.deepEqual([ranked.status, ranked.reason, ranked.slots.map(({ id }) => id)], ['fallback', 'not-loaded', ['x', 'y']]);
    await worker.publish(bundle);
    await sleep(5_100);
    await worker.fetch('/feed/good');
    await worker.statusWhen(({ bundle_id: id }) => id !== null);
    assert.equal(await (await worker.fetch('/feed/good')).text(), REORDERED, 'it is used when it comes');
  });
  await withWorker(origin, {}, {}, async (worker) => {
    await worker.publish(fromTheFuture);
    const refused = await worker.fetch('/feed/good');
    assert.deepEqual([statusOf(refused), await refused.text()], [fallback('bundle-refused'), FEED]);
    assert.match((await worker.status()).refusal, /version/);
  });
});

test('a store that does not answer keeps the first shopper for as long as was said, and no other', async () => {
  const hanging = `
    import worker, { User } from './index.js';
    export { User };
    class R2Bucket { get() { return new Promise(() => undefined); } }
    export default { fetch: (request, env, context) => worker.fetch(request, { ...env, BUNDLES: new R2Bucket() }, context) };`;
  await withWorker(origin, { limits: { bundle_ms: 300, origin_ms: 2_000 } }, { entry: hanging }, async (worker) => {
    const took = async () => {
      const began = Date.now();
      const response = await worker.fetch('/feed/good');
      assert.deepEqual([statusOf(response), await response.text()], [fallback('bundle-missing'), FEED]);
      return Date.now() - began;
    };
    assert.ok((await took()) >= 290);
    assert.ok((await took()) < 250, 'it is known that there is none');
    assert.match((await worker.status()).refusal, /did not answer within 300 ms/);
  });
});

test('the bundle in use is published under its id, for good', async () => {
  await withWorker(origin, {}, {}, async (worker) => {
    await worker.publish(bundle);
    await worker.fetch('/feed/good');
    const response = await worker.fetch(`/v1/bundles/${bundleId(bundle)}`);
    assert.ok(Buffer.from(await response.arrayBuffer()).equals(bundle));
    assert.match(response.headers.get('cache-control'), /immutable/);
    assert.equal((await worker.fetch(`/v1/bundles/${'0'.repeat(64)}`)).status, 404);
  });
});

test('only a head that is signed, valid and newer is followed', async () => {
  const blob = (bytes) => ({ id: bundleId(bytes), size: bytes.length });
  const next = keyOf(2);
  const channel = { name: 'shop', keys: [publicKey(keyOf(1)), publicKey(next)] };
  await withWorker(origin, { channel }, {}, async (worker) => {
    await worker.publish(newer);
    await worker.publish(bundle);
    await worker.fetch('/feed/good');
    assert.deepEqual((await worker.status()).channel, { state: 'following', sequence: 2 });
    for (const [reason, more] of [
      ['unknown-key', { key: keyOf(3) }],
      ['expired', { notAfter: Date.now() - 1000 }],
      ['sequence-lower', { sequence: 1 }],
    ]) {
      await worker.publishHead({ bundle: blob(newer), ...more });
      await sleep(5_100);
      const { refusal, channel, bundle_id: id } = await worker.statusWhen(({ refusal }) => refusal?.endsWith(reason));
      assert.deepEqual([channel.sequence, id], [2, bundleId(bundle)], refusal);
      assert.equal(await (await worker.fetch('/feed/good')).text(), REORDERED, 'the last good one decides');
    }
    await worker.publishHead({ bundle: blob(newer), key: next });
    await sleep(5_100);
    const { counters } = await worker.statusWhen(({ bundle_id: id }) => id === bundleId(newer));
    assert.ok(counters.heads_refused >= 3, 'and the key that comes next is believed');
  });
});

test('a kill is obeyed, whatever becomes of the bundle, until a head revives', async () => {
  await withWorker(origin, {}, {}, async (worker) => {
    await worker.publish(bundle);
    assert.equal(await (await worker.fetch('/feed/good')).text(), REORDERED);
    await worker.publishHead({ bundle: { id: '7'.repeat(64), size: 1000 }, killed: true });
    await sleep(5_100);
    await worker.statusWhen(({ channel }) => channel.state === 'killed');
    const killed = await worker.fetch('/feed/good');
    assert.deepEqual([statusOf(killed), await killed.text()], [fallback('killed'), FEED]);
    const ranked = await (await worker.post('/v1/rank', { time: 0, candidates: [{ id: 'x', price: 1 }, { id: 'y' }] })).json();
    assert.deepEqual([ranked.status, ranked.slots.map(({ id }) => id)], ['fallback', ['x', 'y']]);
    await worker.publish(bundle);
    await sleep(5_100);
    await worker.statusWhen(({ channel }) => channel.state === 'following');
    assert.equal(await (await worker.fetch('/feed/good')).text(), REORDERED);
  });
});

test('a rollout is for its users, and a bundle that falls back too often is given up', async () => {
  const blob = (bytes) => ({ id: bundleId(bytes), size: bytes.length });
  await withWorker(origin, {}, {}, async (worker) => {
    await worker.publish(newer);
    await worker.publish(bundle);
    await worker.publishHead({ bundle: blob(bundle), rollout: { bundle: blob(newer), share: 5000, salt: ROLLOUT_SALT } });
    const order = async (user) => (await idsOf(await worker.fetch('/feed/good', { headers: { cookie: `uid=${token(user)}` } }))).join();
    assert.deepEqual([await order(IN_ROLLOUT), await order(OUT_OF_ROLLOUT)], ['a,7,b', 'b,7,a']);
    assert.equal((await worker.fetch(`/v1/bundles/${bundleId(newer)}`)).status, 200, 'both may be fetched');
    await worker.publishHead({ bundle: blob(newer), guard: { maxFallbackShare: 1000, minDecisions: 3 } });
    await sleep(5_100);
    await worker.statusWhen(({ bundle_id: id }) => id === bundleId(newer));
    for (let at = 0; at < 3; at++) await worker.post('/v1/rank', { time: 0, candidates: [] });
    const { channel, bundle_id: id } = await worker.status();
    assert.deepEqual([channel.state, id], ['rolled-back', bundleId(bundle)]);
    // The publisher goes back too: the bundle that decides already.
    await worker.publishHead({ bundle: blob(bundle) });
    await sleep(5_100);
    await worker.statusWhen(({ channel }) => channel.state === 'following');
  });
});

test('without a channel nothing is believed', async () => {
  await withWorker(origin, { channel: null }, {}, async (worker) => {
    await worker.publish(bundle);
    assert.equal(statusOf(await worker.fetch('/feed/good')), fallback('bundle-missing'));
    assert.match((await worker.status()).refusal, /SELVEDGE has no `channel`/);
  });
});
