// Offers of the Worker against a host as it is: what is promised is money of a lease, once per user, and redeemed there.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import Ajv from 'ajv/dist/2020.js';

import { AUDIENCE, bindingsOf, makeCampaigns, offersOf, pem, startHost } from './host.mjs';
import { keyOf } from '../../../www/sdk/test/head.mjs';
import { bundleId, inspect, sleep, startOrigin, startWorker, statusOf, token } from './shop.mjs';

const BUDGET = 20_000;
/** For a host on a machine that does other things as well: nothing here is about how long it takes. */
const PATIENCE_MS = 10_000;
let origin;
let host;
let worker;
let bundle;
const signed = (user) => ({ cookie: `uid=${token(user)}` });
const claimsOf = (offer) => JSON.parse(Buffer.from(offer.token.split('.')[1], 'base64url'));
const faceOf = ({ offer }) => (offer ? claimsOf(offer).face : 0);

async function ask(user, question = {}, from = worker) {
  const response = await from.post('/v1/offer', question, user === undefined ? {} : signed(user));
  return { status: response.status, headers: response.headers, answer: await response.json() };
}

async function offered(user, question, from) {
  const { status, answer } = await ask(user, question, from);
  assert.equal(status, 200, JSON.stringify(answer));
  return answer;
}

/** A Worker and a host for one test. */
async function withBoth({ budget = BUDGET, change = {}, offers = {}, bindings = {}, campaigns = bundle }, use) {
  const theirs = await startHost({ budgets: { shop: budget }, bundle: campaigns });
  const its = await startWorker(origin, { offers: offersOf(theirs, { host_ms: PATIENCE_MS, ...offers }), ...change }, { bindings: bindingsOf(bindings), quiet: true });
  try {
    await its.publish(campaigns);
    await use(its, theirs);
  } finally {
    await its.close();
    await theirs.close();
  }
}

before(async () => {
  bundle = makeCampaigns();
  origin = await startOrigin();
  host = await startHost({ budgets: { shop: BUDGET }, bundle });
  worker = await startWorker(origin, { offers: offersOf(host, { host_ms: PATIENCE_MS }) }, { bindings: bindingsOf() });
  await worker.publish(bundle);
});

after(async () => {
  await worker?.close();
  await host?.close();
  await origin?.close();
});

test('an offer is made once, and redeemed once, by its user', async () => {
  const first = await offered('u1');
  assert.deepEqual([first.campaign, first.status, first.repeated, first.offer.offer], ['spring', 'offered', false, 'ten_off']);
  const claims = claimsOf(first.offer);
  assert.deepEqual([claims.aud, claims.face, claims.bundle, claims.price], [AUDIENCE, 1000, bundleId(bundle), 1]);
  const again = await offered('u1');
  assert.equal(again.repeated, true);
  assert.deepEqual(again.offer, first.offer);

  assert.equal((await host.redeem('u2', 'o1', [first.offer.token])).status, 403, 'it is not theirs');
  const { status, answer } = await host.redeem('u1', 'o1', [first.offer.token]);
  assert.deepEqual([status, answer.discount_minor, answer.after_minor], [200, 1000, 4000]);
  assert.equal((await host.redeem('u1', 'o1', [first.offer.token])).answer.offers[0].repeated, true);
  assert.equal((await host.redeem('u1', 'o2', [first.offer.token])).status, 409, 'another order comes too late');
  assert.equal((await host.budget('shop')).settled, 1000);
});

test('no answer has a score, and no cache keeps it', async () => {
  const { headers, answer } = await ask('u1');
  const ajv = new Ajv({ strict: false });
  ajv.addSchema(JSON.parse(readFileSync(new URL('../openapi.json', import.meta.url))), 'api');
  const conforms = ajv.compile({ $ref: 'api#/components/schemas/OfferAnswer' });
  assert.ok(conforms(answer), ajv.errorsText(conforms.errors));
  assert.deepEqual(Object.keys(answer).sort(), ['campaign', 'offer', 'repeated', 'status']);
  assert.deepEqual(Object.keys(answer.offer).sort(), ['currency', 'disclosed', 'expires_ms', 'offer', 'terms', 'token']);
  assert.equal(headers.get('cache-control'), 'private, no-store');
});

test('twenty requests of one user at once make one offer', async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => offered('u3')));
  assert.equal(new Set(answers.map(({ offer }) => offer.token)).size, 1);
  assert.equal(answers.filter(({ repeated }) => !repeated).length, 1);
});

test('a preview draws nothing, keeps nothing, and cannot be redeemed', async () => {
  await withBoth({}, async (its, theirs) => {
    for (let time = 0; time < 3; time++) {
      const { status, repeated, offer } = await offered('u4', { preview: true }, its);
      assert.deepEqual([status, repeated, offer.offer, offer.token], ['offered', false, 'ten_off', null]);
    }
    assert.equal((await theirs.budget('shop')).held, 0);
    assert.equal((await offered('u4', {}, its)).repeated, false);
    assert.equal((await offered('u4', { preview: true }, its)).offer.token, null, 'nor does it tell the token that there is');
  });
});

test('a decision about an offer is logged as it was made, and a preview is not', async () => {
  await withBoth({ change: { log: { share: 1, delay_ms: 10 } } }, async (its) => {
    await offered('l1', { preview: true }, its);
    await offered('l1', {}, its);
    await offered('l1', {}, its);
    const log = await its.log(1);
    await sleep(200);
    assert.equal((await its.log(1)).length, log.length);
    assert.deepEqual(inspect(log).by_kind, { full: 1 });
  });
});

test('only a signed user is answered, and only about himself', async () => {
  assert.deepEqual([(await ask()).status, (await ask(undefined, { user: 'u1' })).answer.error.code], [401, 'untrusted-user']);
  const other = await ask('u1', { user: 'u2' });
  assert.deepEqual([other.status, other.answer.error.code], [403, 'other-user']);
  assert.equal((await offered('u1', { user: 'u1' })).repeated, true);
});

test('a campaign that there is not is none', async () => {
  const { status, reason, campaign } = await offered('u1', { campaign: 'autumn' });
  assert.deepEqual([status, reason, campaign], ['none', 'no-campaign', undefined]);
});

const deep = '['.repeat(100_000) + ']'.repeat(100_000);
for (const [what, body, words] of [
  ['nothing', '', /EOF/],
  ['half a document', '{', /EOF/],
  ['a list', '[1]', /invalid type|expected/],
  ['a misspelt member', '{"campain":"spring"}', /unknown field `campain`/],
  ['a member twice', '{"preview":true,"preview":false}', /duplicate field `preview`/],
  ['a draw of one\'s own', '{"draw":"00"}', /unknown field `draw`/],
  ['a state of one\'s own', '{"state":""}', /unknown field `state`/],
  ['a time of one\'s own', '{"time":0}', /unknown field `time`/],
  ['a number for a name', '{"campaign":7}', /expected a string/],
  ['a text for a flag', '{"preview":"yes"}', /expected a boolean/],
  ['an offset of no clock', '{"utc_offset_min":100000}', /utc_offset_min/],
  ['a field of another type', '{"fields":{"country":7}}', /user\.fields\.country/],
  ['depth', `{"context":{"a":${deep}}}`, /recursion limit/],
  ['what is not UTF-8', Buffer.from('{"campaign":"\xff"}', 'latin1'), /UTF-8|unicode/i],
]) {
  test(`a question that is ${what} is refused, and says where`, async () => {
    const headers = { 'content-type': 'application/json', ...signed('u1') };
    const response = await worker.fetch('/v1/offer', { method: 'POST', body, headers });
    const { error } = await response.json();
    assert.deepEqual([response.status, error.code], [400, 'invalid-offer'], error.message);
    assert.match(error.message, words);
  });
}

test('a hundred users at once never promise more than there is', async () => {
  // A small part of what they would get, from three objects that know nothing of one another.
  await withBoth({ budget: 5_500, offers: { shards: 3 } }, async (its, theirs) => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, at) => offered(`c${at}`, {}, its)));
    const faces = answers.map(faceOf);
    const sum = faces.reduce((sum, face) => sum + face, 0);
    const { total, settled, held } = await theirs.budget('shop');
    assert.ok(sum > 0 && sum <= held + settled && held + settled <= total, `${sum} of ${held} + ${settled} of ${total}`);
    for (const { status, reason, offer } of answers) if (!offer) assert.deepEqual([status, reason], ['none', 'no-budget']);
    // All that was promised is good.
    const redeemed = await Promise.all(
      answers.map(({ offer }, at) => (offer ? theirs.redeem(`c${at}`, `order-${at}`, [offer.token]) : { status: 200 })),
    );
    assert.ok(redeemed.every(({ status }) => status === 200), JSON.stringify(redeemed.find(({ status }) => status !== 200)));
    assert.equal((await theirs.budget('shop')).settled, sum);
  });
});

test('without a host what is leased is offered, then nothing, and ranking goes on', async () => {
  await withBoth({ budget: 100_000 }, async (its, theirs) => {
    // So many at once that more is leased than they get.
    const before = await Promise.all(Array.from({ length: 8 }, (_, at) => offered(`d${at}`, {}, its)));
    await theirs.stop();
    const later = [];
    for (let at = 8; at < 60; at++) later.push(await offered(`d${at}`, {}, its));
    const sum = (answers) => answers.map(faceOf).reduce((sum, face) => sum + face, 0);
    assert.ok(sum(later) > 0, 'what was leased is there');
    const last = later.at(-1);
    assert.deepEqual([last.status, last.reason], ['none', 'no-budget'], 'leases end');
    assert.equal((await offered('d0', {}, its)).repeated, true, 'what was promised is told again');
    const ranked = await its.post('/v1/rank', { time: 0, candidates: [{ id: 'a', price: 1 }, { id: 'b', price: 2 }] });
    assert.deepEqual((await ranked.json()).slots.map(({ id }) => id), ['b', 'a']);
    assert.equal(statusOf(await its.fetch('/feed/good')), 'personalized');

    const again = await startHost({ directory: theirs.directory });
    const { held, settled, total } = await again.budget('shop');
    await again.stop();
    const promised = sum(before) + sum(later);
    assert.ok(promised <= held && settled === 0 && held <= total, `${promised} of ${held} of ${total}`);
  });
});

test('a decision for which there was no money is not kept', async () => {
  await withBoth({ budget: 20_000, offers: { host: 'http://127.0.0.1:1' } }, async (its) => {
    const first = await offered('w1', {}, its);
    assert.deepEqual([first.status, first.reason], ['none', 'no-budget']);
    assert.equal((await offered('w1', {}, its)).repeated, false, 'that there was no money is no decision');
  });
});

test('a token of a key or an audience that the host does not know is not believed', async () => {
  for (const [change, name] of [
    [{ bindings: { OFFER_KEY: pem(keyOf(9)) } }, 'unknown-key'],
    [{ offers: { audience: 'another' } }, 'audience'],
    [{ offers: { issuer: 'https://another.example' } }, 'issuer'],
  ]) {
    await withBoth(change, async (its, theirs) => {
      const { offer } = await offered('f1', {}, its);
      const { status, answer } = await theirs.redeem('f1', 'o1', [offer.token]);
      assert.deepEqual([status, JSON.stringify(answer).includes(name)], [422, true], JSON.stringify(answer));
    });
  }
  const { offer } = await offered('f2');
  const bent = offer.token.replace(/.$/, (last) => (last === 'A' ? 'Q' : 'A'));
  assert.ok((await host.redeem('f2', 'o1', [bent])).status >= 400);
});

test('a killed channel offers nothing', async () => {
  await withBoth({}, async (its) => {
    await its.publishHead({ bundle: { id: bundleId(bundle), size: bundle.length }, killed: true });
    await its.statusWhen(({ channel }) => channel.state === 'killed', 15_000);
    const { status, reason } = await offered('k1', {}, its);
    assert.deepEqual([status, reason], ['none', 'fallback']);
  });
});

test('a head that has expired offers nothing and ranks on', async () => {
  await withBoth({}, async (its) => {
    await its.publishHead({ bundle: { id: bundleId(bundle), size: bundle.length }, notAfter: Date.now() + 8_000 });
    await its.statusWhen(({ channel }) => channel.state === 'expired', 20_000);
    const { status, reason } = await offered('x1', {}, its);
    assert.deepEqual([status, reason], ['none', 'fallback']);
    assert.equal(statusOf(await its.fetch('/feed/good')), 'personalized');
  });
});

test('the price of the head decides what is worth it', async () => {
  await withBoth({}, async (its) => {
    assert.equal((await offered('v1', {}, its)).status, 'offered');
    const prices = [{ budget: 'shop', micros: 30_000_000 }];
    await its.publishHead({ bundle: { id: bundleId(bundle), size: bundle.length }, prices });
    await its.statusWhen(({ channel }) => channel.sequence === 2, 15_000);
    const { status, reason } = await offered('v2', {}, its);
    assert.deepEqual([status, reason], ['none', 'not-worth-it']);
    assert.equal((await offered('v2', {}, its)).repeated, true, 'that is a decision, and stays');
  });
});

test('a cap counts what was offered', async () => {
  await withBoth({ campaigns: makeCampaigns('[[campaign.caps]]\nby = "device"\ncount = 1\nperiod = "1d"\n') }, async (its) => {
    assert.equal((await offered('p1', { device: 'phone' }, its)).status, 'offered');
    const { status, reason } = await offered('p2', { device: 'phone' }, its);
    assert.deepEqual([status, reason], ['none', 'capped']);
    assert.equal((await offered('p3', { device: 'tablet' }, its)).status, 'offered');
  });
});

test('what is not configured, or not well, is told by name and makes no offer', async () => {
  const other = await startWorker(origin, {}, {});
  try {
    assert.equal((await ask('u1', {}, other)).answer.error.code, 'no-offers');
  } finally {
    await other.close();
  }
  for (const [bindings, words] of [
    [{ OFFER_KEY: 'no key' }, /OFFER_KEY is no Ed25519 private key/],
    [{ OFFER_SECRET: 'short' }, /OFFER_SECRET has 5 bytes/],
    [{ LEASE_TOKEN: '' }, /LEASE_TOKEN is missing/],
  ]) {
    const bad = await startWorker(origin, { offers: offersOf(host) }, { bindings: bindingsOf(bindings), quiet: true });
    try {
      await bad.publish(bundle);
      const { status, answer } = await ask('u1', {}, bad);
      assert.deepEqual([status, answer.error.code], [503, 'misconfigured']);
      assert.match(answer.error.message, words);
      assert.match((await bad.status()).problems.join('\n'), words);
    } finally {
      await bad.close();
    }
  }
});
