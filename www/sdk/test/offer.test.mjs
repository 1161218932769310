// Offer tokens: the table of vectors that the Rust verifier passes, and the rules that draw users.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { CompactSign, importJWK, jwtVerify } from 'jose';

import { keyOf } from './head.mjs';

const { importKeys, verifyOffer } = await import(new URL('../dist/offer.js', import.meta.url));
const table = JSON.parse(readFileSync(new URL('../../../edge/offer/tests/vectors/v1.json', import.meta.url)));
const keys = await importKeys(table.keys);
const { issuer, audience } = table;

test('the table of vectors holds: every token has its outcome', async () => {
  for (const { name, token, now_s: now, skew_s: skew, outcome } of table.tokens) {
    const found = await verifyOffer(token, { keys, issuer, audience, now, skew });
    assert.equal(typeof found === 'string' ? found : 'accept', outcome, name);
  }
});

test('the claims are read as they were written', async () => {
  const [{ token, now_s: now }] = table.tokens;
  assert.deepEqual(await verifyOffer(token, { keys, issuer, audience, now }), table.claims);
});

test('without a time, the clock is asked', async (context) => {
  const [{ token }] = table.tokens;
  for (const [now, outcome] of [[table.claims.nbf - 1, 'not-yet'], [table.claims.exp - 1, 'accept'], [table.claims.exp, 'expired']]) {
    context.mock.timers.enable({ apis: ['Date'], now: now * 1000 + 999 });
    const found = await verifyOffer(token, { keys, issuer, audience });
    assert.equal(typeof found === 'string' ? found : 'accept', outcome);
    context.mock.timers.reset();
  }
});

test('a key that is trusted no more is believed no more', async () => {
  const [{ token, now_s: now }] = table.tokens;
  assert.equal(await verifyOffer(token, { keys: keys.slice(1), issuer, audience, now }), 'unknown-key');
});

test('draws and subjects are what the page says, written a second time', () => {
  const half = (...parts) => createHmac('sha256', table.secret).update(Buffer.concat(parts)).digest('hex').slice(0, 32);
  const u32 = (value) => Buffer.from(new Uint32Array([value]).buffer);
  const sized = (text) => [u32(Buffer.byteLength(text)), Buffer.from(text)];
  for (const { user, subject } of table.subjects) assert.equal(half(Buffer.from(`selvedge user v1\n${user}`)), subject, user);
  for (const { user, campaign, epoch, draw } of table.draws) {
    const last = Buffer.from(new BigInt64Array([BigInt(epoch)]).buffer);
    assert.equal(half(Buffer.from('selvedge draw v1\n'), ...sized(user), ...sized(campaign), last), draw, `${user} ${campaign} ${epoch}`);
  }
});

test('buckets are those of a second implementation', () => {
  const fnv1a32 = (text) => {
    let hash = 0x811c9dc5;
    for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193) >>> 0;
    return hash;
  };
  for (const { seed, user, bucket } of table.buckets) assert.equal(fnv1a32(`${fnv1a32(seed + user)}`) % 10_000, bucket, seed);
});

test('a general JWT library reads the same claims, and what it signs is believed if it has the one form', async () => {
  const [{ token, now_s: now }] = table.tokens;
  const [, x] = table.keys[0].split(':');
  const publicKey = await importJWK({ kty: 'OKP', crv: 'Ed25519', x }, 'EdDSA');
  const options = { issuer, audience, currentDate: new Date(now * 1000), typ: 'selvedge-offer+jwt', algorithms: ['EdDSA'] };
  const { payload, protectedHeader } = await jwtVerify(token, publicKey, options);
  assert.deepEqual(payload, table.claims);
  assert.deepEqual(Object.keys(protectedHeader), ['alg', 'kid', 'typ']);

  // The table's first key, which is no secret: docs/format/offer-token.md has its id.
  const claims = Buffer.from(token.split('.')[1], 'base64url');
  const sign = (header) => new CompactSign(claims).setProtectedHeader(header).sign(keyOf(1));
  const { alg, kid, typ } = protectedHeader;
  assert.deepEqual(await verifyOffer(await sign({ alg, kid, typ }), { keys, issuer, audience, now }), table.claims);
  assert.equal(await verifyOffer(await sign({ typ, alg, kid }), { keys, issuer, audience, now }), 'malformed');
});
