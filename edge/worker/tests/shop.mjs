// The Worker in workerd, an origin that misbehaves on demand, and a small shop: what the tests have in common.
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { Miniflare } from 'miniflare';

import { bundleId, makeBundle, selvedge } from '../../../www/sdk/test/bundle.mjs';

export { bundleId, makeBundle };

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const built = at('../../../target/worker/');

export const SECRET = 'a secret of the shop, for tests';
export const token = (user) => `${user}.${createHmac('sha256', SECRET).update(user).digest('hex')}`;

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

const feedOf = (count) =>
  JSON.stringify({ data: { items: Array.from({ length: count }, (_, at) => ({ id: `i${at}`, price: (at * 37) % 101 })) } });

const json = { 'content-type': 'application/json' };
const ANSWERS = {
  '/feed/good': (request, response) => response.writeHead(200, { ...json, etag: '"x"', 'content-md5': 'x', digest: 'x', 'x-shop': 'kept' }).end(FEED),
  '/feed/gzip': (request, response) => response.writeHead(200, { ...json, 'content-encoding': 'gzip' }).end(gzipSync(FEED)),
  '/feed/hundred': (request, response) => response.writeHead(200, json).end(HUNDRED),
  '/feed/malformed': (request, response) => response.writeHead(200, json).end('{"data": {"items": ['),
  '/feed/twice': (request, response) => response.writeHead(200, json).end('{"data":{"items":[1],"items":[2]}}'),
  '/feed/deep': (request, response) => response.writeHead(200, json).end(`{"data":{"items":[${'['.repeat(50_000)}${']'.repeat(50_000)}]}}`),
  '/feed/latin': (request, response) => response.writeHead(200, json).end(Buffer.from('{"data":{"items":["\xe9"]}}', 'latin1')),
  '/feed/many': (request, response) => response.writeHead(200, json).end(MANY),
  '/feed/html': (request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>no feed</p>'),
  '/feed/missing': (request, response) => response.writeHead(404, json).end('{"data":{"items":[]}}'),
  '/feed/part': (request, response) => response.writeHead(206, { ...json, 'content-range': 'bytes 0-3/9' }).end('{"da'),
  '/feed/slow': (request, response) => {
    response.writeHead(200, json);
    response.write(FEED.slice(0, 40));
    setTimeout(() => response.end(FEED.slice(40)), 700);
  },
  '/feed/huge': (request, response) => {
    response.writeHead(200, json);
    const chunk = Buffer.alloc(1 << 20, ' ');
    let left = 50;
    const more = () => (left-- > 0 ? response.write(chunk, more) : response.end('[]'));
    more();
  },
  '/page': (request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><html><head><title>x</title></head><body></body></html>'),
  '/other': (request, response) => response.writeHead(200, { 'content-type': 'text/plain', etag: '"o"' }).end(`other ${request.method}`),
};
const HUNDRED = feedOf(100);
const MANY = feedOf(5_000);

export async function startOrigin() {
  const server = createServer((request, response) => {
    const answer = ANSWERS[new URL(request.url, 'http://origin').pathname];
    if (answer) answer(request, response);
    else response.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { address: `http://127.0.0.1:${server.address().port}`, close: () => new Promise((resolve) => server.close(resolve)) };
}

export const FEED_CONFIG = { path: '/feed/*', items: ['data', 'items'], context: { query: 'q' } };

/** Starts the Worker; `change` bends its configuration, `store` chooses KV or R2. */
export async function startWorker(origin, change = {}, { store = 'r2', entry, bend = (source) => source } = {}) {
  const config = {
    origin: origin.address,
    feeds: [FEED_CONFIG],
    pages: ['/page'],
    user: { from: { cookie: 'uid' }, trust: { hmac: 'USER_SECRET' } },
    limits: { origin_ms: 400 },
    log: { delay_ms: 10 },
    ...change,
  };
  const miniflare = new Miniflare({
    cf: false,
    host: '127.0.0.1',
    compatibilityDate: '2026-04-01',
    modulesRoot: '/',
    modules: [
      ...(entry ? [{ type: 'ESModule', path: '/entry.js', contents: entry }] : []),
      { type: 'ESModule', path: '/index.js', contents: bend(readFileSync(`${built}index.js`, 'utf8')) },
      { type: 'CompiledWasm', path: '/selvedge_worker_bg.wasm', contents: readFileSync(`${built}selvedge_worker_bg.wasm`) },
    ],
    bindings: { SELVEDGE: config, USER_SECRET: SECRET },
    [store === 'r2' ? 'r2Buckets' : 'kvNamespaces']: ['BUNDLES'],
    ...(store === 'r2' ? { r2Buckets: ['BUNDLES', 'LOG'] } : { r2Buckets: ['LOG'] }),
    durableObjects: { USERS: { className: 'User', useSQLite: true } },
  });
  await miniflare.ready;
  const bundles = store === 'r2' ? await miniflare.getR2Bucket('BUNDLES') : await miniflare.getKVNamespace('BUNDLES');
  return {
    miniflare,
    /** Puts a bundle in place. */
    async publish(bytes, named = bundleId(bytes)) {
      await bundles.put(`blob/${named}`, bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
      await bundles.put('head', JSON.stringify({ bundle: named, shared: null }));
    },
    fetch: (path, init) => miniflare.dispatchFetch(`http://shop.example${path}`, init),
    /** The log, once it has so many records. */
    async log(records) {
      const bucket = await miniflare.getR2Bucket('LOG');
      for (let attempt = 0; attempt < 100; attempt++) {
        const { objects } = await bucket.list();
        const parts = await Promise.all(objects.map(async ({ key }) => Buffer.from(await (await bucket.get(key)).arrayBuffer())));
        const log = Buffer.concat(parts);
        if (log.toString('latin1').split('SVDR').length > records) return log;
        await new Promise((resolve) => setTimeout(resolve, 50));
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
          response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(chunks).toString() }));
        }).on('error', reject);
      });
    },
    close: () => miniflare.dispose(),
  };
}
