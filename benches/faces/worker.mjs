// What the Worker adds to an answer of the origin, in workerd on this machine: the same request straight to the origin,
// through a Worker that only passes it on, and through ours, in turn.
import { Agent, get } from 'node:http';

import { says, startOrigin, startWorker, token } from '../../edge/worker/tests/shop.mjs';
import { storm } from '../../edge/worker/tests/storm.mjs';
import { module, startWorkerd } from '../../www/sdk/test/workerd.mjs';
import { bundle, events, feed, idOf, shared } from './grocer.mjs';
import { figure, timed } from './measure.mjs';

const ROUNDS = 9;
const STORM = 20_000;

/** An answer, read to its end over one connection that is kept. */
function ask(agent, url, headers, expected) {
  return new Promise((resolve, reject) => {
    get(url, { agent, headers }, (response) => {
      const said = response.headers['selvedge-status'];
      if (response.statusCode !== 200 || said !== expected) reject(new Error(`${url}: ${response.statusCode} ${said}`));
      response.on('data', () => undefined).on('end', resolve).on('error', reject);
    }).on('error', reject);
  });
}

/** A Worker that does nothing: what the platform itself takes. */
async function startNothing(origin) {
  const script = `export default { fetch: (request) => fetch(new Request('${origin.address}' + new URL(request.url).pathname, request)) };`;
  const nothing = startWorkerd([module('nothing.js', script)], { unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }] });
  await nothing.ready;
  return nothing;
}

async function addUser(worker) {
  const headers = { cookie: `uid=${token('u1')}` };
  for (let at = 0; at < events.length; at += 100) {
    const response = await worker.post('/v1/events', { events: events.slice(at, at + 100) }, headers);
    if (response.status !== 200) throw new Error(`events: ${response.status} ${await response.text()}`);
  }
  return headers;
}

export async function worker({ isQuick }) {
  const origin = await startOrigin({ '/api/feed': says(feed(100)) });
  const nothing = await startNothing(origin);
  const ours = await startWorker(origin, { feeds: [{ path: '/api/feed', items: ['items'] }], limits: {}, log: {} });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    await ours.publishAll(bundle, shared);
    await ours.fetch('/api/feed');
    const known = await addUser(ours);
    const at = (address) => new URL('/api/feed', address);
    const [direct, through, empty] = [at(origin.address), at(await ours.address()), at(await nothing.unsafeGetDirectURL())];
    const ways = {
      direct: () => ask(agent, direct, {}, undefined),
      empty: () => ask(agent, empty, {}, undefined),
      unknown: () => ask(agent, through, {}, 'personalized'),
      known: () => ask(agent, through, known, 'personalized'),
    };
    const names = Object.keys(ways);
    for (let warm = 0; warm < 1_500; warm++) for (const name of names) await ways[name]();
    const added = { empty: [], unknown: [], known: [] };
    for (let round = 0; round < ROUNDS; round++) {
      const times = Object.fromEntries(names.map((name) => [name, []]));
      for (let sample = 0; sample < (isQuick ? 30 : 300); sample++) {
        for (const name of names) times[name].push(await timed(ways[name]));
      }
      // Pairs of the same moment, so that what the machine does meanwhile is in both.
      for (const name of Object.keys(added)) added[name].push(times[name].map((time, sample) => time - times.direct[sample]));
    }
    const bytes = Buffer.byteLength(feed(100));
    const what = `added to the origin's answer, 100 candidates in ${Math.round(bytes / 1_000)} kB, 300 trees`;
    return [
      figure('worker', `${what}, unknown user`, 'ms', added.unknown, { target: 1 }),
      figure('worker', `${what}, user with a state from a Durable Object`, 'ms', added.known),
      figure('worker', 'added by a Worker that only passes on', 'ms', added.empty),
    ];
  } finally {
    agent.destroy();
    await ours.close();
    await nothing.dispose();
    await origin.close();
  }
}

/** Requests that were answered worse than by the origin alone, among many with faults. */
export async function faults({ isQuick }) {
  const { requests, failures, faults } = await storm(isQuick ? 1_000 : STORM);
  for (const failure of failures.slice(0, 10)) console.error(failure);
  for (const [what, { sent, became }] of Object.entries(faults)) console.error(`  ${what}: ${sent}, ${JSON.stringify(became)}`);
  return [
    {
      face: 'worker',
      what: `requests answered worse than by the origin alone, of ${requests} with faults injected`,
      median: failures.length,
      p99: failures.length,
      unit: 'requests',
      rounds: 1,
      samples: requests,
      target: 0,
      faults,
    },
  ];
}
