/** Rules and draws in words. */
import type { RankedItem, Rule } from 'selvedge';

import type { Policy } from './shop.js';

const WORDS: Readonly<Record<Rule, string>> = {
  pinned: 'Pinned',
  diversity: 'Diversity',
  'at-most': 'Cap',
  explored: 'Explored',
};

export function ruleWords({ rules, propensity }: RankedItem): string[] {
  return rules.map((rule) => (rule === 'explored' ? `${WORDS[rule]}, p = ${probability(propensity)}` : WORDS[rule]));
}

/** What was drawn, and with which probability: for the first place that no pin takes. */
export function drawWords(items: readonly RankedItem[], { explore }: Policy, requestId: string): string {
  const drawn = items.find(({ rules }) => !rules.includes('pinned'));
  if (explore === 'off' || !drawn) return 'Nothing is drawn: the same state gives the same order.';
  const what = drawn.rules.includes('explored') ? 'an explored product' : 'the policy’s own choice';
  return `First free place: ${what}, which had the probability ${probability(drawn.propensity)}. Request ${requestId.slice(0, 8)}… seeds the draw.`;
}

const probability = (value: number): string => (value >= 0.01 ? value.toFixed(2) : value.toPrecision(1));
