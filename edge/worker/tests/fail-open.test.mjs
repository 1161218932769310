// Whatever goes wrong, the shopper gets what the origin said: a test for each way to go wrong.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { FEED, REORDERED, fallback, makeBundle, says, sleep, startOrigin, startWorker, statusOf, token, withWorker } from './shop.mjs';

let origin;
let worker;
const bundle = makeBundle();

before(async () => {
  origin = await startOrigin();
  worker = await startWorker(origin);
  await worker.publish(bundle);
});

after(async () => {
  await worker?.close();
  await origin?.close();
});

for (const [path, reason] of [
  ['malformed', 'malformed-json'],
  ['malformed-gzip', 'malformed-json'],
  ['twice', 'malformed-json'],
  ['elsewhere', 'malformed-json'],
  ['latin', 'invalid-utf-8'],
  ['many', 'too-many-items'],
  ['nameless', 'item-without-id'],
  ['html', 'not-json'],
  ['slow', 'origin-slow'],
  ['late', 'origin-slow'],
  ['huge', 'body-too-large'],
]) {
  test(`a feed that is ${path} goes out as it is: ${reason}`, async () => {
    const [passed, original] = await Promise.all([worker.fetch(`/feed/${path}`), fetch(`${origin.address}/feed/${path}`)]);
    assert.equal(passed.status, 200);
    assert.equal(statusOf(passed), fallback(reason));
    const [mine, theirs] = await Promise.all([passed.arrayBuffer(), original.arrayBuffer()]);
    assert.ok(Buffer.from(mine).equals(Buffer.from(theirs)), 'every byte as it was');
  });
}

test('an origin that breaks off breaks off, and nothing else does', async () => {
  // The shopper has as much as the origin sent.
  const sent = await worker.raw('/feed/reset').then(({ body }) => body, () => '');
  assert.ok(FEED.startsWith(sent) && sent !== FEED, sent);
  assert.equal(await (await worker.fetch('/feed/good')).text(), REORDERED);
});

test('an origin that is down is said to be down, and was asked once', async () => {
  origin.requests.length = 0;
  for (const path of ['/feed/hangs-up', '/nothing/hangs-up']) {
    const response = await withDown(path);
    assert.deepEqual([response.status, statusOf(response)], [502, fallback('origin-unreachable')], path);
  }
  const response = await worker.fetch('/feed/hangs-up');
  assert.deepEqual([response.status, statusOf(response)], [502, fallback('origin-unreachable')]);
  assert.deepEqual(origin.requests, ['GET /feed/hangs-up']);
});

/** Asks a Worker whose origin listens no more. */
async function withDown(path) {
  const gone = await startOrigin();
  await gone.close();
  return withWorker(gone, {}, {}, async (other) => {
    await other.publish(bundle);
    return other.fetch(path);
  });
}

test('a decision that would cost too much is not made', async () => {
  const features = Array.from({ length: 90 }, (_, at) => `[[feature]]\nname = "match_${at}"\nkind = "token_overlap"\nfield = "item.words"\nwith = "context.query"\n`).join('');
  const dear = makeBundle(1, { items: 'words = "tokens"\n', features, weights: Object.fromEntries(Array.from({ length: 90 }, (_, at) => [`match_${at}`, 1])) });
  const other = await startOrigin({
    '/feed/many': (request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ data: { items: Array.from({ length: 2_000 }, (_, at) => ({ id: `i${at}` })) } })),
  });
  try {
    await withWorker(other, {}, {}, async (dearly) => {
      await dearly.publish(dear);
      const response = await dearly.fetch('/feed/many');
      assert.equal(statusOf(response), fallback('cost-limit'));
      assert.equal((await response.json()).data.items[0].id, 'i0');
      assert.equal(statusOf(await dearly.fetch('/feed/good')), 'personalized', 'a shorter feed is within the limit');
    });
  } finally {
    await other.close();
  }
});

/** An entry whose users' states answer as `fetch` says. */
const withState = (fetch) => `
  import worker, { User as Real } from './index.js';
  export default worker;
  export class User extends Real { async fetch(request) { ${fetch} } }`;

for (const [what, fetch, reason] of [
  ['not there in time', 'await scheduler.wait(400); return super.fetch(request);', 'state-slow'],
  ['an error', 'throw new Error("the object is broken");', 'state-missing'],
  ['a 500', 'return new Response("broken", { status: 500 });', 'state-missing'],
  ['noise', 'return new Response("this is no state");', 'invalid-state'],
]) {
  test(`a state that is ${what} costs nobody anything: ${reason}`, async () => {
    await withWorker(origin, {}, { entry: withState(fetch) }, async (other) => {
      await other.publish(bundle);
      const known = { headers: { cookie: `uid=${token('u1')}` } };
      const response = await other.fetch('/feed/good', known);
      assert.deepEqual([statusOf(response), await response.text()], [fallback(reason), FEED]);
      assert.equal(await (await other.fetch('/feed/good')).text(), REORDERED, 'who is unknown needs no state');
      assert.equal((await other.fetch('/page', known)).status, 200);
      const ranked = await other.post('/v1/rank', { time: 0, candidates: [{ id: 'x' }] }, known.headers);
      assert.equal(ranked.status, 200);
      if (reason !== 'invalid-state') assert.equal(statusOf(ranked), `without-state; reason="${reason}"`);
    });
  });
}

/** An entry in which `x-trap: n` makes an import of the module throw what a trap throws, n times, from within the module. */
const TRAPPING = `
  import worker, { User } from './index.js';
  export { User };
  const real = crypto.getRandomValues.bind(crypto);
  let armed = 0;
  crypto.getRandomValues = (bytes) => {
    if (armed-- > 0) throw new WebAssembly.RuntimeError('unreachable');
    return real(bytes);
  };
  export default {
    fetch(request, env, context) {
      armed = Number(request.headers.get('x-trap') ?? 0);
      return worker.fetch(request, env, context);
    },
  };`;

test('a trap costs the shopper nothing, and the next request has a new instance', async () => {
  await withWorker(origin, {}, { entry: TRAPPING }, async (other) => {
    await other.publish(bundle);
    assert.equal(await (await other.fetch('/feed/good')).text(), REORDERED);
    assert.equal((await other.status()).counters.decisions, 1);
    const trapped = await other.fetch('/feed/good', { headers: { 'x-trap': '1' } });
    assert.deepEqual([trapped.status, statusOf(trapped), await trapped.text()], [200, fallback('trap'), FEED]);
    assert.equal(await (await other.fetch('/feed/good')).text(), REORDERED, 'it is there again');
    assert.equal((await other.status()).counters.decisions, 1, 'and it is another one');
    const rank = (times) => other.post('/v1/rank', { time: 0, candidates: [{ id: 'x' }] }, { 'x-trap': times });
    assert.equal((await (await rank('1')).json()).status, 'personalized', 'what can be asked again is');
    const always = await rank('9');
    assert.deepEqual([always.status, always.headers.get('retry-after'), (await always.json()).error.code], [503, '1', 'trap']);
    const headers = { 'x-trap': '1', cookie: `uid=${token('u1')}` };
    const events = await other.post('/v1/events', { events: [{ event: 'view', item: 'a' }] }, headers);
    assert.equal((await events.json()).error.code, 'trap', 'events may have been counted');
  });
});

test('those who wait in an instance that traps get the origin\'s answer as well, and their orders are sent once', async () => {
  await withWorker(origin, { limits: { origin_ms: 3_000 } }, { entry: TRAPPING }, async (other) => {
    await other.publish(bundle);
    await other.fetch('/feed/good');
    origin.requests.length = 0;
    const slow = other.fetch('/feed/slow');
    const post = other.fetch('/feed/late', { method: 'POST', body: 'an order' });
    await sleep(100);
    await other.fetch('/feed/good', { headers: { 'x-trap': '1' } });
    assert.deepEqual([statusOf(await slow), await (await slow).text()], [fallback('trap'), FEED]);
    assert.deepEqual([(await post).status, statusOf(await post)], [200, null]);
    assert.equal(origin.requests.filter((asked) => asked.startsWith('POST')).length, 1);
  });
});

test('a request that stays in the module too long is answered without it, and the others stay', async () => {
  const impatient = (source) => {
    const bent = source.replaceAll(/addEventListener\("(error|unhandledrejection)"/g, 'addEventListener("deaf"').replace(/=3e4\b/, '=1e3');
    assert.ok(bent.includes('=1e3') && bent.includes('deaf'), 'the entry looks different: teach the test');
    return bent;
  };
  const patient = await startOrigin({ '/feed/later': (request, response) => setTimeout(() => says(FEED)(request, response), 1_500) });
  try {
    await withWorker(patient, { limits: { origin_ms: 3_000 } }, { entry: TRAPPING, bend: impatient }, async (other) => {
      await other.publish(bundle);
      await other.fetch('/feed/good');
      for (const [path, headers] of [['/feed/good', { 'x-trap': '1' }], ['/feed/later', {}]]) {
        const response = await other.fetch(path, { headers });
        assert.deepEqual([statusOf(response), await response.text()], [fallback('internal'), FEED], path);
      }
      assert.notEqual((await other.status()).counters.decisions, 0, 'it is the same instance');
    });
  } finally {
    await patient.close();
  }
});
