// A host with a ledger, `selvedge serve` as it is, and a bundle with campaigns for it and for the Worker.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { bundleId, selvedge } from '../../../www/sdk/test/bundle.mjs';
import { PUBLIC_KEY, keyOf, publicKey } from '../../../www/sdk/test/head.mjs';

export const ISSUER = 'https://shop.example';
export const AUDIENCE = 'shop';
/** Tests have no secrets: these are the same in every run. */
const OPERATOR = 'svt_operator';
export const LEASE_TOKEN = 'svt_lease';
export const OFFER_SECRET = 'a secret of offers, for tests, of 32 bytes and more';
/** The host signs with one key, the Worker with another. */
const HOST_KEY = keyOf(7);
export const WORKER_KEY = keyOf(8);
export const pem = (key) => key.export({ format: 'pem', type: 'pkcs8' });

/** A directory with these files; `use` gets their paths. */
function withFiles(files, use) {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-offers-'));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    return use((name) => join(directory, name));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const linear = (bias) => ({ kind: 'linear', bias, weights: {} });

/**
 * A bundle with the campaign `spring`, whose larger offer is worth more than its smaller one to everybody; `more` is added to
 * the campaign. `highest` is the price of the budget where no head says one.
 */
export function makeCampaigns(more = '', highest = 2) {
  const arm = (offer, bias) => ({ offer, scale: 1, shift: 0, error: 0, model: linear(bias) });
  return withFiles(
    {
      'features.toml': `version = 1
[fields.item]
price = "number"
[fields.user]
country = "string"
[events]
view = {}
[[feature]]
name = "price"
kind = "number"
field = "item.price"
default = 0
`,
      'model.toml': `version = 1
[model]
name = "shop"
kind = "linear"
objective = "lambdarank"
features = "features.toml"
[slate]
size = 500
`,
      'trained.json': JSON.stringify({ kind: 'linear', bias: 0, weights: { price: 1 } }),
      'response.json': JSON.stringify({ kind: 'response', arms: [arm('none', -3), arm('five_off', 0), arm('ten_off', 1.5)] }),
      'campaign.toml': `version = 1
currency = "EUR"
[budgets.shop]
total = 1_000_000
highest_price = ${highest}
[[campaign]]
name = "spring"
response = "response.json"
from = 2026-01-01T00:00:00Z
until = 2090-01-01T00:00:00Z
epoch = "3650d"
margin = 12_000
funders = { shop = 1 }
${more}
[[campaign.offer]]
name = "five_off"
amount = 500
life = "1d"
[[campaign.offer]]
name = "ten_off"
amount = 1000
life = "1d"
`,
    },
    (path) => {
      const options = { features: 'features.toml', model: 'model.toml', trained: 'trained.json', campaigns: 'campaign.toml', out: 'bundle.svb' };
      const named = Object.entries(options).flatMap(([option, file]) => [`--${option}`, path(file)]);
      execFileSync(selvedge, ['--quiet', 'compile', ...named]);
      return readFileSync(path('bundle.svb'));
    },
  );
}

/** What the Worker is told of a host; secrets are bindings. */
export const offersOf = (host, more = {}) => ({ host: host.address, issuer: ISSUER, audience: AUDIENCE, ...more });
export const bindingsOf = (more = {}) => ({ OFFER_KEY: pem(WORKER_KEY), OFFER_SECRET, LEASE_TOKEN, ...more });

/**
 * Starts a host on a port of its own, with these budgets and the blob of a bundle, so that it knows the terms; in the
 * directory of one that was stopped it is that one again.
 */
export async function startHost({ budgets = {}, bundle, directory = mkdtempSync(join(tmpdir(), 'selvedge-host-')) }) {
  const sha256 = (text) => createHash('sha256').update(text).digest('hex');
  const token = (name, text, scopes) =>
    `[[token]]\nname = "${name}"\nsha256 = "${sha256(text)}"\nscopes = ${JSON.stringify(scopes)}\nrate = 100000\n`;
  const config = join(directory, 'selvedge.toml');
  writeFileSync(join(directory, 'offers.pem'), pem(HOST_KEY));
  writeFileSync(join(directory, 'offers.secret'), OFFER_SECRET);
  writeFileSync(
    config,
    `[serve]
listen = "127.0.0.1:0"
data = "data"
[[key]]
public = "${PUBLIC_KEY}"
${token('operator', OPERATOR, ['publish', 'read', 'redeem', 'offer'])}
${token('edge', LEASE_TOKEN, ['lease'])}
[offers]
key = "offers.pem"
secret = "offers.secret"
issuer = "${ISSUER}"
audience = "${AUDIENCE}"
previous = ["${publicKey(WORKER_KEY)}"]
largest_share = 0.2
`,
  );
  const child = spawn(selvedge, ['serve', '--config', config], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let said = '';
  const address = await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        said = `${said}${line}\n`.slice(-10_000);
        const found = line.match(/listening on (http:\/\/[0-9.:]+)/);
        if (found) resolve(found[1]);
      });
    }
    ended.then(() => reject(new Error(`the host ended: ${said}`)));
  });
  const ask = (method, path, body, type = 'application/json') =>
    fetch(`${address}${path}`, { method, headers: { authorization: `Bearer ${OPERATOR}`, 'content-type': type }, body });
  const ok = async (response) => {
    if (!response.ok) throw new Error(`${response.url}: ${response.status} ${await response.text()}`);
    return response;
  };
  for (const [name, total] of Object.entries(budgets)) await ok(await ask('PUT', `/v1/budgets/${name}`, JSON.stringify({ total })));
  if (bundle) await ok(await ask('PUT', `/v1/blobs/${bundleId(bundle)}`, bundle, 'application/octet-stream'));
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  return {
    address,
    directory,
    stop,
    /** A budget as it is now. */
    budget: async (name) => (await (await ok(await ask('GET', '/v1/budgets'))).json()).find(({ budget }) => budget === name),
    /** Redeems tokens on a cart of 50 EUR; the status and the answer. */
    async redeem(user, order, offers) {
      const cart = { currency: 'EUR', lines: [{ item: 'a', quantity: 1, unit_minor: 5000 }] };
      const response = await ask('POST', '/v1/redeem', JSON.stringify({ order, user, offers, cart }));
      return { status: response.status, answer: await response.json() };
    },
    /** Ends it; its data is gone. */
    async close() {
      await stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
