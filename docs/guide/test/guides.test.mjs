// Every guide, followed from its first block to its last.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { makePlace } from './follow.mjs';

const directory = fileURLToPath(new URL('..', import.meta.url));
const guides = readdirSync(directory).filter((name) => name.endsWith('.md')).sort();
let place;

before(async () => {
  assert.equal(spawnSync('curl', ['--version']).status, 0, 'the guides need curl (Debian: apt-get install curl)');
  place = await makePlace();
});

after(() => place.close());

for (const guide of guides) test(`${guide} does what it says`, () => place.follow(join(directory, guide)));

test('the index names every guide', () => {
  const index = readFileSync(join(directory, 'README.md'), 'utf8');
  for (const guide of guides.filter((name) => name !== 'README.md')) assert.ok(index.includes(`](${guide})`), guide);
});
