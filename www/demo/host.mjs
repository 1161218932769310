// A host for the page's coupons: `selvedge serve` on a free port of this machine, in a directory of its own that goes when it
// ends. Keys, tokens and the secret of draws are made at the start and belong to nobody else; nothing of them reaches the page.
import { execFile, spawn } from 'node:child_process';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const CHANNEL = 'main';
/** Declared: a unit of cost must bring a fifth more than itself. From there on the price is what the host's head says. */
const OPENING_PRICE = 0.2;
/** Seconds between two looks of the host at what was spent, and days that it shall last: a crowd is seen within moments. */
const PACE = { every: 2, days: 1 };
/** Of a budget, what the host promises from at a time: the page's budget has room for few offers. */
const LARGEST_SHARE = 0.2;
const RATE = 100_000;
const STARTS_WITHIN_MS = 20_000;

/**
 * Starts a host that deploys the shop's bundle with its campaign and opens the campaign's budgets. `selvedge` is the command,
 * `data` the directory that `selvedge demo --storefront` wrote, `offers` what its `shop.json` says of coupons. Where `isPaced`, the
 * host sets the prices of the budgets by itself, from the opening price on; else they are what is published.
 */
export async function startHost({ selvedge, data, offers, isPaced }) {
  const directory = await mkdtemp(join(tmpdir(), 'selvedge-coupons-'));
  const [signing, offering] = [keyPair(), keyPair()];
  const [operator, shop] = [token(), token()];
  const path = (name) => join(directory, name);
  const budgets = offers.budgets.map(({ budget }) => budget);
  const secret = (name, text) => writeFile(path(name), text, { mode: 0o600 });
  await Promise.all([
    secret('signing.pem', signing.pem),
    secret('offers.pem', offering.pem),
    secret('offers.secret', randomBytes(32).toString('hex')),
    secret('selvedge.toml', configuration({ signing, operator, shop, paced: isPaced ? budgets : [] })),
  ]);
  const child = spawn(selvedge, ['serve', '--config', path('selvedge.toml')], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => child.once('close', resolve));
  const close = async () => {
    child.kill('SIGTERM');
    await ended;
    await rm(directory, { recursive: true, force: true });
  };
  /** Runs the command as the host's operator. */
  const operate = (address, args) =>
    promisify(execFile)(selvedge, ['--quiet', ...args, '--host', address], { env: { ...process.env, SELVEDGE_TOKEN: operator } });
  const publish = (address, args) => operate(address, ['publish', CHANNEL, ...args, '--key', path('signing.pem')]);
  try {
    const address = await listening(child, ended);
    const setBudget = (budget, total) => put(`${address}/v1/budgets/${budget}`, operator, { total });
    for (const { budget, total } of offers.budgets) await setBudget(budget, total);
    const prices = offers.budgets.flatMap(({ budget }) => ['--price', `${budget}=${OPENING_PRICE}`]);
    await publish(address, [join(data, offers.bundle), ...prices]);
    return {
      address,
      budgets,
      /** Opens what the page's server needs, and nothing of an operator's. */
      token: shop,
      /** Changes what a budget has in all; never below what is spent and held. */
      setBudget,
      /** Deploys another price of a budget. */
      setPrice: (budget, price) => publish(address, ['--price', `${budget}=${price}`]),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function keyPair() {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { pem: privateKey.export({ format: 'pem', type: 'pkcs8' }), public: `ed25519:${publicKey.export({ format: 'jwk' }).x}` };
}

const token = () => `svt_${randomBytes(24).toString('hex')}`;

function configuration({ signing, operator, shop, paced }) {
  const entry = (name, text, scopes) => `[[token]]
name = "${name}"
sha256 = "${createHash('sha256').update(text).digest('hex')}"
scopes = ${JSON.stringify(scopes)}
rate = ${RATE}
`;
  return `[serve]
listen = "127.0.0.1:0"
data = "data"
[[key]]
public = "${signing.public}"
${entry('operator', operator, ['publish'])}${entry('shop', shop, ['offer', 'redeem', 'read'])}[users]
channel = "${CHANNEL}"
[offers]
key = "offers.pem"
secret = "offers.secret"
issuer = "https://shop.example"
audience = "shop"
largest_share = ${LARGEST_SHARE}
${paced.length === 0 ? '' : `[signing]
key = "signing.pem"
[prices]
budgets = ${JSON.stringify(paced)}
every_s = ${PACE.every}
days = ${PACE.days}
`}`;
}

/** Where it listens, once it does. */
async function listening(child, ended) {
  let said = '';
  return new Promise((resolve, reject) => {
    const giveUp = (why) => reject(new Error(`the host did not start (${why}):\n${said}`));
    const late = setTimeout(giveUp, STARTS_WITHIN_MS, `${STARTS_WITHIN_MS / 1000} s passed`);
    child.once('error', (error) => giveUp(String(error)));
    ended.then((code) => giveUp(`it ended with ${code}`));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        said = `${said}${line}\n`.slice(-10_000);
        const found = line.match(/listening on (http:\/\/[0-9.:]+)/);
        if (!found) return;
        clearTimeout(late);
        resolve(found[1]);
      });
    }
  });
}

async function put(address, bearer, body) {
  const headers = { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' };
  const response = await fetch(address, { method: 'PUT', headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${address}: ${response.status} ${await response.text()}`);
}
