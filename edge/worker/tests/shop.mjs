// The Worker in workerd, an origin that misbehaves on demand, and a small shop: what the tests have in common.
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { bundleId, makeBundle, selvedge } from '../../../www/sdk/test/bundle.mjs';
import { CHANNEL, PUBLIC_KEY, makeHead } from '../../../www/sdk/test/head.mjs';
import { module, startWorkerd } from '../../../www/sdk/test/workerd.mjs';

export { bundleId, makeBundle };

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const built = at('../../../target/worker/');

export const SECRET = 'a secret of the shop, for tests';
export const token = (user) => `${user}.${createHmac('sha256', SECRET).update(user).digest('hex')}`;

/** A JSON Web Token for a user, valid for so many seconds. */
export function jwt(user, seconds = 60) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds })}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

/** Decides the records of a log again, natively; throws unless every decision is the same to the byte. */
export function replay(bundle, log) {
  withFiles([bundle, log], (bundlePath, logPath) => execFileSync(selvedge, ['replay', '--bundle', bundlePath, logPath]));
}

/** What `selvedge inspect` finds in a log. */
export function inspect(log) {
  return withFiles([log], (path) => JSON.parse(execFileSync(selvedge, ['inspect', '--json', path])));
}

function withFiles(contents, run) {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-worker-'));
  try {
    const paths = contents.map((bytes, at) => {
      const path = join(directory, `${at}.bin`);
      writeFileSync(path, bytes);
      return path;
    });
    return run(...paths);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What the origin says; the path chooses how. */
export const FEED = `{ "page" : 1,\t"data": {"items": [ {"id":"a","price":1},\n  {"id":"b","price":3.5} , {"id":7,"price":2}],"next":null}, "é": "\\u00e9" }\n`;
export const REORDERED = `{ "page" : 1,\t"data": {"items": [ {"id":"b","price":3.5},\n  {"id":7,"price":2} , {"id":"a","price":1}],"next":null}, "é": "\\u00e9" }\n`;

export const feedOf = (count) =>
  JSON.stringify({ data: { items: Array.from({ length: count }, (_, at) => ({ id: `i${at}`, price: (at * 37) % 101 })) } });
const HUNDRED = feedOf(100);
const MANY = feedOf(5_000);
/** An item that nests deeper than anyone reads. */
export const DEEP = `{"data":{"items":[{"id":"a","price":1,"deep":${'['.repeat(50_000)}${']'.repeat(50_000)}}]}}`;

export const json = { 'content-type': 'application/json' };
/** An answer with this body. */
export const says = (body, headers = json, status = 200) => (request, response) => response.writeHead(status, headers).end(body);
/** The first half of a body, and then what `after` does. */
const half = (after) => (request, response) => {
  response.writeHead(200, json);
  response.write(FEED.slice(0, 40));
  after(response);
};

const ANSWERS = {
  '/feed/good': says(FEED, { ...json, etag: '"x"', 'content-md5': 'x', digest: 'x', 'x-shop': 'kept' }),
  '/feed/gzip': says(gzipSync(FEED), { ...json, 'content-encoding': 'gzip' }),
  '/feed/hundred': says(HUNDRED),
  '/feed/malformed': says('{"data": {"items": ['),
  '/feed/malformed-gzip': says(gzipSync('{"data": {"items": ['), { ...json, 'content-encoding': 'gzip' }),
  '/feed/twice': says('{"data":{"items":[1],"items":[2]}}'),
  '/feed/elsewhere': says('{"items":[]}'),
  '/feed/deep': says(DEEP),
  '/feed/latin': says(Buffer.from('{"data":{"items":["\xe9"]}}', 'latin1')),
  '/feed/many': says(MANY),
  '/feed/empty': says('{"data":{"items":[]}}'),
  '/feed/nameless': says('{"data":{"items":[{"id":"a"},{"price":1}]}}'),
  '/feed/html': says('<p>no feed</p>', { 'content-type': 'text/html' }),
  '/feed/missing': says('{"data":{"items":[]}}', json, 404),
  '/feed/failing': says('{"error":"the shop is down"}', json, 503),
  '/feed/part': says('{"da', { ...json, 'content-range': 'bytes 0-3/9' }, 206),
  '/feed/unchanged': says(undefined, { etag: '"x"' }, 304),
  '/feed/slow': half((response) => setTimeout(() => response.end(FEED.slice(40)), 700)),
  '/feed/late': (request, response) => setTimeout(() => says(FEED)(request, response), 700),
  '/feed/reset': half((response) => setTimeout(() => response.destroy(), 50)),
  '/feed/hangs-up': (request, response) => response.destroy(),
  '/feed/huge': (request, response) => {
    response.writeHead(200, json);
    const chunk = Buffer.alloc(1 << 20, ' ');
    let left = 50;
    const more = () => (left-- > 0 ? response.write(chunk, more) : response.end('[]'));
    more();
  },
  '/page': says('<!doctype html><html><head><title>x</title></head><body></body></html>', { 'content-type': 'text/html' }),
  '/other': (request, response) => says(`other ${request.method}`, { 'content-type': 'text/plain', etag: '"o"' })(request, response),
};

/** Starts an origin that answers as above and as `answers` say; it keeps what it was asked. */
export async function startOrigin(answers = {}) {
  const requests = [];
  const server = createServer((request, response) => {
    const path = new URL(request.url, 'http://origin').pathname;
    requests.push(`${request.method} ${path}`);
    (answers[path] ?? ANSWERS[path] ?? says(undefined, {}, 404))(request, response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `http://127.0.0.1:${server.address().port}`,
    requests,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

export const FEED_CONFIG = { path: '/feed/*', items: ['data', 'items'], context: { query: 'q' } };

/**
 * Starts the Worker; `change` bends its configuration, `store` chooses KV or R2. `entry` is a module that stands before it
 * and imports `./index.js`; `bend` rewrites that; `bindings` are more of them; `objects` is a directory that keeps what Durable
 * Objects store; `quiet` keeps what it says to itself.
 */
export async function startWorker(origin, change = {}, { store = 'r2', entry, bend = (source) => source, secret = SECRET, bindings = {}, objects, quiet = false } = {}) {
  const config = {
    origin: origin.address,
    channel: { name: CHANNEL, keys: [PUBLIC_KEY] },
    feeds: [FEED_CONFIG],
    pages: ['/page'],
    user: { from: { cookie: 'uid' }, trust: { hmac: 'USER_SECRET' } },
    limits: { origin_ms: 400 },
    log: { delay_ms: 10 },
    ...change,
  };
  const modules = [
    ...(entry ? [module('entry.js', entry)] : []),
    module('index.js', bend(readFileSync(`${built}index.js`, 'utf8'))),
    module('selvedge_worker_bg.wasm', readFileSync(`${built}selvedge_worker_bg.wasm`), 'CompiledWasm'),
  ];
  const miniflare = startWorkerd(modules, {
    bindings: { SELVEDGE: config, ...(secret && { USER_SECRET: secret }), ...bindings },
    ...(store === 'r2' ? { r2Buckets: ['BUNDLES', 'LOG'] } : { r2Buckets: ['LOG'], kvNamespaces: ['BUNDLES'] }),
    durableObjects: { USERS: { className: 'User', useSQLite: true }, BUDGETS: { className: 'Budget', useSQLite: true } },
    ...(objects && { durableObjectsPersist: objects }),
    // Past the part of Miniflare that stands before Workers and is no part of production.
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
    ...(quiet && { handleRuntimeStdio: (out, err) => (out.resume(), err.resume()) }),
  });
  await miniflare.ready;
  const bundles = store === 'r2' ? await miniflare.getR2Bucket('BUNDLES') : await miniflare.getKVNamespace('BUNDLES');
  const fetch = (path, init) => miniflare.dispatchFetch(`http://shop.example${path}`, init);
  const buffer = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const put = (named, bytes) => bundles.put(`blobs/${named}`, buffer(bytes));
  let sequence = 0;
  const putHead = (more) => bundles.put(`channels/${CHANNEL}/head`, buffer(makeHead({ sequence: (sequence += 1), ...more })));
  return {
    miniflare,
    /** Puts a bundle in place. */
    async publish(bytes, named = bundleId(bytes)) {
      await put(named, bytes);
      await putHead({ bundle: { id: named, size: bytes.length } });
    },
    /** Puts a bundle and its shared state in place. */
    async publishAll(bundle, shared) {
      await Promise.all([put(bundleId(bundle), bundle), put(bundleId(shared), shared)]);
      const blob = (bytes) => ({ id: bundleId(bytes), size: bytes.length });
      await putHead({ bundle: blob(bundle), shared: blob(shared) });
    },
    /** Puts a head in place, by itself. */
    publishHead: putHead,
    /** Takes the head away: whoever looks for it hears nothing. */
    withdrawHead: () => bundles.delete(`channels/${CHANNEL}/head`),
    /** Where it listens. */
    address: () => miniflare.unsafeGetDirectURL(),
    fetch,
    post: (path, body, headers = {}) =>
      fetch(path, { method: 'POST', headers: { ...json, ...headers }, body: typeof body === 'string' ? body : JSON.stringify(body) }),
    status: async () => (await fetch('/v1/status')).json(),
    /** The status, once `is` says that it is the one to wait for. */
    async statusWhen(is, patience = 10_000) {
      const end = Date.now() + patience;
      for (;;) {
        const status = await this.status();
        if (is(status)) return status;
        if (Date.now() > end) throw new Error(`the status stays ${JSON.stringify(status)}`);
        await sleep(100);
      }
    },
    /** The log, once it has so many records. */
    async log(records) {
      const bucket = await miniflare.getR2Bucket('LOG');
      for (let attempt = 0; attempt < 100; attempt++) {
        const { objects } = await bucket.list();
        const parts = await Promise.all(objects.map(async ({ key }) => Buffer.from(await (await bucket.get(key)).arrayBuffer())));
        const log = Buffer.concat(parts);
        if (log.toString('latin1').split('SVDR').length > records) return log;
        await sleep(50);
      }
      throw new Error('the log did not come');
    },
    /** Over HTTP, as bytes come. */
    async raw(path) {
      const url = new URL(path, await miniflare.ready);
      return new Promise((resolve, reject) => {
        get(url, { headers: { 'accept-encoding': 'identity' } }, (response) => {
          const chunks = [];
          response.on('data', (chunk) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(chunks).toString() }));
        }).on('error', reject);
      });
    },
    close: () => miniflare.dispose(),
  };
}

/** A Worker for one test. */
export async function withWorker(origin, change, options, use) {
  const worker = await startWorker(origin, change, options);
  try {
    return await use(worker);
  } finally {
    await worker.close();
  }
}

/** What the Worker says of an answer. */
export const statusOf = (response) => response.headers.get('Selvedge-Status');
export const fallback = (reason) => `fallback; reason="${reason}"`;
/** The ids of a feed's answer, in its order. */
export const idsOf = async (response) => (await response.json()).data.items.map(({ id }) => id);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
