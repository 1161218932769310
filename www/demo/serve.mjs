// Serves a built page on this machine: `node www/demo/serve.mjs SITE [PORT]`. Files only; whoever serves the page elsewhere
// finds in HEADERS what it wants of a server.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
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

/** Serves `site` on 127.0.0.1; a port of 0 is any that is free. `asked` is told of every request. */
export async function serve(site, port = 0, asked = () => {}) {
  const server = createServer(async (request, response) => {
    asked(request);
    const [status, type, body] = await answer(site, request);
    response.writeHead(status, { ...HEADERS, 'content-type': type });
    response.end(request.method === 'HEAD' ? undefined : body);
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  const close = () => new Promise((resolve) => server.close(resolve).closeAllConnections());
  return { address: `http://127.0.0.1:${server.address().port}/`, close };
}

async function answer(site, { method, url }) {
  const plain = 'text/plain; charset=utf-8';
  if (method !== 'GET' && method !== 'HEAD') return [405, plain, 'This server gives files and takes nothing.\n'];
  const path = pathOf(url);
  if (path === null) return [400, plain, 'This address is not well formed.\n'];
  const file = join(site, path.endsWith(sep) ? `${path}index.html` : path);
  try {
    return [200, TYPES[extname(file)] ?? 'application/octet-stream', await readFile(file)];
  } catch {
    return [404, plain, 'There is no such file.\n'];
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

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [site, port = '8080'] = process.argv.slice(2);
  if (!site || !/^\d{1,5}$/.test(port)) {
    console.error('usage: node www/demo/serve.mjs SITE [PORT]');
    process.exit(2);
  }
  try {
    const { address } = await serve(site, Number(port));
    console.log(`the page: ${address}   (Ctrl-C ends it)`);
  } catch (error) {
    console.error(error.code === 'EADDRINUSE' ? `port ${port} is taken: choose another with --port` : String(error));
    process.exit(1);
  }
}
