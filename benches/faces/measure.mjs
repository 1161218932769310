// Times in rounds: what is compared takes turns within a round, and a figure is the median of the rounds' medians.

/** The value that a share of the values is below. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

export const median = (values) => quantile(values, 0.5);

/** How long it takes, milliseconds. */
export async function timed(run) {
  const began = process.hrtime.bigint();
  await run();
  return Number(process.hrtime.bigint() - began) / 1e6;
}

/**
 * A figure from the samples of each round. `spread` are the lowest and the highest median of a round: what another run may
 * find as well.
 */
export function figure(face, what, unit, rounds, more = {}) {
  const medians = rounds.map(median);
  return {
    face,
    what,
    median: median(medians),
    p99: quantile(rounds.flat(), 0.99),
    unit,
    rounds: rounds.length,
    samples: rounds.flat().length,
    spread: [Math.min(...medians), Math.max(...medians)],
    ...more,
  };
}
