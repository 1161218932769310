/**
 * Verifies offer tokens, as docs/format/offer-token.md says, with the outcomes of its table of vectors. A file of its own,
 * `selvedge/offer`: a shop's server needs it, pages rarely do. It says what was promised; whether a token was used, only
 * the host knows. Nothing here can sign.
 */
import { type Key, importKeys } from './channel.js';

export { type Key, importKeys };

export type OfferRefusal =
  | 'too-long'
  | 'malformed'
  | 'unknown-field'
  | 'algorithm'
  | 'type'
  | 'unknown-key'
  | 'signature'
  | 'invalid-claim'
  | 'issuer'
  | 'audience'
  | 'not-yet'
  | 'expired';

/** What a token says. Amounts are in minor units, times in seconds since 1970-01-01 UTC, hashes and ids in hexadecimal. */
export interface OfferClaims {
  readonly iss: string;
  readonly aud: string;
  /** The keyed hash of the user. */
  readonly sub: string;
  readonly jti: string;
  readonly nbf: number;
  readonly exp: number;
  /** Hash of the offer's terms. */
  readonly terms: string;
  readonly campaign: string;
  readonly offer: string;
  readonly arm: number;
  /** The most that the offer can cost. */
  readonly face: number;
  readonly currency: string;
  readonly budgets?: readonly { readonly budget: string; readonly face: number }[];
  readonly lease: string;
  readonly bundle: string;
  readonly price: number;
  readonly epoch: number;
  readonly propensity: number;
}

export interface VerifyOfferOptions {
  /** From {@link importKeys}. Two of them overlap while a key is rotated. */
  readonly keys: readonly Key[];
  readonly audience: string;
  readonly issuer: string;
  /** Seconds since 1970-01-01 UTC; the clock's by default. */
  readonly now?: number;
  /** Seconds that clocks may differ by; none by default. */
  readonly skew?: number;
}

const MAX_LENGTH = 3072;
const MAX_VALID = 400 * 86_400 + 3600;
const MAX_MINOR = 2 ** 40;
const MAX_ARM = 16;
const MAX_FUNDERS = 8;
const PARTY = /^[!#-[\]-~]{1,128}$/;
const NAME = /^[a-z0-9._-]{1,64}$/;
const CURRENCY = /^[A-Z]{3}$/;
/** What follows the last colon: languages differ in how they write fractions. */
const FRACTION = /^[0-9.eE+-]+}$/;

type Json = { readonly [name: string]: unknown };
type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isInteger: Check = Number.isSafeInteger;
const isNatural: Check = (value) => isInteger(value) && (value as number) >= 0;
const isHex =
  (bytes: number): Check =>
  (value) =>
    isText(value) && (value as string).length === 2 * bytes && /^[0-9a-f]*$/.test(value as string);
const isBudget: Check = (value) => isObject(value) && isText(value.budget) && isNatural(value.face);

/** Types of the claims, in the order in which they are written. */
const CLAIMS: { readonly [claim in keyof OfferClaims]-?: Check } = {
  iss: isText,
  aud: isText,
  sub: isHex(16),
  jti: isHex(16),
  nbf: isNatural,
  exp: isNatural,
  terms: isHex(32),
  campaign: isText,
  offer: isText,
  arm: (value) => isNatural(value) && (value as number) < 1 << 16,
  face: isNatural,
  currency: isText,
  budgets: (value) => value === undefined || (Array.isArray(value) && value.length > 0 && value.every(isBudget)),
  lease: isHex(16),
  bundle: isHex(32),
  price: isNatural,
  epoch: isInteger,
  propensity: (value) => typeof value === 'number',
};

/** The claims of a token that is believed, or why it is not: {@link OfferRefusal}. */
export async function verifyOffer(token: string, options: VerifyOfferOptions): Promise<OfferClaims | OfferRefusal> {
  // A text of more bytes than characters has some that base64url does not have.
  if (token.length > MAX_LENGTH) return 'too-long';
  const parts = token.split('.');
  if (parts.length !== 3) return 'malformed';
  const [header, body, signature] = parts.map(bytesOf);
  const kid = header ? namedKey(header) : 'malformed';
  if (typeof kid === 'string') return kid;
  if (!body || signature?.length !== 64) return 'malformed';
  const named = options.keys.filter(({ id }) => id === kid.id);
  if (named.length === 0) return 'unknown-key';
  const message = new TextEncoder().encode(token.slice(0, token.lastIndexOf('.')));
  const isSigned = named.map(({ key }) => crypto.subtle.verify('Ed25519', key, signature as BufferSource, message));
  if (!(await Promise.all(isSigned)).includes(true)) return 'signature';

  const claims = readClaims(body);
  if (typeof claims === 'string') return claims;
  if (claims.iss !== options.issuer) return 'issuer';
  if (claims.aud !== options.audience) return 'audience';
  const { now = Math.floor(Date.now() / 1000), skew = 0 } = options;
  if (now + skew < claims.nbf) return 'not-yet';
  return now >= claims.exp + skew ? 'expired' : claims;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The bytes of a part in unpadded base64url, if it is in its one form. */
function bytesOf(part: string): Uint8Array | null {
  if (!/^[\w-]*$/.test(part) || part.length % 4 === 1) return null;
  const letters = atob(part.replace(/-/g, '+').replace(/_/g, '/'));
  // Written again, bits that belong to no byte would be 0.
  const again = btoa(letters).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');
  return again === part ? Uint8Array.from(letters, (letter) => letter.charCodeAt(0)) : null;
}

function textOf(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

function objectOf(text: string | null): Json | null {
  try {
    const value: unknown = JSON.parse(text ?? '');
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function namedKey(bytes: Uint8Array): { readonly id: string } | OfferRefusal {
  const text = textOf(bytes);
  const header = objectOf(text);
  if (!header) return 'malformed';
  if (Object.keys(header).some((name) => !['alg', 'kid', 'typ'].includes(name))) return 'unknown-field';
  const { alg, kid, typ } = header;
  if (![alg, kid, typ].every(isText)) return 'malformed';
  if (alg !== 'EdDSA') return 'algorithm';
  if (typ !== 'selvedge-offer+jwt') return 'type';
  // Whatever else was written there, spaces or a member twice: it is another text.
  return isHex(8)(kid) && text === JSON.stringify({ alg, kid, typ }) ? { id: kid as string } : 'malformed';
}

function readClaims(bytes: Uint8Array): OfferClaims | OfferRefusal {
  const text = textOf(bytes);
  const read = objectOf(text);
  if (!read) return 'malformed';
  const names = Object.keys(CLAIMS) as (keyof OfferClaims)[];
  if (Object.keys(read).some((name) => !Object.hasOwn(CLAIMS, name))) return 'unknown-field';
  if (!names.every((name) => CLAIMS[name](Object.hasOwn(read, name) ? read[name] : undefined))) return 'malformed';
  const { budgets } = read as unknown as OfferClaims;
  const written = { ...read, budgets: budgets?.map(({ budget, face }) => ({ budget, face })), propensity: 0 };
  // Members in their order; what they do not have besides is left out, and missing below.
  const form = JSON.stringify(written, ['budget', ...names]).replace(/0}$/, '');
  return text?.startsWith(form) && FRACTION.test(text.slice(form.length)) ? inRange(read as unknown as OfferClaims) : 'malformed';
}

function inRange(claims: OfferClaims): OfferClaims | 'invalid-claim' {
  const { nbf, exp, face, budgets = [] } = claims;
  const isSound =
    [claims.iss, claims.aud].every((party) => PARTY.test(party)) &&
    [claims.campaign, claims.offer, ...budgets.map(({ budget }) => budget)].every((name) => NAME.test(name)) &&
    exp > nbf &&
    exp - nbf <= MAX_VALID &&
    claims.arm >= 1 &&
    claims.arm <= MAX_ARM &&
    face >= 1 &&
    face <= MAX_MINOR &&
    CURRENCY.test(claims.currency) &&
    budgets.length <= MAX_FUNDERS &&
    budgets.every(({ budget }, at) => at === 0 || (budgets[at - 1]?.budget ?? '') < budget) &&
    (budgets.length === 0 || budgets.reduce((sum, part) => sum + part.face, 0) === face) &&
    claims.propensity > 0 &&
    claims.propensity <= 1;
  return isSound ? claims : 'invalid-claim';
}
