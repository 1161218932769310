// The log: what it holds, and that it costs no shopper anything when it cannot be written.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { inspect, makeBundle, replay, startOrigin, statusOf, token, withWorker } from './shop.mjs';

let origin;
const bundle = makeBundle();

before(async () => {
  origin = await startOrigin();
});

after(() => origin?.close());

/** An entry whose log fails so many times before it writes. */
const failing = (times) => `
  import worker, { User } from './index.js';
  export { User };
  let left = ${times};
  class R2Bucket {
    constructor(real) { this.real = real; }
    put(...args) { return left-- > 0 ? Promise.reject(new Error('the bucket is down')) : this.real.put(...args); }
  }
  export default { fetch: (request, env, context) => worker.fetch(request, { ...env, LOG: new R2Bucket(env.LOG) }, context) };`;

test('sampled decisions are in the log, and decide the same bytes again', async () => {
  await withWorker(origin, { log: { share: 1, delay_ms: 10 } }, {}, async (worker) => {
    await worker.publish(bundle);
    const ids = ['1', '2', '3'].map((digit) => digit.repeat(32));
    await Promise.all(ids.map((id) => worker.fetch('/feed/good', { headers: { 'Selvedge-Request-Id': id } })));
    const log = await worker.log(ids.length);
    for (const id of ids) assert.ok(log.includes(Buffer.from(id, 'hex')), `${id} is logged`);
    replay(bundle, log);
  });
});

test('decisions that are not sampled leave a digest, and events that name their decision an outcome', async () => {
  await withWorker(origin, { log: { share: 0, delay_ms: 10 } }, {}, async (worker) => {
    await worker.publish(bundle);
    const id = 'ab'.repeat(16);
    await worker.fetch('/feed/good', { headers: { 'Selvedge-Request-Id': id } });
    const event = { id: 'e1', event: 'view', item: 'b', value: 2.5, request_id: id };
    assert.equal((await worker.post('/v1/events', { events: [event] }, { cookie: `uid=${token('u9')}` })).status, 200);
    const { by_kind: kinds, by_status: statuses } = inspect(await worker.log(2));
    assert.deepEqual(kinds, { digest: 1, outcome: 1 });
    assert.deepEqual(statuses, { personalized: 1 });
  });
});

test('records wait for company: many decisions, few objects', async () => {
  // Thirty at once take longer than one, above all on a busy machine.
  await withWorker(origin, { log: { share: 0, delay_ms: 500 }, limits: { origin_ms: 10_000 } }, {}, async (worker) => {
    await worker.publish(bundle);
    await Promise.all(Array.from({ length: 30 }, () => worker.fetch('/feed/good')));
    assert.equal(inspect(await worker.log(30)).by_kind.digest, 30);
    const { objects } = await (await worker.miniflare.getR2Bucket('LOG')).list();
    assert.ok(objects.length <= 3, `${objects.length} objects`);
  });
});

test('a log that fails is written again, and loses nothing', async () => {
  await withWorker(origin, { log: { share: 0, delay_ms: 10 } }, { entry: failing(2) }, async (worker) => {
    await worker.publish(bundle);
    assert.equal(statusOf(await worker.fetch('/feed/good')), 'personalized');
    assert.equal(inspect(await worker.log(1)).by_kind.digest, 1);
    const { counters } = await worker.status();
    assert.deepEqual([counters.log_failures, counters.records, counters.records_dropped], [2, 1, 0]);
  });
});

test('a log that is down costs no shopper anything, and what is lost is counted', async () => {
  await withWorker(origin, { log: { share: 0, delay_ms: 10 } }, { entry: failing(1e9) }, async (worker) => {
    await worker.publish(bundle);
    assert.equal(statusOf(await worker.fetch('/feed/good')), 'personalized');
    const { counters } = await worker.statusWhen(({ counters }) => counters.records_dropped > 0);
    assert.deepEqual([counters.log_failures, counters.records_dropped], [3, 1]);
  });
});

test('what waits for the log is bounded', async () => {
  await withWorker(origin, { log: { share: 1, delay_ms: 2_000, max_bytes: 2_000 } }, {}, async (worker) => {
    await worker.publish(bundle);
    for (let at = 0; at < 10; at++) assert.equal(statusOf(await worker.fetch('/feed/good')), 'personalized');
    const { counters } = await worker.status();
    assert.equal(counters.records + counters.records_dropped, 10);
    assert.ok(counters.records > 0 && counters.records_dropped > 0, JSON.stringify(counters));
    const log = await worker.log(counters.records);
    assert.ok(log.length <= 2_000);
    replay(bundle, log);
  });
});
