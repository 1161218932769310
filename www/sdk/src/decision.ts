/** Reads decisions; `docs/format/decision.md` is the layout. */
import { ENGINE_CODES } from './errors.js';
import type { Decision, NoOffer, OfferAnswer, OfferArm, OfferQuestion, RankedItem, Rule } from './types.js';

const HEAD = 128;
const ENTRY = 24;
const NO_FEATURE = 0xffff_ffff;
const RULES: readonly (readonly [number, Rule])[] = [
  [1, 'pinned'],
  [2, 'diversity'],
  [4, 'at-most'],
  [8, 'explored'],
];
const NO_OFFERS: readonly NoOffer[] = [
  'no-campaign',
  'outside-window',
  'not-eligible',
  'capped',
  'no-budget',
  'margin-floor',
  'not-worth-it',
  'fallback',
  'drawn',
];
const ARM = 20;
const FALLBACKS = [
  'invalid-request',
  'invalid-state',
  'too-many-candidates',
  'cost-limit',
  'no-candidates',
  'not-loaded',
] as const;

export type EngineFallback = (typeof FALLBACKS)[number];

/** Reads what the engine wrote; it wrote it a moment ago, so nothing is checked again. */
export function readDecision(bytes: Uint8Array, id: (candidate: number) => string, names: readonly string[]): Decision {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const slots = view.getUint32(104, true);
  const contributions = view.getUint32(108, true);
  const block = (at: number): number => view.getUint32(HEAD + ENTRY * at + 16, true);
  const [candidates, scores, propensities, rules, features, effects] = [0, 1, 2, 3, 4, 5].map(block) as [
    number, number, number, number, number, number,
  ];
  const items: RankedItem[] = [];
  for (let slot = 0; slot < slots; slot++) {
    const index = view.getUint32(candidates + 4 * slot, true);
    const bits = view.getUint32(rules + 4 * slot, true);
    const reasons = [];
    for (let k = slot * contributions; k < (slot + 1) * contributions; k++) {
      const feature = view.getUint32(features + 4 * k, true);
      if (feature === NO_FEATURE) break;
      reasons.push({ feature: names[feature] ?? String(feature), effect: view.getFloat32(effects + 4 * k, true) });
    }
    const score = view.getFloat32(scores + 4 * slot, true);
    items.push({
      index,
      id: id(index),
      score: Number.isNaN(score) ? null : score,
      propensity: view.getFloat32(propensities + 4 * slot, true),
      rules: RULES.filter(([bit]) => bits & bit).map(([, name]) => name),
      reasons,
    });
  }
  const [status, reason, error] = [view.getUint16(96, true), view.getUint16(98, true), view.getUint16(120, true)];
  return {
    status: status === 0 ? 'personalized' : status === 1 ? 'control' : 'fallback',
    reason: status === 0 ? (reason === 1 ? 'cost-limit' : null) : status === 1 ? 'holdout' : (FALLBACKS[reason - 1] ?? 'invalid-request'),
    error: ENGINE_CODES[error - 1] ?? null,
    requestId: hex(bytes.subarray(16, 32)),
    bundleId: identity(bytes.subarray(32, 64)),
    sharedId: identity(bytes.subarray(64, 96)),
    items,
    // The seventh block is there where an offer was asked for.
    offer: view.getUint16(6, true) > 6 ? readOffer(view, block(6)) : null,
    bytes,
  };
}

/** The answer to a question for an offer that no engine was asked. */
export function noOffer({ draw }: OfferQuestion): OfferAnswer {
  const preview = draw === undefined;
  const propensity = preview ? null : 1;
  return { campaign: null, epoch: 0, status: 'none', reason: 'fallback', arm: 0, best: 0, preview, propensity, arms: [] };
}

function readOffer(view: DataView, at: number): OfferAnswer {
  const word = (offset: number): number => view.getUint32(at + offset, true);
  const arms: OfferArm[] = [];
  for (let k = 0; k < word(36); k++) {
    const start = 40 + ARM * k;
    const number = (offset: number): number => view.getFloat32(at + start + offset, true);
    const mask = word(start);
    arms.push({
      masked: (['no-budget', 'margin-floor'] as const).filter((_, bit) => mask & (1 << bit)),
      response: number(4),
      value: number(8),
      cost: number(12),
      score: number(16),
    });
  }
  const [campaign, status, preview] = [view.getBigUint64(at, true), view.getUint16(at + 16, true), word(28) === 0];
  return {
    campaign: campaign === 0n ? null : campaign.toString(16).padStart(16, '0'),
    epoch: Number(view.getBigInt64(at + 8, true)),
    status: status === 0 ? 'offered' : status === 1 ? 'held-out' : 'none',
    reason: status === 2 ? (NO_OFFERS[view.getUint16(at + 18, true) - 1] ?? 'fallback') : null,
    arm: word(20),
    best: word(24),
    preview,
    propensity: preview ? null : view.getFloat32(at + 32, true),
    arms,
  };
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function identity(bytes: Uint8Array): string | null {
  return bytes.some((byte) => byte !== 0) ? hex(bytes) : null;
}
