// The runner of the guides itself: a guide that is wrong must not pass.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { makePlace } from './follow.mjs';
import { isShown, stepsOf } from './steps.mjs';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-runner-'));
let place;

before(async () => {
  place = await makePlace();
});

after(async () => {
  await place.close();
  rmSync(directory, { recursive: true });
});

let count = 0;
const follow = (markdown) => {
  const path = join(directory, `guide-${count++}.md`);
  writeFileSync(path, markdown);
  return place.follow(path);
};
const block = (info, ...lines) => `\`\`\`${info}\n${lines.join('\n')}\n\`\`\`\n`;

test('what is printed must be what is shown, but for what is left out', () => {
  assert.ok(isShown(['a', 'b'], 'a\nb\n') && isShown(['a…c'], 'abc') && isShown(['...', 'c'], 'a\nb\nc') && isShown(['...'], ''));
  assert.ok(isShown(['took 1.5 ms'], 'took 1.5 ms') && !isShown(['took 1.5 ms'], 'took 135 ms'));
  assert.ok(!isShown(['a'], 'a\nb') && !isShown(['b'], 'a\nb') && !isShown(['a…c'], 'a\nc') && !isShown(['...', 'c'], 'a\nb'));
});

test('a block that nobody runs is refused', () => {
  const refused = [
    block('sh', 'rm x'),
    block('console maybe', '$ true'),
    block('json unnamed.json', '{}'),
    block('console not-run', '$ true'),
    block('console', 'output of nothing'),
    '```console\n$ true',
  ];
  for (const markdown of refused) assert.throws(() => stepsOf(markdown, 'guide.md'), /^Error: guide.md:1: /, markdown);
  assert.deepEqual(stepsOf(`${block('console not-run', '$ deploy')}\n*Not run by the tests: it needs an account.*`, 'x').steps, [{ line: 1, kind: 'not-run' }]);
});

test('a command that fails, or prints something else, fails the guide at its line', async () => {
  await assert.rejects(follow(`text\n\n${block('console', '$ false')}`), /guide-\d+\.md:3: `false` ends with code 1/);
  await assert.rejects(follow(block('console', '$ echo a', 'b')), /prints something else/);
  await assert.rejects(follow(block('console', '$ if then')), /ends with code 2/);
  await follow(block('console', '$ echo a; echo b >&2; echo c', 'a', 'b', 'c'));
});

test('files, directory and variables stay from block to block, and from guide to guide', async () => {
  const pieces = `\`a/b.txt\`\n${block('text a/b.txt', 'one')}${block('text >>a/b.txt', 'two')}`;
  await follow(`${pieces}${block('console', '$ cd a', '$ X=$(cat b.txt | tr "\\n" -)')}${block('console', '$ echo $X \\', '  $(basename $PWD)', 'one-two- a')}`);
  await follow(`> Goes on where [the last](guide-${count - 1}.md) ends.\n${block('console', '$ cat a/b.txt', 'one', 'two')}`);
});

test('a server runs on a free port until the guide ends, and one that does not come up fails it', async () => {
  const server = "const http = require('http'); http.createServer((_, response) => response.end('hello\\n')).listen(7, '127.0.0.1', () => console.log('ready on http://127.0.0.1:7'))";
  const source = server.replaceAll(/\b7\b/g, '8099');
  await follow(
    `\`server.cjs\`\n${block('js server.cjs', source)}${block('console background', '$ node server.cjs', 'ready on http://127.0.0.1:8099')}${block('console', '$ curl -s http://127.0.0.1:8099/', 'hello')}${block('text page http://127.0.0.1:8099/', 'hello')}${block('js devtools http://127.0.0.1:8099/', '> location.protocol', "'http:'")}`,
  );
  await assert.rejects(follow(block('console background', '$ echo not yet; false', 'ready')), /ended with code 1:\nnot yet/);
});

test('a file of the checkout must be quoted word for word', async () => {
  await assert.rejects(follow(block('toml quote rustfmt.toml', 'max_width = 80')), /this is not what rustfmt.toml says/);
});
