// One engine on one workload: `node drive.mjs ENGINE WORKLOAD`. Questions come as lines of JSON, answers go as lines.
//
// A process has one engine, and never a second: onnxruntime-web and onnxruntime-node share a registry of backends, so that
// in one process one of them runs the other's code. Where a package is, is in the environment: `PEER` is the folder that it
// was installed into.
import { createInterface } from 'node:readline';

const began = performance.now();
const memory = process.memoryUsage().rss;
const [name, workload] = process.argv.slice(2);

const ENGINES = {
  'onnxruntime-web': () => import('./onnxruntime.mjs'),
  'onnxruntime-node': () => import('./onnxruntime.mjs'),
  'tfjs-wasm': () => import('./tfjs.mjs'),
  'tract-wasm': () => import('./tract.mjs'),
  'ydf-inference': () => import('./ydf.mjs'),
  'selvedge-node': () => import('./selvedge-node.mjs'),
  'selvedge-node-decide': () => import('./selvedge-node.mjs'),
  'selvedge-node-score': () => import('./selvedge-node.mjs'),
  'selvedge-chromium': () => import('./selvedge-chromium.mjs'),
  'selvedge-workerd': () => import('./selvedge-workerd.mjs'),
  'simd-peak': () => import('./peak.mjs'),
};

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

let engine;
try {
  engine = await (await ENGINES[name]()).load(workload, name);
  const { check, time } = engine.remote ?? (await import('./harness.mjs'));
  const rows = Math.min(100, Math.max(...engine.rows));
  const first = await check({ ...engine, sets: 1 }, rows);
  const { version, settings, files = [] } = engine;
  const first_ms = performance.now() - began;
  say({ version, settings, files, first_ms, memory_bytes: process.memoryUsage().rss - memory, ...('slow_ms' in first && first) });
  for await (const line of createInterface({ input: process.stdin })) {
    const asked = JSON.parse(line);
    if ('check' in asked) say(await check(engine, asked.check));
    else if ('profile' in asked) say(await (await import('./profile.mjs')).profile(engine, asked.profile, asked.millis));
    else say(await time(engine, asked.time, asked.millis));
  }
} catch (error) {
  say({ error: String(error?.message ?? error).split('\n')[0] });
}
await engine?.close?.();
process.exit(0);
