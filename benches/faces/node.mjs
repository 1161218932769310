// Decisions in Node: a ranking, and a coupon.
import { load } from 'selvedge';

import { bundle, candidates, coupons, shared, state } from './grocer.mjs';
import { figure, timed } from './measure.mjs';

const ROUNDS = 9;
const TIME = 1_795_000_000_000;

export async function node({ isQuick }) {
  const engine = await load({ bundle, shared, state });
  const figures = [];
  for (const count of [20, 100, 200, 500]) {
    const asked = candidates(count);
    const rank = () => engine.rank(asked, { query: ['word-1', 'word-5'] }, { time: TIME });
    for (let warm = 0; warm < 200; warm++) await rank();
    const rounds = [];
    for (let round = 0; round < ROUNDS; round++) {
      const samples = [];
      for (let at = 0; at < (isQuick ? 20 : 200); at++) samples.push((await timed(rank)) * 1_000);
      rounds.push(samples);
    }
    const { status } = await rank();
    if (status !== 'personalized') throw new Error(`the decision is ${status}`);
    figures.push(figure('node', `decision, ${count} candidates, 300 trees`, 'us', rounds));
  }
  await engine.close();
  for (const responses of ['linear', 'trees']) figures.push(await coupon(responses, isQuick));
  return figures;
}

/** Microseconds that a decision over eight arms may take at the median. */
const COUPON_TARGET = 20;
/** So short a call is timed in groups: reading the clock takes a part of a microsecond. */
const GROUP = 20;

async function coupon(responses, isQuick) {
  const engine = await load({ bundle: coupons[responses], state: coupons.state });
  const price = { price: 1.25, left: 1_000_000 };
  const offer = {
    campaign: 'spring',
    draw: 'ff'.repeat(16),
    budgets: { shop: price, brand: price },
    counts: [{ campaign: 'spring', cap: 0, count: 1 }],
  };
  const options = { time: TIME, utcOffsetMin: 60, requestId: '07'.repeat(16), user: { age: 36 }, offer };
  const decide = () => engine.rank(['page'], {}, options);
  for (let warm = 0; warm < 5_000; warm++) await decide();
  const group = async () => {
    for (let at = 0; at < GROUP; at++) await decide();
  };
  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) {
    const samples = [];
    for (let at = 0; at < (isQuick ? 20 : 200); at++) samples.push(((await timed(group)) * 1_000) / GROUP);
    rounds.push(samples);
  }
  const { offer: answer } = await decide();
  if (answer?.arms.length !== 9) throw new Error(`no arms: ${answer?.reason}`);
  await engine.close();
  const what = responses === 'linear' ? 'linear responses' : 'responses of 20 trees each';
  return figure('node', `coupon over 8 arms, ${what}`, 'us', rounds, { target: COUPON_TARGET });
}
