// What the Worker takes of what Cloudflare gives it, measured in the workerd of this machine; fails above a limit.
//
// Local workerd is not production: its processor is another, and what can be measured is the process, not the isolate. So
// each figure is the difference to the same process with a Worker that only passes requests on.
import { readFileSync, readdirSync } from 'node:fs';

import { makeBundle, startOrigin, startWorker } from '../../../edge/worker/tests/shop.mjs';
import { module, startWorkerd } from '../../../www/sdk/test/workerd.mjs';

const ROUNDS = 9;
const REQUESTS = 2_000;
/** Milliseconds of the ticks in which Linux counts the time of a process. */
const TICK_MS = 10;

/** A Worker of one line that passes requests on, with everything around it that ours has on this machine. */
async function startPassing(origin) {
  const script = `import { DurableObject } from 'cloudflare:workers';
    export class User extends DurableObject {}
    export default { fetch: ({ url }) => fetch('${origin.address}' + new URL(url).pathname) };`;
  const miniflare = startWorkerd([module('passing.js', script)], {
    r2Buckets: ['BUNDLES', 'LOG'],
    durableObjects: { USERS: { className: 'User', useSQLite: true } },
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
  });
  await miniflare.ready;
  await miniflare.getR2Bucket('BUNDLES');
  return { fetch: (path) => miniflare.dispatchFetch(`http://shop.example${path}`), close: () => miniflare.dispose() };
}

/** Ours. It samples no decision for the log, and ranks once it has a bundle. */
async function startRanking(origin) {
  const worker = await startWorker(origin, { log: { share: 0 } });
  await worker.publish(makeBundle());
  return worker;
}

/** Milliseconds from the start of workerd to the first answer, which either Worker passes on. */
async function startTime(start) {
  const began = performance.now();
  const worker = await start();
  await (await worker.fetch('/other')).arrayBuffer();
  const took = performance.now() - began;
  await worker.close();
  return took;
}

/** Milliseconds of processor per request for a feed, and megabytes of memory after them. */
async function use(start) {
  const worker = await start();
  const request = async () => (await worker.fetch('/feed/hundred')).arrayBuffer();
  await request();
  const before = processOfWorkerd().ticks;
  for (let at = 0; at < REQUESTS; at++) await request();
  const { ticks, memoryMb } = processOfWorkerd();
  await worker.close();
  return { cpuMs: ((ticks - before) * TICK_MS) / REQUESTS, memoryMb };
}

/** Our only child of that name. */
function processOfWorkerd() {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let status;
    try {
      status = readFileSync(`/proc/${pid}/status`, 'utf8');
    } catch {
      continue; // It has ended since.
    }
    if (!status.startsWith('Name:\tworkerd\n') || !status.includes(`\nPPid:\t${process.pid}\n`)) continue;
    const times = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return { ticks: Number(times[11]) + Number(times[12]), memoryMb: (Number(/VmRSS:\s+(\d+)/.exec(status)[1]) * 1024) / 1e6 };
  }
  throw new Error('workerd is not running');
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

function report(what, value, unit, limit) {
  console.log(`${what}: ${value.toFixed(2)} ${unit}, of ${limit} ${unit}`);
  if (!(value < limit)) process.exitCode = 1;
}

const origin = await startOrigin();
try {
  const passing = () => startPassing(origin);
  const started = { passing: [], ours: [] };
  for (let round = 0; round < ROUNDS; round++) {
    started.passing.push(await startTime(passing));
    started.ours.push(await startTime(() => startWorker(origin)));
  }
  const [passed, ranked] = [await use(passing), await use(() => startRanking(origin))];
  report('start-up', median(started.ours) - median(started.passing), 'ms', 1_000);
  report('processor time of ranking 100 items', ranked.cpuMs - passed.cpuMs, 'ms', 10);
  report('memory', ranked.memoryMb - passed.memoryMb, 'MB', 128);
} finally {
  await origin.close();
}
