// Following a channel: the table of cases, and a real host.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

import { load } from 'selvedge';

import { bundleId, makeBundle, selvedge as command } from './bundle.mjs';
import { KEY, PUBLIC_KEY, keyOf, makeHead, publicKey } from './head.mjs';

const channel = await import(new URL('../dist/channel.js', import.meta.url));
const table = JSON.parse(readFileSync(new URL('../../../host/follow/tests/cases/v1.json', import.meta.url)));
const bytesOf = (base64) => (base64 === null ? undefined : new Uint8Array(Buffer.from(base64, 'base64')));

test('the table of cases holds: judging heads', async () => {
  const keys = await channel.importKeys(table.keys);
  for (const { name, held, offered, now_ms: now, outcome } of table.judge) {
    const judged = await channel.judge(bytesOf(held), table.channel, keys, bytesOf(offered), now);
    const found = judged === null ? 'unchanged' : typeof judged === 'string' ? judged : 'accept';
    assert.equal(found, outcome, name);
  }
});

test('the table of cases holds: schedule, guard, status, rollout', async () => {
  for (const { name, poll_ms, failures, random, retry_after_ms, wait_ms } of table.schedule) {
    assert.equal(channel.nextPollMs(poll_ms, failures, random, retry_after_ms), wait_ms, name);
  }
  for (const { name, guard, decisions, fallbacks, gives_up } of table.guard) {
    const terms = guard && { maxFallbackShare: guard.max_fallback_share, minDecisions: guard.min_decisions };
    assert.equal(channel.givesUp(terms, decisions, fallbacks), gives_up, name);
  }
  for (const { name, not_after_ms, killed, rolled_back, heard_ms, stale_after_ms, now_ms, state, prices_valid } of table.status) {
    const head = not_after_ms === null ? undefined : { notAfterMs: not_after_ms, killed };
    assert.deepEqual(channel.stateOf(head, heard_ms, rolled_back, stale_after_ms, now_ms), [state, prices_valid], name);
  }
  for (const { salt, unit, least_share } of table.rollout) {
    assert.ok(await channel.inRollout(BigInt(salt), unit, least_share), unit);
    assert.ok(!(await channel.inRollout(BigInt(salt), unit, least_share - 1)), unit);
  }
});

test('the golden delta makes its target, and no damage to it is more than an error or other bytes', async () => {
  const golden = (name) => new Uint8Array(readFileSync(new URL(`../../../edge/format/tests/golden/v1/${name}.bin`, import.meta.url)));
  const [delta, base] = [golden('delta'), golden('bundle')];
  const target = channel.applyDelta(delta, base, 1 << 20);
  const digest = Buffer.from(await crypto.subtle.digest('SHA-256', target.subarray(64))).toString('hex');
  assert.equal(digest, bundleId(Buffer.from(target)));
  assert.equal(digest, Buffer.from(delta.subarray(64, 96)).toString('hex'));
  assert.throws(() => channel.applyDelta(delta, base, 100), RangeError);
  for (let at = 0; at < delta.length; at++) {
    const damaged = delta.slice();
    damaged[at] ^= 1 << (at % 8);
    try {
      assert.equal(channel.applyDelta(damaged, base, 1 << 20).length <= 1 << 20, true);
    } catch (error) {
      assert.ok(error instanceof RangeError, String(error));
    }
  }
});

test('the golden head is read', () => {
  const head = channel.parseHead(new Uint8Array(readFileSync(new URL('../../../edge/format/tests/golden/v1/head.bin', import.meta.url))));
  assert.deepEqual([head.channel, head.sequence, head.rollout.share, head.prices.length, head.guard.minDecisions], ['shop.main', 300n, 500, 2, 500]);
});

/** Until something is so. */
async function until(what, isSo) {
  for (let waited = 0; waited < 20_000; waited += 20) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(what);
}

const CANDIDATES = [{ id: 'a', price: 1 }, { id: 'b', price: 3.5 }, { id: 'c', price: 2 }];
const first = async (engine) => (await engine.rank(CANDIDATES)).items[0].id;
const [dear, cheap] = [makeBundle(1), makeBundle(-1)];
const blob = (bytes) => ({ id: bundleId(bytes), size: bytes.length });

/** A source whose answers the test decides; what was asked is kept. */
async function source() {
  const told = { head: undefined, blobs: new Map(), asked: [], fails: () => undefined };
  const server = createServer((request, response) => {
    told.asked.push(request.url);
    const failure = told.fails(request);
    if (failure) return void response.writeHead(failure).end();
    const { pathname } = new URL(request.url, 'http://source');
    const body = pathname.endsWith('/head') ? told.head : told.blobs.get(pathname.split('/').pop());
    if (request.headers.accept?.includes('event-stream')) return void response.writeHead(503).end();
    if (!body) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  for (const bytes of [dear, cheap]) told.blobs.set(bundleId(bytes), bytes);
  const options = { url: `http://127.0.0.1:${server.address().port}`, name: 'shop', keys: [PUBLIC_KEY, publicKey(keyOf(2))], poll: 0.1 };
  return { told, options, close: () => (server.closeAllConnections(), server.close()) };
}

test('whatever the source says, the last good bundle decides; then it goes on', async () => {
  const { told, options, close } = await source();
  told.head = makeHead({ sequence: 2, bundle: blob(dear) });
  const engine = await load({ channel: options });
  try {
    assert.equal(await first(engine), 'b');
    const good = told.head;
    for (const [refusal, head] of [
      ['sequence-lower', makeHead({ sequence: 1, bundle: blob(cheap) })],
      ['unknown-key', makeHead({ sequence: 3, bundle: blob(cheap), key: keyOf(3) })],
      ['expired', makeHead({ sequence: 3, bundle: blob(cheap), notAfter: Date.now() })],
      ['malformed', Buffer.from('<h1>hello</h1>')],
      ['blob-missing', makeHead({ sequence: 3, bundle: { id: '7'.repeat(64), size: 1000 } })],
      ['blob-mismatch', makeHead({ sequence: 3, bundle: { id: bundleId(cheap), size: cheap.length + 1 } })],
      ['blob-too-large', makeHead({ sequence: 3, bundle: { id: bundleId(cheap), size: 2 ** 31 } })],
    ]) {
      told.head = head;
      await until(refusal, async () => (await engine.status()).channel.refusal === refusal);
      assert.equal(await first(engine), 'b', refusal);
      // The same head again is no news, and ends the pauses after failures.
      told.head = good;
      await until(`${refusal} is over`, async () => (await engine.status()).channel.refusal === null);
    }
    told.head = makeHead({ sequence: 3, bundle: blob(cheap), key: keyOf(2) });
    await until('the next key is believed', async () => (await engine.status()).channel.sequence === 3);
    assert.equal(await first(engine), 'a');
    assert.deepEqual((await engine.status()).channel, { state: 'following', sequence: 3, bundleId: bundleId(cheap), pricesValid: true, refusal: null });
  } finally {
    await engine.close();
    close();
  }
});

test('a kill is obeyed, and the user is remembered over new bundles', async () => {
  const { told, options, close } = await source();
  told.head = makeHead({ sequence: 1, bundle: blob(dear) });
  const engine = await load({ channel: options });
  const states = [];
  engine.on('channel', ({ state }) => states.push(state));
  try {
    await engine.observe({ event: 'view', item: 'c' });
    assert.equal(await first(engine), 'c');
    told.head = makeHead({ sequence: 2, bundle: { id: '7'.repeat(64), size: 1000 }, killed: true });
    await until('it is killed', async () => (await engine.status()).channel.state === 'killed');
    const { status, reason, items } = await engine.rank(CANDIDATES);
    assert.deepEqual([status, reason, items.map(({ id }) => id)], ['fallback', 'killed', ['a', 'b', 'c']]);
    told.head = makeHead({ sequence: 3, bundle: blob(cheap) });
    await until('it is revived', async () => (await engine.status()).channel.state === 'following');
    assert.equal(await first(engine), 'c');
    assert.deepEqual(states, ['following', 'killed', 'following']);
  } finally {
    await engine.close();
    close();
  }
});

test('too many fallbacks bring the bundle before back, until a higher sequence', async () => {
  const { told, options, close } = await source();
  told.head = makeHead({ sequence: 1, bundle: blob(dear) });
  const engine = await load({ channel: options });
  try {
    const guard = { maxFallbackShare: 1000, minDecisions: 5 };
    told.head = makeHead({ sequence: 2, bundle: blob(cheap), guard });
    await until('the second is in force', async () => (await engine.status()).channel.sequence === 2);
    for (let at = 0; at < 5; at++) await engine.rank([{ id: 'a', price: 'dear' }]);
    assert.deepEqual([(await engine.status()).channel.state, await first(engine)], ['rolled-back', 'b']);
    const asked = told.asked.length;
    await until('it asks on', () => told.asked.length > asked + 2);
    assert.equal(await first(engine), 'b', 'the same head is not tried again');
    told.head = makeHead({ sequence: 3, bundle: blob(dear) });
    await until('the publisher goes back too', async () => (await engine.status()).channel.state === 'following');
    assert.equal(await first(engine), 'b');
    told.head = makeHead({ sequence: 4, bundle: blob(cheap) });
    await until('the fourth is in force', async () => (await engine.status()).channel.sequence === 4);
    assert.deepEqual([(await engine.status()).channel.state, await first(engine)], ['following', 'a']);
  } finally {
    await engine.close();
    close();
  }
});

test('a source that is away: a bundle to begin with decides, and without one it is said', async () => {
  const { told, options, close } = await source();
  told.fails = () => 503;
  await assert.rejects(load({ channel: options }), ({ code, message }) => code === 'unavailable' && /answered 503/.test(message));
  const engine = await load({ channel: options, bundle: dear });
  try {
    assert.deepEqual([(await engine.status()).channel.state, await first(engine)], ['bootstrap', 'b']);
    told.fails = () => undefined;
    told.head = makeHead({ sequence: 1, bundle: blob(cheap) });
    await until('it is back', async () => (await engine.status()).channel.state === 'following');
    assert.equal(await first(engine), 'a');
  } finally {
    await engine.close();
    close();
  }
  await assert.rejects(load({ channel: { ...options, keys: ['ed25519:abc'] } }), { code: 'invalid-argument' });
  await assert.rejects(load({ channel: { ...options, name: '../x' } }), { code: 'invalid-argument' });
});

test('a rollout is for its users', async () => {
  const { told, options, close } = await source();
  told.head = makeHead({ bundle: blob(dear), rollout: { bundle: blob(cheap), share: 5000, salt: 7n } });
  try {
    for (const user of ['ann', 'ben', 'cleo', 'dana', 'eve', 'finn']) {
      const engine = await load({ channel: options, user });
      const isIn = await channel.inRollout(7n, user, 5000);
      assert.equal(await first(engine), isIn ? 'a' : 'b', user);
      await engine.close();
    }
  } finally {
    close();
  }
});

let host;
const directory = mkdtempSync(join(tmpdir(), 'selvedge-host-'));

before(async () => {
  const run = (...line) => execFileSync(command, ['--quiet', ...line], { cwd: directory, encoding: 'utf8', env: { ...process.env, ...host?.env } });
  const key = run('keygen', '--out', 'signing.pem').trim();
  const [token, sha256] = run('keygen', '--token').trim().split('\n');
  writeFileSync(join(directory, 'selvedge.toml'), `[serve]\nlisten = "127.0.0.1:0"\n[[key]]\npublic = "${key}"\n[[token]]\nname = "ci"\n${sha256}\nscopes = ["publish", "ingest", "read"]\n[users]\nchannel = "shop"\n`);
  for (const [name, bytes] of Object.entries({ dear, cheap })) writeFileSync(join(directory, `${name}.svb`), bytes);
  const child = spawn(command, ['serve'], { cwd: directory, stdio: ['ignore', 'inherit', 'pipe'] });
  const lines = createInterface({ input: child.stderr });
  const url = await new Promise((resolve, reject) => {
    child.on('exit', () => reject(new Error('the host does not start')));
    lines.on('line', (line) => line.startsWith('listening on ') && resolve(line.slice(13)));
  });
  host = { child, key, url, env: { SELVEDGE_TOKEN: token, SELVEDGE_HOST: url }, run };
});

after(async () => {
  host?.child.kill();
  if (host) await once(host.child, 'exit');
  rmSync(directory, { recursive: true });
});

test('a real host: published there, decided here, by a stream and with a delta', async () => {
  host.run('publish', 'shop', 'dear.svb', '--key', 'signing.pem');
  const engine = await load({ channel: { url: host.url, name: 'shop', keys: [host.key], poll: 3600 } });
  try {
    assert.equal(await first(engine), 'b');
    await new Promise((resolve) => setTimeout(resolve, 300));
    const before = await engine.status();
    host.run('publish', 'shop', 'cheap.svb', '--key', 'signing.pem');
    await until('the stream brings it', async () => (await engine.status()).channel.sequence === 2);
    assert.equal(await first(engine), 'a');
    const { requestBytes } = await engine.status();
    // The head in base64 and a delta; the bundle alone is larger.
    assert.ok(requestBytes - before.requestBytes < cheap.length, `${requestBytes - before.requestBytes} of ${cheap.length} bytes`);
    host.run('rollback', 'shop', '--key', 'signing.pem');
    await until('the stream brings it', async () => (await engine.status()).channel.sequence === 3);
    assert.equal(await first(engine), 'b');
  } finally {
    await engine.close();
  }
});

test('what is shared arrives at the host: events, or the state alone; and nothing unless it is said', async () => {
  host.run('publish', 'shop', 'dear.svb', '--key', 'signing.pem');
  const { SELVEDGE_TOKEN: token } = host.env;
  const headers = { authorization: `Bearer ${token}` };
  const known = async (user, what) => fetch(`${host.url}/v1/users/${user}/${what}`, { headers });
  const channel = { url: host.url, name: 'shop', keys: [host.key], stream: false };
  const share = (what) => ({ what, url: host.url, token, delay: 0.05 });
  for (const [user, more] of [['ann', { share: share('events') }], ['ben', { share: share('state') }], ['cleo', {}]]) {
    const engine = await load({ channel, user, ...more });
    await engine.observe({ event: 'view', item: 'tea' });
    await engine.observe({ event: 'view', item: 'mug' });
    const state = Buffer.from(await engine.state());
    await engine.close();
    if (user === 'cleo') assert.equal((await known(user, 'state')).status, 404);
    else await until(user, async () => (await known(user, 'state')).status === 200);
    if (user === 'ben') assert.ok(Buffer.from(await (await known(user, 'state')).arrayBuffer()).equals(state));
  }
  const { events } = await (await known('ann', 'export')).json();
  assert.deepEqual(events.map(({ event, item }) => [event, item]), [['view', 'tea'], ['view', 'mug']]);
  assert.deepEqual((await (await known('ben', 'export')).json()).events, [], 'a state names nothing');
  await assert.rejects(load({ channel, share: share('events') }), { code: 'invalid-argument' });
  const refused = await load({ channel, user: 'dana', share: { ...share('events'), token: 'svt_wrong' } });
  const reasons = [];
  refused.on('fallback', ({ reason }) => reasons.push(reason));
  await refused.observe({ event: 'view', item: 'tea' });
  await refused.close();
  await until('it is told', () => reasons.includes('share-refused'));
});
