// A decision in Node.
import { load } from 'selvedge';

import { bundle, candidates, shared, state } from './grocer.mjs';
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
  return figures;
}
