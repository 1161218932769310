// The configuration: what is misspelt stops no shop, and what is in the repository can be deployed.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';

import { FEED, startOrigin, withWorker } from './shop.mjs';

let origin;

before(async () => {
  origin = await startOrigin();
});

after(() => origin?.close());

for (const [change, words] of [
  [{ feed: [] }, /unknown field `feed`/],
  [{ user: { from: { path: '/users/7' }, trust: { hmac: 'USER_SECRET' } } }, /user\.from\.path: `\/users\/7`: it needs `\{id\}`/],
  [{ feeds: [{ path: 'feed' }] }, /feeds\[\]\.path: `feed`: a path begins with `\/`/],
]) {
  test(`a configuration with ${JSON.stringify(change)} stops no shop and says what is wrong`, async () => {
    await withWorker(origin, change, {}, async (worker) => {
      const response = await worker.fetch('/v1/status');
      assert.equal(response.status, 503);
      assert.match((await response.json()).error.message, words);
      const order = await worker.fetch('/feed/good', { method: 'POST', body: 'x' });
      assert.deepEqual([order.status, await order.text()], [200, FEED]);
    });
  });
}

test('wrangler takes the configuration at the top level as it is', () => {
  const root = new URL('../../../', import.meta.url).pathname;
  const environment = { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' };
  const output = execFileSync(
    process.execPath,
    ['node_modules/wrangler/bin/wrangler.js', 'deploy', '--dry-run', '--outdir', 'target/worker-dry-run'],
    { cwd: root, env: environment, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
  );
  for (const binding of ['BUNDLES', 'LOG', 'USERS', 'SELVEDGE']) assert.match(output, new RegExp(binding));
});
