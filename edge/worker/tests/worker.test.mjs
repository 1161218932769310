// The Worker as it ships, in workerd, before an origin.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import Ajv from 'ajv/dist/2020.js';

import { FEED, REORDERED, bundleId, inspect, makeBundle, replay, startOrigin, startWorker, token } from './shop.mjs';

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

const status = (response) => response.headers.get('Selvedge-Status');

/** Another Worker for one test. */
async function withWorker(change, options, use) {
  const other = await startWorker(origin, change, options);
  try {
    return await use(other);
  } finally {
    await other.close();
  }
}

test('only the array of a feed changes its order', async () => {
  const response = await worker.fetch('/feed/good');
  assert.equal(status(response), 'personalized');
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
  assert.equal(status(response), 'personalized');
  assert.equal(await response.text(), REORDERED);
});

test('what is no feed passes through', async () => {
  const other = await worker.fetch('/other');
  assert.equal(await other.text(), 'other GET');
  assert.equal(other.headers.get('etag'), '"o"');
  assert.equal(await (await worker.fetch('/other', { method: 'POST', body: 'x' })).text(), 'other POST');
  assert.equal((await worker.fetch('/feed/good', { method: 'HEAD' })).status, 200);
  const part = await worker.fetch('/feed/part');
  assert.equal(part.status, 206);
  assert.equal(await part.text(), '{"da');
  assert.equal((await worker.fetch('/feed/missing')).status, 404);
});

for (const [path, reason] of [
  ['malformed', 'malformed-json'],
  ['twice', 'malformed-json'],
  ['latin', 'invalid-utf-8'],
  ['many', 'too-many-items'],
  ['html', 'not-json'],
  ['slow', 'origin-slow'],
  ['huge', 'body-too-large'],
]) {
  test(`a feed that is ${path} goes out as it is: ${reason}`, async () => {
    const [passed, original] = await Promise.all([worker.fetch(`/feed/${path}`), fetch(`${origin.address}/feed/${path}`)]);
    assert.equal(passed.status, 200);
    assert.equal(status(passed), `fallback; reason="${reason}"`);
    const [mine, theirs] = await Promise.all([passed.arrayBuffer(), original.arrayBuffer()]);
    assert.ok(Buffer.from(mine).equals(Buffer.from(theirs)), 'every byte as it was');
  });
}

test('a deep document does no harm', async () => {
  const response = await worker.fetch('/feed/deep');
  assert.equal(response.status, 200);
  assert.match(status(response), /^fallback/);
});

test('without a bundle, or with one that is refused, the order is the origin\'s', async () => {
  await withWorker({}, {}, async (other) => {
    const missing = await other.fetch('/feed/good');
    assert.equal(await missing.text(), FEED);
    assert.match(status(missing), /bundle-(missing|refused)/);
  });
  const newer = Buffer.from(bundle);
  newer.writeUInt16LE(9, 8);
  await withWorker({}, {}, async (other) => {
    await other.publish(newer);
    const refused = await other.fetch('/feed/good');
    assert.equal(await refused.text(), FEED);
    assert.equal(status(refused), 'fallback; reason="bundle-refused"');
    const { refusal } = await (await other.fetch('/v1/status')).json();
    assert.match(refusal, /version|checksum/);
  });
});

test('a bundle from KV ranks like one from R2', async () => {
  await withWorker({}, { store: 'kv' }, async (other) => {
    await other.publish(bundle);
    assert.equal(await (await other.fetch('/feed/good')).text(), REORDERED);
  });
});

test('a user\'s state is opened by a signed id and by nothing else', async () => {
  const headers = { cookie: `uid=${token('u1')}`, 'content-type': 'application/json' };
  const events = { events: [{ id: 'e1', event: 'view', item: 'a' }] };
  const post = () => worker.fetch('/v1/events', { method: 'POST', headers, body: JSON.stringify(events) });
  assert.deepEqual(await (await post()).json(), { applied: 1 });
  assert.deepEqual(await (await post()).json(), { applied: 0 }, 'an event that comes again is counted once');
  const first = async (cookie) => {
    const response = await worker.fetch('/feed/good', { headers: { cookie } });
    return JSON.parse(await response.text()).data.items[0].id;
  };
  assert.equal(await first(`uid=${token('u1')}`), 'a', 'the user viewed it');
  for (const forged of ['uid=u1', 'uid=u1.00', `uid=${token('u2').replace('u2', 'u1')}`, `uid=${token('u2')}`, '']) {
    assert.equal(await first(forged), 'b', forged);
  }
  const refused = await worker.fetch('/v1/events', { method: 'POST', headers: { ...headers, cookie: 'uid=u1' }, body: JSON.stringify(events) });
  assert.equal(refused.status, 401);
});

test('a state that is not there in time costs nobody anything', async () => {
  const slow = `
    import worker, { User as Real } from './index.js';
    export default worker;
    export class User extends Real {
      async fetch(request) { await scheduler.wait(400); return super.fetch(request); }
    }`;
  await withWorker({}, { entry: slow }, async (other) => {
    await other.publish(bundle);
    const response = await other.fetch('/feed/good', { headers: { cookie: `uid=${token('u1')}` } });
    assert.equal(await response.text(), FEED);
    assert.equal(status(response), 'fallback; reason="state-slow"');
  });
});

test('a trap costs the shopper nothing, and the next request has a new instance', async () => {
  // The call into the module breaks off on demand, as a trap would.
  const trapping = (source) => {
    const trap = 'if($3.headers.get("x-trap"))throw new WebAssembly.RuntimeError("unreachable");';
    const bent = source.replace(/let (\w+);return (\w+\(\),\1=\w+\.fetch\((\w+),)/, `${trap}let $1;return $2`);
    assert.ok(bent !== source, 'the bindings look different: teach the test');
    return bent;
  };
  await withWorker({}, { bend: trapping }, async (other) => {
    await other.publish(bundle);
    assert.equal(await (await other.fetch('/feed/good')).text(), REORDERED);
    const trapped = await other.fetch('/feed/good', { headers: { 'x-trap': '1' } });
    assert.equal(trapped.status, 200);
    assert.equal(status(trapped), 'fallback; reason="trap"');
    assert.equal(await trapped.text(), FEED);
    assert.equal(await (await other.fetch('/feed/good')).text(), REORDERED, 'it is there again');
    const body = JSON.stringify({ time: 0, candidates: [{ id: 'x' }] });
    const headers = { 'content-type': 'application/json', 'x-trap': '1' };
    const api = await other.fetch('/v1/rank', { method: 'POST', headers, body });
    assert.equal((await api.json()).error.code, 'trap');
  });
});

test('the API ranks, and says what is wrong with a request', async () => {
  const post = (body, type = 'application/json') => worker.fetch('/v1/rank', { method: 'POST', headers: { 'content-type': type }, body });
  const request = { request_id: '00000000000000000000000000000001', time: 1_795_545_000_000, reasons: 1, candidates: [{ id: 'x', price: 1 }, { id: 'y', price: 2 }] };
  const decided = await (await post(JSON.stringify(request))).json();
  assert.deepEqual(decided.slots.map(({ id }) => id), ['y', 'x']);
  assert.equal(decided.bundle_id, bundleId(bundle));
  const again = await (await post(JSON.stringify(request))).json();
  assert.deepEqual(again, decided, 'a request that comes again gets the same decision');
  for (const [body, type, code, error] of [
    ['{', 'application/json', 400, 'invalid-request'],
    ['{"time":0,"candidates":[{"id":"a","price":"x"}]}', 'application/json', 400, 'invalid-request'],
    ['{}', 'text/plain', 415, 'unsupported-media-type'],
    [Buffer.alloc(50 << 20, 32), 'application/json', 413, 'too-large'],
  ]) {
    const response = await post(body, type);
    assert.equal(response.status, code);
    assert.equal((await response.json()).error.code, error);
  }
  const bytes = await post(Buffer.from('no request'), 'application/vnd.selvedge.request');
  assert.equal(bytes.headers.get('content-type'), 'application/vnd.selvedge.decision');
  assert.equal(Buffer.from(await bytes.arrayBuffer()).subarray(0, 4).toString(), 'SVDC');
  assert.equal((await worker.fetch('/v1/nothing')).status, 404);
  assert.equal((await worker.fetch('/v1/rank')).status, 405);
});

test('answers are as the OpenAPI document says', async () => {
  const document = await (await worker.fetch('/v1/openapi.json')).json();
  assert.deepEqual(document, JSON.parse(readFileSync(new URL('../openapi.json', import.meta.url))));
  const ajv = new Ajv({ strict: false });
  ajv.addSchema(document, 'api');
  const check = async (name, response) => {
    const valid = ajv.compile({ $ref: `api#/components/schemas/${name}` });
    assert.ok(valid(await response.json()), `${name}: ${ajv.errorsText(valid.errors)}`);
  };
  await check('Status', await worker.fetch('/v1/status'));
  await check('Error', await worker.fetch('/v1/nothing'));
  const body = JSON.stringify({ time: 0, reasons: 2, candidates: [{ id: 'x', price: 1 }] });
  await check('Decision', await worker.fetch('/v1/rank', { method: 'POST', headers: { 'content-type': 'application/json' }, body }));
});

test('the bundle in use is published under its id, for good', async () => {
  await worker.fetch('/feed/good');
  const response = await worker.fetch(`/v1/bundles/${bundleId(bundle)}`);
  assert.ok(Buffer.from(await response.arrayBuffer()).equals(bundle));
  assert.match(response.headers.get('cache-control'), /immutable/);
  assert.equal((await worker.fetch(`/v1/bundles/${'0'.repeat(64)}`)).status, 404);
});

test('a page carries the state and where the bundle is', async () => {
  const response = await worker.fetch('/page', { headers: { cookie: `uid=${token('u1')}` } });
  const text = await response.text();
  const inlined = JSON.parse(text.match(/<script type="application\/json" id="selvedge-state">(.*?)<\/script><\/head>/)[1]);
  assert.equal(inlined.bundle, `/v1/bundles/${bundleId(bundle)}`);
  assert.equal(Buffer.from(inlined.state, 'base64').subarray(0, 4).toString(), 'SVUS');
  assert.equal(response.headers.get('cache-control'), 'private, no-store');
});

test('sampled decisions are in the log, and decide the same bytes again', async () => {
  await withWorker({ log: { share: 1, delay_ms: 10 } }, {}, async (other) => {
    await other.publish(bundle);
    const ids = ['1', '2', '3'].map((digit) => digit.repeat(32));
    await Promise.all(ids.map((id) => other.fetch('/feed/good', { headers: { 'Selvedge-Request-Id': id } })));
    const log = await other.log(ids.length);
    for (const id of ids) assert.ok(log.includes(Buffer.from(id, 'hex')), `${id} is logged`);
    replay(bundle, log);
  });
});

test('decisions that are not sampled leave a digest, and events that name their decision an outcome', async () => {
  await withWorker({ log: { share: 0, delay_ms: 10 } }, {}, async (other) => {
    await other.publish(bundle);
    const id = 'ab'.repeat(16);
    await other.fetch('/feed/good', { headers: { 'Selvedge-Request-Id': id } });
    const headers = { 'content-type': 'application/json', cookie: `uid=${token('u9')}` };
    const event = { id: 'e1', event: 'view', item: 'b', value: 2.5, request_id: id };
    const post = (event) => other.fetch('/v1/events', { method: 'POST', headers, body: JSON.stringify({ events: [event] }) });
    assert.equal((await post(event)).status, 200);
    const refused = await post({ ...event, request_id: 'ab' });
    assert.equal(refused.status, 400);
    assert.match((await refused.json()).error.message, /events\[0\]\.request_id: 32 hexadecimal digits/);
    const { by_kind: kinds, by_status: statuses } = inspect(await other.log(2));
    assert.deepEqual(kinds, { digest: 1, outcome: 1 });
    assert.deepEqual(statuses, { personalized: 1 });
  });
});

test('a misspelt configuration stops no shop', async () => {
  await withWorker({ feed: [] }, {}, async (other) => {
    const response = await other.fetch('/v1/status');
    assert.equal(response.status, 503);
    assert.match((await response.json()).error.message, /unknown field `feed`/);
  });
});

test('wrangler takes the configuration at the top level as it is', () => {
  const root = new URL('../../../', import.meta.url).pathname;
  const environment = { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' };
  const output = execFileSync(
    process.execPath,
    ['node_modules/wrangler/bin/wrangler.js', 'deploy', '--dry-run', '--outdir', 'target/worker-dry-run'],
    { cwd: root, env: environment, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
  );
  for (const binding of ['BUNDLES', 'LOG', 'USERS', 'SELVEDGE']) assert.match(output, new RegExp(binding));
});
