// Many requests with faults on every side at once: the origin, users' states, bundles, the log, the module itself. Every
// request whose origin answers 2xx must be answered 2xx, with the origin's bytes or its items in another order.
import { Agent, request } from 'node:http';

import { DEEP, FEED, bundleId, feedOf, json, makeBundle, says, sleep, startOrigin, startWorker, token } from './shop.mjs';

/** What stands before the Worker and breaks what it leans on, as `x-fault` and the user's name say. */
const FAULTS = `
  import worker, { User as Real } from './index.js';
  const real = crypto.getRandomValues.bind(crypto);
  let isArmed = false;
  let trapped = 0;
  crypto.getRandomValues = (bytes) => {
    // A new instance is given a moment, or nothing but traps would be tried.
    if (isArmed && Date.now() - trapped > 1_000) {
      [isArmed, trapped] = [false, Date.now()];
      throw new WebAssembly.RuntimeError('unreachable');
    }
    return real(bytes);
  };
  let puts = 0;
  class R2Bucket {
    constructor(log) { this.log = log; }
    put(...args) { return ++puts % 3 === 0 ? Promise.reject(new Error('the log is down')) : this.log.put(...args); }
  }
  export class User extends Real {
    async fetch(request) {
      const name = this.ctx.id.name ?? '';
      if (name.startsWith('slow')) await scheduler.wait(150);
      if (name.startsWith('broken')) throw new Error('the object is broken');
      if (name.startsWith('noise')) return new Response('this is no state');
      return super.fetch(request);
    }
  }
  export default {
    fetch(request, env, context) {
      if (request.headers.has('x-trap')) isArmed = true;
      return worker.fetch(request, { ...env, LOG: new R2Bucket(env.LOG) }, context);
    },
  };`;

const LARGE = `{"data":{"items":[{"id":"a","text":"${'x'.repeat(3 << 20)}"}]}}`;
/** Longest that a state or the rest of a body may take, milliseconds: what is slow here takes longer. */
const LIMITS = { origin_ms: 100, state_ms: 80 };

/** Paths of the origin besides those of the shop. */
const ANSWERS = {
  '/feed/slow': (request, response) => {
    response.writeHead(200, json);
    response.write(FEED.slice(0, 40));
    setTimeout(() => response.end(FEED.slice(40)), 150);
  },
  '/feed/late': (request, response) => setTimeout(() => says(FEED)(request, response), 150),
  '/feed/large': says(LARGE),
};

const user = (name) => ({ headers: { cookie: `uid=${token(name)}` } });
const hundred = JSON.stringify({ time: 1_795_545_000_000, candidates: Array.from({ length: 100 }, (_, at) => ({ id: `i${at}`, price: at })) });

/** What is asked, how often beside the others, and what the body must be. */
const ASKED = [
  { what: 'no fault', weight: 30, path: '/feed/hundred', body: feedOf(100) },
  { what: 'no fault, a known user', weight: 20, path: '/feed/good', init: user('u1'), body: FEED },
  { what: 'no fault, a page', weight: 5, path: '/page', init: user('u1') },
  { what: 'no fault, the API', weight: 10, path: '/v1/rank', init: { method: 'POST', headers: json, body: hundred } },
  { what: 'a forged id', weight: 3, path: '/feed/good', init: { headers: { cookie: 'uid=u1.00' } }, body: FEED },
  { what: 'origin slow in the body', weight: 2, path: '/feed/slow', body: FEED },
  { what: 'origin slow to begin', weight: 2, path: '/feed/late', body: FEED },
  { what: 'origin malformed', weight: 4, path: '/feed/malformed', body: '{"data": {"items": [' },
  { what: 'origin names the array twice', weight: 2, path: '/feed/twice', body: '{"data":{"items":[1],"items":[2]}}' },
  { what: 'origin nests deeply', weight: 2, path: '/feed/deep', body: DEEP },
  { what: 'origin is no UTF-8', weight: 2, path: '/feed/latin' },
  { what: 'origin has 5,000 items', weight: 2, path: '/feed/many', body: feedOf(5_000) },
  { what: 'origin has 3 MB', weight: 1, path: '/feed/large', body: LARGE },
  { what: 'origin breaks off', weight: 2, path: '/feed/reset', breaks: true },
  { what: 'origin hangs up', weight: 2, path: '/feed/hangs-up', of: 502, breaks: true },
  { what: 'origin 503', weight: 2, path: '/feed/failing', of: 503 },
  { what: 'origin 404', weight: 2, path: '/feed/missing', of: 404 },
  { what: 'state slow', weight: 2, path: '/feed/good', init: user('slow'), body: FEED },
  { what: 'state throws', weight: 3, path: '/feed/good', init: user('broken'), body: FEED },
  { what: 'state is noise', weight: 3, path: '/feed/good', init: user('noise'), body: FEED },
  { what: 'a trap', weight: 1, path: '/feed/hundred', init: { headers: { 'x-trap': '1' } }, body: feedOf(100) },
];

/** Connections are kept, but for those that an origin is about to break. */
const [kept, single] = [new Agent({ keepAlive: true }), new Agent({ keepAlive: false })];

/** An answer and as much of its body as came. */
function ask(url, { method = 'GET', headers = {}, body } = {}, agent = kept) {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers, agent }, (response) => {
      const chunks = [];
      const done = () => resolve({ status: response.statusCode, said: response.headers['selvedge-status'], body: Buffer.concat(chunks).toString() });
      response.on('data', (chunk) => chunks.push(chunk)).on('end', done).on('error', agent === single ? done : reject);
    });
    asked.on('error', reject).end(body);
  });
}

/** Numbers that look drawn, and are the same every time. */
function* drawn() {
  for (let state = 7; ; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state / 2 ** 32;
  }
}

function* chosen() {
  const total = ASKED.reduce((sum, { weight }) => sum + weight, 0);
  for (const number of drawn()) {
    let left = number * total;
    yield ASKED.find(({ weight }) => (left -= weight) < 0);
  }
}

/** The items of a feed whatever their order, and every byte outside of them. */
const content = (body) => [...body].sort().join('');

/** Why an answer is not one that the shopper should get; null if it is. */
function wrong({ of = 200, body }, answer) {
  if (answer.status !== of) return `${answer.status} in place of ${of}`;
  if (body !== undefined && answer.body !== body && content(answer.body) !== content(body)) return 'other bytes than the origin\'s';
  return null;
}

/** Publishes good and bad bundles in turn until `isOver` says so. */
async function publish(worker, isOver) {
  const [bundle, newer] = [makeBundle(1), makeBundle(-1)];
  const future = Buffer.from(makeBundle(2));
  future.writeUInt16LE(9, 8);
  // What is in place, and for how long, milliseconds.
  const turns = [
    [newer, bundleId(newer), 2_000],
    [newer.subarray(0, 200), bundleId(makeBundle(3)), 500],
    [bundle, bundleId(bundle), 2_000],
    [future, bundleId(future), 500],
  ];
  for (let turn = 0; !isOver(); turn++) {
    const [bytes, named, ms] = turns[turn % turns.length];
    await worker.publish(bytes, named);
    for (let waited = 0; waited < ms && !isOver(); waited += 100) await sleep(100);
  }
}

/**
 * Sends so many requests, a few at a time. Returns how many were sent by fault and what became of them, and what went wrong
 * because of us.
 */
export async function storm(requests, { together = 16 } = {}) {
  const origin = await startOrigin(ANSWERS);
  const worker = await startWorker(origin, { limits: LIMITS, log: { share: 0.1, delay_ms: 50 } }, { entry: FAULTS, quiet: true });
  const faults = new Map(ASKED.map(({ what }) => [what, { sent: 0, became: {} }]));
  const failures = [];
  let sent = 0;
  try {
    await worker.publish(makeBundle(1));
    const address = await worker.address();
    const next = chosen();
    const send = async () => {
      while (sent < requests) {
        sent += 1;
        const asked = next.next().value;
        const fault = faults.get(asked.what);
        fault.sent += 1;
        try {
          const answer = await ask(new URL(asked.path, address), asked.init, asked.breaks ? single : kept);
          const became = answer.said ?? String(answer.status);
          fault.became[became] = (fault.became[became] ?? 0) + 1;
          const why = wrong(asked, answer);
          if (why) failures.push(`${asked.what}: ${why}`);
        } catch (error) {
          // Of what the origin broke off, nothing at all may come.
          if (asked.path !== '/feed/reset') failures.push(`${asked.what}: ${String(error)}`);
        }
      }
    };
    const publishing = publish(worker, () => sent >= requests);
    await Promise.all(Array.from({ length: together }, send));
    await publishing;
    return { requests: sent, failures, faults: Object.fromEntries(faults), counters: (await worker.status()).counters };
  } finally {
    kept.destroy();
    await worker.close();
    await origin.close();
  }
}
