// Serves a built page on this machine: `node www/demo/serve.mjs SITE [PORT [SELVEDGE]]`. Files, and where the command
// `selvedge` is given, a host with the shop's coupons besides and a counter in front of it. Whoever serves the page elsewhere
// finds in HEADERS what it wants of a server; the page knows from `counter.json` whether it may ask for coupons.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize, sep } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { Counter } from './counter.mjs';
import { startHost } from './host.mjs';

const JSON_TYPE = 'application/json';
const PLAIN = 'text/plain; charset=utf-8';
/** The file that says no in a site without a counter. */
const SAYS_COUNTER = '/counter.json';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.json': JSON_TYPE,
  '.wasm': 'application/wasm',
};

/** The strictest policy under which WebAssembly runs; and isolation, which gives the page a finer clock. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-cache',
};

/** Serves `site` on 127.0.0.1; a port of 0 is any that is free. `asked` is told of every request; `counter` gives coupons. */
export async function serve(site, port = 0, asked = () => {}, counter = null) {
  const server = createServer(async (request, response) => {
    asked(request);
    const [status, type, body] = (counter && (await coupons(counter, request))) ?? (await answer(site, request));
    response.writeHead(status, { ...HEADERS, 'content-type': type });
    response.end(request.method === 'HEAD' ? undefined : body);
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  const close = () => new Promise((resolve) => server.close(resolve).closeAllConnections());
  return { address: `http://127.0.0.1:${server.address().port}/`, close };
}

/** Starts a host for the coupons of a built site, and the counter in front of it. `options` are those of `startHost`. */
export async function openCounter(site, selvedge, options) {
  const data = join(site, 'data');
  const shop = JSON.parse(await readFile(join(data, 'shop.json'), 'utf8'));
  const host = await startHost({ selvedge, data, offers: shop.offers, ...options });
  return { host, counter: new Counter(host, shop) };
}

/** What the counter answers; null where the request is for a file. */
async function coupons(counter, request) {
  if (request.url === SAYS_COUNTER) return [200, JSON_TYPE, '{"open": true}\n'];
  const answered = await counter.answer(request);
  return answered && [answered[0], JSON_TYPE, JSON.stringify(answered[1])];
}

async function answer(site, { method, url }) {
  if (method !== 'GET' && method !== 'HEAD') return [405, PLAIN, 'This server gives files and takes nothing.\n'];
  const path = pathOf(url);
  if (path === null) return [400, PLAIN, 'This address is not well formed.\n'];
  const file = join(site, path.endsWith(sep) ? `${path}index.html` : path);
  try {
    return [200, TYPES[extname(file)] ?? 'application/octet-stream', await readFile(file)];
  } catch {
    return [404, PLAIN, 'There is no such file.\n'];
  }
}

/** The path below the site; normalised, so that it cannot leave it. */
function pathOf(url) {
  try {
    const path = decodeURIComponent(new URL(url, 'http://site').pathname);
    return path.includes('\0') ? null : normalize(path);
  } catch {
    return null;
  }
}

/** Ends what was started, however this process is told to end. */
function closeAtEnd(host) {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => {
      // The terminal's Ctrl-C reaches the host as well; its directory is still ours to remove.
      host.close().finally(() => process.exit(0));
    });
  }
}

/** Whoever sits at the terminal is the host's operator: a number that they type is the price of the budgets, and where the host goes on from. */
function takePrices({ budgets, setPrice }) {
  if (!process.stdin.isTTY) return;
  console.log('type a number and Enter to publish another price of the budget');
  createInterface({ input: process.stdin }).on('line', async (line) => {
    const price = Number(line);
    if (line.trim() === '' || !(price >= 0 && price < 1e6)) return console.log('a price is a number from 0 on, such as 0.8');
    try {
      for (const budget of budgets) await setPrice(budget, price);
      console.log(`published: a unit of cost must bring ${price} besides itself`);
    } catch (error) {
      console.log(`not published: ${error.message}`);
    }
  });
}

async function main(site, port, selvedge) {
  const { host, counter } = selvedge ? await openCounter(site, selvedge, { isPaced: true }) : { host: null, counter: null };
  if (host) closeAtEnd(host);
  try {
    const { address } = await serve(site, port, () => {}, counter);
    console.log(`the page: ${address}   (Ctrl-C ends it)`);
    if (!host) return;
    console.log(`its host: ${host.address}   (coupons; it ends with the page)`);
    takePrices(host);
  } catch (error) {
    await host?.close();
    throw error;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [site, port = '8080', selvedge] = process.argv.slice(2);
  if (!site || !/^\d{1,5}$/.test(port)) {
    console.error('usage: node www/demo/serve.mjs SITE [PORT [SELVEDGE]]');
    process.exit(2);
  }
  try {
    await main(site, Number(port), selvedge);
  } catch (error) {
    console.error(error.code === 'EADDRINUSE' ? `port ${port} is taken: choose another with --port` : String(error));
    process.exit(1);
  }
}
