// Calls an engine and times it, in any JavaScript host. Knows no engine: `call(rows, set)` gives the scores of the inputs of
// that number, or a promise of them.

/** A call that takes longer is not timed: a round would take minutes. */
const SLOWEST_MS = 1_000;
/** Calls are timed in groups of at least this, so that reading the clock costs nothing beside them; more where it is coarse. */
const GROUP_MS = 1;

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/** Calls in turn over the sets of inputs. */
function group(engine, rows, calls) {
  const { call, sets } = engine;
  for (let at = 0; at < calls; at++) call(rows, at % sets);
}

async function asyncGroup(engine, rows, calls) {
  const { call, sets } = engine;
  for (let at = 0; at < calls; at++) await call(rows, at % sets);
}

async function timedGroup(engine, rows, calls) {
  const began = performance.now();
  if (engine.isAsync) await asyncGroup(engine, rows, calls);
  else group(engine, rows, calls);
  return performance.now() - began;
}

/** The scores of all sets, or how many milliseconds one call takes where that is too long. */
export async function check(engine, rows) {
  const outputs = [];
  for (let set = 0; set < engine.sets; set++) {
    const began = performance.now();
    outputs.push(Array.from(await engine.call(rows, set)));
    const took = performance.now() - began;
    if (took > SLOWEST_MS) return { slow_ms: took };
  }
  return { outputs };
}

/** Microseconds of a call: the median over groups, for so many milliseconds. */
export async function time(engine, rows, millis) {
  engine.groups ??= {};
  let calls = engine.groups[rows];
  if (!calls) {
    calls = 1;
    while ((await timedGroup(engine, rows, calls)) < (engine.groupMs ?? GROUP_MS)) calls *= 2;
    engine.groups[rows] = calls;
  }
  const end = performance.now() + millis;
  const samples = [];
  do samples.push((await timedGroup(engine, rows, calls)) / calls);
  while (performance.now() < end);
  return { us: median(samples) * 1_000, calls: samples.length * calls };
}
