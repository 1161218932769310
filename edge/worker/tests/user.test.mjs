// Whose state a request opens: that of a user whose id is signed, and nobody else's.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { FEED_CONFIG, bundleId, idsOf, json, jwt, makeBundle, says, startOrigin, startWorker, statusOf, token, withWorker, FEED } from './shop.mjs';

let origin;
let worker;
const bundle = makeBundle();
const cookie = (value) => ({ cookie: `uid=${value}` });

before(async () => {
  origin = await startOrigin({ '/users/u1/feed': says(FEED) });
  worker = await startWorker(origin);
  await worker.publish(bundle);
});

after(async () => {
  await worker?.close();
  await origin?.close();
});

const view = (item, more = {}) => ({ events: [{ event: 'view', item, ...more }] });
const first = async (response) => (await idsOf(response))[0];
/** The state that a page carries; null if it is that of an unknown user. */
async function inlined(headers) {
  const text = await (await worker.fetch('/page', { headers })).text();
  return JSON.parse(text.match(/id="selvedge-state">(.*?)<\/script>/)[1]).state;
}

const FORGED = {
  'a bare id': 'u1',
  'an empty signature': 'u1.',
  'a short signature': 'u1.00',
  'the signature of another': token('u2').replace('u2', 'u1'),
  'a token that is too long': `${'u1'.padEnd(5_000, 'x')}.${token('u1').split('.')[1]}`,
  nothing: '',
};

test('a user\'s state is opened by a signed id and by nothing else', async () => {
  assert.deepEqual(await (await worker.post('/v1/events', view('a', { id: 'e1' }), cookie(token('u1')))).json(), { applied: 1 });
  assert.equal(await first(await worker.fetch('/feed/good', { headers: cookie(token('u1')) })), 'a', 'the user viewed it');
  assert.notEqual(await inlined(cookie(token('u1'))), null);
  for (const [what, forged] of Object.entries({ ...FORGED, 'another user': token('u2') })) {
    assert.equal(await first(await worker.fetch('/feed/good', { headers: cookie(forged) })), 'b', what);
    assert.equal(await inlined(cookie(forged)), null, what);
  }
  for (const [what, forged] of Object.entries(FORGED)) {
    const refused = await worker.post('/v1/events', view('a'), cookie(forged));
    assert.deepEqual([refused.status, (await refused.json()).error.code], [401, 'untrusted-user'], what);
  }
});

test('whoever calls the API opens the state of a signed id, and names nobody else', async () => {
  const candidates = [{ id: 'a', price: 1 }, { id: 'b', price: 2 }];
  const ranked = async (headers, more = {}) => {
    const response = await worker.post('/v1/rank', { time: Date.now(), candidates, ...more }, headers);
    return [response.status, (await response.json()).slots?.[0].id];
  };
  await worker.post('/v1/events', view('a', { id: 'e1' }), cookie(token('u1')));
  assert.deepEqual(await ranked(cookie(token('u1'))), [200, 'a']);
  assert.deepEqual(await ranked(cookie('u1')), [200, 'b']);
  assert.deepEqual(await ranked({}, { user: { id: 'u1' } }), [400, undefined], 'a request names no user');
  assert.deepEqual(await ranked({}, { user: { fields: { id: 'u1', uid: 'u1' } } }), [200, 'b'], 'and a field is none');
  const own = await inlined(cookie(token('u1')));
  assert.deepEqual(await ranked({}, { state: own }), [200, 'a'], 'a state that the caller has is the caller\'s to send');
  assert.deepEqual(await ranked(cookie(token('u1')), { state: '' }), [200, 'b'], 'and it is the one that counts');
});

test('a page carries the state of its user and where the bundle is', async () => {
  const response = await worker.fetch('/page', { headers: cookie(token('u1')) });
  const text = await response.text();
  const carried = JSON.parse(text.match(/<script type="application\/json" id="selvedge-state">(.*?)<\/script><\/head>/)[1]);
  assert.equal(carried.bundle, `/v1/bundles/${bundleId(bundle)}`);
  assert.equal(Buffer.from(carried.state, 'base64').subarray(0, 4).toString(), 'SVUS');
  assert.equal(response.headers.get('cache-control'), 'private, no-store');
  assert.equal(statusOf(response), 'inlined');
  assert.equal((await (await worker.fetch('/page', { method: 'HEAD' })).text()), '');
});

test('a JSON Web Token in `Authorization` is the user\'s id, while it is valid', async () => {
  const user = { from: { header: 'authorization' }, trust: { jwt: 'USER_SECRET' } };
  await withWorker(origin, { user }, {}, async (other) => {
    await other.publish(bundle);
    const bearer = (value) => ({ authorization: `Bearer ${value}` });
    assert.equal((await other.post('/v1/events', view('a'), bearer(jwt('u1')))).status, 200);
    assert.equal(await first(await other.fetch('/feed/good', { headers: bearer(jwt('u1')) })), 'a');
    for (const bad of [jwt('u1', -1), jwt('u2'), jwt('u1').replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')), token('u1')]) {
      assert.equal(await first(await other.fetch('/feed/good', { headers: bearer(bad) })), 'b', bad);
    }
    assert.equal(await first(await other.fetch('/feed/good', { headers: { authorization: `Basic ${jwt('u1')}` } })), 'b');
  });
});

test('an id in the path is signed like any other, and the API has it elsewhere', async () => {
  const user = { from: [{ path: '/users/{id}/feed' }, { header: 'x-user' }], trust: { hmac: 'USER_SECRET' } };
  const signed = `/users/${token('u@1').replace('@', '%40')}/feed`;
  const other = await startOrigin({ [signed]: says(FEED), '/users/u@1/feed': says(FEED), '/users/u%401/feed': says(FEED) });
  try {
    await withWorker(other, { user, feeds: [{ ...FEED_CONFIG, path: '/users/{id}/feed' }] }, {}, async (byPath) => {
      await byPath.publish(bundle);
      assert.equal((await byPath.post('/v1/events', view('a'), { 'x-user': token('u@1') })).status, 200);
      assert.equal(await first(await byPath.fetch(signed)), 'a');
      assert.equal(await first(await byPath.fetch('/users/u%401/feed')), 'b', 'anyone can write a path');
    });
  } finally {
    await other.close();
  }
});

test('an event that comes again is counted once, and one without an id each time', async () => {
  const post = (event) => worker.post('/v1/events', event, cookie(token('u3')));
  const applied = async (event) => (await (await post(event)).json()).applied;
  const twice = { events: [{ id: 'e1', event: 'view', item: 'a' }, { id: 'e1', event: 'view', item: 'a' }] };
  assert.deepEqual([await applied(twice), await applied(twice), await applied(view('a')), await applied(view('a'))], [1, 0, 1, 1]);
});

test('events that arrive together are all counted', async () => {
  // A new Worker: its first events wait for the bundle, each in the middle of its work.
  await withWorker(origin, {}, {}, async (other) => {
    await other.publish(bundle);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, at) => other.post('/v1/events', view('a', { id: `e${at}` }), cookie(token('u4')))),
    );
    assert.deepEqual(answers.map(({ status }) => status), answers.map(() => 200));
    const ranked = await other.post('/v1/rank', { time: Date.now(), candidates: [{ id: 'a' }] }, cookie(token('u4')));
    const { slots } = await ranked.json();
    assert.equal(Math.round(slots[0].score / 1_000), 20, 'the score is a thousand for each view');
  });
});

test('without the secret every user is unknown, and the status says so', async () => {
  await withWorker(origin, {}, { secret: '' }, async (other) => {
    await other.publish(bundle);
    assert.equal(statusOf(await other.fetch('/feed/good', { headers: cookie(token('u1')) })), 'personalized');
    assert.match((await other.status()).problems[0], /USER_SECRET is missing, so every user is unknown/);
  });
  assert.deepEqual((await worker.status()).problems, []);
});
