// What a reranked feed is, and what passes as it is: the Worker in workerd, before an origin that answers.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { DEEP, FEED, FEED_CONFIG, REORDERED, fallback, idsOf, json, makeBundle, says, startOrigin, startWorker, statusOf, withWorker } from './shop.mjs';

const NESTED = JSON.stringify([
  { sku: { code: 'a', variants: [1] }, offer: { price: { amount: 1 } } },
  { sku: { code: 'b' }, offer: { price: { amount: 9 } } },
  { sku: { code: 'c' }, offer: null },
]);
/** Members that occur twice: of the document, of an item, and one that no one reads. */
const DUPLICATES = '{"page":1,"page":2,"data":{"next":1,"next":2,"items":[{"id":"a","price":9,"price":1},{"id":"x","id":"b","price":2}]}}';
const COOKIES = { ...json, 'set-cookie': ['a=1', 'b=2; Path=/'], expires: 'Thu, 01 Jan 2099 00:00:00 GMT', 'cdn-cache-control': 'max-age=600', 'surrogate-control': 'max-age=600' };

let origin;
let worker;

before(async () => {
  origin = await startOrigin({
    '/nested': says(NESTED),
    '/feed/duplicates': says(DUPLICATES),
    '/feed/cookies': says(FEED, COOKIES),
    '/users/7/feed': says(FEED),
  });
  worker = await startWorker(origin);
  await worker.publish(makeBundle());
});

after(async () => {
  await worker?.close();
  await origin?.close();
});

test('only the array of a feed changes its order', async () => {
  const response = await worker.fetch('/feed/good');
  assert.equal(statusOf(response), 'personalized');
  assert.equal(await response.text(), REORDERED);
  assert.equal(response.headers.get('cache-control'), 'private, no-store');
  assert.equal(response.headers.get('x-shop'), 'kept');
  for (const name of ['etag', 'content-md5', 'digest', 'content-encoding']) assert.equal(response.headers.get(name), null, name);
  const raw = await worker.raw('/feed/good');
  assert.equal(Number(raw.headers['content-length']), Buffer.byteLength(REORDERED));
  assert.equal(raw.body, REORDERED);
});

test('a compressed feed is read and reranked', async () => {
  const response = await worker.fetch('/feed/gzip');
  assert.equal(statusOf(response), 'personalized');
  assert.equal(await response.text(), REORDERED);
});

test('no cache is told to keep one shopper\'s order for the next, and cookies stay apart', async () => {
  const response = await worker.fetch('/feed/cookies');
  assert.equal(statusOf(response), 'personalized');
  for (const name of ['expires', 'cdn-cache-control', 'surrogate-control']) assert.equal(response.headers.get(name), null, name);
  assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2; Path=/']);
});

test('members that occur twice are left as they are; an item has the last of them, as in a browser', async () => {
  const response = await worker.fetch('/feed/duplicates');
  assert.equal(statusOf(response), 'personalized');
  const [, a, b] = DUPLICATES.match(/\[(\{.*\}),(\{.*\})\]/);
  assert.equal(await response.text(), DUPLICATES.replace(`${a},${b}`, `${b},${a}`));
});

test('id and fields may be members of members, and Cache-Control is the shop\'s to say', async () => {
  const nested = { path: '/nested', id: 'sku.code', fields: { price: 'offer.price.amount' } };
  await withWorker(origin, { feeds: [nested], cache_control: 'private, max-age=5' }, {}, async (other) => {
    await other.publish(makeBundle());
    const response = await other.fetch('/nested');
    assert.equal(statusOf(response), 'personalized');
    assert.equal(response.headers.get('cache-control'), 'private, max-age=5');
    assert.deepEqual((await response.json()).map(({ sku }) => sku.code), ['b', 'a', 'c']);
  });
});

test('a feed may have the user in its path', async () => {
  await withWorker(origin, { feeds: [{ ...FEED_CONFIG, path: '/users/{id}/feed' }] }, {}, async (other) => {
    await other.publish(makeBundle());
    assert.equal(await (await other.fetch('/users/7/feed')).text(), REORDERED);
    assert.equal(statusOf(await other.fetch('/users/7/8/feed')), null);
  });
});

test('a request that comes again gets the same order, whatever is drawn', async () => {
  const exploring = makeBundle(1, { slate: '[slate.explore]\ntemperature = 100\nseed = 1\n' });
  await withWorker(origin, {}, {}, async (other) => {
    await other.publish(exploring);
    const asked = async (id) => {
      const response = await other.fetch('/feed/hundred', { headers: { 'Selvedge-Request-Id': id } });
      assert.equal(response.headers.get('Selvedge-Request-Id'), id);
      return (await idsOf(response)).join();
    };
    const id = (at) => String(at).padStart(32, '0');
    const first = await Promise.all(Array.from({ length: 8 }, (_, at) => asked(id(at))));
    const again = await Promise.all(Array.from({ length: 8 }, (_, at) => asked(id(at))));
    assert.deepEqual(again, first);
    assert.ok(new Set(first).size > 1, 'it draws');
  });
});

test('what is no feed passes through, and is sent once', async () => {
  const other = await worker.fetch('/other');
  assert.equal(await other.text(), 'other GET');
  assert.equal(other.headers.get('etag'), '"o"');
  origin.requests.length = 0;
  assert.equal(await (await worker.fetch('/other', { method: 'POST', body: 'x' })).text(), 'other POST');
  await worker.fetch('/feed/hangs-up', { method: 'POST', body: 'x' });
  assert.deepEqual(origin.requests, ['POST /other', 'POST /feed/hangs-up']);
});

for (const [what, path, init, status, body] of [
  ['HEAD', '/feed/good', { method: 'HEAD' }, 200, ''],
  ['a POST to a feed', '/feed/good', { method: 'POST', body: '{}' }, 200, FEED],
  ['a part', '/feed/part', {}, 206, '{"da'],
  ['what has not changed', '/feed/unchanged', { headers: { 'if-none-match': '"x"' } }, 304, ''],
  ['what is not there', '/feed/missing', {}, 404, '{"data":{"items":[]}}'],
  ['an error of the shop', '/feed/failing', {}, 503, '{"error":"the shop is down"}'],
]) {
  test(`${what} passes as it is: ${status}`, async () => {
    const response = await worker.fetch(path, init);
    assert.deepEqual([response.status, await response.text(), statusOf(response)], [status, body, null]);
  });
}

test('how deep an item nests is nobody\'s business', async () => {
  const response = await worker.fetch('/feed/deep');
  assert.equal(statusOf(response), 'personalized');
  assert.equal(await response.text(), DEEP);
});

test('an empty feed stays empty', async () => {
  const response = await worker.fetch('/feed/empty');
  assert.equal(statusOf(response), fallback('no-candidates'));
  assert.deepEqual(await idsOf(response), []);
});
