// The object that holds money for offers, when something ends: the module, the object, the word of the head, the demand.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { bindingsOf, makeCampaigns, offersOf, startHost } from './host.mjs';
import { bundleId, sleep, startOrigin, startWorker, token } from './shop.mjs';

const BUDGET = 20_000;
/** For a host on a machine that does other things as well. */
const PATIENCE_MS = 10_000;
/** Prices are good for 50 s without a word of the head, and a lease goes back after 60 s without use. */
const AT_MOST_MS = 100_000;
let origin;
let bundle;

before(async () => {
  bundle = makeCampaigns();
  origin = await startOrigin();
});
after(() => origin?.close());

/** A host for one test. */
async function withHost(use) {
  const host = await startHost({ budgets: { shop: BUDGET }, bundle });
  try {
    await use(host);
  } finally {
    await host.close();
  }
}

/** A Worker in front of it, with this bundle. */
async function withWorker(host, { campaigns = bundle, ...options }, use) {
  const worker = await startWorker(origin, { offers: offersOf(host, { host_ms: PATIENCE_MS }) }, { bindings: bindingsOf(), quiet: true, ...options });
  try {
    await worker.publish(campaigns);
    await use(worker);
  } finally {
    await worker.close();
  }
}

const post = (worker, user, headers = {}) => worker.post('/v1/offer', {}, { cookie: `uid=${token(user)}`, ...headers });

async function ask(worker, user) {
  const response = await post(worker, user);
  const answer = await response.json();
  assert.equal(response.status, 200, JSON.stringify(answer));
  return answer;
}

const faceOf = ({ offer }) => (offer ? JSON.parse(Buffer.from(offer.token.split('.')[1], 'base64url')).face : 0);
const sumOf = (answers) => answers.map(faceOf).reduce((sum, face) => sum + face, 0);

/** An entry in which `x-trap` makes the module trap where the object has put money aside and makes a name for the offer. */
const TRAPPING = `
  import worker, { Budget as Real, User } from './index.js';
  export { User };
  const NAME_BYTES = 16;
  const real = crypto.getRandomValues.bind(crypto);
  let [asked, armed, trapped] = [false, false, 0];
  crypto.getRandomValues = (bytes) => {
    if (armed && bytes.length === NAME_BYTES) {
      armed = false;
      trapped += 1;
      throw new WebAssembly.RuntimeError('unreachable');
    }
    return real(bytes);
  };
  export class Budget extends Real {
    fetch(request) {
      [armed, asked] = [asked, false];
      return super.fetch(request);
    }
  }
  export default {
    fetch(request, env, context) {
      if (new URL(request.url).pathname === '/trapped') return new Response(String(trapped));
      asked = request.headers.has('x-trap');
      return worker.fetch(request, env, context);
    },
  };`;

test('a trap in the object loses no money and makes no offer twice', async () => {
  await withHost((host) =>
    withWorker(host, { entry: TRAPPING }, async (worker) => {
      const first = await ask(worker, 't1');
      const lost = await post(worker, 't2', { 'x-trap': '1' });
      assert.deepEqual([lost.status, (await lost.json()).error.code], [503, 'unavailable']);
      assert.equal(await (await worker.fetch('/trapped')).text(), '1', 'it did trap');
      const met = await ask(worker, 't2');
      assert.deepEqual([met.status, met.repeated], ['offered', false], 'what was not stored was not decided');
      const [again, other] = [await ask(worker, 't1'), await ask(worker, 't2')];
      assert.deepEqual([again.repeated, again.offer.token], [true, first.offer.token], 'what was stored is there');
      assert.deepEqual([other.repeated, other.offer.token], [true, met.offer.token]);
      for (const [user, { offer }] of [['t1', first], ['t2', met]]) {
        const { status, answer } = await host.redeem(user, `order-${user}`, [offer.token]);
        assert.equal(status, 200, JSON.stringify(answer));
      }
      assert.equal((await host.budget('shop')).settled, sumOf([first, met]));
    }),
  );
});

test('an object that starts again goes on from what it stored', async () => {
  const objects = mkdtempSync(join(tmpdir(), 'selvedge-objects-'));
  try {
    await withHost(async (host) => {
      const before = [];
      await withWorker(host, { objects }, async (worker) => {
        for (const user of ['r1', 'r2', 'r3']) before.push(await ask(worker, user));
      });
      assert.ok(sumOf(before) > 0);
      await withWorker(host, { objects }, async (worker) => {
        for (const [at, user] of ['r1', 'r2', 'r3'].entries()) {
          const { repeated, status, offer } = await ask(worker, user);
          assert.deepEqual([repeated, status, offer?.token], [true, before[at].status, before[at].offer?.token]);
        }
        const after = [await ask(worker, 'r4'), await ask(worker, 'r5')];
        const { total, settled, held } = await host.budget('shop');
        const promised = sumOf([...before, ...after]);
        assert.ok(promised <= held + settled && held + settled <= total, `${promised} of ${held} + ${settled} of ${total}`);
      });
    });
  } finally {
    rmSync(objects, { recursive: true });
  }
});

// Both wait for time to pass, so they wait together.
describe('as time passes', { concurrency: true }, () => {
  test('a price of which nothing is heard gives way to the highest', async () => {
    // Nothing is worth the highest price of this bundle, and everything that of the head.
    const campaigns = makeCampaigns('', 30);
    const prices = [{ budget: 'shop', micros: 200_000 }];
    await withHost((host) =>
      withWorker(host, { campaigns }, async (worker) => {
        await worker.publishHead({ bundle: { id: bundleId(campaigns), size: campaigns.length }, prices });
        await worker.statusWhen(({ channel }) => channel.sequence === 2, 15_000);
        assert.equal((await ask(worker, 's0')).status, 'offered');
        await worker.withdrawHead();
        const end = Date.now() + AT_MOST_MS;
        let last;
        for (let at = 1; last?.reason !== 'not-worth-it' && Date.now() < end; at++) {
          await sleep(2_000);
          last = await ask(worker, `s${at}`);
        }
        assert.deepEqual([last.status, last.reason], ['none', 'not-worth-it']);
      }),
    );
  });

  test('what nobody asks for goes back to the host', async () => {
    await withHost((host) =>
      withWorker(host, {}, async (worker) => {
        // So many at once that more is leased than they get: what is asked for ahead comes when they have their answers.
        const promised = sumOf(await Promise.all(Array.from({ length: 8 }, (_, at) => ask(worker, `i${at}`))));
        const heldWhen = async (is, withinMs) => {
          for (const end = Date.now() + withinMs; ; await sleep(200)) {
            const { held } = await host.budget('shop');
            if (is(held) || Date.now() > end) return held;
          }
        };
        const leased = await heldWhen((held) => held > promised, PATIENCE_MS);
        assert.ok(promised > 0 && leased > promised, `${leased} are held for ${promised}`);
        const left = await heldWhen((held) => held === promised, AT_MOST_MS);
        assert.equal(left, promised, 'what is promised stays, and nothing else');
      }),
    );
  });
});
