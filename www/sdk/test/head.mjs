// Signed heads, as `selvedge publish` makes them: docs/format/channel-head.md.
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';

/** A private key from a number: no secret, and the same in every run. */
export function keyOf(number) {
  // PKCS#8 around 32 bytes (RFC 8410).
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, number)]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

const rawPublic = (key) => createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);

/** The text that hosts and edges are given. */
export const publicKey = (key) => `ed25519:${rawPublic(key).toString('base64url')}`;

export const CHANNEL = 'shop';
export const KEY = keyOf(1);
export const PUBLIC_KEY = publicKey(KEY);

const varint = (value) => {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
};
const zigzag = (value) => varint(BigInt(value) * 2n);
const text = (value) => Buffer.concat([varint(Buffer.byteLength(value)), Buffer.from(value)]);
const option = (value, write) => (value ? Buffer.concat([Buffer.from([1]), write(value)]) : Buffer.from([0]));
const blob = ({ id, size }) => Buffer.concat([Buffer.from(id, 'hex'), varint(size)]);

/** A head; `key` signs it. */
export function makeHead({
  channel = CHANNEL,
  sequence = 1,
  now = Date.now(),
  notBefore = now - 3_600_000,
  notAfter = now + 3_600_000,
  bundle,
  shared,
  rollout,
  prices = [],
  guard,
  killed = false,
  key = KEY,
}) {
  const payload = Buffer.concat([
    text(channel),
    varint(sequence),
    zigzag(now),
    zigzag(notBefore),
    zigzag(notAfter),
    blob(bundle),
    option(shared, blob),
    option(rollout, (it) => Buffer.concat([blob(it.bundle), option(it.shared, blob), varint(it.share), varint(it.salt)])),
    varint(prices.length),
    ...prices.map(({ budget, micros }) => Buffer.concat([text(budget), varint(micros)])),
    option(guard, (it) => Buffer.concat([varint(it.maxFallbackShare), varint(it.minDecisions)])),
    Buffer.from([killed ? 1 : 0]),
  ]);
  const header = Buffer.alloc(24);
  header.write('SELVHEAD', 'latin1');
  header.writeUInt16LE(1, 8);
  header.writeUInt16LE(payload.length, 10);
  createHash('sha256').update(rawPublic(key)).digest().copy(header, 16, 0, 8);
  const signature = sign(null, Buffer.concat([Buffer.from('selvedge head v1\n'), header, payload]), key);
  return Buffer.concat([header, signature, payload]);
}
