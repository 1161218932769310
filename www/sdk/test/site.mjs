// A site on 127.0.0.1 and a browser: what the tests in Chromium have in common.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const TYPES = { js: 'text/javascript', wasm: 'application/wasm', html: 'text/html' };

/** The strictest policy under which WebAssembly runs. */
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; worker-src 'self'";

/** Serves the package with these headers, and what `files` holds by path; counts requests. */
export async function startSite(files, headers = {}) {
  const requests = [];
  const server = createServer((request, response) => {
    const path = new URL(request.url, 'http://site').pathname;
    requests.push(path);
    let body = files[path];
    const isOurs = body === undefined && path.startsWith('/dist/');
    if (isOurs) {
      try {
        body = readFileSync(dist + path.slice('/dist/'.length));
      } catch {
        body = undefined;
      }
    }
    const type = TYPES[path.split('.').pop()] ?? (path.includes('.') ? 'application/octet-stream' : 'text/html');
    const ours = isOurs ? headers : {};
    response.writeHead(body === undefined ? 404 : 200, { ...ours, 'content-type': type, 'content-security-policy': POLICY });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { address: `http://127.0.0.1:${server.address().port}`, requests, close: () => new Promise((resolve) => server.close(resolve)) };
}

export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-sync'],
  });
}
