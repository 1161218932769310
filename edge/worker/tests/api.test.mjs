// The API, to the letter of its document: every request that it takes and every answer that it gives is checked against it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import Ajv from 'ajv/dist/2020.js';

import { bundleId, json, makeBundle, startOrigin, startWorker, token } from './shop.mjs';

let origin;
let worker;
const bundle = makeBundle();
const document = JSON.parse(readFileSync(new URL('../openapi.json', import.meta.url)));
const ajv = new Ajv({ strict: false });
ajv.addSchema(document, 'api');
const signed = { cookie: `uid=${token('u1')}` };
const BYTES = 'application/vnd.selvedge.request';

before(async () => {
  origin = await startOrigin();
  worker = await startWorker(origin);
  await worker.publish(bundle);
});

after(async () => {
  await worker?.close();
  await origin?.close();
});

function conforms(pointer, value) {
  const valid = ajv.compile({ $ref: `api#${pointer}` });
  return valid(value) ? null : ajv.errorsText(valid.errors);
}

const escaped = (part) => part.replaceAll('~', '~0').replaceAll('/', '~1');

/** Calls the API. What is answered must be as the document says; what is taken must be so as well. */
async function call(method, path, { body, type = json['content-type'], headers = {} } = {}) {
  const sent = body === undefined ? {} : { body, headers: { 'content-type': type, ...headers } };
  const response = await worker.fetch(path, { method, headers, ...sent });
  const known = Object.keys(document.paths).find((known) => new RegExp(`^${known.replace(/\{.*\}/, '[^/]+')}$`).test(path));
  const described = document.paths[known]?.[method.toLowerCase()];
  const ok = response.status === 200;
  const media = response.headers.get('content-type');
  if (ok) {
    assert.ok(described, `${method} ${path} is in the document`);
    assert.ok(described.responses['200'].content[media], `${path} may answer ${media}`);
  }
  if (media !== json['content-type']) return { status: response.status, bytes: Buffer.from(await response.arrayBuffer()) };
  const answer = await response.json();
  const operation = `/paths/${escaped(known ?? '')}/${method.toLowerCase()}`;
  const answered = ok ? `${operation}/responses/200/content/${escaped(media)}/schema` : '/components/schemas/Error';
  assert.equal(conforms(answered, answer), null, `the answer of ${method} ${path}`);
  if (ok && body !== undefined && type === media) {
    assert.equal(conforms(`${operation}/requestBody/content/${escaped(media)}/schema`, JSON.parse(body)), null, `a request that ${path} took`);
  }
  return { status: response.status, answer };
}

const post = (path, value, more) => call('POST', path, { body: JSON.stringify(value), ...more });

test('the document that is served is the one that is checked in', async () => {
  assert.deepEqual((await call('GET', '/v1/openapi.json')).answer, document);
});

test('a request is ranked, and one that comes again gets the same decision', async () => {
  const request = {
    request_id: '00000000000000000000000000000001',
    time: 1_795_545_000_000,
    utc_offset_min: 60,
    slate_size: 2,
    reasons: 1,
    user: { fields: {} },
    state: null,
    context: { query: ['milk'] },
    candidates: [{ id: 'x', price: 1 }, { id: 'y', price: 2, unread: [{}] }, { id: 'z', price: null }],
    pins: [{ id: 'z', slot: 1 }],
    exclude: ['w'],
  };
  const { status, answer } = await post('/v1/rank', request);
  assert.equal(status, 200);
  assert.deepEqual(answer.slots.map(({ id }) => id), ['y', 'z']);
  assert.deepEqual(answer.slots[1].rules, ['pinned']);
  assert.equal(answer.bundle_id, bundleId(bundle));
  assert.deepEqual((await post('/v1/rank', request)).answer, answer);
});

test('bytes get bytes, and noise gets a decision that says so', async () => {
  for (const body of [Buffer.from('no request'), Buffer.alloc(0), Buffer.alloc(100_000, 255)]) {
    const { status, bytes } = await call('POST', '/v1/rank', { body, type: BYTES });
    assert.deepEqual([status, bytes.subarray(0, 4).toString()], [200, 'SVDC']);
  }
});

test('events, the status and the bundle are as the document says', async () => {
  const event = { id: 'e1', event: 'view', item: 'a', value: 2, time: 1_795_545_000_000, request_id: 'ab'.repeat(16) };
  assert.deepEqual((await post('/v1/events', { events: [event] }, { headers: signed })).answer, { applied: 1 });
  assert.deepEqual((await post('/v1/events', { events: [] }, { headers: signed })).answer, { applied: 0 });
  assert.equal((await call('GET', '/v1/status')).answer.bundle_id, bundleId(bundle));
  assert.ok((await call('GET', `/v1/bundles/${bundleId(bundle)}`)).bytes.equals(bundle));
  assert.equal((await call('GET', `/v1/bundles/${'0'.repeat(64)}`)).status, 404);
});

const deep = (depth) => '['.repeat(depth) + ']'.repeat(depth);
const RANKED = '"candidates":[{"id":"a"}]';

for (const [what, path, body, code, words] of [
  ['nothing', '/v1/rank', '', 'invalid-request', /EOF/],
  ['half a document', '/v1/rank', '{', 'invalid-request', /EOF/],
  ['a text for a number', '/v1/rank', '{"time":0,"candidates":[{"id":"a","price":"x"}]}', 'invalid-request', /candidates\[0\]\.price: expected a number/],
  ['no time', '/v1/rank', `{${RANKED}}`, 'invalid-request', /time/],
  ['a misspelt member', '/v1/rank', `{"time":0,"slots":3,${RANKED}}`, 'invalid-request', /unknown field `slots`/],
  ['a member twice', '/v1/rank', `{"time":0,"time":1,${RANKED}}`, 'invalid-request', /duplicate field `time`/],
  ['a field twice', '/v1/rank', '{"time":0,"candidates":[{"id":"a","price":1,"price":2}]}', 'invalid-request', /duplicate field `price`/],
  ['depth', '/v1/rank', `{"time":0,"context":{"query":${deep(100_000)}},${RANKED}}`, 'invalid-request', /recursion limit/],
  ['what is not UTF-8', '/v1/rank', Buffer.from('{"time":0,"candidates":[{"id":"\xff"}]}', 'latin1'), 'invalid-request', /UTF-8|unicode/i],
  ['a state that is not base64', '/v1/rank', `{"time":0,"state":"?",${RANKED}}`, 'invalid-request', /state: expected base64/],
  ['nothing', '/v1/events', '', 'invalid-events', /EOF/],
  ['no list', '/v1/events', '{"events":{}}', 'invalid-events', /sequence/],
  ['a member twice', '/v1/events', '{"events":[],"events":[]}', 'invalid-events', /duplicate field `events`/],
  ['a misspelt member', '/v1/events', '{"events":[{"event":"view","itme":"a"}]}', 'invalid-events', /unknown field `itme`/],
  ['too many', '/v1/events', JSON.stringify({ events: Array(101).fill({ event: 'view', item: 'a' }) }), 'invalid-events', /101 events, of which a request may have 100/],
  ['a bad request id', '/v1/events', '{"events":[{"event":"view","item":"a","request_id":"ab"}]}', 'invalid-events', /events\[0\]\.request_id: 32 hexadecimal digits/],
  ['a number too large', '/v1/events', '{"events":[{"event":"view","item":"a","value":1e39}]}', 'invalid-events', /events\[0\]\.value/],
  ['depth', '/v1/events', `{"events":${deep(100_000)}}`, 'invalid-events', /invalid type|recursion limit/],
  ['what is not UTF-8', '/v1/events', Buffer.from('{"events":[{"event":"view","item":"\xff"}]}', 'latin1'), 'invalid-events', /UTF-8|unicode/i],
]) {
  test(`${path} refuses ${what}, and says where`, async () => {
    const { status, answer } = await call('POST', path, { body, headers: signed });
    assert.deepEqual([status, answer.error.code], [400, code]);
    assert.match(answer.error.message, words);
  });
}

for (const path of ['/v1/rank', '/v1/events']) {
  test(`${path} takes no other content type, no 50 MB, and no other method`, async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', '']) {
      const { status, answer } = await call('POST', path, { body: '{}', type, headers: signed });
      assert.deepEqual([status, answer.error.code], [415, 'unsupported-media-type'], type);
    }
    assert.equal((await call('POST', path, { body: '{}', type: 'Application/JSON; charset=utf-8', headers: signed })).status, 400);
    const { status, answer } = await call('POST', path, { body: Buffer.alloc(50 << 20, 32), headers: signed });
    assert.deepEqual([status, answer.error.code], [413, 'too-large']);
    // In pieces, without a length to be believed.
    const pieces = new ReadableStream({
      start(controller) {
        for (let at = 0; at < 50; at++) controller.enqueue(new Uint8Array(1 << 20));
        controller.close();
      },
    });
    const streamed = await worker.fetch(path, { method: 'POST', body: pieces, duplex: 'half', headers: { ...json, ...signed } });
    assert.equal(streamed.status, 413);
    assert.equal((await call('GET', path)).answer.error.code, 'method-not-allowed');
    assert.equal((await call('DELETE', path)).answer.error.code, 'method-not-allowed');
  });
}

test('what is not there is not there', async () => {
  for (const path of ['/v1/', '/v1/nothing', '/v1/rank/', '/v1/bundles', '/v1/bundles/', '/v1/bundles/head']) {
    assert.equal((await call('GET', path)).answer.error.code, 'not-found', path);
  }
  assert.equal((await post('/v1/status', {})).answer.error.code, 'method-not-allowed');
  assert.equal((await post(`/v1/bundles/${bundleId(bundle)}`, {})).answer.error.code, 'method-not-allowed');
});
