// Where calls of an engine spend their time, by the sampling profiler of V8.
import { Session } from 'node:inspector/promises';

const WARM_UP_MS = 300;
const INTERVAL_US = 100;

/** Samples of each function of the module; all else is `JavaScript`. */
export async function profile({ call, sets }, rows, millis) {
  const run = (span) => {
    const end = performance.now() + span;
    for (let at = 0; performance.now() < end; at++) call(rows, at % sets);
  };
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: INTERVAL_US });
  run(WARM_UP_MS);
  await session.post('Profiler.start');
  run(millis);
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  const names = new Map(profile.nodes.map(({ id, callFrame: { url, functionName } }) => [id, url.startsWith('wasm:') ? functionName : 'JavaScript']));
  const samples = new Map();
  for (const id of profile.samples) samples.set(names.get(id), (samples.get(names.get(id)) ?? 0) + 1);
  return { functions: [...samples] };
}
