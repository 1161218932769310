// Faults on every side at once: a short run of what `cargo xtask bench faces` does for long.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { storm } from './storm.mjs';

test('no request is answered worse than by the origin alone, whatever breaks', async () => {
  const { requests, failures, faults } = await storm(800);
  assert.deepEqual(failures, []);
  assert.equal(requests, 800);
  for (const [what, { sent }] of Object.entries(faults)) assert.ok(sent > 0, `${what} was tried`);
  assert.ok(faults['a trap'].became['fallback; reason="trap"'] > 0, 'the faults are real');
  assert.ok(faults['no fault'].became.personalized > 0);
});
